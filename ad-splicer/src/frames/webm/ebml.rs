//! EBML (RFC 8794): the heads of elements, and small elements held in memory and written again.
//!
//! Elements that are changed are read into a tree of [`Node`]s: whatever is not a list of elements that we change stays bytes, so that what is not known here is written as it was read.

/// Most levels of elements in each other.
const MOST_DEPTH: usize = 12;
/// Most elements in a tree: each takes more memory than the two bytes that it may be in a file.
const MOST_NODES: usize = 500_000;

pub(crate) const EBML: u32 = 0x1A45_DFA3;
pub(crate) const SEGMENT: u32 = 0x1853_8067;
pub(crate) const SEEK_HEAD: u32 = 0x114D_9B74;
pub(crate) const SEEK: u32 = 0x4DBB;
pub(crate) const SEEK_ID: u32 = 0x53AB;
pub(crate) const SEEK_POSITION: u32 = 0x53AC;
pub(crate) const INFO: u32 = 0x1549_A966;
pub(crate) const TIMESTAMP_SCALE: u32 = 0x2A_D7B1;
pub(crate) const DURATION: u32 = 0x4489;
pub(crate) const TRACKS: u32 = 0x1654_AE6B;
pub(crate) const TRACK_ENTRY: u32 = 0xAE;
pub(crate) const TRACK_NUMBER: u32 = 0xD7;
pub(crate) const TRACK_UID: u32 = 0x73C5;
pub(crate) const TRACK_TYPE: u32 = 0x83;
pub(crate) const CODEC_ID: u32 = 0x86;
pub(crate) const CODEC_PRIVATE: u32 = 0x63A2;
pub(crate) const CODEC_NAME: u32 = 0x25_8688;
pub(crate) const CODEC_DELAY: u32 = 0x56AA;
pub(crate) const SEEK_PRE_ROLL: u32 = 0x56BB;
pub(crate) const AUDIO: u32 = 0xE1;
pub(crate) const CONTENT_ENCODINGS: u32 = 0x6D80;
pub(crate) const DEFAULT_DURATION: u32 = 0x23_E383;
pub(crate) const VIDEO: u32 = 0xE0;
pub(crate) const STEREO_MODE: u32 = 0x53B8;
pub(crate) const ALPHA_MODE: u32 = 0x53C0;
pub(crate) const PIXEL_WIDTH: u32 = 0xB0;
pub(crate) const PIXEL_HEIGHT: u32 = 0xBA;
pub(crate) const DISPLAY_WIDTH: u32 = 0x54B0;
pub(crate) const DISPLAY_HEIGHT: u32 = 0x54BA;
pub(crate) const COLOUR: u32 = 0x55B0;
pub(crate) const MATRIX: u32 = 0x55B1;
pub(crate) const RANGE: u32 = 0x55B9;
pub(crate) const TRANSFER: u32 = 0x55BA;
pub(crate) const TAGS: u32 = 0x1254_C367;
pub(crate) const TAG: u32 = 0x7373;
pub(crate) const TARGETS: u32 = 0x63C0;
pub(crate) const TAG_TRACK_UID: u32 = 0x63C5;
pub(crate) const SIMPLE_TAG: u32 = 0x67C8;
pub(crate) const TAG_NAME: u32 = 0x45A3;
pub(crate) const TAG_STRING: u32 = 0x4487;
pub(crate) const CHAPTERS: u32 = 0x1043_A770;
pub(crate) const EDITION_ENTRY: u32 = 0x45B9;
pub(crate) const CHAPTER_ATOM: u32 = 0xB6;
pub(crate) const CHAPTER_UID: u32 = 0x73C4;
pub(crate) const CHAPTER_START: u32 = 0x91;
pub(crate) const CHAPTER_END: u32 = 0x92;
pub(crate) const CHAPTER_DISPLAY: u32 = 0x80;
pub(crate) const CHAPTER_STRING: u32 = 0x85;
pub(crate) const ATTACHMENTS: u32 = 0x1941_A469;
pub(crate) const CUES: u32 = 0x1C53_BB6B;
pub(crate) const CUE_POINT: u32 = 0xBB;
pub(crate) const CUE_TIME: u32 = 0xB3;
pub(crate) const CUE_TRACK_POSITIONS: u32 = 0xB7;
pub(crate) const CUE_TRACK: u32 = 0xF7;
pub(crate) const CUE_CLUSTER_POSITION: u32 = 0xF1;
pub(crate) const CLUSTER: u32 = 0x1F43_B675;
pub(crate) const TIMESTAMP: u32 = 0xE7;
pub(crate) const POSITION: u32 = 0xA7;
pub(crate) const PREVIOUS_SIZE: u32 = 0xAB;
pub(crate) const SIMPLE_BLOCK: u32 = 0xA3;
pub(crate) const BLOCK_GROUP: u32 = 0xA0;
pub(crate) const BLOCK: u32 = 0xA1;
pub(crate) const REFERENCE_BLOCK: u32 = 0xFB;
pub(crate) const DISCARD_PADDING: u32 = 0x75A2;
pub(crate) const VOID: u32 = 0xEC;
pub(crate) const CRC: u32 = 0xBF;

