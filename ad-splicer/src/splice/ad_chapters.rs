//! Ads in the list of chapters, for who asks for them: each break is a chapter of its own, and the chapter that it stands in goes on after it. Pure.

use super::Chapter;
use crate::chapters::next_later;
use crate::plan::{Segment, SplicePlan};
use crate::time::PresentationTime;

/// What a break is called.
pub(crate) const TITLE: &str = "Ad";

/// From where to where each break lasts, with the silence after its ads, in order.
pub(crate) fn breaks(plan: &SplicePlan) -> Vec<(PresentationTime, PresentationTime)> {
    let rate = plan.sample_rate();
    let mut found: Vec<(u64, u64)> = Vec::new();
    for (start, segment) in plan.segments() {
        let end = start + segment.samples();
        match (segment, found.last_mut()) {
            (Segment::Content(_), _) => {}
            (_, Some(last)) if last.1 == start => last.1 = end,
            _ => found.push((start, end)),
        }
    }
    let time = |sample| PresentationTime::from_samples(sample, rate);
    found
        .into_iter()
        .map(|(start, end)| (time(start), time(end)))
        .collect()
}

/// Changes chapters so that none lasts over a break, and gives those that are to be added: the breaks, and what is left of chapters after one. Chapters that hold others go on as they were: parts
/// of a chapter are told by their beginning within it.
pub(crate) fn added(plan: &SplicePlan, chapters: &mut [Chapter]) -> Vec<Chapter> {
    let breaks = breaks(plan);
    let mut added: Vec<Chapter> = breaks
        .iter()
        .enumerate()
        .map(|(i, (start, end))| Chapter {
            id: format!("ad{}", i + 1),
            title: TITLE.to_owned(),
            start: *start,
            end: *end,
        })
        .collect();
    let starts: Vec<PresentationTime> = chapters.iter().map(|chapter| chapter.start).collect();
    for (chapter, next) in chapters.iter_mut().zip(next_later(&starts)) {
        let holds_others = next.is_some_and(|next| next < chapter.end);
        if holds_others {
            continue;
        }
        let mut rest = chapter.end;
        let span = chapter.start..chapter.end;
        let within = breaks
            .iter()
            .filter(|(start, _)| *start > span.start && *start < span.end);
        for (part, (start, end)) in within.enumerate() {
            if part == 0 {
                rest = std::mem::replace(&mut chapter.end, *start);
            } else if let Some(before) = added.last_mut() {
                before.end = *start;
            }
            if *end < rest {
                added.push(Chapter {
                    id: format!("{}+{}", chapter.id, part + 1),
                    title: chapter.title.clone(),
                    start: *end,
                    end: rest,
                });
            }
        }
    }
    added
}

/// Puts breaks into a list of titles of which each lasts until the next, up to `end`. Times are of any scale.
pub(crate) fn insert<T: Clone>(list: &mut Vec<(u64, T)>, breaks: &[(u64, u64)], ad: &T, end: u64) {
    for (from, until) in breaks {
        let Some(at) = list.iter().rposition(|(start, _)| start <= from) else {
            continue;
        };
        if list[at].0 == *from {
            // The title begins after the break, unless another does.
            list[at].0 = *until;
            list.insert(at, (*from, ad.clone()));
            continue;
        }
        let title = list[at].1.clone();
        let next = list.get(at + 1).map_or(end, |next| next.0);
        list.insert(at + 1, (*from, ad.clone()));
        // Times were rounded.
        if next > *until + 1 {
            list.insert(at + 2, (*until, title));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{PlannedBreak, Steps};

    /// Ten seconds of content with breaks of a second at 0, 4 and 6 s.
    fn plan() -> SplicePlan {
        let breaks = [0, 4000, 6000].map(|at| PlannedBreak {
            lead: 0,
            index: 0,
            span: at..at,
            ads: vec![400, 600],
        });
        SplicePlan::new(1000, 10_000, Steps::ANY, &breaks).unwrap()
    }

    fn chapter(id: &str, start: u64, end: u64) -> Chapter {
        Chapter {
            id: id.to_owned(),
            title: id.to_uppercase(),
            start: PresentationTime::from_millis(start),
            end: PresentationTime::from_millis(end),
        }
    }

    #[test]
    fn chapters_stop_at_breaks_and_go_on_after_them() {
        // The second begins at the cue at 4 s, which is after the break; the last holds two breaks less than it seems.
        let mut chapters = [chapter("a", 1000, 6000), chapter("b", 6000, 13_000)];
        let added = added(&plan(), &mut chapters);
        assert_eq!(chapters, [chapter("a", 1000, 5000), chapter("b", 6000, 8000)]);
        let ads = [(0, 1000), (5000, 6000), (8000, 9000)];
        for (found, (start, end)) in added.iter().zip(ads) {
            assert_eq!((found.start.as_millis(), found.end.as_millis()), (start, end));
            assert_eq!(found.title, "Ad");
        }
        let rest = Chapter {
            title: "B".into(),
            ..chapter("b+1", 9000, 13_000)
        };
        assert_eq!(added[3..], [rest]);

        let mut one = [chapter("all", 1000, 13_000)];
        let parts = super::added(&plan(), &mut one);
        let times: Vec<_> = parts[3..]
            .iter()
            .map(|part| (part.start.as_millis(), part.end.as_millis()))
            .collect();
        assert_eq!(times, [(6000, 8000), (9000, 13_000)]);
    }

    #[test]
    fn titles_give_way_to_breaks() {
        let mut list = vec![(0, "a"), (6000, "b")];
        insert(&mut list, &[(0, 1000), (5000, 6000), (8000, 9000)], &"ad", 13_000);
        assert_eq!(
            list,
            [
                (0, "ad"),
                (1000, "a"),
                (5000, "ad"),
                (6000, "b"),
                (8000, "ad"),
                (9000, "b")
            ]
        );
        let mut list = vec![(0, "a")];
        insert(&mut list, &[(9000, 10_000)], &"ad", 10_000);
        assert_eq!(list, [(0, "a"), (9000, "ad")]);
    }
}
