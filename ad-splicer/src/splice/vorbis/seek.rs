//! Finding a place in a rendition without reading up to it: which stream of the chain it is in, and from which page on that is decoded.
//!
//! Pages are found by halving, as granule positions grow through all streams. Packets say by their first bytes how long they are, so the end that a page tells gives where the sound begins that is
//! decoded from the page's first whole packet on (that packet itself gives none).

use std::ops::Range;

use crate::frames::ogg::{BEGINS, ENDS, Found, Header, NO_GRANULE, Unpacker};
use crate::frames::vorbis::Head;
use crate::splice::ogg::{NEAR, ReadAt, find_page_at};
use crate::splice::{Run, Source};

/// Longer headers are taken for damage.
const MOST_HEAD: u64 = 16 << 20;

/// A place where decoding can begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entrance {
    /// The pages with the headers that are needed first.
    pub(crate) head: Range<u64>,
    /// The page from which on to read.
    pub(crate) offset: u64,
    /// What is heard first, as a sample of the presentation; below zero in what comes before the content.
    pub(crate) sample: i64,
}

/// The last place from where sample `wanted` of the presentation can be decoded. `runs` are the rendition's; a few pages of it are read.
pub(crate) fn entrance(read: &ReadAt<'_>, runs: &[Run], wanted: i64) -> Option<Entrance> {
    let len = runs.last().map_or(0, |run| run.start + run.len);
    let starts = starts(runs);
    let ends = starts.iter().skip(1).copied().chain([len]);
    let (mut zero, mut best) = (None, None);
    for (start, end) in starts.iter().copied().zip(ends) {
        let link = Link::open(read, start..end)?;
        let (found, bytes) = find_page_at(read, end, link.head.end)?;
        let begins = link.begins(&found, &bytes);
        // Content begins late when its first granule position does, and not before 0.
        let zero = *zero.get_or_insert(begins.unwrap_or(0).max(0));
        match begins {
            Some(begins) if best.is_some() && begins - zero > wanted => break,
            // Its only page ends it, and where that begins is not told: it is decoded from the stream before it on.
            None if best.is_some() => {}
            _ => best = Some((link, begins.unwrap_or(0))),
        }
    }
    let (link, begins) = best?;
    let zero = zero?;
    let (offset, begins) = link.last_before(read, begins, wanted + zero);
    Some(Entrance {
        head: link.head,
        offset,
        sample: begins - zero,
    })
}

/// Where the streams of a chain begin: each but the first with a page that was made.
fn starts(runs: &[Run]) -> Vec<u64> {
    let begins = |run: &&Run| match &run.source {
        Source::Made(bytes) => Header::parse(bytes).is_some_and(|header| header.flags & BEGINS != 0),
        Source::Content(_)
        | Source::Pages(_)
        | Source::Clusters(_)
        | Source::Frames(_)
        | Source::Bridge { .. } => false,
    };
    let later = runs.iter().filter(|run| run.start > 0).filter(begins);
    [0].into_iter().chain(later.map(|run| run.start)).collect()
}

/// One stream of a chain.
struct Link {
    head: Range<u64>,
    end: u64,
    decoder: Head,
}

impl Link {
    fn open(read: &ReadAt<'_>, range: Range<u64>) -> Option<Self> {
        let (mut pages, mut packets, mut at) = (Unpacker::default(), Vec::new(), range.start);
        while packets.len() < 3 {
            let (found, bytes) = find_page_at(read, range.end, at)?;
            if found.at > 0 || at - range.start > MOST_HEAD {
                return None;
            }
            packets.extend(pages.feed(&bytes[..found.end]));
            at += found.end as u64;
        }
        Some(Self {
            head: range.start..at,
            end: range.end,
            decoder: Head::parse(&packets[0], &packets[2]).ok()??,
        })
    }

    /// The granule position of the first sample that is decoded from a page on; `None` when the page does not tell. `bytes` are those that it was found in.
    fn begins(&self, found: &Found, bytes: &[u8]) -> Option<i64> {
        let header = &found.header;
        if header.granule == NO_GRANULE || header.flags & ENDS != 0 {
            return None;
        }
        let body = bytes.get(found.at + header.len()..found.end)?;
        let begun_before = usize::from(header.continued());
        let parts = header.parts().into_iter().skip(begun_before);
        let mut before = None;
        let mut later = 0;
        for (part, _) in parts.filter(|(_, ends)| *ends) {
            let block = self.decoder.block(body.get(part)?)?;
            later += before.map_or(0, |before| i64::from((before + block) / 4));
            before = Some(block);
        }
        before.map(|_| header.granule - later)
    }

