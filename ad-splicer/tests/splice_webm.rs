//! Splices Opus in WebM and judges the results by ffmpeg.

mod common;

use ad_splicer::splice::{self, Break, Options};
use common::{Fixture, SINE, ad, at, decode, ends, judge_bridged, left, loudness, mid_rolls, pre_skip};

/// Splices and judges; gives the errors at the seams.
fn judged(fixture: &Fixture, name: &str, size: usize, breaks: &[Break]) -> Vec<common::SeamError> {
    let (path, report) = fixture.splice(name, breaks);
    let skip = pre_skip(fixture);
    let errors = judge_bridged(fixture, &path, &report, breaks, (size, skip, 11_520 / size));
    let packets = common::packets(&path, "0:a");
    let step = size as f64 / 48.0;
    for pair in packets.windows(2) {
        // Times are whole milliseconds: each may be half of one off, and what content was moved by as well.
        let apart = (pair[1].pts - pair[0].pts) as f64;
        assert!((apart - step).abs() < 2.0, "{name}: {pair:?}");
    }
    errors
}

#[test]
fn every_length_of_packet_in_clusters_of_any_kind() {
    for (name, channels, coding, size, limit) in [
        ("128k.webm", 2, "-b:a 128k", 960, -45.0),
        ("mono.webm", 1, "-b:a 64k", 960, -45.0),
        ("2.5ms.webm", 2, "-b:a 160k -frame_duration 2.5", 120, -25.0),
        ("60ms.mka", 2, "-b:a 128k -frame_duration 60", 2_880, -45.0),
        // As recorders write it: nobody knows how long the segment and its clusters are.
        (
            "live.webm",
            2,
            "-b:a 128k -live 1 -cluster_time_limit 300",
            960,
            -45.0,
        ),
        ("small.webm", 2, "-b:a 96k -cluster_size_limit 3000", 960, -40.0),
    ] {
        let coding: Vec<&str> = ["-c:a", "libopus"].into_iter().chain(coding.split(' ')).collect();
        let fixture = Fixture::new(&format!("content-{name}"), 48_000, channels, &coding);
        let errors = judged(&fixture, name, size, &mid_rolls(48_000, channels));
        assert_eq!(errors.len(), 6);
        for error in errors {
            assert!(error.db < limit, "{name}: {error:?}");
        }
        let errors = judged(&fixture, &format!("ends-{name}"), size, &ends(48_000, channels));
        assert_eq!(errors.len(), 2);
    }
}

#[test]
fn a_sine_goes_into_an_ad_without_a_click_and_ads_are_as_loud_as_they_were() {
    let fixture = Fixture::new("content.webm", 48_000, 2, &["-c:a", "libopus", "-b:a", "256k"]);
    let breaks = [at(SINE, vec![ad(48_000, 2, 90_001, 220.0)])];
    let (path, report) = fixture.splice("click.webm", &breaks);
    let decoded = decode(&path);
    let cue = fixture.sample_at(report.ads[0].presentation);
    let energy = common::above_4k(&left(&decoded, 2)[cue - 15_000..cue + 90_001 + 15_000], 48_000);
    println!("above 4 kHz {energy:.1} dBFS");
    assert!(energy < -95.0, "{energy:.1} dBFS");
    let (given, got) = (
        loudness(&breaks[0].ads[0].pcm.samples().unwrap(), 48_000, 2),
        loudness(&decoded[cue * 2..(cue + 90_001) * 2], 48_000, 2),
    );
    assert!((given - got).abs() <= 0.5, "{given} LUFS became {got}");
}

