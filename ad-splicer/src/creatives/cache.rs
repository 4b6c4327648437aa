//! The folder of creatives: fetched through the gate, and cached by content hash.
//!
//! Two kinds of file live in it: an *original*, the bytes as they came, named by their SHA-256; and,
//! for each [`Profile`] it was wanted in, its *PCM* (32-bit float, little-endian, interleaved) with a small JSON file
//! of facts beside it; and the same way its pictures for each format of video. Invariants:
//!
//! - A name in the folder is only ever given to a whole file (written aside, then renamed).
//! - An original's bytes have the hash that it is named by, checked again whenever it is taken from the cache.
//! - The folder holds at most its limit plus what is in use; least recently used files go first. A [`Creative`] that
//!   is in use keeps its samples readable after its file was removed.
//!
//! Not for: what creatives are ([`super`]), choosing or decoding them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use gate::Gate;
use rustix::fs::copy_file_range;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use url::Url;

use super::{ContentHash, Creative, FetchError, FetchLimits, Original, Profile, Recent};
use crate::content::FileContent;
use crate::loudness::is_short;

/// What is written beside a PCM file.
#[derive(Debug, Serialize, Deserialize)]
struct PcmFacts {
    samples: u64,
    loudness: Option<f64>,
    /// `None` for digital silence: JSON has no infinity.
    true_peak: Option<f64>,
    bytes: u64,
    /// In nanoseconds.
    later: u64,
    /// Whether sound that is too short to be gated was measured all the same, as earlier versions did not.
    #[serde(default)]
    ungated: bool,
}

/// What is known of samples that were written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) samples: u64,
    pub(crate) loudness: Option<f64>,
    pub(crate) true_peak: f64,
    pub(crate) later: Duration,
}

/// The folder of creatives. Several processes may share it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cache {
    dir: PathBuf,
    max_bytes: u64,
    recent: Arc<Recent>,
}

/// Bytes that the smallest file takes.
const LEAST: u64 = 4096;
/// A file of the folder younger than this stays, whatever the limit: somebody may be between writing and opening it.
const FRESH: Duration = Duration::from_secs(60);
/// What a file that is being written starts with; left-overs of killed processes are removed after [`ABANDONED`].
const ASIDE: &str = "part-";
/// Older than any fetch or conditioning may last.
const ABANDONED: Duration = Duration::from_secs(3600);

impl Cache {
    /// The size that suits a viewer: 1 GiB.
    pub const DEFAULT_MAX_BYTES: u64 = 1 << 30;

    /// The cache in `dir`, which is made when it is not there; `max_bytes` bounds what it keeps.
    pub fn open(dir: impl Into<PathBuf>, max_bytes: u64) -> Result<Self, FetchError> {
        let dir = dir.into();
        std::fs::create_dir_all(&dir).map_err(io_error("make the folder", &dir))?;
        let recent = Arc::default();
        let cache = Self {
            dir,
            max_bytes,
            recent,
        };
        cache.trim();
        Ok(cache)
    }

