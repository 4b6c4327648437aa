//! One torrent's content on disk: only verified blocks, and a record that never claims more than is there.
//!
//! `DATA/store/<v2 info hash>/` holds `content` (the file, sparse until complete; of a torrent of several files the
//! folder of those that are wanted), `state` (which blocks are held and
//! the hashes of unfinished pieces) and `lock`. Blocks are written by a thread of this store; data is synced before
//! the state that claims it, and the state is written whole, synced and renamed, then added to. A block counts as held, and can be
//! read and served, from the moment it is accepted: until it is written its bytes are kept in memory (at most
//! [`MAX_PENDING_BLOCKS`]; then [`Store::put`] waits, which is how a slow or full disk slows the network).
//!
//! Invariants:
//! - only [`VerifiedBlock`]s are written;
//! - `state` claims a block only after a successful sync of its data;
//! - after a failed sync the blocks written since the last good one are not held any more ([`StoreEvent::Lost`]);
//! - content whose size or time differs from what `state` says is hashed again, and synced, before anything is
//!   claimed;
//! - at most about [`SYNC_BYTES`] or [`SYNC_AFTER`] of data is not yet claimed (the file itself survives a killed
//!   process, so a restart finds even that by hashing).
//!
//! The lock `held` is the only one; it is never held during I/O or across an await.

mod backing;
mod folder;
mod own;
mod recent;
mod state;
mod writer;

pub(crate) use backing::Backing;
use backing::{Disk, FileSystem, ReadOnly, Stamp};
use folder::Folder;
use recent::Recent;
use writer::{Command, GATHER, Home, RESTS, Writer};

use crate::metainfo::{InfoHash, Metainfo};
use crate::swarm::{BLOCK_SIZE, BlockRun, FileIndex, PieceIndex};
use crate::verify::{VerifiedBlock, Verifier};
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

/// Blocks that may wait in memory for the disk (16 MiB).
pub const MAX_PENDING_BLOCKS: usize = 1024;
/// Written bytes after which data and state are synced.
pub const SYNC_BYTES: u64 = 4 << 20;
/// Time after which written data is synced.
pub const SYNC_AFTER: Duration = Duration::from_secs(1);

/// Where the content is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Location {
    /// In the data folder.
    #[default]
    Store,
    /// A file, or the folder of several files, that is there already: it is checked, read, and never written.
    Existing(PathBuf),
}

/// Why content cannot be opened, written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it.
    #[error("{} is in use by another process{}", path.display(), holder(*pid))]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The process that holds the lock, when it says so.
        pid: Option<u32>,
    },
    /// The disk or a quota is full.
    #[error("writing {}: the disk is full ({source})", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file that was given is not the content.
    #[error("{} is not this content: {why}", path.display())]
    Different {
        /// The file.
        path: PathBuf,
        /// What differs.
        why: String,
    },
    /// The system refused.
    #[error("{doing} {}: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// It was found to be unusable before.
    #[error(transparent)]
    Broken(Arc<StoreError>),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

impl StoreError {
    fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            Self::Full { path, source }
        } else {
            Self::Io { doing, path, source }
        }
    }
}

/// What the store tells its torrent.
#[derive(Debug)]
pub enum StoreEvent {
    /// Blocks that were held are not any more: their data could not be made safe.
    Lost(Vec<BlockRun>),
    /// The disk is full; writing is tried again every second.
    Full(Arc<StoreError>),
    /// Writing works again.
    Writable,
    /// Something else is wrong with the disk; nothing more is written.
    Failed(Arc<StoreError>),
}

/// Which blocks are held, and the bytes of those that are not written yet, or were just now.
#[derive(Debug, Default)]
struct Held {
    bits: Bits,
    bytes: u64,
    /// Of them the bytes of wanted files.
    wanted: u64,
    pending: HashMap<u32, Bytes>,
    recent: Recent,
}

/// A set of block numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bits(Vec<u64>);

