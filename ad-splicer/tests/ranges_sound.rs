//! Any range of a rendition of sound needs that range of the content, whatever the format.

mod common;

use std::time::Duration;

use ad_splicer::splice::{self, At, Break, Options};
use ad_splicer::time::ContentTime;
use common::origin::{Origin, a_thousand_ranges, whole};
use common::{Fixture, ad};

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

const OPUS: (&str, &[&str]) = ("content.opus", &["-c:a", "libopus", "-b:a", "96k"]);
const VORBIS: (&str, &[&str]) = ("content.ogg", &["-c:a", "libvorbis", "-q:a", "4"]);
const WEBM: (&str, &[&str]) = ("content.webm", &["-c:a", "libopus", "-b:a", "96k"]);

fn a_thousand_ranges_of((name, coding): (&str, &[&str]), rate: usize) {
    println!("{name}");
    let fixture = Fixture::new(name, rate, 2, coding);
    let origin = Origin::new(std::fs::read(&fixture.content).unwrap());
    let breaks = breaks(rate, 2, &[5_017, 12_500, 21_003]);
    let rendition = splice::prepare(&origin, &breaks, &Options::default()).unwrap();
    let all = whole(&rendition, &origin);
    origin.fetched();
    a_thousand_ranges(&rendition, &origin, &all, 0);
}

#[test]
fn a_thousand_ranges_of_each_format() {
    for format in [VBR, ADTS, M4A, FLAC, WAV] {
        a_thousand_ranges_of(format, 44_100);
    }
}

#[test]
fn a_thousand_ranges_of_what_is_in_ogg_and_webm() {
    for format in [OPUS, VORBIS, WEBM] {
        a_thousand_ranges_of(format, 48_000);
    }
}
