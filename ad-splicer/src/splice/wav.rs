//! Splicing WAV: the content's samples stay as they are, to the bit; ads are written between them.

use std::ops::Range;

use super::format::{self, Frames, Place, Runs, Spliced, Stream};
use super::gathered::add_ads;
use super::layout::Layout;
use super::{Chapter, Codec, Options, Run, SpliceError};
use crate::content::Content;
use crate::frames::wav::{Chunk, Wav as File, move_cues};
use crate::plan::{SplicePlan, Steps};

/// A WAV file.
pub(crate) struct Wav<'a> {
    content: &'a dyn Content,
    options: &'a Options,
    file: File,
}

impl<'a> Wav<'a> {
    /// `None` when it is something else.
    pub(crate) fn new(content: &'a dyn Content, options: &'a Options) -> Result<Option<Self>, SpliceError> {
        let file = File::parse(content, options.read_deadline)?;
        if let Some(file) = &file {
            format::check_channels(file.channels)?;
        }
        Ok(file.map(|file| Self {
            content,
            options,
            file,
        }))
    }

    fn after(&self) -> Result<Vec<Chunk>, SpliceError> {
        self.file.after(self.content, self.options.read_deadline)
    }
}

impl format::Head for Wav<'_> {
    fn stream(&self) -> Stream {
        Stream {
            codec: Codec::Wav,
            sample_rate: self.file.sample_rate,
            channels: self.file.channels,
            samples: self.file.samples,
        }
    }

    /// Of ID3 tags before the samples: those after them are at the end of the file.
    fn chapters(&self, plan: &SplicePlan) -> Result<Vec<Chapter>, SpliceError> {
        let tags = self.file.before().iter().filter(|chunk| is_id3(chunk));
        Ok(tags
            .flat_map(|chunk| format::tag_chapters(plan, &chunk.data))
            .collect())
    }

    /// Not of RF64, which says the length in a place of its own.
    fn audio(&self) -> Option<Range<u64>> {
        let short = !self.file.is_wide()
            && self.file.samples.checked_mul(self.file.block())? < u64::from(u32::MAX) / 2;
        short.then(|| self.file.start..self.file.offset(self.file.samples))
    }

    fn open(&self) -> Result<Box<dyn format::Track + '_>, SpliceError> {
        Ok(Box::new(Track(self)))
    }
}

fn is_id3(chunk: &Chunk) -> bool {
    chunk.id.eq_ignore_ascii_case(b"id3 ")
}

struct Track<'a>(&'a Wav<'a>);

impl Track<'_> {
    fn bytes(&self, range: Range<u64>) -> Result<Vec<u8>, SpliceError> {
        let Wav {
            content,
            options,
            file,
        } = self.0;
        let (start, end) = (file.offset(range.start), file.offset(range.end));
        let len = end.saturating_sub(start) as usize;
        super::read(*content, start, len, options.read_deadline)
    }
}

impl format::Track for Track<'_> {
    fn stream(&self) -> Stream {
        format::Head::stream(self.0)
    }

    fn frames(&self) -> Frames {
        let file = &self.0.file;
        let bit_rate = u64::from(file.sample_rate) * file.block() * 8;
        Frames {
            count: file.samples,
            steps: Steps::ANY,
            start: file.start,
            bit_rate: u32::try_from(bit_rate).ok(),
        }
    }

    fn place(&self, sample: u64) -> Result<Place, SpliceError> {
        Ok(Place {
            frame: sample,
            offset: self.0.file.offset(sample),
        })
    }

    fn decode(&self, range: Range<u64>) -> Result<Vec<f32>, SpliceError> {
        let mut pcm = self.0.file.coding.read(&self.bytes(range.clone())?);
        pcm.resize(
            (range.end - range.start) as usize * usize::from(self.0.file.channels),
            0.0,
        );
        Ok(pcm)
    }

    fn splice(&self, layout: &Layout<'_>) -> Result<Spliced, SpliceError> {
        let file = &self.0.file;
        let channels = usize::from(file.channels);
        let plan = &layout.plan;
        let mut chapters = Vec::new();
        let (head, tail) = file.write(plan.samples(), self.0.after()?, &mut |chunk| {
            if &chunk.id == b"cue " {
                move_cues(chunk, |sample| plan.content_to_presentation_or_next(sample));
            } else if is_id3(chunk) {
                let (data, moved) = format::moved_tag(&chunk.data, plan, self.0.options);
                chunk.data = data;
                chapters.extend(moved);
            }
        });
        let mut runs = Runs::default();
        runs.made(&head);
        let mut position = 0;
        for spot in &layout.spots {
            runs.content(file.offset(position), file.offset(spot.span.start));
            let mut pcm = Vec::new();
            add_ads(&mut pcm, self, layout, spot, channels)?;
            let mut bytes = Vec::with_capacity(pcm.len() * file.coding.bytes());
            file.coding.write(&pcm, &mut bytes);
            runs.made(&bytes);
            position = spot.span.end;
        }
        runs.content(file.offset(position), file.offset(file.samples));
        runs.made(&tail);
        Ok(Spliced {
            runs: runs.into_runs(),
            left: Vec::new(),
            seams: Vec::new(),
            chapters,
            played: None,
        })
    }

    fn audio(&self, runs: &[Run], plan: &SplicePlan) -> Option<Range<u64>> {
        let head = runs.first()?.len;
        format::Head::audio(self.0).map(|_| head..head + plan.samples() * self.0.file.block())
    }
}
