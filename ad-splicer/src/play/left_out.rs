//! What of decoded sound and pictures is neither heard nor seen: what comes before the place that was wanted, and after the end of a stream. What is left has the pipeline's own time, from zero on.
//!
//! Not for: where that place is (the driver), or where streams end (`packets`).

use std::sync::atomic::{AtomicU64, Ordering};

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_audio::{AudioInfo, audio_buffer_clip};

use super::packets::Ends;

/// Cuts off what a decoder gives after the end of a stream.
pub(super) fn leave_out_rest(pad: &gst::Pad, info: &mut gst::PadProbeInfo<'_>, ends: &Ends) {
    let Some(gst::PadProbeData::Buffer(buffer)) = info.data.as_mut() else {
        return;
    };
    let Some(audio) = pad
        .current_caps()
        .and_then(|caps| AudioInfo::from_caps(&caps).ok())
    else {
        return;
    };
    let (frame, rate) = (audio.bpf() as usize, u64::from(audio.rate()));
    let samples = (buffer.size() / frame.max(1)) as u64;
    let lasts = gst::ClockTime::SECOND.mul_div_floor(samples, rate.max(1));
    let Some((start, lasts)) = buffer.pts().zip(lasts) else {
        return;
    };
    let Some(end) = ends.within(start, start + lasts) else {
        return;
    };
    let kept = (end - start).mul_div_round(rate, gst::ClockTime::SECOND.nseconds());
    let kept = kept.map_or(samples, gst::ClockTime::nseconds).min(samples);
    let flags = gst::BufferCopyFlags::MEMORY | gst::BufferCopyFlags::FLAGS | gst::BufferCopyFlags::TIMESTAMPS;
    let Ok(mut part) = buffer.copy_region(flags, 0..kept as usize * frame) else {
        return;
    };
    if let Some(part) = part.get_mut() {
        part.set_duration(end - start);
    }
    *buffer = part;
}

/// Lets the time of what comes into a pad be what is written in it, wherever what the decoder was given begins.
pub(super) fn begin_at_zero(pad: &gst::Pad) {
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| {
        let number = match info.event().map(|event| event.view()) {
            Some(gst::EventView::Segment(segment)) => segment.seqnum(),
            _ => return gst::PadProbeReturn::Ok,
        };
        let mut all = gst::FormattedSegment::<gst::ClockTime>::new();
        all.set_start(gst::ClockTime::ZERO);
        let event = gst::event::Segment::builder(&all).seqnum(number).build();
        info.data = Some(gst::PadProbeData::Event(event));
        gst::PadProbeReturn::Ok
    });
}

/// Of sound that begins before the place which was wanted and ends after it, drops what comes before.
pub(super) fn leave_out_samples(pad: &gst::Pad, info: &mut gst::PadProbeInfo<'_>, lead: &AtomicU64) {
    let lead = gst::ClockTime::from_nseconds(lead.load(Ordering::Acquire));
    let Some(gst::PadProbeData::Buffer(buffer)) = info.data.as_mut() else {
        return;
    };
    let (Some(pts), Some(lasts)) = (buffer.pts(), buffer.duration()) else {
        return;
    };
    if lead <= pts || pts + lasts <= lead {
        return;
    }
    let audio = pad
        .current_caps()
        .and_then(|caps| AudioInfo::from_caps(&caps).ok());
    let mut wanted = gst::FormattedSegment::<gst::ClockTime>::new();
    wanted.set_start(lead);
    if let Some(audio) = audio
        && let Some(part) = audio_buffer_clip(buffer.clone(), wanted.as_ref(), audio.rate(), audio.bpf())
    {
        *buffer = part;
    }
}

/// Drops what comes before the place which was wanted, and lets the time of the rest begin at zero.
pub(super) fn leave_out(info: &mut gst::PadProbeInfo<'_>, lead: &AtomicU64) -> gst::PadProbeReturn {
    let lead = gst::ClockTime::from_nseconds(lead.load(Ordering::Acquire));
    if lead > gst::ClockTime::ZERO
        && let Some(buffer) = info.buffer_mut()
        && let Some(pts) = buffer.pts()
    {
        if pts + buffer.duration().unwrap_or_default() <= lead {
            return gst::PadProbeReturn::Handled;
        }
        buffer.make_mut().set_pts(pts.saturating_sub(lead));
    }
    gst::PadProbeReturn::Ok
}
