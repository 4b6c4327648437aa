//! The thread that owns a store's disk: writes, syncs, records.
//!
//! It answers commands in order, and after blocks it takes a short rest, so that it is woken once for many. While the disk is full it keeps the block at hand and tries again, so that nothing
//! that was accepted is dropped; askers wait for room meanwhile.

use super::backing::Disk;
use super::held::{Bits, Shared, consecutive};
use super::state::{self, Addition, Record, StateFile};
use super::{SYNC_AFTER, SYNC_BYTES, StoreError, StoreEvent};
use crate::metainfo::InfoHash;
use crate::swarm::{BLOCK_SIZE, BlockRun};
use crate::verify::VerifiedBlock;
use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// What blocks are gathered for, [`GATHERINGS`] times: as long as packets are ([`crate::net`]).
pub(super) const GATHER: Duration = Duration::from_millis(12);
const GATHERINGS: usize = 2;
/// With so many waiting no more are gathered: who brings them waits for room with [`super::MAX_PENDING_BLOCKS`].
const ENOUGH: usize = super::MAX_PENDING_BLOCKS / 8;
/// Blocks that are written before it is looked whether to sync.
const AT_ONCE: usize = (SYNC_BYTES / BLOCK_SIZE as u64) as usize;
/// Neighbouring blocks that are written with one call.
const TOGETHER: usize = 16;
/// How long what was written last stays in memory when nothing more is written.
pub(super) const RESTS: Duration = Duration::from_secs(10);
/// How long to wait before a full disk is tried again.
const RETRY_FULL: Duration = Duration::from_millis(500);

pub(super) enum Command {
    Write(VerifiedBlock, OwnedSemaphorePermit),
    Flush(oneshot::Sender<Result<(), Arc<StoreError>>>),
    /// These blocks are not on the disk as they should be.
    Lose(Vec<u32>),
    /// The record does not say how the files are now. It is written anew with what else is to be recorded, or a while later: many
    /// files may be touched at once.
    Renew,
    /// The content cannot be used any more.
    Broke(Arc<StoreError>),
    Close,
}

/// Where a store keeps its record.
pub(super) struct Home {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) folder: PathBuf,
    /// How long blocks are gathered before they are written: they are held meanwhile.
    pub(super) gather: Duration,
    /// How long what was written last stays in memory when nothing more is written.
    pub(super) rests: Duration,
    /// Held as long as this lives.
    pub(super) _lock: File,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    /// None for files that are only read.
    home: Option<Home>,
    info_hash: InfoHash,
    /// What is synced: what the record may claim.
    safe: Bits,
    /// Written since the last sync.
    unsynced: Vec<u32>,
    unsynced_bytes: u64,
    /// Since when the record lacks something.
    behind_since: Option<Instant>,
    /// The record on the disk, when it was written by us and only lacks [`Self::unrecorded`].
    record: Option<StateFile>,
    /// Synced since the record was written or added to.
    unrecorded: Vec<u32>,
    /// Why nothing can be written for now.
    full: Option<Arc<StoreError>>,
    /// Blocks wait because the disk refused the first of them.
    stuck: bool,
    broken: Option<Arc<StoreError>>,
    events: mpsc::Sender<StoreEvent>,
    /// Room for neighbours that are written at once.
    together: Vec<u8>,
}

/// Blocks that are to be written, each with the room that it takes until it is.
type Waiting = VecDeque<(VerifiedBlock, OwnedSemaphorePermit)>;

/// Takes in the blocks that are there. Gives the first command for something else, and whether that were all.
fn take_in(inbox: &Receiver<Command>, waiting: &mut Waiting) -> (Option<Command>, bool) {
    while waiting.len() < AT_ONCE {
        match inbox.try_recv() {
            Ok(Command::Write(block, room)) => waiting.push_back((block, room)),
            other => return (other.ok(), true),
        }
    }
    (None, false)
}

