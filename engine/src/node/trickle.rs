//! When bytes of web seeds count as progress before they can be judged: a slow origin is no dead one. Pure.
//!
//! One that cuts each of its answers short before a piece is whole brings bytes for ever, and nothing that can be kept.

/// Fewer bytes than this are no progress.
const LEAST: u64 = 4 << 10;
/// Nor are any while the bytes of so many pieces were lost since something was right.
const LOST_PIECES: u64 = 8;

#[derive(Debug)]
pub(super) struct Trickle {
    /// Bytes since they last counted.
    bytes: u64,
    /// What was lost when something was verified last, and how much more may be.
    lost: u64,
    most: u64,
}

impl Trickle {
    pub(super) fn new(piece_length: u64) -> Self {
        Self {
            bytes: 0,
            lost: 0,
            most: piece_length.saturating_mul(LOST_PIECES),
        }
    }

    /// Bytes came; so many are `lost` until now. Whether that is progress.
    pub(super) fn comes(&mut self, bytes: u64, lost: u64) -> bool {
        self.bytes += bytes;
        let is_progress = self.bytes >= LEAST && lost.saturating_sub(self.lost) <= self.most;
        if is_progress {
            self.bytes = 0;
        }
        is_progress
    }

    /// Something was verified when so many were lost.
    pub(super) fn verified(&mut self, lost: u64) {
        self.lost = lost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_progress_until_too_many_are_lost_and_nothing_is_right() {
        let mut trickle = Trickle::new(65_536);
        assert!(!trickle.comes(LEAST - 1, 0) && trickle.comes(1, 0) && !trickle.comes(1, 0));
        let mut loses = |from: u64, rounds: u64| -> u64 {
            (1..=rounds)
                .filter(|round| trickle.comes(LEAST, from + round * 49_152))
                .count() as u64
        };
        assert_eq!(loses(0, 100), 10);
        trickle.verified(100 * 49_152);
        let mut loses = |from: u64, rounds: u64| -> u64 {
            (1..=rounds)
                .filter(|round| trickle.comes(LEAST, from + round * 49_152))
                .count() as u64
        };
        assert_eq!(loses(100 * 49_152, 100), 10);
    }
}
