//! The record of what a store holds: one small file, written whole from time to time, and added to in between.
//!
//! Layout (integers little-endian): magic, info hash, stamp (file length, modification time and change time, each in seconds and
//! nanoseconds), number of 64-bit words and the words of the block set, number of unfinished pieces and for each its number, its number of
//! node pairs and the pairs (heap index and two hashes); then SHA-256 of all before. Whole pieces need no hashes
//! here: they are recomputed from the content when they are served.
//!
//! Each addition follows: its length; the stamp; number of runs and the runs (first block,
//! number of blocks); the nodes of the unfinished pieces that it touches, as above; then SHA-256 of the digest before
//! it and of the addition. So what is written for a block does not grow with what is held already. The first addition
//! that is not whole ends the record; reopening writes it whole again.
//!
//! A record that is damaged or of another torrent is no record. Not for deciding what is true: nodes are verified
//! again, and the caller compares the file.

use super::backing::{Backing, Disk, Stamp};
use super::held::Bits;
use crate::merkle::Hash;
use crate::metainfo::InfoHash;
use sha2::{Digest, Sha256};
use std::io;
use std::path::Path;

const MAGIC: &[u8; 16] = b"grove store v3\n\0";

/// Additions may grow to the length of what they are added to, and this much more, before all is written anew.
const ADDITIONS: u64 = 1 << 20;

/// Pairs of verified siblings of one piece's tree.
pub(crate) type Nodes = Vec<(u32, [Hash; 2])>;

/// What is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The content file at that time.
    pub(crate) stamp: Stamp,
    /// The blocks that are held and synced.
    pub(crate) bits: Bits,
    /// The verified nodes of unfinished pieces.
    pub(crate) nodes: Vec<(u32, Nodes)>,
}

/// What is new since the record was written or added to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Addition {
    /// The content file now.
    pub(crate) stamp: Stamp,
    /// Runs of blocks, first and number, that are held and synced.
    pub(crate) runs: Vec<(u32, u32)>,
    /// All verified nodes of the unfinished pieces among them.
    pub(crate) nodes: Vec<(u32, Nodes)>,
}

/// A record that was written by this process and can be added to.
pub(crate) struct StateFile {
    file: Box<dyn Backing>,
    /// Bytes of the whole record.
    base: u64,
    /// Bytes with its additions.
    end: u64,
    /// The last digest.
    digest: [u8; 32],
}

