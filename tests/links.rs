//! `grove get` of a public magnet link: the metainfo and the content come from peers that a tracker or the link names.

mod common;

use std::path::Path;

use axum::Router;
use common::http::ask;
use common::{Running, Server, closed_port, grove, sha256};
use engine::metainfo::{Builder, Metainfo};
use tower_http::services::ServeDir;

const LENGTH: usize = 1_500_000;

/// A file, its torrent beside it, and the link that says no more than the hash.
fn publish(at: &Path, tracker: Option<&str>) -> String {
    let byte = |i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
    let data: Vec<u8> = (0..LENGTH).map(byte).collect();
    std::fs::write(at.join("thing.bin"), &data).expect("space on the disk");
    let mut builder = Builder::new("thing.bin");
    if let Some(tracker) = tracker {
        builder = builder.tracker(tracker);
    }
    let metainfo = builder.hash(&data[..], LENGTH as u64, |_| {});
    let metainfo = metainfo.expect("it can be hashed");
    std::fs::write(at.join("thing.bin.torrent"), metainfo.to_bytes()).expect("space on the disk");
    format!("magnet:?xt=urn:btmh:1220{}", metainfo.info_hash_v2())
}

/// A seed, and where it takes connections.
fn seed(at: &Path) -> (Running, String) {
    let words = ["seed", "thing.bin.torrent", "--json", "--data", "seed"];
    let loopback = ["--listen", "127.0.0.1:0", "--allow-private"];
    let mut seed = grove(at, words).args(loopback).start();
    let listening = seed.wait_for("listening");
    let address = listening["quic"][0].as_str().expect("an address").to_owned();
    seed.wait_for("seeding");
    (seed, address)
}

/// A tracker, and its announce URL.
fn tracker(at: &Path) -> (Running, String) {
    let mut tracker = grove(at, ["tracker", "--json", "--http", "127.0.0.1:0"]).start();
    let announce = tracker.announce_url();
    (tracker, announce)
}

/// How many peers the tracker knows.
fn known_peers(announce: &str) -> u32 {
    let place = announce.strip_prefix("http://").expect("a URL");
    let (address, _) = place.split_once('/').expect("a path");
    let address = address.parse().expect("an address");
    let answer = ask(address, "GET", "/metrics", &[]).expect(200);
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let mut lines = text.lines();
    let count = lines.find_map(|line| line.strip_prefix("grove_tracker_peers "));
    count.expect("it counts them").trim().parse().expect("a number")
}

const LOOPBACK: [&str; 3] = ["--listen", "127.0.0.1:0", "--allow-private"];

fn get(at: &Path, link: &str, more: &[&str]) {
    let words = [
        "get", link, "--json", "--no-ads", "--data", "viewer", "-o", "got.bin",
    ];
    let got = grove(at, words).args(LOOPBACK).args(more).run().expect(0);
    assert_eq!(got.event("complete")["from_peers"], LENGTH);
    assert_eq!(sha256(&at.join("got.bin")), sha256(&at.join("thing.bin")));
}

#[test]
fn a_link_with_a_tracker_is_enough() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    let (_tracker, announce) = tracker(at);
    let link = publish(at, Some(&announce));
    let (_seed, _) = seed(at);
    let link = format!("{link}&tr={announce}");
    get(at, &link, &[]);
    assert_eq!(known_peers(&announce), 1, "the seed");
}

#[test]
fn a_link_that_names_a_peer_is_enough() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    let link = publish(at, None);
    let (_seed, address) = seed(at);
    get(at, &format!("{link}&x.grove={address}"), &[]);
}

#[test]
fn without_peers_a_link_is_looked_up_by_http_alone() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    let link = publish(at, None);
    let (_seed, address) = seed(at);
    let tracker = Server::start(Router::new());
    let link = format!("{link}&x.grove={address}&tr={}", tracker.url("announce"));
    let get = |link: &str| {
        let words = [
            "get",
            link,
            "--no-peers",
            "--no-ads",
            "--json",
            "--data",
            "viewer",
            "-o",
            "got.bin",
        ];
        grove(at, words).args(LOOPBACK).run()
    };
    let refused = get(&link)
        .expect(2)
        .says("with --no-peers no peer is asked for it");
    assert_eq!(refused.event("error")["status"], 2);
    let nobody = closed_port();
    get(&format!("{link}&ws=http://{nobody}/thing.bin"))
        .expect(1)
        .says("cannot get the .torrent that this magnet link stands for, and no peer is asked for it")
        .says(&nobody.to_string());

    let web = Server::start(Router::new().fallback_service(ServeDir::new(at)));
    let got = get(&format!("{link}&ws={}", web.url("thing.bin"))).expect(0);
    let complete = got.event("complete");
    assert_eq!(
        (&complete["from_peers"], &complete["from_origin"]),
        (&0.into(), &LENGTH.into())
    );
    assert_eq!(sha256(&at.join("got.bin")), sha256(&at.join("thing.bin")));
    assert_eq!(tracker.asked(), [""; 0], "no tracker was told");
}

