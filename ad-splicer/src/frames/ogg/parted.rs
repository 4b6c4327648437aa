//! Pages of a long stream that are looked for where they are needed: granule positions tell how many packets of one length have ended, so a packet is found by a few guesses, and those around it by reading on.
//!
//! What is looked at has to agree with what the beginning and the end say; otherwise it is corrupt, and all pages have to be read ([`Pages::scan`]). Not for: packets of several lengths.

use std::ops::Range;
use std::time::Duration;

use super::{ENDS, Found, Header, Headers, MOST_PAGE, NO_GRANULE, Page, find_page, holds_page, search};
use crate::content::Content;
use crate::splice::{self, SpliceError};

/// Shorter streams are read as a whole: there is little to be saved. (Fuzzers have short ones only.)
const SHORT: u64 = if cfg!(fuzzing) { 0 } else { 2 << 20 };

/// See the module documentation.
pub(crate) struct Parted<'a> {
    content: &'a dyn Content,
    deadline: Duration,
    serial: u32,
    start: u64,
    /// Samples of each packet.
    size: u32,
    /// The granule position of decoded sample 0.
    pub(crate) base: i64,
    /// The last granule position, which may leave out a part of the last packets.
    pub(crate) last: i64,
    /// How many packets there are.
    pub(crate) packets: u64,
    /// The last page begins here.
    final_page: u64,
}

/// Pages that follow each other, or a part of one.
#[derive(Debug)]
pub(crate) enum Span {
    /// Some parts of a page.
    Page(Page, Range<usize>),
    /// Whole pages that were not looked at.
    Gap {
        bytes: Range<u64>,
        /// Of their stream.
        serial: u32,
        /// The first one's number.
        sequence: u32,
        pages: u32,
        /// How many packets end in them.
        packets: u64,
        /// The granule position before them.
        granule: i64,
    },
}

impl<'a> Parted<'a> {
    /// `None` when only reading all pages can tell: the stream is short, or is not what it seems. `samples` tells how long a packet is by its beginning.
    pub(crate) fn open(
        content: &'a dyn Content,
        headers: &Headers,
        deadline: Duration,
        samples: impl Fn(&[u8]) -> Option<u32>,
    ) -> Result<Option<Self>, SpliceError> {
        if content.len().saturating_sub(headers.end) < SHORT {
            return Ok(None);
        }
        Self::of(content, headers, deadline, samples)
    }

    fn of(
        content: &'a dyn Content,
        headers: &Headers,
        deadline: Duration,
        samples: impl Fn(&[u8]) -> Option<u32>,
    ) -> Result<Option<Self>, SpliceError> {
        let mut parted = Self {
            content,
            deadline,
            serial: headers.first.serial,
            start: headers.end,
            size: 0,
            base: 0,
            last: 0,
            packets: 0,
            final_page: content.len(),
        };
        let sequence = headers.first.sequence.wrapping_add(headers.pages);
        let Some(first) = parted.page(headers.end, 0)?.filter(|page| {
            let header = &page.header;
            header.sequence == sequence && !header.continued() && header.flags & ENDS == 0
        }) else {
            return Ok(None);
        };
        let body = first.read(content, deadline)?;
        let mut lens = first
            .header
            .parts()
            .into_iter()
            .map(|(part, _)| samples(&body[part]));
        let Some(Some(size)) = lens.next().filter(|size| lens.all(|other| other == *size)) else {
            return Ok(None);
        };
        parted.size = size;
        parted.base = first
            .header
            .granule
            .saturating_sub(first.ended() as i64 * i64::from(size));
        if first.header.granule == NO_GRANULE || !(0..=i64::MAX / 2).contains(&parted.base) {
            return Ok(None);
        }
        parted.look_at_end()
    }

