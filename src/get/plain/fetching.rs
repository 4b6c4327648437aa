//! The file of a URL as its server gives it: asked for again while the server is in trouble, from where it broke off where that is known to be the
//! same version, and else from its beginning.
//!
//! One task asks and reads; for each answer one thread writes what comes. What both say of it is in [`Seen`].
//!
//! Not for: where it goes (`out`), what an answer means (`answer`), for how long it is asked (`waiting`), or telling of it (`get::plain`).

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use engine::origin::page::begins_with_markup;
use engine::rate::Bucket;
use gate::{Response, Url, header};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::answer::{Asked, Comes, Head, comes, may_be_page};
use super::out::{Out, Part};
use super::waiting::Waiting;
use crate::asking::NoAnswer;
use crate::context::Context;
use crate::output::interrupted;
use crate::units::human_bytes;
use crate::validator::Validator;

/// So often what came is made to last.
const KEEP: Duration = Duration::from_secs(1);
/// Pieces of a body that wait to be written, and how long each is at most: a socket may have had more for long.
const WAITING: usize = 16;
const TURN: usize = 64 << 10;

/// How far it is.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) have: u64,
    pub(crate) kept: u64,
    pub(crate) total: Option<u64>,
    /// Whether the server has said in this run which version it has: before, what is here may be of another one.
    pub(crate) is_known: bool,
    /// Whether it says that it is a broadcast, which has no end.
    pub(crate) is_broadcast: bool,
    /// How often a version was begun: what was read of the one before is of no use.
    pub(crate) begun: u64,
    /// Bytes that came in this run, those included that came again.
    pub(crate) came: u64,
    /// Bytes that were thrown away.
    pub(crate) wasted: u64,
    /// When something new came last.
    pub(crate) since: Instant,
    /// Why nothing comes, and when it is given up.
    pub(crate) trouble: Option<(String, Instant)>,
}

/// How asking ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Whole,
    Interrupted,
}

/// Why an answer did not bring all of it.
enum Broke {
    Trouble(NoAnswer),
    Interrupted,
    Failed(anyhow::Error),
}

