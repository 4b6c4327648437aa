//! The metadata of a torrent from one peer: the info dictionary, then the piece layers that it needs, asked for in
//! parts and checked as soon as each is whole. Pure: it says what to ask next, and takes the answers.
//!
//! Invariants: the info dictionary has the info hash that was asked for, each layer leads to its file's root; what is
//! kept is bounded by [`MAX_INFO`] and by the pieces that a torrent may have, and never runs ahead of what arrived.

use super::{InfoHash, Metainfo, MetainfoError};
use crate::merkle::Hash;
use crate::swarm::FileIndex;
use crate::wire::{MAX_METADATA, MetadataKind};
use sha2::{Digest, Sha256};

/// The largest info dictionary that is taken: 48 MiB.
pub const MAX_INFO: u32 = 48 << 20;

/// Why a peer's metadata is refused. It is not asked again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GatherError {
    /// It has none.
    #[error("it does not have the metadata")]
    None,
    /// Not what was asked for.
    #[error("it sent metadata that was not asked for")]
    Unasked,
    /// Less than was asked for, though there is more.
    #[error("it sent {0} bytes of metadata, less than was asked for")]
    Short(usize),
    /// Larger than it can be.
    #[error("{0} bytes of metadata are not what it can be")]
    Size(u32),
    /// An info dictionary of something else.
    #[error("it sent the info dictionary of something else")]
    InfoHash,
    /// Metadata that is not valid.
    #[error(transparent)]
    Metainfo(#[from] MetainfoError),
}

/// A part to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Of what.
    pub kind: MetadataKind,
    /// From which byte.
    pub offset: u32,
    /// At most how many bytes.
    pub length: u32,
}

/// What one peer has sent so far.
#[derive(Debug)]
pub struct Gathering {
    wanted: InfoHash,
    info: Option<(Vec<u8>, Metainfo)>,
    layers: Vec<(Hash, Vec<Hash>)>,
    /// The file whose layer is next.
    file: usize,
    /// What arrived of the info dictionary, or of that layer.
    part: Vec<u8>,
    received: u64,
}

impl Gathering {
    /// Nothing yet of the torrent with this hash.
    pub fn new(wanted: InfoHash) -> Self {
        Self {
            wanted,
            info: None,
            layers: Vec::new(),
            file: 0,
            part: Vec::new(),
            received: 0,
        }
    }

    /// Bytes that arrived so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// What to ask for now.
    pub fn next(&self) -> Part {
        let kind = match &self.info {
            None => MetadataKind::Info,
            Some(_) => MetadataKind::PieceLayer(FileIndex(self.file as u32)),
        };
        Part {
            kind,
            offset: self.part.len() as u32,
            length: MAX_METADATA as u32,
        }
    }

    /// Takes an answer; the metainfo once all of it is here, with these trackers and web seeds.
    pub fn take(
        &mut self,
        answer: Part,
        data: &[u8],
        trackers: &[Vec<String>],
        web_seeds: &[String],
    ) -> Result<Option<Metainfo>, GatherError> {
        let asked = self.next();
        if (answer.kind, answer.offset) != (asked.kind, asked.offset) {
            return Err(GatherError::Unasked);
        }
        let total = answer.length;
        if data.is_empty() {
            return Err(GatherError::None);
        }
        let most = match &self.info {
            None => 1..=MAX_INFO,
            Some((_, metainfo)) => {
                let bytes = layer_bytes(metainfo, self.file);
                bytes..=bytes
            }
        };
        if !most.contains(&total) || self.part.len() + data.len() > total as usize {
            return Err(GatherError::Size(total));
        }
        let left = total as usize - self.part.len();
        if data.len() < left.min(asked.length as usize) {
            // Otherwise a byte now and then would be an answer.
            return Err(GatherError::Short(data.len()));
        }
        self.part.extend_from_slice(data);
        self.received += data.len() as u64;
        if self.part.len() < total as usize {
            return Ok(None);
        }
        let whole = std::mem::take(&mut self.part);
        if let Some((_, metainfo)) = &self.info {
            let root = metainfo.files()[self.file].pieces_root();
            let layer = whole.chunks_exact(32).filter_map(Hash::from_slice).collect();
            self.layers.push((root, layer));
            self.file += 1;
        } else {
            if InfoHash(Sha256::digest(&whole).into()) != self.wanted {
                return Err(GatherError::InfoHash);
            }
            let metainfo = Metainfo::from_info(&whole, &[], trackers, web_seeds)?;
            self.info = Some((whole, metainfo));
        }
        let Some((info, metainfo)) = &self.info else {
            return Ok(None);
        };
        let files = metainfo.files();
        while self.file < files.len() {
            let root = files[self.file].pieces_root();
            let known = self.layers.iter().any(|(of, _)| *of == root);
            if files[self.file].piece_layer().is_none() && !known {
                return Ok(None);
            }
            self.file += 1;
        }
        // Each layer is checked against its root here.
        Ok(Some(Metainfo::from_info(
            info,
            &self.layers,
            trackers,
            web_seeds,
        )?))
    }
}

