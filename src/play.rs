//! `grove play`: plays while it downloads, with the ads of a frozen rendition; what is reported is what was presented.
//!
//! Beacons are stored as things are presented, so that a client that is killed loses none of them.
//!
//! Not for: the pipeline and what counts as presented (`ad_splicer::play`).

mod bookmark;
mod keys;
mod line;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ad_splicer::beacons::{Basis, Beacon, Event, Occurrence, Queue, UnixMillis, played, progress_offsets};
use ad_splicer::content::Content;
use ad_splicer::cues::BreakEvent;
use ad_splicer::plan::{AdIndex, Place};
use ad_splicer::play::{AdStatus, Notice, Outcome as Ended, PlayEvent, Player, Presented, Request, Timeline};
use ad_splicer::splice::Rendition;
use ad_splicer::time::{ContentTime, PresentationTime};
use anyhow::Context as _;
use engine::node::Torrent;
use serde_json::json;

use self::bookmark::Bookmark;
use self::keys::{Key, Keys, next_key};
use self::line::{AdLine, Line, Status};
use crate::beacons::{self, Playback};
use crate::breaks::{Prepared, Ready, Spot};
use crate::cli::{PlayArgs, PlaySink};
use crate::context::Context;
use crate::get;
use crate::output::{ExitStatus, Explain, Outcome, bad_input, interrupted, print_json};
use crate::rendition::{self, Arriving};
use crate::source::{Resolved, resolve};
use crate::units::human_time;

/// A frozen rendition over content that is still arriving.
struct Frozen {
    rendition: Rendition,
    content: Arc<dyn Content>,
}

impl Content for Frozen {
    fn len(&self) -> u64 {
        self.rendition.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], deadline: Duration) -> io::Result<usize> {
        self.rendition
            .read_at(self.content.as_ref(), offset, buffer, deadline)
    }
}

/// Plays one source.
pub(crate) async fn run(args: &PlayArgs, json: bool) -> Outcome {
    let context = Context::new(&args.net)?;
    get::trust_typed(&context, &args.swarm);
    let found = match resolve(&context, None, &args.source, args.episode.episode.as_deref()).await? {
        Resolved::Torrent(found) => found,
        Resolved::Plain(url) => {
            return Err(bad_input(format!("there is no .torrent beside {url}")))
                .hint(|| format!("`grove get {url}` fetches it as it is"));
        }
    };
    if !found.metainfo.is_single_file() {
        return Err(bad_input(format!(
            "{} is a folder of several files, which cannot be played as one",
            found.metainfo.name()
        )))
        .hint(|| "`grove get SOURCE --file PATTERN` fetches what you name of it".into());
    }
    let node = crate::node::start(&context, json).await?;
    let torrent = node
        .add(found.metainfo.clone(), get::add_options(&args.swarm, &found))
        .await?;
    let prepared = tokio::select! {
        prepared = Listening::prepare(&context, args, &found, &torrent) => prepared.map(Some),
        () = interrupted() => Ok(None),
    };
    let played = match prepared {
        Ok(Some(listening)) => listening.play(args, json).await,
        Ok(None) => Ok(ExitStatus::Interrupted),
        Err(error) => Err(error),
    };
    // Stopping the torrent ends the reads that are still under way.
    torrent.stop().await;
    beacons::drain(&context).await;
    node.stop().await;
    played
}

/// An ad of the rendition: which one it is to the splicer and the player, and what it is.
struct Placed {
    index: AdIndex,
    ready: Ready,
}

/// A rendition that is about to be heard.
struct Listening<'a> {
    torrent: &'a Torrent,
    frozen: Arc<Frozen>,
    timeline: Timeline,
    ads: Vec<Placed>,
    /// The breaks that have ads, as the splicer numbers them.
    spots: Vec<Spot>,
    playback: Playback,
    queue: Queue,
    bookmark: Bookmark,
}

