//! A folder for what is needed while a command runs, and not after it.
//!
//! It is locked while it is in use. So what a killed command left is known by nobody holding it, and the next command removes it. Others' folders in a
//! folder that all share are left alone.
//!
//! Not for: what is written for good (`files`).

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

const PREFIX: &str = "grove-splice-";
/// So often another command may be quicker.
const TRIES: usize = 100;

/// Goes away with everything in it.
pub(crate) struct Scratch {
    // The folder goes before its lock does.
    folder: tempfile::TempDir,
    _lock: File,
}

impl Scratch {
    /// A new one in the folder for temporary files.
    pub(crate) fn new() -> io::Result<Self> {
        Self::within(&std::env::temp_dir())
    }

    fn within(place: &Path) -> io::Result<Self> {
        for _ in 0..TRIES {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(place)?;
            // Another command may have taken it for one that was left behind, before it was locked.
            let lock = match File::open(folder.path()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            let owner = lock.metadata()?.uid();
            // Where nothing can be locked, nothing is removed either.
            let locked = lock.try_lock();
            if !matches!(locked, Err(TryLockError::WouldBlock)) && folder.path().exists() {
                remove_left_behind(place, owner);
                return Ok(Self { folder, _lock: lock });
            }
        }
        Err(io::Error::other("others remove every folder that is made there"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes what commands of this user left that were killed. A courtesy: what cannot be removed stays.
fn remove_left_behind(place: &Path, owner: u32) {
    let Ok(entries) = std::fs::read_dir(place) else {
        return;
    };
    for entry in entries.flatten() {
        // Of links this is about the link itself.
        let is_ours = entry
            .metadata()
            .is_ok_and(|about| about.is_dir() && about.uid() == owner);
        if !is_ours || !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        if let Ok(folder) = File::open(entry.path())
            && folder.try_lock().is_ok()
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_holds_is_removed_and_nothing_else() {
        let place = tempfile::tempdir().expect("a folder");
        let at = |name: &str| place.path().join(name);
        for left in ["grove-splice-left", "other"] {
            std::fs::create_dir(at(left)).expect("a folder");
            std::fs::write(at(left).join("file"), "x").expect("a file");
        }
        std::os::unix::fs::symlink(at("other"), at("grove-splice-link")).expect("a link");
        let first = Scratch::within(place.path()).expect("a folder");
        assert!(!at("grove-splice-left").exists());
        let second = Scratch::within(place.path()).expect("a folder");
        assert!(first.path().exists() && second.path().exists());
        assert!(at("other").join("file").exists() && at("grove-splice-link").exists());
        drop((first, second));
        assert_eq!(std::fs::read_dir(place.path()).expect("the folder").count(), 2);
    }
}
