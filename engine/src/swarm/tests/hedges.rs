//! What a reader needs and what comes late: asked of a second peer, taken from an origin that is slow.

use super::*;

fn whole() -> Vec<BlockRun> {
    vec![BlockRun::new(0, 0, 4)]
}

#[test]
fn what_a_player_needs_soon_is_asked_of_a_second_peer_once() {
    let start = Instant::now();
    let config = Config {
        use_origin: false,
        ..Config::default()
    };
    let mut swarm = core(1, config, start);
    for peer in 1..=3 {
        connect(&mut swarm, peer, vec![], start);
    }
    let playing = Input::ReaderOpened {
        reader: ReaderId(1),
        file: FileIndex(0),
        position: 0,
        demand: Demand::Stream {
            bitrate: 16_000,
            playing: true,
        },
    };
    give(&mut swarm, playing, start);
    let mut requests = Vec::new();
    for peer in 1..=3 {
        let (peer, runs) = (Peer(peer), whole());
        requests.extend(asked(&give(&mut swarm, Input::PeerHave { peer, runs }, start)));
    }
    assert_eq!(requests.len(), 1, "{requests:?}");
    let mut at = Vec::new();
    for tenth in 1..=30 {
        let now = start + Duration::from_millis(100 * tenth);
        let more = asked(&give(&mut swarm, Input::Timeout, now));
        at.extend(more.iter().map(|_| tenth));
        requests.extend(more);
    }
    let [(first, late), (second, _)] = requests[..] else {
        panic!("{requests:?}")
    };
    assert_ne!(first, second);
    assert!((5..=7).contains(&at[0]), "after half a second: {at:?}");
    let (run, source) = (BlockRun::new(0, 0, 4), Source::Peer(Peer(second)));
    let now = start + Duration::from_secs(3);
    let out = give(&mut swarm, Input::Verified { run, source }, now);
    assert!(out.contains(&Output::Cancel {
        peer: Peer(first),
        request: late
    }));
}

#[test]
fn a_start_takes_from_a_silent_origin_what_a_peer_can_bring() {
    for met in [false, true] {
        let start = Instant::now();
        let mut swarm = core(1, Config::default(), start);
        give(&mut swarm, open(), start);
        let out = give(&mut swarm, Input::Discovery { pending: false }, start);
        assert_eq!(fetched(&out), 4, "nobody else is there");
        if met {
            let now = start + Duration::from_millis(200);
            let out = connect(&mut swarm, 1, whole(), now);
            assert_eq!(asked(&out), [], "it is on its way");
        }
        let mut out = Vec::new();
        for tenth in 3..=15 {
            let now = start + Duration::from_millis(100 * tenth);
            out.extend(give(&mut swarm, Input::Timeout, now));
        }
        let cancelled = out.iter().any(|o| matches!(o, Output::OriginCancel { .. }));
        let told = out
            .iter()
            .any(|o| matches!(o, Output::SendClaims { claims, .. } if claims.iter().all(|c| c.retracted)));
        assert_eq!((cancelled, told), (met, met));
        assert_eq!(asked(&out).len(), usize::from(met), "{out:?}");
    }
}

#[test]
fn a_start_blames_its_own_line_for_no_longer_than_a_start_takes() {
    let start = Instant::now();
    let config = Config {
        use_origin: false,
        ..Config::default()
    };
    let mut swarm = core(10, config, start);
    let reader = Input::ReaderOpened {
        reader: ReaderId(1),
        file: FileIndex(0),
        position: 0,
        demand: Demand::Stream {
            bitrate: 250_000,
            playing: false,
        },
    };
    give(&mut swarm, reader, start);
    let all = vec![BlockRun::new(0, 0, 40)];
    let first = asked(&connect(&mut swarm, 1, all.clone(), start));
    assert!(first.len() > 8, "{first:?}");
    // The little that came at first makes the line look slow: what was asked for would take four seconds.
    for (tick, block) in [(2, 0), (4, 1), (6, 2), (8, 3)] {
        let (run, source) = (BlockRun::new(0, block, 1), Source::Peer(Peer(1)));
        give(
            &mut swarm,
            Input::Verified { run, source },
            start + TICK / 2 * tick,
        );
    }
    connect(&mut swarm, 2, all, start + TICK * 4);
    let mut last = Vec::new();
    for tick in 5..=20 {
        for output in give(&mut swarm, Input::Timeout, start + TICK * tick) {
            if let Output::Request { peer, run, .. } = output
                && run.first.0 + run.count == 40
            {
                last.push((tick, peer));
            }
        }
    }
    assert!(
        matches!(last[..], [(15..=17, Peer(2))]),
        "the last run of the start: {last:?}"
    );
}
