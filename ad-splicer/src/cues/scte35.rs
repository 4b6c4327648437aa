//! SCTE-35 messages (ANSI/SCTE 35 2023r1), base64 or hex: which open a break, which close it, and when.
//!
//! The sections themselves are read by the `scte35-splice` crate, which checks CRC-32. Here: what they mean as cue
//! points. `splice_insert` out of the network, and `time_signal` with a segmentation descriptor that starts a break, an
//! advertisement, a placement opportunity or an ad block, open a break; their counterparts close it; all else is noted.
//! An opening message with a duration replaces that much content; so does one that is closed later.
//!
//! Presentation timestamps are 33-bit counts of 90 kHz that wrap; `pts_adjustment` is added, the stream's first
//! timestamp subtracted (§9.6).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use broadcast_common::{Parse, crc32_mpeg2};
use scte35_splice::commands::{AnyCommand, BandwidthReservation, SpliceInsert, SpliceNull, TimeSignal};
use scte35_splice::descriptors::CUEI;
use scte35_splice::descriptors::segmentation::SegmentationDescriptor;
use scte35_splice::descriptors::segmentation_enums::SegmentationTypeId;
use scte35_splice::{CommandDef as _, SpliceDescriptorDef as _, SpliceInfoSection};

use super::marks::{Mark, Marks, MarksError, MarksFormat, cue, twice};
use super::{Action, CueSource, MOST_CUES, Position};
use crate::time::ContentTime;

/// Ticks of the 90 kHz clock before it wraps.
pub(super) const WRAP: u64 = 1 << 33;
const TICKS_PER_SECOND: u64 = 90_000;
/// What a message is that says nothing.
pub(super) const HEARTBEAT: &str = "a splice_null (a heartbeat)";
/// Segmentation descriptors that are looked at in one message.
const MOST_DESCRIPTORS: usize = 64;

/// What a message does to a break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Meaning {
    /// It opens a break: this much content is replaced, if it says so.
    Out {
        /// `break_duration` or `segmentation_duration`.
        duration: Option<Duration>,
    },
    /// It closes a break.
    In,
    /// It takes back what was said of its event: what it is.
    Cancel(&'static str),
    /// Neither: what it is.
    Other(&'static str),
}

/// What events are counted of: each kind has its own numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Insert,
    Segmentation,
}

/// A `splice_event_id` or `segmentation_event_id`.
pub(super) type Event = (Kind, u32);

/// What one message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    /// When, in 90 kHz ticks with `pts_adjustment` in it; `None` is at once.
    pub(super) pts: Option<u64>,
    /// What it does; a message that both closes and opens opens.
    pub(super) meaning: Meaning,
    /// Of what, if of anything.
    pub(super) event: Event,
}

/// Whether a line may be a message: base64 of table 0xFC, or hex.
pub(super) fn looks_like(line: &str) -> bool {
    let mut bytes = line.bytes();
    let hex = line
        .get(..2)
        .is_some_and(|start| start.eq_ignore_ascii_case("0x"))
        || line
            .get(..2)
            .is_some_and(|start| start.eq_ignore_ascii_case("fc"));
    let base64 = bytes.next() == Some(b'/') && matches!(bytes.next(), Some(b'A'..=b'D'));
    (hex || base64) && line.len() >= 20 && !line.contains(char::is_whitespace)
}

/// The bytes of a message in base64 (padded or not) or hex (with or without `0x`).
pub(super) fn bytes_of(text: &str) -> Result<Vec<u8>, String> {
    let text = text.trim();
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let bare = text
        .get(..2)
        .is_some_and(|start| start.eq_ignore_ascii_case("fc"));
    if let Some(digits) = digits.or(bare.then_some(text)) {
        return hex::decode(digits).map_err(|error| format!("the message is no hex: {error}"));
    }
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&STANDARD, config)
        .decode(text)
        .map_err(|error| format!("the message is no base64: {error}"))
}

/// Reads one message in base64 or hex.
pub(super) fn message(text: &str) -> Result<Message, String> {
    section(&bytes_of(text)?)
}

