//! Connected peers: what each holds, whether it lets us ask, and when it goes.
//!
//! The haves of a peer count as available while it lets us ask and is not left alone. Not here: how it is measured
//! (`score`), whom to be connected with (`neighbours`), whose requests are served (`choke`).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::Swarm;
use super::bits::Bits;
use super::choke::Queued;
use super::claims;
use super::score::Score;
use super::types::{
    Audience, BanReason, BlockRun, Output, Peer, PeerId, RefuseReason, RequestId, UploadId, Urgency,
};

/// What so many neighbours hold can be had of others.
const SPREAD: usize = 5;

#[derive(Debug)]
pub(super) struct PeerState {
    pub(super) id: PeerId,
    pub(super) connected_at: Instant,
    pub(super) have: Bits,
    pub(super) have_blocks: u64,
    /// Whether it was a viewer like us when we met: it lacked something.
    pub(super) lacked: bool,
    /// Blocks that it holds and that we want and do not hold.
    pub(super) interest: u64,
    /// Whether it said what it holds.
    pub(super) greeted: bool,
    pub(super) choking: bool,
    /// When it first choked us after it last served us.
    pub(super) choked_at: Instant,
    /// Whether its haves count in `Piece::available`: it does not choke us and is not paused.
    pub(super) counted: bool,
    pub(super) score: Score,
    pub(super) requests: BTreeSet<RequestId>,
    pub(super) outstanding: u32,
    /// Those of them that it was asked for as urgent.
    pub(super) urgent: u32,
    /// The value of `Swarm::released` when it had nothing to pick; it is not searched again before that changes.
    pub(super) dry: Option<u64>,
    /// Whether it then had nothing to take over from others either; that may change with time.
    pub(super) spent: bool,
    pub(super) bad_requests: u32,
}

impl Swarm {
    pub(super) fn peer_connected(&mut self, peer: Peer, id: PeerId, now: Instant) {
        if self.peers.contains_key(&peer) {
            return;
        }
        self.peers.insert(
            peer,
            PeerState {
                id,
                connected_at: now,
                have: Bits::new(self.layout.numbers()),
                have_blocks: 0,
                lacked: false,
                interest: 0,
                greeted: false,
                choking: true,
                choked_at: now,
                counted: false,
                score: Score::new(now),
                requests: BTreeSet::new(),
                outstanding: 0,
                urgent: 0,
                dry: None,
                spent: false,
                bad_requests: 0,
            },
        );
        self.seeds += usize::from(self.layout.total_blocks() == 0);
        self.outputs.push_back(Output::SendHave {
            to: Audience::One(peer),
            runs: self.held(),
        });
        let claims = self.claims_for_newcomer(now);
        if !claims.is_empty() {
            self.outputs.push_back(Output::SendClaims { to: peer, claims });
        }
        if self.config.use_peers {
            self.uploads.connected(peer, now, &mut self.outputs);
        }
    }

    pub(super) fn remove_peer(&mut self, peer: Peer, now: Instant) {
        if !self.peers.contains_key(&peer) {
            return;
        }
        self.count_holder(peer, false);
        let Some(state) = self.peers.get_mut(&peer) else {
            return;
        };
        let (claimer, requests) = (claims::claimer(state.id), std::mem::take(&mut state.requests));
        let was_seed = state.have_blocks == self.layout.total_blocks();
        for id in requests {
            self.forget_request(id, now);
        }
        self.peers.remove(&peer);
        self.seeds -= usize::from(was_seed);
        self.claims.retain(|_, list| {
            list.retain(|&(who, _)| who != claimer);
            !list.is_empty()
        });
        self.forward.retain(|&(from, _)| from != peer);
        self.uploads.disconnected(peer, now, &mut self.outputs);
        self.origin.scan_at = now;
    }

    pub(super) fn ban(&mut self, peer: Peer, reason: BanReason, now: Instant) {
        if self.peers.contains_key(&peer) {
            self.remove_peer(peer, now);
            self.outputs.push_back(Output::Ban { peer, reason });
        }
    }

