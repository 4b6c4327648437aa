//! Opus by libopus, in both directions. Packets are bare; samples are as coded, without the stream's output gain.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use gstreamer as gst;
use gstreamer::prelude::*;
use serde::{Deserialize, Serialize};

use super::task::{Media, Task};
use super::{BridgeError, ENCODE_CHUNK, element, floats_of, init, raw_caps, run, split_clips, stamped};
use crate::frames::opus::{Bandwidth, Head, RATE, samples, speech};

/// Samples between the encoder's input and the decoder's output: input sample `n` is decoded sample `n + DELAY`.
pub(crate) const DELAY: u32 = 312;

/// Decodes clips, each a run of packets of one stream. Gives for each clip its interleaved samples, as many as its packets hold; the first packets' are touched by what was decoded before.
pub(crate) fn decode(head: Head, clips: &[Vec<Vec<u8>>]) -> Result<Vec<Vec<f32>>, BridgeError> {
    let is_speech = clips.iter().flatten().any(|packet| speech(packet).is_some());
    // libopus' samples are of 16 bits here.
    let by = if is_speech {
        Decoder::Libopus
    } else {
        Decoder::Libav
    };
    decode_by(by, head, clips)
}

/// Who decodes. Music is the same by all. libav gives speech two samples later than libopus, which most players have, and another sound where content changes between music and speech.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Decoder {
    Libav,
    Libopus,
}

/// The same by one of them.
pub(crate) fn decode_by(
    by: Decoder,
    head: Head,
    clips: &[Vec<Vec<u8>>],
) -> Result<Vec<Vec<f32>>, BridgeError> {
    let lengths = lengths(clips.iter().map(Vec::as_slice));
    if lengths.iter().all(|length| *length == 0) {
        return Ok(clips.iter().map(|_| Vec::new()).collect());
    }
    let task = Task::OpusDecode {
        by,
        head,
        clips: clips.iter().map(Vec::len).collect(),
    };
    let due = lengths.iter().map(|length| length * usize::from(head.channels));
    task.done(Media::of(clips.iter().flatten()))?.into_clips(due)
}

/// How many samples of each channel the packets of each clip hold.
fn lengths<'a>(clips: impl Iterator<Item = &'a [Vec<u8>]>) -> Vec<usize> {
    let length = |packet: &Vec<u8>| samples(packet).unwrap_or(0) as usize;
    clips.map(|clip| clip.iter().map(length).sum()).collect()
}

/// The same in this process, of clips of so many packets.
pub(super) fn decode_here(
    by: Decoder,
    head: Head,
    clips: &[usize],
    packets: Vec<Vec<u8>>,
) -> Result<Vec<Vec<f32>>, BridgeError> {
    const DOING: &str = "decoding";
    let mut rest = &packets[..];
    let clips = clips.iter().map(|count| {
        let (clip, after) = rest.split_at(rest.len().min(*count));
        rest = after;
        clip
    });
    let lengths = lengths(clips);
    init(DOING)?;
    let channels = usize::from(head.channels);
    let caps = gst::Caps::builder("audio/x-opus")
        .field("channel-mapping-family", 0)
        .field("rate", RATE as i32)
        .field("channels", channels as i32)
        .field("codec_data", gst::Buffer::from_slice(head.plain()))
        .build();
    let decoder = match by {
        Decoder::Libav => "avdec_opus",
        Decoder::Libopus => "opusdec",
    };
    let elements = [element(decoder)?, element("audioconvert")?];
    let mut position = 0;
    let input = packets.into_iter().map(move |packet| {
        let count = u64::from(samples(&packet).unwrap_or(0));
        position += count;
        stamped(packet, position - count, count, RATE)
    });
    let buffers = run(
        DOING,
        &caps,
        &elements,
        Some(&raw_caps("F32LE", RATE, channels)),
        input,
    )?;
    split_clips(&buffers, lengths.into_iter(), 1, channels)
}

/// How long it takes until an ad's own offset is forgotten, in samples: the ad itself is faded out in that time.
const LETTING_GO: usize = 240;

