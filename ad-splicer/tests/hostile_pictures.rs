//! Children of pictures that crash, lie, never end or are asked for too much: each is an error with a VAST code, and nothing is kept of it.
//!
//! This program starts itself again, so it has a `main` of its own. Run one test by giving a part of its name.

mod children;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use ad_splicer::conditioning::{ConditionError, Conditioner, Limits};
use ad_splicer::content::FileContent;
use ad_splicer::creatives::{FetchLimits, Profile};
use ad_splicer::splice;

use children::Bench;

const TESTS: &[(&str, fn())] = &[
    (
        "whatever_a_child_does_is_an_error",
        whatever_a_child_does_is_an_error,
    ),
    ("limits_hold_for_pictures", limits_hold_for_pictures),
    (
        "a_truncated_video_gives_what_is_there",
        a_truncated_video_gives_what_is_there,
    ),
];

fn main() -> std::process::ExitCode {
    children::main(TESTS)
}

const MONO: Profile = Profile {
    sample_rate: 44_100,
    channels: 1,
};

/// Two seconds of video.
fn video(bench: &Bench) -> std::path::PathBuf {
    let pictures = ["-f", "lavfi", "-i", "testsrc2=d=2:s=160x90:r=25"];
    let sound = ["-f", "lavfi", "-i", "sine=d=2:r=44100"];
    let coding = "-c:v libx264 -pix_fmt yuv420p -c:a aac -movflags +faststart".split(' ');
    let coding: Vec<&str> = coding.collect();
    bench.make("video.mp4", &[&pictures[..], &sound, &coding].concat())
}

/// How many pictures a conditioner makes of a creative, for content like [`video`].
fn pictures(
    bench: &Bench,
    conditioner: &Conditioner,
    content: &Path,
    creative: &Path,
) -> Result<usize, ConditionError> {
    let content = FileContent::open(content).expect("content");
    let probed = splice::probe(&content, &splice::Options::default()).expect("video");
    let format = probed.picture.expect("pictures");
    let original = bench
        .cache
        .import(creative, FetchLimits::default())
        .expect("a file");
    let job = conditioner.picture(&bench.cache, &original, format);
    Ok(bench.runtime.block_on(job)?.count())
}

/// What is in the cache beside the original.
fn kept(bench: &Bench) -> Vec<String> {
    let entries = std::fs::read_dir(bench.cache.dir()).expect("the cache's folder");
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| name.starts_with("part-") || ["pictures", "f32"].iter().any(|end| name.ends_with(end)))
        .collect()
}

fn whatever_a_child_does_is_an_error() {
    // Each is a program in place of the child; the last line that it says is its report.
    for (name, script, signal) in [
        ("a fault of memory", "kill -SEGV $$", "signal 11"),
        ("an abort", "kill -ABRT $$", "signal 6"),
        ("no word", "exit 0", ""),
        (
            "pictures that are none",
            "echo rubbish; echo '{\"result\":\"done\",\"samples\":3,\"later\":0}' >&2",
            "not 3 pictures",
        ),
        (
            "nothing",
            "echo '{\"result\":\"done\",\"samples\":0,\"later\":0}' >&2",
            "",
        ),
        (
            "more than may be said",
            "head -c 100000 /dev/zero >&2; exec sleep 60",
            "killed",
        ),
    ] {
        let bench = Bench::new();
        let content = video(&bench);
        let program = bench.path("program");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a writable folder");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("a program");
        let conditioner = Conditioner::new(program);
        let error = pictures(&bench, &conditioner, &content, &content).expect_err(name);
        println!("  {name}: {error}");
        assert!(
            matches!(error, ConditionError::Crashed { .. }),
            "{name}: {error:?}"
        );
        assert!(error.to_string().contains(signal), "{name}: {error}");
        assert_eq!(error.vast_code(), 405, "{name}");
        let original = bench
            .cache
            .import(&content, FetchLimits::default())
            .expect("a file");
        let sound = conditioner.condition(&bench.cache, &original, MONO);
        let error = bench.runtime.block_on(sound).expect_err(name);
        assert_eq!(error.vast_code(), 405, "{name}, of sound");
        assert_eq!(kept(&bench), [""; 0], "{name}");
    }
}

fn limits_hold_for_pictures() {
    let usual = Limits::default();
    let late = Limits {
        wall: Duration::from_millis(1),
        ..usual
    };
    let narrow = Limits {
        memory: 1 << 20,
        ..usual
    };
    for (name, limits) in [("late", late), ("narrow", narrow)] {
        let bench = Bench::with_limits(limits);
        let content = video(&bench);
        let error = pictures(&bench, &bench.conditioner, &content, &content).expect_err(name);
        println!("  {name}: {error}");
        let is_due = if name == "late" {
            matches!(error, ConditionError::TimedOut { .. })
        } else {
            // Which part finds no memory first decides how it ends.
            !matches!(error, ConditionError::NoPicture { .. })
        };
        assert!(is_due, "{name}: {error:?}");
        assert_eq!(kept(&bench), [""; 0], "{name}");
    }
}

fn a_truncated_video_gives_what_is_there() {
    let bench = Bench::new();
    let content = video(&bench);
    let bytes = std::fs::read(&content).expect("a video");
    for part in [5, 50, 95] {
        let creative = bench.path(&format!("{part}.mp4"));
        std::fs::write(&creative, &bytes[..bytes.len() * part / 100]).expect("a writable folder");
        match pictures(&bench, &bench.conditioner, &content, &creative) {
            Ok(count) => {
                println!("  {part} %: {count} pictures");
                assert!(count <= 50, "{part} %: {count}");
            }
            Err(error) => {
                println!("  {part} %: {error}");
                assert_eq!(error.vast_code(), 405, "{part} %: {error}");
            }
        }
    }
}
