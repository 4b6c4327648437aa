//! `grove get` and `play` of media without a `.torrent`, from a server that breaks off, is in trouble, changes the file or is no server of files: what comes
//! out is the file, or nothing.

mod common;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::response::{Html, IntoResponse as _, Redirect};
use common::gateway::Node;
use common::web::{Act, LENGTH, RATE, SOUND, Web, content};
use common::{Finished, Running, Server, grove};
use rustix::process::Signal;
use tempfile::TempDir;
use tower_http::services::ServeDir;

fn signal(running: &Running, signal: Signal) {
    let id = i32::try_from(running.child.id()).expect("process ids are i32");
    let id = rustix::process::Pid::from_raw(id).expect("process ids are above zero");
    rustix::process::kill_process(id, signal).expect("it can be signalled");
}

/// Waits until so much is kept.
fn until_kept(get: &mut Running, bytes: usize) {
    get.wait_until("it is kept", |line| {
        line["event"] == "progress" && line["kept_bytes"].as_u64() >= Some(bytes as u64)
    });
}

const TAG: &str = "\"one\"";

#[test]
fn what_breaks_off_is_gone_on_with_where_it_was() {
    let web = Web::new([
        Act::well(TAG).cut(1_000_000),
        Act::says(
            "503 Service Unavailable",
            "Retry-After: 1\r\nContent-Length: 0\r\n",
        ),
        Act::well(TAG).cut(0),
        Act::well(TAG).cut(500_000),
        Act::well(TAG),
    ]);
    let got = web.get().expect(0).says("it is asked for again, for up to 300 s");
    let complete = got.event("complete");
    assert_eq!(
        (complete["bytes"].as_u64(), complete["from_origin"].as_u64()),
        (Some(LENGTH as u64), Some(LENGTH as u64)),
        "nothing came twice: {complete}"
    );
    assert_eq!(
        (&complete["info_hash"], &complete["wasted"]),
        (&serde_json::Value::Null, &0.into())
    );
    web.is_out(0);
    let first = Some(1_000_000);
    assert_eq!(web.froms(), [None, first, first, first, Some(1_500_000)]);
    let asked = web.asked();
    assert!(
        asked[1..]
            .iter()
            .all(|asked| asked.if_range.as_deref() == Some(TAG)),
        "{asked:?}"
    );
    assert_eq!(web.kept(), 0, "what is whole is in its place alone");

    // By the time of its last change, where there is no ETag that says as much.
    let dated = || Act {
        headers: "ETag: W/\"one\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n".into(),
        ..Act::well("")
    };
    web.acts([dated().cut(1_000_000), dated()]);
    web.get().expect(0);
    web.is_out(0);
    let last = web.asked().pop().expect("it was asked");
    assert_eq!(
        (last.from, last.if_range.as_deref()),
        (first, Some("Sun, 06 Nov 1994 08:49:37 GMT"))
    );

    // To stdout too.
    web.acts([Act::well(TAG).cut(1_000_000), Act::well(TAG)]);
    let got = web.command("get").args(["-o", "-"]).run().expect(0);
    assert!(got.stdout == content(0), "{} bytes", got.stdout.len());
}

#[test]
fn parts_of_two_versions_are_never_joined() {
    let second = || Act {
        version: 1,
        ..Act::well("\"two\"")
    };
    let unlabelled = || Act {
        headers: String::new(),
        ..Act::well("")
    };
    let other_part = |headers: &str| Act {
        // It gives the range whatever `If-Range` says.
        headers: format!("{headers}X-Heeds: {TAG}\r\n"),
        ..second()
    };
    for (then, version, said, froms) in [
        // It changed meanwhile.
        (
            vec![second()],
            1,
            "it has changed, or its server gives no parts",
            2,
        ),
        // Its server gives whole files only.
        (
            vec![Act {
                ranges: false,
                ..Act::well(TAG)
            }],
            0,
            "it has changed, or its server gives no parts",
            2,
        ),
        // Its server gives parts of another version.
        (
            vec![other_part("ETag: \"two\"\r\n"), second()],
            1,
            "the parts that its server gives do not fit",
            3,
        ),
        (
            vec![other_part(""), unlabelled()],
            0,
            "the parts that its server gives do not fit",
            3,
        ),
        (
            vec![
                Act::says("416 Range Not Satisfiable", "Content-Length: 0\r\n"),
                Act::well(TAG),
            ],
            0,
            "the parts that its server gives do not fit",
            3,
        ),
    ] {
        let mut acts = vec![Act::well(TAG).cut(1_000_000)];
        acts.extend(then);
        let web = Web::new(acts);
        let got = web.get().expect(0).says("is begun anew").says(said);
        assert_eq!(got.event("complete")["wasted"], 1_000_000);
        web.is_out(version);
        let asked = web.froms();
        assert_eq!((asked.len(), asked[1]), (froms, Some(1_000_000)), "{asked:?}");
        assert_eq!(asked[2..], [None][..froms - 2], "{asked:?}");
    }
    // Without a validator nothing is gone on with.
    for headers in [
        "",
        "ETag: W/\"one\"\r\n",
        // It may have changed again in that second.
        "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
    ] {
        let act = || Act {
            headers: headers.to_owned(),
            ..Act::well("")
        };
        let web = Web::new([act().cut(1_000_000), act()]);
        web.get()
            .expect(0)
            .says("nothing that would tell another version from it");
        web.is_out(0);
        assert_eq!(web.froms(), [None, None], "{headers}");
        // What went to stdout cannot be taken back.
        web.acts([act().cut(1_000_000), act()]);
        let got = web.command("get").args(["-o", "-"]).run().expect(1);
        got.says("and cannot be gone on with");
    }
}

