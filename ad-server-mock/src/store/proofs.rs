//! What judging an account of play needs to know.
//!
//! Not for judging: see `ad_splicer::proof`; nor for storing what came of it: see `batch`.

use std::collections::HashSet;

use super::{Db, StoreError, query};

/// The decision that an account is about.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct ProofSubject {
    pub(crate) ad_serving_id: String,
    /// SHA-256 of the creative, hex.
    pub(crate) sha256: String,
    /// Length of the creative in milliseconds.
    pub(crate) duration: i64,
    /// The key that the client said it would sign with, hex.
    pub(crate) key: Option<String>,
}

impl Db {
    pub(crate) async fn proof_subject(&self, id: &str) -> Result<Option<ProofSubject>, StoreError> {
        sqlx::query_as(
            "SELECT d.ad_serving_id, d.sha256, c.duration, d.proof_key AS key FROM decisions d
             JOIN creatives c ON c.id = d.creative_id WHERE d.ad_serving_id = $1",
        )
        .bind(id.to_owned())
        .fetch_optional(self.pool())
        .await
        .map_err(query("look for a decision"))
    }

    /// What an account had come to: number of records and hash of the last.
    pub(crate) async fn proof_account(&self, nonce: &str) -> Result<Option<(i64, String)>, StoreError> {
        sqlx::query_as("SELECT count, hash FROM proof_accounts WHERE nonce = $1")
            .bind(nonce.to_owned())
            .fetch_optional(self.pool())
            .await
            .map_err(query("look for an account of play"))
    }

    /// Which of these records were accepted in another account than `account`.
    pub(crate) async fn proof_records(
        &self,
        nonces: &[String],
        account: &str,
    ) -> Result<HashSet<String>, StoreError> {
        let list: Vec<_> = nonces.iter().map(|n| [n]).collect();
        let found: Vec<(String,)> = sqlx::query_as(self.sql(
            "SELECT r.nonce FROM {rows} JOIN proof_records r ON r.nonce = j.value->>0 WHERE r.account <> $2",
        ))
        .bind(serde_json::to_string(&list).unwrap_or_default())
        .bind(account.to_owned())
        .fetch_all(self.pool())
        .await
        .map_err(query("look for records of play"))?;
        Ok(found.into_iter().map(|(n,)| n).collect())
    }
}
