//! Splices MP4 whose edit lists hold back sound or pictures, leave out their ends, or show them in several parts that follow each other; judged by ffmpeg.

mod common;
#[path = "common/edits.rs"]
mod edits;

use std::path::PathBuf;
use std::time::Duration;

use ad_splicer::splice::{At, Break, Options, SpliceError, splice};
use common::video::{Video, alike, judge, last_picture_comes_back, seen};
use common::{at, packets, probe, run};

/// Ten seconds with an IDR picture every second, put together from pictures and sound that were coded apart.
fn video(copied: &[&str]) -> Video {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let coded = path("coded.mp4");
    let args = [
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        "testsrc2=s=320x180:r=25:d=10",
        "-f",
        "lavfi",
        "-i",
        "anoisesrc=c=pink:a=0.3:seed=7:r=48000:d=10",
        "-c:v",
        "libx264",
        "-bf",
        "3",
        "-g",
        "25",
        "-keyint_min",
        "25",
        "-sc_threshold",
        "0",
        "-c:a",
        "aac",
        "-b:a",
        "96k",
        &coded,
    ];
    run("ffmpeg", &args, None);
    let content = path("content.mp4");
    let mut args = vec!["-v", "error"];
    args.extend(
        copied
            .iter()
            .map(|arg| if *arg == "CODED" { &coded } else { *arg }),
    );
    args.extend(["-c", "copy", &content]);
    run("ffmpeg", &args, None);
    Video {
        dir,
        content: PathBuf::from(content),
        sound: 48_000,
        ticks: 48_000.0,
    }
}

fn ends(video: &Video) -> Vec<Break> {
    [At::Start, At::End]
        .map(|at| Break {
            at,
            replace: Duration::ZERO,
            ads: vec![video.ad(48_000)],
        })
        .into()
}

