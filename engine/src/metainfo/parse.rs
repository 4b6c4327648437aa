//! Reads metainfo by the rules of BEP 3, 47 and 52.
//!
//! `info` and `piece layers` are judged strictly. The rest (trackers, web seeds, comments) are hints: what is
//! not understood there is left alone.

use std::collections::HashMap;
use std::ops::Range;

use sha2::{Digest, Sha256};

use super::{
    File, InfoHash, LIMITS, MAX_DEPTH, MAX_FILES, MAX_PIECE_LENGTH, MAX_PIECES, MAX_SOURCES, Metainfo,
    MetainfoError, sha1,
};
use crate::bencode::Value;
use crate::merkle::{BLOCK, Hash, root_over};

/// Longest name that common file systems take, in bytes.
const MAX_NAME: usize = 255;

/// A file's length is below this: 16 TiB.
const MAX_FILE_LENGTH: u64 = 1 << 44;

pub(super) fn parse(bytes: &[u8]) -> Result<Metainfo, MetainfoError> {
    let mut bytes = bytes;
    // A dictionary ends with an `e`.
    while let [rest @ .., b'\n' | b'\r'] = bytes {
        bytes = rest;
    }
    let top = Value::parse_within(bytes, LIMITS)?;
    if top.dictionary().is_none() {
        return Err(invalid("metainfo", "is not a dictionary"));
    }
    let info = top.get("info").ok_or(MetainfoError::Missing("info"))?;
    if info.dictionary().is_none() {
        return Err(invalid("info", "is not a dictionary"));
    }

    check_version(info)?;
    let piece_length = piece_length(info)?;
    let name = check_name(bytes_of(info, "name")?.ok_or(MetainfoError::Missing("name"))?)?;
    let tree = info.get("file tree").ok_or(MetainfoError::Missing("file tree"))?;
    let (mut files, mut links) = (Vec::new(), 0);
    walk(tree, &mut Vec::new(), (&mut files, &mut links))?;
    if files.iter().all(|file| file.length == 0) {
        return Err(MetainfoError::Empty);
    }
    let pieces = files
        .iter()
        .map(|file| file.length.div_ceil(piece_length))
        .fold(0, u64::saturating_add);
    if pieces > MAX_PIECES {
        return Err(MetainfoError::TooManyPieces(pieces));
    }
    let has_v1 = check_v1(info, name, piece_length, &files)?;
    read_layers(top.get("piece layers"), piece_length, &mut files)?;

    let single_file = info.get("files").is_none() && files.len() == 1 && files[0].path.as_slice() == [name];
    Ok(Metainfo {
        info: range_of(bytes, info.raw),
        info_hash: InfoHash(Sha256::digest(info.raw).into()),
        info_hash_v1: has_v1.then(|| sha1(info.raw)),
        name: name.to_owned(),
        piece_length,
        files,
        links,
        single_file,
        private: integer_of(info, "private")?.is_some_and(|value| value != 0),
        trackers: trackers(&top),
        web_seeds: web_seeds(&top),
        cue_sheet: top.get("cue sheet").map(|value| range_of(bytes, value.raw)),
        frame_index: info
            .get("frame index")
            .and_then(Value::bytes)
            .filter(|_| single_file)
            .map(|index| range_of(bytes, index)),
        creation_date: top.get("creation date").and_then(Value::integer),
        created_by: top.get("created by").and_then(Value::text).map(str::to_owned),
        comment: top.get("comment").and_then(Value::text).map(str::to_owned),
        bytes: bytes.to_vec(),
    })
}

/// A name that is safe as a path component: text of 1 to 255 bytes that is neither `.` nor `..`, without separators and control characters.
///
/// # Errors
/// [`MetainfoError::UnsafeName`]
pub fn check_name(name: &[u8]) -> Result<&str, MetainfoError> {
    let refused = || MetainfoError::UnsafeName(String::from_utf8_lossy(name).into_owned());
    let text = std::str::from_utf8(name).map_err(|_| refused())?;
    let unsafe_char = |c: char| c == '/' || c == '\\' || c.is_control();
    if text.is_empty() || text == "." || text == ".." || text.len() > MAX_NAME || text.contains(unsafe_char) {
        return Err(refused());
    }
    Ok(text)
}

