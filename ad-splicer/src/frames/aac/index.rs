//! Where every ADTS frame of a file is: by reading all of their headers, or counted from the marks of an index ([`crate::frame_index`]). A last frame that is incomplete is none.

use std::ops::Range;
use std::time::Duration;

use super::{Config, HEADER_LEN, Head, Header, unsupported};
use crate::content::Content;
use crate::frame_index::FrameIndex;
use crate::frames::marked::{Counted, Frames, Marked};
use crate::frames::window::Window;
use crate::splice::{self, SpliceError};

/// See the module documentation.
pub(crate) struct Index<'a> {
    file: File<'a>,
    offsets: Counted,
    /// Whether an incomplete frame is all that comes after the last one.
    is_cut: bool,
}

struct File<'a> {
    content: &'a dyn Content,
    head: Head,
    deadline: Duration,
}

/// Whether a tag begins here, which ends the audio.
fn is_tag(bytes: &[u8]) -> bool {
    [&b"TAG"[..], b"APETAGEX", b"ID3"]
        .iter()
        .any(|tag| bytes.starts_with(tag))
}

/// Whether `rest`, which begins with these bytes, is all of the content from here on, and not all of a frame.
fn is_cut(begins: &[u8], config: Config, rest: u64) -> bool {
    match Header::parse(begins) {
        Some(header) => header.config == Some(config) && header.len as u64 > rest,
        None => rest > 0 && rest < HEADER_LEN as u64 && !is_tag(begins),
    }
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
        let mut is_cut_there = false;
        while offset < content.len() {
            let bytes = window.get(offset, 16)?;
            is_cut_there = is_cut(bytes, head.config, content.len() - offset);
            if is_cut_there || is_tag(bytes) {
                break;
            }
            let Some(header) = Header::parse(bytes) else {
                return Err(SpliceError::Corrupt { offset });
            };
            if header.config != Some(head.config) || header.profile != 1 {
                return Err(SpliceError::Unsupported(format!(
                    "the sample rate or the number of channels changes at byte {offset}"
                )));
            }
            if !header.is_of(head.config) {
                return Err(unsupported("the content has several AAC blocks in an ADTS frame"));
            }
            offset += header.len as u64;
            offsets.push(offset);
        }
        if offsets.len() == 1 {
            return Err(window.truncated(offset));
        }
        Ok(Self {
            file: File {
                content,
                head: *head,
                deadline,
            },
            offsets: Counted::Read(offsets),
            is_cut: is_cut_there,
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
        let is_cut = is_cut(&after, head.config, content.len() - end);
        if !after.is_empty() && !is_tag(&after) && !is_cut {
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
                offsets: Counted::Marked(marked),
                is_cut,
            })),
            Err(SpliceError::Corrupt { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// See [`Counted::to_index`].
    pub(crate) fn to_frame_index(&self) -> Option<FrameIndex> {
        self.offsets.to_index()
    }

    /// How many frames there are.
    pub(crate) fn frames(&self) -> u64 {
        self.offsets.frames()
    }

    /// Offset of the first frame.
    pub(crate) fn start(&self) -> u64 {
        self.file.head.start
    }

    /// How many bytes of an incomplete frame are at the end of the content.
    pub(crate) fn left_over(&self) -> Result<u64, SpliceError> {
        if !self.is_cut {
            return Ok(0);
        }
        Ok(self.file.content.len() - self.offset(self.frames())?)
    }

    /// Offset of a frame; past the last one, of the end of the audio. With an index, the frames around it may be read for it.
    pub(crate) fn offset(&self, frame: u64) -> Result<u64, SpliceError> {
        self.offsets.offset(frame, &self.file)
    }

    /// See [`Counted::frame_at`].
    pub(crate) fn frame_at(&self, offset: u64) -> u64 {
        self.offsets.frame_at(offset)
    }

    /// See [`Counted::known`].
    pub(crate) fn known(&self, frames: Range<u64>, step: u64) -> Vec<(u64, u64)> {
        self.offsets.known(frames, step)
    }
}

impl Frames for File<'_> {
    fn bytes(&self, range: Range<u64>) -> Result<Vec<u8>, SpliceError> {
        let len = (range.end - range.start) as usize;
        splice::read(self.content, range.start, len, self.deadline)
    }

    fn len_of(&self, frame: &[u8]) -> Option<usize> {
        let header = Header::parse(frame)?;
        header.is_of(self.head.config).then_some(header.len)
    }
}
