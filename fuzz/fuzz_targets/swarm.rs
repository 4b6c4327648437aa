//! Sequences of operations on the swarm core: honest and hostile peers, an origin, a disk, readers, time.
//!
//! After each: each block is exactly one of missing, requested and held, all books are right and bounded
//! (`Swarm::audit`); nothing is said to or of peers that are not there; outputs come to an end.
#![no_main]

use arbitrary::Arbitrary;
use engine::swarm::{
    BlockRun, Claim, Config, Demand, FetchId, FileIndex, Input, Layout, OriginFailure, OriginPolicy, Output, Peer,
    PeerId, PieceIndex, ReaderId, RequestFailure, RequestId, Source, Swarm, UploadId, Urgency,
};
use libfuzzer_sys::fuzz_target;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Arbitrary, Debug)]
struct Run {
    file: u8,
    first: u8,
    count: u8,
    /// Seldom: numbers of any size.
    wild: Option<(u32, u32, u32)>,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Connect(u8),
    Disconnect(u8),
    Have(u8, Vec<Run>),
    Choke(u8, bool),
    Deliver(u8, u8),
    Finish(u8, u8),
    OriginBytes(u8, u32),
    OriginWaits(u8, bool),
    OriginDeliver(u8, u8),
    OriginFinish(u8, u8, Option<u16>),
    Unasked(Run),
    Lose(Run),
    Ask(u8, Run, u8),
    Sent(u8),
    Withdraw(u8, u8),
    Claims(u8, Vec<(u8, u8, bool, bool, Option<u32>)>),
    Rtt(u8, u16),
    Size(u32),
    Discovery(bool),
    OriginAgain,
    Open(u8, u8, u32, u8, bool),
    Move(u8, u64, u32, bool),
    Close(u8),
    Wait(u16),
    Configure(bool, bool, bool, bool),
}

#[derive(Arbitrary, Debug)]
struct Case {
    files: [u16; 3],
    piece: u8,
    seed: u8,
    steps: Vec<Step>,
}

struct World {
    swarm: Swarm,
    layout: Arc<Layout>,
    now: Instant,
    choking: BTreeMap<Peer, bool>,
    requests: BTreeMap<RequestId, (Peer, BlockRun)>,
    fetches: BTreeMap<FetchId, BlockRun>,
    asked: BTreeMap<UploadId, Peer>,
    serving: Vec<(Peer, UploadId)>,
    /// Handles are never reused: each connection of a name gets the next one.
    names: BTreeMap<u8, u64>,
    next: u64,
    config: Config,
}

fn nth<K: Copy + Ord, V>(map: &BTreeMap<K, V>, n: u8) -> Option<K> {
    (!map.is_empty()).then(|| map.keys().copied().nth(n as usize % map.len())).flatten()
}

impl World {
    fn peer(&self, name: u8) -> Peer {
        let name = name % 6;
        Peer(u64::from(name) + 6 * self.names.get(&name).copied().unwrap_or(0))
    }

    fn run(&self, run: &Run) -> BlockRun {
        if let Some((file, first, count)) = run.wild {
            // The codec lets no run of no blocks through, nor one that leaves the numbers.
            return BlockRun::new(file, first, count.clamp(1, (u32::MAX - first).max(1)));
        }
        let file = u32::from(run.file) % self.layout.files();
        let blocks = self.layout.file_blocks(FileIndex(file)).max(1);
        let first = u32::from(run.first) % blocks;
        BlockRun::new(file, first, (u32::from(run.count) % (blocks - first)).max(1))
    }

    fn gone(&mut self, peer: Peer) {
        self.choking.remove(&peer);
        self.requests.retain(|_, (p, _)| *p != peer);
        self.asked.retain(|_, p| *p != peer);
        self.serving.retain(|&(p, _)| p != peer);
    }

    fn give(&mut self, input: Input) {
        let held: BTreeSet<BlockKey> = self.held();
        self.swarm.handle(input, self.now);
        let mut outputs = 0;
        while let Some(output) = self.swarm.poll_output() {
            outputs += 1;
            assert!(outputs < 20_000, "outputs do not come to an end");
            self.output(output, &held);
        }
        self.swarm.audit();
        let progress = self.swarm.progress();
        assert!(progress.have_bytes <= progress.total_bytes);
        assert_eq!(progress.peers, self.choking.len());
    }

    fn held(&self) -> BTreeSet<BlockKey> {
        let runs = self.swarm.held();
        runs.iter().flat_map(|run| (run.first.0..run.first.0 + run.count).map(|b| (run.file.0, b))).collect()
    }

