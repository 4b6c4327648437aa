//! What is done while an answer waits for content: its origin is asked again, and it is said; and that it sends again: once for each origin
//! and each time, not for each answer. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// After such a wait, or a quarter of the longest one, it is said what is waited for.
const TOLD: Duration = Duration::from_secs(4);

/// A read that does not come, as it is looked at from time to time.
#[derive(Debug)]
pub(super) struct OneRead {
    within: Duration,
    is_told: bool,
}

/// What is to be done about it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It does not wait for content: it is being made.
    Nothing,
    /// An origin in trouble is to be asked again, which the engine does as often as it may be.
    Ask,
    /// So it is, and it is to be said.
    AskAndTell,
}

impl OneRead {
    /// It may take so long.
    pub(super) fn new(within: Duration) -> Self {
        Self {
            within,
            is_told: false,
        }
    }

    /// It has waited for content for so long now.
    pub(super) fn look(&mut self, waits: Option<Duration>) -> Step {
        match waits {
            None => Step::Nothing,
            Some(waits) if waits >= TOLD.min(self.within / 4) && !self.is_told => {
                self.is_told = true;
                Step::AskAndTell
            }
            Some(_) => Step::Ask,
        }
    }

    /// Whether it was to be said.
    pub(super) fn is_told(&self) -> bool {
        self.is_told
    }
}

/// An origin that goes on failing is spoken of so often.
const AGAIN: Duration = Duration::from_secs(60);
/// Origins that are remembered.
const MOST: usize = 256;

/// What was said of origins.
#[derive(Debug, Default)]
pub(super) struct Waiting(HashMap<String, Said>);

#[derive(Debug)]
struct Said {
    at: Instant,
    /// That it keeps answers waiting, and not yet that it sends again.
    waits: bool,
}

impl Waiting {
    /// An answer waits for this origin: whether that is to be said.
    pub(super) fn begins(&mut self, origin: &str, now: Instant) -> bool {
        if let Some(said) = self.0.get_mut(origin) {
            if now.saturating_duration_since(said.at) < AGAIN {
                return false;
            }
            *said = Said { at: now, waits: true };
            return true;
        }
        if self.0.len() >= MOST {
            let is_over = |said: &Said| now.saturating_duration_since(said.at) >= AGAIN;
            self.0.retain(|_, said| !is_over(said));
            if self.0.len() >= MOST {
                return false;
            }
        }
        self.0.insert(origin.to_owned(), Said { at: now, waits: true });
        true
    }

    /// What was waited for came: whether that is to be said.
    pub(super) fn ends(&mut self, origin: &str) -> bool {
        let said = self.0.get_mut(origin);
        said.is_some_and(|said| std::mem::take(&mut said.waits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_has_the_origin_asked_again_and_again() {
        let halves = |count: u32| Some(Duration::from_millis(500) * count);
        let mut read = OneRead::new(Duration::from_secs(20));
        assert_eq!(read.look(None), Step::Nothing, "a bridge is made");
        assert!((0..8).all(|count| read.look(halves(count)) == Step::Ask));
        assert!(!read.is_told());
        assert_eq!(read.look(halves(8)), Step::AskAndTell);
        assert!((9..40).all(|count| read.look(halves(count)) == Step::Ask));
        assert_eq!(read.look(None), Step::Nothing);
        assert!(read.is_told());
        let mut short = OneRead::new(Duration::from_secs(2));
        assert_eq!(short.look(halves(1)), Step::AskAndTell);
    }

    #[test]
    fn an_origin_is_spoken_of_once_in_a_while() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut waiting = Waiting::default();
        assert!(!waiting.ends("a"));
        assert!(waiting.begins("a", at(0)));
        assert!(!waiting.begins("a", at(1)) && waiting.begins("b", at(1)));
        assert!(waiting.ends("a") && !waiting.ends("a"));
        assert!(!waiting.begins("a", at(59)), "it comes and goes");
        assert!(waiting.begins("a", at(60)) && !waiting.begins("a", at(119)));
        assert!(waiting.begins("a", at(120)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let start = Instant::now();
        let mut waiting = Waiting::default();
        for number in 0..MOST {
            assert!(waiting.begins(&number.to_string(), start));
        }
        assert!(!waiting.begins("one more", start));
        assert!(waiting.begins("one more", start + AGAIN));
        assert_eq!(waiting.0.len(), 1);
    }
}
