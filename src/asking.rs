//! A document of a web server (a `.torrent`, a feed), whole: asked for as it is, and asked for again while its server is in trouble, for a bounded
//! time that is said.
//!
//! Only 404 and 410 say that there is none, and 403: hosts of plain files (S3 and others like it) answer so for any name that they do not have.
//! Everything else leaves open whether there is one. Not for: keeping documents (`documents`); content, which the engine
//! fetches, or `get::plain` by the same rules.

use std::time::Duration;

use bytes::Bytes;
use gate::{Gate, StatusCode, Url, header};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::output::{interrupted, stopped, with_hint};

/// Longest wait for one answer.
pub(crate) const DOCUMENT_TIMEOUT: Duration = Duration::from_secs(30);
/// For so long a document is asked for again by whoever can wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The same where nobody listens: that is a wrong port more often than a server that is started again.
const REFUSED_PATIENCE: Duration = Duration::from_secs(10);
/// First and longest pause; each is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(16));
/// Time for an answer that is asked for again, however late.
const LAST_ANSWER: Duration = Duration::from_secs(5);

/// What validates a document, as the server said it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Validators {
    etag: Option<String>,
    last_modified: Option<String>,
}

/// What a server said of a document.
pub(crate) enum Said {
    Is(Bytes, Validators),
    /// There is none; or (304) it is the one that was validated.
    None(StatusCode),
}

/// Why a server did not say what it has.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("the server answered {status}{}", asked_to_wait(*after))]
    Status {
        status: StatusCode,
        /// Its `Retry-After`.
        after: Option<Duration>,
    },
    #[error("the server sends it in {0} (Content-Encoding), which was not asked for")]
    Encoded(String),
    #[error(
        "the server answered with a web page instead of the file, as a captive portal or a server in maintenance does{}",
        asked_to_wait(*after)
    )]
    Page {
        /// Its `Retry-After`.
        after: Option<Duration>,
    },
    #[error("it broke off after {have} of {of} bytes")]
    Short { have: u64, of: u64 },
    #[error("{0}")]
    Failed(gate::Error),
}

fn asked_to_wait(after: Option<Duration>) -> String {
    let after = after.filter(|after| !after.is_zero());
    after.map_or_else(String::new, |after| {
        format!(", and asks to come again in {} s", after.as_secs())
    })
}

impl NoAnswer {
    /// Whether the server may have it all the same.
    pub(crate) fn is_trouble(&self) -> bool {
        match self {
            NoAnswer::Status { status, .. } => gate::may_pass(*status),
            NoAnswer::Encoded(_) => false,
            NoAnswer::Page { .. } | NoAnswer::Short { .. } => true,
            NoAnswer::Failed(error) => error.is_transient(),
        }
    }

    /// For how long it is worth asking again, of the time that there is.
    pub(crate) fn worth(&self, patience: Duration) -> Duration {
        match self {
            NoAnswer::Failed(error) if !error.may_pass() => Duration::ZERO,
            NoAnswer::Failed(error) if error.is_refused() => patience.min(REFUSED_PATIENCE),
            other if other.is_trouble() => patience,
            _ => Duration::ZERO,
        }
    }

    /// Its `Retry-After`.
    pub(crate) fn after(&self) -> Option<Duration> {
        match self {
            NoAnswer::Status { after, .. } | NoAnswer::Page { after } => *after,
            _ => None,
        }
    }

    /// The same for whoever does not go on.
    pub(crate) fn into_error(self, url: &Url) -> anyhow::Error {
        match self {
            NoAnswer::Failed(error) => match error {
                gate::Error::Forbidden(ref forbidden) if forbidden.class.is_private() => {
                    with_hint(error.into(), "--allow-private accepts such addresses")
                }
                other => other.into(),
            },
            other => anyhow::Error::new(other).context(format!("cannot fetch {}", gate::shown(url))),
        }
    }
}

/// Asks once.
pub(crate) async fn once(
    gate: &Gate,
    url: &Url,
    (most, timeout): (u64, Duration),
    known: &Validators,
) -> Result<Said, NoAnswer> {
    let mut request = gate
        .get(url.clone())
        .timeout(timeout)
        .header_text(header::ACCEPT_ENCODING, "identity");
    if let Some(etag) = &known.etag {
        request = request.header_text(header::IF_NONE_MATCH, etag);
    }
    if let Some(time) = &known.last_modified {
        request = request.header_text(header::IF_MODIFIED_SINCE, time);
    }
    let response = request.send().await.map_err(NoAnswer::Failed)?;
    match response.status() {
        status if status.is_success() => {}
        StatusCode::NOT_MODIFIED if *known != Validators::default() => {
            return Ok(Said::None(StatusCode::NOT_MODIFIED));
        }
        status @ (StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN) => {
            return Ok(Said::None(status));
        }
        status => {
            return Err(NoAnswer::Status {
                status,
                after: response.retry_after(),
            });
        }
    }
    if let Some(encoding) = response.encoding() {
        return Err(NoAnswer::Encoded(encoding.to_owned()));
    }
    let text = |name| response.header(name).map(str::to_owned);
    let validators = Validators {
        etag: text(header::ETAG),
        last_modified: text(header::LAST_MODIFIED),
    };
    let bytes = response.bytes_limited(most).await.map_err(NoAnswer::Failed)?;
    Ok(Said::Is(bytes, validators))
}

