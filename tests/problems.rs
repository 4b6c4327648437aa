//! What goes wrong with ads is told to those who asked to hear of it: once, with the right code, and the stand-in plays.

mod common;

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use common::{Server, grove, publish};
use tower_http::services::ServeDir;

/// A pod of one ad whose media file is absent, and a stand-alone ad to replace it.
fn vast(host: &str) -> String {
    let ad = |id: &str, sequence: &str, seconds: &str, media: &str| {
        format!(
            "<Ad id=\"{id}\"{sequence}><InLine><AdSystem>t</AdSystem><AdTitle>{id}</AdTitle>\
             <Error><![CDATA[http://{host}/seen/error?id={id}&code=[ERRORCODE]]]></Error>\
             <Impression><![CDATA[http://{host}/seen/impression?id={id}]]></Impression>\
             <Creatives><Creative><Linear><Duration>00:00:{seconds}</Duration><MediaFiles>\
             <MediaFile delivery=\"progressive\" type=\"audio/mpeg\" width=\"0\" height=\"0\">\
             <![CDATA[http://{host}/{media}]]></MediaFile></MediaFiles></Linear></Creative></Creatives></InLine></Ad>"
        )
    };
    let seconds = common::facts()["creatives"]
        .as_array()
        .expect("a list of creatives")
        .iter()
        .find(|creative| creative["file"] == "kettle.mp3")
        .and_then(|creative| creative["seconds"].as_f64())
        .expect("how long the creative is");
    let seconds = format!("{seconds:06.3}");
    format!(
        "<VAST version=\"4.2\">{}{}</VAST>",
        ad("absent", " sequence=\"1\"", "09", "media/absent.mp3"),
        ad("kettle", "", &seconds, "media/kettle.mp3")
    )
}

#[test]
fn a_creative_that_is_absent_is_reported_once_and_replaced() {
    let files = ServeDir::new(common::fixtures());
    let host = Server::start(
        Router::new()
            .route(
                "/vast",
                get(|request: Request| async move {
                    vast(request.headers()["host"].to_str().expect("a host in ASCII"))
                }),
            )
            .route("/seen/{event}", get(|| async {}))
            .nest_service("/media", files),
    );
    let folder = tempfile::tempdir().expect("a folder");
    // The second break has an ad server that is down: the break's own error is told.
    std::fs::write(
        folder.path().join("cues.vmap"),
        format!(
            "<VMAP version=\"1.0\"><AdBreak timeOffset=\"00:00:30\" breakId=\"mid\"><AdSource><AdTagURI>{}</AdTagURI></AdSource></AdBreak>\
             <AdBreak timeOffset=\"end\" breakId=\"post\"><AdSource><AdTagURI>http://{}/</AdTagURI></AdSource><TrackingEvents>\
             <Tracking event=\"error\">{}</Tracking></TrackingEvents></AdBreak></VMAP>",
            host.url("vast"),
            common::closed_port(),
            host.url("seen/break?code=[ERRORCODE]")
        ),
    )
    .expect("a file");
    let cues = folder.path().join("cues.vmap");
    let published = publish(["--cues".as_ref(), cues.as_os_str()]);

    let finished = grove(
        folder.path(),
        [
            "get",
            &published.torrent_url(),
            "--json",
            "--allow-private",
            "--data",
            "state",
            "-o",
            "out.mp3",
        ],
    )
    .run()
    .expect(0);
    let complete = finished.event("complete");
    assert_eq!(complete["ads"].as_array().map(Vec::len), Some(1), "{complete}");
    assert_eq!(complete["ads"][0]["ad_id"], "kettle", "{complete}");
    let mut seen: Vec<String> = host
        .asked()
        .into_iter()
        .filter(|asked| asked.contains("/seen/"))
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            "GET /seen/break?code=301",
            "GET /seen/error?id=absent&code=401",
            "GET /seen/impression?id=kettle"
        ]
    );
}

#[test]
fn a_silent_receiver_of_beacons_does_not_hold_a_command_up() {
    // It takes requests and never answers.
    let silent = Server::start(Router::new().route("/break", get(std::future::pending::<()>)));
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(
        folder.path().join("cues.vmap"),
        format!(
            "<VMAP version=\"1.0\"><AdBreak timeOffset=\"start\"><AdSource><AdTagURI>http://{}/</AdTagURI></AdSource><TrackingEvents>\
             <Tracking event=\"error\">{}</Tracking></TrackingEvents></AdBreak></VMAP>",
            common::closed_port(),
            silent.url("break?basis=[GROVE_BASIS]")
        ),
    )
    .expect("a file");
    let cues = folder.path().join("cues.vmap");
    let published = publish(["--cues".as_ref(), cues.as_os_str()]);
    let source = published.torrent_url();
    for command in ["get", "inspect"] {
        let mut words = vec![command, &source, "--json", "--allow-private", "--data", "state"];
        if command == "get" {
            words.extend(["-o", "out.mp3"]);
        }
        let began = std::time::Instant::now();
        grove(folder.path(), words).run().expect(0);
        let took = began.elapsed();
        // Three seconds for the beacons; the rest is for a busy machine.
        assert!(took < Duration::from_secs(20), "{command} took {took:?}");
    }
    assert!(
        silent
            .asked()
            .iter()
            .any(|asked| asked == "GET /break?basis=delivered"),
        "{:?}",
        silent.asked()
    );
}

#[test]
fn cue_points_that_are_rubbish_are_bad_input() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(common::episode(), folder.path().join("episode.mp3")).expect("the episode");
    for (text, words) in [
        ("rubbish", "line 1"),
        (
            "<VMAP version=\"1.0\">\n<AdBreak timeOffset=\"soon\"/>\n</VMAP>",
            "line 2",
        ),
        ("<VMAP version=\"1.0\"></VMAP>", "no ad break"),
    ] {
        std::fs::write(folder.path().join("bad.vmap"), text).expect("a file");
        let origin = format!("http://{}/", common::closed_port());
        grove(
            folder.path(),
            [
                "publish",
                "episode.mp3",
                "--origin",
                &origin,
                "--cues",
                "bad.vmap",
                "--data",
                "state",
            ],
        )
        .run()
        .expect(2)
        .says("bad.vmap")
        .says(words);
    }
    assert!(!folder.path().join("episode.mp3.torrent").exists());
}
