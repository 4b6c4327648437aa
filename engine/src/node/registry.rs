//! The connections of a node, and which torrent a stream belongs to.
//!
//! There is one connection for each pair of peers: when both dialled, the one that the smaller id dialled stays. The
//! locks here guard tables only and are never held across an await; `connections` is taken before all others, which are not held together.

use super::announce::Told;
use super::bans::Bans;
use super::control::{HELLO_TIMEOUT, Offer};
use super::hashing::Hasher;
use super::inbox::Msg;
use super::lan::Lan;
use super::moving::{self, Lost};
use super::observed::Observed;
use super::transfer::refuse;
use super::{Error, NodeConfig, announce, dht, mapping};
use crate::net::{
    Connection, ConnectionFailure, Endpoint, Identity, Incoming, Moved, NetThread, Way, accept_stream,
};
use crate::rate::Bucket;
use crate::swarm::PeerId;
use crate::tracker::pairs::Token;
use crate::wire::ReplyStatus;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use gate::{Forbidden, Gate, household};
use mainline::async_dht::AsyncDht;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{Notify, OnceCell, mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Handshakes at a time beyond which strangers must first prove their address.
const BUSY: usize = 50;
/// Handshakes at a time beyond which nobody is answered.
const MAX_HANDSHAKES: usize = 512;
/// Longest wait for a connection that we dial.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection that serves no torrent for so long is closed, so that it does not take the place of one that does.
const UNUSED: Duration = Duration::from_secs(10);
/// Longest wait for the smaller id's dial, when two were introduced.
const PUNCH_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a connection from an address counts as punched after we opened our router for it, and addresses kept.
const PUNCHED: (Duration, usize) = (Duration::from_secs(15), 256);
/// Addresses that are remembered of peers that were lost.
const MAX_LOST: usize = 256;
/// Why we have nothing to do any more with who asks again and again for what it does not get.
pub(super) const FLOOD: &str = "it floods us with requests that are refused";
/// For so long nobody tries again to join the DHT when that has failed: many torrents may want it at once.
const DHT_PAUSE: Duration = Duration::from_secs(5);
/// Streams of one connection whose first bytes are being read.
const MAX_OPENING: usize = 128;

/// Why a dial brought no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error("this node has no socket of that address family")]
    Family,
    #[error(transparent)]
    Failed(#[from] ConnectionFailure),
    #[error("no answer")]
    Timeout,
    #[error("it is this node itself")]
    Ourselves,
    #[error("there are too many connections already")]
    Full,
    #[error("several peers from there misbehaved: it is left alone for a while")]
    LeftAlone,
}

impl DialError {
    /// Whether somebody is there who had no room for us.
    pub(super) fn is_no_room(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.is_no_room())
    }
}

/// Resolves when trackers were told that we are gone.
pub(super) type Farewell = Shared<BoxFuture<'static, ()>>;

type Dial = BoxFuture<'static, Result<Connection, DialError>>;

