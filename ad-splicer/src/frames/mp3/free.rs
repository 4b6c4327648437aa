//! Frames of free format, whose headers do not say how long they are: all are as long as the first, but for their padding.
//!
//! That is seen where the next header of the same kind stands. What decodes no free format gets the same main data in frames that tell their bit rate ([`stated`]).

use super::header::{Header, HeaderError};
use super::repack::{RepackError, header_of};
use super::slots::{lay_in_slots, slot_len};

/// Longest frame of free format that is looked for, in bytes: that of 640 kb/s at 32 kHz.
const LONGEST: usize = 2880;

/// How many bytes [`first`] looks at.
pub(super) const LOOKED_AT: usize = 2 * LONGEST + 8;

/// What stands where a frame of free format may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    /// A frame.
    Frame(Header),
    /// A frame of more bits a second than there are names for.
    Beyond,
    /// Something else.
    None,
}

/// The frame that `bytes` begins with: two more of the same kind follow, as far apart as each other.
pub(super) fn first(bytes: &[u8]) -> First {
    let follows = |from: usize| {
        let end = (from + LONGEST).min(bytes.len().saturating_sub(3));
        (from + 24..end).find(|at| is_alike(bytes, &bytes[*at..]))
    };
    let padding = |at: usize| usize::from(bytes.get(at + 2).copied().unwrap_or(0) >> 1 & 1);
    if Header::of(bytes) != Err(HeaderError::FreeFormat) {
        return First::None;
    }
    let Some((len, second)) = follows(0).and_then(|len| Some((len, follows(len)?))) else {
        return First::None;
    };
    if second - len - padding(len) != len - padding(0) {
        return First::None;
    }
    bytes
        .first_chunk()
        .and_then(|head| Header::of_free(*head, len))
        .map_or(First::Beyond, First::Frame)
}

/// Whether two headers are of one stream of free format: only padding, and how channels are joined, may differ.
fn is_alike(a: &[u8], b: &[u8]) -> bool {
    let (Some(a), Some(b)) = (a.first_chunk::<4>(), b.first_chunk::<4>()) else {
        return false;
    };
    a[..2] == b[..2] && a[2] & 0xFC == b[2] & 0xFC && a[3] & 0xCF == b[3] & 0xCF
}

/// Frames in a row, of which the first stands alone, with the same main data in frames of the highest bit rate. No frame was longer, so there is room for all.
pub fn stated(frames: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, RepackError> {
    let refs: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let Some(first) = refs.first() else {
        return Ok(Vec::new());
    };
    let len = slot_len(header_of(first)?);
    let laid = lay_in_slots(&[], &refs, None)?;
    Ok(laid.chunks(len).map(<[u8]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: usize, padded: bool) -> Vec<u8> {
        let mut frame = vec![0x55; len];
        frame[..4].copy_from_slice(&[0xFF, 0xFB, u8::from(padded) << 1, 0x64]);
        frame
    }

    #[test]
    fn frames_as_far_apart_as_each_other_are_of_one_stream() {
        let bytes = [frame(480, false), frame(481, true), frame(480, false)].concat();
        assert!(matches!(first(&bytes), First::Frame(header) if header.frame_len() == 480));
        assert!(matches!(first(&bytes[480..]), First::None));
        let bytes = [frame(480, false), frame(481, false), frame(480, false)].concat();
        assert_eq!(first(&bytes), First::None);
        assert_eq!(first(&frame(1200, false).repeat(3)), First::Beyond);
        assert_eq!(first(&frame(480, false)), First::None);
        assert_eq!(first(&[]), First::None);
        assert_eq!(first(&[0xFF, 0xFB, 0x90, 0x64].repeat(1000)), First::None);
    }
}
