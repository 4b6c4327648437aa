//! Writing WebM: frames into clusters, and the head of the file with its cues before them.
//!
//! A cluster of content of which all is kept stays as it is but for its time ([`Shifted`]), which is all that is known of those that were not looked at. Others are made anew around what is in them: a frame of content keeps
//! the bytes of its element where it keeps its place within a cluster. Nothing here depends on anything but what is written, so that the same frames give the same bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Shifted;
use super::format::Runs;
use crate::frames::webm::beginning::{fits, made};
use crate::frames::webm::ebml::{self, element, unsigned_element, write_head, write_number, write_wide_head};
use crate::frames::webm::{Block, Cluster, Cue, Gap, Index, Webm};

/// Longest cluster of frames that were made, in nanoseconds;
const LONGEST: u64 = 5_000_000_000;
/// and of any that does not stay as it is, for a player alone. A cluster changes with whatever is in it, so that nothing can be put in as near to a reader as it is long.
const LONGEST_PLAYED: u64 = 1_000_000_000;

/// Where a frame's bytes are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bytes<'a> {
    /// In the content: the block with this index.
    Content(usize),
    /// In the content, at an offset and so many, in no block that is known.
    At(u64, u32),
    Made(&'a [u8]),
}

/// A frame of the result.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    /// Index of its track.
    pub(crate) track: usize,
    /// When it is, in units of the file.
    pub(crate) time: i64,
    /// Whether decoding can begin with it.
    pub(crate) key: bool,
    pub(crate) bytes: Bytes<'a>,
    /// Nanoseconds at its end that are not heard.
    pub(crate) discard: i64,
}

/// A cluster that is not at its end.
struct Open {
    time: i64,
    /// When its first frame is.
    first: i64,
    /// The cluster of the content that it is.
    source: Option<usize>,
    /// How many blocks of that it holds, when it holds nothing else, and all from the first on where they were.
    kept: Option<usize>,
    body: Runs,
    /// What was made and is not among the runs yet.
    made: Vec<u8>,
    /// Whether it has a cue.
    cued: bool,
}

struct Entry {
    time: i64,
    track: u64,
    /// Where its cluster begins, after the first one's beginning.
    cluster: u64,
}

/// A gap that stays in the result.
#[derive(Clone, Debug)]
pub(super) struct KeptGap<'a> {
    pub(super) gap: &'a Gap,
    /// Those of its clusters whose new time has no place where the old one is.
    pub(super) made: Vec<Cluster>,
}

/// Collects frames in the order in which they stand.
pub(crate) struct Writer<'a> {
    webm: &'a Webm,
    index: &'a Index,
    /// The track whose frames one seeks by: each frame where decoding can begin, or the first in a cluster.
    by_keys: Option<usize>,
    /// For a player alone.
    is_played: bool,
    /// What was not looked at, in order.
    gaps: VecDeque<KeptGap<'a>>,
    /// Where clusters of the content begin.
    marks: Arc<[u64]>,
    out: Runs,
    open: Option<Open>,
    cues: Vec<Entry>,
}

impl<'a> Writer<'a> {
    /// `by_keys` is the track of pictures.
    pub(crate) fn new(webm: &'a Webm, index: &'a Index, by_keys: Option<usize>, is_played: bool) -> Self {
        let known = index.clusters.iter().map(|cluster| cluster.start);
        let told = index.gaps.iter().flat_map(|gap| &gap.cues);
        let mut marks: Vec<u64> = known.chain(told.map(|cue| cue.cluster)).collect();
        marks.sort_unstable();
        marks.dedup();
        Self {
            webm,
            index,
            by_keys,
            is_played,
            gaps: VecDeque::new(),
            marks: marks.into(),
            out: Runs::default(),
            open: None,
            cues: Vec::new(),
        }
    }

    /// What stays of what was not looked at.
    pub(super) fn set_gaps(&mut self, gaps: Vec<KeptGap<'a>>) {
        self.gaps = gaps.into();
    }

