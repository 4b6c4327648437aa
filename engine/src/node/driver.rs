//! The driver of one torrent: the swarm core's inputs in, its outputs out, its timers.
//!
//! It decides nothing about what to fetch or whom to serve; that is [`crate::swarm`]. It owns every task of the torrent
//! (they end with it), never waits for one of them, and holds no lock across an await. Its parts elsewhere: `dial`
//! (whom to dial and when) and `hope` (when there is nothing left to hope for).

use super::bans::Patience;
use super::control::{self, NewPeer, Offer, new_one_stays};
use super::dial::Candidate;
use super::reader::Place;
use super::registry::{DialError, Registry};
use super::stats::{PieceSource, State, Stats};
use super::torrent::Shared;
use super::transfer::{self, Counters, Decision, Ground};
use super::{AddOptions, Location, announce, relay};
use crate::net::Connection;
use crate::origin::OriginError;
use crate::store::{StoreError, StoreEvent};
use crate::swarm::{
    Audience, BanReason, BlockRun, Claim, FetchId, Input, Layout, OriginFailure, Output, Peer, PeerId,
    ReaderId, RefuseReason, RequestFailure, RequestId, Source, Swarm, UploadId,
};
use crate::tracker::pairs::Role;
use crate::wire::{Message, Request};
use quinn::SendStream;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

/// Messages that may wait for the driver.
pub(super) const INBOX: usize = 1024;
/// How often figures are published and dials considered.
const TICK: Duration = Duration::from_millis(200);
/// Fewer bytes than this are no progress of a download.
const TRICKLE: u64 = 4 << 10;
/// Banned peers that are counted; the registry knows whom it refuses.
const MAX_BANNED: usize = 10_000;
/// Troubles that are kept for people to read.
const MAX_PROBLEMS: usize = 16;

/// What tasks tell the driver.
#[derive(Debug)]
pub(crate) enum Msg {
    /// Somebody opened a control stream for this swarm.
    Offer(Box<Offer>),
    /// Hello was exchanged.
    PeerUp(Box<NewPeer>),
    /// A control message.
    Message {
        peer: Peer,
        message: Message,
        /// Bounds what waits here.
        room: OwnedSemaphorePermit,
    },
    /// A control stream ended; `protocol` says how the peer broke the protocol, if it did.
    PeerDown { peer: Peer, protocol: Option<String> },
    /// A peer asks for blocks.
    Request {
        from: PeerId,
        request: Request,
        send: SendStream,
    },
    /// An upload is over.
    UploadEnded { peer: Peer, id: UploadId, bytes: u64 },
    /// A peer gave up a request that was not answered yet.
    UploadCancelled { peer: Peer, id: UploadId },
    /// Blocks are in the store.
    Verified { run: BlockRun, source: Source },
    /// A request of ours is over.
    RequestEnded {
        id: RequestId,
        failure: Option<RequestFailure>,
        why: Option<String>,
    },
    /// Bytes from the origin.
    OriginBytes { id: FetchId, bytes: u64 },
    /// A fetch is over.
    FetchEnded {
        id: FetchId,
        result: Result<(), OriginError>,
    },
    /// A dial is over.
    Dialed {
        address: SocketAddr,
        result: Result<Connection, DialError>,
    },
    /// A tracker answered (or could not be asked).
    Announced {
        first: bool,
        peers: Vec<SocketAddr>,
        viewers: Option<u32>,
        problem: Option<String>,
    },
    /// A control stream that we opened is over, or never came to be.
    Greeted { id: PeerId },
    /// The address at a relay that stands for the other side of a personal swarm.
    Relay { address: SocketAddr },
    /// Addresses of a name that was given as a peer.
    Resolved {
        host: String,
        addresses: Vec<SocketAddr>,
        problem: Option<String>,
    },
    /// Everything is safe on the disk, or is not.
    Flushed(Result<(), Arc<StoreError>>),
}

pub(super) struct PeerState {
    pub(super) id: PeerId,
    pub(super) connection: Connection,
    pub(super) outbox: mpsc::Sender<Message>,
    pub(super) opened: bool,
    /// Where it takes connections.
    pub(super) listens: Option<SocketAddr>,
    /// Bytes of metadata that it was given.
    pub(super) metadata_given: u64,
    patience: Patience,
}

