//! The GStreamer pipeline of a player: bytes or packets of a rendition in, sound and pictures out.
//!
//! Not for: what goes in (`feed`), or when it stands still or goes elsewhere (the driver).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::left_out::{begin_at_zero, leave_out, leave_out_rest, leave_out_samples};
use super::outputs;
use super::packets::Packets;
use super::reached::Reached;
use super::{PlayError, Sink};
use crate::splice::Codec;

/// What became of the pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pictures {
    /// How many were shown.
    pub shown: u64,
    /// How many came too late to be shown.
    pub late: u64,
}

/// What goes in.
pub(super) enum Input<'a> {
    /// A rendition of so many bytes, of which the decoder reads what it wants.
    Bytes(u64),
    /// The same in order, each part of it with its own time.
    Parts,
    Packets(&'a Packets),
}

/// The elements that are spoken to later.
pub(super) struct Pipeline {
    whole: gst::Pipeline,
    pub(super) bus: gst::Bus,
    pub(super) source: gst_app::AppSrc,
    /// Whether the source says how many bytes there are.
    is_sized: bool,
    volume: gst::Element,
    sound: gst::Element,
    /// How far the sound came that reached its sink.
    pub(super) reached: Reached,
    pictures: Option<gst::Element>,
    /// Nanoseconds that are decoded before the place that was wanted, and not heard.
    lead: Arc<AtomicU64>,
}

impl Pipeline {
    /// For a rendition that is coded like this, of which so many bytes may wait. Nothing moves yet.
    pub(super) fn new(codec: Codec, input: &Input<'_>, sink: Sink, ahead: u64) -> Result<Self, PlayError> {
        let whole = gst::Pipeline::new();
        let source = gst_app::AppSrc::builder().max_bytes(ahead);
        // A decoder of WAV that knows where it was to end would end there, even when the sound has become longer.
        let is_sized = matches!(input, Input::Bytes(_)) && codec != Codec::Wav;
        let is_timed = matches!(input, Input::Parts);
        let packets = match input {
            Input::Packets(packets) => Some(*packets),
            Input::Parts | Input::Bytes(_) => None,
        };
        let kind = packets.map(Packets::caps);
        let source = match (input, &kind) {
            (Input::Bytes(bytes), _) => source
                .stream_type(gst_app::AppStreamType::Seekable)
                .format(gst::Format::Bytes)
                .size(size(*bytes, is_sized)),
            (_, Some(kind)) => source
                .stream_type(gst_app::AppStreamType::Stream)
                .format(gst::Format::Time)
                .caps(kind),
            (_, None) => source
                .stream_type(gst_app::AppStreamType::Stream)
                .format(gst::Format::Bytes),
        };
        let source = source.build();
        let convert = make("audioconvert")?;
        let resample = make("audioresample")?;
        let volume = make("volume")?;
        let screen = codec.has_pictures().then(|| Screen::new(sink)).transpose()?;
        let sound = outputs::sound(sink)?;
        let exit = volume.static_pad("src");
        let reached = exit.as_ref().map(Reached::at).unwrap_or_default();
        let ends = [source.upcast_ref(), &convert, &resample, &volume, &sound];
        whole.add_many(ends).map_err(|error| failed(&error))?;
        gst::Element::link_many([&convert, &resample, &volume, &sound]).map_err(|error| failed(&error))?;
        let pre_skip = packets.map_or(Duration::ZERO, Packets::pre_skip);
        let lead = Arc::new(AtomicU64::new(pre_skip.as_nanos() as u64));
        let mut pictures = None;
        match decoder(codec)? {
            Decoder::Chain(chain) => {
                whole.add_many(&chain).map_err(|error| failed(&error))?;
                let linked: Vec<_> = [source.upcast_ref()]
                    .into_iter()
                    .chain(&chain)
                    .chain([&convert])
                    .collect();
                gst::Element::link_many(linked).map_err(|error| failed(&error))?;
            }
            Decoder::Found(bin) => {
                whole.add(&bin).map_err(|error| failed(&error))?;
                source.link(&bin).map_err(|error| failed(&error))?;
                pictures = screen.as_ref().map(|screen| screen.sink.clone());
                if let Some(entrance) = screen.as_ref().and_then(Screen::entrance).filter(|_| is_timed) {
                    begin_at_zero(&entrance);
                    let lead = lead.clone();
                    entrance.add_probe(gst::PadProbeType::BUFFER, move |_, info| leave_out(info, &lead));
                }
                let entrance = convert.static_pad("sink");
                let around = whole.downgrade();
                bin.connect_pad_added(move |_, pad| {
                    let kind = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
                    let is_pictures = kind
                        .structure(0)
                        .is_some_and(|kind| kind.name().starts_with("video/"));
                    // Only the first track of each kind is played; what fails shows as an error on the bus.
                    if !is_pictures {
                        if let Some(entrance) = entrance.as_ref().filter(|entrance| !entrance.is_linked()) {
                            let _ = pad.link(entrance);
                        }
                    } else if let (Some(screen), Some(around)) = (&screen, around.upgrade()) {
                        screen.show(&around, pad);
                    }
                });
            }
        }
        if let Some(entrance) = convert.static_pad("sink") {
            if is_timed {
                begin_at_zero(&entrance);
            }
            let lead = lead.clone();
            let ends = packets.map(Packets::ends).unwrap_or_default();
            entrance.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
                leave_out_rest(pad, info, &ends);
                if is_timed {
                    leave_out_samples(pad, info, &lead);
                }
                leave_out(info, &lead)
            });
        }
        let bus = whole.bus().ok_or(PlayError::Pipeline {
            reason: "the pipeline has no bus".into(),
        })?;
        Ok(Self {
            whole,
            bus,
            source,
            is_sized,
            volume,
            sound,
            reached,
            pictures,
            lead,
        })
    }

    /// Asks for a state; it may be reached later.
    pub(super) fn set_state(&self, state: gst::State) -> Result<(), PlayError> {
        match self.whole.set_state(state) {
            Ok(_) => Ok(()),
            Err(_) => Err(PlayError::Pipeline {
                reason: "the output does not start".into(),
            }),
        }
    }

    /// Whether the first sound and the first picture have come to their sinks.
    pub(super) fn is_ready(&self) -> bool {
        let (result, current, pending) = self.whole.state(gst::ClockTime::ZERO);
        result.is_ok() && current == gst::State::Paused && pending == gst::State::VoidPending
    }

    /// Goes to a place of the pipeline's own time.
    pub(super) fn seek(&self, to: gst::ClockTime) -> Result<(), PlayError> {
        let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
        self.whole
            .seek_simple(flags, to)
            .map_err(|_| PlayError::Pipeline {
                reason: format!("cannot go to {to}"),
            })
    }

    /// What is heard now, in the pipeline's own time: nothing that has not come to the sink.
    pub(super) fn position(&self) -> Option<gst::ClockTime> {
        let position: gst::ClockTime = self.sound.query_position()?;
        Some(position.min(self.reached.end()))
    }

    pub(super) fn mute(&self, muted: bool) {
        self.volume.set_property("mute", muted);
    }

    /// So many bytes are still to be read.
    pub(super) fn set_size(&self, bytes: u64) {
        self.source.set_size(size(bytes, self.is_sized));
    }

    /// So much of what is decoded next is not to be heard.
    pub(super) fn leave_out(&self, lead: Duration) {
        self.lead.store(lead.as_nanos() as u64, Ordering::Release);
    }

    /// What became of the pictures since the last seek; `None` when there are none.
    pub(super) fn pictures(&self) -> Option<Pictures> {
        let sink = self.pictures.as_ref()?;
        sink.find_property("stats")?;
        let stats: gst::Structure = sink.property("stats");
        Some(Pictures {
            shown: stats.get("rendered").ok()?,
            late: stats.get("dropped").ok()?,
        })
    }
}

