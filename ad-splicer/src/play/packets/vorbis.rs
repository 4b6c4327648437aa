//! Vorbis: a chain of streams. The decoder is given the headers of each among its packets; how long packets are, their first bytes say.
//!
//! Where a stream ends within what its last packet decodes to, only its last page says: the player leaves out the rest (`leave_out_rest`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use gstreamer as gst;

use crate::frames::ogg::{ENDS, Header, NO_GRANULE, Unpacker};
use crate::frames::vorbis::Head;
use crate::time::duration_of;

/// Where streams end that end within a packet, in the pipeline's own time.
#[derive(Clone, Debug, Default)]
pub(in crate::play) struct Ends(Arc<Mutex<VecDeque<gst::ClockTime>>>);

impl Ends {
    /// Where the sound of a stream ends within a buffer from `start` to `end`.
    pub(in crate::play) fn within(
        &self,
        start: gst::ClockTime,
        end: gst::ClockTime,
    ) -> Option<gst::ClockTime> {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while ends.front().is_some_and(|at| *at <= start) {
            ends.pop_front();
        }
        ends.front().copied().filter(|at| *at < end)
    }

    fn push(&self, at: gst::ClockTime) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(at);
    }

    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// The packets of a chain, as they come.
#[derive(Debug, Default)]
pub(in crate::play) struct Vorbis {
    pages: Unpacker,
    /// The identification header of the stream that begins.
    identification: Vec<u8>,
    decoder: Option<Head>,
    /// Samples of the block before.
    block: Option<u32>,
    /// Samples before the next packet.
    position: u64,
    /// A granule position that a page told, and the position there.
    told: Option<(i64, u64)>,
    ends: Ends,
}

impl Vorbis {
    pub(super) fn ends(&self) -> Ends {
        self.ends.clone()
    }

    pub(super) fn begin(&mut self) {
        let ends = std::mem::take(&mut self.ends);
        ends.clear();
        *self = Self {
            ends,
            ..Self::default()
        };
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<gst::Buffer> {
        let mut pages = std::mem::take(&mut self.pages);
        let mut out = Vec::new();
        pages.feed_pages(bytes, &mut |header, packets| self.page(header, packets, &mut out));
        self.pages = pages;
        out
    }

    fn page(&mut self, header: &Header, packets: Vec<Vec<u8>>, out: &mut Vec<gst::Buffer>) {
        let ends = header.flags & ENDS != 0;
        // Where the stream ends, when that is told.
        let end = self
            .told
            .filter(|_| ends && header.granule != NO_GRANULE)
            .and_then(|(granule, position)| position.checked_add_signed(header.granule - granule));
        for packet in packets {
            if packet.first().is_some_and(|first| first & 1 == 1) {
                self.header(&packet);
                out.push(gst::Buffer::from_slice(packet));
                continue;
            }
            let rate = self.decoder.as_ref().map(|decoder| decoder.rate);
            let block = self.decoder.as_ref().and_then(|decoder| decoder.block(&packet));
            let (Some(rate), Some(block)) = (rate, block) else {
                continue;
            };
            let count = self.block.map_or(0, |before| u64::from((before + block) / 4));
            if end.is_some_and(|end| end <= self.position && count > 0) {
                continue;
            }
            self.block = Some(block);
            let time =
                |sample: u64| gst::ClockTime::from_nseconds(duration_of(sample, rate).as_nanos() as u64);
            let start = time(self.position);
            self.position += count;
            if let Some(end) = end.filter(|end| *end < self.position) {
                self.ends.push(time(end));
                self.position = end;
            }
            let mut buffer = gst::Buffer::from_slice(packet);
            if let Some(buffer) = buffer.get_mut() {
                buffer.set_pts(start);
                buffer.set_duration(time(self.position) - start);
            }
            out.push(buffer);
        }
        if header.granule != NO_GRANULE && self.block.is_some() {
            self.told = Some((header.granule, self.position));
        }
    }

    /// A stream begins: the sound of its first packet comes with the second.
    fn header(&mut self, packet: &[u8]) {
        if packet.starts_with(b"\x01") {
            packet.clone_into(&mut self.identification);
        } else if packet.starts_with(b"\x05") {
            self.decoder = Head::parse(&self.identification, packet).ok().flatten();
        }
        self.block = None;
        self.told = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_stream_is_found_in_the_buffer_that_holds_it() {
        let ends = Ends::default();
        let ms = gst::ClockTime::from_mseconds;
        ends.push(ms(15));
        ends.push(ms(40));
        assert_eq!(ends.within(ms(0), ms(10)), None);
        assert_eq!(ends.within(ms(10), ms(20)), Some(ms(15)));
        assert_eq!(ends.within(ms(15), ms(40)), None);
        assert_eq!(ends.within(ms(30), ms(41)), Some(ms(40)));
        assert_eq!(ends.within(ms(40), ms(50)), None);
    }
}
