//! `grove cues`: every mark in a file, and which of them are cue points; or proposals for breaks where there are none.
//!
//! Not for: publishing them (`grove publish --cues` reads the same files the same way).

use std::path::Path;
use std::time::Duration;

use ad_splicer::content::FileContent;
use ad_splicer::cues::marks::{self, Mark, Marks, Options, TitlePattern};
use ad_splicer::cues::{Action, CueSource, Position};
use ad_splicer::one_line::one_line;
use ad_splicer::pauses::{self, Suggestion};
use ad_splicer::splice;
use ad_splicer::timecode;
use serde_json::{Value, json};

use crate::cli::{CuesArgs, MarkArgs};
use crate::output::{ExitStatus, Explain, Outcome, print_json, print_line};
use crate::units::human_time;

/// Lists the marks of one file.
pub(crate) fn run(args: &CuesArgs, json: bool) -> Outcome {
    if let Some(count) = args.suggest {
        return suggest(&args.file, count.map(usize::from), json);
    }
    let read = read(&args.file, &args.marks)?;
    if json {
        print_json(&as_json(&args.file, &read));
    } else {
        print_text(&args.file, &read);
    }
    Ok(ExitStatus::Done)
}

/// Reads the marks of a file as the command line says; what is wrong with it is bad input.
pub(crate) fn read(path: &Path, args: &MarkArgs) -> anyhow::Result<Marks> {
    let pattern = match &args.pattern {
        Some(text) => text
            .parse::<TitlePattern>()
            .or_bad_input(|| format!("--match {text} is no regular expression"))?,
        None => TitlePattern::default(),
    };
    let options = Options {
        pattern,
        first_pts: args.first_pts,
    };
    marks::read(path, &options).or_bad_input(|| format!("cannot take cue points from {}", path.display()))
}

/// Lists places for breaks, in pauses.
fn suggest(path: &Path, count: Option<usize>, json: bool) -> Outcome {
    let content = FileContent::open(path).or_bad_input(|| format!("cannot read {}", path.display()))?;
    let found = pauses::suggest(&content, count, &splice::Options::default())
        .or_bad_input(|| format!("no breaks can be proposed for {}", path.display()))?;
    let position =
        |place: &Suggestion| timecode::format(Duration::from_millis(place.at.as_millis())).to_string();
    if json {
        let suggestions: Vec<Value> = found
            .iter()
            .map(|place| {
                json!({
                    "position": position(place),
                    "seconds": place.at.as_secs_f64(),
                    "pause": place.pause.as_secs_f64(),
                })
            })
            .collect();
        print_json(
            &json!({ "event": "suggestions", "file": path.to_string_lossy(), "suggestions": suggestions }),
        );
        return Ok(ExitStatus::Done);
    }
    print_line(&format!(
        "{}: {} place{} for breaks",
        path.display(),
        found.len(),
        if found.len() == 1 { "" } else { "s" }
    ));
    for place in &found {
        print_line(&format!(
            "{:>15}  in a pause of {:.2} s",
            position(place),
            place.pause.as_secs_f64()
        ));
    }
    match count {
        _ if found.is_empty() => eprintln!("note: there are no pauses where breaks would be"),
        Some(count) if found.len() < count => {
            let missing = match count - found.len() {
                1 => "place".to_owned(),
                missing => format!("{missing} places"),
            };
            eprintln!("note: there are no pauses near the other {missing}");
        }
        _ => {}
    }
    if !found.is_empty() {
        let cues: Vec<String> = found
            .iter()
            .map(|place| format!("--cue {}", position(place)))
            .collect();
        eprintln!("hint: `grove publish` takes them as {}", cues.join(" "));
    }
    Ok(ExitStatus::Done)
}

fn source_name(source: CueSource) -> &'static str {
    match source {
        CueSource::CommandLine => "command line",
        CueSource::Vmap => "vmap",
        CueSource::Labels => "labels",
        CueSource::Chapters => "chapters",
        CueSource::Hls => "hls",
        CueSource::Scte35 => "scte35",
    }
}

fn as_json(file: &Path, read: &Marks) -> Value {
    let marks: Vec<Value> = read.marks.iter().map(mark_json).collect();
    json!({
        "event": "cues",
        "file": file,
        "format": read.format.name(),
        "cues": read.cues().count(),
        "marks": marks,
        "notes": read.notes,
    })
}

fn mark_json(mark: &Mark) -> Value {
    let seconds = match mark.position {
        Position::Time(time) => Some(time.as_secs_f64()),
        Position::Start => Some(0.0),
        Position::End | Position::Percent(_) => None,
    };
    let cue = mark.cue.as_ref();
    json!({
        "position": mark.position.to_string(),
        "seconds": seconds,
        "end": mark.end.map(ad_splicer::time::ContentTime::as_secs_f64),
        "title": mark.title,
        "source": source_name(mark.source),
        "cue": cue.is_some(),
        "id": cue.map(|cue| cue.id.as_str()),
        "replace": cue.and_then(|cue| match cue.action {
            Action::Insert => None,
            Action::Replace(length) => Some(length.as_secs_f64()),
        }),
        "repeat_after": cue.and_then(|cue| cue.repeat_after).map(|every| every.as_secs_f64()),
    })
}

fn print_text(file: &Path, read: &Marks) {
    let cues = read.cues().count();
    print_line(&format!(
        "{}: {}, {} mark{}, {cues} of them cue point{}",
        file.display(),
        read.format.name(),
        read.marks.len(),
        if read.marks.len() == 1 { "" } else { "s" },
        if cues == 1 { "" } else { "s" },
    ));
    for mark in &read.marks {
        let kind = match mark.cue.as_ref().map(|cue| cue.action) {
            Some(Action::Insert) => "cue: inserts".to_owned(),
            Some(Action::Replace(length)) => format!("cue: replaces {}", human_time(length)),
            None if mark.source == CueSource::Labels => "label only".to_owned(),
            None => "chapter only".to_owned(),
        };
        let every = mark.cue.as_ref().and_then(|cue| cue.repeat_after);
        let kind = match every {
            Some(every) => format!("{kind}, again every {}", human_time(every)),
            None => kind,
        };
        print_line(&format!(
            "{:>15}  {kind:<24}  {}",
            mark.position.to_string(),
            one_line(&mark.title)
        ));
    }
    for note in &read.notes {
        eprintln!("note: {note}");
    }
    if cues == 0 && !read.marks.is_empty() {
        eprintln!(
            "hint: --match REGEX says which titles are breaks (by default {})",
            marks::DEFAULT_PATTERN
        );
    }
}
