//! The swarm core: what to ask of whom, whom to serve, when to draw from the origin.
//!
//! A pure state machine, shared by the node, the simulator and the fuzzers. It has no clock, no socket, no runtime.
//! Contract: give one [`Input`] with the time to [`Swarm::handle`], then take outputs from [`Swarm::poll_output`]
//! until it answers `None`, then ask [`Swarm::next_timeout`] when to give [`Input::Timeout`] if nothing else happens
//! before. Times must not go back. Randomness is a `rand` `StdRng` made from the seed: the same inputs with the same
//! seed give the same outputs (within one version of `rand`, whose `StdRng` is not promised to stay the same).
//!
//! Invariants: each block is exactly one of missing, requested, held; a block is requested while a running request
//! or origin fetch is to bring it and not otherwise; a peer that chokes us is not asked; the origin is never asked
//! for a block that is held; of a piece that is drawn from the origin, every missing block is drawn together, so
//! that the piece can be verified.
//!
//! Files: `pick` what to request; `choke` whom to serve; `origin_duty` when to draw from the origin,
//! `origin_urgent` what readers need at once, `claims` how it is told; `seed_duty` when to ask a seed that is
//! spared; `budget` how much of it is our share; `burden` when others should draw; `score` how good a peer is;
//! `neighbours` whom to be connected with; `layout`, `types` and `bits` the vocabulary. Here: the state they share,
//! and its bookkeeping.

#[cfg(any(test, fuzzing))]
mod audit;
mod bits;
mod budget;
mod burden;
mod choke;
mod claims;
mod layout;
pub mod neighbours;
mod origin_duty;
mod origin_urgent;
mod pick;
mod score;
mod seed_duty;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use bits::{Bits, Members};
use choke::{Queued, Uploads};
pub use layout::{Layout, LayoutError};
use origin_duty::Origin;
use score::Score;
pub use types::*;

/// Haves and claims of others are gathered this long before they are sent.
const BATCH: Duration = Duration::from_millis(50);
/// How often time alone is looked at while something is missing.
const TICK: Duration = Duration::from_millis(100);
/// Longest wait for the first haves of a peer that is connected.
const GREETING: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Default)]
struct Piece {
    /// Blocks of the piece.
    blocks: u32,
    /// Whether its file is wanted.
    wanted: bool,
    /// The origin lacks its file.
    no_origin: bool,
    held: u32,
    requested: u32,
    /// Held blocks of the piece, added up over the peers that count as holders.
    available: u32,
    /// Since when the origin duty's timer runs.
    eligible_since: Option<Instant>,
    /// Since when claims hold us back from it although no block of it has appeared anywhere.
    claimed_since: Option<Instant>,
}

#[derive(Debug)]
struct PeerState {
    id: PeerId,
    connected_at: Instant,
    have: Bits,
    have_blocks: u64,
    /// Blocks that it holds and that we want and do not hold.
    interest: u64,
    /// Whether it said what it holds.
    greeted: bool,
    choking: bool,
    /// Whether its haves count in `Piece::available`: it does not choke us and is not paused.
    counted: bool,
    score: Score,
    requests: BTreeSet<RequestId>,
    outstanding: u32,
    /// Those of them that it was asked for as urgent.
    urgent: u32,
    /// The value of `Swarm::released` when it had nothing to pick; it is not searched again before that changes.
    dry: Option<u64>,
    bad_requests: u32,
}

/// A request to a peer. Its blocks are `span`; `left` of them are not held yet.
#[derive(Debug)]
struct Request {
    peer: Peer,
    span: Range<u32>,
    left: u32,
    sent: Instant,
    urgent: bool,
    hedged: bool,
}

#[derive(Debug)]
struct Reader {
    file: FileIndex,
    position: u64,
    demand: Demand,
    at: Instant,
}

