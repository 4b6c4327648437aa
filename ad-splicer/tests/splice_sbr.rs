//! HE-AAC that does not say so: SBR whose data is in the packets (ISO/IEC 14496-3 §4.5.2.8.2.3), and of which the stream's configuration has no word.

mod common;

use std::path::Path;

use ad_splicer::again::Again;
use ad_splicer::splice::{self, Options, SpliceError};
use common::{Fixture, ad, at};

const RATE: usize = 24_000;
/// Of an extension: SBR, SBR after a checksum, and what says nothing.
const SBR: u8 = 0xD;
const SBR_CHECKED: u8 = 0xE;
const FILL: u8 = 0x0;

/// A packet of AAC with an extension of this type in a fill element before its end.
fn with_extension(packet: &[u8], kind: u8) -> Vec<u8> {
    let mut bits: Vec<bool> = packet
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1))
        .collect();
    // Behind its end are zeros up to a whole byte.
    let end = bits.iter().rposition(|bit| *bit).unwrap() + 1;
    assert!(bits[end - 3..end].iter().all(|bit| *bit), "it has an end");
    bits.truncate(end - 3);
    // A fill element of four bytes: the type, and then no header, or a checksum.
    let mut put = |value: u32, count: u32| bits.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
    put(6, 3);
    put(4, 4);
    put(u32::from(kind), 4);
    put(0, 28);
    put(7, 3);
    let byte = |bits: &[bool]| (0..8).fold(0, |byte, i| byte << 1 | u8::from(bits.get(i) == Some(&true)));
    bits.chunks(8).map(byte).collect()
}

/// ADTS with such an extension in each packet.
fn extended(stream: &[u8], kind: u8) -> Vec<u8> {
    const HEADER: usize = 7;
    let mut out = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let len = usize::from(rest[3] & 3) << 11 | usize::from(rest[4]) << 3 | usize::from(rest[5] >> 5);
        let packet = with_extension(&rest[HEADER..len], kind);
        let mut header: [u8; HEADER] = rest[..HEADER].try_into().unwrap();
        let now = packet.len() + HEADER;
        header[3] = header[3] & !3 | (now >> 11) as u8;
        header[4] = (now >> 3) as u8;
        header[5] = header[5] & 0x1F | (now << 5) as u8;
        out.extend(header);
        out.extend(packet);
        rest = &rest[len..];
    }
    out
}

/// The same packets in MP4.
fn in_mp4(folder: &Path, stream: &[u8], kind: u8) -> Vec<u8> {
    let path = |ending: &str| folder.join(format!("{kind}.{ending}")).display().to_string();
    std::fs::write(path("aac"), stream).unwrap();
    let args = ["-v", "error", "-i", &path("aac"), "-c", "copy", &path("m4a")];
    common::run("ffmpeg", &args, None);
    std::fs::read(path("m4a")).unwrap()
}

/// What ffmpeg takes a file for.
fn profile(folder: &Path, bytes: &[u8]) -> String {
    let path = folder.join("probed");
    std::fs::write(&path, bytes).unwrap();
    let shown = "stream=profile,sample_rate";
    let args = [
        "-v",
        "error",
        "-show_entries",
        shown,
        "-of",
        "csv=p=0",
        path.to_str().unwrap(),
    ];
    String::from_utf8(common::run("ffprobe", &args, None))
        .unwrap()
        .trim()
        .to_owned()
}

#[test]
fn sbr_that_nobody_declared_is_found_in_the_packets() {
    for channels in [1, 2] {
        let fixture = Fixture::new("content.aac", RATE, channels, &["-c:a", "aac", "-t", "4"]);
        let folder = fixture.dir.path();
        let plain = std::fs::read(&fixture.content).unwrap();
        let breaks = [at(2_000, vec![ad(RATE, channels, RATE, 500.0)])];
        for kind in [SBR, SBR_CHECKED] {
            let adts = extended(&plain, kind);
            let mp4 = in_mp4(folder, &adts, kind);
            assert!(!mp4.windows(2).any(|two| two == [0x56, 0xE5]), "SBR is declared");
            for bytes in [adts, mp4] {
                // One channel may become two: that is not said either.
                let found = profile(folder, &bytes);
                assert!(
                    found.starts_with("HE-AAC") && found.ends_with(",48000"),
                    "{found}"
                );
                let refused = common::refusal(&bytes, &breaks);
                assert!(matches!(refused, SpliceError::Again(Again::HeAac)), "{refused}");
            }
        }
        // Anything else there changes nothing.
        let filled = extended(&plain, FILL);
        for (name, bytes) in [
            ("filled.aac", filled.clone()),
            ("filled.m4a", in_mp4(folder, &filled, FILL)),
        ] {
            assert_eq!(profile(folder, &bytes), "LC,24000");
            let taken = splice::splice(&bytes, &breaks, &Options::default(), &mut std::io::sink());
            assert_eq!(taken.map(|report| report.ads.len()).ok(), Some(1), "{name}");
        }
    }
}
