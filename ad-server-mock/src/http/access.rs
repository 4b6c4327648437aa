//! Who is calling: a token in `Authorization: Bearer`, or the desk's session cookie.
//!
//! The API takes tokens only, so no page of another site can use a visitor's session on it; the desk takes the cookie
//! only, and every form of it carries a word that only the session knows. No token ever stands in a URL. Not for what a
//! token is kept as: see [`crate::store::tokens`].

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};

use super::{App, Refusal};
use crate::report::Filter;
use crate::store::tokens::{Role, hash};

/// The desk's cookie.
pub(crate) const COOKIE: &str = "grove_desk";
/// How long a session lasts.
pub(crate) const SESSION: i64 = 12 * 3_600_000;

/// Who is calling.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// The advertiser or publisher that it is for.
    pub(crate) scope: Option<String>,
}

fn forbidden() -> Refusal {
    Refusal(
        StatusCode::FORBIDDEN,
        "this token's role does not allow it".to_owned(),
    )
}

impl Caller {
    /// Only an admin.
    pub(crate) fn admin(&self) -> Result<(), Refusal> {
        if self.role == Role::Admin {
            Ok(())
        } else {
            Err(forbidden())
        }
    }

    /// Whether what is this advertiser's may be seen.
    pub(crate) fn sees_advertiser(&self, id: &str) -> bool {
        match self.role {
            Role::Admin | Role::Reader => true,
            Role::Advertiser => self.scope.as_deref() == Some(id),
            Role::Publisher => false,
        }
    }

    /// Refuses who may not change what is this advertiser's.
    pub(crate) fn changes_advertiser(&self, id: &str) -> Result<(), Refusal> {
        match self.role {
            Role::Admin => Ok(()),
            Role::Advertiser if self.scope.as_deref() == Some(id) => Ok(()),
            _ => Err(forbidden()),
        }
    }

    /// Whether what is this publisher's may be seen.
    pub(crate) fn sees_publisher(&self, id: &str) -> bool {
        match self.role {
            Role::Admin | Role::Reader => true,
            Role::Publisher => self.scope.as_deref() == Some(id),
            Role::Advertiser => false,
        }
    }

    /// Refuses who may not change what is this publisher's.
    pub(crate) fn changes_publisher(&self, id: &str) -> Result<(), Refusal> {
        match self.role {
            Role::Admin => Ok(()),
            Role::Publisher if self.scope.as_deref() == Some(id) => Ok(()),
            _ => Err(forbidden()),
        }
    }

    /// A report is about no more than the caller may see.
    pub(crate) fn narrow(&self, mut filter: Filter) -> Filter {
        match self.role {
            Role::Admin | Role::Reader => {}
            // A token without a scope is for nobody: it sees nothing.
            Role::Advertiser => filter.advertiser = Some(self.scope.clone().unwrap_or_else(|| "-".into())),
            Role::Publisher => filter.publisher = Some(self.scope.clone().unwrap_or_else(|| "-".into())),
        }
        filter
    }
}

impl App {
    async fn caller(&self, token_hash: &str) -> Result<Option<Caller>, Refusal> {
        let found = self.ads.db().token(token_hash).await?;
        Ok(found.map(|t| Caller {
            name: t.name,
            role: t.role,
            scope: t.scope,
        }))
    }

    /// Who has this token.
    pub(crate) async fn caller_of(&self, token: &str) -> Result<Option<Caller>, Refusal> {
        self.caller(&hash(token.trim())).await
    }

    /// The value of the cookie of a new session of a token.
    pub(crate) fn session(&self, token: &str) -> String {
        let until = (self.clock.now() + SESSION).to_string();
        let hash = hash(token.trim());
        let tag = self.key.tag("session", &[&hash, &until]);
        format!("{hash}.{until}.{tag}")
    }

    async fn caller_of_session(&self, cookie: &str) -> Result<Option<Caller>, Refusal> {
        let mut parts = cookie.split('.');
        let (Some(hash), Some(until), Some(tag), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Ok(None);
        };
        if !self.key.is_tag(tag, "session", &[hash, until])
            || until.parse::<i64>().is_ok_and(|u| u <= self.clock.now())
        {
            return Ok(None);
        }
        self.caller(hash).await
    }
}

/// The value of a cookie.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|h| h.to_str().ok())
        .flat_map(|h| h.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(n, _)| *n == name)
        .map(|(_, value)| value)
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let token = parts
            .headers
            .get(header::AUTHORIZATION)
            .and_then(|h| h.to_str().ok())
            .and_then(|h| h.strip_prefix("Bearer "));
        let caller = match token {
            Some(token) => app.caller_of(token).await?,
            None => None,
        };
        caller.ok_or_else(|| {
            Refusal(
                StatusCode::UNAUTHORIZED,
                "a token is needed: Authorization: Bearer …".to_owned(),
            )
        })
    }
}

/// Somebody who logged in to the desk.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) caller: Caller,
    /// What every form of this session carries.
    pub(crate) word: String,
    cookie: String,
}

/// Nobody is logged in.
#[derive(Debug)]
pub(crate) enum NoSession {
    /// Log in first.
    LogIn,
    /// The store failed.
    Refused(Refusal),
}

impl axum::response::IntoResponse for NoSession {
    fn into_response(self) -> axum::response::Response {
        match self {
            Self::LogIn => axum::response::Redirect::to("/desk/login").into_response(),
            Self::Refused(refusal) => refusal.into_response(),
        }
    }
}

impl FromRequestParts<Arc<App>> for Session {
    type Rejection = NoSession;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, NoSession> {
        let Some(cookie) = cookie(&parts.headers, COOKIE) else {
            return Err(NoSession::LogIn);
        };
        let caller = app.caller_of_session(cookie).await.map_err(NoSession::Refused)?;
        Ok(Self {
            caller: caller.ok_or(NoSession::LogIn)?,
            word: app.key.tag("form", &[cookie]),
            cookie: cookie.to_owned(),
        })
    }
}

impl Session {
    /// Refuses a form that was not on a page of this session.
    pub(crate) fn check(&self, app: &App, word: &str) -> Result<(), Refusal> {
        if app.key.is_tag(word, "form", &[&self.cookie]) {
            return Ok(());
        }
        Err(Refusal(
            StatusCode::FORBIDDEN,
            "this form is not from a page of this session: load the page again".to_owned(),
        ))
    }
}
