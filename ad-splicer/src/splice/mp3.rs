//! Splicing MP3: which frames stay, what the bridges are, and the bytes around them.
//!
//! Content frames outside the bridges keep their bytes and their order. A bridge is \[content | ads | content\] encoded in one run on the content's own frame grid, so that its frame `m` stands
//! where content frame `origin + m` would; the first bridge frame and the first content frame after it are repacked to stand alone. Entries and exits are chosen among several by decoding the join and
//! comparing with the original; an exit is taken only if nothing of the join is left after the overlap. The fades are within the ads' time ([`super::sound::insert`]): content is content up to the cue.

mod assemble;
mod bridge;
mod decoder;

use std::ops::Range;

use self::assemble::assemble;
use self::bridge::{Bridge, Handover, Maker};
use self::decoder::Decoder;
use super::format::{self, Frames, Place, Runs, Spliced, Stream, tag_chapters};
use super::joins::{Cut, Grid, joins};
use super::layout::Layout;
use super::{Chapter, Codec, Options, Run, Seam, SeamKind, SeekPoint, Source, SpliceError};
use crate::content::Content;
use crate::frames::mp3::{DECODER_DELAY, Gapless, Head, Header, Index, find_head, hand_over};
use crate::plan::{Segment, SplicePlan};
use crate::side_by_side::side_by_side;
use crate::time::PresentationTime;

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
    pub(crate) fn new(content: &'a dyn Content, options: &'a Options) -> Result<Self, SpliceError> {
        let head = find_head(content, options.read_deadline)?;
        Ok(Self {
            content,
            options,
            head,
        })
    }

    fn track(&self, index: Index) -> Box<dyn format::Track + '_> {
        Box::new(Track {
            content: self.content,
            options: self.options,
            index,
        })
    }

    fn scan(&self) -> Result<Box<dyn format::Track + '_>, SpliceError> {
        let index = Index::scan(self.content, self.options.read_deadline)?;
        Ok(self.track(index))
    }

    /// The bytes before the first frame.
    fn tags(&self) -> Result<Vec<u8>, SpliceError> {
        tags(self.content, self.head.start, self.options)
    }
}

fn tags(content: &dyn Content, start: u64, options: &Options) -> Result<Vec<u8>, SpliceError> {
    let len = usize::try_from(start).map_err(|_| SpliceError::Unsupported("the tags are too long".into()))?;
    super::read(content, 0, len, options.read_deadline)
}

