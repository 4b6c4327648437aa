//! Splicing Opus in Ogg. All positions are samples at 48 kHz. Packets of a stream are of one length, which is the grid; the stream's own pre-skip and output gain stay as they are. Content time 0 is the
//! first sample after the pre-skip.

use std::io;
use std::ops::Range;

use super::bridged::{Piece, bridged, decoded};
use super::format::{self, Frames, Place, Runs, Spliced, Stream};
use super::layout::Layout;
use super::ogg::{NEAR, find_page_at};
use super::opus_sound::{Length, Packets, Sound, silent};
use super::{Chapter, Codec, Options, Run, SeekPoint, SpliceError, ogg};
use crate::content::Content;
use crate::frames::ogg::{ENDS, Headers, NO_GRANULE, Pages, Parted, Unpacker, headers};
use crate::frames::opus::{Head, RATE, samples};
use crate::frames::vorbis_comment;
use crate::plan::{SplicePlan, Steps};

const TAGS: &[u8] = b"OpusTags";

/// An Opus file in Ogg.
pub(crate) struct Opus<'a> {
    content: &'a dyn Content,
    options: &'a Options,
    headers: Headers,
    head: Head,
}

impl<'a> Opus<'a> {
    /// `None` when it is something else.
    pub(crate) fn new(content: &'a dyn Content, options: &'a Options) -> Result<Option<Self>, SpliceError> {
        let Some(first) = headers(content, 1, options.read_deadline)? else {
            return Ok(None);
        };
        let Some(head) = Head::parse(&first.packets[0])? else {
            return Ok(None);
        };
        let Some(headers) = headers(content, 2, options.read_deadline)? else {
            return Ok(None);
        };
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

    /// Adds the pages of the headers, and says how many they are.
    fn write_headers(&self, plan: &SplicePlan, runs: &mut Runs) -> u32 {
        let tags = [TAGS, &vorbis_comment::edit(plan, self.tags())].concat();
        ogg::headers(&self.headers, &[tags], runs)
    }
}

impl format::Head for Opus<'_> {
    fn stream(&self) -> Stream {
        let granule = ogg::samples(self.content, &self.headers, self.options);
        Stream {
            codec: Codec::OggOpus,
            sample_rate: RATE,
            channels: self.head.channels.into(),
            samples: granule.saturating_sub(self.head.pre_skip.into()),
        }
    }

    fn chapters(&self, plan: &SplicePlan) -> Result<Vec<Chapter>, SpliceError> {
        Ok(vorbis_comment::chapters(plan, self.tags()))
    }

    fn comments(&self) -> Vec<&[u8]> {
        vec![self.tags()]
    }

    fn audio(&self) -> Option<Range<u64>> {
        Some(self.headers.end..self.content.len())
    }

    fn open(&self) -> Result<Box<dyn format::Track + '_>, SpliceError> {
        match Track::from_parts(self)? {
            Some(track) => Ok(Box::new(track)),
            None => Ok(Box::new(Track::open(self)?)),
        }
    }

    fn read_through(&self) -> Option<Result<Box<dyn format::Track + '_>, SpliceError>> {
        Some(Track::open(self).map(|track| Box::new(track) as Box<dyn format::Track>))
    }
}

