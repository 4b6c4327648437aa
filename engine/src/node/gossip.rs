//! Cue sheets among peers: whoever holds the newest one of a publisher tells its neighbours.
//!
//! Only sheets of the key that the torrent was added with are looked at, by the rules of [`trust`]: newer ones alone,
//! not expired, not from the future. So a peer can withhold a sheet, but change nothing. Never in personal swarms.

use super::driver::Driver;
use crate::cue_sheet::SignedCueSheet;
use crate::cue_sheet::trust::{Decision, Known, Source, decide};
use crate::swarm::{Input, Peer};
use crate::wire::{MAX_CUE_SHEET, Message};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Sheets that are heard of a neighbour at once, and the time in which it may send one more: each costs a signature.
pub(super) const HEARD: (u32, Duration) = (3, Duration::from_secs(10));

impl Driver {
    /// Tells a neighbour of the sheet that we hold.
    pub(super) fn tell_sheet(&mut self, to: Peer) {
        let raw = match self.shared.sheet.borrow().as_ref() {
            Some(sheet) if sheet.raw().len() <= MAX_CUE_SHEET => Bytes::copy_from_slice(sheet.raw()),
            _ => return,
        };
        if self.shared.membership.secret.is_none() {
            self.send(to, Message::CueSheet(raw));
        }
    }

    /// A neighbour has a sheet.
    pub(super) fn heard_sheet(&mut self, from: Peer, raw: &[u8]) {
        let Some(publisher) = self.options.publisher else {
            return;
        };
        let held = self.shared.sheet.borrow().clone();
        if held.as_ref().is_some_and(|held| held.raw() == raw) {
            return;
        }
        let since = self.began.elapsed();
        let allowed = self
            .peers
            .get_mut(&from)
            .is_some_and(|p| p.conduct.sheets.take(since));
        let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) else {
            return;
        };
        let info_hash = self.shared.metainfo.info_hash_v2();
        let Some(offered) = allowed
            .then(|| SignedCueSheet::open(raw, &info_hash).ok())
            .flatten()
        else {
            return;
        };
        let known = Known {
            link: Some(publisher),
            pin: None,
            held: held.as_deref(),
            now: now.as_secs(),
        };
        match decide(&offered, Source::Peer, &known) {
            Decision::Trusted { .. } => {
                tracing::info!(issued = offered.sheet().issued, "a peer has a newer cue sheet");
                self.core.origin_budget = offered.sheet().budget;
                self.input(Input::Configure(self.core.clone()));
                self.shared.sheet.send_replace(Some(Arc::new(offered)));
                for peer in self
                    .peers
                    .keys()
                    .copied()
                    .filter(|peer| *peer != from)
                    .collect::<Vec<_>>()
                {
                    self.tell_sheet(peer);
                }
            }
            Decision::Refused { why } => tracing::debug!("a cue sheet of a peer is refused: {why}"),
        }
    }
}
