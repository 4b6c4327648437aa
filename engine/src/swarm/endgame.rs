//! What was asked for and may come late: a second peer is asked, or a faster one takes it over.
//!
//! A run that a reader needs soon is hedged once. Towards the end a run is moved from the peer that would bring it late
//! to one that would bring it in half the time; duplicates only for the last blocks, once each. Not here: what is asked
//! for the first time (`pick`).

use std::time::{Duration, Instant};

use super::Swarm;
use super::bits::{first_run, runs};
use super::peers::PeerState;
use super::pick::TURN;
use super::readers::URGENT;
use super::types::{Peer, ReaderId, RequestId, Urgency};

/// Duplicates are allowed while no more blocks than a hundredth of all are missing, within these bounds.
const ENDGAME: (u64, u64) = (4, 32);
/// What is needed soon and did not come within this time is asked of a second peer; for a start, of a third one when
/// nothing comes of the second either.
const LATE: Duration = Duration::from_millis(500);
const LATE_AGAIN: Duration = Duration::from_millis(900);
/// For so long, in seconds, our own line counts for the reason. At a start it was hardly measured yet, and one that is
/// twice as fast as the media brings a start in less.
const LINE: f64 = 4.0;
const LINE_AT_START: f64 = 1.5;

impl Swarm {
    /// What is needed within 2 s, or for a start, and still on its way is asked of a second peer, once;
    /// for a start, of a third one.
    pub(super) fn hedge(&mut self, now: Instant) {
        let readers: Vec<ReaderId> = self.readers.keys().copied().collect();
        let assumed = self.assumed_rate();
        for id in readers {
            let Some(reader) = self.readers.get(&id).filter(|r| r.streams()) else {
                continue;
            };
            let span = if reader.starting() {
                self.urgent_span(reader)
            } else {
                let media = Duration::from_secs(2) + now.saturating_duration_since(reader.at);
                self.byte_span(reader.file, &reader.window(media.min(URGENT)))
            };
            let mut late: Vec<(RequestId, Instant)> = Vec::new();
            for block in span.filter(|&b| self.requested.get(b)) {
                let piece = block / self.layout.piece_blocks();
                // The newest of those that are to bring it: until that is late too, nobody else is asked.
                let running = self.by_piece.get(&piece).into_iter().flatten().rev();
                let newest = running
                    .filter_map(|id| Some((*id, self.requests.get(id)?)))
                    .find(|(_, r)| r.span.contains(&block));
                let Some((id, request)) = newest else { continue };
                let begun = request.left < request.span.end - request.span.start;
                // What stands in our own line is not late.
                let most = if reader.starting() { LINE_AT_START } else { LINE };
                let line = Duration::from_secs_f64(self.downlink.time(request.behind).min(most));
                let patience = LATE.max(line);
                let waits = match request.hedges {
                    0 => now - request.sent > patience,
                    1 => reader.starting() && !begun && now - request.sent > LATE_AGAIN,
                    _ => false,
                };
                if waits && late.iter().all(|&(known, _)| known != id) {
                    late.push((id, self.block_deadline(reader, block)));
                }
            }
            for (request, deadline) in late {
                self.duplicate(request, Urgency::Urgent, Some(deadline), assumed, now);
            }
        }
    }

