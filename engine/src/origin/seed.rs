//! One web seed: what is known of it, and when it may be asked again after a failure or a refusal.
//!
//! Not here: which seed is asked and how (the parent module).

use gate::Url;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// First and longest pause after failures that may pass.
pub(super) const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// For so long after a file was given its refusals are taken for trouble that may pass, and so many of them later on.
const DOUBT: (Duration, u32) = (Duration::from_secs(60), 2);
/// First pause after a refusal that somebody may yet lift, and how long that is hoped for.
const REFUSED: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(3600));
/// Longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);
/// A seed that many times slower than the best is asked only when no other may be.
const SLOW: f64 = 4.0;
/// Bytes, or time of waiting for them, after which a rate is believed.
const MEASURED: (u64, Duration) = (256 << 10, Duration::from_secs(1));
/// How much the latest measure counts.
const LATEST: f64 = 0.3;

/// A file that a web seed refuses, perhaps not for ever.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    since: Instant,
    pause: Duration,
    pub(super) until: Instant,
}

/// What is known of one file at a web seed.
#[derive(Clone, Copy, Debug, Default)]
struct AtSeed {
    /// Requests for it that run.
    requests: u32,
    /// When some of it was sent last.
    gave: Option<Instant>,
    /// How often it was refused since then.
    refusals: u32,
}

/// What is known of a web seed.
#[derive(Debug)]
pub(super) struct Seed {
    /// Where each file is; `None` for one that has no bytes, or that it is not asked for again.
    pub(super) urls: Vec<Option<Url>>,
    /// It does not honour Range.
    pub(super) whole_only: bool,
    pub(super) failures: u32,
    /// When it failed last.
    failed: Option<Instant>,
    pub(super) not_before: Option<Instant>,
    /// The server itself named `not_before`.
    pub(super) asked: bool,
    /// The end of the latest pause that it named, also when that is over, and how long it is.
    named: Option<(Instant, Duration)>,
    files: HashMap<usize, AtSeed>,
    /// Files that it refused when it was last asked.
    pub(super) refused: HashMap<usize, Refused>,
    pub(super) wrong_pieces: u32,
    pub(super) last_error: Option<String>,
    /// Why it is never asked again: about one file of several, or at all.
    pub(super) dropped: Option<String>,
    /// Requests that run.
    pub(super) requests: u32,
    /// Those that are being answered, and when there was one last.
    answering: u32,
    answered: Option<Instant>,
    /// When it sent something last.
    pub(super) heard: Option<Instant>,
    /// Requests that it has place for, where it refused more.
    pub(super) most: Option<(u32, Instant)>,
    /// Bytes a second, when it is known.
    rate: Option<f64>,
    /// What is not in `rate` yet: bytes, and the time that was waited for them.
    measuring: (u64, Duration),
}

impl Seed {
    pub(super) fn new(urls: Vec<Option<Url>>) -> Self {
        Self {
            urls,
            whole_only: false,
            failures: 0,
            failed: None,
            not_before: None,
            asked: false,
            named: None,
            files: HashMap::new(),
            refused: HashMap::new(),
            wrong_pieces: 0,
            last_error: None,
            dropped: None,
            requests: 0,
            answering: 0,
            answered: None,
            heard: None,
            most: None,
            rate: None,
            measuring: (0, Duration::ZERO),
        }
    }

    pub(super) fn has(&self, file: usize) -> bool {
        self.urls.get(file).is_some_and(Option::is_some)
    }

    /// Something that may pass, of a request that was sent at `asked`. What it was asked before it failed last tells of the same trouble,
    /// which is counted once.
    pub(super) fn fails(&mut self, after: Option<Duration>, asked: Instant, now: Instant) {
        if after.is_none() && self.is_known(asked) {
            return;
        }
        let pause = after.map_or_else(
            || (BACKOFF.0 * 2_u32.saturating_pow(self.failures.min(10))).min(BACKOFF.1),
            |after| after.min(MAX_RETRY_AFTER),
        );
        self.failures += 1;
        self.failed = Some(now);
        self.not_before = Some(now + pause);
        self.asked = after.is_some();
        if self.asked {
            self.named = Some((now + pause, pause));
        }
    }

