//! The seam between what is the same for all formats and what is not.
//!
//! A format is recognised by its bytes ([`recognise`]), never by its name. A [`Head`] is what the first bytes tell; [`Head::open`] finds every frame; the [`Track`] that it gives decodes, and makes the bytes
//! of a rendition from a [`Layout`]. Timeline, plan, loudness, pauses, facts and the report are made once, on top of this.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use super::later::Made;
use super::layout::{Layout, is_replaced, moved};
use super::ogg::moved::Moved;
use super::{
    Chapter, Codec, Options, Renumbered, Run, Seam, SeekPoint, Shifted, Source, SpliceError, ad_chapters,
    adts, flac, m4a, mp3, ogg, opus, vorbis, wav, webm,
};
use crate::content::Content;
use crate::creatives::Profile;
use crate::frame_index::FrameIndex;
use crate::frames::id3v2;
use crate::picture::PictureFormat;
use crate::plan::{SplicePlan, Steps};
use crate::time::{ContentTime, PresentationTime};

/// What a stream of samples is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) codec: Codec,
    /// Samples a second.
    pub(crate) sample_rate: u32,
    pub(crate) channels: u16,
    /// Content samples: without declared priming and padding.
    pub(crate) samples: u64,
}

/// The beginning of content that was recognised.
pub(crate) trait Head {
    /// As far as the head tells: the number of samples may be a guess.
    fn stream(&self) -> Stream;

    /// Whether the number of samples that [`Head::stream`] has is not said by anything that can be relied on.
    fn is_guess(&self) -> Result<bool, SpliceError> {
        Ok(false)
    }

    /// What the pictures of ads must be like; `None` when there are none.
    fn picture(&self) -> Option<PictureFormat> {
        None
    }

    /// The content's chapters in presentation time.
    fn chapters(&self, plan: &SplicePlan) -> Result<Vec<Chapter>, SpliceError>;

    /// The blocks of Vorbis comments in it, as they stand there.
    fn comments(&self) -> Vec<&[u8]> {
        Vec::new()
    }

    /// The bytes of the content that are audio, when ads can be spliced in while it plays: what stands before them does not have to change for that. The end is as far as the head tells.
    fn audio(&self) -> Option<Range<u64>> {
        None
    }

    /// Whether a rendition that grows is made anew ([`Played`]) also without ads, since the content's own beginning says where everything is.
    fn remade(&self) -> bool {
        false
    }

    /// The content without ads as what can be played while it grows, where that takes its head alone.
    fn played(&self) -> Result<Option<(Runs, Played)>, SpliceError> {
        Ok(None)
    }

    /// See [`super::seek_point`].
    fn point_before(&self, wanted: i64) -> Result<Option<SeekPoint>, SpliceError> {
        let _ = wanted;
        Ok(None)
    }

    /// See [`super::seek_points`].
    fn points(&self) -> Result<Vec<SeekPoint>, SpliceError> {
        Ok(Vec::new())
    }

    /// Finds every frame. What this reads of the content is the format's own.
    fn open(&self) -> Result<Box<dyn Track + '_>, SpliceError>;

    /// See [`FrameIndex::of`].
    fn frame_index(&self) -> Result<Option<FrameIndex>, SpliceError> {
        Ok(None)
    }

    /// Finds every frame by reading all of them, when [`Head::open`] goes by less; `None` when it never does.
    fn read_through(&self) -> Option<Result<Box<dyn Track + '_>, SpliceError>> {
        None
    }
}

/// Does something with the frames. Where the content turns out not to be what its ends promised, all of it is read, and it is done again.
pub(crate) fn with_track<T>(
    head: &dyn Head,
    work: impl Fn(&dyn Track) -> Result<T, SpliceError>,
) -> Result<T, SpliceError> {
    match head.open().and_then(|track| work(track.as_ref())) {
        Err(error @ SpliceError::Corrupt { .. }) => match head.read_through() {
            Some(track) => work(track?.as_ref()),
            None => Err(error),
        },
        other => other,
    }
}

