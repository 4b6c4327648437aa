//! Splicing ads into content: from content, breaks and conditioned ads to the bytes of a rendition.
//!
//! [`prepare`] reads what it must (the surroundings of the cues, and where the frames do not follow from less, every frame's header), makes the bridges and freezes the rendition: from then on its length and each of its bytes are
//! determined, as runs of content bytes and of bytes made here. Writing is copying; any range can be asked for. The same content, breaks and ads give the same bytes, wherever they go.
//! Here: what is given and what is told of it, and how it becomes a [`Rendition`] (`rendition`). Not here: which ad plays where (`decide`), making ads fit (`conditioning`), network.

mod ad_chapters;
mod adts;
mod bridged;
mod clock;
pub(crate) mod clusters;
mod error;
mod filed;
pub(crate) mod flac;
pub(crate) mod format;
mod gathered;
mod joins;
mod later;
pub(crate) mod layout;
mod m4a;
mod movie;
mod mp3;
pub mod notes;
pub(crate) mod ogg;
pub(crate) mod opus;
mod opus_sound;
mod peaks;
mod pictures;
pub mod preview;
mod regions;
mod rendition;
mod resume;
mod run;
pub(crate) mod sound;
mod speech;
pub(crate) mod vorbis;
mod wav;
mod webm;

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::content::Content;
use crate::facts;
use crate::pcm::Pcm;
use crate::picture::{Picture, PictureFormat};
use crate::plan::{AdIndex, SplicePlan, Steps};
pub use crate::splice::error::SpliceError;
pub use crate::splice::flac::moved::Renumbered;
use crate::splice::format::Track;
use crate::splice::later::Later;
use crate::splice::layout::Layout;
pub use crate::splice::ogg::moved::Moved;
pub use crate::splice::rendition::Rendition;
pub use crate::splice::run::{Run, Source};
pub use crate::splice::webm::moved::Shifted;
use crate::time::{ContentTime, PresentationTime};

/// The codings that can be spliced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Codec {
    /// MPEG-1, -2 or -2.5 Audio Layer III.
    Mp3,
    /// PCM in WAV, RF64 or BW64.
    Wav,
    /// FLAC in its own container.
    Flac,
    /// AAC-LC in ADTS.
    Adts,
    /// AAC-LC in MP4.
    M4a,
    /// H.264 and AAC-LC in MP4.
    Mp4,
    /// Opus in Ogg.
    OggOpus,
    /// Vorbis in Ogg.
    OggVorbis,
    /// Opus in WebM or Matroska, without pictures.
    WebmOpus,
    /// VP9 and Opus in WebM or Matroska.
    WebmVp9,
}

impl Codec {
    /// Whether it is seen as well as heard.
    pub fn has_pictures(self) -> bool {
        matches!(self, Self::Mp4 | Self::WebmVp9)
    }

    /// What it is called in facts and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mp3 => "mp3",
            Self::Wav => "wav",
            Self::Flac => "flac",
            Self::Adts => "adts",
            Self::M4a => "m4a",
            Self::Mp4 => "mp4",
            Self::OggOpus => "opus",
            Self::OggVorbis => "vorbis",
            Self::WebmOpus => "webm",
            Self::WebmVp9 => "vp9",
        }
    }
}

/// What ads must be like to be spliced in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamFormat {
    /// The content's coding.
    pub codec: Codec,
    /// Samples a second.
    pub sample_rate: u32,
    /// 1 or 2.
    pub channels: u16,
    /// How long the content plays as its head tells: exact when an information frame says so, otherwise as if every frame were like the first.
    pub duration: ContentTime,
    /// What pictures the content has, and ads need.
    pub picture: Option<PictureFormat>,
    /// Whether ads can be spliced in ahead of a reader (see [`crate::play::Growing`]).
    pub grows: bool,
    /// How many bytes at the end are an incomplete frame, which is left out of renditions, as far as frames were counted.
    pub left_over: u64,
}

/// Where a break is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum At {
    /// At a content time.
    Time(ContentTime),
    /// Before the first sample.
    Start,
    /// After the last sample.
    End,
    /// At a fraction of the content's duration, 0–1.
    Fraction(f64),
}

/// One conditioned ad.
#[derive(Clone, Debug)]
pub struct Ad {
    /// Given back in the report.
    pub id: String,
    /// Interleaved samples (±1.0) at the content's rate and channels, gain already applied.
    pub pcm: Pcm,
    /// What is seen meanwhile, in video: pictures in the content's format. Without any the picture before it stands still.
    pub picture: Option<Arc<Picture>>,
}

impl Ad {
    /// How many samples of each of `channels` channels there are.
    fn samples(&self, channels: usize) -> u64 {
        (self.pcm.len() / channels.max(1)) as u64
    }
}

