//! The core driven by hand, and by random inputs against its invariants.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;

mod crowd;
mod delivery;
mod starts;

fn core(pieces: u64, config: Config, now: Instant) -> Swarm {
    let layout = Layout::new(&[pieces * 65_536], 65_536).expect("a valid layout");
    Swarm::new(Arc::new(layout), config, 1, now)
}

fn drain(swarm: &mut Swarm) -> Vec<Output> {
    std::iter::from_fn(|| swarm.poll_output()).collect()
}

fn give(swarm: &mut Swarm, input: Input, now: Instant) -> Vec<Output> {
    swarm.handle(input, now);
    drain(swarm)
}

fn fetched(outputs: &[Output]) -> u32 {
    outputs
        .iter()
        .map(|o| {
            if let Output::OriginFetch { run, .. } = o {
                run.count
            } else {
                0
            }
        })
        .sum()
}

fn connect(swarm: &mut Swarm, peer: u64, runs: Vec<BlockRun>, now: Instant) -> Vec<Output> {
    let peer = Peer(peer);
    let mut out = give(
        swarm,
        Input::PeerConnected {
            peer,
            id: PeerId([peer.0 as u8; 32]),
        },
        now,
    );
    out.extend(give(swarm, Input::PeerHave { peer, runs }, now));
    out.extend(give(swarm, Input::PeerUnchoked { peer }, now));
    out
}

#[test]
fn alone_the_origin_is_asked_at_once_and_in_order() {
    let now = Instant::now();
    let mut swarm = core(100, Config::default(), now);
    assert_eq!(
        fetched(&give(&mut swarm, Input::Timeout, now)),
        0,
        "peers are looked for first"
    );
    let out = give(&mut swarm, Input::Discovery { pending: false }, now);
    let Some(Output::OriginFetch { run, .. }) = out.first() else {
        panic!("{out:?}")
    };
    assert_eq!(run.first, BlockIndex(0));
    assert_eq!(fetched(&out) * BLOCK_SIZE, 256 << 10);
}

#[test]
fn an_origin_that_trickles_is_given_up() {
    let mut now = Instant::now();
    let mut swarm = core(100, Config::default(), now);
    let out = give(&mut swarm, Input::Discovery { pending: false }, now);
    let Some(&Output::OriginFetch { fetch, .. }) = out.first() else {
        panic!("{out:?}")
    };
    let mut out = Vec::new();
    for _ in 0..4 {
        now += Duration::from_secs(5);
        out.extend(give(&mut swarm, Input::OriginBytes { fetch, bytes: 1 }, now));
        out.extend(give(&mut swarm, Input::Timeout, now));
    }
    let given_up = |o: &Output| matches!(o, Output::OriginCancel { fetch: id } if *id == fetch);
    assert!(out.iter().any(given_up), "{out:?}");
}

#[test]
fn without_an_answer_the_grace_ends_by_itself() {
    let start = Instant::now();
    let mut swarm = core(100, Config::default(), start);
    let mut now = start;
    while fetched(&give(&mut swarm, Input::Timeout, now)) == 0 {
        now = swarm.next_timeout().expect("something is missing");
        assert!(now - start < Duration::from_secs(2));
    }
    assert!(now - start >= Config::default().discovery_grace);
}

#[test]
fn what_neighbours_hold_is_asked_of_them_and_not_of_the_origin() {
    let start = Instant::now();
    let mut swarm = core(100, Config::default(), start);
    let all = BlockRun::new(0, 0, 400);
    let out = connect(&mut swarm, 1, vec![all], start);
    assert!(out.iter().any(|o| matches!(o, Output::Request { .. })));
    give(&mut swarm, Input::Discovery { pending: false }, start);
    for tick in 0..30 {
        let out = give(&mut swarm, Input::Timeout, start + TICK * tick);
        assert_eq!(fetched(&out), 0);
    }
}

