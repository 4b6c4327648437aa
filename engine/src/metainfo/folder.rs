//! Makes hybrid metainfo of a folder: the files below it in the order of BEP 52, padded to pieces for version 1.
//!
//! Pads are laid out as libtorrent does (after each file that ends within a piece, the last one too, but not after a lone file), so
//! that the same folder, name and piece length give the same info hashes.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::build::{BuildError, Builder, V1Pieces, check_size, is_program};
use super::{MAX_DEPTH, MAX_FILES, Metainfo, parse};
use crate::bencode::Encode;
use crate::merkle::{FileHasher, Hash};

/// What is below a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Regular files in the order of BEP 52, as path components with lengths.
    pub files: Vec<(Vec<String>, u64)>,
    /// What takes no part: symbolic links, sockets, devices.
    pub left_out: Vec<PathBuf>,
    /// Folders with nothing in them, sorted: a torrent names files alone.
    pub empty: Vec<PathBuf>,
}

impl Listing {
    /// Looks at everything below `root`. Names that cannot be in a torrent are an error.
    pub fn of(root: &Path) -> Result<Self, BuildError> {
        let mut listing = Self::default();
        listing.add(root, &mut Vec::new())?;
        // Component by component, as nested dictionaries sort; bytes, not letters.
        listing.files.sort();
        listing.empty.sort();
        Ok(listing)
    }

    /// Bytes of all files.
    pub fn length(&self) -> u64 {
        self.files.iter().map(|(_, length)| length).sum()
    }

    fn add(&mut self, folder: &Path, path: &mut Vec<String>) -> Result<(), BuildError> {
        let failed = |path: &Path, source: std::io::Error| BuildError::Read {
            name: path.display().to_string(),
            source,
        };
        let too_many = |what, limit| BuildError::TooMany {
            name: folder.display().to_string(),
            what,
            limit,
        };
        if path.len() >= MAX_DEPTH {
            return Err(too_many("folders within each other", MAX_DEPTH));
        }
        let mut entries = std::fs::read_dir(folder)
            .map_err(|e| failed(folder, e))?
            .peekable();
        if entries.peek().is_none() && !path.is_empty() {
            self.empty.push(folder.to_owned());
        }
        for entry in entries {
            let entry = entry.map_err(|e| failed(folder, e))?;
            let kind = entry.file_type().map_err(|e| failed(&entry.path(), e))?;
            if !kind.is_dir() && !kind.is_file() {
                self.left_out.push(entry.path());
                continue;
            }
            let name = entry.file_name();
            let name = parse::check_name(name.as_encoded_bytes()).map_err(|_| {
                let inside: PathBuf = path.iter().collect();
                BuildError::Name(inside.join(&name).to_string_lossy().into_owned())
            })?;
            path.push(name.to_owned());
            if kind.is_dir() {
                self.add(&entry.path(), path)?;
            } else {
                if self.files.len() >= MAX_FILES {
                    return Err(too_many("files", MAX_FILES));
                }
                let length = entry.metadata().map_err(|e| failed(&entry.path(), e))?.len();
                self.files.push((path.clone(), length));
            }
            path.pop();
        }
        Ok(())
    }
}

impl Builder {
    /// Hashes the files of a listing below `root`, and gives the metainfo. `progress` is told the bytes that are done,
    /// about once a MiB.
    pub fn hash_folder(
        self,
        root: &Path,
        listing: &Listing,
        mut progress: impl FnMut(u64),
    ) -> Result<Metainfo, BuildError> {
        let total = listing.length();
        if total == 0 {
            return Err(BuildError::Empty(self.name));
        }
        let piece_length = self.checked_piece_length(total)?;
        let files = listing.files.iter();
        check_size(
            files.map(|(path, length)| (path.as_slice(), *length)),
            piece_length,
        )?;
        let mut pieces = V1Pieces::new(piece_length);
        let mut layers: Vec<(Hash, Vec<Hash>)> = Vec::new();
        let mut known = HashSet::new();
        let mut tree = Encode::Dictionary(BTreeMap::new());
        let mut list = Vec::new();
        let mut done = 0;
        let alone = listing.files.len() == 1;
        for (path, length) in &listing.files {
            let place: PathBuf = root.join(path.iter().collect::<PathBuf>());
            let mut hasher = FileHasher::new(piece_length);
            let is_program = read(&place, *length, |bytes| {
                hasher.update(bytes);
                pieces.update(bytes);
                done += bytes.len() as u64;
                progress(done);
            })?;
            let size = Encode::Integer(i64::try_from(*length).unwrap_or(i64::MAX));
            let mut leaf = vec![("length", size.clone())];
            let mut entry = vec![("length", size)];
            if is_program {
                leaf.push(("attr", Encode::text("x")));
                entry.push(("attr", Encode::text("x")));
            }
            if *length > 0 {
                let (root, layer): (Hash, Vec<Hash>) = hasher.finish();
                leaf.push(("pieces root", Encode::Bytes(root.0.to_vec())));
                // Files that are equal share their layer.
                if !layer.is_empty() && known.insert(root.0) {
                    layers.push((root, layer));
                }
            }
            insert(
                &mut tree,
                path,
                Encode::dictionary([("", Encode::dictionary(leaf))]),
            );
            let parts = path.iter().map(|part| Encode::text(part)).collect();
            entry.push(("path", Encode::List(parts)));
            list.push(Encode::dictionary(entry));
            if !alone {
                let gap = pieces.pad();
                if gap > 0 {
                    list.push(pad(gap));
                }
            }
        }
        let mut info = vec![
            ("file tree", tree),
            ("files", Encode::List(list)),
            ("meta version", Encode::Integer(2)),
            ("name", Encode::text(&self.name)),
            ("piece length", Encode::Integer(piece_length as i64)), // at most 32 MiB
            ("pieces", Encode::Bytes(pieces.finish())),
        ];
        if self.private {
            info.push(("private", Encode::Integer(1)));
        }
        self.assemble(&Encode::dictionary(info), &layers)
    }
}

/// Reads exactly `length` bytes of a file, which must end there. Whether it is a program.
fn read(path: &Path, length: u64, mut take: impl FnMut(&[u8])) -> Result<bool, BuildError> {
    let name = || path.display().to_string();
    let failed = |source| BuildError::Read { name: name(), source };
    let mut file = File::open(path).map_err(failed)?;
    let is_program = is_program(&file.metadata().map_err(failed)?);
    let mut buffer = vec![0; 1 << 20];
    let mut found = 0;
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        found += count as u64;
        if found > length {
            break;
        }
        take(&buffer[..count]);
    }
    if found == length {
        return Ok(is_program);
    }
    Err(BuildError::Changed {
        name: name(),
        expected: length,
        found,
    })
}

/// Puts a leaf into the nested dictionaries of `file tree`.
fn insert(tree: &mut Encode, path: &[String], leaf: Encode) {
    let (Encode::Dictionary(entries), [first, rest @ ..]) = (tree, path) else {
        return;
    };
    if rest.is_empty() {
        entries.insert(first.clone().into_bytes(), leaf);
        return;
    }
    let inner = entries
        .entry(first.clone().into_bytes())
        .or_insert_with(|| Encode::Dictionary(BTreeMap::new()));
    insert(inner, rest, leaf);
}

fn pad(length: u64) -> Encode {
    Encode::dictionary([
        ("attr", Encode::text("p")),
        ("length", Encode::Integer(length as i64)), // less than a piece
        (
            "path",
            Encode::List(vec![Encode::text(".pad"), Encode::text(&length.to_string())]),
        ),
    ])
}
