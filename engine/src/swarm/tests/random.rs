//! Random inputs, with a driver that keeps its promises: the books are right whatever happens.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Blocks of both files, and of the first.
const BLOCKS: u32 = 50;
const FIRST: u32 = 32;

#[derive(Debug, Clone, Copy)]
enum Step {
    Connect(u64),
    Disconnect(u64),
    Have(u64, u32, u32),
    Choke(u64, bool),
    Deliver(usize, u32),
    Fail(usize, u8),
    Origin(usize, u32),
    OriginEnd(usize, u8),
    Lose(u32, u32),
    Ask(u64, u32, u32),
    Sent(usize),
    Claim(u64, u32, bool),
    Read(u64, bool),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let peer = 0u64..5;
    prop_oneof![
        3 => peer.clone().prop_map(Step::Connect),
        1 => peer.clone().prop_map(Step::Disconnect),
        4 => (peer.clone(), 0..BLOCKS, 1..BLOCKS).prop_map(|(p, a, b)| Step::Have(p, a, b)),
        3 => (peer.clone(), prop::bool::weighted(0.2)).prop_map(|(p, c)| Step::Choke(p, c)),
        8 => (any::<usize>(), 1u32..5).prop_map(|(r, n)| Step::Deliver(r, n)),
        2 => (any::<usize>(), 0u8..6).prop_map(|(r, n)| Step::Fail(r, n)),
        6 => (any::<usize>(), 1u32..9).prop_map(|(r, n)| Step::Origin(r, n)),
        2 => (any::<usize>(), 0u8..3).prop_map(|(r, n)| Step::OriginEnd(r, n)),
        1 => (0..BLOCKS, 1u32..3).prop_map(|(a, b)| Step::Lose(a, b)),
        3 => (peer.clone(), 0..BLOCKS, 1u32..5).prop_map(|(p, a, b)| Step::Ask(p, a, b)),
        3 => any::<usize>().prop_map(Step::Sent),
        1 => (peer, 0u32..20, any::<bool>()).prop_map(|(p, a, b)| Step::Claim(p, a, b)),
        1 => (0u64..900_000, any::<bool>()).prop_map(|(a, b)| Step::Read(a, b)),
        8 => (1u64..3_000).prop_map(Step::Wait),
    ]
}

/// The world as the outputs describe it.
#[derive(Default)]
struct World {
    /// Requests and the blocks that they may still bring.
    requests: BTreeMap<RequestId, (Peer, BlockRun)>,
    fetches: BTreeMap<FetchId, BlockRun>,
    /// Connected peers, and whether each chokes us.
    choking: BTreeMap<Peer, bool>,
    asked: BTreeMap<UploadId, Peer>,
    serving: Vec<(Peer, UploadId)>,
    next_upload: u64,
}

impl World {
    fn check(&mut self, swarm: &mut Swarm) {
        while let Some(output) = swarm.poll_output() {
            match output {
                Output::Request {
                    peer, request, run, ..
                } => {
                    assert_eq!(
                        self.choking.get(&peer),
                        Some(&false),
                        "asked a peer that chokes or is gone"
                    );
                    assert!(swarm.layout.is_request(run));
                    self.requests.insert(request, (peer, run));
                }
                Output::Cancel { request, .. } => {
                    self.requests.remove(&request);
                }
                Output::OriginFetch { fetch, run, .. } => {
                    assert!(swarm.layout.contains(run));
                    self.fetches.insert(fetch, run);
                }
                Output::OriginCancel { fetch } => {
                    self.fetches.remove(&fetch);
                }
                Output::Serve {
                    peer, request, run, ..
                } => {
                    assert_eq!(
                        self.asked.remove(&request),
                        Some(peer),
                        "served what was not asked"
                    );
                    assert!(swarm.has(run) || run.count > 0);
                    self.serving.push((peer, request));
                }
                Output::Refuse { peer, request, .. } => {
                    assert_eq!(
                        self.asked.remove(&request),
                        Some(peer),
                        "refused what was not asked"
                    );
                }
                Output::Ban { peer, .. } => self.gone(peer),
                Output::SendClaims { to, claims } => {
                    assert!(self.choking.contains_key(&to) && !claims.is_empty());
                }
                Output::SendHave { runs, .. } => {
                    assert!(runs.iter().all(|&run| swarm.layout.contains(run)), "{runs:?}");
                }
                Output::Choke { .. } | Output::Unchoke { .. } | Output::Complete => {}
            }
        }
    }

    fn gone(&mut self, peer: Peer) {
        self.choking.remove(&peer);
        self.requests.retain(|_, (p, _)| *p != peer);
        self.asked.retain(|_, p| *p != peer);
        self.serving.retain(|&(p, _)| p != peer);
    }
}

