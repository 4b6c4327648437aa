//! Who may send through the relay to whom: the sessions, their ends, and their limits. Pure: times are arguments, the
//! sockets are elsewhere.
//!
//! Invariants: a datagram goes only from one end of a session to its other end, and only when both ends have named the
//! session's key and shown their token from the address that asked for it; nothing is sent to an address that did not
//! do so, so the relay cannot be made to hit others. A session that is idle ends, one that has carried its bytes
//! carries no more, also when it ended and is begun again within an hour ([`RENEWED`]), and there are never more than
//! [`Limits::sessions`], nor more than an eighth of them (at least four) that one host began.

use crate::remembered::Remembered;
use gate::household;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// What an end shows before it is heard. The relay takes it for itself; it is never passed on.
pub const MAGIC: &[u8; 12] = b"grove relay1";

/// A session that ended so long ago has all its bytes anew.
pub const RENEWED: Duration = Duration::from_secs(3600);
/// Sessions that ended and are remembered.
const MAX_ENDED: usize = 10_000;

/// The name of a session: what both sides announce under (`personal::Secret::rendezvous`).
pub type Key = [u8; 20];

/// What makes an end known.
pub type Token = [u8; 16];

/// The two ends of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It waits to be dialled.
    Sender,
    /// It dials.
    Receiver,
}

/// What the relay gives of itself.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Sessions at a time.
    pub sessions: usize,
    /// Bytes that one session carries, both ways together.
    pub bytes: u64,
    /// Bytes a second, all sessions together; `None` is no limit.
    pub rate: Option<u64>,
    /// A session of which nothing was heard for so long ends.
    pub idle: Duration,
}

impl Default for Limits {
    /// 64 sessions of 10 GB, 10 MB/s in all, one minute.
    fn default() -> Self {
        Self {
            sessions: 64,
            bytes: 10_000_000_000,
            rate: Some(10_000_000),
            idle: Duration::from_secs(60),
        }
    }
}

/// Why an end gets no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// [`Limits::sessions`] are open, or a host has its share of them.
    #[error("the relay has no room for another transfer now")]
    Full,
    /// Another has this end of the session, and uses it.
    #[error("somebody else has this end of the transfer")]
    Taken,
    /// [`Limits::bytes`] are used up.
    #[error("the transfer has used up what the relay carries for one")]
    Spent,
}

/// What to do with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is for the relay itself, and was understood.
    Bound,
    /// Send it on to this address.
    Forward(SocketAddr),
    /// Forget it.
    Drop,
}

#[derive(Debug)]
struct End {
    token: Token,
    /// From where it asked; it must speak from there.
    ip: IpAddr,
    address: Option<SocketAddr>,
    heard: Instant,
}

/// One pair.
#[derive(Debug)]
struct Pair {
    ends: [Option<End>; 2],
    carried: u64,
    heard: Instant,
    /// Who began it.
    host: IpAddr,
}

/// All pairs of a relay.
#[derive(Debug)]
pub struct Pairs {
    limits: Limits,
    open: HashMap<Key, Pair>,
    /// What those that ended had carried, and when they were heard last.
    ended: Remembered<Key, (u64, Instant)>,
}

