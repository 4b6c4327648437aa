//! A file of the store's own, to which a person may have been given a second name (a hard link).
//!
//! What is under that name is the person's to change. So a file with more than one name is never written: before the
//! first write the store's name gets a copy, and the other keeps what it has. Not here: whether what a person changed
//! is still read as content (the store's).
//!
//! The copy is made in the store's own folder, never beside the file: what has which name there is the publisher's to
//! choose, and may have a second name too.
//!
//! What the disk cannot read then is not in the copy: it cannot be read there either ([`Backing::unread`]) until it is written anew.

use super::backing::{Backing, Stamp};
use super::held::{DAMAGE, is_damage};
use crate::swarm::BLOCK_SIZE;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Numbers the copies that this process makes: several files of one store may be copied at once.
static COPIES: AtomicU64 = AtomicU64::new(0);

pub(super) struct Own {
    path: PathBuf,
    /// The folder of the store, which nobody else uses.
    home: PathBuf,
    open: RwLock<Open>,
}

struct Open {
    file: Arc<File>,
    /// What could not be copied, and was not written since, each part within a block.
    unread: Vec<Range<u64>>,
}

impl From<File> for Open {
    fn from(file: File) -> Self {
        let (file, unread) = (Arc::new(file), Vec::new());
        Self { file, unread }
    }
}

impl Own {
    /// Opens it to read and write; it is made when it is not there.
    pub(super) fn open(path: &Path, home: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let open = match options.open(path) {
            // Whoever has the other name may have made it read-only.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && names(&File::open(path)?)? > 1 => {
                copy(path, home)?
            }
            opened => opened?.into(),
        };
        Ok(Self {
            path: path.to_owned(),
            home: home.to_owned(),
            open: RwLock::new(open),
        })
    }

    fn now(&self) -> RwLockReadGuard<'_, Open> {
        // It is replaced at once, whole.
        self.open.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Open> {
        self.open.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self) -> Arc<File> {
        self.now().file.clone()
    }

    /// The file, with no other name.
    fn alone(&self) -> io::Result<Arc<File>> {
        let file = self.file();
        if names(&file)? <= 1 {
            return Ok(file);
        }
        let mut open = self.change();
        if names(&open.file)? > 1 {
            let mut copied = copy(&self.path, &self.home)?;
            copied.unread.append(&mut open.unread);
            *open = copied;
        }
        Ok(open.file.clone())
    }
}

fn names(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.nlink())
}

/// Puts a copy of a file in its own place, safely.
fn copy(path: &Path, home: &Path) -> io::Result<Open> {
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
    let copied = copy_into(&File::open(path)?, &mut file).and_then(|unread| {
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        Ok(unread)
    });
    let unread = match copied {
        Ok(unread) => unread,
        Err(e) => {
            // What is left of it is in nobody's way.
            let _ = std::fs::remove_file(&draft);
            return Err(e);
        }
    };
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    let file = Arc::new(file);
    Ok(Open { file, unread })
}

/// Copies a file, and gives what of it could not be read.
fn copy_into(from: &File, to: &mut File) -> io::Result<Vec<Range<u64>>> {
    match io::copy(&mut &*from, to) {
        Ok(_) => Ok(Vec::new()),
        Err(e) if is_damage(&e) => copy_readable(from, from.metadata()?.len(), to),
        Err(e) => Err(e),
    }
}

/// The same, block by block. Where nothing at all can be read that is an error: it may all be there another time.
fn copy_readable(from: &dyn Backing, length: u64, to: &File) -> io::Result<Vec<Range<u64>>> {
    to.set_len(length)?;
    let (mut unread, mut first) = (Vec::new(), None);
    let mut buffer = vec![0; BLOCK_SIZE as usize];
    for start in (0..length).step_by(buffer.len()) {
        let end = length.min(start + u64::from(BLOCK_SIZE));
        let part = &mut buffer[..(end - start) as usize];
        match from.read_exact_at(part, start) {
            // Holes stay holes.
            Ok(()) if part.iter().all(|byte| *byte == 0) => {}
            Ok(()) => Backing::write_all_at(to, part, start)?,
            Err(e) if is_damage(&e) => {
                unread.push(start..end);
                first.get_or_insert(e);
            }
            Err(e) => return Err(e),
        }
    }
    match first {
        Some(e) if unread.len() as u64 == length.div_ceil(u64::from(BLOCK_SIZE)) => Err(e),
        _ => Ok(unread),
    }
}

