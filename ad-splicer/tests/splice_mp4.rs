//! Splices H.264 and AAC-LC in MP4 and judges the results by ffmpeg.

mod common;

use std::path::Path;
use std::time::Duration;

use ad_splicer::pauses;
use ad_splicer::splice::{self, At, Break, Codec, Options, Report, notes, preview};
use ad_splicer::time::ContentTime;
use common::video::{self, Video, alike, chapter_at_cue, seen};
use common::{ad, at, packets};

/// Ten seconds of 320x180 with B-frames and an IDR picture every second.
fn video(rate: &str, sound: usize, coding: &[&str]) -> Video {
    lasting(10, rate, sound, coding)
}

/// The same of another length.
fn lasting(seconds: u32, rate: &str, sound: usize, coding: &[&str]) -> Video {
    let dir = tempfile::tempdir().unwrap();
    let content = dir.path().join("content.mp4");
    let pictures = format!("testsrc2=s=320x180:r={rate}:d={seconds}");
    let tone = format!("anoisesrc=c=pink:a=0.3:seed=7:r={sound}:d={seconds}");
    let group = (rate.split('/').next().unwrap().parse::<f64>().unwrap() / 1000.0).max(1.0);
    let group = if rate.contains('/') {
        group.round().to_string()
    } else {
        rate.to_owned()
    };
    let mut args = vec![
        "-v",
        "error",
        "-f",
        "lavfi",
        "-i",
        &pictures,
        "-f",
        "lavfi",
        "-i",
        &tone,
        "-c:v",
        "libx264",
        "-bf",
        "3",
        "-g",
        &group,
        "-keyint_min",
        &group,
        "-sc_threshold",
        "0",
        "-c:a",
        "aac",
        "-b:a",
        "96k",
    ];
    args.extend(coding);
    args.push(content.to_str().unwrap());
    common::run("ffmpeg", &args, None);
    Video {
        dir,
        content,
        sound,
        ticks: sound as f64,
    }
}

/// What holds of all containers, and that the result is one that players like.
fn judge(video: &Video, path: &Path, report: &Report, replaced: usize) {
    video::judge(video, path, report, replaced);
    let bytes = std::fs::read(path).unwrap();
    let find = |kind: &[u8]| bytes.windows(4).position(|window| window == kind).unwrap();
    assert!(find(b"moov") < find(b"mdat"), "the result is fast-start");
    assert_eq!(
        bytes.windows(4).filter(|window| *window == b"avc1").count(),
        1 + usize::from(bytes[..64].windows(4).any(|w| w == b"avc1")),
        "one sample entry"
    );
}

#[test]
fn a_break_at_an_idr_picture_leaves_every_packet_of_pictures_as_it_was() {
    for (rate, sound, coding) in [
        ("25", 48_000, &["-movflags", "+faststart"][..]),
        ("30000/1001", 44_100, &[]),
        ("24", 48_000, &["-profile:v", "main"]),
        ("60", 32_000, &["-profile:v", "baseline", "-bf", "0"]),
    ] {
        let video = video(rate, sound, coding);
        let format = splice::probe(&video.content(), &Options::default()).unwrap();
        assert_eq!(format.codec, Codec::Mp4);
        let breaks = [at(4004, vec![video.ad(sound * 2 + 77), video.ad(sound + 1)])];
        let (path, report) = video.splice(&breaks).unwrap();
        judge(&video, &path, &report, 0);
        // The cue went to the picture nearest to it.
        assert!(
            (report.ads[0].content.as_secs_f64() - 4.0).abs() < 0.01,
            "{:?}",
            report.ads
        );
    }
}

#[test]
fn before_everything_after_everything_ten_times_and_in_the_place_of_content() {
    let video = video("25", 44_100, &[]);
    let mut breaks: Vec<Break> = (1..=8)
        .map(|second| at(second * 1000, vec![video.ad(20_000 + 1_111 * second as usize)]))
        .collect();
    for place in [At::Start, At::End] {
        breaks.push(Break {
            at: place,
            replace: Duration::ZERO,
            ads: vec![video.ad(30_001)],
        });
    }
    let (path, report) = video.splice(&breaks).unwrap();
    assert_eq!(report.ads.len(), 10);
    judge(&video, &path, &report, 0);

    let replacing = [Break {
        at: At::Time(ContentTime::from_millis(2000)),
        replace: Duration::from_secs(3),
        ads: vec![video.ad(44_100)],
    }];
    let (path, report) = video.splice(&replacing).unwrap();
    judge(&video, &path, &report, 75);
}

