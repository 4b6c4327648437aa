//! Which rendition belongs to whom, and for how long: so that all requests of one playback are answered from the same one. Pure.
//!
//! A rendition is one client's (its address) of one source. It stays while somebody reads it, and then for a time after it was last asked
//! for; when the shelf is full, the one that was asked for longest ago makes room. Not for what a rendition is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Whose, and of what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) client: IpAddr,
    pub(super) source: String,
}

/// Things that are in use while somebody else holds them.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    places: HashMap<Key, Place<T>>,
    most: usize,
    keep: Duration,
}

#[derive(Debug)]
struct Place<T> {
    what: Arc<T>,
    used: Instant,
}

impl<T> Place<T> {
    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.what) > 1
    }
}

/// What was found.
#[derive(Debug)]
pub(super) struct Found<T> {
    pub(super) what: Arc<T>,
    /// Whether it was put there just now.
    pub(super) is_new: bool,
    /// What made room for it, or had its time.
    pub(super) taken_off: Option<Arc<T>>,
}

impl<T> Shelf<T> {
    /// Room for so many, each for so long after it was last used.
    pub(super) fn new(most: usize, keep: Duration) -> Self {
        Self {
            places: HashMap::new(),
            most,
            keep,
        }
    }

    /// What stands there, or what `make` gives; `None` when there is no room.
    pub(super) fn find(&mut self, key: &Key, now: Instant, make: impl FnOnce() -> T) -> Option<Found<T>> {
        let keep = self.keep;
        if let Some(place) = self.places.get_mut(key)
            && (place.is_in_use() || now.saturating_duration_since(place.used) < keep)
        {
            place.used = now;
            return Some(Found {
                what: Arc::clone(&place.what),
                is_new: false,
                taken_off: None,
            });
        }
        let mut taken_off = self.places.remove(key).map(|place| place.what);
        if self.places.len() >= self.most {
            let idle = self.places.iter().filter(|(_, place)| !place.is_in_use());
            let oldest = idle
                .min_by_key(|(_, place)| place.used)
                .map(|(key, _)| key.clone())?;
            taken_off = self.places.remove(&oldest).map(|place| place.what);
        }
        let what = Arc::new(make());
        let place = Place {
            what: Arc::clone(&what),
            used: now,
        };
        self.places.insert(key.clone(), place);
        Some(Found {
            what,
            is_new: true,
            taken_off,
        })
    }

    fn stands(&self, key: &Key, what: &Arc<T>) -> bool {
        let place = self.places.get(key);
        place.is_some_and(|place| Arc::ptr_eq(&place.what, what))
    }

    /// Takes this one off, if it still stands there.
    pub(super) fn take_off(&mut self, key: &Key, what: &Arc<T>) {
        if self.stands(key, what) {
            self.places.remove(key);
        }
    }

    /// Takes this one off, if it still stands there and nobody holds it but the caller; says whether.
    pub(super) fn take_off_unread(&mut self, key: &Key, what: &Arc<T>) -> bool {
        let take = self.stands(key, what) && Arc::strong_count(what) == 2;
        if take {
            self.places.remove(key);
        }
        take
    }

    /// Takes off what stands there, if nobody holds it, it was last asked for so long ago, and `is_it` says so.
    pub(super) fn take_off_idle(
        &mut self,
        key: &Key,
        now: Instant,
        idle: Duration,
        is_it: impl FnOnce(&T) -> bool,
    ) -> Option<Arc<T>> {
        let place = self.places.get(key)?;
        let is_idle = !place.is_in_use() && now.saturating_duration_since(place.used) >= idle;
        if !is_idle || !is_it(&place.what) {
            return None;
        }
        self.places.remove(key).map(|place| place.what)
    }

    /// Takes off those whose time is over.
    pub(super) fn sweep(&mut self, now: Instant) -> Vec<Arc<T>> {
        let keep = self.keep;
        let is_over = |_: &Key, place: &mut Place<T>| {
            if place.is_in_use() {
                place.used = now;
            }
            now.saturating_duration_since(place.used) >= keep && !place.is_in_use()
        };
        self.places
            .extract_if(is_over)
            .map(|(_, place)| place.what)
            .collect()
    }

    /// All that stand here.
    pub(super) fn all(&self) -> Vec<Arc<T>> {
        self.places
            .values()
            .map(|place| Arc::clone(&place.what))
            .collect()
    }

    /// Takes off all.
    pub(super) fn clear(&mut self) -> Vec<Arc<T>> {
        self.places.drain().map(|(_, place)| place.what).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(source: &str) -> Key {
        Key {
            client: IpAddr::from([127, 0, 0, 1]),
            source: source.into(),
        }
    }

    #[test]
    fn one_playback_has_one_rendition_for_a_time() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut shelf = Shelf::new(2, Duration::from_secs(10));
        let mut find = |source: &str, seconds, new| shelf.find(&key(source), at(seconds), || new);
        assert!(find("a", 0, 1).is_some_and(|found| found.is_new));
        assert!(find("a", 9, 2).is_some_and(|found| !found.is_new && *found.what == 1));
        let later = find("a", 19, 3).unwrap();
        assert!(later.is_new && later.taken_off.is_some_and(|old| *old == 1));
        drop(later.what);
        let held = find("b", 20, 4).unwrap();
        // The one that nobody reads makes room, although it was used later.
        assert!(find("a", 21, 0).is_some_and(|found| !found.is_new));
        let third = find("c", 22, 5).unwrap();
        assert!(third.taken_off.is_some_and(|old| *old == 3));
        assert!(find("a", 23, 6).is_none(), "both are read");
        assert!(
            find("b", 500, 7).is_some_and(|found| *found.what == 4),
            "as long as it is read"
        );
        drop(held);
        drop(third.what);
        assert_eq!(shelf.sweep(at(501)), [Arc::new(5)]);
        assert_eq!(shelf.sweep(at(510)), [Arc::new(4)]);
        assert!(shelf.all().is_empty());
    }

    #[test]
    fn what_is_read_stays_and_what_is_of_no_use_goes() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut shelf = Shelf::new(2, Duration::from_secs(100));
        let first = shelf.find(&key("a"), start, || 1).unwrap().what;
        let reader = Arc::clone(&first);
        assert!(!shelf.take_off_unread(&key("a"), &first), "it is read");
        drop(reader);
        assert!(!shelf.take_off_unread(&key("a"), &Arc::new(1)), "another one");
        assert!(shelf.take_off_unread(&key("a"), &first));
        assert!(!shelf.take_off_unread(&key("a"), &first));

        let second = shelf.find(&key("a"), start, || 2).unwrap().what;
        let idle = Duration::from_secs(30);
        assert!(
            shelf.take_off_idle(&key("a"), at(40), idle, |_| true).is_none(),
            "it is read"
        );
        drop(second);
        assert!(shelf.take_off_idle(&key("a"), at(29), idle, |_| true).is_none());
        assert!(shelf.take_off_idle(&key("a"), at(30), idle, |_| false).is_none());
        let taken = shelf.take_off_idle(&key("a"), at(30), idle, |_| true);
        assert_eq!(taken, Some(Arc::new(2)));
        assert!(shelf.all().is_empty());
    }

    #[test]
    fn only_the_very_thing_is_taken_off() {
        let mut shelf = Shelf::new(2, Duration::ZERO);
        let now = Instant::now();
        let first = shelf.find(&key("a"), now, || 1).unwrap().what;
        shelf.take_off(&key("a"), &Arc::new(1));
        assert_eq!(shelf.all().len(), 1);
        shelf.take_off(&key("a"), &first);
        assert!(shelf.clear().is_empty());
    }
}
