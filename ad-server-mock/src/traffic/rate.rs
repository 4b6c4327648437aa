//! Who asks or reports more often than a listener can: by address, by who asks from it, and by a device's or download's token.
//!
//! Pure; memory of the last two minutes, bounded. What is counted is an estimate of the last sixty seconds: this minute's
//! count, and of the last minute's the part that is not over yet, as if it had come evenly. A server counts what it sees
//! itself, and forgets when it is started again. Not for what becomes of who is over a limit: see `http`.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use crate::clock::UnixMillis;

const MINUTE: UnixMillis = 60_000;
/// Names that are counted in a minute. More are let through: so many are not one listener who asks too often.
const MOST_NAMES: usize = 200_000;

/// How often a minute. `None` is without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Questions from one address (IPv6: its /64). Many listeners may share one.
    pub address: Option<u32>,
    /// Questions from one address and user agent.
    pub listener: Option<u32>,
    /// Questions with the same token of a device or of a download.
    pub token: Option<u32>,
    /// Beacons from one address.
    pub beacons: Option<u32>,
}

impl Default for Limits {
    /// 600 questions an address, 240 a listener, 60 a token; 6,000 beacons an address.
    fn default() -> Self {
        Self {
            address: Some(600),
            listener: Some(240),
            token: Some(60),
            beacons: Some(6000),
        }
    }
}

impl Limits {
    /// Nobody asks too often.
    pub const NONE: Self = Self {
        address: None,
        listener: None,
        token: None,
        beacons: None,
    };

    /// All limits scaled so that one address may ask `questions` times a minute; 0 is without limits.
    pub fn for_address(questions: u32) -> Self {
        if questions == 0 {
            return Self::NONE;
        }
        Self {
            address: Some(questions),
            listener: Some((questions / 5).saturating_mul(2).max(1)),
            token: Some((questions / 10).max(1)),
            beacons: Some(questions.saturating_mul(10)),
        }
    }
}

/// What was counted.
#[derive(Debug, Default)]
struct Counts {
    /// Minutes since 1970 of `now`.
    minute: i64,
    now: HashMap<u64, u32>,
    before: HashMap<u64, u32>,
}

impl Counts {
    fn turn(&mut self, minute: i64) {
        if minute == self.minute {
            return;
        }
        let last = std::mem::take(&mut self.now);
        // A clock that was set back begins anew.
        self.before = if minute == self.minute + 1 {
            last
        } else {
            HashMap::new()
        };
        self.minute = minute;
    }

    /// Whether there is room for one more of `name`; it is counted if so.
    fn admit(&mut self, name: u64, limit: u32, now: UnixMillis) -> bool {
        let over = now.rem_euclid(MINUTE) as f64 / MINUTE as f64;
        let before = self.before.get(&name).copied().unwrap_or(0);
        let full = self.now.len() >= MOST_NAMES;
        let count = match self.now.entry(name) {
            std::collections::hash_map::Entry::Vacant(_) if full => return true,
            entry => entry.or_default(),
        };
        if f64::from(*count) + f64::from(before) * (1.0 - over) >= f64::from(limit) {
            return false;
        }
        *count += 1;
        true
    }
}

/// Counts, and says who is over a limit. Who is refused is not counted further, so it is free again within a minute.
#[derive(Debug)]
pub struct Rates {
    limits: Limits,
    hasher: RandomState,
    counts: Mutex<Counts>,
}

