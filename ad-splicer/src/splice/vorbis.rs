//! Splicing Vorbis in Ogg by chaining: the content up to a break, the break, and the content after it are streams of their own, one after the other.
//!
//! What a packet decodes to depends on the packet before it and on nothing else, and codebooks cannot be changed within a
//! stream. So each stream of content begins with one packet more than is heard, as every Vorbis stream does, and content is
//! decoded exactly as it was. A break's stream holds the ads, and the content around them up to the next ends of packets,
//! coded again: no samples are left over that a decoder would have to leave out, but at the end of the break's stream.
//! Granule positions go on through all of them.

mod chain;
mod coding;
mod meeting;
mod parted;
pub(crate) mod seek;

use std::ops::Range;

use self::chain::Link;
use self::parted::Parted;
use super::format::{self, Frames, Place, Runs, Spliced, Stream, check_channels};
use super::layout::{Layout, Spot};
use super::{Chapter, Codec, Options, Run, Seam, SeamKind, SpliceError, ogg};
use crate::bridge::{BridgeError, vorbis as bridge};
use crate::content::Content;
use crate::frames::ogg::{ENDS, Headers, NO_GRANULE, Pages, Span, headers};
use crate::frames::vorbis::Head;
use crate::frames::vorbis_comment;
use crate::plan::{SplicePlan, Steps};
use crate::time::PresentationTime;

const TAGS: &[u8] = b"\x03vorbis";
/// A Vorbis file in Ogg.
pub(crate) struct Vorbis<'a> {
    content: &'a dyn Content,
    options: &'a Options,
    headers: Headers,
    head: Head,
}

impl<'a> Vorbis<'a> {
    /// `None` when it is something else.
    pub(crate) fn new(content: &'a dyn Content, options: &'a Options) -> Result<Option<Self>, SpliceError> {
        match headers(content, 1, options.read_deadline)? {
            Some(first) if first.packets[0].starts_with(b"\x01vorbis") => {}
            _ => return Ok(None),
        }
        let Some(headers) = headers(content, 3, options.read_deadline)? else {
            return Ok(None);
        };
        let Some(head) = Head::parse(&headers.packets[0], &headers.packets[2])? else {
            return Ok(None);
        };
        check_channels(head.channels.into())?;
        ogg::check_tags(&headers, TAGS)?;
        Ok(Some(Self {
            content,
            options,
            headers,
            head,
        }))
    }

    fn tags(&self) -> &[u8] {
        &self.headers.packets[1][TAGS.len()..]
    }

    fn failed(break_index: usize) -> impl Fn(BridgeError) -> SpliceError {
        move |error| error.at(break_index)
    }
}

impl format::Head for Vorbis<'_> {
    fn stream(&self) -> Stream {
        Stream {
            codec: Codec::OggVorbis,
            sample_rate: self.head.rate,
            channels: self.head.channels.into(),
            samples: ogg::samples(self.content, &self.headers, self.options),
        }
    }

    fn chapters(&self, plan: &SplicePlan) -> Result<Vec<Chapter>, SpliceError> {
        Ok(vorbis_comment::chapters(plan, self.tags()))
    }

    fn comments(&self) -> Vec<&[u8]> {
        vec![self.tags()]
    }

    /// A chain holds headers everywhere, so all of it counts; those at the beginning stay as they are while it grows.
    fn audio(&self) -> Option<Range<u64>> {
        Some(0..self.content.len())
    }

    fn open(&self) -> Result<Box<dyn format::Track + '_>, SpliceError> {
        match Parted::open(self)? {
            Some(parted) => Ok(Box::new(parted)),
            None => Ok(Box::new(Track::open(self)?)),
        }
    }

    fn read_through(&self) -> Option<Result<Box<dyn format::Track + '_>, SpliceError>> {
        Some(Track::open(self).map(|track| Box::new(track) as Box<dyn format::Track>))
    }
}

/// Pages that were not looked at, between others that were.
struct Gap {
    /// The first packet after it, as those that were looked at are counted.
    packet: usize,
    bytes: Range<u64>,
    /// The first one's number.
    sequence: u32,
    pages: u32,
}

/// Pages that were looked at: all, or those that count.
struct Track<'a> {
    file: &'a Vorbis<'a>,
    pages: Pages,
    /// Decoded sample at which each packet's samples end.
    ends: Vec<u64>,
    gaps: Vec<Gap>,
    /// The granule position of decoded sample 0.
    base: i64,
    /// Decoded sample of content sample 0.
    skip: u64,
    /// Decoded sample at which the content ends.
    end: u64,
}

/// Decoded samples at which packets end, by the sizes of their blocks.
#[derive(Clone, Debug, Default)]
struct Ends {
    ends: Vec<u64>,
    blocks: Vec<u32>,
}

