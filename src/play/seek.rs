//! Seeking by the person. A break that is not decided yet and that a seek leads over is decided first, the last such one: then it is
//! there to be presented before the target, as [`ad_splicer::play::Presentation::go`] does it. Nobody waits long for that.

use std::time::{Duration, Instant};

use ad_splicer::play::Controls;
use ad_splicer::time::{ContentTime, PresentationTime};

use super::Listening;

/// How far one key press leads.
pub(super) const STEP: Duration = Duration::from_secs(10);
/// How long a seek waits for the ads of a break.
const PATIENCE: Duration = Duration::from_secs(3);

/// A seek that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deferred {
    to: ContentTime,
    break_index: usize,
    until: Instant,
}

impl Listening<'_> {
    /// Goes a step forwards or backwards from `at`; from where a seek that waits leads to, when there is one.
    pub(super) fn seek(&mut self, at: PresentationTime, forwards: bool, player: &Controls) {
        let from = self.deferred.take().map(|deferred| deferred.to);
        let here = self.content_time(at);
        let from = from.unwrap_or(here);
        let to = if forwards {
            from.saturating_add(STEP)
        } else {
            ContentTime::from_nanos(from.as_nanos().saturating_sub(STEP.as_nanos() as u64))
        };
        self.deferred = self.ahead.crossed(here, to).map(|break_index| Deferred {
            to,
            break_index,
            until: Instant::now() + PATIENCE,
        });
        match self.deferred {
            Some(deferred) => self.begin(deferred.break_index),
            None => self.go(to, player),
        }
    }

    /// Carries out a seek that has waited enough.
    pub(super) fn go_on(&mut self, player: &Controls) {
        if let Some(deferred) = self.deferred
            && (!self.ahead.is_open(deferred.break_index) || Instant::now() >= deferred.until)
        {
            self.deferred = None;
            // What is still not ready is not for this time.
            self.ahead.pass(deferred.break_index);
            self.go(deferred.to, player);
        }
    }

    fn go(&self, to: ContentTime, player: &Controls) {
        let rendition = self.rendition();
        let plan = rendition.plan();
        let sample = plan.content_to_presentation_or_next(to.to_samples(plan.sample_rate()));
        player.go(PresentationTime::from_samples(sample, plan.sample_rate()));
    }
}
