//! What was coded before, kept in the folder of creatives: coding the same samples again gives the same packets, so an ad that comes again at the same place (the next request, the next preview) costs no
//! coding. Of sound only what is long is kept: a few packets are coded sooner than found. Pictures always are: those of a group that a cue is in, or of an image. What was measured of a coded ad is kept too, since all of it is decoded for that.
//!
//! A file is named by the SHA-256 of the task and all that went in, and holds what came out behind its own SHA-256: damaged ones count as none. Most come from a child that is believed
//! nothing, and so all are read within the same bounds; who takes a child over can answer for other ads of this viewer too, and what it answered stays until it is trimmed.

use std::io::{self, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use gstreamer as gst;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::BridgeError;
use super::task::Media;
use super::wire::{self, Most};
use crate::creatives::{Cache, ContentHash};

static KEPT: OnceLock<Cache> = OnceLock::new();
/// How often this process kept something, and one.
static KEEPS: AtomicUsize = AtomicUsize::new(1);

/// What files are called behind the hash of what they were made of. Another number where what is made changes: other encoders' settings, another layout.
const KEY: &str = "coded-1";
/// After so many more the folder is brought below its limit again.
const TRIMMED_AFTER: usize = 32;
/// Bytes of a hash.
const HASH: usize = 32;

/// From now on what is coded is kept in this cache, and taken from there. Without it, everything is coded anew.
pub fn keep_in(cache: Cache) {
    // Who said so first said the same.
    let _ = KEPT.set(cache);
}

/// Where the result of a task is kept.
struct Place<'a> {
    cache: &'a Cache,
    name: ContentHash,
}

/// What was made of these samples or packets before, and else what `make` makes of them now, which is kept when there is a cache.
pub(super) fn or_made(
    task: &impl Serialize,
    most: Most,
    media: Media<'_>,
    make: impl FnOnce(Media<'_>) -> Result<Media<'static>, BridgeError>,
) -> Result<Media<'static>, BridgeError> {
    let place = KEPT.get().and_then(|cache| Place::within(cache, task, &[&media]));
    if let Some(((), Some(found))) = place.as_ref().and_then(|place| place.found(most)) {
        return Ok(found);
    }
    let made = make(media)?;
    if let Some(place) = place {
        place.keep(&(), Some(&made));
    }
    Ok(made)
}

/// What was found out before about these packets, made of these samples, and else what `find` finds out now, which is kept when there is a cache. `T` has no floating point numbers: JSON does not keep them to the last bit.
pub(crate) fn or_found<T: Serialize + DeserializeOwned, E>(
    about: &impl Serialize,
    packets: &[Vec<u8>],
    samples: &[f32],
    find: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    let given = [&Media::of(packets), &Media::clip(samples)];
    let place = KEPT.get().and_then(|cache| Place::within(cache, about, &given));
    if let Some((found, None)) = place.as_ref().and_then(|place| place.found(Most::NOTHING)) {
        return Ok(found);
    }
    let found = find()?;
    if let Some(place) = place {
        place.keep(&found, None);
    }
    Ok(found)
}

impl<'a> Place<'a> {
    fn within(cache: &'a Cache, task: &impl Serialize, given: &[&Media<'_>]) -> Option<Self> {
        let mut hashing = Hashing(Sha256::new());
        // Other versions may code otherwise.
        let versions = [env!("CARGO_PKG_VERSION"), &gst::version_string()].join("\n");
        hashing.0.update(ContentHash::of(versions.as_bytes()).0);
        for (number, media) in given.iter().enumerate() {
            wire::write(&mut hashing, number as u64, task, Some(media)).ok()?;
        }
        let name = ContentHash(hashing.0.finalize().into());
        Some(Self { cache, name })
    }

    /// What came of it before.
    fn found<T: DeserializeOwned>(&self, most: Most) -> Option<(T, Option<Media<'static>>)> {
        let bytes = self.cache.kept(self.name, KEY)?;
        let (hash, mut message) = bytes.split_at_checked(HASH)?;
        if ContentHash::of(message).0 != *hash {
            return None;
        }
        let (_, what, media) = wire::read(&mut message, |_| Some(most)).ok()??;
        Some((what, media))
    }

    /// Keeps what came of it; what cannot be kept is coded again.
    fn keep(&self, what: &impl Serialize, media: Option<&Media<'_>>) {
        let kept = || -> io::Result<()> {
            let mut message = Vec::new();
            wire::write(&mut message, 0, what, media)?;
            let mut aside = self.cache.aside().map_err(io::Error::other)?;
            aside.write_all(&ContentHash::of(&message).0)?;
            aside.write_all(&message)?;
            self.cache.put(self.name, KEY, aside).map_err(io::Error::other)
        };
        if let Err(error) = kept() {
            tracing::debug!(%error, "what was coded is not kept");
        } else if KEEPS
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(TRIMMED_AFTER)
        {
            self.cache.trim();
        }
    }
}

/// Hashes what is written.
struct Hashing(Sha256);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;
    use crate::bridge::task::Task;
    use crate::frames::opus::Head;

    fn coding(resumes: usize) -> Task {
        let head = Head {
            channels: 1,
            pre_skip: 0,
            gain: 0,
        };
        Task::OpusEncode {
            head,
            size: 960,
            resumes,
            beside: None,
        }
    }

    #[test]
    fn what_was_coded_is_found_until_it_is_damaged_and_by_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), Cache::DEFAULT_MAX_BYTES).unwrap();
        let long: Vec<f32> = (0..100_000).map(|i| (i as f32 / 30.0).sin()).collect();
        let (task, media) = (coding(9), Media::clip(&long));
        let packets = [vec![1, 2, 3], vec![], vec![4; 5_000]];
        let (made, most) = (Media::of(&packets), task.most(&media));
        let place = |task: &Task, media: &Media<'_>| Place::within(&cache, task, &[media]);
        let found = |task: &Task, media: &Media<'_>| {
            let ((), media) = place(task, media).unwrap().found(most)?;
            media
        };

        assert!(found(&task, &media).is_none(), "nothing was coded yet");
        place(&task, &media).unwrap().keep(&(), Some(&made));
        assert_eq!(found(&task, &media).as_ref(), Some(&made));
        assert!(found(&coding(8), &media).is_none(), "another task");
        let mut other = long.clone();
        other[50_000] += 1e-6;
        assert!(found(&task, &Media::clip(&other)).is_none(), "other samples");

        let few = Most { parts: 2, ..most };
        let out_of_bounds = place(&task, &media).unwrap().found::<()>(few);
        assert!(out_of_bounds.is_none());
        let mut files = std::fs::read_dir(dir.path()).unwrap();
        let file = files.next().unwrap().unwrap().path();
        assert!(files.next().is_none(), "one file, and nothing beside it");
        let file = std::fs::File::options().write(true).open(file).unwrap();
        file.write_at(b"?", 600).unwrap();
        assert!(found(&task, &media).is_none(), "damaged");
    }
}
