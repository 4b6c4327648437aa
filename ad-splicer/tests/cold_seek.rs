//! Playing two hours from near their end, cold: what has to be fetched before the first of it is heard, in formats that tell themselves where they are.
//!
//! MP3 of variable bit rate and ADTS, which do not, are in `ranges_index`.

mod common;

use std::path::Path;
use std::sync::Arc;

use ad_splicer::play::Growing;
use ad_splicer::splice::{self, Options};
use ad_splicer::time::PresentationTime;
use common::origin::{Origin, heard_from};
use common::{Fixture, SECONDS, run};

const MIB: usize = 1 << 20;

/// Two hours of these forty seconds, their packets copied.
fn looped(part: &Path) -> Vec<u8> {
    let long = part.with_file_name(format!("long.{}", part.extension().unwrap().to_str().unwrap()));
    let (from, to) = (part.to_str().unwrap(), long.to_str().unwrap());
    let times = (7_200 / SECONDS - 1).to_string();
    let looped = ["-v", "error", "-stream_loop", &times, "-i", from];
    run(
        "ffmpeg",
        &[&looped[..], &["-map", "0:a", "-map", "0:v?", "-c", "copy", to]].concat(),
        None,
    );
    std::fs::read(long).unwrap()
}

/// As `grove play` has it.
fn growing() -> Options {
    Options {
        growing: true,
        measured: true,
        ..Options::default()
    }
}

fn fetched(what: &str, bytes: Vec<u8>) -> usize {
    let origin = Arc::new(Origin::new(bytes));
    let rendition = splice::prepare(origin.as_ref(), &[], &growing()).unwrap();
    let start = PresentationTime::from_millis(7_000_000);
    let (fetched, at) = heard_from(&origin, rendition, start);
    println!(
        "{what}: {fetched} bytes of {} until {at} was heard",
        origin.bytes.len()
    );
    fetched
}

#[track_caller]
fn fetches_little(name: &str, coding: &[&str]) {
    let fixture = Fixture::new(name, 48_000, 2, coding);
    let fetched = fetched(name, looped(&fixture.content));
    assert!(fetched <= 2 * MIB, "{name}: {fetched} bytes");
}

#[test]
fn aac_in_mp4() {
    fetches_little("content.m4a", &["-c:a", "aac", "-b:a", "128k"]);
}

#[test]
fn opus_in_ogg() {
    fetches_little("content.opus", &["-c:a", "libopus", "-b:a", "96k"]);
}

#[test]
fn opus_in_webm() {
    fetches_little("content.webm", &["-c:a", "libopus", "-b:a", "96k"]);
}

/// Without its cues all of a WebM file has to be read, and with false ones too: the place is the same.
#[test]
fn webm_whose_cues_are_not_so() {
    let fixture = Fixture::new("content.webm", 48_000, 2, &["-c:a", "libopus", "-b:a", "96k"]);
    let bytes = std::fs::read(&fixture.content).unwrap();
    let start = PresentationTime::from_millis(33_000);
    let heard = |bytes: Vec<u8>| {
        let origin = Arc::new(Origin::new(bytes));
        let rendition = splice::prepare(origin.as_ref(), &[], &growing()).unwrap();
        Growing::new(origin, rendition).locate(start)
    };
    let place = heard(bytes.clone()).unwrap();
    // The element and each position in it.
    let cues = bytes
        .windows(4)
        .rposition(|id| id == [0x1C, 0x53, 0xBB, 0x6B])
        .unwrap();
    let mut none = bytes.clone();
    none[cues] = 0x1D;
    assert_eq!(heard(none), Some(place.clone()));
    let mut wrong = bytes.clone();
    let positions = (cues..bytes.len() - 1)
        .filter(|at| wrong[*at] == 0xF1)
        .collect::<Vec<_>>();
    assert!(positions.len() > 4, "{positions:?}");
    for at in positions {
        let len = usize::from(wrong[at + 1] & 0x7F);
        if let Some(last) = wrong.get_mut(at + 1 + len) {
            *last ^= 1;
        }
    }
    assert_eq!(heard(wrong), Some(place));
}

