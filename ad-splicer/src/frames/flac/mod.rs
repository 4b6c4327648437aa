//! FLAC (RFC 9639): frames, their samples, and the metadata before them. Pure.
//!
//! A frame stands alone, but its header numbers it: by frame where all blocks have one size, by sample otherwise. Frames that move are therefore renumbered, which changes the header, its CRC-8 and the
//! frame's CRC-16 and nothing else. Samples are at most 24 bits wide here, so that the difference of two channels fits an `i32`.

mod bits;
mod crc;
mod cue_sheet;
mod decode;
mod encode;
mod header;
mod index;
mod metadata;
pub(crate) mod parted;

pub(crate) use cue_sheet::moved_cue_sheet;
pub(crate) use decode::decode;
pub(crate) use encode::encode;
pub(crate) use header::{Header, MAX_LEN as MAX_HEADER, Numbering, number_len, renumber};
pub(crate) use index::{Head, Index, MAX_TAGS, end_of, head};
pub(crate) use metadata::{BLOCK_CUE_SHEET, BLOCK_SEEK_TABLE, BLOCK_VORBIS_COMMENT, SeekPoint, StreamInfo};
pub(crate) use parted::{frame_at, is_like};

/// Bytes as a frame with the right checksums: no fuzzer finds those.
#[cfg(fuzzing)]
pub(crate) fn sealed(bytes: &[u8]) -> Option<(Vec<u8>, Header)> {
    let mut frame = bytes.to_vec();
    let body = frame.len().checked_sub(2)?;
    let header = (5..16.min(body)).find_map(|len| {
        let kept = frame[len];
        frame[len] = crc::crc8(&frame[..len]);
        let header = Header::parse(&frame).ok().filter(|header| header.len == len + 1);
        if header.is_none() {
            frame[len] = kept;
        }
        header
    })?;
    let crc = crc::crc16(&frame[..body]);
    frame[body..].copy_from_slice(&crc.to_be_bytes());
    Some((frame, header))
}

/// Why a frame cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the FLAC frame is damaged: {0}")]
pub(crate) struct FrameError(pub(crate) &'static str);
