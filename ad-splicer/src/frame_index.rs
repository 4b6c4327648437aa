//! Where some frames of content are, so that the others can be counted without reading all that comes before them.
//!
//! A frame of MP3 or ADTS does not say which one it is: who has not read all that comes before it cannot know what is heard when. A [`FrameIndex`] is made once, when content is published, and becomes a part of the content's identity
//! (it stands in the `info` dictionary of its metainfo), so that everybody who has the same info hash counts the same, whatever a cue sheet says.
//!
//! It holds where each 256th frame begins (in content of more than a million frames each 512th, and so on): the *marks*. What lies between two of them is read where it is needed, and has to be as many frames, without gaps
//! (`frames::marked`); an index that does not hold where it is looked at is as none, and all of the content is read. Not for: content that tells itself where its frames are.

use std::ops::Range;

use crate::content::Content;
use crate::splice::format::recognise;
use crate::splice::{Options, SpliceError};

/// The version of the encoding.
const VERSION: u8 = 1;
/// Frames between two marks, unless that makes too many.
const STRIDE: u64 = 256;
/// The most stretches between marks.
const MOST_STRETCHES: u64 = 4096;
/// The most frames, four days of the shortest: what lies between two marks is held in memory when it is looked at, at most 64 MiB then.
const MOST_FRAMES: u64 = 1 << 25;
/// The most bytes of a frame: of AAC, whose frames have 13 bits for it.
const MOST_FRAME_LEN: u64 = 8191;
/// Content with fewer frames than this has no index: there is little to be saved.
pub(crate) const FEW_FRAMES: u64 = 2048;

/// Frames between two marks in content with so many.
pub(crate) fn stride(frames: u64) -> u64 {
    let mut stride = STRIDE;
    while frames.div_ceil(stride) > MOST_STRETCHES {
        stride *= 2;
    }
    stride
}

/// About where a frame is: exact where a mark is, and between two marks as if all frames there were of one length. `offset` tells where the marks are; past the last frame is the end.
pub(crate) fn about(frame: u64, frames: u64, offset: impl Fn(u64) -> u64) -> u64 {
    let frame = frame.min(frames);
    let stride = stride(frames);
    let mark = frame / stride * stride;
    let next = (mark + stride).min(frames);
    if mark == frame {
        return offset(mark);
    }
    let from = offset(mark);
    from + (offset(next) - from) * (frame - mark) / (next - mark)
}

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameIndex {
    frames: u64,
    /// Offset of each mark, and of the end of the last frame.
    marks: Vec<u64>,
}

impl FrameIndex {
    /// Reads content of which an index can be of use, and makes it. `None` when it tells itself where its frames are, when it is short, or no kind of content that ads can be put into.
    ///
    /// # Errors
    /// [`SpliceError::Read`].
    pub fn of(content: &dyn Content) -> Result<Option<Self>, SpliceError> {
        let options = Options::default();
        let made = recognise(content, &options).and_then(|head| head.frame_index());
        match made {
            Err(error @ SpliceError::Read { .. }) => Err(error),
            made => Ok(made.ok().flatten()),
        }
    }

    /// An index of so many frames, of which `offset` tells where each is, and where the last one ends. `None` when there are few, or too many.
    pub(crate) fn new(frames: u64, offset: impl Fn(u64) -> u64) -> Option<Self> {
        if !(FEW_FRAMES..MOST_FRAMES).contains(&frames) {
            return None;
        }
        let marks = (0..frames).step_by(stride(frames) as usize).chain([frames]);
        Some(Self {
            frames,
            marks: marks.map(offset).collect(),
        })
    }

    /// How many frames there are, without an information frame.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Offset in bytes of the first frame.
    pub fn start(&self) -> u64 {
        self.marks[0]
    }

    /// Offset in bytes of the end of the last frame.
    pub fn end(&self) -> u64 {
        self.marks[self.marks.len() - 1]
    }

    /// The offset of a frame where there is a mark, and of the end.
    pub(crate) fn mark(&self, frame: u64) -> Option<u64> {
        if frame >= self.frames {
            return Some(self.end());
        }
        let stride = stride(self.frames);
        let place = usize::try_from(frame / stride)
            .ok()
            .filter(|_| frame.is_multiple_of(stride))?;
        self.marks.get(place).copied()
    }

    /// The marks in a range of frames: frame and offset.
    pub(crate) fn marks_in(&self, frames: Range<u64>) -> Vec<(u64, u64)> {
        let stride = stride(self.frames);
        let first = frames.start.next_multiple_of(stride);
        let marked = (first..frames.end.min(self.frames)).step_by(stride as usize);
        marked
            .filter_map(|frame| Some((frame, self.mark(frame)?)))
            .collect()
    }

    /// The stretch that a frame is in: its frames, and its bytes.
    pub(crate) fn stretch(&self, frame: u64) -> (Range<u64>, Range<u64>) {
        let stride = stride(self.frames);
        let place = (frame.min(self.frames - 1) / stride) as usize;
        let first = place as u64 * stride;
        (
            first..(first + stride).min(self.frames),
            self.marks[place]..self.marks[place + 1],
        )
    }

    /// The first frame of the stretch that a byte is in.
    pub(crate) fn mark_before(&self, offset: u64) -> u64 {
        let place = self.marks.partition_point(|mark| *mark <= offset);
        (place.saturating_sub(1) as u64 * stride(self.frames)).min(self.frames)
    }