/// What libopus does to samples before it codes them, undone beforehand: it takes off what is below 3 Hz, by which everything comes a little early (at 200 Hz by a degree: an error of -35 dB). The inverse
/// filter would keep an ad's offset for ever, and grow, so there it forgets below 0.1 Hz. From sample `resumes` on it is the exact inverse, whatever offset the ad had: that would be heard as one of the content, for seconds.
fn before_dc_rejection(pcm: &[f32], channels: usize, resumes: usize) -> Vec<f32> {
    const COEFFICIENT: f64 = 6.3 * 3.0 / RATE as f64;
    const FORGETTING: f64 = 1.0 - 6.3 * 0.1 / RATE as f64;
    // What is added to each channel, and what libopus will take off.
    let mut states = vec![(0.0_f64, 0.0_f64); channels];
    let mut out = Vec::with_capacity(pcm.len());
    for (i, frame) in pcm.chunks(channels).enumerate() {
        let left = resumes.saturating_sub(i).min(LETTING_GO) as f64 / LETTING_GO as f64;
        let exact = 0.5 + 0.5 * (std::f64::consts::PI * left).cos();
        for (sample, (low, taken)) in frame.iter().zip(&mut states) {
            let sample = f64::from(*sample);
            let given = sample + *low + exact * (*taken - *low);
            out.push(given as f32);
            *low = COEFFICIENT * sample + FORGETTING * *low;
            *taken += COEFFICIENT * (given - *taken);
        }
    }
    out
}

/// Encodes interleaved samples into packets of `size` samples, followed by enough silence that all of it comes out. What is beyond ±1.0 is cut off. From sample `resumes` on they are content again, which owes nothing to the offset of the ad before it.
pub(crate) fn encode(
    head: Head,
    size: u32,
    pcm: &[f32],
    resumes: usize,
    beside: Option<Speech>,
) -> Result<Vec<Vec<u8>>, BridgeError> {
    let task = Task::OpusEncode {
        head,
        size,
        resumes,
        beside,
    };
    task.done(Media::clip(pcm))?.into_packets()
}

/// Packets that stand beside content that is coded as speech. All of them can be decoded whatever came before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Speech {
    /// That of the content.
    pub(crate) bandwidth: Bandwidth,
    /// Those that are speech too, and so is the one behind them, in which libopus goes over to music.
    pub(crate) packets: Range<usize>,
}

impl Speech {
    /// Sets the encoder up for a packet. What decides whether it is speech is how many bits there are, unless packets may be lost and are to hold what was in those before: then it is, however many. More than 9 % is taken for that of any sound.
    fn set(&self, encoder: &gst::Element, packet: usize, channels: usize) {
        let is_speech = self.packets.contains(&packet);
        let becomes_music = !self.packets.is_empty() && self.packets.end == packet;
        let (bit_rate, bandwidth, loss) = if is_speech || becomes_music {
            // A good part of it is for what was in packets before. A frame of 20 ms takes 510 kbit/s at most.
            (SPEECH_BIT_RATE * channels as i32, self.bandwidth, 10)
        } else {
            // Energies are coded without those of the packet before when all are said to be lost.
            (BIT_RATE * channels as i32, Bandwidth::Full, 100)
        };
        // What comes right behind content owes nothing to the filters before it either, which from 4 on are gone over from.
        encoder.set_property("complexity", if becomes_music { 3 } else { 10 });
        encoder.set_property("bitrate", bit_rate.min(500_000));
        encoder.set_property_from_str(
            "bandwidth",
            match bandwidth {
                Bandwidth::Narrow => "narrowband",
                Bandwidth::Medium => "mediumband",
                Bandwidth::Wide => "wideband",
                Bandwidth::SuperWide => "superwideband",
                Bandwidth::Full => "fullband",
            },
        );
        encoder.set_property("packet-loss-percentage", loss);
        encoder.set_property("inband-fec", is_speech);
    }
}

/// Bits a second and channel: high, so that what is coded twice loses next to nothing.
const BIT_RATE: i32 = 160_000;
/// The same of what is coded as speech.
const SPEECH_BIT_RATE: i32 = 400_000;

