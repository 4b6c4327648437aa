//! Frames that are counted from the marks of an index: a stretch between two marks is read when a frame in it is wanted, and has to be just as many frames as it should be.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::frame_index::FrameIndex;
use crate::splice::SpliceError;

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Marked {
    index: FrameIndex,
    /// By its first frame, the offsets of a stretch's frames.
    known: Mutex<BTreeMap<u64, Arc<[u64]>>>,
}

/// What is asked of content and its coding: bytes, and how long a frame is that begins with some; `None` when no frame does.
pub(crate) trait Frames {
    /// So many bytes at an offset.
    fn bytes(&self, range: Range<u64>) -> Result<Vec<u8>, SpliceError>;
    /// See the trait.
    fn len_of(&self, frame: &[u8]) -> Option<usize>;
}

/// Where frames are that do not say which one they are.
#[derive(Debug)]
pub(crate) enum Counted {
    /// Of each frame as they were read, and of the end of the last.
    Read(Vec<u64>),
    /// From an index.
    Marked(Marked),
}

impl Counted {
    /// How many frames there are.
    pub(crate) fn frames(&self) -> u64 {
        match self {
            Self::Read(offsets) => offsets.len() as u64 - 1,
            Self::Marked(marked) => marked.index.frames(),
        }
    }

    /// See [`Marked::offset`].
    pub(crate) fn offset(&self, frame: u64, content: &dyn Frames) -> Result<u64, SpliceError> {
        match self {
            Self::Read(offsets) => {
                let place = usize::try_from(frame).unwrap_or(usize::MAX);
                Ok(offsets[place.min(offsets.len() - 1)])
            }
            Self::Marked(marked) => marked.offset(frame, content),
        }
    }

    /// The offset of a frame where that needs no reading: of each that was read, and of those with a mark.
    pub(crate) fn mark(&self, frame: u64) -> Option<u64> {
        match self {
            Self::Read(offsets) => offsets.get(usize::try_from(frame).ok()?).copied(),
            Self::Marked(marked) => marked.index.mark(frame),
        }
    }

    /// Frames, about `step` apart, of which it is known where they are without reading anything, with their offsets.
    pub(crate) fn known(&self, frames: Range<u64>, step: u64) -> Vec<(u64, u64)> {
        match self {
            Self::Read(_) => frames
                .step_by(step as usize)
                .filter_map(|frame| Some((frame, self.mark(frame)?)))
                .collect(),
            Self::Marked(marked) => marked.index.marks_in(frames),
        }
    }

    /// The frame that begins at an offset, or the next one; past the last, the number of frames. With an index, only of frames that were asked for before.
    pub(crate) fn frame_at(&self, offset: u64) -> u64 {
        match self {
            Self::Read(offsets) => {
                (offsets.partition_point(|known| *known < offset) as u64).min(self.frames())
            }
            Self::Marked(marked) => marked.frame_at(offset),
        }
    }

    /// What can be given to others as an index; `None` when that is of no use, or it was made from one.
    pub(crate) fn to_index(&self) -> Option<FrameIndex> {
        match self {
            Self::Read(offsets) => FrameIndex::new(self.frames(), |frame| offsets[frame as usize]),
            Self::Marked(_) => None,
        }
    }
}

impl Marked {
    pub(crate) fn new(index: FrameIndex) -> Self {
        Self {
            index,
            known: Mutex::default(),
        }
    }

    /// The offset of a frame; past the last, of the end. A stretch that is not what the index says is corrupt.
    pub(crate) fn offset(&self, frame: u64, content: &dyn Frames) -> Result<u64, SpliceError> {
        if let Some(mark) = self.index.mark(frame) {
            return Ok(mark);
        }
        let (frames, _) = self.index.stretch(frame);
        let offsets = self.stretch(frame, content)?;
        // There are as many as frames.
        Ok(offsets[(frame - frames.start) as usize])
    }

    /// The offsets of all frames in the stretch that a frame is in.
    pub(crate) fn stretch(&self, frame: u64, content: &dyn Frames) -> Result<Arc<[u64]>, SpliceError> {
        let (frames, range) = self.index.stretch(frame);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(offsets) = known.get(&frames.start) {
            return Ok(offsets.clone());
        }
        let corrupt = SpliceError::Corrupt { offset: range.start };
        let bytes = content.bytes(range.clone())?;
        let (mut at, mut offsets) = (0, Vec::new());
        while at < bytes.len() && (offsets.len() as u64) < frames.end - frames.start {
            offsets.push(range.start + at as u64);
            match content.len_of(&bytes[at..]) {
                Some(len) if len > 0 => at += len,
                _ => return Err(corrupt),
            }
        }
        if at != bytes.len() || offsets.len() as u64 != frames.end - frames.start {
            return Err(corrupt);
        }
        let offsets: Arc<[u64]> = offsets.into();
        known.insert(frames.start, offsets.clone());
        Ok(offsets)
    }

    /// The frame that begins at an offset, where that was looked for already or is a mark; otherwise the mark before it.
    pub(crate) fn frame_at(&self, offset: u64) -> u64 {
        let mark = self.index.mark_before(offset);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let within = known
            .get(&mark)
            .map_or(0, |offsets| offsets.partition_point(|known| *known < offset));
        (mark + within as u64).min(self.index.frames())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame's first byte is its length.
    struct Plain(Vec<u8>);

    impl Frames for Plain {
        fn bytes(&self, range: Range<u64>) -> Result<Vec<u8>, SpliceError> {
            Ok(self.0[range.start as usize..range.end as usize].to_vec())
        }

        fn len_of(&self, frame: &[u8]) -> Option<usize> {
            (frame[0] > 0).then_some(frame[0].into())
        }
    }

    #[test]
    fn frames_are_counted_from_marks_and_have_to_fit_between_them() {
        let (mut bytes, mut offsets) = (vec![9; 100], vec![100]);
        for frame in 0..3_000_u32 {
            let len = 3 + (frame % 5) as u8;
            bytes.extend(std::iter::repeat_n(len, len.into()));
            offsets.push(bytes.len() as u64);
        }
        let index = FrameIndex::new(3_000, |frame| offsets[frame as usize]).unwrap();
        let marked = Marked::new(index.clone());
        let content = Plain(bytes.clone());
        for frame in [0, 1, 255, 256, 257, 1_500, 2_999, 3_000, 9_000] {
            let offset = offsets[frame.min(3_000) as usize];
            assert_eq!(marked.offset(frame, &content).unwrap(), offset);
            assert_eq!(marked.frame_at(offset), frame.min(3_000));
        }

        // Two frames that became one, frames that no longer end at the mark, and none at all.
        let (_, range) = index.stretch(1_500);
        let at = range.start as usize;
        let (first, second) = (bytes[at], bytes[at + usize::from(bytes[at])]);
        for changed in [first + second, first - 1, 0] {
            let mut wrong = bytes.clone();
            wrong[at] = changed;
            let marked = Marked::new(index.clone());
            let error = marked.offset(1_500, &Plain(wrong.clone()));
            assert!(
                matches!(error, Err(SpliceError::Corrupt { offset }) if offset == range.start),
                "{changed}: {error:?}"
            );
            assert!(marked.offset(300, &Plain(wrong)).is_ok(), "elsewhere it holds");
        }
    }
}
