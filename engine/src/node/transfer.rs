//! The tasks that move content: a request to a peer, an upload to a peer, a fetch from the origin.
//!
//! Each runs beside the driver, verifies before it stores, and reports in order over one channel. Aborting a task
//! withdraws its stream. They run on the thread that drives the sockets, so what takes time is elsewhere: hashing where
//! `hashing` says (several blocks at once: whatever has come meanwhile), reading on the blocking threads, writing on the store's.

use super::assembler::Assembler;
use super::hashing::Hasher;
use super::inbox::Msg;
use super::silent::Silent;
use crate::merkle::Hash;
use crate::net::{self, Connection, Moved, Reply, StreamError, priority};
use crate::origin::{Origin, Sink};
use crate::rate::Bucket;
use crate::store::Store;
use crate::swarm::{
    BlockRun, FetchId, FileIndex, Peer, RefuseReason, RequestFailure, RequestId, Source, UploadId, Urgency,
};
use crate::verify::{VerifiedBlock, Verifier, VerifyError};
use crate::wire::{ReplyHeader, ReplyStatus, Request};
use bytes::Bytes;
use quinn::SendStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};

/// Blocks sent in one turn of the uplink: 64 KiB keep the packets of one peer together.
const TURN: usize = 4;

/// A peer that takes neither the beginning of an upload nor a block of it for so long loses it: others wait for the place.
const UPLOAD_STALL: Duration = Duration::from_secs(20);
/// Nor does one keep it that takes fewer bytes a second than this.
const UPLOAD_TRICKLE: u64 = 4_096;

/// Bytes of content so far.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) from_origin: AtomicU64,
    pub(super) from_peers: AtomicU64,
    pub(super) wasted: AtomicU64,
    /// Of those, what came from the origin and was lost before it could be judged.
    pub(super) lost: AtomicU64,
    pub(super) uploaded: AtomicU64,
    pub(super) arrived: AtomicU64,
    pub(super) received: AtomicU64,
}

/// What all transfers of one torrent need.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) swarm: [u8; 32],
    pub(super) verifier: Arc<Verifier>,
    pub(super) store: Store,
    pub(super) assembler: Arc<Assembler>,
    pub(super) origin: Origin,
    pub(super) hasher: Arc<Hasher>,
    pub(super) counters: Counters,
    pub(super) silent: Silent,
    pub(super) up: Arc<Bucket>,
    pub(super) down: Arc<Bucket>,
    pub(super) moved: Moved,
    pub(super) driver: mpsc::Sender<Msg>,
}

impl Ground {
    async fn tell(&self, msg: Msg) {
        // The driver is gone when the torrent has stopped; then nobody wants to know.
        let _ = self.driver.send(msg).await;
    }