pub(super) struct Fetch {
    run: BlockRun,
    task: AbortHandle,
    ended: Option<Result<(), OriginError>>,
}

pub(super) struct Driver {
    pub(super) registry: Arc<Registry>,
    pub(super) shared: Arc<Shared>,
    pub(super) ground: Arc<Ground>,
    pub(super) options: AddOptions,
    pub(super) swarm: Swarm,
    pub(super) inbox: mpsc::Receiver<Msg>,
    pub(super) store_events: mpsc::Receiver<StoreEvent>,
    pub(super) stats: watch::Sender<Stats>,
    pub(super) tasks: JoinSet<()>,
    pub(super) peers: HashMap<Peer, PeerState>,
    pub(super) by_id: HashMap<PeerId, Peer>,
    pub(super) seen: HashSet<PeerId>,
    pub(super) banned: HashSet<PeerId>,
    /// Peers that said that they have all they want.
    pub(super) delivered: HashSet<PeerId>,
    /// Peers that have noted that we do.
    pub(super) noted: HashSet<PeerId>,
    pub(super) next_name: u64,
    pub(super) requests: HashMap<RequestId, (Peer, AbortHandle)>,
    pub(super) uploads: HashMap<UploadId, (Peer, oneshot::Sender<Decision>)>,
    pub(super) fetches: HashMap<FetchId, Fetch>,
    pub(super) readers: HashMap<ReaderId, Place>,
    pub(super) candidates: HashMap<SocketAddr, Candidate>,
    /// Peers to whom we have said hello, and who have not answered yet.
    pub(super) greeting: HashSet<PeerId>,
    /// Addresses that turned out to be our own.
    pub(super) own: HashSet<SocketAddr>,
    /// Blocks of each piece by source: disk, peers, origin.
    pub(super) sources: Vec<[u32; 3]>,
    pub(super) problems: VecDeque<String>,
    pub(super) state: State,
    pub(super) flushing: bool,
    pub(super) discovering: bool,
    pub(super) trackers_to_answer: usize,
    pub(super) resolving: usize,
    pub(super) announcer: Option<watch::Sender<announce::Phase>>,
    pub(super) announcing: JoinSet<()>,
    pub(super) last_progress: Instant,
    /// Bytes that web seeds sent since they last counted as progress.
    pub(super) trickled: u64,
    pub(super) rate: (Instant, u64, u64),
    pub(super) port: u16,
}

/// What a driver is made of.
pub(super) struct Parts {
    pub(super) registry: Arc<Registry>,
    pub(super) shared: Arc<Shared>,
    pub(super) ground: Arc<Ground>,
    pub(super) options: AddOptions,
    pub(super) swarm: Swarm,
    pub(super) inbox: mpsc::Receiver<Msg>,
    pub(super) store_events: mpsc::Receiver<StoreEvent>,
    pub(super) stats: watch::Sender<Stats>,
    pub(super) port: u16,
}

/// The figures of a torrent that begins.
pub(super) fn first_stats(shared: &Shared, layout: &Layout) -> Stats {
    Stats {
        state: State::Downloading,
        have_bytes: shared.store.wanted_bytes(),
        total_bytes: layout.wanted_bytes(),
        from_origin: 0,
        from_peers: 0,
        wasted: 0,
        uploaded: 0,
        peers: 0,
        peers_seen: 0,
        delivered: 0,
        noted: 0,
        banned: 0,
        down_rate: 0,
        pieces: vec![None; layout.pieces() as usize].into(),
        problems: Vec::new(),
    }
}

