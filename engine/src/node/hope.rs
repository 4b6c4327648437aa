//! When there is nothing left to hope for: ends the wait of a download with the reasons.

use super::driver::Driver;
use super::stats::State;
use std::time::{Duration, Instant};

/// Longest pause that a web seed may ask for while a download is waited for.
const MAX_PATIENCE: Duration = Duration::from_secs(120);

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
        let patience = match (origin_usable, alone) {
            (false, true) if !looking_for_peers => Duration::ZERO,
            (true, _) => {
                give_up
                    + self
                        .ground
                        .origin
                        .named_pause()
                        .unwrap_or_default()
                        .min(MAX_PATIENCE)
            }
            (false, true) => give_up,
            (false, false) => give_up * 3,
        };
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
