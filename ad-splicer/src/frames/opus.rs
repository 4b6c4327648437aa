//! Opus (RFC 6716): what a packet says of itself, and the identification header (RFC 7845 §5.1), which Ogg and Matroska share.
//!
//! All positions count samples at 48 kHz, whatever rate the encoder was given.

use serde::{Deserialize, Serialize};

use crate::splice::SpliceError;

/// Samples a second.
pub(crate) const RATE: u32 = 48_000;
/// Most samples of a packet: 120 ms.
const MOST_SAMPLES: u32 = 5_760;

/// The identification header of a stream of one or two channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) channels: u8,
    /// Decoded samples before content time 0.
    pub(crate) pre_skip: u16,
    /// What a player multiplies with, in dB and 1/256.
    pub(crate) gain: i16,
}

impl Head {
    /// `None` when it is no Opus header.
    pub(crate) fn parse(packet: &[u8]) -> Result<Option<Self>, SpliceError> {
        let Some(bytes) = packet
            .strip_prefix(b"OpusHead")
            .and_then(<[u8]>::first_chunk::<11>)
        else {
            return Ok(None);
        };
        let [
            version,
            channels,
            skip_low,
            skip_high,
            ..,
            gain_low,
            gain_high,
            family,
        ] = *bytes;
        if version >> 4 != 0 {
            return Err(SpliceError::Unsupported(format!(
                "the content is of version {version} of Opus in a file, and what is known is 1"
            )));
        }
        if !matches!(channels, 1 | 2) || !matches!(family, 0 | 1) {
            return Err(SpliceError::Unsupported(format!(
                "the content has {channels} channels of Opus mapping family {family}, and ads can be put into mono and stereo"
            )));
        }
        Ok(Some(Self {
            channels,
            pre_skip: u16::from_le_bytes([skip_low, skip_high]),
            gain: i16::from_le_bytes([gain_low, gain_high]),
        }))
    }

    /// What a player multiplies samples with.
    pub(crate) fn factor(self) -> f32 {
        10_f32.powf(f32::from(self.gain) / (20.0 * 256.0))
    }

    /// A header of the same channels and gain for decoding without skipping.
    pub(crate) fn plain_with_gain(self) -> Vec<u8> {
        let mut out = self.plain();
        let [.., low, high, _] = &mut out[..] else {
            return out;
        };
        [*low, *high] = self.gain.to_le_bytes();
        out
    }

    /// A header of the same channels for decoding without skipping and without gain.
    pub(crate) fn plain(self) -> Vec<u8> {
        let mut out = b"OpusHead\x01".to_vec();
        out.extend([self.channels, 0, 0]);
        out.extend(RATE.to_le_bytes());
        out.extend([0, 0, 0]);
        out
    }
}

/// How much of the sound a packet holds (§2.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Bandwidth {
    Narrow,
    Medium,
    Wide,
    SuperWide,
    Full,
}

/// The bandwidth of a packet that is coded as speech: by SILK, or by SILK and CELT (§3.1). `None` of one that CELT alone coded.
pub(crate) fn speech(packet: &[u8]) -> Option<Bandwidth> {
    match packet.first()? >> 3 {
        0..=3 => Some(Bandwidth::Narrow),
        4..=7 => Some(Bandwidth::Medium),
        8..=11 => Some(Bandwidth::Wide),
        12..=13 => Some(Bandwidth::SuperWide),
        14..=15 => Some(Bandwidth::Full),
        _ => None,
    }
}

/// How many samples a packet decodes to (§3.1, §3.2); `None` when it is none. Its first two bytes are enough.
pub(crate) fn samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let config = toc >> 3;
    let frame = match config {
        0..=11 => [480, 960, 1920, 2880][usize::from(config & 3)],
        12..=15 => [480, 960][usize::from(config & 1)],
        _ => [120, 240, 480, 960][usize::from(config & 3)],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3F),
    };
    let samples = frame * frames;
    (samples > 0 && samples <= MOST_SAMPLES).then_some(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_say_how_long_they_are() {
        for (packet, length) in [
            (&[0xFC][..], Some(960)),
            (&[0xE4], Some(120)),
            (&[0xE5], Some(240)),
            (&[0x58], Some(2_880)),
            (&[0x5B, 2], Some(5_760)),
            (&[0x5B, 3], None),
            (&[0x5B], None),
            (&[0xFF, 0], None),
            (&[0xFF, 0x83], Some(2_880)),
            (&[0x78], Some(960)),
            (&[], None),
        ] {
            assert_eq!(samples(packet), length, "{packet:x?}");
        }
    }

    #[test]
    fn packets_say_whether_they_are_speech() {
        for (packet, bandwidth) in [
            (&[0x08][..], Some(Bandwidth::Narrow)),
            (&[0x38], Some(Bandwidth::Medium)),
            (&[0x5B, 2], Some(Bandwidth::Wide)),
            (&[0x68], Some(Bandwidth::SuperWide)),
            (&[0x7C], Some(Bandwidth::Full)),
            (&[0x80], None),
            (&[0xFC], None),
            (&[], None),
        ] {
            assert_eq!(speech(packet), bandwidth, "{packet:x?}");
        }
    }

    #[test]
    fn headers_are_read() {
        let mut bytes = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\xfa\0".to_vec();
        let head = Head::parse(&bytes).unwrap().unwrap();
        assert_eq!((head.channels, head.pre_skip, head.gain), (2, 312, -0x600));
        assert!((head.factor() - 0.501_187).abs() < 1e-5);
        assert_eq!(Head::parse(&head.plain()).unwrap().unwrap().pre_skip, 0);
        assert_eq!(Head::parse(&bytes[..18]).unwrap(), None);
        bytes[9] = 6;
        assert!(Head::parse(&bytes).is_err());
    }
}
