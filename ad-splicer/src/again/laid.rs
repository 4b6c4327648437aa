//! Content that is laid out anew of two: what it was, and what of it was coded again. Nothing is copied: bytes are read where they are.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::content::{Content, FileContent, Findings};
use crate::splice::Run;
use crate::splice::format::Runs;

/// Two contents in one space of offsets: those of the second follow those of the first.
pub(super) struct Both<'a> {
    pub(super) first: &'a dyn Content,
    pub(super) second: &'a dyn Content,
}

impl Content for Both<'_> {
    fn len(&self) -> u64 {
        self.first.len() + self.second.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], deadline: Duration) -> io::Result<usize> {
        match offset.checked_sub(self.first.len()) {
            Some(offset) => self.second.read_at(offset, buffer, deadline),
            None => self.first.read_at(offset, buffer, deadline),
        }
    }
}

/// The content that runs make of both.
pub(super) struct Laid {
    content: Arc<dyn Content>,
    coded: FileContent,
    runs: Vec<Run>,
    len: u64,
    findings: Findings,
}

impl Laid {
    pub(super) fn new(content: Arc<dyn Content>, coded: FileContent, runs: Runs) -> Self {
        Self {
            content,
            coded,
            len: runs.len(),
            runs: runs.into_runs(),
            findings: Findings::default(),
        }
    }
}

impl Content for Laid {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], deadline: Duration) -> io::Result<usize> {
        let both = Both {
            first: self.content.as_ref(),
            second: &self.coded,
        };
        let next = self.runs.partition_point(|run| run.start <= offset);
        let mut done = 0;
        // Runs may be short: as many are read as it takes.
        for run in &self.runs[next.saturating_sub(1)..] {
            let within = offset + done as u64 - run.start;
            let count = match run.read_at(&both, within, &mut buffer[done..], deadline) {
                Ok(count) => count.unwrap_or(0),
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            };
            done += count;
            if done == buffer.len() || within + (count as u64) < run.len {
                break;
            }
        }
        Ok(done)
    }

    fn findings(&self) -> Option<&Findings> {
        Some(&self.findings)
    }
}
