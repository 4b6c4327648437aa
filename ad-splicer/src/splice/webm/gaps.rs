//! What stays in a result of the clusters that were not looked at: all of a gap or nothing, since breaks are where clusters were.

use super::moved::PASSED;
use super::{Track, WebmOpus};
use crate::frames::webm::beginning::{Beginning, LOOKED_AT, fits, stamp_of};
use crate::frames::webm::{Cluster, Gap, Index};
use crate::splice::bridged::Piece;
use crate::splice::clusters::KeptGap;
use crate::splice::opus_sound::silent;
use crate::splice::pictures::{From, Shot, Shots};
use crate::splice::{self, SpliceError};

/// Most clusters from one cue to the next, in what is looked at: with as many again a read gets through where nobody looked.
pub(super) const MOST_CLUSTERS: usize = PASSED / 2;

impl Track<'_> {
    /// What stays in a result of what was not looked at.
    pub(super) fn kept(
        &self,
        pieces: &[Piece],
        shots: Option<&Shots<'_>>,
    ) -> Result<Vec<KeptGap<'_>>, SpliceError> {
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
            kept.push(KeptGap { gap, made });
        }
        Ok(kept)
    }

    /// Whether the first picture after a gap is so much later than it was.
    fn moves_alike(&self, shots: &Shots<'_>, gap: &Gap, later: i64) -> bool {
        let Some(pictures) = &self.pictures else {
            return true;
        };
        let after = &self.index().blocks[gap.before..];
        let Some(picture) = after.iter().find(|block| block.track() == pictures.track) else {
            return true;
        };
        let shot = shots
            .iter()
            .find(|shot| matches!(shot.from, From::Content(offset) if offset == picture.offset));
        let time = |shot: Shot| pictures.begins + shot.start as i64 + i64::from(shot.composition);
        shot.is_some_and(|shot| time(shot) - picture.time == later)
    }
}

/// Whether the clusters between the cues of all gaps are few, as long as they are like those that were looked at.
pub(super) fn are_gone_through(index: &Index) -> bool {
    let clusters = index.clusters.iter();
    let looked_at: u64 = clusters.map(|cluster| cluster.end - cluster.start).sum();
    let most = looked_at / index.clusters.len().max(1) as u64 * MOST_CLUSTERS as u64;
    index.gaps.iter().all(|gap| {
        let mut last = gap.bytes.start;
        let mut places = gap.cues.iter().map(|cue| cue.cluster).chain([gap.bytes.end]);
        places.all(|place| place.saturating_sub(std::mem::replace(&mut last, place)) <= most)
    })
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
    for stamp in stamp_of(before)..stamp_of(after.saturating_add(later)) {
        // The first time that needs more bytes: what comes to it, or behind it.
        let limit = 1_i64 << (8 * stamp);
        let at = gap
            .cues
            .partition_point(|cue| cue.time < limit.saturating_sub(later));
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
            if !fits(beginning.stamp(), beginning.time.saturating_add(later)) {
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
    // One may need more bytes for two reasons.
    found.sort_by_key(|cluster| cluster.start);
    found.dedup_by_key(|cluster| cluster.start);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::webm::Cue;
    use crate::frames::webm::beginning::made;
    use crate::frames::webm::ebml::{self, element, unsigned_element};
    use crate::splice::Options;

    /// A file of Opus whose clusters hold a packet each, at these times; and where they begin and end.
    fn file(times: &[i64]) -> (Vec<u8>, Vec<Cluster>) {
        let private = b"OpusHead\x01\x02\x38\x01\x80\xbb\0\0\0\0\0";
        // Number, kind and codec.
        let track = [
            unsigned_element(0xD7, 1),
            unsigned_element(0x83, 2),
            element(0x86, b"A_OPUS"),
            element(0x63A2, private),
        ];
        let tracks = element(ebml::TRACKS, &element(0xAE, &track.concat()));
        // The duration.
        let info = element(ebml::INFO, &element(0x4489, &9e6_f64.to_be_bytes()));
        let head = element(ebml::EBML, &element(0x4282, b"webm"));
        let packet = element(ebml::SIMPLE_BLOCK, &[0x81, 0, 0, 0x80, 0xFC, 0, 0]);
        let clusters = times
            .iter()
            .map(|time| [made(*time, packet.len() as u64), packet.clone()].concat());
        let clusters: Vec<Vec<u8>> = clusters.collect();
        let segment = element(ebml::SEGMENT, &[info, tracks, clusters.concat()].concat());
        let all: usize = clusters.iter().map(Vec::len).sum();
        let bytes = [head, segment].concat();
        let mut start = (bytes.len() - all) as u64;
        let mut found = Vec::new();
        for (time, cluster) in times.iter().zip(clusters) {
            let end = start + cluster.len() as u64;
            found.push(Cluster {
                start,
                end,
                time: *time,
                first: found.len(),
                stamp: None,
                blocks: 0,
            });
            start = end;
        }
        (bytes, found)
    }

    #[test]
    fn a_cluster_is_longer_once() {
        let (bytes, clusters) = file(&[10, 100, 200, 300, 70_000]);
        let options = Options::default();
        let file = WebmOpus::new(&bytes, &options).unwrap().unwrap();
        let index = Index {
            clusters: vec![clusters[0], clusters[4]],
            ..Index::default()
        };
        let gap = Gap {
            before: 1,
            bytes: clusters[1].start..clusters[4].start,
            cues: vec![Cue {
                time: 100,
                cluster: clusters[1].start,
            }],
        };
        // Those with times of one byte and of two come to need three, and four.
        for (later, due) in [
            (100, &clusters[2..3]),
            (66_000, &clusters[1..4]),
            (17_000_000, &clusters[1..4]),
            (i64::MAX, &clusters[1..4]),
        ] {
            let starts =
                |clusters: &[Cluster]| -> Vec<u64> { clusters.iter().map(|cluster| cluster.start).collect() };
            let found = longer(&file, &index, &gap, later).unwrap();
            assert_eq!(starts(&found), starts(due), "{later} later");
        }
    }
}
