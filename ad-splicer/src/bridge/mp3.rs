//! MP3 by Symphonia and LAME. The decoder is fed frames of which the first stands alone (see [`crate::frames::mp3::carrier`]), so that it has no reservoir to miss; it is Rust and needs no pipeline, so that a
//! little of an episode is decoded as soon as it is asked for. The encoder writes no information frame.

use std::f32::consts::PI;
use std::ops::Range;

use gstreamer as gst;
use serde::Serialize;
use symphonia_bundle_mp3::MpaDecoder;
use symphonia_core::audio::{Audio, GenericAudioBufferRef};
use symphonia_core::codecs::audio::well_known::CODEC_ID_MP3;
use symphonia_core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia_core::packet::PacketRef;
use symphonia_core::units::{Duration, Timestamp};

use super::task::Media;
use super::wire::Most;
use super::{BridgeError, ENCODE_CHUNK, init, kept, raw_caps, run, stamped};
use crate::frames::mp3::{Header, Version, change_gain, stated};

mod in_parts;

/// At this bit rate in kb/s and above a long bridge is encoded in parts.
const IN_PARTS: u32 = 192;

/// Decodes clips, each a run of frames of one stream whose first frame stands alone. Gives for each clip its interleaved samples, as many as its frames hold; a frame that cannot be decoded is
/// silence. The first 1056 samples of a clip lack what would have been decoded before it.
pub(crate) fn decode(clips: &[Vec<Vec<u8>>]) -> Result<Vec<Vec<f32>>, BridgeError> {
    clips.iter().map(|clip| decode_clip(clip)).collect()
}

fn decode_clip(frames: &[Vec<u8>]) -> Result<Vec<f32>, BridgeError> {
    let Some(header) = frames.first().and_then(|frame| Header::of_whole(frame).ok()) else {
        return Ok(Vec::new());
    };
    // Symphonia decodes no free format.
    let is_free = |frame: &Vec<u8>| Header::of_whole(frame).is_ok_and(Header::is_free);
    let told;
    let frames = if frames.iter().any(is_free) {
        told = stated(frames).map_err(|error| BridgeError::WrongStream(error.to_string()))?;
        &told[..]
    } else {
        frames
    };
    let mut parameters = AudioCodecParameters::new();
    parameters.for_codec(CODEC_ID_MP3);
    let mut decoder = MpaDecoder::try_new(&parameters, &AudioDecoderOptions::default())
        .map_err(|error| BridgeError::WrongStream(error.to_string()))?;
    let (size, channels) = (header.samples() as usize, usize::from(header.channels()));
    let mut out = Vec::with_capacity(frames.len() * size * channels);
    for frame in frames {
        let begin = out.len();
        out.resize(begin + size * channels, 0.0);
        let packet = PacketRef::new(0, Timestamp::new(0), Duration::new(size as u64), frame);
        if let Ok(GenericAudioBufferRef::F32(samples)) = decoder.decode_ref(&packet)
            && samples.frames() == size
        {
            let into = &mut out[begin..];
            match (samples.plane(0), samples.plane(1)) {
                (Some(left), Some(right)) if channels == 2 => {
                    let pairs = into.as_chunks_mut().0.iter_mut();
                    let sides = left.iter().zip(right);
                    pairs
                        .zip(sides)
                        .for_each(|(pair, (left, right))| *pair = [*left, *right]);
                }
                (Some(one), _) if channels == 1 => into.copy_from_slice(one),
                _ => {}
            }
        }
    }
    Ok(out)
}

/// The bit rates to try for bridges, in kb/s, best first. A frame can be repacked while the reservoir is not too full. When none can, the next one is taken.
pub(crate) fn bridge_bit_rates(header: Header) -> [u32; 4] {
    match (header.version(), header.channels()) {
        (Version::V1, 2) => [256, 224, 192, 128],
        (Version::V1, _) => [256, 192, 128, 64],
        (Version::V2, 2) => [128, 96, 80, 64],
        (Version::V2, _) => [96, 64, 48, 32],
        // LAME goes no higher than 64 there.
        (Version::V25, 2) => [56, 48, 40, 32],
        (Version::V25, _) => [40, 32, 24, 16],
    }
}

