//! Peers that call everything urgent at a slow uplink, and one that does not, by hand.

use super::*;

/// Of the other peers, which ask again in the instant in which there is room.
const LIARS: std::ops::RangeInclusive<u64> = 1..=5;
const HONEST: u64 = 6;
/// The uplink sends a run in this time.
const RUN: Duration = Duration::from_millis(500);

/// An uplink that sends one run after the other.
struct Line {
    swarm: Swarm,
    now: Instant,
    sending: VecDeque<(u64, UploadId)>,
    next: u64,
}

impl Line {
    fn new() -> Self {
        let now = Instant::now();
        // Pieces of 64 blocks: more may be asked for at a time.
        let layout = Layout::new(&[40 * 65_536], 1 << 20).expect("a valid layout");
        let mut swarm = Swarm::new(Arc::new(layout), Config::default(), 1, now);
        let (run, source) = (BlockRun::new(0, 0, 160), Source::Disk);
        give(&mut swarm, Input::Verified { run, source }, now);
        let sending = VecDeque::new();
        Self {
            swarm,
            now,
            sending,
            next: 0,
        }
    }

    fn give(&mut self, input: Input) -> Vec<Output> {
        let outputs = give(&mut self.swarm, input, self.now);
        for output in &outputs {
            match *output {
                Output::Serve { peer, request, .. } => self.sending.push_back((peer.0, request)),
                Output::Choke { peer } => panic!("there is a place for {peer:?}"),
                _ => {}
            }
        }
        outputs
    }

    /// Whether an urgent request is taken.
    fn ask(&mut self, peer: u64) -> bool {
        self.ask_for(peer, 4)
    }

    /// Whether an urgent request for so many blocks is taken.
    fn ask_for(&mut self, peer: u64, blocks: u32) -> bool {
        let request = UploadId(self.next);
        self.next += 1;
        let outputs = self.give(Input::PeerRequest {
            peer: Peer(peer),
            request,
            run: BlockRun::new(0, (self.next % 40 * 4) as u32 / blocks * blocks, blocks),
            urgency: Urgency::Urgent,
        });
        !outputs.iter().any(|output| match output {
            Output::Refuse { reason, .. } => {
                assert_eq!(*reason, RefuseReason::Busy);
                true
            }
            _ => false,
        })
    }

    /// A run is sent, and all liars ask for as much as they get. Gives whose it was.
    fn send(&mut self) -> Option<u64> {
        self.now += RUN;
        let sent = self.sending.pop_front();
        if let Some((peer, request)) = sent {
            self.give(Input::SendDone {
                peer: Peer(peer),
                request,
                bytes: 65_536,
            });
        }
        let first = *LIARS.start() + self.next % LIARS.count() as u64;
        for peer in (first..=*LIARS.end()).chain(*LIARS.start()..first) {
            while self.ask(peer) {}
        }
        sent.map(|(peer, _)| peer)
    }
}

#[test]
fn what_many_hold_is_left_to_faster_ones_now_and_then() {
    let mut line = Line::new();
    // A run in a second is seen.
    line.give(Input::PeerConnected {
        peer: Peer(1),
        id: PeerId([1; 32]),
    });
    assert!(line.ask(1));
    line.now += RUN * 2;
    let sent = line.sending.pop_front();
    let (_, request) = sent.expect("it is sent");
    line.give(Input::SendDone {
        peer: Peer(1),
        request,
        bytes: 65_536,
    });
    assert!(line.ask(1), "nobody else holds it");
    line.sending.clear();
    for peer in 2..=6 {
        connect(&mut line.swarm, peer, vec![BlockRun::new(0, 0, 160)], line.now);
    }
    line.give(Input::PeerConnected {
        peer: Peer(7),
        id: PeerId([7; 32]),
    });
    line.now += RUN * 2;
    line.give(Input::SendDone {
        peer: Peer(1),
        request: UploadId(1),
        bytes: 65_536,
    });
    assert!(!line.ask(7), "five others hold it");
    assert!(line.ask(7), "it asks nevertheless");
}

#[test]
fn whoever_calls_everything_urgent_leaves_turns_to_others() {
    let mut line = Line::new();
    for peer in LIARS {
        line.give(Input::PeerConnected {
            peer: Peer(peer),
            id: PeerId([peer as u8; 32]),
        });
    }
    let sent = (0..20).filter(|_| line.send().is_some()).count();
    assert!(sent >= 18, "they have the line for themselves: {sent}");
    line.give(Input::PeerConnected {
        peer: Peer(HONEST),
        id: PeerId([HONEST as u8; 32]),
    });
    for turn in 0..4 {
        // Asked again when an honest peer does: a quarter of a second after the first refusal, then half a second later,
        // then each second.
        let began = line.now;
        let mut pauses = [1, 1].into_iter().chain(std::iter::repeat(2));
        while !line.ask(HONEST) {
            for _ in 0..pauses.next().expect("without end") {
                line.send();
            }
            assert!(line.now < began + RUN * 10, "refused for ever, the {turn}th time");
        }
        while line.send() != Some(HONEST) {
            assert!(line.now < began + RUN * 13, "not sent in time, the {turn}th time");
        }
    }
    // What is kept for somebody who does not come back is not kept for long.
    let sent = (0..20).filter(|_| line.send().is_some()).count();
    assert!(sent >= 18, "{sent}");
}

#[test]
fn a_viewer_that_has_finished_is_asked_like_any_other() {
    let start = Instant::now();
    let all = BlockRun::new(0, 0, 64);
    let half = BlockRun::new(0, 0, 32);
    for finished in [false, true] {
        let mut swarm = core(16, Config::default(), start);
        let first = if finished { half } else { all };
        connect(&mut swarm, 1, vec![first], start);
        connect(&mut swarm, 2, Vec::new(), start);
        connect(&mut swarm, 3, Vec::new(), start);
        let peer = Peer(1);
        let (run, source) = (half, Source::Peer(peer));
        give(&mut swarm, Input::Verified { run, source }, start);
        let runs = vec![all];
        let outputs = give(&mut swarm, Input::PeerHave { peer, runs }, start);
        assert_eq!(swarm.spares_seeds(), !finished);
        assert_eq!(swarm.progress().seeds, 1, "both hold everything");
        let asked = outputs.iter().any(|o| matches!(o, Output::Request { .. }));
        assert_eq!(asked, finished, "the other half is asked of it");
    }
}

#[test]
fn whoever_asks_for_much_at_a_time_is_kept_no_more_than_a_usual_turn() {
    let mut line = Line::new();
    for peer in 1..=3 {
        line.give(Input::PeerConnected {
            peer: Peer(peer),
            id: PeerId([peer as u8; 32]),
        });
    }
    // Three runs are taken at a time, at the rate that is seen.
    for _ in 0..4 {
        assert!(line.ask(1));
        line.now += RUN;
        let (peer, request) = line.sending.pop_front().expect("it is sent");
        line.give(Input::SendDone {
            peer: Peer(peer),
            request,
            bytes: 65_536,
        });
    }
    assert!(line.ask(1));
    assert!(!line.ask_for(2, 64), "it would take eight seconds");
    assert!(!line.ask_for(1, 8), "a turn is kept for the other");
    assert!(line.ask(1), "it fits in beside what is kept for the other");
}
