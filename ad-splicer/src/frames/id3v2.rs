//! ID3v2 tags whose times move with the audio (ID3v2.2 to 2.4, and the chapter frame addendum 1.0).
//!
//! Only what depends on time is touched: CHAP frames get new times (and no byte offsets), so do the texts of SYLT and the events of ETCO where they are counted in milliseconds, TLEN gets the new length; MLLT and ASPI, which map times to bytes, are dropped. Every other frame is copied as it is,
//! known or not; that is why the tag is edited here and not through a library that reads it into a model and writes it anew. ID3v2.2 has no chapters (`short`).
//! What cannot be made sense of is copied too: a bad tag never stops a splice.

mod add;
mod short;

pub(crate) use add::add_chapters;

/// Length of a tag's header.
pub(crate) const HEADER_LEN: usize = 10;
const UNSYNCHRONISED: u8 = 0x80;
const EXTENDED: u8 = 0x40;
const FOOTER: u8 = 0x10;

/// A chapter as it stands in a tag; times in milliseconds of the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TagChapter {
    pub(crate) id: String,
    pub(crate) title: String,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

fn syncsafe(bytes: [u8; 4]) -> Option<u32> {
    bytes.iter().try_fold(0, |size, byte| {
        (*byte < 0x80).then(|| size << 7 | u32::from(*byte))
    })
}

fn to_syncsafe(size: u32) -> [u8; 4] {
    [21, 14, 7, 0].map(|shift| (size >> shift) as u8 & 0x7F)
}

fn word(bytes: &[u8], at: usize) -> Option<[u8; 4]> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok()
}

/// The whole length of the tag that begins with these [`HEADER_LEN`] bytes; `None` when no tag does.
pub(crate) fn tag_len(header: &[u8]) -> Option<u64> {
    if !header.starts_with(b"ID3") || *header.get(3)? == 0xFF || *header.get(4)? == 0xFF {
        return None;
    }
    let footer = if header[3] >= 4 && header.get(5)? & FOOTER != 0 {
        HEADER_LEN
    } else {
        0
    };
    Some(u64::from(syncsafe(word(header, 6)?)?) + (HEADER_LEN + footer) as u64)
}

/// Removes the zero after each 0xFF.
fn resynchronise(bytes: &[u8]) -> Vec<u8> {
    let mut previous = 0;
    bytes
        .iter()
        .copied()
        .filter(|byte| {
            let keep = !(previous == 0xFF && *byte == 0);
            previous = *byte;
            keep
        })
        .collect()
}

/// Puts a zero after each 0xFF that needs one.
fn unsynchronise(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for (i, byte) in bytes.iter().enumerate() {
        out.push(*byte);
        if *byte == 0xFF && bytes.get(i + 1).is_none_or(|next| *next == 0 || *next >= 0xE0) {
            out.push(0);
        }
    }
    out
}

/// One frame in a tag's body.
struct Frame<'a> {
    id: [u8; 4],
    flags: [u8; 2],
    data: &'a [u8],
    /// The frame with its header.
    raw: &'a [u8],
}

fn plausible(body: &[u8], at: usize) -> bool {
    at == body.len()
        || body.get(at).is_some_and(|byte| *byte == 0)
        || body
            .get(at..at + 4)
            .is_some_and(|id| id.iter().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()))
}

/// The frame at `at`; `None` at padding and at what is no frame.
fn frame_at(body: &[u8], at: usize, version: u8) -> Option<Frame<'_>> {
    let id = word(body, at)?;
    if !id.iter().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()) {
        return None;
    }
    let size = word(body, at + 4)?;
    let plain = u32::from_be_bytes(size) as usize;
    let data = at + HEADER_LEN;
    let len = match syncsafe(size) {
        // Some writers of 2.4 forget that sizes are syncsafe there.
        Some(safe) if version >= 4 && plausible(body, data.saturating_add(safe as usize)) => safe as usize,
        _ => plain,
    };
    let end = data.checked_add(len)?;
    let flags = [*body.get(at + 8)?, *body.get(at + 9)?];
    Some(Frame {
        id,
        flags,
        data: body.get(data..end)?,
        raw: body.get(at..end)?,
    })
}

