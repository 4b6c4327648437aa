//! The local gateway: what any player gets over HTTP is what `grove get` writes, whatever range is asked for, at the price of that range.

mod common;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use common::ads::AdServer;
use common::http::{Answer, ask};
use common::tools::generate;
use common::{Running, Server, closed_port, fixtures, grove};
use futures_util::TryStreamExt as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower_http::services::ServeDir;

/// A publisher's web server, and a gateway of somebody who trusts it.
struct Scene {
    folder: TempDir,
    server: Server,
    /// Bytes of media that left the server.
    sent: Arc<AtomicU64>,
}

/// A running `grove node`.
struct Node {
    running: Running,
    addr: SocketAddr,
    /// Where it listens for peers.
    quic: String,
}

impl Scene {
    fn new() -> Self {
        Self::with(Router::new())
    }

    /// A web server that has more than files.
    fn with(router: Router) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let web = folder.path().join("web");
        std::fs::create_dir(&web).expect("a folder");
        let sent = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&sent);
        let count = move |request: Request, next: Next| count(counter.clone(), request, next);
        let router = router
            .fallback_service(ServeDir::new(&web))
            .layer(middleware::from_fn(count));
        let scene = Self {
            server: Server::start(router),
            folder,
            sent,
        };
        scene.sound("ad.wav", 1, "");
        scene
    }

    fn web(&self) -> std::path::PathBuf {
        self.folder.path().join("web")
    }

    /// Makes a file of noise.
    fn sound(&self, name: &str, seconds: u32, coding: &str) {
        let seed = u64::from(seconds) + 4;
        let noise = format!("anoisesrc=c=pink:a=0.2:seed={seed}:r=48000:d={seconds}");
        let mut inputs = vec![noise];
        if coding.contains("-c:v") {
            inputs.push(format!("testsrc2=s=160x90:r=25:d={seconds}"));
        }
        generate(&self.web().join(name), &inputs, coding);
    }

    /// Publishes a file of the web folder.
    fn publish(&self, name: &str, args: &[&str]) {
        grove(self.folder.path(), ["publish", &format!("web/{name}")])
            .args([
                "--allow-private",
                "--data",
                "publisher",
                "--origin",
                &self.server.url(name),
            ])
            .args(args)
            .run()
            .expect(0);
    }

    /// Publishes noise with ads in it.
    fn episode(&self, name: &str, seconds: u32, coding: &str, cues: &[&str]) {
        self.sound(name, seconds, coding);
        let ads: Vec<String> = cues
            .iter()
            .flat_map(|cue| ["--ad".into(), format!("{cue}=web/ad.wav")])
            .collect();
        self.publish(name, &ads.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// What `grove get` makes of it, in a file or through a pipe.
    fn get(&self, name: &str, to: &str, args: &[&str]) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a folder");
        let finished = grove(folder.path(), ["get", &self.server.url(name), "--allow-private"])
            .args(["--data", "state", "--freeze", "60", "-o", to])
            .args(args)
            .run()
            .expect(0);
        if to == "-" {
            return finished.stdout;
        }
        std::fs::read(folder.path().join(to)).expect("the result")
    }

    fn node(&self, data: &str, args: &[&str]) -> Node {
        Node::start(
            self.folder.path(),
            data,
            &[&["--allow-private", "--freeze", "60"][..], args].concat(),
        )
    }

    fn path(&self, name: &str) -> String {
        format!("/{}", self.server.url(name))
    }
}

