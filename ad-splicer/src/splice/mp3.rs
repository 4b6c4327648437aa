//! Splicing MP3: which frames stay, what the bridges are, and the bytes around them.
//!
//! Content frames outside the bridges keep their bytes and their order. A bridge lies in a region of frames of one size (`regions`), so that where everything is does not depend on how it is coded. It is \[content | ads | content\] encoded in one run on the content's own frame grid, so that its frame `m` stands
//! where content frame `origin + m` would; the first bridge frame and the first content frame after it are repacked to stand alone, and so is what the region has of the content around. Entries and exits are chosen among several by decoding the join and
//! comparing with the original; an exit is taken only if nothing of the join is left after the overlap. The fades are within the ads' time ([`super::sound::insert`]): content is content up to the cue.

mod assemble;
mod bridge;
mod decoder;
mod regions;

use std::ops::Range;

use bytes::Bytes;

use self::assemble::assemble;
use self::bridge::Maker;
use self::decoder::Decoder;
use super::bridged::failed;
use super::format::{self, Frames, Place, Runs, Spliced, Stream, tag_chapters};
use super::joins::Grid;
use super::later::Made;
use super::layout::Layout;
use super::{Chapter, Codec, Options, Run, SeekPoint, Source, SpliceError};
use crate::content::Content;
use crate::facts;
use crate::frame_index::FrameIndex;
use crate::frames::mp3::{Gapless, Head, Header, Index, find_head, slot_len};
use crate::plan::{SplicePlan, Steps};

/// How far a frame's data reaches into the samples of the frames after it: a granule of transform overlap and the memory of the synthesis filter.
const OVERLAP: u64 = 576 + 480;
/// Content frames after an exit that are decoded to check it.
const CHECKED: u64 = 4;
/// How far an exit may move when the frames where it should be cannot be repacked.
const MOVE: u64 = 24;

/// The beginning of an MP3 file.
pub(crate) struct Mp3<'a> {
    content: &'a dyn Content,
    options: &'a Options,
    head: Head,
}

impl<'a> Mp3<'a> {
    /// `None` when it is something else.
    pub(crate) fn new(content: &'a dyn Content, options: &'a Options) -> Result<Option<Self>, SpliceError> {
        let head = find_head(content, options.read_deadline)?;
        Ok(head.map(|head| Self {
            content,
            options,
            head,
        }))
    }

    fn track(&self, index: Index<'a>, read_through: bool) -> Box<dyn format::Track + '_> {
        Box::new(Track {
            content: self.content,
            options: self.options,
            index,
            read_through,
        })
    }

    fn scan(&self) -> Result<Index<'a>, SpliceError> {
        Index::scan(self.content, self.options.read_deadline)
    }

    /// Where the frames are, as far as that is known without reading most of the content.
    fn index_of_less(&self) -> Result<Option<Index<'a>>, SpliceError> {
        let deadline = self.options.read_deadline;
        Ok(match Index::even(self.content, deadline)? {
            Some(even) => Some(even),
            None => Index::marked(self.content, deadline)?,
        })
    }

    fn tags(&self) -> Result<Vec<u8>, SpliceError> {
        tags(self.content, &self.head, self.options)
    }
}

/// The tags that content begins with. What may stand between them and the first frame is left out of results: players look for the information frame right behind the tags, and take one that stands elsewhere for sound.
fn tags(content: &dyn Content, head: &Head, options: &Options) -> Result<Vec<u8>, SpliceError> {
    let len =
        usize::try_from(head.tags).map_err(|_| SpliceError::Unsupported("the tags are too long".into()))?;
    super::read(content, 0, len, options.read_deadline)
}

