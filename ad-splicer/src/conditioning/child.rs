//! The child: decodes standard input, and writes samples to standard output.
//!
//! Order matters here: load every library that may be needed, build the pipeline, shut the process in, and only then
//! let a byte of the creative near a parser. What GStreamer may use is a short list of demuxers and decoders (`allowed`), of
//! sound or of pictures as the job is; everything else is taken out of its registry, so a creative cannot choose an obscure parser.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::again::{Recoding, elements};
use super::allowed::{self, Wanted};
use super::begins::Begins;
use super::gaps;
use super::job::{Job, Report, Trim};
use super::pauses;
use super::unusable::{self, Lacking};
use crate::bridge::pictures;
use crate::content::FileContent;
use crate::mended::Mend;
use crate::picture::PictureFormat;
use crate::sandbox;

/// What nobody gave a reason for.
const NO_WORD: &str = "the decoder stopped without a word";

/// How much is read at once where nobody says how much is wanted.
const READ: usize = 64 << 10;

/// How often it is looked whether anything moves, and how many times in a row nothing may: decodebin can swallow the
/// error of a demuxer that fails while it is being connected, and then nothing ever happens again.
pub(super) const LOOK: gst::ClockTime = gst::ClockTime::from_mseconds(250);
pub(super) const MOTIONLESS: u32 = 12;

