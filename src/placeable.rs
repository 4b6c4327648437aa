//! Refuses cue points that can be no break: after the end of the content, longer than what is left of it, or within what another one replaces. Common to `publish` and `splice`.

use std::time::Duration;

use ad_splicer::cues::{Action, CuePoint, Position, in_order};
use ad_splicer::time::ContentTime;

use crate::output::bad_input;
use crate::units::human_time;

/// By how much a replacement up to the end may be longer than what is left: marks are rounded, and durations may be.
const ROUNDED: Duration = Duration::from_secs(1);

/// Looks at all of them; `media` is what the content is called.
pub(crate) fn check(points: &[CuePoint], duration: ContentTime, media: &str) -> anyhow::Result<()> {
    let beyond = points.iter().find_map(|cue| match cue.position {
        Position::Time(time) if time > duration => Some(time),
        _ => None,
    });
    if let Some(time) = beyond {
        return Err(bad_input(format!(
            "the cue point at {} is after the end of {media}, which lasts {}",
            shown(time),
            shown(duration)
        )));
    }
    let mut replaced: Option<(ContentTime, ContentTime)> = None;
    for placed in in_order(points, duration) {
        if let Some((from, to)) = replaced.filter(|(_, to)| placed.at < *to) {
            return Err(bad_input(format!(
                "the cue point at {} is within what the one at {} replaces, up to {}",
                shown(placed.at),
                shown(from),
                shown(to)
            )));
        }
        if let Action::Replace(length) = placed.cue.action {
            let left = duration.since(placed.at);
            if length > left + ROUNDED {
                return Err(bad_input(format!(
                    "the cue point at {} replaces {}, and only {} of {media} are left there",
                    shown(placed.at),
                    human_time(length),
                    human_time(left)
                )));
            }
            replaced = Some((placed.at, placed.at.saturating_add(length)));
        }
    }
    Ok(())
}

/// A time as people write it.
pub(crate) fn shown(time: ContentTime) -> String {
    human_time(Duration::from_nanos(time.as_nanos()))
}
