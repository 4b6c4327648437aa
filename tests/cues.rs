//! `grove cues` and `publish --cues` as a person meets them.

mod common;

use common::tools::ask;
use common::{broadcast, episode, grove, publish};

const LABELS: &str =
    "0.000000\t0.000000\tIntro\n42.540000\t42.540000\tAd break\n79.200000\t79.200000\tbreak 2\n";

#[test]
fn labels_are_listed_and_published() {
    let folder = tempfile::tempdir().expect("a folder");
    let labels = folder.path().join("labels.txt");
    std::fs::write(&labels, LABELS).expect("labels");
    let listed = grove(folder.path(), ["cues", "labels.txt"]).run().expect(0);
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(
        text.contains("3 marks, 2 of them cue points") && text.contains("label only"),
        "{text}"
    );
    let json = grove(
        folder.path(),
        ["cues", "labels.txt", "--match", "intro", "--json"],
    )
    .run()
    .expect(0);
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).expect("one JSON object");
    assert_eq!(value["cues"], 1);
    assert_eq!(value["marks"][1]["cue"], false);
    assert_eq!(value["marks"][1]["seconds"], 42.54);

    let published = publish(vec!["--cues".to_owned(), labels.display().to_string()]);
    let url = published.origin.as_ref().expect("a server").url("episode.mp3");
    let seen = grove(folder.path(), ["inspect", &url, "--data", "state", "--json"])
        .run()
        .expect(0);
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    assert!(
        seen.contains("label-2") && seen.contains("label-3") && !seen.contains("label-1"),
        "{seen}"
    );
}

#[test]
fn titles_stand_on_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let chapters = r#"{"chapters": [{"startTime": 0, "title": "Tea\n\tand  biscuits\r\n"}]}"#;
    std::fs::write(folder.path().join("chapters.json"), chapters).expect("chapters");
    let listed = grove(folder.path(), ["cues", "chapters.json"]).run().expect(0);
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(text.ends_with("  Tea and biscuits\n"), "{text:?}");
}

#[test]
fn the_chapters_of_an_episode_are_no_breaks() {
    let folder = tempfile::tempdir().expect("a folder");
    let episode = episode().display().to_string();
    let listed = grove(folder.path(), ["cues", &episode, "--json"]).run().expect(0);
    let value: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("one JSON object");
    assert_eq!(
        (&value["format"], &value["cues"]),
        (&"ID3 chapters".into(), &0.into())
    );
    assert!(
        value["marks"].as_array().is_some_and(|marks| !marks.is_empty()),
        "{value}"
    );
}

#[test]
fn what_cannot_be_read_is_named_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text, reason) in [
        ("a.txt", "1\t2\tad\nnonsense\n", "line 2"),
        ("b.json", "{\"chapters\":[\n{]}", "line 2"),
        ("c.m3u8", "#EXTM3U\n#EXT-X-CUE-OUT:soon\n", "line 2"),
        ("d.txt", "", "empty"),
        (
            "e.mp3",
            "ID3\u{3}\0\0\0\0\0\u{20}CHAP\0\0\0",
            "byte 17: the ID3 tag is cut short here: it is to have 42 bytes",
        ),
    ] {
        std::fs::write(folder.path().join(name), text).expect(name);
        grove(folder.path(), ["cues", name])
            .run()
            .expect(2)
            .says(reason)
            .says(name);
    }
    grove(folder.path(), ["cues", "missing.txt"])
        .run()
        .expect(2)
        .says("missing.txt");
    // Timestamps have 33 bits.
    std::fs::write(folder.path().join("f.txt"), "1\t2\tad\n").expect("a file");
    let with_first = |ticks: u64| {
        grove(folder.path(), ["cues", "f.txt", "--first-pts"])
            .arg(ticks.to_string())
            .run()
    };
    with_first((1 << 33) - 1).expect(0);
    with_first(1 << 33).expect(2).says("--first-pts");
}

/// What ffprobe says of a file.
fn probe(path: &std::path::Path, entries: &str) -> String {
    let path = path.display().to_string();
    let args = ["-v", "error", "-show_entries", entries, "-of", "csv=p=0", &path];
    let (said, _) = ask("ffprobe", "ffmpeg", args);
    String::from_utf8_lossy(&said).trim().to_owned()
}

