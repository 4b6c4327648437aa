//! The metainfo of a torrent of which only the hash is known: from peers that a link or a tracker names.
//!
//! A small driver of its own, which ends when the metainfo is whole and checked; what is asked and checked is
//! `metainfo::Gathering`. It serves nothing. The connections stay, for the torrent that is added next.

use super::announce::MeetingPlace;
use super::control::{self, Membership, NewPeer};
use super::driver::{Driver, look_around};
use super::inbox::{INBOX, Msg};
use super::registry::{DialError, Registry};
use super::transfer::refuse;
use super::{Error, Node, dial, introduce, relay};
use crate::metainfo::{GatherError, Gathering, InfoHash, Metainfo, Part};
use crate::net::Connection;
use crate::personal::Secret;
use crate::swarm::{Peer, PeerId};
use crate::tracker::Event;
use crate::tracker::client::{AnnounceRequest, announce};
use crate::tracker::meeting;
use crate::tracker::pairs::Role;
use crate::wire::{Message, MetadataKind};
use gate::Url;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Addresses that are tried.
const MAX_ADDRESSES: usize = 200;
/// Dials at a time.
const MAX_DIALS: usize = 8;
/// Peers that are asked at a time.
const MAX_ASKED: usize = 2;
/// A peer that answers nothing for so long is asked again after a pause.
const STALL: Duration = Duration::from_secs(10);
/// Peers that are remembered as having sent what is wrong.
const MAX_REFUSED: usize = 10_000;
/// First and longest pause between dials of one address, before a peer that has nothing is asked again, and between
/// announces after a failure.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What is looked for, and where.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The v2 info hash.
    pub info_hash: InfoHash,
    /// The secret of a personal swarm.
    pub secret: Option<Secret>,
    /// Peers to dial: `host:port`. They must pass the gate.
    pub peers: Vec<String>,
    /// Trackers to ask.
    pub trackers: Vec<String>,
    /// Web seeds for the metainfo.
    pub web_seeds: Vec<String>,
    /// How long to look while nothing comes.
    pub give_up: Duration,
}

impl Node {
    /// Looks for the metainfo of a torrent among its peers. An error after [`Wanted::give_up`] without any progress.
    pub async fn metainfo(&self, wanted: Wanted) -> Result<Metainfo, Error> {
        let membership = Membership::new(wanted.info_hash, wanted.secret);
        let (sender, inbox) = mpsc::channel(INBOX);
        let name = wanted.info_hash.to_string();
        if !self.registry.add(membership.swarm, sender.clone()) {
            return Err(Error::Duplicate {
                name,
                info_hash: wanted.info_hash,
            });
        }
        // Peers must find the name free again however this ends.
        let _guard = Registered(self.registry.clone(), membership.swarm);
        let finder = Finder {
            registry: self.registry.clone(),
            membership,
            wanted,
            sender,
            inbox,
            tasks: JoinSet::new(),
            peers: HashMap::new(),
            places: Vec::new(),
            meetings: HashMap::new(),
            refused: HashSet::new(),
            addresses: HashMap::new(),
            next_name: 0,
            progress: Instant::now(),
            why: None,
        };
        finder.run().await.map_err(|why| Error::NoMetainfo {
            name,
            why: why.into(),
        })
    }
}

impl Driver {
    /// A peer asks for a part of the metadata. It gets all of it twice; then no more, so that it cannot be a flood.
    pub(super) fn metadata_request(&mut self, peer: Peer, kind: MetadataKind, offset: u32, length: u32) {
        let metainfo = self.shared.metainfo.clone();
        let Some(state) = self.peers.get_mut(&peer) else {
            return;
        };
        let given = &mut state.conduct.metadata_given;
        let part = metainfo
            .metadata(kind, offset, length)
            .filter(|_| *given <= 2 * metainfo.metadata_bytes());
        let (data, total) = part.unwrap_or_default();
        // Also a no costs something.
        *given += data.len().max(64) as u64;
        let message = Message::Metadata {
            kind,
            offset,
            total,
            data: data.into(),
        };
        self.send(peer, message);
    }
}