/// Reads one message, a `splice_info_section` with its CRC-32.
pub(super) fn section(bytes: &[u8]) -> Result<Message, String> {
    let bytes = &with_command_length(bytes);
    let section =
        SpliceInfoSection::parse(bytes).map_err(|error| format!("the message is damaged: {error}"))?;
    let Some(clear) = &section.clear else {
        return Err("the message is encrypted".into());
    };
    let adjusted = |pts: Option<u64>| pts.map(|pts| (pts + section.pts_adjustment) % WRAP);
    match &clear.command {
        AnyCommand::SpliceInsert(insert) => {
            let meaning = if insert.splice_event_cancel_indicator {
                Meaning::Cancel("the cancelling of an earlier splice_insert")
            } else if insert.out_of_network_indicator {
                Meaning::Out {
                    duration: insert
                        .break_duration
                        .as_ref()
                        .map(|length| ticks(length.duration)),
                }
            } else {
                Meaning::In
            };
            let of_components = || insert.components.iter().find_map(|one| one.splice_time.as_ref());
            let time = insert.splice_time.as_ref().or_else(of_components);
            Ok(Message {
                pts: adjusted(time.and_then(|time| time.pts_time)),
                meaning,
                event: (Kind::Insert, insert.splice_event_id),
            })
        }
        AnyCommand::TimeSignal(signal) => {
            let mut found = (
                Meaning::Other("a time_signal without a segmentation of breaks"),
                0,
            );
            for descriptor in segmentations(clear.descriptor_loop).take(MOST_DESCRIPTORS) {
                let segmentation = descriptor.map_err(|error| format!("the message is damaged: {error}"))?;
                let meaning = of_segmentation(&segmentation);
                let better = match (found.0, meaning) {
                    (Meaning::Other(_), _) | (Meaning::In | Meaning::Cancel(_), Meaning::Out { .. }) => true,
                    // Of several openings the longest holds the others.
                    (Meaning::Out { duration: old }, Meaning::Out { duration: new }) => new > old,
                    _ => false,
                };
                if better {
                    found = (meaning, segmentation.segmentation_event_id);
                }
            }
            Ok(Message {
                pts: adjusted(signal.splice_time.pts_time),
                meaning: found.0,
                event: (Kind::Segmentation, found.1),
            })
        }
        other => Ok(Message {
            pts: None,
            meaning: Meaning::Other(match other {
                AnyCommand::SpliceNull(_) => HEARTBEAT,
                AnyCommand::SpliceSchedule(_) => "a splice_schedule, whose times are of the wall clock",
                AnyCommand::BandwidthReservation(_) => "a bandwidth_reservation",
                AnyCommand::PrivateCommand(_) => "a private command",
                _ => "a command that is not known",
            }),
            event: (Kind::Insert, 0),
        }),
    }
}

/// A section whose `splice_command_length` says what it is. Older senders write 0xFFF there, which is to be ignored (§9.6.1); the crate refuses it.
fn with_command_length(bytes: &[u8]) -> Cow<'_, [u8]> {
    let with_length = || {
        let end = 3 + (usize::from(bytes[1] & 0x0f) << 8) + usize::from(bytes[2]);
        let (checked, crc) = bytes.get(..end)?.split_last_chunk::<4>()?;
        let is_legacy = checked.get(11)? & 0x0f == 0x0f && checked.get(12) == Some(&0xff);
        let is_whole = u32::from_be_bytes(*crc) == crc32_mpeg2::compute(checked);
        let is_encrypted = checked.get(4)? & 0x80 != 0;
        if !is_legacy || !is_whole || is_encrypted {
            return None;
        }
        let length = command_length(*checked.get(13)?, checked.get(14..)?)?;
        let mut section = checked.to_vec();
        section[11] = section[11] & 0xf0 | (length >> 8) as u8;
        section[12] = length as u8;
        section.extend(crc32_mpeg2::compute(&section).to_be_bytes());
        Some(section)
    };
    // What is cut short is for the reader to name.
    let section = (bytes.len() > 2).then(with_length).flatten();
    section.map_or(Cow::Borrowed(bytes), Cow::Owned)
}