/// The record of this torrent, if there is a whole one.
pub(crate) fn load(disk: &dyn Disk, path: &Path, info_hash: InfoHash) -> io::Result<Option<Record>> {
    match disk.read(path) {
        Ok(bytes) => Ok(decode(&bytes, info_hash)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        // It may be readable the next time: what it says must not be forgotten.
        Err(e) => Err(e),
    }
}

/// Replaces the record: written beside, synced, renamed, folder synced.
pub(crate) fn save(
    disk: &dyn Disk,
    folder: &Path,
    info_hash: InfoHash,
    record: &Record,
) -> io::Result<StateFile> {
    let beside = folder.join("state.new");
    let bytes = encode(info_hash, record);
    let file = disk.open(&beside)?;
    file.set_len(0)?;
    file.write_all_at(&bytes, 0)?;
    file.sync()?;
    disk.rename(&beside, &folder.join("state"))?;
    disk.sync_folder(folder)?;
    let mut digest = [0; 32];
    digest.copy_from_slice(&bytes[bytes.len() - 32..]);
    Ok(StateFile {
        file,
        base: bytes.len() as u64,
        end: bytes.len() as u64,
        digest,
    })
}

impl StateFile {
    /// Adds to the record. After an error the file is not to be added to any more, but written anew.
    pub(crate) fn add(&mut self, addition: &Addition) -> io::Result<()> {
        let bytes = encode_addition(&self.digest, addition);
        self.file.write_all_at(&bytes, self.end)?;
        self.file.sync()?;
        self.end += bytes.len() as u64;
        self.digest.copy_from_slice(&bytes[bytes.len() - 32..]);
        Ok(())
    }

    /// Whether it is time to write all of it anew.
    pub(crate) fn is_long(&self) -> bool {
        self.end > 2 * self.base + ADDITIONS
    }
}

fn put_stamp(out: &mut Vec<u8>, stamp: &Stamp) {
    out.extend_from_slice(&stamp.length.to_le_bytes());
    for (seconds, nanoseconds) in [stamp.modified, stamp.changed] {
        out.extend_from_slice(&seconds.to_le_bytes());
        out.extend_from_slice(&nanoseconds.to_le_bytes());
    }
}

fn put_nodes(out: &mut Vec<u8>, nodes: &[(u32, Nodes)]) {
    out.extend_from_slice(&(nodes.len() as u32).to_le_bytes());
    for (piece, nodes) in nodes {
        out.extend_from_slice(&piece.to_le_bytes());
        out.extend_from_slice(&(nodes.len() as u32).to_le_bytes());
        for (index, [left, right]) in nodes {
            out.extend_from_slice(&index.to_le_bytes());
            out.extend_from_slice(left.as_bytes());
            out.extend_from_slice(right.as_bytes());
        }
    }
}

fn encode(info_hash: InfoHash, record: &Record) -> Vec<u8> {
    let mut out = Vec::with_capacity(128 + record.bits.0.len() * 8);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(info_hash.as_bytes());
    put_stamp(&mut out, &record.stamp);
    out.extend_from_slice(&(record.bits.0.len() as u32).to_le_bytes());
    for word in &record.bits.0 {
        out.extend_from_slice(&word.to_le_bytes());
    }
    put_nodes(&mut out, &record.nodes);
    let digest = Sha256::digest(&out);
    out.extend_from_slice(&digest);
    out
}

fn encode_addition(before: &[u8; 32], addition: &Addition) -> Vec<u8> {
    let mut out = vec![0; 4];
    put_stamp(&mut out, &addition.stamp);
    out.extend_from_slice(&(addition.runs.len() as u32).to_le_bytes());
    for (first, count) in &addition.runs {
        out.extend_from_slice(&first.to_le_bytes());
        out.extend_from_slice(&count.to_le_bytes());
    }
    put_nodes(&mut out, &addition.nodes);
    let length = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&length.to_le_bytes());
    let digest = Sha256::new().chain_update(before).chain_update(&out).finalize();
    out.extend_from_slice(&digest);
    out
}

fn decode(bytes: &[u8], info_hash: InfoHash) -> Option<Record> {
    let mut rest = bytes;
    if take::<16>(&mut rest)? != *MAGIC || take::<32>(&mut rest)? != *info_hash.as_bytes() {
        return None;
    }
    let stamp = take_stamp(&mut rest)?;
    // Counts are not vouched for before the digest: the bytes that are there bound them.
    let words = take_u32(&mut rest)?;
    let bits = (0..words)
        .map(|_| take(&mut rest).map(u64::from_le_bytes))
        .collect::<Option<Vec<_>>>()?;
    let nodes = take_nodes(&mut rest)?;
    let body = &bytes[..bytes.len() - rest.len()];
    let mut digest = take::<32>(&mut rest)?;
    if Sha256::digest(body).as_slice() != digest {
        return None;
    }
    let mut record = Record {
        stamp,
        bits: Bits(bits),
        nodes,
    };
    while let Some(addition) = decode_addition(&mut rest, &mut digest) {
        record.stamp = addition.stamp;
        for (first, count) in addition.runs {
            for block in first..first.saturating_add(count) {
                record.bits.set(block, true);
            }
        }
        record.nodes.extend(addition.nodes);
    }
    Some(record)
}

