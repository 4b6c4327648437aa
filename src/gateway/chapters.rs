//! The chapters of an episode as JSON (podcast namespace), moved to where they are in what a client gets of it. Pure.
//!
//! Whatever else the document says stays; times that are none do too. A chapter of which nothing is left, since ads take the place of all of it, is left out.

use ad_splicer::chapters::next_later;
use ad_splicer::time::{ContentTime, PresentationTime};
use serde_json::{Number, Value};

/// No recording is longer, in seconds.
const LONGEST: f64 = 1e6;

/// A time of a chapter, in seconds; `None` when it is none.
fn time(chapter: &Value, name: &str) -> Option<f64> {
    let seconds = chapter.get(name)?.as_f64();
    seconds.filter(|seconds| (0.0..LONGEST).contains(seconds))
}

/// The document with its times moved as `to` says, without the chapters that `gone` says of by their beginnings and ends (without one, it is the content's); `None` when it holds no list of chapters.
pub(super) fn moved(
    document: &[u8],
    to: &dyn Fn(ContentTime) -> PresentationTime,
    gone: &dyn Fn(ContentTime, Option<ContentTime>) -> bool,
) -> Option<Vec<u8>> {
    let document = document.strip_prefix("\u{feff}".as_bytes()).unwrap_or(document);
    let mut document: Value = serde_json::from_slice(document).ok()?;
    let chapters = document.get_mut("chapters")?.as_array_mut()?;
    let at = |chapter: &Value, name| time(chapter, name).map(ContentTime::from_secs_f64);
    let starts: Vec<ContentTime> = chapters
        .iter()
        .filter_map(|chapter| at(chapter, "startTime"))
        .collect();
    let mut ends = next_later(&starts).into_iter();
    chapters.retain(|chapter| {
        let Some(start) = at(chapter, "startTime") else {
            return true;
        };
        let next = ends.next().flatten();
        !gone(start, at(chapter, "endTime").or(next))
    });
    for chapter in chapters {
        for name in ["startTime", "endTime"] {
            let Some(seconds) = time(chapter, name) else {
                continue;
            };
            let there = to(ContentTime::from_secs_f64(seconds)).as_secs_f64();
            // Milliseconds do, as in files.
            let there = (there * 1000.0).round() / 1000.0;
            if (there - seconds).abs() >= 0.001
                && let Some(there) = Number::from_f64(there)
            {
                chapter[name] = Value::Number(there);
            }
        }
    }
    serde_json::to_vec(&document).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_move_and_the_rest_stays() {
        let document = json!({
            "version": "1.2.0", "fileName": "ep1.mp3", "chapters": [
                { "startTime": 0, "title": "One", "img": "https://x.example/1.png" },
                { "startTime": 60.5, "endTime": 120, "title": "Two", "toc": false },
                { "startTime": -1, "title": "none" },
                { "startTime": "1:00", "title": "none either" },
                { "title": "nowhere" },
            ], "waypoints": true,
        });
        let later = |time: ContentTime| {
            let millis = time.as_nanos() / 1_000_000;
            PresentationTime::from_millis(if millis < 60_000 { millis } else { millis + 30_250 })
        };
        let found = moved(document.to_string().as_bytes(), &later, &|_, _| false).expect("chapters");
        let mut due = document;
        due["chapters"][1]["startTime"] = json!(90.75);
        due["chapters"][1]["endTime"] = json!(150.25);
        assert_eq!(serde_json::from_slice::<Value>(&found).expect("JSON"), due);
    }

    #[test]
    fn chapters_last_until_the_next_when_they_do_not_say() {
        let document = json!({ "chapters": [
            { "startTime": 30, "title": "Three" },
            { "startTime": 0, "title": "One" },
            { "startTime": 20, "endTime": 25, "title": "Two" },
            { "title": "nowhere" },
        ] });
        let asked = std::cell::RefCell::new(Vec::new());
        let gone = |start: ContentTime, end: Option<ContentTime>| {
            asked
                .borrow_mut()
                .push((start.as_millis(), end.map(ContentTime::as_millis)));
            start.as_millis() == 20_000
        };
        let stays = |time: ContentTime| PresentationTime::from_nanos(time.as_nanos());
        let found = moved(document.to_string().as_bytes(), &stays, &gone).expect("chapters");
        let due = [(30_000, None), (0, Some(20_000)), (20_000, Some(25_000))];
        assert_eq!(*asked.borrow(), due);
        let found: Value = serde_json::from_slice(&found).expect("JSON");
        let titles: Vec<&str> = found["chapters"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|chapter| chapter["title"].as_str())
            .collect();
        assert_eq!(titles, ["Three", "One", "nowhere"]);
    }

    #[test]
    fn what_holds_no_chapters_is_none() {
        for document in ["", "[]", "{}", r#"{"chapters": 1}"#, "<html>"] {
            let stays = |time: ContentTime| PresentationTime::from_nanos(time.as_nanos());
            let found = moved(document.as_bytes(), &stays, &|_, _| false);
            assert_eq!(found, None, "{document}");
        }
    }
}
