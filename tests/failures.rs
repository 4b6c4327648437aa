//! When things fail around a download: the episode arrives whole and without the ads that could not be had, or there is a clear error;
//! never a wrong file.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use common::{Finished, Server, episode, fixtures, grove, publish, publish_at, sha256};
use tempfile::TempDir;

/// A viewer's folder and command line for a published episode.
fn viewer(source: &str) -> (TempDir, common::Grove) {
    let folder = tempfile::tempdir().expect("a folder");
    let command = viewer_in(folder.path(), source);
    (folder, command)
}

/// The command line of a viewer whose state and result are in `folder`.
fn viewer_in(folder: &Path, source: &str) -> common::Grove {
    grove(
        folder,
        [
            "get",
            source,
            "--json",
            "--allow-private",
            "--listen",
            "127.0.0.1:0",
        ],
    )
    .arg("--data")
    .arg(folder.join("data"))
    .arg("-o")
    .arg(folder.join("out.mp3"))
}

/// The result is the master, to the byte, and the one break was left empty for a stated reason.
#[track_caller]
fn whole_and_without_ads(folder: &Path, finished: &Finished) -> String {
    let complete = finished.event("complete");
    assert_eq!(sha256(&folder.join("out.mp3")), sha256(&episode()), "{complete}");
    assert_eq!(complete["ads"].as_array().map(Vec::len), Some(0), "{complete}");
    let skipped = complete["skipped"].as_array().expect("a list of skipped breaks");
    assert_eq!(skipped.len(), 1, "{complete}");
    let reason = skipped[0]["reason"].as_str().expect("a reason").to_owned();
    assert!(!reason.is_empty());
    reason
}

#[track_caller]
fn with_ad_server(url: &str) -> (TempDir, Finished) {
    frozen_after(url, "2")
}

fn frozen_after(url: &str, seconds: &str) -> (TempDir, Finished) {
    let published = publish(["--cue", "30", "--ads", url]);
    let (folder, command) = viewer(&published.torrent_url());
    let finished = command.arg("--freeze").arg(seconds).run().expect(0);
    (folder, finished)
}

#[test]
fn an_ad_server_that_is_down() {
    let (folder, finished) = with_ad_server(&format!("http://{}/vast", common::closed_port()));
    whole_and_without_ads(folder.path(), &finished);
}

#[test]
fn an_ad_server_that_never_answers() {
    // The request is taken and never answered: only the viewer's own deadline ends the wait.
    let silent = Server::start(Router::new().route("/vast", get(std::future::pending::<StatusCode>)));
    let (folder, finished) = with_ad_server(&silent.url("vast"));
    whole_and_without_ads(folder.path(), &finished);
    assert!(
        silent.asked().iter().any(|asked| asked.starts_with("GET /vast")),
        "{:?}",
        silent.asked()
    );
}

#[test]
fn an_ad_server_that_talks_rubbish() {
    let rubbish = Server::start(Router::new().route("/vast", get(|| async { "this is no XML \u{1F980}" })));
    let (folder, finished) = with_ad_server(&rubbish.url("vast"));
    let complete = finished.event("complete");
    whole_and_without_ads(folder.path(), &finished);
    assert_eq!(complete["skipped"][0]["vast_error"], 100, "{complete}");
}

/// An ad server whose one creative, `/creative.mp3`, is answered by `creative`; the break must stay empty.
#[track_caller]
fn with_creative(creative: Router) -> serde_json::Value {
    with_creative_in(creative, "2")
}

/// The same, with so many seconds until everything has to be ready.
#[track_caller]
fn with_creative_in(creative: Router, seconds: &str) -> serde_json::Value {
    let vast = get(|headers: HeaderMap| async move {
        let host = headers[header::HOST].to_str().expect("a host in ASCII");
        let url = format!("http://{host}/creative.mp3");
        ad_splicer::decide::vast::inline_for_creative(
            &url,
            Duration::from_secs(10),
            None,
            "creative",
            "audio/mpeg",
        )
    });
    let host = Server::start(creative.route("/vast", vast));
    let (folder, finished) = frozen_after(&host.url("vast"), seconds);
    whole_and_without_ads(folder.path(), &finished);
    finished.event("complete")["skipped"][0].clone()
}

