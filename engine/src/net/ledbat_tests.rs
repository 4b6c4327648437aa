//! The controller on a virtual line: packets, one drop-tail queue, losses by chance, a clock that the test moves.

use super::*;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

const PACKET: u64 = 1_250;
/// 20 Mbit/s: a packet takes half a millisecond.
const RATE: f64 = 2_500_000.0;

/// TCP as others speak it: slow start and Cubic (RFC 9438), without its Reno-friendly region, which short round trips
/// would make stronger still.
struct Cubic {
    window: f64,
    most: f64,
    threshold: f64,
    since: f64,
    lost_at: f64,
}

impl Cubic {
    fn acknowledged(&mut self, now: f64, trip: f64) {
        if self.window < self.threshold {
            self.window += 1.0;
            return;
        }
        let k = (self.most * 0.3 / 0.4).cbrt();
        let wanted = 0.4 * (now + trip - self.since - k).powi(3) + self.most;
        self.window += ((wanted - self.window) / self.window).clamp(0.0, 0.5);
    }

    fn lost(&mut self, sent: f64, now: f64) {
        if sent > self.lost_at {
            self.most = self.window;
            self.window = (self.window * 0.7).max(2.0);
            (self.threshold, self.since, self.lost_at) = (self.window, now, now);
        }
    }
}

enum Control {
    Background(Box<Ledbat>),
    Cubic(Cubic),
}

struct Flow {
    control: Control,
    from: f64,
    until: f64,
    in_flight: u64,
    delivered: u64,
    /// That found no room, or were lost on the way.
    lost: u64,
    /// Acknowledged and not told yet: acknowledgements come for 25 packets, after 8 ms or when one is missing.
    waiting: Vec<f64>,
    waiting_since: f64,
}

impl Flow {
    fn background(from: f64, start: Instant) -> Self {
        let began = start + Duration::from_secs_f64(from);
        Self::new(
            Control::Background(Box::new(Ledbat::new(PACKET as u16, began))),
            from,
        )
    }

    fn cubic(from: f64, until: f64) -> Self {
        let control = Cubic {
            window: 10.0,
            most: 0.0,
            threshold: f64::INFINITY,
            since: 0.0,
            lost_at: -1.0,
        };
        Self {
            until,
            ..Self::new(Control::Cubic(control), from)
        }
    }

    fn new(control: Control, from: f64) -> Self {
        let (until, waiting) = (f64::INFINITY, Vec::new());
        Self {
            control,
            from,
            until,
            in_flight: 0,
            delivered: 0,
            lost: 0,
            waiting,
            waiting_since: 0.0,
        }
    }

    fn window(&self) -> u64 {
        match &self.control {
            Control::Background(ledbat) => ledbat.window() / PACKET,
            Control::Cubic(cubic) => cubic.window as u64,
        }
    }
}

/// One line that all flows share.
struct Line {
    start: Instant,
    now: f64,
    /// Round trip without a queue.
    base: f64,
    queue: VecDeque<(usize, f64)>,
    capacity: usize,
    flows: Vec<Flow>,
    /// Packets on their way back: when, whose, sent when, whether they were lost.
    acks: BinaryHeap<Reverse<(u64, usize, u64, bool)>>,
    /// Seconds of queue, sampled at each packet that leaves.
    samples: Vec<f64>,
    /// Part of the packets that is lost behind the queue, and the state of its chances.
    loss: f64,
    chance: u64,
}

fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

impl Line {
    fn new(base: f64, queue_seconds: f64) -> Self {
        Self {
            start: Instant::now(),
            now: 0.0,
            base,
            queue: VecDeque::new(),
            capacity: (queue_seconds * RATE / PACKET as f64) as usize,
            flows: Vec::new(),
            acks: BinaryHeap::new(),
            samples: Vec::new(),
            loss: 0.0,
            chance: 0,
        }
    }

    /// One that loses this part of the packets.
    fn bad(base: f64, queue_seconds: f64, loss: f64, seed: u64) -> Self {
        Self {
            loss,
            chance: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            ..Self::new(base, queue_seconds)
        }
    }

    fn loses(&mut self) -> bool {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        ((self.chance >> 11) as f64 / (1u64 << 53) as f64) < self.loss
    }

