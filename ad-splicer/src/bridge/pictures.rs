//! Coding pictures as H.264 that can stand among the content's.

use std::sync::atomic::{AtomicUsize, Ordering};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::BridgeError;
use crate::picture::{Colour, PictureFormat};

/// Quality that x264 is to keep, whatever bits it takes: nothing is seen to be lost.
const QUALITY: u32 = 20;
/// Seconds between pictures where decoding can begin.
const KEY_EVERY: u32 = 2;
/// Threads of the encoder: each takes memory, which is bounded.
const THREADS: u32 = 4;

/// The encoder. Without B-frames every picture is shown when it is decoded.
pub(crate) fn encoder(format: &PictureFormat) -> Result<gst::Element, BridgeError> {
    let rate = format.rate.0.div_ceil(format.rate.1.max(1));
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    let builder = gst::ElementFactory::make("x264enc")
        .property_from_str("speed-preset", "veryfast")
        .property_from_str("pass", "qual")
        .property("quantizer", QUALITY)
        .property("bframes", 0_u32)
        .property("key-int-max", KEY_EVERY * rate)
        .property("threads", threads.min(THREADS))
        .property("aud", false)
        .property("byte-stream", false)
        .property(
            "option-string",
            format!("sps-id={}:stitchable=1:open-gop=0", format.set),
        );
    builder
        .build()
        .map_err(|_| BridgeError::MissingElement { element: "x264enc" })
}

/// The caps of what goes in.
pub(crate) fn raw(format: &PictureFormat) -> gst::Caps {
    let fraction = |(a, b): (u32, u32)| gst::Fraction::new(a as i32, b as i32);
    let colorimetry = match (format.colour, format.full_range) {
        (Colour::Bt709, false) => "bt709",
        (Colour::Bt601, false) => "bt601",
        // Range, matrix, transfer and primaries by GStreamer's numbers.
        (Colour::Bt709, true) => "1:3:5:1",
        (Colour::Bt601, true) => "1:4:16:4",
    };
    gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", format.width as i32)
        .field("height", format.height as i32)
        .field("pixel-aspect-ratio", fraction(format.pixel))
        .field("framerate", fraction(format.rate))
        .field("colorimetry", colorimetry)
        .field("interlace-mode", "progressive")
        .build()
}

/// The caps of what comes out of it.
pub(crate) fn coded(format: &PictureFormat) -> gst::Caps {
    gst::Caps::builder("video/x-h264")
        .field("stream-format", "avc")
        .field("alignment", "au")
        .field("profile", format.profile.name())
        .build()
}

/// The parameter sets of what comes out, as in MP4.
pub(crate) fn sets(coded: &gst::CapsRef) -> Option<Vec<u8>> {
    let codec_data = coded.structure(0)?.get::<gst::Buffer>("codec_data").ok()?;
    let map = codec_data.map_readable().ok()?;
    Some(map.to_vec())
}

/// Codes one picture of three planes (I420) `count` times, so many in so many seconds (the parameter sets still tell the content's rate, as those of all ads do), as [`crate::picture::Picture::parse`] reads it.
pub(crate) fn encode_still(
    format: &PictureFormat,
    rate: (u32, u32),
    planes: Vec<u8>,
    count: usize,
) -> Result<Vec<u8>, BridgeError> {
    const DOING: &str = "coding pictures";
    super::init(DOING)?;
    let picture = gst::Buffer::from_slice(planes);
    let stamped = std::iter::repeat_n(picture, count)
        .enumerate()
        .map(|(i, mut buffer)| {
            let at = |i: u64| gst::ClockTime::SECOND.mul_div_floor(i * u64::from(rate.1), rate.0.into());
            let i = i as u64;
            if let Some(buffer) = buffer.get_mut() {
                buffer.set_pts(at(i));
                buffer.set_duration(at(i + 1).zip(at(i)).map(|(end, start)| end - start));
            }
            buffer
        });
    let (units, caps) = super::run_with_caps(
        DOING,
        &raw(format),
        &[encoder(format)?],
        Some(&coded(format)),
        stamped,
    )?;
    written(&units, caps.as_deref())
}

/// Access units with the parameter sets before them.
fn written(units: &[Vec<u8>], caps: Option<&gst::CapsRef>) -> Result<Vec<u8>, BridgeError> {
    let sets = caps
        .and_then(sets)
        .ok_or_else(|| BridgeError::WrongStream("no parameter sets".into()))?;
    let mut out = Vec::new();
    for part in std::iter::once(&sets).chain(units) {
        out.extend((part.len() as u32).to_be_bytes());
        out.extend(part);
    }
    Ok(out)
}

/// Decodes samples, each with when it is shown (in nanoseconds), and codes those pictures again that have these ranks in the order of showing.
pub(crate) fn recode(
    format: &PictureFormat,
    config: &[u8],
    samples: Vec<(Vec<u8>, u64)>,
    ranks: std::ops::Range<usize>,
) -> Result<Vec<u8>, BridgeError> {
    const DOING: &str = "coding pictures of the content again";
    super::init(DOING)?;
    let fraction = |(a, b): (u32, u32)| gst::Fraction::new(a as i32, b as i32);
    let caps = gst::Caps::builder("video/x-h264")
        .field("stream-format", "avc")
        .field("alignment", "au")
        .field("codec_data", gst::Buffer::from_slice(config.to_vec()))
        .field("width", format.width as i32)
        .field("height", format.height as i32)
        .field("pixel-aspect-ratio", fraction(format.pixel))
        .field("framerate", fraction(format.rate))
        .build();
    let decoder = super::element("avdec_h264")?;
    let convert = super::element("videoconvert")?;
    let filter = super::element("capsfilter")?;
    filter.set_property("caps", raw(format));
    let decoded = AtomicUsize::new(0);
    if let Some(pad) = decoder.static_pad("src") {
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            if ranks.contains(&decoded.fetch_add(1, Ordering::Relaxed)) {
                gst::PadProbeReturn::Ok
            } else {
                gst::PadProbeReturn::Drop
            }
        });
    }
    let input = samples.into_iter().map(|(sample, shown)| {
        let mut buffer = gst::Buffer::from_mut_slice(sample);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::from_nseconds(shown));
        }
        buffer
    });
    let chain = [decoder, convert, filter, encoder(format)?];
    let (units, caps) = super::run_with_caps(DOING, &caps, &chain, Some(&coded(format)), input)?;
    written(&units, caps.as_deref())
}