    /// The last page, and the one before it, which says how many packets come before.
    fn look_at_end(mut self) -> Result<Option<Self>, SpliceError> {
        let from = self
            .content
            .len()
            .saturating_sub(2 * MOST_PAGE as u64)
            .max(self.start);
        let len = (self.content.len() - from) as usize;
        let bytes = splice::read(self.content, from, len, self.deadline)?;
        let (mut at, mut last, mut before) = (0, None::<(u64, Header)>, None);
        while let Some(Found {
            at: begin,
            end,
            header,
        }) = find_page(&bytes[at..])
        {
            if begin > 0 && last.is_some() {
                return Ok(None);
            }
            before = last.take();
            last = Some((from + (at + begin) as u64, header));
            at += end;
        }
        let rest = &bytes[at..];
        let (Some((offset, last)), Some((_, before))) = (last, before) else {
            return Ok(None);
        };
        let begins = before.lacing.last() != Some(&255) && !last.continued();
        let Some(first) = self.ended(&before).filter(|_| begins) else {
            return Ok(None);
        };
        let page = Page {
            offset,
            header: last,
            first,
        };
        // Each packet has a byte at least, that of its length.
        let fit = page.ended() <= self.content.len();
        let whole = fit && page.header.lacing.last() != Some(&255);
        let ends = rest.is_empty() || page.header.flags & ENDS != 0 && !holds_page(rest);
        let granule = page.header.granule;
        let all = self.granule(page.ended());
        if !whole || !ends || page.header.serial != self.serial || granule <= before.granule || granule > all
        {
            return Ok(None);
        }
        self.packets = page.ended();
        self.last = granule;
        self.final_page = offset;
        Ok(Some(self))
    }

    pub(crate) fn size(&self) -> u32 {
        self.size
    }

    fn granule(&self, ended: u64) -> i64 {
        self.base.saturating_add((ended * u64::from(self.size)) as i64)
    }

    /// How many packets have ended where a page of the stream that is not its last does; `None` when none ends in it, or it does not agree.
    fn ended(&self, header: &Header) -> Option<u64> {
        let samples = header
            .granule
            .checked_sub(self.base)
            .filter(|_| header.granule != NO_GRANULE)?;
        let samples = u64::try_from(samples).ok()?;
        (header.serial == self.serial && samples.is_multiple_of(self.size.into()))
            .then_some(samples / u64::from(self.size))
    }

    /// The page that begins at an offset, when so many packets began before it.
    fn page(&self, offset: u64, first: u64) -> Result<Option<Page>, SpliceError> {
        let len = (self.content.len() - offset).min(super::HEADER_LEN as u64 + 255) as usize;
        let bytes = splice::read(self.content, offset, len, self.deadline)?;
        let page = Header::parse(&bytes).map(|header| Page {
            offset,
            header,
            first,
        });
        Ok(page.filter(|page| page.header.serial == self.serial && page.end() <= self.content.len()))
    }

    /// Where a page begins at or before the one in which a packet does, with how many packets began before it.
    fn near(&self, packet: u64) -> Result<(u64, u64), SpliceError> {
        let bounds = [(self.start, 0), (self.final_page, self.packets)];
        let ended = |header: &Header| self.ended(header);
        search::near(self.content, self.deadline, packet, bounds, &ended)
    }

    /// The pages in which packets of a range begin or end.
    pub(crate) fn pages(&self, packets: &Range<u64>) -> Result<Vec<Page>, SpliceError> {
        let (mut offset, mut first) = self.near(packets.start)?;
        let mut pages: Vec<Page> = Vec::new();
        let (mut open, mut sequence) = (false, None);
        loop {
            let corrupt = SpliceError::Corrupt { offset };
            let Some(page) = self.page(offset, first)? else {
                return Err(corrupt);
            };
            let header = &page.header;
            let is_last = page.offset == self.final_page;
            let due = sequence.is_none_or(|due| header.sequence == due);
            let ends_early = header.flags & ENDS != 0 && !is_last;
            if !due || header.continued() != open || ends_early || page.offset > self.final_page {
                return Err(corrupt);
            }
            let agrees = header.granule == NO_GRANULE
                || self.ended(header) == Some(page.ended())
                || (is_last && header.granule == self.last);
            if !agrees {
                return Err(corrupt);
            }
            sequence = Some(header.sequence.wrapping_add(1));
            open = header.lacing.last() == Some(&255);
            first = page.ended() + u64::from(open);
            offset = page.end();
            let (ended, begun) = (page.ended(), first);
            if begun > packets.start || open {
                pages.push(page);
            }
            if ended >= packets.end.min(self.packets) && !open {
                return Ok(pages);
            }
            if is_last {
                return Err(SpliceError::Corrupt { offset });
            }
        }
    }

