//! Breaks made ready: for each cue point ads are decided, fetched and conditioned, all at once, until the rendition must freeze.
//!
//! Invariants: never later than the freeze time; an ad that fails is replaced by the next one of the response, or left out with a reason; the
//! ads of a pod keep their order, and one that is late takes no other's place. Nothing here depends on the publisher's facts: what the ads
//! must be like is read from the content's head, so false facts change nothing.
//!
//! One break is filled in `one`. Not for: loudness, which needs the content around the cues (`rendition`); splicing, or counting what was delivered.

mod later;
mod one;
mod swarm;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ad_splicer::beacons::Basis;
use ad_splicer::conditioning::Conditioner;
use ad_splicer::content::Content;
use ad_splicer::creatives::{Cache, ContentHash, Creative, Profile};
use ad_splicer::cues::{Action, AdSource, CuePoint, PlacedCue, Position, in_order, vmap};
use ad_splicer::decide::{self, Ad, Problem, VastCode};
use ad_splicer::memory::Memory;
use ad_splicer::picture::{Picture, PictureFormat};
use ad_splicer::splice::{self, At};
use ad_splicer::time::ContentTime;
use engine::cue_sheet::CueSheet;
use engine::metainfo::Metainfo;
use engine::node::Torrent;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use self::one::OneBreak;
pub(crate) use self::swarm::Swarm;
use crate::beacons::{Playback, USER_AGENT};
use crate::context::Context;
use crate::files::Synced;
use crate::rendition::PATIENT;

/// A break that stays empty, or an ad that was left out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Skipped {
    #[serde(rename = "break")]
    pub(crate) break_id: String,
    pub(crate) reason: String,
    pub(crate) vast_error: Option<u16>,
}

impl Skipped {
    pub(crate) fn new(break_id: &str, reason: impl Into<String>, vast_error: Option<u16>) -> Self {
        Skipped {
            break_id: break_id.to_owned(),
            reason: reason.into(),
            vast_error,
        }
    }

    fn is_late(&self) -> bool {
        self.vast_error == Some(VastCode::NOT_READY.0)
    }

    /// For people; `others` when the break has ads nevertheless.
    pub(crate) fn sentence(&self, others: bool) -> String {
        let what = match (self.break_id.as_str(), others) {
            ("*", _) => "no ads".to_owned(),
            (id, false) => format!("no ad at {id}"),
            (id, true) => format!("one ad less at {id}"),
        };
        format!("{what}: {}", self.reason)
    }
}

/// An ad that can be spliced in, once it is as loud as the content around it.
#[derive(Clone, Debug)]
pub(crate) struct Ready {
    /// What the splicer knows it by; unique.
    pub(crate) key: String,
    pub(crate) break_id: String,
    /// Which break of the content, from 0, and where.
    pub(crate) break_index: usize,
    pub(crate) at: ContentTime,
    pub(crate) content_duration: ContentTime,
    /// The ad's place in its pod, from 0.
    pub(crate) place: usize,
    pub(crate) impressions_on: Option<Basis>,
    /// The session and seed of the playback whose stored decision this is from, when it is another one than this.
    pub(crate) decided_for: Option<(String, u64)>,
    pub(crate) ad: Ad,
    pub(crate) sha256: ContentHash,
    pub(crate) duration: Duration,
    pub(crate) creative: Creative,
    /// What is seen meanwhile, in video.
    pub(crate) picture: Option<Arc<Picture>>,
}

/// Where the splicer is to put a break.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    /// Which break of the content, from 0: [`Ready::break_index`].
    pub(crate) index: usize,
    pub(crate) at: At,
    /// How much content the ads take the place of.
    pub(crate) replace: Duration,
    pub(crate) cue: CuePoint,
    /// How loud the content around it is, in LUFS, once that was measured; where it is silent, minus infinity.
    pub(crate) heard: Option<f64>,
}

/// What went wrong in a break, and whom to tell.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) cue: CuePoint,
    pub(crate) break_index: usize,
    pub(crate) at: ContentTime,
    pub(crate) content_duration: ContentTime,
    pub(crate) problems: Vec<Problem>,
    /// Ads that were decided and will not be presented, though nothing is wrong with them.
    pub(crate) not_used: Vec<Ad>,
    /// Set when the break stays empty because of it: the error that the break itself is told.
    pub(crate) empty: Option<VastCode>,
}

