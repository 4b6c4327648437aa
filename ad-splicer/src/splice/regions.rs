//! Bridges of codings whose packets can be made longer without being another sound: how long a bridge is does not depend on what is in it.
//!
//! A region reaches from the first packet that an entry may take the place of to the last one before which an exit may be, whichever are chosen. All of its packets that may be the content's are of one length, and those within ads of another.

use std::ops::Range;

use bytes::Bytes;

use super::bridged::{Bridge, Coding, Maker, failed};
use super::format::Track;
use super::joins::Join;
use super::layout::Layout;
use super::{Seam, SeamKind, SpliceError};
use crate::facts;
use crate::time::PresentationTime;

/// See the module documentation.
pub(crate) trait Fixed: Coding {
    /// Bytes that each packet of a bridge has in which there may be content.
    fn packet_len(&self) -> usize;

    /// Bytes that each packet has that holds nothing but ads.
    fn ad_len(&self) -> usize;

    /// A packet with so many bytes; `None` when that cannot be.
    fn padded(&self, packet: &[u8], len: usize) -> Option<Vec<u8>>;

    /// A packet of silence.
    fn silence(&self) -> Vec<u8>;
}

/// See the module documentation.
struct Region {
    join: Join,
    /// The first content packet that it takes the place of.
    first: u64,
    /// The content packet that follows it; at the end, the number of packets.
    next: u64,
    /// Which packet of the result is its first.
    begins: u64,
    /// How many packets it has.
    packets: u64,
    /// The same in runs of one length: how many, and of how many bytes each.
    lens: Vec<(u64, usize)>,
}

/// A run of packets of the result.
#[derive(Debug)]
pub(crate) enum Piece {
    Content(Range<u64>),
    /// A bridge: how many packets it has, and in runs how many of how many bytes each. What is in it is made when it is read.
    Bridge {
        number: usize,
        packets: u64,
        lens: Vec<(u64, usize)>,
        /// Content packets that may be its first and its last ones: it has their times, whatever it has of them.
        content: [Range<u64>; 2],
    },
}

impl Piece {
    /// How many bytes are left to be made.
    pub(crate) fn left(&self) -> Option<u64> {
        match self {
            Self::Content(_) => None,
            Self::Bridge { lens, .. } => Some(lens.iter().map(|(count, len)| count * *len as u64).sum()),
        }
    }
}

/// What bridges are made with.
pub(crate) struct Regions<'a> {
    coding: &'a dyn Fixed,
    maker: Maker<'a>,
}

impl<'a> Regions<'a> {
    pub(crate) fn new(coding: &'a dyn Fixed, track: &'a dyn Track, layout: &'a Layout<'a>) -> Self {
        Self {
            coding,
            maker: Maker::new(coding, track, layout),
        }
    }

