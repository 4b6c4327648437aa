//! `grove play` while nothing comes: it stays where it is, says what it waits for, and goes on when bytes come again.

mod common;

use std::ops::Range;
use std::path::{Path, PathBuf};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use common::tools::generate;
use common::{Server, grove};
use futures_util::stream;
use serde_json::Value;
use tokio::sync::watch;

/// What is kept back: 25 s of the content are before it, at 128 kb/s. A download of which nothing is here ends after 20 s of silence.
const GAP: Range<usize> = 400_000..700_000;

#[derive(Clone)]
struct Origin {
    root: PathBuf,
    open: watch::Receiver<bool>,
}

/// Gives what is asked for, up to the gap; from there on when it is opened.
async fn give(State(origin): State<Origin>, request: Request) -> Response {
    let path = origin.root.join(request.uri().path().trim_start_matches('/'));
    let Ok(bytes) = std::fs::read(&path).map(Bytes::from) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let range = request.headers().get(header::RANGE).map(|range| {
        let text = range.to_str().expect("ASCII");
        let (start, end) = text
            .strip_prefix("bytes=")
            .and_then(|range| range.split_once('-'))
            .expect("one range");
        let end = end
            .parse()
            .map_or(bytes.len(), |end: usize| bytes.len().min(end + 1));
        start.parse().expect("a number")..end
    });
    let (status, range) = match range {
        Some(range) => (StatusCode::PARTIAL_CONTENT, range),
        None => (StatusCode::OK, 0..bytes.len()),
    };
    let about = format!("bytes {}-{}/{}", range.start, range.end - 1, bytes.len());
    let first = if range.start >= GAP.end {
        range.end
    } else {
        GAP.start.clamp(range.start, range.end)
    };
    let parts = [(range.start..first, false), (first..range.end, true)];
    let body = stream::unfold(
        (parts.into_iter(), bytes, origin.open),
        |(mut parts, bytes, mut open)| async move {
            let (part, held) = parts.find(|(part, _)| !part.is_empty())?;
            if held && open.wait_for(|open| *open).await.is_err() {
                return None;
            }
            let part = bytes.slice(part);
            Some((Ok::<_, std::io::Error>(part), (parts, bytes, open)))
        },
    );
    let length = range.len();
    (
        status,
        [
            (header::CONTENT_RANGE, about),
            (header::CONTENT_LENGTH, length.to_string()),
            (header::ACCEPT_RANGES, "bytes".to_owned()),
        ],
        Body::from_stream(body),
    )
        .into_response()
}

fn tone(path: &Path) {
    generate(
        path,
        &["sine=f=440:r=44100:d=60".to_owned()],
        "-c:a libmp3lame -b:a 128k",
    );
}

#[test]
fn an_origin_that_falls_silent_is_waited_for_and_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let web = folder.path().join("web");
    std::fs::create_dir(&web).expect("a folder");
    tone(&web.join("c.mp3"));
    let (opened, open) = watch::channel(true);
    let origin = Origin {
        root: web.clone(),
        open,
    };
    let server = Server::start(Router::new().fallback(give).with_state(origin));
    grove(folder.path(), ["publish", "web/c.mp3", "--allow-private"])
        .args(["--data", "publisher", "--origin", &server.url("c.mp3")])
        .run()
        .expect(0);
    opened.send_replace(false);
    let mut player = grove(folder.path(), ["play", "--json", "--allow-private"])
        .args(["--no-peers", "--listen", "127.0.0.1:0", "--data", "viewer"])
        .args(["--sink", "null", &server.url("c.mp3.torrent")])
        .start();
    let at = |value: &Value| value["at"].as_f64().expect("a time");
    // What is here was played to its end, longer than a download waits.
    let waits = player.wait_until("it waits", |value| {
        value["event"] == "position" && value["waiting"] == true && at(value) > 20.0
    });
    player.hear("waiting for data: the web seed has sent nothing for");
    opened.send_replace(true);
    let on = player.wait_until("it goes on", |value| {
        value["event"] == "position" && at(value) > at(&waits) + 2.0
    });
    assert!(
        at(&on) < 40.0,
        "what was kept back is played: {waits} and then {on}"
    );
    assert_eq!(player.interrupt().0, Some(130));
}
