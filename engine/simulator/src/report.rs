//! What a run gives: figures of each viewer and of the origin.

use std::collections::BTreeMap;
use std::time::Duration;

/// What a player that stands still waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wait {
    /// It has no neighbours, and asked for nothing.
    Neighbours,
    /// Neighbours hold it, and all of them choke.
    Choked,
    /// A neighbour who lets it ask holds it, and was not asked.
    Unasked,
    /// A neighbour draws it from the origin.
    Claimed,
    /// Nobody around holds or draws it.
    Undrawn,
    /// Asked of a peer, who serves others first.
    PeersQueue,
    /// In a peer's uplink.
    Uplink,
    /// Asked of the origin, which serves others first.
    Origin,
    /// Here, but the rest of its piece is not.
    Piece,
    /// Between two participants, or in the viewer's downlink.
    Line,
}

/// What one viewer got.
#[derive(Debug, Clone, Default)]
pub struct ViewerReport {
    /// When it had everything, after its own arrival.
    pub completed: Option<Duration>,
    /// Bytes kept that came from the origin.
    pub from_origin: u64,
    /// Bytes kept that came from peers.
    pub from_peers: u64,
    /// Bytes that arrived and were not kept.
    pub wasted: u64,
    /// Bytes it sent.
    pub uploaded: u64,
    /// Peers it banned.
    pub banned: usize,
    /// Whether it left before it was complete.
    pub left: bool,
    /// From its arrival until its player started.
    pub started: Option<Duration>,
    /// Times its player stood still after it started.
    pub stalls: u32,
    /// How long its player played.
    pub played: Duration,
    /// Tenths of a second beyond the first second that it waited for its start, by what it waited for.
    pub late: BTreeMap<Wait, u32>,
    /// Tenths of a second that its player stood still, by what it waited for.
    pub stalled: BTreeMap<Wait, u32>,
}

/// Bytes that were drawn from the origin although somebody had drawn them before, by what was so at that instant. Of
/// several reasons the first counts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Again {
    /// A neighbour was drawing it.
    pub claimed: u64,
    /// A neighbour held it and let the viewer ask.
    pub served: u64,
    /// A neighbour held it and did not let the viewer ask.
    pub choked: u64,
    /// Somebody else was drawing it.
    pub claimed_afar: u64,
    /// Somebody else held it.
    pub held_afar: u64,
    /// Nobody who serves held it any more, or the draw had failed.
    pub lost: u64,
}

/// What a run brought.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Each viewer, in the order in which they were given.
    pub viewers: Vec<ViewerReport>,
    /// Content bytes that left the origin.
    pub origin_bytes: u64,
    /// Requests that the origin answered.
    pub origin_requests: u64,
    /// When the last event happened.
    pub ended: Duration,
    /// Content bytes of the file.
    pub length: u64,
    /// Content bytes that left the origin in each second.
    pub origin_seconds: Vec<u64>,
    /// Why more than one copy was drawn.
    pub again: Again,
}

impl Report {
    /// Copies of the content that left the origin.
    pub fn origin_copies(&self) -> f64 {
        self.origin_bytes as f64 / self.length as f64
    }

    /// Bytes received and not kept, as a share of what was delivered.
    pub fn waste(&self) -> f64 {
        let kept: u64 = self.viewers.iter().map(|v| v.from_origin + v.from_peers).sum();
        self.viewers.iter().map(|v| v.wasted).sum::<u64>() as f64 / kept.max(1) as f64
    }

    /// Whether everybody who stayed has everything.
    pub fn all_complete(&self) -> bool {
        self.viewers.iter().all(|v| v.left || v.completed.is_some())
    }

    /// The slowest completion.
    pub fn slowest(&self) -> Duration {
        self.viewers
            .iter()
            .filter_map(|v| v.completed)
            .max()
            .unwrap_or_default()
    }

    /// Bytes in the origin's busiest second.
    pub fn origin_peak(&self) -> u64 {
        self.origin_busiest(1)
    }

    /// The most bytes that left the origin in so many seconds on end.
    pub fn origin_busiest(&self, seconds: usize) -> u64 {
        let sums = self
            .origin_seconds
            .windows(seconds.min(self.origin_seconds.len()).max(1));
        sums.map(|window| window.iter().sum()).max().unwrap_or(0)
    }

    /// The share of what viewers got that did not leave the origin.
    pub fn offload(&self) -> f64 {
        let kept: u64 = self.viewers.iter().map(|v| v.from_origin + v.from_peers).sum();
        1.0 - self.origin_bytes as f64 / kept.max(1) as f64
    }

    /// Stalls in an hour of playing, over all viewers.
    pub fn stalls_per_hour(&self) -> f64 {
        let played: Duration = self.viewers.iter().map(|v| v.played).sum();
        let stalls: u32 = self.viewers.iter().map(|v| v.stalls).sum();
        f64::from(stalls) * 3_600.0 / played.as_secs_f64().max(1.0)
    }
}
