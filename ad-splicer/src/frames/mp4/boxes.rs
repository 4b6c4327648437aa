//! Boxes: those of a file, and the tree within `moov`.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::content::Content;
use crate::frames::tail;
use crate::frames::window::Window;
use crate::splice::{self, SpliceError};

/// Longest `moov` that is held in memory, in bytes.
const MOST_MOOV: u64 = 64 << 20;
/// Bytes of boxes that are read at once: there are many short ones in fragments.
const AT_ONCE: u64 = 1 << 20;
/// Bytes of the head of a box, at least.
const SHORTEST: u64 = 8;
/// How many boxes there may be in a file, or beside each other in the tree.
const MOST_BOXES: usize = 200_000;
/// What is longer than this in a box is not copied when its bytes are taken apart.
const LONG: usize = 4096;
/// Boxes that hold boxes.
const NESTED: [&[u8; 4]; 9] = [
    b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl", b"udta", b"mvex", b"traf",
];

/// Kinds of boxes that stand beside each other in files: what cannot be all of a box, and is of no such kind, is none.
const KINDS: [&[u8; 4]; 20] = [
    b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"mfra", b"free", b"skip", b"wide", b"sidx", b"ssix",
    b"pdin", b"meta", b"meco", b"uuid", b"emsg", b"prft", b"udta", b"pnot", b"imda",
];

/// A box of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopBox {
    pub(crate) kind: [u8; 4],
    pub(crate) start: u64,
    /// Where what it holds begins.
    pub(crate) body: u64,
    pub(crate) end: u64,
}

/// A box of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Atom {
    pub(crate) kind: [u8; 4],
    pub(crate) body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    Raw(Vec<u8>),
    Nested(Vec<Atom>),
}

/// The boxes of the file, in order; `None` when it does not begin like MP4. What stands behind them and is no box is left out.
pub(crate) fn top_level(
    content: &dyn Content,
    deadline: Duration,
) -> Result<Option<Vec<TopBox>>, SpliceError> {
    let (found, cut) = whole_boxes(content, deadline)?;
    let Some(last) = found.last() else {
        return Ok(None);
    };
    if let Some(cut) = cut {
        return Err(SpliceError::truncated(content, cut.start, Some(cut.end)));
    }
    if last.end < content.len() && tail::tags_at(&mut Window::new(content, deadline))? < last.end {
        // A tag took the place of its end.
        return Err(SpliceError::truncated(content, last.start, None));
    }
    Ok(Some(found))
}

/// The boxes of the file that are whole, in order, none when it does not begin like MP4; and where the one would be that is not whole.
pub(crate) fn whole_boxes(
    content: &dyn Content,
    deadline: Duration,
) -> Result<(Vec<TopBox>, Option<Range<u64>>), SpliceError> {
    let (mut at, mut found) = (0, Vec::new());
    while at < content.len() && found.len() < MOST_BOXES {
        // What a box holds may be much: nothing of it is read.
        let len = (content.len() - at).min(16) as usize;
        let head = splice::read(content, at, len, deadline)?;
        let Some((kind, own, len)) = box_head(&head, content.len() - at) else {
            // No table tells how many fragments there should be.
            let in_fragments = found.iter().any(|found: &TopBox| &found.kind == b"moof");
            let begins = |kind: &&[u8; 4]| kind.starts_with(head.get(4..).unwrap_or_default());
            let is_cut = in_fragments && head[0] == 0 && KINDS.iter().any(begins);
            if is_cut && !tail::is_tail(&mut Window::new(content, deadline), at)? {
                return Ok((found, Some(at..at + SHORTEST)));
            }
            break;
        };
        if found.is_empty() && !matches!(&kind, b"ftyp" | b"moov" | b"mdat" | b"wide" | b"free" | b"skip") {
            break;
        }
        // Zeros are no box of which nobody knows how long it is.
        let end = at.checked_add(len).filter(|_| len >= own && kind != [0; 4]);
        let Some(end) = end else { break };
        if end > content.len() {
            if !KINDS.contains(&&kind) {
                break;
            }
            return Ok((found, Some(at..end)));
        }
        found.push(TopBox {
            kind,
            start: at,
            body: at + own,
            end,
        });
        at = end;
    }
    Ok((found, None))
}

