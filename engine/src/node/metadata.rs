//! The metainfo of a torrent of which only the hash is known: from peers that a link or a tracker names.
//!
//! A small driver of its own, which ends when the metainfo is whole and checked; what is asked and checked is
//! `metainfo::Gathering`. It serves nothing. The connections stay, for the torrent that is added next.

use super::announce::{Answer, MeetingPlace, Told, Trackers};
use super::askers::{self, Asker};
use super::candidates::{Candidates, Heard};
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
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// A peer that answers nothing for so long is asked again after a pause.
const STALL: Duration = Duration::from_secs(10);
/// Peers that are remembered as having sent what is wrong.
const MAX_REFUSED: usize = 10_000;
/// First and longest pause before a peer that has nothing is asked again, and between announces after a failure.
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

/// How a search stands.
#[derive(Clone, Debug)]
pub struct Search {
    /// When something came last, or when it began.
    pub progress: Instant,
    /// The latest trouble, for people to read.
    pub trouble: Option<String>,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            progress: Instant::now(),
            trouble: None,
        }
    }
}

impl Node {
    /// Looks for the metainfo of a torrent among its peers. An error after [`Wanted::give_up`] without any progress.
    pub async fn metainfo(&self, wanted: Wanted) -> Result<Metainfo, Error> {
        self.search(wanted, watch::Sender::default()).await
    }

    /// The same, and tells how it stands.
    pub async fn search(&self, wanted: Wanted, told: watch::Sender<Search>) -> Result<Metainfo, Error> {
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
        let mut guard = Registered {
            registry: self.registry.clone(),
            membership,
            found: false,
        };
        let finder = Finder::new(self.registry.clone(), membership, wanted, sender, inbox);
        let found = finder.run(told).await;
        guard.found = found.is_ok();
        if found.is_err() {
            self.registry.leave(membership.key).await;
        }
        found.map_err(|why| Error::NoMetainfo {
            name,
            why: why.into(),
        })
    }

    /// Tells trackers that we are gone, where a search told them of us and no torrent was added after it. Within 2 s,
    /// and as long again where a search for the same had ended just before.
    pub async fn end_searches(&self) {
        self.registry.end_searches().await;
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

struct Registered {
    registry: Arc<Registry>,
    membership: Membership,
    found: bool,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.registry.remove(self.membership.swarm);
        // Nobody may have waited for the end, and no torrent will tell the trackers that we stop.
        if !self.found {
            self.registry.spawn(self.registry.leave(self.membership.key));
        }
    }
}

struct Asked {
    id: PeerId,
    connection: Connection,
    outbox: mpsc::Sender<Message>,
    /// What it has sent, and since when it is asked.
    gathering: Option<(Gathering, Instant)>,
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
    candidates: Candidates,
    /// Peers to whom we have said hello, and who have not answered yet.
    greeting: HashSet<PeerId>,
    next_name: u64,
    progress: Instant,
    /// The most bytes that one peer has sent: less of another is no progress.
    most: u64,
    /// The latest trouble.
    why: Option<String>,
    trackers: Trackers,
}

impl Finder {
    fn new(
        registry: Arc<Registry>,
        membership: Membership,
        wanted: Wanted,
        sender: mpsc::Sender<Msg>,
        inbox: mpsc::Receiver<Msg>,
    ) -> Self {
        Self {
            registry,
            membership,
            wanted,
            sender,
            inbox,
            tasks: JoinSet::new(),
            peers: HashMap::new(),
            places: Vec::new(),
            meetings: HashMap::new(),
            refused: HashSet::new(),
            candidates: Candidates::default(),
            greeting: HashSet::new(),
            next_name: 0,
            progress: Instant::now(),
            most: 0,
            why: None,
            trackers: Trackers::default(),
        }
    }

