//! Tags of version 2.2, whose frames have names of three letters, sizes of three bytes, and no flags. There are no chapters in them.
//!
//! Times move as in later versions: TLE is their TLEN, SLT their SYLT, ETC their ETCO, and MLL their MLLT.

use super::{
    HEADER_LEN, UNSYNCHRONISED, moved_events, moved_texts, resynchronise, syncsafe, with_body, word,
};

/// All frames are compressed, in a way that nobody defined.
const COMPRESSED: u8 = 0x40;
/// Bytes of a frame's header.
const FRAME_HEADER_LEN: usize = 6;

/// A frame's name, and what is in it; `None` at padding and at what is no frame.
fn frame_at(body: &[u8], at: usize) -> Option<([u8; 3], &[u8])> {
    let [a, b, c, size @ ..] = *body.get(at..)?.first_chunk::<FRAME_HEADER_LEN>()?;
    let id = [a, b, c];
    if !id.iter().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()) {
        return None;
    }
    let len = size.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
    let data = at + FRAME_HEADER_LEN;
    Some((id, body.get(data..data + len)?))
}

/// The tag with its times moved and a new length in milliseconds; `None` when it makes no sense.
pub(super) fn edit_tag(tag: &[u8], moved: &mut dyn FnMut(u32) -> u32, length: u64) -> Option<Vec<u8>> {
    if tag[5] & COMPRESSED != 0 {
        return None;
    }
    let size = syncsafe(word(tag, 6)?)? as usize;
    let mut body = tag.get(HEADER_LEN..HEADER_LEN + size)?.to_vec();
    if tag[5] & UNSYNCHRONISED != 0 {
        body = resynchronise(&body);
    }
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    while let Some((id, data)) = frame_at(&body, at) {
        at += FRAME_HEADER_LEN + data.len();
        let changed = match &id {
            b"MLL" => continue,
            b"TLE" => Some([&[0], length.to_string().as_bytes()].concat()),
            b"SLT" => moved_texts(data, moved),
            b"ETC" => moved_events(data, moved),
            _ => None,
        };
        let data = changed.as_deref().unwrap_or(data);
        out.extend(id);
        // As long as it was, but for some digits.
        out.extend(&(data.len() as u32).to_be_bytes()[1..]);
        out.extend_from_slice(data);
    }
    if at == 0 {
        return None;
    }
    with_body(tag, out, &body[at..])
}

#[cfg(test)]
mod tests {
    use id3::{Tag, TagLike};

    use super::super::{chapters, edit, tag_len, to_syncsafe, unsynchronise};
    use super::*;

    fn frame(id: &str, data: &[u8]) -> Vec<u8> {
        [id.as_bytes(), &(data.len() as u32).to_be_bytes()[1..], data].concat()
    }

    /// A tag with some padding.
    fn tag(flags: u8, frames: &[Vec<u8>]) -> Vec<u8> {
        let mut body = [&frames.concat()[..], &[0; 20]].concat();
        if flags & UNSYNCHRONISED != 0 {
            body = unsynchronise(&body);
        }
        [
            &b"ID3\x02\0"[..],
            &[flags],
            &to_syncsafe(body.len() as u32),
            &body,
        ]
        .concat()
    }

    #[test]
    fn length_and_times_move_and_the_rest_stays() {
        let cover: Vec<u8> = (0..700)
            .map(|i| if i % 3 == 0 { 0xFF } else { i as u8 })
            .collect();
        let picture = frame("PIC", &[&b"\0PNG\x03\0"[..], &cover].concat());
        let events = |time: u32| frame("ETC", &[&[2, 0x03][..], &time.to_be_bytes()].concat());
        let texts = |time: u32| {
            frame(
                "SLT",
                &[&b"\0eng\x02\x01\0word\0"[..], &time.to_be_bytes()].concat(),
            )
        };
        for flags in [0, UNSYNCHRONISED] {
            let before = tag(
                flags,
                &[
                    frame("TT2", b"\0Episode"),
                    frame("TLE", b"\x00180000"),
                    frame("MLL", b"0123456789"),
                    picture.clone(),
                    events(5_000),
                    texts(5_000),
                ],
            );
            assert_eq!(tag_len(&before), Some(before.len() as u64));
            assert_eq!(chapters(&before), []);
            let after = edit(&before, &mut |_| None, &mut |time| time + 9_000, 1_234_567_890);
            assert_eq!(tag_len(&after), Some(after.len() as u64));
            let expected = [
                frame("TT2", b"\0Episode"),
                frame("TLE", b"\x001234567890"),
                picture.clone(),
                events(14_000),
                texts(14_000),
            ]
            .concat();
            assert!(after[HEADER_LEN..].starts_with(&expected), "{flags}");
            assert!(after[HEADER_LEN + expected.len()..].iter().all(|byte| *byte == 0));
            let read = Tag::read_from2(std::io::Cursor::new(&after)).unwrap();
            let length = read.get("TLEN").and_then(|frame| frame.content().text());
            assert_eq!((length, read.title()), (Some("1234567890"), Some("Episode")));
            assert_eq!(read.pictures().next().unwrap().data, cover);
        }
    }

    #[test]
    fn what_makes_no_sense_stays_as_it_is() {
        let length = frame("TLE", b"\x00180000");
        let beyond = [&b"TT2\0\0\x99"[..], b"\0Episode"].concat();
        let compressed = tag(COMPRESSED, std::slice::from_ref(&length));
        for (before, is_moved) in [
            (compressed, false),
            (tag(0, &[length.clone(), beyond.clone()]), true),
            (tag(0, &[beyond, length]), false),
        ] {
            let after = edit(&before, &mut |_| None, &mut |time| time, 7);
            assert_eq!(after.windows(5).any(|bytes| bytes == b"\0\0\x02\x007"), is_moved);
            assert_eq!(after == before, !is_moved);
        }
    }
}