/// Everything that a rendition needs besides the content.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    /// The breaks that have ads.
    pub(crate) spots: Vec<Spot>,
    pub(crate) ready: Vec<Ready>,
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) failures: Vec<Failure>,
    /// Only so much content around each break is wanted.
    pub(crate) preview: Option<Duration>,
    /// Nothing is written when an ad is missing.
    pub(crate) all_or_nothing: bool,
    pub(crate) synced: Synced,
    /// The breaks are to stand in the list of chapters.
    pub(crate) ad_chapters: bool,
    /// Ads that were not ready in time, each with its break: see [`Preparer::ready_later`].
    pub(crate) late: Vec<(usize, Ad)>,
}

impl Prepared {
    /// Adds to what says that content was late why it was.
    pub(crate) fn explain_late(mut self, torrent: &Torrent) -> Self {
        let late = self.skipped.iter_mut().filter(|skipped| skipped.is_late());
        late.for_each(|skipped| skipped.reason.push_str(why_late(torrent)));
        self
    }
}

/// Why the content of a torrent is late, where that is known; it follows what says that it is.
pub(crate) fn why_late(torrent: &Torrent) -> &'static str {
    if torrent.stats().whole_only {
        "; its server gives whole files only, so that everything before has to come first"
    } else {
        ""
    }
}

/// What a break's task says.
enum Said {
    /// This ad is fetched and conditioned now.
    Trying(usize, Box<Ad>),
    Ready(Box<Ready>),
    /// This ad was given up because it was not ready in time.
    Late(usize, Box<Ad>),
    Skipped(usize, Skipped),
    /// Somebody is to hear of these.
    Problems(usize, Vec<Problem>),
    /// Limits keep these from being presented.
    NotUsed(usize, Vec<Ad>),
    Finished(usize),
}

/// Breaks that are made ready at a time, whatever a cue sheet holds.
const AT_ONCE: usize = 16;

/// What is known of a break so far.
#[derive(Default)]
struct Progress {
    pod: Vec<Ready>,
    trying: Option<Ad>,
    problems: Vec<Problem>,
    not_used: Vec<Ad>,
    code: Option<VastCode>,
    finished: bool,
}

/// For whom ads are asked.
pub(crate) struct Asking<'a> {
    pub(crate) playback: &'a Playback,
    /// Only when the viewer allows it.
    pub(crate) ad_id: Option<String>,
    /// The key that will sign the account of this playback.
    pub(crate) viewer_key: Option<String>,
    /// Where creatives that are published are fetched from; without it they are downloaded.
    pub(crate) swarm: Option<Arc<Swarm>>,
}

/// A break of the content, at its place.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) cue: CuePoint,
    pub(crate) at: ContentTime,
    pub(crate) repetition: u32,
}

impl Place {
    /// Whether what is at this time in the content is not heard when the ads play.
    pub(crate) fn replaces(&self, time: ContentTime) -> bool {
        let Action::Replace(length) = self.cue.action else {
            return false;
        };
        self.at <= time && time < self.at.saturating_add(length)
    }

    fn placed(&self) -> PlacedCue<'_> {
        PlacedCue {
            cue: &self.cue,
            at: self.at,
            repetition: self.repetition,
        }
    }
}

/// Makes breaks of one content ready, all at once or each when its time comes.
#[derive(Clone)]
pub(crate) struct Preparer {
    context: Context,
    cache: Cache,
    conditioner: Conditioner,
    asking: decide::Context,
    profile: Profile,
    pictures: Option<PictureFormat>,
    /// Whether ads can still be spliced in while it plays.
    grows: bool,
    breaks: Arc<[Place]>,
    at_once: Arc<Semaphore>,
    memory: Option<Memory>,
    swarm: Option<Arc<Swarm>>,
    decided_for: (String, u64),
}

