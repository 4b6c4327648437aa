//! Pages of content under other numbers and positions: made when they are read, since where each page is was not looked at when they were laid out.
//!
//! A read that begins within a page has to find where that one does: a page before it is looked for by its checksum, and the pages from there on follow each other. So some more of the content is read than is given.

use std::io;
use std::time::Duration;

use crate::content::Content;
use crate::frames::ogg::{HEADER_LEN, Header, MOST_PAGE, NO_GRANULE, find_page};

/// Pages of the content that follow each other, whole, and what is added to their numbers and positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Where the first one begins in the content.
    pub from: u64,
    /// Of the stream that they are of, and of the one that they come to.
    pub serial: u32,
    /// See `serial`.
    pub to: u32,
    /// Added to each one's number.
    pub sequence: u32,
    /// Added to each one's granule position.
    pub granule: i64,
}

/// Longest header of a page.
const LONGEST: usize = HEADER_LEN + 255;
/// So far before a place a page is looked for, first and at last.
const BEFORE: [u64; 3] = [16 << 10, 64 << 10, 2 * MOST_PAGE as u64];
/// How much is made at once.
const AT_ONCE: usize = 64 << 10;

fn damaged() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the Ogg pages are not what they were laid out from",
    )
}

impl Moved {
    fn header(&self, old: &Header) -> Vec<u8> {
        let granule = match old.granule {
            NO_GRANULE => NO_GRANULE,
            granule => granule.wrapping_add(self.granule),
        };
        let new = Header {
            granule,
            serial: self.to,
            sequence: old.sequence.wrapping_add(self.sequence),
            ..old.clone()
        };
        new.moved(old)
    }

    /// Reads some bytes of `len` bytes of pages, from one of them on.
    pub(crate) fn read_at(
        &self,
        content: &dyn Content,
        (within, len): (u64, u64),
        buffer: &mut [u8],
        deadline: Duration,
    ) -> io::Result<usize> {
        let end = self.from + len;
        let wanted = self.from + within;
        let mut start = self.page_before(content, wanted, end, deadline)?;
        let most = (buffer.len().min(AT_ONCE) as u64).min(end - wanted);
        // From the page's beginning to where the wanted bytes end, and a header that begins there.
        let until = (wanted + most + LONGEST as u64).min(end);
        let mut bytes = vec![0; (until - start) as usize];
        content.read_exact_at(start, &mut bytes, deadline)?;
        let begin = start;
        while start < wanted + most {
            let at = (start - begin) as usize;
            let header = Header::parse(&bytes[at..]).filter(|header| header.serial == self.serial);
            let header = header.ok_or_else(damaged)?;
            bytes[at..at + header.len()].copy_from_slice(&self.header(&header));
            start += (header.len() + header.body()) as u64;
        }
        let skip = (wanted - begin) as usize;
        buffer[..most as usize].copy_from_slice(&bytes[skip..skip + most as usize]);
        Ok(most as usize)
    }

    /// Where the page begins that a byte is in.
    fn page_before(
        &self,
        content: &dyn Content,
        wanted: u64,
        end: u64,
        deadline: Duration,
    ) -> io::Result<u64> {
        for before in BEFORE {
            let from = wanted.saturating_sub(before).max(self.from);
            let mut start = from;
            if from > self.from {
                let until = (wanted + LONGEST as u64).min(end);
                let mut bytes = vec![0; (until - from) as usize];
                content.read_exact_at(from, &mut bytes, deadline)?;
                match find_page(&bytes).filter(|found| found.header.serial == self.serial) {
                    Some(found) => start += found.at as u64,
                    None => continue,
                }
            }
            if let Some(page) = self.page_of(content, start, wanted, end, deadline)? {
                return Ok(page);
            }
        }
        Err(damaged())
    }

    /// The same, from the beginning of a page before it on.
    fn page_of(
        &self,
        content: &dyn Content,
        mut start: u64,
        wanted: u64,
        end: u64,
        deadline: Duration,
    ) -> io::Result<Option<u64>> {
        while start <= wanted {
            let mut bytes = vec![0; (end - start).min(LONGEST as u64) as usize];
            content.read_exact_at(start, &mut bytes, deadline)?;
            let Some(header) = Header::parse(&bytes).filter(|header| header.serial == self.serial) else {
                return Ok(None);
            };
            let next = start + (header.len() + header.body()) as u64;
            if next > wanted {
                return Ok((next <= end).then_some(start));
            }
            start = next;
        }
        Ok(None)
    }
}
