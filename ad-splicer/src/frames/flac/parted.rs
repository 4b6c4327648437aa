//! Frames of a long stream that are looked for where they are needed. Where all blocks but the last have one size, as most encoders write them, a sample tells its frame's number, and frames tell theirs: a few guesses lead to any.
//!
//! A frame is taken for one when its checksum is right and the next begins behind it. Not for: streams numbered by samples, and short ones, which are read as a whole ([`super::Index::scan`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::crc::crc16;
use super::header::{Header, MAX_LEN, Numbering};
use super::index::{Head, end_of};
use crate::content::Content;
use crate::frames::window::Window;
use crate::splice::{self, SpliceError};

/// Shorter streams are read as a whole, so that their results have an MD5. (Fuzzers have short ones only.)
const SHORT: u64 = if cfg!(fuzzing) { 0 } else { 16 << 20 };
/// How much is read to find a frame, first and at last.
const SOUGHT: [u64; 3] = [48 << 10, 512 << 10, 4 << 20];
/// So near a frame is come to from the one before it.
const NEAR: u64 = 6;
/// Guesses after which a frame is not found: a stream that says something else everywhere.
const GUESSES: usize = 64;
/// Pairs of headers that do not hold a frame between them.
const MOST_WRONG: usize = 16;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Parted {
    first: Header,
    /// STREAMINFO's bits a sample.
    bits: u32,
    pub(super) frames: u64,
    pub(super) samples: u64,
    /// The end of the last frame.
    pub(super) end: u64,
    /// Frames that were found, by their number; the first and the last among them.
    found: Mutex<BTreeMap<u64, u64>>,
}

/// Whether a header is one of a stream of blocks of one size.
pub(crate) fn is_like(header: &Header, first: &Header) -> bool {
    header.numbering == Numbering::Frame
        && header.block_size == first.block_size
        && header.channel_count() == first.channel_count()
        && (header.bits, header.rate) == (first.bits, first.rate)
}

/// The first frame that begins at or after `offset` and ends not after `end`, with its number.
pub(crate) fn frame_at(
    content: &dyn Content,
    deadline: Duration,
    first: &Header,
    (offset, end): (u64, u64),
) -> Result<Option<(u64, u64)>, SpliceError> {
    for sought in SOUGHT {
        let len = end.saturating_sub(offset).min(sought);
        let bytes = splice::read(content, offset, len as usize, deadline)?;
        if let Some((number, at)) = first_of(&bytes, first) {
            return Ok(Some((number, offset + at as u64)));
        }
        if len < sought {
            break;
        }
    }
    Ok(None)
}

/// The first whole frame of these bytes that another follows.
fn first_of(bytes: &[u8], first: &Header) -> Option<(u64, usize)> {
    // Where frames may begin, by the number that is due behind them.
    let mut open: HashMap<u64, usize> = HashMap::new();
    let mut wrong = 0;
    for at in 0..bytes.len() {
        if bytes[at] != 0xFF {
            continue;
        }
        let Some(header) = Header::parse(&bytes[at..])
            .ok()
            .filter(|header| is_like(header, first))
        else {
            continue;
        };
        if let Some(start) = open.get(&header.number) {
            if crc16(&bytes[*start..at]) == 0 {
                return Some((header.number - 1, *start));
            }
            wrong += 1;
            if wrong > MOST_WRONG {
                return None;
            }
        }
        open.entry(header.number + 1).or_insert(at);
    }
    None
}

impl Parted {
    /// `None` when only reading all of it can tell.
    pub(super) fn open(
        content: &dyn Content,
        head: &Head,
        first: &Header,
        deadline: Duration,
    ) -> Result<Option<Self>, SpliceError> {
        if content.len().saturating_sub(head.audio) < SHORT {
            return Ok(None);
        }
        Self::of(content, head, first, deadline)
    }

