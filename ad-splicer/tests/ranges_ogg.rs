//! Long Opus and Vorbis in Ogg are laid out from the pieces around the cues, and a range of them needs that range and the page that it begins in.

mod common;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ad_splicer::content::Content;
use ad_splicer::facts;
use ad_splicer::play::Growing;
use ad_splicer::splice::{self, At, Break, Options};
use ad_splicer::time::{ContentTime, PresentationTime};
use common::ad;
use common::origin::{BLOCK, Origin, a_thousand_ranges, whole};

const MIB: usize = 1 << 20;

const OPUS: [&str; 6] = ["-c:a", "libopus", "-b:a", "96k", "-compression_level", "0"];
const VORBIS: [&str; 4] = ["-c:a", "libvorbis", "-q:a", "3"];

static OF_OPUS: LazyLock<Vec<u8>> = LazyLock::new(|| made(&OPUS));
static OF_VORBIS: LazyLock<Vec<u8>> = LazyLock::new(|| made(&VORBIS));

/// Ten minutes of each.
fn both() -> [&'static Vec<u8>; 2] {
    [&OF_OPUS, &OF_VORBIS]
}

/// Ten minutes of noise.
fn made(coding: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("content.ogg");
    let noise = "anoisesrc=c=pink:a=0.2:seed=7:r=48000:d=600";
    let input = ["-v", "error", "-f", "lavfi", "-i", noise, "-ac", "2"];
    common::run(
        "ffmpeg",
        &[&input[..], coding, &[path.to_str().unwrap()]].concat(),
        None,
    );
    std::fs::read(path).unwrap()
}

fn breaks() -> Vec<Break> {
    let given = |at| Break {
        at,
        replace: Duration::ZERO,
        ads: vec![ad(48_000, 2, 48_000, 400.0)],
    };
    let mut breaks: Vec<Break> = [100_017, 300_000, 300_900, 499_003]
        .map(|millis| given(At::Time(ContentTime::from_millis(millis))))
        .to_vec();
    breaks[3].replace = Duration::from_secs(20);
    breaks.extend([given(At::Start), given(At::End)]);
    breaks
}

/// Where pages begin and end.
fn pages(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut pages = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let lacing = &bytes[at + 27..at + 27 + usize::from(bytes[at + 26])];
        let end = at + 27 + lacing.len() + lacing.iter().copied().map(usize::from).sum::<usize>();
        pages.push((at, end));
        at = end;
    }
    pages
}

fn checksum(page: &[u8]) -> u32 {
    page.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04C1_1DB7 } else { 0 }
        })
    })
}

