//! Writing the streams of a chain.

use std::ops::Range;

use super::coding::Made;
use super::{TAGS, Track};
use crate::frames::vorbis_comment;
use crate::plan::SplicePlan;
use crate::splice::format::Runs;
use crate::splice::{SpliceError, ogg};

/// Packets in a page of what is made: about a second.
const PACKETS: usize = 40;

/// Where streams are added.
pub(super) struct Link<'a> {
    pub(super) plan: &'a SplicePlan,
    pub(super) runs: &'a mut Runs,
    /// The number of the next stream.
    pub(super) serial: u32,
}

impl Track<'_> {
    /// The tags of the result. While it grows they were read before anything was put in.
    fn tags(&self, plan: &SplicePlan) -> Vec<u8> {
        if self.file.options.growing {
            return self.file.headers.packets[1].clone();
        }
        [TAGS, &vorbis_comment::edit(plan, self.file.tags())].concat()
    }

    /// Adds a stream of the content's packets, so many samples later than they were.
    pub(super) fn content_stream(
        &self,
        link: &mut Link<'_>,
        packets: Range<usize>,
        shift: i64,
    ) -> Result<(), SpliceError> {
        if packets.is_empty() {
            return Ok(());
        }
        let tags = self.tags(link.plan);
        let setup = self.file.headers.packets[2].clone();
        let first = self.file.headers.first.sequence;
        let pages = if link.runs.len() == 0 {
            ogg::headers(&self.file.headers, &[tags, setup], link.runs)
        } else {
            let identification = &self.file.headers.packets[0];
            ogg::begin((link.serial, first), identification, &[tags, setup], link.runs)
        };
        let granule = |ended: u64| {
            let packet = packets.start + ended as usize - 1;
            self.base + shift + self.ends[packet] as i64
        };
        let mut stream = ogg::Stream::new(link.serial, &granule);
        stream.spans(self.spans(&packets));
        let end = match packets.end {
            all if all == self.ends.len() => self.end,
            end => self.ends[end - 1],
        };
        stream.finish(
            self.file.content,
            self.file.options.read_deadline,
            first.wrapping_add(pages),
            self.base + shift + end as i64,
            link.runs,
        )?;
        link.serial = link.serial.wrapping_add(1);
        Ok(())
    }

    /// Adds a stream of what was made, whose first sample has a granule position.
    pub(super) fn made_stream(
        &self,
        link: &mut Link<'_>,
        made: &Made,
        begins: i64,
    ) -> Result<(), SpliceError> {
        let tags = if link.runs.len() == 0 {
            self.tags(link.plan)
        } else {
            made.packets[1].clone()
        };
        let headers = [tags, made.packets[2].clone()];
        let pages = ogg::begin((link.serial, 0), &made.packets[0], &headers, link.runs);
        let granule = |ended: u64| begins + made.ends[ended as usize - 1] as i64;
        let mut stream = ogg::Stream::new(link.serial, &granule);
        // A page that is the first and the last could be meant to begin late.
        stream.made(&made.packets[3..5], PACKETS);
        stream.made(&made.packets[5..], PACKETS);
        stream.finish(
            self.file.content,
            self.file.options.read_deadline,
            pages,
            begins + made.samples as i64,
            link.runs,
        )?;
        link.serial = link.serial.wrapping_add(1);
        Ok(())
    }
}
