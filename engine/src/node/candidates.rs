//! The addresses that one torrent knows: from whom they were heard, and when to try them. Pure.
//!
//! Anybody may name addresses: a tracker 10,000 of them, or a victim's. Invariants: an address is known once; what one
//! source names, what lies on one host, and all together is bounded; an address that never answered is tried a few
//! times, with longer and longer pauses, and then left alone for half an hour. Only what a person named is tried for
//! ever, and always has room.

use super::punches::Punch;
use crate::swarm::PeerId;
use crate::swarm::neighbours::sample;
use gate::household;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Addresses that are remembered.
const MAX: usize = 500;
/// Addresses of one host (a network of 64 bits for IPv6). On private networks and loopback, which are dialled only
/// when somebody allowed it, whole swarms may share one.
const PER_HOST: (usize, usize) = (8, 100);
/// Dials at a time.
pub(super) const MAX_DIALS: usize = 8;
/// First and longest pause between dials of one address.
pub(super) const REDIAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));
/// Longest pause before one who had no room is asked again: a place that nobody uses is free after ten seconds.
const FULL: Duration = Duration::from_secs(5);
/// Dials of an address that never answered.
const TRIES: u32 = 6;
/// How long an address is left alone after those.
const GIVEN_UP: Duration = Duration::from_secs(30 * 60);
/// Addresses that are known to be left alone.
const MAX_GIVEN_UP: usize = 2_000;
/// Peers that are remembered as having named an address.
const MAX_TELLERS: usize = 4;

/// From whom an address was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Heard {
    /// A person, or a link that a person gave.
    Named,
    Tracker,
    /// A tracker's endpoint where peers meet.
    Meeting,
    /// The mainline DHT.
    Dht,
    /// The local network.
    Lan,
    /// The place at a relay that stands for the other side of a personal swarm.
    Relay,
    /// A peer of the swarm.
    Peer(PeerId),
}

impl Heard {
    /// Addresses that are kept of this source, and dials at a time of them.
    pub(super) fn limits(self) -> (usize, usize) {
        match self {
            Self::Named => (usize::MAX, MAX_DIALS),
            Self::Tracker | Self::Meeting | Self::Dht => (200, MAX_DIALS),
            Self::Lan => (100, MAX_DIALS),
            Self::Relay => (16, 2),
            Self::Peer(_) => (50, MAX_DIALS / 2),
        }
    }
}

#[derive(Debug)]
pub(super) struct Candidate {
    heard: Heard,
    /// What it was called, if somebody named it.
    host: Option<String>,
    /// Peers who told of it, and could introduce us.
    tellers: Vec<PeerId>,
    pub(super) next: Instant,
    failures: u32,
    pub(super) dialing: bool,
    /// Introductions to who is there.
    pub(super) punch: Punch,
    /// Who answered there.
    id: Option<PeerId>,
    /// That it had no room for us.
    full: bool,
}

impl Candidate {
    /// Whether we are trying to reach it.
    fn is_tried(&self) -> bool {
        self.dialing || self.punch.by.is_some()
    }
}

#[derive(Debug, Default)]
pub(super) struct Candidates {
    pub(super) known: HashMap<SocketAddr, Candidate>,
    /// Addresses that turned out to be our own.
    own: HashSet<SocketAddr>,
    pub(super) given_up: HashMap<SocketAddr, Instant>,
}

impl Candidates {
    /// Somebody named an address. `name` is what it was found under, when a person named it. False when it is not
    /// taken.
    pub(super) fn add(
        &mut self,
        address: SocketAddr,
        heard: Heard,
        name: Option<&str>,
        now: Instant,
    ) -> bool {
        if address.port() == 0 || self.own.contains(&address) {
            return false;
        }
        if let Some(candidate) = self.known.get_mut(&address) {
            if let Heard::Peer(teller) = heard
                && candidate.tellers.len() < MAX_TELLERS
                && !candidate.tellers.contains(&teller)
            {
                candidate.tellers.push(teller);
            }
            if heard == Heard::Named {
                candidate.heard = heard;
                candidate.host = name.map(str::to_owned);
            }
            return true;
        }
        if heard != Heard::Named && !self.has_room(address, heard, now) {
            return false;
        }
        let tellers = match heard {
            Heard::Peer(teller) => vec![teller],
            _ => Vec::new(),
        };
        self.known.insert(
            address,
            Candidate {
                heard,
                host: name.map(str::to_owned),
                tellers,
                next: now,
                failures: 0,
                dialing: false,
                punch: Punch::default(),
                id: None,
                full: false,
            },
        );
        true
    }

