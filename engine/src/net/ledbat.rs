//! LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus): a window that fills what others leave of a line, and leaves again when
//! they come.
//!
//! Pure: acknowledgements and losses in, a window out; time is an argument. Queueing delay is the least of the last
//! four round trips less the least of ten minutes. Below the target the window grows by less than Reno's would; above
//! it, it shrinks in proportion; and at intervals it falls to two packets for two round trips, so that the base delay
//! of the line is seen without our own queue and a latecomer does not take that queue for the line.
//!
//! Departures, for senders that often have nothing to send and for lines that become free: what was limited by the
//! application neither grows the window nor earns a slowdown; a queue that has stayed empty for a few round trips
//! begins slow start again (the draft's additive growth takes minutes where the base delay is long); slow start grows
//! by a quarter to a half of what was acknowledged, and gives its last step back when a queue shows; above the target
//! only the queue's part of the window shrinks, and a loss there, where our own queue does not reach, leaves the line to
//! others; a loss that is the line's own (`losses`) costs little and does not end slow start, many at once bound it for a
//! while.
//!
//! Not here: whose a loss is (`losses`), what the normal mode does (`congestion`), packets, pacing (quinn's).

use super::losses::{Losses, Packets};
use std::time::{Duration, Instant};

/// The queueing delay that it aims for.
pub(super) const TARGET: Duration = Duration::from_millis(60);
/// Least window, in packets.
const MIN_PACKETS: f64 = 2.0;
/// Window of the beginning, in packets.
const INITIAL_PACKETS: f64 = 10.0;
/// Growth is at most this many times slower than Reno's.
const MAX_SLOWNESS: f64 = 16.0;
/// Slow start is between twice and this many times slower than Reno's: the draft's sixteen takes seconds where
/// acknowledgements wait, and Reno's own overshoots; it ends as soon as a queue shows.
const MAX_SLOW_START: f64 = 4.0;
/// Round trips of which the least is the delay of now.
const CURRENT: usize = 4;
/// The base delay is the least of so many minutes.
const MINUTES: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);
/// A slowdown is followed by so many times its length without one.
const BETWEEN: u32 = 9;
/// And none comes sooner after one than so many round trips of the line: where they are long it takes some twenty to
/// come back from one, and what only looked for room would bring on the next.
const BETWEEN_TRIPS: u32 = 100;
/// A queue below this part of the target is taken for empty: threads that wake late and acknowledgements that wait
/// look like some of one.
const EMPTY: f64 = 0.5;
/// Slow start ends at this part of the target.
const ENOUGH: f64 = 0.75;
/// Round trips for which the queue must have been empty before slow start begins again.
const EMPTY_TRIPS: u32 = 3;
/// A loss at a queue longer than this many targets is others' doing: the line is theirs.
const OTHERS: f64 = 1.5;
/// After a loss at a queue below the target, slow start does not begin again for so long: the queue is a short one, which
/// overflows before it is as long as that.
const AFTER_LOSS: Duration = Duration::from_secs(5);
/// A loss of the line itself costs so much of the window, as in TCP Veno: where others are, it might be theirs.
const LINE_CUT: f64 = 0.2;
/// Slow start goes on after a loss for which a queue is to blame less than this.
const GO_ON: f64 = 0.25;
/// After many losses at once every loss is a queue's for so long, and slow start ends at this part of the window that was
/// too much.
const AFTER_MANY: Duration = Duration::from_secs(20);
const ROOM: f64 = 0.8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Exponential growth: the first, after a slowdown, or because the line has become free.
    SlowStart,
    /// Growth and decrease by delay.
    Steady,
    /// Two packets, until then.
    Slowdown { until: Instant },
}

/// The least round trips of the last minutes.
#[derive(Debug, Clone)]
struct Base {
    minutes: [Option<Duration>; MINUTES],
    at: usize,
    began: Instant,
}

impl Base {
    fn add(&mut self, trip: Duration, now: Instant) {
        while now.saturating_duration_since(self.began) >= MINUTE {
            self.began += MINUTE;
            self.at = (self.at + 1) % MINUTES;
            self.minutes[self.at] = None;
        }
        let least = &mut self.minutes[self.at];
        *least = Some(least.map_or(trip, |old| old.min(trip)));
    }

    fn least(&self) -> Option<Duration> {
        self.minutes.iter().flatten().min().copied()
    }
}

