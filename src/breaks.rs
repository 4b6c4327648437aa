//! Breaks made ready: for each cue point ads are decided, fetched and conditioned, all at once, until the rendition must freeze.
//!
//! Invariants: never later than the freeze time; an ad that fails is replaced by the next one of the response, or left out with a reason; the
//! ads of a pod keep their order, and one that is late takes no other's place. Nothing here depends on the publisher's facts: what the ads
//! must be like is read from the content's head, so false facts change nothing.
//!
//! Not for: loudness, which needs the content around the cues (`rendition`); splicing, or counting what was delivered.

use std::sync::Arc;
use std::time::Duration;

use ad_splicer::beacons::{Basis, UnixMillis};
use ad_splicer::conditioning::Conditioner;
use ad_splicer::content::Content;
use ad_splicer::creatives::{Cache, ContentHash, Creative, FetchLimits, Profile};
use ad_splicer::cues::{Action, CuePoint, PlacedCue, Position, in_order, vmap};
use ad_splicer::decide::{self, Ad, Decision, Problem, VastCode};
use ad_splicer::splice::{self, At};
use ad_splicer::time::ContentTime;
use engine::cue_sheet::CueSheet;
use engine::metainfo::Metainfo;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::beacons::USER_AGENT;
use crate::context::Context;
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
    pub(crate) ad: Ad,
    pub(crate) sha256: ContentHash,
    pub(crate) duration: Duration,
    pub(crate) creative: Creative,
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
}

/// What went wrong in a break, and whom to tell.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) cue: CuePoint,
    pub(crate) break_index: usize,
    pub(crate) at: ContentTime,
    pub(crate) content_duration: ContentTime,
    pub(crate) problems: Vec<Problem>,
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
}

/// What a break's task says.
enum Said {
    /// This ad is fetched and conditioned now.
    Trying(usize, Box<Ad>),
    Ready(Box<Ready>),
    Skipped(usize, Skipped),
    /// Somebody is to hear of these.
    Problems(usize, Vec<Problem>),
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
    code: Option<VastCode>,
    finished: bool,
}