#[test]
fn a_silent_peer_loses_its_blocks_to_another_or_the_origin() {
    let start = Instant::now();
    let mut swarm = core(4, Config::default(), start);
    connect(&mut swarm, 1, vec![BlockRun::new(0, 0, 16)], start);
    give(&mut swarm, Input::Discovery { pending: false }, start);
    let mut now = start;
    let (mut cancelled, mut drawn) = (false, 0);
    while !cancelled || drawn < 16 {
        let out = give(&mut swarm, Input::Timeout, now);
        cancelled |= out.iter().any(|o| matches!(o, Output::Cancel { .. }));
        drawn += fetched(&out);
        now = swarm.next_timeout().expect("something is missing");
        assert!(
            now - start < Duration::from_secs(30),
            "only {drawn} blocks are asked of the origin"
        );
    }
}

#[test]
fn a_peer_with_bad_data_is_banned_and_its_blocks_go_to_others() {
    let now = Instant::now();
    let mut swarm = core(
        4,
        Config {
            use_origin: false,
            ..Config::default()
        },
        now,
    );
    let first = connect(&mut swarm, 1, vec![BlockRun::new(0, 0, 4)], now);
    let Some(Output::Request { request, run, .. }) =
        first.iter().find(|o| matches!(o, Output::Request { .. }))
    else {
        panic!("{first:?}")
    };
    let second = connect(&mut swarm, 2, vec![BlockRun::new(0, 0, 4)], now);
    assert!(
        !second.iter().any(|o| matches!(o, Output::Request { .. })),
        "all is asked for already"
    );
    let failed = Input::RequestFailed {
        request: *request,
        reason: RequestFailure::BadData,
    };
    let out = give(&mut swarm, failed, now);
    assert!(out.contains(&Output::Ban {
        peer: Peer(1),
        reason: BanReason::BadData
    }));
    assert!(
        out.iter()
            .any(|o| matches!(o, Output::Request { peer: Peer(2), run: r, .. } if r == run))
    );
}

#[test]
fn a_failing_origin_is_left_alone_as_long_as_it_says_and_claims_are_retracted() {
    let start = Instant::now();
    let mut swarm = core(4, Config::default(), start);
    connect(&mut swarm, 1, vec![], start);
    give(&mut swarm, Input::Discovery { pending: false }, start);
    let mut now = start;
    let fetch = loop {
        let out = give(&mut swarm, Input::Timeout, now);
        if let Some(Output::OriginFetch { fetch, .. }) =
            out.iter().find(|o| matches!(o, Output::OriginFetch { .. }))
        {
            assert!(out.iter().any(|o| matches!(o, Output::SendClaims { .. })));
            break *fetch;
        }
        now = swarm.next_timeout().expect("something is missing");
    };
    let failed_at = now;
    let reason = OriginFailure::Temporary {
        after: Some(Duration::from_secs(30)),
    };
    let out = give(&mut swarm, Input::OriginFailed { fetch, reason }, now);
    let retracted = out
        .iter()
        .any(|o| matches!(o, Output::SendClaims { claims, .. } if claims.iter().all(|c| c.retracted)));
    assert!(retracted);
    loop {
        now = swarm.next_timeout().expect("something is missing");
        if fetched(&give(&mut swarm, Input::Timeout, now)) > 0 {
            break;
        }
    }
    assert!((30..34).contains(&(now - failed_at).as_secs()));
}

#[test]
fn claims_that_are_renewed_for_ever_hold_nobody_back_for_ever() {
    let start = Instant::now();
    let mut swarm = core(4, Config::default(), start);
    connect(&mut swarm, 1, Vec::new(), start);
    let mut now = start;
    let mut told = start;
    let claims: Vec<Claim> = (0..4)
        .map(|piece| Claim {
            piece: PieceIndex(piece),
            claimer: 7,
            forwarded: false,
            retracted: false,
        })
        .collect();
    let lie = |claims: &[Claim]| Input::PeerClaims {
        peer: Peer(1),
        claims: claims.to_vec(),
    };
    give(&mut swarm, lie(&claims), now);
    give(&mut swarm, Input::Discovery { pending: false }, now);
    let mut drawn = 0;
    while drawn < 16 {
        if now - told > Duration::from_secs(2) {
            told = now;
            drawn += fetched(&give(&mut swarm, lie(&claims), now));
        }
        drawn += fetched(&give(&mut swarm, Input::Timeout, now));
        assert!(
            drawn == 0 || now - start > Duration::from_secs(9),
            "claims count at first"
        );
        now = swarm.next_timeout().expect("something is missing");
        assert!(
            now - start < Duration::from_secs(19),
            "only {drawn} blocks after so long"
        );
    }
}

