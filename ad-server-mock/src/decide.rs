//! Which ads fill a break: candidates in, pod out.
//!
//! Pure: no clock, no store, randomness from a seed. The order of the questions is that of an ad server: active and in
//! its dates; budget and cap, open reservations included; not already in this download; not its like in this pod; fits
//! the time left; priority; how far behind its pace; then rotation, so that consecutive viewers of a break get different
//! creatives; then chance. Not for reserving: the caller does that in the transaction that read the candidates.

use std::cmp::Reverse;
use std::collections::HashMap;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::catalog::Pacing;
use crate::clock::UnixMillis;
use crate::money::Micros;

/// Most ads in one pod, whatever is asked for.
pub const MOST_ADS: usize = 20;
/// Two flights whose progress differs by less than this share of their goals take turns.
const PACE_STEPS: f64 = 20.0;

/// A creative with what its flight, campaign and advertiser have to say about it, as counted up to now.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The advertiser's category.
    pub category: Option<String>,
    /// Campaign.
    pub campaign_id: String,
    /// What the campaign may spend; `None` is without limit.
    pub budget: Option<Micros>,
    /// What the campaign has spent and reserved.
    pub committed: Micros,
    /// Flight.
    pub flight_id: String,
    /// Whether the flight is paused.
    pub paused: bool,
    /// First instant of the flight.
    pub starts: Option<UnixMillis>,
    /// First instant after the flight.
    pub ends: Option<UnixMillis>,
    /// Impressions to reach.
    pub goal: Option<u64>,
    /// Impressions never to exceed.
    pub cap: Option<u64>,
    /// Impressions billed and reserved.
    pub served: u64,
    /// Price of an impression.
    pub price: Micros,
    /// 1 before 16.
    pub priority: u8,
    /// How the goal is spread.
    pub pacing: Pacing,
    /// Number of the last decision for this flight in this break of this episode; 0 is never.
    pub flight_last_here: u64,
    /// Number of the last decision for this flight anywhere; 0 is never.
    pub flight_last: u64,
    /// Creative.
    pub creative_id: String,
    /// Its content: two creatives with the same bytes are the same to a viewer.
    pub sha256: String,
    /// Milliseconds.
    pub duration: i64,
    /// Share among the flight's creatives, at least 1.
    pub weight: u32,
    /// Decisions for this creative in this break of this episode.
    pub decided_here: u64,
    /// Decisions for this creative anywhere.
    pub decided: u64,
    /// Whether this download already has it.
    pub in_download: bool,
}

/// What the break has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Milliseconds; `None` is without limit.
    pub time: Option<i64>,
    /// Ads; at most [`MOST_ADS`] are given.
    pub ads: usize,
}

/// Why a candidate was not chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// Paused, not begun, or over.
    NotActive,
    /// The campaign cannot pay for another impression.
    Budget,
    /// The flight has reached its cap.
    Cap,
    /// This download already has this creative.
    Repeated,
    /// The pod already has this creative, or this category.
    Separation,
    /// Longer than the time left.
    TooLong,
    /// Others came first and the pod is full.
    Outranked,
}

/// The pod, as indices of the candidates in playing order, and why each other candidate is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Chosen.
    pub pod: Vec<usize>,
    /// Not chosen.
    pub rejected: Vec<(usize, Rejection)>,
}

/// Chooses ads for a break. The same arguments give the same answer.
pub fn decide(candidates: &[Candidate], room: Room, now: UnixMillis, seed: u64) -> Outcome {
    let chances = Chances::draw(candidates, seed);
    let ads = room.ads.min(MOST_ADS);
    let mut pod: Vec<usize> = Vec::new();
    while pod.len() < ads {
        let open: Vec<usize> = (0..candidates.len())
            .filter(|i| rejection(candidates, &pod, room.time, now, *i).is_none())
            .collect();
        let Some(next) = best(candidates, &chances, &pod, now, &open) else {
            break;
        };
        pod.push(next);
    }
    let rejected = (0..candidates.len())
        .filter(|i| !pod.contains(i))
        .map(|i| {
            (
                i,
                rejection(candidates, &pod, room.time, now, i).unwrap_or(Rejection::Outranked),
            )
        })
        .collect();
    Outcome { pod, rejected }
}

