//! What to request of which peer.
//!
//! Three zones. *Urgent*: what a playing reader needs within 15 s, earliest deadline first, each run to the peer that
//! would have it here soonest; to that peer it is urgent only within 5 s, or for a start. *Near*: what it needs within a minute, and *far*: the rest; both rarest first with
//! random ties. The peer that would deliver soonest is asked next, until its pipeline (round trip and 0.3 s of data)
//! or that of the whole swarm (1 s of data) is full. Endgame: first a run is moved from the peer that would bring it
//! late to one that would bring it in half the time; duplicates only for the last blocks, once each.
//!
//! Not here: what the origin is asked (`origin_duty`), how a peer is measured (`score`).

use std::ops::Range;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::bits::{first_run, runs};
use super::types::{BLOCK_SIZE, Demand, MAX_RUN_BLOCKS, Peer, ReaderId, RequestId, Urgency};
use super::{FileIndex, PeerState, Reader, Swarm};

/// A playing reader's urgent window.
const URGENT: Duration = Duration::from_secs(15);
/// What is needed this soon, or for a start, is urgent to the uploader too: a buffer that fills up must not keep others
/// from starting. In seconds.
const HURRY: f64 = 5.0;
/// What a reader needs before it starts.
pub(super) const START: Duration = Duration::from_millis(2_500);
/// Its near window.
pub(super) const NEAR: Duration = Duration::from_secs(60);
/// Open pieces that are looked at for one request; all of them when none of these helps.
const SAMPLE: usize = 64;
/// Blocks in an ordinary request: the turn of 64 KiB that an uplink hands out.
pub(super) const TURN: u32 = 4;
/// Peers that are compared before one is asked.
const CHOICES: usize = 3;
/// So long after a reader began to wait, whoever lets us ask has said so.
const SETTLED: Duration = Duration::from_millis(300);
/// Requests running at one peer; it takes 128.
const MAX_REQUESTS: usize = 64;
/// The whole swarm's pipeline before anything is measured, in blocks.
const FIRST_PIPELINE: u32 = 32;
/// Duplicates are allowed while no more blocks than a hundredth of all are missing, within these bounds.
const ENDGAME: (u64, u64) = (4, 32);

impl Reader {
    /// The content bytes of a stream within this much media from the position.
    pub(super) fn window(&self, media: Duration) -> Range<u64> {
        let bytes = match self.demand {
            Demand::Stream { bitrate, .. } => (bitrate as f64 * media.as_secs_f64()) as u64,
            Demand::Whenever => 8 << 20,
        };
        self.position..self.position.saturating_add(bytes.max(1))
    }

    /// When the byte at `offset` is needed.
    pub(super) fn deadline(&self, offset: u64) -> Instant {
        match self.demand {
            Demand::Stream { bitrate, .. } => {
                let ahead = offset.saturating_sub(self.position) as f64 / bitrate.max(1) as f64;
                self.at + Duration::from_secs_f64(ahead.min(86_400.0))
            }
            Demand::Whenever => self.at + Duration::from_secs(86_400),
        }
    }

    /// Whether it waits for its first media.
    pub(super) fn starting(&self) -> bool {
        matches!(self.demand, Demand::Stream { playing: false, .. })
    }

    pub(super) fn streams(&self) -> bool {
        matches!(self.demand, Demand::Stream { .. })
    }
}

impl PeerState {
    /// Whether another request may go to it.
    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.outstanding < self.score.pipeline()
            && self.requests.len() < MAX_REQUESTS
            && self.score.paused_until(now).is_none()
    }
}

/// A deadline of a block that a reader needs soon.
pub(super) struct Need {
    pub(super) block: u32,
    pub(super) deadline: Instant,
    /// Since when its reader waits for its start, if it does.
    pub(super) starting: Option<Instant>,
}

impl Swarm {
    /// The block numbers of a byte range of a file, clipped to the file.
    pub(super) fn byte_span(&self, file: FileIndex, bytes: &Range<u64>) -> Range<u32> {
        let length = self.layout.file_length(file).unwrap_or(0);
        let (start, end) = (bytes.start.min(length), bytes.end.min(length));
        if start >= end {
            return 0..0;
        }
        let block = u64::from(BLOCK_SIZE);
        let (first, last) = ((start / block) as u32, ((end - 1) / block) as u32);
        self.layout
            .span(super::BlockRun::new(file.0, first, last - first + 1))
    }

    /// The urgent window of a reader, as block numbers; empty for a download.
    fn urgent_span(&self, reader: &Reader) -> Range<u32> {
        if !reader.streams() {
            return 0..0;
        }
        let media = if reader.starting() { START } else { URGENT };
        self.byte_span(reader.file, &reader.window(media))
    }

    /// Blocks in urgent windows that are neither held nor requested, by deadline; at most `max`.
    pub(super) fn urgent_needs(&self, max: usize) -> Vec<Need> {
        let mut needs = Vec::new();
        for reader in self.readers.values() {
            let span = self.urgent_span(reader);
            for block in span
                .filter(|&b| !self.have.get(b) && !self.requested.get(b))
                .take(max)
            {
                let deadline = self.block_deadline(reader, block);
                needs.push(Need {
                    block,
                    deadline,
                    starting: reader.starting().then_some(reader.at),
                });
            }
        }
        needs.sort_by_key(|need| (need.deadline, need.block));
        needs.dedup_by_key(|need| need.block);
        needs.truncate(max);
        needs
    }

