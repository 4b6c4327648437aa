//! Times as people and ad documents write them: `SS`, `MM:SS`, `HH:MM:SS`, each with an optional fraction.
//!
//! Invariants: what [`format()`] writes, [`parse`] reads back exactly, down to the nanosecond. Minutes and seconds that
//! follow a larger unit are below 60, so `1:75` is refused rather than guessed at; the first unit is free (`90:00` is
//! an hour and a half). Positions (`start`, `end`, `n%`) are built on this in [`crate::cues`]; this file knows nothing
//! of content.

use std::{fmt, time::Duration};

/// Longest time accepted: 1,000 hours. Anything beyond it is a mistake in a document, not a position in an episode.
pub const LONGEST: Duration = Duration::from_secs(1_000 * 3_600);

/// Why a text is not a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a time: {reason} (write SS, MM:SS or HH:MM:SS, each with .mmm if needed)")]
pub struct TimecodeError {
    /// What was given, cut to 40 characters.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// Reads `SS`, `MM:SS` or `HH:MM:SS`, each with a fraction of one to nine digits (VAST and VMAP use three).
///
/// Blanks around it are accepted, signs and exponents are not.
pub fn parse(text: &str) -> Result<Duration, TimecodeError> {
    let fail = |reason| TimecodeError {
        text: text.chars().take(40).collect(),
        reason,
    };
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(fail("it is empty"));
    }
    let (whole, fraction) = match trimmed.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (trimmed, None),
    };
    let units: Vec<&str> = whole.split(':').collect();
    if units.len() > 3 {
        return Err(fail("it has more than three parts"));
    }
    let mut seconds: u64 = 0;
    for (place, unit) in units.iter().enumerate() {
        if unit.is_empty() || unit.len() > 9 || !unit.bytes().all(|b| b.is_ascii_digit()) {
            return Err(fail("hours, minutes and seconds are digits"));
        }
        let value: u64 = unit
            .parse()
            .map_err(|_| fail("hours, minutes and seconds are digits"))?;
        if place > 0 && value >= 60 {
            return Err(fail("minutes and seconds after a larger unit are below 60"));
        }
        seconds = seconds * 60 + value;
    }
    let nanos = match fraction {
        None => 0,
        Some(digits) if (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit()) => {
            let value: u32 = digits
                .parse()
                .map_err(|_| fail("the fraction is one to nine digits"))?;
            value * 10_u32.pow(9 - digits.len() as u32)
        }
        Some(_) => return Err(fail("the fraction is one to nine digits")),
    };
    let time = Duration::new(seconds, nanos);
    if time > LONGEST {
        return Err(fail("it is longer than 1,000 hours"));
    }
    Ok(time)
}

/// Writes a time as `HH:MM:SS`, with `.mmm` when it is not a whole second, and with nine digits when milliseconds
/// would lose something.
pub fn format(time: Duration) -> Timecode {
    Timecode(time)
}

/// Writes a time as VAST and VMAP want it: `HH:MM:SS.mmm`, always with three digits, cut (never rounded up).
pub fn format_millis(time: Duration) -> String {
    let seconds = time.as_secs();
    format!(
        "{:02}:{:02}:{:02}.{:03}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60,
        time.subsec_millis()
    )
}

/// A time that displays itself; made by [`format()`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timecode(Duration);

impl fmt::Display for Timecode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        write!(
            f,
            "{:02}:{:02}:{:02}",
            seconds / 3_600,
            seconds / 60 % 60,
            seconds % 60
        )?;
        match self.0.subsec_nanos() {
            0 => Ok(()),
            nanos if nanos % 1_000_000 == 0 => write!(f, ".{:03}", nanos / 1_000_000),
            nanos => write!(f, ".{nanos:09}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        for (text, millis) in [
            ("0", 0),
            ("7", 7_000),
            ("7.5", 7_500),
            ("90", 90_000),
            ("1:30", 90_000),
            ("90:00", 5_400_000),
            ("00:01:30.250", 90_250),
            ("1:00:00", 3_600_000),
            (" 00:00:16 ", 16_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn rubbish_is_named() {
        for (text, reason) in [
            ("", "empty"),
            ("abc", "digits"),
            ("-3", "digits"),
            ("1e3", "digits"),
            ("1:75", "below 60"),
            ("1::2", "digits"),
            ("1:2:3:4", "three parts"),
            ("1.", "one to nine"),
            ("1.0000000001", "one to nine"),
            ("999999999", "1,000 hours"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn written_as_documents_want_it() {
        assert_eq!(format(Duration::from_secs(90)).to_string(), "00:01:30");
        assert_eq!(
            format(Duration::from_millis(3_600_250)).to_string(),
            "01:00:00.250"
        );
        assert_eq!(format(Duration::new(1, 1)).to_string(), "00:00:01.000000001");
        assert_eq!(format_millis(Duration::new(61, 999_999_999)), "00:01:01.999");
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(nanos in 0..=LONGEST.as_nanos() as u64) {
            let time = Duration::from_nanos(nanos);
            proptest::prop_assert_eq!(parse(&format(time).to_string()), Ok(time));
        }
    }
}