/// The same sound, whose first page of it also says that it is the last: so that all pages have to be read.
fn told_to_end(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let sound = |page: &&(usize, usize)| bytes[page.0 + 6..page.0 + 14] != [0; 8];
    let (start, end) = *pages(&bytes).iter().find(sound).unwrap();
    let page = &mut bytes[start..end];
    page[5] |= 4;
    page[22..26].fill(0);
    let sum = checksum(page);
    page[22..26].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn is_laid_out_from_the_pieces_around_the_cues(what: &str, bytes: &[u8]) {
    let bytes = bytes.to_vec();
    let origin = Origin::new(bytes.clone());
    let rendition = splice::prepare(&origin, &breaks(), &Options::default()).unwrap();
    let laid_out = origin.fetched();
    println!("{what}: laid out from {laid_out} bytes of {}", bytes.len());
    assert!(laid_out <= 2 * MIB, "{what}: {laid_out} bytes to lay out");
    let all = whole(&rendition, &origin);

    let thorough = Origin::new(told_to_end(&bytes));
    let other = splice::prepare(&thorough, &breaks(), &Options::default()).unwrap();
    assert!(thorough.fetched() >= bytes.len() - BLOCK as usize);
    assert_eq!(rendition.report(), other.report());
    let same = whole(&other, &thorough);
    let differs = all.iter().zip(&same).position(|(a, b)| a != b);
    assert_eq!((differs, all.len()), (None, same.len()));

    let mut sequence = None;
    for (start, end) in pages(&all) {
        let mut page = all[start..end].to_vec();
        let word = |at: usize| u32::from_le_bytes([page[at], page[at + 1], page[at + 2], page[at + 3]]);
        let (number, sum) = (word(18), word(22));
        if page[5] & 2 == 2 {
            sequence = None;
        }
        page[22..26].fill(0);
        assert_eq!(checksum(&page), sum, "the page at {start}");
        assert_eq!(
            number,
            sequence.map_or(number, |before: u32| before + 1),
            "the page at {start}"
        );
        sequence = Some(number);
    }

    origin.fetched();
    // A page before the one that a range begins in.
    a_thousand_ranges(&rendition, &origin, &all, 4 * BLOCK as usize);
}

#[test]
fn ten_minutes_of_opus() {
    is_laid_out_from_the_pieces_around_the_cues("Opus", &OF_OPUS);
}

#[test]
fn ten_minutes_of_vorbis() {
    is_laid_out_from_the_pieces_around_the_cues("Vorbis", &OF_VORBIS);
}

/// The first page then holds a packet that gives no samples.
#[test]
fn pages_of_one_packet() {
    let args = [
        "-v",
        "error",
        "-i",
        "-",
        "-c",
        "copy",
        "-page_duration",
        "1",
        "-f",
        "ogg",
        "-",
    ];
    let bytes = common::run("ffmpeg", &args, Some(&OF_VORBIS));
    let packets = pages(&OF_VORBIS).len() * 8;
    assert!(pages(&bytes).len() > packets, "{} pages", pages(&bytes).len());
    let breaks = &breaks()[..3];
    let origin = Origin::new(bytes.clone());
    let rendition = splice::prepare(&origin, breaks, &Options::default()).unwrap();
    let laid_out = origin.fetched();
    assert!(laid_out <= 2 * MIB, "{laid_out} bytes to lay out");
    let thorough = told_to_end(&bytes);
    let other = splice::prepare(&thorough, breaks, &Options::default()).unwrap();
    assert!(
        whole(&rendition, &origin) == whole(&other, &thorough),
        "they differ"
    );
}

/// A second break comes to what is played, and the bytes up to it stay: those between the first one and it were not looked at before.
#[test]
fn what_is_played_grows_by_one_break_after_the_other() {
    for bytes in both() {
        let content: Arc<dyn Content> = Arc::new(bytes.clone());
        let breaks = &breaks()[..2];
        let options = Options {
            growing: true,
            measured: true,
            ..Options::default()
        };
        let stage = |count: usize| splice::prepare(content.as_ref(), &breaks[..count], &options).unwrap();
        let growing = Growing::new(content.clone(), stage(0));
        let mut view = Vec::new();
        let mut read_to = |until: u64| {
            let from = view.len();
            view.resize(until as usize, 0);
            let deadline = Duration::from_secs(1);
            growing
                .read_exact_at(from as u64, &mut view[from..], deadline)
                .unwrap();
        };
        let before = |millis| {
            growing
                .locate(PresentationTime::from_millis(millis))
                .unwrap()
                .offset
        };
        read_to(before(90_000));
        growing.replace(stage(1)).expect("in time");
        read_to(before(290_000));
        growing.replace(stage(2)).expect("in time");
        read_to(growing.len());
        assert!(view == whole(&stage(2), content.as_ref()), "it differs");
    }
}

#[test]
fn loudness_around_the_cues_is_measured_there() {
    for bytes in both() {
        loudness_is_measured_there(bytes);
    }
}

fn loudness_is_measured_there(bytes: &[u8]) {
    let places: Vec<At> = breaks().iter().map(|given| given.at).collect();
    let origin = Origin::new(bytes.to_vec());
    let found = facts::loudness_around(&origin, &places, &Options::default()).unwrap();
    let fetched = origin.fetched();
    println!(
        "{fetched} bytes of {} for the loudness around {} cues",
        bytes.len(),
        places.len()
    );
    assert!(fetched <= bytes.len() * 2 / 3, "{fetched} bytes");
    let thorough = told_to_end(bytes);
    assert_eq!(
        found,
        facts::loudness_around(&thorough, &places, &Options::default()).unwrap()
    );
}

/// Pages in the middle are missing: where nobody looks that is not found, and where a break is all is read, which finds it.
#[test]
fn what_does_not_agree_around_a_cue_is_read_through() {
    for bytes in both() {
        let pages = pages(bytes);
        let gone = pages[pages.len() / 2 - 3].0..pages[pages.len() / 2].0;
        let missing = [&bytes[..gone.start], &bytes[gone.end..]].concat();
        let error = splice::prepare(&missing, &breaks(), &Options::default()).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
    }
}
