//! What a player needs later: how much of it is asked for, and what happens when its time comes, by hand.

use super::*;

/// A player of so many bytes a second, and one peer that holds everything and sends nothing.
fn playing(pieces: u32, bitrate: u64, now: Instant) -> (Swarm, Vec<Output>) {
    let config = Config {
        use_origin: false,
        ..Config::default()
    };
    let mut swarm = core(pieces.into(), config, now);
    let reader = Input::ReaderOpened {
        reader: ReaderId(1),
        file: FileIndex(0),
        position: 0,
        demand: Demand::Stream {
            bitrate,
            playing: true,
        },
    };
    give(&mut swarm, reader, now);
    let outputs = connect(&mut swarm, 1, vec![BlockRun::new(0, 0, pieces * 4)], now);
    (swarm, outputs)
}

fn runs(outputs: &[Output]) -> Vec<(RequestId, BlockRun, Urgency)> {
    let run = |output: &Output| match *output {
        Output::Request {
            request,
            run,
            urgency,
            ..
        } => Some((request, run, urgency)),
        _ => None,
    };
    outputs.iter().filter_map(run).collect()
}

#[test]
fn no_more_is_asked_ahead_than_the_own_line_takes() {
    // Of fifteen seconds of media, 91 blocks, those of seven seconds are asked for: as much as is believed of a line
    // that was not measured.
    let (_, outputs) = playing(100, 100_000, Instant::now());
    let blocks: u32 = runs(&outputs).iter().map(|(_, run, _)| run.count).sum();
    assert!((40..=48).contains(&blocks), "{blocks}: {outputs:?}");
}

#[test]
fn what_waits_at_a_peer_is_asked_anew_when_it_is_needed_soon() {
    let start = Instant::now();
    // A piece is four seconds of media: the third one is needed after eight.
    let (mut swarm, outputs) = playing(4, 16_384, start);
    let third = |outputs: &[Output]| runs(outputs).into_iter().find(|(_, run, _)| run.first.0 == 8);
    let (early, _, urgency) = third(&outputs).expect("it is within fifteen seconds");
    assert_eq!(urgency, Urgency::Near);
    let mut outputs = Vec::new();
    for tick in 1..=38 {
        outputs.extend(give(&mut swarm, Input::Timeout, start + TICK * tick));
    }
    assert_eq!(third(&outputs), None, "it has time: {outputs:?}");
    for tick in 39..=45 {
        outputs.extend(give(&mut swarm, Input::Timeout, start + TICK * tick));
    }
    assert!(outputs.contains(&Output::Cancel {
        peer: Peer(1),
        request: early
    }));
    let (_, _, urgency) = third(&outputs).expect("it is needed soon");
    assert_eq!(urgency, Urgency::Urgent);
}

#[test]
fn what_was_moved_to_another_peer_is_asked_anew_like_all_that_waits() {
    let start = Instant::now();
    // The third piece is needed after eight seconds.
    let (mut swarm, outputs) = playing(4, 16_384, start);
    let third = |outputs: &[Output]| {
        outputs.iter().find_map(|output| match *output {
            Output::Request {
                peer,
                request,
                run,
                urgency,
                ..
            } if run.first.0 == 8 => Some((peer, request, urgency)),
            _ => None,
        })
    };
    let (peer, early, _) = third(&outputs).expect("it is within fifteen seconds");
    assert_eq!(peer, Peer(1));
    // A second peer shows what it can with the first piece, holds everything, and has nothing new to be asked for.
    connect(&mut swarm, 2, vec![BlockRun::new(0, 0, 16)], start);
    let (run, source) = (BlockRun::new(0, 0, 4), Source::Peer(Peer(2)));
    let mut outputs = give(&mut swarm, Input::Verified { run, source }, start + TICK);
    for tick in 2..=20 {
        outputs.extend(give(&mut swarm, Input::Timeout, start + TICK * tick));
    }
    assert!(outputs.contains(&Output::Cancel {
        peer: Peer(1),
        request: early
    }));
    let (peer, moved, urgency) = third(&outputs).expect("the first peer is silent");
    assert_eq!((peer, urgency), (Peer(2), Urgency::Far));
    let mut outputs = Vec::new();
    for tick in 21..=45 {
        outputs.extend(give(&mut swarm, Input::Timeout, start + TICK * tick));
    }
    assert!(outputs.contains(&Output::Cancel {
        peer: Peer(2),
        request: moved
    }));
    let (_, _, urgency) = third(&outputs).expect("it is needed soon");
    assert_eq!(urgency, Urgency::Urgent);
}

