//! One request to a web seed while it runs: what it brings in the time that it is waited for, and whether another seed
//! would do better.
//!
//! A request that is aborted has told its seed as well how it was. Not here: what is asked and what an answer means
//! ([`super::exchange`]); what follows for the seed ([`super::seed`]).

use super::Origin;
use super::seed::is_slow;
use std::pin::pin;
use std::time::{Duration, Instant};

/// A seed that sends nothing for so long is given up when another may be asked; and after so much waiting it is looked
/// at how much came. Shorter than what the swarm core waits for a fetch.
const LOOK: Duration = Duration::from_secs(4);

/// Why it is not waited for any longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// Another seed is asked instead.
    Silent(String),
    Slow,
    /// The same seed answers others: it may be asked again.
    Stopped(String),
}

pub(super) struct Asking<'a> {
    origin: &'a Origin,
    seed: usize,
    file: usize,
    /// As it may be shown.
    url: &'a str,
    /// Begins anew when it is asked again: it is given up for silence only.
    whole: bool,
    sent: Instant,
    /// What came since the last look, and how long it was waited for.
    bytes: u64,
    waited: Duration,
    /// Since when something is waited for.
    since: Option<Instant>,
    /// Others of the same seed that ran when it was sent.
    others: u32,
    answered: bool,
}

impl<'a> Asking<'a> {
    pub(super) fn begin(origin: &'a Origin, (seed, file): (usize, usize), url: &'a str, whole: bool) -> Self {
        let mut seeds = origin.seeds();
        let others = seeds[seed].requests;
        seeds[seed].requests(file, 1);
        drop(seeds);
        Self {
            origin,
            seed,
            file,
            url,
            whole,
            sent: Instant::now(),
            bytes: 0,
            waited: Duration::ZERO,
            since: None,
            others,
            answered: false,
        }
    }

    /// Its seed sends what it was asked for.
    pub(super) fn is_answered(&mut self) {
        self.answered = true;
        let now = Instant::now();
        let mut seeds = self.origin.seeds();
        seeds[self.seed].answers(1, now);
        seeds[self.seed].heard = Some(now);
        drop(seeds);
        self.origin.changed.notify_waiters();
    }

    /// What it sends is of the file.
    pub(super) fn gives(&self) {
        self.origin.seeds()[self.seed].sends(self.file, Instant::now());
    }

    /// Others of the same seed that run, or ran when this one was sent.
    pub(super) fn beside(&self) -> u32 {
        let now = self.origin.seeds()[self.seed].requests - 1;
        if now > 0 { now } else { self.others.min(1) }
    }

    /// Waits for what the server does next.
    pub(super) async fn wait<T>(&mut self, next: impl Future<Output = T>) -> Result<T, GivenUp> {
        let began = Instant::now();
        self.since = Some(began);
        let mut next = pin!(next);
        let came = loop {
            match tokio::time::timeout(LOOK, &mut next).await {
                Ok(came) => break Ok(came),
                Err(_elapsed) if self.other_is_better(None) => break Err(GivenUp::Silent(self.silence())),
                Err(_elapsed) if self.stopped_alone(began) => {
                    // It goes on at once, so nobody else tells it.
                    self.tell_silence();
                    break Err(GivenUp::Stopped(self.silence()));
                }
                Err(_elapsed) => self.tell_silence(),
            }
        };
        self.since = None;
        self.waited += began.elapsed();
        came
    }

    /// What it does, in words.
    fn silence(&self) -> String {
        let url = self.url;
        if self.answered {
            format!("the web seed {url} stopped in the middle of an answer")
        } else {
            format!("the web seed {url} sends nothing")
        }
    }

    fn tell_silence(&self) {
        let why = self.silence();
        self.origin.seeds()[self.seed].last_error = Some(why.clone());
        self.origin.problem(why);
    }

    /// Whether it is this answer alone that stopped: its seed has sent something to another request since then.
    fn stopped_alone(&self, silent_since: Instant) -> bool {
        let heard = self.origin.seeds()[self.seed].heard;
        self.answered && !self.whole && heard.is_some_and(|at| at >= silent_since)
    }

    /// Bytes came.
    pub(super) fn brings(&mut self, bytes: u64) -> Result<(), GivenUp> {
        self.bytes += bytes;
        self.origin.seeds()[self.seed].heard = Some(Instant::now());
        if self.waited < LOOK {
            return Ok(());
        }
        let requests = f64::from(self.origin.seeds()[self.seed].requests);
        let rate = self.bytes as f64 / self.waited.as_secs_f64() * requests;
        self.measured();
        if self.whole || !self.other_is_better(Some(rate)) {
            return Ok(());
        }
        self.origin.seeds()[self.seed].is_down_to(rate);
        Err(GivenUp::Slow)
    }

    fn measured(&mut self) {
        let (bytes, waited) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.waited));
        self.origin.seeds()[self.seed].brings(bytes, waited);
    }

    /// Whether another seed may be asked now that has failed no more often: any when this one is silent; one that is not known
    /// yet or is much faster when this one has a rate.
    fn other_is_better(&self, rate: Option<f64>) -> bool {
        let (seeds, now) = (self.origin.seeds(), Instant::now());
        let failures = seeds[self.seed].failures;
        let mut others = seeds.iter().enumerate().filter(|(i, other)| {
            *i != self.seed && other.is_ready(self.file, now) && other.failures <= failures
        });
        others.any(|(_, other)| match rate {
            None => true,
            Some(rate) => {
                !other.whole_only
                    && other
                        .rate()
                        .map_or(other.requests == 0, |best| is_slow(rate, best))
            }
        })
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let silent = self.since.map(|since| now.saturating_duration_since(since));
        self.waited += silent.unwrap_or_default();
        self.measured();
        let mut seeds = self.origin.seeds();
        let has_others = seeds
            .iter()
            .enumerate()
            .any(|(i, other)| i != self.seed && other.gives(self.file, now));
        let seed = &mut seeds[self.seed];
        seed.requests(self.file, -1);
        if self.answered {
            seed.answers(-1, now);
        }
        self.origin.changed.notify_waiters();
        // Whoever asked lost patience.
        if has_others && silent.is_some_and(|silent| silent >= LOOK) {
            seed.fails(None, self.sent, now);
        }
    }
}
