//! The body of an answer: bytes of a rendition, read as the connection takes them, so that a viewer who takes nothing has nothing fetched.
//!
//! One part is in memory at a time. When the connection goes, so does this, and with it the reading.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::Gateway;
use super::Slot;
use super::held::Held;
use super::reading::Reading;
use super::refusal::Refusal;

/// Bytes of the first part, which somebody waits for, and of each later one.
const FIRST: usize = 16 << 10;
const PART: usize = 64 << 10;
/// Longest wait for the first part: until then it can still be said that it does not come.
const FIRST_WITHIN: Duration = Duration::from_secs(20);

/// A body that is being sent.
struct Sending {
    gateway: Gateway,
    held: Arc<Held>,
    reading: Arc<Reading>,
    at: u64,
    end: u64,
    /// The first part, until it is sent.
    first: Option<Bytes>,
    /// Dropped with this: then nothing more is read.
    _here: watch::Sender<()>,
    /// Nobody else gets this rendition's place meanwhile.
    _slot: Arc<Slot>,
    _room: OwnedSemaphorePermit,
}

impl Sending {
    async fn read(&self, len: usize, until: Option<Instant>) -> io::Result<Bytes> {
        let (held, reading) = (Arc::clone(&self.held), Arc::clone(&self.reading));
        let (at, end) = (self.at, self.end);
        let read = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; len];
            let count = held.read(&reading, at, end, &mut buffer, until)?;
            buffer.truncate(count);
            Ok(buffer.into())
        });
        read.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// The next part; `None` at the end.
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.at == self.end {
            return Ok(None);
        }
        let part = match self.first.take() {
            Some(first) => first,
            None => self.read(PART, None).await.inspect_err(|error| {
                tracing::warn!(source = self.held.what.source, at = self.at, %error, "an answer breaks off");
            })?,
        };
        let sent = self.at..self.at + part.len() as u64;
        self.at = sent.end;
        if self.held.sent(sent) {
            self.gateway.delivered.notify_one();
        }
        Ok(Some((part, self)))
    }
}

/// The body that holds these bytes, which begin to be here.
pub(super) async fn body(
    gateway: &Gateway,
    (held, slot): (&Arc<Held>, &Arc<Slot>),
    bytes: Range<u64>,
) -> Result<Body, Refusal> {
    let room = Arc::clone(&gateway.bodies).try_acquire_owned().map_err(|_| {
        let reason = "too much is being read at once";
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, reason)
    })?;
    let (here, gone) = watch::channel(());
    let mut sending = Sending {
        gateway: gateway.clone(),
        held: Arc::clone(held),
        reading: Arc::new(held.reading(gone)),
        at: bytes.start,
        end: bytes.end,
        first: None,
        _here: here,
        _slot: Arc::clone(slot),
        _room: room,
    };
    let first = sending.read(FIRST, Some(Instant::now() + FIRST_WITHIN)).await;
    sending.first = Some(first.map_err(|error| late(held, &error))?);
    Ok(Body::from_stream(stream::try_unfold(sending, Sending::next)))
}

/// Why nothing comes.
fn late(held: &Held, error: &io::Error) -> Refusal {
    let name = &held.what.source;
    let why = held.torrent().stats().problems.pop();
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    if error.kind() == io::ErrorKind::TimedOut {
        let seconds = FIRST_WITHIN.as_secs();
        let reason = format!("nothing of {name} came within {seconds} s{why}");
        return Refusal::new(StatusCode::GATEWAY_TIMEOUT, reason);
    }
    let reason = format!("cannot read {name}: {error}{why}");
    Refusal::new(StatusCode::BAD_GATEWAY, reason)
}
