//! Beacons of real commands to a real ad server, while the ad server is down, connections are cut, and clients are killed: counted once.

mod common;

use std::path::PathBuf;
use std::time::Instant;

use common::ads::{AdServer, Beacons, Forwarder};
use common::{PATIENCE, Published, grove, publish};
use serde_json::{Value, json};
use tempfile::TempDir;

/// An ad server behind a forwarder, an episode with one cue for one ad, and a viewer's folder.
struct Scene {
    folder: TempDir,
    forwarder: Forwarder,
    server: Option<AdServer>,
    published: Published,
}

impl Scene {
    fn new(cue: &str, beacons: Beacons) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let forwarder = Forwarder::start(beacons);
        let mut scene = Scene {
            published: publish([
                "--cue",
                cue,
                "--ads",
                &forwarder.url("vast?break=1&ads=1&key=[GROVE_KEY]"),
            ]),
            folder,
            forwarder,
            server: None,
        };
        scene.start_ad_server();
        scene
    }

    /// Starts the ad server, or starts it again with what it remembers. Clients know it by the forwarder's address.
    fn start_ad_server(&mut self) {
        let public = self.forwarder.url("");
        let server = AdServer::start(
            self.folder.path(),
            &["--public-url", public.trim_end_matches('/')],
        );
        self.forwarder.forward_to(server.addr);
        self.server = Some(server);
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("viewer")
    }

    fn viewer(&self, command: &str) -> common::Grove {
        grove(
            self.folder.path(),
            [command, "--json", "--allow-private", "--listen", "127.0.0.1:0"],
        )
        .arg("--data")
        .arg(self.data())
        .arg(self.published.torrent_url())
    }

    fn get(&self) -> common::Grove {
        self.viewer("get").args(["-o", "got.mp3"])
    }

    /// Runs other commands until the ad server has counted what waits.
    #[track_caller]
    fn later_commands_report_it(&self) {
        let began = Instant::now();
        while AdServer::totals(self.folder.path())["impressions"]["delivered"] == 0 {
            assert!(began.elapsed() < PATIENCE, "no later command reported it");
            self.viewer("inspect").run().expect(0);
        }
    }

    /// One delivery was counted, and nothing else, however often commands run.
    #[track_caller]
    fn counted_once(&self) {
        self.viewer("inspect").run().expect(0);
        let totals = AdServer::totals(self.folder.path());
        assert_eq!(
            totals["impressions"],
            json!({"delivered": 1, "played": 0}),
            "{totals}"
        );
        assert_eq!(
            (&totals["billed"], &totals["decisions"]),
            (&json!(1), &json!(1)),
            "{totals}"
        );
        for event in [
            "start",
            "first_quartile",
            "midpoint",
            "third_quartile",
            "complete",
        ] {
            assert_eq!(
                totals[event],
                json!({"delivered": 0, "played": 0}),
                "nobody knows what of a download was heard: {totals}"
            );
        }
    }
}

#[track_caller]
fn one_ad(complete: &Value) {
    assert_eq!(complete["ads"].as_array().map(Vec::len), Some(1), "{complete}");
}

#[test]
fn an_ad_server_that_is_down_when_the_download_ends() {
    let mut scene = Scene::new("30", Beacons::Refuse);
    let mut viewer = scene.get().start();
    let complete = viewer.wait_for("complete");
    scene.forwarder.wait_for("/b/");
    scene.server.take().expect("it runs").kill();
    one_ad(&complete);
    assert_eq!(viewer.finish().0, Some(0), "beacons are no reason to fail");
    scene.forwarder.beacons(Beacons::Pass);
    scene.viewer("inspect").run().expect(0);
    assert_eq!(
        AdServer::totals(scene.folder.path())["impressions"],
        json!({"delivered": 0, "played": 0})
    );

    scene.start_ad_server();
    scene.later_commands_report_it();
    scene.counted_once();
}

