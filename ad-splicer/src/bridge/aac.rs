//! AAC-LC by libav, in both directions: packets are raw, without ADTS headers.

use gstreamer as gst;
use gstreamer::prelude::*;
use serde::{Deserialize, Serialize};

use super::task::{Media, Task};
use super::{BridgeError, element, floats, init, raw_caps, run, run_within, split_clips, stamped};
use crate::frames::aac::{Config, SAMPLES};
use crate::frames::padding::{ad_bytes, most_bytes};
use crate::side_by_side::side_by_side;

mod headroom;
mod in_parts;

pub(crate) use in_parts::encode_in_parts;

/// Samples between the encoder's input and the decoder's output: input sample `n` is decoded sample `n + DELAY`.
pub(crate) const DELAY: u32 = SAMPLES;

/// With fewer bits a second than this nothing is tried again, nor with fewer than half of those at first.
const LEAST: i32 = 32_000;
/// The same of what is too long of an ad. After digital silence libav makes the first packets as long as there may be unless it has next to nothing.
const LEAST_OF_ADS: i32 = 4_000;

fn caps(config: Config) -> gst::Caps {
    gst::Caps::builder("audio/mpeg")
        .field("mpegversion", 4)
        .field("stream-format", "raw")
        .field("framed", true)
        .field("rate", config.sample_rate as i32)
        .field("channels", i32::from(config.channels))
        .field("codec_data", gst::Buffer::from_slice(config.bytes()))
        .build()
}

/// Decodes clips, each a run of packets of one stream. Gives for each clip its interleaved samples, as many as its packets hold; the first packet's are touched by what was decoded before it.
pub(crate) fn decode(config: Config, clips: &[Vec<Vec<u8>>]) -> Result<Vec<Vec<f32>>, BridgeError> {
    if clips.iter().all(Vec::is_empty) {
        return Ok(clips.iter().map(|_| Vec::new()).collect());
    }
    let counts: Vec<usize> = clips.iter().map(Vec::len).collect();
    let size = SAMPLES as usize * usize::from(config.channels);
    let due = counts.iter().map(|count| count * size);
    let task = Task::AacDecode {
        config,
        clips: counts.clone(),
    };
    task.done(Media::of(clips.iter().flatten()))?.into_clips(due)
}

/// The same in this process, of clips of so many packets.
pub(super) fn decode_here(
    config: Config,
    clips: &[usize],
    packets: Vec<Vec<u8>>,
) -> Result<Vec<Vec<f32>>, BridgeError> {
    const DOING: &str = "decoding";
    init(DOING)?;
    let (rate, channels) = (config.sample_rate, usize::from(config.channels));
    let elements = [element("avdec_aac")?, element("audioconvert")?];
    // The rate is left open: SBR that is not declared doubles it, and then the length is not what it should be.
    let out = gst::Caps::builder("audio/x-raw")
        .field("format", "F32LE")
        .field("layout", "interleaved")
        .field("channels", channels as i32)
        .build();
    let input = packets.into_iter().enumerate().map(|(i, packet)| {
        let size = u64::from(SAMPLES);
        stamped(packet, i as u64 * size, size, rate)
    });
    let buffers = run(DOING, &caps(config), &elements, Some(&out), input)?;
    split_clips(&buffers, clips.iter().copied(), SAMPLES as usize, channels)
}

/// Bits a second around content: so high that what is encoded twice loses next to nothing. It costs nothing, since packets there are padded to the largest that there can be.
fn bit_rate(config: Config) -> i32 {
    // At most 6,144 bits a channel and frame of 1,024 samples are allowed; three quarters of it.
    (u64::from(config.sample_rate) * 6 * u64::from(config.channels) * 3 / 4) as i32
}

/// How libav looks for the steps of its quantizers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Coder {
    /// What was AAC before comes out nearly as it was: its own steps are found again.
    Exact,
    /// For ads alone: so many bits a second, and nobody looks for what two channels have in common.
    Ads {
        /// Of all channels.
        bit_rate: i32,
    },
    /// Bands that are nearly silent stay so.
    Careful,
    /// The same with half of the bits: more of what is nearly silent becomes silence.
    Sparing,
}

/// The ones to choose from where sound begins out of a pause.
const CAREFUL: [Coder; 2] = [Coder::Careful, Coder::Sparing];

impl Coder {
    /// The one for ads whose packets are to have the bytes that ads have. libav's are half as long again as they are on average, at most, but for some in which sound begins.
    pub(crate) fn ads(config: Config) -> Self {
        let bits = ad_bytes(config) as u64 * 8 * u64::from(config.sample_rate);
        Self::Ads {
            bit_rate: (bits / u64::from(SAMPLES) * 2 / 3) as i32,
        }
    }

    /// The same with a third fewer bits; `None` where that would be too few, or nobody asks for it.
    fn with_fewer_bits(self) -> Option<Self> {
        match self {
            Self::Ads { bit_rate } if bit_rate >= LEAST_OF_ADS => Some(Self::Ads {
                bit_rate: bit_rate / 3 * 2,
            }),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Exact | Self::Ads { .. } => "fast",
            Self::Careful | Self::Sparing => "twoloop",
        }
    }

    fn bit_rate(self, config: Config) -> i32 {
        match self {
            Self::Exact | Self::Careful => bit_rate(config),
            Self::Sparing => bit_rate(config) / 2,
            Self::Ads { bit_rate } => bit_rate,
        }
    }
}

/// Encodes interleaved samples into packets, followed by enough silence that all of it comes out. Of what is noise throughout libav makes packets that are larger than allowed; then with fewer bits.
pub(crate) fn encode(config: Config, coder: Coder, pcm: &[f32]) -> Result<Vec<Vec<u8>>, BridgeError> {
    let task = Task::AacEncode { config, coder };
    task.done(Media::clip(pcm))?.into_packets()
}

