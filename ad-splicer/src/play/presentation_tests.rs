use super::*;

const SECOND: u64 = 1000;

fn at(millis: u64) -> PresentationTime {
    PresentationTime::from_millis(millis)
}

fn slot(break_index: usize, ad: usize, start: u64, millis: u64) -> AdSlot {
    AdSlot {
        index: AdIndex { break_index, ad },
        start: at(start),
        duration: Duration::from_millis(millis),
        progress: Vec::new(),
        skip_after: None,
    }
}

/// A break of two ads at 10 s (8 s and 4 s), and one of one ad at 60 s (8 s).
fn timeline() -> Timeline {
    Timeline::new(vec![
        slot(1, 0, 60 * SECOND, 8 * SECOND),
        slot(0, 0, 10 * SECOND, 8 * SECOND),
        slot(0, 1, 18 * SECOND, 4 * SECOND),
    ])
}

/// `14000 FirstQuartile 0.1`
fn line(presented: &Presented) -> String {
    use PlayEvent::{
        BreakEnd, BreakStart, Complete, FirstQuartile, Impression, Midpoint, Mute, Pause, Progress, Resume,
        Skip, Start, ThirdQuartile, Unmute,
    };
    let (name, index) = match presented.event {
        BreakStart { break_index } => {
            return format!("{} break-start {break_index}", presented.at.as_millis());
        }
        BreakEnd { break_index } => return format!("{} break-end {break_index}", presented.at.as_millis()),
        Progress { ad, point } => {
            return format!(
                "{} progress {}.{} {point}",
                presented.at.as_millis(),
                ad.break_index,
                ad.ad
            );
        }
        Impression(ad) => ("impression", ad),
        Start(ad) => ("start", ad),
        FirstQuartile(ad) => ("1/4", ad),
        Midpoint(ad) => ("1/2", ad),
        ThirdQuartile(ad) => ("3/4", ad),
        Complete(ad) => ("complete", ad),
        Skip(ad) => ("skip", ad),
        Pause(ad) => ("pause", ad),
        Resume(ad) => ("resume", ad),
        Mute(ad) => ("mute", ad),
        Unmute(ad) => ("unmute", ad),
    };
    format!(
        "{} {name} {}.{}",
        presented.at.as_millis(),
        index.break_index,
        index.ad
    )
}

/// What a playback does.
enum Step {
    /// Presents up to here at normal speed.
    To(u64),
    /// Presents up to here at another speed.
    Fast(u64),
    Jump(u64),
    Pause(bool),
    Skip,
    End,
}
use Step::{End, Fast, Jump, To};

fn play(timeline: Timeline, start: u64, steps: &[Step]) -> Vec<String> {
    let mut presentation = Presentation::new(timeline, at(start));
    let mut lines = Vec::new();
    for step in steps {
        let events = match step {
            To(to) => presentation.presented(at(*to), 1.0),
            Fast(to) => presentation.presented(at(*to), 2.0),
            Jump(to) => presentation.jumped(at(*to)),
            Step::Pause(paused) => presentation.paused(*paused).into_iter().collect(),
            Step::Skip => match presentation.skip() {
                Some((to, event)) => {
                    let mut events = vec![event];
                    events.extend(presentation.jumped(to));
                    events
                }
                None => vec![],
            },
            End => presentation.ended(),
        };
        lines.extend(events.iter().map(line));
    }
    lines
}

const FIRST: [&str; 6] = [
    "10000 impression 0.0",
    "10000 start 0.0",
    "12000 1/4 0.0",
    "14000 1/2 0.0",
    "16000 3/4 0.0",
    "18000 complete 0.0",
];
const SECOND_AD: [&str; 6] = [
    "18000 impression 0.1",
    "18000 start 0.1",
    "19000 1/4 0.1",
    "20000 1/2 0.1",
    "21000 3/4 0.1",
    "22000 complete 0.1",
];

