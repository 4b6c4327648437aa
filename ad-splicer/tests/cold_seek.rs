//! Playing two hours from near their end, cold: what has to be fetched before the first of it is heard, in formats that tell themselves where they are.
//!
//! MP3 of variable bit rate and ADTS, which do not, are in `ranges_index`.

mod common;

use std::path::Path;
use std::sync::Arc;

use ad_splicer::splice::{self, Options};
use ad_splicer::time::PresentationTime;
use common::origin::{Origin, heard_from};
use common::{Fixture, run};

const MIB: usize = 1 << 20;

/// Two hours of these forty seconds, their packets copied.
fn looped(part: &Path) -> Vec<u8> {
    let long = part.with_file_name(format!("long.{}", part.extension().unwrap().to_str().unwrap()));
    let (from, to) = (part.to_str().unwrap(), long.to_str().unwrap());
    let times = (7_200 / common::SECONDS - 1).to_string();
    run(
        "ffmpeg",
        &[
            "-v",
            "error",
            "-stream_loop",
            &times,
            "-i",
            from,
            "-map",
            "0:a",
            "-c",
            "copy",
            to,
        ],
        None,
    );
    std::fs::read(long).unwrap()
}

fn fetched(what: &str, bytes: Vec<u8>) -> usize {
    let origin = Arc::new(Origin::new(bytes));
    let options = Options {
        growing: true,
        ..Options::default()
    };
    let rendition = splice::prepare(origin.as_ref(), &[], &options).unwrap();
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