/// The whole life of such a child, from the argument after its mark; the outcome is the last line on standard error.
pub(crate) fn main(job: &OsStr) -> ExitCode {
    let Some(job) = Job::from_arg(job) else {
        eprintln!("this command is started by the program itself only");
        return ExitCode::from(2);
    };
    let report = run(&job);
    report.print();
    match report {
        Report::Done { .. } => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

pub(super) type Failure = Box<dyn std::error::Error>;

fn run(job: &Job) -> Report {
    let done = open(job).and_then(|(input, output)| {
        if let Some(target) = job.again {
            let recoding = Recoding::new(target, input, output)?;
            shut_in(job)?;
            return Ok(recoding.run());
        }
        let prepared = Prepared::new(job, input, output)?;
        shut_in(job)?;
        Ok(prepared.decode(job))
    });
    done.unwrap_or_else(|error| Report::Setup {
        reason: error.to_string(),
    })
}

/// What is read and what is written, when everything is loaded that may be needed.
fn open(job: &Job) -> Result<(File, File), Failure> {
    let input = File::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let output = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    gst::init()?;
    keep_only_what_is_needed(job)?;
    Ok((input, output))
}

fn shut_in(job: &Job) -> Result<(), Failure> {
    sandbox::limit(&job.bounds())?;
    sandbox::shut_in()
}

/// A pipeline that has not seen its input.
struct Prepared {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    decode: gst::Bin,
    /// Where what was decoded comes in.
    entrance: gst::Pad,
    sink: gst_app::AppSink,
    input: File,
    output: File,
}

impl Prepared {
    fn new(job: &Job, input: File, output: File) -> Result<Self, Failure> {
        if let Some(format) = job.picture {
            return Self::of_pictures(format, job, input, output);
        }

        let caps = gst::Caps::builder("audio/x-raw")
            .field("format", "F32LE")
            .field("layout", "interleaved")
            .field("rate", job.profile.sample_rate as i32)
            .field("channels", i32::from(job.profile.channels))
            .build();
        let pipeline = gst::Pipeline::new();
        let source = source_of(&input)?;
        let decode = decoder_of_sound()?;
        let convert = gst::ElementFactory::make("audioconvert").build()?;
        let resample = gst::ElementFactory::make("audioresample")
            .property("quality", 10)
            .build()?;
        let sink = gst_app::AppSink::builder()
            .caps(&caps)
            .sync(false)
            .max_buffers(16)
            .build();
        // Decoders may give each channel by itself; what is cut is not.
        let interleaved = gst::Caps::builder("audio/x-raw")
            .field("layout", "interleaved")
            .build();
        let interleaved = gst::ElementFactory::make("capsfilter")
            .property("caps", interleaved)
            .build()?;
        pipeline.add_many([
            source.upcast_ref(),
            &decode,
            &convert,
            &interleaved,
            &resample,
            sink.upcast_ref(),
        ])?;
        source.link(&decode)?;
        gst::Element::link_many([&convert, &interleaved, &resample, sink.upcast_ref()])?;

        let entrance = convert.static_pad("sink").ok_or("audioconvert has no sink pad")?;
        let whole = interleaved
            .static_pad("sink")
            .ok_or("capsfilter has no sink pad")?;
        match job.trim {
            Some(trim) => {
                cut(&whole, trim);
                pauses::insert(&whole, trim.rate, job.pauses.clone());
            }
            // What is trimmed has no times of its own.
            None => gaps::fill(&whole),
        }
        link_first(&decode, entrance.clone());
        Ok(Self {
            pipeline,
            source,
            decode: decode.downcast().map_err(|_| "decodebin is no bin")?,
            entrance,
            sink,
            input,
            output,
        })
    }

    /// For pictures: decoded, whole ones made of half ones, turned upright, fitted into the content's frame with bars beside them, in its rate, and coded.
    fn of_pictures(format: PictureFormat, job: &Job, input: File, output: File) -> Result<Self, Failure> {
        let make = gst::ElementFactory::make;
        let pipeline = gst::Pipeline::new();
        let source = source_of(&input)?;
        let decode = make("decodebin")
            // Decoders offer interlaced pictures as a feature of its own; when not all that one offers is wanted, decodebin leaves it out.
            .property("caps", gst::Caps::builder("video/x-raw").any_features().build())
            .property("expose-all-streams", false)
            .build()?;
        // What deinterlaces knows fewer formats than decoders do, and lets nothing through that it should have changed.
        let accept = make("videoconvert").build()?;
        let deinterlace = make("deinterlace")
            .property_from_str("mode", "auto-strict")
            // `greedyh` makes stripes of pictures whose lines are padded.
            .property_from_str("method", "yadif")
            .build()?;
        let upright = make("videoflip")
            .property_from_str("video-direction", "auto")
            .build()?;
        let convert = make("videoconvert").build()?;
        let scale = make("videoscale").property("add-borders", true).build()?;
        let rate = match job.still {
            Some(count) => make("imagefreeze")
                .property("num-buffers", i32::try_from(count)?)
                .build()?,
            None => make("videorate").build()?,
        };
        // The content's pictures are turned when they are shown, and these with them.
        let turn = make("videoflip")
            .property_from_str("video-direction", format.turn.back())
            .build()?;
        let mut raw = pictures::raw(&format);
        if job.whole {
            // However long each of them lasts, and with the colours and pixels that it has.
            raw.make_mut().iter_mut().for_each(|one| {
                one.remove_fields(["framerate", "colorimetry", "pixel-aspect-ratio", "chroma-site"]);
            });
        }
        let filter = make("capsfilter").property("caps", raw).build()?;
        let encode = pictures::encoder(&format)?;
        let sink = gst_app::AppSink::builder()
            .caps(&pictures::coded(&format))
            .sync(false)
            .max_buffers(16)
            .build();
        let fitting = [&deinterlace, &upright, &convert, &scale, &rate, &turn];
        let fitting = if job.whole { &[][..] } else { &fitting };
        let ends = [&filter, &encode, sink.upcast_ref()];
        let chain: Vec<_> = [&accept]
            .into_iter()
            .chain(fitting.iter().copied())
            .chain(ends)
            .collect();
        pipeline.add_many([source.upcast_ref(), &decode])?;
        pipeline.add_many(&chain)?;
        source.link(&decode)?;
        gst::Element::link_many(&chain)?;
        let entrance = accept.static_pad("sink").ok_or("videoconvert has no sink pad")?;
        link_first(&decode, entrance.clone());
        Ok(Self {
            pipeline,
            source,
            decode: decode.downcast().map_err(|_| "decodebin is no bin")?,
            entrance,
            sink,
            input,
            output,
        })
    }

    /// Decodes on a thread of its own. The first word counts, the decoder's or an error's: some pipelines never come
    /// back from their own errors, and nobody waits for that, as the process ends after this.
    fn decode(self, job: &Job) -> Report {
        let (tell, told) = channel();
        let wanted = Wanted::of(job);
        let lacking = Arc::new(Mutex::new(Lacking::default()));
        overhear(&self.decode, &lacking);
        let begins = Begins::of(&self.decode);
        if job.picture.is_some() && !job.whole && job.still.is_none() {
            begins.clone().count(&self.entrance);
        }
        if let Some(bus) = self.pipeline.bus() {
            let tell = tell.clone();
            let lacking = lacking.clone();
            if let Some(finder) = self.decode.by_name("typefind") {
                let lacking = lacking.clone();
                finder.connect("have-type", false, move |values| {
                    if let Some(Ok(caps)) = values.get(2).map(gst::glib::Value::get::<gst::Caps>) {
                        lacking
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .handle_type(caps);
                    }
                    None
                });
            }
            bus.set_sync_handler(move |_, message| {
                let mut lacking = lacking.lock().unwrap_or_else(PoisonError::into_inner);
                lacking.handle_message(message);
                if let gst::MessageView::Error(error) = message.view() {
                    // Only the first is heard.
                    let _ = tell.send(lacking.verdict(wanted, &error.error()));
                }
                gst::BusSyncReply::Drop
            });
        }
        if wanted == Wanted::Pictures {
            let tell = tell.clone();
            self.entrance
                .add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
                    if let Some(gst::PadProbeData::Event(event)) = &info.data
                        && let gst::EventView::Caps(caps) = event.view()
                        && let Some(what) = unusable::beyond_ads(caps.caps())
                    {
                        let _ = tell.send(Report::Unsupported { what });
                        return gst::PadProbeReturn::Drop;
                    }
                    gst::PadProbeReturn::Ok
                });
        }
        let job = job.clone();
        // Taken apart while it plays, a pipeline complains: not before there was a first word.
        let kept = self.pipeline.clone();
        let decoding = std::thread::Builder::new().spawn(move || {
            let _ = tell.send(self.pull(&job, &lacking, &begins));
            drop(kept);
        });
        let setup = |reason: String| Report::Setup { reason };
        match decoding {
            Ok(_) => told
                .recv()
                .unwrap_or_else(|_| setup("the decoder's thread panicked".into())),
            Err(error) => setup(format!("no thread could be started: {error}")),
        }
    }

    fn pull(mut self, job: &Job, lacking: &Mutex<Lacking>, begins: &Begins) -> Report {
        let reads = feed(&self.source, self.input);
        if self.pipeline.set_state(gst::State::Playing).is_err() {
            return Report::Undecodable {
                reason: "it does not start".into(),
            };
        }
        let mut samples = 0;
        let mut before = 0;
        let mut motionless = 0;
        loop {
            let Some(sample) = self.sink.try_pull_sample(LOOK) else {
                if self.sink.is_eos() {
                    break;
                }
                let now = reads.load(Ordering::Relaxed);
                motionless = if now == before { motionless + 1 } else { 0 };
                before = now;
                if motionless > MOTIONLESS {
                    let lacking = lacking.lock().unwrap_or_else(PoisonError::into_inner);
                    return lacking
                        .hidden(Wanted::of(job))
                        .unwrap_or_else(|| Report::Undecodable {
                            reason: NO_WORD.into(),
                        });
                }
                continue;
            };
            motionless = 0;
            let Some(map) = sample.buffer().and_then(|b| b.map_readable().ok()) else {
                continue;
            };
            let pictures = job.picture.is_some();
            samples += if pictures {
                1
            } else {
                map.len() as u64 / job.profile.bytes_per_frame()
            };
            if samples > job.max_samples {
                return Report::TooLong;
            }
            let written = if pictures {
                let head = job
                    .picture
                    .filter(|_| samples == 1)
                    .and_then(|format| pictures::head(&format, sample.caps()));
                [head.as_deref(), Some(&map[..])]
                    .into_iter()
                    .flatten()
                    .try_for_each(|part| {
                        self.output.write_all(&(part.len() as u32).to_be_bytes())?;
                        self.output.write_all(part)
                    })
            } else {
                self.output.write_all(&map)
            };
            if let Err(error) = written {
                if disk::is_full(&error) {
                    return Report::Full;
                }
                return Report::Setup {
                    reason: format!("cannot write samples: {error}"),
                };
            }
        }
        // Whole: its threads are idle, and taking it apart returns.
        let _ = self.pipeline.set_state(gst::State::Null);
        match samples {
            0 if job.picture.is_some() => Report::NoPicture,
            0 => Report::NoAudio,
            samples => Report::Done {
                samples,
                later: u64::try_from(begins.sound_later().as_nanos()).unwrap_or(u64::MAX),
            },
        }
    }
}

