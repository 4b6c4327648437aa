//! Cue marks in HLS media playlists (RFC 8216, and the tags that packagers add to it).
//!
//! `EXT-X-CUE-OUT` with a duration (`:30`, `:DURATION=30`) replaces so much content, with 0 it inserts, bare it
//! replaces what lies before `EXT-X-CUE-IN`; `EXT-OATCLS-SCTE35`, `EXT-X-SPLICEPOINT-SCTE35` and `EXT-X-SCTE35` say the same as a message; `EXT-X-DATERANGE` does it
//! at a date, by `SCTE35-OUT`/`-IN`/`-CMD` or as an interstitial (`com.apple.hls.interstitial`, whose
//! `X-RESUME-OFFSET` says how much is replaced: absent its `DURATION`, 0 nothing). Content time 0 is the playlist's
//! first segment; dates need `EXT-X-PROGRAM-DATE-TIME`.
//!
//! Marks at one place are one break. Not for playing HLS.

use std::collections::HashMap;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::marks::{Mark, Marks, MarksError, MarksFormat, cue};
use super::scte35::{self, Meaning};
use super::{Action, CueSource, Position};
use crate::time::ContentTime;
use crate::timecode;

/// Marks so near to each other are one break, said twice.
const SAME: Duration = Duration::from_millis(100);

/// Reads a media playlist.
pub(super) fn parse(text: &str) -> Result<Marks, MarksError> {
    let mut reader = Reader::default();
    for (number, line) in text.lines().enumerate() {
        reader
            .line(number + 1, line.trim())
            .map_err(|reason| MarksError::Line {
                line: number + 1,
                reason,
            })?;
    }
    Ok(reader.finish())
}

/// A DATERANGE that waits for the dates of the whole playlist.
#[derive(Debug, Default)]
struct DateRange {
    line: usize,
    id: String,
    start: Option<OffsetDateTime>,
    /// `END-DATE`.
    end: Option<OffsetDateTime>,
    /// `DURATION`.
    stated: Option<Duration>,
    /// `PLANNED-DURATION`, else what a SCTE-35 message plans.
    planned: Option<Duration>,
    interstitial: bool,
    /// `X-RESUME-OFFSET`.
    resume: Option<Duration>,
    /// `CUE`: PRE and POST are before and after the content.
    place: Option<Position>,
    out: bool,
    ended: bool,
}

impl DateRange {
    /// How long it lasts, as far as it is said.
    fn length(&self) -> Option<Duration> {
        let dated = || Duration::try_from(self.end? - self.start?).ok();
        self.stated.or_else(dated).or(self.planned)
    }
}

#[derive(Debug, Default)]
struct Reader {
    /// Where the segment begins whose tags are being read.
    at: Duration,
    /// How long it is: its `EXTINF`.
    length: Duration,
    segments: usize,
    /// Content times whose date is known.
    dates: Vec<(Duration, OffsetDateTime)>,
    ranges: Vec<DateRange>,
    by_id: HashMap<String, usize>,
    marks: Vec<Mark>,
    /// The mark that a `CUE-IN` would end.
    open: Option<usize>,
    /// Whether the playlist begins within a break, which is noted once.
    joined_late: bool,
    notes: Vec<String>,
}

