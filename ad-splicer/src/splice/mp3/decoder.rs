//! Decoding parts of MP3 content: a run of frames is decoded with a carrier before it, which brings the reservoir of the first.

use std::ops::Range;

use crate::bridge::mp3 as bridge;
use crate::frames::mp3::{Header, Index, carrier, reservoir};
use crate::splice::SpliceError;

/// Frames at the beginning of a clip that do not decode to what they should: a carrier, and two that it overlaps with.
pub(super) const UNSETTLED: u64 = 3;
/// More frames than the reservoir can reach back, at the lowest bit rate.
pub(super) const RESERVOIR_FRAMES: u64 = 40;

/// Reads content's decoded samples.
pub(super) struct Decoder<'a> {
    pub(super) index: &'a Index<'a>,
}

impl Decoder<'_> {
    fn size(&self) -> u64 {
        u64::from(self.index.header().samples())
    }

    fn channels(&self) -> usize {
        usize::from(self.index.header().channels())
    }

    /// Interleaved samples of a range of decoded samples; silence where there is no content or it cannot be decoded.
    pub(super) fn decode(&self, range: Range<i64>) -> Result<Vec<f32>, SpliceError> {
        let channels = self.channels();
        let mut out = vec![0.0; (range.end - range.start).max(0) as usize * channels];
        let (start, end) = (range.start.max(0) as u64, range.end.max(0) as u64);
        let (first, last) = (
            start / self.size(),
            end.div_ceil(self.size()).min(self.index.frames()),
        );
        if first >= last {
            return Ok(out);
        }
        let Some(Clip {
            start: at,
            frames: clip,
            ..
        }) = self.clip(first.saturating_sub(UNSETTLED - 1), last)?
        else {
            return Ok(out);
        };
        let samples = bridge::decode(&[clip]).map_err(|error| error.at(0))?.remove(0);
        // At the beginning of the file nothing better is to be had.
        let (begin, skip) = if at == 0 {
            (0, 0)
        } else {
            (at + UNSETTLED, UNSETTLED)
        };
        let begin = (begin * self.size()) as i64;
        let right = &samples[((skip * self.size()) as usize * channels).min(samples.len())..];
        // Where both ranges meet.
        let into = (begin - range.start).max(0) as usize * channels;
        let from = (range.start - begin).max(0) as usize * channels;
        if let (Some(into), Some(from)) = (out.get_mut(into..), right.get(from..)) {
            let count = into.len().min(from.len());
            into[..count].copy_from_slice(&from[..count]);
        }
        Ok(out)
    }

    /// Frames from `wanted` up to `end` with a carrier before them. At the beginning of the file there is no carrier; where the reservoir is missing (the
    /// stream was cut there) the clip begins later. `None` when nothing can be decoded.
    pub(super) fn clip(&self, wanted: u64, end: u64) -> Result<Option<Clip>, SpliceError> {
        let from = wanted.saturating_sub(RESERVOIR_FRAMES);
        let frames = self.index.read(from..end)?;
        let mut found = clip(self.index.header(), &frames, (wanted - from) as usize);
        if let Some(clip) = &mut found {
            clip.start += from;
            clip.settled += from;
        }
        Ok(found)
    }
}

/// Frames that can be decoded on their own.
pub(super) struct Clip {
    /// Index of the first frame in its stream; a carrier stands where the frame before the first real one would.
    pub(super) start: u64,
    /// Index of the first frame that decodes to what it should: at the beginning of the stream there is nothing to be wrong.
    pub(super) settled: u64,
    pub(super) frames: Vec<Vec<u8>>,
}

/// `frames[wanted..]` (or a little later) with a carrier before them.
pub(super) fn clip(header: Header, frames: &[Vec<u8>], wanted: usize) -> Option<Clip> {
    let refs: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    (wanted..frames.len()).find_map(|at| {
        let reservoir = reservoir(&refs, at).ok()?;
        if at == 0 {
            return Some(Clip {
                start: 0,
                settled: 0,
                frames: frames.to_vec(),
            });
        }
        let carrier = carrier(header, &reservoir).ok()?;
        let frames = std::iter::once(carrier)
            .chain(frames[at..].iter().cloned())
            .collect();
        Some(Clip {
            start: at as u64 - 1,
            settled: at as u64 - 1 + UNSETTLED,
            frames,
        })
    })
}
