//! `grove play`: plays while it downloads; ads are decided for each break when its turn comes; what is reported is what was presented.
//!
//! A break that stands where playback begins is made ready before it begins, and one that is near it for some moments (`beginning`); each
//! later one while it plays (`ahead` says when), and is then spliced in ahead of the player ([`Growing`]). A break that is not ready in time stays empty, its ads are told why, and the content
//! plays on. Content that cannot grow has every break decided before playback begins.
//!
//! Beacons are stored as things are presented, so that a client that is killed loses none of them, and are sent from there beside playing
//! ([`Sending`]): no ad server holds it up.
//!
//! What nothing can be spliced into is played as it is (`plain`), and so is media without a `.torrent` (`bare`). Not for: the pipeline and what counts as presented (`ad_splicer::play`).

mod ahead;
mod bare;
mod beginning;
mod bookmark;
pub(crate) mod keys;
mod line;
mod plain;
mod preparing;
mod proof;
mod seek;
mod splicing;
mod stalled;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ad_splicer::beacons::{Beacon, Event, Occurrence, Queue, UnixMillis, account, played};
use ad_splicer::content::Content;
use ad_splicer::cues::BreakEvent;
use ad_splicer::decide::limits;
use ad_splicer::plan::{AdIndex, Place};
use ad_splicer::play::{
    AdStatus, Growing, Heard, Locate, Notice, Outcome as Ended, Pictures, PlayError, PlayEvent, Player,
    Presented, Request, Timeline,
};
use ad_splicer::splice::{Codec, Rendition, SpliceError};
use ad_splicer::time::{ContentTime, PresentationTime};
use anyhow::Context as _;
use engine::node::{AddOptions, Node, Torrent};
use serde_json::json;
use tokio::task::JoinSet;

use self::ahead::Ahead;
use self::bookmark::Bookmark;
use self::keys::{Key, Keys, left, next_key};
use self::line::{AdLine, Line, Status};
use self::proof::Proofs;
use self::seek::{Deferred, STEP};
use self::stalled::Stalled;
use crate::beacons::{self, Playback, Sending};
use crate::breaks::{Prepared, Preparer, Ready, Spot, Swarm};
use crate::cli::{PlayArgs, PlaySink};
use crate::context::Context;
use crate::joining;
use crate::output::{ExitStatus, Explain, Outcome, bad_input, interrupted, print_json, with_hint};
use crate::rendition::{self, Arriving, Frozen};
use crate::source::{Resolved, resolve};
use crate::units::human_time;

/// Plays one source.
pub(crate) async fn run(args: &PlayArgs, json: bool) -> Outcome {
    let context = Context {
        no_peers: args.swarm.no_peers,
        ..Context::new(&args.net)?
    };
    joining::trust_typed(&context, &args.swarm).await?;
    // Opened before anything is waited for, and listened to from then on.
    let mut keys = if json { None } else { Keys::open()? };
    let line = Line::new(json, keys.is_some());
    line.wait();
    let node = tokio::select! {
        node = crate::starting::start(&context, json) => Arc::new(node?),
        status = left(&mut keys) => return Ok(status),
    };
    // However it ends, those whom it told of us hear that we are gone.
    let played = through(&context, args, &node, (keys, line), json).await;
    node.stop().await;
    played
}

