//! What a tracker knows, and whom it names to whom: a pure table.
//!
//! Time comes in as an argument (since some beginning of the caller's), chance from a seed. Memory is bounded by
//! [`Limits`]: about 200 bytes for each peer and 400 for each swarm at most.
//!
//! Rules:
//! * A peer is its address (IP and port); announcing again replaces what was known of it.
//! * Seeds are not told of seeds, and nobody of itself.
//! * Who has not announced for [`Limits::lifetime`] is forgotten, and a swarm with nobody in it too.
//! * A peer on the loopback interface is named to others on it only, one in a private network to others in one.
//! * In a full swarm or table nobody is pushed out: a newcomer is told of peers but not remembered. The same for one
//!   host that is in a swarm under too many ports, so that no host can fill a swarm alone.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;

use super::hosts::Hosts;
use super::{Event, Key, PeerId};

/// Bounds of a [`Table`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Swarms at once.
    pub swarms: usize,
    /// Peers in one swarm.
    pub peers_per_swarm: usize,
    /// Peers in one swarm that share an IPv4 address, or the first 64 bits of an IPv6 address.
    pub peers_per_host: usize,
    /// Peers in all swarms together.
    pub peers: usize,
    /// Peers in one answer.
    pub numwant: usize,
    /// How long a peer is remembered after its last announce.
    pub lifetime: Duration,
}

impl Default for Limits {
    /// 50,000 swarms, 10,000 peers in each and 100 of them of one host, 500,000 in all (about 100 MB); 200 in an answer; one hour.
    fn default() -> Self {
        Self {
            swarms: 50_000,
            peers_per_swarm: 10_000,
            peers_per_host: 100,
            peers: 500_000,
            numwant: 200,
            lifetime: Duration::from_secs(3600),
        }
    }
}

/// One announce.
#[derive(Clone, Copy, Debug)]
pub struct Announce {
    /// The swarm.
    pub key: Key,
    /// Where the peer listens.
    pub address: SocketAddr,
    /// What it calls itself.
    pub peer_id: PeerId,
    /// Whether it has everything.
    pub seed: bool,
    /// What happened.
    pub event: Option<Event>,
    /// How many peers it wants at most.
    pub numwant: usize,
}

/// A peer that is named in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it calls itself.
    pub peer_id: PeerId,
}

/// The numbers of a swarm, as in a scrape (BEP 48).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Seeds.
    pub complete: usize,
    /// Everyone else.
    pub incomplete: usize,
    /// Downloads that were reported as completed, as long as the swarm has lived.
    pub downloaded: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    peer: Peer,
    seed: bool,
    seen: Duration,
}

#[derive(Debug, Default)]
struct Swarm {
    entries: Vec<Entry>,
    /// Where in `entries` each address is.
    places: HashMap<SocketAddr, usize>,
    /// How many peers each host has.
    hosts: Hosts,
    seeds: usize,
    downloaded: u64,
}

impl Swarm {
    fn remove(&mut self, address: &SocketAddr) -> Option<Entry> {
        let place = self.places.remove(address)?;
        let entry = self.entries.swap_remove(place);
        if let Some(moved) = self.entries.get(place) {
            self.places.insert(moved.peer.address, place);
        }
        self.hosts.give(address.ip());
        self.seeds -= usize::from(entry.seed);
        Some(entry)
    }

    fn insert(&mut self, entry: Entry) {
        self.seeds += usize::from(entry.seed);
        self.hosts.take(entry.peer.address.ip(), usize::MAX);
        self.places.insert(entry.peer.address, self.entries.len());
        self.entries.push(entry);
    }

    fn counts(&self) -> Counts {
        let incomplete = self.entries.len() - self.seeds;
        Counts {
            complete: self.seeds,
            incomplete,
            downloaded: self.downloaded,
        }
    }
}

/// All swarms of a tracker.
#[derive(Debug)]
pub struct Table {
    limits: Limits,
    swarms: HashMap<Key, Swarm>,
    peers: usize,
    next_sweep: Duration,
    rng: SmallRng,
}

impl Table {
    /// An empty table; `seed` decides which peers are named when there are more than wanted.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            swarms: HashMap::new(),
            peers: 0,
            next_sweep: Duration::ZERO,
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// Takes an announce in, and gives the peers to name and the numbers of the swarm.
    pub fn announce(&mut self, announce: &Announce, now: Duration) -> (Vec<Peer>, Counts) {
        if now >= self.next_sweep {
            self.expire(now);
        }
        let known = self.swarms.contains_key(&announce.key);
        if announce.event == Some(Event::Stopped) || (!known && self.swarms.len() >= self.limits.swarms) {
            self.forget(announce);
            return (Vec::new(), self.scrape(&announce.key));
        }

        let swarm = self.swarms.entry(announce.key).or_default();
        let before = swarm.remove(&announce.address);
        if announce.event == Some(Event::Completed) && before.is_some_and(|entry| !entry.seed) {
            swarm.downloaded += 1;
        }
        let of_host = swarm.hosts.of(announce.address.ip());
        let room = swarm.entries.len() < self.limits.peers_per_swarm
            && of_host < self.limits.peers_per_host
            && self.peers < self.limits.peers;
        let peers = sample(swarm, announce, self.limits.numwant, &mut self.rng);
        if before.is_some() || room {
            let peer = Peer {
                address: announce.address,
                peer_id: announce.peer_id,
            };
            swarm.insert(Entry {
                peer,
                seed: announce.seed,
                seen: now,
            });
            self.peers += usize::from(before.is_none());
        }
        let counts = swarm.counts();
        if swarm.entries.is_empty() {
            self.swarms.remove(&announce.key);
        }
        (peers, counts)
    }

