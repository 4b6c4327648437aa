//! `grove play` and the ads of its breaks: decided when their turn comes, kept for when nobody can be asked, proved, limited, not used.
//!
//! The ad server here is written by hand, so that it says exactly what a test wants. (The real one is in `beacons.rs`.)

mod common;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ad_splicer::proof::{Account, Expected};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use common::{Finished, PATIENCE, Published, Running, Server, fixtures, grove, publish};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;

/// The creative of every ad here, and how long it is.
const CREATIVE: &str = "boots.wav";
const LASTS: Duration = Duration::from_millis(9_681);

#[derive(Default)]
struct Told {
    accounts: Vec<Account>,
    keys: Vec<String>,
    /// Whether creatives that are kept back are given.
    open: watch::Sender<bool>,
}

type Shared = Arc<Mutex<Told>>;

/// The creative, once it may be given.
async fn held(State(told): State<Shared>) -> Vec<u8> {
    let mut open = told.lock().expect("not poisoned").open.subscribe();
    // The test is over when this fails.
    let _ = open.wait_for(|open| *open).await;
    std::fs::read(fixtures().join(CREATIVE)).expect("a file")
}

/// Answers one ad whose `AdServingId` is the query's `id`, expiring after its `expires` seconds, with its `extension`.
async fn vast(
    State(told): State<Shared>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> String {
    let base = format!("http://{}", headers["host"].to_str().expect("a host"));
    let of = |name: &str| query.get(name).cloned().unwrap_or_default();
    told.lock().expect("not poisoned").keys.push(of("key"));
    let (id, expires) = (of("id"), of("expires"));
    let file = if of("media").is_empty() { CREATIVE } else { "held" };
    let cap = match of("cap").as_str() {
        "" => String::new(),
        cap => format!("<FrequencyCap impressions='{cap}' seconds='3600'/>"),
    };
    let expires = match expires.as_str() {
        "" => String::new(),
        seconds => format!("<Expires>{seconds}</Expires>"),
    };
    let tracking: String = ["start", "complete", "notUsed", "loaded"]
        .map(|event| format!("<Tracking event='{event}'>{base}/t/{id}/{event}</Tracking>"))
        .concat();
    format!(
        "<VAST version='4.2'><Ad id='a'><InLine><AdSystem>Hand</AdSystem><AdTitle>By hand</AdTitle>
         <AdServingId>{id}</AdServingId><Error>{base}/t/{id}/error?[ERRORCODE]</Error>
         <Impression>{base}/t/{id}/impression</Impression>
         <Extensions><Extension type='grove'><ProofUrl>{base}/proof</ProofUrl>{cap}</Extension></Extensions>
         <Creatives><Creative id='c'><UniversalAdId idRegistry='test'>one</UniversalAdId><Linear>
         <Duration>00:00:09.681</Duration><TrackingEvents>{tracking}</TrackingEvents>
         <MediaFiles><MediaFile type='audio/wav'>{base}/{file}</MediaFile></MediaFiles></Linear></Creative></Creatives>
         {expires}</InLine></Ad></VAST>"
    )
}

/// An episode whose cues ask an ad server written by hand, and a viewer.
struct Scene {
    folder: TempDir,
    published: Published,
    ads: Server,
    told: Shared,
}

impl Scene {
    fn new(cue: &str, query: &str) -> Self {
        let told = Shared::default();
        let accounts = Arc::clone(&told);
        let files = tower_http::services::ServeDir::new(fixtures());
        let app = Router::new()
            .route("/vast", get(vast))
            .route("/held", get(held))
            .route("/never", get(std::future::pending::<()>))
            .route("/t/{id}/{event}", get(|| async { StatusCode::NO_CONTENT }))
            .route("/t/silent/impression", get(std::future::pending::<()>))
            .with_state(Arc::clone(&told))
            .route(
                "/proof",
                post(move |body: axum::body::Bytes| async move {
                    let account = serde_json::from_slice(&body).expect("an account");
                    accounts.lock().expect("not poisoned").accounts.push(account);
                    StatusCode::NO_CONTENT
                }),
            )
            .fallback_service(files);
        let ads = Server::start(app);
        Scene {
            folder: tempfile::tempdir().expect("a folder"),
            published: publish(["--cue", cue, "--ads", &ads.url(query)]),
            ads,
            told,
        }
    }

    fn viewer(&self, command: &str) -> common::Grove {
        grove(
            self.folder.path(),
            [command, "--json", "--allow-private", "--listen", "127.0.0.1:0"],
        )
        .arg("--data")
        .arg(self.folder.path().join("viewer"))
        .arg(self.published.torrent_url())
    }

    fn play(&self, start: &str) -> Running {
        self.viewer("play")
            .args(["--sink", "null", "--start", start])
            .start()
    }

    /// Gives creatives that were kept back.
    fn give(&self) {
        self.told.lock().expect("not poisoned").open.send_replace(true);
    }

    /// Has another command send what waits.
    fn drain(&self) -> Finished {
        self.viewer("inspect").run().expect(0)
    }

    /// How often a URL with this path was asked for.
    fn asked(&self, path: &str) -> usize {
        let wanted = format!(" /{path}");
        self.ads
            .asked()
            .iter()
            .filter(|asked| asked.contains(&wanted))
            .count()
    }

    #[track_caller]
    fn wait_for(&self, path: &str) {
        let began = Instant::now();
        while self.asked(path) == 0 {
            assert!(
                began.elapsed() < PATIENCE,
                "nobody asked for {path}: {:?}",
                self.ads.asked()
            );
            self.drain();
        }
    }
}

fn seconds(value: &Value) -> f64 {
    value["at"].as_f64().expect("a time")
}

#[test]
fn a_break_that_is_not_near_is_decided_while_it_plays() {
    let scene = Scene::new("27", "vast?id=later&key=[GROVE_KEY]");
    let mut player = scene.play("0");
    let spliced = player.wait_for("spliced");
    assert_eq!(spliced["ads"], 1, "{spliced}");
    assert!(
        seconds(&spliced) < 20.0,
        "while the content before it plays: {spliced}"
    );
    let start = player.wait_for("start");
    assert!((26.9..27.2).contains(&seconds(&start)), "{start}");
    player.wait_for("complete");
    assert_eq!(player.interrupt().0, Some(130));
    scene.wait_for("t/later/complete");
    for (event, times) in [
        ("loaded", 1),
        ("impression", 1),
        ("start", 1),
        ("notUsed", 0),
        ("error", 0),
    ] {
        assert_eq!(scene.asked(&format!("t/later/{event}")), times, "{event}");
    }
    // The account proves the whole ad, to whoever knows the key that asked for it.
    scene.wait_for("proof");
    let told = scene.told.lock().expect("not poisoned");
    let account = told.accounts.last().expect("an account");
    let key = hex::decode(&told.keys[0]).expect("a key in hex");
    let expected = Expected {
        key: Some(key.try_into().expect("32 bytes")),
        ..Expected::default()
    };
    let checked = account.check(&expected).expect("believed");
    let creative =
        ad_splicer::creatives::ContentHash::of(&std::fs::read(fixtures().join(CREATIVE)).expect("a file"));
    assert!(checked.proves("later", &creative.0, LASTS), "{account:?}");
}

/// Reads on while it plays, until this was asked for.
#[track_caller]
fn plays_until_asked(scene: &Scene, player: &mut Running, path: &str) {
    let mut last = None;
    while scene.asked(path) == 0 {
        let said = player.next().expect("it plays");
        if said["event"] != "position" {
            continue;
        }
        let now = seconds(&said);
        let first = *last.get_or_insert(now);
        assert!(
            now < first + 15.0,
            "nobody asked for {path}: {:?}",
            scene.ads.asked()
        );
    }
}

#[test]
fn what_is_presented_is_reported_while_it_plays() {
    let scene = Scene::new("27", "vast?id=live&key=[GROVE_KEY]");
    let mut player = scene.play("26.5");
    player.wait_for("start");
    plays_until_asked(&scene, &mut player, "t/live/impression");
    plays_until_asked(&scene, &mut player, "t/live/start");
    assert_eq!(scene.asked("t/live/complete"), 0);
    player.wait_for("complete");
    plays_until_asked(&scene, &mut player, "t/live/complete");
    plays_until_asked(&scene, &mut player, "proof");
    // Another process reports beside it, and nothing comes twice.
    scene.drain();
    assert_eq!(player.interrupt().0, Some(130));
    scene.drain();
    for event in ["loaded", "impression", "start", "complete"] {
        assert_eq!(scene.asked(&format!("t/live/{event}")), 1, "{event}");
    }
    assert_eq!(scene.asked("proof"), 1);
}

#[test]
fn a_tracker_that_never_answers_holds_up_neither_playing_nor_other_beacons() {
    let scene = Scene::new("27", "vast?id=silent");
    let mut player = scene.play("26.5");
    player.wait_for("start");
    plays_until_asked(&scene, &mut player, "t/silent/impression");
    player.wait_for("complete");
    plays_until_asked(&scene, &mut player, "t/silent/complete");
    assert_eq!(player.interrupt().0, Some(130));
    scene.drain();
    // What may have arrived is not sent again.
    assert_eq!(scene.asked("t/silent/impression"), 1);
}

#[test]
fn an_error_is_reported_while_it_plays() {
    let scene = Scene::new("27", "vast?id=missing&media=held");
    let mut player = scene
        .viewer("play")
        .args(["--sink", "null", "--start", "20", "--freeze", "1"])
        .start();
    player.hear("cue-1");
    plays_until_asked(&scene, &mut player, "t/missing/error?304");
    assert_eq!(player.interrupt().0, Some(130));
}

#[test]
fn an_ad_server_that_never_answers_holds_nothing_up() {
    let scene = Scene::new("27", "never");
    let mut player = scene.play("0");
    let began = Instant::now();
    let position = player.wait_until("a second of content", |value| {
        value["event"] == "position" && seconds(value) > 1.0
    });
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{position}: {:?}",
        began.elapsed()
    );
    assert_eq!(player.interrupt().0, Some(130));
}