impl Backing for Own {
    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        Backing::write_all_at(&*self.alone()?, data, offset)?;
        if !self.now().unread.is_empty() {
            let written = offset..offset + data.len() as u64;
            let is_written = |part: &Range<u64>| written.start <= part.start && part.end <= written.end;
            self.change().unread.retain(|part| !is_written(part));
        }
        Ok(())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let file = {
            let open = self.now();
            let end = offset + buffer.len() as u64;
            if open
                .unread
                .iter()
                .any(|part| part.start < end && offset < part.end)
            {
                return Err(io::Error::from_raw_os_error(DAMAGE));
            }
            open.file.clone()
        };
        Backing::read_exact_at(&*file, buffer, offset)
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

    fn unread(&self) -> Vec<Range<u64>> {
        self.now().unread.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::super::backing::Disk as _;
    use super::super::faults::FaultDisk;
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

    const BLOCK: usize = BLOCK_SIZE as usize;

    #[test]
    fn what_cannot_be_read_is_left_out_of_a_copy() {
        let (disk, path) = (FaultDisk::default(), Path::new("/a"));
        let file = disk.open(path).unwrap();
        let data: Vec<u8> = (0..3 * BLOCK + 100).map(|i| (i / 7) as u8).collect();
        file.write_all_at(&data, 0).unwrap();
        let copied = || {
            let copy = tempfile::tempfile().unwrap();
            let unread = copy_readable(file.as_ref(), data.len() as u64, &copy)?;
            let mut bytes = vec![9; data.len()];
            Backing::read_exact_at(&copy, &mut bytes, 0)?;
            io::Result::Ok((unread, bytes))
        };
        assert_eq!(copied().unwrap(), (Vec::new(), data.clone()));
        disk.go_bad(path, BLOCK + 5);
        disk.go_bad(path, 3 * BLOCK + 5);
        let (unread, bytes) = copied().unwrap();
        let parts = [BLOCK..2 * BLOCK, 3 * BLOCK..data.len()];
        assert_eq!(unread, parts.map(|part| part.start as u64..part.end as u64));
        let mut rest = data.clone();
        for part in [BLOCK..2 * BLOCK, 3 * BLOCK..data.len()] {
            rest[part].fill(0);
        }
        assert!(bytes == rest, "all else is there");
        disk.go_bad(path, 5);
        disk.go_bad(path, 2 * BLOCK);
        assert_eq!(copied().unwrap_err().raw_os_error(), Some(DAMAGE));
    }

    #[test]
    fn what_was_not_copied_cannot_be_read_until_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("content");
        std::fs::write(&path, vec![1; 3 * BLOCK]).unwrap();
        let own = Own::open(&path, folder.path()).unwrap();
        let lost = BLOCK as u64..2 * BLOCK as u64;
        own.change().unread.push(lost.clone());
        let read = |at: usize, len: usize| {
            let mut bytes = vec![0; len];
            Backing::read_exact_at(&own, &mut bytes, at as u64).map(|()| bytes)
        };
        assert_eq!(read(0, BLOCK).unwrap(), vec![1; BLOCK]);
        assert_eq!(read(2 * BLOCK, BLOCK).unwrap(), vec![1; BLOCK]);
        for (at, len) in [(0, BLOCK + 1), (BLOCK, 1), (2 * BLOCK - 1, 5)] {
            assert!(is_damage(&read(at, len).unwrap_err()), "{at}");
        }
        // What is written beside it, or a part of it, does not bring it back.
        for at in [0, BLOCK + 10] {
            Backing::write_all_at(&own, &[2; 10], at as u64).unwrap();
            assert_eq!(own.unread(), std::slice::from_ref(&lost));
        }
        Backing::write_all_at(&own, &[3; BLOCK], lost.start).unwrap();
        assert!(own.unread().is_empty());
        assert_eq!(read(BLOCK, BLOCK).unwrap(), vec![3; BLOCK]);
    }
}
