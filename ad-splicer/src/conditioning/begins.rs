//! When the tracks of a creative begin: what is heard and what is seen may begin at different times, and are decoded by two children, each of which keeps to the other's time.
//!
//! Times are running times, as the creative's demuxer tells them for the first packet of each track, in the pads of tracks that nobody decodes too. What has no demuxer has one track.
//!
//! Not for: MP4 whose sound is given to its child alone (`again::aac_alone` says it then).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;

/// When the first track of each kind begins, as far as it has been seen.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    sound: Option<gst::ClockTime>,
    pictures: Option<gst::ClockTime>,
}

/// See the module documentation.
#[derive(Clone, Debug, Default)]
pub(super) struct Begins(Arc<Mutex<Seen>>);

impl Begins {
    /// Looks at what demuxers in this decodebin give, before anything is read.
    pub(super) fn of(decode: &gst::Bin) -> Self {
        let begins = Self::default();
        let watching = begins.clone();
        decode.connect_element_added(move |_, element| {
            let factory = element.factory();
            let class = factory.as_ref().and_then(|factory| factory.metadata("klass"));
            if class.is_some_and(|class| class.contains("Demux")) {
                let watching = watching.clone();
                element.connect_pad_added(move |_, pad| watching.watch(pad));
            }
        });
        begins
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, pad: &gst::Pad) {
        let begins = self.clone();
        let data = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
        pad.add_probe(data, move |pad, info| {
            let time = match &info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => buffer.pts(),
                Some(gst::PadProbeData::BufferList(list)) => list.get(0).and_then(gst::BufferRef::pts),
                _ => None,
            };
            let Some(time) = time.and_then(|time| running(pad, time)) else {
                // The next one may tell it.
                return gst::PadProbeReturn::Ok;
            };
            let mut seen = begins.seen();
            match kind(pad) {
                Some(Kind::Sound) => seen.sound.get_or_insert(time),
                Some(Kind::Pictures) => seen.pictures.get_or_insert(time),
                None => return gst::PadProbeReturn::Remove,
            };
            gst::PadProbeReturn::Remove
        });
    }

    /// How much later than pictures sound begins, if it does.
    pub(super) fn sound_later(&self) -> Duration {
        let seen = *self.seen();
        let later = seen.sound.zip(seen.pictures);
        later.map_or(Duration::ZERO, |(sound, pictures)| {
            sound.saturating_sub(pictures).into()
        })
    }

    /// Has decoded pictures that go into `pad` counted from their own beginning, or from that of sound where it is earlier: the first of them fills the time before it.
    pub(super) fn count(self, pad: &gst::Pad) {
        let mut segment: Option<gst::FormattedSegment<gst::ClockTime>> = None;
        let mut zero = None;
        let state = Mutex::new(move |info: &mut gst::PadProbeInfo<'_>| match info.data.as_mut() {
            Some(gst::PadProbeData::Event(event)) => {
                let gst::EventView::Segment(told) = event.view() else {
                    return gst::PadProbeReturn::Ok;
                };
                let Ok(told) = told.segment().clone().downcast::<gst::ClockTime>() else {
                    return gst::PadProbeReturn::Ok;
                };
                if segment.replace(told).is_some() {
                    // All that comes is counted in the first.
                    return gst::PadProbeReturn::Drop;
                }
                *event = gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new());
                gst::PadProbeReturn::Ok
            }
            Some(gst::PadProbeData::Buffer(buffer)) => {
                let shown = segment.as_ref().zip(buffer.pts());
                if let Some(shown) = shown.and_then(|(segment, time)| segment.to_running_time(time)) {
                    let sound = self.seen().sound;
                    let zero = *zero.get_or_insert_with(|| sound.map_or(shown, |sound| sound.min(shown)));
                    buffer.make_mut().set_pts(shown.saturating_sub(zero));
                }
                gst::PadProbeReturn::Ok
            }
            _ => gst::PadProbeReturn::Ok,
        });
        let data = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
        pad.add_probe(data, move |_, info| {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            (*state)(info)
        });
    }
}

enum Kind {
    Sound,
    Pictures,
}

/// What a demuxer's pad gives.
fn kind(pad: &gst::Pad) -> Option<Kind> {
    let caps = pad.current_caps()?;
    let name = caps.structure(0)?.name();
    if name.starts_with("audio/") {
        Some(Kind::Sound)
    } else {
        name.starts_with("video/").then_some(Kind::Pictures)
    }
}

/// A time of this pad's stream as running time; what is before its beginning is at its beginning.
fn running(pad: &gst::Pad, time: gst::ClockTime) -> Option<gst::ClockTime> {
    let told = pad.sticky_event::<gst::event::Segment>(0)?;
    let segment = told.segment().downcast_ref::<gst::ClockTime>()?;
    segment.to_running_time(segment.start().map_or(time, |start| start.max(time)))
}
