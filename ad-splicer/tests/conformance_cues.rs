//! Marks that others wrote: Comcast's vectors of SCTE-35, globo.com's playlists, and the Podcast Namespace's chapters. What is expected of playlists was read off them by hand.
//!
//! `CONFORMANCE=FOLDER cargo test -p ad-splicer --features conformance --test conformance_cues`

use std::path::{Path, PathBuf};

use ad_splicer::cues::Action;
use ad_splicer::cues::marks::{Marks, MarksError, Options, parse, read};

fn folder(kind: &str) -> PathBuf {
    let folder = std::env::var_os("CONFORMANCE").expect(
        "CONFORMANCE is not set: it names the folder of conformance inputs (make conformance CONFORMANCE=FOLDER)",
    );
    // Cargo runs tests in the package's folder; a relative path is meant from the workspace's.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(folder)
        .join(kind);
    assert!(
        folder.is_dir(),
        "CONFORMANCE: there is no folder {}",
        folder.display()
    );
    folder
}

/// Where breaks are, and how many milliseconds of content each replaces.
fn breaks(marks: &Marks) -> Vec<(String, u128)> {
    let of = |action: &Action| match action {
        Action::Insert => 0,
        Action::Replace(length) => length.as_millis(),
    };
    let cues = marks.cues();
    cues.map(|cue| (cue.position.to_string(), of(&cue.action)))
        .collect()
}

#[test]
fn messages_are_taken_or_refused_as_comcasts_reader_does() {
    let path = folder("scte35").join("vectors.tsv");
    let table = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut rows = 0;
    for row in table.lines().skip(1) {
        let columns: Vec<&str> = row.split('\t').collect();
        let [_, name, encoded, error] = columns[..] else {
            panic!("{row:?} has not four columns")
        };
        let marks = parse(encoded.as_bytes(), &Options::default());
        assert_eq!(marks.is_ok(), error.is_empty(), "{name}: {marks:?}");
        rows += 1;
    }
    assert!(rows > 10, "{rows} rows");
}

#[test]
fn playlists_have_the_breaks_that_stand_in_them() {
    let expected: &[(&str, &[(&str, u128)])] = &[
        ("cue_out_cont_alt_playlist", &[("00:00:00", 119_987)]),
        ("cue_out_elemental_playlist", &[("00:00:22.040", 50_000)]),
        ("cue_out_no_duration_playlist", &[("00:00:00", 11_520)]),
        // It begins within one, and ends it.
        ("cue_out_playlist", &[]),
        ("cue_out_with_duration_playlist", &[("00:00:00", 11_520)]),
        ("daterange_scte35_out_and_in_playlist", &[("00:00:00", 59_993)]),
        ("discontinuity_playlist_with_program_date_time", &[]),
        ("map_uri_playlist", &[]),
        // A call of the ad server, which is no break by itself.
        ("oatcls_elemental_playlist", &[]),
    ];
    for (name, cues) in expected {
        let path = folder("hls").join(format!("{name}.m3u8"));
        let marks = read(&path, &Options::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let cues: Vec<(String, u128)> = cues.iter().map(|(at, length)| ((*at).into(), *length)).collect();
        assert_eq!(breaks(&marks), cues, "{name}");
    }
}

#[test]
fn chapters_are_chapters_and_transcripts_are_none() {
    let rss = folder("rss");
    for (name, count) in [
        ("examples_chapters_example.json", 9),
        ("examples_chapters_exampleComplex.json", 11),
    ] {
        let marks =
            read(&rss.join(name), &Options::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((marks.marks.len(), marks.cues().count()), (count, 0), "{name}");
    }
    for name in [
        "examples_transcripts_example.json",
        "examples_transcripts_example.srt",
        "examples_transcripts_example.vtt",
    ] {
        let error = read(&rss.join(name), &Options::default()).expect_err(name);
        assert!(
            matches!(error, MarksError::Line { line: 1, .. } | MarksError::Json(_)),
            "{name}: {error:?}"
        );
    }
}
