//! When somebody who waits is told that nothing comes: soon, and then at growing intervals; and that a relay is of no use. Pure.

use std::collections::HashSet;
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

/// That it is waited for, and how long if nothing comes.
pub(crate) fn goes_on(gives_up: Option<Duration>) -> String {
    gives_up.map_or_else(
        || "waiting goes on".to_owned(),
        |rest| format!("waiting goes on for {:.0} s", rest.as_secs_f64().ceil()),
    )
}

/// So many reasons are told: relays could give another one each time.
const MOST: usize = 16;

/// Why relays do not carry a transfer, or no further, as far as it was said.
#[derive(Debug, Default)]
pub(crate) struct RelayTold(HashSet<String>);

impl RelayTold {
    /// What is to be said now: each reason once, and none while there are peers, however they are connected.
    pub(crate) fn now<'a>(&mut self, refuses: Option<&'a str>, peers: usize) -> Option<&'a str> {
        refuses.filter(|why| peers == 0 && self.0.len() < MOST && self.0.insert((*why).to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_how_long_waiting_goes_on() {
        assert_eq!(goes_on(None), "waiting goes on");
        assert_eq!(
            goes_on(Some(Duration::from_millis(14_200))),
            "waiting goes on for 15 s"
        );
    }

    #[test]
    fn a_relay_that_refuses_is_told_once_and_to_who_needs_it() {
        let mut told = RelayTold::default();
        assert_eq!(told.now(None, 0), None);
        assert_eq!(told.now(Some("full"), 1), None);
        assert_eq!(told.now(Some("full"), 0), Some("full"));
        assert_eq!(told.now(Some("full"), 0), None);
        assert_eq!(told.now(None, 0), None);
        assert_eq!(told.now(Some("spent"), 0), Some("spent"));
        assert_eq!(told.now(Some("full"), 0), None, "two relays take turns");
        let others = (0..1_000).filter(|other| told.now(Some(&format!("not today ({other})")), 0).is_some());
        assert_eq!(others.count(), MOST - 2);
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