fn apply(step: Step, swarm: &mut Swarm, world: &mut World, now: &mut Instant) {
    let pick = |n: usize, len: usize| if len == 0 { None } else { Some(n % len) };
    let layout = swarm.layout.clone();
    let clip = |first: u32, count: u32| {
        let mut run = layout.run(first..first + 1);
        run.count = count.min(layout.file_blocks(run.file) - run.first.0);
        run
    };
    let input = match step {
        Step::Connect(p) => {
            world.choking.entry(Peer(p)).or_insert(true);
            Input::PeerConnected {
                peer: Peer(p),
                id: PeerId([p as u8 + 1; 32]),
            }
        }
        Step::Disconnect(p) => {
            world.gone(Peer(p));
            Input::PeerDisconnected { peer: Peer(p) }
        }
        Step::Have(p, first, count) => Input::PeerHave {
            peer: Peer(p),
            runs: vec![clip(first, count)],
        },
        Step::Choke(p, choke) => {
            if let Some(choking) = world.choking.get_mut(&Peer(p)) {
                *choking = choke;
            }
            if choke {
                Input::PeerChoked { peer: Peer(p) }
            } else {
                Input::PeerUnchoked { peer: Peer(p) }
            }
        }
        Step::Deliver(n, count) => {
            let Some(n) = pick(n, world.requests.len()) else {
                return;
            };
            let Some((_, &(peer, run))) = world.requests.iter().nth(n) else {
                return;
            };
            let run = BlockRun {
                count: run.count.min(count),
                ..run
            };
            Input::Verified {
                run,
                source: Source::Peer(peer),
            }
        }
        Step::Fail(n, how) => {
            let Some(n) = pick(n, world.requests.len()) else {
                return;
            };
            let Some(request) = world.requests.keys().copied().nth(n) else {
                return;
            };
            world.requests.remove(&request);
            let reason = [
                RequestFailure::Refused,
                RequestFailure::Timeout,
                RequestFailure::BadData,
                RequestFailure::Gone,
                RequestFailure::Busy,
            ];
            match reason.get(how as usize) {
                Some(&reason) => Input::RequestFailed { request, reason },
                None => Input::RequestDone { request },
            }
        }
        Step::Origin(n, count) => {
            let Some(n) = pick(n, world.fetches.len()) else {
                return;
            };
            let Some((&fetch, &run)) = world.fetches.iter().nth(n) else {
                return;
            };
            swarm.handle(
                Input::OriginBytes {
                    fetch,
                    bytes: u64::from(count) * 16_384,
                },
                *now,
            );
            world.check(swarm);
            Input::Verified {
                run: BlockRun {
                    count: run.count.min(count),
                    ..run
                },
                source: Source::Origin,
            }
        }
        Step::OriginEnd(n, how) => {
            let Some(n) = pick(n, world.fetches.len()) else {
                return;
            };
            let Some(fetch) = world.fetches.keys().copied().nth(n) else {
                return;
            };
            world.fetches.remove(&fetch);
            let reason = match how {
                0 => OriginFailure::Temporary { after: None },
                1 => OriginFailure::Temporary {
                    after: Some(Duration::from_secs(2)),
                },
                _ => {
                    swarm.handle(Input::OriginDone { fetch }, *now);
                    return;
                }
            };
            Input::OriginFailed { fetch, reason }
        }
        Step::Lose(first, count) => Input::Lost {
            run: clip(first, count),
        },
        Step::Ask(p, first, count) => {
            if !world.choking.contains_key(&Peer(p)) {
                return;
            }
            world.next_upload += 1;
            let request = UploadId(world.next_upload);
            world.asked.insert(request, Peer(p));
            let run = clip(first, count);
            Input::PeerRequest {
                peer: Peer(p),
                request,
                run,
                urgency: Urgency::Far,
            }
        }
        Step::Sent(n) => {
            let Some(n) = pick(n, world.serving.len()) else {
                return;
            };
            let (peer, request) = world.serving.swap_remove(n);
            Input::SendDone {
                peer,
                request,
                bytes: 16_384,
            }
        }
        Step::Claim(p, piece, retracted) => {
            let claim = Claim {
                piece: PieceIndex(piece),
                claimer: p,
                forwarded: false,
                retracted,
            };
            Input::PeerClaims {
                peer: Peer(p),
                claims: vec![claim],
            }
        }
        Step::Read(position, playing) => {
            let demand = Demand::Stream {
                bitrate: 20_000,
                playing,
            };
            Input::ReaderOpened {
                reader: ReaderId(1),
                file: FileIndex(0),
                position,
                demand,
            }
        }
        Step::Wait(ms) => {
            *now += Duration::from_millis(ms);
            Input::Timeout
        }
    };
    swarm.handle(input, *now);
}

proptest! {
    #[test]
    fn the_books_are_right_whatever_happens(
        steps in prop::collection::vec(step(), 1..120),
        seed in any::<u64>(),
        fast in any::<bool>(),
    ) {
        let mut now = Instant::now();
        // The first file ends with its last piece; the last piece has two blocks, the last block is short.
        let second = u64::from(BLOCKS - FIRST) * 16_384 - 1_000;
        let layout = Layout::new(&[u64::from(FIRST) * 16_384, second], 65_536).unwrap();
        let policy = if fast { OriginPolicy::Fast } else { OriginPolicy::Thrifty };
        let config = Config { policy, ..Config::default() };
        let mut swarm = Swarm::new(Arc::new(layout), config, seed, now);
        let mut world = World::default();
        for step in steps {
            let held = swarm.have.clone();
            let running = world.fetches.clone();
            apply(step, &mut swarm, &mut world, &mut now);
            world.check(&mut swarm);
            for (fetch, run) in &world.fetches {
                if !running.contains_key(fetch) {
                    let lost = swarm.layout.span(*run).any(|b| held.get(b) && swarm.have.get(b));
                    prop_assert!(!lost, "the origin is asked for what is held");
                }
            }
            swarm.audit();
        }
    }
}
