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
//! Files: `blocks` and `readers` what is missing, and by when; `requests`, `peers`, `origin_fetches` what runs, `news`
//! what is told. Decisions: `pick` what to request, `offers` of whom, `endgame` what to ask for again; `choke` whom to serve, `in_time`
//! what comes too late to be served; `origin_duty` when to draw from the origin, `origin_urgent` what readers need at
//! once, `late_start` what a start takes back from peers, `origin_ease` whether it has time for the rest, `claims` how
//! it is told; `seed_duty` when to ask a seed that is spared; `budget` how much of it is our share; `burden` when others
//! should draw; `score` how good a peer is, `downlink` how fast our own line is; `neighbours` whom to be connected with.
//! `layout`, `types` and `bits` are the vocabulary, `audit` asserts that the books are right. Here: the state they
//! share, inputs and outputs.

#[cfg(any(test, fuzzing))]
mod audit;
mod bits;
mod blocks;
mod budget;
mod burden;
mod choke;
mod claims;
mod downlink;
mod endgame;
mod in_time;
mod late_start;
mod layout;
pub mod neighbours;
mod news;
mod offers;
mod origin_duty;
mod origin_ease;
mod origin_fetches;
mod origin_urgent;
mod peers;
mod pick;
mod readers;
mod recall;
mod requests;
mod score;
mod seed_duty;
mod size;
#[cfg(test)]
mod tests;
mod types;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;

use bits::{Bits, Members};
use blocks::Piece;
use choke::Uploads;
use downlink::Downlink;
pub use layout::{Layout, LayoutError};
use origin_fetches::Origin;
use peers::PeerState;
use readers::Reader;
use requests::Request;
use score::Score;
use size::Size;
pub use types::*;

/// How often time alone is looked at while something is missing.
const TICK: Duration = Duration::from_millis(100);
/// Longest wait for the first haves of a peer that is connected.
const GREETING: Duration = Duration::from_secs(1);

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
    downlink: Downlink,
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
    size: Size,
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
            downlink: Downlink::new(now),
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
            size: Size::new(now),
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
            Input::OriginWaits { fetch, waits } => self.origin_waits(fetch, waits, now),
            Input::OriginDone { fetch } => self.fetch_ended(fetch, None, now),
            Input::OriginFailed { fetch, reason } => self.fetch_ended(fetch, Some(reason), now),
            Input::OriginAgain => self.origin.end_pause(now),
            Input::SwarmSize(size) => self.size.hear(size, now),
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

    /// Whether the origin is left alone for a while, after failures.
    pub fn spares_origin(&self, now: Instant) -> bool {
        self.origin.pauses(now)
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
}
