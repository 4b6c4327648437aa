//! How long a thread that has nothing to do waits before it looks again.
//!
//! What a swarm costs is wake-ups: about 50 µs each, for a packet or two. A thread that sleeps a few milliseconds after it last looked
//! finds many packets at once. Pure: bytes and times in, a pause out. When nothing moves there is no pause, so that the first packet
//! after a silence is answered at once; the faster data moves the shorter the pause, so that socket buffers and windows never fill.
//! The faster one connection sends the shorter it is as well: quinn's pacer lets 10 packets or 2 ms of the window out at once
//! (`pacing.rs` of quinn-proto), and a thread that slept for longer would leave a part of the window unused.

use std::time::{Duration, Instant};

/// Longest time between two looks.
const LONGEST: Duration = Duration::from_millis(8);
/// Data that may come between two looks.
const AT_ONCE: f64 = 384.0 * 1024.0;
/// A pause that is shorter than this is not worth a system call.
const SHORTEST: Duration = Duration::from_millis(1);
/// The time over which the rate is taken.
const OVER: f64 = 0.05;
/// Half of the 10 packets that the pacer lets out at once, so that a rate which it holds down is seen to grow.
const PACED: f64 = 7_000.0;
/// What it lets out at once is never less than goes in this time.
const PACED_FOR: Duration = Duration::from_millis(2);
/// How long it counts that a connection was fast, in seconds.
const FAST_FOR: f64 = 0.2;

/// The state of one thread.
#[derive(Debug)]
pub(super) struct Moderation {
    /// When it was asked last, and when the thread looked last.
    asked: Instant,
    looked: Instant,
    /// Bytes a second, lately.
    rate: f64,
    /// That of the fastest connection with more to send.
    fastest: f64,
}

impl Moderation {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            asked: now,
            looked: now,
            rate: 0.0,
            fastest: 0.0,
        }
    }

    /// The thread has nothing to do. How long it may sleep, when `moved` bytes passed since it was asked last, and the
    /// fastest connection that had more to send sent so many a second.
    pub(super) fn pause(&mut self, moved: u64, fastest: u64, now: Instant) -> Duration {
        let seconds = now.saturating_duration_since(self.asked).as_secs_f64().max(1e-6);
        self.asked = now;
        let kept = (-seconds / OVER).exp();
        self.rate = self.rate * kept + moved as f64 / seconds * (1.0 - kept);
        self.fastest = (self.fastest * (-seconds / FAST_FOR).exp()).max(fastest as f64);
        let paced = Duration::from_secs_f64(PACED / self.fastest.max(1.0)).max(PACED_FOR);
        let all = Duration::from_secs_f64(AT_ONCE / self.rate.max(1.0));
        let interval = all.min(LONGEST).min(paced);
        let pause = interval.saturating_sub(now.saturating_duration_since(self.looked));
        if moved == 0 || pause < SHORTEST {
            self.looked = now;
            return Duration::ZERO;
        }
        self.looked = now + pause;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks whenever data comes in steps of `step` every `every`, for a second; gives how often.
    fn looks(step: u64, every: Duration, fastest: u64) -> u32 {
        let start = Instant::now();
        let mut moderation = Moderation::new(start);
        let (mut now, mut taken, mut looks) = (start, 0, 0);
        while now < start + Duration::from_secs(1) {
            let come = ((now - start).as_secs_f64() / every.as_secs_f64()) as u64 * step;
            now += moderation.pause(come - taken, fastest, now);
            taken = come;
            looks += 1;
            // Parked until the next data.
            now += every;
        }
        looks
    }

    #[test]
    fn many_packets_are_looked_at_together() {
        let n = looks(1_200, Duration::from_micros(100), 0);
        assert!((100..200).contains(&n), "{n} looks a second at 12 MB/s");
    }

    #[test]
    fn a_fast_connection_is_looked_at_as_often_as_its_pacer_lets_packets_out() {
        // The pacer lets 20 kB out at once where 10 MB/s are sent.
        let n = looks(1_000, Duration::from_micros(100), 10_000_000);
        assert!((450..=1_000).contains(&n), "{n} looks a second");
        // Ten connections that send as much together.
        let n = looks(1_000, Duration::from_micros(100), 1_000_000);
        assert!((100..200).contains(&n), "{n} looks a second");
    }

    #[test]
    fn fast_data_is_not_held_up() {
        let n = looks(12_000, Duration::from_micros(20), 0);
        assert!(n > 20_000, "{n} looks a second at 600 MB/s");
    }

    #[test]
    fn nothing_moved_nothing_waited() {
        let start = Instant::now();
        let mut moderation = Moderation::new(start);
        for step in 1..100 {
            let now = start + Duration::from_millis(step * 10);
            assert_eq!(moderation.pause(0, 0, now), Duration::ZERO);
        }
        let packet = moderation.pause(1_200, 0, start + Duration::from_secs(2));
        assert_eq!(
            packet,
            Duration::ZERO,
            "the first packet after a silence is answered at once"
        );
    }
}
