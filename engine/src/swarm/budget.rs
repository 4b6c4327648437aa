//! The publisher's budget: one honest viewer's share of what all may ask of the origin together.
//!
//! The share is the budget divided by the number of viewers. It gathers for a second at most (or until one piece can
//! be drawn). A crowd that comes at once begins with another part of a piece each, so that its members draw one after
//! the other and not all when the first piece has gathered; until the first draw what time gave is counted anew with
//! the viewers who are known of now, since all believe to be alone at first. Not here: what is drawn with it
//! (`origin_duty`).

use std::time::Instant;

use crate::cue_sheet::Budget;

/// What may be drawn now.
#[derive(Debug)]
pub(super) struct Share {
    bytes: f64,
    requests: f64,
    began: Instant,
    updated: Instant,
    /// Whether something was drawn.
    spent: bool,
}

impl Share {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            bytes: 0.0,
            requests: 0.0,
            began: now,
            updated: now,
            spent: false,
        }
    }

    /// Adds what time gave; `viewers` share the budget, a piece has `piece` bytes. `part`, from 0 to 1 and another one for
    /// each viewer, is the part of a piece and of a request that it begins with.
    pub(super) fn advance(&mut self, budget: Budget, viewers: u32, piece: u64, part: f64, now: Instant) {
        let piece = piece as f64;
        let mut since = self.updated;
        if !self.spent {
            (self.bytes, self.requests) = (part * piece, part);
            since = self.began;
        }
        self.updated = now;
        let seconds = now.saturating_duration_since(since).as_secs_f64();
        let share = |rate: u64| rate as f64 / f64::from(viewers.max(1));
        let (bytes, requests) = (share(budget.bytes_per_second), share(budget.requests_per_second));
        self.bytes = (self.bytes + seconds * bytes).min(bytes.max(piece));
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
        self.spent = true;
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
        share.advance(budget, 4, 65_536, 0.0, start);
        assert_eq!(share.bytes(), 0);
        share.advance(budget, 4, 65_536, 0.0, start + Duration::from_millis(400));
        assert_eq!(share.bytes(), 100_000);
        share.spend(65_536);
        assert_eq!(share.bytes(), 34_464);
        share.advance(budget, 4, 65_536, 0.0, start + Duration::from_secs(60));
        assert_eq!(share.bytes(), 250_000, "a second's worth at most");
        for _ in 0..5 {
            share.spend(0);
        }
        assert_eq!(share.bytes(), 0, "five requests a second and no more");
        // However small the share, a piece comes within it in the end.
        let much_later = start + Duration::from_secs(200_000);
        share.advance(budget, 1_000_000, 65_536, 0.0, much_later);
        assert_eq!(share.bytes(), 65_536);
    }

    #[test]
    fn a_crowd_that_comes_at_once_draws_one_after_the_other() {
        let start = Instant::now();
        // A piece a second, for ten viewers who each believe to be alone for a second.
        let budget = Budget {
            bytes_per_second: 65_536,
            requests_per_second: 100,
        };
        let mut crowd: Vec<Share> = (0..10).map(|_| Share::new(start)).collect();
        let mut seconds = [0; 40];
        for tenth in 1..400 {
            let now = start + Duration::from_millis(100 * tenth as u64);
            let known = if tenth < 10 { 1 } else { 10 };
            for (share, place) in crowd.iter_mut().zip(0u8..) {
                share.advance(budget, known, 65_536, f64::from(place) / 10.0 + 0.05, now);
                if known > 1 && share.bytes() >= 65_536 {
                    share.spend(65_536);
                    seconds[tenth / 10] += 1;
                }
            }
        }
        assert!(seconds[1..].iter().all(|&drawn| drawn <= 2), "{seconds:?}");
        assert!((36..=40).contains(&seconds.iter().sum::<u32>()), "{seconds:?}");
    }

    #[test]
    fn a_lonely_viewer_begins_at_once() {
        let start = Instant::now();
        let budget = Budget {
            bytes_per_second: 65_536,
            requests_per_second: 1,
        };
        for part in [0.0, 0.5, 1.0] {
            let mut share = Share::new(start);
            share.advance(budget, 1, 65_536, part, start + Duration::from_secs(1));
            assert_eq!(share.bytes(), 65_536, "{part}");
        }
    }
}
