//! The splice plan: what the viewer gets, as a list of segments, and the map between content time and presentation time.
//!
//! Pure data, in samples at the content's rate. Invariants: segments are not empty, content segments are in order and never overlap; their presentation ranges follow each other without a gap.
//! At a cue, a content time means *after* the ad; a replaced span has no presentation time. How the bytes are made is not here (see [`crate::splice`]).

use std::ops::Range;
use std::time::Duration;

use crate::time::{ContentTime, PresentationTime, duration_of};

/// Which ad of which break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AdIndex {
    /// Index into the list of breaks that the caller gave.
    pub break_index: usize,
    /// Index into the break's ads.
    pub ad: usize,
}

/// A run of samples of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// Samples of the content, by content sample index.
    Content(Range<u64>),
    /// An ad: all of it, or but for less than a frame at its end.
    Ad {
        /// Which.
        index: AdIndex,
        /// How many samples.
        samples: u64,
    },
    /// Silence before ads at the end, while content is still seen.
    Lead {
        /// How many samples.
        samples: u64,
    },
    /// Silence after the ads that brings the content back onto its own frame grid, always shorter than a frame.
    Pad {
        /// How many samples.
        samples: u64,
    },
}

impl Segment {
    /// How many samples the segment takes in the presentation.
    pub fn samples(&self) -> u64 {
        match self {
            Self::Content(range) => range.end - range.start,
            Self::Ad { samples, .. } | Self::Lead { samples } | Self::Pad { samples } => *samples,
        }
    }
}

/// A break as the plan sees it: a span of content (empty to insert) and how long each ad is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedBreak {
    /// What the break is called in [`AdIndex`]: its index in the caller's list.
    pub index: usize,
    /// The content samples that the ads take the place of; empty to insert at `start`.
    pub span: Range<u64>,
    /// Samples of silence before the ads.
    pub lead: u64,
    /// Samples of each ad, in order.
    pub ads: Vec<u64>,
}

/// What content moves in steps of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Samples of a step: of a frame, or 1 for formats without frames.
    pub size: u32,
    /// Whether the result may end between two steps, since the format says where its last frame ends.
    pub ends_anywhere: bool,
    /// Whether ads may lose less than a step at their end, so that silence after several breaks does not add up to a step.
    pub cuts_ads: bool,
}

impl Steps {
    /// Content that can be cut at any sample.
    pub const ANY: Self = Self {
        size: 1,
        ends_anywhere: true,
        cuts_ads: false,
    };

    /// Content in frames of so many samples, whose format says where its last one ends.
    pub(crate) fn of_frames(size: u32) -> Self {
        Self {
            size,
            ends_anywhere: true,
            cuts_ads: true,
        }
    }
}

/// An ad is cut at its end only when it has at least so many times what it loses.
const LEAST_OF_AN_AD: i128 = 16;

/// How each break ends, so that content goes on at a step of the grid: with so many samples of silence after its ads, or with so many less (below zero) of its last ad.
///
/// Ads are followed by silence up to the next step, but where that and the silence before it would come to a step or more: there the last ad is shorter. So content is never late by a step, and the
/// presentation as long as content and ads are, and less than a step longer. (An ad that is too short to be cut is followed by silence all the same.) Breaks between which there is no content end as one.
pub(crate) fn endings(content_samples: u64, steps: Steps, breaks: &[PlannedBreak]) -> Vec<i64> {
    let step = i128::from(steps.size.max(1));
    let has_ads = |planned: &&PlannedBreak| planned.ads.iter().any(|samples| *samples > 0);
    let mut endings = vec![0; breaks.len()];
    // How much later than without all endings content is, and by how much what is put in moves it, since the last ending.
    let (mut late, mut moved) = (0_i128, 0_i128);
    for (i, planned) in breaks.iter().enumerate().filter(|(_, planned)| has_ads(planned)) {
        let ads: i128 = planned.ads.iter().map(|samples| i128::from(*samples)).sum();
        let span = &planned.span;
        moved += i128::from(planned.lead) + ads - (i128::from(span.end) - i128::from(span.start));
        let at_the_end = span.end >= content_samples;
        let next = breaks[i + 1..].iter().find(has_ads);
        if (at_the_end && steps.ends_anywhere) || next.is_some_and(|next| next.span.start == span.end) {
            continue;
        }
        let silence = (-moved).rem_euclid(step);
        let less = step - silence;
        let last = planned.ads.iter().rfind(|samples| **samples > 0);
        let is_cut = steps.cuts_ads
            && silence > 0
            && late + silence >= step
            && last.is_some_and(|last| i128::from(*last) >= LEAST_OF_AN_AD * less);
        let ending = if is_cut { -less } else { silence };
        endings[i] = ending as i64;
        (late, moved) = (late + ending, 0);
    }
    endings
}

