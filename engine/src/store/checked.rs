//! Each file of the content as it was when it was checked last, or written by the store itself: what shows that somebody else changed it.
//!
//! Length and modification time tell a change. The change time (ctime) alone tells less: it moves with every write, also one that
//! keeps the other two, and with another name, other permissions or a backup as well. So where only it is new, the file is hashed again.
//!
//! Not here: the hashing (`opening`), what is written down (`state`).

use super::backing::{Backing, Stamp};
use std::io;
use std::ops::Range;

/// A file that the store is writing to: nobody else has a name of it then (`own`), and it is looked at again before
/// the record.
const WRITING: Option<Found> = None;

/// A file as it was found; `None` when it was not there.
type Found = Option<Stamp>;

/// File by file, in their order.
#[derive(Debug)]
pub(super) struct Checked(Vec<Option<Found>>);

/// What is to be thought of some files.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// They are what was checked.
    Same,
    /// The content of some may be another: these are to be hashed again, with how they were found.
    Touched(Vec<(usize, Stamp)>),
    /// Some file was changed.
    Changed,
}

impl Checked {
    /// All files as they are now.
    pub(super) fn now(backing: &dyn Backing) -> io::Result<Self> {
        let all = backing.files(0..u64::MAX);
        let stamps = all.map(|file| backing.stamp(file).map(Some));
        Ok(Self(stamps.collect::<io::Result<_>>()?))
    }

    /// Compares those that have bytes at these offsets with what they are now.
    pub(super) fn compare(&self, backing: &dyn Backing, bytes: Range<u64>) -> io::Result<Seen> {
        let mut touched = Vec::new();
        for file in backing.files(bytes) {
            match (self.0[file], backing.stamp(file)?) {
                (WRITING, _) => {}
                (Some(known), now) if known == now => {}
                (Some(Some(known)), Some(now)) if known.is_touched(&now) => touched.push((file, now)),
                _ => return Ok(Seen::Changed),
            }
        }
        Ok(match touched.as_slice() {
            [] => Seen::Same,
            _ => Seen::Touched(touched),
        })
    }

    /// A file is known as it was found before it was hashed.
    pub(super) fn know(&mut self, file: usize, stamp: Stamp) {
        self.0[file] = Some(Some(stamp));
    }

    /// The store is about to write at these offsets.
    pub(super) fn writing(&mut self, backing: &dyn Backing, bytes: Range<u64>) {
        for file in backing.files(bytes) {
            self.0[file] = WRITING;
        }
    }

    /// Looks again at what the store wrote to, and gives the stamp of all.
    pub(super) fn stamp(&mut self, backing: &dyn Backing) -> io::Result<Stamp> {
        for (file, known) in self.0.iter_mut().enumerate().filter(|(_, known)| known.is_none()) {
            *known = Some(backing.stamp(file)?);
        }
        let all: Vec<Found> = self.0.iter().copied().flatten().collect();
        Ok(backing.together(&all))
    }

    /// After our own doings with names and permissions, which move the change time alone: whatever else was changed stays so. True when it
    /// moved.
    pub(super) fn touched(&mut self, backing: &dyn Backing) -> io::Result<bool> {
        let mut moved = false;
        for (file, known) in self.0.iter_mut().enumerate() {
            let now = backing.stamp(file)?;
            if let (Some(Some(known)), Some(now)) = (known, now)
                && known.is_touched(&now)
            {
                *known = now;
                moved = true;
            }
        }
        Ok(moved)
    }
}
