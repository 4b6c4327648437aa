//! Where frames of one bit rate are, by arithmetic. Pure.
//!
//! Such a frame has `size` bytes, or one more: so many of them that the rate comes out, spread evenly, as every encoder does it. Frame `f` then begins at
//! `start + f * size + (phase + f * extra) / rate` (rounded down), where `extra / rate` is the part of a byte that is missing. The pattern comes again after at most 147 frames, so that the first [`PROBED`] give the phase.

use super::header::{Header, Version};

/// How many frames are looked at, at the beginning and at the end of a file.
pub(super) const PROBED: u64 = 300;

/// Evenly spread frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Even {
    start: u64,
    frames: u64,
    size: u64,
    extra: u64,
    rate: u64,
    phase: u64,
}

impl Even {
    /// From where the first frames are, each one's offset and the end of the last; `None` when they are not spread like this.
    pub(super) fn fit(first: Header, offsets: &[u64], frames: u64) -> Option<Self> {
        let rate = u64::from(first.sample_rate());
        let per_frame = if first.version() == Version::V1 { 144 } else { 72 } * u64::from(first.bit_rate());
        let (size, extra) = (per_frame / rate, per_frame % rate);
        let start = *offsets.first()?;
        // The phases that give these offsets: from `least` to before `end`.
        let (mut least, mut end) = (0, rate);
        for (frame, offset) in (0_u64..).zip(offsets) {
            let added = (offset - start).checked_sub(frame * size)?;
            least = least.max((added * rate).saturating_sub(frame * extra));
            end = end.min(((added + 1) * rate).checked_sub(frame * extra)?);
        }
        (least < end).then_some(Self {
            start,
            frames,
            size,
            extra,
            rate,
            phase: least,
        })
    }

    /// How many frames there are.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// Offset of a frame; past the last one, of the end of the audio.
    pub(super) fn offset(&self, frame: u64) -> u64 {
        let frame = frame.min(self.frames);
        self.start + frame * self.size + (self.phase + frame * self.extra) / self.rate
    }
}

impl Even {
    /// The frame that begins at an offset, or the next one; past the last, the number of frames.
    pub(super) fn frame_at(&self, offset: u64) -> u64 {
        let bytes = offset.saturating_sub(self.start);
        // Never too late, and at most a frame too early.
        let mut frame = (bytes * self.rate / (self.size * self.rate + self.extra)).saturating_sub(1);
        while frame < self.frames && self.offset(frame) < offset {
            frame += 1;
        }
        frame.min(self.frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// An encoder that keeps account of what it owes, as LAME does.
        #[test]
        fn what_follows_is_what_an_encoder_does(bit_rate in 1_u8..15, rate in 0_u8..3, version in 0_usize..3, owed in 0.0_f64..1.0) {
            let version = [0xFB, 0xF3, 0xE3][version];
            let header = Header::parse([0xFF, version, bit_rate << 4 | rate << 2, 0xC4]).unwrap();
            let hz = u64::from(header.sample_rate());
            let per_frame = if header.version() == Version::V1 { 144 } else { 72 } * u64::from(header.bit_rate());
            let mut lag = (owed * hz as f64) as u64;
            let mut offsets = vec![1_000];
            for _ in 0..20_000 {
                lag += per_frame % hz;
                let padding = lag / hz;
                lag %= hz;
                offsets.push(offsets[offsets.len() - 1] + per_frame / hz + padding);
            }
            let even = Even::fit(header, &offsets[..=PROBED as usize], 20_000).unwrap();
            for (frame, offset) in offsets.iter().enumerate() {
                prop_assert_eq!(even.offset(frame as u64), *offset);
                prop_assert_eq!(even.frame_at(*offset), frame as u64);
                prop_assert_eq!(even.frame_at(*offset + 1), (frame as u64 + 1).min(20_000));
            }
            prop_assert_eq!(even.offset(30_000), offsets[20_000]);
        }
    }

    #[test]
    fn frames_that_are_not_spread_evenly_are_none() {
        let header = Header::parse([0xFF, 0xFB, 0x90, 0xC4]).unwrap();
        let never_padded: Vec<u64> = (0..300).map(|frame| frame * 417).collect();
        assert_eq!(Even::fit(header, &never_padded, 10_000), None);
        let always: Vec<u64> = (0..300).map(|frame| frame * 419).collect();
        assert_eq!(Even::fit(header, &always, 10_000), None);
    }
}
