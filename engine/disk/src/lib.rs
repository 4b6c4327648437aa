//! Whether a disk takes what is to be written: by what an error says of it, or by trying.
//!
//! Not for: what there is to do about it, which depends on what was to be written.

use std::io::{Error, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Bytes that are tried: SQLite wants 32 KiB beside a database for what its processes share.
const TRIED: usize = 64 << 10;

/// Whether an error means that there is no room, or that its owner may not have more of it.
pub fn is_full(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// What keeps a database from being used.
#[derive(Debug)]
pub struct Unwritable {
    /// The file or the folder that cannot be written to.
    pub what: PathBuf,
    /// Why.
    pub source: Error,
}

/// Whether a database, or what SQLite puts beside it, cannot be written. Of a full disk it says no more than "disk I/O error" (where there is no
/// room for the file that its processes share, without which nothing can be read), and of a folder that is closed "unable to open".
pub fn unwritable(database: &Path) -> Option<Unwritable> {
    let because = |what: &Path, source| {
        Some(Unwritable {
            what: what.to_owned(),
            source,
        })
    };
    let folder = database.parent()?;
    // It is not opened: to close a file takes all locks off it that this process has by other ways, and so those of SQLite.
    match access(database, Access::WRITE_OK).map_err(Error::from) {
        Err(error) if error.kind() != ErrorKind::NotFound => return because(database, error),
        _ => {}
    }
    takes_files(folder).err().and_then(|error| because(folder, error))
}

/// Whether files can be made in a folder and written, by making one that goes away.
pub fn takes_files(folder: &Path) -> Result<(), Error> {
    tempfile::tempfile_in(folder)?.write_all(&vec![0; TRIED])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lacks_room_is_full() {
        for (kind, full) in [
            (ErrorKind::StorageFull, true),
            (ErrorKind::QuotaExceeded, true),
            (ErrorKind::NotFound, false),
            (ErrorKind::ReadOnlyFilesystem, false),
        ] {
            assert_eq!(is_full(&kind.into()), full, "{kind}");
        }
    }

    #[test]
    fn what_cannot_be_written_to_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.db");
        assert!(unwritable(&file).is_none(), "it can be made");
        std::fs::write(&file, "").expect("a file");
        assert!(unwritable(&file).is_none());
        let missing = folder.path().join("missing");
        let found = unwritable(&missing.join("a.db")).expect("no folder");
        assert_eq!(
            (&found.what, found.source.kind()),
            (&missing, ErrorKind::NotFound)
        );
        assert!(!is_full(&found.source));
        assert!(takes_files(folder.path()).is_ok());
        assert!(takes_files(&file).is_err(), "a file");
    }

    #[test]
    fn locks_on_what_is_looked_at_stay() {
        use rustix::fs::{FlockOperation, fcntl_lock};
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.db");
        let file = std::fs::File::create(&path).expect("a file");
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).expect("nobody has it");
        assert!(unwritable(&path).is_none());
        let locks = std::fs::read_to_string("/proc/locks").expect("Linux");
        let own = format!(" {} ", std::process::id());
        let inode = std::os::unix::fs::MetadataExt::ino(&file.metadata().expect("a file"));
        let is_own = |line: &str| line.contains(&own) && line.contains(&format!(":{inode} "));
        assert!(locks.lines().any(is_own), "{locks}");
    }
}
