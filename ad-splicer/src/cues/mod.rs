//! Cue points: where in the content an ad break is, what it does there, and where its ads come from.
//!
//! Labels, chapters, VMAP, HLS, SCTE-35, the command line: every source becomes the one type [`CuePoint`]. [`vmap`] reads
//! and writes VMAP 1.0, the form that the signed cue sheet carries; [`argument`] reads the command line's `--cue`;
//! [`marks`] reads files of every kind, `labels`, `chapters`, `hls`, `scte35` and `transport_stream` being one each.
//!
//! Invariants: cue points with equal positions keep the order of their document (VMAP 1.0 §2.3.1); a position is never
//! moved here (snapping is another step, and reported). Not for deciding which ads play ([`crate::decide`]), nor for
//! placing them on the presentation timeline (the splice plan does that).

pub mod argument;
mod chapters;
mod hls;
mod labels;
mod loudness;
pub mod marks;
mod scte35;
mod transport_stream;
pub mod vmap;

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    time::ContentTime,
    timecode::{self, TimecodeError},
};

pub use argument::{AdArgument, CueArgument, CueArgumentError};
pub use loudness::BreakLoudness;

/// Most cue points that one content may have. A feature film has about ten; a day of radio a few hundred.
pub const MOST_CUES: usize = 512;

/// Longest break, in ads, where its cue point sets no limit: an ad server's answer may be of any length, and the seams of a break are made in memory.
pub const USUAL_LIMIT: Duration = Duration::from_secs(600);

/// One ad break's place, limits and source of ads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CuePoint {
    /// Identifies the break within its document; unique after parsing. Goes into reports as `cue`.
    pub id: String,
    /// Where it is, in content time.
    pub position: Position,
    /// Whether content is replaced.
    pub action: Action,
    /// No more ad time than this in the break; see [`CuePoint::limit`].
    pub max_duration: Option<Duration>,
    /// No more ads than this in the break; at least 1.
    pub max_ads: Option<u32>,
    /// The break comes again every so often until the end of the content (VMAP `repeatAfter`).
    pub repeat_after: Option<Duration>,
    /// Where the cue point was found.
    pub source: CueSource,
    /// Where its ads come from; `None` is a mark without ads (the content plays on).
    pub ads: Option<AdSource>,
    /// URLs for the break's own events (VMAP `breakStart`, `breakEnd`, `error`).
    pub tracking: Vec<BreakTracking>,
    /// How loud its ads are to be.
    pub loudness: BreakLoudness,
    /// On which basis third parties' impressions are fired; `None`: whichever way this viewer gets the ad.
    pub impressions_on: Option<crate::beacons::Basis>,
}

impl CuePoint {
    /// A cue point that inserts without limits, with no ads yet.
    pub fn new(id: impl Into<String>, position: Position, source: CueSource) -> Self {
        Self {
            id: id.into(),
            position,
            action: Action::Insert,
            max_duration: None,
            max_ads: None,
            repeat_after: None,
            source,
            ads: None,
            tracking: Vec::new(),
            loudness: BreakLoudness::Content,
            impressions_on: None,
        }
    }

    /// No more ad time than this in the break, whether or not anybody said so.
    pub fn limit(&self) -> Duration {
        self.max_duration.unwrap_or(USUAL_LIMIT)
    }
}

/// Where a cue point is in the content. Parses and displays as people write it: a time, `start`, `end` or `n%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// At a content time.
    Time(ContentTime),
    /// Before the content (pre-roll).
    Start,
    /// After the content (post-roll).
    End,
    /// At a part of the content's duration.
    Percent(Percent),
}

/// A part of a whole in thousandths of a percent, 0 to 100,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Percent(u32);

impl Percent {
    /// From thousandths of a percent; `None` above 100,000.
    pub fn from_thousandths(thousandths: u32) -> Option<Self> {
        (thousandths <= 100_000).then_some(Self(thousandths))
    }

