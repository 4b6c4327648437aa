//! What has come so far of a file that nothing can verify, so that the same command goes on with it, killed or not.
//!
//! In `plain/` of the data folder, one folder for each URL under the URL's SHA-256 (an address may hold a secret): `content`; `about`, which
//! version of the file it is of, and how much of it is on the disk for certain; and `lock`. Parts of two versions are never in one `content`:
//! `about` speaks of a new version, of which nothing is here, before the old one goes, and what nobody says a version of is begun anew. What nobody
//! went on with for two weeks goes when another file is begun: where addresses are signed, the same one never comes again.
//!
//! Not for: asking for the rest (`get::plain`); content that can be verified, which is in the store.

use std::fs::{DirEntry, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use engine::store::StoreError;
use gate::Url;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::files::{move_file, write_whole};
use crate::validator::Validator;

/// So often others may remove the folder that is to be locked.
const TRIES: usize = 100;
/// For so long what nobody goes on with is kept.
const KEPT_FOR: Duration = Duration::from_secs(14 * 86_400);

/// See the module documentation. Nobody else has it.
#[derive(Debug)]
pub(crate) struct Partial {
    folder: PathBuf,
    content: File,
    about: About,
    have: u64,
    _lock: File,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct About {
    validator: Option<Validator>,
    /// Bytes of all of it, when that was said.
    total: Option<u64>,
    /// Bytes that are on the disk.
    kept: u64,
}

impl Partial {
    /// What is here of this URL, maybe nothing.
    pub(crate) fn open(data: &Path, url: &Url) -> anyhow::Result<Self> {
        let folder = folder(data, url);
        let lock = lock(&folder)?;
        sweep(&all(data), SystemTime::now());
        let doing = || format!("cannot keep what is fetched in {}", folder.display());
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let content = options.open(content_of(&folder)).with_context(doing)?;
        let here = content.metadata().with_context(doing)?.len();
        let about = std::fs::read(about_of(&folder)).unwrap_or_default();
        let about: Option<About> = serde_json::from_slice(&about).ok();
        let mut about = about
            .filter(|about| about.validator.is_some() && about.kept <= here)
            .unwrap_or_default();
        // Of what is whole the last byte is asked for again, by which it is known to be this version still.
        let is_whole = about.total == Some(about.kept);
        if is_whole {
            about.kept = about.kept.saturating_sub(1);
        }
        let mut partial = Self {
            have: about.kept,
            folder,
            content,
            about,
            _lock: lock,
        };
        if is_whole {
            // Never more is noted than is there.
            partial.note()?;
        }
        let content = &mut partial.content;
        content
            .set_len(partial.have)
            .and_then(|()| content.seek(io::SeekFrom::End(0)))
            .with_context(|| partial.doing())?;
        Ok(partial)
    }

    /// Bytes that came so far, from the first one on.
    pub(crate) fn have(&self) -> u64 {
        self.have
    }

    /// Bytes of them that the same command finds, whatever becomes of this one.
    pub(crate) fn kept(&self) -> u64 {
        self.about.kept
    }

    pub(crate) fn total(&self) -> Option<u64> {
        self.about.total
    }

    pub(crate) fn set_total(&mut self, total: u64) {
        self.about.total = Some(total);
    }

    /// Which version it is of.
    pub(crate) fn validator(&self) -> Option<&Validator> {
        self.about.validator.as_ref()
    }

    /// To read what came, while more of it comes.
    pub(crate) fn reader(&self) -> anyhow::Result<File> {
        let path = content_of(&self.folder);
        File::open(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Begins a version; nothing stays of what is here.
    pub(crate) fn begin(&mut self, validator: Option<Validator>, total: Option<u64>) -> anyhow::Result<()> {
        self.about = About {
            validator,
            total,
            kept: 0,
        };
        self.have = 0;
        self.note()?;
        self.content
            .set_len(0)
            .and_then(|()| self.content.rewind())
            .with_context(|| self.doing())
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.content.write_all(bytes).with_context(|| self.doing())?;
        self.have += bytes.len() as u64;
        Ok(())
    }

    /// Has the same command find all that came. Without a validator it begins anew.
    pub(crate) fn keep(&mut self) -> anyhow::Result<()> {
        if self.about.validator.is_none() || self.have == self.about.kept {
            return Ok(());
        }
        self.content.sync_data().with_context(|| self.doing())?;
        self.about.kept = self.have;
        self.note()
    }

    /// All of it came: it goes where a person finds it, and nothing of it stays here.
    pub(crate) fn place(&mut self, to: &Path) -> anyhow::Result<()> {
        self.content.sync_all().with_context(|| self.doing())?;
        move_file(&content_of(&self.folder), to)?;
        clear(&self.folder);
        Ok(())
    }

    /// It is not whole, and is left for the same command; what that cannot go on with goes.
    pub(crate) fn leave(&mut self) -> anyhow::Result<()> {
        self.keep()?;
        if self.about.kept == 0 {
            clear(&self.folder);
        }
        Ok(())
    }

    /// Forgets what is here of a URL: how much that was, when there is something.
    pub(crate) fn remove(data: &Path, url: &Url) -> anyhow::Result<Option<u64>> {
        let folder = folder(data, url);
        if !folder.exists() {
            return Ok(None);
        }
        let _lock = lock(&folder)?;
        let about = std::fs::metadata(content_of(&folder));
        clear(&folder);
        Ok(Some(about.map_or(0, |about| about.blocks() * 512)))
    }

    fn note(&self) -> anyhow::Result<()> {
        let about = serde_json::to_vec(&self.about)?;
        write_whole(&about_of(&self.folder), &about)
    }

    fn doing(&self) -> String {
        format!("cannot write {}", content_of(&self.folder).display())
    }
}

fn folder(data: &Path, url: &Url) -> PathBuf {
    // What stands behind `#` is the reader's own.
    let mut url = url.clone();
    url.set_fragment(None);
    all(data).join(hex::encode(Sha256::digest(url.as_str())))
}

fn all(data: &Path) -> PathBuf {
    data.join("plain")
}

fn content_of(folder: &Path) -> PathBuf {
    folder.join("content")
}

fn about_of(folder: &Path) -> PathBuf {
    folder.join("about")
}

/// Makes the folder, and has it for this process alone.
fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("lock");
    let doing = || format!("cannot lock {}", path.display());
    for _ in 0..TRIES {
        std::fs::create_dir_all(folder).with_context(doing)?;
        let mut options = OpenOptions::new();
        let mut file = match options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
        {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened.with_context(doing)?,
        };
        // Where nothing can be locked it is hoped that nobody else is there.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            let pid = text.trim().parse().ok();
            let path = folder.to_owned();
            return Err(crate::starting::locked(StoreError::Locked { path, pid }));
        }
        // Whoever had it may have removed it meanwhile.
        if !is_at(&file, &path) {
            continue;
        }
        // Who has it is a courtesy.
        let _ = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        return Ok(file);
    }
    anyhow::bail!("{}: others remove it each time", doing())
}

/// Whether an open file is the one that stands at `path` now.
fn is_at(file: &File, path: &Path) -> bool {
    let which = |about: &std::fs::Metadata| (about.dev(), about.ino());
    matches!((file.metadata(), std::fs::metadata(path)), (Ok(one), Ok(other)) if which(&one) == which(&other))
}

/// Removes what nobody went on with for long. A courtesy: what cannot be looked at stays, and so does what somebody has.
fn sweep(all: &Path, now: SystemTime) {
    for folder in std::fs::read_dir(all).into_iter().flatten().flatten() {
        let folder = folder.path();
        let path = folder.join("lock");
        // Somebody may be about to go on with any other, and is not to find it locked.
        if !is_left(&folder, now) {
            continue;
        }
        // One that is made here is a fresh one.
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path);
        // Where nothing can be locked, nothing is removed either.
        if let Ok(lock) = lock
            && lock.try_lock().is_ok()
            && is_at(&lock, &path)
            && is_left(&folder, now)
        {
            clear(&folder);
        }
    }
}

/// Whether nothing in a folder was touched for long.
fn is_left(folder: &Path, now: SystemTime) -> bool {
    let is_old = |entry: io::Result<DirEntry>| {
        let modified = entry?.metadata()?.modified()?;
        // What is of the future is not old.
        io::Result::Ok(now.duration_since(modified).is_ok_and(|age| age > KEPT_FOR))
    };
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.all(|entry| is_old(entry).unwrap_or(false)))
}

