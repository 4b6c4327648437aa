//! The SHA-256 hash trees of BEP 52, and the proofs that let a run of blocks be checked on its own.
//!
//! A *leaf* is the hash of one block of 16 KiB (the last block of a file may be shorter; it is hashed as it is).
//! A leaf that stands for no data is *padding*: 32 zero bytes, and the subtrees above it follow from that.
//! Trees are binary and full. The tree of a piece has `piece length / 16 KiB` leaves, except in a file that is
//! smaller than one piece: that file's only tree has its block count rounded up to a power of two.
//!
//! # Proofs
//!
//! A [`Proof`] of the blocks `[a, b)` of a piece holds their leaf hashes in order, and the *uncle* hashes that
//! are needed to climb from them to the root of the piece: from the leaf level upwards, and on each level the one
//! on the left of the run before the one on its right. Subtrees of nothing but padding are never sent, since
//! both sides know them. So the number of uncles follows from the range ([`Shape::uncles`]).
//!
//! # Invariants of [`PieceTree`]
//!
//! * Every node that it holds hashes up to the root: nothing unverified is ever kept.
//! * A node is known only together with its sibling and its parent.
//!
//! This module is not for reading, storing or transferring blocks.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// Bytes in a block: the leaf size of BEP 52, and the unit in which peers ask for data.
pub const BLOCK: usize = 16 * 1024;