impl<'a> Listening<'a> {
    async fn prepare(
        context: &Context,
        args: &PlayArgs,
        found: &crate::source::Torrent,
        torrent: &'a Torrent,
    ) -> anyhow::Result<Self> {
        let info_hash = found.metainfo.info_hash_v2();
        let playback = Playback::new(&info_hash.to_string());
        let prepared = if args.swarm.no_ads {
            Prepared::default()
        } else {
            get::prepare(context, found, torrent, args.freeze).await?
        };
        let spots = prepared.spots.clone();
        let content: Arc<dyn Content> = Arc::new(Arriving::new(torrent));
        let reading = content.clone();
        let made = tokio::task::spawn_blocking(move || rendition::freeze(reading.as_ref(), prepared))
            .await
            .context("preparing")??;
        for skipped in &made.skipped {
            let others = made
                .ready
                .iter()
                .any(|(ready, _)| ready.break_id == skipped.break_id);
            eprintln!("{}", skipped.sentence(others));
        }
        beacons::store_failures(context, &playback, &made.failures, Basis::Played).await;
        // The splicer numbers the breaks that have ads; its report says which ad is which.
        let ads: Vec<Placed> = made
            .rendition
            .report()
            .ads
            .iter()
            .filter_map(|ad| {
                let (ready, _) = made.ready.iter().find(|(ready, _)| ready.key == ad.id)?;
                Some(Placed {
                    index: ad.index,
                    ready: ready.clone(),
                })
            })
            .collect();
        let mut timeline = Timeline::of(made.rendition.plan());
        for slot in timeline.ads_mut() {
            if let Some(Placed { ready, .. }) = ads.iter().find(|ad| ad.index == slot.index) {
                slot.progress = progress_offsets(&ready.ad, slot.duration);
                slot.skip_after = ready.ad.skip_offset.map(|offset| offset.resolve(slot.duration));
            }
        }
        Ok(Listening {
            torrent,
            frozen: Arc::new(Frozen {
                rendition: made.rendition,
                content,
            }),
            timeline,
            ads,
            spots,
            playback,
            queue: Queue::open(&context.ads_db()).await?,
            bookmark: Bookmark::of(context, &info_hash),
        })
    }

    fn rendition(&self) -> &Rendition {
        &self.frozen.rendition
    }

    /// Where playback begins: what was asked for, or where it was left.
    fn start(&self, args: &PlayArgs) -> anyhow::Result<PresentationTime> {
        if !args.resume {
            return Ok(PresentationTime::from(args.start));
        }
        let plan = self.rendition().plan();
        Ok(match self.bookmark.load()? {
            // At the very beginning an ad may stand before the content.
            None | Some(ContentTime::ZERO) => PresentationTime::ZERO,
            Some(place) => {
                let sample = place.to_samples(plan.sample_rate());
                PresentationTime::from_samples(
                    plan.content_to_presentation_or_next(sample),
                    plan.sample_rate(),
                )
            }
        })
    }

    /// The content time to go on from when playback is left at `at`. Who leaves during an ad comes back to before that break.
    fn content_time(&self, at: PresentationTime) -> ContentTime {
        match self.rendition().plan().at(at) {
            Place::Content(time) | Place::Pad(time) => time,
            Place::Ad(index, _) => {
                let ads = &self.rendition().report().ads;
                let cue = ads.iter().find(|ad| ad.index == index).map(|ad| ad.content);
                let before = cue
                    .unwrap_or(ContentTime::ZERO)
                    .as_nanos()
                    .saturating_sub(1_000_000);
                ContentTime::from_nanos(before)
            }
        }
    }

