//! What keeps a crowd of downloads to one copy from the origin.

use super::*;

/// Runs the core for so long, answers each fetch at once, and gives the blocks drawn. `relay` says whether neighbour 1
/// then tells that it has them too.
fn draws(swarm: &mut Swarm, start: Instant, seconds: u64, relay: bool) -> u32 {
    let mut drawn = 0;
    for ms in (0..seconds * 1_000).step_by(50) {
        let now = start + Duration::from_millis(ms);
        let mut outputs = give(swarm, Input::Discovery { pending: false }, now);
        while let Some(output) = outputs.pop() {
            let Output::OriginFetch { fetch, run, .. } = output else {
                continue;
            };
            drawn += run.count;
            let source = Source::Origin;
            outputs.extend(give(swarm, Input::Verified { run, source }, now));
            outputs.extend(give(swarm, Input::OriginDone { fetch }, now));
            if relay {
                let (peer, runs) = (Peer(1), vec![run]);
                outputs.extend(give(swarm, Input::PeerHave { peer, runs }, now));
            }
        }
    }
    drawn
}

fn among_three(now: Instant) -> Swarm {
    let mut swarm = core(300, Config::default(), now);
    for peer in 1..=2 {
        connect(&mut swarm, peer, vec![], now);
    }
    give(&mut swarm, Input::SwarmSize(3), now);
    swarm
}

#[test]
fn whoever_holds_more_than_it_can_hand_on_leaves_the_origin_to_others() {
    let now = Instant::now();
    let all = 300 * 4;
    let handed_on = draws(&mut among_three(now), now, 7, true);
    assert_eq!(
        handed_on, all,
        "after two turns of three seconds everything was ours to draw"
    );
    let kept = draws(&mut among_three(now), now, 7, false);
    assert!((16..all / 2).contains(&kept), "{kept} of {all}");
    let later = draws(&mut among_three(now), now, 16, false);
    assert_eq!(later, all, "when the others do not draw, it does");
}

#[test]
fn a_download_waits_for_its_turn_at_those_who_hold_what_it_lacks() {
    let all = vec![BlockRun::new(0, 0, 8 * 4)];
    for whole_file in [true, false] {
        let start = Instant::now();
        let config = Config {
            whole_file,
            ..Config::default()
        };
        let mut swarm = core(10, config, start);
        connect(&mut swarm, 1, all.clone(), start);
        connect(&mut swarm, 2, vec![BlockRun::new(0, 0, 10 * 4)], start);
        for peer in 1..=2 {
            give(&mut swarm, Input::PeerChoked { peer: Peer(peer) }, start);
        }
        assert_eq!(
            draws(&mut swarm, start, 5, false),
            0,
            "nothing arrived for five seconds: too early to give them up"
        );
        assert!(
            draws(&mut swarm, start + Duration::from_secs(7), 60, false) > 0 || !whole_file,
            "who never serves is not waited for without end"
        );
    }
}
