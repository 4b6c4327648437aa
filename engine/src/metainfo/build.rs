//! Makes hybrid metainfo of one file in one pass over its bytes; of several in `folder`.
//!
//! The `info` dictionary has only what a hybrid needs, so that the same file, name and piece length give the
//! same info hashes whoever publishes: libtorrent's are equal. An index of frames is the one thing that may be
//! there besides.

use std::io::Read;

use sha1::{Digest, Sha1};

use super::{LIMITS, MAX_PIECE_LENGTH, Metainfo, MetainfoError, Parts, parse};
use crate::bencode::{self, Encode};
use crate::merkle::{BLOCK, FileHasher, Hash};

/// Why a file could not be made into metainfo.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Nothing to deliver.
    #[error("it is empty")]
    Empty(String),
    /// The name cannot be a file name.
    #[error("{0:?} cannot be the name of a published file")]
    Name(String),
    /// More files, or folders within folders, than a torrent may have.
    #[error("{name:?} has more than {limit} {what}")]
    TooMany {
        /// The folder.
        name: String,
        /// Of what.
        what: &'static str,
        /// How many may be.
        limit: usize,
    },
    /// See [`Builder::piece_length`].
    #[error("a piece length of {0} bytes is not a power of two from 16 KiB to 32 MiB")]
    PieceLength(u64),
    /// The file was cut or grew while it was read.
    #[error("{name:?} changed while it was read: {expected} bytes were expected, {found} were there")]
    Changed {
        /// The file.
        name: String,
        /// Its length at the beginning.
        expected: u64,
        /// The bytes that were read.
        found: u64,
    },
    /// Reading failed.
    #[error("cannot read {name:?}: {source}")]
    Read {
        /// The file.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// The result would not be accepted, for example because it is too large.
    #[error("the metainfo would not be valid: {0}")]
    Metainfo(#[from] MetainfoError),
}

/// The piece length for so many bytes: 64 KiB, doubled until there are at most 4,096 pieces.
pub fn piece_length_for(length: u64) -> u64 {
    let mut piece_length = 64 * 1024;
    while length.div_ceil(piece_length) > 4096 && piece_length < MAX_PIECE_LENGTH {
        piece_length *= 2;
    }
    piece_length
}

/// Whether the metainfo of files with these paths and lengths can be taken by anybody, about: this is asked before they
/// are hashed, which may take hours.
pub(super) fn check_size<'a>(
    files: impl Iterator<Item = (&'a [String], u64)>,
    piece_length: u64,
) -> Result<(), MetainfoError> {
    let (mut bytes, mut values) = (0, 0);
    for (path, length) in files {
        // Each is named for both versions, with its padding; each piece has a hash of 32 bytes and one of 20.
        let names: usize = path.iter().map(String::len).sum();
        bytes += 256 + 2 * names as u64 + 52 * length.div_ceil(piece_length);
        values += 22 + path.len();
    }
    let limit = LIMITS.bytes;
    if bytes > limit as u64 {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        return Err(bencode::Error::TooLarge { bytes, limit }.into());
    }
    let limit = LIMITS.values;
    if values > limit {
        return Err(bencode::Error::TooMany { limit }.into());
    }
    Ok(())
}

/// Collects what the metainfo shall say, then hashes the file.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) name: String,
    pub(super) piece_length: Option<u64>,
    pub(super) web_seeds: Vec<String>,
    pub(super) trackers: Vec<Vec<String>>,
    pub(super) private: bool,
    pub(super) creation_date: Option<i64>,
    pub(super) created_by: Option<String>,
    frame_index: Option<Vec<u8>>,
    program: bool,
}

/// Whether a file may be run by whoever owns it, which is what [`Builder::program`] says of it.
pub fn is_program(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    metadata.permissions().mode() & 0o100 != 0
}

