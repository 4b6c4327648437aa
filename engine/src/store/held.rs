//! What a store holds: which blocks, the bytes of those that are on their way to the disk, and what its threads share.
//!
//! Not here: what is written when (`writer`), what is given to whom (the store).

use super::backing::Backing;
use super::checked::Checked;
use super::recent::Recent;
use crate::swarm::{BLOCK_SIZE, BlockRun};
use crate::verify::Verifier;
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Which blocks are held, and the bytes of those that are not written yet, or were just now.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) bits: Bits,
    pub(super) bytes: u64,
    /// Of them the bytes of wanted files.
    pub(super) wanted: u64,
    pub(super) pending: HashMap<u32, Bytes>,
    pub(super) recent: Recent,
}

/// A set of block numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bits(pub(super) Vec<u64>);

impl Bits {
    pub(super) fn new(len: u32) -> Self {
        Self(vec![0; len.div_ceil(64) as usize])
    }

    pub(super) fn get(&self, i: u32) -> bool {
        self.0
            .get(i as usize / 64)
            .is_some_and(|w| w >> (i % 64) & 1 == 1)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.iter().all(|&word| word == 0)
    }

    pub(super) fn set(&mut self, i: u32, to: bool) {
        if let Some(w) = self.0.get_mut(i as usize / 64) {
            if to {
                *w |= 1 << (i % 64);
            } else {
                *w &= !(1 << (i % 64));
            }
        }
    }
}

pub(super) struct Shared {
    pub(super) backing: Box<dyn Backing>,
    pub(super) path: PathBuf,
    /// Whether it is the store's own, and no file of somebody else's that is only read.
    pub(super) is_own: bool,
    pub(super) verifier: Arc<Verifier>,
    pub(super) held: Mutex<Held>,
    /// Held while a piece is read and hashed whole: many may ask for one at a time, and each takes memory.
    pub(super) hashing: Arc<tokio::sync::Mutex<()>>,
    /// Counts changes of what is held.
    pub(super) changed: watch::Sender<u64>,
    /// How the files were when they were known to be right: a person may change one that is only read, or has another name.
    pub(super) checked: Mutex<Checked>,
    /// Held while a file is hashed again: whoever else reads it waits for what comes of that.
    pub(super) rehashing: Mutex<()>,
}

impl Shared {
    /// Taken before `held` where both are.
    pub(super) fn checked(&self) -> MutexGuard<'_, Checked> {
        // Each file's entry is right by itself.
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn held(&self) -> MutexGuard<'_, Held> {
        // Each change under the lock is whole before anything can panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets blocks, and gives them as runs.
    pub(super) fn lose(&self, mut blocks: Vec<u32>) -> Vec<BlockRun> {
        blocks.sort_unstable();
        blocks.dedup();
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

    pub(super) fn read_block(&self, block: u32) -> io::Result<Bytes> {
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
    pub(super) fn in_memory(&self, block: u32) -> Option<&Bytes> {
        self.pending.get(&block).or_else(|| self.recent.get(block))
    }

    /// A block is written.
    pub(super) fn written(&mut self, block: u32) {
        if let Some(data) = self.pending.remove(&block) {
            self.recent.add(block, data);
        }
    }

    /// Counts a block that came or went.
    pub(super) fn count(&mut self, verifier: &Verifier, block: u32, here: bool) {
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
pub(super) fn consecutive(blocks: impl IntoIterator<Item = u32>) -> Vec<(u32, u32)> {
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
pub(super) fn runs(verifier: &Verifier, blocks: impl IntoIterator<Item = u32>) -> Vec<BlockRun> {
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

/// EIO, which has no kind of its own.
pub(super) const DAMAGE: i32 = 5;

/// Whether an error says that the bytes are not there, and not that they cannot be had now.
pub(super) fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof) || error.raw_os_error() == Some(DAMAGE)
}
