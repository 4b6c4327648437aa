//! The GStreamer pipeline of a player: bytes or packets of a rendition in, sound and pictures out.
//!
//! Not for: what goes in (`feed`), or when it stands still or goes elsewhere (the driver).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_audio::AudioInfo;

use super::outputs;
use super::packets::{Ends, Packets};
use super::reached::Reached;
use super::{PlayError, Sink};
use crate::splice::Codec;

/// How much may wait in the source.
pub(super) const AHEAD: u64 = 256 << 10;

/// What became of the pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pictures {
    /// How many were shown.
    pub shown: u64,
    /// How many came too late to be shown.
    pub late: u64,
}

/// The elements that are spoken to later.
pub(super) struct Pipeline {
    whole: gst::Pipeline,
    pub(super) bus: gst::Bus,
    pub(super) source: gst_app::AppSrc,
    codec: Codec,
    volume: gst::Element,
    sound: gst::Element,
    /// How far the sound came that reached its sink.
    pub(super) reached: Reached,
    pictures: Option<gst::Element>,
    /// Nanoseconds that are decoded before the place that was wanted, and not heard.
    lead: Arc<AtomicU64>,
}

impl Pipeline {
    /// For a rendition of `bytes`, or for its `packets`. Nothing moves yet.
    pub(super) fn new(
        codec: Codec,
        bytes: u64,
        packets: Option<&Packets>,
        sink: Sink,
    ) -> Result<Self, PlayError> {
        let whole = gst::Pipeline::new();
        let source = gst_app::AppSrc::builder().max_bytes(AHEAD);
        let kind = packets.map(Packets::caps);
        let source = match &kind {
            Some(kind) => source
                .stream_type(gst_app::AppStreamType::Stream)
                .format(gst::Format::Time)
                .caps(kind),
            None => source
                .stream_type(gst_app::AppStreamType::Seekable)
                .format(gst::Format::Bytes)
                .size(size(codec, bytes)),
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
        let pre_skip = packets.map_or(Duration::ZERO, Packets::pre_skip);
        let lead = Arc::new(AtomicU64::new(pre_skip.as_nanos() as u64));
        if let Some(entrance) = convert.static_pad("sink") {
            let lead = lead.clone();
            let ends = packets.map(Packets::ends).unwrap_or_default();
            entrance.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
                leave_out_rest(pad, info, &ends);
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
            codec,
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
        self.source.set_size(size(self.codec, bytes));
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

    /// Shows what comes out of `pad`, unless another track is shown already.
    fn show(&self, pipeline: &gst::Pipeline, pad: &gst::Pad) {
        let Some(entrance) = self.chain[0].static_pad("sink").filter(|pad| !pad.is_linked()) else {
            return;
        };
        let joined = (self.sink.parent().is_some() || pipeline.add_many(&self.chain).is_ok())
            && gst::Element::link_many(&self.chain).is_ok()
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

/// Cuts off what a decoder gives after the end of a stream.
fn leave_out_rest(pad: &gst::Pad, info: &mut gst::PadProbeInfo<'_>, ends: &Ends) {
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

/// Drops the sound that comes before the place which was wanted, and lets the time of the rest begin at zero.
fn leave_out(info: &mut gst::PadProbeInfo<'_>, lead: &AtomicU64) -> gst::PadProbeReturn {
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

/// How long the source says that it is. For WAV it does not, since the decoder would end there, even when the sound has become longer.
fn size(codec: Codec, bytes: u64) -> i64 {
    match codec {
        // Ogg is given in packets, which have no bytes to count.
        Codec::Wav | Codec::OggOpus | Codec::OggVorbis => -1,
        _ => bytes as i64,
    }
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