#[test]
fn a_creative_that_is_not_there() {
    let skipped = with_creative(Router::new());
    assert_eq!(skipped["vast_error"], 401, "{skipped}");
}

#[test]
fn a_creative_that_is_rubbish() {
    let rubbish: Vec<u8> = (0..200_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let skipped = with_creative(Router::new().route("/creative.mp3", get(move || async { rubbish })));
    assert_eq!(skipped["vast_error"], 405, "{skipped}");
}

#[test]
fn a_creative_that_is_empty() {
    let skipped = with_creative(Router::new().route("/creative.mp3", get(|| async { Vec::<u8>::new() })));
    assert!(skipped["vast_error"].is_u64(), "{skipped}");
}

#[test]
fn a_creative_of_ten_gigabytes() {
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&taken);
    let endless = get(move || async move {
        let zeros = Bytes::from(vec![0; 1 << 20]);
        let stream = futures_util::stream::repeat_with(move || {
            counted.fetch_add(zeros.len(), Ordering::Relaxed);
            Ok::<_, std::io::Error>(zeros.clone())
        });
        Body::from_stream(stream)
    });
    let skipped = with_creative(Router::new().route("/creative.mp3", endless));
    assert!(skipped["vast_error"].is_u64(), "{skipped}");
    assert!(
        taken.load(Ordering::Relaxed) < 1 << 30,
        "far more was taken than an ad may be"
    );
}

#[test]
fn a_creative_whose_host_falls_silent() {
    let stalls = get(|| async {
        let begun =
            futures_util::stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"ID3\x03\0")) });
        Body::from_stream(futures_util::StreamExt::chain(
            begun,
            futures_util::stream::pending(),
        ))
    });
    let skipped = with_creative(Router::new().route("/creative.mp3", stalls));
    assert!(skipped["vast_error"].is_u64(), "{skipped}");
}

#[test]
fn a_creative_that_lies_about_its_duration() {
    // The document says ten seconds.
    let folder = tempfile::tempdir().expect("a folder");
    let long = made(folder.path(), "long.mp3", "sine=440:d=25");
    let skipped = with_creative_in(
        Router::new().route("/creative.mp3", get(move || async { long })),
        "30",
    );
    assert_eq!(skipped["vast_error"], 202, "{skipped}");
}

#[test]
fn a_creative_that_decodes_for_ever() {
    let folder = tempfile::tempdir().expect("a folder");
    let bomb = made(folder.path(), "bomb.flac", "anullsrc=r=8000:cl=mono:d=10800");
    assert!(bomb.len() < 4 << 20, "three hours are {} bytes", bomb.len());
    let skipped = with_creative_in(
        Router::new().route("/creative.mp3", get(move || async { bomb })),
        "30",
    );
    assert_eq!(skipped["vast_error"], 405, "{skipped}");
}

/// A sound that ffmpeg makes.
fn made(folder: &Path, name: &str, source: &str) -> Vec<u8> {
    let status = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", source])
        .arg(folder.join(name))
        .status()
        .expect("ffmpeg runs (`make setup` installs it)");
    assert!(status.success());
    std::fs::read(folder.join(name)).expect("the file was made")
}

