//! Bridges of MP3: coding \[content | ads | content\] on the content's grid, and choosing where content and bridge meet.

use std::ops::Range;

use super::decoder::{Clip, Decoder, RESERVOIR_FRAMES, UNSETTLED, clip};
use super::{CHECKED, MOVE, OVERLAP, Track};
use crate::bridge::mp3 as bridge;
use crate::frames::mp3::{Header, LAME_TOTAL_DELAY, RepackError, hand_over, repack, reservoir};
use crate::splice::SpliceError;
use crate::splice::bridged::failed;
use crate::splice::gathered::{Gathered, gather};
use crate::splice::joins::{Cut, Grid, Join};
use crate::splice::layout::{Layout, Spot};
use crate::splice::peaks::{Coded, Places, below_the_limit};
use crate::splice::sound::{BLOCK, FLOOR_DB, worst_block};

/// Bridge frames before the first that is used: the encoder has settled by then.
const PREROLL: i64 = 4;
/// Content frames that are encoded after the last possible exit, for the encoder's look-ahead.
const LOOK_AHEAD: u64 = 4;
/// A seam this good, in dB, needs no better one.
const GOOD_DB: f64 = -60.0;
/// Frames before a join that are decoded with it.
const LEAD: u64 = 4;

fn repack_at(refs: &[&[u8]], at: usize) -> Result<Vec<u8>, RepackError> {
    repack(&refs[..refs.len().min(at + 2)], at)
}

/// How the content frame after a bridge gets its main data.
#[derive(Clone)]
pub(super) enum Handover {
    /// The frame was made to stand alone.
    Repacked(Vec<u8>),
    /// The frame stays as it is; the last bridge frame carries these bytes for it. For content whose frames are too full to be repacked (320 kb/s).
    Reservoir(Vec<u8>),
}

/// A content frame that can follow a bridge.
#[derive(Clone)]
pub(super) struct Exit {
    pub(super) frame: u64,
    pub(super) handover: Handover,
}

/// A bridge frame that can follow content, made to stand alone.
struct Entry {
    /// The content frame that it takes the place of.
    frame: u64,
    first: Vec<u8>,
}

/// A finished bridge.
pub(super) struct Bridge {
    /// The first content frame that it takes the place of.
    pub(super) entry: u64,
    /// The content frame that follows it.
    pub(super) exit: Option<Exit>,
    /// The bridge's frames, as many as came out: the caller takes what it needs. The first stands alone.
    pub(super) frames: Vec<Vec<u8>>,
    pub(super) entry_db: f64,
    pub(super) exit_db: f64,
}

impl Bridge {
    /// The worse of its seams, in dB.
    fn worst(&self) -> f64 {
        self.entry_db.max(self.exit_db)
    }
}

/// A bridge, and what it was made of.
struct Run {
    bridge: Bridge,
    header: Header,
    pcm: Vec<f32>,
    places: Places,
    /// Sample `n` of what it was made of is decoded sample `n + late` of its frames.
    late: i64,
}

impl Coded for Run {
    fn places(&self) -> &Places {
        &self.places
    }

    fn given(&self) -> &[f32] {
        &self.pcm
    }

    fn packets(&self) -> &[Vec<u8>] {
        &self.bridge.frames
    }

    fn became(&self, range: Range<usize>) -> Result<Vec<f32>, SpliceError> {
        let (frames, header) = (&self.bridge.frames, self.header);
        let (size, channels) = (header.samples() as usize, usize::from(header.channels()));
        let [start, end] = [range.start, range.end].map(|at| (at as i64 + self.late).max(0) as usize);
        let wanted = (start / size).saturating_sub(UNSETTLED as usize);
        let from = wanted.saturating_sub(RESERVOIR_FRAMES as usize);
        let frames = frames.get(from..end.div_ceil(size).min(frames.len()));
        let Some(clip) = frames.and_then(|frames| clip(header, frames, wanted - from)) else {
            return Ok(Vec::new());
        };
        let first = from + clip.start as usize;
        let decoded = bridge::decode(&[clip.frames])
            .map_err(|error| error.at(0))?
            .remove(0);
        // Where the reservoir is missing a clip begins later than it should: silence stands for what cannot be decoded.
        let settled = from + clip.settled as usize;
        let heard = (settled * size).clamp(start, end);
        let [heard_at, ends_at] = [heard, end].map(|at| (at - first * size) * channels);
        let mut samples = vec![0.0; (heard - start) * channels];
        samples.extend(
            decoded
                .get(heard_at..ends_at.min(decoded.len()))
                .unwrap_or_default(),
        );
        Ok(samples)
    }
}

