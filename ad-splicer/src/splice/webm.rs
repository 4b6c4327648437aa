//! Splicing Opus in WebM (or Matroska), alone or with pictures in VP9. Packets of sound are bridged as in Ogg, `pictures` lays out what is seen; `clusters` writes the file.
//!
//! Packets of sound follow each other without gaps, so their number says when they are heard; the times that the file gives are to the unit of its clock, and may be a recorder's. Content keeps its own.

mod blocks;
mod gaps;
mod length;
pub(super) mod moved;
mod parted;
mod played;
mod write;

use std::ops::Range;
use std::time::Duration;

use self::blocks::{InBlocks, Part, late};
use self::parted::Parted;
use self::write::{about, chapters, frames_of, write_both};
use super::bridged::{Piece, bridged, decoded};
use super::clock::Clock;
use super::clusters::{Bytes, Frame, Writer};
use super::format::{self, Frames, Place, Played, Runs, Spliced, Stream};
use super::layout::Layout;
use super::opus_sound::{Length, Packets, Sound, silent};
use super::pictures::{Found, Heard, Seen, Video, half_of_one};
use super::{Chapter, Codec, Options, SeekPoint, SpliceError};
use crate::again::Again;
use crate::content::Content;
use crate::frames::opus::{Head, RATE};
use crate::frames::webm::{Entry, Index, Kind, Webm, texts};
use crate::picture::PictureFormat;
use crate::plan::{SplicePlan, Steps};
use crate::time::ContentTime;

/// How far a packet's time may be from where the packets before it end, in nanoseconds: recorders are that much off.
const JITTER: u64 = 30_000_000;
/// Blocks at the beginning that are looked at to see what pictures are like.
const LOOKED_AT: usize = 400;

/// What Matroska calls Vorbis.
const VORBIS: &str = "A_VORBIS";

fn unsupported(what: impl Into<String>) -> SpliceError {
    SpliceError::Unsupported(what.into())
}

/// What is said of a track that no ads can be put into.
fn refusal(entry: &Entry) -> Option<String> {
    if entry.encoded {
        return Some("a track of the WebM file is compressed or encrypted once more".into());
    }
    match (entry.kind, entry.codec.as_str()) {
        (Kind::Audio, "A_OPUS" | VORBIS) | (Kind::Video, "V_VP9") => None,
        (Kind::Video, codec) => Some(format!(
            "the WebM file holds video in a coding ({codec}) into which no ads can be put: only VP9 can"
        )),
        (_, codec) if ["S_", "D_WEBVTT"].iter().any(|kind| codec.starts_with(kind)) => Some(format!(
            "the WebM file has subtitles (`{codec}`), and ads can be put into WebM with sound and pictures alone"
        )),
        (_, codec) => Some(format!(
            "the WebM file holds a track of `{codec}`, and ads can be put into WebM with Opus"
        )),
    }
}

/// The only track of a kind.
fn only(webm: &Webm, kind: Kind, of: &str) -> Result<Option<usize>, SpliceError> {
    let mut found = (0..webm.tracks.len()).filter(|track| webm.tracks[*track].kind == kind);
    let first = found.next();
    if found.next().is_some() {
        return Err(unsupported(format!(
            "the WebM file has more than one track of {of}"
        )));
    }
    Ok(first)
}

/// A WebM file with one track of Opus, and at most one of VP9.
pub(crate) struct WebmOpus<'a> {
    content: &'a dyn Content,
    options: &'a Options,
    webm: Webm,
    head: Head,
    /// Which track is the sound.
    sound: usize,
    /// Which one is the pictures, and what they are like.
    pictures: Option<(usize, PictureFormat)>,
    /// How many nanoseconds there are, as far as it is told.
    lasts: u64,
}