    /// Adds a frame.
    pub(crate) fn push(&mut self, frame: &Frame<'_>) {
        let place = match frame.bytes {
            Bytes::Content(block) => {
                self.pass(block, frame.time - self.index.blocks[block].time);
                let cluster = self.index.cluster_of(block);
                let begins = self.index.clusters[cluster].time;
                Some((cluster, self.index.blocks[block].time - begins))
            }
            Bytes::At(..) | Bytes::Made(_) => None,
        };
        let longest = (LONGEST / self.webm.scale.max(1)) as i64;
        let most = (LONGEST_PLAYED / self.webm.scale.max(1)) as i64;
        let begins_anew = self.by_keys == Some(frame.track) && frame.key;
        let is_mixed = self.by_keys.is_some() && !begins_anew;
        // The next block of a cluster that stays as it is so far.
        let next = |open: &Open| {
            let ((cluster, within), kept) = place.zip(open.kept)?;
            let first = self.index.clusters[cluster].first;
            let is_next = matches!(frame.bytes, Bytes::Content(block) if block == first + kept);
            let stays = open.source == Some(cluster) && frame.time - open.time == within;
            (is_next && stays).then_some(kept + 1)
        };
        let kept = self.open.as_ref().and_then(next);
        let goes_on = self.open.as_ref().is_some_and(|open| {
            let relative = frame.time - open.time;
            let fits = kept.is_some() || !self.is_played || !begins_anew && frame.time - open.first < most;
            fits && i16::try_from(relative).is_ok()
                && match place {
                    // Rounding may move it a little.
                    Some((cluster, within)) if open.source == Some(cluster) => relative.abs_diff(within) <= 2,
                    // Sound of content goes on between pictures that were made, until its pictures do.
                    Some(_) => is_mixed && open.source.is_none() && (0..=longest).contains(&relative),
                    None => !begins_anew && (0..=longest).contains(&relative),
                }
        });
        if !goes_on {
            self.close();
            self.open = Some(Open {
                time: (frame.time - place.map_or(0, |(_, within)| within)).max(0),
                first: frame.time,
                source: place.map(|(cluster, _)| cluster),
                kept: place.and_then(|(cluster, _)| self.index.clusters[cluster].stamp.map(|_| 0)),
                body: Runs::default(),
                made: Vec::new(),
                cued: false,
            });
        }
        let kept = self.open.as_ref().and_then(next);
        let Some(open) = &mut self.open else { return };
        open.kept = kept;
        let wanted = match self.by_keys {
            Some(track) => track == frame.track && frame.key,
            None => !open.cued,
        };
        let number = self.webm.tracks[frame.track].number;
        if wanted {
            open.cued = true;
            self.cues.push(Entry {
                time: frame.time,
                track: number,
                cluster: self.out.len(),
            });
        }
        let relative = frame.time - open.time;
        match frame.bytes {
            Bytes::Content(index) => {
                let block = &self.index.blocks[index];
                let unmoved = place.is_some_and(|(_, within)| within == relative);
                if let Some(element) = block.element().filter(|_| unmoved) {
                    open.flush();
                    open.body.content(element.start, element.end);
                    return;
                }
                let end = block.offset + u64::from(block.size);
                let head = block_head(number, relative, frame, block.size.into());
                open.made.extend(head);
                open.flush();
                open.body.content(block.offset, end);
                open.made.extend(discarded(frame));
            }
            Bytes::At(offset, size) => {
                let head = block_head(number, relative, frame, size.into());
                open.made.extend(head);
                open.flush();
                open.body.content(offset, offset + u64::from(size));
                open.made.extend(discarded(frame));
            }
            Bytes::Made(bytes) => {
                let head = block_head(number, relative, frame, bytes.len() as u64);
                open.made.extend(head);
                open.made.extend(bytes);
                open.made.extend(discarded(frame));
            }
        }
    }

    fn close(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        if let Some((cluster, kept)) = open.source.zip(open.kept)
            && self.index.clusters[cluster].first + kept == self.index.blocks_before(cluster + 1)
        {
            let cluster = self.index.clusters[cluster];
            self.stay(&cluster, open.time);
            return;
        }
        open.flush();
        self.out.made(&made(open.time, open.body.len()));
        self.out.append(open.body);
    }

