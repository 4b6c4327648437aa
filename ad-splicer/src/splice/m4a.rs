//! Splicing AAC-LC in MP4 (M4A). The sample tables are read and written here, so that no packet is lost to a demuxer; the result is fast-start: the movie box before the sound, wherever it was.
//!
//! Priming is what the edit list (or iTunes' tag) declares, and stays. Tracks that are not the sound (chapters' titles, their pictures) keep their samples; each begins where its time has moved to. Tags and
//! cover art are copied.

use std::ops::Range;

use super::adts::refuse_sbr;
use super::bridged::{Coding, Piece, bridged, decoded};
use super::format::{self, Frames, Place, Runs, Spliced, Stream};
use super::joins::Grid;
use super::layout::{Layout, moved};
use super::{Chapter, Codec, Options, SpliceError};
use crate::bridge::{BridgeError, aac as bridge};
use crate::content::Content;
use crate::frames::aac::{Config, SAMPLES};
use crate::frames::mp4::{
    Atom, Samples, TopBox, audio_config, edit_chapters, edit_list, full_duration, gather, nero_chapters,
    priming, read_tree, set_durations, set_edit, set_tables, top_level,
};
use crate::plan::SplicePlan;
use crate::time::{ContentTime, PresentationTime};

/// Packets that are decoded to see whether there is SBR that nobody declared.
const LOOKED_AT: usize = 8;
/// Packets in a chunk of the result: about a second.
const CHUNK: usize = 43;
/// Most bytes of tracks other than the sound: they are held in memory.
const MOST_OTHER: u64 = 64 << 20;
/// Room that is left for the movie box when it is decided whether offsets need 64 bits.
const MOVIE_ROOM: u64 = 128 << 20;

/// An M4A file.
pub(crate) struct M4a<'a> {
    content: &'a dyn Content,
    options: &'a Options,
    boxes: Vec<TopBox>,
    moov: Atom,
    /// Which of `moov`'s children is the sound.
    track: usize,
    config: Config,
    movie_scale: u32,
    packets: Samples,
    /// The tables of the tracks that are not the sound, at their places in `moov`.
    tables: Vec<Option<Samples>>,
    skip: u64,
    samples: u64,
}

