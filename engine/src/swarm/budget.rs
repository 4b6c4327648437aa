//! The publisher's budget: one honest viewer's share of what all may ask of the origin together.
//!
//! The share is the budget divided by the number of viewers. It gathers for a second at most (or until one piece can
//! be drawn), from nothing, so that a crowd that comes at once does not spend what it has not got. Not here: what is
//! drawn with it (`origin_duty`).

use std::time::Instant;

use crate::cue_sheet::Budget;

/// What may be drawn now.
#[derive(Debug)]
pub(super) struct Share {
    bytes: f64,
    requests: f64,
    updated: Instant,
}

impl Share {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            bytes: 0.0,
            requests: 0.0,
            updated: now,
        }
    }

    /// Adds what time gave; `viewers` share the budget, a piece has `piece` bytes.
    pub(super) fn advance(&mut self, budget: Budget, viewers: u32, piece: u64, now: Instant) {
        let seconds = now.saturating_duration_since(self.updated).as_secs_f64();
        self.updated = now;
        let share = |rate: u64| rate as f64 / f64::from(viewers.max(1));
        let (bytes, requests) = (share(budget.bytes_per_second), share(budget.requests_per_second));
        self.bytes = (self.bytes + seconds * bytes).min(bytes.max(piece as f64));
        self.requests = (self.requests + seconds * requests).min(requests.max(1.0));
    }

    /// Bytes that one request may ask for.
    pub(super) fn bytes(&self) -> u64 {
        if self.requests < 1.0 {
            0
        } else {
            self.bytes.max(0.0) as u64
        }
    }

    /// A request for so many bytes was sent.
    pub(super) fn spend(&mut self, bytes: u64) {
        self.bytes -= bytes as f64;
        self.requests -= 1.0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_share_gathers_from_nothing_for_a_second() {
        let start = Instant::now();
        let budget = Budget {
            bytes_per_second: 1_000_000,
            requests_per_second: 20,
        };
        let mut share = Share::new(start);
        share.advance(budget, 4, 65_536, start);
        assert_eq!(share.bytes(), 0);
        share.advance(budget, 4, 65_536, start + Duration::from_millis(400));
        assert_eq!(share.bytes(), 100_000);
        share.spend(65_536);
        assert_eq!(share.bytes(), 34_464);
        share.advance(budget, 4, 65_536, start + Duration::from_secs(60));
        assert_eq!(share.bytes(), 250_000, "a second's worth at most");
        for _ in 0..5 {
            share.spend(0);
        }
        assert_eq!(share.bytes(), 0, "five requests a second and no more");
        // However small the share, a piece comes within it in the end.
        share.advance(budget, 1_000_000, 65_536, start + Duration::from_secs(200_000));
        assert_eq!(share.bytes(), 65_536);
    }
}
