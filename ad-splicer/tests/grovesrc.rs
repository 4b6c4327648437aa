//! `grovesrc` in real pipelines: `playbin3` alone plays a URI of the scheme `grove`.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ad_splicer::content::{Content, FileContent};
use ad_splicer::play::grovesrc;
use gstreamer as gst;
use gstreamer::prelude::*;

/// Content whose every other read comes too late, and that counts how far it was read.
struct Slow(FileContent, AtomicU64);

impl Content for Slow {
    fn len(&self) -> u64 {
        self.0.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], deadline: Duration) -> io::Result<usize> {
        if self.1.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.0.read_at(offset, buffer, deadline)
    }
}

fn tone(dir: &Path, name: &str) -> FileContent {
    let path = dir.join(name);
    let status = std::process::Command::new("ffmpeg")
        .args([
            "-nostdin",
            "-y",
            "-loglevel",
            "error",
            "-f",
            "lavfi",
            "-i",
            "sine=440:r=44100:d=20",
        ])
        .arg(&path)
        .status()
        .expect("ffmpeg is needed: apt-get install ffmpeg");
    assert!(status.success());
    FileContent::open(&path).expect("the file was made")
}

fn playbin(uri: &str) -> gst::Element {
    let sink = gst::ElementFactory::make("fakesink")
        .property("sync", false)
        .build()
        .expect("fakesink");
    gst::ElementFactory::make("playbin3")
        .property("uri", uri)
        .property("audio-sink", &sink)
        .build()
        .expect("playbin3 (gstreamer1.0-plugins-base)")
}

/// Runs until the end, or the first error.
fn to_the_end(playbin: &gst::Element) -> Result<(), String> {
    let bus = playbin.bus().expect("a bus");
    let message = bus
        .timed_pop_filtered(
            gst::ClockTime::from_seconds(60),
            &[gst::MessageType::Eos, gst::MessageType::Error],
        )
        .expect("it ends or fails within a minute");
    match message.view() {
        gst::MessageView::Error(error) => Err(format!("{} {:?}", error.error(), error.debug())),
        _ => Ok(()),
    }
}

#[test]
fn playbin3_alone_plays_and_seeks_a_link() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (mp3, flac) = (tone(dir.path(), "tone.mp3"), tone(dir.path(), "tone.flac"));
    let (mp3, flac): (Arc<dyn Content>, Arc<dyn Content>) =
        (Arc::new(Slow(mp3, AtomicU64::new(0))), Arc::new(flac));
    grovesrc::register(Arc::new(move |uri| match uri {
        "grove://episode/one" => Ok(mp3.clone()),
        "grove://episode/two" => Ok(flac.clone()),
        _ => Err(io::ErrorKind::NotFound.into()),
    }))
    .expect("registered");
    for uri in ["grove://episode/one", "grove://episode/two"] {
        let playbin = playbin(uri);
        playbin.set_state(gst::State::Paused).expect("it starts");
        let (result, ..) = playbin.state(gst::ClockTime::from_seconds(60));
        assert!(result.is_ok(), "{uri} does not preroll");
        let duration = playbin.query_duration::<gst::ClockTime>().expect("a duration");
        assert!((19..=21).contains(&duration.seconds()), "{uri}: {duration}");
        playbin
            .seek_simple(
                gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE,
                gst::ClockTime::from_seconds(15),
            )
            .expect("it can be sought");
        let (result, ..) = playbin.state(gst::ClockTime::from_seconds(60));
        assert!(result.is_ok(), "{uri} does not go on after the seek");
        playbin.set_state(gst::State::Playing).expect("it plays");
        assert_eq!(to_the_end(&playbin), Ok(()), "{uri}");
        playbin.set_state(gst::State::Null).expect("it stops");
    }
    let unknown = playbin("grove://episode/three");
    let _ = unknown.set_state(gst::State::Playing);
    let error = to_the_end(&unknown).expect_err("nothing is there");
    assert!(error.contains("grove://episode/three"), "{error}");
    unknown.set_state(gst::State::Null).expect("it stops");
}
