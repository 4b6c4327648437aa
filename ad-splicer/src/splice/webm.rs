//! Splicing Opus in WebM (or Matroska), sound only. Packets are bridged as in Ogg; `clusters` writes the file.
//!
//! Packets follow each other without gaps, so their number says when they are heard; the times that the file gives are to the unit of its clock, and may be a recorder's. Content keeps its own.

use std::ops::Range;

use super::bridged::{Piece, bridged, decoded};
use super::clusters::{Bytes, Frame, Writer};
use super::format::{self, Frames, Place, Spliced, Stream};
use super::layout::{Layout, moved};
use super::opus_sound::{Length, Packets, Sound, silent};
use super::{Chapter, Codec, Options, SpliceError};
use crate::content::Content;
use crate::frames::opus::{Head, RATE};
use crate::frames::webm::ebml;
use crate::frames::webm::texts::{self, move_chapters, set_lengths};
use crate::frames::webm::{Entry, Index, Kind, Webm, read};
use crate::plan::SplicePlan;
use crate::time::{ContentTime, PresentationTime};

/// How far a packet's time may be from where the packets before it end, in nanoseconds: recorders are that much off.
const JITTER: u64 = 30_000_000;

fn unsupported(what: impl Into<String>) -> SpliceError {
    SpliceError::Unsupported(what.into())
}

/// What is said of a track that no ads can be put into.
fn refusal(entry: &Entry) -> Option<String> {
    if entry.encoded {
        return Some("a track of the WebM file is compressed or encrypted once more".into());
    }
    match (entry.kind, entry.codec.as_str()) {
        (Kind::Audio, "A_OPUS") => None,
        (Kind::Audio, "A_VORBIS") => {
            Some("the WebM file holds Vorbis, and ads can be put into WebM with Opus".into())
        }
        (Kind::Video, codec) => Some(format!(
            "the WebM file holds video ({codec}), and ads cannot be put into that yet"
        )),
        (_, codec) => Some(format!(
            "the WebM file holds a track of `{codec}`, and ads can be put into WebM with Opus"
        )),
    }
}

/// A WebM file with one track of Opus.
pub(crate) struct WebmOpus<'a> {
    content: &'a dyn Content,
    options: &'a Options,
    webm: Webm,
    head: Head,
}

impl<'a> WebmOpus<'a> {
    /// `None` when it is something else.
    pub(crate) fn new(content: &'a dyn Content, options: &'a Options) -> Result<Option<Self>, SpliceError> {
        let Some(webm) = Webm::read(content, options.read_deadline)? else {
            return Ok(None);
        };
        if let Some(reason) = webm.tracks.iter().find_map(refusal) {
            return Err(unsupported(reason));
        }
        let entry = match &webm.tracks[..] {
            [entry] => entry,
            [] => return Err(SpliceError::NotAudio("the WebM file has no tracks".into())),
            _ => return Err(unsupported("the WebM file has more than one track of sound")),
        };
        let head = Head::parse(&entry.private)?
            .ok_or_else(|| unsupported("the WebM file does not say how its Opus is to be decoded"))?;
        Ok(Some(Self {
            content,
            options,
            webm,
            head,
        }))
    }

    /// Samples before content time 0.
    fn skip(&self) -> u64 {
        let entry = self.webm.tracks.first();
        entry
            .and_then(|entry| entry.skip(RATE))
            .unwrap_or(self.head.pre_skip.into())
    }
}

/// The file's chapters in presentation time, each up to where it says or to the next.
pub(super) fn chapters(plan: &SplicePlan, webm: &Webm) -> Vec<Chapter> {
    let at = |nanos: u64| moved(plan, ContentTime::from_nanos(nanos), unit(plan));
    let listed = texts::chapters(webm);
    let next = listed.iter().skip(1).map(|chapter| Some(chapter.start));
    let ends = next.chain([None]);
    listed
        .iter()
        .zip(ends)
        .map(|(chapter, next)| Chapter {
            id: chapter.id.to_string(),
            title: chapter.title.clone(),
            start: at(chapter.start),
            end: chapter
                .end
                .or(next)
                .map_or(PresentationTime::from(plan.duration()), at),
        })
        .collect()
}

fn unit(plan: &SplicePlan) -> u64 {
    u64::from(plan.sample_rate().div_ceil(1000))
}

/// The elements about the whole, for a file that lasts so long: `lengths` gives the nanoseconds of the track with a number of its own, or of all.
pub(super) fn about(
    plan: &SplicePlan,
    webm: &Webm,
    lengths: &dyn Fn(Option<u64>) -> u64,
) -> Vec<(u32, Vec<u8>)> {
    let moved = |nanos| moved(plan, ContentTime::from_nanos(nanos), unit(plan)).as_nanos();
    webm.nodes
        .iter()
        .map(|(_, node)| {
            let mut node = node.clone();
            match node.id {
                ebml::INFO => {
                    let units = lengths(None) as f64 / webm.scale as f64;
                    node.set(ebml::DURATION, &units.ceil().to_be_bytes());
                }
                ebml::CHAPTERS => move_chapters(&mut node, &moved),
                ebml::TAGS => set_lengths(&mut node, lengths),
                _ => {}
            }
            (node.id, node.write())
        })
        .collect()
}

impl format::Head for WebmOpus<'_> {
    fn stream(&self) -> Stream {
        let samples = texts::samples_of(self.webm.duration().unwrap_or(0), RATE);
        Stream {
            codec: Codec::WebmOpus,
            sample_rate: RATE,
            channels: self.head.channels.into(),
            samples: samples.saturating_sub(self.skip()),
        }
    }

    fn chapters(&self, plan: &SplicePlan) -> Result<Vec<Chapter>, SpliceError> {
        Ok(chapters(plan, &self.webm))
    }

    fn open(&self) -> Result<Box<dyn format::Track + '_>, SpliceError> {
        Ok(Box::new(Track::open(self)?))
    }
}

