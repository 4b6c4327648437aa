//! `grove play` of every format that ads are spliced into: the ad and the content are presented to their ends.

mod common;

use std::path::Path;

use axum::Router;
use common::{Finished, Server, grove};

/// How long the content and its ad are, in seconds.
const CONTENT: f64 = 2.0;
const AD: f64 = 1.0;

/// Runs ffmpeg on generated input.
fn make(path: &Path, seconds: f64, picture: bool, coding: &str) {
    let mut inputs = Vec::new();
    if picture {
        inputs.push(format!("testsrc2=s=160x90:r=25:d={seconds}"));
    }
    inputs.push(format!("sine=f=440:r=48000:d={seconds}"));
    let inputs = inputs.iter().flat_map(|input| ["-f", "lavfi", "-i", input]);
    let status = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error"])
        .args(inputs)
        .args(coding.split(' ').filter(|word| !word.is_empty()))
        .arg(path)
        .status()
        .expect("ffmpeg runs (`make setup` installs it)");
    assert!(status.success(), "ffmpeg makes {}", path.display());
}

/// Publishes content with an ad before it, and plays it to its end.
fn play(name: &str, coding: &str) -> Finished {
    let folder = tempfile::tempdir().expect("a folder");
    let web = folder.path().join("web");
    std::fs::create_dir(&web).expect("a folder");
    make(&web.join(name), CONTENT, coding.contains("-c:v"), coding);
    make(&web.join("ad.wav"), AD, false, "");
    let server = Server::start(Router::new().fallback_service(tower_http::services::ServeDir::new(&web)));
    grove(folder.path(), ["publish", &format!("web/{name}")])
        .args(["--allow-private", "--data", "publisher"])
        .args(["--origin", &server.url(name), "--ad", "start=web/ad.wav"])
        .run()
        .expect(0);
    grove(folder.path(), ["play", "--json", "--sink", "null"])
        .args(["--allow-private", "--listen", "127.0.0.1:0", "--data", "viewer"])
        .args(["--freeze", "60"])
        .arg(server.url(&format!("{name}.torrent")))
        .run()
}

#[track_caller]
fn is_played_to_its_end(name: &str, coding: &str) {
    let finished = play(name, coding).expect(0);
    let seen = finished.json();
    let told: Vec<&str> = seen
        .iter()
        .filter_map(|line| line["event"].as_str())
        .filter(|event| ["start", "midpoint", "complete", "done"].contains(event))
        .collect();
    assert_eq!(
        told,
        ["start", "midpoint", "complete", "done"],
        "{name}: {seen:?}"
    );
    let done = finished.event("done");
    let (at, duration) = (done["at"].as_f64(), done["duration"].as_f64());
    assert_eq!(at, duration, "{name}: {done}");
    // Coders and packets round what they are given up.
    let longer = duration.expect("a duration") - (CONTENT + AD);
    assert!((-0.01..0.15).contains(&longer), "{name}: {done}");
}

#[test]
fn mp3() {
    is_played_to_its_end("c.mp3", "-b:a 96k");
}

#[test]
fn aac_in_mp4() {
    is_played_to_its_end("c.m4a", "-c:a aac -b:a 96k");
}

#[test]
fn aac_in_adts() {
    is_played_to_its_end("c.aac", "-c:a aac -b:a 96k");
}

#[test]
fn opus_in_ogg() {
    is_played_to_its_end("c.opus", "-c:a libopus -b:a 64k");
}

#[test]
fn vorbis_in_ogg() {
    is_played_to_its_end("c.ogg", "-c:a libvorbis");
}

#[test]
fn flac() {
    is_played_to_its_end("c.flac", "");
}

#[test]
fn wav() {
    is_played_to_its_end("c.wav", "");
}

#[test]
fn opus_in_webm() {
    is_played_to_its_end("c.webm", "-c:a libopus -b:a 64k");
}

#[test]
fn video_in_mp4() {
    is_played_to_its_end("c.mp4", "-c:v libx264 -g 25 -c:a aac -b:a 96k");
}

#[test]
fn video_in_webm() {
    let coding = "-pix_fmt yuv420p -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25 -c:a libopus";
    is_played_to_its_end("c.webm", coding);
}
