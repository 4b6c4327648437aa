//! What tells two versions of a file apart, so that parts of one are joined and of two never (RFC 9110 §8.8 and §13.1.5). Pure.
//!
//! Only a strong validator may: a strong `ETag`, or a `Last-Modified` that was over when the answer was made. Not for: whether a document has
//! changed, for which weak ones do (`asking::Validators`).

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// A longer one is not kept.
const MOST: usize = 1024;
/// A file may change again within the second that its time of modification states.
const OVER: Duration = Duration::from_secs(1);

/// What stands for one version of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Validator {
    Etag(String),
    Modified(String),
}

impl Validator {
    /// That of an answer with these headers (`ETag`, `Last-Modified` and `Date`; without the last it was made `now`).
    pub(crate) fn of(
        etag: Option<&str>,
        modified: Option<&str>,
        date: Option<&str>,
        now: SystemTime,
    ) -> Option<Self> {
        let is_strong =
            |etag: &&str| (2..=MOST).contains(&etag.len()) && etag.starts_with('"') && etag.ends_with('"');
        if let Some(etag) = etag.map(str::trim).filter(is_strong) {
            return Some(Self::Etag(etag.to_owned()));
        }
        let modified = modified.map(str::trim)?;
        let made = date.and_then(gate::http_date).unwrap_or(now);
        let age = made.duration_since(gate::http_date(modified)?).ok()?;
        (age >= OVER).then(|| Self::Modified(modified.to_owned()))
    }

    /// As `If-Range` has it.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Etag(text) | Self::Modified(text) => text,
        }
    }

    /// Whether an answer with these headers, which gives a part, gives one of this version. The time need not be said again there.
    pub(crate) fn is_of(&self, etag: Option<&str>, modified: Option<&str>) -> bool {
        match self {
            Self::Etag(ours) => etag.is_some_and(|etag| etag.trim() == ours),
            Self::Modified(ours) => modified.is_none_or(|modified| modified.trim() == ours),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: &str = "Sun, 06 Nov 1994 12:00:00 GMT";
    const LATER: &str = "Sun, 06 Nov 1994 12:00:01 GMT";

    #[test]
    fn only_what_is_strong_tells_versions_apart() {
        let noon = gate::http_date(NOON).expect("a date");
        let of = |etag, modified, date| Validator::of(etag, modified, date, noon);
        let etag = |text: &str| Some(Validator::Etag(text.to_owned()));
        let modified = Some(Validator::Modified(NOON.to_owned()));
        assert_eq!(of(Some("\"a\""), Some(NOON), Some(LATER)), etag("\"a\""));
        assert_eq!(of(Some("\"\""), None, None), etag("\"\""));
        for weak in ["W/\"a\"", "a", "\"", ""] {
            assert_eq!(of(Some(weak), None, None), None, "{weak}");
            assert_eq!(of(Some(weak), Some(NOON), Some(LATER)), modified, "{weak}");
        }
        // It may have changed once more within that second.
        assert_eq!(of(None, Some(NOON), Some(NOON)), None);
        assert_eq!(of(None, Some(LATER), Some(NOON)), None);
        assert_eq!(of(None, Some(NOON), None), None);
        assert_eq!(of(None, Some("yesterday"), Some(LATER)), None);
    }

    #[test]
    fn a_part_of_another_version_is_known() {
        let etag = Validator::Etag("\"a\"".into());
        assert!(etag.is_of(Some("\"a\""), None));
        assert!(!etag.is_of(Some("\"b\""), Some(NOON)) && !etag.is_of(None, None));
        assert!(!etag.is_of(Some("W/\"a\""), None));
        let modified = Validator::Modified(NOON.into());
        assert!(modified.is_of(None, Some(NOON)) && modified.is_of(Some("W/\"a\""), None));
        assert!(!modified.is_of(None, Some(LATER)));
    }
}
