//! Content as it is given to GStreamer: with a few bytes changed where its demuxers would otherwise play nothing.
//!
//! Not for: what is passed on, stored or spliced, which stays as it is.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::content::Content;
use crate::frame_index::FrameIndex;
use crate::frames::mp4::true_length;

/// Bytes to be read instead of those that are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mend {
    at: u64,
    bytes: Vec<u8>,
}

impl Mend {
    /// What has to be changed of `content`. Its beginning is read; of MP4 the heads of all boxes, and the movie box. What cannot be read or understood is left to the demuxer.
    pub(crate) fn of(content: &dyn Content, deadline: Duration) -> Option<Self> {
        let (at, bytes) = true_length(content, deadline).ok()??;
        Some(Self { at, bytes })
    }

    /// Changes what was read at `offset`.
    pub(crate) fn apply(&self, offset: u64, buffer: &mut [u8]) {
        for (at, byte) in (self.at..).zip(&self.bytes) {
            let there = at.checked_sub(offset).and_then(|at| buffer.get_mut(at as usize));
            if let Some(there) = there {
                *there = *byte;
            }
        }
    }
}

struct Mended {
    content: Arc<dyn Content>,
    mend: Mend,
}

/// The content as it is to be played. Blocks until that is known.
pub fn mended(content: Arc<dyn Content>, deadline: Duration) -> Arc<dyn Content> {
    match Mend::of(content.as_ref(), deadline) {
        Some(mend) => Arc::new(Mended { content, mend }),
        None => content,
    }
}

impl Content for Mended {
    fn len(&self) -> u64 {
        self.content.len()
    }

    fn frame_index(&self) -> Option<&FrameIndex> {
        self.content.frame_index()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], deadline: Duration) -> io::Result<usize> {
        let count = self.content.read_at(offset, buffer, deadline)?;
        self.mend.apply(offset, &mut buffer[..count]);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_changed_wherever_a_read_begins() {
        let content: Arc<dyn Content> = Arc::new(vec![0_u8; 10]);
        let mend = Mend {
            at: 3,
            bytes: vec![1, 2, 3],
        };
        let mended = Mended { content, mend };
        let whole = [0, 0, 0, 1, 2, 3, 0, 0, 0, 0];
        for from in 0..10 {
            for to in from..=10 {
                let mut buffer = vec![9; to - from];
                let count = mended
                    .read_at(from as u64, &mut buffer, Duration::ZERO)
                    .expect("it is in memory");
                assert_eq!(buffer[..count], whole[from..to]);
            }
        }
    }
}