impl Bits {
    fn new(len: u32) -> Self {
        Self(vec![0; len.div_ceil(64) as usize])
    }

    fn get(&self, i: u32) -> bool {
        self.0
            .get(i as usize / 64)
            .is_some_and(|w| w >> (i % 64) & 1 == 1)
    }

    fn has_more_than(&self, other: &Self) -> bool {
        self.0
            .iter()
            .zip(&other.0)
            .any(|(ours, theirs)| ours & !theirs != 0)
    }

    fn set(&mut self, i: u32, to: bool) {
        if let Some(w) = self.0.get_mut(i as usize / 64) {
            if to {
                *w |= 1 << (i % 64);
            } else {
                *w &= !(1 << (i % 64));
            }
        }
    }
}

struct Shared {
    backing: Box<dyn Backing>,
    path: PathBuf,
    verifier: Arc<Verifier>,
    held: Mutex<Held>,
    /// Held while a piece is read and hashed whole: many may ask for one at a time, and each takes memory.
    hashing: Arc<tokio::sync::Mutex<()>>,
    /// Counts changes of what is held.
    changed: watch::Sender<u64>,
    /// Of what a person may change (a file that is only read, or one that has another name): as it was when it was
    /// checked, file by file.
    checked: OnceLock<Vec<(usize, Option<Stamp>)>>,
}

