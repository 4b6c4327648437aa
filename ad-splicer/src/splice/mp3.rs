//! Splicing MP3: which frames stay, what the bridges are, and the bytes around them.
//!
//! Content frames outside the bridges keep their bytes and their order. A bridge is \[content | ads | content\] encoded in one run on the content's own frame grid, so that its frame `m` stands
//! where content frame `origin + m` would; the first bridge frame and the first content frame after it are repacked to stand alone. Entries and exits are chosen among several by decoding the join and
//! comparing with the original; an exit is taken only if nothing of the join is left after the overlap. The fades are within the ads' time ([`insert`]): content is content up to the cue.

use std::ops::Range;

use super::format::{self, Frames, Place, Runs, Spliced, Stream, edit_tag, surroundings, tag_chapters};
use super::joins::{Cut, Grid, Join, joins};
use super::layout::{Layout, Spot};
use super::sound::{BLOCK, FLOOR_DB, insert, worst_block};
use super::{Chapter, Codec, Options, Run, Seam, SeamKind, SeekPoint, Source, SpliceError};
use crate::bridge::mp3 as bridge;
use crate::content::Content;
use crate::frames::mp3::{
    DECODER_DELAY, Gapless, Head, Header, Index, LAME_TOTAL_DELAY, RepackError, XingPlan, carrier, find_head,
    hand_over, repack, reservoir,
};
use crate::plan::{Segment, SplicePlan};
use crate::side_by_side::side_by_side;
use crate::time::PresentationTime;

/// How far a frame's data reaches into the samples of the frames after it: a granule of transform overlap and the memory of the synthesis filter.
const OVERLAP: u64 = 576 + 480;
/// Content frames after an exit that are decoded to check it.
const CHECKED: u64 = 4;
/// How far an exit may move when the frames where it should be cannot be repacked.
const MOVE: u64 = 24;
/// Bridge frames before the first that is used: the encoder has settled by then.
const PREROLL: i64 = 4;
/// Content frames that are encoded after the last possible exit, for the encoder's look-ahead.
const LOOK_AHEAD: u64 = 4;
/// A seam this good, in dB, needs no better one.
const GOOD_DB: f64 = -60.0;
/// Frames before a join that are decoded with it.
const LEAD: u64 = 4;
/// Frames at the beginning of a clip that do not decode to what they should: a carrier, and two that it overlaps with.
const UNSETTLED: u64 = 3;
/// More frames than the reservoir can reach back, at the lowest bit rate.
const RESERVOIR_FRAMES: u64 = 40;

/// The beginning of an MP3 file.
pub(crate) struct Mp3<'a> {
    content: &'a dyn Content,
    options: &'a Options,
    head: Head,
}

impl<'a> Mp3<'a> {
    pub(crate) fn new(content: &'a dyn Content, options: &'a Options) -> Result<Self, SpliceError> {
        let head = find_head(content, options.read_deadline)?;
        Ok(Self {
            content,
            options,
            head,
        })
    }

    fn track(&self, index: Index) -> Box<dyn format::Track + '_> {
        Box::new(Track {
            content: self.content,
            options: self.options,
            index,
        })
    }

    fn scan(&self) -> Result<Box<dyn format::Track + '_>, SpliceError> {
        let index = Index::scan(self.content, self.options.read_deadline)?;
        Ok(self.track(index))
    }

    /// The bytes before the first frame.
    fn tags(&self) -> Result<Vec<u8>, SpliceError> {
        tags(self.content, self.head.start, self.options)
    }
}

fn tags(content: &dyn Content, start: u64, options: &Options) -> Result<Vec<u8>, SpliceError> {
    let len = usize::try_from(start).map_err(|_| SpliceError::Unsupported("the tags are too long".into()))?;
    super::read(content, 0, len, options.read_deadline)
}

