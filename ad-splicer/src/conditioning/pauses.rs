//! Silence that an edit list has in the middle of sound: between two samples of what is kept.
//!
//! Samples are counted, since sound that is given to its child alone has no times of its own. Not for: sound that stops by its packets' times (`gaps`).

use std::sync::{Mutex, PoisonError};

use gstreamer as gst;

use super::decoded::{change, lasting, silence};
use crate::again::Pause;

/// Puts the pauses, counted at this rate, into the decoded, interleaved audio that goes into `pad`.
pub(super) fn insert(pad: &gst::Pad, rate: u32, pauses: Vec<Pause>) {
    if pauses.is_empty() {
        return;
    }
    // Frames that came, frames of silence that were added, and pauses to come.
    let state = Mutex::new((0_u64, 0_u64, pauses.into_iter().peekable()));
    change(pad, move |_, audio, buffer| {
        let frame = audio.bpf() as usize;
        let own = |samples: u64| {
            let own = u128::from(samples) * u128::from(audio.rate()) / u128::from(rate.max(1));
            u64::try_from(own).unwrap_or(u64::MAX)
        };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let (came, added, pauses) = &mut *state;
        let (start, end) = (*came, *came + (buffer.size() / frame) as u64);
        let pts = buffer
            .pts()
            .zip(lasting(audio, *added))
            .map(|(pts, added)| pts + added);
        let mut longer: Option<gst::Buffer> = None;
        let mut taken = start;
        let part = |buffer: &gst::Buffer, from: u64, to: u64| {
            let range = (from - start) as usize * frame..(to - start) as usize * frame;
            buffer.copy_region(gst::BufferCopyFlags::MEMORY, range).ok()
        };
        let append = |longer: &mut Option<gst::Buffer>, part: gst::Buffer| match longer {
            Some(longer) => longer.append(part),
            None => *longer = Some(part),
        };
        while let Some(pause) = pauses.next_if(|pause| own(pause.at) < end) {
            let at = own(pause.at).max(taken);
            if at > taken
                && let Some(part) = part(buffer, taken, at)
            {
                append(&mut longer, part);
            }
            taken = at;
            append(&mut longer, silence(audio, own(pause.lasts)));
            *added += own(pause.lasts);
        }
        if let Some(mut longer) = longer {
            if let Some(part) = part(buffer, taken, end) {
                longer.append(part);
            }
            *buffer = longer;
        }
        *came = end;
        buffer.make_mut().set_pts(pts);
    });
}
