//! `grove seed`, `get` and `inspect` of a folder of several files.

mod common;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use common::{Running, grove};
use serde_json::Value;

/// Makes a folder with these files, and a `.torrent` of it by libtorrent, an independent implementation.
fn folder(at: &Path) {
    let root = at.join("show");
    for (name, length) in [
        ("one.mp3", 70_000),
        ("extras/notes.txt", 5),
        ("extras/two.mp3", 200_000),
        ("empty", 0),
    ] {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let byte = |i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ name.len() as u8;
        std::fs::write(path, (0..length).map(byte).collect::<Vec<u8>>()).expect("space on the disk");
    }
    torrent(at);
}

/// Makes the `.torrent`, with symbolic links as such, and a line end after it, as many have that were made by hand.
fn torrent(at: &Path) {
    let make = r"
import sys, libtorrent as lt
files = lt.file_storage()
symlinks = lt.create_torrent.symlinks if hasattr(lt.create_torrent, 'symlinks') else lt.create_torrent_flags_t.symlinks
lt.add_files(files, sys.argv[1] + '/show', flags=int(symlinks))
torrent = lt.create_torrent(files, 16384, flags=int(symlinks))
lt.set_piece_hashes(torrent, sys.argv[1])
open(sys.argv[1] + '/show.torrent', 'wb').write(lt.bencode(torrent.generate()) + b'\n')
";
    let made = Command::new("/usr/bin/python3")
        .args(["-c", make])
        .arg(at)
        .status()
        .expect("this test needs python3 with libtorrent: apt-get install python3-libtorrent");
    assert!(made.success(), "this test needs python3-libtorrent");
}

fn seed(at: &Path) -> (Running, String) {
    let mut seed = grove(at, ["seed", "show.torrent", "--json", "--data", "seeder"])
        .args(["--listen", "127.0.0.1:0"])
        .start();
    let listening = seed.wait_for("listening");
    let address = listening["quic"][0].as_str().expect("an address").to_owned();
    seed.wait_for("seeding");
    (seed, address)
}

fn get(at: &Path, address: &str, more: &[&str]) -> Value {
    grove(
        at,
        [
            "get",
            "show.torrent",
            "--json",
            "--listen",
            "127.0.0.1:0",
            "--peer",
            address,
        ],
    )
    .args(more)
    .run()
    .expect(0)
    .event("complete")
}

fn same(at: &Path, one: &str, other: &str) {
    let read = |path: &str| std::fs::read(at.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    assert_eq!(read(one), read(other), "{one} and {other}");
}

#[test]
fn a_folder_is_seeded_and_fetched_whole_or_in_part() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    folder(at);
    let shown = grove(at, ["inspect", "show.torrent", "--json"])
        .run()
        .expect(0)
        .event("inspected");
    let files: Vec<&str> = shown["files"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|file| file["path"].as_str().expect("a path"))
        .collect();
    assert_eq!(files, ["empty", "extras/notes.txt", "extras/two.mp3", "one.mp3"]);
    let (seed, address) = seed(at);

    let some = get(
        at,
        &address,
        &["--data", "viewer", "-o", "some", "--file", "*.txt", "--file", "4"],
    );
    assert_eq!(
        (&some["bytes"], &some["content_bytes"], &some["from_peers"]),
        (&70_005.into(), &70_005.into(), &70_005.into()),
        "{some}"
    );
    same(at, "show/one.mp3", "some/one.mp3");
    same(at, "show/extras/notes.txt", "some/extras/notes.txt");
    assert!(!at.join("some/extras/two.mp3").exists() && !at.join("some/empty").exists());

    let rest = get(at, &address, &["--data", "viewer", "-o", "all"]);
    assert_eq!(rest["from_peers"], 200_000, "{rest}");
    assert_eq!(rest["files"].as_array().map(Vec::len), Some(4), "{rest}");
    for name in ["one.mp3", "extras/notes.txt", "extras/two.mp3", "empty"] {
        same(at, &format!("show/{name}"), &format!("all/{name}"));
    }

    // Once more goes to the same place, whether that was made for it or was here.
    let again = get(at, &address, &["--data", "viewer", "-o", "all"]);
    assert_eq!((&again["path"], &again["files"]), (&rest["path"], &rest["files"]));
    std::fs::create_dir(at.join("downloads")).expect("a folder");
    for _ in 0..2 {
        let got = get(at, &address, &["--data", "viewer", "-o", "downloads"]);
        assert_eq!(got["path"], "downloads/show", "{got}");
    }
    for nested in ["all/show", "downloads/show/show"] {
        assert!(!at.join(nested).exists(), "{nested}");
    }

    let piped = grove(
        at,
        [
            "get",
            "show.torrent",
            "--listen",
            "127.0.0.1:0",
            "--peer",
            &address,
        ],
    )
    .args(["--data", "another", "--file", "two.mp3", "-o", "-"])
    .run()
    .expect(0);
    let two = std::fs::read(at.join("show/extras/two.mp3")).expect("it is there");
    assert!(piped.stdout == two, "{} bytes came", piped.stdout.len());
    assert_eq!(seed.interrupt().0, Some(0));
}

