//! `grove play` of every format that ads are spliced into: the ad and the content are presented to their ends.

mod common;

use std::path::Path;

use axum::Router;
use common::tools::generate;
use common::{Finished, Server, grove};

/// How long the content and its ad are, in seconds.
const CONTENT: f64 = 2.0;
const AD: f64 = 1.0;

/// Runs ffmpeg on generated input.
fn make(path: &Path, seconds: f64, picture: bool, coding: &str) {
    let mut inputs = Vec::new();
    if picture {
        inputs.push(format!("testsrc2=s=160x90:r=25:d={seconds}"));
    }
    inputs.push(format!("sine=f=440:r=48000:d={seconds}"));
    generate(path, &inputs, coding);
}

/// Publishes content with an ad before it, and plays it to its end.
fn play(name: &str, coding: &str) -> Finished {
    let content = |path: &Path| make(path, CONTENT, coding.contains("-c:v"), coding);
    play_made(name, content, &[]).expect(0)
}

/// Publishes what `content` makes, with an ad before it, and plays it.
fn play_made(name: &str, content: impl Fn(&Path), args: &[&str]) -> Finished {
    let ad = |path: &Path| make(path, AD, false, "");
    play_with(name, content, ("start", "ad.wav"), ad, args)
}

/// Publishes what `content` makes, with an ad at a place in it, and plays it.
fn play_with(
    name: &str,
    content: impl Fn(&Path),
    (at, creative): (&str, &str),
    ad: impl Fn(&Path),
    args: &[&str],
) -> Finished {
    let folder = tempfile::tempdir().expect("a folder");
    let web = folder.path().join("web");
    std::fs::create_dir(&web).expect("a folder");
    content(&web.join(name));
    ad(&web.join(creative));
    let server = Server::start(Router::new().fallback_service(tower_http::services::ServeDir::new(&web)));
    grove(folder.path(), ["publish", &format!("web/{name}")])
        .args(["--allow-private", "--data", "publisher"])
        .args(["--origin", &server.url(name)])
        .args(["--ad", &format!("{at}=web/{creative}")])
        .run()
        .expect(0);
    grove(folder.path(), ["play", "--json", "--sink", "null"])
        .args(["--allow-private", "--listen", "127.0.0.1:0", "--data", "viewer"])
        .args(["--freeze", "60"])
        .args(args)
        .arg(server.url(&format!("{name}.torrent")))
        .run()
}

#[track_caller]
fn is_played_to_its_end(name: &str, coding: &str) {
    let finished = play(name, coding);
    let seen = finished.json();
    let told: Vec<&str> = seen
        .iter()
        .filter_map(|line| line["event"].as_str())
        .filter(|event| ["start", "midpoint", "complete", "done"].contains(event))
        .collect();
    assert_eq!(
        told,
        ["start", "midpoint", "complete", "done"],
        "{name}: {seen:?}"
    );
    let done = finished.event("done");
    let (at, duration) = (done["at"].as_f64(), done["duration"].as_f64());
    assert_eq!(at, duration, "{name}: {done}");
    // Coders and packets round what they are given up.
    let longer = duration.expect("a duration") - (CONTENT + AD);
    assert!((-0.01..0.15).contains(&longer), "{name}: {done}");
}

#[test]
fn mp3() {
    is_played_to_its_end("c.mp3", "-b:a 96k");
}

#[test]
fn aac_in_mp4() {
    is_played_to_its_end("c.m4a", "-c:a aac -b:a 96k");
}

#[test]
fn aac_in_adts() {
    is_played_to_its_end("c.aac", "-c:a aac -b:a 96k");
}

#[test]
fn opus_in_ogg() {
    is_played_to_its_end("c.opus", "-c:a libopus -b:a 64k");
}

#[test]
fn vorbis_in_ogg() {
    is_played_to_its_end("c.ogg", "-c:a libvorbis");
}

#[test]
fn flac() {
    is_played_to_its_end("c.flac", "");
}

#[test]
fn flac_without_ads() {
    let content = |path: &Path| make(path, CONTENT, false, "");
    let done = play_made("c.flac", content, &["--no-ads"]).event("done");
    assert_eq!(
        (&done["at"], &done["duration"]),
        (&CONTENT.into(), &CONTENT.into()),
        "{done}"
    );
}

#[test]
fn wav() {
    is_played_to_its_end("c.wav", "");
}

#[test]
fn opus_in_webm() {
    is_played_to_its_end("c.webm", "-c:a libopus -b:a 64k");
}

#[test]
fn video_in_mp4() {
    is_played_to_its_end("c.mp4", "-c:v libx264 -g 25 -c:a aac -b:a 96k");
}

