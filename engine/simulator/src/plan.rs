//! What a run is given: the network, and each viewer's lines, times and habits.

use std::time::Duration;

use engine::swarm::Config;

/// What all share.
#[derive(Debug, Clone)]
pub struct Network {
    /// Content bytes of the one file.
    pub length: u64,
    /// Its piece length.
    pub piece_length: u32,
    /// One-way delay between any two participants.
    pub delay: Duration,
    /// The origin's uplink in bytes a second.
    pub origin_rate: f64,
    /// Each viewer dials all others up to this many, else a random choice of so many.
    pub neighbours: usize,
    /// Who has so many neighbours takes no more.
    pub most_neighbours: usize,
    /// Most blocks that one event carries: 1 is the truth, 4 (a turn of an uplink) is faster to compute.
    pub unit: u32,
    /// When the origin answers with errors only.
    pub outage: Option<OriginOutage>,
}

/// When the origin does not work.
#[derive(Debug, Clone, Copy)]
pub enum OriginOutage {
    /// From this time on, for good.
    At(Duration),
    /// Once it has sent this many copies of the content, for good.
    AfterCopies(f64),
    /// It works for so long, then fails for so long, again and again.
    Turns {
        /// From the beginning.
        works: Duration,
        /// Then.
        fails: Duration,
    },
}

/// When a viewer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// So long after the beginning.
    At(Duration),
    /// So long after every earlier viewer has completed or left.
    AfterAll(Duration),
}

/// A simulated player.
#[derive(Debug, Clone, Copy)]
pub struct Player {
    /// Content bytes a second.
    pub bitrate: u64,
}

/// One viewer.
#[derive(Debug, Clone)]
pub struct Viewer {
    /// When it comes.
    pub arrival: Arrival,
    /// Uplink in bytes a second.
    pub up: f64,
    /// Downlink in bytes a second.
    pub down: f64,
    /// Sends wrong blocks.
    pub corrupt: bool,
    /// Says what it holds and that it takes requests, and refuses them all.
    pub free_rider: bool,
    /// Leaves at this time, whatever it has.
    pub leaves_at: Option<Duration>,
    /// Leaves as soon as it is complete.
    pub leaves_when_complete: bool,
    /// Holds everything from the beginning.
    pub seed: bool,
    /// Plays instead of downloading.
    pub player: Option<Player>,
    /// Settings of its core; the id is chosen by the simulation.
    pub config: Config,
}

impl Viewer {
    /// A viewer that comes at the beginning, stays, and downloads.
    pub fn new(up: f64, down: f64) -> Self {
        Self {
            arrival: Arrival::At(Duration::ZERO),
            up,
            down,
            corrupt: false,
            free_rider: false,
            leaves_at: None,
            leaves_when_complete: false,
            seed: false,
            player: None,
            config: Config::default(),
        }
    }
}
