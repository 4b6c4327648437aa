//! Which tracker to ask next, when there are several (BEP 12). Pure.
//!
//! The trackers of a tier are in random order; a tier is asked only when those before it are silent; whoever answers
//! is asked first in its tier from then on. Each tracker that fails is left alone for a while, longer each time; each that
//! answers until it wants to be asked again. Who is connected with nobody asks all in turn, so that a tier that knows only the dead hides no
//! other.
//! Invariant: one is asked before its time only to tell it what is new, and never within a pause after it failed.

use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;

/// First and longest pause after failures.
pub const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// Between two trackers that are asked since nobody is connected.
const BETWEEN: Duration = Duration::from_secs(3);

/// Why trackers are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// To tell them something, whether or not their time has come.
    News,
    /// The time has come.
    Time,
    /// So it has, and nobody is connected: first of all those whose time came first, for the others know nobody who lives.
    Alone,
}

/// A tracker in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its URL.
    pub url: String,
    failures: u32,
    due: Duration,
}

/// The tiers.
#[derive(Clone, Debug)]
pub struct Tiers(Vec<Vec<Place>>);

impl Tiers {
    /// Tiers in this order, each shuffled. A URL counts once, in its first tier; no more than `max` are kept.
    pub fn new(tiers: &[Vec<String>], max: usize, rng: &mut impl RngExt) -> Self {
        let mut seen = std::collections::HashSet::new();
        let mut kept = Vec::new();
        for tier in tiers {
            let fresh = tier
                .iter()
                .filter(|url| seen.len() < max && seen.insert((*url).clone()));
            let mut places: Vec<Place> = fresh
                .map(|url| Place {
                    url: url.clone(),
                    failures: 0,
                    due: Duration::ZERO,
                })
                .collect();
            places.shuffle(rng);
            if !places.is_empty() {
                kept.push(places);
            }
        }
        Self(kept)
    }

    /// Whether there is no tracker at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those to ask, in order: the next one is asked only while those before it do not answer.
    pub fn to_ask(&self, why: Why, now: Duration) -> Vec<String> {
        let is_due = |place: &&Place| place.due <= now;
        let all = self.0.iter().flatten();
        let mut asked: Vec<&Place> = match why {
            Why::News => all.filter(|place| place.failures == 0 || is_due(place)).collect(),
            Why::Time | Why::Alone => all.filter(is_due).collect(),
        };
        if why == Why::Alone {
            asked.sort_by_key(|place| place.due);
        }
        asked.into_iter().map(|place| place.url.clone()).collect()
    }

    /// When to ask again: when who answered wants it, or else the first of all; the first of all also for who is alone, with a pause.
    pub fn next_round(&self, answered: Option<&str>, alone: bool, now: Duration) -> Duration {
        let first = self.0.iter().flatten().map(|place| place.due).min();
        let first = first.unwrap_or_default();
        let answered = answered.filter(|_| !alone).and_then(|url| {
            let mut all = self.0.iter().flatten();
            Some(all.find(|place| place.url == url)?.due)
        });
        match answered {
            Some(due) => due,
            None if alone => first.max(now + BETWEEN),
            None => first,
        }
    }

    /// It answered, and is to be asked again then.
    pub fn succeeded(&mut self, url: &str, due: Duration) {
        for tier in &mut self.0 {
            if let Some(at) = tier.iter().position(|place| place.url == url) {
                let mut place = tier.remove(at);
                (place.failures, place.due) = (0, due);
                tier.insert(0, place);
            }
        }
    }