/// Bytes of a splice command (§9.7) by what stands in it; `None` where that does not say.
fn command_length(command: u8, body: &[u8]) -> Option<usize> {
    let splice_time = |at: usize| Some(if body.get(at)? & 0x80 == 0 { 1 } else { 5 });
    match command {
        SpliceNull::COMMAND_TYPE | BandwidthReservation::COMMAND_TYPE => Some(0),
        TimeSignal::COMMAND_TYPE => splice_time(0),
        SpliceInsert::COMMAND_TYPE if body.get(4)? & 0x80 != 0 => Some(5),
        SpliceInsert::COMMAND_TYPE => {
            let flags = *body.get(5)?;
            let (of_program, has_duration, at_once) =
                (flags & 0x40 != 0, flags & 0x20 != 0, flags & 0x10 != 0);
            let mut at = 6;
            let components = if of_program { 1 } else { *body.get(at)? };
            at += usize::from(!of_program);
            for _ in 0..components {
                at += usize::from(!of_program);
                if !at_once {
                    at += splice_time(at)?;
                }
            }
            // `break_duration`; then the programme's number and those of the avail.
            Some(at + if has_duration { 5 } else { 0 } + 4)
        }
        _ => None,
    }
}

/// The segmentation descriptors of a loop. Whose identifier is not `CUEI` is somebody's own (§10.2.1), whatever its tag; the crate's walk would read it as one of the standard's.
fn segmentations<'a>(
    mut descriptors: &'a [u8],
) -> impl Iterator<Item = Result<SegmentationDescriptor<'a>, scte35_splice::Error>> {
    let next = move || -> Option<&'a [u8]> {
        let length = descriptors.get(1).map_or(0, |length| 2 + usize::from(*length));
        // What is cut short is given as far as it goes, and its reader says so.
        let (one, rest) = descriptors.split_at(length.clamp(descriptors.len().min(2), descriptors.len()));
        descriptors = rest;
        (!one.is_empty()).then_some(one)
    };
    let is_segmentation = |one: &&[u8]| {
        one.first() == Some(&SegmentationDescriptor::TAG)
            && one
                .get(2..6)
                .is_none_or(|identifier| identifier == CUEI.to_be_bytes())
    };
    std::iter::from_fn(next)
        .filter(is_segmentation)
        .map(SegmentationDescriptor::parse)
}

fn of_segmentation(descriptor: &SegmentationDescriptor<'_>) -> Meaning {
    use SegmentationTypeId as Type;
    if descriptor.segmentation_event_cancel_indicator {
        return Meaning::Cancel("the cancelling of an earlier segmentation");
    }
    match descriptor.segmentation_type_id {
        Type::BreakStart
        | Type::ProviderAdvertisementStart
        | Type::DistributorAdvertisementStart
        | Type::ProviderPlacementOpportunityStart
        | Type::DistributorPlacementOpportunityStart
        | Type::ProviderAdBlockStart
        | Type::DistributorAdBlockStart => Meaning::Out {
            duration: descriptor.segmentation_duration.map(ticks),
        },
        Type::BreakEnd
        | Type::ProviderAdvertisementEnd
        | Type::DistributorAdvertisementEnd
        | Type::ProviderPlacementOpportunityEnd
        | Type::DistributorPlacementOpportunityEnd
        | Type::ProviderAdBlockEnd
        | Type::DistributorAdBlockEnd => Meaning::In,
        _ => Meaning::Other("a segmentation that is no ad break"),
    }
}

/// So many ticks of 90 kHz.
fn ticks(count: u64) -> Duration {
    Duration::from_nanos(
        u64::try_from(u128::from(count) * 1_000_000_000 / u128::from(TICKS_PER_SECOND)).unwrap_or(u64::MAX),
    )
}

/// The content time of a timestamp in a stream that begins at `first`; `None` before its beginning. A timestamp up to
/// half a round (13 hours) before the first is before it, not 26 hours after.
fn content_time(pts: u64, first: u64) -> Option<ContentTime> {
    let after = (pts + WRAP - first % WRAP) % WRAP;
    (after < WRAP / 2).then(|| ContentTime::from(ticks(after)))
}

/// What was said of an event since it was last taken back.
#[derive(Debug, Default)]
pub(super) struct Said {
    is_cancelled: bool,
    all: HashSet<(Meaning, Option<u64>)>,
}

