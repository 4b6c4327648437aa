//! The few operations that a store needs of a disk, so that tests can make each of them fail.
//!
//! Offsets in content count through the torrent: each file begins at a multiple of the piece length. For a single file
//! they are those of the file; several are put together in `folder`.

use super::own::Own;
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Size and times: what tells that somebody else changed the file ([`super::checked`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Bytes.
    pub(crate) length: u64,
    /// Seconds and nanoseconds since the epoch.
    pub(crate) modified: (i64, i64),
    /// When anything of the file was changed last, its names and permissions too; nobody can set it.
    pub(crate) changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Whether only the change time is another one there.
    pub(super) fn is_touched(&self, now: &Self) -> bool {
        self.changed != now.changed && (self.length, self.modified) == (now.length, now.modified)
    }
}

/// An open file, or several as one.
pub(crate) trait Backing: Send + Sync {
    /// Writes all of `data` at `offset`.
    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()>;
    /// Fills `buffer` from `offset`.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Makes what was written safe.
    fn sync(&self) -> io::Result<()>;
    /// Sets the length of a single file, without using space.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// How many bytes are there from this offset to the end of its file.
    fn available(&self, offset: u64) -> io::Result<u64> {
        let length = self.stamp(0)?.map_or(0, |stamp| stamp.length);
        Ok(length.saturating_sub(offset))
    }
    /// The files that have bytes at these offsets, by their numbers in order.
    fn files(&self, _within: Range<u64>) -> Range<usize> {
        0..1
    }
    /// The offsets of a file's bytes.
    fn extent(&self, _file: usize) -> Range<u64> {
        0..u64::MAX
    }
    /// Size and times now of a file; `None` when it is not there.
    fn stamp(&self, file: usize) -> io::Result<Option<Stamp>>;
    /// Offsets of what could not be read when a file was copied, and was not written since.
    fn unread(&self) -> Vec<Range<u64>> {
        Vec::new()
    }
    /// One stamp for all files, each of which has its own.
    fn together(&self, all: &[Option<Stamp>]) -> Stamp {
        all.first().copied().flatten().unwrap_or_default()
    }
}

/// Names of files. What is done with a name is safe only after [`Disk::sync_folder`].
pub(crate) trait Disk: Send + Sync {
    /// Makes a folder and those above it, safely.
    fn create_folders(&self, folder: &Path) -> io::Result<()>;
    /// Opens a file to read and write; it is made when it is not there.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Backing>>;
    /// Size and times of a file; `None` when there is none.
    fn stamp(&self, path: &Path) -> io::Result<Option<Stamp>>;
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

    fn stamp(&self, _file: usize) -> io::Result<Option<Stamp>> {
        Ok(Some(Stamp::of(&self.metadata()?)))
    }
}

fn stamp(path: &Path) -> io::Result<Option<Stamp>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(Stamp::of(&metadata))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// The file system.
#[derive(Clone, Debug)]
pub(crate) struct FileSystem {
    /// The folder of the store.
    pub(crate) home: PathBuf,
}

impl Disk for FileSystem {
    fn create_folders(&self, folder: &Path) -> io::Result<()> {
        let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
        match std::fs::create_dir(folder) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound && above.is_some() => {
                // The check above says that there is one.
                self.create_folders(above.unwrap_or(folder))?;
                match std::fs::create_dir(folder) {
                    // Somebody else made it meanwhile.
                    Err(_) if folder.is_dir() => {}
                    made => made?,
                }
            }
            Err(_) if folder.is_dir() => return Ok(()),
            Err(e) => return Err(e),
        }
        self.sync_folder(above.unwrap_or(Path::new(".")))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Backing>> {
        Ok(Box::new(Own::open(path, &self.home)?))
    }

    fn stamp(&self, path: &Path) -> io::Result<Option<Stamp>> {
        stamp(path)
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

/// The file system, of which nothing is changed: for files that belong to somebody else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadOnly;

impl Disk for ReadOnly {
    fn create_folders(&self, _folder: &Path) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Backing>> {
        Ok(Box::new(File::open(path)?))
    }

    fn stamp(&self, path: &Path) -> io::Result<Option<Stamp>> {
        stamp(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }
}
