//! The same work on several things, a few at a time. Pure but for its threads, which end before it does.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// Threads that are started for one such work (which may start as many for each of its things: how much is coded at a time is bounded where it is coded), where there is more than one processor: more than those, since part of the work is done by threads of GStreamer's, and so that none is idle while the last thing is made.
const MOST: usize = 4;

/// What `work` gives for each of `things`, in their order.
pub(crate) fn side_by_side<T: Sync, R: Send>(things: &[T], work: impl Fn(usize, &T) -> R + Sync) -> Vec<R> {
    at_most(MOST, things, work)
}

/// The same of no more than `most` things at a time, for what takes much memory while it is made.
pub(crate) fn at_most<T: Sync, R: Send>(
    most: usize,
    things: &[T],
    work: impl Fn(usize, &T) -> R + Sync,
) -> Vec<R> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    if processors == 1 || things.len() < 2 {
        return things
            .iter()
            .enumerate()
            .map(|(i, thing)| work(i, thing))
            .collect();
    }
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..most.min(things.len()) {
            // A panic in one of them is one here when the scope ends.
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(thing) = things.get(i) else { break };
                    let result = work(i, thing);
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((i, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_under_way_than_may_be() {
        let (now, largest) = (AtomicUsize::new(0), AtomicUsize::new(0));
        at_most(2, &[(); 200], |_, ()| {
            largest.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::yield_now();
            now.fetch_sub(1, Ordering::SeqCst);
        });
        assert!((1..=2).contains(&largest.into_inner()));
    }

    #[test]
    fn results_are_in_order_however_many_there_are() {
        for count in [0, 1, 2, 3, 50] {
            let things: Vec<usize> = (0..count).collect();
            let got = side_by_side(&things, |i, thing| {
                assert_eq!(i, *thing);
                thing * 2
            });
            assert_eq!(got, things.iter().map(|thing| thing * 2).collect::<Vec<_>>());
        }
    }
}