/// One torrent's swarm as one participant sees it.
#[derive(Debug)]
pub struct Swarm {
    layout: Arc<Layout>,
    config: Config,
    rng: StdRng,
    have: Bits,
    requested: Bits,
    have_blocks: u64,
    have_bytes: u64,
    /// Blocks of wanted files that are not held.
    missing_blocks: u64,
    duplicate_bytes: u64,
    complete: bool,
    pieces: Vec<Piece>,
    /// Pieces with a block that is neither held nor requested.
    open: Members,
    peers: BTreeMap<Peer, PeerState>,
    requests: BTreeMap<RequestId, Request>,
    /// Blocks that are asked of peers and not here.
    outstanding: u32,
    /// Connected peers that hold everything.
    seeds: usize,
    /// Running requests by piece.
    by_piece: BTreeMap<u32, Vec<RequestId>>,
    origin: Origin,
    readers: BTreeMap<ReaderId, Reader>,
    uploads: Uploads,
    total: Score,
    last_progress: Instant,
    /// Live claims: piece, claimer, until when.
    claims: BTreeMap<u32, Vec<(u64, Instant)>>,
    claims_swept: Instant,
    claims_renewed: Instant,
    /// Whether something was told then.
    sole_told: bool,
    forward: Vec<(Peer, Claim)>,
    news: Vec<Range<u32>>,
    flush_at: Option<Instant>,
    tick_at: Instant,
    started: Instant,
    discovering: bool,
    /// How many viewers the tracker said there are.
    size: Option<u32>,
    /// Counts events that make blocks available for picking again.
    released: u64,
    next_id: u64,
    outputs: VecDeque<Output>,
}

impl Swarm {
    /// A swarm in which nothing is held and nobody is known. `now` is the beginning of its time.
    pub fn new(layout: Arc<Layout>, config: Config, seed: u64, now: Instant) -> Self {
        let numbers = layout.numbers();
        let pieces: Vec<Piece> = (0..layout.pieces())
            .map(|p| Piece {
                blocks: layout.piece_run(PieceIndex(p)).count,
                wanted: layout.wants_piece(PieceIndex(p)),
                ..Piece::default()
            })
            .collect();
        let mut open = Members::full(layout.pieces());
        for (piece, _) in pieces.iter().enumerate().filter(|(_, p)| !p.wanted) {
            open.remove(piece as u32);
        }
        Self {
            have: Bits::new(numbers),
            requested: Bits::new(numbers),
            have_blocks: 0,
            have_bytes: 0,
            missing_blocks: layout.wanted_blocks(),
            duplicate_bytes: 0,
            complete: layout.wanted_blocks() == 0,
            pieces,
            open,
            peers: BTreeMap::new(),
            requests: BTreeMap::new(),
            outstanding: 0,
            seeds: 0,
            by_piece: BTreeMap::new(),
            origin: Origin::new(&layout, now),
            readers: BTreeMap::new(),
            uploads: Uploads::new(config.upload_slots, config.unchoked_peers, now),
            total: Score::new(now),
            last_progress: now,
            claims: BTreeMap::new(),
            claims_swept: now,
            claims_renewed: now,
            sole_told: true,
            forward: Vec::new(),
            news: Vec::new(),
            flush_at: None,
            tick_at: now,
            started: now,
            discovering: config.use_peers,
            size: None,
            released: 0,
            next_id: 0,
            outputs: VecDeque::new(),
            rng: StdRng::seed_from_u64(seed),
            layout,
            config,
        }
    }

