//! The driver of one torrent: the swarm core's inputs in, its outputs out, its timers.
//!
//! It decides nothing about what to fetch or whom to serve; that is [`crate::swarm`]. It owns every task of the torrent
//! (they end with it), never waits for one of them, and holds no lock across an await. Its parts elsewhere: `inbox` (what is
//! told to it), `outputs` (what the core says), `members` (the neighbours), `dial`, `exchange` and `introduce` (how peers
//! come together), `fetches` (what the origin is asked for), `figures` (what is published), `hope` (when there is nothing
//! left to hope for).

use super::candidates::{Candidates, Heard};
use super::conduct::{self, Conduct};
use super::fetches::{self, Fetch};
use super::inbox::Msg;
use super::introduce::Meeting;
use super::members::PeerState;
use super::reader::Place;
use super::registry::Registry;
use super::stats::{State, Stats};
use super::torrent::Shared;
use super::transfer::{Decision, Ground};
use super::trickle::Trickle;
use super::{AddOptions, Location, announce, dht, lan, relay};
use crate::net::Way;
use crate::remembered::Remembered;
use crate::store::StoreEvent;
use crate::swarm::{self, FetchId, Input, Peer, PeerId, ReaderId, RequestId, Source, Swarm, UploadId};
use crate::tracker::pairs::Role;
use crate::tracker::tiers::Tiers;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

/// How often figures are published and dials considered.
const TICK: Duration = Duration::from_millis(200);
/// The same while it only waits for somebody to come: a process may seed hundreds of torrents.
const IDLE_TICK: Duration = Duration::from_secs(5);
/// How long trackers are waited for that are told of an end.
const GOODBYES: Duration = Duration::from_secs(2);
/// Trackers that are used.
const MAX_TRACKERS: usize = 8;
/// Troubles that are kept for people to read.
const MAX_PROBLEMS: usize = 16;

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
    /// What those who have gone may still have of us, when they come again.
    pub(super) former: Remembered<PeerId, Conduct>,
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
    /// The latest one of a web seed, if nothing came from one since.
    pub(super) origin_problem: Option<String>,
    /// Why a relay does not carry this transfer, or no further.
    pub(super) relay_refuses: Option<String>,
    pub(super) state: State,
    /// What a core is made with, and whether it is set aside.
    pub(super) core: swarm::Config,
    pub(super) paused: bool,
    /// The store takes nothing any more.
    pub(super) broken: bool,
    pub(super) flushing: bool,
    pub(super) discovering: bool,
    pub(super) trackers_to_answer: usize,
    pub(super) trackers: announce::Trackers,
    /// Where the first look for peers goes on, trackers apart.
    pub(super) looking: Vec<Heard>,
    pub(super) resolving: usize,
    pub(super) announcer: Option<watch::Sender<announce::Phase>>,
    pub(super) announcing: JoinSet<()>,
    pub(super) last_progress: Instant,
    pub(super) pauses: super::hope::Pauses,
    /// When the last neighbour was lost.
    pub(super) last_left: Option<Instant>,
    /// When the origin was last asked before its time.
    pub(super) asked_again: Instant,
    /// How long it may still be quiet, when it is and does not go on for ever.
    pub(super) gives_up: Option<Duration>,
    pub(super) trickle: Trickle,
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
        let piece_length = ground.verifier.layout().piece_length();
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
            former: Remembered::new(conduct::MAX_REMEMBERED),
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
            origin_problem: None,
            relay_refuses: None,
            state: State::Downloading,
            core,
            paused: false,
            broken: false,
            flushing: false,
            discovering: true,
            trackers_to_answer: 0,
            trackers: announce::Trackers::default(),
            looking: Vec::new(),
            resolving: 0,
            announcer: None,
            announcing: JoinSet::new(),
            last_progress: now,
            pauses: super::hope::Pauses::default(),
            last_left: None,
            asked_again: now.checked_sub(fetches::ASKED_AGAIN).unwrap_or(now),
            gives_up: None,
            trickle: Trickle::new(u64::from(piece_length)),
            rate: (now, 0, 0),
        }
    }

    /// Runs until the torrent is to stop.
    pub(super) async fn run(mut self) {
        self.begin();
        let mut stop = self.shared.stop.subscribe();
        let mut paused = self.shared.paused.subscribe();
        // It may have been asked to pause before this began.
        paused.mark_changed();
        let mut whole = self.shared.whole.subscribe();
        whole.mark_changed();
        let mut tick = tokio::time::interval(TICK);
        let mut idle_tick = tokio::time::interval(IDLE_TICK);
        for tick in [&mut tick, &mut idle_tick] {
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        loop {
            let idle = self.is_idle();
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
                _ = tick.tick(), if !idle => self.tick(),
                _ = idle_tick.tick(), if idle => self.tick(),
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Err(e) = ended && e.is_panic() {
                        self.fail(format!("a part of the program failed: {e}"));
                    }
                }
                Ok(()) = paused.changed() => {
                    let paused = *paused.borrow_and_update();
                    self.set_paused(paused);
                }
                Ok(()) = whole.changed() => {
                    let whole = *whole.borrow_and_update();
                    self.set_whole(whole);
                }
                () = self.shared.ask_again.notified() => self.ask_origin_again(),
                _ = stop.wait_for(|stop| *stop) => break,
            }
            self.settle_fetches();
            self.check_complete();
        }
        self.end().await;
    }

    /// Whether everything is here and nobody is there or to be dialled: what comes next comes as a message.
    fn is_idle(&self) -> bool {
        self.state == State::Complete
            && self.peers.is_empty()
            && !self.candidates.any_hope()
            && self.rate.2 == 0
            // Whoever waits for the last to leave is told of it first.
            && self.stats.borrow().peers == 0
    }

    /// Whether everything is wanted.
    fn set_whole(&mut self, whole: bool) {
        if self.options.whole_file == whole {
            return;
        }
        self.options.whole_file = whole;
        self.core.whole_file = whole;
        self.last_progress = Instant::now();
        self.input(Input::Configure(self.core.clone()));
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
        self.trackers.begin();
        let about = announce::About {
            registry: self.registry.clone(),
            tiers,
            swarm_key: self.shared.membership.key,
            ground: self.ground.clone(),
            was_complete: self.shared.store.is_complete(),
            stats: self.stats.subscribe(),
        };
        // What a task before a pause has still to say must not come after this: trackers would forget us.
        let (mut before, ours) = (std::mem::take(&mut self.announcing), phase.subscribe());
        self.announcing.spawn(async move {
            let told = async { while before.join_next().await.is_some() {} };
            // One that does not answer must not hold us up.
            let _ = tokio::time::timeout(GOODBYES, told).await;
            before.shutdown().await;
            announce::run(about, ours).await;
        });
        self.announcer = Some(phase);
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

    pub(super) fn check_complete(&mut self) {
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
            // Whoever waits for the torrent tells it as an error.
            tracing::warn!("{why}");
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
            let _ = tokio::time::timeout(GOODBYES, told).await;
            self.announcing.shutdown().await;
        }
        // Nobody looks at what it still has to say; it must not wait for us.
        self.store_events.close();
        self.shared.store.clone().close().await;
        self.publish();
        self.stats.send_modify(|stats| stats.state = State::Stopped);
    }
}
