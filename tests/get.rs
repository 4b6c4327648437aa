//! `grove get` with ads, judged from outside: ffmpeg lists packets, decodes and measures loudness, ffprobe reads duration and chapters.

mod common;

use std::path::{Path, PathBuf};

use axum::Router;
use common::ads::AdServer;
use common::tools::{ask, loudness};
use common::{Server, episode, facts, fixtures, grove, publish, sha256};
use serde_json::Value;
use tempfile::TempDir;
use tower_http::services::ServeDir;

/// The fixtures' sample rate and samples in a frame.
const RATE: f64 = 44_100.0;
const FRAME: f64 = 1152.0;
/// Frames on each side of a seam that may be coded anew.
const BRIDGE: usize = 8;

/// A viewer of its own, and where its result is.
struct Viewer {
    folder: TempDir,
    out: PathBuf,
}

impl Viewer {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let out = folder.path().join("out.mp3");
        Viewer { folder, out }
    }

    /// `grove get`, with time enough to make ads ready on a slow machine.
    fn get(&self, source: &str) -> common::Grove {
        grove(self.folder.path(), ["get", source, "--allow-private"]).args([
            "--listen",
            "127.0.0.1:0",
            "--data",
            "data",
            "--freeze",
            "60",
        ])
    }

    fn to_file(&self, source: &str) -> Value {
        let finished = self
            .get(source)
            .arg("--json")
            .arg("-o")
            .arg(&self.out)
            .run()
            .expect(0);
        finished.event("complete")
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.out).expect("the result")
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("not a number: {value}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("not a list: {value}"))
}

/// The times of the fixtures' cues at these places of their list.
fn cues(places: &[usize]) -> Vec<f64> {
    let facts = facts();
    let cues = list(&facts["episode"]["cues"]);
    places.iter().map(|place| number(&cues[*place]["time"])).collect()
}

/// The fixtures' creatives, each in another format.
const CREATIVES: [&str; 4] = ["kettle.mp3", "boots.wav", "bank.m4a", "library.ogg"];

#[test]
fn ads_in_four_formats_are_spliced_as_the_plan_says() {
    let creatives = Server::start(Router::new().fallback_service(ServeDir::new(fixtures())));
    let at = cues(&[0, 1, 2, 4]);
    let ads = |place: &dyn Fn(&str) -> String| -> Vec<String> {
        at.iter()
            .zip(CREATIVES)
            .flat_map(|(at, creative)| ["--ad".to_owned(), format!("{at}={}", place(creative))])
            .collect()
    };
    let published = publish(ads(&|creative| creatives.url(creative)));
    let source = published.torrent_url();

    let viewer = Viewer::new();
    let complete = viewer.to_file(&source);
    let spliced = list(&complete["ads"]);
    assert_eq!(
        (spliced.len(), list(&complete["skipped"]).len()),
        (4, 0),
        "{complete}"
    );
    what_scripts_rely_on(&complete, &viewer.out);
    let facts = facts();
    for (ad, (cue, creative)) in spliced.iter().zip(at.iter().zip(list(&facts["creatives"]))) {
        assert!((number(&ad["cue"]) - cue).abs() < 0.001, "{ad}");
        assert_eq!(ad["creative_sha256"], creative["sha256"], "{ad}");
        assert!(
            (number(&ad["duration"]) - number(&creative["seconds"])).abs() < 0.05,
            "{ad} is {creative}"
        );
    }

    // The same plan gives the same bytes: to stdout, to another viewer, once more, and without any network.
    let bytes = viewer.bytes();
    let stream = Viewer::new();
    let stdout = stream.get(&source).args(["-o", "-"]).run().expect(0).stdout;
    assert!(stdout == bytes, "the stream is not the file");
    let again = viewer.to_file(&source);
    assert_eq!(
        (&again["ads"], &again["from_origin"]),
        (&complete["ads"], &Value::from(0))
    );
    assert!(viewer.bytes() == bytes, "the second run made something else");
    let local = grove(viewer.folder.path(), ["splice", "--json", "-o", "local.mp3"])
        .arg(episode())
        .args(ads(&|creative| fixtures().join(creative).display().to_string()))
        .run()
        .expect(0)
        .event("complete");
    assert!(
        std::fs::read(viewer.folder.path().join("local.mp3")).expect("the result") == bytes,
        "`grove splice` made something else: {local}"
    );
    for (here, there) in list(&local["ads"]).iter().zip(spliced) {
        let keys =
            |ad: &Value| -> Vec<String> { ad.as_object().expect("an object").keys().cloned().collect() };
        assert_eq!(keys(here), keys(there));
        for same in [
            "cue",
            "start",
            "duration",
            "creative_sha256",
            "gain_db",
            "limited_db",
        ] {
            assert_eq!(here[same], there[same], "{same}");
        }
    }

    content_is_untouched(&viewer.out, &complete);
    length_and_chapters_are_right(&viewer.out, &complete);
    ads_are_as_loud_as_content(&viewer.out, &complete);
}

