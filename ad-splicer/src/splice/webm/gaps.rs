//! What stays in a result of the clusters that were not looked at: all of a gap or nothing, since breaks are where clusters were.

use super::{Track, WebmOpus};
use crate::frames::webm::beginning::{Beginning, LOOKED_AT, fits, stamp_of};
use crate::frames::webm::{Cluster, Gap, Index};
use crate::splice::bridged::Piece;
use crate::splice::clusters::Kept;
use crate::splice::opus_sound::silent;
use crate::splice::pictures::{From, Shot, Shots};
use crate::splice::{self, SpliceError};

impl Track<'_> {
    /// What stays in a result of what was not looked at.
    pub(super) fn kept(&self, pieces: &[Piece], shots: Option<&Shots>) -> Result<Vec<Kept<'_>>, SpliceError> {
        let packets = &self.sound.packets;
        let between = packets.parts.windows(2).zip(&self.index().gaps);
        let mut kept = Vec::new();
        for (parts, gap) in between {
            let (mut written, mut later) = (0, None);
            for piece in pieces {
                let Piece::Content(range) = piece else {
                    written += piece.len();
                    continue;
                };
                if range.start < parts[0].end() && parts[1].first < range.end {
                    let block = *parts[1].own.first().ok_or_else(silent)? as usize;
                    let own = parts[1].first;
                    let time = self.time(written + (own - range.start), Some((own, block)));
                    later = Some(time - self.index().blocks[block].time);
                }
                written += piece.len();
            }
            let Some(later) = later else { continue };
            if shots.is_some_and(|shots| !self.moves_alike(shots, gap, later)) {
                return Err(self.file.elsewhere());
            }
            let made = longer(self.file, self.index(), gap, later)?;
            kept.push(Kept { gap, made });
        }
        Ok(kept)
    }

    /// Whether the first picture after a gap is so much later than it was.
    fn moves_alike(&self, shots: &Shots, gap: &Gap, later: i64) -> bool {
        let Some(pictures) = &self.pictures else {
            return true;
        };
        let after = &self.index().blocks[gap.before..];
        let Some(picture) = after.iter().find(|block| block.track() == pictures.track) else {
            return true;
        };
        let shot = shots
            .list
            .iter()
            .find(|shot| matches!(shot.from, From::Content(offset) if offset == picture.offset));
        let time = |shot: &Shot| pictures.begins + shot.start as i64 + i64::from(shot.composition);
        shot.is_some_and(|shot| time(shot) - picture.time == later)
    }
}

/// Those clusters of a gap whose time has no place where the old one is, when they are so much later. Nothing is read of a gap in which none can be like that.
fn longer(file: &WebmOpus<'_>, index: &Index, gap: &Gap, later: i64) -> Result<Vec<Cluster>, SpliceError> {
    let wrong = || SpliceError::Corrupt {
        offset: gap.bytes.start,
    };
    let next = index
        .clusters
        .partition_point(|cluster| cluster.start < gap.bytes.end);
    let (Some(before), Some(after)) = (
        next.checked_sub(1).map(|at| index.clusters[at].time),
        index.clusters.get(next).map(|cluster| cluster.time),
    ) else {
        return Err(wrong());
    };
    let mut found = Vec::new();
    for stamp in stamp_of(before)..stamp_of(after + later) {
        // The first time that needs more bytes: what comes to it, or behind it.
        let limit = 1_i64 << (8 * stamp);
        let at = gap.cues.partition_point(|cue| cue.time < limit - later);
        let mut start = at
            .checked_sub(1)
            .map_or(gap.bytes.start, |at| gap.cues[at].cluster);
        while start < gap.bytes.end {
            let len = (gap.bytes.end - start).min(LOOKED_AT as u64) as usize;
            let bytes = splice::read(file.content, start, len, file.options.read_deadline)?;
            let beginning = Beginning::parse(&bytes).ok_or_else(wrong)?;
            let end = start + beginning.len;
            if end > gap.bytes.end {
                return Err(wrong());
            }
            if beginning.time >= limit {
                break;
            }
            if !fits(beginning.stamp(), beginning.time + later) {
                found.push(Cluster {
                    start,
                    end,
                    time: beginning.time,
                    first: 0,
                    stamp: Some(beginning.stamp() as u8),
                    blocks: beginning.blocks as u8,
                });
            }
            start = end;
        }
    }
    found.dedup_by_key(|cluster| cluster.start);
    Ok(found)
}