#[test]
fn a_page_in_place_of_the_file_is_waited_out_and_nothing_is_given_up_for_it() {
    let half = LENGTH / 2;
    let web = Web::new([Act::well(TAG).cut(half), Act::well(TAG)]);
    // The name that is asked for tells that it is media. Of each of these requests it says whether a portal answers it, and what.
    let portal: Arc<Mutex<VecDeque<Option<&str>>>> = Arc::default();
    let (place, queue) = (web.url(), Arc::clone(&portal));
    let answer = move || {
        let page = queue.lock().expect("not poisoned").pop_front().flatten();
        let answered = match page {
            Some(text) => Html(text.to_owned()).into_response(),
            None => Redirect::temporary(&place).into_response(),
        };
        std::future::ready(answered)
    };
    let named = Server::start(Router::new().route("/thing.mp3", axum::routing::get(answer)));
    let answers = |all: &[Option<&'static str>]| portal.lock().expect("not poisoned").extend(all);
    let fetch = || {
        let more = ["--json", "-o", "out.bin"];
        get(web.folder.path(), &named.url("thing.mp3"), &more)
    };
    answers(&[None, Some("  <!doctype html><p>Sign in")]);
    let got = fetch().expect(0);
    assert!(!got.stderr.contains("begun anew"), "{}", got.stderr);
    assert!(portal.lock().expect("not poisoned").is_empty(), "it saw the page");
    assert_eq!(got.event("complete")["wasted"], 0);
    web.is_out(0);
    assert_eq!(web.froms(), [None, Some(half)]);
    // Before anything came.
    answers(&[Some("<html>")]);
    fetch()
        .expect(0)
        .says("the server answered with a web page instead of the file");
    web.is_out(0);

    // What a script sends as a page is none by how it begins.
    answers(&[Some("ID3, as it were")]);
    fetch().expect(0);
    let out = web.folder.path().join("out.bin");
    assert_eq!(std::fs::read(&out).expect("the result"), b"ID3, as it were");
    std::fs::remove_file(out).expect("it is there");
    // Where the name does not tell what it is, a page may be what is asked for.
    web.acts([Act {
        headers: format!("ETag: {TAG}\r\nContent-Type: text/html\r\n"),
        ..Act::well("")
    }]);
    web.get().expect(0);
    web.is_out(0);
}

#[test]
fn a_killed_download_goes_on_and_is_begun_anew_when_the_file_changed() {
    let held = |version: u64, tag: &str, gives| Act {
        version,
        gives,
        holds: true,
        ..Act::well(tag)
    };
    let web = Web::new([held(0, TAG, 1_000_000)]);
    let mut get = web.start();
    until_kept(&mut get, 1_000_000);
    get.kill();
    web.nothing_is_out();
    web.acts([held(0, TAG, 400_000)]);
    let mut get = web.start();
    until_kept(&mut get, 1_400_000);
    // Another one on the same data folder does it no harm.
    let other = web.command("get").args(["-o", "other.bin"]).run().expect(1);
    other
        .says("is in use by another process (pid ")
        .says("--data DIR");
    web.command("remove")
        .run()
        .expect(1)
        .says("stop the command that uses it first");
    get.kill();
    web.acts([Act::well(TAG)]);
    let complete = web.get().expect(0).event("complete");
    assert_eq!(complete["from_origin"], LENGTH - 1_400_000, "{complete}");
    web.is_out(0);
    assert_eq!(web.froms(), [None, Some(1_000_000), Some(1_400_000)]);

    // Now it changes between two commands.
    web.acts([held(0, TAG, 1_000_000)]);
    let mut get = web.start();
    until_kept(&mut get, 1_000_000);
    get.kill();
    web.acts([Act {
        version: 1,
        ..Act::well("\"two\"")
    }]);
    web.get().expect(0).says("it has changed");
    web.is_out(1);
    web.open();
}

#[test]
fn what_is_kept_is_said_and_can_be_removed() {
    let asks_for_patience = "Retry-After: 3600\r\nContent-Length: 0\r\n";
    let web = Web::new([
        Act::well(TAG).cut(1_000_000),
        Act::says("429 Too Many Requests", asks_for_patience),
    ]);
    let gave_up = web.get().expect(1).says("only 1.00 MB of 3.00 MB are here");
    gave_up
        .says("and asks to come again in 3600 s")
        .says("what was fetched is kept: the same command goes on from there");
    web.nothing_is_out();
    // What is refused now may be given another time.
    web.acts([Act::says("403 Forbidden", "Content-Length: 0\r\n")]);
    web.get()
        .expect(1)
        .says("the server answered 403")
        .says("the same command goes on");
    web.acts([Act {
        gives: 500_000,
        holds: true,
        ..Act::well(TAG)
    }]);
    let mut get = web.start();
    until_kept(&mut get, 1_500_000);
    let (status, said) = get.end();
    assert_eq!(status, Some(130), "{said}");
    assert!(
        said.contains("stopped with 1.50 MB of 3.00 MB here; the same command goes on from there"),
        "{said}"
    );
    assert_eq!(web.kept(), 1);
    let removed = web
        .command("remove")
        .arg("--json")
        .run()
        .expect(0)
        .event("removed");
    assert!(
        removed["bytes"].as_u64() >= Some(1_500_000) && removed["info_hash"].is_null(),
        "{removed}"
    );
    assert_eq!(web.kept(), 0);
    web.command("remove").run().expect(0).says("nothing is kept of");
    web.acts([Act::well(TAG)]);
    web.get().expect(0);
    assert_eq!(web.froms().pop(), Some(None), "it begins anew");

    // What cannot be gone on with is not kept, and not said to be.
    web.acts([
        Act {
            headers: String::new(),
            ..Act::well("").cut(1_000_000)
        },
        Act::says("429 Too Many Requests", asks_for_patience),
    ]);
    std::fs::remove_file(web.folder.path().join("out.bin")).expect("it is there");
    let gave_up = web.get().expect(1);
    assert!(!gave_up.stderr.contains("the same command"), "{}", gave_up.stderr);
    assert_eq!(web.kept(), 0);
    web.open();
}

#[test]
fn a_rate_is_kept_to_in_transfers_of_seconds_too() {
    const RATE: f64 = 2e6;
    let web = Web::new([Act::well(TAG)]);
    let command = web
        .command("get")
        .args(["--json", "-o", "out.bin", "--down", "2M"]);
    let complete = command.run().expect(0).event("complete");
    let least = LENGTH as f64 / RATE / 1.05;
    assert!(
        complete["seconds"].as_f64() > Some(least),
        "{complete}, {least} s"
    );
}

#[test]
fn what_is_here_is_told_apart_from_what_is_kept() {
    let web = Web::new([Act {
        headers: String::new(),
        holds: true,
        ..Act::well("").cut(1_000_000)
    }]);
    let mut get = web.start();
    let progress = get.wait_until("it is here", |line| {
        line["event"] == "progress" && line["have_bytes"].as_u64() >= Some(1_000_000)
    });
    assert_eq!(
        progress["kept_bytes"], 0,
        "nothing says which version it is: {progress}"
    );
    get.kill();
    web.open();
}

#[test]
fn what_is_not_all_of_the_file_is_not_taken_for_it() {
    let part = |range: &str| Act {
        status: "206 Partial Content",
        headers: format!("Content-Range: bytes {range}\r\nETag: {TAG}\r\n"),
        states: Some(1_000_000),
        ranges: false,
        ..Act::well("").cut(1_000_000)
    };
    for (act, said) in [
        (
            Act::says("204 No Content", ""),
            "the server answered 204 No Content, which is not the file",
        ),
        (
            Act::says("202 Accepted", "Content-Length: 0\r\n"),
            "the server answered 202 Accepted",
        ),
        (
            part("0-999999/3000000"),
            "the server answered 206 Partial Content, which is not the file",
        ),
        (
            part("0-999999/1000000"),
            "the server answered 206 Partial Content, which is not the file",
        ),
        (
            Act::says("416 Range Not Satisfiable", "Content-Length: 0\r\n"),
            "the server answered 416",
        ),
        (
            Act {
                headers: "Content-Encoding: gzip\r\n".into(),
                ..Act::well("")
            },
            "the server sends it in gzip (Content-Encoding)",
        ),
    ] {
        let web = Web::new([act]);
        let got = web.get().expect(1).says(said);
        assert!(
            got.json().iter().all(|line| line["event"] != "complete"),
            "{said}"
        );
        web.nothing_is_out();
        assert_eq!((web.froms(), web.kept()), (vec![None], 0), "{said}");
    }
    // A server that never gives more than a part of what is asked for is asked on.
    let web = Web::new([
        Act::well(TAG).cut(2_000_000),
        capped(2_000_000),
        capped(2_500_000),
    ]);
    web.get().expect(0);
    web.is_out(0);
    assert_eq!(web.froms(), [None, Some(2_000_000), Some(2_500_000)]);
    // Nothing of a body that is of unknown length is missing when it ends.
    let web = Web::new([Act {
        states: None,
        ..Act::well(TAG)
    }]);
    web.get().expect(0);
    web.is_out(0);
}

/// An answer with half a million bytes and no more, whatever is asked for.
fn capped(start: usize) -> Act {
    let last = start + 499_999;
    Act {
        status: "206 Partial Content",
        headers: format!("Content-Range: bytes {start}-{last}/{LENGTH}\r\nETag: {TAG}\r\n"),
        ranges: false,
        start,
        states: Some(last + 1),
        gives: 500_000,
        ..Act::well("")
    }
}

#[test]
fn progress_is_told_and_signals_pause_it() {
    let web = Web::new([Act {
        gives: 500_000,
        holds: true,
        ..Act::well(TAG)
    }]);
    let mut get = web.start();
    until_kept(&mut get, 500_000);
    let line = get.wait_for("progress");
    assert_eq!(
        (&line["content_bytes"], &line["state"]),
        (&LENGTH.into(), &"downloading".into())
    );
    for field in [
        "from_origin",
        "from_peers",
        "wasted",
        "uploaded",
        "peers",
        "down_rate",
    ] {
        assert!(line[field].is_u64(), "{field}: {line}");
    }
    signal(&get, Signal::USR1);
    get.wait_for("paused");
    web.open();
    let paused = |line: &serde_json::Value| line["state"] == "paused";
    let mut latest = get.wait_until("a report of the pause", paused);
    // One piece that was under way may come; the rest waits in the network.
    loop {
        let next = get.wait_until("another one", paused);
        if next["from_origin"] == latest["from_origin"] {
            break;
        }
        latest = next;
    }
    assert!(latest["from_origin"].as_u64() < Some(LENGTH as u64), "{latest}");
    signal(&get, Signal::USR2);
    get.wait_for("resumed");
    let complete = get.wait_for("complete");
    assert_eq!(complete["from_origin"], LENGTH, "{complete}");
    assert_eq!(get.finish().0, Some(0));
    web.is_out(0);
}

#[test]
fn a_limit_holds_back_what_comes_too_fast() {
    let web = Web::new([Act::well(TAG)]);
    let get = web.command("get").args(["--json", "-o", "out.bin"]);
    let mut get = get.args(["--down", "1k"]).start();
    // At this rate it takes most of an hour.
    for _ in 0..3 {
        let came = get.wait_until("something came", |line| {
            line["event"] == "progress" && line["from_origin"].as_u64() > Some(0)
        });
        assert!(came["from_origin"].as_u64() < Some(LENGTH as u64), "{came}");
    }
    get.kill();
    web.nothing_is_out();
}

#[test]
fn a_result_that_cannot_be_written_is_an_error_before_anything_is_fetched() {
    let web = Web::new([Act::well(TAG)]);
    std::fs::write(web.folder.path().join("file"), "in the way").expect("space on the disk");
    let out = Path::new("file/out.bin");
    let got = web.command("get").arg("-o").arg(out).run().expect(1);
    got.says("cannot write file/out.bin");
    assert!(web.asked().is_empty());
}

/// Sound that can be played, of which the server gives so much before it does anything else.
fn sound(gives: usize) -> Act {
    Act {
        version: SOUND,
        ..Act::well(TAG).cut(gives)
    }
}

fn seconds(line: &serde_json::Value) -> f64 {
    line["at"].as_f64().expect("a time")
}

#[test]
fn it_is_played_while_it_comes_and_what_came_is_kept() {
    let web = Web::new([Act {
        holds: true,
        ..sound(LENGTH / 2)
    }]);
    let mut player = web.command("play").args(["--sink", "null", "--json"]).start();
    player.wait_until("a second of what is here", |line| {
        line["event"] == "position" && seconds(line) > 1.0
    });
    web.open();
    let done = player.wait_for("done");
    let lasts = (LENGTH - 44) as f64 / f64::from(RATE);
    assert!((seconds(&done) - lasts).abs() < 0.1, "{done} of {lasts} s");
    assert_eq!(player.finish().0, Some(0));

    web.acts([sound(LENGTH)]);
    web.get().expect(0);
    assert_eq!(web.froms().last(), Some(&Some(LENGTH - 1)));
    web.is_out(SOUND);
}

#[test]
fn that_the_rest_has_changed_or_cannot_be_had_is_said() {
    let gone = Act::says("404 Not Found", "Content-Length: 0\r\n");
    for (next, says) in [
        (Act::well("\"two\""), "has changed on its server"),
        (gone, "404 Not Found"),
    ] {
        let web = Web::new([sound(LENGTH / 2), next]);
        let played = web.command("play").args(["--sink", "null", "--json"]).run();
        played.expect(1).says(says);
    }
}

#[test]
fn a_broadcast_is_refused_at_once_and_media_of_unknown_length_is_not() {
    let unmeasured = |headers: &str| Act {
        states: None,
        ranges: false,
        headers: headers.to_owned(),
        ..sound(LENGTH)
    };
    let web = Web::new([Act {
        holds: true,
        ..unmeasured("icy-name: Radio\r\nicy-br: 128\r\n").cut(LENGTH / 2)
    }]);
    let played = web.command("play").args(["--sink", "null", "--json"]).run();
    played
        .expect(2)
        .says("it is a broadcast (internet radio), and what is played here has an end")
        .says("hint: `grove get URL -o -` gives what comes to a player");
    assert_eq!(web.kept(), 0);
    web.acts([unmeasured("")]);
    let mut player = web
        .command("play")
        .args(["--sink", "null", "--json", "--start", "6"])
        .start();
    player.wait_for("done");
    assert_eq!(player.finish().0, Some(0));
}

#[test]
fn play_goes_on_with_what_get_has_not_finished() {
    let web = Web::new([Act {
        holds: true,
        ..sound(LENGTH / 2)
    }]);
    let mut get = web.start();
    until_kept(&mut get, LENGTH / 2);
    get.kill();
    web.acts([sound(LENGTH)]);
    let mut player = web
        .command("play")
        .args(["--sink", "null", "--json", "--start", "6"])
        .start();
    let done = player.wait_for("done");
    assert!(seconds(&done) > 7.5, "{done}");
    assert_eq!(player.finish().0, Some(0));
    assert_eq!(web.froms(), [None, Some(LENGTH / 2)]);
}

/// A `.torrent` of version 1 alone, with these bytes somewhere in it.
fn version_1(comment: &str) -> Vec<u8> {
    let comment = format!("7:comment{}:{comment}", comment.len());
    let head =
        format!("d{comment}4:infod6:lengthi300000e4:name9:thing.bin12:piece lengthi16384e6:pieces380:");
    [head.into_bytes(), vec![b'x'; 19 * 20], b"ee".to_vec()].concat()
}

/// A folder that is served, as any web server does.
fn served() -> (TempDir, Server) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("web")).expect("a folder");
    let files = ServeDir::new(folder.path().join("web"));
    let server = Server::start(Router::new().fallback_service(files));
    (folder, server)
}

