//! The database: SQLite in one file, or PostgreSQL for several servers.
//!
//! One schema and one text of each statement for both; `Db::sql` puts in what they say differently. Everything that
//! decisions and beacons change goes through `journal`, which commits many of them at once; the rest (the
//! hierarchy, tokens, settings) is small and rare. SQLite is in WAL mode with `synchronous=FULL`, and PostgreSQL has
//! `synchronous_commit` as it is by default, so what was committed was synced. Not for choosing ads or for counting.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sqlx::any::{Any, AnyConnectOptions, AnyPoolOptions};
use sqlx::{AnyConnection, AnyPool, AssertSqlSafe, Connection as _, Executor as _, Transaction};

pub(crate) mod batch;
pub(crate) mod checkpoint;
mod hierarchy;
pub(crate) mod proofs;
mod report;
pub mod settle;
pub mod tokens;

pub use hierarchy::{Shelf, StoredFile};

/// How long a process waits for another that is writing (SQLite).
const BUSY: Duration = Duration::from_secs(10);
/// Connections of the pool; the journal has its own beside them.
const POOL: u32 = 7;
/// What SQLite does on every connection. The journal empties the write-ahead log ([`checkpoint`]); SQLite does it only when
/// the log grows beyond 256 MB all the same.
const SQLITE: &str = "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                      PRAGMA foreign_keys = ON; PRAGMA wal_autocheckpoint = 64000; PRAGMA cache_size = -65536;";
/// Characters of a path that mean something in a URL.
const IN_PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'%').add(b'?');

/// What went wrong in the store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database's name is not one that this version takes.
    #[error("cannot open the database {0}: a path, sqlite:PATH or postgres://… is needed")]
    Kind(String),
    /// The database could not be opened or brought up to date.
    #[error("cannot open the database {name}: {source}")]
    Open {
        /// Its name, without a password.
        name: String,
        /// What it said.
        source: Arc<sqlx::Error>,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the database {name} up to date: {source}")]
    Migrate {
        /// Its name, without a password.
        name: String,
        /// What is wrong with it.
        source: Arc<sqlx::migrate::MigrateError>,
    },
    /// A statement failed.
    #[error("cannot {doing} in the database: {source}")]
    Query {
        /// What was being done.
        doing: &'static str,
        /// What the database said.
        source: Arc<sqlx::Error>,
    },
    /// There is no thread for what writes.
    #[error("cannot start the thread that writes to the database: {0}")]
    Thread(Arc<std::io::Error>),
    /// The task that writes has ended.
    #[error("the server is stopping")]
    Stopping,
}

pub(crate) fn query(doing: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Query {
        doing,
        source: Arc::new(source),
    }
}

/// Where the data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A file.
    Sqlite(PathBuf),
    /// A URL that begins with `postgres://` or `postgresql://`.
    Postgres(String),
}

impl Location {
    /// From `PATH`, `sqlite:PATH`, `sqlite://PATH` or `postgres://…`.
    pub fn parse(name: &str) -> Result<Self, StoreError> {
        if name.starts_with("postgres://") || name.starts_with("postgresql://") {
            return Ok(Self::Postgres(name.to_owned()));
        }
        let path = name
            .strip_prefix("sqlite://")
            .or_else(|| name.strip_prefix("sqlite:"))
            .unwrap_or(name);
        if path.is_empty() || path.contains("://") {
            return Err(StoreError::Kind(name.to_owned()));
        }
        Ok(Self::Sqlite(path.into()))
    }

    /// The name as it may be shown: without a password.
    pub fn shown(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(url) => url::Url::parse(url).map_or_else(
                |_| "postgres".to_owned(),
                |mut url| {
                    let _ = url.set_password(None);
                    url.set_query(None);
                    url.to_string()
                },
            ),
        }
    }
}

/// A database that is open. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Db {
    pool: AnyPool,
    options: AnyConnectOptions,
    postgres: bool,
}

