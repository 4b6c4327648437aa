//! The pages of a rendition in Ogg: content pages keep their bodies, and all of their bytes as long as nothing before them changed; what was made is put into pages of its own.

pub(super) mod moved;

use std::io;
use std::ops::Range;
use std::time::Duration;

use self::moved::Moved;
use super::format::Runs;
use super::{Options, SpliceError};
use crate::content::Content;
use crate::frames::ogg::{
    BEGINS, ENDS, Found, HEADER_LEN, Header, Headers, MOST_PAGE, NO_GRANULE, Page, Pages, Span, find_page,
    lacing, paginate,
};
use crate::frames::window::Window;

enum Body {
    Content(Page, Range<usize>),
    /// Pages of the content that nobody looked at: their bytes, their stream, the first one's number, and how many they are.
    Gap(Range<u64>, u32, u32, u32),
    Made(Vec<u8>),
}

/// Collects the pages of one logical stream.
pub(super) struct Stream<'a> {
    serial: u32,
    /// What a granule position is when this many packets have ended.
    granule: &'a dyn Fn(u64) -> i64,
    ended: u64,
    out: Vec<(Header, Body)>,
}

impl<'a> Stream<'a> {
    pub(super) fn new(serial: u32, granule: &'a dyn Fn(u64) -> i64) -> Self {
        Self {
            serial,
            granule,
            ended: 0,
            out: Vec::new(),
        }
    }

    fn push(&mut self, mut header: Header, body: Body) {
        let ended = header.lacing.iter().filter(|value| **value < 255).count() as u64;
        self.ended += ended;
        header.granule = if ended == 0 {
            NO_GRANULE
        } else {
            (self.granule)(self.ended)
        };
        header.serial = self.serial;
        self.out.push((header, body));
    }

    /// Adds packets of the content.
    pub(super) fn content(&mut self, pages: &Pages, packets: &Range<u64>) {
        for (page, parts) in pages.cover(packets) {
            self.page(page.clone(), parts);
        }
    }

    fn page(&mut self, page: Page, parts: Range<usize>) {
        self.push(page.header.only(parts.clone()), Body::Content(page, parts));
    }

    /// Adds pages of the content, looked at or not.
    pub(super) fn spans(&mut self, spans: Vec<Span>) {
        for span in spans {
            match span {
                Span::Page(page, parts) => self.page(page, parts),
                Span::Gap {
                    bytes,
                    serial,
                    sequence,
                    pages,
                    packets,
                    granule,
                } => {
                    // Of the header counts by how much the position is another one.
                    let header = Header {
                        flags: 0,
                        granule: (self.granule)(self.ended) - granule,
                        serial: self.serial,
                        sequence,
                        checksum: 0,
                        lacing: Vec::new(),
                    };
                    self.ended += packets;
                    self.out.push((header, Body::Gap(bytes, serial, sequence, pages)));
                }
            }
        }
    }

    /// Adds packets that were made, at most `most` a page.
    pub(super) fn made(&mut self, packets: &[Vec<u8>], most: usize) {
        for (flags, lacing, body) in paginate(packets, most) {
            let header = Header {
                flags,
                granule: 0,
                serial: 0,
                sequence: 0,
                checksum: 0,
                lacing,
            };
            self.push(header, Body::Made(body));
        }
    }

    /// Numbers the pages from `sequence` on and adds them; the last one ends the stream, at granule position `end`.
    pub(super) fn finish(
        mut self,
        content: &dyn Content,
        deadline: Duration,
        sequence: u32,
        end: i64,
        runs: &mut Runs,
    ) -> Result<(), SpliceError> {
        let last = self.out.len().saturating_sub(1);
        let mut next = sequence;
        for (i, (header, body)) in self.out.iter_mut().enumerate() {
            header.sequence = next;
            next = next.wrapping_add(match body {
                Body::Gap(_, _, _, pages) => *pages,
                Body::Content(..) | Body::Made(_) => 1,
            });
            header.flags &= !ENDS;
            if i == last {
                header.flags |= ENDS;
                header.granule = end;
            }
            match body {
                Body::Made(bytes) => {
                    runs.made(&header.write(bytes));
                    runs.made(bytes);
                }
                Body::Gap(bytes, serial, before, _) => {
                    let moved = Moved {
                        from: bytes.start,
                        serial: *serial,
                        to: header.serial,
                        sequence: header.sequence.wrapping_sub(*before),
                        granule: header.granule,
                    };
                    runs.pages(moved, bytes.end - bytes.start);
                }
                Body::Content(page, parts) => {
                    let all = page.header.parts();
                    let (start, stop) = (all[parts.start].0.start, all[parts.end - 1].0.end);
                    let place = |within: usize| page.body() + within as u64;
                    let whole = parts.len() == all.len();
                    header.checksum = page.header.checksum;
                    if whole && *header == page.header {
                        runs.content(page.offset, page.end());
                        continue;
                    }
                    if whole {
                        runs.made(&header.moved(&page.header));
                    } else {
                        let bytes = page.read(content, deadline)?;
                        runs.made(&header.write(&bytes[start..stop]));
                    }
                    runs.content(place(start), place(stop));
                }
            }
        }
        Ok(())
    }
}