impl format::Head for Mp3<'_> {
    fn stream(&self) -> Stream {
        let (head, header) = (&self.head, self.head.header);
        let frames = head.info.as_ref().and_then(|info| info.xing.frames).map_or_else(
            // Nothing says how many frames there are: as many as there would be if all were like the first.
            || self.content.len().saturating_sub(head.start) / header.frame_len().max(1) as u64,
            u64::from,
        );
        let gapless = head.info.as_ref().and_then(|info| info.xing.gapless());
        let gapless = gapless.unwrap_or_default();
        Stream {
            codec: Codec::Mp3,
            sample_rate: header.sample_rate(),
            channels: header.channels(),
            samples: (frames * u64::from(header.samples()))
                .saturating_sub(u64::from(gapless.delay) + u64::from(gapless.padding)),
        }
    }

    fn chapters(&self, plan: &SplicePlan) -> Result<Vec<Chapter>, SpliceError> {
        Ok(tag_chapters(plan, &self.tags()?))
    }

    fn audio(&self) -> Option<Range<u64>> {
        let info = self.head.info.as_ref().map_or(0, |info| info.len as u64);
        Some(self.head.start + info..self.content.len())
    }

    fn points(&self) -> Result<Vec<SeekPoint>, SpliceError> {
        let index = Index::even(self.content, self.options.read_deadline)?;
        Ok(index.map_or_else(Vec::new, |index| {
            let mut runs = Runs::default();
            runs.content(index.offset(0), self.content.len());
            let shift = index.offset(0);
            let points = points(&index, &runs.into_runs()).into_iter();
            points
                .map(|point| SeekPoint {
                    offset: point.offset + shift,
                    ..point
                })
                .collect()
        }))
    }

    fn open(&self) -> Result<Box<dyn format::Track + '_>, SpliceError> {
        match Index::even(self.content, self.options.read_deadline)? {
            Some(index) => Ok(self.track(index)),
            None => self.scan(),
        }
    }

    fn read_through(&self) -> Option<Result<Box<dyn format::Track + '_>, SpliceError>> {
        Some(self.scan())
    }
}

/// An MP3 file whose frames are known.
struct Track<'a> {
    content: &'a dyn Content,
    options: &'a Options,
    index: Index,
}

impl Track<'_> {
    fn decoder(&self) -> Decoder<'_> {
        Decoder {
            content: self.content,
            index: &self.index,
            options: self.options,
        }
    }
}

impl format::Track for Track<'_> {
    fn stream(&self) -> Stream {
        let header = self.index.header();
        Stream {
            codec: Codec::Mp3,
            sample_rate: header.sample_rate(),
            channels: header.channels(),
            samples: self.index.samples(),
        }
    }

    fn frames(&self) -> Frames {
        Frames {
            count: self.index.frames(),
            samples: self.index.header().samples(),
            start: self.index.offset(0),
            bit_rate: self.index.constant_bit_rate(),
        }
    }

    fn place(&self, sample: u64) -> Place {
        let size = u64::from(self.index.header().samples());
        let frame = ((sample + self.index.skip()) / size).min(self.index.frames() - 1);
        Place {
            frame,
            offset: self.index.offset(frame),
        }
    }

    fn decode(&self, range: Range<u64>) -> Result<Vec<f32>, SpliceError> {
        let skip = self.index.skip();
        self.decoder()
            .decode((range.start + skip) as i64..(range.end + skip) as i64)
    }

    fn splice(&self, layout: &Layout<'_>) -> Result<Spliced, SpliceError> {
        splice(self, layout)
    }

    fn audio(&self, runs: &[Run], _: &SplicePlan) -> Option<Range<u64>> {
        // Tags and the information frame are the first run.
        Some(runs.first()?.len..format::len_of(runs))
    }

    fn points(&self, runs: &[Run]) -> Vec<SeekPoint> {
        points(&self.index, runs.get(1..).unwrap_or_default())
    }
}

/// Frames between two seek points.
const POINTS: u64 = 40;

