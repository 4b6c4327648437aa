//! Where every ADTS frame of a file is: by reading all of their headers, or counted from the marks of an index ([`crate::frame_index`]). A last frame that is incomplete is none, and what holds no two frames that follow each other is none of the sound.

use std::ops::Range;
use std::time::Duration;

use super::{Config, HEADER_LEN, Head, Header, unsupported};
use crate::content::Content;
use crate::frame_index::FrameIndex;
use crate::frames::marked::{Counted, Frames, Marked};
use crate::frames::tail;
use crate::frames::window::Window;
use crate::splice::{self, SpliceError};

/// See the module documentation.
pub(crate) struct Index<'a> {
    file: File<'a>,
    offsets: Counted,
    /// Bytes of an incomplete frame after the last one.
    left_over: u64,
}

struct File<'a> {
    content: &'a dyn Content,
    head: Head,
    deadline: Duration,
}

/// How many bytes of an incomplete frame begin at `offset`; 0 where none does.
fn incomplete(window: &mut Window<'_>, config: Config, offset: u64) -> Result<u64, SpliceError> {
    let until = match tail::tags_at(window)? {
        until if until > offset => until,
        _ => window.len(),
    };
    let left = until.saturating_sub(offset);
    let is_cut = match Header::parse(window.get(offset, HEADER_LEN)?) {
        Some(header) => header.config == Some(config) && header.len as u64 > left,
        None => left < HEADER_LEN as u64 && !tail::is_tail(window, offset)?,
    };
    Ok(if is_cut { left } else { 0 })
}

/// Whether two frames of one stream follow each other at or after `offset`; bytes that only look like a frame are none.
fn goes_on(window: &mut Window<'_>, offset: u64) -> Result<bool, SpliceError> {
    let mut at = offset;
    while at < window.len() {
        let bytes = window.at_least(at, 1)?;
        let Some(skipped) = bytes.iter().position(|byte| *byte == 0xFF) else {
            at += bytes.len() as u64;
            continue;
        };
        at += skipped as u64;
        if let Some(first) = Header::parse(window.get(at, HEADER_LEN)?)
            && let Some(next) = Header::parse(window.get(at + first.len as u64, HEADER_LEN)?)
            && (next.config, next.profile) == (first.config, first.profile)
        {
            return Ok(true);
        }
        at += 1;
    }
    Ok(false)
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
        let mut left_over = 0;
        while offset < content.len() {
            let header = Header::parse(window.get(offset, HEADER_LEN)?);
            let fits = header.is_some_and(|header| header.is_of(head.config));
            let next = offset + header.map_or(0, |header| header.len as u64);
            if fits && next <= content.len() {
                offset = next;
                offsets.push(offset);
                continue;
            }
            left_over = incomplete(&mut window, head.config, offset)?;
            let (rest, _) = tail::behind(&mut window, offset)?;
            if left_over > 0 || !goes_on(&mut window, rest)? {
                break;
            }
            return Err(match header {
                Some(header) if header.config != Some(head.config) || header.profile != 1 => {
                    SpliceError::Unsupported(format!(
                        "the sample rate or the number of channels changes at byte {offset}"
                    ))
                }
                Some(_) => unsupported("the content has several AAC blocks in an ADTS frame"),
                None => SpliceError::Corrupt { offset },
            });
        }
        // A tag that begins within the last frame took the place of its end.
        if let [.., last, end] = offsets[..]
            && (last..end).contains(&tail::tags_at(&mut window)?)
        {
            offsets.pop();
            left_over = incomplete(&mut window, head.config, last)?;
        }
        if offsets.len() == 1 {
            return Err(window.truncated(head.start));
        }
        Ok(Self {
            file: File {
                content,
                head: *head,
                deadline,
            },
            offsets: Counted::Read(offsets),
            left_over,
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
        let mut window = Window::new(content, deadline);
        let left_over = incomplete(&mut window, head.config, end)?;
        let (rest, _) = tail::behind(&mut window, end)?;
        let is_frame = Header::parse(window.get(end, HEADER_LEN)?).is_some();
        if left_over == 0 && (is_frame || goes_on(&mut window, rest)?) {
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
                left_over,
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

    /// How many bytes of an incomplete frame follow the last one.
    pub(crate) fn left_over(&self) -> u64 {
        self.left_over
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