impl format::Head for Mp3<'_> {
    fn stream(&self) -> Stream {
        let (head, header) = (&self.head, self.head.header);
        let start = head.audio();
        let said = head.info.as_ref().and_then(|info| info.xing.frames);
        let index = self.content.frame_index();
        // An information frame may be of a part of the file only.
        let frames = index
            .filter(|index| index.start() == start)
            .map(FrameIndex::frames)
            .or(said.map(u64::from))
            // Nothing says how many frames there are: as many as there would be if all were like the first.
            .unwrap_or_else(|| {
                self.content.len().saturating_sub(head.start) / header.frame_len().max(1) as u64
            });
        let gapless = head.info.as_ref().and_then(|info| info.xing.gapless());
        let gapless = gapless.unwrap_or_default();
        Stream {
            codec: Codec::Mp3,
            sample_rate: header.sample_rate(),
            channels: header.channels(),
            samples: (frames * u64::from(header.samples()))
                .saturating_sub(u64::from(gapless.delay) + u64::from(gapless.padding)),
        }
    }

    fn is_guess(&self) -> Result<bool, SpliceError> {
        let said = self.head.says_its_end(self.content, self.options.read_deadline)?;
        Ok(!said && self.index_of_less()?.is_none())
    }

    fn chapters(&self, plan: &SplicePlan) -> Result<Vec<Chapter>, SpliceError> {
        Ok(tag_chapters(plan, &self.tags()?))
    }

    fn audio(&self) -> Option<Range<u64>> {
        Some(self.head.audio()..self.content.len())
    }

    fn points(&self) -> Result<Vec<SeekPoint>, SpliceError> {
        Ok(self.index_of_less()?.map_or_else(Vec::new, |index| {
            let mut runs = Runs::default();
            let shift = index.head().audio();
            runs.content(shift, self.content.len());
            let points = points(&index, &runs.into_runs()).into_iter();
            points
                .map(|point| SeekPoint {
                    offset: point.offset + shift,
                    ..point
                })
                .collect()
        }))
    }

    fn open(&self) -> Result<Box<dyn format::Track + '_>, SpliceError> {
        match self.index_of_less()? {
            Some(index) => Ok(self.track(index, false)),
            None => Ok(self.track(self.scan()?, true)),
        }
    }

    fn read_through(&self) -> Option<Result<Box<dyn format::Track + '_>, SpliceError>> {
        Some(self.scan().map(|index| self.track(index, true)))
    }

    fn frame_index(&self) -> Result<Option<FrameIndex>, SpliceError> {
        match Index::even(self.content, self.options.read_deadline)? {
            Some(_) => Ok(None),
            None => Ok(self.scan()?.to_frame_index()),
        }
    }
}

/// An MP3 file whose frames are known.
struct Track<'a> {
    content: &'a dyn Content,
    options: &'a Options,
    index: Index<'a>,
    read_through: bool,
}

impl Track<'_> {
    fn decoder(&self) -> Decoder<'_> {
        Decoder { index: &self.index }
    }
}

impl format::Track for Track<'_> {
    fn stream(&self) -> Stream {
        let header = self.index.header();
        Stream {
            codec: Codec::Mp3,
            sample_rate: header.sample_rate(),
            channels: header.channels(),
            samples: self.index.samples(),
        }
    }

    fn left_over(&self) -> Result<u64, SpliceError> {
        Ok(self.index.left_over())
    }

    fn frames(&self) -> Frames {
        Frames {
            count: self.index.frames(),
            steps: Steps {
                ends_anywhere: self.index.gapless().is_some(),
                ..Steps::of_frames(self.index.header().samples())
            },
            start: self.index.head().audio(),
            bit_rate: self.index.constant_bit_rate(),
        }
    }

    fn place(&self, sample: u64) -> Result<Place, SpliceError> {
        let size = u64::from(self.index.header().samples());
        let frame = ((sample + self.index.skip()) / size).min(self.index.frames() - 1);
        let offset = self.index.offset(frame)?;
        Ok(Place { frame, offset })
    }

    fn decode(&self, range: Range<u64>) -> Result<Vec<f32>, SpliceError> {
        let (skip, channels) = (self.index.skip(), usize::from(self.index.header().channels()));
        let decoded = self
            .decoder()
            .decode((range.start + skip) as i64..(range.end + skip) as i64);
        format::or_silence(decoded, &range, channels)
    }

    fn check(&self, layout: &Layout<'_>) -> Result<(), SpliceError> {
        let (skip, size) = (self.index.skip(), u64::from(self.index.header().samples()));
        let around = format::around(layout, skip, size, self.index.frames());
        around
            .into_iter()
            .try_for_each(|frames| self.index.read(frames).map(|_| ()))
    }

    fn is_read_through(&self) -> bool {
        self.read_through
    }

    fn splice(&self, layout: &Layout<'_>) -> Result<Spliced, SpliceError> {
        splice(self, layout)
    }

    fn makes_later(&self) -> bool {
        true
    }

    fn bridge(&self, layout: &Layout<'_>, number: usize) -> Result<Made, SpliceError> {
        let maker = maker(self, layout);
        let region = maker.numbered(number)?;
        facts::level(self, &layout.breaks_of(&region.join.cuts))?;
        maker.make(&region)
    }

    fn silence(&self, layout: &Layout<'_>, number: usize) -> Result<(Bytes, Vec<usize>), SpliceError> {
        let maker = maker(self, layout);
        maker.silent(&maker.numbered(number)?)
    }

    fn audio(&self, runs: &[Run], _: &SplicePlan) -> Option<Range<u64>> {
        // Tags and the information frame are the first run.
        Some(runs.first()?.len..format::len_of(runs))
    }

    fn points(&self, runs: &[Run], _: &Layout<'_>) -> Vec<SeekPoint> {
        points(&self.index, runs.get(1..).unwrap_or_default())
    }
}