/// Reads the tree of `moov` or `moof`.
pub(crate) fn read_tree(
    content: &dyn Content,
    moov: &TopBox,
    deadline: Duration,
) -> Result<Atom, SpliceError> {
    let damaged = || {
        SpliceError::Unsupported(format!(
            "the MP4 file is damaged: the box at byte {} makes no sense",
            moov.start
        ))
    };
    if moov.end - moov.body > MOST_MOOV {
        return Err(SpliceError::Unsupported(
            "a movie box of the MP4 file is longer than 64 MiB".into(),
        ));
    }
    let (len, all) = (moov.end - moov.body, moov.body..moov.end);
    let children = if len <= AT_ONCE {
        let bytes = splice::read(content, moov.body, len as usize, deadline)?;
        read_boxes(&bytes, 0..len, 0, deadline)
    } else {
        read_boxes(content, all, 0, deadline)
    };
    Ok(Atom {
        kind: moov.kind,
        body: Body::Nested(children?.ok_or_else(damaged)?),
    })
}

/// Boxes beside each other, nothing of which is held twice; `None` when they make no sense. The recursion is bounded, as a kind that nests is never within itself more often than the bytes allow and each level takes 8 of them.
fn read_boxes(
    content: &dyn Content,
    range: Range<u64>,
    depth: u32,
    deadline: Duration,
) -> Result<Option<Vec<Atom>>, SpliceError> {
    let (mut at, mut found) = (range.start, Vec::new());
    while at < range.end {
        let left = range.end - at;
        let head = splice::read(content, at, left.min(16) as usize, deadline)?;
        let Some((kind, own, len)) = box_head(&head, left) else {
            return Ok(None);
        };
        if len < own || len > left || found.len() > MOST_BOXES {
            return Ok(None);
        }
        let body = at + own..at + len;
        at = body.end;
        let len = body.end - body.start;
        let nested = if !NESTED.contains(&&kind) || depth >= 8 {
            None
        } else if len <= AT_ONCE {
            let bytes = splice::read(content, body.start, len as usize, deadline)?;
            read_boxes(&bytes, 0..len, depth + 1, deadline)?
        } else {
            read_boxes(content, body.clone(), depth + 1, deadline)?
        };
        let body = if let Some(children) = nested {
            Body::Nested(children)
        } else {
            Body::Raw(splice::read(content, body.start, len as usize, deadline)?)
        };
        found.push(Atom { kind, body });
    }
    Ok(Some(found))
}

/// The kind of a box, the length of its head, and its own, where so many bytes are left.
fn box_head(head: &[u8], left: u64) -> Option<([u8; 4], u64, u64)> {
    let [a, b, c, d, k0, k1, k2, k3] = *head.first_chunk::<8>()?;
    let (own, len) = match u32::from_be_bytes([a, b, c, d]) {
        0 => (8, left),
        1 => (16, u64::from_be_bytes(*head.get(8..)?.first_chunk()?)),
        len => (8, u64::from(len)),
    };
    Some(([k0, k1, k2, k3], own, len))
}

impl Atom {
    pub(crate) fn raw(kind: [u8; 4], bytes: Vec<u8>) -> Self {
        Self {
            kind,
            body: Body::Raw(bytes),
        }
    }

    /// The boxes in it.
    pub(crate) fn children(&self) -> &[Atom] {
        match &self.body {
            Body::Nested(children) => children,
            Body::Raw(_) => &[],
        }
    }

    pub(crate) fn children_mut(&mut self) -> Option<&mut Vec<Atom>> {
        match &mut self.body {
            Body::Nested(children) => Some(children),
            Body::Raw(_) => None,
        }
    }

    /// What it holds, when that is not boxes.
    pub(crate) fn raw_bytes(&self) -> Option<&[u8]> {
        match &self.body {
            Body::Raw(bytes) => Some(bytes),
            Body::Nested(_) => None,
        }
    }

    /// The first box of this path below it.
    pub(crate) fn find(&self, path: &[&[u8; 4]]) -> Option<&Atom> {
        let Some((first, rest)) = path.split_first() else {
            return Some(self);
        };
        let child = self.children().iter().find(|child| child.kind == **first)?;
        child.find(rest)
    }