impl Db {
    /// Opens or creates the database and brings its schema up to date.
    pub async fn open(location: &Location) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let name = location.shown();
        let open = |source| StoreError::Open {
            name: name.clone(),
            source: Arc::new(source),
        };
        let url = match location {
            Location::Sqlite(path) => {
                if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
                    std::fs::create_dir_all(folder).map_err(|e| open(sqlx::Error::Io(e)))?;
                }
                let path = path.to_string_lossy();
                format!("sqlite:{}?mode=rwc", utf8_percent_encode(&path, IN_PATH))
            }
            Location::Postgres(url) => url.clone(),
        };
        let postgres = matches!(location, Location::Postgres(_));
        let options = AnyConnectOptions::from_str(&url).map_err(open)?;
        let pool = pool_of(POOL, postgres)
            .connect_with(options.clone())
            .await
            .map_err(open)?;
        sqlx::migrate!()
            .run(&pool)
            .await
            .map_err(|source| StoreError::Migrate {
                name: name.clone(),
                source: Arc::new(source),
            })?;
        Ok(Self {
            pool,
            options,
            postgres,
        })
    }

    /// Whether other servers may be on the same database.
    pub fn is_shared(&self) -> bool {
        self.postgres
    }

    /// The same database over connections of its own: for another runtime, whose sockets are not to be mixed with ours.
    /// They are opened when they are needed.
    pub(crate) fn apart(&self) -> Self {
        Self {
            pool: pool_of(1, self.postgres).connect_lazy_with(self.options.clone()),
            ..self.clone()
        }
    }

    /// A connection beside the pool's, for who keeps it.
    pub(crate) async fn connect(&self) -> sqlx::Result<AnyConnection> {
        let mut connection = AnyConnection::connect_with(&self.options).await?;
        if !self.postgres {
            connection.execute(SQLITE).await?;
        }
        Ok(connection)
    }

    /// Closes the pool's connections, after what is being written.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    pub(crate) fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// A statement in this database's words: `{rows}` is the JSON list of lists that is parameter 1, as a table `j` with
    /// one column `value`; `{lock}` keeps the rows that were read until the transaction ends.
    pub(crate) fn sql(&self, text: &str) -> AssertSqlSafe<String> {
        let (rows, lock) = if self.postgres {
            // KEY SHARE is what a foreign key takes; it goes together with this lock.
            (
                "json_array_elements(CAST($1 AS JSON)) AS j(value)",
                "FOR NO KEY UPDATE",
            )
        } else {
            ("json_each($1) AS j", "")
        };
        AssertSqlSafe(text.replace("{rows}", rows).replace("{lock}", lock))
    }

    /// Begins a transaction that will write.
    pub(crate) async fn write(&self) -> sqlx::Result<Transaction<'static, Any>> {
        self.pool.begin_with(self.begin()).await
    }

    /// The same on a connection of one's own.
    pub(crate) async fn write_on<'c>(
        &self,
        connection: &'c mut AnyConnection,
    ) -> sqlx::Result<Transaction<'c, Any>> {
        connection.begin_with(self.begin()).await
    }

    /// What a transaction that will write begins with.
    fn begin(&self) -> &'static str {
        if self.postgres {
            "BEGIN"
        } else {
            // From its first statement on nobody else writes, so what is read stays true.
            "BEGIN IMMEDIATE"
        }
    }

    /// The setting `name`; stored as `fresh` if there is none yet.
    pub async fn setting(&self, name: &str, fresh: &str) -> Result<String, StoreError> {
        async {
            let mut tx = self.write().await?;
            sqlx::query("INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING")
                .bind(name)
                .bind(fresh)
                .execute(&mut *tx)
                .await?;
            let value = sqlx::query_scalar("SELECT value FROM settings WHERE name = $1")
                .bind(name)
                .fetch_one(&mut *tx)
                .await?;
            tx.commit().await?;
            Ok(value)
        }
        .await
        .map_err(query("read a setting"))
    }
}

fn pool_of(connections: u32, postgres: bool) -> AnyPoolOptions {
    AnyPoolOptions::new()
        .max_connections(connections)
        // A queue of writers may be longer than the time one of them may take.
        .acquire_timeout(BUSY * 3)
        .after_connect(move |connection, _| {
            Box::pin(async move {
                if !postgres {
                    connection.execute(SQLITE).await?;
                }
                Ok(())
            })
        })
}

/// The version of the hierarchy: changes whenever anybody changed it.
pub(crate) async fn catalog_version(connection: &mut AnyConnection) -> sqlx::Result<i64> {
    let version: Option<String> =
        sqlx::query_scalar("SELECT value FROM settings WHERE name = 'catalog_version'")
            .fetch_optional(connection)
            .await?;
    Ok(version.and_then(|v| v.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_database_is_a_path_or_a_postgres_url() {
        let sqlite = |path: &str| Location::Sqlite(Path::new(path).to_owned());
        assert_eq!(Location::parse("ads.db").unwrap(), sqlite("ads.db"));
        assert_eq!(Location::parse("sqlite:ads.db").unwrap(), sqlite("ads.db"));
        assert_eq!(
            Location::parse("sqlite:///var/ads.db").unwrap(),
            sqlite("/var/ads.db")
        );
        let postgres = Location::parse("postgres://me:secret@host/ads?host=/run").unwrap();
        assert_eq!(postgres.shown(), "postgres://me@host/ads");
        for other in ["mysql://host/db", "sqlite:", ""] {
            assert!(
                matches!(Location::parse(other), Err(StoreError::Kind(_))),
                "{other}"
            );
        }
    }
}