struct Registered(Arc<Registry>, [u8; 32]);

impl Drop for Registered {
    fn drop(&mut self) {
        self.0.remove(self.1);
    }
}

#[derive(Debug, Default)]
struct Address {
    host: Option<String>,
    failures: u32,
    not_before: Option<Instant>,
    dialing: bool,
    /// Whether we follow an introduction to who is there.
    punching: bool,
    id: Option<PeerId>,
}

struct Asked {
    id: PeerId,
    connection: Connection,
    outbox: mpsc::Sender<Message>,
    gathering: Option<Gathering>,
    heard: Instant,
    /// How often it had nothing for us, and until when it is not asked again.
    misses: u32,
    not_before: Option<Instant>,
}

struct Finder {
    registry: Arc<Registry>,
    membership: Membership,
    wanted: Wanted,
    sender: mpsc::Sender<Msg>,
    inbox: mpsc::Receiver<Msg>,
    tasks: JoinSet<()>,
    peers: HashMap<Peer, Asked>,
    /// Trackers' endpoints where peers meet: those that are known, and those that answer.
    places: Vec<MeetingPlace>,
    meetings: HashMap<Peer, mpsc::Sender<Message>>,
    /// Peers that sent what is wrong.
    refused: HashSet<PeerId>,
    addresses: HashMap<SocketAddr, Address>,
    next_name: u64,
    progress: Instant,
    /// The latest trouble.
    why: Option<String>,
}