#[test]
fn video_in_webm() {
    let coding = "-pix_fmt yuv420p -c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25 -c:a libopus";
    is_played_to_its_end("c.webm", coding);
}

/// Of what is begun behind an ad, the ad is not told, and the rest is presented in its own time.
#[track_caller]
fn is_played_from_behind_the_ad(name: &str, coding: &str) {
    let content = |path: &Path| make(path, 3.0, false, coding);
    let finished = play_made(name, content, &["--start", "1.5"]).expect(0);
    let seen = finished.json();
    let told = |event: &str| seen.iter().filter(|line| line["event"] == event).count();
    assert_eq!(told("start") + told("complete"), 0, "{name}: {seen:?}");
    let between = |line: &&serde_json::Value| {
        line["event"] == "position" && line["at"].as_f64().is_some_and(|at| (2.5..3.9).contains(&at))
    };
    assert!(seen.iter().filter(between).count() > 1, "{name}: {seen:?}");
    let done = finished.event("done");
    assert_eq!(done["at"], done["duration"], "{name}: {done}");
}

#[test]
fn vorbis_from_behind_the_ad() {
    is_played_from_behind_the_ad("c.ogg", "-c:a libvorbis");
}

#[test]
fn opus_from_behind_the_ad() {
    is_played_from_behind_the_ad("c.opus", "-c:a libopus -b:a 64k");
}

/// Four seconds of noise and four of silence: no part of it says how long the whole is.
fn uneven(path: &Path, coder: &str) {
    let noise = "anoisesrc=r=48000:d=4:a=0.5,aformat=channel_layouts=stereo,apad=whole_dur=8";
    let status = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", noise])
        .args(coder.split(' '))
        .arg(path)
        .status()
        .expect("ffmpeg runs (`make setup` installs it)");
    assert!(status.success());
}

#[test]
fn vorbis_without_ads_is_as_long_as_it_is() {
    let content = |path: &Path| uneven(path, "-c:a libvorbis -q:a 10");
    let done = play_made("c.ogg", content, &["--no-ads", "--start", "7"])
        .expect(0)
        .event("done");
    assert_eq!((&done["at"], &done["duration"]), (&8.0.into(), &8.0.into()));
}

/// A file of MP3 without an information frame is known to its end when that was heard.
#[test]
fn mp3_of_many_rates_is_as_long_as_it_was() {
    let content = |path: &Path| uneven(path, "-c:a libmp3lame -q:a 0 -write_xing 0");
    let done = play_made("c.mp3", content, &["--no-ads", "--start", "7"])
        .expect(0)
        .event("done");
    let lasts = done["duration"].as_f64().expect("a duration");
    assert!((7.9..8.2).contains(&lasts) && done["at"] == lasts, "{done}");
}

#[test]
fn nothing_begins_after_the_end() {
    for (name, coding, ads) in [
        ("c.m4a", "-c:a aac", "--no-peers"),
        ("c.mp3", "-b:a 96k", "--no-ads"),
        ("c.ogg", "-c:a libvorbis", "--no-ads"),
    ] {
        let content = |path: &Path| make(path, 1.0, false, coding);
        play_made(name, content, &[ads, "--start", "1:00"])
            .expect(2)
            .says("cannot start at 1:00.000: the content is 0:01");
    }
}

#[test]
fn a_place_to_begin_may_be_a_part_of_the_content_or_its_end() {
    for (name, coding) in [("c.mp3", "-b:a 96k"), ("c.ogg", "-c:a libvorbis")] {
        for (start, first) in [("75%", 5.9..7.9), ("end", 7.9..9.2)] {
            let content = |path: &Path| make(path, 8.0, false, coding);
            let ad = |path: &Path| make(path, AD, false, "");
            let finished = play_with(name, content, ("end", "ad.wav"), ad, &["--start", start]).expect(0);
            let seen = finished.json();
            let mut positions = seen.iter().filter(|line| line["event"] == "position");
            let at = positions.find_map(|line| line["at"].as_f64());
            assert!(at.is_some_and(|at| first.contains(&at)), "{name}: {seen:?}");
            // What stands behind the end is heard.
            assert!(
                seen.iter().any(|line| line["event"] == "complete"),
                "{name}: {seen:?}"
            );
        }
    }
}

