//! What is seen beside the sound of one file: the same for every container. Where a cue cuts it, what is coded again, and what stands where.

use std::ops::Range;
use std::time::Duration;

use super::cuts::LOOKED_INTO;
use super::{Cut, Heard, Shots, Video, rescaled, unsupported};
use crate::bridge::pictures;
use crate::content::Content;
use crate::frames::h264;
use crate::picture::{Picture, PictureCoding};
use crate::splice::layout::Layout;
use crate::splice::{self, SpliceError};

/// Longest silence, in seconds, that is put in for pictures that outlast the sound.
const MOST_SILENCE: u64 = 60;

/// The pictures of content, and the sound that they go with.
#[derive(Clone, Copy)]
pub(in crate::splice) struct Seen<'a> {
    pub(in crate::splice) content: &'a dyn Content,
    /// How long a read may take.
    pub(in crate::splice) deadline: Duration,
    pub(in crate::splice) video: &'a Video,
    pub(in crate::splice) heard: Heard<'a>,
}

impl<'a> Seen<'a> {
    fn cut_at(&self, sample: u64) -> Result<Cut, String> {
        let cut = self.video.cut(self.content, self.deadline, sample, &self.heard)?;
        self.check_size(&cut)?;
        Ok(cut)
    }

    /// What is coded again for a cut has to be of the size that the content has at its beginning: that is what decodes and codes it.
    fn check_size(&self, cut: &Cut) -> Result<(), String> {
        let (video, key) = (self.video, cut.group.start);
        // VP9 that changes its size was refused as a whole.
        if cut.group.is_empty() || video.format.coding == PictureCoding::Vp9 {
            return Ok(());
        }
        let len = u64::from(video.samples.sizes[key]).min(LOOKED_INTO) as usize;
        let head = splice::read(self.content, video.samples.offsets.at(key), len, self.deadline)
            .map_err(|error| error.to_string())?;
        let format = &video.format;
        match h264::size_within(&head) {
            Some((width, height)) if (width, height) != (format.width, format.height) => Err(format!(
                "its pictures are {width}x{height} there, from the key frame at {:.3} s on, and {}x{} at the beginning: where their size has changed, ads go in only at key frames",
                video.seconds(video.shown(key)),
                format.width,
                format.height
            )),
            _ => Ok(()),
        }
    }

    /// The sample at which pictures are cut for a cue at a sample of the sound.
    pub(in crate::splice) fn cut(&self, sample: u64) -> Result<u64, String> {
        self.cut_at(sample).map(|cut| cut.sample)
    }

    /// Whether ads can be put in at a sample, with nothing of the content left out: at the end they wait for the last picture.
    pub(in crate::splice) fn check_insert(&self, sample: u64) -> Result<(), String> {
        let rate = u64::from(self.heard.rate);
        if sample < self.heard.samples || self.outlasts_sound() <= MOST_SILENCE * rate {
            return Ok(());
        }
        Err(format!(
            "its pictures last {} s longer than its sound: ads at its end would come after as much silence",
            self.outlasts_sound() / rate
        ))
    }

    /// By how many samples the pictures last longer than the sound.
    pub(in crate::splice) fn outlasts_sound(&self) -> u64 {
        let video = self.video;
        let over = video.hidden_end.unwrap_or(video.over) - video.zero;
        let seen = rescaled(over, self.heard.rate, video.scale);
        (seen - self.heard.clock.heard(self.heard.samples)).max(0) as u64
    }

    /// See [`splice::format::Track::key_near`].
    pub(in crate::splice) fn key_near(&self, sample: u64, within: u64) -> Result<Option<u64>, SpliceError> {
        self.video
            .key_near(self.content, self.deadline, (sample, within), self.heard.rate)
    }

    /// See [`splice::format::Track::recodes_long`].
    pub(in crate::splice) fn recodes_long(&self, sample: u64) -> Option<Duration> {
        self.video.recodes_long(&self.cut_at(sample).ok()?)
    }

    /// See [`splice::format::Track::lacks_keys`].
    pub(in crate::splice) fn lacks_keys(&self, sample: u64, most: u64) -> bool {
        self.video
            .lacks_keys(self.content, self.deadline, (sample, most), &self.heard)
    }

    /// Lays out all pictures. `config` is the decoder configuration that the content's coding needs.
    pub(in crate::splice) fn shots(
        &self,
        layout: &Layout<'_>,
        config: &[u8],
    ) -> Result<Shots<'a>, SpliceError> {
        let cuts = layout.spots.iter().map(|spot| {
            let start = self.cut_at(spot.span.start);
            let end = if spot.span.is_empty() {
                start.clone()
            } else {
                self.cut_at(spot.span.end)
            };
            let both = start.and_then(|start| Ok(start..end?));
            both.map_err(|reason| SpliceError::Bridge {
                break_index: spot.index,
                reason,
            })
        });
        let cuts = cuts.collect::<Result<Vec<_>, _>>()?;
        let recode = |group, ranks| self.recode(config, group, ranks);
        self.video.lay_out(layout, &cuts, &self.heard, &recode)
    }

    /// Codes pictures of a group again.
    fn recode(
        &self,
        config: &[u8],
        group: Range<usize>,
        ranks: Range<usize>,
    ) -> Result<Picture, SpliceError> {
        let video = self.video;
        let samples = video
            .times(group)
            .map(|(i, shown)| {
                let (offset, size) = (video.samples.offsets.at(i), video.samples.sizes[i] as usize);
                Ok((splice::read(self.content, offset, size, self.deadline)?, shown))
            })
            .collect::<Result<Vec<_>, SpliceError>>()?;
        let failed =
            |reason: &str| unsupported(format!("pictures around a cue cannot be coded again: {reason}"));
        let count = ranks.len();
        let coded = pictures::recode(&video.format, config, &samples, ranks)
            .map_err(|error| error.of_process(0).unwrap_or_else(|| failed(&error.to_string())))?;
        Picture::parse(&coded, video.format)
            .filter(|picture| picture.count() == count)
            .ok_or_else(|| failed("other pictures came out than were due"))
    }
}
