//! Splicing AAC-LC in ADTS. The container declares neither priming nor padding: content time 0 is the first decoded sample, and a result that ends in an ad ends with a whole frame.

use std::ops::Range;

use bytes::Bytes;

use super::bridged::{Coding, decoded};
use super::format::{self, Frames, Place, Runs, Spliced, Stream};
use super::joins::Grid;
use super::later::Made;
use super::layout::Layout;
use super::regions::{Fixed, Piece, Regions};
use super::{Chapter, Codec, Options, Run, SeekPoint, Source, SpliceError};
use crate::bridge::{BridgeError, aac as bridge};
use crate::content::Content;
use crate::frame_index::FrameIndex;
use crate::frames::aac::{Config, HEADER_LEN, Head, Index, SAMPLES, he_aac, head, packet};
use crate::frames::padding;
use crate::plan::{SplicePlan, Steps};

/// Packets that are decoded to see whether there is SBR that nobody declared.
const LOOKED_AT: u64 = 8;
/// Frames between two seek points.
const POINTS: u64 = 40;

/// Refuses AAC that turns out to be HE-AAC when it is decoded.
pub(crate) fn refuse_sbr(config: Config, packets: Vec<Vec<u8>>) -> Result<(), SpliceError> {
    match bridge::decode(config, &[packets]) {
        Err(BridgeError::WrongLength { got, expected }) if got / 2 >= expected => Err(he_aac()),
        // Whatever else is wrong is found where it matters.
        _ => Ok(()),
    }
}

/// An ADTS file.
pub(crate) struct Adts<'a> {
    content: &'a dyn Content,
    options: &'a Options,
    head: Head,
}

impl<'a> Adts<'a> {
    /// `None` when it is something else.
    pub(crate) fn new(content: &'a dyn Content, options: &'a Options) -> Result<Option<Self>, SpliceError> {
        let Some(head) = head(content, options.read_deadline)? else {
            return Ok(None);
        };
        Ok(Some(Self {
            content,
            options,
            head,
        }))
    }

    fn scan(&self) -> Result<Index<'a>, SpliceError> {
        Index::scan(self.content, &self.head, self.options.read_deadline)
    }

    fn track<'t>(
        &'t self,
        index: Index<'t>,
        read_through: bool,
    ) -> Result<Box<dyn format::Track + 't>, SpliceError> {
        let track = Track {
            file: self,
            index,
            read_through,
        };
        let looked_at = track.index.frames().min(LOOKED_AT);
        refuse_sbr(self.head.config, track.read(0..looked_at)?)?;
        Ok(Box::new(track))
    }

    fn read_at(&self, start: u64, end: u64) -> Result<Vec<u8>, SpliceError> {
        let len = (end - start) as usize;
        super::read(self.content, start, len, self.options.read_deadline)
    }
}

impl format::Head for Adts<'_> {
    fn stream(&self) -> Stream {
        let (bytes, frames) = self.head.first;
        let index = self.content.frame_index();
        let all = index
            .filter(|index| index.start() == self.head.start)
            .map_or_else(
                || (self.content.len() - self.head.start).saturating_mul(frames) / bytes.max(1),
                FrameIndex::frames,
            );
        Stream {
            codec: Codec::Adts,
            sample_rate: self.head.config.sample_rate,
            channels: self.head.config.channels.into(),
            samples: all * u64::from(SAMPLES),
        }
    }

    fn is_guess(&self) -> Result<bool, SpliceError> {
        Ok(Index::marked(self.content, &self.head, self.options.read_deadline)?.is_none())
    }

    fn chapters(&self, plan: &SplicePlan) -> Result<Vec<Chapter>, SpliceError> {
        Ok(format::tag_chapters(plan, &self.read_at(0, self.head.start)?))
    }

    fn audio(&self) -> Option<Range<u64>> {
        Some(self.head.start..self.content.len())
    }

    fn points(&self) -> Result<Vec<SeekPoint>, SpliceError> {
        let index = Index::marked(self.content, &self.head, self.options.read_deadline)?;
        Ok(index.map_or_else(Vec::new, |index| {
            let known = index.known(0..index.frames(), POINTS).into_iter();
            known
                .map(|(frame, offset)| SeekPoint {
                    offset,
                    sample: (frame * u64::from(SAMPLES)) as i64,
                })
                .collect()
        }))
    }

    fn open(&self) -> Result<Box<dyn format::Track + '_>, SpliceError> {
        match Index::marked(self.content, &self.head, self.options.read_deadline)? {
            Some(index) => self.track(index, false),
            None => self.track(self.scan()?, true),
        }
    }

    fn read_through(&self) -> Option<Result<Box<dyn format::Track + '_>, SpliceError>> {
        Some(self.scan().and_then(|index| self.track(index, true)))
    }

    fn frame_index(&self) -> Result<Option<FrameIndex>, SpliceError> {
        Ok(self.scan()?.to_frame_index())
    }
}