/// The last page that begins with a whole packet which is decoded to something not after sample `wanted` of the presentation, found by halving: a few pages are read, each through `read` (bytes at an offset).
/// `audio` is where the pages of sound are.
pub(crate) fn page_before(
    read: &dyn Fn(u64, &mut [u8]) -> io::Result<usize>,
    audio: Range<u64>,
    wanted: i64,
) -> Option<SeekPoint> {
    let page_at = |offset: u64| find_page_at(read, audio.end, offset).map(|(found, _)| found);
    let mut head = vec![0; audio.start.min(128) as usize];
    read_whole(read, 0, &mut head).ok()?;
    let identification = Unpacker::default().feed(&head);
    let head = Head::parse(identification.first()?).ok()??;
    let first = page_at(audio.start).filter(|found| found.at == 0)?;
    let mut bytes = vec![0; first.end];
    read_whole(read, audio.start, &mut bytes).ok()?;
    let held: u32 = Unpacker::default()
        .feed(&bytes)
        .iter()
        .filter_map(|packet| samples(packet))
        .sum();
    // The granule position before the first packet, and content time 0.
    let base = first.header.granule.checked_sub(i64::from(held))?;
    let zero = base.checked_add(i64::from(head.pre_skip))?;
    let mut best = (audio.start, base);
    let (mut low, mut high) = (audio.start, audio.end);
    while low < high {
        let middle = if high - low > NEAR {
            low + (high - low) / 2
        } else {
            low
        };
        let Some(found) = page_at(middle).filter(|found| middle + (found.at as u64) < high) else {
            if middle == low {
                break;
            }
            high = middle;
            continue;
        };
        let end = middle + found.end as u64;
        let ends_whole = found.header.lacing.last().is_none_or(|value| *value < 255);
        if found.header.granule == NO_GRANULE || found.header.granule.saturating_sub(zero) <= wanted {
            low = end;
            if found.header.granule != NO_GRANULE && ends_whole {
                best = (end, found.header.granule);
            }
        } else if middle == low {
            break;
        } else {
            high = middle;
        }
    }
    Some(SeekPoint {
        offset: best.0,
        sample: best.1 - zero,
    })
}

fn read_whole(
    read: &dyn Fn(u64, &mut [u8]) -> io::Result<usize>,
    offset: u64,
    bytes: &mut [u8],
) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        match read(offset + filled as u64, &mut bytes[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => filled += count,
        }
    }
    Ok(())
}

/// Pages that were all read, or are looked for where they are needed.
enum Known<'a> {
    All(Pages),
    Parted(Parted<'a>),
}

/// The packets in the pages.
struct InPages<'a> {
    file: &'a Opus<'a>,
    pages: Known<'a>,
}

impl Packets for InPages<'_> {
    fn count(&self) -> u64 {
        match &self.pages {
            Known::All(pages) => pages.packets,
            Known::Parted(parted) => parted.packets,
        }
    }

    fn read(&self, packets: Range<u64>) -> Result<Vec<Vec<u8>>, SpliceError> {
        let (content, deadline) = (self.file.content, self.file.options.read_deadline);
        match &self.pages {
            Known::All(pages) => pages.read(content, packets, deadline),
            Known::Parted(_) if packets.is_empty() => Ok(Vec::new()),
            Known::Parted(parted) => {
                let pages = Pages {
                    pages: parted.pages(&packets)?,
                    packets: parted.packets,
                };
                let offset = pages.pages.first().map_or(0, |page| page.offset);
                let read = pages.read(content, packets, deadline)?;
                let fits = |packet: &Vec<u8>| samples(packet) == Some(parted.size());
                if read.iter().all(fits) {
                    Ok(read)
                } else {
                    Err(SpliceError::Corrupt { offset })
                }
            }
        }
    }
}

struct Track<'a> {
    file: &'a Opus<'a>,
    sound: Sound<InPages<'a>>,
    /// The granule position of decoded sample 0.
    base: i64,
}

impl<'a> Track<'a> {
    fn open(file: &'a Opus<'a>) -> Result<Self, SpliceError> {
        let mut length = Length::default();
        let pages = Pages::scan(
            file.content,
            &file.headers,
            file.options.read_deadline,
            &mut |packet, offset| length.look(packet, offset),
        )?;
        let size = length.samples()?;
        let (mut base, mut last) = (None, 0);
        for (i, page) in pages.pages.iter().enumerate() {
            let (ended, is_last) = (page.ended() as i64 * i64::from(size), i + 1 == pages.pages.len());
            if page.header.granule == -1 {
                continue;
            }
            // The last page may say that its last packets are not all content.
            let trimmed = is_last || page.header.flags & ENDS != 0;
            let base = *base.get_or_insert(if trimmed {
                0
            } else {
                page.header.granule.saturating_sub(ended)
            });
            let agrees = page.header.granule == base.saturating_add(ended)
                || (trimmed
                    && page.header.granule > last
                    && page.header.granule < base.saturating_add(ended));
            if !agrees || !(0..=i64::MAX / 2).contains(&base) {
                return Err(SpliceError::Unsupported(format!(
                    "the granule position of the page at byte {} does not agree with its packets: something is missing before it",
                    page.offset
                )));
            }
            last = page.header.granule;
        }
        let base = base.unwrap_or(0);
        let end = last - base;
        if end <= i64::from(file.head.pre_skip) {
            return Err(silent());
        }
        let sound = Sound {
            head: file.head,
            size,
            skip: file.head.pre_skip.into(),
            end: end as u64,
            packets: InPages {
                file,
                pages: Known::All(pages),
            },
        };
        Ok(Self { file, sound, base })
    }

