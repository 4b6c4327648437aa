//! Splicing AAC-LC in MP4 (M4A), and H.264 beside it. The sample tables are read and written here, so that no packet is lost to a demuxer; the result is fast-start: the movie box before the sound, wherever it was.
//!
//! Sound is bridged as in all formats of packets; `pictures` lays out what is seen, `movie` writes the file.
//!
//! Priming is what the edit list (or iTunes' tag) declares, and stays. Tracks that are not the sound (chapters' titles, their pictures, subtitles) keep their samples; each begins where its time has moved to. Subtitles are not shown over ads. Tags and
//! cover art are copied.

use std::ops::{Deref, Range};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::adts::refuse_sbr;
use super::bridged::{Coding, decoded};
use super::clock::Clock;
use super::format::{self, Frames, Place, Spliced, Stream};
use super::joins::Grid;
use super::later::Made;
use super::layout::{Layout, ends, is_replaced, moved};
use super::movie::assemble;
use super::pictures::{Avc, Heard, Seen, half_of_one, rescaled};
use super::regions::{Fixed, Piece, Regions, joined};
use super::{Chapter, Codec, Options, SpliceError, ad_chapters};
use crate::again::Again;
use crate::bridge::{BridgeError, aac as bridge};
use crate::content::{Content, Findings};
use crate::frames::aac::{Config, SAMPLES};
use crate::frames::mp4::{
    Atom, Samples, TopBox, audio_config, edit_list, full_duration, gather, nero_chapters, priming, read_tree,
    remove_tables, top_level,
};
use crate::frames::padding;
use crate::picture::PictureFormat;
use crate::plan::{self, SplicePlan, Steps};
use crate::time::{ContentTime, PresentationTime};

/// Packets that are decoded to see whether there is SBR that nobody declared.
const LOOKED_AT: usize = 8;
const LATE_SOUND: &str = "the content's sound begins more than half a second after its pictures, and nothing can be put before both yet";

/// An M4A file.
pub(crate) struct M4a<'a> {
    content: &'a dyn Content,
    pub(super) options: &'a Options,
    parsed: Arc<Parsed>,
}

impl Deref for M4a<'_> {
    type Target = Parsed;

    fn deref(&self) -> &Parsed {
        &self.parsed
    }
}

/// What its tables say: as long as the file is, and so found out once for all who have the same content.
pub(crate) struct Parsed {
    pub(super) boxes: Vec<TopBox>,
    pub(super) moov: Atom,
    /// Which of `moov`'s children is the sound.
    pub(super) track: usize,
    pub(super) config: Config,
    pub(super) movie_scale: u32,
    pub(super) packets: Samples,
    pub(super) pictures: Option<Avc>,
    /// The tables of the other tracks, at their places in `moov`.
    pub(super) tables: Vec<Option<Samples>>,
    pub(super) clock: Clock,
    /// How many samples after the beginning of the presentation the sound begins.
    pub(super) lead: u64,
    pub(super) samples: u64,
    /// Set when its first packets were decoded and found to be what they are said to be.
    heard: OnceLock<()>,
}

fn unsupported(what: &str) -> SpliceError {
    SpliceError::Unsupported(what.to_owned())
}

/// Beside pictures the sound alone is coded again.
fn with_pictures(error: SpliceError, has_pictures: bool) -> SpliceError {
    match error {
        SpliceError::Again(Again::HeAac) if has_pictures => SpliceError::Again(Again::HeAacBeside),
        other => other,
    }
}

fn handler(track: &Atom) -> &[u8] {
    let hdlr = track.bytes(&[b"mdia", b"hdlr"]);
    hdlr.and_then(|hdlr| hdlr.get(8..12)).unwrap_or_default()
}

/// The coding that a track's description names.
fn coding(track: &Atom) -> &[u8] {
    let stsd = track.bytes(&[b"mdia", b"minf", b"stbl", b"stsd"]);
    stsd.and_then(|stsd| stsd.get(12..16)).unwrap_or_default()
}