async fn count(counter: Arc<AtomicU64>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    if path.ends_with(".torrent") {
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = body.into_data_stream().inspect_ok(move |part| {
        counter.fetch_add(part.len() as u64, Ordering::SeqCst);
    });
    Response::from_parts(parts, Body::from_stream(body))
}

impl Node {
    fn start(folder: &Path, data: &str, args: &[&str]) -> Self {
        let mut running = grove(
            folder,
            ["node", "--json", "--http", "127.0.0.1:0", "--data", data],
        )
        .args(["--listen", "127.0.0.1:0"])
        .args(args)
        .start();
        let listening = running.wait_for("listening");
        let addr = listening["http"].as_str().and_then(|addr| addr.parse().ok());
        Self {
            running,
            addr: addr.expect("the address that it listens on"),
            quic: listening["quic"][0].as_str().expect("an address").to_owned(),
        }
    }

    #[track_caller]
    fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        ask(self.addr, "GET", path, headers)
    }

    #[track_caller]
    fn head(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        ask(self.addr, "HEAD", path, headers)
    }

    #[track_caller]
    fn range(&self, path: &str, range: std::ops::Range<usize>) -> Answer {
        let text = format!("bytes={}-{}", range.start, range.end - 1);
        let answer = self.get(path, &[("range", &text)]).expect(206);
        assert!(
            answer
                .header("content-range")
                .starts_with(&format!("bytes {}-{}/", range.start, range.end - 1)),
            "{answer:?}"
        );
        answer
    }

    /// SIGINT; it ends well.
    #[track_caller]
    fn stop(self) -> Vec<Value> {
        let (status, rest) = self.running.interrupt();
        assert_eq!(status, Some(0), "{rest:?}");
        rest
    }
}

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
    the_same_bytes(&[("c.mp4", coding, 8)], 100);
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
fn heads_conditions_and_ranges_are_answered_as_http_says() {
    let scene = Scene::new();
    scene.episode("e.mp3", 20, "-c:a libmp3lame -b:a 128k", &["10"]);
    let file = scene.get("e.mp3", "out", &[]);
    let node = scene.node("viewer", &[]);
    let path = scene.path("e.mp3");
    let len = file.len().to_string();

    let head = node.head(&path, &[]).expect(200);
    assert!(head.body.is_empty());
    assert_eq!(
        (head.header("content-length"), head.header("content-type")),
        (len.as_str(), "audio/mpeg")
    );
    assert_eq!(head.header("accept-ranges"), "bytes");
    assert_eq!(head.header("access-control-allow-origin"), "");
    let etag = head.header("etag").to_owned();
    assert!(
        etag.len() > 20 && etag.starts_with('"') && etag.ends_with('"'),
        "{etag}"
    );

    let tail = node.get(&path, &[("range", "bytes=-128")]).expect(206);
    assert!(tail.body == file[file.len() - 128..]);
    assert_eq!(tail.header("etag"), etag);
    let open = node.get(&path, &[("range", "bytes=5000-")]).expect(206);
    assert!(open.body == file[5000..]);
    let beyond = node
        .get(&path, &[("range", &format!("bytes={len}-"))])
        .expect(416);
    assert_eq!(beyond.header("content-range"), format!("bytes */{len}"));
    assert!(node.get(&path, &[("range", "bytes=0-9,20-29")]).expect(200).body == file);

    let going_on = node
        .get(&path, &[("range", "bytes=9-"), ("if-range", &etag)])
        .expect(206);
    assert!(going_on.body == file[9..]);
    assert!(
        node.get(&path, &[("range", "bytes=9-"), ("if-range", "\"x\"")])
            .expect(200)
            .body
            == file
    );
    let same = node.get(&path, &[("if-none-match", &etag)]).expect(304);
    assert!(same.body.is_empty() && same.header("etag") == etag);
    node.get(&path, &[("if-match", "\"x\"")]).expect(412);

    // The .torrent itself, the same source percent-encoded, with one slash for two.
    let named = node
        .get(&scene.path("e.mp3.torrent"), &[("range", "bytes=9-99")])
        .expect(206);
    assert!(named.body == file[9..100] && named.header("etag") == etag);
    let encoded = path[1..].replace(':', "%3A").replace('/', "%2F");
    assert!(
        node.get(&format!("/{encoded}"), &[("range", "bytes=9-99")])
            .expect(206)
            .body
            == file[9..100]
    );
    let one_slash = path.replace("//", "/");
    assert!(node.get(&one_slash, &[("range", "bytes=9-99")]).expect(206).body == file[9..100]);
    let magnet = std::fs::read(scene.web().join("e.mp3.torrent")).expect("it was published");
    let metainfo = engine::metainfo::Metainfo::parse(&magnet).expect("a .torrent");
    let magnet = format!(
        "/magnet:?xt=urn:btmh:1220{}&xs={}",
        metainfo.info_hash_v2(),
        scene.server.url("e.mp3.torrent")
    );
    // The host vouched for its key before.
    assert!(node.get(&magnet, &[]).expect(200).body == file);

    // A query is a part of the address.
    node.head(&format!("{path}?token=a%2Fb&x=1"), &[]).expect(200);
    let asked = scene.server.asked();
    assert!(
        asked.contains(&"GET /e.mp3.torrent?token=a%2Fb&x=1".to_owned()),
        "{asked:?}"
    );

    let usage = node.get("/", &[]).expect(200);
    assert!(
        usage.text().contains(&format!("http://{}/feed/", node.addr)),
        "{}",
        usage.text()
    );
    assert_eq!(
        ask(node.addr, "POST", &path, &[]).expect(405).header("allow"),
        "GET, HEAD"
    );
    node.stop();
}