/// The elements that stand in a segment or in a cluster.
const OUTER: [u32; 16] = [
    SEEK_HEAD,
    INFO,
    TRACKS,
    CHAPTERS,
    TAGS,
    ATTACHMENTS,
    CUES,
    CLUSTER,
    TIMESTAMP,
    POSITION,
    PREVIOUS_SIZE,
    SIMPLE_BLOCK,
    BLOCK_GROUP,
    VOID,
    CRC,
    EBML,
];

/// Whether an element is one of those that stand in a segment or in a cluster, or begins another file.
pub(crate) fn is_known(id: u32) -> bool {
    OUTER.contains(&id)
}

/// Whether such an element may begin with these bytes, of which there are too few for its head.
pub(crate) fn may_begin(bytes: &[u8]) -> bool {
    OUTER.iter().any(|id| {
        let id = id.to_be_bytes();
        let id = &id[id.iter().take_while(|byte| **byte == 0).count()..];
        id.starts_with(bytes) || bytes.starts_with(id)
    })
}

/// The lists of elements that are read into trees.
fn is_list(id: u32) -> bool {
    matches!(
        id,
        SEEK_HEAD
            | SEEK
            | INFO
            | TRACKS
            | TRACK_ENTRY
            | VIDEO
            | COLOUR
            | TAGS
            | TAG
            | TARGETS
            | SIMPLE_TAG
            | CHAPTERS
            | EDITION_ENTRY
            | CHAPTER_ATOM
            | CHAPTER_DISPLAY
    )
}

/// The head of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) id: u32,
    /// Its own length in bytes.
    pub(crate) len: usize,
    /// The length of what follows it; `None` when the writer did not know.
    pub(crate) size: Option<u64>,
}

/// Longest head in bytes.
pub(crate) const MOST_HEAD: usize = 12;

/// A number of variable length without its marker, and its length; `None` for its value when all of its bits are set.
pub(crate) fn number(bytes: &[u8]) -> Option<(Option<u64>, usize)> {
    let first = *bytes.first()?;
    let len = first.leading_zeros() as usize + 1;
    let bytes = bytes.get(..len).filter(|_| len <= 8)?;
    let value = bytes
        .iter()
        .fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    let mask = (1_u64 << (7 * len)) - 1;
    let value = value & mask;
    Some(((value != mask).then_some(value), len))
}

impl Head {
    /// `None` when no whole head begins there.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let len = bytes.first()?.leading_zeros() as usize + 1;
        let id = bytes.get(..len).filter(|_| len <= 4)?;
        let id = id.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
        let (size, size_len) = number(&bytes[len..])?;
        Some(Self {
            id,
            len: len + size_len,
            size,
        })
    }
}

