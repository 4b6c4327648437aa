//! Uplinks and downlinks: queues of blocks with a rate, and the origin's answers.

use std::collections::VecDeque;
use std::time::Duration;

use engine::swarm::{
    BlockIndex, BlockRun, FetchId, FileIndex, Input, OriginFailure, Peer, RequestFailure, RequestId, Source,
    UploadId,
};

use super::{Event, Simulation};
use crate::plan::OriginOutage;

/// What is sent block by block over an uplink.
#[derive(Debug, Clone)]
pub(super) struct Sending {
    pub(super) to: usize,
    pub(super) what: Carried,
    pub(super) next: u32,
    pub(super) run: BlockRun,
    /// Takes the line from what is not: it is sent in another mode of congestion control.
    pub(super) urgent: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried {
    /// To the requester's request; the uploader's name for it.
    Reply(RequestId, UploadId),
    Range(FetchId),
}

/// A sender's uplink: a block at a time, turns of four blocks, in a circle.
#[derive(Debug, Default)]
pub(super) struct Uplink {
    pub(super) rate: f64,
    pub(super) queue: VecDeque<Sending>,
    pub(super) turn: u32,
    pub(super) busy: bool,
}

impl Simulation {
    pub(super) fn range_asked(&mut self, from: usize, fetch: FetchId, run: BlockRun) {
        if !self.nodes[from].fetches.contains_key(&fetch) {
            return;
        }
        let down = match self.network.outage {
            None => false,
            Some(OriginOutage::At(at)) => self.now >= self.start + at,
            Some(OriginOutage::AfterCopies(copies)) => {
                self.origin_bytes as f64 >= copies * self.network.length as f64
            }
            Some(OriginOutage::Turns { works, fails }) => {
                let turn = (works + fails).as_secs_f64();
                (self.now - self.start).as_secs_f64() % turn >= works.as_secs_f64()
            }
        };
        if down {
            self.nodes[from].fetches.remove(&fetch);
            let reason = OriginFailure::Temporary { after: None };
            self.later(Event::Message {
                to: from,
                input: Input::OriginFailed { fetch, reason },
            });
            return;
        }
        self.origin_requests += 1;
        self.send(
            None,
            Sending {
                to: from,
                what: Carried::Range(fetch),
                next: 0,
                run,
                urgent: false,
            },
        );
    }

    pub(super) fn uplink(&mut self, of: Option<usize>) -> &mut Uplink {
        match of {
            Some(node) => &mut self.nodes[node].uplink,
            None => &mut self.origin,
        }
    }

    pub(super) fn send(&mut self, from: Option<usize>, sending: Sending) {
        let queue = &mut self.uplink(from).queue;
        // What is being sent goes on.
        let place = if sending.urgent {
            (1..queue.len()).find(|&at| !queue[at].urgent)
        } else {
            None
        };
        match place {
            Some(at) => queue.insert(at, sending),
            None => queue.push_back(sending),
        }
        if !self.uplink(from).busy {
            self.send_next(from);
        }
    }

    fn bytes(&self, run: BlockRun) -> u64 {
        self.layout.run_bytes(run)
    }

    /// The blocks that a sending hands to the line next: an event carries at most the network's `unit`.
    fn part(&self, sending: &Sending) -> BlockRun {
        let count = (sending.run.count - sending.next).min(self.network.unit.max(1));
        BlockRun::new(0, sending.run.first.0 + sending.next, count)
    }

    fn send_next(&mut self, from: Option<usize>) {
        let Some(sending) = self.uplink(from).queue.front().cloned() else {
            self.uplink(from).busy = false;
            return;
        };
        let bytes = self.bytes(self.part(&sending));
        let uplink = self.uplink(from);
        uplink.busy = true;
        let time = Duration::from_secs_f64(bytes as f64 / uplink.rate);
        self.schedule(self.now + time, Event::Sent(from));
    }

