//! What was really presented: positions in, events out.
//!
//! Pure: no clock and no player in it. The player says where playback is and how it came there ([`Presentation::presented`],
//! [`Presentation::jumped`]); out come the events that VAST 4.2 and VMAP 1.0 name. Invariants:
//!
//! - Every event of an ad comes at most once (pausing apart), every event of a break too, and never before its part was presented.
//! - Impression and start come at the first presented frame of an ad, wherever in it that is.
//! - A quartile, a progress point and completion come only when everything from the ad's first frame up to there was
//!   presented without a gap at normal speed (VAST 4.2 §3.14.1). Pausing is no gap; seeking is, within the ad or out of it.
//! - A break starts when something of it was presented, and then ends when playback is past it or elsewhere.
//!
//! Not for: sending beacons, or knowing what they are.

use std::time::Duration;

use crate::plan::{AdIndex, Segment, SplicePlan};
use crate::time::PresentationTime;

/// One ad on the presentation timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdSlot {
    /// Which ad.
    pub index: AdIndex,
    /// Where it begins.
    pub start: PresentationTime,
    /// How long it is.
    pub duration: Duration,
    /// Points of `progress` events, from the ad's start.
    pub progress: Vec<Duration>,
    /// When it may be skipped, from the ad's start; `None` when it may not.
    pub skip_after: Option<Duration>,
}

impl AdSlot {
    /// Where it ends.
    pub fn end(&self) -> PresentationTime {
        self.start.saturating_add(self.duration)
    }

    fn holds(&self, at: PresentationTime) -> bool {
        self.start <= at && at < self.end()
    }
}

/// The ads of a rendition, in order of presentation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timeline {
    ads: Vec<AdSlot>,
}

impl Timeline {
    /// A timeline of these ads, in any order. Ads must not overlap.
    pub fn new(mut ads: Vec<AdSlot>) -> Self {
        ads.sort_by_key(|ad| ad.start);
        Self { ads }
    }

    /// The ads of `plan`, without progress points, none of them to be skipped.
    pub fn of(plan: &SplicePlan) -> Self {
        let rate = plan.sample_rate();
        let ads = plan.segments().filter_map(|(start, segment)| match segment {
            Segment::Ad { index, samples } => {
                // By its end, so that rounding never puts that after the end of the presentation.
                let begin = PresentationTime::from_samples(start, rate);
                let end = PresentationTime::from_samples(start + samples, rate);
                Some(AdSlot {
                    index: *index,
                    start: begin,
                    duration: end.since(begin),
                    progress: Vec::new(),
                    skip_after: None,
                })
            }
            _ => None,
        });
        Self::new(ads.collect())
    }

    /// The ads, in order of presentation.
    pub fn ads(&self) -> &[AdSlot] {
        &self.ads
    }

    /// The ads, to add progress points and skip offsets.
    pub fn ads_mut(&mut self) -> impl Iterator<Item = &mut AdSlot> {
        self.ads.iter_mut()
    }

    /// The ad that is presented at `at`.
    pub fn ad_at(&self, at: PresentationTime) -> Option<&AdSlot> {
        let after = self.ads.partition_point(|ad| ad.start <= at);
        let ad = self.ads.get(after.checked_sub(1)?)?;
        ad.holds(at).then_some(ad)
    }

    /// What a status line shows at `at`; `None` outside ads.
    pub fn status(&self, at: PresentationTime) -> Option<AdStatus> {
        let ad = self.ad_at(at)?;
        let of_break: Vec<_> = self
            .ads
            .iter()
            .filter(|other| other.index.break_index == ad.index.break_index)
            .collect();
        let elapsed = at.since(ad.start);
        Some(AdStatus {
            index: ad.index,
            number: of_break.iter().filter(|other| other.start <= ad.start).count(),
            count: of_break.len(),
            elapsed,
            remaining: ad.duration.saturating_sub(elapsed),
            skippable: ad.skip_after.is_some_and(|after| elapsed >= after),
        })
    }
}

/// An ad that is being presented: `Ad 1/2 · 0:12`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdStatus {
    /// Which ad.
    pub index: AdIndex,
    /// Its number within the break, from 1.
    pub number: usize,
    /// How many ads the break has.
    pub count: usize,
    /// How much of it has passed.
    pub elapsed: Duration,
    /// How much of it is left.
    pub remaining: Duration,
    /// Whether it may be skipped now.
    pub skippable: bool,
}

