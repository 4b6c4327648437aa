//! Metainfo (`.torrent`): BEP 3 and BEP 52, parsed strictly and built deterministically.
//!
//! What is verified here, once, need not be doubted again: the info hashes are over the bytes of `info` as they
//! were, every name is safe as a path component, every piece layer that is given leads to its pieces root, and
//! a hybrid's two halves say the same. SHA-1 is only written and passed on for other clients; content is
//! verified by the SHA-256 trees alone, so metainfo without them (v1 only) is refused.
//!
//! Not for: fetching metainfo (magnet links give only hashes and hints), judging a cue sheet
//! ([`cue_sheet`](crate::cue_sheet)), or content bytes.

mod build;
mod folder;
mod gather;
mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::bencode::{self, Encode};
use crate::merkle::{BLOCK, Hash, PieceTree, Shape};

pub use build::{BuildError, Builder, is_program, piece_length_for};
pub use folder::Listing;
pub use gather::{GatherError, Gathering, MAX_INFO, Part};
pub use parse::check_name;

/// Web seeds and trackers that are used of each; more are left alone in the bytes.
pub const MAX_SOURCES: usize = 8;

/// The largest piece length that is taken, 32 MiB: a piece has to be read and hashed as a whole.
pub const MAX_PIECE_LENGTH: u64 = 32 << 20;

/// The most pieces that a torrent may have.
pub const MAX_PIECES: u64 = 0x20_0000;

/// The largest metainfo that is taken, and made: 64 MiB.
pub const MAX_TORRENT: usize = 64 << 20;

/// As many values as that many files take, in folders that are not too deep.
const LIMITS: bencode::Limits = bencode::Limits {
    bytes: MAX_TORRENT,
    depth: 100,
    values: 2_000_000,
    ordered: true,
};

/// The most files that a torrent may have, empty ones included.
pub const MAX_FILES: usize = 0x1_0000;

/// The most folders within each other, and a file in them.
pub const MAX_DEPTH: usize = 32;

/// The v2 info hash: SHA-256 of the bencoded `info` (BEP 52). Shown as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InfoHash(pub [u8; 32]);

impl InfoHash {
    /// The bytes of the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 20 bytes: what trackers and the DHT use for ordinary v2 clients (BEP 52).
    pub fn truncated(&self) -> [u8; 20] {
        let mut key = [0; 20];
        key.copy_from_slice(&self.0[..20]);
        key
    }

    /// The key under which Grove peers announce: SHA-256 of `grove swarm 1` and this hash, cut to 20 bytes.
    /// Ordinary clients never meet it, since their peers speak TCP and ours QUIC.
    pub fn swarm_key(&self) -> [u8; 20] {
        let digest = Sha256::new()
            .chain_update(b"grove swarm 1")
            .chain_update(self.0)
            .finalize();
        let mut key = [0; 20];
        key.copy_from_slice(&digest[..20]);
        key
    }
}

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InfoHash({self})")
    }
}

impl FromStr for InfoHash {
    type Err = hex::FromHexError;

    /// Reads 64 hex digits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

/// Why metainfo is refused: one sentence that names what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetainfoError {
    /// Not canonical bencoding.
    #[error("not valid bencoding: {0}")]
    Bencoding(#[from] bencode::Error),
    /// A key that must be there is not.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A key has a value of the wrong kind or out of its range.
    #[error("`{key}` {why}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// No SHA-256 trees.
    #[error("this is a version 1 torrent only: it has no SHA-256 hashes to verify with")]
    V1Only,
    /// A `meta version` that is not 2.
    #[error("`meta version` is {0}, only 2 is known")]
    UnknownVersion(i64),
    /// Not a power of two of at least 16 KiB, or over [`MAX_PIECE_LENGTH`].
    #[error("`piece length` {0} is not a power of two from 16 KiB to 32 MiB")]
    PieceLength(i64),
    /// A name that cannot be a path component, or would leave the folder.
    #[error("{0:?} cannot be the name of a file or folder")]
    UnsafeName(String),
    /// A path that is both a file and a folder, or is nothing.
    #[error("`file tree` is broken at {0:?}")]
    FileTree(String),
    /// A file's length that is negative or over 2⁴⁸.
    #[error("file {path:?} has the impossible length {length}")]
    FileLength {
        /// The file.
        path: String,
        /// What it claims.
        length: i64,
    },
    /// `pieces root` is missing, of the wrong size or all zero.
    #[error("file {0:?} has no valid `pieces root`")]
    PiecesRoot(String),
    /// No bytes in it at all.
    #[error("it has no content: all files are empty")]
    Empty,
    /// More than [`MAX_FILES`].
    #[error("more than {MAX_FILES} files are too many")]
    TooManyFiles,
    /// More than [`MAX_PIECES`].
    #[error("{0} pieces are too many")]
    TooManyPieces(u64),
    /// A piece layer that does not belong to the files.
    #[error("piece layer {root}: {why}")]
    PieceLayer {
        /// The key of the layer in hex.
        root: String,
        /// What is wrong.
        why: String,
    },
    /// The version 1 half of a hybrid says something else than the version 2 half.
    #[error("the version 1 and version 2 parts disagree: {0}")]
    Inconsistent(String),
    /// A file of a torrent with a list is a symbolic link out of it, or a pad where none may be.
    #[error("file {path:?} {why}")]
    File {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
}

/// One file of a torrent. Pads and symbolic links are not files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    path: Vec<String>,
    length: u64,
    root: Hash,
    /// One hash for each piece; `None` when it is not known (yet).
    layer: Option<Vec<Hash>>,
    executable: bool,
}

impl File {
    /// Safe path components below the place of the download; for a single file its name alone.
    pub fn path(&self) -> &[String] {
        &self.path
    }