/// The first sound waits neither for it nor for its freeze time, and it is in time all the same.
#[test]
fn a_creative_that_is_late_for_a_break_ahead_does_not_hold_the_beginning() {
    // Nearer than what would be read of a file whose length is not known.
    let scene = Scene::new("13", "vast?id=ahead&media=held");
    let mut player = scene
        .viewer("play")
        .args(["--sink", "null", "--freeze", "600"])
        .start();
    player.wait_until("content is heard", |value| {
        value["event"] == "position" && seconds(value) > 0.5
    });
    scene.give();
    let spliced = player.wait_for("spliced");
    assert_eq!(spliced["ads"], 1, "{spliced}");
    assert_eq!(player.interrupt().0, Some(130));
}

#[test]
fn a_break_that_is_near_holds_the_beginning_for_moments_only() {
    let scene = Scene::new("5", "vast?id=near&media=held");
    let mut player = scene
        .viewer("play")
        .args(["--sink", "null", "--freeze", "600"])
        .start();
    // Past the break, which nothing plays in.
    let past = player.wait_until("content after the cue", |value| {
        value["event"] == "position" && seconds(value) > 6.0
    });
    assert_eq!(past["in_ad"], false, "{past}");
    scene.give();
    player.hear("its ads were ready too late to be spliced in");
    assert_eq!(player.interrupt().0, Some(130));
    scene.wait_for("t/near/error?304");
    assert_eq!(scene.asked("t/near/impression"), 0);
}

