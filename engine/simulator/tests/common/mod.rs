//! What the runs of both files share: the usual network, and how a report is read.

#![allow(dead_code, reason = "each test file uses its part")]

use std::time::Duration;

use simulator::{Network, Report, Viewer};

pub(crate) const MB: f64 = 1e6;

/// A row of the benchmark's table of viewers.
pub(crate) struct Row {
    /// With the row's lines; it comes at the beginning, stays, and serves.
    pub(crate) viewer: Viewer,
    pub(crate) leaves_after: Option<Duration>,
    pub(crate) free_rider: bool,
}

/// The first so many rows of the table, again and again.
pub(crate) fn table(count: usize) -> impl Iterator<Item = Row> {
    let rows = include_str!("../../viewers.csv").lines().skip(1).cycle();
    rows.take(count).map(|row| {
        let columns: Vec<&str> = row.split(',').collect();
        let mbit = |column: usize| columns[column].parse::<f64>().unwrap() / 8.0 * MB;
        Row {
            viewer: Viewer::new(mbit(0), mbit(1)),
            leaves_after: columns[2].parse().ok().map(Duration::from_secs_f64),
            free_rider: columns[3] == "yes",
        }
    })
}

pub(crate) fn network() -> Network {
    Network {
        length: 8 * 1024 * 1024 + 12_345,
        piece_length: 65_536,
        delay: Duration::from_millis(20),
        origin_rate: 5.0 * MB,
        neighbours: 60,
        most_neighbours: usize::MAX,
        unit: 1,
        outage: None,
    }
}

/// When players started, in seconds after their arrival, in order.
pub(crate) fn starts(report: &Report) -> Vec<f64> {
    let started = report.viewers.iter().filter_map(|v| v.started);
    let mut starts: Vec<f64> = started.map(|t| t.as_secs_f64()).collect();
    starts.sort_by(f64::total_cmp);
    starts
}

pub(crate) fn stalls(report: &Report) -> u32 {
    report.viewers.iter().map(|v| v.stalls).sum()
}
