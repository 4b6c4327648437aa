//! Creatives that come over HTTP: kept by their hash, after they were decoded and measured.
//!
//! A stranger's file meets its decoder in the conditioning child of `ad_splicer`, which is shut in; here it is only
//! hashed. What cannot be decoded is refused and does not stay. Files lie in one folder under their SHA-256, each with its
//! metainfo beside it (`.torrent`), and never change. Several servers on one database need the folder to be shared too. Not for what a creative is part of.

use std::path::{Path, PathBuf};

use ad_splicer::conditioning::{ConditionError, Conditioner};
use ad_splicer::creatives::{Cache, FetchLimits, Profile};
use axum::extract::Multipart;
use engine::metainfo::{Builder, Metainfo};
use tokio::io::AsyncWriteExt as _;

use crate::load::{Hashed, hash, media_type_of};

/// The largest creative, in bytes.
pub(crate) const LARGEST: u64 = 256 << 20;
/// The longest field of a form that is not a file.
const LONGEST_FIELD: usize = 2000;
/// Most fields of a form.
const MOST_FIELDS: usize = 20;
/// What decoded creatives may take beside the originals; they are only kept until they are measured.
const DECODED: u64 = 1 << 30;
/// What creatives are measured in.
const PROFILE: Profile = Profile {
    sample_rate: 48_000,
    channels: 2,
};

/// A form that was read: its file is aside, and vanishes with this unless it is taken.
#[derive(Debug)]
pub(crate) struct Upload {
    fields: Vec<(String, String)>,
    file: Option<(String, tempfile::TempPath)>,
}

impl Upload {
    /// A field that is not empty.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let field = self.fields.iter().find(|(n, v)| n == name && !v.is_empty());
        field.map(|(_, v)| v.as_str())
    }
}

/// What was found out about a file.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) path: String,
    pub(crate) media_type: String,
    pub(crate) size: u64,
    pub(crate) modified: i64,
    pub(crate) sha256: String,
    /// Milliseconds.
    pub(crate) duration: i64,
    /// Kilobits per second.
    pub(crate) bitrate: u32,
    /// Hundredths of LUFS and dBTP.
    pub(crate) loudness: Option<i64>,
    pub(crate) true_peak: Option<i64>,
    /// The v2 info hash of its `.torrent`, hex.
    pub(crate) info_hash: String,
}

/// Why an upload was not taken.
#[derive(Debug)]
pub(crate) enum UploadError {
    /// What was sent is no good, and why.
    Refused(String),
    /// It is this machine's fault.
    Failed(String),
}

fn failed(error: impl std::fmt::Display) -> UploadError {
    UploadError::Failed(error.to_string())
}

/// Takes uploads.
#[derive(Debug)]
pub(crate) struct Uploads {
    folder: PathBuf,
    conditioner: Conditioner,
}

/// What is read of a form that is refused, in bytes.
const MOST_DISCARDED: usize = 2 << 20;

/// Reads what the client of a refused form still sends, within a limit: an answer that overtakes its request can be lost with
/// the connection.
pub(crate) async fn discard(mut form: Multipart) {
    let mut left = MOST_DISCARDED;
    while let Ok(Some(mut field)) = form.next_field().await {
        while let Ok(Some(part)) = field.chunk().await {
            let Some(rest) = left.checked_sub(part.len()) else {
                return;
            };
            left = rest;
        }
    }
}

impl Uploads {
    /// Files in `folder`, decoded in children that are `program`.
    pub(crate) fn new(folder: PathBuf, program: PathBuf) -> Self {
        Self {
            folder,
            conditioner: Conditioner::new(program),
        }
    }

    /// Reads a form; its file goes to disk as it comes. Errors say what is wrong with it.
    pub(crate) async fn read(&self, mut form: Multipart) -> Result<Upload, String> {
        let cannot = |e: &dyn std::fmt::Display| format!("the form cannot be read: {e}");
        std::fs::create_dir_all(&self.folder).map_err(|e| cannot(&e))?;
        let mut upload = Upload {
            fields: Vec::new(),
            file: None,
        };
        while let Some(mut field) = form.next_field().await.map_err(|e| cannot(&e))? {
            let name = field.name().unwrap_or_default().to_owned();
            if name != "file" {
                let mut value = Vec::new();
                while let Some(part) = field.chunk().await.map_err(|e| cannot(&e))? {
                    value.extend_from_slice(&part);
                    if value.len() > LONGEST_FIELD {
                        return Err(format!("{name} is longer than {LONGEST_FIELD} bytes"));
                    }
                }
                let value = String::from_utf8(value).map_err(|_| format!("{name} is not text"))?;
                if upload.fields.len() >= MOST_FIELDS {
                    return Err("the form has too many fields".to_owned());
                }
                upload.fields.push((name, value.trim().to_owned()));
                continue;
            }
            if upload.file.is_some() {
                return Err("one file at a time".to_owned());
            }
            let file_name = field.file_name().unwrap_or_default().to_owned();
            let (file, path) = tempfile::NamedTempFile::new_in(&self.folder)
                .map_err(|e| cannot(&e))?
                .into_parts();
            let mut file = tokio::fs::File::from_std(file);
            let mut size = 0;
            while let Some(part) = field.chunk().await.map_err(|e| cannot(&e))? {
                size += part.len() as u64;
                if size > LARGEST {
                    return Err(format!("file is larger than {LARGEST} bytes"));
                }
                file.write_all(&part).await.map_err(|e| cannot(&e))?;
            }
            file.sync_all().await.map_err(|e| cannot(&e))?;
            if size > 0 {
                upload.file = Some((file_name, path));
            }
        }
        Ok(upload)
    }