    pub(super) fn sent(&mut self, from: Option<usize>) {
        let Some(sending) = self.uplink(from).queue.front().cloned() else {
            self.uplink(from).busy = false;
            return;
        };
        let run = self.part(&sending);
        let (to, what) = (sending.to, sending.what);
        let uplink = self.uplink(from);
        let Some(sending) = uplink.queue.front_mut() else {
            return;
        };
        sending.next += run.count;
        let last = sending.next == sending.run.count;
        let whole = sending.run;
        uplink.turn += run.count;
        if last {
            uplink.queue.pop_front();
            uplink.turn = 0;
        } else if uplink.turn >= 4 {
            uplink.queue.rotate_left(1);
            uplink.turn = 0;
        }
        let bytes = self.bytes(run);
        if let Some(node) = from {
            self.nodes[node].report.uploaded += bytes;
        } else {
            self.origin_bytes += bytes;
            let second = (self.now - self.start).as_secs() as usize;
            let seconds = self.origin_seconds.len().max(second + 1);
            self.origin_seconds.resize(seconds, 0);
            self.origin_seconds[second] += bytes;
        }
        // The receiver's downlink takes blocks in the order in which they arrive.
        let receiver = &mut self.nodes[to];
        let time = Duration::from_secs_f64(bytes as f64 / receiver.plan.down);
        receiver.down_free = receiver.down_free.max(self.now + self.network.delay) + time;
        let at = receiver.down_free;
        self.schedule(
            at,
            Event::Received {
                to,
                from,
                what,
                run,
                last,
            },
        );
        if let (Some(node), Carried::Reply(_, upload), true) = (from, what, last) {
            self.nodes[node].asked.remove(&upload);
            let bytes = self.bytes(whole);
            self.give(
                node,
                Input::SendDone {
                    peer: Peer(to as u64),
                    request: upload,
                    bytes,
                },
            );
        }
        self.send_next(from);
    }

    pub(super) fn received(
        &mut self,
        to: usize,
        from: Option<usize>,
        what: Carried,
        run: BlockRun,
        last: bool,
    ) {
        if self.nodes[to].gone {
            return;
        }
        let bytes = self.bytes(run);
        let blocks = run.first.0..run.first.0 + run.count;
        let held: u64 = blocks
            .clone()
            .map(|block| BlockRun::new(0, block, 1))
            .filter(|&block| self.nodes[to].core.as_ref().is_some_and(|core| core.has(block)))
            .map(|block| self.bytes(block))
            .sum();
        match (what, from) {
            (Carried::Reply(request, _), Some(from)) => {
                let corrupt = self.nodes[from].plan.corrupt;
                let wanted = self.nodes[to].requests.contains_key(&request);
                let wasted = if corrupt || !wanted { bytes } else { held };
                self.nodes[to].report.wasted += wasted;
                self.nodes[to].report.from_peers += bytes - wasted;
                if !wanted {
                    return;
                }
                if corrupt {
                    self.nodes[to].requests.remove(&request);
                    let reason = RequestFailure::BadData;
                    self.give(to, Input::RequestFailed { request, reason });
                    return;
                }
                let source = Source::Peer(Peer(from as u64));
                self.give(to, Input::Verified { run, source });
                if last && self.nodes[to].requests.remove(&request).is_some() {
                    self.give(to, Input::RequestDone { request });
                }
            }
            (Carried::Range(fetch), _) => {
                for block in blocks {
                    let one = BlockRun::new(0, block, 1);
                    let held = self.nodes[to].core.as_ref().is_some_and(|core| core.has(one));
                    if !self.nodes[to].fetches.contains_key(&fetch) || held {
                        self.nodes[to].report.wasted += self.bytes(one);
                    } else {
                        self.nodes[to].unverified.insert(block, fetch);
                    }
                }
                self.give(to, Input::OriginBytes { fetch, bytes });
                // A run of the origin may cross piece borders.
                let mut piece = None;
                for block in run.first.0..run.first.0 + run.count {
                    let next = self.layout.piece_of(FileIndex(0), BlockIndex(block));
                    if piece.replace(next) != Some(next) {
                        self.check_piece(to, block);
                    }
                }
                if last && self.nodes[to].fetches.remove(&fetch).is_some() {
                    self.give(to, Input::OriginDone { fetch });
                }
            }
            (Carried::Reply(..), None) => {}
        }
    }

    /// The origin's blocks of a piece are verified once every block of it is here.
    pub(super) fn check_piece(&mut self, node: usize, block: u32) {
        let piece = self
            .layout
            .piece_run(self.layout.piece_of(FileIndex(0), BlockIndex(block)));
        let Some(core) = &self.nodes[node].core else {
            return;
        };
        let blocks = piece.first.0..piece.first.0 + piece.count;
        let missing: Vec<u32> = blocks.filter(|&b| !core.has(BlockRun::new(0, b, 1))).collect();
        if missing
            .iter()
            .any(|b| !self.nodes[node].unverified.contains_key(b))
        {
            return;
        }
        for block in missing {
            self.nodes[node].unverified.remove(&block);
            let run = BlockRun::new(0, block, 1);
            self.nodes[node].report.from_origin += self.bytes(run);
            let source = Source::Origin;
            self.give(node, Input::Verified { run, source });
        }
    }
}