impl format::Head for Mp3<'_> {
    fn stream(&self) -> Stream {
        let (head, header) = (&self.head, self.head.header);
        let frames = head.info.as_ref().and_then(|info| info.xing.frames).map_or_else(
            // Nothing says how many frames there are: as many as there would be if all were like the first.
            || self.content.len().saturating_sub(head.start) / header.frame_len().max(1) as u64,
            u64::from,
        );
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

    fn chapters(&self, plan: &SplicePlan) -> Result<Vec<Chapter>, SpliceError> {
        Ok(tag_chapters(plan, &self.tags()?))
    }

    fn audio(&self) -> Option<Range<u64>> {
        let info = self.head.info.as_ref().map_or(0, |info| info.len as u64);
        Some(self.head.start + info..self.content.len())
    }

    fn points(&self) -> Result<Vec<SeekPoint>, SpliceError> {
        let index = Index::even(self.content, self.options.read_deadline)?;
        Ok(index.map_or_else(Vec::new, |index| {
            let mut runs = Runs::default();
            runs.content(index.offset(0), self.content.len());
            let shift = index.offset(0);
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
        match Index::even(self.content, self.options.read_deadline)? {
            Some(index) => Ok(self.track(index)),
            None => self.scan(),
        }
    }

    fn read_through(&self) -> Option<Result<Box<dyn format::Track + '_>, SpliceError>> {
        Some(self.scan())
    }
}

/// An MP3 file whose frames are known.
struct Track<'a> {
    content: &'a dyn Content,
    options: &'a Options,
    index: Index,
}

impl Track<'_> {
    fn decoder(&self) -> Decoder<'_> {
        Decoder {
            content: self.content,
            index: &self.index,
            options: self.options,
        }
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

    fn frames(&self) -> Frames {
        Frames {
            count: self.index.frames(),
            samples: self.index.header().samples(),
            start: self.index.offset(0),
            bit_rate: self.index.constant_bit_rate(),
        }
    }

    fn place(&self, sample: u64) -> Place {
        let size = u64::from(self.index.header().samples());
        let frame = ((sample + self.index.skip()) / size).min(self.index.frames() - 1);
        Place {
            frame,
            offset: self.index.offset(frame),
        }
    }

    fn decode(&self, range: Range<u64>) -> Result<Vec<f32>, SpliceError> {
        let skip = self.index.skip();
        self.decoder()
            .decode((range.start + skip) as i64..(range.end + skip) as i64)
    }

    fn splice(&self, layout: &Layout<'_>) -> Result<Spliced, SpliceError> {
        splice(self, layout)
    }

    fn audio(&self, runs: &[Run], _: &SplicePlan) -> Option<Range<u64>> {
        // Tags and the information frame are the first run.
        Some(runs.first()?.len..format::len_of(runs))
    }

    fn points(&self, runs: &[Run]) -> Vec<SeekPoint> {
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
                for place in (first..end).step_by(POINTS as usize) {
                    point(run.start + (index.offset(place) - from), frame + (place - first));
                }
                frame += end - first;
            }
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

fn failed(break_index: usize, reason: &dyn std::fmt::Display) -> SpliceError {
    SpliceError::Bridge {
        break_index,
        reason: reason.to_string(),
    }
}

/// The same error, of this break.
fn at_break(error: SpliceError, break_index: usize) -> SpliceError {
    match error {
        SpliceError::Bridge { reason, .. } => SpliceError::Bridge { break_index, reason },
        other => other,
    }
}

/// A run of frames of the result.
enum Piece {
    Content(Range<u64>),
    Made(Vec<Vec<u8>>),
}

/// See [`format::Track::splice`]. At least one break has ads.
fn splice(track: &Track<'_>, layout: &Layout<'_>) -> Result<Spliced, SpliceError> {
    let index = &track.index;
    let header = index.header();
    let (rate, channels, skip) = (header.sample_rate(), usize::from(header.channels()), index.skip());
    let (plan, spots) = (&layout.plan, &layout.spots);
    let grid = Grid {
        size: u64::from(header.samples()),
        frames: index.frames(),
        end: index.samples() + skip,
        // The fades are within the ads' time.
        fade: 0,
        overlap: OVERLAP,
        checked: CHECKED,
        reach: MOVE,
    };
    let maker = Maker {
        track,
        layout,
        decoder: track.decoder(),
        header,
        grid,
        skip,
        channels,
    };
    let cuts: Vec<Cut> = spots.iter().map(|spot| maker.cut(spot)).collect();

    // The result's padding, and with it how many frames it has, when the end is re-encoded.
    let gapless = index.gapless();
    let ends_in_bridge = joins(grid, &cuts).last().is_some_and(|join| join.exits.is_none());
    let ends_in_ad = matches!(plan.segments().last(), Some((_, Segment::Ad { .. })));
    let shift: i64 = spots.iter().map(|spot| maker.shift(spot)).sum();
    let total = if ends_in_ad {
        let delay = gapless.map_or(0, |gapless| u64::from(gapless.delay) + u64::from(DECODER_DELAY));
        (plan.samples() + delay).div_ceil(grid.size)
    } else {
        (grid.frames as i64 + shift) as u64
    };
    let new_gapless = Gapless {
        delay: gapless.unwrap_or_default().delay,
        padding: match gapless {
            // At most a frame and the decoder's delay.
            Some(gapless) if ends_in_ad => {
                (total * grid.size - plan.samples() - u64::from(gapless.delay)) as u16
            }
            Some(gapless) => gapless.padding,
            None => 0,
        },
    };

    let mut pieces = Vec::new();
    let mut seams = Vec::new();
    let (mut next_content, mut written) = (0, 0);
    let joined = joins(grid, &cuts);
    let bridges = side_by_side(&joined, |_, join| maker.bridge(join, &spots[join.cuts.clone()]));
    for (join, bridge) in joined.iter().zip(bridges) {
        let spots = &spots[join.cuts.clone()];
        let break_index = spots[0].index;
        let Bridge {
            entry,
            exit,
            mut frames,
            entry_db,
            exit_db,
        } = bridge.map_err(|error| at_break(error, break_index))?;
        if entry < next_content {
            return Err(failed(spots[0].index, &"the content around it cannot be joined"));
        }
        pieces.push(Piece::Content(next_content..entry));
        written += entry - next_content;
        let at = |frame: u64| PresentationTime::from_samples((frame * grid.size).saturating_sub(skip), rate);
        if entry > 0 {
            let frames = (cuts[join.cuts.start].start.div_ceil(grid.size) - entry) as u32;
            seams.push(Seam {
                kind: SeamKind::Entry,
                break_index: spots[0].index,
                presentation: at(written),
                frames,
                error_db: entry_db,
            });
        }
        let shift: i64 = spots.iter().map(|spot| maker.shift(spot)).sum();
        let needed = match &exit {
            Some(exit) => (exit.frame as i64 + shift - entry as i64) as u64,
            None => total.saturating_sub(written),
        };
        if (frames.len() as u64) < needed {
            return Err(failed(
                spots[0].index,
                &format!("the encoder gave {} frames of {needed}", frames.len()),
            ));
        }
        frames.truncate(needed as usize);
        written += needed;
        next_content = grid.frames;
        if let Some(exit) = exit {
            let last = &spots[spots.len() - 1];
            let count = (exit.frame - maker.cut(last).end / grid.size) as u32;
            seams.push(Seam {
                kind: SeamKind::Exit,
                break_index: last.index,
                presentation: at(written),
                frames: count,
                error_db: exit_db,
            });
            next_content = exit.frame;
            match exit.handover {
                Handover::Repacked(frame) => {
                    frames.push(frame);
                    written += 1;
                    next_content += 1;
                }
                Handover::Reservoir(bytes) => {
                    if let Some(last) = frames.last_mut() {
                        *last = hand_over(last, &bytes).map_err(|error| failed(break_index, &error))?;
                    }
                }
            }
        }
        pieces.push(Piece::Made(frames));
    }
    pieces.push(Piece::Content(next_content..grid.frames));
    debug_assert!(ends_in_bridge || written + grid.frames - next_content == total);

    assemble(track, &pieces, total, new_gapless, plan, seams)
}
