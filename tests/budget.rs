//! What a publisher allows of the web server is not exceeded by real viewers.

mod common;

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::IntoResponse as _;
use common::{Running, Server, grove};

/// Bytes that a `Range: bytes=a-b` asks for.
fn asked(range: &str) -> Option<u64> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    Some(last.parse::<u64>().ok()? + 1 - first.parse::<u64>().ok()?)
}

/// What was asked for since the server gave anything: when, and how many bytes.
#[derive(Default)]
struct Seen {
    open: Option<Instant>,
    requests: Vec<(Instant, u64)>,
}

/// A web server, with what it was asked for.
struct Origin {
    server: Server,
    seen: Arc<Mutex<Seen>>,
    data: Vec<u8>,
}

impl Origin {
    /// It has `thing.bin` of so many bytes, and is busy.
    fn start(at: &Path, length: u64) -> Self {
        let byte = |i: u64| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
        let data: Vec<u8> = (0..length).map(byte).collect();
        std::fs::write(at.join("thing.bin"), &data).expect("space on the disk");
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let note = seen.clone();
        let files = tower_http::services::ServeDir::new(at);
        let ask = move |request: Request, next: Next| {
            let range = request
                .headers()
                .get("range")
                .and_then(|range| range.to_str().ok());
            let bytes = range.and_then(asked).unwrap_or(length);
            let mut seen = note.lock().expect("not poisoned");
            let open = seen.open.is_some();
            if request.uri().path() == "/thing.bin" && open {
                seen.requests.push((Instant::now(), bytes));
            }
            drop(seen);
            async move {
                if open {
                    next.run(request).await
                } else {
                    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response()
                }
            }
        };
        let router = Router::new().fallback_service(files).layer(from_fn(ask));
        let server = Server::start(router);
        Self { server, seen, data }
    }

    /// It is not busy any more.
    fn open(&self) {
        let mut seen = self.seen.lock().expect("not poisoned");
        (seen.open, seen.requests) = (Some(Instant::now()), Vec::new());
    }

    /// Makes `thing.bin.torrent`.
    fn publish(&self, at: &Path, budget: &str, args: &[&str]) {
        grove(at, ["publish", "thing.bin", "--allow-private", "--origin"])
            .arg(self.server.url("thing.bin"))
            .args(["--data", "publisher", "--origin-budget", budget])
            .args(args)
            .run()
            .expect(0);
    }

    /// What was asked for is never more than a budget of bytes and requests a second gave, and `ahead` seconds' worth.
    fn was_spared(&self, budget: (u64, u64), ahead: f64) {
        let seen = self.seen.lock().expect("not poisoned");
        let mut bytes = 0;
        for (number, (when, more)) in (1..).zip(seen.requests.iter()) {
            bytes += more;
            let seconds = when
                .duration_since(seen.open.expect("it was opened"))
                .as_secs_f64()
                + ahead;
            assert!(
                bytes as f64 <= budget.0 as f64 * seconds
                    && f64::from(number) <= (budget.1 as f64 * seconds).max(1.0),
                "{number} requests for {bytes} bytes in {seconds} s: {:?}",
                seen.requests
            );
        }
        assert!(seen.requests.len() > 1, "{:?}", seen.requests);
    }
}

/// A viewer who keeps `viewer` and writes `viewer.bin`.
fn get(at: &Path, viewer: &str) -> Running {
    grove(
        at,
        [
            "get",
            "thing.bin.torrent",
            "--json",
            "--no-ads",
            "--allow-private",
        ],
    )
    .args(["--listen", "127.0.0.1:0", "--data", viewer])
    .args(["-o", &format!("{viewer}.bin")])
    .start()
}

#[test]
fn a_viewer_asks_the_web_server_for_no_more_than_the_publisher_allows() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    let origin = Origin::start(at, 1_500_000);
    origin.open();
    origin.publish(at, "800k,10", &[]);
    origin.open();
    let (status, said) = get(at, "one").finish();
    assert_eq!(status, Some(0));
    assert_eq!(
        std::fs::read(at.join("one.bin")).expect("it was written"),
        origin.data
    );
    let done = said
        .iter()
        .find(|said| said["event"] == "complete")
        .expect("it completes");
    assert_eq!(done["from_origin"], origin.data.len());
    // The share begins with a part of a piece and of a request: a tenth of a second of this budget at most.
    origin.was_spared((800_000, 10), 0.1);
}

#[test]
fn two_viewers_share_what_the_publisher_allows() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    let mut tracker = grove(at, ["tracker", "--json", "--http", "127.0.0.1:0"]).start();
    let announce = tracker.announce_url();
    // Eight seconds of the budget.
    let origin = Origin::start(at, 2_400_000);
    origin.open();
    origin.publish(at, "300k,20", &["--tracker", &announce]);
    origin.seen.lock().expect("not poisoned").open = None;
    let mut viewers = ["one", "two"].map(|viewer| (viewer, get(at, viewer)));
    // Until both know that they are two, the server gives nothing.
    for (_, viewer) in &mut viewers {
        viewer.wait_until("it has met the other", |said| said["peers"] == 1);
    }
    origin.open();
    for (viewer, mut running) in viewers {
        assert_eq!(running.finish().0, Some(0));
        let got = std::fs::read(at.join(viewer).with_extension("bin")).expect("it was written");
        assert_eq!(got, origin.data);
    }
    // Before, each may have gathered a second's share, and have spent another one on what the server sees only now.
    origin.was_spared((300_000, 20), 2.0);
}
