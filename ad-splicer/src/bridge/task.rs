//! What there is to decode and to encode, as values: so that it can be done here, or in a process of its own ([`super::apart`]) with the same result.

use std::borrow::Cow;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::wire::Most;
use super::{BridgeError, aac, apart, kept, opus, pictures, vorbis};
use crate::frames::aac::{Config, SAMPLES};
use crate::frames::opus::Head;
use crate::picture::{PictureCoding, PictureFormat};

/// What is done with [`Media`]. Clips are told by how many packets each has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Task {
    AacDecode {
        config: Config,
        clips: Vec<usize>,
    },
    AacEncode {
        config: Config,
        coder: aac::Coder,
    },
    OpusDecode {
        by: opus::Decoder,
        head: Head,
        clips: Vec<usize>,
    },
    OpusEncode {
        head: Head,
        size: u32,
        resumes: usize,
        beside: Option<opus::Speech>,
    },
    /// The first three packets are the stream's headers.
    VorbisDecode {
        rate: u32,
        channels: usize,
        expected: usize,
    },
    VorbisEncode {
        rate: u32,
        channels: usize,
    },
    /// The first packet is the decoder's configuration.
    Recode {
        format: PictureFormat,
        shown: Vec<u64>,
        ranks: Range<usize>,
    },
    /// The one packet is the picture.
    Still {
        format: PictureFormat,
        rate: (u32, u32),
        count: usize,
    },
}

/// What goes in, and what comes out.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Media<'a> {
    /// Packets of a coding, or pictures.
    Packets(Vec<Cow<'a, [u8]>>),
    /// Interleaved samples of several clips.
    Samples(Vec<Cow<'a, [f32]>>),
}

/// Whose libraries a process needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Kind {
    Aac,
    Opus,
    Vorbis,
    H264,
    Vp9,
}

impl Kind {
    /// What its pipelines are made of.
    pub(super) fn elements(self) -> &'static [&'static str] {
        match self {
            Self::Aac => &["avdec_aac", "avenc_aac", "audioconvert"],
            Self::Opus => &["avdec_opus", "opusdec", "opusenc", "audioconvert"],
            Self::Vorbis => &["vorbisdec", "vorbisenc", "audioconvert"],
            Self::H264 => &["avdec_h264", "x264enc", "videoconvert", "capsfilter"],
            Self::Vp9 => &["vp9dec", "vp9enc", "videoconvert", "capsfilter"],
        }
    }
}