impl<'a> WebmOpus<'a> {
    /// `None` when it is something else.
    pub(crate) fn new(content: &'a dyn Content, options: &'a Options) -> Result<Option<Self>, SpliceError> {
        let deadline = options.read_deadline;
        let Some(webm) = Webm::read(content, deadline)? else {
            return Ok(None);
        };
        if let Some(reason) = webm.tracks.iter().find_map(refusal) {
            return Err(unsupported(reason));
        }
        let sound = only(&webm, Kind::Audio, "sound")?
            .ok_or_else(|| SpliceError::NotAudio("the WebM file has no sound".into()))?;
        let pictures = match only(&webm, Kind::Video, "pictures")? {
            Some(track) => {
                let mut found = Found::default();
                let index = Index::scan_first(LOOKED_AT, &webm, content, deadline, &mut |block, packet| {
                    if block.track() == track {
                        found.look(packet, block.offset)?;
                    }
                    Ok(())
                })?;
                let display = &webm.tracks[track].display;
                let format = found.format(display, (&index, track), units_in_a_second(&webm)?)?;
                Some((track, format))
            }
            None => None,
        };
        // With pictures that nothing can be put among, no sound is worth being coded again.
        let entry = &webm.tracks[sound];
        if entry.codec == VORBIS {
            return Err(SpliceError::Again(match pictures {
                Some(_) => Again::WebmVorbisBeside,
                None => Again::WebmVorbis,
            }));
        }
        let head = Head::parse(&entry.private)?
            .ok_or_else(|| unsupported("the WebM file does not say how its Opus is to be decoded"))?;
        let lasts = match webm.duration() {
            Some(lasts) => lasts,
            None => length::of_the_end(&webm, sound, content, deadline)?,
        };
        Ok(Some(Self {
            content,
            options,
            webm,
            head,
            sound,
            pictures,
            lasts,
        }))
    }

    /// What was looked at does not do: all has to be.
    fn elsewhere(&self) -> SpliceError {
        SpliceError::Corrupt {
            offset: self.webm.first,
        }
    }

    /// Samples before content time 0.
    fn skip(&self) -> u64 {
        let entry = &self.webm.tracks[self.sound];
        entry.skip(RATE).unwrap_or(self.head.pre_skip.into())
    }

    /// How many samples before a cue times may be that are meant to be at it.
    fn unit(&self) -> Result<u64, SpliceError> {
        let millisecond = u64::from(RATE.div_ceil(1000));
        let Some((_, format)) = &self.pictures else {
            return Ok(millisecond);
        };
        Ok(half_of_one(format, units_in_a_second(&self.webm)?, RATE).max(millisecond))
    }
}

/// How many units of the file are in a second.
fn units_in_a_second(webm: &Webm) -> Result<u32, SpliceError> {
    match 1_000_000_000 % webm.scale {
        0 => Ok((1_000_000_000 / webm.scale) as u32),
        _ => Err(unsupported(format!(
            "the WebM file counts time in steps of {} ns, which no whole number of fills a second",
            webm.scale
        ))),
    }
}

impl format::Head for WebmOpus<'_> {
    fn stream(&self) -> Stream {
        let samples = texts::samples_of(self.lasts, RATE);
        Stream {
            codec: match self.pictures {
                Some(_) => Codec::WebmVp9,
                None => Codec::WebmOpus,
            },
            sample_rate: RATE,
            channels: self.head.channels.into(),
            samples: samples.saturating_sub(self.skip()),
        }
    }

    fn picture(&self) -> Option<PictureFormat> {
        self.pictures.map(|(_, format)| format)
    }

    fn chapters(&self, plan: &SplicePlan) -> Result<Vec<Chapter>, SpliceError> {
        Ok(chapters(plan, &self.webm, self.unit()?))
    }

    fn played(&self) -> Result<Option<(Runs, Played)>, SpliceError> {
        self.plain()
    }

    fn point_before(&self, wanted: i64) -> Result<Option<SeekPoint>, SpliceError> {
        self.place_before(wanted)
    }

    fn points(&self) -> Result<Vec<SeekPoint>, SpliceError> {
        self.places()
    }

    fn open(&self) -> Result<Box<dyn format::Track + '_>, SpliceError> {
        match Parted::open(self)? {
            Some(parted) => Ok(Box::new(parted)),
            None => Ok(Box::new(Track::open(self)?)),
        }
    }

    fn read_through(&self) -> Option<Result<Box<dyn format::Track + '_>, SpliceError>> {
        Some(Track::open(self).map(|track| Box::new(track) as Box<dyn format::Track>))
    }
}

