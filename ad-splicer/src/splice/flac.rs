//! Splicing FLAC: samples outside the ads stay as they are, to the bit, and the content goes on with the next sample after the ads. For that its frames are numbered by samples, whatever they were numbered by: they keep
//! what they hold and get new headers. The blocks at a join, and the ads, are encoded here, without loss. (For a rendition that grows see [`Options::growing`].) Of content that is read as a whole STREAMINFO gets the new MD5, for which everything is decoded once; long content is laid out from the pieces around the breaks, and its result has none.

pub(crate) mod moved;
pub(crate) mod seek;

use std::ops::Range;

use md5::{Digest, Md5};

use super::format::{self, Frames, Place, Runs, Spliced, Stream};
use super::gathered::add_ads;
use super::layout::{Layout, Spot};
use super::{Chapter, Codec, Options, Renumbered, Run, SpliceError};
use crate::content::Content;
use crate::frames::flac::{
    BLOCK_CUE_SHEET, BLOCK_SEEK_TABLE, BLOCK_VORBIS_COMMENT, Head, Header, Index, Numbering, SeekPoint,
    decode, encode, head, moved_cue_sheet, renumber,
};
use crate::frames::vorbis_comment;
use crate::frames::window::Window;
use crate::plan::{SplicePlan, Steps};

/// A FLAC file.
pub(crate) struct Flac<'a> {
    content: &'a dyn Content,
    options: &'a Options,
    head: Head,
}

impl<'a> Flac<'a> {
    /// `None` when it is something else.
    pub(crate) fn new(content: &'a dyn Content, options: &'a Options) -> Result<Option<Self>, SpliceError> {
        let Some(head) = head(content, options.read_deadline)? else {
            return Ok(None);
        };
        let info = &head.metadata.info;
        format::check_channels(info.channels.into())?;
        if info.bits > 24 {
            return Err(SpliceError::Unsupported(format!(
                "the FLAC file has {} bits a sample, and ads can be put into those of up to 24",
                info.bits
            )));
        }
        Ok(Some(Self {
            content,
            options,
            head,
        }))
    }

    /// What stands before the mark: ID3v2.
    fn tags(&self) -> Result<Vec<u8>, SpliceError> {
        let deadline = self.options.read_deadline;
        super::read(self.content, 0, self.head.start as usize, deadline)
    }
}

impl format::Head for Flac<'_> {
    fn stream(&self) -> Stream {
        let info = &self.head.metadata.info;
        Stream {
            codec: Codec::Flac,
            sample_rate: info.sample_rate,
            channels: info.channels.into(),
            samples: info.samples,
        }
    }

    fn chapters(&self, plan: &SplicePlan) -> Result<Vec<Chapter>, SpliceError> {
        let tagged = format::tag_chapters(plan, &self.tags()?);
        if !tagged.is_empty() {
            return Ok(tagged);
        }
        let comments = format::Head::comments(self);
        Ok(comments
            .into_iter()
            .flat_map(|data| vorbis_comment::chapters(plan, data))
            .collect())
    }

    fn comments(&self) -> Vec<&[u8]> {
        let blocks = self.head.metadata.blocks.iter();
        blocks
            .filter(|block| block.kind == BLOCK_VORBIS_COMMENT)
            .map(|block| &block.data[..])
            .collect()
    }

    fn audio(&self) -> Option<Range<u64>> {
        Some(self.head.audio..self.content.len())
    }

    fn open(&self) -> Result<Box<dyn format::Track + '_>, SpliceError> {
        let index = Index::open(self.content, &self.head, self.options.read_deadline)?;
        let declared = self.head.metadata.info.samples;
        if declared != 0 && declared > index.samples() {
            return Err(SpliceError::truncated(self.content, index.end(), None));
        }
        Ok(Box::new(Track { file: self, index }))
    }
}

struct Track<'a> {
    file: &'a Flac<'a>,
    index: Index,
}