#[test]
fn a_recorded_broadcast_gives_the_breaks_of_its_scte35_messages() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("broadcast.ts");
    ask(
        "ffmpeg",
        "ffmpeg",
        [
            "-v",
            "error",
            "-f",
            "lavfi",
            "-i",
            "testsrc2=s=160x90:r=25",
            "-f",
            "lavfi",
            "-i",
            "sine",
            "-t",
            "20",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-c:a",
            "aac",
            &path.display().to_string(),
        ],
    );
    let start = probe(&path, "format=start_time").parse::<f64>().expect("a time");
    let plain = std::fs::read(&path).expect("a stream");
    grove(folder.path(), ["cues", "broadcast.ts"])
        .run()
        .expect(0)
        .says("announces no SCTE-35 messages");

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // seconds of a short file
    let ticks = |seconds: f64| ((start + seconds) * 90_000.0).round() as u64;
    let sections = [
        (0.1, broadcast::splice_insert(1, Some(ticks(5.0)), Some(3))),
        // Sent again, as broadcasters do.
        (0.2, broadcast::splice_insert(1, Some(ticks(5.0)), Some(3))),
        (0.6, broadcast::splice_insert(2, Some(ticks(15.5)), None)),
        // At once.
        (0.9, broadcast::splice_insert(3, None, Some(4))),
        (0.91, broadcast::splice_insert(3, None, Some(4))),
    ];
    let marked = broadcast::with_messages(&plain, &sections);
    std::fs::write(&path, &marked).expect("a stream");
    let streams = probe(&path, "stream=codec_name");
    assert!(streams.contains("scte_35"), "ffprobe sees {streams}");
    let listed = grove(folder.path(), ["cues", "broadcast.ts", "--json"])
        .run()
        .expect(0);
    let value: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("one JSON object");
    assert_eq!(value["format"], "MPEG transport stream");
    let marks = value["marks"].as_array().expect("a list");
    let near = |mark: &serde_json::Value, seconds: f64| {
        let at = mark["seconds"].as_f64().expect("a time");
        assert!((at - seconds).abs() < 0.001, "{seconds}: {value}");
    };
    assert_eq!(marks.len(), 3, "{value}");
    let at_once = marks[2]["seconds"].as_f64().expect("a time");
    assert!(at_once > 16.5 && at_once < 20.0, "{value}");
    near(&marks[0], 5.0);
    near(&marks[1], 15.5);
    assert_eq!(
        (&marks[0]["replace"], &marks[1]["replace"]),
        (&3.0.into(), &serde_json::Value::Null)
    );

    let mut damaged = sections[0].1.clone();
    damaged[12] ^= 1;
    let (at, bytes) = broadcast::place(&plain, 0.1, &damaged);
    std::fs::write(&path, bytes).expect("a stream");
    grove(folder.path(), ["cues", "broadcast.ts"])
        .run()
        .expect(2)
        .says(&format!("byte {at}: the message is damaged"));
}

#[test]
fn breaks_are_suggested_and_cues_are_snapped_when_publishing() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = episode().display().to_string();
    let listed = grove(folder.path(), ["cues", &file, "--suggest=2", "--json"])
        .run()
        .expect(0);
    let value: serde_json::Value = serde_json::from_slice(&listed.stdout).expect("one JSON object");
    let found = value["suggestions"].as_array().expect("a list");
    assert_eq!(found.len(), 2, "{value}");
    let times: Vec<f64> = found
        .iter()
        .map(|one| one["seconds"].as_f64().expect("a time"))
        .collect();
    assert!(
        times[0] > 30.0 && times[0] < times[1] && times[1] < 170.0,
        "{value}"
    );
    // What was suggested is in a pause already: it stays where it is, or moves by less than the pause.
    grove(folder.path(), ["cues", &file, "--suggest"])
        .run()
        .expect(0)
        .says("--cue");
    grove(folder.path(), ["cues", "missing.mp3", "--suggest"])
        .run()
        .expect(2)
        .says("missing.mp3");
    grove(folder.path(), ["cues", &file, "--suggest=0"])
        .run()
        .expect(2);

    let off = common::cue("pause") - 0.4;
    let published = publish([
        "--cue".to_owned(),
        off.to_string(),
        "--snap".to_owned(),
        "1".to_owned(),
    ]);
    let url = published.origin.as_ref().expect("a server").url("episode.mp3");
    let seen = grove(folder.path(), ["inspect", &url, "--data", "state", "--json"])
        .run()
        .expect(0);
    let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
    let near = format!("{:.1}", common::cue("pause"));
    assert!(
        !seen.contains(&format!("{off:.3}")),
        "{seen} still has {off}, which is near {near}"
    );
}