    pub(crate) fn find_mut(&mut self, path: &[&[u8; 4]]) -> Option<&mut Atom> {
        let Some((first, rest)) = path.split_first() else {
            return Some(self);
        };
        let child = self
            .children_mut()?
            .iter_mut()
            .find(|child| child.kind == **first)?;
        child.find_mut(rest)
    }

    /// What the box of this path holds, when that is not boxes.
    pub(crate) fn bytes(&self, path: &[&[u8; 4]]) -> Option<&[u8]> {
        self.find(path)?.raw_bytes()
    }

    pub(crate) fn bytes_mut(&mut self, path: &[&[u8; 4]]) -> Option<&mut Vec<u8>> {
        match &mut self.find_mut(path)?.body {
            Body::Raw(bytes) => Some(bytes),
            Body::Nested(_) => None,
        }
    }

    /// How many bytes [`Atom::write`] appends.
    pub(crate) fn len(&self) -> u64 {
        let body = match &self.body {
            Body::Raw(bytes) => bytes.len() as u64,
            Body::Nested(children) => children.iter().map(Self::len).sum(),
        };
        8 + body
    }

    /// Appends the box's bytes.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend([0; 4]);
        out.extend(self.kind);
        match &self.body {
            Body::Raw(bytes) => out.extend(bytes),
            Body::Nested(children) => children.iter().for_each(|child| child.write(out)),
        }
        // At most what was read (64 MiB) and the tables.
        let len = (out.len() - start) as u32;
        out[start..start + 4].copy_from_slice(&len.to_be_bytes());
    }
}

impl Atom {
    /// The box's bytes, in parts: what is long in it is handed on as it is.
    pub(crate) fn into_parts(self) -> Vec<Bytes> {
        let (mut parts, mut open) = (Vec::new(), Vec::new());
        self.take_apart(&mut parts, &mut open);
        parts.push(open.into());
        parts
    }

    fn take_apart(self, parts: &mut Vec<Bytes>, open: &mut Vec<u8>) {
        open.extend((self.len() as u32).to_be_bytes());
        open.extend(self.kind);
        match self.body {
            Body::Raw(bytes) if bytes.len() > LONG => {
                parts.extend([std::mem::take(open).into(), bytes.into()]);
            }
            Body::Raw(bytes) => open.extend(bytes),
            Body::Nested(children) => {
                for child in children {
                    child.take_apart(parts, open);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(bytes: &[u8]) -> Option<Vec<Atom>> {
        let len = bytes.len() as u64;
        read_boxes(&bytes.to_vec(), 0..len, 0, Duration::ZERO).unwrap()
    }

    #[test]
    fn unknown_boxes_are_kept() {
        let mut tree = b"\0\0\0\x0Cabcd1234".to_vec();
        tree.extend(b"\0\0\0\x14trak\0\0\0\x0Cwxyz5678");
        let parsed = parse(&tree).unwrap();
        assert_eq!(parsed[1].bytes(&[b"wxyz"]), Some(&b"5678"[..]));
        let mut out = Vec::new();
        for atom in &parsed {
            atom.write(&mut out);
        }
        assert_eq!(out, tree);
        let parts = parsed.into_iter().flat_map(Atom::into_parts);
        assert_eq!(parts.collect::<Vec<_>>().concat(), tree);
    }

    #[test]
    fn what_is_long_is_handed_on_as_it_is() {
        let table = vec![7; LONG + 1];
        let place = table.as_ptr();
        let stbl = |table| Atom {
            kind: *b"stbl",
            body: Body::Nested(vec![
                Atom::raw(*b"stco", b"some".to_vec()),
                Atom::raw(*b"stsz", table),
                Atom::raw(*b"stss", b"more".to_vec()),
            ]),
        };
        let mut whole = Vec::new();
        stbl(table.clone()).write(&mut whole);
        let parts = stbl(table).into_parts();
        assert_eq!(parts.concat(), whole);
        assert_eq!(parts[1].as_ptr(), place);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), nest in 0usize..40) {
            let _ = parse(&bytes);
            let mut nested = bytes;
            for _ in 0..nest {
                let mut outer = ((nested.len() + 8) as u32).to_be_bytes().to_vec();
                outer.extend(b"trak");
                outer.extend(nested);
                nested = outer;
            }
            let _ = parse(&nested);
            let _ = top_level(&nested, Duration::ZERO);
        }
    }
}
