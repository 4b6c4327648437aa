//! SCTE-35 messages in an MPEG transport stream (ISO/IEC 13818-1): a recording of a broadcast with its marks.
//!
//! Packets, tables and sections are read by `mpeg2ts-reader`, messages by [`scte35`]. A programme's content begins at
//! the earliest first timestamp of its streams. Broadcasters repeat messages, and send `splice_null` as a heartbeat:
//! repeats and heartbeats are passed over. A message that splices at once means the picture or sound beside it.
//!
//! The file is read once, in bounded memory.
#![allow(unreachable_pub)] // the macro that makes the filter makes it `pub`, so its parts must be

use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use mpeg2ts_reader::demultiplex::{
    Demultiplex, DemuxContext, FilterChangeset, FilterRequest, NullPacketFilter, PacketFilter,
    PatPacketFilter, PmtPacketFilter,
};
use mpeg2ts_reader::packet::{Packet, Pid};
use mpeg2ts_reader::pes::{ElementaryStreamConsumer, PesContents, PesHeader, PesPacketFilter, PtsDts};
use mpeg2ts_reader::psi::{
    BufferCompactSyntaxParser, CompactSyntaxSectionProcessor, SectionCommonHeader, SectionPacketConsumer,
    WholeCompactSyntaxPayloadParser,
};
use mpeg2ts_reader::{StreamType, packet_filter_switch};

use super::MOST_CUES;
use super::marks::{Marks, MarksError, MarksFormat};
use super::scte35::{self, Breaks, Event, Meaning, Message, Said, WRAP};

/// Bytes that [`looks_like`] wants: two packets' first bytes.
pub(super) const HEAD: usize = Packet::SIZE + 1;
/// `stream_type` of SCTE-35 (ANSI/SCTE 35 2023r1 §8.1).
const SCTE35: StreamType = StreamType(0x86);
/// `table_id` of a `splice_info_section` (§9.6).
const TABLE: u8 = 0xfc;
/// Bytes that are read at once.
const CHUNK: usize = 1024 * Packet::SIZE;
/// Messages that are kept: each break has two, and none is kept twice.
const MOST_MESSAGES: usize = 4 * MOST_CUES;

/// Whether a file begins like a transport stream.
pub(super) fn looks_like(head: &[u8]) -> bool {
    let sync = |at: usize| head.get(at) == Some(&Packet::SYNC_BYTE);
    sync(0) && sync(Packet::SIZE)
}

/// Reads the messages of a transport stream.
pub(super) fn read(mut stream: impl Read) -> Result<Marks, MarksError> {
    let mut found = Found::default();
    let mut demultiplex = Demultiplex::new(&mut found);
    let mut chunk = Vec::with_capacity(CHUNK);
    while stream.by_ref().take(CHUNK as u64).read_to_end(&mut chunk)? > 0 {
        for packet in chunk.chunks(Packet::SIZE) {
            if packet.len() == Packet::SIZE && packet.first() != Some(&Packet::SYNC_BYTE) {
                return Err(MarksError::Byte {
                    byte: found.byte,
                    reason: "no packet of the transport stream begins here".into(),
                });
            }
            demultiplex.push(&mut found, packet);
            if let Some(error) = found.error.take() {
                return Err(error);
            }
            found.byte += packet.len() as u64;
        }
        chunk.clear();
    }
    Ok(found.into_marks())
}

/// What one programme of the stream has shown so far. Timestamps are 90 kHz ticks of 33 bits.
#[derive(Debug, Default)]
struct Programme {
    /// The earliest of its streams' first timestamps.
    first: Option<u64>,
    /// The latest timestamp.
    now: Option<u64>,
}

/// A message, and where it was found.
struct Placed {
    byte: u64,
    programme: Pid,
    message: Message,
}

/// What has been found so far, and the place where the reader is.
#[derive(Default)]
pub struct Found {
    changes: FilterChangeset<Filter>,
    /// Where the packet at hand begins.
    byte: u64,
    programmes: BTreeMap<u16, Programme>,
    messages: Vec<Placed>,
    /// What the messages of each programme said of its events.
    said: HashMap<(u16, Event), Said>,
    /// Whether the stream says that it carries messages.
    announced: bool,
    error: Option<MarksError>,
}

impl Found {
    fn timestamp(&mut self, programme: Pid, pts: u64, is_first: bool) {
        let programme = self.programmes.entry(programme.into()).or_default();
        programme.now = Some(pts);
        if is_first {
            let earlier = |old: u64| (old + WRAP - pts) % WRAP < WRAP / 2;
            programme.first = Some(programme.first.filter(|old| !earlier(*old)).unwrap_or(pts));
        }
    }

    fn section(&mut self, programme: Pid, bytes: &[u8]) {
        let mut message = match scte35::section(bytes) {
            Ok(message) => message,
            Err(reason) => {
                let byte = self.byte;
                self.error.get_or_insert(MarksError::Byte { byte, reason });
                return;
            }
        };
        let is_repeat = match message.meaning {
            Meaning::Other(_) => self
                .messages
                .iter()
                .any(|other| other.programme == programme && other.message == message),
            Meaning::Out { .. } | Meaning::In | Meaning::Cancel(_) => {
                let event = (programme.into(), message.event);
                self.said.entry(event).or_default().is_repeat(&message)
            }
        };
        if is_repeat {
            return;
        }
        if message.pts.is_none() && matches!(message.meaning, Meaning::Out { .. } | Meaning::In) {
            message.pts = self
                .programmes
                .get(&programme.into())
                .and_then(|programme| programme.now);
        }
        if self.messages.len() == MOST_MESSAGES {
            self.error.get_or_insert(MarksError::TooMany);
            return;
        }
        self.messages.push(Placed {
            byte: self.byte,
            programme,
            message,
        });
    }