/// Makes the breaks of a cue sheet ready. Ends at the latest `freeze` from now; whatever is ready then is what will be spliced in.
pub(crate) async fn prepare(
    context: &Context,
    metainfo: &Metainfo,
    sheet: &CueSheet,
    content: Arc<dyn Content>,
    freeze: Duration,
) -> Prepared {
    let deadline = Instant::now() + freeze;
    let cues = match vmap::parse(&sheet.vmap) {
        Ok(vmap) => vmap.cues,
        Err(error) => return nothing(format!("the cue sheet is no valid VMAP: {error}")),
    };
    let cache = match Cache::open(context.creatives(), Cache::DEFAULT_MAX_BYTES) {
        Ok(cache) => cache,
        Err(error) => return nothing(error.to_string()),
    };
    let conditioner = match std::env::current_exe() {
        Ok(program) => Conditioner::new(program),
        Err(error) => {
            return nothing(format!(
                "cannot find this program to condition creatives with: {error}"
            ));
        }
    };
    let format = tokio::task::spawn_blocking(move || splice::probe(content.as_ref(), &PATIENT));
    let format = match timeout_at(deadline, format).await {
        Ok(Ok(Ok(format))) => format,
        Ok(Ok(Err(error))) => return every(&cues, &error.to_string(), 400),
        Ok(Err(error)) => return every(&cues, &error.to_string(), 900),
        Err(_) => return every(&cues, "the beginning of the content did not come in time", 304),
    };
    let profile = Profile {
        sample_rate: format.sample_rate,
        channels: format.channels,
    };

    let content_duration = format.duration;
    let placed: Vec<PlacedCue<'_>> = in_order(&cues, content_duration)
        .into_iter()
        .filter(|placed| placed.cue.ads.is_some())
        .collect();
    let asking = decide::Context {
        content_id: Some(metainfo.info_hash_v2().to_string()),
        content_uri: metainfo.web_seeds().first().cloned(),
        content_duration,
        now: UnixMillis::now(),
        seed: rand::random(),
        user_agent: Some(USER_AGENT.to_owned()),
        ..decide::Context::default()
    };

    let (said, mut hear) = mpsc::channel(64);
    // Dropped at the freeze: whatever is still under way is stopped, its child processes too.
    let mut tasks = JoinSet::new();
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    for (index, place) in placed.iter().enumerate() {
        let task = OneBreak {
            context: context.clone(),
            cache: cache.clone(),
            conditioner: conditioner.clone(),
            asking: asking.clone(),
            profile,
            index,
            at: place.at,
            cue: place.cue.clone(),
            said: said.clone(),
            deadline,
        };
        let at_once = Arc::clone(&at_once);
        tasks.spawn(async move {
            // The semaphore is never closed; were it, no ad would be lost by going on.
            let _place = at_once.acquire().await;
            task.run().await;
        });
    }
    drop(said);
    let mut breaks: Vec<Progress> = placed.iter().map(|_| Progress::default()).collect();
    let mut prepared = Prepared::default();
    while let Ok(Some(said)) = timeout_at(deadline, hear.recv()).await {
        match said {
            Said::Trying(index, ad) => breaks[index].trying = Some(*ad),
            Said::Ready(ad) => {
                let this = &mut breaks[ad.break_index];
                this.trying = None;
                this.pod.push(*ad);
            }
            Said::Skipped(index, skipped) => {
                breaks[index].code = skipped.vast_error.map(VastCode);
                prepared.skipped.push(skipped);
            }
            Said::Problems(index, mut problems) => {
                breaks[index].trying = None;
                breaks[index].problems.append(&mut problems);
            }
            Said::Finished(index) => breaks[index].finished = true,
        }
    }
    tasks.abort_all();
    for (index, (placed, mut this)) in placed.iter().zip(breaks).enumerate() {
        if !this.finished {
            let late = if this.pod.is_empty() {
                "no ad was ready"
            } else {
                "not every ad was ready"
            };
            let reason = format!(
                "{late} {} s after the start, when the rendition was frozen",
                freeze.as_secs_f64()
            );
            this.problems.extend(this.trying.take().map(|ad| Problem {
                code: VastCode::NOT_READY,
                text: reason.clone(),
                error_urls: ad.errors,
                ad_id: ad.ad_id,
            }));
            this.code = Some(VastCode::NOT_READY);
            prepared
                .skipped
                .push(Skipped::new(&placed.cue.id, reason, Some(VastCode::NOT_READY.0)));
        }
        let empty = this.code.filter(|_| this.pod.is_empty());
        if empty.is_some() || !this.problems.is_empty() {
            prepared.failures.push(Failure {
                cue: placed.cue.clone(),
                break_index: index,
                at: placed.at,
                content_duration,
                problems: this.problems,
                empty,
            });
        }
        if !this.pod.is_empty() {
            prepared.spots.push(spot(index, placed));
            prepared.ready.extend(this.pod);
        }
    }
    prepared
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

struct OneBreak {
    context: Context,
    cache: Cache,
    conditioner: Conditioner,
    asking: decide::Context,
    profile: Profile,
    index: usize,
    at: ContentTime,
    cue: CuePoint,
    said: mpsc::Sender<Said>,
    deadline: Instant,
}

impl OneBreak {
    async fn run(self) {
        self.fill().await;
        self.say(Said::Finished(self.index)).await;
    }

    async fn say(&self, said: Said) {
        // Nobody listens any more only when the rendition is frozen; then it does not matter.
        let _ = self.said.send(said).await;
    }

    async fn skipped(&self, reason: impl Into<String>, code: Option<VastCode>) {
        let skipped = Skipped::new(&self.cue.id, reason, code.map(|code| code.0));
        self.say(Said::Skipped(self.index, skipped)).await;
    }

    async fn fill(&self) {
        let mut decision = self.decide().await;
        self.say(Said::Problems(self.index, decision.problems.clone()))
            .await;
        if let Some(reason) = decision.reason() {
            return self.skipped(reason, decision.vast_error()).await;
        }
        let mut place = 0;
        let mut total = Duration::ZERO;
        while let Some(ad) = decision.pod.get(place).cloned() {
            self.say(Said::Trying(self.index, Box::new(ad.clone()))).await;
            match self.ready(&ad, place).await {
                Ok(ready)
                    if self
                        .cue
                        .max_duration
                        .is_some_and(|most| total + ready.duration > most) =>
                {
                    // Pods are cut at their tail: it goes with all after it.
                    let reason = format!("{} does not fit the break", ad.name());
                    let cut = decision.pod[place..].iter().map(|ad| Problem {
                        code: VastCode::POD_CUT,
                        text: format!("{} does not fit the break", ad.name()),
                        error_urls: ad.errors.clone(),
                        ad_id: ad.ad_id.clone(),
                    });
                    self.say(Said::Problems(self.index, cut.collect())).await;
                    return self.skipped(reason, Some(VastCode::POD_CUT)).await;
                }
                Ok(ready) => {
                    total += ready.duration;
                    self.say(Said::Ready(Box::new(ready))).await;
                    place += 1;
                }
                Err((code, reason)) => {
                    // Another ad stands at this place now, or the next one moved up to it.
                    let known = decision.problems.len();
                    decision.replace_failed(place, VastCode(code), reason.clone());
                    let new = decision.problems[known..].to_vec();
                    self.say(Said::Problems(self.index, new)).await;
                    self.skipped(reason, Some(VastCode(code))).await;
                }
            }
        }
    }

    async fn decide(&self) -> Decision {
        let left = self.deadline.saturating_duration_since(Instant::now());
        decide::decide_break(
            &self.context.gate,
            &self.cue,
            self.at,
            self.index,
            &self.asking,
            left,
        )
        .await
    }

    /// Tries the media files of one ad in turn.
    async fn ready(&self, ad: &Ad, place: usize) -> Result<Ready, (u16, String)> {
        let mut last = (
            VastCode::MEDIA_UNSUPPORTED.0,
            format!("{} has no media file that can be used", ad.name()),
        );
        for media in ad.media_files.iter().take(3) {
            match self.try_media(ad, place, &media.url).await {
                Ok(ready) => return Ok(ready),
                Err(failed) => last = failed,
            }
        }
        Err(last)
    }

    async fn try_media(&self, ad: &Ad, place: usize, url: &str) -> Result<Ready, (u16, String)> {
        let url = Url::parse(url)
            .map_err(|error| (401, format!("the creative's address {url} is no URL: {error}")))?;
        let expected = ad.sha256.map(ContentHash);
        let original = self
            .cache
            .fetch(&self.context.gate, &url, expected, FetchLimits::default())
            .await;
        let original = original.map_err(|error| (error.vast_code(), error.to_string()))?;
        let sha256 = original.sha256;
        let creative = self
            .conditioner
            .condition(&self.cache, &original, self.profile)
            .await;
        let creative =
            creative.map_err(|error| (error.vast_code(), format!("cannot condition {url}: {error}")))?;
        let duration = creative.duration();
        if ad
            .duration
            .is_some_and(|declared| !creative.agrees_with(declared))
        {
            let code = VastCode::DURATION.0;
            return Err((
                code,
                format!(
                    "{} lasts {:.1} s, which is not what was declared",
                    ad.name(),
                    duration.as_secs_f64()
                ),
            ));
        }
        Ok(Ready {
            key: format!("{}/{place}", self.index),
            break_id: self.cue.id.clone(),
            break_index: self.index,
            at: self.at,
            content_duration: self.asking.content_duration,
            place,
            impressions_on: self.cue.impressions_on,
            ad: ad.clone(),
            sha256,
            duration,
            creative,
        })
    }
}