    async fn run(mut self, told: watch::Sender<Search>) -> Result<Metainfo, String> {
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
                        return Err(self.reasons());
                    }
                    self.tick();
                    told.send_replace(Search {
                        progress: self.progress,
                        trouble: self.why.clone(),
                    });
                }
            }
            while self.tasks.try_join_next().is_some() {}
        }
    }

    /// Why nothing was found: the latest trouble, and those of the trackers where none answers.
    fn reasons(mut self) -> String {
        let why = self.why.take().unwrap_or_else(|| "no peer was found".to_owned());
        let mut reasons = vec![why];
        for trouble in self.trackers.troubles() {
            if !reasons.contains(trouble) {
                reasons.push(trouble.clone());
            }
        }
        reasons.join("; ")
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
        let skip = |_, id: Option<PeerId>| {
            id.is_some_and(|id| {
                known.contains(&id) || self.refused.contains(&id) || self.greeting.contains(&id)
            })
        };
        for (address, host) in self
            .candidates
            .next_dials(usize::MAX, now, skip, &mut rand::rng())
        {
            let (registry, sender) = (self.registry.clone(), self.sender.clone());
            self.tasks.spawn(dial::reach(registry, address, host, sender));
        }
    }

    /// Asks peers that are connected, a few at a time.
    fn ask(&mut self) {
        let now = Instant::now();
        let may_be_asked = |p: &Asked| p.gathering.is_none() && p.not_before.is_none_or(|at| at <= now);
        let waiting = self.peers.values().filter(|p| may_be_asked(p)).count();
        let asked: Vec<Asker<Peer>> = self
            .peers
            .iter()
            .filter_map(|(&peer, p)| {
                let (gathering, since) = p.gathering.as_ref()?;
                Some(Asker {
                    peer,
                    since: now.duration_since(*since),
                    received: gathering.received(),
                })
            })
            .collect();
        let (slowest, more) = askers::plan(&asked, waiting);
        if let Some(peer) = slowest {
            self.pause(peer, "it is slow, and others may have the metadata");
        }
        let mut free: Vec<&mut Asked> = self.peers.values_mut().filter(|p| may_be_asked(p)).collect();
        // Those who had nothing come after those who were not asked yet.
        free.sort_by_key(|p| p.misses);
        for peer in free.into_iter().take(more) {
            let gathering = Gathering::new(self.wanted.info_hash);
            request(peer, gathering.next());
            peer.gathering = Some((gathering, now));
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

    /// Somebody names addresses. `host` is what they were found under, when a person named it.
    fn add(&mut self, addresses: Vec<SocketAddr>, heard: Heard, host: Option<&str>) {
        let now = Instant::now();
        for address in addresses {
            // An address that may not be dialled must not take the place of one that may.
            let literal = address.ip().to_string();
            match self.registry.may_dial(address, host.unwrap_or(&literal)) {
                Ok(()) => {
                    self.candidates.add(address, heard, host, now);
                }
                Err(e) => self.why = Some(format!("a peer is not dialled: {e}")),
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
                    let remote = offer.connection.remote_address().ip();
                    let port = registry.port_for(remote.to_canonical().is_ipv4());
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
                Message::PeerExchange(addresses) => self.add(addresses, Heard::Meeting, None),
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
                let (gathering, _) = state.gathering.as_mut()?;
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
                        if gathering.received() > self.most {
                            self.most = gathering.received();
                            self.progress = state.heard;
                        }
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
            Msg::Dialed { address, result } => self.dialed(address, result),
            Msg::Punched { address, result } => {
                // A dial of ours may go on, and tells by itself how it ends.
                let dialing = self.candidates.punched(address, Instant::now());
                if !dialing || matches!(result, Ok(Some(_))) {
                    self.dialed(address, result);
                }
            }
            Msg::Greeted { id, full } if self.greeting.remove(&id) => {
                self.candidates.put_off(id, full, Instant::now());
            }
            Msg::Announced {
                answer,
                peers,
                problems,
                meeting,
                ..
            } => {
                self.trackers.told(answer, &problems);
                if let Some(place) = meeting {
                    self.meet(place);
                }
                self.why = problems.into_iter().next_back().or(self.why.take());
                self.add(peers, Heard::Tracker, None);
            }
            Msg::Found { heard, addresses, .. } => self.add(addresses, heard, None),
            Msg::Relay { address } if self.peers.is_empty() => {
                self.add(vec![address], Heard::Relay, None);
                self.candidates.try_again(address, Instant::now());
                self.tick();
            }
            Msg::Resolved {
                host,
                addresses,
                problem,
            } => {
                self.why = problem.or(self.why.take());
                self.add(addresses, Heard::Named, Some(&host));
            }
            Msg::RelayRefuses { why } => self.why = Some(why),
            // What peers hold and do is of no interest here; and nothing else was begun.
            _ => {}
        }
        None
    }

    fn dialed(&mut self, address: SocketAddr, result: Result<Option<Connection>, DialError>) {
        let now = Instant::now();
        match result {
            Ok(Some(connection)) => {
                let id = connection.id();
                self.candidates.reached(address, id, now);
                let known = self.peers.values().any(|p| p.id == id);
                if !known && !self.refused.contains(&id) && self.greeting.insert(id) {
                    let (registry, sender) = (self.registry.clone(), self.sender.clone());
                    self.tasks
                        .spawn(control::greet(registry, connection, self.membership, sender));
                }
            }
            // The other side dialled us, and opens the control stream.
            Ok(None) => self.candidates.end(address, now),
            Err(DialError::Ourselves) => self.candidates.is_own(address),
            Err(error) => {
                self.candidates.failed(address, error.is_no_room(), now);
                self.why = Some(format!("dialling the peer {address}: {error}"));
            }
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
        let known = self.refused.contains(&id)
            || self.peers.values().any(|p| p.id == id)
            || self.greeting.contains(&id)
            || id == self.registry.id();
        let allowed = self.registry.gate().check(address, &address.ip().to_string());
        if known || allowed.is_err() || !self.candidates.introduce(address, Heard::Meeting, Instant::now()) {
            return;
        }
        let (registry, sender) = (self.registry.clone(), self.sender.clone());
        self.tasks.spawn(async move {
            let result = registry.punch(id, address).await;
            let _ = sender.send(Msg::Punched { address, result }).await;
        });
    }

    fn peer_up(&mut self, new: NewPeer) {
        let id = new.connection.id();
        self.greeting.remove(&id);
        if self.refused.contains(&id) || self.peers.values().any(|p| p.id == id) {
            return;
        }
        let listens = (new.hello.listen_port != 0)
            .then(|| SocketAddr::new(new.connection.remote_address().ip(), new.hello.listen_port));
        self.candidates.is_neighbour(id, listens);
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
async fn ask_tracker(registry: Arc<Registry>, named: String, key: [u8; 20], sender: mpsc::Sender<Msg>) {
    let peer_id = registry.tracker_id(key);
    let mut failures = 0;
    let mut event = Some(Event::Started);
    loop {
        let mut place = None;
        let answer = match Url::parse(&named) {
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
                // Also when the answer is not waited for.
                let mut told = Told {
                    port: *registry.public_port().borrow(),
                    answered: event.is_none(),
                    ..Told::default()
                };
                registry.note_told(key, &named, told.clone());
                let answer = announce(registry.gate(), &url, &request).await;
                if let Ok(answer) = &answer {
                    told.answered = true;
                    told.tracker_id.clone_from(&answer.tracker_id);
                    registry.note_told(key, &named, told);
                }
                place = answer.as_ref().ok().and_then(|a| MeetingPlace::of(&url, a));
                answer.map_err(|e| e.to_string())
            }
            Err(e) => Err(format!("the tracker {named:?} is not a URL: {e}")),
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
            answer: if problem.is_some() {
                Answer::MayCome
            } else {
                Answer::Came
            },
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NodeConfig;
    use gate::{Gate, Policy};

    #[tokio::test]
    async fn no_source_of_addresses_leaves_no_room_for_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let config = NodeConfig {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            ..NodeConfig::new(
                folder.path(),
                Gate::new(Policy {
                    allow_private: true,
                    ..Policy::default()
                }),
            )
        };
        let node = Node::start(config).await.unwrap();
        let wanted = Wanted {
            info_hash: InfoHash([7; 32]),
            secret: None,
            peers: Vec::new(),
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            give_up: Duration::from_secs(60),
        };
        let membership = Membership::new(wanted.info_hash, None);
        let (sender, inbox) = mpsc::channel(INBOX);
        let mut finder = Finder::new(node.registry.clone(), membership, wanted, sender, inbox);
        let dead = |n: u16| SocketAddr::from(([127, 0, 1, (n % 250) as u8], 1000 + n));
        finder.add((0..1_000).map(dead).collect(), Heard::Tracker, None);
        let others = [
            (Heard::Dht, SocketAddr::from(([127, 0, 2, 1], 1))),
            (Heard::Lan, SocketAddr::from(([127, 0, 2, 2], 1))),
            (Heard::Meeting, SocketAddr::from(([127, 0, 2, 3], 1))),
            (Heard::Named, SocketAddr::from(([127, 0, 2, 4], 1))),
        ];
        for (heard, address) in others {
            finder.add(vec![address], heard, None);
            assert!(finder.candidates.known.contains_key(&address), "{heard:?}");
        }
        assert_eq!(finder.candidates.known.len(), 200 + others.len());
        finder.tasks.shutdown().await;
        node.stop().await;
    }
}