impl Builder {
    /// For a file that shall be called `name`.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            piece_length: None,
            web_seeds: Vec::new(),
            trackers: Vec::new(),
            private: false,
            creation_date: None,
            created_by: None,
            frame_index: None,
            program: false,
        }
    }

    /// Overrides [`piece_length_for`]: a power of two from 16 KiB to 32 MiB.
    #[must_use]
    pub fn piece_length(mut self, bytes: u64) -> Self {
        self.piece_length = Some(bytes);
        self
    }

    /// Adds a web seed (BEP 19): the URL of the file itself.
    #[must_use]
    pub fn web_seed(mut self, url: impl Into<String>) -> Self {
        self.web_seeds.push(url.into());
        self
    }

    /// Adds a tracker, as a tier of its own (BEP 12).
    #[must_use]
    pub fn tracker(mut self, url: impl Into<String>) -> Self {
        self.trackers.push(vec![url.into()]);
        self
    }

    /// Sets the `private` flag (BEP 27), which changes the info hashes.
    #[must_use]
    pub fn private(mut self, private: bool) -> Self {
        self.private = private;
        self
    }

    /// Writes `creation date`, in unix seconds. Without it the result depends on the file alone.
    #[must_use]
    pub fn creation_date(mut self, unix_seconds: i64) -> Self {
        self.creation_date = Some(unix_seconds);
        self
    }

    /// Writes `created by`.
    #[must_use]
    pub fn created_by(mut self, program: impl Into<String>) -> Self {
        self.created_by = Some(program.into());
        self
    }

    /// Writes an index of the file's frames into `info`, which changes the info hashes: who has the same ones counts
    /// the same frames. What is in it is nothing to this package. A folder has none.
    #[must_use]
    pub fn frame_index(mut self, bytes: Option<Vec<u8>>) -> Self {
        self.frame_index = bytes;
        self
    }

    /// Says whether the file is a program (the attribute `x` of BEP 47), which changes the info hashes. [`Self::hash_file`] and
    /// [`Self::hash_folder`] look at the files themselves.
    #[must_use]
    pub fn program(mut self, program: bool) -> Self {
        self.program = program;
        self
    }

    /// Hashes `length` bytes of `content`, which must end there, and gives the metainfo. `progress` is told the
    /// bytes that are done, about once a MiB.
    pub fn hash(
        self,
        mut content: impl Read,
        length: u64,
        mut progress: impl FnMut(u64),
    ) -> Result<Metainfo, BuildError> {
        if length == 0 {
            return Err(BuildError::Empty(self.name));
        }
        let piece_length = self.checked_piece_length(length)?;
        check_size(std::iter::once((&[][..], length)), piece_length)?;
        let mut tree = FileHasher::new(piece_length);
        let mut pieces = V1Pieces::new(piece_length);
        let mut buffer = vec![0; 1 << 20];
        let mut done = 0;
        loop {
            let count = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(source) => {
                    return Err(BuildError::Read {
                        name: self.name,
                        source,
                    });
                }
            };
            done += count as u64;
            if done > length {
                break;
            }
            tree.update(&buffer[..count]);
            pieces.update(&buffer[..count]);
            progress(done);
        }
        if done != length {
            return Err(BuildError::Changed {
                name: self.name,
                expected: length,
                found: done,
            });
        }

        let (root, layer) = tree.finish();
        let layers: Vec<(Hash, Vec<Hash>)> = if layer.is_empty() {
            Vec::new()
        } else {
            vec![(root, layer)]
        };
        let info = self.info(length, piece_length, root, pieces.finish());
        self.assemble(&info, &layers)
    }

    /// The piece length for so many bytes, once name and piece length are found to be possible.
    pub(super) fn checked_piece_length(&self, length: u64) -> Result<u64, BuildError> {
        if parse::check_name(self.name.as_bytes()).is_err() {
            return Err(BuildError::Name(self.name.clone()));
        }
        let piece_length = self.piece_length.unwrap_or_else(|| piece_length_for(length));
        if !piece_length.is_power_of_two() || !(BLOCK as u64..=MAX_PIECE_LENGTH).contains(&piece_length) {
            return Err(BuildError::PieceLength(piece_length));
        }
        Ok(piece_length)
    }

    pub(super) fn assemble(
        &self,
        info: &Encode,
        layers: &[(Hash, Vec<Hash>)],
    ) -> Result<Metainfo, BuildError> {
        let parts = Parts {
            info: info.to_bytes(),
            piece_layers: layers,
            trackers: &self.trackers,
            web_seeds: &self.web_seeds,
            creation_date: self.creation_date,
            created_by: self.created_by.as_deref(),
        };
        Ok(Metainfo::parse(&parts.assemble())?)
    }

    /// As [`hash`](Self::hash), for the file at `path`.
    pub fn hash_file(
        self,
        path: &std::path::Path,
        progress: impl FnMut(u64),
    ) -> Result<Metainfo, BuildError> {
        let opened = std::fs::File::open(path).and_then(|file| {
            let metadata = file.metadata()?;
            Ok((file, metadata))
        });
        match opened {
            Ok((file, metadata)) => {
                let is_program = is_program(&metadata);
                self.program(is_program).hash(file, metadata.len(), progress)
            }
            Err(source) => Err(BuildError::Read {
                name: path.display().to_string(),
                source,
            }),
        }
    }

    fn info(&self, length: u64, piece_length: u64, root: Hash, pieces: Vec<u8>) -> Encode {
        let length = Encode::Integer(length as i64); // a file's length fits
        let mut leaf = vec![
            ("length", length.clone()),
            ("pieces root", Encode::Bytes(root.0.to_vec())),
        ];
        if self.program {
            leaf.push(("attr", Encode::text("x")));
        }
        let leaf = Encode::dictionary([("", Encode::dictionary(leaf))]);
        let file_tree = Encode::dictionary([(self.name.as_str(), leaf)]);
        let mut info = vec![
            ("file tree", file_tree),
            ("length", length),
            ("meta version", Encode::Integer(2)),
            ("name", Encode::text(&self.name)),
            ("piece length", Encode::Integer(piece_length as i64)),
            ("pieces", Encode::Bytes(pieces)),
        ];
        if self.private {
            info.push(("private", Encode::Integer(1)));
        }
        if self.program {
            info.push(("attr", Encode::text("x")));
        }
        if let Some(bytes) = &self.frame_index {
            info.push(("frame index", Encode::Bytes(bytes.clone())));
        }
        Encode::dictionary(info)
    }
}