fn unsupported(what: &str) -> SpliceError {
    SpliceError::Unsupported(what.to_owned())
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
        let deadline = options.read_deadline;
        let Some(boxes) = top_level(content, deadline)? else {
            return Ok(None);
        };
        let moov = boxes
            .iter()
            .find(|one| &one.kind == b"moov")
            .ok_or_else(|| unsupported("the MP4 file has no movie box"))?;
        let mut moov = read_tree(content, moov, deadline)?;
        let mut tables = gather(content, &boxes, &moov, deadline)?;
        if let Some(children) = moov.children_mut()
            && let Some(at) = children.iter().position(|child| &child.kind == b"mvex")
        {
            // What is written has no fragments.
            children.remove(at);
            tables.remove(at);
        }
        let tracks = || {
            moov.children()
                .iter()
                .enumerate()
                .filter(|(_, child)| &child.kind == b"trak")
        };
        let still = |kind: &[u8]| matches!(kind, b"jpeg" | b"png " | b"mjpa" | b"mjpb");
        if tracks().any(|(_, track)| handler(track) == b"vide" && !still(coding(track))) {
            return Err(unsupported(
                "the content is video, into which no ads can be put yet",
            ));
        }
        let mut sounds = tracks().filter(|(_, track)| handler(track) == b"soun");
        let (track, sound) = sounds
            .next()
            .ok_or_else(|| SpliceError::NotAudio("the MP4 file has no sound".into()))?;
        if sounds.next().is_some() {
            return Err(unsupported("the MP4 file has more than one track of sound"));
        }
        let config = audio_config(sound)?;
        let damaged = || unsupported("the MP4 file does not say how long it is");
        let movie = moov
            .bytes(&[b"mvhd"])
            .and_then(full_duration)
            .ok_or_else(damaged)?;
        let media = sound
            .bytes(&[b"mdia", b"mdhd"])
            .and_then(full_duration)
            .ok_or_else(damaged)?;
        let packets = tables[track].take().unwrap_or_default();
        let last = packets.durations.len().saturating_sub(1);
        let regular = packets
            .durations
            .iter()
            .enumerate()
            .all(|(i, run)| run.1 == SAMPLES || (i == last && run.0 == 1 && run.1 <= SAMPLES));
        if media.timescale != config.sample_rate || !regular {
            return Err(unsupported(
                "the MP4 file's sound has gaps, or counts time in other steps than samples",
            ));
        }
        if packets.sizes.is_empty() {
            return Err(SpliceError::NotAudio("the content holds no audio samples".into()));
        }
        let total = packets.total();
        let edit = edit_list(sound)?;
        let declared = priming(&moov).filter(|_| edit.is_none());
        let skip = edit
            .map(|edit| edit.media_time)
            .or(declared.map(|(delay, _)| delay));
        let skip = skip.unwrap_or(0).min(total);
        let samples = match (edit, declared) {
            (Some(edit), _) => {
                let wanted =
                    u128::from(edit.duration) * u128::from(media.timescale) / u128::from(movie.timescale);
                let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
                // Movie time is often milliseconds: what is that near to the end is meant to be it.
                let unit = u64::from(media.timescale / movie.timescale) + 1;
                if wanted == 0 || wanted.abs_diff(total - skip) <= unit {
                    total - skip
                } else {
                    wanted.min(total - skip)
                }
            }
            (None, Some((_, samples))) => samples.min(total - skip),
            (None, None) => total - skip,
        };
        let file = Self {
            content,
            options,
            boxes: boxes.clone(),
            track,
            config,
            movie_scale: movie.timescale,
            packets,
            tables,
            skip,
            samples,
            moov,
        };
        let outside = |(offset, size): (&u64, &u32)| offset + u64::from(*size) > content.len();
        if let Some((offset, _)) = file
            .packets
            .offsets
            .iter()
            .zip(&file.packets.sizes)
            .find(|one| outside(*one))
        {
            return Err(SpliceError::Truncated { offset: *offset });
        }
        Ok(Some(file))
    }

    fn read_at(&self, start: u64, len: u64) -> Result<Vec<u8>, SpliceError> {
        super::read(self.content, start, len as usize, self.options.read_deadline)
    }

    fn chapters_of(&self, plan: &SplicePlan) -> Vec<Chapter> {
        let unit = u64::from(plan.sample_rate().div_ceil(1000));
        let starts: Vec<_> = nero_chapters(&self.moov)
            .into_iter()
            .map(|(time, title)| {
                (
                    moved(plan, ContentTime::from_nanos(time.saturating_mul(100)), unit),
                    title,
                )
            })
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
            codec: Codec::M4a,
            sample_rate: self.config.sample_rate,
            channels: self.config.channels.into(),
            samples: self.samples,
        }
    }

    fn chapters(&self, plan: &SplicePlan) -> Result<Vec<Chapter>, SpliceError> {
        Ok(self.chapters_of(plan))
    }

    fn open(&self) -> Result<Box<dyn format::Track + '_>, SpliceError> {
        let track = Track(self);
        let looked_at = self.packets.sizes.len().min(LOOKED_AT) as u64;
        refuse_sbr(self.config, track.read(0..looked_at)?)?;
        Ok(Box::new(track))
    }
}

struct Track<'a>(&'a M4a<'a>);

impl Coding for Track<'_> {
    fn grid(&self) -> Grid {
        let size = u64::from(SAMPLES);
        Grid {
            size,
            frames: self.0.packets.sizes.len() as u64,
            end: self.0.skip + self.0.samples,
            fade: 0,
            overlap: size,
            checked: 3,
            reach: 0,
        }
    }

    fn skip(&self) -> u64 {
        self.0.skip
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
            .map(|i| self.0.read_at(table.offsets[i], table.sizes[i].into()))
            .collect()
    }

    fn decode(&self, clips: &[Vec<Vec<u8>>]) -> Result<Vec<Vec<f32>>, BridgeError> {
        bridge::decode(self.0.config, clips)
    }

    fn encode(&self, pcm: &[f32]) -> Result<Vec<Vec<u8>>, BridgeError> {
        bridge::encode(self.0.config, pcm)
    }
}

