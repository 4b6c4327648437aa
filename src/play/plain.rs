//! Playing content as it is: video, and whatever else nothing can be spliced into. It comes through the swarm all the same, by `grovesrc`.
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

use super::bookmark::Bookmark;
use super::keys::{Key, Keys, left, next_key};
use super::line::{Line, Status};
use super::stalled::Stalled;
use super::{STEP, explain, starts_after};
use crate::cli::{PlayArgs, PlaySink};
use crate::output::{ExitStatus, Outcome, interrupted, print_json};
use crate::rendition::Arriving;
use crate::units::human_time;

/// How long one read of the beginning may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often it is looked at.
const TICK: Duration = Duration::from_millis(200);

/// Plays the content of a torrent to its end, or until the person leaves.
pub(super) async fn play(
    args: &PlayArgs,
    torrent: &Torrent,
    bookmark: &Bookmark,
    (mut keys, mut line): (Option<Keys>, Line),
    json: bool,
) -> Outcome {
    let uri = format!("{}://{}", grovesrc::SCHEME, torrent.info_hash());
    let content: Arc<dyn Content> = Arc::new(Arriving::new(torrent));
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
        at: from,
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
            && args.start > Duration::ZERO
            && let Some(content) = seen.duration
            && args.start >= content
        {
            return Err(starts_after(args.start, content));
        }
        let waiting = seen.at == before && !player.is_paused() && !seen.ended;
        if json {
            print_json(
                &json!({ "event": "position", "at": seen.at.as_secs_f64(), "in_ad": false, "waiting": waiting }),
            );
        }
        let state = silence.wait_for_data(torrent, waiting, &line);
        let state = if player.is_paused() {
            Some("paused".to_owned())
        } else {
            state
        };
        let stats = torrent.stats();
        line.show(&Status {
            at: seen.at.since(ContentTime::ZERO),
            duration: seen.duration.unwrap_or_default(),
            have: stats.have_bytes,
            total: stats.total_bytes,
            peers: stats.peers,
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
