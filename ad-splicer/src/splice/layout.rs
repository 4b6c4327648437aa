//! Breaks laid out on the content's samples: what is common to all formats before a byte is made.

use std::ops::Range;

use super::format::Track;
use super::{Ad, At, Break, SpliceError, SplicedAd};
use crate::chapters::next_later;
use crate::plan::{PlanError, PlannedBreak, Segment, SplicePlan, endings};
use crate::time::{ContentTime, PresentationTime, duration_of};

/// A break in content samples, with the silence after it.
#[derive(Clone, Debug)]
pub(crate) struct Spot<'a> {
    /// Its index in the breaks that were given.
    pub(crate) index: usize,
    /// The content samples that it takes the place of; empty to insert.
    pub(crate) span: Range<u64>,
    /// How many samples later it begins in the time that players count than in content samples.
    late: i64,
    /// Samples of silence before the ads.
    pub(super) lead: u64,
    /// Samples of silence after the ads; below zero, how many of the last of them are left out.
    pub(crate) ending: i64,
    pub(crate) ads: &'a [Ad],
    channels: usize,
}

impl Spot<'_> {
    /// Samples of its ads and of the silence around them.
    pub(crate) fn added(&self) -> u64 {
        let ads: u64 = self.ads.iter().map(|ad| ad.samples(self.channels)).sum();
        (self.lead + ads).saturating_add_signed(self.ending)
    }

    /// The same with other ads of the same lengths.
    pub(super) fn with<'b>(&'b self, ads: &'b [Ad]) -> Spot<'b> {
        Spot { ads, ..self.clone() }
    }

    /// Where its ads are in samples in which it begins with this one.
    pub(super) fn places(&self, begins: usize) -> Vec<Range<usize>> {
        let mut at = begins + self.lead as usize;
        let last = self.ads.iter().rposition(|ad| !ad.pcm.is_empty());
        let ads = self.ads.iter().enumerate();
        let places = ads.map(|(i, ad)| {
            let less = if Some(i) == last { self.ending.min(0) } else { 0 };
            let place = at..at + ad.samples(self.channels).saturating_add_signed(less) as usize;
            at = place.end;
            place
        });
        places.collect()
    }

    /// Something about it failed.
    pub(super) fn failed(&self, reason: &dyn std::fmt::Display) -> SpliceError {
        SpliceError::Bridge {
            break_index: self.index,
            reason: reason.to_string(),
        }
    }

    /// Channels of its ads.
    pub(super) fn channels(&self) -> usize {
        self.channels
    }

    /// How many samples later (or earlier) the content stands after it.
    pub(crate) fn shift(&self) -> i64 {
        self.added() as i64 - (self.span.end - self.span.start) as i64
    }
}

/// Breaks in their order on the content, and the plan that they make.
#[derive(Debug)]
pub(crate) struct Layout<'a> {
    pub(crate) plan: SplicePlan,
    pub(crate) spots: Vec<Spot<'a>>,
    breaks: &'a [Break],
    /// Length of the fades on both sides of a seam, in samples.
    pub(crate) fade: usize,
}

impl<'a> Layout<'a> {
    /// Lays out the breaks that have ads.
    pub(crate) fn new(
        breaks: &'a [Break],
        track: &dyn Track,
        fade: std::time::Duration,
    ) -> Result<Self, SpliceError> {
        let (stream, frames) = (track.stream(), track.frames());
        let (rate, channels) = (stream.sample_rate, usize::from(stream.channels));
        let mut placed = place(breaks, rate, channels, stream.samples)?;
        for (index, span) in &mut placed {
            *span = track.cut(span).map_err(|reason| SpliceError::Bridge {
                break_index: *index,
                reason,
            })?;
        }
        share(&mut placed);
        // Ads at the end wait for pictures that outlast the sound.
        let is_at_the_end = |(_, span): &&(usize, Range<u64>)| span.start >= stream.samples;
        let first_at_the_end = placed.iter().find(is_at_the_end).map(|(index, _)| *index);
        let shows_the_end = placed
            .iter()
            .all(|(_, span)| span.is_empty() || span.end < stream.samples);
        let lead = |index: usize| match first_at_the_end {
            Some(first) if first == index && shows_the_end => track.outlasted(),
            _ => 0,
        };
        let planned: Vec<PlannedBreak> = placed
            .iter()
            .map(|(at, span)| PlannedBreak {
                index: *at,
                span: span.clone(),
                lead: lead(*at),
                ads: breaks[*at].ads.iter().map(|ad| ad.samples(channels)).collect(),
            })
            .collect();
        let plan = SplicePlan::new(rate, stream.samples, frames.steps, &planned)?;
        let spots = placed
            .into_iter()
            .zip(endings(stream.samples, frames.steps, &planned));
        let spots = spots.map(|((index, span), ending)| Spot {
            index,
            late: track.heard(span.start) as i64 - span.start as i64,
            lead: lead(index),
            span,
            ending,
            ads: &breaks[index].ads,
            channels,
        });
        let spots = spots.collect();
        Ok(Self {
            plan,
            spots,
            breaks,
            fade: ContentTime::from(fade).to_samples(rate) as usize,
        })
    }

