//! What a person does with a torrent besides downloading it: look at its swarm, stop by ratio or time, check again, remove.

mod common;

use std::path::Path;

use common::held::Held;
use common::http::ask_part;
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

const OTHER: usize = 70_000;

/// Another file and its torrent.
fn publish_other(at: &Path) {
    let data = [7_u8].repeat(OTHER);
    let other = Builder::new("other.bin").hash(&data[..], OTHER as u64, |_| {});
    let other = other.expect("it can be hashed");
    std::fs::write(at.join("other.bin.torrent"), other.to_bytes()).expect("space on the disk");
    std::fs::write(at.join("other.bin"), data).expect("space on the disk");
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
        ],
    )
    .args(LOOPBACK)
    .args(["--peer", peer])
    .args(if more.contains(&"-o") {
        &[][..]
    } else {
        &["-o", "got.bin"]
    })
    .args(more)
    .run()
}

/// Another viewer, which is not waited for.
fn second_viewer(at: &Path, peer: &str) -> Running {
    grove(
        at,
        ["get", "thing.bin.torrent", "--json", "--no-ads", "--no-origin"],
    )
    .args(["--data", "second", "-o", "second.bin", "--peer", peer])
    .args(LOOPBACK)
    .start()
}

#[test]
fn a_seed_stops_by_itself_once_it_has_sent_enough() {
    let place = tempfile::tempdir().expect("a folder");
    publish(place.path());
    let (mut seed, address) = seed(place.path(), &["--seed-ratio", "1.5"]);
    get(place.path(), &address, &[]).expect(0);
    // The seed leaves this one in the middle.
    let _second = second_viewer(place.path(), &address);
    let (status, rest) = seed.finish();
    assert_eq!(status, Some(0));
    let done = rest.last().expect("a done");
    assert!(done["uploaded"].as_u64() >= Some(LENGTH as u64 * 3 / 2), "{done}");
    assert_eq!(done["ways"]["direct"], 2, "{done}");
}

#[test]
fn a_seed_goes_on_without_the_source_that_is_wrong() {
    let place = tempfile::tempdir().expect("a folder");
    publish(place.path());
    publish_other(place.path());
    std::fs::remove_file(place.path().join("other.bin")).expect("it is there");
    let mut seed = grove(
        place.path(),
        [
            "seed",
            "other.bin.torrent",
            "thing.bin.torrent",
            "--json",
            "--data",
            "seed",
        ],
    )
    .args(LOOPBACK)
    .start();
    let address = seed.wait_for("listening")["quic"][0]
        .as_str()
        .expect("an address")
        .to_owned();
    let error = seed.wait_for("error")["error"].to_string();
    assert!(error.contains("other.bin"), "{error}");
    seed.wait_for("seeding");
    get(place.path(), &address, &[]).expect(0);
    let (status, rest) = seed.interrupt();
    assert_eq!(status, Some(1), "{rest:?}");
}

/// What cannot be sent any more is not waited for.
#[test]
fn a_seed_of_which_one_source_fails_ends_when_the_rest_was_sent() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    publish(at);
    publish_other(at);
    let sources = [
        "seed",
        "other.bin.torrent",
        "thing.bin.torrent",
        "--seed-ratio",
        "1",
        "--json",
        "--data",
        "seed",
    ];
    let mut seed = grove(at, sources).args(LOOPBACK).start();
    let address = seed.wait_for("listening")["quic"][0]
        .as_str()
        .expect("an address")
        .to_owned();
    seed.wait_for("seeding");
    seed.wait_for("seeding");
    std::fs::write(at.join("other.bin"), [8_u8].repeat(OTHER + 1)).expect("space on the disk");
    let asking = grove(
        at,
        [
            "get",
            "other.bin.torrent",
            "--json",
            "--no-origin",
            "--data",
            "asking",
        ],
    )
    .args(LOOPBACK)
    .args(["-o", "asked.bin", "--peer", &address])
    .start();
    let error = seed.wait_for("error")["error"].to_string();
    assert!(error.contains("other.bin"), "{error}");
    get(at, &address, &[]).expect(0);
    let (status, rest) = seed.finish();
    assert_eq!(status, Some(1), "{rest:?}");
    asking.kill();
}

