//! Finding a place in FLAC without reading up to it: frames tell their number, so it is found by halving.
//!
//! Not for: laying out, which decodes everything.

use std::collections::HashMap;
use std::ops::Range;

use crate::frames::flac::{Header, MAX_HEADER, MAX_TAGS, Numbering, StreamInfo};
use crate::frames::id3v2;
use crate::splice::SeekPoint;
use crate::splice::ogg::ReadAt;

/// Mark and stream information, which come first.
const HEAD: usize = 4 + 4 + 34;
/// How much is read at once,
const AT_ONCE: usize = 16 << 10;
/// and at most, to find two frames in a row.
const SOUGHT: usize = 2 << 20;
/// How near a place is from where on frames are looked at one after the other.
const NEAR: u64 = 32 << 10;

/// The first sample of a frame that is not the last.
fn first_sample(header: &Header) -> u64 {
    match header.numbering {
        Numbering::Frame => header.number.saturating_mul(header.block_size.into()),
        Numbering::Sample => header.number,
    }
}

/// A frame that was found.
#[derive(Clone, Copy, Debug)]
struct Found {
    offset: u64,
    /// Its first sample.
    sample: u64,
    /// Where the next frame begins.
    next: u64,
}

struct Stream<'a> {
    read: &'a ReadAt<'a>,
    info: StreamInfo,
    end: u64,
}

impl Stream<'_> {
    fn header(&self, bytes: &[u8]) -> Option<Header> {
        Header::parse(bytes).ok().filter(|header| {
            header.channel_count() == usize::from(self.info.channels)
                && header.bits.is_none_or(|bits| bits == self.info.bits)
                && header.block_size <= u32::from(self.info.max_block)
        })
    }

    /// The first frame at or after an offset that begins before `before`: one that another follows with the next number, so that nothing else is taken for one.
    fn frame_at(&self, offset: u64, before: u64) -> Option<Found> {
        let most = usize::try_from(self.end.checked_sub(offset)?).map_or(SOUGHT, |left| left.min(SOUGHT));
        let (mut bytes, mut looked): (Vec<u8>, usize) = (Vec::new(), 0);
        // By the number that is due after it, the first that may be one.
        let mut open: HashMap<(Numbering, u64), (usize, Header)> = HashMap::new();
        while bytes.len() < most {
            let filled = bytes.len();
            bytes.resize((filled + AT_ONCE).min(most), 0);
            let count = (self.read)(offset + filled as u64, &mut bytes[filled..]).ok()?;
            bytes.truncate(filled + count);
            if count == 0 {
                return None;
            }
            let whole = bytes.len() == most;
            let until = if whole {
                bytes.len()
            } else {
                bytes.len().saturating_sub(MAX_HEADER)
            };
            for at in looked..until.max(looked) {
                if bytes[at] != 0xFF {
                    continue;
                }
                let Some(header) = self.header(&bytes[at..]) else {
                    continue;
                };
                if let Some((start, one)) = open.get(&(header.numbering, header.number)) {
                    return Some(Found {
                        offset: offset + *start as u64,
                        sample: first_sample(one),
                        next: offset + at as u64,
                    });
                }
                if offset + (at as u64) < before {
                    let due = match header.numbering {
                        Numbering::Frame => header.number + 1,
                        Numbering::Sample => header.number + u64::from(header.block_size),
                    };
                    open.entry((header.numbering, due)).or_insert((at, header));
                }
            }
            looked = until.max(looked);
            if open.is_empty() && offset + looked as u64 >= before {
                return None;
            }
        }
        None
    }
}

fn read_whole(read: &ReadAt<'_>, offset: u64, bytes: &mut [u8]) -> Option<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        match read(offset + filled as u64, &mut bytes[filled..]) {
            Ok(0) | Err(_) => return None,
            Ok(count) => filled += count,
        }
    }
    Some(())
}

/// Where the mark of a file is: behind its tags.
pub(crate) fn mark(read: &ReadAt<'_>) -> Option<u64> {
    let mut at = 0;
    for _ in 0..=MAX_TAGS {
        let mut head = [0; id3v2::HEADER_LEN];
        read_whole(read, at, &mut head)?;
        match id3v2::tag_len(&head) {
            Some(len) => at += len,
            None => return head.starts_with(b"fLaC").then_some(at),
        }
    }
    None
}