/// Seek points in runs of audio.
fn points(index: &Index, runs: &[Run]) -> Vec<SeekPoint> {
    let size = u64::from(index.header().samples());
    let mut points = Vec::new();
    let mut frame = 0_u64;
    let mut point = |offset: u64, frame: u64| {
        points.push(SeekPoint {
            offset,
            sample: (frame * size) as i64 - index.skip() as i64,
        });
    };
    for run in runs {
        match &run.source {
            Source::Content(from) => {
                let (first, end) = (index.frame_at(*from), index.frame_at(from + run.len));
                for place in (first..end).step_by(POINTS as usize) {
                    point(run.start + (index.offset(place) - from), frame + (place - first));
                }
                frame += end - first;
            }
            Source::Made(bytes) => {
                let mut at = 0;
                for count in 0.. {
                    let Ok(header) = bytes
                        .get(at..)
                        .map_or(Err(()), |rest| Header::of(rest).map_err(|_| ()))
                    else {
                        break;
                    };
                    if count % POINTS == 0 {
                        point(run.start + at as u64, frame);
                    }
                    at += header.frame_len();
                    frame += 1;
                }
            }
        }
    }
    points
}

/// Reads content's decoded samples.
struct Decoder<'a> {
    content: &'a dyn Content,
    index: &'a Index,
    options: &'a Options,
}

impl Decoder<'_> {
    fn size(&self) -> u64 {
        u64::from(self.index.header().samples())
    }

    fn channels(&self) -> usize {
        usize::from(self.index.header().channels())
    }

    /// Interleaved samples of a range of decoded samples; silence where there is no content or it cannot be decoded.
    fn decode(&self, range: Range<i64>) -> Result<Vec<f32>, SpliceError> {
        let channels = self.channels();
        let mut out = vec![0.0; (range.end - range.start).max(0) as usize * channels];
        let (start, end) = (range.start.max(0) as u64, range.end.max(0) as u64);
        let (first, last) = (
            start / self.size(),
            end.div_ceil(self.size()).min(self.index.frames()),
        );
        if first >= last {
            return Ok(out);
        }
        let Some(Clip {
            start: at,
            frames: clip,
        }) = self.clip(first.saturating_sub(UNSETTLED - 1), last)?
        else {
            return Ok(out);
        };
        let samples = bridge::decode(&[clip])
            .map_err(|error| failed(0, &error))?
            .remove(0);
        // At the beginning of the file there is nothing to be wrong.
        let (begin, skip) = if at == 0 {
            (0, 0)
        } else {
            (at + UNSETTLED, UNSETTLED)
        };
        let begin = (begin * self.size()) as i64;
        let right = &samples[((skip * self.size()) as usize * channels).min(samples.len())..];
        // Where both ranges meet.
        let into = (begin - range.start).max(0) as usize * channels;
        let from = (range.start - begin).max(0) as usize * channels;
        if let (Some(into), Some(from)) = (out.get_mut(into..), right.get(from..)) {
            let count = into.len().min(from.len());
            into[..count].copy_from_slice(&from[..count]);
        }
        Ok(out)
    }

    /// Frames from `wanted` up to `end` with a carrier before them. At the beginning of the file there is no carrier; where the reservoir is missing (the
    /// stream was cut there) the clip begins later. `None` when nothing can be decoded.
    fn clip(&self, wanted: u64, end: u64) -> Result<Option<Clip>, SpliceError> {
        let from = wanted.saturating_sub(RESERVOIR_FRAMES);
        let frames = self
            .index
            .read(self.content, from..end, self.options.read_deadline)?;
        let mut found = clip(self.index.header(), &frames, (wanted - from) as usize);
        if let Some(clip) = &mut found {
            clip.start += from;
        }
        Ok(found)
    }
}

/// Frames that can be decoded on their own.
struct Clip {
    /// Index of the first frame in its stream; a carrier stands where the frame before the first real one would.
    start: u64,
    frames: Vec<Vec<u8>>,
}

