//! What is read of long content: a rendition is laid out from the pieces around the cues, and a range of it needs that range.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use ad_splicer::content::Content;
use ad_splicer::facts;
use ad_splicer::picture::Picture;
use ad_splicer::play::{Growing, grovesrc};
use ad_splicer::splice::{self, Ad, At, Break, Options};
use ad_splicer::time::{ContentTime, PresentationTime};
use common::origin::{BLOCK, Origin, a_thousand_ranges, heard_from, whole};
use common::{Fixture, ad};
use gstreamer as gst;
use gstreamer::prelude::*;

const MIB: usize = 1 << 20;

/// An hour of 128k MP3: half a minute again and again. (Where it begins anew a frame points back into another one than it was made for, as after any cut of a stream: that is no matter here.)
fn hour() -> Vec<u8> {
    let coding = ["-c:a", "libmp3lame", "-b:a", "128k"];
    let fixture = Fixture::new("part.mp3", 44_100, 2, &coding);
    let bytes = std::fs::read(&fixture.content).unwrap();
    let info = bytes.windows(4).position(|four| four == b"Info").unwrap();
    // The information frame of LAME is as long as a frame of 128k without padding: 417 bytes, 36 of them before the tag.
    let start = info - 36 + 417;
    // Frames of 417 and 418 bytes come in a pattern of 49.
    let frames = 49 * 24_u32;
    let mut end = start;
    for _ in 0..frames {
        assert_eq!(bytes[end..end + 2], [0xFF, 0xFB]);
        end += 417 + usize::from(bytes[end + 2] >> 1 & 1);
    }
    let times = 3600 * 44_100 / (frames * 1152);
    let mut long = bytes[..start].to_vec();
    for _ in 0..times {
        long.extend(&bytes[start..end]);
    }
    let audio = (long.len() - (info - 36)) as u32;
    long[info + 8..info + 12].copy_from_slice(&(frames * times).to_be_bytes());
    long[info + 12..info + 16].copy_from_slice(&audio.to_be_bytes());
    long
}

/// The same file, not claiming that all frames have one bit rate: all of it has to be read.
fn unclaimed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let info = bytes.windows(4).position(|four| four == b"Info").unwrap();
    bytes[info..info + 4].copy_from_slice(b"Xing");
    bytes
}

fn breaks() -> Vec<Break> {
    [600_u64, 1_800, 3_000]
        .iter()
        .map(|seconds| Break {
            at: At::Time(ContentTime::from_millis(seconds * 1000 + 17)),
            replace: Duration::ZERO,
            ads: vec![ad(44_100, 2, 15 * 44_100, 400.0 + *seconds as f64 / 10.0)],
        })
        .collect()
}

#[test]
fn an_hour_is_laid_out_from_the_pieces_around_the_cues() {
    let bytes = hour();
    let origin = Origin::new(bytes.clone());
    let (breaks, options) = (breaks(), Options::default());
    let places: Vec<At> = breaks.iter().map(|given| given.at).collect();

    facts::loudness_around(&origin, &places, &options).unwrap();
    let measured = origin.fetched();
    // 60 s of 128k around each cue, and both ends.
    assert!(
        measured <= 3 * 1_000_000 + MIB,
        "{measured} bytes to measure loudness"
    );

    let began = Instant::now();
    let rendition = splice::prepare(&origin, &breaks, &options).unwrap();
    let laid_out = origin.fetched();
    println!("laid out in {:?} from {laid_out} bytes", began.elapsed());
    assert!(laid_out <= MIB + 3 * 300_000, "{laid_out} bytes to lay out");

    // Reading all of it gives the same rendition.
    let thorough = Origin::new(unclaimed(&bytes));
    let other = splice::prepare(&thorough, &breaks, &options).unwrap();
    assert!(thorough.fetched() >= bytes.len() - BLOCK as usize);
    assert_eq!(rendition.report(), other.report());
    let all = whole(&rendition, &origin);
    assert!(all == whole(&other, &thorough), "the two renditions differ");
    origin.fetched();

    a_thousand_ranges(&rendition, &origin, &all, 0);
}

/// Bytes of two seconds of it.
const GROUP: usize = 200_000;

