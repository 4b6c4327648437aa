//! Which of a listener's requests count when each is to count once in a window (podcast measurement, IAB 2.3).
//!
//! Pure. The window is always declared with the numbers: it changes them. Not for who a listener is: that is
//! (address, user agent), IPv6 cut to its /64, as the caller has it.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use crate::clock::{DAY, UnixMillis};

/// A window of uniqueness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Window {
    /// Once in each day, from midnight to midnight UTC.
    #[default]
    CalendarDay,
    /// Once in the 24 hours from the request that counted.
    FirstTouch,
    /// Once until there were 24 hours without a request.
    LastTouch,
}

impl Window {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CalendarDay => "calendar_day",
            Self::FirstTouch => "first_touch",
            Self::LastTouch => "last_touch",
        }
    }

    /// The window of a name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::CalendarDay, Self::FirstTouch, Self::LastTouch]
            .into_iter()
            .find(|w| w.as_str() == text)
    }

    /// Whether a request counts, by when the same listener's last one that counted was, and its last one at all.
    fn counts(self, now: UnixMillis, counted: Option<UnixMillis>, last: Option<UnixMillis>) -> bool {
        match self {
            Self::CalendarDay => counted.is_none_or(|c| c.div_euclid(DAY) != now.div_euclid(DAY)),
            Self::FirstTouch => counted.is_none_or(|c| now - c >= DAY),
            Self::LastTouch => last.is_none_or(|l| now - l >= DAY),
        }
    }
}

/// For each request (who, when), in the order of time, whether it counts.
pub fn unique<L: Eq + Hash>(
    requests: impl IntoIterator<Item = (L, UnixMillis)>,
    window: Window,
) -> Vec<bool> {
    // Of each listener: when it counted last, and when it asked last.
    let mut known: HashMap<L, (UnixMillis, UnixMillis)> = HashMap::new();
    requests
        .into_iter()
        .map(|(listener, now)| {
            let before = known.get(&listener).copied();
            let counts = window.counts(now, before.map(|b| b.0), before.map(|b| b.1));
            let counted = if counts { now } else { before.map_or(now, |b| b.0) };
            known.insert(listener, (counted, now));
            counts
        })
        .collect()
}

/// How many count on each day, in days since 1970-01-01 UTC.
pub fn by_day<L: Eq + Hash + Clone>(requests: &[(L, UnixMillis)], window: Window) -> BTreeMap<i64, u64> {
    let counts = unique(requests.iter().cloned(), window);
    let mut days = BTreeMap::new();
    for ((_, at), counts) in requests.iter().zip(counts) {
        *days.entry(at.div_euclid(DAY)).or_default() += u64::from(counts);
    }
    days
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the rules: Monday 22:00, Tuesday 03:00, Tuesday 22:15, Wednesday 23:15.
    #[test]
    fn the_three_windows_count_what_the_guideline_says() {
        const MINUTE: UnixMillis = 60_000;
        // 1970-01-05 was a Monday.
        let at = |day: i64, hour: i64, minute: i64| (4 + day) * DAY + (hour * 60 + minute) * MINUTE;
        let requests = [at(0, 22, 0), at(1, 3, 0), at(1, 22, 15), at(2, 23, 15)].map(|t| ("one", t));
        for (window, expected) in [
            (Window::CalendarDay, [1, 1, 0, 1]),
            (Window::FirstTouch, [1, 0, 1, 1]),
            (Window::LastTouch, [1, 0, 0, 1]),
        ] {
            let counted = unique(requests, window)
                .into_iter()
                .map(u8::from)
                .collect::<Vec<_>>();
            assert_eq!(counted, expected, "{window:?}");
        }
        let days = by_day(&requests, Window::FirstTouch);
        assert_eq!(days.into_iter().collect::<Vec<_>>(), [(4, 1), (5, 1), (6, 1)]);
    }

    #[test]
    fn listeners_are_apart() {
        let requests = [("one", 0), ("two", 1), ("one", 2), ("two", DAY + 1)];
        assert_eq!(unique(requests, Window::CalendarDay), [true, true, false, true]);
        assert_eq!(unique(requests, Window::FirstTouch), [true, true, false, true]);
    }
}
