//! How long a thread that has nothing to do waits before it looks again.
//!
//! What a swarm costs is wake-ups: about 50 µs each, for a packet or two. A thread that sleeps a few milliseconds after it last looked
//! finds many packets at once. Pure: bytes and times in, a pause out. When nothing moves there is no pause, so that the first packet
//! after a silence is answered at once; the faster data moves the shorter the pause, so that socket buffers and windows never fill.
//! It is no longer either than what quinn's pacer lets a connection send at once is enough for ([`paced`]): a thread that slept for
//! longer would leave a part of the connection's window unused.

use std::time::{Duration, Instant};

/// Longest time between two looks.
const LONGEST: Duration = Duration::from_millis(12);
/// Data that may come between two looks.
const AT_ONCE: f64 = 384.0 * 1024.0;
/// A pause that is shorter than this is not worth a system call.
const SHORTEST: Duration = Duration::from_millis(1);
/// The time over which the rate is taken.
const OVER: f64 = 0.05;
/// What the pacer lets out at once: so many packets, or what goes in this time at the rate of a window a round trip, if that is more
/// (`pacing.rs` of quinn-proto).
const PACED: (u64, Duration) = (10, Duration::from_millis(2));
/// The part of it that may be used at each look, so that a rate which the pacer holds down is seen to grow.
const USED: f64 = 0.5;
/// How long it counts that a connection was fast, in seconds.
const FAST_FOR: f64 = 0.2;

/// Looks that a connection needs a second while it has more to send than its pacer lets out: it sends so many bytes a second in
/// packets of this size, and may have this window in flight, for each round trip of this length.
pub(super) fn paced(rate: f64, packet: u16, window: u64, trip: Duration) -> f64 {
    let (packets, time) = PACED;
    let windows = time.as_secs_f64() / trip.as_secs_f64().max(1e-6);
    let at_once = (window as f64 * windows).max((packets * u64::from(packet)) as f64);
    (rate / (at_once * USED)).min(1.0 / time.as_secs_f64())
}

/// The state of one thread.
#[derive(Debug)]
pub(super) struct Moderation {
    /// When it was asked last, and when the thread looked last.
    asked: Instant,
    looked: Instant,
    /// Bytes a second, lately.
    rate: f64,
    /// Looks a second that some connection needed.
    paced: f64,
}

impl Moderation {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            asked: now,
            looked: now,
            rate: 0.0,
            paced: 0.0,
        }
    }

    /// The thread has nothing to do. How long it may sleep, when `moved` bytes passed since it was asked last, and the
    /// connection that needed most had need of so many looks a second ([`paced`]).
    pub(super) fn pause(&mut self, moved: u64, paced: f64, now: Instant) -> Duration {
        let seconds = now.saturating_duration_since(self.asked).as_secs_f64().max(1e-6);
        self.asked = now;
        let kept = (-seconds / OVER).exp();
        self.rate = self.rate * kept + moved as f64 / seconds * (1.0 - kept);
        self.paced = (self.paced * (-seconds / FAST_FOR).exp()).max(paced);
        let paced = Duration::from_secs_f64(1.0 / self.paced.max(1.0));
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
    fn looks(step: u64, every: Duration, paced: f64) -> u32 {
        let start = Instant::now();
        let mut moderation = Moderation::new(start);
        let (mut now, mut taken, mut looks) = (start, 0, 0);
        while now < start + Duration::from_secs(1) {
            let come = ((now - start).as_secs_f64() / every.as_secs_f64()) as u64 * step;
            now += moderation.pause(come - taken, paced, now);
            taken = come;
            looks += 1;
            // Parked until the next data.
            now += every;
        }
        looks
    }

    #[test]
    fn many_packets_are_looked_at_together() {
        let n = looks(1_200, Duration::from_micros(100), 0.0);
        assert!((70..130).contains(&n), "{n} looks a second at 12 MB/s");
    }

    #[test]
    fn a_fast_connection_is_looked_at_as_often_as_its_pacer_lets_packets_out() {
        // At 10 MB/s the window is just enough, and the pacer lets a fifth of it out at once.
        let trip = Duration::from_millis(10);
        let n = looks(
            1_000,
            Duration::from_micros(100),
            paced(1e7, 1_400, 100_000, trip),
        );
        assert!((450..=1_000).contains(&n), "{n} looks a second");
        // Ten connections that send as much together.
        let n = looks(1_000, Duration::from_micros(100), paced(1e6, 1_400, 10_000, trip));
        assert!((100..200).contains(&n), "{n} looks a second");
        // One whose window would be enough for ten times as much.
        let n = looks(
            1_000,
            Duration::from_micros(100),
            paced(1e7, 1_400, 1_000_000, trip),
        );
        assert!((70..130).contains(&n), "{n} looks a second");
    }

    #[test]
    fn fast_data_is_not_held_up() {
        let n = looks(12_000, Duration::from_micros(20), 0.0);
        assert!(n > 20_000, "{n} looks a second at 600 MB/s");
    }

    #[test]
    fn nothing_moved_nothing_waited() {
        let start = Instant::now();
        let mut moderation = Moderation::new(start);
        for step in 1..100 {
            let now = start + Duration::from_millis(step * 10);
            assert_eq!(moderation.pause(0, 0.0, now), Duration::ZERO);
        }
        let packet = moderation.pause(1_200, 0.0, start + Duration::from_secs(2));
        assert_eq!(
            packet,
            Duration::ZERO,
            "the first packet after a silence is answered at once"
        );
    }
}
