//! The child's part in coding the sound of content again as a whole: decoding, coding and writing go on at the same time, so that no memory grows with its length.
//!
//! The file is written by the muxer itself, which goes back in it at the end: standard output is a file.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::child::{Failure, LOOK, MOTIONLESS, decoder_of_sound, feed, link_first, source_of};
use super::job::Report;
use crate::again::Target;

/// Bits a second of AAC and of Opus: nobody hears that it was coded twice.
const BIT_RATE: i32 = 160_000;

/// What codes and writes, in order, beside the plumbing.
pub(super) fn elements(target: Target) -> &'static [&'static str] {
    match target {
        Target::Adts => &["avenc_aac", "aacparse", "fdsink"],
        Target::M4a => &["avenc_aac", "aacparse", "mp4mux", "fdsink"],
        Target::WebmOpus => &["opusenc", "webmmux", "fdsink"],
        // Coded as those of ads are.
        Target::Pictures(_) => &[],
    }
}

fn make(name: &str) -> Result<gst::Element, Failure> {
    let builder = gst::ElementFactory::make(name);
    let builder = match name {
        "avenc_aac" => builder
            .property("bitrate", BIT_RATE)
            .property_from_str("aac-coder", "fast"),
        "opusenc" => builder.property("bitrate", BIT_RATE),
        _ => builder,
    };
    Ok(builder.build()?)
}

/// What goes into the encoder, and what it gives.
fn caps(target: Target) -> (gst::Caps, Option<gst::Caps>) {
    let raw = gst::Caps::builder("audio/x-raw").field("channels", gst::IntRange::new(1, 2));
    match target {
        Target::Adts => {
            let adts = gst::Caps::builder("audio/mpeg").field("stream-format", "adts");
            (raw.build(), Some(adts.build()))
        }
        Target::M4a | Target::Pictures(_) => (raw.build(), None),
        Target::WebmOpus => (raw.field("rate", 48_000).build(), None),
    }
}

/// A pipeline that has not seen its input.
pub(super) struct Recoding {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    input: File,
    output: File,
}

impl Recoding {
    pub(super) fn new(target: Target, input: File, output: File) -> Result<Self, Failure> {
        let pipeline = gst::Pipeline::new();
        let source = source_of(&input)?;
        let decode = decoder_of_sound()?;
        let filter = |caps: gst::Caps| {
            gst::ElementFactory::make("capsfilter")
                .property("caps", caps)
                .build()
        };
        let (raw, coded) = caps(target);
        let convert = make("audioconvert")?;
        let mut chain = vec![convert.clone(), make("audioresample")?, filter(raw)?];
        for name in elements(target) {
            if let Some(coded) = coded.as_ref().filter(|_| *name == "fdsink") {
                chain.push(filter(coded.clone())?);
            }
            chain.push(make(name)?);
        }
        if let Some(sink) = chain.last() {
            sink.set_property("fd", output.as_raw_fd());
        }
        pipeline.add_many([source.upcast_ref(), &decode])?;
        pipeline.add_many(&chain)?;
        source.link(&decode)?;
        gst::Element::link_many(&chain)?;
        let entrance = convert.static_pad("sink").ok_or("audioconvert has no sink pad")?;
        link_first(&decode, entrance);
        Ok(Self {
            pipeline,
            source,
            input,
            output,
        })
    }

    /// Codes all of it. The process ends after this.
    pub(super) fn run(self) -> Report {
        let undecodable = |reason: String| Report::Undecodable { reason };
        let Some(bus) = self.pipeline.bus() else {
            return undecodable("the pipeline has no bus".into());
        };
        let reads = feed(&self.source, self.input);
        if self.pipeline.set_state(gst::State::Playing).is_err() {
            return undecodable("it does not start".into());
        }
        let (mut before, mut motionless) = ((0, 0), 0);
        loop {
            let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
            let message = bus.timed_pop_filtered(LOOK, &kinds);
            match message.as_ref().map(|message| message.view()) {
                Some(gst::MessageView::Error(error)) => {
                    let error = error.error();
                    return match error.kind::<gst::ResourceError>() {
                        Some(gst::ResourceError::NoSpaceLeft) => Report::Full,
                        _ => undecodable(error.to_string()),
                    };
                }
                Some(_) => break,
                None => {
                    let written = self.output.metadata().map_or(0, |file| file.len());
                    let now = (reads.load(Ordering::Relaxed), written);
                    motionless = if now == before { motionless + 1 } else { 0 };
                    before = now;
                    if motionless > MOTIONLESS {
                        return undecodable("the decoder stopped without a word".into());
                    }
                }
            }
        }
        let _ = self.pipeline.set_state(gst::State::Null);
        match self.output.metadata().map(|file| file.len()) {
            Ok(0) | Err(_) => Report::NoAudio,
            Ok(samples) => Report::Done { samples, later: 0 },
        }
    }
}
