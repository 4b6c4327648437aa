//! Several commands at once on one data folder: they share what can be shared, say who is in the way otherwise, and harm nothing.

mod common;

use axum::Router;
use common::held::Held;
use common::{Grove, Server, closed_port, episode, grove, sha256};
use tower_http::services::ServeDir;

/// How many commands are started at once.
const CROWD: usize = 5;

/// The options of all commands here: one data folder.
fn shared() -> [&'static str; 6] {
    [
        "--json",
        "--allow-private",
        "--listen",
        "127.0.0.1:0",
        "--data",
        "shared",
    ]
}

fn get(held: &Held, out: &str) -> Grove {
    grove(held.at(), ["get", "web/episode.mp3.torrent", "-o", out]).args(shared())
}

#[test]
fn a_second_download_of_the_same_and_a_removal_say_who_is_in_the_way() {
    let held = Held::publish();
    let mut first = get(&held, "first.mp3").start();
    // It says so once it has the folder.
    first.wait_for("progress");
    let pid = first.child.id();
    let in_use = format!("is in use by another process (pid {pid})");

    get(&held, "second.mp3")
        .run()
        .expect(1)
        .says(&in_use)
        .says("--data DIR");
    grove(held.at(), ["remove", "web/episode.mp3.torrent"])
        .args(shared())
        .run()
        .expect(1)
        .says(&in_use)
        .says("stop the command that uses it");

    held.open();
    first.wait_for("complete");
    assert_eq!(first.finish().0, Some(0));
    assert_eq!(sha256(&held.at().join("first.mp3")), sha256(&episode()));
    // Now it is free, and everything is here.
    let second = get(&held, "second.mp3").run().expect(0).event("complete");
    assert_eq!(second["from_origin"], 0, "{second}");
    assert_eq!(sha256(&held.at().join("second.mp3")), sha256(&episode()));
}

#[test]
fn seeds_and_a_download_of_the_same_share_a_data_folder() {
    let held = Held::publish();
    let seed = || {
        let mut seed = grove(held.at(), ["seed", "web/episode.mp3.torrent"])
            .args(shared())
            .start();
        let listening = seed.wait_for("listening");
        let address = listening["quic"][0].as_str().expect("an address").to_owned();
        seed.wait_for("seeding");
        (seed, address)
    };
    let (one, other) = (seed(), seed());
    // The origin gives nothing.
    let complete = get(&held, "got.mp3")
        .args(["--peer", &one.1, "--peer", &other.1])
        .run()
        .expect(0)
        .event("complete");
    assert_eq!(complete["from_origin"], 0, "{complete}");
    assert_eq!(sha256(&held.at().join("got.mp3")), sha256(&episode()));
    assert_eq!(one.0.interrupt().0, Some(0));
    assert_eq!(other.0.interrupt().0, Some(0));
}

#[test]
fn commands_that_start_at_once_in_a_new_data_folder_make_it_together() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let ad_server = format!("http://{}/vast", closed_port());
    let origin = Server::start(Router::new().fallback_service(ServeDir::new(at)));
    let names: Vec<String> = (0..CROWD).map(|i| format!("episode-{i}.mp3")).collect();
    for name in &names {
        std::fs::copy(episode(), at.join(name)).expect("the episode can be copied");
        // With a cue sheet, so that there is something to pin.
        grove(
            at,
            [
                "publish",
                name,
                "--json",
                "--allow-private",
                "--data",
                "publisher",
            ],
        )
        .args(["--cue", "30", "--ads", &ad_server, "--origin", &origin.url(name)])
        .run()
        .expect(0);
    }
    let started: Vec<_> = names
        .iter()
        .map(|name| {
            grove(at, ["get", &format!("{name}.torrent"), "--no-ads", "-o"])
                .arg(format!("got-{name}"))
                .args(shared())
                .start()
        })
        .collect();
    for (mut viewer, name) in started.into_iter().zip(&names) {
        viewer.wait_for("complete");
        assert_eq!(viewer.finish().0, Some(0));
        assert_eq!(sha256(&at.join(format!("got-{name}"))), sha256(&episode()));
    }
}