/// The same where it is known whether all of the content was read before: otherwise it is not read now.
pub(crate) fn with_same_track<T>(
    head: &dyn Head,
    is_read_through: bool,
    work: impl FnOnce(&dyn Track) -> Result<T, SpliceError>,
) -> Result<T, SpliceError> {
    let track = if is_read_through {
        head.read_through()
    } else {
        None
    };
    work(track.unwrap_or_else(|| head.open())?.as_ref())
}

/// Frames on both sides of a cut that are looked at before anything is laid out: more than a bridge needs.
const AROUND: u64 = 64;

/// The frames that bridges are made from, of `size` samples each, `skip` of which come before content sample 0.
pub(crate) fn around(layout: &Layout<'_>, skip: u64, size: u64, frames: u64) -> Vec<Range<u64>> {
    let around = |sample: u64| {
        let frame = (sample + skip) / size;
        frame.saturating_sub(AROUND).min(frames)..(frame + AROUND).min(frames)
    };
    let spots = layout.spots.iter();
    spots
        .flat_map(|spot| [around(spot.span.start), around(spot.span.end)])
        .collect()
}

/// What is decoded of a range, for who listens only: silence where frames are not what they were taken for. Whether that matters is decided where content is cut ([`Track::check`]), so that it does not depend on how loud the content is.
pub(crate) fn or_silence(
    decoded: Result<Vec<f32>, SpliceError>,
    range: &Range<u64>,
    channels: usize,
) -> Result<Vec<f32>, SpliceError> {
    match decoded {
        Err(SpliceError::Corrupt { .. }) => Ok(vec![0.0; (range.end - range.start) as usize * channels]),
        other => other,
    }
}

/// Where a sample lies in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Index of the frame that decodes to it.
    pub(crate) frame: u64,
    /// Offset of that frame in bytes.
    pub(crate) offset: u64,
}

/// Numbers that facts hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frames {
    /// How many there are.
    pub(crate) count: u64,
    /// What the content moves in steps of: samples of a frame, or 1 when it can be cut anywhere.
    pub(crate) steps: Steps,
    /// Offset in bytes of the first.
    pub(crate) start: u64,
    /// Bits a second when that is the same throughout.
    pub(crate) bit_rate: Option<u32>,
}

/// Content whose frames are known.
pub(crate) trait Track: Sync {
    /// What it is, exactly.
    fn stream(&self) -> Stream;

    /// How many bytes at the end of the content are an incomplete frame, which is no part of a rendition.
    fn left_over(&self) -> Result<u64, SpliceError> {
        Ok(0)
    }

    /// What is known about its frames.
    fn frames(&self) -> Frames;

    /// Where a content sample lies.
    fn place(&self, sample: u64) -> Result<Place, SpliceError>;

    /// Interleaved samples of a range of content samples; silence where there is no content or it cannot be decoded.
    fn decode(&self, range: Range<u64>) -> Result<Vec<f32>, SpliceError>;

    /// The samples that a break takes the place of where those are given: content that cannot be cut everywhere moves them to where it can, or says why it cannot.
    fn cut(&self, span: &Range<u64>) -> Result<Range<u64>, String> {
        Ok(span.clone())
    }

    /// When a sample is heard, in samples of the time that players count: sound may begin later than that does, and have gaps.
    fn heard(&self, sample: u64) -> u64 {
        sample
    }

    /// By how many samples the pictures last longer than the sound.
    fn outlasted(&self) -> u64 {
        0
    }

    /// When the key picture is shown that is nearest to a sample and at most `within` from it, where pictures can be cut without coding any again; nothing in content without pictures.
    fn key_near(&self, sample: u64, within: u64) -> Option<Result<Option<u64>, SpliceError>> {
        let _ = (sample, within);
        None
    }

    /// How long the pictures are that are coded again for a cut at a sample, when that is longer than anybody expects.
    fn recodes_long(&self, sample: u64) -> Option<Duration> {
        let _ = sample;
        None
    }

    /// Whether more than so many bytes of pictures would have to be coded again for a cut at a sample, since no key pictures are near it.
    fn lacks_keys(&self, sample: u64, most: u64) -> bool {
        let _ = (sample, most);
        false
    }

