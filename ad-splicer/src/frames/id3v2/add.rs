//! Chapters in a tag that come or go: each is a frame of its own, and named in tables of contents, by their times.

use super::{
    TagChapter, UNSYNCHRONISED, body, chapters, close, each_tag, frame_at, open, to_syncsafe, unsynchronise,
    with_body,
};

/// `head` with further chapters in its first tag that has any: each a frame of its own, and named by the table of contents that stands above all.
pub(crate) fn add_chapters(head: &[u8], new: &[TagChapter]) -> Vec<u8> {
    let mut is_done = false;
    each_tag(head, &mut |tag| {
        let added = (!is_done && !chapters(tag).is_empty())
            .then(|| add_to_tag(tag, new))
            .flatten();
        is_done |= added.is_some();
        added
    })
}

/// A chapter as a frame.
fn chapter_frame(chapter: &TagChapter, version: u8, unsynchronised: bool) -> Vec<u8> {
    let frame = |id: &[u8; 4], data: &[u8]| {
        let size = data.len() as u32;
        let size = if version >= 4 {
            to_syncsafe(size)
        } else {
            size.to_be_bytes()
        };
        [&id[..], &size, &[0, 0], data].concat()
    };
    // Text of 2.3 is UTF-16 where it is no Latin-1.
    let title = if version >= 4 {
        [&[3], chapter.title.as_bytes()].concat()
    } else {
        let units = std::iter::once(0xFEFF).chain(chapter.title.encode_utf16());
        std::iter::once(1)
            .chain(units.flat_map(u16::to_le_bytes))
            .collect()
    };
    let mut data = bytes(&chapter.id);
    data.push(0);
    data.extend(chapter.start.to_be_bytes());
    data.extend(chapter.end.to_be_bytes());
    data.extend([0xFF; 8]);
    data.extend(frame(b"TIT2", &title));
    if unsynchronised {
        data = unsynchronise(&data);
    }
    frame(b"CHAP", &data)
}

/// The data of a table of contents with further chapters, all by their beginnings; `None` when it is none that stands above all, or names too many.
fn table_with(data: &[u8], all: &[TagChapter], new: &[&TagChapter]) -> Option<Vec<u8>> {
    const TOP_LEVEL: u8 = 2;
    let mut table = Table::parse(data)?;
    if table.head.last()? & TOP_LEVEL == 0 {
        return None;
    }
    let named = &mut table.named;
    named.extend(new.iter().map(|chapter| bytes(&chapter.id)));
    let begins = |id: &Vec<u8>| {
        let found = all
            .iter()
            .chain(new.iter().copied())
            .find(|chapter| bytes(&chapter.id) == *id);
        found.map_or(0, |chapter| chapter.start)
    };
    named.sort_by_key(begins);
    table.write()
}

/// An id as it stands in the tag.
fn bytes(id: &str) -> Vec<u8> {
    id.chars().map(|letter| letter as u8).collect()
}

/// The data of a table of contents.
struct Table<'a> {
    /// Its id and its flags.
    head: &'a [u8],
    /// The ids that it names.
    named: Vec<Vec<u8>>,
    /// What describes it.
    rest: &'a [u8],
}

impl<'a> Table<'a> {
    fn parse(data: &'a [u8]) -> Option<Self> {
        let zero = data.iter().position(|byte| *byte == 0)?;
        let count = *data.get(zero + 2)?;
        let mut rest = data.get(zero + 3..)?;
        let mut named = Vec::new();
        for _ in 0..count {
            let end = rest.iter().position(|byte| *byte == 0)?;
            named.push(rest[..end].to_vec());
            rest = &rest[end + 1..];
        }
        Some(Self {
            head: &data[..zero + 2],
            named,
            rest,
        })
    }

    /// `None` when it names too many.
    fn write(&self) -> Option<Vec<u8>> {
        let mut out = self.head.to_vec();
        out.push(u8::try_from(self.named.len()).ok()?);
        for id in &self.named {
            out.extend(id);
            out.push(0);
        }
        out.extend_from_slice(self.rest);
        Some(out)
    }
}

/// Frames whose tables of contents do not name these chapters any more.
pub(super) fn without(frames: &[u8], version: u8, all_unsynchronised: bool, left_out: &[String]) -> Vec<u8> {
    let left_out: Vec<Vec<u8>> = left_out.iter().map(|id| bytes(id)).collect();
    let mut out = Vec::with_capacity(frames.len());
    let mut at = 0;
    while let Some(frame) = frame_at(frames, at, version) {
        at += frame.raw.len();
        let table = (&frame.id == b"CTOC")
            .then(|| open(&frame, version, all_unsynchronised))
            .flatten()
            .and_then(|(data, unsynchronised, indicator)| {
                let mut table = Table::parse(&data)?;
                table.named.retain(|id| !left_out.contains(id));
                Some(close(&frame, version, &table.write()?, unsynchronised, indicator))
            });
        out.extend(table.unwrap_or_else(|| frame.raw.to_vec()));
    }
    out.extend(&frames[at..]);
    out
}

fn add_to_tag(tag: &[u8], new: &[TagChapter]) -> Option<Vec<u8>> {
    let version = tag[3];
    let all = chapters(tag);
    let body = body(tag)?;
    let all_unsynchronised = version == 4 && tag[5] & UNSYNCHRONISED != 0;
    let mut new: Vec<&TagChapter> = new.iter().collect();
    new.sort_by_key(|chapter| chapter.start);
    let mut left = new.iter().peekable();
    let mut out = Vec::with_capacity(body.len());
    let (mut at, mut listed) = (0, all.iter());
    while let Some(frame) = frame_at(&body, at, version) {
        at += frame.raw.len();
        if &frame.id == b"CHAP"
            && let Some(chapter) = listed.next()
        {
            // Not every reader heeds the table.
            while let Some(earlier) = left.next_if(|earlier| earlier.start < chapter.start) {
                out.extend(chapter_frame(earlier, version, all_unsynchronised));
            }
        }
        let table = (&frame.id == b"CTOC")
            .then(|| open(&frame, version, all_unsynchronised))
            .flatten()
            .and_then(|(data, unsynchronised, indicator)| {
                let data = table_with(&data, &all, &new)?;
                Some(close(&frame, version, &data, unsynchronised, indicator))
            });
        out.extend(table.unwrap_or_else(|| frame.raw.to_vec()));
    }
    for chapter in left {
        out.extend(chapter_frame(chapter, version, all_unsynchronised));
    }
    with_body(tag, out, &body[at..])
}
