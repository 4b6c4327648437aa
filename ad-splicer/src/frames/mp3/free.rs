//! Recognising frames of free format, whose headers do not say how long they are.
//!
//! Few players decode such streams (ffmpeg and browsers do not), and neither does what bridges are made with; so they are told from other content, and refused by name.

use super::header::{Header, HeaderError};

/// Longest frame of free format that is looked for, in bytes: that of 640 kb/s at 32 kHz.
const LONGEST: usize = 2880;

/// How many bytes [`begins`] looks at.
pub(super) const LOOKED_AT: usize = 2 * LONGEST + 8;

/// Whether two more frames of the same kind follow the one of free format that `bytes` begins with, as far apart as each other.
pub(super) fn begins(bytes: &[u8]) -> bool {
    let follows = |from: usize| {
        let end = (from + LONGEST).min(bytes.len().saturating_sub(3));
        (from + 24..end).find(|at| is_alike(bytes, &bytes[*at..]))
    };
    Header::of(bytes) == Err(HeaderError::FreeFormat)
        && follows(0)
            .is_some_and(|first| follows(first).is_some_and(|second| second.abs_diff(2 * first) <= 1))
}

/// Whether two headers are of one stream of free format: only padding, and how channels are joined, may differ.
fn is_alike(a: &[u8], b: &[u8]) -> bool {
    let (Some(a), Some(b)) = (a.first_chunk::<4>(), b.first_chunk::<4>()) else {
        return false;
    };
    a[..2] == b[..2] && a[2] & 0xFC == b[2] & 0xFC && a[3] & 0xCF == b[3] & 0xCF
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_as_far_apart_as_each_other_are_of_one_stream() {
        let frame = |len: usize| {
            let mut frame = vec![0x55; len];
            frame[..4].copy_from_slice(&[0xFF, 0xFB, 0x00, 0x64]);
            frame
        };
        assert!(begins(&[frame(480), frame(481), frame(480)].concat()));
        assert!(!begins(&[frame(480), frame(600), frame(480)].concat()));
        assert!(!begins(&frame(480)));
        assert!(!begins(&[]));
        let stated = [0xFF, 0xFB, 0x90, 0x64].repeat(1000);
        assert!(!begins(&stated));
    }
}