/// The track of pictures.
struct Pictures {
    track: usize,
    video: Video,
    /// When packets of sound are heard.
    clock: Clock,
    /// When the first picture is.
    begins: i64,
}

struct Track<'a> {
    file: &'a WebmOpus<'a>,
    /// The head, with what stands behind the sound.
    webm: Webm,
    sound: Sound<InBlocks<'a>>,
    /// When the first packet of sound is.
    first: i64,
    pictures: Option<Pictures>,
}

/// What was found of a file: of all of it, or of parts.
struct Gathered {
    /// The head, with what stands behind the sound.
    webm: Webm,
    index: Index,
    parts: Vec<Part>,
    found: Found,
    /// Samples of a packet.
    size: u32,
    /// How many packets there are.
    count: u64,
}

impl<'a> Track<'a> {
    fn open(file: &'a WebmOpus<'a>) -> Result<Self, SpliceError> {
        let mut webm = file.webm.clone();
        let (mut length, mut found) = (Length::default(), Found::default());
        let deadline = file.options.read_deadline;
        let index = Index::scan(&mut webm, file.content, deadline, &mut |block, packet| {
            if block.track() == file.sound {
                length.look(packet, block.offset)
            } else {
                found.look(packet, block.offset)
            }
        })?;
        let size = length.samples()?;
        let is_sound = |block: &u32| index.blocks[*block as usize].track() == file.sound;
        let own: Vec<u32> = (0..index.blocks.len() as u32).filter(is_sound).collect();
        let first = own.first().ok_or_else(silent)?;
        let first = index.blocks[*first as usize].time;
        if let Some(block) = late(&index, &own, (0, first), (size, webm.scale)) {
            return Err(unsupported(format!(
                "the sound of the WebM file has a gap before byte {}",
                block.offset
            )));
        }
        let count = own.len() as u64;
        let gathered = Gathered {
            webm,
            index,
            parts: vec![Part { first: 0, own }],
            found,
            size,
            count,
        };
        Self::of(file, gathered)
    }

    /// The beginning and the end of the file are always among what was found.
    fn of(file: &'a WebmOpus<'a>, gathered: Gathered) -> Result<Self, SpliceError> {
        let Gathered {
            webm,
            index,
            parts,
            found,
            size,
            count,
        } = gathered;
        let last = parts.last().and_then(|part| part.own.last()).ok_or_else(silent)?;
        let end = end_of(count, size, *last as usize, index.discard)?;
        let first = parts[0].own.first().ok_or_else(silent)?;
        let first = index.blocks[*first as usize].time;
        let skip = file.skip();
        if end <= skip {
            return Err(silent());
        }
        let pictures = match file.pictures {
            Some((track, format)) => {
                let begins = index.blocks.iter().find(|block| block.track() == track);
                let begins = begins.map_or(0, |block| block.time);
                let scale = units_in_a_second(&webm)?;
                Some(Pictures {
                    track,
                    video: found.video((&index, track), scale, first - begins, format)?,
                    clock: Clock::new(size, &[(count as u32, size)], skip, 0),
                    begins,
                })
            }
            None => None,
        };
        let packets = InBlocks {
            file,
            index,
            parts,
            count,
        };
        let sound = Sound {
            head: file.head,
            size,
            skip,
            end,
            packets,
        };
        Ok(Self {
            file,
            webm,
            sound,
            first,
            pictures,
        })
    }

    fn index(&self) -> &Index {
        &self.sound.packets.index
    }

