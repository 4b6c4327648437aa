//! Refuses cue points that can be no break: after the end of the content, longer than what is left of it, within what another one replaces, or where the content's pictures cannot be cut. Common to `publish` and `splice`.
//!
//! What a file says of its own length may be wrong: nothing is refused before its frames are counted.

use std::sync::Arc;
use std::time::Duration;

use ad_splicer::content::Content;
use ad_splicer::cues::{Action, CuePoint, Position, in_order};
use ad_splicer::splice::{self, StreamFormat, notes};
use ad_splicer::time::ContentTime;
use anyhow::Context as _;

use crate::breaks::spot;
use crate::output::{Explain, bad_input};
use crate::rendition::PATIENT;
use crate::units::human_time;

/// By how much a replacement up to the end may be longer than what is left: marks are rounded, and durations may be.
const ROUNDED: Duration = Duration::from_secs(1);

/// Looks at all of them; `media` is what the content is called. Gives how long the content is, counted when what its beginning
/// says would have led to a refusal.
pub(crate) async fn check(
    points: &[CuePoint],
    content: &Arc<dyn Content>,
    format: &StreamFormat,
    media: &str,
) -> anyhow::Result<ContentTime> {
    if refusal(points, format.duration, media).is_ok() {
        return Ok(format.duration);
    }
    let content = content.clone();
    let counted = tokio::task::spawn_blocking(move || splice::count_length(content.as_ref(), &PATIENT))
        .await
        .context("counting frames")?
        .or_bad_input(|| format!("ads cannot be put into {media}"))?
        .duration;
    refusal(points, counted, media)?;
    Ok(counted)
}

/// Refuses those at which the pictures of content of this length cannot be cut.
pub(crate) async fn check_cuts(
    points: &[CuePoint],
    duration: ContentTime,
    content: &Arc<dyn Content>,
    media: &str,
) -> anyhow::Result<()> {
    let placed = in_order(points, duration);
    let places = placed.iter().enumerate().map(|(index, placed)| {
        let spot = spot(index, placed);
        (spot.at, spot.replace)
    });
    let (content, places) = (content.clone(), places.collect::<Vec<_>>());
    let found = tokio::task::spawn_blocking(move || notes::uncut(content.as_ref(), &places, &PATIENT));
    // What else is wrong with content is said when it is spliced.
    let found = found.await.context("looking at pictures")?.unwrap_or_default();
    for (placed, reason) in placed.iter().zip(found) {
        if let Some(reason) = reason {
            return Err(bad_input(format!(
                "no ads can be put into {media} at {}: {reason}",
                shown(placed.at)
            )));
        }
    }
    Ok(())
}

/// The error when one of them can be no break.
fn refusal(points: &[CuePoint], duration: ContentTime, media: &str) -> anyhow::Result<()> {
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
        let length = match placed.cue.action {
            Action::Insert => Duration::ZERO,
            Action::Replace(length) => length,
        };
        let left = duration.since(placed.at);
        let end = placed.at.saturating_add(length.min(left));
        match replaced {
            // Ads at one place follow each other, and what several of them replace is replaced once.
            Some((from, to)) if placed.at == from && (length.is_zero() || end == to) => {}
            Some((from, to)) if placed.at == from && placed.at < to => {
                return Err(bad_input(format!(
                    "one cue point at {} replaces the content up to {}, and another one up to {}",
                    shown(from),
                    shown(to),
                    shown(end)
                )));
            }
            Some((from, to)) if placed.at < to => {
                return Err(bad_input(format!(
                    "the cue point at {} is within what the one at {} replaces, up to {}",
                    shown(placed.at),
                    shown(from),
                    shown(to)
                )));
            }
            _ => {}
        }
        if length > left + ROUNDED {
            return Err(bad_input(format!(
                "the cue point at {} replaces {}, and only {} of {media} are left there",
                shown(placed.at),
                human_time(length),
                human_time(left)
            )));
        }
        if !length.is_zero() {
            replaced = Some((placed.at, end));
        }
    }
    Ok(())
}

/// A time as people write it.
pub(crate) fn shown(time: ContentTime) -> String {
    human_time(Duration::from_nanos(time.as_nanos()))
}