/// Asks until the server says what it has, for as long as there is patience.
pub(crate) async fn insist(gate: &Gate, url: &Url, most: u64, patience: Duration) -> anyhow::Result<Said> {
    let begun = Instant::now();
    let unknown = Validators::default();
    let asking = async {
        let mut trouble = match once(gate, url, (most, DOCUMENT_TIMEOUT), &unknown).await {
            Ok(said) => return Ok(said),
            Err(trouble) => trouble,
        };
        for times in 0.. {
            let (patience, elapsed) = (trouble.worth(patience), begun.elapsed());
            let Some(pause) = pause(times, elapsed, patience, trouble.after(), rand::random()) else {
                break;
            };
            if times == 0 {
                let rest = patience.saturating_sub(elapsed).as_secs_f64().ceil();
                eprintln!(
                    "note: {} cannot be had now: {trouble}; it is asked for again, for up to {rest} s",
                    gate::shown(url)
                );
            }
            tokio::time::sleep(pause).await;
            let left = patience.saturating_sub(begun.elapsed());
            let timeout = left.clamp(LAST_ANSWER, DOCUMENT_TIMEOUT);
            match once(gate, url, (most, timeout), &unknown).await {
                Ok(said) => return Ok(said),
                Err(other) => trouble = other,
            }
        }
        Err(trouble.into_error(url))
    };
    if patience.is_zero() {
        return asking.await;
    }
    tokio::select! {
        said = asking => said,
        () = interrupted() => Err(stopped(format!("interrupted while asking for {}", gate::shown(url)))),
    }
}

/// A document that must be there.
pub(crate) async fn fetch(gate: &Gate, url: &Url, most: u64, patience: Duration) -> anyhow::Result<Bytes> {
    match insist(gate, url, most, patience).await? {
        Said::Is(bytes, _) => Ok(bytes),
        Said::None(status) => Err(none(url, status)),
    }
}

/// That there is none, for whom there must be one.
pub(crate) fn none(url: &Url, status: StatusCode) -> anyhow::Error {
    anyhow::anyhow!("cannot fetch {}: the server answered {status}", gate::shown(url))
}

/// The pause before it is asked for once more, which ends within `patience` of the first time; `None` when none does. No two wait alike
/// (`chance` is from 0 to 1), and none shorter than the server said.
pub(crate) fn pause(
    times: u32,
    elapsed: Duration,
    patience: Duration,
    after: Option<Duration>,
    chance: f64,
) -> Option<Duration> {
    let half = PAUSES.0.saturating_mul(1 << times.min(8)).min(PAUSES.1) / 2;
    let pause = after.unwrap_or(half).saturating_add(half.mul_f64(chance));
    (elapsed.saturating_add(pause) <= patience).then_some(pause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_are_never_shorter_than_was_said_and_end_in_time() {
        let second = Duration::from_secs(1);
        let of = |times, elapsed: u32, after: Option<u32>, chance| {
            pause(
                times,
                second * elapsed,
                second * 60,
                after.map(|after| second * after),
                chance,
            )
        };
        for (times, longest) in [(0, 1), (1, 2), (2, 4), (4, 16), (5, 16), (u32::MAX, 16)] {
            assert_eq!(of(times, 0, None, 0.0), Some(second * longest / 2));
            assert_eq!(of(times, 0, None, 1.0), Some(second * longest));
        }
        assert_eq!(of(0, 0, Some(7), 0.0), Some(second * 7));
        assert!(of(0, 0, Some(7), 0.5).is_some_and(|pause| pause > second * 7));
        assert_eq!(of(0, 0, Some(61), 0.0), None);
        assert_eq!(of(0, 59, None, 1.0), Some(second));
        assert_eq!(of(1, 59, None, 1.0), None);
        assert_eq!(
            pause(0, second, Duration::MAX, Some(Duration::MAX), 1.0),
            Some(Duration::MAX)
        );
        assert_eq!(pause(0, Duration::ZERO, Duration::ZERO, None, 0.0), None);
    }
}
