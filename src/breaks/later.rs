//! Ads that were not ready in time are made ready all the same: fetched and conditioned into the cache, so that the next rendition has them.
//!
//! Not for: what is reported of them. They were left out, and that was all.

use std::time::Duration;

use ad_splicer::decide::Ad;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::Preparer;
use super::one::OneBreak;

/// Longest time for one of them.
const PATIENCE: Duration = Duration::from_secs(120);

impl Preparer {
    /// Makes an ad of a break ready, for nobody who waits. Dropping it ends that.
    pub(crate) async fn ready_later(&self, index: usize, ad: &Ad) {
        let deadline = Instant::now() + PATIENCE;
        let (said, _) = mpsc::channel(1);
        let one = OneBreak {
            preparer: self.clone(),
            index,
            said,
            deadline,
        };
        match timeout_at(deadline, one.ready(ad, 0, None)).await {
            Ok(Ok(_)) => tracing::info!("{} is ready for the next time", ad.name()),
            Ok(Err((_, reason))) => tracing::info!("{} will not be ready: {reason}", ad.name()),
            Err(_) => tracing::info!("{} was not ready within {} s", ad.name(), PATIENCE.as_secs()),
        }
    }
}
