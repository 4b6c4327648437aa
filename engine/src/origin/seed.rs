//! One web seed: what is known of it, and when it may be asked again after a failure or a refusal.
//!
//! Not here: which seed is asked and how (the parent module).

use gate::Url;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// First and longest pause after failures that may pass.
pub(super) const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// First pause after a refusal that somebody may yet lift, and how long that is hoped for.
const REFUSED: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(3600));
/// Longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// A file that a web seed refuses, perhaps not for ever.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    since: Instant,
    pause: Duration,
    pub(super) until: Instant,
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
    /// Files that it refused when it was last asked.
    pub(super) refused: HashMap<usize, Refused>,
    pub(super) wrong_pieces: u32,
    pub(super) last_error: Option<String>,
    /// Why it is never asked again: about one file of several, or at all.
    pub(super) dropped: Option<String>,
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
            refused: HashMap::new(),
            wrong_pieces: 0,
            last_error: None,
            dropped: None,
        }
    }

    pub(super) fn has(&self, file: usize) -> bool {
        self.urls.get(file).is_some_and(Option::is_some)
    }

    /// Something that may pass, of a request that was sent at `asked`. What it was asked before it failed last tells of the same trouble,
    /// which is counted once.
    pub(super) fn fails(&mut self, after: Option<Duration>, asked: Instant, now: Instant) {
        if after.is_none() && self.failed.is_some_and(|failed| failed >= asked) {
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
