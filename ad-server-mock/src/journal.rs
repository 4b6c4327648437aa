//! Group commit: one task stores decisions and beacons, many in one transaction, and answers each when it is on disk.
//!
//! While a batch is being committed the next one gathers, so a commit costs the same for one beacon as for hundreds.
//! The task also keeps the [`Book`] true: it settles drafts, takes over what the database says of the counters that a
//! batch touched (all of them now and then, where other servers may change them), releases reservations that lapse, and
//! loads the hierarchy again when somebody changed it. It ends when it is told to, or when its [`Journal`] and all clones
//! of it are gone, after storing what was given to it. Not for what an operation does: see [`crate::store::settle`].
//!
//! It has a thread and a connection of its own: a batch is some ten statements, and each would wait for its turn among the
//! requests that are being answered.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{AnyConnection, Connection as _};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::book::{Book, Draft, Stored};
use crate::clock::{Clock, UnixMillis};
use crate::store::batch::{self, Settled};
use crate::store::checkpoint::Checkpoints;
use crate::store::settle::{Op, Verdict};
use crate::store::{Db, StoreError, query};

/// Operations that wait for the next batch; more wait in their connections.
const WAITING: usize = 4096;
/// Most operations in one transaction.
const BATCH: usize = 512;
/// How often a batch is tried that another server got in the way of.
const TRIES: usize = 8;
/// How often the counters are read again where other servers change them, and how often it is looked whether the
/// hierarchy changed and whether anything lapses.
const SHARED_TICK: Duration = Duration::from_millis(200);
const TICK: Duration = Duration::from_secs(1);

struct Entry {
    op: Op,
    draft: Option<Draft>,
    answer: oneshot::Sender<Result<Verdict, StoreError>>,
}

enum Message {
    Entry(Box<Entry>),
    /// The hierarchy was changed by this server.
    Reload(oneshot::Sender<Result<(), StoreError>>),
    /// Nothing more is to be stored; what waits behind this is not.
    Close(oneshot::Sender<()>),
}

/// Where operations are given to. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Journal {
    to: mpsc::Sender<Message>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Journal")
    }
}

/// A place in the journal, held before anything is counted that would have to be taken back.
pub(crate) struct Place<'a>(mpsc::Permit<'a, Message>);

impl Place<'_> {
    /// Gives an operation, with the draft that it stores.
    pub(crate) fn give(self, op: Op, draft: Option<Draft>) -> oneshot::Receiver<Result<Verdict, StoreError>> {
        let (answer, answered) = oneshot::channel();
        self.0.send(Message::Entry(Box::new(Entry { op, draft, answer })));
        answered
    }
}

impl Journal {
    /// Starts the task; `book` is filled from the database before this returns.
    pub(crate) async fn start(
        db: Db,
        book: Arc<Book>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, JoinHandle<()>), StoreError> {
        let mut writer = Writer {
            db,
            book,
            clock,
            version: None,
            connection: None,
            checkpoints: Checkpoints::default(),
        };
        writer.refresh().await?;
        let (to, from) = mpsc::channel(WAITING);
        let (ends, ended) = oneshot::channel::<()>();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        if writer.db.is_shared() {
            runtime.enable_all();
        } else {
            // SQLite has a thread and no socket. Without sockets to watch, being woken for each row costs no system call.
            runtime.enable_time();
        }
        let runtime = runtime.build().map_err(thread)?;
        std::thread::Builder::new()
            .name("journal".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    writer.db = writer.db.apart();
                    writer.run(from).await;
                });
                drop(ends);
            })
            .map_err(thread)?;
        // However it ended.
        let task = tokio::spawn(async move { drop(ended.await) });
        Ok((Self { to }, task))
    }

    /// Stores what was given, and ends.
    pub(crate) async fn close(&self) {
        let (answer, answered) = oneshot::channel();
        if self.to.send(Message::Close(answer)).await.is_ok() {
            // An error says that it has ended, too.
            let _ = answered.await;
        }
    }

    /// Waits for a place.
    pub(crate) async fn place(&self) -> Result<Place<'_>, StoreError> {
        self.to
            .reserve()
            .await
            .map(Place)
            .map_err(|_| StoreError::Stopping)
    }

    /// Stores one operation; it is on disk when this returns.
    pub(crate) async fn store(&self, op: Op) -> Result<Verdict, StoreError> {
        let answered = self.place().await?.give(op, None);
        answered.await.map_err(|_| StoreError::Stopping)?
    }

    /// Loads the hierarchy again; decisions know of it when this returns.
    pub(crate) async fn reload(&self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.to
            .send(Message::Reload(answer))
            .await
            .map_err(|_| StoreError::Stopping)?;
        answered.await.map_err(|_| StoreError::Stopping)?
    }
}

fn thread(error: std::io::Error) -> StoreError {
    StoreError::Thread(Arc::new(error))
}

struct Writer {
    db: Db,
    book: Arc<Book>,
    clock: Arc<dyn Clock>,
    /// Of the hierarchy that the book has.
    version: Option<i64>,
    /// What batches are written on; none before the first and after one that may have failed for it.
    connection: Option<AnyConnection>,
    checkpoints: Checkpoints,
}

