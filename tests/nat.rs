//! Peers behind home routers, in network namespaces: routers translate addresses and let in only what was asked for.
//!
//! `world` routes between the routers `ra` and `rb`, behind which are the machines `a` and `b`, in private networks of
//! the very same addresses.

mod common;

use std::path::Path;

use common::spaces::{Nat, Spaces};
use common::{Running, sha256};
use engine::metainfo::Builder;
use serde_json::{Value, json};

/// Where peers meet, in the world.
const MEETING: &str = "5.5.0.1:0";
const LENGTH: usize = 2_000_000;
/// The world's address, as both sides reach it.
const WORLD: &str = "5.5.0.1";

fn net(test: &str, nats: [Nat; 2]) -> Spaces {
    let mut net = Spaces::new(test);
    net.machine("world");
    net.forward("world");
    net.ip(&[
        "-n",
        &net.full("world"),
        "addr",
        "add",
        &format!("{WORLD}/32"),
        "dev",
        "lo",
    ]);
    for (number, (side, nat)) in [("a", nats[0]), ("b", nats[1])].into_iter().enumerate() {
        let (router, number) = (format!("r{side}"), number + 1);
        net.machine(&router);
        net.machine(side);
        let (world, outside) = (format!("5.5.{number}.1/24"), format!("5.5.{number}.2/24"));
        net.line(
            ("world", &format!("to{side}"), &[&world]),
            (&router, "wan", &[&outside]),
        );
        net.line(
            (&router, "lan", &["192.168.1.1/24"]),
            (side, "eth0", &["192.168.1.2/24"]),
        );
        net.default_route(&router, &format!("5.5.{number}.1"));
        net.default_route(side, "192.168.1.1");
        net.translate(&router, "wan", nat);
    }
    net
}

/// A file, and a torrent of it that names this tracker, and a web seed if there is one.
fn publish(at: &Path, tracker: &str, web_seed: Option<&str>) {
    let byte = |i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
    let data: Vec<u8> = (0..LENGTH).map(byte).collect();
    std::fs::write(at.join("thing.bin"), &data).expect("space on the disk");
    let mut builder = Builder::new("thing.bin").tracker(tracker);
    if let Some(url) = web_seed {
        builder = builder.web_seed(url);
    }
    let metainfo = builder
        .hash(&data[..], LENGTH as u64, |_| {})
        .expect("it can be hashed");
    std::fs::write(at.join("thing.bin.torrent"), metainfo.to_bytes()).expect("space on the disk");
}

/// A tracker in the world, and its URL.
fn tracker(net: &Spaces, at: &Path, more: &[&str]) -> (Running, String) {
    let mut tracker = net
        .grove(
            "world",
            at,
            &["tracker", "--json", "--http", &format!("{WORLD}:0")],
        )
        .args(more)
        .start();
    let listening = tracker.wait_for("listening");
    let announce = listening["announce"].as_str().expect("a URL").to_owned();
    (tracker, announce)
}

fn seed(net: &Spaces, name: &str, at: &Path, more: &[&str]) -> Running {
    let mut seed = net
        .grove(name, at, &["seed", "thing.bin.torrent", "--json", "--data", name])
        .args(more)
        .start();
    seed.wait_for("seeding");
    seed
}

/// Downloads on `b`, and gives what `get` says when it is complete.
fn download(net: &Spaces, at: &Path, more: &[&str]) -> Value {
    let words = [
        "get",
        "thing.bin.torrent",
        "--json",
        "--no-ads",
        "--data",
        "viewer",
        "-o",
        "got.bin",
    ];
    let got = net.grove("b", at, &words).args(more).run().expect(0);
    assert_eq!(sha256(&at.join("got.bin")), sha256(&at.join("thing.bin")));
    got.event("complete")
}

/// So many connections and no relay. When the tracker names both to each other at once, both dial at once, which opens both
/// routers before anybody introduces them: then each calls it direct.
#[track_caller]
fn met(ways: &Value, connections: u64) {
    let (direct, punched) = (&ways["direct"], &ways["punched"]);
    assert_eq!(
        direct.as_u64().zip(punched.as_u64()).map(|(d, p)| d + p),
        Some(connections),
        "{ways}"
    );
    assert_eq!(ways["relayed"], 0, "{ways}");
}

