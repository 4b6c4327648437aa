//! Ogg (RFC 3533): pages, and the packets in them. Pages and packets only: what a granule position means is the codec's.
//!
//! A file is one logical stream from beginning to end; several streams side by side or one after the other are told, not spliced. A page of content that stays whole keeps its body: only its header is
//! written anew, with a checksum that follows from the old one ([`Header::moved`]), so that the body need not be read again.

mod parted;
pub(crate) mod search;

use std::ops::Range;
use std::time::Duration;

pub(crate) use self::parted::{Parted, Span};

use crate::content::Content;
use crate::frames::tail;
use crate::frames::window::Window;
use crate::splice::{self, SpliceError};

/// How a page begins: the mark, and the only version.
pub(crate) const MARK: &[u8] = b"OggS\0";
/// Length of a page's header without its lacing values.
pub(crate) const HEADER_LEN: usize = 27;
/// Longest page in bytes.
pub(crate) const MOST_PAGE: usize = HEADER_LEN + 255 + 255 * 255;
/// Longest packet in bytes that is put together: more is nothing that a codec of ours makes (but cover art may be large).
const MOST_PACKET: usize = 64 << 20;

/// The page goes on with a packet that began in an earlier one.
pub(crate) const CONTINUED: u8 = 1;
/// The first page of a stream.
pub(crate) const BEGINS: u8 = 2;
/// The last page of a stream.
pub(crate) const ENDS: u8 = 4;
/// The granule position of a page in which no packet ends.
pub(crate) const NO_GRANULE: i64 = -1;

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000_0000 == 0 {
                crc << 1
            } else {
                crc << 1 ^ 0x04C1_1DB7
            };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

const TABLE: [u32; 256] = table();

/// Goes on with a checksum (polynomial 0x04C11DB7, initial value 0, nothing inverted: so it is linear).
fn crc(start: u32, bytes: &[u8]) -> u32 {
    bytes.iter().fold(start, |crc, byte| {
        crc << 8 ^ TABLE[usize::from((crc >> 24) as u8 ^ byte)]
    })
}

/// What a checksum becomes after `count` zero bytes.
fn crc_of_zeros(mut crc: u32, count: usize) -> u32 {
    for _ in 0..count {
        crc = crc << 8 ^ TABLE[usize::from((crc >> 24) as u8)];
    }
    crc
}

/// A page's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) flags: u8,
    pub(crate) granule: i64,
    pub(crate) serial: u32,
    pub(crate) sequence: u32,
    pub(crate) checksum: u32,
    pub(crate) lacing: Vec<u8>,
}

impl Header {
    /// `None` when no whole header begins there.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let fixed: &[u8; HEADER_LEN] = bytes.first_chunk()?;
        if !fixed.starts_with(MARK) {
            return None;
        }
        let word = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
        let lacing = bytes
            .get(HEADER_LEN..HEADER_LEN + usize::from(fixed[26]))?
            .to_vec();
        Some(Self {
            flags: fixed[5],
            granule: (u64::from(word(10)) << 32 | u64::from(word(6))) as i64,
            serial: word(14),
            sequence: word(18),
            checksum: word(22),
            lacing,
        })
    }

    /// Its length in bytes.
    pub(crate) fn len(&self) -> usize {
        HEADER_LEN + self.lacing.len()
    }

    /// The length of what follows it.
    pub(crate) fn body(&self) -> usize {
        self.lacing.iter().copied().map(usize::from).sum()
    }

    fn write_with(&self, checksum: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len());
        out.extend(MARK);
        out.push(self.flags);
        out.extend(self.granule.to_le_bytes());
        out.extend(self.serial.to_le_bytes());
        out.extend(self.sequence.to_le_bytes());
        out.extend(checksum.to_le_bytes());
        out.push(self.lacing.len() as u8);
        out.extend(&self.lacing);
        out
    }

    /// The header of a page with this body.
    pub(crate) fn write(&self, body: &[u8]) -> Vec<u8> {
        let checksum = crc(crc(0, &self.write_with(0)), body);
        self.write_with(checksum)
    }

    /// The header of a page with the body that `old` has: the checksum is that of the difference, added to the old one.
    pub(crate) fn moved(&self, old: &Self) -> Vec<u8> {
        debug_assert_eq!(self.lacing, old.lacing);
        let (new, before) = (self.write_with(0), old.write_with(0));
        let difference: Vec<u8> = new.iter().zip(&before).map(|(a, b)| a ^ b).collect();
        let change = crc_of_zeros(crc(0, &difference), self.body());
        self.write_with(old.checksum ^ change)
    }

    /// The parts of the packets in this page: each one's range in the body, and whether it ends there. The first is the end of an earlier packet when the page is [`CONTINUED`].
    pub(crate) fn parts(&self) -> Vec<(Range<usize>, bool)> {
        let mut parts = Vec::new();
        let (mut start, mut at) = (0, 0);
        for value in &self.lacing {
            at += usize::from(*value);
            if *value < 255 {
                parts.push((start..at, true));
                start = at;
            }
        }
        if self.lacing.last() == Some(&255) {
            parts.push((start..at, false));
        }
        parts
    }

    /// The header of a page that holds only some of these parts, without the rest: what is before them and what is after them.
    pub(crate) fn only(&self, parts: Range<usize>) -> Self {
        let mut number = 0;
        let mut lacing = Vec::new();
        for value in &self.lacing {
            if parts.contains(&number) {
                lacing.push(*value);
            }
            number += usize::from(*value < 255);
        }
        Self {
            flags: if parts.start == 0 {
                self.flags
            } else {
                self.flags & !CONTINUED
            },
            lacing,
            ..self.clone()
        }
    }

    pub(crate) fn continued(&self) -> bool {
        self.flags & CONTINUED != 0
    }
}

