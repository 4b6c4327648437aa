//! What is held, what is on its way, what is open: the books of blocks and pieces.
//!
//! Each block is exactly one of missing, requested, held; a piece is open while a block of it is missing. Blocks are
//! told to the neighbours as they come (`news`). Not here: requests themselves (`requests`), the origin's fetches
//! (`origin_fetches`).

use std::ops::Range;
use std::time::Instant;

use super::Swarm;
use super::types::{BLOCK_SIZE, BlockRun, Output, RequestId, Source};

#[derive(Debug, Clone, Default)]
pub(super) struct Piece {
    /// Blocks of the piece.
    pub(super) blocks: u32,
    /// Whether its file is wanted.
    pub(super) wanted: bool,
    /// The origin lacks its file.
    pub(super) no_origin: bool,
    pub(super) held: u32,
    pub(super) requested: u32,
    /// Held blocks of the piece, added up over the peers that count as holders.
    pub(super) available: u32,
    /// Since when the origin duty's timer runs.
    pub(super) eligible_since: Option<Instant>,
    /// Since when claims hold us back from it although no block of it has appeared anywhere.
    pub(super) claimed_since: Option<Instant>,
}

impl Swarm {
    pub(super) fn verified(&mut self, run: BlockRun, source: Source, now: Instant) {
        if !self.layout.contains(run) {
            debug_assert!(false, "verified blocks outside the layout: {run:?}");
            return;
        }
        let span = self.layout.span(run);
        // A rate says how many blocks come: one of a few bytes takes a request of its own as a whole one does.
        let bytes = u64::from(run.count) * u64::from(BLOCK_SIZE);
        match source {
            Source::Disk => {}
            Source::Origin => self.total.delivered(bytes, now),
            Source::Peer(peer) => {
                self.total.delivered(bytes, now);
                self.downlink.arrived(bytes, now);
                if let Some(state) = self.peers.get_mut(&peer) {
                    state.score.delivered(bytes, now);
                }
            }
        }
        for block in span.clone() {
            self.got(block, source, now);
        }
        for piece in self.pieces_of(&span) {
            self.update_open(piece);
            self.refresh_claims(piece, now);
        }
        if !self.complete && self.missing_blocks == 0 {
            self.complete = true;
            self.finish(now);
        }
    }

    pub(super) fn got(&mut self, block: u32, source: Source, now: Instant) {
        if self.have.get(block) {
            if source != Source::Disk {
                self.duplicate_bytes += self.layout.span_bytes(block..block + 1);
            }
            return;
        }
        self.have.set(block);
        self.have_blocks += 1;
        self.have_bytes += self.layout.span_bytes(block..block + 1);
        self.last_progress = now;
        let piece = block / self.layout.piece_blocks();
        self.pieces[piece as usize].held += 1;
        if self.pieces[piece as usize].wanted {
            self.missing_blocks -= 1;
            for state in self.peers.values_mut() {
                state.interest -= u64::from(state.have.get(block));
            }
        }
        self.tell(block, now);
        if !self.requested.get(block) {
            return;
        }
        self.requested.clear(block);
        self.pieces[piece as usize].requested -= 1;
        for id in self.by_piece.get(&piece).cloned().unwrap_or_default() {
            let Some(request) = self.requests.get_mut(&id) else {
                continue;
            };
            if !request.span.contains(&block) {
                continue;
            }
            request.left -= 1;
            let (peer, left, sent, urgent) = (request.peer, request.left, request.sent, request.urgent);
            let due = request.due;
            if let Some(state) = self.peers.get_mut(&peer) {
                state.outstanding -= 1;
                self.outstanding -= 1;
                state.urgent -= u32::from(urgent);
                if left == 0 && source == Source::Peer(peer) {
                    state.score.request_took(now.saturating_duration_since(sent));
                    if due.is_some() {
                        state.score.deadline(true);
                    }
                }
            }
            if left == 0 {
                // What its own peer has sent whole needs no cancel; its end is not waited for.
                if source != Source::Peer(peer) {
                    self.outputs.push_back(Output::Cancel { peer, request: id });
                }
                self.forget_request(id, now);
            }
        }
        self.fetch_got(block, source, now);
    }

    pub(super) fn lost(&mut self, run: BlockRun, now: Instant) {
        if !self.layout.contains(run) {
            return;
        }
        let span = self.layout.span(run);
        // Transfers count what they still bring: those that touch these blocks begin again.
        let touches = |other: &Range<u32>| other.start < span.end && span.start < other.end;
        let requests: Vec<RequestId> = self
            .requests
            .iter()
            .filter(|(_, r)| touches(&r.span))
            .map(|(&id, _)| id)
            .collect();
        for id in requests {
            self.cancel(id, now);
        }
        if self.origin.fetches.values().any(|f| touches(&f.span)) {
            self.cancel_fetches(now);
        }
        for block in span.clone().filter(|&b| self.have.get(b)).collect::<Vec<_>>() {
            self.have.clear(block);
            self.have_blocks -= 1;
            self.have_bytes -= self.layout.span_bytes(block..block + 1);
            let piece = &mut self.pieces[(block / self.layout.piece_blocks()) as usize];
            piece.held -= 1;
            if piece.wanted {
                self.missing_blocks += 1;
                self.complete = false;
                for state in self.peers.values_mut() {
                    state.interest += u64::from(state.have.get(block));
                }
            }
        }
        for piece in self.pieces_of(&span) {
            self.update_open(piece);
        }
        self.released += 1;
        self.origin.scan_at = now;
    }

    /// The last block is here: nothing more is wanted from anybody.
    pub(super) fn finish(&mut self, now: Instant) {
        for request in self.requests.keys().copied().collect::<Vec<_>>() {
            self.cancel(request, now);
        }
        self.cancel_fetches(now);
        self.outputs.push_back(Output::Complete);
    }

    pub(super) fn pieces_of(&self, span: &Range<u32>) -> Range<u32> {
        let blocks = self.layout.piece_blocks();
        span.start / blocks..(span.end - 1) / blocks + 1
    }

    pub(super) fn update_open(&mut self, piece: u32) {
        let state = &self.pieces[piece as usize];
        if state.wanted && state.held + state.requested < state.blocks {
            self.open.insert(piece);
        } else {
            self.open.remove(piece);
        }
    }

    pub(super) fn mark_requested(&mut self, span: Range<u32>) {
        let piece_blocks = self.layout.piece_blocks();
        for block in span.clone() {
            if !self.requested.get(block) {
                self.requested.set(block);
                self.pieces[(block / piece_blocks) as usize].requested += 1;
            }
        }
        for piece in self.pieces_of(&span) {
            self.update_open(piece);
        }
    }

    /// Blocks of a transfer that ended: those that no other transfer brings are missing again.
    pub(super) fn release(&mut self, span: Range<u32>) {
        let piece_blocks = self.layout.piece_blocks();
        for block in span.clone() {
            let piece = block / piece_blocks;
            let still = self.by_piece.get(&piece).is_some_and(|ids| {
                ids.iter()
                    .any(|id| self.requests.get(id).is_some_and(|r| r.span.contains(&block)))
            }) || self.origin.fetches.values().any(|f| f.span.contains(&block));
            if self.requested.get(block) && !still {
                self.requested.clear(block);
                self.pieces[piece as usize].requested -= 1;
            }
        }
        for piece in self.pieces_of(&span) {
            self.update_open(piece);
        }
        self.released += 1;
    }
}
