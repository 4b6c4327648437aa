//! When somebody who waits is told that nothing comes: soon, and then at growing intervals; and that a relay is of no use. Pure.

use std::time::Duration;

/// After so long it is said for the first time, and then after twice as long each time.
const FIRST: Duration = Duration::from_secs(5);

/// A wait, as it is looked at from time to time.
#[derive(Debug)]
pub(crate) struct Quiet {
    next: Duration,
}

impl Quiet {
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    /// Nothing has come for so long: whether that is to be said now.
    pub(crate) fn is_told(&mut self, quiet: Duration) -> bool {
        if quiet < FIRST {
            self.next = FIRST;
            return false;
        }
        let is_due = quiet >= self.next;
        while self.next <= quiet {
            self.next *= 2;
        }
        is_due
    }
}

/// What a relay said last that does not carry a transfer, or no further.
#[derive(Debug, Default)]
pub(crate) struct RelayTold(Option<String>);

impl RelayTold {
    /// What is to be said now: each reason once, and none while there are peers, however they are connected.
    pub(crate) fn now(&mut self, refuses: Option<&str>, peers: usize) -> Option<&str> {
        if peers > 0 || refuses.is_none() || refuses == self.0.as_deref() {
            return None;
        }
        self.0 = refuses.map(str::to_owned);
        self.0.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_that_refuses_is_told_once_and_to_who_needs_it() {
        let mut told = RelayTold::default();
        assert_eq!(told.now(None, 0), None);
        assert_eq!(told.now(Some("full"), 1), None);
        assert_eq!(told.now(Some("full"), 0), Some("full"));
        assert_eq!(told.now(Some("full"), 0), None);
        assert_eq!(told.now(None, 0), None);
        assert_eq!(told.now(Some("spent"), 0), Some("spent"));
    }

    #[test]
    fn it_is_said_at_growing_intervals_and_anew_when_something_came() {
        let told = |quiet: &mut Quiet, seconds: std::ops::Range<u64>| -> Vec<u64> {
            let looks = seconds.map(|second| (second, Duration::from_secs(second)));
            looks
                .filter_map(|(second, time)| quiet.is_told(time).then_some(second))
                .collect()
        };
        let mut quiet = Quiet::new();
        assert_eq!(told(&mut quiet, 0..100), [5, 10, 20, 40, 80]);
        assert_eq!(told(&mut quiet, 0..8), [5], "something came meanwhile");
        // Whoever looks seldom says it once.
        assert!(quiet.is_told(Duration::from_secs(700)) && !quiet.is_told(Duration::from_secs(701)));
    }
}