/// Samples are made louder for the encoder by at most so many steps of 1.5 dB: sound that was very quiet is not coded as if it were loud.
const MOST_STEPS: f32 = 8.0;

/// What LAME multiplies its input with at a constant bit rate in kb/s, before anything else (`scale` in its presets).
fn lame_scale(bit_rate: u32) -> f32 {
    match bit_rate {
        ..=160 => 0.95,
        161..=192 => 0.97,
        193..=224 => 0.98,
        _ => 1.0,
    }
}

/// More frames than come out after what went in.
const FRAMES_AFTER: u64 = 64;
/// Bytes of the longest frame: 320 kb/s at 32 kHz.
const MOST_OF_A_FRAME: u64 = 1_441;

/// The level of the tone that hides attacks, of full scale.
const TONE: f32 = 0.5;
/// Samples in which it comes and goes.
const TONE_FADE: usize = 2304;

/// The tone that has LAME use long blocks in parts of its input: at half of the sample rate, where it codes nothing at any rate. LAME uses short blocks where what is above a quarter of the sample rate becomes several times as loud at once, which beside this tone it does not.
fn tone(long: &[Range<usize>], n: usize) -> f32 {
    let level = long.iter().map(|part| {
        let away = part.start.saturating_sub(n).max((n + 1).saturating_sub(part.end));
        let near = 1.0 - away.min(TONE_FADE) as f32 / TONE_FADE as f32;
        0.5 - 0.5 * (PI * near).cos()
    });
    let level = TONE * level.fold(0.0, f32::max);
    if n.is_multiple_of(2) { level } else { -level }
}

/// Encodes interleaved samples at `bit_rate` kb/s into frames of the stream that `header` belongs to, in the parts `long` (counted in frames of all channels) with long blocks only. Decoded sample n + 1105 of the result is input sample n. `pcm` is followed by enough silence that all of it comes out.
pub(crate) fn encode(
    header: Header,
    bit_rate: u32,
    pcm: &[f32],
    long: &[Range<usize>],
) -> Result<Vec<Vec<u8>>, BridgeError> {
    let channels = usize::from(header.channels());
    let media = Media::clip(pcm);
    if !media.is_long(channels) {
        return encode_here(header, bit_rate, pcm, long);
    }
    let coding = Coding {
        mp3_at: bit_rate,
        sample_rate: header.sample_rate(),
        channels,
        long,
    };
    let frames = (pcm.len() / channels) as u64 / u64::from(header.samples()) + FRAMES_AFTER;
    let most = Most {
        parts: frames,
        bytes: frames * MOST_OF_A_FRAME,
    };
    let make = |_: Media<'_>| encode_here(header, bit_rate, pcm, long).map(Media::packets);
    kept::or_made(&coding, most, media, make)?.into_packets()
}

/// What is coded, beside the samples.
#[derive(Serialize)]
struct Coding<'a> {
    mp3_at: u32,
    sample_rate: u32,
    channels: usize,
    long: &'a [Range<usize>],
}

fn encode_here(
    header: Header,
    bit_rate: u32,
    pcm: &[f32],
    long: &[Range<usize>],
) -> Result<Vec<Vec<u8>>, BridgeError> {
    // What LAME takes away is given back, and its sixteen bits are used: the samples get as loud as they can be without clipping, and each frame is made quieter (or louder) again by exact steps.
    let scale = lame_scale(bit_rate);
    let peak = pcm.iter().fold(0_f32, |peak, sample| peak.max(sample.abs()));
    let room = if long.is_empty() { 0.99 } else { 0.99 - TONE };
    let steps = (4.0 * (room * scale / peak.clamp(1e-3, 1.5)).log2())
        .floor()
        .min(MOST_STEPS);
    let before = (steps / 4.0).exp2() / scale;
    let channels = usize::from(header.channels());
    let quantized: Vec<i16> = pcm
        .iter()
        .enumerate()
        .map(|(i, sample)| {
            // Half as much in the second channel: then it is in the middle and in the side, which LAME judges too.
            let tone = tone(long, i / channels) / (1 + i % channels) as f32;
            ((sample * before + tone).clamp(-1.0, 1.0) * 32767.0).round() as i16
        })
        .collect();
    let lame = |samples: &[i16]| lame(header, bit_rate, samples);
    let mut frames = if bit_rate >= IN_PARTS {
        in_parts::encode(header, &quantized, lame)?
    } else {
        lame(&quantized)?
    };
    for frame in &mut frames {
        let found = Header::of(frame).map_err(|error| BridgeError::WrongStream(error.to_string()))?;
        change_gain(found, frame, -(steps as i32));
    }
    Ok(frames)
}