/// A page and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) offset: u64,
    pub(crate) header: Header,
    /// How many packets began in the pages before, counted from the first page that was scanned.
    pub(crate) first: u64,
}

impl Page {
    /// Where its body begins.
    pub(crate) fn body(&self) -> u64 {
        self.offset + self.header.len() as u64
    }

    /// Where the next page begins.
    pub(crate) fn end(&self) -> u64 {
        self.body() + self.header.body() as u64
    }

    /// The number of the packet that its first part belongs to.
    pub(crate) fn first_part(&self) -> u64 {
        // A page is continued only when a packet began before: the scan makes sure of it.
        if self.header.continued() {
            self.first - 1
        } else {
            self.first
        }
    }

    /// How many packets end in this page and the pages before.
    pub(crate) fn ended(&self) -> u64 {
        self.first_part() + self.header.lacing.iter().filter(|value| **value < 255).count() as u64
    }
}

/// The first packets of a stream, which are its headers.
#[derive(Debug)]
pub(crate) struct Headers {
    pub(crate) packets: Vec<Vec<u8>>,
    /// The header of the first page.
    pub(crate) first: Header,
    /// Where the pages after them begin: headers end with their page.
    pub(crate) end: u64,
    /// How many pages they take.
    pub(crate) pages: u32,
}

/// Reads the first `count` packets of the stream at the beginning of the content. `None` when it is no Ogg.
pub(crate) fn headers(
    content: &dyn Content,
    count: usize,
    deadline: Duration,
) -> Result<Option<Headers>, SpliceError> {
    let mut window = Window::new(content, deadline);
    let mut packets: Vec<Vec<u8>> = Vec::new();
    let (mut open, mut offset, mut pages) = (Vec::new(), 0, 0);
    let mut first: Option<Header> = None;
    loop {
        let bytes = window.get(offset, MOST_PAGE)?;
        let Some(header) = Header::parse(bytes) else {
            return match first {
                None => Ok(None),
                Some(_) => Err(broken(content, bytes, offset)),
            };
        };
        let body = bytes
            .get(header.len()..header.len() + header.body())
            .ok_or_else(|| SpliceError::truncated(content, offset, None))?;
        match &first {
            None if header.flags & BEGINS == 0 => return Ok(None),
            Some(_) if header.flags & BEGINS != 0 => {
                return Err(SpliceError::Unsupported(
                    "the Ogg file holds several streams side by side, and ads can be put into those with one"
                        .into(),
                ));
            }
            Some(first) if first.serial != header.serial => return Err(SpliceError::Corrupt { offset }),
            _ => {}
        }
        for (part, ends) in header.parts() {
            open.extend(&body[part]);
            if open.len() > MOST_PACKET {
                return Err(SpliceError::Unsupported(
                    "the tags of the Ogg file are too long".into(),
                ));
            }
            if ends {
                packets.push(std::mem::take(&mut open));
            }
        }
        offset += (header.len() + header.body()) as u64;
        pages += 1;
        let first = first.get_or_insert(header).clone();
        if packets.len() >= count {
            if packets.len() > count || !open.is_empty() {
                return Err(SpliceError::Unsupported(
                    "sound begins in the page in which the headers of the Ogg file end".into(),
                ));
            }
            return Ok(Some(Headers {
                packets,
                first,
                end: offset,
                pages,
            }));
        }
    }
}