/// Where pictures go. It joins the pipeline when the first one is about to come: a sink that waits for a picture would hold up the sound.
struct Screen {
    chain: [gst::Element; 4],
    sink: gst::Element,
}

impl Screen {
    fn new(sink: Sink) -> Result<Self, PlayError> {
        let sink = outputs::pictures(sink)?;
        Ok(Self {
            chain: [
                make("queue")?,
                make("videoconvert")?,
                make("videoscale")?,
                sink.clone(),
            ],
            sink,
        })
    }

    fn entrance(&self) -> Option<gst::Pad> {
        self.chain[0].static_pad("sink")
    }

    /// Shows what comes out of `pad`, unless another track is shown already.
    fn show(&self, pipeline: &gst::Pipeline, pad: &gst::Pad) {
        let Some(entrance) = self.entrance().filter(|pad| !pad.is_linked()) else {
            return;
        };
        // It stays where it is when the decoder begins anew.
        let is_there = self.sink.parent().is_some();
        let joined = (is_there
            || pipeline.add_many(&self.chain).is_ok() && gst::Element::link_many(&self.chain).is_ok())
            && pad.link(&entrance).is_ok()
            && self
                .chain
                .iter()
                .rev()
                .all(|element| element.sync_state_with_parent().is_ok());
        if !joined {
            let reason = "the pictures cannot be shown";
            gst::element_error!(pipeline, gst::CoreError::Failed, ("{reason}"));
        }
    }
}

/// How long the source says that it is.
fn size(bytes: u64, is_sized: bool) -> i64 {
    if is_sized { bytes as i64 } else { -1 }
}

/// What turns a rendition's bytes into samples.
enum Decoder {
    /// Elements in a row.
    Chain(Vec<gst::Element>),
    /// A bin that looks at the bytes first.
    Found(gst::Element),
}

fn decoder(codec: Codec) -> Result<Decoder, PlayError> {
    match codec {
        Codec::OggOpus => return Ok(Decoder::Chain(vec![make("opusdec")?])),
        Codec::OggVorbis => return Ok(Decoder::Chain(vec![make("vorbisdec")?])),
        _ => {}
    }
    if codec == Codec::Mp3 {
        // The rendition's tag holds chapters and perhaps a picture; id3demux takes it off.
        let names = ["id3demux", "mpegaudioparse", "mpg123audiodec"];
        return Ok(Decoder::Chain(
            names.into_iter().map(make).collect::<Result<_, _>>()?,
        ));
    }
    let bin = make("decodebin")?;
    let mut wanted = gst::Caps::builder_full().structure(gst::Structure::new_empty("audio/x-raw"));
    if codec.has_pictures() {
        // Wherever they lie: a decoder may leave them with the graphics card.
        wanted = wanted.structure_with_any_features(gst::Structure::new_empty("video/x-raw"));
    }
    bin.set_property("caps", wanted.build());
    bin.set_property("expose-all-streams", false);
    Ok(Decoder::Found(bin))
}

pub(super) fn make(element: &'static str) -> Result<gst::Element, PlayError> {
    gst::ElementFactory::make(element)
        .build()
        .map_err(|_| PlayError::Missing { element })
}

fn failed(error: &gst::glib::BoolError) -> PlayError {
    PlayError::Pipeline {
        reason: error.to_string(),
    }
}
