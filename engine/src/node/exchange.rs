//! Peer exchange: neighbours tell each other where the others take connections.
//!
//! A new neighbour is told at once of up to fifty at random, later on a few at a time, each once. Never in private
//! torrents (BEP 27), where only trackers say who is there. What others tell is heard within an allowance.

use super::candidates::Heard;
use super::census;
use super::driver::Driver;
use crate::swarm::neighbours::{TOLD_AT_FIRST, TOLD_LATER, sample};
use crate::swarm::{Input, Peer};
use crate::wire::Message;
use std::net::SocketAddr;
use std::time::Duration;

/// How often news are told.
pub(super) const EVERY: Duration = Duration::from_secs(5);
/// Messages that are heard of a neighbour at once, and the time in which it may send one more.
pub(super) const HEARD: (u32, Duration) = (5, Duration::from_secs(2));
/// Addresses that are remembered as told to a neighbour; then it begins anew.
const MAX_TOLD: usize = 1_000;

impl Driver {
    /// Tells a neighbour of others that it has not been told of.
    pub(super) fn tell_of_others(&mut self, to: Peer) {
        if self.shared.private() {
            return;
        }
        let Some(state) = self.peers.get(&to) else { return };
        let theirs = state.connection.remote_address().ip();
        let news: Vec<SocketAddr> = self
            .peers
            .iter()
            .filter(|(peer, _)| **peer != to)
            .filter_map(|(_, other)| other.listens)
            .filter(|address| gate::is_meaningful_to(address.ip(), theirs) && !state.told.contains(address))
            .collect();
        let count = if state.told.is_empty() {
            TOLD_AT_FIRST
        } else {
            TOLD_LATER
        };
        let news = sample(news, count, &mut rand::rng());
        if news.is_empty() {
            return;
        }
        if let Some(state) = self.peers.get_mut(&to) {
            if state.told.len() >= MAX_TOLD {
                state.told.clear();
            }
            state.told.extend(&news);
        }
        self.send(to, Message::PeerExchange(news));
    }

    /// Tells everybody the news, from time to time.
    pub(super) fn exchange(&mut self) {
        if self.exchanged.elapsed() < EVERY {
            return;
        }
        self.exchanged = std::time::Instant::now();
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            self.tell_of_others(peer);
        }
        self.estimate_size();
    }

    /// Tells the core how many are in the swarm, as well as neighbours let us know it, where no tracker says it.
    fn estimate_size(&mut self) {
        if self.viewers.is_some() || self.shared.private() {
            return;
        }
        let neighbours = self.peers.values().map(|p| (p.listens, &p.named));
        let size = census::estimate(neighbours, |address| self.candidates.is_doubtful(address));
        self.input(Input::SwarmSize(size));
    }

    /// A neighbour tells of others.
    pub(super) fn heard_of_others(&mut self, from: Peer, addresses: Vec<SocketAddr>) {
        if self.shared.private() {
            return;
        }
        let now = self.began.elapsed();
        let Some(state) = self.peers.get_mut(&from) else {
            return;
        };
        if state.conduct.exchange.take(now) {
            let teller = state.id;
            state.named.extend(&addresses);
            self.add_candidates(addresses, Heard::Peer(teller), None);
            self.dial();
            self.estimate_size();
        }
    }
}