impl Pairs {
    /// None yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: HashMap::new(),
            ended: Remembered::new(MAX_ENDED),
        }
    }

    /// Sessions that are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// An end asks for its place, from this address; with the token that it has from before, if it has one. `fresh` is
    /// the token that a new end gets. Gives the end's token.
    pub fn ask(
        &mut self,
        key: Key,
        role: Role,
        ip: IpAddr,
        old: Option<Token>,
        fresh: Token,
        now: Instant,
    ) -> Result<Token, Refusal> {
        if !self.open.contains_key(&key) {
            let host = household(ip);
            let of_host = self.open.values().filter(|pair| pair.host == host).count();
            let share = self.limits.sessions.div_ceil(8).max(4);
            if self.open.len() >= self.limits.sessions || of_host >= share {
                return Err(Refusal::Full);
            }
            let before = self.ended.take(key);
            let before = before.filter(|(_, heard)| now.saturating_duration_since(*heard) < RENEWED);
            if let Some(spent) = before.filter(|(carried, _)| *carried >= self.limits.bytes) {
                self.ended.keep(key, spent);
                return Err(Refusal::Spent);
            }
            let pair = Pair {
                ends: [None, None],
                carried: before.map_or(0, |(carried, _)| carried),
                heard: now,
                host,
            };
            self.open.insert(key, pair);
        }
        let (most, idle) = (self.limits.bytes, self.limits.idle);
        let Some(pair) = self.open.get_mut(&key) else {
            return Err(Refusal::Full);
        };
        if pair.carried >= most {
            return Err(Refusal::Spent);
        }
        let end = &mut pair.ends[role as usize];
        match end {
            Some(end) if old == Some(end.token) => {
                // It may have moved.
                end.ip = ip;
                end.heard = now;
            }
            // An end that was heard just now is not put out by whoever else holds the link.
            Some(end) if now.saturating_duration_since(end.heard) < idle / 4 => return Err(Refusal::Taken),
            _ => {
                *end = Some(End {
                    token: fresh,
                    ip,
                    address: None,
                    heard: now,
                });
            }
        }
        pair.heard = now;
        Ok(end.as_ref().map_or(fresh, |end| end.token))
    }

    /// A datagram came for this session.
    pub fn datagram(&mut self, key: &Key, from: SocketAddr, data: &[u8], now: Instant) -> Verdict {
        let Some(pair) = self.open.get_mut(key) else {
            return Verdict::Drop;
        };
        if let Some(token) = data.strip_prefix(MAGIC) {
            let end = pair
                .ends
                .iter_mut()
                .flatten()
                .find(|end| token == end.token && end.ip == from.ip());
            let Some(end) = end else { return Verdict::Drop };
            end.address = Some(from);
            end.heard = now;
            pair.heard = now;
            return Verdict::Bound;
        }
        let [Some(a), Some(b)] = &mut pair.ends else {
            return Verdict::Drop;
        };
        let (end, other) = match () {
            () if a.address == Some(from) => (a, b),
            () if b.address == Some(from) => (b, a),
            () => return Verdict::Drop,
        };
        end.heard = now;
        pair.heard = now;
        let Some(to) = other.address else {
            return Verdict::Drop;
        };
        if pair.carried + data.len() as u64 > self.limits.bytes {
            pair.carried = self.limits.bytes;
            return Verdict::Drop;
        }
        pair.carried += data.len() as u64;
        Verdict::Forward(to)
    }

    /// Ends sessions of which nothing was heard, and gives their keys.
    pub fn expire(&mut self, now: Instant) -> Vec<Key> {
        let idle = self.limits.idle;
        let gone: Vec<Key> = self
            .open
            .iter()
            .filter(|(_, pair)| now.saturating_duration_since(pair.heard) >= idle)
            .map(|(key, _)| *key)
            .collect();
        for key in &gone {
            if let Some(pair) = self.open.remove(key).filter(|pair| pair.carried > 0) {
                self.ended.keep(*key, (pair.carried, pair.heard));
            }
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "192.0.2.1:1000";
    const B: &str = "198.51.100.1:2000";
    const KEY: Key = [7; 20];

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn bind(token: Token) -> Vec<u8> {
        [MAGIC.as_slice(), &token].concat()
    }

    fn limits() -> Limits {
        Limits {
            sessions: 2,
            bytes: 1_000,
            ..Limits::default()
        }
    }

    /// A session whose two ends are bound.
    fn joined(now: Instant) -> Pairs {
        let mut pairs = Pairs::new(limits());
        for (role, text, token) in [(Role::Sender, A, [1; 16]), (Role::Receiver, B, [2; 16])] {
            assert_eq!(pairs.ask(KEY, role, at(text).ip(), None, token, now), Ok(token));
            assert_eq!(pairs.datagram(&KEY, at(text), &bind(token), now), Verdict::Bound);
        }
        pairs
    }

    #[test]
    fn the_two_ends_reach_each_other_and_nobody_else() {
        let now = Instant::now();
        let mut pairs = joined(now);
        assert_eq!(pairs.datagram(&KEY, at(A), b"x", now), Verdict::Forward(at(B)));
        assert_eq!(pairs.datagram(&KEY, at(B), b"x", now), Verdict::Forward(at(A)));
        for stranger in ["192.0.2.1:1001", "203.0.113.9:1000"] {
            assert_eq!(pairs.datagram(&KEY, at(stranger), b"x", now), Verdict::Drop);
            assert_eq!(
                pairs.datagram(&KEY, at(stranger), &bind([9; 16]), now),
                Verdict::Drop
            );
        }
        // The right token from where nobody asked: an address that was made up.
        assert_eq!(
            pairs.datagram(&KEY, at("203.0.113.9:1000"), &bind([1; 16]), now),
            Verdict::Drop
        );
        assert_eq!(pairs.datagram(&[8; 20], at(A), b"x", now), Verdict::Drop);
    }

    #[test]
    fn before_both_have_named_it_nothing_passes() {
        let now = Instant::now();
        let mut pairs = Pairs::new(limits());
        let token = pairs
            .ask(KEY, Role::Sender, at(A).ip(), None, [1; 16], now)
            .unwrap();
        pairs.datagram(&KEY, at(A), &bind(token), now);
        assert_eq!(pairs.datagram(&KEY, at(A), b"x", now), Verdict::Drop);
        pairs
            .ask(KEY, Role::Receiver, at(B).ip(), None, [2; 16], now)
            .unwrap();
        assert_eq!(pairs.datagram(&KEY, at(A), b"x", now), Verdict::Drop);
        assert_eq!(pairs.datagram(&KEY, at(B), b"x", now), Verdict::Drop);
    }

    #[test]
    fn an_end_that_moved_is_followed_and_a_living_one_is_not_put_out() {
        let now = Instant::now();
        let mut pairs = joined(now);
        let other = at("203.0.113.9:5");
        assert_eq!(
            pairs.ask(KEY, Role::Receiver, other.ip(), None, [3; 16], now),
            Err(Refusal::Taken)
        );
        assert_eq!(
            pairs.ask(KEY, Role::Receiver, other.ip(), Some([2; 16]), [3; 16], now),
            Ok([2; 16])
        );
        assert_eq!(pairs.datagram(&KEY, other, &bind([2; 16]), now), Verdict::Bound);
        assert_eq!(pairs.datagram(&KEY, at(A), b"x", now), Verdict::Forward(other));
        assert_eq!(pairs.datagram(&KEY, at(B), b"x", now), Verdict::Drop);
        // One that is silent, because it was killed, makes room.
        let later = now + Duration::from_secs(20);
        assert_eq!(
            pairs.ask(KEY, Role::Receiver, at(B).ip(), None, [4; 16], later),
            Ok([4; 16])
        );
    }

    #[test]
    fn limits_hold() {
        let now = Instant::now();
        let mut pairs = joined(now);
        for _ in 0..10 {
            assert_eq!(
                pairs.datagram(&KEY, at(A), &[0; 100], now),
                Verdict::Forward(at(B))
            );
        }
        assert_eq!(pairs.datagram(&KEY, at(A), &[0; 100], now), Verdict::Drop);
        assert_eq!(pairs.datagram(&KEY, at(B), b"x", now), Verdict::Drop);
        assert_eq!(
            pairs.ask(KEY, Role::Sender, at(A).ip(), Some([1; 16]), [1; 16], now),
            Err(Refusal::Spent)
        );
        let ask =
            |pairs: &mut Pairs, key: u8| pairs.ask([key; 20], Role::Sender, at(A).ip(), None, [5; 16], now);
        assert!(ask(&mut pairs, 1).is_ok());
        assert_eq!(ask(&mut pairs, 2), Err(Refusal::Full));
        assert!(pairs.expire(now + Duration::from_secs(59)).is_empty());
        assert_eq!(pairs.expire(now + Duration::from_secs(60)).len(), 2);
        assert!(pairs.is_empty() && ask(&mut pairs, 2).is_ok());
    }

    #[test]
    fn what_a_session_carried_counts_for_an_hour_after_its_end() {
        let now = Instant::now();
        let mut pairs = joined(now);
        for _ in 0..11 {
            pairs.datagram(&KEY, at(A), &[0; 100], now);
        }
        let ask = |pairs: &mut Pairs, at_time: Instant| {
            pairs.ask(KEY, Role::Sender, at(A).ip(), None, [1; 16], at_time)
        };
        let mut later = now + limits().idle;
        assert_eq!(pairs.expire(later), [KEY]);
        while later < now + RENEWED {
            assert_eq!(ask(&mut pairs, later), Err(Refusal::Spent), "{:?}", later - now);
            later += limits().idle;
        }
        assert!(pairs.is_empty(), "it takes no place meanwhile");
        assert_eq!(ask(&mut pairs, now + RENEWED), Ok([1; 16]));
    }

    #[test]
    fn one_host_leaves_places_for_others() {
        let now = Instant::now();
        let mut pairs = Pairs::new(Limits::default());
        let mut ask = |key: u8, text: &str| {
            let ip = at(text).ip();
            pairs
                .ask([key; 20], Role::Receiver, ip, None, [5; 16], now)
                .is_ok()
        };
        assert_eq!((0..64).filter(|&key| ask(key, A)).count(), 8);
        assert!(ask(100, B));
        assert!(ask(0, B) || ask(101, B), "others are not concerned");
    }
}
