//! The whole service but HTTP, on SQLite: counters are exact whatever happens, and limits hold.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::*;
use crate::catalog::{Frequency, Kind, Pacing, Targeting};
use crate::clock::ManualClock;
use crate::money::Micros;
use crate::report::Filter;
use crate::store::Location;

/// Two campaigns: one with a budget for 7 impressions, one with two flights capped at 5 and 3.
fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    for id in ["a", "b"] {
        catalog.advertisers.push(Advertiser {
            id: id.into(),
            name: id.into(),
            domain: None,
            category: Some(id.into()),
            category_authority: "https://authority.example/".into(),
        });
        catalog.campaigns.push(Campaign {
            archived: false,
            id: id.into(),
            advertiser_id: id.into(),
            name: id.into(),
            budget: (id == "a").then_some(Micros(70_009)),
            currency: "EUR".into(),
        });
    }
    for (id, campaign, cap) in [("a1", "a", None), ("b1", "b", Some(5)), ("b2", "b", Some(3))] {
        catalog.flights.push(Flight {
            archived: false,
            id: id.into(),
            campaign_id: campaign.into(),
            name: id.into(),
            paused: false,
            starts: None,
            ends: None,
            goal: None,
            cap,
            price: Micros(10_000),
            priority: 8,
            pacing: Pacing::Fast,
            kind: Kind::Spot,
            frequency: None,
            targeting: Targeting::default(),
        });
        catalog.creatives.push(Creative {
            info_hash: None,
            archived: false,
            id: id.into(),
            flight_id: id.into(),
            title: id.into(),
            path: "/nowhere".into(),
            media_type: "audio/mpeg".into(),
            width: 0,
            height: 0,
            duration: 10_000,
            size: 1,
            modified: 0,
            sha256: id.into(),
            ad_registry: "r".into(),
            ad_id: id.into(),
            weight: 1,
            bitrate: 128,
            click_through: None,
            skip_after: None,
            loudness: None,
            true_peak: None,
            tag: None,
        });
    }
    catalog
}

/// Counters equal what the decisions say, no limit is exceeded, and what is in memory is what is stored.
async fn check(ads: &Ads, context: &str) {
    let flights: Vec<(String, i64, i64, Option<i64>, i64, i64)> = sqlx::query_as(
        "SELECT f.id, f.reserved, f.billed, f.cap,
                (SELECT COUNT(*) FROM decisions d WHERE d.flight_id = f.id AND d.state = 'open'),
                (SELECT COUNT(*) FROM decisions d WHERE d.flight_id = f.id AND d.state = 'billed')
         FROM flights f",
    )
    .fetch_all(ads.db().pool())
    .await
    .unwrap();
    let question = Question::default();
    for (id, reserved, billed, cap, open, done) in flights {
        assert_eq!((reserved, billed), (open, done), "{context}: flight {id}");
        assert!(
            cap.is_none_or(|cap| reserved + billed <= cap),
            "{context}: flight {id}"
        );
        let thought = ads
            .book
            .look(&question, |s, c, _| c.flights[s.flight(&id).unwrap().0].served);
        assert_eq!(
            (thought.stored, thought.pending),
            (reserved + billed, 0),
            "{context}: flight {id}"
        );
    }
    let campaigns: Vec<(String, i64, i64, Option<i64>, i64, i64)> = sqlx::query_as(
        "SELECT c.id, c.reserved, c.spent, c.budget,
                (SELECT COALESCE(SUM(price), 0) FROM decisions d WHERE d.campaign_id = c.id AND d.state = 'open'),
                (SELECT COALESCE(SUM(price), 0) FROM decisions d WHERE d.campaign_id = c.id AND d.state = 'billed')
         FROM campaigns c",
    )
    .fetch_all(ads.db().pool())
    .await
    .unwrap();
    for (id, reserved, spent, budget, open, done) in campaigns {
        assert_eq!((reserved, spent), (open, done), "{context}: campaign {id}");
        assert!(
            budget.is_none_or(|b| reserved + spent <= b),
            "{context}: campaign {id}"
        );
        let thought = ads
            .book
            .look(&question, |s, c, _| c.campaigns[s.campaign(&id).unwrap().0]);
        assert_eq!(
            (thought.stored, thought.pending),
            (reserved + spent, 0),
            "{context}: campaign {id}"
        );
    }
}

struct Service {
    ads: Ads,
    clock: Arc<ManualClock>,
    decided: u64,
    asked: u64,
    _dir: tempfile::TempDir,
}

impl Service {
    async fn new(catalog: &Catalog) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&Location::Sqlite(dir.path().join("ads.db")))
            .await
            .unwrap();
        let clock = Arc::new(ManualClock::new(0));
        let (ads, _task) = Ads::start(db, Arc::clone(&clock) as Arc<dyn Clock>)
            .await
            .unwrap();
        ads.load(catalog).await.unwrap();
        Self {
            ads,
            clock,
            decided: 0,
            asked: 0,
            _dir: dir,
        }
    }

    async fn decide(&mut self, question: &Question, seed: u64) -> Vec<Decided> {
        self.asked += 1;
        let now = self.clock.now();
        let asking = Asking {
            request_id: format!("r{}", self.asked),
            listener: None,
            proof_key: None,
            now,
            expires: now + 100,
            seed,
        };
        let mut decided = self.decided;
        let pod = self.ads.decide(question, &asking, || {
            decided += 1;
            format!("d{decided}")
        });
        let pod = pod.await.unwrap();
        self.decided = decided;
        pod
    }

    async fn record(&self, id: &str, event: &str, basis: &'static str) -> Recorded {
        let beacon = Beacon {
            ad_serving_id: id.to_owned(),
            event: event.to_owned(),
            tracker: "1".to_owned(),
            basis,
            client_time: None,
            code: None,
        };
        self.ads.record(beacon, self.clock.now()).await.unwrap()
    }
}

