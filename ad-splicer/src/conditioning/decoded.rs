//! Decoded sound on its way into a pad, buffer by buffer, for those that put silence into it.
//!
//! Not for: where silence is due ([`super::gaps`], [`super::pauses`]).

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_audio::AudioInfo;

/// Has each buffer of the interleaved audio that goes into `pad` changed.
pub(super) fn change(
    pad: &gst::Pad,
    change: impl Fn(&gst::Pad, &AudioInfo, &mut gst::Buffer) + Send + Sync + 'static,
) {
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let audio = pad
            .current_caps()
            .and_then(|caps| AudioInfo::from_caps(&caps).ok());
        if let (Some(audio), Some(gst::PadProbeData::Buffer(buffer))) = (audio, info.data.as_mut()) {
            change(pad, &audio, buffer);
        }
        gst::PadProbeReturn::Ok
    });
}

/// So many frames of silence.
pub(super) fn silence(audio: &AudioInfo, frames: u64) -> gst::Buffer {
    let mut silence = vec![0; frames as usize * audio.bpf() as usize];
    audio.format_info().fill_silence(&mut silence);
    gst::Buffer::from_mut_slice(silence)
}

/// How long so many frames are.
pub(super) fn lasting(audio: &AudioInfo, frames: u64) -> Option<gst::ClockTime> {
    gst::ClockTime::SECOND.mul_div_floor(frames, audio.rate().into())
}
