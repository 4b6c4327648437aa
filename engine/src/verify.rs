//! Where unverified bytes become [`VerifiedBlock`]s, and the hash trees that decide it.
//!
//! Invariants: a `VerifiedBlock` is made nowhere else, and only from bytes whose SHA-256 is a leaf that leads to the
//! metainfo's root; the trees hold only verified nodes. The lock over the trees is held while hashes are looked up or
//! put in, never while content is hashed and never across an await.
//!
//! Blocks are called here, in the store and in the assembler by their number through the torrent: piece × blocks in a
//! piece + place in it ([`Layout::span`]). Each file begins a piece, so a number may have no block; its length is 0.
//!
//! Not for storing or moving bytes.

use crate::merkle::{self, Hash, PieceTree, Proof, ProofError};
use crate::metainfo::{File, Metainfo};
use crate::swarm::{BLOCK_SIZE, BlockRun, FileIndex, Layout, LayoutError, PieceIndex};
use bytes::Bytes;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A block whose hash was checked.
#[derive(Clone, Debug)]
pub struct VerifiedBlock {
    number: u32,
    run: BlockRun,
    data: Bytes,
}

impl VerifiedBlock {
    /// Its number through the torrent.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Its bytes: 16 KiB, or fewer at the end of its file.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The run of this block alone.
    pub fn run(&self) -> BlockRun {
        self.run
    }
}

/// Why bytes or hashes are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The block's leaf is not known: it cannot be judged alone.
    #[error("the hash of block {0} is not known yet")]
    UnknownLeaf(u32),
    /// The bytes are not those of the block.
    #[error("block {0} does not match its hash")]
    WrongBlock(u32),
    /// The bytes are not those of the piece.
    #[error("piece {0} does not match its hash")]
    WrongPiece(u32),
    /// A block of the wrong length, or outside its file.
    #[error("block {0} cannot have {1} bytes")]
    WrongLength(u32, usize),
    /// The hashes do not lead to the piece's root.
    #[error("wrong hashes: {0}")]
    Proof(#[from] ProofError),
}

/// Why content cannot be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum UnsupportedError {
    /// No piece layers.
    #[error("it does not hold the piece layers")]
    NoLayers,
    /// No possible layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// The trees of one torrent, shared by all who bring or serve its blocks.
#[derive(Debug)]
pub struct Verifier {
    layout: Arc<Layout>,
    trees: Mutex<Vec<PieceTree>>,
}

impl Verifier {
    /// The verifier of a torrent, with the piece roots known and nothing below them.
    pub fn new(metainfo: &Metainfo) -> Result<Self, UnsupportedError> {
        Self::wanting(metainfo, None)
    }

    /// The same for a torrent of which only these files are wanted; `None` wants all.
    pub fn wanting(metainfo: &Metainfo, files: Option<&[FileIndex]>) -> Result<Self, UnsupportedError> {
        let lengths: Vec<u64> = metainfo.files().iter().map(File::length).collect();
        let piece_length = u32::try_from(metainfo.piece_length()).unwrap_or(u32::MAX);
        let mut layout = Layout::new(&lengths, piece_length)?;
        if let Some(files) = files {
            layout = layout.wanting(files);
        }
        let mut trees = Vec::with_capacity(layout.pieces() as usize);
        for (file, length) in lengths.iter().enumerate() {
            for piece in 0..length.div_ceil(u64::from(piece_length)) as u32 {
                trees.push(
                    metainfo
                        .piece_tree(file, piece)
                        .ok_or(UnsupportedError::NoLayers)?,
                );
            }
        }
        Ok(Self {
            layout: Arc::new(layout),
            trees: Mutex::new(trees),
        })
    }

    /// The layout of the content.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Bytes of all files.
    pub fn length(&self) -> u64 {
        self.layout.total_bytes()
    }

    /// How many numbers of blocks there are; see [`Layout::numbers`].
    pub fn numbers(&self) -> u32 {
        self.layout.numbers()
    }

    /// Bytes of a block: 16 KiB, fewer for the last of a file, 0 where there is no block.
    pub fn block_len(&self, block: u32) -> usize {
        if block >= self.numbers() {
            return 0;
        }
        self.layout.run_bytes(self.layout.run(block..block + 1)) as usize
    }

    /// Whether there is such a block and its file is wanted.
    pub fn wants(&self, block: u32) -> bool {
        self.block_len(block) > 0 && self.layout.wants_piece(PieceIndex(self.piece_of(block)))
    }

    /// The numbers of a run inside its file; empty for any other.
    pub fn span(&self, run: BlockRun) -> Range<u32> {
        if self.layout.contains(run) {
            self.layout.span(run)
        } else {
            0..0
        }
    }

    /// The numbers of a piece's blocks.
    pub fn piece_blocks(&self, piece: u32) -> Range<u32> {
        self.layout.piece_span(piece)
    }

    /// The piece of a block.
    pub fn piece_of(&self, block: u32) -> u32 {
        block / self.layout.piece_blocks()
    }