impl format::Track for Track<'_> {
    fn stream(&self) -> Stream {
        format::Head::stream(self.0)
    }

    fn frames(&self) -> Frames {
        Frames {
            count: self.grid().frames,
            samples: SAMPLES,
            start: self.0.packets.offsets[0],
            bit_rate: None,
        }
    }

    fn place(&self, sample: u64) -> Place {
        let frame = ((sample + self.0.skip) / u64::from(SAMPLES)).min(self.grid().frames - 1);
        Place {
            frame,
            offset: self.0.packets.offsets[frame as usize],
        }
    }

    fn decode(&self, range: Range<u64>) -> Result<Vec<f32>, SpliceError> {
        let skip = self.0.skip;
        decoded(self, (range.start + skip) as i64..(range.end + skip) as i64)
    }

    fn splice(&self, layout: &Layout<'_>) -> Result<Spliced, SpliceError> {
        let bridged = bridged(self, self, layout)?;
        assemble(self.0, layout, &bridged.pieces).map(|runs| Spliced {
            runs: runs.into_runs(),
            seams: bridged.seams,
            chapters: self.0.chapters_of(&layout.plan),
        })
    }
}

/// A track that is not the sound, with its samples moved.
struct Other {
    child: usize,
    bytes: Vec<u8>,
    sizes: Vec<u32>,
    durations: Vec<(u32, u32)>,
}

/// Moves the samples of a track: each begins where its time is now, and lasts until the next.
fn other(
    file: &M4a<'_>,
    plan: &SplicePlan,
    child: usize,
    track: &Atom,
    room: &mut u64,
) -> Result<Other, SpliceError> {
    let samples = file.tables[child].clone().unwrap_or_default();
    let bytes: u64 = samples.sizes.iter().map(|size| u64::from(*size)).sum();
    *room = room
        .checked_sub(bytes)
        .ok_or_else(|| unsupported("the MP4 file's other tracks are longer than 64 MiB"))?;
    let scale = track
        .bytes(&[b"mdia", b"mdhd"])
        .and_then(full_duration)
        .ok_or_else(|| unsupported("a track of the MP4 file does not say how long it is"))?
        .timescale;
    let offset = edit_list(track)?.map_or(0, |edit| edit.media_time);
    let unit = u64::from(plan.sample_rate() / scale.max(1)) + 1;
    let place = |time: u64| {
        let at = moved(
            plan,
            ContentTime::from_samples(time.saturating_sub(offset), scale),
            unit,
        );
        at.to_samples(scale) + offset
    };
    let (mut time, mut starts) = (0_u64, Vec::with_capacity(samples.sizes.len() + 1));
    for (count, duration) in &samples.durations {
        for _ in 0..*count {
            starts.push(if time == 0 { 0 } else { place(time) });
            time += u64::from(*duration);
        }
    }
    starts.push(place(time).max(starts.last().copied().unwrap_or(0)));
    let durations = starts
        .windows(2)
        .map(|pair| (1, pair[1].saturating_sub(pair[0]) as u32))
        .collect();
    let mut data = Vec::new();
    for (offset, size) in samples.offsets.iter().zip(&samples.sizes) {
        data.extend(file.read_at(*offset, (*size).into())?);
    }
    Ok(Other {
        child,
        bytes: data,
        sizes: samples.sizes,
        durations,
    })
}

