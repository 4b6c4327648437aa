//! What a viewer remembers across downloads: publishers' keys, and the newest cue sheet of each content.
//!
//! SQLite in WAL mode with a busy timeout (`library.db`), so that several commands may run at once. The rules of trust
//! are in [`crate::cue_sheet`]; this only keeps and finds. Its migrations are embedded and its own: no other table
//! lives in this file.

use crate::metainfo::InfoHash;
use disk::{Unwritable, unwritable};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Row, SqlitePool};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why the library cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LibraryError {
    /// The folder cannot be made.
    #[error("creating {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database refused.
    #[error("{doing} in {}: {source}", path.display())]
    Database {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::Error,
    },
    /// There is no room for what the database needs, if only to be read.
    #[error("{doing} in {}: the disk is full ({source})", path.display())]
    Full {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// How the database said it.
        source: sqlx::Error,
    },
    /// Nothing can be written where it is.
    #[error("{doing} in {}: {} cannot be written to: {source}", path.display(), what.display())]
    Unwritable {
        /// What was being done.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The file or its folder, whichever it is.
        what: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The database is of another version of the program.
    #[error("bringing {} up to date: {source}", path.display())]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
}

/// A publisher's key that was accepted for a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The Ed25519 public key.
    pub publisher: [u8; 32],
    /// In words, why it was accepted: a link, a file, a host.
    pub source: String,
    /// When, in unix seconds.
    pub pinned_at: u64,
}

/// A signed cue sheet that is held for a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldSheet {
    /// The bencoded sheet with its signature, as it came.
    pub raw: Vec<u8>,
    /// Its `issued`, in unix seconds.
    pub issued: u64,
}

/// The library of one data folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Library {
    pool: SqlitePool,
    path: PathBuf,
}

const OPENING: &str = "opening the library";

