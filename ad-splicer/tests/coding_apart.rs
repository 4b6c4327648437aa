//! Bridges that are coded in children, which are this program: it has a `main` of its own.

mod children;
mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ad_splicer::bridge;
use ad_splicer::content::FileContent;
use ad_splicer::picture::Picture;
use ad_splicer::splice::{self, Ad, Break, Options};

/// Asks this program for renditions that are made without children.
const HERE: &str = "make-renditions-here";
/// The same of one whose file is no more, with children.
const REMOVED: &str = "make-renditions-when-removed";

const TESTS: &[(&str, fn())] = &[
    (
        "renditions_are_those_that_are_made_in_one_process",
        renditions_are_those_that_are_made_in_one_process,
    ),
    (
        "a_child_that_is_killed_holds_nothing_up",
        a_child_that_is_killed_holds_nothing_up,
    ),
    (
        "a_program_that_was_replaced_starts_itself",
        a_program_that_was_replaced_starts_itself,
    ),
];

fn main() -> std::process::ExitCode {
    let mut args = std::env::args().skip(1);
    let mode = args.next();
    if mode.as_deref() == Some(REMOVED) {
        std::fs::remove_file(std::env::current_exe().expect("a path")).expect("removed");
        use_children();
    }
    if matches!(mode.as_deref(), Some(HERE | REMOVED)) {
        for content in args.map(PathBuf::from) {
            std::fs::write(here(&content), rendition(&content)).expect("a writable folder");
        }
        return std::process::ExitCode::SUCCESS;
    }
    children::main(TESTS)
}

fn use_children() {
    bridge::in_children_of(ad_splicer::this_program().expect("this program has a path"));
}

/// Where the rendition of a content is kept that was made without children.
fn here(content: &Path) -> PathBuf {
    content.with_extension("here")
}

/// Content with an ad amid it, between key frames if it has pictures.
fn rendition(content: &Path) -> Vec<u8> {
    let content = FileContent::open(content).expect("content");
    let options = Options::default();
    let format = splice::probe(&content, &options).expect("content that takes ads");
    let (rate, channels) = (format.sample_rate as usize, usize::from(format.channels));
    let lasts = Duration::from_secs(2);
    let card = |format| Picture::card(format, "Acme", lasts).expect("a card");
    let breaks = [Break {
        ads: vec![Ad {
            picture: format.picture.map(|format| Arc::new(card(format))),
            ..common::ad(rate, channels, 2 * rate, 500.0)
        }],
        ..common::at(3_456, vec![])
    }];
    let mut out = Vec::new();
    splice::splice(&content, &breaks, &options, &mut out).expect("spliced");
    out
}

/// Content of every kind that is coded by large libraries.
fn contents(folder: &Path) -> Vec<PathBuf> {
    let kinds: &[(&str, &[&str])] = &[
        ("aac", &["-c:a", "aac"]),
        ("m4a", &["-c:a", "aac"]),
        ("opus", &["-c:a", "libopus"]),
        ("ogg", &["-c:a", "libvorbis"]),
        ("mp4", &["-map", "0", "-map", "1", "-g", "50", "-c:a", "aac"]),
        ("webm", &["-map", "0", "-map", "1", "-g", "50", "-c:a", "libopus"]),
    ];
    let sound = "anoisesrc=c=pink:a=0.3:seed=7:r=48000:d=8";
    let pictures = "testsrc2=s=192x108:r=25:d=8";
    let input = ["-f", "lavfi", "-i", sound, "-f", "lavfi", "-i", pictures];
    let made = kinds.iter().map(|(ending, coding)| {
        let path = folder.join(format!("content-{ending}.{ending}"));
        let alone: &[&str] = if coding[0] == "-map" { &[] } else { &["-map", "0"] };
        children::ffmpeg(&[&input[..], alone, coding].concat(), &path);
        path
    });
    made.collect()
}

fn renditions_are_those_that_are_made_in_one_process() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let contents = contents(folder.path());
    let this = std::env::current_exe().expect("this program has a path");
    let status = Command::new(this).arg(HERE).args(&contents).status();
    assert!(status.expect("this program starts").success());
    use_children();
    for content in &contents {
        let expected = std::fs::read(here(content)).expect("a rendition");
        let got = rendition(content);
        assert!(
            got == expected,
            "{}: {} bytes, {}",
            content.display(),
            got.len(),
            expected.len()
        );
    }
    let mapped = std::fs::read_to_string("/proc/self/maps").expect("what is in memory");
    for library in ["libavcodec", "libgstlibav", "libx264", "libvpx", "libvorbisenc"] {
        assert!(!mapped.contains(library), "{library} is in this process");
    }
}

/// The children of this process that code.
fn coders() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("threads");
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    let coding = |child: &String| {
        let command = std::fs::read_to_string(format!("/proc/{child}/cmdline"));
        command.is_ok_and(|command| command.contains("code-for-bridges"))
    };
    let all = children.flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    all.filter(coding).collect()
}

/// How often a child began to wait: what reads its tasks does when it has read one.
fn awoke(child: &str) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{child}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt"))?;
    Some(line.to_owned())
}

fn kill(children: &[String]) {
    // One may be gone already.
    Command::new("kill")
        .arg("-KILL")
        .args(children)
        .output()
        .expect("kill starts");
}

fn a_child_that_is_killed_holds_nothing_up() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let content = folder.path().join("content.m4a");
    let sound = "anoisesrc=c=pink:a=0.3:seed=7:r=48000:d=8";
    children::ffmpeg(&["-f", "lavfi", "-i", sound, "-c:a", "aac"], &content);
    use_children();
    let expected = rendition(&content);
    let idle = coders();
    assert!(!idle.is_empty(), "a child waits for more");
    kill(&idle);
    assert!(rendition(&content) == expected, "after it was killed");
    // One that is killed while it works, at whatever it is then: the one that all tasks are given to, as others are
    // only started when it is gone.
    let waiting: Vec<String> = coders();
    let before: Vec<_> = waiting.iter().map(|child| awoke(child)).collect();
    let killer = std::thread::spawn(move || {
        loop {
            let found = coders();
            let works = |child: &&String| match waiting.iter().position(|waiting| waiting == *child) {
                Some(at) => awoke(child) != before[at],
                None => true,
            };
            if let Some(child) = found.iter().find(works) {
                return kill(std::slice::from_ref(child));
            }
            std::thread::yield_now();
        }
    });
    let got = rendition(&content);
    killer.join().expect("a child was there to be killed");
    assert!(got == expected, "while it worked");
}

fn a_program_that_was_replaced_starts_itself() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let content = folder.path().join("content.opus");
    let sound = "anoisesrc=c=pink:a=0.3:seed=7:r=48000:d=8";
    children::ffmpeg(&["-f", "lavfi", "-i", sound, "-c:a", "libopus"], &content);
    let program = folder.path().join("program");
    let this = std::env::current_exe().expect("this program has a path");
    std::fs::copy(this, &program).expect("a copy");
    let status = Command::new(&program).arg(REMOVED).arg(&content).status();
    assert!(status.expect("the copy starts").success());
    assert!(!program.exists());
    let made = std::fs::read(here(&content)).expect("a rendition");
    use_children();
    assert!(made == rendition(&content));
}
