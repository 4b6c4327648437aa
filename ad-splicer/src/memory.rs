//! What this device remembers of ads, in `ads.db`: decisions that may still be used, and what was presented here.
//!
//! Invariants: a decision that has expired, or whose expiry nobody stated, is never given back; the history names creatives
//! and times and nothing else, is looked back at most [`LONGEST`] and never leaves the device.
//!
//! Time comes in as `now`. Not for: sending anything (`beacons`), or judging caps (`decide::limits`).

use std::{path::Path, time::Duration};

use sqlx::{Row, SqlitePool};

use crate::{
    beacons::UnixMillis,
    database::{self, OpenError},
    decide::Decision,
};

/// The longest time that is looked back for a frequency cap; what is older is forgotten.
pub const LONGEST: Duration = Duration::from_secs(31 * 24 * 3_600);
/// Most decisions that are kept.
const MOST_DECISIONS: i64 = 4_096;

/// Why nothing could be remembered.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
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
    /// A decision could not be written as JSON.
    #[error("keeping a decision: {0}")]
    Form(#[from] serde_json::Error),
}

/// A decision and the session under which what happens to it is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDecision {
    /// The id of the rendition or playback that it was made for.
    pub session: String,
    /// That one's seed.
    pub seed: u64,
    /// What was decided.
    pub decision: Decision,
}

/// The memory. Clones share its connections.
#[derive(Debug, Clone)]
pub struct Memory {
    pool: SqlitePool,
}

fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> MemoryError {
    move |source| MemoryError::Database { doing, source }
}

fn millis(time: UnixMillis) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

fn before(now: UnixMillis, age: Duration) -> i64 {
    millis(now).saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
}

impl Memory {
    /// Opens or makes it; several processes may have it open.
    pub async fn open(path: &Path) -> Result<Self, MemoryError> {
        let pool = database::open(path).await?;
        Ok(Self { pool })
    }

