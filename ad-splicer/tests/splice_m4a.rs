//! Splices AAC-LC in MP4 and judges the results by ffmpeg and mutagen.

mod common;

use std::path::Path;
use std::time::Duration;

use ad_splicer::splice::{self, At, Break, Options, SpliceError};
use common::{Fixture, ad, at, judge_bridged};

fn mid_rolls(rate: usize, channels: usize) -> Vec<Break> {
    let mut breaks = common::mid_rolls(rate, channels);
    breaks.push(at(33_333, vec![ad(rate, channels, rate, 440.0)]));
    breaks[3].replace = Duration::from_millis(2_345);
    breaks
}

/// A file with chapters, tags and a cover.
fn fixture(rate: usize, channels: usize, bits: &str, flags: &str) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let cover = dir.path().join("cover.png");
    let cover = cover.to_str().unwrap();
    let args = [
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        "color=red:s=64x64",
        "-frames:v",
        "1",
        cover,
    ];
    common::run("ffmpeg", &args, None);
    let coding = [
        "-i",
        cover,
        "-map",
        "0:a",
        "-map",
        "2:v",
        "-c:v",
        "copy",
        "-disposition:v",
        "attached_pic",
        "-c:a",
        "aac",
        "-b:a",
        bits,
        "-aac_pns",
        "0",
        "-movflags",
        flags,
    ];
    Fixture::new("content.m4a", rate, channels, &coding)
}

fn seconds(value: &serde_json::Value) -> f64 {
    value.as_str().unwrap().parse().unwrap()
}

/// What mutagen, a reader of its own, finds: title, cover's bytes, length in seconds, and the beginnings of the chapters that stand in the movie.
fn mutagen(path: &Path) -> serde_json::Value {
    const SCRIPT: &str = "import sys, json, mutagen.mp4\nf = mutagen.mp4.MP4(sys.argv[1])\nprint(json.dumps({'title': f['\\xa9nam'][0], 'cover': bytes(f['covr'][0]).hex(), 'length': f.info.length, 'chapters': [[c.title, c.start] for c in f.chapters or []]}))";
    serde_json::from_slice(&common::run(
        "/usr/bin/python3",
        &["-c", SCRIPT, path.to_str().unwrap()],
        None,
    ))
    .unwrap()
}

/// Packets follow each other in steps of 1,024 from the priming on, also at the joins; length, tags, cover and chapters are right, and the movie box comes first.
fn judge_file(fixture: &Fixture, path: &Path, report: &splice::Report) {
    let packets = common::packets(path, "0:a");
    assert_eq!((packets[0].pts, packets[0].dts), (-1024, -1024));
    assert!(
        packets
            .windows(2)
            .all(|pair| pair[1].pts - pair[0].pts == 1024 && pair[1].dts - pair[0].dts == 1024)
    );
    let json = common::probe(path);
    let lasts = report.duration.as_secs_f64();
    assert!(
        (seconds(&json["format"]["duration"]) - lasts).abs() < 0.03,
        "{json}"
    );
    let streams = json["streams"].as_array().unwrap();
    let sound = streams
        .iter()
        .find(|stream| stream["codec_type"] == "audio")
        .unwrap();
    assert!((seconds(&sound["duration"]) - lasts).abs() < 0.03, "{sound}");
    assert!(
        streams
            .iter()
            .any(|stream| stream["disposition"]["attached_pic"] == 1),
        "{json}"
    );
    assert_eq!(json["format"]["tags"]["title"], "Episode");

    // The track of titles, which ffprobe prefers, and the movie's own list, which mutagen reads.
    let found = common::chapters(path);
    let (before, after) = (mutagen(&fixture.content), mutagen(path));
    assert_eq!((found.len(), report.chapters.len()), (3, 3));
    let listed = after["chapters"].as_array().unwrap();
    assert_eq!(listed.len(), 3, "{after}");
    for ((found, reported), listed) in found.iter().zip(&report.chapters).zip(listed) {
        assert_eq!(found.0, reported.title);
        assert_eq!(listed[0], reported.title.as_str());
        let start = reported.start.as_secs_f64();
        // A track of titles has no gap at its beginning: the first title stands over what comes before everything.
        let is_first = reported.id == "0" && found.1 == 0.0;
        assert!(
            is_first || (found.1 - start).abs() < 0.002,
            "{found:?} {reported:?}"
        );
        assert!(
            (listed[1].as_f64().unwrap() - start).abs() < 0.002,
            "{listed} {reported:?}"
        );
    }
    assert_eq!(
        (&before["title"], &before["cover"]),
        (&after["title"], &after["cover"])
    );
    let bytes = std::fs::read(path).unwrap();
    let find = |kind: &[u8]| bytes.windows(4).position(|window| window == kind).unwrap();
    assert!(find(b"moov") < find(b"mdat"), "the result is fast-start");
}