impl<'a> M4a<'a> {
    /// `None` when it is something else.
    pub(crate) fn new(content: &'a dyn Content, options: &'a Options) -> Result<Option<Self>, SpliceError> {
        let findings = content.findings();
        let parsed = if let Some(parsed) = findings.and_then(Findings::get) {
            parsed
        } else if let Some(parsed) = Parsed::read(content, options.read_deadline)? {
            Arc::new(parsed)
        } else {
            return Ok(None);
        };
        if let Some(findings) = findings {
            findings.keep(&parsed);
        }
        Ok(Some(Self {
            content,
            options,
            parsed,
        }))
    }
}

impl Parsed {
    /// `None` when the content is something else.
    fn read(content: &dyn Content, deadline: Duration) -> Result<Option<Self>, SpliceError> {
        let Some(boxes) = top_level(content, deadline)? else {
            return Ok(None);
        };
        let moov = boxes.iter().find(|one| &one.kind == b"moov").ok_or_else(|| {
            unsupported("the MP4 file has no movie box, as if it had not been written to its end")
        })?;
        let mut moov = read_tree(content, moov, deadline)?;
        let mut tables = gather(content, &boxes, &moov, deadline)?;
        if let Some(children) = moov.children_mut()
            && let Some(at) = children.iter().position(|child| &child.kind == b"mvex")
        {
            // What is written has no fragments.
            children.remove(at);
            tables.remove(at);
        }
        moov.children_mut().into_iter().flatten().for_each(remove_tables);
        let tracks = || {
            moov.children()
                .iter()
                .enumerate()
                .filter(|(_, child)| &child.kind == b"trak")
        };
        let still = |kind: &[u8]| matches!(kind, b"jpeg" | b"png " | b"mjpa" | b"mjpb");
        let mut moving = tracks().filter(|(_, track)| handler(track) == b"vide" && !still(coding(track)));
        let pictures = moving.next();
        if moving.next().is_some() {
            return Err(unsupported("the MP4 file has more than one track of pictures"));
        }
        let mut sounds = tracks().filter(|(_, track)| handler(track) == b"soun");
        let (track, sound) = sounds
            .next()
            .ok_or_else(|| SpliceError::NotAudio("the MP4 file has no sound".into()))?;
        if sounds.next().is_some() {
            return Err(unsupported("the MP4 file has more than one track of sound"));
        }
        let damaged = || unsupported("the MP4 file does not say how long it is");
        let header = moov
            .bytes(&[b"mvhd"])
            .and_then(full_duration)
            .ok_or_else(damaged)?;
        let config = match audio_config(sound) {
            Err(error) if !matches!(error, SpliceError::Again(_)) => return Err(error),
            found => found,
        };
        // Beside pictures that nothing can be put among no sound is worth being coded again.
        let pictures = match pictures {
            Some((child, track)) => {
                let scale = track.bytes(&[b"mdia", b"mdhd"]).and_then(full_duration);
                let scale = scale.ok_or_else(damaged)?.timescale;
                let samples = tables[child].take().unwrap_or_default();
                let edit = edit_list(track, header.timescale)?;
                Some(Avc::new(child, track, samples, edit, (scale, header.timescale))?)
            }
            None => None,
        };
        let config = config.map_err(|error| with_pictures(error, pictures.is_some()))?;
        let media = sound
            .bytes(&[b"mdia", b"mdhd"])
            .and_then(full_duration)
            .ok_or_else(damaged)?;
        let packets = tables[track].take().unwrap_or_default();
        if media.timescale != config.sample_rate {
            if u64::from(media.timescale) == 2 * u64::from(config.sample_rate) {
                // As SBR has it, which may be in the packets without a word about it.
                let places = packets.offsets.iter().zip(&packets.sizes).take(LOOKED_AT);
                let looked_at = places.map(|(at, size)| super::read(content, at, *size as usize, deadline));
                refuse_sbr(config, looked_at.collect::<Result<_, _>>()?)
                    .map_err(|error| with_pictures(error, pictures.is_some()))?;
            }
            return Err(unsupported(
                "the MP4 file's sound counts time in other steps than samples",
            ));
        }
        if packets.sizes.is_empty() {
            return Err(SpliceError::NotAudio("the content holds no audio samples".into()));
        }
        let odd = packets.durations.iter().filter(|run| run.1 != SAMPLES);
        let odd: u64 = odd.map(|run| u64::from(run.0)).sum();
        if odd > packets.sizes.len() as u64 / 8 + 8 {
            return Err(unsupported(&format!(
                "the MP4 file's sound is not in packets of {SAMPLES} samples that follow each other"
            )));
        }
        let edit = edit_list(sound, header.timescale)?;
        // Sound that begins later stays so much later than pictures and titles.
        let lead = edit.map_or(0, |edit| {
            rescaled(edit.lead as i64, media.timescale, header.timescale).max(0) as u64
        });
        let declared = priming(&moov).filter(|_| edit.is_none());
        let zero = edit
            .map(|edit| edit.media_time)
            .or(declared.map(|(delay, _)| delay));
        let clock = Clock::new(SAMPLES, &packets.durations, zero.unwrap_or(0), lead);
        let all = clock.samples() - clock.skip();
        let samples = match (edit, declared) {
            (Some(edit), _) => {
                let wanted =
                    u128::from(edit.duration) * u128::from(media.timescale) / u128::from(header.timescale);
                let wanted = i64::try_from(wanted).unwrap_or(i64::MAX / 2);
                // Movie time is often milliseconds: what is that near to the end is meant to be it.
                let unit = u64::from(media.timescale / header.timescale) + 1;
                let until = wanted + lead as i64;
                if wanted == 0 || until.abs_diff(clock.heard(all)) <= unit {
                    all
                } else {
                    clock.content(until).min(all)
                }
            }
            (None, Some((_, samples))) => samples.min(all),
            (None, None) => all,
        };
        let movie = Self {
            boxes: boxes.clone(),
            track,
            config,
            movie_scale: header.timescale,
            packets,
            pictures,
            tables,
            clock,
            lead,
            samples,
            moov,
            heard: OnceLock::new(),
        };
        let listed = [
            Some(&movie.packets),
            movie.pictures.as_ref().map(|avc| &avc.video.samples),
        ];
        let listed = listed.into_iter().flatten();
        let ends = listed.flat_map(|samples| samples.offsets.iter().zip(&samples.sizes));
        let due = ends
            .map(|(offset, size)| offset.saturating_add((*size).into()))
            .max();
        if let Some(due) = due.filter(|due| *due > content.len()) {
            return Err(SpliceError::truncated(content, content.len(), Some(due)));
        }
        Ok(Some(movie))
    }
}