    async fn play(self, args: &PlayArgs, json: bool) -> Outcome {
        let duration = self.rendition().report().duration;
        let player = Player::start(Request {
            media: self.frozen.clone(),
            codec: self.rendition().codec(),
            timeline: self.timeline.clone(),
            start: self.start(args)?,
            duration: Some(duration),
            sink: match args.sink {
                PlaySink::Auto => ad_splicer::play::Sink::Auto,
                PlaySink::Null => ad_splicer::play::Sink::Null,
            },
            read_deadline: Duration::from_secs(60),
        })?;
        let controls = player.controls();
        let (notices, mut hear) = tokio::sync::mpsc::channel(64);
        // The player tells a thread; it ends after the last notice, or when nobody hears it any more.
        let telling = tokio::task::spawn_blocking(move || {
            for notice in player.notices() {
                if notices.blocking_send(notice).is_err() {
                    break;
                }
            }
        });
        let mut keys = if json { None } else { Keys::open()? };
        let mut line = Line::new(json, keys.is_some());
        let mut interrupt = std::pin::pin!(interrupted());
        let mut stopped_with = ExitStatus::Done;
        let mut paused = false;
        let mut playing_ad = None;
        let mut saved = None;
        let ended = loop {
            let notice = tokio::select! {
                notice = hear.recv() => notice.context("the player broke off")?,
                key = next_key(&mut keys) => {
                    match key {
                        Key::Quit => controls.stop(),
                        Key::Skip => controls.skip(),
                        Key::Pause => {
                            paused = !paused;
                            if paused { controls.pause() } else { controls.resume() }
                        }
                        Key::ClickThrough => self.click(playing_ad, &line).await?,
                    }
                    continue;
                }
                () = &mut interrupt, if stopped_with == ExitStatus::Done => {
                    stopped_with = ExitStatus::Interrupted;
                    controls.stop();
                    continue;
                }
            };
            match notice {
                Notice::Presented(presented) => {
                    self.report(&presented).await?;
                    if json {
                        self.print(&presented);
                    }
                }
                Notice::Position { at, ad, waiting } => {
                    playing_ad = ad;
                    if json {
                        print_json(
                            &json!({ "event": "position", "at": at.as_secs_f64(), "in_ad": ad.is_some(), "waiting": waiting }),
                        );
                    }
                    line.show(&self.status(at, duration, ad, waiting && !paused, paused));
                    let second = at.as_nanos() / 5_000_000_000;
                    if saved != Some(second) {
                        saved = Some(second);
                        self.bookmark.save(self.content_time(at))?;
                    }
                }
                Notice::Ended { at, outcome } => break (at, outcome),
            }
        };
        drop(hear);
        telling.await.context("playing")?;
        drop(keys);
        line.finish();
        let (at, outcome) = ended;
        match outcome {
            Ended::Finished => self.bookmark.remove()?,
            Ended::Stopped => self.bookmark.save(self.content_time(at))?,
            Ended::Failed(error) => return Err(error.into()),
        }
        if json {
            print_json(
                &json!({ "event": "done", "at": at.as_secs_f64(), "duration": duration.as_secs_f64() }),
            );
        } else {
            eprintln!(
                "played to {} of {}",
                human_time(at.since(PresentationTime::ZERO)),
                human_time(duration)
            );
        }
        Ok(stopped_with)
    }

    fn find(&self, wanted: AdIndex) -> Option<&Ready> {
        let placed = self.ads.iter().find(|ad| ad.index == wanted)?;
        Some(&placed.ready)
    }

    /// What is known when the status line is drawn.
    fn status(
        &self,
        at: PresentationTime,
        duration: Duration,
        ad: Option<AdStatus>,
        waiting: bool,
        paused: bool,
    ) -> Status {
        let stats = self.torrent.stats();
        Status {
            at: at.since(PresentationTime::ZERO),
            duration,
            have: stats.have_bytes,
            total: stats.total_bytes,
            peers: stats.peers,
            state: match (paused, waiting) {
                (true, _) => Some("paused"),
                (false, true) => Some("waiting for data"),
                (false, false) => None,
            },
            ad: ad.map(|ad| {
                let what = self.find(ad.index).map(|ready| &ready.ad);
                AdLine {
                    number: ad.number,
                    count: ad.count,
                    remaining: ad.remaining,
                    advertiser: what.and_then(|ad| ad.advertiser.clone().or_else(|| ad.title.clone())),
                    skippable: ad.skippable,
                    opens: what.is_some_and(|ad| ad.click_through.is_some()),
                }
            }),
        }
    }