/// A minute of video with an IDR picture every two seconds, its tables at either end or in fragments, and how many bytes are no samples.
fn video(coding: &[&str]) -> (tempfile::TempDir, Vec<u8>, usize) {
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().join("part.mp4");
    let path = dir.path().join("content.mp4");
    let (part, path) = (part.to_str().unwrap(), path.to_str().unwrap());
    let lavfi = ["-v", "error", "-f", "lavfi", "-i"];
    let picture = [
        "testsrc2=s=320x180:r=25:d=10,noise=alls=9:allf=t",
        "-c:v",
        "libx264",
    ];
    let coded = [
        "-preset", "veryfast", "-pix_fmt", "yuv420p", "-b:v", "600k", "-bf", "3",
    ];
    let groups = ["-g", "50", "-keyint_min", "50", "-sc_threshold", "0", part];
    common::run("ffmpeg", &[&lavfi[..], &picture, &coded, &groups].concat(), None);
    let looped = [
        "-v",
        "error",
        "-stream_loop",
        "-1",
        "-i",
        part,
        "-f",
        "lavfi",
        "-i",
    ];
    let sound = [
        "anoisesrc=c=pink:a=0.3:seed=7:r=48000:d=60",
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-t",
        "60",
    ];
    let both = ["-c:v", "copy", "-c:a", "aac", "-b:a", "96k"];
    common::run(
        "ffmpeg",
        &[&looped[..], &sound, &both, coding, &[path]].concat(),
        None,
    );
    let bytes = std::fs::read(path).unwrap();
    let samples: usize = ["0:v", "0:a"]
        .iter()
        .flat_map(|track| common::packets(std::path::Path::new(path), track))
        .map(|packet| packet.size)
        .sum();
    let tables = bytes.len() - samples;
    (dir, bytes, tables)
}

/// At an IDR picture, within a group, and at the end: with pictures, and without.
fn video_breaks(content: &dyn Content) -> Vec<Break> {
    let format = splice::probe(content, &Options::default()).unwrap();
    let card = Picture::card(format.picture.unwrap(), "Acme", Duration::from_secs(2)).unwrap();
    let seen = Ad {
        picture: Some(Arc::new(card)),
        ..ad(48_000, 1, 96_000, 500.0)
    };
    let inserted = |at, ad: Ad| Break {
        at,
        replace: Duration::ZERO,
        ads: vec![ad],
    };
    let time = |millis| At::Time(ContentTime::from_millis(millis));
    vec![
        inserted(time(20_000), seen.clone()),
        inserted(time(35_520), seen),
        inserted(At::End, ad(48_000, 1, 48_000, 700.0)),
    ]
}

#[test]
fn video_is_laid_out_from_its_tables_and_the_pieces_around_the_cues() {
    for coding in [
        &["-movflags", "+faststart"][..],
        &[],
        &["-movflags", "frag_keyframe+empty_moov"],
    ] {
        let (_dir, bytes, tables) = video(coding);
        let origin = Origin::new(bytes);
        let breaks = video_breaks(&origin);
        origin.fetched();
        let rendition = splice::prepare(&origin, &breaks, &Options::default()).unwrap();
        let laid_out = origin.fetched();
        println!("{coding:?}: laid out from {laid_out} bytes, {tables} of them tables");
        // A fragment's box shares blocks with samples on both sides of it.
        let fragments = if coding.len() == 2 && coding[1].starts_with("frag") {
            31
        } else {
            1
        };
        let most = tables + fragments * 2 * BLOCK as usize + 2 * GROUP + MIB;
        assert!(
            laid_out <= most,
            "{coding:?}: {laid_out} bytes to lay out, {most} are enough"
        );
        let all = whole(&rendition, &origin);
        origin.fetched();
        // Where a group was coded again, its sound stands alone; in the content it is between the pictures of the group.
        a_thousand_ranges(&rendition, &origin, &all, GROUP);
    }
}

/// A file whose ends are of one bit rate and whose middle is not what it seems.
#[test]
fn what_is_not_as_its_ends_promise_is_read_through() {
    let bytes = hour();
    let mut broken = bytes.clone();
    // A frame near the second cue says that it has another bit rate: nothing is where it should be there.
    let near = 1_800 * 16_000;
    let at = near
        + broken[near..]
            .windows(2)
            .position(|two| two == [0xFF, 0xFB])
            .unwrap();
    broken[at + 2] = broken[at + 2] & 0x0F | 0xA0;
    let origin = Origin::new(broken);
    let error = splice::prepare(&origin, &breaks(), &Options::default()).unwrap_err();
    assert!(
        matches!(error, splice::SpliceError::Corrupt { .. }),
        "the place is named: {error}"
    );
    assert!(
        origin.fetched() > bytes.len() / 3,
        "it was looked for from the beginning"
    );
}

