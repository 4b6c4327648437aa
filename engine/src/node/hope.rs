//! When there is nothing left to hope for: ends the wait of a download with the reasons.

use super::driver::Driver;
use super::stats::State;
use crate::swarm::FileIndex;
use std::time::{Duration, Instant};

/// So long after the last progress the pauses that web seeds ask for may end, if they are to be waited for.
const MAX_PATIENCE: Duration = Duration::from_secs(600);
/// A shorter silence is none that anybody is told of.
const QUIET: Duration = Duration::from_secs(4);
/// How long it is waited for room on the disk at most.
const NO_ROOM: Duration = Duration::from_secs(20);

/// The longest pause that web seeds asked for since the last progress. One that asks for two seconds again and again is not waited for longer
/// than was said at the first of them.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    since: Option<Instant>,
    longest: Duration,
}

impl Pauses {
    /// Now with what is asked for, as it counts from the last progress.
    fn with(&mut self, since: Instant, named: Option<Duration>) -> Duration {
        if self.since != Some(since) {
            (self.since, self.longest) = (Some(since), Duration::ZERO);
        }
        self.longest = self.longest.max(named.unwrap_or_default());
        self.longest
    }
}

/// Who could still send something, and what is here.
#[derive(Clone, Copy, Debug)]
struct Ground {
    /// Some web seed may be asked, now or after a pause; and how long the longest pause is that it named since the last progress and that
    /// is waited for.
    origin: Option<Duration>,
    /// No peer is connected.
    alone: bool,
    looking_for_peers: bool,
    /// No tracker answers, and one may yet.
    tracker_may_answer: bool,
    /// Some of the content is here.
    begun: bool,
    /// A source that can bring what is missing may come back.
    may_return: bool,
}

impl Ground {
    /// How long it may be quiet. Who waits longer (`stalled`) does so where there is something to wait for: not when every web seed said no
    /// for good and no peer is looked for, nor when nothing was ever there. What has begun waits for `hold_on` at least, for who may come back.
    fn patience(self, give_up: Duration, stalled: Option<Duration>, hold_on: Duration) -> Duration {
        let held_on = if self.begun && self.may_return {
            hold_on
        } else {
            Duration::ZERO
        };
        let usual = match (self.origin, self.alone) {
            (None, true) if !self.looking_for_peers => return held_on,
            (Some(pause), _) => give_up + pause,
            (None, true) => give_up,
            (None, false) => give_up * 3,
        };
        let asked_again = if self.alone && self.tracker_may_answer {
            give_up * 3
        } else {
            Duration::ZERO
        };
        let stalled = stalled.filter(|_| self.begun || self.origin.is_some());
        usual
            .max(held_on)
            .max(asked_again)
            .max(stalled.unwrap_or_default())
    }
}

impl Driver {
    /// Ends the wait when nothing is left to hope for.
    pub(super) fn check_hope(&mut self) {
        self.gives_up = None;
        let Some(give_up) = self.options.give_up else {
            return;
        };
        if self.shared.store.is_complete() && !matches!(self.state, State::Paused(_)) {
            return;
        }
        if !matches!(self.state, State::Downloading | State::Paused(_)) || (!self.options.whole_file) {
            return;
        }
        if self.paused {
            self.last_progress = Instant::now();
            return;
        }
        let quiet = self.last_progress.elapsed();
        if let State::Paused(why) = &self.state {
            if quiet >= give_up.min(NO_ROOM) {
                self.fail(why.to_string());
            }
            return;
        }
        let origin_usable = self.options.use_origin && self.ground.origin.is_usable();
        let alone = self.peers.is_empty();
        let looking_for_peers = self.options.use_peers
            && (self.discovering
                || self.announcer.as_ref().is_some_and(|a| a.receiver_count() > 0)
                || !self.looking.is_empty()
                || self.candidates.any_hope());
        let named = self.ground.origin.named_since(self.last_progress, MAX_PATIENCE);
        let named = self.pauses.with(self.last_progress, named);
        let ground = Ground {
            origin: origin_usable.then_some(named),
            alone,
            looking_for_peers,
            tracker_may_answer: self.options.use_peers && self.trackers.may_answer(),
            begun: self.shared.store.wanted_bytes() > 0,
            may_return: false,
        };
        let (stalled, hold_on) = (self.options.stalled, self.options.hold_on);
        let patience = |ground: Ground| ground.patience(give_up, stalled, hold_on);
        let is_patient = quiet < patience(ground);
        if is_patient && quiet < QUIET {
            return;
        }
        // A slow origin is no dead origin: its bytes count as progress before they can be judged. Who may come back is looked for only
        // when nothing comes: that looks through what is missing.
        let patience = patience(Ground {
            may_return: quiet < hold_on && self.may_return(),
            ..ground
        });
        if quiet < patience {
            self.gives_up = Some(patience.saturating_sub(quiet));
            return;
        }
        let mut why = Vec::new();
        if self.options.use_origin {
            why.extend(self.ground.origin.reasons());
            if why.is_empty() && origin_usable {
                why.push("the web seed sends nothing".to_owned());
            } else if why.is_empty() && self.seen.is_empty() {
                why.push("there is no web seed".to_owned());
            }
            let too_long = |rest: Duration| quiet + rest > MAX_PATIENCE;
            if origin_usable && self.ground.origin.named_pause().is_some_and(too_long) {
                let most = MAX_PATIENCE.as_secs();
                why.push(format!(
                    "a web seed that asks to come again later is waited for {most} s at most"
                ));
            }
        }
        why.push(match (self.options.use_peers, alone) {
            (false, _) if !self.options.use_origin => "neither web seeds nor peers are to be used".to_owned(),
            (false, _) => "peers are not to be used".to_owned(),
            (true, true) if self.candidates.any_full() => "the peers that were found have no room".to_owned(),
            (true, true) => {
                let left = self.last_left.map(|left| left.elapsed());
                nobody_is_here(left, self.candidates.unreached())
            }
            (true, false) => format!("none of {} peers sends what is missing", self.peers.len()),
        });
        if alone {
            why.extend_from_slice(self.trackers.troubles());
        }
        self.fail(why.join("; "));
    }