    /// Adds a cluster that stays as it is, at another time.
    fn stay(&mut self, cluster: &Cluster, time: i64) {
        if fits(cluster.stamp.unwrap_or(0).into(), time) {
            self.shifted(cluster.start, cluster.end, time - cluster.time);
        } else {
            let blocks = cluster.start + u64::from(cluster.blocks);
            self.out.made(&made(time, cluster.end - blocks));
            self.out.content(blocks, cluster.end);
        }
    }

    /// Adds clusters of the content as they are, so much later.
    fn shifted(&mut self, from: u64, to: u64, later: i64) {
        let marks = self.marks.clone();
        self.out.clusters(Shifted { from, later, marks }, to - from);
    }

    /// Adds what was not looked at before a block, so much later than it was.
    fn pass(&mut self, block: usize, later: i64) {
        while self.gaps.front().is_some_and(|kept| kept.gap.before <= block)
            && let Some(KeptGap { gap, made }) = self.gaps.pop_front()
        {
            self.close();
            let (begin, mut from) = (self.out.len(), gap.bytes.start);
            // Where a place of the gap is in the result, when clusters before it became longer.
            let mut longer: Vec<(u64, u64)> = Vec::new();
            for cluster in &made {
                self.shifted(from, cluster.start, later);
                self.stay(cluster, cluster.time.saturating_add(later));
                from = cluster.end;
                longer.push((from, self.out.len()));
            }
            self.shifted(from, gap.bytes.end, later);
            let place = |offset: u64| {
                let at = longer.partition_point(|(end, _)| *end <= offset);
                let (end, out) = at
                    .checked_sub(1)
                    .map_or((gap.bytes.start, begin), |at| longer[at]);
                out + (offset - end)
            };
            self.list(&gap.cues, later, place);
        }
    }

    /// Adds cues of the content.
    fn list(&mut self, cues: &[Cue], later: i64, place: impl Fn(u64) -> u64) {
        let Some(track) = self.by_keys.or(self.index.blocks.first().map(Block::track)) else {
            return;
        };
        let track = self.webm.tracks[track].number;
        self.cues.extend(cues.iter().map(|cue| Entry {
            time: cue.time.saturating_add(later),
            track,
            cluster: place(cue.cluster),
        }));
    }

    /// The whole file: `nodes` are the elements about it, written.
    pub(crate) fn finish(mut self, nodes: &[(u32, Vec<u8>)]) -> Runs {
        self.close();
        let attached: u64 = self
            .webm
            .attachments
            .iter()
            .map(|range| range.end - range.start)
            .sum();
        let nodes_len: u64 = nodes.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        // Positions have one length, so the lengths do not depend on them.
        let seek_len = self.seek_head(nodes, 0).len() as u64;
        let cues_at = seek_len + nodes_len + attached;
        let cues_len = self.cues(0).len() as u64;
        let clusters_at = cues_at + cues_len;

        let mut runs = Runs::default();
        runs.content(self.webm.ebml.start, self.webm.ebml.end);
        let mut head = Vec::new();
        write_wide_head(&mut head, ebml::SEGMENT, clusters_at + self.out.len());
        head.extend(self.seek_head(nodes, seek_len));
        head.extend(nodes.iter().flat_map(|(_, bytes)| bytes));
        runs.made(&head);
        for range in &self.webm.attachments {
            runs.content(range.start, range.end);
        }
        runs.made(&self.cues(clusters_at));
        runs.append(self.out);
        runs
    }

