//! Opening `ads.db`, where beacons wait and decisions and the device's own history are kept.
//!
//! SQLite in WAL mode with `synchronous = FULL`, so that what was stored survives a crash; a busy timeout, so that several
//! processes can have it open; one set of migrations.

use std::{
    io::{ErrorKind, Write as _},
    path::Path,
    time::Duration,
};

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

/// Why the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It could not be opened.
    #[error("cannot open the database of ads {path}: {source}")]
    Open {
        /// The file.
        path: String,
        /// Why.
        source: sqlx::Error,
    },
    /// There is no room for what it needs, if only to be read.
    #[error("cannot open the database of ads {path}: the disk is full ({source})")]
    Full {
        /// The file.
        path: String,
        /// How the database said it.
        source: sqlx::Error,
    },
    /// Its tables could not be made or brought up to date.
    #[error("cannot prepare the database of ads {path}: {source}")]
    Migrate {
        /// The file.
        path: String,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
}

/// Opens or makes the database.
pub(crate) async fn open(path: &Path) -> Result<SqlitePool, OpenError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10));
    let named = || path.display().to_string();
    let full = || path.parent().is_some_and(is_full);
    let pool = SqlitePoolOptions::new()
        .max_connections(2)
        .connect_with(options)
        .await
        .map_err(|source| {
            let path = named();
            if full() {
                OpenError::Full { path, source }
            } else {
                OpenError::Open { path, source }
            }
        })?;
    let mut tries = 0;
    // Two processes that open a new file at once both try to make the tables: the loser looks again.
    while let Err(source) = sqlx::migrate!("./migrations").run(&pool).await {
        tries += 1;
        if tries == 5 {
            let path = named();
            return Err(if full() {
                let source = source.into();
                OpenError::Full { path, source }
            } else {
                OpenError::Migrate { path, source }
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(pool)
}

/// Whether there is no room left in a folder for what SQLite puts beside a database. Of the file of 32 KiB that its processes share, without
/// which nothing can be read, it says no more than "disk I/O error".
fn is_full(folder: &Path) -> bool {
    let filled = tempfile::tempfile_in(folder).and_then(|mut file| file.write_all(&vec![0; 64 << 10]));
    filled.is_err_and(|error| matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded))
}
