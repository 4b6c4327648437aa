//! The record of what a store holds: one small file, written whole.
//!
//! Layout (integers little-endian): magic, info hash, file length, modification time (seconds, nanoseconds), number of
//! 64-bit words and the words of the block set, number of unfinished pieces and for each its number, its number of
//! node pairs and the pairs (heap index and two hashes); then SHA-256 of all before. Whole pieces need no hashes
//! here: they are recomputed from the content when they are served.
//!
//! A record that is damaged or of another torrent is no record. Not for deciding what is true: nodes are verified
//! again, and the caller compares the file.

use super::Bits;
use super::backing::Stamp;
use crate::merkle::Hash;
use crate::metainfo::InfoHash;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

const MAGIC: &[u8; 16] = b"grove store v1\n\0";

/// Pairs of verified siblings of one piece's tree.
pub(crate) type Nodes = Vec<(u32, [Hash; 2])>;

/// What is written down.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The content file at that time.
    pub(crate) stamp: Stamp,
    /// The blocks that are held and synced.
    pub(crate) bits: Bits,
    /// The verified nodes of unfinished pieces.
    pub(crate) nodes: Vec<(u32, Nodes)>,
}

/// The record of this torrent, if there is a whole one.
pub(crate) fn load(path: &Path, info_hash: InfoHash) -> Option<Record> {
    decode(&std::fs::read(path).ok()?, info_hash)
}

/// Replaces the record: written beside, synced, renamed, folder synced.
pub(crate) fn save(folder: &Path, info_hash: InfoHash, record: &Record) -> io::Result<()> {
    let beside = folder.join("state.new");
    let mut file = File::create(&beside)?;
    file.write_all(&encode(info_hash, record))?;
    file.sync_all()?;
    std::fs::rename(&beside, folder.join("state"))?;
    File::open(folder)?.sync_all()
}

fn encode(info_hash: InfoHash, record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + record.bits.0.len() * 8);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(info_hash.as_bytes());
    out.extend_from_slice(&record.stamp.length.to_le_bytes());
    out.extend_from_slice(&record.stamp.modified.0.to_le_bytes());
    out.extend_from_slice(&record.stamp.modified.1.to_le_bytes());
    out.extend_from_slice(&(record.bits.0.len() as u32).to_le_bytes());
    for word in &record.bits.0 {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(&(record.nodes.len() as u32).to_le_bytes());
    for (piece, nodes) in &record.nodes {
        out.extend_from_slice(&piece.to_le_bytes());
        out.extend_from_slice(&(nodes.len() as u32).to_le_bytes());
        for (index, [left, right]) in nodes {
            out.extend_from_slice(&index.to_le_bytes());
            out.extend_from_slice(left.as_bytes());
            out.extend_from_slice(right.as_bytes());
        }
    }
    let digest = Sha256::digest(&out);
    out.extend_from_slice(&digest);
    out
}

fn decode(bytes: &[u8], info_hash: InfoHash) -> Option<Record> {
    let (body, digest) = bytes.split_at_checked(bytes.len().checked_sub(32)?)?;
    if Sha256::digest(body).as_slice() != digest {
        return None;
    }
    let mut rest = body;
    if take::<16>(&mut rest)? != *MAGIC || take::<32>(&mut rest)? != *info_hash.as_bytes() {
        return None;
    }
    let length = u64::from_le_bytes(take(&mut rest)?);
    let modified = (
        i64::from_le_bytes(take(&mut rest)?),
        i64::from_le_bytes(take(&mut rest)?),
    );
    // The digest vouches for the counts; the bytes that are there bound them all the same.
    let words = u32::from_le_bytes(take(&mut rest)?);
    let bits = (0..words)
        .map(|_| take(&mut rest).map(u64::from_le_bytes))
        .collect::<Option<Vec<_>>>()?;
    let pieces = u32::from_le_bytes(take(&mut rest)?);
    let mut nodes = Vec::new();
    for _ in 0..pieces {
        let piece = u32::from_le_bytes(take(&mut rest)?);
        let count = u32::from_le_bytes(take(&mut rest)?);
        let pairs = (0..count)
            .map(|_| {
                let index = u32::from_le_bytes(take(&mut rest)?);
                Some((index, [Hash(take(&mut rest)?), Hash(take(&mut rest)?)]))
            })
            .collect::<Option<Vec<_>>>()?;
        nodes.push((piece, pairs));
    }
    Some(Record {
        stamp: Stamp { length, modified },
        bits: Bits(bits),
        nodes,
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_and_damage_anywhere_is_noticed() {
        let info_hash = InfoHash([7; 32]);
        let record = Record {
            stamp: Stamp {
                length: 70_000,
                modified: (1_700_000_000, 123),
            },
            bits: Bits(vec![0b1011]),
            nodes: vec![(3, vec![(2, [Hash([1; 32]), Hash([2; 32])])])],
        };
        let bytes = encode(info_hash, &record);
        assert_eq!(decode(&bytes, info_hash), Some(record));
        assert_eq!(decode(&bytes, InfoHash([8; 32])), None);
        for i in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[i] ^= 0x40;
            assert_eq!(decode(&damaged, info_hash), None, "byte {i}");
            assert_eq!(decode(&bytes[..i], info_hash), None, "cut at {i}");
        }
    }
}