    /// Runs until then; gives each flow's share of the line over this time.
    fn run(&mut self, until: f64) -> Vec<f64> {
        let before: Vec<u64> = self.flows.iter().map(|f| f.delivered).collect();
        let from = self.now;
        let step = PACKET as f64 / RATE;
        self.samples.clear();
        while self.now < until {
            self.now += step;
            for i in 0..self.flows.len() {
                self.send(i);
            }
            // The line serves one packet a step.
            if let Some((flow, sent)) = self.queue.pop_front() {
                self.samples.push(self.queue.len() as f64 * step);
                let back = nanos(self.now + self.base);
                let lost = self.loses();
                self.acks.push(Reverse((back, flow, nanos(sent), lost)));
            }
            while let Some(Reverse((at, flow, sent, lost))) = self.acks.peek().copied() {
                if at > nanos(self.now) {
                    break;
                }
                self.acks.pop();
                if lost {
                    self.flows[flow].in_flight -= 1;
                    self.told(flow);
                    self.lost(flow, sent as f64 / 1e9);
                } else {
                    self.arrived(flow, sent as f64 / 1e9);
                }
            }
            for i in 0..self.flows.len() {
                let flow = &self.flows[i];
                if !flow.waiting.is_empty() && self.now - flow.waiting_since >= 0.008 {
                    self.told(i);
                }
            }
        }
        let seconds = self.now - from;
        let shares = self.flows.iter().zip(before);
        shares
            .map(|(f, old)| (f.delivered - old) as f64 * PACKET as f64 / (RATE * seconds))
            .collect()
    }

    fn send(&mut self, i: usize) {
        let flow = &mut self.flows[i];
        // A burst of ten at most, as a paced sender makes them.
        for _ in 0..10 {
            if self.now < flow.from || self.now >= flow.until || flow.in_flight >= flow.window() {
                return;
            }
            flow.in_flight += 1;
            if self.queue.len() < self.capacity {
                self.queue.push_back((i, self.now));
            } else {
                // It is missed when what follows it comes back.
                let through = self.queue.len() as f64 * PACKET as f64 / RATE;
                let back = nanos(self.now + through + self.base);
                self.acks.push(Reverse((back, i, nanos(self.now), true)));
                return;
            }
        }
    }

    fn lost(&mut self, i: usize, sent: f64) {
        let at = |seconds| self.start + Duration::from_secs_f64(seconds);
        let flow = &mut self.flows[i];
        flow.lost += 1;
        match &mut flow.control {
            Control::Background(ledbat) => ledbat.lost(at(sent), PACKET, false, at(self.now)),
            Control::Cubic(cubic) => cubic.lost(sent, self.now),
        }
    }

    fn arrived(&mut self, i: usize, sent: f64) {
        let flow = &mut self.flows[i];
        flow.in_flight -= 1;
        flow.delivered += 1;
        if let Control::Cubic(cubic) = &mut flow.control {
            cubic.acknowledged(self.now, self.now - sent);
            return;
        }
        if flow.waiting.is_empty() {
            flow.waiting_since = self.now;
        }
        flow.waiting.push(sent);
        if flow.waiting.len() >= 25 {
            self.told(i);
        }
    }

    fn told(&mut self, i: usize) {
        let flow = &mut self.flows[i];
        let waiting = std::mem::take(&mut flow.waiting);
        let Control::Background(ledbat) = &mut flow.control else {
            return;
        };
        let now = self.start + Duration::from_secs_f64(self.now);
        if let Some(last) = waiting.last() {
            ledbat.measured(Duration::from_secs_f64(self.now - last), now);
            ledbat.acknowledged(waiting.len() as u64 * PACKET, false, now);
        }
    }

    /// The queue that half of the packets saw, in seconds.
    fn median_queue(&mut self) -> f64 {
        self.samples.sort_by(f64::total_cmp);
        self.samples[self.samples.len() / 2]
    }
}

#[test]
fn alone_it_fills_the_line_and_keeps_the_queue_near_its_target() {
    for base in [0.001, 0.020, 0.150] {
        let mut line = Line::new(base, 0.2);
        line.flows.push(Flow::background(0.0, line.start));
        line.run(10.0);
        let share = line.run(60.0)[0];
        let queue = line.median_queue();
        assert!(
            share >= 0.90,
            "{share:.3} of the line at a base delay of {base} s"
        );
        assert!(
            (0.050..=0.070).contains(&queue),
            "a queue of {queue:.3} s at {base} s"
        );
    }
}

#[test]
fn others_keep_the_line_and_it_is_back_when_they_are_gone() {
    for base in [0.001, 0.020, 0.150] {
        let mut line = Line::new(base, 0.2);
        line.flows.push(Flow::cubic(15.0, 45.0));
        line.run(20.0);
        let alone = line.run(45.0)[0];

        let mut line = Line::new(base, 0.2);
        line.flows.push(Flow::background(0.0, line.start));
        line.flows.push(Flow::cubic(15.0, 45.0));
        line.run(20.0);
        let kept = line.run(45.0)[1] / alone;
        assert!(
            kept >= 0.98,
            "Cubic had {kept:.3} of what it has alone at {base} s"
        );
        // What they left in the queue goes first.
        line.run(48.0);
        let share = line.run(58.0)[0];
        assert!(share >= 0.95, "{share:.3} of the line after 3 s at {base} s");
    }
}