#[test]
fn a_terminal_that_is_closed_stops_it_unless_it_was_told_to_outlive_it() {
    let place = tempfile::tempdir().expect("a folder");
    publish(place.path());
    let (mut plain, _) = seed(place.path(), &[]);
    plain.hang_up();
    let (status, rest) = plain.finish();
    assert_eq!(status, Some(0), "{rest:?}");
    assert_eq!(rest.last().expect("a done")["event"], "done");

    let mut told = grove(
        place.path(),
        ["seed", "thing.bin.torrent", "--json", "--data", "seed"],
    )
    .args(LOOPBACK)
    .through(["nohup"])
    .start();
    let address = told.wait_for("listening")["quic"][0]
        .as_str()
        .expect("an address")
        .to_owned();
    told.wait_for("seeding");
    told.hang_up();
    get(place.path(), &address, &[]).expect(0);
    told.interrupt();
}

/// What it says on its way out has no reader any more.
#[test]
fn a_terminal_that_is_gone_ends_it_as_one_that_is_closed() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    publish(at);
    // The head of a terminal's session, as a shell is, passes the signal on, and outlives it here to tell how grove ended.
    let shell =
        "\"$@\" & child=$!\ntrap 'kill -HUP $child' HUP\nwait $child\nwait $child\necho $? > status\n";
    std::fs::write(at.join("outlive.sh"), shell).expect("space on the disk");
    let made = std::process::Command::new("mkfifo")
        .arg(at.join("status"))
        .status();
    assert!(made.is_ok_and(|made| made.success()), "mkfifo, of coreutils");
    for json in [&[][..], &["--json"][..]] {
        let terminal = grove(at, ["seed", "thing.bin.torrent", "--data", "seed", "-v"])
            .args(json)
            .args(LOOPBACK)
            .through(["sh", "outlive.sh"])
            .at_terminal();
        terminal.wait_for("seeding");
        drop(terminal);
        let (tell, told) = std::sync::mpsc::channel();
        let fifo = at.join("status");
        std::thread::spawn(move || tell.send(std::fs::read_to_string(fifo)));
        let status = told.recv_timeout(common::PATIENCE).expect("it ends");
        assert_eq!(status.expect("a pipe"), "0\n", "{json:?}");
    }
}

#[test]
fn what_cannot_be_written_to_stdout_is_an_error() {
    let place = tempfile::tempdir().expect("a folder");
    publish(place.path());
    let full = "exec \"$0\" \"$@\" >/dev/full";
    grove(place.path(), ["inspect", "thing.bin.torrent"])
        .through(["sh", "-c", full])
        .run()
        .expect(1)
        .says("cannot write to stdout: No space left on device");
}

/// What has arrived waits to be read there, and would be lost with the connection.
#[test]
fn a_seed_that_has_sent_enough_leaves_nobody_who_reads_slowly() {
    let place = tempfile::tempdir().expect("a folder");
    publish(place.path());
    let (mut seed, address) = seed(place.path(), &["--seed-ratio", "1"]);
    get(place.path(), &address, &["--down", "500K"]).expect(0);
    let (status, rest) = seed.finish();
    assert_eq!(status, Some(0), "{rest:?}");
}

#[test]
fn the_result_takes_no_space_of_its_own_and_is_the_persons_to_change() {
    use std::os::unix::fs::MetadataExt as _;
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    publish(at);
    let (seed, address) = seed(at, &[]);
    let first = get(at, &address, &[]).expect(0).event("complete");
    let info_hash = first["info_hash"].as_str().expect("a hash");
    let kept = at.join("viewer/store").join(info_hash).join("content");
    let inode = |path: &Path| std::fs::metadata(path).expect("it is there").ino();
    assert_eq!(inode(&kept), inode(&at.join("got.bin")));
    // Again to the same place, which leaves nothing beside it.
    get(at, &address, &[]).expect(0);
    let parts = || {
        let names = std::fs::read_dir(at).expect("a folder");
        let names = names.map(|entry| entry.expect("an entry").file_name());
        names
            .filter(|name| name.to_string_lossy().starts_with(".grove-"))
            .count()
    };
    assert_eq!(parts(), 0);

    let mut changed = std::fs::read(at.join("got.bin")).expect("it is there");
    changed[700_000] ^= 1;
    changed.extend(b"a tag of theirs");
    std::fs::write(at.join("got.bin"), &changed).expect("it can be written");
    get(at, &address, &["-o", "again.bin"]).expect(0);
    assert!(std::fs::read(at.join("got.bin")).expect("it is there") == changed);
    assert_eq!(sha256(&at.join("again.bin")), sha256(&at.join("thing.bin")));
    assert_eq!(parts(), 0);
    drop(seed);
}

