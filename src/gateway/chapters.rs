//! The chapters of an episode as JSON (podcast namespace), moved to where they are in what a client gets of it. Pure.
//!
//! Whatever else the document says stays; times that are none do too.

use ad_splicer::time::{ContentTime, PresentationTime};
use serde_json::{Number, Value};

/// No recording is longer, in seconds.
const LONGEST: f64 = 1e6;

/// The document with its times moved; `None` when it holds no list of chapters.
pub(super) fn moved(document: &[u8], to: &dyn Fn(ContentTime) -> PresentationTime) -> Option<Vec<u8>> {
    let document = document.strip_prefix("\u{feff}".as_bytes()).unwrap_or(document);
    let mut document: Value = serde_json::from_slice(document).ok()?;
    for chapter in document.get_mut("chapters")?.as_array_mut()? {
        for name in ["startTime", "endTime"] {
            let Some(time) = chapter.get_mut(name) else {
                continue;
            };
            let seconds = time.as_f64().filter(|seconds| (0.0..LONGEST).contains(seconds));
            let Some(seconds) = seconds else { continue };
            let there = to(ContentTime::from_secs_f64(seconds)).as_secs_f64();
            // Milliseconds do, as in files.
            let there = (there * 1000.0).round() / 1000.0;
            if (there - seconds).abs() >= 0.001
                && let Some(there) = Number::from_f64(there)
            {
                *time = Value::Number(there);
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
        let found = moved(document.to_string().as_bytes(), &later).expect("chapters");
        let mut due = document;
        due["chapters"][1]["startTime"] = json!(90.75);
        due["chapters"][1]["endTime"] = json!(150.25);
        assert_eq!(serde_json::from_slice::<Value>(&found).expect("JSON"), due);
    }

    #[test]
    fn what_holds_no_chapters_is_none() {
        for document in ["", "[]", "{}", r#"{"chapters": 1}"#, "<html>"] {
            let stays = |time: ContentTime| PresentationTime::from_nanos(time.as_nanos());
            assert_eq!(moved(document.as_bytes(), &stays), None, "{document}");
        }
    }
}