fn get(folder: &Path, source: &str, more: &[&str]) -> Finished {
    let words = [
        "get",
        source,
        "--allow-private",
        "--listen",
        "127.0.0.1:0",
        "--data",
        "data",
    ];
    grove(folder, words).args(more).run()
}

#[test]
fn media_beside_a_torrent_of_version_1_is_fetched_as_it_is() {
    let (folder, server) = served();
    let put = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join("web").join(name), bytes).expect("space on the disk");
    };
    put("thing.bin", &content(0));
    put("thing.bin.torrent", &version_1("old"));
    put(
        "feed.xml",
        format!(
            "<rss xmlns:podcast=\"https://podcastindex.org/namespace/1.0\"><channel><item><guid>1</guid><enclosure url=\"thing.bin\"/>\
             <podcast:alternateEnclosure><podcast:source uri=\"{}\" contentType=\"application/x-bittorrent\"/>\
             </podcast:alternateEnclosure></item></channel></rss>",
            server.url("thing.bin.torrent")
        )
        .as_bytes(),
    );
    let url = server.url("thing.bin");
    let why = "is of no use here: this is a version 1 torrent only";
    let out = folder.path().join("out.bin");
    for (source, more) in [
        (url.clone(), &["-o", "out.bin"][..]),
        (server.url("feed.xml"), &["-o", "out.bin", "--episode", "1"]),
    ] {
        let got = get(folder.path(), &source, more).expect(0);
        got.says(why)
            .says("it is fetched as it is, and cannot be verified or shared");
        assert!(std::fs::read(&out).expect("the result") == content(0));
        std::fs::remove_file(&out).expect("it is there");
    }
    let node = Node::start(folder.path(), "node", &["--allow-private"]);
    let sent = node.get(&format!("/{url}"), &[]).expect(307);
    assert_eq!(sent.header("location"), url);
    assert!(sent.text().contains(why), "{}", sent.text());
    node.stop();

    // Whoever names the `.torrent` itself means it.
    let named = get(folder.path(), &format!("{url}.torrent"), &["-o", "out.bin"]).expect(2);
    named
        .says("is not a valid .torrent: this is a version 1 torrent only")
        .says("hint: ask for one of version 2 (or hybrid), or name the address of the media itself");
    // One of our kind that is broken is not passed over.
    put("thing.bin.torrent", &version_1("9:file tree")[..200]);
    let broken = get(folder.path(), &url, &["-o", "out.bin"]).expect(2);
    broken.says("is not a valid .torrent");
    assert!(!out.exists());
}

