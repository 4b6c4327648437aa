//! The pictures of content: where they can be cut, and what stands where in the result. Who codes again is given.
//!
//! Sound leads: the content moves by the whole number of its frames that a break takes, and the pictures follow at exactly the time that this is, so that nothing adds up. Within a break each ad's pictures stand at the
//! content's rate from where its sound begins, also before pictures of the content that are held back; the last one lasts until what comes next. Decode times of ads are as far before the times of showing as those of the content that follows, which therefore
//! keeps its own steps. An ad without pictures holds the picture before it. A cue between IDR pictures has the pictures from the one before it to the one after it coded again, once for each side. A picture that is shown
//! for long (a slide, say) is cut where the cue is: what is shown of it after the break is coded again. So is the last one behind a cue to which only the sound goes on: players hold it there, and would hold the ad's.

mod avc;
mod cuts;
mod seen;
mod vp9;

use std::ops::Range;
use std::sync::Arc;

use super::SpliceError;
use super::clock::Clock;
use super::layout::Layout;
use crate::compact::Compact;
use crate::frames::mp4::Samples;
use crate::picture::{Picture, PictureFormat};

pub(super) use avc::Avc;
use cuts::Cut;
pub(super) use cuts::MOST_RECODED;
pub(super) use seen::Seen;
pub(super) use vp9::Found;

fn unsupported(what: impl Into<String>) -> SpliceError {
    SpliceError::Unsupported(what.into())
}

/// The track of pictures.
#[derive(Debug)]
pub(super) struct Video {
    pub(super) samples: Samples,
    /// When each sample is decoded, in the track's scale; at the end, when the last one is over.
    starts: Compact,
    pub(super) scale: u32,
    /// Media time of the beginning of the presentation.
    pub(super) zero: i64,
    /// Media time of what is shown first: later than that of the beginning when the edit list holds pictures back.
    pub(super) visible: i64,
    /// Media time at which the last picture is over.
    over: i64,
    /// Whether pictures at the beginning are not shown (by an edit list).
    hidden_start: bool,
    /// Media time from which on none is shown, when that is before the last one is over.
    hidden_end: Option<i64>,
    pub(super) format: PictureFormat,
}

/// When the sound that the pictures go with is heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard<'a> {
    pub(super) clock: &'a Clock,
    /// Samples a second.
    pub(super) rate: u32,
    /// Samples of the content.
    pub(super) samples: u64,
}

/// Codes those pictures of a group again that have these ranks in the order of showing.
type Recode<'a> = &'a dyn Fn(Range<usize>, Range<usize>) -> Result<Picture, SpliceError>;

/// Where a sample of the result comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// From here in the content.
    Content(u64),
    /// Picture `1` of ad `0` in [`Shots::ads`].
    Ad(u32, u32),
}

/// A sample of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shot {
    pub(super) size: u32,
    /// When it is decoded.
    pub(super) start: u64,
    /// How much later it is shown.
    pub(super) composition: i32,
    pub(super) sync: bool,
    pub(super) from: From,
}

/// All pictures of the result. Those of the content are as many as it has, so nothing is held of each.
#[derive(Debug)]
pub(super) struct Shots<'a> {
    video: &'a Video,
    /// Each with the number of its first picture in the result.
    parts: Vec<(usize, Part)>,
    count: usize,
    pub(super) ads: Vec<Arc<Picture>>,
    /// When the last one is over: decoding, and showing.
    pub(super) end: u64,
    pub(super) over: i64,
    /// Media times of the beginning of the presentation, and of what is shown first.
    pub(super) zero: i64,
    pub(super) visible: i64,
}

/// Pictures of the result that follow each other.
#[derive(Debug)]
enum Part {
    /// The content's own from this one on, decoded so much later.
    Kept(usize, i64),
    Other(Vec<Shot>),
}