impl Shared {
    /// Whether blocks that were just read are still what was checked: a file that belongs to somebody else may change under us. Of
    /// several files only theirs are looked at, since there may be thousands.
    fn unchanged(&self, blocks: Range<u32>) -> Result<(), StoreError> {
        let Some(checked) = self.checked.get() else {
            return Ok(());
        };
        let offset = |block: u32| u64::from(block) * u64::from(BLOCK_SIZE);
        let now = self
            .backing
            .stamps(offset(blocks.start)..offset(blocks.end))
            .map_err(|e| StoreError::io("looking at", &self.path, e))?;
        if now.iter().all(|file| checked.get(file.0) == Some(file)) {
            return Ok(());
        }
        Err(StoreError::Different {
            path: self.path.clone(),
            why: "it was changed while it was being served".to_owned(),
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Each change under the lock is whole before anything can panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets blocks, and gives them as runs.
    fn lose(&self, mut blocks: Vec<u32>) -> Vec<BlockRun> {
        blocks.sort_unstable();
        {
            let mut held = self.held();
            blocks.retain(|&block| held.bits.get(block));
            for &block in &blocks {
                held.bits.set(block, false);
                held.count(&self.verifier, block, false);
                held.pending.remove(&block);
                held.recent.remove(block);
            }
        }
        self.changed.send_modify(|n| *n += 1);
        runs(&self.verifier, blocks)
    }

    fn read_block(&self, block: u32) -> io::Result<Bytes> {
        if let Some(bytes) = self.held().in_memory(block) {
            return Ok(bytes.clone());
        }
        let mut buffer = BytesMut::zeroed(self.verifier.block_len(block));
        self.backing
            .read_exact_at(&mut buffer, u64::from(block) * u64::from(BLOCK_SIZE))?;
        Ok(buffer.freeze())
    }
}

impl Held {
    fn in_memory(&self, block: u32) -> Option<&Bytes> {
        self.pending.get(&block).or_else(|| self.recent.get(block))
    }

    /// A block is written.
    fn written(&mut self, block: u32) {
        if let Some(data) = self.pending.remove(&block) {
            self.recent.add(block, data);
        }
    }

    /// Counts a block that came or went.
    fn count(&mut self, verifier: &Verifier, block: u32, here: bool) {
        let bytes = verifier.block_len(block) as u64;
        let wanted = if verifier.wants(block) { bytes } else { 0 };
        if here {
            (self.bytes, self.wanted) = (self.bytes + bytes, self.wanted + wanted);
        } else {
            (self.bytes, self.wanted) = (self.bytes - bytes, self.wanted - wanted);
        }
    }
}

/// Consecutive numbers, each with how many follow it; `blocks` is sorted.
fn consecutive(blocks: impl IntoIterator<Item = u32>) -> Vec<(u32, u32)> {
    let mut all: Vec<(u32, u32)> = Vec::new();
    for block in blocks {
        match all.last_mut() {
            Some((first, count)) if *first + *count == block => *count += 1,
            _ => all.push((block, 1)),
        }
    }
    all
}

/// Consecutive blocks of a file as runs; `blocks` is sorted.
fn runs(verifier: &Verifier, blocks: impl IntoIterator<Item = u32>) -> Vec<BlockRun> {
    let mut runs: Vec<BlockRun> = Vec::new();
    for block in blocks {
        let one = verifier.layout().run(block..block + 1);
        match runs.last_mut() {
            Some(run) if run.file == one.file && run.first.0 + run.count == one.first.0 => run.count += 1,
            _ => runs.push(one),
        }
    }
    runs
}

/// A torrent's content. Cheap to clone; the last clone to go stops the writer.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    commands: std::sync::mpsc::Sender<Command>,
    room: Arc<Semaphore>,
    thread: Arc<Mutex<Option<std::thread::JoinHandle<()>>>>,
    is_own: bool,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.shared.path)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens or creates the content of a torrent below `data`, or checks a file that is there. Blocks: run it where
    /// blocking is allowed. It reads and hashes the whole file when the record does not fit it, or to `recheck` it.
    pub fn open(
        data: &Path,
        metainfo: &Metainfo,
        verifier: Arc<Verifier>,
        location: &Location,
        recheck: bool,
    ) -> Result<(Self, mpsc::Receiver<StoreEvent>), StoreError> {
        let info_hash = metainfo.info_hash_v2();
        match location {
            Location::Store => {
                let folder = data.join("store").join(info_hash.to_string());
                let disk = FileSystem { home: folder.clone() };
                disk.create_folders(&folder)
                    .map_err(|e| StoreError::io("creating", &folder, e))?;
                let home = Home {
                    _lock: lock(&folder)?,
                    disk: Arc::new(disk),
                    folder,
                    gather: GATHER,
                    rests: RESTS,
                };
                Self::at_home(home, metainfo, verifier, recheck)
            }
            Location::Existing(path) => Self::existing(path, metainfo, verifier),
        }
    }

    /// Removes what is kept of a torrent below `data`, and gives its bytes on the disk; nothing when nothing is kept.
    /// An error while it is open anywhere. Blocks.
    pub fn remove(data: &Path, info_hash: InfoHash) -> Result<Option<u64>, StoreError> {
        let folder = data.join("store").join(info_hash.to_string());
        if !folder.is_dir() {
            return Ok(None);
        }
        // It is released with its file, which goes with the folder.
        let _lock = lock(&folder)?;
        let bytes = size(&folder).map_err(|e| StoreError::io("looking at", &folder, e))?;
        std::fs::remove_dir_all(&folder).map_err(|e| StoreError::io("removing", &folder, e))?;
        Ok(Some(bytes))
    }

    fn existing(
        path: &Path,
        metainfo: &Metainfo,
        verifier: Arc<Verifier>,
    ) -> Result<(Self, mpsc::Receiver<StoreEvent>), StoreError> {
        let different = |path: &Path, why: String| StoreError::Different {
            path: path.to_owned(),
            why,
        };
        let length_of = |path: &Path| {
            std::fs::metadata(path)
                .map(|metadata| metadata.len())
                .map_err(|e| StoreError::io("opening", path, e))
        };
        let wrong_length = |found: u64, length: u64| format!("it has {found} bytes, not {length}");
        let backing: Box<dyn Backing> = if metainfo.is_single_file() {
            let found = length_of(path)?;
            if found != verifier.length() {
                return Err(different(path, wrong_length(found, verifier.length())));
            }
            Box::new(File::open(path).map_err(|e| StoreError::io("opening", path, e))?)
        } else {
            for (index, file) in metainfo.files().iter().enumerate() {
                if file.length() == 0 || !verifier.layout().wants_file(FileIndex(index as u32)) {
                    continue;
                }
                let part = path.join(file.path().iter().collect::<PathBuf>());
                let found = length_of(&part)?;
                if found != file.length() {
                    return Err(different(&part, wrong_length(found, file.length())));
                }
            }
            Box::new(Folder::new(Arc::new(ReadOnly), path, metainfo))
        };
        // Before the check, so that a change during it shows too.
        let stamps = backing
            .stamps(0..u64::MAX)
            .map_err(|e| StoreError::io("looking at", path, e))?;
        let (bits, unreadable) = hash_all(backing.as_ref(), path, &verifier, |_, _| Ok(()))?;
        if let Some(e) = unreadable {
            return Err(StoreError::io("reading", path, e));
        }
        let mut wanted = (0..verifier.numbers()).filter(|&block| verifier.wants(block));
        if let Some(block) = wanted.find(|&block| !bits.get(block)) {
            let file = verifier.layout().run(block..block + 1).file.0 as usize;
            let mut part = path.to_owned();
            if !metainfo.is_single_file() {
                part.extend(metainfo.files()[file].path());
            }
            return Err(different(
                &part,
                format!("piece {} has another hash", verifier.piece_of(block)),
            ));
        }
        Ok(Self::start(
            backing,
            path.to_owned(),
            None,
            metainfo.info_hash_v2(),
            verifier,
            bits,
            Some(stamps),
        ))
    }

    /// Opens with any kind of disk below.
    fn at_home(
        home: Home,
        metainfo: &Metainfo,
        verifier: Arc<Verifier>,
        recheck: bool,
    ) -> Result<(Self, mpsc::Receiver<StoreEvent>), StoreError> {
        let info_hash = metainfo.info_hash_v2();
        let path = home.folder.join("content");
        let single = metainfo.is_single_file();
        let backing = if single {
            home.disk
                .open(&path)
                .map_err(|e| StoreError::io("opening", &path, e))?
        } else {
            home.disk
                .create_folders(&path)
                .map_err(|e| StoreError::io("creating", &path, e))?;
            Box::new(Folder::new(home.disk.clone(), &path, metainfo))
        };
        let found = backing
            .stamp()
            .map_err(|e| StoreError::io("looking at", &path, e))?;
        let state = home.folder.join("state");
        let record = state::load(home.disk.as_ref(), &state, info_hash)
            .map_err(|e| StoreError::io("reading", &state, e))?;
        let mut bits = Bits::new(verifier.numbers());
        let mut check = found.length > 0;
        let mut claims_more = false;
        if let Some(record) = record {
            for (piece, nodes) in record.nodes {
                if piece < verifier.layout().pieces() {
                    verifier.restore(piece, nodes);
                }
            }
            if record.bits.0.len() == bits.0.len() {
                bits = record.bits;
                check = recheck || record.stamp != found;
            }
        }
        if check {
            tracing::info!(path = %path.display(), recheck, "checking the file against its hashes");
            let claimed = std::mem::take(&mut bits);
            bits = check_all(backing.as_ref(), &path, &verifier, &claimed)?;
            claims_more = claimed.has_more_than(&bits);
        }
        if single && found.length != verifier.length() {
            backing
                .set_len(verifier.length())
                .map_err(|e| StoreError::io("extending", &path, e))?;
        }
        let opened = Self::start(backing, path, Some(home), info_hash, verifier, bits, None);
        if claims_more {
            // Whoever opens it next must not believe the record that is there; nobody waits for the new one.
            let _ = opened.0.commands.send(Command::Flush(oneshot::channel().0));
        }
        Ok(opened)
    }

    fn start(
        backing: Box<dyn Backing>,
        path: PathBuf,
        home: Option<Home>,
        info_hash: InfoHash,
        verifier: Arc<Verifier>,
        bits: Bits,
        checked: Option<Vec<(usize, Option<Stamp>)>>,
    ) -> (Self, mpsc::Receiver<StoreEvent>) {
        let mut held = Held {
            bits: bits.clone(),
            ..Held::default()
        };
        for block in (0..verifier.numbers()).filter(|&block| bits.get(block)) {
            held.count(&verifier, block, true);
        }
        let shared = Arc::new(Shared {
            backing,
            path,
            verifier,
            held: Mutex::new(held),
            hashing: Arc::default(),
            changed: watch::Sender::new(0),
            checked: checked.map_or_else(OnceLock::new, OnceLock::from),
        });
        let (commands, inbox) = std::sync::mpsc::channel();
        let (events, outbox) = mpsc::channel(64);
        let is_own = home.is_some();
        let writer = Writer::new(shared.clone(), home, info_hash, bits, events);
        let thread = std::thread::spawn(move || writer.run(&inbox));
        let room = Arc::new(Semaphore::new(MAX_PENDING_BLOCKS));
        (
            Self {
                shared,
                commands,
                room,
                thread: Arc::new(Mutex::new(Some(thread))),
                is_own,
            },
            outbox,
        )
    }

    /// The content file, or the folder of several.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Gives the content, which must be complete and flushed, another name, so that it takes no more space; of several
    /// files the one at `inside` of their folder. Whoever has that name may change what is there: the store never writes
    /// to it any more, and gives nothing of it once it was changed. An error where the file system cannot do it, or when
    /// the content is not the store's own. Blocks.
    pub fn link(&self, inside: &Path, to: &Path) -> io::Result<()> {
        if !self.is_own {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // Before there is another name, so that every change shows.
        if self.shared.checked.get().is_none() {
            let stamps = self.shared.backing.stamps(0..u64::MAX)?;
            self.shared.checked.get_or_init(|| stamps);
        }
        self.shared.held().recent.clear();
        let mut from = self.shared.path.clone();
        from.extend(inside);
        std::fs::hard_link(from, to)
    }

    /// Accepts a block; from now on it is held. False when it was held already. Waits while too much waits for the
    /// disk.
    pub async fn put(&self, block: VerifiedBlock) -> Result<bool, StoreError> {
        Ok(self.put_all(vec![block]).await? > 0)
    }

    /// Accepts blocks, as [`Store::put`] does each, and gives the bytes of those that were not held.
    pub async fn put_all(&self, mut blocks: Vec<VerifiedBlock>) -> Result<u64, StoreError> {
        let mut taken = 0;
        while !blocks.is_empty() {
            let rest = blocks.split_off(blocks.len().min(MAX_PENDING_BLOCKS / 4));
            let wanted = std::mem::replace(&mut blocks, rest);
            let room = self
                .room
                .clone()
                .acquire_many_owned(wanted.len() as u32)
                .await
                .map_err(|_| StoreError::Closed)?;
            taken += self.accept(wanted, room)?;
        }
        Ok(taken)
    }

    fn accept(
        &self,
        mut blocks: Vec<VerifiedBlock>,
        mut room: OwnedSemaphorePermit,
    ) -> Result<u64, StoreError> {
        let mut taken = 0;
        {
            let mut held = self.shared.held();
            blocks.retain(|block| {
                let number = block.number();
                let new = !held.bits.get(number);
                if new {
                    held.bits.set(number, true);
                    held.count(&self.shared.verifier, number, true);
                    held.pending.insert(number, block.data().clone());
                    taken += block.data().len() as u64;
                }
                new
            });
        }
        if blocks.is_empty() {
            return Ok(0);
        }
        self.shared.changed.send_modify(|n| *n += 1);
        for block in blocks {
            // There is one permit for each block; those of blocks that were held go back with `room`.
            let Some(room) = room.split(1) else { break };
            self.commands
                .send(Command::Write(block, room))
                .map_err(|_| StoreError::Closed)?;
        }
        Ok(taken)
    }

    /// Whether a block is held.
    pub fn has_block(&self, block: u32) -> bool {
        self.shared.held().bits.get(block)
    }

    /// Whether all of these blocks are held.
    pub fn has_blocks(&self, blocks: Range<u32>) -> bool {
        let held = self.shared.held();
        blocks.into_iter().all(|block| held.bits.get(block))
    }

    /// Whether every block with a byte of the range of a file is held. The range is cut at the end of the file.
    pub fn has_bytes(&self, file: FileIndex, offset: u64, len: u64) -> bool {
        self.has_blocks(self.blocks_of(file, offset, len))
    }

    fn blocks_of(&self, file: FileIndex, offset: u64, len: u64) -> Range<u32> {
        let layout = self.shared.verifier.layout();
        let block = u64::from(BLOCK_SIZE);
        let end = offset
            .saturating_add(len)
            .min(layout.file_length(file).unwrap_or(0));
        if offset >= end {
            return 0..0;
        }
        let first = (offset / block) as u32;
        layout.span(BlockRun::new(file.0, first, end.div_ceil(block) as u32 - first))
    }

    /// Bytes that are held.
    pub fn held_bytes(&self) -> u64 {
        self.shared.held().bytes
    }

    /// Bytes of wanted files that are held.
    pub fn wanted_bytes(&self) -> u64 {
        self.shared.held().wanted
    }

    /// Bytes of wanted files that are held and not written yet.
    pub fn unwritten_bytes(&self) -> u64 {
        let held = self.shared.held();
        let waiting = held
            .pending
            .iter()
            .filter(|(block, _)| self.shared.verifier.wants(**block));
        waiting.map(|(_, data)| data.len() as u64).sum()
    }

    /// Whether everything that is wanted is held.
    pub fn is_complete(&self) -> bool {
        self.wanted_bytes() == self.shared.verifier.layout().wanted_bytes()
    }

    /// All that is held, in order.
    pub fn held_runs(&self) -> Vec<BlockRun> {
        let held = self.shared.held();
        let numbers = 0..self.shared.verifier.numbers();
        runs(
            &self.shared.verifier,
            numbers.filter(|&block| held.bits.get(block)),
        )
    }

    /// Changes whenever what is held changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changed.subscribe()
    }

    /// The blocks of a run that is held.
    pub async fn read_run(&self, run: BlockRun) -> Result<Vec<Bytes>, StoreError> {
        self.read_blocks(self.shared.verifier.span(run)).await
    }

    async fn read_blocks(&self, blocks: Range<u32>) -> Result<Vec<Bytes>, StoreError> {
        {
            // What was accepted a moment ago is relayed from memory, without a thread hop.
            let held = self.shared.held();
            if let Some(all) = blocks.clone().map(|b| held.in_memory(b).cloned()).collect() {
                return Ok(all);
            }
        }
        let shared = self.shared.clone();
        let (commands, is_own) = (self.commands.clone(), self.is_own);
        let read = tokio::task::spawn_blocking(move || {
            let read_block = |block| {
                shared.read_block(block).inspect_err(|e| {
                    if is_own && is_damage(e) {
                        // It is fetched again. A writer that is gone has said its last word already.
                        let _ = commands.send(Command::Lose(vec![block]));
                    }
                })
            };
            let read = blocks
                .clone()
                .map(read_block)
                .collect::<io::Result<Vec<_>>>()
                .map_err(|e| StoreError::io("reading", &shared.path, e))?;
            if let Err(error) = shared.unchanged(blocks) {
                let error = Arc::new(error);
                // A writer that is gone has said its last word already.
                let _ = commands.send(Command::Broke(error.clone()));
                return Err(StoreError::Broken(error));
            }
            Ok(read)
        });
        read.await.map_err(|_| StoreError::Closed)?
    }

    /// Bytes of a file, all of which must be held; fewer at its end.
    pub async fn read_bytes(&self, file: FileIndex, offset: u64, len: u64) -> Result<Bytes, StoreError> {
        let blocks = self.blocks_of(file, offset, len);
        if blocks.is_empty() {
            return Ok(Bytes::new());
        }
        let length = self.shared.verifier.layout().file_length(file).unwrap_or(0);
        let skip = (offset % u64::from(BLOCK_SIZE)) as usize;
        let want = len.min(length - offset) as usize;
        let parts = self.read_blocks(blocks).await?;
        if let [one] = parts.as_slice() {
            return Ok(one.slice(skip..skip + want));
        }
        let mut all = BytesMut::with_capacity(skip + want);
        for part in parts {
            all.extend_from_slice(&part);
        }
        Ok(all.freeze().slice(skip..skip + want))
    }

    /// Makes sure that the leaves of a held run are known (a restart forgets those of whole pieces), by hashing its
    /// piece. False when the disk does not hold what it should: those blocks are lost, and told so.
    pub async fn ensure_leaves(&self, run: BlockRun) -> bool {
        let verifier = &self.shared.verifier;
        if verifier.proof(run).is_some() {
            return true;
        }
        let one_at_a_time = self.shared.hashing.clone().lock_owned().await;
        if verifier.proof(run).is_some() {
            return true;
        }
        let piece = verifier.piece_of(verifier.span(run).start);
        let (shared, commands) = (self.shared.clone(), self.commands.clone());
        let checked = tokio::task::spawn_blocking(move || {
            let blocks = shared.verifier.piece_blocks(piece);
            // What arrives while this reads is not judged by what was read.
            let held: Vec<u32> = {
                let held = shared.held();
                blocks.clone().filter(|&b| held.bits.get(b)).collect()
            };
            let mut data = BytesMut::new();
            for block in blocks {
                match shared.read_block(block) {
                    Ok(bytes) => data.extend_from_slice(&bytes),
                    Err(e) if held.contains(&block) && !is_damage(&e) => return,
                    Err(_) => break,
                }
            }
            let right = shared.verifier.check_stored(piece, &data);
            let wrong: Vec<u32> = held.into_iter().filter(|b| !right.contains(b)).collect();
            if !wrong.is_empty() {
                // A closed store has nobody left to tell.
                let _ = commands.send(Command::Lose(wrong));
            }
            drop(one_at_a_time);
        });
        checked.await.is_ok() && verifier.proof(run).is_some()
    }

    /// Makes everything that was accepted safe.
    pub async fn flush(&self) -> Result<(), Arc<StoreError>> {
        let (done, wait) = oneshot::channel();
        if self.commands.send(Command::Flush(done)).is_err() {
            return Err(Arc::new(StoreError::Closed));
        }
        wait.await.unwrap_or_else(|_| Err(Arc::new(StoreError::Closed)))
    }

    /// Flushes as far as possible, stops the writer and gives up the lock.
    pub async fn close(self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = self.commands.send(Command::Close);
        if let Some(thread) = thread {
            // An error means that the writer panicked, which its own message has told.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// Bytes on the disk that a folder and all below take alone: neither holes count nor files with another name.
fn size(folder: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let about = entry.metadata()?;
            if about.is_dir() {
                folders.push(entry.path());
            } else if about.nlink() == 1 {
                bytes += about.blocks() * 512;
            }
        }
    }
    Ok(bytes)
}

/// Takes the exclusive lock of a folder and writes our process id into it.
fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options
        .open(&path)
        .map_err(|e| StoreError::io("opening", &path, e))?;
    let taken = file.try_lock();
    if taken.is_ok() && !is_at(&file, &path) {
        // Whoever held it has removed the folder meanwhile, and others may hold the lock of a new one.
        return Err(StoreError::Locked {
            path: folder.to_owned(),
            pid: None,
        });
    }
    match taken {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file
                .read_to_string(&mut text)
                .ok()
                .and_then(|_| text.trim().parse().ok());
            return Err(StoreError::Locked {
                path: folder.to_owned(),
                pid,
            });
        }
        Err(TryLockError::Error(e)) => return Err(StoreError::io("locking", &path, e)),
    }
    // Who holds it is a courtesy: a full disk must not keep us from what is there.
    let _ = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Whether an open file is the one that stands at `path` now.
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let same = |one: &std::fs::Metadata, other: &std::fs::Metadata| {
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    };
    matches!((file.metadata(), std::fs::metadata(path)), (Ok(one), Ok(other)) if same(&one, &other))
}

