//! Decoding and encoding short runs of frames with GStreamer, sample for sample: a file for each coding. MP3 is coded in this process, what needs larger libraries in one of its own ([`in_children_of`]).
//!
//! Both directions are whole: all input is given, all output is collected. A decoder must give exactly as many samples as the frames hold; anything else is an error, never a silent shift.
//! Pipelines have no threads of ours: the bus is watched from here, and the pipeline is set to NULL on every way out.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use crate::splice::SpliceError;
use crate::time::ContentTime;

pub(crate) mod aac;
mod apart;
mod child;
mod kept;
pub(crate) mod mp3;
pub(crate) mod opus;
pub(crate) mod pictures;
mod task;
mod turns;
pub(crate) mod vorbis;
mod wire;

pub(crate) use apart::MARK;
pub use apart::{get_ready, in_children_of};
pub(crate) use child::main as child_main;
pub use kept::keep_in;
pub(crate) use kept::or_found;

/// How long a run through a pipeline may go without giving anything.
const STALL: Duration = Duration::from_secs(60);
/// Bytes that are given before the first of them are taken: what is made waits as samples until it is wanted.
const MOST_WAITING: u64 = 1 << 20;
/// Samples in a buffer given to an encoder.
pub(crate) const ENCODE_CHUNK: usize = 16 * 1152;

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
    #[error("the encoder gave a packet of more than {most} bytes")]
    TooLarge { most: usize },
    #[error("the encoder gave something else than was asked for: {0}")]
    WrongStream(String),
    #[error("cannot start the process that codes: {0}")]
    Child(#[source] std::io::Error),
    #[error("the process that codes was stopped: {0}")]
    Crashed(String),
    #[error("the process that codes was not done after a long time")]
    Late,
    #[error("{0}")]
    Said(String),
}

impl BridgeError {
    /// Whether it is nothing that follows from what was to be decoded or encoded: where it happened, it may do otherwise next time.
    pub(crate) fn is_process(&self) -> bool {
        matches!(
            self,
            Self::Stalled { .. } | Self::Child(_) | Self::Crashed(_) | Self::Late
        )
    }

    /// The same, of this break.
    pub(crate) fn at(&self, break_index: usize) -> SpliceError {
        self.of_process(break_index)
            .unwrap_or_else(|| SpliceError::Bridge {
                break_index,
                reason: self.to_string(),
            })
    }

    /// The same, of this break, when it is [nothing that follows from what was given](Self::is_process).
    pub(crate) fn of_process(&self, break_index: usize) -> Option<SpliceError> {
        self.is_process().then(|| SpliceError::Process {
            break_index,
            reason: self.to_string(),
        })
    }
}

/// Sets the pipeline to NULL when it goes out of scope, unless it stands still: that would wait for its threads.
struct Running {
    pipeline: gst::Pipeline,
    stands_still: Cell<bool>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.stands_still.get() {
            std::mem::forget(self.pipeline.clone());
            return;
        }
        // Going to NULL cannot fail in a way that could be acted on here.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn element(name: &'static str) -> Result<gst::Element, BridgeError> {
    gst::ElementFactory::make(name)
        .build()
        .map_err(|_| BridgeError::MissingElement { element: name })
}

/// Pushes `input` through `elements` and collects the buffers that come out.
fn run(
    doing: &'static str,
    caps: &gst::Caps,
    elements: &[gst::Element],
    out_caps: Option<&gst::Caps>,
    input: impl Iterator<Item = gst::Buffer>,
) -> Result<Vec<Vec<u8>>, BridgeError> {
    run_with_caps(doing, caps, elements, out_caps, input).map(|(buffers, _)| buffers)
}

/// The same, with the caps of what came out last.
fn run_with_caps(
    doing: &'static str,
    caps: &gst::Caps,
    elements: &[gst::Element],
    out_caps: Option<&gst::Caps>,
    input: impl Iterator<Item = gst::Buffer>,
) -> Result<(Vec<Vec<u8>>, Option<gst::Caps>), BridgeError> {
    run_within(doing, usize::MAX, caps, elements, out_caps, input)
}

