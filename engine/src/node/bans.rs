//! Whom the node has nothing to do with any more: keys that misbehaved, and for a while addresses of several such keys.
//!
//! Pure: the time is an argument. A key is banned for as long as this process lives (or until [`MAX_KEYS`] others were
//! banned after it). Keys cost nothing to make, so an address from which several banned keys came is left alone too,
//! but for a while only, and never for a single one: many people share an address behind a router. Memory is bounded.

use crate::swarm::PeerId;
use gate::household;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Keys that are remembered.
const MAX_KEYS: usize = 4_096;
/// Addresses that are remembered.
const MAX_ADDRESSES: usize = 1_024;
/// Banned keys of one address after which it is left alone.
const KEYS_OF_AN_ADDRESS: usize = 3;
/// For how long, and for how long a misdeed counts.
const LEFT_ALONE: Duration = Duration::from_secs(600);

/// The list.
#[derive(Debug, Default)]
pub(super) struct Bans {
    keys: HashSet<PeerId>,
    order: VecDeque<PeerId>,
    /// When banned keys came from an address, the latest last.
    addresses: HashMap<IpAddr, Vec<Instant>>,
    /// What is left of our patience with those whom we refused something lately.
    patience: HashMap<PeerId, Patience>,
}

impl Bans {
    /// Bans a key that came from this address.
    pub(super) fn add(&mut self, key: PeerId, address: IpAddr, now: Instant) {
        if !self.keys.insert(key) {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > MAX_KEYS
            && let Some(oldest) = self.order.pop_front()
        {
            self.keys.remove(&oldest);
        }
        self.addresses.retain(|_, times| {
            times.retain(|&at| now.saturating_duration_since(at) < LEFT_ALONE);
            !times.is_empty()
        });
        let household = household(address);
        if self.addresses.len() < MAX_ADDRESSES || self.addresses.contains_key(&household) {
            let times = self.addresses.entry(household).or_default();
            times.push(now);
            if times.len() > KEYS_OF_AN_ADDRESS {
                times.remove(0);
            }
        }
    }

    /// Something was refused to this key. False when our patience with it is at its end.
    pub(super) fn bears(&mut self, key: PeerId, now: Instant) -> bool {
        if self.patience.len() >= MAX_KEYS && !self.patience.contains_key(&key) {
            self.patience.retain(|_, patience| !patience.is_whole(now));
            if self.patience.len() >= MAX_KEYS {
                // More keys than there can be connections were refused something in the last seconds.
                return true;
            }
        }
        let patience = self.patience.entry(key);
        patience.or_insert_with(|| Patience::new(now)).refused(now)
    }

    /// Whether this key is banned.
    pub(super) fn bans(&self, key: PeerId) -> bool {
        self.keys.contains(&key)
    }

    /// Whether this address is left alone.
    pub(super) fn leaves_alone(&self, address: IpAddr, now: Instant) -> bool {
        self.addresses.get(&household(address)).is_some_and(|times| {
            let counts = |at: &&Instant| now.saturating_duration_since(**at) < LEFT_ALONE;
            times.iter().filter(counts).count() >= KEYS_OF_AN_ADDRESS
        })
    }
}

/// How often somebody may be refused before it counts as a flood: so many at once, and so many a second.
const REFUSALS: (f64, f64) = (1_024.0, 64.0);

/// Patience with one peer whose requests are refused. A choke that crosses requests on their way costs some; more is
/// no honest client.
#[derive(Debug)]
struct Patience {
    left: f64,
    at: Instant,
}

impl Patience {
    /// All of it.
    fn new(now: Instant) -> Self {
        Self {
            left: REFUSALS.0,
            at: now,
        }
    }

    /// One refusal more. False when patience is at its end.
    fn refused(&mut self, now: Instant) -> bool {
        self.left = self.at(now) - 1.0;
        self.at = now;
        self.left >= 0.0
    }

    fn at(&self, now: Instant) -> f64 {
        let back = now.saturating_duration_since(self.at).as_secs_f64() * REFUSALS.1;
        (self.left + back).min(REFUSALS.0)
    }

    /// Whether all of it is back.
    fn is_whole(&self, now: Instant) -> bool {
        self.at(now) >= REFUSALS.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> PeerId {
        let mut id = [0; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        PeerId(id)
    }

    #[test]
    fn an_address_is_left_alone_only_after_several_keys_and_only_for_a_while() {
        let now = Instant::now();
        let mut bans = Bans::default();
        let (bad, good): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        for n in 0..3 {
            assert!(!bans.leaves_alone(bad, now), "after {n} keys");
            bans.add(key(n), bad, now);
            bans.add(key(n), bad, now);
            assert!(bans.bans(key(n)) && !bans.bans(key(n + 1)));
        }
        assert!(bans.leaves_alone(bad, now) && !bans.leaves_alone(good, now));
        assert!(!bans.leaves_alone(bad, now + LEFT_ALONE));
        assert!(bans.bans(key(0)), "keys stay banned");
        // The mapped form of an address is the address; a network of 64 bits is one household.
        assert!(bans.leaves_alone("::ffff:192.0.2.1".parse().unwrap(), now));
        for n in 10..13 {
            bans.add(key(n), format!("2001:db8::{n}").parse().unwrap(), now);
        }
        assert!(bans.leaves_alone("2001:db8::ffff".parse().unwrap(), now));
        assert!(!bans.leaves_alone("2001:db8:0:1::1".parse().unwrap(), now));
    }

    #[test]
    fn memory_is_bounded() {
        let now = Instant::now();
        let mut bans = Bans::default();
        for n in 0..20_000_u32 {
            bans.add(key(n), IpAddr::from(n.to_be_bytes()), now);
        }
        assert_eq!((bans.keys.len(), bans.order.len()), (MAX_KEYS, MAX_KEYS));
        assert!(bans.addresses.len() <= MAX_ADDRESSES);
        assert!(bans.bans(key(19_999)) && !bans.bans(key(0)));
        for n in 0..20_000_u32 {
            assert!(bans.bears(key(n), now));
        }
        assert_eq!(bans.patience.len(), MAX_KEYS);
        assert!(bans.bears(key(20_000), now + Duration::from_secs(60)));
        assert_eq!(
            bans.patience.len(),
            1,
            "patience that is whole again is forgotten"
        );
    }

    #[test]
    fn a_flood_ends_patience_and_a_crossing_choke_does_not() {
        let start = Instant::now();
        let mut patience = Patience::new(start);
        for round in 0..600 {
            // 128 requests on their way when a choke comes, every ten seconds.
            let now = start + Duration::from_secs(10 * round);
            assert!((0..128).all(|_| patience.refused(now)), "round {round}");
        }
        let now = start + Duration::from_secs(6_000);
        assert!((0..2_000).any(|_| !patience.refused(now)));
    }
}