/// The first rule that keeps candidate `i` out of the rest of the pod.
fn rejection(
    candidates: &[Candidate],
    pod: &[usize],
    time: Option<i64>,
    now: UnixMillis,
    i: usize,
) -> Option<Rejection> {
    let c = &candidates[i];
    let chosen = || pod.iter().map(|p| &candidates[*p]);
    if c.paused || c.starts.is_some_and(|s| now < s) || c.ends.is_some_and(|e| now >= e) {
        return Some(Rejection::NotActive);
    }
    let reserved: i64 = chosen()
        .filter(|p| p.campaign_id == c.campaign_id)
        .map(|p| p.price.0)
        .sum();
    if c.budget
        .is_some_and(|b| c.committed.0 + reserved + c.price.0 > b.0)
    {
        return Some(Rejection::Budget);
    }
    if c.cap.is_some_and(|cap| served(candidates, pod, c) >= cap) {
        return Some(Rejection::Cap);
    }
    if c.in_download {
        return Some(Rejection::Repeated);
    }
    if chosen().any(|p| p.sha256 == c.sha256 || (p.category.is_some() && p.category == c.category)) {
        return Some(Rejection::Separation);
    }
    if time.is_some_and(|t| chosen().map(|p| p.duration).sum::<i64>() + c.duration > t) {
        return Some(Rejection::TooLong);
    }
    None
}

/// Impressions of a candidate's flight, those of the pod included.
fn served(candidates: &[Candidate], pod: &[usize], c: &Candidate) -> u64 {
    c.served
        + pod
            .iter()
            .filter(|p| candidates[**p].flight_id == c.flight_id)
            .count() as u64
}

fn best(
    candidates: &[Candidate],
    chances: &Chances,
    pod: &[usize],
    now: UnixMillis,
    open: &[usize],
) -> Option<usize> {
    let flight_rank = |i: &usize| {
        let c = &candidates[*i];
        let in_pod = pod
            .iter()
            .filter(|p| candidates[**p].flight_id == c.flight_id)
            .count();
        let behind = behind(c, served(candidates, pod, c), now);
        let turn = (c.flight_last_here, c.flight_last, chances.flight[&c.flight_id]);
        (
            c.priority,
            Reverse((behind * PACE_STEPS).round() as i64),
            in_pod,
            turn,
        )
    };
    let flight = &candidates[*open.iter().min_by_key(|i| flight_rank(i))?].flight_id;
    // Shares are compared in whole numbers: what one more decision would make of decided ÷ weight.
    let share = |n: u64, weight: u32| (u128::from(n) + 1) * 1_000_000 / u128::from(weight.max(1));
    open.iter()
        .copied()
        .filter(|i| candidates[*i].flight_id == *flight)
        .min_by_key(|i| {
            let c = &candidates[*i];
            (
                share(c.decided_here, c.weight),
                share(c.decided, c.weight),
                chances.creative[*i],
            )
        })
}

/// How far a flight is behind its pace, as a share of its goal: positive is behind, negative ahead; without a goal 0.
fn behind(c: &Candidate, served: u64, now: UnixMillis) -> f64 {
    let Some(goal) = c.goal else { return 0.0 };
    let due = match (c.pacing, c.starts, c.ends) {
        (Pacing::Even, Some(starts), Some(ends)) if ends > starts => {
            ((now - starts) as f64 / (ends - starts) as f64).clamp(0.0, 1.0)
        }
        _ => 1.0,
    };
    due - served as f64 / goal.max(1) as f64
}

/// What chance says where everything else is equal; smaller comes first.
struct Chances {
    flight: HashMap<String, u64>,
    creative: Vec<u64>,
}

