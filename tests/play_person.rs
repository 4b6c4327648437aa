//! What a person does while `grove play` runs: leaves and comes back, pauses, turns the sound off, skips an ad, opens what it leads to. Ad servers are told what they asked to be told, once.

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Instant;

use axum::Router;
use axum::http::{HeaderMap, header};
use axum::routing::get;
use common::held::Held;
use common::{Grove, PATIENCE, Server, grove};
use serde_json::Value;
use tempfile::TempDir;

/// How long the ad is, in seconds.
const AD: u32 = 20;

fn tone(path: &Path, seconds: u32) {
    let status = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-f", "lavfi", "-i"])
        .arg(format!("sine=f=440:r=44100:d={seconds}"))
        .args(["-b:a", "128k"])
        .arg(path)
        .status()
        .expect("ffmpeg runs (`make setup` installs it)");
    assert!(status.success());
}

/// An ad that may be skipped after a second, leads somewhere, and tells of everything.
async fn vast(headers: HeaderMap) -> String {
    let host = headers[header::HOST].to_str().expect("a host in ASCII");
    let tracking: String = ["start", "pause", "resume", "mute", "unmute", "skip", "complete"]
        .map(|event| format!("<Tracking event='{event}'>http://{host}/told/{event}</Tracking>"))
        .concat();
    format!(
        "<VAST version='4.2'><Ad id='a'><InLine><AdSystem>Hand</AdSystem><AdTitle>Kettles</AdTitle>
         <Impression>http://{host}/told/impression</Impression><Creatives><Creative><Linear skipoffset='00:00:01'>
         <Duration>00:00:{AD}</Duration><TrackingEvents>{tracking}</TrackingEvents>
         <VideoClicks><ClickThrough>http://{host}/kettles</ClickThrough>
         <ClickTracking>http://{host}/told/click</ClickTracking></VideoClicks>
         <MediaFiles><MediaFile type='audio/mpeg'>http://{host}/ad.mp3</MediaFile></MediaFiles>
         </Linear></Creative></Creatives></InLine></Ad></VAST>"
    )
}

/// An episode of a minute with an ad before it, and a viewer.
struct Scene {
    folder: TempDir,
    host: Server,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let web = folder.path().join("web");
        std::fs::create_dir(&web).expect("a folder");
        tone(&web.join("c.mp3"), 60);
        tone(&web.join("ad.mp3"), AD);
        let app = Router::new()
            .route("/vast", get(vast))
            .route("/told/{event}", get(|| async {}))
            .fallback_service(tower_http::services::ServeDir::new(&web));
        let host = Server::start(app);
        grove(folder.path(), ["publish", "web/c.mp3", "--cue", "start"])
            .args(["--allow-private", "--data", "publisher"])
            .args(["--origin", &host.url("c.mp3"), "--ads", &host.url("vast")])
            .run()
            .expect(0);
        Scene { folder, host }
    }

    fn viewer(&self, command: &str) -> Grove {
        grove(
            self.folder.path(),
            [command, "--allow-private", "--data", "viewer"],
        )
        .arg(self.host.url("c.mp3.torrent"))
    }

    fn play(&self) -> Grove {
        self.viewer("play")
            .args(["--sink", "null", "--listen", "127.0.0.1:0", "--freeze", "60"])
    }

    /// How often an ad server was told of an event.
    fn told(&self, event: &str) -> usize {
        let wanted = format!(" /told/{event}");
        self.host
            .asked()
            .iter()
            .filter(|asked| asked.ends_with(&wanted))
            .count()
    }

    /// Has other commands do something until this is so.
    #[track_caller]
    fn wait_until(&self, what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < PATIENCE, "{what}: {:?}", self.host.asked());
            self.viewer("inspect").run().expect(0);
        }
    }
}

fn at(value: &Value) -> f64 {
    value["at"].as_f64().expect("a time")
}

fn is_position(value: &Value) -> bool {
    value["event"] == "position"
}

