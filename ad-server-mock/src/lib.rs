//! A small ad decisioning service: campaigns in SQLite, VAST 4.2 answers, creatives, signed beacons, reports.
//!
//! Called a mock because it stands where a commercial ad server would; any client that speaks VAST can ask it, and any
//! other server that speaks VAST can take its place.
//!
//! Flow: [`load`] reads TOML into a [`catalog`]; [`store`] keeps it; `GET /vast` makes a decision ([`decide`], pure) in
//! one transaction with its reservation and answers with `vast`; beacons signed by `sign` come back and are stored once;
//! [`report`] tells what happened. Deciding is never billing; `delivered` and `played` are never added together.
//!
//! Not for: choosing what a client plays, or measuring it: the client reports, this counts.

pub mod catalog;
pub mod cli;
pub mod clock;
pub mod decide;
mod http;
pub mod load;
pub mod money;
pub mod report;
pub mod server;
mod sign;
pub mod store;
mod vast;

pub use server::{Config, Error, Running, serve};
