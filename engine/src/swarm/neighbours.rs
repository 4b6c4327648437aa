//! Whom to be connected with: whom to dial, whom to let in when there is no room, whom to name to others.
//!
//! Thirty random neighbours hold a swarm of any size together (a random graph of that degree has a diameter of
//! three or four at ten thousand) and give each viewer enough sources; more only cost messages. There is room for more
//! than are dialled: in a crowd that grows, who came early must have places left, or newcomers meet only newcomers.
//! Everything is taken at random, because any preference (the nearest, the first, the fastest) makes islands. Shared by
//! the node and the simulator. Not here: addresses, pauses between dials of one address, who is banned (the driver's).

use std::time::{Duration, Instant};

use rand::RngExt;

use super::Swarm;
use super::types::Peer;

/// We dial until we have so many neighbours.
pub const WANTED: usize = 30;
/// We let others in until we have so many.
pub const MOST: usize = 80;
/// Who holds everything waits for others to come, beyond so many.
pub const WANTED_COMPLETE: usize = 10;
/// Addresses that a new neighbour is told.
pub const TOLD_AT_FIRST: usize = 50;
/// Addresses that neighbours are told at a time later on.
pub const TOLD_LATER: usize = 10;
/// A neighbour with which nothing was exchanged for so long may have to go for a newcomer.
const IDLE: Duration = Duration::from_secs(30);

/// A neighbour as far as this decision goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// Which.
    pub peer: Peer,
    /// When it connected.
    pub since: Instant,
    /// When a block last went either way, if ever.
    pub last_use: Option<Instant>,
    /// Whether it holds everything.
    pub complete: bool,
}

/// Whether a newcomer is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// There is room.
    Welcome,
    /// There is room once this one, which is of no use to us or we to it, is disconnected.
    InsteadOf(Peer),
    /// There is none.
    Full,
}

/// How many more to dial, with so many connected or being dialled. `limit` is the most connections of the node.
pub fn to_dial(neighbours: usize, complete: bool, limit: usize) -> usize {
    let wanted = if complete { WANTED_COMPLETE } else { WANTED };
    wanted.min(limit).saturating_sub(neighbours)
}

/// Whether somebody who dials us is let in. `complete` says whether we hold everything.
pub fn admit(
    neighbours: impl ExactSizeIterator<Item = Neighbour>,
    complete: bool,
    limit: usize,
    now: Instant,
) -> Admission {
    if neighbours.len() < MOST.min(limit) {
        return Admission::Welcome;
    }
    neighbours
        .filter(|n| {
            let used = n.last_use.unwrap_or(n.since);
            (complete && n.complete) || now.saturating_duration_since(used) >= IDLE
        })
        .min_by_key(|n| (!(complete && n.complete), n.last_use.unwrap_or(n.since), n.peer))
        .map_or(Admission::Full, |n| Admission::InsteadOf(n.peer))
}

/// At most `count` of these at random, in random order: whom to dial of all who are known, whom to name to a neighbour.
pub fn sample<T>(mut from: Vec<T>, count: usize, rng: &mut impl rand::Rng) -> Vec<T> {
    let count = count.min(from.len());
    for place in 0..count {
        let other = rng.random_range(place..from.len());
        from.swap(place, other);
    }
    from.truncate(count);
    from
}

impl Swarm {
    /// Whether (nearly) all viewers are our neighbours. What the tracker said is old in a crowd that grows: with more
    /// neighbours than it knew of viewers, and as many as dial us and are dialled in a large swarm, there are others
    /// whom we do not see.
    pub(super) fn sees_all(&self) -> bool {
        let view = self.peers.len() + 1;
        match self.size.told {
            Some(size) if size as usize >= view => view as f64 >= 0.9 * f64::from(size),
            _ => view < 2 * WANTED,
        }
    }

    /// The connected peers, as [`admit`] wants them.
    pub fn neighbours(&self) -> impl ExactSizeIterator<Item = Neighbour> {
        let all = self.layout.total_blocks();
        self.peers.iter().map(move |(&peer, state)| Neighbour {
            peer,
            since: state.connected_at,
            last_use: state.score.last_delivery().max(self.uploads.last_served(peer)),
            complete: state.have_blocks == all,
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn neighbours(count: u64, start: Instant) -> Vec<Neighbour> {
        (0..count)
            .map(|n| Neighbour {
                peer: Peer(n),
                since: start,
                last_use: Some(start + Duration::from_secs(n)),
                complete: n == 7,
            })
            .collect()
    }

    #[test]
    fn the_full_make_room_only_for_those_who_are_of_use() {
        let start = Instant::now();
        let all = neighbours(80, start);
        let admit = |n: usize, complete, seconds| {
            super::admit(
                all[..n].iter().copied(),
                complete,
                100,
                start + Duration::from_secs(seconds),
            )
        };
        assert_eq!(admit(79, false, 0), Admission::Welcome);
        assert_eq!(admit(80, false, 29), Admission::Full);
        assert_eq!(admit(80, false, 40), Admission::InsteadOf(Peer(0)));
        assert_eq!(
            admit(80, true, 29),
            Admission::InsteadOf(Peer(7)),
            "two seeds are of no use to each other"
        );
    }

    #[test]
    fn dials_end_at_thirty_or_at_the_nodes_limit() {
        assert_eq!(to_dial(0, false, 100), 30);
        assert_eq!(to_dial(25, false, 100), 5);
        assert_eq!(to_dial(50, false, 100), 0);
        assert_eq!(to_dial(3, false, 8), 5);
        assert_eq!(to_dial(3, true, 100), 7);
    }

    /// Viewers who each know fifty random others, of whom many are full, still make one swarm.
    #[test]
    fn thousands_stay_connected() {
        let mut rng = StdRng::seed_from_u64(1);
        let count = 3_000usize;
        let mut edges: Vec<Vec<usize>> = vec![Vec::new(); count];
        for newcomer in 1..count {
            let known = sample((0..newcomer).collect(), 50, &mut rng);
            let wanted = to_dial(0, false, 100);
            for other in known {
                if edges[newcomer].len() < wanted && edges[other].len() < MOST {
                    edges[newcomer].push(other);
                    edges[other].push(newcomer);
                }
            }
        }
        let mut seen = vec![false; count];
        let mut front = vec![0];
        seen[0] = true;
        let mut hops = 0;
        while !front.is_empty() {
            let next: std::collections::BTreeSet<usize> = front
                .iter()
                .flat_map(|&n| edges[n].iter().copied())
                .filter(|&n| !seen[n])
                .collect();
            for &n in &next {
                seen[n] = true;
            }
            hops += usize::from(!next.is_empty());
            front = next.into_iter().collect();
        }
        assert!(seen.iter().all(|s| *s), "somebody is cut off");
        assert!(hops <= 12, "{hops} hops across");
    }

    #[test]
    fn a_sample_has_each_once() {
        let mut rng = StdRng::seed_from_u64(2);
        let mut all = sample((0..20).collect(), 50, &mut rng);
        all.sort_unstable();
        assert_eq!(all, (0..20).collect::<Vec<_>>());
        assert_eq!(sample((0..20).collect(), 3, &mut rng).len(), 3);
    }
}
