//! The track of pictures of a WebM file: VP9. Its packets are shown in the order in which they stand.

use super::{Video, rate_of, unsupported};
use crate::frames::mp4::Samples;
use crate::frames::vp9::{Frame, Key};
use crate::frames::webm::{Block, Display, Index};
use crate::picture::{PictureCoding, PictureFormat, Turn};
use crate::splice::SpliceError;

/// What is seen of the packets of the track as they are found.
#[derive(Clone, Debug, Default)]
pub(in crate::splice) struct Found {
    /// The first one's description.
    first: Option<Key>,
    /// Which of them are key frames.
    keys: Vec<u32>,
    count: u32,
}

fn refused(reason: impl std::fmt::Display) -> SpliceError {
    unsupported(format!("no ads can be put into this video: {reason}"))
}

/// How long each picture lasts but the last, in units of the file; or where one does not come after the one before it.
fn steps(index: &Index, track: usize) -> Result<Vec<u32>, SpliceError> {
    let blocks = || index.blocks.iter().filter(|block| block.track() == track);
    let pairs = blocks().zip(blocks().skip(1));
    let step = |(before, after): (&Block, &Block)| {
        let step = u32::try_from(after.time - before.time).ok();
        step.filter(|step| *step > 0 && !after.shares()).ok_or_else(|| {
            refused(format!(
                "the picture at byte {} is not shown after the one before it",
                after.offset
            ))
        })
    };
    pairs.map(step).collect()
}

impl Found {
    /// Looks at the beginning of a packet.
    pub(in crate::splice) fn look(&mut self, packet: &[u8], offset: u64) -> Result<(), SpliceError> {
        let frame = Frame::parse(packet).ok_or(SpliceError::Corrupt { offset })?;
        match (frame, self.first) {
            (Frame::Key(key), first) => {
                let first = first.unwrap_or(key);
                if (key.width, key.height, key.profile) != (first.width, first.height, first.profile) {
                    return Err(refused(format!(
                        "it changes its size or profile at byte {offset}"
                    )));
                }
                self.first = Some(first);
                self.keys.push(self.count);
            }
            (Frame::Other, None) => return Err(refused("it does not begin with a key frame")),
            (Frame::Other, Some(_)) => {}
        }
        self.count += 1;
        Ok(())
    }

    /// What was found of them does not count any more, but for what they are like.
    pub(in crate::splice) fn begun(&self) -> Self {
        Self {
            first: self.first,
            ..Self::default()
        }
    }

    /// Adds what was found of packets behind these.
    pub(in crate::splice) fn append(&mut self, other: &Self) {
        self.first = self.first.or(other.first);
        let keys = other.keys.iter().map(|key| key + self.count);
        self.keys.extend(keys);
        self.count += other.count;
    }

    /// What ads' pictures must be like, by what was found of them so far.
    pub(in crate::splice) fn format(
        &self,
        display: &Display,
        (index, track): (&Index, usize),
        scale: u32,
    ) -> Result<PictureFormat, SpliceError> {
        let key = self.first.ok_or_else(|| refused("it has no pictures"))?;
        let (colour, full_range) = display.colours(&key).map_err(refused)?;
        let (width, height) = (key.width, key.height);
        if width % 2 == 1
            || height % 2 == 1
            || !(16..=8192).contains(&width)
            || !(16..=8192).contains(&height)
        {
            return Err(refused(format!("its size is {width}x{height}")));
        }
        let rate = if let Some(Ok(step)) = display.step.map(u32::try_from) {
            rate_of(&[(1, step)], 1_000_000_000)
        } else {
            let steps: Vec<_> = steps(index, track)?.into_iter().map(|step| (1, step)).collect();
            rate_of(&steps, scale)
        };
        Ok(PictureFormat {
            width,
            height,
            pixel: display.pixel,
            rate,
            coding: PictureCoding::Vp9,
            colour,
            full_range,
            turn: Turn::None,
        })
    }

    /// The track: its media time begins with its first picture, content `begins` so much later, in units of the file of which there are `scale` in a second.
    pub(in crate::splice) fn video(
        self,
        (index, track): (&Index, usize),
        scale: u32,
        begins: i64,
        format: PictureFormat,
    ) -> Result<Video, SpliceError> {
        let last = (u64::from(scale) * u64::from(format.rate.1) / u64::from(format.rate.0.max(1))).max(1);
        let mut durations: Vec<(u32, u32)> = Vec::new();
        for step in steps(index, track)?.into_iter().chain([last as u32]) {
            match durations.last_mut() {
                Some((count, same)) if *same == step => *count += 1,
                _ => durations.push((1, step)),
            }
        }
        let blocks = || index.blocks.iter().filter(|block| block.track() == track);
        let mut samples = Samples::default();
        samples.offsets = blocks().map(|block| block.offset).collect();
        samples.sizes = blocks().map(|block| block.size).collect();
        samples.durations = durations;
        samples.sync = Some(self.keys);
        Ok(Video::new(samples, scale, begins, format))
    }
}
