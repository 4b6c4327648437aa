//! What strangers may take of the server: questions and beacons a minute, connections, and time to say what they want.

mod common;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use ad_server_mock::clock::ManualClock;
use ad_server_mock::report::ByBasis;
use ad_server_mock::traffic::rate::Limits;
use ad_server_mock::{Config, Running, serve};
use common::{NOW, toml};
use engine::listen::Doors;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn server(dir: &tempfile::TempDir, clock: &Arc<ManualClock>, rate: Limits, doors: Doors) -> Running {
    std::fs::write(dir.path().join("a.mp3"), "a".repeat(1000)).unwrap();
    let file = dir.path().join("ads.toml");
    std::fs::write(&file, toml(&[("a", "a.mp3")], "", "")).unwrap();
    serve(Config {
        load: vec![file],
        clock: clock.clone(),
        rate,
        doors,
        body_pause: Duration::from_millis(100),
        behind_proxy: true,
        ..Config::new(dir.path().join("ads.db").to_str().unwrap())
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_or_reports_too_often_is_invalid_traffic_by_its_reason_until_the_minute_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW));
    let limits = Limits {
        address: Some(5),
        listener: Some(3),
        token: Some(2),
        beacons: Some(2),
    };
    let s = server(&dir, &clock, limits, Doors::default()).await;
    let http = common::client();
    let ask = async |address: &str, agent: &str, query: &str| {
        let request = http
            .get(format!("{}/vast?{query}", s.url()))
            .header("X-Forwarded-For", address)
            .header("User-Agent", agent);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        common::parse(&answer.text().await.unwrap()).0
    };
    // (address, user agent, token, whether there is an ad)
    let table = [
        ("192.0.2.1", "one", "", true),
        ("192.0.2.1", "one", "", true),
        ("192.0.2.1", "one", "", true),
        ("192.0.2.1", "one", "", false),
        ("192.0.2.1", "another", "", true),
        ("192.0.2.1", "a third", "", false),
        ("2001:db8::1", "one", "viewer=v", true),
        ("2001:db8:0:1::1", "one", "viewer=v", true),
        ("192.0.2.3", "one", "viewer=v", false),
        ("192.0.2.4", "one", "viewer=w", true),
    ];
    let mut ads = Vec::new();
    for (address, agent, token, filled) in table {
        let answer = ask(address, agent, token).await;
        assert_eq!(answer.len(), usize::from(filled), "{address} {agent} {token}");
        ads.extend(answer);
    }
    let report_of = async |url: String, address: &str| {
        let request = http.get(url).header("X-Forwarded-For", address);
        request.send().await.unwrap().status().as_u16()
    };
    let urls: Vec<_> = ads.iter().map(|ad| ad.beacon("impression", "played")).collect();
    assert_eq!(report_of(urls[0].clone(), "198.51.100.1").await, 204);
    assert_eq!(report_of(urls[1].clone(), "198.51.100.1").await, 204);
    assert_eq!(
        report_of(urls[2].clone(), "198.51.100.1").await,
        429,
        "a listener's is sent again"
    );
    let report = s.report().await.unwrap();
    let one = |reason: &str| report.invalid_traffic[reason];
    assert_eq!(
        [
            one("rate_listener"),
            one("rate_address"),
            one("rate_token"),
            one("rate_beacons")
        ],
        [1, 1, 1, 1]
    );
    assert_eq!((report.requests.asked, report.requests.filled), (10, 7));
    assert_eq!(report.totals.impressions.played, 2);
    // Two minutes later all may ask again, and the beacon counts.
    clock.advance(120_000);
    assert_eq!(ask("192.0.2.1", "one", "viewer=v").await.len(), 1);
    assert_eq!(report_of(urls[2].clone(), "198.51.100.1").await, 204);
    let report = s.report().await.unwrap();
    assert_eq!(
        report.totals.impressions,
        ByBasis {
            delivered: 0,
            played: 3
        }
    );
    s.stop().await.unwrap();
}

/// What comes until the server closes the connection.
async fn rest(connection: &mut TcpStream) -> String {
    let mut all = Vec::new();
    match connection.read_to_end(&mut all).await {
        Ok(_) => {}
        // It was closed while we still had something to say.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}"),
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_half_a_request_or_half_a_body_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let doors = Doors {
        headers_within: Duration::from_millis(100),
        ..Doors::default()
    };
    let s = server(&dir, &Arc::new(ManualClock::new(NOW)), Limits::NONE, doors).await;
    // Each ends because the server ends it; without its limits this test would never end.
    for (said, answered) in [
        ("", ""),
        ("GET /vast HTTP/1.1\r\nHost: h\r\nX-Slow: ", ""),
        (
            "POST /desk/login HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ntok",
            "HTTP/1.1 4",
        ),
        ("GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 404"),
    ] {
        let mut connection = TcpStream::connect(s.addr()).await.unwrap();
        connection.write_all(said.as_bytes()).await.unwrap();
        let answer = rest(&mut connection).await;
        assert!(answer.starts_with(answered), "{said:?} was answered {answer:?}");
    }
    // Headers without an end are refused for their length, not kept.
    let mut connection = TcpStream::connect(s.addr()).await.unwrap();
    let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(64 << 10));
    // The server may have closed it before all of it was sent.
    let _ = connection.write_all(long.as_bytes()).await;
    let answer = rest(&mut connection).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
        "{answer:?}"
    );
    s.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_connections_are_served_than_allowed_and_the_next_one_waits_for_its_turn() {
    const ASK: &[u8] = b"GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n";
    let dir = tempfile::tempdir().unwrap();
    let doors = Doors {
        connections: 2,
        headers_within: Duration::from_secs(600),
        ..Doors::default()
    };
    let s = server(&dir, &Arc::new(ManualClock::new(NOW)), Limits::NONE, doors).await;
    let ask = async |connection: &mut TcpStream| {
        connection.write_all(ASK).await.unwrap();
        let mut first = [0; 12];
        connection.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 404");
        let mut more = [0; 4096];
        assert!(connection.read(&mut more).await.unwrap() > 0);
    };
    let mut one = TcpStream::connect(s.addr()).await.unwrap();
    let mut two = TcpStream::connect(s.addr()).await.unwrap();
    ask(&mut one).await;
    ask(&mut two).await;
    let mut three = TcpStream::connect(s.addr()).await.unwrap();
    three.write_all(ASK).await.unwrap();
    for _ in 0..20 {
        ask(&mut one).await;
        ask(&mut two).await;
    }
    let waiting = three.try_read(&mut [0; 1]).expect_err("no answer yet");
    assert_eq!(waiting.kind(), ErrorKind::WouldBlock);
    drop(one);
    let mut first = [0; 12];
    three.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 404");
    drop((two, three));
    s.stop().await.unwrap();
}