/// Whether a page may begin, or go on, somewhere in these bytes.
pub(crate) fn holds_page(bytes: &[u8]) -> bool {
    next_page(bytes) < bytes.len()
}

/// Sees that nothing of a stream is behind its last page: tags, zeros, line ends, and behind what says that it is the last page anything that is no page.
fn ends_at(window: &mut Window<'_>, offset: u64, last: Option<&Page>) -> Result<(), SpliceError> {
    let mut at = offset;
    while at < window.len() {
        let bytes = window.at_least(at, MARK.len())?;
        if next_page(bytes) == 0 && at == offset {
            return Err(window.truncated(offset));
        }
        let goes_on = bytes.windows(MARK.len()).any(|bytes| bytes == MARK);
        if goes_on {
            return Err(SpliceError::Corrupt { offset });
        }
        // The mark may stand across both.
        at += (bytes.len() + 1).saturating_sub(MARK.len()).max(1) as u64;
    }
    let Some(last) = last else { return Ok(()) };
    if last.header.flags & ENDS == 0 && !tail::is_tail(window, offset)? {
        return Err(SpliceError::Corrupt { offset });
    }
    let head = last.header.len();
    let page = window.get(last.offset, head + last.header.body())?;
    if page.len() < head || last.header.write(&page[head..]) != page[..head] {
        // What stands behind took the place of its end.
        return Err(window.truncated(last.offset));
    }
    Ok(())
}

fn broken(content: &dyn Content, bytes: &[u8], offset: u64) -> SpliceError {
    if bytes.len() < HEADER_LEN || bytes.starts_with(MARK) {
        SpliceError::truncated(content, offset, None)
    } else {
        SpliceError::Corrupt { offset }
    }
}

/// Sees the beginning of a packet and its offset.
type Look<'a> = dyn FnMut(&[u8], u64) -> Result<(), SpliceError> + 'a;

/// All pages after the headers of a stream.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) pages: Vec<Page>,
    /// How many packets there are.
    pub(crate) packets: u64,
}

impl Pages {
    /// Reads every page to the end of the stream once; `look` sees the beginning of each packet (at least two bytes when it has as many, and what of it is in its first page).
    pub(crate) fn scan(
        content: &dyn Content,
        headers: &Headers,
        deadline: Duration,
        look: &mut Look<'_>,
    ) -> Result<Self, SpliceError> {
        let mut window = Window::new(content, deadline);
        let mut pages: Vec<Page> = Vec::new();
        let (mut offset, mut first, mut open) = (headers.end, 0, false);
        let mut sequence = headers.first.sequence.wrapping_add(headers.pages);
        while offset < content.len() {
            let bytes = window.get(offset, MOST_PAGE)?;
            let Some(header) = Header::parse(bytes) else {
                ends_at(&mut window, offset, pages.last())?;
                break;
            };
            if header.flags & BEGINS != 0 || header.serial != headers.first.serial {
                return Err(SpliceError::Unsupported(format!(
                    "another stream begins at byte {offset} of the Ogg file, and ads can be put into those with one"
                )));
            }
            if header.sequence != sequence || header.continued() != open {
                return Err(SpliceError::Unsupported(format!(
                    "a page of the Ogg file is missing before byte {offset}"
                )));
            }
            let body = bytes
                .get(header.len()..header.len() + header.body())
                .ok_or_else(|| SpliceError::truncated(content, offset, None))?;
            let page = Page {
                offset,
                header,
                first,
            };
            for (i, (part, ends)) in page.header.parts().into_iter().enumerate() {
                if i > 0 || !page.header.continued() {
                    first += 1;
                    look(&body[part.clone()], page.body() + part.start as u64)?;
                }
                open = !ends;
            }
            offset = page.end();
            sequence = sequence.wrapping_add(1);
            pages.push(page);
        }
        if open {
            // The last packet has no end.
            return Err(window.truncated(offset));
        }
        Ok(Self {
            pages,
            packets: first,
        })
    }

