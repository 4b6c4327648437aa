//! The creatives' files: what kind they are, and what they were when they were looked at.

use std::io::Read as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

use sha2::{Digest as _, Sha256};

use crate::clock::UnixMillis;

/// A larger creative is surely a mistake.
const LARGEST_CREATIVE: u64 = 4 << 30;

/// The MIME type of a file by its name.
pub(crate) fn media_type_of(file: &str) -> Option<&'static str> {
    let extension = Path::new(file).extension()?.to_str()?.to_ascii_lowercase();
    Some(match extension.as_str() {
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        "m4a" => "audio/mp4",
        "aac" => "audio/aac",
        "ogg" | "oga" | "opus" => "audio/ogg",
        "flac" => "audio/flac",
        "mp4" | "m4v" => "video/mp4",
        "webm" => "video/webm",
        "mkv" => "video/x-matroska",
        _ => return None,
    })
}

/// A file, and what it was when it was looked at.
pub(crate) struct Hashed {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) modified: UnixMillis,
    pub(crate) sha256: String,
}

/// Hashes a file. Errors when it is none, is empty, or is larger than 4 GiB.
pub(crate) fn hash(path: &Path) -> std::io::Result<Hashed> {
    let other = |text: &str| std::io::Error::other(text.to_owned());
    let path = path.canonicalize()?;
    let mut file = std::fs::File::open(&path)?;
    let about = file.metadata()?;
    if !about.is_file() || about.len() == 0 {
        return Err(other("it is not a file with content"));
    }
    if about.len() > LARGEST_CREATIVE {
        return Err(other("it is larger than 4 GiB"));
    }
    let mut digest = Sha256::new();
    let mut size = 0;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => {
                digest.update(&buffer[..n]);
                size += n as u64;
            }
        }
    }
    Ok(Hashed {
        path: path
            .to_str()
            .ok_or_else(|| other("its path is not UTF-8"))?
            .to_owned(),
        size,
        modified: modified(&about)?,
        sha256: hex::encode(digest.finalize()),
    })
}

/// When a file was last changed; with its size, how a changed creative is noticed before it is served.
pub(crate) fn modified(about: &std::fs::Metadata) -> std::io::Result<UnixMillis> {
    let time = about.modified()?;
    Ok(time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as UnixMillis))
}
