//! WebM for a player that reads it once, in order: clusters after a head that says nothing of how many there are, so that what comes later can still change while what comes before it plays.
//!
//! Invariant: clusters of the content stay as they are up to the first of which anything changes. So what is played without ads is the content after another head, and takes reading no more than its own.

use std::time::Duration;

use super::write::frames_of;
use super::{LOOKED_AT, Track, WebmOpus};
use crate::frames::opus::RATE;
use crate::frames::webm::ebml::{self, write_wide_head};
use crate::frames::webm::{Cue, Index, Webm};
use crate::splice::bridged::Piece;
use crate::splice::clusters::{Bytes, Writer};
use crate::splice::format::{Played, Runs};
use crate::splice::pictures::{Shots, rescaled};
use crate::splice::{SeekPoint, SpliceError};

/// The length of what ends where the file does, in eight bytes.
const UNKNOWN: u64 = (1 << 56) - 1;

/// What stands before the clusters: what the tracks are like, and in which units time is.
pub(super) fn head(webm: &Webm) -> Runs {
    let mut runs = Runs::default();
    runs.content(webm.ebml.start, webm.ebml.end);
    let mut head = Vec::new();
    write_wide_head(&mut head, ebml::SEGMENT, UNKNOWN);
    let nodes = webm.nodes.iter().map(|(_, node)| node);
    nodes
        .filter(|node| matches!(node.id, ebml::INFO | ebml::TRACKS))
        .for_each(|node| head.extend(node.write()));
    runs.made(&head);
    runs
}

/// Places of cues, when the first packet of the sound is at a time.
pub(super) fn points(webm: &Webm, cues: Vec<(i64, u64)>, first: i64) -> Vec<SeekPoint> {
    let nanos = |units: i64| units.saturating_mul(webm.scale as i64);
    let point = |(time, offset): (i64, u64)| SeekPoint {
        offset,
        sample: rescaled(nanos(time.saturating_sub(first)), RATE, 1_000_000_000_u32),
    };
    cues.into_iter().map(point).collect()
}

impl WebmOpus<'_> {
    /// The content itself.
    pub(super) fn plain(&self) -> Result<Option<(Runs, Played)>, SpliceError> {
        let deadline = self.options.read_deadline;
        let index = Index::scan_first(LOOKED_AT, &self.webm, self.content, deadline, &mut |_, _| Ok(()))?;
        let Some(first) = index.blocks.iter().find(|block| block.track() == self.sound) else {
            return Ok(None);
        };
        let mut runs = head(&self.webm);
        let start = runs.len();
        runs.content(self.webm.first, self.webm.segment.end);
        let played = Played {
            audio: start..runs.len(),
            points: Vec::new(),
            zero: Duration::from_nanos(first.time.max(0) as u64 * self.webm.scale),
        };
        Ok(Some((runs, played)))
    }

    /// The last place in that, as the cues of the file have it, where decoding can begin and that is not after a sample; `None` when they say nothing, or what is not so.
    pub(super) fn place_before(&self, wanted: i64) -> Result<Option<SeekPoint>, SpliceError> {
        let deadline = self.options.read_deadline;
        let index = Index::scan_first(LOOKED_AT, &self.webm, self.content, deadline, &mut |_, _| Ok(()))?;
        let Some(first) = index.blocks.iter().find(|block| block.track() == self.sound) else {
            return Ok(None);
        };
        let track = self.pictures.map_or(self.sound, |(track, _)| track);
        let cues = self.webm.cues(track, self.content, deadline)?;
        let start = head(&self.webm).len();
        let place = |cue: &Cue| (cue.time, start + cue.cluster - self.webm.first);
        let found = points(&self.webm, cues.iter().map(place).collect(), first.time);
        let at = found.partition_point(|point| point.sample <= wanted);
        let Some(at) = at.checked_sub(1) else {
            return Ok(None);
        };
        let holds = self.webm.bears_out(cues[at], track, self.content, deadline)?;
        Ok(holds.then_some(found[at]))
    }

    /// All places in that where decoding can begin. All of it is read.
    pub(super) fn places(&self) -> Result<Vec<SeekPoint>, SpliceError> {
        if !self.options.growing {
            return Ok(Vec::new());
        }
        let mut webm = self.webm.clone();
        let deadline = self.options.read_deadline;
        let index = Index::scan(&mut webm, self.content, deadline, &mut |_, _| Ok(()))?;
        let first = index.blocks.iter().find(|block| block.track() == self.sound);
        let first = first.map_or(0, |block| block.time);
        let mut writer = Writer::new(&webm, &index, self.pictures.map(|(track, _)| track), true);
        writer.keep(index.clusters.len());
        let (_, cues) = writer.finish_played(head(&webm));
        Ok(points(&webm, cues, first))
    }
}

impl Track<'_> {
    /// How many clusters of the content are in a result as they are, at its beginning.
    pub(super) fn unchanged(&self, pieces: &[Piece], shots: Option<&Shots<'_>>) -> usize {
        let index = self.index();
        let all = index.blocks.len();
        let heard = match pieces.first() {
            Some(Piece::Content(range)) if range.start == 0 => range.end,
            _ => 0,
        };
        let mut changed = self.sound.packets.block(heard).unwrap_or(all);
        if let (Some(pictures), Some(shots)) = (&self.pictures, shots) {
            let blocks = index.blocks.iter().enumerate();
            let own = blocks.filter(|(_, block)| block.track() == pictures.track);
            let mut both = frames_of(shots, index, pictures.track, pictures.begins).zip(own);
            let other = both.find(|(frame, (i, block))| {
                !matches!(frame.bytes, Bytes::Content(block) if block == *i) || frame.time != block.time
            });
            changed = changed.min(other.map_or(all, |(_, (i, _))| i));
        }
        if changed == all {
            index.clusters.len()
        } else {
            index.cluster_of(changed)
        }
    }
}
