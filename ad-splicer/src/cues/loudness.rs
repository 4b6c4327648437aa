//! How loud the ads of a break are to be: what a publisher says of it.
//!
//! Not for: measuring, or gain (`crate::loudness`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The loudness that a break's ads are brought to. Parses and displays as people write it: `content`, `as-is`, or a number of LUFS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakLoudness {
    /// That of the content around the cue.
    #[default]
    Content,
    /// So many hundredths of a LUFS, from -4,000 to -500.
    Target(i32),
    /// Their own: a sponsorship read was mixed with the programme. Only peaks above the ceiling are limited.
    AsIs,
}

/// The quietest target, in hundredths of a LUFS.
const QUIETEST: i32 = -4000;
/// The loudest target, in hundredths of a LUFS.
const LOUDEST: i32 = -500;

impl fmt::Display for BreakLoudness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content => f.write_str("content"),
            Self::Target(hundredths) => write!(f, "{:.2}", f64::from(*hundredths) / 100.0),
            Self::AsIs => f.write_str("as-is"),
        }
    }
}

/// Why a text is no loudness of a break.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no loudness of a break: it is content, as-is, or LUFS from -40 to -5")]
pub struct BreakLoudnessError(String);

impl FromStr for BreakLoudness {
    type Err = BreakLoudnessError;

    fn from_str(text: &str) -> Result<Self, BreakLoudnessError> {
        let wrong = || BreakLoudnessError(text.chars().take(40).collect());
        match text {
            "content" => Ok(Self::Content),
            "as-is" => Ok(Self::AsIs),
            number => {
                let lufs: f64 = number.parse().map_err(|_| wrong())?;
                let hundredths = (lufs * 100.0).round();
                if (f64::from(QUIETEST)..=f64::from(LOUDEST)).contains(&hundredths) {
                    Ok(Self::Target(hundredths as i32))
                } else {
                    Err(wrong())
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_is_read() {
        for (text, expected) in [
            ("content", Some(BreakLoudness::Content)),
            ("as-is", Some(BreakLoudness::AsIs)),
            ("-16", Some(BreakLoudness::Target(-1600))),
            ("-40", Some(BreakLoudness::Target(QUIETEST))),
            ("-23.55", Some(BreakLoudness::Target(-2355))),
            ("-4.9", None),
            ("-40.1", None),
            ("NaN", None),
            ("loud", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text}");
            if let Some(loudness) = expected {
                assert_eq!(loudness.to_string().parse(), Ok(loudness));
            }
        }
    }
}
