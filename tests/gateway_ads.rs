//! The ads of what the gateway gives: decided once for each playback, reported when they were sent, and by whom they may be decided.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::time::Instant;

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use common::PATIENCE;
use common::ads::AdServer;
use common::gateway::{Node, Scene};
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::watch;

/// A server that keeps an ad back until it is told to give it.
#[derive(Clone, Default)]
struct Slow(Arc<Kept>);

#[derive(Default)]
struct Kept {
    ad: OnceLock<Vec<u8>>,
    shut: watch::Sender<bool>,
    waiting: Mutex<usize>,
    changed: Condvar,
}

/// Somebody who asks for the ad, until it is given or not waited for any more.
struct Asking(Arc<Kept>);

impl Drop for Asking {
    fn drop(&mut self) {
        *self.0.waiting.lock().expect("not poisoned") -= 1;
        self.0.changed.notify_all();
    }
}

impl Slow {
    fn answer(self) -> impl Fn() -> BoxFuture<'static, Vec<u8>> + Clone {
        move || {
            *self.0.waiting.lock().expect("not poisoned") += 1;
            let asking = Asking(Arc::clone(&self.0));
            Box::pin(async move {
                let mut shut = asking.0.shut.subscribe();
                // The test is over when this fails.
                let _ = shut.wait_for(|shut| !*shut).await;
                asking.0.ad.get().cloned().unwrap_or_default()
            })
        }
    }

    fn set(&self, ad: Vec<u8>) {
        self.0.ad.set(ad).expect("it is set once");
    }

    fn shut(&self) {
        self.0.shut.send_replace(true);
    }

    /// Gives it to whoever waits, and to nobody else.
    fn give(&self) {
        self.0.shut.send_replace(false);
        let waiting = self.0.waiting.lock().expect("not poisoned");
        let given = self
            .0
            .changed
            .wait_timeout_while(waiting, PATIENCE, |waiting| *waiting > 0);
        assert!(
            !given.expect("not poisoned").1.timed_out(),
            "somebody waits still"
        );
        self.shut();
    }
}

/// An ad server whose every answer is another ad.
fn changing(asked: Arc<AtomicUsize>) -> Router {
    let vast = move |request: Request| {
        let host = request.headers()["host"].to_str().expect("text").to_owned();
        let number = asked.fetch_add(1, Ordering::SeqCst);
        async move {
            format!(
                "<VAST version='3.0'><Ad id='{number}'><InLine><AdSystem>x</AdSystem><AdTitle>x</AdTitle>
                <Impression>http://{host}/seen/{number}</Impression><Creatives><Creative><Linear>
                <Duration>00:00:0{}</Duration><MediaFiles><MediaFile type='audio/wav' delivery='progressive'>http://{host}/ad{}.wav</MediaFile>
                </MediaFiles></Linear></Creative></Creatives></InLine></Ad></VAST>",
                number % 2 + 1,
                number % 2 + 1
            )
        }
    };
    Router::new()
        .route("/vast", get(vast))
        .route("/seen/{ad}", get(async || ""))
}

#[test]
fn a_playback_keeps_its_ads_and_the_next_one_gets_others() {
    let asked = Arc::new(AtomicUsize::new(0));
    let scene = Scene::with(changing(Arc::clone(&asked)));
    scene.sound("ad1.wav", 1, "");
    scene.sound("ad2.wav", 2, "");
    scene.sound("e.mp3", 20, "-c:a libmp3lame -b:a 128k");
    scene.publish("e.mp3", &["--cue", "10", "--ads", &scene.server.url("vast")]);
    let path = scene.path("e.mp3");

    let mut node = scene.node("viewer", &[]);
    let beginning = node.range(&path, 0..200_000);
    let made = node.running.wait_for("rendition");
    assert_eq!(
        (
            made["ads"][0]["ad_id"].as_str(),
            made["ads"].as_array().map(Vec::len)
        ),
        (Some("0"), Some(1))
    );
    let rest = node
        .get(
            &path,
            &[("range", "bytes=200000-"), ("if-range", beginning.header("etag"))],
        )
        .expect(206);
    let whole = node.get(&path, &[]).expect(200);
    assert!(whole.body == [beginning.body.as_slice(), rest.body.as_slice()].concat());
    assert_eq!(whole.header("etag"), beginning.header("etag"));
    assert_eq!(asked.load(Ordering::SeqCst), 1, "it was decided once");
    node.stop();

    let (sent, content) = (scene.sent_of("e.mp3"), scene.web().join("e.mp3"));
    assert!(sent >= std::fs::metadata(content).expect("the content").len());
    let mut node = scene.node("viewer", &[]);
    let next = node
        .get(
            &path,
            &[("range", "bytes=200000-"), ("if-range", beginning.header("etag"))],
        )
        .expect(200);
    assert_eq!(node.running.wait_for("rendition")["ads"][0]["ad_id"], "1");
    assert!(next.body.len() > whole.body.len() && next.header("etag") != whole.header("etag"));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert_eq!(
        scene.sent_of("e.mp3"),
        sent,
        "nothing of the content is fetched again"
    );
    node.stop();
}

