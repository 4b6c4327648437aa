//! Two servers on one PostgreSQL, and 10,000 questions and beacons at once: nothing is oversold, the budget is used, and
//! every sum is exact.

mod common;
#[path = "common/postgres.rs"]
mod postgres;

use std::collections::HashSet;
use std::sync::Arc;

use ad_server_mock::clock::ManualClock;
use ad_server_mock::money::Micros;
use ad_server_mock::report::ByBasis;
use ad_server_mock::traffic::rate::Limits;
use ad_server_mock::{Config, Running, serve};
use common::{NOW, toml};
use postgres::Postgres;

async fn server(db: &Postgres, clock: &Arc<ManualClock>, load: &[std::path::PathBuf]) -> Running {
    serve(Config {
        clock: clock.clone(),
        load: load.to_vec(),
        rate: Limits::NONE,
        ..Config::new(db.url())
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_database_sell_all_of_it_and_no_more() {
    const QUESTIONS: usize = 10_000;
    /// Impressions that there is money for: fewer than are asked for.
    const PAID: u64 = 7_000;
    let db = Postgres::start();
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.mp3", "b.wav", "c.ogg"] {
        std::fs::write(dir.path().join(name), name.repeat(1000)).unwrap();
    }
    // 20 per thousand is 0.02 each: 80 pays for 4,000; caps of 2,000 and 1,000 beside it.
    let text = toml(&[("a", "a.mp3")], "budget = 80", "")
        + &toml(&[("b", "b.wav")], "", "cap = 2000")
        + &toml(&[("c", "c.ogg")], "", "cap = 1000");
    let file = dir.path().join("ads.toml");
    std::fs::write(&file, text).unwrap();
    let clock = Arc::new(ManualClock::new(NOW));
    let servers = [server(&db, &clock, &[file]).await, server(&db, &clock, &[]).await];

    let http = common::client();
    let room = Arc::new(tokio::sync::Semaphore::new(200));
    let mut viewers = tokio::task::JoinSet::new();
    for n in 0..QUESTIONS {
        // The answer may be reported to another server than the one that gave it.
        let bases = [servers[n % 2].url(), servers[(n / 2) % 2].url()];
        let (http, room) = (http.clone(), Arc::clone(&room));
        viewers.spawn(async move {
            let _turn = room.acquire().await.unwrap();
            let url = format!("{}/vast?break={}&ads=1", bases[0], n % 5);
            let answer = http.get(url).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            let (ads, _) = common::parse(&answer.text().await.unwrap());
            for ad in &ads {
                // Every tenth goes wrong and gives its money back; others play, some are reported twice.
                let events: &[(&str, &str)] = match n % 10 {
                    0 => &[("error", "delivered")],
                    1 => &[("impression", "delivered"), ("impression", "delivered")],
                    2 => &[("impression", "played"), ("impression", "delivered")],
                    _ => &[("impression", "delivered")],
                };
                for (event, basis) in events {
                    let url = ad.beacon(event, basis).replacen(&bases[0], &bases[1], 1);
                    assert_eq!(http.get(url).send().await.unwrap().status(), 204);
                }
            }
            (n, ads.into_iter().next().map(|ad| ad.serving_id))
        });
    }
    let answers = viewers.join_all().await;
    let ids: Vec<_> = answers.iter().filter_map(|(_, id)| id.clone()).collect();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());

    let report = servers[0].report().await.unwrap();
    assert_eq!(servers[1].report().await.unwrap(), report, "both see the same");
    let filled_where = |wanted: &dyn Fn(usize) -> bool| {
        answers
            .iter()
            .filter(|(n, id)| id.is_some() && wanted(n % 10))
            .count() as u64
    };
    let (errors, both) = (filled_where(&|n| n == 0), filled_where(&|n| n == 2));
    let totals = &report.totals;
    assert_eq!(report.requests.asked, QUESTIONS as u64);
    assert_eq!(
        (report.requests.filled, totals.decisions),
        (ids.len() as u64, ids.len() as u64)
    );
    assert_eq!(
        totals.errors,
        ByBasis {
            delivered: errors,
            played: 0
        }
    );
    assert_eq!(
        totals.impressions,
        ByBasis {
            delivered: ids.len() as u64 - errors,
            played: both
        }
    );
    let billed = ids.len() as u64 - errors;
    assert_eq!(totals.billed, billed);
    assert_eq!(report.spend_micros["USD"], Micros(billed as i64 * 20_000));
    assert_eq!((report.open_reservations, totals.late), (0, ByBasis::default()));
    for (creative, limit) in [("a", 4_000), ("b", 2_000), ("c", 1_000)] {
        let billed = common::row(&report, creative).counts.billed;
        println!("{creative}: {billed} of {limit}");
        assert!(billed <= limit, "{creative}: {billed} of {limit} is oversold");
    }
    println!("billed {billed} of {PAID}, errors {errors}");
    assert!(
        billed * 100 >= PAID * 99,
        "{billed} of {PAID} is less than 99 % of what there is money for"
    );
    for server in servers {
        server.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_gets_a_creative_once_whichever_server_it_asks() {
    let db = Postgres::start();
    let dir = tempfile::tempdir().unwrap();
    for name in ["a.mp3", "b.wav"] {
        std::fs::write(dir.path().join(name), name.repeat(1000)).unwrap();
    }
    let file = dir.path().join("ads.toml");
    std::fs::write(&file, toml(&[("a", "a.mp3"), ("b", "b.wav")], "", "")).unwrap();
    let clock = Arc::new(ManualClock::new(NOW));
    let servers = [server(&db, &clock, &[file]).await, server(&db, &clock, &[]).await];
    let http = common::client();
    let mut viewers = tokio::task::JoinSet::new();
    for download in 0..20 {
        for n in 0..8 {
            let (http, base) = (http.clone(), servers[n % 2].url());
            viewers.spawn(async move {
                let url = format!("{base}/vast?break={n}&ads=1&download=d{download}");
                let answer = http.get(url).send().await.unwrap().text().await.unwrap();
                let (ads, _) = common::parse(&answer);
                (download, ads.into_iter().next().map(|ad| ad.creative))
            });
        }
    }
    let mut heard: Vec<Vec<String>> = vec![Vec::new(); 20];
    for (download, creative) in viewers.join_all().await {
        heard[download].extend(creative);
    }
    for mut creatives in heard {
        creatives.sort();
        assert_eq!(creatives, ["a", "b"], "each once");
    }
    for server in servers {
        server.stop().await.unwrap();
    }
}