    /// Whether there is content right before the ads of a spot, and right after them: between breaks at one place there is none.
    pub(super) fn beside_content(&self, spot: &Spot<'_>) -> (bool, bool) {
        let touch = |pair: &[Spot<'_>]| pair[0].span.end == pair[1].span.start;
        let mut pairs = self.spots.windows(2).filter(|pair| touch(pair));
        let follows = pairs.clone().any(|pair| pair[1].index == spot.index);
        (!follows, !pairs.any(|pair| pair[0].index == spot.index))
    }

    /// The breaks of some spots, with their indices.
    pub(super) fn breaks_of(&self, spots: &Range<usize>) -> Vec<(usize, &'a Break)> {
        let indices = self.spots[spots.clone()].iter().map(|spot| spot.index);
        indices.map(|index| (index, &self.breaks[index])).collect()
    }

    /// The ads in order of presentation.
    pub(crate) fn ads(&self, breaks: &[Break]) -> Vec<SplicedAd> {
        let rate = self.plan.sample_rate();
        let spliced = self.plan.segments().filter_map(|(start, segment)| {
            let Segment::Ad { index, samples } = segment else {
                return None;
            };
            let spot = self.spots.iter().find(|spot| spot.index == index.break_index)?;
            Some(SplicedAd {
                index: *index,
                id: breaks[index.break_index].ads[index.ad].id.clone(),
                // What is put before everything is at the beginning, whenever sound begins.
                content: ContentTime::from_samples(
                    match spot.span.start {
                        0 => 0,
                        cue => cue.saturating_add_signed(spot.late),
                    },
                    rate,
                ),
                presentation: PresentationTime::from_samples(start.saturating_add_signed(spot.late), rate),
                duration: duration_of(*samples, rate),
            })
        });
        spliced.collect()
    }
}

/// The content samples that a place means; just past the end still means the end.
pub(crate) fn sample_of(at: At, rate: u32, samples: u64) -> u64 {
    match at {
        At::Start => 0,
        At::End => samples,
        At::Fraction(fraction) => (fraction.clamp(0.0, 1.0) * samples as f64).round() as u64,
        At::Time(time) => match time.to_samples(rate) {
            past if past > samples && past - samples <= u64::from(rate) => samples,
            sample => sample,
        },
    }
}

/// The breaks that have ads, in order: each one's index and its span of content samples.
fn place(
    breaks: &[Break],
    rate: u32,
    channels: usize,
    samples: u64,
) -> Result<Vec<(usize, Range<u64>)>, SpliceError> {
    let mut placed = Vec::new();
    for (index, given) in breaks.iter().enumerate() {
        if let Some(ad) = given.ads.iter().find(|ad| ad.pcm.len() % channels.max(1) != 0) {
            return Err(SpliceError::Bridge {
                break_index: index,
                reason: format!("the samples of ad `{}` are not of {channels} channels", ad.id),
            });
        }
        if given.ads.iter().all(|ad| ad.pcm.is_empty()) {
            continue;
        }
        let start = sample_of(given.at, rate, samples);
        if start > samples {
            return Err(PlanError::Outside(index).into());
        }
        let end = start
            .saturating_add(ContentTime::from(given.replace).to_samples(rate))
            .min(samples);
        placed.push((index, start..end));
    }
    placed.sort_by_key(|(_, span)| span.start);
    Ok(placed)
}

/// Breaks that begin at one place take turns in the order given, and what they replace ends with the last of them: it is replaced once. Those that replace another length than the first of them stay
/// as they are, behind the others.
fn share(placed: &mut [(usize, Range<u64>)]) {
    for group in placed.chunk_by_mut(|one, other| one.1.start == other.1.start) {
        let Some(end) = group
            .iter()
            .map(|(_, span)| span.end)
            .find(|end| *end > group[0].1.start)
        else {
            continue;
        };
        group.sort_by_key(|(_, span)| !span.is_empty() && span.end != end);
        let together = group.partition_point(|(_, span)| span.is_empty() || span.end == end);
        for (number, (_, span)) in group[..together].iter_mut().enumerate() {
            span.end = if number + 1 == together { end } else { span.start };
        }
    }
}

/// A content time in presentation time. Chapters count coarse units (milliseconds): one that is less than `unit` samples before a cue is meant to be at it.
pub(crate) fn moved(plan: &SplicePlan, time: ContentTime, unit: u64) -> PresentationTime {
    let rate = plan.sample_rate();
    PresentationTime::from_samples(moved_sample(plan, time.to_samples(rate), unit), rate)
}

/// Whether nothing is left of a chapter of the content: ads take the place of all of it, but for less than a `unit`.
pub(crate) fn is_replaced(plan: &SplicePlan, chapter: &Range<ContentTime>, unit: u64) -> bool {
    let sample = |time: ContentTime| time.to_samples(plan.sample_rate()).min(plan.content_samples());
    let (start, end) = (sample(chapter.start), sample(chapter.end));
    let middle = start + end.saturating_sub(start) / 2;
    plan.content_to_presentation(middle).is_none()
        && moved_sample(plan, end, unit) <= moved_sample(plan, start, unit).saturating_add(unit)
}

/// Where each of these chapters ends, which last until the next one that begins later, or the end of the content.
pub(crate) fn ends(plan: &SplicePlan, starts: &[ContentTime]) -> Vec<ContentTime> {
    let whole = ContentTime::from_samples(plan.content_samples(), plan.sample_rate());
    let ends = next_later(starts).into_iter();
    ends.map(|end| end.unwrap_or(whole)).collect()
}

fn moved_sample(plan: &SplicePlan, sample: u64, unit: u64) -> u64 {
    let mut position = 0;
    let starts = plan.segments().filter_map(|(_, segment)| match segment {
        Segment::Content(range) => {
            position = range.end;
            Some(range.start)
        }
        Segment::Ad { .. } => Some(position),
        Segment::Lead { .. } | Segment::Pad { .. } => None,
    });
    let mut near = starts.filter(|start| (sample..sample + unit.max(1)).contains(start));
    plan.content_to_presentation_or_next(near.next().unwrap_or(sample))
}

#[cfg(test)]
mod tests {
    use super::{ends, is_replaced, share};
    use crate::plan::{PlannedBreak, SplicePlan, Steps};
    use crate::time::ContentTime;

