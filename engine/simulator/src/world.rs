//! The event loop: participants, links, and what the core's outputs do in a world without sockets.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::swarm::{
    Audience, BLOCK_SIZE, BlockRun, Claim, Config, Demand, FetchId, FileIndex, Input, Layout, OriginFailure,
    Output, Peer, PeerId, ReaderId, RequestFailure, RequestId, Source, Swarm, UploadId, Urgency,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// The media that is ready before a simulated player starts.
const START: Duration = Duration::from_millis(2_500);
/// How often a simulated player looks at its buffer.
const PLAYER_STEP: Duration = Duration::from_millis(100);

/// What all share.
#[derive(Debug, Clone)]
pub struct Network {
    /// Content bytes of the one file.
    pub length: u64,
    /// Its piece length.
    pub piece_length: u32,
    /// One-way delay between any two participants.
    pub delay: Duration,
    /// The origin's uplink in bytes a second.
    pub origin_rate: f64,
    /// Each viewer is connected to all others up to this many, else to a random choice of so many.
    pub neighbours: usize,
    /// When the origin answers with errors only.
    pub outage: Option<OriginOutage>,
}

/// When the origin stops working, for good.
#[derive(Debug, Clone, Copy)]
pub enum OriginOutage {
    /// From this time on.
    At(Duration),
    /// Once it has sent this many copies of the content.
    AfterCopies(f64),
}

/// When a viewer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// So long after the beginning.
    At(Duration),
    /// So long after every earlier viewer has completed or left.
    AfterAll(Duration),
}

/// A simulated player.
#[derive(Debug, Clone, Copy)]
pub struct Player {
    /// Content bytes a second.
    pub bitrate: u64,
}

/// One viewer.
#[derive(Debug, Clone)]
pub struct Viewer {
    /// When it comes.
    pub arrival: Arrival,
    /// Uplink in bytes a second.
    pub up: f64,
    /// Downlink in bytes a second.
    pub down: f64,
    /// Sends wrong blocks.
    pub corrupt: bool,
    /// Leaves at this time, whatever it has.
    pub leaves_at: Option<Duration>,
    /// Leaves as soon as it is complete.
    pub leaves_when_complete: bool,
    /// Holds everything from the beginning.
    pub seed: bool,
    /// Plays instead of downloading.
    pub player: Option<Player>,
    /// Settings of its core; the id is chosen by the simulation.
    pub config: Config,
}

impl Viewer {
    /// A viewer that comes at the beginning, stays, and downloads.
    pub fn new(up: f64, down: f64) -> Self {
        Self {
            arrival: Arrival::At(Duration::ZERO),
            up,
            down,
            corrupt: false,
            leaves_at: None,
            leaves_when_complete: false,
            seed: false,
            player: None,
            config: Config::default(),
        }
    }
}

/// What one viewer got.
#[derive(Debug, Clone, Default)]
pub struct ViewerReport {
    /// When it had everything, after its own arrival.
    pub completed: Option<Duration>,
    /// Bytes kept that came from the origin.
    pub from_origin: u64,
    /// Bytes kept that came from peers.
    pub from_peers: u64,
    /// Bytes that arrived and were not kept.
    pub wasted: u64,
    /// Bytes it sent.
    pub uploaded: u64,
    /// Peers it banned.
    pub banned: usize,
    /// Whether it left before it was complete.
    pub left: bool,
    /// From its arrival until its player started.
    pub started: Option<Duration>,
    /// Times its player stood still after it started.
    pub stalls: u32,
}

/// What a run brought.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Each viewer, in the order in which they were given.
    pub viewers: Vec<ViewerReport>,
    /// Content bytes that left the origin.
    pub origin_bytes: u64,
    /// Requests that the origin answered.
    pub origin_requests: u64,
    /// When the last event happened.
    pub ended: Duration,
    /// Content bytes of the file.
    pub length: u64,
}

impl Report {
    /// Copies of the content that left the origin.
    pub fn origin_copies(&self) -> f64 {
        self.origin_bytes as f64 / self.length as f64
    }