/// Something that was really presented, or that the person did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlayEvent {
    /// The first frame of a break was presented (VMAP `breakStart`).
    BreakStart {
        /// Which break.
        break_index: usize,
    },
    /// The first frame of an ad was presented: its impressions count now.
    Impression(AdIndex),
    /// Comes with the impression (VAST `start`).
    Start(AdIndex),
    /// A quarter was presented.
    FirstQuartile(AdIndex),
    /// Half was presented.
    Midpoint(AdIndex),
    /// Three quarters were presented.
    ThirdQuartile(AdIndex),
    /// A progress point was reached.
    Progress {
        /// Which ad.
        ad: AdIndex,
        /// Which point, as an index into [`AdSlot::progress`].
        point: usize,
    },
    /// All of the ad was presented.
    Complete(AdIndex),
    /// The person skipped the ad.
    Skip(AdIndex),
    /// The person paused within an ad.
    Pause(AdIndex),
    /// The person went on within an ad.
    Resume(AdIndex),
    /// The person turned the sound off within an ad.
    Mute(AdIndex),
    /// The person turned the sound on within an ad.
    Unmute(AdIndex),
    /// A break that was started is over, or was left (VMAP `breakEnd`).
    BreakEnd {
        /// Which break.
        break_index: usize,
    },
}

/// An event and where in the presentation it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presented {
    /// Where.
    pub at: PresentationTime,
    /// What.
    pub event: PlayEvent,
}

/// A part of an ad that was presented without interruption, at one speed, with the sound on or off all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Which ad.
    pub ad: AdIndex,
    /// Where in the ad it begins.
    pub from: Duration,
    /// Where in the ad it ends.
    pub to: Duration,
    /// Speed in thousandths.
    pub rate: u32,
    /// Whether the sound was off.
    pub muted: bool,
}

/// What is already told of one ad.
#[derive(Debug, Clone, Default)]
struct Told {
    impression: bool,
    /// Quarters that were told, 0 to 4.
    quarters: u8,
    progress: Vec<bool>,
    skip: bool,
}

/// Follows one playback. See the module documentation.
#[derive(Debug, Clone)]
pub struct Presentation {
    timeline: Timeline,
    told: Vec<Told>,
    /// Where playback is.
    at: PresentationTime,
    /// Since where everything was presented, without a gap and at normal speed; `None` after other speeds.
    whole_since: Option<PresentationTime>,
    /// The break that was started and not ended.
    in_break: Option<usize>,
    breaks_started: Vec<usize>,
    breaks_ended: Vec<usize>,
    /// Where the person wants to be after this break.
    target: Option<(usize, PresentationTime)>,
    muted: bool,
    /// The part of an ad that is being presented.
    hearing: Option<Heard>,
    heard: Vec<Heard>,
}

impl Presentation {
    /// Playback that will begin at `start`.
    pub fn new(timeline: Timeline, start: PresentationTime) -> Self {
        let told = timeline
            .ads
            .iter()
            .map(|ad| Told {
                progress: vec![false; ad.progress.len()],
                ..Told::default()
            })
            .collect();
        Self {
            timeline,
            told,
            at: start,
            whole_since: Some(start),
            in_break: None,
            breaks_started: Vec::new(),
            breaks_ended: Vec::new(),
            target: None,
            muted: false,
            hearing: None,
            heard: Vec::new(),
        }
    }

    /// The timeline.
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// Where playback is.
    pub fn position(&self) -> PresentationTime {
        self.at
    }

    /// Ads were spliced in that playback has not come to: `timeline` holds those that were there before, and more.
    pub fn extend(&mut self, timeline: Timeline) {
        let told = timeline.ads.iter().map(|ad| {
            let before = self.timeline.ads.iter().position(|old| old.index == ad.index);
            before.map_or_else(
                || Told {
                    progress: vec![false; ad.progress.len()],
                    ..Told::default()
                },
                |place| self.told[place].clone(),
            )
        });
        self.told = told.collect();
        self.timeline = timeline;
    }

    /// The parts of ads that were presented since this was asked the last time; one that goes on is not among them.
    pub fn take_heard(&mut self) -> Vec<Heard> {
        std::mem::take(&mut self.heard)
    }

