//! `grove send` and `grove get LINK`: files and folders from one to another, found by a secret alone, resumed on both sides.

mod common;

use std::path::Path;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get as get_route;
use common::{Running, Server, grove, sha256};
use engine::metainfo::Builder;
use serde_json::{Value, json};

fn bytes(path: &Path, length: usize, seed: usize) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    let byte = |i: usize| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 13) as u8;
    std::fs::write(path, (0..length).map(byte).collect::<Vec<u8>>()).expect("space on the disk");
}

/// Starts a sender; gives its link.
fn send(at: &Path, path: &str, more: &[&str]) -> (Running, String) {
    let mut sender = grove(at, ["send", path, "--json", "--data", "sender"])
        .args(more)
        .start();
    let link = sender.wait_for("link");
    (sender, link["link"].as_str().expect("a link").to_owned())
}

fn get(at: &Path, link: &str, out: &str) -> common::Grove {
    get_as("receiver", at, link, out)
}

/// As another receiver, with a data folder of its own.
fn get_as(data: &str, at: &Path, link: &str, out: &str) -> common::Grove {
    let words = [
        "get",
        link,
        "--json",
        "--listen",
        "127.0.0.1:0",
        "--data",
        data,
        "-o",
        out,
    ];
    grove(at, words)
}

/// The value of a key of a link, as it is written there.
fn part<'a>(link: &'a str, key: &str) -> Vec<&'a str> {
    link.split(['?', '&'])
        .filter_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
        .collect()
}

/// Reads the sender's output to its end: it was delivered, and says so.
fn delivered(mut sender: Running) -> Value {
    sender.wait_for("delivered");
    let done = sender.wait_for("done");
    assert_eq!(sender.finish().0, Some(0));
    assert_eq!(done["delivered"], 1, "{done}");
    done
}

/// Bytes of the file in the middle of whose transfer things happen.
const LENGTH: u64 = 8_000_000;

const LOOPBACK: &[&str] = &["--listen", "127.0.0.1:0"];

#[test]
fn a_file_arrives_and_the_sender_ends() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    bytes(&at.join("thing.bin"), 3_000_000, 1);
    let (sender, link) = send(at, "thing.bin", LOOPBACK);
    assert_eq!(part(&link, "x.secret")[0].len(), 32, "{link}");
    assert!(part(&link, "x.grove")[0].starts_with("127.0.0.1:"), "{link}");
    let pasted = format!(" {link}\n");
    let received = get(at, &pasted, "got.bin").run().expect(0);
    let complete = received.event("complete");
    assert_eq!(complete["from_peers"], 3_000_000, "{complete}");
    assert_eq!(received.event("done")["noted"], true);
    assert_eq!(sha256(&at.join("got.bin")), sha256(&at.join("thing.bin")));
    delivered(sender);
    assert_eq!(
        std::fs::read_dir(at.join("sender/sends"))
            .expect("a folder")
            .count(),
        0,
        "the secret of a transfer that is done is kept"
    );
}

#[test]
fn a_folder_arrives_through_a_tracker_alone() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    bytes(&at.join("trip/a.jpg"), 200_000, 2);
    bytes(&at.join("trip/day 2/b.jpg"), 70_000, 3);
    bytes(&at.join("trip/day 2/empty"), 0, 0);
    std::fs::create_dir_all(at.join("trip/day 3/hollow")).expect("a folder");
    let mut tracker = grove(at, ["tracker", "--json", "--http", "127.0.0.1:0"]).start();
    let announce = tracker.announce_url();
    // The tracker comes from the environment, as a person would set it once.
    let mut sender = grove(
        at,
        ["send", "trip", "--json", "--data", "sender", "--allow-private"],
    )
    .args(LOOPBACK)
    .env("GROVE_TRACKER", &announce)
    .start();
    let link = sender.wait_for("link")["link"]
        .as_str()
        .expect("a link")
        .to_owned();
    sender.hear("trip/day 3/hollow is left out: there is no file in it");
    let found: Vec<&str> = link
        .split('&')
        .filter(|pair| !pair.starts_with("x.grove="))
        .collect();
    let link = found.join("&");
    assert!(
        part(&link, "x.grove").is_empty() && !part(&link, "tr").is_empty(),
        "{link}"
    );
    let received = get(at, &link, "got").arg("--allow-private").run().expect(0);
    assert_eq!(received.event("done")["noted"], true);
    for name in ["a.jpg", "day 2/b.jpg", "day 2/empty"] {
        assert_eq!(
            sha256(&at.join("got").join(name)),
            sha256(&at.join("trip").join(name)),
            "{name}"
        );
    }
    delivered(sender);
    tracker.interrupt();
}

