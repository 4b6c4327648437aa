//! What is urgent at a slow uplink: said no to at once, asked of others, by hand.

use super::*;

#[test]
fn a_slow_uplink_says_at_once_what_it_cannot_send_in_time() {
    let start = Instant::now();
    let mut swarm = core(40, Config::default(), start);
    let (run, source) = (BlockRun::new(0, 0, 160), Source::Disk);
    give(&mut swarm, Input::Verified { run, source }, start);
    for peer in 1..=6 {
        connect(&mut swarm, peer, vec![], start);
    }
    let ask = |swarm: &mut Swarm, name: u64, urgency, now| {
        let input = Input::PeerRequest {
            peer: Peer(1 + name % 6),
            request: UploadId(name),
            run: BlockRun::new(0, name as u32 * 4, 4),
            urgency,
        };
        let busy = Output::Refuse {
            peer: Peer(1 + name % 6),
            request: UploadId(name),
            reason: RefuseReason::Busy,
        };
        !give(swarm, input, now).contains(&busy)
    };
    // 64 KiB a second were seen: one such run is sent within the time, a second one is not.
    assert!(ask(&mut swarm, 0, Urgency::Far, start));
    let now = start + Duration::from_secs(1);
    let done = |name| Input::SendDone {
        peer: Peer(1 + name % 6),
        request: UploadId(name),
        bytes: 65_536,
    };
    give(&mut swarm, done(0), now);
    assert!(ask(&mut swarm, 1, Urgency::Far, now));
    assert!(ask(&mut swarm, 2, Urgency::Urgent, now), "nobody is before it");
    assert!(!ask(&mut swarm, 3, Urgency::Urgent, now));
    assert!(
        ask(&mut swarm, 4, Urgency::Far, now),
        "what has time is never too late"
    );
    assert!(!ask(&mut swarm, 5, Urgency::Urgent, now));
    let now = now + Duration::from_secs(1);
    give(&mut swarm, done(2), now);
    assert!(
        !ask(&mut swarm, 6, Urgency::Urgent, now),
        "it had a turn, and others were refused"
    );
    assert!(
        ask(&mut swarm, 9, Urgency::Urgent, now),
        "who was refused is back"
    );
}

#[test]
fn who_has_no_time_is_spared_for_a_moment_and_others_are_asked() {
    let start = Instant::now();
    let config = Config {
        use_origin: false,
        ..Config::default()
    };
    let mut swarm = core(1, config, start);
    let all = vec![BlockRun::new(0, 0, 4)];
    give(&mut swarm, open(), start);
    let first = asked(&connect(&mut swarm, 1, all.clone(), start));
    let [(1, request)] = first[..] else {
        panic!("{first:?}")
    };
    let reason = RequestFailure::Busy;
    let busy = give(&mut swarm, Input::RequestFailed { request, reason }, start);
    assert_eq!(asked(&busy), []);
    let soon = start + Duration::from_millis(200);
    assert_eq!(asked(&give(&mut swarm, Input::Timeout, soon)), []);
    let again = asked(&give(
        &mut swarm,
        Input::Timeout,
        start + Duration::from_millis(300),
    ));
    let [(1, request)] = again[..] else {
        panic!("{again:?}")
    };
    let now = start + Duration::from_millis(350);
    connect(&mut swarm, 2, all, now);
    let other = asked(&give(&mut swarm, Input::RequestFailed { request, reason }, now));
    assert!(matches!(other[..], [(2, _)]), "{other:?}");
}

#[test]
fn a_start_that_two_peers_leave_waiting_asks_a_third() {
    let start = Instant::now();
    let config = Config {
        use_origin: false,
        ..Config::default()
    };
    let mut swarm = core(1, config, start);
    give(&mut swarm, open(), start);
    let mut whom = Vec::new();
    for peer in 1..=4 {
        let outputs = connect(&mut swarm, peer, vec![BlockRun::new(0, 0, 4)], start);
        whom.extend(asked(&outputs));
    }
    for tick in 1..=35 {
        whom.extend(asked(&give(&mut swarm, Input::Timeout, start + TICK * tick)));
    }
    let peers: std::collections::BTreeSet<u64> = whom.iter().map(|&(peer, _)| peer).collect();
    assert_eq!((whom.len(), peers.len()), (3, 3), "{whom:?}");
}
