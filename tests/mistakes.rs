//! What commands say of wrong input: one sentence that names each thing once, a hint where there is something to do, and the exit status for bad input.

mod common;

use common::{episode, fixtures, grove};

#[test]
fn a_mistake_is_told_once_and_by_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let path = |name: &str| at.join(name);
    std::fs::copy(fixtures().join("kettle.mp3"), path("talk.mp3")).expect("space on the disk");
    std::fs::write(path("words.txt"), "hello\n").expect("space on the disk");
    std::fs::write(path("empty.mp3"), "").expect("space on the disk");
    std::fs::write(path("a.torrent"), "words").expect("space on the disk");
    std::fs::create_dir(path("hollow")).expect("a folder");
    let hollow = path("hollow").canonicalize().expect("it is there");
    let sending = format!(
        "error: cannot send {}: there is no file in it that is not empty\nhint: what is sent is bytes: put it into an archive, or into a \
         folder beside a file that is not empty",
        hollow.display()
    );
    let made = std::process::Command::new("mkfifo").arg(path("pipe")).status();
    assert!(made.expect("mkfifo (coreutils)").success());
    for own in ["a", "b"] {
        std::fs::create_dir(path(own)).expect("a folder");
        std::fs::copy(path("talk.mp3"), at.join(own).join("talk.mp3")).expect("space on the disk");
    }
    let origin = "--origin=http://127.0.0.1:9/";
    for (args, said) in [
        (
            &["splice", "talk.mp3", "-o", "o.mp3", "--ad=1=none.mp3"][..],
            "error: the creative none.mp3 cannot be used: it cannot be read: No such file or directory (os error 2)",
        ),
        (
            &["splice", "talk.mp3", "-o", "o.mp3", "--ad=1=empty.mp3"],
            "error: the creative empty.mp3 cannot be used: it is empty",
        ),
        (
            &["splice", "talk.mp3", "-o", "o.mp3", "--ad=1=."],
            "error: the creative . cannot be used: it cannot be read: Is a directory (os error 21)",
        ),
        (
            &["splice", ".", "-o", "o.mp3", "--ad=1=talk.mp3"],
            "error: ads cannot be put into .: cannot read the content at byte 0: Is a directory (os error 21)",
        ),
        (
            &["splice", "talk.mp3", "-o", ".", "--ad=1=talk.mp3"],
            "error: . is a folder\nhint: name a file with -o",
        ),
        (
            &["publish", "talk.mp3", origin, "--ad=1=words.txt"],
            "error: the creative words.txt cannot be used: Could not determine type of stream",
        ),
        (
            &["publish", "talk.mp3", origin, "--ad=1=none.mp3"],
            "error: the creative none.mp3 cannot be used: it cannot be read: No such file or directory (os error 2)",
        ),
        (
            &["publish", "empty.mp3", origin],
            "error: cannot publish empty.mp3: it is empty",
        ),
        (
            &["get", "a.torrent", "-o", "./a.torrent"],
            "error: a.torrent would be overwritten by what it leads to\nhint: name another file with -o",
        ),
        (&["send", "hollow"], &sending),
        (
            &["send", "pipe"],
            "error: cannot send pipe: it is a pipe, not a file",
        ),
        (
            &["publish", "pipe", origin],
            "error: cannot publish pipe: it is a pipe, not a file",
        ),
        (
            &["seed", "pipe"],
            "error: cannot seed pipe: it is a pipe, not a file",
        ),
        (
            &["get", "pipe", "-o", "o.mp3"],
            "error: cannot read pipe: it is a pipe, not a file",
        ),
        (
            &["inspect", "pipe"],
            "error: cannot read pipe: it is a pipe, not a file",
        ),
        (
            &["inspect", "/dev/zero"],
            "error: cannot read /dev/zero: it is a device, not a file",
        ),
        (
            &["publish", "a/talk.mp3", "b/talk.mp3", origin, "--out", "out"],
            "error: a/talk.mp3 and b/talk.mp3 would both be uploaded to http://127.0.0.1:9/talk.mp3: give one of them another name",
        ),
        (
            &["get", "MAGNET:?dn=x"],
            "error: this magnet link is not valid: the magnet link has no info hash (`xt=urn:btmh:…` or `xt=urn:btih:…`)",
        ),
    ] {
        let ended = grove(at, args).run().expect(2);
        let told: Vec<&str> = ended
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: ") || line.starts_with("hint: "))
            .collect();
        assert_eq!(told.join("\n"), said, "{args:?}");
    }
    assert!(!path("o.mp3").exists() && !path("out").exists());
}

