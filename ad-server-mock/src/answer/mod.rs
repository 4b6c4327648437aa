//! What a decision is answered with: VAST 2.0, 3.0 or 4.2, VMAP 1.0, or JSON for our own client.
//!
//! Not for reading any of them, and not for choosing ads.

mod json;
#[cfg(test)]
mod tests;
mod vast;
mod vmap;

pub(crate) use json::json;
pub(crate) use vast::{TRACKER, Version, is_event, vast};
pub(crate) use vmap::{Offset, Source, vmap};

use crate::ads::Decided;
use crate::sign::{Key, Subject};

/// What every answer needs to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    /// This server's own URL, without a slash at its end.
    pub(crate) base: &'a str,
    pub(crate) key: &'a Key,
    pub(crate) request_id: &'a str,
    /// How long the answer may be played, in seconds.
    pub(crate) expires: i64,
    /// Categories that are not wanted, for the servers that a wrapper leads to.
    pub(crate) blocked: &'a [String],
}

impl Context<'_> {
    /// The URL that reports an event of a decision.
    fn beacon(&self, ad: &Decided, event: &str) -> String {
        self.key.url(
            self.base,
            Subject {
                event,
                id: &ad.ad_serving_id,
                flight: &ad.flight().id,
                creative: &ad.creative().id,
                tracker: TRACKER,
            },
        )
    }

    /// The URL that says that there was no ad.
    fn no_ad(&self) -> String {
        self.key.url(
            self.base,
            Subject {
                event: "noAd",
                id: self.request_id,
                flight: "",
                creative: "",
                tracker: "",
            },
        )
    }

    /// Where the metainfo of a creative that is in the swarm is.
    fn torrent(&self, ad: &Decided) -> Option<String> {
        let published = ad.creative().info_hash.as_ref();
        published.map(|_| format!("{}.torrent", self.media(ad)))
    }

    fn media(&self, ad: &Decided) -> String {
        format!("{}/creatives/{}", self.base, ad.creative().sha256)
    }
}

/// `HH:MM:SS.mmm`.
fn clock(millis: i64) -> String {
    let s = millis / 1000;
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        s / 3600,
        s / 60 % 60,
        s % 60,
        millis % 1000
    )
}