    /// Whether the content around all cuts is what it was taken for, where it was not read before: asked before anything else is done with a layout, so that everybody who has the same finds the same.
    fn check(&self, layout: &Layout<'_>) -> Result<(), SpliceError> {
        let _ = layout;
        Ok(())
    }

    /// Whether it is what [`Head::read_through`] gives.
    fn is_read_through(&self) -> bool {
        false
    }

    /// Lays out the runs of a rendition, and makes all of them but its bridges, if how long those are is known before they are made.
    fn splice(&self, layout: &Layout<'_>) -> Result<Spliced, SpliceError>;

    /// Whether [`Track::splice`] leaves bridges to be made, and needs no samples of ads.
    fn makes_later(&self) -> bool {
        false
    }

    /// Makes a bridge that [`Track::splice`] left.
    fn bridge(&self, layout: &Layout<'_>, number: usize) -> Result<Made, SpliceError> {
        let _ = (layout, number);
        Err(SpliceError::Unsupported("there is no such bridge".into()))
    }

    /// What stands in for a bridge that cannot be made: content and silence; and the breaks whose ads are not heard, as indices into those that were given.
    fn silence(&self, layout: &Layout<'_>, number: usize) -> Result<(Bytes, Vec<usize>), SpliceError> {
        let _ = (layout, number);
        Err(SpliceError::Unsupported("there is no such bridge".into()))
    }

    /// Of the runs that [`Track::splice`] made, the bytes that are audio; `None` when [`Head::audio`] is.
    fn audio(&self, runs: &[Run], plan: &SplicePlan) -> Option<Range<u64>> {
        let _ = (runs, plan);
        None
    }

    /// Of the runs that [`Track::splice`] made, places where decoding can begin: see [`super::Rendition::points`].
    fn points(&self, runs: &[Run], layout: &Layout<'_>) -> Vec<SeekPoint> {
        let _ = (runs, layout);
        Vec::new()
    }
}

/// The end of the last run.
pub(crate) fn len_of(runs: &[Run]) -> u64 {
    runs.last().map_or(0, |run| run.start + run.len)
}

/// What [`Track::splice`] makes.
#[derive(Debug)]
pub(crate) struct Spliced {
    pub(crate) runs: Vec<Run>,
    pub(crate) seams: Vec<Seam>,
    pub(crate) chapters: Vec<Chapter>,
    /// How long the bridges are that are left to be made.
    pub(crate) left: Vec<u64>,
    /// Set when the runs are for a player alone.
    pub(crate) played: Option<Played>,
}

/// Runs that a player reads once, in order, while what comes later may still change: their beginning says nothing of it, and each part says when it is.
#[derive(Debug)]
pub(crate) struct Played {
    /// The bytes after the beginning.
    pub(crate) audio: Range<u64>,
    /// See [`super::Rendition::points`].
    pub(crate) points: Vec<SeekPoint>,
    /// The time that is written where the presentation begins.
    pub(crate) zero: Duration,
}

/// The content's kind, by its first bytes. An error when no ads can be made that are like it.
pub(crate) fn recognise<'a>(
    content: &'a dyn Content,
    options: &'a Options,
) -> Result<Box<dyn Head + 'a>, SpliceError> {
    let head = kind_of(content, options)?;
    let (rate, rates) = (head.stream().sample_rate, Profile::SAMPLE_RATES);
    if rates.contains(&rate) {
        return Ok(head);
    }
    Err(SpliceError::Unsupported(format!(
        "the content has {rate} samples a second, and ads can be put into sound of {} to {}",
        rates.start(),
        rates.end()
    )))
}

