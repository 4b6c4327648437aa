//! Marks that people and programs leave in and beside media, and which of them are cue points.
//!
//! [`read`] takes any file that may hold marks, tells by its content which kind it is, and gives every mark in it: those
//! that ask for a break by themselves (VMAP, HLS, SCTE-35), and labels and chapters, which are cue points only when
//! their title says so ([`TitlePattern`]): a chapter is not a break. What cannot be used is noted, one sentence each;
//! what cannot be read is an error that names the line or the chapter.
//!
//! Not for: moving cue points to a pause, or deciding what plays there.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use regex::{Regex, RegexBuilder};

use super::vmap::{self, VmapError};
use super::{
    Action, CuePoint, CueSource, MOST_CUES, Position, chapters, hls, labels, scte35, transport_stream,
};
use crate::content::FileContent;
use crate::frames::id3v2;
use crate::time::ContentTime;
use crate::xml;

/// Largest file of marks that is read; of media files only their tags are.
const MAX_BYTES: u64 = 16 << 20;
/// Largest ID3 tag that is looked at: cover art makes them large.
const MAX_TAG: u64 = 64 << 20;
/// How Matroska and WebM begin.
const EBML: [u8; 4] = [0x1A, 0x45, 0xDF, 0xA3];
/// Which titles say that a label or chapter is a break, when nobody says otherwise. Case does not matter.
pub const DEFAULT_PATTERN: &str = r"^(ad|break)\b";

/// Which titles make a label or a chapter a cue point.
#[derive(Debug, Clone)]
pub struct TitlePattern(Regex);

impl Default for TitlePattern {
    fn default() -> Self {
        // The pattern is a constant, and a test reads it.
        DEFAULT_PATTERN.parse().unwrap_or_else(|_| unreachable!())
    }
}

impl FromStr for TitlePattern {
    type Err = regex::Error;

    /// Reads a regular expression in the syntax of the `regex` crate; upper and lower case are the same.
    fn from_str(text: &str) -> Result<Self, regex::Error> {
        RegexBuilder::new(text)
            .case_insensitive(true)
            .size_limit(1 << 20)
            .build()
            .map(Self)
    }
}

impl TitlePattern {
    /// Whether the title says that this is a break.
    pub fn matches(&self, title: &str) -> bool {
        self.0.is_match(title.trim())
    }
}

/// What the reader needs to know besides the file.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which labels and chapters are cue points.
    pub pattern: TitlePattern,
    /// The first presentation timestamp of the stream that SCTE-35 messages belong to, in 90 kHz ticks (33 bits).
    pub first_pts: u64,
}

/// The kinds of files that hold marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarksFormat {
    /// An audio editor's label track: tab-separated start, end, title (Audacity).
    Labels,
    /// JSON chapters of the podcast namespace.
    ChaptersJson,
    /// Chapters in an ID3v2 tag (chapter frame addendum 1.0).
    Id3Chapters,
    /// Chapters in an MP4 file: Nero's list, or a track of titles.
    Mp4Chapters,
    /// Chapters in a Matroska or WebM file.
    MatroskaChapters,
    /// Chapters in the tags of FLAC, Opus, Vorbis or WAV.
    Tags,
    /// A VMAP 1.0 document.
    Vmap,
    /// An HLS media playlist.
    Hls,
    /// SCTE-35 messages, base64 or hex, one a line.
    Scte35,
    /// SCTE-35 messages in an MPEG transport stream.
    TransportStream,
}

impl MarksFormat {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Labels => "labels",
            Self::ChaptersJson => "JSON chapters",
            Self::Id3Chapters => "ID3 chapters",
            Self::Mp4Chapters => "MP4 chapters",
            Self::MatroskaChapters => "Matroska chapters",
            Self::Tags => "chapters in tags",
            Self::Vmap => "VMAP",
            Self::Hls => "HLS playlist",
            Self::Scte35 => "SCTE-35 messages",
            Self::TransportStream => "MPEG transport stream",
        }
    }
}

/// One mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Where it is.
    pub position: Position,
    /// Where it ends, when it says so.
    pub end: Option<ContentTime>,
    /// Its title; empty when it has none.
    pub title: String,
    /// What kind of mark.
    pub source: CueSource,
    /// The cue point that it makes; `None` for a mark that is only a chapter or a label.
    pub cue: Option<CuePoint>,
}

impl Mark {
    /// When the cue point is that it makes, if it makes one whose time is known.
    fn time(&self) -> Option<ContentTime> {
        match (self.position, &self.cue) {
            (Position::Time(at), Some(_)) => Some(at),
            _ => None,
        }
    }
}

/// All marks of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marks {
    /// What kind of file it is.
    pub format: MarksFormat,
    /// Its marks, in its own order.
    pub marks: Vec<Mark>,
    /// What was left aside, one sentence each.
    pub notes: Vec<String>,
}