    fn layout(&self) -> &Layout<'a> {
        self.maker.layout
    }

    fn size(&self) -> u64 {
        self.maker.grid.size
    }

    fn region(&self, join: Join) -> Result<Region, SpliceError> {
        let (maker, spots) = (&self.maker, &self.layout().spots);
        let first = *join.entries.start();
        let begins = (first as i64 + maker.shift(&spots[..join.cuts.start])) as u64;
        let packets = match &join.exits {
            Some(exits) => (exits.end() - first).checked_add_signed(maker.shift(maker.spots(&join))),
            None => maker.total().checked_sub(begins),
        };
        let break_index = spots[join.cuts.start].index;
        let failed = || failed(break_index, &"the content around it cannot be joined");
        let packets = packets.ok_or_else(failed)?;
        let (around, ads) = (self.coding.packet_len(), self.coding.ad_len());
        let (mut lens, mut at) = (Vec::new(), 0);
        for inner in maker.inner(&join) {
            lens.extend([(inner.start - at, around), (inner.end - inner.start, ads)]);
            at = inner.end;
        }
        lens.push((packets.checked_sub(at).ok_or_else(failed)?, around));
        Ok(Region {
            first,
            next: join
                .exits
                .as_ref()
                .map_or(maker.grid.frames, |exits| *exits.end()),
            begins,
            packets,
            lens,
            join,
        })
    }

    fn numbered(&self, number: usize) -> Result<Region, SpliceError> {
        let join = self.maker.joins().into_iter().nth(number);
        self.region(join.ok_or_else(|| SpliceError::Unsupported("there is no such bridge".into()))?)
    }

    /// Content and bridges in order.
    pub(crate) fn pieces(&self) -> Result<Vec<Piece>, SpliceError> {
        let (mut pieces, mut next) = (Vec::new(), 0);
        for (number, join) in self.maker.joins().into_iter().enumerate() {
            let region = self.region(join)?;
            if region.first < next {
                let break_index = self.layout().spots[region.join.cuts.start].index;
                return Err(failed(break_index, &"the content around it cannot be joined"));
            }
            pieces.push(Piece::Content(next..region.first));
            pieces.push(Piece::Bridge {
                number,
                packets: region.packets,
                lens: region.lens,
                content: [
                    region.first..*region.join.entries.end(),
                    region.join.exits.as_ref().map_or(0, |exits| *exits.start())
                        ..region.join.exits.as_ref().map_or(0, |exits| *exits.end()),
                ],
            });
            next = region.next;
        }
        pieces.push(Piece::Content(next..self.maker.grid.frames));
        Ok(pieces)
    }

    /// The packets of a bridge, and its seams.
    pub(crate) fn make(&self, number: usize) -> Result<(Vec<Vec<u8>>, Vec<Seam>), SpliceError> {
        let region = self.numbered(number)?;
        let breaks = self.layout().breaks_of(&region.join.cuts);
        facts::level(self.maker.track, &breaks)?;
        let Bridge {
            mut packets,
            entry,
            exit,
        } = self.maker.bridge(&region.join)?;
        let mut all = self.content(region.first..entry.0)?;
        all.append(&mut packets);
        if let Some((exit, _)) = exit {
            all.append(&mut self.content(exit..region.next)?);
        }
        let all = self.fixed(&region, &all)?;
        let errors = (entry.1, exit.map_or(0.0, |exit| exit.1));
        Ok((all, self.seams(&region, errors)))
    }

    /// Content and silence in the place of a bridge, and the breaks that are in it.
    pub(crate) fn silence(&self, number: usize) -> Result<(Vec<Vec<u8>>, Vec<usize>), SpliceError> {
        let region = self.numbered(number)?;
        let spots = self.maker.spots(&region.join);
        let from = self.maker.cut(&spots[0]).start / self.size();
        let to = self.maker.cut(&spots[spots.len() - 1]).end.div_ceil(self.size());
        let mut all = self.content(region.first..from.max(region.first))?;
        let mut tail = self.content(to.min(region.next)..region.next)?;
        let between = (region.packets as usize).saturating_sub(all.len() + tail.len());
        all.extend(std::iter::repeat_n(self.coding.silence(), between));
        all.append(&mut tail);
        all.truncate(region.packets as usize);
        let breaks = spots.iter().map(|spot| spot.index).collect();
        Ok((self.fixed(&region, &all)?, breaks))
    }

    fn content(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, SpliceError> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        self.coding.read(range)
    }

    /// All of them as long as they are due to be.
    fn fixed(&self, region: &Region, packets: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, SpliceError> {
        let break_index = self.layout().spots[region.join.cuts.start].index;
        let lens = region.lens.iter();
        let lens = lens.flat_map(|(count, len)| std::iter::repeat_n(*len, *count as usize));
        let padded: Option<Vec<Vec<u8>>> = packets
            .iter()
            .zip(lens)
            .map(|(packet, len)| self.coding.padded(packet, len))
            .collect();
        padded
            .filter(|_| packets.len() as u64 == region.packets)
            .ok_or_else(|| failed(break_index, &"its packets are not as long as they should be"))
    }

    /// Where untouched packets meet the region, and how far the joins in it are from the original.
    fn seams(&self, region: &Region, (entry_db, exit_db): (f64, f64)) -> Vec<Seam> {
        let spots = self.maker.spots(&region.join);
        let (first, last) = (&spots[0], &spots[spots.len() - 1]);
        let (size, skip) = (self.size(), self.coding.skip());
        let at = |packet: u64| {
            let sample = (packet * size).saturating_sub(skip);
            PresentationTime::from_samples(sample, self.layout().plan.sample_rate())
        };
        let entry = (region.first > 0).then(|| Seam {
            kind: SeamKind::Entry,
            break_index: first.index,
            presentation: at(region.begins),
            frames: (self.maker.cut(first).start.div_ceil(size) - region.first) as u32,
            error_db: entry_db,
        });
        let exit = region.join.exits.as_ref().map(|_| Seam {
            kind: SeamKind::Exit,
            break_index: last.index,
            presentation: at(region.begins + region.packets),
            frames: (region.next - self.maker.cut(last).end / size) as u32,
            error_db: exit_db,
        });
        entry.into_iter().chain(exit).collect()
    }
}

/// Packets one after the other.
pub(crate) fn joined(packets: &[Vec<u8>]) -> Bytes {
    packets.concat().into()
}