#[test]
fn who_leaves_comes_back_to_where_it_was_left() {
    let scene = Scene::new();
    let mut player = scene.play().args(["--json", "--start", "7"]).start();
    player.wait_until("a second of content", |value| {
        is_position(value) && at(value) > 8.0
    });
    let (status, rest) = player.interrupt();
    assert_eq!(status, Some(130));
    let left = rest.iter().find(|value| value["event"] == "done").map(at);
    let left = left.expect("it tells where it was left");

    let mut player = scene.play().args(["--json", "--resume"]).start();
    let back = at(&player.wait_until("a position", is_position));
    assert!(
        (left - 0.1..left + 5.0).contains(&back),
        "left at {left}, back at {back}"
    );
    assert_eq!(player.interrupt().0, Some(130));
    assert_eq!(scene.told("start"), 0, "the ad stands before all of that");
}

#[test]
fn who_leaves_during_an_ad_comes_back_to_before_it() {
    let scene = Scene::new();
    let mut player = scene.play().arg("--json").start();
    player.wait_for("start");
    assert_eq!(player.interrupt().0, Some(130));
    let mut player = scene.play().args(["--json", "--resume"]).start();
    let again = player.wait_for("start");
    assert!(at(&again) < 0.5, "{again}");
    assert_eq!(player.interrupt().0, Some(130));
}

#[test]
fn who_leaves_before_anything_is_heard_is_let_go() {
    for (key, status) in [("q", 0), ("\x03", 130)] {
        let held = Held::publish();
        let mut player = grove(held.at(), ["play", "--sink", "null", "--allow-private"])
            .args(["--listen", "127.0.0.1:0", "web/episode.mp3.torrent"])
            .at_terminal();
        player.wait_for("waiting for data");
        held.until(true);
        player.press(key);
        assert_eq!(player.finish(), Some(status), "{key:?}");
    }
}

#[test]
fn after_the_end_it_begins_anew() {
    let scene = Scene::new();
    let played = scene.play().args(["--json", "--start", "59"]).run().expect(0);
    let done = played.event("done");
    assert_eq!(done["at"], done["duration"], "{done}");
    let mut player = scene.play().args(["--json", "--resume", "--no-ads"]).start();
    let first = player.wait_until("a position", is_position);
    assert!(at(&first) < 30.0, "{first}");
    assert_eq!(player.interrupt().0, Some(130));
}

/// A command that the desktop opens addresses with, which only notes them.
fn desktop(folder: &Path) -> std::path::PathBuf {
    let programs = folder.join("programs");
    std::fs::create_dir(&programs).expect("a folder");
    let program = programs.join("xdg-open");
    let script = format!("#!/bin/sh\necho \"$1\" >> {}\n", folder.join("opened").display());
    std::fs::write(&program, script).expect("a script");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it can be run");
    programs
}

#[test]
fn keys_do_what_the_line_says_and_ad_servers_are_told() {
    let scene = Scene::new();
    let programs = desktop(scene.folder.path());
    let path = std::env::var("PATH").expect("a path");
    let mut player = scene
        .play()
        .env("DISPLAY", ":99")
        .env("PATH", format!("{}:{path}", programs.display()))
        .at_terminal();
    player.wait_for("s skips · c opens");
    player.press(" ");
    player.wait_for("paused");
    player.press("c");
    let opened = || std::fs::read_to_string(scene.folder.path().join("opened")).unwrap_or_default();
    scene.wait_until("the address is opened", || !opened().is_empty());
    assert_eq!(opened().trim(), scene.host.url("kettles"));
    player.press("m");
    player.wait_for("muted");
    player.press(" ms");
    player.wait_for(" here");
    player.press("q");
    assert_eq!(player.finish(), Some(0));
    let events = [
        "impression",
        "start",
        "pause",
        "resume",
        "mute",
        "unmute",
        "click",
        "skip",
    ];
    for event in events {
        scene.wait_until(event, || scene.told(event) > 0);
    }
    for event in events {
        assert_eq!(scene.told(event), 1, "{event}");
    }
    assert_eq!(scene.told("complete"), 0);
}
