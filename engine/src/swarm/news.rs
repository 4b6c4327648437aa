//! What neighbours are told of blocks that came: gathered for a moment, then sent to all of them in long runs.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::Swarm;
use super::types::{Audience, Output};

/// Haves and claims of others are gathered this long before they are sent.
pub(super) const BATCH: Duration = Duration::from_millis(50);

impl Swarm {
    pub(super) fn tell(&mut self, block: u32, now: Instant) {
        if self.peers.is_empty() {
            return;
        }
        match self.news.last_mut() {
            // Consecutive numbers of two files are two runs.
            Some(last) if last.end == block && self.layout.is_one_run(last.start..block + 1) => last.end += 1,
            _ => self.news.push(block..block + 1),
        }
        self.flush_at.get_or_insert(now + BATCH);
    }

    pub(super) fn flush(&mut self) {
        self.flush_at = None;
        let mut news = std::mem::take(&mut self.news);
        news.sort_by_key(|span| span.start);
        let mut merged: Vec<Range<u32>> = Vec::with_capacity(news.len());
        for span in news {
            match merged.last_mut() {
                Some(last)
                    if last.end >= span.start
                        && self.layout.is_one_run(last.start..last.end.max(span.end)) =>
                {
                    last.end = last.end.max(span.end);
                }
                _ => merged.push(span),
            }
        }
        if !merged.is_empty() && !self.peers.is_empty() {
            let runs = merged.into_iter().map(|span| self.layout.run(span)).collect();
            self.outputs.push_back(Output::SendHave {
                to: Audience::Everyone,
                runs,
            });
        }
        self.flush_claims();
    }
}
