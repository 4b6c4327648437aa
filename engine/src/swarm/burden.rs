//! Whether we hold more that nobody else has than our uplink can hand on soon.
//!
//! A viewer behind a slow line that draws a large part of the content keeps everybody waiting for its uplink, until
//! those who are not its neighbours draw it again. Whoever is burdened takes its turn at the origin last. Not here:
//! the turns (`origin_duty`).

use std::time::{Duration, Instant};

use super::Swarm;
use super::types::{BLOCK_SIZE, OriginPolicy};

/// What nobody else has should be handed on within this time, in seconds.
const SOON: f64 = 2.0;
/// While our uplink is not measured, or as long as it is this little, it is no burden.
const LIGHT: u64 = 256 << 10;
/// So long after its first request to the origin, who is alone asks for little at a time: others may be on their way.
const YOUNG: Duration = Duration::from_millis(500);
/// Little is this part of the content.
const PART: u64 = 16;

impl Swarm {
    /// Whether our neighbours wait, or will wait once it is here, for more than we can send them soon.
    pub(super) fn is_burdened(&self) -> bool {
        let sole: u64 = self.sole().iter().map(|word| u64::from(word.count_ones())).sum();
        let soon = self.uploads.rate().map_or(0, |rate| (rate * SOON) as u64);
        let drawn = u64::from(self.origin.outstanding);
        (sole + drawn) * u64::from(BLOCK_SIZE) >= soon.max(LIGHT)
    }

    /// Most blocks to have asked the origin for: whoever is alone may be the first of a crowd, and would keep those
    /// who come in the next instant waiting for its uplink.
    pub(super) fn alone_limit(&self, now: Instant) -> u32 {
        let young = |since| now.saturating_duration_since(since) < YOUNG;
        let first = self.peers.is_empty()
            && self.config.policy == OriginPolicy::Thrifty
            && self.origin.asked_first.is_none_or(young);
        if first {
            let part = (self.layout.total_blocks() / PART) as u32;
            part.max((LIGHT / u64::from(BLOCK_SIZE)) as u32)
                .max(self.layout.piece_blocks())
        } else {
            u32::MAX
        }
    }

    /// Blocks that we hold and no neighbour does.
    pub(super) fn sole(&self) -> Vec<u64> {
        let mut words: Vec<u64> = (0..self.layout.numbers().div_ceil(64) as usize)
            .map(|word| self.have.word(word))
            .collect();
        for peer in self.peers.values() {
            for (index, word) in words.iter_mut().enumerate() {
                *word &= !peer.have.word(index);
            }
        }
        words
    }
}
