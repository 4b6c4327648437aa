//! `.torrent`s by their URL, as servers gave them: what is here opens when the publisher's server is away, and what has not changed is not sent again.
//!
//! In `documents/` of the data folder, one file for each URL under the URL's SHA-256 (an address may hold a secret): a line of JSON with what
//! validates it (RFC 9110 §8.8), then the bytes. Only what a server gave for that very URL is kept, so that it vouches for as much as that
//! server does. What was used longest ago makes room. A server that answers is believed: what it has no more is not taken from here.
//!
//! Not for: asking (`asking`); content, which is in the store; feeds.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use engine::metainfo::{InfoHash, Metainfo, MetainfoError};
use gate::{StatusCode, Url};
use sha2::{Digest as _, Sha256};

use crate::asking::{self, NoAnswer, Said, Validators};
use crate::context::Context;
use crate::files::write_whole;

/// The largest `.torrent` that is taken.
pub(crate) const MAX_TORRENT: u64 = engine::metainfo::MAX_TORRENT as u64;
/// Longest wait for a document that is here already.
const KNOWN_TIMEOUT: Duration = Duration::from_secs(5);
/// Documents that are kept, and their bytes.
const MOST: usize = 1024;
const MOST_BYTES: u64 = 64 << 20;
/// The longest line of validators.
const MOST_VALIDATORS: usize = 4096;

/// What a server has at a URL.
pub(crate) enum Answer {
    Torrent(Box<Metainfo>),
    /// Something that is no valid `.torrent`.
    Other(MetainfoError, Bytes),
    /// Nothing: this is what it answered.
    None(StatusCode),
}

/// A document that is here.
struct Document {
    validators: Validators,
    metainfo: Box<Metainfo>,
}

/// The `.torrent` at `url`. When its server cannot be asked, or is in trouble, the one that it gave before; when there is none, it is asked
/// again for as long as there is patience.
pub(crate) async fn torrent(context: &Context, url: &Url, patience: Duration) -> anyhow::Result<Answer> {
    let folder = context.documents.as_deref();
    let kept = match folder {
        Some(folder) => on_disk(folder, url, |path| Ok(find(path))).await.flatten(),
        None => None,
    };
    let said = match kept {
        Some(kept) => {
            let limits = (MAX_TORRENT, KNOWN_TIMEOUT);
            match asking::once(&context.gate, url, limits, &kept.validators).await {
                Ok(Said::None(StatusCode::NOT_MODIFIED)) => return Ok(Answer::Torrent(kept.metainfo)),
                Ok(said) => said,
                Err(unknown) if unknown.is_trouble() => return Ok(instead(url, kept, &unknown)),
                Err(unknown) => return Err(unknown.into_error(url)),
            }
        }
        None => asking::insist(&context.gate, url, MAX_TORRENT, patience).await?,
    };
    let (answer, validators) = match said {
        Said::Is(bytes, validators) => match Metainfo::parse(&bytes) {
            Ok(metainfo) => (Answer::Torrent(Box::new(metainfo)), validators),
            Err(error) => (Answer::Other(error, bytes), validators),
        },
        Said::None(status) => (Answer::None(status), Validators::default()),
    };
    let Some(folder) = folder else {
        return Ok(answer);
    };
    match &answer {
        Answer::Torrent(metainfo) => {
            let bytes = metainfo.to_bytes().to_vec();
            on_disk(folder, url, move |path| keep(path, &validators, &bytes)).await;
        }
        Answer::Other(..) | Answer::None(StatusCode::NOT_FOUND | StatusCode::GONE) => {
            on_disk(folder, url, |path| {
                drop_it(path);
                Ok(())
            })
            .await;
        }
        Answer::None(_) => {}
    }
    Ok(answer)
}

fn instead(url: &Url, kept: Document, why: &NoAnswer) -> Answer {
    eprintln!(
        "note: {} cannot be had now, so the one from before is used: {why}",
        gate::shown(url)
    );
    Answer::Torrent(kept.metainfo)
}

