//! FLAC (RFC 9639): frames, their samples, and the metadata before them. Pure.
//!
//! A frame stands alone, but its header numbers it: by frame where all blocks have one size, by sample otherwise. Frames that move are therefore renumbered, which changes the header, its CRC-8 and the
//! frame's CRC-16 and nothing else. Samples are at most 24 bits wide here, so that the difference of two channels fits an `i32`.

mod bits;
mod crc;
mod decode;
mod encode;
mod header;
mod index;
mod metadata;

pub(crate) use decode::decode;
pub(crate) use encode::encode;
pub(crate) use header::{Header, Numbering, renumber};
pub(crate) use index::{Head, Index, head};
pub(crate) use metadata::{BLOCK_SEEK_TABLE, BLOCK_VORBIS_COMMENT, SeekPoint};

/// Why a frame cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the FLAC frame is damaged: {0}")]
pub(crate) struct FrameError(pub(crate) &'static str);
