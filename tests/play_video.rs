//! `grove play` of video: its pictures are shown, those of ads among them, from wherever it begins.

mod common;

use std::path::Path;

use axum::Router;
use common::{Server, fixtures, grove};

/// Four seconds at 25 pictures a second, with a key frame each.
fn video(path: &Path, coding: &str) {
    let inputs = ["testsrc2=s=160x90:r=25:d=4", "sine=f=440:r=48000:d=4"];
    let inputs = inputs.iter().flat_map(|input| ["-f", "lavfi", "-i", input]);
    let status = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error"])
        .args(inputs)
        .args(coding.split(' '))
        .arg(path)
        .status()
        .expect("ffmpeg runs (`make setup` installs it)");
    assert!(status.success());
}

#[test]
fn mp4_is_shown_from_a_place_behind_an_ad() {
    let coding = "-c:v libx264 -g 25 -sc_threshold 0 -c:a aac -b:a 96k";
    assert_eq!(shown("film.mp4", coding), 50, "two seconds");
}

#[test]
fn webm_is_shown_from_a_place_behind_an_ad() {
    let coding = "-pix_fmt yuv420p -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25 -c:a libopus";
    // Its pictures begin 7 ms after its sound: one more is still shown.
    assert_eq!(shown("film.webm", coding), 51, "two seconds");
}

/// How many pictures are shown from 2 s on.
fn shown(name: &str, coding: &str) -> u64 {
    let folder = tempfile::tempdir().expect("a folder");
    let web = folder.path().join("web");
    std::fs::create_dir(&web).expect("a folder");
    video(&web.join(name), coding);
    std::fs::copy(fixtures().join("boots.wav"), web.join("boots.wav")).expect("a creative");
    let server = Server::start(Router::new().fallback_service(tower_http::services::ServeDir::new(&web)));
    let publish = [
        "publish",
        &format!("web/{name}"),
        "--allow-private",
        "--data",
        "publisher",
    ];
    grove(folder.path(), publish)
        .args(["--origin", &server.url(name), "--ad", "start=web/boots.wav"])
        .run()
        .expect(0);
    let play = [
        "play",
        "--json",
        "--allow-private",
        "--listen",
        "127.0.0.1:0",
        "--data",
        "viewer",
    ];
    let finished = grove(folder.path(), play)
        .args(["--sink", "null", "--start", "2"])
        .arg(server.url(&format!("{name}.torrent")))
        .run()
        .expect(0);
    let done = finished.event("done");
    // The ad stands before everything: nobody was asked for it.
    let lasts = done["duration"].as_f64().expect("a duration");
    assert!((3.9..4.1).contains(&lasts), "{done}");
    assert_eq!(done["at"], done["duration"], "{done}");
    assert_eq!(done["pictures"]["late"], 0, "{done}");
    let begun = finished.json().into_iter().any(|line| line["event"] == "start");
    assert!(!begun, "the ad was passed over");
    done["pictures"]["shown"].as_u64().expect("a number")
}
