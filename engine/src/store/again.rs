//! Reads from the disk, of files that somebody else may have a name of: what is given was there while the file was what was checked.
//!
//! Where a file may have been edited ([`Seen::Touched`]) it is hashed again, one at a time and without the lock of what is known: whoever
//! reads it, or is about to write to it, waits for that, and nobody else. What cannot be read of it is lost, as in any other read.

use super::StoreError;
use super::checked::Seen;
use super::held::{Shared, is_damage};
use super::opening::{Hashed, hash};
use crate::swarm::BLOCK_SIZE;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::PoisonError;

/// How often a file is hashed again for one read, when it is touched again and again meanwhile.
const TRIES: usize = 4;

/// What came of a read.
#[derive(Debug)]
pub(super) struct Read {
    /// The bytes of each block, or why there are none. [`StoreError::Different`] when nothing more is to be given of it at all.
    pub(super) blocks: Result<Vec<Bytes>, StoreError>,
    /// What is lost.
    pub(super) lost: Vec<u32>,
    /// Whether the record is old.
    pub(super) is_renewed: bool,
}

impl Read {
    fn new() -> Self {
        Self {
            blocks: Ok(Vec::new()),
            lost: Vec::new(),
            is_renewed: false,
        }
    }
}

impl Shared {
    /// Reads blocks, which all are held.
    pub(super) fn read(&self, blocks: &Range<u32>) -> Read {
        let mut read = Read::new();
        read.blocks = self.read_into(blocks, &mut read);
        read
    }

    fn read_into(&self, blocks: &Range<u32>, read: &mut Read) -> Result<Vec<Bytes>, StoreError> {
        for _ in 0..TRIES {
            let read_block = |block| {
                self.read_block(block).inspect_err(|e| {
                    if is_damage(e) {
                        read.lost.push(block);
                    }
                })
            };
            let all = blocks.clone().map(read_block).collect::<io::Result<Vec<_>>>();
            let all = all.map_err(|e| self.unreadable(blocks, e))?;
            // Of several files only theirs are looked at, since there may be thousands.
            match self.look(blocks)? {
                Seen::Same => return Ok(all),
                Seen::Changed => return Err(self.different("it was changed while it was being served")),
                Seen::Touched(_) => {
                    self.hash_again(blocks, read)?;
                    if read.lost.iter().any(|block| blocks.contains(block)) {
                        let why =
                            io::Error::other("it may have been changed, and a place near it cannot be read");
                        return Err(StoreError::io("reading", &self.path, why));
                    }
                }
            }
        }
        Err(self.busy())
    }

    fn busy(&self) -> StoreError {
        let why = io::Error::new(io::ErrorKind::ResourceBusy, "somebody changes it all the time");
        StoreError::io("reading", &self.path, why)
    }

    /// Judges what others may have done to the files of these blocks, which the store is about to write to: afterwards nothing would show it.
    /// Gives what is lost of them.
    pub(super) fn settle(&self, blocks: &Range<u32>) -> Result<Vec<u32>, StoreError> {
        let mut read = Read::new();
        for _ in 0..TRIES {
            match self.look(blocks)? {
                Seen::Same => return Ok(read.lost),
                Seen::Changed => return Err(self.different("it was changed while it was being written")),
                Seen::Touched(_) => self.hash_again(blocks, &mut read)?,
            }
        }
        Err(self.busy())
    }

    /// What it means that these blocks cannot be read. Of a file that is served where it lies the end may have been cut off, and
    /// then nothing of it is to be had any more; what is ours is fetched again.
    fn unreadable(&self, blocks: &Range<u32>, error: io::Error) -> StoreError {
        match self.look(blocks) {
            Ok(Seen::Changed) if !self.is_own => self.different("it was changed while it was being served"),
            _ => StoreError::io("reading", &self.path, error),
        }
    }

    /// Compares the files of these blocks with what was checked.
    fn look(&self, blocks: &Range<u32>) -> Result<Seen, StoreError> {
        let offset = |block: u32| u64::from(block) * u64::from(BLOCK_SIZE);
        self.checked()
            .compare(self.backing.as_ref(), offset(blocks.start)..offset(blocks.end))
            .map_err(|e| StoreError::io("looking at", &self.path, e))
    }

    fn hash_again(&self, blocks: &Range<u32>, read: &mut Read) -> Result<(), StoreError> {
        let _one_at_a_time = self.rehashing.lock().unwrap_or_else(PoisonError::into_inner);
        // Another reader may just have done it.
        let Seen::Touched(files) = self.look(blocks)? else {
            return Ok(());
        };
        for (file, found) in files {
            tracing::info!(path = %self.path.display(), file, "hashing again what may have been changed");
            read.lost.extend(self.check_again(self.backing.extent(file))?);
            self.checked().know(file, found);
            read.is_renewed = true;
        }
        Ok(())
    }

    /// Checks by hashing that a file has every block of it that is held; `bytes` are its offsets. Gives those that are lost: they cannot
    /// be read, or not be judged without others of their piece that cannot.
    fn check_again(&self, bytes: Range<u64>) -> Result<Vec<u32>, StoreError> {
        let (verifier, file) = (&self.verifier, self.backing.as_ref());
        let piece_length = u64::from(verifier.layout().piece_length());
        let end = bytes
            .end
            .min(u64::from(verifier.layout().pieces()) * piece_length);
        let pieces = (bytes.start / piece_length) as u32..end.div_ceil(piece_length) as u32;
        // What arrives while this reads is not judged by what was read.
        let on_disk: Vec<u32> = {
            let held = self.held();
            let all = pieces.clone().flat_map(|piece| verifier.piece_blocks(piece));
            all.filter(|block| held.bits.get(*block) && !held.pending.contains_key(block))
                .collect()
        };
        let Hashed {
            right,
            unreadable,
            error,
        } = hash(file, &self.path, verifier, pieces, |_, _| Ok(()))?;
        if let (Some(e), true) = (error, right.is_empty()) {
            // Not some bad places: nothing of it can be read now, and it may be whole.
            return Err(StoreError::io("reading", &self.path, e));
        }
        let damaged: BTreeSet<u32> = unreadable
            .into_iter()
            .map(|block| verifier.piece_of(block))
            .collect();
        let (lost, wrong): (Vec<u32>, Vec<u32>) = on_disk
            .into_iter()
            .filter(|block| !right.get(*block))
            .partition(|&block| damaged.contains(&verifier.piece_of(block)));
        if !wrong.is_empty() {
            return Err(self.different("it was changed while it was being served"));
        }
        if !lost.is_empty() && !self.is_own {
            // Nobody writes there what is right.
            return Err(self.different("it may have been changed, and not all of it can be read"));
        }
        Ok(lost)
    }

    fn different(&self, why: &str) -> StoreError {
        StoreError::Different {
            path: self.path.clone(),
            why: why.to_owned(),
        }
    }
}
