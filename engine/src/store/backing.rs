//! The few operations that a store needs of a disk, so that tests can make each of them fail.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

/// Size and modification time: what tells that somebody else changed the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Bytes.
    pub(crate) length: u64,
    /// Seconds and nanoseconds since the epoch.
    pub(crate) modified: (i64, i64),
}

/// An open file.
pub(crate) trait Backing: Send + Sync {
    /// Writes all of `data` at `offset`.
    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()>;
    /// Fills `buffer` from `offset`.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Makes what was written safe.
    fn sync(&self) -> io::Result<()>;
    /// Sets the length, without using space.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Size and time now.
    fn stamp(&self) -> io::Result<Stamp>;
}

/// Names of files. What is done with a name is safe only after [`Disk::sync_folder`].
pub(crate) trait Disk: Send + Sync {
    /// Makes a folder and those above it, safely.
    fn create_folders(&self, folder: &Path) -> io::Result<()>;
    /// Opens a file to read and write; it is made when it is not there.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Backing>>;
    /// The whole of a small file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Gives a file another name, in the place of whatever had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a folder safe.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
}

impl Backing for File {
    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, data, offset)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        File::set_len(self, length)
    }

    fn stamp(&self) -> io::Result<Stamp> {
        let metadata = self.metadata()?;
        Ok(Stamp {
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

/// The file system.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileSystem;

impl Disk for FileSystem {
    fn create_folders(&self, folder: &Path) -> io::Result<()> {
        let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
        match std::fs::create_dir(folder) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound && above.is_some() => {
                // The check above says that there is one.
                self.create_folders(above.unwrap_or(folder))?;
                std::fs::create_dir(folder)?;
            }
            Err(_) if folder.is_dir() => return Ok(()),
            Err(e) => return Err(e),
        }
        self.sync_folder(above.unwrap_or(Path::new(".")))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Backing>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        Ok(Box::new(options.open(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }
}
