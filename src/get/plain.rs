//! `grove get` of what has no `.torrent`: fetched as any program would, with nothing to verify it by.
//!
//! Not for: asking the server (`fetching`), where its bytes go (`out`), and what is kept of what is not whole (`partial`).

mod answer;
pub(crate) mod fetching;
mod name;
pub(crate) mod out;
mod waiting;

use std::convert::Infallible;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use engine::node::Ways;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::report::{ProgressLine, Report, tell};
use super::{destination, is_folder, tell_place};
use crate::cli::GetArgs;
use crate::context::Context;
use crate::files::can_write;
use crate::output::{ExitStatus, Explain as _, Outcome, Progress, print_json};
use crate::partial::Partial;
use crate::pausing::Running;
use crate::quiet::{Quiet, goes_on};
use crate::rendition::Destination;
use crate::results::{Results, check_name};
use crate::source::Bare;
use crate::units::human_bytes;
use fetching::{Ended, Fetching, Seen};
use name::name_of;
use out::Out;

/// Fetches a media URL.
pub(super) async fn plain(
    context: &Context,
    args: &GetArgs,
    running: &Running,
    bare: &Bare,
    json: bool,
) -> Outcome {
    let (started, url) = (Instant::now(), &bare.url);
    eprintln!("note: {bare}; it is fetched as it is, and cannot be verified or shared");
    let name = &name_of(url);
    let destination = destination(args.output.as_deref(), name);
    let results = Results::of(context, url.as_str());
    if let Destination::File(path) = &destination {
        tell_place(path, Some(name));
        if args.output.as_deref().is_none_or(is_folder) {
            check_name(name)?;
            results.may_replace(path, |_| false)?;
        }
        can_write(path)?;
    }
    let out = match &destination {
        Destination::File(_) => {
            let (data, url) = (context.data.clone(), url.clone());
            let opening = tokio::task::spawn_blocking(move || Partial::open(&data, &url));
            Out::Kept(opening.await.context("looking for what is here")??)
        }
        Destination::Stdout => Out::Stdout {
            bytes: 0,
            total: None,
            validator: None,
        },
    };
    let fetching = Fetching::new(context, url, out, running.paused());
    let (out, seen) = (fetching.out(), fetching.seen());
    let shown = Shown {
        name,
        json,
        is_stdout: matches!(destination, Destination::Stdout),
        progress: Progress::bytes(name, 0, json || matches!(destination, Destination::Stdout)),
    };
    let ended = tokio::select! {
        ended = fetching.all() => ended,
        never = shown.show(&seen, running.paused()) => match never {},
    };
    shown.progress.finish();
    let place = match (&destination, &ended) {
        (Destination::File(path), Ok(Ended::Whole)) => Some(path.clone()),
        _ => None,
    };
    let is_stdout = shown.is_stdout;
    let finishing = tokio::task::spawn_blocking(move || finish(&out, place.as_deref()));
    // Whoever writes to stdout may wait for a reader still.
    let kept = if is_stdout {
        None
    } else {
        finishing.await.context("writing the result")??
    };
    let seen = seen.borrow().clone();
    match ended {
        Ok(Ended::Whole) => {}
        Ok(Ended::Interrupted) => {
            tell_stopped(&seen, kept);
            return Ok(ExitStatus::Interrupted);
        }
        Err(error) if kept.is_some() => {
            return Err(error)
                .hint(|| "what was fetched is kept: the same command goes on from there".into());
        }
        Err(error) => return Err(error),
    }
    if let Destination::File(path) = &destination {
        tokio::task::block_in_place(|| results.made(path));
    }
    let report = Report {
        event: "complete",
        path: match destination {
            Destination::File(path) => Some(path),
            Destination::Stdout => None,
        },
        info_hash: None,
        bytes: seen.have,
        content_bytes: seen.have,
        from_origin: seen.came,
        from_peers: 0,
        wasted: seen.wasted,
        uploaded: 0,
        seconds: started.elapsed().as_secs_f64(),
        peers: 0,
        ways: Ways::default(),
        ads: Vec::new(),
        skipped: Vec::new(),
        sources: Vec::new(),
        files: None,
        noted: None,
    };
    if json {
        print_json(&report);
        print_json(&Report {
            event: "done",
            ..report
        });
    } else {
        tell(&report);
    }
    Ok(ExitStatus::Done)
}