    /// The numbers of a swarm; all zero when it is not known.
    pub fn scrape(&self, key: &Key) -> Counts {
        self.swarms.get(key).map(Swarm::counts).unwrap_or_default()
    }

    /// Swarms and peers at present.
    pub fn sizes(&self) -> (usize, usize) {
        (self.swarms.len(), self.peers)
    }

    /// Forgets who was silent for too long. `announce` does so by itself from time to time.
    pub fn expire(&mut self, now: Duration) {
        self.next_sweep = now + self.limits.lifetime / 4;
        let oldest = now.saturating_sub(self.limits.lifetime);
        let peers = &mut self.peers;
        self.swarms.retain(|_, swarm| {
            let silent = swarm.entries.iter().filter(|entry| entry.seen < oldest);
            for address in silent.map(|entry| entry.peer.address).collect::<Vec<_>>() {
                swarm.remove(&address);
                *peers -= 1;
            }
            !swarm.entries.is_empty()
        });
    }

    fn forget(&mut self, announce: &Announce) {
        if let Some(swarm) = self.swarms.get_mut(&announce.key) {
            self.peers -= usize::from(swarm.remove(&announce.address).is_some());
            if swarm.entries.is_empty() {
                self.swarms.remove(&announce.key);
            }
        }
    }
}

