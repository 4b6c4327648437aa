//! What stands behind the sound of a file and is none of it: tags that files of any format get (ID3v1, APEv2, Lyrics3, ID3v2), and the zeros and line ends that padding, copying and downloading leave.
//!
//! What else may stand there unheard each format tells by its own frames: whatever holds none of them. Not for: reading tags, and those at the beginning (`id3v2`).

use super::id3v2;
use super::window::Window;
use crate::splice::SpliceError;

/// How many tags in a row are stepped over.
const MAX_TAGS: usize = 8;
/// Bytes of an ID3v1 tag, and of what may stand before it to hold longer titles.
const ID3V1_LEN: u64 = 128;
const ENHANCED_LEN: u64 = 227;
/// Bytes of the head and of the foot of an APEv2 tag.
const APE_LEN: u64 = 32;
/// How Lyrics3 ends, behind six digits that say how long it is.
const LYRICS_END: &[u8] = b"LYRICS200";

/// Whether a tag begins here.
fn is_tag(bytes: &[u8]) -> bool {
    [&b"TAG"[..], b"APETAGEX", b"LYRICS", b"ID3", b"3DI"]
        .iter()
        .any(|tag| bytes.starts_with(tag))
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, 0 | b'\n' | b'\r' | b' ' | b'\t')
}

/// Where the zeros and line ends are over that begin at `offset`.
fn behind_blanks(window: &mut Window<'_>, offset: u64) -> Result<u64, SpliceError> {
    let mut at = offset;
    loop {
        let bytes = window.at_least(at, 1)?;
        let blank = bytes.iter().take_while(|byte| is_blank(**byte)).count();
        at += blank as u64;
        if blank == 0 || at >= window.len() {
            return Ok(at);
        }
    }
}

/// Whether the sound can end at `offset`: nothing follows, or zeros, line ends and tags do.
pub(crate) fn is_tail(window: &mut Window<'_>, offset: u64) -> Result<bool, SpliceError> {
    let at = behind_blanks(window, offset)?;
    Ok(at >= window.len() || is_tag(window.get(at, 16)?))
}

/// Where the tags are over that begin at `offset`, with the zeros and line ends around them; and whether there are any.
pub(crate) fn behind(window: &mut Window<'_>, offset: u64) -> Result<(u64, bool), SpliceError> {
    let mut at = behind_blanks(window, offset)?;
    let mut tagged = false;
    for _ in 0..MAX_TAGS {
        let head = window.get(at, APE_LEN as usize)?;
        let len = match id3v2::tag_len(head) {
            Some(len) => len,
            None if head.starts_with(b"TAG+") => ENHANCED_LEN,
            None if head.starts_with(b"TAG") => ID3V1_LEN,
            // Of those that begin with a head, the size counts what follows that.
            None if head.starts_with(b"APETAGEX") => APE_LEN + ape_size(head).unwrap_or(0),
            None => break,
        };
        tagged = true;
        at = behind_blanks(window, at.saturating_add(len).min(window.len()))?;
    }
    Ok((at, tagged))
}

/// How long the head or foot of an APEv2 tag says that all but its head is.
fn ape_size(bytes: &[u8]) -> Option<u64> {
    let size = bytes.get(12..16)?.first_chunk()?;
    Some(u32::from_le_bytes(*size).into())
}

/// How long the APEv2 tag is that ends at `end`: as it says, where it begins there as such tags do, and else its foot alone, since what it says would
/// be the end of the sound.
fn ape_before(window: &mut Window<'_>, end: u64, said: u64, has_head: bool) -> Result<u64, SpliceError> {
    let Some(start) = end.checked_sub(said).filter(|_| said > APE_LEN) else {
        return Ok(APE_LEN);
    };
    let begins = window.get(start, 12)?;
    let is_so = if has_head {
        begins.starts_with(b"APETAGEX")
    } else {
        // An item: the length of its value, flags (of the last byte the upper three bits), and the first letters of its name.
        let [a, b, c, d, _, _, _, flags, name @ ..] = begins else {
            return Ok(APE_LEN);
        };
        u64::from(u32::from_le_bytes([*a, *b, *c, *d])) < said
            && flags << 3 == 0
            && name.iter().take(2).all(|letter| (b' '..=b'~').contains(letter))
    };
    Ok(if is_so { said } else { APE_LEN })
}

/// Where the tags begin that the content ends with. What goes on up to behind that place has lost its end.
pub(crate) fn tags_at(window: &mut Window<'_>) -> Result<u64, SpliceError> {
    let mut end = window.len();
    for _ in 0..MAX_TAGS {
        let Some(len) = tag_before(window, end)? else {
            break;
        };
        end -= len;
    }
    Ok(end)
}