/// Removes a locked folder: the lock last, since from then on another command may begin there. A courtesy: what stays is found by the next one.
fn clear(folder: &Path) {
    let _ = std::fs::remove_file(about_of(folder));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name() != "lock") {
        let _ = std::fs::remove_file(entry.path());
    }
    let _ = std::fs::remove_file(folder.join("lock"));
    let _ = std::fs::remove_dir(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place {
        data: tempfile::TempDir,
        url: Url,
    }

    impl Place {
        fn new() -> Self {
            Self {
                data: tempfile::tempdir().expect("a folder"),
                url: Url::parse("http://x.example/a.bin").expect("a URL"),
            }
        }

        fn open(&self) -> Partial {
            Partial::open(self.data.path(), &self.url).expect("nobody has it")
        }

        fn is_empty(&self) -> bool {
            !folder(self.data.path(), &self.url).exists()
        }
    }

    fn version(name: &str) -> Validator {
        Validator::Etag(format!("\"{name}\""))
    }

    #[test]
    fn what_is_kept_of_a_version_is_found_and_nothing_else() {
        let place = Place::new();
        let mut partial = place.open();
        partial.begin(Some(version("a")), Some(9)).expect("room");
        partial.append(b"abcd").expect("room");
        partial.keep().expect("room");
        partial.append(b"xx").expect("room");
        // As if it were killed.
        drop(partial);
        let mut partial = place.open();
        assert_eq!((partial.have(), partial.total()), (4, Some(9)));
        assert_eq!(partial.validator(), Some(&version("a")));
        partial.append(b"efghi").expect("room");
        partial.keep().expect("room");
        drop(partial);
        // It was whole, and killed before it was in its place; then nothing of the last byte came.
        let mut partial = place.open();
        assert_eq!(partial.have(), 8);
        partial.leave().expect("room");
        drop(partial);
        let mut partial = place.open();
        assert_eq!(partial.have(), 8);
        partial.append(b"i").expect("room");
        let to = place.data.path().join("out/a.bin");
        partial.place(&to).expect("room");
        assert_eq!(std::fs::read(&to).expect("it is there"), b"abcdefghi");
        assert!(place.is_empty());
    }

    #[test]
    fn two_versions_are_never_joined() {
        let place = Place::new();
        let mut partial = place.open();
        partial.begin(Some(version("a")), None).expect("room");
        partial.append(b"abcdef").expect("room");
        partial.keep().expect("room");
        partial.begin(Some(version("b")), None).expect("room");
        partial.append(b"12345678").expect("room");
        drop(partial);
        assert_eq!(place.open().have(), 0, "nothing of the second was kept");
        // What is shorter than is said, or of which nothing is said, is begun anew.
        for about in [
            "{\"validator\":{\"etag\":\"\\\"a\\\"\"},\"total\":null,\"kept\":7}",
            "{}",
            "",
        ] {
            let folder = folder(place.data.path(), &place.url);
            std::fs::write(content_of(&folder), "abcdef").expect("room");
            std::fs::write(about_of(&folder), about).expect("room");
            assert_eq!(place.open().have(), 0, "{about}");
        }
    }

    #[test]
    fn what_no_validator_stands_for_is_not_left() {
        let place = Place::new();
        let mut partial = place.open();
        partial.begin(None, Some(9)).expect("room");
        partial.append(b"abcd").expect("room");
        partial.keep().expect("room");
        assert_eq!(partial.kept(), 0);
        partial.leave().expect("room");
        assert!(place.is_empty());
    }

    #[test]
    fn what_nobody_goes_on_with_for_two_weeks_is_swept() {
        let place = Place::new();
        let now = SystemTime::now();
        let url = |name: &str| place.url.join(name).expect("a URL");
        let leave = |name: &str, days: u64| {
            let mut partial = Partial::open(place.data.path(), &url(name)).expect("nobody has it");
            partial.begin(Some(version("a")), None).expect("room");
            partial.append(b"abcd").expect("room");
            partial.leave().expect("room");
            for entry in std::fs::read_dir(&partial.folder).expect("it is there") {
                let file = OpenOptions::new()
                    .write(true)
                    .open(entry.expect("an entry").path());
                let then = now - Duration::from_secs(days * 86_400);
                file.and_then(|file| file.set_modified(then)).expect("it is ours");
            }
            partial
        };
        let is_here = |name: &str| folder(place.data.path(), &url(name)).exists();
        let held = leave("held", 99);
        drop((leave("old", 15), leave("new", 13)));
        let untouched = folder(place.data.path(), &url("new")).join("lock");
        std::fs::remove_file(&untouched).expect("it is there");
        // Who comes back for it finds it, whenever.
        let again = Partial::open(place.data.path(), &url("other"));
        drop(again);
        assert_eq!(
            ["held", "old", "new"].map(is_here),
            [true, false, true],
            "another file was begun"
        );
        assert!(!untouched.exists(), "nobody went on with it");
        drop(held);
        let back = Partial::open(place.data.path(), &url("held")).expect("nobody has it");
        assert_eq!(back.have(), 4);
    }

    #[test]
    fn one_at_a_time_has_it_and_it_can_be_forgotten() {
        let place = Place::new();
        let mut partial = place.open();
        partial.begin(Some(version("a")), None).expect("room");
        partial.append(&vec![7; 64 << 10]).expect("room");
        partial.leave().expect("room");
        let (data, url) = (place.data.path(), &place.url);
        let own = format!("(pid {})", std::process::id());
        for refused in [
            Partial::open(data, url).map(drop),
            Partial::remove(data, url).map(drop),
        ] {
            let error = format!("{:#}", refused.expect_err("somebody has it"));
            assert!(error.contains(&own), "{error}");
        }
        drop(partial);
        let with_fragment = url.join("#t=10").expect("a URL");
        let removed = Partial::remove(data, &with_fragment).expect("nobody has it");
        assert!(removed.is_some_and(|bytes| bytes > 0), "{removed:?}");
        assert!(place.is_empty());
        assert_eq!(Partial::remove(data, url).expect("nobody has it"), None);
    }
}
