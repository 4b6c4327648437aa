//! Any range of a rendition of sound needs that range of the content, in every format; what a seek fetches in two hours of it.

mod common;

use std::sync::Arc;
use std::time::Duration;

use ad_splicer::content::Content;
use ad_splicer::play::{Growing, Notice, Player, Request, Sink, Timeline};
use ad_splicer::splice::{self, At, Break, Codec, Options};
use ad_splicer::time::{ContentTime, PresentationTime};
use common::origin::{Origin, a_thousand_ranges, whole};
use common::{Fixture, ad, run};

const MIB: usize = 1 << 20;

/// Breaks of a second at these times in milliseconds.
fn breaks(rate: usize, channels: usize, times: &[u64]) -> Vec<Break> {
    let at = |millis: &u64| Break {
        at: At::Time(ContentTime::from_millis(*millis)),
        replace: Duration::ZERO,
        ads: vec![ad(rate, channels, rate, 400.0)],
    };
    times.iter().map(at).collect()
}

const VBR: (&str, &[&str]) = ("content.mp3", &["-c:a", "libmp3lame", "-q:a", "3"]);
const ADTS: (&str, &[&str]) = ("content.aac", &["-c:a", "aac", "-b:a", "96k"]);
const M4A: (&str, &[&str]) = ("content.m4a", &["-c:a", "aac", "-b:a", "96k"]);
const FLAC: (&str, &[&str]) = ("content.flac", &["-c:a", "flac"]);
const WAV: (&str, &[&str]) = ("content.wav", &["-c:a", "pcm_s16le"]);

#[test]
fn a_thousand_ranges_of_each_format() {
    for (name, coding) in [VBR, ADTS, M4A, FLAC, WAV] {
        println!("{name}");
        let fixture = Fixture::new(name, 44_100, 2, coding);
        let origin = Origin::new(std::fs::read(&fixture.content).unwrap());
        let breaks = breaks(44_100, 2, &[5_017, 12_500, 21_003]);
        let rendition = splice::prepare(&origin, &breaks, &Options::default()).unwrap();
        let all = whole(&rendition, &origin);
        origin.fetched();
        a_thousand_ranges(&rendition, &origin, &all, 0);
    }
}

/// Two hours of half a minute again and again.
fn two_hours((name, coding): (&str, &[&str])) -> (Codec, Vec<u8>) {
    let fixture = Fixture::new(name, 44_100, 2, coding);
    let long = fixture.content.with_file_name(format!("long-{name}"));
    let looped = [
        "-v",
        "error",
        "-stream_loop",
        "-1",
        "-i",
        fixture.content.to_str().unwrap(),
    ];
    let copied = [
        "-t",
        "7200",
        "-map",
        "0:a",
        "-c",
        "copy",
        "-y",
        long.to_str().unwrap(),
    ];
    run("ffmpeg", &[&looped[..], &copied].concat(), None);
    let bytes = std::fs::read(long).unwrap();
    let codec = splice::probe(&bytes, &Options::default()).unwrap().codec;
    (codec, bytes)
}

/// Bytes that are fetched to lay out, and until something is heard of a place in the second hour.
fn fetched(codec: Codec, bytes: Vec<u8>, breaks: &[Break]) -> (usize, usize) {
    let origin = Arc::new(Origin::new(bytes));
    let content: Arc<dyn Content> = origin.clone();
    let rendition = splice::prepare(content.as_ref(), breaks, &Options::default()).unwrap();
    let laid_out = origin.fetched();
    let duration = rendition.report().duration;
    let timeline = Timeline::of(rendition.plan());
    let growing = Arc::new(Growing::new(content, rendition));
    let finding = growing.clone();
    let start = PresentationTime::from_millis(5_000_000);
    let player = Player::start(Request {
        media: growing,
        codec,
        timeline,
        start,
        duration: Some(duration),
        sink: Sink::Null,
        locate: Some(Arc::new(move |to| finding.locate(to))),
        read_deadline: Duration::from_secs(10),
    })
    .unwrap();
    let at = loop {
        match player.notices().recv_timeout(Duration::from_secs(60)).unwrap() {
            Notice::Position { at, .. } if at > start => break at,
            Notice::Ended { outcome, .. } => panic!("{outcome:?}"),
            _ => {}
        }
    };
    assert!(at.since(start) < Duration::from_secs(5), "{at}");
    (laid_out, origin.fetched())
}

#[test]
fn a_seek_in_two_cold_hours_fetches_little() {
    let all: Vec<(&str, usize, usize)> = [VBR, ADTS, M4A, WAV, FLAC]
        .into_iter()
        .map(|format| {
            let (codec, bytes) = two_hours(format);
            let (head, heard) = fetched(codec, bytes, &[]);
            println!(
                "{}: {head} bytes to begin, {heard} until a place was heard",
                format.0
            );
            (format.0, head, heard)
        })
        .collect();
    for (name, head, heard) in all {
        assert!(head + heard <= 2 * MIB, "{name}: {head} and {heard} bytes");
    }
}