impl Rates {
    /// Counts for these limits.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            hasher: RandomState::new(),
            counts: Mutex::default(),
        }
    }

    fn admit<'a>(
        &self,
        asked: impl Iterator<Item = (&'static str, Option<u32>, &'a str)>,
        now: UnixMillis,
    ) -> Option<&'static str> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.turn(now.div_euclid(MINUTE));
        for (reason, limit, name) in asked {
            let Some(limit) = limit else { continue };
            if !counts.admit(self.hasher.hash_one((reason, name)), limit, now) {
                return Some(reason);
            }
        }
        None
    }

    /// Counts a question, and says which limit it is over, if any: `rate_address`, `rate_listener` or `rate_token`.
    pub fn question(
        &self,
        address: IpAddr,
        listener: &str,
        tokens: &[&str],
        now: UnixMillis,
    ) -> Option<&'static str> {
        let network = network(address);
        let by_token = tokens.iter().map(|t| ("rate_token", self.limits.token, *t));
        let asked = [
            ("rate_address", self.limits.address, network.as_str()),
            ("rate_listener", self.limits.listener, listener),
        ];
        self.admit(asked.into_iter().chain(by_token), now)
    }

    /// Counts a beacon; `rate_beacons` if its address is over the limit.
    pub fn beacon(&self, address: IpAddr, now: UnixMillis) -> Option<&'static str> {
        let network = network(address);
        self.admit(
            [("rate_beacons", self.limits.beacons, network.as_str())].into_iter(),
            now,
        )
    }
}

/// What one subscriber has: an IPv4 address, or the /64 of an IPv6 address.
pub fn network(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => {
            let s = ip.segments();
            format!("{:x}:{:x}:{:x}:{:x}", s[0], s[1], s[2], s[3])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn each_limit_has_its_name_and_counts_for_itself() {
        let rates = Rates::new(Limits {
            address: Some(5),
            listener: Some(3),
            token: Some(2),
            beacons: Some(1),
        });
        let ask = |address, listener, tokens: &[&str]| rates.question(address, listener, tokens, 0);
        assert_eq!(ask(ONE, "a", &["t"]), None);
        assert_eq!(ask(ONE, "a", &["t"]), None);
        assert_eq!(
            ask(OTHER, "b", &["t"]),
            Some("rate_token"),
            "from another address too"
        );
        assert_eq!(ask(ONE, "a", &[]), None);
        assert_eq!(ask(ONE, "a", &[]), Some("rate_listener"));
        assert_eq!(ask(ONE, "b", &[]), None);
        assert_eq!(
            ask(ONE, "c", &[]),
            Some("rate_address"),
            "its refused questions count for the address"
        );
        assert_eq!(ask(OTHER, "d", &["u", "v"]), None);
        assert_eq!(rates.beacon(ONE, 0), None);
        assert_eq!(rates.beacon(ONE, 0), Some("rate_beacons"));
        assert_eq!(rates.beacon(OTHER, 0), None);
    }

    #[test]
    fn the_last_minute_counts_by_the_part_of_it_that_is_not_over() {
        let rates = Rates::new(Limits {
            address: Some(4),
            ..Limits::NONE
        });
        let ask = |now| rates.question(ONE, "a", &[], now);
        // (time, taken)
        let table = [
            (59_000, true),
            (59_000, true),
            (59_000, true),
            (59_000, true),
            (59_999, false),
            (60_000, false),
            // Half of the four are over: there is room for two.
            (90_000, true),
            (90_000, true),
            (90_000, false),
            // Two whole minutes later nothing of it is left.
            (240_000, true),
            // A clock that was set back begins anew.
            (0, true),
        ];
        for (now, taken) in table {
            assert_eq!(ask(now).is_none(), taken, "at {now}");
        }
    }

    #[test]
    fn addresses_of_one_subscriber_are_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::9"));
        assert_ne!(of("2001:db8:1:2::9"), of("2001:db8:1:3::9"));
        assert_eq!(of("::ffff:192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn memory_is_bounded_and_no_limit_is_none() {
        let rates = Rates::new(Limits::for_address(1));
        for n in 0..MOST_NAMES as u32 {
            let address = IpAddr::V4(std::net::Ipv4Addr::from(n));
            assert_eq!(rates.beacon(address, 0), None);
        }
        assert!(rates.counts.lock().unwrap().now.len() <= MOST_NAMES);
        assert_eq!(rates.beacon(ONE, 0), None, "one too many to count");
        let rates = Rates::new(Limits::for_address(0));
        assert!((0..10_000).all(|_| rates.question(ONE, "a", &["t"], 0).is_none()));
    }
}