/// An unsigned number of at most eight bytes.
pub(crate) fn unsigned(bytes: &[u8]) -> Option<u64> {
    (bytes.len() <= 8).then(|| bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// A signed number of at most eight bytes.
pub(crate) fn signed(bytes: &[u8]) -> Option<i64> {
    let value = unsigned(bytes)?;
    let unused = 64 - 8 * bytes.len() as u32;
    Some(if bytes.is_empty() {
        0
    } else {
        (value << unused) as i64 >> unused
    })
}

/// An element's number, and its length in as few bytes as it takes.
pub(crate) fn write_head(out: &mut Vec<u8>, id: u32, size: u64) {
    write_id(out, id);
    write_number(out, size);
}

/// A number of variable length in as few bytes as it takes.
pub(crate) fn write_number(out: &mut Vec<u8>, value: u64) {
    // All bits set would mean that nobody knows.
    let len = (1..8).find(|len| value < (1 << (7 * len)) - 1).unwrap_or(8);
    let marked = value | 1 << (7 * len);
    out.extend(&marked.to_be_bytes()[8 - len as usize..]);
}

/// The same with the length in eight bytes.
pub(crate) fn write_wide_head(out: &mut Vec<u8>, id: u32, size: u64) {
    write_id(out, id);
    out.extend((size | 1 << 56).to_be_bytes());
}

fn write_id(out: &mut Vec<u8>, id: u32) {
    let skipped = id.leading_zeros() as usize / 8;
    out.extend(&id.to_be_bytes()[skipped..]);
}

/// A whole element.
pub(crate) fn element(id: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + MOST_HEAD);
    write_head(&mut out, id, body.len() as u64);
    out.extend(body);
    out
}

/// A whole element with an unsigned number in as few bytes as it takes.
pub(crate) fn unsigned_element(id: u32, value: u64) -> Vec<u8> {
    let skipped = (value.leading_zeros() as usize / 8).min(7);
    element(id, &value.to_be_bytes()[skipped..])
}

/// An element in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) id: u32,
    pub(crate) body: Body,
}

/// What is in an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Children(Vec<Node>),
    Bytes(Vec<u8>),
}

impl Node {
    /// Reads what is in an element; `Err` says where it is damaged. Padding and checksums are left out, since they are not right any more when something is changed.
    pub(crate) fn parse(id: u32, body: &[u8]) -> Result<Self, usize> {
        let mut left = MOST_NODES;
        Self::parse_within(id, body, MOST_DEPTH, &mut left)
    }

    fn parse_within(id: u32, body: &[u8], depth: usize, left: &mut usize) -> Result<Self, usize> {
        *left = left.checked_sub(1).ok_or(0_usize)?;
        if !is_list(id) {
            return Ok(Self {
                id,
                body: Body::Bytes(body.to_vec()),
            });
        }
        let depth = depth.checked_sub(1).ok_or(0_usize)?;
        let (mut children, mut rest) = (Vec::new(), body);
        while !rest.is_empty() {
            let at = body.len() - rest.len();
            let (head, within, after) = Self::first_of(rest).ok_or(at)?;
            if !matches!(head.id, VOID | CRC) {
                let child = Self::parse_within(head.id, within, depth, left);
                children.push(child.map_err(|damage| at + head.len + damage)?);
            }
            rest = after;
        }
        Ok(Self {
            id,
            body: Body::Children(children),
        })
    }

    /// The first element's head, what is in it, and what follows it.
    fn first_of(bytes: &[u8]) -> Option<(Head, &[u8], &[u8])> {
        let head = Head::parse(bytes)?;
        let size = usize::try_from(head.size?).ok()?;
        let (within, after) = bytes[head.len..].split_at_checked(size)?;
        Some((head, within, after))
    }

    pub(crate) fn children(&self) -> &[Self] {
        match &self.body {
            Body::Children(children) => children,
            Body::Bytes(_) => &[],
        }
    }

