//! How good a source is: its measured rate, its delay, its silences, the deadlines it met. For peers and the origin.
//!
//! Time counts only while something is outstanding, so that an idle source keeps its rate. Not here: what follows
//! from it (`pick`, `origin_duty`).

use std::time::{Duration, Instant};

use super::types::BLOCK_SIZE;

/// Time constant of the rate's moving average.
const TAU: f64 = 1.0;
/// Data that may be on its way beyond one round trip, as the notes' simulation found right.
const QUEUE: Duration = Duration::from_millis(300);
/// Longest silence with requests outstanding, at least; a peer with a long queue gets four of its usual delays.
const STALL: Duration = Duration::from_secs(4);
/// The same for a peer that never delivered anything.
const FIRST_STALL: Duration = Duration::from_secs(8);

/// What the last deadline counts for, and the least that is believed of anybody.
const WEIGHT: f64 = 0.2;
const LEAST_MET: f64 = 0.2;
/// Who has no time for a deadline is asked again so much later, and later still when it says so again: so often it is
/// doubled at most. (A turn is kept for a little longer than that, `in_time`.)
const DECLINE: Duration = Duration::from_millis(250);
const DECLINE_DOUBLED: u32 = 2;

/// The measurements of one source.
#[derive(Debug, Clone)]
pub(super) struct Score {
    decayed: f64,
    weight: f64,
    /// Both as they were when bytes arrived last.
    kept: (f64, f64),
    updated: Instant,
    busy: bool,
    rtt: Duration,
    latency: Option<Duration>,
    last_delivery: Option<Instant>,
    strikes: u32,
    /// It fell silent with something outstanding, and has brought nothing since.
    silent: bool,
    pause_until: Option<Instant>,
    /// The share of its last deadlines that it met.
    met: f64,
    /// How often in a row it said that it has no time, and until when it is believed.
    declines: u32,
    declines_until: Option<Instant>,
}