/// The same, given up as soon as a buffer is larger than `most` bytes.
fn run_within(
    doing: &'static str,
    most: usize,
    caps: &gst::Caps,
    elements: &[gst::Element],
    out_caps: Option<&gst::Caps>,
    input: impl Iterator<Item = gst::Buffer>,
) -> Result<(Vec<Vec<u8>>, Option<gst::Caps>), BridgeError> {
    let failed = |reason: String| BridgeError::Pipeline { doing, reason };
    // Without limits, so that a push never blocks.
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
    let is_too_large = Arc::new(AtomicBool::new(false));
    let was_too_large = Arc::clone(&is_too_large);
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let buffer = sample.buffer().ok_or(gst::FlowError::Error)?;
                let map = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
                was_too_large.fetch_or(map.len() > most, Ordering::Relaxed);
                into.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(map.to_vec());
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
    let running = Running {
        pipeline: gst::Pipeline::new(),
        stands_still: Cell::new(false),
    };
    let pipeline = &running.pipeline;
    let chain: Vec<&gst::Element> = std::iter::once(source.upcast_ref())
        .chain(elements)
        .chain([sink.upcast_ref()])
        .collect();
    pipeline
        .add_many(chain.iter().copied())
        .map_err(|error| failed(error.to_string()))?;
    gst::Element::link_many(chain.iter().copied()).map_err(|error| failed(error.to_string()))?;
    let bus = pipeline
        .bus()
        .ok_or_else(|| failed("the pipeline has no bus".into()))?;
    pipeline
        .set_state(gst::State::Playing)
        .map_err(|error| failed(error.to_string()))?;
    let mut progress = (0, Instant::now());
    // Waits for a message; whether it is the end.
    let mut ended_within = |time| {
        if is_too_large.load(Ordering::Relaxed) {
            return Err(BridgeError::TooLarge { most });
        }
        let message = bus.timed_pop_filtered(time, &[gst::MessageType::Eos, gst::MessageType::Error]);
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Error(error)) => return Err(failed(error.error().to_string())),
            Some(_) => return Ok(true),
            None => {}
        }
        let len = collected.lock().unwrap_or_else(PoisonError::into_inner).len();
        if len != progress.0 {
            progress = (len, Instant::now());
        } else if progress.1.elapsed() > STALL {
            running.stands_still.set(true);
            return Err(BridgeError::Stalled { doing });
        }
        Ok(false)
    };
    for buffer in input {
        if is_too_large.load(Ordering::Relaxed) {
            break;
        }
        // Not by a push that blocks: after an error downstream it would for ever.
        while source.current_level_bytes() > MOST_WAITING {
            ended_within(gst::ClockTime::from_mseconds(1))?;
        }
        // After an error downstream a push is refused; the bus says why.
        if source.push_buffer(buffer).is_err() {
            break;
        }
    }
    let _ = source.end_of_stream();
    while !ended_within(gst::ClockTime::from_seconds(1))? {}
    if is_too_large.load(Ordering::Relaxed) {
        return Err(BridgeError::TooLarge { most });
    }
    let caps = sink.static_pad("sink").and_then(|pad| pad.current_caps());
    drop(running);
    let buffers = std::mem::take(&mut *collected.lock().unwrap_or_else(PoisonError::into_inner));
    Ok((buffers, caps))
}

fn init(doing: &'static str) -> Result<(), BridgeError> {
    gst::init().map_err(|error| BridgeError::Pipeline {
        doing,
        reason: error.to_string(),
    })
}

/// Interleaved samples, as many for each clip as it has `frames` of `size` samples.
fn split_clips(
    buffers: &[Vec<u8>],
    frames: impl Iterator<Item = usize> + Clone,
    size: usize,
    channels: usize,
) -> Result<Vec<Vec<f32>>, BridgeError> {
    let expected = frames.clone().sum::<usize>() * size;
    let got = buffers.iter().map(Vec::len).sum::<usize>() / 4 / channels;
    if got != expected {
        return Err(BridgeError::WrongLength { got, expected });
    }
    let mut buffers = buffers.iter().map(Vec::as_slice);
    let mut rest: &[u8] = &[];
    let clips = frames.map(|count| {
        let wanted = count * size * channels;
        let mut clip = Vec::with_capacity(wanted);
        while clip.len() < wanted {
            if rest.is_empty() {
                let Some(next) = buffers.next() else { break };
                rest = next;
            }
            let (now, later) = rest.split_at(rest.len().min((wanted - clip.len()) * 4));
            clip.extend(now.as_chunks().0.iter().copied().map(f32::from_le_bytes));
            rest = later;
        }
        clip
    });
    Ok(clips.collect())
}

/// A buffer that stands at this sample.
fn stamped(bytes: Vec<u8>, sample: u64, count: u64, rate: u32) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice(bytes);
    if let Some(buffer) = buffer.get_mut() {
        let at = |sample| gst::ClockTime::from_nseconds(ContentTime::from_samples(sample, rate).as_nanos());
        buffer.set_pts(at(sample));
        buffer.set_duration(at(sample + count) - at(sample));
    }
    buffer
}

/// The caps of interleaved samples.
fn raw_caps(format: &str, rate: u32, channels: usize) -> gst::Caps {
    let mut caps = gst::Caps::builder("audio/x-raw")
        .field("format", format)
        .field("layout", "interleaved")
        .field("rate", rate as i32)
        .field("channels", channels as i32);
    if channels == 2 {
        caps = caps.field("channel-mask", gst::Bitmask::new(3));
    }
    caps.build()
}

/// Buffers of samples for an encoder, the first of which has this number.
fn floats(pcm: &[f32], rate: u32, channels: usize, first: usize) -> impl Iterator<Item = gst::Buffer> + '_ {
    floats_of(ENCODE_CHUNK, pcm, rate, channels, first)
}

/// The same, each of so many samples.
fn floats_of(
    size: usize,
    pcm: &[f32],
    rate: u32,
    channels: usize,
    first: usize,
) -> impl Iterator<Item = gst::Buffer> + '_ {
    pcm.chunks(size * channels).enumerate().map(move |(i, chunk)| {
        let bytes: Vec<u8> = chunk.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let count = (chunk.len() / channels) as u64;
        stamped(bytes, (first + i * size) as u64, count, rate)
    })
}
