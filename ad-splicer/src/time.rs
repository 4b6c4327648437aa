//! The two kinds of media time, which are never mixed.
//!
//! *Content time* is a position in the published file: 0 is the first sample after the declared priming (LAME delay, edit list, pre-skip).
//! *Presentation time* is a position in what the viewer gets, ads included. Only [`crate::plan::SplicePlan`] turns one into the other.
//! Both count nanoseconds, which is finer than a sample at any audio rate, so that sample → time → sample is the identity.
//! Wall-clock time is not here.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Nanoseconds of `samples` at `rate` Hz, rounded to the nearest; saturates. A rate of 0 counts as 1.
fn nanos(samples: u64, rate: u32) -> u64 {
    let rate = u128::from(rate.max(1));
    u64::try_from((u128::from(samples) * NANOS_PER_SECOND + rate / 2) / rate).unwrap_or(u64::MAX)
}

/// The sample at `rate` Hz nearest to `nanos`.
fn samples(nanos: u64, rate: u32) -> u64 {
    u64::try_from((u128::from(nanos) * u128::from(rate) + NANOS_PER_SECOND / 2) / NANOS_PER_SECOND)
        .unwrap_or(u64::MAX)
}

macro_rules! media_time {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The beginning.
            pub const ZERO: Self = Self(0);

            /// From nanoseconds.
            pub const fn from_nanos(nanos: u64) -> Self {
                Self(nanos)
            }

            /// From whole milliseconds; saturates.
            pub const fn from_millis(millis: u64) -> Self {
                Self(millis.saturating_mul(1_000_000))
            }

            /// From seconds; negative and not-a-number become 0.
            pub fn from_secs_f64(seconds: f64) -> Self {
                // A float-to-int cast saturates, and turns NaN into 0.
                Self((seconds.max(0.0) * 1e9).round() as u64)
            }

            /// The time at which sample `index` begins, at `rate` Hz.
            pub fn from_samples(index: u64, rate: u32) -> Self {
                Self(nanos(index, rate))
            }

            /// Nanoseconds since the beginning.
            pub const fn as_nanos(self) -> u64 {
                self.0
            }

            /// Whole milliseconds since the beginning, rounded to the nearest.
            pub const fn as_millis(self) -> u64 {
                self.0.saturating_add(500_000) / 1_000_000
            }

            /// Seconds since the beginning.
            pub fn as_secs_f64(self) -> f64 {
                self.0 as f64 / 1e9
            }

            /// The sample nearest to this time, at `rate` Hz.
            pub fn to_samples(self, rate: u32) -> u64 {
                samples(self.0, rate)
            }

            /// This time and `duration` more; saturates.
            #[must_use]
            pub fn saturating_add(self, duration: Duration) -> Self {
                Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
            }

            /// The time from `earlier` to this one; zero when `earlier` is later.
            pub const fn since(self, earlier: Self) -> Duration {
                Duration::from_nanos(self.0.saturating_sub(earlier.0))
            }
        }

        impl From<Duration> for $name {
            fn from(duration: Duration) -> Self {
                Self::ZERO.saturating_add(duration)
            }
        }

        impl fmt::Display for $name {
            /// `MM:SS.mmm`, or `H:MM:SS.mmm` from an hour on.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let millis = self.as_millis();
                let (seconds, millis) = (millis / 1000, millis % 1000);
                let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
                if hours > 0 {
                    write!(f, "{hours}:")?;
                }
                write!(f, "{minutes:02}:{seconds:02}.{millis:03}")
            }
        }
    };
}

media_time! {
    /// A position in the published file, in nanoseconds; 0 is the first sample after the declared priming.
    ContentTime
}

media_time! {
    /// A position in what the viewer gets, ads included, in nanoseconds.
    PresentationTime
}

/// The duration of `count` samples at `rate` Hz, rounded to the nearest nanosecond.
pub fn duration_of(count: u64, rate: u32) -> Duration {
    Duration::from_nanos(nanos(count, rate))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_read_well() {
        assert_eq!(ContentTime::from_millis(61_005).to_string(), "01:01.005");
        assert_eq!(
            PresentationTime::from_millis(3_661_005).to_string(),
            "1:01:01.005"
        );
        assert_eq!(ContentTime::from_secs_f64(f64::NAN), ContentTime::ZERO);
        assert_eq!(ContentTime::from_secs_f64(-1.0), ContentTime::ZERO);
    }

    proptest! {
        #[test]
        fn samples_survive(index in 0u64..1 << 40, rate in 8_000u32..=192_000) {
            prop_assert_eq!(ContentTime::from_samples(index, rate).to_samples(rate), index);
        }
    }
}
