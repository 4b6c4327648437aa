//! Playing two hours from near their end, cold: what has to be fetched before the first of it is heard, in formats that tell themselves where they are.
//!
//! MP3 and ADTS, which do not, are in `ranges_index`.

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

#[test]
fn a_seek_in_two_cold_hours_fetches_little() {
    for (name, coding) in [
        ("content.m4a", &["-c:a", "aac", "-b:a", "128k"][..]),
        ("content.opus", &["-c:a", "libopus", "-b:a", "96k"]),
        ("content.ogg", &["-c:a", "libvorbis", "-q:a", "4"]),
        ("content.webm", &["-c:a", "libopus", "-b:a", "96k"]),
        ("content.wav", &["-c:a", "pcm_s16le"]),
    ] {
        let rate = if name.ends_with("wav") { 16_000 } else { 48_000 };
        let fixture = Fixture::new(name, rate, 2, coding);
        let fetched = fetched(name, looped(&fixture.content));
        assert!(fetched <= 2 * MIB, "{name}: {fetched} bytes");
    }
}