/// The first candidate's host falls silent: it has its time, is reported, and the next one plays.
#[test]
fn a_candidate_that_is_late_leaves_time_for_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let good = made(folder.path(), "good.mp3", "sine=440:d=10");
    let vast = get(|headers: HeaderMap| async move {
        let host = headers[header::HOST].to_str().expect("a host in ASCII");
        let ad = |name: &str| {
            format!(
                "<Ad id='{name}'><InLine><AdSystem>Hand</AdSystem><AdTitle>{name}</AdTitle>
                 <Error>http://{host}/error/{name}?[ERRORCODE]</Error><Impression>http://{host}/seen/{name}</Impression>
                 <Creatives><Creative><Linear><Duration>00:00:10</Duration><MediaFiles>
                 <MediaFile type='audio/mpeg'>http://{host}/{name}.mp3</MediaFile>
                 </MediaFiles></Linear></Creative></Creatives></InLine></Ad>"
            )
        };
        format!("<VAST version='4.2'>{}{}</VAST>", ad("silent"), ad("spare"))
    });
    let host = Server::start(
        Router::new()
            .route("/vast", vast)
            .route("/silent.mp3", get(std::future::pending::<()>))
            .route("/spare.mp3", get(move || async { good }))
            .fallback(|| async {}),
    );
    let (_folder, finished) = frozen_after(&host.url("vast"), "8");
    let complete = finished.event("complete");
    assert_eq!(complete["ads"][0]["ad_id"], "spare", "{complete}");
    assert_eq!(complete["skipped"][0]["vast_error"], 304, "{complete}");
    let asked = host.asked();
    let count = |path: &str| asked.iter().filter(|asked| asked.contains(path)).count();
    assert_eq!(
        (count("/error/silent?304"), count("/seen/spare")),
        (1, 1),
        "{asked:?}"
    );
    assert_eq!(
        (count("/error/spare"), count("/seen/silent")),
        (0, 0),
        "{asked:?}"
    );
}

/// A viewer of an episode whose origin was good when it was published, and answers as `then` says afterwards.
#[track_caller]
fn with_origin(then: Router) -> (TempDir, Finished) {
    let changed = Arc::new(AtomicBool::new(false));
    let good = Arc::new(std::fs::read(episode()).expect("the episode"));
    let switch = middleware::from_fn({
        let changed = Arc::clone(&changed);
        move |request: Request, next: Next| {
            let (changed, good) = (changed.load(Ordering::SeqCst), Arc::clone(&good));
            async move {
                if changed {
                    next.run(request).await
                } else {
                    ranged(&good, request.headers())
                }
            }
        }
    });
    let host = Server::start(then.fallback(|| async { StatusCode::NOT_FOUND }).layer(switch));
    let published = publish_at::<&str>(&host.url("episode.mp3"), []);
    changed.store(true, Ordering::SeqCst);
    let (folder, command) = viewer(published.torrent.to_str().expect("a UTF-8 path"));
    (folder, command.run())
}

#[test]
fn an_origin_that_ignores_ranges() {
    let bytes = std::fs::read(episode()).expect("the episode");
    let (folder, finished) = with_origin(Router::new().route("/episode.mp3", get(move || async { bytes })));
    finished.expect(0);
    assert_eq!(sha256(&folder.path().join("out.mp3")), sha256(&episode()));
}

#[test]
fn an_origin_with_other_bytes() {
    let mut bytes = std::fs::read(episode()).expect("the episode");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let (folder, finished) = with_origin(Router::new().route(
        "/episode.mp3",
        get(move |headers: HeaderMap| async move { ranged(&bytes, &headers) }),
    ));
    finished.expect(1).says("episode.mp3");
    assert!(!folder.path().join("out.mp3").exists(), "a wrong file was left");
}

#[test]
fn an_origin_with_a_file_of_another_length() {
    let mut bytes = std::fs::read(episode()).expect("the episode");
    bytes.truncate(bytes.len() - 1000);
    let (folder, finished) = with_origin(Router::new().route(
        "/episode.mp3",
        get(move |headers: HeaderMap| async move { ranged(&bytes, &headers) }),
    ));
    finished.expect(1).says("episode.mp3");
    assert!(!folder.path().join("out.mp3").exists(), "a wrong file was left");
}