impl M4a<'_> {
    pub(super) fn read_at(&self, start: u64, len: u64) -> Result<Vec<u8>, SpliceError> {
        super::read(self.content, start, len as usize, self.options.read_deadline)
    }

    /// The pictures, if there are any.
    fn seen(&self) -> Option<Seen<'_>> {
        self.pictures.as_ref().map(|avc| Seen {
            content: self.content,
            deadline: self.options.read_deadline,
            video: &avc.video,
            heard: Heard {
                clock: &self.clock,
                rate: self.config.sample_rate,
                samples: self.samples,
            },
        })
    }

    /// How many samples before a cue times may be that are meant to be at it: cues move to the nearest picture, by up to half of one.
    fn unit(&self, unit: u64) -> u64 {
        let half = self.pictures.as_ref().map_or(0, |avc| {
            half_of_one(&avc.video.format, avc.video.scale, self.config.sample_rate)
        });
        unit.max(half)
    }

    /// A time of the presentation of the content in that of the result. Times less than `unit` samples before a cue are meant to be at it.
    pub(super) fn moved(&self, plan: &SplicePlan, time: ContentTime, unit: u64) -> PresentationTime {
        let (rate, unit) = (self.config.sample_rate, self.unit(unit));
        // Plans count what sounds: neither what comes before it nor what is between.
        let heard = time.to_samples(rate);
        let sample = self.clock.content(heard as i64);
        let silent = ContentTime::from_samples(heard.saturating_sub(sample), rate);
        let after = moved(plan, ContentTime::from_samples(sample, rate), unit);
        PresentationTime::from_nanos(after.as_nanos() + silent.as_nanos())
    }

    /// Whether nothing is left of a chapter of the presentation of the content.
    pub(super) fn leaves_out(&self, plan: &SplicePlan, chapter: &Range<ContentTime>, unit: u64) -> bool {
        let rate = self.config.sample_rate;
        let sound = |time: ContentTime| {
            ContentTime::from_samples(self.clock.content(time.to_samples(rate) as i64), rate)
        };
        is_replaced(plan, &(sound(chapter.start)..sound(chapter.end)), self.unit(unit))
    }

    /// Where the breaks are in the result, in this scale; none when they are not to be in the list of chapters.
    pub(super) fn listed_breaks(&self, plan: &SplicePlan, scale: u64) -> Vec<(u64, u64)> {
        if self.options.ad_chapters {
            self.breaks(plan, scale)
        } else {
            Vec::new()
        }
    }

    /// Where the breaks are in the result, in this scale.
    pub(super) fn breaks(&self, plan: &SplicePlan, scale: u64) -> Vec<(u64, u64)> {
        let rate = self.config.sample_rate;
        let breaks = ad_chapters::breaks(plan).into_iter();
        let moved = breaks.map(|(start, end)| {
            let cue = match plan.at(start) {
                plan::Place::Ad(index, _) => plan.cue(index).unwrap_or_default(),
                plan::Place::Content(time) | plan::Place::Lead(time) | plan::Place::Pad(time) => {
                    time.to_samples(rate)
                }
            };
            let silent = (self.clock.heard(cue) - cue as i64).max(0) as u64;
            let silent = ContentTime::from_samples(silent, rate).as_nanos();
            [start, end].map(|time| time.as_nanos() + silent)
        });
        let scaled = |nanos: u64| (u128::from(nanos) * u128::from(scale) / 1_000_000_000) as u64;
        moved.map(|[start, end]| (scaled(start), scaled(end))).collect()
    }

    /// The chapters of the result that Nero's list is to hold: beginning in 100 ns, title.
    pub(super) fn nero(&self, plan: &SplicePlan) -> Vec<(u64, String)> {
        const SCALE: u64 = 10_000_000;
        let unit = u64::from(plan.sample_rate().div_ceil(1000));
        let listed = nero_chapters(&self.moov).into_iter();
        let (starts, titles): (Vec<_>, Vec<_>) = listed
            .map(|(time, title)| (ContentTime::from_nanos(time.saturating_mul(100)), title))
            .unzip();
        let chapters = starts.iter().zip(ends(plan, &starts)).zip(titles);
        let mut listed: Vec<_> = chapters
            .filter(|((start, end), _)| !self.leaves_out(plan, &(**start..*end), unit))
            .map(|((start, _), title)| (self.moved(plan, *start, unit).as_nanos() / 100, title))
            .collect();
        if !listed.is_empty() {
            let end = PresentationTime::from(plan.duration()).as_nanos() / 100;
            let breaks = self.listed_breaks(plan, SCALE);
            ad_chapters::insert(&mut listed, &breaks, &ad_chapters::TITLE.to_owned(), end);
        }
        listed
    }

    fn chapters_of(&self, plan: &SplicePlan) -> Vec<Chapter> {
        let starts: Vec<_> = self
            .nero(plan)
            .into_iter()
            .map(|(time, title)| (PresentationTime::from_nanos(time.saturating_mul(100)), title))
            .collect();
        let end = PresentationTime::from(plan.duration());
        let ends = starts.iter().skip(1).map(|chapter| chapter.0).chain([end]);
        let chapters = starts.iter().zip(ends).enumerate();
        chapters
            .map(|(i, ((start, title), end))| Chapter {
                id: i.to_string(),
                title: title.clone(),
                start: *start,
                end,
            })
            .collect()
    }
}

