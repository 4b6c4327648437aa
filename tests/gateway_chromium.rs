//! A browser plays what the gateway gives, through the seams of an ad, without an error, and finds a picture at every instant around it.
//!
//! How smoothly it plays is not judged: that is a matter of the machine, too. So pictures are looked for one by one, however long that takes.

mod common;

use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use axum::Router;
use axum::response::Html;
use axum::routing::{get, post};
use common::gateway::Scene;
use common::tools::tool;
use common::{PATIENCE, Server};
use serde_json::Value;

/// Where the ad is, of a second: between key frames.
const CUE: f64 = 4.52;
/// Pictures in a second of content and ad.
const RATE: f64 = 25.0;

/// Plays what its query names, one after the other and four times as fast, and says how that ended, and which picture is shown each 25th of a second around the ad.
const PAGE: &str = r"<!doctype html><body><script>
const until = (media, name) => new Promise(done => media.addEventListener(name, done, { once: true }));
const look = async media => {
    const seen = [];
    for (let i = 0; media.videoWidth && i < 75; i++) {
        const shown = new Promise(done => media.requestVideoFrameCallback((now, picture) => done(picture.mediaTime)));
        const sought = until(media, 'seeked'), at = 3.54 + i / 25;
        media.currentTime = at;
        await sought;
        seen.push([at, await shown]);
    }
    return seen;
};
const play = source => new Promise(ended => {
    const media = document.createElement('video'), events = [];
    const end = async how => {
        const told = {
            how, events: events.slice(), at: media.currentTime, duration: media.duration, error: media.error && media.error.message };
        if (how === 'ended') told.seen = await look(media);
        media.remove();
        ended(told);
    };
    media.muted = true;
    for (const name of ['loadedmetadata', 'playing', 'waiting', 'stalled', 'seeking'])
        media.addEventListener(name, () => events.push([name, media.currentTime]));
    media.addEventListener('ended', () => end('ended'));
    media.addEventListener('error', () => end('error'));
    media.defaultPlaybackRate = 4;
    media.src = source;
    document.body.append(media);
    media.play().catch(why => media.error || end(String(why)));
});
(async () => {
    const all = [];
    for (const source of location.search.slice(1).split('&')) all.push(await play(decodeURIComponent(source)));
    await fetch('/report', { method: 'POST', body: JSON.stringify(all) });
})();
</script>";

/// Killed when dropped.
struct Browser(Child);

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A server of the page, and what pages report.
fn pages() -> (Server, Receiver<String>) {
    let (sender, reports) = channel();
    let report = move |body: String| {
        // A second report of a page is of no interest.
        let _ = sender.send(body);
        async {}
    };
    let router = Router::new()
        .route("/", get(async || Html(PAGE)))
        .route("/report", post(report));
    (Server::start(router), reports)
}

#[test]
fn a_browser_plays_through_an_ad() {
    let scene = Scene::new();
    let h264 = "-c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 50 -c:a aac -b:a 96k";
    let vp9 = "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 50 -c:a libopus";
    let formats = [
        ("c.mp3", "-c:a libmp3lame -b:a 128k"),
        ("c.mp4", h264),
        ("c.webm", vp9),
    ];
    scene.sound("ad.mp4", 1, h264);
    for (name, coding) in formats {
        scene.sound(name, 8, coding);
        scene.publish(name, &["--ad", &format!("{CUE}=web/ad.mp4")]);
    }
    let mut node = scene.node("viewer", &[]);
    let (pages, reports) = pages();
    let query = formats.map(|(name, _)| {
        node.url(&scene.path(name))
            .replace(':', "%3A")
            .replace('/', "%2F")
    });
    let profile = tempfile::tempdir().expect("a folder");
    let browser = Command::new(tool("chromium", "chromium"))
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--autoplay-policy=no-user-gesture-required",
        ])
        .args([
            "--remote-debugging-port=0",
            &format!("--user-data-dir={}", profile.path().display()),
        ])
        .arg(pages.url(&format!("?{}", query.join("&"))))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromium starts");
    let browser = Browser(browser);
    let report = reports
        .recv_timeout(5 * PATIENCE)
        .expect("the page tells how it ended");
    drop(browser);
    let report: Vec<Value> = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report.len(), formats.len());
    for ((name, _), report) in formats.into_iter().zip(report) {
        let made = node.running.wait_for("rendition");
        assert_eq!(made["ads"].as_array().map(Vec::len), Some(1), "{name}: {made}");
        assert_eq!(report["how"], "ended", "{name}: {report}");
        // Content and ad, a second of it.
        for time in ["at", "duration"] {
            let is_all = report[time]
                .as_f64()
                .is_some_and(|time| (8.9..9.3).contains(&time));
            assert!(is_all, "{name}: {report}");
        }
        println!("{name}: {}", report["events"]);
        let seen: Vec<(f64, f64)> = serde_json::from_value(report["seen"].clone()).expect("times");
        assert_eq!(seen.len(), if name == "c.mp3" { 0 } else { 75 }, "{name}");
        // The ad's last picture takes what the sound is longer by: up to a frame of AAC.
        let longest = 1.0 / RATE + 1024.0 / 48_000.0;
        for (at, shown) in &seen {
            let since = at - shown;
            assert!(
                (-0.001..longest + 0.001).contains(&since),
                "{name}: at {at} the picture of {shown}"
            );
        }
        assert!(seen.is_sorted_by_key(|(_, shown)| *shown), "{name}: {seen:?}");
    }
    node.stop();
}
