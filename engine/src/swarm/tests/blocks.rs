//! What becomes of blocks that peers hold, send, fail to send, or that are lost.

use super::*;

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
fn what_comes_of_two_files_is_told_as_two_runs() {
    let start = Instant::now();
    let layout = Layout::new(&[65_536, 65_536], 65_536).expect("a valid layout");
    let mut swarm = Swarm::new(Arc::new(layout), peers_only(), 1, start);
    connect(&mut swarm, 1, Vec::new(), start);
    for file in [0, 1] {
        let run = BlockRun::new(file, 0, 4);
        let source = Source::Peer(Peer(1));
        give(&mut swarm, Input::Verified { run, source }, start);
    }
    let told = give(&mut swarm, Input::Timeout, start + Duration::from_millis(100));
    let runs = told.iter().find_map(|output| match output {
        Output::SendHave { runs, .. } => Some(runs.clone()),
        _ => None,
    });
    assert_eq!(runs, Some(vec![BlockRun::new(0, 0, 4), BlockRun::new(1, 0, 4)]));
}
