//! Playing content as it is, whatever it is: for what nothing can be spliced into. GStreamer's `playbin3` does it all, reading through [`super::grovesrc`].
//!
//! There is no thread here: the caller polls. Not for: ads.

use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;

use super::pipeline::make;
use super::{PlayError, Sink, outputs};
use crate::cues::Position;
use crate::time::ContentTime;

/// A playback. Dropping it stops it.
#[derive(Debug)]
pub struct Plain {
    playbin: gst::Element,
    bus: gst::Bus,
    paused: bool,
    /// Where it began.
    begun: ContentTime,
    /// Why there is no output for a kind of stream.
    missing: Vec<(gst::StreamType, PlayError)>,
}

/// Where a playback is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The position; where it began until something plays.
    pub at: ContentTime,
    /// How long the content is, when that is known.
    pub duration: Option<Duration>,
    /// Whether everything was played.
    pub ended: bool,
}

impl Plain {
    /// Starts playing `uri` at `from`; whoever opens it is to be registered before ([`super::grovesrc::register`]).
    ///
    /// # Errors
    /// [`PlayError::Missing`], and [`PlayError::Pipeline`] when it does not start, or is to start at a part of what nobody says the length of.
    pub fn start(uri: &str, from: Position, sink: Sink) -> Result<Self, PlayError> {
        gst::init().map_err(|error| PlayError::Pipeline {
            reason: error.to_string(),
        })?;
        let playbin = make("playbin3")?;
        playbin.set_property("uri", uri);
        // What streams there are is not known yet: an output that is missing may not be needed.
        let mut missing = Vec::new();
        let outputs = [
            ("audio-sink", gst::StreamType::AUDIO, outputs::sound(sink)),
            ("video-sink", gst::StreamType::VIDEO, outputs::pictures(sink)),
        ];
        for (name, kind, output) in outputs {
            let output = match output {
                Ok(output) => output,
                Err(why) => {
                    missing.push((kind, why));
                    outputs::sound(Sink::Null)?
                }
            };
            playbin.set_property(name, output);
        }
        let bus = playbin.bus().ok_or(PlayError::Pipeline {
            reason: "the player has no bus".into(),
        })?;
        let mut plain = Self {
            playbin,
            bus,
            paused: false,
            begun: ContentTime::ZERO,
            missing,
        };
        if !matches!(from, Position::Start | Position::Time(ContentTime::ZERO)) {
            plain.set_state(gst::State::Paused)?;
            // Until the first frame is there nothing can be sought; errors come on the bus.
            let _ = plain.playbin.state(gst::ClockTime::from_seconds(60));
            plain.begun = match (from, plain.duration()) {
                (Position::Time(time), _) => time,
                (_, Some(duration)) => from.resolve(ContentTime::from(duration)),
                (_, None) => {
                    // What the bus says is better.
                    plain.hear()?;
                    let reason =
                        format!("it says nothing of how long it is, so that it cannot begin at {from}");
                    return Err(PlayError::Pipeline { reason });
                }
            };
            plain.seek(plain.begun);
        }
        plain.set_state(gst::State::Playing)?;
        Ok(plain)
    }

    fn set_state(&mut self, state: gst::State) -> Result<(), PlayError> {
        match self.playbin.set_state(state) {
            Ok(_) => Ok(()),
            // What the bus says is better.
            Err(_) => Err(self.hear().err().unwrap_or(PlayError::Pipeline {
                reason: "it does not start".into(),
            })),
        }
    }

    /// Takes what the pipeline says; whether it ended.
    fn hear(&mut self) -> Result<bool, PlayError> {
        while let Some(message) = self.bus.pop() {
            if let gst::MessageView::StreamCollection(found) = message.view() {
                let streams = found.stream_collection();
                let kinds = streams.iter().map(|stream| stream.stream_type());
                let all = kinds.fold(gst::StreamType::empty(), |all, kind| all | kind);
                if let Some(at) = self.missing.iter().position(|(kind, _)| all.contains(*kind)) {
                    return Err(self.missing.swap_remove(at).1);
                }
            }
            if super::understand(&message)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where it is now.
    ///
    /// # Errors
    /// [`PlayError::Pipeline`] when it cannot go on.
    pub fn poll(&mut self) -> Result<Progress, PlayError> {
        let ended = self.hear()?;
        let at = self.playbin.query_position::<gst::ClockTime>();
        Ok(Progress {
            at: at.map_or(self.begun, |at| ContentTime::from_nanos(at.nseconds())),
            duration: self.duration(),
            ended,
        })
    }

    fn duration(&self) -> Option<Duration> {
        let duration = self.playbin.query_duration::<gst::ClockTime>()?;
        Some(Duration::from_nanos(duration.nseconds()))
    }

    /// Where it began.
    pub fn begun(&self) -> ContentTime {
        self.begun
    }

    /// Stands still, or goes on.
    pub fn pause(&mut self, paused: bool) {
        self.paused = paused;
        // An error comes on the bus too.
        let _ = self.playbin.set_state(if paused {
            gst::State::Paused
        } else {
            gst::State::Playing
        });
    }

    /// Whether it was told to stand still.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Turns the sound off, or on.
    pub fn mute(&self, muted: bool) {
        self.playbin.set_property("mute", muted);
    }

    /// Goes on at another place; what cannot be sought goes on where it is.
    pub fn seek(&self, to: ContentTime) {
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
        let _ = self
            .playbin
            .seek_simple(flags, gst::ClockTime::from_nseconds(to.as_nanos()));
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        let _ = self.playbin.set_state(gst::State::Null);
    }
}
