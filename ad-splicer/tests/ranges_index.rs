//! What is read of two hours whose frames can only be counted, with the index that came with them: the pieces around the cues, and the place that is heard.

mod common;

use std::sync::Arc;
use std::time::Duration;

use ad_splicer::content::Content;
use ad_splicer::frame_index::FrameIndex;
use ad_splicer::frames::mp3;
use ad_splicer::splice::{self, At, Break, Options, Rendition, Source};
use ad_splicer::time::{ContentTime, PresentationTime};
use common::origin::{BLOCK, Origin, a_thousand_ranges, heard_from, read, whole};
use common::{Fixture, ad};

const MIB: usize = 1 << 20;
const DEADLINE: Duration = Duration::from_secs(10);

/// So many seconds of VBR MP3, or a little more: forty of them again and again. (Where they begin anew a frame points back into another one than it was made for, as after any cut of a stream: that is no matter here.)
fn mp3(seconds: u64) -> Vec<u8> {
    let fixture = Fixture::new("part.mp3", 44_100, 2, &["-c:a", "libmp3lame", "-q:a", "4"]);
    let part = std::fs::read(&fixture.content).unwrap();
    let index = mp3::Index::scan(&part, DEADLINE).unwrap();
    let (start, frames) = (index.head().audio() as usize, index.frames());
    let end = index.offset(frames).unwrap() as usize;
    let times = seconds * 44_100 / (frames * 1152) + 1;
    let mut long = part[..start].to_vec();
    for _ in 0..times {
        long.extend(&part[start..end]);
    }
    let tag = part.windows(4).position(|four| four == b"Xing").unwrap();
    let audio = (long.len() - (tag - 36)) as u32;
    long[tag + 8..tag + 12].copy_from_slice(&((frames * times) as u32).to_be_bytes());
    long[tag + 12..tag + 16].copy_from_slice(&audio.to_be_bytes());
    long
}

/// The same of AAC in ADTS.
fn adts(seconds: u64) -> Vec<u8> {
    let fixture = Fixture::new("part.aac", 44_100, 2, &["-c:a", "aac", "-b:a", "128k"]);
    let part = std::fs::read(&fixture.content).unwrap();
    part.repeat(seconds as usize / common::SECONDS)
}

fn index_of(bytes: &Vec<u8>) -> FrameIndex {
    let index = FrameIndex::of(bytes)
        .unwrap()
        .expect("its frames can only be counted");
    let encoded = index.to_bytes();
    println!("{} bytes of index for {} frames", encoded.len(), index.frames());
    assert!(encoded.len() < 4_096);
    FrameIndex::parse(&encoded).unwrap()
}

const CUES: [u64; 3] = [1_200, 3_600, 6_000];

fn breaks(cues: [u64; 3]) -> Vec<Break> {
    let given = |seconds: u64| Break {
        at: At::Time(ContentTime::from_millis(seconds * 1000 + 17)),
        replace: Duration::ZERO,
        ads: vec![ad(44_100, 2, 2 * 44_100, 400.0 + seconds as f64 / 10.0)],
    };
    cues.map(given).to_vec()
}

fn later(content: &dyn Content, cues: [u64; 3]) -> Rendition {
    let options = Options {
        later: true,
        ..Options::default()
    };
    splice::prepare(content, &breaks(cues), &options).unwrap()
}

#[track_caller]
fn an_hour_is_laid_out_from_the_pieces_around_the_cues(what: &str, bytes: &Vec<u8>) {
    let cues = [600, 1_800, 3_000];
    let index = index_of(bytes);
    let thorough = Origin::new(bytes.clone());
    let origin = Origin::new(bytes.clone()).with_index(index);
    let rendition = splice::prepare(&origin, &breaks(cues), &Options::default()).unwrap();
    let laid_out = origin.fetched();
    println!("{what}: laid out from {laid_out} bytes of {}", bytes.len());
    assert!(laid_out <= 2 * MIB, "{what}: {laid_out} bytes to lay out");

    // Reading all of it gives the same rendition.
    let other = splice::prepare(&thorough, &breaks(cues), &Options::default()).unwrap();
    assert!(thorough.fetched() >= bytes.len() - BLOCK as usize);
    assert_eq!(rendition.report(), other.report(), "{what}");
    assert!(rendition.runs() == other.runs(), "{what}: the renditions differ");
    // So does making bridges as they are read, each from what is around it.
    let all = whole(&rendition, &origin);
    let later = later(&origin, cues);
    for run in later.runs() {
        if matches!(run.source, Source::Bridge { .. }) {
            origin.fetched();
            read(&later, &origin, run.start..run.start + 1);
            let fetched = origin.fetched();
            assert!(fetched <= MIB, "{what}: {fetched} bytes for a bridge");
        }
    }
    assert!(whole(&later, &origin) == all, "{what}: made later it differs");
    origin.fetched();
    a_thousand_ranges(&rendition, &origin, &all, 0);
}

/// Playing from near the end, cold: what had to be fetched for it, the layout included, before the first of it was heard, and that it was the right place.
#[track_caller]
fn a_seek_in_two_cold_hours_fetches_little(what: &str, bytes: &Vec<u8>) {
    let index = index_of(bytes);
    for ads in [false, true] {
        let origin = Arc::new(Origin::new(bytes.clone()).with_index(index.clone()));
        let rendition = if ads {
            later(origin.as_ref(), CUES)
        } else {
            splice::prepare(origin.as_ref(), &[], &Options::default()).unwrap()
        };
        let start = PresentationTime::from_millis(7_000_000);
        let (fetched, at) = heard_from(&origin, rendition, start);
        println!("{what}, ads {ads}: {fetched} bytes until {at} was heard");
        assert!(fetched <= 2 * MIB, "{what}, ads {ads}: {fetched} bytes");
        assert!(
            at.since(start) < Duration::from_secs(5),
            "{what}, ads {ads}: {at}"
        );
    }
}