impl Said {
    /// Whether a message of this event says again what was said: broadcasters repeat each several times.
    pub(super) fn is_repeat(&mut self, message: &Message) -> bool {
        match message.meaning {
            Meaning::Other(_) => false,
            Meaning::Cancel(_) => {
                self.all.clear();
                std::mem::replace(&mut self.is_cancelled, true)
            }
            Meaning::Out { .. } | Meaning::In => {
                self.is_cancelled = false;
                // What splices at once has no time to be told by.
                let same = |(meaning, _): &(Meaning, Option<u64>)| *meaning == message.meaning;
                let is_known = message.pts.is_none() && self.all.iter().any(same);
                !self.all.insert((message.meaning, message.pts)) || is_known
            }
        }
    }
}

/// Reads messages, one a line; `#` begins a comment. Repeats are passed over.
pub(super) fn parse(text: &str, first_pts: u64) -> Result<Marks, MarksError> {
    let mut breaks = Breaks::default();
    let mut said: HashMap<Event, Said> = HashMap::new();
    for (number, line) in text.lines().enumerate() {
        let (number, line) = (number + 1, line.trim());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let message = message(line).map_err(|reason| MarksError::Line { line: number, reason })?;
        if said.entry(message.event).or_default().is_repeat(&message) {
            continue;
        }
        let before = breaks.marks.len();
        breaks.add(&format!("line {number}"), message, first_pts);
        // More cue points than there may be are refused anyway.
        if let Some((Position::Time(at), others)) = breaks.opened(before).filter(|_| before <= MOST_CUES)
            && others.iter().any(|other| other.position == Position::Time(at))
        {
            return Err(MarksError::Line {
                line: number,
                reason: twice(at),
            });
        }
    }
    Ok(breaks.into_marks(MarksFormat::Scte35))
}

/// The breaks that messages open and close, in the messages' order.
#[derive(Debug, Default)]
pub(super) struct Breaks {
    marks: Vec<Mark>,
    /// The event of each mark.
    events: Vec<Event>,
    /// How many breaks were opened.
    opened: usize,
    notes: Vec<String>,
    /// The breaks that are open: the indices of their marks.
    open: Vec<usize>,
}

impl Breaks {
    /// Takes the next message, of a stream whose first timestamp is `first_pts`; notes name its `place`.
    pub(super) fn add(&mut self, place: &str, message: Message, first_pts: u64) {
        let at = message.pts.map(|pts| content_time(pts, first_pts));
        match (message.meaning, at) {
            (Meaning::Other(what), _) => self.note(format!("{place} is {what}: it is left aside")),
            (Meaning::Cancel(what), _) => self.cancel(place, what, message.event),
            (_, None) => self.note(format!(
                "{place} splices at once, which has no time in the content: it is left aside"
            )),
            (_, Some(None)) => self.note(format!(
                "{place} is before the stream's first timestamp, {first_pts}: it is left aside"
            )),
            (Meaning::Out { duration }, Some(Some(time))) => self.open(time, duration, message.event),
            (Meaning::In, Some(Some(time))) => {
                let own = self
                    .open
                    .iter()
                    .rposition(|index| self.events[*index] == message.event);
                // Some number the end anew: one of an event that opened nothing ends what was opened last, if that is open.
                let is_new = !self.events.contains(&message.event);
                let last = self.open.len().checked_sub(1);
                let last = last.filter(|last| is_new && self.open[*last] + 1 == self.marks.len());
                if let Some(which) = own.or(last) {
                    let index = self.open.remove(which);
                    close(&mut self.marks[index], time);
                }
            }
        }
    }

    /// Notes what was left aside, one sentence.
    pub(super) fn note(&mut self, sentence: String) {
        self.notes.push(sentence);
    }

    /// Takes back all that was said of an event.
    fn cancel(&mut self, place: &str, what: &str, event: Event) {
        let mut found = false;
        while let Some(index) = self.events.iter().rposition(|other| *other == event) {
            found = true;
            self.events.remove(index);
            let at = self.marks.remove(index).position;
            self.open.retain(|open| *open != index);
            let later = self.open.iter_mut().filter(|open| **open > index);
            later.for_each(|open| *open -= 1);
            self.note(format!(
                "{place} is {what}: event {} at {at} is no cue point",
                event.1
            ));
        }
        if !found {
            self.note(format!(
                "{place} is {what}, event {}, which opened no break: it is left aside",
                event.1
            ));
        }
    }