    /// From the beginning and the end of a long file; `None` when those do not tell what is between.
    fn from_parts(file: &'a Opus<'a>) -> Result<Option<Self>, SpliceError> {
        let deadline = file.options.read_deadline;
        let Some(parted) = Parted::open(file.content, &file.headers, deadline, samples)? else {
            return Ok(None);
        };
        let (base, skip) = (parted.base, u64::from(file.head.pre_skip));
        let end = u64::try_from(parted.last - base).unwrap_or(0);
        let mut length = Length::default();
        length.is(parted.size());
        let (Ok(size), true) = (length.samples(), end > skip) else {
            return Ok(None);
        };
        let sound = Sound {
            head: file.head,
            size,
            skip,
            end,
            packets: InPages {
                file,
                pages: Known::Parted(parted),
            },
        };
        Ok(Some(Self { file, sound, base }))
    }
}

impl format::Track for Track<'_> {
    fn stream(&self) -> Stream {
        Stream {
            codec: Codec::OggOpus,
            sample_rate: RATE,
            channels: self.file.head.channels.into(),
            samples: self.sound.end - self.sound.skip,
        }
    }

    fn frames(&self) -> Frames {
        Frames {
            count: self.sound.packets.count(),
            steps: Steps::of_frames(self.sound.size),
            start: self.file.headers.end,
            bit_rate: None,
        }
    }

    fn place(&self, sample: u64) -> Result<Place, SpliceError> {
        let packet = (sample + self.sound.skip) / u64::from(self.sound.size);
        let frame = packet.min(self.sound.packets.count() - 1);
        // The page in which it begins: there is no way to come to a packet but through its page.
        let offset = match &self.sound.packets.pages {
            Known::All(pages) => pages.pages[pages.page_of(frame)].offset,
            Known::Parted(parted) => parted
                .pages(&(frame..frame + 1))?
                .first()
                .map_or(0, |page| page.offset),
        };
        Ok(Place { frame, offset })
    }

    fn decode(&self, range: Range<u64>) -> Result<Vec<f32>, SpliceError> {
        let skip = self.sound.skip as i64;
        decoded(&self.sound, range.start as i64 + skip..range.end as i64 + skip)
    }

    fn splice(&self, layout: &Layout<'_>) -> Result<Spliced, SpliceError> {
        let bridged = bridged(&self.sound, self, layout)?;
        let mut runs = Runs::default();
        let pages = self.file.write_headers(&layout.plan, &mut runs);
        let granule = |ended: u64| self.base + (ended * u64::from(self.sound.size)) as i64;
        let mut stream = ogg::Stream::new(self.file.headers.first.serial, &granule);
        for piece in &bridged.pieces {
            match piece {
                Piece::Content(range) => match &self.sound.packets.pages {
                    Known::All(pages) => stream.content(pages, range),
                    Known::Parted(parted) => stream.spans(parted.cover(range)?),
                },
                // A second at most (RFC 7845 §6).
                Piece::Made(packets) => stream.made(packets, (RATE / self.sound.size) as usize),
            }
        }
        let end = self.base + (layout.plan.samples() + self.sound.skip) as i64;
        let first = self.file.headers.first.sequence.wrapping_add(pages);
        stream.finish(
            self.file.content,
            self.file.options.read_deadline,
            first,
            end,
            &mut runs,
        )?;
        Ok(Spliced {
            runs: runs.into_runs(),
            left: Vec::new(),
            seams: bridged.seams,
            chapters: vorbis_comment::chapters(&layout.plan, self.file.tags()),
            played: None,
        })
    }

    fn audio(&self, runs: &[Run], plan: &SplicePlan) -> Option<Range<u64>> {
        let mut head = Runs::default();
        self.file.write_headers(plan, &mut head);
        Some(head.len()..format::len_of(runs))
    }
}