    /// Keeps a decision for a place in some content, in place of an older one. One with an ad that states no `Expires` is
    /// not kept: nobody said that it may be used later.
    pub async fn keep(
        &self,
        content: &str,
        place: &str,
        kept: &StoredDecision,
        now: UnixMillis,
    ) -> Result<bool, MemoryError> {
        const DOING: &str = "keeping a decision";
        let ads = || kept.decision.pod.iter().chain(&kept.decision.fallbacks);
        let expires = ads().map(|ad| ad.expires_at).min().flatten();
        let Some(expires) = expires.filter(|at| *at > now && ads().all(|ad| ad.expires_at.is_some())) else {
            return Ok(false);
        };
        sqlx::query(
            "INSERT OR REPLACE INTO decision (content, place, session, seed, expires_at, decision)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .bind(content)
        .bind(place)
        .bind(&kept.session)
        .bind(kept.seed.cast_signed())
        .bind(millis(expires))
        .bind(serde_json::to_string(&kept.decision)?)
        .execute(&self.pool)
        .await
        .map_err(failed(DOING))?;
        sqlx::query(
            "DELETE FROM decision WHERE expires_at <= ?1
             OR rowid NOT IN (SELECT rowid FROM decision ORDER BY expires_at DESC LIMIT ?2)",
        )
        .bind(millis(now))
        .bind(MOST_DECISIONS)
        .execute(&self.pool)
        .await
        .map_err(failed(DOING))?;
        Ok(true)
    }

    /// The decision that is kept for a place and has not expired.
    pub async fn find(
        &self,
        content: &str,
        place: &str,
        now: UnixMillis,
    ) -> Result<Option<StoredDecision>, MemoryError> {
        const DOING: &str = "looking for a decision that was kept";
        let row = sqlx::query(
            "SELECT session, seed, decision FROM decision WHERE content = ?1 AND place = ?2 AND expires_at > ?3",
        )
        .bind(content)
        .bind(place)
        .bind(millis(now))
        .fetch_optional(&self.pool)
        .await
        .map_err(failed(DOING))?;
        let Some(row) = row else { return Ok(None) };
        let text: String = row.try_get("decision").map_err(failed(DOING))?;
        let seed: i64 = row.try_get("seed").map_err(failed(DOING))?;
        // What another version wrote and this one cannot read is as if it were not there.
        Ok(serde_json::from_str(&text).ok().map(|decision| StoredDecision {
            session: row.try_get("session").unwrap_or_default(),
            seed: seed.cast_unsigned(),
            decision,
        }))
    }

    /// Forgets a decision: it was told to be not used, which is the last that can be said of it.
    pub async fn forget(&self, content: &str, place: &str) -> Result<(), MemoryError> {
        sqlx::query("DELETE FROM decision WHERE content = ?1 AND place = ?2")
            .bind(content)
            .bind(place)
            .execute(&self.pool)
            .await
            .map_err(failed("forgetting a decision"))?;
        Ok(())
    }

    /// Notes that a creative was presented, under each of its names.
    pub async fn note(&self, creatives: &[String], at: UnixMillis) -> Result<(), MemoryError> {
        const DOING: &str = "noting what was presented";
        for creative in creatives {
            sqlx::query("INSERT INTO presented (creative, at) VALUES (?1, ?2)")
                .bind(creative)
                .bind(millis(at))
                .execute(&self.pool)
                .await
                .map_err(failed(DOING))?;
        }
        sqlx::query("DELETE FROM presented WHERE at <= ?1")
            .bind(before(at, LONGEST))
            .execute(&self.pool)
            .await
            .map_err(failed(DOING))?;
        Ok(())
    }

    /// When a creative was presented here, of any of these names, within `within` before `now`.
    pub async fn count(
        &self,
        creatives: &[String],
        within: Duration,
        now: UnixMillis,
    ) -> Result<u32, MemoryError> {
        let mut most = 0;
        for creative in creatives {
            let count: i64 =
                sqlx::query_scalar("SELECT count(*) FROM presented WHERE creative = ?1 AND at > ?2")
                    .bind(creative)
                    .bind(before(now, within))
                    .fetch_one(&self.pool)
                    .await
                    .map_err(failed("looking back at what was presented"))?;
            most = most.max(u32::try_from(count).unwrap_or(u32::MAX));
        }
        Ok(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Ad;

    const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

    async fn memory() -> (tempfile::TempDir, Memory) {
        let folder = tempfile::tempdir().expect("folder");
        let memory = Memory::open(&folder.path().join("ads.db")).await.expect("open");
        (folder, memory)
    }

    fn kept(expires: Option<u64>) -> StoredDecision {
        let ad = Ad {
            ad_id: Some("a".into()),
            expires_at: expires.map(|seconds| NOW.after(Duration::from_secs(seconds))),
            ..Ad::default()
        };
        StoredDecision {
            session: "s".into(),
            seed: u64::MAX,
            decision: Decision {
                pod: vec![ad],
                ..Decision::default()
            },
        }
    }

    #[tokio::test]
    async fn a_decision_is_given_back_until_it_expires_and_no_longer() {
        let (_folder, memory) = memory().await;
        assert!(memory.keep("c", "p", &kept(Some(60)), NOW).await.expect("keep"));
        let at = |seconds| NOW.after(Duration::from_secs(seconds));
        let found = memory.find("c", "p", at(59)).await.expect("find");
        assert_eq!(found, Some(kept(Some(60))));
        assert_eq!(memory.find("c", "p", at(60)).await.expect("find"), None);
        assert_eq!(memory.find("c", "q", NOW).await.expect("find"), None);
        memory.forget("c", "p").await.expect("forget");
        assert_eq!(memory.find("c", "p", NOW).await.expect("find"), None);
    }

    #[tokio::test]
    async fn a_decision_that_states_no_expiry_is_not_kept() {
        let (_folder, memory) = memory().await;
        let mut mixed = kept(Some(60));
        mixed.decision.fallbacks = kept(None).decision.pod;
        for kept in [kept(None), kept(Some(0)), mixed] {
            assert!(!memory.keep("c", "p", &kept, NOW).await.expect("keep"));
        }
        assert_eq!(memory.find("c", "p", NOW).await.expect("find"), None);
    }

    #[tokio::test]
    async fn presentations_are_counted_within_a_time_under_any_name() {
        let (_folder, memory) = memory().await;
        let names = ["ad-id.org 1".to_owned(), "other 7".to_owned()];
        let at = |seconds| NOW.after(Duration::from_secs(seconds));
        for seconds in [0, 50, 100] {
            memory.note(&names, at(seconds)).await.expect("note");
        }
        let count = |within, now| memory.count(&names[1..], Duration::from_secs(within), now);
        assert_eq!(count(1_000, at(100)).await.expect("count"), 3);
        assert_eq!(count(60, at(100)).await.expect("count"), 2);
        assert_eq!(count(60, at(1_000)).await.expect("count"), 0);
        memory.note(&names, at(100).after(LONGEST)).await.expect("note");
        assert_eq!(
            count(u64::MAX / 1_000, at(100).after(LONGEST))
                .await
                .expect("count"),
            1
        );
    }
}