/// The same of what nothing can be spliced into.
#[test]
fn a_part_of_what_takes_no_ads_is_a_place_too() {
    let folder = tempfile::tempdir().expect("a folder");
    make(&folder.path().join("c.mkv"), 4.0, true, "-c:v libx264 -c:a aac");
    let files = tower_http::services::ServeDir::new(folder.path());
    let server = Server::start(Router::new().fallback_service(files));
    grove(folder.path(), ["publish", "c.mkv", "--allow-private"])
        .args(["--data", "publisher", "--origin", &server.url("c.mkv")])
        .run()
        .expect(0);
    for (start, first) in [("75%", 2.9..4.1), ("end", 3.9..4.1)] {
        let finished = grove(folder.path(), ["play", "--json", "--sink", "null"])
            .args(["--allow-private", "--listen", "127.0.0.1:0", "--data", "viewer"])
            .args(["--start", start, &server.url("c.mkv.torrent")])
            .run()
            .expect(0);
        let seen = finished.json();
        let mut told = seen
            .iter()
            .filter(|line| line["event"] == "position" || line["event"] == "done");
        let at = told.find_map(|line| line["at"].as_f64());
        assert!(at.is_some_and(|at| first.contains(&at)), "{start}: {seen:?}");
    }
}

/// Chapters that were taken over from a file of a minute.
fn with_long_chapters(path: &Path) {
    let chapters = path.with_extension("chapters");
    let text = ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=1\ntitle=One\n\
                [CHAPTER]\nTIMEBASE=1/1\nSTART=1\nEND=60\ntitle=Two\n";
    std::fs::write(&chapters, text).expect("chapters are written");
    let status = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error"])
        .args(["-f", "lavfi", "-i", "testsrc2=s=160x90:r=25:d=2"])
        .args(["-f", "lavfi", "-i", "sine=f=440:r=48000:d=2", "-i"])
        .arg(&chapters)
        .args("-map 0 -map 1 -map_chapters 2 -c:v libx264 -c:a aac".split(' '))
        .arg(path)
        .status()
        .expect("ffmpeg runs (`make setup` installs it)");
    assert!(status.success());
}

#[test]
fn video_is_played_whose_chapters_are_longer_than_itself() {
    let done = play_made("c.mp4", with_long_chapters, &["--no-ads"])
        .expect(0)
        .event("done");
    assert_eq!(done["at"], done["duration"], "{done}");
    let lasts = done["duration"].as_f64().expect("a duration");
    assert!((1.9..2.2).contains(&lasts), "{done}");
}

#[test]
fn an_ad_is_spliced_in_whose_chapters_are_longer_than_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    make(&folder.path().join("c.wav"), CONTENT, false, "");
    with_long_chapters(&folder.path().join("ad.mp4"));
    grove(
        folder.path(),
        ["splice", "c.wav", "--ad", "0:01=ad.mp4", "-o", "with.wav"],
    )
    .run()
    .expect(0);
    let with = std::fs::metadata(folder.path().join("with.wav")).expect("a result");
    let seconds = with.len() / (48_000 * 2);
    assert_eq!(seconds, 4, "{with:?}");
}

/// What an ad replaces is not heard by who begins there: the ad is.
#[test]
fn who_begins_within_what_is_replaced_hears_the_ad() {
    let content = |path: &Path| make(path, 4.0, false, "-b:a 96k");
    let ad = |path: &Path| make(path, AD, false, "");
    let finished = play_with("c.mp3", content, ("1+2", "ad.wav"), ad, &["--start", "2"]).expect(0);
    let seen = finished.json();
    let heard = |line: &serde_json::Value| line["event"] == "start" && line["break"] == "cue-1";
    assert!(seen.iter().any(heard), "{seen:?}");
    let early = |line: &serde_json::Value| {
        line["event"] == "position"
            && line["in_ad"] == false
            && line["at"].as_f64().is_some_and(|at| at < 1.8)
    };
    assert!(seen.iter().filter(|line| early(line)).count() < 2, "{seen:?}");
    let done = finished.event("done");
    assert_eq!(done["at"], done["duration"], "{done}");
}

#[test]
fn who_begins_within_what_is_not_replaced_begins_there() {
    let content = |path: &Path| make(path, 4.0, false, "-b:a 96k");
    let ad = |path: &Path| make(path, AD, false, "");
    // The ad is longer than the break takes.
    let at = ("1+2,max=0.5", "ad.wav");
    let seen = play_with("c.mp3", content, at, ad, &["--start", "2"])
        .expect(0)
        .json();
    let mut positions = seen.iter().filter(|line| line["event"] == "position");
    let first = positions.next().and_then(|line| line["at"].as_f64());
    assert!(first.is_some_and(|at| at >= 2.0), "{seen:?}");
}

/// What `publish` takes is played by viewers, whatever kind of file it is.
#[test]
fn a_creative_in_quicktime_is_played() {
    let content = |path: &Path| make(path, CONTENT, false, "-b:a 96k");
    let ad = |path: &Path| make(path, AD, true, "-c:v libx264 -c:a aac");
    let finished = play_with("c.mp3", content, ("start", "ad.mov"), ad, &[]).expect(0);
    let seen = finished.json();
    assert!(seen.iter().any(|line| line["event"] == "complete"), "{seen:?}");
}
