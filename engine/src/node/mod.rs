//! Running torrents: the driver around the swarm core, and the handles that others hold.
//!
//! A [`Torrent`] is looked at through [`Stats`], waited for with [`Torrent::completed`], read through a [`Reader`].

mod config;
mod error;
mod reader;
mod stats;
mod torrent;

pub use config::{AddOptions, Location, NodeConfig, OriginPolicy};
pub use error::Error;
pub use reader::{BlockingReader, Reader};
pub use stats::{PieceSource, State, Stats};
pub use torrent::Torrent;