/// Frames between two seek points.
const POINTS: u64 = 40;

/// Seek points in runs of audio.
fn points(index: &Index, runs: &[Run]) -> Vec<SeekPoint> {
    let size = u64::from(index.header().samples());
    let mut points = Vec::new();
    let mut frame = 0_u64;
    let mut point = |offset: u64, frame: u64| {
        points.push(SeekPoint {
            offset,
            sample: (frame * size) as i64 - index.skip() as i64,
        });
    };
    for run in runs {
        match &run.source {
            Source::Content(from) => {
                let (first, end) = (index.frame_at(*from), index.frame_at(from + run.len));
                for (place, offset) in index.known(first..end, POINTS) {
                    point(run.start + (offset - from), frame + (place - first));
                }
                frame += end - first;
            }
            Source::Bridge { .. } => {
                let len = slot_len(index.header()) as u64;
                let count = run.len / len;
                for place in (0..count).step_by(POINTS as usize) {
                    point(run.start + place * len, frame + place);
                }
                frame += count;
            }
            // There are none in MP3.
            Source::Pages(_) | Source::Clusters(_) | Source::Frames(_) => {}
            Source::Made(bytes) => {
                let mut at = 0;
                for count in 0.. {
                    let Ok(header) = bytes
                        .get(at..)
                        .map_or(Err(()), |rest| Header::of(rest).map_err(|_| ()))
                    else {
                        break;
                    };
                    if count % POINTS == 0 {
                        point(run.start + at as u64, frame);
                    }
                    at += header.frame_len();
                    frame += 1;
                }
            }
        }
    }
    points
}

/// A run of frames of the result.
enum Piece {
    Content(Range<u64>),
    /// The frames of a region, by its number.
    Region(u64),
}

fn maker<'a>(track: &'a Track<'a>, layout: &'a Layout<'a>) -> Maker<'a> {
    let index = &track.index;
    let header = index.header();
    Maker {
        track,
        layout,
        decoder: track.decoder(),
        header,
        grid: Grid {
            size: u64::from(header.samples()),
            frames: index.frames(),
            end: index.samples() + index.skip(),
            // The fades are within the ads' time.
            fade: 0,
            overlap: OVERLAP,
            checked: CHECKED,
            reach: MOVE,
        },
        skip: index.skip(),
        channels: usize::from(header.channels()),
    }
}

/// See [`format::Track::splice`]. At least one break has ads.
fn splice(track: &Track<'_>, layout: &Layout<'_>) -> Result<Spliced, SpliceError> {
    let maker = maker(track, layout);
    let (total, frames) = (maker.total(), track.index.frames());
    let mut pieces = Vec::new();
    let mut next_content = 0;
    for join in maker.joins() {
        let region = maker.region(join)?;
        if region.first < next_content {
            let break_index = layout.spots[region.join.cuts.start].index;
            return Err(failed(break_index, &"the content around it cannot be joined"));
        }
        pieces.push(Piece::Content(next_content..region.first));
        pieces.push(Piece::Region(region.frames));
        next_content = region.next.unwrap_or(frames);
    }
    pieces.push(Piece::Content(next_content..frames));

    // The result's padding, when the end is re-encoded.
    let gapless = track.index.gapless();
    let new_gapless = Gapless {
        delay: gapless.unwrap_or_default().delay,
        padding: match gapless {
            // At most a frame and the decoder's delay.
            Some(gapless) if maker.ends_in_ad() => {
                (total * maker.grid.size - layout.plan.samples() - u64::from(gapless.delay)) as u16
            }
            Some(gapless) => gapless.padding,
            None => 0,
        },
    };
    assemble(track, &pieces, total, new_gapless, &layout.plan)
}