#[test]
fn a_result_that_is_changed_while_it_is_served_is_told_of() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    // More than is served from memory.
    let data = [5_u8].repeat(12 << 20);
    let metainfo = Builder::new("thing.bin").hash(&data[..], data.len() as u64, |_| {});
    let metainfo = metainfo.expect("it can be hashed");
    std::fs::write(at.join("thing.bin.torrent"), metainfo.to_bytes()).expect("space on the disk");
    std::fs::write(at.join("thing.bin"), data).expect("space on the disk");
    let (seed, address) = seed(at, &[]);
    let viewer = |data: &str, peer: &str| {
        let words = [
            "get",
            "thing.bin.torrent",
            "--json",
            "--no-ads",
            "--no-origin",
            "--data",
            data,
        ];
        let out = format!("{data}.bin");
        grove(at, words).args(LOOPBACK).args(["--peer", peer, "-o", &out])
    };
    let mut first = viewer("first", &address).args(["--seed-for", "1:00:00"]).start();
    let listening = first.wait_for("listening");
    let served = listening["quic"][0].as_str().expect("an address").to_owned();
    first.wait_for("complete");
    let result = std::fs::OpenOptions::new()
        .append(true)
        .open(at.join("first.bin"));
    std::io::Write::write_all(&mut result.expect("it is there"), b"a tag").expect("space on the disk");
    let second = viewer("second", &served).start();
    first.hear("note: nothing more is served: ");
    first.hear("it was changed while it was being served");
    assert_eq!(first.finish().0, Some(0));
    second.kill();
    seed.kill();
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
    let first = [live.next(), live.next()].map(|said| said.expect("it says something"));
    assert!(first[0]["quic"][0].is_string(), "{first:?}");
    assert_eq!(
        (&first[0]["event"], &first[1]["event"]),
        (&"listening".into(), &"inspected".into())
    );
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
    // What has another name takes its space as before.
    assert!(removed["bytes"].as_u64() < Some(LENGTH as u64 / 2), "{removed}");
    assert!(!content.exists());
    assert_eq!(sha256(&at.join("got.bin")), sha256(&at.join("thing.bin")));
    assert_eq!(remove().event("removed")["bytes"], serde_json::Value::Null);
}

#[test]
fn a_key_pauses_a_download_and_has_it_go_on() {
    let held = Held::publish();
    let mut terminal = grove(held.at(), ["get", "web/episode.mp3.torrent", "-o", "got.mp3"])
        .args(["--allow-private", "--data", "viewer"])
        .args(LOOPBACK)
        .at_terminal();
    held.until(true);
    // The line of progress is there once keys are heard.
    terminal.wait_for("origin 0 B");
    terminal.press("p");
    terminal.wait_for("paused: it was asked to");
    // What was under way is given up.
    held.until(false);
    held.open();
    assert!(!held.at().join("got.mp3").exists());
    terminal.press("p");
    assert_eq!(terminal.finish(), Some(0));
    assert_eq!(sha256(&held.at().join("got.mp3")), sha256(&common::episode()));
}

