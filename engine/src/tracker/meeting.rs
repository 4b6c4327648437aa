//! Who is at a tracker's QUIC endpoint, and who may be introduced to whom. Pure: no clock, no socket.
//!
//! A *room* is one swarm, named by its derived key; a *guest* is a connected peer, at the address where it is seen,
//! which is what a router made of its own. A guest that cannot reach an address asks to be introduced to whoever is
//! there; then each of the two is told the other's id and address, and both dial ([`quic`](super::quic) carries it).
//!
//! Invariants: rooms, guests and guests of one host, in a room and in all, are bounded; what a guest may ask for is bounded in time; loopback
//! and private addresses are told only to guests at such addresses.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::IteratorRandom;

use super::Key;
use super::hosts::Hosts;
use crate::allowance::Allowance;
use crate::remembered::Remembered;
use crate::swarm::PeerId;

/// The extension in the hello of an endpoint that introduces peers and holds nothing.
pub const EXTENSION: &str = "meeting";
/// Addresses that a newcomer is told.
const TOLD: usize = 50;
/// Introductions that a guest may ask for at once, and the time in which it regains one.
pub const INTRODUCTIONS: (u32, Duration) = (20, Duration::from_secs(1));

/// How often a guest may come in at once, and the time in which it regains one: each time it is told of others.
const ENTRIES: (u32, Duration) = (8, Duration::from_secs(2));

/// The name of a room, as it stands in a hello.
pub type Room = [u8; 32];

/// The room of a swarm: its key, and zeros. The info hash itself is not for trackers to know.
pub fn room(key: Key) -> Room {
    let mut room = [0; 32];
    room[..20].copy_from_slice(&key);
    room
}

/// Bounds of memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Guests in all rooms together.
    pub guests: usize,
    /// Guests of one host (an IPv4 address, an IPv6 network of 64 bits) in one room.
    pub per_host: usize,
    /// Guests of one host in all rooms together.
    pub per_host_in_all: usize,
}

impl Default for Limits {
    /// 20,000 guests, 32 of one host in a room and 1,000 in all.
    fn default() -> Self {
        Self {
            guests: 20_000,
            per_host: 32,
            per_host_in_all: 1_000,
        }
    }
}

/// Two peers who shall dial each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// Who asked, and where it is seen.
    pub from: (PeerId, SocketAddr),
    /// Who was asked for, and where it is seen.
    pub to: (PeerId, SocketAddr),
}

#[derive(Debug)]
struct Guest {
    /// Where it is seen.
    seen: SocketAddr,
    /// Where it says that it takes connections: what trackers tell others.
    listens: Option<SocketAddr>,
    credit: Credit,
}

/// What a guest may still ask for; it outlives its stay.
#[derive(Debug)]
struct Credit {
    /// Introductions that it may ask for.
    introductions: Allowance,
    /// How often it may come in.
    entries: Allowance,
}

impl Credit {
    fn new(now: Duration) -> Self {
        Self {
            introductions: Allowance::new(INTRODUCTIONS.0, INTRODUCTIONS.1, now),
            entries: Allowance::new(ENTRIES.0, ENTRIES.1, now),
        }
    }
}

#[derive(Debug, Default)]
struct Guests {
    by_id: HashMap<PeerId, Guest>,
    by_address: HashMap<SocketAddr, PeerId>,
    hosts: Hosts,
}

/// All rooms of a tracker.
#[derive(Debug)]
pub struct Rooms {
    limits: Limits,
    by_name: HashMap<Room, Guests>,
    guests: usize,
    hosts: Hosts,
    /// What those who left may still ask for.
    gone: Remembered<(Room, PeerId), Credit>,
    rng: SmallRng,
}

impl Rooms {
    /// Empty rooms; `seed` decides whom newcomers are told of.
    pub fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            by_name: HashMap::new(),
            guests: 0,
            hosts: Hosts::default(),
            gone: Remembered::new(limits.guests),
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// Guests in all rooms.
    pub fn guests(&self) -> usize {
        self.guests
    }