#[test]
fn a_connection_that_is_cut_before_the_answer() {
    let scene = Scene::new("30", Beacons::CutAnswer);
    one_ad(&scene.get().run().expect(0).event("complete"));
    // The ad server has it, and the viewer does not know.
    scene.counted_once();
    let once = scene.forwarder.sent();
    assert_eq!(once.len(), 1, "{once:?}");

    scene.forwarder.beacons(Beacons::Pass);
    let began = Instant::now();
    while scene.forwarder.sent() == once {
        assert!(began.elapsed() < PATIENCE, "it was not sent again");
        scene.viewer("inspect").run().expect(0);
    }
    let again = scene.forwarder.sent();
    assert!(again.keys().eq(once.keys()), "the same beacon: {again:?}");
    scene.counted_once();
    assert_eq!(
        scene.forwarder.sent(),
        again,
        "what was acknowledged is not sent again"
    );
}

#[test]
fn a_viewer_that_is_killed_before_it_reports() {
    let scene = Scene::new("30", Beacons::Hold);
    let mut viewer = scene.get().start();
    one_ad(&viewer.wait_for("complete"));
    viewer.kill();
    assert_eq!(
        AdServer::totals(scene.folder.path())["impressions"],
        json!({"delivered": 0, "played": 0})
    );
    scene.forwarder.beacons(Beacons::Pass);
    scene.later_commands_report_it();
    scene.counted_once();
}

#[test]
fn what_was_presented_is_reported_as_played() {
    // After the last sample, so that playback ends by itself after the ad.
    let scene = Scene::new("end", Beacons::Pass);
    let mut player = scene
        .viewer("play")
        .args(["--sink", "null", "--start", "03:15.500"])
        .start();
    let (status, said) = player.finish();
    assert_eq!(status, Some(0), "{said:?}");
    let told: Vec<&str> = said.iter().filter_map(|value| value["event"].as_str()).collect();
    let told: Vec<&str> = told
        .into_iter()
        .filter(|event| !["position", "listening"].contains(event))
        .collect();
    assert_eq!(
        told,
        [
            "start",
            "firstQuartile",
            "midpoint",
            "thirdQuartile",
            "complete",
            "done"
        ]
    );
    let totals = AdServer::totals(scene.folder.path());
    for event in [
        "impressions",
        "start",
        "first_quartile",
        "midpoint",
        "third_quartile",
        "complete",
    ] {
        assert_eq!(
            totals[event],
            json!({"delivered": 0, "played": 1}),
            "{event}: {totals}"
        );
    }
    assert_eq!(totals["billed"], 1, "{totals}");
    // The account of it was believed: the server holds the key that asked, and found the ad in it.
    assert_eq!(totals["proved"], json!({"delivered": 0, "played": 1}), "{totals}");
    let report = grove(
        scene.folder.path(),
        ["adserver", "report", "--json", "--db", "adserver.db"],
    )
    .run()
    .expect(0)
    .json()
    .remove(0);
    assert_eq!(report["invalid_traffic"], json!({}), "nothing of it was refused");
}

#[test]
fn what_was_not_presented_is_not_reported() {
    let scene = Scene::new("30", Beacons::Pass);
    let mut player = scene
        .viewer("play")
        .args(["--sink", "null", "--start", "00:29.500"])
        .start();
    player.wait_for("midpoint");
    let (status, _) = player.interrupt();
    assert_eq!(status, Some(130), "stopped by a person");
    scene.viewer("inspect").run().expect(0);
    let totals = AdServer::totals(scene.folder.path());
    for (event, played) in [
        ("impressions", 1),
        ("start", 1),
        ("first_quartile", 1),
        ("midpoint", 1),
        ("third_quartile", 0),
        ("complete", 0),
    ] {
        assert_eq!(
            totals[event],
            json!({"delivered": 0, "played": played}),
            "{event}: {totals}"
        );
    }
}

#[test]
fn a_download_that_did_not_end_reports_nothing() {
    let scene = Scene::new("30", Beacons::Pass);
    let mut viewer = scene.get().args(["--down", "500k"]).start();
    scene.forwarder.wait_for("/creatives/");
    viewer.wait_for("progress");
    viewer.kill();
    scene.viewer("inspect").run().expect(0);
    assert!(scene.forwarder.sent().is_empty(), "{:?}", scene.forwarder.sent());
    assert!(!scene.folder.path().join("got.mp3").exists());
}