#[test]
fn rule_5_what_is_presented_is_told_once_and_in_order_and_no_quartile_through_a_seek() {
    let whole = [
        &["10000 break-start 0"][..],
        &FIRST,
        &SECOND_AD,
        &["22000 break-end 0"],
    ]
    .concat();
    let cases: Vec<(&str, u64, Vec<Step>, Vec<&str>)> = vec![
        ("before the break", 0, vec![To(9_999), To(10_000), End], vec![]),
        ("in one step", 0, vec![To(30_000), End], whole.clone()),
        (
            "in small steps",
            0,
            (0..=600).map(|i| To(i * 50)).chain([End]).collect(),
            whole.clone(),
        ),
        (
            "over the break",
            0,
            vec![To(5_000), Jump(30_000), To(40_000), End],
            vec![],
        ),
        (
            "back into the break after it",
            0,
            vec![To(30_000), Jump(10_000), To(30_000), End],
            whole.clone(),
        ),
        (
            "into the middle of an ad",
            0,
            vec![Jump(13_000), To(17_000), Jump(30_000)],
            vec![
                "13000 break-start 0",
                "13000 impression 0.0",
                "13000 start 0.0",
                "17000 break-end 0",
            ],
        ),
        (
            "the middle first, then the whole of it",
            0,
            vec![Jump(17_000), To(18_000), Jump(10_000), To(18_000)],
            [
                &["17000 break-start 0", "17000 impression 0.0", "17000 start 0.0"][..],
                &FIRST[2..],
            ]
            .concat(),
        ),
        (
            "past a quartile within the ad",
            0,
            vec![To(12_500), Jump(15_000), To(18_500)],
            vec![
                "10000 break-start 0",
                "10000 impression 0.0",
                "10000 start 0.0",
                "12000 1/4 0.0",
                "18000 impression 0.1",
                "18000 start 0.1",
            ],
        ),
        (
            "starting within the content after it",
            25_000,
            vec![To(40_000), End],
            vec![],
        ),
        (
            "at twice the speed",
            0,
            vec![To(9_000), Fast(20_000), To(30_000)],
            vec![
                "10000 break-start 0",
                "10000 impression 0.0",
                "10000 start 0.0",
                "18000 impression 0.1",
                "18000 start 0.1",
                "22000 break-end 0",
            ],
        ),
        (
            "stopped within an ad",
            0,
            vec![To(15_000), End],
            [&["10000 break-start 0"][..], &FIRST[..4], &["15000 break-end 0"]].concat(),
        ),
        (
            "paused within an ad, which is no gap",
            0,
            vec![To(11_000), Step::Pause(true), Step::Pause(false), To(14_000)],
            vec![
                "10000 break-start 0",
                "10000 impression 0.0",
                "10000 start 0.0",
                "11000 pause 0.0",
                "11000 resume 0.0",
                "12000 1/4 0.0",
                "14000 1/2 0.0",
            ],
        ),
        (
            "paused within the content",
            0,
            vec![To(1_000), Step::Pause(true)],
            vec![],
        ),
        (
            "a position that goes back is a jump",
            0,
            vec![To(11_000), To(10_500), To(12_500)],
            vec!["10000 break-start 0", "10000 impression 0.0", "10000 start 0.0"],
        ),
        (
            "from one break straight into another",
            0,
            vec![To(11_000), Jump(60_000), To(60_001)],
            vec![
                "10000 break-start 0",
                "10000 impression 0.0",
                "10000 start 0.0",
                "11000 break-end 0",
                "60000 break-start 1",
                "60000 impression 1.0",
                "60000 start 1.0",
            ],
        ),
        (
            "what may not be skipped",
            0,
            vec![To(15_000), Step::Skip, To(15_100)],
            { [&["10000 break-start 0"][..], &FIRST[..4]].concat() },
        ),
    ];
    for (name, start, steps, expected) in cases {
        assert_eq!(play(timeline(), start, &steps), expected, "{name}");
    }
}

#[test]
fn rule_5_skip_comes_only_after_its_offset() {
    let mut timeline = timeline();
    for ad in timeline.ads_mut() {
        ad.skip_after = Some(Duration::from_secs(5));
    }
    let events = play(
        timeline,
        0,
        &[To(14_999), Step::Skip, To(15_000), Step::Skip, To(18_100)],
    );
    let expected = [
        &["10000 break-start 0"][..],
        &FIRST[..4],
        &["15000 skip 0.0", "18000 impression 0.1", "18000 start 0.1"],
    ];
    assert_eq!(events, expected.concat());
}

#[test]
fn rule_5_progress_points_stand_among_the_quartiles() {
    let mut timeline = Timeline::new(vec![slot(0, 0, 0, 8 * SECOND)]);
    for ad in timeline.ads_mut() {
        ad.progress = vec![Duration::from_secs(3), Duration::ZERO, Duration::from_secs(9)];
    }
    let events = play(timeline, 0, &[To(4_500)]);
    let expected = [
        "0 break-start 0",
        "0 impression 0.0",
        "0 start 0.0",
        "0 progress 0.0 1",
        "2000 1/4 0.0",
        "3000 progress 0.0 0",
        "4000 1/2 0.0",
    ];
    assert_eq!(events, expected, "a point after the ad's end never comes");
}

#[test]
fn the_status_line_counts_the_ads_of_the_break() {
    let timeline = timeline();
    assert_eq!(timeline.status(at(9_999)), None);
    let status = timeline.status(at(19_500)).expect("within the second ad");
    assert_eq!((status.number, status.count), (2, 2));
    assert_eq!(status.elapsed, Duration::from_millis(1_500));
    assert_eq!(status.remaining, Duration::from_millis(2_500));
    assert!(!status.skippable);
    assert_eq!(timeline.status(at(22_000)), None, "an ad's end is not in it");
}

