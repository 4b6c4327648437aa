//! Long FLAC: ads go in by the pieces around the breaks, and what lies between gets its numbers when it is read.

mod common;

use std::time::Duration;

use ad_splicer::splice::{self, Break, Options};
use common::origin::{Origin, a_thousand_ranges, whole};
use common::{Fixture, Noise, ad, at, decode, run};

const RATE: usize = 44_100;
const SECONDS: usize = 110;
const AD: usize = 70_001;

/// Noise, which takes its full size, with a point to seek to for each second.
fn fixture() -> Fixture {
    let mut noise = Noise(9);
    let pcm: Vec<f32> = (0..SECONDS * RATE * 2).map(|_| 0.5 * noise.next()).collect();
    let fixture = Fixture::of("plain.wav", RATE, 2, &pcm, &["-c:a", "pcm_s16le"]);
    let content = fixture.dir.path().join("content.flac");
    let paths = [&content, &fixture.content].map(|path| path.to_str().unwrap());
    run("flac", &["-s", "-1", "-S", "1s", "-o", paths[0], paths[1]], None);
    Fixture { content, ..fixture }
}

#[test]
fn the_pieces_around_the_breaks_are_enough() {
    let fixture = fixture();
    let mut breaks: Vec<Break> = [23_017, 61_000, 61_050]
        .map(|millis| at(millis, vec![ad(RATE, 2, AD, 500.0)]))
        .into();
    breaks[1].replace = Duration::from_millis(20);
    let origin = Origin::new(std::fs::read(&fixture.content).unwrap());
    let rendition = splice::prepare(&origin, &breaks, &Options::default()).unwrap();
    let fetched = origin.fetched();
    println!("{fetched} of {} bytes", origin.bytes.len());
    assert!(fetched < 3 << 20, "{fetched} bytes before the first");
    let all = whole(&rendition, &origin);
    assert_eq!(all.len() as u64, rendition.len());
    origin.fetched();
    // A frame's checksum is of all of it, and where it begins is looked for.
    a_thousand_ranges(&rendition, &origin, &all, 512 << 10);

    let path = fixture.dir.path().join("out.flac");
    std::fs::write(&path, &all).unwrap();
    // Every checksum, and the numbers; its MD5 is not stated.
    run("flac", &["-t", "-s", path.to_str().unwrap()], None);
    let (before, after) = (decode(&fixture.content), decode(&path));
    let (mut from, mut to) = (0, 0);
    for (given, placed) in breaks.iter().zip(&rendition.report().ads) {
        let start = fixture.sample_at(placed.presentation);
        let count = start - to;
        assert!(
            after[to * 2..start * 2] == before[from * 2..(from + count) * 2],
            "before {start}"
        );
        to = start + AD;
        from += count + fixture.samples(given.replace);
    }
    assert!(after[to * 2..] == before[from * 2..], "behind the last");

    // Seek points name frames as they are: who trusts them finds the right samples.
    for second in [1.5, 30.0, 64.0, 90.0] {
        let from = (second * RATE as f64) as usize;
        let text = format!("--skip={from}");
        let until = format!("--until={}", from + 1000);
        let args = [
            "-d",
            "-s",
            "-c",
            "--force-raw-format",
            "--endian=little",
            "--sign=signed",
            &text,
            &until,
        ];
        let raw = run("flac", &[&args[..], &[path.to_str().unwrap()]].concat(), None);
        let heard: Vec<f32> = raw
            .chunks_exact(2)
            .map(|two| f32::from(i16::from_le_bytes([two[0], two[1]])) / 32_768.0)
            .collect();
        assert!(heard[..] == after[from * 2..(from + 1000) * 2], "from {second} s");
    }
    let list = ["--list", "--block-type=SEEKTABLE", path.to_str().unwrap()];
    let listed = String::from_utf8(run("metaflac", &list, None)).unwrap();
    let points = listed.matches("sample_number").count();
    assert!(points > SECONDS * 9 / 10, "{points} seek points\n{listed}");
}
