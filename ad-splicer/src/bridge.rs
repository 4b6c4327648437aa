//! Decoding and encoding short runs of MP3 frames with GStreamer, sample for sample.
//!
//! Both directions are whole: all input is given, all output is collected. The decoder is fed frames of which the first stands alone (see [`crate::frames::mp3::carrier`]), so that it has no
//! reservoir to miss, and must give exactly as many samples as the frames hold; anything else is an error, never a silent shift. The encoder writes no information frame.
//! Pipelines have no threads of ours: the bus is watched from here, and the pipeline is set to NULL on every way out.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use crate::frames::mp3::{Header, Version};

/// How long a run through a pipeline may go without giving anything.
const STALL: Duration = Duration::from_secs(60);
/// Samples in a buffer given to the encoder.
const ENCODE_CHUNK: usize = 16 * 1152;

/// Why a pipeline did not give what it should.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BridgeError {
    #[error("GStreamer has no element `{element}`")]
    MissingElement { element: &'static str },
    #[error("GStreamer failed while {doing}: {reason}")]
    Pipeline { doing: &'static str, reason: String },
    #[error("GStreamer gave nothing for {} s while {doing}", STALL.as_secs())]
    Stalled { doing: &'static str },
    #[error("the decoder gave {got} samples where {expected} were due")]
    WrongLength { got: usize, expected: usize },
    #[error("the encoder gave something else than was asked for: {0}")]
    WrongStream(String),
}

/// Sets the pipeline to NULL when it goes out of scope.
struct Running(gst::Pipeline);

impl Drop for Running {
    fn drop(&mut self) {
        // Going to NULL cannot fail in a way that could be acted on here.
        let _ = self.0.set_state(gst::State::Null);
    }
}

fn element(name: &'static str) -> Result<gst::Element, BridgeError> {
    gst::ElementFactory::make(name)
        .build()
        .map_err(|_| BridgeError::MissingElement { element: name })
}

/// Pushes `input` through `elements` and collects what comes out.
fn run(
    doing: &'static str,
    caps: &gst::Caps,
    elements: &[gst::Element],
    out_caps: Option<&gst::Caps>,
    input: impl Iterator<Item = gst::Buffer>,
) -> Result<Vec<u8>, BridgeError> {
    let failed = |reason: String| BridgeError::Pipeline { doing, reason };
    // Without limits, so that a push never blocks: the caller's input is bounded.
    let source = gst_app::AppSrc::builder()
        .caps(caps)
        .format(gst::Format::Time)
        .max_bytes(0)
        .block(false)
        .build();
    let sink = gst_app::AppSink::builder().sync(false).build();
    sink.set_caps(out_caps);
    let collected = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&collected);
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let buffer = sample.buffer().ok_or(gst::FlowError::Error)?;
                let map = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
                into.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(&map);
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
    let pipeline = Running(gst::Pipeline::new());
    let chain: Vec<&gst::Element> = std::iter::once(source.upcast_ref())
        .chain(elements)
        .chain([sink.upcast_ref()])
        .collect();
    pipeline
        .0
        .add_many(chain.iter().copied())
        .map_err(|error| failed(error.to_string()))?;
    gst::Element::link_many(chain.iter().copied()).map_err(|error| failed(error.to_string()))?;
    let bus = pipeline
        .0
        .bus()
        .ok_or_else(|| failed("the pipeline has no bus".into()))?;
    pipeline
        .0
        .set_state(gst::State::Playing)
        .map_err(|error| failed(error.to_string()))?;
    for buffer in input {
        // After an error downstream a push is refused; the bus says why.
        if source.push_buffer(buffer).is_err() {
            break;
        }
    }
    let _ = source.end_of_stream();
    let mut progress = (0, Instant::now());
    loop {
        let message = bus.timed_pop_filtered(
            gst::ClockTime::from_seconds(1),
            &[gst::MessageType::Eos, gst::MessageType::Error],
        );
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => return Err(failed(error.error().to_string())),
            Some(_) => break,
            None => {
                let len = collected.lock().unwrap_or_else(PoisonError::into_inner).len();
                if len != progress.0 {
                    progress = (len, Instant::now());
                } else if progress.1.elapsed() > STALL {
                    return Err(BridgeError::Stalled { doing });
                }
            }
        }
    }
    drop(pipeline);
    Ok(std::mem::take(
        &mut *collected.lock().unwrap_or_else(PoisonError::into_inner),
    ))
}

fn init(doing: &'static str) -> Result<(), BridgeError> {
    gst::init().map_err(|error| BridgeError::Pipeline {
        doing,
        reason: error.to_string(),
    })
}