/// What a shell has opened for a command comes to an end with who writes it.
#[test]
fn a_source_may_come_through_a_pipe_that_is_open() {
    let published = common::publish::<&str>([]);
    let torrent = published.torrent.display();
    let script = format!("cat '{torrent}' | \"$0\" \"$@\"");
    let shown = grove(published.folder.path(), ["inspect", "/dev/stdin", "--json"])
        .through(["sh", "-c", &script])
        .run()
        .expect(0);
    assert_eq!(shown.json()[0]["name"], "episode.mp3");
}

#[test]
fn a_terminal_that_nothing_is_written_into_is_called_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let shown = grove(folder.path(), ["inspect", "/dev/stdin"]).at_terminal();
    shown.wait_for("error: cannot read /dev/stdin: it is a terminal, not a file");
    shown.wait_for("hint: let another command write into it, as in `cat FILE | grove … /dev/stdin`");
    assert_eq!(shown.finish(), Some(2));
}

#[test]
fn wrong_arguments_are_an_error_event_too() {
    let folder = tempfile::tempdir().expect("a folder");
    for args in [
        &["--json", "get"][..],
        &["get", "a.torrent", "--json", "--up", "fast"],
        &["seed", "a.torrent", "--json", "--peer", "nobody"],
        &["walk", "--json"],
        &[
            "publish",
            "a.mp3",
            "--json",
            "--origin=http://127.0.0.1:9/",
            "--valid-for",
            "0.9",
        ],
    ] {
        let ended = grove(folder.path(), args).run().expect(2).says("error: ");
        let told = ended.json();
        let [error] = told.as_slice() else {
            panic!("{args:?}: not one object: {told:?}")
        };
        assert_eq!(
            (&error["event"], &error["status"]),
            (&"error".into(), &2.into()),
            "{args:?}"
        );
        let first = error["error"].as_str().expect("a sentence");
        assert!(!first.contains("Usage") && !first.contains('\n'), "{first}");
    }
    let plain = grove(folder.path(), ["inspect", "--", "--json", "--live"])
        .run()
        .expect(2);
    assert!(plain.stdout.is_empty(), "after -- it is a source");
    let help = grove(folder.path(), ["get", "--json", "--help"]).run().expect(0);
    assert!(help.stdout.starts_with(b"Download"), "who asks for help gets it");
}

#[test]
fn what_is_no_key_and_what_is_no_feed_are_bad_input() {
    let folder = tempfile::tempdir().expect("a folder");
    let words = folder.path().join("words.txt");
    std::fs::write(&words, "hello\n").expect("space on the disk");
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&words, std::fs::Permissions::from_mode(0o600)).expect("it is ours");
    }
    let publish = || {
        grove(
            folder.path(),
            ["publish", "--origin", "http://127.0.0.1:9/", "--out", "out"],
        )
        .arg(episode())
    };
    let key = publish().args(["--cue", "10", "--key", "words.txt"]).run();
    key.expect(2)
        .says("error: the key file words.txt does not hold a key");
    let feed = publish().args(["--feed", "words.txt"]).run().expect(2);
    assert!(!feed.stderr.contains("hint:"), "{}", feed.stderr);
}

#[test]
fn a_creative_that_stands_twice_is_uploaded_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let kettle = fixtures().join("kettle.mp3");
    let ads = [10, 60].map(|at| format!("--ad={at}={}", kettle.display()));
    let args = [
        "publish",
        "--origin",
        "http://127.0.0.1:9/",
        "--out",
        "out",
        "--json",
    ];
    let published = grove(folder.path(), args)
        .args(ads)
        .arg(episode())
        .run()
        .expect(0);
    let upload = published.event("published")["upload"].clone();
    let files: Vec<&str> = upload
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|upload| upload["file"].as_str())
        .collect();
    assert_eq!(
        files.iter().filter(|file| file.ends_with("kettle.mp3")).count(),
        1,
        "{files:?}"
    );
    assert_eq!(files.len(), 3, "{files:?}");
}

#[test]
fn two_creatives_of_one_name_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let ads = ["kettle.mp3", "other.mp3"].map(|creative| {
        let own = folder.path().join(creative).with_extension("");
        std::fs::create_dir(&own).expect("space on the disk");
        std::fs::copy(fixtures().join("kettle.mp3"), own.join("ad.mp3")).expect("space on the disk");
        format!("--ad=10={}", own.join("ad.mp3").display())
    });
    let origin = ["publish", "--origin", "http://127.0.0.1:9/", "--out", "out"];
    grove(folder.path(), origin)
        .arg(&ads[0])
        .arg(ads[1].replace("=10=", "=60="))
        .arg(episode())
        .run()
        .expect(2)
        .says("would both be uploaded to http://127.0.0.1:9/ad.mp3");
    assert!(!folder.path().join("out").exists(), "something was written");
}
