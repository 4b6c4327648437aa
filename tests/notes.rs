//! What is said beforehand, since nobody expects it: a result whose name is that of another kind of media, a folder that is made, what Vorbis with ads becomes,
//! a proxy that is not asked.

mod common;

use axum::Router;
use common::{Finished, Server, fixtures, grove};
use tower_http::services::ServeDir;

/// The notes on stderr.
fn notes(finished: &Finished) -> Vec<&str> {
    let lines = finished.stderr.lines();
    lines.filter(|line| line.starts_with("note: ")).collect()
}

#[test]
fn a_name_of_another_kind_and_a_new_folder_are_noted() {
    let folder = tempfile::tempdir().expect("a folder");
    let content = folder.path().join("bank.m4a");
    std::fs::copy(fixtures().join("bank.m4a"), &content).expect("space on the disk");
    let ad = format!("--ad=2={}", fixtures().join("boots.wav").display());
    let misnamed =
        "note: new/out.mp3 is named like audio/mpeg and holds audio/mp4: some programs go by the name";
    let splice = |to: &str| {
        grove(folder.path(), ["splice", "bank.m4a", &ad, "-o", to])
            .run()
            .expect(0)
    };
    assert_eq!(
        notes(&splice("new/out.mp3")),
        ["note: there is no folder new, so it is made", misnamed]
    );
    assert_eq!(notes(&splice("new/out.mp3")), [misnamed]);
    assert_eq!(notes(&splice("new/out.mp4")), Vec::<&str>::new());

    let server = Server::start(Router::new().fallback_service(ServeDir::new(folder.path())));
    grove(
        folder.path(),
        ["publish", "bank.m4a", "--data", "publisher", "--origin"],
    )
    .arg(server.url("bank.m4a"))
    .run()
    .expect(0);
    let get = |to: &str| {
        grove(
            folder.path(),
            ["get", &server.url("bank.m4a"), "--data", "viewer", "-o", to],
        )
        .arg("--allow-private")
        .run()
        .expect(0)
    };
    assert_eq!(
        notes(&get("newer/out.mp3")),
        [
            "note: there is no folder newer, so it is made",
            &misnamed.replace("new/", "newer/")
        ]
    );
}

#[test]
fn vorbis_with_ads_is_said_to_be_a_chain() {
    let folder = tempfile::tempdir().expect("a folder");
    let content = folder.path().join("talk.ogg");
    std::fs::copy(fixtures().join("library.ogg"), &content).expect("space on the disk");
    let ad = format!("--ad=2={}", fixtures().join("boots.wav").display());
    let chained = "note: Vorbis with ads is a chain of streams: players that do not know chained Ogg, ffmpeg and browsers among them, misread its \
                   length or end at the first ad";
    let spliced = grove(folder.path(), ["splice", "talk.ogg", &ad, "-o", "out.ogg"]);
    let spliced = spliced.run().expect(0);
    assert!(notes(&spliced).contains(&chained), "{}", spliced.stderr);
    let publish = || {
        grove(folder.path(), ["publish", "talk.ogg", "--data", "publisher"])
            .args(["--origin", "http://127.0.0.1:9/"])
    };
    let with_ads = publish().arg(&ad).run().expect(0);
    assert!(notes(&with_ads).contains(&chained), "{}", with_ads.stderr);
    let without = publish().run().expect(0);
    assert!(!notes(&without).contains(&chained), "{}", without.stderr);
}

#[test]
fn a_proxy_of_the_environment_is_not_asked_which_is_said_once() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(fixtures().join("kettle.mp3"), folder.path().join("kettle.mp3"))
        .expect("space on the disk");
    let server = Server::start(Router::new().fallback_service(ServeDir::new(folder.path())));
    let get = |to: &str| {
        grove(
            folder.path(),
            ["get", "--data", "viewer", "--listen", "127.0.0.1:0", "-o", to],
        )
        .arg(server.url("kettle.mp3"))
    };
    // Nobody listens there.
    let proxied = get("a.mp3")
        .env("HTTPS_PROXY", "http://127.0.0.1:9")
        .env("http_proxy", "http://127.0.0.1:9")
        .env("all_proxy", "")
        .run()
        .expect(0);
    let proxy = "note: http_proxy, HTTPS_PROXY are set and not used: servers and peers are reached directly, never through a proxy";
    let plain = get("b.mp3").run().expect(0);
    assert_eq!(notes(&proxied), [&[proxy][..], &notes(&plain)].concat());
}
