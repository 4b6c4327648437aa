//! Token buckets for `--up` and `--down`.
//!
//! The decision is pure ([`Pace`]): bytes are given times, in the order in which they are asked for, so that no asker
//! starves. [`Bucket`] adds the clock and the waiting. Not for fairness between peers: the swarm core decides that.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How far ahead of its rate a bucket that was idle may run: what it gives at once stands in the line's queue, and
/// stays there as long as the rate is the line's. Three times what a thread may sleep between two looks
/// ([`crate::net`]), so that nothing of the rate is lost to that.
const BURST: Duration = Duration::from_millis(36);

/// When bytes may pass at a steady rate.
#[derive(Debug)]
pub struct Pace {
    bytes_per_second: u64,
    /// When the bytes that were given out so far will have passed at the rate.
    paid_until: Option<Instant>,
}

impl Pace {
    /// A pace of so many bytes a second, at least 1.
    pub fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            paid_until: None,
        }
    }

    /// Gives `bytes` their time: they may pass at the instant returned, which is `now` when there is room.
    pub fn reserve(&mut self, bytes: u64, now: Instant) -> Instant {
        let floor = now.checked_sub(BURST).unwrap_or(now);
        let start = self.paid_until.map_or(floor, |at| at.max(floor));
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        self.paid_until = Some(start + cost);
        start.max(now)
    }

    /// [`Pace::reserve`] for bytes that have come already, however many at once: the instant at which all of them will have passed.
    pub fn pass(&mut self, bytes: u64, now: Instant) -> Instant {
        let begins = self.reserve(bytes, now);
        self.paid_until.unwrap_or(begins).max(now)
    }
}

/// A limit on bytes a second, shared by all who move bytes in one direction.
#[derive(Debug)]
pub struct Bucket {
    pace: Option<Mutex<Pace>>,
}

impl Bucket {
    /// A bucket of `rate` bytes a second; `None` never waits.
    pub fn new(rate: Option<u64>) -> Self {
        Self {
            pace: rate.map(|r| Mutex::new(Pace::new(r))),
        }
    }

    /// Waits until `bytes` may pass.
    pub async fn take(&self, bytes: u64) {
        self.wait(|pace, now| pace.reserve(bytes, now)).await;
    }

    /// Waits until `bytes` that have come already may have passed.
    pub async fn pass(&self, bytes: u64) {
        self.wait(|pace, now| pace.pass(bytes, now)).await;
    }

    async fn wait(&self, until: impl FnOnce(&mut Pace, Instant) -> Instant) {
        let Some(pace) = &self.pace else { return };
        let now = Instant::now();
        let at = until(&mut pace.lock().unwrap_or_else(PoisonError::into_inner), now);
        // A sleep lasts for a millisecond at least: one for each datagram would be the rate.
        if at > now {
            tokio::time::sleep_until(at.into()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    #[test]
    fn the_rate_holds_after_the_burst() {
        let start = Instant::now();
        let mut pace = Pace::new(1_000_000);
        let mut now = start;
        let mut sent = 0;
        while now < start + Duration::from_secs(2) {
            now = pace.reserve(10_000, now);
            sent += 10_000_u64;
        }
        assert!((2_000_000..=2_120_000).contains(&sent), "{sent}");
    }

    /// Askers of blocks of all sizes, each of whom wakes late after a wait, as a busy machine lets them.
    #[test]
    fn the_rate_holds_whoever_wakes_late() {
        const SEED: u64 = 0x7261_7465;
        println!("seed {SEED:#x}");
        let mut rng = StdRng::seed_from_u64(SEED);
        for rate in [50_000, 1_000_000, 25_000_000] {
            for askers in [1, 4, 40] {
                let start = Instant::now();
                let mut pace = Pace::new(rate);
                let mut turns = vec![start; askers];
                let (end, mut sent) = (start + Duration::from_secs(60), 0);
                loop {
                    let next = turns.iter_mut().min().expect("there are some");
                    let (now, bytes) = (*next, rng.random_range(1..=16_384));
                    let at = pace.reserve(bytes, now);
                    if at >= end {
                        break;
                    }
                    sent += bytes;
                    *next = at;
                    if at > now {
                        *next += Duration::from_micros(rng.random_range(0..20_000));
                    }
                }
                let share = sent as f64 / (rate * 60) as f64;
                assert!(
                    (0.95..=1.05).contains(&share),
                    "{rate} bytes/s, {askers} askers: {share}"
                );
            }
        }
    }

    /// As much as a socket had, however long that takes at the rate.
    #[test]
    fn what_came_at_once_is_waited_for_to_its_last_byte() {
        for chunk in [10_000, 500_000] {
            let start = Instant::now();
            let mut pace = Pace::new(1_000_000);
            let took = (0..3_000_000 / chunk).fold(start, |now, _| pace.pass(chunk, now)) - start;
            assert!((2.95..=3.0).contains(&took.as_secs_f64()), "{chunk}: {took:?}");
        }
    }

    #[tokio::test]
    async fn what_has_room_does_not_sleep() {
        let bucket = Bucket::new(Some(10_000_000));
        for datagram in 0..100 {
            assert!(bucket.take(1_200).now_or_never().is_some(), "datagram {datagram}");
        }
        assert!(bucket.take(1_000_000_000).now_or_never().is_some());
        assert!(
            bucket.take(1).now_or_never().is_none(),
            "that was more than the burst"
        );
    }

    #[test]
    fn idle_time_is_not_saved_up_beyond_the_burst() {
        let start = Instant::now();
        let mut pace = Pace::new(1_000);
        pace.reserve(1_000, start);
        let later = start + Duration::from_secs(60);
        assert_eq!(pace.reserve(36, later), later, "the burst passes at once");
        assert_eq!(pace.reserve(1_000, later), later);
        assert_eq!(pace.reserve(1, later), later + Duration::from_secs(1));
    }
}
