//! Long lists of numbers whose neighbours are near each other, as offsets and times of a track's samples are: some four bytes of each are held instead of eight.

/// Numbers that are told by how far they are from the first of them.
const BLOCK: usize = 64;

/// Numbers in the order in which they were added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Compact {
    /// The first of each block, and how far each number is from it.
    Near { firsts: Vec<u64>, from_first: Vec<i32> },
    /// All of them, when any is too far from the first of its block.
    Far(Vec<u64>),
}

impl Default for Compact {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl Compact {
    /// With room for so many.
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self::Near {
            firsts: Vec::with_capacity(count.div_ceil(BLOCK)),
            from_first: Vec::with_capacity(count),
        }
    }

    pub(crate) fn push(&mut self, number: u64) {
        match self {
            Self::Near { firsts, from_first } => {
                if from_first.len().is_multiple_of(BLOCK) {
                    firsts.push(number);
                }
                let first = firsts.last().copied().unwrap_or(0);
                if let Ok(far) = i32::try_from(i128::from(number) - i128::from(first)) {
                    from_first.push(far);
                } else {
                    let mut all: Vec<u64> = self.iter().collect();
                    all.push(number);
                    *self = Self::Far(all);
                }
            }
            Self::Far(all) => all.push(number),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Near { from_first, .. } => from_first.len(),
            Self::Far(all) => all.len(),
        }
    }

    /// One of them, if there are so many.
    pub(crate) fn get(&self, i: usize) -> Option<u64> {
        (i < self.len()).then(|| self.at(i))
    }

    /// One of them.
    ///
    /// # Panics
    /// When there are fewer, as slices do.
    pub(crate) fn at(&self, i: usize) -> u64 {
        match self {
            Self::Near { firsts, from_first } => firsts[i / BLOCK].wrapping_add_signed(from_first[i].into()),
            Self::Far(all) => all[i],
        }
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = u64> + '_ {
        (0..self.len()).map(|i| self.at(i))
    }

    /// Leaves all but the first `count` out.
    pub(crate) fn truncate(&mut self, count: usize) {
        match self {
            Self::Near { firsts, from_first } => {
                firsts.truncate(count.div_ceil(BLOCK));
                from_first.truncate(count);
            }
            Self::Far(all) => all.truncate(count),
        }
    }

    /// How many bytes are held.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Near { firsts, from_first } => 8 * firsts.capacity() + 4 * from_first.capacity(),
            Self::Far(all) => 8 * all.capacity(),
        }
    }
}

impl FromIterator<u64> for Compact {
    fn from_iter<I: IntoIterator<Item = u64>>(numbers: I) -> Self {
        let numbers = numbers.into_iter();
        let mut all = Self::with_capacity(numbers.size_hint().0);
        numbers.for_each(|number| all.push(number));
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_takes_little_more_than_four_bytes() {
        // Offsets in a file of 64 GiB.
        let all: Compact = (0..100_000_u64).map(|i| i * 687_194).collect();
        assert!(all.bytes() * 10 < 42 * all.len(), "{} bytes", all.bytes());
        assert_eq!(all.at(99_999), 99_999 * 687_194);
    }

    proptest! {
        #[test]
        fn what_is_added_is_there(
            near in proptest::collection::vec(0..1_u64 << 33, 0..200),
            far in proptest::collection::vec(any::<u64>(), 0..3),
            rest in proptest::collection::vec(0..1_u64 << 31, 0..200),
            left in 0_usize..300,
        ) {
            let mut all = [near, far, rest].concat();
            let mut compact: Compact = all.iter().copied().collect();
            prop_assert_eq!(compact.iter().collect::<Vec<_>>(), all.clone());
            all.truncate(left);
            compact.truncate(left);
            // Further ones go where they belong.
            all.push(7);
            compact.push(7);
            prop_assert_eq!(compact.len(), all.len());
            prop_assert_eq!(compact.iter().collect::<Vec<_>>(), all.clone());
            prop_assert_eq!(compact.get(all.len()), None);
        }
    }
}
