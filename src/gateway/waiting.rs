//! Whether it is to be said that answers wait for an origin, and that it sends again: once for each origin and each time, not for each answer. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

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
