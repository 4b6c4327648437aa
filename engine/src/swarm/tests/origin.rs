//! When the origin is asked, and what claims say of it.

use super::*;

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
fn a_fetch_that_waits_for_a_place_is_not_given_up() {
    let mut now = Instant::now();
    let mut swarm = core(100, Config::default(), now);
    let out = give(&mut swarm, Input::Discovery { pending: false }, now);
    let Some(&Output::OriginFetch { fetch, .. }) = out.first() else {
        panic!("{out:?}")
    };
    let mut given_up_within = |seconds: u64, waits: bool| {
        let mut out = give(&mut swarm, Input::OriginWaits { fetch, waits }, now);
        for _ in 0..seconds {
            now += Duration::from_secs(1);
            out.extend(give(&mut swarm, Input::Timeout, now));
        }
        out.iter()
            .any(|o| matches!(o, Output::OriginCancel { fetch: id } if *id == fetch))
    };
    assert!(!given_up_within(100, true), "nothing is asked for it");
    assert!(!given_up_within(9, false), "it is asked for now");
    assert!(given_up_within(11, false));
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
fn whoever_waits_has_a_failing_origin_asked_before_its_pause_is_over() {
    let start = Instant::now();
    let config = Config {
        whole_file: false,
        ..Config::default()
    };
    let mut swarm = core(4, config, start);
    give(&mut swarm, Input::Discovery { pending: false }, start);
    let reader = Input::ReaderOpened {
        reader: ReaderId(1),
        file: FileIndex(0),
        position: 0,
        demand: Demand::Part {
            end: 65_536,
            bitrate: 65_536,
            playing: false,
        },
    };
    let mut outputs = give(&mut swarm, reader, start);
    let mut now = start;
    // It fails so often that it is left alone for a while.
    for _ in 0..6 {
        while fetched(&outputs) == 0 {
            now = swarm.next_timeout().expect("something is missing");
            outputs = give(&mut swarm, Input::Timeout, now);
        }
        for output in std::mem::take(&mut outputs) {
            if let Output::OriginFetch { fetch, .. } = output {
                let reason = OriginFailure::Temporary { after: None };
                outputs.extend(give(&mut swarm, Input::OriginFailed { fetch, reason }, now));
            }
        }
        assert_eq!(fetched(&outputs), 0);
    }
    now += Duration::from_millis(100);
    assert_eq!(fetched(&give(&mut swarm, Input::Timeout, now)), 0);
    assert!(fetched(&give(&mut swarm, Input::OriginAgain, now)) > 0);
}

#[test]
fn fetches_that_end_in_one_trouble_are_one_failure() {
    let start = Instant::now();
    let mut swarm = core(100, Config::default(), start);
    let out = give(&mut swarm, Input::Discovery { pending: false }, start);
    let is_fetch = |o: &&Output| matches!(o, Output::OriginFetch { .. });
    assert!(out.iter().filter(is_fetch).count() > 1, "{out:?}");
    // It is silent for so long that all of them are given up.
    let mut now = start;
    while !swarm.spares_origin(now) {
        now = swarm.next_timeout().expect("something is missing");
        give(&mut swarm, Input::Timeout, now);
    }
    let silent_at = now;
    while swarm.spares_origin(now) {
        now = swarm.next_timeout().expect("something is missing");
        give(&mut swarm, Input::Timeout, now);
    }
    assert!(now - silent_at < Duration::from_secs(2), "{:?}", now - silent_at);
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
