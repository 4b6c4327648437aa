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

/// Whole seconds of a file, by ffprobe.
fn seconds(path: &std::path::Path) -> f64 {
    let said = std::process::Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-show_entries",
            "format=duration",
            "-of",
            "csv=p=0",
        ])
        .arg(path)
        .output()
        .expect("ffprobe runs (`make setup` installs it)");
    String::from_utf8_lossy(&said.stdout)
        .trim()
        .parse()
        .expect("a duration")
}

#[test]
fn a_preview_holds_only_what_is_around_the_breaks_and_says_where_cues_went() {
    let folder = tempfile::tempdir().expect("a folder");
    let off = cue("pause") - 0.4;
    let creative = fixtures().join("boots.wav");
    let finished = grove(
        folder.path(),
        ["splice", "-o", "part.mp3", "--preview=4", "--json"],
    )
    .args(["--snap", "0.75", "--ad"])
    .arg(format!("{off}={}", creative.display()))
    .arg(episode())
    .run()
    .expect(0)
    .says("into a pause");
    let complete = finished.event("complete");
    let (snapped, ad) = (&complete["snapped"][0], &complete["ads"][0]);
    let distance = snapped["distance"].as_f64().expect("a distance");
    assert!(distance.abs() > 0.0 && distance.abs() <= 0.75, "{complete}");
    assert!(
        (snapped["from"].as_f64().expect("a time") + distance - ad["cue"].as_f64().expect("a cue")).abs()
            < 1e-3
    );
    let expected = 2.0 * 4.0 + ad["duration"].as_f64().expect("a duration") + 2.0 * 0.5;
    let found = seconds(&folder.path().join("part.mp3"));
    assert!(
        (found - expected).abs() < 0.2,
        "{found} s, and {expected} s were expected"
    );
    assert!(seconds(&episode()) > found + 60.0);
}