pub(super) struct Maker<'a> {
    pub(super) track: &'a Track<'a>,
    pub(super) layout: &'a Layout<'a>,
    pub(super) decoder: Decoder<'a>,
    pub(super) header: Header,
    pub(super) grid: Grid,
    /// Decoded sample of content sample 0.
    pub(super) skip: u64,
    pub(super) channels: usize,
}

impl Maker<'_> {
    pub(super) fn cut(&self, spot: &Spot<'_>) -> Cut {
        spot.span.start + self.skip..spot.span.end + self.skip
    }

    /// How many frames later (or earlier) the content stands after breaks.
    pub(super) fn shift(&self, spots: &[Spot<'_>]) -> i64 {
        let samples: i64 = spots.iter().map(Spot::shift).sum();
        samples.div_euclid(self.grid.size as i64)
    }

    /// The exits that there are to choose from; when none of the content frames wanted can be used, later ones.
    pub(super) fn exits(&self, join: &Join) -> Result<Option<Vec<Exit>>, SpliceError> {
        let Some(exits) = &join.exits else { return Ok(None) };
        let (first, last) = (
            *exits.start(),
            (exits.end() + MOVE + 1).min(self.grid.frames - CHECKED),
        );
        let from = first.saturating_sub(RESERVOIR_FRAMES);
        let frames = self.decoder.index.read(from..last + 1)?;
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

    /// Makes a bridge that ends at one of the exits that [`Maker::exits`] gave.
    pub(super) fn bridge(
        &self,
        join: &Join,
        exits: Option<&[Exit]>,
        spots: &[Spot<'_>],
    ) -> Result<Bridge, SpliceError> {
        below_the_limit(self.layout, spots, |spots| self.of(join, exits, spots)).map(|run| run.bridge)
    }

    /// The same, whatever the peaks of its ads.
    fn of(&self, join: &Join, exits: Option<&[Exit]>, spots: &[Spot<'_>]) -> Result<Run, SpliceError> {
        let size = self.grid.size as i64;
        let first_sample = self.first_sample(join);
        let break_index = spots[0].index;

        let last = spots.last().map_or(0, |spot| self.cut(spot).end);
        let end = match exits.and_then(|exits| exits.last()) {
            Some(exit) => (exit.frame + LOOK_AHEAD.max(CHECKED)) * self.grid.size,
            None if last < self.grid.end => self.grid.frames * self.grid.size,
            None => last,
        };
        let gathered = gather(
            (self.track, self.layout),
            spots,
            first_sample..end as i64,
            self.skip,
            self.channels,
            |range| self.decoder.decode(range),
        )?;
        let frames = |samples: &[f32]| samples.len() / self.channels;
        let all = frames(&gathered.pcm);
        let (before, after) = (0..frames(&gathered.before), all - frames(&gathered.after)..all);

        let mut best: Option<Bridge> = None;
        let mut keep = |made: Bridge| {
            if best.as_ref().is_none_or(|best| made.worst() < best.worst()) {
                best = Some(made);
            }
            best.as_ref().is_some_and(|best| best.worst() <= GOOD_DB)
        };
        for bit_rate in bridge::bridge_bit_rates(self.header) {
            let coded = |long: &[Range<usize>]| self.coded(join, exits, spots, &gathered, (bit_rate, long));
            let Some((made, free)) = coded(&[])? else { continue };
            // Overlapping halves of two blocks cancel only when both are long or both short, and another coder than LAME may have used long ones where LAME sees attacks.
            let sides = [(made.entry_db, before.clone()), (made.exit_db, after.clone())];
            let long: Vec<Range<usize>> = sides
                .into_iter()
                .filter_map(|(db, side)| (db > GOOD_DB).then_some(side))
                .collect();
            let mut is_good = keep(made);
            if !long.is_empty()
                && let Some((made, _)) = coded(&long)?
            {
                is_good = keep(made);
            }
            // At a high rate few frames have room for a repack: where only a bad place was left, a lower rate may have a good one.
            if free || is_good {
                break;
            }
        }
        let bridge =
            best.ok_or_else(|| failed(break_index, &"no bridge frame can stand alone where it has to"))?;
        Ok(Run {
            header: self.header,
            late: first_sample - bridge.entry as i64 * size,
            pcm: gathered.pcm,
            places: gathered.places,
            bridge,
        })
    }

    /// The content frame in whose place a bridge's first frame would stand, whether that is used or not.
    fn origin(join: &Join) -> i64 {
        *join.entries.start() as i64 - PREROLL
    }

    /// The decoded sample that a bridge is coded from.
    fn first_sample(&self, join: &Join) -> i64 {
        Self::origin(join) * self.grid.size as i64 + i64::from(LAME_TOTAL_DELAY)
    }

    /// What was gathered, coded at a bit rate in kb/s with long blocks only in parts of it, and joined where that is best; and whether all places could be had. `None` when there is none.
    fn coded(
        &self,
        join: &Join,
        exits: Option<&[Exit]>,
        spots: &[Spot<'_>],
        gathered: &Gathered,
        (bit_rate, long): (u32, &[Range<usize>]),
    ) -> Result<Option<(Bridge, bool)>, SpliceError> {
        let (origin, first_sample) = (Self::origin(join), self.first_sample(join));
        let Gathered {
            pcm,
            before,
            after,
            resumed,
            ..
        } = gathered;
        let encode = |pcm: &[f32]| {
            bridge::encode(self.header, bit_rate, pcm, long).map_err(|error| error.at(spots[0].index))
        };
        // Whether there is an entry is seen in the first frames already.
        let first_frames = (*join.entries.end() as i64 - origin) as u64 + LEAD + LOOK_AHEAD;
        let first_samples = (first_frames * self.grid.size) as usize * self.channels;
        let beginning = encode(&pcm[..pcm.len().min(first_samples)])?;
        if self
            .best_entry(join, origin, &beginning, before, first_sample)?
            .is_none()
        {
            return Ok(None);
        }
        let encoded = encode(pcm)?;
        let Some((Entry { frame: entry, first }, entry_db, entry_free)) =
            self.best_entry(join, origin, &encoded, before, first_sample)?
        else {
            return Ok(None);
        };
        let (exit, exit_db, exit_free) = match exits {
            Some(exits) => {
                let origin = origin - self.shift(spots);
                let Some((exit, db, free)) = self.best_exit(exits, origin, &encoded, after, *resumed)? else {
                    return Ok(None);
                };
                (Some(exit), db, free)
            }
            None => (None, FLOOR_DB, true),
        };
        let used = (entry as i64 - origin) as usize;
        let frames = std::iter::once(first)
            .chain(encoded.into_iter().skip(used + 1))
            .collect();
        let made = Bridge {
            entry,
            exit,
            frames,
            entry_db,
            exit_db,
        };
        Ok(Some((made, entry_free && exit_free)))
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
                ..
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
        let decoded = bridge::decode(&clips).map_err(|error| error.at(join.cuts.start))?;
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
            let mut content = self.decoder.index.read(content)?;
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
        let decoded = bridge::decode(&clips).map_err(|error| error.at(0))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_frames_became_is_where_it_was_asked_for() {
        const SIZE: usize = 1152;
        let header = Header::parse([0xFF, 0xFB, 0x90, 0xC4]).unwrap();
        let pcm: Vec<f32> = (0..60 * SIZE)
            .map(|i| 0.3 * (i as f32 * 0.05).sin() + 0.2 * (i as f32 * i as f32 * 1e-5).sin())
            .collect();
        let frames = bridge::encode(header, 128, &pcm, &[]).unwrap();
        let whole = bridge::decode(std::slice::from_ref(&frames)).unwrap().remove(0);
        // From the beginning, and from frames on whose reservoir is missing.
        for cut in [0, 5, 9] {
            let run = Run {
                bridge: Bridge {
                    entry: 0,
                    exit: None,
                    frames: frames[cut..].to_vec(),
                    entry_db: FLOOR_DB,
                    exit_db: FLOOR_DB,
                },
                header,
                pcm: Vec::new(),
                places: Vec::new(),
                late: 0,
            };
            let lost = if cut == 0 { 0 } else { 16 * SIZE };
            for range in [0..7_000, 100..30_000, 19_999..20_005, 30_000..50_000] {
                let became = run.became(range.clone()).unwrap();
                assert_eq!(became.len(), range.len(), "{cut}, {range:?}");
                for (at, sample) in range.clone().zip(became) {
                    let is_right = (sample - whole[at + cut * SIZE]).abs() < 1e-5;
                    assert!(at < lost || is_right, "{cut}, {range:?}: {at}");
                }
            }
        }
    }
}
