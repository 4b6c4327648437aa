//! `--snap`: cue points are moved into pauses, in video to key frames, and each move is said. Common to `publish` and `splice`.
//!
//! Only cue points that insert, at a time: `start`, `end`, and the two ends of what is replaced mean what they say.

use std::sync::Arc;

use ad_splicer::content::Content;
use ad_splicer::cues::{Action, CuePoint, Position};
use ad_splicer::pauses;
use ad_splicer::splice::Options;
use ad_splicer::time::ContentTime;
use anyhow::Context as _;
use serde::Serialize;

use crate::breaks::place;
use crate::cli::SnapArgs;
use crate::units::human_time;

/// A cue point that was looked at. Times are seconds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Moved {
    /// Where it was.
    pub(crate) from: f64,
    /// Where it is now; the same when there was nowhere to move it.
    pub(crate) to: f64,
    /// `to` less `from`.
    pub(crate) distance: f64,
    /// Length of the pause; `None` when there is none within the tolerance and the cue point stays, and in video.
    pub(crate) pause: Option<f64>,
    /// Whether it is at a key frame now.
    pub(crate) key_frame: bool,
}

/// Moves cue points of content of this duration as the command line says. Those that come to one place play in the order of the times that
/// they had.
pub(crate) async fn snap(
    content: &Arc<dyn Content>,
    duration: ContentTime,
    cues: &mut [CuePoint],
    args: SnapArgs,
) -> anyhow::Result<Vec<Moved>> {
    let Some(tolerance) = args.snap else {
        return Ok(Vec::new());
    };
    cues.sort_by_key(|cue| cue.position.resolve(duration));
    let movable: Vec<&mut CuePoint> = cues
        .iter_mut()
        .filter(|cue| {
            cue.action == Action::Insert && matches!(cue.position, Position::Time(_) | Position::Percent(_))
        })
        .collect();
    let places: Vec<_> = movable.iter().map(|cue| place(cue.position)).collect();
    let content = content.clone();
    let found = tokio::task::spawn_blocking(move || {
        pauses::snap(content.as_ref(), &places, tolerance, &Options::default())
    });
    let found = found
        .await
        .context("looking for pauses")?
        .context("cannot look for pauses")?;
    let mut moved = Vec::new();
    for (cue, found) in movable.into_iter().zip(found) {
        if let Some(snapped) = found {
            cue.position = Position::Time(snapped.to);
            moved.push(Moved {
                from: snapped.from.as_secs_f64(),
                to: snapped.to.as_secs_f64(),
                distance: snapped.distance(),
                pause: snapped.pause.map(|pause| pause.as_secs_f64()),
                key_frame: snapped.pause.is_none(),
            });
        } else if let Position::Time(at) = cue.position {
            let at = at.as_secs_f64();
            moved.push(Moved {
                from: at,
                to: at,
                distance: 0.0,
                pause: None,
                key_frame: false,
            });
        }
    }
    Ok(moved)
}

/// For people.
pub(crate) fn tell(moved: &[Moved]) {
    for one in moved {
        let from = human_time(std::time::Duration::from_secs_f64(one.from));
        match one.pause {
            Some(pause) => eprintln!(
                "note: the cue point at {from} is moved by {:+.3} s into a pause of {pause:.2} s",
                one.distance
            ),
            None if one.key_frame => {
                eprintln!(
                    "note: the cue point at {from} is moved by {:+.3} s to a key frame",
                    one.distance
                );
            }
            None => eprintln!(
                "note: there is no pause (in video: no key frame) near enough to the cue point at {from}: it stays"
            ),
        }
    }
    for together in moved.chunk_by(|one, other| one.to.total_cmp(&other.to).is_eq()) {
        let (Some(first), true) = (together.first(), together.len() > 1) else {
            continue;
        };
        eprintln!(
            "note: {} breaks are one at {} now",
            together.len(),
            human_time(std::time::Duration::from_secs_f64(first.to))
        );
    }
}
