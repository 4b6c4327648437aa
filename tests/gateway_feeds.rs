//! A podcast app that subscribes through the gateway gets the episodes through it.

mod common;

use common::fixtures;
use common::gateway::Scene;

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

/// With ads of a second at 5 s and at 10 s.
#[test]
fn the_chapters_that_a_feed_names_are_where_they_are_heard() {
    let scene = Scene::new();
    scene.episode("e.mp3", 20, "-c:a libmp3lame -b:a 128k", &["5", "10"]);
    let chapters = serde_json::json!({ "version": "1.2.0", "chapters": [
        { "startTime": 0, "title": "One" },
        { "startTime": 5, "title": "Two", "img": "https://x.example/2.png" },
        { "startTime": 7.5, "endTime": 12, "title": "Three" },
    ] });
    std::fs::write(scene.web().join("c.json"), chapters.to_string()).expect("written");
    let item = |name: &str| {
        format!(
            "<item><enclosure url='{}' type='audio/mpeg'/><podcast:chapters url='c.json' type='application/json+chapters'/></item>",
            scene.server.url(name)
        )
    };
    scene.sound("plain.mp3", 20, "-c:a libmp3lame -b:a 128k");
    let feed = format!(
        "<rss><channel>{}{}</channel></rss>",
        item("e.mp3"),
        item("plain.mp3")
    );
    std::fs::write(scene.web().join("feed.xml"), feed).expect("written");
    let mut node = scene.node("viewer", &[]);
    let answer = node
        .get(&format!("/feed{}", scene.path("feed.xml")), &[])
        .expect(200);
    let feed = String::from_utf8(answer.body).expect("text");
    let here = format!("http://{}", node.addr);
    let paths: Vec<&str> = feed
        .split('\'')
        .filter_map(|part| part.strip_prefix(&here))
        .collect();
    assert_eq!(paths.len(), 4, "{feed}");
    // Whichever is asked for first, both are of one rendition.
    let answer = node.get(paths[1], &[]).expect(200);
    assert_eq!(answer.header("content-type"), "application/json+chapters");
    let found: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    let episode = node.get(paths[0], &[]).expect(200);
    assert!(episode.body == scene.get("e.mp3", "out", &[]));
    let ads = node.running.wait_for("rendition")["ads"].clone();
    let starts: Vec<f64> = (0..2)
        .map(|i| ads[i]["start"].as_f64().expect("a start"))
        .collect();
    let near = |i: usize, name: &str, due: f64| {
        let time = found["chapters"][i][name].as_f64().expect("a time");
        // Silence of less than a frame follows each ad.
        assert!(
            (due..due + 0.027).contains(&time),
            "{name} of {i} is {time}: {found}"
        );
    };
    near(0, "startTime", 0.0);
    near(1, "startTime", starts[0] + 1.0);
    near(2, "startTime", 8.5);
    near(2, "endTime", starts[1] + 3.0);
    assert_eq!(found["chapters"][1]["img"], chapters["chapters"][1]["img"]);
    // What does not come through the gateway has its own chapters.
    let plain = node.get(paths[3], &[]).expect(200);
    assert_eq!(plain.body, chapters.to_string().into_bytes());
    // What is no JSON is for the client to judge.
    std::fs::write(scene.web().join("c.json"), "<html>no").expect("written");
    let other = node.get(paths[1], &[]).expect(200);
    assert_eq!(other.body, b"<html>no");
    assert_eq!(other.header("content-type"), "application/json+chapters");
    assert_eq!(other.header("x-content-type-options"), "nosniff");
    node.stop();
}

/// With an ad of a second from 5 s on in the place of 5 s.
#[test]
fn a_chapter_that_an_ad_takes_the_place_of_is_not_listed() {
    let scene = Scene::new();
    scene.episode("e.mp3", 20, "-c:a libmp3lame -b:a 128k", &["5+5"]);
    let chapters = serde_json::json!({ "chapters": [
        { "startTime": 0, "title": "One" },
        { "startTime": 6, "title": "Two" },
        { "startTime": 9, "title": "Three" },
    ] });
    std::fs::write(scene.web().join("c.json"), chapters.to_string()).expect("written");
    let feed = format!(
        "<rss><channel><item><enclosure url='{}' type='audio/mpeg'/><podcast:chapters url='c.json' type='application/json+chapters'/></item></channel></rss>",
        scene.server.url("e.mp3")
    );
    std::fs::write(scene.web().join("feed.xml"), feed).expect("written");
    let node = scene.node("viewer", &[]);
    let path = format!("/feed{}", scene.path("feed.xml"));
    let feed = String::from_utf8(node.get(&path, &[]).expect(200).body).expect("text");
    let here = format!("http://{}", node.addr);
    let listed = feed
        .split('\'')
        .filter_map(|part| part.strip_prefix(&here))
        .nth(1);
    let answer = node.get(listed.expect("chapters"), &[]).expect(200);
    let found: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    let found = found["chapters"].as_array().expect("a list");
    let titles: Vec<&str> = found.iter().filter_map(|one| one["title"].as_str()).collect();
    assert_eq!(titles, ["One", "Three"]);
    let third = found[1]["startTime"].as_f64().expect("a time");
    assert!((6.0..6.03).contains(&third), "{third}");
    node.stop();
}

#[test]
fn a_feed_may_have_more_episodes_than_there_is_room_for_at_once() {
    const EPISODES: usize = 70;
    let scene = Scene::new();
    scene.episode("e.mp3", 10, "-c:a libmp3lame -b:a 128k", &["5"]);
    let items = (0..EPISODES).map(|number| {
        let name = format!("e{number}.mp3");
        let torrent = scene.web().join("e.mp3.torrent");
        std::fs::copy(torrent, scene.web().join(format!("{name}.torrent"))).expect("space on the disk");
        format!(
            "<item><enclosure url='{}' type='audio/mpeg'/></item>",
            scene.server.url(&name)
        )
    });
    let items: String = items.collect();
    let feed = format!("<rss><channel>{items}</channel></rss>");
    std::fs::write(scene.web().join("feed.xml"), feed).expect("written");
    let file = scene.get("e.mp3", "out", &[]);
    let node = scene.node("viewer", &[]);
    let answer = node
        .get(&format!("/feed{}", scene.path("feed.xml")), &[])
        .expect(200);
    let feed = String::from_utf8(answer.body).expect("text");
    let here = format!("http://{}", node.addr);
    let paths: Vec<&str> = feed
        .split('\'')
        .filter_map(|part| part.strip_prefix(&here))
        .collect();
    assert_eq!(paths.len(), EPISODES);
    for path in &paths {
        let head = node.head(path, &[]).expect(200);
        assert_eq!(head.header("content-length"), file.len().to_string(), "{path}");
    }
    // The first had to make room, and is had again.
    assert!(node.get(paths[0], &[]).expect(200).body == file);
    node.stop();
}