    /// The encoding: a version, then numbers in base 128 with the lowest part first, seven bits a byte, the highest bit set in all but a number's last byte. The numbers are: where the first frame begins, how many there are, and for each stretch between marks
    /// by how many bytes it is longer than the one before it, doubled, or when it is shorter, doubled and less one.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put(&mut out, self.start());
        put(&mut out, self.frames);
        let mut before = 0;
        for pair in self.marks.windows(2) {
            let len = pair[1] - pair[0];
            put(
                &mut out,
                if len >= before {
                    (len - before) * 2
                } else {
                    (before - len) * 2 - 1
                },
            );
            before = len;
        }
        out
    }

    /// Reads what [`FrameIndex::to_bytes`] writes; `None` when it is something else, or says what cannot be.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (version, mut rest) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        let mut offset = take(&mut rest)?;
        let frames = take(&mut rest)?;
        if !(FEW_FRAMES..MOST_FRAMES).contains(&frames) {
            return None;
        }
        let stride = stride(frames);
        let mut marks = vec![offset];
        let mut len = 0_u64;
        for first in (0..frames).step_by(stride as usize) {
            let change = take(&mut rest)?;
            len = if change % 2 == 0 {
                len.checked_add(change / 2)?
            } else {
                len.checked_sub(change / 2 + 1)?
            };
            let count = stride.min(frames - first);
            if !(count..=count * MOST_FRAME_LEN).contains(&len) {
                return None;
            }
            offset = offset.checked_add(len)?;
            marks.push(offset);
        }
        rest.is_empty().then_some(Self { frames, marks })
    }
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// At most nine bytes: 63 bits.
fn take(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..9 {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        number |= u64::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Frames of these lengths again and again, from byte 1,000 on.
    fn offsets(lens: &[u64], frames: u64) -> Vec<u64> {
        let mut offsets = vec![1_000];
        for frame in 0..frames as usize {
            offsets.push(offsets[frame] + lens[frame % lens.len()]);
        }
        offsets
    }

    #[test]
    fn two_hours_take_two_kilobytes() {
        let frames = 2 * 3600 * 44_100 / 1152;
        let offsets = offsets(&[208, 417, 522, 626, 313], frames);
        let index = FrameIndex::new(frames, |frame| offsets[frame as usize]).unwrap();
        let bytes = index.to_bytes();
        assert!(bytes.len() < 2_500, "{} bytes", bytes.len());
        assert_eq!(FrameIndex::parse(&bytes), Some(index));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let offsets = offsets(&[417], 3_000);
        let bytes = FrameIndex::new(3_000, |frame| offsets[frame as usize])
            .unwrap()
            .to_bytes();
        assert!(FrameIndex::parse(&bytes).is_some());
        let more = [&bytes[..], &[0]].concat();
        let other_version = [&[2], &bytes[1..]].concat();
        let of = |numbers: &[u64], zeros: usize| {
            let mut out = vec![VERSION];
            for number in numbers {
                put(&mut out, *number);
            }
            out.extend(vec![0; zeros]);
            out
        };
        // No bytes for frames, more than frames can have, and few frames.
        let none = of(&[0, 3_000], 12);
        let long = of(&[0, 3_000, 2 * 256 * 8_192], 11);
        let few = of(&[0, 3, 6], 0);
        let endless = of(&[0, MOST_FRAMES, 2 * 8_192 * 400], 4_095);
        for wrong in [
            &bytes[..bytes.len() - 1],
            &more,
            &other_version,
            &none,
            &long,
            &few,
            &endless,
            &[],
        ] {
            assert_eq!(FrameIndex::parse(wrong), None, "{wrong:?}");
        }
        assert_eq!(FrameIndex::new(FEW_FRAMES - 1, |frame| frame), None);
    }

    #[test]
    fn what_is_long_has_wider_marks() {
        assert_eq!([2_048, 1 << 20, (1 << 20) + 1].map(stride), [256, 256, 512]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(lens in prop::collection::vec(1_u64..8_191, 1..700), frames in FEW_FRAMES..9_000) {
            let offsets = offsets(&lens, frames);
            let index = FrameIndex::new(frames, |frame| offsets[frame as usize]).unwrap();
            prop_assert_eq!(FrameIndex::parse(&index.to_bytes()), Some(index.clone()));
            prop_assert_eq!((index.start(), index.end()), (1_000, offsets[frames as usize]));
            let mut before = 0;
            for frame in 0..=frames {
                let exact = offsets[frame as usize];
                if let Some(mark) = index.mark(frame) {
                    prop_assert_eq!(mark, exact);
                }
                let about = about(frame, frames, |mark| index.mark(mark).unwrap());
                let (inside, bytes) = index.stretch(frame);
                prop_assert!(bytes.start <= about && about <= bytes.end && before <= about);
                prop_assert_eq!(inside.contains(&frame), frame < frames);
                prop_assert!(index.mark_before(exact) <= frame);
                before = about;
            }
        }

        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = FrameIndex::parse(&bytes);
            if let Some(index) = FrameIndex::parse(&[&[VERSION, 0, 0x80, 0x10], &bytes[..]].concat()) {
                prop_assert_eq!(index.frames(), 2_048);
            }
        }
    }
}
