//! Trackers: servers that tell peers of each other (HTTP: BEP 3, 7, 23, 48).
//!
//! * [`client`] asks one, whoever made it;
//! * [`table`] is what a tracker knows and decides, without clock or socket;
//! * [`server`] puts the table behind HTTP, for any standard client;
//! * [`relay`] carries datagrams between two ends that cannot reach each other, by the rules of [`pairs`].
//!
//! A tracker's key is 20 bytes and nothing more: a v1 info hash, a v2 info hash cut short, or the key of a Grove
//! swarm ([`InfoHash::swarm_key`](crate::metainfo::InfoHash::swarm_key)). Nothing that a tracker says is
//! trusted: a peer that it names is an address to try.

pub mod client;
pub mod pairs;
pub mod relay;
pub mod server;
pub mod table;

/// The 20 bytes under which peers find each other.
pub type Key = [u8; 20];

/// The 20 bytes by which a peer calls itself; they prove nothing.
pub type PeerId = [u8; 20];

/// What an announce reports (BEP 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// The first announce.
    Started,
    /// The download has just been completed; never sent by who had everything at the start.
    Completed,
    /// The last announce: forget me.
    Stopped,
}

impl Event {
    /// Its name in a query.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Completed => "completed",
            Self::Stopped => "stopped",
        }
    }
}
