//! Verified delivery: metainfo, swarm, origin, store, trackers.

pub mod swarm;
pub mod wire;
