//! The neighbours of one torrent: who comes in, what each says and asks for, who is dropped.

use super::census::Named;
use super::conduct::Conduct;
use super::control::{NewPeer, new_one_stays};
use super::driver::Driver;
use super::stats::State;
use super::transfer;
use crate::net::Connection;
use crate::swarm::neighbours::{self, Admission};
use crate::swarm::{Claim, Input, Peer, PeerId, UploadId};
use crate::wire::{Message, Request};
use quinn::SendStream;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot, watch};

/// Banned peers that are counted; the registry knows whom it refuses.
const MAX_BANNED: usize = 10_000;
/// Peers that are counted as having been here.
const MAX_SEEN: usize = 10_000;

pub(super) struct PeerState {
    pub(super) id: PeerId,
    pub(super) connection: Connection,
    pub(super) outbox: mpsc::Sender<Message>,
    pub(super) opened: bool,
    /// Where it takes connections.
    pub(super) listens: Option<SocketAddr>,
    /// Addresses of others that it was told.
    pub(super) told: HashSet<SocketAddr>,
    /// Those of whom it told.
    pub(super) named: Named,
    pub(super) conduct: Conduct,
    /// What is being sent to it ends with this.
    pub(super) life: watch::Sender<()>,
}

impl Driver {
    /// Takes a peer out of the tables, with its requests and uploads. True when it was there.
    pub(super) fn forget_peer(&mut self, peer: Peer) -> bool {
        let Some(state) = self.peers.remove(&peer) else {
            return false;
        };
        if self.by_id.get(&state.id) == Some(&peer) {
            self.by_id.remove(&state.id);
        }
        self.requests.retain(|_, (of, task)| {
            if *of == peer {
                task.abort();
            }
            *of != peer
        });
        self.uploads.retain(|_, (of, _)| *of != peer);
        self.former.keep(state.id, state.conduct);
        self.swarm
            .handle(Input::PeerDisconnected { peer }, Instant::now());
        true
    }

    pub(super) fn ban(&mut self, peer: Peer, why: &str) {
        let Some(state) = self.peers.get(&peer) else {
            return;
        };
        let (id, connection) = (state.id, state.connection.clone());
        self.problem(format!(
            "the peer {} was dropped: {why}",
            connection.remote_address()
        ));
        if self.banned.len() < MAX_BANNED {
            self.banned.insert(id);
        }
        self.registry.ban(&connection, why);
        self.forget_peer(peer);
    }

    pub(super) fn peer_up(&mut self, new: NewPeer) {
        let NewPeer {
            connection,
            hello,
            outbox,
            opened,
            accepted,
        } = new;
        let id = connection.id();
        // Whoever comes in during a pause would be no neighbour of the core that goes on after it.
        if self.paused || self.banned.contains(&id) {
            return;
        }
        if let Some(&old) = self.by_id.get(&id) {
            let old_opened = self.peers.get(&old).is_some_and(|p| p.opened);
            if !new_one_stays(self.registry.id(), id, old_opened, opened) {
                return;
            }
            self.forget_peer(old);
            self.drain();
        }
        let now = self.began.elapsed();
        let mut conduct = self.former.take(id).unwrap_or_else(|| Conduct::new(now));
        let opens = conduct.openings.take(now);
        if !opens {
            self.registry.refused(&connection);
        }
        if !opens || !self.let_in(id) {
            self.former.keep(id, conduct);
            return;
        }
        let peer = Peer(self.next_name);
        self.next_name += 1;
        let remote = connection.remote_address();
        let listens = (hello.listen_port != 0).then(|| SocketAddr::new(remote.ip(), hello.listen_port));
        if accepted.send(peer).is_err() {
            return;
        }
        self.candidates.is_neighbour(id, listens);
        if let Some(seen) = hello.observed {
            self.registry.observe(remote.ip(), seen, false);
        }
        if self.seen.len() < MAX_SEEN || self.seen.contains_key(&id) {
            self.seen.insert(id, connection.way());
        }
        tracing::debug!(%remote, way = ?connection.way(), "a new neighbour");
        let rtt = connection.rtt();
        self.peers.insert(
            peer,
            PeerState {
                id,
                connection,
                outbox,
                opened,
                listens,
                told: HashSet::new(),
                named: Named::default(),
                conduct,
                life: watch::Sender::new(()),
            },
        );
        self.by_id.insert(id, peer);
        self.input(Input::PeerConnected { peer, id });
        self.input(Input::PeerRtt { peer, rtt });
        self.tell_of_others(peer);
        self.tell_sheet(peer);
        if self.state == State::Complete {
            self.tell_delivered(Some(peer));
        }
    }

    /// Whether there is room for one more neighbour; makes some where one is of no use.
    fn let_in(&mut self, id: PeerId) -> bool {
        let complete = self.shared.store.is_complete();
        let limit = self.registry.max_connections();
        match neighbours::admit(self.swarm.neighbours(), complete, limit, Instant::now()) {
            Admission::Welcome => true,
            Admission::Full => {
                tracing::debug!(?id, "there is no room for one more neighbour");
                false
            }
            Admission::InsteadOf(peer) => {
                if self.forget_peer(peer) {
                    self.drain();
                }
                true
            }
        }
    }

    pub(super) fn message(&mut self, peer: Peer, message: Message) {
        let now = self.began.elapsed();
        let Some(state) = self.peers.get_mut(&peer) else {
            return;
        };
        let is_turn = matches!(message, Message::Choke | Message::Unchoke);
        if is_turn && !state.conduct.turns.take(now) {
            self.ban(peer, "it changes again and again whether we may ask it");
            return self.drain();
        }
        match message {
            Message::Have(runs) => self.input(Input::PeerHave { peer, runs }),
            Message::Choke => self.input(Input::PeerChoked { peer }),
            Message::Unchoke => self.input(Input::PeerUnchoked { peer }),
            Message::Claims(claims) => self.input(Input::PeerClaims {
                peer,
                claims: claims as Vec<Claim>,
            }),
            Message::PeerExchange(addresses) => self.heard_of_others(peer, addresses),
            Message::Dial { peer: id, address } => self.dial_message(peer, id, address),
            Message::Hello(_) => self.ban(peer, "it said hello twice"),
            Message::MetadataRequest { kind, offset, length } => {
                self.metadata_request(peer, kind, offset, length);
            }
            Message::Delivered { noted } => self.heard_delivered(peer, noted),
            Message::CueSheet(raw) => self.heard_sheet(peer, &raw),
            // Metadata is not asked for here.
            Message::Metadata { .. } | Message::Unknown(_) => {}
        }
        self.drain();
    }

    pub(super) fn peer_request(&mut self, from: &Connection, request: &Request, send: SendStream) {
        let peer = self.by_id.get(&from.id()).copied();
        let Some((peer, state)) = peer.and_then(|peer| Some((peer, self.peers.get(&peer)?))) else {
            self.tasks
                .spawn(transfer::refuse(send, self.shared.membership.no()));
            self.registry.refused(from);
            return;
        };
        let id = UploadId(self.next_name);
        self.next_name += 1;
        let (decide, decision) = oneshot::channel();
        self.tasks.spawn(transfer::upload(
            self.ground.clone(),
            state.connection.clone(),
            peer,
            id,
            request.run,
            send,
            (decision, state.life.subscribe()),
        ));
        self.uploads.insert(id, (peer, decide));
        self.input(Input::PeerRequest {
            peer,
            request: id,
            run: request.run,
            urgency: request.urgency,
        });
    }
}
