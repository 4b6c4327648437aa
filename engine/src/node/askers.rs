//! Which peers are asked for metadata at a time. Pure.
//!
//! A peer may be slow without meaning harm, and a liar may send a byte now and then only to hold its place. So one that
//! is slow keeps what it has begun, and takes no place from others; when there are too many of those, the slowest goes.

use std::time::Duration;

/// Peers that are asked at a time, slow ones apart.
const QUICK: usize = 2;
/// Peers that are asked at a time, slow ones too: each may have sent as much as metadata may be.
const MOST: usize = 8;
/// Bytes a second below which a peer is slow, once it has had [`START`].
const PACE: u64 = 16 << 10;
const START: Duration = Duration::from_secs(10);

/// A peer that is being asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker<T> {
    pub(super) peer: T,
    /// Since it was first asked.
    pub(super) since: Duration,
    /// Bytes of metadata that it sent.
    pub(super) received: u64,
}

impl<T> Asker<T> {
    fn is_slow(&self) -> bool {
        let due = self.since.saturating_sub(START).as_millis() * u128::from(PACE) / 1000;
        self.since > START && u128::from(self.received) < due
    }
}

/// What to do about those who are asked, while so many others wait: whom to give up, and how many more to ask.
pub(super) fn plan<T: Copy>(asked: &[Asker<T>], waiting: usize) -> (Option<T>, usize) {
    let quick = asked.iter().filter(|asker| !asker.is_slow()).count();
    let wanted = QUICK.saturating_sub(quick).min(waiting);
    let room = MOST.saturating_sub(asked.len());
    if wanted == 0 || room > 0 {
        return (None, wanted.min(room));
    }
    let slowest = asked
        .iter()
        .filter(|asker| asker.is_slow())
        .min_by_key(|asker| u128::from(asker.received) * 1000 / asker.since.as_millis().max(1));
    (slowest.map(|asker| asker.peer), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(peer: u32, seconds: u64, received: u64) -> Asker<u32> {
        Asker {
            peer,
            since: Duration::from_secs(seconds),
            received,
        }
    }

    #[test]
    fn two_are_asked_at_a_time_while_they_keep_pace() {
        assert_eq!(plan::<u32>(&[], 0), (None, 0));
        assert_eq!(plan::<u32>(&[], 1), (None, 1));
        assert_eq!(plan::<u32>(&[], 9), (None, 2));
        assert_eq!(plan(&[asker(1, 9, 0)], 9), (None, 1));
        assert_eq!(plan(&[asker(1, 9, 0), asker(2, 100, 2 << 20)], 9), (None, 0));
    }

    #[test]
    fn who_is_slow_keeps_nobody_else_from_being_asked() {
        let liars = [asker(1, 60, 7), asker(2, 60, 500_000)];
        assert_eq!(plan(&liars, 9), (None, 2));
        assert_eq!(plan(&liars, 0), (None, 0), "there is nobody better");
        let many: Vec<Asker<u32>> = (0..8).map(|n| asker(n, 60, 10_000 * u64::from(n + 1))).collect();
        assert_eq!(plan(&many, 9), (Some(0), 1), "the slowest makes room");
        let mut mixed = many.clone();
        mixed[0] = asker(0, 1, 0);
        assert_eq!(plan(&mixed, 9), (Some(1), 1), "who has just begun does not");
        mixed[1] = asker(1, 1, 0);
        assert_eq!(plan(&mixed, 9), (None, 0));
    }
}
