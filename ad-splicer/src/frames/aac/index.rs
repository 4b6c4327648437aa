//! Where every ADTS frame of a file is: by reading all of their headers, or counted from the marks of an index ([`crate::frame_index`]).

use std::ops::Range;
use std::time::Duration;

use super::{HEADER_LEN, Head, Header, unsupported};
use crate::content::Content;
use crate::frame_index::FrameIndex;
use crate::frames::marked::{self, Marked};
use crate::frames::window::Window;
use crate::splice::{self, SpliceError};

/// See the module documentation.
pub(crate) struct Index<'a> {
    file: File<'a>,
    offsets: Offsets,
}

struct File<'a> {
    content: &'a dyn Content,
    head: Head,
    deadline: Duration,
}

enum Offsets {
    /// Of each frame as they were read, and of the end of the last.
    Read(Vec<u64>),
    Marked(Marked),
}

/// Whether a tag begins here, which ends the audio.
fn is_tag(bytes: &[u8]) -> bool {
    [&b"TAG"[..], b"APETAGEX", b"ID3"]
        .iter()
        .any(|tag| bytes.starts_with(tag))
}

impl<'a> Index<'a> {
    /// Reads the header of each frame: all of the content is read once.
    pub(crate) fn scan(
        content: &'a dyn Content,
        head: &Head,
        deadline: Duration,
    ) -> Result<Self, SpliceError> {
        let mut window = Window::new(content, deadline);
        let mut offset = head.start;
        let mut offsets = vec![offset];
        while offset < content.len() {
            let bytes = window.get(offset, 16)?;
            let Some(header) = Header::parse(bytes) else {
                if is_tag(bytes) {
                    break;
                }
                return Err(if content.len() - offset < HEADER_LEN as u64 {
                    SpliceError::Truncated { offset }
                } else {
                    SpliceError::Corrupt { offset }
                });
            };
            if header.config != Some(head.config) || header.profile != 1 {
                return Err(SpliceError::Unsupported(format!(
                    "the sample rate or the number of channels changes at byte {offset}"
                )));
            }
            if !header.is_of(head.config) {
                return Err(unsupported("the content has several AAC blocks in an ADTS frame"));
            }
            let next = offset + header.len as u64;
            if next > content.len() {
                return Err(SpliceError::Truncated { offset });
            }
            offset = next;
            offsets.push(offset);
        }
        Ok(Self {
            file: File {
                content,
                head: *head,
                deadline,
            },
            offsets: Offsets::Read(offsets),
        })
    }

    /// Takes what an index says, if that holds at the beginning and at the end of the file. What lies between is checked where it is read. `None` when there is no index, or it is of something else.
    pub(crate) fn marked(
        content: &'a dyn Content,
        head: &Head,
        deadline: Duration,
    ) -> Result<Option<Self>, SpliceError> {
        let Some(index) = content.frame_index() else {
            return Ok(None);
        };
        let end = index.end();
        if index.start() != head.start || end > content.len() {
            return Ok(None);
        }
        let after = Window::new(content, deadline).get(end, 16)?.to_vec();
        if !after.is_empty() && !is_tag(&after) {
            return Ok(None);
        }
        let last = index.frames() - 1;
        let marked = Marked::new(index.clone());
        let file = File {
            content,
            head: *head,
            deadline,
        };
        match marked.stretch(last, &file) {
            Ok(_) => Ok(Some(Self {
                file,
                offsets: Offsets::Marked(marked),
            })),
            Err(SpliceError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What can be given to others as an index; `None` when that is of no use.
    pub(crate) fn to_frame_index(&self) -> Option<FrameIndex> {
        match &self.offsets {
            Offsets::Read(offsets) => FrameIndex::new(self.frames(), |frame| offsets[frame as usize]),
            Offsets::Marked(_) => None,
        }
    }

    /// How many frames there are.
    pub(crate) fn frames(&self) -> u64 {
        match &self.offsets {
            Offsets::Read(offsets) => offsets.len() as u64 - 1,
            Offsets::Marked(marked) => marked.index().frames(),
        }
    }

    /// Offset of the first frame.
    pub(crate) fn start(&self) -> u64 {
        self.file.head.start
    }

    /// Offset of a frame; past the last one, of the end of the audio. With an index, the frames around it may be read for it.
    pub(crate) fn offset(&self, frame: u64) -> Result<u64, SpliceError> {
        match &self.offsets {
            Offsets::Read(offsets) => Ok(offsets[(frame as usize).min(offsets.len() - 1)]),
            Offsets::Marked(marked) => marked.offset(frame, &self.file),
        }
    }

    /// The frame that begins at an offset; with an index, only of frames that were asked for before.
    pub(crate) fn frame_at(&self, offset: u64) -> u64 {
        match &self.offsets {
            Offsets::Read(offsets) => offsets.partition_point(|known| *known < offset) as u64,
            Offsets::Marked(marked) => marked.frame_at(offset),
        }
    }

    /// Frames, about `step` apart, of which it is known where they are without reading anything, with their offsets.
    pub(crate) fn known(&self, frames: Range<u64>, step: u64) -> Vec<(u64, u64)> {
        match &self.offsets {
            Offsets::Read(offsets) => frames
                .step_by(step as usize)
                .filter_map(|frame| Some((frame, *offsets.get(frame as usize)?)))
                .collect(),
            Offsets::Marked(marked) => marked.index().marks_in(frames),
        }
    }
}

impl marked::Frames for File<'_> {
    fn bytes(&self, range: Range<u64>) -> Result<Vec<u8>, SpliceError> {
        let len = (range.end - range.start) as usize;
        splice::read(self.content, range.start, len, self.deadline)
    }

    fn len_of(&self, frame: &[u8]) -> Option<usize> {
        let header = Header::parse(frame)?;
        header.is_of(self.head.config).then_some(header.len)
    }
}
