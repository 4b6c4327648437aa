//! Which peer would bring a block soonest.
//!
//! For many blocks at once, the peers are put in order once (`Offers`): a player whose neighbours are all busy looks at
//! hundreds of blocks each time that anything happens. Not here: what is asked (`pick`), how long a peer takes (`score`).

use std::ops::Range;
use std::time::Instant;

use super::Swarm;
use super::peers::PeerState;
use super::pick::{MAX_REQUESTS, TURN};
use super::types::Peer;

/// A peer that has time, how long it would take in seconds, and what it holds of the blocks in question.
#[derive(Debug)]
struct Offer {
    eta: f64,
    peer: Peer,
    holds: Vec<u64>,
}

/// Those who have time, soonest first.
#[derive(Debug)]
pub(super) struct Offers {
    list: Vec<Offer>,
    first_word: usize,
    assumed: f64,
}

impl PeerState {
    /// How long one turn more would take, in seconds; `None` when it is not to be asked now. What is not urgent stands
    /// behind it there.
    fn offer(&self, assumed: f64, now: Instant) -> Option<f64> {
        let asked = self.counted
            && self.requests.len() < MAX_REQUESTS
            && self.score.paused_until(now).is_none()
            && self.score.has_time(now);
        asked.then(|| self.score.promise(self.urgent, TURN, assumed))
    }
}

impl Offers {
    /// The peer that would have this block here soonest, with its time in seconds.
    pub(super) fn soonest(&self, block: u32) -> Option<(f64, Peer)> {
        let word = (block / 64) as usize - self.first_word;
        let holds = |offer: &&Offer| offer.holds[word] & (1 << (block % 64)) != 0;
        self.list.iter().find(holds).map(|offer| (offer.eta, offer.peer))
    }

    fn sort(&mut self) {
        self.list
            .sort_by(|a, b| a.eta.total_cmp(&b.eta).then(a.peer.cmp(&b.peer)));
    }
}

impl Swarm {
    /// The offers for blocks of this span.
    pub(super) fn offers(&self, span: &Range<u32>, assumed: f64, now: Instant) -> Offers {
        let words = (span.start / 64) as usize..span.end.div_ceil(64) as usize;
        let offer = |(&peer, state): (&Peer, &PeerState)| {
            let eta = state.offer(assumed, now)?;
            let holds = words.clone().map(|word| state.have.word(word)).collect();
            Some(Offer { eta, peer, holds })
        };
        let mut offers = Offers {
            list: self.peers.iter().filter_map(offer).collect(),
            first_word: words.start,
            assumed,
        };
        offers.sort();
        offers
    }

    /// The peer was asked for something.
    pub(super) fn update_offer(&self, offers: &mut Offers, peer: Peer, now: Instant) {
        let Some(at) = offers.list.iter().position(|offer| offer.peer == peer) else {
            return;
        };
        match self.peers.get(&peer).and_then(|p| p.offer(offers.assumed, now)) {
            Some(eta) => offers.list[at].eta = eta,
            None => drop(offers.list.remove(at)),
        }
        offers.sort();
    }

    /// The peer that would have this block here soonest, with its time in seconds.
    pub(super) fn soonest(
        &self,
        block: u32,
        except: &[Peer],
        assumed: f64,
        now: Instant,
    ) -> Option<(f64, Peer)> {
        self.peers
            .iter()
            .filter(|&(&peer, p)| p.have.get(block) && !except.contains(&peer))
            .filter_map(|(&peer, p)| Some((p.offer(assumed, now)?, peer)))
            .min_by(|a, b| a.0.total_cmp(&b.0))
    }
}