    fn has_room(&mut self, address: SocketAddr, heard: Heard, now: Instant) -> bool {
        if let Some(since) = self.given_up.get(&address).filter(|_| heard != Heard::Relay) {
            if now.saturating_duration_since(*since) < GIVEN_UP {
                return false;
            }
            self.given_up.remove(&address);
        }
        let per_host = if gate::classify(address.ip()) == gate::Class::Global {
            PER_HOST.0
        } else {
            PER_HOST.1
        };
        let of_host = self
            .known
            .keys()
            .filter(|a| household(a.ip()) == household(address.ip()))
            .count();
        let of_source = self.known.values().filter(|c| c.heard == heard).count();
        if of_host >= per_host || of_source >= heard.limits().0 {
            return false;
        }
        if self.known.len() < MAX {
            return true;
        }
        // One that has failed makes room for one that may not.
        let worst = self
            .known
            .iter()
            .filter(|(_, c)| c.heard != Heard::Named && !c.is_tried() && c.id.is_none() && c.failures > 0)
            .max_by_key(|(_, c)| c.failures)
            .map(|(address, _)| *address);
        worst.is_some_and(|worst| self.known.remove(&worst).is_some())
    }

    /// Whom to dial now, at most `room` of them and within the limits on dials at a time; they count as being dialled.
    /// `skip` says who is connected, or not wanted.
    pub(super) fn next_dials(
        &mut self,
        room: usize,
        now: Instant,
        skip: impl Fn(SocketAddr, Option<PeerId>) -> bool,
        rng: &mut impl rand::Rng,
    ) -> Vec<(SocketAddr, Option<String>)> {
        let mut at_a_time: HashMap<Heard, usize> = HashMap::new();
        for candidate in self.known.values().filter(|c| c.dialing) {
            *at_a_time.entry(candidate.heard).or_default() += 1;
        }
        let mut left = room.min(MAX_DIALS.saturating_sub(self.dialing()));
        let due: Vec<SocketAddr> = self
            .known
            .iter()
            .filter(|(address, c)| !c.is_tried() && c.next <= now && !skip(**address, c.id))
            .map(|(address, _)| *address)
            .collect();
        let all = due.len();
        let mut due = sample(due, all, rng);
        // What a person named comes first; a stable sort keeps the rest at random.
        due.sort_by_key(|address| self.known.get(address).is_some_and(|c| c.heard != Heard::Named));
        let mut chosen = Vec::new();
        for address in due {
            let Some(candidate) = self.known.get_mut(&address).filter(|_| left > 0) else {
                break;
            };
            let of_source = at_a_time.entry(candidate.heard).or_default();
            if *of_source < candidate.heard.limits().1 {
                *of_source += 1;
                left -= 1;
                candidate.dialing = true;
                chosen.push((address, candidate.host.clone()));
            }
        }
        chosen
    }

    /// Dials that are going on.
    pub(super) fn dialing(&self) -> usize {
        self.known.values().filter(|c| c.dialing).count()
    }

    /// A dial ended without a connection of ours.
    pub(super) fn end(&mut self, address: SocketAddr, now: Instant) {
        if let Some(candidate) = self.known.get_mut(&address) {
            candidate.dialing = false;
            candidate.next = now + REDIAL.0 * 2;
        }
    }

    /// Somebody answered there.
    pub(super) fn reached(&mut self, address: SocketAddr, id: PeerId, now: Instant) {
        self.end(address, now);
        if let Some(candidate) = self.known.get_mut(&address) {
            candidate.id = Some(id);
        }
    }

    /// Nobody answered, or who did had no room (`full`). True the first time.
    pub(super) fn failed(&mut self, address: SocketAddr, full: bool, now: Instant) -> bool {
        let Some(candidate) = self.known.get_mut(&address) else {
            return false;
        };
        candidate.dialing = false;
        put_off(candidate, full, now);
        let failures = candidate.failures;
        if failures >= TRIES && !full && candidate.id.is_none() && candidate.heard != Heard::Named {
            self.known.remove(&address);
            if self.given_up.len() >= MAX_GIVEN_UP {
                self.given_up
                    .retain(|_, since| now.saturating_duration_since(*since) < GIVEN_UP);
            }
            if self.given_up.len() < MAX_GIVEN_UP {
                self.given_up.insert(address, now);
            }
        }
        failures == 1
    }