    /// In thousandths of a percent.
    pub fn thousandths(self) -> u32 {
        self.0
    }

    /// This part of a duration, rounded down to the nanosecond.
    pub fn of(self, whole: Duration) -> Duration {
        let nanos = whole.as_nanos() * u128::from(self.0) / 100_000;
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

impl TryFrom<u32> for Percent {
    type Error = &'static str;

    fn try_from(thousandths: u32) -> Result<Self, Self::Error> {
        Self::from_thousandths(thousandths).ok_or("more than 100 %")
    }
}

impl From<Percent> for u32 {
    fn from(percent: Percent) -> u32 {
        percent.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % 1_000 {
            0 => write!(f, "{}%", self.0 / 1_000),
            rest => write!(
                f,
                "{}.{}%",
                self.0 / 1_000,
                format!("{rest:03}").trim_end_matches('0')
            ),
        }
    }
}

impl FromStr for Percent {
    type Err = TimecodeError;

    /// Reads `n%`, 0 to 100, with up to three decimals.
    fn from_str(text: &str) -> Result<Self, TimecodeError> {
        let fail = |reason| TimecodeError {
            text: text.chars().take(40).collect(),
            reason,
        };
        let digits = text
            .trim()
            .strip_suffix('%')
            .ok_or_else(|| fail("a percentage ends in %"))?
            .trim();
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty()
            || whole.len() > 3
            || fraction.len() > 3
            || !all_digits(whole)
            || !all_digits(fraction)
        {
            return Err(fail(
                "a percentage is a number from 0 to 100 with up to three decimals",
            ));
        }
        let thousandths = format!("{whole}{fraction:0<3}")
            .parse()
            .map_err(|_| fail("a percentage is a number"))?;
        Self::from_thousandths(thousandths).ok_or_else(|| fail("a percentage is at most 100"))
    }
}

impl Position {
    /// The content time of this position in content of the given duration; what lies beyond the end is at the end.
    pub fn resolve(self, duration: ContentTime) -> ContentTime {
        match self {
            Self::Time(time) => time.min(duration),
            Self::Start => ContentTime::from_nanos(0),
            Self::End => duration,
            Self::Percent(percent) => {
                let at = percent.of(Duration::from_nanos(duration.as_nanos()));
                ContentTime::from_nanos(u64::try_from(at.as_nanos()).unwrap_or(u64::MAX))
            }
        }
    }
}

impl FromStr for Position {
    type Err = TimecodeError;

    /// Reads `start`, `end`, `n%`, or a time ([`timecode::parse`]).
    fn from_str(text: &str) -> Result<Self, TimecodeError> {
        match text.trim() {
            "start" => Ok(Self::Start),
            "end" => Ok(Self::End),
            percent if percent.ends_with('%') => percent.parse().map(Self::Percent),
            time => {
                let time = timecode::parse(time)?;
                // `timecode::LONGEST` is far below 2^64 ns.
                Ok(Self::Time(ContentTime::from_nanos(time.as_nanos() as u64)))
            }
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time(time) => timecode::format(Duration::from_nanos(time.as_nanos())).fmt(f),
            Self::Start => f.write_str("start"),
            Self::End => f.write_str("end"),
            Self::Percent(percent) => percent.fmt(f),
        }
    }
}

/// What a break does to the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Content stops, ads play, content goes on from the same sample.
    #[default]
    Insert,
    /// Content goes on this much later; when no ad plays, nothing is replaced.
    Replace(Duration),
}

/// Where a cue point was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CueSource {
    /// Typed by a person.
    CommandLine,
    /// A VMAP document, the cue sheet's or a file.
    Vmap,
    /// An audio editor's label track.
    Labels,
    /// ID3 or MP4 chapters whose title says that they are breaks.
    Chapters,
    /// Marks in an HLS playlist.
    Hls,
    /// SCTE-35 messages.
    Scte35,
}