impl format::Head for M4a<'_> {
    fn stream(&self) -> Stream {
        Stream {
            codec: if self.pictures.is_some() {
                Codec::Mp4
            } else {
                Codec::M4a
            },
            sample_rate: self.config.sample_rate,
            channels: self.config.channels.into(),
            samples: self.samples,
        }
    }

    fn chapters(&self, plan: &SplicePlan) -> Result<Vec<Chapter>, SpliceError> {
        Ok(self.chapters_of(plan))
    }

    fn picture(&self) -> Option<PictureFormat> {
        self.pictures.as_ref().map(|avc| avc.video.format)
    }

    fn remade(&self) -> bool {
        true
    }

    fn open(&self) -> Result<Box<dyn format::Track + '_>, SpliceError> {
        let track = Track(self);
        if self.heard.get().is_none() {
            let looked_at = self.packets.sizes.len().min(LOOKED_AT) as u64;
            refuse_sbr(self.config, track.read(0..looked_at)?)
                .map_err(|error| with_pictures(error, self.pictures.is_some()))?;
            // Who else looked found the same.
            let _ = self.heard.set(());
        }
        Ok(Box::new(track))
    }
}

struct Track<'a>(&'a M4a<'a>);

impl Track<'_> {
    /// The content sample at a time, which is counted as if there were no gaps in the sound.
    fn meant(&self, sample: u64) -> u64 {
        let file = self.0;
        if sample >= file.samples {
            return file.samples;
        }
        file.clock.content(sample as i64).min(file.samples)
    }
}

