//! How many viewers are believed to be there.
//!
//! The tracker's count spreads the duties: the larger the swarm, the longer each waits for the others. But a tracker
//! counts a crowd that has left for as long as it remembers it, and may say anything. So it is believed up to
//! [`MOST`], and only while there is a sign of life: whoever lacks something, receives nothing and hears nobody claim
//! it halves the count again and again, down to those it sees. The tracker's next answer is believed anew.

use std::time::{Duration, Instant};

use super::Swarm;
use super::readers::NEAR;

/// A larger count is not believed.
const MOST: u32 = 1_000_000;
/// Without a sign of life for so long, the count is doubted.
const QUIET: Duration = Duration::from_secs(3);
/// Then it is halved so often. From [`MOST`] down to one takes five seconds.
const HALVED: Duration = Duration::from_millis(250);
/// Claims are a sign of life for no longer than this while nothing comes, however many there are.
const CLAIMS_COUNT: Duration = Duration::from_secs(8);

/// The tracker's count, and how much of it is believed.
#[derive(Debug)]
pub(super) struct Size {
    pub(super) told: Option<u32>,
    told_at: Instant,
    /// How often it was halved.
    halved: u32,
    /// When it was halved, or there was no need to.
    looked: Instant,
    claimed: Instant,
}

impl Size {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            told: None,
            told_at: now,
            halved: 0,
            looked: now,
            claimed: now,
        }
    }

    /// The tracker says how many there are.
    pub(super) fn hear(&mut self, count: u32, now: Instant) {
        self.told = Some(count.clamp(1, MOST));
        self.told_at = now;
        self.halved = 0;
    }

    /// Somebody says that he draws something.
    pub(super) fn claim_heard(&mut self, now: Instant) {
        self.claimed = now;
    }

    /// What is left of the tracker's count.
    pub(super) fn believed(&self) -> Option<u32> {
        self.told
            .map(|count| count.checked_shr(self.halved).unwrap_or(0).max(1))
    }
}

impl Swarm {
    /// The viewers there are, as far as we believe it: ourselves and those we see at least.
    pub(super) fn viewers(&self) -> u32 {
        let view = self.peers.len() as u32 + 1;
        self.size.believed().map_or(view, |count| count.max(view))
    }

    /// Believes less of the tracker's count when nothing shows that so many are there.
    pub(super) fn doubt_size(&mut self, now: Instant) {
        let seen = self.peers.len() as u32 + 1;
        if self.size.believed().is_none_or(|count| count <= seen) {
            return;
        }
        let news = self.last_progress.max(self.size.told_at);
        let life = news.max(self.size.claimed.min(news + CLAIMS_COUNT));
        let waited = |since: Instant| now.saturating_duration_since(since);
        if waited(life) < QUIET || !self.lacks_something() {
            self.size.looked = now;
        } else if waited(self.size.looked) >= HALVED {
            self.size.looked = now;
            self.size.halved += 1;
        }
    }

    /// Whether there is something to wait for: a download's rest, or media that a reader needs within a minute.
    fn lacks_something(&self) -> bool {
        if self.config.whole_file {
            return !self.complete;
        }
        self.readers.values().any(|reader| {
            let near = self.byte_span(reader.file, &reader.window(NEAR));
            !self.have.all(near)
        })
    }
}