#[test]
fn an_ad_without_pictures_holds_the_one_before_it() {
    let video = video("25", 48_000, &[]);
    let (path, report) = video
        .splice(&[at(5000, vec![ad(48_000, 1, 48_000, 500.0)])])
        .unwrap();
    judge(&video, &path, &report, 0);
    assert_eq!(packets(&path, "0:v").len(), packets(&video.content, "0:v").len());
}

#[test]
fn a_preview_is_cut_from_the_whole() {
    let video = video("25", 48_000, &[]);
    let mut breaks = vec![at(4520, vec![video.ad(48_000)])];
    let around = Duration::from_millis(1500);
    let cuts = preview::cuts(&video.content(), &breaks, around, &Options::default()).unwrap();
    assert_eq!(cuts.len(), 2, "before and after");
    breaks.extend(cuts);
    let (path, report) = video.splice(&breaks).unwrap();
    // 1.5 s on both sides, and hardly any silence.
    assert!((report.duration.as_secs_f64() - 4.1).abs() < 0.1, "{report:?}");
    let (before, after) = (packets(&video.content, "0:v"), packets(&path, "0:v"));
    let kept = before
        .iter()
        .filter(|one| after.iter().any(|other| other.hash == one.hash));
    let replaced = before.len() - kept.count();
    judge(&video, &path, &report, replaced);
}

#[test]
fn cues_snap_to_key_frames_within_the_tolerance_and_say_how_far() {
    let video = video("25", 48_000, &[]);
    let snap = |millis: u64, tolerance: u64| {
        let cue = At::Time(ContentTime::from_millis(millis));
        let tolerance = Duration::from_millis(tolerance);
        pauses::snap(&video.content(), &[cue], tolerance, &Options::default()).unwrap()[0]
    };
    let near = snap(4400, 500).unwrap();
    assert_eq!((near.to, near.pause), (ContentTime::from_millis(4000), None));
    assert!((near.distance() + 0.4).abs() < 1e-6, "{near:?}");
    assert_eq!(snap(4600, 500).unwrap().to, ContentTime::from_millis(5000));
    assert_eq!(snap(4400, 300), None);
    let at_key = Break {
        at: At::Time(near.to),
        ..at(0, vec![video.ad(48_000)])
    };
    let (path, report) = video.splice(&[at_key]).unwrap();
    judge(&video, &path, &report, 0);
}

