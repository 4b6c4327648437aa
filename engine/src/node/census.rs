//! How many are in a swarm of which no tracker says it: as many as neighbours name ([`exchange`](super::exchange)). Pure.
//!
//! Thirty neighbours and more name nearly all of a thousand viewers; of larger swarms a part. What would follow from how
//! often the same are named (capture and recapture) is not believed: neighbours of neighbours know each other, which makes
//! it wrong by half, and one liar who names addresses that are not there would multiply it. Here a liar adds
//! [`MOST_NAMED`] at most, and only as long as nobody tried in vain to reach them.
//!
//! Not here: what the number is for (`swarm::origin_duty`), and swarms whose tracker says it.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;

/// Addresses that are remembered as named by one neighbour: the latest.
const MOST_NAMED: usize = 64;

/// What one neighbour named.
#[derive(Debug, Default)]
pub(super) struct Named(VecDeque<SocketAddr>);

impl Named {
    /// It names more.
    pub(super) fn extend(&mut self, addresses: &[SocketAddr]) {
        for address in addresses {
            if !self.0.contains(address) {
                self.0.push_back(*address);
            }
        }
        let more = self.0.len().saturating_sub(MOST_NAMED);
        self.0.drain(..more);
    }
}

/// How many there are, ourselves included: at least the neighbours and us. `neighbours`: where each takes connections,
/// and whom it named; `is_doubtful`: whether somebody tried in vain to reach an address.
pub(super) fn estimate<'a>(
    neighbours: impl Iterator<Item = (Option<SocketAddr>, &'a Named)>,
    is_doubtful: impl Fn(SocketAddr) -> bool,
) -> u32 {
    let mut here = HashSet::new();
    let mut named = HashSet::new();
    // Those who take no connections are named by nobody.
    let mut unnamed = 0;
    for (listens, names) in neighbours {
        match listens {
            Some(address) => _ = here.insert(address),
            None => unnamed += 1,
        }
        named.extend(names.0.iter().copied());
    }
    let others = named
        .iter()
        .filter(|address| !here.contains(address) && !is_doubtful(**address));
    // Bounded by the names of all neighbours.
    (1 + unnamed + here.len() + others.count()) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::neighbours::{MOST, TOLD_AT_FIRST, TOLD_LATER, WANTED, sample};
    use rand::SeedableRng;
    use rand::rngs::SmallRng;
    use std::collections::{BTreeMap, BTreeSet};

    fn at(viewer: usize) -> SocketAddr {
        SocketAddr::from(((0x0808_0000 + viewer as u32).to_be_bytes(), 7))
    }

    #[derive(Default)]
    struct Viewer {
        neighbours: BTreeMap<usize, (BTreeSet<usize>, Named)>,
        known: BTreeSet<usize>,
    }

    /// Viewers who come one after the other, know a few of those who were there, and find the rest through them.
    struct Crowd(Vec<Viewer>, SmallRng);

    impl Crowd {
        fn gathered(size: usize, known: usize) -> Self {
            let mut crowd = Self(Vec::new(), SmallRng::seed_from_u64(size as u64));
            while crowd.0.len() < size {
                for _ in 0..(size / 12).max(1) {
                    let known = sample((0..crowd.0.len()).collect(), known, &mut crowd.1);
                    let known = known.into_iter().collect();
                    crowd.0.push(Viewer {
                        known,
                        ..Viewer::default()
                    });
                    crowd.dial(crowd.0.len() - 1);
                }
                crowd.pass();
            }
            for _ in 0..4 {
                crowd.pass();
            }
            crowd
        }

        /// What happens between one exchange and the next.
        fn pass(&mut self) {
            for me in 0..self.0.len() {
                self.dial(me);
                for other in self.0[me].neighbours.keys().copied().collect::<Vec<_>>() {
                    self.tell(me, other, TOLD_LATER);
                }
            }
        }

        fn dial(&mut self, me: usize) {
            for _ in 0..4 {
                let viewer = &self.0[me];
                let new = |other: &usize| *other != me && !viewer.neighbours.contains_key(other);
                let wanted = WANTED.saturating_sub(viewer.neighbours.len()).min(8);
                let known = viewer.known.iter().copied().filter(new).collect();
                for other in sample(known, wanted, &mut self.1) {
                    if self.0[other].neighbours.len() < MOST {
                        self.0[me].neighbours.insert(other, Default::default());
                        self.0[other].neighbours.insert(me, Default::default());
                        self.tell(me, other, TOLD_AT_FIRST);
                        self.tell(other, me, TOLD_AT_FIRST);
                    }
                }
            }
        }

        fn tell(&mut self, me: usize, other: usize, count: usize) {
            let told = &self.0[me].neighbours[&other].0;
            let news = self.0[me]
                .neighbours
                .keys()
                .copied()
                .filter(|n| *n != other && !told.contains(n));
            let news = sample(news.collect(), count, &mut self.1);
            self.0[me].neighbours.get_mut(&other).unwrap().0.extend(&news);
            let names: Vec<SocketAddr> = news.iter().copied().map(at).collect();
            self.0[other].neighbours.get_mut(&me).unwrap().1.extend(&names);
            self.0[other].known.extend(news);
        }

        fn estimate(&self, me: usize) -> u32 {
            let neighbours = self.0[me].neighbours.iter();
            estimate(neighbours.map(|(n, (_, named))| (Some(at(*n)), named)), |_| false)
        }

        /// What all together would draw of what they may: the sum of their shares.
        fn shares(&self) -> f64 {
            (0..self.0.len())
                .map(|me| 1.0 / f64::from(self.estimate(me)))
                .sum()
        }
    }

    #[test]
    fn the_shares_of_a_crowd_add_up_to_about_one() {
        for (size, known) in [(2, 1), (5, 1), (30, 2), (400, 15)] {
            let crowd = Crowd::gathered(size, known);
            let (shares, view) = (crowd.shares(), crowd.0[size / 2].neighbours.len());
            println!("{size} viewers, the middle one with {view} neighbours: {shares:.2}");
            assert!(
                (0.99..1.15).contains(&shares),
                "{shares} of a budget among {size}"
            );
        }
    }

    #[test]
    fn who_hears_nothing_counts_those_he_sees() {
        let named = Named::default();
        assert_eq!(estimate([].into_iter(), |_| false), 1);
        let deaf = (0..7).map(|n| (Some(at(n)), &named));
        assert_eq!(estimate(deaf, |_| false), 8);
        assert_eq!(
            estimate([(None, &named)].into_iter(), |_| false),
            2,
            "who takes no connections is there too"
        );
    }

    #[test]
    fn liars_move_the_estimate_within_bounds() {
        let mut crowd = Crowd::gathered(100, 15);
        let me = 50;
        let honest = crowd.estimate(me);
        let ours: Vec<usize> = crowd.0[me].neighbours.keys().copied().collect();
        let liar = ours[0];
        let mut lie = |names: Vec<SocketAddr>| {
            crowd.0[me].neighbours.get_mut(&liar).unwrap().1.extend(&names);
            crowd.estimate(me)
        };
        let none_of_us = lie((10_000..90_000).map(at).collect());
        assert!(
            none_of_us <= honest + MOST_NAMED as u32,
            "{none_of_us} instead of {honest}"
        );
        let all_of_us = lie(ours.iter().copied().map(at).collect());
        assert!(all_of_us > honest * 4 / 5, "{all_of_us} instead of {honest}");
    }

    #[test]
    fn names_at_which_nobody_answers_do_not_count() {
        let mut named = Named::default();
        named.extend(&(10..60).map(at).collect::<Vec<_>>());
        let one = [(Some(at(1)), &named)];
        let (all, doubtful) = (
            estimate(one.into_iter(), |_| false),
            estimate(one.into_iter(), |_| true),
        );
        assert_eq!((all, doubtful), (52, 2));
    }
}
