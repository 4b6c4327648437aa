//! Trackers that do not answer, told to whoever serves by them: once each, until it has answered.

use std::collections::HashSet;
use std::time::Duration;

use engine::node::{SilentTracker, Stats};
use serde_json::json;

use crate::output::print_json;

/// After so long it is told.
const LONG: Duration = Duration::from_secs(15);

/// Those that were told.
#[derive(Debug, Default)]
pub(crate) struct Unanswered(HashSet<String>);

impl Unanswered {
    /// Tells what is to be told of these torrents now.
    pub(crate) fn tell<'a>(&mut self, all: impl Iterator<Item = &'a Stats>, json: bool) {
        let silent: Vec<SilentTracker> = all.flat_map(|stats| stats.silent_trackers.clone()).collect();
        for SilentTracker { tracker, waited, why } in self.news(&silent) {
            if json {
                print_json(
                    &json!({ "event": "tracker_silent", "tracker": tracker, "seconds": waited.as_secs(), "reason": why }),
                );
                continue;
            }
            let why = why.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
            eprintln!(
                "note: the tracker {tracker} has not answered for {} s{why}: nobody finds us through it until it does; it is asked again",
                waited.as_secs()
            );
        }
    }

    fn news<'a>(&mut self, silent: &'a [SilentTracker]) -> Vec<&'a SilentTracker> {
        self.0
            .retain(|told| silent.iter().any(|silent| silent.tracker == *told));
        silent
            .iter()
            .filter(|silent| silent.waited >= LONG && self.0.insert(silent.tracker.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_until_it_has_answered() {
        let silent = |tracker: &str, seconds| SilentTracker {
            tracker: tracker.to_owned(),
            waited: Duration::from_secs(seconds),
            why: None,
        };
        let mut told = Unanswered::default();
        let mut count = |silent: &[SilentTracker]| told.news(silent).len();
        assert_eq!(count(&[silent("a", 14), silent("b", 3)]), 0);
        assert_eq!(count(&[silent("a", 15), silent("b", 4), silent("a", 15)]), 1);
        assert_eq!(count(&[silent("a", 900), silent("b", 15)]), 1);
        assert_eq!(count(&[silent("b", 16)]), 0);
        assert_eq!(count(&[silent("a", 15), silent("b", 17)]), 1, "it had answered");
    }
}