    fn output(&mut self, output: Output, held: &BTreeSet<BlockKey>) {
        match output {
            Output::Request { peer, request, run, .. } => {
                assert_eq!(self.choking.get(&peer), Some(&false), "asked a peer that chokes us or is gone");
                assert!(self.layout.is_request(run));
                assert!(self.requests.insert(request, (peer, run)).is_none());
            }
            Output::Cancel { request, .. } => {
                self.requests.remove(&request);
            }
            Output::OriginFetch { fetch, run, .. } => {
                assert!(self.config.use_origin && self.layout.contains(run));
                let all = (run.first.0..run.first.0 + run.count).map(|b| (run.file.0, b));
                let lost = all.filter(|b| held.contains(b)).any(|(f, b)| self.swarm.has(BlockRun::new(f, b, 1)));
                assert!(!lost, "the origin is asked for what is held");
                assert!(self.fetches.insert(fetch, run).is_none());
            }
            Output::OriginCancel { fetch } => {
                self.fetches.remove(&fetch);
            }
            Output::Serve { peer, request, run, .. } => {
                assert_eq!(self.asked.remove(&request), Some(peer), "served what was not asked");
                assert!(self.layout.is_request(run));
                self.serving.push((peer, request));
            }
            Output::Refuse { peer, request, .. } => {
                assert_eq!(self.asked.remove(&request), Some(peer), "refused what was not asked");
            }
            Output::Ban { peer, .. } => {
                assert!(self.choking.contains_key(&peer), "banned a peer that is not there");
                self.gone(peer);
            }
            Output::SendClaims { to, claims } => {
                assert!(self.choking.contains_key(&to) && !claims.is_empty());
            }
            Output::Choke { peer } | Output::Unchoke { peer } => assert!(self.choking.contains_key(&peer)),
            Output::SendHave { .. } | Output::Complete => {}
            #[allow(unreachable_patterns, reason = "later outputs need no judgement here to be drained")]
            _ => {}
        }
    }