    /// Index of the page in which a packet begins.
    pub(crate) fn page_of(&self, packet: u64) -> usize {
        self.pages
            .partition_point(|page| page.first <= packet)
            .saturating_sub(1)
    }

    /// The packets of this range.
    pub(crate) fn read(
        &self,
        content: &dyn Content,
        packets: Range<u64>,
        deadline: Duration,
    ) -> Result<Vec<Vec<u8>>, SpliceError> {
        let (mut out, mut open) = (Vec::new(), Vec::new());
        if packets.is_empty() {
            return Ok(out);
        }
        for page in &self.pages[self.page_of(packets.start)..] {
            let body = page.read(content, deadline)?;
            let mut number = page.first_part();
            for (part, ends) in page.header.parts() {
                if number >= packets.end {
                    return Ok(out);
                }
                if number >= packets.start {
                    open.extend(&body[part]);
                    if ends {
                        out.push(std::mem::take(&mut open));
                    }
                }
                number += u64::from(ends);
            }
        }
        Ok(out)
    }

    /// The pages, or parts of pages, that hold exactly the packets of this range, which are content: each as the page that it is of, and its parts.
    pub(crate) fn cover(&self, packets: &Range<u64>) -> Vec<(&Page, Range<usize>)> {
        if packets.is_empty() {
            return Vec::new();
        }
        let mut out = Vec::new();
        for page in &self.pages[self.page_of(packets.start)..] {
            let first = page.first_part();
            if first >= packets.end {
                break;
            }
            let parts = page.header.parts().len() as u64;
            let from = packets.start.saturating_sub(first).min(parts);
            let to = (packets.end - first).min(parts);
            if from < to {
                out.push((page, from as usize..to as usize));
            }
        }
        out
    }
}

impl Page {
    /// Its body.
    pub(crate) fn read(&self, content: &dyn Content, deadline: Duration) -> Result<Vec<u8>, SpliceError> {
        splice::read(content, self.body(), self.header.body(), deadline)
    }
}

/// Takes packets out of pages whose bytes come in parts. What is no page is stepped over, and so is the rest of a packet whose beginning was not seen.
#[derive(Debug, Default)]
pub(crate) struct Unpacker {
    bytes: Vec<u8>,
    /// The packet that is not at its end yet.
    open: Option<Vec<u8>>,
}

impl Unpacker {
    /// The packets that end in these bytes, which follow those given before.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        self.feed_pages(bytes, &mut |_, packets| out.extend(packets));
        out
    }

    /// The same, page by page: each page's header, and the packets that end in it.
    pub(crate) fn feed_pages(&mut self, bytes: &[u8], take: &mut dyn FnMut(&Header, Vec<Vec<u8>>)) {
        self.bytes.extend_from_slice(bytes);
        let mut at = 0;
        loop {
            at += next_page(&self.bytes[at..]);
            let rest = &self.bytes[at..];
            let Some(header) = Header::parse(rest) else { break };
            let Some(body) = rest.get(header.len()..header.len() + header.body()) else {
                break;
            };
            let mut packets = Vec::new();
            for (i, (part, ends)) in header.parts().into_iter().enumerate() {
                if i > 0 || !header.continued() {
                    self.open = Some(Vec::new());
                }
                if let Some(open) = &mut self.open {
                    open.extend(&body[part]);
                }
                if ends {
                    packets.extend(self.open.take());
                }
            }
            at += header.len() + header.body();
            take(&header, packets);
        }
        self.bytes.drain(..at);
    }
}

/// How many bytes are not the beginning of a page.
fn next_page(bytes: &[u8]) -> usize {
    (0..bytes.len())
        .find(|at| {
            let rest = &bytes[*at..];
            rest.starts_with(MARK) || MARK.starts_with(rest)
        })
        .unwrap_or(bytes.len())
}

/// A page that was found among other bytes.
#[derive(Debug)]
pub(crate) struct Found {
    /// Where it begins in those bytes.
    pub(crate) at: usize,
    /// Where it ends.
    pub(crate) end: usize,
    pub(crate) header: Header,
}

