//! The ad server over HTTP on a free port of the loopback address, with a clock that the tests move.

mod common;

use std::collections::HashSet;

use ad_server_mock::money::Micros;
use ad_server_mock::report::ByBasis;
use common::{Setup, fill, row, toml};
use sha2::{Digest as _, Sha256};

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_fetched_reported_counted_once_and_survives_a_restart() {
    let s = Setup::new(&toml(&[("a", "a.mp3")], "budget = 1", "cap = 10")).await;
    let (ads, errors) = s
        .vast("show=s&episode=e&break=1&max=30&ads=2&position=midroll")
        .await;
    assert_eq!(
        (ads.len(), errors.len()),
        (1, 0),
        "one creative fills one place of two"
    );
    let ad = &ads[0];
    assert_eq!((ad.creative.as_str(), ad.sequence.as_deref()), ("a", None));
    assert_eq!(
        (ad.media_type.as_str(), ad.duration.as_str()),
        ("audio/mpeg", "00:00:10.000")
    );

    let bytes = s.http.get(&ad.media).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(hex::encode(Sha256::digest(&bytes)), ad.sha256);
    assert_eq!(bytes, std::fs::read(s.dir.path().join("a.mp3")).unwrap());

    // Deciding is not billing.
    let report = s.report().await;
    assert_eq!(
        (
            report.totals.decisions,
            report.totals.billed,
            report.open_reservations
        ),
        (1, 0, 1)
    );

    for _ in 0..3 {
        assert_eq!(s.status(&ad.beacon("impression", "delivered")).await, 204);
        assert_eq!(s.status(&ad.beacon("error", "delivered")).await, 204);
    }
    let one = ByBasis {
        delivered: 1,
        played: 0,
    };
    let report = s.report().await;
    let counts = &row(&report, "a").counts;
    assert_eq!(
        (counts.impressions, counts.errors, counts.billed),
        (one, one, 1),
        "an error after it refunds nothing"
    );
    assert_eq!(
        (row(&report, "a").spend_micros, report.open_reservations),
        (Micros(20_000), 0)
    );
    assert_eq!(report.spend_micros["USD"], Micros(20_000));

    // Delivered, and later played: once in each column, billed once.
    let s = s.restart().await;
    let here = |url: String| url.replacen(&url[..url.find("/b/").unwrap()], &s.server.url(), 1);
    let played = [
        "impression",
        "start",
        "firstQuartile",
        "midpoint",
        "thirdQuartile",
        "complete",
        "click",
    ];
    for event in played.into_iter().chain(played) {
        assert_eq!(s.status(&here(ad.beacon(event, "played"))).await, 204, "{event}");
    }
    assert_eq!(s.status(&here(ad.beacon("impression", "delivered"))).await, 204);
    let report = s.report().await;
    let counts = &report.totals;
    assert_eq!(
        counts.impressions,
        ByBasis {
            delivered: 1,
            played: 1
        }
    );
    for played in [
        counts.start,
        counts.first_quartile,
        counts.midpoint,
        counts.third_quartile,
        counts.complete,
        counts.clicks,
    ] {
        assert_eq!(
            played,
            ByBasis {
                delivered: 0,
                played: 1
            }
        );
    }
    assert_eq!(
        (counts.decisions, counts.billed, report.spend_micros["USD"]),
        (1, 1, Micros(20_000))
    );
    assert_eq!((report.requests.asked, report.requests.filled), (1, 1));
    assert!(report.invalid_traffic.is_empty());
    s.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_beacon_of_ours_is_refused_and_counted_apart() {
    let s = Setup::new(&toml(&[("a", "a.mp3")], "", "")).await;
    let (ads, _) = s.vast("break=1").await;
    let (_, raw) = ads[0].beacons.iter().find(|(e, _)| e == "impression").unwrap();
    let good = fill(raw, "played");
    let refused = [
        (good.replace("/b/impression/", "/b/complete/"), 403),
        (good.replace("&s=", "&s=0"), 403),
        (good.replace("&c=a", "&c=b"), 403),
        (good.replace("&f=a", ""), 403),
        (good.replace("basis=played", "basis=listened"), 400),
        (good.replace("basis=played&", ""), 400),
        (fill(raw, "%5BGROVE%5D"), 400),
    ];
    for (url, status) in &refused {
        assert_ne!(url, &good);
        assert_eq!(s.status(url).await, *status, "{url}");
    }
    // Neither deciding nor reporting happens for HEAD.
    assert_eq!(s.http.head(&good).send().await.unwrap().status(), 405);
    assert_eq!(
        s.http
            .head(format!("{}/vast", s.server.url()))
            .send()
            .await
            .unwrap()
            .status(),
        405
    );
    let report = s.report().await;
    assert_eq!(report.totals.impressions, ByBasis::default());
    assert_eq!(
        (
            report.invalid_traffic["signature"],
            report.invalid_traffic["basis"]
        ),
        (4, 3)
    );
    assert_eq!((report.totals.decisions, report.totals.billed), (1, 0));
    assert_eq!(s.status(&format!("{}/vast?ads=99", s.server.url())).await, 400);
    s.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_player_that_does_not_know_our_macro_reports_what_it_plays() {
    let s = Setup::new(&toml(&[("a", "a.mp3")], "", "")).await;
    let (ads, _) = s.vast("break=1").await;
    for event in ["impression", "start", "complete"] {
        let (_, raw) = ads[0].beacons.iter().find(|(e, _)| e == event).unwrap();
        // As it is written, not escaped, or with VAST's word for what is not known.
        for url in [raw.clone(), fill(raw, "[GROVE_BASIS]"), fill(raw, "-1")] {
            assert_eq!(s.status(&url).await, 204, "{url}");
        }
    }
    let report = s.report().await;
    let once = ByBasis {
        delivered: 0,
        played: 1,
    };
    let counts = &report.totals;
    assert_eq!(
        [counts.impressions, counts.start, counts.complete],
        [once, once, once]
    );
    assert_eq!((counts.billed, report.invalid_traffic.len()), (1, 0));
    s.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_eligible_gives_an_empty_answer_whose_error_is_counted() {
    let s = Setup::new(&toml(&[("a", "a.mp3")], "", "")).await;
    let (ads, errors) = s.vast("break=1&max=9.999").await;
    assert_eq!((ads.len(), errors.len()), (0, 1));
    for _ in 0..2 {
        assert_eq!(s.status(&fill(&errors[0], "")).await, 204);
    }
    assert_eq!(s.status(&fill(&errors[0], "").replace("&s=", "&s=0")).await, 403);
    let requests = s.report().await.requests;
    assert_eq!(
        (requests.asked, requests.filled, requests.no_ad_reported),
        (1, 0, 1)
    );
    s.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_of_the_same_break_get_different_creatives() {
    let creatives = [("a", "a.mp3"), ("b", "b.wav"), ("c", "c.ogg")];
    let s = Setup::new(&toml(
        &creatives,
        "",
        "start = 2026-01-01\nend = 2026-12-31\ngoal = 1000",
    ))
    .await;
    let mut breaks: [Vec<String>; 3] = Default::default();
    for viewer in 0..6 {
        let mut heard = HashSet::new();
        for (n, at) in breaks.iter_mut().enumerate() {
            let query = format!("show=s&episode=e&break={n}&max=15&ads=1&download=viewer{viewer}");
            let (ads, _) = s.vast(&query).await;
            assert!(
                heard.insert(ads[0].creative.clone()),
                "viewer {viewer} hears {} twice",
                ads[0].creative
            );
            at.push(ads[0].creative.clone());
        }
        // There is nothing left that this download does not have.
        assert_eq!(
            s.vast(&format!("break=9&download=viewer{viewer}")).await.0.len(),
            0
        );
    }
    // Without saying which download it is for, consecutive viewers of the first break differ too.
    assert!(breaks[0].windows(2).all(|w| w[0] != w[1]), "{breaks:?}");
    let mut last = String::new();
    for _ in 0..9 {
        let (ads, _) = s.vast("show=s&episode=other&break=1").await;
        assert_ne!(ads[0].creative, last);
        last.clone_from(&ads[0].creative);
    }
    let report = s.report().await;
    assert!(
        report.rows.iter().all(|r| r.counts.decisions == 9),
        "{:?}",
        report.to_table()
    );
    s.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_at_once_never_exceed_budget_or_cap_and_use_all_of_it() {
    // 20 per thousand is 0.02 each: 0.75 pays for 37. The cap of the second is 41.
    let text = toml(&[("a", "a.mp3")], "budget = 0.75", "") + &toml(&[("b", "b.wav")], "", "cap = 41");
    let s = Setup::new(&text).await;
    let mut viewers = tokio::task::JoinSet::new();
    for viewer in 0..200 {
        let (http, base) = (s.http.clone(), s.server.url());
        viewers.spawn(async move {
            let url = format!("{base}/vast?break={}&ads=2", viewer % 3);
            let answer = http.get(url).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            let (ads, _) = common::parse(&answer.text().await.unwrap());
            for ad in &ads {
                for basis in ["delivered", "played", "delivered"] {
                    let status = http
                        .get(ad.beacon("impression", basis))
                        .send()
                        .await
                        .unwrap()
                        .status();
                    assert_eq!(status, 204);
                }
            }
            ads.into_iter().map(|ad| ad.serving_id).collect::<Vec<_>>()
        });
    }
    let ids: Vec<_> = viewers.join_all().await.concat();
    assert_eq!(
        ids.iter().collect::<HashSet<_>>().len(),
        ids.len(),
        "every AdServingId is unique"
    );
    let report = s.report().await;
    let both = |n| ByBasis {
        delivered: n,
        played: n,
    };
    for (id, n) in [("a", 37), ("b", 41)] {
        let counts = &row(&report, id).counts;
        assert_eq!(
            (counts.decisions, counts.impressions, counts.billed),
            (n, both(n), n),
            "{id}"
        );
    }
    assert_eq!(report.spend_micros["USD"], Micros(78 * 20_000));
    assert_eq!(
        (ids.len(), report.requests.asked, report.open_reservations),
        (78, 200, 0)
    );
    s.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reservation_lapses_is_released_and_a_late_impression_is_billed_only_if_budget_is_free() {
    // Budget for one impression.
    let s = Setup::new(&toml(&[("a", "a.mp3")], "budget = 0.02", "")).await;
    let first = s.vast("break=1").await.0.remove(0);
    assert_eq!(s.vast("break=1").await.0.len(), 0, "it is reserved");
    // An hour to play it and ten minutes for the beacon.
    s.clock.advance(4_200_000 - 1);
    assert_eq!(s.vast("break=1").await.0.len(), 0, "it is reserved still");
    s.clock.advance(1);
    let second = s.vast("break=1").await.0.remove(0);
    // The first comes late while the second holds the budget: stored, marked, not billed.
    assert_eq!(s.status(&first.beacon("impression", "delivered")).await, 204);
    let report = s.report().await;
    let late = ByBasis {
        delivered: 1,
        played: 0,
    };
    assert_eq!(
        (
            report.totals.impressions,
            report.totals.late,
            report.totals.billed
        ),
        (late, late, 0)
    );
    // The second fails: its budget is free at once, and the first, seen playing now, is billed.
    assert_eq!(s.status(&second.beacon("error", "delivered")).await, 204);
    assert_eq!(s.report().await.open_reservations, 0);
    assert_eq!(s.status(&first.beacon("impression", "played")).await, 204);
    let report = s.report().await;
    assert_eq!(
        (report.totals.late, report.totals.billed),
        (
            ByBasis {
                delivered: 1,
                played: 1
            },
            1
        )
    );
    // The second did play after all: the budget is gone.
    assert_eq!(s.status(&second.beacon("impression", "played")).await, 204);
    let report = s.report().await;
    assert_eq!(
        (report.totals.impressions, report.totals.billed),
        (
            ByBasis {
                delivered: 1,
                played: 2
            },
            1
        )
    );
    assert_eq!(
        (s.vast("break=1").await.0.len(), report.spend_micros["USD"]),
        (0, Micros(20_000))
    );
    s.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ad_that_was_not_used_gives_its_budget_back() {
    let s = Setup::new(&toml(&[("a", "a.mp3")], "budget = 0.02", "")).await;
    for _ in 0..3 {
        let ad = s.vast("break=1").await.0.remove(0);
        assert_eq!(s.vast("break=1").await.0.len(), 0);
        for _ in 0..2 {
            assert_eq!(s.status(&ad.beacon("notUsed", "delivered")).await, 204);
        }
    }
    let report = s.report().await;
    assert_eq!((report.totals.not_used.delivered, report.totals.billed), (3, 0));
    s.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn creatives_are_served_by_ranges_and_only_as_they_were_hashed() {
    let s = Setup::new(&toml(&[("a", "a.mp3"), ("b", "b.wav")], "", "")).await;
    let (ads, _) = s.vast("break=1&ads=2").await;
    assert_eq!(
        ads.iter()
            .map(|a| a.sequence.as_deref().unwrap())
            .collect::<Vec<_>>(),
        ["1", "2"]
    );
    let ad = ads.iter().find(|a| a.creative == "b").unwrap();
    let whole = std::fs::read(s.dir.path().join("b.wav")).unwrap();
    let answer = s
        .http
        .get(&ad.media)
        .header("Range", "bytes=1000-1999")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 206);
    let header = |name| answer.headers()[name].to_str().unwrap();
    assert_eq!(
        header("content-range"),
        format!("bytes 1000-1999/{}", whole.len())
    );
    assert_eq!(header("content-type"), "audio/wav");
    assert_eq!(header("cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(answer.bytes().await.unwrap(), whole[1000..2000]);
    let head = s.http.head(&ad.media).send().await.unwrap();
    assert_eq!(
        (
            head.status().as_u16(),
            head.headers()["content-length"].to_str().unwrap()
        ),
        (200, "90000")
    );
    // Only what is registered, whatever the path.
    for path in ["0000", "../ads.toml", "..%2Fads.toml", "%2Fetc%2Fpasswd"] {
        assert_eq!(
            s.status(&format!("{}/creatives/{path}", s.server.url())).await,
            404,
            "{path}"
        );
    }
    // Other bytes under the same name are not what was decided.
    std::fs::write(s.dir.path().join("b.wav"), b"something else").unwrap();
    assert_eq!(s.status(&ad.media).await, 404);
    s.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn loading_again_changes_what_is_declared_and_keeps_what_was_counted() {
    let s = Setup::new(&toml(&[("a", "a.mp3")], "budget = 0.04", "")).await;
    let ad = s.vast("break=1").await.0.remove(0);
    assert_eq!(s.status(&ad.beacon("impression", "played")).await, 204);
    // Twice the price, and a budget that the first impression has almost used up.
    let text = toml(&[("a", "b.wav")], "budget = 0.05", "").replace("thousand = 20", "thousand = 40");
    common::write(&s.dir.path().join("ads.toml"), &text);
    let s = s.restart().await;
    assert_eq!(
        s.vast("break=1").await.0.len(),
        0,
        "0.02 spent and 0.04 more is over 0.05"
    );
    common::write(&s.dir.path().join("ads.toml"), &text.replace("0.05", "0.06"));
    let s = s.restart().await;
    let ad = s.vast("break=1").await.0.remove(0);
    assert_eq!(ad.media_type, "audio/wav");
    assert_eq!(s.status(&ad.beacon("impression", "played")).await, 204);
    let report = s.report().await;
    assert_eq!(
        (report.rows.len(), report.rows[0].spend_micros),
        (1, Micros(60_000))
    );
    s.server.stop().await.unwrap();
}
