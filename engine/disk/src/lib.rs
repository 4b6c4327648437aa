//! Whether a disk takes what is to be written: by what an error says of it, or by trying.
//!
//! Not for: what there is to do about it, which depends on what was to be written.

use std::fs::OpenOptions;
use std::io::{Error, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

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
    match OpenOptions::new().write(true).open(database) {
        Err(error) if error.kind() != ErrorKind::NotFound => return because(database, error),
        _ => {}
    }
    let filled = tempfile::tempfile_in(folder).and_then(|mut file| file.write_all(&vec![0; TRIED]));
    filled.err().and_then(|error| because(folder, error))
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
        // A folder cannot be opened for writing.
        let found = unwritable(folder.path()).expect("no file");
        assert_eq!(found.what, folder.path());
        assert!(!is_full(&found.source));
    }
}
