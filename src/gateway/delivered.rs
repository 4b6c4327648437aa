//! Which ads of a rendition were delivered, by the bytes that were sent of it. Pure.
//!
//! An ad is delivered when all bytes of its break were sent, and of the rendition at least as much as a minute of it (all of a shorter one),
//! in whatever order and in how many requests. Sent is what the connection took: whether anybody heard it is not known here, so that the
//! basis of what is reported is `delivered`, always.
//!
//! Where a break lies is seen from the layout: ads are the long stretches that are not the content's own bytes. Where that cannot be told
//! (two breaks became one stretch), its ads are delivered when everything was.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use ad_splicer::plan::SplicePlan;
use ad_splicer::splice::{Report, Run, SplicedAd};
use ad_splicer::time::ContentTime;

/// A download of less is none.
const MINUTE: Duration = Duration::from_secs(60);
/// Between the shortest break and the longest of other stretches there is at least this factor.
const CLEARLY: u64 = 4;
/// A break has at least this part of the bytes that its time has on average.
const LEAST: f64 = 0.125;
/// Parts that are told apart of what was sent; with more, what lies apart is forgotten.
const MOST_PARTS: usize = 4096;

/// What was sent of a rendition, and what of its ads.
#[derive(Debug)]
pub(super) struct Delivery {
    sent: Sent,
    /// So many bytes make a download.
    enough: u64,
    breaks: Vec<Break>,
}

#[derive(Debug)]
struct Break {
    bytes: Range<u64>,
    /// The keys of its ads.
    ads: Vec<String>,
    told: bool,
}

impl Delivery {
    /// Nothing is sent yet.
    pub(super) fn new(runs: &[Run], report: &Report, plan: &SplicePlan) -> Self {
        let ratio = MINUTE.as_secs_f64() / report.duration.as_secs_f64();
        Self {
            sent: Sent::default(),
            enough: (report.bytes as f64 * ratio.min(1.0)) as u64,
            breaks: breaks(runs, report, plan),
        }
    }

    /// These bytes were sent. Says whether that delivered an ad.
    pub(super) fn sent(&mut self, bytes: Range<u64>) -> bool {
        self.sent.add(bytes);
        self.due().next().is_some()
    }

    fn due(&self) -> impl Iterator<Item = usize> {
        let is_download = self.sent.total() >= self.enough;
        let due = move |(index, this): (usize, &Break)| {
            (is_download && !this.told && self.sent.holds(&this.bytes)).then_some(index)
        };
        self.breaks.iter().enumerate().filter_map(due)
    }

    /// The keys of the ads that were delivered and not given here before.
    pub(super) fn take(&mut self) -> Vec<String> {
        let due: Vec<usize> = self.due().collect();
        let mut keys = Vec::new();
        for index in due {
            self.breaks[index].told = true;
            keys.extend(self.breaks[index].ads.iter().cloned());
        }
        keys
    }

    /// This ad is not there after all: nothing of it is delivered. Says whether that was not known yet.
    pub(super) fn lose(&mut self, key: &str) -> bool {
        let mut breaks = self.breaks.iter_mut().filter(|this| !this.told);
        breaks.any(|this| {
            let before = this.ads.len();
            this.ads.retain(|ad| ad != key);
            this.ads.len() < before
        })
    }

    /// The keys of the ads that were not delivered.
    pub(super) fn left(&self) -> Vec<String> {
        let left = self.breaks.iter().filter(|this| !this.told);
        left.flat_map(|this| this.ads.iter().cloned()).collect()
    }
}