#[test]
fn tags_chapters_lengths_and_the_end_are_right() {
    let fixture = Fixture::new("content.webm", 48_000, 2, &["-c:a", "libopus", "-b:a", "96k"]);
    let breaks: Vec<Break> = mid_rolls(48_000, 2).into_iter().chain(ends(48_000, 2)).collect();
    let (path, report) = fixture.splice("whole.webm", &breaks);
    let said = common::probe(&path);
    assert_eq!(said["format"]["tags"]["title"], "Episode", "{said}");
    let seconds = |value: &serde_json::Value| value.as_str().unwrap().parse::<f64>().unwrap();
    let lasts = report.duration.as_secs_f64() + 0.0065;
    assert!(
        (seconds(&said["format"]["duration"]) - lasts).abs() < 0.0015,
        "{said}"
    );
    let tagged = said["streams"][0]["tags"]["DURATION"].as_str().unwrap();
    let tagged: f64 = tagged.rsplit(':').next().unwrap().parse().unwrap();
    assert!((tagged - lasts % 60.0).abs() < 1e-6, "{said}");
    // The last packet is cut where the ad ends.
    assert_eq!(decode(&path).len() / 2, fixture.samples(report.duration));
    let moved: Vec<f64> = report
        .chapters
        .iter()
        .map(|chapter| chapter.start.as_millis() as f64 / 1000.0)
        .collect();
    let found = common::chapters(&path);
    assert_eq!((found.len(), moved.len()), (3, 3));
    for (chapter, moved) in found.iter().zip(moved) {
        assert!((chapter.1 - moved).abs() < 0.002, "{chapter:?} {moved}");
    }
    assert_eq!(report.chapters[1].title, "Two");
    common::random_ranges(&fixture, &path, &breaks);

    // A seek by the cues comes to the place that is asked for.
    let path = path.to_str().unwrap();
    let args = [
        "-v",
        "error",
        "-ss",
        "30",
        "-i",
        path,
        "-t",
        "1",
        "-f",
        "f32le",
        "-c:a",
        "pcm_f32le",
        "-",
    ];
    let sought: Vec<f32> = common::run("ffmpeg", &args, None)
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect();
    let whole = decode(std::path::Path::new(path));
    let error = |shift: usize| {
        let from = (30 * 48_000 - 480 + shift) * 2;
        common::rms_db((24_000..60_000).map(|i| sought[i] - whole[from + i]))
    };
    let best = (0..960).map(error).fold(0.0, f64::min);
    assert!(best < -60.0, "{best}");
}

#[test]
fn what_cannot_be_spliced_says_so() {
    let fixture = Fixture::new("content.webm", 48_000, 2, &["-c:a", "libopus", "-t", "5"]);
    let whole = std::fs::read(&fixture.content).unwrap();
    let breaks = [at(1_000, vec![ad(48_000, 2, 20_000, 500.0)])];
    let attempt = |bytes: &[u8]| common::refusal(bytes, &breaks).to_string();
    let cut = attempt(&whole[..whole.len() - 9]);
    assert!(cut.contains("is not whole"), "{cut}");
    let mut hole = whole.clone();
    hole[20_000..30_000].fill(0);
    let hole = attempt(&hole);
    assert!(hole.contains("byte"), "{hole}");
    let twice = attempt(&[whole.clone(), whole.clone()].concat());
    assert!(twice.contains("another file begins"), "{twice}");
    for (name, coding, says) in [
        (
            "vorbis.webm",
            "-c:a libvorbis",
            "Vorbis in WebM cannot be cut without coding it again",
        ),
        ("flac.mka", "-c:a flac", "`A_FLAC`"),
        (
            "two.webm",
            "-c:a libopus -map 0:a -map 0:a",
            "more than one track",
        ),
    ] {
        let coding: Vec<&str> = coding.split(' ').chain(["-t", "2"]).collect();
        let other = Fixture::new(name, 48_000, 2, &coding);
        let other = attempt(&std::fs::read(&other.content).unwrap());
        assert!(other.contains(says), "{name}: {other}");
    }
}

/// A recorder that writes as it goes cannot say how long the file will be: its end does.
#[test]
fn how_long_a_recording_is_its_end_tells() {
    let sound = ["-f", "lavfi", "-i", "sine=r=48000:d=7"];
    let picture = ["-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=7"];
    let vp9 = [
        "-pix_fmt",
        "yuv420p",
        "-c:v",
        "libvpx-vp9",
        "-deadline",
        "realtime",
        "-cpu-used",
        "8",
    ];
    let written = ["-c:a", "libopus", "-live", "1", "-f", "webm", "-"];
    for args in [
        [&["-v", "error"], &sound[..], &written].concat(),
        [&["-v", "error"], &picture[..], &sound, &vp9, &written].concat(),
    ] {
        let recorded = common::run("ffmpeg", &args, None);
        let format = splice::probe(&recorded, &Options::default()).expect("it is known");
        let lasts = format.duration.as_secs_f64();
        assert!((6.98..7.03).contains(&lasts), "{args:?}: {lasts} s");
    }
}
