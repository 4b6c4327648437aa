//! The moving pictures of ads, coded so that they can stand among the content's, of the same size and rate: H.264 of the same profile under a number of parameter sets that the content does not use, or VP9.
//!
//! There are no B-frames in them, so that they are shown in the order in which they are decoded, and each ad begins with a picture that needs no other. Coding is done in the conditioning child (`conditioning`); what it wrote is
//! believed in nothing: `Picture::parse` takes only whole slices of pictures out of it, or packets of VP9 that show one picture. Not for: where the pictures go (`splice`).

mod card;
mod colour;
mod turn;

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use colour::Colour;
pub use turn::Turn;

use crate::bridge::pictures;
use crate::frames::{h264, vp9};

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

/// How the content's pictures are coded, as far as ads have to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PictureCoding {
    /// H.264.
    H264 {
        /// The content's profile.
        profile: H264Profile,
        /// A number of parameter sets that the content has not taken, 0–31.
        set: u8,
    },
    /// VP9, 4:2:0 of eight bits.
    Vp9,
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
    /// How they are coded.
    pub coding: PictureCoding,
    /// How colours are told.
    pub colour: Colour,
    /// Whether samples use all of their range.
    pub full_range: bool,
    /// How players turn the content's pictures to show them.
    pub turn: Turn,
}

impl PictureFormat {
    /// Pictures in a second, rounded up.
    pub(crate) fn whole_rate(&self) -> u64 {
        self.rate.0.div_ceil(self.rate.1.max(1)).into()
    }

    /// What conditioned pictures are named by in the cache.
    pub(crate) fn key(&self) -> String {
        let (colour, range) = (self.colour.key(), u8::from(self.full_range));
        let turn = self.turn as u8;
        let coding = match self.coding {
            PictureCoding::H264 { profile, set } => format!("{}{set}", profile as u8),
            PictureCoding::Vp9 => "vp9".to_owned(),
        };
        format!(
            "{}x{}-{}.{}-{}.{}-{coding}-{colour}-{range}{turn}",
            self.width, self.height, self.pixel.0, self.pixel.1, self.rate.0, self.rate.1,
        )
    }
}

/// One picture of an ad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// H.264: its slices, each with its length in four bytes before it. VP9: its packet.
    pub(crate) bytes: Bytes,
    /// Whether decoding can begin with it.
    pub(crate) sync: bool,
}

/// The parameter sets of H.264.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ParameterSets {
    pub(crate) sequence: Vec<u8>,
    pub(crate) picture: Vec<u8>,
}

/// The pictures of one ad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// `None` in VP9.
    pub(crate) sets: Option<ParameterSets>,
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
    /// Takes pictures out of what an encoder's process wrote: each after its length in four bytes, of H.264 the parameter sets as in MP4 before them. `None` when it is anything else.
    pub(crate) fn parse(written: &[u8], format: PictureFormat) -> Option<Self> {
        let mut rest = written;
        let mut next = || {
            let (len, after) = rest.split_first_chunk::<4>()?;
            let (unit, after) = after.split_at_checked(u32::from_be_bytes(*len) as usize)?;
            rest = after;
            Some(unit)
        };
        let sets = match format.coding {
            PictureCoding::H264 { set, .. } => Some(parse_sets(next()?, &format, set)?),
            PictureCoding::Vp9 => None,
        };
        // All of them in one piece of memory.
        let mut kept = Vec::with_capacity(written.len());
        let mut ends = Vec::new();
        while let Some(unit) = next() {
            let sync = take_one(unit, &format, &mut kept)?;
            if ends.is_empty() && !sync {
                return None;
            }
            ends.push((kept.len(), sync));
        }
        let kept = Bytes::from(kept);
        let mut at = 0;
        let frames = ends
            .into_iter()
            .map(|(end, sync)| {
                let bytes = kept.slice(at..end);
                at = end;
                Frame { bytes, sync }
            })
            .collect::<Vec<_>>();
        (rest.is_empty() && !frames.is_empty()).then_some(Self {
            sets,
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
        let size = (format.width as usize, format.height as usize);
        let planes = card::draw(size, name, format.turn);
        let count = lasts.as_secs() as usize + 1;
        let coded = pictures::encode_still(&format, rate, &planes, count)
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

/// Takes what is known to be needed of one picture that an encoder's process wrote, and says whether decoding can begin with it; `None` when it is anything else.
pub(crate) fn take_one(unit: &[u8], format: &PictureFormat, kept: &mut Vec<u8>) -> Option<bool> {
    match format.coding {
        PictureCoding::H264 { .. } => h264::slices_only(unit, kept),
        PictureCoding::Vp9 => {
            kept.extend(unit);
            parse_vp9(unit, format)
        }
    }
}

/// The parameter sets that are due, one of each kind, with this number.
pub(crate) fn parse_sets(config: &[u8], format: &PictureFormat, set: u8) -> Option<ParameterSets> {
    let sets = h264::Sets::parse(config).ok()?;
    let ([sequence], [picture]) = (&sets.sequence[..], &sets.picture[..]) else {
        return None;
    };
    let described = h264::describe(&sets, &h264::Told::default()).ok()?;
    let is_due = sets.numbers().ok()? == ([set].into(), [set].into())
        && (described.width, described.height) == (format.width, format.height)
        && sets.length_size == 4;
    is_due.then(|| ParameterSets {
        sequence: sequence.clone(),
        picture: picture.clone(),
    })
}

/// Whether decoding can begin with a packet of one picture in this format; `None` when it is not that.
fn parse_vp9(packet: &[u8], format: &PictureFormat) -> Option<bool> {
    let is_due = vp9::is_one_picture(packet);
    match vp9::Frame::parse(packet).filter(|_| is_due)? {
        vp9::Frame::Key(key) => {
            let is_due = key.profile == 0 && (key.width, key.height) == (format.width, format.height);
            is_due.then_some(true)
        }
        vp9::Frame::Other => Some(false),
    }
}