#[test]
fn a_playback_keeps_its_ads_while_its_origin_is_away() {
    let asked = Arc::new(AtomicUsize::new(0));
    let scene = Scene::with(changing(Arc::clone(&asked)));
    scene.sound("ad1.wav", 1, "");
    scene.sound("ad2.wav", 2, "");
    // So long that what is read for laying it out is little of it: of one bit rate, and so that it may be repeated.
    let coding = "-c:a libmp3lame -b:a 128k -reservoir 0 -write_xing 0 -id3v2_version 0";
    scene.sound("part.mp3", 10, coding);
    let part = std::fs::read(scene.web().join("part.mp3")).expect("made");
    std::fs::write(scene.web().join("e.mp3"), part.repeat(120)).expect("space on the disk");
    scene.publish("e.mp3", &["--cue", "2:00", "--ads", &scene.server.url("vast")]);
    let path = scene.path("e.mp3");
    let mut node = scene.node("viewer", &["--wait", "1"]);
    let etag = node.head(&path, &[]).expect(200).header("etag").to_owned();
    let made = node.running.wait_for("rendition");
    assert_eq!(made["ads"].as_array().map(Vec::len), Some(1), "{made}");
    let rest = [("range", "bytes=14000000-14009999")];
    scene.door.shut();
    node.get(&path, &rest).expect(504);
    scene.door.open();
    let began = Instant::now();
    // Under load it may not come within a second.
    let answer = loop {
        let answer = node.get(&path, &rest);
        if answer.status != 504 {
            break answer.expect(206);
        }
        assert!(began.elapsed() < PATIENCE, "{}", answer.text());
    };
    assert_eq!(answer.header("etag"), etag);
    assert_eq!(asked.load(Ordering::SeqCst), 1, "it was decided once");
    node.stop();
}

#[test]
fn an_ad_counts_as_delivered_once_all_of_it_was_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let ads = AdServer::start(folder.path(), &[]);
    let scene = Scene::new();
    scene.sound("e.mp3", 40, "-c:a libmp3lame -b:a 128k");
    let tag = format!("http://{}/vast?break=1&ads=1&key=[GROVE_KEY]", ads.addr);
    scene.publish("e.mp3", &["--cue", "20", "--ads", &tag]);
    let path = scene.path("e.mp3");

    let mut node = scene.node("viewer", &[]);
    let len: usize = node
        .head(&path, &[])
        .header("content-length")
        .parse()
        .expect("a length");
    let made = node.running.wait_for("rendition");
    assert_eq!(made["ads"].as_array().map(Vec::len), Some(1), "{made}");
    // All but a little of it, in two parts, and one part twice.
    node.range(&path, 0..len / 2);
    node.range(&path, len / 2..len - 1000);
    node.range(&path, 0..len / 2);
    assert_eq!(ads.report()["impressions"], json!({"delivered": 0, "played": 0}));
    node.range(&path, len - 1000..len);
    assert_eq!(node.running.wait_for("delivered")["ads"], 1);
    node.get(&path, &[]).expect(200);
    node.stop();
    let totals = ads.report();
    assert_eq!(
        totals["impressions"],
        json!({"delivered": 1, "played": 0}),
        "{totals}"
    );

    // What was decided and not read is told to be not used.
    let node = scene.node("viewer", &[]);
    node.range(&path, 0..len / 2);
    node.stop();
    let totals = ads.report();
    assert_eq!(
        totals["impressions"],
        json!({"delivered": 1, "played": 0}),
        "{totals}"
    );
    assert_eq!(
        totals["not_used"],
        json!({"delivered": 0, "played": 1}),
        "{totals}"
    );
}

#[test]
fn an_ad_that_was_late_is_there_the_next_time() {
    late_and_then_there(|scene| vec!["--ad".into(), format!("10={}", scene.server.url("slow.wav"))]);
}

/// A response of VAST: nobody but the server of the ad knows what it is.
#[test]
fn so_is_one_whose_hash_nobody_told() {
    late_and_then_there(|scene| {
        let vast = format!(
            "<VAST version='3.0'><Ad id='slow'><InLine><AdSystem>x</AdSystem><AdTitle>x</AdTitle><Impression>http://127.0.0.1:9/</Impression><Creatives><Creative><Linear>
            <Duration>00:00:01</Duration><MediaFiles><MediaFile type='audio/wav' delivery='progressive'>{}</MediaFile>
            </MediaFiles></Linear></Creative></Creatives></InLine></Ad></VAST>",
            scene.server.url("slow.wav")
        );
        std::fs::write(scene.web().join("vast.xml"), vast).expect("a folder");
        ["--cue", "10", "--ads", &scene.server.url("vast.xml")]
            .map(String::from)
            .into()
    });
}