    /// What holds exactly the packets of a range.
    pub(crate) fn cover(&self, packets: &Range<u64>) -> Result<Vec<Span>, SpliceError> {
        if packets.is_empty() {
            return Ok(Vec::new());
        }
        let few = packets.end - packets.start < 256;
        let ends = if few {
            vec![self.pages(packets)?]
        } else {
            vec![
                self.pages(&(packets.start..packets.start + 1))?,
                self.pages(&(packets.end - 1..packets.end))?,
            ]
        };
        let mut spans: Vec<Span> = Vec::new();
        let mut before: Option<Page> = None;
        for page in ends.into_iter().flatten() {
            let first = page.first_part();
            let parts = page.header.parts().len() as u64;
            let from = packets.start.saturating_sub(first).min(parts) as usize;
            let to = packets.end.saturating_sub(first).min(parts) as usize;
            if let Some(before) = &before {
                if page.offset <= before.offset {
                    continue;
                }
                if page.offset > before.end() {
                    spans.push(self.gap(before, &page)?);
                }
            }
            if from < to {
                spans.push(Span::Page(page.clone(), from..to));
            }
            before = Some(page);
        }
        Ok(spans)
    }

    fn gap(&self, before: &Page, after: &Page) -> Result<Span, SpliceError> {
        let whole = before.header.lacing.last() != Some(&255) && !after.header.continued();
        if !whole || after.first < before.ended() {
            return Err(SpliceError::Corrupt { offset: before.end() });
        }
        Ok(Span::Gap {
            bytes: before.end()..after.offset,
            serial: self.serial,
            sequence: before.header.sequence.wrapping_add(1),
            pages: after
                .header
                .sequence
                .wrapping_sub(before.header.sequence)
                .wrapping_sub(1),
            packets: after.first - before.ended(),
            granule: self.granule(before.ended()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BEGINS, Pages, headers, lacing};
    use super::*;
    use proptest::prelude::*;

    const SIZE: u32 = 10;

    /// A header, and then so many packets in pages of some; the last one leaves out a part of its last packet.
    fn file(lens: &[usize], per_page: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut add = |flags, granule, sequence, packets: &[usize]| {
            let body: Vec<u8> = packets.iter().flat_map(|len| vec![*len as u8; *len]).collect();
            let header = Header {
                flags,
                granule,
                serial: 7,
                sequence,
                checksum: 0,
                lacing: packets.iter().flat_map(|len| lacing(*len)).collect(),
            };
            out.extend(header.write(&body));
            out.extend(body);
        };
        add(BEGINS, 0, 0, &[19]);
        let (mut ended, last) = (0, lens.len().div_ceil(per_page));
        for (sequence, packets) in (1..).zip(lens.chunks(per_page)) {
            ended += packets.len() as i64 * i64::from(SIZE);
            let is_last = sequence as usize == last;
            let (flags, granule) = if is_last { (ENDS, ended - 3) } else { (0, ended) };
            add(flags, 5 + granule, sequence, packets);
        }
        out
    }

    fn parted(file: &Vec<u8>) -> Option<Parted<'_>> {
        let headers = headers(file, 1, Duration::ZERO).ok()??;
        Parted::of(file, &headers, Duration::ZERO, |_| Some(SIZE)).ok()?
    }

    /// Where each page begins, with its header.
    fn pages_of(file: &[u8]) -> Vec<(usize, Header)> {
        let (mut at, mut pages) = (0, Vec::new());
        while let Some(header) = Header::parse(&file[at..]) {
            let next = at + header.len() + header.body();
            pages.push((at, header));
            at = next;
        }
        pages
    }

    #[test]
    fn more_packets_than_bytes_are_not_believed() {
        let mut file = file(&[30; 400], 7);
        for packets in [1, 1 << 20] {
            let pages = pages_of(&file);
            for (at, header) in &pages[pages.len() - 2..] {
                let (body, end) = (at + header.len(), at + header.len() + header.body());
                let granule = header.granule + packets * i64::from(SIZE);
                let head = Header {
                    granule,
                    ..header.clone()
                };
                let head = head.write(&file[body..end]);
                file[*at..body].copy_from_slice(&head);
            }
            assert_eq!(parted(&file).is_some(), packets == 1, "{packets}");
        }
    }

    fn scanned(file: &Vec<u8>) -> Pages {
        let headers = headers(file, 1, Duration::ZERO).unwrap().unwrap();
        Pages::scan(file, &headers, Duration::ZERO, &mut |_, _| Ok(())).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn pages_are_found_as_if_all_had_been_read(
            lens in prop::collection::vec(1_usize..254, 600..3_000), per_page in 1_usize..40, from in 0.0_f64..1.0, to in 0.0_f64..1.0,
        ) {
            let file = file(&lens, per_page);
            let (parted, all) = (parted(&file).unwrap(), scanned(&file));
            prop_assert_eq!((parted.packets, parted.base), (all.packets, 5));
            let place = |part: f64| (part * lens.len() as f64) as u64;
            let range = place(from.min(to))..place(from.max(to));
            let bytes = |page: &Page, parts: Range<usize>| {
                let all = page.header.parts();
                page.body() + all[parts.start].0.start as u64..page.body() + all[parts.end - 1].0.end as u64
            };
            let expected: Vec<Range<u64>> =
                all.cover(&range).into_iter().map(|(page, parts)| bytes(page, parts)).collect();
            let mut found = Vec::new();
            for span in parted.cover(&range).unwrap() {
                match span {
                    Span::Page(page, parts) => found.push(bytes(&page, parts)),
                    Span::Gap { bytes: gap, serial, sequence, pages, packets, granule } => {
                        prop_assert_eq!(serial, 7);
                        let inside: Vec<&Page> =
                            all.pages.iter().filter(|page| gap.contains(&page.offset)).collect();
                        prop_assert_eq!((inside[0].offset, inside[inside.len() - 1].end()), (gap.start, gap.end));
                        prop_assert_eq!((inside[0].header.sequence, inside.len()), (sequence, pages as usize));
                        prop_assert_eq!(inside[inside.len() - 1].ended() - inside[0].first, packets);
                        prop_assert_eq!(5 + inside[0].first as i64 * i64::from(SIZE), granule);
                        found.extend(inside.iter().map(|page| page.body()..page.end()));
                    }
                }
            }
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn never_panics(changes in prop::collection::vec((0.0_f64..1.0, any::<u8>()), 0..20), keep in 0.0_f64..1.1, sealed: bool) {
            let mut file = file(&[30; 400], 7);
            let len = file.len() as f64;
            for (at, byte) in changes {
                file[(at * len) as usize] = byte;
            }
            file.truncate((keep * len) as usize);
            if sealed {
                // With checksums that are right again.
                let mut at = 0;
                while let Some(header) = Header::parse(&file[at..]) {
                    let (body, end) = (at + header.len(), at + header.len() + header.body());
                    let Some(bytes) = file.get(body..end) else { break };
                    let head = header.write(bytes);
                    file[at..body].copy_from_slice(&head);
                    at = end;
                }
            }
            if let Some(parted) = parted(&file) {
                for range in [0..1, 0..parted.packets, parted.packets / 2..parted.packets / 2 + 1] {
                    let _ = parted.cover(&range);
                }
            }
        }
    }
}
