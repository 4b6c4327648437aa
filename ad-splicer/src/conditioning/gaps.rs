//! Where a creative's sound stops for a while: packets are missing, or times leap. Silence takes the place of what is missing, so that what
//! follows stays with the pictures.
//!
//! Times are running times, which count on over segments. What goes back, or leaps further than anybody would pause, is another clock: from
//! there on that one counts. Not seen here: empty time in the middle of an edit list (of AAC see [`super::pauses`]; of other sound in MP4 it is not heard).

use std::sync::{Mutex, PoisonError};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::decoded::{change, lasting, silence};

/// Nobody sees that sound is so much early or late; times that are rounded, or a recorder's, are off by less.
const JITTER: gst::ClockTime = gst::ClockTime::from_mseconds(40);
/// Longest pause that is believed.
const LONGEST: gst::ClockTime = gst::ClockTime::from_seconds(30);

/// Puts silence where it is due into the decoded, interleaved audio that goes into `pad`.
pub(super) fn fill(pad: &gst::Pad) {
    let due = Mutex::new(None::<gst::ClockTime>);
    change(pad, move |pad, audio, buffer| {
        let frame = u64::from(audio.bpf());
        let own = lasting(audio, buffer.size() as u64 / frame).unwrap_or_default();
        let mut due = due.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(time) = running(pad, buffer) else {
            // It follows what was before it.
            *due = due.map(|due| due + own);
            return;
        };
        let gap = due.and_then(|due| time.checked_sub(due)).unwrap_or_default();
        if (JITTER..=LONGEST).contains(&gap) {
            let frames = u128::from(gap.nseconds()) * u128::from(audio.rate()) / 1_000_000_000;
            let mut longer = silence(audio, frames as u64);
            if let Some(longer) = longer.get_mut() {
                longer.set_pts(buffer.pts().map(|pts| pts.saturating_sub(gap)));
            }
            longer.append(buffer.clone());
            *buffer = longer;
        } else if due.is_some_and(|due| time.absdiff(due) < JITTER) {
            // Small differences must not be forgotten: they may add up.
            *due = due.map(|due| due + own);
            return;
        }
        *due = Some(time + own);
    });
}

/// When a buffer is heard.
fn running(pad: &gst::Pad, buffer: &gst::Buffer) -> Option<gst::ClockTime> {
    let told = pad.sticky_event::<gst::event::Segment>(0)?;
    let segment = told.segment().downcast_ref::<gst::ClockTime>()?;
    segment.to_running_time(buffer.pts()?)
}