    /// The pictures, if there are any.
    fn seen(&self) -> Option<Seen<'_>> {
        self.pictures.as_ref().map(|pictures| Seen {
            content: self.file.content,
            deadline: self.file.options.read_deadline,
            video: &pictures.video,
            heard: Heard {
                clock: &pictures.clock,
                rate: RATE,
                samples: self.samples(),
            },
        })
    }

    fn samples(&self) -> u64 {
        self.sound.end - self.sound.skip
    }

    /// When a packet of the result is: content packets that follow each other keep their own steps. `content` is which one of the content it is, and its block.
    fn time(&self, packet: u64, content: Option<(u64, usize)>) -> i64 {
        let after = |packets: i64| units(packets * i64::from(self.sound.size), self.webm.scale);
        match content.map(|(own, block)| (own, self.index().blocks[block])) {
            Some((own, block)) if !block.shares() => {
                block.time.saturating_add(after(packet as i64 - own as i64))
            }
            _ => self.first.saturating_add(after(packet as i64)),
        }
    }

    /// The packets of sound of a result that were looked at or made, of which what is `beyond` that many samples at the end is not heard.
    fn frames_of<'b>(&'b self, pieces: &'b [Piece], beyond: u64) -> impl Iterator<Item = Frame<'b>> {
        let total: u64 = pieces.iter().map(Piece::len).sum();
        let packets = &self.sound.packets;
        let mut written = 0;
        let all = pieces.iter().flat_map(move |piece| {
            let begin = written;
            written += piece.len();
            let (content, made) = match piece {
                Piece::Content(range) => (range.clone(), &[][..]),
                Piece::Made(made) => (0..0, &made[..]),
            };
            let start = content.start;
            let content = packets
                .known(content)
                .map(move |(packet, block)| (begin + (packet - start), Some((packet, block)), &[][..]));
            let made = (begin..)
                .zip(made)
                .map(|(written, packet)| (written, None, &packet[..]));
            content.chain(made)
        });
        all.map(move |(written, content, made)| Frame {
            track: self.file.sound,
            time: self.time(written, content),
            key: content.is_none_or(|(_, block)| self.index().blocks[block].key()),
            bytes: match content {
                Some((_, block)) => Bytes::Content(block),
                None => Bytes::Made(made),
            },
            discard: if written + 1 == total {
                ContentTime::from_samples(beyond, RATE).as_nanos() as i64
            } else {
                0
            },
        })
    }
}