#[test]
fn a_file_is_named_as_its_url_reads() {
    let (folder, server) = served();
    for (path, name) in [
        ("%C3%BCn%C3%AF.bin", "ünï.bin"),
        ("sp%20ace.bin", "sp ace.bin"),
        ("sp ace 2.bin", "sp ace 2.bin"),
    ] {
        std::fs::write(folder.path().join("web").join(name), name).expect("space on the disk");
        get(folder.path(), &server.url(path), &[]).expect(0);
        let got = std::fs::read(folder.path().join(name)).expect("it has this name");
        assert_eq!(got, name.as_bytes());
    }
}

#[test]
fn an_episode_without_media_is_said_and_is_not_the_latest() {
    let (folder, server) = served();
    let put = |name: &str, text: &str| {
        std::fs::write(folder.path().join("web").join(name), text).expect("space on the disk");
    };
    put("thing.bin", "media");
    put(
        "feed.xml",
        "<rss><channel><item><guid>text</guid></item><item><guid>g7</guid><enclosure url=\"\" type=\"audio/mpeg\"/></item>\
         <item><guid>self</guid><enclosure url=\"#t\"/></item>\
         <item><guid>media</guid><enclosure url=\"thing.bin\"/></item></channel></rss>",
    );
    let feed = server.url("feed.xml");
    for (episode, said) in [
        (
            "text",
            format!("episode text of {feed} has no enclosure with a URL"),
        ),
        ("g7", format!("episode g7 of {feed} has no enclosure with a URL")),
        (
            "self",
            format!("the enclosure of episode self of {feed} is the feed itself"),
        ),
    ] {
        get(folder.path(), &feed, &["--episode", episode])
            .expect(2)
            .says(&said);
        assert!(!folder.path().join("feed.xml").exists());
    }
    put(
        "feed.xml",
        "<rss><channel><item><guid>text</guid></item><item><guid>g7</guid><enclosure url=\"\"/></item>\
         <item><guid>media</guid><enclosure url=\"thing.bin\"/></item></channel></rss>",
    );
    get(folder.path(), &feed, &["--episode", "latest"]).expect(0);
    assert_eq!(
        std::fs::read(folder.path().join("thing.bin")).expect("the result"),
        b"media"
    );
    let remove = |more: &[&str]| {
        let words = ["remove", &feed, "--allow-private", "--data", "data"];
        grove(folder.path(), words).args(more).run()
    };
    remove(&["--episode", "latest"])
        .expect(0)
        .says("nothing is kept of");
    remove(&[]).expect(2).says("--episode latest");
}