/// The first whole page in these bytes. Its checksum is right, so that nothing else is taken for one.
pub(crate) fn find_page(bytes: &[u8]) -> Option<Found> {
    let mut at = 0;
    loop {
        at += next_page(bytes.get(at..)?);
        let rest = bytes.get(at..).filter(|rest| !rest.is_empty())?;
        if let Some(header) = Header::parse(rest)
            && let Some(body) = rest.get(header.len()..header.len() + header.body())
            && header.write(body) == rest[..header.len()]
        {
            let end = at + header.len() + header.body();
            return Some(Found { at, end, header });
        }
        at += 1;
    }
}

/// Puts packets into pages of at most `most` packets: flags, lacing values and body of each. A packet that does not fit goes on in the next page.
pub(crate) fn paginate(packets: &[Vec<u8>], most: usize) -> Vec<(u8, Vec<u8>, Vec<u8>)> {
    let mut pages = Vec::new();
    let (mut flags, mut values, mut body, mut count) = (0, Vec::new(), Vec::new(), 0);
    for packet in packets {
        // Begins in a new page when that spares it from being divided.
        let needed = packet.len() / 255 + 1;
        if count >= most || (!values.is_empty() && values.len() + needed > 255) {
            pages.push((flags, std::mem::take(&mut values), std::mem::take(&mut body)));
            (flags, count) = (0, 0);
        }
        let mut rest = packet.as_slice();
        for value in lacing(packet.len()) {
            if values.len() == 255 {
                pages.push((flags, std::mem::take(&mut values), std::mem::take(&mut body)));
                flags = CONTINUED;
            }
            values.push(value);
            let (part, after) = rest.split_at(usize::from(value));
            body.extend(part);
            rest = after;
        }
        count += 1;
    }
    if !values.is_empty() {
        pages.push((flags, values, body));
    }
    pages
}

