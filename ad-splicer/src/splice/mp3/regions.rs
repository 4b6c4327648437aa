//! The parts of a rendition that are made: which frames of it, and from what.
//!
//! A region reaches from the first frame that an entry may take the place of to the frame after the last possible exit, whichever are chosen, and all of its frames have one size: so its length is known before its bridge is made.

use bytes::Bytes;

use super::bridge::{Bridge, Exit, Handover, Maker};
use super::decoder::RESERVOIR_FRAMES;
use crate::frames::mp3::{hand_over, lay_in_slots, silent, slot_len};
use crate::plan::Segment;
use crate::splice::bridged::failed;
use crate::splice::joins::{Cut, Join, joins};
use crate::splice::later::Made;
use crate::splice::layout::Spot;
use crate::splice::{Seam, SeamKind, SpliceError};
use crate::time::PresentationTime;

/// See the module documentation.
pub(super) struct Region {
    pub(super) join: Join,
    /// The first content frame that it takes the place of.
    pub(super) first: u64,
    /// The content frame that follows it; `None` at the end.
    pub(super) next: Option<u64>,
    /// Which frame of the result is its first.
    pub(super) begins: u64,
    /// How many frames it has.
    pub(super) frames: u64,
    exits: Option<Vec<Exit>>,
}

impl Maker<'_> {
    /// How many frames the result has.
    pub(super) fn total(&self) -> u64 {
        let (plan, index) = (&self.layout.plan, &self.track.index);
        let shift = self.shift(&self.layout.spots);
        if self.ends_in_ad() {
            (plan.samples() + index.skip()).div_ceil(self.grid.size)
        } else {
            (self.grid.frames as i64 + shift) as u64
        }
    }

    pub(super) fn ends_in_ad(&self) -> bool {
        matches!(self.layout.plan.segments().last(), Some((_, Segment::Ad { .. })))
    }

    pub(super) fn joins(&self) -> Vec<Join> {
        let cuts: Vec<Cut> = self.layout.spots.iter().map(|spot| self.cut(spot)).collect();
        joins(self.grid, &cuts)
    }

    fn spots(&self, join: &Join) -> &[Spot<'_>] {
        &self.layout.spots[join.cuts.clone()]
    }

    /// Where the region of a join is. Content around its exits is read.
    pub(super) fn region(&self, join: Join) -> Result<Region, SpliceError> {
        let break_index = self.spots(&join)[0].index;
        let exits = self.exits(&join).map_err(|error| error.at_break(break_index))?;
        let first = *join.entries.start();
        let begins = (first as i64 + self.shift(&self.layout.spots[..join.cuts.start])) as u64;
        let next = exits
            .as_ref()
            .and_then(|exits| exits.last())
            .map(|exit| exit.frame + 1);
        let frames = match next {
            Some(next) => (next - first).checked_add_signed(self.shift(self.spots(&join))),
            None => self.total().checked_sub(begins),
        };
        Ok(Region {
            frames: frames.ok_or_else(|| failed(break_index, &"the content around it cannot be joined"))?,
            join,
            first,
            next,
            begins,
            exits,
        })
    }

    /// The region with this number.
    pub(super) fn numbered(&self, number: usize) -> Result<Region, SpliceError> {
        let join = self.joins().into_iter().nth(number);
        self.region(join.ok_or_else(|| SpliceError::Unsupported("there is no such bridge".into()))?)
    }

    /// Makes the frames of a region.
    pub(super) fn make(&self, region: &Region) -> Result<Made, SpliceError> {
        let spots = self.spots(&region.join);
        let break_index = spots[0].index;
        let bridge = self.bridge(&region.join, region.exits.as_deref(), spots);
        let Bridge {
            entry,
            exit,
            mut frames,
            entry_db,
            exit_db,
        } = bridge.map_err(|error| error.at_break(break_index))?;
        let shift = self.shift(spots);
        let before = entry - region.first;
        let needed = match &exit {
            Some(exit) => (exit.frame as i64 + shift - entry as i64) as u64,
            None => region.frames.saturating_sub(before),
        };
        if (frames.len() as u64) < needed {
            return Err(failed(
                break_index,
                &format!("the encoder gave {} frames of {needed}", frames.len()),
            ));
        }
        frames.truncate(needed as usize);
        let mut next_content = region.next.unwrap_or(0);
        if let Some(exit) = exit {
            next_content = exit.frame;
            match exit.handover {
                Handover::Repacked(frame) => {
                    frames.push(frame);
                    next_content += 1;
                }
                Handover::Reservoir(bytes) => {
                    if let Some(last) = frames.last_mut() {
                        *last = hand_over(last, &bytes).map_err(|error| failed(break_index, &error))?;
                    }
                }
            }
        }
        let lead = self.content(region.first, entry)?;
        let tail = self.content(next_content, region.next.unwrap_or(0))?;
        let all: Vec<&[u8]> = lead
            .iter()
            .chain(&frames)
            .chain(&tail)
            .map(Vec::as_slice)
            .collect();
        Ok(Made {
            bytes: self.laid(region, &all)?,
            seams: self.seams(region, (entry_db, exit_db)),
        })
    }

    /// Content and silence in the place of a region, and the breaks that are in it.
    pub(super) fn silent(&self, region: &Region) -> Result<(Bytes, Vec<usize>), SpliceError> {
        let spots = self.spots(&region.join);
        let last = &spots[spots.len() - 1];
        let (from, to) = (
            self.cut(&spots[0]).start / self.grid.size,
            self.cut(last).end.div_ceil(self.grid.size),
        );
        let lead = self.content(region.first, from.max(region.first))?;
        let tail = self.content(to, region.next.unwrap_or(0))?;
        let between = (region.frames as usize).saturating_sub(lead.len() + tail.len());
        let silence = silent(self.header).map_err(|error| failed(spots[0].index, &error))?;
        let all: Vec<&[u8]> = lead
            .iter()
            .chain(std::iter::repeat_n(&silence, between))
            .chain(&tail)
            .take(region.frames as usize)
            .map(Vec::as_slice)
            .collect();
        let breaks = spots.iter().map(|spot| spot.index).collect();
        Ok((self.laid(region, &all)?, breaks))
    }

    /// Content frames; none when there are none in this range.
    fn content(&self, from: u64, to: u64) -> Result<Vec<Vec<u8>>, SpliceError> {
        if from >= to {
            return Ok(Vec::new());
        }
        self.decoder.index.read(from..to)
    }

    /// Frames in a region's slots.
    fn laid(&self, region: &Region, frames: &[&[u8]]) -> Result<Bytes, SpliceError> {
        let before = self.content(region.first.saturating_sub(RESERVOIR_FRAMES), region.first)?;
        let next = match region.next {
            Some(next) => self.content(next, next + 1)?,
            None => Vec::new(),
        };
        let before: Vec<&[u8]> = before.iter().map(Vec::as_slice).collect();
        let break_index = self.spots(&region.join)[0].index;
        let laid = lay_in_slots(&before, frames, next.first().map(Vec::as_slice));
        let laid = laid.map_err(|error| failed(break_index, &error))?;
        if laid.len() as u64 != region.frames * slot_len(self.header) as u64 {
            return Err(failed(
                break_index,
                &"its frames are not as many as they should be",
            ));
        }
        Ok(laid.into())
    }

    /// Where untouched frames meet the region, and how far the joins in it are from the original.
    fn seams(&self, region: &Region, (entry_db, exit_db): (f64, f64)) -> Vec<Seam> {
        let spots = self.spots(&region.join);
        let (first, last) = (&spots[0], &spots[spots.len() - 1]);
        let at = |frame: u64| {
            let sample = (frame * self.grid.size).saturating_sub(self.skip);
            PresentationTime::from_samples(sample, self.header.sample_rate())
        };
        let entry = (region.first > 0).then(|| Seam {
            kind: SeamKind::Entry,
            break_index: first.index,
            presentation: at(region.begins),
            frames: (self.cut(first).start.div_ceil(self.grid.size) - region.first) as u32,
            error_db: entry_db,
        });
        let exit = region.next.map(|next| Seam {
            kind: SeamKind::Exit,
            break_index: last.index,
            presentation: at(region.begins + region.frames),
            frames: (next - self.cut(last).end / self.grid.size) as u32,
            error_db: exit_db,
        });
        entry.into_iter().chain(exit).collect()
    }
}