/// The next addition, if it is whole.
fn decode_addition(rest: &mut &[u8], digest: &mut [u8; 32]) -> Option<Addition> {
    let all = *rest;
    let length = take_u32(rest)? as usize;
    let mut body = rest.get(..length)?;
    *rest = &rest[length..];
    let found = take::<32>(rest)?;
    let right = Sha256::new()
        .chain_update(*digest)
        .chain_update(&all[..4 + length])
        .finalize();
    if right.as_slice() != found {
        return None;
    }
    *digest = found;
    let stamp = take_stamp(&mut body)?;
    let count = take_u32(&mut body)?;
    let runs = (0..count)
        .map(|_| Some((take_u32(&mut body)?, take_u32(&mut body)?)))
        .collect::<Option<Vec<_>>>()?;
    let nodes = take_nodes(&mut body)?;
    Some(Addition { stamp, runs, nodes })
}

fn take_stamp(rest: &mut &[u8]) -> Option<Stamp> {
    let length = u64::from_le_bytes(take(rest)?);
    let mut time = || Some((i64::from_le_bytes(take(rest)?), i64::from_le_bytes(take(rest)?)));
    Some(Stamp {
        length,
        modified: time()?,
        changed: time()?,
    })
}

fn take_nodes(rest: &mut &[u8]) -> Option<Vec<(u32, Nodes)>> {
    let pieces = take_u32(rest)?;
    let mut nodes = Vec::new();
    for _ in 0..pieces {
        let piece = take_u32(rest)?;
        let count = take_u32(rest)?;
        let pairs = (0..count)
            .map(|_| Some((take_u32(rest)?, [Hash(take(rest)?), Hash(take(rest)?)])))
            .collect::<Option<Vec<_>>>()?;
        nodes.push((piece, pairs));
    }
    Some(nodes)
}

fn take_u32(rest: &mut &[u8]) -> Option<u32> {
    take(rest).map(u32::from_le_bytes)
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
                changed: (1_700_000_001, 456),
            },
            bits: Bits(vec![0b1011]),
            nodes: vec![(3, vec![(2, [Hash([1; 32]), Hash([2; 32])])])],
        };
        let bytes = encode(info_hash, &record);
        assert_eq!(decode(&bytes, info_hash).as_ref(), Some(&record));
        assert_eq!(decode(&bytes, InfoHash([8; 32])), None);
        for i in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[i] ^= 0x40;
            assert_eq!(decode(&damaged, info_hash), None, "byte {i}");
            assert_eq!(decode(&bytes[..i], info_hash), None, "cut at {i}");
        }

        let addition = |time, first| Addition {
            stamp: Stamp {
                length: 70_000,
                modified: (time, 0),
                changed: (time, 1),
            },
            runs: vec![(first, 2)],
            nodes: vec![(first, vec![(4, [Hash([3; 32]), Hash([4; 32])])])],
        };
        let mut whole = bytes.clone();
        let mut ends = vec![whole.len()];
        let mut expected = vec![record.clone()];
        for (time, first) in [(1_700_000_001, 10), (1_700_000_002, 20)] {
            let mut digest = [0; 32];
            digest.copy_from_slice(&whole[whole.len() - 32..]);
            whole.extend(encode_addition(&digest, &addition(time, first)));
            ends.push(whole.len());
            let mut next = expected[expected.len() - 1].clone();
            next.stamp = addition(time, first).stamp;
            next.bits.0[0] |= 0b11 << first;
            next.nodes.extend(addition(time, first).nodes);
            expected.push(next);
        }
        // What is damaged or cut in an addition leaves what was before it.
        for i in bytes.len()..=whole.len() {
            let before = ends.iter().filter(|&&end| end <= i).count() - 1;
            assert_eq!(
                decode(&whole[..i], info_hash).as_ref(),
                Some(&expected[before]),
                "cut at {i}"
            );
            if i < whole.len() {
                let mut damaged = whole.clone();
                damaged[i] ^= 0x40;
                assert_eq!(
                    decode(&damaged, info_hash).as_ref(),
                    Some(&expected[before]),
                    "byte {i}"
                );
            }
        }
    }
}