#[test]
fn behind_a_slow_line_what_has_time_waits() {
    let start = Instant::now();
    let config = Config {
        use_origin: false,
        ..Config::default()
    };
    let mut swarm = core(200, config, start);
    let stream = |playing| Demand::Stream {
        bitrate: 800_000,
        playing,
    };
    let (reader, file, position) = (ReaderId(1), FileIndex(0), 0);
    let opened = Input::ReaderOpened {
        reader,
        file,
        position,
        demand: stream(false),
    };
    give(&mut swarm, opened, start);
    let all = vec![BlockRun::new(0, 0, 800)];
    let start_up = runs(&connect(&mut swarm, 1, all.clone(), start));
    let asked =
        |runs: &[(RequestId, BlockRun, Urgency)]| -> u32 { runs.iter().map(|(_, run, _)| run.count).sum() };
    assert!((120..=128).contains(&asked(&start_up)), "{start_up:?}");
    let mut more = runs(&connect(&mut swarm, 2, all, start));
    // The line brings a block each ten milliseconds. The second peer is asked for nothing of what stands in it.
    let mut now = start;
    for (_, run, _) in start_up {
        for block in run.first.0..run.first.0 + run.count {
            assert!(more.is_empty() || block >= 122, "before block {block}: {more:?}");
            now += Duration::from_millis(10);
            let (run, source) = (BlockRun::new(0, block, 1), Source::Peer(Peer(1)));
            more.extend(runs(&give(&mut swarm, Input::Verified { run, source }, now)));
        }
    }
    let moved = Input::ReaderMoved {
        reader,
        position,
        demand: stream(true),
    };
    more.extend(runs(&give(&mut swarm, moved, now)));
    assert!(
        (60..=108).contains(&asked(&more)),
        "a second of the line: {more:?}"
    );
}

#[test]
fn a_line_that_the_origin_fills_is_left_to_what_is_needed_first() {
    let start = Instant::now();
    let mut swarm = core(400, Config::default(), start);
    connect(&mut swarm, 1, vec![], start);
    give(&mut swarm, Input::SwarmSize(2), start);
    let (reader, file, position) = (ReaderId(1), FileIndex(0), 0);
    let demand = Demand::Stream {
        bitrate: 800_000,
        playing: true,
    };
    let opened = Input::ReaderOpened {
        reader,
        file,
        position,
        demand,
    };
    let mut outputs = give(&mut swarm, opened, start);
    outputs.extend(give(&mut swarm, Input::Discovery { pending: false }, start));
    // The origin brings a block each ten milliseconds.
    let mut coming: VecDeque<(FetchId, u32)> = VecDeque::new();
    let mut now = start;
    for _ in 0..200 {
        for output in std::mem::take(&mut outputs) {
            if let Output::OriginFetch { fetch, run, .. } = output {
                coming.extend((run.first.0..run.first.0 + run.count).map(|block| (fetch, block)));
            }
        }
        now += Duration::from_millis(10);
        let Some((fetch, block)) = coming.pop_front() else {
            continue;
        };
        let bytes = BLOCK_SIZE.into();
        outputs.extend(give(&mut swarm, Input::OriginBytes { fetch, bytes }, now));
        let (run, source) = (BlockRun::new(0, block, 1), Source::Origin);
        outputs.extend(give(&mut swarm, Input::Verified { run, source }, now));
    }
    assert!(coming.len() > 80, "a second of the line: {}", coming.len());
    let (peer, runs_held) = (Peer(1), vec![BlockRun::new(0, 0, 1_600)]);
    let haves = Input::PeerHave {
        peer,
        runs: runs_held,
    };
    let requests = runs(&give(&mut swarm, haves, now));
    let asked: u32 = requests.iter().map(|(_, run, _)| run.count).sum();
    let in_line = coming.len() as u32 + asked;
    assert!(in_line <= 108, "a second of the line is on its way: {requests:?}");
}