#[test]
fn a_server_that_compresses_is_named_with_the_coding() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    std::fs::write(at.join("talk.mp3"), b"as it is").expect("space on the disk");
    let compressed = ([(header::CONTENT_ENCODING, "gzip")], "something else");
    let files = Router::new().route("/talk.mp3", get(move || async move { compressed }));
    let host = Server::start(files.fallback(|| async { StatusCode::NOT_FOUND }));
    let url = host.url("talk.mp3");
    let common = [
        "--json",
        "--allow-private",
        "--listen",
        "127.0.0.1:0",
        "--data",
        "data",
    ];
    for args in [
        &["publish", "talk.mp3", "--origin", &url][..],
        &["get", &url, "-o", "out.mp3"],
    ] {
        let refused = grove(at, args).args(common).run().expect(1);
        refused.says("in gzip (Content-Encoding)").says(&url);
    }
    assert!(!at.join("out.mp3").exists());
}

#[test]
fn an_origin_without_the_file() {
    let (folder, finished) = with_origin(Router::new());
    finished.expect(1).says("404");
    assert!(!folder.path().join("out.mp3").exists());
}

#[test]
fn an_origin_that_refuses_ranges() {
    let refuse = any(|| async { StatusCode::RANGE_NOT_SATISFIABLE });
    let (folder, finished) = with_origin(Router::new().route("/episode.mp3", refuse));
    finished.expect(1).says("416");
    assert!(!folder.path().join("out.mp3").exists());
}

#[test]
fn an_origin_that_asks_to_come_back_later() {
    let bytes = std::fs::read(episode()).expect("the episode");
    let asked = Arc::new(AtomicUsize::new(0));
    let busy = get(move |headers: HeaderMap| async move {
        if asked.fetch_add(1, Ordering::Relaxed) == 0 {
            return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response();
        }
        ranged(&bytes, &headers)
    });
    let (folder, finished) = with_origin(Router::new().route("/episode.mp3", busy));
    finished.expect(0);
    assert_eq!(sha256(&folder.path().join("out.mp3")), sha256(&episode()));
}

/// A plain Range server for one file in memory.
fn ranged(bytes: &[u8], headers: &HeaderMap) -> Response {
    let range = headers
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok())
        .and_then(|range| {
            let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
            let first: usize = first.parse().ok()?;
            let last = last
                .parse()
                .unwrap_or(usize::MAX)
                .min(bytes.len().saturating_sub(1));
            (first <= last).then_some((first, last))
        });
    match range {
        Some((first, last)) => (
            StatusCode::PARTIAL_CONTENT,
            [(
                header::CONTENT_RANGE,
                format!("bytes {first}-{last}/{}", bytes.len()),
            )],
            bytes[first..=last].to_vec(),
        )
            .into_response(),
        None if headers.contains_key(header::RANGE) => StatusCode::RANGE_NOT_SATISFIABLE.into_response(),
        None => bytes.to_vec().into_response(),
    }
}

#[test]
fn an_origin_that_is_down_while_a_peer_has_everything() {
    let published = publish::<&str>([]);
    let folder = tempfile::tempdir().expect("a folder");
    let torrent = folder.path().join("episode.mp3.torrent");
    std::fs::copy(&published.torrent, &torrent).expect("the torrent can be copied");
    let mut seed = grove(
        folder.path(),
        [
            "seed",
            "episode.mp3.torrent",
            "--json",
            "--allow-private",
            "--listen",
            "127.0.0.1:0",
        ],
    )
    .arg("--from")
    .arg(common::fixtures())
    .arg("--data")
    .arg(folder.path().join("seed"))
    .start();
    let listening = seed.wait_for("listening");
    let peer = listening["quic"][0]
        .as_str()
        .expect("the address that it listens on")
        .to_owned();
    drop(published);

    let (out, command) = viewer(torrent.to_str().expect("a UTF-8 path"));
    let finished = command.arg("--peer").arg(peer).run().expect(0);
    let complete = finished.event("complete");
    assert_eq!(complete["from_origin"], 0, "{complete}");
    assert_eq!(sha256(&out.path().join("out.mp3")), sha256(&episode()));
}