/// Hears the errors of what decodebin is made of before decodebin does, which hides those that come while it connects.
fn overhear(decode: &gst::Bin, lacking: &Arc<Mutex<Lacking>>) {
    let lacking = lacking.clone();
    decode.connect_element_added(move |_, element| {
        let Some(above) = element.bus() else {
            return;
        };
        let lacking = lacking.clone();
        let bus = gst::Bus::new();
        bus.set_sync_handler(move |_, message| {
            if let gst::MessageView::Error(error) = message.view() {
                lacking
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .handle_hidden(error.error());
            }
            // Fails only when all is being taken apart.
            let _ = above.post(message.clone());
            gst::BusSyncReply::Drop
        });
        element.set_bus(Some(&bus));
    });
}

/// Finds the decoder of what comes. Only sound is exposed: a video track meets no decoder.
pub(super) fn decoder_of_sound() -> Result<gst::Element, Failure> {
    Ok(gst::ElementFactory::make("decodebin")
        .property("caps", gst::Caps::new_empty_simple("audio/x-raw"))
        .property("expose-all-streams", false)
        .build()?)
}

/// What the creative is pushed into.
///
/// AIFF from its beginning to its end, all else as its demuxer asks. One that asks does so on a thread of its own; aiffparse,
/// of which decodebin knows beforehand that raw sound comes out, may then give the first of it before decodebin has a
/// pad to show, takes that for an error, and stops. decodebin hides the error, as it does all while it connects.
pub(super) fn source_of(input: &File) -> Result<gst_app::AppSrc, Failure> {
    let mut begins = [0; 12];
    let whole = input.read_exact_at(&mut begins, 0).is_ok();
    let is_aiff = whole && begins.starts_with(b"FORM") && matches!(&begins[8..], b"AIFF" | b"AIFC");
    let stream_type = if is_aiff {
        gst_app::AppStreamType::Stream
    } else {
        gst_app::AppStreamType::RandomAccess
    };
    Ok(gst_app::AppSrc::builder()
        .stream_type(stream_type)
        .size(input.metadata()?.len() as i64)
        .build())
}