mod any_playback {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However somebody jumps about: nothing comes twice, nothing comes before what it follows from, and a
        /// complete ad was presented from its first frame to its last without a gap.
        #[test]
        fn tells_only_what_was_presented(steps in prop::collection::vec((any::<bool>(), 0_u64..70_000), 1..40)) {
            let mut presentation = Presentation::new(timeline(), PresentationTime::ZERO);
            let mut runs: Vec<(PresentationTime, PresentationTime)> = Vec::new();
            let mut run = (PresentationTime::ZERO, PresentationTime::ZERO);
            let mut told: Vec<PlayEvent> = Vec::new();
            for (jump, millis) in steps {
                let to = at(millis);
                let events = if jump || to < presentation.position() {
                    runs.push(run);
                    run = (to, to);
                    presentation.jumped(to)
                } else {
                    run.1 = to;
                    presentation.presented(to, 1.0)
                };
                runs.push(run);
                for Presented { event, .. } in events {
                    prop_assert!(!told.contains(&event), "{event:?} twice");
                    told.push(event);
                }
            }
            for ad in timeline().ads() {
                let touched = runs.iter().any(|r| r.0 < ad.end() && r.1 > ad.start && r.0 < r.1);
                prop_assert_eq!(told.contains(&PlayEvent::Impression(ad.index)), touched);
                let whole = runs.iter().any(|r| r.0 <= ad.start && r.1 >= ad.end());
                prop_assert_eq!(told.contains(&PlayEvent::Complete(ad.index)), whole);
                if whole {
                    prop_assert!(told.contains(&PlayEvent::Midpoint(ad.index)));
                }
            }
        }
    }
}

/// `0.0 0..3000 x1000 on`
fn parts(presentation: &mut Presentation) -> Vec<String> {
    let heard = presentation.take_heard();
    let line = |part: &Heard| {
        let sound = if part.muted { "off" } else { "on" };
        let Heard {
            ad, from, to, rate, ..
        } = part;
        let (from, to) = (from.as_millis(), to.as_millis());
        format!("{}.{} {from}..{to} x{rate} {sound}", ad.break_index, ad.ad)
    };
    heard.iter().map(line).collect()
}

#[test]
fn what_was_heard_is_told_in_uninterrupted_parts() {
    let mut presentation = Presentation::new(timeline(), at(9 * SECOND));
    for millis in [9_500, 11_000, 12_500, 13_000] {
        presentation.presented(at(millis), 1.0);
    }
    assert_eq!(parts(&mut presentation), Vec::<String>::new(), "it goes on");
    presentation.paused(true);
    presentation.paused(false);
    presentation.presented(at(14_000), 1.0);
    presentation.muted(true);
    presentation.presented(at(15_000), 1.0);
    presentation.muted(false);
    presentation.presented(at(16_000), 2.0);
    presentation.jumped(at(17_000));
    presentation.presented(at(19_000), 1.0);
    presentation.ended();
    assert_eq!(
        parts(&mut presentation),
        [
            "0.0 0..3000 x1000 on",
            "0.0 3000..4000 x1000 on",
            "0.0 4000..5000 x1000 off",
            "0.0 5000..6000 x2000 on",
            "0.0 7000..8000 x1000 on",
            "0.1 0..1000 x1000 on",
        ]
    );
}

#[test]
fn rule_5_muting_is_told_once_within_an_ad_and_stops_no_quartile() {
    let mut presentation = Presentation::new(timeline(), at(9 * SECOND));
    assert_eq!(presentation.muted(true), None, "outside of ads nobody is told");
    let mut events = presentation.presented(at(11_000), 1.0);
    assert_eq!(presentation.muted(true), None, "it is already");
    events.extend(presentation.muted(false));
    events.extend(presentation.muted(true));
    events.extend(presentation.presented(at(12_500), 1.0));
    let lines: Vec<_> = events.iter().map(line).collect();
    assert_eq!(
        lines,
        [
            "10000 break-start 0",
            "10000 impression 0.0",
            "10000 start 0.0",
            "11000 unmute 0.0",
            "11000 mute 0.0",
            "12000 1/4 0.0",
        ]
    );
}