/// How long the tag is that ends at `end`.
fn tag_before(window: &mut Window<'_>, end: u64) -> Result<Option<u64>, SpliceError> {
    let from = end.saturating_sub(ID3V1_LEN + ENHANCED_LEN);
    let bytes = window.get(from, (end - from) as usize)?;
    let last = |len: u64| bytes.len().checked_sub(len as usize).map(|at| &bytes[at..]);
    let len = if last(ID3V1_LEN).is_some_and(|tag| tag.starts_with(b"TAG")) {
        let both = ENHANCED_LEN + ID3V1_LEN;
        let is_enhanced = last(both).is_some_and(|tag| tag.starts_with(b"TAG+"));
        Some(if is_enhanced { both } else { ID3V1_LEN })
    } else if let Some(foot) = last(APE_LEN).filter(|foot| foot.starts_with(b"APETAGEX")) {
        let has_head = foot[23] & 0x80 != 0;
        let said = ape_size(foot).map(|size| size + if has_head { APE_LEN } else { 0 });
        return ape_before(window, end, said.unwrap_or(0), has_head).map(Some);
    } else if let Some(digits) = bytes.strip_suffix(LYRICS_END) {
        let digits = digits.last_chunk::<6>().map(<[u8; 6]>::as_slice);
        let size: Option<u64> = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| digits.parse().ok());
        size.map(|size| size + 6 + LYRICS_END.len() as u64)
    } else {
        None
    };
    Ok(len.filter(|len| (1..=end).contains(len)))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;

    /// What stands behind real files, none of which is heard, by its name.
    pub(crate) fn tails() -> Vec<(&'static str, Vec<u8>)> {
        let id3v1 = [&b"TAGA title"[..], &[b' '; 118]].concat();
        let foot = [&b"APETAGEX\xD0\x07\0\0\x32\0\0\0\x01\0\0\0"[..], &[0; 12]].concat();
        let item = *b"\x04\0\0\0\0\0\0\0title\0name";
        let mut head = foot.clone();
        (head[23], head[12]) = (0xA0, 0x32);
        let mut whole = foot.clone();
        whole[23] = 0x80;
        let ape = [&head[..], &item, &whole].concat();
        let lyrics = b"LYRICSBEGININD0000210000021LYRICS200";
        vec![
            ("ID3v1", id3v1.clone()),
            ("APEv2", ape.clone()),
            ("APEv2 without a head", [&item[..], &foot].concat()),
            ("APEv2 and ID3v1", [&ape[..], &id3v1].concat()),
            ("Lyrics3 and ID3v1", [&lyrics[..], &id3v1].concat()),
            ("ID3v2", [&b"ID3\x04\0\0\0\0\x01\x00"[..], &[0; 128]].concat()),
            ("a line end", b"\n".to_vec()),
            ("line ends", b"\r\n\r\n".to_vec()),
            ("zeros", vec![0; 5_000]),
            ("zeros and ID3v1", [&[0; 700][..], &id3v1].concat()),
        ]
    }

    #[test]
    fn tags_zeros_and_line_ends_are_known_from_both_sides() {
        const SOUND: u64 = 1_000;
        let sound = vec![0xA5; SOUND as usize];
        for (name, tail) in tails() {
            let file = [&sound[..], &tail].concat();
            let len = file.len() as u64;
            let mut window = Window::new(&file, Duration::ZERO);
            let begins = name != "APEv2 without a head";
            assert_eq!(is_tail(&mut window, SOUND).unwrap(), begins, "{name}");
            let (over, tagged) = behind(&mut window, SOUND).unwrap();
            let due = if begins && !name.starts_with("Lyrics3") {
                len
            } else {
                SOUND
            };
            assert_eq!((over, name), (due, name));
            assert_eq!(tagged, due == len && name.contains('v'), "{name}");
            let tags = match name {
                "zeros and ID3v1" => SOUND + 700,
                // It says how long it is in its head alone.
                "ID3v2" => len,
                _ if name.contains('v') => SOUND,
                _ => len,
            };
            assert_eq!((tags_at(&mut window).unwrap(), name), (tags, name));
            assert!(!is_tail(&mut window, SOUND - 1).unwrap(), "{name}");
        }
    }

    #[test]
    fn a_tag_that_says_a_wrong_length_does_not_end_the_sound() {
        const SOUND: usize = 1_000;
        let tags = tails();
        for name in ["APEv2", "APEv2 without a head"] {
            let (_, tag) = tags.iter().find(|(tag, _)| *tag == name).unwrap();
            let foot = tag.len() - APE_LEN as usize;
            for said in [0_u32, 33, 60, 500, u32::MAX] {
                let mut file = [&vec![0xA5; SOUND][..], tag].concat();
                file[SOUND + foot + 12..][..4].copy_from_slice(&said.to_le_bytes());
                let tags = tags_at(&mut Window::new(&file, Duration::ZERO)).unwrap();
                assert_eq!(tags, (SOUND + foot) as u64, "{name}, {said}");
            }
        }
    }

    #[test]
    fn nothing_that_a_tag_says_leads_out_of_the_file() {
        let foot = [&b"APETAGEX\xD0\x07\0\0\xFF\xFF\xFF\xFF"[..], &[0; 16]].concat();
        for file in [
            foot.clone(),
            [&b"TAG"[..], &[0; 60]].concat(),
            b"ID3\x04\0\0\x7F\x7F\x7F\x7F".to_vec(),
            b"999999LYRICS200".to_vec(),
            b"LYRICS200".to_vec(),
            Vec::new(),
        ] {
            let len = file.len() as u64;
            let mut window = Window::new(&file, Duration::ZERO);
            assert!(tags_at(&mut window).unwrap() <= len);
            assert!(behind(&mut window, 0).unwrap().0 <= len);
        }
    }
}
