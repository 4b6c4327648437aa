//! Long Vorbis in Ogg, laid out from its beginning, its end and the pages around the breaks, which granule positions lead to.
//!
//! What a page says of how far the stream has come, and the lengths of its packets, say where each of them ends. All pages that are looked at have to agree; otherwise it is corrupt, and all are read ([`format::Head::read_through`]).
//! How many packets there are between is not known, and not needed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::{Gap, Track, Vorbis};
use crate::frames::ogg::{
    ENDS, HEADER_LEN, Header, MOST_PAGE, NO_GRANULE, Page, Pages, find_page, holds_page, search,
};
use crate::plan::{SplicePlan, Steps};
use crate::splice::format::{self, Frames, Place, Spliced, Stream};
use crate::splice::layout::Layout;
use crate::splice::{self, Run, SpliceError};

/// Shorter streams are read as a whole: there is little to be saved.
const SHORT: u64 = if cfg!(fuzzing) { 0 } else { 2 << 20 };
/// Samples on both sides of what is wanted: more than a break's stream needs of the content around it.
const AROUND: u64 = 65_536;

/// Pages that follow each other.
struct Stretch {
    pages: Vec<Page>,
    /// Samples of the blocks of the packets that begin in them.
    blocks: Vec<u32>,
    /// Where the next page begins, and whether a packet goes on there.
    offset: u64,
    open: bool,
}

impl Stretch {
    fn at(offset: u64) -> Self {
        Self {
            pages: Vec::new(),
            blocks: Vec::new(),
            offset,
            open: false,
        }
    }

    /// Where the samples of each packet end, counted from where those of the first do.
    fn ends(&self) -> Vec<u64> {
        let mut end = 0;
        let steps = self
            .blocks
            .windows(2)
            .map(|pair| u64::from((pair[0] + pair[1]) / 4));
        let later = steps.map(|step| {
            end += step;
            end
        });
        [0].into_iter().chain(later).take(self.blocks.len()).collect()
    }
}

/// See the module documentation.
pub(super) struct Parted<'a> {
    file: &'a Vorbis<'a>,
    /// The granule position of decoded sample 0.
    base: i64,
    /// Decoded sample at which the content ends.
    end: u64,
    /// Where the last page begins; and the last place before it with another page between where no packet goes on, with the decoded sample there.
    last: u64,
    before_last: (u64, u64),
    /// By the decoded sample that the stream has come to, places where no packet goes on.
    known: Mutex<BTreeMap<u64, u64>>,
}

