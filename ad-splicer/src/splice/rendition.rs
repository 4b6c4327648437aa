//! A frozen rendition: every byte of it is determined, as runs, and any of them can be read.
//!
//! Not for: how it is laid out ([`super::prepare`]), and making the bridges that are left (`later`).

use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::later::Later;
use super::{Codec, LostAd, Options, Report, Run, SeekPoint, Source, SpliceError, layout};
use crate::content::Content;
use crate::plan::SplicePlan;
use crate::time::{ContentTime, PresentationTime};

/// A frozen rendition: every byte of it is determined.
#[derive(Clone, Debug)]
pub struct Rendition {
    pub(super) codec: Codec,
    pub(super) runs: Vec<Run>,
    pub(super) plan: SplicePlan,
    pub(super) report: Report,
    pub(super) audio: Option<Range<u64>>,
    pub(super) points: Arc<[SeekPoint]>,
    pub(super) zero: Option<Duration>,
    pub(super) later: Option<Arc<Later>>,
}

impl Rendition {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.report.bytes
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How it is coded: as the content is.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// The runs in order, without gaps.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Which of its bytes are audio: those before them describe the whole. `None` when audio cannot be told apart like that.
    pub fn audio(&self) -> Option<Range<u64>> {
        self.audio.clone()
    }

    /// Places about a second apart where decoding can begin, in order. None in formats whose readers find their place themselves, and in content without ads ([`seek_points`](super::seek_points) finds those).
    pub fn points(&self) -> &[SeekPoint] {
        &self.points
    }

    /// The time that is written where the presentation begins, in what a player reads once, in order, and nobody else ([`Options::growing`]); `None` of everything else.
    pub fn zero(&self) -> Option<Duration> {
        self.zero
    }

    /// What plays when.
    pub fn plan(&self) -> &SplicePlan {
        &self.plan
    }

    /// What the rendition holds.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// When a chapter that begins (or ends) at this time of the content does so in the result, both as players count. Less than a millisecond before a cue means at it: after the ads.
    pub fn chapter(&self, time: ContentTime) -> PresentationTime {
        let late = self.late(time);
        let time = ContentTime::from_nanos(time.as_nanos().saturating_sub(late));
        PresentationTime::from_nanos(layout::moved(&self.plan, time, self.millisecond()).as_nanos() + late)
    }

    /// Whether nothing is left of a chapter that lasts from one time of the content, as players count, to another, or to its end: ads take the place of all of it.
    pub fn leaves_out(&self, start: ContentTime, end: Option<ContentTime>) -> bool {
        let sound =
            |time: ContentTime| ContentTime::from_nanos(time.as_nanos().saturating_sub(self.late(time)));
        let whole = || ContentTime::from_samples(self.plan.content_samples(), self.plan.sample_rate());
        let chapter = sound(start)..end.map_or_else(whole, sound);
        layout::is_replaced(&self.plan, &chapter, self.millisecond())
    }

    /// Samples of a millisecond.
    fn millisecond(&self) -> u64 {
        self.plan.sample_rate().div_ceil(1000).into()
    }

    /// By how many nanoseconds this time of players is later than in the plan, which counts what sounds: the ads tell.
    fn late(&self, time: ContentTime) -> u64 {
        let near = time.saturating_add(Duration::from_millis(1));
        let before = self.report.ads.iter().rfind(|ad| ad.content <= near);
        before.map_or(0, |ad| {
            let start = self.plan.ad(ad.index).map_or(0, |(start, _)| start);
            let start = PresentationTime::from_samples(start, self.plan.sample_rate());
            ad.presentation.as_nanos().saturating_sub(start.as_nanos())
        })
    }

    /// Reads some bytes of the rendition at `offset`, and says how many: 0 only at the end or for an empty buffer. `content` must be what it was prepared from.
    ///
    /// # Errors
    /// Those of [`Content::read_at`].
    pub fn read_at(
        &self,
        content: &dyn Content,
        offset: u64,
        buffer: &mut [u8],
        deadline: Duration,
    ) -> io::Result<usize> {
        let next = self.runs.partition_point(|run| run.start <= offset);
        let Some(run) = next.checked_sub(1).and_then(|index| self.runs.get(index)) else {
            return Ok(0);
        };
        let within = offset - run.start;
        let Source::Bridge { number, from } = run.source else {
            return Ok(run.read_at(content, within, buffer, deadline)?.unwrap_or(0));
        };
        let count = run.at_most(within, buffer.len());
        if count == 0 {
            return Ok(0);
        }
        let later = self.later.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let bytes = later.bytes(number, content, deadline)?;
        buffer[..count].copy_from_slice(&bytes[(from + within) as usize..][..count]);
        Ok(count)
    }

    /// Makes the bridges that are left to be made, some at a time, ahead of who reads meanwhile: for a thread of its own. `content` must be what it was prepared from.
    pub fn make_ahead(&self, content: &dyn Content, deadline: Duration) {
        if let Some(later) = &self.later {
            later.make_ahead(content, deadline);
        }
    }

    /// The ads in whose place there is silence, as turned out when they were read ([`Options::later`]): nobody hears them.
    pub fn lost(&self) -> Vec<LostAd> {
        let lost = self.later.as_ref().map(|later| later.lost()).unwrap_or_default();
        let ads = self.report.ads.iter().filter_map(|ad| {
            let (_, reason) = lost.iter().find(|(index, _)| *index == ad.index.break_index)?;
            Some(LostAd {
                id: ad.id.clone(),
                reason: reason.clone(),
            })
        });
        ads.collect()
    }

    /// Writes the whole rendition, in order. `content` must be what it was prepared from.
    pub fn write_to(
        &self,
        content: &dyn Content,
        out: &mut dyn Write,
        options: &Options,
    ) -> Result<(), SpliceError> {
        if self.later.is_none() {
            return self.write_in_order(content, out, options);
        }
        thread::scope(|scope| {
            scope.spawn(|| self.make_ahead(content, options.read_deadline));
            self.write_in_order(content, out, options)
        })
    }

    fn write_in_order(
        &self,
        content: &dyn Content,
        out: &mut dyn Write,
        options: &Options,
    ) -> Result<(), SpliceError> {
        let mut buffer = vec![0; 256 * 1024];
        let mut offset = 0;
        loop {
            match self.read_at(content, offset, &mut buffer, options.read_deadline) {
                Ok(0) => return out.flush().map_err(SpliceError::Write),
                Ok(count) => {
                    out.write_all(&buffer[..count]).map_err(SpliceError::Write)?;
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(SpliceError::Read { offset, source }),
            }
        }
    }
}