#[test]
fn what_get_gives_names_and_permissions_is_not_hashed_again() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    folder(at);
    let program = |path: &str| {
        std::fs::set_permissions(at.join(path), Permissions::from_mode(0o755)).expect("ours");
    };
    program("show/extras/two.mp3");
    torrent(at);
    // And a torrent of one file, which is a program.
    std::fs::copy(at.join("show/one.mp3"), at.join("tool")).expect("space on the disk");
    program("tool");
    let publish = [
        "publish",
        "tool",
        "--origin",
        "http://127.0.0.1:9/tool",
        "--data",
        "seeder",
    ];
    grove(at, publish).arg("--allow-private").run().expect(0);
    let mut seed = grove(
        at,
        [
            "seed",
            "show.torrent",
            "tool.torrent",
            "--json",
            "--data",
            "seeder",
        ],
    )
    .args(["--listen", "127.0.0.1:0"])
    .start();
    let listening = seed.wait_for("listening");
    let address = listening["quic"][0].as_str().expect("an address").to_owned();
    seed.wait_for("seeding");
    let hashes = |source: &str, to: &str| {
        let got = grove(
            at,
            [
                "get",
                source,
                "-o",
                to,
                "--data",
                "viewer",
                "--listen",
                "127.0.0.1:0",
            ],
        )
        .args(["--peer", &address, "--no-origin"])
        .env("RUST_LOG", "info")
        .run()
        .expect(0);
        got.stderr.contains("checking the file against its hashes")
    };
    for (source, to, some) in [
        ("show.torrent", "got", "got/one.mp3"),
        ("tool.torrent", "tool.got", "tool.got"),
    ] {
        for time in 0..3 {
            assert!(!hashes(source, to), "{source}, {time}");
        }
        // What somebody else does with them has them hashed, once.
        let private = Permissions::from_mode(0o700);
        std::fs::set_permissions(at.join(some), private).expect("ours");
        assert!(hashes(source, to) && !hashes(source, to), "{source}");
    }
    assert_eq!(seed.interrupt().0, Some(0));
}

#[test]
fn what_cannot_be_is_said_before_anything_is_fetched() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    folder(at);
    let try_it = |more: &[&str]| {
        grove(
            at,
            [
                "get",
                "show.torrent",
                "--listen",
                "127.0.0.1:0",
                "--data",
                "viewer",
            ],
        )
        .args(more)
        .run()
        .expect(2)
    };
    try_it(&["--file", "nothing*"]).says("no file of show is meant by --file \"nothing*\"");
    try_it(&["-o", "-"]).says("stdout takes one");
    std::fs::write(at.join("there"), b"x").expect("space on the disk");
    try_it(&["-o", "there"]).says("is a file");
    grove(at, ["play", "show.torrent", "--sink", "null", "--data", "viewer"])
        .run()
        .expect(2)
        .says("a folder of several files");
}

#[test]
fn programs_may_be_run_and_links_are_left_out() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    folder(at);
    let program = at.join("show/extras/two.mp3");
    std::fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("ours");
    std::os::unix::fs::symlink("extras/two.mp3", at.join("show/link")).expect("a link");
    std::os::unix::fs::symlink("/etc/passwd", at.join("show/out")).expect("a link");
    torrent(at);
    let (seed, address) = seed(at);
    let got = grove(at, ["get", "show.torrent", "--json", "--listen", "127.0.0.1:0"])
        .args(["--data", "viewer", "-o", "got", "--peer", &address])
        .run()
        .expect(0)
        .says("2 symbolic links of show are not made");
    assert_eq!(got.event("complete")["content_bytes"], 270_005);
    seed.interrupt();
    let mode = |path: &str| {
        let about = std::fs::symlink_metadata(at.join("got").join(path)).expect(path);
        about.permissions().mode() & 0o111
    };
    assert_eq!((mode("one.mp3"), mode("extras/two.mp3") & 0o100), (0, 0o100));
    same(at, "show/extras/two.mp3", "got/extras/two.mp3");
    for link in ["link", "out"] {
        assert!(
            std::fs::symlink_metadata(at.join("got").join(link)).is_err(),
            "{link}"
        );
    }
}
