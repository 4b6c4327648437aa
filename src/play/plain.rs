//! Playing content as it is: video, and whatever else nothing can be spliced into. It comes through the swarm all the same, by `grovesrc`;
//! media without a `.torrent` comes from its web server (`bare`).
//!
//! Not for: ads, and what is reported of them.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ad_splicer::content::Content;
use ad_splicer::mended::mended;
use ad_splicer::play::plain::{Plain, Progress};
use ad_splicer::play::{Sink, grovesrc};
use ad_splicer::time::ContentTime;
use anyhow::Context as _;
use engine::node::Torrent;
use serde_json::json;
use tokio::sync::watch;

use super::bookmark::Bookmark;
use super::keys::{Key, Keys, left, next_key};
use super::line::{Line, Status};
use super::stalled::Stalled;
use super::{STEP, explain, starts_after};
use crate::cli::{PlayArgs, PlaySink};
use crate::get::plain::fetching::Seen;
use crate::output::{ExitStatus, Outcome, interrupted, print_json};
use crate::units::human_time;

/// How long one read of the beginning may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often it is looked at.
const TICK: Duration = Duration::from_millis(200);

/// What is played.
pub(super) struct Playing<'a> {
    /// What it is called in this process.
    pub(super) name: String,
    pub(super) content: Arc<dyn Content>,
    pub(super) from: From<'a>,
}

/// Where it comes from, which says how much of it is here.
#[derive(Clone, Copy)]
pub(super) enum From<'a> {
    Swarm(&'a Torrent),
    Server(&'a watch::Receiver<Seen>),
}

impl From<'_> {
    /// Bytes that are here, of how many; and peers.
    fn here(self) -> (u64, u64, Option<usize>) {
        match self {
            From::Swarm(torrent) => {
                let stats = torrent.stats();
                (stats.have_bytes, stats.total_bytes, Some(stats.peers))
            }
            From::Server(seen) => {
                let seen = seen.borrow();
                (seen.have, seen.total.unwrap_or(seen.have), None)
            }
        }
    }

    /// What it waits for when it does, in words.
    fn waits(self, waiting: bool, silence: &mut Stalled, line: &Line) -> Option<String> {
        match self {
            From::Swarm(torrent) => silence.wait_for_data(torrent, waiting, line),
            From::Server(seen) => waiting.then(|| match &seen.borrow().trouble {
                Some((why, _)) => format!("waiting for data: {why}"),
                None => "waiting for data".to_owned(),
            }),
        }
    }
}

/// Plays it to its end, or until the person leaves.
pub(super) async fn play(
    args: &PlayArgs,
    Playing {
        name,
        content,
        from: source,
    }: Playing<'_>,
    bookmark: &Bookmark,
    (mut keys, mut line): (Option<Keys>, Line),
    json: bool,
) -> Outcome {
    let uri = format!("{}://{name}", grovesrc::SCHEME);
    let ours = uri.clone();
    grovesrc::register(Arc::new(move |wanted| {
        if wanted == ours {
            Ok(mended(content.clone(), DEADLINE))
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }))
    .context("cannot make GStreamer read from the swarm")?;
    let from = bookmark.beginning(args.resume, args.start)?;
    let sink = match args.sink {
        PlaySink::Auto => Sink::Auto,
        PlaySink::Null => Sink::Null,
    };
    // It may wait for its first bytes.
    let starting = tokio::task::spawn_blocking(move || Plain::start(&uri, from, sink));
    let mut player = tokio::select! {
        started = starting => started.context("starting to play")?.map_err(explain)?,
        status = left(&mut keys) => return Ok(status),
    };
    let mut interrupt = std::pin::pin!(interrupted());
    let mut ticks = tokio::time::interval(TICK);
    let mut muted = false;
    let mut seen = Progress {
        at: player.begun(),
        duration: None,
        ended: false,
    };
    let mut silence = Stalled::new(Instant::now());
    let status = loop {
        tokio::select! {
            _ = ticks.tick() => {}
            key = next_key(&mut keys) => {
                match key {
                    Key::Quit => break ExitStatus::Done,
                    Key::Pause => player.pause(!player.is_paused()),
                    Key::Mute => {
                        muted = !muted;
                        player.mute(muted);
                    }
                    Key::Forward => player.seek(seen.at.saturating_add(STEP)),
                    Key::Back => player.seek(ContentTime::from_nanos(
                        seen.at.as_nanos().saturating_sub(STEP.as_nanos() as u64),
                    )),
                    // There are no ads.
                    Key::Skip | Key::ClickThrough => {}
                }
                continue;
            }
            () = &mut interrupt => break ExitStatus::Interrupted,
        }
        let before = seen.at;
        match player.poll() {
            Ok(progress) => seen = progress,
            Err(error) => {
                bookmark.save(before)?;
                return Err(explain(error));
            }
        }
        if !args.resume
            && args.start_time() > Duration::ZERO
            && let Some(content) = seen.duration
            && args.start_time() >= content
        {
            return Err(starts_after(args.start_time(), content));
        }
        let waiting = seen.at == before && !player.is_paused() && !seen.ended;
        if json {
            print_json(
                &json!({ "event": "position", "at": seen.at.as_secs_f64(), "in_ad": false, "waiting": waiting }),
            );
        }
        let state = source.waits(waiting, &mut silence, &line);
        let state = if player.is_paused() {
            Some("paused".to_owned())
        } else {
            state
        };
        let (have, total, peers) = source.here();
        line.show(&Status {
            at: seen.at.since(ContentTime::ZERO),
            duration: seen.duration.unwrap_or_default(),
            have,
            total,
            peers,
            state,
            muted,
            ad: None,
        });
        if seen.ended {
            break ExitStatus::Done;
        }
    };
    // Its threads may sit in a read: not in the way of anything else.
    tokio::task::spawn_blocking(move || drop(player))
        .await
        .context("stopping")?;
    drop(keys);
    line.finish();
    if seen.ended {
        bookmark.remove()?;
    } else {
        bookmark.save(seen.at)?;
    }
    let duration = seen.duration.unwrap_or_default();
    if json {
        print_json(
            &json!({ "event": "done", "at": seen.at.as_secs_f64(), "duration": duration.as_secs_f64() }),
        );
    } else {
        let at = seen.at.since(ContentTime::ZERO);
        eprintln!("played to {} of {}", human_time(at), human_time(duration));
    }
    Ok(status)
}