/// `frames[wanted..]` (or a little later) with a carrier before them.
fn clip(header: Header, frames: &[Vec<u8>], wanted: usize) -> Option<Clip> {
    let refs: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    (wanted..frames.len()).find_map(|at| {
        let reservoir = reservoir(&refs, at).ok()?;
        if at == 0 {
            return Some(Clip {
                start: 0,
                frames: frames.to_vec(),
            });
        }
        let carrier = carrier(header, &reservoir).ok()?;
        let frames = std::iter::once(carrier)
            .chain(frames[at..].iter().cloned())
            .collect();
        Some(Clip {
            start: at as u64 - 1,
            frames,
        })
    })
}

fn repack_at(refs: &[&[u8]], at: usize) -> Result<Vec<u8>, RepackError> {
    repack(&refs[..refs.len().min(at + 2)], at)
}

fn failed(break_index: usize, reason: &dyn std::fmt::Display) -> SpliceError {
    SpliceError::Bridge {
        break_index,
        reason: reason.to_string(),
    }
}

/// The same error, of this break.
fn at_break(error: SpliceError, break_index: usize) -> SpliceError {
    match error {
        SpliceError::Bridge { reason, .. } => SpliceError::Bridge { break_index, reason },
        other => other,
    }
}

/// How the content frame after a bridge gets its main data.
#[derive(Clone)]
enum Handover {
    /// The frame was made to stand alone.
    Repacked(Vec<u8>),
    /// The frame stays as it is; the last bridge frame carries these bytes for it. For content whose frames are too full to be repacked (320 kb/s).
    Reservoir(Vec<u8>),
}

/// A content frame that can follow a bridge.
#[derive(Clone)]
struct Exit {
    frame: u64,
    handover: Handover,
}

/// A bridge frame that can follow content, made to stand alone.
struct Entry {
    /// The content frame that it takes the place of.
    frame: u64,
    first: Vec<u8>,
}

/// A finished bridge.
struct Bridge {
    /// The first content frame that it takes the place of.
    entry: u64,
    /// The content frame that follows it.
    exit: Option<Exit>,
    /// The bridge's frames, as many as came out: the caller takes what it needs. The first stands alone.
    frames: Vec<Vec<u8>>,
    entry_db: f64,
    exit_db: f64,
}

impl Bridge {
    /// The worse of its seams, in dB.
    fn worst(&self) -> f64 {
        self.entry_db.max(self.exit_db)
    }
}

struct Maker<'a> {
    track: &'a Track<'a>,
    layout: &'a Layout<'a>,
    decoder: Decoder<'a>,
    header: Header,
    grid: Grid,
    /// Decoded sample of content sample 0.
    skip: u64,
    channels: usize,
}

