//! Who may ask at a full uplink, by hand.

use super::*;

#[test]
fn whoever_calls_everything_urgent_does_not_keep_its_place_for_ever() {
    let start = Instant::now();
    let config = Config {
        upload_slots: 1,
        unchoked_peers: 2,
        ..Config::default()
    };
    let mut swarm = core(40, config, start);
    let (run, source) = (BlockRun::new(0, 0, 160), Source::Disk);
    give(&mut swarm, Input::Verified { run, source }, start);
    let mut outputs = Vec::new();
    for peer in 1..=3 {
        outputs.extend(connect(&mut swarm, peer, vec![], start));
    }
    let newcomer = Output::Unchoke { peer: Peer(3) };
    assert!(!outputs.contains(&newcomer), "both places are taken");
    // One is served, and each has something urgent that waits, whenever places change.
    for (peer, name) in [(1, 1), (1, 2), (2, 3)] {
        let request = Input::PeerRequest {
            peer: Peer(peer),
            request: UploadId(name),
            run: BlockRun::new(0, name as u32 * 4, 4),
            urgency: Urgency::Urgent,
        };
        give(&mut swarm, request, start);
    }
    let (now, place) = loop {
        let now = swarm.next_timeout().expect("somebody waits");
        let outputs = give(&mut swarm, Input::Timeout, now);
        if outputs.contains(&newcomer) {
            break (now, outputs);
        }
        assert!(now < start + Duration::from_secs(60), "it waits for ever");
    };
    assert!(
        now > start + Duration::from_secs(15),
        "a deadline is spared at first"
    );
    assert!(now <= start + Duration::from_secs(20));
    let choked = place.iter().filter(|o| matches!(o, Output::Choke { .. }));
    assert_eq!(choked.count(), 1, "the other one keeps its place: {place:?}");
}