/// Samples interleaved as floats.
fn interleave(channels: &[Vec<i32>], bits: u32, range: Range<usize>, out: &mut Vec<f32>) {
    let scale = 1.0 / (1_u32 << (bits - 1)) as f32;
    for i in range {
        out.extend(channels.iter().map(|channel| channel[i] as f32 * scale));
    }
}

impl Track<'_> {
    /// How the frames of the result are numbered. By samples their blocks may have any size, so that the content goes on right after the ads.
    fn numbering(&self) -> Numbering {
        if self.file.options.growing {
            self.index.first.numbering
        } else {
            Numbering::Sample
        }
    }

    fn bits(&self) -> u32 {
        self.index.head.metadata.info.bits
    }

    fn frame<'w>(&self, window: &'w mut Window<'_>, frame: u64) -> Result<&'w [u8], SpliceError> {
        let (start, end) = (self.offset(frame)?, self.offset(frame + 1)?);
        window.get(start, (end - start) as usize)
    }

    fn offset(&self, frame: u64) -> Result<u64, SpliceError> {
        let Flac { content, options, .. } = self.file;
        self.index.offset(*content, options.read_deadline, frame)
    }

    fn window(&self) -> Window<'_> {
        Window::new(self.file.content, self.file.options.read_deadline)
    }

    /// One vector a channel of the content samples of `range`.
    fn samples(&self, range: Range<u64>) -> Result<Vec<Vec<i32>>, SpliceError> {
        let mut out = vec![Vec::new(); usize::from(self.index.head.metadata.info.channels)];
        let mut window = self.window();
        let mut frame = self.index.frame_of(range.start);
        while frame < self.index.frames() && self.index.start(frame) < range.end {
            let offset = self.offset(frame)?;
            let block = decode(self.frame(&mut window, frame)?, self.bits())
                .map_err(|_| SpliceError::Corrupt { offset })?;
            let start = self.index.start(frame);
            let from = range.start.saturating_sub(start) as usize;
            let to = (range.end - start).min(self.index.start(frame + 1) - start) as usize;
            for (out, block) in out.iter_mut().zip(block) {
                out.extend(&block[from..to]);
            }
            frame += 1;
        }
        Ok(out)
    }

    /// The blocks of a join: from the block that holds the cut to the next whole one. Blocks have one size, or in a stream numbered by samples about that size.
    fn blocks(&self, samples: &[Vec<i32>]) -> Vec<Vec<Vec<i32>>> {
        let most = match self.index.first.numbering {
            Numbering::Frame => self.index.first.block_size.max(16) as usize,
            Numbering::Sample => usize::from(self.index.head.metadata.info.max_block.max(16)),
        };
        let total = samples.first().map_or(0, Vec::len);
        let count = total.div_ceil(most).max(1);
        let size = match self.numbering() {
            Numbering::Frame => most,
            // Of even size, so that none is shorter than a block may be.
            Numbering::Sample => total.div_ceil(count),
        };
        (0..total)
            .step_by(size.max(1))
            .map(|at| {
                samples
                    .iter()
                    .map(|channel| channel[at..total.min(at + size)].to_vec())
                    .collect()
            })
            .collect()
    }
}