/// Where the breaks lie.
fn breaks(runs: &[Run], report: &Report, plan: &SplicePlan) -> Vec<Break> {
    let mut groups: Vec<Vec<&SplicedAd>> = Vec::new();
    for ad in &report.ads {
        match groups.last_mut() {
            Some(group) if group.iter().any(|other| other.content == ad.content) => group.push(ad),
            _ => groups.push(vec![ad]),
        }
    }
    let is_first = |group: &[&SplicedAd]| group.iter().all(|ad| ad.content == ContentTime::ZERO);
    let is_last = |group: &[&SplicedAd]| group.iter().all(|ad| plan.is_at_the_end(ad.index));
    let all = stretches(runs);
    let middle: Vec<&Vec<&SplicedAd>> = groups
        .iter()
        .filter(|group| !is_first(group) && !is_last(group))
        .collect();
    let rate = report.bytes as f64 / report.duration.as_secs_f64();
    let lasts = |group: &&Vec<&SplicedAd>| group.iter().map(|ad| ad.duration.as_secs_f64()).sum::<f64>();
    let shortest = middle.iter().map(lasts).fold(f64::INFINITY, f64::min);
    let least = (shortest * rate * LEAST) as u64;
    let mut found = longest(&all, report.bytes, middle.len(), least).map(Vec::into_iter);
    let mut place = |group: &[&SplicedAd]| {
        let found = found.as_mut()?;
        if is_first(group) {
            all.first().filter(|bytes| bytes.start == 0).cloned()
        } else if is_last(group) {
            all.last().filter(|bytes| bytes.end == report.bytes).cloned()
        } else {
            found.next()
        }
    };
    groups
        .into_iter()
        .map(|group| Break {
            bytes: place(&group).unwrap_or(0..report.bytes),
            ads: group.iter().map(|ad| ad.id.clone()).collect(),
            told: false,
        })
        .collect()
}

/// The stretches that are not the content's own bytes, in order.
fn stretches(runs: &[Run]) -> Vec<Range<u64>> {
    let mut all: Vec<Range<u64>> = Vec::new();
    for run in runs {
        if run.source.content_offset().is_some() {
            continue;
        }
        match all.last_mut() {
            Some(last) if last.end == run.start => last.end += run.len,
            _ => all.push(run.start..run.start + run.len),
        }
    }
    all
}

/// The longest `count` stretches that touch neither end, in order, when they have `least` bytes each and are clearly longer than the others.
fn longest(all: &[Range<u64>], len: u64, count: usize, least: u64) -> Option<Vec<Range<u64>>> {
    let within = all.iter().filter(|bytes| bytes.start > 0 && bytes.end < len);
    let mut within: Vec<Range<u64>> = within.cloned().collect();
    within.sort_by_key(|bytes| std::cmp::Reverse(bytes.end - bytes.start));
    let size = |index: usize| within.get(index).map_or(0, |bytes| bytes.end - bytes.start);
    if count > 0 && size(count - 1) < (CLEARLY * size(count)).max(least).max(1) {
        return None;
    }
    within.truncate(count);
    within.sort_by_key(|bytes| bytes.start);
    Some(within)
}

/// Bytes that were sent.
#[derive(Debug, Default)]
struct Sent {
    /// Each part's end by its beginning; they neither touch nor overlap.
    parts: BTreeMap<u64, u64>,
}

impl Sent {
    fn add(&mut self, bytes: Range<u64>) {
        let Range { mut start, mut end } = bytes;
        if start >= end {
            return;
        }
        while let Some((&other, &until)) = self.parts.range(..=end).next_back() {
            if until < start {
                break;
            }
            self.parts.remove(&other);
            (start, end) = (start.min(other), end.max(until));
        }
        if self.parts.len() < MOST_PARTS {
            self.parts.insert(start, end);
        }
    }

    fn holds(&self, bytes: &Range<u64>) -> bool {
        let part = self.parts.range(..=bytes.start).next_back();
        part.is_some_and(|(_, until)| *until >= bytes.end)
    }

