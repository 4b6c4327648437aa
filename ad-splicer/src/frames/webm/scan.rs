//! Finding every block of a file.

use std::ops::Range;
use std::time::Duration;

use super::beginning::{self, Beginning};
use super::cues::Cue;
use super::ebml::{self, Head};
use super::lacing::laced;
use super::{Webm, body_of, damaged, head_at, is_over, is_taken_in};
use crate::content::Content;
use crate::frames::tail;
use crate::frames::window::Window;
use crate::splice::{self, SpliceError};

/// How much of a frame is looked at.
const LOOKED_AT: usize = 64;
/// Longest list of the sizes of frames that share a block.
const MOST_LACING: usize = 4 + 1 + 255 * 256;

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Where its bytes are.
    pub(crate) offset: u64,
    /// When it is, in units of time from the beginning of the file, before the codec's delay is taken off. Of frames that share a block, the first one's.
    pub(crate) time: i64,
    pub(crate) size: u32,
    /// Bytes of its element after it.
    tail: u16,
    /// Bytes of its element before it; 0 when it does not have one to itself.
    lead: u8,
    /// Which of the file's tracks it is of (1 bit: the second), and whether decoding can begin with it.
    flags: u8,
}

const SECOND: u8 = 1;
const KEY: u8 = 2;
const SHARED: u8 = 4;

impl Block {
    /// Index of its track.
    pub(crate) fn track(&self) -> usize {
        usize::from(self.flags & SECOND)
    }

    /// Whether it says that decoding can begin with it.
    pub(crate) fn key(&self) -> bool {
        self.flags & KEY != 0
    }

    /// Whether it came after another one in the same block, so that its time was not told.
    pub(crate) fn shares(&self) -> bool {
        self.flags & SHARED != 0
    }

    /// The element that holds it alone.
    pub(crate) fn element(&self) -> Option<Range<u64>> {
        let end = self.offset + u64::from(self.size);
        (self.lead > 0).then(|| self.offset - u64::from(self.lead)..end + u64::from(self.tail))
    }
}

/// A cluster: blocks whose times are told from its own on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// Where it begins, and where it is over.
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) time: i64,
    /// Its first block.
    pub(crate) first: usize,
    /// How many bytes its time has, when it can stay as it is but for that: all others are made anew where they are not at the same place and time.
    pub(crate) stamp: Option<u8>,
    /// Bytes before its first block, if so.
    pub(crate) blocks: u8,
}

/// Clusters that were not looked at, between others that were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The first block after it.
    pub(crate) before: usize,
    /// Its clusters.
    pub(crate) bytes: Range<u64>,
    /// What the file says that is in it.
    pub(crate) cues: Vec<Cue>,
}

/// All frames of a file with at most two tracks, in the order in which they stand.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub(crate) blocks: Vec<Block>,
    pub(crate) clusters: Vec<Cluster>,
    /// Nanoseconds at the end of a frame that are not heard: of the frame with this number.
    pub(crate) discard: Option<(usize, i64)>,
    /// What is between some of them and was not looked at.
    pub(crate) gaps: Vec<Gap>,
}

/// Sees a block, its index, and the beginning of its frame.
type Look<'a> = dyn FnMut(&Block, &[u8]) -> Result<(), SpliceError> + 'a;

struct Scan<'a, 'b> {
    webm: &'a Webm,
    window: Window<'a>,
    index: Index,
    look: &'a mut Look<'b>,
    /// A block of this track, not before this time, is enough.
    until: Option<(usize, i64)>,
}

/// What is known of a block beside what it says itself.
#[derive(Clone, Copy)]
struct Around {
    /// The element that it is in.
    start: u64,
    end: u64,
    /// `None` when the block says it itself.
    key: Option<bool>,
}

impl Index {
    /// Finds the blocks of the clusters at the beginning, at least so many if there are.
    pub(crate) fn scan_first(
        count: usize,
        webm: &Webm,
        content: &dyn Content,
        deadline: Duration,
        look: &mut Look<'_>,
    ) -> Result<Self, SpliceError> {
        let (mut at, end) = (webm.first, webm.segment.end);
        let mut scan = Scan::new(webm, content, deadline, look);
        while at < end && scan.index.blocks.len() < count && !scan.is_over(at)? {
            let head = head_at(&mut scan.window, at)?;
            at = if head.id == ebml::CLUSTER {
                scan.cluster(at, head)?
            } else {
                body_of(&scan.window, at, head, end)?.end
            };
        }
        Ok(scan.index)
    }