/// Text as ID3 encodes it: an encoding byte, then the text up to its end or a zero.
fn text(data: &[u8]) -> String {
    let Some((encoding, rest)) = data.split_first() else {
        return String::new();
    };
    let wide = |big: bool, rest: &[u8]| {
        let units: Vec<u16> = rest
            .chunks_exact(2)
            .map(|pair| {
                if big {
                    u16::from_be_bytes([pair[0], pair[1]])
                } else {
                    u16::from_le_bytes([pair[0], pair[1]])
                }
            })
            .take_while(|unit| *unit != 0)
            .collect();
        String::from_utf16_lossy(&units)
    };
    match encoding {
        1 if rest.starts_with(&[0xFE, 0xFF]) => wide(true, &rest[2..]),
        1 => wide(false, rest.strip_prefix(&[0xFF, 0xFE]).unwrap_or(rest)),
        2 => wide(true, rest),
        3 => String::from_utf8_lossy(rest.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned(),
        _ => rest
            .iter()
            .take_while(|byte| **byte != 0)
            .map(|byte| char::from(*byte))
            .collect(),
    }
}

/// Where the times of a chapter frame begin, and the chapter.
fn chapter(data: &[u8], version: u8) -> Option<(usize, TagChapter)> {
    let zero = data.iter().position(|byte| *byte == 0)?;
    let start = u32::from_be_bytes(word(data, zero + 1)?);
    let end = u32::from_be_bytes(word(data, zero + 5)?);
    let subframes = data.get(zero + 17..)?;
    let mut title = String::new();
    let mut at = 0;
    while let Some(frame) = frame_at(subframes, at, version) {
        if &frame.id == b"TIT2" {
            title = text(frame.data);
        }
        at += frame.raw.len();
    }
    let id = data[..zero].iter().map(|byte| char::from(*byte)).collect();
    Some((
        zero + 1,
        TagChapter {
            id,
            title,
            start,
            end,
        },
    ))
}

/// A frame's data without unsynchronisation and length indicator, and what to put it back with. `None` when it is compressed, encrypted or grouped.
fn open(frame: &Frame<'_>, version: u8, all_unsynchronised: bool) -> Option<(Vec<u8>, bool, bool)> {
    if version < 4 {
        return (frame.flags[1] & 0xE0 == 0).then(|| (frame.data.to_vec(), false, false));
    }
    if frame.flags[1] & 0x4C != 0 {
        return None;
    }
    let (unsynchronised, indicator) = (
        all_unsynchronised || frame.flags[1] & 2 != 0,
        frame.flags[1] & 1 != 0,
    );
    let data = if indicator {
        frame.data.get(4..)?
    } else {
        frame.data
    };
    Some((
        if unsynchronised {
            resynchronise(data)
        } else {
            data.to_vec()
        },
        unsynchronised,
        indicator,
    ))
}

fn close(frame: &Frame<'_>, version: u8, data: &[u8], unsynchronised: bool, indicator: bool) -> Vec<u8> {
    let mut body = Vec::new();
    if indicator {
        body.extend(to_syncsafe(data.len() as u32));
    }
    if unsynchronised {
        body.extend(unsynchronise(data));
    } else {
        body.extend_from_slice(data);
    }
    let mut out = frame.id.to_vec();
    let size = body.len() as u32;
    out.extend(if version >= 4 {
        to_syncsafe(size)
    } else {
        size.to_be_bytes()
    });
    out.extend(frame.flags);
    out.extend(body);
    out
}

/// Splits a tag of version 2.3 or 2.4 into its header and its body without extended header and footer, not unsynchronised as a whole.
fn body(tag: &[u8]) -> Option<Vec<u8>> {
    let (version, flags) = (tag[3], tag[5]);
    let size = syncsafe(word(tag, 6)?)? as usize;
    let mut body = tag.get(HEADER_LEN..HEADER_LEN + size)?.to_vec();
    if version == 3 && flags & UNSYNCHRONISED != 0 {
        body = resynchronise(&body);
    }
    if flags & EXTENDED != 0 {
        let size = word(&body, 0)?;
        let len = if version == 3 {
            (u32::from_be_bytes(size) as usize).checked_add(4)?
        } else {
            syncsafe(size)? as usize
        };
        if len > body.len() {
            return None;
        }
        body.drain(..len);
    }
    Some(body)
}

/// The chapters of the tags in `head` (the bytes before the audio), in the order they stand there.
pub(crate) fn chapters(head: &[u8]) -> Vec<TagChapter> {
    let mut found = Vec::new();
    edit(
        head,
        &mut |chapter| {
            found.push(chapter.clone());
            Some((chapter.start, chapter.end))
        },
        &mut |time| time,
        0,
    );
    found
}

/// What is wrong with a tag, where a chapter may be hidden or changed by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Which chapter it is in, from 1.
    pub(crate) chapter: Option<usize>,
    /// The byte of the tag where the frame begins that is damaged, or what is none; or where a tag ends that is cut short.
    pub(crate) byte: usize,
    /// What is wrong with what is there.
    pub(crate) reason: String,
}

