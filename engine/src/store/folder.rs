//! The content of several files as one [`Backing`]: each file of the torrent below one folder, under its own path.
//!
//! A file is created when its first byte is written, so nothing appears of what is not wanted. At most [`MAX_OPEN`]
//! files are open at a time. The stamp of all covers every file: who changes, adds or removes one changes it.
//!
//! Invariants: paths are those of the metainfo, which are safe components, so nothing outside the folder is touched;
//! a read or write lies inside one file. The lock is held to look files up, never during I/O on content.

use super::backing::{Backing, Disk, Stamp};
use crate::metainfo::Metainfo;
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Files that are open at a time.
const MAX_OPEN: usize = 64;
/// Files that are synced at a time, at most, and how many there are to each at least.
const SYNCS: usize = 32;
const EACH: usize = 8;

/// A file and where it lies in the torrent.
#[derive(Clone, Debug)]
struct Place {
    path: PathBuf,
    start: u64,
    length: u64,
}

#[derive(Default)]
struct Open {
    files: HashMap<usize, Arc<dyn Backing>>,
    /// Written since the last sync.
    dirty: BTreeSet<usize>,
    /// Folders with names that were not synced yet.
    renewed: BTreeSet<PathBuf>,
}

/// The files of a torrent below a folder.
pub(super) struct Folder {
    /// In order; files without bytes are not here.
    places: Vec<Place>,
    disk: Arc<dyn Disk>,
    open: Mutex<Open>,
}