    pub(super) fn block_deadline(&self, reader: &Reader, block: u32) -> Instant {
        let first = self.layout.run(block..block + 1).first.0;
        reader.deadline((u64::from(first) * u64::from(BLOCK_SIZE)).max(reader.position))
    }

    /// Whether a reader waits for its start: nothing else is fetched meanwhile.
    pub(super) fn start_is_missing(&self) -> bool {
        self.readers.values().any(|reader| {
            reader.starting() && {
                let span = self.urgent_span(reader);
                !span.is_empty() && !self.have.all(span)
            }
        })
    }

    /// Sends every request that is worth sending now.
    pub(super) fn pick(&mut self, now: Instant) {
        if !self.config.use_peers || self.peers.values().all(|p| p.interest == 0) {
            return;
        }
        let streaming = self.readers.values().any(Reader::streams);
        if streaming {
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
            if !self.pick_for(peer, &near, now) && !self.endgame(peer, now) {
                let released = self.released;
                if let Some(state) = self.peers.get_mut(&peer) {
                    state.dry = Some(released);
                }
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

    /// Who is asked next: of a few peers with room, taken at random, the one that would deliver one more turn
    /// soonest; `None` when all is full. (The best of all would draw every viewer to the same few uplinks.)
    fn next_asked(&mut self, spared: bool, now: Instant) -> Option<Peer> {
        let rate = self.total.rate().unwrap_or(0.0);
        let limit = ((rate / f64::from(BLOCK_SIZE)) as u32).max(FIRST_PIPELINE);
        if self.outstanding >= limit {
            return None;
        }
        let mut candidates: Vec<Peer> = self
            .peers
            .iter()
            .filter(|(_, p)| p.counted && p.interest > 0 && p.dry != Some(self.released))
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

    fn run_length(&self, peer: Peer) -> u32 {
        let pipeline = self.peers.get(&peer).map_or(TURN, |p| p.score.pipeline());
        (pipeline / 4 / TURN * TURN)
            .clamp(TURN, MAX_RUN_BLOCKS)
            .min(self.layout.piece_blocks())
    }

    /// A run of the piece that the peer holds and that is neither held nor requested here.
    fn run_in(&self, peer: Peer, span: Range<u32>, max: u32) -> Option<Range<u32>> {
        let state = self.peers.get(&peer)?;
        first_run(span, max, |w| {
            state.have.word(w) & !self.have.word(w) & !self.requested.word(w)
        })
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
        for need in self.urgent_needs(SAMPLE * 4) {
            if need.block < covered || self.requested.get(need.block) {
                continue;
            }
            let slack = need.deadline.saturating_duration_since(now).as_secs_f64();
            if self.pieces[(need.block / self.layout.piece_blocks()) as usize].available == 0 {
                continue;
            }
            let Some((eta, peer)) = self.soonest(need.block, None, assumed, now) else {
                continue;
            };
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
            }
        }
    }

    /// The peer that would have this block here soonest, with its time in seconds.
    pub(super) fn soonest(
        &self,
        block: u32,
        except: Option<Peer>,
        assumed: f64,
        now: Instant,
    ) -> Option<(f64, Peer)> {
        self.peers
            .iter()
            .filter(|&(&peer, p)| p.counted && p.have.get(block) && except != Some(peer))
            .filter(|(_, p)| p.requests.len() < MAX_REQUESTS && p.score.paused_until(now).is_none())
            // What is not urgent stands behind it there.
            .map(|(&peer, p)| (p.score.eta(p.urgent, TURN, assumed), peer))
            .min_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// What is needed within 2 s, or for a start, and still on its way is asked of a second peer, once.
    fn hedge(&mut self, now: Instant) {
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
                for request in self.by_piece.get(&piece).into_iter().flatten() {
                    let waits = self.requests.get(request).is_some_and(|r| {
                        r.span.contains(&block) && !r.hedged && now - r.sent > Duration::from_millis(500)
                    });
                    if waits && late.iter().all(|(known, _)| known != request) {
                        late.push((*request, self.block_deadline(reader, block)));
                    }
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
        let (owner, span) = (request.peer, request.span.clone());
        let Some(left) = runs(span, |w| self.requested.word(w) & !self.have.word(w))
            .into_iter()
            .next()
        else {
            return;
        };
        let Some((eta, peer)) = self.soonest(left.start, Some(owner), assumed, now) else {
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
                request.hedged = true;
            }
        }
    }

    /// For how long nothing came of what a peer was asked, in seconds.
    fn silence(&self, peer: &PeerState, now: Instant) -> f64 {
        let oldest = peer
            .requests
            .iter()
            .filter_map(|id| self.requests.get(id))
            .map(|r| r.sent)
            .min();
        oldest.map_or(0.0, |since| {
            let since = peer.score.last_delivery().map_or(since, |last| last.max(since));
            now.saturating_duration_since(since).as_secs_f64()
        })
    }

    /// Nothing new to ask of this peer: it takes over a run that would come late, or, for the last blocks, asks for
    /// one again. False when there is nothing of the kind.
    fn endgame(&mut self, peer: Peer, now: Instant) -> bool {
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
                        && !r.hedged
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
            return self.requests.get(&id).is_some_and(|r| r.hedged);
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
                    request.hedged = true;
                }
                true
            }
            None => false,
        }
    }
}
