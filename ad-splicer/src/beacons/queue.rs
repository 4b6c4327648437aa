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
//! Time comes in as `now`; only budgets and time-outs are measured here. Not for: the request itself (`sending`).

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use gate::Gate;
use sqlx::{Row, SqlitePool};
use tokio::time::Instant;

use super::sending::{Attempt, Due, send, time_for};
use super::{Beacon, Receiver, UnixMillis};
use crate::database::{self, OpenError};

/// A beacon that could not be delivered for so long is dropped.
pub const LIFETIME: Duration = Duration::from_secs(7 * 24 * 3_600);
/// How long finished keys are remembered, so that storing them again does nothing.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Most beacons that wait at a time.
const MOST_WAITING: i64 = 100_000;
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

#[cfg(test)]
mod tests;
