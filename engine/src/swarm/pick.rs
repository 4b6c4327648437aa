//! What to request of which peer.
//!
//! Three zones. *Urgent*: what a playing reader needs within 15 s, earliest deadline first, each run to the peer that
//! would have it here soonest; to that peer it is urgent only within 5 s, or for a start, and beyond 7 s it is asked
//! only while there is room. *Near*: what it needs within
//! a minute, and *far*: the rest; both rarest first with random ties. The peer that would deliver soonest is asked
//! next, until its pipeline (round trip and 0.3 s of data) or that of the whole swarm (1 s of data) is full.
//!
//! Not here: what is asked for a second time (`endgame`), what the origin is asked (`origin_duty`), who would be soonest
//! (`offers`), how a peer is measured (`score`).

use std::ops::Range;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::Swarm;
use super::bits::first_run;
use super::peers::PeerState;
use super::readers::{NEAR, Reader};
use super::types::{BLOCK_SIZE, MAX_RUN_BLOCKS, Peer, Urgency};

/// What is needed this soon, or for a start, is urgent to the uploader too: a buffer that fills up must not keep others
/// from starting. In seconds.
pub(super) const HURRY: f64 = 5.0;
/// What is needed later than this, in seconds, waits until there is room for it: it would come before what is needed
/// sooner. (A little more than the time within which the origin is asked for what no peer was.)
const AHEAD: f64 = 7.0;
/// Open pieces that are looked at for one request; all of them when none of these helps.
const SAMPLE: usize = 64;
/// Blocks in an ordinary request: the turn of 64 KiB that an uplink hands out.
pub(super) const TURN: u32 = 4;
/// Peers that are compared before one is asked.
const CHOICES: usize = 3;
/// So long after a reader began to wait, whoever lets us ask has said so.
pub(super) const SETTLED: Duration = Duration::from_millis(300);
/// Requests running at one peer; it takes 128.
pub(super) const MAX_REQUESTS: usize = 64;
/// The whole swarm's pipeline before anything is measured, in blocks.
const FIRST_PIPELINE: u32 = 32;

impl PeerState {
    /// Whether another request may go to it.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.outstanding < self.score.pipeline()
            && self.requests.len() < MAX_REQUESTS
            && self.score.paused_until(now).is_none()
    }
}

impl Swarm {
    /// Sends every request that is worth sending now.
    pub(super) fn pick(&mut self, now: Instant) {
        if !self.config.use_peers || self.peers.values().all(|p| p.interest == 0) {
            return;
        }
        let streaming = self.readers.values().any(Reader::streams);
        if streaming {
            self.recall(now);
            self.pick_urgent(now);
            self.hedge(now);
            if self.start_is_missing() {
                return;
            }
        }
        let near: Vec<Range<u32>> = self
            .readers
            .values()
            .filter(|reader| reader.streams())
            .map(|reader| self.byte_span(reader.file, &reader.window(NEAR)))
            .filter(|span| !span.is_empty())
            .collect();
        let spared = self.spares_seeds();
        while let Some(peer) = self.next_asked(spared, now) {
            // What is needed sooner waits for our line, too.
            if streaming && self.line_is_taken(f64::INFINITY) {
                break;
            }
            let dry = self.is_dry(peer);
            if !dry && self.pick_for(peer, &near, now) {
                continue;
            }
            let released = self.released;
            if let Some(state) = self.peers.get_mut(&peer) {
                (state.dry, state.spent) = (Some(released), false);
            }
            if !self.endgame(peer, now)
                && let Some(state) = self.peers.get_mut(&peer)
            {
                state.spent = true;
            }
        }
    }

    /// What a peer is taken to deliver before it is measured: as much as the others do on average.
    pub(super) fn assumed_rate(&self) -> f64 {
        let (sum, count) = self
            .peers
            .values()
            .filter_map(|p| p.score.rate())
            .fold((0.0, 0u32), |(sum, count), rate| (sum + rate, count + 1));
        if count == 0 {
            100_000.0
        } else {
            sum / f64::from(count)
        }
    }

    /// Whether so much is on its way that what is asked for now would wait for our own line.
    fn is_full(&self) -> bool {
        let rate = self.total.rate().unwrap_or(0.0);
        self.outstanding >= ((rate / f64::from(BLOCK_SIZE)) as u32).max(FIRST_PIPELINE)
    }

    /// Who is asked next: of a few peers with room, taken at random, the one that would deliver one more turn
    /// soonest; `None` when all is full. (The best of all would draw every viewer to the same few uplinks.)
    fn next_asked(&mut self, spared: bool, now: Instant) -> Option<Peer> {
        if self.is_full() {
            return None;
        }
        let mut candidates: Vec<Peer> = self
            .peers
            .iter()
            .filter(|(_, p)| p.counted && p.interest > 0 && !(p.spent && p.dry == Some(self.released)))
            .filter(|(_, p)| p.has_room(now) && !(spared && self.is_seed(p)))
            .map(|(&peer, _)| peer)
            .collect();
        if candidates.is_empty() {
            return None;
        }
        let assumed = self.assumed_rate();
        let mut best: Option<(f64, Peer)> = None;
        for _ in 0..CHOICES.min(candidates.len()) {
            let peer = candidates.swap_remove(self.rng.random_range(0..candidates.len()));
            let Some(state) = self.peers.get(&peer) else {
                continue;
            };
            let eta = state.score.eta(state.outstanding, TURN, assumed);
            if best.is_none_or(|best| eta < best.0) {
                best = Some((eta, peer));
            }
        }
        best.map(|(_, peer)| peer)
    }

