//! How many requests at a time a web seed has place for: learnt when it refuses one beside others that it answers, and kept to
//! from then on, but for one more with each minute without a refusal.
//!
//! A server does not say how many it takes; nginx's `limit_conn` answers 503 to what is too many. That others are
//! answered tells it from a server in trouble, which pauses are for (the parent module).

use super::Origin;
use std::pin::pin;
use std::time::{Duration, Instant};

/// Longest wait for an answer to another request, which tells why one was refused.
const DOUBT: Duration = Duration::from_secs(1);
/// A server counts a request for a moment longer than we do: first pause before a place is tried again, and how often.
const LATE: (Duration, u32) = (Duration::from_millis(50), 4);

impl Origin {
    /// Requests that all seeds together have place for; `None` when that is not known of each that answers.
    pub fn most_requests(&self) -> Option<usize> {
        let (seeds, now) = (self.seeds(), Instant::now());
        let mut usable = seeds.iter().filter(|seed| seed.dropped.is_none());
        let most = usable.try_fold(0, |sum: usize, seed| match seed.most(now) {
            Some(most) => Some(sum.saturating_add(most as usize)),
            // One that cannot be reached takes none of them.
            None => seed.is_in_trouble().then_some(sum),
        });
        most.filter(|&most| most > 0)
    }

    /// Whether this seed has place for one more request.
    pub(super) fn has_place(&self, seed: usize) -> bool {
        self.seeds()[seed].has_place(Instant::now())
    }

    /// Waits until it has.
    pub(super) async fn wait_for_place(&self, seed: usize) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if self.has_place(seed) {
                return;
            }
            changed.await;
        }
    }

    /// Whether this seed refused a request of `asked` for want of a place beside the others. Then it gets no more at a time; `refusals`
    /// counts those that came although it should have had one.
    pub(super) async fn is_full(&self, seed: usize, beside: u32, asked: Instant, refusals: &mut u32) -> bool {
        if beside == 0 {
            let is_known = self.seeds()[seed].most.is_some();
            *refusals += 1;
            if !is_known || *refusals > LATE.1 {
                return false;
            }
            tokio::time::sleep(LATE.0 * 2_u32.pow(*refusals)).await;
            return true;
        }
        let answers = async {
            loop {
                let mut changed = pin!(self.changed.notified());
                changed.as_mut().enable();
                {
                    let mut seeds = self.seeds();
                    let seed = &mut seeds[seed];
                    if seed.answered_since(asked) {
                        seed.is_full(beside, Instant::now());
                        return true;
                    }
                    if seed.requests == 0 {
                        return false;
                    }
                }
                changed.await;
            }
        };
        tokio::time::timeout(DOUBT, answers).await.unwrap_or(false)
    }
}
