//! A tracker's count that nothing bears out.

use super::*;

/// Neighbours who hold nothing and say nothing, and a tracker that says this.
fn among_two(config: Config, count: u32, now: Instant) -> Swarm {
    let mut swarm = core(10, config, now);
    for peer in 1..=2 {
        connect(&mut swarm, peer, vec![], now);
    }
    give(&mut swarm, Input::Discovery { pending: false }, now);
    give(&mut swarm, Input::SwarmSize(count), now);
    swarm
}

/// What is drawn of an origin that answers at once, and the longest time in which nothing was.
fn drawn(swarm: &mut Swarm, start: Instant, seconds: u64) -> (u32, Duration) {
    let (mut all, mut last, mut longest) = (0, Duration::ZERO, Duration::ZERO);
    for ms in (0..seconds * 1_000).step_by(50) {
        let after = Duration::from_millis(ms);
        let mut outputs = give(swarm, Input::Timeout, start + after);
        while let Some(output) = outputs.pop() {
            if let Output::OriginFetch { fetch, run, .. } = output {
                longest = longest.max(after.saturating_sub(last));
                (all, last) = (all + run.count, after);
                let source = Source::Origin;
                outputs.extend(give(swarm, Input::Verified { run, source }, start + after));
                outputs.extend(give(swarm, Input::OriginDone { fetch }, start + after));
            }
        }
    }
    (all, longest)
}

#[test]
fn a_crowd_that_is_gone_keeps_nobody_from_the_origin() {
    for count in [10_000, u32::MAX] {
        let start = Instant::now();
        let mut swarm = among_two(Config::default(), count, start);
        let (all, longest) = drawn(&mut swarm, start, 60);
        assert_eq!(all, 10 * 4, "of {count}");
        // The neighbours take nothing on, so that we wait for their turns too.
        assert!(longest < Duration::from_secs(20), "of {count}: {longest:?}");
    }
}

#[test]
fn a_count_is_believed_while_there_are_signs_of_life_and_anew_when_it_is_told_again() {
    let start = Instant::now();
    let mut swarm = among_two(Config::default(), 10_000, start);
    let claim = Claim {
        piece: PieceIndex(9),
        claimer: 7,
        forwarded: true,
        retracted: false,
    };
    for second in 1..=7 {
        let now = start + Duration::from_secs(second);
        let (peer, claims) = (Peer(1), vec![claim]);
        give(&mut swarm, Input::PeerClaims { peer, claims }, now);
        give(&mut swarm, Input::Timeout, now);
        assert_eq!(swarm.viewers(), 10_000, "somebody draws, after {second} s");
    }
    // Claims of which nothing comes are no sign of life for ever.
    for ms in (7_000..20_000).step_by(100) {
        let now = start + Duration::from_millis(ms);
        let (peer, claims) = (Peer(1), vec![claim]);
        give(&mut swarm, Input::PeerClaims { peer, claims }, now);
        give(&mut swarm, Input::Timeout, now);
    }
    assert_eq!(swarm.viewers(), 3, "those who are seen");
    let now = start + Duration::from_secs(20);
    give(&mut swarm, Input::SwarmSize(500), now);
    give(&mut swarm, Input::Timeout, now);
    assert_eq!(swarm.viewers(), 500);
}

#[test]
fn who_lacks_nothing_has_no_reason_to_doubt() {
    let start = Instant::now();
    let config = Config {
        whole_file: false,
        ..Config::default()
    };
    let mut swarm = among_two(config, 10_000, start);
    assert_eq!(drawn(&mut swarm, start, 30), (0, Duration::ZERO));
    assert_eq!(swarm.viewers(), 10_000);
}