#[test]
fn rule_5_what_was_prepared_and_not_presented_is_not_used_and_that_is_the_last_of_it() {
    let scene = Scene::new("40", "vast?id=left");
    let mut player = scene.play("0");
    player.wait_for("spliced");
    assert_eq!(player.interrupt().0, Some(130));
    scene.wait_for("t/left/notUsed");
    assert_eq!(scene.asked("t/left/impression"), 0);
    assert_eq!(scene.asked("t/left/loaded"), 1);
}

#[test]
fn what_was_prepared_for_a_download_that_was_stopped_is_not_used() {
    let scene = Scene::new("40", "vast?id=stopped&expires=600");
    let mut download = scene
        .viewer("get")
        .args(["-o", "got.mp3", "--down", "200k"])
        .start();
    let began = Instant::now();
    while scene.asked(CREATIVE) == 0 {
        assert!(began.elapsed() < PATIENCE, "nobody asked for the creative");
        download.wait_for("progress");
    }
    // A line comes each second, and breaks are ready or given up eight seconds after the beginning.
    for _ in 0..9 {
        download.wait_for("progress");
    }
    assert_eq!(download.interrupt().0, Some(130));
    scene.wait_for("t/stopped/notUsed");
    assert_eq!(scene.asked("t/stopped/impression"), 0);
}

