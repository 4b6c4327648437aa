//! A file of the store's own, to which a person may have been given a second name (a hard link).
//!
//! What is under that name is the person's to change. So a file with more than one name is never written: before the
//! first write the store's name gets a copy, and the other keeps what it has. Not here: whether what a person changed
//! is still read as content (the store's).

use super::backing::{Backing, Stamp};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

pub(super) struct Own {
    path: PathBuf,
    file: RwLock<Arc<File>>,
}

impl Own {
    /// Opens it to read and write; it is made when it is not there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = match options.open(path) {
            // Whoever has the other name may have made it read-only.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && names(&File::open(path)?)? > 1 => {
                copy(path)?
            }
            opened => opened?,
        };
        Ok(Self {
            path: path.to_owned(),
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
            *place = Arc::new(copy(&self.path)?);
        }
        Ok(place.clone())
    }
}

fn names(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.nlink())
}

/// Puts a copy of a file in its own place, safely.
fn copy(path: &Path) -> io::Result<File> {
    let beside = path.with_extension("own");
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&beside)?;
    io::copy(&mut File::open(path)?, &mut file)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
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

    fn stamp(&self) -> io::Result<Stamp> {
        self.file().stamp()
    }
}