#[test]
fn a_name_that_the_torrent_gives_replaces_nothing_of_the_persons() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    publish(at);
    let (seed, address) = seed(at, &[]);
    let folder = at.join("downloads");
    std::fs::create_dir(&folder).expect("a folder");
    let get = || get(at, &address, &["-o", "downloads"]);
    let result = folder.join("thing.bin");
    std::fs::write(&result, "a person's").expect("space on the disk");
    get().expect(2).says("is here already");
    assert_eq!(std::fs::read(&result).expect("it is there"), b"a person's");
    // The same bytes are no loss, and what was written goes its way again.
    std::fs::copy(at.join("thing.bin"), &result).expect("space on the disk");
    get().expect(0);
    get().expect(0);
    assert_eq!(sha256(&result), sha256(&at.join("thing.bin")));
    std::fs::write(&result, "notes").expect("space on the disk");
    get().expect(2).says("-o FILE");
    assert_eq!(seed.interrupt().0, Some(0));
}

#[test]
fn a_place_that_cannot_be_written_to_is_said_before_anything_has_come() {
    let held = Held::publish();
    // On another disk than what is kept, and on the same.
    for place in ["/proc/nothing/got.mp3", "web/episode.mp3/got.mp3"] {
        let mut get = grove(held.at(), ["get", "web/episode.mp3.torrent", "--json"])
            .args(["-o", place])
            .args(["--allow-private", "--data", "viewer"])
            .args(LOOPBACK)
            .start();
        let error = get.wait_for("error")["error"].to_string();
        assert!(error.contains("cannot write"), "{error}");
        assert_eq!(get.finish().0, Some(1));
    }
}

#[test]
fn a_pipe_that_nobody_reads_does_not_hold_up_the_end() {
    use std::io::Read as _;
    use std::process::{Command, Stdio};
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    publish(at);
    let (seed, address) = seed(at, &[]);
    let mut get = Command::new(env!("CARGO_BIN_EXE_grove"))
        .args(["get", "thing.bin.torrent", "--no-ads", "--data", "viewer"])
        .args(["-o", "-", "--peer", &address])
        .args(LOOPBACK)
        .current_dir(at)
        .env("XDG_DATA_HOME", at.join("share"))
        .env("GROVE_NO_DISCOVERY", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it can be started");
    let mut stdout = get.stdout.take().expect("stdout is piped");
    // It is at it; no pipe holds all.
    stdout.read_exact(&mut [0]).expect("a byte");
    let id = rustix::process::Pid::from_child(&get);
    rustix::process::kill_process(id, rustix::process::Signal::INT).expect("it can be signalled");
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(get.wait()));
    let status = ended.recv_timeout(std::time::Duration::from_secs(60));
    if status.is_err() {
        let _ = rustix::process::kill_process(id, rustix::process::Signal::KILL);
    }
    let status = status.expect("it ends").expect("it can be waited for");
    assert_eq!(status.code(), Some(130));
    drop(stdout);
    assert_eq!(seed.interrupt().0, Some(0));
}

fn signal(running: &Running, signal: rustix::process::Signal) {
    let id = i32::try_from(running.child.id()).expect("process ids are i32");
    let id = rustix::process::Pid::from_raw(id).expect("process ids are above zero");
    rustix::process::kill_process(id, signal).expect("a running child can be signalled");
}

#[test]
fn signals_pause_a_download_and_have_it_go_on() {
    use rustix::process::Signal;
    let held = Held::publish();
    let mut get = grove(
        held.at(),
        ["get", "web/episode.mp3.torrent", "-o", "got.mp3", "--json"],
    )
    .args(["--allow-private", "--data", "viewer"])
    .args(LOOPBACK)
    .start();
    held.until(true);
    signal(&get, Signal::USR1);
    get.wait_for("paused");
    // What was under way is given up.
    held.until(false);
    get.wait_until("a report of the pause", |line| line["state"] == "paused");
    held.open();
    signal(&get, Signal::USR2);
    get.wait_for("resumed");
    get.wait_for("complete");
    assert_eq!(get.finish().0, Some(0));
    assert_eq!(sha256(&held.at().join("got.mp3")), sha256(&common::episode()));
}

