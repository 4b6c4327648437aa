//! Moves what SQLite's write-ahead log holds into the database file, beside the commits rather than within one.
//!
//! SQLite does that by itself within whichever commit makes the log long, and everybody in that batch waits for it. Here a
//! connection of its own does the bulk of it while commits go on; what came meanwhile is little, and is moved between two
//! commits, after which the log begins anew. Nothing depends on when it happens: what was committed is in the log, synced.

use sqlx::{AnyConnection, Connection as _};
use tokio::task::JoinHandle;

use super::Db;

/// How many operations may be in the log before it is emptied.
const OPERATIONS: usize = 16_384;

const MOVE: &str = "PRAGMA wal_checkpoint(PASSIVE)";

type Moved = sqlx::Result<AnyConnection>;

/// What is in the log, and who is moving it.
#[derive(Debug, Default)]
pub(crate) struct Checkpoints {
    /// Operations since the log was emptied last.
    waiting: usize,
    connection: Option<AnyConnection>,
    running: Option<JoinHandle<Moved>>,
}

impl Checkpoints {
    /// So many operations were committed on `journal`.
    pub(crate) async fn committed(&mut self, operations: usize, db: &Db, journal: &mut AnyConnection) {
        if db.is_shared() {
            return;
        }
        self.waiting += operations;
        if self.running.as_ref().is_some_and(JoinHandle::is_finished) {
            self.finish(journal).await;
        } else if self.running.is_none() && self.waiting >= OPERATIONS {
            self.begin(db).await;
        }
    }

    /// Nothing was committed for a while: what is in the log is moved now.
    pub(crate) async fn idle(&mut self, db: &Db, journal: &mut AnyConnection) {
        if db.is_shared() {
            return;
        }
        if self.running.as_ref().is_some_and(JoinHandle::is_finished) {
            self.finish(journal).await;
        } else if self.running.is_none() && self.waiting > 0 {
            self.begin(db).await;
        }
    }

    async fn begin(&mut self, db: &Db) {
        let connection = match self.connection.take() {
            Some(connection) => Ok(connection),
            None => db.connect().await,
        };
        match connection {
            Ok(mut connection) => {
                self.running = Some(tokio::spawn(async move {
                    sqlx::query(MOVE).execute(&mut connection).await?;
                    Ok(connection)
                }));
            }
            Err(error) => self.failed(&error),
        }
    }

    async fn finish(&mut self, journal: &mut AnyConnection) {
        let Some(running) = self.running.take() else {
            return;
        };
        self.waiting = 0;
        match running.await {
            Ok(Ok(connection)) => {
                self.connection = Some(connection);
                if let Err(error) = sqlx::query(MOVE).execute(journal).await {
                    self.failed(&error);
                }
            }
            Ok(Err(error)) => self.failed(&error),
            Err(error) => self.failed(&sqlx::Error::Protocol(error.to_string())),
        }
    }

    /// The log only grows meanwhile; it is tried again.
    fn failed(&mut self, error: &sqlx::Error) {
        self.waiting = 0;
        tracing::warn!(%error, "cannot empty the write-ahead log");
    }

    /// Waits for what is running, and closes its connection.
    pub(crate) async fn close(mut self) {
        if let Some(running) = self.running.take()
            && let Ok(Ok(connection)) = running.await
        {
            self.connection = Some(connection);
        }
        if let Some(connection) = self.connection.take() {
            // It is closed whatever it says.
            let _ = connection.close().await;
        }
    }
}