/// Every field of the `complete` object.
fn what_scripts_rely_on(complete: &Value, out: &Path) {
    let length = std::fs::metadata(out).expect("the result").len();
    let master = std::fs::metadata(episode()).expect("the episode").len();
    assert_eq!(complete["path"].as_str(), out.to_str(), "{complete}");
    assert_eq!(
        complete["info_hash"].as_str().map(str::len),
        Some(64),
        "{complete}"
    );
    for (field, expected) in [
        ("bytes", length),
        ("content_bytes", master),
        ("from_origin", master),
        ("from_peers", 0),
        ("wasted", 0),
        ("uploaded", 0),
        ("peers", 0),
    ] {
        assert_eq!(complete[field].as_u64(), Some(expected), "{field}: {complete}");
    }
    assert!(number(&complete["seconds"]) > 0.0, "{complete}");
    for ad in list(&complete["ads"]) {
        for field in ["cue", "start", "duration", "gain_db", "limited_db"] {
            assert!(ad[field].is_f64(), "{field}: {ad}");
        }
        for field in ["break", "ad_id", "creative_sha256"] {
            assert!(
                ad[field].as_str().is_some_and(|text| !text.is_empty()),
                "{field}: {ad}"
            );
        }
    }
}

/// A hash of each packet, as ffmpeg reads them.
fn packets(file: &Path) -> Vec<String> {
    let (listing, _) = ask(
        "ffmpeg",
        "ffmpeg",
        ["-v", "error", "-i"]
            .map(PathBuf::from)
            .into_iter()
            .chain([file.to_owned()])
            .chain(["-map", "0:a", "-c", "copy", "-f", "framemd5", "-"].map(PathBuf::from)),
    );
    String::from_utf8(listing)
        .expect("text")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(',').nth(5).expect("a hash").trim().to_owned())
        .collect()
}

/// Between the seams every packet is the master's.
fn content_is_untouched(out: &Path, complete: &Value) {
    let (master, result) = (packets(&episode()), packets(out));
    let frame = |seconds: f64| (seconds * RATE / FRAME) as usize;
    let ads = list(&complete["ads"]);
    let mut first = 0;
    let mut inserted = 0.0;
    for index in 0..=ads.len() {
        let end = ads
            .get(index)
            .map_or(master.len(), |ad| frame(number(&ad["cue"])));
        // From the middle of this stretch outwards.
        let middle = first + (end - first) / 2;
        let around = middle + frame(inserted);
        let there = (around - 4..=around + 4)
            .find(|there| result[*there..there + 20] == master[middle..middle + 20])
            .unwrap_or_else(|| panic!("packet {middle} of the master is not in the result near {around}"));
        let before = (0..=middle)
            .take_while(|back| *back <= there && master[middle - back] == result[there - back])
            .count();
        let after = master[middle..]
            .iter()
            .zip(&result[there..])
            .take_while(|(a, b)| a == b)
            .count();
        let (from, to) = (middle + 1 - before, middle + after);
        println!("packets {from}..{to} of {first}..{end} are the master's");
        assert!(
            from <= first + if index == 0 { 0 } else { BRIDGE },
            "{from} is far after {first}"
        );
        assert!(
            to + if index == ads.len() { 0 } else { BRIDGE } >= end,
            "{to} is far before {end}"
        );
        first = end;
        inserted += ads.get(index).map_or(0.0, |ad| number(&ad["duration"]));
    }
}