impl Chances {
    fn draw(candidates: &[Candidate], seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut flight = HashMap::new();
        let mut creative = Vec::with_capacity(candidates.len());
        for c in candidates {
            let drawn: u64 = rng.random();
            flight.entry(c.flight_id.clone()).or_insert(drawn);
            // An exponential variate of rate `weight`: the smallest of several is each one's with chance weight ÷ sum.
            let uniform: f64 = rng.random::<f64>().max(f64::MIN_POSITIVE);
            creative.push((-uniform.ln() / f64::from(c.weight.max(1)) * 1e15) as u64);
        }
        Self { flight, creative }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMillis = 1_000_000;

    fn candidate(id: &str) -> Candidate {
        Candidate {
            category: None,
            campaign_id: format!("campaign-{id}"),
            budget: None,
            committed: Micros(0),
            flight_id: format!("flight-{id}"),
            paused: false,
            starts: None,
            ends: None,
            goal: None,
            cap: None,
            served: 0,
            price: Micros(25_000),
            priority: 8,
            pacing: Pacing::Fast,
            flight_last_here: 0,
            flight_last: 0,
            creative_id: id.to_owned(),
            sha256: format!("hash-{id}"),
            duration: 10_000,
            weight: 1,
            decided_here: 0,
            decided: 0,
            in_download: false,
        }
    }

    const ONE: Room = Room { time: None, ads: 1 };

    #[test]
    fn each_rule_keeps_out_what_it_names() {
        type Change = fn(&mut Candidate);
        let table: &[(Change, Option<Rejection>)] = &[
            (|_| {}, None),
            (|c| c.paused = true, Some(Rejection::NotActive)),
            (|c| c.starts = Some(NOW + 1), Some(Rejection::NotActive)),
            (|c| c.starts = Some(NOW), None),
            (|c| c.ends = Some(NOW), Some(Rejection::NotActive)),
            (|c| c.ends = Some(NOW + 1), None),
            (|c| c.budget = Some(Micros(24_999)), Some(Rejection::Budget)),
            (|c| c.budget = Some(Micros(25_000)), None),
            (
                |c| (c.budget, c.committed) = (Some(Micros(50_000)), Micros(25_001)),
                Some(Rejection::Budget),
            ),
            (|c| (c.cap, c.served) = (Some(3), 3), Some(Rejection::Cap)),
            (|c| (c.cap, c.served) = (Some(3), 2), None),
            (|c| c.in_download = true, Some(Rejection::Repeated)),
            (|c| c.duration = 30_001, Some(Rejection::TooLong)),
            (|c| c.duration = 30_000, None),
            // The first rule in order is the one named.
            (
                |c| (c.paused, c.duration) = (true, 99_999),
                Some(Rejection::NotActive),
            ),
        ];
        for (n, (change, expected)) in table.iter().enumerate() {
            let mut c = candidate("a");
            change(&mut c);
            let outcome = decide(
                &[c],
                Room {
                    time: Some(30_000),
                    ads: 1,
                },
                NOW,
                1,
            );
            match expected {
                None => assert_eq!(outcome.pod, [0], "row {n}"),
                Some(why) => assert_eq!(outcome.rejected, [(0, *why)], "row {n}"),
            }
        }
    }

    #[test]
    fn a_pod_is_filled_within_its_time_and_number() {
        let all: Vec<_> = ["a", "b", "c", "d"].map(candidate).into();
        for seed in 0..50 {
            assert_eq!(
                decide(
                    &all,
                    Room {
                        time: Some(29_999),
                        ads: 9
                    },
                    NOW,
                    seed
                )
                .pod
                .len(),
                2,
                "seed {seed}"
            );
            assert_eq!(
                decide(
                    &all,
                    Room {
                        time: Some(30_000),
                        ads: 9
                    },
                    NOW,
                    seed
                )
                .pod
                .len(),
                3,
                "seed {seed}"
            );
            assert_eq!(
                decide(&all, Room { time: None, ads: 3 }, NOW, seed).pod.len(),
                3,
                "seed {seed}"
            );
            assert_eq!(
                decide(&all, Room { time: None, ads: 0 }, NOW, seed).pod.len(),
                0,
                "seed {seed}"
            );
        }
        // What is left after a long one is filled by a shorter one.
        let mut long = candidate("a");
        (long.priority, long.duration) = (1, 25_000);
        let mut short = candidate("b");
        short.duration = 5_000;
        let outcome = decide(
            &[long, candidate("c"), short],
            Room {
                time: Some(30_000),
                ads: 3,
            },
            NOW,
            1,
        );
        assert_eq!(
            (outcome.pod, outcome.rejected),
            (vec![0, 2], vec![(1, Rejection::TooLong)])
        );
    }

    #[test]
    fn a_pod_never_has_a_creative_or_a_category_twice() {
        let mut a = candidate("a");
        let mut b = candidate("b");
        let mut same = candidate("c");
        a.category = Some("coffee".into());
        b.category = Some("coffee".into());
        same.sha256.clone_from(&a.sha256);
        for seed in 0..50 {
            let both = decide(&[a.clone(), b.clone()], Room { time: None, ads: 2 }, NOW, seed);
            assert_eq!(both.pod.len(), 1, "seed {seed}");
            assert_eq!(both.rejected[0].1, Rejection::Separation, "seed {seed}");
            let both = decide(&[a.clone(), same.clone()], Room { time: None, ads: 2 }, NOW, seed);
            assert_eq!(both.pod.len(), 1, "seed {seed}");
        }
    }

    #[test]
    fn one_pod_never_exceeds_budget_or_cap() {
        let pod = |change: fn(&mut Candidate)| {
            let all: Vec<_> = ["a", "b", "c"]
                .map(|id| {
                    let mut c = candidate(id);
                    (c.campaign_id, c.flight_id) = ("one".into(), "one".into());
                    change(&mut c);
                    c
                })
                .into();
            decide(&all, Room { time: None, ads: 3 }, NOW, 7)
        };
        assert_eq!(pod(|_| {}).pod.len(), 3);
        let outcome = pod(|c| c.budget = Some(Micros(60_000)));
        assert_eq!((outcome.pod.len(), outcome.rejected[0].1), (2, Rejection::Budget));
        let outcome = pod(|c| (c.cap, c.served) = (Some(10), 9));
        assert_eq!((outcome.pod.len(), outcome.rejected[0].1), (1, Rejection::Cap));
    }

    #[test]
    fn priority_then_pace_then_turn() {
        let (mut a, mut b) = (candidate("a"), candidate("b"));
        let first =
            |a: &Candidate, b: &Candidate, seed| decide(&[a.clone(), b.clone()], ONE, NOW, seed).pod[0];
        (a.priority, b.priority) = (9, 3);
        // Behind its pace does not outrank priority.
        a.goal = Some(100);
        assert!((0..50).all(|seed| first(&a, &b, seed) == 1));
        (a.priority, b.priority) = (5, 5);
        assert!((0..50).all(|seed| first(&a, &b, seed) == 0));
        // Even pace: half the time has passed; 40 of 100 is behind, 60 is ahead.
        for c in [&mut a, &mut b] {
            (c.goal, c.pacing, c.starts, c.ends) = (Some(100), Pacing::Even, Some(0), Some(2 * NOW));
        }
        (a.served, b.served) = (60, 40);
        assert!((0..50).all(|seed| first(&a, &b, seed) == 1));
        // Ahead of its pace it still serves when nothing else can.
        b.paused = true;
        assert_eq!(first(&a, &b, 1), 0);
        // Equal pace: who was here longest ago; then who served anywhere longest ago.
        (b.paused, a.served, b.served) = (false, 50, 50);
        (a.flight_last_here, b.flight_last_here, b.flight_last) = (1, 0, 9);
        assert!((0..50).all(|seed| first(&a, &b, seed) == 1));
        (a.flight_last_here, a.flight_last) = (0, 1);
        assert!((0..50).all(|seed| first(&a, &b, seed) == 0));
    }

    #[test]
    fn weights_share_a_flight_and_consecutive_decisions_differ() {
        let mut all: Vec<_> = ["a", "b", "c"].map(candidate).into();
        for (c, weight) in all.iter_mut().zip([2, 1, 1]) {
            (c.flight_id, c.weight) = ("one".into(), weight);
        }
        let mut picks = Vec::new();
        for seed in 0..400 {
            let n = decide(&all, ONE, NOW, seed).pod[0];
            all[n].decided += 1;
            all[n].decided_here += 1;
            picks.push(n);
        }
        let count = |n| picks.iter().filter(|p| **p == n).count();
        assert_eq!((count(0), count(1), count(2)), (200, 100, 100));
    }

    #[test]
    fn chance_follows_the_weights_and_the_seed() {
        let mut all: Vec<_> = ["a", "b"].map(candidate).into();
        for (c, weight) in all.iter_mut().zip([1, 1]) {
            (c.flight_id, c.weight) = ("one".into(), weight);
        }
        let first = (0..2000)
            .filter(|seed| decide(&all, ONE, NOW, *seed).pod[0] == 0)
            .count();
        assert!((800..1200).contains(&first), "{first} of 2000");
        // Separate flights too.
        all[1].flight_id = "two".into();
        let first = (0..2000)
            .filter(|seed| decide(&all, ONE, NOW, *seed).pod[0] == 0)
            .count();
        assert!((800..1200).contains(&first), "{first} of 2000");
        assert_eq!(decide(&all, ONE, NOW, 42), decide(&all, ONE, NOW, 42));
    }
}
