//! Why a request is not answered with what it asked for: a status, and one sentence for whoever looks.

use std::time::Duration;

use ad_splicer::splice::SpliceError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::torrents::Full;
use crate::asking::NoAnswer;
use crate::output::{ExitStatus, cause, sentence, status_of};

/// When who is refused for now is to come again; longest time that a server is believed which says so.
const AFTER: Duration = Duration::from_secs(10);
const MOST_AFTER: Duration = Duration::from_secs(3600);

/// See the module documentation.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) sentence: String,
    /// In how many seconds it may be otherwise, where that is not so forever.
    after: u64,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self {
            status,
            sentence: sentence.into(),
            after: AFTER.as_secs(),
        }
    }

    /// What is wrong with a source, or with getting it: what the gate refuses, what the person named wrongly, what others did not answer.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        if let Some(unknown) = cause::<NoAnswer>(error) {
            return Self::unknown(unknown, sentence(error));
        }
        let status = match cause::<gate::Error>(error) {
            Some(gate::Error::Forbidden(_)) => StatusCode::FORBIDDEN,
            Some(gate::Error::Scheme { .. } | gate::Error::Url { .. }) => StatusCode::BAD_REQUEST,
            Some(gate::Error::Timeout { .. }) => StatusCode::GATEWAY_TIMEOUT,
            None if cause::<Full>(error).is_some() => StatusCode::SERVICE_UNAVAILABLE,
            // Content that is wrong is not the asker's fault.
            None if cause::<SpliceError>(error).is_some() => StatusCode::BAD_GATEWAY,
            None if status_of(error) == ExitStatus::BadInput => StatusCode::BAD_REQUEST,
            None if cause::<engine::node::Error>(error).is_some() => StatusCode::SERVICE_UNAVAILABLE,
            Some(_) | None => StatusCode::BAD_GATEWAY,
        };
        if let Some(gate::Error::Forbidden(forbidden)) = cause::<gate::Error>(error) {
            let gate::Forbidden { host, address, class } = forbidden;
            let private = if class.is_private() {
                " with --allow-private, or"
            } else {
                ""
            };
            let reason = format!(
                "{host} is at {address}, a {class} address, which nobody reaches by asking over HTTP: start the node{private} with this source as an argument"
            );
            return Self::new(status, reason);
        }
        Self::new(status, sentence(error))
    }

    /// A server did not say what it has. Where it may all the same, the player is to come again, and later where the server said so.
    pub(super) fn unknown(unknown: &NoAnswer, sentence: String) -> Self {
        match unknown {
            NoAnswer::Status { after, .. } if unknown.is_trouble() => Self {
                after: after.unwrap_or_default().clamp(AFTER, MOST_AFTER).as_secs(),
                ..Self::new(StatusCode::SERVICE_UNAVAILABLE, sentence)
            },
            _ => Self::new(StatusCode::BAD_GATEWAY, sentence),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, format!("{}\n", self.sentence)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, self.after.into());
        }
        response
    }
}
