//! A window that moves over content, so that a file of any length is read in bounded memory.

use std::time::Duration;

use crate::content::Content;
use crate::splice::SpliceError;

/// How much is read at once.
const CHUNK: usize = 256 * 1024;

/// Bytes of the content around where it was read last.
pub(crate) struct Window<'a> {
    content: &'a dyn Content,
    deadline: Duration,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    /// Nothing is read yet; each read may take `deadline`.
    pub(crate) fn new(content: &'a dyn Content, deadline: Duration) -> Self {
        Self {
            content,
            deadline,
            start: 0,
            bytes: Vec::new(),
        }
    }

    /// `count` bytes at `offset`, or as many as there are before the end; borrowed until the next call.
    pub(crate) fn get(&mut self, offset: u64, count: usize) -> Result<&[u8], SpliceError> {
        self.at_least(offset, count)
            .map(|bytes| &bytes[..count.min(bytes.len())])
    }

    /// Length of the content in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.content.len()
    }

    /// The content ends within what begins at `offset`.
    pub(crate) fn truncated(&self, offset: u64) -> SpliceError {
        SpliceError::truncated(self.content, offset, None)
    }

    /// All bytes of the window from `offset` on: `count`, or as many as there are before the end, and perhaps more.
    pub(crate) fn at_least(&mut self, offset: u64, count: usize) -> Result<&[u8], SpliceError> {
        let count = usize::try_from(self.content.len().saturating_sub(offset))
            .unwrap_or(usize::MAX)
            .min(count);
        if count == 0 {
            return Ok(&[]);
        }
        let end = self.start + self.bytes.len() as u64;
        if offset < self.start || offset + count as u64 > end {
            let len = usize::try_from(self.content.len() - offset)
                .unwrap_or(usize::MAX)
                .min(CHUNK.max(count));
            self.start = offset;
            self.bytes.resize(len, 0);
            if let Err(source) = self.content.read_exact_at(offset, &mut self.bytes, self.deadline) {
                self.bytes.clear();
                return Err(SpliceError::Read { offset, source });
            }
        }
        Ok(&self.bytes[(offset - self.start) as usize..])
    }
}
