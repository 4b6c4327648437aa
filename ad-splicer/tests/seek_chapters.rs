//! Seeking in renditions whose heads differ from the content's: chapters in the tags, which every break moves.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ad_splicer::content::{Content, FileContent};
use ad_splicer::play::{Growing, Located};
use ad_splicer::splice::{self, Options};
use ad_splicer::time::PresentationTime;
use common::{Fixture, mid_rolls, run};

/// The same packets, with chapters that [`mid_rolls`] move.
fn with_chapters(from: &Path) -> PathBuf {
    let chapters = from.with_file_name("chapters.txt");
    let list = [(0, 15), (15, 25), (25, 40)].map(|(start, end)| {
        format!("[CHAPTER]\nTIMEBASE=1/1\nSTART={start}\nEND={end}\ntitle=From {start}\n")
    });
    let text = format!(";FFMETADATA1\n{}", list.concat());
    std::fs::write(&chapters, text).unwrap();
    let kind = from.extension().unwrap().to_str().unwrap();
    // ffmpeg writes no chapters into these, but tags as they are.
    let given = match kind {
        "ogg" | "flac" => ["-metadata", "CHAPTER001=00:00:25.000"],
        _ => ["-map_chapters", "1"],
    };
    let to = from.with_file_name(format!("chapters.{kind}"));
    let [from, chapters, to] = [from, &chapters, &to].map(|path| path.to_str().unwrap().to_owned());
    let files = ["-v", "error", "-i", &from, "-i", &chapters, "-map", "0:a"];
    run(
        "ffmpeg",
        &[&files[..], &given, &["-c", "copy", &to]].concat(),
        None,
    );
    to.into()
}

/// Where playback goes on from each of these seconds, when two breaks were decided after it began; and whether the chapters were moved.
fn located(path: &Path, seconds: &[u64]) -> (Vec<Located>, bool) {
    let content: Arc<dyn Content> = Arc::new(FileContent::open(path).unwrap());
    let options = Options {
        growing: true,
        measured: true,
        ..Options::default()
    };
    let prepare = |breaks: &[_]| splice::prepare(content.as_ref(), breaks, &options).unwrap();
    let (plain, spliced) = (prepare(&[]), prepare(&mid_rolls(48_000, 2)[..2]));
    let moved = spliced.report().chapters != plain.report().chapters;
    let growing = Growing::new(content.clone(), plain);
    growing.replace(spliced).unwrap();
    let find = |second: &u64| growing.locate(PresentationTime::from_millis(second * 1_000));
    let found = seconds
        .iter()
        .map(|second| find(second).unwrap_or_else(|| panic!("{}: nothing at {second} s", path.display())));
    (found.collect(), moved)
}

#[test]
fn moved_chapters_hide_no_place() {
    for (name, coding) in [
        ("content.opus", "-c:a libopus -b:a 64k"),
        ("content.ogg", "-c:a libvorbis"),
        ("content.flac", "-c:a flac"),
    ] {
        let coding: Vec<&str> = coding.split(' ').collect();
        let fixture = Fixture::new(name, 48_000, 2, &coding);
        let seconds = [0, 6, 14, 21, 33, 39];
        let (plain, _) = located(&fixture.content, &seconds);
        let (found, moved) = located(&with_chapters(&fixture.content), &seconds);
        assert!(moved, "{name}: no chapter was moved");
        for (second, (found, plain)) in seconds.iter().zip(found.iter().zip(&plain)) {
            assert_eq!(found.lead, plain.lead, "{name} at {second} s");
        }
    }
}
