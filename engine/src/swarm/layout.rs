//! Where the blocks are: files, pieces and blocks, and bit sets over them.
//!
//! Inside the core a block is one number: piece × blocks per piece + place in the piece. Each file begins a piece
//! (BEP 52), so the numbers of a file are consecutive and only a file's last piece has numbers with no block.

use std::ops::Range;

use super::types::{BLOCK_SIZE, BlockIndex, BlockRun, FileIndex, MAX_RUN_BLOCKS, PieceIndex};

/// Most blocks of a torrent: 64 TiB of address space would overflow a `u32`; this is 16 TiB.
const MAX_BLOCKS: u64 = 1 << 30;

/// Each set of blocks has a bit for every number, those without a block too: so there may be so many of them, or so many
/// to a block, whichever is more.
const MAX_NUMBERS: (u64, u64) = (1 << 24, 8);

/// Why a layout is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// BEP 52 asks for a power of two of at least 16 KiB.
    #[error("piece length {0} is not a power of two of at least 16 KiB")]
    PieceLength(u32),
    /// There is nothing to deliver.
    #[error("the torrent has no content")]
    Empty,
    /// More than 2³⁰ blocks, or many small files in large pieces.
    #[error("the torrent is too large")]
    TooLarge,
}

#[derive(Debug, Clone)]
struct File {
    length: u64,
    first_piece: u32,
    blocks: u32,
    wanted: bool,
}

/// The shape of a torrent. Cheap to clone only when small; share it in an `Arc` where many cores use the same.
#[derive(Debug, Clone)]
pub struct Layout {
    files: Vec<File>,
    piece_length: u32,
    piece_blocks: u32,
    pieces: u32,
    total: u64,
    total_blocks: u64,
    wanted: u64,
    wanted_blocks: u64,
}

impl Layout {
    /// A layout of files with these lengths in bytes (empty files are allowed beside others) and this piece length
    /// (a power of two, at least 16 KiB).
    pub fn new(file_lengths: &[u64], piece_length: u32) -> Result<Self, LayoutError> {
        if piece_length < BLOCK_SIZE || !piece_length.is_power_of_two() {
            return Err(LayoutError::PieceLength(piece_length));
        }
        let piece_blocks = piece_length / BLOCK_SIZE;
        let mut files = Vec::with_capacity(file_lengths.len());
        let (mut pieces, mut total, mut total_blocks) = (0u64, 0u64, 0u64);
        for &length in file_lengths {
            let blocks = length.div_ceil(u64::from(BLOCK_SIZE));
            let first_piece = pieces;
            pieces += length.div_ceil(u64::from(piece_length));
            if blocks > MAX_BLOCKS || pieces * u64::from(piece_blocks) > MAX_BLOCKS {
                return Err(LayoutError::TooLarge);
            }
            files.push(File {
                length,
                first_piece: first_piece as u32,
                blocks: blocks as u32,
                wanted: true,
            });
            total += length;
            total_blocks += blocks;
        }
        if total == 0 {
            return Err(LayoutError::Empty);
        }
        if pieces * u64::from(piece_blocks) > MAX_NUMBERS.0.max(total_blocks * MAX_NUMBERS.1) {
            return Err(LayoutError::TooLarge);
        }
        Ok(Self {
            files,
            piece_length,
            piece_blocks,
            pieces: pieces as u32,
            total,
            total_blocks,
            wanted: total,
            wanted_blocks: total_blocks,
        })
    }

    /// The same layout of which only some files are wanted; indices that are not there are left alone. What is not
    /// wanted is never requested, and is served when it is held all the same.
    #[must_use]
    pub fn wanting(mut self, files: &[FileIndex]) -> Self {
        (self.wanted, self.wanted_blocks) = (0, 0);
        for (index, file) in self.files.iter_mut().enumerate() {
            file.wanted = files.contains(&FileIndex(index as u32));
            if file.wanted {
                self.wanted += file.length;
                self.wanted_blocks += u64::from(file.blocks);
            }
        }
        self
    }

    /// Whether a file is wanted; false when there is no such file.
    pub fn wants_file(&self, file: FileIndex) -> bool {
        self.files.get(file.0 as usize).is_some_and(|f| f.wanted)
    }

    /// Whether the file of a piece is wanted.
    pub fn wants_piece(&self, piece: PieceIndex) -> bool {
        self.wanted_blocks == self.total_blocks || self.files[self.file_of_piece(piece.0)].wanted
    }

    /// Content bytes of the wanted files.
    pub fn wanted_bytes(&self) -> u64 {
        self.wanted
    }

    /// Blocks of the wanted files.
    pub fn wanted_blocks(&self) -> u64 {
        self.wanted_blocks
    }

    /// Bytes of a piece, except the last of a file.
    pub fn piece_length(&self) -> u32 {
        self.piece_length
    }

    /// Blocks of a piece, except the last of a file.
    pub fn piece_blocks(&self) -> u32 {
        self.piece_blocks
    }