/// The first track that the decoder finds is the ad; a link that fails shows as an error on the bus.
pub(super) fn link_first(decode: &gst::Element, entrance: gst::Pad) {
    decode.connect_pad_added(move |_, pad| {
        if !entrance.is_linked() {
            let _ = pad.link(&entrance);
        }
    });
}

/// Loads all that may be needed, and then takes everything else out of the registry.
///
/// In this order: loading one feature loads its plugin, which registers all of its features again.
fn keep_only_what_is_needed(job: &Job) -> Result<(), Failure> {
    let wanted = Wanted::of(job);
    let encoder = job.picture.map(|format| pictures::encoder_name(format.coding));
    let coders = job.again.map(elements).unwrap_or_default().iter().copied();
    let plumbing = || allowed::plumbing(wanted).chain(coders.clone()).chain(encoder);
    let allowed: HashSet<&str> = allowed::decoders(wanted).chain(plumbing()).collect();
    let registry = gst::Registry::get();
    // Opening files is forbidden later, so libraries must be here now.
    for factory in registry.features(gst::ElementFactory::static_type()) {
        let name = factory.name();
        if allowed.contains(name.as_str()) {
            factory
                .load()
                .map_err(|e| format!("cannot load the GStreamer element {name}: {e}"))?;
        }
    }
    let mut useless = Vec::new();
    for finder in registry.features(gst::TypeFindFactory::static_type()) {
        // What cannot be loaded recognises nothing, which is what becomes of a format that is not allowed.
        if finder.load().is_err() {
            useless.push(finder.name());
        }
    }
    for factory in registry.features(gst::ElementFactory::static_type()) {
        if !allowed.contains(factory.name().as_str()) {
            registry.remove_feature(&factory);
        }
    }
    for finder in registry.features(gst::TypeFindFactory::static_type()) {
        if useless.contains(&finder.name()) {
            registry.remove_feature(&finder);
        }
    }
    for name in plumbing() {
        if gst::ElementFactory::find(name).is_none() {
            return Err(format!("the GStreamer element {name} is not installed").into());
        }
    }
    Ok(())
}