    /// Length in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The root of its SHA-256 tree; [`Hash::ZERO`] for an empty file.
    pub fn pieces_root(&self) -> Hash {
        self.root
    }

    /// The root of each piece, in order; `None` when the metainfo came without the layers. A file of one piece
    /// has its pieces root here, an empty file nothing.
    pub fn piece_layer(&self) -> Option<&[Hash]> {
        self.layer.as_deref()
    }

    /// Whether it is a program (the attribute `x` of BEP 47).
    pub fn is_executable(&self) -> bool {
        self.executable
    }
}

/// Parsed and checked metainfo, with the bytes that it came from.
#[derive(Clone, PartialEq, Eq)]
pub struct Metainfo {
    bytes: Vec<u8>,
    info: Range<usize>,
    info_hash: InfoHash,
    info_hash_v1: Option<[u8; 20]>,
    name: String,
    piece_length: u64,
    files: Vec<File>,
    links: usize,
    single_file: bool,
    private: bool,
    trackers: Vec<Vec<String>>,
    web_seeds: Vec<String>,
    cue_sheet: Option<Range<usize>>,
    frame_index: Option<Range<usize>>,
    creation_date: Option<i64>,
    created_by: Option<String>,
    comment: Option<String>,
}

impl fmt::Debug for Metainfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metainfo")
            .field("info_hash", &self.info_hash)
            .field("name", &self.name)
            .field("length", &self.length())
            .field("piece_length", &self.piece_length)
            .finish_non_exhaustive()
    }
}

impl Metainfo {
    /// Reads a `.torrent` and checks all that can be checked without the content. Line ends after the last byte are left off: editors and
    /// scripts put one there, it is in no info hash, and libtorrent reads such files too.
    pub fn parse(bytes: &[u8]) -> Result<Self, MetainfoError> {
        parse::parse(bytes)
    }

    /// Makes metainfo of an `info` dictionary and piece layers that came from elsewhere (a magnet link's peers),
    /// and checks them as [`parse`](Self::parse) does. Layers that belong to no file are refused. The caller
    /// compares [`info_hash_v2`](Self::info_hash_v2) with what it asked for.
    pub fn from_info(
        info: &[u8],
        piece_layers: &[(Hash, Vec<Hash>)],
        trackers: &[Vec<String>],
        web_seeds: &[String],
    ) -> Result<Self, MetainfoError> {
        bencode::Value::parse_within(info, LIMITS)?;
        let parts = Parts {
            info: info.to_vec(),
            piece_layers,
            trackers,
            web_seeds,
            creation_date: None,
            created_by: None,
        };
        Self::parse(&parts.assemble())
    }

    /// The bytes of the whole `.torrent`.
    pub fn to_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of the bencoded `info` dictionary, over which the info hashes are.
    pub fn info_bytes(&self) -> &[u8] {
        &self.bytes[self.info.clone()]
    }

    /// The v2 info hash: the identity of this content.
    pub fn info_hash_v2(&self) -> InfoHash {
        self.info_hash
    }