/// Does something with the file of a URL, on a thread that may wait. What fails is only not remembered.
async fn on_disk<T: Send + 'static>(
    folder: &Path,
    url: &Url,
    work: impl FnOnce(&Path) -> anyhow::Result<T> + Send + 'static,
) -> Option<T> {
    let path = folder.join(hex::encode(Sha256::digest(url.as_str())));
    let done = tokio::task::spawn_blocking(move || work(&path)).await;
    let done = done.map_err(anyhow::Error::from).flatten();
    done.inspect_err(|error| tracing::warn!("a .torrent is not remembered: {error:#}"))
        .ok()
}

/// Forgets all that are of this content, wherever they came from.
pub(crate) async fn forget(context: &Context, info_hash: InfoHash) {
    if let Some(folder) = context.documents.clone() {
        // What fails is found again, and does no harm.
        let _ = tokio::task::spawn_blocking(move || forget_in(&folder, info_hash)).await;
    }
}

fn forget_in(folder: &Path, info_hash: InfoHash) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if read(&path).is_some_and(|kept| kept.metainfo.info_hash_v2() == info_hash) {
            drop_it(&path);
        }
    }
}

fn drop_it(path: &Path) {
    // What is not there need not be removed; what cannot be makes room some day.
    let _ = std::fs::remove_file(path);
}

/// What is there, used now.
fn find(path: &Path) -> Option<Document> {
    let kept = read(path)?;
    // Where that cannot be, it makes room as if it had not been used.
    let _ = std::fs::File::open(path).and_then(|file| file.set_modified(SystemTime::now()));
    Some(kept)
}

fn read(path: &Path) -> Option<Document> {
    let bytes = std::fs::read(path).ok()?;
    let end = bytes
        .iter()
        .take(MOST_VALIDATORS)
        .position(|byte| *byte == b'\n')?;
    let (line, document) = (&bytes[..end], &bytes[end + 1..]);
    Some(Document {
        validators: serde_json::from_slice(line).ok()?,
        metainfo: Box::new(Metainfo::parse(document).ok()?),
    })
}

fn keep(path: &Path, validators: &Validators, document: &[u8]) -> anyhow::Result<()> {
    let mut bytes = serde_json::to_vec(validators)?;
    if bytes.len() >= MOST_VALIDATORS {
        bytes = serde_json::to_vec(&Validators::default())?;
    }
    bytes.push(b'\n');
    bytes.extend_from_slice(document);
    if std::fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    write_whole(path, &bytes)?;
    make_room(crate::files::folder_of(path), MOST, MOST_BYTES);
    Ok(())
}

/// Removes what was used longest ago, until there are no more than so many, and no more bytes.
fn make_room(folder: &Path, most: usize, most_bytes: u64) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let mut all: Vec<(SystemTime, u64, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let about = entry.metadata().ok()?;
            Some((about.modified().ok()?, about.len(), entry.path()))
        })
        .collect();
    all.sort_by_key(|(used, ..)| std::cmp::Reverse(*used));
    let mut bytes = 0;
    for (number, (_, len, path)) in all.iter().enumerate() {
        bytes += len;
        if number >= most || bytes > most_bytes {
            drop_it(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_makes_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let left = || {
            let entries = std::fs::read_dir(folder.path()).expect("a folder");
            let mut names: Vec<_> = entries
                .map(|entry| entry.expect("an entry").file_name())
                .collect();
            names.sort();
            names
        };
        for (name, age) in [("a", 3), ("b", 1), ("c", 2), ("d", 4)] {
            let path = folder.path().join(name);
            std::fs::write(&path, [0; 10]).expect("written");
            let used = SystemTime::now() - Duration::from_secs(age * 60);
            let file = std::fs::File::open(&path).expect("it is there");
            file.set_modified(used).expect("a time");
        }
        make_room(folder.path(), 3, 1000);
        assert_eq!(left(), ["a", "b", "c"]);
        make_room(folder.path(), 3, 25);
        assert_eq!(left(), ["b", "c"]);
        make_room(folder.path(), 3, 0);
        assert!(left().is_empty());
    }

    #[test]
    fn what_is_damaged_is_nothing_that_was_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        for bytes in [&b""[..], b"{}", b"{}\n", b"{}\nd3:abc", b"x\nde", &[b' '; 9999]] {
            std::fs::write(&path, bytes).expect("written");
            assert!(find(&path).is_none(), "{bytes:?}");
        }
    }
}
