//! The durable queue of beacons, in `ads.db`.
//!
//! Invariants:
//! - a key is stored once, whatever is stored again later; what [`Queue::store`] returned `Ok` for survives a crash
//!   (SQLite in WAL mode with `synchronous = FULL`);
//! - only the holder of the lease sends; it is renewed while its holder lives and ends by itself soon after, so that a
//!   killed process holds nobody up. Should it lapse under a live one, a third party's beacon is still sent by one only,
//!   since marking it is what claims it;
//! - a Grove server's beacon is sent until it answers 2xx; a third party's is marked before it is sent, and never sent
//!   again once it may have arrived;
//! - nothing older than [`LIFETIME`] is sent.
//!
//! Time comes in as `now`; only budgets and time-outs are measured here.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use gate::Gate;
use sqlx::{Row, SqlitePool};
use tokio::time::Instant;

use super::{Beacon, Receiver, UnixMillis};
use crate::database::{self, OpenError};

/// A beacon that could not be delivered for so long is dropped.
pub const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How long finished keys are remembered, so that storing them again does nothing.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Most beacons that wait at a time.
const MOST_WAITING: i64 = 100_000;
/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(10);
/// How long a third party's beacon that was begun always gets, beyond the drain's budget too: cut off, it would be lost.
const LEAST: Duration = Duration::from_secs(4);
/// How long of that it may take to connect. Until then nothing was sent, and trying again is safe.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a lease lasts: as long as a killed process can hold others up.
const LEASE: Duration = Duration::from_secs(2);
/// A lease that ends further ahead than this was taken by another clock than ours is now.
const CLOCKS_AGREE: Duration = Duration::from_secs(60);
/// How often it is renewed while its holder works.
const RENEWAL: Duration = Duration::from_millis(500);
/// How often a lease that somebody else holds is asked for.
const POLL: Duration = Duration::from_millis(100);
/// Requests at once.
const AT_ONCE: usize = 8;
/// Longest wait between attempts.
const LONGEST_BACKOFF: Duration = Duration::from_secs(3_600);

/// Why the queue could not do something.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The database cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A statement failed.
    #[error("{doing}: {source}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// Why it failed.
        source: sqlx::Error,
    },
    /// Too many beacons wait already.
    #[error("storing beacons: {MOST_WAITING} are waiting already")]
    Full,
}

/// What a drain did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Drained {
    /// Acknowledged, or (third parties) answered at all.
    pub sent: u64,
    /// To be tried again later.
    pub postponed: u64,
    /// Third parties' whose fate is unknown: not sent again.
    pub unknown: u64,
    /// Given up: too old, or refused by the address policy.
    pub dropped: u64,
    /// Still waiting in the queue.
    pub waiting: u64,
    /// Another drain held the lease: nothing was done.
    pub busy: bool,
}

/// The queue. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Queue {
    pool: SqlitePool,
}

/// A beacon on its way out.
#[derive(Debug)]
struct Due {
    key: String,
    url: String,
    /// JSON that is posted; without it the URL is asked for.
    body: Option<String>,
    receiver: Receiver,
    attempts: u32,
}

/// How one attempt ended.
enum Attempt {
    Sent(String),
    Postponed(String),
    Unknown(String),
    Dropped(String),
}

fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> QueueError {
    move |source| QueueError::Database { doing, source }
}

fn millis(time: UnixMillis) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// How long to wait after so many attempts: 2 s, doubled each time, at most an hour.
fn backoff(attempts: u32) -> Duration {
    let seconds = 2_u64.saturating_pow(attempts.clamp(1, 20));
    Duration::from_secs(seconds).min(LONGEST_BACKOFF)
}

impl Queue {
    /// Opens or makes the queue; several processes may have it open.
    pub async fn open(path: &Path) -> Result<Self, QueueError> {
        let pool = database::open(path).await?;
        Ok(Self { pool })
    }

