//! `grove play` decides each break when its turn comes, whatever the format: an ad server changes its answer between two cues, and the second break plays the new ad.
//!
//! It is played at a terminal, so that the test can go forwards: over a break that is not played yet, which then plays before the place that was wanted.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::routing::get;
use common::terminal::Terminal;
use common::tools::generate;
use common::{Server, grove};
use tempfile::TempDir;

/// How long the content is, in seconds, and where its second break is: so far from the beginning that it is decided later.
const CONTENT: u32 = 40;
const CUE: &str = "27";

/// Runs ffmpeg on generated input. Noise: so that no format needs little for it, and players read far ahead.
fn make(path: &Path, seconds: u32, coding: &str) {
    let mut inputs = Vec::new();
    if coding.contains("-c:v") {
        inputs.push(format!("testsrc2=s=160x90:r=25:d={seconds}"));
    }
    inputs.push(format!("anoisesrc=r=48000:c=pink:a=0.3:seed=1:d={seconds}"));
    generate(path, &inputs, coding);
}

/// Puts an ID3 tag before everything.
fn tag(path: &Path) {
    let content = std::fs::read(path).expect("the content");
    let tagged = [&b"ID3\x04\0\0\0\0\0\x0A"[..], &[0; 10], &content].concat();
    std::fs::write(path, tagged).expect("a file");
}

