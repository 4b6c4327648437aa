//! Packets of sound by the blocks that they are in, of all of a file or of the parts of it that were looked at.

use std::ops::Range;

use super::{JITTER, WebmOpus, units};
use crate::frames::webm::{Block, Index, read};
use crate::splice::SpliceError;
use crate::splice::opus_sound::Packets;

/// Packets of sound that follow each other, and which blocks they are.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) first: u64,
    pub(super) own: Vec<u32>,
}

impl Part {
    pub(super) fn end(&self) -> u64 {
        self.first + self.own.len() as u64
    }
}

/// The packets in the blocks of the track of sound.
pub(super) struct InBlocks<'a> {
    pub(super) file: &'a WebmOpus<'a>,
    pub(super) index: Index,
    /// Those that were looked at, in order; between two of them is one of the index's gaps.
    pub(super) parts: Vec<Part>,
    pub(super) count: u64,
}

impl InBlocks<'_> {
    /// The blocks of packets that were looked at.
    pub(super) fn own(&self, packets: &Range<u64>) -> Option<&[u32]> {
        let next = self.parts.partition_point(|part| part.first <= packets.start);
        let part = &self.parts[next.checked_sub(1)?];
        let within = |packet: u64| usize::try_from(packet - part.first).ok();
        part.own.get(within(packets.start)?..within(packets.end)?)
    }

    /// The block of a packet that was looked at.
    pub(super) fn block(&self, packet: u64) -> Option<usize> {
        let own = self.own(&(packet..packet + 1))?;
        own.first().map(|block| *block as usize)
    }

    /// The packets of a range that were looked at.
    pub(super) fn known(&self, packets: Range<u64>) -> impl Iterator<Item = (u64, usize)> {
        let (start, end) = (packets.start, packets.end);
        let parts = self.parts.iter();
        parts.flat_map(move |part| {
            let skip = start.saturating_sub(part.first) as usize;
            let all = (part.first..end).zip(&part.own).skip(skip);
            all.map(|(packet, block)| (packet, *block as usize))
        })
    }
}

impl Packets for InBlocks<'_> {
    fn count(&self) -> u64 {
        self.count
    }

    fn read(&self, packets: Range<u64>) -> Result<Vec<Vec<u8>>, SpliceError> {
        if packets.is_empty() {
            return Ok(Vec::new());
        }
        let own = self.own(&packets).ok_or_else(|| self.file.elsewhere())?;
        let blocks: Vec<_> = own
            .iter()
            .map(|block| self.index.blocks[*block as usize])
            .collect();
        read(self.file.content, &blocks, self.file.options.read_deadline)
    }
}

/// Of packets of sound from one on, which is at a time, the first that is not where the packets before it end.
pub(super) fn late<'i>(
    index: &'i Index,
    own: &[u32],
    (first, time): (u64, i64),
    (size, scale): (u32, u64),
) -> Option<&'i Block> {
    let most = JITTER.div_ceil(scale) + 1;
    let blocks = own.iter().map(|block| &index.blocks[*block as usize]);
    (first..).zip(blocks).find_map(|(packet, block)| {
        let due = time.saturating_add(units(packet as i64 * i64::from(size), scale));
        let is_late = !block.shares() && block.time.abs_diff(due) > most;
        is_late.then_some(block)
    })
}
