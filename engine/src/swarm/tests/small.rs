//! Torrents of very many small files: each takes a request of its own.

use std::collections::VecDeque;

use super::*;

/// So long everything takes to come, whatever its size.
const TRIP: Duration = Duration::from_millis(15);

fn tiny(files: usize, config: Config, now: Instant) -> Swarm {
    let layout = Layout::new(&vec![1; files], 16_384).expect("a valid layout");
    Swarm::new(Arc::new(layout), config, 1, now)
}

fn every(files: usize) -> Vec<BlockRun> {
    (0..files).map(|file| BlockRun::new(file as u32, 0, 1)).collect()
}

#[test]
fn a_peer_is_asked_for_as_many_small_files_as_for_whole_blocks() {
    let start = Instant::now();
    let mut swarm = tiny(2_000, peers_only(), start);
    let outputs = connect(&mut swarm, 1, every(2_000), start);
    let ask = |outputs: &[Output], at: Instant| -> Vec<_> {
        let new = requests(outputs);
        new.iter().map(|&(_, id, run)| (at, id, run)).collect()
    };
    let mut running: VecDeque<_> = ask(&outputs, start).into();
    while let Some((sent, request, run)) = running.pop_front() {
        let (now, source) = (sent + TRIP, Source::Peer(Peer(1)));
        let mut outputs = give(&mut swarm, Input::Verified { run, source }, now);
        outputs.extend(give(&mut swarm, Input::RequestDone { request }, now));
        running.extend(ask(&outputs, now));
        assert!(now < start + Duration::from_secs(1), "{:?}", swarm.progress());
    }
    assert!(swarm.is_complete());
}

#[test]
fn as_many_small_files_are_served_at_a_time_as_whole_blocks() {
    let start = Instant::now();
    let mut swarm = tiny(2_000, peers_only(), start);
    for run in every(2_000) {
        let source = Source::Disk;
        give(&mut swarm, Input::Verified { run, source }, start);
    }
    let peer = Peer(1);
    let mut outputs = connect(&mut swarm, 1, Vec::new(), start);
    let (mut now, mut files) = (start, every(2_000).into_iter().enumerate());
    for turn in 0..20 {
        // A peer that always has sixty requests here.
        let serving = |o: &&Output| matches!(o, Output::Serve { .. });
        let served = outputs.iter().filter(serving).count();
        let more = if turn == 0 { 60 } else { served };
        if turn > 5 {
            assert!(served >= 8, "{served} at a time in turn {turn}");
        }
        now += TRIP;
        let mut next = Vec::new();
        for output in &outputs {
            if let Output::Serve { peer, request, .. } = *output {
                let bytes = 1;
                let done = Input::SendDone { peer, request, bytes };
                next.extend(give(&mut swarm, done, now));
            }
        }
        for (id, run) in files.by_ref().take(more) {
            let asked = Input::PeerRequest {
                peer,
                request: UploadId(id as u64),
                run,
                urgency: Urgency::Far,
            };
            next.extend(give(&mut swarm, asked, now));
        }
        outputs = next;
    }
}

#[test]
fn an_origin_is_asked_for_several_small_files_at_a_time() {
    let start = Instant::now();
    let config = Config::default();
    let most = config.origin_fetches;
    let mut swarm = tiny(2_000, config, start);
    let mut outputs = give(&mut swarm, Input::Discovery { pending: false }, start);
    let mut now = start;
    for turn in 0..40 {
        let fetches: Vec<_> = outputs
            .iter()
            .filter_map(|o| match *o {
                Output::OriginFetch { fetch, run, .. } => Some((fetch, run)),
                _ => None,
            })
            .collect();
        assert_eq!(fetches.len(), most, "in turn {turn}");
        now += TRIP;
        outputs.clear();
        for (fetch, run) in fetches {
            let (bytes, source) = (1, Source::Origin);
            outputs.extend(give(&mut swarm, Input::OriginBytes { fetch, bytes }, now));
            outputs.extend(give(&mut swarm, Input::Verified { run, source }, now));
            outputs.extend(give(&mut swarm, Input::OriginDone { fetch }, now));
        }
    }
}
