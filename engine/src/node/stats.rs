//! What can be seen of a torrent while it runs. Plain data.

use crate::net::Way;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Where most bytes of a piece came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PieceSource {
    /// It was here when the torrent was added.
    Disk,
    /// Other viewers.
    Peer,
    /// A web seed.
    Origin,
}

/// What a torrent is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Fetching, and serving what it has.
    Downloading,
    /// It cannot write, and goes on by itself when there is room on the disk; or it was asked to pause. Says which, in
    /// words.
    Paused(Arc<str>),
    /// Everything that is wanted is here, verified and safe on the disk; serving.
    Complete,
    /// It ended with this error.
    Failed(Arc<str>),
    /// It was stopped.
    Stopped,
}

/// How peers came to be connected, those that were at any time; each counts once, by its latest connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Ways {
    /// By dialling an address at which the other takes connections.
    pub direct: usize,
    /// After an introduction, through routers that both sides opened.
    pub punched: usize,
    /// Through a relay.
    pub relayed: usize,
}

impl Ways {
    pub(super) fn count<'a>(ways: impl IntoIterator<Item = &'a Way>) -> Self {
        let mut count = Self::default();
        for way in ways {
            *match way {
                Way::Direct => &mut count.direct,
                Way::Punched => &mut count.punched,
                Way::Relayed => &mut count.relayed,
            } += 1;
        }
        count
    }
}

/// A connected peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourStats {
    /// Where it is.
    pub address: SocketAddr,
    /// How it came to be connected.
    pub way: Way,
    /// The round-trip time.
    pub rtt: Duration,
    /// Whether it holds everything.
    pub complete: bool,
}

/// A tracker that has not answered since it was first asked, or since it answered last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SilentTracker {
    /// Scheme, host and port: the rest of its address may be a secret.
    pub tracker: String,
    /// For so long.
    pub waited: Duration,
    /// What went wrong the last time, where that is known already. For people to read.
    pub why: Option<String>,
}

/// A torrent's figures since it was added. All sizes are bytes of content.
#[derive(Clone, Debug)]
pub struct Stats {
    /// What it is doing.
    pub state: State,
    /// Bytes of wanted files that are verified here; while the disk is full, those of them that are written.
    pub have_bytes: u64,
    /// Bytes of all wanted files.
    pub total_bytes: u64,
    /// Kept bytes that came from web seeds.
    pub from_origin: u64,
    /// Kept bytes that came from peers.
    pub from_peers: u64,
    /// Bytes that were received and not kept: wrong, double, or not asked for (a web seed that ignores ranges).
    pub wasted: u64,
    /// Bytes that were sent to peers.
    pub uploaded: u64,
    /// Bytes of those in requests that were served to their end, and that their peers have acknowledged.
    pub arrived: u64,
    /// Connected peers.
    pub peers: usize,
    /// Peers that were connected at any time.
    pub peers_seen: usize,
    /// How those came to be connected.
    pub ways: Ways,
    /// Peers that said that they hold all they want, safe on their disks (personal swarms).
    pub delivered: usize,
    /// Peers that have noted that we do.
    pub noted: usize,
    /// Peers that were dropped because they sent wrong data or broke the protocol.
    pub banned: usize,
    /// Viewers and seeds of the swarm, ourselves included, as a tracker said.
    pub viewers: Option<u32>,
    /// The connected peers.
    pub neighbours: Vec<NeighbourStats>,
    /// Bytes received a second, lately.
    pub down_rate: u64,
    /// Web seeds, of the metainfo and those that were added, whether or not they answer; none when they are not to be used.
    pub web_seeds: usize,
    /// Whether all web seeds that may be asked give whole files only, as far as that is known: what comes late in a file is late.
    pub whole_only: bool,
    /// For each piece where most of it came from; `None` until it is whole.
    pub pieces: Arc<[Option<PieceSource>]>,
    /// Why a relay does not carry this transfer, or no further (personal swarms). For people to read.
    pub relay_refuses: Option<String>,
    /// Trackers that were asked and do not answer.
    pub silent_trackers: Vec<SilentTracker>,
    /// How long it goes on at most if nothing comes any more; `None` while something does, and when it goes on for ever.
    pub gives_up: Option<Duration>,
    /// The latest troubles, oldest first, at most 16: web seeds, trackers, peers. For people to read.
    pub problems: Vec<String>,
    /// The latest trouble of a web seed, if nothing came from one since, however many of others did.
    pub origin_problem: Option<String>,
}

impl Stats {
    /// Why nothing comes, as far as that is known, for people to read: the latest trouble of a web seed, and the latest of all.
    pub fn trouble(&self) -> Option<String> {
        match (&self.origin_problem, self.problems.last()) {
            (Some(origin), Some(last)) if origin != last => Some(format!("{origin}; {last}")),
            (origin, last) => origin.as_ref().or(last).cloned(),
        }
    }

    /// Whether everything that is wanted is here.
    pub fn is_complete(&self) -> bool {
        self.have_bytes == self.total_bytes
    }
}
