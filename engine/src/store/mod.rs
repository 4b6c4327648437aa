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
//! - content whose size or times differ from what `state` says is hashed again, and synced, before anything is
//!   claimed;
//! - at most about [`SYNC_BYTES`] or [`SYNC_AFTER`] of data is not yet claimed (the file itself survives a killed
//!   process, so a restart finds even that by hashing).
//!
//! Lock order: `rehashing`, `checked`, `held`. No lock is held across an await, and `held` never during I/O. `checked` is held while files
//! are looked at, and while one gets a name or permissions; `rehashing` while one is hashed again.

mod again;
mod backing;
mod checked;
mod folder;
mod held;
mod opening;
mod own;
mod recent;
mod state;
mod writer;

use held::{Shared, is_damage, runs};
use writer::Command;

use crate::swarm::{BLOCK_SIZE, BlockRun, FileIndex};
use crate::verify::VerifiedBlock;
use bytes::{Bytes, BytesMut};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

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
        if disk::is_full(&source) {
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

/// A torrent's content. Cheap to clone; the last clone to go stops the writer.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    commands: std::sync::mpsc::Sender<Command>,
    room: Arc<Semaphore>,
    thread: Arc<Mutex<Option<std::thread::JoinHandle<()>>>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.shared.path)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// The content file, or the folder of several.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Gives the content, which must be complete and flushed, another name, so that it takes no more space; of several
    /// files this one, which is at `inside` of their folder. Whoever has that name may change what is there: the store never writes
    /// to it any more, and gives nothing of it once it was changed. What else is done with the name is to be done in
    /// [`Store::touch`]. An error where the file system cannot do it, or when the content is not the store's own. Blocks.
    pub fn link(&self, file: FileIndex, inside: &Path, to: &Path) -> io::Result<()> {
        if !self.shared.is_own {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // What is in memory would not show a change.
        self.shared.held().recent.clear();
        let mut from = self.shared.path.clone();
        from.extend(inside);
        self.touch(file, || std::fs::hard_link(from, to))
    }

    /// Does something with a name or the permissions of a file of the content. That moves the time of its last change, which is
    /// then no reason to hash it again. Blocks; so do readers of the content until it is done.
    pub fn touch<T>(&self, file: FileIndex, doing: impl FnOnce() -> T) -> T {
        let shared = &self.shared;
        let blocks = shared.verifier.span(BlockRun::new(file.0, 0, 1));
        let start = u64::from(blocks.start) * u64::from(BLOCK_SIZE);
        // Nothing is known of a file without bytes.
        let place = (!blocks.is_empty()).then(|| shared.backing.files(start..start + 1).next());
        let Some(place) = place.flatten() else {
            return doing();
        };
        let (done, moved) = shared.checked().touch(shared.backing.as_ref(), place, doing);
        if moved {
            // A closed store has written its record.
            let _ = self.commands.send(Command::Renew);
        }
        done
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
        let commands = self.commands.clone();
        let read = tokio::task::spawn_blocking(move || {
            let read = shared.read(&blocks);
            // A writer that is gone has said its last word already.
            let tell = |command| _ = commands.send(command);
            if shared.is_own && !read.lost.is_empty() {
                // It is fetched again.
                tell(Command::Lose(read.lost));
            }
            if read.is_renewed {
                tell(Command::Renew);
            }
            read.blocks.map_err(|error| match error {
                StoreError::Different { .. } => {
                    let error = Arc::new(error);
                    tell(Command::Broke(error.clone()));
                    StoreError::Broken(error)
                }
                // Another read may be luckier.
                error => error,
            })
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

#[cfg(test)]
mod again_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod tests;