fn check_version(info: &Value<'_>) -> Result<(), MetainfoError> {
    match (integer_of(info, "meta version")?, info.get("file tree")) {
        (Some(2), _) => Ok(()),
        (None, Some(_)) => Err(MetainfoError::Missing("meta version")),
        (None | Some(1), None) => Err(MetainfoError::V1Only),
        (Some(version), _) => Err(MetainfoError::UnknownVersion(version)),
    }
}

fn piece_length(info: &Value<'_>) -> Result<u64, MetainfoError> {
    let value = integer_of(info, "piece length")?.ok_or(MetainfoError::Missing("piece length"))?;
    u64::try_from(value)
        .ok()
        .filter(|length| length.is_power_of_two() && (BLOCK as u64..=MAX_PIECE_LENGTH).contains(length))
        .ok_or(MetainfoError::PieceLength(value))
}

/// Collects the files below a folder of the `file tree`, and counts the links. The depth is bounded by the reader's.
fn walk(
    folder: &Value<'_>,
    path: &mut Vec<String>,
    (files, links): (&mut Vec<File>, &mut usize),
) -> Result<(), MetainfoError> {
    let broken = |path: &[String]| MetainfoError::FileTree(path.join("/"));
    for (name, entry) in folder.dictionary().ok_or_else(|| broken(path))? {
        if files.len() > MAX_FILES {
            return Err(MetainfoError::TooManyFiles);
        }
        path.push(check_name(name)?.to_owned());
        if path.len() > MAX_DEPTH {
            return Err(broken(path));
        }
        let inside = entry.dictionary().ok_or_else(|| broken(path))?;
        match inside {
            [(b"", leaf)] => match file(leaf, path)? {
                Some(file) => files.push(file),
                None => *links += 1,
            },
            [(b"", _), ..] => return Err(broken(path)), // a file and a folder at once
            _ => walk(entry, path, (files, links))?,
        }
        path.pop();
    }
    Ok(())
}

/// Reads the leaf of a file; `None` for a symbolic link, which takes no part in delivery.
fn file(leaf: &Value<'_>, path: &[String]) -> Result<Option<File>, MetainfoError> {
    let name = || path.join("/");
    if leaf.dictionary().is_none() {
        return Err(MetainfoError::FileTree(name()));
    }
    let attributes = leaf.get("attr").and_then(Value::bytes).unwrap_or_default();
    if attributes.contains(&b'p') {
        return Err(MetainfoError::File {
            path: name(),
            why: "is a pad, which `file tree` has none of".into(),
        });
    }
    if is_link(leaf) {
        return Ok(None);
    }
    let length = match leaf.get("length").map(Value::integer) {
        Some(Some(length)) => length,
        Some(None) => return Err(invalid("length", "is not an integer")),
        None => return Err(MetainfoError::Missing("length")),
    };
    let checked = u64::try_from(length)
        .ok()
        .filter(|&length| length < MAX_FILE_LENGTH);
    let length = checked.ok_or_else(|| MetainfoError::FileLength { path: name(), length })?;
    let root = if length == 0 {
        Hash::ZERO
    } else {
        let root = leaf
            .get("pieces root")
            .and_then(Value::bytes)
            .and_then(Hash::from_slice);
        root.filter(|root| !root.is_zero())
            .ok_or_else(|| MetainfoError::PiecesRoot(name()))?
    };
    Ok(Some(File {
        path: path.to_vec(),
        length,
        root,
        layer: None,
        executable: attributes.contains(&b'x'),
    }))
}

fn is_link(entry: &Value<'_>) -> bool {
    let marked = entry
        .get("attr")
        .and_then(Value::bytes)
        .is_some_and(|attributes| attributes.contains(&b'l'));
    marked
        && entry
            .get("symlink path")
            .and_then(Value::list)
            .is_some_and(|path| !path.is_empty())
}