/// Where a break's ads come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdSource {
    /// An ad tag: a URL (http or https) that answers VAST, possibly with macros.
    Tag(String),
    /// A VAST document written into the cue sheet.
    Inline(String),
}

/// A URL for one of a break's own events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakTracking {
    /// Which event.
    pub event: BreakEvent,
    /// The URL, with its macros.
    pub url: String,
}

/// A break's own events (VMAP 1.0 §2.3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BreakEvent {
    /// The break began.
    BreakStart,
    /// The break ended.
    BreakEnd,
    /// Something went wrong in the break.
    Error,
}

/// A cue point at its place in content of a known duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlacedCue<'a> {
    /// The cue point.
    pub cue: &'a CuePoint,
    /// Its content time.
    pub at: ContentTime,
    /// Which repetition this is, 0 for the cue point itself.
    pub repetition: u32,
}

/// Lays cue points out on content of the given duration: in order of time, those at equal times in the order given,
/// repetitions unrolled. At most [`MOST_CUES`] come out.
pub fn in_order(cues: &[CuePoint], duration: ContentTime) -> Vec<PlacedCue<'_>> {
    let mut placed = Vec::new();
    for cue in cues {
        let mut at = cue.position.resolve(duration);
        let step = cue
            .repeat_after
            .map_or(0, |step| u64::try_from(step.as_nanos()).unwrap_or(u64::MAX));
        for repetition in 0.. {
            placed.push(PlacedCue { cue, at, repetition });
            let Some(next) = at.as_nanos().checked_add(step) else {
                break;
            };
            if step == 0 || next >= duration.as_nanos() || placed.len() >= MOST_CUES {
                break;
            }
            at = ContentTime::from_nanos(next);
        }
    }
    placed.sort_by_key(|placed| placed.at);
    placed.truncate(MOST_CUES);
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cue(id: &str, position: &str) -> CuePoint {
        CuePoint::new(id, position.parse().expect("position"), CueSource::CommandLine)
    }

    const MINUTE: ContentTime = ContentTime::from_nanos(60_000_000_000);

    #[test]
    fn positions_are_read_and_written() {
        for (text, written) in [
            ("start", "start"),
            ("end", "end"),
            ("50%", "50%"),
            ("12.5%", "12.5%"),
            ("1:30", "00:01:30"),
            ("0.25", "00:00:00.250"),
        ] {
            assert_eq!(text.parse::<Position>().expect(text).to_string(), written);
        }
        for text in ["101%", "x%", "-1%", "%", "1.2345%", "begin", "1:99"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }

    #[test]
    fn percentages_are_of_the_duration() {
        assert_eq!(
            "12.5%".parse::<Position>().expect("12.5%").resolve(MINUTE),
            ContentTime::from_nanos(7_500_000_000)
        );
        assert_eq!("100%".parse::<Position>().expect("100%").resolve(MINUTE), MINUTE);
        assert_eq!("2:00".parse::<Position>().expect("2:00").resolve(MINUTE), MINUTE);
    }

    #[test]
    fn equal_offsets_play_in_document_order() {
        let cues = [cue("c", "30"), cue("a", "start"), cue("b", "0"), cue("d", "50%")];
        let ids: Vec<_> = in_order(&cues, MINUTE)
            .iter()
            .map(|p| p.cue.id.as_str())
            .collect();
        assert_eq!(ids, ["a", "b", "c", "d"]);
    }

    #[test]
    fn repetitions_stop_before_the_end_and_are_bounded() {
        let mut every = cue("r", "10");
        every.repeat_after = Some(Duration::from_secs(20));
        let at: Vec<_> = in_order(std::slice::from_ref(&every), MINUTE)
            .iter()
            .map(|p| p.at.as_nanos() / 1_000_000_000)
            .collect();
        assert_eq!(at, [10, 30, 50]);
        every.repeat_after = Some(Duration::from_nanos(1));
        assert_eq!(in_order(&[every], MINUTE).len(), MOST_CUES);
    }
}
