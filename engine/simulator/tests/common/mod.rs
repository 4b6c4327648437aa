//! What the runs of both files share: the usual network, and how a report is read.

use std::time::Duration;

use simulator::{Network, Report};

pub(crate) const MB: f64 = 1e6;

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