/// How many of the first blocks follow each other in one file, as far as they are written at once.
fn neighbours(waiting: &Waiting) -> usize {
    let pairs = waiting.iter().zip(waiting.iter().skip(1)).take(TOGETHER - 1);
    let follows = |one: &VerifiedBlock, next: &VerifiedBlock| {
        let (one, next) = (one.run(), next.run());
        one.file == next.file && one.first.0 + 1 == next.first.0
    };
    let far = pairs.take_while(|((one, _), (next, _))| follows(one, next));
    far.count() + 1
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        home: Option<Home>,
        info_hash: InfoHash,
        safe: Bits,
        events: mpsc::Sender<StoreEvent>,
    ) -> Self {
        Self {
            shared,
            home,
            info_hash,
            safe,
            unsynced: Vec::new(),
            unsynced_bytes: 0,
            behind_since: None,
            record: None,
            unrecorded: Vec::new(),
            full: None,
            stuck: false,
            broken: None,
            events,
            together: Vec::new(),
        }
    }

    pub(super) fn run(mut self, inbox: &Receiver<Command>) {
        let mut waiting = Waiting::new();
        let mut next = None;
        // Whether all that was accepted so far has been taken in.
        let mut caught_up = true;
        loop {
            let pause = if self.full.is_some() {
                RETRY_FULL
            } else {
                let rests = self.home.as_ref().map_or(RESTS, |home| home.rests);
                match self.behind_since {
                    Some(since) => SYNC_AFTER.saturating_sub(since.elapsed()),
                    None if self.shared.held().recent.is_empty() => Duration::from_secs(3600),
                    None => rests,
                }
            };
            match next.take().map_or_else(|| inbox.recv_timeout(pause), Ok) {
                Ok(Command::Write(block, room)) => {
                    waiting.push_back((block, room));
                    if self.full.is_some() {
                        continue;
                    }
                    if caught_up {
                        next = self.gather(inbox, &mut waiting);
                    }
                    if next.is_none() {
                        (next, caught_up) = take_in(inbox, &mut waiting);
                    }
                }
                Ok(Command::Flush(done)) => {
                    self.write_all(&mut waiting);
                    let result = self.sync();
                    let _ = done.send(match (result, &self.broken) {
                        (Ok(()), None) => Ok(()),
                        (Ok(()), Some(e)) => Err(e.clone()),
                        (Err(e), _) => Err(e),
                    });
                    continue;
                }
                Ok(Command::Lose(blocks)) => {
                    let runs = self.take_back(blocks);
                    // The record on the disk still claims them; what cannot be written is tried again.
                    let _ = self.sync();
                    self.tell_lost(runs);
                    continue;
                }
                Ok(Command::Renew) => {
                    // Additions say how all files are too, but there may be nothing to add.
                    self.record = None;
                    self.behind_since.get_or_insert_with(Instant::now);
                    if self.full.is_some() {
                        continue;
                    }
                }
                Ok(Command::Broke(error)) => {
                    self.broke(error);
                    continue;
                }
                Ok(Command::Close) | Err(RecvTimeoutError::Disconnected) => {
                    self.write_all(&mut waiting);
                    // What could not be made safe is not claimed; its event has been sent.
                    let _ = self.sync();
                    return;
                }
                Err(RecvTimeoutError::Timeout) if self.behind_since.is_none() => {
                    self.shared.held().recent.clear();
                    self.together = Vec::new();
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.write_all(&mut waiting);
            let due = self
                .behind_since
                .is_some_and(|since| since.elapsed() >= SYNC_AFTER);
            if due || self.unsynced_bytes >= SYNC_BYTES || self.full.is_some() {
                let _ = self.sync();
            }
        }
    }

    /// Rests while blocks come, so that the thread is woken once for many. Gives the first command that is for something else, which
    /// ends the rest.
    fn gather(&self, inbox: &Receiver<Command>, waiting: &mut Waiting) -> Option<Command> {
        let gather = self.home.as_ref()?.gather;
        for _ in 0..GATHERINGS {
            std::thread::sleep(gather);
            let (other, _) = take_in(inbox, waiting);
            if other.is_some() || waiting.len() >= ENOUGH {
                return other;
            }
        }
        None
    }

    fn tell(&self, event: StoreEvent) {
        // Nobody listens any more when the torrent has stopped.
        let _ = self.events.blocking_send(event);
    }

    /// Writes what waits, until the disk refuses.
    fn write_all(&mut self, waiting: &mut Waiting) {
        waiting.make_contiguous().sort_by_key(|(block, _)| block.number());
        // Of neighbours that could not be written at once, each by itself shows which of them it was.
        let mut singly = 0_usize;
        while let Some((block, _)) = waiting.front() {
            let index = block.number();
            let count = if singly > 0 { 1 } else { neighbours(waiting) };
            match self.write(waiting.iter().take(count).map(|(block, _)| block)) {
                Ok(()) => {
                    let mut held = self.shared.held();
                    for (block, _) in waiting.drain(..count) {
                        self.unsynced_bytes += block.data().len() as u64;
                        self.unsynced.push(block.number());
                        held.written(block.number());
                    }
                    self.behind_since.get_or_insert_with(Instant::now);
                    singly = singly.saturating_sub(1);
                    continue;
                }
                Err(_) if count > 1 => {
                    singly = count;
                    continue;
                }
                Err(error) if matches!(*error, StoreError::Full { .. }) => {
                    self.became_full(&error);
                    self.stuck = true;
                    return;
                }
                Err(error) => {
                    self.lose(vec![index]);
                    self.broke(error);
                }
            }
            waiting.pop_front();
            singly = singly.saturating_sub(1);
        }
        self.stuck = false;
    }

    /// Writes blocks that follow each other in a file.
    fn write<'a>(
        &mut self,
        blocks: impl ExactSizeIterator<Item = &'a VerifiedBlock>,
    ) -> Result<(), Arc<StoreError>> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let mut blocks = blocks.peekable();
        let Some(first) = blocks.peek().map(|first| first.number()) else {
            return Ok(());
        };
        let offset = u64::from(first) * u64::from(BLOCK_SIZE);
        let end = offset + blocks.len() as u64 * u64::from(BLOCK_SIZE);
        let lost = self.shared.settle(&(first..first + blocks.len() as u32));
        let lost = lost.map_err(Arc::new)?;
        if !lost.is_empty() {
            self.lose(lost);
        }
        let backing = self.shared.backing.as_ref();
        self.shared.checked().writing(backing, offset..end);
        let written = if blocks.len() == 1 {
            blocks.try_for_each(|block| self.shared.backing.write_all_at(block.data(), offset))
        } else {
            self.together.clear();
            blocks.for_each(|block| self.together.extend_from_slice(block.data()));
            self.shared.backing.write_all_at(&self.together, offset)
        };
        written.map_err(|e| Arc::new(StoreError::io("writing", &self.shared.path, e)))
    }

    fn became_full(&mut self, error: &Arc<StoreError>) {
        if self.full.is_none() {
            self.full = Some(error.clone());
            self.tell(StoreEvent::Full(error.clone()));
        }
    }

    fn broke(&mut self, error: Arc<StoreError>) {
        if self.broken.is_none() {
            self.broken = Some(error.clone());
            self.tell(StoreEvent::Failed(error));
        }
    }

    fn lose(&mut self, blocks: Vec<u32>) {
        let runs = self.take_back(blocks);
        self.tell_lost(runs);
    }

    /// Forgets what the disk could not read when a file was copied: the whole piece, where nothing else tells its other blocks apart. What
    /// waits to be written is in memory.
    fn lose_unread(&mut self) {
        let unread = self.shared.backing.unread();
        let verifier = &self.shared.verifier;
        let mut blocks = Vec::new();
        {
            let held = self.shared.held();
            let is_on_disk = |block: &u32| held.bits.get(*block) && !held.pending.contains_key(block);
            for part in unread {
                let block = (part.start / u64::from(BLOCK_SIZE)) as u32;
                if !is_on_disk(&block) {
                    continue;
                }
                if verifier.proof(verifier.layout().run(block..block + 1)).is_some() {
                    blocks.push(block);
                } else {
                    let all = verifier.piece_blocks(verifier.piece_of(block));
                    blocks.extend(all.filter(is_on_disk));
                }
            }
        }
        if !blocks.is_empty() {
            tracing::warn!(path = %self.shared.path.display(), "a place that cannot be read is fetched again");
            self.lose(blocks);
        }
    }

    fn take_back(&mut self, blocks: Vec<u32>) -> Vec<BlockRun> {
        for &block in &blocks {
            self.safe.set(block, false);
        }
        // Additions only add.
        self.record = None;
        self.shared.lose(blocks)
    }

    fn tell_lost(&self, runs: Vec<BlockRun>) {
        if !runs.is_empty() {
            self.tell(StoreEvent::Lost(runs));
        }
    }

    /// Syncs the data, then writes the record that claims it. Fails while blocks wait for a full disk.
    fn sync(&mut self) -> Result<(), Arc<StoreError>> {
        self.sync_written()?;
        if !self.stuck && self.full.take().is_some() {
            self.tell(StoreEvent::Writable);
        }
        self.full.clone().map_or(Ok(()), Err)
    }

    fn sync_written(&mut self) -> Result<(), Arc<StoreError>> {
        self.behind_since = None;
        let Some(home) = &self.home else {
            return Ok(());
        };
        let path = home.folder.join("state");
        self.lose_unread();
        if !self.unsynced.is_empty() {
            let blocks = std::mem::take(&mut self.unsynced);
            self.unsynced_bytes = 0;
            if let Err(e) = self.shared.backing.sync() {
                // The kernel may have dropped the dirty pages: whatever was written since the last good sync is gone.
                let error = Arc::new(StoreError::io("syncing", &self.shared.path, e));
                self.lose(blocks);
                if matches!(*error, StoreError::Full { .. }) {
                    self.became_full(&error);
                } else {
                    self.broke(error.clone());
                }
                return Err(error);
            }
            for &block in &blocks {
                self.safe.set(block, true);
            }
            self.unrecorded.extend(blocks);
        }
        self.write_record().map_err(|e| {
            let error = Arc::new(StoreError::io("recording", &path, e));
            // The old record stays, which claims less. Both kinds of trouble are tried again.
            self.became_full(&error);
            error
        })
    }

    /// Brings the record up to date: by an addition, or whole when that is not possible or grew long.
    fn write_record(&mut self) -> std::io::Result<()> {
        let Some(home) = &self.home else { return Ok(()) };
        let verifier = &self.shared.verifier;
        let stamp = || self.shared.checked().stamp(self.shared.backing.as_ref());
        match self.record.take_if(|record| !record.is_long()) {
            Some(record) if self.unrecorded.is_empty() => self.record = Some(record),
            Some(mut record) => {
                self.unrecorded.sort_unstable();
                let touched: BTreeSet<u32> = self.unrecorded.iter().map(|&b| verifier.piece_of(b)).collect();
                let addition = Addition {
                    stamp: stamp()?,
                    runs: consecutive(self.unrecorded.iter().copied()),
                    nodes: self.nodes_of(touched),
                };
                record.add(&addition)?;
                self.record = Some(record);
            }
            None => {
                let record = Record {
                    stamp: stamp()?,
                    bits: self.safe.clone(),
                    nodes: self.nodes_of(0..verifier.layout().pieces()),
                };
                self.record = Some(state::save(
                    home.disk.as_ref(),
                    &home.folder,
                    self.info_hash,
                    &record,
                )?);
            }
        }
        self.unrecorded.clear();
        Ok(())
    }

    /// The verified nodes of those of these pieces that are held in part.
    fn nodes_of(&self, pieces: impl IntoIterator<Item = u32>) -> Vec<(u32, state::Nodes)> {
        let verifier = &self.shared.verifier;
        let unfinished = |piece: &u32| {
            let blocks = verifier.piece_blocks(*piece);
            let held = blocks.clone().filter(|&b| self.safe.get(b)).count();
            held > 0 && held < blocks.len()
        };
        pieces
            .into_iter()
            .filter(unfinished)
            .map(|piece| (piece, verifier.nodes(piece)))
            .collect()
    }
}
