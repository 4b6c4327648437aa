//! VAST macros (VAST 4.2 §6): `[NAME]` in a URL becomes a percent-encoded value.
//!
//! Also understood percent-encoded (`%5BNAME%5D`). A macro of the specification whose value is not known becomes `-1`;
//! one that names the person or the device is withheld and becomes `-2`: nothing personal is ever sent. Macros that
//! are not in the specification stay as they are written. The commas of a list are not encoded.
//!
//! Deviation, on purpose: `[TIMESTAMP]` of a beacon is the time of the event, not of the request, which may come days
//! later.

use std::{collections::BTreeMap, time::Duration};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::decision::VastCode;
use crate::{
    beacons::{Basis, UnixMillis},
    timecode,
};

const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Known, and never told.
const WITHHELD: &[&str] = &[
    "DEVICEIP", "IFA", "IFATYPE", "LATLONG", "PAGEURL", "CLIENTUA", AD_ID,
];

/// In the specification; unknown unless set.
const UNKNOWN: &[&str] = &[
    "ADCATEGORIES",
    "ADCOUNT",
    "ADPLAYHEAD",
    "ADSERVINGID",
    "ADTYPE",
    "APIFRAMEWORKS",
    "APPBUNDLE",
    "ASSETURI",
    "BLOCKEDADCATEGORIES",
    "BREAKMAXADLENGTH",
    "BREAKMAXADS",
    "BREAKMAXDURATION",
    "BREAKMINADLENGTH",
    "BREAKMINDURATION",
    "BREAKPOSITION",
    "CLICKPOS",
    "CLICKTYPE",
    "CONTENTCAT",
    "CONTENTID",
    "CONTENTPLAYHEAD",
    "CONTENTURI",
    "DEVICEUA",
    "DOMAIN",
    "ERRORCODE",
    "EXTENSIONS",
    "GDPRCONSENT",
    "INVENTORYSTATE",
    "MEDIAMIME",
    "MEDIAPLAYHEAD",
    "OMIDPARTNER",
    "PLACEMENTTYPE",
    "PLAYERCAPABILITIES",
    "PLAYERSIZE",
    "PLAYERSTATE",
    "PODSEQUENCE",
    "REASON",
    "REGULATIONS",
    "SERVERSIDE",
    "SERVERUA",
    "TRANSACTIONID",
    "UNIVERSALADID",
    "VASTVERSIONS",
    "VERIFICATIONVENDORS",
    KEY,
];

/// The macro that only Grove ad servers write: replaced by `delivered` or `played`.
pub const BASIS: &str = "GROVE_BASIS";

/// Our own macro of request URLs: one token for all breaks of one rendition, so that a server need not give the same ad twice in it.
/// It is drawn anew for each rendition and names neither the person nor the device.
pub const DOWNLOAD: &str = "GROVE_DOWNLOAD";

/// Our own macro of request URLs: the public key that will sign the account of this playback (`proof`). It is made anew for
/// each playback and names neither the person nor the device.
pub const KEY: &str = "GROVE_KEY";

/// Our own macro of request URLs: the device's random number, only when the viewer allows it.
pub const AD_ID: &str = "GROVE_AD_ID";

/// Values for the macros of one URL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Macros {
    /// Encoded values by name.
    values: BTreeMap<&'static str, String>,
}

impl Macros {
    /// What is known everywhere: the time, a fresh 8-digit number out of `random`, and that tracking is limited.
    pub fn new(at: UnixMillis, random: u64) -> Self {
        Self::default()
            .text("TIMESTAMP", &at.iso8601())
            .text("CACHEBUSTING", &cachebusting(random))
            .text("LIMITADTRACKING", "1")
            .text("SERVERSIDE", "0")
            .text("VASTVERSIONS", "2")
            .list(
                "VASTVERSIONS",
                ["2", "3", "5", "6", "7", "8", "11", "12", "13", "14"],
            )
    }

