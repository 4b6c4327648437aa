//! Cue points on the command line: `TIME[+REPLACE][,max=SEC][,ads=N][,loudness=LUFS|as-is]` for `--cue`, `TIME=CREATIVE` for `--ad`.
//!
//! Pure parsing with one clear sentence for each mistake; whether the creative exists is not looked at here.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    str::FromStr,
    time::Duration,
};

use super::loudness::BreakLoudnessError;
use super::{Action, BreakLoudness, CuePoint, CueSource, Position};
use crate::timecode::{self, TimecodeError};

/// Why `--cue` or `--ad` cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CueArgumentError {
    /// The time, the replaced duration or `max=` is not a time.
    #[error(transparent)]
    Time(#[from] TimecodeError),
    /// An option that does not exist.
    #[error(
        "\"{0}\" is not an option of a cue: they are max=SEC, ads=N and loudness=LUFS (or as-is, or content)"
    )]
    UnknownOption(String),
    /// An option given twice.
    #[error("\"{0}\" is given twice")]
    Twice(&'static str),
    /// `ads=` is not a number from 1 to 100.
    #[error("\"ads={0}\" is not a number of ads from 1 to 100")]
    Ads(String),
    /// `loudness=` is none.
    #[error(transparent)]
    Loudness(#[from] BreakLoudnessError),
    /// `max=0` or `+0`.
    #[error("\"{0}\" leaves no time at all")]
    Zero(String),
    /// `--ad` without `=`.
    #[error("\"{0}\" is not TIME=CREATIVE")]
    NoCreative(String),
}

/// A parsed `--cue TIME[+REPLACE][,max=SEC][,ads=N][,loudness=LUFS|as-is]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CueArgument {
    /// Where.
    pub position: Position,
    /// Insert, or replace so much content.
    pub action: Action,
    /// `max=`: most ad time.
    pub max_duration: Option<Duration>,
    /// `ads=`: most ads.
    pub max_ads: Option<u32>,
    /// `loudness=`: how loud its ads are to be, when that is said.
    pub loudness: Option<BreakLoudness>,
}

impl CueArgument {
    /// The cue point that it asks for, with no ads yet.
    pub fn into_cue(self, id: impl Into<String>) -> CuePoint {
        CuePoint {
            action: self.action,
            max_duration: self.max_duration,
            max_ads: self.max_ads,
            loudness: self.loudness.unwrap_or_default(),
            ..CuePoint::new(id, self.position, CueSource::CommandLine)
        }
    }
}

impl FromStr for CueArgument {
    type Err = CueArgumentError;

    fn from_str(text: &str) -> Result<Self, CueArgumentError> {
        let mut parts = text.split(',');
        let place = parts.next().unwrap_or_default();
        let (position, action) = match place.split_once('+') {
            None => (place.parse()?, Action::Insert),
            Some((position, replace)) => {
                let replaced = timecode::parse(replace)?;
                if replaced.is_zero() {
                    return Err(CueArgumentError::Zero(format!("+{replace}")));
                }
                (position.parse()?, Action::Replace(replaced))
            }
        };
        let mut cue = Self {
            position,
            action,
            max_duration: None,
            max_ads: None,
            loudness: None,
        };
        for option in parts {
            match option.split_once('=') {
                Some(("max", value)) => {
                    let most = timecode::parse(value)?;
                    if most.is_zero() {
                        return Err(CueArgumentError::Zero(option.to_owned()));
                    }
                    if cue.max_duration.replace(most).is_some() {
                        return Err(CueArgumentError::Twice("max"));
                    }
                }
                Some(("ads", value)) => {
                    let ads = value.parse().ok().filter(|n| (1..=100).contains(n));
                    let ads = ads.ok_or_else(|| CueArgumentError::Ads(value.to_owned()))?;
                    if cue.max_ads.replace(ads).is_some() {
                        return Err(CueArgumentError::Twice("ads"));
                    }
                }
                Some(("loudness", value)) => {
                    if cue.loudness.replace(value.parse()?).is_some() {
                        return Err(CueArgumentError::Twice("loudness"));
                    }
                }
                _ => return Err(CueArgumentError::UnknownOption(option.to_owned())),
            }
        }
        Ok(cue)
    }
}