#[test]
fn two_behind_port_restricted_routers_meet_at_the_tracker() {
    let net = net("m", [Nat::PortRestricted; 2]);
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    let (tracker, announce) = tracker(&net, at, &["--quic", MEETING]);
    publish(at, &announce, None);
    let seed = seed(&net, "a", at, &[]);
    let complete = download(&net, at, &[]);
    assert_eq!(complete["from_peers"], LENGTH, "{complete}");
    met(&complete["ways"], 1);
    let (_, rest) = seed.interrupt();
    met(&rest.last().expect("a done")["ways"], 1);
    let (_, rest) = tracker.interrupt();
    let introductions = rest.last().expect("a done")["introductions"].as_u64();
    assert!(
        complete["ways"]["punched"] == 0 || introductions >= Some(1),
        "{rest:?}"
    );
}

#[test]
fn two_behind_port_restricted_routers_are_introduced_by_a_common_peer() {
    let net = net("c", [Nat::PortRestricted; 2]);
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    let (_tracker, announce) = tracker(&net, at, &[]);
    publish(at, &announce, None);
    // A viewer who takes connections, and takes its time; nobody tells seeds of each other.
    let words = [
        "get",
        "thing.bin.torrent",
        "--json",
        "--no-ads",
        "--data",
        "common",
        "-o",
        "common.bin",
    ];
    let mut common = net.grove("world", at, &words).args(["--down", "1k"]).start();
    let listening = common.wait_for("listening");
    let v4 = listening["quic"][0].as_str().expect("an address");
    let port = v4.rsplit_once(':').expect("a port").1;
    // Whoever told the tracker of itself first: both find it.
    let named = ["--peer", &format!("{WORLD}:{port}")];
    let mut far = seed(&net, "a", at, &named);
    let complete = download(&net, at, &named);
    assert_eq!(complete["from_peers"], LENGTH, "{complete}");
    met(&complete["ways"], 2);
    far.child.kill().expect("it runs");
}

#[test]
fn behind_symmetric_routers_it_comes_from_others_or_from_the_origin() {
    let mut net = net("s", [Nat::Symmetric; 2]);
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    let (_tracker, announce) = tracker(&net, at, &["--quic", MEETING]);
    let site = at.join("site");
    std::fs::create_dir(&site).expect("space on the disk");
    publish(at, &announce, Some(&format!("http://{WORLD}:8000/thing.bin")));
    std::fs::copy(at.join("thing.bin"), site.join("thing.bin")).expect("space on the disk");
    serve(&mut net, at, &site);
    let _unreachable = seed(&net, "a", at, &[]);
    // The origin alone is left.
    let complete = download(&net, at, &[]);
    assert_eq!(complete["from_origin"], LENGTH, "{complete}");
    assert_eq!(
        complete["ways"],
        json!({ "direct": 0, "punched": 0, "relayed": 0 }),
        "{complete}"
    );
    std::fs::remove_file(at.join("got.bin")).expect("it was written");
    std::fs::remove_dir_all(at.join("viewer")).expect("it was made");
    // A peer that takes connections.
    let _open = seed(&net, "world", at, &[]);
    let complete = download(&net, at, &["--no-origin"]);
    assert_eq!(complete["from_peers"], LENGTH, "{complete}");
    assert_eq!(
        complete["ways"],
        json!({ "direct": 1, "punched": 0, "relayed": 0 }),
        "{complete}"
    );
}

/// nginx in the world.
fn serve(net: &mut Spaces, at: &Path, site: &Path) {
    let config = format!(
        "daemon off; worker_processes 1; user root; pid nginx.pid; events {{}}
         http {{ client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
                 scgi_temp_path scgi; access_log off; server {{ listen {WORLD}:8000; root {}; }} }}",
        site.display()
    );
    std::fs::write(at.join("nginx.conf"), config).expect("space on the disk");
    let prefix = at.to_str().expect("a UTF-8 path").to_owned();
    net.start(
        "world",
        &["nginx", "-p", &prefix, "-c", "nginx.conf", "-e", "error.log"],
        "apt-get install nginx-light",
    );
}

