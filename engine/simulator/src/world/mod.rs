//! The event loop: participants, and what the core's outputs do in a world without sockets.

mod again;
mod links;
mod player;
mod waits;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::swarm::neighbours::{self, Admission};
use engine::swarm::{
    Audience, BlockRun, Claim, Config, Demand, FetchId, FileIndex, Input, Layout, Output, Peer, PeerId,
    ReaderId, RefuseReason, RequestFailure, RequestId, Source, Swarm, UploadId, Urgency,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::plan::{Arrival, Network, Player, Viewer};
use crate::report::{Again, Report, ViewerReport};
use links::{Carried, Sending, Uplink};
use player::PLAYER_STEP;

#[derive(Debug)]
enum Event {
    Arrive(usize),
    Leave(usize),
    Wake(usize),
    Message {
        to: usize,
        input: Input,
    },
    /// What one viewer holds now, for all who were its neighbours when it said so.
    News {
        from: usize,
        to: Vec<usize>,
        runs: Vec<BlockRun>,
    },
    /// The uplink of a sender (`None`: the origin) has sent blocks.
    Sent(Option<usize>),
    /// Blocks came through the receiver's downlink.
    Received {
        to: usize,
        from: Option<usize>,
        what: Carried,
        run: BlockRun,
        last: bool,
    },
    Refused {
        to: usize,
        request: RequestId,
        reason: RefuseReason,
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
    /// A viewer asks the tracker again.
    Announce(usize),
}

/// Between two announces of a viewer that is not complete.
const ANNOUNCE: Duration = Duration::from_secs(30);

/// An event and its time; those of one time happen in the order in which they were scheduled.
#[derive(Debug)]
struct Due {
    at: Instant,
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    /// The earliest is the greatest: a heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

#[derive(Debug)]
struct Node {
    plan: Viewer,
    core: Option<Swarm>,
    id: PeerId,
    arrived: Instant,
    gone: bool,
    neighbours: Vec<usize>,
    /// Who may request of it.
    unchoked: BTreeSet<usize>,
    banned: Vec<usize>,
    /// Neighbours who let us ask.
    open: BTreeSet<usize>,
    uplink: Uplink,
    down_free: Instant,
    wake: Option<Instant>,
    /// Requests that were made of us: our name for each.
    asked: BTreeMap<UploadId, (usize, RequestId, BlockRun)>,
    next_upload: u64,
    /// Requests and fetches of ours that run.
    requests: BTreeMap<RequestId, (usize, BlockRun)>,
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
    events: BinaryHeap<Due>,
    sequence: u64,
    /// Viewers that will neither leave nor complete any more.
    over: usize,
    nodes: Vec<Node>,
    origin: Uplink,
    origin_bytes: u64,
    origin_requests: u64,
    origin_seconds: Vec<u64>,
    /// Blocks that somebody drew from the origin.
    drawn: Vec<bool>,
    again: Again,
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
                unchoked: BTreeSet::new(),
                banned: Vec::new(),
                open: BTreeSet::new(),
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
            rng,
            start,
            now: start,
            events: BinaryHeap::new(),
            sequence: 0,
            over: 0,
            origin: Uplink {
                rate: network.origin_rate,
                ..Uplink::default()
            },
            origin_bytes: 0,
            origin_requests: 0,
            origin_seconds: Vec::new(),
            drawn: vec![false; layout.file_blocks(FileIndex(0)) as usize],
            again: Again::default(),
            nodes,
            layout: Arc::new(layout),
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
        while let Some(Due { at, event, .. }) = self.events.pop() {
            if at > self.start + limit {
                break;
            }
            self.now = at;
            self.happen(event);
            if self.over == self.nodes.len() {
                break;
            }
        }
        Report {
            viewers: self.nodes.into_iter().map(|n| n.report).collect(),
            origin_bytes: self.origin_bytes,
            origin_requests: self.origin_requests,
            ended: self.now - self.start,
            length: self.network.length,
            origin_seconds: self.origin_seconds,
            again: self.again,
        }
    }

    fn at(&mut self, after_start: Duration, event: Event) {
        self.schedule(self.start + after_start, event);
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.sequence += 1;
        let number = self.sequence;
        self.events.push(Due { at, number, event });
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
            Event::Message { to, input } => {
                match input {
                    Input::PeerUnchoked { peer } => {
                        self.nodes[to].open.insert(peer.0 as usize);
                    }
                    Input::PeerChoked { peer } => {
                        self.nodes[to].open.remove(&(peer.0 as usize));
                    }
                    _ => {}
                }
                self.give(to, input);
            }
            Event::Sent(from) => self.sent(from),
            Event::News { from, to, runs } => {
                for to in to {
                    if self.nodes[to].neighbours.contains(&from) {
                        let (peer, runs) = (Peer(from as u64), runs.clone());
                        self.give(to, Input::PeerHave { peer, runs });
                    }
                }
            }
            Event::Received {
                to,
                from,
                what,
                run,
                last,
            } => self.received(to, from, what, run, last),
            Event::Announce(node) => self.announce(node),
            Event::Refused { to, request, reason } => {
                if self.nodes[to].requests.remove(&request).is_some() {
                    let reason = match reason {
                        RefuseReason::Busy => RequestFailure::Busy,
                        _ => RequestFailure::Refused,
                    };
                    self.give(to, Input::RequestFailed { request, reason });
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
                if node.plan.free_rider {
                    self.later(Event::Refused {
                        to: from,
                        request,
                        reason: RefuseReason::NotHeld,
                    });
                    return;
                }
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
        let present = self.present(node);
        let size = present.len() as u32 + 1;
        let player = self.nodes[node].plan.player;
        let demand = match player {
            Some(Player { bitrate }) => Demand::Stream {
                bitrate,
                playing: false,
            },
            None => Demand::Whenever,
        };
        self.give(node, Input::SwarmSize(size));
        self.schedule(self.now + ANNOUNCE, Event::Announce(node));
        self.dial(node);
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

    /// Everybody else who is there.
    fn present(&self, node: usize) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|&other| other != node && self.nodes[other].core.is_some() && !self.nodes[other].gone)
            .collect()
    }

    /// Connects a viewer with others until it has enough neighbours.
    fn dial(&mut self, node: usize) {
        let wanted = self.network.neighbours;
        let mut others = self.present(node);
        others.retain(|&other| {
            !self.nodes[node].neighbours.contains(&other) && !self.nodes[node].banned.contains(&other)
        });
        while self.nodes[node].neighbours.len() < wanted && !others.is_empty() {
            let other = if others.len() + self.nodes[node].neighbours.len() <= wanted {
                others.remove(0)
            } else {
                others.swap_remove(self.rng.random_range(0..others.len()))
            };
            if self.nodes[other].banned.contains(&node) || !self.lets_in(other) {
                continue;
            }
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
    }

    /// Whether a viewer takes one more neighbour, with the core's rule for it; makes room where one is of no use.
    fn lets_in(&mut self, node: usize) -> bool {
        let state = &self.nodes[node];
        if state.neighbours.len() < self.network.most_neighbours {
            return true;
        }
        let complete = state.report.completed.is_some();
        let Some(core) = &state.core else { return false };
        match neighbours::admit(
            core.neighbours(),
            complete,
            self.network.most_neighbours,
            self.now,
        ) {
            Admission::Welcome => true,
            Admission::InsteadOf(peer) => {
                self.cut(node, peer.0 as usize);
                true
            }
            Admission::Full => false,
        }
    }

    /// What a tracker says to one that asks again: how many there are, and others to know.
    fn announce(&mut self, node: usize) {
        if self.nodes[node].gone || self.nodes[node].report.completed.is_some() {
            return;
        }
        let size = self.present(node).len() as u32 + 1;
        self.give(node, Input::SwarmSize(size));
        self.dial(node);
        self.schedule(self.now + ANNOUNCE, Event::Announce(node));
    }

    fn leave(&mut self, node: usize) {
        if std::mem::replace(&mut self.nodes[node].gone, true) {
            return;
        }
        if self.nodes[node].report.completed.is_none() {
            self.nodes[node].report.left = true;
            self.over += 1;
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
            node.requests.retain(|_, (peer, _)| *peer != there);
            node.open.remove(&there);
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
                self.nodes[node].requests.insert(request, (to, run));
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
                peer,
                request,
                run,
                urgency,
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
                        urgent: urgency == Urgency::Urgent,
                    },
                );
            }
            Output::Refuse { request, reason, .. } => {
                if let Some((to, request, _)) = self.nodes[node].asked.remove(&request) {
                    self.later(Event::Refused { to, request, reason });
                }
            }
            Output::SendHave { to, runs } => {
                let to = match to {
                    Audience::One(peer) => vec![peer.0 as usize],
                    Audience::Everyone => self.nodes[node].neighbours.clone(),
                };
                self.later(Event::News { from: node, to, runs });
            }
            Output::SendClaims { to, claims } => {
                let claims: Vec<Claim> = claims;
                self.tell(node, to, Input::PeerClaims { peer: me, claims });
            }
            Output::Choke { peer } => {
                self.nodes[node].unchoked.remove(&(peer.0 as usize));
                self.tell(node, peer, Input::PeerChoked { peer: me });
            }
            Output::Unchoke { peer } => {
                self.nodes[node].unchoked.insert(peer.0 as usize);
                self.tell(node, peer, Input::PeerUnchoked { peer: me });
            }
            Output::OriginFetch { fetch, run, .. } => {
                self.check_fetch(node, run);
                self.count_draw(node, run);
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
                self.nodes[node].banned.push(peer.0 as usize);
                self.later(Event::Cut {
                    a: node,
                    b: peer.0 as usize,
                });
            }
            Output::Complete => {
                if self.nodes[node].report.completed.is_none() {
                    self.over += 1;
                }
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
}