#[test]
fn signals_pause_a_seed_and_have_it_serve_again() {
    use rustix::process::Signal;
    let place = tempfile::tempdir().expect("a folder");
    publish(place.path());
    let (mut seed, address) = seed(place.path(), &[]);
    signal(&seed, Signal::USR1);
    seed.wait_for("paused");
    let refused = get(place.path(), &address, &[]).expect(1).event("error");
    assert!(
        refused["error"].as_str().is_some_and(|why| !why.is_empty()),
        "{refused}"
    );
    signal(&seed, Signal::USR2);
    seed.wait_for("resumed");
    get(place.path(), &address, &[]).expect(0);
    let (status, rest) = seed.interrupt();
    assert_eq!(status, Some(0));
    assert_eq!(rest.last().expect("a done")["uploaded"], LENGTH as u64);
}

#[test]
fn signals_pause_a_send() {
    use rustix::process::Signal;
    let place = tempfile::tempdir().expect("a folder");
    publish(place.path());
    let mut send = grove(place.path(), ["send", "thing.bin", "--json", "--data", "sender"])
        .args(LOOPBACK)
        .start();
    let link = send.wait_for("link")["link"].as_str().expect("a link").to_owned();
    signal(&send, Signal::USR1);
    send.wait_for("paused");
    // It is paused already.
    signal(&send, Signal::USR1);
    let mut get = grove(
        place.path(),
        ["get", &link, "--json", "--data", "receiver", "-o", "got.bin"],
    )
    .args(LOOPBACK)
    .start();
    get.wait_for("listening");
    let mut said = Vec::new();
    for _ in 0..3 {
        said.push(send.wait_for("progress"));
    }
    assert!(
        said.iter()
            .all(|line| line["uploaded"] == 0 && line["peers"] == 0),
        "{said:?}"
    );
    signal(&send, Signal::USR2);
    send.wait_until("that it goes on, once", |line| {
        assert_ne!(line["event"], "paused", "twice");
        line["event"] == "resumed"
    });
    signal(&send, Signal::USR2);
    get.wait_for("complete");
    assert_eq!(get.finish().0, Some(0));
    assert_eq!(send.finish().0, Some(0));
    assert_eq!(
        sha256(&place.path().join("got.bin")),
        sha256(&place.path().join("thing.bin"))
    );
}

#[test]
fn nothing_dies_of_a_signal_that_it_does_not_heed() {
    use rustix::process::Signal;
    let place = tempfile::tempdir().expect("a folder");
    for command in ["node", "tracker"] {
        let mut running = grove(place.path(), [command, "--json", "--http", "127.0.0.1:0"]).start();
        let listening = running.wait_for("listening");
        signal(&running, Signal::USR1);
        signal(&running, Signal::USR2);
        // It still answers.
        let address = listening["http"].as_str().expect("an address");
        ask_part(address.parse().expect("an address"), "GET", "/", &[]);
    }
}

#[test]
fn a_tracker_takes_the_options_of_all_that_open_sockets() {
    let place = tempfile::tempdir().expect("a folder");
    for listen in ["--listen", "--quic"] {
        let mut tracker = grove(place.path(), ["tracker", "--json", "--http", "127.0.0.1:0"])
            .args([listen, "127.0.0.1:0", "--data", "tracker", "--allow-private"])
            .args(["--up", "1M", "--down", "1M"])
            .start();
        let listening = tracker.wait_for("listening");
        let quic = listening["quic"].as_array().map(Vec::len);
        assert_eq!(quic, Some(1), "{listening}");
        let (status, said) = tracker.end();
        assert_eq!(status, Some(0), "{said}");
        assert!(said.contains("makes no use of --data"), "{said}");
    }
}