    fn step(&mut self, step: Step) {
        let input = match step {
            Step::Connect(name) => {
                let peer = self.peer(name);
                self.choking.entry(peer).or_insert(true);
                Input::PeerConnected {
                    peer,
                    id: PeerId([name % 6 + 1; 32]),
                }
            }
            Step::Disconnect(name) => {
                let peer = self.peer(name);
                self.gone(peer);
                *self.names.entry(name % 6).or_default() += 1;
                Input::PeerDisconnected { peer }
            }
            Step::Have(name, runs) => Input::PeerHave {
                peer: self.peer(name),
                runs: runs.iter().map(|run| self.run(run)).collect(),
            },
            Step::Choke(name, choke) => {
                let peer = self.peer(name);
                if let Some(choking) = self.choking.get_mut(&peer) {
                    *choking = choke;
                }
                if choke { Input::PeerChoked { peer } } else { Input::PeerUnchoked { peer } }
            }
            Step::Deliver(n, count) => {
                let Some(id) = nth(&self.requests, n) else { return };
                let (peer, run) = self.requests[&id];
                Input::Verified {
                    run: BlockRun { count: run.count.min(u32::from(count) + 1), ..run },
                    source: Source::Peer(peer),
                }
            }
            Step::Finish(n, how) => {
                let Some(request) = nth(&self.requests, n) else { return };
                self.requests.remove(&request);
                let reason = match how % 5 {
                    0 => RequestFailure::Refused,
                    1 => RequestFailure::Timeout,
                    2 => RequestFailure::BadData,
                    3 => RequestFailure::Gone,
                    _ => return self.give(Input::RequestDone { request }),
                };
                Input::RequestFailed { request, reason }
            }
            Step::OriginBytes(n, bytes) => {
                let Some(fetch) = nth(&self.fetches, n) else { return };
                Input::OriginBytes { fetch, bytes: bytes.into() }
            }
            Step::OriginWaits(n, waits) => {
                let Some(fetch) = nth(&self.fetches, n) else { return };
                Input::OriginWaits { fetch, waits }
            }
            Step::OriginDeliver(n, count) => {
                let Some(id) = nth(&self.fetches, n) else { return };
                let run = self.fetches[&id];
                Input::Verified {
                    run: BlockRun { count: run.count.min(u32::from(count) + 1), ..run },
                    source: Source::Origin,
                }
            }
            Step::OriginFinish(n, how, after) => {
                let Some(fetch) = nth(&self.fetches, n) else { return };
                self.fetches.remove(&fetch);
                match how {
                    0..4 => Input::OriginFailed { fetch, reason: OriginFailure::Permanent },
                    4..100 => Input::OriginFailed {
                        fetch,
                        reason: OriginFailure::Temporary {
                            after: after.map(|ms| Duration::from_millis(ms.into())),
                        },
                    },
                    _ => Input::OriginDone { fetch },
                }
            }
            Step::Unasked(run) => {
                let run = self.run(&Run { wild: None, ..run });
                if !self.layout.contains(run) {
                    return;
                }
                Input::Verified { run, source: Source::Disk }
            }
            Step::Lose(run) => Input::Lost { run: self.run(&run) },
            Step::Ask(name, run, urgency) => {
                let peer = self.peer(name);
                self.next += 1;
                let request = UploadId(self.next);
                if self.choking.contains_key(&peer) {
                    self.asked.insert(request, peer);
                }
                let urgency = [Urgency::Urgent, Urgency::Near, Urgency::Far][urgency as usize % 3];
                Input::PeerRequest { peer, request, run: self.run(&run), urgency }
            }
            Step::Sent(n) => {
                if self.serving.is_empty() {
                    return;
                }
                let (peer, request) = self.serving.swap_remove(n as usize % self.serving.len());
                Input::SendDone { peer, request, bytes: 16_384 }
            }
            Step::Withdraw(name, n) => {
                let (peer, request) = match nth(&self.asked, n) {
                    Some(request) => (self.asked[&request], request),
                    None => (self.peer(name), UploadId(n.into())),
                };
                self.asked.remove(&request);
                self.serving.retain(|&(_, id)| id != request);
                Input::PeerCancelled { peer, request }
            }
            Step::Claims(name, claims) => Input::PeerClaims {
                peer: self.peer(name),
                claims: claims
                    .into_iter()
                    .map(|(piece, claimer, forwarded, retracted, wild)| Claim {
                        piece: PieceIndex(wild.unwrap_or(piece.into())),
                        claimer: u64::from_be_bytes([claimer % 8 + 1; 8]),
                        forwarded,
                        retracted,
                    })
                    .collect(),
            },
            Step::Rtt(name, ms) => Input::PeerRtt {
                peer: self.peer(name),
                rtt: Duration::from_millis(ms.into()),
            },
            Step::Size(size) => Input::SwarmSize(size),
            Step::Discovery(pending) => Input::Discovery { pending },
            Step::OriginAgain => Input::OriginAgain,
            Step::Open(name, file, position, demand, playing) => Input::ReaderOpened {
                reader: ReaderId((name % 3).into()),
                file: FileIndex((file % 5).into()),
                position: position.into(),
                demand: match demand {
                    0..32 => Demand::Whenever,
                    32..64 => Demand::Part { end: u64::from(position) + (u64::from(demand) << 14), bitrate: 16_000, playing },
                    rate => Demand::Stream { bitrate: u64::from(rate) * 1000, playing },
                },
            },
            Step::Move(name, position, bitrate, playing) => Input::ReaderMoved {
                reader: ReaderId((name % 3).into()),
                position,
                demand: Demand::Stream { bitrate: u64::from(bitrate).max(1), playing },
            },
            Step::Close(name) => Input::ReaderClosed { reader: ReaderId((name % 3).into()) },
            Step::Wait(ms) => {
                self.now += Duration::from_millis(ms.into());
                Input::Timeout
            }
            Step::Configure(origin, peers, whole, fast) => {
                self.config.use_origin = origin;
                self.config.use_peers = peers;
                self.config.whole_file = whole;
                self.config.policy = if fast { OriginPolicy::Fast } else { OriginPolicy::Thrifty };
                Input::Configure(self.config.clone())
            }
        };
        self.give(input);
    }
}

type BlockKey = (u32, u32);

fuzz_target!(|case: Case| {
    let lengths: Vec<u64> = case.files.iter().map(|&l| u64::from(l) * 16).collect();
    let Ok(layout) = Layout::new(&lengths, 16_384 << (case.piece % 4)) else { return };
    let layout = Arc::new(layout);
    let now = Instant::now();
    let config = Config::default();
    let mut world = World {
        swarm: Swarm::new(layout.clone(), config.clone(), case.seed.into(), now),
        layout,
        now,
        choking: BTreeMap::new(),
        requests: BTreeMap::new(),
        fetches: BTreeMap::new(),
        asked: BTreeMap::new(),
        serving: Vec::new(),
        names: BTreeMap::new(),
        next: 0,
        config,
    };
    for step in case.steps.into_iter().take(400) {
        world.step(step);
    }
});
