//! The driver of one torrent: the swarm core's inputs in, its outputs out, its timers.
//!
//! It decides nothing about what to fetch or whom to serve; that is [`crate::swarm`]. It owns every task of the torrent
//! (they end with it), never waits for one of them, and holds no lock across an await. Its parts elsewhere: `dial`,
//! `exchange` and `introduce` (how peers come together), `fetches` (what the origin is asked for), `figures` (what is published),
//! `hope` (when there is nothing left to hope for).

use super::bans::Patience;
use super::candidates::{Candidates, Heard};
use super::control::{self, NewPeer, Offer, new_one_stays};
use super::fetches::Fetch;
use super::introduce::{self, Meeting};
use super::reader::Place;
use super::registry::{DialError, Registry};
use super::stats::{State, Stats};
use super::torrent::Shared;
use super::transfer::{self, Decision, Ground};
use super::{AddOptions, Location, announce, dht, exchange, gossip, lan, relay};
use crate::allowance::Allowance;
use crate::net::{Connection, Way};
use crate::origin::OriginError;
use crate::store::{StoreError, StoreEvent};
use crate::swarm::neighbours::{self, Admission};
use crate::swarm::{
    self, Audience, BanReason, BlockRun, Claim, FetchId, Input, Output, Peer, PeerId, ReaderId, RefuseReason,
    RequestFailure, RequestId, Source, Swarm, UploadId,
};
use crate::tracker::pairs::Role;
use crate::tracker::tiers::Tiers;
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
/// Trackers that are used.
const MAX_TRACKERS: usize = 8;
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
        /// `None` when the other side's dial came first.
        result: Result<Option<Connection>, DialError>,
    },
    /// An address has not answered yet.
    Unreached { address: SocketAddr },
    /// A tracker answered, or none could be asked.
    Announced {
        first: bool,
        peers: Vec<SocketAddr>,
        viewers: Option<u32>,
        meeting: Option<announce::MeetingPlace>,
        problems: Vec<String>,
    },
    /// The DHT or the local network named these.
    Found {
        heard: Heard,
        addresses: Vec<SocketAddr>,
        /// Nothing more may come of it for a while.
        first_look_over: bool,
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
    /// Addresses of others that it was told.
    pub(super) told: HashSet<SocketAddr>,
    /// Peer exchanges that are heard of it.
    pub(super) exchange: Allowance,
    /// Introductions that it may ask for, or make.
    pub(super) introductions: Allowance,
    /// Cue sheets that are heard of it.
    pub(super) sheets: Allowance,
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
    /// Who was connected at any time, and how the last time.
    pub(super) seen: HashMap<PeerId, Way>,
    pub(super) banned: HashSet<PeerId>,
    /// How many are in the swarm, as a tracker said.
    pub(super) viewers: Option<u32>,
    /// Peers that said that they have all they want.
    pub(super) delivered: HashSet<PeerId>,
    /// Peers that have noted that we do.
    pub(super) noted: HashSet<PeerId>,
    pub(super) next_name: u64,
    pub(super) requests: HashMap<RequestId, (Peer, AbortHandle)>,
    pub(super) uploads: HashMap<UploadId, (Peer, oneshot::Sender<Decision>)>,
    pub(super) fetches: HashMap<FetchId, Fetch>,
    pub(super) readers: HashMap<ReaderId, Place>,
    pub(super) candidates: Candidates,
    /// That an address may not be dialled is said once.
    pub(super) refusal_told: bool,
    /// Trackers' endpoints where peers meet: those that are known, and those that answer.
    pub(super) places: Vec<announce::MeetingPlace>,
    pub(super) meetings: HashMap<Peer, Meeting>,
    pub(super) began: Instant,
    /// When neighbours were last told of each other.
    pub(super) exchanged: Instant,
    /// Peers to whom we have said hello, and who have not answered yet.
    pub(super) greeting: HashSet<PeerId>,
    /// Blocks of each piece by source: disk, peers, origin.
    pub(super) sources: Vec<[u32; 3]>,
    pub(super) problems: VecDeque<String>,
    pub(super) state: State,
    /// What a core is made with, and whether it is set aside.
    pub(super) core: swarm::Config,
    pub(super) paused: bool,
    pub(super) flushing: bool,
    pub(super) discovering: bool,
    pub(super) trackers_to_answer: usize,
    /// Where the first look for peers goes on, trackers apart.
    pub(super) looking: Vec<Heard>,
    pub(super) resolving: usize,
    pub(super) announcer: Option<watch::Sender<announce::Phase>>,
    pub(super) announcing: JoinSet<()>,
    pub(super) last_progress: Instant,
    /// Bytes that web seeds sent since they last counted as progress.
    pub(super) trickled: u64,
    pub(super) rate: (Instant, u64, u64),
}

