//! Splices Vorbis in Ogg and judges the results by ffmpeg. Each stream of the chain is taken for itself: put together, their samples are what the specification says that the whole decodes to. (ffmpeg gives some
//! samples more at each change of streams, since it forgets that the first packet of a stream gives none.)

mod common;

use std::time::Duration;

use ad_splicer::splice::{Break, Report, SeamKind, SpliceError};
use common::{
    Fixture, MUSIC, SINE, ad, at, decode, ends, hashes, judge_ad, left, loudness, mid_rolls, ogg_pages,
    worst_db,
};

/// Most samples of a packet.
const FRAME: usize = 1_024;

/// Splices and judges; gives the samples of the whole, the report, and the errors around the ads.
fn judged(fixture: &Fixture, name: &str, breaks: &[Break]) -> (Vec<f32>, Report, Vec<f64>) {
    let channels = fixture.channels;
    let (path, report) = fixture.splice(name, breaks);
    let (before, old) = (decode(&fixture.content), hashes(&fixture.content, "0:a"));
    let mut whole = Vec::new();
    let (mut kept, mut heard) = (0, 0);
    for stream in common::ogg_streams(fixture.dir.path(), &path) {
        let samples = decode(&stream);
        let packets = hashes(&stream, "0:a");
        // Steady sound repeats itself, so packets are looked for from where the last ones were.
        let place = (kept..old.len()).find(|place| old[*place..].starts_with(&packets));
        if let Some(place) = place {
            let known = (heard..before.len() / channels)
                .find(|sample| before[sample * channels..].starts_with(&samples))
                .unwrap_or_else(|| panic!("{name}: content is decoded as it was"));
            heard = known + samples.len() / channels;
            kept = place + packets.len();
        }
        whole.extend(samples);
    }
    println!("{name}: {kept} of {} packets", old.len());
    assert_eq!(whole.len() / channels, fixture.samples(report.duration), "{name}");
    if report
        .seams
        .last()
        .is_some_and(|seam| seam.kind == SeamKind::Exit)
    {
        assert_eq!(kept, old.len(), "{name}: the end is the content's own");
    }
    // It says that it cannot create a stream when it looks at the end for the length, before it has come to that stream.
    let args = [
        "-v",
        "fatal",
        "-i",
        path.to_str().unwrap(),
        "-f",
        "f32le",
        "-c:a",
        "pcm_f32le",
        "-",
    ];
    let direct = common::run("ffmpeg", &args, None).len() / 4 / channels;
    let more = direct as i64 - fixture.samples(report.duration) as i64;
    let changes = 2 * report.ads.len() as i64 + 1;
    println!("{name}: ffmpeg gives {more} samples more");
    assert!((0..changes * FRAME as i64).contains(&more), "{name}: {more}");

    // The content around the ads is what it was but for coding it again, up to the cue.
    let mut errors = Vec::new();
    let mut shift = 0;
    for (i, spliced) in report.ads.iter().enumerate() {
        let given = &breaks[spliced.index.break_index].ads[spliced.index.ad].pcm;
        let given = given.samples().unwrap();
        let (start, fade) = (fixture.sample_at(spliced.presentation), fixture.rate / 100);
        judge_ad(
            &format!("{name}: ad {}", spliced.id),
            &whole[start * channels..],
            &given,
            fade * channels,
            channels,
        );
        let cue = start - shift;
        let first = i == 0 || report.ads[i - 1].index.break_index != spliced.index.break_index;
        if first && cue >= FRAME {
            let now = &whole[(start - FRAME) * channels..start * channels];
            errors.push(worst_db(now, &before[(cue - FRAME) * channels..], channels));
        }
        shift += given.len() / channels;
        let last = report
            .ads
            .get(i + 1)
            .is_none_or(|next| next.index.break_index != spliced.index.break_index);
        let end = start + given.len() / channels;
        if last && end + FRAME <= whole.len() / channels {
            let now = &whole[end * channels..(end + FRAME) * channels];
            errors.push(worst_db(now, &before[(end - shift) * channels..], channels));
        }
    }
    println!("{name}: {errors:.1?}");
    (whole, report, errors)
}

#[test]
fn content_is_decoded_as_it_was_up_to_a_packet_from_the_cue() {
    // The goal is a median of -60 dBFS in pauses, and in music no more than 3 dB beside 256 kbit/s.
    for (name, rate, channels, coding, limit) in [
        ("q6.ogg", 44_100, 2, "-q:a 6", -45.0),
        ("mono.ogg", 48_000, 1, "-q:a 3", -45.0),
        ("low.ogg", 22_050, 2, "-q:a 1", -40.0),
    ] {
        let coding: Vec<&str> = ["-c:a", "libvorbis"]
            .into_iter()
            .chain(coding.split(' '))
            .collect();
        let fixture = Fixture::new("content.ogg", rate, channels, &coding);
        let (_, report, errors) = judged(&fixture, name, &mid_rolls(rate, channels));
        assert_eq!((report.seams.len(), errors.len()), (6, 6));
        assert!(errors.iter().all(|error| *error < limit), "{name}: {errors:?}");
        let (_, report, errors) = judged(&fixture, &format!("ends-{name}"), &ends(rate, channels));
        assert_eq!((report.seams.len(), errors.len()), (2, 2));
    }
}

