//! Trackers: servers that tell peers of each other (HTTP: BEP 3, 7, 23, 48; UDP: BEP 15), and introduce those behind routers (QUIC).
//!
//! * [`client`] asks one, whoever made it, over HTTP or through [`udp_client`]; [`tiers`] says which of several;
//! * [`udp`] is the packets of UDP trackers;
//! * [`table`] is what a tracker knows and decides, without clock or socket;
//! * [`server`] puts the table behind HTTP, [`udp_server`] behind UDP, for any standard client;
//! * [`meeting`] is who is at the QUIC endpoint and who is introduced to whom, [`quic`] that endpoint;
//! * [`relay`] carries datagrams between two ends that cannot reach each other, by the rules of [`pairs`].
//!
//! A tracker's key is 20 bytes and nothing more: a v1 info hash, a v2 info hash cut short, or the key of a Grove
//! swarm ([`InfoHash::swarm_key`](crate::metainfo::InfoHash::swarm_key)). Nothing that a tracker says is
//! trusted: a peer that it names is an address to try.

mod answering;
pub mod client;
mod hosts;
pub mod meeting;
pub mod pairs;
pub mod quic;
pub mod relay;
pub mod server;
pub mod table;
pub mod tiers;
pub mod udp;
pub mod udp_client;
pub mod udp_server;

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