/// What the ad server answers, one after the other; the last one again and again. Each is a list of ads that may stand in for each other.
struct Answers {
    asked: AtomicUsize,
    ads: &'static [&'static [&'static str]],
}

async fn vast(State(answers): State<Arc<Answers>>, headers: HeaderMap) -> String {
    let host = headers[header::HOST].to_str().expect("a host in ASCII");
    let number = answers.asked.fetch_add(1, Ordering::SeqCst);
    let ads = answers.ads[number.min(answers.ads.len() - 1)].iter().map(|name| {
        format!(
            "<Ad id='{name}'><InLine><AdSystem>Hand</AdSystem><AdTitle>{name}</AdTitle>
             <Error>http://{host}/error/{name}?[ERRORCODE]</Error><Impression>http://{host}/seen/{name}</Impression>
             <Creatives><Creative><Linear><Duration>00:00:01</Duration>
             <MediaFiles><MediaFile type='audio/wav'>http://{host}/{name}.wav</MediaFile></MediaFiles>
             </Linear></Creative></Creatives></InLine></Ad>"
        )
    });
    format!("<VAST version='4.2'>{}</VAST>", ads.collect::<String>())
}

/// Content with a break before it and one at [`CUE`], whose ads an ad server gives.
struct Scene {
    folder: TempDir,
    host: Server,
    name: String,
}

impl Scene {
    fn new(name: &str, coding: &str, ads: &'static [&'static [&'static str]]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let web = folder.path().join("web");
        std::fs::create_dir(&web).expect("a folder");
        make(&web.join(name), CONTENT, coding);
        if name.starts_with("tagged") {
            tag(&web.join(name));
        }
        for creative in ["first.wav", "second.wav"] {
            make(&web.join(creative), 1, "");
        }
        let app = Router::new()
            .route("/vast", get(vast))
            .route("/seen/{name}", get(|| async {}))
            .route("/error/{name}", get(|| async {}))
            .route("/silent.wav", get(std::future::pending::<()>))
            .with_state(Arc::new(Answers {
                asked: AtomicUsize::new(0),
                ads,
            }))
            .fallback_service(tower_http::services::ServeDir::new(&web));
        let host = Server::start(app);
        grove(folder.path(), ["publish", &format!("web/{name}")])
            .args(["--allow-private", "--data", "publisher"])
            .args(["--origin", &host.url(name), "--ads", &host.url("vast")])
            .args(["--cue", "start", "--cue", CUE])
            .run()
            .expect(0);
        Scene {
            folder,
            host,
            name: name.to_owned(),
        }
    }

    fn play(&self, freeze: &str) -> Terminal {
        grove(self.folder.path(), ["play", "--sink", "null", "--allow-private"])
            .args(["--listen", "127.0.0.1:0", "--data", "viewer", "--freeze", freeze])
            .arg(self.host.url(&format!("{}.torrent", self.name)))
            .at_terminal()
    }

    /// Has another command report what was not reported yet.
    fn drain(&self) {
        grove(
            self.folder.path(),
            ["inspect", "--allow-private", "--data", "viewer"],
        )
        .arg(self.host.url(&format!("{}.torrent", self.name)))
        .run()
        .expect(0);
    }

    /// Where among the requests this is the one of a number, from 0.
    #[track_caller]
    fn when(&self, path: &str, number: usize) -> usize {
        let asked = self.host.asked();
        let all = asked.iter().enumerate().filter(|(_, asked)| asked.contains(path));
        let found = all.map(|(at, _)| at).nth(number);
        found.unwrap_or_else(|| panic!("{path} was not asked for: {asked:?}"))
    }
}

/// Goes forwards over the second break, which plays this ad, and then what was wanted.
#[track_caller]
fn go_over(player: &mut Terminal, ad: &str) {
    const FORWARDS: &str = "\x1b[C";
    for shown in ["0:1", "0:2"] {
        player.press(FORWARDS);
        player.wait_for(shown);
    }
    player.press(FORWARDS);
    player.wait_for(ad);
    player.wait_for("0:3");
}

#[track_caller]
fn each_break_is_decided_when_its_turn_comes(name: &str, coding: &str) {
    let scene = Scene::new(name, coding, &[&["first"], &["second"]]);
    let mut player = scene.play("60");
    player.wait_for("Ad 1/1");
    player.wait_for("first");
    // The second ad is spliced in: it lasts two seconds longer than the content.
    player.wait_for("/ 0:42");
    assert!(
        scene.when("/vast", 1) > scene.when("/first.wav", 0),
        "the first break was ready before the second was decided"
    );
    go_over(&mut player, "second");
    player.press("q");
    assert_eq!(player.finish(), Some(0));
    scene.drain();
    scene.when("/seen/first", 0);
    scene.when("/seen/second", 0);
}

/// The creative of the second break never comes: content plays on, the next one stands in for it, and its ad server is told.
#[test]
fn a_late_creative_holds_nothing_up() {
    std::thread::scope(|scope| {
        for (name, coding) in [
            ("c.m4a", "-c:a aac -b:a 160k"),
            ("c.ogg", "-ac 2 -c:a libvorbis -q:a 8"),
            ("c.mp4", "-c:v libx264 -preset veryfast -c:a aac"),
            ("c.webm", "-c:a libopus -b:a 160k -vbr off"),
        ] {
            scope.spawn(move || {
                let scene = Scene::new(name, coding, &[&["first"], &["silent", "second"]]);
                let mut player = scene.play("10");
                player.wait_for("first");
                player.wait_for("0:02 /");
                player.wait_for("/ 0:42");
                go_over(&mut player, "second");
                player.press("q");
                assert_eq!(player.finish(), Some(0), "{name}");
                scene.drain();
                scene.when("/error/silent?304", 0);
                scene.when("/seen/second", 0);
                let asked = scene.host.asked();
                assert!(
                    asked.iter().all(|asked| !asked.contains("/seen/silent")),
                    "{asked:?}"
                );
            });
        }
    });
}

/// When there is no other either, nothing plays in the break.
#[test]
fn nothing_plays_instead_of_what_never_comes() {
    let coding = "-c:v libx264 -preset veryfast -c:a aac";
    let scene = Scene::new("c.mp4", coding, &[&[], &["silent"]]);
    let mut player = scene.play("3");
    player.wait_for("ready within 3");
    go_over(&mut player, "/ 0:40");
    player.press("q");
    assert_eq!(player.finish(), Some(0));
    scene.drain();
    scene.when("/error/silent?304", 0);
}

#[test]
fn mp3() {
    each_break_is_decided_when_its_turn_comes("c.mp3", "-b:a 160k");
}

#[test]
fn aac_in_adts() {
    each_break_is_decided_when_its_turn_comes("c.aac", "-c:a aac -b:a 160k");
}

#[test]
fn aac_in_mp4() {
    each_break_is_decided_when_its_turn_comes("c.m4a", "-c:a aac -b:a 160k");
}

#[test]
fn opus_in_ogg() {
    each_break_is_decided_when_its_turn_comes("c.opus", "-c:a libopus -b:a 160k -vbr off");
}

#[test]
fn opus_in_webm() {
    each_break_is_decided_when_its_turn_comes("c.webm", "-c:a libopus -b:a 160k -vbr off");
}

#[test]
fn vorbis_in_ogg() {
    each_break_is_decided_when_its_turn_comes("c.ogg", "-ac 2 -c:a libvorbis -q:a 8");
}

#[test]
fn flac() {
    each_break_is_decided_when_its_turn_comes("c.flac", "");
}

#[test]
fn flac_behind_a_tag() {
    each_break_is_decided_when_its_turn_comes("tagged.flac", "");
}

#[test]
fn wav() {
    each_break_is_decided_when_its_turn_comes("c.wav", "");
}

#[test]
fn video_in_mp4() {
    let coding = "-c:v libx264 -preset veryfast -bf 3 -g 50 -c:a aac -b:a 96k";
    each_break_is_decided_when_its_turn_comes("c.mp4", coding);
}

#[test]
fn video_in_webm() {
    let coding = "-pix_fmt yuv420p -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 50 -c:a libopus";
    each_break_is_decided_when_its_turn_comes("c.webm", coding);
}
