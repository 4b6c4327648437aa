//! How fast our own line was seen to be, and how much may be on its way through it.
//!
//! What many peers send at once comes through our line one after the other: behind a slow one, what is asked for too
//! early comes before what is needed sooner, and what is not here yet need not be late. Peers that send in bursts show
//! what a line can do within a tenth of a second; how much they bring in the long run says nothing of it. Not here: how
//! fast a peer is (`score`).

use std::time::{Duration, Instant};

use super::Swarm;
use super::types::BLOCK_SIZE;

/// The line's rate is the best of those seen over this time; it is forgotten within about a minute of use.
const WINDOW: Duration = Duration::from_millis(100);
const MEMORY: f64 = 60.0;
/// What came after so long says nothing of the line: nothing was asked for.
const IDLE: Duration = Duration::from_millis(500);
/// So many blocks may be on their way through any line.
const LEAST: u32 = 32;
/// What is needed later than this, in seconds, waits while more than a second of the line is on its way.
const LATER: f64 = 2.0;

/// The measurement of our own line.
#[derive(Debug)]
pub(super) struct Downlink {
    since: Instant,
    bytes: u64,
    /// Bytes a second; 0 before it was seen.
    best: f64,
}

impl Downlink {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            bytes: 0,
            best: 0.0,
        }
    }

    /// Bytes arrived, from whomever.
    pub(super) fn arrived(&mut self, bytes: u64, now: Instant) {
        self.bytes += bytes;
        let gone = now.saturating_duration_since(self.since);
        if gone < WINDOW {
            return;
        }
        if gone < IDLE {
            let gone = gone.as_secs_f64();
            let kept = self.best * (1.0 - gone / MEMORY);
            self.best = kept.max(self.bytes as f64 / gone);
        }
        (self.since, self.bytes) = (now, 0);
    }

    /// How long so many blocks take, in seconds; none while nothing was seen.
    pub(super) fn time(&self, blocks: u32) -> f64 {
        if self.best > 0.0 {
            f64::from(blocks) * f64::from(BLOCK_SIZE) / self.best
        } else {
            0.0
        }
    }
}

impl Swarm {
    /// Whether what a peer holds and is needed in so many seconds should not be asked for yet: our line is busy for as
    /// long as it takes to ask for it in time.
    pub(super) fn line_is_taken(&self, slack: f64) -> bool {
        let coming = self.outstanding + self.origin.outstanding;
        slack > LATER && coming > LEAST && self.downlink.time(coming) > 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_fast_as_its_bursts() {
        let start = Instant::now();
        let mut line = Downlink::new(start);
        assert!(line.time(100) < 1e-9);
        // A block each 10 ms for a second, then less.
        let mut now = start;
        for _ in 0..100 {
            now += Duration::from_millis(10);
            line.arrived(BLOCK_SIZE.into(), now);
        }
        assert!((0.9..=1.1).contains(&line.time(100)), "{}", line.time(100));
        for _ in 0..100 {
            now += Duration::from_secs(1);
            line.arrived(BLOCK_SIZE.into(), now);
        }
        assert!(line.time(100) <= 1.1, "nothing was asked for: {}", line.time(100));
        for _ in 0..150 {
            now += Duration::from_millis(200);
            line.arrived(BLOCK_SIZE.into(), now);
        }
        let time = line.time(100);
        assert!((1.4..=2.0).contains(&time), "it became slower: {time}");
    }
}