/// Plays it through this node.
async fn through(
    context: &Context,
    args: &PlayArgs,
    node: &Arc<Node>,
    (mut keys, line): (Option<Keys>, Line),
    json: bool,
) -> Outcome {
    let resolved = tokio::select! {
        resolved = resolve(context, Some(node), &args.swarm.peer, &args.source, args.episode.episode.as_deref()) => resolved?,
        status = left(&mut keys) => return Ok(status),
    };
    let found = match resolved {
        Resolved::Torrent(found) => found,
        Resolved::Plain(bare) => {
            let played = bare::play(context, args, &bare, (keys, line), json).await;
            beacons::drain(context).await;
            return played;
        }
    };
    if !found.metainfo.is_single_file() {
        return Err(bad_input(format!(
            "{} is a folder of several files, which cannot be played as one",
            found.metainfo.name()
        )))
        .hint(|| "`grove get SOURCE --file PATTERN` fetches what you name of it".into());
    }
    let creatives = (!args.swarm.no_peers).then(|| Swarm::new(context, Arc::clone(node)));
    let adding = async {
        let options = AddOptions {
            stalled: Some(stalled::GIVE_UP),
            ..joining::swarm_options(context, &args.swarm, &found).await?
        };
        let added = node.add(found.metainfo.clone(), options).await;
        added.map_err(crate::starting::explain)
    };
    let torrent = tokio::select! {
        added = adding => added?,
        status = left(&mut keys) => return Ok(status),
    };
    let sending = Sending::begin(context);
    let prepared = tokio::select! {
        prepared = Listening::prepare((context, &sending), args, &found, &torrent, creatives.clone()) => prepared.map(Ok),
        status = left(&mut keys) => Ok(Err(status)),
    };
    let played = match prepared {
        Ok(Ok(listening)) => listening.play(args, (keys, line), json).await,
        Ok(Err(status)) => {
            drop((keys, line));
            Ok(status)
        }
        Err(error) => {
            if let Some(SpliceError::NotAudio(why) | SpliceError::Unsupported(why)) = error.downcast_ref() {
                if !args.swarm.no_ads {
                    eprintln!("note: it is played without ads: {why}");
                }
                let bookmark = Bookmark::of(context, &found.metainfo.info_hash_v2());
                let content: Arc<dyn Content> = Arc::new(Arriving::new(&torrent));
                let playing = plain::Playing {
                    name: found.metainfo.info_hash_v2().to_string(),
                    content,
                    from: plain::From::Swarm(&torrent),
                };
                plain::play(args, playing, &bookmark, (keys, line), json).await
            } else {
                drop((keys, line));
                Err(error)
            }
        }
    };
    // Stopping the torrent ends the reads that are still under way.
    torrent.stop().await;
    sending.end().await;
    if let Some(creatives) = &creatives {
        creatives.end().await;
    }
    played
}

/// An ad of the rendition: which one it is to the splicer and the player, and what it is.
#[derive(Clone)]
struct Placed {
    index: AdIndex,
    ready: Ready,
}

/// Something that is done beside playing.
enum Work {
    /// A break was made ready, or was not.
    Prepared(usize, Prepared),
    /// A rendition with the ads of these keys was laid out.
    Frozen(HashSet<String>, anyhow::Result<Box<Frozen>>),
}

/// A rendition that is heard, and what becomes of it.
struct Listening<'a> {
    context: &'a Context,
    sending: &'a Sending,
    torrent: &'a Torrent,
    content: Arc<dyn Content>,
    /// Where playback begins.
    from: ContentTime,
    growing: Arc<Growing>,
    timeline: Timeline,
    /// The ads that are spliced in.
    ads: Vec<Placed>,
    /// The ads whose first frame was presented.
    begun: HashSet<AdIndex>,
    /// The breaks that have, or had, ads, as the splicer numbers them.
    spots: Vec<Spot>,
    /// Every ad that was made ready and may still be presented.
    ready: Vec<Ready>,
    preparer: Option<Preparer>,
    ahead: Ahead,
    /// A seek that waits for the ads of a break that it leads over.
    deferred: Option<Deferred>,
    work: JoinSet<Work>,
    /// A rendition is being laid out; and whether there is more to splice in since.
    freezing: bool,
    changed: bool,
    freeze: Duration,
    proofs: Option<Proofs>,
    playback: Playback,
    queue: Queue,
    bookmark: Bookmark,
}

