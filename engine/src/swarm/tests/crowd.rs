//! What keeps a crowd of downloads to one copy from the origin.

use std::collections::BTreeSet;

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
    // An uplink that nobody has used yet is taken to hand on little at a time.
    let handed_on = draws(&mut among_three(now), now, 8, true);
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

/// The claims among these outputs, by receiver.
fn claims(outputs: &[Output]) -> Vec<(u64, Claim)> {
    outputs
        .iter()
        .filter_map(|output| {
            let Output::SendClaims { to, claims } = output else {
                return None;
            };
            Some(claims.iter().map(|&claim| (to.0, claim)))
        })
        .flatten()
        .collect()
}

fn wait(swarm: &mut Swarm, from: Instant, time: Duration) -> Vec<Output> {
    let mut outputs = Vec::new();
    let mut now = from;
    while let Some(at) = swarm.next_timeout().filter(|&at| at <= from + time) {
        now = now.max(at);
        outputs.extend(give(swarm, Input::Timeout, now));
    }
    outputs
}

#[test]
fn what_only_we_hold_is_claimed_until_a_neighbour_has_it() {
    for (size, renewed) in [(2, false), (1_000, true)] {
        let start = Instant::now();
        let mut swarm = core(4, Config::default(), start);
        let (run, source) = (BlockRun::new(0, 0, 4 * 4), Source::Disk);
        give(&mut swarm, Input::Verified { run, source }, start);
        assert!(swarm.is_complete());
        connect(&mut swarm, 1, vec![], start);
        give(&mut swarm, Input::SwarmSize(size), start);
        let told = claims(&wait(&mut swarm, start, Duration::from_secs(5)));
        let pieces: BTreeSet<u32> = told.iter().map(|(_, claim)| claim.piece.0).collect();
        let expected = if renewed { vec![0, 1, 2, 3] } else { vec![] };
        assert!(pieces.iter().copied().eq(expected), "{told:?}");
        let (peer, runs) = (Peer(1), vec![BlockRun::new(0, 0, 3 * 4)]);
        let now = start + Duration::from_secs(5);
        give(&mut swarm, Input::PeerHave { peer, runs }, now);
        let told = claims(&wait(&mut swarm, now, Duration::from_secs(5)));
        assert!(told.iter().all(|(_, claim)| claim.piece.0 == 3), "{told:?}");
    }
}

/// As often as a viewer renews what it claims, its neighbours' neighbours must hear it, or they draw it in its stead.
#[test]
fn a_claim_that_is_renewed_is_passed_on_again() {
    let start = Instant::now();
    // It has drawn what nobody else holds, and says how often that is claimed.
    let mut holder = core(1, Config::default(), start);
    let (run, source) = (BlockRun::new(0, 0, 4), Source::Disk);
    give(&mut holder, Input::Verified { run, source }, start);
    connect(&mut holder, 1, vec![], start);
    give(&mut holder, Input::SwarmSize(1_000), start);
    let mut neighbour = core(1, Config::default(), start);
    for peer in 1..=2 {
        connect(&mut neighbour, peer, vec![], start);
    }
    give(&mut neighbour, Input::SwarmSize(1_000), start);
    let (mut heard, mut passed_on) = (0, Vec::new());
    for ms in (0..20_000).step_by(50) {
        let now = start + Duration::from_millis(ms);
        let told = claims(&give(&mut holder, Input::Timeout, now));
        heard += told.len();
        let (peer, told) = (Peer(1), told.into_iter().map(|(_, claim)| claim));
        let input = Input::PeerClaims {
            peer,
            claims: told.map(|claim| Claim { claimer: 7, ..claim }).collect(),
        };
        let mut outputs = give(&mut neighbour, input, now);
        outputs.extend(give(&mut neighbour, Input::Timeout, now));
        // What it draws itself, once nothing has come for so long, is told too.
        let of_holder = |(to, claim): &&(u64, Claim)| *to == 2 && claim.claimer == 7;
        passed_on.extend(claims(&outputs).iter().filter(of_holder).map(|_| ms));
    }
    assert!(heard >= 5, "{heard}");
    assert_eq!(passed_on.len(), heard, "{passed_on:?}");
}

#[test]
fn a_newcomer_hears_what_others_draw() {
    let start = Instant::now();
    let mut swarm = core(4, Config::default(), start);
    give(&mut swarm, Input::SwarmSize(1_000), start);
    connect(&mut swarm, 1, vec![], start);
    let claim = Claim {
        piece: PieceIndex(2),
        claimer: 7,
        forwarded: false,
        retracted: false,
    };
    let (peer, heard) = (Peer(1), vec![claim]);
    give(&mut swarm, Input::PeerClaims { peer, claims: heard }, start);
    wait(&mut swarm, start, Duration::from_secs(1));
    let told = |swarm: &mut Swarm, peer, seconds| {
        claims(&connect(
            swarm,
            peer,
            vec![],
            start + Duration::from_secs(seconds),
        ))
    };
    let forwarded = true;
    assert_eq!(told(&mut swarm, 2, 4), [(2, Claim { forwarded, ..claim })]);
    assert_eq!(told(&mut swarm, 3, 6), [], "it has ended");
}

#[test]
fn a_seed_that_claims_what_only_it_holds_is_asked_for_it() {
    let start = Instant::now();
    let mut swarm = core(40, Config::default(), start);
    for peer in 2..=4 {
        connect(&mut swarm, peer, vec![], start);
    }
    connect(&mut swarm, 1, vec![BlockRun::new(0, 0, 40 * 4)], start);
    let claim = |piece| Claim {
        piece: PieceIndex(piece),
        claimer: 0x0101_0101_0101_0101,
        forwarded: false,
        retracted: false,
    };
    let (peer, all) = (Peer(1), (0..40).map(claim).collect());
    give(&mut swarm, Input::PeerClaims { peer, claims: all }, start);
    let mut asked = give(&mut swarm, Input::Discovery { pending: false }, start);
    asked.extend(wait(&mut swarm, start, Duration::from_secs(4)));
    assert!(
        asked
            .iter()
            .any(|o| matches!(o, Output::Request { peer: Peer(1), .. })),
        "{asked:?}"
    );
}

#[test]
fn many_neighbours_beyond_what_the_tracker_knew_are_not_all() {
    let now = Instant::now();
    let mut swarm = core(1, Config::default(), now);
    for (size, peers, all) in [
        (10, 9, true),
        (30, 25, false),
        (30, 40, true),
        (30, 70, false),
        (72, 70, true),
    ] {
        while swarm.peers.len() < peers {
            let next = swarm.peers.len() as u64 + 1;
            connect(&mut swarm, next, vec![], now);
        }
        give(&mut swarm, Input::SwarmSize(size), now);
        assert_eq!(swarm.sees_all(), all, "{peers} neighbours of {size}");
    }
}
