//! The API: who may do what, uploads that are decoded first, wrappers, several versions, and proofs of play.

mod common;

use std::time::Duration;

use ad_server_mock::report::ByBasis;
use ad_server_mock::store::tokens::Role;
use ad_splicer::beacons::UnixMillis;
use ad_splicer::proof::{Chain, Part, ViewerSecret};
use common::{NOW, Setup, fill, toml};
use engine::metainfo::{Builder, Metainfo};
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// A request with a token; the status and the JSON that came (null when it is none).
async fn call(s: &Setup, token: &str, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
    let url = format!("{}{path}", s.server.url());
    let mut request = s.http.request(method.parse().unwrap(), url);
    if !token.is_empty() {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string());
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// A form with a file, as a browser sends it.
fn form(fields: &[(&str, &str)], file: (&str, &[u8])) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(
            format!("--grove\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes(),
        );
    }
    body.extend(
        format!(
            "--grove\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{}\"\r\n\
             Content-Type: application/octet-stream\r\n\r\n",
            file.0
        )
        .bytes(),
    );
    body.extend(file.1);
    body.extend(b"\r\n--grove--\r\n");
    ("multipart/form-data; boundary=grove".to_owned(), body)
}

async fn upload(
    s: &Setup,
    token: &str,
    flight: &str,
    fields: &[(&str, &str)],
    file: (&str, &[u8]),
) -> (u16, String) {
    let (kind, body) = form(fields, file);
    let url = format!("{}/api/v1/flights/{flight}/creatives", s.server.url());
    let request = s
        .http
        .post(url)
        .bearer_auth(token)
        .header(CONTENT_TYPE, kind)
        .body(body);
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_see_and_change_their_own_only() {
    let s = Setup::new(&toml(&[("a", "a.mp3"), ("b", "b.wav")], "", "")).await;
    s.token("of a", Role::Advertiser, Some("a")).await;
    s.token("of p", Role::Publisher, Some("p")).await;
    s.token("reads", Role::Reader, None).await;
    let admin = s.token.clone();
    let publisher = json!({"name": "Harbour Media", "share": 70.5});
    assert_eq!(
        call(&s, &admin, "PUT", "/api/v1/publishers/p", Some(&publisher))
            .await
            .0,
        204
    );
    assert_eq!(
        call(&s, &admin, "PUT", "/api/v1/publishers/q", Some(&publisher))
            .await
            .0,
        204
    );
    let show = |publisher: &str| json!({"publisher": publisher, "title": "The Harbour", "blocked": ["IAB7"]});
    let campaign = |advertiser: &str| json!({"advertiser": advertiser, "name": "New", "budget": 12.5});
    let flight = |campaign: &str| json!({"campaign": campaign, "name": "New", "price_per_thousand": 20});
    // (token, method, path, body, status)
    let table = [
        ("", "GET", "/api/v1/me", None, 401),
        ("nobody's", "GET", "/api/v1/me", None, 401),
        ("of a", "GET", "/api/v1/me", None, 200),
        ("of a", "GET", "/api/v1/openapi.json", None, 200),
        ("", "GET", "/api/v1/openapi.json", None, 401),
        ("of p", "PUT", "/api/v1/shows/harbour", Some(show("p")), 204),
        ("of p", "PUT", "/api/v1/shows/other", Some(show("q")), 403),
        ("of a", "PUT", "/api/v1/shows/harbour", Some(show("p")), 403),
        (
            "of p",
            "PUT",
            "/api/v1/publishers/p",
            Some(publisher.clone()),
            403,
        ),
        ("of a", "PUT", "/api/v1/campaigns/new", Some(campaign("a")), 204),
        ("of a", "PUT", "/api/v1/campaigns/b", Some(campaign("a")), 403),
        ("of a", "PUT", "/api/v1/campaigns/new2", Some(campaign("b")), 403),
        ("reads", "PUT", "/api/v1/campaigns/new", Some(campaign("a")), 403),
        ("of a", "PUT", "/api/v1/flights/new", Some(flight("new")), 204),
        ("of a", "PUT", "/api/v1/flights/new", Some(flight("b")), 403),
        ("of a", "PUT", "/api/v1/flights/b", Some(flight("new")), 403),
        ("of a", "PUT", "/api/v1/flights/x", Some(flight("none")), 404),
        (
            "of a",
            "PUT",
            "/api/v1/creatives/b",
            Some(json!({"title": "Mine"})),
            403,
        ),
        (
            "of a",
            "PUT",
            "/api/v1/creatives/a",
            Some(json!({"title": "Mine"})),
            204,
        ),
        ("of a", "GET", "/api/v1/tokens", None, 403),
        ("of a", "GET", "/api/v1/listeners", None, 400),
        ("of p", "GET", "/api/v1/listeners?window=first_touch", None, 200),
        ("reads", "GET", "/api/v1/report?from=2026-13-01", None, 400),
        ("reads", "GET", "/api/v1/explain?ads=1", None, 200),
        ("of p", "GET", "/api/v1/explain?ads=1", None, 400),
    ];
    for (token, method, path, body, status) in table {
        let (got, said) = call(&s, token, method, path, body.as_ref()).await;
        assert_eq!(got, status, "{token:?} {method} {path}: {said}");
    }
    let (_, seen) = call(&s, "of a", "GET", "/api/v1/campaigns", None).await;
    let ids: Vec<_> = seen
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["a", "new"]);
    // An advertiser's report is about its own; a publisher's about its shows.
    s.vast("show=harbour&break=1&ads=2").await;
    let (_, report) = call(&s, "of a", "GET", "/api/v1/report", None).await;
    let creatives: Vec<_> = report["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["creative"])
        .collect();
    assert_eq!(creatives, ["a"]);
    assert_eq!(report["totals"]["decisions"], 1);
    let (_, report) = call(&s, "of p", "GET", "/api/v1/report", None).await;
    assert_eq!(
        (&report["requests"]["asked"], &report["totals"]["decisions"]),
        (&json!(1), &json!(2))
    );
    // A token that was made works until it is revoked.
    let new = json!({"name": "Ann", "role": "reader"});
    let (status, made) = call(&s, &admin, "POST", "/api/v1/tokens", Some(&new)).await;
    let token = made["token"].as_str().unwrap();
    assert_eq!(
        (
            status,
            call(&s, token, "GET", "/api/v1/me", None).await.1["name"].as_str()
        ),
        (201, Some("Ann"))
    );
    let (_, all) = call(&s, &admin, "GET", "/api/v1/tokens", None).await;
    assert!(!all.to_string().contains(token), "it is not shown again");
    let id = all
        .as_array()
        .unwrap()
        .iter()
        .find(|t| t["name"] == "Ann")
        .unwrap()["id"]
        .as_str()
        .unwrap();
    assert_eq!(
        call(&s, &admin, "DELETE", &format!("/api/v1/tokens/{id}"), None)
            .await
            .0,
        204
    );
    assert_eq!(call(&s, token, "GET", "/api/v1/me", None).await.0, 401);
    s.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_decoded_hashed_and_measured_and_nothing_else_is_taken() {
    let s = Setup::new(&toml(&[("a", "a.mp3")], "", "")).await;
    s.token("of b", Role::Advertiser, Some("b")).await;
    let bytes = common::wav(3);
    let admin = s.token.clone();
    let (status, said) = upload(&s, "of b", "a", &[], ("sine.wav", &bytes)).await;
    assert_eq!(status, 403, "{said}");
    let garbage: Vec<u8> = (0..50_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    for (name, bytes, status) in [
        ("noise.mp3", &garbage[..], 422),
        ("noise.wav", &garbage[..], 422),
        ("sine.exe", &bytes[..], 422),
        ("empty.wav", &[][..], 422),
    ] {
        let (got, said) = upload(&s, &admin, "a", &[], (name, bytes)).await;
        assert_eq!(got, status, "{name}: {said}");
    }
    let fields = [
        ("id", "sine"),
        ("title", "A <b>sine</b>"),
        ("weight", "3"),
        ("click_through", "https://sine.example/?a=1&b=2"),
    ];
    let (status, said) = upload(&s, &admin, "a", &fields, ("sine.wav", &bytes)).await;
    assert_eq!(status, 201, "{said}");
    let creative: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(creative["sha256"], hex::encode(Sha256::digest(&bytes)));
    assert_eq!(
        (&creative["duration"], &creative["media_type"]),
        (&json!(3.0), &json!("audio/wav"))
    );
    // A sine at a quarter of full scale: its mean square is 1/32, −15.05 dB, and −0.691 + K-weighting (about 0 at 440 Hz)
    // for two equal channels makes that −12.7 LUFS.
    let (loudness, peak) = (
        creative["loudness_lufs"].as_f64().unwrap(),
        creative["true_peak_dbtp"].as_f64().unwrap(),
    );
    assert!((-13.5..-12.0).contains(&loudness), "{loudness}");
    assert!((-12.3..-11.8).contains(&peak), "{peak}");
    // It is decided, and served as it was sent.
    let (ads, _) = s.vast("break=1&max=4").await;
    assert_eq!(ads[0].creative, "sine");
    assert_eq!(
        s.http
            .get(&ads[0].media)
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap(),
        bytes
    );
    // It is in the swarm: its metainfo is of these bytes, and says where to get them and who else may have them.
    let media = format!(
        "{}/creatives/{}",
        s.server.url(),
        creative["sha256"].as_str().unwrap()
    );
    let torrent = s.http.get(format!("{media}.torrent")).send().await.unwrap();
    assert_eq!(torrent.headers()[CONTENT_TYPE], "application/x-bittorrent");
    let metainfo = Metainfo::parse(&torrent.bytes().await.unwrap()).unwrap();
    let again = Builder::new(metainfo.name()).hash(&bytes[..], bytes.len() as u64, |_| {});
    assert_eq!(again.unwrap().info_bytes(), metainfo.info_bytes());
    assert_eq!(creative["info_hash"], metainfo.info_hash_v2().to_string());
    assert_eq!(metainfo.web_seeds(), std::slice::from_ref(&media));
    assert_eq!(metainfo.trackers(), [[common::TRACKER]]);
    // Decisions lead to it, in each form that can say so.
    let answer = |path: &str| s.http.get(format!("{}{path}", s.server.url())).send();
    let text = answer("/vast?break=2&max=4").await.unwrap().text().await.unwrap();
    assert!(
        text.contains(&format!("<CreativeTorrent><![CDATA[{media}.torrent]]>")),
        "{text}"
    );
    let decision: Value = answer("/decision?break=3&max=4")
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let file = &decision["ads"][0]["media_file"];
    assert_eq!(
        (&file["torrent"], &file["info_hash"], &file["sha256"]),
        (
            &json!(format!("{media}.torrent")),
            &creative["info_hash"],
            &creative["sha256"]
        )
    );
    // What was not uploaded is not in the swarm.
    let other = format!("{}/creatives/{}.torrent", s.server.url(), "0".repeat(64));
    assert_eq!(s.status(&other).await, 404);
    s.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_decision_in_three_versions_as_breaks_and_as_json() {
    let s = Setup::new(&toml(&[("a", "a.mp3"), ("b", "b.wav"), ("c", "c.ogg")], "", "")).await;
    let tag = json!({"tag": "https://other.example/vast?cb=[CACHEBUSTING]", "duration": 10});
    let admin = s.token.clone();
    assert_eq!(
        call(&s, &admin, "PUT", "/api/v1/flights/a/tags/elsewhere", Some(&tag))
            .await
            .0,
        204
    );
    let get = async |path: &str| {
        let answer = s
            .http
            .get(format!("{}{path}", s.server.url()))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.unwrap()
    };
    for version in ["2.0", "3.0", "4.2"] {
        let xml = get(&format!("/vast?ads=3&vast={version}")).await;
        assert!(xml.contains(&format!("<VAST version=\"{version}\"")), "{xml}");
        assert_eq!(xml.matches("<Ad ").count(), 3, "{xml}");
    }
    // Sooner or later the flight with a tag takes its turn with it.
    let mut wrapped = String::new();
    for n in 0..20 {
        wrapped = get(&format!("/vast?ads=3&break=w{n}")).await;
        if wrapped.contains("<Wrapper>") {
            break;
        }
    }
    assert!(
        wrapped.contains(
            "<VASTAdTagURI><![CDATA[https://other.example/vast?cb=[CACHEBUSTING]]]></VASTAdTagURI>"
        ),
        "{wrapped}"
    );
    let vmap =
        get("/vmap?show=s&episode=e&breaks=start,0:10:00,end&max=30&ads=2&download=[GROVE_DOWNLOAD]").await;
    assert_eq!(vmap.matches("<vmap:AdTagURI").count(), 3, "{vmap}");
    assert!(vmap.contains("&position=midroll&"), "{vmap}");
    assert!(
        vmap.contains("download=[GROVE_DOWNLOAD]"),
        "a macro stays one: {vmap}"
    );
    let inline = get("/vmap?breaks=start,end&ads=1&inline=1&download=d").await;
    assert_eq!(inline.matches("<Ad ").count(), 2, "{inline}");
    let decision: Value = serde_json::from_str(&get("/decision?ads=1&type=audio").await).unwrap();
    assert_eq!(decision["ads"].as_array().unwrap().len(), 1);
    assert_eq!(
        s.status(&format!("{}/vmap?breaks=never", s.server.url())).await,
        400
    );
    assert_eq!(s.status(&format!("{}/vast?vast=9", s.server.url())).await, 400);
    s.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bots_get_no_ads_and_their_reports_do_not_count() {
    let s = Setup::new(&toml(&[("a", "a.mp3")], "", "")).await;
    let bot = |url: String| s.http.get(url).header("User-Agent", "ExampleBot/2.0").send();
    let answer = bot(format!("{}/vast?ads=1", s.server.url())).await.unwrap();
    assert_eq!(common::parse(&answer.text().await.unwrap()).0.len(), 0);
    let ad = s.vast("ads=1").await.0.remove(0);
    let answer = bot(ad.beacon("impression", "played")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let report = s.report().await;
    assert_eq!((report.requests.asked, report.requests.filled), (2, 1));
    assert_eq!(report.totals.impressions, ByBasis::default());
    assert_eq!(report.invalid_traffic["bot"], 2);
    s.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_is_paid_its_share_and_days_and_shows_add_up() {
    let publisher =
        "[[publisher]]\nid = \"p\"\nname = \"P\"\nshare = 70\n[[publisher.show]]\nid = \"harbour\"\n";
    let s = Setup::new(&(toml(&[("a", "a.mp3")], "", "") + publisher)).await;
    for (n, show) in ["harbour", "harbour", "elsewhere"].into_iter().enumerate() {
        let ad = s.vast(&format!("show={show}&break={n}")).await.0.remove(0);
        for event in ["impression", "complete"] {
            assert_eq!(s.status(&ad.beacon(event, "played")).await, 204);
        }
        if n == 1 {
            s.clock.advance(86_400_000);
        }
    }
    let error = s.vast("show=harbour&break=9").await.0.remove(0);
    assert_eq!(s.status(&error.beacon("error", "played")).await, 204);
    let report = s.report().await;
    // 20 per thousand is 0.02 each.
    assert_eq!(report.spend_micros["USD"].0, 3 * 20_000);
    assert_eq!(report.payout_micros["USD"].0, 2 * 14_000);
    assert_eq!(report.errors_by_code["405"], 1);
    let days: Vec<_> = report
        .days
        .iter()
        .map(|d| {
            (
                d.key.as_str(),
                d.requests.asked,
                d.counts.impressions.played,
                d.spend_micros["USD"].0,
            )
        })
        .collect();
    assert_eq!(days, [("2026-06-15", 2, 2, 40_000), ("2026-06-16", 2, 1, 20_000)]);
    let shows: Vec<_> = report
        .shows
        .iter()
        .map(|x| (x.key.as_str(), x.counts.complete.played))
        .collect();
    assert_eq!(shows, [("elsewhere", 1), ("harbour", 2)]);
    let url = format!(
        "{}/api/v1/report?format=csv&by=day&from=2026-06-16",
        s.server.url()
    );
    let csv = s
        .http
        .get(url)
        .bearer_auth(&s.token)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert_eq!(csv.lines().count(), 2, "{csv}");
    assert!(
        csv.lines().nth(1).unwrap().starts_with("2026-06-16,2,2,0,2,0,1,"),
        "{csv}"
    );
    s.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn impressions_are_told_apart_by_proof_and_false_accounts_are_named() {
    let s = Setup::new(&toml(&[("a", "a.mp3"), ("b", "b.wav")], "", "")).await;
    let nonce = [7; 16];
    let key = ViewerSecret::from_bytes([1; 32]).for_playback(&nonce);
    let foreign = ViewerSecret::from_bytes([2; 32]).for_playback(&nonce);
    let url = format!("/decision?ads=2&key={}", hex::encode(key.public()));
    let (_, decision) = call(&s, "", "GET", &url, None).await;
    let ads = decision["ads"].as_array().unwrap();
    let id = |n: usize| ads[n]["ad_serving_id"].as_str().unwrap();
    let sha256 = |n: usize| -> [u8; 32] {
        hex::decode(ads[n]["media_file"]["sha256"].as_str().unwrap())
            .unwrap()
            .try_into()
            .unwrap()
    };
    let open = |key, nonce| Chain::open(key, nonce, [3; 32], [4; 32]);
    let mut chain = open(key, nonce);
    let part = |n: usize, at: i64| Part {
        ad: id(n).to_owned(),
        creative: sha256(n),
        from: Duration::ZERO,
        to: Duration::from_secs(10),
        began: UnixMillis((NOW + at) as u64),
        ended: UnixMillis((NOW + at + 10_000) as u64),
        rate: 1000,
        volume: 1000,
    };
    chain.add(part(0, 0), [1; 16]).unwrap();
    let account = chain.account();
    let post = async |n: usize, body: &Value| {
        let url = ads[n]["proof"].as_str().unwrap();
        let request = s
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_string());
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let whole = serde_json::to_value(&account).unwrap();
    let mut edited = whole.clone();
    edited["records"][0]["volume"] = json!(1);
    let mut dropped = whole.clone();
    dropped["records"] = json!([]);
    let mut other = open(foreign, nonce);
    other.add(part(0, 0), [9; 16]).unwrap();
    for (body, name) in [
        (edited, "edited"),
        (dropped, "dropped"),
        (serde_json::to_value(other.account()).unwrap(), "foreign_key"),
    ] {
        let (status, said) = post(0, &body).await;
        assert_eq!(status, 422, "{name}: {said}");
        assert!(said.contains(name), "{name}: {said}");
    }
    assert_eq!(post(0, &json!({"version": 1})).await.0, 400);
    // The proof comes before one impression, and the other impression comes without.
    assert_eq!(post(0, &whole).await.0, 204);
    assert_eq!(post(0, &whole).await.0, 204, "sent again, counted once");
    for ad in ads {
        let url = fill(ad["impressions"][0].as_str().unwrap(), "played");
        assert_eq!(s.status(&url).await, 204);
        assert_eq!(s.status(&url).await, 204);
    }
    let report = s.report().await;
    let played = |n| ByBasis {
        delivered: 0,
        played: n,
    };
    assert_eq!(
        (report.totals.impressions, report.totals.proved),
        (played(2), played(1))
    );
    // The account goes on, and proves the other one too.
    chain.add(part(1, 10_000), [2; 16]).unwrap();
    let longer = serde_json::to_value(chain.account()).unwrap();
    assert_eq!(post(1, &longer).await.0, 204);
    assert_eq!(s.report().await.totals.proved, played(2));
    // The same record in another account of the same key is told twice.
    let again = [8; 16];
    let mut replay = open(ViewerSecret::from_bytes([1; 32]).for_playback(&nonce), again);
    replay.add(part(1, 10_000), [2; 16]).unwrap();
    let (status, said) = post(1, &serde_json::to_value(replay.account()).unwrap()).await;
    assert_eq!((status, said.contains("replayed")), (422, true), "{said}");
    let report = s.report().await;
    for name in ["edited", "dropped", "foreign_key", "replayed"] {
        assert_eq!(report.invalid_traffic[&format!("proof_{name}")], 1, "{name}");
    }
    s.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_archived_is_not_decided_until_it_is_restored_and_its_reports_stay() {
    let s = Setup::new(&toml(&[("a", "a.mp3")], "", "")).await;
    s.token("of b", Role::Advertiser, Some("b")).await;
    let ad = s.vast("ads=1").await.0.remove(0);
    let admin = s.token.clone();
    for kind in ["campaigns", "flights", "creatives"] {
        let path = format!("/api/v1/{kind}/a/archived");
        assert_eq!(call(&s, "of b", "PUT", &path, None).await.0, 403, "not another's");
        assert_eq!(call(&s, &admin, "PUT", &path, None).await.0, 204);
        let listed = call(&s, &admin, "GET", &format!("/api/v1/{kind}"), None).await.1;
        assert_eq!(listed[0]["archived"], true, "{listed}");
        assert_eq!(s.vast("ads=1").await.0.len(), 0, "{kind}");
        let why = call(&s, &admin, "GET", "/api/v1/explain?ads=1", None).await.1;
        assert_eq!(why["others"][0]["why"], "not_active", "{kind}");
        assert_eq!(call(&s, &admin, "DELETE", &path, None).await.0, 204);
        assert_eq!(s.vast("ads=1").await.0.len(), 1, "{kind}");
    }
    assert_eq!(
        call(&s, &admin, "PUT", "/api/v1/flights/none/archived", None)
            .await
            .0,
        404
    );
    // What was decided before may be reported, a change of the flight does not restore it, nor does another start.
    assert_eq!(
        call(&s, &admin, "PUT", "/api/v1/flights/a/archived", None)
            .await
            .0,
        204
    );
    assert_eq!(s.status(&ad.beacon("impression", "played")).await, 204);
    let body = json!({"campaign": "a", "name": "again", "price_per_thousand": 20});
    assert_eq!(
        call(&s, &admin, "PUT", "/api/v1/flights/a", Some(&body)).await.0,
        204
    );
    let s = s.restart().await;
    assert_eq!(s.vast("ads=1").await.0.len(), 0);
    assert_eq!(s.report().await.totals.billed, 1);
    // A word about whether it may be skipped is taken back by null.
    for (said, skip) in [
        (json!({"skip_after": 5}), json!(5.0)),
        (json!({}), json!(5.0)),
        (json!({"skip_after": null}), Value::Null),
    ] {
        assert_eq!(
            call(&s, &admin, "PUT", "/api/v1/creatives/a", Some(&said))
                .await
                .0,
            204
        );
        let listed = call(&s, &admin, "GET", "/api/v1/creatives", None).await.1;
        assert_eq!(listed[0]["skip_after"], skip, "{said}");
    }
    s.server.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn flights_take_days_and_what_is_not_understood_is_bad_input() {
    const JUNE_1: i64 = 1_780_272_000_000;
    const DAY: i64 = 86_400_000;
    let s = Setup::new(&toml(&[("a", "a.mp3")], "", "")).await;
    let admin = s.token.clone();
    let put = |body: String| {
        let url = format!("{}/api/v1/flights/june", s.server.url());
        // Without a type, as `curl -d` has none of JSON.
        let request = s.http.put(url).bearer_auth(&admin).body(body);
        async move {
            let answer = request.send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap())
        }
    };
    let flight =
        |when: &str| format!(r#"{{"campaign": "a", "name": "June", "price_per_thousand": 20{when}}}"#);
    let days = put(flight(r#", "starts": "2026-06-01", "ends": "2026-06-30""#)).await;
    assert_eq!(days.0, 204, "{}", days.1);
    let (_, flights) = call(&s, &admin, "GET", "/api/v1/flights", None).await;
    let flights = flights.as_array().unwrap();
    let june = flights.iter().find(|f| f["id"] == "june").unwrap();
    // The last day is included, and both days begin at midnight UTC.
    assert_eq!(
        (&june["starts"], &june["ends"]),
        (&json!(JUNE_1), &json!(JUNE_1 + 30 * DAY))
    );
    let instants = put(flight(&format!(r#", "starts": {JUNE_1}, "ends": null"#))).await;
    assert_eq!(instants.0, 204, "{}", instants.1);
    for (body, said) in [
        (flight(r#", "starts": "June""#), "not a day"),
        (flight(r#", "starts": 1.5"#), "milliseconds since 1970 or a day"),
        (flight(r#", "start": "2026-06-01""#), "unknown field `start`"),
        ("{".to_owned(), "JSON"),
    ] {
        let (status, text) = put(body).await;
        assert_eq!((status, text.contains(said)), (400, true), "{text}");
    }
    s.server.stop().await.unwrap();
}