impl Marks {
    /// The cue points, in the file's order.
    pub fn cues(&self) -> impl Iterator<Item = &CuePoint> {
        self.marks.iter().filter_map(|mark| mark.cue.as_ref())
    }
}

/// Why a file's marks cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MarksError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// It is too large to be a file of marks.
    #[error("it is larger than {} MiB, which no file of marks is", MAX_BYTES >> 20)]
    TooLarge,
    /// Its text is in no encoding that is known.
    #[error("it is no text: {0}")]
    Encoding(xml::XmlError),
    /// It is a VMAP document with a mistake.
    #[error(transparent)]
    Vmap(#[from] VmapError),
    /// JSON that cannot be read; says line and column.
    #[error("the JSON chapters cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A chapter that makes no sense.
    #[error("chapter {number} {reason}")]
    Chapter {
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A line that makes no sense.
    #[error("line {line}: {reason}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// An MP4 or Matroska file that cannot be read.
    #[error("its chapters cannot be read: {0}")]
    Media(String),
    /// A message in a stream, or a part of a tag, that makes no sense.
    #[error("byte {byte}: {reason}")]
    Byte {
        /// Where the packet that ends it begins, or the part of the tag.
        byte: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// More marks than one content may have.
    #[error("it has more than {MOST_CUES} cue points")]
    TooMany,
    /// It is empty, or holds nothing of what can be read.
    #[error("{0}")]
    Unknown(&'static str),
}

/// Reads the marks of a file: of a media file its chapters or its SCTE-35 messages, else what its text is.
pub fn read(path: &Path, options: &Options) -> Result<Marks, MarksError> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut head = Vec::new();
    (&mut file)
        .take(transport_stream::HEAD as u64)
        .read_to_end(&mut head)?;
    file.seek(SeekFrom::Start(0))?;
    if transport_stream::looks_like(&head) {
        return limited(transport_stream::read(file)?);
    }
    let limit = match id3v2::tag_len(&head) {
        Some(tag) if tag > MAX_TAG => {
            return Err(MarksError::Unknown(
                "its ID3 tag is larger than 64 MiB, which is not looked through",
            ));
        }
        Some(tag) => tag,
        None if head.get(4..8) == Some(b"ftyp") => {
            return limited(chapters::of_mp4(&FileContent::new(file)?, options)?);
        }
        None if head.starts_with(&EBML) => {
            return limited(chapters::of_matroska(&FileContent::new(file)?, options)?);
        }
        None if is_sound(&head) => {
            return limited(chapters::of_sound(&FileContent::new(file)?, options)?);
        }
        None if length > MAX_BYTES => return Err(MarksError::TooLarge),
        None => MAX_BYTES,
    };
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    parse(&bytes, options)
}

/// Whether a file begins like sound whose chapters are in its tags, or like MP3 or ADTS without any.
fn is_sound(head: &[u8]) -> bool {
    [&b"fLaC"[..], b"OggS", b"RIFF", b"RF64", b"BW64"]
        .iter()
        .any(|beginning| head.starts_with(beginning))
        || matches!(head, [0xFF, second, ..] if *second != 0xFF && second & 0xE0 == 0xE0 && *second != 0xFE)
}

/// Reads marks from a file's bytes (for a media file, those of its tag).
pub fn parse(bytes: &[u8], options: &Options) -> Result<Marks, MarksError> {
    if transport_stream::looks_like(bytes) {
        return limited(transport_stream::read(bytes)?);
    }
    if id3v2::tag_len(bytes).is_some() {
        return limited(chapters::of_tag(bytes, options)?);
    }
    if matches!(bytes.first(), Some(0..=8 | 14..=31)) {
        return Err(MarksError::Unknown(
            "it is no text, and no media whose chapters are read",
        ));
    }
    let text = xml::decode(bytes).map_err(MarksError::Encoding)?;
    let text = text.trim_start_matches('\u{feff}');
    let first = text.lines().map(str::trim).find(|line| !line.is_empty());
    let marks = match first {
        None => return Err(MarksError::Unknown("it is empty")),
        Some(line) if line.starts_with('<') => of_vmap(vmap::parse(text)?),
        // No label begins so: whatever is wrong with it is said of what it is meant to be.
        Some(line) if line.starts_with(['{', '[']) => chapters::of_json(text, options)?,
        Some(line) if line.starts_with("#EXTM3U") => hls::parse(text)?,
        Some(line) if line.starts_with("0x") || line.starts_with("0X") || scte35::looks_like(line) => {
            scte35::parse(text, options.first_pts)?
        }
        Some(_) => labels::parse(text, options)?,
    };
    limited(marks)
}

fn limited(marks: Marks) -> Result<Marks, MarksError> {
    if marks.cues().count() > MOST_CUES {
        return Err(MarksError::TooMany);
    }
    Ok(marks)
}

fn of_vmap(read: vmap::Vmap) -> Marks {
    let marks = read.cues.into_iter().map(|cue| Mark {
        position: cue.position,
        end: None,
        title: cue.id.clone(),
        source: CueSource::Vmap,
        cue: Some(cue),
    });
    Marks {
        format: MarksFormat::Vmap,
        marks: marks.collect(),
        notes: read.notes,
    }
}

/// Sees that cue points that a file lists go on in time: where they go back, or come twice, something is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Order(Option<ContentTime>);

impl Order {
    /// The next cue point is here; `Err` says what is wrong with that.
    pub(super) fn goes_on(&mut self, at: ContentTime) -> Result<(), String> {
        let Some(last) = self.0.replace(at).filter(|last| at <= *last) else {
            return Ok(());
        };
        if at == last {
            return Err(twice(at));
        }
        Err(goes_back(at, last))
    }
}

/// What is wrong with a cue point that is listed behind a later one.
fn goes_back(at: ContentTime, last: ContentTime) -> String {
    let (at, last) = (Position::Time(at), Position::Time(last));
    format!("the cue point at {at} comes after the one at {last}")
}

/// What is wrong with a cue point where another one is already.
pub(super) fn twice(at: ContentTime) -> String {
    format!("there are two cue points at {}", Position::Time(at))
}

/// Refuses chapters that have no order, as those of ID3, of which two make a cue point at one time.
pub(super) fn once(marks: &[Mark]) -> Result<(), MarksError> {
    let mut seen = HashSet::new();
    marks
        .iter()
        .enumerate()
        .try_for_each(|(index, mark)| match mark.time() {
            Some(at) if !seen.insert(at) => Err(second(index, at)),
            _ => Ok(()),
        })
}

/// Refuses chapters that have an order of which one makes a cue point at or before the last one's.
pub(super) fn in_turn(marks: &[Mark]) -> Result<(), MarksError> {
    let mut last: Option<ContentTime> = None;
    for (index, mark) in marks.iter().enumerate() {
        let Some(at) = mark.time() else { continue };
        match last.replace(at) {
            Some(last) if at == last => return Err(second(index, at)),
            Some(last) if at < last => {
                return Err(MarksError::Chapter {
                    number: index + 1,
                    reason: format!("is out of order: {}", goes_back(at, last)),
                });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Says of a chapter that a cue point is already where it makes one.
fn second(index: usize, at: ContentTime) -> MarksError {
    MarksError::Chapter {
        number: index + 1,
        reason: format!("makes a second cue point: {}", twice(at)),
    }
}

/// The cue point of a mark that replaces this much content, or inserts when it is nothing.
pub(super) fn cue(id: String, position: Position, replaced: Duration, source: CueSource) -> CuePoint {
    CuePoint {
        action: if replaced.is_zero() {
            Action::Insert
        } else {
            Action::Replace(replaced)
        },
        ..CuePoint::new(id, position, source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_say_what_is_a_break() {
        let pattern = TitlePattern::default();
        for title in ["Ad", "ad break", "BREAK 2", " Break: news", "ad-1"] {
            assert!(pattern.matches(title), "{title}");
        }
        for title in ["Adam's story", "The break", "Breakfast", "", "Chapter 1"] {
            assert!(!pattern.matches(title), "{title}");
        }
        let own: TitlePattern = "werbung".parse().expect("a pattern");
        assert!(own.matches("Hier ist Werbung"));
        assert!("(".parse::<TitlePattern>().is_err());
    }

    #[test]
    fn the_kind_is_told_by_the_content() {
        let format = |text: &str| parse(text.as_bytes(), &Options::default()).map(|marks| marks.format);
        for (text, expected) in [
            ("1.0\t1.0\tad\n", MarksFormat::Labels),
            (
                "{\"version\":\"1.2.0\",\"chapters\":[]}",
                MarksFormat::ChaptersJson,
            ),
            ("<?xml version='1.0'?><VMAP version='1.0'/>", MarksFormat::Vmap),
            ("#EXTM3U\n#EXTINF:4,\na.ts\n", MarksFormat::Hls),
            (
                "/DAvAAAAAAAA///wFAVIAACPf+/+c2nALv4AUsz1AAAAAAAKAAhDVUVJAAABNWLbowo=\n",
                MarksFormat::Scte35,
            ),
        ] {
            assert_eq!(format(text).expect(text), expected, "{text}");
        }
        for (text, reason) in [
            ("", "empty"),
            ("  \n\n", "empty"),
            ("\u{1}\u{2}", "no text"),
            ("hello", "line 1: a label is"),
            ("[]", "the JSON chapters cannot be read: "),
            ("0xFC302FZZ", "line 1: the message is no hex"),
            ("0XFC302F", "line 1: the message is damaged"),
        ] {
            let error = format(text).expect_err(text).to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }
}
