//! Where every frame of a file is.
//!
//! A frame says how many samples it holds and not how many bytes, so its end is where its CRC-16 is right and the next frame begins, whose own header must pass its CRC-8 and have the number that is due. The last ends where its samples do; what holds no frames behind it is none of the sound.

use std::time::Duration;

use super::FrameError;
use super::crc::step16;
use super::decode::decode;
use super::header::{Header, MAX_LEN, Numbering};
use super::metadata::Metadata;
use super::parted::Parted;
use crate::content::Content;
use crate::frames::id3v2;
use crate::frames::tail;
use crate::frames::window::Window;
use crate::splice::SpliceError;

/// How many ID3v2 tags in a row are stepped over.
pub(crate) const MAX_TAGS: usize = 8;
/// Most bytes of them together: they are taken into memory.
const MOST_TAG_BYTES: u64 = 64 << 20;
/// More bytes than any frame: eight channels of 65,535 samples of 24 bits, stored as they are.
const MOST_FRAME_BYTES: u64 = 2 << 20;
/// Places where the last frame may end that are looked at.
const MOST_ENDS: usize = 64;

/// The beginning of a FLAC file.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Offset of `fLaC`: there may be ID3v2 tags before it.
    pub(crate) start: u64,
    pub(crate) metadata: Metadata,
    /// Offset of the first frame.
    pub(crate) audio: u64,
}

/// Reads the metadata; `None` when it is no FLAC file.
pub(crate) fn head(content: &dyn Content, deadline: Duration) -> Result<Option<Head>, SpliceError> {
    let mut window = Window::new(content, deadline);
    let mut start = 0;
    for _ in 0..MAX_TAGS {
        match id3v2::tag_len(window.get(start, id3v2::HEADER_LEN)?) {
            Some(len) => start += len,
            None => break,
        }
    }
    if window.get(start, 4)? != b"fLaC" {
        return Ok(None);
    }
    if start > MOST_TAG_BYTES {
        return Err(SpliceError::Unsupported(format!(
            "the tags before the audio are longer than {MOST_TAG_BYTES} bytes"
        )));
    }
    let (metadata, len) = Metadata::read(|offset, len| Ok(window.get(start + offset, len)?.to_vec()))
        .map_err(|error: Failure| match error {
            Failure::Frame(error) => {
                SpliceError::Unsupported(format!("the FLAC file is damaged: {}", error.0))
            }
            Failure::Splice(error) => error,
        })?;
    Ok(Some(Head {
        start,
        metadata,
        audio: start + len,
    }))
}

enum Failure {
    Frame(FrameError),
    Splice(SpliceError),
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl From<SpliceError> for Failure {
    fn from(error: SpliceError) -> Self {
        Self::Splice(error)
    }
}

/// Where every frame is.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) head: Head,
    /// The first frame's header.
    pub(crate) first: Header,
    places: Places,
}

#[derive(Debug)]
enum Places {
    All {
        /// Offset of each frame, and of the end of the last.
        offsets: Vec<u64>,
        /// First sample of each frame when they are numbered by it, and the number of samples. Otherwise the last only.
        starts: Vec<u64>,
    },
    Parted(Parted),
}

impl Index {
    /// Looks at the ends, and reads all of the content where that does not tell enough.
    pub(crate) fn open(content: &dyn Content, head: &Head, deadline: Duration) -> Result<Self, SpliceError> {
        let mut window = Window::new(content, deadline);
        let offset = head.audio;
        let first = Header::parse(window.get(offset, MAX_LEN)?);
        let first = first.map_err(|_| SpliceError::Corrupt { offset })?;
        match Parted::open(content, head, &first, deadline)? {
            Some(parted) => Ok(Self {
                head: head.clone(),
                first,
                places: Places::Parted(parted),
            }),
            None => Self::scan(content, head, deadline),
        }
    }