/// A SHA-256 hash: a leaf, an inner node or a root. Shown as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The leaf that stands for no data.
    pub const ZERO: Self = Self([0; 32]);

    /// The bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A hash from a slice, when it has 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Whether all bytes are zero, which no data has as its root.
    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl From<[u8; 32]> for Hash {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl FromStr for Hash {
    type Err = hex::FromHexError;

    /// Reads 64 hex digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

/// The leaf of one block: SHA-256 of its bytes, which are 16 KiB or, at the end of a file, fewer.
pub fn hash_block(block: &[u8]) -> Hash {
    Hash(Sha256::digest(block).into())
}

/// The parent of two nodes.
pub fn hash_pair(left: &Hash, right: &Hash) -> Hash {
    let mut pair = [0; 64];
    pair[..32].copy_from_slice(&left.0);
    pair[32..].copy_from_slice(&right.0);
    Hash(Sha256::digest(pair).into())
}

/// The root of a subtree of `2^level` padding leaves; level 0 is the padding leaf itself.
pub fn padding(level: u32) -> Hash {
    (0..level).fold(Hash::ZERO, |node, _| hash_pair(&node, &node))
}

/// The root over `leaves`, padded to the next power of two (BEP 52, `pieces root` of a file). No leaves give
/// [`Hash::ZERO`].
pub fn root(leaves: &[Hash]) -> Hash {
    root_over(leaves, 0, leaves.len().next_power_of_two())
}

/// The root over `nodes`, which lie `level` levels above the leaves, padded with [`padding`] of that level to
/// `width` nodes.
///
/// A file's pieces root is `root_over(piece_layer, log2(piece length / 16 KiB), next power of two)`.
/// `width` must be a power of two that is at least the number of nodes; a smaller one is rounded up.
pub fn root_over(nodes: &[Hash], level: u32, width: usize) -> Hash {
    let mut width = width.max(nodes.len()).next_power_of_two();
    let mut pad = padding(level);
    let mut layer = nodes.to_vec();
    while width > 1 {
        layer = layer
            .chunks(2)
            .map(|pair| hash_pair(&pair[0], pair.get(1).unwrap_or(&pad)))
            .collect();
        pad = hash_pair(&pad, &pad);
        width /= 2;
    }
    layer.first().copied().unwrap_or(pad)
}

/// The shape of a piece's tree: how many of its leaves are blocks, and how wide it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    blocks: u32,
    width: u32,
}

impl Shape {
    /// A tree of `blocks` real leaves (at least one), `width` leaves wide with padding: a power of two that is
    /// not below `blocks`. `None` when that does not hold or the width is over 2²⁰ (pieces of 16 GiB).
    pub fn new(blocks: u32, width: u32) -> Option<Self> {
        (blocks >= 1 && blocks <= width && width.is_power_of_two() && width <= 1 << 20)
            .then_some(Self { blocks, width })
    }

    /// The shape of piece `piece` of a file of `length` bytes with pieces of `piece_length` bytes (a power of
    /// two, at least 16 KiB). `None` when the file has no such piece.
    pub fn of_piece(length: u64, piece_length: u64, piece: u32) -> Option<Self> {
        let block = BLOCK as u64;
        let start = u64::from(piece).checked_mul(piece_length)?;
        let rest = length.checked_sub(start).filter(|&rest| rest > 0)?;
        let blocks = u32::try_from(rest.min(piece_length).div_ceil(block)).ok()?;
        let width = if length <= piece_length {
            blocks.next_power_of_two()
        } else {
            u32::try_from(piece_length / block).ok()?
        };
        Self::new(blocks, width)
    }

    /// Leaves that stand for data.
    pub fn blocks(self) -> u32 {
        self.blocks
    }

    /// All leaves, padding included.
    pub fn width(self) -> u32 {
        self.width
    }

    /// Levels above the leaves; 0 for a tree of one leaf.
    pub fn height(self) -> u32 {
        self.width.trailing_zeros()
    }

    /// How many uncle hashes a proof of `range` has. `None` when the range is empty or reaches past the blocks.
    pub fn uncles(self, range: &Range<u32>) -> Option<usize> {
        let mut count = 0;
        self.climb(range, |_, _| count += 1)?;
        Some(count)
    }

    /// Nodes on `level` that are above at least one block.
    fn real_nodes(self, level: u32) -> u32 {
        self.blocks.div_ceil(1 << level)
    }

    /// Heap index of node `index` on `level`: the root is 1, the children of `i` are `2i` and `2i + 1`.
    fn heap(self, level: u32, index: u32) -> u32 {
        (self.width >> level) + index
    }

    /// Calls `uncle(level, index)` for each uncle of `range` in the order of a proof.
    fn climb(self, range: &Range<u32>, mut uncle: impl FnMut(u32, u32)) -> Option<()> {
        if range.start >= range.end || range.end > self.blocks {
            return None;
        }
        let (mut first, mut end) = (range.start, range.end);
        for level in 0..self.height() {
            if first % 2 == 1 {
                uncle(level, first - 1);
            }
            if end % 2 == 1 && end < self.real_nodes(level) {
                uncle(level, end);
            }
            first /= 2;
            end = end.div_ceil(2);
        }
        Some(())
    }
}

/// What proves a run of blocks: see the order of the hashes in the [module's documentation](self).
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Proof {
    /// The leaf of each block of the run, in order.
    pub leaves: Vec<Hash>,
    /// The uncles, upwards, left before right.
    pub uncles: Vec<Hash>,
}

/// Why hashes were not accepted into a [`PieceTree`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The run is empty or reaches past the piece.
    #[error("blocks {start}..{end} are not a run within a piece of {blocks} blocks")]
    Range {
        /// First block of the run.
        start: u32,
        /// One past its last block.
        end: u32,
        /// Blocks of the piece.
        blocks: u32,
    },
    /// The wrong number of hashes for this run.
    #[error(
        "a proof of {blocks} blocks has {leaves} leaves and {uncles} uncles, not {blocks} and {expected}"
    )]
    Count {
        /// Blocks of the run.
        blocks: u32,
        /// Leaves that came.
        leaves: usize,
        /// Uncles that came.
        uncles: usize,
        /// Uncles that belong to the run.
        expected: usize,
    },
    /// The hashes do not lead to the root.
    #[error("the hashes lead to {computed}, not to the root {root}")]
    Mismatch {
        /// The root that the hashes lead to.
        computed: Hash,
        /// The root of the piece.
        root: Hash,
    },
}

/// The verified part of the hash tree of one piece.
///
/// It costs nothing until the first insert, then 64 bytes for each leaf.
#[derive(Clone, PartialEq, Eq)]
pub struct PieceTree {
    shape: Shape,
    root: Hash,
    /// Heap order, `2 * width` entries, entry 0 unused; empty until something is inserted. A zero entry is
    /// unknown: no node above a block is zero, short of a preimage of zero under SHA-256.
    nodes: Vec<Hash>,
}

impl fmt::Debug for PieceTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = (0..self.shape.blocks)
            .filter(|&block| self.leaf(block).is_some())
            .count();
        f.debug_struct("PieceTree")
            .field("shape", &self.shape)
            .field("root", &self.root)
            .field("known_leaves", &known)
            .finish_non_exhaustive()
    }
}

impl PieceTree {
    /// A tree of which only the root is known. The root comes from the piece layer, or is the pieces root of
    /// a file of one piece.
    pub fn new(shape: Shape, root: Hash) -> Self {
        Self {
            shape,
            root,
            nodes: Vec::new(),
        }
    }