impl<'a> Shots<'a> {
    fn new(video: &'a Video) -> Self {
        Self {
            video,
            parts: Vec::new(),
            count: 0,
            ads: Vec::new(),
            end: 0,
            over: 0,
            zero: video.zero,
            visible: video.visible,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// One of them.
    pub(super) fn shot(&self, i: usize) -> Shot {
        let part = self.parts.partition_point(|(begin, _)| *begin <= i) - 1;
        let (begin, part) = &self.parts[part];
        self.of(part, i - begin)
    }

    /// How many bytes one of them has, and where it comes from.
    pub(super) fn stored(&self, i: usize) -> (u32, From) {
        let part = self.parts.partition_point(|(begin, _)| *begin <= i) - 1;
        let (begin, part) = &self.parts[part];
        let i = i - begin;
        match part {
            Part::Kept(first, _) => {
                let samples = &self.video.samples;
                (
                    samples.sizes[first + i],
                    From::Content(samples.offsets.at(first + i)),
                )
            }
            Part::Other(shots) => (shots[i].size, shots[i].from),
        }
    }

    fn of(&self, part: &Part, i: usize) -> Shot {
        match part {
            Part::Kept(first, shift) => self.video.kept(first + i, *shift),
            Part::Other(shots) => shots[i],
        }
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Shot> + Clone + '_ {
        let next = self.parts.iter().skip(1).map(|(begin, _)| *begin);
        let ends = next.chain([self.count]);
        let parts = self.parts.iter().zip(ends);
        parts.flat_map(move |((begin, part), end)| (0..end - begin).map(move |i| self.of(part, i)))
    }

    /// How long each is decoded before the next.
    pub(super) fn lasts(&self) -> impl Iterator<Item = u32> + '_ {
        let starts = self.iter().map(|shot| shot.start);
        let ends = starts.clone().skip(1).chain([self.end]);
        starts.zip(ends).map(|(start, end)| (end - start) as u32)
    }

    /// When a picture is decoded that is shown at a time, so long before that as usual, but after the one before it.
    fn earliest(&self, time: i64, delay: i64) -> i64 {
        let last = self.count.checked_sub(1).map(|last| self.shot(last));
        let before = last.map_or(-1, |last| last.start as i64);
        (time - delay).max(before + 1).max(0)
    }

    /// Adds pictures of the content as they are, decoded so much later.
    fn push_kept(&mut self, range: Range<usize>, shift: i64) {
        if !range.is_empty() {
            self.parts.push((self.count, Part::Kept(range.start, shift)));
            self.count += range.len();
        }
    }

    /// Adds a picture that was made: of the one that is put into [`Shots::ads`] next.
    fn push_made(&mut self, picture: &Picture, i: usize, start: i64, time: i64) {
        let frame = &picture.frames[i];
        self.push(Shot {
            size: frame.bytes.len() as u32,
            start: start as u64,
            composition: (time - start) as i32,
            sync: frame.sync,
            from: From::Ad(self.ads.len() as u32, i as u32),
        });
    }

    fn push(&mut self, shot: Shot) {
        match self.parts.last_mut() {
            Some((_, Part::Other(shots))) => shots.push(shot),
            _ => self.parts.push((self.count, Part::Other(vec![shot]))),
        }
        self.count += 1;
    }

    /// Puts another picture in the place of the first.
    fn set_first(&mut self, shot: Shot) {
        let kept = match self.parts.first_mut() {
            Some((_, Part::Other(shots))) => {
                shots[0] = shot;
                return;
            }
            Some((begin, Part::Kept(first, _))) => (begin, first),
            None => return,
        };
        *kept.0 += 1;
        *kept.1 += 1;
        self.parts.insert(0, (0, Part::Other(vec![shot])));
    }
}

/// The first number in a range for which this no longer holds; once it does not, it does not for any after it.
pub(super) fn first_not(range: Range<usize>, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (range.start, range.end);
    while low < high {
        let middle = usize::midpoint(low, high);
        if holds(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// `count` of one scale in another, to the nearest.
pub(super) fn rescaled(count: i64, to: impl Into<u64>, from: impl Into<u64>) -> i64 {
    let (to, from) = (i128::from(to.into()), i128::from(from.into().max(1)));
    let there = (i128::from(count) * to + from / 2).div_euclid(from);
    // Far beyond any time, and room to add to it.
    there.clamp((i64::MIN / 4).into(), (i64::MAX / 4).into()) as i64
}

/// How long a picture lasts, of a scale.
fn lasting(format: &PictureFormat, scale: u32) -> i64 {
    rescaled(1, u64::from(scale) * u64::from(format.rate.1), format.rate.0)
}

/// By how many samples of the sound cues move at most, which is to the nearest picture.
pub(super) fn half_of_one(format: &PictureFormat, scale: u32, rate: u32) -> u64 {
    let half = lasting(format, scale) / 2 + 1;
    rescaled(half, rate, scale) as u64 + 1
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Pictures a second that suit content of this many pictures in this time: a usual rate when it is near one.
pub(super) fn rate_of(durations: &[(u32, u32)], scale: u32) -> (u32, u32) {
    const USUAL: [(u32, u32); 9] = [
        (24_000, 1001),
        (24, 1),
        (25, 1),
        (30_000, 1001),
        (30, 1),
        (50, 1),
        (60_000, 1001),
        (60, 1),
        (15, 1),
    ];
    let all: u64 = durations.iter().map(|run| u64::from(run.0)).sum();
    let mut counts = std::collections::BTreeMap::new();
    for (count, duration) in durations.iter().filter(|run| run.1 > 0) {
        *counts.entry(*duration).or_insert(0_u64) += u64::from(*count);
    }
    let common = counts.iter().max_by_key(|(_, count)| **count);
    let (count, time) = match common {
        Some((duration, count)) if count * 10 >= all * 8 => (1, u64::from(*duration)),
        _ => (
            all,
            durations
                .iter()
                .map(|run| u64::from(run.0) * u64::from(run.1))
                .sum(),
        ),
    };
    let (a, b) = (count * u64::from(scale), time.max(1));
    let rate = a as f64 / b as f64;
    let near = USUAL
        .into_iter()
        .find(|usual| (f64::from(usual.0) / f64::from(usual.1) / rate - 1.0).abs() < 0.0005);
    if let Some(near) = near {
        return near;
    }
    let divisor = gcd(a, b);
    match (u32::try_from(a / divisor), u32::try_from(b / divisor)) {
        (Ok(a), Ok(b)) if (5.0..=120.0).contains(&rate) && a < 1 << 24 && b < 1 << 24 => (a, b),
        _ => ((rate.clamp(5.0, 60.0)).round() as u32, 1),
    }
}

impl Video {
    /// Pictures of which none is hidden. `zero` is the media time of the beginning of the presentation.
    pub(super) fn new(samples: Samples, scale: u32, zero: i64, format: PictureFormat) -> Self {
        let mut starts = Compact::with_capacity(samples.sizes.len() + 1);
        let mut time = 0;
        for (count, duration) in &samples.durations {
            for _ in 0..*count {
                starts.push(time);
                time += u64::from(*duration);
            }
        }
        starts.push(time);
        let mut video = Self {
            starts,
            scale,
            zero,
            visible: zero,
            over: 0,
            hidden_start: false,
            hidden_end: None,
            format,
            samples,
        };
        video.over = video.shown_until();
        video
    }

    /// When the last picture is over, in media time.
    fn shown_until(&self) -> i64 {
        let count = self.count();
        // The last to be shown is among the last to be decoded.
        (count.saturating_sub(64)..count)
            .map(|i| self.shown(i) + (self.starts.at(i + 1) - self.starts.at(i)) as i64)
            .max()
            .unwrap_or(0)
    }

    /// Leaves out the pictures that are decoded after all of those that are shown before this media time.
    fn end_at(&mut self, time: i64) {
        let last = (0..self.count()).rev().find(|i| self.shown(*i) < time);
        let count = last.map_or(1, |last| last + 1);
        self.samples.truncate(count);
        self.starts.truncate(count + 1);
        self.over = self.shown_until();
    }

    fn count(&self) -> usize {
        self.samples.sizes.len()
    }

    /// How long a picture lasts.
    pub(super) fn lasting(&self) -> i64 {
        lasting(&self.format, self.scale)
    }

    /// How much later than it is decoded a sample is shown.
    fn composition(&self, i: usize) -> i32 {
        self.samples.compositions.get(i).copied().unwrap_or(0)
    }

    /// When a sample is shown, in media time.
    fn shown(&self, i: usize) -> i64 {
        self.starts.at(i) as i64 + i64::from(self.composition(i))
    }

    /// Seconds of the presentation, for messages.
    fn seconds(&self, time: i64) -> f64 {
        (time - self.zero) as f64 / f64::from(self.scale)
    }

    /// The samples that can be begun at.
    fn sync(&self, i: usize) -> bool {
        self.samples
            .sync
            .as_ref()
            .is_none_or(|sync| sync.binary_search(&(i as u32)).is_ok())
    }

    /// When the pictures of a group are shown, in that order.
    fn shown_in(&self, group: &Range<usize>) -> Vec<i64> {
        let mut shown: Vec<i64> = group.clone().map(|i| self.shown(i)).collect();
        shown.sort_unstable();
        shown
    }

    /// When the first picture after a cut is shown; `None` at the end.
    fn shown_after(&self, cut: &Cut) -> Option<i64> {
        if cut.within.is_some() {
            return cut.within;
        }
        if cut.group.is_empty() {
            return (cut.group.start < self.count()).then(|| self.shown(cut.group.start));
        }
        self.shown_in(&cut.group).get(cut.rank).copied()
    }

    /// How long before they are shown pictures are decoded that are made to stand before a sample.
    fn delay_before(&self, index: usize) -> i64 {
        if index < self.count() {
            i64::from(self.composition(index))
        } else {
            self.over - self.starts.at(self.count()) as i64
        }
    }

    /// Lays out the pictures. `cuts` are where each break's span begins and ends.
    fn lay_out(
        &self,
        layout: &Layout<'_>,
        cuts: &[Range<Cut>],
        sound: &Heard<'_>,
        recode: Recode<'_>,
    ) -> Result<Shots<'_>, SpliceError> {
        let ticks = |samples: i64| rescaled(samples, self.scale, sound.rate);
        let mut out = Shots::new(self);
        // Ads before everything are seen from where they are heard. What is shown first keeps its media time: pictures are decoded before.
        let later = self.visible - self.first_visible(layout, sound);
        out.zero += later;
        let zero = out.zero;
        let seen_until = self.hidden_end.unwrap_or(self.over);
        // Behind the end there may be pictures that the edit list leaves out.
        let shown_after = |cut: &Cut| {
            let is_end = cut.sample >= sound.samples;
            self.shown_after(cut).filter(|_| !is_end)
        };
        // What is left out at an end is not kept before or behind an ad either.
        let first = cuts
            .first()
            .filter(|cut| self.hidden_start && cut.start.sample == 0);
        let last = cuts
            .last()
            .filter(|cut| self.hidden_end.is_some() && cut.end.sample >= sound.samples);
        let whole = |index| Cut {
            group: index..index,
            rank: 0,
            within: None,
            sample: 0,
        };
        let beginning = first.map_or_else(|| whole(0), |cut| cut.start.clone());
        let ending = last.map_or_else(|| whole(self.count()), |cut| cut.end.clone());
        let (mut next, mut shifted, mut shift) = (&beginning, 0_i64, later);
        for (spot, cut) in layout.spots.iter().zip(cuts) {
            self.keep(&mut out, next, &cut.start, shift, recode)
                .map_err(|error| error.at_break(spot.index))?;
            let begins = sound.clock.heard(spot.span.start) + shifted + spot.lead as i64;
            let after = shifted + spot.shift();
            // What follows, or what would: when it is decoded and shown.
            let goes_on = shown_after(&cut.end);
            let moved = ticks(after) + later;
            let resumes = zero + ticks(sound.clock.heard(spot.span.end) + after);
            let ends = match goes_on {
                Some(shown) => shown + moved,
                // Pictures may last longer than the sound, when any are kept to the end.
                None if shown_after(&cut.start).is_none() => resumes.max(seen_until + shift),
                None => resumes,
            };
            let delay = self.delay_before(cut.start.group.start);
            let decoded_after = if cut.end.group.is_empty() && goes_on.is_some() {
                self.starts.at(cut.end.group.start) as i64 + moved
            } else {
                ends - self.delay_before(cut.end.group.end)
            };
            let mut offset = 0_i64;
            for (k, ad) in spot.ads.iter().enumerate() {
                let samples = ad.samples(spot.channels()) as i64;
                let at = |offset: i64| zero + ticks(begins + offset);
                let begin = match (k, shown_after(&cut.start)) {
                    (0, Some(shown)) if cut.start.sample > 0 => shown + shift,
                    (0, None) => at(0).max(seen_until + shift),
                    _ => at(offset).max(out.visible),
                };
                offset += samples;
                let end = if k + 1 == spot.ads.len() { ends } else { at(offset) };
                if let Some(picture) = &ad.picture {
                    self.put_ad(&mut out, picture, begin..end, delay, decoded_after);
                }
            }
            (next, shifted, shift) = (&cut.end, after, moved);
            out.end = decoded_after.max(0) as u64;
            out.over = ends;
        }
        if *next != ending || layout.spots.is_empty() {
            let goes_on = self.shown_after(next);
            let last = layout.spots.last().map_or(0, |spot| spot.index);
            self.keep(&mut out, next, &ending, shift, recode)
                .map_err(|error| error.at_break(last))?;
            if let Some(shown) = goes_on {
                // The last picture may have come back behind its end.
                let longer = (shown + self.lasting() - seen_until).max(0);
                out.end = (self.starts.at(self.count()) as i64 + longer + shift) as u64;
                out.over = seen_until + longer + shift;
            }
        }
        if out.len() > 0 {
            // Decoding begins with the track. An ad without pictures before everything holds the first one: it is shown from the beginning.
            let first = out.shot(0);
            let shown = first.start as i64 + i64::from(first.composition);
            let composition = i32::try_from(shown.min(out.visible.max(first.composition.into())))
                .map_err(|_| unsupported("its first picture is shown too late"))?;
            out.set_first(Shot {
                start: 0,
                composition,
                ..first
            });
        }
        let starts = out.iter().map(|shot| shot.start).chain([out.end]);
        if out.len() == 0 || !starts.is_sorted_by(|one, next| one < next) {
            return Err(unsupported(
                "pictures of the content are decoded at the same time, or so far before they are shown that ads would be too",
            ));
        }
        Ok(out)
    }

    /// Media time of what is shown first: of an ad's picture before everything, when that is before the content's.
    fn first_visible(&self, layout: &Layout<'_>, sound: &Heard<'_>) -> i64 {
        let mut offset = sound.clock.heard(0);
        let before = layout.spots.iter().take_while(|spot| spot.span.start == 0);
        for (spot, ad) in before.flat_map(|spot| spot.ads.iter().map(move |ad| (spot, ad))) {
            if ad.picture.is_some() {
                let shown = self.zero + rescaled(offset, self.scale, sound.rate);
                return self.visible.min(shown);
            }
            offset += ad.samples(spot.channels()) as i64;
        }
        self.visible
    }

    /// Keeps pictures of the content from one cut to another, so much later.
    fn keep(
        &self,
        out: &mut Shots<'_>,
        from: &Cut,
        to: &Cut,
        shift: i64,
        recode: Recode<'_>,
    ) -> Result<(), SpliceError> {
        if from == to {
            return Ok(());
        }
        let again = (&from.group, from.within);
        if !from.group.is_empty() && from.group == to.group {
            return self.keep_recoded(out, again, from.behind().start..to.rank, shift, recode);
        }
        if !from.group.is_empty() {
            self.keep_recoded(out, again, from.behind(), shift, recode)?;
        }
        let before = to.before();
        let kept = from.group.end..if before.is_empty() {
            to.group.start + to.rank
        } else {
            to.group.start
        };
        if !kept.is_empty() && (self.starts.at(kept.start) as i64) < -shift {
            return Err(unsupported(
                "pictures of the content would be decoded before the beginning",
            ));
        }
        out.push_kept(kept, shift);
        self.keep_recoded(out, (&to.group, None), before, shift, recode)
    }

    /// A picture of the content as it is, decoded so much later.
    fn kept(&self, i: usize, shift: i64) -> Shot {
        Shot {
            size: self.samples.sizes[i],
            start: self.starts.at(i).saturating_add_signed(shift),
            composition: self.composition(i),
            sync: self.sync(i),
            from: From::Content(self.samples.offsets.at(i)),
        }
    }

    /// Puts pictures of a group that are coded again where they were shown, so much later. With `within` the first of them begins then.
    fn keep_recoded(
        &self,
        out: &mut Shots<'_>,
        (group, within): (&Range<usize>, Option<i64>),
        ranks: Range<usize>,
        shift: i64,
        recode: Recode<'_>,
    ) -> Result<(), SpliceError> {
        if ranks.is_empty() {
            return Ok(());
        }
        // What comes first is decoded when it was; what comes last, before what follows is.
        let delay = if ranks.start == 0 {
            self.delay_before(group.start)
        } else {
            self.delay_before(group.end)
        };
        let mut shown = self.shown_in(group);
        if let Some(within) = within {
            shown[ranks.start] = within;
        }
        let picture = recode(group.clone(), ranks.clone())?;
        for (i, shown) in shown[ranks].iter().enumerate().take(picture.count()) {
            let time = shown + shift;
            out.push_made(&picture, i, out.earliest(time, delay), time);
        }
        out.ads.push(Arc::new(picture));
        Ok(())
    }

    /// A group's samples, for a decoder: when each is shown, in nanoseconds.
    fn times(&self, group: Range<usize>) -> impl Iterator<Item = (usize, u64)> {
        let first = self.shown_in(&group).first().copied().unwrap_or(0);
        group.map(move |i| {
            let nanos = rescaled(self.shown(i) - first, 1_000_000_000_u32, self.scale);
            (i, nanos.max(0) as u64)
        })
    }

    /// Puts an ad's pictures where it is shown; those that would be decoded after `until` are left out.
    fn put_ad(&self, out: &mut Shots<'_>, picture: &Arc<Picture>, shown: Range<i64>, delay: i64, until: i64) {
        let rate = picture.rate;
        let unit = u64::from(self.scale) * u64::from(rate.1);
        let wanted = rescaled(shown.end - shown.start, rate.0, unit).max(1) as usize;
        let before = out.len();
        for i in 0..wanted.min(picture.count()) {
            let time = shown.start + rescaled(i as i64, unit, rate.0);
            let start = out.earliest(time, delay);
            if start >= until || time >= shown.end {
                break;
            }
            out.push_made(picture, i, start, time);
        }
        if out.len() > before {
            out.ads.push(Arc::clone(picture));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_near_a_usual_one_is_that_one() {
        for (durations, scale, rate) in [
            (vec![(100, 512)], 12_800, (25, 1)),
            (vec![(60, 1001)], 30_000, (30_000, 1001)),
            (vec![(2, 33), (1, 34), (2, 33), (1, 34)], 1000, (30, 1)),
            (vec![(9, 100), (1, 900)], 1000, (10, 1)),
            (vec![(10, 40), (10, 80)], 1000, (50, 3)),
            (vec![(10, 0)], 1000, (60, 1)),
        ] {
            assert_eq!(rate_of(&durations, scale), rate, "{durations:?}");
        }
    }

    #[test]
    fn rescaling_is_to_the_nearest() {
        assert_eq!(rescaled(1024, 12_800_u32, 48_000_u32), 273);
        assert_eq!(rescaled(-1024, 12_800_u32, 48_000_u32), -273);
        assert_eq!(rescaled(3, 1_u32, 2_u32), 2);
    }
}