    /// Reads all of the content once.
    pub(crate) fn scan(content: &dyn Content, head: &Head, deadline: Duration) -> Result<Self, SpliceError> {
        let mut window = Window::new(content, deadline);
        let mut offset = head.audio;
        let Ok(first) = Header::parse(window.get(offset, MAX_LEN)?) else {
            return Err(SpliceError::Corrupt { offset });
        };
        let info = &head.metadata.info;
        let (mut offsets, mut starts) = (vec![offset], Vec::new());
        let (mut header, mut samples) = (first, 0_u64);
        loop {
            let due = match header.numbering {
                Numbering::Frame => offsets.len() as u64 - 1,
                Numbering::Sample => samples,
            };
            let fits = header.numbering == first.numbering
                && header.number == due
                && header.channel_count() == usize::from(info.channels)
                && header.bits.is_none_or(|bits| bits == info.bits);
            if !fits {
                return Err(SpliceError::Corrupt { offset });
            }
            if header.numbering == Numbering::Sample {
                starts.push(samples);
            }
            samples += u64::from(header.block_size);
            let Some((end, next)) = end_of(&mut window, content.len(), offset, &header, info.bits)? else {
                return Err(if content.len() - offset < MOST_FRAME_BYTES {
                    window.truncated(offset)
                } else {
                    SpliceError::Corrupt { offset }
                });
            };
            offsets.push(end);
            // In a stream numbered by frames all blocks but the last have one size, and the last has no more.
            if header.numbering == Numbering::Frame && header.block_size > first.block_size {
                return Err(SpliceError::Corrupt { offset });
            }
            let Some(next) = next else { break };
            if next.numbering == Numbering::Frame && header.block_size != first.block_size {
                return Err(SpliceError::Corrupt { offset });
            }
            (header, offset) = (next, end);
        }
        starts.push(samples);
        ends_at(&mut window, offsets[offsets.len() - 1], &header)?;
        Ok(Self {
            head: head.clone(),
            first,
            places: Places::All { offsets, starts },
        })
    }

    /// Whether frames are looked for where they are needed, and their blocks but for the last have one size.
    pub(crate) fn is_parted(&self) -> bool {
        matches!(self.places, Places::Parted(_))
    }

    /// How many frames there are, at least one.
    pub(crate) fn frames(&self) -> u64 {
        match &self.places {
            Places::All { offsets, .. } => offsets.len() as u64 - 1,
            Places::Parted(parted) => parted.frames,
        }
    }

    /// How many samples there are.
    pub(crate) fn samples(&self) -> u64 {
        match &self.places {
            Places::All { starts, .. } => starts.last().copied().unwrap_or(0),
            Places::Parted(parted) => parted.samples,
        }
    }

    /// Offset of a frame; past the last one, of the end of the audio.
    pub(crate) fn offset(
        &self,
        content: &dyn Content,
        deadline: Duration,
        frame: u64,
    ) -> Result<u64, SpliceError> {
        match &self.places {
            Places::All { offsets, .. } => Ok(offsets[(frame as usize).min(offsets.len() - 1)]),
            Places::Parted(parted) => parted.offset(content, deadline, frame),
        }
    }

    /// Where the last frame ends.
    pub(crate) fn end(&self) -> u64 {
        match &self.places {
            Places::All { offsets, .. } => offsets[offsets.len() - 1],
            Places::Parted(parted) => parted.end,
        }
    }

    /// First sample of a frame; past the last one, the number of samples.
    pub(crate) fn start(&self, frame: u64) -> u64 {
        if frame >= self.frames() {
            return self.samples();
        }
        match &self.places {
            Places::All { starts, .. } if self.first.numbering == Numbering::Sample => starts[frame as usize],
            _ => frame * u64::from(self.first.block_size),
        }
    }

    /// The first frame that a join at `sample` takes the place of. In a stream numbered by frames a short block may only be the last: nothing can follow it.
    pub(crate) fn entry(&self, sample: u64) -> u64 {
        let last = self.frames() - 1;
        let short = self.first.numbering == Numbering::Frame
            && self.samples() - self.start(last) < u64::from(self.first.block_size);
        self.frame_of(sample).min(if short { last } else { last + 1 })
    }

    /// The frame that holds a sample; past the last one, the number of frames.
    pub(crate) fn frame_of(&self, sample: u64) -> u64 {
        if sample >= self.samples() {
            return self.frames();
        }
        match &self.places {
            Places::All { starts, .. } if self.first.numbering == Numbering::Sample => {
                starts.partition_point(|start| *start <= sample) as u64 - 1
            }
            _ => sample / u64::from(self.first.block_size),
        }
    }
}