impl Maker<'_> {
    fn cut(&self, spot: &Spot<'_>) -> Cut {
        spot.span.start + self.skip..spot.span.end + self.skip
    }

    /// How many frames later (or earlier) the content stands after a break.
    fn shift(&self, spot: &Spot<'_>) -> i64 {
        spot.shift().div_euclid(self.grid.size as i64)
    }

    /// The exits that there are to choose from; when none of the content frames wanted can be used, later ones.
    fn exits(&self, join: &Join) -> Result<Option<Vec<Exit>>, SpliceError> {
        let Some(exits) = &join.exits else { return Ok(None) };
        let (first, last) = (
            *exits.start(),
            (exits.end() + MOVE + 1).min(self.grid.frames - CHECKED),
        );
        let from = first.saturating_sub(RESERVOIR_FRAMES);
        let frames = self.decoder.index.read(
            self.decoder.content,
            from..last + 1,
            self.decoder.options.read_deadline,
        )?;
        let refs: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let mut found = Vec::new();
        for frame in first..last {
            if frame > *exits.end() && !found.is_empty() {
                break;
            }
            let at = (frame - from) as usize;
            let handover = repack_at(&refs, at)
                .map(Handover::Repacked)
                .or_else(|_| reservoir(&refs, at).map(Handover::Reservoir));
            found.extend(handover.map(|handover| Exit { frame, handover }));
        }
        if found.is_empty() {
            return Err(failed(
                join.cuts.start,
                &"the content's frames after it are not whole",
            ));
        }
        Ok(Some(found))
    }

    fn bridge(&self, join: &Join, spots: &[Spot<'_>]) -> Result<Bridge, SpliceError> {
        let size = self.grid.size as i64;
        let exits = self.exits(join)?;
        let origin = *join.entries.start() as i64 - PREROLL;
        let first_sample = origin * size + i64::from(LAME_TOTAL_DELAY);
        let break_index = spots[0].index;

        let last = spots.last().map_or(0, |spot| self.cut(spot).end);
        let end = match exits.as_ref().and_then(|exits| exits.last()) {
            Some(exit) => (exit.frame + LOOK_AHEAD.max(CHECKED)) * self.grid.size,
            None if last < self.grid.end => self.grid.frames * self.grid.size,
            None => last,
        };
        let shift: i64 = spots.iter().map(Spot::shift).sum();
        let samples = (end as i64 - first_sample + shift).max(0) as usize;
        let mut pcm = Vec::with_capacity(samples * self.channels);
        let mut before = Vec::new();
        let mut position = first_sample;
        for (i, spot) in spots.iter().enumerate() {
            let cut = self.cut(spot);
            let mut piece = self.decoder.decode(position..cut.start as i64)?;
            if spot.span.start == 0 {
                // What is decoded before content time 0 is no content.
                piece.fill(0.0);
            }
            if i == 0 {
                before.clone_from(&piece);
            }
            pcm.extend(piece);
            let (ahead, behind) = surroundings(self.track, self.layout, &spot.span)?;
            insert(
                &mut pcm,
                (spot.ads, spot.pad),
                (&ahead, &behind),
                self.channels,
                self.layout.fade,
            )
            .map_err(|error| spot.failed(&error))?;
            position = cut.end as i64;
        }
        let after = self.decoder.decode(position..end as i64)?;
        pcm.extend(&after);
        let shift: i64 = spots.iter().map(|spot| self.shift(spot)).sum();

        let mut best: Option<Bridge> = None;
        // Whether there is an entry is seen in the first frames already.
        let first_frames = (*join.entries.end() as i64 - origin) as u64 + LEAD + LOOK_AHEAD;
        let beginning = &pcm[..pcm
            .len()
            .min((first_frames * self.grid.size) as usize * self.channels)];
        for bit_rate in bridge::bridge_bit_rates(self.header) {
            let encoded = bridge::encode(self.header, bit_rate, beginning)
                .map_err(|error| failed(break_index, &error))?;
            let entry = self.best_entry(join, origin, &encoded, &before, first_sample)?;
            if entry.is_none() {
                continue;
            }
            let encoded =
                bridge::encode(self.header, bit_rate, &pcm).map_err(|error| failed(break_index, &error))?;
            let Some((Entry { frame: entry, first }, entry_db, entry_free)) =
                self.best_entry(join, origin, &encoded, &before, first_sample)?
            else {
                continue;
            };
            let (exit, exit_free) = match &exits {
                Some(exits) => {
                    let Some((exit, db, free)) =
                        self.best_exit(exits, origin - shift, &encoded, &after, position)?
                    else {
                        continue;
                    };
                    (Some((exit, db)), free)
                }
                None => (None, true),
            };
            let used = (entry as i64 - origin) as usize;
            let frames = std::iter::once(first)
                .chain(encoded.into_iter().skip(used + 1))
                .collect();
            let (exit, exit_db) = exit.map_or((None, FLOOR_DB), |(exit, db)| (Some(exit), db));
            let made = Bridge {
                entry,
                exit,
                frames,
                entry_db,
                exit_db,
            };
            if best.as_ref().is_none_or(|best| made.worst() < best.worst()) {
                best = Some(made);
            }
            // At a high rate few frames have room for a repack: where only a bad place was left, a lower rate may have a good one.
            let free = entry_free && exit_free;
            if best.as_ref().is_some_and(|best| free || best.worst() <= GOOD_DB) {
                break;
            }
        }
        best.ok_or_else(|| failed(break_index, &"no bridge frame can stand alone where it has to"))
    }

    /// The entry whose join differs least from the original before the cue, its error, and whether all of them could be had.
    fn best_entry(
        &self,
        join: &Join,
        origin: i64,
        encoded: &[Vec<u8>],
        before: &[f32],
        first_sample: i64,
    ) -> Result<Option<(Entry, f64, bool)>, SpliceError> {
        let refs: Vec<&[u8]> = encoded.iter().map(Vec::as_slice).collect();
        let size = self.grid.size;
        let mut clips = Vec::new();
        let mut candidates = Vec::new();
        for entry in join.entries.clone() {
            let at = (entry as i64 - origin) as usize;
            let Ok(first) = repack_at(&refs, at) else { continue };
            if entry == 0 {
                return Ok(Some((Entry { frame: 0, first }, FLOOR_DB, true)));
            }
            let Some(Clip {
                start,
                frames: mut clip,
            }) = self.decoder.clip(entry.saturating_sub(LEAD), entry)?
            else {
                continue;
            };
            clip.push(first.clone());
            clip.extend(encoded.iter().skip(at + 1).take(LEAD as usize).cloned());
            clips.push(clip);
            candidates.push((Entry { frame: entry, first }, start));
        }
        let free = candidates.len() == join.entries.clone().count();
        let decoded = bridge::decode(&clips).map_err(|error| failed(join.cuts.start, &error))?;
        let best = candidates
            .into_iter()
            .zip(decoded)
            .map(|((entry, start), samples)| {
                // From a little before the join to the cue.
                let from = (entry.frame * size)
                    .saturating_sub(BLOCK as u64)
                    .max((start + UNSETTLED) * size) as i64;
                let a =
                    &samples[((from - (start * size) as i64) as usize * self.channels).min(samples.len())..];
                let b = before
                    .get((from - first_sample).max(0) as usize * self.channels..)
                    .unwrap_or_default();
                (entry, worst_block(a, b, self.channels), free)
            });
        Ok(best.min_by(|a, b| a.1.total_cmp(&b.1)))
    }

    /// The exit whose join differs least from the original, and not at all after the overlap, its error, and whether all of them could be had. Content frame `f` stands where bridge frame `f - origin` does.
    fn best_exit(
        &self,
        exits: &[Exit],
        origin: i64,
        encoded: &[Vec<u8>],
        original: &[f32],
        original_start: i64,
    ) -> Result<Option<(Exit, f64, bool)>, SpliceError> {
        let size = self.grid.size;
        let mut clips = Vec::new();
        let mut candidates = Vec::new();
        for exit in exits {
            let at = (exit.frame as i64 - origin) as usize;
            let from = at.saturating_sub(LEAD as usize + RESERVOIR_FRAMES as usize);
            let Some(lead) = encoded.get(from..at) else {
                continue;
            };
            let wanted = lead.len().saturating_sub(LEAD as usize);
            let Some(Clip { frames: mut clip, .. }) = clip(self.header, lead, wanted) else {
                continue;
            };
            let before = clip.len() as u64;
            let content = exit.frame..exit.frame + CHECKED;
            let mut content =
                self.decoder
                    .index
                    .read(self.decoder.content, content, self.decoder.options.read_deadline)?;
            match &exit.handover {
                Handover::Repacked(frame) => content[0].clone_from(frame),
                Handover::Reservoir(bytes) => {
                    let Some(Ok(last)) = clip.last().map(|last| hand_over(last, bytes)) else {
                        continue;
                    };
                    clip.pop();
                    clip.push(last);
                }
            }
            clip.extend(content);
            clips.push(clip);
            candidates.push((exit, before));
        }
        let free = candidates.len() == exits.len();
        let decoded = bridge::decode(&clips).map_err(|error| failed(0, &error))?;
        let best = candidates
            .into_iter()
            .zip(decoded)
            .filter_map(|((exit, before), samples)| {
                // Both from the same decoded sample on: a little before the join, but after the cue.
                let join = (exit.frame * size) as i64;
                let clip_start = join - (before * size) as i64;
                let from = (join - BLOCK as i64)
                    .max(original_start)
                    .max(clip_start + (UNSETTLED * size) as i64);
                let a = samples.get((from - clip_start) as usize * self.channels..)?;
                let b = original.get((from - original_start) as usize * self.channels..)?;
                let count = a.len().min(b.len());
                let settled = ((join - from) as usize + OVERLAP as usize) * self.channels;
                if settled > count || a[settled..count] != b[settled..count] {
                    return None;
                }
                Some((exit.clone(), worst_block(a, b, self.channels), free))
            });
        Ok(best.min_by(|a, b| a.1.total_cmp(&b.1)))
    }
}