#[test]
fn offline_a_stored_unexpired_decision_plays_and_its_beacons_wait() {
    let scene = Scene::new("30", "vast?id=kept&expires=600");
    // Decided, delivered, and kept.
    scene.viewer("get").args(["-o", "got.mp3"]).run().expect(0);
    scene.wait_for("t/kept/impression");
    let (ads, address) = (scene.ads.asked().len(), scene.ads.addr);
    let torrent = scene.published.torrent.display().to_string();
    let Scene {
        folder,
        published,
        ads: server,
        ..
    } = scene;
    drop(server);
    drop(published.origin);
    let offline = |start: &str| {
        grove(
            folder.path(),
            ["play", "--json", "--allow-private", "--listen", "127.0.0.1:0"],
        )
        .arg("--data")
        .arg(folder.path().join("viewer"))
        .arg(&torrent)
        .args(["--sink", "null", "--start", start])
        .start()
    };
    let mut player = offline("29.5");
    player.wait_for("start");
    player.wait_for("complete");
    assert_eq!(player.interrupt().0, Some(130));
    assert!(ads > 0);
    // The server is there again: what happened meanwhile comes, and nothing twice.
    let app = Router::new().fallback(|| async { StatusCode::NO_CONTENT });
    let again = Again::start(app, address);
    let began = Instant::now();
    while !again.asked().iter().any(|path| path.contains("/t/kept/complete")) {
        assert!(began.elapsed() < PATIENCE, "{:?}", again.asked());
        grove(folder.path(), ["inspect", "--json", "--allow-private"])
            .arg("--data")
            .arg(folder.path().join("viewer"))
            .arg(&torrent)
            .run();
    }
    let impressions = again
        .asked()
        .iter()
        .filter(|path| path.contains("impression"))
        .count();
    assert_eq!(
        impressions, 0,
        "a third party's impression was told when it was delivered"
    );
}

#[test]
fn rule_7_a_stored_decision_that_has_expired_is_decided_again_and_never_played() {
    // (how long the first answer may be played, whether it is used when nobody can be asked)
    for (expires, used) in [("1", false), ("600", true)] {
        let scene = Scene::new("30", &format!("vast?id=[CACHEBUSTING]&expires={expires}"));
        scene.viewer("get").args(["-o", "got.mp3"]).run().expect(0);
        let began = Instant::now();
        // Online it is asked again, expired or not, and what comes is another decision.
        scene.viewer("get").args(["-o", "again.mp3"]).run().expect(0);
        assert_eq!(scene.asked("vast"), 2, "{:?}", scene.ads.asked());
        if expires == "1" {
            while began.elapsed() < Duration::from_millis(1100) {
                scene.drain();
            }
        }
        let torrent = scene.published.torrent.display().to_string();
        let Scene {
            folder,
            published,
            ads,
            ..
        } = scene;
        drop((ads, published.origin));
        let complete = grove(
            folder.path(),
            ["get", "--json", "--allow-private", "--listen", "127.0.0.1:0"],
        )
        .arg("--data")
        .arg(folder.path().join("viewer"))
        .args([&torrent, "-o", "offline.mp3"])
        .run()
        .expect(0)
        .event("complete");
        assert_eq!(
            complete["ads"].as_array().map(Vec::len),
            Some(usize::from(used)),
            "{complete}"
        );
        if !used {
            assert_eq!(
                complete["skipped"][0]["vast_error"], 301,
                "nobody could be asked: {complete}"
            );
        }
    }
}

#[test]
fn a_frequency_cap_counts_what_is_in_a_file_as_heard() {
    let scene = Scene::new("30", "vast?id=[CACHEBUSTING]&cap=1");
    let ads = |name: &str| {
        let complete = scene
            .viewer("get")
            .args(["-o", name])
            .run()
            .expect(0)
            .event("complete");
        complete["ads"].as_array().map(Vec::len)
    };
    assert_eq!(ads("first.mp3"), Some(1));
    assert_eq!(ads("second.mp3"), Some(0));
}

/// A server on an address that was in use before.
struct Again {
    asked: Arc<Mutex<Vec<String>>>,
    _runtime: tokio::runtime::Runtime,
}