/// A random choice among those whom the announcing peer may want.
fn sample(swarm: &Swarm, announce: &Announce, limit: usize, rng: &mut SmallRng) -> Vec<Peer> {
    let to = announce.address.ip();
    let useful = swarm.entries.iter().filter(|entry| {
        !(announce.seed && entry.seed) && gate::is_meaningful_to(entry.peer.address.ip(), to)
    });
    let mut peers: Vec<Peer> = useful.map(|entry| entry.peer).collect();
    let (chosen, _) = peers.partial_shuffle(rng, announce.numwant.min(limit));
    chosen.to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: Key = [1; 20];
    const HOUR: Duration = Duration::from_secs(3600);

    fn announce(port: u16, seed: bool, event: Option<Event>) -> Announce {
        let address = SocketAddr::from(([10, 0, 0, 1], port));
        Announce {
            key: KEY,
            address,
            peer_id: [port as u8; 20],
            seed,
            event,
            numwant: 50,
        }
    }

    fn ports(peers: &[Peer]) -> Vec<u16> {
        let mut ports: Vec<u16> = peers.iter().map(|peer| peer.address.port()).collect();
        ports.sort_unstable();
        ports
    }

    #[test]
    fn peers_find_each_other_and_seeds_only_those_who_need_them() {
        let mut table = Table::new(Limits::default(), 1);
        assert_eq!(
            table.announce(&announce(1, true, Some(Event::Started)), HOUR).0,
            []
        );
        assert_eq!(
            table.announce(&announce(2, true, Some(Event::Started)), HOUR).0,
            [],
            "a seed needs no seed"
        );
        assert_eq!(
            ports(&table.announce(&announce(3, false, Some(Event::Started)), HOUR).0),
            [1, 2]
        );
        assert_eq!(ports(&table.announce(&announce(1, true, None), HOUR).0), [3]);
        assert_eq!(
            ports(&table.announce(&announce(3, false, None), HOUR).0),
            [1, 2],
            "not itself"
        );
        assert_eq!(
            table.scrape(&KEY),
            Counts {
                complete: 2,
                incomplete: 1,
                downloaded: 0
            }
        );

        table.announce(&announce(3, true, Some(Event::Completed)), HOUR);
        table.announce(&announce(3, true, Some(Event::Completed)), HOUR);
        table.announce(&announce(4, true, Some(Event::Completed)), HOUR);
        assert_eq!(
            table.scrape(&KEY),
            Counts {
                complete: 4,
                incomplete: 0,
                downloaded: 1
            },
            "counted once"
        );

        for port in 1..=4 {
            assert_eq!(
                table
                    .announce(&announce(port, true, Some(Event::Stopped)), HOUR)
                    .0,
                []
            );
        }
        assert_eq!(table.sizes(), (0, 0));
        table.announce(&announce(9, true, Some(Event::Stopped)), HOUR);
        assert_eq!(
            table.sizes(),
            (0, 0),
            "who stops without having started leaves no trace"
        );
    }

    #[test]
    fn the_silent_are_forgotten() {
        let mut table = Table::new(Limits::default(), 1);
        table.announce(&announce(1, false, None), HOUR);
        table.announce(&announce(2, false, None), 2 * HOUR);
        assert_eq!(
            ports(&table.announce(&announce(3, false, None), 2 * HOUR + HOUR / 2).0),
            [2]
        );
        table.expire(4 * HOUR);
        assert_eq!(table.sizes(), (0, 0));
    }

    #[test]
    fn memory_is_bounded() {
        let limits = Limits {
            swarms: 2,
            peers_per_swarm: 3,
            peers: 4,
            numwant: 2,
            ..Limits::default()
        };
        let mut table = Table::new(limits, 1);
        for port in 1..=10 {
            let (peers, _) = table.announce(&announce(port, false, None), HOUR);
            assert_eq!(
                peers.len(),
                usize::from(port - 1).min(2),
                "a newcomer to a full swarm is still helped"
            );
        }
        assert_eq!(table.sizes(), (1, 3));
        for key in 2..=5 {
            for port in 1..=3 {
                table.announce(
                    &Announce {
                        key: [key; 20],
                        ..announce(port, false, None)
                    },
                    HOUR,
                );
            }
        }
        assert_eq!(table.sizes(), (2, 4));
    }

    #[test]
    fn no_host_fills_a_swarm_alone() {
        let limits = Limits {
            peers_per_host: 3,
            ..Limits::default()
        };
        let mut table = Table::new(limits, 1);
        for port in 1..=10 {
            table.announce(&announce(port, false, None), HOUR);
        }
        assert_eq!(table.sizes(), (1, 3));
        let other = |last| Announce {
            address: SocketAddr::from(([0x2606, 0x4700, 0, 0, 0, 0, 0, last], 1)),
            ..announce(1, false, None)
        };
        for last in 1..=10 {
            table.announce(&other(last), HOUR);
        }
        assert_eq!(table.sizes(), (1, 6), "a network of 64 bits is one host");
        table.announce(&announce(1, false, Some(Event::Stopped)), HOUR);
        table.announce(&announce(10, false, None), HOUR);
        assert_eq!(table.sizes(), (1, 6), "who leaves makes room");
        table.announce(&announce(10, false, None), HOUR);
        assert_eq!(table.sizes(), (1, 6), "who is known may come again");
    }

    #[test]
    fn private_peers_are_named_in_private_networks_only() {
        let mut table = Table::new(Limits::default(), 1);
        table.announce(&announce(1, false, None), HOUR);
        let public = Announce {
            address: SocketAddr::from(([93, 184, 216, 34], 2)),
            ..announce(2, false, None)
        };
        assert_eq!(table.announce(&public, HOUR).0, []);
        assert_eq!(ports(&table.announce(&announce(3, false, None), HOUR).0), [1, 2]);
    }

    #[test]
    fn loopback_peers_are_named_on_loopback_only() {
        let mut table = Table::new(Limits::default(), 1);
        let local = |port| Announce {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            ..announce(port, false, None)
        };
        table.announce(&local(1), HOUR);
        assert_eq!(table.announce(&announce(2, false, None), HOUR).0, []);
        assert_eq!(ports(&table.announce(&local(3), HOUR).0), [1, 2]);
    }

    #[test]
    fn the_choice_is_random_and_repeatable() {
        let pick = |seed| {
            let mut table = Table::new(Limits::default(), seed);
            (1..=100).for_each(|port| drop(table.announce(&announce(port, false, None), HOUR)));
            ports(
                &table
                    .announce(
                        &Announce {
                            numwant: 5,
                            ..announce(200, false, None)
                        },
                        HOUR,
                    )
                    .0,
            )
        };
        assert_eq!(pick(1).len(), 5);
        assert_eq!(pick(1), pick(1));
        assert_ne!(pick(1), pick(2));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The counts always equal those of a list that is kept by hand.
        #[test]
        fn counts_follow_a_naive_model(
            steps in prop::collection::vec((1u16..6, any::<bool>(), 0u8..4, 0u64..4000), 0..60),
        ) {
            let mut table = Table::new(Limits::default(), 7);
            let mut model: HashMap<u16, (bool, Duration)> = HashMap::new();
            let mut now = HOUR;
            for (port, seed, event, pause) in steps {
                now += Duration::from_secs(pause);
                let event = [None, Some(Event::Started), Some(Event::Completed), Some(Event::Stopped)][event as usize];
                table.announce(&announce(port, seed, event), now);
                if event == Some(Event::Stopped) {
                    model.remove(&port);
                } else {
                    model.insert(port, (seed, now));
                }
                table.expire(now);
                model.retain(|_, (_, seen)| *seen + HOUR >= now);
                let counts = table.scrape(&KEY);
                let seeds = model.values().filter(|(seed, _)| *seed).count();
                prop_assert_eq!((counts.complete, counts.incomplete), (seeds, model.len() - seeds));
                prop_assert_eq!(table.sizes(), (usize::from(!model.is_empty()), model.len()));
            }
        }
    }
}