    /// The same, which knows what addresses gave lately to other caches of this process too.
    #[must_use]
    pub fn knowing(self, recent: Arc<Recent>) -> Self {
        Self { recent, ..self }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Fetches a creative, hashing while it streams to disk. When the ad response gave its hash (`expected`) and the
    /// cache has it, nothing is fetched; nor when this process fetched it from there within the last five minutes.
    ///
    /// The caller may give up at any time by dropping the future; nothing stays behind then.
    pub async fn fetch(
        &self,
        gate: &Gate,
        url: &Url,
        expected: Option<ContentHash>,
        limits: FetchLimits,
    ) -> Result<Original, FetchError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(FetchError::Scheme {
                url: gate::shown(url),
            });
        }
        let known = expected.or_else(|| self.recent.at(url, Instant::now()));
        if let Some(hit) = known.and_then(|hash| self.original(hash)) {
            tracing::debug!(url = gate::shown(url), sha256 = %hit.sha256, "creative taken from the cache");
            return Ok(hit);
        }
        let transfer = self.transfer(gate, url, expected, limits);
        match tokio::time::timeout(limits.timeout, transfer).await {
            Ok(fetched) => fetched.inspect(|original| self.recent.gave(url, original.sha256, Instant::now())),
            Err(_) => Err(FetchError::TimedOut {
                url: gate::shown(url),
                limit: limits.timeout,
            }),
        }
    }

    async fn transfer(
        &self,
        gate: &Gate,
        url: &Url,
        expected: Option<ContentHash>,
        limits: FetchLimits,
    ) -> Result<Original, FetchError> {
        let too_large = || FetchError::TooLarge {
            source_name: gate::shown(url),
            max: limits.max_bytes,
        };
        let mut response = gate.get(url.clone()).send().await?;
        if response.status().as_u16() != 200 {
            return Err(FetchError::Status {
                url: gate::shown(url),
                status: response.status().as_u16(),
            });
        }
        if response.content_length().is_some_and(|n| n > limits.max_bytes) {
            return Err(too_large());
        }
        let aside = self.aside()?;
        let write_error = io_error("write the creative", aside.path());
        let copy = aside.as_file().try_clone().map_err(&write_error)?;
        let mut file = tokio::fs::File::from_std(copy);
        let mut hasher = Sha256::new();
        let mut bytes = 0;
        while let Some(chunk) = response.chunk().await? {
            bytes += chunk.len() as u64;
            if bytes > limits.max_bytes {
                return Err(too_large());
            }
            hasher.update(&chunk);
            file.write_all(&chunk).await.map_err(&write_error)?;
        }
        file.flush().await.map_err(&write_error)?;
        drop(file);
        let name = gate::shown(url);
        self.keep_original(
            aside,
            ContentHash(hasher.finalize().into()),
            bytes,
            &name,
            expected,
        )
    }

    /// Takes in a local file that a person named.
    pub fn import(&self, path: &Path, limits: FetchLimits) -> Result<Original, FetchError> {
        self.take_in(path, None, limits)
    }

    /// Takes in a local file when it is what the ad response said.
    pub fn import_verified(
        &self,
        path: &Path,
        expected: ContentHash,
        limits: FetchLimits,
    ) -> Result<Original, FetchError> {
        self.take_in(path, Some(expected), limits)
    }

    fn take_in(
        &self,
        path: &Path,
        expected: Option<ContentHash>,
        limits: FetchLimits,
    ) -> Result<Original, FetchError> {
        let unreadable = |source| FetchError::Read {
            path: path.to_owned(),
            source,
        };
        let mut input = FileContent::open_file(path).map_err(unreadable)?;
        let mut aside = self.aside()?;
        let mut hasher = Sha256::new();
        let mut bytes = 0;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = input.read(&mut buffer).map_err(unreadable)?;
            if n == 0 {
                break;
            }
            bytes += n as u64;
            if bytes > limits.max_bytes {
                return Err(FetchError::TooLarge {
                    source_name: path.display().to_string(),
                    max: limits.max_bytes,
                });
            }
            hasher.update(&buffer[..n]);
            aside
                .write_all(&buffer[..n])
                .map_err(io_error("write the creative", &self.dir))?;
        }
        let hash = ContentHash(hasher.finalize().into());
        self.keep_original(aside, hash, bytes, &path.display().to_string(), expected)
    }

    /// The original with this hash, when the cache has it and its bytes still have that hash.
    pub fn original(&self, hash: ContentHash) -> Option<Original> {
        let path = self.dir.join(hash.to_string());
        let file = File::open(&path).ok()?;
        let mut hasher = Sha256::new();
        let mut bytes = 0;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let n = file.read_at(&mut buffer, bytes).ok()?;
            if n == 0 {
                break;
            }
            hasher.update(&buffer[..n]);
            bytes += n as u64;
        }
        if hasher.finalize().as_slice() != hash.0 {
            tracing::warn!(path = %path.display(), "a cached creative was damaged, it is removed");
            drop(std::fs::remove_file(&path));
            return None;
        }
        touch(&file);
        Some(Original {
            sha256: hash,
            bytes,
            file: Arc::new(file),
        })
    }

    /// The creative in `profile`, when it was conditioned before.
    pub fn conditioned(&self, hash: ContentHash, profile: Profile) -> Option<Creative> {
        let (pcm, facts) = self.pcm_paths(hash, profile);
        let mut told = Vec::new();
        let facts = File::open(facts).ok()?;
        (&facts).read_to_end(&mut told).ok()?;
        // Who is used lately stays, and one is of no use without the other.
        touch(&facts);
        let facts: PcmFacts = serde_json::from_slice(&told).ok()?;
        let file = File::open(&pcm).ok()?;
        if file.metadata().ok()?.len() != facts.samples.checked_mul(profile.bytes_per_frame())? {
            return None;
        }
        let is_unknown = facts.loudness.is_none() && facts.true_peak.is_some() && !facts.ungated;
        if is_unknown && is_short(profile, facts.samples) {
            return None;
        }
        touch(&file);
        Some(Creative {
            sha256: hash,
            profile,
            path: pcm,
            samples: facts.samples,
            loudness: facts.loudness,
            true_peak: facts.true_peak.unwrap_or(f64::NEG_INFINITY),
            bytes: facts.bytes,
            later: Duration::from_nanos(facts.later),
            file: Arc::new(file),
        })
    }

    /// Takes in PCM that was written aside, with what was measured of it.
    pub(crate) fn keep_conditioned(
        &self,
        original: &Original,
        profile: Profile,
        aside: tempfile::NamedTempFile,
        told: Told,
    ) -> Result<Creative, FetchError> {
        let Told {
            samples,
            loudness,
            true_peak,
            later,
        } = told;
        let (pcm, facts_path) = self.pcm_paths(original.sha256, profile);
        let facts = PcmFacts {
            samples,
            loudness,
            true_peak: true_peak.is_finite().then_some(true_peak),
            bytes: original.bytes,
            later: u64::try_from(later.as_nanos()).unwrap_or(u64::MAX),
            ungated: true,
        };
        let json = serde_json::to_vec(&facts).map_err(|e| io_error("write", &facts_path)(e.into()))?;
        // The PCM first: facts without PCM would be refused, PCM without facts is not looked at.
        let file = persist(aside, &pcm)?;
        let mut facts_aside = self.aside()?;
        facts_aside
            .write_all(&json)
            .map_err(io_error("write", &facts_path))?;
        persist(facts_aside, &facts_path)?;
        self.trim();
        Ok(Creative {
            sha256: original.sha256,
            profile,
            path: pcm,
            samples,
            loudness,
            true_peak,
            bytes: original.bytes,
            later,
            file: Arc::new(file),
        })
    }

    /// So many samples of silence, for an original without sound. They are not kept: elsewhere sound may be wanted of it.
    pub(crate) fn silence(
        &self,
        original: &Original,
        profile: Profile,
        samples: u64,
    ) -> Result<Creative, FetchError> {
        let aside = self.aside()?;
        let bytes = samples * profile.bytes_per_frame();
        aside
            .as_file()
            .set_len(bytes)
            .map_err(io_error("write silence to", aside.path()))?;
        let path = aside.path().to_owned();
        Ok(Creative {
            sha256: original.sha256,
            profile,
            path,
            samples,
            loudness: None,
            true_peak: f64::NEG_INFINITY,
            bytes: original.bytes,
            later: Duration::ZERO,
            file: Arc::new(aside.into_file()),
        })
    }

    /// A creative with so many samples of silence before it, and silence after it up to so many in all. It is not kept: elsewhere the sound is all that matters.
    pub(crate) fn padded(
        &self,
        creative: &Creative,
        before: u64,
        samples: u64,
    ) -> Result<Creative, FetchError> {
        let aside = self.aside()?;
        let failed = || io_error("write silence to", aside.path());
        let frame = creative.profile.bytes_per_frame();
        let (skipped, end, mut at) = (before * frame, creative.samples * frame, 0);
        // The kernel copies what it can.
        while at < end {
            let (mut from, mut to) = (at, skipped + at);
            let count = usize::try_from(end - at).unwrap_or(usize::MAX);
            let copied = copy_file_range(
                &*creative.file,
                Some(&mut from),
                aside.as_file(),
                Some(&mut to),
                count,
            );
            match copied {
                Ok(count) if count > 0 => at += count as u64,
                _ => break,
            }
        }
        let mut bytes = vec![0; 1 << 16];
        while at < end {
            let part = &mut bytes[..(end - at).min(1 << 16) as usize];
            creative.file.read_exact_at(part, at).map_err(failed())?;
            let out = aside.as_file();
            out.write_all_at(part, skipped + at).map_err(failed())?;
            at += part.len() as u64;
        }
        aside
            .as_file()
            .set_len((skipped + end).max(samples * frame))
            .map_err(failed())?;
        Ok(Creative {
            path: aside.path().to_owned(),
            samples: samples.max(before + creative.samples),
            later: Duration::ZERO,
            file: Arc::new(aside.into_file()),
            ..creative.clone()
        })
    }

    /// What was made of an original and kept under this key.
    pub(crate) fn kept(&self, hash: ContentHash, key: &str) -> Option<Vec<u8>> {
        let file = File::open(self.dir.join(format!("{hash}.{key}"))).ok()?;
        touch(&file);
        let mut bytes = Vec::new();
        (&file).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    }

    /// The same as [`Self::keep`], for what is small and comes often: whoever does so trims now and then.
    pub(crate) fn put(
        &self,
        hash: ContentHash,
        key: &str,
        aside: tempfile::NamedTempFile,
    ) -> Result<(), FetchError> {
        persist(aside, &self.dir.join(format!("{hash}.{key}")))?;
        Ok(())
    }

    /// Keeps what was made of an original under a key.
    pub(crate) fn keep(
        &self,
        hash: ContentHash,
        key: &str,
        aside: tempfile::NamedTempFile,
    ) -> Result<(), FetchError> {
        self.put(hash, key, aside)?;
        self.trim();
        Ok(())
    }

    /// A new file in the folder, removed unless it is kept.
    pub(crate) fn aside(&self) -> Result<tempfile::NamedTempFile, FetchError> {
        tempfile::Builder::new()
            .prefix(ASIDE)
            .tempfile_in(&self.dir)
            .map_err(io_error("make a file in", &self.dir))
    }

    fn keep_original(
        &self,
        aside: tempfile::NamedTempFile,
        hash: ContentHash,
        bytes: u64,
        source_name: &str,
        expected: Option<ContentHash>,
    ) -> Result<Original, FetchError> {
        if let Some(expected) = expected.filter(|e| *e != hash) {
            return Err(FetchError::Hash {
                source_name: source_name.to_owned(),
                expected,
                actual: hash,
            });
        }
        if bytes == 0 {
            return Err(FetchError::Empty {
                source_name: source_name.to_owned(),
            });
        }
        // What decodes it gets this handle, and must not be able to write with it.
        let file = File::open(aside.path()).map_err(io_error("open", aside.path()))?;
        persist(aside, &self.dir.join(hash.to_string()))?;
        self.trim();
        Ok(Original {
            sha256: hash,
            bytes,
            file: Arc::new(file),
        })
    }

    fn pcm_paths(&self, hash: ContentHash, profile: Profile) -> (PathBuf, PathBuf) {
        let stem = format!("{hash}.{}x{}", profile.sample_rate, profile.channels);
        (
            self.dir.join(format!("{stem}.f32")),
            self.dir.join(format!("{stem}.json")),
        )
    }

    /// Removes least recently used files until the limit holds, and what killed processes left behind. Failures are
    /// left to the next time: a cache that is too large is not a reason to fail.
    pub(crate) fn trim(&self) {
        let Ok(entries) = std::fs::read_dir(&self.dir) else {
            return;
        };
        let now = SystemTime::now();
        let mut total = 0;
        let mut files = Vec::new();
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if !meta.is_file() {
                continue;
            }
            let age = meta
                .modified()
                .ok()
                .and_then(|at| now.duration_since(at).ok())
                .unwrap_or_default();
            if entry.file_name().to_string_lossy().starts_with(ASIDE) {
                if age > ABANDONED {
                    drop(std::fs::remove_file(entry.path()));
                }
                continue;
            }
            let len = meta.len().max(LEAST);
            total += len;
            files.push((age, len, entry.path()));
        }
        files.sort_by_key(|(age, _, _)| std::cmp::Reverse(*age));
        for (age, len, path) in files {
            if total <= self.max_bytes || age < FRESH {
                break;
            }
            if std::fs::remove_file(path).is_ok() {
                total -= len;
            }
        }
    }
}