#[test]
fn a_full_disk_is_said_and_the_download_resumes() {
    let published = publish::<&str>([]);
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let out = folder.path().join("out.mp3");
    std::fs::create_dir(&data).expect("a folder");
    // A file system of its own that is too small; the second command finds it full to the last page. What it held is copied out, as a disk
    // would keep it.
    let script = format!(
        "mount -t tmpfs -o size=1500k none '{d}' || exit
        \"$0\" \"$@\" 2>'{first}'; echo $? >>'{first}'
        cat /dev/zero >'{d}/fill'
        \"$0\" \"$@\"; status=$?
        rm '{d}/fill'; mkdir '{kept}' && cp -a '{d}/.' '{kept}/'
        exit $status",
        d = data.display(),
        first = folder.path().join("first").display(),
        kept = folder.path().join("kept").display()
    );
    let words = ["unshare", "--map-root-user", "--mount", "sh", "-c", &script];
    let command = |data: &Path| {
        grove(
            folder.path(),
            [
                "get",
                &published.torrent_url(),
                "--json",
                "--allow-private",
                "--listen",
                "127.0.0.1:0",
            ],
        )
        .arg("--data")
        .arg(data)
        .arg("-o")
        .arg(&out)
    };
    let again = command(&data).through(words).run().expect(1);
    let first = std::fs::read_to_string(folder.path().join("first")).expect("what the first one said");
    assert!(
        first.contains("the disk is full") && first.ends_with("\n1\n"),
        "{first}"
    );
    let refused = again.event("error");
    let (error, hint) = (refused["error"].as_str(), refused["hint"].as_str());
    let is_named =
        |error: &str| error.contains("the disk is full") && error.contains(&*data.to_string_lossy());
    assert!(error.is_some_and(is_named), "{refused}");
    assert!(hint.is_some_and(|hint| hint.contains("make room")), "{refused}");
    // What is under the final name is whole, or nothing is.
    assert!(!out.exists() || sha256(&out) == sha256(&episode()));

    let finished = command(&folder.path().join("kept")).run().expect(0);
    let complete = finished.event("complete");
    let length = std::fs::metadata(episode()).expect("the episode").len();
    assert_eq!(sha256(&out), sha256(&episode()));
    assert!(
        complete["from_origin"].as_u64() < Some(length),
        "nothing was kept: {complete}"
    );
}

#[test]
fn a_full_folder_for_temporary_files_is_no_fault_of_what_was_given() {
    let folder = tempfile::tempdir().expect("a folder");
    let scratch = folder.path().join("scratch");
    std::fs::create_dir(&scratch).expect("a folder");
    let whole = folder.path().join("vorbis.webm");
    let made = std::process::Command::new("ffmpeg")
        .args("-v error -f lavfi -i anoisesrc=c=pink:a=0.2:r=48000:d=30 -c:a libvorbis".split(' '))
        .arg(&whole)
        .status();
    assert!(made.expect("ffmpeg runs (`make setup` installs it)").success());
    let kettle = format!("--ad=10={}", fixtures().join("kettle.mp3").display());
    let bank = format!("--ad=10={}", fixtures().join("bank.m4a").display());
    // There is no room for the creative, for its samples, for its packets by themselves, or for content that is coded again.
    for (size, content, ad, what) in [
        ("100k", episode(), &kettle, "kettle.mp3"),
        ("2m", episode(), &kettle, "kettle.mp3"),
        ("300k", episode(), &bank, "bank.m4a"),
        ("100k", whole, &kettle, "vorbis.webm"),
    ] {
        let mount = format!(
            "mount -t tmpfs -o size={size} none '{}' && exec \"$0\" \"$@\"",
            scratch.display()
        );
        let finished = grove(folder.path(), ["splice", "-o", "out", ad])
            .arg(&content)
            .env("TMPDIR", &scratch)
            .env("XDG_DATA_HOME", "/dev/null")
            .through(["unshare", "--map-root-user", "--mount", "sh", "-c", &mount])
            .run()
            .expect(1)
            .says(what)
            .says(&format!("the disk with the folder {}", scratch.display()))
            .says("is full")
            .says("TMPDIR");
        assert!(!finished.stderr.contains("cannot be used"), "{}", finished.stderr);
        assert!(!folder.path().join("out").exists());
    }
}