/// A cue point and the ads that play there.
#[derive(Clone, Debug)]
pub struct Break {
    /// Where.
    pub at: At,
    /// How much content the ads take the place of; zero to insert.
    pub replace: Duration,
    /// In order. A break without ads changes nothing.
    pub ads: Vec<Ad>,
}

/// How to splice.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long one read of the content may wait for its bytes.
    pub read_deadline: Duration,
    /// Length of the fades on both sides of a seam.
    pub fade: Duration,
    /// The rendition is to grow out of the content while it is read ([`crate::play::Growing`]): what comes before a break stays as the content has it. FLAC then keeps the size of its blocks, and
    /// silence of less than one follows each break; otherwise its frames are numbered by samples, and nothing follows. MP4 and WebM are given in parts of
    /// about a second, each with its own time ([`Rendition::zero`]), and are for the player alone.
    pub growing: bool,
    /// How long Ogg without ads is, is read at its end.
    pub measured: bool,
    /// Bridges are made when they are read, where the format allows it, so that the first byte waits for none of them. The bytes are the same; seams are not reported, and a bridge that cannot be made is
    /// content and silence instead of a break less.
    pub later: bool,
    /// The breaks are to stand in the list of chapters, where the content has one in ID3 or MP4.
    pub ad_chapters: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            read_deadline: Duration::from_secs(60),
            fade: Duration::from_millis(5),
            growing: false,
            measured: false,
            later: false,
            ad_chapters: false,
        }
    }
}

/// `len` bytes of content at `start`.
pub(crate) fn read(
    content: &dyn Content,
    start: u64,
    len: usize,
    deadline: Duration,
) -> Result<Vec<u8>, SpliceError> {
    let mut bytes = vec![0; len];
    content
        .read_exact_at(start, &mut bytes, deadline)
        .map_err(|source| SpliceError::Read {
            offset: start,
            source,
        })?;
    Ok(bytes)
}

/// One ad as it was spliced in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplicedAd {
    /// Index into the breaks that were given, and into its ads.
    pub index: AdIndex,
    /// The ad's id.
    pub id: String,
    /// The cue, in content time as players count it: from the beginning of what is seen and heard first.
    pub content: ContentTime,
    /// Where the ad begins in the result, counted in the same way.
    pub presentation: PresentationTime,
    /// How long it is.
    pub duration: Duration,
}

/// An ad that could not be put in after all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostAd {
    /// The ad's id.
    pub id: String,
    /// Why.
    pub reason: String,
}

/// Which side of a bridge a seam is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeamKind {
    /// From content frames to re-encoded ones.
    Entry,
    /// From re-encoded frames to content frames.
    Exit,
}

/// A place where untouched content frames meet re-encoded ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Seam {
    /// Which side.
    pub kind: SeamKind,
    /// The break, as an index into those given.
    pub break_index: usize,
    /// Where in the result.
    pub presentation: PresentationTime,
    /// How many content frames between the seam and the cue were re-encoded.
    pub frames: u32,
    /// RMS of the difference to the original's decoded samples in the worst block of 576 samples near the seam, in dB of full scale.
    pub error_db: f64,
}

/// A chapter of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chapter {
    /// The element id in the tag.
    pub id: String,
    /// Empty when it has none.
    pub title: String,
    /// Where it begins.
    pub start: PresentationTime,
    /// Where it ends.
    pub end: PresentationTime,
}

/// What a rendition holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Length in bytes.
    pub bytes: u64,
    /// How long it plays.
    pub duration: Duration,
    /// In order of presentation.
    pub ads: Vec<SplicedAd>,
    /// In order of presentation.
    pub seams: Vec<Seam>,
    /// The content's chapters, moved; with [`Options::ad_chapters`] the breaks among them.
    pub chapters: Vec<Chapter>,
}

impl Report {
    /// Whether breaks stand among the chapters.
    pub fn lists_breaks(&self) -> bool {
        let is_break = |chapter: &Chapter| {
            let begins =
                |ad: &SplicedAd| ad.presentation.as_millis().abs_diff(chapter.start.as_millis()) <= 1;
            chapter.title == ad_chapters::TITLE && self.ads.iter().any(begins)
        };
        self.chapters.iter().any(is_break)
    }
}

/// A place where decoding can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeekPoint {
    /// Its offset in bytes.
    pub offset: u64,
    /// What is decoded there, as a sample of the presentation. What comes before the first sample has numbers below zero.
    pub sample: i64,
}

/// Reads the head of the content and says what ads for it must be like.
///
/// # Errors
/// [`SpliceError::NotAudio`] when it is nothing that can be spliced, [`SpliceError::Read`].
pub fn probe(content: &dyn Content, options: &Options) -> Result<StreamFormat, SpliceError> {
    let head = format::recognise(content, options)?;
    stream_format(head.as_ref(), head.stream(), 0)
}