/// A run of frames of the result.
enum Piece {
    Content(Range<u64>),
    Made(Vec<Vec<u8>>),
}

/// See [`format::Track::splice`]. At least one break has ads.
fn splice(track: &Track<'_>, layout: &Layout<'_>) -> Result<Spliced, SpliceError> {
    let index = &track.index;
    let header = index.header();
    let (rate, channels, skip) = (header.sample_rate(), usize::from(header.channels()), index.skip());
    let (plan, spots) = (&layout.plan, &layout.spots);
    let grid = Grid {
        size: u64::from(header.samples()),
        frames: index.frames(),
        end: index.samples() + skip,
        // The fades are within the ads' time.
        fade: 0,
        overlap: OVERLAP,
        checked: CHECKED,
        reach: MOVE,
    };
    let maker = Maker {
        track,
        layout,
        decoder: track.decoder(),
        header,
        grid,
        skip,
        channels,
    };
    let cuts: Vec<Cut> = spots.iter().map(|spot| maker.cut(spot)).collect();

    // The result's padding, and with it how many frames it has, when the end is re-encoded.
    let gapless = index.gapless();
    let ends_in_bridge = joins(grid, &cuts).last().is_some_and(|join| join.exits.is_none());
    let ends_in_ad = matches!(plan.segments().last(), Some((_, Segment::Ad { .. })));
    let shift: i64 = spots.iter().map(|spot| maker.shift(spot)).sum();
    let total = if ends_in_ad {
        let delay = gapless.map_or(0, |gapless| u64::from(gapless.delay) + u64::from(DECODER_DELAY));
        (plan.samples() + delay).div_ceil(grid.size)
    } else {
        (grid.frames as i64 + shift) as u64
    };
    let new_gapless = Gapless {
        delay: gapless.unwrap_or_default().delay,
        padding: match gapless {
            // At most a frame and the decoder's delay.
            Some(gapless) if ends_in_ad => {
                (total * grid.size - plan.samples() - u64::from(gapless.delay)) as u16
            }
            Some(gapless) => gapless.padding,
            None => 0,
        },
    };

    let mut pieces = Vec::new();
    let mut seams = Vec::new();
    let (mut next_content, mut written) = (0, 0);
    let joined = joins(grid, &cuts);
    let bridges = side_by_side(&joined, |_, join| maker.bridge(join, &spots[join.cuts.clone()]));
    for (join, bridge) in joined.iter().zip(bridges) {
        let spots = &spots[join.cuts.clone()];
        let break_index = spots[0].index;
        let Bridge {
            entry,
            exit,
            mut frames,
            entry_db,
            exit_db,
        } = bridge.map_err(|error| at_break(error, break_index))?;
        if entry < next_content {
            return Err(failed(spots[0].index, &"the content around it cannot be joined"));
        }
        pieces.push(Piece::Content(next_content..entry));
        written += entry - next_content;
        let at = |frame: u64| PresentationTime::from_samples((frame * grid.size).saturating_sub(skip), rate);
        if entry > 0 {
            let frames = (cuts[join.cuts.start].start.div_ceil(grid.size) - entry) as u32;
            seams.push(Seam {
                kind: SeamKind::Entry,
                break_index: spots[0].index,
                presentation: at(written),
                frames,
                error_db: entry_db,
            });
        }
        let shift: i64 = spots.iter().map(|spot| maker.shift(spot)).sum();
        let needed = match &exit {
            Some(exit) => (exit.frame as i64 + shift - entry as i64) as u64,
            None => total.saturating_sub(written),
        };
        if (frames.len() as u64) < needed {
            return Err(failed(
                spots[0].index,
                &format!("the encoder gave {} frames of {needed}", frames.len()),
            ));
        }
        frames.truncate(needed as usize);
        written += needed;
        next_content = grid.frames;
        if let Some(exit) = exit {
            let last = &spots[spots.len() - 1];
            let count = (exit.frame - maker.cut(last).end / grid.size) as u32;
            seams.push(Seam {
                kind: SeamKind::Exit,
                break_index: last.index,
                presentation: at(written),
                frames: count,
                error_db: exit_db,
            });
            next_content = exit.frame;
            match exit.handover {
                Handover::Repacked(frame) => {
                    frames.push(frame);
                    written += 1;
                    next_content += 1;
                }
                Handover::Reservoir(bytes) => {
                    if let Some(last) = frames.last_mut() {
                        *last = hand_over(last, &bytes).map_err(|error| failed(break_index, &error))?;
                    }
                }
            }
        }
        pieces.push(Piece::Made(frames));
    }
    pieces.push(Piece::Content(next_content..grid.frames));
    debug_assert!(ends_in_bridge || written + grid.frames - next_content == total);

    assemble(track, &pieces, total, new_gapless, plan, seams)
}