    fn open(&mut self, time: ContentTime, duration: Option<Duration>, event: Event) {
        self.opened += 1;
        self.events.push(event);
        if duration.is_none() {
            self.open.push(self.marks.len());
        }
        let position = Position::Time(time);
        self.marks.push(Mark {
            position,
            end: duration.map(|length| time.saturating_add(length)),
            title: format!("event {}", event.1),
            source: CueSource::Scte35,
            cue: Some(cue(
                format!("scte35-{}", self.opened),
                position,
                duration.unwrap_or_default(),
                CueSource::Scte35,
            )),
        });
    }

    /// Where the break is that was opened when there were so many, and those.
    fn opened(&self, before: usize) -> Option<(Position, &[Mark])> {
        Some((self.marks.get(before)?.position, &self.marks[..before]))
    }

    /// All of them.
    pub(super) fn into_marks(self, format: MarksFormat) -> Marks {
        Marks {
            format,
            marks: self.marks,
            notes: self.notes,
        }
    }
}

/// Ends a break that said no duration: what lies between is replaced.
pub(super) fn close(mark: &mut Mark, end: ContentTime) {
    let Position::Time(start) = mark.position else {
        return;
    };
    let replaced = end.since(start);
    if replaced.is_zero() {
        return;
    }
    mark.end = Some(end);
    if let Some(cue) = &mut mark.cue {
        cue.action = Action::Replace(replaced);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// SCTE 35 §14.2: splice_insert, out of network, 60.293 s, at 0x072bd0050.
    const INSERT: &str = "/DAvAAAAAAAA///wFAVIAACPf+/+c2nALv4AUsz1AAAAAAAKAAhDVUVJAAABNWLbowo=";
    /// §14.1: time_signal, provider placement opportunity start, 307 s.
    const START: &str = "/DA0AAAAAAAA///wBQb+cr0AUAAeAhxDVUVJSAAAjn/PAAGlmbAICAAAAAAsoKGKNAIAmsnRfg==";
    /// §14.3: its end.
    const END: &str = "/DAvAAAAAAAA///wBQb+dGKQoAAZAhdDVUVJSAAAjn+fCAgAAAAALKChijUCAKnMZ1g=";

    #[test]
    fn an_end_closes_the_break_of_its_event() {
        let ends = |said: &[(u64, u32, Option<u64>, bool)]| {
            let mut breaks = Breaks::default();
            for (seconds, event, lasts, opens) in said {
                let meaning = if *opens {
                    Meaning::Out {
                        duration: lasts.map(Duration::from_secs),
                    }
                } else {
                    Meaning::In
                };
                let message = Message {
                    pts: Some(seconds * 90_000),
                    meaning,
                    event: (Kind::Segmentation, *event),
                };
                breaks.add("a line", message, 0);
            }
            let marks = breaks.into_marks(MarksFormat::Scte35).marks;
            let ends = marks.iter().map(|mark| mark.end.map(ContentTime::as_secs_f64));
            ends.collect::<Vec<_>>()
        };
        // An ad within a break: with a length of its own, and without.
        let (start, end) = ((60, 1, None, true), (120, 1, None, false));
        let ad_end = (91, 2, None, false);
        assert_eq!(
            ends(&[start, (61, 2, Some(30), true), ad_end, end]),
            [Some(120.0), Some(91.0)]
        );
        assert_eq!(
            ends(&[start, (61, 2, None, true), ad_end, end]),
            [Some(120.0), Some(91.0)]
        );
        // Who numbers the end anew ends what is open.
        assert_eq!(ends(&[start, (120, 9, None, false)]), [Some(120.0)]);
        assert_eq!(ends(&[start, end, (130, 9, None, false)]), [Some(120.0)]);
        // But not one that was left open long ago.
        let (second, over) = ((600, 2, None, true), (660, 2, None, false));
        assert_eq!(
            ends(&[start, second, over, (1200, 3, None, false)]),
            [None, Some(660.0)]
        );
    }

    #[test]
    fn the_standards_samples_are_read() {
        let insert = message(INSERT).expect("14.2");
        assert_eq!(insert.pts, Some(0x7369_c02e));
        assert_eq!(insert.event, (Kind::Insert, 0x4800_008f));
        let Meaning::Out {
            duration: Some(length),
        } = insert.meaning
        else {
            panic!("{insert:?}")
        };
        assert_eq!(length, ticks(0x0052_ccf5));
        let start = message(START).expect("14.1");
        assert_eq!(
            (start.pts, start.meaning),
            (
                Some(0x72bd_0050),
                Meaning::Out {
                    duration: Some(ticks(0x01a5_99b0))
                }
            )
        );
        assert_eq!(message(END).expect("14.3").meaning, Meaning::In);
        let hex = hex::encode_upper(bytes_of(INSERT).expect("bytes"));
        assert_eq!(message(&hex), message(INSERT));
        assert_eq!(message(&format!("0x{hex}")), message(INSERT));
        assert_eq!(
            message(INSERT.trim_end_matches('=')),
            message(INSERT),
            "padding is optional"
        );
    }

    /// The section with what was changed of it: its own length and CRC-32 follow.
    fn sealed(changed: &[u8]) -> Vec<u8> {
        let mut section = changed.to_vec();
        section[2] = (section.len() + 4 - 3) as u8;
        section.extend(crc32_mpeg2::compute(&section).to_be_bytes());
        section
    }

    #[test]
    fn a_command_says_itself_how_long_it_is_where_its_length_is_to_be_ignored() {
        let of_components = |at_once: u8, times: &[&[u8]]| {
            let mut body = vec![0, 0, 0, 9, 0x7f, 0x8f | 0x20 | at_once, times.len() as u8];
            for (tag, time) in times.iter().enumerate() {
                body.push(tag as u8);
                body.extend_from_slice(time);
            }
            body.extend([0xfe, 0, 0x52, 0xcc, 0xf5, 0, 1, 0, 0]);
            let mut section = bytes_of(INSERT).expect("bytes")[..14].to_vec();
            section[12] = body.len() as u8;
            section.extend(body);
            section.extend([0, 0]);
            sealed(&section)
        };
        let cancelled = {
            let mut section = bytes_of(INSERT).expect("bytes")[..14].to_vec();
            section[12] = 5;
            section.extend([0, 0, 0, 9, 0xff, 0, 0]);
            sealed(&section)
        };
        let sections = [
            bytes_of(INSERT).expect("bytes"),
            bytes_of(START).expect("bytes"),
            bytes_of(END).expect("bytes"),
            bytes_of("/DARAAAAAAAAAP/wAAAAAHpPv/8=").expect("a heartbeat"),
            of_components(0, &[&[0xfe, 0x73, 0x69, 0xc0, 0x2e], &[0x7f]]),
            of_components(0x10, &[&[], &[]]),
            cancelled,
        ];
        for told in sections {
            let mut legacy = told[..told.len() - 4].to_vec();
            (legacy[11], legacy[12]) = (legacy[11] | 0x0f, 0xff);
            let legacy = sealed(&legacy);
            let read = section(&told).expect("a message");
            assert_eq!(section(&legacy).as_ref(), Ok(&read), "{}", hex::encode(&told));
            for cut in 0..legacy.len() {
                assert!(
                    section(&legacy[..cut]).is_err(),
                    "{cut} bytes of {}",
                    hex::encode(&legacy)
                );
                assert!(
                    section(&sealed(&legacy[..cut.max(3)])).is_err() || cut > 14,
                    "{cut}"
                );
            }
        }
    }

    #[test]
    fn descriptors_of_others_are_theirs_whatever_their_tag() {
        let start = bytes_of(START).expect("bytes");
        let (before, own) = start[..start.len() - 4].split_at(21);
        // The tags of an avail, of which this is no whole one, and of a segmentation.
        let others = [&b"\0\x05SAPS\x0b"[..], b"\x02\x06SAPS\x01\x02"].concat();
        let mut with = [before, &others, own].concat();
        with[20] += others.len() as u8;
        assert_eq!(section(&sealed(&with)), section(&start));
        // What is the standard's, and cut short, is damage.
        let mut cut = [before, b"\x02\x06CUEI\0\0"].concat();
        cut[20] = 8;
        assert!(section(&sealed(&cut)).expect_err("no event").contains("damaged"));
        let mut cut = [before, b"\x02\x30CUEI\0\0"].concat();
        cut[20] = 8;
        assert!(
            section(&sealed(&cut))
                .expect_err("half a descriptor")
                .contains("damaged")
        );
    }

    #[test]
    fn timestamps_wrap_and_begin_at_the_streams_first() {
        assert_eq!(content_time(90_000, 0), Some(ContentTime::from_millis(1_000)));
        assert_eq!(
            content_time(45_000, WRAP - 45_000),
            Some(ContentTime::from_millis(1_000))
        );
        assert_eq!(content_time(0, 90_000), None);
        let first = 0x7369_c02e - 90_000 * 10;
        let read = parse(&format!("# a comment\n{INSERT}\n"), first).expect("a line");
        assert_eq!(read.marks[0].position.to_string(), "00:00:10");
        assert!(matches!(
            read.marks[0].cue.as_ref().expect("a cue").action,
            Action::Replace(_)
        ));
    }

    #[test]
    fn two_messages_that_open_a_break_at_one_time_are_refused() {
        let text = format!("{START}\n{FOUR}\n{FIVE}");
        let error = parse(&text, 0).expect_err("twice").to_string();
        assert!(
            error.starts_with("line 3: there are two cue points at "),
            "{error}"
        );
    }

    /// splice_insert of event 4 at 20 s for 5 s, its cancelling, and event 5 at the same time.
    pub(in crate::cues) const FOUR: &str = "/DAlAAAAAAAAAP/wFAUAAAAEf+/+ABt3QP4ABt3QAAEAAAAAPqp8IA==";
    pub(in crate::cues) const CANCEL_FOUR: &str = "/DAWAAAAAAAAAP/wBQUAAAAE/wAAFXBVJA==";
    const FIVE: &str = "/DAlAAAAAAAAAP/wFAUAAAAFf+/+ABt3QP4ABt3QAAEAAAAANLH0eQ==";

    #[test]
    fn what_is_said_again_of_an_event_is_one_cue() {
        let titles = |lines: &[&str]| {
            let read = parse(&lines.join("\n"), 0).expect("messages");
            let titles: Vec<String> = read.marks.into_iter().map(|mark| mark.title).collect();
            (titles, read.notes.len())
        };
        let four = || vec!["event 4".to_owned()];
        assert_eq!(titles(&[FOUR, FOUR, FOUR]), (four(), 0));
        assert_eq!(titles(&[FOUR, START, FOUR]).0.len(), 2);
        // A cancelling is said again too, and what comes after it is new.
        let again = [FOUR, FOUR, CANCEL_FOUR, CANCEL_FOUR];
        assert_eq!(titles(&again), (Vec::new(), 1));
        assert_eq!(titles(&[&again[..], &[FOUR, FOUR]].concat()), (four(), 1));
        let taken_back_twice = [&again[..], &[FOUR, CANCEL_FOUR]].concat();
        assert_eq!(titles(&taken_back_twice), (Vec::new(), 2));
    }

    #[test]
    fn what_is_cancelled_is_no_cue() {
        let (four, cancel) = (FOUR, CANCEL_FOUR);
        // Event 9 at 30 s for 5 s.
        let nine = "/DAlAAAAAAAAAP/wFAUAAAAJf+/+ACky4P4ABt3QAAEAAAAA6lBy1A==";
        for order in [[four, cancel, nine], [nine, four, cancel]] {
            let read = parse(&order.join("\n"), 0).expect("three lines");
            let titles: Vec<&str> = read.marks.iter().map(|mark| &mark.title[..]).collect();
            assert_eq!(titles, ["event 9"]);
            let notes = read.notes.join(" ");
            assert!(notes.contains("event 4 at 00:00:20 is no cue point"), "{notes}");
        }
        let read = parse(&[cancel, four].join("\n"), 0).expect("two lines");
        assert_eq!(read.marks.len(), 1);
        assert!(
            read.notes[0].contains("event 4, which opened no break"),
            "{:?}",
            read.notes
        );
    }

    #[test]
    fn damage_is_named_with_its_line() {
        for (text, reason) in [
            (INSERT.replace("c2nA", "c2nB"), "CRC"),
            ("/DAv!!!!!!!!!!!!!!!!!!".to_owned(), "no base64"),
            ("0xFC3".to_owned(), "no hex"),
            (INSERT[..40].to_owned(), "damaged"),
        ] {
            let error = parse(&format!("\n{text}\n"), 0).expect_err(&text).to_string();
            assert!(
                error.starts_with("line 2: ") && error.contains(reason),
                "{text}: {error}"
            );
        }
    }
}
