//! Splicing codings whose packets can be put beside each other: AAC and Opus.
//!
//! Content packets outside the bridges stay as they are. A bridge is \[content | ads | content\] encoded in one run on the content's own grid, so that its packet `m` stands where content packet
//! `origin + m` would. What decodes wrongly at a seam is the overlap of two packets that do not know each other (and, in Opus, what a decoder remembers); how much depends on the place, so several are tried
//! by decoding the join, and the best is kept. The fades are within the ads' time (`gathered`): content is content up to the cue.

use std::ops::Range;

use super::format::Track;
use super::gathered::{Gathered, gather};
use super::joins::{Cut, Grid, Join, joins};
use super::layout::{Layout, Spot};
use super::peaks::{Coded, Places, below_the_limit};
use super::resume::resume;
use super::sound::{BLOCK, FLOOR_DB, worst_block};
use super::{Seam, SeamKind, SpliceError};
use crate::bridge::BridgeError;
use crate::plan::Segment;
use crate::side_by_side::side_by_side;
use crate::time::PresentationTime;

/// Packets of ads next to where content ends and resumes that are coded as those of content are.
const AROUND: u64 = 6;
/// From so many packets on, those within ads are coded otherwise.
const WORTH: u64 = 64;

/// Packets of one content stream, and how to code more of them. Positions are *decoded samples*: packet `f` gives samples `f * size ..`.
pub(crate) trait Coding: Sync {
    /// What the grid is like. `fade` is 0.
    fn grid(&self) -> Grid;

    /// Decoded sample of content sample 0.
    fn skip(&self) -> u64;

    /// Channels of the stream.
    fn channels(&self) -> usize;

    /// Input sample `n` of the encoder is decoded sample `n + delay`.
    fn delay(&self) -> u64;

    /// Packets at the beginning of a clip that do not decode to what they should.
    fn unsettled(&self) -> u64;

    /// Packets that are encoded before the first that is used.
    fn preroll(&self) -> u64;

    /// The packets of this range.
    fn read(&self, packets: Range<u64>) -> Result<Vec<Vec<u8>>, SpliceError>;

    /// Decodes runs of packets, each from nothing.
    fn decode(&self, clips: &[Vec<Vec<u8>>]) -> Result<Vec<Vec<f32>>, BridgeError>;

    /// Encodes samples; silence follows, so that all of them come out. Before and after those of `ads` they are content. In the packets of `inner` there are ads alone.
    fn encode(
        &self,
        pcm: &[f32],
        ads: &Range<usize>,
        inner: &[Range<usize>],
    ) -> Result<Vec<Vec<u8>>, BridgeError>;

    /// The same in ways that take more care of what is near silence, and are less exact elsewhere, if there are any.
    fn encode_carefully(&self, _pcm: &[f32]) -> Result<Vec<Vec<Vec<u8>>>, BridgeError> {
        Ok(Vec::new())
    }
}

/// Interleaved samples of a range of decoded samples; silence where there is no content.
pub(crate) fn decoded(coding: &dyn Coding, range: Range<i64>) -> Result<Vec<f32>, SpliceError> {
    let (grid, channels) = (coding.grid(), coding.channels());
    let mut out = vec![0.0; (range.end - range.start).max(0) as usize * channels];
    let (start, end) = (range.start.max(0) as u64, range.end.max(0) as u64);
    let (first, last) = (start / grid.size, end.div_ceil(grid.size).min(grid.frames));
    if first >= last {
        return Ok(out);
    }
    let from = first.saturating_sub(coding.unsettled());
    let clip = coding.read(from..last)?;
    let samples = coding.decode(&[clip]).map_err(|error| error.at(0))?.remove(0);
    let begin = (from * grid.size) as i64;
    let into = (begin - range.start).max(0) as usize * channels;
    let skip = (range.start - begin).max(0) as usize * channels;
    if let (Some(into), Some(samples)) = (out.get_mut(into..), samples.get(skip..)) {
        let count = into.len().min(samples.len());
        into[..count].copy_from_slice(&samples[..count]);
    }
    Ok(out)
}

pub(super) fn failed(break_index: usize, reason: &dyn std::fmt::Display) -> SpliceError {
    SpliceError::Bridge {
        break_index,
        reason: reason.to_string(),
    }
}

/// A run of packets of the result.
#[derive(Debug)]
pub(crate) enum Piece {
    Content(Range<u64>),
    Made(Vec<Vec<u8>>),
}

