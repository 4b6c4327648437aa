//! A file of the store's own, to which a person may have been given a second name (a hard link).
//!
//! What is under that name is the person's to change. So a file with more than one name is never written: before the
//! first write the store's name gets a copy, and the other keeps what it has. Not here: whether what a person changed
//! is still read as content (the store's).
//!
//! The copy is made in the store's own folder, never beside the file: what has which name there is the publisher's to
//! choose, and may have a second name too.

use super::backing::{Backing, Stamp};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// Numbers the copies that this process makes: several files of one store may be copied at once.
static COPIES: AtomicU64 = AtomicU64::new(0);

pub(super) struct Own {
    path: PathBuf,
    /// The folder of the store, which nobody else uses.
    home: PathBuf,
    file: RwLock<Arc<File>>,
}

impl Own {
    /// Opens it to read and write; it is made when it is not there.
    pub(super) fn open(path: &Path, home: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = match options.open(path) {
            // Whoever has the other name may have made it read-only.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && names(&File::open(path)?)? > 1 => {
                copy(path, home)?
            }
            opened => opened?,
        };
        Ok(Self {
            path: path.to_owned(),
            home: home.to_owned(),
            file: RwLock::new(Arc::new(file)),
        })
    }

    fn file(&self) -> Arc<File> {
        // It is replaced at once, whole.
        self.file.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The file, with no other name.
    fn alone(&self) -> io::Result<Arc<File>> {
        let file = self.file();
        if names(&file)? <= 1 {
            return Ok(file);
        }
        let mut place = self.file.write().unwrap_or_else(PoisonError::into_inner);
        if names(&place)? > 1 {
            *place = Arc::new(copy(&self.path, &self.home)?);
        }
        Ok(place.clone())
    }
}

fn names(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.nlink())
}

/// Puts a copy of a file in its own place, safely.
fn copy(path: &Path, home: &Path) -> io::Result<File> {
    let number = COPIES.fetch_add(1, Ordering::Relaxed);
    let draft = home.join(format!("own-{number}.new"));
    match std::fs::remove_file(&draft) {
        // A process that was killed may have left it.
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let mut options = OpenOptions::new();
    let mut file = options.read(true).write(true).create_new(true).open(&draft)?;
    let copied = io::copy(&mut File::open(path)?, &mut file)
        .and_then(|_| file.sync_all())
        .and_then(|()| std::fs::rename(&draft, path));
    if let Err(e) = copied {
        // What is left of it is in nobody's way.
        let _ = std::fs::remove_file(&draft);
        return Err(e);
    }
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(file)
}

impl Backing for Own {
    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        Backing::write_all_at(&*self.alone()?, data, offset)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        Backing::read_exact_at(&*self.file(), buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file().sync()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        Backing::set_len(&*self.alone()?, length)
    }

    fn stamp(&self, file: usize) -> io::Result<Option<Stamp>> {
        self.file().stamp(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_made_of_one_file_and_touches_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let [home, theirs] = ["home", "theirs"].map(|name| folder.path().join(name));
        let content = home.join("content");
        std::fs::create_dir_all(&content).unwrap();
        std::fs::create_dir_all(&theirs).unwrap();
        let names = ["a.mp3", "a.own", "a.new"];
        for name in names {
            std::fs::write(content.join(name), name).unwrap();
            std::fs::hard_link(content.join(name), theirs.join(name)).unwrap();
        }
        // What a process that was killed left there.
        std::fs::write(home.join("own-0.new"), "half").unwrap();
        let own = Own::open(&content.join("a.mp3"), &home).unwrap();
        Backing::write_all_at(&own, b"b", 0).unwrap();
        assert_eq!(std::fs::read(content.join("a.mp3")).unwrap(), b"b.mp3");
        for name in names {
            assert_eq!(std::fs::read(theirs.join(name)).unwrap(), name.as_bytes());
        }
        for name in &names[1..] {
            assert_eq!(std::fs::read(content.join(name)).unwrap(), name.as_bytes());
        }
        assert_eq!(std::fs::read_dir(&content).unwrap().count(), names.len());
    }
}
