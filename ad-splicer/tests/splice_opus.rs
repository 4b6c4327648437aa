//! Splices Opus in Ogg and judges the results by ffmpeg.

mod common;

use ad_splicer::splice::{Break, SpliceError};
use common::{
    Fixture, SINE, ad, at, decode, ends, judge_bridged, left, loudness, mid_rolls, ogg_pages, pre_skip,
};

/// Splices and judges; gives the errors at the seams.
fn judged(fixture: &Fixture, name: &str, size: usize, breaks: &[Break]) -> Vec<common::SeamError> {
    let (path, report) = fixture.splice(name, breaks);
    // What a decoder remembers is forgotten after 240 ms.
    let settle = 11_520 / size;
    judge_bridged(fixture, &path, &report, breaks, (size, pre_skip(fixture), settle))
}

/// Packets of each length that can be made, by both ways of coding, in mono and stereo.
#[test]
fn every_kind_of_packet() {
    for (name, channels, coding, size, limit) in [
        ("128k", 2, "-b:a 128k", 960, -45.0),
        ("mono", 1, "-b:a 64k", 960, -45.0),
        ("2.5ms", 2, "-b:a 160k -frame_duration 2.5", 120, -25.0),
        ("5ms", 2, "-b:a 160k -frame_duration 5", 240, -30.0),
        ("10ms", 1, "-b:a 96k -frame_duration 10", 480, -40.0),
        ("40ms", 2, "-b:a 128k -frame_duration 40", 1_920, -45.0),
        ("60ms", 2, "-b:a 128k -frame_duration 60", 2_880, -45.0),
        ("speech", 1, "-b:a 24k -application voip", 960, -40.0),
        (
            "speech60",
            1,
            "-b:a 16k -application voip -frame_duration 60",
            2_880,
            -28.0,
        ),
    ] {
        let coding: Vec<&str> = ["-c:a", "libopus"].into_iter().chain(coding.split(' ')).collect();
        let fixture = Fixture::new("content.opus", 48_000, channels, &coding);
        let errors = judged(
            &fixture,
            &format!("{name}.opus"),
            size,
            &mid_rolls(48_000, channels),
        );
        assert_eq!(errors.len(), 6);
        for error in errors {
            assert!(error.db < limit, "{name}: {error:?}");
        }
        let errors = judged(
            &fixture,
            &format!("{name}-ends.opus"),
            size,
            &ends(48_000, channels),
        );
        assert_eq!(errors.len(), 2);
    }
}

#[test]
fn a_span_is_replaced() {
    let fixture = Fixture::new("content.opus", 48_000, 2, &["-c:a", "libopus", "-b:a", "128k"]);
    let mut breaks = common::mid_rolls(48_000, 2);
    breaks[2].replace = std::time::Duration::from_millis(2_345);
    let errors = judged(&fixture, "replaced.opus", 960, &breaks);
    assert_eq!(errors.len(), 6);
    assert!(errors.iter().all(|error| error.db < -30.0), "{errors:?}");
}

/// The measure: in music a seam may be 3 dB worse than coding the same seconds at 256 kbit/s.
#[test]
fn seams_are_as_good_as_a_plain_encode() {
    let fixture = Fixture::new("content.opus", 48_000, 2, &["-c:a", "libopus", "-b:a", "96k"]);
    let plain = fixture.dir.path().join("plain.opus");
    let (from, to) = (fixture.content.to_str().unwrap(), plain.to_str().unwrap());
    let coding = [
        "-v", "error", "-y", "-i", from, "-c:a", "libopus", "-b:a", "256k", to,
    ];
    common::run("ffmpeg", &coding, None);
    let (original, plain) = (decode(&fixture.content), decode(&plain));
    let cues: Vec<u64> = (0..10)
        .map(|i| 10_300 + i * 150)
        .chain((0..14).map(|i| 20_700 + i * 1_310))
        .collect();
    let (mut pauses, mut excess) = (Vec::new(), Vec::new());
    for step in 0..8 {
        // Three breaks a file, far from each other.
        let some: Vec<u64> = cues.iter().copied().skip(step).step_by(8).collect();
        let breaks: Vec<Break> = some
            .iter()
            .map(|cue| at(*cue, vec![ad(48_000, 2, 48_000, 300.0)]))
            .collect();
        for error in judged(&fixture, "seams.opus", 960, &breaks) {
            let cue = some[error.break_index] as usize;
            let around = (cue - 200) * 48 * 2..(cue + 400) * 48 * 2;
            let plain = common::worst_db(&original[around.clone()], &plain[around], 2);
            println!(
                "{cue} ms {:?}: {:.1} dBFS, coded at 256k {plain:.1}",
                error.kind, error.db
            );
            if cue < 12_000 {
                pauses.push(error.db);
            } else {
                excess.push(error.db - plain);
            }
        }
    }
    assert_eq!((pauses.len(), excess.len()), (20, 28));
    pauses.sort_by(f64::total_cmp);
    excess.sort_by(f64::total_cmp);
    println!("pauses: median {:.1}, worst {:.1} dBFS", pauses[10], pauses[19]);
    println!(
        "music: median {:+.1}, worst {:+.1} dB beside 256k",
        excess[14], excess[27]
    );
    assert!(pauses[10] < -60.0 && excess[14] < 3.0);
}

