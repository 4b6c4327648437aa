//! Breaks made ready: for each cue point ads are decided, fetched, conditioned and brought to the content's loudness, all at once, until
//! the rendition must freeze.
//!
//! Invariants: never later than the freeze time; an ad that fails is replaced by the next one of the response, or left out with a reason; the
//! ads of a pod keep their order, and one that is late takes no other's place.
//!
//! Not for: splicing, or counting what was delivered.

use std::sync::Arc;
use std::time::Duration;

use ad_splicer::beacons::{Basis, UnixMillis};
use ad_splicer::conditioning::Conditioner;
use ad_splicer::content::Content;
use ad_splicer::creatives::{Cache, ContentHash, Creative, FetchLimits, Profile};
use ad_splicer::cues::{Action, CuePoint, PlacedCue, Position, in_order, vmap};
use ad_splicer::decide::{self, Ad, Decision, VastCode};
use ad_splicer::facts::Facts;
use ad_splicer::loudness::{self, Applied};
use ad_splicer::splice::{self, At, Break};
use ad_splicer::time::ContentTime;
use anyhow::Context as _;
use engine::cue_sheet::CueSheet;
use engine::metainfo::Metainfo;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::beacons::{USER_AGENT, fresh_id};
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
}

/// An ad that can be spliced in.
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
    pub(crate) applied: Applied,
    pub(crate) pcm: Arc<[f32]>,
}

/// Everything that the splicer needs.
#[derive(Debug, Default)]
pub(crate) struct Prepared {
    pub(crate) breaks: Vec<Break>,
    pub(crate) ready: Vec<Ready>,
    pub(crate) skipped: Vec<Skipped>,
}

/// What a break's task says.
enum Said {
    Ready(Box<Ready>),
    Skipped(Skipped),
    Finished(usize),
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
    // Facts that cannot be read are the same as none.
    let facts: Option<Facts> = bt_bencode::from_value(sheet.facts.clone()).ok();
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

    let content_duration = duration(facts.as_ref(), metainfo.length());
    let placed: Vec<PlacedCue<'_>> = in_order(&cues, content_duration)
        .into_iter()
        .filter(|placed| placed.cue.ads.is_some())
        .collect();
    let asking = decide::Context {
        content_id: Some(metainfo.info_hash_v2().to_string()),
        content_uri: metainfo.web_seeds().first().cloned(),
        content_duration,
        now: UnixMillis::now(),
        seed: u64::from_le_bytes(fresh_id()[..8].try_into().unwrap_or_default()),
        user_agent: Some(USER_AGENT.to_owned()),
        ..decide::Context::default()
    };

    let (said, mut hear) = mpsc::channel(64);
    // Dropped at the freeze: whatever is still under way is stopped, its child processes too.
    let mut tasks = JoinSet::new();
    for (index, place) in placed.iter().enumerate() {
        let target = loudness::reference(loudness_at(facts.as_ref(), place));
        let task = OneBreak {
            context: context.clone(),
            cache: cache.clone(),
            conditioner: conditioner.clone(),
            asking: asking.clone(),
            profile,
            target,
            index,
            at: place.at,
            cue: place.cue.clone(),
            said: said.clone(),
            deadline,
        };
        tasks.spawn(task.run());
    }
    drop(said);
    let mut pods: Vec<Vec<Ready>> = vec![Vec::new(); placed.len()];
    let mut finished = vec![false; placed.len()];
    let mut prepared = Prepared::default();
    while let Ok(Some(said)) = timeout_at(deadline, hear.recv()).await {
        match said {
            Said::Ready(ad) => pods[ad.break_index].push(*ad),
            Said::Skipped(skipped) => prepared.skipped.push(skipped),
            Said::Finished(index) => finished[index] = true,
        }
    }
    tasks.abort_all();
    for ((placed, pod), finished) in placed.iter().zip(pods).zip(finished) {
        if !finished {
            let late = if pod.is_empty() {
                "no ad was ready"
            } else {
                "not every ad was ready"
            };
            let reason = format!(
                "{late} {} s after the start, when the rendition was frozen",
                freeze.as_secs_f64()
            );
            prepared
                .skipped
                .push(Skipped::new(&placed.cue.id, reason, Some(VastCode::NOT_READY.0)));
        }
        if !pod.is_empty() {
            prepared.breaks.push(to_break(placed, &pod));
            prepared.ready.extend(pod);
        }
    }
    prepared
}

/// How long the content is: what the publisher found, else a guess from its size, which only ad requests see.
fn duration(facts: Option<&Facts>, bytes: u64) -> ContentTime {
    match facts {
        Some(facts) if facts.sample_rate > 0 => ContentTime::from_samples(facts.samples, facts.sample_rate),
        _ => ContentTime::from_millis(bytes / 16),
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

/// A cue point with its ads as the splicer takes them.
pub(crate) fn to_break(placed: &PlacedCue<'_>, pod: &[Ready]) -> Break {
    Break {
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
        ads: pod
            .iter()
            .map(|ready| splice::Ad {
                id: ready.key.clone(),
                pcm: ready.pcm.clone(),
            })
            .collect(),
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

/// The content's loudness around a cue, in LUFS, as the publisher measured it.
pub(crate) fn loudness_at(facts: Option<&Facts>, placed: &PlacedCue<'_>) -> Option<f64> {
    let fact = facts?.cues.iter().find(|fact| fact.position == placed.at)?;
    fact.loudness.map(|hundredths| f64::from(hundredths) / 100.0)
}

/// One creative made to fit: conditioned, brought to the loudness wanted.
pub(crate) async fn fit(creative: Creative, target: f64) -> anyhow::Result<(Arc<[f32]>, Applied)> {
    let work = tokio::task::spawn_blocking(move || loudness::conditioned(&creative, target));
    let (pcm, applied) = work.await.context("fitting an ad")??;
    Ok((pcm.into(), applied))
}

struct OneBreak {
    context: Context,
    cache: Cache,
    conditioner: Conditioner,
    asking: decide::Context,
    profile: Profile,
    target: f64,
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

    async fn fill(&self) {
        let mut decision = self.decide().await;
        if let Some(reason) = decision.reason() {
            let code = decision.vast_error().map(|code| code.0);
            return self
                .say(Said::Skipped(Skipped::new(&self.cue.id, reason, code)))
                .await;
        }
        let mut place = 0;
        let mut total = Duration::ZERO;
        while let Some(ad) = decision.pod.get(place).cloned() {
            match self.ready(&ad, place).await {
                Ok(ready)
                    if self
                        .cue
                        .max_duration
                        .is_some_and(|most| total + ready.duration > most) =>
                {
                    let reason = format!("{} does not fit the break", ad.name());
                    self.say(Said::Skipped(Skipped::new(
                        &self.cue.id,
                        reason,
                        Some(VastCode::POD_CUT.0),
                    )))
                    .await;
                    return;
                }
                Ok(ready) => {
                    total += ready.duration;
                    self.say(Said::Ready(Box::new(ready))).await;
                    place += 1;
                }
                Err((code, reason)) => {
                    // Another ad stands at this place now, or the next one moved up to it.
                    decision.replace_failed(place, VastCode(code), reason.clone());
                    self.say(Said::Skipped(Skipped::new(&self.cue.id, reason, Some(code))))
                        .await;
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
        let (pcm, applied) = fit(creative, self.target)
            .await
            .map_err(|error| (400, error.to_string()))?;
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
            applied,
            pcm,
        })
    }
}