/// Two hours of video with a key picture every two seconds, and how many bytes two seconds of it are.
fn video(name: &str, coding: &[&str]) -> (Vec<u8>, usize) {
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().join(name);
    let lasts = SECONDS.to_string();
    let lavfi = ["-t", &lasts, "-f", "lavfi", "-i"];
    let inputs = [
        &["-v", "error"],
        &lavfi[..],
        &["testsrc2=s=160x90:r=10"],
        &lavfi,
        &["anoisesrc=c=pink:a=0.3:seed=7:r=48000"],
    ]
    .concat();
    let coded = ["-pix_fmt", "yuv420p", "-g", "20", "-keyint_min", "20"];
    let out = part.to_str().unwrap();
    run("ffmpeg", &[&inputs, &coded[..], coding, &[out]].concat(), None);
    let group = std::fs::metadata(&part).unwrap().len() as usize * 2 / SECONDS;
    (looped(&part), group)
}

#[test]
fn video_in_webm() {
    let fast = ["-deadline", "realtime", "-cpu-used", "8", "-b:v", "60k"];
    let coding = [
        &["-c:v", "libvpx-vp9"],
        &fast[..],
        &["-c:a", "libopus", "-b:a", "32k"],
    ]
    .concat();
    let (bytes, group) = video("content.webm", &coding);
    let cues = bytes
        .windows(4)
        .rposition(|id| id == [0x1C, 0x53, 0xBB, 0x6B])
        .unwrap();
    let tables = bytes.len() - cues;
    let fetched = fetched("content.webm", bytes);
    assert!(
        fetched <= tables + group + MIB,
        "{fetched} bytes, {tables} of tables"
    );
}

#[test]
fn video_in_mp4() {
    let coding = [
        "-c:v", "libx264", "-preset", "veryfast", "-b:v", "60k", "-c:a", "aac", "-b:a", "32k",
    ];
    let (bytes, group) = video("content.mp4", &coding);
    let moov = bytes.windows(4).rposition(|name| name == b"moov").unwrap();
    let tables = bytes.len() - moov;
    let fetched = fetched("content.mp4", bytes);
    assert!(
        fetched <= tables + group + MIB,
        "{fetched} bytes, {tables} of tables"
    );
}

#[test]
fn vorbis() {
    fetches_little("content.ogg", &["-c:a", "libvorbis", "-q:a", "4"]);
}

#[test]
fn mp3_of_one_bit_rate() {
    fetches_little("content.mp3", &["-c:a", "libmp3lame", "-b:a", "128k"]);
}

/// Its frames are numbered, so that they cannot be copied one after the other: two hours are coded.
#[test]
fn flac() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("content.flac");
    let noise = "anoisesrc=c=pink:a=0.2:seed=7:r=8000:d=7200";
    let coding = ["-c:a", "flac", "-compression_level", "0", path.to_str().unwrap()];
    run(
        "ffmpeg",
        &[&["-v", "error", "-f", "lavfi", "-i", noise][..], &coding].concat(),
        None,
    );
    let fetched = fetched("content.flac", std::fs::read(path).unwrap());
    assert!(fetched <= 2 * MIB, "{fetched} bytes");
}

#[test]
fn wav() {
    let samples = 7_200 * 16_000_u32;
    let mut bytes = Vec::new();
    bytes.extend(b"RIFF");
    bytes.extend((36 + samples * 2).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend(16_000_u32.to_le_bytes());
    bytes.extend(32_000_u32.to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend((samples * 2).to_le_bytes());
    bytes.extend((0..samples).flat_map(|i| ((i % 101) as i16 * 30).to_le_bytes()));
    let fetched = fetched("content.wav", bytes);
    assert!(fetched <= 2 * MIB, "{fetched} bytes");
}