    fn hear(&mut self, from: PresentationTime, to: PresentationTime, rate: f64) {
        let rate = (rate * 1_000.0).round().clamp(0.0, 1e6) as u32;
        for i in 0..self.timeline.ads.len() {
            let ad = &self.timeline.ads[i];
            let (index, start, end) = (ad.index, ad.start, ad.end());
            let (first, last) = (from.max(start), to.min(end));
            if last <= first {
                continue;
            }
            let part = Heard {
                ad: index,
                from: first.since(start),
                to: last.since(start),
                rate,
                muted: self.muted,
            };
            match &mut self.hearing {
                Some(hearing) if hearing.ad == index && hearing.to == part.from && hearing.rate == rate => {
                    hearing.to = part.to;
                }
                _ => {
                    self.stop_hearing();
                    self.hearing = Some(part);
                }
            }
            if last == end {
                self.stop_hearing();
            }
        }
    }

    fn stop_hearing(&mut self) {
        self.heard.extend(self.hearing.take());
    }

    /// Everything from the last position to `to` was presented, at `rate` times normal speed. A position before the
    /// last one counts as a jump.
    pub fn presented(&mut self, to: PresentationTime, rate: f64) -> Vec<Presented> {
        if to < self.at {
            return self.jumped(to);
        }
        let from = std::mem::replace(&mut self.at, to);
        if to == from {
            return Vec::new();
        }
        self.hear(from, to, rate);
        let normal = (rate - 1.0).abs() < 1e-6;
        if !normal {
            self.whole_since = None;
        } else if self.whole_since.is_none() {
            self.whole_since = Some(from);
        }
        let mut events = Vec::new();
        for i in 0..self.timeline.ads.len() {
            self.present_ad(i, from, to, &mut events);
        }
        // Past the last ad of the break: after its end, before anything that came later.
        if let Some(end) = self.in_break.and_then(|b| self.break_end(b))
            && to >= end
        {
            self.leave_break(end, &mut events);
        }
        events
    }

    /// What `from` to `to` means for one ad.
    fn present_ad(
        &mut self,
        i: usize,
        from: PresentationTime,
        to: PresentationTime,
        events: &mut Vec<Presented>,
    ) {
        let ad = &self.timeline.ads[i];
        let (start, end, index) = (ad.start, ad.end(), ad.index);
        if to <= start || from >= end || start == end {
            return;
        }
        let first = from.max(start);
        if self.in_break != Some(index.break_index) {
            self.leave_break(first, events);
            self.in_break = Some(index.break_index);
            if !self.breaks_started.contains(&index.break_index) {
                self.breaks_started.push(index.break_index);
                events.push(Presented {
                    at: first,
                    event: PlayEvent::BreakStart {
                        break_index: index.break_index,
                    },
                });
            }
        }
        let (ad, told) = (&self.timeline.ads[i], &mut self.told[i]);
        if !told.impression {
            told.impression = true;
            for event in [PlayEvent::Impression(index), PlayEvent::Start(index)] {
                events.push(Presented { at: first, event });
            }
        }
        if self.whole_since.is_none_or(|since| since > start) {
            return;
        }
        let mut reached = Vec::new();
        for (point, (offset, told)) in ad.progress.iter().zip(&mut told.progress).enumerate() {
            let at = start.saturating_add(*offset);
            if !*told && at <= to && at <= end {
                *told = true;
                reached.push(Presented {
                    at,
                    event: PlayEvent::Progress { ad: index, point },
                });
            }
        }
        let quarters: [fn(AdIndex) -> PlayEvent; 4] = [
            PlayEvent::FirstQuartile,
            PlayEvent::Midpoint,
            PlayEvent::ThirdQuartile,
            PlayEvent::Complete,
        ];
        for (quarter, event) in (1_u8..).zip(quarters) {
            let at = start.saturating_add(ad.duration * u32::from(quarter) / 4);
            if told.quarters < quarter && at <= to {
                told.quarters = quarter;
                reached.push(Presented {
                    at,
                    event: event(index),
                });
            }
        }
        reached.sort_by_key(|presented| presented.at);
        events.extend(reached);
    }

    /// Playback goes on at `to`, and what lies between was not presented.
    pub fn jumped(&mut self, to: PresentationTime) -> Vec<Presented> {
        self.stop_hearing();
        let mut events = Vec::new();
        let left = self.at;
        self.at = to;
        self.whole_since = Some(to);
        let now_in = self.timeline.ad_at(to).map(|ad| ad.index.break_index);
        if self.in_break.is_some() && now_in != self.in_break {
            self.leave_break(left, &mut events);
        }
        events
    }

