//! A small ad decisioning service: campaigns in SQLite or PostgreSQL, VAST and VMAP answers, creatives, signed beacons,
//! reports.
//!
//! Called a mock because it stands where a commercial ad server would; any client that speaks VAST can ask it, and any
//! other server that speaks VAST can take its place.
//!
//! Flow: [`load`] reads TOML into a [`catalog`]; [`store`] keeps it; a question is decided ([`decide`], pure) from the
//! [`book`] in memory, which counts it as reserved; the journal stores it with many others in one transaction, and only
//! then it is answered with `vast`; beacons signed by `sign` come back the same way and are stored once; [`report`] tells
//! what happened. Deciding is never billing; `delivered` and `played` are never added together.
//!
//! Not for: choosing what a client plays, or measuring it: the client reports, this counts.

pub mod ads;
mod answer;
pub mod book;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod decide;
mod desk;
mod http;
mod journal;
pub mod load;
pub mod money;
pub mod report;
pub mod server;
mod sign;
pub mod store;
pub mod traffic;
mod upload;
pub mod windows;

pub use server::{Config, Error, Running, serve};