    /// Finds the blocks of the cluster at an offset, up to the first of a track that is not before a time.
    pub(crate) fn scan_until(
        until: (usize, i64),
        cluster: u64,
        webm: &Webm,
        content: &dyn Content,
        deadline: Duration,
    ) -> Result<Self, SpliceError> {
        let mut look = |_: &Block, _: &[u8]| Ok(());
        let mut scan = Scan {
            until: Some(until),
            ..Scan::new(webm, content, deadline, &mut look)
        };
        let head = head_at(&mut scan.window, cluster)?;
        if head.id != ebml::CLUSTER {
            return Err(SpliceError::Corrupt { offset: cluster });
        }
        scan.cluster(cluster, head)?;
        Ok(scan.index)
    }

    /// Finds the blocks of clusters that follow each other, with nothing between them, in just these bytes.
    pub(crate) fn scan_part(
        part: &Range<u64>,
        webm: &Webm,
        content: &dyn Content,
        deadline: Duration,
        look: &mut Look<'_>,
    ) -> Result<Self, SpliceError> {
        let mut scan = Scan::new(webm, content, deadline, look);
        let mut at = part.start;
        while at < part.end {
            let head = head_at(&mut scan.window, at)?;
            if head.id != ebml::CLUSTER {
                return Err(SpliceError::Corrupt { offset: at });
            }
            at = scan.cluster(at, head)?;
        }
        if at == part.end {
            Ok(scan.index)
        } else {
            Err(SpliceError::Corrupt { offset: part.end })
        }
    }

    /// Adds what was found behind it: between both there may be clusters that were not looked at.
    pub(crate) fn append(&mut self, other: &Self, between: Option<(Range<u64>, Vec<Cue>)>) {
        let before = self.blocks.len();
        self.gaps
            .extend(between.map(|(bytes, cues)| Gap { before, bytes, cues }));
        self.blocks.extend(&other.blocks);
        let clusters = other.clusters.iter();
        self.clusters.extend(clusters.map(|cluster| Cluster {
            first: cluster.first + before,
            ..*cluster
        }));
        let discard = other.discard.map(|(block, nanos)| (block + before, nanos));
        self.discard = discard.or(self.discard);
    }

    /// Finds every block; elements about the whole that stand behind or between the clusters are taken into `webm`.
    pub(crate) fn scan(
        webm: &mut Webm,
        content: &dyn Content,
        deadline: Duration,
        look: &mut Look<'_>,
    ) -> Result<Self, SpliceError> {
        if webm.open {
            webm.segment.end = tail::tags_at(&mut Window::new(content, deadline))?;
        }
        let (first, is_tagged) = (webm.first, webm.open && webm.segment.end < content.len());
        Self::scan_all(webm, content, deadline, look).map_err(|error| match error {
            // A tag took the place of the end of what goes on up to behind where it begins.
            SpliceError::Corrupt { .. } if is_tagged => SpliceError::truncated(content, first, None),
            other => other,
        })
    }

    fn scan_all(
        webm: &mut Webm,
        content: &dyn Content,
        deadline: Duration,
        look: &mut Look<'_>,
    ) -> Result<Self, SpliceError> {
        let (mut at, end) = (webm.first, webm.segment.end);
        let mut later = Vec::new();
        let mut scan = Scan::new(webm, content, deadline, look);
        while at < end && !scan.is_over(at)? {
            let head = head_at(&mut scan.window, at)?;
            if head.id == ebml::CLUSTER {
                at = scan.cluster(at, head)?;
                continue;
            }
            if head.id == ebml::EBML || head.id == ebml::SEGMENT {
                return Err(SpliceError::Unsupported(format!(
                    "another file begins at byte {at} of the WebM file"
                )));
            }
            let body = body_of(&scan.window, at, head, end)?;
            if is_taken_in(head.id) {
                later.push((at, head.id, body.clone()));
            }
            at = body.end;
        }
        if end < content.len() && head_at(&mut scan.window, end).is_ok_and(|head| head.id == ebml::EBML) {
            return Err(SpliceError::Unsupported(format!(
                "another file begins at byte {end} of the WebM file"
            )));
        }
        let index = scan.index;
        for (at, id, body) in later {
            webm.take(content, at, id, &body, deadline)?;
        }
        Ok(index)
    }