/// What a driver is made of.
pub(super) struct Parts {
    pub(super) registry: Arc<Registry>,
    pub(super) shared: Arc<Shared>,
    pub(super) ground: Arc<Ground>,
    pub(super) options: AddOptions,
    pub(super) core: swarm::Config,
    pub(super) inbox: mpsc::Receiver<Msg>,
    pub(super) store_events: mpsc::Receiver<StoreEvent>,
    pub(super) stats: watch::Sender<Stats>,
}

/// Begins to look for peers where nobody has to be named: gives the places.
pub(super) fn look_around(
    registry: &Arc<Registry>,
    key: [u8; 20],
    driver: &mpsc::Sender<Msg>,
    tasks: &mut JoinSet<()>,
) -> Vec<Heard> {
    let mut places = Vec::new();
    if !registry.config().dht.is_empty() {
        tasks.spawn(dht::run(registry.clone(), key, driver.clone()));
        places.push(Heard::Dht);
    }
    if registry.config().lan {
        tasks.spawn(lan::run(registry.clone(), key, driver.clone()));
        places.push(Heard::Lan);
    }
    places
}

impl Driver {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            registry,
            shared,
            ground,
            options,
            core,
            inbox,
            store_events,
            stats,
        } = parts;
        let layout = ground.verifier.layout().clone();
        let swarm = Swarm::new(layout, core.clone(), rand::random(), Instant::now());
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
            seen: HashMap::new(),
            banned: HashSet::new(),
            viewers: None,
            delivered: HashSet::new(),
            noted: HashSet::new(),
            next_name: 0,
            requests: HashMap::new(),
            uploads: HashMap::new(),
            fetches: HashMap::new(),
            readers: HashMap::new(),
            candidates: Candidates::default(),
            refusal_told: false,
            places: Vec::new(),
            meetings: HashMap::new(),
            began: now,
            exchanged: now,
            greeting: HashSet::new(),
            sources: vec![[0; 3]; pieces],
            problems: VecDeque::new(),
            state: State::Downloading,
            core,
            paused: false,
            flushing: false,
            discovering: true,
            trackers_to_answer: 0,
            looking: Vec::new(),
            resolving: 0,
            announcer: None,
            announcing: JoinSet::new(),
            last_progress: now,
            trickled: 0,
            rate: (now, 0, 0),
        }
    }

    /// Runs until the torrent is to stop.
    pub(super) async fn run(mut self) {
        self.begin();
        let mut stop = self.shared.stop.subscribe();
        let mut paused = self.shared.paused.subscribe();
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let wake = self.swarm.next_timeout().filter(|_| !self.paused);
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
                Ok(()) = paused.changed() => {
                    let paused = *paused.borrow_and_update();
                    self.set_paused(paused);
                }
                _ = stop.wait_for(|stop| *stop) => break,
            }
            self.settle_fetches();
            self.check_complete();
        }
        self.end().await;
    }

    fn begin(&mut self) {
        for run in self.shared.store.held_runs() {
            self.count_source(run, Source::Disk, true);
        }
        self.tell_held();
        if self.options.use_peers {
            self.begin_resolving();
            self.begin_announcing();
            self.begin_looking();
            self.begin_relaying();
        }
        self.check_discovery();
        self.sync_readers();
        self.check_complete();
        self.publish();
    }

    /// Tells the core what is here already.
    pub(super) fn tell_held(&mut self) {
        for run in self.shared.store.held_runs() {
            self.input(Input::Verified {
                run,
                source: Source::Disk,
            });
        }
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

    /// Asks the DHT and the local network, which private torrents (BEP 27) and personal swarms leave alone.
    fn begin_looking(&mut self) {
        self.registry.map_port();
        if self.shared.private() {
            return;
        }
        let key = self.shared.membership.key;
        self.looking = look_around(&self.registry, key, &self.ground.driver, &mut self.tasks);
    }

    pub(super) fn begin_announcing(&mut self) {
        // A personal swarm is nobody's business but of the link's trackers.
        let personal = self.shared.membership.secret.is_some();
        let mut tiers = if personal {
            Vec::new()
        } else {
            self.shared.metainfo.trackers().to_vec()
        };
        // Each that a person or a link names is a tier of its own.
        tiers.extend(self.options.trackers.iter().map(|url| vec![url.clone()]));
        let tiers = Tiers::new(&tiers, MAX_TRACKERS, &mut rand::rng());
        if tiers.is_empty() {
            return;
        }
        let phase = watch::Sender::new(announce::Phase::Running);
        self.trackers_to_answer = 1;
        let about = announce::About {
            registry: self.registry.clone(),
            tiers,
            swarm_key: self.shared.membership.key,
            ground: self.ground.clone(),
        };
        self.announcing.spawn(announce::run(about, phase.subscribe()));
        self.announcer = Some(phase);
    }

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
                if self.options.use_peers && !self.paused && !self.banned.contains(&offer.connection.id()) {
                    let driver = self.ground.driver.clone();
                    let remote = offer.connection.remote_address();
                    let port = self.registry.port_for(remote.ip().to_canonical().is_ipv4());
                    let membership = self.shared.membership;
                    self.tasks.spawn(async move {
                        // How it ended was told by message where it matters.
                        let _ = control::answer(*offer, port, membership, driver).await;
                    });
                }
            }
            Msg::PeerUp(new) if introduce::is_meeting(&new) => self.meeting_up(*new),
            Msg::PeerUp(new) => {
                let id = new.connection.id();
                self.peer_up(*new);
                self.greeting.remove(&id);
                self.check_discovery();
            }
            Msg::Greeted { id } => self.greeted(id),
            Msg::Message { peer, message, room } => {
                if self.meetings.contains_key(&peer) {
                    self.meeting_message(peer, message);
                } else {
                    self.message(peer, message);
                }
                drop(room);
            }
            Msg::PeerDown { peer, protocol } => {
                if self.meeting_down(peer) {
                    return;
                }
                if let Some(why) = protocol {
                    self.ban(peer, &why);
                }
                let lost = self.peers.get(&peer).filter(|p| p.connection.is_lost());
                let lost = lost.map(|p| (p.id, p.connection.remote_address()));
                if self.forget_peer(peer) {
                    self.drain();
                }
                if let Some((id, address)) = lost {
                    self.dial_again(id, address);
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
                for run in self.news(run) {
                    self.last_progress = Instant::now();
                    self.count_source(run, source, true);
                    self.input(Input::Verified { run, source });
                }
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
            Msg::Unreached { address } => self.ask_for(address),
            Msg::Announced {
                first,
                peers,
                viewers,
                meeting,
                problems,
            } => {
                self.trackers_to_answer = self.trackers_to_answer.saturating_sub(usize::from(first));
                for problem in problems {
                    self.problem(problem);
                }
                self.add_candidates(peers, Heard::Tracker, None);
                if let Some(place) = meeting {
                    self.meet(place);
                }
                self.viewers = viewers.or(self.viewers);
                if let Some(viewers) = viewers {
                    self.input(Input::SwarmSize(viewers.max(1)));
                }
                self.dial();
                self.check_discovery();
            }
            Msg::Found {
                heard,
                addresses,
                first_look_over,
            } => {
                if first_look_over {
                    self.looking.retain(|&place| place != heard);
                }
                self.add_candidates(addresses, heard, None);
                self.dial();
                self.check_discovery();
            }
            Msg::Relay { address } => {
                if self.peers.is_empty() {
                    self.add_candidates(vec![address], Heard::Relay, None);
                    self.candidates.try_again(address, Instant::now());
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
                self.add_candidates(addresses, Heard::Named, Some(&host));
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

    /// The parts of a run that are in the store and that the core does not know of.
    fn news(&self, run: BlockRun) -> Vec<BlockRun> {
        let mut news: Vec<BlockRun> = Vec::new();
        for (block, number) in (run.first.0..).zip(self.ground.verifier.span(run)) {
            let one = BlockRun::new(run.file.0, block, 1);
            if self.swarm.has(one) || !self.shared.store.has_block(number) {
                continue;
            }
            match news.last_mut() {
                Some(last) if last.first.0 + last.count == block => last.count += 1,
                _ => news.push(one),
            }
        }
        news
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
        if !self.let_in(id) {
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
        self.seen.insert(id, connection.way());
        tracing::debug!(%remote, way = ?connection.way(), "a new neighbour");
        let (rtt, now) = (connection.rtt(), self.began.elapsed());
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
                told: HashSet::new(),
                exchange: Allowance::new(exchange::HEARD.0, exchange::HEARD.1, now),
                introductions: introduce::allowance(now),
                sheets: Allowance::new(gossip::HEARD.0, gossip::HEARD.1, now),
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

    fn peer_request(&mut self, from: PeerId, request: &Request, send: SendStream) {
        let id = UploadId(self.next_name);
        self.next_name += 1;
        let (decide, decision) = oneshot::channel();
        let peer = self.by_id.get(&from).copied();
        let name = peer.unwrap_or(Peer(u64::MAX));
        let connection = peer
            .and_then(|peer| self.peers.get(&peer))
            .map(|state| state.connection.clone());
        self.tasks.spawn(transfer::upload(
            self.ground.clone(),
            connection,
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
                if matches!(self.state, State::Paused(_)) && !self.paused {
                    self.state = State::Downloading;
                }
                self.publish();
            }
            StoreEvent::Failed(error) => self.fail(error.to_string()),
        }
    }

    pub(super) fn sync_readers(&mut self) {
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
        self.exchange();
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
