//! The policy that uses the origin beside its peers.

use super::*;

#[test]
fn half_a_second_of_data_is_always_on_its_way_from_the_origin() {
    let start = Instant::now();
    let all = vec![BlockRun::new(0, 0, 400 * 4)];
    for policy in [OriginPolicy::Thrifty, OriginPolicy::Fast] {
        let config = Config {
            policy,
            ..Config::default()
        };
        let mut swarm = core(400, config, start);
        // Peers hold all of it and let us ask: thrift needs no origin.
        for peer in 1..=2 {
            connect(&mut swarm, peer, all.clone(), start);
        }
        let mut now = start;
        let mut outputs = give(&mut swarm, Input::Discovery { pending: false }, now);
        if policy == OriginPolicy::Thrifty {
            assert_eq!(fetched(&outputs), 0);
            continue;
        }
        assert_eq!(fetched(&outputs) * BLOCK_SIZE, 256 << 10, "before it is measured");
        // It brings what was asked for at 1 MB/s.
        for _ in 0..40 {
            let oldest = outputs
                .iter()
                .position(|o| matches!(o, Output::OriginFetch { .. }));
            let Output::OriginFetch { fetch, run, .. } = outputs.remove(oldest.expect("always something"))
            else {
                unreachable!("it is one")
            };
            let (bytes, source) = (u64::from(run.count * BLOCK_SIZE), Source::Origin);
            now += Duration::from_secs_f64(bytes as f64 / 1e6);
            outputs.extend(give(&mut swarm, Input::OriginBytes { fetch, bytes }, now));
            outputs.extend(give(&mut swarm, Input::Verified { run, source }, now));
            outputs.extend(give(&mut swarm, Input::OriginDone { fetch }, now));
        }
        let waiting = swarm.progress().origin_bytes;
        assert!((400_000..800_000).contains(&waiting), "{waiting}");
    }
}

#[test]
fn what_lies_scattered_is_asked_for_in_as_many_fetches_as_one_ends() {
    let start = Instant::now();
    let all = vec![BlockRun::new(0, 0, 400 * 4)];
    let config = Config {
        policy: OriginPolicy::Fast,
        ..Config::default()
    };
    let most = config.origin_fetches * 2;
    let mut swarm = core(400, config, start);
    connect(&mut swarm, 1, all, start);
    for piece in (0..400).step_by(2) {
        let run = BlockRun::new(0, piece * 4, 4);
        let source = Source::Peer(Peer(1));
        give(&mut swarm, Input::Verified { run, source }, start);
    }
    let mut now = start;
    let mut running = give(&mut swarm, Input::Discovery { pending: false }, now);
    let ask = |running: &mut Vec<Output>| running.retain(|o| matches!(o, Output::OriginFetch { .. }));
    ask(&mut running);
    // 4 MB/s come, a piece every 16 ms: less than the core's tick.
    for step in 0..60 {
        let Output::OriginFetch { fetch, run, .. } = running.remove(0) else {
            unreachable!("only those are kept")
        };
        assert_eq!(run.count, 4, "neighbours are held");
        let (bytes, source) = (u64::from(run.count * BLOCK_SIZE), Source::Origin);
        now += Duration::from_millis(16);
        running.extend(give(&mut swarm, Input::OriginBytes { fetch, bytes }, now));
        running.extend(give(&mut swarm, Input::Verified { run, source }, now));
        running.extend(give(&mut swarm, Input::OriginDone { fetch }, now));
        ask(&mut running);
        if step >= 10 {
            assert_eq!(running.len(), most, "after {step} fetches");
        }
    }
}

#[test]
fn of_what_is_as_rare_the_longest_run_is_asked_for() {
    let start = Instant::now();
    let all = vec![BlockRun::new(0, 0, 400 * 4)];
    let config = Config {
        policy: OriginPolicy::Fast,
        ..Config::default()
    };
    let mut swarm = core(400, config, start);
    connect(&mut swarm, 1, all, start);
    // Of ten pieces two are missing alone, and four in a row.
    for piece in (0..400).filter(|piece| matches!(piece % 10, 0 | 1 | 3 | 5)) {
        let run = BlockRun::new(0, piece * 4, 4);
        let source = Source::Peer(Peer(1));
        give(&mut swarm, Input::Verified { run, source }, start);
    }
    let mut now = start;
    let mut outputs = give(&mut swarm, Input::Discovery { pending: false }, now);
    for _ in 0..20 {
        let oldest = outputs
            .iter()
            .position(|o| matches!(o, Output::OriginFetch { .. }));
        let Output::OriginFetch { fetch, run, .. } = outputs.remove(oldest.expect("always something")) else {
            unreachable!("it is one")
        };
        assert!(run.count > 4, "a piece that lies alone was asked for: {run:?}");
        let (bytes, source) = (u64::from(run.count * BLOCK_SIZE), Source::Origin);
        now += Duration::from_millis(100);
        outputs.extend(give(&mut swarm, Input::OriginBytes { fetch, bytes }, now));
        outputs.extend(give(&mut swarm, Input::Verified { run, source }, now));
        outputs.extend(give(&mut swarm, Input::OriginDone { fetch }, now));
    }
}
