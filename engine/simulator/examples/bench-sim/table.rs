//! The figures as a table in Markdown.

use std::fmt::Write as _;
use std::time::Duration;

use simulator::Wait;

use super::scenario::{Outcome, Work};

/// The value below which this share of the times lies, in seconds; of a sorted list.
fn quantile(times: &[f64], share: f64) -> Option<f64> {
    let last = times.len().checked_sub(1)?;
    times.get((share * last as f64).round() as usize).copied()
}

/// The time until the start (of a stream) or the end (of a download) at 50, 90 and 99 %; those who left are not in it.
pub(crate) fn times(outcome: &Outcome) -> [Option<f64>; 3] {
    let download = outcome.scenario.work == Work::Download;
    let viewers = &outcome.report.viewers;
    let mut times: Vec<f64> = viewers
        .iter()
        .filter_map(|v| if download { v.completed } else { v.started })
        .map(|time| time.as_secs_f64())
        .collect();
    times.sort_by(f64::total_cmp);
    [0.5, 0.9, 0.99].map(|share| quantile(&times, share))
}

/// Viewers who neither left nor got what they came for.
fn waiting(outcome: &Outcome) -> usize {
    let viewers = &outcome.report.viewers;
    viewers
        .iter()
        .filter(|v| !v.left && v.completed.is_none())
        .count()
}

fn seconds(time: Option<f64>) -> String {
    time.map_or("–".into(), |time| format!("{time:.2}"))
}

/// One line while others are computed.
pub(crate) fn progress(outcome: &Outcome) -> String {
    let [half, _, most] = times(outcome);
    let again = outcome.report.again;
    let parts = [
        ("a neighbour drew it", again.claimed),
        ("a neighbour served it", again.served),
        ("a neighbour held it and choked", again.choked),
        ("another drew it", again.claimed_afar),
        ("another held it", again.held_afar),
        ("it was lost", again.lost),
    ];
    let length = outcome.report.length as f64;
    let reasons: Vec<String> = parts
        .iter()
        .map(|(reason, bytes)| (reason, *bytes as f64 / length))
        .filter(|(_, copies)| *copies >= 0.005)
        .map(|(reason, copies)| format!("{copies:.2} {reason}"))
        .collect();
    format!(
        "{}: {:.2} copies, {} s / {} s, computed in {:.0} s; drawn again: {}",
        outcome.scenario.words(),
        outcome.report.origin_copies(),
        seconds(half),
        seconds(most),
        outcome.computed.as_secs_f64(),
        if reasons.is_empty() {
            "nothing".into()
        } else {
            reasons.join(", ")
        }
    )
}

/// The whole table.
pub(crate) fn markdown(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "Time is a stream's start-up or a download's length. Copies, peak and offload count what left the origin.\n\n\
         | what, how, variant, viewers | MB | origin Mbit/s | copies | peak Mbit/s | offload % | time 50 % | 90 % | 99 % | stalls/h | duplicates % | not served |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for outcome in outcomes {
        let report = &outcome.report;
        let [half, most, nearly_all] = times(outcome).map(seconds);
        let stalls = match outcome.scenario.work {
            Work::Download => "–".into(),
            Work::Audio | Work::Video => format!("{:.2}", report.stalls_per_hour()),
        };
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.0} | {:.2} | {:.0} | {:.2} | {half} | {most} | {nearly_all} | {stalls} | {:.2} | {} |",
            outcome.scenario.words(),
            outcome.scenario.length() as f64 / 1e6,
            outcome.origin_rate / 125_000.0,
            report.origin_copies(),
            report.origin_peak() as f64 / 125_000.0,
            report.offload() * 100.0,
            report.waste() * 100.0,
            waiting(outcome)
        );
    }
    text.push_str(&waits(outcomes));
    let computed: Duration = outcomes.iter().map(|o| o.computed).sum();
    let _ = writeln!(text, "\nComputed in {:.0} s of one core.", computed.as_secs_f64());
    text
}

/// What players waited for, in viewer-seconds.
fn waits(outcomes: &[Outcome]) -> String {
    let all = [
        Wait::Neighbours,
        Wait::Choked,
        Wait::Unasked,
        Wait::Claimed,
        Wait::Undrawn,
        Wait::PeersQueue,
        Wait::Uplink,
        Wait::Origin,
        Wait::Piece,
        Wait::Line,
    ];
    let mut text = String::from(
        "\nWhat players wait for, in seconds of all viewers: beyond a second at the start + later.\n\n|",
    );
    for wait in all {
        let _ = write!(text, " | {wait:?}");
    }
    text.push_str(" |\n|---");
    text.push_str(&"|--:".repeat(all.len()));
    text.push_str("|\n");
    for outcome in outcomes.iter().filter(|o| o.scenario.work != Work::Download) {
        let _ = write!(text, "| {}", outcome.scenario.words());
        for wait in all {
            let viewers = &outcome.report.viewers;
            let tenths = |late: bool| -> u32 {
                let of = |v: &simulator::ViewerReport| {
                    let counts = if late { &v.late } else { &v.stalled };
                    counts.get(&wait).copied().unwrap_or(0)
                };
                viewers.iter().map(of).sum()
            };
            let _ = write!(
                text,
                " | {:.1} + {:.1}",
                f64::from(tenths(true)) / 10.0,
                f64::from(tenths(false)) / 10.0
            );
        }
        text.push_str(" |\n");
    }
    text
}