impl format::Track for Track<'_> {
    fn stream(&self) -> Stream {
        Stream {
            samples: self.samples(),
            ..format::Head::stream(self.file)
        }
    }

    fn frames(&self) -> Frames {
        Frames {
            count: self.sound.packets.count(),
            steps: Steps::of_frames(self.sound.size),
            start: self
                .sound
                .packets
                .block(0)
                .map_or(self.webm.first, |block| self.index().blocks[block].offset),
            bit_rate: None,
        }
    }

    fn place(&self, sample: u64) -> Result<Place, SpliceError> {
        let frame = (sample + self.sound.skip) / u64::from(self.sound.size);
        let frame = frame.min(self.sound.packets.count() - 1);
        let block = self.sound.packets.block(frame);
        let block = block.ok_or_else(|| self.file.elsewhere())?;
        Ok(Place {
            frame,
            offset: self.index().blocks[block].offset,
        })
    }

    fn decode(&self, range: Range<u64>) -> Result<Vec<f32>, SpliceError> {
        let skip = self.sound.skip as i64;
        decoded(&self.sound, range.start as i64 + skip..range.end as i64 + skip)
    }

    fn cut(&self, span: &Range<u64>) -> Result<Range<u64>, String> {
        let Some(seen) = self.seen() else {
            return Ok(span.clone());
        };
        let start = seen.cut(span.start)?;
        if !span.is_empty() {
            return Ok(start..seen.cut(span.end)?);
        }
        seen.check_insert(start)?;
        Ok(start..start)
    }

    fn outlasted(&self) -> u64 {
        self.seen().map_or(0, |seen| seen.outlasts_sound())
    }

    fn key_near(&self, sample: u64, within: u64) -> Option<Result<Option<u64>, SpliceError>> {
        self.seen().map(|seen| seen.key_near(sample, within))
    }

    fn recodes_long(&self, sample: u64) -> Option<Duration> {
        self.seen()?.recodes_long(sample)
    }

    fn lacks_keys(&self, sample: u64, most: u64) -> bool {
        self.seen().is_some_and(|seen| seen.lacks_keys(sample, most))
    }

    fn splice(&self, layout: &Layout<'_>) -> Result<Spliced, SpliceError> {
        let shots = self.seen().map(|seen| seen.shots(layout, &[])).transpose()?;
        let bridged = bridged(&self.sound, self, layout)?;
        let plan = &layout.plan;
        let total: u64 = bridged.pieces.iter().map(Piece::len).sum();
        let heard = plan.samples() + self.sound.skip;
        let beyond = (total * u64::from(self.sound.size)).saturating_sub(heard);
        let sound = self.frames_of(&bridged.pieces, beyond);
        let in_nanos = |units: i64| units.max(0) as u64 * self.webm.scale;
        let first = self.first;
        let heard = in_nanos(first) + ContentTime::from_samples(heard, RATE).as_nanos();
        let track = self.pictures.as_ref().map(|pictures| pictures.track);
        let grows = self.file.options.growing;
        let mut writer = Writer::new(&self.webm, self.index(), track, grows);
        let kept = if grows {
            let kept = self.unchanged(&bridged.pieces, shots.as_ref());
            writer.keep(kept);
            self.index().blocks_before(kept)
        } else {
            0
        };
        let is_new = |frame: &Frame<'_>| !matches!(frame.bytes, Bytes::Content(block) if block < kept);
        let mut gaps = self.kept(&bridged.pieces, shots.as_ref())?;
        gaps.retain(|gap| gap.gap.before > kept);
        writer.set_gaps(gaps);
        let sound = sound.filter(is_new);
        let mut seen = 0;
        if let (Some(pictures), Some(shots)) = (&self.pictures, &shots) {
            let frames = frames_of(shots, self.index(), pictures.track, pictures.begins);
            write_both(&mut writer, self.index(), sound, frames.filter(is_new));
            seen = in_nanos(pictures.begins + shots.over);
        } else {
            sound.for_each(|frame| writer.push(&frame));
        }
        let unit = self.file.unit()?;
        let uid = track.map(|track| self.webm.tracks[track].uid);
        let lasts = |track: Option<u64>| match track {
            None => heard.max(seen),
            track if track == uid => seen,
            Some(_) => heard,
        };
        let (runs, played) = if grows {
            let head = played::head(&self.webm);
            let start = head.len();
            let (runs, cues) = writer.finish_played(head);
            let played = Played {
                audio: start..runs.len(),
                points: played::points(&self.webm, cues, first),
                zero: Duration::from_nanos(in_nanos(first)),
            };
            (runs, Some(played))
        } else {
            (writer.finish(&about(plan, (&self.webm, unit), &lasts)), None)
        };
        Ok(Spliced {
            runs: runs.into_runs(),
            left: Vec::new(),
            seams: bridged.seams,
            chapters: chapters(plan, &self.webm, unit),
            played,
        })
    }
}

/// Units of time that so many samples take.
fn units(samples: i64, scale: u64) -> i64 {
    let unit = i128::from(RATE) * i128::from(scale);
    (i128::from(samples) * 1_000_000_000 + unit / 2).div_euclid(unit) as i64
}

/// The sample at which the sound of a track ends: what its last packet says not to be heard is not counted.
fn end_of(count: u64, size: u32, last: usize, discard: Option<(usize, i64)>) -> Result<u64, SpliceError> {
    let all = count * u64::from(size);
    match discard {
        None => Ok(all),
        Some((block, nanos)) if block == last && nanos > 0 => {
            Ok(all.saturating_sub(texts::samples_of(nanos as u64, RATE)))
        }
        Some(_) => Err(unsupported(
            "the WebM file leaves out sound before its end (DiscardPadding), and nothing can be put into such files",
        )),
    }
}