impl Library {
    /// Opens or creates `library.db` in the data folder, and brings it up to date.
    pub async fn open(data: &Path) -> Result<Self, LibraryError> {
        std::fs::create_dir_all(data).map_err(|source| LibraryError::Folder {
            path: data.to_owned(),
            source,
        })?;
        let path = data.join("library.db");
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(10));
        let pool = SqlitePoolOptions::new()
            .max_connections(2)
            .connect_with(options)
            .await
            .map_err(|source| failed(OPENING, &path, source))?;
        let mut tries = 0;
        // Two processes that open a new file at once both try to make the tables: the loser looks again.
        while let Err(source) = sqlx::migrate!().run(&pool).await {
            tries += 1;
            if tries == 5 {
                return Err(match unwritable(&path) {
                    Some(why) => into_error(why, OPENING, path, source.into()),
                    None => LibraryError::Migrate { path, source },
                });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Self { pool, path })
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(sqlx::Error) -> LibraryError + use<> {
        let path = self.path.clone();
        move |source| failed(doing, &path, source)
    }

    /// The key that is pinned for a content.
    pub async fn pin(&self, info_hash: InfoHash) -> Result<Option<Pin>, LibraryError> {
        let row = sqlx::query("SELECT publisher, source, pinned_at FROM pins WHERE info_hash = ?")
            .bind(info_hash.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await
            .map_err(self.failed("reading a pin"))?;
        Ok(row.and_then(|row| {
            let publisher: Vec<u8> = row.get(0);
            // The column is checked to have 32 bytes.
            Some(Pin {
                publisher: publisher.try_into().ok()?,
                source: row.get(1),
                pinned_at: row.get::<i64, _>(2).max(0) as u64,
            })
        }))
    }

    /// Pins a key for a content unless one is pinned already, and gives the pin that counts: a pin is never changed.
    pub async fn pin_first(&self, info_hash: InfoHash, pin: &Pin) -> Result<Pin, LibraryError> {
        sqlx::query("INSERT INTO pins (info_hash, publisher, source, pinned_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING")
            .bind(info_hash.as_bytes().as_slice())
            .bind(pin.publisher.as_slice())
            .bind(&pin.source)
            .bind(i64::try_from(pin.pinned_at).unwrap_or(i64::MAX))
            .execute(&self.pool)
            .await
            .map_err(self.failed("pinning a publisher"))?;
        Ok(self.pin(info_hash).await?.unwrap_or_else(|| pin.clone()))
    }

    /// The newest sheet that was accepted for a content.
    pub async fn sheet(&self, info_hash: InfoHash) -> Result<Option<HeldSheet>, LibraryError> {
        let row = sqlx::query("SELECT raw, issued FROM sheets WHERE info_hash = ?")
            .bind(info_hash.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await
            .map_err(self.failed("reading a cue sheet"))?;
        Ok(row.map(|row| HeldSheet {
            raw: row.get(0),
            issued: row.get::<i64, _>(1).max(0) as u64,
        }))
    }

    /// Keeps a sheet unless a newer one is held. True when it is held now.
    pub async fn keep_sheet(&self, info_hash: InfoHash, sheet: &HeldSheet) -> Result<bool, LibraryError> {
        let done = sqlx::query(
            "INSERT INTO sheets (info_hash, raw, issued) VALUES (?, ?, ?) ON CONFLICT (info_hash) DO UPDATE \
             SET raw = excluded.raw, issued = excluded.issued \
             WHERE excluded.issued > issued OR (excluded.issued = issued AND excluded.raw = raw)",
        )
        .bind(info_hash.as_bytes().as_slice())
        .bind(&sheet.raw)
        .bind(i64::try_from(sheet.issued).unwrap_or(i64::MAX))
        .execute(&self.pool)
        .await
        .map_err(self.failed("keeping a cue sheet"))?;
        Ok(done.rows_affected() > 0)
    }

    /// Closes the database.
    pub async fn close(self) {
        self.pool.close().await;
    }
}

fn failed(doing: &'static str, path: &Path, source: sqlx::Error) -> LibraryError {
    let path = path.to_owned();
    match unwritable(&path) {
        Some(why) => into_error(why, doing, path, source),
        None => LibraryError::Database { doing, path, source },
    }
}

fn into_error(why: Unwritable, doing: &'static str, path: PathBuf, said: sqlx::Error) -> LibraryError {
    let Unwritable { what, source } = why;
    if disk::is_full(&source) {
        return LibraryError::Full {
            doing,
            path,
            source: said,
        };
    }
    LibraryError::Unwritable {
        doing,
        path,
        what,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_pin_stays_and_sheets_only_get_newer() {
        let folder = tempfile::tempdir().unwrap();
        let content = InfoHash([1; 32]);
        let pin = |key: u8| Pin {
            publisher: [key; 32],
            source: "a link".to_owned(),
            pinned_at: 1_700_000_000,
        };
        let sheet = |issued, raw: &[u8]| HeldSheet {
            raw: raw.to_vec(),
            issued,
        };
        let library = Library::open(folder.path()).await.unwrap();
        assert_eq!(library.pin(content).await.unwrap(), None);
        assert_eq!(library.pin_first(content, &pin(5)).await.unwrap(), pin(5));
        assert_eq!(library.pin_first(content, &pin(6)).await.unwrap(), pin(5));
        assert!(library.keep_sheet(content, &sheet(10, b"d1")).await.unwrap());
        assert!(
            library.keep_sheet(content, &sheet(10, b"d1")).await.unwrap(),
            "the same again"
        );
        assert!(
            !library.keep_sheet(content, &sheet(10, b"d2")).await.unwrap(),
            "equal time, other bytes"
        );
        assert!(
            !library.keep_sheet(content, &sheet(9, b"d3")).await.unwrap(),
            "older"
        );
        assert!(library.keep_sheet(content, &sheet(11, b"d4")).await.unwrap());
        library.close().await;

        let library = Library::open(folder.path()).await.unwrap();
        assert_eq!(library.sheet(content).await.unwrap(), Some(sheet(11, b"d4")));
        assert_eq!(library.pin(content).await.unwrap(), Some(pin(5)));
        library.close().await;
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_to_is_named() {
        // Nobody can make files there.
        let refused = Library::open(Path::new("/sys/kernel")).await;
        let error = refused.expect_err("there is no room for files").to_string();
        let says = "opening the library in /sys/kernel/library.db: /sys/kernel cannot be written to: ";
        assert!(error.starts_with(says), "{error}");
    }

    #[tokio::test]
    async fn two_processes_may_use_it_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (
            Library::open(folder.path()).await.unwrap(),
            Library::open(folder.path()).await.unwrap(),
        );
        for i in 0..20 {
            let pin = Pin {
                publisher: [i; 32],
                source: String::new(),
                pinned_at: 0,
            };
            let (one, two) = tokio::join!(
                a.pin_first(InfoHash([i; 32]), &pin),
                b.pin_first(InfoHash([100 + i; 32]), &pin)
            );
            one.unwrap();
            two.unwrap();
        }
        assert!(b.pin(InfoHash([7; 32])).await.unwrap().is_some());
    }
}
