//! Cue points, ad decisions, conditioning, splicing and beacons.

pub mod content;
pub mod creatives;
pub mod facts;
pub mod loudness;
pub mod plan;
pub mod splice;
pub mod time;
