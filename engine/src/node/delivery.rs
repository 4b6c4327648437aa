//! Telling the other side of a personal swarm that all has arrived, so that it knows when it is done.
//!
//! Who downloads says it once all of the torrent (not only the files that it selected) is verified and safe on the disk,
//! to each peer that is there or comes later; a peer answers that it has noted it. Who serves a file of its own says nothing.

use super::Location;
use super::driver::Driver;
use crate::swarm::Peer;
use crate::wire::Message;

impl Driver {
    /// Says it to one peer, or to all.
    pub(super) fn tell_delivered(&mut self, only: Option<Peer>) {
        let downloads = self.options.location == Location::Store;
        if self.shared.membership.secret.is_none() || !downloads || !self.shared.holds_all() {
            return;
        }
        let peers: Vec<Peer> = match only {
            Some(peer) => vec![peer],
            None => self.peers.keys().copied().collect(),
        };
        for peer in peers {
            self.send(peer, Message::Delivered { noted: false });
        }
    }

    /// A peer said it, or has noted what we said.
    pub(super) fn heard_delivered(&mut self, peer: Peer, noted: bool) {
        let Some(state) = self.peers.get(&peer) else {
            return;
        };
        if self.shared.membership.secret.is_none() {
            return;
        }
        if noted {
            self.noted.insert(state.id);
        } else {
            self.delivered.insert(state.id);
            self.send(peer, Message::Delivered { noted: true });
        }
        self.publish();
    }
}