    /// How many blocks stand before a cluster.
    pub(crate) fn blocks_before(&self, cluster: usize) -> usize {
        self.clusters
            .get(cluster)
            .map_or(self.blocks.len(), |cluster| cluster.first)
    }

    /// The cluster that a block stands in.
    pub(crate) fn cluster_of(&self, block: usize) -> usize {
        self.clusters
            .partition_point(|cluster| cluster.first <= block)
            .saturating_sub(1)
    }
}

/// The bytes of frames.
pub(crate) fn read(
    content: &dyn Content,
    blocks: &[Block],
    deadline: Duration,
) -> Result<Vec<Vec<u8>>, SpliceError> {
    blocks
        .iter()
        .map(|block| splice::read(content, block.offset, block.size as usize, deadline))
        .collect()
}

/// Whether an element ends a cluster of which nobody knows how long it is.
fn is_top_level(id: u32) -> bool {
    matches!(
        id,
        ebml::CLUSTER
            | ebml::SEEK_HEAD
            | ebml::INFO
            | ebml::TRACKS
            | ebml::CUES
            | ebml::CHAPTERS
            | ebml::TAGS
            | ebml::ATTACHMENTS
            | ebml::EBML
            | ebml::SEGMENT
    )
}

impl<'a, 'b> Scan<'a, 'b> {
    fn new(webm: &'a Webm, content: &'a dyn Content, deadline: Duration, look: &'a mut Look<'b>) -> Self {
        Self {
            webm,
            window: Window::new(content, deadline),
            index: Index::default(),
            look,
            until: None,
        }
    }

    /// See [`is_over`].
    fn is_over(&mut self, at: u64) -> Result<bool, SpliceError> {
        Ok(self.webm.open && is_over(&mut self.window, at)?)
    }

    fn has_enough(&self) -> bool {
        let last = self.index.blocks.last();
        self.until
            .zip(last)
            .is_some_and(|((track, time), block)| block.track() == track && block.time >= time)
    }

    /// Reads a cluster, and says where it ends.
    fn cluster(&mut self, start: u64, head: Head) -> Result<u64, SpliceError> {
        let mut at = start + head.len as u64;
        let end = match head.size {
            Some(_) => body_of(&self.window, start, head, self.webm.segment.end)?.end,
            None => self.webm.segment.end,
        };
        let beginning = Beginning::parse(self.window.get(start, beginning::LOOKED_AT)?);
        let mut time = None;
        while at < end && !self.has_enough() {
            if head.size.is_none() && self.is_over(at)? {
                return Ok(at);
            }
            let inner = head_at(&mut self.window, at)?;
            if head.size.is_none() && is_top_level(inner.id) {
                return Ok(at);
            }
            let body = body_of(&self.window, at, inner, end)?;
            let around = Around {
                start: at,
                end: body.end,
                key: None,
            };
            at = body.end;
            match inner.id {
                ebml::TIMESTAMP => {
                    let bytes = self.window.get(body.start, 9)?;
                    let len = (body.end - body.start) as usize;
                    let value = bytes.get(..len).and_then(ebml::unsigned);
                    let value = value.and_then(|value| i64::try_from(value).ok());
                    let value = value.filter(|value| value.checked_mul(self.webm.scale as i64).is_some());
                    time = Some(value.ok_or(SpliceError::Corrupt { offset: body.start })?);
                    let last = self.index.clusters.last_mut();
                    let again = last.filter(|last| last.start == start);
                    let is_again = again.map(|last| last.stamp = None).is_some();
                    let beginning = beginning.as_ref().filter(|_| !is_again);
                    self.index.clusters.push(Cluster {
                        start,
                        end,
                        time: time.unwrap_or(0),
                        first: self.index.blocks.len(),
                        stamp: beginning.map(|beginning| beginning.stamp() as u8),
                        blocks: beginning.map_or(0, |beginning| beginning.blocks as u8),
                    });
                }
                ebml::SIMPLE_BLOCK => self.block(time, &body, around)?,
                ebml::BLOCK_GROUP => self.group(time, &body, around)?,
                _ => {}
            }
        }
        Ok(end)
    }

