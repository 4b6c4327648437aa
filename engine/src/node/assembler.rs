//! Blocks from a web seed that cannot be judged yet.
//!
//! An origin carries no hashes. A block whose leaf is unknown waits here until its leaf becomes known or its piece is
//! whole: every other block waits here too or is held. Bounded by what fetches are running: the driver discards
//! what no running fetch can complete. The lock is held only to move bytes in and out.

use crate::store::Store;
use crate::verify::{VerifiedBlock, Verifier, VerifyError};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Debug)]
pub(super) struct Assembler {
    verifier: Arc<Verifier>,
    store: Store,
    pieces: Mutex<HashMap<u32, Partial>>,
}

#[derive(Debug, Default)]
struct Partial {
    parts: HashMap<u32, (usize, Bytes)>,
}

/// What judging brought.
#[derive(Debug, Default)]
pub(super) struct Judged {
    pub(super) right: Vec<VerifiedBlock>,
    /// Seeds that sent something right, and something wrong, each once.
    pub(super) right_seeds: Vec<usize>,
    pub(super) wrong_seeds: Vec<usize>,
    pub(super) wrong_bytes: u64,
    /// It was of several seeds, and which of them sent something wrong is not known.
    pub(super) is_mixed: bool,
}

impl Assembler {
    pub(super) fn new(verifier: Arc<Verifier>, store: Store) -> Self {
        Self {
            verifier,
            store,
            pieces: Mutex::default(),
        }
    }

    fn pieces(&self) -> MutexGuard<'_, HashMap<u32, Partial>> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a block until it can be judged. Gives the bytes that it replaces.
    pub(super) fn add(&self, seed: usize, block: u32, data: Bytes) -> u64 {
        let piece = self.verifier.piece_of(block);
        let old = self
            .pieces()
            .entry(piece)
            .or_default()
            .parts
            .insert(block, (seed, data));
        old.map_or(0, |(_, data)| data.len() as u64)
    }

    /// How many blocks of a piece wait.
    pub(super) fn waiting(&self, piece: u32) -> usize {
        self.pieces().get(&piece).map_or(0, |partial| partial.parts.len())
    }

    /// Judges what can be judged of a piece. Hashes: call it where that is allowed.
    pub(super) fn judge(&self, piece: u32) -> Judged {
        let mut judged = Judged::default();
        let blocks = self.verifier.piece_blocks(piece);
        // Whoever takes the parts out judges them; others find nothing and go on.
        let (ready, whole) = {
            let mut pieces = self.pieces();
            let Some(partial) = pieces.get_mut(&piece) else {
                return judged;
            };
            let whole = blocks
                .clone()
                .all(|b| partial.parts.contains_key(&b) || self.store.has_block(b));
            let ready: HashMap<u32, (usize, Bytes)> = if whole {
                std::mem::take(&mut partial.parts)
            } else {
                partial
                    .parts
                    .extract_if(|&block, _| self.verifier.leaf(block).is_some())
                    .collect()
            };
            if partial.parts.is_empty() {
                pieces.remove(&piece);
            }
            (ready, whole)
        };
        let mut unknown = false;
        for (&block, (seed, data)) in &ready {
            match self.verifier.check_block(block, data.clone()) {
                Ok(right) => {
                    judged.right.push(right);
                    note(&mut judged.right_seeds, *seed);
                }
                Err(VerifyError::UnknownLeaf(_)) => unknown = true,
                Err(_) => judged.blame(*seed, data.len()),
            }
        }
        if unknown && whole {
            let parts: Vec<Option<Bytes>> = blocks
                .map(|b| ready.get(&b).map(|(_, data)| data.clone()))
                .collect();
            judged.right.clear();
            judged.right_seeds.clear();
            if let Ok(right) = self.verifier.check_piece(piece, &parts) {
                judged.right = right;
                for (seed, _) in ready.values() {
                    note(&mut judged.right_seeds, *seed);
                }
            } else {
                let parts = ready.values();
                parts.for_each(|(seed, data)| judged.blame(*seed, data.len()));
                judged.is_mixed = judged.wrong_seeds.len() > 1;
            }
        }
        judged
    }

    /// Forgets what waits of a piece; gives its bytes.
    pub(super) fn discard(&self, piece: u32) -> u64 {
        let partial = self.pieces().remove(&piece);
        partial.map_or(0, |p| p.parts.values().map(|(_, data)| data.len() as u64).sum())
    }
}

impl Judged {
    fn blame(&mut self, seed: usize, bytes: usize) {
        self.wrong_bytes += bytes as u64;
        note(&mut self.wrong_seeds, seed);
    }
}

fn note(seeds: &mut Vec<usize>, seed: usize) {
    if !seeds.contains(&seed) {
        seeds.push(seed);
    }
}
