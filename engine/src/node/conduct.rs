//! What one peer may still have of us and ask of us in one torrent. It outlives the control stream: whoever opens
//! another one goes on where it was. Pure.

use super::{exchange, gossip, introduce};
use crate::allowance::Allowance;
use std::time::Duration;

/// Control streams that a peer may open at once, and the time in which it may open one more: each costs us a list of
/// all that we hold, addresses, and the cue sheet.
const OPENINGS: (u32, Duration) = (8, Duration::from_secs(5));
/// Changes of whether we may ask a peer, at once, and the time in which one more is heard: places change every five seconds, and each change has us
/// look through all pieces.
const TURNS: (u32, Duration) = (32, Duration::from_secs(1));
/// Peers that have gone and are remembered.
pub(super) const MAX_REMEMBERED: usize = 1_000;

#[derive(Debug)]
pub(super) struct Conduct {
    /// Control streams that it may open.
    pub(super) openings: Allowance,
    /// How often it may let us ask, or not any more.
    pub(super) turns: Allowance,
    /// Peer exchanges that are heard of it.
    pub(super) exchange: Allowance,
    /// Introductions that it may ask for, or make.
    pub(super) introductions: Allowance,
    /// Cue sheets that are heard of it.
    pub(super) sheets: Allowance,
    /// Bytes of metadata that it was given.
    pub(super) metadata_given: u64,
}

impl Conduct {
    /// Of somebody new.
    pub(super) fn new(now: Duration) -> Self {
        Self {
            openings: Allowance::new(OPENINGS.0, OPENINGS.1, now),
            turns: Allowance::new(TURNS.0, TURNS.1, now),
            exchange: Allowance::new(exchange::HEARD.0, exchange::HEARD.1, now),
            introductions: introduce::allowance(now),
            sheets: Allowance::new(gossip::HEARD.0, gossip::HEARD.1, now),
            metadata_given: 0,
        }
    }
}