impl Reader {
    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let (tag, value) = line.split_once(':').unwrap_or((line, ""));
        match tag {
            "#EXT-X-STREAM-INF" | "#EXT-X-I-FRAME-STREAM-INF" => {
                return Err(
                    "this is a multivariant playlist: give one of the media playlists that it names".into(),
                );
            }
            "#EXTINF" => {
                let seconds = value.split(',').next().unwrap_or_default();
                self.length =
                    seconds_of(seconds).ok_or_else(|| format!("{} is no duration", shown(seconds)))?;
            }
            // The URI ends a segment; its tags stand before it in any order.
            _ if !line.is_empty() && !line.starts_with('#') => {
                self.at = self.at.saturating_add(std::mem::take(&mut self.length));
                self.segments += 1;
            }
            "#EXT-X-PROGRAM-DATE-TIME" => {
                let date = date_of(value).ok_or_else(|| format!("{} is no date", shown(value)))?;
                self.dates.push((self.at, date));
            }
            "#EXT-X-CUE-OUT" => {
                let length = cue_out_length(value)?;
                self.out(length, "");
            }
            "#EXT-X-CUE-OUT-CONT" if self.open.is_none() && self.marks.is_empty() && !self.joined_late => {
                self.joined_late = true;
                self.notes.push(format!(
                    "line {number}: the playlist begins within a break, whose start is not in it: it is left aside"
                ));
            }
            "#EXT-X-CUE-IN" => self.back(),
            "#EXT-OATCLS-SCTE35" | "#EXT-X-SPLICEPOINT-SCTE35" => {
                self.message(number, value)?;
            }
            "#EXT-X-SCTE35" => self.scte35(number, value)?,
            "#EXT-X-DATERANGE" => self.date_range(number, value)?,
            _ => {}
        }
        Ok(())
    }

    /// `EXT-X-SCTE35`: a message, and what it means here (the tag of ANSI/SCTE 35 for HLS).
    fn scte35(&mut self, number: usize, value: &str) -> Result<(), String> {
        let attributes = attributes(value)?;
        let get = |name: &str| {
            let mut all = attributes.iter();
            all.find(|(key, _)| key == name).map(|(_, value)| value.as_str())
        };
        match (get("CUE-OUT"), get("CUE-IN"), get("CUE")) {
            // The break goes on; or a segment of it begins that is nearer to its end.
            (Some("CONT"), ..) => {}
            (_, Some("YES"), _) => self.back(),
            (out, _, Some(message)) => {
                let opened = self.message(number, message)?;
                // The tag says so, whatever the message leaves open.
                if out == Some("YES") && !opened {
                    self.out(None, "");
                }
            }
            (Some("YES"), ..) => self.out(None, ""),
            _ => return Err("an EXT-X-SCTE35 has no CUE".into()),
        }
        Ok(())
    }

    /// What a SCTE-35 message says of this place; and whether it opens a break here.
    fn message(&mut self, number: usize, text: &str) -> Result<bool, String> {
        match scte35::message(text)?.meaning {
            Meaning::Out { duration } => {
                self.out(duration, "SCTE-35");
                return Ok(true);
            }
            Meaning::In => self.back(),
            Meaning::Other(what) | Meaning::Cancel(what) => {
                self.notes
                    .push(format!("line {number} is {what}: it is left aside"));
            }
        }
        Ok(false)
    }

    /// The content goes on here. A duration that was said is what was sold; the mark of its end only ends what said none.
    fn back(&mut self) {
        if let Some(index) = self.open.take()
            && self.marks[index].end.is_none()
        {
            scte35::close(&mut self.marks[index], ContentTime::from(self.at));
        }
    }

    fn out(&mut self, length: Option<Duration>, title: &str) {
        let index = self.add(Position::Time(ContentTime::from(self.at)), length, title);
        self.open = length.is_none().then_some(index);
    }

    /// A break at a place, by its index; a second mark at the same place only adds what the first did not say.
    fn add(&mut self, position: Position, length: Option<Duration>, title: &str) -> usize {
        let near = |mark: &Mark| match (mark.position, position) {
            (Position::Time(a), Position::Time(b)) => a.since(b).max(b.since(a)) <= SAME,
            (a, b) => a == b,
        };
        let known = self.marks.iter().position(near);
        let index = known.unwrap_or_else(|| {
            let id = format!("hls-{}", self.marks.len() + 1);
            self.marks.push(Mark {
                position,
                end: None,
                title: title.to_owned(),
                source: CueSource::Hls,
                cue: Some(cue(id, position, Duration::ZERO, CueSource::Hls)),
            });
            self.marks.len() - 1
        });
        let mark = &mut self.marks[index];
        if let (Some(length), None, Position::Time(at)) = (length, mark.end, mark.position)
            && !length.is_zero()
        {
            mark.end = Some(at.saturating_add(length));
            if let Some(cue) = &mut mark.cue {
                cue.action = Action::Replace(length);
            }
        }
        index
    }

    fn date_range(&mut self, number: usize, value: &str) -> Result<(), String> {
        let attributes = attributes(value)?;
        let get = |name: &str| {
            attributes
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.as_str())
        };
        let Some(id) = get("ID") else {
            return Err("an EXT-X-DATERANGE has no ID".into());
        };
        let seconds = |name: &str| match get(name) {
            None => Ok(None),
            Some(text) => seconds_of(text)
                .map(Some)
                .ok_or_else(|| format!("{name}={} is no duration", shown(text))),
        };
        let index = *self.by_id.entry(id.to_owned()).or_insert_with(|| {
            self.ranges.push(DateRange {
                line: number,
                id: id.to_owned(),
                ..DateRange::default()
            });
            self.ranges.len() - 1
        });
        let range = &mut self.ranges[index];
        // Tags of one ID complete each other (RFC 8216 §4.3.2.7.1).
        if let Some(date) = get("START-DATE") {
            range.start =
                Some(date_of(date).ok_or_else(|| format!("START-DATE={} is no date", shown(date)))?);
        }
        if let Some(date) = get("END-DATE") {
            range.end = Some(date_of(date).ok_or_else(|| format!("END-DATE={} is no date", shown(date)))?);
        }
        range.stated = seconds("DURATION")?.or(range.stated);
        range.planned = seconds("PLANNED-DURATION")?.or(range.planned);
        range.resume = seconds("X-RESUME-OFFSET")?.or(range.resume);
        range.interstitial |= get("CLASS") == Some("com.apple.hls.interstitial");
        for word in get("CUE").unwrap_or_default().split(',') {
            match word.trim() {
                "PRE" => range.place = Some(Position::Start),
                "POST" => range.place = Some(Position::End),
                _ => {}
            }
        }
        for name in ["SCTE35-OUT", "SCTE35-CMD", "SCTE35-IN"] {
            let Some(text) = get(name) else { continue };
            // The attribute says what it means; a message that does not pass its CRC says so, and counts all the same.
            let message = scte35::message(text);
            if let Err(reason) = &message {
                self.notes.push(format!("line {number}: {name}: {reason}"));
            }
            match (name, message.map(|message| message.meaning)) {
                ("SCTE35-OUT", meaning) | ("SCTE35-CMD", meaning @ Ok(Meaning::Out { .. })) => {
                    range.out = true;
                    if let Ok(Meaning::Out {
                        duration: Some(length),
                    }) = meaning
                    {
                        range.planned.get_or_insert(length);
                    }
                }
                ("SCTE35-IN", _) | (_, Ok(Meaning::In)) => range.ended = true,
                (_, Ok(Meaning::Other(what) | Meaning::Cancel(what))) => {
                    self.notes
                        .push(format!("line {number} is {what}: it is left aside"));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Lays the date ranges out, now that every date is known.
    fn finish(mut self) -> Marks {
        for range in std::mem::take(&mut self.ranges) {
            let what = format!("line {}: the date range {}", range.line, shown(&range.id));
            if !range.out && !range.interstitial {
                if !range.ended {
                    self.notes
                        .push(format!("{what} is no ad break: it is left aside"));
                }
                continue;
            }
            let place = range.place.filter(|_| range.interstitial);
            let position = match (place, range.start) {
                (Some(place), _) => place,
                (None, None) => {
                    self.notes
                        .push(format!("{what} has no START-DATE: it is left aside"));
                    continue;
                }
                (None, Some(_)) if self.dates.is_empty() => {
                    self.notes.push(format!(
                        "{what} has a date, and the playlist has no EXT-X-PROGRAM-DATE-TIME: it is left aside"
                    ));
                    continue;
                }
                (None, Some(date)) => {
                    let Some(time) = self.content_time(date) else {
                        self.notes.push(format!(
                            "{what} is before the playlist's first segment: it is left aside"
                        ));
                        continue;
                    };
                    Position::Time(time)
                }
            };
            let length = if range.interstitial {
                range.resume.or(range.length())
            } else {
                range.length()
            };
            self.add(position, length, &range.id);
        }
        self.marks.sort_by_key(|mark| match mark.position {
            Position::Start => (0, 0),
            Position::Time(time) => (1, time.as_nanos()),
            Position::Percent(part) => (1, u64::from(part.thousandths())),
            Position::End => (2, 0),
        });
        for (index, mark) in self.marks.iter_mut().enumerate() {
            if let Some(cue) = &mut mark.cue {
                cue.id = format!("hls-{}", index + 1);
            }
        }
        if self.segments == 0 {
            self.notes.push("the playlist has no segment".into());
        }
        Marks {
            format: MarksFormat::Hls,
            marks: self.marks,
            notes: self.notes,
        }
    }

    /// The content time of a date: counted from the last segment whose date is known and not later.
    fn content_time(&self, date: OffsetDateTime) -> Option<ContentTime> {
        let mut anchors = self.dates.iter().filter(|(_, known)| *known <= date);
        let (at, known) = anchors.next_back().or_else(|| {
            // Between the start of the playlist and its first date, dates count backwards.
            self.dates.first()
        })?;
        let offset = (date - *known).whole_nanoseconds();
        let nanos = i128::try_from(at.as_nanos()).ok()? + offset;
        u64::try_from(nanos).ok().map(ContentTime::from_nanos)
    }
}

/// The duration of a `CUE-OUT`: `30`, `DURATION=30` among others, or nothing.
fn cue_out_length(value: &str) -> Result<Option<Duration>, String> {
    let value = value.trim();
    if value.is_empty() {
        return Ok(None);
    }
    let text = if value.contains('=') {
        let all = attributes(value)?;
        let found = all
            .into_iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("DURATION"));
        let Some((_, text)) = found else { return Ok(None) };
        text
    } else {
        value.to_owned()
    };
    seconds_of(&text)
        .map(Some)
        .ok_or_else(|| format!("{} is no duration", shown(&text)))
}

/// An attribute list (RFC 8216 §4.2): names and values, quotes removed.
fn attributes(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (name, value) = rest
            .split_once('=')
            .ok_or_else(|| format!("{} is no NAME=value", shown(rest)))?;
        let (value, after) = if let Some(quoted) = value.strip_prefix('"') {
            quoted
                .split_once('"')
                .ok_or_else(|| format!("the value of {} has no closing quote", shown(name)))?
        } else {
            value.split_at(value.find(',').unwrap_or(value.len()))
        };
        found.push((name.trim().to_owned(), value.to_owned()));
        rest = after.trim_start_matches(',').trim_start();
    }
    Ok(found)
}

