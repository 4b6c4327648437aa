//! Bit sets over block numbers, worked on a word (64 blocks) at a time, and a set of pieces with random access.

use std::ops::Range;

/// A fixed number of bits.
#[derive(Debug, Clone, Default)]
pub(super) struct Bits(Vec<u64>);

/// Calls `f` with each word's index that the range touches, and the mask of the range's bits in it.
fn words(range: Range<u32>, mut f: impl FnMut(usize, u64)) {
    let mut at = range.start;
    while at < range.end {
        let (word, low) = ((at / 64) as usize, at % 64);
        let count = (64 - low).min(range.end - at);
        f(word, (u64::MAX >> (64 - count)) << low);
        at += count;
    }
}

impl Bits {
    pub(super) fn new(len: u32) -> Self {
        Self(vec![0; len.div_ceil(64) as usize])
    }

    pub(super) fn get(&self, bit: u32) -> bool {
        self.0[(bit / 64) as usize] & (1 << (bit % 64)) != 0
    }

    pub(super) fn set(&mut self, bit: u32) {
        self.0[(bit / 64) as usize] |= 1 << (bit % 64);
    }

    pub(super) fn clear(&mut self, bit: u32) {
        self.0[(bit / 64) as usize] &= !(1 << (bit % 64));
    }

    /// Sets the range; gives how many bits of it were not set, and how many of those are not set in `other`.
    pub(super) fn set_range(&mut self, range: Range<u32>, other: &Self) -> (u32, u32) {
        let (mut new, mut new_without) = (0, 0);
        words(range, |word, mask| {
            let added = mask & !self.0[word];
            new += added.count_ones();
            new_without += (added & !other.0[word]).count_ones();
            self.0[word] |= mask;
        });
        (new, new_without)
    }

    /// How many bits of the range are set.
    pub(super) fn count(&self, range: Range<u32>) -> u32 {
        let mut count = 0;
        words(range, |word, mask| count += (self.0[word] & mask).count_ones());
        count
    }

    /// Whether every bit of the range is set.
    pub(super) fn all(&self, range: Range<u32>) -> bool {
        let mut all = true;
        words(range, |word, mask| all &= self.0[word] & mask == mask);
        all
    }

    pub(super) fn word(&self, word: usize) -> u64 {
        self.0[word]
    }
}

/// The first run of at most `max` set bits within the range, in the words that `f` gives.
pub(super) fn first_run(range: Range<u32>, max: u32, f: impl Fn(usize) -> u64) -> Option<Range<u32>> {
    let mut start = None;
    let mut at = range.start;
    while at < range.end {
        let (word, low) = ((at / 64) as usize, at % 64);
        let count = (64 - low).min(range.end - at);
        let bits = (f(word) & ((u64::MAX >> (64 - count)) << low)) >> low;
        match start {
            None if bits == 0 => at += count,
            None => {
                at += bits.trailing_zeros();
                start = Some(at);
            }
            Some(first) => {
                let ones = bits.trailing_ones().min(count);
                at += ones;
                if ones < count || at - first >= max {
                    return Some(first..at.min(first.saturating_add(max)));
                }
            }
        }
    }
    start.map(|first| first..at.min(first.saturating_add(max)))
}

/// All runs of set bits within the range.
pub(super) fn runs(range: Range<u32>, f: impl Fn(usize) -> u64) -> Vec<Range<u32>> {
    let mut runs = Vec::new();
    let mut at = range.start;
    while let Some(run) = first_run(at..range.end, u32::MAX, &f) {
        at = run.end;
        runs.push(run);
    }
    runs
}

/// A set of small numbers with O(1) insertion and removal whose members can be taken by position.
#[derive(Debug, Clone)]
pub(super) struct Members {
    list: Vec<u32>,
    place: Vec<u32>,
}

impl Members {
    const ABSENT: u32 = u32::MAX;

    /// Every number below `len`.
    pub(super) fn full(len: u32) -> Self {
        Self {
            list: (0..len).collect(),
            place: (0..len).collect(),
        }
    }

    pub(super) fn insert(&mut self, number: u32) {
        if self.place[number as usize] == Self::ABSENT {
            self.place[number as usize] = self.list.len() as u32;
            self.list.push(number);
        }
    }

    pub(super) fn remove(&mut self, number: u32) {
        let place = self.place[number as usize];
        if place == Self::ABSENT {
            return;
        }
        self.list.swap_remove(place as usize);
        if let Some(&moved) = self.list.get(place as usize) {
            self.place[moved as usize] = place;
        }
        self.place[number as usize] = Self::ABSENT;
    }

    pub(super) fn as_slice(&self) -> &[u32] {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_and_runs_agree_with_single_bits(
            ranges in prop::collection::vec((0u32..300, 0u32..200), 0..6),
            from in 0u32..300, len in 0u32..200,
        ) {
            let none = Bits::new(512);
            let mut bits = Bits::new(512);
            let mut plain = [false; 512];
            for (start, len) in ranges {
                let before = plain.iter().filter(|b| **b).count();
                plain[start as usize..(start + len) as usize].fill(true);
                let after = plain.iter().filter(|b| **b).count();
                prop_assert_eq!(bits.set_range(start..start + len, &none).0 as usize, after - before);
            }
            let range = from..from + len;
            let expected: Vec<u32> = range.clone().filter(|&b| plain[b as usize]).collect();
            prop_assert_eq!(bits.count(range.clone()) as usize, expected.len());
            prop_assert_eq!(bits.all(range.clone()), expected.len() == len as usize);
            let found: Vec<u32> = runs(range.clone(), |w| bits.word(w)).into_iter().flatten().collect();
            prop_assert_eq!(&found, &expected);
            let first = first_run(range, 5, |w| bits.word(w));
            prop_assert_eq!(first.as_ref().map(|r| r.start), expected.first().copied());
            if let Some(run) = first {
                prop_assert!(run.len() <= 5 && run.clone().all(|b| plain[b as usize]));
                prop_assert!(run.len() == 5 || run.end == from + len || !plain[run.end as usize]);
            }
        }

        #[test]
        fn members_are_a_set(ops in prop::collection::vec((any::<bool>(), 0u32..20), 0..100)) {
            let mut members = Members::full(20);
            let mut plain: std::collections::BTreeSet<u32> = (0..20).collect();
            for (insert, number) in ops {
                if insert { members.insert(number); plain.insert(number); }
                else { members.remove(number); plain.remove(&number); }
                let mut list = members.as_slice().to_vec();
                list.sort_unstable();
                prop_assert_eq!(list, plain.iter().copied().collect::<Vec<_>>());
            }
        }
    }
}
