//! Transfers between network namespaces: personal ones through a relay when there is no other way, and all across a change of address.

mod common;

use std::path::Path;

use common::spaces::Spaces;
use common::{Running, sha256};
use engine::metainfo::Builder;

/// `left` and `right`, each with a line of its own to `hub`, which forwards nothing.
struct Net(Spaces);

impl Net {
    fn new(name: &str) -> Self {
        let mut spaces = Spaces::new(name);
        for machine in ["left", "right", "hub"] {
            spaces.machine(machine);
        }
        for (side, number) in [("left", 1), ("right", 2)] {
            let (hub, own) = (format!("10.77.{number}.1/24"), format!("10.77.{number}.2/24"));
            spaces.line(("hub", &format!("to{side}"), &[&hub]), (side, "eth0", &[&own]));
            spaces.default_route(side, &format!("10.77.{number}.1"));
        }
        Self(spaces)
    }
}

impl std::ops::Deref for Net {
    type Target = Spaces;

    fn deref(&self) -> &Spaces {
        &self.0
    }
}

fn file(at: &Path, length: usize) {
    let byte = |i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
    std::fs::write(at.join("thing.bin"), (0..length).map(byte).collect::<Vec<u8>>())
        .expect("space on the disk");
}

fn tracker(net: &Net, at: &Path, more: &[&str]) -> (Running, [String; 2]) {
    let mut tracker = net
        .grove(
            "hub",
            at,
            &["tracker", "--json", "--http", "0.0.0.0:0", "--relay"],
        )
        .args(more)
        .start();
    let announce = tracker.announce_url();
    let urls = [1, 2].map(|side| announce.replace("0.0.0.0", &format!("10.77.{side}.1")));
    (tracker, urls)
}

/// Starts a sender on the left, and gives its link with the tracker as the right side reaches it.
fn send(net: &Net, at: &Path, announce: &[String; 2]) -> (Running, String) {
    let mut sender = net
        .grove(
            "left",
            at,
            &[
                "send",
                "thing.bin",
                "--json",
                "--data",
                "sender",
                "--tracker",
                &announce[0],
            ],
        )
        .start();
    let link = sender.wait_for("link")["link"]
        .as_str()
        .expect("a link")
        .to_owned();
    let there = link.replace("10.77.1.1", "10.77.2.1");
    assert!(there != link && there.contains("10.77.1.2"), "{link}");
    (sender, there)
}

#[test]
fn without_any_way_between_them_a_relay_carries_it() {
    let net = Net::new("r");
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    file(at, 3_000_000);
    let (tracker, announce) = tracker(&net, at, &["--relay-rate", "4M"]);
    let (mut sender, link) = send(&net, at, &announce);
    let received = net
        .grove(
            "right",
            at,
            &["get", &link, "--json", "--data", "receiver", "-o", "got.bin"],
        )
        .run()
        .expect(0);
    let complete = received.event("complete");
    assert_eq!(complete["from_peers"], 3_000_000, "{complete}");
    assert_eq!(sha256(&at.join("got.bin")), sha256(&at.join("thing.bin")));
    sender.wait_for("delivered");
    assert_eq!(sender.finish().0, Some(0));
    let (_, rest) = tracker.interrupt();
    let relayed = rest
        .last()
        .and_then(|done| done["relayed"].as_u64())
        .expect("a number");
    assert!(relayed >= 3_000_000, "{relayed} bytes went through the relay");
}

#[test]
fn a_transfer_that_has_used_up_its_bytes_is_carried_no_further() {
    let net = Net::new("l");
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    file(at, 3_000_000);
    let (tracker, announce) = tracker(&net, at, &["--relay-bytes", "1M"]);
    let (sender, link) = send(&net, at, &announce);
    let mut receiver = net
        .grove(
            "right",
            at,
            &["get", &link, "--json", "--data", "receiver", "-o", "got.bin"],
        )
        .start();
    // What the relay carries includes headers: less than all of it arrives, and then nothing more.
    let stuck = receiver.wait_until("nothing came any more", |said| {
        said["event"] == "progress" && said["peers"] == 0 && said["have_bytes"].as_u64() > Some(100_000)
    });
    assert!(stuck["have_bytes"].as_u64() < Some(1_000_000), "{stuck}");
    for end in [&sender, &receiver] {
        end.hear("note: the relay of http://10.77.");
        end.hear("the transfer has used up what the relay carries for one");
    }
    receiver.kill();
    sender.kill();
    let (_, rest) = tracker.interrupt();
    let relayed = rest
        .last()
        .and_then(|done| done["relayed"].as_u64())
        .expect("a number");
    assert!(relayed <= 1_000_000, "{relayed} bytes went through the relay");
}

/// Makes the hub a router, so that both sides reach each other directly.
fn route(net: &Net) {
    net.forward("hub");
}