pub(crate) struct Fetching<'a> {
    context: &'a Context,
    url: &'a Url,
    out: Arc<Mutex<Out>>,
    seen: watch::Sender<Seen>,
    paused: watch::Receiver<bool>,
    down: Bucket,
    waiting: Waiting,
    /// Whether the server's parts fitted so far.
    has_ranges: bool,
    is_trouble_told: bool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Fetching<'a> {
    pub(crate) fn new(context: &'a Context, url: &'a Url, out: Out, paused: watch::Receiver<bool>) -> Self {
        let now = Instant::now();
        let seen = Seen {
            have: out.have(),
            kept: out.kept(),
            total: out.total(),
            is_known: false,
            is_broadcast: false,
            begun: 0,
            came: 0,
            wasted: 0,
            since: now,
            trouble: None,
        };
        Self {
            context,
            url,
            waiting: Waiting::new(out.have(), context.patience, now),
            out: Arc::new(Mutex::new(out)),
            seen: watch::Sender::new(seen),
            paused,
            down: Bucket::new(context.net.down),
            has_ranges: true,
            is_trouble_told: false,
        }
    }

    /// Where it goes; a writer may have it as long as an answer comes.
    pub(crate) fn out(&self) -> Arc<Mutex<Out>> {
        Arc::clone(&self.out)
    }

    /// How far it is, until it ends.
    pub(crate) fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Asks until all of it is here.
    pub(crate) async fn all(mut self) -> anyhow::Result<Ended> {
        loop {
            let broke = match self.once().await {
                Ok(true) => return Ok(Ended::Whole),
                Ok(false) => continue,
                Err(broke) => broke,
            };
            let waited = match broke {
                Broke::Trouble(trouble) => self.wait(trouble).await,
                other => Err(other),
            };
            match waited {
                Ok(()) => {}
                Err(Broke::Interrupted) => return Ok(Ended::Interrupted),
                Err(Broke::Trouble(trouble)) => return Err(self.given_up(trouble)),
                Err(Broke::Failed(error)) => return Err(error),
            }
        }
    }

    /// One request, and all that its answer brings. Whether the file is whole.
    async fn once(&mut self) -> Result<bool, Broke> {
        self.unless_paused().await?;
        let (have, total, validator) = {
            let out = locked(&self.out);
            (out.have(), out.total(), out.validator().cloned())
        };
        let validator = validator.filter(|_| have > 0 && self.has_ranges);
        let request = self.context.gate.get(self.url.clone());
        let mut request = request.header_text(header::ACCEPT_ENCODING, "identity");
        if let Some(validator) = &validator {
            request = request
                .header_text(header::RANGE, &format!("bytes={have}-"))
                .header_text(header::IF_RANGE, validator.text());
        }
        let sent = tokio::select! {
            sent = request.send() => sent,
            () = interrupted() => return Err(Broke::Interrupted),
        };
        let mut response = sent.map_err(|error| Broke::Trouble(NoAnswer::Failed(error)))?;
        let status = response.status();
        if gate::may_pass(status) {
            let after = response.retry_after();
            return Err(Broke::Trouble(NoAnswer::Status { status, after }));
        }
        let content_type = response.header(header::CONTENT_TYPE);
        let head = Head {
            status,
            length: response.content_length(),
            ..Head::default()
        };
        // Before anything is made of its length or coding: what is here must not be given up for it.
        if may_be_page(&head, content_type, self.url.path()) {
            let (after, is_coded) = (response.retry_after(), response.encoding().is_some());
            let begins = tokio::select! {
                begins = response.peek() => begins,
                () = interrupted() => return Err(Broke::Interrupted),
            };
            let begins = begins.map_err(|error| Broke::Trouble(NoAnswer::Failed(error)))?;
            if is_coded || begins_with_markup(begins) {
                return Err(Broke::Trouble(NoAnswer::Page { after }));
            }
        }
        let shown = gate::shown(self.url);
        if let Some(encoding) = response.encoding().filter(|_| status.is_success()) {
            return Err(Broke::Failed(anyhow::anyhow!(
                "cannot fetch {shown}: the server sends it in {encoding} (Content-Encoding), which was not asked for"
            )));
        }
        let (etag, modified) = (
            response.header(header::ETAG),
            response.header(header::LAST_MODIFIED),
        );
        let head = Head {
            status,
            length: response.content_length(),
            content_range: response.header(header::CONTENT_RANGE),
            etag,
            modified,
        };
        let asked = validator.as_ref().map(|validator| Asked {
            from: have,
            total,
            validator,
        });
        match comes(&head, asked) {
            Comes::All { total } => {
                let date = response.header(header::DATE);
                let version = Validator::of(etag, modified, date, SystemTime::now());
                if have > 0 {
                    self.begin_anew(have, validator.is_some())?;
                }
                let is_broadcast = total.is_none() && is_broadcast(&response);
                self.seen.send_modify(|seen| seen.is_broadcast = is_broadcast);
                let begin = Part::Begin(version, total);
                self.body(response, begin, (0, total)).await?;
                Ok(true)
            }
            Comes::More { end, total } => {
                self.body(response, Part::Total(total), (have, Some(end))).await?;
                Ok(end == total)
            }
            Comes::Anew => {
                tracing::info!(url = shown, %status, "the rest is of another version or place");
                self.has_ranges = false;
                Ok(false)
            }
            Comes::Nothing => Err(Broke::Failed(anyhow::anyhow!(
                "cannot fetch {shown}: the server answered {status}{}",
                if status.is_success() {
                    ", which is not the file that it was asked for"
                } else {
                    ""
                }
            ))),
        }
    }

    /// What is here is of no use any more.
    fn begin_anew(&mut self, have: u64, is_asked_for_rest: bool) -> Result<(), Broke> {
        let why = if is_asked_for_rest {
            "it has changed, or its server gives no parts"
        } else if self.has_ranges {
            "its server says nothing that would tell another version from it (no strong ETag, no Last-Modified)"
        } else {
            "the parts that its server gives do not fit"
        };
        let (shown, here) = (gate::shown(self.url), human_bytes(have));
        if locked(&self.out).is_stdout() {
            return Err(Broke::Failed(anyhow::anyhow!(
                "{shown} broke off after {here}, and cannot be gone on with: {why}"
            )));
        }
        eprintln!("note: {shown} is begun anew, and the {here} that are here are not used: {why}");
        self.seen.send_modify(|seen| {
            seen.wasted += have;
            seen.have = 0;
        });
        Ok(())
    }

    /// Writes what an answer brings: from `at` up to `end`, where that is known.
    async fn body(
        &mut self,
        mut response: Response,
        first: Part,
        (at, end): (u64, Option<u64>),
    ) -> Result<(), Broke> {
        // From here on the writer has it.
        let is_stdout = locked(&self.out).is_stdout();
        let (sender, parts) = mpsc::channel(WAITING);
        let (out, seen) = (Arc::clone(&self.out), self.seen.clone());
        let writing = tokio::task::spawn_blocking(move || pour(&out, parts, &seen));
        let came = self.receive(&mut response, first, (at, end), &sender).await;
        drop(sender);
        // A pipe that nobody reads would be waited for without end.
        if let Err(Broke::Interrupted) = came
            && is_stdout
        {
            return came;
        }
        let written = writing.await.context("writing the result");
        written.flatten().map_err(Broke::Failed)?;
        came
    }

    /// Hands over what comes, no faster than it may.
    async fn receive(
        &mut self,
        response: &mut Response,
        first: Part,
        (mut at, end): (u64, Option<u64>),
        to: &mpsc::Sender<Part>,
    ) -> Result<(), Broke> {
        let mut stop = pin!(interrupted());
        let mut keep = tokio::time::interval(KEEP);
        keep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The writer is gone only when it failed; its error is the one that matters.
        if to.send(first).await.is_err() {
            return Ok(());
        }
        loop {
            self.unless_paused().await?;
            let chunk = {
                let mut chunk = pin!(response.chunk());
                loop {
                    tokio::select! {
                        chunk = &mut chunk => break chunk,
                        () = &mut stop => return Err(Broke::Interrupted),
                        // When there is no room the writer is busy, and is told the next time.
                        _ = keep.tick() => drop(to.try_send(Part::Keep)),
                    }
                }
            };
            let chunk = chunk.map_err(|error| Broke::Trouble(NoAnswer::Failed(error)))?;
            let Some(chunk) = chunk else {
                return match end {
                    Some(of) if at < of => Err(Broke::Trouble(NoAnswer::Short { have: at, of })),
                    _ => Ok(()),
                };
            };
            let bytes = chunk.len() as u64;
            at += bytes;
            if end.is_some_and(|end| at > end) {
                let shown = gate::shown(self.url);
                return Err(Broke::Failed(anyhow::anyhow!(
                    "cannot fetch {shown}: the server sends more than it said"
                )));
            }
            let is_new = self.waiting.have(at, Instant::now());
            self.seen.send_modify(|seen| {
                seen.came += bytes;
                if is_new {
                    seen.since = Instant::now();
                    seen.trouble = None;
                }
            });
            let handed = async {
                let mut rest = chunk;
                while !rest.is_empty() {
                    let next = rest.split_to(rest.len().min(TURN));
                    self.down.pass(next.len() as u64).await;
                    to.send(Part::Bytes(next)).await?;
                }
                Ok::<_, mpsc::error::SendError<Part>>(())
            };
            tokio::select! {
                handed = handed => if handed.is_err() {
                    return Ok(());
                },
                () = &mut stop => return Err(Broke::Interrupted),
            }
        }
    }

    /// Waits as long as a person wants.
    async fn unless_paused(&mut self) -> Result<(), Broke> {
        if !*self.paused.borrow() {
            return Ok(());
        }
        tokio::select! {
            // Its other end is there as long as the command is.
            _ = self.paused.wait_for(|paused| !paused) => {}
            () = interrupted() => return Err(Broke::Interrupted),
        }
        self.waiting.was_paused(Instant::now());
        self.seen.send_modify(|seen| seen.since = Instant::now());
        Ok(())
    }

    /// Waits before the server is asked again, or gives the trouble back when that is given up.
    async fn wait(&mut self, trouble: NoAnswer) -> Result<(), Broke> {
        let now = Instant::now();
        let Some((pause, until)) = self.waiting.pause(&trouble, now, rand::random()) else {
            return Err(Broke::Trouble(trouble));
        };
        if std::mem::replace(&mut self.is_trouble_told, true) {
            tracing::info!("{trouble}");
        } else {
            eprintln!(
                "note: {} cannot be had now: {trouble}; it is asked for again, for up to {} s without anything new",
                gate::shown(self.url),
                (until - now).as_secs_f64().ceil()
            );
        }
        let why = (trouble.to_string(), until);
        self.seen.send_modify(|seen| seen.trouble = Some(why));
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            () = interrupted() => Err(Broke::Interrupted),
        }
    }

    fn given_up(&self, trouble: NoAnswer) -> anyhow::Error {
        let (have, total) = {
            let out = locked(&self.out);
            (out.have(), out.total())
        };
        let error = trouble.into_error(self.url);
        match total {
            _ if have == 0 => error,
            Some(total) => error.context(format!(
                "only {} of {} are here",
                human_bytes(have),
                human_bytes(total)
            )),
            None => error.context(format!("only {} are here", human_bytes(have))),
        }
    }
}

/// Whether an answer is one of internet radio: servers of it (Icecast, SHOUTcast) name the station, its genre and rate in headers of their own.
fn is_broadcast(response: &Response) -> bool {
    let mut names = response.headers().keys();
    names.any(|name| name.as_str().starts_with("icy-"))
}

/// Writes what one answer brings, to its end.
fn pour(out: &Mutex<Out>, mut parts: mpsc::Receiver<Part>, seen: &watch::Sender<Seen>) -> anyhow::Result<()> {
    let mut out = locked(out);
    loop {
        let part = parts.blocking_recv();
        let is_end = part.is_none();
        let (begins, is_head) = match part {
            Some(Part::Begin(..)) => (1, true),
            Some(Part::Total(_)) => (0, true),
            _ => (0, false),
        };
        out.take(part.unwrap_or(Part::Keep))?;
        seen.send_modify(|seen| {
            (seen.have, seen.kept, seen.total) = (out.have(), out.kept(), out.total());
            seen.begun += begins;
            seen.is_known |= is_head;
        });
        if is_end {
            return Ok(());
        }
    }
}