#[test]
fn without_the_secret_nobody_is_told_anything() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    bytes(&at.join("thing.bin"), 100_000, 4);
    let (mut sender, link) = send(at, "thing.bin", LOOPBACK);
    let secret = part(&link, "x.secret")[0].to_owned();
    let other = link.replace(&secret, &"0123456789abcdef".repeat(2));
    let none = link.replace(&format!("&x.secret={secret}"), "");
    assert!(other != link && none.len() < link.len(), "{link}");
    for (wrong, private) in [(other, false), (none, true)] {
        let mut asking = get(at, &wrong, "got.bin");
        if private {
            asking = asking.arg("--allow-private");
        }
        let mut asking = asking.start();
        asking.wait_for("listening");
        // The sender runs on, and sees nobody: each second it says how it stands.
        for _ in 0..3 {
            let progress = sender.wait_for("progress");
            assert_eq!(
                (&progress["peers"], &progress["uploaded"]),
                (&0.into(), &0.into())
            );
        }
        asking.kill();
    }
    get(at, &link, "got.bin").run().expect(0);
    delivered(sender);
}

#[test]
fn both_sides_are_killed_and_go_on() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    bytes(&at.join("thing.bin"), LENGTH as usize, 5);
    let (sender, link) = send(at, "./thing.bin", &["--up", "1M", "--listen", "127.0.0.1:0"]);
    let address = part(&link, "x.grove")[0].to_owned();
    let mut receiver = get(at, &link, "got.bin").start();
    receiver.wait_until("something arrived", |said| {
        said["have_bytes"].as_u64() > Some(1_500_000)
    });
    sender.kill();
    // The same path gives the same link, and the receiver finds the sender again where it was.
    let (sender, again) = send(at, "thing.bin", &["--up", "1M", "--listen", &address]);
    assert_eq!(again, link);
    let before = receiver.wait_until("more arrived", |said| {
        said["have_bytes"].as_u64() > Some(3_500_000)
    })["have_bytes"]
        .as_u64()
        .expect("a number");
    receiver.kill();
    let received = get(at, &link, "got.bin").run().expect(0);
    let complete = received.event("complete");
    let rest = complete["from_peers"].as_u64().expect("a number");
    assert!(
        rest < LENGTH - before + 5_000_000,
        "{rest} bytes were fetched again although {before} had been here"
    );
    assert_eq!(sha256(&at.join("got.bin")), sha256(&at.join("thing.bin")));
    delivered(sender);
}

#[test]
fn who_waits_for_a_sender_that_is_gone_hears_of_it_and_goes_on_when_it_is_back() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    bytes(&at.join("thing.bin"), LENGTH as usize, 9);
    let (sender, link) = send(at, "thing.bin", LOOPBACK);
    let address = part(&link, "x.grove")[0].to_owned();
    sender.kill();
    let mut receiver = get(at, &link, "got.bin").start();
    receiver.hear("nobody who has \"thing.bin\" can be reached");
    // It comes back, and goes in the middle of it.
    let (sender, again) = send(at, "thing.bin", &["--up", "1M", "--listen", &address]);
    assert_eq!(again, link);
    receiver.wait_until("something arrived", |said| said["have_bytes"].as_u64() > Some(0));
    sender.kill();
    receiver.hear("nothing of thing.bin comes: no peer who has it can be reached");
    let (sender, _) = send(at, "thing.bin", &["--listen", &address]);
    assert_eq!(receiver.finish().0, Some(0));
    assert_eq!(sha256(&at.join("got.bin")), sha256(&at.join("thing.bin")));
    delivered(sender);
}

#[test]
fn what_was_changed_gets_a_new_link_and_what_cannot_be_sent_is_said() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    bytes(&at.join("thing.bin"), 100_000, 6);
    let (sender, first) = send(at, "thing.bin", LOOPBACK);
    let (status, rest) = sender.interrupt();
    assert_eq!(status, Some(130), "{rest:?}");
    let changed = |rest: &[Value]| rest.last().expect("done")["changed"].clone();
    assert_eq!(changed(&rest), false, "{rest:?}");
    bytes(&at.join("thing.bin"), 100_000, 7);
    let (sender, second) = send(at, "thing.bin", LOOPBACK);
    assert_ne!(part(&first, "xt"), part(&second, "xt"));
    assert_ne!(part(&first, "x.secret"), part(&second, "x.secret"));
    bytes(&at.join("thing.bin"), 90_000, 7);
    let (_, rest) = sender.interrupt();
    assert_eq!(changed(&rest), true, "{rest:?}");
    grove(at, ["send", "nothing", "--data", "sender"])
        .run()
        .expect(2)
        .says("cannot send nothing");
    std::fs::create_dir(at.join("hollow")).expect("a folder");
    grove(at, ["send", "hollow", "--data", "sender"])
        .run()
        .expect(2)
        .says("empty");
    bytes(&at.join("odd/deep/a\\b"), 10, 1);
    let refused = grove(at, ["send", "odd", "--json", "--data", "sender"])
        .run()
        .expect(2);
    let refused = refused.says("deep/a\\\\b");
    assert_eq!(
        refused.event("error")["hint"],
        "give it another name, or leave it out"
    );
    grove(
        at,
        [
            "send",
            "thing.bin",
            "--data",
            "sender",
            "--tracker",
            "ftp://example.org/",
        ],
    )
    .run()
    .expect(2)
    .says("ftp://example.org/ is no tracker that can be asked");
}

