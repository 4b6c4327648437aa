//! What addresses gave lately: an ad whose hash nobody told, and that was fetched too late for one rendition, is here for the next one.
//!
//! Not for knowing for long: what stands at an address may change, so it is asked again after [`KEPT`].

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use url::Url;

use super::ContentHash;

/// How long an address counts as giving the same.
const KEPT: Duration = Duration::from_secs(300);
/// Addresses that are remembered; the oldest goes first.
const MOST: usize = 256;

/// Addresses and what they gave, for as many caches as share it ([`Cache::knowing`](super::Cache::knowing)).
#[derive(Debug, Default)]
pub struct Recent(Mutex<HashMap<Url, (ContentHash, Instant)>>);

impl Recent {
    fn known(&self) -> MutexGuard<'_, HashMap<Url, (ContentHash, Instant)>> {
        // It is whole whatever panicked beside it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What this address gave, if that was lately.
    pub(super) fn at(&self, url: &Url, now: Instant) -> Option<ContentHash> {
        let known = self.known();
        let (hash, when) = known.get(url)?;
        (now.saturating_duration_since(*when) < KEPT).then_some(*hash)
    }

    /// It gave this.
    pub(super) fn gave(&self, url: &Url, hash: ContentHash, now: Instant) {
        let mut known = self.known();
        if known.len() >= MOST && !known.contains_key(url) {
            let oldest = known.iter().min_by_key(|(_, (_, when))| *when);
            if let Some(oldest) = oldest.map(|(url, _)| url.clone()) {
                known.remove(&oldest);
            }
        }
        known.insert(url.clone(), (hash, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gives_the_same_for_a_while_and_the_oldest_is_forgotten() {
        let (recent, begin) = (Recent::default(), Instant::now());
        let url = |number: usize| Url::parse(&format!("http://ads.example/{number}")).expect("a URL");
        for number in 0..=MOST {
            let now = begin + Duration::from_millis(number as u64);
            recent.gave(&url(number), ContentHash([number as u8; 32]), now);
        }
        assert_eq!(recent.at(&url(0), begin), None, "others came since");
        assert_eq!(recent.at(&url(1), begin), Some(ContentHash([1; 32])));
        recent.gave(&url(1), ContentHash([7; 32]), begin);
        assert_eq!(recent.at(&url(1), begin), Some(ContentHash([7; 32])));
        assert_eq!(recent.at(&url(1), begin + KEPT), None, "it may have changed");
        assert!(
            recent.at(&url(2), begin).is_some(),
            "nobody was forgotten for what is known"
        );
    }
}