    #[test]
    fn of_a_chapter_within_what_is_replaced_nothing_is_left() {
        let millis = ContentTime::from_millis;
        let plan = |span: std::ops::Range<u64>| {
            let planned = PlannedBreak {
                index: 0,
                span,
                lead: 0,
                ads: vec![70_000],
            };
            SplicePlan::new(10_000, 100_000, Steps::ANY, &[planned]).unwrap()
        };
        for (span, start, end, gone) in [
            (40_000..70_005, 4_000, 7_000, true),
            (40_000..70_005, 4_500, 6_000, true),
            (40_000..70_005, 4_500, 4_500, true),
            // Times are rounded.
            (40_004..70_000, 4_000, 7_000, true),
            (40_000..70_005, 4_000, 7_100, false),
            (40_000..70_005, 3_990, 7_000, false),
            (40_000..70_005, 3_000, 4_000, false),
            (40_000..70_005, 7_001, 7_001, false),
            (40_000..40_000, 4_000, 4_000, false),
            (90_000..100_000, 9_500, 99_000, true),
            (90_000..100_000, 8_500, 10_000, false),
        ] {
            let chapter = millis(start)..millis(end);
            assert_eq!(
                is_replaced(&plan(span.clone()), &chapter, 10),
                gone,
                "{span:?} {chapter:?}"
            );
        }
        let starts = [0, 5_000, 3_000, 3_000].map(millis);
        let due = [3_000, 10_000, 5_000, 5_000].map(millis);
        assert_eq!(ends(&plan(0..0), &starts), due);
    }

    #[test]
    fn what_several_breaks_replace_is_replaced_once() {
        let mut placed = [
            (0, 0..0),
            (4, 5..9),
            (1, 5..5),
            (3, 5..8),
            (2, 5..9),
            (5, 9..12),
            (6, 9..9),
        ];
        share(&mut placed);
        // One replaces another length: it stays, and overlaps.
        assert_eq!(
            placed,
            [
                (0, 0..0),
                (4, 5..5),
                (1, 5..5),
                (2, 5..9),
                (3, 5..8),
                (5, 9..9),
                (6, 9..12),
            ]
        );
    }
}
