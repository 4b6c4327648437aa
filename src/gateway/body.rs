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
use super::telling;
use super::waiting::{OneRead, Step};

/// Bytes of the first part, which somebody waits for, and of each later one.
const FIRST: usize = 16 << 10;
const PART: usize = 64 << 10;
/// Longest wait for the first part: until then it can still be said that it does not come.
const FIRST_WITHIN: Duration = Duration::from_secs(20);
/// How often it is looked at what is waited for: an origin in trouble is asked again, as whoever asks for something may know that it is back.
const LOOKED: Duration = Duration::from_millis(500);

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
    /// The next bytes, which may take so long. While they do not come, somebody is told.
    async fn read(&self, len: usize, within: Duration) -> io::Result<Bytes> {
        let (held, reading) = (Arc::clone(&self.held), Arc::clone(&self.reading));
        let (at, end, until) = (self.at, self.end, Instant::now() + within);
        let mut read = tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; len];
            let count = held.read(&reading, at, end, &mut buffer, until)?;
            buffer.truncate(count);
            Ok(buffer.into())
        });
        let mut one = OneRead::new(within);
        let read = loop {
            let look = tokio::time::sleep(LOOKED.min(within / 4));
            tokio::select! {
                biased;
                read = &mut read => break read,
                () = look => {}
            }
            let waits = self.reading.waits();
            let step = one.look(waits.map(|(_, since)| since.elapsed()));
            if step != Step::Nothing {
                self.held.torrent().ask_again();
            }
            if let (Step::AskAndTell, Some((offset, _))) = (step, waits) {
                self.gateway.tell_waiting(&self.held, offset);
            }
        };
        let read = read.unwrap_or_else(|error| Err(io::Error::other(error)));
        match &read {
            Ok(_) if one.is_told() => self.gateway.tell_going_on(&self.held),
            Ok(_) => {}
            Err(_) => {
                let late = self.reading.late().filter(|_| !one.is_told());
                if let Some(offset) = late {
                    self.gateway.tell_waiting(&self.held, offset);
                }
            }
        }
        read
    }

    /// The next part; `None` at the end.
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if self.at == self.end {
            return Ok(None);
        }
        let part = if let Some(first) = self.first.take() {
            first
        } else {
            let wait = self.gateway.settings.wait;
            let read = self.read(PART, wait).await;
            // As HTTP has it, the connection ends before what was promised is there.
            read.inspect_err(|error| self.gateway.tell_broken_off(&self.held, self.at, wait, error))?
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
    let within = FIRST_WITHIN.min(gateway.settings.wait);
    let first = sending.read(FIRST, within).await;
    sending.first = Some(first.map_err(|error| late(held, within, &error))?);
    Ok(Body::from_stream(stream::try_unfold(sending, Sending::next)))
}

/// Why nothing comes.
fn late(held: &Held, within: Duration, error: &io::Error) -> Refusal {
    let name = telling::shown(&held.what.source);
    let why = held.torrent().stats().problems.pop();
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    if error.kind() == io::ErrorKind::TimedOut {
        let seconds = within.as_secs_f64();
        let reason = format!("nothing of {name} came within {seconds} s{why}");
        return Refusal::new(StatusCode::GATEWAY_TIMEOUT, reason);
    }
    let reason = format!("cannot read {name}: {error}{why}");
    Refusal::new(StatusCode::BAD_GATEWAY, reason)
}