    pub(crate) fn children_mut(&mut self) -> &mut [Self] {
        match &mut self.body {
            Body::Children(children) => children,
            Body::Bytes(_) => &mut [],
        }
    }

    /// Its children of one kind.
    pub(crate) fn all(&self, id: u32) -> impl Iterator<Item = &Self> {
        self.children().iter().filter(move |child| child.id == id)
    }

    /// The bytes of the first child of this kind.
    pub(crate) fn bytes(&self, id: u32) -> Option<&[u8]> {
        self.all(id).find_map(|child| match &child.body {
            Body::Bytes(bytes) => Some(bytes.as_slice()),
            Body::Children(_) => None,
        })
    }

    pub(crate) fn unsigned(&self, id: u32) -> Option<u64> {
        self.bytes(id).and_then(unsigned)
    }

    /// A text, without the zeros that may pad it.
    pub(crate) fn text(&self, id: u32) -> Option<String> {
        let bytes = self.bytes(id)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    /// Replaces the bytes of the first child of this kind, or adds one.
    pub(crate) fn set(&mut self, id: u32, bytes: &[u8]) {
        let Body::Children(children) = &mut self.body else {
            return;
        };
        let body = Body::Bytes(bytes.to_vec());
        match children.iter_mut().find(|child| child.id == id) {
            Some(child) => child.body = body,
            None => children.push(Self { id, body }),
        }
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        match &self.body {
            Body::Bytes(bytes) => element(self.id, bytes),
            Body::Children(children) => {
                let body: Vec<u8> = children.iter().flat_map(Self::write).collect();
                element(self.id, &body)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_have_the_length_that_their_first_byte_says() {
        for (bytes, value) in [
            (&[0x81][..], Some((Some(1), 1))),
            (&[0xFF], Some((None, 1))),
            (&[0x40, 0x7F], Some((Some(127), 2))),
            (&[0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF], Some((None, 8))),
            (&[0x40], None),
            (&[0x00, 0x81], None),
            (&[], None),
        ] {
            assert_eq!(number(bytes), value, "{bytes:x?}");
        }
        assert_eq!(signed(&[0xFF]), Some(-1));
        assert_eq!(signed(&[0x00, 0xCD, 0xFE, 0x60]), Some(13_500_000));
        assert_eq!(signed(&[]), Some(0));
    }

    #[test]
    fn trees_are_written_as_they_were_read_but_for_padding() {
        let title = element(0x7BA9, b"Ep");
        let info = [element(VOID, &[0; 20]), title.clone(), element(0x4999, b"new")].concat();
        let mut node = Node::parse(INFO, &info).unwrap();
        assert_eq!(
            node.write(),
            element(INFO, &[title.clone(), element(0x4999, b"new")].concat())
        );
        node.set(DURATION, &[1]);
        node.set(DURATION, &[2]);
        assert_eq!(node.unsigned(DURATION), Some(2));
        assert_eq!(node.text(0x7BA9).as_deref(), Some("Ep"));
        assert_eq!(Node::parse(INFO, &info[..info.len() - 1]), Err(27));
        let inner = element(TRACK_ENTRY, &[0xD7]);
        assert_eq!(
            Node::parse(TRACKS, &[title, inner].concat()),
            Err(7),
            "of what is within it"
        );
    }

    proptest! {
        #[test]
        fn heads_are_read_as_they_were_written(size in 0u64..1 << 55, shift in 0u32..55, id in prop::sample::select(vec![EBML, SEEK, BLOCK, TIMESTAMP_SCALE])) {
            let size = size >> shift;
            for wide in [false, true] {
                let mut out = Vec::new();
                if wide { write_wide_head(&mut out, id, size) } else { write_head(&mut out, id, size) }
                prop_assert_eq!(Head::parse(&out), Some(Head { id, len: out.len(), size: Some(size) }));
            }
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Node::parse(TAGS, &bytes).map(|node| node.write());
        }
    }
}
