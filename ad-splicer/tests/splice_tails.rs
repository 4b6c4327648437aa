//! What stands behind the last packet and is never heard: tags, line ends, zeros, rubbish. Content with it is spliced as content without, and what is cut short is said to be, whatever stands behind.

mod common;

use ad_splicer::splice::{self, Break, Options, SpliceError};
use common::{Fixture, ad, at, content};

/// Whether what stands behind is in the result too.
const KEPT: bool = true;
const DROPPED: bool = false;

/// Name, rate, how ffmpeg codes it, and what becomes of what stands behind.
const FORMATS: [(&str, usize, &[&str], bool); 12] = [
    ("cbr.mp3", 44_100, &["-b:a", "128k"], KEPT),
    ("vbr.mp3", 44_100, &["-q:a", "4"], KEPT),
    ("content.aac", 44_100, &["-c:a", "aac"], KEPT),
    ("content.flac", 44_100, &["-c:a", "flac"], KEPT),
    ("content.wav", 44_100, &["-c:a", "pcm_s16le"], DROPPED),
    ("late.m4a", 44_100, &["-c:a", "aac"], DROPPED),
    (
        "early.m4a",
        44_100,
        &["-c:a", "aac", "-movflags", "+faststart"],
        DROPPED,
    ),
    (
        "fragments.m4a",
        44_100,
        &[
            "-c:a",
            "aac",
            "-movflags",
            "frag_keyframe+empty_moov",
            "-frag_duration",
            "1000000",
        ],
        DROPPED,
    ),
    ("content.opus", 48_000, &["-c:a", "libopus"], DROPPED),
    ("content.ogg", 44_100, &["-c:a", "libvorbis"], DROPPED),
    ("content.webm", 48_000, &["-c:a", "libopus"], DROPPED),
    (
        "live.webm",
        48_000,
        &["-c:a", "libopus", "-f", "webm", "-live", "1"],
        DROPPED,
    ),
];

/// What players step over, by its name.
fn tails() -> Vec<(&'static str, Vec<u8>)> {
    let id3v1 = [&b"TAGA title"[..], &[b' '; 118]].concat();
    let mut foot = [&b"APETAGEX\xD0\x07\0\0\x32\0\0\0\x01\0\0\0"[..], &[0; 12]].concat();
    let item = *b"\x04\0\0\0\0\0\0\0title\0name";
    let mut head = foot.clone();
    (head[23], foot[23]) = (0xA0, 0x80);
    let ape = [&head[..], &item, &foot].concat();
    vec![
        ("ID3v1", id3v1.clone()),
        ("APEv2", ape.clone()),
        ("APEv2 and ID3v1", [ape, id3v1].concat()),
        ("a line end", b"\n".to_vec()),
        ("line ends", b"\r\n\r\n".to_vec()),
        ("zeros", vec![0; 5_000]),
        ("rubbish", b"<p>what a proxy had to say</p> ".repeat(9)),
    ]
}

fn breaks(rate: usize) -> Vec<Break> {
    vec![
        at(2_000, vec![ad(rate, 2, 20_000, 500.0)]),
        Break {
            at: splice::At::End,
            ..at(0, vec![ad(rate, 2, 20_000, 700.0)])
        },
    ]
}

/// Four seconds.
fn fixture(name: &str, rate: usize, coding: &[&str]) -> Fixture {
    Fixture::of(name, rate, 2, &content(rate, 2, 4), coding)
}

#[test]
fn a_tail_that_nobody_hears_is_kept_or_dropped_and_never_refused() {
    for (name, rate, coding, is_kept) in FORMATS {
        let whole = std::fs::read(fixture(name, rate, coding).content).unwrap();
        let spliced = |content: &Vec<u8>| {
            let mut out = Vec::new();
            splice::splice(content, &breaks(rate), &Options::default(), &mut out).map(|_| out)
        };
        let expected = spliced(&whole).unwrap();
        for (tail, bytes) in tails() {
            let result = spliced(&[&whole[..], &bytes].concat());
            let result = result.unwrap_or_else(|error| panic!("{name} with {tail} behind: {error}"));
            let expected = [&expected[..], if is_kept { &bytes } else { &[] }].concat();
            assert!(result == expected, "{name} with {tail} behind is another");
        }
    }
}

#[test]
fn what_is_cut_short_is_said_to_be_whatever_stands_behind() {
    for (name, rate, coding, _) in FORMATS {
        // Nothing in ADTS says how much there should be: an incomplete frame at its end is left out.
        if name == "content.aac" {
            continue;
        }
        let whole = std::fs::read(fixture(name, rate, coding).content).unwrap();
        for (tail, bytes) in tails() {
            for len in [whole.len() * 6 / 10, whole.len() - 50] {
                // Zeros, and what nobody knows, may be what is due, where there is as much of them; only Ogg and FLAC have checksums.
                let has_checksums = [".flac", ".opus", ".ogg"].iter().any(|end| name.ends_with(end));
                let is_full = len == whole.len() - 50 || name == "live.webm";
                if is_full && !has_checksums && ["zeros", "rubbish"].contains(&tail) {
                    continue;
                }
                let cut = [&whole[..len], &bytes].concat();
                let error = common::refusal(&cut, &breaks(rate));
                assert!(
                    matches!(error, SpliceError::Truncated { .. }),
                    "{name}, {len} of {} bytes with {tail} behind: {error}",
                    whole.len()
                );
            }
        }
    }
}