/// Puts tags, information frame and pieces together.
fn assemble(
    track: &Track<'_>,
    pieces: &[Piece],
    total: u64,
    gapless: Gapless,
    plan: &SplicePlan,
    seams: Vec<Seam>,
) -> Result<Spliced, SpliceError> {
    let index = &track.index;
    let head = tags(track.content, index.head().start, track.options)?;
    let chapters = tag_chapters(plan, &head);
    let head = edit_tag(
        &head,
        &chapters,
        PresentationTime::from(plan.duration()).as_millis(),
    );

    let original = index.head().info.as_ref().map(|info| &info.xing);
    let xing = XingPlan {
        original,
        header: index.header(),
        gapless,
    };
    let xing_len = xing
        .frame_len()
        .ok_or_else(|| SpliceError::Unsupported("the frames are too small for a Xing header".into()))?
        as u64;
    // For each piece: the first frame, and the offset from the information frame.
    let mut starts = Vec::new();
    let (mut frame, mut offset) = (0, xing_len);
    for piece in pieces {
        starts.push((frame, offset));
        match piece {
            Piece::Content(range) => {
                frame += range.end - range.start;
                offset += index.offset(range.end) - index.offset(range.start);
            }
            Piece::Made(frames) => {
                frame += frames.len() as u64;
                offset += frames.iter().map(|frame| frame.len() as u64).sum::<u64>();
            }
        }
    }
    let offset_of = |wanted: u32| {
        let wanted = u64::from(wanted);
        let at = starts
            .partition_point(|(frame, _)| *frame <= wanted)
            .saturating_sub(1);
        let (frame, offset) = starts[at];
        offset
            + match &pieces[at] {
                Piece::Content(range) => {
                    index.offset(range.start + wanted - frame) - index.offset(range.start)
                }
                Piece::Made(frames) => frames
                    .iter()
                    .take((wanted - frame) as usize)
                    .map(|frame| frame.len() as u64)
                    .sum(),
            }
    };
    let count = u32::try_from(total).unwrap_or(u32::MAX);
    let info = xing.write(count, u32::try_from(offset).unwrap_or(u32::MAX), offset_of);
    let info =
        info.ok_or_else(|| SpliceError::Unsupported("the frames are too small for a Xing header".into()))?;

    let mut runs = Runs::default();
    runs.made(&[head, info].concat());
    for piece in pieces {
        match piece {
            Piece::Content(range) => runs.content(index.offset(range.start), index.offset(range.end)),
            Piece::Made(frames) => runs.made(&frames.concat()),
        }
    }
    runs.content(index.offset(index.frames()), track.content.len());
    Ok(Spliced {
        runs: runs.into_runs(),
        seams,
        chapters,
    })
}