    /// Decodes and measures the file of a form, and keeps it under its hash. `size` is that of a video's picture.
    pub(crate) async fn take(&self, upload: Upload, size: (u32, u32)) -> Result<Measured, UploadError> {
        let Some((name, aside)) = upload.file else {
            return Err(UploadError::Refused("file: choose one".to_owned()));
        };
        let media_type = media_type_of(&name)
            .ok_or_else(|| UploadError::Refused(format!("file: {name:?} is of no kind that is known")))?;
        if media_type.starts_with("video/") && (size.0 == 0 || size.1 == 0) {
            return Err(UploadError::Refused(
                "file: a video needs width and height".to_owned(),
            ));
        }
        let scratch = tempfile::tempdir_in(&self.folder).map_err(failed)?;
        let cache = Cache::open(scratch.path(), DECODED).map_err(failed)?;
        let limits = FetchLimits {
            max_bytes: LARGEST,
            ..FetchLimits::default()
        };
        let original = {
            let (cache, path) = (cache.clone(), aside.to_path_buf());
            blocking(move || cache.import(&path, limits).map_err(failed)).await?
        };
        let decoded = self
            .conditioner
            .condition(&cache, &original, PROFILE)
            .await
            .map_err(|error| match error {
                ConditionError::Io { .. }
                | ConditionError::Cache(_)
                | ConditionError::Card(_)
                | ConditionError::Profile(_) => failed(error),
                refused => UploadError::Refused(format!("file: {refused}")),
            })?;
        // To the nearest millisecond: resampling may lose a part of the last sample.
        let duration = (decoded.duration().as_secs_f64() * 1000.0).round() as i64;
        if duration == 0 {
            return Err(UploadError::Refused("file: nothing is heard in it".to_owned()));
        }
        let hundredths = |value: f64| value.is_finite().then(|| (value * 100.0).round() as i64);
        let sha256 = original.sha256.to_string();
        let kept = self.folder.join(&sha256);
        let named = Path::new(&name).extension().map_or_else(String::new, |e| {
            format!(".{}", e.to_string_lossy().to_ascii_lowercase())
        });
        let (file, info_hash) = blocking(move || {
            let file = keep(aside, &kept).map_err(failed)?;
            Ok((file, publish(&kept, format!("{sha256}{named}"))?))
        })
        .await?;
        Ok(Measured {
            bitrate: (file.size.saturating_mul(8) / duration as u64).clamp(1, 1_000_000) as u32,
            path: file.path,
            media_type: media_type.to_owned(),
            size: file.size,
            modified: file.modified,
            sha256: file.sha256,
            duration,
            loudness: decoded.loudness.and_then(hundredths),
            true_peak: hundredths(decoded.true_peak),
            info_hash,
        })
    }
}

/// Keeps a file under its name, unless it is there already. It is hashed where it lies then.
fn keep(aside: tempfile::TempPath, kept: &Path) -> std::io::Result<Hashed> {
    if !kept.exists() {
        aside.persist(kept).map_err(|e| e.error)?;
        if let Some(folder) = kept.parent() {
            // So that the name is on disk before anything refers to it.
            std::fs::File::open(folder)?.sync_all()?;
        }
    }
    hash(kept)
}

/// Where the metainfo of a creative lies.
fn beside(creative: &Path) -> PathBuf {
    let mut path = creative.as_os_str().to_owned();
    path.push(".torrent");
    path.into()
}

/// Writes a creative's metainfo beside it; its v2 info hash. What it names is nobody's: that is put in when it is asked for.
fn publish(creative: &Path, name: String) -> Result<String, UploadError> {
    let to = beside(creative);
    // The name is within the hash: the first stays, so that there is one swarm.
    if let Ok(there) = std::fs::read(&to)
        .map_err(failed)
        .and_then(|b| Metainfo::parse(&b).map_err(failed))
    {
        return Ok(there.info_hash_v2().to_string());
    }
    let metainfo = Builder::new(name).hash_file(creative, |_| {}).map_err(failed)?;
    let folder = to.parent().unwrap_or(Path::new("."));
    let mut aside = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    std::io::Write::write_all(&mut aside, metainfo.to_bytes()).map_err(failed)?;
    aside.as_file().sync_all().map_err(failed)?;
    aside.persist(&to).map_err(|e| failed(e.error))?;
    Ok(metainfo.info_hash_v2().to_string())
}

/// The metainfo of a creative, with where to get it and where to find others who have it.
pub(crate) fn metainfo(creative: &Path, web_seed: &str, trackers: &[String]) -> std::io::Result<Vec<u8>> {
    let bad = |e| std::io::Error::new(std::io::ErrorKind::InvalidData, e);
    let bytes = std::fs::read(beside(creative))?;
    let metainfo = Metainfo::parse(&bytes).map_err(bad)?;
    let metainfo = metainfo
        .with_sources(trackers, &[web_seed.to_owned()])
        .map_err(bad)?;
    Ok(metainfo.to_bytes().to_vec())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, UploadError> + Send + 'static,
) -> Result<T, UploadError> {
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}
