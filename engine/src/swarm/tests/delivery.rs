//! What a viewer may expect of the exchange of blocks, by hand: relayed at once, few duplicates, slow peers relieved,
//! free-riders seen through.

use super::*;

const BLOCK: u64 = BLOCK_SIZE as u64;

/// A peer brings all of a request.
fn bring(swarm: &mut Swarm, (peer, request, run): (u64, RequestId, BlockRun), now: Instant) -> Vec<Output> {
    let source = Source::Peer(Peer(peer));
    let mut outputs = give(swarm, Input::Verified { run, source }, now);
    outputs.extend(give(swarm, Input::RequestDone { request }, now));
    outputs
}

/// Runs two peers who hold everything: each brings what it is asked for after its own time for a block. Gives the
/// runs that each brought whole, those that were cancelled, and the time that it took.
fn race(swarm: &mut Swarm, start: Instant, per_block: [Duration; 2]) -> ([u32; 2], u32, Duration) {
    let all = vec![BlockRun::new(0, 0, swarm.layout.file_blocks(FileIndex(0)))];
    let mut waiting: Vec<(Instant, (u64, RequestId, BlockRun))> = Vec::new();
    let mut free = [start; 2];
    let (mut brought, mut cancelled) = ([0, 0], 0);
    let mut outputs = connect(swarm, 0, all.clone(), start);
    outputs.extend(connect(swarm, 1, all, start));
    let mut now = start;
    loop {
        for output in &outputs {
            if let Output::Cancel { request, .. } = output {
                waiting.retain(|(_, (_, id, _))| id != request);
                cancelled += 1;
            }
        }
        for asked in requests(&outputs) {
            let peer = asked.0 as usize;
            free[peer] = free[peer].max(now) + per_block[peer] * asked.2.count;
            waiting.push((free[peer], asked));
        }
        if swarm.is_complete() {
            return (brought, cancelled, now - start);
        }
        waiting.sort_by_key(|(at, _)| *at);
        let tick = swarm
            .next_timeout()
            .expect("something is missing")
            .max(now + Duration::from_millis(1));
        now = waiting.first().map_or(tick, |(at, _)| (*at).min(tick)).max(now);
        assert!(now - start < Duration::from_secs(600));
        outputs = if waiting.first().is_some_and(|(at, _)| *at <= now) {
            let (_, asked) = waiting.remove(0);
            brought[asked.0 as usize] += asked.2.count;
            bring(swarm, asked, now)
        } else {
            give(swarm, Input::Timeout, now)
        };
    }
}

#[test]
fn a_slow_peer_loses_its_blocks_to_a_faster_one() {
    let start = Instant::now();
    let mut swarm = core(64, peers_only(), start);
    let (fast, slow) = (Duration::from_millis(10), Duration::from_secs(5));
    let (brought, cancelled, time) = race(&mut swarm, start, [fast, slow]);
    assert!(brought[1] <= 8, "{brought:?}");
    assert!(cancelled > 0, "what the slow one was asked for went to the other");
    // 256 blocks take the fast one 2.6 s; a run of the slow one would take 20 s.
    assert!(time < Duration::from_secs(6), "{time:?}");
    assert_eq!(swarm.progress().duplicate_bytes, 0);
}

#[test]
fn the_last_blocks_are_asked_of_two_and_cancelled_at_the_later() {
    let start = Instant::now();
    let mut swarm = core(1, peers_only(), start);
    let all = vec![BlockRun::new(0, 0, 4)];
    let asked = requests(&connect(&mut swarm, 1, all.clone(), start));
    assert_eq!(asked.len(), 1);
    let mut outputs = connect(&mut swarm, 2, all, start);
    let mut now = start;
    while requests(&outputs).is_empty() {
        now = swarm.next_timeout().expect("something is missing");
        assert!(now - start < Duration::from_secs(8));
        outputs.extend(give(&mut swarm, Input::Timeout, now));
    }
    let again = requests(&outputs);
    assert_eq!((again.len(), again[0].0, again[0].2), (1, 2, asked[0].2));
    let later = now + Duration::from_secs(2);
    let more = give(&mut swarm, Input::Timeout, later);
    assert!(requests(&more).is_empty(), "once is enough");
    let outputs = bring(&mut swarm, again[0], later);
    let (peer, request) = (Peer(1), asked[0].1);
    assert!(outputs.contains(&Output::Cancel { peer, request }), "{outputs:?}");
    assert_eq!(swarm.progress().duplicate_bytes, 0);
}

#[test]
fn the_haves_of_a_free_rider_keep_nobody_from_the_origin() {
    let start = Instant::now();
    let mut swarm = core(4, Config::default(), start);
    let mut outputs = connect(&mut swarm, 1, vec![BlockRun::new(0, 0, 3 * 4)], start);
    outputs.extend(connect(&mut swarm, 2, vec![], start));
    outputs.extend(give(&mut swarm, Input::Discovery { pending: false }, start));
    let mut now = start;
    let mut drawn = std::collections::BTreeSet::new();
    while now - start < Duration::from_secs(12) {
        // It never answers, so what was asked for is asked for again.
        for output in &outputs {
            if let Output::OriginFetch { run, .. } = output {
                drawn.extend(run.first.0..run.first.0 + run.count);
            }
        }
        let refused = requests(&outputs);
        outputs.clear();
        for (_, request, _) in refused {
            let reason = RequestFailure::Refused;
            outputs.extend(give(&mut swarm, Input::RequestFailed { request, reason }, now));
        }
        now = swarm.next_timeout().expect("something is missing");
        outputs.extend(give(&mut swarm, Input::Timeout, now));
    }
    assert_eq!(
        drawn.len(),
        16,
        "all of it, what the free-rider says it holds too"
    );
}

#[test]
fn a_block_is_told_and_served_before_its_piece_is_whole() {
    let start = Instant::now();
    let mut swarm = core(2, peers_only(), start);
    connect(&mut swarm, 1, vec![], start);
    let (run, source) = (BlockRun::new(0, 5, 1), Source::Peer(Peer(1)));
    give(&mut swarm, Input::Verified { run, source }, start);
    let at = swarm.next_timeout().expect("it is told soon");
    assert!(at - start <= Duration::from_millis(50));
    let told = give(&mut swarm, Input::Timeout, at);
    let (to, runs) = (Audience::Everyone, vec![run]);
    assert!(told.contains(&Output::SendHave { to, runs }), "{told:?}");
    let (peer, request, urgency) = (Peer(1), UploadId(1), Urgency::Far);
    let asked = Input::PeerRequest {
        peer,
        request,
        run,
        urgency,
    };
    let served = give(&mut swarm, asked, at);
    let serve = Output::Serve {
        peer,
        request,
        run,
        urgency,
    };
    assert!(served.contains(&serve), "{served:?}");
    assert_eq!(swarm.progress().have_bytes, BLOCK);
}
