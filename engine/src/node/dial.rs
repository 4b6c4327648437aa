//! Dialling: whom the torrent's [`Candidates`](super::candidates::Candidates) name, within the limits of
//! [`neighbours`](crate::swarm::neighbours).
//!
//! An address that does not answer quickly may lie behind a router: then who knows the peer is asked to introduce us
//! (`introduce`). The first look for peers is over when each address that was heard was tried.

use super::candidates::Heard;
use super::control;
use super::driver::Driver;
use super::inbox::Msg;
use super::moving::Lost;
use super::registry::{DialError, Registry};
use crate::net::Connection;
use crate::swarm::neighbours;
use crate::swarm::{Input, PeerId};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Who has not answered for so long may be behind a router.
const SLOW: Duration = Duration::from_millis(400);

impl Driver {
    /// Looks up the peers that were named.
    pub(super) fn begin_resolving(&mut self) {
        for name in self.options.peers.clone() {
            self.resolving += 1;
            let (gate, driver) = (self.registry.gate().clone(), self.ground.driver.clone());
            self.tasks.spawn(async move {
                let _ = driver.send(resolve(&gate, &name).await).await;
            });
        }
    }

    /// `host` is what the addresses were found under, when a person named it.
    pub(super) fn add_candidates(&mut self, addresses: Vec<SocketAddr>, heard: Heard, host: Option<&str>) {
        if !self.options.use_peers {
            return;
        }
        let mut refused = None;
        for address in addresses {
            // An address that may not be dialled must not take the place of one that may.
            let literal = address.ip().to_string();
            match self.registry.may_dial(address, host.unwrap_or(&literal)) {
                Ok(()) => {
                    self.candidates.add(address, heard, host, Instant::now());
                }
                Err(e) => refused = Some(e),
            }
        }
        if let Some(e) = refused.filter(|_| !self.refusal_told) {
            self.refusal_told = true;
            self.problem(format!("a peer is not dialled: {e}"));
        }
    }

    pub(super) fn dial(&mut self) {
        if self.paused {
            return;
        }
        let complete = self.shared.store.is_complete();
        let busy = self.peers.len() + self.candidates.dialing();
        let room = neighbours::to_dial(busy, complete, self.registry.max_connections());
        if room == 0 {
            return;
        }
        let connected: HashSet<SocketAddr> = self
            .peers
            .values()
            .flat_map(|p| [Some(p.connection.remote_address()), p.listens])
            .flatten()
            .collect();
        let skip = |address: SocketAddr, id: Option<PeerId>| {
            let known = id.is_some_and(|id| {
                self.by_id.contains_key(&id) || self.banned.contains(&id) || self.greeting.contains(&id)
            });
            known || connected.contains(&address)
        };
        let begin = self
            .candidates
            .next_dials(room, Instant::now(), skip, &mut rand::rng());
        for (address, host) in begin {
            let (registry, driver) = (self.registry.clone(), self.ground.driver.clone());
            self.tasks.spawn(reach(registry, address, host, driver));
        }
    }

    /// A peer was lost without a word: one of us may have moved.
    pub(super) fn dial_again(&mut self, id: PeerId, lost: Lost) {
        let address = lost.address;
        if self.banned.contains(&id) {
            return;
        }
        if self.shared.membership.secret.is_some() {
            // It proved from there that it holds the secret.
            self.registry
                .gate()
                .trust(&address.ip().to_string(), address.port());
        } else {
            self.registry.note_lost(lost);
        }
        self.add_candidates(vec![address], Heard::Peer(id), None);
        self.candidates.try_again(address, Instant::now());
        self.dial();
    }

    pub(super) fn dialed(&mut self, address: SocketAddr, result: Result<Option<Connection>, DialError>) {
        let now = Instant::now();
        match result {
            Ok(Some(connection)) => {
                let id = connection.id();
                self.candidates.reached(address, id, now);
                let known =
                    self.by_id.contains_key(&id) || self.banned.contains(&id) || self.greeting.contains(&id);
                if !known && !self.paused {
                    self.greet(connection);
                }
            }
            // The other side dialled us, and opens the control stream.
            Ok(None) => self.candidates.end(address, now),
            Err(DialError::Ourselves) => self.candidates.is_own(address),
            Err(error) => {
                if self.candidates.failed(address, error.is_no_room(), now) {
                    self.problem(format!("dialling the peer {address}: {error}"));
                }
            }
        }
        self.check_discovery();
    }

    /// What came of an introduction.
    pub(super) fn punched(&mut self, address: SocketAddr, result: Result<Option<Connection>, DialError>) {
        // A dial of ours may go on, and tells by itself how it ends.
        if !self.candidates.punched(address, Instant::now()) || matches!(result, Ok(Some(_))) {
            self.dialed(address, result);
        }
    }

    /// Opens a control stream for this torrent.
    fn greet(&mut self, connection: Connection) {
        let id = connection.id();
        self.greeting.insert(id);
        let (membership, driver) = (self.shared.membership, self.ground.driver.clone());
        self.tasks.spawn(control::greet(
            self.registry.clone(),
            connection,
            membership,
            driver,
        ));
    }

    /// Tells the core once that the first look for peers is over.
    pub(super) fn check_discovery(&mut self) {
        // The DHT and the local network take their time, and are waited for only when there is no tracker.
        let looking = self.trackers_to_answer > 0
            || (self.announcer.is_none() && !self.looking.is_empty())
            || self.resolving > 0
            || !self.greeting.is_empty()
            || self.candidates.any_untried();
        if self.discovering && !looking {
            self.discovering = false;
            self.input(Input::Discovery { pending: false });
        }
    }

    /// A control stream that we opened is over, or never came to be.
    pub(super) fn greeted(&mut self, id: PeerId, full: bool) {
        if self.greeting.remove(&id) {
            self.candidates.put_off(id, full, Instant::now());
        }
        self.check_discovery();
    }
}

/// Dials, and says so when nobody answers quickly.
pub(super) async fn reach(
    registry: Arc<Registry>,
    address: SocketAddr,
    host: Option<String>,
    driver: mpsc::Sender<Msg>,
) {
    let dialling = registry.connect(address, host.as_deref());
    tokio::pin!(dialling);
    let result = tokio::select! {
        result = &mut dialling => result,
        () = tokio::time::sleep(SLOW) => {
            let _ = driver.send(Msg::Unreached { address }).await;
            dialling.await
        }
    };
    let result = result.map(Some);
    let _ = driver.send(Msg::Dialed { address, result }).await;
}

/// Looks up a peer that was named.
pub(super) async fn resolve(gate: &gate::Gate, name: &str) -> Msg {
    let failed = |problem: String| Msg::Resolved {
        host: name.to_owned(),
        addresses: Vec::new(),
        problem: Some(problem),
    };
    let parts = name
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let Some((host, port)) = parts else {
        return failed(format!("the peer {name:?} is not host:port"));
    };
    match gate.resolve(host, port).await {
        Ok(addresses) => Msg::Resolved {
            host: host.to_owned(),
            addresses,
            problem: None,
        },
        Err(e) => failed(format!("the peer {name}: {e}")),
    }
}
