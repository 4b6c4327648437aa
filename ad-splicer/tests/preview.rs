//! Previews, and cue points in pauses. A preview has around each break exactly what the whole rendition has there.

mod common;

use std::path::PathBuf;
use std::time::Duration;

use ad_splicer::content::FileContent;
use ad_splicer::pauses;
use ad_splicer::splice::{At, Break, Options, preview};
use ad_splicer::time::ContentTime;
use common::{Fixture, MUSIC, PAUSE, SINE, ad, at, decode};

/// What is kept on both sides of a break.
const AROUND: Duration = Duration::from_secs(3);

/// The samples around each ad are the whole rendition's, where nothing of a seam of a cut can be: half a second from it.
fn check(fixture: &Fixture, ending: &str) {
    check_within(fixture, ending, 0.0);
}

/// The same for decoders that remember more than half a second, so that samples differ by so much at most.
fn check_within(fixture: &Fixture, ending: &str, most: f32) {
    let (rate, channels) = (fixture.rate, fixture.channels);
    let breaks = [
        at(PAUSE, vec![ad(rate, channels, 2 * rate + 77, 500.0)]),
        at(
            MUSIC,
            vec![
                ad(rate, channels, rate, 700.0),
                ad(rate, channels, rate / 2, 900.0),
            ],
        ),
    ];
    let (whole, whole_report) = fixture.splice(&format!("whole.{ending}"), &breaks);
    let content = FileContent::open(&fixture.content).unwrap();
    let cuts = preview::cuts(&content, &breaks, AROUND, &Options::default()).unwrap();
    assert_eq!(cuts.len(), 3);
    let (part, report) = fixture.splice(&format!("part.{ending}"), &[&breaks[..], &cuts].concat());
    let ads = |report: &ad_splicer::splice::Report| {
        let ads = report.ads.iter().filter(|ad| ad.id != preview::CUT);
        ads.map(|ad| (ad.id.clone(), fixture.sample_at(ad.presentation), ad.duration))
            .collect::<Vec<_>>()
    };
    // ffmpeg loses the time of chained Ogg, so each stream is decoded for itself.
    let decode = |path: &PathBuf| match ending {
        "ogg" => common::ogg_streams(fixture.dir.path(), path)
            .iter()
            .flat_map(|path| decode(path))
            .collect(),
        _ => decode(path),
    };
    let (whole, part) = (decode(&whole), decode(&part));
    let expected = 3.5 + 4.0 * AROUND.as_secs_f64() + 0.5 + 2.0 * 0.05;
    let seconds = part.len() as f64 / (rate * channels) as f64;
    assert!(
        (seconds - expected).abs() < 0.2,
        "{ending}: {seconds} s, and {expected} s were expected"
    );
    let margin = rate * 5 / 2;
    for (wanted, found) in ads(&whole_report).iter().zip(ads(&report)) {
        assert_eq!((&wanted.0, wanted.2), (&found.0, found.2));
        let len = fixture.samples(wanted.2);
        let span = |start: usize| (start - margin) * channels..(start + len + margin) * channels;
        let differing = whole[span(wanted.1)]
            .iter()
            .zip(&part[span(found.1)])
            .filter(|(a, b)| (*a - *b).abs() > most)
            .count();
        assert_eq!(differing, 0, "{ending}: samples around {} differ", found.0);
    }
}

#[test]
fn a_preview_of_mp3_is_cut_from_the_whole() {
    let coding = ["-c:a", "libmp3lame", "-b:a", "128k"];
    check(&Fixture::new("content.mp3", 44_100, 2, &coding), "mp3");
}

#[test]
fn a_preview_of_wav_is_cut_from_the_whole() {
    check(
        &Fixture::new("content.wav", 22_050, 1, &["-c:a", "pcm_s16le"]),
        "wav",
    );
}

#[test]
fn a_preview_of_flac_is_cut_from_the_whole() {
    check(
        &Fixture::new("content.flac", 44_100, 1, &["-c:a", "flac"]),
        "flac",
    );
}

#[test]
fn a_preview_of_aac_is_cut_from_the_whole() {
    let coding = ["-c:a", "aac", "-b:a", "128k", "-aac_pns", "0"];
    check(&Fixture::new("content.aac", 44_100, 2, &coding), "aac");
    check(&Fixture::new("content.m4a", 48_000, 1, &coding), "m4a");
}

