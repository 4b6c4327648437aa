//! How far the sound came that reached the output: nothing after that was heard, whatever a clock says.
//!
//! Not for: when it is heard; the output's position tells that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gstreamer as gst;
use gstreamer::prelude::*;

/// The end of what came through a pad since the last seek, in nanoseconds of the pipeline's time.
#[derive(Clone, Debug, Default)]
pub(super) struct Reached(Arc<AtomicU64>);

impl Reached {
    /// Watches a pad.
    pub(super) fn at(pad: &gst::Pad) -> Self {
        let reached = Self::default();
        let end = reached.clone();
        let what = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_FLUSH;
        pad.add_probe(what, move |pad, info| {
            if let Some(until) = info.buffer().and_then(|buffer| stream_end(pad, buffer)) {
                end.0.fetch_max(until.nseconds(), Ordering::AcqRel);
            } else if info
                .event()
                .is_some_and(|event| event.type_() == gst::EventType::FlushStop)
            {
                end.forget();
            }
            gst::PadProbeReturn::Ok
        });
        reached
    }

    /// What comes next is from another place.
    pub(super) fn forget(&self) {
        self.0.store(0, Ordering::Release);
    }

    pub(super) fn end(&self) -> gst::ClockTime {
        gst::ClockTime::from_nseconds(self.0.load(Ordering::Acquire))
    }
}

/// Where what is in a buffer ends, in the time that the sink tells too.
fn stream_end(pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<gst::ClockTime> {
    let end = buffer.pts()? + buffer.duration().unwrap_or_default();
    let event = pad.sticky_event::<gst::event::Segment>(0)?;
    let segment = event.segment().downcast_ref::<gst::ClockTime>()?;
    segment.to_stream_time(segment.stop().map_or(end, |stop| end.min(stop)))
}