fn seconds_of(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().parse().ok()?;
    let fits = seconds.is_finite() && (0.0..=timecode::LONGEST.as_secs_f64()).contains(&seconds);
    fits.then(|| Duration::from_nanos((seconds * 1e9).round() as u64))
}

/// A date of ISO 8601 as playlists write it: `2014-08-13T13:36:33.000+00:00`, also with `Z` and `+0000`.
fn date_of(text: &str) -> Option<OffsetDateTime> {
    let text = text.trim();
    if let Ok(date) = OffsetDateTime::parse(text, &Rfc3339) {
        return Some(date);
    }
    // The zone without its colon, or no zone, which is UTC here.
    let zone = text.len().checked_sub(5).filter(|&at| text.is_char_boundary(at));
    let mended = match zone.map(|at| text.split_at(at)) {
        Some((date, zone))
            if zone.starts_with(['+', '-']) && zone[1..].bytes().all(|b| b.is_ascii_digit()) =>
        {
            format!("{date}{}:{}", &zone[..3], &zone[3..])
        }
        _ => format!("{text}Z"),
    };
    OffsetDateTime::parse(&mended, &Rfc3339).ok()
}

fn shown(text: &str) -> String {
    format!("{:?}", text.trim().chars().take(40).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Position, replaced seconds of each cue.
    fn breaks(text: &str) -> Vec<(String, f64)> {
        parse(text)
            .expect(text)
            .cues()
            .map(|cue| {
                let replaced = match cue.action {
                    Action::Insert => 0.0,
                    Action::Replace(length) => length.as_secs_f64(),
                };
                (cue.position.to_string(), replaced)
            })
            .collect()
    }

    fn playlist(marks: &str) -> String {
        format!("#EXTM3U\n#EXTINF:10,\na.ts\n{marks}\n#EXTINF:10,\nb.ts\n#EXTINF:10,\nc.ts\n")
    }

    #[test]
    fn cue_out_inserts_or_replaces() {
        for (mark, replaced) in [
            ("#EXT-X-CUE-OUT:30", 30.0),
            ("#EXT-X-CUE-OUT:DURATION=30.5", 30.5),
            ("#EXT-X-CUE-OUT:ID=7,DURATION=12", 12.0),
            ("#EXT-X-CUE-OUT:0", 0.0),
            ("#EXT-X-CUE-OUT", 0.0),
            ("#EXT-X-CUE-OUT\n#EXTINF:5,\nx.ts\n#EXT-X-CUE-IN", 5.0),
            ("#EXT-X-CUE-OUT:4\n#EXTINF:5,\nx.ts\n#EXT-X-CUE-IN", 4.0),
        ] {
            assert_eq!(breaks(&playlist(mark)), [("00:00:10".into(), replaced)], "{mark}");
        }
    }

    #[test]
    fn a_message_and_a_cue_out_at_one_place_are_one_break() {
        let message = "/DAvAAAAAAAA///wFAVIAACPf+/+c2nALv4AUsz1AAAAAAAKAAhDVUVJAAABNWLbowo=";
        let tags = [
            format!("#EXT-OATCLS-SCTE35:{message}"),
            format!("#EXT-X-SPLICEPOINT-SCTE35:{message}"),
            format!("#EXT-X-SCTE35:TYPE=0x34,CUE=\"{message}\",ID=\"7\",CUE-OUT=YES"),
        ];
        for tag in tags {
            let found = breaks(&playlist(&format!("{tag}\n#EXT-X-CUE-OUT:50.000")));
            assert_eq!(found.len(), 1, "{tag}");
            assert!((found[0].1 - 60.293_566).abs() < 1e-3, "{found:?}");
        }
    }

    #[test]
    fn what_goes_on_or_ends_opens_nothing() {
        let message = "/DA0AAAAAAAA///wBQb+cr0AUAAeAhxDVUVJSAAAjn/PAAGlmbAICAAAAAAsoKGKNAIAmsnRfg==";
        let marks = format!(
            "#EXT-X-SCTE35:CUE-OUT=YES\n#EXTINF:5,\nx.ts\n#EXT-X-SCTE35:CUE=\"{message}\",CUE-OUT=CONT,ELAPSED=5\n#EXTINF:5,\ny.ts\n#EXT-X-SCTE35:CUE-IN=YES"
        );
        assert_eq!(breaks(&playlist(&marks)), [("00:00:10".into(), 10.0)]);
    }

    #[test]
    fn date_ranges_are_at_their_date() {
        let dated = |mark: &str| {
            format!(
                "#EXTM3U\n#EXT-X-PROGRAM-DATE-TIME:2024-01-01T12:00:00.000+0000\n#EXTINF:10,\na.ts\n#EXTINF:10,\nb.ts\n{mark}\n"
            )
        };
        let at = "START-DATE=\"2024-01-01T12:00:12.5Z\"";
        for (mark, expected) in [
            (
                format!("#EXT-X-DATERANGE:ID=\"a\",CLASS=\"com.apple.hls.interstitial\",{at},DURATION=15"),
                ("00:00:12.500", 15.0),
            ),
            (
                format!(
                    "#EXT-X-DATERANGE:ID=\"a\",CLASS=\"com.apple.hls.interstitial\",{at},DURATION=15,X-RESUME-OFFSET=0"
                ),
                ("00:00:12.500", 0.0),
            ),
            (
                format!(
                    "#EXT-X-DATERANGE:ID=\"a\",CLASS=\"com.apple.hls.interstitial\",{at},DURATION=15,X-RESUME-OFFSET=5"
                ),
                ("00:00:12.500", 5.0),
            ),
            (
                format!(
                    "#EXT-X-DATERANGE:ID=\"a\",CLASS=\"com.apple.hls.interstitial\",{at},END-DATE=\"2024-01-01T12:00:20Z\",PLANNED-DURATION=15"
                ),
                ("00:00:12.500", 7.5),
            ),
            (
                format!(
                    "#EXT-X-DATERANGE:ID=\"a\",CLASS=\"com.apple.hls.interstitial\",{at},CUE=\"PRE,ONCE\",X-RESUME-OFFSET=0"
                ),
                ("start", 0.0),
            ),
        ] {
            assert_eq!(
                breaks(&dated(&mark)),
                [(expected.0.to_owned(), expected.1)],
                "{mark}"
            );
        }
        let undated = format!(
            "#EXTM3U\n#EXTINF:4,\na.ts\n#EXT-X-DATERANGE:ID=\"a\",CLASS=\"com.apple.hls.interstitial\",{at}"
        );
        let read = parse(&undated).expect("a playlist");
        assert_eq!(read.cues().count(), 0);
        assert!(
            read.notes[0].contains("EXT-X-PROGRAM-DATE-TIME"),
            "{:?}",
            read.notes
        );
        let early = dated(
            "#EXT-X-DATERANGE:ID=\"a\",CLASS=\"com.apple.hls.interstitial\",START-DATE=\"2023-01-01T12:00:12Z\"",
        );
        assert!(parse(&early).expect("a playlist").notes[0].contains("before the playlist's first"));
    }

    #[test]
    fn a_playlist_that_begins_within_a_break_says_so() {
        let read = parse("#EXTM3U\n#EXT-X-CUE-OUT-CONT:8/30\n#EXTINF:4,\na.ts\n#EXT-X-CUE-OUT-CONT:12/30\n#EXT-X-CUE-IN\n#EXTINF:4,\nb.ts\n")
            .expect("a playlist");
        assert_eq!((read.marks.len(), read.notes.len()), (0, 1));
    }

    #[test]
    fn each_mistake_names_its_line() {
        for (text, reason) in [
            (
                "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8",
                "line 2: this is a multivariant",
            ),
            ("#EXTM3U\n#EXTINF:x,\na.ts", "line 2: \"x\" is no duration"),
            (
                "#EXTM3U\n\n#EXT-X-CUE-OUT:soon",
                "line 3: \"soon\" is no duration",
            ),
            ("#EXTM3U\n#EXT-X-PROGRAM-DATE-TIME:today", "is no date"),
            (
                "#EXTM3U\n#EXT-X-DATERANGE:START-DATE=\"2024-01-01T00:00:00Z\"",
                "has no ID",
            ),
            ("#EXTM3U\n#EXT-X-DATERANGE:ID=\"x", "no closing quote"),
            ("#EXTM3U\n#EXT-OATCLS-SCTE35:/DAv", "line 2: the message"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