#[test]
fn until_a_time_the_sender_stays_for_whoever_comes_and_then_ends() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    bytes(&at.join("thing.bin"), 200_000, 8);
    // Nobody comes: it ends by itself, and the link is spent.
    let (mut sender, first) = send(at, "thing.bin", &["--listen", "127.0.0.1:0", "--until", "1"]);
    let done = sender.wait_for("done");
    assert_eq!(
        (&done["delivered"], &done["peers"]),
        (&0.into(), &0.into()),
        "{done}"
    );
    assert_eq!(sender.finish().0, Some(1), "what is not delivered is not done");
    // When its time is over and somebody has it, it is.
    let (mut sender, link) = send(at, "thing.bin", &["--listen", "127.0.0.1:0", "--until", "3"]);
    get_as("first", at, &link, "first.bin").run().expect(0);
    sender.wait_for("delivered");
    assert_eq!(sender.finish().0, Some(0));
    // With an hour left, one receiver does not end it.
    let (mut sender, link) = send(at, "thing.bin", &["--listen", "127.0.0.1:0", "--until", "1h"]);
    assert_ne!(part(&link, "x.secret"), part(&first, "x.secret"));
    for (receiver, out) in [("receiver", "got.bin"), ("another", "again.bin")] {
        get_as(receiver, at, &link, out).run().expect(0);
        sender.wait_for("delivered");
        assert_eq!(sha256(&at.join(out)), sha256(&at.join("thing.bin")));
    }
    let (status, rest) = sender.interrupt();
    assert_eq!(status, Some(130), "{rest:?}");
}

#[test]
fn who_serves_is_told_which_trackers_do_not_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    bytes(&at.join("thing.bin"), 100_000, 1);
    let failing = Router::new().route(
        "/announce",
        get_route(|| async { StatusCode::INTERNAL_SERVER_ERROR }),
    );
    let server = Server::start(failing);
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let udp = udp.local_addr().map(|at| (at, udp)).expect("bound");
    let closed = format!("http://{}", common::closed_port());
    let trackers = [
        (closed.clone(), "nobody listens"),
        (format!("http://{}", server.addr), "500"),
        (format!("udp://{}", udp.0), ""),
    ];
    let urls: Vec<String> = trackers
        .iter()
        .map(|(place, _)| format!("{place}/announce"))
        .collect();
    let named: Vec<&str> = urls.iter().flat_map(|url| ["--tracker", url]).collect();
    let (mut sender, _) = send(
        at,
        "thing.bin",
        &[&named[..], &["--listen", "127.0.0.1:0"]].concat(),
    );
    let builder = Builder::new("thing.bin").tracker(&urls[0]);
    let metainfo = builder
        .hash_file(&at.join("thing.bin"), |_| {})
        .expect("it can be hashed");
    std::fs::write(at.join("thing.bin.torrent"), metainfo.to_bytes()).expect("space on the disk");
    let words = ["seed", "thing.bin.torrent", "--data", "seed", "--allow-private"];
    let seed = grove(at, words).args(["--listen", "127.0.0.1:0"]).start();
    let mut left = trackers.to_vec();
    while !left.is_empty() {
        let told = sender.wait_for("tracker_silent");
        assert!(told["seconds"].as_u64() >= Some(15), "{told}");
        let before = left.len();
        left.retain(|(place, why)| {
            let is_it = told["tracker"] == json!(place);
            assert!(
                !is_it || told["reason"].as_str().unwrap_or("").contains(why),
                "{told}"
            );
            !is_it
        });
        assert_eq!(left.len(), before - 1, "told twice: {told}");
    }
    sender.kill();
    seed.hear(&format!("note: the tracker {closed} has not answered for"));
    seed.kill();
}
