//! One break: asked for, kept within limits, fetched and conditioned ad by ad, until the deadline.
//!
//! An ad that fails is replaced by the next one of the response, or left out with a reason; a pod is cut at its tail. When nobody can be
//! asked, a decision that was kept and has not expired is used.

use std::collections::HashMap;
use std::time::Duration;

use ad_splicer::beacons::UnixMillis;
use ad_splicer::conditioning::Standing;
use ad_splicer::creatives::{ContentHash, FetchLimits, Original};
use ad_splicer::cues::AdSource;
use ad_splicer::decide::{self, Ad, Companion, Decision, Problem, VastCode, limits};
use ad_splicer::memory::{MemoryError, StoredDecision};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use url::Url;

use super::{Place, Preparer, Ready, Said, Skipped};

/// What the image of a companion may cost.
const IMAGE_LIMITS: FetchLimits = FetchLimits {
    max_bytes: 8 << 20,
    timeout: Duration::from_secs(5),
};

/// A break that is being filled.
pub(super) struct OneBreak {
    pub(super) preparer: Preparer,
    pub(super) index: usize,
    pub(super) said: mpsc::Sender<Said>,
    pub(super) deadline: Instant,
}

impl OneBreak {
    fn place(&self) -> &Place {
        &self.preparer.breaks[self.index]
    }

    pub(super) async fn run(self) {
        self.fill().await;
        self.say(Said::Finished(self.index)).await;
    }

    async fn say(&self, said: Said) {
        // Nobody listens any more only when the rendition is frozen; then it does not matter.
        let _ = self.said.send(said).await;
    }

    async fn skipped(&self, reason: impl Into<String>, code: Option<VastCode>) {
        let skipped = Skipped::new(&self.place().cue.id, reason, code.map(|code| code.0));
        self.say(Said::Skipped(self.index, skipped)).await;
    }

