//! Whom to dial and when: the addresses that one torrent knows, and pauses between dials of each.
//!
//! An address is known once, wherever it came from. The first look for peers is over when each was tried.

use super::control;
use super::driver::{Driver, Msg};
use super::registry::DialError;
use crate::net::Connection;
use crate::swarm::{Input, PeerId};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Addresses that are remembered.
const MAX_CANDIDATES: usize = 500;
/// Dials at a time.
const MAX_DIALS: usize = 8;
/// First and longest pause between dials of one address.
const REDIAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));

pub(super) struct Candidate {
    /// What it was called, if somebody named it.
    pub(super) host: Option<String>,
    pub(super) next: Instant,
    pub(super) failures: u32,
    pub(super) dialing: bool,
    /// Who answered there.
    pub(super) id: Option<PeerId>,
}

impl Candidate {
    /// Leaves it alone for a while, longer each time.
    pub(super) fn put_off(&mut self) {
        let pause = (REDIAL.0 * 2_u32.saturating_pow(self.failures.min(10))).min(REDIAL.1);
        self.failures += 1;
        self.next = Instant::now() + pause;
    }
}

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
    pub(super) fn add_candidates(&mut self, addresses: Vec<SocketAddr>, host: Option<&str>) {
        if !self.options.use_peers {
            return;
        }
        for address in addresses {
            let full = host.is_none() && self.candidates.len() >= MAX_CANDIDATES;
            if address.port() == 0 || self.own.contains(&address) || full {
                continue;
            }
            let fresh = Candidate {
                host: None,
                next: Instant::now(),
                failures: 0,
                dialing: false,
                id: None,
            };
            let candidate = self.candidates.entry(address).or_insert(fresh);
            if host.is_some() {
                candidate.host = host.map(str::to_owned);
            }
        }
    }

    /// Forgets why an address was left alone.
    pub(super) fn try_again(&mut self, address: SocketAddr) {
        if let Some(candidate) = self.candidates.get_mut(&address) {
            candidate.next = Instant::now();
        }
    }

    pub(super) fn dial(&mut self) {
        let now = Instant::now();
        let connected: HashSet<SocketAddr> = self
            .peers
            .values()
            .flat_map(|p| [Some(p.connection.remote_address()), p.listens])
            .flatten()
            .collect();
        let mut dialing = self.candidates.values().filter(|c| c.dialing).count();
        let mut begin = Vec::new();
        for (address, candidate) in &mut self.candidates {
            let known = candidate.id.is_some_and(|id| {
                self.by_id.contains_key(&id) || self.banned.contains(&id) || self.greeting.contains(&id)
            });
            if candidate.dialing || candidate.next > now || known || connected.contains(address) {
                continue;
            }
            if dialing >= MAX_DIALS || self.peers.len() + dialing >= self.registry.max_connections() {
                break;
            }
            candidate.dialing = true;
            dialing += 1;
            begin.push((*address, candidate.host.clone()));
        }
        for (address, host) in begin {
            let (registry, driver) = (self.registry.clone(), self.ground.driver.clone());
            self.tasks.spawn(async move {
                let result = registry.connect(address, host.as_deref()).await;
                let _ = driver.send(Msg::Dialed { address, result }).await;
            });
        }
    }

    pub(super) fn dialed(&mut self, address: SocketAddr, result: Result<Connection, DialError>) {
        let Some(candidate) = self.candidates.get_mut(&address) else {
            return;
        };
        candidate.dialing = false;
        match result {
            Ok(connection) => {
                candidate.id = Some(connection.id());
                candidate.next = Instant::now() + REDIAL.0 * 2;
                if !self.by_id.contains_key(&connection.id()) && !self.banned.contains(&connection.id()) {
                    let (membership, port) = (self.shared.membership, self.port);
                    let driver = self.ground.driver.clone();
                    let id = connection.id();
                    self.greeting.insert(id);
                    self.tasks.spawn(async move {
                        if let Err(e) = control::open(connection, port, membership, driver.clone()).await {
                            tracing::debug!(%address, "control stream: {e}");
                        }
                        let _ = driver.send(Msg::Greeted { id }).await;
                    });
                }
            }
            Err(DialError::Ourselves) => {
                self.candidates.remove(&address);
                self.own.insert(address);
            }
            Err(error) => {
                candidate.put_off();
                let first = candidate.failures == 1;
                if first {
                    self.problem(format!("dialling the peer {address}: {error}"));
                }
            }
        }
        self.check_discovery();
    }

    /// Tells the core once that the first look for peers is over.
    pub(super) fn check_discovery(&mut self) {
        let looking = self.trackers_to_answer > 0
            || self.resolving > 0
            || !self.greeting.is_empty()
            || self
                .candidates
                .values()
                .any(|c| c.dialing || (c.failures == 0 && c.id.is_none()));
        if self.discovering && !looking {
            self.discovering = false;
            self.input(Input::Discovery { pending: false });
        }
    }

    /// A control stream that we opened is over, or never came to be.
    pub(super) fn greeted(&mut self, id: PeerId) {
        if self.greeting.remove(&id) {
            // It is there and does not speak of this torrent: asking again at once would not change that.
            let there = self.candidates.values_mut().filter(|c| c.id == Some(id));
            there.for_each(Candidate::put_off);
        }
        self.check_discovery();
    }
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