/// Where the frame at `offset` ends, not after `len`, and the header of the one after it; `None` when it does not. `bits` are STREAMINFO's bits a sample.
pub(crate) fn end_of(
    window: &mut Window<'_>,
    len: u64,
    offset: u64,
    header: &Header,
    bits: u32,
) -> Result<Option<(u64, Option<Header>)>, SpliceError> {
    let mut crc = 0;
    // The shortest frame has a constant of a few bits for each channel, and its CRC.
    let shortest = offset + (header.len + header.channel_count() + 2) as u64;
    let mut at = offset;
    // Where it may end if it is the last.
    let mut ends = Vec::new();
    while at < len && at - offset < MOST_FRAME_BYTES {
        // Enough that a header after the last byte looked at can be read.
        let bytes = window.at_least(at, 4 * MAX_LEN)?;
        let left = len - at;
        let bytes = &bytes[..bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        let usable = if bytes.len() as u64 == left {
            bytes.len()
        } else {
            bytes.len() - 2 * MAX_LEN
        };
        for i in 0..usable {
            let here = at + i as u64;
            if crc == 0 && here >= shortest {
                if bytes[i] == 0xFF
                    && let Ok(next) = Header::parse(&bytes[i..])
                    && next.numbering == header.numbering
                    && next.number
                        == header.number
                            + match header.numbering {
                                Numbering::Frame => 1,
                                Numbering::Sample => u64::from(header.block_size),
                            }
                {
                    return Ok(Some((here, Some(next))));
                }
                if ends.len() < MOST_ENDS {
                    ends.push(here);
                }
            }
            crc = step16(crc, bytes[i]);
        }
        at += usable as u64;
    }
    for end in ends {
        let frame = window.get(offset, (end - offset) as usize)?;
        if decode(frame, bits).is_ok() {
            return Ok(Some((end, None)));
        }
    }
    let is_whole = at == len && crc == 0 && at >= shortest;
    Ok(is_whole.then_some((at, None)))
}

/// Sees that no frame of the stream begins behind its last one, which has this header.
fn ends_at(window: &mut Window<'_>, offset: u64, last: &Header) -> Result<(), SpliceError> {
    let (mut at, _) = tail::behind(window, offset)?;
    while at < window.len() {
        let bytes = window.at_least(at, MAX_LEN)?;
        let Some(skipped) = bytes.iter().position(|byte| *byte == 0xFF) else {
            at += bytes.len() as u64;
            continue;
        };
        at += skipped as u64;
        let is_later = |header: &Header| {
            header.numbering == last.numbering
                && header.number > last.number
                && header.channel_count() == last.channel_count()
                && (header.bits, header.rate) == (last.bits, last.rate)
        };
        if Header::parse(window.get(at, MAX_LEN)?).is_ok_and(|header| is_later(&header)) {
            return Err(SpliceError::Corrupt { offset });
        }
        at += 1;
    }
    let sync = window.get(offset, 2)?;
    if sync.first() == Some(&0xFF) && sync.get(1).is_none_or(|byte| byte & 0xFE == 0xF8) {
        // Of another one there is less than its header.
        return Err(window.truncated(offset));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::crc::crc8;
    use super::super::encode::encode;
    use super::*;

    /// A file of two channels of 16 bits with blocks of these sizes, numbered by frame.
    fn file(sizes: &[u32]) -> Vec<u8> {
        let mut header = vec![0xFF, 0xF8, 0x79, 0x18, 0, 0, 0];
        header.push(crc8(&header));
        let header = Header::parse(&header).unwrap();
        let mut out = b"fLaC\x80\0\0\x22".to_vec();
        out.extend([0, 192, 0x10, 0, 0, 0, 0, 0, 0, 0]);
        // 44.1 kHz, two channels, 16 bits, as many samples as there are.
        out.extend([0x0A, 0xC4, 0x42, 0xF0, 0, 0, 0, 0]);
        out.extend([0; 16]);
        for (number, size) in (0..).zip(sizes) {
            let like = Header {
                number,
                block_size: *size,
                ..header
            };
            out.extend(encode(&like, &vec![vec![7; *size as usize]; 2], 16));
        }
        out
    }

    #[test]
    fn no_block_is_larger_than_the_first_where_only_that_says_how_large_they_are() {
        let scan = |sizes: &[u32]| {
            let file = file(sizes);
            let head = head(&file, Duration::ZERO).unwrap().unwrap();
            Index::scan(&file, &head, Duration::ZERO).map(|index| index.samples())
        };
        assert_eq!(scan(&[192, 192, 100]).unwrap(), 484);
        assert!(scan(&[192, 192, 300]).is_err());
        assert!(scan(&[192, 100, 192]).is_err());
    }

    #[test]
    fn tags_have_a_bound() {
        let tagged = |len: u64| {
            let size = [21, 14, 7, 0].map(|shift| (len >> shift) as u8 & 0x7F);
            let tag = [&b"ID3\x04\0\0"[..], &size, &vec![0; len as usize]].concat();
            head(&[tag, file(&[192])].concat(), Duration::ZERO)
        };
        assert!(tagged(1_000).unwrap().is_some());
        assert!(matches!(tagged(MOST_TAG_BYTES), Err(SpliceError::Unsupported(_))));
    }
}