    /// Lets a peer in, and gives addresses of others to try. `None` when there is no room for it, or when it
    /// comes too often. A peer that is in already comes in anew.
    pub fn enter(
        &mut self,
        room: Room,
        id: PeerId,
        seen: SocketAddr,
        listen_port: u16,
        now: Duration,
    ) -> Option<Vec<SocketAddr>> {
        self.leave(room, id);
        let mut credit = self.gone.take((room, id)).unwrap_or_else(|| Credit::new(now));
        if !credit.entries.take(now) {
            self.gone.keep((room, id), credit);
            return None;
        }
        let ip = seen.ip();
        let of_host = self.by_name.get(&room).map_or(0, |guests| guests.hosts.of(ip));
        let no_room = self.guests >= self.limits.guests || of_host >= self.limits.per_host;
        if no_room || !self.hosts.take(ip, self.limits.per_host_in_all) {
            self.gone.keep((room, id), credit);
            return None;
        }
        let guests = self.by_name.entry(room).or_default();
        let others = guests.by_id.values().map(|guest| guest.seen);
        let others = others
            .filter(|other| gate::is_meaningful_to(other.ip(), seen.ip()))
            .sample(&mut self.rng, TOLD);
        let listens = (listen_port != 0).then(|| SocketAddr::new(seen.ip(), listen_port));
        for address in listens.into_iter().chain([seen]) {
            guests.by_address.insert(address, id);
        }
        guests.hosts.take(ip, usize::MAX);
        guests.by_id.insert(
            id,
            Guest {
                seen,
                listens,
                credit,
            },
        );
        self.guests += 1;
        Some(others)
    }

    /// Forgets a guest.
    pub fn leave(&mut self, room: Room, id: PeerId) {
        let Some(guests) = self.by_name.get_mut(&room) else {
            return;
        };
        let Some(guest) = guests.by_id.remove(&id) else {
            return;
        };
        self.gone.keep((room, id), guest.credit);
        self.guests -= 1;
        for address in guest.listens.into_iter().chain([guest.seen]) {
            if guests.by_address.get(&address) == Some(&id) {
                guests.by_address.remove(&address);
            }
        }
        guests.hosts.give(guest.seen.ip());
        self.hosts.give(guest.seen.ip());
        if guests.by_id.is_empty() {
            self.by_name.remove(&room);
        }
    }

