//! Natural pauses in content: cue points moved into them (in video: to key frames), and breaks proposed in them.
//!
//! Nothing is moved silently: what was moved says from where. Not for deciding whether to move (the publisher says so), nor for what a pause is (`silence`).

use std::time::Duration;

use crate::content::Content;
use crate::silence;
use crate::splice::format::{Track, recognise, with_track};
use crate::splice::layout::sample_of;
use crate::splice::{At, Options, SpliceError};
use crate::time::{ContentTime, duration_of};

/// How far around a place the sound is looked at to say what is quiet there.
const AROUND: Duration = Duration::from_secs(10);
/// How much is decoded at once.
const AT_ONCE: Duration = Duration::from_secs(60);
/// One break for so much content, when nobody says how many.
const SPACING: Duration = Duration::from_secs(600);
/// A pause does not become better by being longer than this, in seconds.
const LONG: f64 = 1.5;

/// A cue point that was moved into a pause, or to a key frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapped {
    /// Where it was.
    pub from: ContentTime,
    /// Where it is: in the middle of the pause, or as near to it as the tolerance allows.
    pub to: ContentTime,
    /// Length of the pause; `None` when this is a key frame of video, before which pictures can be cut without coding any again.
    pub pause: Option<Duration>,
}

impl Snapped {
    /// How far it was moved, in seconds; below zero when to an earlier place.
    pub fn distance(&self) -> f64 {
        self.to.as_secs_f64() - self.from.as_secs_f64()
    }
}

/// A place for a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// The middle of the pause.
    pub at: ContentTime,
    /// Length of the pause.
    pub pause: Duration,
}

/// For each cue the place in the nearest pause, in video the nearest key frame, at most `tolerance` away; `None` where there is none that near, and for cues outside the content. Only the surroundings of the
/// cues are decoded.
///
/// # Errors
/// Those of [`crate::splice::prepare`] that are no break's fault.
pub fn snap(
    content: &dyn Content,
    cues: &[At],
    tolerance: Duration,
    options: &Options,
) -> Result<Vec<Option<Snapped>>, SpliceError> {
    let head = recognise(content, options)?;
    with_track(head.as_ref(), |track| {
        cues.iter().map(|cue| snap_one(track, *cue, tolerance)).collect()
    })
}

fn snap_one(track: &dyn Track, cue: At, tolerance: Duration) -> Result<Option<Snapped>, SpliceError> {
    let stream = track.stream();
    let rate = stream.sample_rate;
    let at = sample_of(cue, rate, stream.samples);
    if at > stream.samples {
        return Ok(None);
    }
    let tolerance = ContentTime::from(tolerance).to_samples(rate);
    // Cue points are written in milliseconds.
    let written = |sample: u64| ContentTime::from_millis(ContentTime::from_samples(sample, rate).as_millis());
    let from = ContentTime::from_samples(at, rate);
    if let Some(key) = track.key_near(at, tolerance) {
        return Ok(key?.map(|key| Snapped {
            from,
            to: written(key),
            pause: None,
        }));
    }
    let reach = tolerance.saturating_add(ContentTime::from(AROUND).to_samples(rate));
    let near = at.saturating_sub(reach)..at.saturating_add(reach).min(stream.samples);
    let pcm = track.decode(near.clone())?;
    let found = silence::nearest(
        &pcm,
        usize::from(stream.channels),
        rate,
        (at - near.start) as usize,
        tolerance as usize,
    );
    Ok(found.map(|pause| {
        let middle = near.start + (pause.start + pause.samples / 2) as u64;
        let to = middle.clamp(
            at.saturating_sub(tolerance),
            at.saturating_add(tolerance).min(stream.samples),
        );
        Snapped {
            from,
            to: written(to),
            pause: Some(duration_of(pause.samples as u64, rate)),
        }
    }))
}

/// Proposes breaks in natural pauses, spread evenly: `count` of them, or one for each ten minutes and at least one. Fewer where there are no pauses. All of the content is decoded.
///
/// # Errors
/// Those of [`crate::splice::prepare`].
pub fn suggest(
    content: &dyn Content,
    count: Option<usize>,
    options: &Options,
) -> Result<Vec<Suggestion>, SpliceError> {
    let head = recognise(content, options)?;
    with_track(head.as_ref(), |track| suggest_in(track, count))
}

fn suggest_in(track: &dyn Track, count: Option<usize>) -> Result<Vec<Suggestion>, SpliceError> {
    let stream = track.stream();
    let (rate, channels) = (stream.sample_rate, usize::from(stream.channels));
    let block = silence::block(rate) as u64;
    // Whole blocks at a time, so that a block never falls apart.
    let step = (ContentTime::from(AT_ONCE).to_samples(rate) / block).max(1) * block;
    let mut powers = Vec::new();
    let mut at = 0;
    while at < stream.samples {
        let end = (at + step).min(stream.samples);
        powers.extend(silence::powers(&track.decode(at..end)?, channels, rate));
        at = end;
    }
    let seconds = duration_of(stream.samples, rate).as_secs();
    let count = count.unwrap_or_else(|| (seconds / SPACING.as_secs()).max(1) as usize);
    let per_second = f64::from(rate) / block as f64;
    let reach = (AROUND.as_secs_f64() * per_second) as usize;
    let chosen = choose(
        &silence::quiet_runs(&powers, reach),
        powers.len(),
        count,
        per_second,
    );
    Ok(chosen
        .into_iter()
        .map(|run| Suggestion {
            at: ContentTime::from_millis(
                ContentTime::from_samples((run.start + run.end) as u64 * block / 2, rate).as_millis(),
            ),
            pause: duration_of(run.len() as u64 * block, rate),
        })
        .collect())
}

/// Of the quiet runs, for each of `count` even places the one that is long and not far from it. None at the very beginning or end, and none twice.
fn choose(
    runs: &[std::ops::Range<usize>],
    blocks: usize,
    count: usize,
    per_second: f64,
) -> Vec<std::ops::Range<usize>> {
    let spacing = blocks as f64 / (count as f64 + 1.0);
    let reach = spacing / 2.0;
    let worth = |run: &std::ops::Range<usize>, target: f64| {
        let middle = (run.start + run.end) as f64 / 2.0;
        let distance = (middle - target).abs();
        let within = distance <= reach && run.start > 0 && run.end < blocks;
        within.then(|| (run.len() as f64 / per_second).min(LONG) / LONG - distance / reach)
    };
    let mut chosen: Vec<std::ops::Range<usize>> = (1..=count)
        .filter_map(|number| {
            let target = spacing * number as f64;
            let rated = runs.iter().filter_map(|run| Some((worth(run, target)?, run)));
            rated
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map(|(_, run)| run.clone())
        })
        .collect();
    chosen.dedup();
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_places_get_the_best_pause_near_them() {
        // Blocks of 10 ms: a minute, three places: at 15, 30 and 45 s.
        let runs = [0..40, 1_480..1_500, 1_700..1_850, 3_100..3_120, 5_960..6_000];
        assert_eq!(choose(&runs, 6_000, 3, 100.0), [1_700..1_850, 3_100..3_120]);
        assert_eq!(
            choose(&runs, 6_000, 0, 100.0),
            Vec::<std::ops::Range<usize>>::new()
        );
        assert_eq!(choose(&[], 6_000, 4, 100.0), Vec::<std::ops::Range<usize>>::new());
    }
}