#[test]
fn wav_is_laid_out_from_its_head() {
    let samples = 3_600 * 8_000_u32;
    let mut bytes = Vec::new();
    bytes.extend(b"RIFF");
    bytes.extend((36 + samples * 2).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend(8_000_u32.to_le_bytes());
    bytes.extend(16_000_u32.to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend((samples * 2).to_le_bytes());
    bytes.extend((0..samples).flat_map(|i| ((i % 101) as i16 * 30).to_le_bytes()));
    let origin = Origin::new(bytes);
    let breaks = [Break {
        at: At::Time(ContentTime::from_millis(1_800_000)),
        replace: Duration::ZERO,
        ads: vec![ad(8_000, 1, 8_000, 300.0)],
    }];
    splice::prepare(&origin, &breaks, &Options::default()).unwrap();
    let fetched = origin.fetched();
    assert!(fetched <= MIB, "{fetched} bytes");
}

/// Playing from near the end of an hour, cold: what had to be fetched before the first of it was heard, with and without ads, and that it was the right place.
#[test]
fn a_seek_in_a_cold_file_fetches_little() {
    let bytes = hour();
    for (what, breaks) in [("plain", Vec::new()), ("with ads", breaks())] {
        let origin = Arc::new(Origin::new(bytes.clone()));
        let rendition = splice::prepare(origin.as_ref(), &breaks, &Options::default()).unwrap();
        origin.fetched();
        let start = PresentationTime::from_millis(3_400_000);
        let (fetched, at) = heard_from(&origin, rendition, start);
        println!("{what}: {fetched} bytes until {at} was heard");
        assert!(fetched <= 2 * MIB, "{what}: {fetched} bytes");
        assert!(at.since(start) < Duration::from_secs(5), "{what}: {at}");
    }
}

/// Showing the picture at 50 s of a minute, cold: what had to be fetched before it was there, with and without ads.
#[test]
fn a_seek_in_cold_video_fetches_its_tables_a_group_and_little_more() {
    let (_dir, bytes, tables) = video(&[]);
    let origin = Arc::new(Origin::new(bytes.clone()));
    let renditions: Vec<Arc<dyn Content>> = [Vec::new(), video_breaks(origin.as_ref())]
        .iter()
        .map(|breaks| {
            let content: Arc<dyn Content> = origin.clone();
            let rendition = splice::prepare(&bytes, breaks, &Options::default()).unwrap();
            Arc::new(Growing::new(content, rendition)) as Arc<dyn Content>
        })
        .collect();
    origin.fetched();
    grovesrc::register(Arc::new(move |uri| match uri {
        "grove://video/plain" => Ok(renditions[0].clone()),
        _ => Ok(renditions[1].clone()),
    }))
    .unwrap();
    for uri in ["grove://video/plain", "grove://video/with-ads"] {
        let nowhere = || gst::ElementFactory::make("fakesink").build().unwrap();
        let playbin = gst::ElementFactory::make("playbin3")
            .property("uri", uri)
            .property("audio-sink", nowhere())
            .property("video-sink", nowhere())
            .build()
            .unwrap();
        playbin.set_state(gst::State::Paused).unwrap();
        let is_there = || playbin.state(gst::ClockTime::from_seconds(60)).0.is_ok();
        assert!(is_there(), "{uri} does not begin");
        let begun = origin.fetched();
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
        playbin
            .seek_simple(flags, gst::ClockTime::from_seconds(50))
            .unwrap();
        assert!(is_there(), "{uri} does not go on");
        let fetched = begun + origin.fetched();
        playbin.set_state(gst::State::Null).unwrap();
        println!("{uri}: {fetched} bytes until the picture at 50 s was there, {tables} of them tables");
        let most = tables + GROUP + MIB;
        assert!(fetched <= most, "{uri}: {fetched} bytes, {most} are enough");
    }
}
