//! What a player waits for: where the first block that it lacks is.

use engine::swarm::BlockRun;

use super::{Node, Simulation};
use crate::report::Wait;

fn contains(run: &BlockRun, block: u32) -> bool {
    (run.first.0..run.first.0 + run.count).contains(&block)
}

impl Simulation {
    /// Where a block is that `node` lacks.
    pub(super) fn whereabouts(&self, node: usize, block: u32) -> Wait {
        let state = &self.nodes[node];
        if let Some((&request, &(peer, _))) = state.requests.iter().find(|(_, (_, run))| contains(run, block))
        {
            let peer = &self.nodes[peer];
            let upload = peer
                .asked
                .iter()
                .find(|(_, asked)| asked.0 == node && asked.1 == request)
                .map(|(&upload, _)| upload);
            let sending = |upload| {
                let mut queue = peer.uplink.queue.iter();
                queue.any(|s| s.what == super::Carried::Reply(request, upload))
            };
            return match upload {
                None => Wait::Line,
                Some(upload) if sending(upload) => Wait::Uplink,
                Some(_) => Wait::PeersQueue,
            };
        }
        if let Some((&fetch, _)) = state.fetches.iter().find(|(_, run)| contains(run, block)) {
            let mut queue = self.origin.queue.iter();
            let waits = queue.any(|s| s.to == node && s.what == super::Carried::Range(fetch));
            return if state.unverified.contains_key(&block) {
                Wait::Piece
            } else if waits {
                Wait::Origin
            } else {
                Wait::Line
            };
        }
        if state.neighbours.is_empty() {
            return Wait::Neighbours;
        }
        let has = |n: &Node| {
            let one = BlockRun::new(0, block, 1);
            n.core.as_ref().is_some_and(|core| core.has(one))
        };
        let holders: Vec<usize> = state
            .neighbours
            .iter()
            .copied()
            .filter(|&n| has(&self.nodes[n]))
            .collect();
        if holders.iter().any(|holder| state.open.contains(holder)) {
            return Wait::Unasked;
        }
        if !holders.is_empty() {
            return Wait::Choked;
        }
        let drawn = state.neighbours.iter().any(|&n| {
            let mut fetches = self.nodes[n].fetches.values();
            fetches.any(|run| contains(run, block))
        });
        if drawn { Wait::Claimed } else { Wait::Undrawn }
    }
}
