//! `grove play`: plays while it downloads, with the ads of a frozen rendition; what is reported is what was presented.
//!
//! Beacons are stored as things are presented, so that a client that is killed loses none of them.
//!
//! Not for: the pipeline and what counts as presented (`ad_splicer::play`).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ad_splicer::beacons::{Event, Occurrence, Queue, UnixMillis, played, progress_offsets};
use ad_splicer::content::Content;
use ad_splicer::plan::AdIndex;
use ad_splicer::play::{Notice, Outcome as Ended, PlayEvent, Player, Presented, Request, Timeline};
use ad_splicer::splice::{self, Rendition};
use ad_splicer::time::PresentationTime;
use anyhow::Context as _;
use serde_json::json;

use crate::beacons;
use crate::breaks::{Prepared, Ready};
use crate::cli::{PlayArgs, PlaySink};
use crate::context::Context;
use crate::get;
use crate::output::{ExitStatus, Explain, Outcome, bad_input, interrupted, print_json};
use crate::rendition::{Arriving, PATIENT};
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
    let found = match resolve(&context.gate, &args.source, args.episode.episode.as_deref()).await? {
        Resolved::Torrent(found) => found,
        Resolved::Plain(url) => {
            return Err(bad_input(format!("there is no .torrent beside {url}")))
                .hint(|| format!("`grove get {url}` fetches it as it is"));
        }
    };
    let node = crate::node::start(&context, json).await?;
    let torrent = node
        .add(found.metainfo.clone(), get::add_options(&args.swarm, &found))
        .await?;
    let played = tokio::select! {
        played = play(&context, args, &found, &torrent, json) => played,
        () = interrupted() => Ok(ExitStatus::Interrupted),
    };
    // Stopping the torrent ends the reads that are still under way.
    torrent.stop().await;
    beacons::drain(&context, Duration::from_secs(5)).await;
    node.stop().await;
    played
}

async fn play(
    context: &Context,
    args: &PlayArgs,
    found: &crate::source::Torrent,
    torrent: &engine::node::Torrent,
    json: bool,
) -> Outcome {
    let prepared = if args.swarm.no_ads {
        Prepared::default()
    } else {
        get::prepare(context, found, torrent, args.freeze).await?
    };
    let Prepared {
        breaks,
        ready,
        skipped,
    } = prepared;
    for skipped in &skipped {
        eprintln!("no ad at {}: {}", skipped.break_id, skipped.reason);
    }
    let content: Arc<dyn Content> = Arc::new(Arriving::new(torrent));
    let reading = content.clone();
    let rendition = tokio::task::spawn_blocking(move || splice::prepare(reading.as_ref(), &breaks, &PATIENT))
        .await
        .context("preparing")??;
    let mut timeline = Timeline::of(rendition.plan());
    // The splicer numbers the breaks that have ads; its report says which ad is which.
    let order: Vec<(AdIndex, Ready)> = rendition
        .report()
        .ads
        .iter()
        .filter_map(|ad| Some((ad.index, ready.iter().find(|ready| ready.key == ad.id)?.clone())))
        .collect();
    for slot in timeline.ads_mut() {
        if let Some(ready) = find(&order, slot.index) {
            slot.progress = progress_offsets(&ready.ad, slot.duration);
            slot.skip_after = ready.ad.skip_offset.map(|offset| offset.resolve(slot.duration));
        }
    }
    let duration = rendition.report().duration;
    let request = Request {
        media: Arc::new(Frozen { rendition, content }),
        timeline: timeline.clone(),
        start: PresentationTime::from(args.start),
        duration: Some(duration),
        sink: match args.sink {
            PlaySink::Auto => ad_splicer::play::Sink::Auto,
            PlaySink::Null => ad_splicer::play::Sink::Null,
        },
        read_deadline: Duration::from_secs(60),
    };
    let player = Player::start(request)?;
    let (notices, mut hear) = tokio::sync::mpsc::channel(64);
    // The player tells a thread; it ends after the last notice, or when nobody hears it any more.
    let telling = tokio::task::spawn_blocking(move || {
        for notice in player.notices() {
            if notices.blocking_send(notice).is_err() {
                break;
            }
        }
    });
    let queue = Queue::open(&context.ads_db()).await?;
    let seed = beacons::fresh_id();
    let id = hex::encode(seed);
    let info_hash = found.metainfo.info_hash_v2().to_string();
    let ready_list: Vec<Ready> = order.iter().map(|(_, ready)| ready.clone()).collect();
    let mut status = ExitStatus::Done;
    while let Some(notice) = hear.recv().await {
        match notice {
            Notice::Presented(presented) => {
                if let Some((index, event, at)) = occurrence(&presented, &timeline) {
                    if let Some(ready) = find(&order, index) {
                        let session = beacons::session(&id, seed, &info_hash, ready, &ready_list);
                        let happened = Occurrence {
                            event,
                            at: UnixMillis::now(),
                            ad_time: at,
                        };
                        queue
                            .store(&played(&session, &ready.ad, ready.duration, happened))
                            .await?;
                    }
                    if json {
                        let name = find(&order, index).map(|ready| ready.break_id.clone());
                        print_json(
                            &json!({ "event": event.name(), "break": name, "at": presented.at.as_secs_f64() }),
                        );
                    }
                }
            }
            Notice::Position { at, ad, waiting } if json => {
                print_json(
                    &json!({ "event": "position", "at": at.as_secs_f64(), "in_ad": ad.is_some(), "waiting": waiting }),
                );
            }
            Notice::Position { .. } => {}
            Notice::Ended { at, outcome } => {
                match outcome {
                    Ended::Finished => {}
                    Ended::Stopped => status = ExitStatus::Interrupted,
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
                break;
            }
        }
    }
    drop(hear);
    telling.await.context("playing")?;
    Ok(status)
}

fn find(order: &[(AdIndex, Ready)], wanted: AdIndex) -> Option<&Ready> {
    order
        .iter()
        .find(|(index, _)| *index == wanted)
        .map(|(_, ready)| ready)
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