    fn waste(&self, bytes: u64) {
        self.counters.wasted.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes of the origin that cannot be judged any more.
    pub(super) fn lose(&self, bytes: u64) {
        self.waste(bytes);
        self.counters.lost.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Stores verified blocks and tells of them.
    async fn keep(&self, mut blocks: Vec<VerifiedBlock>, source: Source) -> bool {
        blocks.sort_unstable_by_key(VerifiedBlock::number);
        let bytes: u64 = blocks.iter().map(|b| b.data().len() as u64).sum();
        let runs = runs(&blocks);
        let Ok(taken) = self.store.put_all(blocks).await else {
            return false;
        };
        let counter = match source {
            Source::Origin => &self.counters.from_origin,
            _ => &self.counters.from_peers,
        };
        counter.fetch_add(taken, Ordering::Relaxed);
        self.waste(bytes - taken);
        for run in runs {
            // Also of what was held: whoever stored it may have been aborted before it could tell.
            self.tell(Msg::Verified { run, source }).await;
        }
        true
    }

    /// Checks consecutive blocks whose leaves are known: those that are right, up to the first that is not.
    async fn check(
        self: &Arc<Self>,
        first: u32,
        parts: Vec<Bytes>,
    ) -> (Vec<VerifiedBlock>, Option<VerifyError>) {
        let bytes: u64 = parts.iter().map(|p| p.len() as u64).sum();
        let (blocks, verifier) = (parts.len(), self.verifier.clone());
        let check = move || {
            let mut right = Vec::with_capacity(parts.len());
            for (block, part) in (first..).zip(parts) {
                match verifier.check_block(block, part) {
                    Ok(block) => right.push(block),
                    Err(e) => return (right, Some(e)),
                }
            }
            (right, None)
        };
        let (right, wrong) = self.hasher.run(blocks, check).await.unwrap_or_default();
        if wrong.is_some() {
            self.waste(bytes - right.iter().map(|b| b.data().len() as u64).sum::<u64>());
        }
        (right, wrong)
    }

    /// Judges what waits of a piece from the origin, now that something is new.
    async fn judge_piece(self: &Arc<Self>, piece: u32) -> bool {
        let waiting = self.assembler.waiting(piece);
        if waiting == 0 {
            return true;
        }
        let assembler = self.assembler.clone();
        let judging = self.hasher.run(waiting, move || assembler.judge(piece));
        let Some(judged) = judging.await else { return false };
        self.waste(judged.wrong_bytes);
        for seed in judged.right_seeds {
            self.origin.right_piece(seed);
        }
        for seed in judged.wrong_seeds {
            self.origin.wrong_piece(seed, piece, judged.is_mixed);
        }
        self.keep(judged.right, Source::Origin).await
    }
}

/// Consecutive blocks as runs; they are in order.
fn runs(blocks: &[VerifiedBlock]) -> Vec<BlockRun> {
    let mut runs: Vec<BlockRun> = Vec::new();
    for block in blocks {
        let one = block.run();
        match runs.last_mut() {
            Some(run) if run.file == one.file && run.first.0 + run.count == one.first.0 => run.count += 1,
            _ => runs.push(one),
        }
    }
    runs
}

/// The stream of a reply; what it received and did not keep is counted when it goes, however it goes.
struct Receiving<'a> {
    ground: &'a Ground,
    reply: Reply,
}

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        let rest = self.reply.buffered() as u64;
        self.ground.counters.received.fetch_add(rest, Ordering::Relaxed);
        self.ground.waste(rest);
    }
}

/// A request to a peer.
pub(super) async fn download(
    ground: Arc<Ground>,
    connection: Connection,
    peer: Peer,
    id: RequestId,
    run: BlockRun,
    urgency: Urgency,
    deadline: Option<Instant>,
) {
    let slack = deadline.map(|at| at.saturating_duration_since(Instant::now()));
    let request = Request {
        swarm: ground.swarm,
        run,
        urgency,
        slack,
    };
    let (failure, why) = match receive(&ground, &connection, peer, &request).await {
        Ok(()) => (None, None),
        Err((failure, why)) => (Some(failure), why),
    };
    ground.tell(Msg::RequestEnded { id, failure, why }).await;
}

async fn receive(
    ground: &Arc<Ground>,
    connection: &Connection,
    peer: Peer,
    request: &Request,
) -> Result<(), (RequestFailure, Option<String>)> {
    let broken = |e: StreamError| {
        let failure = if e.is_protocol() {
            RequestFailure::BadData
        } else {
            RequestFailure::Gone
        };
        (failure, e.is_protocol().then(|| e.to_string()))
    };
    let reply = net::open_request(connection, request).await.map_err(broken)?;
    let mut receiving = Receiving { ground, reply };
    let run = request.run;
    let header = receiving.reply.header(run.count).await.map_err(broken)?;
    if header.status != ReplyStatus::Ok {
        let busy = header.status == ReplyStatus::Refused(RefuseReason::Busy);
        let refused = if busy {
            RequestFailure::Busy
        } else {
            RequestFailure::Refused
        };
        return Err((refused, None));
    }
    let hashes = |list: &[[u8; 32]]| list.iter().map(|h| Hash(*h)).collect::<Vec<_>>();
    let bad = |e: &dyn std::fmt::Display| (RequestFailure::BadData, Some(e.to_string()));
    let verifier = &ground.verifier;
    verifier
        .insert_proof(run, &hashes(&header.leaves), &hashes(&header.uncles))
        .map_err(|e| bad(&e))?;
    let mut blocks = verifier.span(run);
    while !blocks.is_empty() {
        let first = blocks.start;
        let mut parts = Vec::new();
        while let Some(block) = blocks.next() {
            let len = verifier.block_len(block);
            let part = if parts.is_empty() {
                ground.down.take(len as u64).await;
                receiving.reply.block(len).await.map_err(broken)?
            } else if let Some(part) = receiving.reply.ready_block(len).map_err(broken)? {
                ground.down.take(len as u64).await;
                part
            } else {
                blocks.start = block;
                break;
            };
            ground.counters.received.fetch_add(len as u64, Ordering::Relaxed);
            parts.push(part);
        }
        if blocks.is_empty() {
            receiving.reply.end();
        }
        let (right, wrong) = ground.check(first, parts).await;
        if !ground.keep(right, Source::Peer(peer)).await {
            return Err((RequestFailure::Gone, None));
        }
        if let Some(e) = wrong {
            return Err(bad(&e));
        }
    }
    // What waits of this piece from the origin may have become whole, or its leaves known.
    ground
        .judge_piece(verifier.piece_of(verifier.span(run).start))
        .await;
    Ok(())
}