/// Why breaks do not make a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The breaks are not in order, or one (the second) replaces content that another uses.
    #[error("break {0} is within what break {1} replaces, or replaces something else there")]
    Overlap(usize, usize),
    /// A break lies after the end of the content, or its end lies before its beginning.
    #[error("break {0} is outside the content")]
    Outside(usize),
}

/// What is at a presentation time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Content, at this content time.
    Content(ContentTime),
    /// An ad, this far into it.
    Ad(AdIndex, Duration),
    /// The silence before ads at the end; this content time is the end.
    Lead(ContentTime),
    /// The silence after a break's ads; content goes on at this content time.
    Pad(ContentTime),
}

/// Segments of content and ads on the presentation timeline. See the module documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplicePlan {
    sample_rate: u32,
    content_samples: u64,
    /// Each with the presentation sample that it starts at.
    segments: Vec<(u64, Segment)>,
    samples: u64,
}

impl SplicePlan {
    /// Lays out `breaks` (in cue order) over content of `content_samples` samples at `sample_rate` Hz, which moves in `steps`: silence is added after ads up to the next step, or
    /// the last of them is a little shorter, such that all of that together is never a step. Breaks without ads change nothing, also when they would replace content.
    pub fn new(
        sample_rate: u32,
        content_samples: u64,
        steps: Steps,
        breaks: &[PlannedBreak],
    ) -> Result<Self, PlanError> {
        let mut plan = Self {
            sample_rate,
            content_samples,
            segments: Vec::new(),
            samples: 0,
        };
        let (mut position, mut before) = (0, 0);
        let endings = endings(content_samples, steps, breaks);
        for (planned, ending) in breaks.iter().zip(endings) {
            let break_index = planned.index;
            let span = &planned.span;
            if span.start > span.end || span.end > content_samples {
                return Err(PlanError::Outside(break_index));
            }
            if span.start < position {
                return Err(PlanError::Overlap(break_index, before));
            }
            if planned.ads.iter().all(|samples| *samples == 0) {
                continue;
            }
            plan.push(Segment::Content(position..span.start));
            plan.push(Segment::Lead {
                samples: planned.lead,
            });
            let last = planned.ads.iter().rposition(|samples| *samples > 0);
            for (ad, samples) in planned.ads.iter().enumerate() {
                let less = if Some(ad) == last { ending.min(0) } else { 0 };
                plan.push(Segment::Ad {
                    index: AdIndex { break_index, ad },
                    samples: samples.saturating_add_signed(less),
                });
            }
            (position, before) = (span.end, break_index);
            plan.push(Segment::Pad {
                samples: ending.max(0) as u64,
            });
        }
        plan.push(Segment::Content(position..content_samples));
        Ok(plan)
    }

    fn push(&mut self, segment: Segment) {
        let samples = segment.samples();
        if samples > 0 {
            self.segments.push((self.samples, segment));
            self.samples += samples;
        }
    }

    /// Samples a second.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Samples of the content, without ads.
    pub fn content_samples(&self) -> u64 {
        self.content_samples
    }