fn kind_of<'a>(content: &'a dyn Content, options: &'a Options) -> Result<Box<dyn Head + 'a>, SpliceError> {
    if content.is_empty() {
        return Err(SpliceError::NotAudio("the content is empty".into()));
    }
    if let Some(wav) = wav::Wav::new(content, options)? {
        return Ok(Box::new(wav));
    }
    if let Some(flac) = flac::Flac::new(content, options)? {
        return Ok(Box::new(flac));
    }
    if let Some(m4a) = m4a::M4a::new(content, options)? {
        return Ok(Box::new(m4a));
    }
    if let Some(opus) = opus::Opus::new(content, options)? {
        return Ok(Box::new(opus));
    }
    if let Some(webm) = webm::WebmOpus::new(content, options)? {
        return Ok(Box::new(webm));
    }
    if let Some(vorbis) = vorbis::Vorbis::new(content, options)? {
        return Ok(Box::new(vorbis));
    }
    ogg::refuse(content, options)?;
    if let Some(adts) = adts::Adts::new(content, options)? {
        return Ok(Box::new(adts));
    }
    if let Some(mp3) = mp3::Mp3::new(content, options)? {
        return Ok(Box::new(mp3));
    }
    Err(SpliceError::NotAudio(
        "the content is of no kind that ads can be put into, which are MP3, AAC (ADTS and MP4), Opus (Ogg and WebM), Vorbis (Ogg), FLAC, WAV, and video in MP4 (H.264) and WebM (VP9)".into(),
    ))
}

/// Ads are made for one or two channels.
pub(crate) fn check_channels(channels: u16) -> Result<(), SpliceError> {
    if matches!(channels, 1 | 2) {
        return Ok(());
    }
    Err(not_stereo(channels))
}

/// What content of more channels gets told.
pub(crate) fn not_stereo(channels: u16) -> SpliceError {
    SpliceError::Unsupported(format!(
        "the content has {channels} channels, and ads can be put into mono and stereo"
    ))
}

/// How the content would have gone on after `span` begins, and what comes just before it ends, as long as the fades are. Nothing where the content begins or ends.
pub(crate) fn surroundings(
    track: &dyn Track,
    layout: &Layout<'_>,
    span: &Range<u64>,
) -> Result<(Vec<f32>, Vec<f32>), SpliceError> {
    let (fade, samples) = (layout.fade as u64, track.stream().samples);
    let before = match span.start {
        0 => Vec::new(),
        start => track.decode(start..(start + fade).min(samples))?,
    };
    let after = match span.end {
        end if end == samples => Vec::new(),
        end => track.decode(end.saturating_sub(fade)..end)?,
    };
    Ok((before, after))
}

/// The chapters of an ID3v2 tag of which something is left, in the order they stand there, in presentation time.
pub(crate) fn tag_chapters(plan: &SplicePlan, tag: &[u8]) -> Vec<Chapter> {
    let millisecond = u64::from(plan.sample_rate().div_ceil(1000));
    let time = |millis: u32| moved(plan, ContentTime::from_millis(u64::from(millis)), millisecond);
    id3v2::chapters(tag)
        .into_iter()
        .filter(|chapter| !is_left_out(plan, chapter))
        .map(|chapter| Chapter {
            start: time(chapter.start),
            end: time(chapter.end),
            id: chapter.id,
            title: chapter.title,
        })
        .collect()
}

/// Whether nothing is left of a chapter.
fn is_left_out(plan: &SplicePlan, chapter: &id3v2::TagChapter) -> bool {
    let span = [chapter.start, chapter.end].map(|millis| ContentTime::from_millis(millis.into()));
    is_replaced(
        plan,
        &(span[0]..span[1]),
        plan.sample_rate().div_ceil(1000).into(),
    )
}

/// The tag and its chapters with their times moved and a new length; where it is asked for, with the breaks among them.
pub(crate) fn moved_tag(tag: &[u8], plan: &SplicePlan, options: &Options) -> (Vec<u8>, Vec<Chapter>) {
    let length = PresentationTime::from(plan.duration()).as_millis();
    let mut chapters = tag_chapters(plan, tag);
    if !options.ad_chapters || chapters.is_empty() {
        return (edit_tag(plan, tag, &chapters, length), chapters);
    }
    let added = ad_chapters::added(plan, &mut chapters);
    let edited = edit_tag(plan, tag, &chapters, length);
    let new: Vec<_> = added
        .iter()
        .map(|chapter| id3v2::TagChapter {
            id: chapter.id.clone(),
            title: chapter.title.clone(),
            start: chapter.start.as_millis() as u32,
            end: chapter.end.as_millis() as u32,
        })
        .collect();
    let edited = id3v2::add_chapters(&edited, &new);
    chapters.extend(added);
    chapters.sort_by_key(|chapter| chapter.start);
    (edited, chapters)
}

