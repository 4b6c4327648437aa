//! Cue points, ad decisions, conditioning, splicing and beacons.

pub mod again;
pub mod beacons;
pub mod bridge;
pub mod chapters;
mod child;
mod compact;
pub mod conditioning;
pub mod content;
pub mod creatives;
pub mod cues;
pub mod database;
pub mod decide;
pub mod facts;
pub mod frame_index;
pub mod frames;
pub mod loudness;
pub mod memory;
pub mod mended;
pub mod one_line;
pub mod pauses;
pub mod pcm;
pub mod picture;
pub mod plan;
pub mod play;
pub mod proof;
mod sandbox;
mod side_by_side;
mod silence;
pub mod splice;
mod this_program;
pub mod time;
pub mod timecode;
mod xml;

pub use child::{child_main, is_child};
pub use this_program::this_program;
