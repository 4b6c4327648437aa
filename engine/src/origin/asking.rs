//! One request to a web seed while it runs: what it brings in the time that it is waited for, and whether another seed
//! would do better.
//!
//! A request that is aborted has told its seed as well how it was. Not here: what is asked and what an answer means (the
//! parent module); what follows for the seed ([`super::seed`]).

use super::Origin;
use super::seed::is_slow;
use std::pin::pin;
use std::time::{Duration, Instant};

/// A seed that sends nothing for so long is given up when another may be asked; and after so much waiting it is looked
/// at how much came. Shorter than what the swarm core waits for a fetch.
const LOOK: Duration = Duration::from_secs(4);

/// Why another seed is asked instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    Silent,
    Slow,
}

pub(super) struct Asking<'a> {
    origin: &'a Origin,
    seed: usize,
    file: usize,
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
    pub(super) fn begin(origin: &'a Origin, (seed, file): (usize, usize), whole: bool) -> Self {
        let mut seeds = origin.seeds();
        let others = seeds[seed].requests;
        seeds[seed].requests += 1;
        drop(seeds);
        Self {
            origin,
            seed,
            file,
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
        self.origin.seeds()[self.seed].answers(1, Instant::now());
        self.origin.changed.notify_waiters();
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
                Err(_elapsed) if self.other_is_better(None) => break Err(GivenUp::Silent),
                Err(_elapsed) => {}
            }
        };
        self.since = None;
        self.waited += began.elapsed();
        came
    }

    /// Bytes came.
    pub(super) fn brings(&mut self, bytes: u64) -> Result<(), GivenUp> {
        self.bytes += bytes;
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
        seed.requests -= 1;
        if self.answered {
            seed.answers(-1, now);
        }
        self.origin.changed.notify_waiters();
        // Whoever asked lost patience.
        if has_others && silent.is_some_and(|silent| silent >= LOOK) {
            seed.fails(None, false, self.sent, now);
        }
    }
}
