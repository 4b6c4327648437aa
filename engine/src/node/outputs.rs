//! Carries out what the core says: requests, uploads, messages to neighbours, fetches from the origin.

use super::driver::Driver;
use super::fetches::Fetch;
use super::registry::FLOOD;
use super::transfer::{self, Decision};
use crate::swarm::{Audience, BanReason, Input, Output, Peer, UploadId};
use crate::wire::Message;
use std::time::Instant;

impl Driver {
    /// Gives the core one input and does what it says.
    pub(super) fn input(&mut self, input: Input) {
        if self.paused {
            return;
        }
        self.swarm.handle(input, Instant::now());
        while let Some(output) = self.swarm.poll_output() {
            self.output(output);
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Request {
                peer,
                request,
                run,
                urgency,
                deadline,
            } => {
                let Some(state) = self.peers.get(&peer) else {
                    return;
                };
                let (ground, connection) = (self.ground.clone(), state.connection.clone());
                let task = transfer::download(ground, connection, peer, request, run, urgency, deadline);
                let handle = self.tasks.spawn(task);
                self.requests.insert(request, (peer, handle));
            }
            Output::Cancel { request, .. } => {
                if let Some((_, task)) = self.requests.remove(&request) {
                    task.abort();
                }
            }
            Output::Serve { request, urgency, .. } => self.decide(request, Decision::Serve(urgency)),
            Output::Refuse {
                peer,
                request,
                reason,
            } => {
                self.decide(request, Decision::Refuse(reason));
                let id = self.peers.get(&peer).map(|state| state.id);
                if id.is_some_and(|id| !self.registry.bears(id)) {
                    self.ban(peer, FLOOD);
                }
            }
            Output::SendHave { to, runs } => {
                for message in Message::haves(&runs) {
                    match to {
                        Audience::One(peer) => self.send(peer, message),
                        Audience::Everyone => {
                            for peer in self.peers.keys().copied().collect::<Vec<_>>() {
                                self.send(peer, message.clone());
                            }
                        }
                    }
                }
            }
            Output::SendClaims { to, claims } => {
                for message in Message::claims(&claims) {
                    self.send(to, message);
                }
            }
            Output::Choke { peer } => self.send(peer, Message::Choke),
            Output::Unchoke { peer } => self.send(peer, Message::Unchoke),
            Output::OriginFetch { fetch, run, .. } => {
                let task = self.tasks.spawn(transfer::fetch(self.ground.clone(), fetch, run));
                self.fetches.insert(
                    fetch,
                    Fetch {
                        run,
                        task,
                        ended: None,
                    },
                );
            }
            Output::OriginCancel { fetch } => {
                if let Some(fetch) = self.fetches.remove(&fetch) {
                    fetch.task.abort();
                    self.discard_uncovered(fetch.run);
                }
            }
            Output::Ban { peer, reason } => {
                let what = match reason {
                    BanReason::BadData => "it sent wrong data",
                    BanReason::Protocol => "it broke the protocol",
                };
                self.ban(peer, what);
            }
            Output::Complete => self.check_complete(),
        }
    }

    fn decide(&mut self, id: UploadId, decision: Decision) {
        if let Some((_, decide)) = self.uploads.remove(&id) {
            // The task is gone when the peer gave up in this very moment; its message is on the way.
            let _ = decide.send(decision);
        }
    }

    pub(super) fn send(&mut self, peer: Peer, message: Message) {
        let Some(state) = self.peers.get(&peer) else {
            return;
        };
        if state.outbox.try_send(message).is_err() {
            tracing::debug!(address = %state.connection.remote_address(), "a peer does not read: disconnecting");
            // Its control task ends with the outbox, and tells.
            self.forget_peer(peer);
        }
    }

    /// Does what the core still has to say after inputs that were given without [`Self::input`].
    pub(super) fn drain(&mut self) {
        while let Some(output) = self.swarm.poll_output() {
            self.output(output);
        }
    }
}
