//! Whole swarms of the shipped core on a virtual clock.
