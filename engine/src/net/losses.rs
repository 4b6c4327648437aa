//! Whether what a line loses is lost because a queue is full, or because the line is a bad one.
//!
//! A queue that drops what finds no room is at its longest when it does, so that losses come with the longest delays of
//! the last seconds; what radio loses comes with any. And when it is we who fill it, many of one round trip are lost at
//! once. Pure: delays and losses in, a judgement out. When in doubt a queue is to blame: in the beginning, when more is
//! lost than a line loses that somebody would use, and for some losses after many at once.
//!
//! Not here: what follows from it (`ledbat`).

use std::time::{Duration, Instant};

/// Delays that are remembered, and the time between two: five seconds, in which windows of others go up and down.
const DELAYS: usize = 256;
const BETWEEN: Duration = Duration::from_millis(20);
/// Fewer are no measure.
const ENOUGH: usize = 16;
/// A loss has at least this weight in the judgement.
const WEIGHT: f64 = 0.125;
/// What it begins with has the weight of so many losses, and after many at once of so many.
const BEGINS: f64 = 1.0;
const AGAIN: f64 = 6.0;
/// Mean place of the losses among the delays (0: below all of them, 1: above all) up to which the line is to blame, and
/// from which a queue is. Where they have nothing to do with each other it is a half.
const LINE: f64 = 0.50;
const QUEUE: f64 = 0.75;
/// Losses of one round trip are many at once from so many on, or from this part of the window, beyond this many times
/// what the line would lose of it.
const FEW: f64 = 2.0;
const PART: f64 = 0.1;
const TIMES: f64 = 3.0;
/// Of about so many packets no line loses a larger part than this.
const PACKETS: f64 = 500.0;
const TOO_MANY: f64 = 0.025;

/// A number of packets: bytes in those of the connection's size, so that it need not be whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packets(pub(super) f64);

/// What is known of one connection's losses.
#[derive(Debug, Clone)]
pub(super) struct Losses {
    /// Each with the window of its time, in packets: seconds.
    delays: [(f32, f32); DELAYS],
    known: usize,
    at: usize,
    next: Instant,
    /// Mean place of the losses, and how many count for it.
    place: f64,
    count: f64,
    /// Packets of late, how many of them were lost, and how many of these not many at once.
    packets: f64,
    lost: f64,
    single: f64,
    /// Lost of this round trip, and the part that was lost of those before it.
    round: f64,
    rate: f64,
}

impl Losses {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            delays: [(0.0, 0.0); DELAYS],
            known: 0,
            at: 0,
            next: now,
            place: 1.0,
            count: BEGINS,
            packets: 0.0,
            lost: 0.0,
            single: 0.0,
            round: 0.0,
            rate: 0.0,
        }
    }

    /// So many packets were acknowledged after such a delay.
    pub(super) fn acknowledged(&mut self, packets: Packets, window: Packets, delay: Duration, now: Instant) {
        self.sent(packets);
        if now >= self.next {
            self.next = now + BETWEEN;
            self.delays[self.at] = (window.0 as f32, delay.as_secs_f32());
            self.at = (self.at + 1) % DELAYS;
            self.known = (self.known + 1).min(DELAYS);
        }
    }

    fn sent(&mut self, Packets(packets): Packets) {
        let kept = (-packets / PACKETS).exp();
        self.packets = self.packets * kept + packets;
        self.lost *= kept;
        self.single *= kept;
    }

    /// So many packets were lost of a window of so many; `first` of their round trip. Whether with them there are many
    /// at once, which is said once a round trip.
    pub(super) fn lost(&mut self, packets: Packets, Packets(window): Packets, first: bool) -> bool {
        if first {
            self.round = 0.0;
            self.rate = self.single / self.packets.max(PACKETS / 2.0);
        }
        let bound = FEW.max(PART * window) + TIMES * self.rate * window;
        let before = self.round;
        self.round += packets.0;
        self.sent(packets);
        self.lost += packets.0;
        if self.round <= bound {
            self.single += packets.0;
            return false;
        }
        if before > bound {
            return false;
        }
        self.single = (self.single - before).max(0.0);
        (self.place, self.count) = (1.0, AGAIN);
        true
    }

    /// Judges the first loss of a round trip, which came with such a delay in such a window: how far a queue is to blame,
    /// from 0 to 1.
    pub(super) fn judge(&mut self, window: Packets, delay: Duration) -> f64 {
        let Some(place) = self.place_of(window, delay) else {
            return 1.0;
        };
        self.count += 1.0;
        self.place += (place - self.place) * WEIGHT.max(1.0 / self.count);
        if self.lost > TOO_MANY * self.packets.max(PACKETS / 2.0) {
            return 1.0;
        }
        ((self.place - LINE) / (QUEUE - LINE)).clamp(0.0, 1.0)
    }

    /// The part of the delays that were shorter: of those with a like window, since acknowledgements and threads that
    /// wait lengthen those of a small one, or of all when they are few.
    fn place_of(&self, window: Packets, delay: Duration) -> Option<f64> {
        let (window, delay) = (window.0 as f32, delay.as_secs_f32());
        let part = |is_like: &dyn Fn(f32) -> bool| {
            let known = &self.delays[..self.known];
            let (mut all, mut below) = (0, 0);
            for (_, d) in known.iter().filter(|(w, _)| is_like(*w)) {
                all += 1;
                below += usize::from(*d < delay);
            }
            (all >= ENOUGH).then(|| below as f64 / all as f64)
        };
        part(&|w| w > window / 2.0 && w < window * 2.0).or_else(|| part(&|_| true))
    }
}

#[cfg(test)]
#[path = "losses_tests.rs"]
mod tests;