#[test]
fn what_is_costly_and_what_cannot_be_done_is_said() {
    let one_group = ["-g", "1000", "-keyint_min", "1000"];
    let rare = lasting(16, "25", 48_000, &one_group);
    // All of its 16 s are one group, which is coded again as a whole.
    let cue = [At::Time(ContentTime::from_millis(5000))];
    let lasts = notes::recoded(&rare.content(), &cue, &Options::default()).unwrap()[0].unwrap();
    assert!((lasts.as_secs_f64() - 16.0).abs() < 0.1, "{lasts:?}");
    let (path, report) = rare.splice(&[at(5000, vec![rare.ad(48_000)])]).unwrap();
    judge(&rare, &path, &report, 16 * 25);
    let usual = notes::recoded(&video("25", 48_000, &[]).content(), &cue, &Options::default());
    assert_eq!(usual.unwrap(), [None]);
    for (coding, words) in [
        (&["-c:v", "mpeg4"][..], "video in `mp4v`"),
        (&["-pix_fmt", "yuv444p"], "profile is High 4:4:4"),
        (&["-pix_fmt", "yuv420p10le"], "profile is High 10 (ten bits)"),
        (&["-flags", "+ildct+ilme", "-x264opts", "tff=1"], "interlaced"),
    ] {
        let video = video("25", 48_000, coding);
        let error = splice::probe(&video.content(), &Options::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{coding:?}: {error}");
    }
}

/// As a recording of a stream that went over to another rendition.
#[test]
fn where_the_size_has_changed_ads_go_in_at_key_frames_only() {
    let [one, two] = ["320x180", "180x320"].map(|size| {
        let seen = ["-vf", &format!("scale={size}"), "-f", "mpegts"];
        lasting(2, "25", 48_000, &seen)
    });
    let both = format!("concat:{}|{}", one.content.display(), two.content.display());
    let content = one.dir.path().join("both.mp4");
    let seen = ["-v", "error", "-i", &both, "-map", "0:v", "-c:v", "copy"];
    let heard = [
        "-f",
        "lavfi",
        "-i",
        "anoisesrc=c=pink:a=0.3:seed=7:r=48000:d=4",
        "-map",
        "1:a",
    ];
    let args = [
        &seen[..4],
        &heard[..4],
        &seen[4..],
        &heard[4..],
        &[content.to_str().unwrap()],
    ];
    common::run("ffmpeg", &args.concat(), None);
    let video = Video { content, ..one };
    video::judge_changed_size(&video, ["2.000", "320x180", "180x320"]);
}

#[test]
fn a_cue_between_key_frames_is_hit_to_the_picture_and_costs_one_group() {
    let video = video("25", 48_000, &[]);
    // Within a group, twice within one, and in the place of content from one group into another.
    let two = [at(4520, vec![video.ad(48_000)]), at(4720, vec![video.ad(24_000)])];
    let replace = Break {
        replace: Duration::from_millis(1480),
        ..at(2200, vec![video.ad(48_000)])
    };
    for (breaks, recoded, left_out, cues) in [
        (vec![at(4520, vec![video.ad(48_000)])], 25, 0, vec![4.52]),
        (two.to_vec(), 25, 0, vec![4.52, 4.72]),
        (vec![replace], 50, 37, vec![2.2]),
    ] {
        let (path, report) = video.splice(&breaks).unwrap();
        for (ad, cue) in report.ads.iter().zip(&cues) {
            assert!((ad.content.as_secs_f64() - cue).abs() < 0.001, "{ad:?}");
        }
        judge(&video, &path, &report, recoded);
        // Every picture of the content is seen, in its order, and only the ads between.
        let (before, after) = (seen(&video.content), seen(&path));
        let first = (cues[0] * 25.0_f64).round() as usize;
        for i in 0..first {
            assert!(alike(&before[i], &after[i]), "picture {i}");
        }
        let resumes = first + left_out;
        let behind = after.len() + left_out - before.len();
        assert!(
            !alike(&before[resumes], &after[first]),
            "the ad begins at the cue"
        );
        for i in (*cues.last().unwrap() * 25.0_f64).round() as usize + left_out..before.len() {
            assert!(
                alike(&before[i], &after[i + behind - left_out]),
                "picture {i} after the last ad"
            );
        }
    }
}

/// The file says what shape pixels are, whatever the pictures say: that is how such a mistake is mended without coding them again.
#[test]
fn a_cue_between_key_frames_is_hit_where_the_file_corrects_the_shape_of_pixels() {
    let mut video = video("25", 48_000, &["-vf", "setsar=4/3"]);
    let corrected = video.dir.path().join("corrected.mp4");
    let [from, to] = [&video.content, &corrected].map(|path| path.to_str().unwrap());
    common::run(
        "ffmpeg",
        &["-v", "error", "-i", from, "-c", "copy", "-aspect", "16:9", to],
        None,
    );
    video.content = corrected;
    let (path, report) = video.splice(&[at(4520, vec![video.ad(48_000)])]).unwrap();
    assert!(
        (report.ads[0].content.as_secs_f64() - 4.52).abs() < 0.001,
        "{report:?}"
    );
    let (before, after) = (seen(&video.content), seen(&path));
    let behind = after.len() - before.len();
    for (i, picture) in before.iter().enumerate() {
        let behind = if i < 113 { 0 } else { behind };
        assert!(alike(picture, &after[i + behind]), "picture {i}");
    }
    assert_eq!(common::probe(&path)["streams"][0]["sample_aspect_ratio"], "1:1");
}

/// The cue moves to the next picture, and what begins at it with it.
#[test]
fn a_chapter_that_begins_at_the_cue_begins_behind_the_ads() {
    chapter_at_cue(video("25", 48_000, &[]), 4_030, 4.04);
}

/// Slides of four seconds: a cue is hit although the picture lasts long, and the same picture is seen again behind the ads.
#[test]
fn a_slide_is_cut_where_the_cue_is() {
    for (rate, group, cues) in [
        // One group, a group for each slide, and one picture for all of it.
        ("1/4", "250", &[2.5, 6.2, 6.9, 10.5][..]),
        ("1/4", "1", &[2.5, 6.2, 6.9, 10.5]),
        ("1/12", "1", &[7.3]),
    ] {
        let video = lasting(12, rate, 48_000, &["-g", group, "-bf", "0"]);
        let breaks: Vec<Break> = cues
            .iter()
            .map(|cue| at((cue * 1000.0) as u64, vec![video.ad(48_000), video.ad(24_000)]))
            .collect();
        let (path, report) = video.splice(&breaks).unwrap();
        let (before, after) = (seen(&video.content), seen(&path));
        let shown: Vec<f64> = packets(&path, "0:v")
            .iter()
            .map(|packet| packet.pts as f64 / ticks(&path))
            .collect();
        assert!(shown.is_sorted(), "{shown:?}");
        let at = |time: f64| -> &[u8] {
            let next = shown.partition_point(|shown| *shown < time + 0.001);
            assert!(
                (shown[next - 1] - time).abs() < 0.001,
                "a picture at {time}: {shown:?}"
            );
            &after[next - 1]
        };
        for (cue, ads) in cues.iter().zip(report.ads.chunks(2)) {
            assert!((ads[0].content.as_secs_f64() - cue).abs() < 0.001, "{ads:?}");
            let begins = ads[0].presentation.as_secs_f64();
            let slide = &before[(cue / 4.0) as usize % before.len()];
            assert!(!alike(at(begins), slide), "the ad begins at {begins}");
            // Silence follows the ads up to the next packet of sound, or the last of them is that much shorter.
            let again = shown.iter().find(|shown| **shown > begins + 1.47).unwrap();
            assert!(again - begins < 1.5 + 0.03, "the slide comes back at {again}");
            assert!(alike(at(*again), slide), "{cue}");
        }
        let lasts = report.duration.as_secs_f64();
        assert!((lasts - 12.0 - 1.5 * cues.len() as f64).abs() < 0.05, "{lasts}");
        let first: Vec<String> = packets(&video.content, "0:v")
            .into_iter()
            .map(|one| one.hash)
            .collect();
        let kept = packets(&path, "0:v");
        let replaced = first
            .iter()
            .filter(|hash| !kept.iter().any(|other| other.hash == **hash));
        judge(&video, &path, &report, replaced.count());
    }
}

/// Subtitles as ffmpeg reads them: from when to when each is shown, and its text.
fn subtitles(path: &Path) -> Vec<(f64, f64, String)> {
    let args = [
        "-v",
        "error",
        "-i",
        path.to_str().unwrap(),
        "-map",
        "0:s",
        "-f",
        "srt",
        "-",
    ];
    let text = String::from_utf8(common::run("ffmpeg", &args, None)).unwrap();
    let seconds = |time: &str| {
        let parts = time
            .split([':', ','])
            .map(|part| part.trim().parse::<f64>().unwrap());
        parts
            .zip([3600.0, 60.0, 1.0, 0.001])
            .map(|(part, unit)| part * unit)
            .sum()
    };
    let mut lines = text.lines();
    let mut found: Vec<(f64, f64, String)> = Vec::new();
    while let (Some(_), Some(times), Some(text)) = (lines.next(), lines.next(), lines.next()) {
        let (from, until) = times.split_once(" --> ").unwrap();
        found.push((seconds(from), seconds(until), text.to_owned()));
        lines.next();
    }
    found
}

#[test]
fn subtitles_are_not_shown_over_ads() {
    let text = "1\n00:00:00,000 --> 00:00:01,500\nfirst\n\n2\n00:00:02,000 --> 00:00:06,000\nlong\n\n3\n00:00:06,000 --> 00:00:07,000\nnext\n\n4\n00:00:08,000 --> 00:00:09,000\nlast\n\n";
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("text.srt");
    std::fs::write(&file, text).unwrap();
    let coding = ["-f", "srt", "-i", file.to_str().unwrap(), "-c:s", "mov_text"];
    let mut video = video("25", 48_000, &[]);
    let plain = video.content.clone();
    video.content = video.dir.path().join("titled.mp4");
    let mut args = vec!["-v", "error", "-i", plain.to_str().unwrap()];
    args.extend(coding);
    args.extend(["-c:v", "copy", "-c:a", "copy", video.content.to_str().unwrap()]);
    common::run("ffmpeg", &args, None);

    let replacing = Break {
        replace: Duration::from_millis(1500),
        ..at(7_500, vec![video.ad(24_000)])
    };
    let breaks = [
        at(0, vec![video.ad(48_000)]),
        at(4_000, vec![video.ad(48_000)]),
        at(6_000, vec![video.ad(48_000)]),
        replacing,
        at(9_500, vec![video.ad(48_000)]),
    ];
    let (path, report) = video.splice(&breaks).unwrap();
    let found = subtitles(&path);
    let ads: Vec<f64> = report
        .ads
        .iter()
        .map(|ad| ad.presentation.as_secs_f64())
        .collect();
    // Silence of less than a packet of sound follows each break.
    let wanted = [
        (1.0, 2.5, "first"),
        (3.0, ads[1], "long"),
        (ads[1] + 1.0, ads[2], "long"),
        (ads[2] + 1.0, ads[2] + 2.0, "next"),
    ];
    assert_eq!(found.len(), wanted.len(), "{found:?}");
    for ((from, until, text), (begins, ends, wanted)) in found.iter().zip(wanted) {
        assert_eq!(text, wanted);
        assert!(
            (from - begins).abs() < 0.025 && (until - ends).abs() < 0.025,
            "{found:?} and {ads:?}"
        );
    }
}

/// Ticks a second of the track of pictures.
fn ticks(path: &Path) -> f64 {
    let json = common::probe(path);
    let streams = json["streams"].as_array().unwrap().iter();
    let base = streams
        .filter(|stream| stream["codec_type"] == "video")
        .find_map(|stream| stream["time_base"].as_str()?.split_once('/')?.1.parse().ok());
    base.expect("a time base")
}

#[test]
fn variable_rates_and_edit_lists() {
    for coding in [
        // Every seventh picture is missing.
        &["-vf", "select=mod(n\\,7)", "-fps_mode", "vfr"][..],
        &["-movflags", "negative_cts_offsets"],
        &["-video_track_timescale", "1000"],
    ] {
        let video = video("24", 48_000, coding);
        let cues = [2.0_f64, 6.5];
        let breaks = cues.map(|cue| at((cue * 1000.0) as u64, vec![video.ad(48_000 + 100)]));
        let (path, report) = video
            .splice(&breaks)
            .unwrap_or_else(|error| panic!("{coding:?}: {error}"));
        let kept = packets(&path, "0:v");
        let replaced = packets(&video.content, "0:v")
            .iter()
            .filter(|packet| !kept.iter().any(|other| other.hash == packet.hash))
            .count();
        assert!(
            replaced <= 2 * 24,
            "{replaced} pictures were coded again: {coding:?}"
        );
        judge(&video, &path, &report, replaced);
    }
}

/// ffmpeg writes the first packet of such files early, and where files were put together packets overlap: pictures stay with the sound all the same.
#[test]
fn fragments_and_sound_with_gaps() {
    let fragmented = video("25", 44_100, &["-movflags", "frag_keyframe+empty_moov"]);
    let plain = video("25", 44_100, &[]);
    let list = plain.dir.path().join("list.txt");
    let other = video("25", 44_100, &["-vf", "hue=h=90", "-af", "volume=0.5"]);
    std::fs::copy(&other.content, plain.dir.path().join("other.mp4")).unwrap();
    std::fs::write(&list, "file content.mp4\nfile other.mp4\n").unwrap();
    let joined = |name: &str, coding: &[&str]| {
        let path = plain.dir.path().join(name);
        let mut args = vec![
            "-v",
            "error",
            "-f",
            "concat",
            "-i",
            list.to_str().unwrap(),
            "-c",
            "copy",
        ];
        args.extend(coding);
        args.push(path.to_str().unwrap());
        common::run("ffmpeg", &args, None);
        path
    };
    let put_together = joined("joined.mp4", &[]);
    let in_fragments = joined("fragments.mp4", &["-movflags", "frag_keyframe+empty_moov"]);
    for (content, cues) in [
        (&fragmented.content, &[0, 2000, 5000][..]),
        (&put_together, &[4000, 9000, 12_000]),
        (&in_fragments, &[4000, 10_000, 12_000]),
    ] {
        let video = Video {
            dir: tempfile::tempdir().unwrap(),
            content: content.clone(),
            sound: 44_100,
            ticks: 44_100.0,
        };
        let breaks: Vec<Break> = cues
            .iter()
            .map(|cue| at(*cue, vec![video.ad(44_100 + 100)]))
            .collect();
        let (path, report) = video.splice(&breaks).unwrap();
        let (before, after) = (packets(&video.content, "0:v"), packets(&path, "0:v"));
        let kept = before
            .iter()
            .filter(|one| after.iter().any(|other| other.hash == one.hash));
        let replaced = before.len() - kept.count();
        assert!(
            replaced <= cues.len() * 25,
            "{replaced} pictures were coded again"
        );
        judge(&video, &path, &report, replaced);
    }
}