    /// Takes one thing that happened.
    pub fn handle(&mut self, input: Input, now: Instant) {
        // What the store holds comes in many inputs: nothing is decided before all of it is known.
        let of_disk = matches!(
            input,
            Input::Verified {
                source: Source::Disk,
                ..
            }
        );
        // What others ask of us or hold that we hold too changes nothing in what we want.
        let mut idle = matches!(
            input,
            Input::PeerRequest { .. }
                | Input::PeerCancelled { .. }
                | Input::SendDone { .. }
                | Input::PeerClaims { .. }
                | Input::PeerRtt { .. }
        );
        match input {
            Input::Verified { run, source } => self.verified(run, source, now),
            Input::Lost { run } => self.lost(run, now),
            Input::PeerConnected { peer, id } => self.peer_connected(peer, id, now),
            Input::PeerDisconnected { peer } => self.remove_peer(peer, now),
            Input::PeerHave { peer, runs } => idle = !self.peer_have(peer, &runs, now),
            Input::PeerChoked { peer } => self.set_choking(peer, true, now),
            Input::PeerUnchoked { peer } => self.set_choking(peer, false, now),
            Input::PeerClaims { peer, claims } => self.peer_claims(peer, &claims, now),
            Input::PeerRequest {
                peer,
                request,
                run,
                urgency,
            } => {
                self.peer_request(peer, request, run, urgency, now);
            }
            Input::PeerCancelled { peer, request } => {
                self.uploads.ended(peer, request, 0, now, &mut self.outputs);
            }
            Input::SendDone { peer, request, bytes } => {
                self.uploads.ended(peer, request, bytes, now, &mut self.outputs);
            }
            Input::RequestDone { request } => self.request_ended(request, None, now),
            Input::RequestFailed { request, reason } => self.request_ended(request, Some(reason), now),
            Input::PeerRtt { peer, rtt } => {
                if let Some(state) = self.peers.get_mut(&peer) {
                    state.score.set_rtt(rtt);
                }
            }
            Input::OriginBytes { fetch, bytes } => self.origin_bytes(fetch, bytes, now),
            Input::OriginDone { fetch } => self.fetch_ended(fetch, None, now),
            Input::OriginFailed { fetch, reason } => self.fetch_ended(fetch, Some(reason), now),
            Input::SwarmSize(size) => self.size = Some(size.max(1)),
            Input::Discovery { pending } => {
                self.discovering = pending;
                self.origin.scan_at = now;
            }
            Input::ReaderOpened {
                reader,
                file,
                position,
                demand,
            } => {
                if self.layout.file_length(file).is_some() {
                    self.readers.insert(
                        reader,
                        Reader {
                            file,
                            position,
                            demand,
                            at: now,
                        },
                    );
                    self.origin.scan_at = now;
                }
            }
            Input::ReaderMoved {
                reader,
                position,
                demand,
            } => {
                if let Some(state) = self.readers.get_mut(&reader) {
                    (state.position, state.demand, state.at) = (position, demand, now);
                }
            }
            Input::ReaderClosed { reader } => {
                self.readers.remove(&reader);
            }
            Input::Timeout => {}
            Input::Configure(config) => self.configure(config, now),
        }
        if !of_disk && (!idle || self.next_timeout().is_some_and(|at| at <= now)) {
            self.run(now);
        }
    }