#[test]
fn a_sine_goes_into_an_ad_without_a_click_and_ads_are_as_loud_as_they_were() {
    let fixture = Fixture::new("content.opus", 48_000, 2, &["-c:a", "libopus", "-b:a", "256k"]);
    let breaks = [at(SINE, vec![ad(48_000, 2, 90_001, 220.0)])];
    let (path, report) = fixture.splice("click.opus", &breaks);
    let (before, decoded) = (left(&decode(&fixture.content), 2), decode(&path));
    let cue = fixture.sample_at(report.ads[0].presentation);
    let energy = common::above_4k(&left(&decoded, 2)[cue - 15_000..cue + 90_001 + 15_000], 48_000);
    let own = common::above_4k(&before[cue - 100_000..cue], 48_000);
    println!("above 4 kHz {energy:.1} dBFS, {own:.1} in the content alone");
    assert!(energy < -95.0, "{energy:.1} dBFS");
    let (given, got) = (
        loudness(&breaks[0].ads[0].pcm.samples().unwrap(), 48_000, 2),
        loudness(&decoded[cue * 2..(cue + 90_001) * 2], 48_000, 2),
    );
    assert!((given - got).abs() <= 0.5, "{given} LUFS became {got}");
}

/// Gain in the header is applied by players: the ad must be as loud as it was given.
#[test]
fn output_gain_pages_and_tags() {
    let fixture = Fixture::new("content.opus", 48_000, 1, &["-c:a", "libopus", "-b:a", "64k"]);
    let mut bytes = std::fs::read(&fixture.content).unwrap();
    // The first page: 27 bytes and one lacing value, then the header with the gain at 16. -3 dB in 1/256.
    bytes[28 + 16..28 + 18].copy_from_slice(&(-768_i16).to_le_bytes());
    let checksum = ogg_checksum(&mut bytes[..47]);
    bytes[22..26].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(&fixture.content, &bytes).unwrap();
    let errors = judged(&fixture, "gain.opus", 960, &mid_rolls(48_000, 1));
    assert_eq!(errors.len(), 6);

    let (path, report) = fixture.splice("again.opus", &mid_rolls(48_000, 1));
    let spliced = std::fs::read(&path).unwrap();
    let pages = ogg_pages(&spliced);
    for (i, page) in pages.iter().enumerate() {
        let mut bytes = spliced[page.clone()].to_vec();
        assert_eq!(bytes[18..22], (i as u32).to_le_bytes(), "pages are numbered");
        let written = bytes[22..26].to_vec();
        assert_eq!(
            written,
            ogg_checksum(&mut bytes).to_le_bytes(),
            "page {i} has its checksum"
        );
        assert_eq!(
            bytes[5] & 4 != 0,
            i + 1 == pages.len(),
            "only the last page ends the stream"
        );
    }
    let said = common::probe(&path);
    assert_eq!(said["streams"][0]["tags"]["title"], "Episode", "{said}");
    let starts: Vec<f64> = common::chapters(&path).iter().map(|chapter| chapter.1).collect();
    let moved: Vec<f64> = report
        .chapters
        .iter()
        .map(|chapter| chapter.start.as_millis() as f64 / 1000.0)
        .collect();
    assert_eq!(starts.len(), 3);
    assert!(
        starts.iter().zip(&moved).all(|(a, b)| (a - b).abs() < 0.002),
        "{starts:?} {moved:?}"
    );
}

fn ogg_checksum(page: &mut [u8]) -> u32 {
    page[22..26].fill(0);
    page.iter().fold(0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04C1_1DB7 } else { 0 }
        })
    })
}

#[test]
fn any_range_of_a_rendition_is_that_of_the_file() {
    let fixture = Fixture::new("content.opus", 48_000, 2, &["-c:a", "libopus", "-b:a", "96k"]);
    let breaks: Vec<Break> = mid_rolls(48_000, 2).into_iter().chain(ends(48_000, 2)).collect();
    let (path, _) = fixture.splice("whole.opus", &breaks);
    common::random_ranges(&fixture, &path, &breaks);
}

#[test]
fn what_cannot_be_spliced_says_so() {
    let fixture = Fixture::new("content.opus", 48_000, 2, &["-c:a", "libopus", "-t", "5"]);
    let whole = std::fs::read(&fixture.content).unwrap();
    let breaks = [at(1_000, vec![ad(48_000, 2, 20_000, 500.0)])];
    let attempt = |bytes: &[u8]| common::refusal(bytes, &breaks);
    assert!(matches!(
        attempt(&whole[..whole.len() - 9]),
        SpliceError::Truncated { .. }
    ));
    let mut hole = whole.clone();
    hole[20_000..21_000].fill(0);
    // Zeros within a page are packets of another length; over a page's beginning they are no page.
    assert!(matches!(
        attempt(&hole),
        SpliceError::Corrupt { .. } | SpliceError::Unsupported(_)
    ));
    let middle = ogg_pages(&whole)[3].clone();
    let missing = attempt(&[&whole[..middle.start], &whole[middle.end..]].concat()).to_string();
    assert!(missing.contains("missing before byte"), "{missing}");
    let twice = attempt(&[whole.clone(), whole.clone()].concat()).to_string();
    assert!(twice.contains("another stream begins"), "{twice}");
    let coding = ["-c:a", "flac", "-f", "ogg", "-t", "2"];
    let other = Fixture::new("content.oga", 44_100, 2, &coding);
    let other = attempt(&std::fs::read(&other.content).unwrap()).to_string();
    assert!(other.contains("holds neither Opus nor Vorbis"), "{other}");
}