struct Track<'a> {
    file: &'a Adts<'a>,
    index: Index<'a>,
    read_through: bool,
}

impl Track<'_> {
    /// How many bytes of a rendition are tags, which are a run of their own.
    fn tags(&self, runs: &[Run]) -> u64 {
        let tags = runs.first().filter(|_| self.file.head.start > 0);
        tags.map_or(0, |run| run.len)
    }

    /// Packets with their headers.
    fn framed(&self, packets: &[Vec<u8>]) -> Bytes {
        let config = self.file.head.config;
        let frames: Vec<_> = packets.iter().map(|packet| config.adts(packet)).collect();
        frames.concat().into()
    }
}

impl Fixed for Track<'_> {
    fn packet_len(&self) -> usize {
        padding::most_bytes(self.file.head.config)
    }

    fn ad_len(&self) -> usize {
        padding::ad_bytes(self.file.head.config)
    }

    fn padded(&self, packet: &[u8], len: usize) -> Option<Vec<u8>> {
        padding::padded(packet, len)
    }

    fn silence(&self) -> Vec<u8> {
        padding::silent(self.file.head.config)
    }
}

impl Coding for Track<'_> {
    fn grid(&self) -> Grid {
        let (size, frames) = (u64::from(SAMPLES), self.index.frames());
        Grid {
            size,
            frames,
            end: frames * size,
            fade: 0,
            overlap: size,
            checked: 3,
            reach: 0,
        }
    }

    fn skip(&self) -> u64 {
        0
    }

    fn channels(&self) -> usize {
        self.file.head.config.channels.into()
    }

    fn delay(&self) -> u64 {
        bridge::DELAY.into()
    }

    fn unsettled(&self) -> u64 {
        1
    }

    fn preroll(&self) -> u64 {
        4
    }

    fn read(&self, packets: Range<u64>) -> Result<Vec<Vec<u8>>, SpliceError> {
        let offsets: Vec<u64> = (packets.start..=packets.end)
            .map(|packet| self.index.offset(packet))
            .collect::<Result<_, _>>()?;
        let (start, end) = (offsets[0], offsets[offsets.len() - 1]);
        let bytes = self.file.read_at(start, end)?;
        offsets
            .windows(2)
            .map(|pair| {
                // The content may have changed since it was scanned.
                packet(&bytes[(pair[0] - start) as usize..(pair[1] - start) as usize])
                    .map(<[u8]>::to_vec)
                    .ok_or(SpliceError::Corrupt { offset: pair[0] })
            })
            .collect()
    }

    fn decode(&self, clips: &[Vec<Vec<u8>>]) -> Result<Vec<Vec<f32>>, BridgeError> {
        bridge::decode(self.file.head.config, clips)
    }

    fn encode(
        &self,
        pcm: &[f32],
        _: &Range<usize>,
        inner: &[Range<usize>],
        _: &[Vec<u8>],
    ) -> Result<Vec<Vec<u8>>, BridgeError> {
        bridge::encode_in_parts(self.file.head.config, pcm, inner)
    }

    fn encode_carefully(&self, pcm: &[f32]) -> Result<Vec<Vec<Vec<u8>>>, BridgeError> {
        bridge::encode_carefully(self.file.head.config, pcm)
    }
}