/// Offset and length of each frame.
fn frames_of(bytes: &[u8], index: &FrameIndex) -> Vec<(usize, usize)> {
    let mut offset = index.start() as usize;
    let next = |_| {
        let frame = &bytes[offset..];
        let len = mp3::Header::of(frame).map_or_else(
            |_| usize::from(frame[3] & 3) << 11 | usize::from(frame[4]) << 3 | usize::from(frame[5] >> 5),
            mp3::Header::frame_len,
        );
        offset += len;
        (offset - len, len)
    };
    (0..index.frames()).map(next).collect()
}

/// The index of content in which a frame of the stretch before this frame's, and one of its own, have changed places: it is false in both, and right everywhere else.
fn false_at(bytes: &[u8], index: &FrameIndex, frame: usize) -> FrameIndex {
    let frames = frames_of(bytes, index);
    let mark = frame / 256 * 256;
    let (one, len) = frames[mark - 1];
    let (two, other) = *frames[mark..mark + 256]
        .iter()
        .find(|frame| frame.1 != len)
        .unwrap();
    let parts = [
        &bytes[..one],
        &bytes[two..two + other],
        &bytes[one + len..two],
        &bytes[one..one + len],
        &bytes[two + other..],
    ];
    let wrong = index_of(&parts.concat());
    assert_eq!(
        (wrong.start(), wrong.end(), wrong.frames()),
        (index.start(), index.end(), index.frames())
    );
    assert!(wrong != *index);
    wrong
}

/// Where breaks are looked at an index that is false there is not used, however bridges are made; nobody looks elsewhere.
#[track_caller]
fn an_index_that_does_not_hold_at_a_cue_is_as_none(what: &str, bytes: &Vec<u8>) {
    let cues = [100, 300, 500];
    let index = index_of(bytes);
    let thorough = splice::prepare(bytes, &breaks(cues), &Options::default()).unwrap();
    let thorough = whole(&thorough, bytes);
    let size = if what == "ADTS" { 1_024 } else { 1_152 };
    for (seconds, at_cue) in [(300, true), (200, false)] {
        let wrong = false_at(bytes, &index, seconds * 44_100 / size);
        let origin = Origin::new(bytes.clone()).with_index(wrong);
        let now = splice::prepare(&origin, &breaks(cues), &Options::default()).unwrap();
        let read_through = origin.fetched() >= bytes.len() - BLOCK as usize;
        assert_eq!(read_through, at_cue, "{what}: false at {seconds} s");
        let now = whole(&now, &origin);
        assert!(
            now == whole(&later(&origin, cues), &origin),
            "{what}: made later it differs"
        );
        if at_cue {
            assert!(now == thorough, "{what}: it is not as without an index");
        }
    }
    // An index of other content, and one that ends elsewhere.
    for other in [
        &[&bytes[..], &bytes[index.start() as usize..]].concat(),
        &[&[0; 500], &bytes[..]].concat(),
    ] {
        let Ok(Some(other)) = FrameIndex::of(other) else {
            continue;
        };
        let origin = Origin::new(bytes.clone()).with_index(other);
        let rendition = splice::prepare(&origin, &breaks(cues), &Options::default()).unwrap();
        assert!(
            whole(&rendition, &origin) == thorough,
            "{what}: an index of something else counts"
        );
    }
}

#[test]
fn vbr_mp3_is_laid_out_from_a_part_of_it() {
    an_hour_is_laid_out_from_the_pieces_around_the_cues("VBR MP3", &mp3(3_600));
}

#[test]
fn adts_is_laid_out_from_a_part_of_it() {
    an_hour_is_laid_out_from_the_pieces_around_the_cues("ADTS", &adts(3_600));
}

#[test]
fn vbr_mp3_is_sought_in() {
    a_seek_in_two_cold_hours_fetches_little("VBR MP3", &mp3(7_200));
}

#[test]
fn adts_is_sought_in() {
    a_seek_in_two_cold_hours_fetches_little("ADTS", &adts(7_200));
}

#[test]
fn a_false_index_of_vbr_mp3_is_as_none() {
    an_index_that_does_not_hold_at_a_cue_is_as_none("VBR MP3", &mp3(600));
}

#[test]
fn a_false_index_of_adts_is_as_none() {
    an_index_that_does_not_hold_at_a_cue_is_as_none("ADTS", &adts(600));
}

#[test]
fn content_that_needs_no_index_has_none() {
    for (name, coding) in [
        ("cbr.mp3", &["-c:a", "libmp3lame", "-b:a", "128k"][..]),
        ("short.mp3", &["-c:a", "libmp3lame", "-q:a", "4"]),
        ("content.m4a", &["-c:a", "aac"]),
        ("content.flac", &["-c:a", "flac"]),
        ("content.wav", &["-c:a", "pcm_s16le"]),
        ("content.ogg", &["-c:a", "libvorbis"]),
        ("content.opus", &["-c:a", "libopus"]),
    ] {
        let fixture = Fixture::new(name, 48_000, 1, coding);
        let bytes = std::fs::read(&fixture.content).unwrap();
        assert_eq!(FrameIndex::of(&bytes).unwrap(), None, "{name}");
    }
    assert_eq!(FrameIndex::of(&b"no sound at all".to_vec()).unwrap(), None);
    assert_eq!(FrameIndex::of(&Vec::new()).unwrap(), None);
}