    /// It did not.
    pub fn failed(&mut self, url: &str, now: Duration) {
        for place in self.0.iter_mut().flatten().filter(|place| place.url == url) {
            place.due = now + (PAUSES.0 * 2_u32.saturating_pow(place.failures.min(10))).min(PAUSES.1);
            place.failures += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    fn tiers(seed: u64) -> Tiers {
        let list = |urls: &[&str]| urls.iter().map(|u| (*u).to_owned()).collect::<Vec<_>>();
        let tiers = [list(&["a", "b", "c"]), list(&[]), list(&["d", "a"]), list(&["e"])];
        Tiers::new(&tiers, 5, &mut SmallRng::seed_from_u64(seed))
    }

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn tiers_keep_their_order_and_are_shuffled_within() {
        let orders: std::collections::HashSet<String> = (0..100)
            .map(|seed| tiers(seed).to_ask(Why::Time, S).concat())
            .collect();
        assert_eq!(orders.len(), 6, "every order of the first tier: {orders:?}");
        assert!(
            orders.iter().all(|order| order.ends_with("de")),
            "each URL once: {orders:?}"
        );
        assert_eq!(
            Tiers::new(
                &[vec!["a".into(), "b".into()]],
                1,
                &mut SmallRng::seed_from_u64(1)
            )
            .to_ask(Why::Time, S)
            .len(),
            1
        );
    }

    #[test]
    fn who_answers_is_first_and_who_fails_waits_longer_each_time() {
        let mut tiers = tiers(1);
        tiers.succeeded("c", S);
        tiers.succeeded("e", S);
        let order = tiers.to_ask(Why::Time, S);
        assert_eq!(
            (order[0].as_str(), order[4].as_str()),
            ("c", "e"),
            "the first of its tier"
        );
        tiers.failed("c", S);
        assert!(!tiers.to_ask(Why::Time, S * 5).contains(&"c".to_owned()));
        assert!(tiers.to_ask(Why::Time, S * 6).contains(&"c".to_owned()));
        tiers.failed("c", S * 6);
        assert!(!tiers.to_ask(Why::Time, S * 15).contains(&"c".to_owned()));
        (0..50).for_each(|_| tiers.failed("c", S * 16));
        assert!(
            tiers
                .to_ask(Why::Time, S * 16 + PAUSES.1)
                .contains(&"c".to_owned())
        );
        tiers.succeeded("c", S);
        assert_eq!(tiers.to_ask(Why::Time, S)[0], "c");
        for url in ["a", "b", "c", "d", "e"] {
            tiers.failed(url, S);
        }
        assert!(tiers.to_ask(Why::Time, S).is_empty());
        assert_eq!(tiers.next_round(None, false, S), S * 6);
    }

    #[test]
    fn who_answers_is_asked_again_in_its_time() {
        let mut tiers = tiers(1);
        tiers.succeeded("c", S * 60);
        assert_eq!(tiers.next_round(Some("c"), false, S), S * 60);
        assert!(!tiers.to_ask(Why::Time, S * 59).contains(&"c".to_owned()));
        assert_eq!(tiers.to_ask(Why::Time, S * 60)[0], "c");
        assert_eq!(
            tiers.to_ask(Why::News, S * 2)[0],
            "c",
            "what is new it is told at once"
        );
        tiers.failed("c", S * 60);
        assert!(!tiers.to_ask(Why::News, S * 61).contains(&"c".to_owned()));
    }

    #[test]
    fn who_is_alone_asks_all_in_turn_each_in_its_time() {
        let mut tiers = tiers(1);
        for url in ["a", "b"] {
            tiers.failed(url, S * 10);
        }
        // The first tier answers, with nobody, and may be asked again soon.
        tiers.succeeded("c", S * 16);
        assert_eq!(tiers.next_round(Some("c"), true, S * 11), S * 14, "soon after");
        assert_eq!(tiers.to_ask(Why::Alone, S * 14), ["d", "e"]);
        tiers.failed("d", S * 14);
        let asked = tiers.to_ask(Why::Alone, S * 17);
        assert_eq!((asked.len(), &*asked[0], &*asked[3]), (4, "e", "c"));
        tiers.succeeded("e", S * 1_800);
        tiers.succeeded("c", S * 300);
        for url in ["a", "b", "d"] {
            (0..9).for_each(|_| tiers.failed(url, S * 20));
        }
        assert_eq!(tiers.next_round(Some("e"), true, S * 21), S * 300);
        assert!(tiers.to_ask(Why::Alone, S * 299).is_empty());
        assert_eq!(tiers.to_ask(Why::Alone, S * 300), ["c"]);
    }
}
