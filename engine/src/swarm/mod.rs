//! The swarm core: what to ask of whom, whom to serve, when to draw from the origin.
//!
//! A pure state machine, shared by the node, the simulator and the fuzzers. It has no clock, no socket, no runtime.
//! Contract: give one [`Input`] with the time to [`Swarm::handle`], then take outputs from [`Swarm::poll_output`]
//! until it answers `None`, then ask [`Swarm::next_timeout`] when to give [`Input::Timeout`] if nothing else happens
//! before. Times must not go back. Randomness is a `rand` `StdRng` made from the seed: the same inputs with the same
//! seed give the same outputs (within one version of `rand`, whose `StdRng` is not promised to stay the same).
//!
//! Files: `pick` what to request; `choke` whom to serve; `origin_duty` when to draw from the origin; `score` how
//! good a peer is; `layout` and `types` the vocabulary.

mod layout;
mod types;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

pub use layout::{Layout, LayoutError};
pub use types::*;

/// One torrent's swarm as one participant sees it.
#[derive(Debug)]
pub struct Swarm {
    layout: Arc<Layout>,
    outputs: VecDeque<Output>,
}

impl Swarm {
    /// A swarm in which nothing is held and nobody is known. `now` is the beginning of its time.
    pub fn new(layout: Arc<Layout>, config: Config, seed: u64, now: Instant) -> Self {
        let _ = (config, seed, now);
        Self {
            layout,
            outputs: VecDeque::new(),
        }
    }

    /// Takes one thing that happened.
    pub fn handle(&mut self, input: Input, now: Instant) {
        let _ = (input, now);
    }

    /// The next thing to do; `None` when there is nothing until the next input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to give [`Input::Timeout`], if no other input comes before; `None` when time alone changes nothing.
    pub fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// The layout that it was made with.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Whether every block of the run is held. False for a run outside the torrent.
    pub fn has(&self, run: BlockRun) -> bool {
        let _ = run;
        false
    }

    /// Whether every block is held.
    pub fn is_complete(&self) -> bool {
        false
    }

    /// Where it stands.
    pub fn progress(&self, now: Instant) -> Progress {
        let _ = now;
        Progress::default()
    }
}
