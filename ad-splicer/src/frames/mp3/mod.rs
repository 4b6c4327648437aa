//! MP3 frames (ISO/IEC 11172-3 and 13818-3, Layer III, and the MPEG-2.5 extension).
//!
//! A frame's *main data* may begin in the frames before it (the bit reservoir): `main_data_begin` says how many bytes back, not counting headers and side information. A stream therefore cannot
//! simply be cut; [`repack`] rewrites one frame so that it stands alone while the frames after it still find their bytes.

mod even;
mod free;
mod header;
mod index;
mod repack;
mod side_info;
mod slots;
mod xing;

pub use free::stated;
pub use header::{Header, HeaderError, Version};
pub use index::{Head, Index, InfoFrame, find_head};
pub use repack::{RepackError, carrier, hand_over, repack, reservoir};
#[cfg(test)]
pub(crate) use side_info::has_short_blocks;
pub use side_info::{SideInfo, change_gain};
pub use slots::{lay_in_slots, silent, slot_len};
pub use xing::{Gapless, Xing, XingPlan};

/// Samples between an encoder's input and a decoder's output: the decoder's 528 + 1.
pub const DECODER_DELAY: u32 = 529;

/// Samples between LAME's input and a decoder's output: its own delay of 576 and [`DECODER_DELAY`].
pub const LAME_TOTAL_DELAY: u32 = 576 + DECODER_DELAY;