    fn verified(&self, number: u32, data: Bytes) -> VerifiedBlock {
        let run = self.layout.run(number..number + 1);
        VerifiedBlock { number, run, data }
    }

    fn trees(&self) -> MutexGuard<'_, Vec<PieceTree>> {
        // A tree is consistent after each of its own methods, whatever panicked around them.
        self.trees.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in the proof of a run (inside one piece), or refuses it whole.
    pub fn insert_proof(&self, run: BlockRun, leaves: &[Hash], uncles: &[Hash]) -> Result<(), VerifyError> {
        if !self.layout.is_request(run) {
            return Err(VerifyError::WrongLength(run.first.0, 0));
        }
        let (piece, within) = self.within_piece(run);
        self.trees()[piece as usize].insert(within, leaves, uncles)?;
        Ok(())
    }

    /// The leaf of a block, when it is known.
    pub fn leaf(&self, block: u32) -> Option<Hash> {
        if self.block_len(block) == 0 {
            return None;
        }
        let place = block % self.layout.piece_blocks();
        self.trees().get(self.piece_of(block) as usize)?.leaf(place)
    }

    /// The hashes that prove a run inside one piece; `None` while some of its leaves are unknown.
    pub fn proof(&self, run: BlockRun) -> Option<Proof> {
        if !self.layout.is_request(run) {
            return None;
        }
        let (piece, within) = self.within_piece(run);
        self.trees()[piece as usize].proof(within)
    }

    /// The piece of a run that is a request, and the run's place in it.
    fn within_piece(&self, run: BlockRun) -> (u32, Range<u32>) {
        let span = self.layout.span(run);
        let start = span.start % self.layout.piece_blocks();
        (self.piece_of(span.start), start..start + run.count)
    }

    /// Checks a block whose leaf is known.
    pub fn check_block(&self, block: u32, data: Bytes) -> Result<VerifiedBlock, VerifyError> {
        if data.is_empty() || data.len() != self.block_len(block) {
            return Err(VerifyError::WrongLength(block, data.len()));
        }
        let leaf = self.leaf(block).ok_or(VerifyError::UnknownLeaf(block))?;
        if merkle::hash_block(&data) != leaf {
            return Err(VerifyError::WrongBlock(block));
        }
        Ok(self.verified(block, data))
    }

    /// Checks what is new of a piece that is now whole: `parts` has an entry for each block of the piece, the bytes
    /// or `None` for a block that is held already (its leaf is known, then). All parts are right, or none is taken.
    pub fn check_piece(
        &self,
        piece: u32,
        parts: &[Option<Bytes>],
    ) -> Result<Vec<VerifiedBlock>, VerifyError> {
        let blocks = self.piece_blocks(piece);
        let mut leaves = Vec::with_capacity(parts.len());
        for (block, part) in blocks.clone().zip(parts) {
            leaves.push(match part {
                Some(data) if data.len() == self.block_len(block) => merkle::hash_block(data),
                Some(data) => return Err(VerifyError::WrongLength(block, data.len())),
                None => self.leaf(block).ok_or(VerifyError::UnknownLeaf(block))?,
            });
        }
        match self.trees()[piece as usize].insert(0..blocks.len() as u32, &leaves, &[]) {
            Ok(()) => {}
            Err(_) => return Err(VerifyError::WrongPiece(piece)),
        }
        Ok(blocks
            .zip(parts)
            .filter_map(|(block, part)| part.as_ref().map(|data| self.verified(block, data.clone())))
            .collect())
    }

    /// Which blocks of a piece that was read from a disk are right. `data` is the piece's bytes, or as much as the
    /// disk has of them. A whole right piece fills the tree; otherwise only blocks with known leaves count.
    pub fn check_stored(&self, piece: u32, data: &[u8]) -> Vec<u32> {
        let blocks = self.piece_blocks(piece);
        let leaves: Vec<(u32, Hash)> = blocks
            .clone()
            .zip(data.chunks(BLOCK_SIZE as usize))
            .filter(|(block, bytes)| bytes.len() == self.block_len(*block))
            .map(|(block, bytes)| (block, merkle::hash_block(bytes)))
            .collect();
        if leaves.len() == blocks.len() {
            let all: Vec<Hash> = leaves.iter().map(|(_, leaf)| *leaf).collect();
            if self.trees()[piece as usize]
                .insert(0..blocks.len() as u32, &all, &[])
                .is_ok()
            {
                return blocks.collect();
            }
        }
        leaves
            .into_iter()
            .filter(|(block, leaf)| self.leaf(*block) == Some(*leaf))
            .map(|(block, _)| block)
            .collect()
    }

    /// The verified nodes of a piece, for the store to write down.
    pub fn nodes(&self, piece: u32) -> Vec<(u32, [Hash; 2])> {
        self.trees()[piece as usize].pairs().collect()
    }

    /// Takes back what [`Verifier::nodes`] gave; what does not verify is left out.
    pub fn restore(&self, piece: u32, nodes: Vec<(u32, [Hash; 2])>) {
        self.trees()[piece as usize].restore(nodes);
    }
}