/// The same where it matters how long the content is: when its head does not say so, or not in a way that can be relied on, its frames are counted.
///
/// # Errors
/// Those of [`probe`], and of reading the frames.
pub fn probe_length(content: &dyn Content, options: &Options) -> Result<StreamFormat, SpliceError> {
    let head = format::recognise(content, options)?;
    let stream = head.stream();
    if stream.samples > 0 && !head.is_guess()? {
        return stream_format(head.as_ref(), stream, 0);
    }
    let track = head.open()?;
    stream_format(head.as_ref(), track.stream(), track.left_over()?)
}

/// The same, whatever the head says: all of the content is read, where that tells how long it is.
///
/// # Errors
/// Those of [`probe_length`].
pub fn count_length(content: &dyn Content, options: &Options) -> Result<StreamFormat, SpliceError> {
    let head = format::recognise(content, options)?;
    let track = head.read_through().unwrap_or_else(|| head.open())?;
    stream_format(head.as_ref(), track.stream(), track.left_over()?)
}

fn stream_format(
    head: &dyn format::Head,
    stream: format::Stream,
    left_over: u64,
) -> Result<StreamFormat, SpliceError> {
    Ok(StreamFormat {
        grows: head.audio().is_some() || head.remade() || head.played()?.is_some(),
        picture: head.picture(),
        codec: stream.codec,
        sample_rate: stream.sample_rate,
        channels: stream.channels,
        duration: ContentTime::from_samples(stream.samples, stream.sample_rate),
        left_over,
    })
}

/// Lays out and freezes a rendition of `content` with `breaks` (in any order; those at the same place play in the order given; where several of them replace the same content, it is replaced once). Without any
/// ad the rendition is the content, and only its head is read. Otherwise what the format needs is read here: of WAV, MP4, MP3 with one bit rate or with an index, ADTS with an index, and long Opus, Vorbis and WebM, the ends or tables and the surroundings of the cues; of others all of it.
pub fn prepare(content: &dyn Content, breaks: &[Break], options: &Options) -> Result<Rendition, SpliceError> {
    lay_out(content, breaks, options, None)
}

/// Lays out and freezes a rendition; with a file, writes it there meanwhile.
fn lay_out(
    content: &dyn Content,
    breaks: &[Break],
    options: &Options,
    out: Option<&File>,
) -> Result<Rendition, SpliceError> {
    let head = format::recognise(content, options)?;
    let any = breaks
        .iter()
        .flat_map(|given| &given.ads)
        .any(|ad| !ad.pcm.is_empty());
    let is_remade = options.growing && head.remade();
    if !any && !is_remade {
        let stream = head.stream();
        let plan = SplicePlan::new(stream.sample_rate, stream.samples, Steps::ANY, &[])?;
        let played = if options.growing { head.played()? } else { None };
        let (runs, audio, zero) = if let Some((runs, played)) = played {
            (runs, Some(played.audio), Some(played.zero))
        } else {
            let mut runs = format::Runs::default();
            runs.content(0, content.len());
            (runs, head.audio(), None)
        };
        let (bytes, mut runs) = (runs.len(), runs.into_runs());
        if let Some(out) = out {
            let written = std::mem::take(&mut runs);
            filed::copy(content, written, options, out, &AtomicBool::default())?;
        }
        let report = Report {
            bytes,
            duration: plan.duration(),
            ads: Vec::new(),
            seams: Vec::new(),
            chapters: head.chapters(&plan)?,
        };
        return Ok(Rendition {
            codec: stream.codec,
            runs,
            plan,
            report,
            audio,
            points: Arc::default(),
            zero,
            later: None,
        });
    }
    format::with_track(head.as_ref(), |track| {
        with_ads(content, track, breaks, options, out)
    })
}