    /// The person wants to go on at `to`: where playback goes now, if anywhere; to be followed by [`Presentation::jumped`] there.
    ///
    /// An ad that is being presented is not left forwards. Of the breaks between that were never presented the last one is, from its beginning, and `to` comes after it
    /// ([`Presentation::target`]). Within a break nobody arrives: `to` is its end, or its beginning when it was never presented.
    pub fn go(&mut self, to: PresentationTime) -> Option<PresentationTime> {
        if to >= self.at && self.timeline.ad_at(self.at).is_some() {
            return None;
        }
        self.target = None;
        let within = self.timeline.ad_at(to).map(|ad| ad.index.break_index);
        let new = |break_index: &usize| !self.breaks_started.contains(break_index);
        let crossed = self
            .timeline
            .ads
            .iter()
            .filter(|ad| ad.start >= self.at && ad.start < to);
        let last = crossed.map(|ad| ad.index.break_index).rfind(new);
        if let Some(break_index) = last.or(within.filter(new)) {
            let end = self.break_end(break_index)?;
            self.target = Some((break_index, to)).filter(|_| to > end);
            let of_break = self
                .timeline
                .ads
                .iter()
                .filter(|ad| ad.index.break_index == break_index);
            return of_break.map(|ad| ad.start).min();
        }
        match within {
            Some(break_index) => self.break_end(break_index),
            None => Some(to),
        }
    }

    /// Where to go now that the break which had to come first was presented; once.
    pub fn target(&mut self) -> Option<PresentationTime> {
        let (break_index, _) = self.target?;
        if self.break_end(break_index).is_some_and(|end| self.at < end) {
            return None;
        }
        self.target.take().map(|(_, to)| to)
    }

    /// Where skipping the ad that is presented now leads to, when that is allowed now; it is to be followed by
    /// [`Presentation::jumped`] there.
    pub fn skip(&mut self) -> Option<(PresentationTime, Presented)> {
        let i = self.timeline.ads.iter().position(|ad| ad.holds(self.at))?;
        let ad = &self.timeline.ads[i];
        let allowed = ad
            .skip_after
            .is_some_and(|after| self.at.since(ad.start) >= after);
        if !allowed || std::mem::replace(&mut self.told[i].skip, true) {
            return None;
        }
        let event = Presented {
            at: self.at,
            event: PlayEvent::Skip(ad.index),
        };
        Some((ad.end(), event))
    }

    /// The person paused (or went on).
    pub fn paused(&mut self, paused: bool) -> Option<Presented> {
        self.stop_hearing();
        let index = self.timeline.ad_at(self.at)?.index;
        let event = if paused {
            PlayEvent::Pause(index)
        } else {
            PlayEvent::Resume(index)
        };
        Some(Presented { at: self.at, event })
    }

    /// The person turned the sound off (or on). Muted playback counts as playback: the ad server is told that it was muted.
    pub fn muted(&mut self, muted: bool) -> Option<Presented> {
        if std::mem::replace(&mut self.muted, muted) == muted {
            return None;
        }
        self.stop_hearing();
        let index = self.timeline.ad_at(self.at)?.index;
        let event = if muted {
            PlayEvent::Mute(index)
        } else {
            PlayEvent::Unmute(index)
        };
        Some(Presented { at: self.at, event })
    }

    /// Playback is over; where it ended was said before.
    pub fn ended(&mut self) -> Vec<Presented> {
        self.stop_hearing();
        let mut events = Vec::new();
        self.leave_break(self.at, &mut events);
        events
    }

    fn break_end(&self, break_index: usize) -> Option<PresentationTime> {
        let of_break = self
            .timeline
            .ads
            .iter()
            .filter(|ad| ad.index.break_index == break_index);
        of_break.map(AdSlot::end).max()
    }

    fn leave_break(&mut self, at: PresentationTime, events: &mut Vec<Presented>) {
        let left = self.in_break.take();
        if let Some(break_index) = left.filter(|b| !self.breaks_ended.contains(b)) {
            self.breaks_ended.push(break_index);
            events.push(Presented {
                at,
                event: PlayEvent::BreakEnd { break_index },
            });
        }
    }
}

#[cfg(test)]
#[path = "presentation_tests.rs"]
mod tests;