    /// The complete tree over the leaves of all blocks of a piece. `None` when their number is not the shape's.
    pub fn from_leaves(shape: Shape, leaves: &[Hash]) -> Option<Self> {
        if leaves.len() != shape.blocks as usize {
            return None;
        }
        let root = root_over(leaves, 0, shape.width as usize);
        let mut tree = Self::new(shape, root);
        tree.insert(0..shape.blocks, leaves, &[]).ok()?;
        Some(tree)
    }

    /// The shape it was made with.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The root of the piece.
    pub fn root(&self) -> Hash {
        self.root
    }

    /// The leaf of a block, when it is known.
    pub fn leaf(&self, block: u32) -> Option<Hash> {
        (block < self.shape.blocks).then(|| self.node(0, block)).flatten()
    }

    /// Whether all leaves are known.
    pub fn is_complete(&self) -> bool {
        (0..self.shape.blocks).all(|block| self.leaf(block).is_some())
    }

    /// The hashes that prove the blocks of `range`; `None` when the range is not within the piece or a hash is
    /// not known. Where all leaves of a run are known, so are the uncles.
    pub fn proof(&self, range: Range<u32>) -> Option<Proof> {
        let mut uncles = Some(Vec::new());
        self.shape.climb(&range, |level, index| {
            uncles = uncles
                .take()
                .zip(self.node(level, index))
                .map(|(mut list, node)| {
                    list.push(node);
                    list
                });
        })?;
        let leaves = range.map(|block| self.leaf(block)).collect::<Option<Vec<_>>>()?;
        Some(Proof {
            leaves,
            uncles: uncles?,
        })
    }

    /// Takes in the hashes of a proof when they lead to the root; otherwise nothing changes.
    pub fn insert(&mut self, range: Range<u32>, leaves: &[Hash], uncles: &[Hash]) -> Result<(), ProofError> {
        let shape = self.shape;
        let mut places = Vec::new();
        shape
            .climb(&range, |level, index| places.push((level, index)))
            .ok_or(ProofError::Range {
                start: range.start,
                end: range.end,
                blocks: shape.blocks,
            })?;
        let run = range.end - range.start;
        if leaves.len() != run as usize || uncles.len() != places.len() {
            return Err(ProofError::Count {
                blocks: run,
                leaves: leaves.len(),
                uncles: uncles.len(),
                expected: places.len(),
            });
        }

        let mut given = places.into_iter().zip(uncles.iter().copied()).peekable();
        let mut verified = Vec::with_capacity(2 * leaves.len() + uncles.len());
        let mut layer = leaves.to_vec();
        let mut first = range.start;
        let mut pad = Hash::ZERO;
        for level in 0..shape.height() {
            if first % 2 == 1 {
                // `climb` names the left uncle of a level before its right one, and always when `first` is odd.
                if let Some((_, uncle)) =
                    given.next_if(|((at, index), _)| *at == level && *index + 1 == first)
                {
                    layer.insert(0, uncle);
                    first -= 1;
                }
            }
            if layer.len() % 2 == 1 {
                let right = given
                    .next_if(|((at, _), _)| *at == level)
                    .map_or(pad, |(_, uncle)| uncle);
                layer.push(right);
            }
            verified.extend(
                layer
                    .iter()
                    .enumerate()
                    .map(|(i, node)| (shape.heap(level, first + i as u32), *node)),
            );
            layer = layer
                .chunks_exact(2)
                .map(|pair| hash_pair(&pair[0], &pair[1]))
                .collect();
            pad = hash_pair(&pad, &pad);
            first /= 2;
        }
        let computed = layer[0]; // a run is not empty, so neither is any layer above it
        if computed != self.root {
            return Err(ProofError::Mismatch {
                computed,
                root: self.root,
            });
        }
        self.allocate();
        for (index, node) in verified {
            self.nodes[index as usize] = node;
        }
        Ok(())
    }