/// The first damage of the tag that `bytes` begin with; `None` in a sound one, and in those of versions that have no chapters.
pub(crate) fn damage(bytes: &[u8]) -> Option<Damage> {
    let len = tag_len(bytes)?;
    let version = *bytes.get(3)?;
    if !(3..=4).contains(&version) {
        return None;
    }
    let found = |chapter, byte, reason: &str| {
        Some(Damage {
            chapter,
            byte,
            reason: reason.to_owned(),
        })
    };
    if (bytes.len() as u64) < len {
        let reason = format!("the ID3 tag is cut short here: it is to have {len} bytes");
        return found(None, bytes.len(), &reason);
    }
    let Some(body) = body(bytes) else {
        return found(
            None,
            HEADER_LEN,
            "the extended header of the ID3 tag is longer than the tag",
        );
    };
    let all_unsynchronised = version == 4 && bytes[5] & UNSYNCHRONISED != 0;
    let (mut at, mut number) = (0, 0);
    while let Some(frame) = frame_at(&body, at, version) {
        if &frame.id == b"CHAP" {
            number += 1;
            if let Some(reason) = damage_of_chapter(&frame, version, all_unsynchronised) {
                return found(Some(number), place(bytes, &body, at), reason);
            }
        }
        at += frame.raw.len();
    }
    // Zeros are padding.
    if body.get(at).is_none_or(|byte| *byte == 0) {
        return None;
    }
    let byte = place(bytes, &body, at);
    match word(&body, at) {
        Some(id) if &id == b"CHAP" => found(Some(number + 1), byte, "goes beyond the end of the tag"),
        Some(id) if id.iter().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()) => {
            let id = String::from_utf8_lossy(&id);
            found(
                None,
                byte,
                &format!("the frame {id} goes beyond the end of the ID3 tag"),
            )
        }
        _ => found(None, byte, "the ID3 tag has neither a frame nor its padding here"),
    }
}