impl Folder {
    /// Of a torrent whose files lie, or shall lie, below `root`.
    pub(super) fn new(disk: Arc<dyn Disk>, root: &Path, metainfo: &Metainfo) -> Self {
        let mut start: u64 = 0;
        let mut places = Vec::new();
        for file in metainfo.files().iter().filter(|file| file.length() > 0) {
            let mut path = root.to_owned();
            path.extend(file.path());
            places.push(Place {
                path,
                start,
                length: file.length(),
            });
            start += file.length().next_multiple_of(metainfo.piece_length());
        }
        Self {
            places,
            disk,
            open: Mutex::default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Both tables stay right when a single operation on one is lost.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file at an offset, and the offset in it.
    fn place(&self, offset: u64) -> Option<(usize, u64)> {
        let index = self
            .places
            .partition_point(|place| place.start <= offset)
            .checked_sub(1)?;
        Some((index, offset - self.places[index].start))
    }

    /// The open file, opened when it is not: created when it may be, else it must be there.
    fn file(&self, index: usize, create: bool) -> io::Result<Arc<dyn Backing>> {
        if let Some(file) = self.open().files.get(&index) {
            return Ok(file.clone());
        }
        let path = &self.places[index].path;
        let mut renewed = None;
        if self.disk.stamp(path)?.is_none() {
            if !create {
                return Err(io::ErrorKind::NotFound.into());
            }
            renewed = path.parent();
        }
        if let Some(folder) = renewed {
            self.disk.create_folders(folder)?;
        }
        let file: Arc<dyn Backing> = self.disk.open(path)?.into();
        let mut open = self.open();
        open.renewed.extend(renewed.map(Path::to_owned));
        if open.files.len() >= MAX_OPEN {
            // What is not whole is known as long as it is open.
            let mut others = open
                .files
                .iter()
                .filter(|(other, file)| **other != index && file.unread().is_empty());
            if let Some(other) = others.next().map(|(other, _)| *other) {
                open.files.remove(&other);
            }
        }
        open.files.insert(index, file.clone());
        Ok(file)
    }

    /// The file and the place in it for `len` bytes at an offset; they must lie inside it.
    fn part(&self, offset: u64, len: usize, create: bool) -> io::Result<(usize, Arc<dyn Backing>, u64)> {
        let inside = self
            .place(offset)
            .filter(|&(index, within)| within + len as u64 <= self.places[index].length);
        let (index, within) = inside.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok((index, self.file(index, create)?, within))
    }
}

impl Backing for Folder {
    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let (index, file, within) = self.part(offset, data.len(), true)?;
        self.open().dirty.insert(index);
        file.write_all_at(data, within)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let (_, file, within) = self.part(offset, buffer.len(), false)?;
        file.read_exact_at(buffer, within)
    }

    fn sync(&self) -> io::Result<()> {
        let dirty: Vec<usize> = self.open().dirty.iter().copied().collect();
        // One after the other, each waits for a commit of the file system's journal; together they share it.
        let next = AtomicUsize::new(0);
        let sync = || -> io::Result<()> {
            while let Some(&index) = dirty.get(next.fetch_add(1, Ordering::Relaxed)) {
                // A file that is opened anew syncs all that was written to it through earlier handles too.
                self.file(index, false)?.sync()?;
                self.open().dirty.remove(&index);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let helpers: Vec<_> = (1..(dirty.len() / EACH).min(SYNCS))
                .filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, sync).ok())
                .collect();
            let others = helpers.into_iter().map(|helper| {
                let panicked = |_| Err(io::Error::other("a sync panicked"));
                helper.join().unwrap_or_else(panicked)
            });
            let all: Vec<io::Result<()>> = std::iter::once(sync()).chain(others).collect();
            all.into_iter().collect::<io::Result<()>>()
        })?;
        let renewed: Vec<PathBuf> = self.open().renewed.iter().cloned().collect();
        for folder in renewed {
            self.disk.sync_folder(&folder)?;
            self.open().renewed.remove(&folder);
        }
        Ok(())
    }

    /// Files grow as they are written.
    fn set_len(&self, _length: u64) -> io::Result<()> {
        Ok(())
    }

    fn available(&self, offset: u64) -> io::Result<u64> {
        let Some((index, within)) = self.place(offset) else {
            return Ok(0);
        };
        let place = &self.places[index];
        let there = self.disk.stamp(&place.path)?.map_or(0, |stamp| stamp.length);
        Ok(there.min(place.length).saturating_sub(within))
    }

    fn files(&self, within: Range<u64>) -> Range<usize> {
        let end = self.places.partition_point(|place| place.start < within.end);
        let first = self.place(within.start).map_or(0, |(index, _)| index);
        first..end
    }

    fn extent(&self, file: usize) -> Range<u64> {
        let place = &self.places[file];
        place.start..place.start + place.length
    }

    fn stamp(&self, file: usize) -> io::Result<Option<Stamp>> {
        self.disk.stamp(&self.places[file].path)
    }

    fn unread(&self) -> Vec<Range<u64>> {
        let open = self.open();
        let all = open.files.iter().flat_map(|(&index, file)| {
            let start = self.places[index].start;
            let parts = file.unread().into_iter();
            parts.map(move |part| start + part.start..start + part.end)
        });
        all.collect()
    }

    /// The sum of the sizes, and a digest of all sizes and times in place of the times.
    fn together(&self, all: &[Option<Stamp>]) -> Stamp {
        let mut length = 0;
        let mut digest = Sha256::new();
        for stamp in all {
            let Stamp {
                length: bytes,
                modified,
                changed,
            } = stamp.unwrap_or_default();
            length += bytes;
            digest.update(bytes.to_le_bytes());
            for part in [modified.0, modified.1, changed.0, changed.1] {
                digest.update(part.to_le_bytes());
            }
        }
        let digest: [u8; 32] = digest.finalize().into();
        let part = |i: usize| {
            let mut part = [0; 8];
            part.copy_from_slice(&digest[8 * i..8 * i + 8]);
            i64::from_le_bytes(part)
        };
        Stamp {
            length,
            modified: (part(0), part(1)),
            changed: (part(2), part(3)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metainfo::Builder;
    use std::sync::Condvar;
    use std::time::Duration;

    /// Syncs, which go on once several wait together; one file's fails once.
    #[derive(Default)]
    struct Syncs {
        waiting: Mutex<(usize, Option<PathBuf>, BTreeSet<PathBuf>)>,
        more: Condvar,
    }

    #[derive(Clone)]
    struct Slow(Arc<Syncs>);

    struct File(PathBuf, Arc<Syncs>);

    impl Backing for File {
        fn write_all_at(&self, _data: &[u8], _offset: u64) -> io::Result<()> {
            Ok(())
        }

        fn read_exact_at(&self, _buffer: &mut [u8], _offset: u64) -> io::Result<()> {
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            let mut state = self.1.waiting.lock().expect("not poisoned");
            state.0 += 1;
            self.1.more.notify_all();
            let patience = Duration::from_secs(20);
            let waited = self
                .1
                .more
                .wait_timeout_while(state, patience, |state| state.0 < 4);
            let (mut state, timeout) = waited.expect("not poisoned");
            assert!(!timeout.timed_out(), "one after the other");
            if state.1.as_ref() == Some(&self.0) {
                state.1 = None;
                return Err(io::ErrorKind::Other.into());
            }
            state.2.insert(self.0.clone());
            Ok(())
        }

        fn set_len(&self, _length: u64) -> io::Result<()> {
            Ok(())
        }

        fn stamp(&self, _file: usize) -> io::Result<Option<Stamp>> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    impl Disk for Slow {
        fn create_folders(&self, _folder: &Path) -> io::Result<()> {
            Ok(())
        }

        fn open(&self, path: &Path) -> io::Result<Box<dyn Backing>> {
            Ok(Box::new(File(path.to_owned(), self.0.clone())))
        }

        fn stamp(&self, _path: &Path) -> io::Result<Option<Stamp>> {
            Ok(Some(Stamp {
                length: 1,
                ..Stamp::default()
            }))
        }

        fn read(&self, _path: &Path) -> io::Result<Vec<u8>> {
            Ok(Vec::new())
        }

        fn rename(&self, _from: &Path, _to: &Path) -> io::Result<()> {
            Ok(())
        }

        fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn many_files_are_synced_together_and_all_that_was_not_again() {
        let place = tempfile::tempdir().expect("a folder");
        for file in 0..100 {
            std::fs::write(place.path().join(format!("{file:03}")), [1]).expect("space on the disk");
        }
        let listing = crate::metainfo::Listing::of(place.path()).expect("it can be read");
        let metainfo = Builder::new("many").hash_folder(place.path(), &listing, |_| {});
        let metainfo = metainfo.expect("it can be hashed");
        let syncs = Arc::new(Syncs::default());
        let folder = Folder::new(Arc::new(Slow(syncs.clone())), Path::new("/many"), &metainfo);
        for file in 0..100 {
            let offset = file * metainfo.piece_length();
            folder.write_all_at(&[1], offset).expect("it takes everything");
        }
        let fails = PathBuf::from("/many/050");
        syncs.waiting.lock().expect("not poisoned").1 = Some(fails.clone());
        assert!(folder.sync().is_err());
        let synced = || syncs.waiting.lock().expect("not poisoned").2.clone();
        assert!(!synced().contains(&fails));
        folder.sync().expect("it works again");
        assert_eq!(synced().len(), 100);
    }
}
