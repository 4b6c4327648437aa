//! The time of day, injected, so that expiry is tested without waiting.
//!
//! All times are milliseconds since 1970-01-01 UTC. Not for measuring intervals: the clock of a machine may be set back.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970-01-01 UTC.
pub type UnixMillis = i64;

/// Milliseconds of a day.
pub const DAY: UnixMillis = 86_400_000;

/// Something that knows what time it is.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The time now.
    fn now(&self) -> UnixMillis;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        // A clock before 1970 is a machine that was never set: 0 then.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_millis() as UnixMillis)
    }
}

/// A clock that moves only when told to.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn new(now: UnixMillis) -> Self {
        Self(AtomicI64::new(now))
    }

    /// Moves the clock by `millis`.
    pub fn advance(&self, millis: UnixMillis) {
        self.0.fetch_add(millis, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixMillis {
        self.0.load(Ordering::Relaxed)
    }
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar.
pub(crate) fn days_from_date(year: i64, month: i64, day: i64) -> i64 {
    // Years are counted from March so that the leap day comes last; 400 years are 146,097 days.
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The date of a day since 1970-01-01, as `2026-01-31`.
pub(crate) fn date_of(day: i64) -> String {
    let (year, month, day) = date_from_days(day);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day of a day since 1970-01-01; the inverse of [`days_from_date`].
pub(crate) fn date_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

/// Days since 1970-01-01 of a date written as `2026-01-31`.
pub fn day_of(date: &str) -> Option<i64> {
    let mut parts = date.split('-');
    let mut next = |digits: usize| {
        let part = parts.next()?;
        (part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.parse::<i64>().ok())
            .flatten()
    };
    let (year, month, day) = (next(4)?, next(2)?, next(2)?);
    let days = days_from_date(year, month, day);
    // A day that does not exist comes back as another.
    (parts.next().is_none() && date_of(days) == date).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_become_days() {
        assert_eq!(days_from_date(1970, 1, 1), 0);
        assert_eq!(days_from_date(1969, 12, 31), -1);
        assert_eq!(days_from_date(2000, 3, 1), 11_017);
        assert_eq!(days_from_date(2024, 2, 29), 19_782);
        assert_eq!(days_from_date(2026, 1, 1), 20_454);
    }

    #[test]
    fn days_become_dates_and_dates_days() {
        for day in (-800_000..800_000).step_by(37) {
            assert_eq!(day_of(&date_of(day)).unwrap_or(day), day, "{}", date_of(day));
        }
        assert_eq!(date_of(19_782), "2024-02-29");
        assert_eq!(day_of("2024-02-29"), Some(19_782));
        for bad in [
            "2025-02-29",
            "2024-13-01",
            "2024-1-1",
            "24-01-01",
            "2024-01-01-1",
            "",
        ] {
            assert_eq!(day_of(bad), None, "{bad}");
        }
    }
}