/// Moves a side to another address, as a machine does that changes networks; connections to the old one are dead.
fn moves(net: &Net, side: &str, number: u8) {
    net.run(
        side,
        &[
            "ip",
            "addr",
            "add",
            &format!("10.77.{number}.9/24"),
            "dev",
            "eth0",
        ],
    );
    net.run(
        side,
        &[
            "ip",
            "addr",
            "del",
            &format!("10.77.{number}.2/24"),
            "dev",
            "eth0",
        ],
    );
    // Removing the first address takes the others of its network with it, and the routes.
    net.run(
        side,
        &[
            "ip",
            "addr",
            "replace",
            &format!("10.77.{number}.9/24"),
            "dev",
            "eth0",
        ],
    );
    net.run(
        side,
        &[
            "ip",
            "route",
            "replace",
            "default",
            "via",
            &format!("10.77.{number}.1"),
        ],
    );
}

fn survives_a_move_of(side: &str, number: u8) {
    let net = Net::new(&side[..1].to_uppercase());
    route(&net);
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    file(at, 6_000_000);
    let (_tracker, announce) = tracker(&net, at, &["--relay-rate", "1k"]);
    let mut sender = net
        .grove(
            "left",
            at,
            &["send", "thing.bin", "--json", "--data", "sender", "--up", "700k"],
        )
        .args(["--tracker", &announce[0], "--allow-private"])
        .start();
    let link = sender.wait_for("link")["link"]
        .as_str()
        .expect("a link")
        .to_owned();
    let mut receiver = net
        .grove(
            "right",
            at,
            &[
                "get",
                &link,
                "--json",
                "--data",
                "receiver",
                "-o",
                "got.bin",
                "--allow-private",
            ],
        )
        .start();
    receiver.wait_until("something arrived", |said| {
        said["have_bytes"].as_u64() > Some(1_000_000)
    });
    moves(&net, side, number);
    let complete = receiver.wait_for("complete");
    assert_eq!(receiver.finish().0, Some(0));
    assert_eq!(
        sha256(&at.join("got.bin")),
        sha256(&at.join("thing.bin")),
        "{complete}"
    );
    sender.wait_for("delivered");
    assert_eq!(sender.finish().0, Some(0));
}

/// A seed at 10.77.1.2 moves while a viewer downloads who knows nobody but it, by what was typed.
fn dials_who_was_there(net: &Net) {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    file(at, 6_000_000);
    let data = std::fs::read(at.join("thing.bin")).expect("it is there");
    let metainfo = Builder::new("thing.bin").hash(&data[..], data.len() as u64, |_| {});
    let metainfo = metainfo.expect("it can be hashed").to_bytes().to_vec();
    std::fs::write(at.join("thing.bin.torrent"), metainfo).expect("space on the disk");
    let words = [
        "seed",
        "thing.bin.torrent",
        "--json",
        "--data",
        "seed",
        "--up",
        "700k",
    ];
    let mut seed = net.grove("left", at, &words).start();
    let listening = seed.wait_for("listening");
    let port = listening["quic"][0]
        .as_str()
        .and_then(|quic| quic.rsplit(':').next());
    let peer = format!("10.77.1.2:{}", port.expect("a port"));
    seed.wait_for("seeding");
    // Nobody is found but by what the viewer typed, and nobody gave --allow-private.
    let words = [
        "get",
        "thing.bin.torrent",
        "--json",
        "--data",
        "viewer",
        "-o",
        "got.bin",
        "--peer",
        &peer,
    ];
    let mut viewer = net.grove("right", at, &words).start();
    viewer.wait_until("something arrived", |said| {
        said["have_bytes"].as_u64() > Some(1_000_000)
    });
    moves(net, "left", 1);
    viewer.wait_for("complete");
    assert_eq!(viewer.finish().0, Some(0));
    assert_eq!(sha256(&at.join("got.bin")), sha256(&at.join("thing.bin")));
}

#[test]
fn a_seed_that_gets_another_address_at_home_dials_who_was_there() {
    let mut spaces = Spaces::new("h");
    for machine in ["left", "right"] {
        spaces.machine(machine);
    }
    spaces.line(
        ("left", "eth0", &["10.77.1.2/24"]),
        ("right", "eth0", &["10.77.1.3/24"]),
    );
    for machine in ["left", "right"] {
        spaces.default_route(machine, "10.77.1.1");
    }
    dials_who_was_there(&Net(spaces));
}

#[test]
fn a_seed_that_gets_another_address_dials_who_was_there_on_the_next_network() {
    let net = Net::new("n");
    route(&net);
    dials_who_was_there(&net);
}

#[test]
fn who_cannot_be_found_at_all_is_told_so() {
    let mut spaces = Spaces::new("o");
    spaces.machine("left");
    let place = tempfile::tempdir().expect("a folder");
    file(place.path(), 1_000);
    let words = ["send", "thing.bin", "--json", "--data", "sender"];
    let mut sender = spaces.grove("left", place.path(), &words).start();
    sender.wait_for("link");
    sender.hear("note: this machine has no address in a network, and no tracker is given");
    sender.kill();
}

#[test]
fn a_transfer_survives_that_the_receiver_changes_its_address() {
    survives_a_move_of("right", 2);
}

#[test]
fn a_transfer_survives_that_the_sender_changes_its_address() {
    survives_a_move_of("left", 1);
}
