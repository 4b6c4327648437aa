//! The moving pictures of ads, coded so that they can stand among the content's: H.264 of the same size, rate and profile, under a number of parameter sets that the content does not use.
//!
//! There are no B-frames in them, so that they are shown in the order in which they are decoded, and each ad begins with an IDR picture. Coding is done in the conditioning child (`conditioning`); what it wrote is
//! believed in nothing: `Picture::parse` takes only whole slices of pictures out of it. Not for: where the pictures go (`splice`).

mod card;

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::bridge::pictures;
use crate::frames::h264;

/// What an H.264 decoder has to be able to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum H264Profile {
    /// Constrained Baseline.
    Baseline,
    /// Main.
    Main,
    /// High, 4:2:0, eight bits.
    High,
}

impl H264Profile {
    /// What GStreamer calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Baseline => "constrained-baseline",
            Self::Main => "main",
            Self::High => "high",
        }
    }
}

/// How colours are told, by the numbers of ISO/IEC 23091-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Colour {
    /// BT.601, as standard definition has it.
    Bt601,
    /// BT.709.
    Bt709,
}

/// The format that the pictures of ads are conditioned to: that of the content they go into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PictureFormat {
    /// In coded pixels.
    pub width: u32,
    /// In coded pixels.
    pub height: u32,
    /// How wide a pixel is by how high.
    pub pixel: (u32, u32),
    /// Pictures in so many seconds.
    pub rate: (u32, u32),
    /// The content's profile.
    pub profile: H264Profile,
    /// A number of parameter sets that the content has not taken, 0–31.
    pub set: u8,
    /// How colours are told.
    pub colour: Colour,
    /// Whether samples use all of their range.
    pub full_range: bool,
}

impl PictureFormat {
    /// Pictures in a second, rounded up.
    pub(crate) fn whole_rate(&self) -> u64 {
        self.rate.0.div_ceil(self.rate.1.max(1)).into()
    }

    /// What conditioned pictures are named by in the cache.
    pub(crate) fn key(&self) -> String {
        let (colour, range) = (self.colour as u8, u8::from(self.full_range));
        format!(
            "{}x{}-{}.{}-{}.{}-{}{}{}{}",
            self.width,
            self.height,
            self.pixel.0,
            self.pixel.1,
            self.rate.0,
            self.rate.1,
            self.profile as u8,
            self.set,
            colour,
            range
        )
    }
}

/// One picture of an ad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Its slices, each with its length in four bytes before it.
    pub(crate) bytes: Bytes,
    /// Whether decoding can begin with it.
    pub(crate) sync: bool,
}

/// The pictures of one ad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pub(crate) sps: Vec<u8>,
    pub(crate) pps: Vec<u8>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) format: PictureFormat,
    /// Pictures in so many seconds.
    pub(crate) rate: (u32, u32),
}

/// Why a card could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot make the card of an ad: {0}")]
pub struct CardError(String);

impl Picture {
    /// Takes pictures out of what an encoder's process wrote: parameter sets as in MP4, then the access units, each after its length in four bytes. `None` when it is anything else.
    pub(crate) fn parse(written: &[u8], format: PictureFormat) -> Option<Self> {
        let mut rest = written;
        let mut next = || {
            let (len, after) = rest.split_first_chunk::<4>()?;
            let (unit, after) = after.split_at_checked(u32::from_be_bytes(*len) as usize)?;
            rest = after;
            Some(unit)
        };
        let sets = h264::Sets::parse(next()?).ok()?;
        let ([sps], [pps]) = (&sets.sequence[..], &sets.picture[..]) else {
            return None;
        };
        let (sps, pps) = (sps.clone(), pps.clone());
        let described = h264::describe(&sets).ok()?;
        let numbers = sets.numbers().ok()?;
        if numbers != ([format.set].into(), [format.set].into())
            || (described.width, described.height) != (format.width, format.height)
            || sets.length_size != 4
        {
            return None;
        }
        // All of them in one piece of memory.
        let mut slices = Vec::with_capacity(written.len());
        let mut ends = Vec::new();
        while let Some(unit) = next() {
            let sync = h264::slices_only(unit, &mut slices)?;
            if ends.is_empty() && !sync {
                return None;
            }
            ends.push((slices.len(), sync));
        }
        let slices = Bytes::from(slices);
        let mut at = 0;
        let frames = ends
            .into_iter()
            .map(|(end, sync)| {
                let bytes = slices.slice(at..end);
                at = end;
                Frame { bytes, sync }
            })
            .collect::<Vec<_>>();
        (rest.is_empty() && !frames.is_empty()).then_some(Self {
            sps,
            pps,
            frames,
            format,
            rate: format.rate,
        })
    }

    /// A plain card with a name on it, for an ad that has nothing to be seen: one picture a second.
    ///
    /// # Errors
    /// When GStreamer has no encoder, or it fails.
    pub fn card(format: PictureFormat, name: &str, lasts: Duration) -> Result<Self, CardError> {
        let rate = (1, 1);
        let planes = card::draw(format.width as usize, format.height as usize, name);
        let count = lasts.as_secs() as usize + 1;
        let coded = pictures::encode_still(&format, rate, planes, count)
            .map_err(|error| CardError(error.to_string()))?;
        let picture =
            Self::parse(&coded, format).ok_or_else(|| CardError("the encoder gave something else".into()))?;
        Ok(Self { rate, ..picture })
    }

    /// How many pictures there are.
    pub fn count(&self) -> usize {
        self.frames.len()
    }

    /// How long they last in samples of sound.
    pub(crate) fn samples(&self, sample_rate: u32) -> u64 {
        let (pictures, seconds) = (u128::from(self.rate.0.max(1)), u128::from(self.rate.1));
        let samples = self.count() as u128 * seconds * u128::from(sample_rate) / pictures;
        u64::try_from(samples).unwrap_or(u64::MAX)
    }

    /// What they were made for.
    pub fn format(&self) -> PictureFormat {
        self.format
    }
}