    /// Whether there is something new in it that we want.
    pub(super) fn peer_have(&mut self, peer: Peer, runs: &[BlockRun], now: Instant) -> bool {
        // Runs that overlap would make a message cost more work than there are blocks.
        let told: u64 = runs.iter().map(|run| u64::from(run.count)).sum();
        if told > self.layout.total_blocks() || runs.iter().any(|&run| !self.layout.contains(run)) {
            self.ban(peer, BanReason::Protocol, now);
            return true;
        }
        let Some(state) = self.peers.get_mut(&peer) else {
            return false;
        };
        let mut wanted = !state.greeted;
        state.greeted = true;
        let all = self.layout.total_blocks();
        let was_seed = state.have_blocks == all;
        let piece_blocks = self.layout.piece_blocks();
        for &run in runs {
            let span = self.layout.span(run);
            let mut at = span.start;
            while at < span.end {
                let piece = at / piece_blocks;
                let end = ((piece + 1) * piece_blocks).min(span.end);
                let (new, missing_here) = state.have.set_range(at..end, &self.have);
                state.have_blocks += u64::from(new);
                if self.pieces[piece as usize].wanted && missing_here > 0 {
                    state.interest += u64::from(missing_here);
                    state.dry = None;
                    wanted = true;
                }
                if state.counted {
                    self.pieces[piece as usize].available += new;
                }
                if new > 0 {
                    self.pieces[piece as usize].claimed_since = None;
                    if let Some(list) = self.claims.get_mut(&piece) {
                        claims::refresh(list, now);
                    }
                }
                at = end;
            }
        }
        let lacks = state.have_blocks < all;
        state.lacked |= lacks;
        self.seeds += usize::from(!lacks && !was_seed);
        self.uploads.set_interested(peer, lacks, now, &mut self.outputs);
        wanted
    }

    pub(super) fn set_choking(&mut self, peer: Peer, choking: bool, now: Instant) {
        let Some(state) = self.peers.get_mut(&peer) else {
            return;
        };
        // Letting us ask without serving us changes nothing.
        let served = state
            .score
            .last_delivery()
            .is_some_and(|last| last > state.choked_at);
        if choking && !state.choking && served {
            state.choked_at = now;
        }
        state.choking = choking;
        state.dry = None;
        let counts = !choking && state.score.paused_until(now).is_none();
        self.count_holder(peer, counts);
    }

    pub(super) fn pause_peer(&mut self, peer: Peer, time: Duration, now: Instant) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.score.pause(time, now);
            self.count_holder(peer, false);
        }
    }

    /// Whether the peer's haves count: those of peers that would not serve us do not.
    pub(super) fn count_holder(&mut self, peer: Peer, counts: bool) {
        let Some(state) = self.peers.get_mut(&peer) else {
            return;
        };
        if state.counted == counts {
            return;
        }
        state.counted = counts;
        state.dry = None;
        if state.have_blocks == 0 {
            return;
        }
        for (index, piece) in self.pieces.iter_mut().enumerate() {
            let held = state.have.count(self.layout.piece_span(index as u32));
            if counts {
                piece.available += held;
            } else {
                piece.available -= held;
            }
        }
    }

    pub(super) fn peer_request(
        &mut self,
        peer: Peer,
        request: UploadId,
        run: BlockRun,
        urgency: Urgency,
        now: Instant,
    ) {
        let allowed = if !self.layout.is_request(run) {
            Err(RefuseReason::Invalid)
        } else if !self.have.all(self.layout.span(run)) {
            Err(RefuseReason::NotHeld)
        } else {
            Ok(())
        };
        let Some(state) = self.peers.get_mut(&peer) else {
            return;
        };
        if allowed == Err(RefuseReason::Invalid) {
            state.bad_requests += 1;
            if state.bad_requests > 8 {
                self.ban(peer, BanReason::Protocol, now);
                return;
            }
        }
        let holders = if allowed.is_ok() {
            let first = self.layout.span(run).start;
            self.peers.values().filter(|p| p.have.get(first)).count()
        } else {
            0
        };
        let asked = Queued {
            request,
            run,
            urgency,
            sole: allowed.is_ok() && holders == 0,
            spread: holders >= SPREAD,
        };
        self.uploads.request(peer, asked, allowed, now, &mut self.outputs);
    }
}