#[test]
fn both_hashes_of_a_link_must_be_of_its_torrent() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    let link = publish(at, None);
    let (_seed, address) = seed(at);
    let bytes = std::fs::read(at.join("thing.bin.torrent")).expect("it is there");
    let metainfo = Metainfo::parse(&bytes).expect("a torrent");
    let right = hex::encode(metainfo.info_hash_v1().expect("a hybrid torrent"));
    let wrong = "5".repeat(40);
    let link = |v1: &str| format!("{link}&xt=urn:btih:{v1}&x.grove={address}");
    let words = [
        "get",
        &link(&wrong),
        "--json",
        "--data",
        "viewer",
        "-o",
        "got.bin",
    ];
    let refused = grove(at, words).args(LOOPBACK).run().expect(2);
    let refused = refused.says("this magnet link names two torrents").says(&wrong);
    assert_eq!(refused.event("error")["status"], 2);
    assert!(!at.join("got.bin").exists());
    get(at, &link(&right), &[]);
}

#[test]
fn a_link_of_version_1_alone_is_named_so() {
    let place = tempfile::tempdir().expect("a folder");
    let link = format!(
        "magnet:?xt=urn:btih:{}&tr=http://127.0.0.1:1/announce",
        "5".repeat(40)
    );
    grove(place.path(), ["get", &link, "--json", "--data", "viewer"])
        .args(LOOPBACK)
        .run()
        .expect(2)
        .says("of version 1 only");
}

#[test]
fn a_peer_beside_a_link_is_asked_for_the_metainfo() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    let link = publish(at, None);
    let (_seed, address) = seed(at);
    get(at, &link, &["--peer", &address]);
}

#[test]
fn a_peer_may_be_named_by_its_host_wherever_that_is() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    publish(at, None);
    let (_seed, address) = seed(at);
    let port = address.rsplit(':').next().expect("a port");
    let words = [
        "get",
        "thing.bin.torrent",
        "--json",
        "--data",
        "viewer",
        "-o",
        "got.bin",
    ];
    let get = |peer: &str| {
        grove(at, words)
            .args(["--listen", "127.0.0.1:0", "--peer", peer])
            .run()
    };
    let got = get(&format!("localhost:{port}")).expect(0);
    assert_eq!(got.event("complete")["from_peers"], LENGTH);
    // Longer than a label of a name can be: nobody has to be asked.
    let nowhere = format!("{}.example:{port}", "x".repeat(64));
    let got = get(&nowhere)
        .expect(1)
        .says(&format!("cannot dial the peer {nowhere}"));
    assert!(got.json().iter().all(|event| event["event"] == "error"));
}

#[test]
fn what_to_do_about_private_addresses_of_a_link_is_said_at_once() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    let link = publish(at, None);
    let (_seed, address) = seed(at);
    let words = [
        "get",
        &format!("{link}&x.grove={address}&tr=http://192.168.7.7/announce"),
        "--json",
    ];
    let get = |more: &[&str]| {
        let command = grove(at, words).args(["--data", "viewer", "--listen", "127.0.0.1:0", "-o", "got.bin"]);
        command.args(more).run()
    };
    let hint =
        "--allow-private accepts private addresses of a link, and --peer HOST:PORT names a peer yourself";
    let refused = get(&[]).expect(1);
    let refused =
        refused.says("error: no peer and no tracker of this magnet link may be asked: 127.0.0.1 is at");
    assert_eq!(refused.event("error")["hint"], hint);
    // Whoever types it is believed; what is left out is said.
    get(&["--peer", &address])
        .expect(0)
        .says("192.168.7.7 is at 192.168.7.7:80, a private address")
        .says(hint);
}

#[test]
fn a_search_that_is_stopped_ends_as_such_and_leaves_nobody_at_the_tracker() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    let (_tracker, announce) = tracker(at);
    let link = format!("{}&tr={announce}", publish(at, None));
    for command in ["get", "seed", "inspect"] {
        let words = [command, &link, "--json", "--data", command];
        let searching = grove(at, words).args(LOOPBACK).start();
        // It has begun once the tracker knows it.
        while known_peers(&announce) != 1 {
            std::thread::yield_now();
        }
        let (status, events) = searching.interrupt();
        assert_eq!(status, Some(130), "{command}: {events:?}");
        let told = events.iter().find(|event| event["event"] == "error");
        assert_eq!(told.expect("it says why")["status"], 130, "{command}");
        assert_eq!(known_peers(&announce), 0, "{command}");
    }
}

#[test]
fn a_name_that_would_be_shown_turned_around_is_written_out() {
    // Shown as it is, it reads photoexe.jpg.
    const NAME: &str = "photo\u{202e}gpj.exe";
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let metainfo = Builder::new(NAME).hash(&b"nothing"[..], 7, |_| {});
    let metainfo = metainfo.expect("it can be hashed");
    std::fs::write(at.join("a.torrent"), metainfo.to_bytes()).expect("space on the disk");
    std::fs::write(at.join(NAME), b"nothing").expect("space on the disk");

    let shown = grove(at, ["inspect", "a.torrent", "--data", "state"])
        .run()
        .expect(0);
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(
        text.contains("photo\\u202egpj.exe") && !text.contains('\u{202e}'),
        "{text}"
    );

    let shown = grove(at, ["inspect", "a.torrent", "--data", "state", "--json"])
        .run()
        .expect(0);
    let text = String::from_utf8_lossy(&shown.stdout);
    assert!(!text.contains('\u{202e}'), "{text}");
    let name = |value: &serde_json::Value| value["name"] == NAME;
    assert!(shown.json().iter().any(name), "{text}");

    let missing = format!("other\u{2067}{NAME}.torrent");
    let ended = grove(at, ["inspect", &missing, "--data", "state"])
        .run()
        .expect(2);
    let ended = ended.says("other\\u2067photo\\u202egpj.exe.torrent");
    assert!(
        !ended.stderr.contains(['\u{202e}', '\u{2067}']),
        "{}",
        ended.stderr
    );
}