    /// Pieces of all files.
    pub fn pieces(&self) -> u32 {
        self.pieces
    }

    /// Number of files.
    pub fn files(&self) -> u32 {
        self.files.len() as u32
    }

    /// Content bytes of all files.
    pub fn total_bytes(&self) -> u64 {
        self.total
    }

    /// Blocks of all files.
    pub fn total_blocks(&self) -> u64 {
        self.total_blocks
    }

    /// Bytes of a file; `None` when there is no such file.
    pub fn file_length(&self, file: FileIndex) -> Option<u64> {
        self.files.get(file.0 as usize).map(|f| f.length)
    }

    /// Blocks of a file; 0 when there is no such file.
    pub fn file_blocks(&self, file: FileIndex) -> u32 {
        self.files.get(file.0 as usize).map_or(0, |f| f.blocks)
    }

    /// Whether the run is not empty and lies inside its file.
    pub fn contains(&self, run: BlockRun) -> bool {
        let end = u64::from(run.first.0) + u64::from(run.count);
        run.count > 0 && end <= u64::from(self.file_blocks(run.file))
    }

    /// Whether a peer may ask for the run: inside its file, inside one piece, at most [`MAX_RUN_BLOCKS`].
    pub fn is_request(&self, run: BlockRun) -> bool {
        self.contains(run)
            && run.count <= MAX_RUN_BLOCKS
            && run.first.0 / self.piece_blocks == (run.first.0 + run.count - 1) / self.piece_blocks
    }

    /// Content bytes of a run inside its file; 0 when it is not.
    pub fn run_bytes(&self, run: BlockRun) -> u64 {
        if !self.contains(run) {
            return 0;
        }
        let block = u64::from(BLOCK_SIZE);
        let start = u64::from(run.first.0) * block;
        let end = (u64::from(run.first.0 + run.count) * block).min(self.files[run.file.0 as usize].length);
        end - start
    }

    /// The piece of a block, counted through the whole torrent.
    pub fn piece_of(&self, file: FileIndex, block: BlockIndex) -> PieceIndex {
        PieceIndex(self.files[file.0 as usize].first_piece + block.0 / self.piece_blocks)
    }

    /// All blocks of a piece.
    pub fn piece_run(&self, piece: PieceIndex) -> BlockRun {
        let file = self.file_of_piece(piece.0);
        let first = (piece.0 - self.files[file].first_piece) * self.piece_blocks;
        let count = self.piece_blocks.min(self.files[file].blocks - first);
        BlockRun {
            file: FileIndex(file as u32),
            first: BlockIndex(first),
            count,
        }
    }

    /// The numbers of a run that [`Self::contains`]: piece × blocks in a piece + place in it, through all files.
    pub fn span(&self, run: BlockRun) -> Range<u32> {
        let start = self.files[run.file.0 as usize].first_piece * self.piece_blocks + run.first.0;
        start..start + run.count
    }

    /// The run of consecutive numbers of one file.
    pub fn run(&self, span: Range<u32>) -> BlockRun {
        let file = self.file_of_piece(span.start / self.piece_blocks);
        let first = span.start - self.files[file].first_piece * self.piece_blocks;
        BlockRun {
            file: FileIndex(file as u32),
            first: BlockIndex(first),
            count: span.end - span.start,
        }
    }

    /// Whether consecutive numbers are blocks of one file.
    pub fn is_one_run(&self, span: Range<u32>) -> bool {
        self.contains(self.run(span))
    }

    /// The numbers of a piece's blocks.
    pub fn piece_span(&self, piece: u32) -> Range<u32> {
        self.span(self.piece_run(PieceIndex(piece)))
    }

    /// How many numbers there are (some of them without a block).
    pub fn numbers(&self) -> u32 {
        self.pieces * self.piece_blocks
    }

    /// Bytes of the blocks in a span of one file.
    pub(super) fn span_bytes(&self, span: Range<u32>) -> u64 {
        if span.is_empty() {
            0
        } else {
            self.run_bytes(self.run(span))
        }
    }

    fn file_of_piece(&self, piece: u32) -> usize {
        // Empty files share their first piece with the next file: the last one that begins at or before it counts.
        self.files.partition_point(|f| f.first_piece <= piece) - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_in_large_pieces_are_bounded_by_the_numbers_that_they_take() {
        let mib = 1 << 20;
        // As many as a torrent may have, in pieces of 4 MiB.
        assert!(Layout::new(&vec![1; 65_536], 4 * mib).is_ok());
        assert_eq!(
            Layout::new(&vec![1; 32_768], 32 * mib).err(),
            Some(LayoutError::TooLarge)
        );
        // Large files pay for their numbers.
        let large = 100 * u64::from(mib);
        assert!(Layout::new(&vec![large; 32_768], 32 * mib).is_ok());
        assert!(Layout::new(&[1 << 43], 32 * mib).is_ok());
    }
}