    async fn fill(&self) {
        let (mut decision, decided_for) = self.decide().await;
        self.say(Said::Problems(self.index, decision.problems.clone()))
            .await;
        if let Some(reason) = decision.reason() {
            return self.skipped(reason, decision.vast_error()).await;
        }
        let mut place = 0;
        let mut total = Duration::ZERO;
        while let Some(ad) = decision.pod.get(place).cloned() {
            self.say(Said::Trying(self.index, Box::new(ad.clone()))).await;
            let others = decision.fallbacks.len() + decision.pod.len() > place + 1;
            match self.in_time(&ad, place, decided_for.as_ref(), others).await {
                Ok(ready) if total + ready.duration > self.place().cue.limit() => {
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
                    // Offline the creative is found by its hash.
                    decision.pod[place].sha256 = Some(ready.sha256.0);
                    if decided_for.is_none() {
                        self.keep(&decision).await;
                    }
                    self.say(Said::Ready(Box::new(ready))).await;
                    place += 1;
                }
                Err((code, reason)) => {
                    if code == VastCode::NOT_READY.0 {
                        self.say(Said::Late(self.index, Box::new(ad))).await;
                    }
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

    /// Asks for ads. When nobody can be asked, what was decided earlier and may still be used; and the session that it is reported under.
    async fn decide(&self) -> (Decision, Option<(String, u64)>) {
        let (preparer, place) = (&self.preparer, self.place());
        let now = UnixMillis::now();
        let asking = decide::Context {
            now,
            ..preparer.asking.clone()
        };
        let left = self.deadline.saturating_duration_since(Instant::now());
        let gate = &preparer.context.gate;
        let mut decision = decide::decide_break(
            gate,
            &place.cue,
            place.at,
            self.index,
            &asking,
            left.min(decide::DEADLINE),
        )
        .await;
        let mut decided_for = None;
        // What the publisher wrote into the cue sheet is as it is.
        if !matches!(place.cue.ads, Some(AdSource::Tag(_))) {
            return (decision, decided_for);
        }
        let Some(memory) = &preparer.memory else {
            return (decision, decided_for);
        };
        let remembered = async {
            let name = preparer.place_name(self.index);
            if is_unreachable(&decision)
                && let Some(kept) = memory.find(preparer.content(), &name, now).await?
            {
                tracing::info!(
                    cue = place.cue.id,
                    "an earlier decision is used, since nobody can be asked"
                );
                decision = kept.decision;
                decision.drop_expired(now);
                decided_for = Some((kept.session, kept.seed));
            }
            let mut counts = HashMap::new();
            for ad in decision.pod.iter().chain(&decision.fallbacks) {
                let names = limits::names(ad);
                for cap in &ad.caps {
                    let count = memory.count(&names, cap.within, now).await?;
                    counts.insert((names.clone(), cap.within), count);
                }
            }
            Ok::<_, MemoryError>(counts)
        };
        let counts = remembered.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the memory of ads cannot be used");
            HashMap::new()
        });
        let over = limits::enforce(&mut decision, |names, within| {
            counts.get(&(names.to_vec(), within)).copied().unwrap_or(0)
        });
        if !over.is_empty() {
            let ads = over.into_iter().map(|(ad, _)| ad).collect();
            self.say(Said::NotUsed(self.index, ads)).await;
        }
        (decision, decided_for)
    }

    /// Keeps what was asked for now for when nobody can be asked.
    async fn keep(&self, decision: &Decision) {
        let preparer = &self.preparer;
        let from_a_tag = matches!(self.place().cue.ads, Some(AdSource::Tag(_)));
        let Some(memory) = preparer.memory.as_ref().filter(|_| from_a_tag) else {
            return;
        };
        let (session, seed) = preparer.decided_for.clone();
        let kept = StoredDecision {
            session,
            seed,
            decision: decision.clone(),
        };
        let name = preparer.place_name(self.index);
        if let Err(error) = memory
            .keep(preparer.content(), &name, &kept, UnixMillis::now())
            .await
        {
            tracing::warn!(%error, "a decision cannot be kept");
        }
    }

    /// [`Self::ready`], for as long as it may take: half of the time that is left when there are `others` to be tried after it, so that one that comes late does not take their time too.
    async fn in_time(
        &self,
        ad: &Ad,
        place: usize,
        decided_for: Option<&(String, u64)>,
        others: bool,
    ) -> Result<Ready, (u16, String)> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let time = if others { left / 2 } else { left };
        let ready = tokio::time::timeout(time, self.ready(ad, place, decided_for)).await;
        ready.unwrap_or_else(|_| {
            let reason = format!("{} was not ready within {:.1} s", ad.name(), time.as_secs_f64());
            Err((VastCode::NOT_READY.0, reason))
        })
    }

    /// Tries the media files of one ad in turn.
    pub(super) async fn ready(
        &self,
        ad: &Ad,
        place: usize,
        decided_for: Option<&(String, u64)>,
    ) -> Result<Ready, (u16, String)> {
        let mut last = (
            VastCode::MEDIA_UNSUPPORTED.0,
            format!("{} has no media file that can be used", ad.name()),
        );
        for media in ad.media_files.iter().take(3) {
            match self.try_media(ad, place, &media.url).await {
                Ok(ready) => {
                    let decided_for = decided_for.cloned();
                    return Ok(Ready { decided_for, ..ready });
                }
                Err(failed) => last = failed,
            }
        }
        Err(last)
    }

    /// The creative as other viewers and its origin have it, when it is published and not in the cache. It gets half of the time that is
    /// left: the rest is for downloading it when that comes to nothing.
    async fn through_the_swarm(&self, ad: &Ad) -> Option<Original> {
        let preparer = &self.preparer;
        let (swarm, expected) = (preparer.swarm.as_ref()?, ContentHash(ad.sha256?));
        let torrent = Url::parse(ad.torrent.as_deref()?).ok()?;
        if let Some(cached) = preparer.cache.original(expected) {
            return Some(cached);
        }
        let now = Instant::now();
        let deadline = now + self.deadline.saturating_duration_since(now) / 2;
        swarm
            .fetch(&preparer.context, &preparer.cache, &torrent, expected, deadline)
            .await
            .inspect_err(|error| tracing::info!("{} is downloaded: {error:#}", ad.name()))
            .ok()
    }

    /// The images of the ad's companions, fetched as they are asked for; no more of them once a quarter of the time that is left then has
    /// passed: a card does as well, and the ad has to be ready.
    fn images(&self, ad: &Ad) -> impl Stream<Item = Original> {
        let fetch = move |image: &Companion| {
            let url = image.resource.as_deref().and_then(|url| Url::parse(url).ok());
            async move {
                let (preparer, url) = (&self.preparer, url?);
                let gate = &preparer.context.gate;
                let fetched = preparer.cache.fetch(gate, &url, None, IMAGE_LIMITS).await;
                fetched
                    .inspect_err(|error| tracing::info!("a companion of {} is not shown: {error}", ad.name()))
                    .ok()
            }
        };
        let over = async move {
            let left = self.deadline.saturating_duration_since(Instant::now());
            tokio::time::sleep(left / 4).await;
        };
        stream::iter(ad.images()).filter_map(fetch).take_until(over)
    }

    async fn try_media(&self, ad: &Ad, place: usize, url: &str) -> Result<Ready, (u16, String)> {
        let url = Url::parse(url)
            .map_err(|error| (401, format!("the creative's address {url} is no URL: {error}")))?;
        let expected = ad.sha256.map(ContentHash);
        let preparer = &self.preparer;
        let original = match self.through_the_swarm(ad).await {
            Some(original) => original,
            None => preparer
                .cache
                .fetch(&preparer.context.gate, &url, expected, FetchLimits::default())
                .await
                .map_err(|error| (error.vast_code(), error.to_string()))?,
        };
        let sha256 = original.sha256;
        let name = ad.card();
        let standing = Standing {
            // It is large, and seldom wanted.
            images: Box::pin(self.images(ad)),
            name: &name,
        };
        let wanted = (preparer.profile, preparer.pictures);
        let (creative, picture) = preparer
            .conditioner
            .condition_for(&preparer.cache, &original, wanted, standing)
            .await
            .map_err(|error| {
                (
                    error.vast_code(),
                    format!(
                        "cannot use the creative {}: {}",
                        gate::shown(&url),
                        error.reason()
                    ),
                )
            })?;
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
            // A break may be decided again: other ads are other keys.
            key: format!("{}/{place}/{:08x}", self.index, rand::random::<u32>()),
            break_id: self.place().cue.id.clone(),
            break_index: self.index,
            at: self.place().at,
            content_duration: preparer.asking.content_duration,
            place,
            impressions_on: self.place().cue.impressions_on,
            decided_for: None,
            ad: ad.clone(),
            sha256,
            duration,
            creative,
            picture,
        })
    }
}

/// Whether nobody could be asked at all: the ad server is down, or the device is offline.
fn is_unreachable(decision: &Decision) -> bool {
    let all = |code| decision.problems.iter().all(|problem| problem.code == code);
    decision.pod.is_empty() && !decision.problems.is_empty() && all(VastCode::WRAPPER_TIMEOUT)
}