/// The last frame that begins not after sample `wanted`, in a file whose mark is at `mark` and whose frames are at `audio`; with it what a decoder needs first. The last frame of all is never given.
pub(crate) fn frame_before(
    read: &ReadAt<'_>,
    mark: u64,
    audio: Range<u64>,
    wanted: u64,
) -> Option<(SeekPoint, [u8; HEAD])> {
    let mut head = [0; HEAD];
    read_whole(read, mark, &mut head)?;
    let stream = Stream {
        read,
        info: StreamInfo::parse(head.get(8..)?)?,
        end: audio.end,
    };
    let (mut best, mut low, mut high) = (None, audio.start, audio.end);
    while low < high {
        let near = high - low <= NEAR;
        let middle = if near { low } else { low + (high - low) / 2 };
        match stream.frame_at(middle, high) {
            Some(found) if found.sample <= wanted => {
                best = Some(found);
                low = found.next;
            }
            Some(_) | None if near => break,
            Some(_) | None => high = middle,
        }
    }
    let found = best.or_else(|| stream.frame_at(audio.start, audio.start + 1))?;
    let point = SeekPoint {
        offset: found.offset,
        sample: found.sample as i64,
    };
    // No other metadata comes before the frames.
    head[4] |= 0x80;
    Some((point, head))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Content;
    use crate::frames::flac::{encode, head};
    use std::io;
    use std::time::Duration;

    /// Frames of noise, numbered by one or the other.
    fn file(numbering: Numbering) -> (Vec<u8>, Vec<(u64, u64)>) {
        let mut bytes = b"fLaC\x80\0\0\x22".to_vec();
        let mut info = [0; 34];
        info[..4].copy_from_slice(&[0x10, 0, 0x10, 0]);
        // 44,100 Hz, one channel, 16 bits.
        info[10..14].copy_from_slice(&[0x0A, 0xC4, 0x40, 0xF0]);
        bytes.extend(info);
        let mut frames = Vec::new();
        let mut state = 1_u32;
        for frame in 0..600_u64 {
            let samples: Vec<i32> = (0..4096)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 20) as i32 - 2048
                })
                .collect();
            frames.push((bytes.len() as u64, frame * 4096));
            let number = if numbering == Numbering::Frame {
                frame
            } else {
                frame * 4096
            };
            // 4,096 samples at 44,100 Hz, one channel, 16 bits.
            let like = (0..=255).find_map(|crc| Header::parse(&[0xFF, 0xF8, 0xC9, 0x08, 0, crc]).ok());
            let like = Header {
                numbering,
                number,
                ..like.unwrap()
            };
            bytes.extend(encode(&like, &[samples], 16));
        }
        (bytes, frames)
    }

    #[test]
    fn any_frame_is_found_by_reading_a_few() {
        for numbering in [Numbering::Frame, Numbering::Sample] {
            let (bytes, frames) = file(numbering);
            let audio = head(&bytes, Duration::ZERO).unwrap().unwrap().audio;
            let taken = std::cell::Cell::new(0);
            let read = |offset: u64, buffer: &mut [u8]| -> io::Result<usize> {
                let count = bytes.read_at(offset, buffer, Duration::ZERO)?;
                taken.set(taken.get() + count);
                Ok(count)
            };
            for (number, (offset, sample)) in frames.iter().enumerate().step_by(37) {
                for wanted in [*sample, sample + 4095] {
                    taken.set(0);
                    let (found, _) = frame_before(&read, 0, audio..bytes.len() as u64, wanted).unwrap();
                    assert_eq!(
                        (found.offset, found.sample),
                        (*offset, *sample as i64),
                        "{number}"
                    );
                    assert!(taken.get() < 600_000, "{} bytes", taken.get());
                }
            }
        }
    }

    /// Each is one of many that could be followed, and none is.
    #[test]
    fn what_only_looks_like_frames_is_gone_through_once() {
        let (mut bytes, _) = file(Numbering::Frame);
        bytes.truncate(HEAD);
        let lone = (0..=255).map(|crc| [0xFF, 0xF8, 0xC9, 0x08, 7, crc]);
        let lone = lone
            .into_iter()
            .find(|bytes| Header::parse(bytes).is_ok())
            .unwrap();
        bytes.extend(lone.repeat(SOUGHT / lone.len()));
        let read = |offset: u64, buffer: &mut [u8]| bytes.read_at(offset, buffer, Duration::ZERO);
        assert_eq!(frame_before(&read, 0, HEAD as u64..bytes.len() as u64, 5), None);
    }

    #[test]
    fn what_is_no_flac_has_no_frames() {
        let read = |_: u64, buffer: &mut [u8]| {
            buffer.fill(0xFF);
            Ok(buffer.len())
        };
        assert_eq!(frame_before(&read, 0, 42..1 << 20, 5), None);
        assert_eq!(mark(&read), None);
    }

    #[test]
    fn the_mark_stands_behind_tags() {
        let tag = |len: u8| [b"ID3\x04\0\0\0\0\0".to_vec(), vec![len], vec![0; len.into()]].concat();
        for before in [vec![], tag(5), [tag(100), tag(0)].concat()] {
            let file = [&before[..], b"fLaC\x80\0\0\x22", &[0; 34]].concat();
            let read = |offset: u64, buffer: &mut [u8]| file.read_at(offset, buffer, Duration::ZERO);
            assert_eq!(mark(&read), Some(before.len() as u64));
        }
    }
}