fn layer_bytes(metainfo: &Metainfo, file: usize) -> u32 {
    let length = metainfo.files().get(file).map_or(0, super::File::length);
    // At most 2^21 pieces.
    (length.div_ceil(metainfo.piece_length()) * 32) as u32
}

impl Metainfo {
    /// A part of what [`Gathering`] asks for: at most `length` bytes from `offset`, and the bytes of the whole; `None`
    /// when there is no such metadata.
    pub fn metadata(&self, kind: MetadataKind, offset: u32, length: u32) -> Option<(Vec<u8>, u32)> {
        let length = (length as usize).min(MAX_METADATA);
        let offset = offset as usize;
        match kind {
            MetadataKind::Info => {
                let info = self.info_bytes();
                let part = info.get(offset..)?;
                let part = &part[..part.len().min(length)];
                Some((part.to_vec(), u32::try_from(info.len()).ok()?))
            }
            MetadataKind::PieceLayer(file) => {
                let layer = self
                    .piece_layer(file.0 as usize)
                    .filter(|layer| layer.len() > 1)?;
                let bytes = layer.get(offset / 32..)?.iter().flat_map(|hash| hash.0);
                let part = bytes.skip(offset % 32).take(length).collect();
                Some((part, u32::try_from(layer.len() * 32).ok()?))
            }
        }
    }

    /// Bytes of all the metadata that [`Self::metadata`] gives.
    pub fn metadata_bytes(&self) -> u64 {
        let pieces: u64 = (0..self.files().len())
            .filter_map(|file| self.piece_layer(file))
            .map(|layer| layer.len() as u64)
            .sum();
        self.info_bytes().len() as u64 + pieces * 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::{Builder, Listing};

    fn torrent() -> Metainfo {
        let place = tempfile::tempdir().unwrap();
        for (name, length) in [
            ("a", 100_000),
            ("b", 5),
            ("c", 100_000),
            ("d", 4_000_000),
            ("e", 0),
        ] {
            let byte = |i: usize| (i.wrapping_mul(2_654_435_761) >> 11) as u8;
            let data: Vec<u8> = (0..length).map(byte).collect();
            std::fs::write(place.path().join(name), data).unwrap();
        }
        let listing = Listing::of(place.path()).unwrap();
        let builder = Builder::new("x").piece_length(16_384);
        builder.hash_folder(place.path(), &listing, |_| {}).unwrap()
    }

    /// Answers as a peer does; `spoil` may change each answer.
    fn gather(
        of: &Metainfo,
        spoil: impl Fn(usize, &mut Part, &mut Vec<u8>),
    ) -> Result<Metainfo, GatherError> {
        let mut gathering = Gathering::new(of.info_hash_v2());
        for step in 0..100 {
            let ask = gathering.next();
            let (mut data, total) = of.metadata(ask.kind, ask.offset, ask.length).unwrap_or_default();
            let mut answer = Part { length: total, ..ask };
            spoil(step, &mut answer, &mut data);
            if let Some(done) = gathering.take(answer, &data, &[], &[])? {
                return Ok(done);
            }
        }
        panic!("it never ends");
    }

    #[test]
    fn all_of_it_comes_over_in_parts() {
        let torrent = torrent();
        let done = gather(&torrent, |_, _, _| {}).unwrap();
        assert_eq!(done.files(), torrent.files());
        assert_eq!(done.info_bytes(), torrent.info_bytes());
        assert!(done.has_piece_layers());
        // A file that is one piece, and one that is empty, have no layer to ask for.
        for file in [1, 4, 9] {
            let kind = MetadataKind::PieceLayer(FileIndex(file));
            assert_eq!(torrent.metadata(kind, 0, 100), None);
        }
        assert_eq!(torrent.metadata(MetadataKind::Info, 10_000_000, 1), None);
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let torrent = torrent();
        let wrong = |spoil: &dyn Fn(usize, &mut Part, &mut Vec<u8>)| gather(&torrent, spoil).unwrap_err();
        assert_eq!(wrong(&|_, _, data| data[0] ^= 1), GatherError::InfoHash);
        assert_eq!(wrong(&|_, _, data| data.clear()), GatherError::None);
        assert_eq!(wrong(&|_, _, data| data.truncate(1)), GatherError::Short(1));
        assert_eq!(wrong(&|_, answer, _| answer.offset += 1), GatherError::Unasked);
        assert_eq!(
            wrong(&|_, answer, _| answer.length = u32::MAX),
            GatherError::Size(u32::MAX)
        );
        assert_eq!(wrong(&|_, answer, _| answer.length = 1), GatherError::Size(1));
        let layer = |_: usize, answer: &mut Part, data: &mut Vec<u8>| {
            if answer.kind != MetadataKind::Info {
                data[5] ^= 1;
            }
        };
        assert!(matches!(wrong(&layer), GatherError::Metainfo(_)));
    }
}