/// When the first packet of a stream is presented.
fn starts(path: &std::path::Path, stream: usize) -> f64 {
    probe(path)["streams"][stream]["start_time"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn sound_and_pictures_that_begin_later_than_the_other_stay_with_it() {
    for (late, pictures, sound) in [(1, "0:v", "1:a"), (0, "1:v", "0:a")] {
        let args = ["-i", "CODED", "-itsoffset", "0.08", "-i", "CODED"];
        let args = [&args[..], &["-map", pictures, "-map", sound]].concat();
        let video = video(&args);
        // The priming of the sound is taken off.
        let begins = starts(&video.content, late);
        assert!(
            (0.05..0.09).contains(&begins),
            "stream {late} begins at {begins} s"
        );
        let mut breaks = vec![at(4000, vec![video.ad(48_000)]), at(7520, vec![video.ad(30_000)])];
        breaks.extend(ends(&video));
        let (path, report) = video.splice(&breaks).unwrap();
        assert_eq!(report.ads.len(), breaks.len());
        let kept = packets(&path, "0:v");
        let replaced = packets(&video.content, "0:v")
            .iter()
            .filter(|packet| !kept.iter().any(|other| other.hash == packet.hash))
            .count();
        assert!(replaced <= 50, "{replaced} pictures were coded again");
        judge(&video, &path, &report, replaced);
        // The cue is a place in what is seen and heard, wherever the sound begins.
        let cue = report.ads.iter().find(|ad| ad.index.break_index == 0).unwrap();
        assert!((cue.content.as_secs_f64() - 4.0).abs() < 0.045, "{cue:?}");
        // After the ad before everything.
        let begins = if late == 1 { begins } else { 0.0 };
        let first = report.ads[0].presentation.as_secs_f64();
        assert!((first - begins).abs() < 0.001, "{:?}", report.ads[0]);
        let gone = report.ads[0].duration.as_secs_f64();
        let start = cue.presentation.as_secs_f64() - gone;
        assert!((start - cue.content.as_secs_f64()).abs() < 0.022, "{cue:?}");
    }
}

#[test]
fn before_sound_that_begins_much_later_nothing_is_put() {
    let video = video(&[
        "-i",
        "CODED",
        "-itsoffset",
        "2",
        "-i",
        "CODED",
        "-map",
        "0:v",
        "-map",
        "1:a",
    ]);
    let error = video.splice(&ends(&video)[..1]).unwrap_err();
    assert!(
        matches!(&error, SpliceError::Bridge { reason, .. } if reason.contains("half a second")),
        "{error:?}"
    );
    let (path, report) = video.splice(&[at(5000, vec![video.ad(48_000)])]).unwrap();
    assert!((starts(&path, 1) - 2.0).abs() < 0.03);
    assert!(
        (report.ads[0].content.as_secs_f64() - 5.0).abs() < 0.045,
        "{report:?}"
    );
}

/// What ffmpeg cuts out without coding begins at the IDR picture before, and an edit list hides the pictures up to where it was wanted.
#[test]
fn pictures_that_an_edit_list_leaves_out_stay_left_out() {
    let video = video(&["-ss", "2.52", "-i", "CODED", "-map", "0:v", "-map", "0:a"]);
    let before = seen(&video.content);
    assert!(
        packets(&video.content, "0:v").len() > before.len(),
        "the fixture hides pictures"
    );
    let (path, report) = video.splice(&ends(&video)[..1]).unwrap();
    assert_eq!(report.ads.len(), 1);
    let after = seen(&path);
    let behind = after.len() - before.len();
    assert!(behind >= 1, "{behind} pictures of the ad");
    assert!(!alike(&before[0], &after[0]), "the ad begins");
    for (i, picture) in before.iter().enumerate() {
        assert!(alike(picture, &after[i + behind]), "picture {i}");
    }
    let (_, said) = common::run_both(
        "ffmpeg",
        &[
            "-v",
            "warning",
            "-xerror",
            "-i",
            path.to_str().unwrap(),
            "-f",
            "null",
            "-",
        ],
        None,
    );
    assert_eq!(said, "");

    // In the middle, the hidden pictures stay what they were.
    let (path, report) = video.splice(&[at(4480, vec![video.ad(48_000)])]).unwrap();
    let after = seen(&path);
    assert!(
        (report.ads[0].content.as_secs_f64() - 4.48).abs() < 0.021,
        "{report:?}"
    );
    for i in 0..before.len() {
        let behind = if i < 112 { 0 } else { after.len() - before.len() };
        assert!(alike(&before[i], &after[i + behind]), "picture {i}");
    }
}

/// The content with another edit list for its pictures: durations in milliseconds, media times in the track's scale.
fn with_edits(video: &Video, edits: &[(u32, i32)]) -> Vec<u8> {
    edits::with_edits(std::fs::read(&video.content).unwrap(), edits)
}

#[test]
fn parts_that_follow_each_other_are_one() {
    let mut video = video(&["-i", "CODED", "-map", "0:v", "-map", "0:a"]);
    // 12,800 ticks a second, of which B-frames take 1024.
    let whole = video.splice(&[at(4000, vec![video.ad(48_000)])]).unwrap();
    let whole = std::fs::read(whole.0).unwrap();
    let left_out = with_edits(&video, &[(3000, 1024), (2000, 1024 + 64_000)]);
    let bytes = with_edits(
        &video,
        &[(3000, 1024), (2000, 1024 + 38_400), (5000, 1024 + 64_000)],
    );
    video.content = video.dir.path().join("parts.mp4");
    std::fs::write(&video.content, &bytes).unwrap();
    let breaks = [at(4000, vec![video.ad(48_000)])];
    let (path, report) = video.splice(&breaks).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole, "it is what one edit gives");
    assert_eq!(report.ads.len(), 1);

    let error = splice(&left_out, &breaks, &Options::default(), &mut std::io::sink()).unwrap_err();
    assert!(error.to_string().contains("in one piece"), "{error}");
}

/// What is trimmed on a phone keeps all pictures; an edit list ends before them.
#[test]
fn pictures_that_an_edit_list_leaves_out_at_the_end_stay_left_out() {
    let mut video = video(&["-i", "CODED", "-map", "0:v", "-map", "0:a"]);
    // The sound goes on to 10 s; the end lies within a group, so that a picture behind it is needed by those before it.
    let shown = 6_040;
    let bytes = with_edits(&video, &[(shown, 1024)]);
    video.content = video.dir.path().join("trimmed.mp4");
    std::fs::write(&video.content, &bytes).unwrap();
    let before = seen(&video.content);
    assert_eq!(before.len(), 151);
    let breaks = [
        at(4000, vec![video.ad(48_000)]),
        Break {
            at: At::End,
            ..ends(&video).remove(1)
        },
    ];
    for (breaks, last) in [(&breaks[..1], 7.04), (&breaks[1..], 11.0), (&breaks[..], 12.0)] {
        let (path, report) = video.splice(breaks).unwrap();
        assert_eq!(report.ads.len(), breaks.len());
        let stream = &probe(&path)["streams"][0];
        let lasts: f64 = stream["duration"].as_str().unwrap().parse().unwrap();
        assert!((lasts - last).abs() < 0.045, "pictures until {lasts}, not {last}");
        // A card is one picture, or two where what follows begins later.
        let cards = seen(&path).len() - before.len();
        assert!(
            (breaks.len()..=2 * breaks.len()).contains(&cards),
            "{cards} more pictures"
        );
        // The ad at the end is seen when it is heard, and nothing between.
        if breaks.len() == 1 && breaks[0].at == At::End {
            let start = report.ads[0].presentation.as_secs_f64();
            let seen = packets(&path, "0:v")
                .into_iter()
                .map(|packet| packet.pts as f64 / 12_800.0);
            let (behind, early): (Vec<f64>, Vec<f64>) =
                seen.filter(|at| *at > 6.1).partition(|at| *at > start - 0.041);
            assert!(
                !behind.is_empty() && early.is_empty(),
                "{start}: {early:?}, {}",
                behind.len()
            );
        }
    }
}

#[test]
fn the_last_picture_of_a_shorter_video_comes_back_behind_ads() {
    let args = [
        "-t", "6", "-i", "CODED", "-i", "CODED", "-map", "0:v", "-map", "1:a",
    ];
    let video = video(&args);
    last_picture_comes_back(&video, 12_800.0);
}
