//! Ads that were late, made ready for the next time: one or two at a time in the whole gateway, none twice at once, and no more wait for that
//! than there is room for. What finds no place is not made ready: it is late once more, and asks again then.
//!
//! Not for how they are made ready ([`Preparer::ready_later`](crate::breaks::Preparer::ready_later)).

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use ad_splicer::decide::Ad;
use tokio::sync::{Semaphore, SemaphorePermit};

/// That are made ready at a time.
const AT_ONCE: usize = 2;
/// That wait, or are made ready.
const MOST: usize = 32;

/// See the module documentation.
#[derive(Debug)]
pub(super) struct Later {
    known: Mutex<HashSet<String>>,
    places: Semaphore,
}

/// One that waits, or is made ready, until this is dropped.
#[derive(Debug)]
pub(super) struct Wish {
    later: Arc<Later>,
    name: String,
}

impl Later {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            known: Mutex::default(),
            places: Semaphore::new(AT_ONCE),
        })
    }

    /// A place in the queue, unless this one has one, or there is none.
    pub(super) fn wish(self: &Arc<Self>, name: String) -> Option<Wish> {
        let mut known = self.known();
        if known.len() >= MOST || !known.insert(name.clone()) {
            return None;
        }
        let later = Arc::clone(self);
        Some(Wish { later, name })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        super::lock(&self.known)
    }
}

impl Wish {
    /// When its turn comes: it lasts for as long as this is held.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed; were it, nothing would be lost by going on.
        self.later.places.acquire().await.ok()
    }
}

impl Drop for Wish {
    fn drop(&mut self) {
        self.later.known().remove(&self.name);
    }
}

/// What tells a creative from others: its hash, or where it is.
pub(super) fn name(ad: &Ad) -> String {
    if let Some(sha256) = ad.sha256 {
        return hex::encode(sha256);
    }
    let places = ad.media_files.iter().map(|media| media.url.as_str());
    places.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_few_are_made_ready_at_a_time_and_none_twice_at_once() {
        let later = Later::new();
        let mut wishes: Vec<Wish> = (0..MOST)
            .map(|number| later.wish(number.to_string()).expect("there is room"))
            .collect();
        assert!(later.wish("one more".into()).is_none(), "there is no room");
        wishes.pop();
        assert!(later.wish("1".into()).is_none(), "it waits already");
        let last = later.wish("another".into()).expect("there is room again");
        let turns: Vec<_> = wishes
            .iter()
            .filter_map(|wish| wish.turn().now_or_never())
            .collect();
        assert_eq!(turns.len(), AT_ONCE);
        assert!(last.turn().now_or_never().is_none(), "others are before it");
        drop(turns);
        assert!(last.turn().now_or_never().is_some());
        drop(wishes);
        assert!(later.wish("1".into()).is_some(), "it is over");
    }
}