fn assemble(file: &M4a<'_>, layout: &Layout<'_>, pieces: &[Piece]) -> Result<Runs, SpliceError> {
    let plan = &layout.plan;
    let mut room = MOST_OTHER;
    let others = file
        .moov
        .children()
        .iter()
        .enumerate()
        .filter(|(child, atom)| &atom.kind == b"trak" && *child != file.track)
        .map(|(child, atom)| other(file, plan, child, atom, &mut room))
        .collect::<Result<Vec<_>, _>>()?;

    // The sound: its packets in their order, in chunks of about a second.
    let (mut sound, mut sizes) = (Runs::default(), Vec::new());
    for piece in pieces {
        match piece {
            Piece::Content(range) => {
                for i in range.start as usize..range.end as usize {
                    let (offset, size) = (file.packets.offsets[i], file.packets.sizes[i]);
                    sound.content(offset, offset + u64::from(size));
                    sizes.push(size);
                }
            }
            Piece::Made(packets) => {
                sound.made(&packets.concat());
                sizes.extend(packets.iter().map(|packet| packet.len() as u32));
            }
        }
    }
    let count = sizes.len() as u64;
    let shift = plan.samples() as i64 - plan.content_samples() as i64;
    let ends_in_ad = matches!(plan.segments().last(), Some((_, crate::plan::Segment::Ad { .. })));
    let total = if ends_in_ad {
        plan.samples() + file.skip
    } else {
        (file.packets.total() as i64 + shift) as u64
    };
    let whole = count.saturating_sub(1);
    let last = total
        .saturating_sub(whole * u64::from(SAMPLES))
        .clamp(1, SAMPLES.into()) as u32;
    let durations = if last == SAMPLES {
        vec![(count as u32, SAMPLES)]
    } else {
        vec![(whole as u32, SAMPLES), (1, last)]
    };
    let durations: Vec<_> = durations.into_iter().filter(|run| run.0 > 0).collect();

    let kept: Vec<_> = file
        .boxes
        .iter()
        .filter(|one| {
            !matches!(
                &one.kind,
                b"ftyp"
                    | b"moov"
                    | b"mdat"
                    | b"free"
                    | b"skip"
                    | b"wide"
                    | b"moof"
                    | b"mfra"
                    | b"sidx"
                    | b"ssix"
                    | b"styp"
            )
        })
        .collect();
    let kept_len: u64 = kept.iter().map(|one| one.end - one.start).sum();
    let ftyp = file.boxes.iter().find(|one| &one.kind == b"ftyp");
    let ftyp_len = ftyp.map_or(0, |one| one.end - one.start);
    let other_len: u64 = others.iter().map(|other| other.bytes.len() as u64).sum();
    let body = other_len + sound.len();
    let wide = ftyp_len + kept_len + body + MOVIE_ROOM > u64::from(u32::MAX);

    let scaled = |samples: u64| {
        let rate = u128::from(file.config.sample_rate);
        ((u128::from(samples) * u128::from(file.movie_scale) + rate / 2) / rate) as u64
    };
    let movie_duration = scaled(plan.samples());
    let mut moov = file.moov.clone();
    let place = |moov: &mut Atom, start: u64| {
        let mut at = start;
        let Some(children) = moov.children_mut() else {
            return;
        };
        for other in &others {
            let track = &mut children[other.child];
            set_tables(
                track,
                &other.sizes,
                &other.durations,
                &[(at, other.sizes.len() as u32)],
                wide,
            );
            let media: u64 = other.durations.iter().map(|run| u64::from(run.1)).sum();
            set_edit(track, movie_duration);
            set_durations(track, movie_duration, Some(media));
            at += other.bytes.len() as u64;
        }
        let mut chunks = Vec::with_capacity(sizes.len() / CHUNK + 1);
        for chunk in sizes.chunks(CHUNK) {
            chunks.push((at, chunk.len() as u32));
            at += chunk.iter().map(|size| u64::from(*size)).sum::<u64>();
        }
        let track = &mut children[file.track];
        set_tables(track, &sizes, &durations, &chunks, wide);
        set_edit(track, movie_duration);
        set_durations(track, movie_duration, Some(total));
    };
    set_durations(&mut moov, movie_duration, None);
    let padding = (count * u64::from(SAMPLES)).saturating_sub(file.skip + plan.samples());
    let unit = u64::from(plan.sample_rate().div_ceil(1000));
    edit_chapters(
        &mut moov,
        &|time| moved(plan, ContentTime::from_nanos(time.saturating_mul(100)), unit).as_nanos() / 100,
        padding,
        plan.samples(),
    );
    // The tables' length does not depend on the offsets in them.
    place(&mut moov, 0);
    let mut movie = Vec::new();
    moov.write(&mut movie);
    let head_len = if wide { 16 } else { 8 };
    let start = ftyp_len + movie.len() as u64 + kept_len + head_len;
    place(&mut moov, start);
    movie.clear();
    moov.write(&mut movie);

    let mut runs = Runs::default();
    if let Some(ftyp) = ftyp {
        runs.content(ftyp.start, ftyp.end);
    }
    runs.made(&movie);
    for one in kept {
        runs.content(one.start, one.end);
    }
    let mut head = Vec::new();
    if wide {
        head.extend(1_u32.to_be_bytes());
        head.extend(b"mdat");
        head.extend((body + head_len).to_be_bytes());
    } else {
        head.extend(((body + head_len) as u32).to_be_bytes());
        head.extend(b"mdat");
    }
    for other in &others {
        head.extend(&other.bytes);
    }
    runs.made(&head);
    debug_assert_eq!(runs.len(), start + other_len);
    runs.append(sound);
    Ok(runs)
}