/// Decodes clips, each a run of frames of one stream whose first frame stands alone. Gives for each clip its interleaved samples, as many as its frames hold. The first
/// 1056 samples of a clip are touched by what was decoded before it.
pub(crate) fn decode(clips: &[Vec<Vec<u8>>]) -> Result<Vec<Vec<f32>>, BridgeError> {
    const DOING: &str = "decoding";
    let Some(header) = clips
        .iter()
        .flatten()
        .next()
        .and_then(|frame| Header::of(frame).ok())
    else {
        return Ok(clips.iter().map(|_| Vec::new()).collect());
    };
    init(DOING)?;
    let (rate, channels) = (header.sample_rate(), usize::from(header.channels()));
    let caps = gst::Caps::builder("audio/mpeg")
        .field("mpegversion", 1)
        .field(
            "mpegaudioversion",
            match header.version() {
                Version::V1 => 1,
                Version::V2 => 2,
                Version::V25 => 3,
            },
        )
        .field("layer", 3)
        .field("parsed", true)
        .field("rate", rate as i32)
        .field("channels", channels as i32)
        .build();
    let out = gst::Caps::builder("audio/x-raw")
        .field("format", "F32LE")
        .field("layout", "interleaved")
        .field("rate", rate as i32)
        .field("channels", channels as i32)
        .build();
    let elements = [element("avdec_mp3float")?, element("audioconvert")?];
    let samples = u64::from(header.samples());
    let input = clips.iter().flatten().enumerate().map(|(i, frame)| {
        let mut buffer = gst::Buffer::from_slice(frame.clone());
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::from_nseconds(
                crate::time::ContentTime::from_samples(i as u64 * samples, rate).as_nanos(),
            ));
        }
        buffer
    });
    let bytes = run(DOING, &caps, &elements, Some(&out), input)?;
    let mut all = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let expected = clips.iter().map(Vec::len).sum::<usize>() * samples as usize;
    let got = bytes.len() / 4 / channels;
    if got != expected {
        return Err(BridgeError::WrongLength { got, expected });
    }
    Ok(clips
        .iter()
        .map(|clip| {
            all.by_ref()
                .take(clip.len() * samples as usize * channels)
                .collect()
        })
        .collect())
}

/// The bit rates to try for bridges, in kb/s, best first: high, but below the highest, so that a frame can still be repacked. When the bit reservoir is so full that none can, the next one is taken.
pub(crate) fn bridge_bit_rates(header: Header) -> [u32; 4] {
    match (header.version(), header.channels()) {
        (Version::V1, 2) => [256, 192, 160, 128],
        (Version::V1, _) => [192, 128, 96, 64],
        (Version::V2, 2) => [128, 96, 80, 64],
        (Version::V2, _) => [96, 64, 48, 32],
        // LAME goes no higher than 64 there.
        (Version::V25, 2) => [56, 48, 40, 32],
        (Version::V25, _) => [40, 32, 24, 16],
    }
}

/// Encodes interleaved samples at `bit_rate` kb/s into frames of the stream that `header` belongs to. Decoded sample n + 1105 of the result is input sample n. `pcm` is followed by enough silence that all of it comes out.
pub(crate) fn encode(header: Header, bit_rate: u32, pcm: &[f32]) -> Result<Vec<Vec<u8>>, BridgeError> {
    const DOING: &str = "encoding";
    init(DOING)?;
    let (rate, channels) = (header.sample_rate(), usize::from(header.channels()));
    let mut caps = gst::Caps::builder("audio/x-raw")
        .field("format", "S16LE")
        .field("layout", "interleaved")
        .field("rate", rate as i32)
        .field("channels", channels as i32);
    if channels == 2 {
        caps = caps.field("channel-mask", gst::Bitmask::new(3));
    }
    let encoder = gst::ElementFactory::make("lamemp3enc")
        .property_from_str("target", "bitrate")
        .property("bitrate", bit_rate as i32)
        .property("cbr", true)
        .property_from_str("encoding-engine-quality", "high")
        .build()
        .map_err(|_| BridgeError::MissingElement {
            element: "lamemp3enc",
        })?;
    let silence = vec![0.0; 4 * header.samples() as usize * channels];
    let quantized: Vec<i16> = pcm
        .iter()
        .chain(&silence)
        .map(|sample| (sample.clamp(-1.0, 1.0) * 32767.0).round() as i16)
        .collect();
    let input = quantized
        .chunks(ENCODE_CHUNK * channels)
        .enumerate()
        .map(|(i, chunk)| {
            let bytes: Vec<u8> = chunk.iter().flat_map(|sample| sample.to_le_bytes()).collect();
            let mut buffer = gst::Buffer::from_slice(bytes);
            if let Some(buffer) = buffer.get_mut() {
                let at =
                    |sample: usize| crate::time::ContentTime::from_samples(sample as u64, rate).as_nanos();
                let start = at(i * ENCODE_CHUNK);
                buffer.set_pts(gst::ClockTime::from_nseconds(start));
                buffer.set_duration(gst::ClockTime::from_nseconds(
                    at(i * ENCODE_CHUNK + chunk.len() / channels) - start,
                ));
            }
            buffer
        });
    let bytes = run(DOING, &caps.build(), &[encoder], None, input)?;
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
    use super::*;
    use crate::frames::mp3::{LAME_TOTAL_DELAY, Xing, carrier, reservoir};

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
            let frames = encode(header, bridge_bit_rates(header)[1], &pcm).unwrap();
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