#[test]
fn the_movie_box_at_either_end() {
    for (rate, channels, bits, flags) in [(44_100, 2, "128k", "0"), (48_000, 1, "64k", "+faststart")] {
        let fixture = fixture(rate, channels, bits, flags);
        let breaks = mid_rolls(rate, channels);
        let (path, report) = fixture.splice("mid.m4a", &breaks);
        let errors = judge_bridged(&fixture, &path, &report, &breaks, (1024, 1024, 1));
        assert_eq!(errors.len(), 8);
        for error in errors {
            let limit = if error.break_index == 0 { -60.0 } else { -45.0 };
            assert!(error.db < limit, "{error:?}");
        }
        judge_file(&fixture, &path, &report);
        // Chapter two begins at the first cue, and so after its ads.
        let second = report.chapters[1].start;
        assert!(report.ads[2].presentation > second);
        let after = report.ads[1].presentation.as_secs_f64() + report.ads[1].duration.as_secs_f64();
        assert!((second.as_secs_f64() - after).abs() < 0.03, "{second:?} {after}");
    }
}

#[test]
fn before_and_after_everything() {
    let fixture = fixture(44_100, 2, "128k", "0");
    let breaks = [At::Start, At::End].map(|at| Break {
        at,
        replace: Duration::ZERO,
        ads: vec![ad(44_100, 2, 44_111, 700.0)],
    });
    let (path, report) = fixture.splice("ends.m4a", &breaks);
    judge_bridged(&fixture, &path, &report, &breaks, (1024, 1024, 1));
    assert_eq!(report.seams.len(), 2);
    judge_file(&fixture, &path, &report);
}

#[test]
fn a_fragmented_file_gives_what_the_plain_one_gives() {
    let fixture = fixture(44_100, 2, "128k", "0");
    let breaks = mid_rolls(44_100, 2);
    let (plain, report) = fixture.splice("plain.m4a", &breaks);
    // Without `delay_moov` ffmpeg would not declare the priming.
    for more in ["", "+default_base_moof", "+omit_tfhd_offset+global_sidx"] {
        let flags = format!("frag_keyframe+empty_moov+delay_moov{more}");
        let pieces = fixture.dir.path().join("fragments.m4a");
        let content = fixture.content.to_str().unwrap();
        let args = [
            "-v",
            "error",
            "-y",
            "-i",
            content,
            "-map",
            "0:a",
            "-c",
            "copy",
            "-map_chapters",
            "-1",
            "-movflags",
            &flags,
            "-frag_duration",
            "1500000",
            pieces.to_str().unwrap(),
        ];
        common::run("ffmpeg", &args, None);
        let fragmented = Fixture {
            dir: tempfile::tempdir().unwrap(),
            rate: fixture.rate,
            channels: fixture.channels,
            content: pieces,
        };
        let (path, other) = fragmented.splice("joined.m4a", &breaks);
        assert!(
            common::packets(&path, "0:a") == common::packets(&plain, "0:a"),
            "{flags}"
        );
        assert_eq!(other.seams, report.seams);
        let bytes = std::fs::read(&path).unwrap();
        assert!(
            !bytes
                .windows(4)
                .any(|window| window == b"moof" || window == b"mvex")
        );
        // ffmpeg does not take the priming off a fragmented file, so the plain one is what the result is held against.
        judge_bridged(&fixture, &path, &other, &breaks, (1024, 1024, 1));
    }
}

#[test]
fn what_cannot_be_spliced_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    for (name, extra, word) in [
        ("alac.m4a", &["-vn", "-c:a", "alac"][..], "alac"),
        ("video.mp4", &["-c:v", "libx264", "-c:a", "aac"], "video"),
        ("mute.mp4", &["-an", "-c:v", "libx264"], "no sound"),
    ] {
        let path = dir.path().join(name);
        let mut args = vec![
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc=d=1:s=64x64",
            "-f",
            "lavfi",
            "-i",
            "sine=d=1",
        ];
        args.extend(extra);
        args.push(path.to_str().unwrap());
        common::run("ffmpeg", &args, None);
        let bytes = std::fs::read(&path).unwrap();
        let error = splice::probe(&bytes, &Options::default()).unwrap_err();
        assert!(error.to_string().contains(word), "{name}: {error}");
    }
    let fixture = fixture(44_100, 2, "64k", "+faststart");
    let whole = std::fs::read(&fixture.content).unwrap();
    let breaks = [at(1_000, vec![ad(44_100, 2, 20_000, 500.0)])];
    let cut = whole[..whole.len() - 5_000].to_vec();
    let error = splice::splice(&cut, &breaks, &Options::default(), &mut std::io::sink()).unwrap_err();
    assert!(matches!(error, SpliceError::Truncated { .. }), "{error}");
}
