//! What a question for ads says: the query of `/vast`, `/vmap` and `/decision`.
//!
//! A macro that the client left as it was, or filled with `-1` or `-2`, is as if it were absent. Not for deciding.

use serde::Deserialize;

use super::{Refusal, bad};
use crate::answer::Version;
use crate::decide::{MOST_ADS, Question};
use crate::sign::filled;

/// Longest text taken from a client's query.
pub(super) const LONGEST: usize = 200;
/// Longest break, in seconds.
const LONGEST_BREAK: f64 = 3600.0;
/// Most categories that are not wanted.
const MOST_BLOCKED: usize = 50;

/// The query as it comes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Query {
    pub(super) show: String,
    pub(super) episode: String,
    #[serde(rename = "break")]
    pub(super) break_id: String,
    pub(super) position: String,
    pub(super) country: String,
    pub(super) device: String,
    #[serde(rename = "type")]
    pub(super) content_type: String,
    pub(super) blocked: String,
    pub(super) download: String,
    pub(super) viewer: String,
    pub(super) key: String,
    pub(super) max: String,
    pub(super) ads: String,
    pub(super) vast: String,
    /// Of `/vmap`: when the breaks are.
    pub(super) breaks: String,
    /// Of `/vmap`: decide now.
    pub(super) inline: String,
}

impl Query {
    pub(super) fn question(&self) -> Result<Question, Refusal> {
        let text = |name: &str, value: &str| match filled(value.trim()) {
            Some(v) if v.len() > LONGEST => Err(bad(format!("{name} is longer than {LONGEST} bytes"))),
            v => Ok(v.map(str::to_owned)),
        };
        let time = filled(self.max.trim())
            .map(|v| match v.parse::<f64>() {
                Ok(n) if n > 0.0 && n <= LONGEST_BREAK => Ok((n * 1000.0) as i64),
                _ => Err(bad(format!("max is a number of seconds up to {LONGEST_BREAK}"))),
            })
            .transpose()?;
        let ads = filled(self.ads.trim())
            .map(|v| match v.parse::<usize>() {
                Ok(n) if (1..=MOST_ADS).contains(&n) => Ok(n),
                _ => Err(bad(format!("ads is a number from 1 to {MOST_ADS}"))),
            })
            .transpose()?;
        let blocked: Vec<String> = filled(self.blocked.trim())
            .into_iter()
            .flat_map(|list| list.split(','))
            .map(|c| c.trim().to_owned())
            .filter(|c| !c.is_empty())
            .collect();
        if blocked.len() > MOST_BLOCKED || blocked.iter().any(|c| c.len() > LONGEST) {
            return Err(bad(format!("blocked has more than {MOST_BLOCKED} categories")));
        }
        Ok(Question {
            show: text("show", &self.show)?,
            episode: text("episode", &self.episode)?,
            break_id: text("break", &self.break_id)?,
            position: text("position", &self.position)?,
            country: text("country", &self.country)?.map(|c| c.to_ascii_uppercase()),
            device: text("device", &self.device)?,
            content_type: text("type", &self.content_type)?,
            blocked,
            download: text("download", &self.download)?,
            viewer: text("viewer", &self.viewer)?,
            time,
            // With a time and no number: as many as fit. With neither: one.
            ads: ads.unwrap_or(if time.is_some() { MOST_ADS } else { 1 }),
        })
    }

    /// The key that proofs of play of this answer will be signed with, if the client says so.
    pub(super) fn proof_key(&self) -> Result<Option<String>, Refusal> {
        match filled(self.key.trim()) {
            None => Ok(None),
            Some(key) if key.len() == 64 && key.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Ok(Some(key.to_ascii_lowercase()))
            }
            Some(_) => Err(bad("key is 64 hexadecimal digits")),
        }
    }

    pub(super) fn version(&self) -> Result<Version, Refusal> {
        match filled(self.vast.trim()) {
            None => Ok(Version::default()),
            Some(text) => Version::parse(text).ok_or_else(|| bad("vast is 2, 3 or 4.2")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &Query) -> Result<Question, String> {
        query.question().map_err(|r| r.1)
    }

    #[test]
    fn a_break_has_a_time_or_a_number_or_both_or_neither() {
        let room = |max: &str, ads: &str| {
            ask(&Query {
                max: max.into(),
                ads: ads.into(),
                ..Query::default()
            })
            .map(|a| (a.time, a.ads))
        };
        assert_eq!(room("", ""), Ok((None, 1)));
        assert_eq!(room("30.5", ""), Ok((Some(30_500), MOST_ADS)));
        assert_eq!(room("", "3"), Ok((None, 3)));
        assert_eq!(room("60", "2"), Ok((Some(60_000), 2)));
        // Macros left, unknown, withheld.
        assert_eq!(room("[BREAKMAXDURATION]", "-1"), Ok((None, 1)));
        for (max, ads) in [
            ("0", ""),
            ("-5", ""),
            ("NaN", ""),
            ("3601", ""),
            ("x", ""),
            ("", "0"),
            ("", "21"),
        ] {
            assert!(room(max, ads).is_err(), "{max} {ads}");
        }
        let long = Query {
            show: "x".repeat(201),
            ..Query::default()
        };
        assert!(ask(&long).unwrap_err().contains("show"));
    }

    #[test]
    fn what_is_not_wanted_is_a_list_and_a_version_is_one_of_three() {
        let query = Query {
            blocked: "IAB7, IAB8-1,".into(),
            country: "es".into(),
            ..Query::default()
        };
        let question = ask(&query).unwrap();
        assert_eq!(question.blocked, ["IAB7", "IAB8-1"]);
        assert_eq!(question.country.as_deref(), Some("ES"));
        let version = |vast: &str| {
            Query {
                vast: vast.into(),
                ..Query::default()
            }
            .version()
            .ok()
        };
        assert_eq!(version(""), Some(Version::V42));
        assert_eq!(version("2"), Some(Version::V2));
        assert_eq!(version("3.0"), Some(Version::V3));
        assert_eq!(version("5"), None);
        let key = |key: &str| {
            Query {
                key: key.into(),
                ..Query::default()
            }
            .proof_key()
            .ok()
        };
        assert_eq!(key("[GROVE_KEY]"), Some(None));
        assert_eq!(key(&"Ab".repeat(32)), Some(Some("ab".repeat(32))));
        assert_eq!(key("ab"), None);
    }
}