/// What is wrong with a chapter's frame.
fn damage_of_chapter(frame: &Frame<'_>, version: u8, all_unsynchronised: bool) -> Option<&'static str> {
    let Some((data, ..)) = open(frame, version, all_unsynchronised) else {
        return Some("is compressed or encrypted");
    };
    let Some((place, chapter)) = chapter(&data, version) else {
        return Some("is not whole");
    };
    let inner = data.get(place + 16..).unwrap_or_default();
    let mut at = 0;
    while let Some(frame) = frame_at(inner, at, version) {
        at += frame.raw.len();
    }
    if inner[at..].iter().any(|byte| *byte != 0) {
        return Some("holds what are no whole frames after its name, which may lack its zero, and its times");
    }
    (chapter.end < chapter.start).then_some("has it end before it starts")
}

/// The byte of the tag that is at `at` in its body, which is the end of the tag without the zeros of unsynchronisation.
fn place(tag: &[u8], body: &[u8], at: usize) -> usize {
    let size = word(tag, 6).and_then(syncsafe).unwrap_or(0) as usize;
    let raw = tag.get(HEADER_LEN..HEADER_LEN + size).unwrap_or_default();
    let is_synchronised = tag[3] > 3 || tag[5] & UNSYNCHRONISED == 0;
    let mut left = body.len() - at;
    let found = (0..raw.len()).rev().find(|i| {
        if is_synchronised || *i == 0 || raw[i - 1..=*i] != [0xFF, 0] {
            left -= 1;
        }
        left == 0
    });
    HEADER_LEN + found.unwrap_or(raw.len())
}

/// `head` with the times of its chapters replaced by what `times` says (start and end in milliseconds of the result; `None` leaves the chapter out), those of texts and events by what `moved` makes of them, and its length by `length` milliseconds.
pub(crate) fn edit(
    head: &[u8],
    times: &mut dyn FnMut(&TagChapter) -> Option<(u32, u32)>,
    moved: &mut dyn FnMut(u32) -> u32,
    length: u64,
) -> Vec<u8> {
    each_tag(head, &mut |tag| edit_tag(tag, times, moved, length))
}

/// Of the ways to count time in SYLT and ETCO.
const MILLISECONDS: u8 = 2;

/// Puts what `moved` makes of the time at `at` in its place; gives where it ends.
fn move_time(data: &mut [u8], at: usize, moved: &mut dyn FnMut(u32) -> u32) -> Option<usize> {
    let time = u32::from_be_bytes(word(data, at)?);
    data[at..at + 4].copy_from_slice(&moved(time).to_be_bytes());
    Some(at + 4)
}

/// Synchronised texts (SYLT: encoding, language, how time is counted, kind, description, then each text and its time) with their times moved; `None` when they make no sense or count otherwise.
fn moved_texts(data: &[u8], moved: &mut dyn FnMut(u32) -> u32) -> Option<Vec<u8>> {
    let mut out = data.to_vec();
    let unit = if matches!(data.first()?, 1 | 2) { 2 } else { 1 };
    if *data.get(4)? != MILLISECONDS {
        return None;
    }
    let after_text = |at: usize| -> Option<usize> {
        let mut units = data.get(at..)?.chunks_exact(unit);
        let len = units.position(|unit| unit.iter().all(|byte| *byte == 0))?;
        Some(at + (len + 1) * unit)
    };
    let mut at = after_text(6)?;
    while at < data.len() {
        at = move_time(&mut out, after_text(at)?, moved)?;
    }
    Some(out)
}

/// Events (ETCO: how time is counted, then the kind of each and its time) with their times moved; `None` as above.
fn moved_events(data: &[u8], moved: &mut dyn FnMut(u32) -> u32) -> Option<Vec<u8>> {
    let mut out = data.to_vec();
    if *data.first()? != MILLISECONDS {
        return None;
    }
    let mut at = 1;
    while at < data.len() {
        at = move_time(&mut out, at + 1, moved)?;
    }
    Some(out)
}

/// `head` with its tags replaced by what `changed` gives; those that it gives nothing for stay as they are, and what follows them too.
fn each_tag(head: &[u8], changed: &mut dyn FnMut(&[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len());
    let mut rest = head;
    while let Some(len) = tag_len(rest) {
        let Some((tag, tail)) = usize::try_from(len)
            .ok()
            .and_then(|len| rest.split_at_checked(len))
        else {
            break;
        };
        out.extend(changed(tag).unwrap_or_else(|| tag.to_vec()));
        rest = tail;
    }
    out.extend_from_slice(rest);
    out
}

/// A tag with these frames instead of its own, and what stood after them.
fn with_body(tag: &[u8], mut out: Vec<u8>, rest: &[u8]) -> Option<Vec<u8>> {
    let version = tag[3];
    // Padding, or what is no frame. That stays at the end, and a zero before it, so that no reader takes it for a frame now, or doubts the size
    // of the one before it.
    let rest = if rest.iter().any(|byte| *byte != 0) {
        rest
    } else {
        &[]
    };
    let least = out.len() + rest.len() + usize::from(!rest.is_empty());
    let size = least.max(tag.len() - HEADER_LEN);
    if size >= 1 << 28 {
        return None;
    }
    out.resize(size - rest.len(), 0);
    out.extend_from_slice(rest);
    let mut header = tag[..HEADER_LEN].to_vec();
    header[5] &= !(EXTENDED | FOOTER);
    if version <= 3 {
        header[5] &= !UNSYNCHRONISED;
    }
    header[6..].copy_from_slice(&to_syncsafe(size as u32));
    header.extend(out);
    Some(header)
}

fn edit_tag(
    tag: &[u8],
    times: &mut dyn FnMut(&TagChapter) -> Option<(u32, u32)>,
    moved: &mut dyn FnMut(u32) -> u32,
    length: u64,
) -> Option<Vec<u8>> {
    let version = tag[3];
    if version == 2 {
        return short::edit_tag(tag, moved, length);
    }
    if !(3..=4).contains(&version) {
        return None;
    }
    let body = body(tag)?;
    let all_unsynchronised = version == 4 && tag[5] & UNSYNCHRONISED != 0;
    let mut out = Vec::with_capacity(body.len());
    let (mut at, mut left_out) = (0, Vec::new());
    while let Some(frame) = frame_at(&body, at, version) {
        at += frame.raw.len();
        let opened = match &frame.id {
            b"MLLT" | b"ASPI" => continue,
            b"CHAP" | b"TLEN" | b"SYLT" | b"ETCO" => open(&frame, version, all_unsynchronised),
            _ => None,
        };
        let Some((mut data, unsynchronised, indicator)) = opened else {
            out.extend_from_slice(frame.raw);
            continue;
        };
        if &frame.id == b"TLEN" {
            data = [&[0], length.to_string().as_bytes()].concat();
        } else if &frame.id == b"SYLT" {
            data = moved_texts(&data, moved).unwrap_or(data);
        } else if &frame.id == b"ETCO" {
            data = moved_events(&data, moved).unwrap_or(data);
        } else if let Some((place, chapter)) = chapter(&data, version) {
            let Some((start, end)) = times(&chapter) else {
                left_out.push(chapter.id);
                continue;
            };
            data[place..place + 4].copy_from_slice(&start.to_be_bytes());
            data[place + 4..place + 8].copy_from_slice(&end.to_be_bytes());
            data[place + 8..place + 16].fill(0xFF);
        }
        out.extend(close(&frame, version, &data, unsynchronised, indicator));
    }
    if !left_out.is_empty() {
        out = add::without(&out, version, all_unsynchronised, &left_out);
    }
    with_body(tag, out, &body[at..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use id3::frame::{Chapter, Content, Frame as Id3Frame, Picture, PictureType};
    use id3::{Encoder, Tag, TagLike, Version};
    use proptest::prelude::*;

    fn tag(version: Version, unsynchronised: bool) -> Vec<u8> {
        let mut tag = Tag::new();
        tag.set_title("Episode");
        tag.set_text("TLEN", "180000");
        tag.add_frame(Picture {
            mime_type: "image/png".into(),
            picture_type: PictureType::CoverFront,
            description: "cover".into(),
            data: (0..2_000)
                .map(|i| if i % 3 == 0 { 0xFF } else { i as u8 })
                .collect(),
        });
        for (i, start) in [0_u32, 60_000, 0x00FF_0000].into_iter().enumerate() {
            tag.add_frame(Chapter {
                element_id: format!("ch{i}"),
                start_time: start,
                end_time: start + 60_000,
                start_offset: 5,
                end_offset: 6,
                frames: vec![Id3Frame::with_content(
                    "TIT2",
                    Content::Text(format!("Kapitel {i} ä")),
                )],
            });
        }
        let mut out = Vec::new();
        Encoder::new()
            .version(version)
            .unsynchronisation(unsynchronised)
            .encode(&tag, &mut out)
            .unwrap();
        out
    }

    #[test]
    fn chapters_move_and_the_rest_stays() {
        for (version, unsynchronised) in [
            (Version::Id3v23, false),
            (Version::Id3v24, false),
            (Version::Id3v23, true),
            (Version::Id3v24, true),
        ] {
            let before = tag(version, unsynchronised);
            assert_eq!(tag_len(&before), Some(before.len() as u64));
            let listed = chapters(&before);
            assert_eq!(listed.len(), 3, "{version:?} {unsynchronised}");
            let chapter = listed.iter().find(|chapter| chapter.id == "ch1").unwrap();
            assert_eq!(
                (chapter.title.as_str(), chapter.start, chapter.end),
                ("Kapitel 1 ä", 60_000, 120_000)
            );
            let mut after = edit(
                &before,
                &mut |c| Some((c.start + 1_000, c.end + 2_000)),
                &mut |time| time,
                1_234_567_890,
            );
            assert_eq!(tag_len(&after), Some(after.len() as u64));
            after.extend(b"audio");
            let (old, new) = (
                Tag::read_from2(std::io::Cursor::new(&before)).unwrap(),
                Tag::read_from2(std::io::Cursor::new(&after)).unwrap(),
            );
            assert_eq!(
                new.get("TLEN").and_then(|frame| frame.content().text()),
                Some("1234567890")
            );
            assert_eq!(
                new.pictures().collect::<Vec<_>>(),
                old.pictures().collect::<Vec<_>>()
            );
            assert_eq!(new.title(), old.title());
            for (old, new) in old.chapters().zip(new.chapters()) {
                assert_eq!(
                    (new.start_time, new.end_time),
                    (old.start_time + 1_000, old.end_time + 2_000)
                );
                assert_eq!((new.start_offset, new.end_offset), (u32::MAX, u32::MAX));
                assert_eq!((&new.frames, &new.element_id), (&old.frames, &old.element_id));
            }
        }
    }

    #[test]
    fn an_unknown_frame_survives() {
        let mut bytes = b"ID3\x03\0\0\0\0\0\0XYZW\0\0\0\x03\0\0abcMLLT\0\0\0\x01\0\0z".to_vec();
        bytes.resize(10 + 40, 0);
        bytes[9] = 40;
        let after = edit(&bytes, &mut |c| Some((c.start, c.end)), &mut |time| time, 0);
        assert_eq!(after.len(), bytes.len());
        assert!(after.windows(13).any(|w| w == b"XYZW\0\0\0\x03\0\0abc"));
        assert!(!after.windows(4).any(|w| w == b"MLLT"));
    }

    /// A tag of version 2.4 whose frames have the sizes that are written, whatever is in them.
    fn written(flags: u8, frames: &[(&[u8; 4], u32, &[u8])], rest: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        for (id, size, data) in frames {
            body.extend(*id);
            body.extend(size.to_be_bytes());
            body.extend([0, 0]);
            body.extend(*data);
        }
        body.extend(rest);
        let mut tag = vec![b'I', b'D', b'3', 4, 0, flags];
        tag.extend(to_syncsafe(body.len() as u32));
        tag.extend(body);
        tag
    }

    #[test]
    fn texts_and_events_move_where_they_are_counted_in_milliseconds() {
        // Description, then a text each at 1,000 and 2,560 ms; both have zeros in what is no end of a text.
        let narrow = |format: u8, times: [u32; 2]| {
            let mut out = vec![3, b'e', b'n', b'g', format, 1, b'd', 0];
            for (text, time) in [&b"one\0"[..], b"two\0"].into_iter().zip(times) {
                out.extend(text);
                out.extend(time.to_be_bytes());
            }
            out
        };
        let wide = |times: [u32; 2]| {
            let mut out = vec![1, b'e', b'n', b'g', 2, 1, 0xFF, 0xFE, 0, 0];
            for (text, time) in [[0xFF, 0xFE, 0, 1, 1, 0, 0, 0], [0xFF, 0xFE, 0x10, 0, 0, 2, 0, 0]]
                .into_iter()
                .zip(times)
            {
                out.extend(text);
                out.extend(time.to_be_bytes());
            }
            out
        };
        let events = |format: u8, times: [u32; 2]| {
            let [first, last] = times.map(u32::to_be_bytes);
            [&[format, 0x03][..], &first, &[0x04], &last].concat()
        };
        let (old, new) = ([1_000, 2_560], [1_000, 7_560]);
        for (id, before, after) in [
            (b"SYLT", narrow(2, old), narrow(2, new)),
            (b"SYLT", wide(old), wide(new)),
            (b"ETCO", events(2, old), events(2, new)),
            // In frames, or cut off.
            (b"SYLT", narrow(1, old), narrow(1, old)),
            (b"ETCO", events(1, old), events(1, old)),
            (
                b"SYLT",
                narrow(2, old)[..21].to_vec(),
                narrow(2, old)[..21].to_vec(),
            ),
        ] {
            let len = before.len() as u32;
            let edited = edit(
                &written(0, &[(id, len, &before)], &[]),
                &mut |c| Some((c.start, c.end)),
                &mut |time| if time < 2_000 { time } else { time + 5_000 },
                0,
            );
            assert_eq!(edited, written(0, &[(id, len, &after)], &[]), "{before:?}");
        }
    }

    #[test]
    fn a_malformed_tag_keeps_its_chapters() {
        let mut chapter = b"one\0\0\0\0\x01\0\0\x09\x09".to_vec();
        chapter.extend([0xFF; 8]);
        chapter.extend(b"TIT2\0\0\0\x90\0\0\x03");
        chapter.extend([b'a'; 0x8F]);
        let plain = chapter.len() as u32;
        let safe = u32::from_be_bytes(to_syncsafe(plain));
        for flags in [0, UNSYNCHRONISED] {
            for tag in [
                // What follows is no frame: only a size that is not syncsafe leads there.
                written(flags, &[(b"CHAP", plain, &chapter)], b"\xFFrubbish"),
                // What vouched for the size is dropped.
                written(
                    flags,
                    &[(b"CHAP", safe, &chapter), (b"MLLT", 3, b"abc")],
                    b"\xFFrubbish",
                ),
                // What was beyond the end is within the padding, once a frame is dropped.
                written(
                    flags,
                    &[(b"CHAP", safe, &chapter), (b"MLLT", 90, &[7; 90])],
                    b"CHAP\0\0\0\x40\0\0two\0\0\0\0\x01\0\0\x09\x09",
                ),
            ] {
                let before = chapters(&tag);
                assert_eq!(before.len(), 1, "{flags}");
                let after = edit(&tag, &mut |c| Some((c.start, c.end)), &mut |time| time, 0);
                assert_eq!(chapters(&after), before, "{flags}");
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics(version in 2u8..6, flags: u8, data in proptest::collection::vec(any::<u8>(), 0..400), changes in proptest::collection::vec((0usize..3_000, any::<u8>()), 0..6)) {
            let mut bytes = vec![b'I', b'D', b'3', version, 0, flags, 0, 0, (data.len() >> 7) as u8, data.len() as u8 & 0x7F];
            bytes.extend(data);
            let whole = tag_len(&bytes) == Some(bytes.len() as u64);
            let edited = edit(&bytes, &mut |c| Some((c.start, c.end)), &mut |time| time, u64::MAX);
            if whole {
                prop_assert_eq!(chapters(&edited), chapters(&bytes));
            }
            let mut real = tag(Version::Id3v24, flags & 1 == 1);
            for (at, byte) in changes {
                let len = real.len();
                real[at % len] = byte;
            }
            edit(&real, &mut |c| Some((c.end, c.start)), &mut |time| time / 2, 0);
        }
    }
}
