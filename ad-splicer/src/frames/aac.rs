//! AAC: what a stream says of itself (AudioSpecificConfig, ISO/IEC 14496-3 §1.6.2.1), and ADTS framing (§1.A.3.2).
//!
//! A packet decodes to 1,024 samples, which overlap with those of the packet before it: output block `f` comes of packets `f - 1` and `f`. Nothing else ties packets together in AAC-LC.

mod index;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use self::index::Index;
use crate::again::Again;
use crate::content::Content;
use crate::frames::id3v2;
use crate::frames::window::Window;
use crate::splice::{SpliceError, format};

/// Samples in a packet.
pub(crate) const SAMPLES: u32 = 1024;
/// Shortest ADTS header in bytes; with a CRC it is 9.
pub(crate) const HEADER_LEN: usize = 7;
/// How many ID3v2 tags in a row are stepped over.
const MAX_TAGS: usize = 8;
/// Longest tags before the audio, in bytes: a splice holds them in memory.
const MOST_TAG_BYTES: u64 = 64 << 20;

const RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350,
];

/// An AAC-LC stream of one or two channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) sample_rate: u32,
    pub(crate) channels: u8,
}

fn unsupported(what: &str) -> SpliceError {
    SpliceError::Unsupported(format!(
        "{what}, and ads can be put into AAC-LC only; re-encode it as AAC-LC first"
    ))
}

/// What is neither mono nor stereo, by its channel configuration (ISO/IEC 14496-3, table 1.19).
fn too_many(configuration: u8) -> SpliceError {
    let channels = match configuration {
        3..=6 => configuration.into(),
        11 => 7,
        7 | 12 | 14 => 8,
        _ => {
            return SpliceError::Unsupported(format!(
                "the content is AAC with channel configuration {configuration}, and ads can be put into mono and stereo"
            ));
        }
    };
    format::not_stereo(channels)
}

/// What HE-AAC gets told, however it was found out.
pub(crate) fn he_aac() -> SpliceError {
    SpliceError::Again(Again::HeAac)
}

impl Config {
    /// `None` for a rate or a number of channels that there is no short form for.
    pub(crate) fn lc(sample_rate: u32, channels: u8) -> Option<Self> {
        (RATES.contains(&sample_rate) && matches!(channels, 1 | 2)).then_some(Self {
            sample_rate,
            channels,
        })
    }

    /// Reads an AudioSpecificConfig.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, SpliceError> {
        let mut bits = Bits { bytes, at: 0 };
        let damaged = || SpliceError::Unsupported("the AAC stream does not say what it is".into());
        let object = bits.object_type().ok_or_else(damaged)?;
        let rate = bits.rate().ok_or_else(damaged)?;
        let channels = bits.read(4).ok_or_else(damaged)? as u8;
        match object {
            2 => {}
            5 | 29 => return Err(he_aac()),
            other => return Err(unsupported(&format!("the content is AAC of object type {other}"))),
        }
        let short_frames = bits.read(1).ok_or_else(damaged)? == 1;
        if short_frames {
            return Err(unsupported("the content is AAC with 960 samples a frame"));
        }
        if !matches!(channels, 1 | 2) {
            return Err(too_many(channels));
        }
        // Two flags more, and perhaps an extension that announces SBR.
        bits.read(2);
        if bits.read(11) == Some(0x2B7) && bits.object_type() == Some(5) && bits.read(1) == Some(1) {
            return Err(he_aac());
        }
        Self::lc(rate, channels).ok_or_else(|| unsupported(&format!("the content is AAC at {rate} Hz")))
    }

    fn rate_index(self) -> u8 {
        // Only rates of the table make a config.
        RATES
            .iter()
            .position(|rate| *rate == self.sample_rate)
            .unwrap_or(4) as u8
    }

    /// The AudioSpecificConfig.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let index = self.rate_index();
        vec![2 << 3 | index >> 1, (index & 1) << 7 | self.channels << 3]
    }

    /// A packet with an ADTS header like `like`.
    pub(crate) fn adts(self, packet: &[u8]) -> Vec<u8> {
        let len = packet.len() + HEADER_LEN;
        let mut out = Vec::with_capacity(len);
        let index = self.rate_index();
        out.extend([
            0xFF,
            0xF1,
            1 << 6 | index << 2 | self.channels >> 2,
            (self.channels & 3) << 6 | (len >> 11) as u8,
            (len >> 3) as u8,
            // A buffer fullness of all ones: variable bit rate.
            (len << 5) as u8 | 0x1F,
            0xFC,
        ]);
        out.extend(packet);
        out
    }
}

/// Reads a few bits.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn read(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    fn object_type(&mut self) -> Option<u32> {
        match self.read(5)? {
            31 => Some(32 + self.read(6)?),
            kind => Some(kind),
        }
    }

    fn rate(&mut self) -> Option<u32> {
        match self.read(4)? {
            15 => self.read(24),
            index => RATES.get(index as usize).copied(),
        }
    }
}