/// The tag with these chapters' times, those of other things moved, and a new length in milliseconds.
fn edit_tag(plan: &SplicePlan, tag: &[u8], chapters: &[Chapter], length: u64) -> Vec<u8> {
    let millisecond = u64::from(plan.sample_rate().div_ceil(1000));
    let mut times = chapters
        .iter()
        .map(|chapter| (chapter.start.as_millis() as u32, chapter.end.as_millis() as u32));
    id3v2::edit(
        tag,
        &mut |chapter| {
            let is_left = !is_left_out(plan, chapter);
            is_left.then(|| times.next().unwrap_or((chapter.start, chapter.end)))
        },
        &mut |time| moved(plan, ContentTime::from_millis(time.into()), millisecond).as_millis() as u32,
        length,
    )
}

/// Collects the runs of a rendition.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    runs: Vec<Run>,
    len: u64,
}

impl Runs {
    fn push(&mut self, len: u64, source: Source) {
        if len > 0 {
            self.runs.push(Run {
                start: self.len,
                len,
                source,
            });
            self.len += len;
        }
    }

    /// Adds bytes that were made.
    pub(crate) fn made(&mut self, bytes: &[u8]) {
        self.shared(Bytes::copy_from_slice(bytes));
    }

    /// Adds bytes that were made and are held elsewhere too.
    pub(crate) fn shared(&mut self, bytes: Bytes) {
        self.push(bytes.len() as u64, Source::Made(bytes));
    }

    /// Adds `len` bytes of a bridge that is made later, from one of its bytes on; what follows the run before it becomes one with it.
    pub(crate) fn bridge(&mut self, number: usize, from: u64, len: u64) {
        if let Some(Run {
            len: before,
            source: Source::Bridge {
                number: same,
                from: begin,
            },
            ..
        }) = self.runs.last_mut()
            && *same == number
            && *begin + *before == from
        {
            *before += len;
            self.len += len;
            return;
        }
        self.push(len, Source::Bridge { number, from });
    }

    /// Adds so many bytes of pages of the content that may have other numbers.
    pub(crate) fn pages(&mut self, pages: Moved, len: u64) {
        if pages.sequence == 0 && pages.granule == 0 && pages.serial == pages.to {
            self.content(pages.from, pages.from + len);
        } else {
            self.push(len, Source::Pages(pages));
        }
    }

    /// Adds frames of FLAC that may have other numbers.
    pub(crate) fn frames(&mut self, frames: Renumbered) {
        if frames.is_as_it_was() {
            self.content(frames.from, frames.from + frames.bytes);
        } else {
            self.push(frames.len(), Source::Frames(frames));
        }
    }

    /// Adds so many bytes of clusters of the content that are later; what follows the run before it becomes one with it.
    pub(crate) fn clusters(&mut self, clusters: Shifted, more: u64) {
        if let Some(Run {
            len,
            source: Source::Clusters(before),
            ..
        }) = self.runs.last_mut()
            && before.from + *len == clusters.from
            && before.later == clusters.later
        {
            *len += more;
            self.len += more;
            return;
        }
        self.push(more, Source::Clusters(clusters));
    }

    /// Adds the content's bytes from `start` to `end`; what follows the run before it becomes one with it.
    pub(crate) fn content(&mut self, start: u64, end: u64) {
        if let Some(Run {
            len,
            source: Source::Content(from),
            ..
        }) = self.runs.last_mut()
            && *from + *len == start
        {
            *len += end - start;
            self.len += end - start;
            return;
        }
        self.push(end - start, Source::Content(start));
    }

    /// How many bytes there are so far.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Adds all of another's.
    pub(crate) fn append(&mut self, other: Self) {
        for run in other.runs {
            match run.source {
                Source::Content(from) => self.content(from, from + run.len),
                made => self.push(run.len, made),
            }
        }
    }

    pub(crate) fn into_runs(self) -> Vec<Run> {
        self.runs
    }
}