    /// A block with what belongs to it.
    fn group(
        &mut self,
        time: Option<i64>,
        group: &Range<u64>,
        mut around: Around,
    ) -> Result<(), SpliceError> {
        let (mut at, mut block, mut discard) = (group.start, None, None);
        around.key = Some(true);
        while at < group.end {
            let head = head_at(&mut self.window, at)?;
            let body = body_of(&self.window, at, head, group.end)?;
            match head.id {
                ebml::BLOCK => block = Some(body.clone()),
                ebml::REFERENCE_BLOCK => around.key = Some(false),
                ebml::DISCARD_PADDING => {
                    let len = (body.end - body.start) as usize;
                    let bytes = self.window.get(body.start, 9)?;
                    discard = bytes.get(..len).and_then(ebml::signed);
                }
                _ => {}
            }
            at = body.end;
        }
        let block = block.ok_or(SpliceError::Corrupt { offset: group.start })?;
        self.block(time, &block, around)?;
        if let Some(discard) = discard.filter(|discard| *discard != 0) {
            if let Some((_, _)) = self.index.discard {
                return Err(SpliceError::Unsupported(
                    "the WebM file leaves out sound at more than one place (DiscardPadding)".into(),
                ));
            }
            self.index.discard = Some((self.index.blocks.len() - 1, discard));
        }
        Ok(())
    }

    fn block(&mut self, time: Option<i64>, body: &Range<u64>, around: Around) -> Result<(), SpliceError> {
        let offset = body.start;
        let corrupt = || SpliceError::Corrupt { offset };
        let time = time.ok_or_else(|| damaged("a cluster does not begin with its time"))?;
        let len = usize::try_from(body.end - body.start).map_err(|_| corrupt())?;
        let bytes = self.window.get(body.start, len.min(16))?;
        let (number, number_len) = ebml::number(bytes).ok_or_else(corrupt)?;
        let number = number.ok_or_else(corrupt)?;
        let rest = bytes.get(number_len..number_len + 3).ok_or_else(corrupt)?;
        let relative = i16::from_be_bytes([rest[0], rest[1]]);
        let flags = rest[2];
        let Some(track) = self.webm.tracks.iter().position(|entry| entry.number == number) else {
            return Err(damaged("it has blocks of a track that is not in its list"));
        };
        let track = u8::try_from(track)
            .ok()
            .filter(|track| *track <= SECOND)
            .ok_or_else(|| SpliceError::Unsupported("the WebM file has more than two tracks".into()))?;
        let data = number_len + 3;
        let sizes = match flags & 6 {
            0 => vec![len - data],
            lacing => {
                let bytes = self.window.get(body.start, len.min(MOST_LACING))?;
                laced(&bytes[data..], lacing, len - data).ok_or_else(corrupt)?
            }
        };
        let key = around.key.unwrap_or(flags & 0x80 != 0);
        let time = time
            .checked_add(i64::from(relative))
            .filter(|time| time.checked_mul(self.webm.scale as i64).is_some())
            .ok_or_else(corrupt)?;
        let total: usize = sizes.iter().sum();
        let mut at = body.end - total as u64;
        for (i, size) in sizes.iter().enumerate() {
            let lead = u8::try_from(at - around.start).unwrap_or(0);
            let tail = u16::try_from(around.end - body.end);
            let alone = sizes.len() == 1 && flags & 6 == 0;
            let block = Block {
                offset: at,
                time,
                size: u32::try_from(*size).map_err(|_| corrupt())?,
                tail: tail.unwrap_or(0),
                lead: if alone && tail.is_ok() { lead } else { 0 },
                flags: track | if key { KEY } else { 0 } | if i > 0 { SHARED } else { 0 },
            };
            (self.look)(&block, self.window.get(at, (*size).min(LOOKED_AT))?)?;
            self.index.blocks.push(block);
            at += *size as u64;
        }
        Ok(())
    }
}