    fn of(
        content: &dyn Content,
        head: &Head,
        first: &Header,
        deadline: Duration,
    ) -> Result<Option<Self>, SpliceError> {
        let info = &head.metadata.info;
        let size = u64::from(first.block_size);
        let is_even = [info.min_block, info.max_block].map(u32::from) == [first.block_size; 2];
        let is_first = is_like(first, first)
            && first.number == 0
            && first.channel_count() == usize::from(info.channels)
            && first.bits.is_none_or(|bits| bits == info.bits);
        if !is_even || !is_first || info.samples <= 2 * size {
            return Ok(None);
        }
        let frames = info.samples.div_ceil(size);
        let short = (info.samples - (frames - 1) * size) as u32;
        let Some((last, end)) = last_frame(content, head, deadline, |header| {
            header.number == frames - 1
                && header.block_size == short
                && is_like(
                    &Header {
                        block_size: first.block_size,
                        ..*header
                    },
                    first,
                )
        })?
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            first: *first,
            bits: info.bits,
            frames,
            samples: info.samples,
            end,
            found: Mutex::new(BTreeMap::from([
                (0, head.audio),
                (frames - 1, last),
                (frames, end),
            ])),
        }))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, u64>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a frame begins; past the last one, the end of the audio.
    pub(super) fn offset(
        &self,
        content: &dyn Content,
        deadline: Duration,
        frame: u64,
    ) -> Result<u64, SpliceError> {
        let frame = frame.min(self.frames);
        let known = || {
            let known = self.known();
            let below = known
                .range(..=frame)
                .next_back()
                .map(|(number, at)| (*number, *at));
            let above = known.range(frame + 1..).next().map(|(number, at)| (*number, *at));
            // The first is always known, and above the last is nothing that is asked for.
            (
                below.unwrap_or_default(),
                above.unwrap_or((self.frames, self.end)),
            )
        };
        let (mut below, mut above) = known();
        for _ in 0..GUESSES {
            if frame - below.0 <= NEAR {
                break;
            }
            // A little before where it would be if all were as long as they are here on average.
            let (part, all) = (u128::from(frame - below.0), u128::from(above.0 - below.0));
            let way = (u128::from(above.1 - below.1) * part / all) as u64;
            let guess = below.1 + way.saturating_sub(SOUGHT[0] / 3).max(1);
            let found = frame_at(content, deadline, &self.first, (guess, above.1))?;
            match found {
                Some((number, at)) if number > below.0 && number <= frame => below = (number, at),
                Some((number, at)) if number > frame && number < above.0 => above = (number, at),
                // Too near: from the last one below it they are counted.
                None if above.1 - guess < SOUGHT[2] => break,
                Some(_) | None => return Err(SpliceError::Corrupt { offset: guess }),
            }
        }
        let mut window = Window::new(content, deadline);
        let (mut number, mut at) = below;
        while number < frame {
            let corrupt = SpliceError::Corrupt { offset: at };
            let header = Header::parse(window.get(at, MAX_LEN)?).ok();
            let header = header.filter(|header| is_like(header, &self.first) && header.number == number);
            let Some(header) = header else {
                return Err(corrupt);
            };
            let Some((end, _)) = end_of(&mut window, above.1, at, &header, self.bits)? else {
                return Err(corrupt);
            };
            (number, at) = (number + 1, end);
            if number + 1 >= frame {
                self.known().insert(number, at);
            }
        }
        self.known().insert(frame, at);
        Ok(at)
    }
}

