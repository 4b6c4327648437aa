//! Verified delivery: metainfo, swarm, origin, store, trackers.
//!
//! # Terminology
//!
//! The words are BitTorrent's.
//!
//! * **Metainfo**: what a `.torrent` says about a file: its name, length and hashes, and where to look for it.
//!   Its **info hash** is SHA-256 of the `info` dictionary, and the identity of the content.
//! * **Block**: 16 KiB, the leaf of a file's SHA-256 tree and the unit of requests. **Piece**: a power of two
//!   of blocks. **Piece layer**: the tree's nodes at the height of pieces. **Pieces root**: its top.
//! * **Peer**: another viewer that has or wants the same content. **Seed**: a peer that has all of it.
//!   **Swarm**: all of them. **Choke**: not to serve a peer for now.
//! * **Web seed** or **origin**: an ordinary web server that has the file.
//! * **Tracker**: a server that tells peers of each other.
//! * **Verified**: equal to the metainfo's hash. Nothing else is stored, passed on or read.
//!
//! This package never hears of ads: a **cue sheet** is to it a signed document that travels with the metainfo.

pub mod allowance;
pub mod bencode;
pub mod cue_sheet;
pub mod library;
pub mod listen;
pub mod magnet;
pub mod merkle;
pub mod metainfo;
pub mod net;
pub mod node;
pub mod origin;
pub mod personal;
pub mod rate;
pub mod remembered;
pub mod store;
pub mod swarm;
pub mod tracker;
pub mod verify;
pub mod wire;