    /// The verified nodes as pairs of siblings, from the root downwards: the heap index of the left one (the
    /// root is 1, the children of `i` are `2i` and `2i + 1`) and both hashes. This is what a store writes down.
    pub fn pairs(&self) -> impl Iterator<Item = (u32, [Hash; 2])> + '_ {
        (1..self.shape.width).filter_map(move |parent| {
            let left = *self.nodes.get(2 * parent as usize)?;
            let right = *self.nodes.get(2 * parent as usize + 1)?;
            (!left.is_zero()).then_some((2 * parent, [left, right]))
        })
    }

    /// Takes back what [`pairs`](Self::pairs) gave, in the same order, and verifies each pair against its
    /// parent. Gives the number of pairs that were taken; what does not fit (a damaged record) is left out.
    pub fn restore(&mut self, pairs: impl IntoIterator<Item = (u32, [Hash; 2])>) -> usize {
        let mut taken = 0;
        for (index, [left, right]) in pairs {
            if index % 2 == 1 || index < 2 || index >= 2 * self.shape.width {
                continue;
            }
            let parent = if index == 2 {
                Some(self.root)
            } else {
                self.nodes.get(index as usize / 2).copied()
            };
            if parent.is_some_and(|parent| hash_pair(&left, &right) == parent) {
                self.allocate();
                self.nodes[index as usize] = left;
                self.nodes[index as usize + 1] = right;
                taken += 1;
            }
        }
        taken
    }

    fn node(&self, level: u32, index: u32) -> Option<Hash> {
        if level == self.shape.height() {
            return Some(self.root);
        }
        self.nodes
            .get(self.shape.heap(level, index) as usize)
            .copied()
            .filter(|node| !node.is_zero())
    }

    fn allocate(&mut self) {
        if self.nodes.is_empty() {
            self.nodes = vec![Hash::ZERO; 2 * self.shape.width as usize];
            self.nodes[1] = self.root;
        }
    }
}

/// Builds the hash tree of a file from its bytes in order, keeping one hash for each piece and the leaves of
/// the piece at hand.
#[derive(Debug)]
pub struct FileHasher {
    blocks_per_piece: usize,
    block: Vec<u8>,
    leaves: Vec<Hash>,
    layer: Vec<Hash>,
    length: u64,
}

impl FileHasher {
    /// For pieces of `piece_length` bytes: a power of two that is at least [`BLOCK`]; others are rounded up.
    pub fn new(piece_length: u64) -> Self {
        let blocks_per_piece = (piece_length as usize).next_power_of_two().max(BLOCK) / BLOCK;
        Self {
            blocks_per_piece,
            block: Vec::with_capacity(BLOCK),
            leaves: Vec::new(),
            layer: Vec::new(),
            length: 0,
        }
    }

