//! How long chapters last that do not say it. The same for every kind of list.

/// For each of these beginnings the next one that is later: a chapter lasts until then. `None` for those after which nothing begins: they last to the end.
pub fn next_later<T: Copy + Ord>(starts: &[T]) -> Vec<Option<T>> {
    let mut sorted = starts.to_vec();
    sorted.sort_unstable();
    let next = |start: &T| sorted.get(sorted.partition_point(|other| other <= start));
    starts.iter().map(|start| next(start).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chapters_that_begin_together_end_together_in_whatever_order_they_stand() {
        let due = [Some(3), None, Some(5), Some(5)];
        assert_eq!(next_later(&[0, 5, 3, 3]), due);
        assert_eq!(next_later::<u64>(&[]), []);
    }
}