#[derive(Debug)]
pub(crate) struct Registry {
    config: NodeConfig,
    identity: Identity,
    /// Makes our names at trackers.
    salt: [u8; 32],
    endpoints: Vec<Endpoint>,
    pub(super) up: Arc<Bucket>,
    pub(super) down: Arc<Bucket>,
    pub(super) hasher: Arc<Hasher>,
    /// Where every task runs.
    runtime: Handle,
    moved: Moved,
    connections: Mutex<HashMap<PeerId, Connection>>,
    /// Dials that go on. However many torrents know an address, it is dialled once at a time.
    dials: Mutex<HashMap<SocketAddr, WeakShared<Dial>>>,
    torrents: Mutex<HashMap<[u8; 32], mpsc::Sender<Msg>>>,
    /// Our places at the relays of trackers, by the tracker's URL, and the relays' addresses.
    relays: Mutex<HashMap<String, (Token, SocketAddr)>>,
    /// The latest last.
    lost: Mutex<VecDeque<Lost>>,
    bans: Mutex<Bans>,
    /// What searches for metainfo told trackers, by the swarm's key and the tracker's URL, until the torrent takes it over.
    told: Mutex<HashMap<[u8; 20], HashMap<String, Told>>>,
    /// Goodbyes after searches that are under way, by the swarm's key.
    farewells: Mutex<HashMap<[u8; 20], Farewell>>,
    /// Where others see us, for IPv4 and IPv6.
    observed: Mutex<[Observed; 2]>,
    /// The IPv4 port (IPv6 where there is no IPv4) at which others reach us.
    public_port: watch::Sender<u16>,
    /// Addresses to which we opened our router.
    punched: Mutex<HashMap<SocketAddr, Instant>>,
    /// The IPv4 port that a router forwards to ours.
    mapped: Mutex<Option<u16>>,
    mapping: Mutex<Option<JoinHandle<()>>>,
    /// Wakes who asks the router: it may be another one now.
    pub(super) moves: Notify,
    dht: OnceCell<AsyncDht>,
    /// When it could not be joined the last time.
    dht_failed: Mutex<Option<Instant>>,
    lan: OnceLock<Option<Lan>>,
    /// Becomes true once, when the node is to stop.
    stopping: watch::Sender<bool>,
    /// Counts connections, to wake who waits for one.
    arrivals: watch::Sender<u64>,
    /// Accepting, and serving connections: ends when the node goes.
    tasks: Mutex<JoinSet<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The tables are maps whose single operations cannot be torn by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// Binds the sockets and begins to accept.
    pub(super) fn start(config: NodeConfig, thread: &NetThread, hasher: Hasher) -> Result<Arc<Self>, Error> {
        let identity = Identity::generate().map_err(|e| Error::Identity(e.to_string().into()))?;
        let endpoints = config
            .listen
            .iter()
            .map(|&address| {
                Endpoint::bind_to(address, &identity, thread, config.up.is_none()).map_err(|e| {
                    Error::Listen {
                        address,
                        source: Arc::new(e),
                    }
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let first = endpoints.iter().filter_map(|e| e.local_addr().ok());
        let port = first.min_by_key(|a| !a.is_ipv4()).map_or(0, |a| a.port());
        let registry = Arc::new(Self {
            observed: Mutex::default(),
            public_port: watch::Sender::new(port),
            punched: Mutex::default(),
            mapped: Mutex::default(),
            mapping: Mutex::default(),
            moves: Notify::new(),
            dht: OnceCell::new(),
            dht_failed: Mutex::default(),
            lan: OnceLock::new(),
            stopping: watch::Sender::new(false),
            arrivals: watch::Sender::new(0),
            up: Arc::new(Bucket::new(config.up)),
            down: Arc::new(Bucket::new(config.down)),
            hasher: Arc::new(hasher),
            runtime: thread.handle().clone(),
            moved: thread.moved().clone(),
            config,
            identity,
            salt: rand::random(),
            endpoints,
            connections: Mutex::default(),
            dials: Mutex::default(),
            torrents: Mutex::default(),
            relays: Mutex::default(),
            lost: Mutex::default(),
            bans: Mutex::default(),
            told: Mutex::default(),
            farewells: Mutex::default(),
            tasks: Mutex::default(),
        });
        let fixed = |address: &SocketAddr| !address.ip().is_unspecified();
        if !registry.config.listen.iter().all(fixed) {
            registry.spawn(moving::watch(registry.clone()));
        }
        for endpoint in &registry.endpoints {
            registry.spawn(accept(registry.clone(), endpoint.clone()));
        }
        Ok(registry)
    }

    pub(super) fn gate(&self) -> &Gate {
        &self.config.gate
    }

    /// The count that keeps the thread from waking too often.
    pub(super) fn moved(&self) -> &Moved {
        &self.moved
    }

    pub(super) fn config(&self) -> &NodeConfig {
        &self.config
    }

    pub(super) fn id(&self) -> PeerId {
        self.identity.id()
    }

    /// What trackers know us by in the swarm of this key.
    pub(super) fn tracker_id(&self, key: [u8; 20]) -> [u8; 20] {
        announce::peer_id(&self.salt, key)
    }

    /// A search tells a tracker of us, or has heard from it.
    pub(super) fn note_told(&self, key: [u8; 20], url: &str, told: Told) {
        lock(&self.told)
            .entry(key)
            .or_default()
            .insert(url.to_owned(), told);
    }

    /// What searches told about this swarm, for who goes on with it.
    pub(super) fn take_told(&self, key: [u8; 20]) -> HashMap<String, Told> {
        lock(&self.told).remove(&key).unwrap_or_default()
    }

    /// Tells trackers goodbye to which a search spoke, and nobody after it. Each hears it once: who asks for it again waits for
    /// the same end.
    pub(super) fn leave(&self, key: [u8; 20]) -> Farewell {
        // Held while what was told is taken: who comes in between finds the one or the other.
        let mut farewells = lock(&self.farewells);
        let told = self.take_told(key);
        let farewell = (!told.is_empty()).then(|| announce::farewell(self, key, told));
        let under_way = farewells.get(&key).cloned();
        let Some(farewell) = farewell else {
            return under_way.unwrap_or_else(|| std::future::ready(()).boxed().shared());
        };
        let both = async move {
            if let Some(under_way) = under_way {
                under_way.await;
            }
            farewell.await;
        };
        let farewell = both.boxed().shared();
        farewells.retain(|_, farewell| farewell.peek().is_none());
        farewells.insert(key, farewell.clone());
        farewell
    }

    /// The same for all searches.
    pub(super) async fn end_searches(&self) {
        let mut keys: HashSet<[u8; 20]> = lock(&self.told).keys().copied().collect();
        keys.extend(lock(&self.farewells).keys());
        futures_util::future::join_all(keys.into_iter().map(|key| self.leave(key))).await;
    }

    pub(super) fn max_connections(&self) -> usize {
        self.config.max_connections
    }

    pub(super) fn local_addrs(&self) -> Vec<SocketAddr> {
        self.endpoints
            .iter()
            .filter_map(|e| e.local_addr().ok())
            .collect()
    }

    /// The port at which others reach us, whenever it changes.
    pub(super) fn public_port(&self) -> watch::Receiver<u16> {
        self.public_port.subscribe()
    }

    /// The port at which others of this family reach us; 0 when we have no socket for it.
    pub(super) fn port_for(&self, v4: bool) -> u16 {
        let Some(local) = self.local_addrs().into_iter().find(|a| a.is_ipv4() == v4) else {
            return 0;
        };
        if let Some(mapped) = lock(&self.mapped).filter(|_| v4) {
            return mapped;
        }
        let seen = lock(&self.observed)[usize::from(!v4)].address();
        seen.map_or(local.port(), |seen| seen.port())
    }

    /// A peer says where it sees us. `tracker` when it is a tracker's endpoint.
    pub(super) fn observe(&self, observer: IpAddr, seen: SocketAddr, tracker: bool) {
        let v4 = seen.ip().to_canonical().is_ipv4();
        lock(&self.observed)[usize::from(!v4)].vote(observer, seen, tracker);
        self.check_port();
    }

    /// A router forwards this IPv4 port to ours, or none does any more.
    pub(super) fn set_mapped(&self, port: Option<u16>) {
        *lock(&self.mapped) = port;
        self.check_port();
    }

    /// The connections that there are.
    pub(super) fn connections(&self) -> Vec<Connection> {
        lock(&self.connections).values().cloned().collect()
    }

    /// This machine has other addresses than before: trackers are told, and what others saw counts no more; what a router forwards is asked anew.
    pub(super) fn has_moved(&self) {
        *lock(&self.observed) = Default::default();
        self.moves.notify_one();
        self.check_port();
        self.public_port.send_modify(|_| {});
    }

    /// Begins to ask the router for a way in, once.
    pub(super) fn map_port(self: &Arc<Self>) {
        if let Some(config) = self.config.mapping {
            let mut mapping = lock(&self.mapping);
            mapping.get_or_insert_with(|| tokio::spawn(mapping::run(self.clone(), config)));
        }
    }

    /// Ready when the node is to stop.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.subscribe()
    }

    /// The DHT node, which starts when it is first wanted; `None` when it cannot be joined now.
    pub(super) async fn dht(&self) -> Option<AsyncDht> {
        let joined = self.dht.get_or_try_init(|| self.join_dht()).await;
        joined.ok().cloned()
    }

    async fn join_dht(&self) -> Result<AsyncDht, ()> {
        // Who waited for another torrent's attempt does not make the same again.
        if lock(&self.dht_failed).is_some_and(|at| at.elapsed() < DHT_PAUSE) {
            return Err(());
        }
        let started = dht::start(&self.config.gate, &self.config.dht, &self.config.listen).await;
        started.map_err(|why| {
            let before = lock(&self.dht_failed).replace(Instant::now());
            if before.is_none() {
                tracing::info!("the DHT cannot be joined now, and is tried again: {why}");
            }
        })
    }

    /// Who speaks to the local network, when somebody does.
    pub(super) fn lan(&self) -> Option<&Lan> {
        let start = || match Lan::start(&self.config.listen) {
            Ok(lan) => Some(lan),
            Err(e) => {
                tracing::info!("the local network cannot be asked for peers: {e}");
                None
            }
        };
        self.lan.get_or_init(start).as_ref()
    }

    fn check_port(&self) {
        let (v4, v6) = (self.port_for(true), self.port_for(false));
        let port = if v4 == 0 { v6 } else { v4 };
        let changed = self.public_port.send_if_modified(|old| {
            let changed = *old != port;
            *old = port;
            changed
        });
        if changed {
            tracing::info!(port, "others reach us at this port");
        }
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = lock(&self.tasks);
        while let Some(ended) = tasks.try_join_next() {
            if let Err(e) = ended
                && e.is_panic()
            {
                tracing::error!("a part of the program failed: {e}");
            }
        }
        tasks.spawn_on(task, &self.runtime);
    }

    /// Takes back what others keep for us.
    pub(super) async fn say_goodbye(&self) {
        self.stopping.send_replace(true);
        self.end_searches().await;
        let mapping = lock(&self.mapping).take();
        if let Some(mapping) = mapping {
            // It gives up by itself; how it ended changes nothing any more.
            let _ = mapping.await;
        }
        if let Some(Some(lan)) = self.lan.get() {
            lan.say_goodbye().await;
        }
    }

    /// Stops everything at once.
    pub(super) fn abort(&self) {
        if let Some(mapping) = lock(&self.mapping).take() {
            mapping.abort();
        }
        lock(&self.tasks).abort_all();
        for endpoint in &self.endpoints {
            endpoint.close();
        }
    }

    /// Waits until peers were told that we are gone.
    pub(super) async fn wait_idle(&self) {
        for endpoint in &self.endpoints {
            endpoint.wait_idle().await;
        }
    }

    /// Whether one of our sockets speaks this family.
    pub(super) fn reaches(&self, address: SocketAddr) -> bool {
        self.endpoints.iter().any(|e| e.reaches(address))
    }

    /// Sends a datagram that is no QUIC.
    pub(super) fn send_raw(&self, address: SocketAddr, data: &[u8]) {
        if let Some(endpoint) = self.endpoints.iter().find(|e| e.reaches(address)) {
            endpoint.send_raw(address, data);
        }
    }

    /// What makes us known at the relay of this tracker.
    pub(super) fn relay_token(&self, tracker: &str) -> Option<Token> {
        lock(&self.relays).get(tracker).map(|(token, _)| *token)
    }

    pub(super) fn set_relay(&self, tracker: &str, token: Token, address: SocketAddr) {
        lock(&self.relays).insert(tracker.to_owned(), (token, address));
    }

    /// A peer was lost: it may be dialled again where it was, also when that is a private address, as long as that means
    /// the same. One of the two may have moved.
    pub(super) fn note_lost(&self, peer: Lost) {
        let mut lost = lock(&self.lost);
        lost.retain(|other| other.address != peer.address);
        lost.push_back(peer);
        if lost.len() > MAX_LOST {
            lost.pop_front();
        }
    }

    /// Whether a peer may be dialled at this address, which was named as `host`: where the gate allows it; at a relay,
    /// which whoever named the tracker named with it; and where a peer was that was lost.
    pub(super) fn may_dial(&self, address: SocketAddr, host: &str) -> Result<(), Forbidden> {
        let is_relay = lock(&self.relays).values().any(|(_, relay)| *relay == address);
        if is_relay || self.lost_at(address).is_some() {
            return Ok(());
        }
        self.config.gate.check(address, host)
    }

    fn lost_at(&self, address: SocketAddr) -> Option<Lost> {
        let lost = lock(&self.lost);
        lost.iter().find(|lost| lost.address == address).copied()
    }

    /// Makes a torrent reachable for peers. False when it is already.
    pub(super) fn add(&self, swarm: [u8; 32], driver: mpsc::Sender<Msg>) -> bool {
        let mut torrents = lock(&self.torrents);
        if torrents.contains_key(&swarm) {
            return false;
        }
        torrents.insert(swarm, driver);
        true
    }

    pub(super) fn remove(&self, swarm: [u8; 32]) {
        lock(&self.torrents).remove(&swarm);
    }

    pub(super) fn has(&self, swarm: [u8; 32]) -> bool {
        lock(&self.torrents).contains_key(&swarm)
    }

    fn driver(&self, swarm: [u8; 32]) -> Option<mpsc::Sender<Msg>> {
        lock(&self.torrents).get(&swarm).cloned()
    }

    /// A connection to whoever is at this address: a new one, or the one that there is already.
    /// `host` is what it was called, when it was named: a name that a person typed is trusted as that name.
    pub(super) async fn connect(
        self: &Arc<Self>,
        address: SocketAddr,
        host: Option<&str>,
    ) -> Result<Connection, DialError> {
        let literal = address.ip().to_string();
        let host = host.unwrap_or(&literal);
        self.may_dial(address, host)?;
        if self.lost_at(address).is_some_and(|lost| !lost.is_there_still()) {
            self.config.gate.check(address, host)?;
        }
        if self.leaves_alone(address) {
            return Err(DialError::LeftAlone);
        }
        let open = lock(&self.connections)
            .values()
            .find(|c| c.remote_address() == address && !c.is_closed())
            .cloned();
        if let Some(connection) = open {
            return Ok(connection);
        }
        let dial = {
            let mut dials = lock(&self.dials);
            dials.retain(|_, dial| dial.upgrade().is_some());
            let others = dials.get(&address).and_then(WeakShared::upgrade);
            // One that is over may not have been dropped yet.
            others.filter(|dial| dial.peek().is_none()).unwrap_or_else(|| {
                let dial = self.clone().dial(address).boxed().shared();
                dials.extend(dial.downgrade().map(|dial| (address, dial)));
                dial
            })
        };
        dial.await
    }

    async fn dial(self: Arc<Self>, address: SocketAddr) -> Result<Connection, DialError> {
        let endpoint = self
            .endpoints
            .iter()
            .find(|e| e.reaches(address))
            .ok_or(DialError::Family)?;
        let connecting = tokio::time::timeout(DIAL_TIMEOUT, endpoint.connect(address, None));
        let connection = connecting.await.map_err(|_| DialError::Timeout)??;
        if connection.id() == self.id() {
            connection.close("this is me");
            return Err(DialError::Ourselves);
        }
        self.register(connection).ok_or(DialError::Full)
    }

    /// Has nothing to do any more with who is at the other end, in any torrent.
    pub(super) fn ban(&self, connection: &Connection, why: &str) {
        let address = connection.remote_address().ip();
        lock(&self.bans).add(connection.id(), address, Instant::now());
        connection.close(why);
    }

    /// Something that this peer asks for is refused. False when that happens so often that it is a flood.
    pub(super) fn bears(&self, id: PeerId) -> bool {
        lock(&self.bans).bears(id, Instant::now())
    }

    /// Something is refused to somebody who is in no torrent: a flood of that ends the connection for good.
    pub(super) fn refused(&self, connection: &Connection) {
        if !self.bears(connection.id()) {
            self.ban(connection, FLOOD);
        }
    }

    fn leaves_alone(&self, address: SocketAddr) -> bool {
        lock(&self.bans).leaves_alone(address.ip(), Instant::now())
    }

    fn is_banned(&self, new: &Connection) -> bool {
        lock(&self.bans).bans(new.id()) || self.leaves_alone(new.remote_address())
    }

    /// Whether the household of somebody who dials us has half of all places already.
    fn home_is_full(&self, new: &Connection, connections: &HashMap<PeerId, Connection>) -> bool {
        let home = household(new.remote_address().ip());
        let of_home = |c: &&Connection| household(c.remote_address().ip()) == home;
        !new.dialed()
            && connections.values().filter(of_home).count() >= self.config.max_connections.div_ceil(2)
    }

    /// Connects with a peer after an introduction: the smaller id dials, the other opens its router and waits; then it
    /// dials too. Gives a connection that we dialled, `None` for one that the other side did.
    pub(super) async fn punch(
        self: &Arc<Self>,
        id: PeerId,
        address: SocketAddr,
    ) -> Result<Option<Connection>, DialError> {
        self.config.gate.check(address, &address.ip().to_string())?;
        if self.leaves_alone(address) {
            return Err(DialError::LeftAlone);
        }
        let endpoint = self
            .endpoints
            .iter()
            .find(|e| e.reaches(address))
            .ok_or(DialError::Family)?;
        {
            let mut punched = lock(&self.punched);
            punched.retain(|_, at| at.elapsed() < PUNCHED.0);
            if punched.len() >= PUNCHED.1 {
                return Err(DialError::Full);
            }
            punched.insert(address, Instant::now());
        }
        let mut arrivals = self.arrivals.subscribe();
        let here = || lock(&self.connections).get(&id).is_some_and(|c| !c.is_closed());
        if self.id() > id {
            endpoint.poke(address);
            let arrival = async {
                while !here() {
                    if arrivals.changed().await.is_err() {
                        break;
                    }
                }
            };
            if tokio::time::timeout(PUNCH_TIMEOUT, arrival).await.is_ok() {
                return Ok(None);
            }
        }
        if here() {
            return Ok(None);
        }
        let connecting = tokio::time::timeout(DIAL_TIMEOUT, endpoint.connect(address, Some(id)));
        let connection = connecting.await.map_err(|_| DialError::Timeout)??;
        self.register(connection).map(Some).ok_or(DialError::Full)
    }

    /// How a connection with this address came to be.
    fn way_to(&self, address: SocketAddr) -> Way {
        if lock(&self.relays).values().any(|(_, relay)| *relay == address) {
            return Way::Relayed;
        }
        let opened = lock(&self.punched).get(&address).copied();
        match opened {
            Some(at) if at.elapsed() < PUNCHED.0 => Way::Punched,
            _ => Way::Direct,
        }
    }

    /// Enters a new connection, or keeps the one that there is. Gives the one to use.
    fn register(self: &Arc<Self>, new: Connection) -> Option<Connection> {
        let mut connections = lock(&self.connections);
        connections.retain(|_, c| !c.is_closed());
        if let Some(old) = connections.get(&new.id()) {
            if !new.dialed() && old.remote_address() != new.remote_address() {
                // Either both dialled at once by two ways, or the peer has moved and the old one is dead.
                let (registry, old) = (self.clone(), old.clone());
                drop(connections);
                self.spawn(async move {
                    if moving::is_dead(&old, &new).await {
                        old.close("moved");
                        registry.forget(&old);
                        registry.register(new);
                    } else {
                        new.close("one connection is enough");
                    }
                });
                return None;
            }
            let ours_is_smaller = self.id() < new.id();
            if old.dialed() == new.dialed() || new.dialed() != ours_is_smaller {
                new.close("one connection is enough");
                return Some(old.clone());
            }
            old.close("one connection is enough");
        } else if self.is_banned(&new) {
            new.close("not now");
            return None;
        } else if connections.len() >= self.config.max_connections || self.home_is_full(&new, &connections) {
            new.close_for_want_of_room("too many connections");
            return None;
        }
        let way = self.way_to(new.remote_address());
        let new = new.with_way(way);
        connections.insert(new.id(), new.clone());
        drop(connections);
        self.arrivals.send_modify(|n| *n += 1);
        self.spawn(serve(self.clone(), new.clone()));
        Some(new)
    }

    fn forget(&self, connection: &Connection) {
        let mut connections = lock(&self.connections);
        if connections
            .get(&connection.id())
            .is_some_and(|c| c.is(connection))
        {
            connections.remove(&connection.id());
        }
    }
}

async fn accept(registry: Arc<Registry>, endpoint: Endpoint) {
    let mut handshakes = JoinSet::new();
    loop {
        let handshake = tokio::select! {
            handshake = endpoint.accept(), if handshakes.len() < MAX_HANDSHAKES => handshake,
            Some(_) = handshakes.join_next(), if !handshakes.is_empty() => continue,
        };
        let Some(handshake) = handshake else { return };
        let busy = handshakes.len() >= BUSY;
        if registry.leaves_alone(handshake.remote_address()) {
            // Nothing is answered: an answer would cost more than the question.
            handshake.ignore();
            continue;
        }
        let registry = registry.clone();
        handshakes.spawn(async move {
            match handshake.finish(busy).await {
                Ok(Some(connection)) if connection.id() == registry.id() => connection.close("this is me"),
                Ok(Some(connection)) => {
                    registry.register(connection);
                }
                Ok(None) => {}
                Err(e) => tracing::debug!("a handshake failed: {e}"),
            }
        });
    }
}

/// Takes the streams that the other side opens to the torrents that they are for.
async fn serve(registry: Arc<Registry>, connection: Connection) {
    let mut opening = JoinSet::new();
    let mut unused_since = Instant::now();
    let mut look = tokio::time::interval(UNUSED / 2);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let stream = tokio::select! {
            stream = accept_stream(&connection), if opening.len() < MAX_OPENING => stream,
            Some(_) = opening.join_next(), if !opening.is_empty() => continue,
            _ = look.tick() => {
                if connection.is_used() {
                    unused_since = Instant::now();
                } else if unused_since.elapsed() >= UNUSED {
                    connection.close("no torrent in common");
                }
                continue;
            }
        };
        let Ok(reading) = stream else {
            registry.forget(&connection);
            return;
        };
        let (registry, connection) = (registry.clone(), connection.clone());
        opening.spawn(async move {
            match tokio::time::timeout(HELLO_TIMEOUT, reading).await {
                Ok(Ok(Some(incoming))) => route(&registry, connection, incoming).await,
                Ok(Err(e)) if e.is_protocol() => registry.ban(&connection, "broken request"),
                // A stream of a later version, one that was withdrawn, or one that says nothing.
                _ => {}
            }
        });
    }
}

async fn route(registry: &Registry, connection: Connection, incoming: Incoming) {
    match incoming {
        Incoming::Control(writer, mut reader) => {
            let first = tokio::time::timeout(HELLO_TIMEOUT, reader.hello()).await;
            let hello = match first {
                Ok(Ok(Some(hello))) => hello,
                Ok(Err(e)) if e.is_protocol() => return registry.ban(&connection, "broken hello"),
                _ => return,
            };
            if let Some(driver) = registry.driver(hello.swarm) {
                let offer = Box::new(Offer {
                    connection,
                    writer,
                    reader,
                    hello,
                });
                // The driver is gone when its torrent is being stopped.
                let _ = driver.send(Msg::Offer(offer)).await;
            } else {
                registry.refused(&connection);
            }
        }
        Incoming::Request(request, send) => {
            if let Some(driver) = registry.driver(request.swarm) {
                let from = connection;
                let _ = driver.send(Msg::Request { from, request, send }).await;
            } else {
                registry.refused(&connection);
                refuse(send, ReplyStatus::UnknownSwarm).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::lock;
    use crate::node::{Node, NodeConfig};
    use futures_util::FutureExt as _;
    use gate::Gate;
    use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
    use std::path::Path;

    /// On loopback, where nothing moves by itself.
    async fn node(data: &Path, dht: Vec<String>) -> Node {
        let config = NodeConfig {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            dht,
            ..NodeConfig::new(data, Gate::default())
        };
        Node::start(config).await.unwrap()
    }

    #[tokio::test]
    async fn after_a_move_the_router_is_asked_anew() {
        let folder = tempfile::tempdir().unwrap();
        let node = node(folder.path(), Vec::new()).await;
        let registry = &node.registry;
        let ports = || (registry.port_for(true), *registry.public_port().borrow());
        registry.set_mapped(Some(9));
        assert_eq!(ports(), (9, 9));
        assert!(registry.moves.notified().now_or_never().is_none());
        registry.has_moved();
        let woken = registry.moves.notified().now_or_never();
        assert!(woken.is_some(), "the new router is asked");
        node.stop().await;
    }

    #[tokio::test]
    async fn the_dht_is_joined_later_where_it_could_not_be_at_first() {
        let folder = tempfile::tempdir().unwrap();
        let contact = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = contact.local_addr().unwrap();
        let node = node(folder.path(), vec![address.to_string()]).await;
        let registry = &node.registry;
        // The gate refuses loopback.
        assert!(registry.dht().await.is_none());
        registry.gate().trust("127.0.0.1", address.port());
        assert!(registry.dht().await.is_none(), "it was tried just now");
        *lock(&registry.dht_failed) = None;
        assert!(registry.dht().await.is_some());
        node.stop().await;
    }
}