/// Where the last frame begins and ends.
fn last_frame(
    content: &dyn Content,
    head: &Head,
    deadline: Duration,
    is_last: impl Fn(&Header) -> bool,
) -> Result<Option<(u64, u64)>, SpliceError> {
    let len = content.len();
    for sought in SOUGHT {
        let from = len.saturating_sub(sought).max(head.audio);
        let bytes = splice::read(content, from, (len - from) as usize, deadline)?;
        for at in (0..bytes.len()).filter(|at| bytes[*at] == 0xFF) {
            let header = Header::parse(&bytes[at..]).ok().filter(|header| is_last(header));
            let Some(header) = header else { continue };
            let mut window = Window::new(content, deadline);
            let offset = from + at as u64;
            return Ok(
                match end_of(&mut window, len, offset, &header, head.metadata.info.bits)? {
                    Some((end, None)) => Some((offset, end)),
                    _ => None,
                },
            );
        }
        if from == head.audio {
            break;
        }
    }
    Ok(None)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::encode::encode;
    use super::super::index::{Index, head};
    use super::*;

    /// Frames of noise of 576 samples but for the last, of one channel of 16 bits, numbered by themselves, and a tag behind them; and how many frames.
    pub(crate) fn file() -> (Vec<u8>, u64) {
        const FRAMES: u64 = 3_000;
        const SHORTER: usize = 100;
        let samples = (FRAMES - 1) * 576 + SHORTER as u64;
        let mut bytes = b"fLaC\x80\0\0\x22".to_vec();
        bytes.extend([2, 0x40, 2, 0x40, 0, 0, 0, 0, 0, 0]);
        // 44,100 Hz, one channel, 16 bits.
        bytes.extend([0x0A, 0xC4, 0x40, 0xF0]);
        bytes.extend((samples as u32).to_be_bytes());
        bytes.extend([0; 16]);
        let like = (0..=255).find_map(|crc| Header::parse(&[0xFF, 0xF8, 0x29, 0x08, 0, crc]).ok());
        let mut state = 1_u32;
        for number in 0..FRAMES {
            let count = if number + 1 == FRAMES { SHORTER } else { 576 };
            let samples: Vec<i32> = (0..count)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as i32 - 128
                })
                .collect();
            let header = Header {
                number,
                block_size: count as u32,
                ..like.unwrap()
            };
            bytes.extend(encode(&header, &[samples], 16));
        }
        bytes.extend(b"TAG");
        bytes.extend([0; 125]);
        (bytes, FRAMES)
    }

    #[test]
    fn any_frame_is_where_reading_all_of_them_finds_it() {
        let (bytes, frames) = file();
        let head = head(&bytes, Duration::ZERO).unwrap().unwrap();
        let all = Index::scan(&bytes, &head, Duration::ZERO).unwrap();
        assert_eq!(all.frames(), frames);
        for step in [1, 61, 997] {
            let parted = Parted::of(&bytes, &head, &all.first, Duration::ZERO)
                .unwrap()
                .unwrap();
            assert_eq!(
                (parted.frames, parted.samples, parted.end),
                (frames, all.samples(), all.end())
            );
            for frame in (0..=frames + 1).rev().step_by(step) {
                let found = parted.offset(&bytes, Duration::ZERO, frame).unwrap();
                assert_eq!(
                    found,
                    all.offset(&bytes, Duration::ZERO, frame).unwrap(),
                    "{frame}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_what_it_says_is_read_as_a_whole_or_refused() {
        let (bytes, frames) = file();
        let open = |bytes: &Vec<u8>| {
            let head = head(bytes, Duration::ZERO).unwrap().unwrap();
            let first = Header::parse(&bytes[head.audio as usize..]).unwrap();
            Parted::of(bytes, &head, &first, Duration::ZERO).unwrap()
        };
        // One sample more, another size of blocks, and a last frame that ends early.
        let (mut longer, mut uneven) = (bytes.clone(), bytes.clone());
        longer[25] += 1;
        uneven[9] += 1;
        let cut = bytes[..bytes.len() - 130].to_vec();
        for other in [longer, uneven, cut] {
            assert!(open(&other).is_none());
        }
        let mut hole = bytes.clone();
        let middle = bytes.len() / 2;
        hole[middle - 60_000..middle + 60_000].fill(0);
        let parted = open(&hole).unwrap();
        let found = parted.offset(&hole, Duration::ZERO, frames / 2);
        assert!(matches!(found, Err(SpliceError::Corrupt { .. })), "{found:?}");
    }
}