#[test]
fn ads_that_come_in_later_are_told_and_those_before_are_not_told_again() {
    let mut presentation = Presentation::new(Timeline::new(vec![slot(0, 0, 10 * SECOND, 8 * SECOND)]), at(0));
    presentation.presented(at(13_000), 1.0);
    let mut later = slot(1, 0, 5 * SECOND, 0);
    (later.start, later.duration) = (at(20_000), Duration::from_secs(4));
    later.progress = vec![Duration::from_secs(1)];
    presentation.extend(Timeline::new(vec![later, slot(0, 0, 10 * SECOND, 8 * SECOND)]));
    let lines: Vec<_> = presentation.presented(at(22_000), 1.0).iter().map(line).collect();
    assert_eq!(
        lines,
        [
            "14000 1/2 0.0",
            "16000 3/4 0.0",
            "18000 complete 0.0",
            "20000 break-end 0",
            "20000 break-start 1",
            "20000 impression 1.0",
            "20000 start 1.0",
            "21000 progress 1.0 0",
            "21000 1/4 1.0",
            "22000 1/2 1.0",
        ]
    );
}

#[test]
fn rule_5_an_ad_at_the_very_end_is_complete_whatever_its_samples_round_to() {
    use crate::plan::{PlannedBreak, Steps};
    for samples in 426_940..426_960 {
        let planned = PlannedBreak {
            lead: 0,
            index: 0,
            span: 8_650_254..8_650_254,
            ads: vec![samples],
        };
        let plan = SplicePlan::new(44_100, 8_650_254, Steps::ANY, &[planned]).expect("a plan");
        let mut presentation = Presentation::new(Timeline::of(&plan), at(190 * SECOND));
        let end = PresentationTime::ZERO.saturating_add(plan.duration());
        let events = presentation.presented(end, 1.0);
        let complete = events
            .iter()
            .any(|told| matches!(told.event, PlayEvent::Complete(_)));
        assert!(complete, "{samples}");
    }
}

/// Goes on where `Presentation::go` says, and then where `Presentation::target` says, presenting everything between; the places.
fn going(presentation: &mut Presentation, to: u64) -> Vec<u64> {
    let mut places = Vec::new();
    let mut next = presentation.go(at(to));
    while let Some(place) = next {
        places.push(place.as_millis());
        presentation.jumped(place);
        // Step by step, as a player does it, for as long as the longest break.
        next = None;
        for _ in 0..13 {
            let on = presentation.position().saturating_add(Duration::from_secs(1));
            presentation.presented(on, 1.0);
            next = presentation.target();
            if next.is_some() {
                break;
            }
        }
    }
    places
}

#[test]
fn a_seek_over_unplayed_breaks_plays_the_last_one_and_then_goes_to_its_target() {
    let mut presentation = Presentation::new(timeline(), at(1_000));
    assert_eq!(going(&mut presentation, 80 * SECOND), [60 * SECOND, 80 * SECOND]);
    // Both ways over what was played, and back over what was passed: straight on.
    assert_eq!(presentation.go(at(70 * SECOND)), Some(at(70 * SECOND)));
    presentation.jumped(at(70 * SECOND));
    assert_eq!(presentation.go(at(30 * SECOND)), Some(at(30 * SECOND)));
    presentation.jumped(at(30 * SECOND));
    assert_eq!(
        presentation.go(at(90 * SECOND)),
        Some(at(90 * SECOND)),
        "it was played"
    );
}

#[test]
fn an_ad_is_not_left_forwards_and_nobody_arrives_in_the_middle_of_a_break() {
    let mut presentation = Presentation::new(timeline(), at(11 * SECOND));
    presentation.presented(at(12 * SECOND), 1.0);
    assert_eq!(presentation.go(at(30 * SECOND)), None);
    assert_eq!(presentation.go(at(5 * SECOND)), Some(at(5 * SECOND)));
    presentation.jumped(at(5 * SECOND));
    // The break was begun: its end is the place. The other one was not: its beginning is.
    assert_eq!(presentation.go(at(19 * SECOND)), Some(at(22 * SECOND)));
    presentation.jumped(at(22 * SECOND));
    assert_eq!(presentation.go(at(63 * SECOND)), Some(at(60 * SECOND)));
    presentation.jumped(at(60 * SECOND));
    presentation.presented(at(61 * SECOND), 1.0);
    assert_eq!(presentation.target(), None, "content follows by itself");
}

#[test]
fn a_new_seek_forgets_the_target_of_the_last() {
    let mut presentation = Presentation::new(timeline(), at(1_000));
    assert_eq!(presentation.go(at(80 * SECOND)), Some(at(60 * SECOND)));
    presentation.jumped(at(60 * SECOND));
    presentation.presented(at(61 * SECOND), 1.0);
    assert_eq!(presentation.go(at(2 * SECOND)), Some(at(2 * SECOND)));
    presentation.jumped(at(2 * SECOND));
    presentation.presented(at(3 * SECOND), 1.0);
    assert_eq!(presentation.target(), None);
}
