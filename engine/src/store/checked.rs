//! Each file of the content as it was when it was checked last, or written by the store itself: what shows that somebody else changed it.
//!
//! Length and modification time tell a change. The change time (ctime) alone tells less: it moves with every write, also one that
//! keeps the other two, and with another name, other permissions or a backup as well. So where only it is new, the file is hashed again.
//!
//! Not here: the hashing (`again`), what is written down (`state`).

use super::backing::{Backing, Stamp};
use std::io;
use std::ops::Range;

/// What is known of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// The store is writing to it: nobody else has a name of it then (`own`), and it is looked at again before the record.
    Writing,
    /// It was not there.
    Absent,
    /// It was there, like this.
    As(Stamp),
}

impl Known {
    fn found(stamp: Option<Stamp>) -> Self {
        stamp.map_or(Self::Absent, Self::As)
    }
}

/// File by file, in their order.
#[derive(Debug)]
pub(super) struct Checked(Vec<Known>);

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
        let found = all.map(|file| backing.stamp(file).map(Known::found));
        Ok(Self(found.collect::<io::Result<_>>()?))
    }

    /// Compares those that have bytes at these offsets with what they are now.
    pub(super) fn compare(&self, backing: &dyn Backing, bytes: Range<u64>) -> io::Result<Seen> {
        let mut touched = Vec::new();
        for file in backing.files(bytes) {
            if self.0[file] == Known::Writing {
                continue;
            }
            match (self.0[file], backing.stamp(file)?) {
                (Known::As(known), Some(now)) if known.is_touched(&now) => touched.push((file, now)),
                (known, now) if known == Known::found(now) => {}
                _ => return Ok(Seen::Changed),
            }
        }
        Ok(match touched.as_slice() {
            [] => Seen::Same,
            _ => Seen::Touched(touched),
        })
    }

    /// A file that was [`Seen::Touched`] was hashed, and is right: it is known as it was found before, so that what was done to it
    /// meanwhile shows. Not when the store began to write to it.
    pub(super) fn know(&mut self, file: usize, found: Stamp) {
        if matches!(self.0[file], Known::As(known) if known.is_touched(&found)) {
            self.0[file] = Known::As(found);
        }
    }

    /// The store is about to write at these offsets.
    pub(super) fn writing(&mut self, backing: &dyn Backing, bytes: Range<u64>) {
        for file in backing.files(bytes) {
            self.0[file] = Known::Writing;
        }
    }

    /// Looks again at what the store wrote to, and gives the stamp of all.
    pub(super) fn stamp(&mut self, backing: &dyn Backing) -> io::Result<Stamp> {
        let mut all = Vec::with_capacity(self.0.len());
        for (file, known) in self.0.iter_mut().enumerate() {
            if *known == Known::Writing {
                *known = Known::found(backing.stamp(file)?);
            }
            all.push(match known {
                Known::As(stamp) => Some(*stamp),
                Known::Absent | Known::Writing => None,
            });
        }
        Ok(backing.together(&all))
    }

    /// Does something of ours with the names or permissions of a file, which moves its change time alone. One that was known before is
    /// known afterwards too; what somebody else did before shows as it did. (What they do in the same moment does not, if size
    /// and modification time are what they were.) True when something became known.
    pub(super) fn touch<T>(
        &mut self,
        backing: &dyn Backing,
        file: usize,
        doing: impl FnOnce() -> T,
    ) -> (T, bool) {
        let look = || {
            let found = backing.stamp(file).inspect_err(|error| {
                tracing::debug!(file, "it will be hashed again: {error}");
            });
            found.ok().flatten()
        };
        let before = look();
        let done = doing();
        let moved = match (self.0[file], look()) {
            (Known::As(known), Some(now)) if before == Some(known) && known.is_touched(&now) => Some(now),
            _ => None,
        };
        if let Some(now) = moved {
            self.0[file] = Known::As(now);
        }
        (done, moved.is_some())
    }
}
