//! WebM and Matroska (RFC 9559): the head of a file, and where each frame is. What a frame is, is the codec's.
//!
//! A file is one segment. Its blocks are found by their heads: nothing but the beginning of each frame is looked at. Content keeps its elements as they are wherever its time within the cluster stays
//! ([`Block::element`]).

pub(crate) mod beginning;
mod cues;
pub(crate) mod ebml;
mod lacing;
mod scan;
pub(crate) mod texts;
mod video;

use std::ops::Range;
use std::time::Duration;

pub(crate) use self::cues::Cue;
use self::ebml::{Head, MOST_HEAD, Node};
pub(crate) use self::scan::{Block, Cluster, Gap, Index, read};
pub(crate) use self::video::Display;
use crate::content::Content;
use crate::frames::tail;
use crate::frames::window::Window;
use crate::splice::{self, SpliceError};

/// Longest element that is held in memory, and as much as all of them may be together.
const MOST_ELEMENT: u64 = 16 << 20;
/// Most elements about the whole that are taken in.
const MOST_ELEMENTS: usize = 256;
/// Nanoseconds of a unit of time where nobody says otherwise.
const USUAL_SCALE: u64 = 1_000_000;

/// The head of a file.
#[derive(Clone, Debug)]
pub(crate) struct Webm {
    /// The EBML header.
    pub(crate) ebml: Range<u64>,
    /// What is in the segment.
    pub(crate) segment: Range<u64>,
    /// Whether it does not say where it ends, so that what stands behind it seems to be in it.
    open: bool,
    /// Where the first cluster is.
    pub(crate) first: u64,
    /// About the whole, with where each stands: information, tracks, chapters, tags.
    pub(crate) nodes: Vec<(u64, Node)>,
    /// Attached files.
    pub(crate) attachments: Vec<Range<u64>>,
    /// Where the cues are said to be.
    cues_at: Option<u64>,
    /// Nanoseconds of a unit of time.
    pub(crate) scale: u64,
    pub(crate) tracks: Vec<Entry>,
    /// Bytes of elements that may still be held.
    held: u64,
}

/// What a track says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) uid: u64,
    pub(crate) kind: Kind,
    pub(crate) codec: String,
    pub(crate) private: Vec<u8>,
    /// Nanoseconds that are decoded before what is heard; `None` when nothing is said of it.
    pub(crate) delay: Option<u64>,
    /// Whether its frames are compressed or encrypted once more.
    pub(crate) encoded: bool,
    /// How pictures are to be shown.
    pub(crate) display: Display,
}

/// What a track holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Video,
    Audio,
    Other,
}

pub(crate) fn damaged(what: &str) -> SpliceError {
    SpliceError::Unsupported(format!("the WebM file is damaged: {what}"))
}

fn is_about_the_whole(id: u32) -> bool {
    matches!(id, ebml::INFO | ebml::TRACKS | ebml::CHAPTERS | ebml::TAGS)
}

fn is_taken_in(id: u32) -> bool {
    is_about_the_whole(id) || id == ebml::ATTACHMENTS
}

impl Webm {
    /// Reads the head, up to the first cluster, and what it says to stand elsewhere. `None` when it is something else.
    pub(crate) fn read(content: &dyn Content, deadline: Duration) -> Result<Option<Self>, SpliceError> {
        let mut window = Window::new(content, deadline);
        let header = window.get(0, MOST_HEAD)?;
        let Some(Head {
            id: ebml::EBML,
            len,
            size: Some(size),
        }) = Head::parse(header)
        else {
            return Ok(None);
        };
        let start = (len as u64)
            .checked_add(size)
            .filter(|start| *start < content.len())
            .ok_or_else(|| window.truncated(0))?;
        let head = head_at(&mut window, start)?;
        if head.id != ebml::SEGMENT {
            return Err(damaged("no segment follows its header"));
        }
        let data = start + head.len as u64;
        let end = head.size.map_or(content.len(), |size| data.saturating_add(size));
        if end > content.len() {
            return Err(SpliceError::truncated(content, start, Some(end)));
        }
        if end < content.len() && tail::tags_at(&mut window)? < end {
            // A tag took the place of its end.
            return Err(window.truncated(start));
        }
        let mut webm = Self {
            ebml: 0..start,
            segment: data..end,
            open: head.size.is_none(),
            first: end,
            nodes: Vec::new(),
            attachments: Vec::new(),
            cues_at: None,
            scale: USUAL_SCALE,
            tracks: Vec::new(),
            held: MOST_ELEMENT,
        };
        let (mut at, mut elsewhere) = (data, Vec::new());
        while at < end {
            let head = head_at(&mut window, at)?;
            if head.id == ebml::CLUSTER {
                webm.first = at;
                break;
            }
            let body = body_of(&window, at, head, end)?;
            if head.id == ebml::SEEK_HEAD {
                let list = node_at(content, head.id, &body, &mut webm.held, deadline)?;
                elsewhere.extend(seeks(&list, is_taken_in));
                let cues = seeks(&list, |id| id == ebml::CUES);
                let cues = cues.first().and_then(|position| data.checked_add(*position));
                webm.cues_at = webm.cues_at.or(cues.filter(|at| *at < end));
            } else if head.id == ebml::CUES {
                webm.cues_at = Some(at);
            } else {
                webm.take(content, at, head.id, &body, deadline)?;
            }
            at = body.end;
        }
        for position in elsewhere {
            let Some(at) = data
                .checked_add(position)
                .filter(|at| *at > webm.first && *at < end)
            else {
                continue;
            };
            let head = head_at(&mut window, at)?;
            webm.take(content, at, head.id, &body_of(&window, at, head, end)?, deadline)?;
        }
        webm.read_tracks()?;
        Ok(Some(webm))
    }

