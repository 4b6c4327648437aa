//! What a person does with a torrent besides downloading it: look at its swarm, stop by ratio or time, check again, remove.

mod common;

use std::path::Path;

use common::{Running, grove, sha256};
use engine::metainfo::Builder;

const LENGTH: usize = 1_500_000;
const LOOPBACK: [&str; 2] = ["--listen", "127.0.0.1:0"];

/// A file and its torrent, which names nobody.
fn publish(at: &Path) {
    let byte = |i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
    let data: Vec<u8> = (0..LENGTH).map(byte).collect();
    std::fs::write(at.join("thing.bin"), &data).expect("space on the disk");
    let builder = Builder::new("thing.bin").piece_length(65_536);
    let metainfo = builder
        .hash(&data[..], LENGTH as u64, |_| {})
        .expect("it can be hashed");
    std::fs::write(at.join("thing.bin.torrent"), metainfo.to_bytes()).expect("space on the disk");
}

fn seed(at: &Path, more: &[&str]) -> (Running, String) {
    let mut seed = grove(at, ["seed", "thing.bin.torrent", "--json", "--data", "seed"])
        .args(LOOPBACK)
        .args(more)
        .start();
    let listening = seed.wait_for("listening");
    let address = listening["quic"][0].as_str().expect("an address").to_owned();
    seed.wait_for("seeding");
    (seed, address)
}

fn get(at: &Path, peer: &str, more: &[&str]) -> common::Finished {
    grove(
        at,
        [
            "get",
            "thing.bin.torrent",
            "--json",
            "--no-ads",
            "--no-origin",
            "--data",
            "viewer",
            "-o",
            "got.bin",
        ],
    )
    .args(LOOPBACK)
    .args(["--peer", peer])
    .args(more)
    .run()
}

#[test]
fn a_seed_stops_by_itself_once_it_has_sent_enough() {
    let place = tempfile::tempdir().expect("a folder");
    publish(place.path());
    let (mut seed, address) = seed(place.path(), &["--seed-ratio", "1"]);
    get(place.path(), &address, &[]).expect(0);
    let (status, rest) = seed.finish();
    assert_eq!(status, Some(0));
    let done = rest.last().expect("a done");
    assert!(done["uploaded"].as_u64() >= Some(LENGTH as u64), "{done}");
    assert_eq!(done["ways"]["direct"], 1, "{done}");
}

#[test]
fn a_seed_stops_by_itself_after_its_time() {
    let place = tempfile::tempdir().expect("a folder");
    publish(place.path());
    let (mut seed, _) = seed(place.path(), &["--seed-for", "0.5"]);
    assert_eq!(seed.finish().0, Some(0));
}

#[test]
fn the_live_view_shows_who_is_there_and_fetches_nothing() {
    let place = tempfile::tempdir().expect("a folder");
    publish(place.path());
    let (seed, address) = seed(place.path(), &[]);
    let mut live = grove(
        place.path(),
        [
            "inspect",
            "thing.bin.torrent",
            "--live",
            "--json",
            "--data",
            "looking",
        ],
    )
    .args(LOOPBACK)
    .args(["--peer", &address])
    .start();
    let shown = live.wait_until("the seed is there", |said| said["seeds"] == 1);
    assert_eq!(shown["peers"][0]["address"], address.as_str(), "{shown}");
    assert_eq!(shown["peers"][0]["complete"], true, "{shown}");
    assert_eq!(live.interrupt().0, Some(130));
    let (_, rest) = seed.interrupt();
    assert_eq!(rest.last().expect("a done")["uploaded"], 0, "{rest:?}");
}

#[test]
fn what_is_damaged_is_found_by_checking_again_and_removing_forgets_it_all() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    publish(at);
    let (seed, address) = seed(at, &[]);
    let first = get(at, &address, &[]).expect(0).event("complete");
    let info_hash = first["info_hash"].as_str().expect("a hash").to_owned();
    // A byte is flipped behind its back, and the file's time is as before.
    let content = at.join("viewer/store").join(&info_hash).join("content");
    let before = std::fs::metadata(&content)
        .expect("it is kept")
        .modified()
        .expect("a time");
    let mut bytes = std::fs::read(&content).expect("it is kept");
    bytes[700_000] ^= 1;
    std::fs::write(&content, bytes).expect("it can be written");
    let file = std::fs::File::options()
        .write(true)
        .open(&content)
        .expect("it is kept");
    file.set_modified(before).expect("a time can be set");
    let again = get(at, &address, &["--recheck"]).expect(0).event("complete");
    assert_eq!(again["from_peers"], 65_536, "one piece came again: {again}");
    assert_eq!(sha256(&at.join("got.bin")), sha256(&at.join("thing.bin")));
    seed.kill();

    let remove = || {
        grove(at, ["remove", "thing.bin.torrent", "--json", "--data", "viewer"])
            .run()
            .expect(0)
    };
    let removed = remove().event("removed");
    assert_eq!(removed["info_hash"], info_hash.as_str());
    assert!(removed["bytes"].as_u64() >= Some(LENGTH as u64), "{removed}");
    assert!(!content.exists() && at.join("got.bin").exists());
    assert_eq!(remove().event("removed")["bytes"], serde_json::Value::Null);
}