impl Coding for Track<'_> {
    fn grid(&self) -> Grid {
        let size = u64::from(SAMPLES);
        Grid {
            size,
            frames: self.0.packets.sizes.len() as u64,
            end: self.skip() + self.0.samples,
            fade: 0,
            overlap: size,
            checked: 3,
            reach: 0,
        }
    }

    fn skip(&self) -> u64 {
        self.0.clock.skip()
    }

    fn channels(&self) -> usize {
        self.0.config.channels.into()
    }

    fn delay(&self) -> u64 {
        bridge::DELAY.into()
    }

    fn unsettled(&self) -> u64 {
        1
    }

    fn preroll(&self) -> u64 {
        4
    }

    fn read(&self, packets: Range<u64>) -> Result<Vec<Vec<u8>>, SpliceError> {
        let table = &self.0.packets;
        (packets.start as usize..packets.end as usize)
            .map(|i| self.0.read_at(table.offsets.at(i), table.sizes[i].into()))
            .collect()
    }

    fn decode(&self, clips: &[Vec<Vec<u8>>]) -> Result<Vec<Vec<f32>>, BridgeError> {
        bridge::decode(self.0.config, clips)
    }

    fn encode(
        &self,
        pcm: &[f32],
        _: &Range<usize>,
        inner: &[Range<usize>],
        _: &[Vec<u8>],
    ) -> Result<Vec<Vec<u8>>, BridgeError> {
        bridge::encode_in_parts(self.0.config, pcm, inner)
    }

    fn encode_carefully(&self, pcm: &[f32]) -> Result<Vec<Vec<Vec<u8>>>, BridgeError> {
        bridge::encode_carefully(self.0.config, pcm)
    }
}

