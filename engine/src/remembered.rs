//! What is kept of those who have gone, so that nobody begins anew by going and coming back: the latest ones, up to a
//! bound. Pure. Not for anything that must not be forgotten.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// The latest values, by key.
#[derive(Debug)]
pub struct Remembered<K, V> {
    most: usize,
    count: u64,
    by_key: HashMap<K, (u64, V)>,
    /// Also of keys that were taken out or kept again since; those have another number.
    order: VecDeque<(u64, K)>,
}

impl<K: Copy + Eq + Hash, V> Remembered<K, V> {
    /// Nothing yet, and never more than `most`.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            count: 0,
            by_key: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Keeps a value; the oldest ones go where there are too many.
    pub fn keep(&mut self, key: K, value: V) {
        self.count += 1;
        self.by_key.insert(key, (self.count, value));
        self.order.push_back((self.count, key));
        while self.order.len() > self.most
            && let Some((number, key)) = self.order.pop_front()
        {
            if self.by_key.get(&key).is_some_and(|(kept, _)| *kept == number) {
                self.by_key.remove(&key);
            }
        }
    }

    /// Gives back what was kept.
    pub fn take(&mut self, key: K) -> Option<V> {
        self.by_key.remove(&key).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_no_more() {
        let mut kept = Remembered::new(3);
        for n in 0..5 {
            kept.keep(n, n * 10);
        }
        assert_eq!(
            [0, 1, 2, 3].map(|n| kept.take(n)),
            [None, None, Some(20), Some(30)]
        );
        assert_eq!(kept.take(3), None, "once");
        // Whoever goes and comes again and again takes no more room than others.
        for round in 0..1_000 {
            kept.keep(7, round);
            if round % 2 == 0 {
                assert_eq!(kept.take(7), Some(round));
            }
        }
        assert_eq!((kept.by_key.len(), kept.order.len()), (1, 3));
        assert_eq!(kept.take(7), Some(999));
    }
}