    /// Sets a macro to a text; it is percent-encoded.
    #[must_use]
    pub fn text(mut self, name: &'static str, value: &str) -> Self {
        self.values
            .insert(name, utf8_percent_encode(value, ENCODED).to_string());
        self
    }

    /// Sets a macro to a text when there is one.
    #[must_use]
    pub fn optional(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) if !value.is_empty() => self.text(name, value),
            _ => self,
        }
    }

    /// Sets a macro to a list; the commas between are not encoded.
    #[must_use]
    pub fn list<I: IntoIterator<Item = S>, S: AsRef<str>>(mut self, name: &'static str, values: I) -> Self {
        let encoded: Vec<String> = values
            .into_iter()
            .map(|value| utf8_percent_encode(value.as_ref(), ENCODED).to_string())
            .collect();
        if !encoded.is_empty() {
            self.values.insert(name, encoded.join(","));
        }
        self
    }

    /// Sets a macro to a number.
    #[must_use]
    pub fn number(self, name: &'static str, value: u64) -> Self {
        self.text(name, &value.to_string())
    }

    /// Sets a playhead macro (`HH:MM:SS.mmm`).
    #[must_use]
    pub fn playhead(self, name: &'static str, at: Duration) -> Self {
        self.text(name, &timecode::format_millis(at))
    }

    /// Sets `[ERRORCODE]`.
    #[must_use]
    pub fn error(self, code: VastCode) -> Self {
        self.number("ERRORCODE", u64::from(code.0))
    }

    /// Sets `[GROVE_BASIS]`.
    #[must_use]
    pub fn basis(self, basis: Basis) -> Self {
        self.text(BASIS, basis.as_str())
    }

    /// Fills a URL.
    pub fn fill(&self, url: &str) -> String {
        let mut filled = String::with_capacity(url.len() + 32);
        let mut rest = url;
        while let Some((before, name, after)) = next_macro(rest) {
            filled.push_str(before);
            match self.value(name) {
                Some(value) => filled.push_str(value),
                None => filled.push_str(&rest[before.len()..rest.len() - after.len()]),
            }
            rest = after;
        }
        filled.push_str(rest);
        filled
    }

    fn value(&self, name: &str) -> Option<&str> {
        if let Some(value) = self.values.get(name) {
            Some(value)
        } else if WITHHELD.contains(&name) {
            Some("-2")
        } else if UNKNOWN.contains(&name) {
            Some("-1")
        } else {
            None
        }
    }
}

/// True when the URL carries our macro, so that a Grove ad server counts it.
pub fn is_grove(url: &str) -> bool {
    let mut rest = url;
    while let Some((_, name, after)) = next_macro(rest) {
        if name == BASIS {
            return true;
        }
        rest = after;
    }
    false
}

/// The first macro of a text: what is before it, its name, what is after it.
fn next_macro(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(at) = text[from..].find(['[', '%']).map(|at| from + at) {
        let open = if text[at..].starts_with('[') {
            1
        } else if text
            .get(at..at + 3)
            .is_some_and(|code| code.eq_ignore_ascii_case("%5b"))
        {
            3
        } else {
            0
        };
        let body = &text[at + open..];
        let length = body
            .find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
            .unwrap_or(body.len());
        let tail = &body[length..];
        let close = if open == 1 && tail.starts_with(']') {
            1
        } else if open == 3 && tail.get(..3).is_some_and(|code| code.eq_ignore_ascii_case("%5d")) {
            3
        } else {
            0
        };
        if open > 0 && close > 0 && length > 0 {
            return Some((&text[..at], &body[..length], &tail[close..]));
        }
        from = at + 1;
    }
    None
}

/// Eight digits out of a random number.
pub fn cachebusting(random: u64) -> String {
    format!("{:08}", random % 100_000_000)
}