/// What the core decided about a request of a peer.
#[derive(Debug)]
pub(super) enum Decision {
    Serve(Urgency),
    Refuse(RefuseReason),
}

/// Waits for the decision, then answers. What is sent ends with the `life` of the neighbour that asked: its place is
/// another's then.
pub(super) async fn upload(
    ground: Arc<Ground>,
    connection: Connection,
    peer: Peer,
    id: UploadId,
    run: BlockRun,
    mut send: SendStream,
    (decision, mut life): (oneshot::Receiver<Decision>, watch::Receiver<()>),
) {
    let decision = tokio::select! {
        decision = decision => decision,
        _ = send.stopped() => {
            ground.tell(Msg::UploadCancelled { peer, id }).await;
            return;
        }
    };
    match decision {
        Ok(Decision::Serve(urgency)) => {
            let _ = send.set_priority(priority(urgency));
            let hurries = urgency == Urgency::Urgent;
            let _hurry = hurries.then(|| connection.hurry(run.count)).flatten();
            let served = tokio::select! {
                served = serve(&ground, run, &mut send) => served,
                // It can only fail: the peer was forgotten.
                _ = life.changed() => Err(StreamError::Short),
            };
            let bytes = served.unwrap_or_else(|_| {
                // Stopped, forgotten, or gone: the core only needs to know that it is over.
                let _ = send.reset(quinn::VarInt::from_u32(1));
                0
            });
            ground.tell(Msg::UploadEnded { peer, id, bytes }).await;
            if let Ok(None) = send.stopped().await {
                ground.counters.arrived.fetch_add(bytes, Ordering::Relaxed);
            }
        }
        // The peer that is not known any more gets a no as well.
        other => {
            let reason = match other {
                Ok(Decision::Refuse(reason)) => reason,
                _ => RefuseReason::Busy,
            };
            refuse(send, ReplyStatus::Refused(reason)).await;
        }
    }
}

/// Says no to a request. Who does not even take that loses it, as an upload is lost.
pub(super) async fn refuse(mut send: SendStream, status: ReplyStatus) {
    let header = ReplyHeader::no(status);
    let said = tokio::time::timeout(UPLOAD_STALL, net::send_reply_header(&mut send, &header)).await;
    // Either only fails on a stream that is over.
    let _ = match said {
        Ok(Ok(())) => send.finish(),
        Ok(Err(_)) => Ok(()),
        Err(_) => send.reset(quinn::VarInt::from_u32(1)),
    };
}