    /// Stores beacons durably, all or none; those whose key was ever stored are left out. Returns how many are new.
    pub async fn store(&self, beacons: &[Beacon]) -> Result<u64, QueueError> {
        const DOING: &str = "storing beacons";
        if beacons.is_empty() {
            return Ok(0);
        }
        if self.waiting().await? as i64 + beacons.len() as i64 > MOST_WAITING {
            return Err(QueueError::Full);
        }
        let mut transaction = self.pool.begin().await.map_err(failed(DOING))?;
        let mut new = 0;
        for beacon in beacons {
            let done = sqlx::query(
                "INSERT INTO beacon (key, event, url, grove, happened_at, next_at, body)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6) ON CONFLICT (key) DO NOTHING",
            )
            .bind(beacon.key.as_str())
            .bind(&beacon.event)
            .bind(&beacon.url)
            .bind(i64::from(beacon.receiver == Receiver::Grove))
            .bind(millis(beacon.at))
            .bind(beacon.body.as_deref())
            .execute(&mut *transaction)
            .await
            .map_err(failed(DOING))?;
            new += done.rows_affected();
        }
        transaction.commit().await.map_err(failed(DOING))?;
        Ok(new)
    }

    /// How many beacons wait.
    pub async fn waiting(&self) -> Result<u64, QueueError> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM beacon WHERE state = 'waiting'")
            .fetch_one(&self.pool)
            .await
            .map_err(failed("counting beacons"))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Sends what is due, and begins nothing once `budget` is used up; waits within it while somebody else is sending. What
    /// fails is due again later: call it again, from this process or any other.
    pub async fn drain(&self, gate: &Gate, now: UnixMillis, budget: Duration) -> Result<Drained, QueueError> {
        self.drain_until(gate, now, budget, &AtomicBool::new(false)).await
    }

    /// [`Queue::drain`], which begins nothing either once `stop` is true. It is better than dropping it, which loses what
    /// third parties are being sent.
    pub async fn drain_until(
        &self,
        gate: &Gate,
        now: UnixMillis,
        budget: Duration,
        stop: &AtomicBool,
    ) -> Result<Drained, QueueError> {
        let began = Instant::now();
        let holder = format!("{:016x}", rand::random::<u64>());
        while !self.take_lease(&holder, now.after(began.elapsed())).await? {
            if began.elapsed() + POLL >= budget || stop.load(Ordering::Relaxed) {
                return Ok(Drained {
                    busy: true,
                    waiting: self.waiting().await?,
                    ..Drained::default()
                });
            }
            tokio::time::sleep(POLL).await;
        }
        let result = tokio::select! {
            result = self.drain_leased(gate, now, began, budget, stop) => result,
            never = self.renew_lease(&holder, now, began) => match never {},
        };
        // An error here only means that the lease ends by itself.
        let released = sqlx::query("UPDATE drain_lease SET held_until = 0 WHERE holder = ?1")
            .bind(&holder)
            .execute(&self.pool)
            .await;
        let mut drained = result?;
        released.map_err(failed("giving the lease of the beacon queue back"))?;
        drained.waiting = self.waiting().await?;
        Ok(drained)
    }