/// An ADTS frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    config: Option<Config>,
    /// The channel configuration.
    channels: u8,
    profile: u8,
    /// The frame's length, header and all.
    len: usize,
    /// The header's.
    own: usize,
    blocks: u8,
}

impl Header {
    /// Whether its frame is of such a stream, and one packet.
    fn is_of(&self, config: Config) -> bool {
        self.config == Some(config) && self.profile == 1 && self.blocks == 0
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let b: [u8; HEADER_LEN] = *bytes.first_chunk()?;
        if b[0] != 0xFF || b[1] & 0xF6 != 0xF0 {
            return None;
        }
        let own = if b[1] & 1 == 1 { HEADER_LEN } else { HEADER_LEN + 2 };
        let len = usize::from(b[3] & 3) << 11 | usize::from(b[4]) << 3 | usize::from(b[5] >> 5);
        let rate = *RATES.get(usize::from(b[2] >> 2 & 0xF))?;
        let channels = (b[2] & 1) << 2 | b[3] >> 6;
        (len > own).then_some(Self {
            config: Config::lc(rate, channels),
            channels,
            profile: b[2] >> 6,
            len,
            own,
            blocks: b[6] & 3,
        })
    }
}

/// The beginning of an ADTS file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) start: u64,
    pub(crate) config: Config,
    /// Length of the first frames, in bytes, and how many they are.
    pub(crate) first: (u64, u64),
}

/// Finds the first frame: three must follow each other. `None` when it is no ADTS.
pub(crate) fn head(content: &dyn Content, deadline: Duration) -> Result<Option<Head>, SpliceError> {
    let mut window = Window::new(content, deadline);
    let mut start = 0;
    for _ in 0..MAX_TAGS {
        match id3v2::tag_len(window.get(start, id3v2::HEADER_LEN)?) {
            Some(len) => start += len,
            None => break,
        }
    }
    if start > MOST_TAG_BYTES {
        return Ok(None);
    }
    let (mut at, mut count) = (start, 0);
    let Some(first) = Header::parse(window.get(at, HEADER_LEN)?) else {
        return Ok(None);
    };
    while count < 100 && at < content.len() {
        match Header::parse(window.get(at, HEADER_LEN)?) {
            Some(header) if header.profile == first.profile && header.config == first.config => {
                at += header.len as u64;
                count += 1;
            }
            _ if count < 3 => return Ok(None),
            _ => break,
        }
    }
    if first.profile != 1 {
        return Err(unsupported(&format!(
            "the content is AAC of object type {}",
            first.profile + 1
        )));
    }
    let config = first.config.ok_or_else(|| too_many(first.channels))?;
    Ok(Some(Head {
        start,
        config,
        first: (at - start, count),
    }))
}

/// The packet of an ADTS frame.
pub(crate) fn packet(frame: &[u8]) -> Option<&[u8]> {
    let header = Header::parse(frame)?;
    frame.get(header.own..header.len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn configs_say_what_they_are() {
        let config = Config::lc(44_100, 2).unwrap();
        assert_eq!(config.bytes(), [0x12, 0x10]);
        assert_eq!(Config::parse(&[0x12, 0x10]).unwrap(), config);
        // SBR first, and SBR announced behind.
        for he in [&[0x2B, 0x92, 0x08, 0x00][..], &[0x13, 0x90, 0x56, 0xE5, 0xA0]] {
            assert!(Config::parse(he).unwrap_err().to_string().contains("HE-AAC"));
        }
        let six = Config::parse(&[0x12, 0x30]).unwrap_err().to_string();
        assert_eq!(
            six,
            "the content has 6 channels, and ads can be put into mono and stereo"
        );
        assert!(Config::parse(&[]).is_err());
    }

    #[test]
    fn adts_is_written_as_it_is_read() {
        let config = Config::lc(48_000, 1).unwrap();
        let file = [config.adts(&[1, 2, 3]), config.adts(&[4; 500]), config.adts(&[5])].concat();
        let head = head(&file, Duration::ZERO).unwrap().unwrap();
        assert_eq!((head.config, head.first), (config, (file.len() as u64, 3)));
        let index = Index::scan(&file, &head, Duration::ZERO).unwrap();
        let offsets = (0..=3).map(|frame| index.offset(frame).unwrap());
        assert!(offsets.eq([0, 10, 517, 525]) && index.frames() == 3);
        assert_eq!(packet(&file[10..517]), Some(&[4; 500][..]));
    }

    proptest! {
        #[test]
        fn never_panics(changes in proptest::collection::vec((0usize..60, any::<u8>()), 0..6), keep in 0usize..60) {
            let config = Config::lc(48_000, 1).unwrap();
            let mut file = config.adts(&[7; 12]).repeat(3);
            for (at, byte) in changes {
                let len = file.len();
                file[at % len] = byte;
            }
            file.truncate(keep);
            let _ = Config::parse(&file);
            if let Ok(Some(head)) = head(&file, Duration::ZERO) {
                let _ = Index::scan(&file, &head, Duration::ZERO);
            }
        }
    }
}