    /// It is there and does not speak of this torrent, or has no room (`full`): asking again at once would not change
    /// that.
    pub(super) fn put_off(&mut self, id: PeerId, full: bool, now: Instant) {
        for candidate in self.known.values_mut().filter(|c| c.id == Some(id)) {
            put_off(candidate, full, now);
        }
    }

    /// Forgets why an address was left alone.
    pub(super) fn try_again(&mut self, address: SocketAddr, now: Instant) {
        if let Some(candidate) = self.known.get_mut(&address) {
            candidate.next = now;
        }
    }

    /// It is a neighbour now, who takes connections there.
    pub(super) fn is_neighbour(&mut self, id: PeerId, listens: Option<SocketAddr>) {
        if let Some(candidate) = listens.and_then(|a| self.known.get_mut(&a)) {
            candidate.id = Some(id);
        }
        for candidate in self.known.values_mut().filter(|c| c.id == Some(id)) {
            candidate.failures = 0;
            candidate.full = false;
            candidate.punch.times = 0;
        }
    }

    /// It is our own address.
    pub(super) fn is_own(&mut self, address: SocketAddr) {
        self.known.remove(&address);
        if self.own.len() < MAX {
            self.own.insert(address);
        }
    }

    /// Peers who told of this address.
    pub(super) fn tellers(&self, address: SocketAddr) -> &[PeerId] {
        self.known.get(&address).map_or(&[], |c| &c.tellers)
    }

    /// Whether it was tried in vain, and nobody ever answered there.
    pub(super) fn is_doubtful(&self, address: SocketAddr) -> bool {
        let tried = |c: &Candidate| c.failures > 0 && c.id.is_none();
        self.given_up.contains_key(&address) || self.known.get(&address).is_some_and(tried)
    }

    /// How many were tried in vain, as far as it is remembered.
    pub(super) fn unreached(&self) -> usize {
        let known = self.known.values();
        let tried = known.filter(|c| c.failures > 0 && c.id.is_none() && !c.full);
        tried.count() + self.given_up.len()
    }

    /// Whether some have not been tried yet, or are being tried.
    pub(super) fn any_untried(&self) -> bool {
        self.known
            .values()
            .any(|c| c.is_tried() || (c.failures == 0 && c.id.is_none()))
    }

    /// Whether some may still answer, or have room for us one day.
    pub(super) fn any_hope(&self) -> bool {
        self.known
            .values()
            .any(|c| c.is_tried() || c.failures < 3 || c.full)
    }

    /// Whether some had no room for us.
    pub(super) fn any_full(&self) -> bool {
        self.known.values().any(|c| c.full)
    }
}