async fn serve(ground: &Ground, run: BlockRun, send: &mut SendStream) -> Result<u64, StreamError> {
    let known = ground.store.ensure_leaves(run).await;
    let proof = ground.verifier.proof(run).filter(|_| known);
    let header = match &proof {
        Some(proof) => ReplyHeader {
            status: ReplyStatus::Ok,
            leaves: proof.leaves.iter().map(|h| h.0).collect(),
            uncles: proof.uncles.iter().map(|h| h.0).collect(),
        },
        None => ReplyHeader::no(ReplyStatus::Refused(RefuseReason::NotHeld)),
    };
    let begun = tokio::time::timeout(UPLOAD_STALL, net::send_reply_header(send, &header)).await;
    begun.map_err(|_| StreamError::Short)??;
    if proof.is_none() {
        let _ = send.finish();
        return Ok(0);
    }
    let Ok(blocks) = ground.store.read_run(run).await else {
        return Err(StreamError::Short);
    };
    let mut sent = 0;
    let mut waited = Duration::ZERO;
    for turn in blocks.chunks(TURN) {
        let bytes: u64 = turn.iter().map(|b| b.len() as u64).sum();
        ground.up.take(bytes).await;
        for block in turn {
            // Not a little now and then either: the time that it takes altogether counts.
            let fair = UPLOAD_STALL + Duration::from_secs(sent / UPLOAD_TRICKLE);
            let begun = Instant::now();
            let written =
                tokio::time::timeout(fair.saturating_sub(waited), send.write_chunk(block.clone())).await;
            written.map_err(|_| StreamError::Short)??;
            waited += begun.elapsed();
        }
        sent += bytes;
        ground.counters.uploaded.fetch_add(bytes, Ordering::Relaxed);
    }
    let _ = send.finish();
    Ok(sent)
}

/// A fetch from the origin.
pub(super) async fn fetch(ground: Arc<Ground>, id: FetchId, run: BlockRun) {
    let mut sink = FetchSink {
        ground: ground.clone(),
        id,
        file: run.file,
        began: false,
        unreported: 0,
        reported: Instant::now(),
    };
    let blocks = run.first.0..run.first.0 + run.count;
    let result = ground.origin.fetch(run.file.0 as usize, blocks, &mut sink).await;
    sink.report(true).await;
    ground.tell(Msg::FetchEnded { id, result }).await;
}

struct FetchSink {
    ground: Arc<Ground>,
    id: FetchId,
    file: FileIndex,
    /// Whether something of it came.
    began: bool,
    unreported: u64,
    reported: Instant,
}

impl FetchSink {
    async fn report(&mut self, all: bool) {
        let due = all || self.unreported >= 64 * 1024 || self.reported.elapsed() >= Duration::from_millis(50);
        if due && self.unreported > 0 {
            let bytes = std::mem::take(&mut self.unreported);
            self.reported = Instant::now();
            self.ground.tell(Msg::OriginBytes { id: self.id, bytes }).await;
        }
    }
}

impl Sink for FetchSink {
    fn wants(&self, block: u32) -> bool {
        self.number(block)
            .is_some_and(|number| !self.ground.store.has_block(number))
    }

    async fn block(&mut self, seed: usize, block: u32, data: Bytes) -> bool {
        self.report(false).await;
        let Some(block) = self.number(block) else {
            return false;
        };
        if self.ground.store.has_block(block) {
            self.ground.waste(data.len() as u64);
            // Somebody else was faster with this block; the rest may still be wanted.
            return true;
        }
        let replaced = self.ground.assembler.add(seed, block, data);
        self.ground.waste(replaced);
        let verifier = &self.ground.verifier;
        let piece = verifier.piece_of(block);
        let last = block + 1 == verifier.piece_blocks(piece).end;
        // Hashing is asked for when it can decide something: the leaf is known, or the piece may be whole.
        if last || verifier.leaf(block).is_some() || self.piece_is_whole(piece, block) {
            return self.ground.judge_piece(piece).await;
        }
        true
    }

    async fn waits(&mut self, waits: bool) {
        self.ground.tell(Msg::OriginWaits { id: self.id, waits }).await;
    }

    fn received(&mut self, bytes: u64) {
        self.unreported += bytes;
        // What an answer begins with may be all of it: the next request would wait while more is gathered.
        if std::mem::replace(&mut self.began, true) {
            self.ground.moved.add(bytes);
        }
        self.ground.counters.received.fetch_add(bytes, Ordering::Relaxed);
    }

    fn wasted(&mut self, bytes: u64) {
        self.ground.lose(bytes);
    }
}

impl FetchSink {
    /// The number through the torrent of a block of this file.
    fn number(&self, block: u32) -> Option<u32> {
        self.ground
            .verifier
            .span(BlockRun::new(self.file.0, block, 1))
            .next()
    }

    /// Whether all blocks of the piece after this one are held: the fetch will bring no more of it.
    fn piece_is_whole(&self, piece: u32, block: u32) -> bool {
        let end = self.ground.verifier.piece_blocks(piece).end;
        self.ground.store.has_blocks(block + 1..end)
    }
}
