//! Opening `ads.db`, where beacons wait and decisions and the device's own history are kept.
//!
//! SQLite in WAL mode with `synchronous = FULL`, so that what was stored survives a crash; a busy timeout, so that several
//! processes can have it open; one set of migrations.

use std::{path::Path, time::Duration};

use disk::{Unwritable, unwritable};
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
    /// Nothing can be written where it is.
    #[error("cannot open the database of ads {path}: {what} cannot be written to: {source}")]
    Unwritable {
        /// The file.
        path: String,
        /// The file or its folder, whichever it is.
        what: String,
        /// Why.
        source: std::io::Error,
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
    let pool = SqlitePoolOptions::new()
        .max_connections(2)
        .connect_with(options)
        .await
        .map_err(|source| match unwritable(path) {
            Some(why) => into_error(why, named(), source),
            None => OpenError::Open {
                path: named(),
                source,
            },
        })?;
    let mut tries = 0;
    // Two processes that open a new file at once both try to make the tables: the loser looks again.
    while let Err(source) = sqlx::migrate!("./migrations").run(&pool).await {
        tries += 1;
        if tries == 5 {
            return Err(match unwritable(path) {
                Some(why) => into_error(why, named(), source.into()),
                None => OpenError::Migrate {
                    path: named(),
                    source,
                },
            });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(pool)
}

fn into_error(why: Unwritable, path: String, said: sqlx::Error) -> OpenError {
    let Unwritable { what, source } = why;
    if disk::is_full(&source) {
        return OpenError::Full { path, source: said };
    }
    OpenError::Unwritable {
        path,
        what: what.display().to_string(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_to_is_named() {
        // Nobody can make files there.
        let refused = open(Path::new("/sys/kernel/ads.db")).await;
        let error = refused.expect_err("there is no room for files").to_string();
        let says = "cannot open the database of ads /sys/kernel/ads.db: /sys/kernel cannot be written to: ";
        assert!(error.starts_with(says), "{error}");
    }
}
