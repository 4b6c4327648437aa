//! `grove get` killed with SIGKILL at seeded instants, and started again: the right file, and little fetched twice.
//!
//! The origin counts what it hands to the network, so bytes that were still on their way when a viewer died count as fetched.

mod common;

use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use common::{PATIENCE, Server, grove, sha256};
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// Large enough that each life fetches more than a kill may cost.
const LENGTH: usize = 22_000_000;
/// Bytes a second.
const RATE: usize = 2_000_000;
const KILLS: usize = 2;
/// What a kill may cost at most, with all that was on its way; 2 s at this rate are less.
const LOSS: usize = 8 << 20;
/// What a life fetches at least: so much that something of it must be kept.
const LIFE: usize = LOSS + RATE / 2;
/// How the origin cuts its answers.
const CHUNK: usize = 16 * 1024;

/// What was handed to the network so far.
#[derive(Default)]
struct Meter {
    sent: Mutex<usize>,
    more: Condvar,
}

impl Meter {
    fn add(&self, bytes: usize) {
        *self.sent.lock().expect("not poisoned") += bytes;
        self.more.notify_all();
    }

    fn sent(&self) -> usize {
        *self.sent.lock().expect("not poisoned")
    }

    /// Waits until so much was sent.
    fn wait_for(&self, bytes: usize) {
        let sent = self.sent.lock().expect("not poisoned");
        let (sent, timeout) = self
            .more
            .wait_timeout_while(sent, PATIENCE, |sent| *sent < bytes)
            .expect("not poisoned");
        assert!(
            !timeout.timed_out(),
            "the origin sent {sent} bytes, and not the {bytes} that were waited for"
        );
    }
}

/// `bytes=A-B`, or all.
fn asked(headers: &HeaderMap) -> Option<Range<usize>> {
    let (first, last) = headers
        .get(header::RANGE)?
        .to_str()
        .ok()?
        .strip_prefix("bytes=")?
        .split_once('-')?;
    let last = last.parse().unwrap_or(LENGTH - 1).min(LENGTH - 1);
    Some(first.parse().ok()?..last + 1)
}

fn answer(content: &Bytes, meter: &Arc<Meter>, headers: &HeaderMap) -> Response {
    let range = asked(headers);
    let part = content.slice(range.clone().unwrap_or(0..LENGTH));
    let length = part.len();
    let meter = Arc::clone(meter);
    let chunks = (0..length.div_ceil(CHUNK)).map(move |index| {
        let chunk = part.slice(index * CHUNK..part.len().min((index + 1) * CHUNK));
        meter.add(chunk.len());
        Ok::<_, std::io::Error>(chunk)
    });
    let body = Body::from_stream(futures_util::stream::iter(chunks));
    let length = [(header::CONTENT_LENGTH, length.to_string())];
    match range {
        Some(range) => (
            StatusCode::PARTIAL_CONTENT,
            length,
            [(
                header::CONTENT_RANGE,
                format!("bytes {}-{}/{LENGTH}", range.start, range.end - 1),
            )],
            body,
        )
            .into_response(),
        None => (length, body).into_response(),
    }
}

#[test]
fn a_killed_download_goes_on_where_it_was() {
    const SEED: u64 = 0x6B69_6C6C;
    println!("seed {SEED:#x}");
    let mut random = StdRng::seed_from_u64(SEED);
    let mut content = vec![0; LENGTH];
    random.fill_bytes(&mut content);

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("episode.bin");
    std::fs::write(&file, &content).expect("space on the disk");
    let meter = Arc::new(Meter::default());
    let (content, counted) = (Bytes::from(content), Arc::clone(&meter));
    let origin = Server::start(Router::new().route(
        "/episode.bin",
        get(move |headers: HeaderMap| async move { answer(&content, &counted, &headers) }),
    ));
    grove(
        folder.path(),
        [
            "publish",
            "episode.bin",
            "--json",
            "--data",
            "publisher",
            "--origin",
        ],
    )
    .arg(origin.url("episode.bin"))
    .run()
    .expect(0);

    let get = || {
        grove(
            folder.path(),
            ["get", "episode.bin.torrent", "--json", "--allow-private"],
        )
        .args(["--listen", "127.0.0.1:0", "--data", "viewer", "-o", "got.bin"])
        .args(["--down", &RATE.to_string()])
    };
    // What a viewer has when it starts; it says so before anything comes.
    let start = || {
        let mut viewer = get().start();
        let progress = viewer.wait_for("progress");
        let have = progress["have_bytes"].as_u64().expect("a number") as usize;
        (viewer, have)
    };
    let mut sent = meter.sent();
    let (mut viewer, mut have) = start();
    assert_eq!(have, 0, "nothing is here at first");
    for _ in 0..KILLS {
        let more: usize = random.random_range(LIFE..(LENGTH - RATE) / KILLS);
        meter.wait_for(sent + more);
        viewer.kill();
        assert!(
            !folder.path().join("got.bin").exists(),
            "an unfinished file stands under the final name"
        );
        let fetched = meter.sent() - sent;
        sent += fetched;
        let had = have;
        (viewer, have) = start();
        println!("killed when {more} bytes were fetched, with {had} here before: {have} were kept");
        assert!(
            have + LOSS >= had + fetched,
            "{had} bytes were here, {fetched} were fetched, and after a kill {have} are left"
        );
    }
    let complete = viewer.wait_for("complete");
    assert_eq!(viewer.finish().0, Some(0));
    assert_eq!(sha256(&folder.path().join("got.bin")), sha256(&file));
    assert_eq!(
        complete["from_origin"].as_u64(),
        Some((LENGTH - have) as u64),
        "the last run fetches what is missing, and nothing else: {complete}"
    );
    // What the origin pushed for the viewer before, and noticed late that it is gone, falls into this run too.
    let again = meter.sent() - sent - (LENGTH - have);
    assert!(again <= RATE / 2, "the last run fetched {again} bytes twice");
}

#[test]
fn a_finished_download_is_not_fetched_again() {
    let published = common::publish::<&str>([]);
    let folder = tempfile::tempdir().expect("a folder");
    let get = |out: &str| {
        grove(
            folder.path(),
            ["get", "--json", "--allow-private", "--data", "viewer", "-o", out],
        )
        .args(["--listen", "127.0.0.1:0"])
        .arg(published.torrent_url())
        .run()
        .expect(0)
        .event("complete")
    };
    get("first.mp3");
    let nobody = |out: &str| {
        grove(
            folder.path(),
            [
                "get",
                "--json",
                "--allow-private",
                "--no-origin",
                "--no-peers",
                "-o",
                out,
            ],
        )
        .args(["--listen", "127.0.0.1:0"])
        .arg(published.torrent_url())
    };
    // What is here needs nobody, and what is not cannot come.
    nobody("third.mp3").args(["--data", "viewer"]).run().expect(0);
    assert_eq!(
        sha256(&folder.path().join("third.mp3")),
        sha256(&common::episode())
    );
    let cannot = nobody("fourth.mp3").args(["--data", "another"]).run().expect(1);
    cannot.says("neither web seeds nor peers are to be used");
    let second = get("second.mp3");
    assert_eq!(second["from_origin"], 0, "{second}");
    assert_eq!(
        sha256(&folder.path().join("second.mp3")),
        sha256(&common::episode())
    );
}