    /// Whether one who can bring what is missing may come back: a web seed, a peer that was there or was named, or somebody new of a tracker.
    fn may_return(&self) -> bool {
        let (layout, store) = (self.ground.verifier.layout(), &self.shared.store);
        let is_missing = |file: usize| {
            let file = FileIndex(file as u32);
            let length = layout.file_length(file).unwrap_or(0);
            layout.wants_file(file) && !store.has_bytes(file, 0, length)
        };
        let origin = self.options.use_origin && self.ground.origin.may_give(is_missing);
        let peers = self.options.use_peers
            && (self.seen.keys().any(|id| !self.banned.contains(id))
                || !self.options.peers.is_empty()
                || self.announcer.as_ref().is_some_and(|a| a.receiver_count() > 0));
        origin || peers
    }
}

/// What is said of peers when none is connected, the last of them was lost so long ago, and so many addresses were tried in vain.
fn nobody_is_here(left: Option<Duration>, unreached: usize) -> String {
    match (left, unreached) {
        (Some(left), _) => format!("the last peer left {} s ago", left.as_secs()),
        (None, 0) => "no peer was found".to_owned(),
        (None, 1) => "nobody answered at the one address that was found".to_owned(),
        (None, count) => format!("nobody answered at any of the {count} addresses that were found"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds that it is waited for where a download ends after 20 and a player waits for 600.
    fn waits(ground: Ground) -> (u64, u64) {
        let [usual, long] = [None, Some(Duration::from_secs(600))].map(|stalled| {
            ground
                .patience(Duration::from_secs(20), stalled, Duration::from_secs(300))
                .as_secs()
        });
        (usual, long)
    }

    #[test]
    fn a_player_waits_for_what_may_still_come_and_not_for_what_never_will() {
        let nobody = Ground {
            origin: None,
            alone: true,
            looking_for_peers: false,
            tracker_may_answer: false,
            begun: true,
            may_return: false,
        };
        assert_eq!(waits(nobody), (0, 0), "every web seed said no for good");
        let silent = Ground {
            origin: Some(Duration::ZERO),
            ..nobody
        };
        assert_eq!(waits(silent), (20, 600));
        let busy = Ground {
            origin: Some(Duration::from_secs(120)),
            ..nobody
        };
        assert_eq!(waits(busy), (140, 600), "a server named a pause");
        let looking = Ground {
            looking_for_peers: true,
            ..nobody
        };
        assert_eq!(waits(looking), (20, 600), "a peer went away in the middle");
        let never = Ground {
            begun: false,
            ..looking
        };
        assert_eq!(waits(never), (20, 20), "nobody was ever there");
        let down = Ground {
            tracker_may_answer: true,
            ..never
        };
        assert_eq!(waits(down), (60, 60), "no tracker has answered");
        let connected = Ground {
            alone: false,
            ..nobody
        };
        assert_eq!(waits(connected), (60, 600));
    }

    #[test]
    fn who_asks_for_the_same_pause_again_is_not_waited_for_longer() {
        let began = Instant::now();
        let mut pauses = Pauses::default();
        let mut ask = |since, seconds: Option<u64>| {
            let pause = pauses.with(
                began + Duration::from_secs(since),
                seconds.map(Duration::from_secs),
            );
            let ground = Ground {
                origin: Some(pause),
                alone: true,
                looking_for_peers: false,
                tracker_may_answer: false,
                begun: true,
                may_return: false,
            };
            waits(ground).0
        };
        assert_eq!(ask(0, None), 20);
        assert_eq!([2, 2, 2].map(|seconds| ask(0, Some(seconds))), [22; 3]);
        assert_eq!(
            [120, 2].map(|seconds| ask(0, Some(seconds))),
            [140; 2],
            "as it was said"
        );
        assert_eq!(ask(100, Some(2)), 22, "something came");
    }

    #[test]
    fn what_has_begun_waits_for_a_source_that_may_come_back() {
        let gone = Ground {
            origin: None,
            alone: true,
            looking_for_peers: false,
            tracker_may_answer: false,
            begun: true,
            may_return: true,
        };
        assert_eq!(waits(gone), (300, 300), "no longer: peers are redialled");
        let fresh = Ground { begun: false, ..gone };
        assert_eq!(waits(fresh), (0, 0));
        let silent = Ground {
            origin: Some(Duration::ZERO),
            ..gone
        };
        assert_eq!(waits(silent), (300, 600));
    }

    #[test]
    fn a_peer_that_was_there_is_not_denied() {
        assert_eq!(nobody_is_here(None, 0), "no peer was found");
        let found = nobody_is_here(None, 1);
        assert_eq!(found, "nobody answered at the one address that was found");
        let found = nobody_is_here(None, 3);
        assert_eq!(found, "nobody answered at any of the 3 addresses that were found");
        let left = nobody_is_here(Some(Duration::from_millis(300_400)), 3);
        assert_eq!(left, "the last peer left 300 s ago");
    }
}
