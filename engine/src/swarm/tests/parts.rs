//! A range that is read: what is fetched for it, by hand.

use super::*;

/// The pieces that a viewer alone with an origin fetches in ten seconds, who reads these bytes and wants nothing else.
fn fetched_for(position: u64, end: u64, playing: bool) -> Vec<u32> {
    let start = Instant::now();
    let config = Config {
        whole_file: false,
        ..Config::default()
    };
    let mut swarm = core(100, config, start);
    let reader = Input::ReaderOpened {
        reader: ReaderId(1),
        file: FileIndex(0),
        position,
        demand: Demand::Part {
            end,
            bitrate: 16_000,
            playing,
        },
    };
    give(&mut swarm, Input::Discovery { pending: false }, start);
    let mut outputs = give(&mut swarm, reader, start);
    let mut pieces = Vec::new();
    for tick in 1..=100 {
        let now = start + Duration::from_millis(100) * tick;
        for output in std::mem::take(&mut outputs) {
            let Output::OriginFetch { fetch, run, .. } = output else {
                continue;
            };
            outputs.extend(origin_brings(&mut swarm, fetch, run, now));
            outputs.extend(give(&mut swarm, Input::OriginDone { fetch }, now));
            pieces.extend(run.first.0 / 4..(run.first.0 + run.count) / 4);
        }
        outputs.extend(give(&mut swarm, Input::Timeout, now));
    }
    pieces.sort_unstable();
    pieces
}

#[test]
fn nothing_beyond_a_range_is_fetched() {
    for playing in [false, true] {
        // From within the fourth piece to the first byte of the seventh.
        let pieces = fetched_for(3 * 65_536 + 10, 6 * 65_536 + 1, playing);
        assert_eq!(pieces, [3, 4, 5, 6], "playing: {playing}");
        assert!(fetched_for(70_000, 70_000, playing).is_empty());
        assert!(fetched_for(70_000, 10, playing).is_empty(), "it was read");
    }
}
