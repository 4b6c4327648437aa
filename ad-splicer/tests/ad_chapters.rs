//! Ads in the list of chapters, read by ffprobe and by the `id3` crate; and chapters in tags as marks.

mod common;

use std::path::PathBuf;

use ad_splicer::content::FileContent;
use ad_splicer::cues::marks;
use ad_splicer::splice::{self, Break, Options, Report};
use common::{Fixture, ad, at, chapters};

fn splice_with(fixture: &Fixture, breaks: &[Break], ad_chapters: bool) -> (PathBuf, Report) {
    let content = FileContent::open(&fixture.content).unwrap();
    let options = Options {
        ad_chapters,
        ..Options::default()
    };
    let mut bytes = Vec::new();
    let report = splice::splice(&content, breaks, &options, &mut bytes).unwrap();
    let name = format!(
        "result.{}",
        fixture.content.extension().unwrap().to_str().unwrap()
    );
    let path = fixture.dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (path, report)
}

/// The chapters of the fixture are One, Two from 11 s, Three from 22 s.
fn judge(fixture: &Fixture) -> PathBuf {
    let breaks = [
        at(15_000, vec![ad(44_100, 2, 88_200, 500.0)]),
        at(22_000, vec![ad(44_100, 2, 44_100, 700.0)]),
    ];
    let (path, _) = splice_with(fixture, &breaks, false);
    let titles: Vec<String> = chapters(&path).into_iter().map(|one| one.0).collect();
    assert_eq!(
        titles,
        ["One", "Two", "Three"],
        "nobody asked for ads in the list"
    );

    let (path, report) = splice_with(fixture, &breaks, true);
    let found = chapters(&path);
    let wanted = [
        ("One", 0.0),
        ("Two", 11.0),
        ("Ad", 15.0),
        ("Two", 17.0),
        ("Ad", 24.0),
        ("Three", 25.0),
    ];
    assert_eq!(found.len(), wanted.len(), "{found:?}");
    for ((title, start, _), (wanted, begins)) in found.iter().zip(wanted) {
        // Silence of less than a frame follows each break.
        assert_eq!(title, wanted, "{found:?}");
        assert!(
            (start - begins).abs() < 0.06,
            "{title} begins at {start} s: {found:?}"
        );
    }
    assert!(
        found.windows(2).all(|pair| (pair[0].2 - pair[1].1).abs() < 0.002),
        "each lasts until the next: {found:?}"
    );
    for ad in &report.ads {
        let begins = ad.presentation.as_secs_f64();
        assert!(
            found
                .iter()
                .any(|one| one.0 == "Ad" && (one.1 - begins).abs() < 0.002),
            "{ad:?} is not in {found:?}"
        );
    }
    let told: Vec<&str> = report.chapters.iter().map(|one| one.title.as_str()).collect();
    assert_eq!(told, ["One", "Two", "Ad", "Two", "Ad", "Three"]);
    path
}

#[test]
fn in_id3() {
    for version in ["3", "4"] {
        let coding = ["-id3v2_version", version, "-c:a", "libmp3lame", "-b:a", "128k"];
        let fixture = Fixture::new("content.mp3", 44_100, 2, &coding);
        let path = judge(&fixture);
        let tag = id3::Tag::read_from_path(&path).unwrap();
        assert_eq!(tag.chapters().count(), 6);
        for table in tag.tables_of_contents() {
            let begins = |id: &String| {
                let chapter = tag.chapters().find(|chapter| chapter.element_id == *id);
                chapter.expect("what it names is there").start_time
            };
            assert_eq!(table.elements.len(), 6);
            assert!(table.elements.iter().map(begins).is_sorted(), "{table:?}");
        }
    }
}

#[test]
fn in_mp4() {
    judge(&Fixture::new(
        "content.m4a",
        44_100,
        2,
        &["-c:a", "aac", "-b:a", "128k"],
    ));
}

/// Sound that stops for a second in the middle: players count that second, and chapters stand on their clock.
#[test]
fn after_a_gap_in_the_sound() {
    let gap = "aselect=not(between(t\\,5\\,6))";
    let coding = ["-af", gap, "-c:a", "aac", "-b:a", "128k"];
    judge(&Fixture::new("content.m4a", 44_100, 2, &coding));
}

#[test]
fn a_pre_roll_stands_before_the_first_chapter() {
    for (name, coding) in [
        ("content.mp3", ["-c:a", "libmp3lame", "-b:a", "128k"]),
        ("content.m4a", ["-c:a", "aac", "-b:a", "128k"]),
    ] {
        let fixture = Fixture::new(name, 44_100, 2, &coding);
        let (path, _) = splice_with(&fixture, &common::ends(44_100, 2), true);
        let found = chapters(&path);
        let titles: Vec<&str> = found.iter().map(|one| one.0.as_str()).collect();
        assert_eq!(titles, ["Ad", "One", "Two", "Three", "Ad"], "{found:?}");
        assert!(
            found[0].1.abs() < 0.001 && (found[1].1 - 1.0).abs() < 0.06,
            "{found:?}"
        );
    }
}

