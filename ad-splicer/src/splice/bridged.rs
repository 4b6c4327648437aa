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
use super::speech::Given;
use super::{Seam, SeamKind, SpliceError};
use crate::bridge::BridgeError;
use crate::plan::Segment;
use crate::side_by_side::side_by_side;
use crate::time::PresentationTime;

/// Packets of ads next to where content ends and resumes that are coded as those of content are.
const AROUND: u64 = 6;
/// From so many packets on, those within ads are coded otherwise.
const WORTH: u64 = 64;

/// Where decoders differ, what is off by less by one of them is not weighed against what is off by another.
const UNHEARD_DB: f64 = -75.0;

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

    /// The same by another decoder that players have, where it makes a difference which one it is; `None` where it makes none, or where that one fails.
    fn decode_otherwise(&self, _clips: &[Vec<Vec<u8>>]) -> Result<Option<Vec<Vec<f32>>>, BridgeError> {
        Ok(None)
    }

    /// Encodes samples; silence follows, so that all of them come out. Before and after those of `ads` they are content, of which `beside` are the packets that may meet these. In the packets of `inner` there are ads alone.
    fn encode(
        &self,
        pcm: &[f32],
        ads: &Range<usize>,
        inner: &[Range<usize>],
        beside: &[Vec<u8>],
    ) -> Result<Vec<Vec<u8>>, BridgeError>;

    /// Packets that may stand in the place of some of those that became of what was `given`, behind content: packet `from + i` follows the content's `last[i]`.
    fn leaving(
        &self,
        _given: &Given<'_>,
        _from: usize,
        _last: &[Vec<u8>],
    ) -> Result<Vec<Instead>, BridgeError> {
        Ok(Vec::new())
    }

    /// The same ahead of content, whose `next[i]` stands where packet `from + i` would.
    fn returning(
        &self,
        _given: &Given<'_>,
        _from: usize,
        _next: &[Vec<u8>],
    ) -> Result<Vec<Instead>, BridgeError> {
        Ok(Vec::new())
    }

    /// Encodes in ways that take more care of what is near silence, and are less exact elsewhere, if there are any.
    fn encode_carefully(&self, _pcm: &[f32]) -> Result<Vec<Vec<Vec<u8>>>, BridgeError> {
        Ok(Vec::new())
    }
}

/// Packets for the place of some of a bridge, where it meets content.
#[derive(Debug)]
pub(super) struct Instead {
    /// The packet of the bridge that comes behind content, or that content takes the place of.
    pub(super) meets: usize,
    /// The first whose place they take.
    pub(super) at: usize,
    pub(super) packets: Vec<Vec<u8>>,
}

impl Instead {
    /// Packets of a bridge with these, if any, among them.
    fn among<'p>(
        this: Option<&'p Self>,
        packets: &'p [Vec<u8>],
        range: Range<usize>,
    ) -> impl Iterator<Item = &'p Vec<u8>> {
        range.map_while(move |i| {
            let other = this.and_then(|this| this.packets.get(i.checked_sub(this.at)?));
            other.or_else(|| packets.get(i))
        })
    }

    /// Which packets these are.
    fn places(&self) -> Range<usize> {
        self.at..self.at + self.packets.len()
    }

    /// Puts them in their place.
    fn put(self, packets: &mut [Vec<u8>]) {
        let own = packets.iter_mut().skip(self.at);
        own.zip(self.packets).for_each(|(own, other)| *own = other);
    }
}

/// Interleaved samples of a range of decoded samples; silence where there is no content.
pub(crate) fn decoded(coding: &dyn Coding, range: Range<i64>) -> Result<Vec<f32>, SpliceError> {
    let samples = decoded_by(coding, range, |clips| coding.decode(clips).map(Some))?;
    Ok(samples.unwrap_or_default())
}

