//! Origins that are away, die, or come back: what is here stays of use, what is not is said and fetched when it can be.

mod common;

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::routing::get;
use common::gateway::{Node, Scene};
use common::http::{ask_part, open};
use common::{PATIENCE, Server, closed_port, grove};
use futures_util::{StreamExt as _, stream};
use serde_json::json;
use tokio::sync::watch;
use tower_http::services::ServeDir;

#[test]
fn what_was_listened_to_is_given_to_others_also_after_a_restart() {
    let scene = Scene::new();
    scene.episode("e.mp3", 20, "-c:a libmp3lame -b:a 128k", &[]);
    let master = std::fs::read(scene.web().join("e.mp3")).expect("the content");
    let node = scene.node("viewer", &[]);
    assert!(node.get(&scene.path("e.mp3"), &[]).expect(200).body == master);
    node.stop();
    let mut node = scene.node("viewer", &[]);
    assert_eq!(node.running.wait_for("joined_again")["names"], json!(["e.mp3"]));
    let torrent = scene.server.url("e.mp3.torrent");
    grove(
        scene.folder.path(),
        ["get", &torrent, "--data", "other", "-o", "got.mp3"],
    )
    .args(["--no-origin", "--listen", "127.0.0.1:0", "--peer", &node.quic])
    .run()
    .expect(0);
    assert!(std::fs::read(scene.folder.path().join("got.mp3")).expect("the result") == master);
    node.stop();
}

#[test]
fn an_origin_that_is_away_is_missed_only_for_what_is_not_here() {
    let scene = Scene::new();
    scene.episode("e.mp3", 20, "-c:a libmp3lame -b:a 128k", &["10"]);
    let path = scene.path("e.mp3");
    let node = scene.node("viewer", &["--keep", "0"]);
    let whole = node.get(&path, &[]).expect(200);
    scene.door.shut();
    let again = node.get(&path, &[]).expect(200);
    assert!(again.body == whole.body, "it is here");
    let refused = node.get(&scene.path("f.mp3.torrent"), &[]).expect(503);
    assert!(refused.text().contains("503"), "{}", refused.text());
    node.stop();
}

#[test]
fn what_is_here_opens_though_its_publisher_is_gone() {
    let scene = Scene::new();
    scene.episode("e.mp3", 20, "-c:a libmp3lame -b:a 128k", &["10"]);
    let front = Server::start(Router::new().fallback_service(ServeDir::new(scene.web())));
    let url = front.url("e.mp3");
    let node = scene.node("viewer", &[]);
    let whole = node.get(&format!("/{url}"), &[]).expect(200);
    node.stop();
    drop(front);
    let node = scene.node("viewer", &[]);
    let again = node.get(&format!("/{url}"), &[]).expect(200);
    assert!(again.body == whole.body && again.header("etag") == whole.header("etag"));
    node.stop();
    // So it does for other commands.
    let got = grove(
        scene.folder.path(),
        ["get", &url, "--data", "viewer", "--allow-private"],
    )
    .args(["--freeze", "60", "-o", "got.mp3"])
    .run()
    .expect(0);
    got.says("cannot be had now, so the one from before is used");
    assert!(std::fs::read(scene.folder.path().join("got.mp3")).expect("the result") == whole.body);
    // Whoever wants to know what the server has is told that it is gone.
    grove(scene.folder.path(), ["inspect", &url, "--data", "viewer"])
        .run()
        .expect(1)
        .says("nobody listens at 127.0.0.1:");
}

#[test]
fn what_a_server_has_no_more_or_was_removed_is_not_taken_from_before() {
    let scene = Scene::new();
    scene.episode("e.mp3", 10, "-c:a libmp3lame -b:a 128k", &[]);
    let (torrent, aside) = (scene.web().join("e.mp3.torrent"), scene.web().join("aside"));
    let url = scene.server.url("e.mp3.torrent");
    let asked_for = || {
        let args = ["get", &url, "--data", "viewer", "-o", "got.mp3"];
        grove(scene.folder.path(), args).args(["--allow-private"]).run()
    };
    asked_for().expect(0);
    std::fs::rename(&torrent, &aside).expect("it is there");
    asked_for().expect(1).says("404");
    scene.door.shut();
    asked_for().expect(1).says("503");
    scene.door.open();
    std::fs::rename(&aside, &torrent).expect("it is there");
    asked_for().expect(0);
    scene.door.shut();
    asked_for().expect(0).says("the one from before is used");
    let bytes = std::fs::read(&torrent).expect("it was published");
    let metainfo = engine::metainfo::Metainfo::parse(&bytes).expect("a .torrent");
    let info_hash = metainfo.info_hash_v2().to_string();
    grove(scene.folder.path(), ["remove", &info_hash, "--data", "viewer"])
        .run()
        .expect(0);
    asked_for().expect(1).says("503");
}

#[test]
fn an_answer_whose_origin_dies_breaks_off_and_the_next_one_goes_on() {
    let scene = Scene::new();
    scene.episode("e.mp3", 120, "-c:a libmp3lame -b:a 128k", &[]);
    let file = std::fs::read(scene.web().join("e.mp3")).expect("the content");
    let mut node = scene.node("viewer", &["--no-ads", "--wait", "5"]);
    let path = scene.path("e.mp3");
    scene.door.cut_after(700_000);
    // Under load there may be a pause of that length, too.
    let began = Instant::now();
    let answer = loop {
        let answer = ask_part(node.addr, "GET", &path, &[]);
        if answer.status != 504 {
            break answer.expect(200);
        }
        assert!(began.elapsed() < PATIENCE, "{}", answer.text());
    };
    assert_eq!(answer.header("content-length"), file.len().to_string());
    let mut got = answer.body;
    assert!(
        got.len() < file.len() && file.starts_with(&got),
        "{} bytes",
        got.len()
    );
    let waiting = node.running.wait_for("waiting");
    assert_eq!(
        waiting["origin"],
        json!(scene.server.addr.to_string()),
        "{waiting}"
    );
    let broken = node.running.wait_for("broken_off");
    assert_eq!(broken["at"], json!(got.len()));
    assert!(broken["trouble"].is_string(), "{broken}");
    scene.door.open();
    while got.len() < file.len() {
        let rest = format!("bytes={}-", got.len());
        let answer = ask_part(node.addr, "GET", &path, &[("range", &rest)]);
        if answer.status == 206 {
            got.extend(answer.body);
        }
        assert!(began.elapsed() < PATIENCE, "{} bytes", got.len());
    }
    assert!(got == file, "{} bytes", got.len());
    node.stop();
}