    /// Samples of the presentation.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// How long the presentation is.
    pub fn duration(&self) -> Duration {
        duration_of(self.samples, self.sample_rate)
    }

    /// The segments in order, each with the presentation sample that it starts at.
    pub fn segments(&self) -> impl Iterator<Item = (u64, &Segment)> {
        self.segments.iter().map(|(start, segment)| (*start, segment))
    }

    /// Where an ad starts in the presentation, and how long it is, in samples.
    pub fn ad(&self, wanted: AdIndex) -> Option<(u64, u64)> {
        self.segments.iter().find_map(|(start, segment)| match segment {
            Segment::Ad { index, samples } if *index == wanted => Some((*start, *samples)),
            _ => None,
        })
    }

    /// The content sample at which the break of an ad stands: the end of the content before it.
    pub fn cue(&self, wanted: AdIndex) -> Option<u64> {
        let mut position = 0;
        self.segments.iter().find_map(|(_, segment)| match segment {
            Segment::Content(range) => {
                position = range.end;
                None
            }
            Segment::Ad { index, .. } => (*index == wanted).then_some(position),
            Segment::Lead { .. } | Segment::Pad { .. } => None,
        })
    }

    /// Whether no content follows an ad.
    pub fn is_at_the_end(&self, wanted: AdIndex) -> bool {
        let is_it = |segment: &Segment| matches!(segment, Segment::Ad { index, .. } if *index == wanted);
        let mut segments = self.segments.iter().skip_while(|(_, segment)| !is_it(segment));
        segments.next().is_some() && !segments.any(|(_, segment)| matches!(segment, Segment::Content(_)))
    }

    /// The presentation sample of a content sample: at a cue the one after the ads; `None` in a replaced span. The content's end (and what lies after it) is the presentation's end
    /// unless ads come there: then it is their end too.
    pub fn content_to_presentation(&self, sample: u64) -> Option<u64> {
        if sample >= self.content_samples {
            return Some(self.samples);
        }
        self.segments.iter().find_map(|(start, segment)| match segment {
            Segment::Content(range) if range.contains(&sample) => Some(start + (sample - range.start)),
            _ => None,
        })
    }

    /// Like [`Self::content_to_presentation`], but a replaced sample becomes the first presentation sample after the ads that replaced it.
    pub fn content_to_presentation_or_next(&self, sample: u64) -> u64 {
        self.content_to_presentation(sample).unwrap_or_else(|| {
            self.segments
                .iter()
                .find_map(|(start, segment)| match segment {
                    Segment::Content(range) if range.start >= sample => Some(*start),
                    _ => None,
                })
                .unwrap_or(self.samples)
        })
    }

    /// [`Self::content_to_presentation`] in times.
    pub fn to_presentation(&self, time: ContentTime) -> Option<PresentationTime> {
        self.content_to_presentation(time.to_samples(self.sample_rate))
            .map(|sample| PresentationTime::from_samples(sample, self.sample_rate))
    }