/// That the packet after the first is one of tags.
pub(super) fn check_tags(headers: &Headers, begins: &[u8]) -> Result<(), SpliceError> {
    if headers.packets[1].starts_with(begins) {
        return Ok(());
    }
    Err(SpliceError::Corrupt {
        offset: (headers.first.len() + headers.first.body()) as u64,
    })
}

/// Adds the pages of the headers with other tags, and says how many they are: all bytes stay when the tags did.
pub(super) fn headers(headers: &Headers, tags: &[Vec<u8>], runs: &mut Runs) -> u32 {
    if tags == &headers.packets[1..] {
        runs.content(0, headers.end);
        return headers.pages;
    }
    let first = &headers.first;
    begin((first.serial, first.sequence), &headers.packets[0], tags, runs)
}

/// Adds the pages of a stream's headers, from a number on, and says how many they are: the first header in a page of its own.
pub(super) fn begin((serial, start): (u32, u32), first: &[u8], others: &[Vec<u8>], runs: &mut Runs) -> u32 {
    let mut sequence = start;
    let mut page = |flags, lacing: Vec<u8>, body: &[u8]| {
        let ends = lacing.iter().any(|value| *value < 255);
        let header = Header {
            flags,
            granule: if ends { 0 } else { NO_GRANULE },
            serial,
            sequence,
            checksum: 0,
            lacing,
        };
        sequence = sequence.wrapping_add(1);
        runs.made(&header.write(body));
        runs.made(body);
    };
    page(BEGINS, lacing(first.len()).collect(), first);
    for (flags, lacing, body) in paginate(others, usize::MAX) {
        page(flags, lacing, &body);
    }
    sequence.wrapping_sub(start)
}

/// How much of the content's beginning tells how long it may be.
const LOOKED_AT: u64 = 128 * 1024;

/// How long the end is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The last granule position: what the last page says, when the rendition is one that is played; otherwise, and when that page does not come, as if all of the content were like its first pages.
pub(super) fn samples(content: &dyn Content, headers: &Headers, options: &Options) -> u64 {
    let deadline = options.read_deadline;
    let last = options
        .measured
        .then(|| last_granule(content, deadline.min(PATIENCE)))
        .flatten();
    last.and_then(|last| u64::try_from(last).ok())
        .unwrap_or_else(|| guess_granule(content, headers, deadline))
}

fn guess_granule(content: &dyn Content, headers: &Headers, deadline: Duration) -> u64 {
    let mut window = Window::new(content, deadline);
    let (mut at, mut granule) = (headers.end, 0);
    while at < headers.end + LOOKED_AT
        && let Ok(bytes) = window.get(at, HEADER_LEN + 255)
        && let Some(page) = Header::parse(bytes)
    {
        at += (page.len() + page.body()) as u64;
        granule = granule.max(page.granule);
    }
    let read = at.min(content.len()).saturating_sub(headers.end).max(1);
    let all = u128::from(content.len() - headers.end) * granule.max(0) as u128 / u128::from(read);
    u64::try_from(all).unwrap_or(u64::MAX)
}

/// How much is read to find a page: at most two of the longest, since the first may have begun before.
const SOUGHT: usize = 128 * 1024;
/// How near a place is from where on pages are read one after the other to find it.
pub(super) const NEAR: u64 = 64 * 1024;

/// Reads bytes of Ogg at an offset.
pub(crate) type ReadAt<'a> = dyn Fn(u64, &mut [u8]) -> io::Result<usize> + 'a;

/// The first whole page at or after `offset` of what ends at `end`; with it the bytes from `offset` on, up to the page's end or further.
pub(super) fn find_page_at(read: &ReadAt<'_>, end: u64, offset: u64) -> Option<(Found, Vec<u8>)> {
    let len = usize::try_from(end.saturating_sub(offset)).map_or(SOUGHT, |left| left.min(SOUGHT));
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match read(offset + filled as u64, &mut bytes[filled..]) {
            Ok(0) | Err(_) => break,
            Ok(count) => filled += count,
        }
        // Mostly the first part holds one: what comes later need not be waited for.
        if let Some(found) = find_page(&bytes[..filled]) {
            bytes.truncate(filled);
            return Some((found, bytes));
        }
    }
    None
}

/// What the content's end says. That may have to come first.
fn last_granule(content: &dyn Content, deadline: Duration) -> Option<i64> {
    let begin = content.len().saturating_sub(MOST_PAGE as u64);
    let mut bytes = vec![0; (content.len() - begin) as usize];
    content.read_exact_at(begin, &mut bytes, deadline).ok()?;
    let (mut at, mut last) = (0, None);
    while let Some(found) = find_page(&bytes[at..]) {
        if found.header.granule != NO_GRANULE {
            last = Some(found.header.granule);
        }
        at += found.end;
    }
    last
}

/// Says what cannot be done with containers that nobody took.
pub(super) fn refuse(content: &dyn Content, options: &Options) -> Result<(), SpliceError> {
    let mut window = Window::new(content, options.read_deadline);
    let head = window.get(0, 64)?;
    if head.starts_with(b"OggS") {
        return Err(SpliceError::Unsupported(
            "the Ogg file holds neither Opus nor Vorbis, and ads can be put into Ogg files with those".into(),
        ));
    }
    Ok(())
}
