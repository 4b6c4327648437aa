//! `grove splice`: local files, no network.

mod common;

use common::{cue, episode, fixtures, grove, sha256};

/// GStreamer's plugin registry is made by whoever is first, and its order changes when it is read again: neither may matter.
#[test]
fn creatives_decode_with_a_fresh_plugin_registry_and_with_the_one_it_left() {
    let folder = tempfile::tempdir().expect("a folder");
    let results = ["first.mp3", "second.mp3", "third.mp3"].map(|result| {
        let mut command = grove(folder.path(), ["splice"])
            .arg(episode())
            .env("XDG_CACHE_HOME", folder.path().join("cache"))
            .arg("-o")
            .arg(result);
        for (at, creative) in [
            (20, "kettle.mp3"),
            (60, "boots.wav"),
            (100, "bank.m4a"),
            (140, "library.ogg"),
        ] {
            command = command
                .arg("--ad")
                .arg(format!("{at}={}", fixtures().join(creative).display()));
        }
        command.run().expect(0);
        sha256(&folder.path().join(result))
    });
    assert!(
        folder.path().join("cache").exists(),
        "the registry was elsewhere, so that nothing was tested"
    );
    assert_eq!(results[0], results[1]);
    assert_eq!(results[1], results[2]);
}

#[test]
fn a_file_is_never_overwritten_by_its_own_result() {
    let folder = tempfile::tempdir().expect("a folder");
    let mine = folder.path().join("mine.mp3");
    std::fs::copy(episode(), &mine).expect("the episode");
    grove(folder.path(), ["splice", "mine.mp3", "-o", "./mine.mp3", "--ad"])
        .arg(format!(
            "{}={}",
            cue("pause"),
            fixtures().join("boots.wav").display()
        ))
        .run()
        .expect(2)
        .says("overwritten");
    assert_eq!(sha256(&mine), sha256(&episode()));
}