/// Hashes the whole file. Blocks that are right and were not `synced` are written again and synced: they may still be
/// on their way to the disk, from a process that was killed, or never go there, after a sync that failed.
fn check_all(
    file: &dyn Backing,
    path: &Path,
    verifier: &Verifier,
    synced: &Bits,
) -> Result<Bits, StoreError> {
    let (bits, unreadable) = hash_all(file, path, verifier, |block, data| {
        if synced.get(block) {
            return Ok(());
        }
        file.write_all_at(data, u64::from(block) * u64::from(BLOCK_SIZE))
            .map_err(|e| StoreError::io("writing", path, e))
    })?;
    if let Some(e) = unreadable {
        let error = StoreError::io("reading", path, e);
        if bits.0.iter().all(|&word| word == 0) {
            // Not some bad places: nothing of it can be read now, and it may be whole.
            return Err(error);
        }
        tracing::warn!("{error}: what cannot be read is fetched again");
    }
    file.sync().map_err(|e| StoreError::io("syncing", path, e))?;
    Ok(bits)
}

/// Hashes the whole file, and shows each block that is right. What the disk cannot give is not right: its first error
/// comes back too.
fn hash_all(
    file: &dyn Backing,
    path: &Path,
    verifier: &Verifier,
    mut right: impl FnMut(u32, &[u8]) -> Result<(), StoreError>,
) -> Result<(Bits, Option<io::Error>), StoreError> {
    let mut bits = Bits::new(verifier.numbers());
    let piece_length = u64::from(verifier.layout().piece_length());
    let mut buffer = Vec::new();
    let mut unreadable = None;
    for piece in 0..verifier.layout().pieces() {
        let start = u64::from(piece) * piece_length;
        let run = verifier.layout().piece_run(PieceIndex(piece));
        let there = file
            .available(start)
            .map_err(|e| StoreError::io("looking at", path, e))?
            .min(verifier.layout().run_bytes(run));
        if there == 0 {
            continue;
        }
        buffer.resize(there as usize, 0);
        let mut bad = Vec::new();
        if let Err(e) = file.read_exact_at(&mut buffer, start) {
            if !is_damage(&e) {
                return Err(StoreError::io("reading", path, e));
            }
            unreadable.get_or_insert(e);
            // Block by block, to lose no more than has to be.
            for (block, part) in verifier
                .piece_blocks(piece)
                .zip(buffer.chunks_mut(BLOCK_SIZE as usize))
            {
                if file
                    .read_exact_at(part, u64::from(block) * u64::from(BLOCK_SIZE))
                    .is_err()
                {
                    part.fill(0);
                    bad.push(block);
                }
            }
        }
        for block in verifier.check_stored(piece, &buffer) {
            if bad.contains(&block) {
                continue;
            }
            bits.set(block, true);
            let at = (u64::from(block) * u64::from(BLOCK_SIZE) - start) as usize;
            right(block, &buffer[at..at + verifier.block_len(block)])?;
        }
    }
    Ok((bits, unreadable))
}

/// Whether an error says that the bytes are not there, and not that they cannot be had now.
fn is_damage(error: &io::Error) -> bool {
    // EIO, which has no kind of its own.
    matches!(error.kind(), io::ErrorKind::UnexpectedEof) || error.raw_os_error() == Some(5)
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
