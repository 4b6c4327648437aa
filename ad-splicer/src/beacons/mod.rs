//! Beacons: what happened, told to those who asked, once.
//!
//! [`events`] (pure) turns what was delivered or presented into [`Beacon`]s; [`queue`] keeps them in `ads.db` and sends
//! them. A beacon is stored once, under a key made of the playback, the ad, the event and the URL; its macros are
//! filled when it is stored, with the event's own time, so that sending it again sends the same bytes.
//!
//! Two kinds, because a crash can fall between sending and knowing that it arrived:
//! - a URL that carries our macro `[GROVE_BASIS]` belongs to a Grove ad server, which counts by key: it is sent until it
//!   is acknowledged (at least once sent, counted once);
//! - anybody else's is marked before it is sent: after a crash in between it is not sent again (at most once).
//!
//! Not for deciding what happened: the player and the download say that.

pub mod events;
pub mod queue;
mod sending;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use events::{
    Event, Occurrence, Scheduled, Session, account, break_events, delivered, played, problems,
    progress_offsets, schedule,
};
pub use queue::{Drained, Queue, QueueError};

pub use crate::database::OpenError;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The system clock's now; drivers call it, pure code is given the result.
    pub fn now() -> Self {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// So much later.
    #[must_use]
    pub fn after(self, later: std::time::Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(later.as_millis()).unwrap_or(u64::MAX)),
        )
    }

    /// ISO 8601 in UTC with milliseconds: `2026-01-17T08:15:07.127Z`.
    pub fn iso8601(self) -> String {
        let (days, millis) = (self.0 / 86_400_000, self.0 % 86_400_000);
        // Days since 1970 to a civil date: count from 0000-03-01 in eras of 400 years.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let (seconds, millis) = (millis / 1_000, millis % 1_000);
        let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

/// On what a report rests; signed by our server into its own URLs' answers, never mixed in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// The whole ad is in a rendition whose download is valid.
    Delivered,
    /// The ad was presented by this client.
    Played,
}

impl Basis {
    /// As it is written into `[GROVE_BASIS]`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Played => "played",
        }
    }
}

/// A beacon's unique key: hexadecimal SHA-256 of playback, ad, event and URL as it was in the document.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BeaconKey(String);

impl BeaconKey {
    /// The key of one URL for one event of one ad in one playback or rendition.
    pub fn new(session: &str, ad: &str, event: &str, url_template: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"grove beacon 1");
        for part in [session, ad, event, url_template] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self(hex::encode(hash.finalize()))
    }

    /// As hexadecimal.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who counts, and so what a crash may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Receiver {
    /// A Grove ad server: counts by key, so it is told until it answers.
    Grove,
    /// Anybody else: never told twice.
    ThirdParty,
}

/// One request to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beacon {
    /// Stored at most once under it.
    pub key: BeaconKey,
    /// The event's name, for reports and logs.
    pub event: String,
    /// Macros filled.
    pub url: String,
    /// Who receives it.
    pub receiver: Receiver,
    /// When the event happened.
    pub at: UnixMillis,
    /// JSON to post to the URL (accounts of play); everything else is asked for with GET.
    pub body: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_iso_8601() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_453_018_507_127, "2016-01-17T08:15:07.127Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(UnixMillis(millis).iso8601(), text);
        }
    }

    #[test]
    fn keys_differ_in_every_part_and_do_not_run_together() {
        let key = BeaconKey::new("s", "a", "start", "http://x/");
        assert_eq!(key, BeaconKey::new("s", "a", "start", "http://x/"));
        for other in [
            BeaconKey::new("t", "a", "start", "http://x/"),
            BeaconKey::new("s", "b", "start", "http://x/"),
            BeaconKey::new("s", "a", "complete", "http://x/"),
            BeaconKey::new("s", "a", "start", "http://y/"),
            BeaconKey::new("sa", "", "start", "http://x/"),
        ] {
            assert_ne!(key, other);
        }
    }
}