#[test]
fn without_ads_the_master_is_given_and_without_a_torrent_the_player_is_sent_there() {
    let scene = Scene::new();
    scene.episode("e.mp3", 20, "-c:a libmp3lame -b:a 128k", &["10"]);
    scene.sound("plain.mp3", 1, "");
    let node = scene.node("viewer", &["--no-ads"]);
    let master = std::fs::read(scene.web().join("e.mp3")).expect("the content");
    let answer = node.get(&scene.path("e.mp3"), &[]).expect(200);
    assert!(answer.body == master);
    assert_eq!(answer.header("content-type"), "audio/mpeg");
    let plain = node
        .get(
            &format!("{}?a=1", scene.path("plain.mp3")),
            &[("range", "bytes=5-")],
        )
        .expect(307);
    assert_eq!(
        plain.header("location"),
        format!("{}?a=1", scene.server.url("plain.mp3"))
    );
    node.stop();
}

#[test]
fn only_those_are_answered_who_mean_the_gateway() {
    let scene = Scene::new();
    let node = scene.node("viewer", &[]);
    let port = node.addr.port();
    for host in [
        "evil.example",
        &format!("evil.example:{port}"),
        "192.0.2.7",
        "localhost.evil.example",
    ] {
        let refused = node.get("/", &[("host", host)]).expect(421);
        assert!(refused.text().contains(host), "{}", refused.text());
    }
    for host in [
        "localhost",
        &format!("LocalHost:{port}"),
        &format!("[::1]:{port}"),
        "127.0.0.1",
    ] {
        node.get("/", &[("host", host)]).expect(200);
    }
    let foreign = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "no-cors"),
        ("sec-fetch-dest", "audio"),
    ];
    node.get("/", &foreign).expect(403);
    node.stop();
}

#[test]
fn what_is_asked_for_over_http_is_typed_by_nobody() {
    let scene = Scene::new();
    scene.episode("e.mp3", 20, "-c:a libmp3lame -b:a 128k", &[]);
    let node = Node::start(scene.folder.path(), "viewer", &[]);
    for path in [
        scene.path("e.mp3"),
        scene.path("e.mp3.torrent"),
        format!("/feed{}", scene.path("feed.xml")),
    ] {
        let refused = node.get(&path, &[]).expect(403);
        assert!(refused.text().contains("loopback"), "{}", refused.text());
    }
    let untouched = scene.server.asked();
    node.get("/http://[::ffff:127.0.0.1]:1/x.mp3", &[]).expect(403);
    assert_eq!(scene.server.asked(), untouched);
    node.stop();
    // What a person names is.
    let mut node = Node::start(
        scene.folder.path(),
        "viewer",
        &[scene.server.url("e.mp3").as_str()],
    );
    node.running.wait_for("joined");
    let master = std::fs::read(scene.web().join("e.mp3")).expect("the content");
    assert!(node.get(&scene.path("e.mp3"), &[]).expect(200).body == master);
    node.stop();
}

#[test]
fn what_cannot_be_had_is_said_in_a_sentence() {
    let scene = Scene::new();
    std::fs::write(scene.web().join("bad.torrent"), "d3:abc").expect("written");
    std::fs::write(scene.web().join("page.html"), "<html></html>").expect("written");
    let node = scene.node("viewer", &[]);
    for (path, status, words) in [
        ("/robots.txt".to_owned(), 404, "/robots.txt"),
        ("/ftp://example.org/x.mp3".to_owned(), 404, "ftp"),
        ("/https://".to_owned(), 400, "https://"),
        ("/magnet:?xt=nothing".to_owned(), 400, "magnet"),
        (scene.path("bad.torrent"), 400, "bad.torrent"),
        (scene.path("none.torrent"), 502, "404"),
        (format!("/http://{}/e.mp3", closed_port()), 502, "refused"),
        (format!("/feed{}", scene.path("none.xml")), 502, "404"),
        (
            format!("/feed{}", scene.path("page.html")),
            502,
            "no podcast feed",
        ),
    ] {
        let refused = node.get(&path, &[]).expect(status);
        let text = refused.text();
        assert!(
            text.contains(words) && text.trim_end().lines().count() == 1,
            "{path}: {text}"
        );
        assert!(
            refused.header("content-type").starts_with("text/plain"),
            "{path}: {refused:?}"
        );
    }
    let twice = grove(
        scene.folder.path(),
        ["node", "--http", &node.addr.to_string(), "--data", "other"],
    );
    twice
        .run()
        .expect(1)
        .says(&node.addr.to_string())
        .says("hint: choose another address with --http");
    node.stop();
}