impl Driver {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            registry,
            shared,
            ground,
            options,
            swarm,
            inbox,
            store_events,
            stats,
            port,
        } = parts;
        let pieces = ground.verifier.layout().pieces() as usize;
        let now = Instant::now();
        Self {
            registry,
            shared,
            ground,
            options,
            swarm,
            inbox,
            store_events,
            stats,
            tasks: JoinSet::new(),
            peers: HashMap::new(),
            by_id: HashMap::new(),
            seen: HashSet::new(),
            banned: HashSet::new(),
            delivered: HashSet::new(),
            noted: HashSet::new(),
            next_name: 0,
            requests: HashMap::new(),
            uploads: HashMap::new(),
            fetches: HashMap::new(),
            readers: HashMap::new(),
            candidates: HashMap::new(),
            greeting: HashSet::new(),
            own: HashSet::new(),
            sources: vec![[0; 3]; pieces],
            problems: VecDeque::new(),
            state: State::Downloading,
            flushing: false,
            discovering: true,
            trackers_to_answer: 0,
            resolving: 0,
            announcer: None,
            announcing: JoinSet::new(),
            last_progress: now,
            trickled: 0,
            rate: (now, 0, 0),
            port,
        }
    }

    /// Runs until the torrent is to stop.
    pub(super) async fn run(mut self) {
        self.begin();
        let mut stop = self.shared.stop.subscribe();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let wake = self.swarm.next_timeout();
            let sleep = tokio::time::sleep_until(wake.unwrap_or_else(|| Instant::now() + TICK * 10).into());
            tokio::select! {
                Some(msg) = self.inbox.recv() => {
                    self.handle(msg);
                    // What has come meanwhile is taken along, within bounds, before timers are looked at again.
                    for _ in 0..64 {
                        match self.inbox.try_recv() {
                            Ok(msg) => self.handle(msg),
                            Err(_) => break,
                        }
                    }
                }
                Some(event) = self.store_events.recv() => self.store_event(event),
                () = self.shared.readers.changed.notified() => self.sync_readers(),
                () = sleep, if wake.is_some() => self.input(Input::Timeout),
                _ = tick.tick() => self.tick(),
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Err(e) = ended && e.is_panic() {
                        self.fail(format!("a part of the program failed: {e}"));
                    }
                }
                _ = stop.wait_for(|stop| *stop) => break,
            }
            self.settle_fetches();
            self.check_complete();
        }
        self.end().await;
    }

    fn begin(&mut self) {
        let held = self.shared.store.held_runs();
        for run in held {
            self.count_source(run, Source::Disk, true);
            self.input(Input::Verified {
                run,
                source: Source::Disk,
            });
        }
        if self.options.use_peers {
            self.begin_resolving();
            self.begin_announcing();
            self.begin_relaying();
        }
        self.check_discovery();
        self.sync_readers();
        self.check_complete();
        self.publish();
    }

    /// Looks for a way through relays, in a personal swarm.
    fn begin_relaying(&mut self) {
        let Some(secret) = self.shared.membership.secret else {
            return;
        };
        let role = match self.options.location {
            Location::Existing(_) => Role::Sender,
            Location::Store => Role::Receiver,
        };
        for tracker in self.options.trackers.iter().take(relay::MOST) {
            let (registry, driver) = (self.registry.clone(), self.ground.driver.clone());
            self.tasks
                .spawn(relay::stay(registry, tracker.clone(), secret, role, driver));
        }
    }

    fn begin_announcing(&mut self) {
        let personal = self.shared.membership.secret.is_some();
        let of_metainfo = self.shared.metainfo.trackers().iter().flatten();
        let mut urls: Vec<String> = of_metainfo.filter(|_| !personal).cloned().collect();
        urls.extend(self.options.trackers.iter().cloned());
        let mut unique = HashSet::new();
        urls.retain(|url| unique.insert(url.clone()));
        urls.truncate(8);
        let phase = watch::Sender::new(announce::Phase::Running);
        self.trackers_to_answer = urls.len();
        for url in urls {
            let about = announce::About {
                gate: self.registry.gate().clone(),
                url,
                swarm_key: self.shared.membership.key,
                id: self.registry.id(),
                port: self.port,
                ground: self.ground.clone(),
            };
            self.announcing.spawn(announce::run(about, phase.subscribe()));
        }
        self.announcer = Some(phase);
    }

    /// Gives the core one input and does what it says.
    pub(super) fn input(&mut self, input: Input) {
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
                let flood = self
                    .peers
                    .get_mut(&peer)
                    .is_some_and(|state| !state.patience.refused(Instant::now()));
                if flood {
                    self.ban(peer, "it floods us with requests that are refused");
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

    /// Takes a peer out of the tables, with its requests and uploads. True when it was there.
    fn forget_peer(&mut self, peer: Peer) -> bool {
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

    pub(super) fn problem(&mut self, text: String) {
        tracing::info!("{text}");
        if self.problems.back() != Some(&text) {
            self.problems.push_back(text);
        }
        while self.problems.len() > MAX_PROBLEMS {
            self.problems.pop_front();
        }
    }

    fn handle(&mut self, msg: Msg) {
        match msg {
            Msg::Offer(offer) => {
                if self.options.use_peers && !self.banned.contains(&offer.connection.id()) {
                    let (port, driver) = (self.port, self.ground.driver.clone());
                    let membership = self.shared.membership;
                    self.tasks.spawn(async move {
                        // How it ended was told by message where it matters.
                        let _ = control::answer(*offer, port, membership, driver).await;
                    });
                }
            }
            Msg::PeerUp(new) => {
                let id = new.connection.id();
                self.peer_up(*new);
                self.greeting.remove(&id);
                self.check_discovery();
            }
            Msg::Greeted { id } => self.greeted(id),
            Msg::Message { peer, message, room } => {
                self.message(peer, message);
                drop(room);
            }
            Msg::PeerDown { peer, protocol } => {
                if let Some(why) = protocol {
                    self.ban(peer, &why);
                }
                if self.forget_peer(peer) {
                    self.drain();
                }
            }
            Msg::Request { from, request, send } => self.peer_request(from, &request, send),
            Msg::UploadEnded { peer, id, bytes } => self.input(Input::SendDone {
                peer,
                request: id,
                bytes,
            }),
            Msg::UploadCancelled { peer, id } => {
                self.uploads.remove(&id);
                self.input(Input::PeerCancelled { peer, request: id });
            }
            Msg::Verified { run, source } => {
                // Lost again meanwhile, or told before.
                let held = self.shared.store.has_blocks(self.ground.verifier.span(run));
                if !held || self.swarm.has(run) {
                    return;
                }
                self.last_progress = Instant::now();
                self.count_source(run, source, true);
                self.input(Input::Verified { run, source });
            }
            Msg::RequestEnded { id, failure, why } => {
                let Some((peer, _)) = self.requests.remove(&id) else {
                    return;
                };
                if let (Some(why), Some(state)) = (why, self.peers.get(&peer)) {
                    self.problem(format!("the peer {}: {why}", state.connection.remote_address()));
                }
                self.input(match failure {
                    None => Input::RequestDone { request: id },
                    Some(reason) => Input::RequestFailed { request: id, reason },
                });
            }
            Msg::OriginBytes { id, bytes } => {
                self.trickled += bytes;
                if self.trickled >= TRICKLE {
                    self.trickled = 0;
                    self.last_progress = Instant::now();
                }
                self.input(Input::OriginBytes { fetch: id, bytes });
            }
            Msg::FetchEnded { id, result } => {
                if let Some(fetch) = self.fetches.get_mut(&id) {
                    fetch.ended = Some(result);
                }
            }
            Msg::Dialed { address, result } => self.dialed(address, result),
            Msg::Announced {
                first,
                peers,
                viewers,
                problem,
            } => {
                self.trackers_to_answer = self.trackers_to_answer.saturating_sub(usize::from(first));
                if let Some(problem) = problem {
                    self.problem(problem);
                }
                self.add_candidates(peers, None);
                if let Some(viewers) = viewers {
                    self.input(Input::SwarmSize(viewers.max(1)));
                }
                self.dial();
                self.check_discovery();
            }
            Msg::Relay { address } => {
                if self.peers.is_empty() {
                    self.add_candidates(vec![address], None);
                    self.try_again(address);
                    self.dial();
                }
            }
            Msg::Resolved {
                host,
                addresses,
                problem,
            } => {
                self.resolving = self.resolving.saturating_sub(1);
                if let Some(problem) = problem {
                    self.problem(problem);
                }
                self.add_candidates(addresses, Some(&host));
                self.dial();
                self.check_discovery();
            }
            Msg::Flushed(result) => {
                self.flushing = false;
                match result {
                    Ok(()) if self.shared.store.is_complete() => {
                        self.state = State::Complete;
                        self.tell_delivered(None);
                        if let Some(announcer) = &self.announcer {
                            announcer.send_if_modified(|phase| {
                                let change = *phase == announce::Phase::Running;
                                if change {
                                    *phase = announce::Phase::Completed;
                                }
                                change
                            });
                        }
                        self.publish();
                    }
                    // The store's events tell what is wrong, and what was lost is fetched again.
                    Ok(()) | Err(_) => {}
                }
            }
        }
    }

    /// Does what the core still has to say after inputs that were given without [`Self::input`].
    fn drain(&mut self) {
        while let Some(output) = self.swarm.poll_output() {
            self.output(output);
        }
    }

    fn peer_up(&mut self, new: NewPeer) {
        let NewPeer {
            connection,
            hello,
            outbox,
            opened,
            accepted,
        } = new;
        let id = connection.id();
        if self.banned.contains(&id) {
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
        let peer = Peer(self.next_name);
        self.next_name += 1;
        let remote = connection.remote_address();
        let listens = (hello.listen_port != 0).then(|| SocketAddr::new(remote.ip(), hello.listen_port));
        if accepted.send(peer).is_err() {
            return;
        }
        if let Some(candidate) = listens.and_then(|a| self.candidates.get_mut(&a)) {
            candidate.id = Some(id);
        }
        for candidate in self.candidates.values_mut().filter(|c| c.id == Some(id)) {
            candidate.failures = 0;
        }
        self.seen.insert(id);
        let rtt = connection.rtt();
        if !self.shared.private() {
            let others: Vec<SocketAddr> = self
                .peers
                .values()
                .filter_map(|p| p.listens)
                .filter(|other| gate::is_meaningful_to(other.ip(), remote.ip()))
                .take(50)
                .collect();
            if !others.is_empty() {
                // A new outbox has room.
                let _ = outbox.try_send(Message::PeerExchange(others));
            }
            if let Some(address) = listens {
                let told: Vec<Peer> = self
                    .peers
                    .iter()
                    .filter(|(_, p)| gate::is_meaningful_to(address.ip(), p.connection.remote_address().ip()))
                    .map(|(&other, _)| other)
                    .collect();
                for other in told {
                    self.send(other, Message::PeerExchange(vec![address]));
                }
            }
        }
        self.peers.insert(
            peer,
            PeerState {
                id,
                connection,
                outbox,
                opened,
                listens,
                metadata_given: 0,
                patience: Patience::new(Instant::now()),
            },
        );
        self.by_id.insert(id, peer);
        self.input(Input::PeerConnected { peer, id });
        self.input(Input::PeerRtt { peer, rtt });
        if self.state == State::Complete {
            self.tell_delivered(Some(peer));
        }
    }

    fn message(&mut self, peer: Peer, message: Message) {
        if !self.peers.contains_key(&peer) {
            return;
        }
        match message {
            Message::Have(runs) => self.input(Input::PeerHave { peer, runs }),
            Message::Choke => self.input(Input::PeerChoked { peer }),
            Message::Unchoke => self.input(Input::PeerUnchoked { peer }),
            Message::Claims(claims) => self.input(Input::PeerClaims {
                peer,
                claims: claims as Vec<Claim>,
            }),
            Message::PeerExchange(addresses) => {
                if !self.shared.private() {
                    self.add_candidates(addresses, None);
                    self.dial();
                }
            }
            Message::Hello(_) => self.ban(peer, "it said hello twice"),
            Message::MetadataRequest { kind, offset, length } => {
                self.metadata_request(peer, kind, offset, length);
            }
            Message::Delivered { noted } => self.heard_delivered(peer, noted),
            // Hole punching and gossip are not spoken yet; metadata is not asked for here.
            Message::Dial { .. } | Message::CueSheet(_) | Message::Metadata { .. } | Message::Unknown(_) => {}
        }
        self.drain();
    }

    fn peer_request(&mut self, from: PeerId, request: &Request, send: SendStream) {
        let id = UploadId(self.next_name);
        self.next_name += 1;
        let (decide, decision) = oneshot::channel();
        let peer = self.by_id.get(&from).copied();
        let name = peer.unwrap_or(Peer(u64::MAX));
        self.tasks.spawn(transfer::upload(
            self.ground.clone(),
            name,
            id,
            request.run,
            send,
            decision,
        ));
        match peer {
            Some(peer) => {
                self.uploads.insert(id, (peer, decide));
                let input = Input::PeerRequest {
                    peer,
                    request: id,
                    run: request.run,
                    urgency: request.urgency,
                };
                self.input(input);
            }
            None => {
                let _ = decide.send(Decision::Refuse(RefuseReason::Choked));
            }
        }
    }

    fn store_event(&mut self, event: StoreEvent) {
        match event {
            StoreEvent::Lost(runs) => {
                if self.state == State::Complete {
                    self.state = State::Downloading;
                }
                for run in runs {
                    self.count_source(run, Source::Disk, false);
                    self.input(Input::Lost { run });
                }
            }
            StoreEvent::Full(error) => {
                self.problem(error.to_string());
                self.last_progress = Instant::now();
                self.state = State::Paused(error.to_string().into());
                self.publish();
            }
            StoreEvent::Writable => {
                self.last_progress = Instant::now();
                if matches!(self.state, State::Paused(_)) {
                    self.state = State::Downloading;
                }
                self.publish();
            }
            StoreEvent::Failed(error) => self.fail(error.to_string()),
        }
    }

    fn sync_readers(&mut self) {
        let open = self.shared.readers.snapshot();
        let gone: Vec<ReaderId> = self
            .readers
            .keys()
            .filter(|r| !open.contains_key(r))
            .copied()
            .collect();
        for reader in gone {
            self.readers.remove(&reader);
            self.input(Input::ReaderClosed { reader });
        }
        for (reader, place) in open {
            let Place {
                file,
                position,
                demand,
            } = place;
            match self.readers.insert(reader, place) {
                None => {
                    self.input(Input::ReaderOpened {
                        reader,
                        file,
                        position,
                        demand,
                    });
                }
                Some(before) if before != place => {
                    self.input(Input::ReaderMoved {
                        reader,
                        position,
                        demand,
                    });
                }
                Some(_) => {}
            }
        }
    }

    /// Fetches that ended are told to the core once nothing of them can change any more: a block that waits for the
    /// rest of its piece may still be completed by another fetch.
    fn settle_fetches(&mut self) {
        let ended: Vec<FetchId> = self
            .fetches
            .iter()
            .filter(|(_, f)| f.ended.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            let Some(fetch) = self.fetches.get(&id) else {
                continue;
            };
            let run = fetch.run;
            let all_held = self.shared.store.has_blocks(self.ground.verifier.span(run));
            if !all_held && matches!(fetch.ended, Some(Ok(()))) && self.covered(run) {
                continue;
            }
            let Some(fetch) = self.fetches.remove(&id) else {
                continue;
            };
            if !all_held {
                self.discard_uncovered(run);
            }
            self.input(match fetch.ended {
                Some(Err(OriginError::Temporary { after, .. })) => Input::OriginFailed {
                    fetch: id,
                    reason: OriginFailure::Temporary { after: Some(after) },
                },
                Some(Err(OriginError::Permanent { .. })) if self.ground.origin.is_usable() => {
                    Input::OriginFailed {
                        fetch: id,
                        reason: OriginFailure::File,
                    }
                }
                Some(Err(OriginError::Permanent { .. })) => Input::OriginFailed {
                    fetch: id,
                    reason: OriginFailure::Permanent,
                },
                Some(Ok(())) | None => Input::OriginDone { fetch: id },
            });
        }
        for problem in self.ground.origin.take_problems() {
            self.problem(problem);
        }
    }

    fn pieces_of(&self, run: BlockRun) -> std::ops::RangeInclusive<u32> {
        let verifier = &self.ground.verifier;
        let span = verifier.span(run);
        verifier.piece_of(span.start)..=verifier.piece_of(span.end.saturating_sub(1))
    }

    /// Whether a running fetch touches a piece of this run.
    fn covered(&self, run: BlockRun) -> bool {
        self.pieces_of(run).any(|piece| self.piece_is_fetched(piece))
    }

    fn piece_is_fetched(&self, piece: u32) -> bool {
        self.fetches
            .values()
            .any(|f| f.ended.is_none() && self.pieces_of(f.run).contains(&piece))
    }

    fn discard_uncovered(&self, run: BlockRun) {
        for piece in self.pieces_of(run) {
            if !self.piece_is_fetched(piece) {
                let bytes = self.ground.assembler.discard(piece);
                self.ground.counters.wasted.fetch_add(bytes, Ordering::Relaxed);
            }
        }
    }

    fn count_source(&mut self, run: BlockRun, source: Source, held: bool) {
        for block in self.ground.verifier.span(run) {
            let piece = self.ground.verifier.piece_of(block) as usize;
            let Some(counts) = self.sources.get_mut(piece) else {
                continue;
            };
            let index = match source {
                Source::Disk => 0,
                Source::Peer(_) => 1,
                Source::Origin => 2,
            };
            if held {
                counts[index] += 1;
            } else if let Some(count) = counts.iter_mut().max() {
                *count = count.saturating_sub(1);
            }
        }
    }

    fn check_complete(&mut self) {
        let open = matches!(self.state, State::Downloading | State::Paused(_));
        if open && !self.flushing && self.shared.store.is_complete() {
            if matches!(self.state, State::Paused(_)) {
                // The store says when it can write again.
                return;
            }
            self.flushing = true;
            let (store, driver) = (self.shared.store.clone(), self.ground.driver.clone());
            self.tasks.spawn(async move {
                let result = store.flush().await;
                let _ = driver.send(Msg::Flushed(result)).await;
            });
        }
    }

    fn tick(&mut self) {
        self.dial();
        self.check_hope();
        if self.rate.0.elapsed() >= Duration::from_secs(1) {
            let received = self.ground.counters.received.load(Ordering::Relaxed);
            let seconds = self.rate.0.elapsed().as_secs_f64();
            self.rate = (
                Instant::now(),
                received,
                ((received - self.rate.1) as f64 / seconds) as u64,
            );
            let rtts: Vec<_> = self
                .peers
                .iter()
                .map(|(peer, p)| (*peer, p.connection.rtt()))
                .collect();
            for (peer, rtt) in rtts {
                self.input(Input::PeerRtt { peer, rtt });
            }
        }
        self.publish();
    }

    pub(super) fn fail(&mut self, why: String) {
        if !matches!(self.state, State::Failed(_)) {
            tracing::error!("{why}");
            self.state = State::Failed(why.into());
            self.publish();
        }
    }

    pub(super) fn publish(&mut self) {
        let counters: &Counters = &self.ground.counters;
        let get = |c: &std::sync::atomic::AtomicU64| c.load(Ordering::Relaxed);
        let verifier = &self.ground.verifier;
        let pieces = self
            .sources
            .iter()
            .enumerate()
            .map(|(piece, [disk, peer, origin])| {
                let whole = (disk + peer + origin) as usize >= verifier.piece_blocks(piece as u32).len();
                let most = [
                    (disk, PieceSource::Disk),
                    (peer, PieceSource::Peer),
                    (origin, PieceSource::Origin),
                ];
                whole
                    .then(|| most.into_iter().max_by_key(|(n, _)| **n).map(|(_, s)| s))
                    .flatten()
            })
            .collect();
        self.stats.send_replace(Stats {
            state: self.state.clone(),
            have_bytes: self.shared.store.wanted_bytes(),
            total_bytes: verifier.layout().wanted_bytes(),
            from_origin: get(&counters.from_origin),
            from_peers: get(&counters.from_peers),
            wasted: get(&counters.wasted),
            uploaded: get(&counters.uploaded),
            peers: self.peers.len(),
            peers_seen: self.seen.len(),
            delivered: self.delivered.len(),
            noted: self.noted.len(),
            banned: self.banned.len(),
            down_rate: self.rate.2,
            pieces,
            problems: self.problems.iter().cloned().collect(),
        });
    }

    /// Stops everything that runs, makes safe what is here, tells the trackers.
    async fn end(mut self) {
        // Nobody takes messages any more: who has one must not wait for room.
        self.inbox.close();
        self.registry.remove(self.ground.swarm);
        self.tasks.shutdown().await;
        self.peers.clear();
        if let Some(announcer) = self.announcer.take() {
            announcer.send_replace(announce::Phase::Stopped);
            let told = async { while self.announcing.join_next().await.is_some() {} };
            // A tracker that does not answer must not hold up the end.
            let _ = tokio::time::timeout(Duration::from_secs(2), told).await;
            self.announcing.shutdown().await;
        }
        // Nobody looks at what it still has to say; it must not wait for us.
        self.store_events.close();
        self.shared.store.clone().close().await;
        self.publish();
        self.stats.send_modify(|stats| stats.state = State::Stopped);
    }
}