    /// Whether it has failed since it was asked this.
    fn is_known(&self, asked: Instant) -> bool {
        self.failed.is_some_and(|failed| failed >= asked)
    }

    /// All that it was asked for came. A pause that it named is for every request: an answer to an earlier one does not end it.
    pub(super) fn succeeds(&mut self, now: Instant) {
        self.failures = 0;
        if !self.is_held(now) {
            self.not_before = None;
        }
    }

    /// It rests for a moment, unless it named a pause itself.
    pub(super) fn rests(&mut self, now: Instant) {
        if !self.is_held(now) {
            self.not_before = Some(now + BACKOFF.0);
            self.asked = false;
        }
    }

    /// Whether a pause goes on that it named itself.
    fn is_held(&self, now: Instant) -> bool {
        self.asked && self.not_before.is_some_and(|until| until > now)
    }

    /// An answer was of use, though it ended early: others are asked first. It was no success either: what came may be no whole piece.
    pub(super) fn ends_early(&mut self) {
        self.failures = self.failures.max(1);
    }

    /// Something of it was right: whatever it does besides, it is of use.
    pub(super) fn is_right(&mut self) {
        self.failures = self.failures.min(1);
    }

    /// The end of the latest pause that it named, and how long it is, if it is to be asked again.
    pub(super) fn named(&self) -> Option<(Instant, Duration)> {
        self.named.filter(|_| self.dropped.is_none())
    }

    /// So many more requests for a file run, or fewer.
    pub(super) fn requests(&mut self, file: usize, more: i32) {
        self.requests = self.requests.saturating_add_signed(more);
        let at = self.files.entry(file).or_default();
        at.requests = at.requests.saturating_add_signed(more);
    }

    /// It sends some of a file.
    pub(super) fn sends(&mut self, file: usize, now: Instant) {
        let at = self.files.entry(file).or_default();
        (at.gave, at.refusals) = (Some(now), 0);
    }

    /// So many more requests, or fewer, are being answered.
    pub(super) fn answers(&mut self, more: i32, now: Instant) {
        self.answering = self.answering.saturating_add_signed(more);
        self.answered = Some(now);
    }

    /// Whether it answers another request now, or did since then.
    pub(super) fn answered_since(&self, then: Instant) -> bool {
        self.answering > 0 || self.answered.is_some_and(|at| at >= then)
    }

    /// Whether it has answered nothing since it failed last.
    pub(super) fn is_in_trouble(&self) -> bool {
        self.failed.is_some_and(|failed| !self.answered_since(failed))
    }

    /// Whether it has place for one more request, as far as is known.
    pub(super) fn has_place(&self, now: Instant) -> bool {
        self.most(now).is_none_or(|most| self.requests < most)
    }

    /// Requests that it has place for at a time, as far as is known: one more with each minute since it refused one last, since that may have
    /// been a moment's trouble.
    pub(super) fn most(&self, now: Instant) -> Option<u32> {
        let (most, refused) = self.most?;
        let minutes = now.saturating_duration_since(refused).as_secs() / 60;
        Some(most.saturating_add(u32::try_from(minutes).unwrap_or(u32::MAX)))
    }

    /// It had no place for a request beside so many others.
    pub(super) fn is_full(&mut self, beside: u32, now: Instant) {
        let most = self.most(now).map_or(beside, |most| most.min(beside));
        self.most = Some((most.max(1), now));
    }

    /// So many bytes came in the time that was waited for them, in one of its requests.
    pub(super) fn brings(&mut self, bytes: u64, waited: Duration) {
        self.measuring.0 += bytes;
        self.measuring.1 += waited / self.requests.max(1);
        let (bytes, waited) = self.measuring;
        if bytes < MEASURED.0 && waited < MEASURED.1 {
            return;
        }
        self.measuring = (0, Duration::ZERO);
        let latest = bytes as f64 / waited.as_secs_f64().max(1e-3);
        self.rate = Some(self.rate.map_or(latest, |rate| rate + LATEST * (latest - rate)));
    }

