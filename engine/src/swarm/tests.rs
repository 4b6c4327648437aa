//! The core driven by hand, and by random inputs against its invariants.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;

mod ahead;
mod blocks;
mod chokers;
mod crowd;
mod deadlines;
mod delivery;
mod ease;
mod fast;
mod hedges;
mod origin;
mod parts;
mod picks;
mod places;
mod random;
mod silent;
mod size;
mod small;
mod starts;
mod turns;

fn core(pieces: u64, config: Config, now: Instant) -> Swarm {
    let layout = Layout::new(&[pieces * 65_536], 65_536).expect("a valid layout");
    Swarm::new(Arc::new(layout), config, 1, now)
}

fn peers_only() -> Config {
    Config {
        use_origin: false,
        ..Config::default()
    }
}

fn drain(swarm: &mut Swarm) -> Vec<Output> {
    std::iter::from_fn(|| swarm.poll_output()).collect()
}

fn give(swarm: &mut Swarm, input: Input, now: Instant) -> Vec<Output> {
    swarm.handle(input, now);
    drain(swarm)
}

/// A player at the beginning of the only piece.
fn open() -> Input {
    Input::ReaderOpened {
        reader: ReaderId(1),
        file: FileIndex(0),
        position: 0,
        demand: Demand::Stream {
            bitrate: 16_000,
            playing: false,
        },
    }
}

fn fetched(outputs: &[Output]) -> u32 {
    outputs
        .iter()
        .map(|o| {
            if let Output::OriginFetch { run, .. } = o {
                run.count
            } else {
                0
            }
        })
        .sum()
}

/// The origin sends these blocks of a fetch, and they are right.
fn origin_brings(swarm: &mut Swarm, fetch: FetchId, run: BlockRun, now: Instant) -> Vec<Output> {
    let bytes = u64::from(run.count) * u64::from(BLOCK_SIZE);
    let mut outputs = give(swarm, Input::OriginBytes { fetch, bytes }, now);
    let source = Source::Origin;
    outputs.extend(give(swarm, Input::Verified { run, source }, now));
    outputs
}

/// What is asked of whom.
fn requests(outputs: &[Output]) -> Vec<(u64, RequestId, BlockRun)> {
    outputs
        .iter()
        .filter_map(|output| match output {
            Output::Request {
                peer, request, run, ..
            } => Some((peer.0, *request, *run)),
            _ => None,
        })
        .collect()
}

/// The same without what.
fn asked(outputs: &[Output]) -> Vec<(u64, RequestId)> {
    requests(outputs)
        .iter()
        .map(|&(peer, request, _)| (peer, request))
        .collect()
}

fn connect(swarm: &mut Swarm, peer: u64, runs: Vec<BlockRun>, now: Instant) -> Vec<Output> {
    let peer = Peer(peer);
    let mut out = give(
        swarm,
        Input::PeerConnected {
            peer,
            id: PeerId([peer.0 as u8; 32]),
        },
        now,
    );
    out.extend(give(swarm, Input::PeerHave { peer, runs }, now));
    out.extend(give(swarm, Input::PeerUnchoked { peer }, now));
    out
}