#[test]
fn a_break_that_comes_again_is_said_to() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(episode(), folder.path().join("episode.mp3")).expect("the episode");
    let vmap = "<VMAP version='1.0'><AdBreak timeOffset='00:00:20' breakType='linear' breakId='a' repeatAfter='00:00:45'/></VMAP>";
    std::fs::write(folder.path().join("breaks.xml"), vmap).expect("a file");
    let run = |args: &[&str]| grove(folder.path(), args).run().expect(0);
    let listed = run(&["cues", "breaks.xml"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("cue: inserts, again every 0:45"));
    let marks = run(&["cues", "breaks.xml", "--json"]).event("cues")["marks"].clone();
    assert_eq!(marks[0]["repeat_after"], 45.0, "{marks}");
    let origin = format!("http://{}/episode.mp3", common::closed_port());
    let published = run(&[
        "publish",
        "episode.mp3",
        "--origin",
        &origin,
        "--cues",
        "breaks.xml",
    ]);
    assert!(String::from_utf8_lossy(&published.stdout).contains("a at 00:00:20, again every 0:45"));
}

#[test]
fn two_cue_points_at_one_time_are_refused_but_in_vmap() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(episode(), folder.path().join("episode.mp3")).expect("the episode");
    let origin = format!("http://{}/episode.mp3", common::closed_port());
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("a file");
    let publish = |args: &[&str]| {
        grove(folder.path(), ["publish", "episode.mp3", "--origin", &origin])
            .args(args)
            .run()
    };
    write("labels.txt", LABELS);
    write("twice.txt", "42.54\t42.54\tad\n42.54\t42.54\tad two\n");
    write("back.txt", "79.2\t79.2\tad\n0\t0\tIntro\n42.54\t42.54\tad\n");
    write(
        "chapters.json",
        "{\"chapters\":[{\"startTime\":79.2,\"title\":\"Break\"}]}",
    );
    let vmap = |times: &[&str]| {
        let breaks = times.iter().enumerate().map(|(number, time)| {
            format!("<vmap:AdBreak timeOffset='{time}' breakType='linear' breakId='vmap-{number}'/>")
        });
        let breaks: String = breaks.collect();
        format!(
            "<vmap:VMAP xmlns:vmap='http://www.iab.net/videosuite/vmap' version='1.0'>{breaks}</vmap:VMAP>"
        )
    };
    write("two.xml", &vmap(&["00:00:20.000", "00:00:20.000"]));
    write("one.xml", &vmap(&["00:00:20.000"]));
    for (args, named) in [
        (
            &["--cue", "42.54", "--cues", "labels.txt"][..],
            ["--cue 42.54", "label-2 of labels.txt"],
        ),
        (
            &["--cues", "labels.txt", "--cues", "chapters.json"],
            ["label-3 of labels.txt", "chapter-1 of chapters.json"],
        ),
        (
            &["--cue", "20", "--cues", "one.xml"],
            ["--cue 20", "vmap-0 of one.xml"],
        ),
    ] {
        let [one, other] = named;
        publish(args)
            .expect(2)
            .says("there are two cue points at ")
            .says(&format!(": {one} and {other}"));
    }
    publish(&["--cues", "back.txt"])
        .expect(2)
        .says("line 3: the cue point at 00:00:42.540 comes after the one at 00:01:19.200");
    // A file that has them in itself names the line, and before it is published too.
    let line = "twice.txt: line 2: there are two cue points at 00:00:42.540";
    publish(&["--cues", "twice.txt"]).expect(2).says(line);
    grove(folder.path(), ["cues", "twice.txt"])
        .run()
        .expect(2)
        .says(line);
    // In VMAP they play in their order.
    grove(folder.path(), ["cues", "two.xml"]).run().expect(0);
    let finished = publish(&["--cues", "two.xml", "--json"]).expect(0);
    let published = finished.event("published");
    let ids: Vec<_> = published["cues"]
        .as_array()
        .expect("cues")
        .iter()
        .map(|cue| &cue["id"])
        .collect();
    assert_eq!(ids, ["vmap-0", "vmap-1"]);
}