/// Sends from `a` and gets on `b`; what both say at the end about how they were connected.
fn send(net: &Spaces, at: &Path, announce: &str) -> [Value; 2] {
    publish(at, announce, None);
    let words = [
        "send",
        "thing.bin",
        "--json",
        "--data",
        "sender",
        "--tracker",
        announce,
    ];
    let mut sender = net.grove("a", at, &words).start();
    let link = sender.wait_for("link")["link"]
        .as_str()
        .expect("a link")
        .to_owned();
    let words = ["get", &link, "--json", "--data", "viewer", "-o", "got.bin"];
    let got = net.grove("b", at, &words).run().expect(0);
    assert_eq!(sha256(&at.join("got.bin")), sha256(&at.join("thing.bin")));
    let (status, rest) = sender.finish();
    assert_eq!(status, Some(0));
    let done = rest.last().expect("a done").clone();
    [got.event("complete")["ways"].clone(), done["ways"].clone()]
}

#[test]
fn a_personal_transfer_opens_port_restricted_routers_and_needs_no_relay() {
    let net = net("p", [Nat::PortRestricted; 2]);
    let place = tempfile::tempdir().expect("a folder");
    let (tracker, announce) = tracker(&net, place.path(), &["--quic", MEETING, "--relay"]);
    let ways = send(&net, place.path(), &announce);
    for side in &ways {
        met(side, 1);
    }
    let (_, rest) = tracker.interrupt();
    assert_eq!(rest.last().expect("a done")["relayed"], 0, "{rest:?}");
}

#[test]
fn a_personal_transfer_behind_symmetric_routers_goes_through_the_relay_and_says_so() {
    let net = net("r", [Nat::Symmetric; 2]);
    let place = tempfile::tempdir().expect("a folder");
    let (_tracker, announce) = tracker(&net, place.path(), &["--quic", MEETING, "--relay"]);
    let ways = send(&net, place.path(), &announce);
    assert_eq!([&ways[0]["relayed"], &ways[1]["relayed"]], [1, 1], "{ways:?}");
    assert_eq!([&ways[0]["punched"], &ways[1]["punched"]], [0, 0], "{ways:?}");
}

/// A router's daemon on `ra`, which forwards ports when it is asked in this way.
fn forwards_ports(net: &mut Spaces, at: &Path, upnp: &str, natpmp: &str) {
    let rules = "
        table inet filter {
            chain miniupnpd {
            }
            chain prerouting_miniupnpd {
            }
            chain postrouting_miniupnpd {
            }
            chain forward {
                type filter hook forward priority 10
                jump miniupnpd
            }
            chain prerouting {
                type nat hook prerouting priority -100
                jump prerouting_miniupnpd
            }
            chain postrouting {
                type nat hook postrouting priority 90
                jump postrouting_miniupnpd
            }
        }
        ";
    net.nft("ra", rules);
    let config = at.join("miniupnpd.conf");
    let lines = format!(
        "ext_ifname=wan\nlistening_ip=lan\nport=0\nenable_upnp={upnp}\nenable_natpmp={natpmp}\nsecure_mode=yes\n\
         uuid=6f1bb7a5-3b5d-4b3a-9d0e-0d7f3b1c2a11\nlease_file={}\nallow 1024-65535 0.0.0.0/0 1024-65535\n",
        at.join("leases").display()
    );
    std::fs::write(&config, lines).expect("space on the disk");
    let config = config.to_str().expect("a UTF-8 path").to_owned();
    let pid = at
        .join("miniupnpd.pid")
        .to_str()
        .expect("a UTF-8 path")
        .to_owned();
    net.start(
        "ra",
        &["miniupnpd", "-d", "-P", &pid, "-f", &config],
        "apt-get install miniupnpd-nftables",
    );
}

fn is_reached_through_a_forwarded_port(test: &str, upnp: &str, natpmp: &str, rules: &str) {
    let mut net = net(test, [Nat::PortRestricted, Nat::Symmetric]);
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    forwards_ports(&mut net, at, upnp, natpmp);
    net.nft("ra", rules);
    // Nobody introduces anybody: without the forwarded port neither reaches the other.
    let (_tracker, announce) = tracker(&net, at, &[]);
    publish(at, &announce, None);
    let words = ["seed", "thing.bin.torrent", "--json", "--data", "a"];
    let mut seed = net.grove("a", at, &words).env("GROVE_NO_DISCOVERY", "").start();
    seed.wait_for("seeding");
    let complete = download(&net, at, &[]);
    assert_eq!(complete["from_peers"], LENGTH, "{complete}");
    assert_eq!(
        complete["ways"],
        json!({ "direct": 1, "punched": 0, "relayed": 0 }),
        "{complete}"
    );
    let forwarded = || net.nft_rules("ra").matches("dnat ip to").count();
    assert_eq!(forwarded(), 1, "{}", net.nft_rules("ra"));
    assert_eq!(seed.interrupt().0, Some(0));
    assert_eq!(forwarded(), 0, "it is taken back: {}", net.nft_rules("ra"));
}