impl Finder {
    async fn run(mut self) -> Result<Metainfo, String> {
        for name in self.wanted.peers.clone() {
            let (gate, sender) = (self.registry.gate().clone(), self.sender.clone());
            self.tasks.spawn(async move {
                let _ = sender.send(dial::resolve(&gate, &name).await).await;
            });
        }
        for url in self.wanted.trackers.clone() {
            let (registry, sender) = (self.registry.clone(), self.sender.clone());
            let key = self.membership.key;
            self.tasks.spawn(ask_tracker(registry, url, key, sender));
        }
        self.registry.map_port();
        if self.wanted.secret.is_none() {
            let key = self.membership.key;
            look_around(&self.registry, key, &self.sender, &mut self.tasks);
        }
        if let Some(secret) = self.wanted.secret {
            for tracker in self.wanted.trackers.iter().take(relay::MOST) {
                let (registry, sender) = (self.registry.clone(), self.sender.clone());
                self.tasks.spawn(relay::stay(
                    registry,
                    tracker.clone(),
                    secret,
                    Role::Receiver,
                    sender,
                ));
            }
        }
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(msg) = self.inbox.recv() => {
                    if let Some(found) = self.handle(msg) {
                        return Ok(found);
                    }
                }
                _ = tick.tick() => {
                    if self.progress.elapsed() >= self.wanted.give_up {
                        return Err(self.why.unwrap_or_else(|| "no peer was found".to_owned()));
                    }
                    self.tick();
                }
            }
            while self.tasks.try_join_next().is_some() {}
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let silent: Vec<Peer> = self
            .peers
            .iter()
            .filter(|(_, p)| p.gathering.is_some() && now.duration_since(p.heard) > STALL)
            .map(|(&peer, _)| peer)
            .collect();
        for peer in silent {
            self.pause(peer, "it does not answer");
        }
        self.ask();
        let known: HashSet<PeerId> = self.peers.values().map(|p| p.id).collect();
        let mut dialing = self.addresses.values().filter(|a| a.dialing).count();
        for (&address, state) in &mut self.addresses {
            let there = state
                .id
                .is_some_and(|id| known.contains(&id) || self.refused.contains(&id));
            let tried = state.dialing || state.punching;
            if there || tried || dialing >= MAX_DIALS || state.not_before.is_some_and(|at| at > now) {
                continue;
            }
            state.dialing = true;
            dialing += 1;
            let (registry, sender, host) = (self.registry.clone(), self.sender.clone(), state.host.clone());
            self.tasks.spawn(dial::reach(registry, address, host, sender));
        }
    }

    /// Asks peers that are connected, a few at a time.
    fn ask(&mut self) {
        let now = Instant::now();
        let asked = self.peers.values().filter(|p| p.gathering.is_some()).count();
        let mut free: Vec<&mut Asked> = self
            .peers
            .values_mut()
            .filter(|p| p.gathering.is_none() && p.not_before.is_none_or(|at| at <= now))
            .collect();
        // Those who had nothing come after those who were not asked yet.
        free.sort_by_key(|p| p.misses);
        for peer in free.into_iter().take(MAX_ASKED.saturating_sub(asked)) {
            let gathering = Gathering::new(self.wanted.info_hash);
            request(peer, gathering.next());
            peer.gathering = Some(gathering);
        }
    }

    /// Has nothing to do any more with a peer that sent what is wrong.
    fn refuse(&mut self, peer: Peer, why: &str) {
        if let Some(state) = self.peers.remove(&peer) {
            self.why = Some(format!("the peer {}: {why}", state.connection.remote_address()));
            if self.refused.len() < MAX_REFUSED {
                self.refused.insert(state.id);
            }
        }
    }

    /// Asks a peer again later: it may have the metadata by then.
    fn pause(&mut self, peer: Peer, why: &str) {
        if let Some(state) = self.peers.get_mut(&peer) {
            self.why = Some(format!("the peer {}: {why}", state.connection.remote_address()));
            state.gathering = None;
            state.not_before = Some(Instant::now() + pause(state.misses));
            state.misses += 1;
        }
    }

    /// A peer asks for what we look for ourselves.
    fn answer_none(&mut self, peer: Peer, kind: MetadataKind, offset: u32) {
        let Some(state) = self.peers.get(&peer) else {
            return;
        };
        let none = Message::Metadata {
            kind,
            offset,
            total: 0,
            data: Vec::new().into(),
        };
        // Who does not read misses it.
        let _ = state.outbox.try_send(none);
        self.registry.refused(&state.connection);
    }

    fn add(&mut self, addresses: Vec<SocketAddr>, host: Option<&str>) {
        for address in addresses {
            if self.addresses.len() < MAX_ADDRESSES && address.port() != 0 {
                let state = self.addresses.entry(address).or_default();
                state.host = host.map(str::to_owned).or(state.host.take());
            }
        }
        self.tick();
    }

    fn handle(&mut self, msg: Msg) -> Option<Metainfo> {
        match msg {
            Msg::Offer(offer) if !self.refused.contains(&offer.connection.id()) => {
                let (registry, membership) = (self.registry.clone(), self.membership);
                let sender = self.sender.clone();
                self.tasks.spawn(async move {
                    let port = port(&registry);
                    let _ = control::answer(*offer, port, membership, sender).await;
                });
            }
            Msg::PeerUp(new) if introduce::is_meeting(&new, self.membership.key) => self.meeting_up(*new),
            Msg::PeerUp(new) => self.peer_up(*new),
            Msg::PeerDown { peer, protocol } => {
                let gone = self.peers.remove(&peer);
                if let Some((why, gone)) = protocol.zip(gone) {
                    self.registry.ban(&gone.connection, &why);
                }
                self.meetings.remove(&peer);
            }
            Msg::Message {
                peer,
                message: Message::MetadataRequest { kind, offset, .. },
                ..
            } => self.answer_none(peer, kind, offset),
            Msg::Message { peer, message, .. } if self.meetings.contains_key(&peer) => match message {
                Message::PeerExchange(addresses) => self.add(addresses, None),
                Message::Dial { peer, address } => self.introduced(PeerId(peer), address),
                _ => {}
            },
            Msg::Unreached { address } => {
                let message = Message::Dial {
                    peer: introduce::NOBODY,
                    address,
                };
                for meeting in self.meetings.values() {
                    // An endpoint that does not read is no use now.
                    let _ = meeting.try_send(message.clone());
                }
            }
            Msg::Message {
                peer,
                message:
                    Message::Metadata {
                        kind,
                        offset,
                        total,
                        data,
                    },
                ..
            } => {
                let state = self.peers.get_mut(&peer)?;
                let gathering = state.gathering.as_mut()?;
                let answer = Part {
                    kind,
                    offset,
                    length: total,
                };
                let trackers: Vec<Vec<String>> =
                    self.wanted.trackers.iter().map(|url| vec![url.clone()]).collect();
                match gathering.take(answer, &data, &trackers, &self.wanted.web_seeds) {
                    Ok(Some(metainfo)) => return Some(metainfo),
                    Ok(None) => {
                        state.heard = Instant::now();
                        self.progress = state.heard;
                        let next = gathering.next();
                        request(state, next);
                    }
                    Err(e) => {
                        let why = e.to_string();
                        match e {
                            GatherError::None => self.pause(peer, &why),
                            _ => self.refuse(peer, &why),
                        }
                        self.ask();
                    }
                }
            }
            Msg::Request { from, send, .. } => {
                self.tasks.spawn(refuse(send, self.membership.no()));
                self.registry.refused(&from);
            }
            Msg::Dialed { address, result } => {
                self.addresses.get_mut(&address)?.dialing = false;
                self.dialed(address, result);
            }
            Msg::Punched { address, result } => {
                let state = self.addresses.get_mut(&address)?;
                state.punching = false;
                // A dial of ours may go on, and tells by itself how it ends.
                if !state.dialing || matches!(result, Ok(Some(_))) {
                    self.dialed(address, result);
                }
            }
            Msg::Announced {
                peers,
                problems,
                meeting,
                ..
            } => {
                if let Some(place) = meeting {
                    self.meet(place);
                }
                self.why = problems.into_iter().next_back().or(self.why.take());
                self.add(peers, None);
            }
            Msg::Found { addresses, .. } => self.add(addresses, None),
            Msg::Relay { address } if self.peers.is_empty() => {
                self.add(vec![address], None);
                if let Some(state) = self.addresses.get_mut(&address) {
                    state.not_before = None;
                }
                self.tick();
            }
            Msg::Resolved {
                host,
                addresses,
                problem,
            } => {
                self.why = problem.or(self.why.take());
                self.add(addresses, Some(&host));
            }
            // What peers hold and do is of no interest here; and nothing else was begun.
            _ => {}
        }
        None
    }

    fn dialed(&mut self, address: SocketAddr, result: Result<Option<Connection>, DialError>) {
        let Some(state) = self.addresses.get_mut(&address) else {
            return;
        };
        state.not_before = Some(Instant::now() + pause(state.failures));
        state.failures += 1;
        match result {
            Ok(Some(connection)) => {
                state.id = Some(connection.id());
                let (registry, membership) = (self.registry.clone(), self.membership);
                let sender = self.sender.clone();
                self.tasks.spawn(async move {
                    let port = port(&registry);
                    let opening = control::open(connection.clone(), port, membership, sender);
                    if let Err(e) = opening.await {
                        tracing::debug!(%address, "control stream: {e}");
                        if e.is_protocol() {
                            registry.ban(&connection, "it broke the protocol");
                        }
                    }
                });
            }
            Ok(None) => {}
            Err(e) => self.why = Some(format!("dialling the peer {address}: {e}")),
        }
    }

    /// A tracker has an endpoint where peers meet.
    fn meet(&mut self, place: MeetingPlace) {
        if !self.places.contains(&place) && self.places.len() < introduce::MAX_MEETINGS {
            self.places.push(place.clone());
            let room = meeting::room(self.membership.key);
            let (registry, sender) = (self.registry.clone(), self.sender.clone());
            self.tasks.spawn(introduce::stay(registry, place, room, sender));
        }
    }

    fn meeting_up(&mut self, new: NewPeer) {
        let peer = Peer(self.next_name);
        self.next_name += 1;
        if let Some(seen) = new.hello.observed {
            let observer = new.connection.remote_address().ip();
            self.registry.observe(observer, seen, true);
        }
        if new.accepted.send(peer).is_ok() {
            self.meetings.insert(peer, new.outbox);
        }
    }

    /// A tracker's endpoint introduces a peer: opens our router for it now.
    fn introduced(&mut self, id: PeerId, address: SocketAddr) {
        let known = self.refused.contains(&id) || self.peers.values().any(|p| p.id == id);
        let punching = self.addresses.values().filter(|a| a.punching).count();
        let full = self.addresses.len() >= MAX_ADDRESSES && !self.addresses.contains_key(&address);
        if known || id == self.registry.id() || punching >= MAX_DIALS || full {
            return;
        }
        let state = self.addresses.entry(address).or_default();
        if state.punching {
            return;
        }
        state.punching = true;
        let (registry, sender) = (self.registry.clone(), self.sender.clone());
        self.tasks.spawn(async move {
            let result = registry.punch(id, address).await;
            let _ = sender.send(Msg::Punched { address, result }).await;
        });
    }

    fn peer_up(&mut self, new: NewPeer) {
        let id = new.connection.id();
        if self.refused.contains(&id) || self.peers.values().any(|p| p.id == id) {
            return;
        }
        let peer = Peer(self.next_name);
        self.next_name += 1;
        if new.accepted.send(peer).is_ok() {
            let state = Asked {
                id,
                connection: new.connection,
                outbox: new.outbox,
                gathering: None,
                heard: Instant::now(),
                misses: 0,
                not_before: None,
            };
            self.peers.insert(peer, state);
            self.ask();
        }
    }
}