    /// The next thing to do; `None` when there is nothing until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to give [`Input::Timeout`], if no other input comes before; `None` when time alone changes nothing.
    pub fn next_timeout(&self) -> Option<Instant> {
        let missing = !self.complete && (!self.peers.is_empty() || self.origin.hope(&self.config));
        let tick = missing.then_some(self.tick_at);
        [
            tick,
            self.flush_at,
            self.renewal_at(),
            self.uploads.next_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The layout that it was made with.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Whether every block of the run is held. False for a run outside the torrent.
    pub fn has(&self, run: BlockRun) -> bool {
        self.layout.contains(run) && self.have.all(self.layout.span(run))
    }

    /// Whether every block that is wanted is held.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// All that is held, as runs within files, in order.
    pub fn held(&self) -> Vec<BlockRun> {
        (0..self.layout.files())
            .filter_map(|file| {
                let count = self.layout.file_blocks(FileIndex(file));
                (count > 0).then(|| self.layout.span(BlockRun::new(file, 0, count)))
            })
            .flat_map(|span| bits::runs(span, |w| self.have.word(w)))
            .map(|span| self.layout.run(span))
            .collect()
    }

    /// Where it stands.
    pub fn progress(&self) -> Progress {
        let block = u64::from(BLOCK_SIZE);
        Progress {
            have_bytes: self.have_bytes,
            total_bytes: self.layout.total_bytes(),
            peers: self.peers.len(),
            seeds: self.seeds,
            requested_bytes: u64::from(self.outstanding) * block,
            origin_bytes: u64::from(self.origin.outstanding) * block,
            duplicate_bytes: self.duplicate_bytes,
            down_rate: self.total.rate().unwrap_or(0.0) as u64,
        }
    }

    /// All that time and the last input make due.
    fn run(&mut self, now: Instant) {
        if now >= self.tick_at {
            self.tick_at = now + TICK;
            self.check_stalls(now);
            self.expire_claims(now);
        }
        self.renew_claims(now);
        if self.uploads.next_timeout().is_some_and(|at| at <= now) {
            let mut out = Vec::new();
            self.uploads.rotate(now, &mut out);
            self.outputs.extend(out);
        }
        if !self.complete {
            self.pick(now);
            self.draw(now);
        }
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush();
        }
        let busy = self.origin.outstanding > 0 || self.outstanding > 0;
        self.total.set_busy(busy, now);
    }

    fn configure(&mut self, config: Config, now: Instant) {
        self.uploads.configure(config.upload_slots, config.unchoked_peers);
        let (peers, origin) = (config.use_peers, config.use_origin);
        self.config = config;
        if !peers {
            let all: Vec<RequestId> = self.requests.keys().copied().collect();
            for request in all {
                self.cancel(request, now);
            }
        }
        if !origin {
            self.cancel_fetches(now);
        }
        self.origin.scan_at = now;
        self.released += 1;
    }

    // Blocks.

    fn verified(&mut self, run: BlockRun, source: Source, now: Instant) {
        if !self.layout.contains(run) {
            debug_assert!(false, "verified blocks outside the layout: {run:?}");
            return;
        }
        let span = self.layout.span(run);
        let bytes = self.layout.span_bytes(span.clone());
        match source {
            Source::Disk => {}
            Source::Origin => self.total.delivered(bytes, now),
            Source::Peer(peer) => {
                self.total.delivered(bytes, now);
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

    fn got(&mut self, block: u32, source: Source, now: Instant) {
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
            if let Some(state) = self.peers.get_mut(&peer) {
                state.outstanding -= 1;
                self.outstanding -= 1;
                state.urgent -= u32::from(urgent);
                if left == 0 && source == Source::Peer(peer) {
                    state.score.request_took(now.saturating_duration_since(sent));
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

    fn lost(&mut self, run: BlockRun, now: Instant) {
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
    fn finish(&mut self, now: Instant) {
        for request in self.requests.keys().copied().collect::<Vec<_>>() {
            self.cancel(request, now);
        }
        self.cancel_fetches(now);
        self.outputs.push_back(Output::Complete);
    }

    fn pieces_of(&self, span: &Range<u32>) -> Range<u32> {
        let blocks = self.layout.piece_blocks();
        span.start / blocks..(span.end - 1) / blocks + 1
    }

    fn update_open(&mut self, piece: u32) {
        let state = &self.pieces[piece as usize];
        if state.wanted && state.held + state.requested < state.blocks {
            self.open.insert(piece);
        } else {
            self.open.remove(piece);
        }
    }

    fn mark_requested(&mut self, span: Range<u32>) {
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
    fn release(&mut self, span: Range<u32>) {
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

    // Requests.

    fn send_request(
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
                urgent: urgency == Urgency::Urgent,
                hedged: false,
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
    fn forget_request(&mut self, id: RequestId, now: Instant) -> Option<Peer> {
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

    fn cancel(&mut self, id: RequestId, now: Instant) {
        if let Some(peer) = self.forget_request(id, now) {
            self.outputs.push_back(Output::Cancel { peer, request: id });
        }
    }

    fn request_ended(&mut self, id: RequestId, failure: Option<RequestFailure>, now: Instant) {
        let Some(request) = self.requests.get(&id) else {
            return;
        };
        let short = request.left > 0;
        let Some(peer) = self.forget_request(id, now) else {
            return;
        };
        match failure {
            Some(RequestFailure::BadData) => self.ban(peer, BanReason::BadData, now),
            // A request that was refused because a choke is on its way says nothing against the peer.
            Some(RequestFailure::Refused) => self.pause_peer(peer, Duration::from_millis(250), now),
            Some(RequestFailure::Timeout | RequestFailure::Gone) => {
                self.pause_peer(peer, Duration::from_secs(1), now);
            }
            None if short => self.pause_peer(peer, Duration::from_secs(1), now),
            None => {}
        }
    }

    /// Peers whose silence is too long lose all their requests and are left alone for a while.
    fn check_stalls(&mut self, now: Instant) {
        let stalled: Vec<Peer> = self
            .peers
            .iter()
            .filter(|(_, state)| {
                let oldest = state
                    .requests
                    .iter()
                    .filter_map(|id| self.requests.get(id))
                    .map(|r| r.sent)
                    .min();
                oldest.is_some_and(|since| state.score.stalls_at(since) <= now)
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
            state.dry = None;
        }
    }

    // Peers.

    fn peer_connected(&mut self, peer: Peer, id: PeerId, now: Instant) {
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
                interest: 0,
                greeted: false,
                choking: true,
                counted: false,
                score: Score::new(now),
                requests: BTreeSet::new(),
                outstanding: 0,
                urgent: 0,
                dry: None,
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

    fn remove_peer(&mut self, peer: Peer, now: Instant) {
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

    fn ban(&mut self, peer: Peer, reason: BanReason, now: Instant) {
        if self.peers.contains_key(&peer) {
            self.remove_peer(peer, now);
            self.outputs.push_back(Output::Ban { peer, reason });
        }
    }

    /// Whether there is something new in it that we want.
    fn peer_have(&mut self, peer: Peer, runs: &[BlockRun], now: Instant) -> bool {
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
        self.seeds += usize::from(!lacks && !was_seed);
        self.uploads.set_interested(peer, lacks, now, &mut self.outputs);
        wanted
    }

    fn set_choking(&mut self, peer: Peer, choking: bool, now: Instant) {
        let Some(state) = self.peers.get_mut(&peer) else {
            return;
        };
        state.choking = choking;
        state.dry = None;
        let counts = !choking && state.score.paused_until(now).is_none();
        self.count_holder(peer, counts);
    }

    fn pause_peer(&mut self, peer: Peer, time: Duration, now: Instant) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.score.pause(time, now);
            self.count_holder(peer, false);
        }
    }

    /// Whether the peer's haves count: those of peers that would not serve us do not.
    fn count_holder(&mut self, peer: Peer, counts: bool) {
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

    fn peer_request(&mut self, peer: Peer, request: UploadId, run: BlockRun, urgency: Urgency, now: Instant) {
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
        let sole = allowed.is_ok() && {
            let first = self.layout.span(run).start;
            self.peers.values().all(|p| !p.have.get(first))
        };
        let asked = Queued {
            request,
            run,
            urgency,
            sole,
        };
        self.uploads.request(peer, asked, allowed, now, &mut self.outputs);
    }

    // What neighbours are told.

    fn tell(&mut self, block: u32, now: Instant) {
        if self.peers.is_empty() {
            return;
        }
        match self.news.last_mut() {
            Some(last) if last.end == block => last.end += 1,
            _ => self.news.push(block..block + 1),
        }
        self.flush_at.get_or_insert(now + BATCH);
    }

    fn flush(&mut self) {
        self.flush_at = None;
        let mut news = std::mem::take(&mut self.news);
        news.sort_by_key(|span| span.start);
        let mut merged: Vec<Range<u32>> = Vec::with_capacity(news.len());
        for span in news {
            match merged.last_mut() {
                // Consecutive numbers of two files are two runs.
                Some(last)
                    if last.end >= span.start
                        && self.layout.run(last.clone()).file == self.layout.run(span.clone()).file =>
                {
                    last.end = last.end.max(span.end);
                }
                _ => merged.push(span),
            }
        }
        if !merged.is_empty() && !self.peers.is_empty() {
            let runs = merged.into_iter().map(|span| self.layout.run(span)).collect();
            self.outputs.push_back(Output::SendHave {
                to: Audience::Everyone,
                runs,
            });
        }
        self.flush_claims();
    }
}