    /// The v1 info hash, when this is a hybrid.
    pub fn info_hash_v1(&self) -> Option<[u8; 20]> {
        self.info_hash_v1
    }

    /// See [`InfoHash::swarm_key`].
    pub fn swarm_key(&self) -> [u8; 20] {
        self.info_hash.swarm_key()
    }

    /// Name of the file, or of the folder of several files: safe as a path component.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of content in all files.
    pub fn length(&self) -> u64 {
        self.files.iter().map(|file| file.length).sum()
    }

    /// Bytes in a piece: a power of two, at least 16 KiB.
    pub fn piece_length(&self) -> u64 {
        self.piece_length
    }

    /// Blocks of 16 KiB in a full piece.
    pub fn blocks_per_piece(&self) -> u32 {
        (self.piece_length / BLOCK as u64) as u32 // at most 2^11, by MAX_PIECE_LENGTH
    }

    /// The files in the order of BEP 52 (that of the `file tree`). Never empty.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// Symbolic links that it names (the attribute `l` of BEP 47). They take no part in delivery: none is made or followed.
    pub fn links(&self) -> usize {
        self.links
    }

    /// Whether this is one file that is called like the torrent, rather than a folder.
    pub fn is_single_file(&self) -> bool {
        self.single_file
    }

    /// The root of each piece of a file, in order; `None` when there is no such file or its layer is unknown.
    pub fn piece_layer(&self, file: usize) -> Option<&[Hash]> {
        self.files.get(file)?.piece_layer()
    }

    /// An empty tree (only the root known) for a piece of a file, with the right shape; `None` when there is no
    /// such piece or its layer is unknown.
    pub fn piece_tree(&self, file: usize, piece: u32) -> Option<PieceTree> {
        let file = self.files.get(file)?;
        let shape = Shape::of_piece(file.length, self.piece_length, piece)?;
        Some(PieceTree::new(shape, *file.piece_layer()?.get(piece as usize)?))
    }

    /// Whether the layers of all files are known, so that content can be verified.
    pub fn has_piece_layers(&self) -> bool {
        self.files.iter().all(|file| file.layer.is_some())
    }

    /// Whether `private` is set (BEP 27): only its trackers may be asked for peers.
    pub fn private(&self) -> bool {
        self.private
    }

    /// Tiers of tracker URLs (BEP 12), or one of `announce` alone; at most [`MAX_SOURCES`] URLs in all.
    pub fn trackers(&self) -> &[Vec<String>] {
        &self.trackers
    }

    /// Web seeds (`url-list`, BEP 19), at most [`MAX_SOURCES`]. What to ask one of them for is in
    /// [`web_seed_url`](Self::web_seed_url).
    pub fn web_seeds(&self) -> &[String] {
        &self.web_seeds
    }

    /// The URL of a file at a web seed, by the rules of BEP 19: for a single file the seed itself, unless it
    /// ends in a slash; for several always below the folder.
    pub fn web_seed_url(&self, seed: &str, file: usize) -> Option<String> {
        let file = self.files.get(file)?;
        if self.single_file && !seed.ends_with('/') {
            return Some(seed.to_owned());
        }
        let mut url = seed.trim_end_matches('/').to_owned();
        let folder = (!self.single_file).then_some(&self.name);
        for part in folder.into_iter().chain(&file.path) {
            url.push('/');
            url.extend(utf8_percent_encode(part, PATH_SEGMENT));
        }
        Some(url)
    }

    /// The bencoded value of `cue sheet`, unjudged: see [`cue_sheet`](crate::cue_sheet).
    pub fn cue_sheet(&self) -> Option<&[u8]> {
        self.cue_sheet.clone().map(|range| &self.bytes[range])
    }

    /// What `info` has as `frame index`, when that is bytes and this is one file: unjudged, and a part of its identity.
    pub fn frame_index(&self) -> Option<&[u8]> {
        self.frame_index.clone().map(|range| &self.bytes[range])
    }

    /// The same metainfo with another cue sheet (a bencoded value), or without one. Everything else keeps its
    /// bytes, so the info hashes stay.
    pub fn with_cue_sheet(&self, cue_sheet: Option<&[u8]>) -> Result<Self, MetainfoError> {
        let mut top = self.top()?;
        match cue_sheet {
            Some(raw) => top.insert(b"cue sheet".to_vec(), Encode::Raw(raw.to_vec())),
            None => top.remove(b"cue sheet".as_slice()),
        };
        Self::parse(&Encode::Dictionary(top).to_bytes())
    }

