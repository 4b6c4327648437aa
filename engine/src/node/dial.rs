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
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Barrier, mpsc};

/// Who has not answered for so long may be behind a router.
const SLOW: Duration = Duration::from_millis(400);
/// Pauses before a name is looked up again that could not be: the first, and the longest; each is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

impl Driver {
    /// Looks up the peers that were named.
    pub(super) fn begin_resolving(&mut self) {
        let names = self.options.peers.clone();
        self.resolving += names.len();
        let all_tried = Arc::new(Barrier::new(names.len()));
        for name in names {
            let (gate, driver) = (self.registry.gate().clone(), self.ground.driver.clone());
            let all_tried = all_tried.clone();
            self.tasks.spawn(look_up(gate, name, all_tried, driver));
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

/// Looks up a peer that was named, again and again while that fails: there may be no network yet.
///
/// The first answer for each name ends the wait for that name. An answer that comes later must not end the wait for
/// another one, and so comes after all of the first.
async fn look_up(gate: gate::Gate, name: String, all_tried: Arc<Barrier>, driver: mpsc::Sender<Msg>) {
    let first = resolve(&gate, &name).await;
    let again = !is_resolved(&first) && is_host_name(&name);
    if driver.send(first).await.is_err() {
        return;
    }
    all_tried.wait().await;
    if !again {
        return;
    }
    let mut pause = PAUSES.0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = driver.closed() => return,
        }
        // Why not was said the first time.
        let later = resolve(&gate, &name).await;
        if is_resolved(&later) {
            let _ = driver.send(later).await;
            return;
        }
        pause = PAUSES.1.min(pause * 2);
    }
}

fn is_resolved(msg: &Msg) -> bool {
    matches!(msg, Msg::Resolved { problem: None, .. })
}

/// Host and port of a peer that was named.
fn parts(name: &str) -> Option<(&str, u16)> {
    let (host, port) = name.rsplit_once(':')?;
    Some((host, port.parse().ok()?))
}

/// Whether a look-up may give something else another time: an address stays what it is.
fn is_host_name(name: &str) -> bool {
    parts(name).is_some_and(|(host, _)| {
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        !host.is_empty() && inner.unwrap_or(host).parse::<IpAddr>().is_err()
    })
}

/// Looks up a peer that was named.
pub(super) async fn resolve(gate: &gate::Gate, name: &str) -> Msg {
    let failed = |problem: String| Msg::Resolved {
        host: name.to_owned(),
        addresses: Vec::new(),
        problem: Some(problem),
    };
    let Some((host, port)) = parts(name) else {
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

#[cfg(test)]
mod tests {
    use super::is_host_name;

    #[test]
    fn only_names_are_looked_up_again() {
        let names = ["seed.example.org:7000", "localhost:1"];
        assert!(names.into_iter().all(is_host_name));
        let others = [
            "192.0.2.1:7000",
            "[2001:db8::1]:7000",
            "seed.example.org",
            "seed:x",
            ":7000",
            "",
        ];
        assert!(!others.into_iter().any(is_host_name));
    }
}