#[tokio::test]
async fn whatever_happens_counters_are_exact_and_limits_hold() {
    for seed in 0..6 {
        println!("seed {seed}");
        let mut s = Service::new(&catalog()).await;
        let mut rng = StdRng::seed_from_u64(seed);
        let mut ids: Vec<String> = Vec::new();
        for step in 0..120 {
            match rng.random_range(0..10) {
                0..4 => {
                    let question = Question {
                        break_id: Some(rng.random_range(0..3).to_string()),
                        download: rng.random_bool(0.5).then(|| rng.random_range(0..4).to_string()),
                        ads: rng.random_range(1..4),
                        ..Question::default()
                    };
                    let pod = s.decide(&question, rng.random()).await;
                    ids.extend(pod.into_iter().map(|d| d.ad_serving_id));
                }
                4 => s.clock.advance(rng.random_range(0..120)),
                _ if ids.is_empty() => {}
                _ => {
                    let event =
                        ["impression", "impression", "error", "notUsed", "start"][rng.random_range(0..5)];
                    let id = &ids[rng.random_range(0..ids.len())];
                    let basis = ["delivered", "played"][rng.random_range(0..2)];
                    assert_ne!(s.record(id, event, basis).await, Recorded::Unknown);
                }
            }
            check(&s.ads, &format!("seed {seed}, step {step}")).await;
        }
        assert!(ids.len() > 10, "seed {seed}: something was decided");
        let now = s.clock.now();
        let report = s.ads.db().report(&Filter::default(), now).await.unwrap();
        let billed: i64 = report.rows.iter().map(|r| r.counts.billed as i64).sum();
        assert_eq!(report.spend_micros["EUR"], Micros(billed * 10_000), "seed {seed}");
        // What was added up on the way is what the events say.
        let events: Vec<(String, String, i64)> =
            sqlx::query_as("SELECT event, basis, COUNT(*) FROM events GROUP BY 1, 2")
                .fetch_all(s.ads.db().pool())
                .await
                .unwrap();
        let mut totals = report.totals.clone();
        for (event, basis, n) in events {
            let counter = totals.event_mut(&event).unwrap();
            let counted = if basis == "delivered" {
                counter.delivered
            } else {
                counter.played
            };
            assert_eq!(counted as i64, n, "seed {seed}: {event} {basis}");
        }
        assert_eq!(report.totals.decisions, ids.len() as u64, "seed {seed}");
    }
}

#[tokio::test]
async fn a_viewer_gets_a_flight_as_often_as_it_may() {
    let mut catalog = catalog();
    catalog.flights[0].frequency = Some(Frequency { count: 2, millis: 50 });
    catalog.flights.truncate(1);
    catalog.creatives.truncate(1);
    let mut s = Service::new(&catalog).await;
    let viewer = |token: Option<&str>| Question {
        viewer: token.map(str::to_owned),
        ads: 1,
        ..Question::default()
    };
    for (token, filled) in [
        (Some("one"), 1),
        (Some("one"), 1),
        (Some("one"), 0),
        (Some("two"), 1),
        (None, 1),
    ] {
        assert_eq!(s.decide(&viewer(token), 1).await.len(), filled, "{token:?}");
    }
    // Another server reads it from the database.
    let (other, _task) = Ads::start(s.ads.db().clone(), Arc::clone(&s.clock) as Arc<dyn Clock>)
        .await
        .unwrap();
    let first = std::mem::replace(&mut s.ads, other);
    assert_eq!(s.decide(&viewer(Some("one")), 1).await.len(), 0);
    s.clock.advance(50);
    assert_eq!(s.decide(&viewer(Some("one")), 1).await.len(), 1);
    drop(first);
}

#[tokio::test]
async fn a_refused_draft_leaves_no_trace() {
    let mut s = Service::new(&catalog()).await;
    let question = Question {
        download: Some("x".to_owned()),
        ads: 3,
        ..Question::default()
    };
    // Behind the back of the server, as another one would, the money of one campaign is spent.
    sqlx::query("UPDATE campaigns SET spent = 70000 WHERE id = 'a'")
        .execute(s.ads.db().pool())
        .await
        .unwrap();
    let pod = s.decide(&question, 1).await;
    let mut flights: Vec<_> = pod.iter().map(|d| d.flight().id.clone()).collect();
    flights.sort();
    // Categories keep b1 and b2 apart.
    assert_eq!(flights.len(), 1, "{flights:?}");
    assert!(flights[0].starts_with('b'));
    let thought = s.ads.book.look(&Question::default(), |snapshot, c, _| {
        c.campaigns[snapshot.campaign("a").unwrap().0]
    });
    assert_eq!((thought.stored, thought.pending), (70_000, 0));
    let known = s.ads.book.look(&question, |_, _, h| h.download.len());
    assert_eq!(known, 1);
}