#[test]
fn haves_that_repeat_themselves_within_a_message_end_the_peer() {
    let now = Instant::now();
    let mut swarm = core(4, Config::default(), now);
    let all = BlockRun::new(0, 0, 16);
    connect(&mut swarm, 1, vec![all], now);
    let haves = |runs| Input::PeerHave { peer: Peer(1), runs };
    let out = give(&mut swarm, haves(vec![all]), now);
    assert!(
        !out.iter().any(|o| matches!(o, Output::Ban { .. })),
        "told again is no harm"
    );
    let out = give(&mut swarm, haves(vec![all; 1_000]), now);
    assert!(out.contains(&Output::Ban {
        peer: Peer(1),
        reason: BanReason::Protocol
    }));
}

#[test]
fn a_claim_keeps_others_from_drawing_until_it_expires() {
    let start = Instant::now();
    let mut swarm = core(1, Config::default(), start);
    connect(&mut swarm, 1, vec![], start);
    let claim = Claim {
        piece: PieceIndex(0),
        claimer: 7,
        forwarded: false,
        retracted: false,
    };
    give(
        &mut swarm,
        Input::PeerClaims {
            peer: Peer(1),
            claims: vec![claim],
        },
        start,
    );
    give(&mut swarm, Input::Discovery { pending: false }, start);
    let mut now = start;
    while fetched(&give(&mut swarm, Input::Timeout, now)) == 0 {
        now = swarm.next_timeout().expect("something is missing");
        assert!(now - start < Duration::from_secs(20));
    }
    assert!(now - start >= Duration::from_secs(5));
}

#[test]
fn disk_blocks_are_told_to_new_peers_and_served() {
    let now = Instant::now();
    let mut swarm = core(4, Config::default(), now);
    let run = BlockRun::new(0, 0, 16);
    let out = give(
        &mut swarm,
        Input::Verified {
            run,
            source: Source::Disk,
        },
        now,
    );
    assert_eq!(out, [Output::Complete]);
    let out = connect(&mut swarm, 1, vec![], now);
    assert!(out.contains(&Output::SendHave {
        to: Audience::One(Peer(1)),
        runs: vec![run]
    }));
    assert!(out.contains(&Output::Unchoke { peer: Peer(1) }));
    let (peer, request, urgency) = (Peer(1), UploadId(5), Urgency::Far);
    let run = BlockRun::new(0, 4, 4);
    let out = give(
        &mut swarm,
        Input::PeerRequest {
            peer,
            request,
            run,
            urgency,
        },
        now,
    );
    assert_eq!(
        out,
        [Output::Serve {
            peer,
            request,
            run,
            urgency
        }]
    );
    let run = BlockRun::new(0, 2, 4);
    let out = give(
        &mut swarm,
        Input::PeerRequest {
            peer,
            request: UploadId(6),
            run,
            urgency,
        },
        now,
    );
    assert!(matches!(
        out[..],
        [Output::Refuse {
            reason: RefuseReason::Invalid,
            ..
        }]
    ));
}

#[test]
fn lost_blocks_are_fetched_again() {
    let now = Instant::now();
    let mut swarm = core(
        4,
        Config {
            use_peers: false,
            ..Config::default()
        },
        now,
    );
    give(
        &mut swarm,
        Input::Verified {
            run: BlockRun::new(0, 0, 16),
            source: Source::Disk,
        },
        now,
    );
    let out = give(
        &mut swarm,
        Input::Lost {
            run: BlockRun::new(0, 5, 2),
        },
        now,
    );
    assert!(
        matches!(out[..], [Output::OriginFetch { run, .. }] if run == BlockRun::new(0, 5, 2)),
        "{out:?}"
    );
}