/// Puts it in its place, or has the same command go on: from so many bytes, if from any.
fn finish(out: &Mutex<Out>, place: Option<&Path>) -> anyhow::Result<Option<u64>> {
    let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
    match (&mut *out, place) {
        (Out::Kept(partial), Some(to)) => {
            let placed = partial.place(to).map(|()| None);
            if placed.is_ok() {
                return placed;
            }
            if let Err(error) = partial.leave() {
                tracing::warn!("what was fetched is not kept: {error:#}");
            }
            if partial.kept() == 0 {
                return placed;
            }
            placed.hint(|| "what was fetched is kept: the same command goes on from there".into())
        }
        (Out::Kept(partial), None) => {
            // What cannot be kept is fetched again; why it is not whole is what is told.
            if let Err(error) = partial.leave() {
                tracing::warn!("what was fetched is not kept: {error:#}");
            }
            Ok(Some(partial.kept()).filter(|kept| *kept > 0))
        }
        (Out::Stdout { .. }, _) => Ok(None),
    }
}

fn tell_stopped(seen: &Seen, kept: Option<u64>) {
    let of = seen
        .total
        .map_or_else(String::new, |total| format!(" of {}", human_bytes(total)));
    match kept {
        Some(kept) => eprintln!(
            "stopped with {}{of} here; the same command goes on from there",
            human_bytes(kept)
        ),
        None => eprintln!(
            "stopped with {}{of}, of which nothing is kept",
            human_bytes(seen.have)
        ),
    }
}

/// Says how far it is.
struct Shown<'a> {
    name: &'a str,
    json: bool,
    is_stdout: bool,
    progress: Progress,
}

impl Shown<'_> {
    async fn show(&self, seen: &watch::Receiver<Seen>, paused: watch::Receiver<bool>) -> Infallible {
        let mut tick = tokio::time::interval(Duration::from_millis(if self.json { 1000 } else { 250 }));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut quiet, mut was_paused) = (Quiet::new(), false);
        let (mut last, mut came, mut rate) = (Instant::now(), 0, 0.0_f64);
        let mut resumed = last;
        loop {
            tick.tick().await;
            let (seen, now, is_paused) = (seen.borrow().clone(), Instant::now(), *paused.borrow());
            let passed = now.duration_since(last).as_secs_f64();
            if passed > 0.0 {
                // Over the last few seconds.
                let weight = 1.0 - (-passed / 2.0).exp();
                rate += ((seen.came - came) as f64 / passed - rate) * weight;
                (last, came) = (now, seen.came);
            }
            if self.json {
                print_json(&ProgressLine {
                    event: "progress",
                    info_hash: None,
                    have_bytes: seen.have,
                    kept_bytes: Some(seen.kept),
                    content_bytes: seen.total.unwrap_or(0),
                    from_origin: seen.came,
                    from_peers: 0,
                    wasted: seen.wasted,
                    uploaded: 0,
                    peers: 0,
                    ways: Ways::default(),
                    down_rate: rate as u64,
                    relay_refuses: None,
                    state: if is_paused { "paused" } else { "downloading" },
                });
            }
            if is_paused && !was_paused {
                eprintln!("paused: it was asked to");
            }
            was_paused = is_paused;
            if is_paused {
                resumed = now;
            }
            let silent = now.duration_since(seen.since.max(resumed));
            if quiet.is_told(silent) {
                self.tell_quiet(&seen, now);
            }
            let message = format!("{}/s", human_bytes(rate as u64));
            let total = seen.total.unwrap_or(0).max(seen.have);
            self.progress.set(seen.have, total, &message);
        }
    }

    fn tell_quiet(&self, seen: &Seen, now: Instant) {
        let trouble = seen.trouble.as_ref();
        let rest = trouble.map(|(_, until)| until.saturating_duration_since(now));
        let why = trouble.map_or_else(String::new, |(why, _)| format!(" (the latest trouble: {why})"));
        let kept = if seen.kept > 0 && !self.is_stdout {
            " and keeps what is here"
        } else {
            ""
        };
        eprintln!(
            "nothing of {} comes: its web server sends nothing now{why}; {}, Ctrl-C ends it{kept}",
            self.name,
            goes_on(rest)
        );
    }
}