    /// Keeps all clusters of the content before this one as they are, with what stands between them.
    pub(super) fn keep(&mut self, clusters: usize) {
        let (first, index) = (self.webm.first, self.index);
        let end = match index.clusters.get(clusters) {
            Some(next) => next.start,
            None => self.webm.segment.end,
        };
        self.out.content(first, end);
        let wanted = |block: &&Block| {
            self.by_keys
                .is_none_or(|track| block.track() == track && block.key())
        };
        let kept = index.blocks_before(clusters);
        let mut gaps = index.gaps.iter().take_while(|gap| gap.before <= kept).peekable();
        let mut cues = Vec::new();
        for (i, cluster) in index.clusters[..clusters].iter().enumerate() {
            let blocks = cluster.first..index.blocks_before(i + 1);
            while let Some(gap) = gaps.next_if(|gap| gap.before <= blocks.start) {
                cues.extend(gap.cues.iter().copied());
            }
            if let Some(block) = index.blocks[blocks].iter().find(wanted) {
                cues.push(Cue {
                    time: block.time,
                    cluster: cluster.start,
                });
            }
        }
        cues.extend(gaps.flat_map(|gap| gap.cues.iter().copied()));
        self.list(&cues, 0, |cluster| cluster - first);
    }

    /// The clusters after this head: for a player that reads them once, in order. Also gives of each cue its time and the place of its cluster.
    pub(super) fn finish_played(mut self, mut head: Runs) -> (Runs, Vec<(i64, u64)>) {
        self.close();
        let start = head.len();
        let cues = self.cues.iter().map(|cue| (cue.time, start + cue.cluster));
        let cues = cues.collect();
        head.append(self.out);
        (head, cues)
    }

    /// The list of what stands where, in a segment in which the nodes stand at `at`.
    fn seek_head(&self, nodes: &[(u32, Vec<u8>)], at: u64) -> Vec<u8> {
        let mut position = at;
        let mut list = Vec::new();
        let mut seek = |id: u32, len: u64| {
            let number = element(ebml::SEEK_ID, &id.to_be_bytes());
            let place = element(ebml::SEEK_POSITION, &position.to_be_bytes());
            list.extend(element(ebml::SEEK, &[number, place].concat()));
            position += len;
        };
        for (id, bytes) in nodes {
            seek(*id, bytes.len() as u64);
        }
        for range in &self.webm.attachments {
            seek(ebml::ATTACHMENTS, range.end - range.start);
        }
        seek(ebml::CUES, 0);
        element(ebml::SEEK_HEAD, &list)
    }

    /// The cues, in a segment in which the clusters begin at `at`.
    fn cues(&self, at: u64) -> Vec<u8> {
        let points = self.cues.iter().flat_map(|cue| {
            let track = unsigned_element(ebml::CUE_TRACK, cue.track);
            let place = element(ebml::CUE_CLUSTER_POSITION, &(at + cue.cluster).to_be_bytes());
            let positions = element(ebml::CUE_TRACK_POSITIONS, &[track, place].concat());
            let time = unsigned_element(ebml::CUE_TIME, cue.time.max(0) as u64);
            element(ebml::CUE_POINT, &[time, positions].concat())
        });
        element(ebml::CUES, &points.collect::<Vec<u8>>())
    }
}

impl Open {
    fn flush(&mut self) {
        if !self.made.is_empty() {
            self.body.made(&std::mem::take(&mut self.made));
        }
    }
}

/// What stands before the bytes of a frame: a simple block's head, or that of a group when not all of the frame is heard.
fn block_head(track: u64, relative: i64, frame: &Frame<'_>, size: u64) -> Vec<u8> {
    let mut start = Vec::new();
    write_number(&mut start, track);
    start.extend((relative as i16).to_be_bytes());
    let simple = frame.discard == 0;
    start.push(if simple && frame.key { 0x80 } else { 0 });
    let size = start.len() as u64 + size;
    let mut out = Vec::new();
    if simple {
        write_head(&mut out, ebml::SIMPLE_BLOCK, size);
    } else {
        let mut block = Vec::new();
        write_head(&mut block, ebml::BLOCK, size);
        let group = block.len() as u64 + size + discarded(frame).len() as u64;
        write_head(&mut out, ebml::BLOCK_GROUP, group);
        out.extend(block);
    }
    out.extend(start);
    out
}

/// What stands after it.
fn discarded(frame: &Frame<'_>) -> Vec<u8> {
    if frame.discard == 0 {
        return Vec::new();
    }
    element(ebml::DISCARD_PADDING, &frame.discard.to_be_bytes())
}
