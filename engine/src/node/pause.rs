//! Pausing a torrent: nothing is asked, served or announced, until it goes on.
//!
//! The core knows nothing of it. It is set aside when the torrent pauses, with everything that was under way, and a
//! new one takes its place afterwards, told what the store holds, as at the beginning.

use super::announce::Phase;
use super::driver::Driver;
use super::stats::State;
use crate::swarm::Swarm;
use std::time::Instant;

impl Driver {
    /// Begins or ends a pause.
    pub(super) fn set_paused(&mut self, paused: bool) {
        if paused == self.paused || self.broken {
            return;
        }
        if paused {
            self.pause();
        } else {
            self.go_on();
        }
    }

    pub(super) fn pause(&mut self) {
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            self.forget_peer(peer);
        }
        self.paused = true;
        // What the core still had to say is about transfers that are over.
        while self.swarm.poll_output().is_some() {}
        for (_, (_, task)) in self.requests.drain() {
            task.abort();
        }
        self.uploads.clear();
        self.drop_fetches();
        if let Some(announcer) = self.announcer.take() {
            announcer.send_replace(Phase::Stopped);
        }
        if self.state == State::Downloading {
            self.state = State::Paused("it was asked to".into());
        }
        self.publish();
    }

    fn go_on(&mut self) {
        self.paused = false;
        let layout = self.ground.verifier.layout().clone();
        self.swarm = Swarm::new(layout, self.core.clone(), rand::random(), Instant::now());
        if matches!(self.state, State::Paused(_)) {
            self.state = State::Downloading;
        }
        self.last_progress = Instant::now();
        self.discovering = true;
        self.tell_held();
        if self.options.use_peers {
            self.begin_announcing();
        }
        self.readers.clear();
        self.sync_readers();
        self.check_discovery();
        self.dial();
        self.publish();
    }
}
