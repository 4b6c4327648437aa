//! Ads that come into a playback while it runs: breaks prepared when their turn comes, spliced in ahead of the player, dropped when they
//! are too late or expired.
//!
//! One rendition is laid out at a time; what was made ready meanwhile comes into the next one. Not for: when a turn comes (`ahead`).

use std::collections::HashSet;
use std::time::Duration;

use ad_splicer::beacons::{Basis, Event, UnixMillis, progress_offsets};
use ad_splicer::content::Content as _;
use ad_splicer::decide::{Problem, VastCode};
use ad_splicer::play::{Controls, Extension, Timeline};
use ad_splicer::time::PresentationTime;
use anyhow::Context as _;
use tokio::task::JoinError;

use super::beginning::lay_out;
use super::{Listening, Placed, Work};
use crate::beacons;
use crate::breaks::{Failure, Prepared, Preparer, Ready, Skipped};
use crate::rendition::Frozen;

impl Listening<'_> {
    /// Says and reports what did not come to be.
    async fn tell(&self, skipped: &[Skipped], failures: &[Failure]) {
        for skipped in skipped {
            let others = self.ready.iter().any(|ready| ready.break_id == skipped.break_id);
            eprintln!("{}", skipped.sentence(others));
        }
        beacons::store_failures(self.context, &self.playback, failures, Basis::Played).await;
        self.sending.stored();
    }

    /// Takes over the rendition that is read from now on, for which the ads of these keys were `tried`: which ads are in it, and where. New
    /// ones are told to be loaded.
    pub(super) async fn take_over(&mut self, made: &Frozen, tried: &HashSet<String>) -> anyhow::Result<()> {
        let report = made.rendition.report();
        // The splicer numbers the breaks that have ads; its report says which ad is which.
        let ads: Vec<Placed> = report
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
        // What could not be spliced in was told to be an error, and nothing else is told of it.
        self.ready.retain(|ready| {
            !tried.contains(&ready.key) || ads.iter().any(|placed| placed.ready.key == ready.key)
        });
        let known: HashSet<String> = self.ads.iter().map(|placed| placed.ready.key.clone()).collect();
        (self.ads, self.timeline) = (ads, timeline);
        self.tell(&made.skipped, &made.failures).await;
        let mut loaded = Vec::new();
        for placed in self
            .ads
            .iter()
            .filter(|placed| !known.contains(&placed.ready.key))
        {
            self.ahead
                .spliced(placed.ready.break_index, self.expiry(placed.ready.break_index));
            loaded.extend(self.of_ad(placed.index, Event::Loaded, Duration::ZERO));
        }
        self.store(&loaded).await
    }

    /// When the first of a break's ads expires, in Unix milliseconds.
    fn expiry(&self, break_index: usize) -> Option<u64> {
        let of_break = self.ready.iter().filter(|ready| ready.break_index == break_index);
        of_break.filter_map(|ready| Some(ready.ad.expires_at?.0)).min()
    }

    /// Begins what is to be done with playback at `at`: breaks whose turn has come, or comes again.
    pub(super) async fn look_ahead(&mut self, at: PresentationTime) {
        let Some(preparer) = self.preparer.clone().filter(Preparer::grows) else {
            return;
        };
        let place = self.content_time(at);
        for index in self.ahead.expired(place, UnixMillis::now().0) {
            tracing::info!(index, "the decision for a break has expired before its turn");
            self.drop_break(index).await;
        }
        for index in self.ahead.due(place) {
            self.spawn(&preparer, index);
        }
    }

    fn spawn(&mut self, preparer: &Preparer, index: usize) {
        let (preparer, freeze) = (preparer.clone(), self.freeze);
        self.work
            .spawn(async move { Work::Prepared(index, preparer.prepare(&[index], freeze).await) });
    }

    /// Makes a break ready whose turn has come before its time; one that is begun already is left to itself.
    pub(super) fn begin(&mut self, index: usize) {
        if let Some(preparer) = self.preparer.clone().filter(|_| self.ahead.begin(index)) {
            self.spawn(&preparer, index);
        }
    }

    /// The ads of a break that are not presented yet will not be.
    async fn drop_break(&mut self, index: usize) {
        let (dropped, kept): (Vec<Ready>, Vec<Ready>) = std::mem::take(&mut self.ready)
            .into_iter()
            .partition(|ready| ready.break_index == index);
        self.ready = kept;
        self.not_used(&dropped).await;
    }

    async fn not_used(&self, ads: &[Ready]) {
        beacons::store_not_used(self.context, &self.playback, self.preparer.as_ref(), ads).await;
        self.sending.stored();
    }

    /// Goes on with what was done beside playing. Gives how many ads there are in all when some were spliced in.
    pub(super) async fn finish_work(
        &mut self,
        done: Result<Work, JoinError>,
        player: &Controls,
    ) -> anyhow::Result<Option<usize>> {
        let mut spliced = None;
        match done.context("preparing ads")? {
            Work::Prepared(index, prepared) => self.took(index, prepared).await,
            Work::Frozen(tried, made) => {
                self.freezing = false;
                spliced = match made {
                    Ok(made) => self.splice_in(*made, &tried, player).await?,
                    Err(error) => {
                        // The content itself plays on, or says by itself why it cannot.
                        self.leave_nearest_empty(VastCode::LINEAR, &error.to_string())
                            .await;
                        None
                    }
                };
            }
        }
        self.lay_out_next();
        Ok(spliced)
    }

    /// A break was made ready, or was not.
    pub(super) async fn took(&mut self, index: usize, prepared: Prepared) {
        if prepared.ready.is_empty() {
            self.ahead.over(index);
        }
        for spot in prepared.spots {
            if self.spots.iter().all(|known| known.index != spot.index) {
                self.spots.push(spot);
            }
        }
        self.changed |= !prepared.ready.is_empty();
        self.ready.extend(prepared.ready);
        self.tell(&prepared.skipped, &prepared.failures).await;
    }

    /// Lays out what was made ready since, unless a rendition is being laid out already.
    pub(super) fn lay_out_next(&mut self) {
        if self.changed && !self.freezing {
            (self.changed, self.freezing) = (false, true);
            lay_out(
                &mut self.work,
                &self.content,
                self.spots.clone(),
                self.ready.clone(),
            );
        }
    }

    /// Splices what was laid out in ahead of the player; when playback is too near already, the nearest new break stays empty.
    async fn splice_in(
        &mut self,
        made: Frozen,
        tried: &HashSet<String>,
        player: &Controls,
    ) -> anyhow::Result<Option<usize>> {
        let changes = !(self.ads.is_empty() && made.rendition.report().ads.is_empty());
        let (growing, rendition) = (self.growing.clone(), made.rendition.clone());
        // It may read.
        let replacing = tokio::task::spawn_blocking(move || !changes || growing.replace(rendition).is_ok());
        if !replacing.await.context("splicing in")? {
            let reason = "its ads were ready too late to be spliced in";
            self.leave_nearest_empty(VastCode::NOT_READY, reason).await;
            return Ok(None);
        }
        self.take_over(&made, tried).await?;
        if !changes {
            made.failures
                .iter()
                .for_each(|failure| self.ahead.over(failure.break_index));
            return Ok(None);
        }
        player.extend(Extension {
            timeline: self.timeline.clone(),
            duration: self.rendition().report().duration,
            bytes: self.growing.len(),
        });
        Ok(Some(self.ads.len()))
    }

    /// Of the breaks whose ads are ready and not spliced in, the nearest one stays empty; others may still be in time.
    async fn leave_nearest_empty(&mut self, code: VastCode, reason: &str) {
        let is_new = |ready: &&Ready| self.ads.iter().all(|placed| placed.ready.key != ready.key);
        let nearest = self
            .ready
            .iter()
            .filter(is_new)
            .min_by_key(|ready| ready.at)
            .cloned();
        let Some(late) = nearest else { return };
        let (dropped, kept): (Vec<Ready>, Vec<Ready>) = std::mem::take(&mut self.ready)
            .into_iter()
            .partition(|ready| ready.break_index == late.break_index);
        self.ready = kept;
        self.ahead.over(late.break_index);
        let spot = self.spots.iter().find(|spot| spot.index == late.break_index);
        let failure = spot.map(|spot| Failure {
            cue: spot.cue.clone(),
            break_index: late.break_index,
            at: late.at,
            content_duration: late.content_duration,
            problems: dropped
                .iter()
                .map(|ready| Problem {
                    code,
                    text: reason.to_owned(),
                    error_urls: ready.ad.errors.clone(),
                    ad_id: ready.ad.ad_id.clone(),
                })
                .collect(),
            not_used: Vec::new(),
            empty: Some(code),
        });
        let skipped = Skipped::new(&late.break_id, reason, Some(code.0));
        self.tell(&[skipped], failure.as_slice()).await;
        self.not_used(&dropped).await;
        self.changed = self
            .ready
            .iter()
            .any(|ready| self.ads.iter().all(|placed| placed.ready.key != ready.key));
    }

    /// Playback is over: what was prepared and not presented is not used.
    pub(super) async fn leave(&mut self) {
        let begun = |ready: &Ready| {
            let placed = self.ads.iter().find(|placed| placed.ready.key == ready.key);
            placed.is_some_and(|placed| self.begun.contains(&placed.index))
        };
        let left: Vec<Ready> = self.ready.iter().filter(|ready| !begun(ready)).cloned().collect();
        self.not_used(&left).await;
    }
}