impl Piece {
    /// How many packets it has.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Content(range) => range.end - range.start,
            Self::Made(packets) => packets.len() as u64,
        }
    }
}

/// The packets of a rendition.
#[derive(Debug)]
pub(crate) struct Bridged {
    pub(crate) pieces: Vec<Piece>,
    pub(crate) seams: Vec<Seam>,
}

/// What a bridge is made with.
pub(super) struct Maker<'a> {
    coding: &'a dyn Coding,
    pub(super) track: &'a dyn Track,
    pub(super) layout: &'a Layout<'a>,
    pub(super) grid: Grid,
}

/// One that was tried: where, and how far it is from the original, in dB.
type Tried = (u64, f64);

/// A finished bridge: its packets from the entry to the exit.
pub(super) struct Bridge {
    pub(super) packets: Vec<Vec<u8>>,
    pub(super) entry: Tried,
    pub(super) exit: Option<Tried>,
}

/// Packets that were made of samples.
struct Run<'a> {
    coding: &'a dyn Coding,
    gathered: Gathered,
    packets: Vec<Vec<u8>>,
}

impl Coded for Run<'_> {
    fn places(&self) -> &Places {
        &self.gathered.places
    }

    fn given(&self) -> &[f32] {
        &self.gathered.pcm
    }

    fn became(&self, range: Range<usize>) -> Result<Vec<f32>, SpliceError> {
        let (size, channels) = (self.coding.grid().size as usize, self.coding.channels());
        let late = self.coding.delay() as usize;
        let (start, end) = (range.start + late, range.end + late);
        let from = (start / size).saturating_sub(self.coding.unsettled() as usize);
        let packets = from..end.div_ceil(size).min(self.packets.len());
        let clip = self.packets.get(packets).unwrap_or_default().to_vec();
        let mut samples = self
            .coding
            .decode(&[clip])
            .map_err(|error| error.at(0))?
            .remove(0);
        samples.truncate((end - from * size) * channels);
        samples.drain(..samples.len().min((start - from * size) * channels));
        Ok(samples)
    }
}

impl<'a> Maker<'a> {
    pub(super) fn new(coding: &'a dyn Coding, track: &'a dyn Track, layout: &'a Layout<'a>) -> Self {
        Self {
            coding,
            track,
            layout,
            grid: coding.grid(),
        }
    }

    pub(super) fn cut(&self, spot: &Spot<'_>) -> Cut {
        let skip = self.coding.skip();
        spot.span.start + skip..spot.span.end + skip
    }

