//! Previews: only the seconds around each break.
//!
//! What lies between is replaced with about half a second of silence (and an empty card in video), as a break would: so each format writes a valid file, and what surrounds a break is, frame by frame, what the whole rendition has there.
//! What lies before the first break and behind the last one leaves only a few hundredths of a second.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::format::recognise;
use super::layout::sample_of;
use super::{Ad, At, Break, Options, SpliceError};
use crate::content::Content;
use crate::picture::Picture;
use crate::time::{ContentTime, duration_of};

/// How long the silence between two breaks is, or less than a step longer.
const BETWEEN: Duration = Duration::from_millis(500);

/// How long it is before and after everything.
const OUTSIDE: Duration = Duration::from_millis(50);

/// The id of the silence, which is no ad.
pub const CUT: &str = "";

/// What has to be given to [`super::prepare`] beside `breaks`, so that only `around` of content on both sides of each of them is left. Breaks without ads count for nothing.
///
/// # Errors
/// Those of [`super::prepare`] that are no break's fault.
pub fn cuts(
    content: &dyn Content,
    breaks: &[Break],
    around: Duration,
    options: &Options,
) -> Result<Vec<Break>, SpliceError> {
    let head = recognise(content, options)?;
    let track = head.open()?;
    let (stream, steps) = (track.stream(), track.frames().steps);
    let (rate, samples) = (stream.sample_rate, stream.samples);
    let around = ContentTime::from(around).to_samples(rate);
    let kept = breaks.iter().filter(|given| !given.ads.is_empty()).map(|given| {
        let start = sample_of(given.at, rate, samples).min(samples);
        let end = start.saturating_add(ContentTime::from(given.replace).to_samples(rate));
        start.saturating_sub(around)..end.saturating_add(around).min(samples)
    });
    let least = |lasts| ContentTime::from(lasts).to_samples(rate);
    // As much longer as it takes for the content to move by whole steps: the breaks end as they do in the whole rendition.
    let lasting = |span: &Range<u64>| {
        let is_outside = span.start == 0 || span.end == samples;
        let least = least(if is_outside { OUTSIDE } else { BETWEEN });
        let span = track.cut(span).unwrap_or_else(|_| span.clone());
        let missing = (span.end - span.start) as i64 - least as i64;
        least + missing.rem_euclid(i64::from(steps.size.max(1))) as u64
    };
    let card = head
        .picture()
        .map(|format| Picture::card(format, "", BETWEEN).map(Arc::new));
    let picture = card
        .transpose()
        .map_err(|error| SpliceError::Unsupported(error.to_string()))?;
    let silence = |samples: u64| Ad {
        id: CUT.to_owned(),
        pcm: vec![0.0; samples as usize * usize::from(stream.channels)].into(),
        picture: picture.clone(),
    };
    Ok(between(kept.collect(), samples, least(BETWEEN))
        .into_iter()
        .map(|span| Break {
            at: At::Time(ContentTime::from_samples(span.start, rate)),
            replace: duration_of(span.end - span.start, rate),
            ads: vec![silence(lasting(&span))],
        })
        .collect())
}

/// What of `0..samples` is in none of `kept`, as far as it is longer than `worth`.
fn between(mut kept: Vec<Range<u64>>, samples: u64, worth: u64) -> Vec<Range<u64>> {
    kept.sort_by_key(|span| span.start);
    kept.push(samples..samples);
    let mut from = 0_u64;
    let mut cuts = Vec::new();
    for span in kept {
        if span.start > from.saturating_add(worth) {
            cuts.push(from..span.start);
        }
        from = from.max(span.end);
    }
    cuts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_far_from_every_break_is_cut() {
        assert_eq!(
            between(vec![900..1_100, 100..300, 250..350], 5_000, 100),
            [350..900, 1_100..5_000]
        );
        // What is hardly longer than a cut is not worth one.
        assert!(between(vec![20..250, 50..250], 300, 100).is_empty());
    }
}