impl format::Track for Track<'_> {
    fn stream(&self) -> Stream {
        Stream {
            samples: self.grid().end,
            ..format::Head::stream(self.file)
        }
    }

    fn left_over(&self) -> Result<u64, SpliceError> {
        Ok(self.index.left_over())
    }

    fn frames(&self) -> Frames {
        Frames {
            count: self.grid().frames,
            steps: Steps {
                ends_anywhere: false,
                ..Steps::of_frames(SAMPLES)
            },
            start: self.index.start(),
            bit_rate: None,
        }
    }

    fn place(&self, sample: u64) -> Result<Place, SpliceError> {
        let frame = (sample / u64::from(SAMPLES)).min(self.grid().frames - 1);
        let offset = self.index.offset(frame)?;
        Ok(Place { frame, offset })
    }

    fn decode(&self, range: Range<u64>) -> Result<Vec<f32>, SpliceError> {
        let decoded = decoded(self, range.start as i64..range.end as i64);
        format::or_silence(decoded, &range, self.channels())
    }

    fn check(&self, layout: &Layout<'_>) -> Result<(), SpliceError> {
        let around = format::around(layout, 0, u64::from(SAMPLES), self.index.frames());
        around
            .into_iter()
            .try_for_each(|packets| self.read(packets).map(|_| ()))
    }

    fn is_read_through(&self) -> bool {
        self.read_through
    }

    fn splice(&self, layout: &Layout<'_>) -> Result<Spliced, SpliceError> {
        let tags = self.file.read_at(0, self.file.head.start)?;
        let (tags, chapters) = format::moved_tag(&tags, &layout.plan, self.file.options);
        let mut runs = Runs::default();
        runs.made(&tags);
        let index = &self.index;
        let mut left = Vec::new();
        for piece in Regions::new(self, self, layout).pieces()? {
            match piece {
                Piece::Content(range) => {
                    runs.content(index.offset(range.start)?, index.offset(range.end)?);
                }
                Piece::Bridge { number, lens, .. } => {
                    let bytes = |(count, len): &(u64, usize)| count * (len + HEADER_LEN) as u64;
                    left.push(lens.iter().map(bytes).sum());
                    runs.bridge(number, 0, left[number]);
                }
            }
        }
        let tail = index.offset(index.frames())? + index.left_over();
        runs.content(tail, self.file.content.len());
        Ok(Spliced {
            runs: runs.into_runs(),
            left,
            seams: Vec::new(),
            chapters,
            played: None,
        })
    }

    fn makes_later(&self) -> bool {
        true
    }

    fn bridge(&self, layout: &Layout<'_>, number: usize) -> Result<Made, SpliceError> {
        let (packets, seams) = Regions::new(self, self, layout).make(number)?;
        Ok(Made {
            bytes: self.framed(&packets),
            seams,
        })
    }

    fn silence(&self, layout: &Layout<'_>, number: usize) -> Result<(Bytes, Vec<usize>), SpliceError> {
        let (packets, breaks) = Regions::new(self, self, layout).silence(number)?;
        Ok((self.framed(&packets), breaks))
    }

    fn audio(&self, runs: &[Run], _: &SplicePlan) -> Option<Range<u64>> {
        Some(self.tags(runs)..format::len_of(runs))
    }

    fn points(&self, runs: &[Run], layout: &Layout<'_>) -> Vec<SeekPoint> {
        let index = &self.index;
        let pieces = Regions::new(self, self, layout).pieces().unwrap_or_default();
        let mut bridges = pieces.into_iter().filter_map(|piece| match piece {
            Piece::Bridge { lens, .. } => Some(lens),
            Piece::Content(_) => None,
        });
        let mut points = Vec::new();
        let mut frame = 0;
        let mut point = |offset, frame: u64| {
            points.push(SeekPoint {
                offset,
                sample: (frame * u64::from(SAMPLES)) as i64,
            });
        };
        for run in runs.iter().filter(|run| run.start + run.len > self.tags(runs)) {
            if let Source::Content(from) = run.source {
                let (first, end) = (index.frame_at(from), index.frame_at(from + run.len));
                for (place, offset) in index.known(first..end, POINTS) {
                    point(run.start + (offset - from), frame + (place - first));
                }
                frame += end - first;
            } else {
                let mut offset = run.start;
                for (count, len) in bridges.next().unwrap_or_default() {
                    let len = (len + HEADER_LEN) as u64;
                    for place in (0..count).step_by(POINTS as usize) {
                        point(offset + place * len, frame + place);
                    }
                    offset += count * len;
                    frame += count;
                }
            }
        }
        points
    }
}
