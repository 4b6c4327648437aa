//! Where unverified bytes become [`VerifiedBlock`]s, and the hash trees that decide it.
//!
//! Invariants: a `VerifiedBlock` is made nowhere else, and only from bytes whose SHA-256 is a leaf that leads to the
//! metainfo's root; the trees hold only verified nodes. The lock over the trees is held while hashes are looked up or
//! put in, never while content is hashed and never across an await.
//!
//! Not for storing or moving bytes. One content file (index 0): [`Verifier::new`] refuses others.

use crate::merkle::{self, Hash, PieceTree, Proof, ProofError};
use crate::metainfo::Metainfo;
use crate::swarm::{BLOCK_SIZE, BlockIndex, BlockRun, FileIndex, Layout, LayoutError, PieceIndex};
use bytes::Bytes;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A block whose hash was checked.
#[derive(Clone, Debug)]
pub struct VerifiedBlock {
    index: BlockIndex,
    data: Bytes,
}

impl VerifiedBlock {
    /// Which block of the file.
    pub fn index(&self) -> BlockIndex {
        self.index
    }

    /// Its bytes: 16 KiB, or fewer at the end of the file.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The run of this block alone.
    pub fn run(&self) -> BlockRun {
        BlockRun {
            file: FileIndex(0),
            first: self.index,
            count: 1,
        }
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
    /// A block of the wrong length, or outside the file.
    #[error("block {0} cannot have {1} bytes")]
    WrongLength(u32, usize),
    /// The hashes do not lead to the piece's root.
    #[error("wrong hashes: {0}")]
    Proof(#[from] ProofError),
}

/// Why content cannot be verified at all.
#[derive(Debug, thiserror::Error)]
pub enum UnsupportedError {
    /// More than one file.
    #[error("it has {0} files, and only single files can be delivered")]
    Files(usize),
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
    length: u64,
    trees: Mutex<Vec<PieceTree>>,
}

impl Verifier {
    /// The verifier of a torrent's only file, with the piece roots known and nothing below them.
    pub fn new(metainfo: &Metainfo) -> Result<Self, UnsupportedError> {
        let files = metainfo.files();
        let [file] = files else {
            return Err(UnsupportedError::Files(files.len()));
        };
        let piece_length = u32::try_from(metainfo.piece_length()).unwrap_or(u32::MAX);
        let layout = Arc::new(Layout::new(&[file.length()], piece_length)?);
        let trees = (0..layout.pieces())
            .map(|piece| metainfo.piece_tree(0, piece).ok_or(UnsupportedError::NoLayers))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            layout,
            length: file.length(),
            trees: Mutex::new(trees),
        })
    }

    /// The layout of the content.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Blocks of the file.
    pub fn blocks(&self) -> u32 {
        self.layout.file_blocks(FileIndex(0))
    }

    /// Bytes of a block: 16 KiB, fewer for the last, 0 outside the file.
    pub fn block_len(&self, block: u32) -> usize {
        let start = u64::from(block) * u64::from(BLOCK_SIZE);
        self.length.saturating_sub(start).min(u64::from(BLOCK_SIZE)) as usize
    }

    /// The blocks of a piece, counted in the file.
    pub fn piece_blocks(&self, piece: u32) -> Range<u32> {
        let run = self.layout.piece_run(PieceIndex(piece));
        run.first.0..run.first.0 + run.count
    }

    /// The piece of a block.
    pub fn piece_of(&self, block: u32) -> u32 {
        block / self.layout.piece_blocks()
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
        let piece = self.piece_of(run.first.0);
        let start = run.first.0 - self.piece_blocks(piece).start;
        self.trees()[piece as usize].insert(start..start + run.count, leaves, uncles)?;
        Ok(())
    }

    /// The leaf of a block, when it is known.
    pub fn leaf(&self, block: u32) -> Option<Hash> {
        let piece = self.piece_of(block);
        if block >= self.blocks() {
            return None;
        }
        self.trees()
            .get(piece as usize)?
            .leaf(block - self.piece_blocks(piece).start)
    }

    /// The hashes that prove a run inside one piece; `None` while some of its leaves are unknown.
    pub fn proof(&self, run: BlockRun) -> Option<Proof> {
        if !self.layout.is_request(run) {
            return None;
        }
        let piece = self.piece_of(run.first.0);
        let start = run.first.0 - self.piece_blocks(piece).start;
        self.trees()[piece as usize].proof(start..start + run.count)
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
        Ok(VerifiedBlock {
            index: BlockIndex(block),
            data,
        })
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
            .filter_map(|(block, part)| {
                part.as_ref().map(|data| VerifiedBlock {
                    index: BlockIndex(block),
                    data: data.clone(),
                })
            })
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