#[test]
fn a_router_that_speaks_upnp_lets_peers_in() {
    is_reached_through_a_forwarded_port("u", "yes", "no", "");
}

#[test]
fn a_router_that_speaks_pcp_lets_peers_in() {
    is_reached_through_a_forwarded_port("n", "no", "yes", "");
}

#[test]
fn a_router_that_refuses_pcp_is_asked_by_nat_pmp() {
    // The first byte of a packet is its version: 2 is PCP, 0 NAT-PMP.
    let refuses = "
        table inet pcp {
            chain input {
                type filter hook input priority -10
                udp dport 5351 @th,64,8 2 reject
            }
        }
        ";
    is_reached_through_a_forwarded_port("m", "no", "yes", refuses);
}

/// Two machines on one wire, of which one has the content; what `get` says on the other.
fn on_one_wire(test: &str, private: bool) -> common::Finished {
    let mut net = Spaces::new(test);
    net.machine("a");
    net.machine("b");
    net.line(
        ("a", "eth0", &["192.168.7.1/24"]),
        ("b", "eth0", &["192.168.7.2/24"]),
    );
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    let data = vec![7; LENGTH];
    std::fs::write(at.join("thing.bin"), &data).expect("space on the disk");
    let builder = Builder::new("thing.bin").private(private);
    let metainfo = builder
        .hash(&data[..], LENGTH as u64, |_| {})
        .expect("it can be hashed");
    std::fs::write(at.join("thing.bin.torrent"), metainfo.to_bytes()).expect("space on the disk");
    let words = ["seed", "thing.bin.torrent", "--json", "--data", "seed"];
    let mut seed = net.grove("a", at, &words).env("GROVE_NO_DISCOVERY", "").start();
    seed.wait_for("seeding");
    let words = [
        "get",
        "thing.bin.torrent",
        "--json",
        "--no-ads",
        "--data",
        "viewer",
        "-o",
        "got.bin",
    ];
    let got = net.grove("b", at, &words).env("GROVE_NO_DISCOVERY", "").run();
    if !private {
        assert_eq!(sha256(&at.join("got.bin")), sha256(&at.join("thing.bin")));
    }
    got
}

#[test]
fn two_on_one_network_find_each_other_with_nobody_else_there() {
    let complete = on_one_wire("w", false).expect(0).event("complete");
    assert_eq!(complete["from_peers"], LENGTH, "{complete}");
}

#[test]
fn a_private_torrent_is_not_looked_for_on_the_network() {
    on_one_wire("v", true).expect(1).says("no peer was found");
}

#[test]
fn one_seed_serves_viewers_of_either_family() {
    let mut net = Spaces::new("f");
    for machine in ["seed", "a", "b"] {
        net.machine(machine);
    }
    net.line(
        ("seed", "toa", &["192.168.8.1/24"]),
        ("a", "eth0", &["192.168.8.2/24"]),
    );
    net.line(
        ("seed", "tob", &["fd00:9::1/64"]),
        ("b", "eth0", &["fd00:9::2/64"]),
    );
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    publish(at, "http://192.168.8.1:1/announce", None);
    let mut seed = net
        .grove(
            "seed",
            at,
            &["seed", "thing.bin.torrent", "--json", "--data", "seed"],
        )
        .start();
    let listening = seed.wait_for("listening");
    seed.wait_for("seeding");
    let port = |family: usize| {
        let address = listening["quic"][family].as_str().expect("an address");
        address.rsplit(':').next().expect("a port").to_owned()
    };
    let peers = [
        ("a", format!("192.168.8.1:{}", port(0))),
        ("b", format!("[fd00:9::1]:{}", port(1))),
    ];
    for (machine, peer) in peers {
        let out = format!("got-{machine}.bin");
        let words = [
            "get",
            "thing.bin.torrent",
            "--json",
            "--no-ads",
            "--data",
            machine,
            "-o",
            &out,
        ];
        let got = net
            .grove(machine, at, &words)
            .args(["--peer", &peer])
            .run()
            .expect(0);
        assert_eq!(sha256(&at.join(&out)), sha256(&at.join("thing.bin")));
        assert_eq!(got.event("complete")["from_peers"], LENGTH);
    }
}