fn late_and_then_there(break_in: impl Fn(&Scene) -> Vec<String>) {
    let slow = Slow::default();
    let scene = Scene::with(Router::new().route("/slow.wav", get(slow.clone().answer())));
    slow.set(std::fs::read(scene.web().join("ad.wav")).expect("the ad"));
    scene.sound("e.mp3", 20, "-c:a libmp3lame -b:a 128k");
    let options = break_in(&scene);
    scene.publish("e.mp3", &options.iter().map(String::as_str).collect::<Vec<_>>());
    let master = std::fs::read(scene.web().join("e.mp3")).expect("the content");
    let args = ["--allow-private", "--freeze", "0.5", "--keep", "0"];
    let node = Node::start(scene.folder.path(), "viewer", &args);
    let path = scene.path("e.mp3");
    slow.shut();
    assert!(
        node.get(&path, &[]).expect(200).body == master,
        "it is not there yet"
    );
    // Nobody who waits for a rendition is ever given it: it comes from the cache, where what is made ready later puts it.
    let began = Instant::now();
    while node.get(&path, &[]).expect(200).body == master {
        slow.give();
        assert!(began.elapsed() < PATIENCE, "it is never there");
    }
    node.stop();
}

#[test]
fn an_ad_that_turned_out_to_be_silence_is_an_error_and_no_delivery() {
    let folder = tempfile::tempdir().expect("a folder");
    let ads = AdServer::start(folder.path(), &[]);
    let scene = Scene::new();
    scene.sound("e.mp3", 40, "-c:a libmp3lame -b:a 128k");
    let tag = format!("http://{}/vast?break=1&ads=1", ads.addr);
    scene.publish("e.mp3", &["--cue", "20", "--ads", &tag]);
    let path = scene.path("e.mp3");
    let mut node = scene.node("viewer", &[]);
    node.head(&path, &[]).expect(200);
    let made = node.running.wait_for("rendition");
    assert_eq!(made["ads"].as_array().map(Vec::len), Some(1), "{made}");
    // The disk loses its samples before they are put in.
    let creatives = std::fs::read_dir(scene.folder.path().join("viewer/creatives")).expect("the cache");
    let samples = creatives.filter_map(|entry| Some(entry.ok()?.path()));
    for samples in samples.filter(|path| path.extension().is_some_and(|ending| ending == "f32")) {
        let file = std::fs::File::options().write(true).open(samples);
        file.and_then(|file| file.set_len(0)).expect("it can be cut");
    }
    node.get(&path, &[]).expect(200);
    let lost = node.running.wait_for("lost");
    assert_eq!(lost["skipped"][0]["vast_error"], 400, "{lost}");
    node.stop();
    let totals = ads.report();
    for event in ["impressions", "not_used"] {
        assert_eq!(
            totals[event],
            json!({"delivered": 0, "played": 0}),
            "{event}: {totals}"
        );
    }
    assert_ne!(totals["errors"], json!({"delivered": 0, "played": 0}), "{totals}");
}

#[test]
fn what_programs_ask_for_pins_nobodys_key() {
    let (ours, theirs) = (Scene::new(), Scene::new());
    for (scene, cue) in [(&ours, "10"), (&theirs, "5")] {
        scene.episode("e.mp3", 20, "-c:a libmp3lame -b:a 128k", &[cue]);
    }
    let (file, other) = (ours.get("e.mp3", "out", &[]), theirs.get("e.mp3", "out", &[]));
    let magnet = |scene: &Scene| {
        let torrent = std::fs::read(scene.web().join("e.mp3.torrent")).expect("it was published");
        let metainfo = engine::metainfo::Metainfo::parse(&torrent).expect("a .torrent");
        let hash = metainfo.info_hash_v2();
        format!(
            "/magnet:?xt=urn:btmh:1220{hash}&xs={}",
            scene.server.url("e.mp3.torrent")
        )
    };
    assert!(
        magnet(&ours).starts_with(&magnet(&theirs)[..80]),
        "both publish the same content"
    );
    let master = std::fs::read(ours.web().join("e.mp3")).expect("the content");
    let node = ours.node("viewer", &[]);
    // A page that leads to another host's copy gets that host's ads, and changes nothing for anybody else.
    assert!(node.get(&theirs.path("e.mp3"), &[]).expect(200).body == other);
    assert!(node.get(&ours.path("e.mp3"), &[]).expect(200).body == file);
    assert!(node.get(&magnet(&theirs), &[]).expect(200).body == master);
    node.stop();
    // What a person names is pinned.
    let mut node = ours.node("viewer", &[&ours.server.url("e.mp3")]);
    node.running.wait_for("joined");
    assert!(node.get(&magnet(&ours), &[]).expect(200).body == file);
    assert!(node.get(&theirs.path("e.mp3"), &[]).expect(200).body != other);
    node.stop();
}