impl format::Track for Track<'_> {
    fn stream(&self) -> Stream {
        Stream {
            samples: self.index.samples(),
            ..format::Head::stream(self.file)
        }
    }

    fn frames(&self) -> Frames {
        Frames {
            count: self.index.frames(),
            steps: match self.numbering() {
                // Blocks may be a third of a second long: no ad loses that much.
                Numbering::Frame => Steps {
                    cuts_ads: false,
                    ..Steps::of_frames(self.index.first.block_size)
                },
                Numbering::Sample => Steps::ANY,
            },
            start: self.index.head.audio,
            bit_rate: None,
        }
    }

    fn place(&self, sample: u64) -> Result<Place, SpliceError> {
        let frame = self.index.frame_of(sample).min(self.index.frames() - 1);
        Ok(Place {
            frame,
            offset: self.offset(frame)?,
        })
    }

    fn decode(&self, range: Range<u64>) -> Result<Vec<f32>, SpliceError> {
        let channels = self.samples(range.clone())?;
        let mut out = Vec::new();
        let count = channels.first().map_or(0, Vec::len);
        interleave(&channels, self.bits(), 0..count, &mut out);
        out.resize((range.end - range.start) as usize * channels.len(), 0.0);
        Ok(out)
    }

    fn splice(&self, layout: &Layout<'_>) -> Result<Spliced, SpliceError> {
        let (index, bits) = (&self.index, self.bits());
        let channels = usize::from(index.head.metadata.info.channels);
        let mut made = Maker {
            track: self,
            runs: Runs::default(),
            md5: (!index.is_parted()).then(Md5::new),
            frames: 0,
            samples: 0,
            sizes: (u32::MAX, 0),
            starts: Vec::new(),
            runs_of_frames: Vec::new(),
        };
        // Everything from here on in samples; `next` is the content frame that comes next.
        let mut next = 0;
        let mut spots = layout.spots.iter().peekable();
        while let Some(spot) = spots.next() {
            let entry = index.entry(spot.span.start);
            made.content(next..entry)?;
            let mut join = self.samples(index.start(entry)..spot.span.start)?;
            let mut spot = spot;
            let exit = loop {
                let mut pcm = Vec::new();
                add_ads(&mut pcm, self, layout, spot, channels)?;
                let limit = f64::from(1_u32 << (bits - 1));
                for (i, sample) in pcm.iter().enumerate() {
                    let value = (f64::from(*sample) * limit).round().clamp(-limit, limit - 1.0);
                    join[i % channels].push(value as i32);
                }
                // The first content frame that is whole again.
                let frame = index.frame_of(spot.span.end);
                let exit = if index.start(frame) == spot.span.end {
                    frame
                } else {
                    frame + 1
                };
                // Breaks at one place are one to what is around them.
                let is_joined = |following: &Spot<'_>| {
                    following.span.start < index.start(exit) || following.span.start == spot.span.end
                };
                let end = match spots.peek() {
                    Some(following) if is_joined(following) => following.span.start,
                    _ => index.start(exit),
                };
                for (join, content) in join.iter_mut().zip(self.samples(spot.span.end..end)?) {
                    join.extend(content);
                }
                match spots.next_if(|following| is_joined(following)) {
                    Some(following) => spot = following,
                    None => break exit,
                }
            };
            for block in self.blocks(&join) {
                made.block(&block, bits);
            }
            next = exit;
        }
        made.content(next..index.frames())?;
        debug_assert_eq!(made.samples, layout.plan.samples());
        made.finish(layout)
    }

    fn audio(&self, runs: &[Run], _: &SplicePlan) -> Option<Range<u64>> {
        // The metadata, and the tags before it.
        let heads = if self.file.head.start > 0 { 2 } else { 1 };
        Some(runs.get(heads)?.start..format::len_of(runs))
    }
}

/// Puts frames together.
struct Maker<'a> {
    track: &'a Track<'a>,
    runs: Runs,
    /// Of all samples so far, if all of them are looked at.
    md5: Option<Md5>,
    frames: u64,
    samples: u64,
    /// Shortest and longest frame, in bytes.
    sizes: (u32, u32),
    /// First sample, offset and size of the frames that seek points may name.
    starts: Vec<(u64, u64, u32)>,
    /// The same of frames that were not looked at.
    runs_of_frames: Vec<(u64, u64, Renumbered)>,
}

