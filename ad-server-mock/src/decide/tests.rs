//! Tables and seeds for the decision.

use super::*;
use crate::catalog::{
    Advertiser, Campaign, Catalog, Creative, Flight, Frequency, Pacing, Publisher, Share, Show,
};
use crate::money::Micros;

const NOW: UnixMillis = 1_000_000;

/// A flight of its own campaign.
pub(super) fn flight(id: &str) -> Flight {
    Flight {
        archived: false,
        id: id.to_owned(),
        campaign_id: id.to_owned(),
        name: id.to_owned(),
        paused: false,
        starts: None,
        ends: None,
        goal: None,
        cap: None,
        price: Micros(25_000),
        priority: 8,
        pacing: Pacing::Fast,
        kind: Kind::Spot,
        frequency: None,
        targeting: crate::catalog::Targeting::default(),
    }
}

fn creative(id: &str) -> Creative {
    Creative {
        info_hash: None,
        archived: false,
        id: id.to_owned(),
        flight_id: id.to_owned(),
        title: id.to_owned(),
        path: format!("/{id}"),
        media_type: "audio/mpeg".to_owned(),
        width: 0,
        height: 0,
        duration: 10_000,
        size: 1,
        modified: 0,
        sha256: format!("hash-{id}"),
        ad_registry: "r".to_owned(),
        ad_id: id.to_owned(),
        weight: 1,
        bitrate: 1,
        click_through: None,
        skip_after: None,
        loudness: None,
        true_peak: None,
        tag: None,
    }
}

/// Advertiser, campaign, flight and creative of each name; a test changes what it is about.
struct World {
    catalog: Catalog,
    served: Vec<i64>,
    committed: Vec<i64>,
    last: Vec<u64>,
    decided: Vec<u64>,
    place: Place,
    download: Vec<Heard>,
    viewer: Vec<(Tag, UnixMillis)>,
    question: Question,
}

impl World {
    fn new<const N: usize>(ids: [&str; N]) -> Self {
        Self {
            catalog: Catalog {
                advertisers: ids
                    .map(|id| Advertiser {
                        id: id.to_owned(),
                        name: id.to_owned(),
                        domain: None,
                        category: None,
                        category_authority: "a".to_owned(),
                    })
                    .into(),
                campaigns: ids
                    .map(|id| Campaign {
                        archived: false,
                        id: id.to_owned(),
                        advertiser_id: id.to_owned(),
                        name: id.to_owned(),
                        budget: None,
                        currency: "EUR".to_owned(),
                    })
                    .into(),
                flights: ids.map(flight).into(),
                creatives: ids.map(creative).into(),
                ..Catalog::default()
            },
            served: vec![0; N],
            committed: vec![0; N],
            last: vec![0; N],
            decided: vec![0; N],
            place: Place::default(),
            download: Vec::new(),
            viewer: Vec::new(),
            question: Question {
                ads: 1,
                ..Question::default()
            },
        }
    }

