//! When there is nothing left to hope for: ends the wait of a download with the reasons.

use super::driver::Driver;
use super::stats::State;
use std::time::{Duration, Instant};

/// Longest pause that a web seed may ask for while a download is waited for.
const MAX_PATIENCE: Duration = Duration::from_secs(120);

/// Who could still send something, and what is here.
#[derive(Clone, Copy, Debug)]
struct Ground {
    /// Some web seed may be asked, now or after a pause; and how long a pause it asked for.
    origin: Option<Duration>,
    /// No peer is connected.
    alone: bool,
    looking_for_peers: bool,
    /// Some of the content is here.
    begun: bool,
}

impl Ground {
    /// How long it may be quiet. Who waits longer (`stalled`) does so where there is something to wait for: not when every web seed said no
    /// for good and no peer is looked for, nor when nothing was ever there.
    fn patience(self, give_up: Duration, stalled: Option<Duration>) -> Duration {
        let usual = match (self.origin, self.alone) {
            (None, true) if !self.looking_for_peers => return Duration::ZERO,
            (Some(pause), _) => give_up + pause.min(MAX_PATIENCE),
            (None, true) => give_up,
            (None, false) => give_up * 3,
        };
        let stalled = stalled.filter(|_| self.begun || self.origin.is_some());
        stalled.map_or(usual, |stalled| stalled.max(usual))
    }
}

impl Driver {
    /// Ends the wait when nothing is left to hope for.
    pub(super) fn check_hope(&mut self) {
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
            if quiet >= give_up {
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
        let ground = Ground {
            origin: origin_usable.then(|| self.ground.origin.named_pause().unwrap_or_default()),
            alone,
            looking_for_peers,
            begun: self.shared.store.wanted_bytes() > 0,
        };
        let patience = ground.patience(give_up, self.options.stalled);
        // A slow origin is no dead origin: its bytes count as progress before they can be judged.
        if quiet < patience {
            return;
        }
        let mut why = Vec::new();
        if self.options.use_origin {
            why.extend(self.ground.origin.reasons());
            if why.is_empty() {
                why.push(if origin_usable {
                    "the web seed sends nothing".to_owned()
                } else {
                    "there is no web seed".to_owned()
                });
            }
        }
        why.push(match (self.options.use_peers, alone) {
            (false, _) => "peers are not to be used".to_owned(),
            (true, true) if self.candidates.any_full() => "the peers that were found have no room".to_owned(),
            (true, true) => "no peer was found".to_owned(),
            (true, false) => format!("none of {} peers sends what is missing", self.peers.len()),
        });
        self.fail(why.join("; "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds that it is waited for where a download ends after 20 and a player waits for 600.
    fn waits(ground: Ground) -> (u64, u64) {
        let [usual, long] = [None, Some(Duration::from_secs(600))]
            .map(|stalled| ground.patience(Duration::from_secs(20), stalled).as_secs());
        (usual, long)
    }

    #[test]
    fn a_player_waits_for_what_may_still_come_and_not_for_what_never_will() {
        let nobody = Ground {
            origin: None,
            alone: true,
            looking_for_peers: false,
            begun: true,
        };
        assert_eq!(waits(nobody), (0, 0), "every web seed said no for good");
        let silent = Ground {
            origin: Some(Duration::ZERO),
            ..nobody
        };
        assert_eq!(waits(silent), (20, 600));
        let busy = Ground {
            origin: Some(Duration::from_secs(3600)),
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
        let connected = Ground {
            alone: false,
            ..nobody
        };
        assert_eq!(waits(connected), (60, 600));
    }
}
