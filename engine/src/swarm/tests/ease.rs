//! What a player draws ahead from an origin that is quick, and from one that is not, by hand.

use super::*;

const BITRATE: u64 = 655_360;

/// Blocks that a player draws within ten seconds, urgently and ahead, from an origin that takes so long for what it is
/// asked for in the first two seconds, and a fifth of a second later. Its neighbour holds so many of the last blocks.
fn drawn(at_first: Duration, held: u32) -> (u32, u32) {
    let start = Instant::now();
    let config = Config {
        whole_file: false,
        ..Config::default()
    };
    let mut swarm = core(1_000, config, start);
    let last = BlockRun::new(0, 4_000 - held, held);
    connect(&mut swarm, 1, vec![last; usize::from(held > 0)], start);
    give(&mut swarm, Input::SwarmSize(2), start);
    give(&mut swarm, Input::Discovery { pending: false }, start);
    let reader = ReaderId(1);
    let (file, demand) = (
        FileIndex(0),
        Demand::Stream {
            bitrate: BITRATE,
            playing: true,
        },
    );
    let mut outputs = give(
        &mut swarm,
        Input::ReaderOpened {
            reader,
            file,
            position: 0,
            demand,
        },
        start,
    );
    let (mut urgent, mut ahead) = (0, 0);
    let mut coming: Vec<(Instant, FetchId, BlockRun)> = Vec::new();
    for tick in 0..100 {
        let now = start + TICK * tick;
        for output in std::mem::take(&mut outputs) {
            match output {
                Output::OriginFetch { fetch, run, urgency } => {
                    let blocks = if urgency == Urgency::Urgent {
                        &mut urgent
                    } else {
                        &mut ahead
                    };
                    *blocks += run.count;
                    let takes = if tick < 20 {
                        at_first
                    } else {
                        Duration::from_millis(200)
                    };
                    coming.push((now + takes, fetch, run));
                }
                Output::OriginCancel { fetch } => coming.retain(|(_, id, _)| *id != fetch),
                _ => {}
            }
        }
        let (here, later): (Vec<_>, Vec<_>) = coming.into_iter().partition(|(at, ..)| *at <= now);
        coming = later;
        for (_, fetch, run) in here {
            outputs.extend(origin_brings(&mut swarm, fetch, run, now));
        }
        let position = u64::from(tick) * BITRATE / 10;
        let moved = Input::ReaderMoved {
            reader,
            position,
            demand,
        };
        outputs.extend(give(&mut swarm, moved, now));
        outputs.extend(give(&mut swarm, Input::Timeout, now));
    }
    (urgent, ahead)
}

#[test]
fn an_origin_that_was_late_is_asked_for_what_has_no_time() {
    let (_, ahead) = drawn(Duration::from_millis(200), 1);
    assert!(ahead >= 80, "a good part of the next minute: {ahead}");
    let (urgent, ahead) = drawn(Duration::from_millis(2_500), 1);
    assert!(urgent >= 40, "{urgent}");
    assert!(ahead <= 20, "{ahead}");
}

#[test]
fn a_slow_origin_is_all_there_is_while_nobody_holds_anything() {
    let start = Instant::now();
    let config = Config {
        whole_file: false,
        ..Config::default()
    };
    let mut swarm = core(1_000, config, start);
    connect(&mut swarm, 1, vec![], start);
    let reader = Input::ReaderOpened {
        reader: ReaderId(1),
        file: FileIndex(0),
        position: 0,
        demand: Demand::Stream {
            bitrate: BITRATE,
            playing: true,
        },
    };
    let mut outputs = give(&mut swarm, Input::Discovery { pending: false }, start);
    outputs.extend(give(&mut swarm, reader, start));
    let fetch = |output: &Output| match *output {
        Output::OriginFetch { fetch, run, .. } => Some((fetch, run)),
        _ => None,
    };
    let (fetch, run) = outputs.iter().find_map(fetch).expect("nobody else has it");
    let now = start + Duration::from_secs(3);
    origin_brings(&mut swarm, fetch, run, now);
    assert!(swarm.origin_is_at_ease(now), "late, but who else?");
    let (peer, runs) = (Peer(1), vec![BlockRun::new(0, 3_999, 1)]);
    give(&mut swarm, Input::PeerHave { peer, runs }, now);
    assert!(!swarm.origin_is_at_ease(now));
}

/// A narrow origin that all ask for what they need at once brings everything late, for good.
#[test]
fn what_the_origin_would_bring_too_late_is_left_to_the_duty() {
    const LAST: u64 = 39;
    let start = Instant::now();
    let config = Config {
        whole_file: false,
        ..Config::default()
    };
    let mut swarm = core(LAST + 1, config, start);
    connect(&mut swarm, 1, vec![], start);
    let (reader, file) = (ReaderId(1), FileIndex(0));
    let demand = Demand::Stream {
        bitrate: 65_536,
        playing: true,
    };
    let opened = Input::ReaderOpened {
        reader,
        file,
        position: 0,
        demand,
    };
    let mut outputs = give(&mut swarm, Input::Discovery { pending: false }, start);
    outputs.extend(give(&mut swarm, opened, start));
    // It takes two and a half seconds for a piece, which is known when the player goes to the last one, and needs it now.
    let mut coming: VecDeque<(FetchId, u32)> = VecDeque::new();
    let (mut urgent, mut by_duty) = (0, 0);
    for tick in 1..=300 {
        let now = start + TICK * tick;
        for output in std::mem::take(&mut outputs) {
            match output {
                Output::OriginFetch { fetch, run, urgency } => {
                    coming.extend((run.first.0..run.first.0 + run.count).map(|block| (fetch, block)));
                    let blocks = match urgency {
                        Urgency::Urgent => &mut urgent,
                        _ => &mut by_duty,
                    };
                    *blocks += u32::from(tick > 100) * run.count;
                }
                Output::OriginCancel { fetch } => coming.retain(|(other, _)| *other != fetch),
                _ => {}
            }
        }
        if tick % 6 == 0
            && let Some((fetch, block)) = coming.pop_front()
        {
            let run = BlockRun::new(0, block, 1);
            outputs.extend(origin_brings(&mut swarm, fetch, run, now));
            if coming.iter().all(|(other, _)| *other != fetch) {
                outputs.extend(give(&mut swarm, Input::OriginDone { fetch }, now));
            }
        }
        if tick == 100 {
            let position = LAST * 65_536;
            let moved = Input::ReaderMoved {
                reader,
                position,
                demand,
            };
            outputs.extend(give(&mut swarm, moved, now));
        }
        outputs.extend(give(&mut swarm, Input::Timeout, now));
    }
    assert_eq!(urgent, 0, "{by_duty} blocks by duty");
    assert!(
        swarm.has(BlockRun::new(0, 4 * LAST as u32, 4)),
        "{by_duty} blocks by duty"
    );
}
