//! Why a request is not answered with what it asked for: a status, and one sentence for whoever looks.

use ad_splicer::splice::SpliceError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::torrents::Full;
use crate::output::{ExitStatus, cause, sentence, status_of};

/// See the module documentation.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) sentence: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self {
            status,
            sentence: sentence.into(),
        }
    }

    /// What is wrong with a source, or with getting it: what the gate refuses, what the person named wrongly, what others did not answer.
    pub(super) fn of(error: &anyhow::Error) -> Self {
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
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, format!("{}\n", self.sentence)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
        }
        response
    }
}