    /// The ads of a join.
    pub(super) fn spots(&self, join: &Join) -> &'a [Spot<'a>] {
        &self.layout.spots[join.cuts.clone()]
    }

    /// Where bridges are, and how far they may reach.
    pub(super) fn joins(&self) -> Vec<Join> {
        let cuts: Vec<Cut> = self.layout.spots.iter().map(|spot| self.cut(spot)).collect();
        joins(self.grid, &cuts)
    }

    /// By how many packets what follows these ads comes later.
    pub(super) fn shift(&self, spots: &[Spot<'_>]) -> i64 {
        let samples: i64 = spots.iter().map(Spot::shift).sum();
        samples.div_euclid(self.grid.size as i64)
    }

    /// The packets that hold nothing but ads, some distance from where those begin and end: counted from the first content packet that an entry of the join may take the place of.
    pub(super) fn inner(&self, join: &Join) -> Vec<Range<u64>> {
        let size = self.grid.size;
        let mut moved = -((*join.entries.start() * size) as i64);
        // From where to where there are ads, in samples; breaks at one place follow each other.
        let mut stretches: Vec<(u64, u64)> = Vec::new();
        for spot in self.spots(join) {
            let begins = (self.cut(spot).start as i64 + moved).max(0) as u64;
            let ends = begins + spot.added();
            moved += spot.shift();
            match stretches.last_mut() {
                Some(last) if last.1 == begins => last.1 = ends,
                _ => stretches.push((begins, ends)),
            }
        }
        let inner = stretches
            .into_iter()
            .map(|(begins, ends)| begins.div_ceil(size) + AROUND..(ends / size).saturating_sub(AROUND));
        inner.filter(|inner| inner.start + WORTH < inner.end).collect()
    }

    /// How many packets the result has.
    pub(super) fn total(&self) -> u64 {
        let ends_in_ad = matches!(self.layout.plan.segments().last(), Some((_, Segment::Ad { .. })));
        if ends_in_ad {
            (self.layout.plan.samples() + self.coding.skip()).div_ceil(self.grid.size)
        } else {
            (self.grid.frames as i64 + self.shift(&self.layout.spots)) as u64
        }
    }

    /// Makes one bridge: its packets from the entry to the exit, or to the end of the result.
    pub(super) fn bridge(&self, join: &Join) -> Result<Bridge, SpliceError> {
        let spots = self.spots(join);
        let break_index = spots[0].index;
        let mut bridge = self
            .encoded(join, spots)
            .map_err(|error| error.at_break(break_index))?;
        let entry = bridge.entry.0 as i64;
        let needed = match bridge.exit {
            Some((exit, _)) => exit as i64 + self.shift(spots) - entry,
            None => self.total() as i64 - entry - self.shift(&self.layout.spots[..join.cuts.start]),
        };
        let needed = needed.max(0) as usize;
        if bridge.packets.len() < needed {
            let reason = format!("the encoder gave {} packets of {needed}", bridge.packets.len());
            return Err(failed(break_index, &reason));
        }
        bridge.packets.truncate(needed);
        Ok(bridge)
    }

    /// A bridge with as many packets as came out.
    fn encoded(&self, join: &Join, spots: &[Spot<'_>]) -> Result<Bridge, SpliceError> {
        let (grid, channels) = (self.grid, self.coding.channels());
        let break_index = spots[0].index;
        let origin = *join.entries.start() as i64 - self.coding.preroll() as i64;
        let first_sample = origin * grid.size as i64 + self.coding.delay() as i64;
        let last = spots.last().map_or(0, |spot| self.cut(spot).end);
        let end = match &join.exits {
            Some(exits) => (exits.end() + grid.checked.max(self.coding.preroll())) * grid.size,
            None if last < grid.end => grid.frames * grid.size,
            None => last,
        };
        let preroll = self.coding.preroll() as usize;
        let inner = self.inner(join).into_iter();
        let inner: Vec<_> = inner
            .map(|inner| inner.start as usize + preroll..inner.end as usize + preroll)
            .collect();
        let Run {
            gathered, packets, ..
        } = below_the_limit(self.layout, spots, |spots| {
            let gathered = gather(
                (self.track, self.layout),
                spots,
                first_sample..end as i64,
                self.coding.skip(),
                channels,
                |range| decoded(self.coding, range),
            )?;
            let Gathered {
                pcm, before, after, ..
            } = &gathered;
            let at = (pcm.len() - after.len()) / channels;
            let mut packets = self
                .coding
                .encode(pcm, &(before.len() / channels..at), &inner)
                .map_err(|error| error.at(break_index))?;
            if join.exits.is_some() {
                resume(self.coding, &mut packets, pcm, at, self.layout.fade)?;
            }
            Ok(Run {
                coding: self.coding,
                gathered,
                packets,
            })
        })?;
        let Gathered {
            before,
            after,
            resumed,
            ..
        } = gathered;

        let entry = self
            .entry(join, origin, &packets, &before, first_sample)?
            .ok_or_else(|| failed(break_index, &"the content before it cannot be decoded"))?;
        let shift = self.shift(spots);
        let exit = match &join.exits {
            Some(exits) => Some(
                self.exit(exits.clone(), origin - shift, &packets, &after, resumed)?
                    .ok_or_else(|| failed(break_index, &"the content after it cannot be decoded"))?,
            ),
            None => None,
        };
        let used = (entry.0 as i64 - origin) as usize;
        Ok(Bridge {
            packets: packets.into_iter().skip(used).collect(),
            entry,
            exit,
        })
    }

    /// The entry whose join differs least from the original before the cue.
    fn entry(
        &self,
        join: &Join,
        origin: i64,
        packets: &[Vec<u8>],
        before: &[f32],
        first_sample: i64,
    ) -> Result<Option<Tried>, SpliceError> {
        let (size, channels) = (self.grid.size, self.coding.channels());
        if *join.entries.end() == 0 {
            return Ok(Some((0, FLOOR_DB)));
        }
        let (mut clips, mut places) = (Vec::new(), Vec::new());
        for entry in join.entries.clone() {
            let at = (entry as i64 - origin) as usize;
            let start = entry.saturating_sub(self.coding.unsettled() + 1);
            let mut clip = self.coding.read(start..entry)?;
            clip.extend(
                packets
                    .iter()
                    .skip(at)
                    .take(self.grid.checked as usize + 4)
                    .cloned(),
            );
            clips.push(clip);
            places.push((entry, start));
        }
        let decoded = self.coding.decode(&clips).map_err(|error| error.at(0))?;
        let tried = places
            .into_iter()
            .zip(decoded)
            .filter_map(|((entry, start), samples)| {
                let from = (entry * size) as i64;
                let a = samples.get((from - (start * size) as i64) as usize * channels..)?;
                let b = before.get((from - first_sample).max(0) as usize * channels..)?;
                Some((entry, worst_block(a, b, channels)))
            });
        Ok(tried.min_by(|a, b| a.1.total_cmp(&b.1)))
    }

    /// The exit whose join differs least from the original after it. Content packet `f` stands where bridge packet `f - origin` does.
    fn exit(
        &self,
        exits: std::ops::RangeInclusive<u64>,
        origin: i64,
        packets: &[Vec<u8>],
        original: &[f32],
        original_start: i64,
    ) -> Result<Option<Tried>, SpliceError> {
        let (size, channels) = (self.grid.size, self.coding.channels());
        let (mut clips, mut places) = (Vec::new(), Vec::new());
        for exit in exits {
            let at = (exit as i64 - origin) as usize;
            let from = at.saturating_sub(self.coding.unsettled() as usize + 1);
            let Some(lead) = packets.get(from..at) else {
                continue;
            };
            let mut clip = lead.to_vec();
            clip.extend(self.coding.read(exit..exit + self.grid.checked)?);
            clips.push(clip);
            places.push((exit, (at - from) as u64));
        }
        let decoded = self.coding.decode(&clips).map_err(|error| error.at(0))?;
        let tried = places
            .into_iter()
            .zip(decoded)
            .filter_map(|((exit, lead), samples)| {
                // What is before the join was encoded from the original: a little of it is heard too.
                let join = (exit * size) as i64;
                let from = (join - BLOCK as i64).max(original_start);
                let a = samples.get(((lead * size) as i64 - (join - from)) as usize * channels..)?;
                let b = original.get((from - original_start) as usize * channels..)?;
                Some((exit, worst_block(a, b, channels)))
            });
        Ok(tried.min_by(|a, b| a.1.total_cmp(&b.1)))
    }
}

/// Makes the packets of the rendition that is laid out.
pub(crate) fn bridged(
    coding: &dyn Coding,
    track: &dyn Track,
    layout: &Layout<'_>,
) -> Result<Bridged, SpliceError> {
    let (grid, skip) = (coding.grid(), coding.skip());
    let rate = layout.plan.sample_rate();
    let maker = Maker::new(coding, track, layout);
    let (mut pieces, mut seams) = (Vec::new(), Vec::new());
    let (mut next, mut written) = (0, 0);
    let joins = maker.joins();
    let made = side_by_side(&joins, |_, join| maker.bridge(join));
    for (join, bridge) in joins.iter().zip(made) {
        let spots = maker.spots(join);
        let break_index = spots[0].index;
        let Bridge { packets, entry, exit } = bridge?;
        if entry.0 < next {
            return Err(failed(break_index, &"the content around it cannot be joined"));
        }
        pieces.push(Piece::Content(next..entry.0));
        written += entry.0 - next;
        let seam = |kind, break_index, written: u64, frames: u64, error_db| Seam {
            kind,
            break_index,
            presentation: PresentationTime::from_samples((written * grid.size).saturating_sub(skip), rate),
            frames: frames as u32,
            error_db,
        };
        if entry.0 > 0 {
            let frames = maker.cut(&spots[0]).start.div_ceil(grid.size) - entry.0;
            seams.push(seam(SeamKind::Entry, break_index, written, frames, entry.1));
        }
        written += packets.len() as u64;
        next = grid.frames;
        if let Some((exit, error_db)) = exit {
            let last = &spots[spots.len() - 1];
            let frames = exit - maker.cut(last).end / grid.size;
            seams.push(seam(SeamKind::Exit, last.index, written, frames, error_db));
            next = exit;
        }
        pieces.push(Piece::Made(packets));
    }
    pieces.push(Piece::Content(next..grid.frames));
    Ok(Bridged { pieces, seams })
}