    fn run<T>(&self, run: impl FnOnce(&Snapshot, &Counters, History<'_>) -> T) -> T {
        let snapshot = Snapshot::new(self.catalog.clone());
        let mut counters = Counters::new(&snapshot);
        for (n, count) in counters.flights.iter_mut().enumerate() {
            count.served.stored = self.served[n];
            count.last = self.last[n];
        }
        for (n, count) in counters.campaigns.iter_mut().enumerate() {
            count.stored = self.committed[n];
        }
        counters.creatives.clone_from(&self.decided);
        let history = History {
            download: &self.download,
            viewer: &self.viewer,
            place: &self.place,
        };
        run(&snapshot, &counters, history)
    }

    fn pod(&self, seed: u64) -> Vec<usize> {
        self.run(|s, c, h| decide(s, c, &self.question, h, NOW, seed))
            .into_iter()
            .map(|c| c.0)
            .collect()
    }

    /// The pod, and why each other creative is not in it.
    fn explained(&self, seed: u64) -> (Vec<usize>, Vec<(usize, Rejection)>) {
        self.run(|s, c, h| {
            let pod = decide(s, c, &self.question, h, NOW, seed);
            let why = explain(s, c, &self.question, h, NOW, &pod);
            (
                pod.into_iter().map(|c| c.0).collect(),
                why.into_iter().map(|(c, why)| (c.0, why)).collect(),
            )
        })
    }

    /// All creatives in one flight, with these weights.
    fn in_one_flight(mut self, weights: &[u32]) -> Self {
        let id = self.catalog.flights[0].id.clone();
        for (c, weight) in self.catalog.creatives.iter_mut().zip(weights) {
            (c.flight_id, c.weight) = (id.clone(), *weight);
        }
        self
    }
}

#[test]
fn each_rule_keeps_out_what_it_names() {
    type Change = fn(&mut World);
    let table: &[(Change, Option<Rejection>)] = &[
        (|_| {}, None),
        (|w| w.catalog.flights[0].paused = true, Some(Rejection::NotActive)),
        (
            |w| w.catalog.flights[0].starts = Some(NOW + 1),
            Some(Rejection::NotActive),
        ),
        (|w| w.catalog.flights[0].starts = Some(NOW), None),
        (
            |w| w.catalog.flights[0].ends = Some(NOW),
            Some(Rejection::NotActive),
        ),
        (|w| w.catalog.flights[0].ends = Some(NOW + 1), None),
        (
            |w| w.catalog.campaigns[0].budget = Some(Micros(24_999)),
            Some(Rejection::Budget),
        ),
        (|w| w.catalog.campaigns[0].budget = Some(Micros(25_000)), None),
        (
            |w| {
                w.catalog.campaigns[0].budget = Some(Micros(50_000));
                w.committed[0] = 25_001;
            },
            Some(Rejection::Budget),
        ),
        (
            |w| (w.catalog.flights[0].cap, w.served[0]) = (Some(3), 3),
            Some(Rejection::Cap),
        ),
        (|w| (w.catalog.flights[0].cap, w.served[0]) = (Some(3), 2), None),
        (
            |w| {
                let f = &mut w.catalog.flights[0];
                (f.pacing, f.goal, f.ends) = (Pacing::Daily, Some(10), Some(DAY));
                w.served[0] = 9;
            },
            None,
        ),
        (
            |w| {
                let f = &mut w.catalog.flights[0];
                (f.pacing, f.goal, f.ends) = (Pacing::Daily, Some(10), Some(DAY));
                w.served[0] = 10;
            },
            Some(Rejection::Paced),
        ),
        (
            |w| {
                w.catalog.flights[0].frequency = Some(Frequency {
                    count: 2,
                    millis: 100,
                });
                w.viewer = vec![(Tag::of("a"), NOW - 99), (Tag::of("a"), NOW - 1)];
            },
            Some(Rejection::Frequency),
        ),
        (
            // One is too long ago, one is of another flight.
            |w| {
                w.catalog.flights[0].frequency = Some(Frequency {
                    count: 2,
                    millis: 100,
                });
                w.viewer = vec![
                    (Tag::of("a"), NOW - 100),
                    (Tag::of("b"), NOW),
                    (Tag::of("a"), NOW - 1),
                ];
            },
            None,
        ),
        (
            |w| w.catalog.flights[0].targeting.shows = vec!["s".into()],
            Some(Rejection::Targeting),
        ),
        (
            |w| {
                w.catalog.flights[0].targeting.shows = vec!["s".into(), "t".into()];
                w.question.show = Some("t".into());
            },
            None,
        ),
        (
            |w| {
                w.catalog.flights[0].targeting.episodes = vec!["1".into()];
                w.question.episode = Some("2".into());
            },
            Some(Rejection::Targeting),
        ),
        (
            |w| {
                w.catalog.flights[0].targeting.positions = vec!["preroll".into()];
                w.question.position = Some("midroll".into());
            },
            Some(Rejection::Targeting),
        ),
        (
            |w| {
                w.catalog.flights[0].targeting.countries = vec!["ES".into()];
                w.question.country = Some("ES".into());
            },
            None,
        ),
        (
            |w| {
                w.catalog.flights[0].targeting.devices = vec!["phone".into()];
                w.question.device = Some("tv".into());
            },
            Some(Rejection::Targeting),
        ),
        (
            |w| w.question.content_type = Some("video".into()),
            Some(Rejection::Targeting),
        ),
        (|w| w.question.content_type = Some("audio".into()), None),
        (
            |w| {
                w.catalog.advertisers[0].category = Some("IAB8".into());
                w.question.blocked = vec!["IAB7".into(), "IAB8".into()];
            },
            Some(Rejection::Blocked),
        ),
        (
            |w| {
                w.catalog.advertisers[0].category = Some("IAB8".into());
                w.catalog.shows = vec![show("s", &["IAB8"], Separation::Pod)];
                w.question.show = Some("s".into());
            },
            Some(Rejection::Blocked),
        ),
        (
            |w| w.download = vec![heard_of("hash-a", "other")],
            Some(Rejection::Repeated),
        ),
        (
            |w| w.download = vec![heard_of("other", "a")],
            Some(Rejection::Repeated),
        ),
        (|w| w.download = vec![heard_of("other", "other")], None),
        (
            |w| w.catalog.creatives[0].duration = 30_001,
            Some(Rejection::TooLong),
        ),
        (|w| w.catalog.creatives[0].duration = 30_000, None),
        // The first rule in order is the one named.
        (
            |w| {
                w.catalog.flights[0].paused = true;
                w.catalog.creatives[0].duration = 99_999;
            },
            Some(Rejection::NotActive),
        ),
        (
            |w| {
                w.catalog.flights[0].targeting.shows = vec!["s".into()];
                w.download = vec![heard_of("hash-a", "a")];
            },
            Some(Rejection::Targeting),
        ),
    ];
    for (n, (change, expected)) in table.iter().enumerate() {
        let mut w = World::new(["a"]);
        w.question.time = Some(30_000);
        change(&mut w);
        let (pod, why) = w.explained(1);
        match expected {
            None => assert_eq!(pod, [0], "row {n}"),
            Some(rule) => assert_eq!((pod, why), (vec![], vec![(0, *rule)]), "row {n}"),
        }
    }
}

fn heard_of(content: &str, ad: &str) -> Heard {
    Heard {
        content: Tag::of(content),
        ad: Tag::of_ad("r", ad),
        category: None,
    }
}

fn show(id: &str, blocked: &[&str], separation: Separation) -> Show {
    Show {
        id: id.to_owned(),
        publisher_id: "p".to_owned(),
        title: id.to_owned(),
        share: None,
        blocked: blocked.iter().map(|b| (*b).to_owned()).collect(),
        separation,
    }
}

#[test]
fn a_pod_is_filled_within_its_time_and_number() {
    let mut w = World::new(["a", "b", "c", "d"]);
    for seed in 0..50 {
        for (time, ads, filled) in [
            (Some(29_999), 9, 2),
            (Some(30_000), 9, 3),
            (None, 3, 3),
            (None, 0, 0),
        ] {
            (w.question.time, w.question.ads) = (time, ads);
            assert_eq!(w.pod(seed).len(), filled, "seed {seed}");
        }
    }
    // What is left after a long one is filled by a shorter one.
    let mut w = World::new(["a", "b", "c"]);
    w.catalog.flights[0].priority = 1;
    w.catalog.creatives[0].duration = 25_000;
    w.catalog.creatives[2].duration = 5_000;
    (w.question.time, w.question.ads) = (Some(30_000), 3);
    assert_eq!(w.explained(1), (vec![0, 2], vec![(1, Rejection::TooLong)]));
}

#[test]
fn a_pod_never_has_a_creative_or_a_category_twice() {
    for seed in 0..50 {
        let mut w = World::new(["a", "b"]);
        w.question.ads = 2;
        for a in &mut w.catalog.advertisers {
            a.category = Some("coffee".into());
        }
        let (pod, why) = w.explained(seed);
        assert_eq!((pod.len(), why[0].1), (1, Rejection::Separation), "seed {seed}");
        // The same bytes, and then the same universal ad id.
        for same in [
            |c: &mut Creative| c.sha256 = "x".into(),
            |c: &mut Creative| {
                c.ad_id = "x".into();
            },
        ] {
            let mut w = World::new(["a", "b"]);
            w.question.ads = 2;
            w.catalog.creatives.iter_mut().for_each(same);
            let (pod, why) = w.explained(seed);
            assert_eq!((pod.len(), why[0].1), (1, Rejection::Repeated), "seed {seed}");
        }
    }
}

#[test]
fn a_show_may_keep_categories_apart_in_a_whole_download() {
    let mut w = World::new(["a"]);
    w.catalog.advertisers[0].category = Some("coffee".into());
    w.question.show = Some("s".into());
    w.download = vec![Heard {
        category: Some(Tag::of("coffee")),
        ..heard_of("other", "other")
    }];
    w.catalog.shows = vec![show("s", &[], Separation::Pod)];
    assert_eq!(w.pod(1), [0]);
    w.catalog.shows = vec![show("s", &[], Separation::Download)];
    assert_eq!(w.explained(1).1, [(0, Rejection::Separation)]);
}

#[test]
fn one_pod_never_exceeds_budget_cap_frequency_or_the_part_of_the_day() {
    let pod = |change: fn(&mut World)| {
        let mut w = World::new(["a", "b", "c"]).in_one_flight(&[1, 1, 1]);
        w.question.ads = 3;
        change(&mut w);
        let (pod, why) = w.explained(7);
        (pod.len(), why.first().map(|w| w.1))
    };
    assert_eq!(pod(|_| {}), (3, None));
    assert_eq!(
        pod(|w| w.catalog.campaigns[0].budget = Some(Micros(60_000))),
        (2, Some(Rejection::Budget))
    );
    assert_eq!(
        pod(|w| (w.catalog.flights[0].cap, w.served[0]) = (Some(10), 9)),
        (1, Some(Rejection::Cap))
    );
    assert_eq!(
        pod(|w| w.catalog.flights[0].frequency = Some(Frequency { count: 2, millis: 9 })),
        (2, Some(Rejection::Frequency))
    );
    assert_eq!(
        pod(|w| {
            let f = &mut w.catalog.flights[0];
            (f.pacing, f.goal, f.ends) = (Pacing::Daily, Some(4), Some(2 * DAY));
        }),
        (2, Some(Rejection::Paced))
    );
}

#[test]
fn priority_then_pace_then_turn() {
    let mut w = World::new(["a", "b"]);
    let first = |w: &World, expected| (0..50).all(|seed| w.pod(seed) == [expected]);
    (w.catalog.flights[0].priority, w.catalog.flights[1].priority) = (9, 3);
    // Behind its pace does not outrank priority.
    w.catalog.flights[0].goal = Some(100);
    assert!(first(&w, 1));
    (w.catalog.flights[0].priority, w.catalog.flights[1].priority) = (5, 5);
    assert!(first(&w, 0));
    // Even pace: half the time has passed; 40 of 100 is behind, 60 is ahead.
    for f in &mut w.catalog.flights {
        (f.goal, f.pacing, f.starts, f.ends) = (Some(100), Pacing::Even, Some(0), Some(2 * NOW));
    }
    w.served = vec![60, 40];
    assert!(first(&w, 1));
    // Ahead of its pace it still serves when nothing else can.
    w.catalog.flights[1].paused = true;
    assert!(first(&w, 0));
    // Equal pace: who was here longest ago; then who served anywhere longest ago.
    w.catalog.flights[1].paused = false;
    w.served = vec![50, 50];
    w.place.flights.insert(Tag::of("a"), 1);
    w.last = vec![0, 9];
    assert!(first(&w, 1));
    w.place.flights.clear();
    w.last = vec![1, 9];
    assert!(first(&w, 0));
}

#[test]
fn sponsorships_come_after_the_ads_and_before_them_in_a_post_roll() {
    let mut w = World::new(["sponsor", "a", "b"]);
    w.catalog.flights[0].kind = Kind::Sponsorship;
    w.catalog.flights[0].priority = 1;
    w.question.ads = 3;
    for (position, at) in [
        (None, 2),
        (Some("preroll"), 2),
        (Some("midroll"), 2),
        (Some("postroll"), 0),
    ] {
        w.question.position = position.map(str::to_owned);
        let pod = w.pod(1);
        assert_eq!((pod.len(), pod[at]), (3, 0), "{position:?}");
    }
}

#[test]
fn weights_share_a_flight_and_consecutive_decisions_differ() {
    let mut w = World::new(["a", "b", "c"]).in_one_flight(&[2, 1, 1]);
    let mut picks = Vec::new();
    for seed in 0..400 {
        let n = w.pod(seed)[0];
        w.decided[n] += 1;
        *w.place
            .creatives
            .entry(Tag::of(&w.catalog.creatives[n].id))
            .or_default() += 1;
        picks.push(n);
    }
    let count = |n| picks.iter().filter(|p| **p == n).count();
    assert_eq!((count(0), count(1), count(2)), (200, 100, 100));
}

#[test]
fn chance_follows_the_weights_and_the_seed() {
    let w = World::new(["a", "b"]).in_one_flight(&[1, 1]);
    let separate = World::new(["a", "b"]);
    let uneven = World::new(["a", "b"]).in_one_flight(&[3, 1]);
    for (w, low, high) in [(&w, 800, 1200), (&separate, 800, 1200)] {
        let first = (0..2000).filter(|seed| w.pod(*seed) == [0]).count();
        assert!((low..high).contains(&first), "{first} of 2000");
    }
    // Before any was decided, the one that may come three times as often is behind.
    assert!((0..50).all(|seed| uneven.pod(seed) == [0]));
    assert_eq!(w.pod(42), w.pod(42));
}

#[test]
fn a_show_pays_its_own_share_or_its_publishers() {
    let mut w = World::new(["a"]);
    w.catalog.publishers = vec![Publisher {
        id: "p".into(),
        name: "P".into(),
        share: Share(7_000),
    }];
    let own = Show {
        share: Some(Share(8_333)),
        ..show("own", &[], Separation::Pod)
    };
    w.catalog.shows = vec![show("s", &[], Separation::Pod), own];
    w.run(|snapshot, _, _| {
        let pay = |show| snapshot.payout(show, Micros(25_001)).0;
        assert_eq!(
            [pay(Some("s")), pay(Some("own")), pay(Some("unknown")), pay(None)],
            [17_500, 20_833, 0, 0]
        );
    });
}