    /// Asks a second peer for what is left of a request. Remembered at both, so that it happens once.
    fn duplicate(
        &mut self,
        id: RequestId,
        urgency: Urgency,
        deadline: Option<Instant>,
        assumed: f64,
        now: Instant,
    ) {
        let Some(request) = self.requests.get(&id) else {
            return;
        };
        let (owner, span, hedges) = (request.peer, request.span.clone(), request.hedges);
        let Some(left) = runs(span, |w| self.requested.word(w) & !self.have.word(w))
            .into_iter()
            .next()
        else {
            return;
        };
        let piece = left.start / self.layout.piece_blocks();
        let asked: Vec<Peer> = self
            .by_piece
            .get(&piece)
            .into_iter()
            .flatten()
            .filter_map(|id| self.requests.get(id))
            .filter(|r| r.span.contains(&left.start))
            .map(|r| r.peer)
            .collect();
        let Some((eta, peer)) = self.soonest(left.start, &asked, assumed, now) else {
            return;
        };
        let left_of = |p: &PeerState| p.score.rate().map(|_| p.score.eta(p.outstanding, 0, assumed));
        // An owner that is about to bring it is left to it.
        if urgency == Urgency::Urgent
            && self
                .peers
                .get(&owner)
                .and_then(left_of)
                .is_some_and(|it| it < eta)
        {
            return;
        }
        let Some(state) = self.peers.get(&peer) else {
            return;
        };
        let Some(span) = first_run(left, TURN, |w| state.have.word(w)) else {
            return;
        };
        let copy = self.send_request(peer, span, urgency, deadline, now);
        for id in [id, copy] {
            if let Some(request) = self.requests.get_mut(&id) {
                request.hedges = hedges + 1;
            }
        }
    }

    /// For how long nothing came of what a peer was asked, in seconds.
    fn silence(&self, peer: &PeerState, now: Instant) -> f64 {
        self.asked_since(peer).map_or(0.0, |since| {
            let since = peer.score.last_delivery().map_or(since, |last| last.max(since));
            now.saturating_duration_since(since).as_secs_f64()
        })
    }

    /// Nothing new to ask of this peer: it takes over a run that would come late, or, for the last blocks, asks for
    /// one again. False when there is nothing of the kind.
    pub(super) fn endgame(&mut self, peer: Peer, now: Instant) -> bool {
        let assumed = self.assumed_rate();
        let Some(state) = self.peers.get(&peer) else {
            return false;
        };
        let mine = state.score.eta(state.outstanding, TURN, assumed);
        let measured = state.score.rate().is_some();
        let mut worst: Option<(f64, RequestId)> = None;
        for (&owner, other) in self.peers.iter().filter(|&(&owner, _)| owner != peer) {
            // Who has been silent for a while will be so for as long again, whatever its rate was.
            let theirs = other
                .score
                .eta(other.outstanding, 0, assumed)
                .max(self.silence(other, now));
            if theirs < (2.0 * mine).max(1.0) || worst.is_some_and(|(eta, _)| eta >= theirs) {
                continue;
            }
            // The last that it was asked is the last that it will send.
            let moved = other.requests.iter().rev().find(|id| {
                self.requests.get(id).is_some_and(|r| {
                    r.peer == owner
                        && r.hedges == 0
                        && now.saturating_duration_since(r.sent) > Duration::from_secs(1)
                        // What has begun to arrive is left to come.
                        && r.left == r.span.end - r.span.start
                        && r.span.clone().all(|b| self.have.get(b) || state.have.get(b))
                })
            });
            worst = moved.map(|&id| (theirs, id)).or(worst);
        }
        let Some((_, id)) = worst else { return false };
        let missing = self.missing_blocks;
        if missing <= (self.layout.wanted_blocks() / 100).clamp(ENDGAME.0, ENDGAME.1) {
            self.duplicate(id, Urgency::Far, None, assumed, now);
            return self.requests.get(&id).is_some_and(|r| r.hedges > 0);
        }
        // Only a peer that has shown what it can takes something from another.
        if !measured {
            return false;
        }
        let Some(span) = self.requests.get(&id).map(|r| r.span.clone()) else {
            return false;
        };
        self.cancel(id, now);
        let max = self.run_length(peer);
        match self.run_in(peer, span, max) {
            Some(span) => {
                let moved = self.send_request(peer, span, Urgency::Far, None, now);
                if let Some(request) = self.requests.get_mut(&moved) {
                    request.hedges += 1;
                }
                true
            }
            None => false,
        }
    }
}