    async fn renew_lease(&self, holder: &str, now: UnixMillis, began: Instant) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(RENEWAL).await;
            let renewed = sqlx::query("UPDATE drain_lease SET held_until = ?2 WHERE holder = ?1")
                .bind(holder)
                .bind(millis(now.after(began.elapsed() + LEASE)))
                .execute(&self.pool)
                .await;
            if let Err(error) = renewed {
                tracing::debug!(%error, "the lease of the beacon queue was not renewed");
            }
        }
    }

    /// True when nobody holds the lease at `now`; then `holder` does, for [`LEASE`]. A lease that ends later than any taken
    /// now could is from before the clock was set back, and holds nobody up.
    async fn take_lease(&self, holder: &str, now: UnixMillis) -> Result<bool, QueueError> {
        let done = sqlx::query(
            "UPDATE drain_lease SET holder = ?1, held_until = ?2
             WHERE id = 1 AND (held_until <= ?3 OR held_until > ?4)",
        )
        .bind(holder)
        .bind(millis(now.after(LEASE)))
        .bind(millis(now))
        .bind(millis(now.after(CLOCKS_AGREE)))
        .execute(&self.pool)
        .await
        .map_err(failed("taking the lease of the beacon queue"))?;
        Ok(done.rows_affected() == 1)
    }

    async fn drain_leased(
        &self,
        gate: &Gate,
        now: UnixMillis,
        began: Instant,
        budget: Duration,
        stop: &AtomicBool,
    ) -> Result<Drained, QueueError> {
        let left = || {
            let left = budget.saturating_sub(began.elapsed());
            (!left.is_zero() && !stop.load(Ordering::Relaxed)).then_some(left)
        };
        let mut drained = Drained::default();
        self.tidy(now, &mut drained).await?;
        loop {
            let at = now.after(began.elapsed());
            let due = self.due(at).await?;
            if due.is_empty() || left().is_none() {
                return Ok(drained);
            }
            let mut attempts = stream::iter(due.into_iter().map(|due| async move {
                let Some(left) = left() else {
                    return Ok(None);
                };
                if due.receiver == Receiver::ThirdParty && !self.mark_sending(&due.key).await? {
                    return Ok(None);
                }
                let attempt = send(gate, &due, time_for(due.receiver, left)).await;
                self.conclude(&due, &attempt, now.after(began.elapsed())).await?;
                Ok::<_, QueueError>(Some(attempt))
            }))
            .buffer_unordered(AT_ONCE);
            while let Some(attempt) = attempts.next().await {
                match attempt? {
                    None => {}
                    Some(Attempt::Sent(_)) => drained.sent += 1,
                    Some(Attempt::Postponed(_)) => drained.postponed += 1,
                    Some(Attempt::Unknown(_)) => drained.unknown += 1,
                    Some(Attempt::Dropped(_)) => drained.dropped += 1,
                }
            }
        }
    }

    /// Settles what earlier drains left behind, and drops what is too old.
    async fn tidy(&self, now: UnixMillis, drained: &mut Drained) -> Result<(), QueueError> {
        const DOING: &str = "tidying the beacon queue";
        // We hold the lease, so whoever was sending these is gone or slow: they may have arrived.
        let done = sqlx::query(
            "UPDATE beacon SET state = 'unknown', url = '', body = NULL, outcome = 'stopped while it was being sent'
             WHERE state = 'sending'",
        )
        .execute(&self.pool)
        .await
        .map_err(failed(DOING))?;
        drained.unknown += done.rows_affected();
        let oldest =
            |age: Duration| millis(now).saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let done = sqlx::query(
            "UPDATE beacon SET state = 'dropped', url = '', body = NULL, outcome = 'too old'
             WHERE state = 'waiting' AND happened_at <= ?1",
        )
        .bind(oldest(LIFETIME))
        .execute(&self.pool)
        .await
        .map_err(failed(DOING))?;
        drained.dropped += done.rows_affected();
        sqlx::query("DELETE FROM beacon WHERE state IN ('sent', 'unknown', 'dropped') AND happened_at <= ?1")
            .bind(oldest(REMEMBERED))
            .execute(&self.pool)
            .await
            .map_err(failed(DOING))?;
        Ok(())
    }

    /// Those that were tried least come first: what a server that is away was told in vain holds up nobody else's.
    async fn due(&self, at: UnixMillis) -> Result<Vec<Due>, QueueError> {
        const DOING: &str = "looking for beacons to send";
        let rows = sqlx::query(
            "SELECT key, url, body, grove, attempts FROM beacon WHERE state = 'waiting' AND next_at <= ?1
             ORDER BY attempts, next_at, key LIMIT 64",
        )
        .bind(millis(at))
        .fetch_all(&self.pool)
        .await
        .map_err(failed(DOING))?;
        rows.into_iter()
            .map(|row| {
                let grove: i64 = row.try_get("grove")?;
                let attempts: i64 = row.try_get("attempts")?;
                Ok(Due {
                    key: row.try_get("key")?,
                    url: row.try_get("url")?,
                    body: row.try_get("body")?,
                    receiver: if grove == 1 {
                        Receiver::Grove
                    } else {
                        Receiver::ThirdParty
                    },
                    attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
                })
            })
            .collect::<Result<_, sqlx::Error>>()
            .map_err(failed(DOING))
    }

    /// True when this call is the one that marked it, and so may send it.
    async fn mark_sending(&self, key: &str) -> Result<bool, QueueError> {
        let done = sqlx::query("UPDATE beacon SET state = 'sending' WHERE key = ?1 AND state = 'waiting'")
            .bind(key)
            .execute(&self.pool)
            .await
            .map_err(failed("marking a beacon before it is sent"))?;
        Ok(done.rows_affected() == 1)
    }

    async fn conclude(&self, due: &Due, attempt: &Attempt, at: UnixMillis) -> Result<(), QueueError> {
        let attempts = due.attempts.saturating_add(1);
        let (state, outcome) = match attempt {
            Attempt::Sent(outcome) => ("sent", outcome),
            Attempt::Postponed(outcome) => ("waiting", outcome),
            Attempt::Unknown(outcome) => ("unknown", outcome),
            Attempt::Dropped(outcome) => ("dropped", outcome),
        };
        // A finished beacon's URL is of no more use to anybody; and one that another drain finished stays finished.
        sqlx::query(
            "UPDATE beacon SET state = ?2, outcome = ?3, attempts = ?4, next_at = ?5,
             url = CASE ?2 WHEN 'waiting' THEN url ELSE '' END, body = CASE ?2 WHEN 'waiting' THEN body END
             WHERE key = ?1 AND state IN ('waiting', 'sending')",
        )
        .bind(&due.key)
        .bind(state)
        .bind(outcome)
        .bind(i64::from(attempts))
        .bind(millis(at.after(backoff(attempts))))
        .execute(&self.pool)
        .await
        .map_err(failed("noting how a beacon fared"))?;
        Ok(())
    }
}