#[test]
fn without_peers_everything_comes_from_the_origin_and_without_both_nobody_is_asked() {
    let held = Held::publish();
    held.open();
    let mut seed = grove(
        held.at(),
        ["seed", "web/episode.mp3.torrent", "--json", "--data", "seed"],
    )
    .args(LOOPBACK)
    .start();
    let listening = seed.wait_for("listening");
    let address = listening["quic"][0].as_str().expect("an address").to_owned();
    seed.wait_for("seeding");
    let get = |more: &[&str]| {
        grove(
            held.at(),
            ["get", "web/episode.mp3.torrent", "--json", "-o", "got.mp3"],
        )
        .args(["--allow-private", "--data", "viewer", "--peer", &address])
        .args(LOOPBACK)
        .args(more)
        .run()
    };
    get(&["--no-peers", "--no-origin"])
        .expect(1)
        .says("neither web seeds nor peers are to be used");
    let complete = get(&["--no-peers"]).expect(0).event("complete");
    assert_eq!(complete["from_peers"], 0, "{complete}");
    assert_eq!(complete["from_origin"], complete["content_bytes"], "{complete}");
    assert_eq!(sha256(&held.at().join("got.mp3")), sha256(&common::episode()));
    let (_, rest) = seed.interrupt();
    assert_eq!(rest.last().expect("a done")["peers"], 0, "{rest:?}");
}

#[test]
fn a_download_goes_on_serving_until_its_ratio_is_reached() {
    let place = tempfile::tempdir().expect("a folder");
    publish(place.path());
    let (seed, address) = seed(place.path(), &[]);
    let mut first = grove(place.path(), ["get", "thing.bin.torrent", "--json", "--no-ads"])
        .args(["--data", "first", "-o", "first.bin", "--peer", &address])
        .args(["--seed-ratio", "1.5"])
        .args(LOOPBACK)
        .start();
    let listening = first.wait_for("listening");
    let address = listening["quic"][0].as_str().expect("an address").to_owned();
    first.wait_for("complete");
    seed.kill();
    get(place.path(), &address, &[]).expect(0);
    let _second = second_viewer(place.path(), &address);
    let (status, rest) = first.finish();
    assert_eq!(status, Some(0));
    let done = rest.last().expect("a done");
    assert!(done["uploaded"].as_u64() >= Some(LENGTH as u64 * 3 / 2), "{done}");
}

#[test]
fn a_download_of_several_goes_on_without_the_source_that_is_wrong_and_serves_beside_the_next() {
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    publish(at);
    publish_other(at);
    let both = [
        "seed",
        "thing.bin.torrent",
        "other.bin.torrent",
        "--json",
        "--data",
        "seed",
    ];
    let mut seed = grove(at, both).args(LOOPBACK).start();
    let listening = seed.wait_for("listening");
    let address = listening["quic"][0].as_str().expect("an address").to_owned();
    seed.wait_for("seeding");
    seed.wait_for("seeding");
    let several = |data: &str, peer: &str| {
        grove(
            at,
            ["get", "thing.bin.torrent", "none.torrent", "other.bin.torrent"],
        )
        .args([
            "--json",
            "--no-ads",
            "--no-origin",
            "--data",
            data,
            "--peer",
            peer,
        ])
        .args(["-o", &format!("{data}-out/")])
        .args(LOOPBACK)
    };
    let is_whole = |data: &str, name: &str| {
        let got = at.join(format!("{data}-out")).join(name);
        assert_eq!(sha256(&got), sha256(&at.join(name)), "{data}: {name}");
    };

    let mut first = several("first", &address).args(["--seed-for", "1:00:00"]).start();
    let listening = first.wait_for("listening");
    let served = listening["quic"][0].as_str().expect("an address").to_owned();
    first.wait_for("complete");
    let error = first.wait_for("error");
    assert!(error["error"].to_string().contains("none.torrent"), "{error}");
    first.wait_for("complete");
    seed.kill();
    // Both are served together.
    several("second", &served).run().expect(2);
    for data in ["first", "second"] {
        is_whole(data, "thing.bin");
        is_whole(data, "other.bin");
    }
    let (status, rest) = first.interrupt();
    assert_eq!(status, Some(130));
    let done = rest.iter().filter(|line| line["event"] == "done");
    let mut sent: Vec<_> = done.filter_map(|line| line["uploaded"].as_u64()).collect();
    sent.sort_unstable();
    let mut all = [LENGTH as u64, OTHER as u64];
    all.sort_unstable();
    // What was late may have been sent twice.
    assert!(
        sent.len() == 2 && sent.iter().zip(all).all(|(sent, all)| *sent >= all),
        "{rest:?}"
    );
}