/// Whether there is a version 1 half; it must say the same as the version 2 half.
fn check_v1(info: &Value<'_>, name: &str, piece_length: u64, files: &[File]) -> Result<bool, MetainfoError> {
    let pieces = bytes_of(info, "pieces")?;
    let total = match (info.get("length"), info.get("files")) {
        (None, None) if pieces.is_none() => return Ok(false),
        (None, None) => return Err(inconsistent("`pieces` without `length` or `files`")),
        (Some(_), Some(_)) => return Err(inconsistent("both `length` and `files`")),
        (Some(length), None) => {
            let length = length
                .integer()
                .ok_or_else(|| invalid("length", "is not an integer"))?;
            match files {
                [file] if file.path.as_slice() == [name] && i64::try_from(file.length) == Ok(length) => {
                    file.length
                }
                [file] if file.path.as_slice() == [name] => {
                    return Err(inconsistent(&format!(
                        "the length is {length} and {}",
                        file.length
                    )));
                }
                [file] => {
                    return Err(inconsistent(&format!(
                        "the file is {name:?} and {:?}",
                        file.path.join("/")
                    )));
                }
                _ => return Err(inconsistent("one file and several")),
            }
        }
        (None, Some(list)) => check_v1_files(list, piece_length, files)?,
    };
    let pieces = pieces.ok_or(MetainfoError::Missing("pieces"))?;
    let expected = total.div_ceil(piece_length) * 20; // at most MAX_PIECES, twice with pads
    if pieces.len() as u64 != expected {
        return Err(invalid(
            "pieces",
            &format!("has {} bytes, not {expected}", pieces.len()),
        ));
    }
    Ok(true)
}

/// Compares the list of version 1 with the files of version 2: the same in the same order, and each begins at
/// a piece boundary by means of pads (BEP 47, BEP 52). Gives the length with pads.
fn check_v1_files(list: &Value<'_>, piece_length: u64, files: &[File]) -> Result<u64, MetainfoError> {
    let list = list.list().ok_or_else(|| invalid("files", "is not a list"))?;
    let mut expected = files.iter();
    let mut offset: u64 = 0;
    for entry in list {
        if is_link(entry) {
            continue;
        }
        let length = entry.get("length").and_then(Value::integer);
        let length = length
            .and_then(|length| u64::try_from(length).ok())
            .filter(|&length| length < MAX_FILE_LENGTH);
        let length =
            length.ok_or_else(|| invalid("length", "of an entry of `files` is missing or impossible"))?;
        let attributes = entry.get("attr").and_then(Value::bytes).unwrap_or_default();
        let names = entry.get("path").map(|path| {
            path.list()?
                .iter()
                .map(Value::text)
                .collect::<Option<Vec<&str>>>()
        });
        if names == Some(None) {
            return Err(invalid("path", "of an entry of `files` is not a list of names"));
        }
        if attributes.contains(&b'p') {
            let gap = offset.next_multiple_of(piece_length) - offset;
            if length != gap {
                return Err(inconsistent(&format!(
                    "a pad of {length} bytes where {gap} reach the next piece"
                )));
            }
        } else {
            let path = names.flatten().ok_or(MetainfoError::Missing("path"))?;
            let same = expected
                .next()
                .filter(|file| file.length == length && file.path == path);
            if same.is_none() {
                return Err(inconsistent(&format!(
                    "{:?} is not the next file of `file tree`",
                    path.join("/")
                )));
            }
            if length > 0 && !offset.is_multiple_of(piece_length) {
                return Err(inconsistent(&format!(
                    "{:?} does not begin at a piece boundary",
                    path.join("/")
                )));
            }
        }
        offset = offset.saturating_add(length);
    }
    if let Some(file) = expected.next() {
        return Err(inconsistent(&format!(
            "{:?} is not in `files`",
            file.path.join("/")
        )));
    }
    Ok(offset)
}