impl Maker<'_> {
    fn number(&self) -> u64 {
        match self.track.numbering() {
            Numbering::Frame => self.frames,
            Numbering::Sample => self.samples,
        }
    }

    /// Counts a frame that stands at `offset` from the first one.
    fn count(&mut self, offset: u64, channels: &[Vec<i32>], bytes: usize) {
        let size = channels.first().map_or(0, Vec::len);
        self.starts.push((self.samples, offset, size as u32));
        self.frames += 1;
        self.samples += size as u64;
        self.sizes = (self.sizes.0.min(bytes as u32), self.sizes.1.max(bytes as u32));
        let Some(md5) = &mut self.md5 else { return };
        let width = self.track.bits().div_ceil(8) as usize;
        let mut packed = Vec::with_capacity(size * channels.len() * width);
        for i in 0..size {
            for channel in channels {
                packed.extend(&channel[i].to_le_bytes()[..width]);
            }
        }
        md5.update(&packed);
    }

    /// Content frames, renumbered where that is needed.
    fn content(&mut self, range: Range<u64>) -> Result<(), SpliceError> {
        let track = self.track;
        let mut window = track.window();
        let mut range = range;
        if track.index.is_parted() {
            // The last block may be a short one.
            let even = range.start..range.end.min(track.index.frames() - 1);
            if !even.is_empty() {
                range.start = even.end;
                self.unseen(even)?;
            }
        }
        for frame in range {
            let (start, end) = (track.offset(frame)?, track.offset(frame + 1)?);
            let number = self.number();
            let bytes = track.frame(&mut window, frame)?;
            let corrupt = |_| SpliceError::Corrupt { offset: start };
            let samples = decode(bytes, track.bits()).map_err(corrupt)?;
            let header = Header::parse(bytes).map_err(corrupt)?;
            let offset = self.runs.len();
            let numbering = track.numbering();
            let len = if (header.number, header.numbering) == (number, numbering) {
                self.runs.content(start, end);
                bytes.len()
            } else {
                let (head, tail) = renumber(bytes, &Header { numbering, ..header }, number);
                self.runs.made(&head);
                self.runs
                    .content(start + header.len as u64, end - tail.len() as u64);
                self.runs.made(&tail);
                bytes.len() - header.len + head.len()
            };
            self.count(offset, &samples, len);
        }
        Ok(())
    }

    /// Content frames of blocks of one size, which are renumbered when they are read.
    fn unseen(&mut self, range: Range<u64>) -> Result<(), SpliceError> {
        let (track, numbering) = (self.track, self.track.numbering());
        let like = track.index.first;
        let (from, to) = (track.offset(range.start)?, track.offset(range.end)?);
        let frames = Renumbered {
            from,
            bytes: to - from,
            frames: range.end - range.start,
            first: range.start,
            number: self.number(),
            step: match numbering {
                Numbering::Frame => 1,
                Numbering::Sample => like.block_size.into(),
            },
            numbering,
            like,
        };
        self.runs_of_frames.push((self.samples, self.runs.len(), frames));
        self.runs.frames(frames);
        self.frames += frames.frames;
        self.samples += frames.frames * u64::from(like.block_size);
        Ok(())
    }

    /// A block that is encoded here.
    fn block(&mut self, channels: &[Vec<i32>], bits: u32) {
        let header = Header {
            number: self.number(),
            block_size: channels.first().map_or(0, Vec::len) as u32,
            numbering: self.track.numbering(),
            ..self.track.index.first
        };
        let bytes = encode(&header, channels, bits);
        let offset = self.runs.len();
        self.runs.made(&bytes);
        self.count(offset, channels, bytes.len());
    }

    /// The metadata before, and the tags after.
    fn finish(self, layout: &Layout<'_>) -> Result<Spliced, SpliceError> {
        let Track { file, index } = self.track;
        let plan = &layout.plan;
        let mut metadata = index.head.metadata.clone();
        metadata.info.samples = self.samples;
        // Zeros where they are not known.
        let md5 = self.md5.clone().map(|md5| md5.finalize().into());
        let sizes = if md5.is_some() { self.sizes } else { (0, 0) };
        metadata.info.md5 = md5.unwrap_or_default();
        (metadata.info.min_frame, metadata.info.max_frame) = sizes;
        let but_the_last = self.starts.split_last().map_or(&[][..], |(_, others)| others);
        let shortest = but_the_last.iter().map(|start| start.2).min();
        if self.track.numbering() == Numbering::Sample
            && let Some(shortest) = shortest
        {
            metadata.info.min_block = metadata.info.min_block.min(shortest as u16);
        }
        let mut chapters = Vec::new();
        for block in &mut metadata.blocks {
            match block.kind {
                BLOCK_SEEK_TABLE => {
                    let points = SeekPoint::parse(&block.data)
                        .into_iter()
                        .map(|point| self.seek_point(plan, point));
                    let mut points: Vec<_> = points.collect();
                    points.sort_by_key(|point| point.sample);
                    // Each place once; placeholders may be many.
                    let mut last = None;
                    for point in &mut points {
                        if last == Some(point.sample) {
                            point.sample = SeekPoint::PLACEHOLDER;
                        } else {
                            last = Some(point.sample);
                        }
                    }
                    points.sort_by_key(|point| point.sample);
                    block.data = SeekPoint::write(&points);
                }
                BLOCK_CUE_SHEET => {
                    let moved = |sample| plan.content_to_presentation_or_next(sample);
                    if let Some(sheet) = moved_cue_sheet(&block.data, self.samples, moved) {
                        block.data = sheet;
                    }
                }
                BLOCK_VORBIS_COMMENT => {
                    chapters.extend(vorbis_comment::chapters(plan, &block.data));
                    block.data = vorbis_comment::edit(plan, &block.data);
                }
                _ => {}
            }
        }
        // Of both lists only this one can have breaks in it.
        let (before, tagged) = format::moved_tag(&file.tags()?, plan, file.options);
        if !tagged.is_empty() {
            chapters = tagged;
        }
        let mut runs = Runs::default();
        runs.made(&before);
        runs.made(&metadata.write());
        runs.append(self.runs);
        runs.content(index.end(), file.content.len());
        Ok(Spliced {
            runs: runs.into_runs(),
            left: Vec::new(),
            seams: Vec::new(),
            chapters,
            played: None,
        })
    }

    /// The frame that holds sample `wanted`, if it was not looked at: where the content's own seek point says.
    fn unseen_point(&self, point: SeekPoint, wanted: u64) -> Option<SeekPoint> {
        let index = &self.track.index;
        let size = u64::from(index.first.block_size);
        let (sample, offset, frames) = self
            .runs_of_frames
            .iter()
            .find(|(sample, _, run)| (*sample..sample + run.frames * size).contains(&wanted))?;
        let frame = frames.first + (wanted - sample) / size;
        let at = index.head.audio.saturating_add(point.offset);
        let is_its = point.sample == frame * size && (frames.from..frames.from + frames.bytes).contains(&at);
        // Otherwise the first of them is near enough.
        let (frame, at) = if is_its {
            (frame, at)
        } else {
            (frames.first, frames.from)
        };
        Some(SeekPoint {
            sample: sample + (frame - frames.first) * size,
            offset: offset + frames.moved(frame, at),
            samples: size as u16,
        })
    }

    fn seek_point(&self, plan: &SplicePlan, point: SeekPoint) -> SeekPoint {
        if point.sample == SeekPoint::PLACEHOLDER {
            return point;
        }
        let wanted = plan.content_to_presentation_or_next(point.sample);
        if let Some(point) = self.unseen_point(point, wanted) {
            return point;
        }
        let at = self
            .starts
            .partition_point(|start| start.0 <= wanted)
            .saturating_sub(1);
        let (sample, offset, samples) = self.starts[at];
        SeekPoint {
            sample,
            offset,
            samples: samples as u16,
        }
    }
}