#[test]
fn a_source_that_is_not_there_yet_is_fetched_whole_when_it_is() {
    let scene = Scene::new();
    scene.episode("e.mp3", 120, "-c:a libmp3lame -b:a 128k", &[]);
    let master = std::fs::read(scene.web().join("e.mp3")).expect("the content");
    let nowhere = format!("http://{}/x.mp3", closed_port());
    let mut node = scene.node("viewer", &[&nowhere, &scene.server.url("later.mp3")]);
    for _ in 0..2 {
        let trouble = node.running.wait_for("retrying");
        let reason = trouble["reason"].as_str().expect("a reason");
        let is_said = reason.contains("nobody listens at") || reason.contains("no .torrent beside");
        assert!(is_said, "{trouble}");
    }
    // Players are answered meanwhile, and have what they read fetched.
    assert!(node.range(&scene.path("e.mp3"), 9..99).body == master[9..99]);
    let torrent = scene.web().join("e.mp3.torrent");
    std::fs::copy(&torrent, scene.web().join("later.mp3.torrent")).expect("space on the disk");
    node.running.wait_for("joined");
    // Another viewer gets all of it from there.
    grove(
        scene.folder.path(),
        ["get", "web/e.mp3.torrent", "--data", "other", "-o", "got.mp3"],
    )
    .args(["--no-origin", "--listen", "127.0.0.1:0", "--peer", &node.quic])
    .run()
    .expect(0);
    assert!(std::fs::read(scene.folder.path().join("got.mp3")).expect("the result") == master);
    node.stop();
    // What can never be fetched is said at once.
    for wrong in [
        "nothing-here.torrent",
        "ftp://example.org/x.mp3",
        "magnet:?xt=nothing",
    ] {
        let ended = grove(scene.folder.path(), ["node", wrong, "--http", "0"]).run();
        ended.expect(2);
    }
}

#[test]
fn what_failed_is_tried_anew_though_nobody_waited_for_it() {
    let (answered, torrent) = (watch::Sender::new(false), Arc::new(OnceLock::<Vec<u8>>::new()));
    let (told, given) = (answered.clone(), Arc::clone(&torrent));
    let (asks, asked) = std::sync::mpsc::channel();
    let slow = move || {
        // The test is over when this fails.
        let _ = asks.send(());
        let (mut told, given) = (told.subscribe(), Arc::clone(&given));
        async move {
            let _ = told.wait_for(|told| *told).await;
            let given = given.get().cloned();
            given.ok_or(StatusCode::SERVICE_UNAVAILABLE)
        }
    };
    let scene = Scene::with(Router::new().route("/slow.torrent", get(slow)));
    scene.episode("e.mp3", 10, "-c:a libmp3lame -b:a 128k", &[]);
    let mut node = scene.node("viewer", &[]);
    let path = scene.path("slow.torrent");
    let player = open(node.addr, "GET", &path, &[]);
    asked.recv_timeout(PATIENCE).expect("it is asked for");
    drop(player);
    // Meanwhile the gateway sees that it is gone.
    node.get("/", &[]).expect(200);
    answered.send_replace(true);
    assert_eq!(node.running.wait_for("refused")["status"], json!(503));
    let found = std::fs::read(scene.web().join("e.mp3.torrent")).expect("it was published");
    torrent.set(found).expect("it is set once");
    node.get(&path, &[]).expect(200);
    node.stop();
}

#[test]
fn a_break_that_a_server_of_whole_files_makes_late_says_so() {
    let file = Arc::new(OnceLock::<Vec<u8>>::new());
    let given = Arc::clone(&file);
    // Whatever part is asked for, it sends from the beginning, and does not come to the end.
    let whole = move || {
        let given = Arc::clone(&given);
        async move {
            let file = Bytes::from(given.get().cloned().ok_or(StatusCode::NOT_FOUND)?);
            let half = file.slice(..file.len() / 2);
            let body = stream::iter([Ok::<_, Infallible>(half)]).chain(stream::pending());
            let headers = [(header::CONTENT_LENGTH, file.len())];
            Ok::<_, StatusCode>((headers, Body::from_stream(body)))
        }
    };
    let scene = Scene::with(Router::new().route("/e.m4a", get(whole)));
    // Where its packets are stands at its end.
    scene.episode("e.m4a", 60, "-c:a aac -b:a 128k", &["10"]);
    let made = std::fs::read(scene.web().join("e.m4a")).expect("the content");
    file.set(made).expect("it is set once");
    let mut node = Node::start(
        scene.folder.path(),
        "viewer",
        &["--allow-private", "--freeze", "8"],
    );
    let player = open(node.addr, "GET", &scene.path("e.m4a"), &[]);
    let rendition = node.running.wait_for("rendition");
    let reason = rendition["skipped"][0]["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("did not come in time") && reason.contains("gives whole files only"),
        "{rendition}"
    );
    drop(player);
    node.stop();
}