impl<'a> Parted<'a> {
    /// `None` when only reading all pages can tell: the stream is short, or is not what it seems.
    pub(super) fn open(file: &'a Vorbis<'a>) -> Result<Option<Self>, SpliceError> {
        let headers = &file.headers;
        if file.content.len().saturating_sub(headers.end) < SHORT {
            return Ok(None);
        }
        let mut parted = Self {
            file,
            base: 0,
            end: 0,
            last: u64::MAX,
            before_last: (0, 0),
            known: Mutex::new([(0, headers.end)].into()),
        };
        match parted.look_at_both_ends() {
            Ok(true) => Ok(Some(parted)),
            Ok(false) | Err(SpliceError::Corrupt { .. } | SpliceError::Unsupported(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn look_at_both_ends(&mut self) -> Result<bool, SpliceError> {
        let headers = &self.file.headers;
        let mut first = Stretch::at(headers.end);
        self.add_page(&mut first)?;
        let page = &first.pages[0];
        let sequence = headers.first.sequence.wrapping_add(headers.pages);
        let ended = page.ended() as usize;
        if page.header.sequence != sequence || page.header.granule == NO_GRANULE || ended == 0 {
            return Ok(false);
        }
        let Some(base) = page.header.granule.checked_sub(first.ends()[ended - 1] as i64) else {
            return Ok(false);
        };
        if base.unsigned_abs() > i64::MAX as u64 / 4 {
            return Ok(false);
        }
        self.base = base;
        let pages = self.pages_at_end()?;
        let told = |page: &Page| {
            let whole = page.header.lacing.last() != Some(&255);
            self.told(&page.header).filter(|_| whole)
        };
        let (Some(last), others) = (pages.last(), pages.len().saturating_sub(2)) else {
            return Ok(false);
        };
        let Some((before, sample)) = pages[..others]
            .iter()
            .rev()
            .find_map(|page| Some((page.end(), told(page)?)))
        else {
            return Ok(false);
        };
        (self.last, self.before_last) = (last.offset, (before, sample));
        let mut stretch = Stretch::at(before);
        self.read_on(&mut stretch, u64::MAX)?;
        let end = stretch.pages.last().and_then(|page| self.told(&page.header));
        let skip = (-self.base).max(0) as u64;
        self.end = end.filter(|end| *end > skip && *end > sample).unwrap_or(0);
        // That they agree is seen here.
        self.ends_of(&stretch)?;
        Ok(self.end > 0)
    }

    /// The whole pages at the end of the content.
    fn pages_at_end(&self) -> Result<Vec<Page>, SpliceError> {
        let (content, deadline) = (self.file.content, self.file.options.read_deadline);
        let from = content.len().saturating_sub(2 * MOST_PAGE as u64);
        let from = from.max(self.file.headers.end);
        let bytes = splice::read(content, from, (content.len() - from) as usize, deadline)?;
        let (mut at, mut pages) = (0, Vec::new());
        while let Some(found) = find_page(&bytes[at..]) {
            if found.at > 0 && !pages.is_empty() {
                return Ok(Vec::new());
            }
            pages.push(Page {
                offset: from + (at + found.at) as u64,
                header: found.header,
                first: 0,
            });
            at += found.end;
        }
        let rest = &bytes[at..];
        let is_last = pages.last().is_some_and(|page| page.header.flags & ENDS != 0);
        let ends = rest.is_empty() || is_last && !holds_page(rest);
        Ok(if ends { pages } else { Vec::new() })
    }

    /// The decoded sample that the stream has come to where a page ends; `None` when it does not say, or is of something else.
    fn told(&self, header: &Header) -> Option<u64> {
        let is_own = header.serial == self.file.headers.first.serial && header.granule != NO_GRANULE;
        let sample = header.granule.checked_sub(self.base).filter(|_| is_own)?;
        u64::try_from(sample).ok()
    }

    /// Reads the next page.
    fn add_page(&self, stretch: &mut Stretch) -> Result<(), SpliceError> {
        let (content, deadline) = (self.file.content, self.file.options.read_deadline);
        let offset = stretch.offset;
        let corrupt = || SpliceError::Corrupt { offset };
        let len = (content.len() - offset).min(HEADER_LEN as u64 + 255) as usize;
        let bytes = splice::read(content, offset, len, deadline)?;
        let header = Header::parse(&bytes).ok_or_else(corrupt)?;
        let due = stretch
            .pages
            .last()
            .map(|last| last.header.sequence.wrapping_add(1));
        let ends_early = header.flags & ENDS != 0 && offset != self.last;
        let follows = header.continued() == stretch.open && due.is_none_or(|due| header.sequence == due);
        if header.serial != self.file.headers.first.serial || !follows || ends_early {
            return Err(corrupt());
        }
        let page = Page {
            offset,
            header,
            first: stretch.blocks.len() as u64,
        };
        if page.end() > content.len() {
            return Err(corrupt());
        }
        let body = page.read(content, deadline)?;
        for (i, (part, ends)) in page.header.parts().into_iter().enumerate() {
            if i > 0 || !page.header.continued() {
                let block = self.file.head.block(&body[part]).ok_or_else(corrupt)?;
                stretch.blocks.push(block);
            }
            stretch.open = !ends;
        }
        stretch.offset = page.end();
        stretch.pages.push(page);
        Ok(())
    }

    /// Reads pages until the stream has come to a decoded sample and no packet goes on; at least one.
    fn read_on(&self, stretch: &mut Stretch, until: u64) -> Result<(), SpliceError> {
        loop {
            if let Some(page) = stretch.pages.last() {
                let come = self.told(&page.header).is_some_and(|sample| sample >= until);
                if page.offset == self.last || come && !stretch.open {
                    return Ok(());
                }
            }
            self.add_page(stretch)?;
        }
    }

    /// Where the samples of the packets of a stretch end, as its pages say.
    fn ends_of(&self, stretch: &Stretch) -> Result<Vec<u64>, SpliceError> {
        let mut ends = stretch.ends();
        let mut origin = None;
        let mut before = 0;
        for page in &stretch.pages {
            let ended = page.ended();
            let (Some(told), Some(last)) = (self.told(&page.header), ended.checked_sub(1)) else {
                continue;
            };
            let corrupt = SpliceError::Corrupt { offset: page.offset };
            let due = ends[last as usize];
            let origin = match origin {
                Some(origin) => origin,
                None if page.offset == self.last => return Err(corrupt),
                None => *origin.insert(told.checked_sub(due).ok_or(corrupt)?),
            };
            let due = due + origin;
            let cut = page.offset == self.last && told > before && told < due;
            if told != due && !cut {
                return Err(SpliceError::Corrupt { offset: page.offset });
            }
            before = told;
        }
        let offset = stretch.pages.first().map_or(0, |page| page.offset);
        let origin = origin.ok_or(SpliceError::Corrupt { offset })?;
        let is_first = offset == self.file.headers.end;
        if is_first != (origin == 0) {
            return Err(SpliceError::Corrupt { offset });
        }
        for end in &mut ends {
            *end += origin;
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for page in &stretch.pages {
            let whole = page.header.lacing.last() != Some(&255) && page.offset != self.last;
            if let Some(sample) = self.told(&page.header).filter(|_| whole) {
                known.entry(sample).or_insert(page.end());
            }
        }
        Ok(ends)
    }

    /// Where a page begins from which on what ends after a decoded sample is found: where no packet goes on, and before the page that may leave out samples.
    fn near(&self, sample: u64) -> Result<u64, SpliceError> {
        let (last, end) = self.before_last;
        if sample == 0 {
            // Whatever its first pages tell: packets that give no samples are not left out.
            return Ok(self.file.headers.end);
        }
        if sample >= end {
            return Ok(last);
        }
        let bounds = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let low = known.range(..=sample).next_back();
            let high = known.range(sample + 1..).next();
            [
                low.map_or((self.file.headers.end, 0), |(sample, offset)| (*offset, *sample)),
                {
                    let high = high.map(|(sample, offset)| (*offset, *sample));
                    high.filter(|high| high.1 < end).unwrap_or((last, end))
                },
            ]
        };
        let told = |header: &Header| self.told(header);
        let deadline = self.file.options.read_deadline;
        let (offset, _) = search::near(self.file.content, deadline, sample, bounds, &told)?;
        Ok(offset.min(last))
    }

    /// What is in these ranges of decoded samples and around them, at the beginning and at the end.
    fn track(&self, wanted: impl Iterator<Item = Range<u64>>) -> Result<Track<'a>, SpliceError> {
        let around = wanted.map(|range| range.start.saturating_sub(AROUND)..range.end.saturating_add(AROUND));
        let ends = [0..1, self.before_last.1..u64::MAX];
        let mut wanted: Vec<Range<u64>> = around.chain(ends).collect();
        wanted.sort_by_key(|range| range.start);
        let mut stretches: Vec<Stretch> = Vec::new();
        for range in wanted {
            let offset = self.near(range.start)?;
            match stretches.last_mut() {
                Some(last) if offset <= last.offset => self.read_on(last, range.end)?,
                _ => {
                    let mut stretch = Stretch::at(offset);
                    self.read_on(&mut stretch, range.end)?;
                    stretches.push(stretch);
                }
            }
        }
        let (mut pages, mut ends, mut gaps): (Vec<Page>, Vec<u64>, Vec<Gap>) = Default::default();
        for stretch in stretches {
            let own = self.ends_of(&stretch)?;
            let before = ends.len() as u64;
            if let (Some(last), Some(next)) = (pages.last(), stretch.pages.first()) {
                let sequence = last.header.sequence.wrapping_add(1);
                if own.first() <= ends.last() {
                    return Err(SpliceError::Corrupt { offset: next.offset });
                }
                gaps.push(Gap {
                    packet: ends.len(),
                    bytes: last.end()..next.offset,
                    sequence,
                    pages: next.header.sequence.wrapping_sub(sequence),
                });
            }
            ends.extend(own);
            pages.extend(stretch.pages.into_iter().map(|page| Page {
                first: page.first + before,
                ..page
            }));
        }
        let packets = ends.len() as u64;
        Ok(Track {
            file: self.file,
            pages: Pages { pages, packets },
            ends,
            gaps,
            base: self.base,
            skip: self.skip(),
            end: self.end,
        })
    }

    fn skip(&self) -> u64 {
        (-self.base).max(0) as u64
    }

    fn whole(&self, layout: &Layout<'_>) -> Result<Track<'a>, SpliceError> {
        let skip = self.skip();
        let cuts = layout
            .spots
            .iter()
            .flat_map(|spot| [spot.span.start, spot.span.end]);
        self.track(cuts.map(|sample| sample + skip..sample + skip))
    }

    fn part(&self, range: &Range<u64>) -> Result<Track<'a>, SpliceError> {
        let skip = self.skip();
        self.track(std::iter::once(range.start + skip..range.end + skip))
    }
}

impl format::Track for Parted<'_> {
    fn stream(&self) -> Stream {
        Stream {
            samples: self.end - self.skip(),
            ..format::Head::stream(self.file)
        }
    }

    /// How many packets there are is not known.
    fn frames(&self) -> Frames {
        Frames {
            count: 0,
            steps: Steps::ANY,
            start: self.file.headers.end,
            bit_rate: None,
        }
    }

    /// The packet's number is not known either.
    fn place(&self, sample: u64) -> Result<Place, SpliceError> {
        self.part(&(sample..sample))?.place(sample)
    }

    fn decode(&self, range: Range<u64>) -> Result<Vec<f32>, SpliceError> {
        self.part(&range)?.decode(range)
    }

    fn check(&self, layout: &Layout<'_>) -> Result<(), SpliceError> {
        self.whole(layout).map(drop)
    }

    fn splice(&self, layout: &Layout<'_>) -> Result<Spliced, SpliceError> {
        self.whole(layout)?.splice(layout)
    }

    fn audio(&self, runs: &[Run], _: &SplicePlan) -> Option<Range<u64>> {
        Some(0..format::len_of(runs))
    }
}
