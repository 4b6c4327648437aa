//! What the LAME tag of an MP3 file says about the encoder's delay and padding, which GStreamer leaves in.
//!
//! Pure. The tag is in the first frame, after the Xing or Info header (LAME's "Mp3 Info Tag rev 1"). A file that is not
//! plainly such an MP3 file has no answer here. Containers of other formats tell the decoder themselves.

use super::job::Trim;

/// Samples by which every decoder is late: 528 and one.
const DECODER_DELAY: u64 = 529;

/// How long the ID3v2 tag at the start of a file is, given its first bytes; 0 when there is none.
pub(super) fn tag_length(start: &[u8]) -> u64 {
    let Some([b'I', b'D', b'3', _, _, flags, size @ ..]) = start.first_chunk::<10>() else {
        return 0;
    };
    let size = size.iter().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f));
    let footer = if flags & 0x10 == 0 { 0 } else { 10 };
    10 + size + footer
}

/// What to leave out of the decoded samples of an MP3 stream that starts with `frame`.
pub(super) fn trim(frame: &[u8]) -> Option<Trim> {
    let header = u32::from_be_bytes(*frame.first_chunk()?);
    // Sync word, and layer III.
    if header >> 21 != 0x7ff || (header >> 17) & 3 != 1 {
        return None;
    }
    let mpeg1 = match (header >> 19) & 3 {
        3 => true,
        0 | 2 => false,
        _ => return None,
    };
    let mono = (header >> 6) & 3 == 3;
    let (side_info, frame_samples) = match (mpeg1, mono) {
        (true, false) => (32, 1152),
        (true, true) => (17, 1152),
        (false, false) => (17, 576),
        (false, true) => (9, 576),
    };
    let tag = frame.get(4 + side_info..)?;
    if !tag.starts_with(b"Xing") && !tag.starts_with(b"Info") {
        return None;
    }
    let number = |at: usize| Some(u32::from_be_bytes(*tag.get(at..)?.first_chunk()?));
    let flags = number(4)?;
    let frames = if flags & 1 == 0 { None } else { Some(number(8)?) };
    let optional = [(1, 4), (2, 4), (4, 100), (8, 4)];
    let fields: usize = optional
        .iter()
        .filter(|(flag, _)| flags & flag != 0)
        .map(|(_, size)| size)
        .sum();
    let lame = tag.get(8 + fields..8 + fields + 24)?;
    // The encoder's name; without one there is no such tag.
    if !lame[..4].iter().all(u8::is_ascii_alphanumeric) {
        return None;
    }
    let delay = u64::from(lame[21]) << 4 | u64::from(lame[22]) >> 4;
    let padding = u64::from(lame[22] & 0x0f) << 8 | u64::from(lame[23]);
    let keep = frames.and_then(|frames| (u64::from(frames) * frame_samples).checked_sub(delay + padding));
    Some(Trim {
        skip: delay + DECODER_DELAY,
        keep: keep.filter(|keep| *keep > 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info_frame(mono: bool, frames: Option<u32>, name: &[u8; 9]) -> Vec<u8> {
        let mut frame = vec![0xff, 0xfb, 0x90, if mono { 0xc0 } else { 0x44 }];
        frame.resize(4 + if mono { 17 } else { 32 }, 0);
        frame.extend(b"Info");
        frame.extend([0, 0, 0, if frames.is_some() { 0x0f } else { 0x0e }]);
        frame.extend(frames.map_or(vec![], |f| f.to_be_bytes().to_vec()));
        frame.extend([0; 108]);
        frame.extend(name);
        frame.extend([0; 12]);
        // Delay 576, padding 1080.
        frame.extend([0x24, 0x04, 0x38]);
        frame.resize(417, 0);
        frame
    }

    #[test]
    fn the_tag_is_found_behind_whatever_comes_before_it() {
        let whole = Trim {
            skip: 1105,
            keep: Some(78 * 1152 - 576 - 1080),
        };
        let cases = [
            ("stereo", info_frame(false, Some(78), b"LAME3.100"), Some(whole)),
            ("mono", info_frame(true, Some(78), b"Lavc59.37"), Some(whole)),
            (
                "no count of frames",
                info_frame(false, None, b"LAME3.100"),
                Some(Trim { keep: None, ..whole }),
            ),
            (
                "fewer samples than delay and padding",
                info_frame(false, Some(1), b"LAME3.100"),
                Some(Trim { keep: None, ..whole }),
            ),
            ("no encoder", info_frame(false, Some(78), &[0; 9]), None),
            (
                "cut off",
                info_frame(false, Some(78), b"LAME3.100")[..160].to_vec(),
                None,
            ),
            (
                "an ordinary frame",
                vec![0xff, 0xfb, 0x90, 0x44, 0, 0, 0, 0],
                None,
            ),
            ("layer II", vec![0xff, 0xfd, 0x90, 0x44], None),
            ("nothing", vec![], None),
        ];
        for (name, frame, expected) in cases {
            assert_eq!(trim(&frame), expected, "{name}");
        }
    }

    #[test]
    fn the_length_of_a_tag_counts_its_header() {
        assert_eq!(tag_length(b"ID3\x04\0\0\0\0\x02\x01rest"), 10 + 257);
        assert_eq!(tag_length(b"ID3\x04\0\x10\0\0\0\x05"), 10 + 5 + 10);
        assert_eq!(tag_length(b"\xff\xfb\x90\x44\0\0\0\0\0\0"), 0);
        assert_eq!(tag_length(b"ID3"), 0);
    }
}