#[test]
fn what_was_listened_to_is_given_to_others_also_after_a_restart() {
    let scene = Scene::new();
    scene.episode("e.mp3", 20, "-c:a libmp3lame -b:a 128k", &[]);
    let master = std::fs::read(scene.web().join("e.mp3")).expect("the content");
    let node = scene.node("viewer", &[]);
    assert!(node.get(&scene.path("e.mp3"), &[]).expect(200).body == master);
    node.stop();
    let mut node = scene.node("viewer", &[]);
    assert_eq!(node.running.wait_for("joined_again")["names"], json!(["e.mp3"]));
    let torrent = scene.server.url("e.mp3.torrent");
    grove(
        scene.folder.path(),
        ["get", &torrent, "--data", "other", "-o", "got.mp3"],
    )
    .args(["--no-origin", "--listen", "127.0.0.1:0", "--peer", &node.quic])
    .run()
    .expect(0);
    assert!(std::fs::read(scene.folder.path().join("got.mp3")).expect("the result") == master);
    node.stop();
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
}

#[test]
fn a_feed_leads_its_episodes_through_the_gateway() {
    let scene = Scene::new();
    scene.episode("e.mp3", 20, "-c:a libmp3lame -b:a 128k", &["10"]);
    let feed = std::fs::read_to_string(fixtures().join("feed.xml")).expect("the feed of the fixtures");
    let feed = feed.replace("BASE/episode.mp3", &scene.server.url("e.mp3"));
    assert!(feed.contains(&scene.server.url("e.mp3")), "{feed}");
    std::fs::write(scene.web().join("feed.xml"), &feed).expect("written");
    let node = scene.node("viewer", &[]);
    let answer = node
        .get(&format!("/feed{}", scene.path("feed.xml")), &[])
        .expect(200);
    let text = String::from_utf8(answer.body.clone()).expect("text");
    let here = format!("http://{}/{}", node.addr, scene.server.url("e.mp3"));
    assert!(text.contains(&here), "{text}");
    assert_eq!(
        text.replace(&here, &scene.server.url("e.mp3")),
        feed,
        "nothing else changes"
    );
    assert!(answer.header("content-type").contains("xml"), "{answer:?}");
    let modified = answer.header("last-modified");
    let again = node.get(
        &format!("/feed{}", scene.path("feed.xml")),
        &[("if-modified-since", modified)],
    );
    again.expect(304);
    let episode = node
        .get(here.trim_start_matches(&format!("http://{}", node.addr)), &[])
        .expect(200);
    assert!(episode.body == scene.get("e.mp3", "out", &[]));
    node.stop();
}

#[test]
fn an_origin_that_is_away_is_missed_only_for_what_is_not_here() {
    let away = Arc::new(AtomicBool::new(false));
    let closed = Arc::clone(&away);
    let door = middleware::from_fn(move |request: Request, next: Next| {
        let closed = Arc::clone(&closed);
        async move {
            if closed.load(Ordering::SeqCst) {
                let gone = Response::builder().status(503).body(Body::empty());
                return gone.expect("a response");
            }
            next.run(request).await
        }
    });
    let scene = Scene::new();
    scene.episode("e.mp3", 20, "-c:a libmp3lame -b:a 128k", &["10"]);
    let front = Server::start(
        Router::new()
            .fallback_service(ServeDir::new(scene.web()))
            .layer(door),
    );
    let path = format!("/{}", front.url("e.mp3"));
    let node = scene.node("viewer", &["--keep", "0"]);
    let whole = node.get(&path, &[]).expect(200);
    away.store(true, Ordering::SeqCst);
    let again = node.get(&path, &[]).expect(200);
    assert!(again.body == whole.body, "it is here");
    let refused = node
        .get(&format!("/{}", front.url("f.mp3.torrent")), &[])
        .expect(502);
    assert!(refused.text().contains("503"), "{}", refused.text());
    node.stop();
}
