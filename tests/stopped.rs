//! A command that is stopped as its result gets its name: either the result is there and the status is 0, or the command was stopped and it is not.

mod common;

use std::path::Path;
use std::time::Instant;

use common::{Grove, PATIENCE, Running, fixtures, grove, publish, sha256};
use rustix::process::{Pid, Signal, kill_process};

/// How often each is tried.
const TRIES: u32 = 12;

fn interrupt(running: &Running) {
    let id = i32::try_from(running.child.id()).expect("process ids are i32");
    // It may have ended meanwhile, and is not waited for yet.
    let _ = kill_process(
        Pid::from_raw(id).expect("process ids are above zero"),
        Signal::INT,
    );
}

/// Waits until something is seen of a command that runs.
#[track_caller]
fn until(running: &mut Running, seen: impl Fn() -> bool) {
    let began = Instant::now();
    while !seen() {
        let ended = running.child.try_wait().expect("a child can be waited for");
        assert!(ended.is_none() || seen(), "it ended too soon: {ended:?}");
        assert!(began.elapsed() < PATIENCE, "nothing is seen of it");
        std::thread::yield_now();
    }
}

/// Interrupts `command` again and again in the moment in which its result is seen.
fn at_the_last_moment(result: &Path, command: impl Fn() -> Grove) {
    for _ in 0..TRIES {
        let mut running = command().start();
        until(&mut running, || result.exists());
        interrupt(&running);
        let (status, said) = running.finish();
        assert_eq!(status, Some(0), "it was there: {said:?}");
        std::fs::remove_file(result).expect("the result is there");
    }
}

#[test]
fn splice_is_done_when_its_result_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.wav");
    let boots = fixtures().join("boots.wav");
    at_the_last_moment(&out, || {
        grove(folder.path(), ["splice", "--json", "-o", "out.wav"])
            .arg(&boots)
            .arg("--ad")
            .arg(format!("1={}", boots.display()))
    });
}

#[test]
fn get_is_done_when_its_result_is_there_and_knows_it_again() {
    let creative = fixtures().join("kettle.mp3");
    let published = publish(["--ad".to_owned(), format!("30={}", creative.display())]);
    let uploaded = published.folder.path().join("web/kettle.mp3");
    std::fs::copy(&creative, uploaded).expect("space on the disk");
    let folder = tempfile::tempdir().expect("a folder");
    let get = |more: &[&str]| {
        grove(folder.path(), ["get", &published.torrent_url(), "--json"])
            .args(["--allow-private", "--listen", "127.0.0.1:0", "--data", "data"])
            .args(more)
    };
    let out = folder.path().join("episode.mp3");
    for more in [&["--no-ads"][..], &[]] {
        at_the_last_moment(&out, || get(more));
    }
    // What was written is known as the command's own, and replaced.
    let mut running = get(&["--no-ads"]).start();
    running.wait_for("complete");
    interrupt(&running);
    assert_eq!(running.finish().0, Some(0));
    assert_eq!(sha256(&out), sha256(&common::episode()));
    get(&[]).run().expect(0);
    assert_ne!(sha256(&out), sha256(&common::episode()));
}

/// Stopped while its result is being written, a command leaves nothing, unless it was too late.
#[test]
fn what_is_stopped_before_leaves_no_result() {
    let folder = tempfile::tempdir().expect("a folder");
    // Creatives that were made ready stay there.
    let state = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("out.wav");
    let boots = fixtures().join("boots.wav");
    let names = || {
        let entries = std::fs::read_dir(folder.path()).expect("the folder");
        entries.flatten().map(|entry| entry.file_name())
    };
    for round in 0..TRIES {
        let mut running = grove(folder.path(), ["splice", "--json", "-o", "out.wav"])
            .arg(&boots)
            .arg("--ad")
            .arg(format!("1={}", boots.display()))
            .env("XDG_DATA_HOME", state.path())
            .start();
        until(&mut running, || names().count() > 0);
        interrupt(&running);
        match running.finish().0 {
            Some(0) => std::fs::remove_file(&out).expect("the result is there"),
            Some(130) => {}
            other => panic!("{other:?}"),
        }
        let left: Vec<_> = names().collect();
        assert!(left.is_empty(), "round {round}: {left:?}");
    }
}