impl Preparer {
    /// Reads the cue sheet and the head of the content. Otherwise there are no ads, for the reasons given.
    pub(crate) async fn new(
        context: &Context,
        metainfo: &Metainfo,
        sheet: &CueSheet,
        content: Arc<dyn Content>,
        asking: &Asking<'_>,
        deadline: Instant,
    ) -> Result<Self, Prepared> {
        let cues = match vmap::parse(&sheet.vmap) {
            Ok(vmap) => vmap.cues,
            Err(error) => return Err(nothing(format!("the cue sheet is no valid VMAP: {error}"))),
        };
        let cache = Cache::open(context.creatives(), Cache::DEFAULT_MAX_BYTES)
            .map_err(|error| nothing(error.to_string()))?
            .knowing(Arc::clone(&context.recent));
        ad_splicer::bridge::keep_in(cache.clone());
        let program = ad_splicer::this_program().map_err(|error| {
            nothing(format!(
                "cannot find this program to condition creatives with: {error}"
            ))
        })?;
        let format = tokio::task::spawn_blocking(move || splice::probe(content.as_ref(), &PATIENT));
        let format = match timeout_at(deadline, format).await {
            Ok(Ok(Ok(format))) => format,
            Ok(Ok(Err(error))) => return Err(every(&cues, &error.to_string(), 400)),
            Ok(Err(error)) => return Err(every(&cues, &error.to_string(), 900)),
            Err(_) => {
                let reason = "the beginning of the content did not come in time (`--freeze` allows more)";
                return Err(every(&cues, reason, VastCode::NOT_READY.0));
            }
        };
        let breaks: Arc<[Place]> = in_order(&cues, format.duration)
            .into_iter()
            .filter(|placed| placed.cue.ads.is_some())
            .map(|placed| Place {
                cue: placed.cue.clone(),
                at: placed.at,
                repetition: placed.repetition,
            })
            .collect();
        let has_tags = breaks
            .iter()
            .any(|place| matches!(place.cue.ads, Some(AdSource::Tag(_))));
        let memory = if has_tags { remember(context).await } else { None };
        let (id, seed) = (asking.playback.id().to_owned(), asking.playback.seed());
        Ok(Preparer {
            context: context.clone(),
            cache,
            conditioner: Conditioner::new(program),
            asking: decide::Context {
                content_id: Some(metainfo.info_hash_v2().to_string()),
                content_uri: metainfo.web_seeds().first().cloned(),
                content_duration: format.duration,
                seed,
                user_agent: Some(USER_AGENT.to_owned()),
                ad_id: asking.ad_id.clone(),
                viewer_key: asking.viewer_key.clone(),
                ..decide::Context::default()
            },
            profile: Profile {
                sample_rate: format.sample_rate,
                channels: format.channels,
            },
            pictures: format.picture,
            grows: format.grows,
            breaks,
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            memory,
            swarm: asking.swarm.clone(),
            decided_for: (id, seed),
        })
    }

    /// The breaks that want ads, in order of content.
    pub(crate) fn breaks(&self) -> &[Place] {
        &self.breaks
    }

    /// Whether ads can still be spliced in while the content plays.
    pub(crate) fn grows(&self) -> bool {
        self.grows
    }

    /// The device's memory of ads, when it can be had.
    pub(crate) fn memory(&self) -> Option<&Memory> {
        self.memory.as_ref()
    }

    /// What the memory knows the content by.
    pub(crate) fn content(&self) -> &str {
        self.asking.content_id.as_deref().unwrap_or_default()
    }

    /// What the memory knows a break by: where it is, and where its ads come from.
    pub(crate) fn place_name(&self, index: usize) -> String {
        let place = &self.breaks[index];
        let source = match &place.cue.ads {
            Some(AdSource::Tag(text) | AdSource::Inline(text)) => text.as_str(),
            None => "",
        };
        let digest = Sha256::new()
            .chain_update((place.cue.id.len() as u64).to_be_bytes())
            .chain_update(&place.cue.id)
            .chain_update(place.repetition.to_be_bytes())
            .chain_update(source)
            .finalize();
        hex::encode(&digest[..16])
    }