/// Gives `source` what it asks for, from wherever in the file. Counts how often it asked.
pub(super) fn feed(source: &gst_app::AppSrc, input: File) -> Arc<AtomicU64> {
    let reads = Arc::new(AtomicU64::new(0));
    let count = reads.clone();
    let position = Arc::new(AtomicU64::new(0));
    let sought = position.clone();
    let length = input.metadata().map_or(0, |m| m.len());
    let mend = input
        .try_clone()
        .and_then(FileContent::new)
        .ok()
        .and_then(|content| Mend::of(&content, Duration::ZERO));
    source.set_callbacks(
        gst_app::AppSrcCallbacks::builder()
            .seek_data(move |_, to| {
                sought.store(to, Ordering::Relaxed);
                true
            })
            .need_data(move |source, wanted| {
                count.fetch_add(1, Ordering::Relaxed);
                let at = position.load(Ordering::Relaxed);
                let left = length.saturating_sub(at) as usize;
                // A demuxer that asks for a range takes less of it for the end of the file.
                let wanted = if wanted == u32::MAX { READ } else { wanted as usize };
                let mut bytes = vec![0; wanted.min(left)];
                // Both calls fail only when the pipeline is being stopped.
                if bytes.is_empty() || input.read_exact_at(&mut bytes, at).is_err() {
                    let _ = source.end_of_stream();
                } else {
                    if let Some(mend) = &mend {
                        mend.apply(at, &mut bytes);
                    }
                    position.store(at + bytes.len() as u64, Ordering::Relaxed);
                    let mut buffer = gst::Buffer::from_mut_slice(bytes);
                    if let Some(buffer) = buffer.get_mut() {
                        // Some demuxers go by where a buffer says that it is from.
                        buffer.set_offset(at);
                    }
                    let _ = source.push_buffer(buffer);
                }
            })
            .build(),
    );
    reads
}

/// Leaves out what `trim` says from the decoded audio that goes into `pad`, before its rate is changed.
fn cut(pad: &gst::Pad, trim: Trim) {
    let position = Mutex::new(0_u64);
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let info_of_pad = pad
            .current_caps()
            .and_then(|caps| gstreamer_audio::AudioInfo::from_caps(&caps).ok());
        let (Some(audio), Some(gst::PadProbeData::Buffer(buffer))) = (info_of_pad, info.data.as_mut()) else {
            return gst::PadProbeReturn::Ok;
        };
        let frame = audio.bpf() as usize;
        let count = (buffer.size() / frame) as u64;
        let mut position = position.lock().unwrap_or_else(PoisonError::into_inner);
        let start = *position;
        *position += count;
        let own = |samples: u64| {
            let own = u128::from(samples) * u128::from(audio.rate()) / u128::from(trim.rate.max(1));
            u64::try_from(own).unwrap_or(u64::MAX)
        };
        let first = own(trim.skip).clamp(start, start + count);
        let end = trim
            .keep
            .map_or(u64::MAX, |keep| own(trim.skip.saturating_add(keep)));
        let last = end.clamp(first, start + count);
        if first == last {
            // With `Drop` there is a complaint on standard error for each.
            return gst::PadProbeReturn::Handled;
        }
        let range = (first - start) as usize * frame..(last - start) as usize * frame;
        if range.len() == buffer.size() {
            return gst::PadProbeReturn::Ok;
        }
        let moved = gst::ClockTime::SECOND.mul_div_floor(first - start, audio.rate().into());
        let pts = buffer.pts().zip(moved).map(|(pts, moved)| pts + moved);
        let flags = gst::BufferCopyFlags::MEMORY | gst::BufferCopyFlags::FLAGS;
        let Ok(mut part) = buffer.copy_region(flags, range) else {
            return gst::PadProbeReturn::Drop;
        };
        if let Some(part) = part.get_mut() {
            part.set_pts(pts);
        }
        *buffer = part;
        gst::PadProbeReturn::Ok
    });
}
