//! What a player's start asks of whom, by hand.

use super::*;

fn asked(outputs: &[Output]) -> impl Iterator<Item = u64> {
    outputs.iter().filter_map(|output| match output {
        Output::Request { peer, .. } => Some(peer.0),
        _ => None,
    })
}

#[test]
fn peers_that_are_being_met_are_asked_and_not_the_origin() {
    let start = Instant::now();
    let mut swarm = core(1, Config::default(), start);
    let mut outputs = give(&mut swarm, open(), start);
    for tick in 1..3 {
        outputs.extend(give(&mut swarm, Input::Timeout, start + TICK * tick));
    }
    let now = start + Duration::from_millis(200);
    outputs.extend(connect(&mut swarm, 1, vec![BlockRun::new(0, 0, 4)], now));
    outputs.extend(give(&mut swarm, Input::Discovery { pending: false }, now));
    assert_eq!(fetched(&outputs), 0, "{outputs:?}");
    assert_eq!(asked(&outputs).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_start_that_meets_nobody_asks_the_origin_soon() {
    let start = Instant::now();
    let mut swarm = core(1, Config::default(), start);
    assert_eq!(fetched(&give(&mut swarm, open(), start)), 0);
    let told = give(&mut swarm, Input::Discovery { pending: false }, start);
    assert_eq!(fetched(&told), 4, "nobody is there to be met: {told:?}");

    let mut swarm = core(1, Config::default(), start);
    give(&mut swarm, open(), start);
    let waited = give(&mut swarm, Input::Timeout, start + Duration::from_millis(310));
    assert_eq!(fetched(&waited), 4, "{waited:?}");
}

/// Blocks that a start asks the origin for within so many tenths of a second, when so many peers that are asked first
/// bring nothing, and hold all of it.
fn left_to_the_origin(peers: u64, ticks: u32) -> u32 {
    let start = Instant::now();
    let mut swarm = core(10, Config::default(), start);
    let whole = BlockRun::new(0, 0, 40);
    let reader = Input::ReaderOpened {
        reader: ReaderId(1),
        file: FileIndex(0),
        position: 0,
        demand: Demand::Stream {
            bitrate: 250_000,
            playing: false,
        },
    };
    let mut outputs = Vec::new();
    for peer in 1..=peers {
        outputs.extend(connect(&mut swarm, peer, vec![whole], start));
    }
    outputs.extend(give(&mut swarm, Input::Discovery { pending: false }, start));
    outputs.extend(give(&mut swarm, reader, start + TICK));
    for tick in 2..=ticks {
        outputs.extend(give(&mut swarm, Input::Timeout, start + TICK * tick));
    }
    fetched(&outputs)
}

#[test]
fn what_few_hold_is_asked_of_the_origin_too_when_they_are_slow() {
    // 2.5 s of media are nearly ten pieces. One peer is believed to bring one of them in time, the origin another one.
    assert!(left_to_the_origin(1, 7) >= 4);
    assert_eq!(left_to_the_origin(10, 7), 0, "each of them brings one");
}

#[test]
fn what_peers_do_not_begin_to_bring_is_taken_back_for_the_origin() {
    // However many hold it.
    for peers in [10, 20] {
        assert_eq!(left_to_the_origin(peers, 10), 0);
        assert!(left_to_the_origin(peers, 13) >= 4);
    }
}

/// Blocks that a start asks the origin for within 1.5 s, when its one neighbour does not let it ask, holds the only
/// piece or does not, and says that the piece is on its way.
fn drawn_beside_a_claim(holds: bool) -> u32 {
    let start = Instant::now();
    let mut swarm = core(1, Config::default(), start);
    let (peer, id) = (Peer(1), PeerId([1; 32]));
    give(&mut swarm, Input::PeerConnected { peer, id }, start);
    let runs = if holds {
        vec![BlockRun::new(0, 0, 4)]
    } else {
        vec![]
    };
    give(&mut swarm, Input::PeerHave { peer, runs }, start);
    let claims = vec![Claim {
        piece: PieceIndex(0),
        claimer: 0x0101_0101_0101_0101,
        forwarded: false,
        retracted: false,
    }];
    give(&mut swarm, Input::PeerClaims { peer, claims }, start);
    give(&mut swarm, Input::Discovery { pending: false }, start);
    let mut outputs = give(&mut swarm, open(), start);
    for tick in 1..=15 {
        outputs.extend(give(&mut swarm, Input::Timeout, start + TICK * tick));
    }
    fetched(&outputs)
}

#[test]
fn a_claim_of_who_holds_it_already_does_not_keep_a_start_waiting() {
    assert_eq!(drawn_beside_a_claim(false), 0, "it is being drawn");
    assert_eq!(drawn_beside_a_claim(true), 4);
}

/// How many ticks after its start a player asks the origin for what so many neighbours hold, none of whom lets it ask.
fn patience_with(neighbours: u64) -> u32 {
    let start = Instant::now();
    let mut swarm = core(1, Config::default(), start);
    for peer in (1..=neighbours).map(Peer) {
        let id = PeerId([peer.0 as u8; 32]);
        give(&mut swarm, Input::PeerConnected { peer, id }, start);
        let runs = vec![BlockRun::new(0, 0, 4)];
        give(&mut swarm, Input::PeerHave { peer, runs }, start);
    }
    give(&mut swarm, Input::Discovery { pending: false }, start);
    let mut outputs = give(&mut swarm, open(), start);
    let mut ticks = 0;
    while fetched(&outputs) == 0 {
        ticks += 1;
        assert!(ticks < 50, "the origin is never asked");
        outputs = give(&mut swarm, Input::Timeout, start + TICK * ticks);
    }
    ticks
}

#[test]
fn a_start_waits_longer_for_those_who_choke_it_the_more_they_are() {
    assert!((3..=5).contains(&patience_with(10)), "{}", patience_with(10));
    assert!((10..=12).contains(&patience_with(11)), "{}", patience_with(11));
}

/// Blocks that a player asks the origin for urgently when it comes after four seconds, in which it sent so many bytes by that time,
/// if any, and nothing more after it.
fn drawn_early(sent: Option<(u64, Duration)>) -> u32 {
    let start = Instant::now();
    let config = Config {
        whole_file: false,
        ..Config::default()
    };
    let mut swarm = core(20, config, start);
    let (run, source) = (BlockRun::new(0, 79, 1), Source::Disk);
    give(&mut swarm, Input::Verified { run, source }, start);
    connect(&mut swarm, 1, vec![], start);
    give(&mut swarm, Input::Discovery { pending: false }, start);
    let now = start + Duration::from_secs(4);
    if let Some((bytes, at)) = sent {
        let (peer, urgency) = (Peer(1), Urgency::Far);
        for request in [1, 2].map(UploadId) {
            let ask = Input::PeerRequest {
                peer,
                request,
                run,
                urgency,
            };
            give(&mut swarm, ask, start);
        }
        for (request, bytes, at) in [(UploadId(1), bytes, at), (UploadId(2), 0, Duration::from_secs(4))] {
            let done = Input::SendDone { peer, request, bytes };
            give(&mut swarm, done, start + at);
        }
    }
    // A piece is 3.6 seconds of media.
    let reader = Input::ReaderOpened {
        reader: ReaderId(1),
        file: FileIndex(0),
        position: 0,
        demand: Demand::Stream {
            bitrate: 18_000,
            playing: true,
        },
    };
    let urgent = |output: &Output| match *output {
        Output::OriginFetch {
            run,
            urgency: Urgency::Urgent,
            ..
        } => run.count,
        _ => 0,
    };
    give(&mut swarm, reader, now).iter().map(urgent).sum()
}

#[test]
fn whoever_can_hand_it_on_draws_early_what_nobody_has() {
    let (slow, unknown, fast) = (
        drawn_early(Some((u64::from(BLOCK_SIZE), Duration::ZERO))),
        drawn_early(None),
        drawn_early(Some((100_000, Duration::from_secs(4)))),
    );
    assert_eq!((slow, unknown, fast), (8, 12, 16));
}
