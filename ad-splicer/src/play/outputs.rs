//! Where sound and pictures come out of this machine: the first output that opens.
//!
//! GStreamer's own choice would be a sink that leads nowhere when no sound output opens, so that nobody hears what counts as played; and for pictures without a display, one that writes to the console or
//! crashes. Not for: what comes out.

use gstreamer as gst;
use gstreamer::prelude::*;

use super::pipeline::make;
use super::{PlayError, Sink};

/// Sound servers first, then devices.
const SOUND: [&str; 7] = [
    "pulsesink",
    "pipewiresink",
    "alsasink",
    "jackaudiosink",
    "osxaudiosink",
    "oss4sink",
    "osssink",
];
const WAYLAND: [&str; 2] = ["waylandsink", "glimagesink"];
const X11: [&str; 3] = ["xvimagesink", "ximagesink", "glimagesink"];

/// Where sound goes.
pub(super) fn sound(sink: Sink) -> Result<gst::Element, PlayError> {
    match sink {
        Sink::Auto => first(&SOUND).map_err(|tried| PlayError::NoSound { tried }),
        Sink::Null | Sink::Fast => nowhere(sink),
    }
}

/// Where pictures go.
pub(super) fn pictures(sink: Sink) -> Result<gst::Element, PlayError> {
    if sink != Sink::Auto {
        return nowhere(sink);
    }
    if cfg!(target_os = "macos") {
        return make("osxvideosink");
    }
    let there = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let mut names = Vec::new();
    if there("WAYLAND_DISPLAY") {
        names.extend(WAYLAND);
    }
    if there("DISPLAY") {
        names.extend(X11);
    }
    if names.is_empty() {
        return Err(PlayError::NoDisplay);
    }
    first(&names).map_err(|tried| PlayError::NoPictures { tried })
}

fn nowhere(sink: Sink) -> Result<gst::Element, PlayError> {
    let nowhere = make("fakesink")?;
    nowhere.set_property("sync", sink == Sink::Null);
    Ok(nowhere)
}

/// The first of these that is installed and opens; otherwise what was tried, for an error.
fn first(names: &[&str]) -> Result<gst::Element, String> {
    let mut tried = Vec::new();
    for name in names {
        let Ok(element) = gst::ElementFactory::make(name).build() else {
            continue;
        };
        let opens = element.set_state(gst::State::Ready).is_ok();
        let _ = element.set_state(gst::State::Null);
        if opens {
            return Ok(element);
        }
        tried.push(*name);
    }
    Err(match tried.as_slice() {
        [] => format!(" (none of {} is installed)", names.join(", ")),
        tried => format!(" (tried {})", tried.join(", ")),
    })
}