/// The `n`th random number of a seed (SplitMix64): enough for cache busting, the same in every run of a test.
pub fn random(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn macros() -> Macros {
        Macros::new(UnixMillis(1_453_018_507_127), 7)
    }

    #[test]
    fn rule_9_values_are_percent_encoded_and_the_comma_of_a_list_is_not() {
        let macros = macros()
            .list("UNIVERSALADID", ["Ad-ID 1", "b,c"])
            .playhead("CONTENTPLAYHEAD", Duration::from_millis(61_500))
            .text("ASSETURI", "http://a.example/x?y=1&z=é")
            .error(VastCode(303));
        assert_eq!(
            macros.fill("http://t/?t=[TIMESTAMP]&c=[CACHEBUSTING]&e=[ERRORCODE]&u=[UNIVERSALADID]&p=[CONTENTPLAYHEAD]&a=[ASSETURI]"),
            "http://t/?t=2016-01-17T08%3A15%3A07.127Z&c=00000007&e=303&u=Ad-ID%201,b%2Cc&p=00%3A01%3A01.500\
             &a=http%3A%2F%2Fa.example%2Fx%3Fy%3D1%26z%3D%C3%A9"
        );
    }

    #[test]
    fn rule_9_unknown_is_minus_1_withheld_is_minus_2_unrecognised_stays() {
        assert_eq!(
            macros().fill(
                "http://t/[BREAKPOSITION]/[IFA]/[LIMITADTRACKING]/[FOO]/[lower]/[]/[TIMESTAMP/%5BFOO%5D"
            ),
            "http://t/-1/-2/1/[FOO]/[lower]/[]/[TIMESTAMP/%5BFOO%5D"
        );
    }

    #[test]
    fn rule_9_nothing_personal_is_told_whatever_is_asked() {
        let filled = macros()
            .fill("[DEVICEIP]/[IFA]/[IFATYPE]/[LATLONG]/[PAGEURL]/[CLIENTUA]/[GROVE_AD_ID]/[GROVE_KEY]");
        assert_eq!(filled, "-2/-2/-2/-2/-2/-2/-2/-1");
    }

    #[test]
    fn rule_9_every_macro_of_the_sheet_is_known() {
        for name in [
            "TIMESTAMP",
            "CACHEBUSTING",
            "ERRORCODE",
            "REASON",
            "LIMITADTRACKING",
            "CONTENTPLAYHEAD",
            "MEDIAPLAYHEAD",
            "BREAKPOSITION",
            "ADCOUNT",
            "PODSEQUENCE",
            "ADSERVINGID",
            "UNIVERSALADID",
            "ASSETURI",
            "DEVICEUA",
            "PLAYERSTATE",
            "BREAKMAXDURATION",
            "BREAKMINDURATION",
            "ADPLAYHEAD",
            "SERVERSIDE",
            "ADTYPE",
            "CONTENTID",
            "CONTENTURI",
        ] {
            let filled = macros().fill(&format!("http://t/?x=[{name}]"));
            assert!(!filled.contains('['), "{filled}");
        }
    }

    #[test]
    fn encoded_brackets_are_understood_and_our_macro_is_known() {
        let url = "http://t/?b=%5BGROVE_BASIS%5D&c=%5bCACHEBUSTING%5d";
        assert!(is_grove(url) && is_grove("http://t/[GROVE_BASIS]") && !is_grove("http://t/GROVE_BASIS?[X]"));
        assert_eq!(
            macros().basis(Basis::Delivered).fill(url),
            "http://t/?b=delivered&c=00000007"
        );
    }

    #[test]
    fn rule_9_cachebusting_has_8_digits_and_differs_from_request_to_request() {
        let numbers: std::collections::BTreeSet<_> = (0..100).map(|n| cachebusting(random(1, n))).collect();
        assert_eq!(numbers.len(), 100);
        assert!(numbers.iter().all(|number| number.len() == 8));
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_filled(text in "[\\[\\]%5BbDdA-Z_é]{0,40}") {
            let _ = macros().fill(&text);
        }
    }
}