/// The state of one connection.
#[derive(Debug, Clone)]
pub(super) struct Ledbat {
    packet: f64,
    window: f64,
    threshold: f64,
    phase: Phase,
    base: Base,
    current: [Option<Duration>; CURRENT],
    newest: usize,
    /// When slowing down began, until the window is back.
    slowing_since: Option<Instant>,
    next_slowdown: Option<Instant>,
    /// Nothing changes until then: what is measured comes from before the last change.
    hold_until: Option<Instant>,
    /// Since when the queue has been empty.
    empty_since: Option<Instant>,
    lost_at: Option<Instant>,
    /// When a loss came for which a queue may be to blame and no long delay.
    surprised_at: Option<Instant>,
    losses: Losses,
    /// When many were lost at once, and how far slow start may go after that.
    many_at: Option<Instant>,
    room: f64,
}

impl Ledbat {
    /// A new connection with packets of so many bytes.
    pub(super) fn new(packet: u16, now: Instant) -> Self {
        let packet = f64::from(packet);
        Self {
            packet,
            window: packet * INITIAL_PACKETS,
            threshold: f64::INFINITY,
            phase: Phase::SlowStart,
            base: Base {
                minutes: [None; MINUTES],
                at: 0,
                began: now,
            },
            current: [None; CURRENT],
            newest: 0,
            slowing_since: None,
            next_slowdown: None,
            hold_until: None,
            empty_since: None,
            lost_at: None,
            surprised_at: None,
            many_at: None,
            room: f64::INFINITY,
            losses: Losses::new(now),
        }
    }

    /// Bytes that may be in flight.
    pub(super) fn window(&self) -> u64 {
        self.window as u64
    }

    /// Packets have another size from now on.
    pub(super) fn set_packet(&mut self, packet: u16) {
        self.packet = f64::from(packet);
        self.window = self.window.max(self.least());
    }

    /// Takes over a window that another controller found, without its right to slow start.
    pub(super) fn take_over(&mut self, window: u64) {
        self.window = (window as f64).max(self.least());
        self.phase = Phase::Steady;
        self.slowing_since = None;
    }

    fn least(&self) -> f64 {
        self.packet * MIN_PACKETS
    }

    fn trip(&self) -> Option<Duration> {
        self.current.iter().flatten().min().copied()
    }

    /// The longest of the last round trips: with it came what was just lost, if a queue was full.
    fn longest(&self) -> Duration {
        self.current.iter().flatten().max().copied().unwrap_or_default()
    }

    /// The delay that queues add now.
    pub(super) fn queue(&self) -> Duration {
        let (Some(trip), Some(base)) = (self.trip(), self.base.least()) else {
            return Duration::ZERO;
        };
        trip.saturating_sub(base)
    }

    fn gain(&self) -> f64 {
        let base = self.base.least().unwrap_or(TARGET).as_secs_f64();
        1.0 / (2.0 * TARGET.as_secs_f64() / base.max(1e-6))
            .ceil()
            .min(MAX_SLOWNESS)
    }

    /// Learns of a round trip, whoever decides the window.
    pub(super) fn measured(&mut self, trip: Duration, now: Instant) {
        self.base.add(trip, now);
        self.newest = (self.newest + 1) % CURRENT;
        self.current[self.newest] = Some(trip);
    }

    fn packets(&self, bytes: f64) -> Packets {
        Packets(bytes / self.packet)
    }

