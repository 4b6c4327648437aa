//! Where others see us: the address that a router makes of ours. Pure.
//!
//! Each peer tells in its hello where it sees us. Behind a router the port may differ from the one that we bound; when
//! those who look agree on it, it is the port to announce, because the router keeps it for everybody. When they do
//! not agree (a symmetric NAT), no port that is announced would be right.
//!
//! Invariants: a host has one vote; a tracker's endpoint counts as two, and two must agree; only what most say of our
//! address counts for its port, however new the other votes are; the votes are bounded, the oldest goes first.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

/// Votes that are kept.
const MAX_VOTES: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Vote {
    observer: IpAddr,
    seen: SocketAddr,
    /// Said by a tracker's endpoint.
    tracker: bool,
}

impl Vote {
    fn weight(&self) -> usize {
        if self.tracker { 2 } else { 1 }
    }
}

/// What has the most votes, with their weight; of several the one with the newest vote.
fn foremost<'a, T: Copy + Eq>(votes: impl Iterator<Item = (T, &'a Vote)>) -> Option<(T, usize)> {
    let mut all: Vec<(T, usize)> = Vec::new();
    for (what, vote) in votes {
        let before = all.iter().position(|(other, _)| *other == what);
        // The newest is the last.
        let weight = before.map_or(0, |i| all.remove(i).1) + vote.weight();
        all.push((what, weight));
    }
    all.into_iter().max_by_key(|(_, weight)| *weight)
}

/// What was said of one socket.
#[derive(Debug, Default)]
pub(super) struct Observed(VecDeque<Vote>);

impl Observed {
    /// Somebody says where it sees us.
    pub(super) fn vote(&mut self, observer: IpAddr, seen: SocketAddr, tracker: bool) {
        if seen.port() == 0 || seen.ip().is_unspecified() {
            return;
        }
        self.0.retain(|vote| vote.observer != observer);
        if self.0.len() >= MAX_VOTES {
            self.0.pop_front();
        }
        self.0.push_back(Vote {
            observer,
            seen,
            tracker,
        });
    }

    /// The address that others can use, when those who look agree on one.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        // Who is on our own network sees another address than the world does: the world's counts.
        let public = |vote: &&Vote| gate::classify(vote.seen.ip()) == gate::Class::Global;
        let some_public = self.0.iter().any(|vote| public(&vote));
        let votes: Vec<&Vote> = self
            .0
            .iter()
            .filter(|vote| !some_public || public(vote))
            .collect();
        let ip = foremost(votes.iter().map(|vote| (vote.seen.ip(), *vote)))?.0;
        let of_ip: Vec<&Vote> = votes.into_iter().filter(|vote| vote.seen.ip() == ip).collect();
        let all: usize = of_ip.iter().map(|vote| vote.weight()).sum();
        let (seen, same) = foremost(of_ip.into_iter().map(|vote| (vote.seen, vote)))?;
        // A single liar must not unsettle what several agree on.
        (same >= 2 && same > (all - same) * 2).then_some(seen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u8) -> IpAddr {
        IpAddr::from([198, 41, 0, n])
    }

    fn seen(port: u16) -> SocketAddr {
        SocketAddr::from(([93, 184, 216, 34], port))
    }

    #[test]
    fn a_tracker_is_believed_alone_and_peers_when_two_agree() {
        let mut observed = Observed::default();
        observed.vote(host(1), seen(1), false);
        assert_eq!(observed.address(), None);
        observed.vote(host(1), seen(1), false);
        assert_eq!(observed.address(), None, "a host has one vote");
        observed.vote(host(2), seen(1), false);
        assert_eq!(observed.address(), Some(seen(1)));
        let mut observed = Observed::default();
        observed.vote(host(1), seen(2), true);
        assert_eq!(observed.address(), Some(seen(2)));
    }

    #[test]
    fn a_port_that_differs_for_each_is_no_port() {
        let mut observed = Observed::default();
        observed.vote(host(1), seen(1), true);
        observed.vote(host(2), seen(2), false);
        assert_eq!(observed.address(), None);
        (3..9).for_each(|n| observed.vote(host(n), seen(n.into()), false));
        assert_eq!(observed.address(), None);
    }

    #[test]
    fn two_liars_do_not_outvote_all_others() {
        let elsewhere = |port| SocketAddr::from(([8, 8, 8, 8], port));
        let mut observed = Observed::default();
        (1..=20).for_each(|n| observed.vote(host(n), seen(7), false));
        observed.vote(host(21), elsewhere(1), false);
        observed.vote(host(22), elsewhere(1), false);
        observed.vote(host(23), elsewhere(1), true);
        assert_eq!(observed.address(), Some(seen(7)));
        // A router that was given another address is seen there by all, in time.
        (1..=12).for_each(|n| observed.vote(host(n), elsewhere(2), false));
        assert_eq!(observed.address().map(|a| a.ip()), Some(elsewhere(2).ip()));
    }

    #[test]
    fn the_worlds_view_counts_more_than_the_neighbours() {
        let mut observed = Observed::default();
        observed.vote(host(1), seen(9), true);
        let local = SocketAddr::from(([192, 168, 1, 2], 5));
        (2..6).for_each(|n| observed.vote(IpAddr::from([192, 168, 1, n]), local, false));
        assert_eq!(observed.address(), Some(seen(9)));
        (0..=255).for_each(|n| observed.vote(host(n), seen(7), false));
        assert!(observed.0.len() <= MAX_VOTES);
        assert_eq!(
            observed.address(),
            Some(seen(7)),
            "a new address of the house is learned"
        );
    }
}
