//! The ads of a byte rendition (a file, stdout, HTTP): all of its breaks are decided at once, and what becomes of them is reported once: delivered, failed, or not used.
//!
//! Not for: `play`, which decides each break when its turn comes; how a break is filled (`breaks`).

use std::sync::Arc;
use std::time::Duration;

use ad_splicer::beacons::Basis;
use ad_splicer::content::Content;
use engine::node::Torrent;
use tokio::time::Instant;

use crate::beacons::{self, Playback};
use crate::breaks::{Asking, Failure, Prepared, Preparer, Ready, Swarm};
use crate::cli::SwarmArgs;
use crate::context::Context;
use crate::identity;
use crate::joining::cue_sheet;
use crate::source;

/// What ads are decided for.
pub(crate) struct Wish<'a> {
    pub(crate) context: &'a Context,
    pub(crate) swarm: &'a SwarmArgs,
    pub(crate) found: &'a source::Torrent,
    pub(crate) torrent: &'a Torrent,
    /// The content, which may still be arriving.
    pub(crate) content: Arc<dyn Content>,
    /// Where published creatives are fetched from.
    pub(crate) creatives: Option<Arc<Swarm>>,
    /// How long after its cue sheet is known the rendition freezes: what is not ready then is not in it.
    pub(crate) freeze: Duration,
}

/// Ads that were made ready for a rendition.
pub(crate) struct Decided {
    context: Context,
    playback: Playback,
    preparer: Option<Preparer>,
    ready: Vec<Ready>,
}

/// Decides and makes ready what can be until the rendition freezes. What failed meanwhile is reported.
pub(crate) async fn decide(wish: Wish<'_>) -> anyhow::Result<(Prepared, Decided)> {
    let mut decided = Decided {
        context: wish.context.clone(),
        playback: Playback::new(&wish.found.metainfo.info_hash_v2().to_string()),
        preparer: None,
        ready: Vec::new(),
    };
    let mut prepared = decided.prepare(wish).await?;
    decided.ready.clone_from(&prepared.ready);
    let failures = std::mem::take(&mut prepared.failures);
    decided.failed(&failures).await;
    Ok((prepared, decided))
}

impl Decided {
    async fn prepare(&mut self, wish: Wish<'_>) -> anyhow::Result<Prepared> {
        if wish.swarm.no_ads {
            return Ok(Prepared::default());
        }
        let sheet = match cue_sheet(wish.context, wish.found, wish.torrent).await? {
            Ok(sheet) => sheet,
            Err(without) => return Ok(without),
        };
        let asking = Asking {
            playback: &self.playback,
            ad_id: identity::ad_id(wish.context, wish.swarm.allow_ad_id)?,
            viewer_key: None,
            swarm: wish.creatives,
        };
        let (metainfo, deadline) = (&wish.found.metainfo, Instant::now() + wish.freeze);
        let preparer = Preparer::new(wish.context, metainfo, &sheet, wish.content, &asking, deadline).await;
        let preparer = match preparer {
            Ok(preparer) => preparer,
            Err(without) => return Ok(without.explain_late(wish.torrent)),
        };
        let all: Vec<usize> = (0..preparer.breaks().len()).collect();
        let left = deadline.saturating_duration_since(Instant::now());
        let prepared = preparer.prepare(&all, left).await;
        self.preparer = Some(preparer);
        Ok(prepared)
    }

    /// What went wrong is reported; it is the last that is told of those ads.
    pub(crate) async fn failed(&self, failures: &[Failure]) {
        beacons::store_failures(&self.context, &self.playback, failures, Basis::Delivered).await;
    }

    /// These were delivered.
    pub(crate) async fn delivered(&self, ads: &[Ready]) {
        beacons::store_delivered(&self.context, &self.playback, ads).await;
        if let Some(memory) = self.preparer.as_ref().and_then(Preparer::memory) {
            beacons::remember(memory, ads).await;
        }
    }

    /// These were made ready and will not be delivered.
    pub(crate) async fn not_used(&self, ads: &[Ready]) {
        beacons::store_not_used(&self.context, &self.playback, self.preparer.as_ref(), ads).await;
    }

    /// What made the breaks ready; `None` when there were none.
    pub(crate) fn preparer(&self) -> Option<&Preparer> {
        self.preparer.as_ref()
    }

    /// None of what was made ready will be delivered.
    pub(crate) async fn leave(&self) {
        self.not_used(&self.ready).await;
    }
}