impl Score {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            decayed: 0.0,
            weight: 0.0,
            kept: (0.0, 0.0),
            updated: now,
            busy: false,
            rtt: Duration::from_millis(50),
            latency: None,
            last_delivery: None,
            strikes: 0,
            silent: false,
            pause_until: None,
            met: 1.0,
            declines: 0,
            declines_until: None,
        }
    }

    fn advance(&mut self, now: Instant) {
        if self.busy {
            let gone = (-now.saturating_duration_since(self.updated).as_secs_f64() / TAU).exp();
            self.decayed *= gone;
            self.weight = self.weight * gone + (1.0 - gone);
        }
        self.updated = now;
    }

    /// Says whether something is outstanding from now on.
    pub(super) fn set_busy(&mut self, busy: bool, now: Instant) {
        self.advance(now);
        self.busy = busy;
    }

    /// Bytes arrived. What is shorter than a block counts as a whole one (callers see to it): what is outstanding is counted in blocks.
    pub(super) fn delivered(&mut self, bytes: u64, now: Instant) {
        self.advance(now);
        self.decayed += bytes as f64 / TAU;
        self.kept = (self.decayed, self.weight);
        self.last_delivery = Some(now);
        self.strikes = 0;
        self.silent = false;
        self.declines = 0;
    }

    /// Something that it was asked for by a deadline came in time, or did not.
    pub(super) fn deadline(&mut self, met: bool) {
        self.met += WEIGHT * (f64::from(u8::from(met)) - self.met);
    }

    /// Its word for a deadline: [`Self::eta`], and longer the more of its deadlines it missed.
    pub(super) fn promise(&self, outstanding: u32, more: u32, assumed_rate: f64) -> f64 {
        self.eta(outstanding, more, assumed_rate) / self.met.max(LEAST_MET)
    }

    /// It has no time for a deadline of ours at present. What else it was asked meanwhile gets the same answer, which
    /// says nothing new.
    pub(super) fn declined(&mut self, now: Instant) {
        if !self.has_time(now) {
            return;
        }
        let time = DECLINE * 2u32.pow(self.declines.min(DECLINE_DOUBLED));
        self.declines += 1;
        self.declines_until = Some(now + time);
    }

    /// Whether it is worth asking it for something with a deadline.
    pub(super) fn has_time(&self, now: Instant) -> bool {
        self.declines_until.is_none_or(|until| until <= now)
    }

    /// A whole request took this long, its time in the queue included.
    pub(super) fn request_took(&mut self, time: Duration) {
        self.latency = Some(
            self.latency
                .map_or(time, |old| old.mul_f64(0.8) + time.mul_f64(0.2)),
        );
    }

    pub(super) fn set_rtt(&mut self, rtt: Duration) {
        self.rtt = rtt.min(Duration::from_secs(10));
    }

    /// When bytes last arrived.
    pub(super) fn last_delivery(&self) -> Option<Instant> {
        self.last_delivery
    }

    /// Bytes a second while busy; `None` before anything arrived.
    pub(super) fn rate(&self) -> Option<f64> {
        self.last_delivery?;
        // Within the first instants the weight is tiny; a hundredth of a second of busy time is believed at least.
        Some(self.decayed / self.weight.max(0.01))
    }

    /// Blocks to keep outstanding: one round trip and a little queue at the measured rate. Of who fell silent a run is asked,
    /// to see whether it is there again.
    pub(super) fn pipeline(&self) -> u32 {
        let run = 4.0;
        let blocks = match self.rate() {
            None => run,
            Some(_) if self.silent => run,
            Some(rate) => rate * (self.rtt + QUEUE).as_secs_f64() / f64::from(BLOCK_SIZE),
        };
        blocks.clamp(run, 4096.0) as u32
    }

    /// Seconds until this many more blocks are here, when `outstanding` are asked for already.
    pub(super) fn eta(&self, outstanding: u32, more: u32, assumed_rate: f64) -> f64 {
        let bytes = f64::from(outstanding + more) * f64::from(BLOCK_SIZE);
        bytes / self.rate().unwrap_or(assumed_rate).max(1_000.0) + self.rtt.as_secs_f64()
    }

    /// When silence since `since` (the oldest outstanding request) is too long.
    pub(super) fn stalls_at(&self, since: Instant) -> Instant {
        let patience = match (self.last_delivery, self.latency) {
            (None, _) => FIRST_STALL,
            (Some(_), latency) => STALL.max(latency.unwrap_or_default() * 4),
        };
        self.last_delivery.map_or(since, |last| last.max(since)) + patience
    }

    /// The silence since bytes arrived last says nothing of its rate: it was asked for something that stopped, and will be asked again.
    pub(super) fn forget_silence(&mut self, now: Instant) {
        (self.decayed, self.weight) = self.kept;
        self.updated = now;
    }

    /// It was silent for too long with something outstanding.
    pub(super) fn fell_silent(&mut self) {
        self.silent = true;
    }

    /// Whether it served us, fell silent with something outstanding, and has brought nothing since.
    pub(super) fn is_silent(&self) -> bool {
        self.silent && self.last_delivery.is_some()
    }

    /// It stalled or refused: leave it alone for a while, longer each time until it delivers again.
    pub(super) fn pause(&mut self, first: Duration, now: Instant) {
        let time = first * 2u32.pow(self.strikes.min(5));
        self.strikes += 1;
        self.pause_until = Some(now + time.min(Duration::from_secs(60)));
    }

    /// Whether it was asked again and again since it last delivered anything.
    pub(super) fn fails(&self) -> bool {
        self.strikes >= 2
    }

    /// When it may be asked again, if it is left alone now.
    pub(super) fn paused_until(&self, now: Instant) -> Option<Instant> {
        self.pause_until.filter(|&until| until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_that_is_forgotten_leaves_the_rate_as_it_was() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut score = Score::new(start);
        score.set_busy(true, start);
        (1..=20).for_each(|tick| score.delivered(10_000, at(tick * 100)));
        let rate = score.rate();
        score.set_busy(false, at(12_000));
        assert!(score.rate() < rate.map(|rate| rate / 1e3), "it is silent");
        score.forget_silence(at(12_000));
        assert_eq!(score.rate(), rate);
    }

    #[test]
    fn an_idle_source_keeps_its_rate() {
        let start = Instant::now();
        let mut score = Score::new(start);
        score.set_busy(true, start);
        for tick in 1..=50 {
            score.delivered(10_000, start + Duration::from_millis(tick * 100));
        }
        let end = start + Duration::from_secs(5);
        let rate = score.rate().unwrap();
        assert!((90_000.0..120_000.0).contains(&rate), "{rate}");
        score.set_busy(false, end);
        score.set_busy(true, end + Duration::from_secs(60));
        assert!((score.rate().unwrap() - rate).abs() < 1.0);
    }

    #[test]
    fn the_first_delivery_gives_a_usable_rate() {
        let start = Instant::now();
        let mut score = Score::new(start);
        assert_eq!(score.pipeline(), 4);
        score.set_busy(true, start);
        score.delivered(65_536, start + Duration::from_millis(100));
        let rate = score.rate().unwrap();
        assert!((600_000.0..750_000.0).contains(&rate), "{rate}");
    }

    #[test]
    fn what_is_asked_ahead_covers_the_round_trip_and_a_little_more() {
        let start = Instant::now();
        let mut score = Score::new(start);
        score.set_busy(true, start);
        // Forty blocks a second.
        for tick in 1..=400 {
            score.delivered(BLOCK_SIZE.into(), start + Duration::from_millis(tick * 25));
        }
        for (rtt, blocks) in [(0, 12), (100, 16), (300, 24), (1_000, 52)] {
            score.set_rtt(Duration::from_millis(rtt));
            assert!(
                score.pipeline().abs_diff(blocks) <= 1,
                "{rtt} ms: {}",
                score.pipeline()
            );
        }
    }

    #[test]
    fn who_misses_deadlines_promises_less() {
        let mut score = Score::new(Instant::now());
        let fresh = score.promise(0, 4, 65_536.0);
        assert!((fresh - score.eta(0, 4, 65_536.0)).abs() < 1e-9);
        for _ in 0..3 {
            score.deadline(false);
        }
        let late = score.promise(0, 4, 65_536.0);
        assert!((1.8 * fresh..2.2 * fresh).contains(&late), "{late}");
        for _ in 0..10 {
            score.deadline(true);
        }
        assert!(score.promise(0, 4, 65_536.0) < 1.1 * fresh, "it is forgiven");
        for _ in 0..100 {
            score.deadline(false);
        }
        assert!(
            score.promise(0, 4, 65_536.0) <= 5.0 * fresh,
            "it is not written off"
        );
    }

    #[test]
    fn who_has_no_time_is_asked_again_soon_and_is_still_a_holder() {
        let start = Instant::now();
        let mut score = Score::new(start);
        assert!(score.has_time(start));
        let mut now = start;
        for times in [1, 2, 4, 4] {
            score.declined(now);
            assert!(!score.has_time(now + DECLINE * times * 9 / 10));
            now += DECLINE * times;
            assert!(score.has_time(now));
        }
        assert_eq!(score.paused_until(now), None);
        assert!(!score.fails());
        score.delivered(1, now);
        score.declined(now);
        assert!(score.has_time(now + DECLINE));
    }

    #[test]
    fn answers_of_one_batch_count_once() {
        let start = Instant::now();
        let mut score = Score::new(start);
        for answer in 0..10 {
            score.declined(start + Duration::from_millis(answer));
        }
        assert!(!score.has_time(start + DECLINE * 9 / 10));
        assert!(score.has_time(start + DECLINE));
        score.declined(start + DECLINE);
        assert!(
            !score.has_time(start + DECLINE * 2),
            "longer when it says so again"
        );
        assert!(score.has_time(start + DECLINE * 3));
    }

    #[test]
    fn pauses_double_until_something_arrives() {
        let start = Instant::now();
        let mut score = Score::new(start);
        let second = Duration::from_secs(1);
        score.pause(second, start);
        assert_eq!(score.paused_until(start), Some(start + second));
        score.pause(second, start);
        assert_eq!(score.paused_until(start), Some(start + 2 * second));
        score.delivered(1, start);
        score.pause(second, start);
        assert_eq!(score.paused_until(start), Some(start + second));
        assert_eq!(score.paused_until(start + second), None);
    }
}
