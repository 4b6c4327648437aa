//! Facts that the publisher signs are hints: right ones, none, and false ones give the same result.

mod common;

use bt_bencode::Value;
use common::facts::{entry, with_facts as with_facts_in};
use common::{Published, grove, publish};

fn with_facts(published: &Published, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    with_facts_in(published.folder.path(), &published.torrent, change)
}

/// The result for a viewer who meets this `.torrent` first, and the gain of its one ad.
fn result(published: &Published, torrent: &[u8]) -> (Vec<u8>, f64) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("e.torrent"), torrent).expect("a file");
    let finished = grove(
        folder.path(),
        [
            "get",
            "e.torrent",
            "--json",
            "--allow-private",
            "--data",
            "state",
            "-o",
            "out.mp3",
        ],
    )
    .run()
    .expect(0);
    let complete = finished.event("complete");
    assert_eq!(complete["ads"].as_array().map(Vec::len), Some(1), "{complete}");
    assert!(published.origin.is_some());
    let bytes = std::fs::read(folder.path().join("out.mp3")).expect("the result");
    (bytes, complete["ads"][0]["gain_db"].as_f64().expect("a gain"))
}

#[test]
fn false_facts_give_the_same_result_as_none() {
    let creative = common::fixtures().join("boots.wav");
    let published = publish(["--ad".to_owned(), format!("50%={}", creative.display())]);
    std::fs::copy(&creative, published.folder.path().join("web/boots.wav")).expect("the creative");

    let (right, gain) = result(&published, &with_facts(&published, |_| {}));
    let none = with_facts(&published, |facts| {
        *facts = Value::Dict(std::collections::BTreeMap::new());
    });
    let too_loud = with_facts(&published, |facts| {
        let Value::List(cues) = entry(facts, "cues") else {
            panic!("cues are a list")
        };
        *entry(&mut cues[0], "loudness") = Value::from(-3700_i32);
    });
    let wrong_rate = with_facts(&published, |facts| {
        *entry(facts, "sample_rate") = Value::from(8000_u32);
        *entry(facts, "channels") = Value::from(1_u32);
        *entry(facts, "samples") = Value::from(4000_u32);
    });
    // One frame of 128k later, and a cue after the end.
    let one_frame_off = with_facts(&published, |facts| {
        let Value::List(cues) = entry(facts, "cues") else {
            panic!("cues are a list")
        };
        for (key, by) in [("offset", 418_u64), ("frame", 1), ("sample", 1152)] {
            let value = entry(&mut cues[0], key);
            *value = Value::from(value.as_u64().expect("a number") + by);
        }
    });
    let outside = with_facts(&published, |facts| {
        let samples = entry(facts, "samples").clone();
        let Value::List(cues) = entry(facts, "cues") else {
            panic!("cues are a list")
        };
        *entry(&mut cues[0], "sample") = samples;
        *entry(&mut cues[0], "position") = Value::from(999_000_000_000_000_u64);
    });
    for (what, torrent) in [
        ("no facts", none),
        ("loudness", too_loud),
        ("rate", wrong_rate),
        ("one frame off", one_frame_off),
        ("outside", outside),
    ] {
        let (bytes, other) = result(&published, &torrent);
        assert!(
            (gain - other).abs() < f64::EPSILON,
            "{what}: {gain} dB and {other} dB"
        );
        assert!(bytes == right, "{what}: the results differ");
    }
}
