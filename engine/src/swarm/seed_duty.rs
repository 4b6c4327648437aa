//! A seed among many who lack what it holds: spared like an origin.
//!
//! With few seeds among many viewers, each asking the seed for whatever is rare to him, as much as two copies leave it
//! that the viewers could have had from each other. `thrifty` viewers ask it by the origin's duty and tell it in the
//! same claims: what nobody but seeds holds is asked for by the one whose turn it is (`origin_duty`). Not spared: a
//! seed among other seeds, a viewer that has finished, and by anybody for a deadline or for the last few blocks.

use std::time::Instant;

use super::bits::runs;
use super::peers::PeerState;
use super::pick::TURN;
use super::types::{Claim, OriginPolicy, Peer, Urgency};
use super::{Swarm, TICK};

/// A seed is spared while there are so many viewers to each.
const VIEWERS_TO_A_SEED: usize = 2;
/// The last blocks are asked of whoever has them.
const LAST: u64 = 8;

impl Swarm {
    /// Whether a peer held everything when we met. Who was a viewer then has no reason to be spared: others wait for what
    /// is ours to give while its uplink idles.
    pub(super) fn is_seed(&self, peer: &PeerState) -> bool {
        peer.have_blocks == self.layout.total_blocks() && !peer.lacked
    }

    /// Whether seeds are left alone unless it is our turn.
    pub(super) fn spares_seeds(&self) -> bool {
        if self.config.policy != OriginPolicy::Thrifty || self.missing_blocks <= LAST {
            return false;
        }
        // Who has finished takes its share of the work from them.
        let many = self.seeds * VIEWERS_TO_A_SEED <= self.peers.len() - self.seeds;
        self.seeds > 0 && many && self.peers.values().any(|p| self.is_seed(p))
    }

    /// Asks seeds for what is our duty.
    pub(super) fn draw_from_seeds(&mut self, now: Instant) {
        if now < self.origin.scan_at || self.seed_with_room(now).is_none() || self.still_discovering(now) {
            return;
        }
        self.origin.scan_at = now + TICK;
        let mut due = self.due_pieces(true, now);
        due.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut claims: Vec<Claim> = Vec::new();
        for (_, piece) in due {
            let Some(seed) = self.seed_with_room(now) else {
                // More is waiting: what the seed brings is the next occasion, not the next tick.
                self.origin.scan_at = now;
                break;
            };
            let span = self.layout.piece_span(piece);
            for run in runs(span, |w| !self.have.word(w) & !self.requested.word(w)) {
                let mut at = run.start;
                while at < run.end {
                    let end = run.end.min(at + TURN);
                    self.send_request(seed, at..end, Urgency::Far, None, now);
                    at = end;
                }
            }
            claims.push(self.own_claim(piece, false));
        }
        self.send_claims(&claims);
    }

    /// The seed that takes another request, with the least to do for us.
    fn seed_with_room(&self, now: Instant) -> Option<Peer> {
        self.peers
            .iter()
            .filter(|(_, p)| p.counted && self.is_seed(p) && p.has_room(now))
            .min_by_key(|(_, p)| p.outstanding)
            .map(|(&peer, _)| peer)
    }
}