#[test]
fn a_latecomer_does_not_take_the_others_queue_for_the_line() {
    for base in [0.020, 0.150] {
        let mut line = Line::new(base, 0.4);
        line.flows.push(Flow::background(0.0, line.start));
        line.run(20.0);
        line.flows.push(Flow::background(20.0, line.start));
        line.run(60.0);
        let shares = line.run(120.0);
        let queue = line.median_queue();
        let (less, more) = (shares[0].min(shares[1]), shares[0].max(shares[1]));
        assert!(less + more >= 0.95, "both have {:.3} at {base} s", less + more);
        assert!(more / less <= 1.1, "shares {shares:?} at {base} s");
        assert!(queue <= 0.070, "a queue of {queue:.3} s at {base} s");
    }
}

#[test]
fn a_line_that_loses_packets_by_itself_is_filled_all_the_same() {
    // Of the line, and the least part that it has from the 20th second on; halving at each loss had 0.11 of the second.
    for (loss, base, least) in [
        (0.01, 0.001, 0.90),
        (0.01, 0.020, 0.95),
        (0.002, 0.020, 0.95),
        (0.01, 0.100, 0.40),
    ] {
        for seed in 1..=4 {
            let mut line = Line::bad(base, 0.2, loss, seed);
            line.flows.push(Flow::background(0.0, line.start));
            line.run(20.0);
            let share = line.run(60.0)[0];
            let queue = line.median_queue();
            let which = format!("at a loss of {loss} and {base} s, seed {seed}");
            assert!(share >= least, "{share:.3} of the line {which}");
            assert!(queue <= 0.070, "a queue of {queue:.3} s {which}");
        }
    }
}

#[test]
fn a_file_comes_soon_over_a_line_that_loses_one_packet_of_a_hundred() {
    // The line alone takes 3.2 s for 8 MB; with a halving at each loss it was 28 s.
    let bytes = (1..=16).map(|seed| {
        let mut line = Line::bad(0.020, 0.2, 0.01, seed);
        line.flows.push(Flow::background(0.0, line.start));
        line.run(5.0);
        line.flows[0].delivered * PACKET
    });
    let bytes: Vec<u64> = bytes.collect();
    let mean = bytes.iter().sum::<u64>() / 16;
    assert!(
        mean >= 8_000_000,
        "{mean} bytes in 5 s, with the seeds from 1 on: {bytes:?}"
    );
}

#[test]
fn behind_a_short_queue_losses_are_the_queues() {
    // What Cubic keeps at least of what it has alone. With a halving at each loss it had 0.33, 0.50, 0.50, 0.42, 0.48 and
    // 0.06.
    for (queue, base, least) in [
        (0.005, 0.001, 0.27),
        (0.005, 0.020, 0.44),
        (0.010, 0.020, 0.46),
        (0.020, 0.020, 0.53),
        (0.030, 0.020, 0.56),
        (0.050, 0.020, 0.64),
    ] {
        let mut line = Line::new(base, queue);
        line.flows.push(Flow::cubic(15.0, 75.0));
        line.run(20.0);
        let alone = line.run(75.0)[0];
        let kept = (0..4).map(|k| {
            // They meet at other moments each time.
            let mut line = Line::new(base, queue);
            line.flows.push(Flow::background(0.37 * f64::from(k), line.start));
            line.flows.push(Flow::cubic(15.0 + 0.111 * f64::from(k), 75.0));
            line.run(20.0);
            line.run(75.0)[1] / alone
        });
        let kept = kept.sum::<f64>() / 4.0;
        assert!(
            kept >= least,
            "Cubic had {kept:.3} behind a queue of {queue} s at {base} s"
        );
    }
}

#[test]
fn after_many_losses_at_once_slow_start_waits_and_stops_short_of_there() {
    let start = Instant::now();
    let trip = Duration::from_millis(20);
    let mut ledbat = Ledbat::new(1_250, start);
    ledbat.take_over(1_000_000);
    for _ in 0..100 {
        ledbat.lost(start, PACKET, false, start + trip);
    }
    // Half for the first of them, and half of that when they were more than a tenth of the window.
    assert_eq!(ledbat.window(), 250_000);
    // The first slowdown, which would come at once, is not what this is about.
    ledbat.next_slowdown = Some(start + MINUTE);
    let mut phases = Vec::new();
    for trips in 2..500 {
        let now = start + trip * trips;
        ledbat.measured(trip, now);
        ledbat.acknowledged(ledbat.window(), false, now);
        phases.push((ledbat.phase, now - start, ledbat.window()));
    }
    let first = phases.iter().position(|p| p.0 == Phase::SlowStart).unwrap();
    assert!(phases[first].1 >= AFTER_LOSS, "{:?}", phases[first]);
    let (_, _, window) = phases[first..].iter().find(|p| p.0 == Phase::Steady).unwrap();
    assert_eq!(*window, (500_000.0 * ROOM) as u64);
}