/// The pause after so many failures.
fn pause(failures: u32) -> Duration {
    (PAUSES.0 * 2_u32.saturating_pow(failures.min(10))).min(PAUSES.1)
}

fn port(registry: &Registry) -> u16 {
    *registry.public_port().borrow()
}

fn request(peer: &mut Asked, part: Part) {
    peer.heard = Instant::now();
    let message = Message::MetadataRequest {
        kind: part.kind,
        offset: part.offset,
        length: part.length,
    };
    // One at a time: there is room, or the peer is gone.
    let _ = peer.outbox.try_send(message);
}

/// Announces until it is aborted, and hands over whom the tracker names.
async fn ask_tracker(registry: Arc<Registry>, url: String, key: [u8; 20], sender: mpsc::Sender<Msg>) {
    let peer_id = registry.tracker_id(key);
    let mut failures = 0;
    let mut event = Some(Event::Started);
    loop {
        let mut place = None;
        let answer = match Url::parse(&url) {
            Ok(url) => {
                let request = AnnounceRequest {
                    key,
                    peer_id,
                    ports: [registry.port_for(true), registry.port_for(false)],
                    uploaded: 0,
                    downloaded: 0,
                    // How much it is is not known yet.
                    left: 1,
                    event,
                    numwant: 50,
                    tracker_id: None,
                };
                let answer = announce(registry.gate(), &url, &request).await;
                place = answer.as_ref().ok().and_then(|a| MeetingPlace::of(&url, a));
                answer.map_err(|e| e.to_string())
            }
            Err(e) => Err(format!("the tracker {url:?} is not a URL: {e}")),
        };
        let (peers, problem, pause) = match answer {
            Ok(answer) => {
                event = None;
                failures = 0;
                (answer.peers, None, answer.min_interval)
            }
            Err(why) => {
                failures += 1;
                let pause = (PAUSES.0 * 2_u32.saturating_pow(failures)).min(PAUSES.1);
                (Vec::new(), Some(why), pause)
            }
        };
        let told = Msg::Announced {
            first: false,
            peers,
            viewers: None,
            meeting: place,
            problems: problem.into_iter().collect(),
        };
        if sender.send(told).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}
