//! `grove publish`, `inspect` and `get` as processes: what is refused, and that a file and a stream have the same bytes.

mod common;

use common::{episode, grove, publish};

#[test]
fn a_published_episode_is_inspected_and_downloaded() {
    let published = publish(Vec::<String>::new());
    let folder = tempfile::tempdir().expect("a folder");
    let url = published.origin.as_ref().expect("a server").url("episode.mp3");
    grove(folder.path(), ["inspect", &url, "--data", "state", "--json"])
        .run()
        .expect(0);
    grove(folder.path(), ["get", &url, "--data", "state", "-o", "whole.mp3"])
        .run()
        .expect(0);
    let stream = grove(folder.path(), ["get", &url, "--data", "state", "-o", "-"])
        .run()
        .expect(0);
    let master = std::fs::read(episode()).expect("the episode");
    assert!(
        std::fs::read(folder.path().join("whole.mp3")).expect("the result") == master,
        "the file is the master"
    );
    assert!(stream.stdout == master, "the stream is the master");
}

#[test]
fn rubbish_is_bad_input() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("rubbish.torrent"), b"d3:foo").expect("a file");
    std::fs::write(folder.path().join("empty.mp3"), b"").expect("a file");
    grove(folder.path(), ["inspect", "rubbish.torrent", "--data", "state"])
        .run()
        .expect(2)
        .says("not a valid .torrent");
    grove(folder.path(), ["get", "magnet:?dn=x", "--data", "state"])
        .run()
        .expect(2)
        .says("magnet");
    grove(
        folder.path(),
        [
            "publish",
            "empty.mp3",
            "--origin",
            "http://127.0.0.1:9/",
            "--data",
            "state",
        ],
    )
    .run()
    .expect(2)
    .says("empty");
}

#[test]
fn cue_points_are_put_in_order_and_impossible_ones_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(episode(), folder.path().join("episode.mp3")).expect("the episode");
    let origin = format!("http://{}/episode.mp3", common::closed_port());
    let publish = |cues: &[&str]| {
        let mut command = grove(folder.path(), ["publish", "episode.mp3", "--origin", &origin]);
        for cue in cues {
            command = command.arg("--cue").arg(cue);
        }
        command.run()
    };
    publish(&["9:00"]).expect(2).says("after the end");
    publish(&["5+10", "8"]).expect(2).says("0:08").says("replaces");
    publish(&["20", "0:20"]).expect(2).says("two cue points");
    publish(&["100", "20"]).expect(0).says("nothing can play");
    let inspected = grove(folder.path(), ["inspect", "episode.mp3.torrent", "--json"])
        .run()
        .expect(0);
    let cues = inspected.event("inspected")["cue_sheet"]["cues"].to_string();
    let at = |what: &str| cues.find(what).unwrap_or_else(|| panic!("no {what}: {cues}"));
    assert!(at("cue-1") < at("cue-2"), "{cues}");
}