/// LAME's frames for interleaved samples.
fn lame(header: Header, bit_rate: u32, pcm: &[i16]) -> Result<Vec<Vec<u8>>, BridgeError> {
    const DOING: &str = "encoding";
    init(DOING)?;
    let (rate, channels) = (header.sample_rate(), usize::from(header.channels()));
    let encoder = gst::ElementFactory::make("lamemp3enc")
        .property_from_str("target", "bitrate")
        .property("bitrate", bit_rate as i32)
        .property("cbr", true)
        // At these rates there is nothing to hide noise from, and not shaping it leaves less: seams are 4 dB better on average, in half of the time.
        .property_from_str("encoding-engine-quality", "fast")
        .build()
        .map_err(|_| BridgeError::MissingElement {
            element: "lamemp3enc",
        })?;
    let silence = vec![0; 4 * header.samples() as usize * channels];
    let buffers = pcm
        .chunks(ENCODE_CHUNK * channels)
        .chain(silence.chunks(ENCODE_CHUNK * channels));
    let input = buffers.scan(0, |at, chunk| {
        let bytes: Vec<u8> = chunk.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let count = (chunk.len() / channels) as u64;
        let buffer = stamped(bytes, *at, count, rate);
        *at += count;
        Some(buffer)
    });
    let bytes = run(DOING, &raw_caps("S16LE", rate, channels), &[encoder], None, input)?.concat();
    let mut rest = &bytes[..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let found = Header::of(rest).map_err(|error| BridgeError::WrongStream(error.to_string()))?;
        if !found.same_stream(header) {
            return Err(BridgeError::WrongStream(format!(
                "{} Hz with {} channels",
                found.sample_rate(),
                found.channels()
            )));
        }
        let Some((frame, tail)) = rest.split_at_checked(found.frame_len()) else {
            return Err(BridgeError::WrongStream("a frame is not whole".into()));
        };
        frames.push(frame.to_vec());
        rest = tail;
    }
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;
    use std::slice;

    use super::*;
    use crate::frames::mp3::{LAME_TOTAL_DELAY, Xing, carrier, has_short_blocks, reservoir};
    use crate::splice::sound::worst_block;

    fn tone(rate: u32, channels: usize, samples: usize) -> Vec<f32> {
        (0..samples)
            .flat_map(|i| {
                let t = i as f32 / rate as f32;
                let value = (0.3 * (t * 220.0 * std::f32::consts::TAU).sin()
                    + 0.2 * (t * (300.0 + 900.0 * t) * std::f32::consts::TAU).sin())
                    * (1.0 + (t * 9.0).sin())
                    / 2.0;
                std::iter::repeat_n(value, channels)
            })
            .collect()
    }

    #[test]
    fn attacks_get_short_blocks_but_where_long_ones_are_asked_for() {
        for (head, channels) in [
            ([0xFF, 0xFB, 0x90, 0x64], 2),
            ([0xFF, 0xFB, 0x94, 0xC4], 1),
            ([0xFF, 0xF3, 0x80, 0x44], 2),
            ([0xFF, 0xE3, 0x38, 0xC4], 1),
        ] {
            let header = Header::parse(head).unwrap();
            let (rate, size) = (header.sample_rate() as usize, header.samples() as usize);
            // A string is plucked forty times a second.
            let pcm: Vec<f32> = (0..2 * rate)
                .flat_map(|i| {
                    let since = (i as f32 * 40.0 / rate as f32).fract() * rate as f32 / 40.0;
                    let tones = [0.011, 0.05, 0.13, 0.31].map(|f| (TAU * f * since).sin());
                    let value = 0.2 * tones.iter().sum::<f32>() * (-300.0 * since / rate as f32).exp();
                    [value, 0.8 * value].into_iter().take(channels)
                })
                .collect();
            let bit_rate = bridge_bit_rates(header)[0];
            // The second half, and what the coder looks ahead to.
            let half = rate..2 * rate;
            let [free, long] =
                [&[][..], slice::from_ref(&half)].map(|long| encode(header, bit_rate, &pcm, long).unwrap());
            let short = |frames: &[Vec<u8>]| {
                let short = |frame: &&Vec<u8>| has_short_blocks(Header::of(frame).unwrap(), frame);
                frames.iter().filter(short).count()
            };
            let asked = half.start / size + 4..half.end / size;
            assert!(short(&free[asked.clone()]) > asked.len() / 2, "{rate} Hz");
            assert_eq!(short(&long[asked.clone()]), 0, "{rate} Hz");
            assert!(short(&long[..half.start / size - 4]) > 0, "{rate} Hz");
            // It is the same sound.
            let [free, long] = [free, long].map(|frames| decode(&[frames]).unwrap().remove(0));
            let [free, long] = [free, long].map(|samples| {
                let late = LAME_TOTAL_DELAY as usize * channels;
                let of_half = asked.start * size * channels..(asked.end - 4) * size * channels;
                worst_block(&samples[late..][of_half.clone()], &pcm[of_half], channels)
            });
            println!("{rate} Hz: {free:.1} dB as LAME likes, {long:.1} dB in long blocks");
            assert!(
                long < free.max(-60.0) + 6.0,
                "{rate} Hz: {free:.1} dB, {long:.1} dB"
            );
        }
    }

    #[test]
    fn what_goes_in_comes_out_at_the_declared_delay() {
        for (head, rate, channels) in [
            ([0xFF, 0xFB, 0x90, 0x64], 44_100, 2),
            ([0xFF, 0xFB, 0x94, 0xC4], 48_000, 1),
            ([0xFF, 0xF3, 0x80, 0x44], 22_050, 2),
            ([0xFF, 0xE3, 0x38, 0xC4], 8_000, 1),
        ] {
            let header = Header::parse(head).unwrap();
            assert_eq!(header.sample_rate(), rate);
            let pcm = tone(rate, channels, 2 * rate as usize);
            let frames = encode(header, bridge_bit_rates(header)[1], &pcm, &[]).unwrap();
            assert_eq!(Xing::parse(Header::of(&frames[0]).unwrap(), &frames[0]), None);
            let decoded = decode(std::slice::from_ref(&frames)).unwrap().remove(0);
            // The best alignment is at the delay, to the sample.
            let error = |shift: usize| -> f64 {
                (rate as usize / 2..rate as usize)
                    .map(|i| f64::from(pcm[i * channels] - decoded[(i + shift) * channels]).powi(2))
                    .sum()
            };
            let delay = LAME_TOTAL_DELAY as usize;
            let best = (delay - 50..delay + 50)
                .min_by(|a, b| error(*a).total_cmp(&error(*b)))
                .unwrap();
            assert_eq!(best, delay, "{rate} Hz");

            for bit_rate in bridge_bit_rates(header) {
                let frames = encode(header, bit_rate, &pcm, &[]).unwrap();
                let decoded = decode(&[frames]).unwrap().remove(0);
                let pairs = (rate as usize / 2..rate as usize).map(|i| {
                    let (a, b) = (pcm[i * channels], decoded[(i + delay) * channels]);
                    (f64::from(a * b), f64::from(a * a))
                });
                let (both, one) = pairs.fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0, sum.1 + pair.1));
                let gain = 20.0 * (both / one).log10();
                assert!(gain.abs() < 0.03, "{gain} dB at {bit_rate} kb/s, {rate} Hz");
            }

            // A clip that begins in the middle decodes to the same samples as soon as the overlap is over.
            let refs: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
            let size = header.samples() as usize * channels;
            let clips: Vec<_> = (5..frames.len() - 6)
                .map(|at| {
                    let mut clip = frames[at - 1..at + 4].to_vec();
                    clip[0] = carrier(header, &reservoir(&refs, at).unwrap()).unwrap();
                    (at, clip)
                })
                .collect();
            let (places, clips): (Vec<_>, Vec<_>) = clips.into_iter().unzip();
            for (at, clip) in places.into_iter().zip(decode(&clips).unwrap()) {
                let whole = &decoded[(at + 2) * size..(at + 4) * size];
                assert_eq!(&clip[3 * size..], whole, "frame {at} at {rate} Hz");
            }
        }
    }
}