/// SHA-1 of each piece, for clients that know only version 1.
pub(super) struct V1Pieces {
    piece_length: u64,
    left: u64,
    hasher: Sha1,
    hashes: Vec<u8>,
}

impl V1Pieces {
    pub(super) fn new(piece_length: u64) -> Self {
        Self {
            piece_length,
            left: piece_length,
            hasher: Sha1::new(),
            hashes: Vec::new(),
        }
    }

    /// Fills the piece with zeros, as a pad does; gives how many.
    pub(super) fn pad(&mut self) -> u64 {
        if self.left == self.piece_length {
            return 0;
        }
        let gap = self.left;
        let zeros = [0; 16 * 1024];
        let mut left = gap;
        while left > 0 {
            let now = left.min(zeros.len() as u64);
            self.update(&zeros[..now as usize]);
            left -= now;
        }
        gap
    }

    pub(super) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(self.left as usize));
            self.hasher.update(now);
            self.left -= now.len() as u64;
            bytes = rest;
            if self.left == 0 {
                self.end_piece();
            }
        }
    }

    fn end_piece(&mut self) {
        self.hashes
            .extend_from_slice(&std::mem::take(&mut self.hasher).finalize());
        self.left = self.piece_length;
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.left < self.piece_length {
            self.end_piece();
        }
        self.hashes
    }
}