#[test]
fn a_preview_of_opus_is_cut_from_the_whole() {
    let coding = ["-c:a", "libopus", "-b:a", "96k"];
    check_within(&Fixture::new("content.opus", 48_000, 1, &coding), "opus", 1e-3);
    check_within(&Fixture::new("content.webm", 48_000, 2, &coding), "webm", 1e-3);
}

#[test]
fn a_preview_of_vorbis_is_cut_from_the_whole() {
    let coding = ["-c:a", "libvorbis", "-q:a", "5"];
    check(&Fixture::new("content.ogg", 44_100, 2, &coding), "ogg");
}

/// Where not much more is there than what is kept, that is cut too.
#[test]
fn a_preview_is_as_short_near_the_beginning_and_the_end() {
    let fixture = Fixture::new("content.wav", 8_000, 1, &["-c:a", "pcm_s16le"]);
    let content = FileContent::open(&fixture.content).unwrap();
    let lasts = |seconds: &[u64]| {
        let breaks: Vec<Break> = seconds
            .iter()
            .map(|second| at(second * 1_000, vec![ad(8_000, 1, 8_000, 500.0)]))
            .collect();
        let cuts = preview::cuts(&content, &breaks, AROUND, &Options::default()).unwrap();
        let (_, report) = fixture.splice("part.wav", &[breaks, cuts].concat());
        report.duration.as_secs_f64()
    };
    // The content lasts 40 s.
    for (cues, due) in [
        (&[5][..], 7.1),
        (&[2], 6.05),
        (&[35], 7.1),
        (&[38], 6.05),
        (&[10, 18], 14.6),
        (&[10, 16], 14.1),
    ] {
        let found = lasts(cues);
        assert!((found - due).abs() < 0.01, "{cues:?}: {found} s");
    }
}

#[test]
fn breaks_without_ads_leave_a_preview_of_nothing() {
    let fixture = Fixture::new("content.wav", 8_000, 1, &["-c:a", "pcm_s16le"]);
    let content = FileContent::open(&fixture.content).unwrap();
    let none = [at(PAUSE, Vec::new())];
    let cuts = preview::cuts(&content, &none, AROUND, &Options::default()).unwrap();
    assert_eq!(cuts.len(), 1, "all of it is cut");
}

/// The content's one pause is from 10 s to 12 s.
#[test]
fn cues_snap_to_the_pause_within_the_tolerance_and_say_how_far() {
    let coding = ["-c:a", "libmp3lame", "-b:a", "128k"];
    let fixture = Fixture::new("content.mp3", 44_100, 2, &coding);
    let content = FileContent::open(&fixture.content).unwrap();
    let snap = |millis: u64, tolerance: u64| {
        let cue = At::Time(ContentTime::from_millis(millis));
        let tolerance = Duration::from_millis(tolerance);
        pauses::snap(&content, &[cue], tolerance, &Options::default()).unwrap()[0]
    };
    let near = snap(9_500, 3_000).unwrap();
    assert_eq!(near.from, ContentTime::from_millis(9_500));
    assert!((near.distance() - 1.5).abs() < 0.05, "{near:?}");
    assert!((near.pause.unwrap().as_secs_f64() - 2.0).abs() < 0.1, "{near:?}");
    let edge = snap(12_500, 600).unwrap();
    assert!((edge.distance() + 0.6).abs() < 1e-6, "{edge:?}");
    assert_eq!(snap(SINE, 1_000), None);
    assert_eq!(snap(1_000_000, 1_000), None, "outside");
}

#[test]
fn breaks_are_suggested_in_pauses() {
    let coding = ["-c:a", "flac"];
    let fixture = Fixture::new("content.flac", 16_000, 1, &coding);
    let content = FileContent::open(&fixture.content).unwrap();
    let found = pauses::suggest(&content, Some(3), &Options::default()).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    let middle = found[0].at.as_secs_f64();
    assert!((middle - 11.0).abs() < 0.05, "{found:?}");
    // A break inserted there leaves a file that plays.
    let breaks = [Break {
        at: At::Time(found[0].at),
        replace: Duration::ZERO,
        ads: vec![ad(16_000, 1, 16_000, 400.0)],
    }];
    let (path, report) = fixture.splice("out.flac", &breaks);
    assert_eq!(decode(&path).len(), fixture.samples(report.duration));
}