    fn total(&self) -> u64 {
        self.parts.iter().map(|(start, end)| end - start).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ad_splicer::plan::{AdIndex, PlannedBreak, Steps};
    use ad_splicer::splice::Source;
    use ad_splicer::time::PresentationTime;

    fn run(start: u64, len: u64, is_content: bool) -> Run {
        let source = if is_content {
            Source::Content(start)
        } else {
            Source::Bridge { number: 0, from: 0 }
        };
        Run { start, len, source }
    }

    fn ad(id: &str, cue: u64, at: u64) -> SplicedAd {
        SplicedAd {
            index: AdIndex {
                break_index: cue as usize,
                ad: 0,
            },
            id: id.into(),
            content: ContentTime::from_millis(cue * 1000),
            presentation: PresentationTime::from_millis(at * 1000),
            duration: Duration::from_secs(10),
        }
    }

    /// Ten bytes a second: a head, content with small heads of its own, a break at 30 s and one at the end, of 10 s each.
    fn scene(ads: Vec<SplicedAd>) -> Delivery {
        let runs = [
            run(0, 50, false),
            run(50, 150, true),
            run(200, 10, false),
            run(210, 90, true),
            run(300, 100, false),
            run(400, 1_000, true),
            run(1_400, 100, false),
        ];
        let planned = ads.iter().map(|ad: &SplicedAd| {
            let cue = ad.content.as_millis() / 1000;
            PlannedBreak {
                lead: 0,
                index: ad.index.break_index,
                span: cue..cue,
                ads: vec![10],
            }
        });
        let planned: Vec<_> = planned.collect();
        let plan = SplicePlan::new(1, 130, Steps::ANY, &planned).expect("breaks in order");
        let report = Report {
            bytes: 1_500,
            duration: Duration::from_secs(150),
            ads,
            seams: Vec::new(),
            chapters: Vec::new(),
        };
        Delivery::new(&runs, &report, &plan)
    }

    #[test]
    fn an_ad_is_delivered_with_its_break_and_a_minute() {
        let mut scene = scene(vec![ad("a", 30, 30), ad("b", 130, 140)]);
        assert!(!scene.sent(300..400), "less than a minute");
        assert!(!scene.sent(500..900));
        assert!(
            scene.sent(900..1_400),
            "with the minute comes the break that was sent before"
        );
        assert_eq!(scene.take(), ["a"]);
        assert_eq!(scene.left(), ["b"]);
        assert!(!scene.sent(1_401..1_500) && !scene.sent(300..1_400));
        assert!(scene.sent(1_400..1_401));
        assert_eq!(scene.take(), ["b"]);
        assert!(scene.left().is_empty() && scene.take().is_empty() && !scene.sent(0..1_500));
    }

    #[test]
    fn an_ad_that_is_lost_is_not_delivered() {
        let mut scene = scene(vec![ad("a", 30, 30), ad("b", 130, 140)]);
        assert!(scene.lose("a") && !scene.lose("a") && !scene.lose("c"));
        assert!(scene.sent(0..1_500));
        assert_eq!(scene.take(), ["b"]);
        assert!(scene.left().is_empty() && !scene.lose("b"), "it was told");
    }

    #[test]
    fn a_break_whose_place_is_not_clear_is_delivered_with_everything() {
        // Two breaks in one stretch.
        let mut scene = scene(vec![ad("a", 30, 30), ad("b", 31, 41)]);
        assert!(!scene.sent(300..1_500) && !scene.sent(0..299));
        assert!(scene.sent(299..300));
        assert_eq!(scene.take(), ["a", "b"]);
    }

    #[test]
    fn what_was_sent_is_put_together() {
        let mut sent = Sent::default();
        for part in [10..20, 30..40, 5..6, 19..31, 7..7] {
            sent.add(part);
        }
        assert!(sent.holds(&(10..40)) && sent.holds(&(5..6)) && !sent.holds(&(5..11)));
        assert_eq!(sent.total(), 31);
        sent.add(0..100);
        assert_eq!((sent.total(), sent.parts.len()), (100, 1));
    }
}