mod random {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const BLOCKS: u32 = 50;

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
            2 => (any::<usize>(), 0u8..5).prop_map(|(r, n)| Step::Fail(r, n)),
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
                    Output::SendHave { .. }
                    | Output::Choke { .. }
                    | Output::Unchoke { .. }
                    | Output::Complete => {}
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
        let clip = |first: u32, count: u32| BlockRun::new(0, first, count.min(BLOCKS - first));
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
            // The last piece has two blocks, the last block is short.
            let layout = Layout::new(&[u64::from(BLOCKS) * 16_384 - 1_000], 65_536).unwrap();
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
}

#[test]
fn of_a_file_that_is_not_wanted_nothing_is_asked_of_anybody() {
    let now = Instant::now();
    let layout = Layout::new(&[4 * 65_536, 2 * 65_536 + 5, 65_536], 65_536).expect("a valid layout");
    let layout = layout.wanting(&[FileIndex(1)]);
    assert_eq!((layout.wanted_bytes(), layout.wanted_blocks()), (131_077, 9));
    let mut swarm = Swarm::new(Arc::new(layout), Config::default(), 1, now);
    let everything = vec![
        BlockRun::new(0, 0, 16),
        BlockRun::new(1, 0, 9),
        BlockRun::new(2, 0, 4),
    ];
    let mut out = connect(&mut swarm, 1, everything, now);
    let mut at = now;
    while swarm.requests.values().map(|r| r.left).sum::<u32>() < 9 && at < now + Duration::from_secs(5) {
        at += Duration::from_millis(100);
        out.extend(give(&mut swarm, Input::Timeout, at));
    }
    let asked: Vec<BlockRun> = out
        .iter()
        .filter_map(|o| match o {
            Output::Request { run, .. } | Output::OriginFetch { run, .. } => Some(*run),
            _ => None,
        })
        .collect();
    assert!(
        !asked.is_empty() && asked.iter().all(|run| run.file == FileIndex(1)),
        "{asked:?}"
    );
    let source = Source::Peer(Peer(1));
    // What comes of another file all the same is held, and changes nothing about what is missing.
    let run = BlockRun::new(0, 3, 1);
    assert!(!give(&mut swarm, Input::Verified { run, source }, at).contains(&Output::Complete));
    let run = BlockRun::new(1, 0, 9);
    let out = give(&mut swarm, Input::Verified { run, source }, at);
    assert!(out.contains(&Output::Complete) && swarm.is_complete());
    let out = give(
        &mut swarm,
        Input::Lost {
            run: BlockRun::new(0, 3, 1),
        },
        at,
    );
    assert!(out.is_empty() && swarm.is_complete(), "{out:?}");
    give(&mut swarm, Input::Lost { run }, at);
    assert!(!swarm.is_complete());
}

#[test]
fn a_file_that_the_origin_lacks_keeps_nobody_from_the_others() {
    let now = Instant::now();
    let layout = Layout::new(&[2 * 65_536, 2 * 65_536], 65_536).expect("a valid layout");
    let mut swarm = Swarm::new(Arc::new(layout), Config::default(), 1, now);
    let out = give(&mut swarm, Input::Discovery { pending: false }, now);
    let fetches: Vec<(FetchId, BlockRun)> = out
        .iter()
        .filter_map(|o| match o {
            Output::OriginFetch { fetch, run, .. } => Some((*fetch, *run)),
            _ => None,
        })
        .collect();
    let (lacking, _) = *fetches
        .iter()
        .find(|(_, run)| run.file == FileIndex(0))
        .expect("a fetch of the first file");
    let failed = Input::OriginFailed {
        fetch: lacking,
        reason: OriginFailure::File,
    };
    let mut out = give(&mut swarm, failed, now);
    for tick in 1..100 {
        out.extend(give(
            &mut swarm,
            Input::Timeout,
            now + Duration::from_millis(tick * 100),
        ));
    }
    let again = |o: &Output| matches!(o, Output::OriginFetch { run, .. } if run.file == FileIndex(0));
    assert!(!out.iter().any(again), "{out:?}");
    let second: u32 = fetches
        .iter()
        .map(|(_, run)| *run)
        .chain(out.iter().filter_map(|o| match o {
            Output::OriginFetch { run, .. } => Some(*run),
            _ => None,
        }))
        .filter(|run| run.file == FileIndex(1))
        .map(|run| run.count)
        .sum();
    assert!(second >= 8, "the second file was not drawn: {out:?}");
}