/// The second chapter is as long as what ads take the place of, or shorter; then the third begins with what is left of it.
#[test]
fn a_chapter_of_which_nothing_is_left_is_in_no_list() {
    // ffmpeg writes chapters into Opus, but not into FLAC and Vorbis.
    let tags = [(1, "00", "One"), (2, "11", "Two"), (3, "22", "Three")].map(|(number, second, title)| {
        let number = format!("CHAPTER{number:03}");
        [
            format!("{number}=00:00:{second}.000"),
            format!("{number}NAME={title}"),
        ]
    });
    let with_tags = |coder, option| {
        let mut coding = vec!["-c:a", coder];
        for text in tags.as_flattened() {
            coding.extend([option, text.as_str()]);
        }
        coding
    };
    let flac = with_tags("flac", "-metadata");
    let vorbis = with_tags("libvorbis", "-metadata:s:a:0");
    let coded = |coder| vec!["-c:a", coder];
    for (name, coding) in [
        ("content.mp3", coded("libmp3lame")),
        ("content.m4a", coded("aac")),
        ("content.webm", coded("libopus")),
        ("content.opus", coded("libopus")),
        ("content.flac", flac),
        ("content.ogg", vorbis),
    ] {
        let fixture = Fixture::new(name, 48_000, 1, &coding);
        for (from, until) in [(11_000, 22_000), (10_000, 23_000)] {
            let replacing = Break {
                replace: std::time::Duration::from_millis(until - from),
                ..at(from, vec![ad(48_000, 1, 96_000, 500.0)])
            };
            let (path, report) = splice_with(&fixture, std::slice::from_ref(&replacing), false);
            let told: Vec<_> = report.chapters.iter().map(|one| one.title.as_str()).collect();
            assert_eq!(told, ["One", "Three"], "{name}");
            let third = report.chapters[1].start.as_secs_f64();
            let after = from as f64 / 1000.0 + 2.0;
            assert!((third - after).abs() < 0.06, "{name}: {:?}", report.chapters);
            if name.ends_with("flac") || name.ends_with("ogg") {
                let bytes = std::fs::read(&path).unwrap();
                let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
                let listed = [
                    "CHAPTER001=",
                    "CHAPTER002=",
                    "CHAPTER002NAME",
                    "CHAPTER003NAME=Three",
                ];
                assert_eq!(listed.map(holds), [true, false, false, true], "{name}");
                continue;
            }
            let found = chapters(&path);
            let titles: Vec<_> = found.iter().map(|one| one.0.as_str()).collect();
            assert_eq!(titles, ["One", "Three"], "{name}: {found:?}");
            assert!((found[1].1 - third).abs() < 0.002, "{name}: {found:?}");
            if name.ends_with("m4a") {
                // Titles in a track of their own, of which ffmpeg does not give the first.
                let titles = |path| common::hashes(path, "0:d");
                assert_eq!(titles(&path), titles(&fixture.content)[1..], "{name}");
            }
            if name.ends_with("mp3") {
                let tag = id3::Tag::read_from_path(&path).unwrap();
                for table in tag.tables_of_contents() {
                    assert_eq!(table.elements.len(), 2, "{table:?}");
                }
            }
            if name.ends_with("mp3") || name.ends_with("m4a") {
                let (path, _) = splice_with(&fixture, std::slice::from_ref(&replacing), true);
                let titles: Vec<_> = chapters(&path).into_iter().map(|one| one.0).collect();
                assert_eq!(titles, ["One", "Ad", "Three"], "{name}");
            }
        }
    }
}

/// Chapters that end before the sound does.
#[test]
fn a_post_roll_is_a_chapter_as_long_as_it_is() {
    for (name, coding) in [
        ("content.mp3", ["-c:a", "libmp3lame", "-b:a", "128k"]),
        ("content.m4a", ["-c:a", "aac", "-b:a", "128k"]),
    ] {
        let sound = common::content(44_100, 2, common::SECONDS);
        let later = vec![0.0; 26_460];
        let fixture = Fixture::of(name, 44_100, 2, &[sound, later].concat(), &coding);
        let (path, report) = splice_with(&fixture, &common::ends(44_100, 2), true);
        let found = chapters(&path);
        let (title, start, end) = found.last().unwrap();
        let begins = report.ads[1].presentation.as_secs_f64();
        assert_eq!(title, "Ad", "{found:?}");
        assert!((start - begins).abs() < 0.002, "{found:?}");
        assert!((end - begins - 1.0).abs() < 0.03, "{found:?}");
    }
}

#[test]
fn chapters_in_the_tags_of_sound_are_marks() {
    // ffmpeg writes chapters into Opus, but not into FLAC and Vorbis.
    let by_hand = [(1, "00", "One"), (2, "11", "Two"), (3, "22", "Three")].map(|(number, second, title)| {
        let number = format!("CHAPTER{number:03}");
        [
            format!("{number}=00:00:{second}.000"),
            format!("{number}NAME={title}"),
        ]
    });
    let with_tags = |coder, option| {
        let tags = by_hand.as_flattened().iter();
        let mut coding = vec!["-c:a", coder];
        tags.for_each(|text| coding.extend([option, text.as_str()]));
        coding
    };
    let flac = with_tags("flac", "-metadata");
    let vorbis = with_tags("libvorbis", "-metadata:s:a:0");
    for (name, coding) in [
        ("content.flac", &flac[..]),
        ("content.opus", &["-c:a", "libopus"]),
        ("content.ogg", &vorbis),
    ] {
        let fixture = Fixture::new(name, 48_000, 1, coding);
        let options = marks::Options {
            pattern: "two".parse().unwrap(),
            ..marks::Options::default()
        };
        let found = marks::read(&fixture.content, &options).unwrap();
        let titles: Vec<&str> = found.marks.iter().map(|mark| mark.title.as_str()).collect();
        assert_eq!(titles, ["One", "Two", "Three"], "{name}");
        let cues: Vec<String> = found.cues().map(|cue| cue.position.to_string()).collect();
        assert_eq!(cues, ["00:00:11"], "{name}");
    }
    let fixture = Fixture::new("content.wav", 48_000, 1, &["-c:a", "pcm_s16le"]);
    let found = marks::read(&fixture.content, &marks::Options::default()).unwrap();
    assert_eq!((found.marks.len(), found.notes.len()), (0, 1), "{found:?}");
}