/// How long a request may take that is begun with so much of the budget left.
fn time_for(receiver: Receiver, left: Duration) -> Duration {
    match receiver {
        Receiver::Grove => left.min(REQUEST),
        Receiver::ThirdParty => left.clamp(LEAST, REQUEST),
    }
}

/// Makes one request. Its answer's body is not read.
async fn send(gate: &Gate, due: &Due, timeout: Duration) -> Attempt {
    let url = match gate::Url::parse(&due.url) {
        Ok(url) => url,
        Err(error) => return Attempt::Dropped(format!("it is not a URL: {error}")),
    };
    let request = match &due.body {
        None => gate.get(url),
        Some(body) => gate
            .request(gate::Method::POST, url)
            .header_text(gate::header::CONTENT_TYPE, "application/json")
            .body(body.clone()),
    };
    let request = match due.receiver {
        Receiver::Grove => request.timeout(timeout),
        Receiver::ThirdParty => request.timeout(timeout).connect_timeout(CONNECT),
    };
    let mut heard = false;
    let answer = tokio::time::timeout(timeout, request.send_noting(&mut heard)).await;
    match (answer, due.receiver) {
        // An account that a server refuses will not get better.
        (Ok(Ok(response)), _) if due.body.is_some() && response.status().is_client_error() => {
            Attempt::Dropped(response.status().as_str().to_owned())
        }
        (Ok(Ok(response)), _) if response.status().is_success() => {
            Attempt::Sent(response.status().as_str().to_owned())
        }
        (Ok(Ok(response)), Receiver::Grove) => Attempt::Postponed(response.status().as_str().to_owned()),
        (Ok(Ok(response)), Receiver::ThirdParty) => Attempt::Sent(response.status().as_str().to_owned()),
        // What is forbidden a later command may allow (`--allow-private`), so a Grove server's beacon waits.
        (Ok(Err(error @ (gate::Error::Scheme { .. } | gate::Error::Url { .. }))), _)
        | (Ok(Err(error @ gate::Error::Forbidden(_))), Receiver::ThirdParty) => {
            Attempt::Dropped(error.to_string())
        }
        (failed, receiver) => {
            let why = match failed {
                Ok(Err(error)) => error.to_string(),
                _ => "no answer in time".to_owned(),
            };
            // A third party counts what it heard, even if it only redirects: then it is not asked again.
            if heard && receiver == Receiver::ThirdParty {
                Attempt::Unknown(why)
            } else {
                Attempt::Postponed(why)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashMap,
        net::SocketAddr,
        sync::{Arc, Mutex},
    };

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        task::JoinSet,
    };

    use super::*;
    use crate::beacons::BeaconKey;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
    const BUDGET: Duration = Duration::from_secs(5);

    /// A server that counts each path before it answers, as its script says: the status, or nothing (the connection
    /// is cut after it has counted).
    struct Server {
        address: SocketAddr,
        counted: Arc<Mutex<HashMap<String, u32>>>,
        _tasks: JoinSet<()>,
    }

    impl Server {
        fn start(listener: TcpListener, script: fn(u32) -> Option<u16>) -> Self {
            let address = listener.local_addr().expect("address");
            let counted: Arc<Mutex<HashMap<String, u32>>> = Arc::default();
            let mut tasks = JoinSet::new();
            let counts = counted.clone();
            tasks.spawn(async move {
                let mut connections = JoinSet::new();
                while let Ok((mut socket, _)) = listener.accept().await {
                    let counts = counts.clone();
                    connections.spawn(async move {
                        let mut request = Vec::new();
                        while !request.ends_with(b"\r\n\r\n") {
                            match socket.read_u8().await {
                                Ok(byte) => request.push(byte),
                                Err(_) => return,
                            }
                        }
                        let text = String::from_utf8_lossy(&request).into_owned();
                        let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                        let times = {
                            let mut counts = counts.lock().expect("not poisoned");
                            let times = counts.entry(path).or_default();
                            *times += 1;
                            *times
                        };
                        if let Some(status) = script(times) {
                            let answer = format!(
                                "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                            );
                            let _ = socket.write_all(answer.as_bytes()).await;
                        }
                    });
                }
            });
            Self {
                address,
                counted,
                _tasks: tasks,
            }
        }

        async fn new(script: fn(u32) -> Option<u16>) -> Self {
            Self::start(TcpListener::bind("127.0.0.1:0").await.expect("bind"), script)
        }

        fn counted(&self) -> HashMap<String, u32> {
            self.counted.lock().expect("not poisoned").clone()
        }
    }

    fn gate() -> Gate {
        Gate::new(gate::Policy {
            allow_private: true,
            ..gate::Policy::default()
        })
    }

    fn beacon(address: SocketAddr, name: &str, receiver: Receiver) -> Beacon {
        let url = format!("http://{address}/{name}");
        Beacon {
            key: BeaconKey::new("s", "a", name, &url),
            event: "impression".into(),
            url,
            receiver,
            at: NOW,
            body: None,
        }
    }

    async fn queue() -> (tempfile::TempDir, Queue) {
        let folder = tempfile::tempdir().expect("folder");
        let queue = Queue::open(&folder.path().join("ads.db")).await.expect("open");
        (folder, queue)
    }

    #[tokio::test]
    async fn a_beacon_is_stored_once_and_sent_once() {
        let (_folder, queue) = queue().await;
        let server = Server::new(|_| Some(204)).await;
        let beacons = [
            beacon(server.address, "a", Receiver::Grove),
            beacon(server.address, "b", Receiver::ThirdParty),
        ];
        assert_eq!(queue.store(&beacons).await.expect("store"), 2);
        assert_eq!(queue.store(&beacons).await.expect("store again"), 0);
        let drained = queue.drain(&gate(), NOW, BUDGET).await.expect("drain");
        assert_eq!((drained.sent, drained.waiting), (2, 0));
        assert_eq!(queue.store(&beacons).await.expect("store after"), 0);
        assert_eq!(queue.drain(&gate(), NOW, BUDGET).await.expect("drain").sent, 0);
        assert!(server.counted().values().all(|&times| times == 1));
    }

    #[tokio::test]
    async fn a_server_that_is_down_for_a_while_gets_everything_later() {
        let (_folder, queue) = queue().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        drop(listener);
        let beacons = [
            beacon(address, "a", Receiver::Grove),
            beacon(address, "b", Receiver::ThirdParty),
        ];
        queue.store(&beacons).await.expect("store");
        let drained = queue.drain(&gate(), NOW, BUDGET).await.expect("drain");
        assert_eq!((drained.sent, drained.postponed, drained.waiting), (0, 2, 2));
        let server = Server::start(TcpListener::bind(address).await.expect("bind again"), |_| {
            Some(200)
        });
        // Not due yet: it backs off.
        assert_eq!(queue.drain(&gate(), NOW, BUDGET).await.expect("drain").sent, 0);
        let later = NOW.after(Duration::from_secs(60));
        assert_eq!(queue.drain(&gate(), later, BUDGET).await.expect("drain").sent, 2);
        assert_eq!(server.counted().len(), 2);
    }

    #[tokio::test]
    async fn what_a_server_that_is_away_was_told_in_vain_comes_after_what_is_new() {
        let (_folder, queue) = queue().await;
        let server = Server::new(|_| Some(503)).await;
        let told = |name: &str| beacon(server.address, name, Receiver::Grove);
        queue.store(&[told("a"), told("b")]).await.expect("store");
        assert_eq!(
            queue.drain(&gate(), NOW, BUDGET).await.expect("drain").postponed,
            2
        );
        let later = NOW.after(Duration::from_secs(60));
        let new = Beacon {
            at: later,
            ..told("new")
        };
        queue.store(std::slice::from_ref(&new)).await.expect("store");
        let due = queue.due(later).await.expect("due");
        assert_eq!((due.len(), &due[0].url), (3, &new.url));
    }

    #[tokio::test]
    async fn a_grove_server_that_commits_and_cuts_the_connection_is_told_again_with_the_same_url() {
        let (_folder, queue) = queue().await;
        let server = Server::new(|times| (times > 1).then_some(204)).await;
        queue
            .store(&[beacon(server.address, "grove", Receiver::Grove)])
            .await
            .expect("store");
        let drained = queue.drain(&gate(), NOW, BUDGET).await.expect("drain");
        let later = NOW.after(Duration::from_secs(60));
        let again = queue.drain(&gate(), later, BUDGET).await.expect("drain");
        // The client may retry by itself within the first drain; either way the server saw one key, more than once.
        assert_eq!((drained.sent + again.sent, again.waiting), (1, 0));
        let counted = server.counted();
        assert_eq!(counted.len(), 1);
        assert!(counted["/grove"] >= 2, "{counted:?}");
    }

    #[tokio::test]
    async fn a_third_party_is_never_told_again_once_it_may_have_heard() {
        let (_folder, queue) = queue().await;
        let cutting = Server::new(|_| None).await;
        let failing = Server::new(|_| Some(500)).await;
        let beacons = [
            beacon(cutting.address, "cut", Receiver::ThirdParty),
            beacon(failing.address, "500", Receiver::ThirdParty),
        ];
        queue.store(&beacons).await.expect("store");
        let drained = queue.drain(&gate(), NOW, BUDGET).await.expect("drain");
        assert_eq!((drained.unknown, drained.sent, drained.waiting), (1, 1, 0));
        let later = NOW.after(Duration::from_secs(3_600));
        queue.drain(&gate(), later, BUDGET).await.expect("drain");
        assert_eq!((cutting.counted()["/cut"], failing.counted()["/500"]), (1, 1));
    }

    #[tokio::test]
    async fn what_was_begun_ends_though_it_is_told_to_stop_and_nothing_else_begins() {
        use axum::{Router, extract::State, routing::get};
        use tokio::sync::Semaphore;
        let (_folder, queue) = queue().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        // It answers only once it is let.
        let (asked, answers) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let app = Router::new()
            .route(
                "/{name}",
                get(
                    |State((asked, answers)): State<(Arc<Semaphore>, Arc<Semaphore>)>| async move {
                        asked.add_permits(1);
                        answers.acquire().await.expect("open").forget();
                    },
                ),
            )
            .with_state((asked.clone(), answers.clone()));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await });
        let beacons: Vec<_> = (0..=AT_ONCE)
            .map(|n| beacon(address, &format!("b{n}"), Receiver::ThirdParty))
            .collect();
        queue.store(&beacons).await.expect("store");
        let stop = AtomicBool::new(false);
        let gate = gate();
        let (drained, ()) = tokio::join!(queue.drain_until(&gate, NOW, REQUEST, &stop), async {
            let all = u32::try_from(AT_ONCE).expect("a few");
            asked.acquire_many(all).await.expect("open").forget();
            stop.store(true, Ordering::Relaxed);
            answers.add_permits(AT_ONCE);
        });
        let drained = drained.expect("drain");
        assert_eq!((drained.sent, drained.waiting), (AT_ONCE as u64, 1));
    }

    #[test]
    fn what_was_begun_for_a_third_party_is_not_cut_off_by_the_budget() {
        let nearly_over = Duration::from_millis(1);
        assert_eq!(time_for(Receiver::ThirdParty, nearly_over), LEAST);
        assert_eq!(time_for(Receiver::Grove, nearly_over), nearly_over);
        for receiver in [Receiver::ThirdParty, Receiver::Grove] {
            assert_eq!(time_for(receiver, LIFETIME), REQUEST);
        }
    }

    #[tokio::test]
    async fn a_third_party_that_redirects_to_nowhere_has_heard() {
        use axum::{Router, response::Redirect, routing::get};
        let (_folder, queue) = queue().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let app = Router::new().fallback(get(|| async { Redirect::temporary("http://nowhere.invalid/") }));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await });
        let party = |name, receiver| beacon(address, name, receiver);
        queue
            .store(&[party("a", Receiver::ThirdParty), party("b", Receiver::Grove)])
            .await
            .expect("store");
        let gate = Gate::new(gate::Policy {
            hosts: HashMap::from([("nowhere.invalid".to_owned(), Vec::new())]),
            ..gate().policy().clone()
        });
        let drained = queue.drain(&gate, NOW, BUDGET).await.expect("drain");
        assert_eq!((drained.unknown, drained.postponed, drained.waiting), (1, 1, 1));
    }

    #[tokio::test]
    async fn a_grove_server_is_told_until_it_answers_2xx() {
        let (_folder, queue) = queue().await;
        let server = Server::new(|times| Some(if times < 4 { 503 } else { 200 })).await;
        queue
            .store(&[beacon(server.address, "a", Receiver::Grove)])
            .await
            .expect("store");
        let mut now = NOW;
        for _ in 0..3 {
            let drained = queue.drain(&gate(), now, BUDGET).await.expect("drain");
            assert_eq!((drained.postponed, drained.waiting), (1, 1));
            now = now.after(Duration::from_secs(60));
        }
        assert_eq!(queue.drain(&gate(), now, BUDGET).await.expect("drain").sent, 1);
    }

    #[tokio::test]
    async fn a_killed_process_holds_nobody_up_for_longer_than_its_lease() {
        let (folder, queue) = queue().await;
        let server = Server::new(|_| Some(204)).await;
        let third = beacon(server.address, "third", Receiver::ThirdParty);
        queue
            .store(&[beacon(server.address, "grove", Receiver::Grove), third.clone()])
            .await
            .expect("store");
        // As far as a process gets that is killed while it sends.
        assert!(queue.take_lease("killed", NOW).await.expect("lease"));
        assert!(queue.mark_sending(third.key.as_str()).await.expect("mark"));
        assert!(
            !queue
                .mark_sending(third.key.as_str())
                .await
                .expect("marking twice")
        );
        drop(queue);
        let next = Queue::open(&folder.path().join("ads.db"))
            .await
            .expect("open again");
        let early = next
            .drain(&gate(), NOW.after(LEASE / 2), POLL)
            .await
            .expect("drain");
        assert_eq!((early.busy, early.sent), (true, 0));
        let drained = next
            .drain(&gate(), NOW.after(LEASE), BUDGET)
            .await
            .expect("drain");
        assert_eq!(
            (drained.busy, drained.sent, drained.unknown, drained.waiting),
            (false, 1, 1, 0)
        );
        assert_eq!(server.counted().keys().collect::<Vec<_>>(), ["/grove"]);
    }

    #[tokio::test]
    async fn a_lease_from_before_the_clock_was_set_back_holds_nobody_up() {
        let (_folder, queue) = queue().await;
        let server = Server::new(|_| Some(204)).await;
        queue
            .store(&[beacon(server.address, "a", Receiver::Grove)])
            .await
            .expect("store");
        let ahead = NOW.after(Duration::from_secs(3_600));
        assert!(queue.take_lease("killed", ahead).await.expect("lease"));
        let drained = queue.drain(&gate(), NOW, BUDGET).await.expect("drain");
        assert_eq!((drained.busy, drained.sent), (false, 1));
    }

    #[tokio::test]
    async fn what_another_drain_finished_stays_finished() {
        let (_folder, queue) = queue().await;
        let server = Server::new(|_| Some(204)).await;
        queue
            .store(&[beacon(server.address, "a", Receiver::Grove)])
            .await
            .expect("store");
        // Two drains took it up, since the lease of the slower one lapsed; it fails after the other's success.
        let due = queue.due(NOW).await.expect("due").remove(0);
        assert_eq!(queue.drain(&gate(), NOW, BUDGET).await.expect("drain").sent, 1);
        let late = Attempt::Postponed("no answer in time".into());
        queue.conclude(&due, &late, NOW).await.expect("conclude");
        assert_eq!(queue.waiting().await.expect("waiting"), 0);
    }

    #[tokio::test]
    async fn two_handles_never_send_the_same_beacon_at_once() {
        let (folder, first) = queue().await;
        let second = Queue::open(&folder.path().join("ads.db")).await.expect("open");
        let server = Server::new(|_| Some(204)).await;
        let beacons: Vec<_> = (0..100)
            .map(|n| beacon(server.address, &format!("b{n}"), Receiver::Grove))
            .collect();
        first.store(&beacons).await.expect("store");
        let (gate_one, gate_two) = (gate(), gate());
        let (one, two) = tokio::join!(
            first.drain(&gate_one, NOW, BUDGET),
            second.drain(&gate_two, NOW, BUDGET)
        );
        let (one, two) = (one.expect("drain"), two.expect("drain"));
        assert_eq!(one.sent + two.sent, 100);
        let counted = server.counted();
        assert!(counted.len() == 100 && counted.values().all(|&times| times == 1));
    }

    #[tokio::test]
    async fn what_is_too_old_or_forbidden_is_dropped() {
        let (_folder, queue) = queue().await;
        let server = Server::new(|_| Some(204)).await;
        queue
            .store(&[
                beacon(server.address, "a", Receiver::ThirdParty),
                beacon(server.address, "b", Receiver::Grove),
            ])
            .await
            .expect("store");
        let strict = Gate::new(gate::Policy::default());
        let drained = queue.drain(&strict, NOW, BUDGET).await.expect("drain");
        // A command that allows more may come: a Grove server's beacon waits for it.
        assert_eq!((drained.dropped, drained.waiting), (1, 1));
        let drained = queue
            .drain(&gate(), NOW.after(LIFETIME), BUDGET)
            .await
            .expect("drain");
        assert_eq!((drained.dropped, drained.waiting), (1, 0));
        assert!(server.counted().is_empty());
    }

    #[tokio::test]
    async fn an_account_is_posted_until_it_is_taken_or_refused() {
        use axum::{Router, http::StatusCode, routing::post};
        let (_folder, queue) = queue().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let got: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = got.clone();
        let app = Router::new()
            .route(
                "/taken",
                post(move |body: String| async move {
                    let mut seen = seen.lock().expect("not poisoned");
                    seen.push(body);
                    if seen.len() == 1 {
                        StatusCode::SERVICE_UNAVAILABLE
                    } else {
                        StatusCode::NO_CONTENT
                    }
                }),
            )
            .route("/refused", post(|| async { StatusCode::UNPROCESSABLE_ENTITY }));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, app).await });
        let account = |name: &str| Beacon {
            body: Some(format!("{{\"name\":\"{name}\"}}")),
            ..beacon(address, name, Receiver::Grove)
        };
        queue
            .store(&[account("taken"), account("refused")])
            .await
            .expect("store");
        let first = queue.drain(&gate(), NOW, BUDGET).await.expect("drain");
        assert_eq!((first.postponed, first.dropped, first.waiting), (1, 1, 1));
        let later = NOW.after(Duration::from_secs(60));
        let second = queue.drain(&gate(), later, BUDGET).await.expect("drain");
        assert_eq!((second.sent, second.waiting), (1, 0));
        assert_eq!(*got.lock().expect("not poisoned"), ["{\"name\":\"taken\"}"; 2]);
    }

    #[test]
    fn waiting_doubles_up_to_an_hour() {
        assert_eq!(
            [1, 2, 3, 11, 12, 40].map(|n| backoff(n).as_secs()),
            [2, 4, 8, 2_048, 3_600, 3_600]
        );
    }
}