    /// Takes in an element that is about the whole, once.
    fn take(
        &mut self,
        content: &dyn Content,
        at: u64,
        id: u32,
        body: &Range<u64>,
        deadline: Duration,
    ) -> Result<(), SpliceError> {
        let mut taken = self.nodes.iter().map(|(start, _)| *start);
        let mut attached = self.attachments.iter().map(|range| range.start);
        if !is_taken_in(id) || taken.any(|start| start == at) || attached.any(|start| start == at) {
            return Ok(());
        }
        if self.nodes.len() + self.attachments.len() >= MOST_ELEMENTS {
            return Err(damaged("it has too many elements about the whole"));
        }
        if id == ebml::ATTACHMENTS {
            self.attachments.push(at..body.end);
        } else {
            let node = node_at(content, id, body, &mut self.held, deadline)?;
            self.nodes.push((at, node));
        }
        Ok(())
    }

    fn read_tracks(&mut self) -> Result<(), SpliceError> {
        let info = self.node(ebml::INFO);
        self.scale = info
            .and_then(|info| info.unsigned(ebml::TIMESTAMP_SCALE))
            .unwrap_or(USUAL_SCALE);
        if self.scale == 0 || self.scale > 1_000_000_000 {
            return Err(damaged("its unit of time makes no sense"));
        }
        let tracks = self
            .node(ebml::TRACKS)
            .ok_or_else(|| damaged("it has no list of tracks"))?;
        let entry = |node: &Node| {
            Some(Entry {
                number: node.unsigned(ebml::TRACK_NUMBER)?,
                uid: node.unsigned(ebml::TRACK_UID).unwrap_or(0),
                kind: match node.unsigned(ebml::TRACK_TYPE)? {
                    1 => Kind::Video,
                    2 => Kind::Audio,
                    _ => Kind::Other,
                },
                codec: node.text(ebml::CODEC_ID)?,
                private: node.bytes(ebml::CODEC_PRIVATE).unwrap_or_default().to_vec(),
                delay: node.unsigned(ebml::CODEC_DELAY),
                encoded: node.all(ebml::CONTENT_ENCODINGS).next().is_some(),
                display: Display::read(node),
            })
        };
        self.tracks = tracks
            .all(ebml::TRACK_ENTRY)
            .map(|node| entry(node).ok_or_else(|| damaged("a track does not say what it is")))
            .collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The first element of this kind.
    pub(crate) fn node(&self, id: u32) -> Option<&Node> {
        self.nodes.iter().map(|(_, node)| node).find(|node| node.id == id)
    }

    /// How long it says that it plays, in nanoseconds.
    pub(crate) fn duration(&self) -> Option<u64> {
        let bytes = self.node(ebml::INFO)?.bytes(ebml::DURATION)?;
        let units = match bytes.len() {
            4 => f64::from(f32::from_be_bytes(bytes.try_into().ok()?)),
            8 => f64::from_be_bytes(bytes.try_into().ok()?),
            _ => return None,
        };
        (units.is_finite() && units > 0.0).then_some((units * self.scale as f64) as u64)
    }
}

/// Where the elements are that a list of positions names, within the segment: those that are wanted.
fn seeks(list: &Node, is_wanted: impl Fn(u32) -> bool) -> Vec<u64> {
    list.all(ebml::SEEK)
        .filter(|seek| {
            let id = seek.bytes(ebml::SEEK_ID).and_then(ebml::unsigned).unwrap_or(0);
            u32::try_from(id).is_ok_and(&is_wanted)
        })
        .filter_map(|seek| seek.unsigned(ebml::SEEK_POSITION))
        .collect()
}

/// Whether nothing more of a segment that does not say where it ends begins at an offset: tags, zeros and line ends do, or what makes no sense and has no cluster behind it.
fn is_over(window: &mut Window<'_>, offset: u64) -> Result<bool, SpliceError> {
    let bytes = window.get(offset, MOST_HEAD)?;
    let is_known = |bytes: &[u8]| Head::parse(bytes).is_some_and(|head| ebml::is_known(head.id));
    let may_be_known = bytes.len() < MOST_HEAD && ebml::may_begin(bytes);
    if is_known(bytes) || may_be_known {
        return Ok(false);
    }
    if tail::is_tail(window, offset)? {
        return Ok(true);
    }
    let head = Head::parse(window.get(offset, MOST_HEAD)?);
    let end = head.and_then(|head| offset.checked_add(head.len as u64)?.checked_add(head.size?));
    if end.is_some_and(|end| end <= window.len()) {
        // An element that nobody knows.
        return Ok(false);
    }
    let (mut at, cluster) = (offset, ebml::CLUSTER.to_be_bytes());
    while at < window.len() {
        let bytes = window.at_least(at, cluster.len())?;
        if bytes.windows(cluster.len()).any(|bytes| bytes == cluster) {
            return Ok(false);
        }
        at += (bytes.len() + 1).saturating_sub(cluster.len()).max(1) as u64;
    }
    Ok(true)
}

/// The head of the element at an offset.
fn head_at(window: &mut Window<'_>, offset: u64) -> Result<Head, SpliceError> {
    let bytes = window.get(offset, MOST_HEAD)?;
    match Head::parse(bytes) {
        Some(head) => Ok(head),
        None if bytes.len() < MOST_HEAD => Err(window.truncated(offset)),
        None => Err(SpliceError::Corrupt { offset }),
    }
}

/// What is in the element at an offset: it ends where what it is in does, at the latest.
fn body_of(window: &Window<'_>, offset: u64, head: Head, end: u64) -> Result<Range<u64>, SpliceError> {
    let start = offset + head.len as u64;
    let size = head.size.ok_or(SpliceError::Corrupt { offset })?;
    match start.checked_add(size) {
        Some(to) if to <= end => Ok(start..to),
        to if to.is_none_or(|to| to > window.len()) => Err(window.truncated(offset)),
        _ => Err(SpliceError::Corrupt { offset }),
    }
}

/// Reads an element, of the bytes that may still be `held`.
fn node_at(
    content: &dyn Content,
    id: u32,
    body: &Range<u64>,
    held: &mut u64,
    deadline: Duration,
) -> Result<Node, SpliceError> {
    let len = body.end - body.start;
    *held = held
        .checked_sub(len)
        .ok_or_else(|| SpliceError::Unsupported("the tags of the WebM file are longer than 16 MiB".into()))?;
    let bytes = splice::read(content, body.start, len as usize, deadline)?;
    Node::parse(id, &bytes).map_err(|damage| SpliceError::Corrupt {
        offset: body.start + damage as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file whose list of elements names this many, which lie within each other, one of them after each `step` bytes.
    fn nested(count: usize, step: usize) -> Vec<u8> {
        let header = ebml::element(ebml::EBML, &[]);
        let (mut inner, mut starts) = (Vec::new(), Vec::new());
        for _ in 0..count {
            // A child that nobody knows is kept as it is.
            let child = ebml::element(0x4DBA, &[vec![0; step], inner].concat());
            inner = ebml::element(ebml::INFO, &child);
            starts.push(inner.len());
        }
        let list = |after: usize| {
            let seeks: Vec<u8> = starts
                .iter()
                .flat_map(|from_end| {
                    let mut position = Vec::new();
                    ebml::write_wide_head(&mut position, ebml::SEEK_POSITION, 8);
                    position.extend((after + inner.len() - from_end).to_be_bytes());
                    let id = ebml::element(ebml::SEEK_ID, &ebml::INFO.to_be_bytes());
                    ebml::element(ebml::SEEK, &[id, position].concat())
                })
                .collect();
            ebml::element(ebml::SEEK_HEAD, &seeks)
        };
        let cluster = ebml::element(ebml::CLUSTER, &[]);
        let after = list(0).len() + cluster.len();
        let segment = ebml::element(ebml::SEGMENT, &[list(after), cluster, inner].concat());
        [header, segment].concat()
    }

    #[test]
    fn elements_within_each_other_are_not_held_again_and_again() {
        let file = nested(200, 10_000);
        assert!(file.len() < 3_000_000);
        let error = Webm::read(&file, Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("16 MiB"), "{error}");
        // Up to there they are read, and more is missing.
        let error = Webm::read(&nested(3, 1_000), Duration::ZERO)
            .unwrap_err()
            .to_string();
        assert!(error.contains("no list of tracks"), "{error}");
        let error = Webm::read(&nested(300, 1), Duration::ZERO)
            .unwrap_err()
            .to_string();
        assert!(error.contains("too many elements"), "{error}");
    }
}