impl Fixed for Track<'_> {
    fn packet_len(&self) -> usize {
        padding::most_bytes(self.0.config)
    }

    fn ad_len(&self) -> usize {
        padding::ad_bytes(self.0.config)
    }

    fn padded(&self, packet: &[u8], len: usize) -> Option<Vec<u8>> {
        padding::padded(packet, len)
    }

    fn silence(&self) -> Vec<u8> {
        padding::silent(self.0.config)
    }
}

impl format::Track for Track<'_> {
    fn stream(&self) -> Stream {
        format::Head::stream(self.0)
    }

    fn frames(&self) -> Frames {
        Frames {
            count: self.grid().frames,
            steps: Steps::of_frames(SAMPLES),
            start: self.0.packets.offsets.at(0),
            bit_rate: None,
        }
    }

    fn place(&self, sample: u64) -> Result<Place, SpliceError> {
        let frame = ((sample + self.skip()) / u64::from(SAMPLES)).min(self.grid().frames - 1);
        Ok(Place {
            frame,
            offset: self.0.packets.offsets.at(frame as usize),
        })
    }

    fn decode(&self, range: Range<u64>) -> Result<Vec<f32>, SpliceError> {
        let skip = self.skip();
        decoded(self, (range.start + skip) as i64..(range.end + skip) as i64)
    }

    fn cut(&self, span: &Range<u64>) -> Result<Range<u64>, String> {
        let cut = |sample: u64| match (self.0.seen(), self.meant(sample)) {
            // What is put before the sound is heard while the pictures before it are still seen.
            (Some(_), 0) if self.0.lead > u64::from(self.0.config.sample_rate / 2) => Err(LATE_SOUND.into()),
            (Some(seen), sample) => seen.cut(sample),
            (None, sample) => Ok(sample),
        };
        let start = cut(span.start)?;
        if !span.is_empty() {
            return Ok(start..cut(span.end)?);
        }
        if let Some(seen) = self.0.seen() {
            seen.check_insert(start)?;
        }
        Ok(start..start)
    }

    fn heard(&self, sample: u64) -> u64 {
        self.0.clock.heard(sample).max(0) as u64
    }

    fn outlasted(&self) -> u64 {
        self.0.seen().map_or(0, |seen| seen.outlasts_sound())
    }

    fn key_near(&self, sample: u64, within: u64) -> Option<Result<Option<u64>, SpliceError>> {
        self.0.seen().map(|seen| seen.key_near(sample, within))
    }

    fn recodes_long(&self, sample: u64) -> Option<Duration> {
        self.0.seen()?.recodes_long(self.meant(sample))
    }

    fn lacks_keys(&self, sample: u64, most: u64) -> bool {
        let sample = self.meant(sample);
        self.0.seen().is_some_and(|seen| seen.lacks_keys(sample, most))
    }

    fn splice(&self, layout: &Layout<'_>) -> Result<Spliced, SpliceError> {
        let shots = match (self.0.seen(), &self.0.pictures) {
            (Some(seen), Some(avc)) => Some(seen.shots(layout, &avc.sets.write())?),
            _ => None,
        };
        let pieces = Regions::new(self, self, layout).pieces()?;
        let left = pieces.iter().filter_map(Piece::left).collect();
        let (runs, played) = assemble(self.0, layout, &pieces, shots.as_ref())?;
        Ok(Spliced {
            runs: runs.into_runs(),
            left,
            seams: Vec::new(),
            chapters: self.0.chapters_of(&layout.plan),
            played,
        })
    }

    fn makes_later(&self) -> bool {
        true
    }

    fn bridge(&self, layout: &Layout<'_>, number: usize) -> Result<Made, SpliceError> {
        let (packets, seams) = Regions::new(self, self, layout).make(number)?;
        Ok(Made {
            bytes: joined(&packets),
            seams,
        })
    }

    fn silence(&self, layout: &Layout<'_>, number: usize) -> Result<(Bytes, Vec<usize>), SpliceError> {
        let (packets, breaks) = Regions::new(self, self, layout).silence(number)?;
        Ok((joined(&packets), breaks))
    }
}