    /// So many bytes were acknowledged at once. `limited`: there was nothing more to send.
    pub(super) fn acknowledged(&mut self, bytes: u64, limited: bool, now: Instant) {
        let Some(trip) = self.trip() else { return };
        let queue = self.queue().as_secs_f64() / TARGET.as_secs_f64();
        let bytes = bytes as f64;
        let (packets, window) = (self.packets(bytes), self.packets(self.window));
        self.losses.acknowledged(packets, window, self.longest(), now);
        match self.phase {
            Phase::Slowdown { until } => {
                if now >= until {
                    self.phase = Phase::SlowStart;
                }
                return;
            }
            Phase::SlowStart => {
                let gain = self.gain().clamp(1.0 / MAX_SLOW_START, 0.5);
                if !limited {
                    self.window += bytes * gain;
                }
                if queue > ENOUGH {
                    // The packets that met this queue left a round trip ago; what was added since is too much, and
                    // will be seen for another round trip.
                    self.window /= 1.0 + gain;
                    self.hold_until = Some(now + trip);
                    self.steady(trip, now);
                } else if self.window >= self.threshold {
                    self.window = self.threshold;
                    self.steady(trip, now);
                }
            }
            Phase::Steady => {
                let packets = self.window / self.packet;
                let mut change = self.gain();
                if self.hold_until.is_some_and(|until| now < until) {
                    change = 0.0;
                } else if queue > 1.0 {
                    // Of the window, the queue's part above the target is too much. (The draft takes the queue for the
                    // whole window, which empties lines with a long base delay.)
                    let surplus = TARGET.as_secs_f64() * (queue - 1.0) / trip.as_secs_f64();
                    change = (change - packets * surplus).max(-packets / 2.0);
                }
                if change < 0.0 || !limited {
                    self.window += change * self.packet * bytes / self.window;
                }
                self.restart_when_free(queue, trip, limited, now);
            }
        }
        self.window = self.window.max(self.least());
        if self.phase == Phase::Steady && self.next_slowdown.is_some_and(|at| at <= now) {
            if limited {
                // It has not filled the line, so there is no queue of ours to get out of the way.
                self.next_slowdown = Some(now + MINUTE / 6);
            } else {
                self.threshold = self.window;
                self.window = self.least();
                self.slowing_since = Some(now);
                self.next_slowdown = None;
                self.phase = Phase::Slowdown {
                    until: now + 2 * trip,
                };
            }
        }
    }

    /// Slow start is over.
    fn steady(&mut self, trip: Duration, now: Instant) {
        self.phase = Phase::Steady;
        self.empty_since = None;
        let pause = self
            .slowing_since
            .take()
            // The first slowdown follows at once: what was measured until now may be a queue.
            .map_or(2 * trip, |since| {
                let least = self.base.least().unwrap_or_default() * BETWEEN_TRIPS;
                least.max(now.saturating_duration_since(since) * BETWEEN)
            });
        self.next_slowdown = Some(self.next_slowdown.unwrap_or(now + pause));
    }

    fn restart_when_free(&mut self, queue: f64, trip: Duration, limited: bool, now: Instant) {
        if queue > EMPTY || limited {
            self.empty_since = None;
            return;
        }
        let since = *self.empty_since.get_or_insert(now);
        let surprised = is_within(self.surprised_at, AFTER_LOSS, now);
        let room = if is_within(self.many_at, AFTER_MANY, now) {
            self.room
        } else {
            f64::INFINITY
        };
        let is_free = now.saturating_duration_since(since) >= trip * EMPTY_TRIPS;
        if is_free && !surprised && self.window < room {
            self.phase = Phase::SlowStart;
            self.threshold = room;
            // The line was just seen without a queue, as after a slowdown: another one at once would only empty it.
            self.slowing_since = Some(now);
            self.next_slowdown = None;
        }
    }

    /// So many bytes were lost, the last of them sent at `sent`; `persistent` when nothing came through for long.
    pub(super) fn lost(&mut self, sent: Instant, bytes: u64, persistent: bool, now: Instant) {
        let first = self.lost_at.is_none_or(|at| sent > at);
        let window = self.packets(self.window);
        let many = self.losses.lost(self.packets(bytes as f64), window, first);
        if !first && !many {
            return;
        }
        self.lost_at = Some(now);
        if many {
            self.many_at = Some(now);
            self.room = self.window * ROOM;
        }
        let mut blame = self.losses.judge(window, self.longest());
        if is_within(self.many_at, AFTER_MANY, now) {
            blame = 1.0;
        }
        let queue = self.queue();
        let is_lines = blame < GO_ON;
        if is_lines {
            self.surprised_at = None;
        } else if queue < TARGET {
            self.surprised_at = Some(now);
        }
        let held = self.hold_until.is_some_and(|until| now < until);
        if matches!(self.phase, Phase::Slowdown { .. }) || (held && !persistent) {
            return;
        }
        if persistent || queue > TARGET.mul_f64(OTHERS) {
            self.window = self.least();
        } else {
            let cut = (blame / 2.0).max(LINE_CUT);
            self.window = (self.window * (1.0 - cut)).max(self.least());
            if is_lines {
                return;
            }
        }
        self.threshold = self.window;
        self.steady(self.trip().unwrap_or_default(), now);
    }
}

/// Whether that was no longer ago than so long.
fn is_within(at: Option<Instant>, time: Duration, now: Instant) -> bool {
    at.is_some_and(|at| now.saturating_duration_since(at) < time)
}

#[cfg(test)]
#[path = "ledbat_tests.rs"]
mod tests;
