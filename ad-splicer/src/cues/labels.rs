//! Label tracks of audio editors: a line for each, `start TAB end TAB title`, in seconds (Audacity, *Export Labels*).
//!
//! A label whose title says so is a cue point: a point inserts, a region replaces what it spans. Lines that begin with
//! a backslash hold the frequencies of the label before and are passed over. Several tracks may follow each other in one
//! file, but cue points go on in time.

use std::time::Duration;

use super::marks::{Mark, Marks, MarksError, MarksFormat, Options, Order, cue};
use super::{CueSource, Position};
use crate::time::ContentTime;
use crate::timecode;

/// Reads a label track.
pub(super) fn parse(text: &str, options: &Options) -> Result<Marks, MarksError> {
    let mut marks = Vec::new();
    let mut order = Order::default();
    // Some editors end lines as old Macs did.
    let ends = if text.contains('\n') { '\n' } else { '\r' };
    for (number, line) in text.split(ends).enumerate() {
        if line.trim().is_empty() || line.starts_with('\\') {
            continue;
        }
        let fail = |reason: String| MarksError::Line {
            line: number + 1,
            reason,
        };
        let mut fields = line.splitn(3, '\t');
        let (Some(start), Some(end)) = (fields.next(), fields.next()) else {
            return Err(fail(
                "a label is start, end and title in seconds, with tabs between them".into(),
            ));
        };
        let title = fields.next().unwrap_or_default().trim().to_owned();
        let (start, end) = (
            time(start).map_err(|reason| fail(format!("the start {reason}")))?,
            time(end).map_err(|reason| fail(format!("the end {reason}")))?,
        );
        if end < start {
            return Err(fail("the label ends before it starts".into()));
        }
        let replaced = end.saturating_sub(start);
        let position = Position::Time(ContentTime::from(start));
        let is_cue = options.pattern.matches(&title);
        if is_cue {
            order.goes_on(ContentTime::from(start)).map_err(fail)?;
        }
        marks.push(Mark {
            position,
            end: (!replaced.is_zero()).then(|| ContentTime::from(end)),
            cue: is_cue.then(|| {
                cue(
                    format!("label-{}", marks.len() + 1),
                    position,
                    replaced,
                    CueSource::Labels,
                )
            }),
            title,
            source: CueSource::Labels,
        });
    }
    Ok(Marks {
        format: MarksFormat::Labels,
        marks,
        notes: Vec::new(),
    })
}

/// Seconds with any number of decimals; a decimal comma is what some systems write.
fn time(text: &str) -> Result<Duration, String> {
    let number: f64 = text
        .trim()
        .replace(',', ".")
        .parse()
        .map_err(|_| format!("{:?} is no number of seconds", shown(text)))?;
    if !number.is_finite() || number < 0.0 || number > timecode::LONGEST.as_secs_f64() {
        return Err(format!("{:?} is no time in a recording", shown(text)));
    }
    Ok(Duration::from_nanos((number * 1e9).round() as u64))
}

fn shown(text: &str) -> String {
    text.trim().chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Action;
    use super::*;

    fn read(text: &str) -> Result<Marks, MarksError> {
        parse(text, &Options::default())
    }

    #[test]
    fn points_insert_and_regions_replace() {
        let read = read(
            "0.000000\t0.000000\tIntro\n42.540000\t42.540000\tAd break\n\\\t100.0\t2000.0\n60,5\t75,5\tad: read\n\n",
        )
        .expect("labels");
        let cues: Vec<_> = read.cues().collect();
        assert_eq!(read.marks.len(), 3);
        assert_eq!(cues.len(), 2);
        assert_eq!(
            (cues[0].id.as_str(), cues[0].action, cues[0].position.to_string()),
            ("label-2", Action::Insert, "00:00:42.540".into())
        );
        assert_eq!(cues[1].action, Action::Replace(Duration::from_secs(15)));
        assert_eq!(read.marks[0].title, "Intro");
    }

    #[test]
    fn lines_end_as_any_system_ends_them() {
        let lines = ["1\t1\tone", "2\t2\tad", "3\t3\tad"];
        for ends in ["\n", "\r\n", "\r"] {
            let read = read(&lines.join(ends)).expect("labels");
            let titles: Vec<_> = read.marks.iter().map(|mark| mark.title.as_str()).collect();
            assert_eq!(
                (titles, read.cues().count()),
                (vec!["one", "ad", "ad"], 2),
                "{ends:?}"
            );
        }
    }

    #[test]
    fn each_mistake_names_its_line() {
        for (text, reason) in [
            ("1\t2\tad\nhello\n", "line 2: a label is"),
            ("x\t2\tad\n", "line 1: the start \"x\""),
            ("1\t\tad\n", "line 1: the end \"\""),
            ("3\t2\tad\n", "line 1: the label ends before"),
            ("-1\t2\tad\n", "no time in a recording"),
            (
                "9\t9\tone\n8\t8\tad\n42.5\t42.5\tad\n10\t10\tad\n",
                "line 4: the cue point at 00:00:10 comes after the one at 00:00:42.500",
            ),
            (
                "0\t0\tad\n0\t0\tone\n0\t9\tad\n",
                "line 3: there are two cue points at 00:00:00",
            ),
            ("nan\t2\tad\n", "no time in a recording"),
        ] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }
}
