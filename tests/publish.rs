//! `grove publish`, `inspect` and `get` as processes: what is refused, and that a file and a stream have the same bytes.

mod common;

use common::{episode, grove, publish};
use std::io::{Read as _, Write as _};

#[test]
fn a_published_episode_is_inspected_and_downloaded() {
    let published = publish(Vec::<String>::new());
    let folder = tempfile::tempdir().expect("a folder");
    let url = published.origin.as_ref().expect("a server").url("episode.mp3");
    grove(folder.path(), ["inspect", &url, "--data", "state", "--json"])
        .run()
        .expect(0);
    grove(folder.path(), ["get", &url, "--data", "state", "-o", "whole.mp3"])
        .run()
        .expect(0);
    let stream = grove(folder.path(), ["get", &url, "--data", "state", "-o", "-"])
        .run()
        .expect(0);
    let master = std::fs::read(episode()).expect("the episode");
    assert!(
        std::fs::read(folder.path().join("whole.mp3")).expect("the result") == master,
        "the file is the master"
    );
    assert!(stream.stdout == master, "the stream is the master");
}

#[test]
fn links_to_stdout_are_stdout_and_other_links_stay() {
    let published = publish(Vec::<String>::new());
    let url = published.origin.as_ref().expect("a server").url("episode.mp3");
    let master = std::fs::read(episode()).expect("the episode");
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    for (to, link) in [
        ("/proc/self/fd/1", "stdout"),
        ("/proc/self/fd/0", "stdin"),
        ("there", "link"),
    ] {
        std::os::unix::fs::symlink(to, at(link)).expect("a link");
    }
    let get = |output: &str| grove(folder.path(), ["get", &url, "--data", "state", "-o", output]);
    let is_link = |name: &str| at(name).is_symlink();
    assert!(get("stdout").run().expect(0).stdout == master, "into a pipe");
    let creative = format!("1={}", common::fixtures().join("kettle.mp3").display());
    let splice = |output: &str| {
        let words = ["splice", "-o", output, "--ad", &creative];
        grove(folder.path(), words).arg(episode())
    };
    for command in [get("stdout"), splice("stdout")] {
        // As a shell has it: `grove … -o /dev/stdout > file`.
        let into = ["sh", "-c", "exec \"$@\" < stdin-file > file", "sh"];
        std::fs::write(at("stdin-file"), "theirs").expect("space on the disk");
        command.through(into).run().expect(0);
        assert!(is_link("stdout"), "it was replaced");
        assert!(std::fs::metadata(at("file")).expect("it is there").len() >= master.len() as u64 / 2);
    }
    for command in [get("stdin"), splice("stdin")] {
        let into = ["sh", "-c", "exec \"$@\" < stdin-file", "sh"];
        command
            .through(into)
            .run()
            .expect(1)
            .says("cannot write stdin: it leads into /dev or /proc, where nothing is replaced");
        assert!(is_link("stdin"), "it was replaced");
    }
    get("link").run().expect(0);
    assert!(is_link("link") && std::fs::read(at("there")).expect("it is there") == master);
    splice("link").run().expect(0);
    assert!(is_link("link") && std::fs::read(at("there")).expect("it is there") != master);
    assert_eq!(std::fs::read(at("stdin-file")).expect("it is there"), b"theirs");
}

#[test]
fn where_nothing_can_be_written_nothing_is_fetched() {
    let published = publish(Vec::<String>::new());
    let url = published.origin.as_ref().expect("a server").url("episode.mp3");
    let folder = tempfile::tempdir().expect("a folder");
    let long = format!("{}.mp3", "n".repeat(300));
    let ended = grove(folder.path(), ["get", &url, "--data", "state", "-o", &long])
        .run()
        .expect(1);
    let ended = ended.says("cannot write nnn").says("File name too long");
    assert!(
        !ended.stderr.contains("hint: what was fetched"),
        "{}",
        ended.stderr
    );
    let content = std::fs::read_dir(folder.path().join("state/store"));
    assert_eq!(content.map_or(0, Iterator::count), 0, "something was fetched");
    let creative = format!("1={}", common::fixtures().join("kettle.mp3").display());
    grove(folder.path(), ["splice", "-o", &long, "--ad", &creative])
        .arg("none.mp3")
        .run()
        .expect(1)
        .says("File name too long");
}

