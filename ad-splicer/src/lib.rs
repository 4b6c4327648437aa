//! Cue points, ad decisions, conditioning, splicing and beacons.

pub mod content;
pub mod facts;
pub mod plan;
pub mod splice;
pub mod time;
