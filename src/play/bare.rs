//! Playing media without a `.torrent`: it comes from its web server as `grove get` fetches it, and is played while it comes.
//!
//! It comes in order, so that what a player asks for further on is waited for. What came is kept as that of `get` is: either goes on with it.
//!
//! Not for: ads, which nothing vouches for here; how it is fetched (`get::plain`); how it is played (`plain`).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ad_splicer::content::Content;
use anyhow::Context as _;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

use super::bookmark::Bookmark;
use super::keys::{Keys, left};
use super::line::Line;
use super::plain::{self, From, Playing};
use crate::cli::PlayArgs;
use crate::context::Context;
use crate::get::plain::fetching::{Ended, Fetching, Seen};
use crate::get::plain::out::Out;
use crate::output::{ExitStatus, Outcome, bad_input, with_hint};
use crate::partial::Partial;
use crate::source::Bare;
use crate::units::human_bytes;

/// So many bytes of what does not say how long it is are taken, so that a stream without an end does not fill the disk.
const MOST_UNMEASURED: u64 = 2_000_000_000;

/// Plays it to its end, or until the person leaves.
pub(super) async fn play(
    context: &Context,
    args: &PlayArgs,
    bare: &Bare,
    (keys, line): (Option<Keys>, Line),
    json: bool,
) -> Outcome {
    if args.swarm.no_origin && args.swarm.no_peers {
        return Err(bad_input(
            "with --no-origin and --no-peers there is nobody left to ask",
        ));
    }
    line.say(&format!(
        "note: {bare}; it is played as it is, without ads, and cannot be verified or shared"
    ));
    let (data, url) = (context.data.clone(), bare.url.clone());
    let opening = tokio::task::spawn_blocking(move || Partial::open(&data, &url));
    let partial = opening.await.context("looking for what is here")??;
    let file = partial.reader()?;
    // Nobody pauses it: what is not heard yet may come meanwhile.
    let (_running, paused) = watch::channel(false);
    let fetching = Fetching::new(context, &bare.url, Out::Kept(partial), paused);
    let out = fetching.out();
    let played = through(context, args, (bare, file), fetching, (keys, line), json).await;
    let leaving = tokio::task::spawn_blocking(move || leave(&out));
    leaving.await.context("keeping what was fetched")?;
    played
}

/// Plays it while it comes.
async fn through(
    context: &Context,
    args: &PlayArgs,
    (bare, file): (&Bare, File),
    fetching: Fetching<'_>,
    (mut keys, line): (Option<Keys>, Line),
    json: bool,
) -> Outcome {
    let seen = fetching.seen();
    let mut coming = pin!(fetching.all());
    let mut ended = None;
    let mut first = seen.clone();
    tokio::select! {
        fetched = &mut coming => ended = Some(fetched),
        _ = first.wait_for(|seen| seen.is_known) => {}
        status = left(&mut keys) => return Ok(status),
    }
    if ended.is_none() && seen.borrow().total.is_none() {
        if seen.borrow().is_broadcast {
            return Err(endless(bare, "it is a broadcast (internet radio)"));
        }
        line.say("note: its server does not say how long it is, so it is played when all of it is here");
        tokio::select! {
            fetched = &mut coming => ended = Some(fetched),
            is_too_long = is_too_long(&mut first, MOST_UNMEASURED) => if is_too_long {
                let why = format!("{} of it came without an end", human_bytes(MOST_UNMEASURED));
                return Err(endless(bare, &why));
            },
            status = left(&mut keys) => return Ok(status),
        }
    }
    match ended {
        Some(Err(error)) => return Err(error),
        Some(Ok(Ended::Interrupted)) => return Ok(ExitStatus::Interrupted),
        Some(Ok(Ended::Whole)) | None => {}
    }
    let mut is_over = ended.is_some();
    let version = seen.borrow().begun;
    let content: Arc<dyn Content> = Arc::new(Coming::new(file, seen.clone()));
    let playing = Playing {
        name: "plain".to_owned(),
        content,
        from: From::Server(&seen),
    };
    let bookmark = Bookmark::of_url(context, &bare.url);
    let mut playing = pin!(plain::play(args, playing, &bookmark, (keys, line), json));
    let mut failed = None;
    loop {
        tokio::select! {
            played = &mut playing => return match (played, failed) {
                // It stood still for want of what could not be fetched.
                (Err(_), Some(error)) => Err(error),
                // A player says no more than that it cannot read.
                (Err(_), None) if seen.borrow().begun != version => Err(anyhow::anyhow!(
                    "cannot go on playing {}: it has changed on its server since playing began",
                    gate::shown(&bare.url)
                )),
                (played, None) => played,
                (Ok(status), Some(_)) => Ok(status),
            },
            // What is here plays on.
            fetched = &mut coming, if !is_over => {
                is_over = true;
                failed = fetched.err();
            }
        }
    }
}

