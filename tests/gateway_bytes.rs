//! What any player gets over HTTP is what `grove get` writes, whatever range is asked for, at the price of that range.

mod common;

use std::sync::atomic::Ordering;

use common::gateway::Scene;
use common::http::ask as ask_for;
use common::tools::{ask, printed};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Random ranges of each of these formats are slices of what `grove get` writes, and so is the whole; all of it is what stdout gives.
#[track_caller]
fn the_same_bytes(formats: &[(&str, &str, u32)], ranges: usize) {
    let scene = Scene::new();
    for (name, coding, seconds) in formats {
        scene.episode(name, *seconds, coding, &["50%"]);
    }
    let node = scene.node("viewer", &[]);
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for (name, ..) in formats {
        let file = scene.get(name, "out", &[]);
        let master = std::fs::read(scene.web().join(name)).expect("the content");
        assert!(file != master, "{name}: there is no ad in it");
        assert!(file == scene.get(name, "-", &[]), "{name}: stdout is different");
        let path = scene.path(name);
        // First the ranges, so that they meet content that is not here.
        for _ in 0..ranges {
            let longest = file.len() >> random.random_range(0..12);
            let start = random.random_range(0..file.len());
            let len = random.random_range(1..=longest.max(1)).min(file.len() - start);
            let answer = node.range(&path, start..start + len);
            assert!(
                answer.body == file[start..start + len],
                "{name}: {start}+{len} (seed {seed})"
            );
        }
        let whole = node.get(&path, &[]).expect(200);
        assert!(whole.body == file, "{name}: the whole is different (seed {seed})");
    }
    node.stop();
}

#[test]
fn mp3_and_aac_are_the_same_bytes_everywhere() {
    the_same_bytes(
        &[
            ("c.mp3", "-c:a libmp3lame -b:a 128k", 20),
            ("v.mp3", "-c:a libmp3lame -q:a 5", 20),
            ("c.aac", "-c:a aac -b:a 96k", 20),
            ("c.m4a", "-c:a aac -b:a 96k", 20),
        ],
        100,
    );
}

#[test]
fn lossless_sound_is_the_same_bytes_everywhere() {
    the_same_bytes(&[("c.flac", "", 20), ("c.wav", "", 20)], 100);
}

#[test]
fn ogg_and_webm_are_the_same_bytes_everywhere() {
    the_same_bytes(
        &[
            ("c.opus", "-c:a libopus -b:a 96k", 20),
            ("c.ogg", "-c:a libvorbis", 20),
            ("c.webm", "-c:a libopus -b:a 96k", 20),
        ],
        100,
    );
}

#[test]
fn video_is_the_same_bytes_everywhere() {
    let coding = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 50 -c:a aac -b:a 96k";
    let vp9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 50 -c:a libopus";
    the_same_bytes(&[("c.mp4", coding, 8), ("c.webm", vp9, 8)], 100);
}

#[test]
fn a_late_range_of_a_long_episode_costs_what_it_needs() {
    let scene = Scene::new();
    // Ten minutes, of one bit rate without padding and without a reservoir, so that it may be repeated.
    scene.sound(
        "part.mp3",
        10,
        "-c:a libmp3lame -b:a 128k -reservoir 0 -write_xing 0 -id3v2_version 0",
    );
    let part = std::fs::read(scene.web().join("part.mp3")).expect("made");
    std::fs::write(scene.web().join("long.mp3"), part.repeat(120)).expect("space on the disk");
    let ads = ["2:00", "10:00", "15:00"].map(|cue| format!("{cue}=web/ad.wav"));
    let ads: Vec<&str> = ads.iter().flat_map(|ad| ["--ad", ad]).collect();
    scene.publish("long.mp3", &ads);
    let file = scene.get("long.mp3", "out", &[]);
    let node = scene.node("viewer", &[]);
    let path = scene.path("long.mp3");
    scene.sent.store(0, Ordering::SeqCst);

    let late = file.len() * 7 / 10..file.len() * 7 / 10 + 100_000;
    let answer = node.range(&path, late.clone());
    assert!(answer.body == file[late.clone()]);
    assert_eq!(
        answer.header("content-range"),
        format!("bytes {}-{}/{}", late.start, late.end - 1, file.len())
    );
    let first = scene.sent.swap(0, Ordering::SeqCst);
    println!("{first} bytes of {} for the plan and 100,000", file.len());
    assert!(first <= 2 << 20, "{first} bytes for a late range");

    // The plan is there: only the pieces of the range are missing.
    let later = late.start + 3_000_000..late.start + 3_300_000;
    assert!(node.range(&path, later.clone()).body == file[later]);
    let second = scene.sent.swap(0, Ordering::SeqCst);
    assert!(second <= 2 << 20, "{second} bytes for a range of 300,000");
    assert!(node.range(&path, late.clone()).body == file[late]);
    assert_eq!(
        scene.sent.load(Ordering::SeqCst),
        0,
        "what is here is not fetched"
    );
    node.stop();
}

