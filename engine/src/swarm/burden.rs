//! Whether we hold more that nobody else has than our uplink can hand on soon.
//!
//! A viewer behind a slow line that draws a large part of the content keeps everybody waiting for its uplink, until
//! those who are not its neighbours draw it again. Whoever is burdened takes its turn at the origin last. Not here:
//! the turns (`origin_duty`).

use super::Swarm;
use super::types::BLOCK_SIZE;

/// What nobody else has should be handed on within this time, in seconds.
const SOON: f64 = 2.0;
/// While our uplink is not measured, or as long as it is this little, it is no burden.
const LIGHT: u64 = 128 << 10;

impl Swarm {
    /// Whether our neighbours wait for more than we can send them soon.
    pub(super) fn is_burdened(&self) -> bool {
        let sole: u64 = self.sole().iter().map(|word| u64::from(word.count_ones())).sum();
        let soon = self.uploads.rate().map_or(0, |rate| (rate * SOON) as u64);
        sole * u64::from(BLOCK_SIZE) > soon.max(LIGHT)
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