impl Listening<'_> {
    async fn store(&self, beacons: &[Beacon]) -> anyhow::Result<()> {
        if !beacons.is_empty() {
            self.queue.store(beacons).await?;
            self.sending.stored();
        }
        Ok(())
    }

    fn rendition(&self) -> Arc<Rendition> {
        self.growing.rendition()
    }

    /// Whether the rendition's length is known, and not guessed from its first frames.
    fn is_measured(&self) -> bool {
        let rendition = self.rendition();
        !rendition.report().ads.is_empty() || !matches!(rendition.codec(), Codec::Mp3 | Codec::Adts)
    }

    /// How long the content is without ads.
    fn content_duration(&self) -> Duration {
        let rendition = self.rendition();
        let plan = rendition.plan();
        ContentTime::from_samples(plan.content_samples(), plan.sample_rate()).since(ContentTime::ZERO)
    }

    /// Where playback begins. At the very beginning an ad may stand before the content.
    fn start(&self) -> PresentationTime {
        if self.from == ContentTime::ZERO {
            return PresentationTime::ZERO;
        }
        let rendition = self.rendition();
        let plan = rendition.plan();
        let sample = self.from.to_samples(plan.sample_rate());
        PresentationTime::from_samples(plan.content_to_presentation_or_next(sample), plan.sample_rate())
    }

    /// The content time to go on from when playback is left at `at`. Who leaves during an ad comes back to before that break.
    fn content_time(&self, at: PresentationTime) -> ContentTime {
        let rendition = self.rendition();
        match rendition.plan().at(at) {
            Place::Content(time) | Place::Lead(time) | Place::Pad(time) => time,
            Place::Ad(index, _) => {
                let plan = rendition.plan();
                let cue = plan.cue(index).unwrap_or_default();
                just_before(ContentTime::from_samples(cue, plan.sample_rate()))
            }
        }
    }

    async fn play(
        mut self,
        args: &PlayArgs,
        (mut keys, mut line): (Option<Keys>, Line),
        json: bool,
    ) -> Outcome {
        let content = self.content_duration();
        if !args.resume
            && self.from.since(ContentTime::ZERO) >= content
            && args.start_time() > Duration::ZERO
            && self.is_measured()
        {
            self.leave().await;
            return Err(starts_after(args.start_time(), content));
        }
        let start = self.start();
        let finding = self.growing.clone();
        let locate: Arc<Locate> = Arc::new(move |to| finding.locate(to));
        let request = Request {
            media: self.growing.clone(),
            codec: self.rendition().codec(),
            timeline: self.timeline.clone(),
            start,
            duration: self.is_measured().then(|| self.rendition().report().duration),
            guessed: Some(self.rendition().report().duration),
            sink: match args.sink {
                PlaySink::Auto => ad_splicer::play::Sink::Auto,
                PlaySink::Null => ad_splicer::play::Sink::Null,
            },
            // Whether something may still come is the torrent's to say: then its readers are told.
            read_deadline: rendition::PATIENT.read_deadline,
            locate: Some(locate),
            timed: self.rendition().zero().is_some(),
        };
        // It may read the beginning, which may be still to come.
        let starting = tokio::task::spawn_blocking(move || Player::start(request));
        let player = tokio::select! {
            started = starting => match started.context("starting to play")? {
                Ok(player) => player,
                Err(error) => {
                    self.leave().await;
                    return Err(explain(error));
                }
            },
            status = left(&mut keys) => {
                self.leave().await;
                return Ok(status);
            }
        };
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
        let mut interrupt = std::pin::pin!(interrupted());
        let mut stopped_with = ExitStatus::Done;
        let mut paused = false;
        let mut muted = false;
        let mut playing_ad: Option<AdStatus> = None;
        let mut saved = None;
        let mut heard_to = start;
        let mut silence = Stalled::new(Instant::now());
        self.look_ahead(heard_to).await;
        let ended = loop {
            let notice = tokio::select! {
                notice = hear.recv() => notice.context("the player broke off")?,
                Some(done) = self.work.join_next(), if !self.work.is_empty() => {
                    let spliced = self.finish_work(done, &controls).await?;
                    if let Some(ads) = spliced.filter(|_| json) {
                        print_json(&json!({ "event": "spliced", "at": heard_to.as_secs_f64(), "ads": ads }));
                    }
                    continue;
                }
                key = next_key(&mut keys) => {
                    match key {
                        Key::Quit => controls.stop(),
                        Key::Skip => {
                            if !playing_ad.is_some_and(|ad| ad.skippable) {
                                line.say("nothing can be skipped now");
                            }
                            controls.skip();
                        }
                        Key::Pause => {
                            paused = !paused;
                            if paused { controls.pause() } else { controls.resume() }
                        }
                        Key::Mute => {
                            muted = !muted;
                            controls.mute(muted);
                        }
                        Key::Forward => self.seek(heard_to, true, &controls),
                        Key::Back => self.seek(heard_to, false, &controls),
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
                Notice::Heard(part) => self.prove(&part).await?,
                Notice::Position { at, ad, waiting } => {
                    (playing_ad, heard_to) = (ad, at);
                    if json {
                        print_json(
                            &json!({ "event": "position", "at": at.as_secs_f64(), "in_ad": ad.is_some(), "waiting": waiting }),
                        );
                    }
                    // Looked at while it is paused too: what comes meanwhile is no silence.
                    let state = silence.wait_for_data(self.torrent, waiting && !paused, &line);
                    let state = if paused { Some("paused".to_owned()) } else { state };
                    let status = self.status(at, ad, state);
                    line.show(&Status { muted, ..status });
                    let second = at.as_nanos() / 5_000_000_000;
                    if saved != Some(second) {
                        saved = Some(second);
                        self.bookmark.save(self.content_time(at))?;
                    }
                    if let Some(past) = self.past_expired(at) {
                        controls.seek(past);
                    }
                    self.go_on(&controls);
                    self.look_ahead(at).await;
                }
                Notice::Ended {
                    at,
                    outcome,
                    pictures,
                } => break (at, outcome, pictures),
            }
        };
        drop(hear);
        self.work.shutdown().await;
        telling.await.context("playing")?;
        drop(keys);
        line.finish();
        let (at, outcome, pictures) = ended;
        self.leave().await;
        let finished = matches!(outcome, Ended::Finished);
        let lasted = at.since(PresentationTime::ZERO);
        if finished && !args.resume && !self.is_measured() && !lasted.is_zero() && lasted < args.start_time()
        {
            return Err(starts_after(args.start_time(), lasted));
        }
        match outcome {
            Ended::Finished => self.bookmark.remove()?,
            Ended::Stopped => self.bookmark.save(self.content_time(at))?,
            Ended::Failed(error) => {
                // So that `--resume` goes on from here.
                self.bookmark.save(self.content_time(at))?;
                return Err(error.into());
            }
        }
        let duration = match self.rendition().report().duration {
            // How long it is is known now.
            _ if finished && !self.is_measured() => lasted,
            planned => planned,
        };
        if json {
            let pictures = pictures.map(|seen| json!({ "shown": seen.shown, "late": seen.late }));
            print_json(&json!({
                "event": "done", "at": at.as_secs_f64(), "duration": duration.as_secs_f64(), "pictures": pictures,
            }));
        } else {
            let late = match pictures {
                Some(Pictures { late, shown }) if late > 0 => {
                    format!("; {late} of {} pictures came too late to be shown", late + shown)
                }
                _ => String::new(),
            };
            eprintln!(
                "played to {} of {}{late}",
                human_time(at.since(PresentationTime::ZERO)),
                human_time(duration)
            );
        }
        Ok(stopped_with)
    }

    /// An ad that begins within the next moments may not be played any more (it was paused for long, say): where to go on instead.
    fn past_expired(&self, at: PresentationTime) -> Option<PresentationTime> {
        let soon = at.saturating_add(Duration::from_millis(400));
        let next = self
            .timeline
            .ads()
            .iter()
            .find(|slot| at < slot.start && slot.start <= soon)?;
        let expired = self.find(next.index)?.ad.expired(UnixMillis::now());
        expired.then(|| next.end())
    }

    /// Adds a part that was presented to the account of its ad server, and offers it.
    async fn prove(&mut self, part: &Heard) -> anyhow::Result<()> {
        let Some(ready) = self.find(part.ad).cloned() else {
            return Ok(());
        };
        let now = UnixMillis::now();
        let Some(written) = self
            .proofs
            .as_mut()
            .and_then(|proofs| proofs.heard(&ready, part, now))
        else {
            return Ok(());
        };
        let all = self.ads.iter().map(|ad| &ad.ready);
        let session = self.playback.session(&ready, beacons::pod_length(&ready, all));
        let beacon = account(&session, &ready.ad, &written, now);
        self.store(beacon.as_slice()).await
    }

    fn find(&self, wanted: AdIndex) -> Option<&Ready> {
        let placed = self.ads.iter().find(|ad| ad.index == wanted)?;
        Some(&placed.ready)
    }

    /// What is known when the status line is drawn.
    fn status(&self, at: PresentationTime, ad: Option<AdStatus>, state: Option<String>) -> Status {
        let stats = self.torrent.stats();
        Status {
            at: at.since(PresentationTime::ZERO),
            duration: self.rendition().report().duration,
            have: stats.have_bytes,
            total: stats.total_bytes,
            peers: Some(stats.peers),
            state,
            muted: false,
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
    async fn report(&mut self, presented: &Presented) -> anyhow::Result<()> {
        if let PlayEvent::Start(index) = presented.event {
            self.begun.insert(index);
            if let Some(ready) = self.find(index)
                && let Some(memory) = self.preparer.as_ref().and_then(Preparer::memory)
            {
                memory.note(&limits::names(&ready.ad), UnixMillis::now()).await?;
            }
        }
        let beacons = match presented.event {
            PlayEvent::BreakStart { break_index } => self.of_break(break_index, BreakEvent::BreakStart),
            PlayEvent::BreakEnd { break_index } => self.of_break(break_index, BreakEvent::BreakEnd),
            _ => occurrence(presented, &self.timeline)
                .map_or_else(Vec::new, |(index, event, at)| self.of_ad(index, event, at)),
        };
        self.store(&beacons).await
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
        let playing = ad.and_then(|ad| Some((ad, self.find(ad.index)?)));
        let opens = playing.and_then(|(ad, ready)| Some((ad, ready.ad.click_through.as_ref()?)));
        let Some((ad, url)) = opens else {
            line.say("nothing can be opened now");
            return Ok(());
        };
        if !open_in_browser(url) {
            line.say(url);
        }
        let beacons = self.of_ad(ad.index, Event::ClickThrough, ad.elapsed);
        self.store(&beacons).await
    }
}

/// What a person can do about playback that cannot begin.
fn explain(error: PlayError) -> anyhow::Error {
    let no_output = matches!(
        error,
        PlayError::NoSound { .. } | PlayError::NoDisplay | PlayError::NoPictures { .. }
    );
    if no_output {
        with_hint(error.into(), "`--sink null` plays to nobody, for tests")
    } else {
        error.into()
    }
}

/// Where to begin for a break at this place to be played.
fn just_before(place: ContentTime) -> ContentTime {
    ContentTime::from_nanos(place.as_nanos().saturating_sub(1_000_000))
}

/// That there is nothing at `start`.
fn starts_after(start: Duration, content: Duration) -> anyhow::Error {
    bad_input(format!(
        "cannot start at {}: the content is {} long",
        human_time(start),
        human_time(content)
    ))
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
        PlayEvent::Mute(index) => (index, Event::Mute),
        PlayEvent::Unmute(index) => (index, Event::Unmute),
        PlayEvent::Progress { ad, point } => {
            let slot = timeline.ads().iter().find(|slot| slot.index == ad)?;
            (ad, Event::Progress(*slot.progress.get(point)?))
        }
    };
    let slot = timeline.ads().iter().find(|slot| slot.index == index)?;
    Some((index, event, presented.at.since(slot.start)))
}
