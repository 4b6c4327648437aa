//! Verified delivery: metainfo, swarm, origin, store, trackers.