    /// What is at a presentation time; past the end, the content's end.
    pub fn at(&self, time: PresentationTime) -> Place {
        let sample = time.to_samples(self.sample_rate);
        let next = self.segments.partition_point(|(start, _)| *start <= sample);
        let end = Place::Content(ContentTime::from_samples(self.content_samples, self.sample_rate));
        if sample >= self.samples {
            return end;
        }
        let Some((start, segment)) = next.checked_sub(1).and_then(|index| self.segments.get(index)) else {
            return end;
        };
        match segment {
            Segment::Content(range) => Place::Content(ContentTime::from_samples(
                range.start + (sample - start),
                self.sample_rate,
            )),
            Segment::Ad { index, .. } => Place::Ad(*index, duration_of(sample - start, self.sample_rate)),
            Segment::Lead { .. } => {
                Place::Lead(ContentTime::from_samples(self.content_samples, self.sample_rate))
            }
            Segment::Pad { .. } => {
                let resume = self.segments[next..]
                    .iter()
                    .find_map(|(_, segment)| match segment {
                        Segment::Content(range) => Some(range.start),
                        _ => None,
                    });
                Place::Pad(ContentTime::from_samples(
                    resume.unwrap_or(self.content_samples),
                    self.sample_rate,
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn insert(index: usize, at: u64, ads: &[u64]) -> PlannedBreak {
        PlannedBreak {
            lead: 0,
            index,
            span: at..at,
            ads: ads.to_vec(),
        }
    }

    #[test]
    fn an_insert_moves_what_follows_by_whole_frames() {
        let plan = SplicePlan::new(
            1000,
            10_000,
            Steps::of_frames(100),
            &[
                insert(0, 0, &[150]),
                insert(1, 5_000, &[30, 30]),
                insert(2, 10_000, &[50]),
            ],
        )
        .unwrap();
        assert_eq!(plan.content_to_presentation(0), Some(200));
        assert_eq!(plan.content_to_presentation(4_999), Some(5_199));
        assert_eq!(plan.content_to_presentation(5_000), Some(5_300));
        assert_eq!(
            plan.ad(AdIndex {
                break_index: 1,
                ad: 1
            }),
            Some((5_230, 30))
        );
        assert_eq!(plan.samples(), 10_350);
        let places = [(0, 0), (1, 1), (2, 0)].map(|(break_index, ad)| {
            let index = AdIndex { break_index, ad };
            (plan.cue(index), plan.is_at_the_end(index))
        });
        assert_eq!(
            places,
            [(Some(0), false), (Some(5_000), false), (Some(10_000), true)]
        );
        let absent = AdIndex {
            break_index: 3,
            ad: 0,
        };
        assert_eq!((plan.cue(absent), plan.is_at_the_end(absent)), (None, false));
        assert_eq!(
            plan.at(PresentationTime::from_millis(5_210)),
            Place::Ad(
                AdIndex {
                    break_index: 1,
                    ad: 0
                },
                Duration::from_millis(10)
            )
        );
        assert_eq!(
            plan.at(PresentationTime::from_millis(5_270)),
            Place::Pad(ContentTime::from_millis(5_000))
        );
        assert_eq!(
            plan.at(PresentationTime::from_millis(99_999)),
            Place::Content(ContentTime::from_millis(10_000))
        );
    }

    #[test]
    fn what_is_rounded_never_adds_up_to_a_step() {
        let ten = |ads: &[u64], apart: u64| -> Vec<PlannedBreak> {
            (0..10)
                .map(|i| insert(i, 1_000 + i as u64 * apart, ads))
                .collect()
        };
        for (name, steps, breaks, cut) in [
            ("ten breaks", Steps::of_frames(1_152), ten(&[220_500], 9_000), 5),
            (
                "ten breaks at one place",
                Steps::of_frames(1_152),
                ten(&[220_500], 0),
                0,
            ),
            (
                "ten ads",
                Steps::of_frames(1_152),
                vec![insert(0, 4_000, &[220_500; 10])],
                0,
            ),
            (
                "a replaced span",
                Steps::of_frames(1_024),
                vec![PlannedBreak {
                    lead: 0,
                    index: 0,
                    span: 70_001..90_000,
                    ads: vec![44_100],
                }],
                0,
            ),
        ] {
            let plan = SplicePlan::new(44_100, 100_000, steps, &breaks).unwrap();
            let given: u64 = breaks.iter().flat_map(|one| &one.ads).sum();
            let replaced: u64 = breaks.iter().map(|one| one.span.end - one.span.start).sum();
            let longer = plan.samples() as i64 - (100_000 + given - replaced) as i64;
            assert!((0..i64::from(steps.size)).contains(&longer), "{name}: {longer}");
            let pads = plan
                .segments()
                .filter(|(_, segment)| matches!(segment, Segment::Pad { .. }));
            let shorter = breaks.iter().flat_map(|one| {
                (0..one.ads.len()).filter(|ad| {
                    let index = AdIndex {
                        break_index: one.index,
                        ad: *ad,
                    };
                    plan.ad(index).unwrap().1 < one.ads[*ad]
                })
            });
            assert_eq!(shorter.count(), cut, "{name}");
            let ended = breaks
                .iter()
                .map(|one| one.span.end)
                .collect::<std::collections::BTreeSet<_>>();
            assert!(pads.count() + cut <= ended.len(), "{name}: {plan:?}");
        }
    }

    #[test]
    fn an_ad_is_whole_where_silence_comes_to_no_step_and_where_it_is_short() {
        let (one, another) = (insert(0, 1_000, &[1_650]), insert(1, 2_000, &[1_650]));
        let lengths = |steps, breaks: &[PlannedBreak]| -> Vec<u64> {
            let plan = SplicePlan::new(1_000, 10_000, steps, breaks).unwrap();
            plan.segments().map(|(_, segment)| segment.samples()).collect()
        };
        assert_eq!(
            lengths(Steps::of_frames(100), std::slice::from_ref(&one)),
            [1_000, 1_650, 50, 9_000]
        );
        let both = [one.clone(), another.clone()];
        assert_eq!(
            lengths(Steps::of_frames(100), &both),
            [1_000, 1_650, 50, 1_000, 1_600, 8_000]
        );
        let whole = Steps {
            cuts_ads: false,
            ..Steps::of_frames(100)
        };
        let padded = [1_000, 1_650, 50, 1_000, 1_650, 50, 8_000];
        assert_eq!(lengths(whole, &both), padded);
        let short = [one, insert(1, 2_000, &[150])];
        assert_eq!(
            lengths(Steps::of_frames(100), &short),
            [1_000, 1_650, 50, 1_000, 150, 50, 8_000]
        );
        // A format that cannot say where its last frame ends.
        let last = [insert(0, 10_000, &[1_650])];
        assert_eq!(lengths(Steps::of_frames(100), &last), [10_000, 1_650]);
        let whole_frames = Steps {
            ends_anywhere: false,
            ..Steps::of_frames(100)
        };
        assert_eq!(lengths(whole_frames, &last), [10_000, 1_650, 50]);
    }

    #[test]
    fn a_replaced_span_has_no_presentation_time() {
        let plan = SplicePlan::new(
            1000,
            10_000,
            Steps::of_frames(100),
            &[PlannedBreak {
                lead: 0,
                index: 0,
                span: 2_000..4_050,
                ads: vec![500],
            }],
        )
        .unwrap();
        assert_eq!(plan.content_to_presentation(1_999), Some(1_999));
        assert_eq!(plan.content_to_presentation(2_000), None);
        assert_eq!(plan.content_to_presentation_or_next(2_000), 2_550);
        assert_eq!(plan.content_to_presentation(4_050), Some(2_550), "{plan:?}");
        assert_eq!((4_050 - 2_550) % 100, 0);
    }

    #[test]
    fn what_is_silent_before_ads_is_told_from_what_is_silent_after_them() {
        let planned = PlannedBreak {
            lead: 300,
            ..insert(0, 10_000, &[450])
        };
        let whole_frames = Steps {
            ends_anywhere: false,
            ..Steps::of_frames(100)
        };
        let plan = SplicePlan::new(1000, 10_000, whole_frames, &[planned]).unwrap();
        let ad = AdIndex {
            break_index: 0,
            ad: 0,
        };
        let end = ContentTime::from_millis(10_000);
        for (millis, place) in [
            (10_100, Place::Lead(end)),
            (10_400, Place::Ad(ad, Duration::from_millis(100))),
            (10_760, Place::Pad(end)),
        ] {
            assert_eq!(plan.at(PresentationTime::from_millis(millis)), place);
        }
        assert_eq!(plan.samples(), 10_800);
    }

    #[test]
    fn a_break_without_ads_changes_nothing() {
        let plan = SplicePlan::new(
            1000,
            10_000,
            Steps::of_frames(100),
            &[PlannedBreak {
                lead: 0,
                index: 0,
                span: 2_000..4_000,
                ads: vec![],
            }],
        )
        .unwrap();
        assert_eq!(plan.samples(), 10_000);
        assert_eq!(plan.segments().count(), 1);
    }

    #[test]
    fn wrong_breaks_are_named() {
        assert_eq!(
            SplicePlan::new(1000, 100, Steps::ANY, &[insert(0, 101, &[1])]),
            Err(PlanError::Outside(0))
        );
        assert_eq!(
            SplicePlan::new(1000, 100, Steps::ANY, &[insert(0, 50, &[1]), insert(1, 49, &[1])]),
            Err(PlanError::Overlap(1, 0))
        );
    }

    fn breaks() -> impl Strategy<Value = (u64, Vec<PlannedBreak>)> {
        (
            1u64..100_000,
            proptest::collection::vec(
                (
                    0u64..=1_000,
                    0u64..20,
                    proptest::collection::vec(0u64..5_000, 0..3),
                ),
                0..6,
            ),
        )
            .prop_map(|(content, raw)| {
                let mut cuts: Vec<_> = raw
                    .into_iter()
                    .map(|(at, len, ads)| (content * at / 1_000, len, ads))
                    .collect();
                cuts.sort_by_key(|cut| cut.0);
                let starts: Vec<u64> = cuts.iter().map(|cut| cut.0).chain([content]).collect();
                let breaks = cuts
                    .into_iter()
                    .enumerate()
                    .map(|(i, (start, len, ads))| PlannedBreak {
                        lead: 0,
                        index: i,
                        span: start..(start + len).min(starts[i + 1]).min(content),
                        ads,
                    })
                    .collect();
                (content, breaks)
            })
    }

    proptest! {
        #[test]
        fn the_map_is_monotonic_and_its_own_inverse((content, breaks) in breaks(), grid in 1u32..300, probes in proptest::collection::vec(0.0f64..1.0, 20)) {
            let plan = SplicePlan::new(44_100, content, Steps::of_frames(grid), &breaks).unwrap();
            let mut end = 0;
            for (start, segment) in plan.segments() {
                prop_assert_eq!(start, end);
                end += segment.samples();
                if let Segment::Content(range) = segment {
                    prop_assert!((i128::from(start) - i128::from(range.start)).rem_euclid(i128::from(grid)) == 0);
                }
            }
            prop_assert_eq!(end, plan.samples());
            let (mut given, mut replaced, mut short) = (0, 0, false);
            for planned in breaks.iter().filter(|planned| planned.ads.iter().any(|ad| *ad > 0)) {
                given += planned.ads.iter().sum::<u64>();
                replaced += planned.span.end - planned.span.start;
                let last = planned.ads.iter().rfind(|ad| **ad > 0);
                short |= last.is_some_and(|last| *last < 16 * u64::from(grid));
            }
            let longer = plan.samples() as i64 - (content + given - replaced) as i64;
            prop_assert!(longer >= 0 && (short || longer < i64::from(grid)), "{longer} of {grid}");
            let mut samples: Vec<u64> = probes.iter().map(|p| (p * content as f64) as u64).collect();
            samples.sort_unstable();
            let mut last = None;
            for sample in samples {
                let time = ContentTime::from_samples(sample, 44_100);
                if let Some(there) = plan.to_presentation(time) {
                    prop_assert!(last <= Some(there));
                    last = Some(there);
                    prop_assert_eq!(plan.at(there), Place::Content(time));
                } else {
                    let replaced = breaks.iter().any(|b| b.span.contains(&sample));
                    prop_assert!(replaced);
                }
            }
        }
    }
}