    pub(super) fn run_length(&self, peer: Peer) -> u32 {
        let pipeline = self.peers.get(&peer).map_or(TURN, |p| p.score.pipeline());
        (pipeline / 4 / TURN * TURN)
            .clamp(TURN, MAX_RUN_BLOCKS)
            .min(self.layout.piece_blocks())
    }

    /// A run of the piece that the peer holds and that is neither held nor requested here.
    pub(super) fn run_in(&self, peer: Peer, span: Range<u32>, max: u32) -> Option<Range<u32>> {
        let state = self.peers.get(&peer)?;
        first_run(span, max, |w| {
            state.have.word(w) & !self.have.word(w) & !self.requested.word(w)
        })
    }

    /// Whether it is known that the peer has nothing to ask for.
    fn is_dry(&self, peer: Peer) -> bool {
        self.peers
            .get(&peer)
            .is_some_and(|p| p.dry == Some(self.released))
    }

    /// Requests the rarest run that the peer can give; false when it has none.
    fn pick_for(&mut self, peer: Peer, near: &[Range<u32>], now: Instant) -> bool {
        let max = self.run_length(peer);
        for window in near {
            if let Some(span) = self.rarest_in(peer, window, max) {
                self.send_request(peer, span, Urgency::Near, None, now);
                return true;
            }
        }
        let Some(span) = self.rarest(peer, max) else {
            return false;
        };
        self.send_request(peer, span, Urgency::Far, None, now);
        true
    }

    /// Within a reader's window: the rarest of its open pieces, nearest first among equals.
    fn rarest_in(&self, peer: Peer, window: &Range<u32>, max: u32) -> Option<Range<u32>> {
        self.pieces_of(window)
            .filter(|&piece| self.is_open(piece))
            .filter_map(|piece| {
                let inside = self.layout.piece_span(piece);
                let inside = inside.start.max(window.start)..inside.end.min(window.end);
                Some((
                    self.pieces[piece as usize].available,
                    self.run_in(peer, inside, max)?,
                ))
            })
            .take(SAMPLE)
            .min_by_key(|&(available, _)| available)
            .map(|(_, span)| span)
    }

    pub(super) fn is_open(&self, piece: u32) -> bool {
        let state = &self.pieces[piece as usize];
        state.wanted && state.held + state.requested < state.blocks
    }

    fn rarest(&mut self, peer: Peer, max: u32) -> Option<Range<u32>> {
        let count = self.open.as_slice().len();
        if count == 0 {
            return None;
        }
        // Beginning anywhere and keeping the first of equals is a random choice among them, nearly enough.
        let start = self.rng.random_range(0..count);
        let open = self.open.as_slice();
        let mut best: Option<(u32, Range<u32>)> = None;
        for (looked, &piece) in open[start..].iter().chain(&open[..start]).enumerate() {
            if looked >= SAMPLE && best.is_some() {
                break;
            }
            let state = &self.pieces[piece as usize];
            // Per block, so that a short last piece is not taken for a rare one.
            let rarity = state.available * 64 / state.blocks;
            if best.as_ref().is_some_and(|(rarest, _)| *rarest <= rarity) {
                continue;
            }
            if let Some(span) = self.run_in(peer, self.layout.piece_span(piece), max) {
                best = Some((rarity, span));
            }
        }
        best.map(|(_, span)| span)
    }

    /// The urgent zone: earliest deadline first, to the peer that would have it here soonest.
    fn pick_urgent(&mut self, now: Instant) {
        let assumed = self.assumed_rate();
        let mut covered = 0;
        let mut of_origin: Vec<u32> = Vec::new();
        let needs = self.urgent_needs(SAMPLE * 4);
        let blocks = || needs.iter().map(|need| need.block);
        let (Some(first), Some(last)) = (blocks().min(), blocks().max()) else {
            return;
        };
        let mut offers = None;
        for need in needs {
            if need.block < covered || self.requested.get(need.block) {
                continue;
            }
            let slack = need.deadline.saturating_duration_since(now).as_secs_f64();
            if (slack > AHEAD && self.is_full()) || (need.starting.is_none() && self.line_is_taken(slack)) {
                break;
            }
            if self.pieces[(need.block / self.layout.piece_blocks()) as usize].available == 0 {
                continue;
            }
            let offers = offers.get_or_insert_with(|| self.offers(&(first..last + 1), assumed, now));
            let Some((eta, peer)) = offers.soonest(need.block) else {
                continue;
            };
            let piece = need.block / self.layout.piece_blocks();
            // A peer that was asked for nothing yet is given the chance to be fast.
            let asked = self.peers.get(&peer).is_some_and(|p| p.urgent > 0);
            if need.starting.is_some()
                && asked
                && (of_origin.contains(&piece)
                    || self.origin_starts(need.block, eta, of_origin.len() as u32, now))
            {
                of_origin.push(piece);
                of_origin.dedup();
                continue;
            }
            // The first who let us ask are not asked for everything.
            let settled = need
                .starting
                .is_some_and(|since| now.saturating_duration_since(since) > SETTLED);
            let bound = (0.8 * slack).max(if settled { 2.0 } else { 1.0 });
            // Late from a peer is better than never when the origin cannot help.
            if eta > bound && self.origin.usable(&self.config, now) {
                continue;
            }
            let piece = self.layout.piece_span(need.block / self.layout.piece_blocks());
            let max = TURN.min(self.layout.piece_blocks());
            if let Some(span) = self.run_in(peer, need.block..piece.end, max) {
                covered = span.end;
                let hurry = need.starting.is_some() || slack < HURRY;
                let urgency = if hurry { Urgency::Urgent } else { Urgency::Near };
                self.send_request(peer, span, urgency, Some(need.deadline), now);
                self.update_offer(offers, peer, now);
            }
        }
    }
}