/// Marks a file as used just now; when that fails it is merely forgotten sooner.
fn touch(file: &File) {
    drop(file.set_modified(SystemTime::now()));
}

fn persist(aside: tempfile::NamedTempFile, path: &Path) -> Result<File, FetchError> {
    aside
        .persist(path)
        .map_err(|e| io_error("keep the file", path)(e.error))
}

fn io_error(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> FetchError + use<> {
    let path = path.to_owned();
    move |source| FetchError::Io {
        doing,
        path: path.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_writes_with_the_handle_of_an_original() {
        let dir = tempfile::tempdir().expect("a folder");
        let source = dir.path().join("ad");
        std::fs::write(&source, "an ad").expect("space on the disk");
        let cache = Cache::open(dir.path().join("cache"), Cache::DEFAULT_MAX_BYTES).expect("a cache");
        let ad = cache
            .import_verified(&source, ContentHash::of(b"an ad"), FetchLimits::default())
            .expect("it is the ad");
        let mut file = ad.file().expect("a handle");
        file.write_all(b"another").expect_err("it is for reading");
        let mut read = String::new();
        std::io::Read::read_to_string(&mut file, &mut read).expect("it can be read");
        assert_eq!(read, "an ad");
    }

    #[test]
    fn what_is_too_short_and_too_quiet_to_be_measured_is_conditioned_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let source = dir.path().join("ad");
        std::fs::write(&source, "an ad").expect("space on the disk");
        let cache = Cache::open(dir.path().join("cache"), Cache::DEFAULT_MAX_BYTES).expect("a cache");
        let ad = cache.import(&source, FetchLimits::default()).expect("the ad");
        let profile = Profile {
            sample_rate: 8_000,
            channels: 1,
        };
        let mut aside = cache.aside().expect("a file");
        aside.write_all(&[0; 4 * 100]).expect("space on the disk");
        let told = Told {
            samples: 100,
            loudness: None,
            true_peak: -80.0,
            later: Duration::ZERO,
        };
        let kept = cache
            .keep_conditioned(&ad, profile, aside, told)
            .expect("space on the disk");
        let found = cache.conditioned(ad.sha256, profile).expect("it is there");
        assert_eq!(
            (found.samples, found.loudness, found.true_peak),
            (100, None, -80.0)
        );
        // What earlier versions left is measured once more.
        let (_, facts) = cache.pcm_paths(ad.sha256, profile);
        let mut told: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&facts).expect("facts")).expect("JSON");
        told.as_object_mut().expect("an object").remove("ungated");
        std::fs::write(&facts, told.to_string()).expect("space on the disk");
        assert!(cache.conditioned(ad.sha256, profile).is_none());
        assert_eq!(kept.samples, 100);
    }
}