/// Leaves it alone for a while, longer each time.
fn put_off(candidate: &mut Candidate, full: bool, now: Instant) {
    let longest = if full { FULL } else { REDIAL.1 };
    candidate.next = now + (REDIAL.0 * 2_u32.saturating_pow(candidate.failures.min(10))).min(longest);
    candidate.failures += 1;
    candidate.full = full;
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    fn at(host: u32, port: u16) -> SocketAddr {
        SocketAddr::from(((0x0808_0000 + host).to_be_bytes(), port))
    }

    fn dial(candidates: &mut Candidates, now: Instant) -> Vec<SocketAddr> {
        let chosen = candidates.next_dials(100, now, |_, _| false, &mut SmallRng::seed_from_u64(1));
        chosen.into_iter().map(|(address, _)| address).collect()
    }

    #[test]
    fn ten_thousand_addresses_of_a_tracker_leave_room_for_others() {
        let (mut candidates, now) = (Candidates::default(), Instant::now());
        let taken = (0..10_000)
            .filter(|n| candidates.add(at(*n, 1), Heard::Tracker, None, now))
            .count();
        assert_eq!(taken, 200);
        let teller = |n| Heard::Peer(PeerId([n; 32]));
        for n in 0..20 {
            for i in 0..1_000 {
                candidates.add(at(20_000 + u32::from(n) * 1_000 + i, 1), teller(n), None, now);
            }
        }
        assert_eq!(candidates.known.len(), MAX);
        assert!(candidates.add(at(60_000, 1), Heard::Named, Some("friend"), now));
        assert_eq!(
            dial(&mut candidates, now)[0],
            at(60_000, 1),
            "what a person named comes first"
        );
        assert_eq!(candidates.dialing(), MAX_DIALS);
        assert_eq!(dial(&mut candidates, now), []);
    }

    #[test]
    fn nobody_is_flooded_because_somebody_named_them() {
        let (mut candidates, now) = (Candidates::default(), Instant::now());
        let taken = (1..1_000)
            .filter(|port| candidates.add(at(1, *port), Heard::Tracker, None, now))
            .count();
        assert_eq!(taken, PER_HOST.0);
        // What never answers is tried a few times only, also when it is named again and again.
        let (mut dials, mut clock) = (0, now);
        for _ in 0..20_000 {
            for address in dial(&mut candidates, clock) {
                dials += 1;
                candidates.failed(address, false, clock);
            }
            candidates.add(at(1, 1), Heard::Tracker, None, clock);
            clock += Duration::from_millis(50);
        }
        assert_eq!(dials, PER_HOST.0 * TRIES as usize);
        let other = "[2001:4860::1]:1".parse().unwrap();
        assert!(candidates.add(other, Heard::Tracker, None, clock));
        assert_eq!(dial(&mut candidates, clock), [other]);
        assert!(
            candidates.add(at(1, 1), Heard::Tracker, None, clock + GIVEN_UP),
            "later it may be there"
        );
    }

    #[test]
    fn a_peer_gets_half_of_the_dials_at_most() {
        let (mut candidates, now) = (Candidates::default(), Instant::now());
        for n in 0..40 {
            candidates.add(at(n, 1), Heard::Peer(PeerId([1; 32])), None, now);
        }
        assert_eq!(dial(&mut candidates, now).len(), MAX_DIALS / 2);
        for n in 100..140 {
            candidates.add(at(n, 1), Heard::Meeting, None, now);
        }
        assert_eq!(dial(&mut candidates, now).len(), MAX_DIALS / 2);
    }

    #[test]
    fn who_fails_waits_longer_each_time_and_what_a_person_named_is_never_given_up() {
        let (mut candidates, now) = (Candidates::default(), Instant::now());
        candidates.add(at(1, 1), Heard::Named, None, now);
        assert!(candidates.any_untried() && candidates.any_hope());
        assert_eq!(dial(&mut candidates, now), [at(1, 1)]);
        assert!(candidates.failed(at(1, 1), false, now), "the first time is told");
        assert!(!candidates.any_untried() && candidates.any_hope());
        assert_eq!(dial(&mut candidates, now), []);
        let mut clock = now + REDIAL.0;
        for _ in 0..50 {
            assert_eq!(dial(&mut candidates, clock), [at(1, 1)]);
            assert!(!candidates.failed(at(1, 1), false, clock));
            clock += REDIAL.1;
        }
        assert!(!candidates.any_hope());
        candidates.is_own(at(1, 1));
        assert!(!candidates.add(at(1, 1), Heard::Named, None, clock));
    }

    #[test]
    fn who_is_full_is_asked_again_and_again() {
        let (mut candidates, mut clock) = (Candidates::default(), Instant::now());
        let id = PeerId([7; 32]);
        candidates.add(at(1, 1), Heard::Tracker, None, clock);
        for n in 0..20 {
            assert_eq!(dial(&mut candidates, clock), [at(1, 1)], "time {n}");
            if n % 2 == 0 {
                candidates.reached(at(1, 1), id, clock);
                candidates.put_off(id, true, clock);
            } else {
                candidates.failed(at(1, 1), true, clock);
            }
            assert!(candidates.any_hope() && candidates.any_full());
            clock += FULL;
        }
        // One that is gone is another matter.
        candidates.failed(at(1, 1), false, clock);
        assert!(!candidates.any_hope() && !candidates.any_full());
    }

    #[test]
    fn who_told_of_an_address_is_remembered_within_bounds() {
        let (mut candidates, now) = (Candidates::default(), Instant::now());
        candidates.add(at(1, 1), Heard::Tracker, None, now);
        for n in 0..10 {
            candidates.add(at(1, 1), Heard::Peer(PeerId([n; 32])), None, now);
        }
        assert_eq!(candidates.tellers(at(1, 1)).len(), MAX_TELLERS);
    }
}
