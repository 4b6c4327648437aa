//! `grove play` where sound or pictures have nowhere to go, and what is said when something goes wrong.

mod common;

use axum::Router;
use common::{Grove, Server, closed_port, grove, publish_at};

/// Hides what may give sound or show pictures.
fn without_outputs(command: Grove) -> Grove {
    ["DISPLAY", "WAYLAND_DISPLAY"]
        .into_iter()
        .fold(command, |command, name| command.env(name, ""))
        .env("PULSE_SERVER", "unix:/nonexistent/pulse")
        .env("XDG_RUNTIME_DIR", "/nonexistent")
        .env("PIPEWIRE_RUNTIME_DIR", "/nonexistent")
        .env("ALSA_CONFIG_PATH", "/nonexistent/alsa.conf")
        .env("JACK_NO_START_SERVER", "1")
}

/// Publishes what ffmpeg makes of a tone and pictures, and plays it.
#[track_caller]
fn is_refused(name: &str, coding: &str, why: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let web = folder.path().join("web");
    std::fs::create_dir(&web).expect("a folder");
    let status = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error"])
        .args(["-f", "lavfi", "-i", "testsrc2=s=160x90:r=25:d=2"])
        .args(["-f", "lavfi", "-i", "sine=f=440:r=48000:d=2"])
        .args(coding.split(' '))
        .arg(web.join(name))
        .status()
        .expect("ffmpeg runs (`make setup` installs it)");
    assert!(status.success());
    let server = Server::start(Router::new().fallback_service(tower_http::services::ServeDir::new(&web)));
    grove(folder.path(), ["publish", &format!("web/{name}")])
        .args(["--allow-private", "--origin", &server.url(name)])
        .run()
        .expect(0);
    let play = grove(
        folder.path(),
        ["play", "--allow-private", "--listen", "127.0.0.1:0"],
    )
    .arg(server.url(&format!("{name}.torrent")));
    let finished = without_outputs(play)
        .run()
        .expect(1)
        .says(why)
        .says("--sink null");
    for nothing_else in ["ALSA", "ERROR", "WARN"] {
        assert!(!finished.stderr.contains(nothing_else), "{}", finished.stderr);
    }
    assert!(!finished.stderr.contains("played to"), "{}", finished.stderr);
}

#[test]
fn sound_that_nobody_would_hear_is_not_played() {
    is_refused("c.mp3", "-map 1:a -b:a 96k", "no sound output opens");
}

#[test]
fn sound_that_nobody_would_hear_is_not_played_as_it_is() {
    is_refused("c.mka", "-map 1:a -c:a ac3", "no sound output opens");
}

#[test]
fn pictures_that_nobody_would_see_are_not_played() {
    is_refused("c.mp4", "-c:v libx264 -c:a aac", "there is no display");
}

#[test]
fn pictures_that_nobody_would_see_are_not_played_as_they_are() {
    is_refused("c.mkv", "-map 0:v -c:v mpeg4", "there is no display");
}

#[test]
fn what_goes_wrong_is_said_once_and_without_colours() {
    let published = publish_at(&format!("http://{}/episode.mp3", closed_port()), [""; 0]);
    let finished = grove(
        published.folder.path(),
        [
            "play",
            "--sink",
            "null",
            "--no-ads",
            "--no-origin",
            "--allow-private",
        ],
    )
    .args(["--listen", "127.0.0.1:0"])
    .arg(&published.torrent)
    .run()
    .expect(1);
    let said = &finished.stderr;
    assert!(!said.contains('\u{1b}'), "{said}");
    assert!(!said.contains("ERROR"), "{said}");
    assert!(said.starts_with("error: "), "{said}");
    assert_eq!(said.matches("no peer was found").count(), 1, "{said}");
}