    fn into_marks(self) -> Marks {
        let mut breaks = Breaks::default();
        if !self.announced {
            breaks.note("the transport stream announces no SCTE-35 messages".into());
        }
        for placed in self.messages {
            let first = self
                .programmes
                .get(&placed.programme.into())
                .and_then(|programme| programme.first);
            let place = format!("the message at byte {}", placed.byte);
            match first {
                _ if matches!(placed.message.meaning, Meaning::Other(what) if what == scte35::HEARTBEAT) => {}
                Some(first) => breaks.add(&place, placed.message, first),
                None => breaks.note(format!(
                    "{place} belongs to a programme without timestamps: it is left aside"
                )),
            }
        }
        breaks.into_marks(MarksFormat::TransportStream)
    }
}

impl DemuxContext for Found {
    type F = Filter;

    fn filter_changeset(&mut self) -> &mut FilterChangeset<Filter> {
        &mut self.changes
    }

    fn construct(&mut self, request: FilterRequest<'_, '_>) -> Filter {
        match request {
            FilterRequest::ByPid(Pid::PAT) => Filter::Pat(PatPacketFilter::default()),
            FilterRequest::Pmt { pid, program_number } => {
                Filter::Pmt(PmtPacketFilter::new(pid, program_number))
            }
            FilterRequest::ByStream {
                program_pid,
                stream_type: SCTE35,
                ..
            } => {
                self.announced = true;
                let messages = Messages {
                    programme: program_pid,
                };
                Filter::Messages(Sections(SectionPacketConsumer::new(
                    CompactSyntaxSectionProcessor::new(BufferCompactSyntaxParser::new(messages)),
                )))
            }
            FilterRequest::ByStream {
                program_pid,
                stream_type,
                ..
            } if stream_type.is_pes() => Filter::Media(PesPacketFilter::new(Timestamps {
                programme: program_pid,
                is_first: true,
            })),
            FilterRequest::ByPid(_) | FilterRequest::ByStream { .. } | FilterRequest::Nit { .. } => {
                Filter::Null(NullPacketFilter::default())
            }
        }
    }
}

packet_filter_switch! {
    Filter<Found> {
        Pat: PatPacketFilter<Found>,
        Pmt: PmtPacketFilter<Found>,
        Messages: Sections,
        Media: PesPacketFilter<Found, Timestamps>,
        Null: NullPacketFilter<Found>,
    }
}

/// The packets of a stream of messages.
pub struct Sections(
    SectionPacketConsumer<CompactSyntaxSectionProcessor<BufferCompactSyntaxParser<Messages>>>,
);

impl PacketFilter for Sections {
    type Ctx = Found;

    fn consume(&mut self, found: &mut Found, packet: &Packet<'_>) {
        self.0.consume(found, packet);
    }
}

/// The messages of one stream.
pub struct Messages {
    programme: Pid,
}

impl WholeCompactSyntaxPayloadParser for Messages {
    type Context = Found;

    fn section(&mut self, found: &mut Found, header: &SectionCommonHeader, bytes: &[u8]) {
        // The same stream type is DTS-HD sound on Blu-ray discs.
        if header.table_id == TABLE {
            found.section(self.programme, bytes);
        }
    }
}

/// The timestamps of one stream of sound or pictures.
pub struct Timestamps {
    programme: Pid,
    is_first: bool,
}

impl ElementaryStreamConsumer<Found> for Timestamps {
    fn start_stream(&mut self, _found: &mut Found) {}

    fn begin_packet(&mut self, found: &mut Found, header: PesHeader<'_>) {
        let PesContents::Parsed(Some(parsed)) = header.contents() else {
            return;
        };
        if let Ok(PtsDts::PtsOnly(Ok(pts)) | PtsDts::Both { pts: Ok(pts), .. }) = parsed.pts_dts() {
            found.timestamp(self.programme, pts.value(), self.is_first);
            self.is_first = false;
        }
    }

    fn continue_packet(&mut self, _found: &mut Found, _data: &[u8]) {}

    fn end_packet(&mut self, _found: &mut Found) {}

    fn continuity_error(&mut self, _found: &mut Found) {}
}

#[cfg(test)]
mod tests {
    use super::super::scte35::tests::{CANCEL_FOUR, FOUR};
    use super::*;

    #[test]
    fn what_is_opened_again_after_it_was_taken_back_is_open() {
        let programme = Pid::new(0x100);
        let read = |messages: &[&str]| {
            let mut found = Found {
                announced: true,
                ..Found::default()
            };
            found.timestamp(programme, 0, true);
            for message in messages {
                let bytes = scte35::bytes_of(message).expect("a message");
                found.section(programme, &bytes);
            }
            assert!(found.error.is_none(), "{:?}", found.error);
            let marks = found.into_marks();
            (marks.cues().count(), marks.notes.len())
        };
        // Each is sent several times.
        let taken_back = [FOUR, FOUR, CANCEL_FOUR, CANCEL_FOUR];
        assert_eq!(read(&taken_back), (0, 1));
        assert_eq!(read(&[&taken_back[..], &[FOUR, FOUR]].concat()), (1, 1));
        assert_eq!(read(&[&taken_back[..], &[FOUR], &taken_back].concat()), (0, 2));
    }
}
