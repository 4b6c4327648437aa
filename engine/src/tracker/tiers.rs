//! Which tracker to ask next, when there are several (BEP 12). Pure.
//!
//! The trackers of a tier are in random order; a tier is asked only when those before it are silent; whoever answers
//! is asked first in its tier from then on. Each tracker that fails is left alone for a while, longer each time.
//! Invariant: one that is asked was not asked and not failing within its pause, so a list of dead ones costs little.

use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;

/// First and longest pause after failures.
pub const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// A tracker in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its URL.
    pub url: String,
    failures: u32,
    not_before: Duration,
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
                    not_before: Duration::ZERO,
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

    /// Those to ask now, in order: the next one only while those before it do not answer.
    pub fn to_ask(&self, now: Duration) -> Vec<String> {
        let due = self.0.iter().flatten().filter(|place| place.not_before <= now);
        due.map(|place| place.url.clone()).collect()
    }

    /// When the first of those that are left alone may be asked again.
    pub fn next_due(&self) -> Option<Duration> {
        self.0.iter().flatten().map(|place| place.not_before).min()
    }

    /// It answered.
    pub fn succeeded(&mut self, url: &str) {
        for tier in &mut self.0 {
            if let Some(at) = tier.iter().position(|place| place.url == url) {
                let mut place = tier.remove(at);
                (place.failures, place.not_before) = (0, Duration::ZERO);
                tier.insert(0, place);
            }
        }
    }

    /// It did not.
    pub fn failed(&mut self, url: &str, now: Duration) {
        for place in self.0.iter_mut().flatten().filter(|place| place.url == url) {
            place.not_before = now + (PAUSES.0 * 2_u32.saturating_pow(place.failures.min(10))).min(PAUSES.1);
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
        let orders: std::collections::HashSet<String> =
            (0..100).map(|seed| tiers(seed).to_ask(S).concat()).collect();
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
            .to_ask(S)
            .len(),
            1
        );
    }

    #[test]
    fn who_answers_is_first_and_who_fails_waits_longer_each_time() {
        let mut tiers = tiers(1);
        tiers.succeeded("c");
        tiers.succeeded("e");
        let order = tiers.to_ask(S);
        assert_eq!(
            (order[0].as_str(), order[4].as_str()),
            ("c", "e"),
            "the first of its tier"
        );
        tiers.failed("c", S);
        assert!(!tiers.to_ask(S * 5).contains(&"c".to_owned()));
        assert!(tiers.to_ask(S * 6).contains(&"c".to_owned()));
        tiers.failed("c", S * 6);
        assert!(!tiers.to_ask(S * 15).contains(&"c".to_owned()));
        (0..50).for_each(|_| tiers.failed("c", S * 16));
        assert!(tiers.to_ask(S * 16 + PAUSES.1).contains(&"c".to_owned()));
        tiers.succeeded("c");
        assert_eq!(tiers.to_ask(S)[0], "c");
        for url in ["a", "b", "c", "d", "e"] {
            tiers.failed(url, S);
        }
        assert_eq!((tiers.to_ask(S).len(), tiers.next_due()), (0, Some(S * 6)));
    }
}