impl Writer {
    async fn run(mut self, mut from: mpsc::Receiver<Message>) {
        let mut tick = tokio::time::interval(if self.db.is_shared() { SHARED_TICK } else { TICK });
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut messages = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                _ = tick.tick() => {
                    if let Err(error) = self.on_tick().await {
                        tracing::error!(%error, "cannot look for changes");
                    }
                }
                n = from.recv_many(&mut messages, BATCH) => {
                    let close = self.take(&mut messages).await;
                    if n == 0 || close.is_some() {
                        self.close().await;
                        drop(close);
                        return;
                    }
                }
            }
        }
    }

    async fn close(self) {
        self.checkpoints.close().await;
        self.db.close().await;
        if let Some(connection) = self.connection {
            // It is closed whatever it says.
            let _ = connection.close().await;
        }
    }

    /// Carries out what came, up to whoever wants an end of it.
    async fn take(&mut self, messages: &mut Vec<Message>) -> Option<oneshot::Sender<()>> {
        let mut entries = Vec::with_capacity(messages.len());
        let mut reloads = Vec::new();
        let mut close = None;
        for message in messages.drain(..) {
            match message {
                Message::Entry(entry) => entries.push(*entry),
                Message::Reload(answer) => reloads.push(answer),
                Message::Close(answer) => {
                    close = Some(answer);
                    break;
                }
            }
        }
        if !entries.is_empty() {
            self.commit(entries).await;
        }
        if !reloads.is_empty() {
            let done = self.refresh().await;
            for answer in reloads {
                // Who asked may have gone.
                let _ = answer.send(done.clone());
            }
        }
        close
    }

    /// One try at a batch. The connection is kept unless it may be the trouble.
    async fn write(&mut self, ops: &[&Op], now: UnixMillis, lapse: bool) -> sqlx::Result<Settled> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.db.connect().await?,
        };
        let settled = batch::run(&self.db, &mut connection, ops, now, lapse).await;
        if matches!(
            settled,
            Ok(_) | Err(sqlx::Error::Database(_) | sqlx::Error::Protocol(_))
        ) {
            self.connection = Some(connection);
        }
        settled
    }

    async fn commit(&mut self, entries: Vec<Entry>) {
        let now = self.clock.now();
        let ops: Vec<&Op> = entries.iter().map(|e| &e.op).collect();
        let lapse = self.book.lapse_is_due(now);
        let mut settled = self.write(&ops, now, lapse).await;
        for _ in 1..TRIES {
            let Err(error) = &settled else { break };
            tracing::debug!(%error, "a batch is tried again");
            settled = self.write(&ops, now, lapse).await;
        }
        let count = entries.len();
        match settled {
            Ok(settled) => {
                if lapse {
                    self.book.set_next_expiry(settled.next_expiry);
                } else {
                    self.book.earlier_expiry(settled.next_expiry);
                }
                let Settled {
                    verdicts,
                    campaigns,
                    flights,
                    ..
                } = settled;
                let drafts = entries.iter().zip(&verdicts);
                let drafts = drafts.filter_map(|(e, v)| Some((e.draft.as_ref()?, Some(*v))));
                self.book.settle(&Stored { campaigns, flights }, drafts);
                for (entry, verdict) in entries.into_iter().zip(verdicts) {
                    // Who asked may have gone.
                    let _ = entry.answer.send(Ok(verdict));
                }
            }
            Err(error) => {
                let error = query("store decisions and beacons")(error);
                tracing::error!(%error, "a batch is lost");
                let drafts = entries.iter().filter_map(|e| Some((e.draft.as_ref()?, None)));
                self.book.settle(&Stored::default(), drafts);
                for entry in entries {
                    let _ = entry.answer.send(Err(error.clone()));
                }
            }
        }
        if let Some(connection) = &mut self.connection {
            self.checkpoints.committed(count, &self.db, connection).await;
        }
    }

    async fn on_tick(&mut self) -> Result<(), StoreError> {
        if self.db.catalog_version().await? != self.version {
            return self.refresh().await;
        }
        if self.db.is_shared() {
            self.book.settle(&self.db.counters().await?, []);
            self.book.earlier_expiry(self.db.next_expiry().await?);
        }
        if self.book.lapse_is_due(self.clock.now()) {
            let (answer, _) = oneshot::channel();
            let lapse = Entry {
                op: Op::Lapse,
                draft: None,
                answer,
            };
            self.commit(vec![lapse]).await;
        }
        if let Some(connection) = &mut self.connection {
            self.checkpoints.idle(&self.db, connection).await;
        }
        Ok(())
    }

    /// Fills the book from the database.
    async fn refresh(&mut self) -> Result<(), StoreError> {
        let loaded = self.db.snapshot().await?;
        self.book
            .replace(loaded.snapshot, &loaded.decided, &loaded.counters);
        self.book.set_next_expiry(self.db.next_expiry().await?);
        self.version = loaded.version;
        Ok(())
    }
}
