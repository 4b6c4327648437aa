//! The figures of one torrent as its driver publishes them.

use super::driver::Driver;
use super::stats::{NeighbourStats, PieceSource, State, Stats, Ways};
use super::torrent::Shared;
use super::transfer::Counters;
use crate::swarm::{BlockRun, Layout, Source};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The figures of a torrent that begins.
pub(super) fn first_stats(shared: &Shared, layout: &Layout) -> Stats {
    Stats {
        state: State::Downloading,
        have_bytes: shared.store.wanted_bytes(),
        total_bytes: layout.wanted_bytes(),
        from_origin: 0,
        from_peers: 0,
        wasted: 0,
        uploaded: 0,
        arrived: 0,
        peers: 0,
        peers_seen: 0,
        delivered: 0,
        noted: 0,
        ways: Ways::default(),
        banned: 0,
        viewers: None,
        neighbours: Vec::new(),
        down_rate: 0,
        web_seeds: 0,
        whole_only: false,
        pieces: vec![None; layout.pieces() as usize].into(),
        relay_refuses: None,
        silent_trackers: Vec::new(),
        gives_up: None,
        problems: Vec::new(),
        origin_problem: None,
    }
}

impl Driver {
    pub(super) fn count_source(&mut self, run: BlockRun, source: Source, held: bool) {
        for block in self.ground.verifier.span(run) {
            let piece = self.ground.verifier.piece_of(block) as usize;
            let Some(counts) = self.sources.get_mut(piece) else {
                continue;
            };
            let index = match source {
                Source::Disk => 0,
                Source::Peer(_) => 1,
                Source::Origin => 2,
            };
            if held {
                counts[index] += 1;
            } else if let Some(count) = counts.iter_mut().max() {
                *count = count.saturating_sub(1);
            }
        }
    }

    fn neighbours(&self) -> Vec<NeighbourStats> {
        self.swarm
            .neighbours()
            .filter_map(|neighbour| {
                let state = self.peers.get(&neighbour.peer)?;
                Some(NeighbourStats {
                    address: state.connection.remote_address(),
                    way: state.connection.way(),
                    rtt: state.connection.rtt(),
                    complete: neighbour.complete,
                })
            })
            .collect()
    }

    pub(super) fn publish(&mut self) {
        let counters: &Counters = &self.ground.counters;
        let get = |c: &std::sync::atomic::AtomicU64| c.load(Ordering::Relaxed);
        let verifier = &self.ground.verifier;
        let pieces = self
            .sources
            .iter()
            .enumerate()
            .map(|(piece, [disk, peer, origin])| {
                let whole = (disk + peer + origin) as usize >= verifier.piece_blocks(piece as u32).len();
                let most = [
                    (disk, PieceSource::Disk),
                    (peer, PieceSource::Peer),
                    (origin, PieceSource::Origin),
                ];
                whole
                    .then(|| most.into_iter().max_by_key(|(n, _)| **n).map(|(_, s)| s))
                    .flatten()
            })
            .collect();
        // What waits for room on a full disk may never be kept.
        let unwritten = match self.state {
            State::Paused(_) | State::Failed(_) => self.shared.store.unwritten_bytes(),
            _ => 0,
        };
        self.stats.send_replace(Stats {
            state: self.state.clone(),
            have_bytes: self.shared.store.wanted_bytes().saturating_sub(unwritten),
            total_bytes: verifier.layout().wanted_bytes(),
            from_origin: get(&counters.from_origin),
            from_peers: get(&counters.from_peers),
            wasted: get(&counters.wasted),
            uploaded: get(&counters.uploaded),
            arrived: get(&counters.arrived),
            peers: self.peers.len(),
            peers_seen: self.seen.len(),
            delivered: self.delivered.len(),
            noted: self.noted.len(),
            ways: Ways::count(self.seen.values()),
            banned: self.banned.len(),
            viewers: self.viewers,
            neighbours: self.neighbours(),
            down_rate: self.rate.2,
            web_seeds: self.ground.origin.count(),
            whole_only: self.ground.origin.is_whole_only(),
            pieces,
            relay_refuses: self.relay_refuses.clone(),
            gives_up: self.gives_up,
            silent_trackers: self.ground.silent.list(Instant::now()),
            problems: self.problems.iter().cloned().collect(),
            origin_problem: self.origin_problem.clone(),
        });
    }
}