impl Ends {
    fn push(&mut self, block: u32) {
        let own = self.blocks.last().map_or(0, |before| (before + block) / 4);
        let before = self.ends.last().copied().unwrap_or(0);
        self.ends.push(before + u64::from(own));
        self.blocks.push(block);
    }

    fn part(&self, range: Range<usize>) -> Self {
        Self {
            ends: self.ends[range.clone()].to_vec(),
            blocks: self.blocks[range].to_vec(),
        }
    }
}

fn silent() -> SpliceError {
    SpliceError::NotAudio("the Vorbis file holds no sound".into())
}

impl<'a> Track<'a> {
    fn open(file: &'a Vorbis<'a>) -> Result<Self, SpliceError> {
        let mut ends = Ends::default();
        let pages = Pages::scan(
            file.content,
            &file.headers,
            file.options.read_deadline,
            &mut |packet, offset| {
                ends.push(file.head.block(packet).ok_or(SpliceError::Corrupt { offset })?);
                Ok(())
            },
        )?;
        let ends = ends.ends;
        let (mut base, mut last) = (None, 0);
        for (i, page) in pages.pages.iter().enumerate() {
            if page.header.granule == NO_GRANULE || page.ended() == 0 {
                continue;
            }
            let ended = ends[page.ended() as usize - 1] as i64;
            let trimmed = i + 1 == pages.pages.len() || page.header.flags & ENDS != 0;
            let base = *base.get_or_insert(if trimmed {
                0
            } else {
                page.header.granule.saturating_sub(ended)
            });
            let due = base.saturating_add(ended);
            let cut = trimmed && page.header.granule > last && page.header.granule < due;
            if page.header.granule != due && !cut {
                return Err(SpliceError::Unsupported(format!(
                    "the granule position of the page at byte {} does not agree with its packets: something is missing before it",
                    page.offset
                )));
            }
            last = page.header.granule;
        }
        let base = base.ok_or_else(silent)?;
        let skip = (-base).max(0) as u64;
        let end = last - base;
        if end <= skip as i64 {
            return Err(silent());
        }
        Ok(Self {
            file,
            pages,
            ends,
            gaps: Vec::new(),
            base,
            skip,
            end: end as u64,
        })
    }

    /// Decoded samples of a range.
    fn decoded(&self, range: Range<u64>) -> Result<Vec<f32>, SpliceError> {
        let channels = usize::from(self.file.head.channels);
        if range.is_empty() {
            return Ok(Vec::new());
        }
        // The first packet whose samples end behind the beginning, and the one before it.
        let first = self
            .ends
            .partition_point(|end| *end <= range.start)
            .saturating_sub(1);
        let last = self.ends.partition_point(|end| *end < range.end) + 1;
        let last = last.min(self.ends.len());
        if self
            .gaps
            .iter()
            .any(|gap| (first + 1..last).contains(&gap.packet))
        {
            // What was looked at does not do.
            let offset = self.file.headers.end;
            return Err(SpliceError::Corrupt { offset });
        }
        let packets = self.pages.read(
            self.file.content,
            first as u64..last as u64,
            self.file.options.read_deadline,
        )?;
        let from = self.ends[first];
        let expected = (self.ends[last - 1] - from) as usize;
        let stream = (self.file.head.rate, channels);
        let samples = bridge::decode(&self.file.headers.packets, &packets, stream, expected)
            .map_err(Vorbis::failed(0))?;
        let mut out = vec![0.0; (range.end - range.start) as usize * channels];
        let there = samples
            .get((range.start - from) as usize * channels..)
            .unwrap_or(&[]);
        let count = there.len().min(out.len());
        out[..count].copy_from_slice(&there[..count]);
        Ok(out)
    }