/// The lacing values of a whole packet.
pub(crate) fn lacing(len: usize) -> impl Iterator<Item = u8> {
    std::iter::repeat_n(255, len / 255).chain([(len % 255) as u8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The first packet in a page of its own, then pages of this many lacing values.
    fn file(packets: &[Vec<u8>], per_page: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let mut sequence = 0;
        for (packets, flag) in [(&packets[..1], BEGINS), (&packets[1..], 0)] {
            let values: Vec<u8> = packets.iter().flat_map(|packet| lacing(packet.len())).collect();
            let bytes = packets.concat();
            let (mut at, mut open) = (0, false);
            for chunk in values.chunks(per_page) {
                let header = Header {
                    flags: u8::from(open) | flag,
                    granule: 5,
                    serial: 7,
                    sequence,
                    checksum: 0,
                    lacing: chunk.to_vec(),
                };
                let body = &bytes[at..at + header.body()];
                out.extend(header.write(body));
                out.extend(body);
                at += body.len();
                sequence += 1;
                open = chunk.last() == Some(&255);
            }
        }
        out
    }

    fn packets() -> Vec<Vec<u8>> {
        [19, 300, 255, 0, 700, 3, 254, 510, 1]
            .iter()
            .enumerate()
            .map(|(i, len)| vec![i as u8; *len])
            .collect()
    }

    #[test]
    fn checksums_are_those_of_the_specification() {
        // "123456789" has this value under CRC-32 with these parameters.
        assert_eq!(crc(0, b"123456789"), 0x89A1_897F);
    }

    #[test]
    fn packets_are_found_however_they_lie_in_pages() {
        for per_page in 1..12 {
            let file = file(&packets(), per_page);
            let headers = headers(&file, 1, Duration::ZERO).unwrap().unwrap();
            assert_eq!(headers.packets, packets()[..1]);
            let mut seen = 0;
            let pages = Pages::scan(&file, &headers, Duration::ZERO, &mut |part, _| {
                seen += 1;
                assert!(part.iter().all(|byte| *byte == seen as u8));
                Ok(())
            })
            .unwrap();
            assert_eq!((pages.packets, seen), (8, 8));
            for range in [0..8, 2..5, 7..8, 3..3] {
                let expected = &packets()[1..][range.start as usize..range.end as usize];
                assert_eq!(
                    pages.read(&file, range.clone(), Duration::ZERO).unwrap(),
                    expected
                );
                let bytes: Vec<u8> = pages
                    .cover(&range)
                    .into_iter()
                    .flat_map(|(page, parts)| {
                        let body = page.read(&file, Duration::ZERO).unwrap();
                        let all = page.header.parts();
                        let kept = all[parts.start].0.start..all[parts.end - 1].0.end;
                        assert_eq!(page.header.only(parts).body(), kept.len());
                        body[kept].to_vec()
                    })
                    .collect();
                assert_eq!(bytes, expected.concat());
            }
        }
    }

    #[test]
    fn packets_come_out_of_pages_whose_bytes_come_in_parts() {
        let packets: Vec<Vec<u8>> = [3, 0, 255, 700, 70_000, 9].map(|len| vec![len as u8; len]).into();
        let mut file = Vec::new();
        let mut starts = Vec::new();
        for (sequence, (flags, lacing, body)) in (0..).zip(paginate(&packets, 2)) {
            let header = Header {
                flags,
                granule: 0,
                serial: 7,
                sequence,
                checksum: 0,
                lacing,
            };
            starts.push(file.len());
            file.extend(header.write(&body));
            file.extend(body);
        }
        for step in [1, 5, 27, 1_000, file.len()] {
            let mut unpacker = Unpacker::default();
            let out: Vec<Vec<u8>> = file.chunks(step).flat_map(|part| unpacker.feed(part)).collect();
            assert_eq!(out, packets, "{step} bytes at once");
        }
        // From within a page on: what begins in the page after it, and nothing of the packet that began before.
        for from in [1, starts[1] + 1, starts[2] + 40_000] {
            let out = Unpacker::default().feed(&file[from..]);
            assert!(
                packets.ends_with(&out) && out.len() < packets.len(),
                "from {from}"
            );
            let next = starts
                .iter()
                .find(|start| **start >= from)
                .map(|start| start - from);
            assert_eq!(find_page(&file[from..]).map(|found| found.at), next);
        }
        // What only looks like a page is none.
        file[starts[1] + 30] ^= 1;
        assert_eq!(find_page(&file[1..]).map(|found| found.at), Some(starts[2] - 1));
    }

    #[test]
    fn packets_are_put_into_pages() {
        let packets = [
            vec![1; 10],
            vec![2; 64_000],
            vec![3; 200_000],
            vec![4; 255],
            vec![],
        ];
        let pages = paginate(&packets, 2);
        let shape: Vec<_> = pages
            .iter()
            .map(|page| (page.0, page.1.len(), page.2.len()))
            .collect();
        assert_eq!(
            shape,
            [
                (0, 252, 64_010),
                (0, 255, 65_025),
                (1, 255, 65_025),
                (1, 255, 65_025),
                (1, 22, 5_180),
                (0, 1, 0)
            ]
        );
        assert_eq!(
            pages.into_iter().flat_map(|page| page.2).collect::<Vec<_>>(),
            packets.concat()
        );
    }

    proptest! {
        #[test]
        fn a_moved_header_has_the_checksum_of_its_page(body in proptest::collection::vec(any::<u8>(), 0..600), granule: i64, sequence: u32, flags in 0u8..8) {
            let old = Header { flags: 0, granule: 5, serial: 9, sequence: 3, checksum: 0, lacing: lacing(body.len()).collect() };
            let old = Header::parse(&old.write(&body)).unwrap();
            let new = Header { flags, granule, sequence, ..old.clone() };
            prop_assert_eq!(new.moved(&old), new.write(&body));
        }

        #[test]
        fn never_panics(changes in proptest::collection::vec((0usize..3000, any::<u8>()), 0..6), keep in 0usize..3000) {
            let mut file = file(&packets(), 1);
            for (at, byte) in changes {
                let len = file.len();
                file[at % len] = byte;
            }
            file.truncate(keep);
            if let Ok(Some(headers)) = headers(&file, 1, Duration::ZERO)
                && let Ok(pages) = Pages::scan(&file, &headers, Duration::ZERO, &mut |_, _| Ok(()))
            {
                let _ = pages.read(&file, 0..pages.packets, Duration::ZERO);
                let _ = pages.cover(&(1..pages.packets));
            }
        }
    }
}