#[test]
fn a_seam_that_is_asked_for_first_is_made_of_content_that_is_not_here() {
    let scene = Scene::new();
    let video = "-c:v libx264 -preset ultrafast -b:v 2M -minrate 2M -pix_fmt yuv420p -g 50 -c:a aac -b:a 96k";
    for (name, coding, seconds) in [
        ("c.mp3", "-c:a libmp3lame -b:a 128k", 120),
        ("c.m4a", "-c:a aac -b:a 128k", 120),
        ("c.mp4", video, 20),
    ] {
        scene.episode(name, seconds, coding, &["50%"]);
    }
    let node = scene.node("viewer", &[]);
    for name in ["c.mp3", "c.m4a", "c.mp4"] {
        let file = scene.get(name, "out", &[]);
        let path = scene.path(name);
        // The break is in the middle.
        let range = file.len() * 45 / 100..file.len() * 60 / 100;
        assert!(
            node.range(&path, range.clone()).body == file[range],
            "{name}: the seam"
        );
        assert!(node.get(&path, &[]).expect(200).body == file, "{name}");
    }
    node.stop();
}

#[test]
fn two_players_at_once_get_one_plan_from_one_download() {
    let scene = Scene::new();
    scene.episode("e.mp3", 60, "-c:a libmp3lame -b:a 128k", &["20"]);
    let file = scene.get("e.mp3", "out", &[]);
    let mut node = scene.node("viewer", &[]);
    let path = &scene.path("e.mp3");
    scene.sent.store(0, Ordering::SeqCst);
    let answers = std::thread::scope(|scope| {
        let players =
            [node.addr; 2].map(|addr| scope.spawn(move || ask_for(addr, "GET", path, &[]).expect(200)));
        players.map(|player| player.join().expect("it is answered"))
    });
    for answer in &answers {
        assert!(answer.body == file);
        assert_eq!(answer.header("etag"), answers[0].header("etag"));
    }
    let sent = scene.sent.load(Ordering::SeqCst);
    let once = ["e.mp3", "ad.wav"].map(|name| std::fs::read(scene.web().join(name)).expect("made").len());
    let once = once.iter().sum::<usize>() as u64;
    // Two downloads would be twice as much; on a busy machine some ranges may be asked for again.
    assert!(sent < once * 3 / 2, "{sent} bytes left the server, of {once}");
    node.running.wait_for("rendition");
    let more = node.stop();
    assert!(more.iter().all(|said| said["event"] != "rendition"), "{more:?}");
}

/// What programs of others get when they play from the gateway is the file, byte by byte and frame by frame.
#[test]
fn players_get_the_bytes_of_the_file() {
    let scene = Scene::new();
    let video = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 25 -c:a aac -b:a 96k";
    for (name, coding, seconds) in [("c.mp3", "-c:a libmp3lame -b:a 128k", 12), ("c.mp4", video, 6)] {
        scene.episode(name, seconds, coding, &["50%"]);
    }
    let node = scene.node("viewer", &[]);
    for name in ["c.mp3", "c.mp4"] {
        let file = scene.get(name, name, &[]);
        let (here, url) = (scene.folder.path().join(name), node.url(&scene.path(name)));
        std::fs::write(&here, &file).expect("space on the disk");
        let frames = |from: &str| printed("ffmpeg", &["-i", from, "-c", "copy", "-f", "framemd5", "-"]);
        let here = here.to_str().expect("a name");
        assert_eq!(frames(&url), frames(here), "{name}: ffmpeg");
        let read = scene.folder.path().join("read");
        let to = format!("location={}", read.display());
        let from = format!("location={url}");
        let pipeline = ["-q", "souphttpsrc", &from, "!", "filesink", &to];
        ask("gst-launch-1.0", "gstreamer1.0-tools", pipeline);
        assert!(
            std::fs::read(&read).expect("what it read") == file,
            "{name}: GStreamer"
        );
    }
    node.stop();
}