/// What ffprobe says of a file.
fn probe(file: &Path, what: &str) -> Value {
    let args = ["-v", "error", what, "-of", "json"].map(PathBuf::from);
    let (said, _) = ask("ffprobe", "ffmpeg", args.into_iter().chain([file.to_owned()]));
    serde_json::from_slice(&said).expect("JSON")
}

fn length_and_chapters_are_right(out: &Path, complete: &Value) {
    let facts = facts();
    let ads = list(&complete["ads"]);
    let args = ["-v", "error", "-i"].map(PathBuf::from);
    let rest = ["-map", "0:a", "-f", "s16le", "-"].map(PathBuf::from);
    let (pcm, _) = ask(
        "ffmpeg",
        "ffmpeg",
        args.into_iter().chain([out.to_owned()]).chain(rest),
    );
    let content = number(&facts["episode"]["samples"]) / RATE;
    let length = (pcm.len() / 4) as f64 / RATE;
    // How much was put in before each ad, and in all.
    let mut inserted: Vec<f64> = ads
        .iter()
        .map(|ad| number(&ad["start"]) - number(&ad["cue"]))
        .collect();
    inserted.push(length - content);
    assert!(
        inserted[0].abs() < 0.001,
        "nothing is before the first ad: {complete}"
    );
    for (index, ad) in ads.iter().enumerate() {
        // Content stays on its frames, so a break lasts a whole number of them.
        let more = inserted[index + 1] - inserted[index] - number(&ad["duration"]);
        assert!(
            (-0.001..FRAME / RATE).contains(&more),
            "break {index} lasts {more} s longer than its ad: {complete}"
        );
    }
    let told = probe(out, "-show_format");
    let told: f64 = told["format"]["duration"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .expect("a duration");
    assert!(
        (told - length).abs() < 0.06,
        "the file says that it lasts {told} s, not {length}"
    );

    // A chapter moves by the breaks before it.
    let moved = |time: f64| {
        let before = ads.iter().filter(|ad| number(&ad["cue"]) <= time).count();
        time + inserted[before]
    };
    let found = probe(out, "-show_chapters");
    let (found, expected) = (list(&found["chapters"]), list(&facts["episode"]["chapters"]));
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found["tags"]["title"], expected["title"]);
        let start: f64 = found["start_time"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .expect("a time");
        let right = moved(number(&expected["start"]));
        assert!((start - right).abs() < 0.03, "{found} should start at {right}");
    }
}

fn ads_are_as_loud_as_content(out: &Path, complete: &Value) {
    for ad in list(&complete["ads"]) {
        let cue = number(&ad["cue"]);
        // Ads are brought to the loudness of the 60 s around their cue, within limits.
        let from = (cue - 30.0).max(0.0);
        let wanted = loudness(&episode(), from, cue + 30.0 - from).clamp(-24.0, -14.0);
        let is = loudness(out, number(&ad["start"]), number(&ad["duration"]));
        println!(
            "{} at {cue}: {is} LUFS, {wanted} wanted, gain {}, limited {}",
            ad["ad_id"], ad["gain_db"], ad["limited_db"]
        );
        assert!(is <= wanted + 0.5, "{is} LUFS, {wanted} wanted: {ad}");
        // Only an ad whose peaks were turned down as far as is allowed may stay quieter.
        let reachable = number(&ad["limited_db"]) < 5.9;
        assert!(
            is >= wanted - 0.5 || !reachable,
            "{is} LUFS, {wanted} wanted: {ad}"
        );
    }
}