    /// Stores what is to be reported of something that was presented or done.
    async fn report(&self, presented: &Presented) -> anyhow::Result<()> {
        let beacons = match presented.event {
            PlayEvent::BreakStart { break_index } => self.of_break(break_index, BreakEvent::BreakStart),
            PlayEvent::BreakEnd { break_index } => self.of_break(break_index, BreakEvent::BreakEnd),
            _ => occurrence(presented, &self.timeline)
                .map_or_else(Vec::new, |(index, event, at)| self.of_ad(index, event, at)),
        };
        if !beacons.is_empty() {
            self.queue.store(&beacons).await?;
        }
        Ok(())
    }

    fn of_break(&self, number: usize, event: BreakEvent) -> Vec<Beacon> {
        let first = self.ads.iter().find(|ad| ad.index.break_index == number);
        let spot = self.spots.get(number);
        spot.zip(first).map_or_else(Vec::new, |(spot, first)| {
            beacons::of_break(&self.playback, &spot.cue, &first.ready, event)
        })
    }

    fn of_ad(&self, index: AdIndex, event: Event, ad_time: Duration) -> Vec<Beacon> {
        let Some(ready) = self.find(index) else {
            return Vec::new();
        };
        let all = self.ads.iter().map(|ad| &ad.ready);
        let session = self.playback.session(ready, beacons::pod_length(ready, all));
        let happened = Occurrence {
            event,
            at: UnixMillis::now(),
            ad_time,
        };
        played(&session, &ready.ad, ready.duration, happened)
    }

    fn print(&self, presented: &Presented) {
        let Some((index, event, _)) = occurrence(presented, &self.timeline) else {
            return;
        };
        let break_id = self.find(index).map(|ready| &ready.break_id);
        print_json(&json!({ "event": event.name(), "break": break_id, "at": presented.at.as_secs_f64() }));
    }

    /// Opens what the ad that plays now leads to, and stores that it was opened.
    async fn click(&self, ad: Option<AdStatus>, line: &Line) -> anyhow::Result<()> {
        let Some((ad, ready)) = ad.and_then(|ad| Some((ad, self.find(ad.index)?))) else {
            return Ok(());
        };
        let Some(url) = &ready.ad.click_through else {
            return Ok(());
        };
        if !open_in_browser(url) {
            line.say(url);
        }
        let beacons = self.of_ad(ad.index, Event::ClickThrough, ad.elapsed);
        if !beacons.is_empty() {
            self.queue.store(&beacons).await?;
        }
        Ok(())
    }
}

/// Hands a URL to the desktop; `false` when there is none.
fn open_in_browser(url: &str) -> bool {
    let desktop = ["DISPLAY", "WAYLAND_DISPLAY"];
    if desktop.iter().all(|name| std::env::var_os(name).is_none()) {
        return false;
    }
    let null = std::process::Stdio::null;
    tokio::process::Command::new("xdg-open")
        .arg(url)
        .stdin(null())
        .stdout(null())
        .stderr(null())
        .spawn()
        .is_ok()
}

/// What a presented event is for beacons: which ad, which event, and how far into the ad.
fn occurrence(presented: &Presented, timeline: &Timeline) -> Option<(AdIndex, Event, Duration)> {
    let (index, event) = match presented.event {
        // The impression is reported together with the start.
        PlayEvent::Impression(_) | PlayEvent::BreakStart { .. } | PlayEvent::BreakEnd { .. } => return None,
        PlayEvent::Start(index) => (index, Event::Start),
        PlayEvent::FirstQuartile(index) => (index, Event::FirstQuartile),
        PlayEvent::Midpoint(index) => (index, Event::Midpoint),
        PlayEvent::ThirdQuartile(index) => (index, Event::ThirdQuartile),
        PlayEvent::Complete(index) => (index, Event::Complete),
        PlayEvent::Skip(index) => (index, Event::Skip),
        PlayEvent::Pause(index) => (index, Event::Pause),
        PlayEvent::Resume(index) => (index, Event::Resume),
        PlayEvent::Progress { ad, point } => {
            let slot = timeline.ads().iter().find(|slot| slot.index == ad)?;
            (ad, Event::Progress(*slot.progress.get(point)?))
        }
    };
    let slot = timeline.ads().iter().find(|slot| slot.index == index)?;
    Some((index, event, presented.at.since(slot.start)))
}
