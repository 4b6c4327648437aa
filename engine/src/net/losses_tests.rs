//! Losses as a queue makes them, and as a bad line does.

use super::*;

const ONE: Packets = Packets(1.0);
const WINDOW: Packets = Packets(30.0);

fn ms(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1e3)
}

/// Delays that go up from 20 to 30 ms and down again, over and over, in packets one at a time: for so many milliseconds.
fn up_and_down(losses: &mut Losses, start: Instant, span: u32) {
    for t in 0..span {
        let delay = 20.0 + f64::from((t % 200).min(199 - t % 200)) / 10.0;
        losses.acknowledged(ONE, WINDOW, ms(delay), start + ms(f64::from(t)));
    }
}

fn known(span: u32) -> Losses {
    let start = Instant::now();
    let mut losses = Losses::new(start);
    up_and_down(&mut losses, start, span);
    losses
}

/// The judgements of so many losses, which came with these delays in turn.
fn judged(losses: &mut Losses, delays: &[f64], n: usize) -> Vec<f64> {
    let turns = delays.iter().cycle().take(n);
    turns.map(|d| losses.judge(WINDOW, ms(*d))).collect()
}

#[test]
fn what_comes_with_any_delay_is_the_lines() {
    let blame = judged(&mut known(5_000), &[25.0, 29.0, 21.0, 23.0, 27.0], 60);
    assert!(blame[0] >= 1.0, "it begins with queues");
    let late = &blame[20..];
    let mean = late.iter().sum::<f64>() / late.len() as f64;
    assert!(mean < 0.15 && late.iter().all(|b| *b < 0.5), "{blame:?}");
}

#[test]
fn what_comes_with_the_longest_delays_is_a_queues() {
    let blame = judged(&mut known(5_000), &[29.9, 28.5, 29.5], 40);
    assert!(blame.iter().all(|b| *b >= 1.0), "{blame:?}");
}

#[test]
fn without_a_measure_a_queue_is_to_blame_and_nothing_is_learnt() {
    let mut losses = known(20 * (ENOUGH as u32 - 1));
    let blame = judged(&mut losses, &[20.0], 50);
    assert!(blame.iter().all(|b| *b >= 1.0), "{blame:?}");
    assert!(losses.count <= BEGINS);
}

#[test]
fn a_delay_is_long_or_short_among_those_of_a_like_window() {
    let start = Instant::now();
    let mut losses = Losses::new(start);
    // Half of them with a window of 300 packets and all shorter.
    for k in 0..100 {
        let (window, delay) = if k % 2 == 0 {
            (Packets(300.0), 20.0)
        } else {
            (WINDOW, 30.0)
        };
        losses.acknowledged(ONE, window, ms(delay), start + BETWEEN * k);
    }
    assert_eq!(losses.place_of(WINDOW, ms(29.0)), Some(0.0));
    assert_eq!(losses.place_of(Packets(300.0), ms(29.0)), Some(1.0));
    // None is like this one: all count.
    assert_eq!(losses.place_of(Packets(3_000.0), ms(29.0)), Some(0.5));
}

#[test]
fn many_of_one_round_trip_are_a_queues_and_the_judgement_begins_again() {
    let mut losses = known(5_000);
    judged(&mut losses, &[20.0, 25.0], 20);
    let many: Vec<bool> = (0..6).map(|k| losses.lost(ONE, WINDOW, k == 0)).collect();
    // The fourth is more than a tenth of the window, and said once.
    assert_eq!(many, [false, false, false, true, false, false]);
    let blame = judged(&mut losses, &[20.0, 25.0], 20);
    assert!(blame[..4].iter().all(|b| *b > 0.5), "{blame:?}");
    assert!(blame[18..].iter().all(|b| *b < 0.25), "{blame:?}");
    // As many one after the other are not.
    assert!((0..6).all(|_| !losses.lost(ONE, WINDOW, true)));
}

#[test]
fn what_a_line_loses_anyway_is_not_many_at_once() {
    let mut losses = known(5_000);
    // One of a hundred: of a window of 600 packets six, and sometimes thrice as many.
    for _ in 0..20 {
        let start = Instant::now();
        (0..100).for_each(|_| losses.acknowledged(ONE, WINDOW, ms(20.0), start));
        assert!(!losses.lost(ONE, WINDOW, true));
    }
    let many = (0..100)
        .position(|k| losses.lost(ONE, Packets(600.0), k == 0))
        .unwrap();
    assert!((70..=80).contains(&many), "the {many}th is too many");
}

#[test]
fn no_line_loses_as_much_as_a_full_queue_does() {
    // Of so many packets one is lost, with any delay; and whether a queue is to blame.
    for (one_of, queue) in [(100, false), (60, false), (30, true), (10, true)] {
        let mut losses = known(5_000);
        let now = Instant::now();
        let mut blame = 0.0;
        for k in 0..100 {
            (1..one_of).for_each(|_| losses.acknowledged(ONE, WINDOW, ms(20.0), now));
            losses.lost(ONE, WINDOW, true);
            blame = losses.judge(WINDOW, ms(20.0 + f64::from(k % 10)));
        }
        assert_eq!(blame >= 1.0, queue, "one of {one_of}: {blame}");
    }
}
