//! Coding pictures as H.264 or VP9 that can stand among the content's.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::BridgeError;
use super::task::{Media, Task};
use crate::picture::{H264Profile, PictureCoding, PictureFormat};

/// x264's finest quantizer: nothing is seen to be lost.
const FINEST: u32 = 18;
/// Bits a second, in thousands, that x264 may take for that on average. It has no buffer to keep to beside: then its threads would look at how far the others are, and each run give other bytes.
const MOST_KBITS: u32 = 2048;
/// Quality that libvpx is to keep, and the worst that it may come to.
const VP9_QUALITY: (i32, i32) = (20, 40);
/// How libvpx weighs speed against size: near the fast end, where it is about as fast as x264.
const VP9_SPEED: i32 = 7;
/// Seconds between pictures where decoding can begin.
const KEY_EVERY: u32 = 2;
/// Threads of the encoder: each takes memory, which is bounded.
const THREADS: u32 = 4;

/// The element that codes.
pub(crate) fn encoder_name(coding: PictureCoding) -> &'static str {
    match coding {
        PictureCoding::H264 { .. } => "x264enc",
        PictureCoding::Vp9 => "vp9enc",
    }
}

/// The encoder. Without B-frames and hidden frames every picture is shown when it is decoded.
pub(crate) fn encoder(format: &PictureFormat) -> Result<gst::Element, BridgeError> {
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    let threads = threads.min(THREADS);
    let key_every = KEY_EVERY * format.rate.0.div_ceil(format.rate.1.max(1));
    let element = encoder_name(format.coding);
    let builder = gst::ElementFactory::make(element);
    let builder = match format.coding {
        PictureCoding::H264 { set, .. } => builder
            .property_from_str("speed-preset", "veryfast")
            .property_from_str("pass", "cbr")
            .property("bitrate", MOST_KBITS)
            .property("vbv-buf-capacity", 0_u32)
            .property("qp-min", FINEST)
            .property("bframes", 0_u32)
            .property("key-int-max", key_every)
            .property("threads", threads)
            .property("aud", false)
            .property("byte-stream", false)
            .property("option-string", format!("sps-id={set}:stitchable=1:open-gop=0")),
        PictureCoding::Vp9 => builder
            .property_from_str("end-usage", "cq")
            .property("cq-level", VP9_QUALITY.0)
            .property("max-quantizer", VP9_QUALITY.1)
            .property("target-bitrate", most_bits(format))
            .property("deadline", 1_i64)
            .property("cpu-used", VP9_SPEED)
            .property("lag-in-frames", 0_i32)
            .property("auto-alt-ref", false)
            .property("frame-parallel-decoding", false)
            .property("keyframe-max-dist", key_every as i32)
            .property("threads", threads as i32)
            .property("row-mt", true)
            .property("tile-columns", 2_i32),
    };
    builder
        .build()
        .map_err(|_| BridgeError::MissingElement { element })
}

/// Bits a second that libvpx may take for its quality: half a bit a pixel.
fn most_bits(format: &PictureFormat) -> i32 {
    let pixels = u64::from(format.width) * u64::from(format.height);
    let bits = pixels * u64::from(format.rate.0) / u64::from(format.rate.1.max(1)) / 2;
    bits.clamp(200_000, 100_000_000) as i32
}

/// The caps of what goes in.
pub(crate) fn raw(format: &PictureFormat) -> gst::Caps {
    let fraction = |(a, b): (u32, u32)| gst::Fraction::new(a as i32, b as i32);
    let caps = gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", format.width as i32)
        .field("height", format.height as i32)
        .field("pixel-aspect-ratio", fraction(format.pixel))
        .field("framerate", fraction(format.rate))
        .field("colorimetry", format.colour.colorimetry(format.full_range))
        .field("interlace-mode", "progressive");
    match format.coding {
        // x264 tells it, so that there would be as many parameter sets as there are sites.
        PictureCoding::H264 { .. } => caps.field("chroma-site", "mpeg2").build(),
        PictureCoding::Vp9 => caps.build(),
    }
}

/// The caps of what comes out of it.
pub(crate) fn coded(format: &PictureFormat) -> gst::Caps {
    match format.coding {
        PictureCoding::H264 { profile, .. } => h264(profile),
        PictureCoding::Vp9 => gst::Caps::builder("video/x-vp9").field("profile", "0").build(),
    }
}

fn h264(profile: H264Profile) -> gst::Caps {
    gst::Caps::builder("video/x-h264")
        .field("stream-format", "avc")
        .field("alignment", "au")
        .field("profile", profile.name())
        .build()
}

/// What stands before the pictures that come out: of H.264 the parameter sets, as in MP4.
pub(crate) fn head(format: &PictureFormat, coded: Option<&gst::CapsRef>) -> Option<Vec<u8>> {
    if format.coding == PictureCoding::Vp9 {
        return None;
    }
    let codec_data = coded?.structure(0)?.get::<gst::Buffer>("codec_data").ok()?;
    let map = codec_data.map_readable().ok()?;
    Some(map.to_vec())
}