    /// Takes the next bytes of the file.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.block.is_empty() && bytes.len() >= BLOCK {
                let (block, rest) = bytes.split_at(BLOCK);
                self.leaf(hash_block(block));
                bytes = rest;
                continue;
            }
            let (now, rest) = bytes.split_at(bytes.len().min(BLOCK - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = rest;
            if self.block.len() == BLOCK {
                self.end_block();
            }
        }
    }

    /// The pieces root and the piece layer. The layer is empty for a file of one piece or less, as BEP 52 wants;
    /// the root is [`Hash::ZERO`] for an empty file.
    pub fn finish(mut self) -> (Hash, Vec<Hash>) {
        if !self.block.is_empty() {
            self.end_block();
        }
        if self.layer.is_empty() || (self.layer.len() == 1 && self.leaves.is_empty()) {
            return match self.layer.first() {
                Some(&root) => (root, Vec::new()),
                None => (root(&self.leaves), Vec::new()),
            };
        }
        if !self.leaves.is_empty() {
            self.layer.push(root_over(&self.leaves, 0, self.blocks_per_piece));
        }
        let level = self.blocks_per_piece.trailing_zeros();
        let root = root_over(&self.layer, level, self.layer.len().next_power_of_two());
        (root, self.layer)
    }

    fn end_block(&mut self) {
        let leaf = hash_block(&self.block);
        self.block.clear();
        self.leaf(leaf);
    }

    fn leaf(&mut self, leaf: Hash) {
        self.leaves.push(leaf);
        if self.leaves.len() == self.blocks_per_piece {
            self.layer.push(root_over(&self.leaves, 0, self.blocks_per_piece));
            self.leaves.clear();
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Sizes of files, and which boundary each hits, for pieces of 64 KiB.
    pub(crate) const INTERESTING_SIZES: &[(u64, &str)] = &[
        (1, "the smallest file: one short block, whose leaf is the root"),
        (16_383, "one byte short of a block"),
        (16_384, "exactly one block: still a tree of one leaf"),
        (16_385, "a second block of one byte: the first tree with a pair"),
        (
            3 * 16_384,
            "three blocks: a padding leaf in a tree that is narrower than a piece",
        ),
        (65_535, "one byte short of a piece"),
        (65_536, "exactly one piece: the piece layer is still left out"),
        (
            65_537,
            "one byte more: the first piece layer, its second piece nearly all padding",
        ),
        (
            3 * 65_536 + 32_768,
            "three and a half pieces: a short last piece, no padding in the layer",
        ),
        (
            5 * 65_536,
            "five pieces: the layer is padded with subtrees of padding",
        ),
        (5 * 65_536 + 1, "five pieces and a byte: both kinds of padding"),
        (16 * 65_536, "a full tree with a layer well above the leaves"),
    ];

    fn leaves(seed: u8, count: u32) -> Vec<Hash> {
        (0..count)
            .map(|i| hash_block(&[&[seed][..], &i.to_be_bytes()].concat()))
            .collect()
    }

    /// SHA-256 of root, leaves and uncles of a run; the digests were made by another program, from PROTOCOL.md alone.
    #[test]
    fn proofs_are_those_of_the_protocol() {
        for (blocks, width, range, expected) in [
            (
                11,
                16,
                4..5,
                "5f89026af2e337f3cb087bfdf66afeacd0824f8518d3d04ac4d2c0c68a38ba65",
            ),
            (
                11,
                16,
                5..9,
                "898465340d0fb0dcd5d2ecffe4b8642c1258626d0eaa612a30ab92c21701f8cf",
            ),
            (
                11,
                16,
                10..11,
                "dd04a0030e9eeb79eb343ed155c56933c788fe7bdb73e4bda631aa475ab47cc6",
            ),
            (
                11,
                16,
                0..11,
                "87068c7d1ae443f1fb62766678dc8acf9af540de011b3ef21e2254bfa261a4a0",
            ),
            (
                3,
                4,
                1..2,
                "d53413c0318b66c1f742e743fb7d38847e6fbe6d7a66cf3ee7d90d1339c99aa0",
            ),
            (
                1,
                1,
                0..1,
                "957f7c80daed897b75b3f9a03a73c6e172b4cad8b99672cafb99a195bb2f80d9",
            ),
            (
                64,
                64,
                17..40,
                "fb0322ad9cd118404c0a88b39829d72a1a3d579fa85237bea76dce35498cabbd",
            ),
        ] {
            let shape = Shape::new(blocks, width).unwrap();
            let tree = PieceTree::from_leaves(shape, &leaves(1, blocks)).unwrap();
            let proof = tree.proof(range.clone()).unwrap();
            let all = std::iter::once(tree.root())
                .chain(proof.leaves)
                .chain(proof.uncles);
            let bytes: Vec<u8> = all.flat_map(|hash| hash.0).collect();
            assert_eq!(
                hash_block(&bytes).to_string(),
                expected,
                "{range:?} of {blocks} blocks"
            );
        }
    }

    /// BEP 52 read literally: pad the leaves with zeroes to a power of two, halve until one is left.
    fn literal_root(mut layer: Vec<Hash>, width: usize) -> Hash {
        layer.resize(width, Hash::ZERO);
        while layer.len() > 1 {
            layer = layer
                .chunks(2)
                .map(|pair| hash_pair(&pair[0], &pair[1]))
                .collect();
        }
        layer[0]
    }

    #[test]
    fn roots_equal_the_literal_rule_at_interesting_sizes() {
        for &(size, why) in INTERESTING_SIZES {
            let data: Vec<u8> = (0..size).map(|i| (i * 7 % 251) as u8).collect();
            let leaves: Vec<Hash> = data.chunks(BLOCK).map(hash_block).collect();
            let expected = literal_root(leaves.clone(), leaves.len().next_power_of_two());
            assert_eq!(root(&leaves), expected, "{size}: {why}");
            let mut hasher = FileHasher::new(65_536);
            data.chunks(10_007).for_each(|part| hasher.update(part));
            let (file_root, layer) = hasher.finish();
            assert_eq!(file_root, expected, "{size}: {why}");
            let pieces = size.div_ceil(65_536) as usize;
            assert_eq!(layer.len(), if pieces > 1 { pieces } else { 0 }, "{size}: {why}");
            for (piece, piece_leaves) in leaves.chunks(4).enumerate() {
                let shape = Shape::of_piece(size, 65_536, piece as u32).expect("a piece of the file");
                let tree = PieceTree::from_leaves(shape, piece_leaves).expect("as many leaves as blocks");
                assert_eq!(
                    tree.root(),
                    layer.get(piece).copied().unwrap_or(file_root),
                    "{size}: {why}"
                );
            }
            assert_eq!(
                Shape::of_piece(size, 65_536, pieces as u32),
                None,
                "{size}: no piece after the last"
            );
        }
    }

    fn shape_and_range() -> impl Strategy<Value = (Shape, Range<u32>)> {
        (0u32..7)
            .prop_flat_map(|height| (1..=1u32 << height, Just(1u32 << height)))
            .prop_flat_map(|(blocks, width)| (Just((blocks, width)), 0..blocks, 0..blocks))
            .prop_map(|((blocks, width), a, b)| {
                (
                    Shape::new(blocks, width).expect("generated within its rules"),
                    a.min(b)..a.max(b) + 1,
                )
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_proof_is_accepted_and_what_it_brings_can_be_proven_on(
            (shape, range) in shape_and_range(), seed: u8,
        ) {
            let full = PieceTree::from_leaves(shape, &leaves(seed, shape.blocks())).unwrap();
            prop_assert!(full.is_complete());
            let proof = full.proof(range.clone()).unwrap();
            prop_assert_eq!(Some(proof.uncles.len()), shape.uncles(&range));
            let mut learner = PieceTree::new(shape, full.root());
            prop_assert_eq!(learner.insert(range.clone(), &proof.leaves, &proof.uncles), Ok(()));
            prop_assert_eq!(learner.proof(range.clone()), Some(proof.clone()));
            prop_assert_eq!(learner.leaf(range.start), full.leaf(range.start));
            let mut restored = PieceTree::new(shape, full.root());
            let pairs: Vec<_> = learner.pairs().collect();
            prop_assert_eq!(restored.restore(pairs.iter().copied()), pairs.len());
            prop_assert_eq!(restored.proof(range), Some(proof));
        }

        #[test]
        fn a_flipped_bit_anywhere_is_refused(
            (shape, range) in shape_and_range(), seed: u8, at: prop::sample::Index, bit in 0usize..256,
        ) {
            let full = PieceTree::from_leaves(shape, &leaves(seed, shape.blocks())).unwrap();
            let mut proof = full.proof(range.clone()).unwrap();
            let count = proof.leaves.len();
            let at = at.index(count + proof.uncles.len());
            let hash = if at < count { &mut proof.leaves[at] } else { &mut proof.uncles[at - count] };
            hash.0[bit / 8] ^= 1 << (bit % 8);
            let empty = PieceTree::new(shape, full.root());
            let mut learner = empty.clone();
            let refused = matches!(
                learner.insert(range, &proof.leaves, &proof.uncles), Err(ProofError::Mismatch { .. }));
            prop_assert!(refused);
            prop_assert_eq!(learner, empty, "nothing is kept of a wrong proof");
        }
    }

    #[test]
    fn proofs_of_the_wrong_size_are_named() {
        let shape = Shape::new(5, 8).expect("valid");
        let full = PieceTree::from_leaves(shape, &leaves(1, 5)).expect("five leaves");
        let proof = full.proof(1..3).expect("known");
        let mut tree = PieceTree::new(shape, full.root());
        assert!(matches!(
            tree.insert(1..3, &proof.leaves, &proof.uncles[1..]),
            Err(ProofError::Count { .. })
        ));
        assert!(matches!(
            tree.insert(1..4, &proof.leaves, &proof.uncles),
            Err(ProofError::Count { .. })
        ));
        assert!(matches!(
            tree.insert(3..3, &[], &[]),
            Err(ProofError::Range { .. })
        ));
        assert!(matches!(
            tree.insert(4..6, &proof.leaves, &proof.uncles),
            Err(ProofError::Range { .. })
        ));
        assert_eq!(tree.proof(1..3), None, "unknown leaves have no proof");
        assert_eq!(Shape::new(0, 1), None);
        assert_eq!(Shape::new(3, 2), None);
        assert_eq!(Shape::new(3, 6), None);
    }

    #[test]
    fn a_damaged_record_restores_only_what_verifies() {
        let shape = Shape::new(8, 8).expect("valid");
        let full = PieceTree::from_leaves(shape, &leaves(9, 8)).expect("eight leaves");
        let mut pairs: Vec<_> = full.pairs().collect();
        pairs[1].1[0].0[0] ^= 1; // the left half below the root
        let mut tree = PieceTree::new(shape, full.root());
        assert_eq!(
            tree.restore(pairs),
            4,
            "of seven pairs, one is wrong and two hang below it"
        );
        assert_eq!(tree.leaf(0), None);
        assert_eq!(tree.leaf(7), full.leaf(7));
    }
}