/// Waits until it is known how long it is (false), or so much came that it may have no end.
async fn is_too_long(seen: &mut watch::Receiver<Seen>, most: u64) -> bool {
    let known = seen
        .wait_for(|seen| seen.total.is_some() || seen.have > most)
        .await;
    match known {
        Ok(seen) => seen.total.is_none(),
        // Fetching is over, which tells by itself how.
        Err(_closed) => std::future::pending().await,
    }
}

/// What has no end is never all here.
fn endless(bare: &Bare, why: &str) -> anyhow::Error {
    let url = gate::shown(&bare.url);
    with_hint(
        bad_input(format!(
            "cannot play {url}: {why}, and what is played here has an end"
        )),
        "`grove get URL -o -` gives what comes to a player that reads it from a pipe",
    )
}

/// Keeps what came for the next time. Where that fails it is fetched again.
fn leave(out: &Mutex<Out>) {
    let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
    if let Out::Kept(partial) = &mut *out
        && let Err(error) = partial.leave()
    {
        tracing::warn!("what was fetched is not kept: {error:#}");
    }
}

/// One version of a file, while it comes.
struct Coming {
    file: File,
    seen: watch::Receiver<Seen>,
    begun: u64,
    len: u64,
    runtime: Handle,
}

impl Coming {
    /// The version that is known now, of known length or all here.
    fn new(file: File, seen: watch::Receiver<Seen>) -> Self {
        let (begun, len) = {
            let seen = seen.borrow();
            (seen.begun, seen.total.unwrap_or(seen.have))
        };
        Self {
            file,
            seen,
            begun,
            len,
            runtime: Handle::current(),
        }
    }

    fn changed() -> io::Error {
        io::Error::other("the file has changed on its server since playing began")
    }
}

impl Content for Coming {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], deadline: Duration) -> io::Result<usize> {
        if offset >= self.len || buffer.is_empty() {
            return Ok(0);
        }
        let mut seen = self.seen.clone();
        let have = self.runtime.block_on(async {
            let comes = seen.wait_for(|seen| seen.begun != self.begun || seen.have > offset);
            match timeout(deadline, comes).await {
                Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
                Ok(Err(_closed)) => Err(io::Error::other("the rest of it could not be fetched")),
                Ok(Ok(seen)) if seen.begun != self.begun => Err(Self::changed()),
                Ok(Ok(seen)) => Ok(seen.have.min(self.len)),
            }
        })?;
        let here = usize::try_from(have - offset).unwrap_or(usize::MAX);
        let most = buffer.len().min(here);
        let count = self.file.read_at(&mut buffer[..most], offset)?;
        // Another version may have begun meanwhile, of which these bytes may be; or nothing is here of it yet.
        if count == 0 || self.seen.borrow().begun != self.begun {
            return Err(Self::changed());
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test]
    async fn what_has_no_end_is_not_waited_for() {
        let (tell, mut seen) = watch::channel(Seen {
            have: 0,
            kept: 0,
            total: None,
            is_known: true,
            is_broadcast: false,
            begun: 1,
            came: 0,
            wasted: 0,
            since: Instant::now(),
            trouble: None,
        });
        tell.send_modify(|seen| seen.have = 11);
        assert!(is_too_long(&mut seen, 10).await);
        tell.send_modify(|seen| (seen.have, seen.total) = (10, Some(20)));
        assert!(!is_too_long(&mut seen, 10).await);
    }
}
