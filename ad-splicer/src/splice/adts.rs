//! Splicing AAC-LC in ADTS. The container declares neither priming nor padding: content time 0 is the first decoded sample, and a result that ends in an ad ends with a whole frame.

use std::ops::Range;

use bytes::Bytes;

use super::bridged::{Coding, decoded};
use super::format::{self, Frames, Place, Runs, Spliced, Stream};
use super::joins::Grid;
use super::later::Made;
use super::layout::Layout;
use super::regions::{Fixed, Piece, Regions};
use super::{Chapter, Codec, Options, Run, SpliceError};
use crate::bridge::{BridgeError, aac as bridge};
use crate::content::Content;
use crate::frames::aac::{Config, HEADER_LEN, Head, Index, SAMPLES, he_aac, head, packet};
use crate::frames::padding;
use crate::plan::SplicePlan;

/// Packets that are decoded to see whether there is SBR that nobody declared.
const LOOKED_AT: usize = 8;

/// Refuses AAC that turns out to be HE-AAC when it is decoded.
pub(crate) fn refuse_sbr(config: Config, packets: Vec<Vec<u8>>) -> Result<(), SpliceError> {
    match bridge::decode(config, &[packets]) {
        Err(BridgeError::WrongLength { got, expected }) if got >= 2 * expected => Err(he_aac()),
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

    fn read_at(&self, start: u64, end: u64) -> Result<Vec<u8>, SpliceError> {
        let len = (end - start) as usize;
        super::read(self.content, start, len, self.options.read_deadline)
    }
}

impl format::Head for Adts<'_> {
    fn stream(&self) -> Stream {
        let (bytes, frames) = self.head.first;
        let all = (self.content.len() - self.head.start).saturating_mul(frames) / bytes.max(1);
        Stream {
            codec: Codec::Adts,
            sample_rate: self.head.config.sample_rate,
            channels: self.head.config.channels.into(),
            samples: all * u64::from(SAMPLES),
        }
    }

    fn chapters(&self, plan: &SplicePlan) -> Result<Vec<Chapter>, SpliceError> {
        Ok(format::tag_chapters(plan, &self.read_at(0, self.head.start)?))
    }

    fn audio(&self) -> Option<Range<u64>> {
        Some(self.head.start..self.content.len())
    }

    fn open(&self) -> Result<Box<dyn format::Track + '_>, SpliceError> {
        let index = Index::scan(self.content, &self.head, self.options.read_deadline)?;
        let track = Track { file: self, index };
        let looked_at = (track.index.offsets.len() - 1).min(LOOKED_AT);
        refuse_sbr(self.head.config, track.read(0..looked_at as u64)?)?;
        Ok(Box::new(track))
    }
}

struct Track<'a> {
    file: &'a Adts<'a>,
    index: Index,
}

impl Track<'_> {
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

    fn padded(&self, packet: &[u8]) -> Option<Vec<u8>> {
        padding::padded(packet, self.packet_len())
    }

    fn silence(&self) -> Vec<u8> {
        padding::silent(self.file.head.config)
    }
}

impl Coding for Track<'_> {
    fn grid(&self) -> Grid {
        let (size, frames) = (u64::from(SAMPLES), self.index.offsets.len() as u64 - 1);
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
        let offsets = &self.index.offsets[packets.start as usize..=packets.end as usize];
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

    fn encode(&self, pcm: &[f32]) -> Result<Vec<Vec<u8>>, BridgeError> {
        bridge::encode(self.file.head.config, bridge::Coder::Exact, pcm)
    }

    fn encode_carefully(&self, pcm: &[f32]) -> Result<Option<Vec<Vec<u8>>>, BridgeError> {
        bridge::encode(self.file.head.config, bridge::Coder::Careful, pcm).map(Some)
    }
}

impl format::Track for Track<'_> {
    fn stream(&self) -> Stream {
        Stream {
            samples: self.grid().end,
            ..format::Head::stream(self.file)
        }
    }

    fn frames(&self) -> Frames {
        Frames {
            count: self.grid().frames,
            samples: SAMPLES,
            start: self.index.offsets[0],
            bit_rate: None,
        }
    }

    fn place(&self, sample: u64) -> Place {
        let frame = (sample / u64::from(SAMPLES)).min(self.grid().frames - 1);
        Place {
            frame,
            offset: self.index.offsets[frame as usize],
        }
    }

    fn decode(&self, range: Range<u64>) -> Result<Vec<f32>, SpliceError> {
        decoded(self, range.start as i64..range.end as i64)
    }

    fn splice(&self, layout: &Layout<'_>) -> Result<Spliced, SpliceError> {
        let tags = self.file.read_at(0, self.file.head.start)?;
        let (tags, chapters) = format::moved_tag(&tags, &layout.plan, self.file.options);
        let mut runs = Runs::default();
        runs.made(&tags);
        let offsets = &self.index.offsets;
        let mut left = Vec::new();
        for piece in Regions::new(self, self, layout).pieces()? {
            match piece {
                Piece::Content(range) => {
                    runs.content(offsets[range.start as usize], offsets[range.end as usize]);
                }
                Piece::Bridge {
                    number, packets, len, ..
                } => {
                    left.push(packets * (len + HEADER_LEN) as u64);
                    runs.bridge(number, 0, left[number]);
                }
            }
        }
        runs.content(offsets[offsets.len() - 1], self.file.content.len());
        Ok(Spliced {
            runs: runs.into_runs(),
            left,
            seams: Vec::new(),
            chapters,
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

    fn silence(&self, layout: &Layout<'_>, number: usize) -> Result<Bytes, SpliceError> {
        let packets = Regions::new(self, self, layout).silence(number)?;
        Ok(self.framed(&packets))
    }

    fn audio(&self, runs: &[Run], _: &SplicePlan) -> Option<Range<u64>> {
        // Tags are a run of their own.
        let tags = if self.file.head.start > 0 {
            runs.first()?.len
        } else {
            0
        };
        Some(tags..format::len_of(runs))
    }
}