    /// Makes these breaks ready, as indices into [`Self::breaks`]. Ends at the latest `freeze` from now; whatever is ready then is
    /// what can be spliced in.
    pub(crate) async fn prepare(&self, which: &[usize], freeze: Duration) -> Prepared {
        let deadline = Instant::now() + freeze;
        let content_duration = self.asking.content_duration;
        let (said, mut hear) = mpsc::channel(64);
        // Dropped at the freeze: whatever is still under way is stopped, its child processes too.
        let mut tasks = JoinSet::new();
        for &index in which {
            let task = OneBreak {
                preparer: self.clone(),
                index,
                said: said.clone(),
                deadline,
            };
            tasks.spawn(async move {
                // The semaphore is never closed; were it, no ad would be lost by going on.
                let at_once = Arc::clone(&task.preparer.at_once);
                let _place = at_once.acquire().await;
                task.run().await;
            });
        }
        drop(said);
        let mut breaks: BTreeMap<usize, Progress> =
            which.iter().map(|&index| (index, Progress::default())).collect();
        let mut prepared = Prepared::default();
        while let Ok(Some(said)) = timeout_at(deadline, hear.recv()).await {
            match said {
                Said::Trying(index, ad) => breaks.entry(index).or_default().trying = Some(*ad),
                Said::Ready(ad) => {
                    let this = breaks.entry(ad.break_index).or_default();
                    this.trying = None;
                    this.pod.push(*ad);
                }
                Said::Late(index, ad) => prepared.late.push((index, *ad)),
                Said::Skipped(index, skipped) => {
                    breaks.entry(index).or_default().code = skipped.vast_error.map(VastCode);
                    prepared.skipped.push(skipped);
                }
                Said::Problems(index, mut problems) => {
                    let this = breaks.entry(index).or_default();
                    this.trying = None;
                    this.problems.append(&mut problems);
                }
                Said::NotUsed(index, mut ads) => {
                    breaks.entry(index).or_default().not_used.append(&mut ads);
                }
                Said::Finished(index) => breaks.entry(index).or_default().finished = true,
            }
        }
        tasks.abort_all();
        for (index, mut this) in breaks {
            let place = &self.breaks[index];
            if !this.finished {
                let late = if this.pod.is_empty() {
                    "no ad was ready"
                } else {
                    "not every ad was ready"
                };
                let reason = format!(
                    "{late} within {:.1} s (`--freeze` allows more)",
                    freeze.as_secs_f64()
                );
                prepared
                    .late
                    .extend(this.trying.iter().map(|ad| (index, ad.clone())));
                this.problems.extend(this.trying.take().map(|ad| Problem {
                    code: VastCode::NOT_READY,
                    text: reason.clone(),
                    error_urls: ad.errors,
                    ad_id: ad.ad_id,
                }));
                this.code = Some(VastCode::NOT_READY);
                prepared
                    .skipped
                    .push(Skipped::new(&place.cue.id, reason, Some(VastCode::NOT_READY.0)));
            }
            let empty = this.code.filter(|_| this.pod.is_empty());
            if empty.is_some() || !this.problems.is_empty() || !this.not_used.is_empty() {
                prepared.failures.push(Failure {
                    cue: place.cue.clone(),
                    break_index: index,
                    at: place.at,
                    content_duration,
                    problems: this.problems,
                    not_used: this.not_used,
                    empty,
                });
            }
            if !this.pod.is_empty() {
                prepared.spots.push(spot(index, &place.placed()));
                prepared.ready.extend(this.pod);
            }
        }
        prepared
    }
}

/// The device's memory of ads. Without it there are ads all the same.
async fn remember(context: &Context) -> Option<Memory> {
    match Memory::open(&context.ads_db()).await {
        Ok(memory) => Some(memory),
        Err(error) => {
            tracing::warn!(%error, "nothing can be remembered of ads");
            None
        }
    }
}

fn nothing(reason: String) -> Prepared {
    Prepared {
        skipped: vec![Skipped::new("*", reason, None)],
        ..Prepared::default()
    }
}

fn every(cues: &[CuePoint], reason: &str, code: u16) -> Prepared {
    Prepared {
        skipped: cues
            .iter()
            .map(|cue| Skipped::new(&cue.id, reason, Some(code)))
            .collect(),
        ..Prepared::default()
    }
}

/// Where the splicer is to put the ads of a cue point.
pub(crate) fn spot(index: usize, placed: &PlacedCue<'_>) -> Spot {
    Spot {
        index,
        // A repetition is where it was unrolled to; the first is where the publisher said, so that `end` is the very end.
        at: if placed.repetition == 0 {
            place(placed.cue.position)
        } else {
            At::Time(placed.at)
        },
        replace: match placed.cue.action {
            Action::Insert => Duration::ZERO,
            Action::Replace(span) => span,
        },
        cue: placed.cue.clone(),
        heard: None,
    }
}

/// A cue's position as the splicer has it.
pub(crate) fn place(position: Position) -> At {
    match position {
        Position::Time(time) => At::Time(time),
        Position::Start => At::Start,
        Position::End => At::End,
        Position::Percent(percent) => At::Fraction(f64::from(percent.thousandths()) / 100_000.0),
    }
}
