//! Tokens for the API and the desk: only a hash of each is kept.
//!
//! Not for what a role may do: see `http`.

use sha2::{Digest as _, Sha256};

use super::{Db, StoreError, query};
use crate::clock::UnixMillis;

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Admin,
    /// An advertiser's own campaigns, flights and creatives, and their reports.
    Advertiser,
    /// A publisher's own shows, and their reports.
    Publisher,
    /// Looks at everything, changes nothing.
    Reader,
}

impl Role {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Advertiser => "advertiser",
            Self::Publisher => "publisher",
            Self::Reader => "reader",
        }
    }

    /// The role of a name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Admin, Self::Advertiser, Self::Publisher, Self::Reader]
            .into_iter()
            .find(|r| r.as_str() == text)
    }
}

/// A token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Token {
    /// The beginning of its hash, to name it by.
    pub id: String,
    /// Whose it is, for people.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The advertiser or publisher that it is for.
    pub scope: Option<String>,
    /// When it was made.
    pub created: UnixMillis,
    /// When it was revoked.
    pub revoked: Option<UnixMillis>,
}

type Columns = (String, String, String, Option<String>, i64, Option<i64>);

fn token((hash, name, role, scope, created, revoked): Columns) -> Option<Token> {
    Some(Token {
        id: hash.get(..12)?.to_owned(),
        name,
        role: Role::parse(&role)?,
        scope,
        created,
        revoked,
    })
}

/// The hash that a token is kept under. It has 256 random bits, so there is nothing to slow down.
pub fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token.as_bytes()))
}

impl Db {
    /// Keeps a new token.
    pub async fn add_token(
        &self,
        secret: &str,
        name: &str,
        role: Role,
        scope: Option<&str>,
        now: UnixMillis,
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO tokens (hash, name, role, scope, created) VALUES ($1, $2, $3, $4, $5)")
            .bind(hash(secret))
            .bind(name.to_owned())
            .bind(role.as_str())
            .bind(scope.map(str::to_owned))
            .bind(now)
            .execute(self.pool())
            .await
            .map_err(query("add a token"))?;
        Ok(())
    }

    /// The token with this hash, unless it was revoked.
    pub async fn token(&self, hash: &str) -> Result<Option<Token>, StoreError> {
        let found: Option<Columns> = sqlx::query_as(
            "SELECT hash, name, role, scope, created, revoked FROM tokens WHERE hash = $1 AND revoked IS NULL",
        )
        .bind(hash.to_owned())
        .fetch_optional(self.pool())
        .await
        .map_err(query("look for a token"))?;
        Ok(found.and_then(token))
    }

    /// All tokens, revoked ones too.
    pub async fn tokens(&self) -> Result<Vec<Token>, StoreError> {
        let all: Vec<Columns> = sqlx::query_as(
            "SELECT hash, name, role, scope, created, revoked FROM tokens ORDER BY created, hash",
        )
        .fetch_all(self.pool())
        .await
        .map_err(query("list the tokens"))?;
        Ok(all.into_iter().filter_map(token).collect())
    }

    /// Revokes the tokens whose hash begins with `id` (12 characters). Whether there was one.
    pub async fn revoke_token(&self, id: &str, now: UnixMillis) -> Result<bool, StoreError> {
        let done =
            sqlx::query("UPDATE tokens SET revoked = COALESCE(revoked, $2) WHERE SUBSTR(hash, 1, 12) = $1")
                .bind(id.to_owned())
                .bind(now)
                .execute(self.pool())
                .await
                .map_err(query("revoke a token"))?;
        Ok(done.rows_affected() > 0)
    }
}
