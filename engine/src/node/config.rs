//! What a node and a torrent are told when they start. Plain data.

use super::mapping::MappingConfig;
use crate::cue_sheet::{PublicKey, SignedCueSheet};
use crate::personal::Secret;
pub use crate::store::Location;
pub use crate::swarm::OriginPolicy;
use gate::Gate;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of a [`Node`](super::Node).
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// UDP addresses to listen on and to dial from (QUIC); port 0 lets the system choose. At least one.
    pub listen: Vec<SocketAddr>,
    /// The folder for state: contents go below `store/`.
    pub data: PathBuf,
    /// Judges and makes every connection.
    pub gate: Gate,
    /// Most bytes of content a second that are sent to peers; `None` is no limit.
    pub up: Option<u64>,
    /// Most bytes of content a second that are received, from peers and web seeds together; `None` is no limit.
    pub down: Option<u64>,
    /// Most connections to peers at a time.
    pub max_connections: usize,
    /// First contacts of the DHT, as `host:port` ([`DHT_BOOTSTRAP`](super::DHT_BOOTSTRAP)); none is no DHT. The gate
    /// judges them.
    pub dht: Vec<String>,
    /// Whether peers are looked for on the local network (mDNS).
    pub lan: bool,
    /// Whether the router is asked to forward our port, and which.
    pub mapping: Option<MappingConfig>,
}

impl NodeConfig {
    /// Any port on all IPv4 interfaces, no limits, at most 100 connections; no DHT, no local network, no mapping.
    pub fn new(data: impl Into<PathBuf>, gate: Gate) -> Self {
        Self {
            listen: vec![SocketAddr::from(([0, 0, 0, 0], 0))],
            data: data.into(),
            gate,
            up: None,
            down: None,
            max_connections: 100,
            dht: Vec::new(),
            lan: false,
            mapping: None,
        }
    }
}

/// How one torrent is delivered.
#[derive(Clone, Debug)]
pub struct AddOptions {
    /// Peers to dial besides those that are found: `host:port`. They must pass the gate, so
    /// [`Gate::trust`] what a person typed.
    pub peers: Vec<String>,
    /// Web seeds besides those of the metainfo, by the rules of BEP 19. The gate judges them too.
    pub web_seeds: Vec<String>,
    /// Trackers besides those of the metainfo.
    pub trackers: Vec<String>,
    /// Whether web seeds may be used.
    pub use_origin: bool,
    /// Whether peers may be used, which includes announcing to trackers.
    pub use_peers: bool,
    /// How much is asked of the web seeds.
    pub policy: OriginPolicy,
    /// Makes the swarm a personal one: under the secret's names, among those who prove that they hold it. Of the
    /// trackers only [`trackers`](Self::trackers) are asked, and peers are not told of each other.
    pub secret: Option<Secret>,
    /// Where the content is kept.
    pub location: Location,
    /// Whether what is kept in the store is hashed again before it counts, whatever its record says.
    pub recheck: bool,
    /// The cue sheet that is trusted here, which peers are told of.
    pub cue_sheet: Option<SignedCueSheet>,
    /// Whose newer cue sheets are taken from peers; `None` takes none.
    pub publisher: Option<PublicKey>,
    /// Which files are wanted, by their place in [`Metainfo::files`](crate::metainfo::Metainfo::files); `None` is all.
    /// Nothing of the others is fetched.
    pub files: Option<Vec<usize>>,
    /// Fetch everything. When false only what readers will need soon is fetched.
    pub whole_file: bool,
    /// How long a download that makes no progress and has nothing left to hope for goes on before
    /// [`Torrent::completed`](super::Torrent::completed) ends with an error; three times as long when peers are
    /// connected, or while no tracker answers and one may yet. It ends at once when it was never going to work (no peers to find, and every web seed said no for
    /// good). [`stalled`](Self::stalled) and [`hold_on`](Self::hold_on) say who waits longer; of all that apply the longest counts.
    /// `None` waits for ever, as an always-on node does.
    pub give_up: Option<Duration>,
    /// For who plays: so long it goes on instead, where it is longer, while a web seed may still send or when some of the content is here
    /// already. What was fetched ahead plays meanwhile, so that the time counts from long before anybody waits.
    pub stalled: Option<Duration>,
    /// A download that holds something waits at least so long without progress while a source may come back: a web seed in trouble
    /// that may pass, a peer that was there or was named, a tracker.
    pub hold_on: Duration,
}

impl Default for AddOptions {
    fn default() -> Self {
        Self {
            peers: Vec::new(),
            web_seeds: Vec::new(),
            trackers: Vec::new(),
            use_origin: true,
            use_peers: true,
            policy: OriginPolicy::Thrifty,
            location: Location::Store,
            recheck: false,
            cue_sheet: None,
            publisher: None,
            files: None,
            secret: None,
            whole_file: true,
            give_up: Some(Duration::from_secs(20)),
            stalled: None,
            hold_on: Duration::from_secs(300),
        }
    }
}