fn with_ads(
    content: &dyn Content,
    track: &dyn Track,
    breaks: &[Break],
    options: &Options,
    out: Option<&File>,
) -> Result<Rendition, SpliceError> {
    let layout = Layout::new(breaks, track, options.fade)?;
    track.check(&layout)?;
    let later = options.later && track.makes_later() && out.is_none();
    if !track.makes_later() {
        let all: Vec<(usize, &Break)> = breaks.iter().enumerate().collect();
        facts::level(track, &all)?;
    }
    let mut spliced = track.splice(&layout)?;
    let bytes = format::len_of(&spliced.runs);
    if !later {
        let bridges = match out {
            Some(out) => filed::write(content, track, &layout, &mut spliced, options, out)?,
            None => later::all(track, &layout, &spliced.left)?,
        };
        for run in &mut spliced.runs {
            if let Source::Bridge { number, from } = run.source {
                let (from, to) = (from as usize, (from + run.len) as usize);
                run.source = Source::Made(bridges[number].bytes.slice(from..to));
            }
        }
        spliced
            .seams
            .extend(bridges.into_iter().flat_map(|made| made.seams));
    }
    let report = Report {
        bytes,
        duration: layout.plan.duration(),
        ads: layout.ads(breaks),
        seams: spliced.seams,
        chapters: spliced.chapters,
    };
    let (audio, points, zero) = match spliced.played {
        Some(played) => (Some(played.audio), played.points, Some(played.zero)),
        // Who reads the file finds their places there.
        None if out.is_some() => (None, Vec::new(), None),
        None => (
            track.audio(&spliced.runs, &layout.plan),
            track.points(&spliced.runs, &layout),
            None,
        ),
    };
    Ok(Rendition {
        codec: track.stream().codec,
        audio,
        points: points.into(),
        zero,
        runs: spliced.runs,
        plan: layout.plan,
        report,
        later: later.then(|| {
            Arc::new(Later::new(
                breaks,
                options,
                &spliced.left,
                track.is_read_through(),
            ))
        }),
    })
}

/// The last place not after sample `wanted` where decoding of content without ads can begin, in a rendition of it that grows, where the content lists such places; `None` otherwise, and where what it says there is not so.
///
/// # Errors
/// Those of [`prepare`].
pub fn seek_point(
    content: &dyn Content,
    options: &Options,
    wanted: i64,
) -> Result<Option<SeekPoint>, SpliceError> {
    format::recognise(content, options)?.point_before(wanted)
}

/// Places about a second apart where decoding of the content itself can begin; none when finding them would take reading all of it. For a rendition that grows they are places in that.
///
/// # Errors
/// Those of [`prepare`].
pub fn seek_points(content: &dyn Content, options: &Options) -> Result<Vec<SeekPoint>, SpliceError> {
    format::recognise(content, options)?.points()
}

/// How many breaks [`prepare_what_fits`] leaves out before it gives up: each costs another preparation.
const MOST_LEFT_OUT: usize = 16;

/// Like [`prepare`], but a break that cannot be spliced leaves only itself out: one outside the content, or in a span that another replaces, or whose bridge cannot be made. Also gives the breaks that were
/// left out, as indices into `breaks`, each with the reason.
///
/// # Errors
/// Those that are no break's fault; and the last one when more than 16 breaks had to be left out.
pub fn prepare_what_fits(
    content: &dyn Content,
    breaks: &[Break],
    options: &Options,
) -> Result<(Rendition, Vec<(usize, SpliceError)>), SpliceError> {
    what_fits(breaks, |kept| prepare(content, kept, options))
}

/// [`prepare_what_fits`], written into a file from its beginning on, which is left as long as the rendition: bridges are made while the rest is copied. The file must be nobody else's. Its bytes are there, and the rendition that is given back holds none of them.
///
/// # Errors
/// Those of [`prepare_what_fits`], and of writing; what the file holds then is of no use.
pub fn write_what_fits(
    content: &dyn Content,
    breaks: &[Break],
    options: &Options,
    out: &File,
) -> Result<(Rendition, Vec<(usize, SpliceError)>), SpliceError> {
    let written = what_fits(breaks, |kept| lay_out(content, kept, options, Some(out)))?;
    // An attempt that failed may have left more.
    out.set_len(written.0.len()).map_err(SpliceError::Write)?;
    Ok(written)
}

fn what_fits(
    breaks: &[Break],
    attempt: impl Fn(&[Break]) -> Result<Rendition, SpliceError>,
) -> Result<(Rendition, Vec<(usize, SpliceError)>), SpliceError> {
    let mut kept = breaks.to_vec();
    let mut left_out = Vec::new();
    loop {
        let error = match attempt(&kept) {
            Ok(rendition) => return Ok((rendition, left_out)),
            Err(error) => error,
        };
        let index = error.break_index().filter(|_| left_out.len() < MOST_LEFT_OUT);
        match index.and_then(|index| Some((index, kept.get_mut(index)?))) {
            Some((index, at_fault)) if !at_fault.ads.is_empty() => {
                at_fault.ads.clear();
                left_out.push((index, error));
            }
            _ => return Err(error),
        }
    }
}

/// [`prepare`], then [`Rendition::write_to`].
pub fn splice(
    content: &dyn Content,
    breaks: &[Break],
    options: &Options,
    out: &mut dyn Write,
) -> Result<Report, SpliceError> {
    let rendition = prepare(content, breaks, options)?;
    rendition.write_to(content, out, options)?;
    Ok(rendition.report)
}
