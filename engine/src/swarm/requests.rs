//! Requests to peers that run: how they begin and how they end.
//!
//! A request is counted with its peer and with its piece until it ends, is cancelled or all of it is here. A peer that
//! is silent for too long loses all of its requests. Not here: what is asked of whom (`pick`).

use std::ops::Range;
use std::time::{Duration, Instant};

use super::Swarm;
use super::peers::PeerState;
use super::types::{BanReason, Output, Peer, RequestFailure, RequestId, Urgency};

/// A start needs everything at once: no peer is to blame for what it brings within this time.
const SOON: Duration = Duration::from_secs(1);

/// A request to a peer. Its blocks are `span`; `left` of them are not held yet.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) peer: Peer,
    pub(super) span: Range<u32>,
    pub(super) left: u32,
    pub(super) sent: Instant,
    /// Blocks that were on their way then, its own included.
    pub(super) behind: u32,
    pub(super) urgent: bool,
    /// When its peer has missed it; `None` without a deadline, or once that is counted.
    pub(super) due: Option<Instant>,
    /// How often what it brings was asked of somebody else too.
    pub(super) hedges: u8,
}

impl Swarm {
    pub(super) fn send_request(
        &mut self,
        peer: Peer,
        span: Range<u32>,
        urgency: Urgency,
        deadline: Option<Instant>,
        now: Instant,
    ) -> RequestId {
        let id = RequestId(self.next_id);
        self.next_id += 1;
        let left = span.clone().filter(|&b| !self.have.get(b)).count() as u32;
        if let Some(state) = self.peers.get_mut(&peer) {
            state.outstanding += left;
            self.outstanding += left;
            if urgency == Urgency::Urgent {
                state.urgent += left;
            }
            state.requests.insert(id);
            state.score.set_busy(true, now);
        }
        self.by_piece
            .entry(span.start / self.layout.piece_blocks())
            .or_default()
            .push(id);
        self.requests.insert(
            id,
            Request {
                peer,
                span: span.clone(),
                left,
                sent: now,
                behind: self.outstanding,
                urgent: urgency == Urgency::Urgent,
                due: deadline.map(|at| at.max(now + SOON)),
                hedges: 0,
            },
        );
        self.mark_requested(span.clone());
        let run = self.layout.run(span);
        self.outputs.push_back(Output::Request {
            peer,
            request: id,
            run,
            urgency,
            deadline,
        });
        id
    }

    /// Takes a request out of the books and gives what was left of it back.
    pub(super) fn forget_request(&mut self, id: RequestId, now: Instant) -> Option<Peer> {
        let request = self.requests.remove(&id)?;
        let piece = request.span.start / self.layout.piece_blocks();
        if let Some(ids) = self.by_piece.get_mut(&piece) {
            ids.retain(|&other| other != id);
            if ids.is_empty() {
                self.by_piece.remove(&piece);
            }
        }
        if let Some(state) = self.peers.get_mut(&request.peer) {
            state.requests.remove(&id);
            state.outstanding -= request.left;
            self.outstanding -= request.left;
            if request.urgent {
                state.urgent -= request.left;
            }
            let busy = state.outstanding > 0;
            state.score.set_busy(busy, now);
        }
        if request.left > 0 {
            self.release(request.span);
        }
        Some(request.peer)
    }

    pub(super) fn cancel(&mut self, id: RequestId, now: Instant) {
        if let Some(peer) = self.forget_request(id, now) {
            self.outputs.push_back(Output::Cancel { peer, request: id });
        }
    }

    pub(super) fn request_ended(&mut self, id: RequestId, failure: Option<RequestFailure>, now: Instant) {
        let Some(request) = self.requests.get(&id) else {
            return;
        };
        let short = request.left > 0;
        let Some(peer) = self.forget_request(id, now) else {
            return;
        };
        match failure {
            Some(RequestFailure::BadData) => self.ban(peer, BanReason::BadData, now),
            Some(RequestFailure::Busy) => {
                if let Some(state) = self.peers.get_mut(&peer) {
                    state.score.declined(now);
                }
            }
            // A request that was refused because a choke is on its way says nothing against the peer.
            Some(RequestFailure::Refused) => self.pause_peer(peer, Duration::from_millis(250), now),
            Some(RequestFailure::Timeout | RequestFailure::Gone) => {
                self.pause_peer(peer, Duration::from_secs(1), now);
            }
            None if short => self.pause_peer(peer, Duration::from_secs(1), now),
            None => {}
        }
    }

    /// When the oldest request was sent that a peer has not brought.
    pub(super) fn asked_since(&self, peer: &PeerState) -> Option<Instant> {
        let requests = peer.requests.iter().filter_map(|id| self.requests.get(id));
        requests.map(|request| request.sent).min()
    }

    /// Counts what did not come by its deadline, once each.
    fn count_missed(&mut self, now: Instant) {
        for request in self.requests.values_mut() {
            if request.due.is_some_and(|due| due <= now) {
                request.due = None;
                if let Some(state) = self.peers.get_mut(&request.peer) {
                    state.score.deadline(false);
                }
            }
        }
    }

    /// Peers whose silence is too long lose all their requests and are left alone for a while.
    pub(super) fn check_stalls(&mut self, now: Instant) {
        self.count_missed(now);
        let stalled: Vec<Peer> = self
            .peers
            .iter()
            .filter(|(_, state)| {
                self.asked_since(state)
                    .is_some_and(|since| state.score.stalls_at(since) <= now)
            })
            .map(|(&peer, _)| peer)
            .collect();
        for peer in stalled {
            let ids: Vec<RequestId> = self
                .peers
                .get(&peer)
                .map(|s| s.requests.iter().copied().collect())
                .unwrap_or_default();
            for id in ids {
                self.cancel(id, now);
            }
            self.pause_peer(peer, Duration::from_secs(2), now);
            if let Some(state) = self.peers.get_mut(&peer) {
                state.score.fell_silent();
            }
        }
        let back: Vec<Peer> = self
            .peers
            .iter()
            .filter(|(_, s)| !s.counted && !s.choking && s.score.paused_until(now).is_none())
            .map(|(&peer, _)| peer)
            .collect();
        for peer in back {
            self.count_holder(peer, true);
        }
        // Time alone makes requests late that a peer with nothing else to do may take over.
        for state in self.peers.values_mut() {
            state.spent = false;
        }
    }
}