/// The same in this process.
pub(super) fn encode_here(
    head: Head,
    size: u32,
    pcm: &[f32],
    resumes: usize,
    beside: Option<Speech>,
) -> Result<Vec<Vec<u8>>, BridgeError> {
    const DOING: &str = "encoding";
    init(DOING)?;
    let channels = usize::from(head.channels);
    let frame = match size {
        120 => "2.5",
        240 => "5",
        480 => "10",
        960 => "20",
        1_920 => "40",
        2_880 => "60",
        _ => return Err(BridgeError::WrongStream(format!("packets of {size} samples"))),
    };
    let builder = gst::ElementFactory::make("opusenc")
        .property("bitrate", BIT_RATE * channels as i32)
        .property_from_str("bitrate-type", "vbr")
        .property_from_str("frame-size", frame);
    let encoder = builder
        .build()
        .map_err(|_| BridgeError::MissingElement { element: "opusenc" })?;
    let chunk = if beside.is_some() {
        size as usize
    } else {
        ENCODE_CHUNK
    };
    if let (Some(beside), Some(pad)) = (beside, encoder.static_pad("sink")) {
        // A buffer is a packet, and is coded before the next one comes.
        let packet = AtomicUsize::new(0);
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, _| {
            if let Some(encoder) = pad.parent_element() {
                beside.set(&encoder, packet.fetch_add(1, Ordering::Relaxed), channels);
            }
            gst::PadProbeReturn::Ok
        });
    }
    let silence = vec![0.0; 4 * size.max(480) as usize * channels];
    let padded = [before_dc_rejection(pcm, channels, resumes), silence].concat();
    let convert = gst::ElementFactory::make("audioconvert")
        .property_from_str("dithering", "none")
        .property_from_str("noise-shaping", "none")
        .build()
        .map_err(|_| BridgeError::MissingElement {
            element: "audioconvert",
        })?;
    run(
        DOING,
        &raw_caps("F32LE", RATE, channels),
        &[convert, encoder],
        None,
        floats_of(chunk, &padded, RATE, channels, 0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_at_the_declared_delay() {
        for (size, channels) in [
            (960, 2),
            (960, 1),
            (120, 2),
            (240, 2),
            (480, 1),
            (1_920, 2),
            (2_880, 1),
        ] {
            let head = Head {
                channels,
                pre_skip: 0,
                gain: 0,
            };
            let pcm: Vec<f32> = (0..RATE as usize * 2)
                .flat_map(|i| {
                    let t = i as f32 / RATE as f32;
                    let value = 0.3 * (t * (300.0 + 900.0 * t) * std::f32::consts::TAU).sin();
                    std::iter::repeat_n(value, usize::from(channels))
                })
                .collect();
            let packets = encode(head, size, &pcm, pcm.len(), None).unwrap();
            assert!(packets.iter().all(|packet| samples(packet) == Some(size)));
            assert!(packets.len() * size as usize >= RATE as usize * 2 + DELAY as usize);
            let decoded = decode(head, &[packets]).unwrap().remove(0);
            let step = usize::from(channels);
            let error = |shift: usize| -> f64 {
                (RATE as usize / 2..RATE as usize)
                    .map(|i| f64::from(pcm[i * step] - decoded[(i + shift) * step]).powi(2))
                    .sum()
            };
            let delay = DELAY as usize;
            let best = (delay - 60..delay + 60).min_by(|a, b| error(*a).total_cmp(&error(*b)));
            assert_eq!(best, Some(delay), "{size} samples");
        }
    }

    #[test]
    fn the_offset_of_an_ad_is_not_heard_in_the_content_after_it() {
        let head = Head {
            channels: 1,
            pre_skip: 0,
            gain: 0,
        };
        let resumes = 4 * RATE as usize;
        let tone = |i: usize, loud: f32| loud * (i as f32 * 0.05).sin();
        let pcm: Vec<f32> = (0..resumes + RATE as usize)
            .map(|i| {
                // The ad is faded out, as ads are.
                let fade = (resumes.saturating_sub(i) as f32 / 240.0).min(1.0);
                tone(i, 0.0005)
                    + if i < resumes {
                        fade * (tone(i, 0.1) + 0.02)
                    } else {
                        0.0
                    }
            })
            .collect();
        let packets = encode(head, 960, &pcm, resumes, None).unwrap();
        let decoded = decode(head, &[packets]).unwrap().remove(0);
        let from = resumes + 960;
        let offset = |samples: &[f32]| samples.iter().sum::<f32>() / samples.len() as f32;
        let heard = offset(&decoded[from + DELAY as usize..][..24_000]);
        assert!(heard.abs() < 1e-4, "an offset of {heard}");
    }
}