/// Gives each file its layer, when it is there; each that is there must belong to a file and lead to its root.
fn read_layers(
    layers: Option<&Value<'_>>,
    piece_length: u64,
    files: &mut [File],
) -> Result<(), MetainfoError> {
    let layers = match layers.map(Value::dictionary) {
        Some(Some(entries)) => entries,
        Some(None) => return Err(invalid("piece layers", "is not a dictionary")),
        None => &[],
    };
    let level = (piece_length / BLOCK as u64).trailing_zeros();
    let mut by_root: HashMap<[u8; 32], Vec<usize>> = HashMap::new();
    for (index, file) in files.iter().enumerate() {
        if file.length > piece_length {
            by_root.entry(file.root.0).or_default().push(index);
        }
    }
    for (root, value) in layers {
        let wrong = |why: &str| MetainfoError::PieceLayer {
            root: hex::encode(root),
            why: why.into(),
        };
        let root = Hash::from_slice(root).ok_or_else(|| wrong("is not under a hash of 32 bytes"))?;
        let bytes = value.bytes().ok_or_else(|| wrong("is not a byte string"))?;
        let owners = by_root
            .get(&root.0)
            .ok_or_else(|| wrong("belongs to no file of more than one piece"))?;
        let length = files[owners[0]].length;
        let expected = length.div_ceil(piece_length);
        if bytes.len() as u64 != expected * 32 {
            return Err(wrong(&format!(
                "has {} bytes, not {} for {expected} pieces",
                bytes.len(),
                expected * 32
            )));
        }
        let layer: Vec<Hash> = bytes.chunks_exact(32).filter_map(Hash::from_slice).collect();
        if root_over(&layer, level, layer.len().next_power_of_two()) != root {
            return Err(wrong("does not lead to the pieces root"));
        }
        for &owner in owners {
            let file = &mut files[owner];
            if file.length.div_ceil(piece_length) != expected {
                return Err(wrong("belongs to files of different lengths"));
            }
            file.layer = Some(layer.clone());
        }
    }
    for file in files {
        if file.length == 0 {
            file.layer = Some(Vec::new());
        } else if file.length <= piece_length {
            file.layer = Some(vec![file.root]);
        }
    }
    Ok(())
}

fn trackers(top: &Value<'_>) -> Vec<Vec<String>> {
    let mut left = MAX_SOURCES;
    let mut take = |urls: &mut dyn Iterator<Item = &str>| {
        let taken: Vec<String> = urls
            .filter(|url| !url.is_empty())
            .take(left)
            .map(str::to_owned)
            .collect();
        left -= taken.len();
        taken
    };
    let tiers = top.get("announce-list").and_then(Value::list).unwrap_or_default();
    let mut tiers: Vec<Vec<String>> = tiers
        .iter()
        .filter_map(Value::list)
        .map(|tier| take(&mut tier.iter().filter_map(Value::text)))
        .collect();
    tiers.retain(|tier| !tier.is_empty());
    if tiers.is_empty() {
        let alone = take(&mut top.get("announce").and_then(Value::text).into_iter());
        if !alone.is_empty() {
            tiers.push(alone);
        }
    }
    tiers
}

fn web_seeds(top: &Value<'_>) -> Vec<String> {
    let Some(value) = top.get("url-list") else {
        return Vec::new();
    };
    let urls: Vec<&str> = match value.list() {
        Some(list) => list.iter().filter_map(Value::text).collect(),
        None => value.text().into_iter().collect(),
    };
    let mut seeds: Vec<String> = Vec::new();
    for url in urls {
        if !url.is_empty() && seeds.len() < MAX_SOURCES && seeds.iter().all(|known| known != url) {
            seeds.push(url.to_owned());
        }
    }
    seeds
}

fn integer_of(dictionary: &Value<'_>, key: &'static str) -> Result<Option<i64>, MetainfoError> {
    let value = dictionary.get(key);
    value
        .map(|value| value.integer().ok_or_else(|| invalid(key, "is not an integer")))
        .transpose()
}

fn bytes_of<'a>(dictionary: &Value<'a>, key: &'static str) -> Result<Option<&'a [u8]>, MetainfoError> {
    let value = dictionary.get(key);
    value
        .map(|value| value.bytes().ok_or_else(|| invalid(key, "is not a byte string")))
        .transpose()
}

/// Where `part`, which is a slice of `whole`, lies in it.
fn range_of(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

fn invalid(key: &'static str, why: &str) -> MetainfoError {
    MetainfoError::Invalid {
        key,
        why: why.to_owned(),
    }
}

fn inconsistent(why: &str) -> MetainfoError {
    MetainfoError::Inconsistent(why.to_owned())
}