/// The packets in the blocks of the only track.
struct InBlocks<'a> {
    file: &'a WebmOpus<'a>,
    index: Index,
}

impl Packets for InBlocks<'_> {
    fn count(&self) -> u64 {
        self.index.blocks.len() as u64
    }

    fn read(&self, packets: Range<u64>) -> Result<Vec<Vec<u8>>, SpliceError> {
        let blocks = &self.index.blocks[packets.start as usize..packets.end as usize];
        read(self.file.content, blocks, self.file.options.read_deadline)
    }
}

struct Track<'a> {
    file: &'a WebmOpus<'a>,
    /// The head, with what stands behind the sound.
    webm: Webm,
    sound: Sound<InBlocks<'a>>,
}

/// Units of time that so many samples take.
pub(super) fn units(samples: i64, scale: u64) -> i64 {
    let unit = i128::from(RATE) * i128::from(scale);
    (i128::from(samples) * 1_000_000_000 + unit / 2).div_euclid(unit) as i64
}

/// The sample at which the sound of a track ends: what its last packet says not to be heard is not counted.
pub(super) fn end_of(
    count: u64,
    size: u32,
    last: usize,
    discard: Option<(usize, i64)>,
) -> Result<u64, SpliceError> {
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

impl<'a> Track<'a> {
    fn open(file: &'a WebmOpus<'a>) -> Result<Self, SpliceError> {
        let mut webm = file.webm.clone();
        let mut length = Length::default();
        let index = Index::scan(
            &mut webm,
            file.content,
            file.options.read_deadline,
            &mut |block, packet| length.look(packet, block.offset),
        )?;
        let size = length.samples()?;
        let first = index.blocks.first().ok_or_else(silent)?.time;
        for (i, block) in index.blocks.iter().enumerate() {
            debug_assert_eq!(block.track(), 0);
            let due = first + units(i as i64 * i64::from(size), webm.scale);
            if !block.shares() && (block.time - due).unsigned_abs() > JITTER.div_ceil(webm.scale) + 1 {
                return Err(unsupported(format!(
                    "the sound of the WebM file has a gap before byte {}",
                    block.offset
                )));
            }
        }
        let count = index.blocks.len();
        let end = end_of(count as u64, size, count - 1, index.discard)?;
        let skip = file.skip();
        if end <= skip {
            return Err(silent());
        }
        let sound = Sound {
            head: file.head,
            size,
            skip,
            end,
            packets: InBlocks { file, index },
        };
        Ok(Self { file, webm, sound })
    }

    fn index(&self) -> &Index {
        &self.sound.packets.index
    }

    /// When a packet of the result is: content packets that follow each other keep their own steps.
    fn time(&self, packet: u64, content: Option<usize>) -> i64 {
        let blocks = &self.index().blocks;
        let after = |packets: i64| units(packets * i64::from(self.sound.size), self.webm.scale);
        match content {
            Some(own) if !blocks[own].shares() => blocks[own].time + after(packet as i64 - own as i64),
            _ => blocks[0].time + after(packet as i64),
        }
    }
}

impl format::Track for Track<'_> {
    fn stream(&self) -> Stream {
        Stream {
            samples: self.sound.end - self.sound.skip,
            ..format::Head::stream(self.file)
        }
    }

    fn frames(&self) -> Frames {
        Frames {
            count: self.sound.packets.count(),
            samples: self.sound.size,
            start: self.index().blocks[0].offset,
            bit_rate: None,
        }
    }

    fn place(&self, sample: u64) -> Place {
        let frame = (sample + self.sound.skip) / u64::from(self.sound.size);
        let frame = frame.min(self.sound.packets.count() - 1);
        Place {
            frame,
            offset: self.index().blocks[frame as usize].offset,
        }
    }

    fn decode(&self, range: Range<u64>) -> Result<Vec<f32>, SpliceError> {
        let skip = self.sound.skip as i64;
        decoded(&self.sound, range.start as i64 + skip..range.end as i64 + skip)
    }

    fn splice(&self, layout: &Layout<'_>) -> Result<Spliced, SpliceError> {
        let bridged = bridged(&self.sound, self, layout)?;
        let plan = &layout.plan;
        let total: u64 = bridged.pieces.iter().map(Piece::len).sum();
        let heard = plan.samples() + self.sound.skip;
        let beyond = (total * u64::from(self.sound.size)).saturating_sub(heard);
        let mut writer = Writer::new(&self.webm, self.index(), None);
        let mut written = 0;
        for piece in &bridged.pieces {
            for i in 0..piece.len() {
                let (content, bytes) = match piece {
                    Piece::Content(range) => {
                        let block = (range.start + i) as usize;
                        (Some(block), Bytes::Content(block))
                    }
                    Piece::Made(packets) => (None, Bytes::Made(&packets[i as usize])),
                };
                writer.push(&Frame {
                    track: 0,
                    time: self.time(written, content),
                    key: content.is_none_or(|block| self.index().blocks[block].key()),
                    bytes,
                    discard: if written + 1 == total {
                        ContentTime::from_samples(beyond, RATE).as_nanos() as i64
                    } else {
                        0
                    },
                });
                written += 1;
            }
        }
        let first = self.index().blocks[0].time.max(0) as u64 * self.webm.scale;
        let lasts = first + ContentTime::from_samples(heard, RATE).as_nanos();
        let runs = writer.finish(&about(plan, &self.webm, &|_| lasts));
        Ok(Spliced {
            runs: runs.into_runs(),
            seams: bridged.seams,
            chapters: chapters(plan, &self.webm),
        })
    }
}
