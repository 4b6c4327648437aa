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

/// Those who have time, soonest first.
#[derive(Debug)]
pub(super) struct Offers {
    /// How long each would take in seconds, and its place in `holds`.
    list: Vec<(f64, Peer, usize)>,
    /// What each holds of the blocks in question: so many words for one after the other.
    holds: Vec<u64>,
    words: Range<usize>,
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
        let word = (block / 64) as usize - self.words.start;
        let holds = |&&(_, _, at): &&(f64, Peer, usize)| {
            self.holds[at * self.words.len() + word] & (1 << (block % 64)) != 0
        };
        self.list.iter().find(holds).map(|&(eta, peer, _)| (eta, peer))
    }

    fn sort(&mut self) {
        self.list.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    }
}

impl Swarm {
    /// The offers for blocks of this span.
    pub(super) fn offers(&self, span: &Range<u32>, assumed: f64, now: Instant) -> Offers {
        let mut offers = Offers {
            list: Vec::with_capacity(self.peers.len()),
            holds: Vec::new(),
            words: (span.start / 64) as usize..span.end.div_ceil(64) as usize,
            assumed,
        };
        for (&peer, state) in &self.peers {
            if let Some(eta) = state.offer(assumed, now) {
                offers.list.push((eta, peer, offers.list.len()));
                let words = offers.words.clone().map(|word| state.have.word(word));
                offers.holds.extend(words);
            }
        }
        offers.sort();
        offers
    }

    /// The peer was asked for something.
    pub(super) fn update_offer(&self, offers: &mut Offers, peer: Peer, now: Instant) {
        let Some(at) = offers.list.iter().position(|offer| offer.1 == peer) else {
            return;
        };
        match self.peers.get(&peer).and_then(|p| p.offer(offers.assumed, now)) {
            Some(eta) => offers.list[at].0 = eta,
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