/// A parsed `--ad TIME=CREATIVE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdArgument {
    /// Where; the same forms as `--cue`.
    pub cue: CueArgument,
    /// A file's path, which may be any, or a URL, as given.
    pub creative: OsString,
}

impl AdArgument {
    /// Reads it as the command line has it.
    ///
    /// # Errors
    /// [`CueArgumentError`]
    pub fn parse(text: &OsStr) -> Result<Self, CueArgumentError> {
        let bytes = text.as_bytes();
        // Options hold "=" too: the creative begins after the first "=" that no option owns.
        let mut from = 0;
        while let Some(found) = bytes[from..].iter().position(|byte| *byte == b'=') {
            let at = from + found;
            let before = &bytes[..at];
            if ![&b",max"[..], b",ads", b",loudness"]
                .iter()
                .any(|option| before.ends_with(option))
            {
                let creative = OsStr::from_bytes(&bytes[at + 1..]);
                if creative.is_empty() {
                    break;
                }
                return Ok(Self {
                    // What is no UTF-8 is no time, and is named in the error.
                    cue: String::from_utf8_lossy(before).parse()?,
                    creative: creative.to_owned(),
                });
            }
            from = at + 1;
        }
        Err(CueArgumentError::NoCreative(text.to_string_lossy().into_owned()))
    }
}

impl FromStr for AdArgument {
    type Err = CueArgumentError;

    fn from_str(text: &str) -> Result<Self, CueArgumentError> {
        Self::parse(OsStr::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_cue_is_read() {
        let cue: CueArgument = "1:30+0:15,max=60,ads=2,loudness=-18".parse().expect("cue");
        assert_eq!(cue.loudness, Some(BreakLoudness::Target(-1800)));
        assert_eq!(cue.position, "90".parse().expect("90"));
        assert_eq!(cue.action, Action::Replace(Duration::from_secs(15)));
        assert_eq!(cue.max_duration, Some(Duration::from_secs(60)));
        assert_eq!(cue.max_ads, Some(2));
        let plain: CueArgument = "end".parse().expect("end");
        assert_eq!((plain.position, plain.action), (Position::End, Action::Insert));
        let cue = "50%,ads=1".parse::<CueArgument>().expect("50%").into_cue("cue-1");
        assert_eq!((cue.id.as_str(), cue.max_ads), ("cue-1", Some(1)));
    }

    #[test]
    fn each_mistake_is_named() {
        for (text, part) in [
            ("", "empty"),
            ("1:75", "below 60"),
            ("10+", "empty"),
            ("10+0", "no time"),
            ("10,max=0", "no time"),
            ("10,ads=0", "1 to 100"),
            ("10,ads=x", "1 to 100"),
            ("10,loudness=loud", "LUFS from -40 to -5"),
            ("10,loudness=-16,loudness=-16", "twice"),
            ("10,max=5,max=6", "twice"),
            ("10,min=5", "max=SEC, ads=N and loudness"),
            ("10,", "max=SEC, ads=N and loudness"),
        ] {
            let error = text.parse::<CueArgument>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn an_ad_is_a_cue_and_a_creative() {
        let ad: AdArgument = "0:45=https://cdn.example/a.mp3?x=1".parse().expect("ad");
        assert_eq!(ad.creative, "https://cdn.example/a.mp3?x=1");
        assert_eq!(ad.cue.position, "45".parse().expect("45"));
        let ad: AdArgument = "45,max=30=b.wav".parse().expect("ad");
        assert_eq!(
            (ad.creative.to_str(), ad.cue.max_duration),
            (Some("b.wav"), Some(Duration::from_secs(30)))
        );
        let path = OsStr::from_bytes(b"a=\xff.wav");
        let ad = AdArgument::parse(&[OsStr::new("45="), path].join(OsStr::new(""))).expect("ad");
        assert_eq!(ad.creative, path);
        let wrong = AdArgument::parse(OsStr::from_bytes(b"\xff=a.wav")).expect_err("no time");
        assert!(wrong.to_string().contains("is not a time"), "{wrong}");
        for text in ["45", "45=", "45,max=30", "=a.mp3", "x=a.mp3"] {
            assert!(text.parse::<AdArgument>().is_err(), "{text}");
        }
    }
}
