//! Cue points, ad decisions, conditioning, splicing and beacons.