/// Codes one picture of three planes (I420) `count` times, so many in so many seconds (the parameter sets still tell the content's rate, as those of all ads do), as [`crate::picture::Picture::parse`] reads it.
pub(crate) fn encode_still(
    format: &PictureFormat,
    rate: (u32, u32),
    planes: &[u8],
    count: usize,
) -> Result<Vec<u8>, BridgeError> {
    let format = *format;
    let task = Task::Still { format, rate, count };
    let made = task.done(Media::Packets(vec![planes.into()]))?;
    Ok(made.into_packets()?.concat())
}

/// The same in this process.
pub(super) fn encode_still_here(
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
    written(format, &units, caps.as_deref())
}

/// Pictures with what stands before them.
fn written(
    format: &PictureFormat,
    units: &[Vec<u8>],
    caps: Option<&gst::CapsRef>,
) -> Result<Vec<u8>, BridgeError> {
    let head = head(format, caps);
    if head.is_none() && format.coding != PictureCoding::Vp9 {
        return Err(BridgeError::WrongStream("no parameter sets".into()));
    }
    let mut out = Vec::new();
    for part in head.iter().chain(units) {
        out.extend((part.len() as u32).to_be_bytes());
        out.extend(part);
    }
    Ok(out)
}

/// The caps of the content's samples, and what decodes them. `config` is the decoder configuration of H.264.
fn decoder(format: &PictureFormat, config: &[u8]) -> Result<(gst::Caps, gst::Element), BridgeError> {
    let fraction = |(a, b): (u32, u32)| gst::Fraction::new(a as i32, b as i32);
    let (caps, decoder) = match format.coding {
        PictureCoding::H264 { .. } => (
            gst::Caps::builder("video/x-h264")
                .field("stream-format", "avc")
                .field("alignment", "au")
                .field("codec_data", gst::Buffer::from_slice(config.to_vec())),
            super::element("avdec_h264")?,
        ),
        PictureCoding::Vp9 => (
            gst::Caps::builder("video/x-vp9")
                .field("profile", "0")
                .field("alignment", "super-frame"),
            super::element("vp9dec")?,
        ),
    };
    let caps = caps
        .field("width", format.width as i32)
        .field("height", format.height as i32)
        .field("pixel-aspect-ratio", fraction(format.pixel))
        .field("framerate", fraction(format.rate));
    Ok((caps.build(), decoder))
}

/// Decodes samples, each with when it is shown (in nanoseconds), and codes those pictures again that have these ranks in the order of showing.
pub(crate) fn recode(
    format: &PictureFormat,
    config: &[u8],
    samples: &[(Vec<u8>, u64)],
    ranks: Range<usize>,
) -> Result<Vec<u8>, BridgeError> {
    let task = Task::Recode {
        format: *format,
        shown: samples.iter().map(|(_, shown)| *shown).collect(),
        ranks,
    };
    let samples = samples.iter().map(|(sample, _)| sample.into());
    let made = task.done(Media::Packets(
        std::iter::once(config.into()).chain(samples).collect(),
    ))?;
    Ok(made.into_packets()?.concat())
}

/// Has a decoder tell the shape of pixels that the file tells: square ones, where its pictures say otherwise themselves, it would not heed.
fn tell_aspect(pad: &gst::Pad, format: &PictureFormat) {
    let pixel = gst::Fraction::new(format.pixel.0 as i32, format.pixel.1 as i32);
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(event) = info.event_mut()
            && let gst::EventView::Caps(told) = event.view()
        {
            let mut caps = told.caps_owned();
            caps.make_mut().set("pixel-aspect-ratio", pixel);
            *event = gst::event::Caps::new(&caps);
        }
        gst::PadProbeReturn::Ok
    });
}

/// The same in this process, of the configuration and what follows it.
pub(super) fn recode_here(
    format: &PictureFormat,
    packets: Vec<Vec<u8>>,
    shown: &[u64],
    ranks: Range<usize>,
) -> Result<Vec<u8>, BridgeError> {
    const DOING: &str = "coding pictures of the content again";
    super::init(DOING)?;
    let mut packets = packets.into_iter();
    let (caps, decoder) = decoder(format, &packets.next().unwrap_or_default())?;
    let convert = super::element("videoconvert")?;
    let filter = super::element("capsfilter")?;
    filter.set_property("caps", raw(format));
    let decoded = AtomicUsize::new(0);
    if let Some(pad) = decoder.static_pad("src") {
        tell_aspect(&pad, format);
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            if ranks.contains(&decoded.fetch_add(1, Ordering::Relaxed)) {
                gst::PadProbeReturn::Ok
            } else {
                gst::PadProbeReturn::Drop
            }
        });
    }
    let input = packets.zip(shown).map(|(sample, shown)| {
        let mut buffer = gst::Buffer::from_mut_slice(sample);
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(gst::ClockTime::from_nseconds(*shown));
        }
        buffer
    });
    let chain = [decoder, convert, filter, encoder(format)?];
    let (units, caps) = super::run_with_caps(DOING, &caps, &chain, Some(&coded(format)), input)?;
    written(format, &units, caps.as_deref())
}