impl Task {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::AacDecode { .. } | Self::AacEncode { .. } => Kind::Aac,
            Self::OpusDecode { .. } | Self::OpusEncode { .. } => Kind::Opus,
            Self::VorbisDecode { .. } | Self::VorbisEncode { .. } => Kind::Vorbis,
            Self::Recode { format, .. } | Self::Still { format, .. } => match format.coding {
                PictureCoding::H264 { .. } => Kind::H264,
                PictureCoding::Vp9 => Kind::Vp9,
            },
        }
    }

    /// The most that can come of it: whoever did it is not trusted to say.
    pub(super) fn most(&self, media: &Media<'_>) -> Most {
        // More than an encoder adds after what it was given.
        const MORE: u64 = 64;
        // The same, in bytes: headers, and what stands between packets.
        const BYTES: u64 = 1 << 20;
        let of = |parts: u64, size: u64| Most {
            parts,
            bytes: parts.saturating_mul(size),
        };
        let clips = |count: usize, samples: u64| Most {
            parts: count as u64,
            bytes: samples.saturating_mul(4),
        };
        let given = media.count();
        let pictures = |format: &PictureFormat, count: usize| {
            // Three planes, the smaller two of which are a quarter each; noise takes about that much when it is coded.
            let raw = u64::from(format.width) * u64::from(format.height) * 3 / 2;
            Most {
                parts: 1,
                bytes: (2 * raw + 1024)
                    .saturating_mul(count as u64)
                    .saturating_add(BYTES),
            }
        };
        match self {
            Self::AacDecode {
                config,
                clips: counts,
            } => {
                let frames = counts
                    .iter()
                    .fold(0_u64, |sum, count| sum.saturating_add(*count as u64));
                clips(
                    counts.len(),
                    frames.saturating_mul(u64::from(SAMPLES) * u64::from(config.channels)),
                )
            }
            // The length of a frame in ADTS has 13 bits.
            Self::AacEncode { config, .. } => {
                let channels = u64::from(config.channels).max(1);
                of(given / channels / u64::from(SAMPLES) + MORE, channels << 13)
            }
            // A packet holds 120 ms at most.
            Self::OpusDecode {
                head, clips: counts, ..
            } => clips(
                counts.len(),
                given.saturating_mul(5_760 * u64::from(head.channels)),
            ),
            // The encoder's packets have 4,000 bytes at most.
            Self::OpusEncode { head, size, .. } => {
                let channels = u64::from(head.channels).max(1);
                of(given / channels / u64::from(*size).max(1) + MORE, 4_000)
            }
            Self::VorbisDecode {
                channels, expected, ..
            } => clips(1, (*expected as u64).saturating_mul(*channels as u64)),
            // Packets of sound hold 32 samples at least, and none is as long as what it was made of.
            Self::VorbisEncode { channels, .. } => Most {
                parts: given / (*channels as u64).max(1) / 32 + MORE,
                bytes: given.saturating_mul(4).saturating_add(BYTES),
            },
            Self::Recode { format, ranks, .. } => pictures(format, ranks.len()),
            Self::Still { format, count, .. } => pictures(format, *count),
        }
    }

    /// Whether it codes, and so much that its result is found sooner than made.
    fn is_long_coding(&self, media: &Media<'_>) -> bool {
        let channels = match self {
            Self::AacEncode { config, .. } => usize::from(config.channels),
            Self::OpusEncode { head, .. } => usize::from(head.channels),
            Self::VorbisEncode { channels, .. } => *channels,
            Self::Recode { .. } | Self::Still { .. } => return true,
            Self::AacDecode { .. } | Self::OpusDecode { .. } | Self::VorbisDecode { .. } => return false,
        };
        media.is_long(channels)
    }

    /// Has it done, unless the result of the same is kept: in a process of its own, where the program said which one that is.
    pub(super) fn done(&self, media: Media<'_>) -> Result<Media<'static>, BridgeError> {
        let make = |media: Media<'_>| match apart::children() {
            Some(children) => children.ask(self, &media),
            None => self.run(media),
        };
        if self.is_long_coding(&media) {
            kept::or_made(self, self.most(&media), media, make)
        } else {
            make(media)
        }
    }

    /// Does it in this process.
    pub(super) fn run(&self, media: Media<'_>) -> Result<Media<'static>, BridgeError> {
        let clips = |samples: Vec<Vec<f32>>| Media::Samples(samples.into_iter().map(Cow::Owned).collect());
        Ok(match self {
            Self::AacDecode {
                config,
                clips: counts,
            } => clips(aac::decode_here(*config, counts, media.into_packets()?)?),
            Self::AacEncode { config, coder } => {
                Media::packets(aac::encode_here(*config, *coder, &media.into_samples()?)?)
            }
            Self::OpusDecode {
                by,
                head,
                clips: counts,
            } => {
                let packets = media.into_packets()?;
                clips(opus::decode_here(*by, *head, counts, packets)?)
            }
            Self::OpusEncode {
                head,
                size,
                resumes,
                beside,
            } => {
                let pcm = media.into_samples()?;
                Media::packets(opus::encode_here(*head, *size, &pcm, *resumes, beside.clone())?)
            }
            Self::VorbisDecode {
                rate,
                channels,
                expected,
            } => {
                let packets = media.into_packets()?;
                clips(vorbis::decode_here(packets, (*rate, *channels), *expected)?)
            }
            Self::VorbisEncode { rate, channels } => {
                Media::packets(vorbis::encode_here(&media.into_samples()?, *rate, *channels)?)
            }
            Self::Recode { format, shown, ranks } => {
                let made = pictures::recode_here(format, media.into_packets()?, shown, ranks.clone())?;
                Media::packets(vec![made])
            }
            Self::Still { format, rate, count } => {
                let planes = media.into_packets()?.into_iter().next().unwrap_or_default();
                let made = pictures::encode_still_here(format, *rate, planes, *count)?;
                Media::packets(vec![made])
            }
        })
    }
}

impl Media<'_> {
    /// How many packets or samples it is.
    fn count(&self) -> u64 {
        match self {
            Self::Packets(packets) => packets.len() as u64,
            Self::Samples(clips) => clips.iter().map(|clip| clip.len() as u64).sum(),
        }
    }

    /// Whether coding samples of so many channels takes longer than finding what came of them before.
    pub(super) fn is_long(&self, channels: usize) -> bool {
        // Samples of each channel.
        const LONG: u64 = 1 << 16;
        self.count() >= LONG * channels as u64
    }

    pub(super) fn packets(packets: Vec<Vec<u8>>) -> Media<'static> {
        Media::Packets(packets.into_iter().map(Cow::Owned).collect())
    }

    /// The packets that it is.
    pub(super) fn into_packets(self) -> Result<Vec<Vec<u8>>, BridgeError> {
        match self {
            Self::Packets(packets) => Ok(packets.into_iter().map(Cow::into_owned).collect()),
            Self::Samples(_) => Err(BridgeError::WrongStream("samples where packets were due".into())),
        }
    }

    /// The samples of each clip that it is; `due` says how many each has.
    pub(super) fn into_clips(self, due: impl Iterator<Item = usize>) -> Result<Vec<Vec<f32>>, BridgeError> {
        match self {
            Self::Samples(clips) if clips.iter().map(|clip| clip.len()).eq(due) => {
                Ok(clips.into_iter().map(Cow::into_owned).collect())
            }
            _ => Err(BridgeError::WrongStream("other clips than were due".into())),
        }
    }
}

impl<'a> Media<'a> {
    /// The samples of the one clip that it is.
    fn into_samples(self) -> Result<Cow<'a, [f32]>, BridgeError> {
        match self {
            Self::Samples(mut clips) if clips.len() == 1 => Ok(clips.remove(0)),
            _ => Err(BridgeError::WrongStream("no samples of one clip".into())),
        }
    }

    /// One clip.
    pub(super) fn clip(samples: &'a [f32]) -> Self {
        Self::Samples(vec![Cow::Borrowed(samples)])
    }

    /// Packets, one after the other.
    pub(super) fn of(packets: impl IntoIterator<Item = &'a Vec<u8>>) -> Self {
        Self::Packets(
            packets
                .into_iter()
                .map(|packet| Cow::Borrowed(&packet[..]))
                .collect(),
        )
    }
}