#[test]
fn rubbish_is_bad_input() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("rubbish.torrent"), b"d3:foo").expect("a file");
    std::fs::write(folder.path().join("empty.mp3"), b"").expect("a file");
    grove(folder.path(), ["inspect", "rubbish.torrent", "--data", "state"])
        .run()
        .expect(2)
        .says("not a valid .torrent");
    grove(folder.path(), ["get", "magnet:?dn=x", "--data", "state"])
        .run()
        .expect(2)
        .says("magnet");
    grove(
        folder.path(),
        [
            "publish",
            "empty.mp3",
            "--origin",
            "http://127.0.0.1:9/",
            "--data",
            "state",
        ],
    )
    .run()
    .expect(2)
    .says("empty");
}

#[test]
fn cue_points_are_put_in_order_and_impossible_ones_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(episode(), folder.path().join("episode.mp3")).expect("the episode");
    let origin = format!("http://{}/episode.mp3", common::closed_port());
    let publish = |cues: &[&str]| {
        let mut command = grove(folder.path(), ["publish", "episode.mp3", "--origin", &origin]);
        for cue in cues {
            command = command.arg("--cue").arg(cue);
        }
        command.run()
    };
    publish(&["9:00"]).expect(2).says("after the end");
    publish(&["5+10", "8"]).expect(2).says("0:08").says("replaces");
    publish(&["20", "0:20"]).expect(2).says("two cue points");
    let inline = format!("20={}", common::fixtures().join("kettle.mp3").display());
    grove(folder.path(), ["publish", "episode.mp3", "--origin", &origin])
        .args(["--cue", "20", "--ad", &inline])
        .run()
        .expect(2)
        .says("two cue points")
        .says("--ad makes a cue point by itself");
    // Two creatives play there in their order, as they do for `grove splice`.
    let second = format!("0:20={}", common::fixtures().join("boots.wav").display());
    grove(folder.path(), ["publish", "episode.mp3", "--origin", &origin])
        .args(["--ad", &inline, "--ad", &second, "--ad"])
        .arg(format!("5={}", common::fixtures().join("bank.m4a").display()))
        .run()
        .expect(0);
    let torrent = std::fs::read(folder.path().join("episode.mp3.torrent")).expect("it is published");
    let torrent = String::from_utf8_lossy(&torrent);
    let at = |what: &str| torrent.find(what).unwrap_or_else(|| panic!("no {what}"));
    assert!(at("bank.m4a") < at("kettle.mp3") && at("kettle.mp3") < at("boots.wav"));
    // And take the place of one span.
    let both = |ads: [&str; 2]| {
        let creative = common::fixtures().join("kettle.mp3");
        let ads = ads.map(|ad| format!("--ad={ad}={}", creative.display()));
        let args = ["publish", "episode.mp3", "--out", "both", "--origin", &origin];
        grove(folder.path(), args).args(ads).run()
    };
    both(["20+5", "0:20+0:05"]).expect(0);
    both(["20+5", "20+8"])
        .expect(2)
        .says("at 0:20.000 replaces the content up to 0:25.000, and another one up to 0:28.000");
    publish(&["20+500"])
        .expect(2)
        .says("at 0:20.000 replaces 8:20.000, and only ")
        .says("are left there");
    publish(&["100", "20"]).expect(0).says("nothing can play");
    let inspected = grove(folder.path(), ["inspect", "episode.mp3.torrent", "--json"])
        .run()
        .expect(0);
    let cues = inspected.event("inspected")["cue_sheet"]["cues"].to_string();
    let at = |what: &str| cues.find(what).unwrap_or_else(|| panic!("no {what}: {cues}"));
    assert!(at("cue-1") < at("cue-2"), "{cues}");
}