    /// The same metainfo with these piece layers, which are checked against the pieces roots. For metainfo that
    /// came without them.
    pub fn with_piece_layers(&self, layers: &[(Hash, Vec<Hash>)]) -> Result<Self, MetainfoError> {
        let mut top = self.top()?;
        top.insert(b"piece layers".to_vec(), encode_layers(layers));
        Self::parse(&Encode::Dictionary(top).to_bytes())
    }

    /// The same metainfo with these trackers, each a tier of its own, and these web seeds, instead of what it names.
    pub fn with_sources(&self, trackers: &[String], web_seeds: &[String]) -> Result<Self, MetainfoError> {
        let mut top = self.top()?;
        for key in ["announce", "announce-list", "url-list"] {
            top.remove(key.as_bytes());
        }
        let tiers: Vec<Vec<String>> = trackers.iter().map(|one| vec![one.clone()]).collect();
        for (key, value) in sources(&tiers, web_seeds) {
            top.insert(key.as_bytes().to_vec(), value);
        }
        Self::parse(&Encode::Dictionary(top).to_bytes())
    }

    /// `creation date` in unix seconds, when it says one.
    pub fn creation_date(&self) -> Option<i64> {
        self.creation_date
    }

    /// `created by`, when it says so.
    pub fn created_by(&self) -> Option<&str> {
        self.created_by.as_deref()
    }

    /// `comment`, when there is one.
    pub fn comment(&self) -> Option<&str> {
        self.comment.as_deref()
    }

    fn top(&self) -> Result<std::collections::BTreeMap<Vec<u8>, Encode>, MetainfoError> {
        let top = bencode::Value::parse_within(&self.bytes, LIMITS)?;
        let entries = top.dictionary().unwrap_or_default(); // it was a dictionary when it was parsed
        Ok(entries
            .iter()
            .map(|(key, value)| (key.to_vec(), Encode::Raw(value.raw.to_vec())))
            .collect())
    }
}

/// What percent-encoding leaves alone in a path segment: the unreserved characters of RFC 3986.
const PATH_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What a `.torrent` is put together from.
struct Parts<'a> {
    info: Vec<u8>,
    piece_layers: &'a [(Hash, Vec<Hash>)],
    trackers: &'a [Vec<String>],
    web_seeds: &'a [String],
    creation_date: Option<i64>,
    created_by: Option<&'a str>,
}

impl Parts<'_> {
    fn assemble(self) -> Vec<u8> {
        let mut top = vec![
            ("info", Encode::Raw(self.info)),
            ("piece layers", encode_layers(self.piece_layers)),
        ];
        top.extend(sources(self.trackers, self.web_seeds));
        if let Some(date) = self.creation_date {
            top.push(("creation date", Encode::Integer(date)));
        }
        if let Some(name) = self.created_by {
            top.push(("created by", Encode::text(name)));
        }
        Encode::dictionary(top).to_bytes()
    }
}

/// Where the content and those who have it are found, as top-level keys.
fn sources(trackers: &[Vec<String>], web_seeds: &[String]) -> Vec<(&'static str, Encode)> {
    let texts = |list: &[String]| Encode::List(list.iter().map(|text| Encode::text(text)).collect());
    let mut top = Vec::new();
    if let Some(first) = trackers.iter().flatten().next() {
        top.push(("announce", Encode::text(first)));
        if trackers.iter().map(Vec::len).sum::<usize>() > 1 {
            let tiers = trackers.iter().map(|tier| texts(tier)).collect();
            top.push(("announce-list", Encode::List(tiers)));
        }
    }
    match web_seeds {
        [] => {}
        // A lone string, as older clients know it; BEP 19 allows both.
        [one] => top.push(("url-list", Encode::text(one))),
        many => top.push(("url-list", texts(many))),
    }
    top
}

fn encode_layers(layers: &[(Hash, Vec<Hash>)]) -> Encode {
    let joined = |layer: &[Hash]| Encode::Bytes(layer.iter().flat_map(|hash| hash.0).collect());
    Encode::Dictionary(
        layers
            .iter()
            .map(|(root, layer)| (root.0.to_vec(), joined(layer)))
            .collect(),
    )
}

fn sha1(bytes: &[u8]) -> [u8; 20] {
    Sha1::digest(bytes).into()
}
