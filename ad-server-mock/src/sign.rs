//! Signed beacon URLs: HMAC-SHA256 over everything in the URL that the server wrote.
//!
//! Invariants: the fields are signed with their lengths, so that none can run into the next; the client's own words
//! (`basis`, `ts`, `code`) are macros that it fills, outside the signature. Not for secrecy: anyone may read a beacon.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use sha2::Sha256;

/// What is kept as it is in a URL (RFC 3986 unreserved).
pub(crate) const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Key of the beacons of one database.
#[derive(Clone)]
pub(crate) struct Key(Hmac<Sha256>);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key")
    }
}

/// What one beacon URL is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// VAST event, or `impression`, `click`, `error`, `noAd`.
    pub(crate) event: &'a str,
    /// The decision; for `noAd` the request.
    pub(crate) id: &'a str,
    pub(crate) flight: &'a str,
    pub(crate) creative: &'a str,
    /// Which of several trackers of the event.
    pub(crate) tracker: &'a str,
}

/// The query of a beacon as it comes back.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Query {
    pub(crate) f: String,
    pub(crate) c: String,
    pub(crate) t: String,
    pub(crate) s: String,
    pub(crate) basis: String,
    pub(crate) ts: String,
    pub(crate) code: String,
}

impl Key {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(Hmac::new_from_slice(bytes).expect("HMAC takes a key of any length"))
    }

    fn mac(&self, subject: Subject<'_>) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(b"grove beacon 1");
        for field in [
            subject.event,
            subject.id,
            subject.flight,
            subject.creative,
            subject.tracker,
        ] {
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field.as_bytes());
        }
        mac
    }

    /// The URL of a beacon under `base` (no slash at its end), with macros for the client to fill.
    pub(crate) fn url(&self, base: &str, subject: Subject<'_>) -> String {
        let escape = |text| utf8_percent_encode(text, ESCAPED);
        let signature = hex::encode(self.mac(subject).finalize().into_bytes());
        let mut url = if subject.event == "proof" {
            format!("{base}/proof/{}?", escape(subject.id))
        } else {
            format!("{base}/b/{}/{}?", escape(subject.event), escape(subject.id))
        };
        // Macros first: a `]` just before the end of a CDATA section is more than some readers take.
        if !matches!(subject.event, "noAd" | "proof") {
            // No reader of VAST but ours knows this macro, and some complain of those that they do not know.
            url.push_str("basis=%5BGROVE_BASIS%5D&");
        }
        if subject.event != "proof" {
            url.push_str("ts=[TIMESTAMP]&");
        }
        if matches!(subject.event, "error" | "noAd") {
            url.push_str("code=[ERRORCODE]&");
        }
        for (name, value) in [
            ("f", subject.flight),
            ("c", subject.creative),
            ("t", subject.tracker),
        ] {
            if !value.is_empty() {
                // Writing to a String cannot fail.
                let _ = write!(url, "{name}={}&", escape(value));
            }
        }
        url.push_str("s=");
        url.push_str(&signature);
        url
    }

    /// A tag that only this server can make, over parts that cannot run into each other. `domain` says what it is for.
    pub(crate) fn tag(&self, domain: &str, parts: &[&str]) -> String {
        hex::encode(self.tagged(domain, parts).finalize().into_bytes())
    }

    /// Whether a tag is the one of these parts.
    pub(crate) fn is_tag(&self, tag: &str, domain: &str, parts: &[&str]) -> bool {
        hex::decode(tag).is_ok_and(|t| self.tagged(domain, parts).verify_slice(&t).is_ok())
    }

    fn tagged(&self, domain: &str, parts: &[&str]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(b"grove tag 1");
        for field in [domain].iter().chain(parts) {
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field.as_bytes());
        }
        mac
    }

    /// Whether this server wrote the URL. Takes the same time wherever a signature differs.
    pub(crate) fn verify(&self, subject: Subject<'_>, signature: &str) -> bool {
        hex::decode(signature).is_ok_and(|s| self.mac(subject).verify_slice(&s).is_ok())
    }
}

/// A macro that the client filled: not empty, not left as it was, not one of VAST's "unknown" values.
pub(crate) fn filled(value: &str) -> Option<&str> {
    let left = value.starts_with('[') && value.ends_with(']');
    (!value.is_empty() && !left && value != "-1" && value != "-2").then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_cannot_be_changed() {
        let key = Key::new(&[1; 32]);
        let subject = Subject {
            event: "start",
            id: "x",
            flight: "f",
            creative: "c",
            tracker: "1",
        };
        let url = key.url("http://h", subject);
        let (head, signature) = url.split_once("&s=").unwrap();
        assert_eq!(
            head,
            "http://h/b/start/x?basis=%5BGROVE_BASIS%5D&ts=[TIMESTAMP]&f=f&c=c&t=1"
        );
        assert!(key.verify(subject, signature));
        assert!(!Key::new(&[2; 32]).verify(subject, signature));
        for changed in [
            Subject {
                event: "complete",
                ..subject
            },
            Subject { id: "y", ..subject },
            Subject {
                flight: "g",
                ..subject
            },
            Subject {
                creative: "d",
                ..subject
            },
            Subject {
                tracker: "2",
                ..subject
            },
            Subject {
                flight: "fc",
                creative: "",
                ..subject
            },
        ] {
            assert!(!key.verify(changed, signature), "{changed:?}");
        }
        assert!(
            !key.verify(subject, "") && !key.verify(subject, "zz") && !key.verify(subject, &signature[2..])
        );
    }

    #[test]
    fn macros_left_or_unknown_are_not_filled() {
        for left in ["", "[GROVE_BASIS]", "-1", "-2"] {
            assert_eq!(filled(left), None);
        }
        assert_eq!(filled("played"), Some("played"));
    }
}