#[test]
fn a_creative_that_was_changed_after_publishing_is_not_used() {
    let folder = tempfile::tempdir().expect("a folder");
    for creative in ["kettle.mp3", "boots.wav"] {
        std::fs::copy(fixtures().join(creative), folder.path().join(creative)).expect("a fixture");
    }
    let creatives = Server::start(Router::new().fallback_service(ServeDir::new(folder.path())));
    let published = publish([
        "--ad",
        &format!("40={}", creatives.url("kettle.mp3")),
        "--ad",
        &format!("80={}", creatives.url("boots.wav")),
    ]);
    // One bit, within the sound.
    let mut bytes = std::fs::read(folder.path().join("kettle.mp3")).expect("the creative");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(folder.path().join("kettle.mp3"), bytes).expect("space on the disk");

    let viewer = Viewer::new();
    let complete = viewer.to_file(&published.torrent_url());
    let (ads, skipped) = (list(&complete["ads"]), list(&complete["skipped"]));
    assert_eq!((ads.len(), skipped.len()), (1, 1), "{complete}");
    assert_eq!(
        ads[0]["creative_sha256"],
        facts()["creatives"][1]["sha256"],
        "{complete}"
    );
    assert_ne!(skipped[0]["break"], ads[0]["break"], "{complete}");
    assert!(
        skipped[0]["reason"]
            .as_str()
            .is_some_and(|reason| !reason.is_empty()),
        "{complete}"
    );
}

#[test]
fn a_result_with_ads_is_replaced_as_long_as_nobody_edited_it() {
    let creative = fixtures().join("kettle.mp3");
    let published = publish(["--ad".to_owned(), format!("40={}", creative.display())]);
    std::fs::copy(&creative, published.folder.path().join("web/kettle.mp3")).expect("the creative");
    let viewer = Viewer::new();
    let get = || viewer.get(&published.torrent_url()).run();
    let result = viewer.folder.path().join("episode.mp3");
    get().expect(0);
    assert_ne!(sha256(&result), sha256(&episode()));
    // Another name, other permissions, another date.
    std::fs::hard_link(&result, viewer.folder.path().join("kept.mp3")).expect("another name");
    let file = std::fs::File::options()
        .append(true)
        .open(&result)
        .expect("the result");
    file.set_modified(std::time::UNIX_EPOCH).expect("it is ours");
    get().expect(0);
    let mut bytes = std::fs::read(&result).expect("the result");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&result, bytes).expect("space on the disk");
    get().expect(2).says("is here already");
}

#[test]
fn two_viewers_of_one_master_get_different_creatives() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = AdServer::start(folder.path(), &[]);
    let tag = format!("http://{}/vast?break=1&ads=1", server.addr);
    let published = publish(["--cue", "42.54", "--ads", &tag]);
    let (one, two) = (Viewer::new(), Viewer::new());
    let first = one.to_file(&published.torrent_url());
    let second = two.to_file(&published.torrent_url());
    for complete in [&first, &second] {
        assert_eq!(list(&complete["ads"]).len(), 1, "{complete}");
    }
    assert_eq!(first["info_hash"], second["info_hash"]);
    assert_ne!(
        first["ads"][0]["creative_sha256"], second["ads"][0]["creative_sha256"],
        "{first}\n{second}"
    );
    assert_ne!(sha256(&one.out), sha256(&two.out));
    let totals = server.report();
    assert_eq!(totals["impressions"]["delivered"], 2, "{totals}");

    // And a third who wants none gets the master.
    let three = Viewer::new();
    three
        .get(&published.torrent_url())
        .arg("--no-ads")
        .arg("-o")
        .arg(&three.out)
        .run()
        .expect(0);
    assert_eq!(sha256(&three.out), sha256(&episode()));
}