    /// Bytes received and not kept, as a share of what was delivered.
    pub fn waste(&self) -> f64 {
        let kept: u64 = self.viewers.iter().map(|v| v.from_origin + v.from_peers).sum();
        self.viewers.iter().map(|v| v.wasted).sum::<u64>() as f64 / kept.max(1) as f64
    }

    /// Whether everybody who stayed has everything.
    pub fn all_complete(&self) -> bool {
        self.viewers.iter().all(|v| v.left || v.completed.is_some())
    }

    /// The slowest completion.
    pub fn slowest(&self) -> Duration {
        self.viewers
            .iter()
            .filter_map(|v| v.completed)
            .max()
            .unwrap_or_default()
    }
}

/// What is sent block by block over an uplink.
#[derive(Debug, Clone)]
struct Sending {
    to: usize,
    what: Carried,
    next: u32,
    run: BlockRun,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carried {
    /// To the requester's request; the uploader's name for it.
    Reply(RequestId, UploadId),
    Range(FetchId),
}

/// A sender's uplink: a block at a time, turns of four blocks, in a circle.
#[derive(Debug, Default)]
struct Uplink {
    rate: f64,
    queue: VecDeque<Sending>,
    turn: u32,
    busy: bool,
}

#[derive(Debug)]
enum Event {
    Arrive(usize),
    Leave(usize),
    Wake(usize),
    Message {
        to: usize,
        input: Input,
    },
    /// The uplink of a sender (`None`: the origin) has sent a block.
    Sent(Option<usize>),
    /// A block came through the receiver's downlink.
    Received {
        to: usize,
        from: Option<usize>,
        what: Carried,
        block: u32,
        last: bool,
    },
    Refused {
        to: usize,
        request: RequestId,
    },
    Asked {
        to: usize,
        from: usize,
        request: RequestId,
        run: BlockRun,
        urgency: Urgency,
    },
    Withdrawn {
        to: usize,
        from: usize,
        request: RequestId,
    },
    RangeAsked {
        from: usize,
        fetch: FetchId,
        run: BlockRun,
    },
    RangeWithdrawn {
        from: usize,
        fetch: FetchId,
    },
    Cut {
        a: usize,
        b: usize,
    },
    Play(usize),
}

#[derive(Debug)]
struct Node {
    plan: Viewer,
    core: Option<Swarm>,
    id: PeerId,
    arrived: Instant,
    gone: bool,
    neighbours: Vec<usize>,
    uplink: Uplink,
    down_free: Instant,
    wake: Option<Instant>,
    /// Requests that were made of us: our name for each.
    asked: BTreeMap<UploadId, (usize, RequestId, BlockRun)>,
    next_upload: u64,
    /// Requests and fetches of ours that run.
    requests: BTreeMap<RequestId, usize>,
    fetches: BTreeMap<FetchId, BlockRun>,
    /// Blocks from the origin whose piece is not whole yet.
    unverified: BTreeMap<u32, FetchId>,
    report: ViewerReport,
    position: u64,
    playing: bool,
}

/// A world that runs until nothing can change any more or its time is over.
#[derive(Debug)]
pub struct Simulation {
    network: Network,
    layout: Arc<Layout>,
    rng: StdRng,
    start: Instant,
    now: Instant,
    events: BinaryHeap<Reverse<(Instant, u64)>>,
    pending: BTreeMap<u64, Event>,
    sequence: u64,
    nodes: Vec<Node>,
    origin: Uplink,
    origin_bytes: u64,
    origin_requests: u64,
    seed: u64,
}

impl Simulation {
    /// A world in which nobody has arrived.
    ///
    /// # Panics
    /// When the network's length or piece length make no layout.
    pub fn new(network: Network, viewers: Vec<Viewer>, seed: u64) -> Self {
        let layout = Layout::new(&[network.length], network.piece_length).expect("a valid layout");
        let start = Instant::now();
        let mut rng = StdRng::seed_from_u64(seed);
        let nodes: Vec<Node> = viewers
            .into_iter()
            .map(|plan| Node {
                uplink: Uplink {
                    rate: plan.up,
                    ..Uplink::default()
                },
                core: None,
                id: PeerId(rng.random()),
                arrived: start,
                gone: false,
                neighbours: Vec::new(),
                down_free: start,
                wake: None,
                asked: BTreeMap::new(),
                next_upload: 0,
                requests: BTreeMap::new(),
                fetches: BTreeMap::new(),
                unverified: BTreeMap::new(),
                report: ViewerReport::default(),
                position: 0,
                playing: false,
                plan,
            })
            .collect();
        let mut world = Self {
            layout: Arc::new(layout),
            rng,
            start,
            now: start,
            events: BinaryHeap::new(),
            pending: BTreeMap::new(),
            sequence: 0,
            origin: Uplink {
                rate: network.origin_rate,
                ..Uplink::default()
            },
            origin_bytes: 0,
            origin_requests: 0,
            nodes,
            network,
            seed,
        };
        for index in 0..world.nodes.len() {
            if let Arrival::At(at) = world.nodes[index].plan.arrival {
                world.at(at, Event::Arrive(index));
            }
            if let Some(at) = world.nodes[index].plan.leaves_at {
                world.at(at, Event::Leave(index));
            }
        }
        world
    }