    /// The last page from which on granule position `wanted` is decoded, and where its sound begins. The first page's begins at `first`.
    fn last_before(&self, read: &ReadAt<'_>, first: i64, wanted: i64) -> (u64, i64) {
        let mut best = (self.head.end, first);
        let (mut low, mut high) = (self.head.end, self.end);
        while low < high {
            let middle = if high - low > NEAR {
                low + (high - low) / 2
            } else {
                low
            };
            let found = find_page_at(read, self.end, middle);
            let Some((found, bytes)) = found.filter(|(found, _)| middle + (found.at as u64) < high) else {
                if middle == low {
                    break;
                }
                high = middle;
                continue;
            };
            match self.begins(&found, &bytes) {
                Some(begins) if begins > wanted && middle == low => break,
                Some(begins) if begins > wanted => high = middle,
                told => {
                    if let Some(begins) = told {
                        best = (middle + found.at as u64, begins);
                    }
                    low = middle + found.end as u64;
                }
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::ogg::{lacing, paginate};
    use crate::frames::vorbis::made::{identification, setup};
    use bytes::Bytes;

    /// A stream of `count` long packets, ten in a page, whose sound begins at a granule position.
    fn stream(begins: i64, count: usize) -> Vec<u8> {
        let [identification, tags, setup] = [identification(), b"\x03vorbis".to_vec(), setup()];
        let mut out = Vec::new();
        let mut page = |flags, granule, lacing, body: &[u8]| {
            let header = Header {
                flags,
                granule,
                serial: 7,
                sequence: 0,
                checksum: 0,
                lacing,
            };
            out.extend(header.write(body));
            out.extend(body);
        };
        page(BEGINS, 0, lacing(identification.len()).collect(), &identification);
        for (flags, values, body) in paginate(&[tags, setup], usize::MAX) {
            page(flags, 0, values, &body);
        }
        let packets = vec![vec![0x02; 300]; count];
        let pages = paginate(&packets, 10);
        let mut ended = 0;
        let last = pages.len() - 1;
        for (i, (flags, values, body)) in pages.into_iter().enumerate() {
            ended += values.iter().filter(|value| **value < 255).count() as i64;
            let ends = if i == last { ENDS } else { 0 };
            page(flags | ends, begins + (ended - 1) * 1024, values, &body);
        }
        out
    }

    #[test]
    fn every_place_of_a_chain_is_found_with_the_headers_of_its_stream() {
        // A stream begins again where the one before it ends: 999 and 99 blocks of 1,024 samples are heard.
        let streams = [
            stream(0, 1000),
            stream(999 * 1024, 100),
            stream(1098 * 1024, 1000),
        ];
        let mut runs: Vec<Run> = Vec::new();
        let mut at = 0;
        for bytes in &streams {
            let made = Source::Made(Bytes::copy_from_slice(bytes));
            let len = bytes.len() as u64;
            runs.push(Run {
                start: at,
                len,
                source: made,
            });
            at += len;
        }
        let starts: Vec<u64> = runs.iter().map(|run| run.start).collect();
        let all = streams.concat();
        let read = |offset: u64, buffer: &mut [u8]| {
            let rest = all.get(offset as usize..).unwrap_or(&[]);
            let count = rest.len().min(buffer.len()).min(5000);
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        };
        for wanted in (0..2096 * 1024).step_by(100_003) {
            let found = entrance(&read, &runs, wanted).expect("a place");
            let link = match wanted / 1024 {
                ..999 => 0,
                999..1098 => 1,
                _ => 2,
            };
            assert_eq!(found.head.start, starts[link], "{wanted}: {found:?}");
            let lead = wanted - found.sample;
            // A page, and at the end of a stream, whose last page says nothing, two.
            assert!((0..20 * 1024).contains(&lead), "{wanted}: {found:?}");
            let page = Header::parse(&all[found.offset as usize..]).expect("a page");
            let ended = page.lacing.iter().filter(|value| **value < 255).count() as i64;
            assert_eq!(page.granule - (ended - 1) * 1024, found.sample, "{wanted}");
        }
    }
}
