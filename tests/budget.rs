//! What a publisher allows of the web server is not exceeded by a real viewer.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use common::{Server, grove};

const LENGTH: u64 = 1_500_000;
/// Bytes and requests a second.
const BUDGET: (u64, u64) = (800_000, 10);

/// Bytes that a `Range: bytes=a-b` asks for.
fn asked(range: &str) -> Option<u64> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    Some(last.parse::<u64>().ok()? + 1 - first.parse::<u64>().ok()?)
}

#[test]
fn a_viewer_asks_the_web_server_for_no_more_than_the_publisher_allows() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    let byte = |i: u64| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
    let data: Vec<u8> = (0..LENGTH).map(byte).collect();
    std::fs::write(at.join("thing.bin"), &data).expect("space on the disk");
    let seen: Arc<Mutex<Vec<(Instant, u64)>>> = Arc::default();
    let note = seen.clone();
    let files = tower_http::services::ServeDir::new(at);
    let router = Router::new()
        .fallback_service(files)
        .layer(from_fn(move |request: Request, next: Next| {
            let range = request
                .headers()
                .get("range")
                .and_then(|range| range.to_str().ok());
            let bytes = range.and_then(asked).unwrap_or(LENGTH);
            if request.uri().path() == "/thing.bin" {
                note.lock().expect("not poisoned").push((Instant::now(), bytes));
            }
            next.run(request)
        }));
    let origin = Server::start(router);
    grove(at, ["publish", "thing.bin", "--allow-private", "--origin"])
        .arg(origin.url("thing.bin"))
        .args(["--origin-budget", "800k,10", "--data", "publisher"])
        .run()
        .expect(0);
    seen.lock().expect("not poisoned").clear();

    let began = Instant::now();
    let command = grove(
        at,
        [
            "get",
            "thing.bin.torrent",
            "--json",
            "--no-ads",
            "--allow-private",
        ],
    );
    let done = command
        .args(["--data", "viewer", "-o", "got.bin", "--listen", "127.0.0.1:0"])
        .run()
        .expect(0)
        .event("complete");
    assert_eq!(std::fs::read(at.join("got.bin")).expect("it was written"), data);
    assert_eq!(done["from_origin"], LENGTH);

    // The share gathers from nothing, so it is never ahead of the time since the command began.
    let seen = seen.lock().expect("not poisoned");
    let mut bytes = 0;
    for (number, (when, more)) in (1..).zip(seen.iter()) {
        bytes += more;
        let seconds = when.duration_since(began).as_secs_f64();
        assert!(
            bytes as f64 <= BUDGET.0 as f64 * seconds
                && f64::from(number) <= (BUDGET.1 as f64 * seconds).max(1.0),
            "{number} requests for {bytes} bytes in {seconds} s: {seen:?}"
        );
    }
    assert!(seen.len() > 1, "{seen:?}");
}
