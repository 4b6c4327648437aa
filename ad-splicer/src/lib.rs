//! Cue points, ad decisions, conditioning, splicing and beacons.

pub mod beacons;
pub mod content;
pub mod creatives;
pub mod cues;
pub mod decide;
pub mod facts;
pub mod loudness;
pub mod plan;
pub mod splice;
pub mod time;
pub mod timecode;
mod xml;