    /// A guest wants to reach whoever is at `wanted`. `None` when nobody is, or when it asks too often.
    pub fn introduce(
        &mut self,
        room: Room,
        from: PeerId,
        wanted: SocketAddr,
        now: Duration,
    ) -> Option<Introduction> {
        let guests = self.by_name.get_mut(&room)?;
        let to = *guests.by_address.get(&wanted)?;
        let asking = guests.by_id.get_mut(&from)?;
        if !asking.credit.introductions.take(now) {
            return None;
        }
        let seen = asking.seen;
        let other = guests.by_id.get(&to)?.seen;
        let meaningful =
            gate::is_meaningful_to(other.ip(), seen.ip()) && gate::is_meaningful_to(seen.ip(), other.ip());
        (to != from && meaningful).then_some(Introduction {
            from: (from, seen),
            to: (to, other),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: Room = [7; 32];
    const NOW: Duration = Duration::from_secs(100);

    fn id(n: u8) -> PeerId {
        PeerId([n; 32])
    }

    fn at(host: u8, port: u16) -> SocketAddr {
        SocketAddr::from(([93, 184, 216, host], port))
    }

    fn rooms(limits: Limits) -> Rooms {
        Rooms::new(limits, 1)
    }

    #[test]
    fn guests_are_told_where_others_are_seen_and_are_introduced_by_any_address_they_have() {
        let mut rooms = rooms(Limits::default());
        assert_eq!(rooms.enter(ROOM, id(1), at(1, 40_000), 6881, NOW), Some(vec![]));
        assert_eq!(
            rooms.enter(ROOM, id(2), at(2, 50_000), 6882, NOW),
            Some(vec![at(1, 40_000)])
        );
        let expected = Some(Introduction {
            from: (id(2), at(2, 50_000)),
            to: (id(1), at(1, 40_000)),
        });
        assert_eq!(rooms.introduce(ROOM, id(2), at(1, 40_000), NOW), expected);
        assert_eq!(
            rooms.introduce(ROOM, id(2), at(1, 6881), NOW),
            expected,
            "as a tracker names it"
        );
        assert_eq!(
            rooms.introduce(ROOM, id(2), at(2, 50_000), NOW),
            None,
            "not to itself"
        );
        assert_eq!(
            rooms.introduce([8; 32], id(2), at(1, 6881), NOW),
            None,
            "in its own room only"
        );
        assert_eq!(
            rooms.introduce(ROOM, id(3), at(1, 6881), NOW),
            None,
            "guests only"
        );
        rooms.leave(ROOM, id(1));
        assert_eq!(rooms.introduce(ROOM, id(2), at(1, 6881), NOW), None);
        rooms.leave(ROOM, id(2));
        assert_eq!((rooms.guests(), rooms.by_name.len()), (0, 0));
    }

    #[test]
    fn who_asks_too_often_waits() {
        let mut rooms = rooms(Limits::default());
        rooms.enter(ROOM, id(1), at(1, 1), 0, NOW);
        rooms.enter(ROOM, id(2), at(2, 2), 0, NOW);
        let mut ask = |now| rooms.introduce(ROOM, id(2), at(1, 1), now).is_some();
        assert_eq!((0..100).filter(|_| ask(NOW)).count(), INTRODUCTIONS.0 as usize);
        assert!(ask(NOW + INTRODUCTIONS.1), "one more after a second");
        assert!(!ask(NOW + INTRODUCTIONS.1));
        assert_eq!(
            (0..100).filter(|_| ask(NOW + Duration::from_secs(3600))).count(),
            INTRODUCTIONS.0 as usize
        );
    }

    #[test]
    fn who_goes_and_comes_again_goes_on_where_it_was() {
        let mut rooms = rooms(Limits::default());
        rooms.enter(ROOM, id(1), at(1, 1), 0, NOW);
        let (mut told, mut introduced) = (0, 0);
        for round in 0..100 {
            told += usize::from(rooms.enter(ROOM, id(2), at(2, 2), 0, NOW).is_some());
            introduced += usize::from(rooms.introduce(ROOM, id(2), at(1, 1), NOW).is_some());
            introduced += usize::from(rooms.introduce(ROOM, id(2), at(1, 1), NOW).is_some());
            introduced += usize::from(rooms.introduce(ROOM, id(2), at(1, 1), NOW).is_some());
            if round % 2 == 0 {
                rooms.leave(ROOM, id(2));
            }
        }
        assert_eq!((told, introduced), (ENTRIES.0 as usize, INTRODUCTIONS.0 as usize));
        assert!(rooms.enter(ROOM, id(2), at(2, 2), 0, NOW + ENTRIES.1).is_some());
        assert!(
            rooms.enter([8; 32], id(2), at(2, 2), 0, NOW).is_some(),
            "each room for itself"
        );
    }

    #[test]
    fn memory_is_bounded() {
        let mut rooms = rooms(Limits {
            guests: 3,
            per_host: 2,
            per_host_in_all: 3,
        });
        assert!(rooms.enter(ROOM, id(1), at(1, 1), 0, NOW).is_some());
        assert!(rooms.enter(ROOM, id(2), at(1, 2), 0, NOW).is_some());
        assert!(
            rooms.enter(ROOM, id(3), at(1, 3), 0, NOW).is_none(),
            "a host has its share"
        );
        assert!(
            rooms.enter(ROOM, id(2), at(1, 4), 0, NOW).is_some(),
            "who is in may come again"
        );
        assert!(rooms.enter([8; 32], id(4), at(2, 4), 0, NOW).is_some());
        assert!(rooms.enter(ROOM, id(5), at(3, 5), 0, NOW).is_none(), "full");
        assert_eq!(rooms.guests(), 3);
    }

    #[test]
    fn one_host_with_many_rooms_leaves_room_for_others() {
        let mut rooms = rooms(Limits {
            guests: 10,
            per_host: 2,
            per_host_in_all: 4,
        });
        let mut enter = |room: u8, n: u8, host: u8| {
            rooms
                .enter([room; 32], id(n), at(host, n.into()), 0, NOW)
                .is_some()
        };
        assert_eq!((0..10).filter(|&n| enter(n, n, 1)).count(), 4);
        assert!(enter(0, 20, 2));
        // Whoever is turned away goes on with the allowance that it had.
        assert_eq!((0..10).filter(|_| enter(7, 7, 1)).count(), 0);
        rooms.leave([0; 32], id(0));
        assert!(
            rooms.enter([7; 32], id(7), at(1, 7), 0, NOW).is_none(),
            "it came too often"
        );
        assert!(rooms.enter([8; 32], id(8), at(1, 8), 0, NOW).is_some());
    }

    #[test]
    fn private_addresses_stay_in_private_networks() {
        let mut rooms = rooms(Limits::default());
        let home = |n| SocketAddr::from(([192, 168, 1, n], 1));
        rooms.enter(ROOM, id(1), home(1), 0, NOW);
        assert_eq!(rooms.enter(ROOM, id(2), at(1, 1), 0, NOW), Some(vec![]));
        assert_eq!(rooms.introduce(ROOM, id(2), home(1), NOW), None);
        assert!(
            rooms
                .enter(ROOM, id(3), home(3), 0, NOW)
                .is_some_and(|told| told.contains(&home(1)))
        );
    }
}