/// The same in this process.
pub(super) fn encode_here(config: Config, coder: Coder, pcm: &[f32]) -> Result<Vec<Vec<u8>>, BridgeError> {
    match coder {
        // Their peaks are limited.
        Coder::Ads { .. } => encode_fitting(config, coder, pcm),
        Coder::Exact | Coder::Careful | Coder::Sparing => headroom::encode(config, coder, pcm),
    }
}

/// Encodes with so few bits that all packets are allowed.
fn encode_fitting(config: Config, coder: Coder, pcm: &[f32]) -> Result<Vec<Vec<u8>>, BridgeError> {
    let mut bit_rate = coder.bit_rate(config);
    let least = LEAST.min(self::bit_rate(config) / 2);
    loop {
        let most = if bit_rate < least {
            usize::MAX
        } else {
            most_bytes(config)
        };
        match encode_at(config, coder, (bit_rate, most), pcm) {
            // Seen in the first such packet.
            Err(BridgeError::TooLarge { .. }) => bit_rate = fewer(config, bit_rate),
            other => return other,
        }
    }
}

/// The bits a second to try after so many.
fn fewer(config: Config, bit_rate: i32) -> i32 {
    // At low sample rates there is sound up to half of the rate: bits are scarce, and each sixteenth is worth 2 dB. What is too long with two thirds is noise.
    let is_scarce = config.sample_rate < 44_100 && bit_rate > self::bit_rate(config) / 3 * 2;
    if is_scarce {
        bit_rate / 16 * 15
    } else {
        bit_rate / 3 * 2
    }
}

/// The same in each of the ways to choose from where sound begins out of a pause.
pub(crate) fn encode_carefully(config: Config, pcm: &[f32]) -> Result<Vec<Vec<Vec<u8>>>, BridgeError> {
    let ways = side_by_side(&CAREFUL, |_, coder| encode(config, *coder, pcm));
    ways.into_iter().collect()
}

/// Encodes at a bit rate; packets of more than `most` bytes are an error.
fn encode_at(
    config: Config,
    coder: Coder,
    (bit_rate, most): (i32, usize),
    pcm: &[f32],
) -> Result<Vec<Vec<u8>>, BridgeError> {
    const DOING: &str = "encoding";
    init(DOING)?;
    let (rate, channels) = (config.sample_rate, usize::from(config.channels));
    let encoder = gst::ElementFactory::make("avenc_aac")
        .property("bitrate", bit_rate)
        .property("aac-pns", false)
        .property("aac-is", false)
        .property_from_str("aac-coder", coder.name())
        .build()
        .map_err(|_| BridgeError::MissingElement { element: "avenc_aac" })?;
    if matches!(coder, Coder::Ads { .. }) {
        // Not set to be true elsewhere: by itself it is as is best for each band, which has no name.
        encoder.set_property("aac-ms", false);
    }
    let out = gst::Caps::builder("audio/mpeg")
        .field("stream-format", "raw")
        .build();
    let silence = vec![0.0; 4 * SAMPLES as usize * channels];
    let buffers = floats(pcm, rate, channels, 0);
    let after = floats(&silence, rate, channels, pcm.len() / channels);
    let made = run_within(
        DOING,
        most,
        &raw_caps("F32LE", rate, channels),
        &[element("audioconvert")?, encoder],
        Some(&out),
        buffers.chain(after),
    );
    made.map(|(packets, _)| packets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_packet_of_noise_is_larger_than_allowed() {
        let config = Config::lc(32_000, 2).unwrap();
        let mut state = 5_u32;
        let pcm: Vec<f32> = (0..64_000_u32)
            .map(|i| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let loud = if i / 6_000 % 2 == 0 { 0.9 } else { 0.01 };
                loud * ((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
            })
            .collect();
        let largest = |packets: Vec<Vec<u8>>| packets.iter().map(Vec::len).max().unwrap();
        let coders = [Coder::Exact, Coder::Careful];
        let at_once = coders
            .map(|coder| largest(encode_at(config, coder, (bit_rate(config), usize::MAX), &pcm).unwrap()));
        let tried = coders.map(|coder| largest(encode(config, coder, &pcm).unwrap()));
        let most = most_bytes(config);
        assert!(
            at_once.into_iter().max() > Some(most),
            "{at_once:?} need no second try"
        );
        assert!(tried.into_iter().max() <= Some(most), "{tried:?}");
    }

    #[test]
    fn what_goes_in_comes_out_at_the_declared_delay() {
        for (rate, channels) in [(44_100, 2), (48_000, 1), (24_000, 2)] {
            let config = Config::lc(rate, channels).unwrap();
            let pcm: Vec<f32> = (0..rate as usize * 2)
                .flat_map(|i| {
                    let t = i as f32 / rate as f32;
                    let value = 0.3 * (t * (300.0 + 900.0 * t) * std::f32::consts::TAU).sin();
                    std::iter::repeat_n(value, usize::from(channels))
                })
                .collect();
            let packets = encode(config, Coder::Exact, &pcm).unwrap();
            let decoded = decode(config, &[packets]).unwrap().remove(0);
            let step = usize::from(channels);
            let error = |shift: usize| -> f64 {
                (rate as usize / 2..rate as usize)
                    .map(|i| f64::from(pcm[i * step] - decoded[(i + shift) * step]).powi(2))
                    .sum()
            };
            let delay = DELAY as usize;
            let best = (delay - 60..delay + 60).min_by(|a, b| error(*a).total_cmp(&error(*b)));
            assert_eq!(best, Some(delay), "{rate} Hz");
        }
    }
}