impl Again {
    fn start(app: Router, address: std::net::SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind(address))
            .expect("the address is free again");
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let note = Arc::clone(&asked);
        let app = app.layer(axum::middleware::from_fn(
            move |request: axum::extract::Request, next: axum::middleware::Next| {
                note.lock().expect("not poisoned").push(request.uri().to_string());
                next.run(request)
            },
        ));
        runtime.spawn(async move { axum::serve(listener, app).await });
        Again {
            asked,
            _runtime: runtime,
        }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

#[test]
fn a_frequency_cap_is_kept_by_the_device_alone_and_nothing_identifies_it() {
    let query = "vast?id=[CACHEBUSTING]&cap=1&who=[GROVE_AD_ID]&ifa=[IFA]&limit=[LIMITADTRACKING]";
    let scene = Scene::new("30", query);
    let mut player = scene.play("29.5");
    player.wait_for("start");
    assert_eq!(player.interrupt().0, Some(130));
    let mut player = scene.play("29.5");
    player.wait_until("content after the cue", |value| {
        value["event"] == "position" && value["in_ad"] == false && seconds(value) > 30.5
    });
    assert_eq!(player.interrupt().0, Some(130));
    let requests: Vec<String> = scene
        .ads
        .asked()
        .into_iter()
        .filter(|asked| asked.contains("/vast?"))
        .collect();
    assert_eq!(requests.len(), 2, "{requests:?}");
    for request in &requests {
        assert!(request.contains("who=-2&ifa=-2&limit=1"), "{request}");
    }
    let ids: Vec<&str> = requests
        .iter()
        .map(|request| {
            request
                .split("id=")
                .nth(1)
                .and_then(|rest| rest.split('&').next())
                .expect("an id")
        })
        .collect();
    scene.wait_for(&format!("t/{}/notUsed", ids[1]));
    assert_eq!(scene.asked(&format!("t/{}/impression", ids[0])), 1);
    assert_eq!(scene.asked(&format!("t/{}/impression", ids[1])), 0);
    assert_eq!(scene.asked(&format!("t/{}/error", ids[1])), 0);
    // With the viewer's leave, and only then, one number names the device, whatever it plays.
    for _ in 0..2 {
        let mut player = scene
            .viewer("play")
            .args(["--sink", "null", "--start", "29.5", "--allow-ad-id"])
            .start();
        player.wait_for("position");
        assert_eq!(player.interrupt().0, Some(130));
    }
    let named: Vec<String> = scene
        .ads
        .asked()
        .into_iter()
        .filter(|asked| asked.contains("limit=0"))
        .map(|asked| {
            asked
                .split("who=")
                .nth(1)
                .and_then(|rest| rest.split('&').next())
                .expect("an id")
                .to_owned()
        })
        .collect();
    assert_eq!(named.len(), 2, "{named:?}");
    assert!(named[0].len() == 32 && named[0] == named[1], "{named:?}");
}

/// Video, and Ogg, and whatever else nothing can be spliced into.
#[test]
fn what_cannot_be_spliced_is_played_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let web = folder.path().join("web");
    std::fs::create_dir(&web).expect("a folder");
    let status = std::process::Command::new("ffmpeg")
        .args([
            "-nostdin",
            "-loglevel",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc=s=160x120:d=2",
        ])
        .args([
            "-f",
            "lavfi",
            "-i",
            "sine=440:d=2",
            "-c:v",
            "libvpx",
            "-c:a",
            "libvorbis",
        ])
        .arg(web.join("clip.webm"))
        .status()
        .expect("ffmpeg runs (`make setup` installs it)");
    assert!(status.success());
    let server = Server::start(Router::new().fallback_service(tower_http::services::ServeDir::new(&web)));
    grove(
        folder.path(),
        [
            "publish",
            "web/clip.webm",
            "--allow-private",
            "--origin",
            &server.url(""),
        ],
    )
    .run()
    .expect(0);
    let mut player = grove(
        folder.path(),
        [
            "play",
            "--json",
            "--allow-private",
            "--listen",
            "127.0.0.1:0",
            "--sink",
            "null",
        ],
    )
    .arg(server.url("clip.webm.torrent"))
    .start();
    let position = player.wait_until("a second of it", |value| {
        value["event"] == "position" && seconds(value) > 1.0
    });
    assert_eq!(position["in_ad"], false, "{position}");
    let done = player.wait_for("done");
    assert!(seconds(&done) > 1.9, "{done}");
    assert_eq!(player.finish().0, Some(0));
}