#[test]
fn options_that_come_to_nothing_are_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    std::fs::copy(episode(), at.join("episode.mp3")).expect("the episode");
    std::fs::create_dir(at.join("season")).expect("a folder within");
    let origin = format!("http://{}/", common::closed_port());
    let publish = |what: &str, more: &[&str]| {
        grove(at, ["publish", what, "--origin", &origin, "--out", "out"])
            .args(more)
            .run()
    };
    for tag in ["127.0.0.1:8090/vast?max=30", "ads", "ftp://ads.example/vast"] {
        publish("episode.mp3", &["--cue", "10", "--ads", tag])
            .expect(2)
            .says(tag)
            .says("no http or https URL");
    }
    publish("episode.mp3", &["--loudness", "-16"])
        .expect(2)
        .says("--cue");
    publish("season", &[]).expect(2).says("it is a folder");
    assert!(!at.join("out").exists(), "nothing was published");
    publish("episode.mp3", &["--key", "mine.key"])
        .expect(0)
        .says("nothing is signed with mine.key");
    assert!(!at.join("mine.key").exists(), "nor is a key made");
    // A server that gives whole files only.
    let site = whole_files(std::fs::read(at.join("episode.mp3")).expect("the episode"));
    grove(at, ["publish", "episode.mp3", "--origin", &site, "--out", "out"])
        .run()
        .expect(0)
        .says("whole files only");
    // The media itself is no source, and splicing needs no network.
    grove(at, ["get", "episode.mp3", "--data", "state"])
        .run()
        .expect(2)
        .says("episode.mp3 is no .torrent");
    let creative = format!("10={origin}ad.mp3");
    grove(at, ["splice", "episode.mp3", "--ad", &creative, "-o", "out.mp3"])
        .run()
        .expect(2)
        .says("fetch it first");
}

/// A web server that knows nothing of ranges: where its only file is.
fn whole_files(file: Vec<u8>) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it listens");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                file.len()
            );
            // Who looks at the head alone goes away before the rest.
            let _ = stream.write_all(&[head.as_bytes(), &file].concat());
        }
    });
    format!("http://{address}/episode.mp3")
}

#[test]
fn a_file_that_may_be_run_is_published_as_a_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    std::fs::copy(episode(), at.join("a.mp3")).expect("a file");
    let publish = |mode| {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(at.join("a.mp3"), permissions).expect("it is ours");
        let words = [
            "publish",
            "a.mp3",
            "--origin",
            "http://127.0.0.1:9/a.mp3",
            "--data",
            "state",
        ];
        grove(at, words).arg("--allow-private").run().expect(0);
        let torrent = std::fs::read(at.join("a.mp3.torrent")).expect("it was written");
        std::fs::remove_file(at.join("a.mp3.torrent")).expect("it is ours");
        engine::metainfo::Metainfo::parse(&torrent).expect("a torrent")
    };
    let (program, plain) = (publish(0o755), publish(0o654));
    assert!(program.files()[0].is_executable() && !plain.files()[0].is_executable());
    assert_ne!(program.info_hash_v2(), plain.info_hash_v2());
}

#[test]
fn whatever_a_file_is_called_its_url_is_one_that_other_clients_take() {
    let folder = tempfile::tempdir().expect("a folder");
    let name = "Show [Ep 12]|^{x}`%41#?.mp3";
    std::fs::copy(episode(), folder.path().join(name)).expect("a file");
    let encoded = "Show%20%5BEp%2012%5D%7C%5E%7Bx%7D%60%2541%23%3F.mp3";
    // As it is named below a folder, and as somebody typed it who left brackets as they were.
    let typed = encoded.replace("%5B", "[").replace("%5D", "]");
    for path in ["", &typed] {
        let origin = format!("http://127.0.0.1:9/{path}");
        let words = ["publish", name, "--origin", &origin, "--data", "state"];
        grove(folder.path(), words).arg("--allow-private").run().expect(0);
        let torrent = std::fs::read(folder.path().join(format!("{name}.torrent"))).expect("it was written");
        let torrent = engine::metainfo::Metainfo::parse(&torrent).expect("a torrent");
        assert_eq!(torrent.web_seeds(), [format!("http://127.0.0.1:9/{encoded}")]);
    }
}