    /// Runs for at most this much virtual time, and says what happened.
    pub fn run(mut self, limit: Duration) -> Report {
        while let Some(Reverse((at, number))) = self.events.pop() {
            if at > self.start + limit {
                break;
            }
            self.now = at;
            if let Some(event) = self.pending.remove(&number) {
                self.happen(event);
            }
            if self.settled() {
                break;
            }
        }
        Report {
            viewers: self.nodes.into_iter().map(|n| n.report).collect(),
            origin_bytes: self.origin_bytes,
            origin_requests: self.origin_requests,
            ended: self.now - self.start,
            length: self.network.length,
        }
    }

    fn settled(&self) -> bool {
        self.nodes.iter().all(|n| n.gone || n.report.completed.is_some())
    }

    fn at(&mut self, after_start: Duration, event: Event) {
        self.schedule(self.start + after_start, event);
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence)));
        self.pending.insert(self.sequence, event);
    }

    fn later(&mut self, event: Event) {
        self.schedule(self.now + self.network.delay, event);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive(node) => self.arrive(node),
            Event::Leave(node) => self.leave(node),
            Event::Wake(node) => {
                if self.nodes[node].wake == Some(self.now) {
                    self.nodes[node].wake = None;
                    self.give(node, Input::Timeout);
                }
            }
            Event::Message { to, input } => self.give(to, input),
            Event::Sent(from) => self.sent(from),
            Event::Received {
                to,
                from,
                what,
                block,
                last,
            } => self.received(to, from, what, block, last),
            Event::Refused { to, request } => {
                if self.nodes[to].requests.remove(&request).is_some() {
                    self.give(
                        to,
                        Input::RequestFailed {
                            request,
                            reason: RequestFailure::Refused,
                        },
                    );
                }
            }
            Event::Asked {
                to,
                from,
                request,
                run,
                urgency,
            } => {
                let node = &mut self.nodes[to];
                let upload = UploadId(node.next_upload);
                node.next_upload += 1;
                node.asked.insert(upload, (from, request, run));
                let peer = Peer(from as u64);
                self.give(
                    to,
                    Input::PeerRequest {
                        peer,
                        request: upload,
                        run,
                        urgency,
                    },
                );
            }
            Event::Withdrawn { to, from, request } => {
                let node = &mut self.nodes[to];
                let found = node
                    .asked
                    .iter()
                    .find(|(_, a)| a.0 == from && a.1 == request)
                    .map(|(&u, _)| u);
                if let Some(upload) = found {
                    node.asked.remove(&upload);
                    node.uplink
                        .queue
                        .retain(|s| s.what != Carried::Reply(request, upload));
                    self.give(
                        to,
                        Input::PeerCancelled {
                            peer: Peer(from as u64),
                            request: upload,
                        },
                    );
                }
            }
            Event::RangeAsked { from, fetch, run } => self.range_asked(from, fetch, run),
            Event::RangeWithdrawn { from, fetch } => {
                self.origin
                    .queue
                    .retain(|s| s.to != from || s.what != Carried::Range(fetch));
            }
            Event::Cut { a, b } => self.cut(a, b),
            Event::Play(node) => self.play(node),
        }
    }

    fn arrive(&mut self, node: usize) {
        let (seed, now) = (
            self.seed.wrapping_mul(1_000_003).wrapping_add(node as u64),
            self.now,
        );
        let config = Config {
            id: self.nodes[node].id,
            ..self.nodes[node].plan.config.clone()
        };
        self.nodes[node].arrived = now;
        self.nodes[node].down_free = now;
        self.nodes[node].core = Some(Swarm::new(self.layout.clone(), config, seed, now));
        if self.nodes[node].plan.seed {
            let run = BlockRun::new(0, 0, self.layout.file_blocks(FileIndex(0)));
            self.give(
                node,
                Input::Verified {
                    run,
                    source: Source::Disk,
                },
            );
        }
        let mut present: Vec<usize> = (0..self.nodes.len())
            .filter(|&other| other != node && self.nodes[other].core.is_some() && !self.nodes[other].gone)
            .collect();
        let size = present.len() as u32 + 1;
        while present.len() > self.network.neighbours {
            let drop = self.rng.random_range(0..present.len());
            present.swap_remove(drop);
        }
        let player = self.nodes[node].plan.player;
        let demand = match player {
            Some(Player { bitrate }) => Demand::Stream {
                bitrate,
                playing: false,
            },
            None => Demand::Whenever,
        };
        self.give(node, Input::SwarmSize(size));
        for &other in &present {
            self.nodes[node].neighbours.push(other);
            self.nodes[other].neighbours.push(node);
            // Both ends are up once the handshake is over.
            for (here, there) in [(node, other), (other, node)] {
                let input = Input::PeerConnected {
                    peer: Peer(there as u64),
                    id: self.nodes[there].id,
                };
                self.schedule(
                    self.now + self.network.delay * 3,
                    Event::Message { to: here, input },
                );
            }
        }
        let found = if present.is_empty() {
            self.now
        } else {
            self.now + self.network.delay * 3
        };
        self.schedule(
            found,
            Event::Message {
                to: node,
                input: Input::Discovery { pending: false },
            },
        );
        let opened = Input::ReaderOpened {
            reader: ReaderId(0),
            file: FileIndex(0),
            position: 0,
            demand,
        };
        self.schedule(
            found,
            Event::Message {
                to: node,
                input: opened,
            },
        );
        if player.is_some() {
            self.schedule(self.now + PLAYER_STEP, Event::Play(node));
        }
    }

    fn leave(&mut self, node: usize) {
        if std::mem::replace(&mut self.nodes[node].gone, true) {
            return;
        }
        if self.nodes[node].report.completed.is_none() {
            self.nodes[node].report.left = true;
        }
        for other in self.nodes[node].neighbours.clone() {
            self.later(Event::Cut { a: other, b: node });
        }
        self.nodes[node].uplink.queue.clear();
        self.origin.queue.retain(|s| s.to != node);
        self.follow();
    }

    /// Viewers that wait for the others.
    fn follow(&mut self) {
        for index in 0..self.nodes.len() {
            let node = &self.nodes[index];
            let Arrival::AfterAll(wait) = node.plan.arrival else {
                continue;
            };
            let earlier = &self.nodes[..index];
            let done = |n: &Node| n.gone || n.report.completed.is_some();
            // Those that wait for the same are not waited for.
            let mut awaited = earlier
                .iter()
                .rev()
                .skip_while(|n| n.plan.arrival == node.plan.arrival);
            if node.core.is_none() && node.wake.is_none() && awaited.all(done) {
                self.nodes[index].wake = Some(self.now);
                self.schedule(self.now + wait, Event::Arrive(index));
            }
        }
    }

    fn cut(&mut self, a: usize, b: usize) {
        for (here, there) in [(a, b), (b, a)] {
            let node = &mut self.nodes[here];
            node.neighbours.retain(|&n| n != there);
            node.requests.retain(|_, peer| *peer != there);
            node.asked.retain(|_, asked| asked.0 != there);
            node.uplink.queue.retain(|s| s.to != there);
            self.give(
                here,
                Input::PeerDisconnected {
                    peer: Peer(there as u64),
                },
            );
        }
    }

    /// Gives an input to a core and does what it says.
    fn give(&mut self, node: usize, input: Input) {
        if self.nodes[node].gone {
            return;
        }
        let now = self.now;
        let Some(core) = &mut self.nodes[node].core else {
            return;
        };
        core.handle(input, now);
        while let Some(output) = self.nodes[node].core.as_mut().and_then(Swarm::poll_output) {
            self.act(node, output);
        }
        let Some(core) = &self.nodes[node].core else {
            return;
        };
        let wake = core
            .next_timeout()
            .map(|at| at.max(now + Duration::from_micros(100)));
        if let Some(at) = wake
            && self.nodes[node].wake.is_none_or(|old| at < old || old <= now)
        {
            self.nodes[node].wake = Some(at);
            self.schedule(at, Event::Wake(node));
        }
    }

    fn tell(&mut self, node: usize, peer: Peer, input: Input) {
        let to = peer.0 as usize;
        if self.nodes[node].neighbours.contains(&to) {
            self.later(Event::Message { to, input });
        }
    }

    fn act(&mut self, node: usize, output: Output) {
        let me = Peer(node as u64);
        match output {
            Output::Request {
                peer,
                request,
                run,
                urgency,
                ..
            } => {
                let to = peer.0 as usize;
                self.nodes[node].requests.insert(request, to);
                self.later(Event::Asked {
                    to,
                    from: node,
                    request,
                    run,
                    urgency,
                });
            }
            Output::Cancel { peer, request } => {
                self.nodes[node].requests.remove(&request);
                self.later(Event::Withdrawn {
                    to: peer.0 as usize,
                    from: node,
                    request,
                });
            }
            Output::Serve {
                peer, request, run, ..
            } => {
                let Some(&(to, theirs, _)) = self.nodes[node].asked.get(&request) else {
                    return;
                };
                debug_assert_eq!(to, peer.0 as usize);
                let what = Carried::Reply(theirs, request);
                self.send(
                    Some(node),
                    Sending {
                        to,
                        what,
                        next: 0,
                        run,
                    },
                );
            }
            Output::Refuse { request, .. } => {
                if let Some((to, request, _)) = self.nodes[node].asked.remove(&request) {
                    self.later(Event::Refused { to, request });
                }
            }
            Output::SendHave { to, runs } => {
                let peers = match to {
                    Audience::One(peer) => vec![peer],
                    Audience::Everyone => self.nodes[node]
                        .neighbours
                        .iter()
                        .map(|&n| Peer(n as u64))
                        .collect(),
                };
                for peer in peers {
                    self.tell(
                        node,
                        peer,
                        Input::PeerHave {
                            peer: me,
                            runs: runs.clone(),
                        },
                    );
                }
            }
            Output::SendClaims { to, claims } => {
                let claims: Vec<Claim> = claims;
                self.tell(node, to, Input::PeerClaims { peer: me, claims });
            }
            Output::Choke { peer } => self.tell(node, peer, Input::PeerChoked { peer: me }),
            Output::Unchoke { peer } => self.tell(node, peer, Input::PeerUnchoked { peer: me }),
            Output::OriginFetch { fetch, run, .. } => {
                self.check_fetch(node, run);
                self.nodes[node].fetches.insert(fetch, run);
                self.later(Event::RangeAsked {
                    from: node,
                    fetch,
                    run,
                });
            }
            Output::OriginCancel { fetch } => {
                self.nodes[node].fetches.remove(&fetch);
                self.nodes[node].unverified.retain(|_, by| *by != fetch);
                self.later(Event::RangeWithdrawn { from: node, fetch });
            }
            Output::Ban { peer, .. } => {
                self.nodes[node].report.banned += 1;
                self.later(Event::Cut {
                    a: node,
                    b: peer.0 as usize,
                });
            }
            Output::Complete => {
                self.nodes[node].report.completed = Some(self.now - self.nodes[node].arrived);
                if self.nodes[node].plan.leaves_when_complete {
                    self.later(Event::Leave(node));
                }
                self.follow();
            }
        }
    }

    /// The core's promise: the origin is never asked for what is held.
    fn check_fetch(&self, node: usize, run: BlockRun) {
        let Some(core) = &self.nodes[node].core else {
            return;
        };
        for block in run.first.0..run.first.0 + run.count {
            assert!(
                !core.has(BlockRun::new(0, block, 1)),
                "viewer {node} fetches block {block} that it holds"
            );
        }
    }

    fn range_asked(&mut self, from: usize, fetch: FetchId, run: BlockRun) {
        if !self.nodes[from].fetches.contains_key(&fetch) {
            return;
        }
        let down = match self.network.outage {
            None => false,
            Some(OriginOutage::At(at)) => self.now >= self.start + at,
            Some(OriginOutage::AfterCopies(copies)) => {
                self.origin_bytes as f64 >= copies * self.network.length as f64
            }
        };
        if down {
            self.nodes[from].fetches.remove(&fetch);
            let reason = OriginFailure::Temporary { after: None };
            self.later(Event::Message {
                to: from,
                input: Input::OriginFailed { fetch, reason },
            });
            return;
        }
        self.origin_requests += 1;
        self.send(
            None,
            Sending {
                to: from,
                what: Carried::Range(fetch),
                next: 0,
                run,
            },
        );
    }

    fn uplink(&mut self, of: Option<usize>) -> &mut Uplink {
        match of {
            Some(node) => &mut self.nodes[node].uplink,
            None => &mut self.origin,
        }
    }

    fn send(&mut self, from: Option<usize>, sending: Sending) {
        self.uplink(from).queue.push_back(sending);
        if !self.uplink(from).busy {
            self.send_next(from);
        }
    }

    fn block_bytes(&self, block: u32) -> u64 {
        self.layout.run_bytes(BlockRun::new(0, block, 1))
    }

    fn send_next(&mut self, from: Option<usize>) {
        let Some(sending) = self.uplink(from).queue.front() else {
            self.uplink(from).busy = false;
            return;
        };
        let block = sending.run.first.0 + sending.next;
        let bytes = self.block_bytes(block);
        let uplink = self.uplink(from);
        uplink.busy = true;
        let time = Duration::from_secs_f64(bytes as f64 / uplink.rate);
        self.schedule(self.now + time, Event::Sent(from));
    }

    fn sent(&mut self, from: Option<usize>) {
        let uplink = self.uplink(from);
        let Some(sending) = uplink.queue.front_mut() else {
            uplink.busy = false;
            return;
        };
        let (to, what, block) = (sending.to, sending.what, sending.run.first.0 + sending.next);
        sending.next += 1;
        let last = sending.next == sending.run.count;
        uplink.turn += 1;
        if last {
            uplink.queue.pop_front();
            uplink.turn = 0;
        } else if uplink.turn >= 4 {
            uplink.queue.rotate_left(1);
            uplink.turn = 0;
        }
        let bytes = self.block_bytes(block);
        match from {
            Some(node) => self.nodes[node].report.uploaded += bytes,
            None => self.origin_bytes += bytes,
        }
        // The receiver's downlink takes blocks in the order in which they arrive.
        let receiver = &mut self.nodes[to];
        let time = Duration::from_secs_f64(bytes as f64 / receiver.plan.down);
        receiver.down_free = receiver.down_free.max(self.now + self.network.delay) + time;
        let at = receiver.down_free;
        self.schedule(
            at,
            Event::Received {
                to,
                from,
                what,
                block,
                last,
            },
        );
        if let (Some(node), Carried::Reply(_, upload), true) = (from, what, last) {
            self.nodes[node].asked.remove(&upload);
            let bytes = self.layout.piece_length().into();
            self.give(
                node,
                Input::SendDone {
                    peer: Peer(to as u64),
                    request: upload,
                    bytes,
                },
            );
        }
        self.send_next(from);
    }

    fn received(&mut self, to: usize, from: Option<usize>, what: Carried, block: u32, last: bool) {
        if self.nodes[to].gone {
            return;
        }
        let bytes = self.block_bytes(block);
        let run = BlockRun::new(0, block, 1);
        let held = self.nodes[to].core.as_ref().is_some_and(|core| core.has(run));
        match (what, from) {
            (Carried::Reply(request, _), Some(from)) => {
                let corrupt = self.nodes[from].plan.corrupt;
                let wanted = self.nodes[to].requests.contains_key(&request);
                if corrupt || held || !wanted {
                    self.nodes[to].report.wasted += bytes;
                } else {
                    self.nodes[to].report.from_peers += bytes;
                }
                if !wanted {
                    return;
                }
                if corrupt {
                    self.nodes[to].requests.remove(&request);
                    let reason = RequestFailure::BadData;
                    self.give(to, Input::RequestFailed { request, reason });
                    return;
                }
                self.give(
                    to,
                    Input::Verified {
                        run,
                        source: Source::Peer(Peer(from as u64)),
                    },
                );
                if last && self.nodes[to].requests.remove(&request).is_some() {
                    self.give(to, Input::RequestDone { request });
                }
            }
            (Carried::Range(fetch), _) => {
                if !self.nodes[to].fetches.contains_key(&fetch) || held {
                    self.nodes[to].report.wasted += bytes;
                } else {
                    self.nodes[to].unverified.insert(block, fetch);
                }
                self.give(to, Input::OriginBytes { fetch, bytes });
                self.check_piece(to, block);
                if last && self.nodes[to].fetches.remove(&fetch).is_some() {
                    self.give(to, Input::OriginDone { fetch });
                }
            }
            (Carried::Reply(..), None) => {}
        }
    }

    /// The origin's blocks of a piece are verified once every block of it is here.
    fn check_piece(&mut self, node: usize, block: u32) {
        let piece = self.layout.piece_run(
            self.layout
                .piece_of(FileIndex(0), engine::swarm::BlockIndex(block)),
        );
        let Some(core) = &self.nodes[node].core else {
            return;
        };
        let blocks = piece.first.0..piece.first.0 + piece.count;
        let missing: Vec<u32> = blocks.filter(|&b| !core.has(BlockRun::new(0, b, 1))).collect();
        if missing
            .iter()
            .any(|b| !self.nodes[node].unverified.contains_key(b))
        {
            return;
        }
        for block in missing {
            self.nodes[node].unverified.remove(&block);
            self.nodes[node].report.from_origin += self.block_bytes(block);
            self.give(
                node,
                Input::Verified {
                    run: BlockRun::new(0, block, 1),
                    source: Source::Origin,
                },
            );
        }
    }

    /// One step of a simulated player.
    fn play(&mut self, node: usize) {
        let Some(Player { bitrate }) = self.nodes[node].plan.player else {
            return;
        };
        if self.nodes[node].gone {
            return;
        }
        let buffered = self.buffered(node, START.mul_f64(bitrate as f64).as_secs());
        let state = &mut self.nodes[node];
        let end = state.position + buffered >= self.network.length;
        if state.playing {
            let step = (PLAYER_STEP.as_secs_f64() * bitrate as f64) as u64;
            if buffered < step && !end {
                state.playing = false;
                state.report.stalls += 1;
            } else {
                state.position = (state.position + step).min(self.network.length);
            }
        } else {
            let enough = buffered as f64 >= START.as_secs_f64() * bitrate as f64;
            if enough || end {
                state.playing = true;
                state.report.started.get_or_insert(self.now - state.arrived);
            }
        }
        let (position, playing) = (state.position, state.playing);
        let demand = Demand::Stream { bitrate, playing };
        // Told when it changes, and while it plays: a waiting reader's start keeps its deadline.
        if playing {
            self.give(
                node,
                Input::ReaderMoved {
                    reader: ReaderId(0),
                    position,
                    demand,
                },
            );
        }
        if position < self.network.length {
            self.schedule(self.now + PLAYER_STEP, Event::Play(node));
        }
    }

    /// Content bytes held from the player's position on, up to about `enough`.
    fn buffered(&self, node: usize, enough: u64) -> u64 {
        let state = &self.nodes[node];
        let Some(core) = &state.core else { return 0 };
        let mut end = state.position;
        while end < self.network.length && end - state.position <= enough {
            let block = (end / u64::from(BLOCK_SIZE)) as u32;
            if !core.has(BlockRun::new(0, block, 1)) {
                break;
            }
            end = (u64::from(block) + 1) * u64::from(BLOCK_SIZE);
        }
        end.min(self.network.length) - state.position
    }
}