/// The same by a decoder that may not be there.
fn decoded_by(
    coding: &dyn Coding,
    range: Range<i64>,
    decode: impl Fn(&[Vec<Vec<u8>>]) -> Result<Option<Vec<Vec<f32>>>, BridgeError>,
) -> Result<Option<Vec<f32>>, SpliceError> {
    let (grid, channels) = (coding.grid(), coding.channels());
    let mut out = vec![0.0; (range.end - range.start).max(0) as usize * channels];
    let (start, end) = (range.start.max(0) as u64, range.end.max(0) as u64);
    let (first, last) = (start / grid.size, end.div_ceil(grid.size).min(grid.frames));
    if first >= last {
        return Ok(Some(out));
    }
    let from = first.saturating_sub(coding.unsettled());
    let clip = coding.read(from..last)?;
    let Some(mut clips) = decode(&[clip]).map_err(|error| error.at(0))? else {
        return Ok(None);
    };
    let samples = clips.remove(0);
    let begin = (from * grid.size) as i64;
    let into = (begin - range.start).max(0) as usize * channels;
    let skip = (range.start - begin).max(0) as usize * channels;
    if let (Some(into), Some(samples)) = (out.get_mut(into..), samples.get(skip..)) {
        let count = into.len().min(samples.len());
        into[..count].copy_from_slice(&samples[..count]);
    }
    Ok(Some(out))
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

    fn packets(&self) -> &[Vec<u8>] {
        &self.packets
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
        let mut beside = Vec::new();
        if *join.entries.end() > 0 {
            beside.extend(self.coding.read(last_before(join)..*join.entries.end())?);
        }
        if let Some(exits) = &join.exits {
            beside.extend(self.coding.read(*exits.start()..exits.end() + 1)?);
        }
        let Run {
            gathered,
            mut packets,
            ..
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
                .encode(pcm, &(before.len() / channels..at), &inner, &beside)
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
            pcm,
            before,
            after,
            resumed,
            ..
        } = gathered;
        let ads = before.len() / channels..(pcm.len() - after.len()) / channels;
        let given = Given { pcm: &pcm, ads: &ads };

        let (entry, instead) = self
            .entry(join, origin, &given, &packets, &before)?
            .ok_or_else(|| failed(break_index, &"the content before it cannot be decoded"))?;
        // What is before this place stays as it was tried.
        let settled = instead.as_ref().map_or(0, |instead| instead.places().end);
        let settled = settled.max((entry.0 as i64 - origin) as usize + 1);
        if let Some(instead) = instead {
            instead.put(&mut packets);
        }
        let shift = self.shift(spots);
        let exit = match &join.exits {
            Some(exits) => {
                let (exit, instead) = self
                    .exit(
                        exits.clone(),
                        origin - shift,
                        &given,
                        (&packets, settled),
                        (&after, resumed),
                    )?
                    .ok_or_else(|| failed(break_index, &"the content after it cannot be decoded"))?;
                if let Some(instead) = instead {
                    instead.put(&mut packets);
                }
                Some(exit)
            }
            None => None,
        };
        let used = (entry.0 as i64 - origin) as usize;
        Ok(Bridge {
            packets: packets.into_iter().skip(used).collect(),
            entry,
            exit,
        })
    }

    /// How far each clip is from the original, which begins with decoded sample `begins`: each from a sample of its own on, which is given with that of the original. `None` where there is none.
    fn errors(
        &self,
        clips: &[Vec<Vec<u8>>],
        spans: &[(u64, u64)],
        original: &[f32],
        begins: i64,
    ) -> Result<Vec<Option<Off>>, SpliceError> {
        let channels = self.coding.channels();
        let errors = |decoded: &[Vec<f32>], original: &[f32]| -> Vec<Option<f64>> {
            let spans = spans.iter().zip(decoded);
            let error = |((from, own), samples): (&(u64, u64), &Vec<f32>)| {
                let a = samples.get(*from as usize * channels..)?;
                let b = original.get(*own as usize * channels..)?;
                Some(worst_block(a, b, channels))
            };
            spans.map(error).collect()
        };
        let decoded = self.coding.decode(clips).map_err(|error| error.at(0))?;
        let usual = errors(&decoded, original);
        let otherwise = |clips: &[Vec<Vec<u8>>]| self.coding.decode_otherwise(clips);
        let other = match otherwise(clips).map_err(|error| error.at(0))? {
            Some(decoded) => {
                let ends = begins + (original.len() / channels) as i64;
                let original = decoded_by(self.coding, begins..ends, otherwise)?;
                original.map(|original| errors(&decoded, &original))
            }
            None => None,
        };
        Ok(usual
            .into_iter()
            .enumerate()
            .map(|(i, usual)| {
                let (usual, other) = (usual?, other.as_ref().and_then(|other| other[i]));
                let Some(other) = other else {
                    let (db, weight) = (usual, usual);
                    return Some(Off { db, weight });
                };
                let db = usual.max(other);
                let weight = db.max(UNHEARD_DB) + 0.5 * usual.min(other).max(UNHEARD_DB);
                Some(Off { db, weight })
            })
            .collect())
    }

    /// The entry whose join differs least from the original before the cue, and what makes it so.
    fn entry(
        &self,
        join: &Join,
        origin: i64,
        given: &Given<'_>,
        packets: &[Vec<u8>],
        before: &[f32],
    ) -> Result<Option<(Tried, Option<Instead>)>, SpliceError> {
        let size = self.grid.size;
        let (first, last) = (*join.entries.start(), *join.entries.end());
        if last == 0 {
            return Ok(Some(((0, FLOOR_DB), None)));
        }
        let at = |entry: u64| (entry as i64 - origin) as usize;
        let offered = self.coding.read(last_before(join)..last).and_then(|last| {
            let offered = self.coding.leaving(given, at(first), &last);
            offered.map_err(|error| error.at(0))
        })?;
        let (mut clips, mut places) = (Vec::new(), Vec::new());
        for entry in join.entries.clone() {
            let start = entry.saturating_sub(self.coding.unsettled() + 1);
            let content = self.coding.read(start..entry)?;
            let made = at(entry)..at(entry) + self.grid.checked as usize + 4;
            for instead in ways(&offered, at(entry)) {
                let made = Instead::among(instead.map(|i| &offered[i]), packets, made.clone());
                clips.push(content.iter().chain(made).cloned().collect());
                places.push((entry, start, instead));
            }
        }
        let begins = origin * size as i64 + self.coding.delay() as i64;
        let spans = places.iter().map(|(entry, start, _)| {
            let from = entry * size;
            (from - start * size, (from as i64 - begins).max(0) as u64)
        });
        let errors = self.errors(&clips, &spans.collect::<Vec<_>>(), before, begins)?;
        let tried = places.into_iter().map(|(entry, _, instead)| (entry, instead));
        Ok(best(tried.zip(errors), offered))
    }

    /// The exit whose join differs least from the original after it, and what makes it so. Content packet `f` stands where bridge packet `f - origin` does. Nothing but `packets` from the second of the pair on may change.
    fn exit(
        &self,
        exits: std::ops::RangeInclusive<u64>,
        origin: i64,
        given: &Given<'_>,
        (packets, settled): (&[Vec<u8>], usize),
        (original, original_start): (&[f32], i64),
    ) -> Result<Option<(Tried, Option<Instead>)>, SpliceError> {
        let size = self.grid.size;
        let at = |exit: u64| (exit as i64 - origin) as usize;
        let (first, last) = (*exits.start(), *exits.end());
        let mut offered = self.coding.read(first..last + 1).and_then(|next| {
            let offered = self.coding.returning(given, at(first), &next);
            offered.map_err(|error| error.at(0))
        })?;
        offered.retain(|instead| instead.at >= settled);
        let (mut clips, mut places) = (Vec::new(), Vec::new());
        for exit in exits {
            // Where all of it is compared, it is from the first place on.
            let begin = if offered.is_empty() { exit } else { first };
            let from = at(begin).saturating_sub(self.coding.unsettled() as usize + 1);
            if at(exit) > packets.len() {
                continue;
            }
            let content = self.coding.read(exit..exit + self.grid.checked)?;
            for instead in ways(&offered, at(exit)) {
                let lead = Instead::among(instead.map(|i| &offered[i]), packets, from..at(exit));
                clips.push(lead.chain(&content).cloned().collect());
                places.push((exit, from, instead));
            }
        }
        let spans = places.iter().map(|(exit, lead, _)| {
            // What is before the join was encoded from the original: a little of it is heard too, and all of it where it was in several ways.
            let join = (exit * size) as i64;
            let heard = if offered.is_empty() { BLOCK as i64 } else { join };
            let begins = (*lead as i64 + origin) * size as i64;
            let from = (join - heard).max(original_start).max(begins);
            ((from - begins) as u64, (from - original_start) as u64)
        });
        let errors = self.errors(&clips, &spans.collect::<Vec<_>>(), original, original_start)?;
        let tried = places.into_iter().map(|(exit, _, instead)| (exit, instead));
        Ok(best(tried.zip(errors), offered))
    }
}

/// The content packet before the first that an entry may take the place of.
fn last_before(join: &Join) -> u64 {
    join.entries.start().saturating_sub(1)
}

/// How far a join is from the original, in dB.
#[derive(Clone, Copy, Debug)]
struct Off {
    /// By the decoder by which it is furthest.
    db: f64,
    /// The lower the better by all of them, and most of all by that one.
    weight: f64,
}

/// The ways to meet content at a packet: as it is, and by each of those that are offered.
fn ways(offered: &[Instead], meets: usize) -> impl Iterator<Item = Option<usize>> {
    let others = offered.iter().enumerate();
    let others = others.filter(move |(_, instead)| instead.meets == meets);
    std::iter::once(None).chain(others.map(|(i, _)| Some(i)))
}

/// The best of those that were tried.
fn best(
    tried: impl Iterator<Item = ((u64, Option<usize>), Option<Off>)>,
    mut offered: Vec<Instead>,
) -> Option<(Tried, Option<Instead>)> {
    let tried = tried.filter_map(|(place, off)| Some((place, off?)));
    let ((place, instead), off) = tried.min_by(|(_, a), (_, b)| a.weight.total_cmp(&b.weight))?;
    Some(((place, off.db), instead.map(|i| offered.swap_remove(i))))
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