#[test]
fn a_sine_goes_into_ads_without_a_click_and_ads_are_as_loud_as_they_were() {
    let fixture = Fixture::new("content.ogg", 44_100, 2, &["-c:a", "libvorbis", "-q:a", "9"]);
    let breaks = [13_400, 14_777, SINE, 18_100].map(|cue| at(cue, vec![ad(44_100, 2, 90_001, 220.0)]));
    let (whole, report, _) = judged(&fixture, "click.ogg", &breaks);
    let own = common::above_4k(&left(&decode(&fixture.content), 2)[600_000..700_000], 44_100);
    let given = loudness(&breaks[0].ads[0].pcm.samples().unwrap(), 44_100, 2);
    for spliced in &report.ads {
        let cue = fixture.sample_at(spliced.presentation);
        for (join, at) in [("into", cue), ("out of", cue + 90_001)] {
            let energy = common::above_4k(&left(&whole, 2)[at - 15_000..at + 15_000], 44_100);
            println!("{join} the ad: {energy:.1} dBFS above 4 kHz, {own:.1} in the content alone");
            // Where two streams meet, two codings of the content meet without an overlap.
            assert!(energy < -97.0, "{join} the ad at sample {cue}: {energy:.1} dBFS");
        }
        let got = loudness(&whole[cue * 2..(cue + 90_001) * 2], 44_100, 2);
        assert!((given - got).abs() <= 0.5, "{given} LUFS became {got}");
    }
}

#[test]
fn a_span_is_replaced() {
    let fixture = Fixture::new("content.ogg", 44_100, 2, &["-c:a", "libvorbis", "-q:a", "6"]);
    let (channels, given) = (fixture.channels, ad(44_100, 2, 90_001, 500.0));
    let replaced = 3 * fixture.rate;
    let breaks = [Break {
        replace: Duration::from_secs(3),
        ..at(MUSIC, vec![given.clone()])
    }];
    let (path, report) = fixture.splice("replaced.ogg", &breaks);
    let heard: Vec<f32> = common::ogg_streams(fixture.dir.path(), &path)
        .iter()
        .flat_map(|stream| decode(stream))
        .collect();
    let before = decode(&fixture.content);
    let whole = before.len() - replaced * channels + 90_001 * channels;
    assert_eq!(heard.len(), whole);
    assert_eq!(heard.len() / channels, fixture.samples(report.duration));
    let cue = fixture.sample_at(report.ads[0].presentation);
    assert_eq!(cue, (44_100 * MUSIC as usize).div_ceil(1_000), "to the sample");
    let pcm = given.pcm.samples().unwrap();
    judge_ad("the ad", &heard[cue * channels..], &pcm, 441 * channels, channels);
    // What is beside the span is content as it was, but for up to two packets that are coded again.
    let (end, next) = (cue + 90_001, cue + replaced);
    let beside = 2 * FRAME;
    assert!(heard[..(cue - beside) * channels] == before[..(cue - beside) * channels]);
    assert!(heard[(end + beside) * channels..] == before[(next + beside) * channels..]);
    for (now, was) in [(cue - beside, cue - beside), (end, next)] {
        let now = &heard[now * channels..(now + beside) * channels];
        let error = worst_db(now, &before[was * channels..], channels);
        println!("{error:.1} dBFS");
        assert!(error < -45.0, "{error:.1} dBFS");
    }
}

#[test]
fn tags_chapters_and_ranges() {
    let coding = [
        "-c:a",
        "libvorbis",
        "-metadata",
        "CHAPTER001=00:00:11.000",
        "-metadata",
        "CHAPTER001NAME=Two",
    ];
    let fixture = Fixture::new("content.ogg", 44_100, 2, &coding);
    let breaks: Vec<Break> = mid_rolls(44_100, 2).into_iter().chain(ends(44_100, 2)).collect();
    let (path, report) = fixture.splice("whole.ogg", &breaks);
    let first = &common::ogg_streams(fixture.dir.path(), &path)[0];
    let said = common::probe(first);
    assert_eq!(said["streams"][0]["tags"]["title"], "Episode", "{said}");
    let found = common::chapters(first);
    assert_eq!((found.len(), report.chapters.len()), (1, 1));
    for (chapter, moved) in found.iter().zip(&report.chapters) {
        let moved = moved.start.as_millis() as f64 / 1000.0;
        assert!((chapter.1 - moved).abs() < 0.002, "{chapter:?} {moved}");
    }
    common::random_ranges(&fixture, &path, &breaks);
}

#[test]
fn what_cannot_be_spliced_says_so() {
    let fixture = Fixture::new("content.ogg", 44_100, 2, &["-c:a", "libvorbis", "-t", "5"]);
    let whole = std::fs::read(&fixture.content).unwrap();
    let breaks = [at(1_000, vec![ad(44_100, 2, 20_000, 500.0)])];
    let cut = common::refusal(&whole[..whole.len() - 9], &breaks);
    assert!(matches!(cut, SpliceError::Truncated { .. }), "{cut}");
    let third = ogg_pages(&whole)[3].clone();
    let missing = [&whole[..third.start], &whole[third.end..]].concat();
    let missing = common::refusal(&missing, &breaks).to_string();
    assert!(missing.contains("missing before byte"), "{missing}");
    let twice = common::refusal(&[whole.clone(), whole].concat(), &breaks).to_string();
    assert!(twice.contains("another stream begins"), "{twice}");
}