#[test]
fn slow_start_goes_on_after_a_loss_of_the_lines_own() {
    let start = Instant::now();
    let trip = Duration::from_millis(20);
    let mut ledbat = Ledbat::new(1_250, start);
    ledbat.take_over(100_000);
    let mut now = start;
    let mut acknowledge = |ledbat: &mut Ledbat, delay: Duration| {
        now += trip;
        ledbat.measured(delay, now);
        ledbat.acknowledged(10_000, true, now);
        now
    };
    // Losses with the shortest delays of the time, until they are believed to be the line's.
    for k in 0..400 {
        let at = acknowledge(&mut ledbat, trip + TARGET.mul_f64(f64::from(k % 8) / 80.0));
        if k > 40 && k % 8 == 3 {
            ledbat.lost(at, PACKET, false, at);
        }
    }
    ledbat.phase = Phase::SlowStart;
    ledbat.window = 100_000.0;
    (0..CURRENT).for_each(|_| {
        acknowledge(&mut ledbat, trip);
    });
    ledbat.surprised_at = Some(start + AFTER_MANY);
    let at = acknowledge(&mut ledbat, trip);
    ledbat.lost(at, PACKET, false, at);
    assert_eq!(
        (ledbat.phase, ledbat.window(), ledbat.surprised_at),
        (Phase::SlowStart, 80_000, None)
    );
    // Not while many at once are remembered.
    ledbat.many_at = Some(at);
    let at = acknowledge(&mut ledbat, trip);
    ledbat.lost(at, PACKET, false, at);
    assert_eq!((ledbat.phase, ledbat.window()), (Phase::Steady, 40_000));
}

#[test]
fn a_loss_is_judged_by_the_longest_of_the_last_round_trips() {
    let start = Instant::now();
    let mut ledbat = Ledbat::new(1_250, start);
    for ms in [90, 20, 30, 25, 22] {
        ledbat.measured(Duration::from_millis(ms), start);
    }
    assert_eq!(ledbat.longest(), Duration::from_millis(30));
    assert_eq!(ledbat.queue(), Duration::ZERO, "the shortest is the queue's");
}

#[test]
fn what_is_limited_by_the_application_does_not_grow_the_window() {
    let start = Instant::now();
    let mut ledbat = Ledbat::new(1_250, start);
    let window = ledbat.window();
    for step in 1..1_000 {
        let now = start + Duration::from_millis(step * 20);
        ledbat.measured(Duration::from_millis(20), now);
        ledbat.acknowledged(10_000, true, now);
    }
    assert_eq!(ledbat.window(), window);
}

#[test]
fn a_loss_halves_once_a_round_trip() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let mut ledbat = Ledbat::new(1_250, start);
    ledbat.take_over(100_000);
    ledbat.lost(at(10), PACKET, false, at(30));
    ledbat.lost(at(20), PACKET, false, at(31));
    assert_eq!(ledbat.window(), 50_000);
    ledbat.lost(at(40), PACKET, true, at(60));
    assert_eq!(ledbat.window(), 2_500);
}

#[test]
fn a_loss_behind_a_queue_of_others_leaves_them_the_line() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    // What is lost where the queue is as long, and what stays of the window.
    for (queue, window) in [(0.0, 50_000), (1.4, 50_000), (1.6, 2_500), (3.0, 2_500)] {
        let mut ledbat = Ledbat::new(1_250, start);
        ledbat.take_over(100_000);
        ledbat.measured(Duration::from_millis(20), start);
        for ms in 1..=4 {
            ledbat.measured(Duration::from_millis(20) + TARGET.mul_f64(queue), at(ms));
        }
        ledbat.lost(at(5), PACKET, false, at(200));
        assert_eq!(ledbat.window(), window, "at a queue of {queue} targets");
        // What was sent before is part of the same loss.
        ledbat.lost(at(6), PACKET, false, at(201));
        assert_eq!(ledbat.window(), window);
    }
}

#[test]
fn on_a_long_way_no_slowdown_comes_soon_after_it_looked_for_room() {
    let start = Instant::now();
    let trip = Duration::from_millis(100);
    let mut ledbat = Ledbat::new(1_250, start);
    ledbat.take_over(100_000);
    let mut now = start;
    // The queue stays empty, then its own growth shows.
    while ledbat.phase != Phase::SlowStart {
        now += trip / 10;
        ledbat.measured(trip, now);
        ledbat.acknowledged(10_000, false, now);
    }
    while ledbat.phase == Phase::SlowStart {
        now += trip / 10;
        ledbat.measured(trip + TARGET, now);
        ledbat.acknowledged(10_000, false, now);
    }
    assert_eq!(ledbat.next_slowdown, Some(now + BETWEEN_TRIPS * trip));
}