#[test]
fn no_result_that_did_not_fit_is_said_to_be_gone_on_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let small = folder.path().join("small");
    std::fs::create_dir(&small).expect("a folder");
    let mount = format!(
        "mount -t tmpfs -o size=100k none '{}' && exec \"$0\" \"$@\"",
        small.display()
    );
    let finished = grove(folder.path(), ["splice", "-o", "small/out.mp3"])
        .arg(format!("--ad=10={}", fixtures().join("kettle.mp3").display()))
        .arg(episode())
        .through(["unshare", "--map-root-user", "--mount", "sh", "-c", &mount])
        .run()
        .expect(1)
        .says("hint: make room on that disk, then run the same command again");
    assert!(!finished.stderr.contains("goes on"), "{}", finished.stderr);
}

#[test]
fn rubbish_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("bad.torrent"), b"d8:announce3:xyz").expect("a file");
    let run = |args: &[&str]| grove(folder.path(), args.iter().copied()).run();
    run(&["inspect", "bad.torrent"]).expect(2).says("bad.torrent");
    run(&["get", "bad.torrent", "-o", "x"])
        .expect(2)
        .says("bad.torrent");
    run(&["get", "magnet:?xt=urn:btmh:12zz", "-o", "x"])
        .expect(2)
        .says("magnet");
    std::fs::copy(episode(), folder.path().join("episode.mp3")).expect("the episode");
    let origin = &format!("http://{}/episode.mp3", common::closed_port());
    run(&["publish", "episode.mp3", "--origin", origin, "--cue", "12:99"])
        .expect(2)
        .says("12:99");
    std::fs::write(folder.path().join("breaks.vmap"), b"<vmap:VMAP><oops").expect("a file");
    run(&[
        "publish",
        "episode.mp3",
        "--origin",
        origin,
        "--cues",
        "breaks.vmap",
    ])
    .expect(2)
    .says("breaks.vmap");
    std::fs::write(folder.path().join("empty.mp3"), b"").expect("a file");
    run(&["publish", "empty.mp3", "--origin", origin])
        .expect(2)
        .says("empty.mp3");
    assert!(
        !folder.path().join("episode.mp3.torrent").exists(),
        "a refused publish left a file"
    );
}

#[test]
fn a_cue_sheet_of_another_key_is_refused_loudly() {
    let published = publish(["--cue", "30", "--ads", "http://127.0.0.1:9/vast"]);
    let (folder, command) = viewer(&published.torrent_url());
    command.arg("--freeze").arg("1").run().expect(0);

    // Somebody else signs a sheet for the same content and puts it where the first one was.
    grove(
        published.folder.path(),
        [
            "publish",
            "web/episode.mp3",
            "--json",
            "--allow-private",
            "--cue",
            "60",
            "--ads",
            "http://127.0.0.1:9/other",
        ],
    )
    .arg("--origin")
    .arg(published.torrent_url().trim_end_matches(".torrent"))
    .arg("--data")
    .arg(published.folder.path().join("thief"))
    .run()
    .expect(0);
    let again = grove(
        folder.path(),
        ["inspect", &published.torrent_url(), "--allow-private"],
    )
    .arg("--data")
    .arg(folder.path().join("data"))
    .run()
    .expect(2);
    again.says("key");
    viewer_in(folder.path(), &published.torrent_url())
        .arg("--freeze")
        .arg("1")
        .run()
        .expect(0)
        .says("key");
}