    /// What holds exactly the packets of a range, looked at or not.
    fn spans(&self, packets: &Range<usize>) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        let mut gaps = self.gaps.iter().peekable();
        for (page, parts) in self.pages.cover(&(packets.start as u64..packets.end as u64)) {
            while let Some(gap) = gaps.next_if(|gap| gap.bytes.end <= page.offset) {
                if gap.bytes.end == page.offset && !spans.is_empty() {
                    spans.push(Span::Gap {
                        bytes: gap.bytes.clone(),
                        serial: self.file.headers.first.serial,
                        sequence: gap.sequence,
                        pages: gap.pages,
                        packets: 0,
                        granule: self.base + self.ends[gap.packet - 1] as i64,
                    });
                }
            }
            spans.push(Span::Page(page.clone(), parts));
        }
        spans
    }

    /// Groups breaks, and says which content stands before each group: see [`Join`].
    fn joins<'s>(&self, spots: &'s [Spot<'s>]) -> Vec<Join<'s>> {
        let mut joins: Vec<Join<'s>> = Vec::new();
        for (i, spot) in spots.iter().enumerate() {
            let (start, end) = (spot.span.start + self.skip, spot.span.end + self.skip);
            // How many packets' samples are over by the cue; and the first packet whose samples begin after it.
            let entry = if spot.span.start == 0 {
                0
            } else {
                self.ends.partition_point(|end| *end <= start)
            };
            let exit = if end >= self.end {
                None
            } else {
                let exit = self.ends.partition_point(|before| *before < end) + 1;
                (exit < self.ends.len()).then_some(exit)
            };
            match joins.last_mut() {
                // At least a few packets of content, or what is between the breaks is coded again.
                Some(last) if last.exit.is_none_or(|before| before + 4 > entry) => {
                    last.spots = &spots[i - last.spots.len()..=i];
                    last.exit = exit;
                }
                _ => joins.push(Join {
                    spots: &spots[i..=i],
                    // One packet gives no samples.
                    entry: if entry < 2 { 0 } else { entry },
                    exit,
                }),
            }
        }
        joins
    }
}

/// Breaks whose stream stands between two of content: packets `..entry` of the content come before it, and `exit..` are heard after it. `None`: nothing is.
struct Join<'s> {
    spots: &'s [Spot<'s>],
    entry: usize,
    exit: Option<usize>,
}

impl format::Track for Track<'_> {
    fn stream(&self) -> Stream {
        Stream {
            codec: Codec::OggVorbis,
            sample_rate: self.file.head.rate,
            channels: self.file.head.channels.into(),
            samples: self.end - self.skip,
        }
    }

    fn frames(&self) -> Frames {
        Frames {
            count: self.pages.packets,
            steps: Steps::ANY,
            start: self.file.headers.end,
            bit_rate: None,
        }
    }

    fn place(&self, sample: u64) -> Result<Place, SpliceError> {
        let frame = self.ends.partition_point(|end| *end <= sample + self.skip) as u64;
        let frame = frame.min(self.pages.packets - 1);
        Ok(Place {
            frame,
            offset: self.pages.pages[self.pages.page_of(frame)].offset,
        })
    }

    fn decode(&self, range: Range<u64>) -> Result<Vec<f32>, SpliceError> {
        self.decoded(range.start + self.skip..range.end + self.skip)
    }

    fn splice(&self, layout: &Layout<'_>) -> Result<Spliced, SpliceError> {
        let (plan, rate) = (&layout.plan, self.file.head.rate);
        let mut runs = Runs::default();
        let mut link = Link {
            plan,
            runs: &mut runs,
            serial: self.file.headers.first.serial,
        };
        // Content packets from here on are still to come; the first of them is not heard, but at the beginning.
        let (mut next, mut shift, mut seams) = (Some(0), 0, Vec::new());
        for join in self.joins(&layout.spots) {
            let Some(from) = next else { break };
            if join.entry > 0 {
                self.content_stream(&mut link, from..join.entry, shift)?;
            }
            let (made, before, after) = self.make(&join, layout)?;
            let begins = match join.entry {
                0 => self.skip,
                entry => self.ends[entry - 1],
            };
            let begins = begins as i64 + shift;
            self.made_stream(&mut link, &made, self.base + begins)?;
            let seam = |kind, break_index, at: i64, frames: u64, error_db| Seam {
                kind,
                break_index,
                presentation: PresentationTime::from_samples((at - self.skip as i64).max(0) as u64, rate),
                frames: frames as u32,
                error_db,
            };
            let (first, last) = (&join.spots[0], &join.spots[join.spots.len() - 1]);
            if join.entry > 0 {
                let coded = first.span.start + self.skip > self.ends[join.entry - 1];
                seams.push(seam(SeamKind::Entry, first.index, begins, coded.into(), before));
            }
            shift += join.spots.iter().map(Spot::shift).sum::<i64>();
            if let Some(exit) = join.exit {
                let at = self.ends[exit - 1];
                let coded = last.span.end + self.skip < at;
                seams.push(seam(
                    SeamKind::Exit,
                    last.index,
                    at as i64 + shift,
                    coded.into(),
                    after,
                ));
            }
            next = join.exit.map(|exit| exit - 1);
        }
        if let Some(from) = next {
            self.content_stream(&mut link, from..self.ends.len(), shift)?;
        }
        Ok(Spliced {
            runs: runs.into_runs(),
            left: Vec::new(),
            seams,
            chapters: vorbis_comment::chapters(plan, self.file.tags()),
            played: None,
        })
    }

    fn audio(&self, runs: &[Run], _: &SplicePlan) -> Option<Range<u64>> {
        Some(0..format::len_of(runs))
    }
}