    /// It is no faster than this now, whatever it was.
    pub(super) fn is_down_to(&mut self, rate: f64) {
        self.rate = Some(self.rate.map_or(rate, |known| known.min(rate)));
        self.measuring = (0, Duration::ZERO);
    }

    /// Bytes a second, when it is known.
    pub(super) fn rate(&self) -> Option<f64> {
        self.rate
    }

    /// Its place among those that may be asked now, the best of which has this rate; the lowest is asked.
    pub(super) fn place(&self, best: f64, now: Instant) -> (bool, bool, bool, u32, f64) {
        let load = match self.rate {
            // Nothing is known of it until it is tried.
            None if self.requests == 0 => 0.0,
            rate => f64::from(self.requests + 1) / rate.unwrap_or(best).max(1.0),
        };
        (
            self.whole_only,
            self.rate.is_some_and(|rate| is_slow(rate, best)),
            !self.has_place(now),
            self.failures,
            load,
        )
    }

    /// Whether it may be asked for a file now.
    pub(super) fn is_ready(&self, file: usize, now: Instant) -> bool {
        self.gives(file, now) && self.not_before.is_none_or(|at| at <= now)
    }

    /// Whether it may be asked for a file, as far as refusals go.
    pub(super) fn gives(&self, file: usize, now: Instant) -> bool {
        self.dropped.is_none()
            && self.has(file)
            && self.refused.get(&file).is_none_or(|refused| refused.until <= now)
    }

    /// Whether it may be asked for a file in spite of a pause: it has just brought some of it, and named no time itself.
    pub(super) fn goes_on(&self, file: usize, now: Instant) -> bool {
        self.gives(file, now) && (!self.asked || self.not_before.is_none_or(|at| at <= now))
    }

    /// It says that it does not have a file. Of one that it gave lately, or that another request may be given, that is trouble as any other: one
    /// of the machines behind its name may lack it, and an address that was signed for a while be renewed.
    pub(super) fn denies(&mut self, file: usize, why: &str, asked: Instant, now: Instant) {
        let is_known = self.is_known(asked);
        let at = self.files.entry(file).or_default();
        at.refusals += u32::from(!is_known);
        let gave = at
            .gave
            .is_some_and(|gave| now.saturating_duration_since(gave) < DOUBT.0 || at.refusals <= DOUBT.1);
        if gave || at.requests > 0 {
            self.last_error = Some(why.to_owned());
            self.fails(None, asked, now);
        } else if self.gives(file, now) {
            self.refuses(file, why, now);
        }
    }

    /// Not to be asked for this file for a while, longer each time, and in the end not any more.
    pub(super) fn refuses(&mut self, file: usize, why: &str, now: Instant) {
        let before = self.refused.get(&file).copied();
        let since = before.map_or(now, |refused| refused.since);
        if now.saturating_duration_since(since) >= REFUSED.1 {
            return self.drop_file(file, why);
        }
        let pause = before.map_or(REFUSED.0, |refused| refused.pause * 2);
        let until = now + pause;
        self.refused.insert(file, Refused { since, pause, until });
        self.last_error = Some(why.to_owned());
    }

    /// Not to be asked for this file any more; when none is left, at all.
    pub(super) fn drop_file(&mut self, file: usize, why: &str) {
        self.last_error = Some(why.to_owned());
        if let Some(url) = self.urls.get_mut(file) {
            *url = None;
        }
        if self.urls.iter().all(Option::is_none) {
            self.dropped = Some(why.to_owned());
        }
    }
}

/// Whether a seed is too slow beside another.
pub(super) fn is_slow(rate: f64, best: f64) -> bool {
    rate * SLOW <= best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_believed_for_a_minute_and_then_one_more_is_tried() {
        let (mut seed, now) = (Seed::new(Vec::new()), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(seed.most(now), None);
        seed.is_full(3, now);
        assert_eq!(
            [0, 59, 60, 120].map(|seconds| seed.most(after(seconds))),
            [3, 3, 4, 5].map(Some)
        );
        seed.is_full(4, after(120));
        assert_eq!(seed.most(after(121)), Some(4), "what was refused beside four");
        seed.is_full(0, after(125));
        assert_eq!(seed.most(after(126)), Some(1));
    }
}
