//! The gateway answers as HTTP says, whom it is meant for, and says what it cannot give.

mod common;

use common::gateway::{Node, Scene};
use common::http::ask;
use common::{closed_port, grove};

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
    // The host vouched for its key, but nobody asked for that.
    let master = std::fs::read(scene.web().join("e.mp3")).expect("the content");
    assert!(node.get(&magnet, &[]).expect(200).body == master);
    // Behind the gateway's own address.
    let twice = format!("/http://{}{path}", node.addr);
    assert!(node.range(&twice, 9..100).body == file[9..100]);

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
        (
            format!("/http://{}/e.mp3", closed_port()),
            502,
            "nobody listens at 127.0.0.1:",
        ),
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
fn a_port_alone_is_one_of_this_machine_and_anything_else_is_told_what_is_expected() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut running = grove(
        folder.path(),
        ["node", "--json", "--http", "0", "--data", "viewer"],
    )
    .args(["--listen", "127.0.0.1:0"])
    .start();
    let listening = running.wait_for("listening");
    assert!(
        listening["http"]
            .as_str()
            .is_some_and(|addr| addr.starts_with("127.0.0.1:")),
        "{listening}"
    );
    running.wait_for("joined_again");
    assert_eq!(running.interrupt().0, Some(0));
    let wrong = grove(folder.path(), ["node", "--http", "here"]).run().expect(2);
    wrong.says("write a port, as in 4768, or IP:PORT, as in 127.0.0.1:4768");
}

#[test]
fn what_an_address_keeps_secret_is_said_nowhere() {
    let scene = Scene::new();
    scene.episode("e.mp3", 10, "-c:a libmp3lame -b:a 128k", &[]);
    let mut node = scene.node(
        "viewer",
        &["-v", &format!("{}?key=sesame", scene.server.url("f.mp3"))],
    );
    node.get(&format!("{}?key=sesame", scene.path("e.mp3")), &[])
        .expect(200);
    node.get(&format!("{}?key=sesame", scene.path("none.torrent")), &[])
        .expect(502);
    node.get(&format!("/http://{}/e.mp3?key=sesame", closed_port()), &[])
        .expect(502);
    node.get(&format!("/feed{}?key=sesame", scene.path("none.xml")), &[])
        .expect(502);
    node.running.wait_for("rendition");
    let (status, story) = node.running.end();
    assert_eq!(status, Some(0), "{story}");
    assert!(story.contains("e.mp3?…") && story.contains("f.mp3?…"), "{story}");
    assert!(!story.contains("sesame"), "{story}");
}
