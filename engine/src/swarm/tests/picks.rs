//! Which peer is asked, and for what, by hand.

use super::*;

#[test]
fn what_one_peer_alone_holds_is_asked_of_it_first() {
    for alone in [5, 23, 38] {
        let now = Instant::now();
        // One piece is nowhere, so that nobody is a seed.
        let mut swarm = core(41, peers_only(), now);
        let rest = [
            BlockRun::new(0, 0, alone * 4),
            BlockRun::new(0, alone * 4 + 4, 156 - alone * 4),
        ];
        for peer in 2..=5 {
            connect(&mut swarm, peer, rest.to_vec(), now);
        }
        let outputs = connect(&mut swarm, 1, vec![BlockRun::new(0, 0, 160)], now);
        let asked = requests(&outputs);
        assert!(
            matches!(asked[..], [(1, _, run)] if run == BlockRun::new(0, alone * 4, 4)),
            "{asked:?}"
        );
    }
}

/// A player that has all but what it is to lack, and a peer that holds everything.
struct Player {
    swarm: Swarm,
    now: Instant,
}

const PIECES: u64 = 20;
/// Bytes a second: a piece.
const BITRATE: u64 = 65_536;

impl Player {
    fn new() -> Self {
        let now = Instant::now();
        let mut swarm = core(PIECES, peers_only(), now);
        let (run, source) = (BlockRun::new(0, 0, PIECES as u32 * 4), Source::Disk);
        give(&mut swarm, Input::Verified { run, source }, now);
        let demand = Demand::Stream {
            bitrate: BITRATE,
            playing: true,
        };
        let reader = Input::ReaderOpened {
            reader: ReaderId(1),
            file: FileIndex(0),
            position: 0,
            demand,
        };
        give(&mut swarm, reader, now);
        let mut player = Self { swarm, now };
        player.meet(1, Duration::from_millis(50));
        player
    }

    fn meet(&mut self, peer: u64, rtt: Duration) {
        connect(
            &mut self.swarm,
            peer,
            vec![BlockRun::new(0, 0, PIECES as u32 * 4)],
            self.now,
        );
        let peer = Peer(peer);
        give(&mut self.swarm, Input::PeerRtt { peer, rtt }, self.now);
    }

    /// A piece that it needs in a second is not there any more. Gives who is asked for it.
    fn lacks(&mut self, piece: u32) -> (u64, RequestId) {
        let demand = Demand::Stream {
            bitrate: BITRATE,
            playing: true,
        };
        let moved = Input::ReaderMoved {
            reader: ReaderId(1),
            position: u64::from(piece - 1) * BITRATE,
            demand,
        };
        give(&mut self.swarm, moved, self.now);
        let run = BlockRun::new(0, piece * 4, 4);
        let outputs = give(&mut self.swarm, Input::Lost { run }, self.now);
        let [asked] = asked(&outputs)[..] else {
            panic!("{outputs:?}")
        };
        asked
    }

    fn gets(&mut self, piece: u32, (peer, request): (u64, RequestId)) {
        let (run, source) = (BlockRun::new(0, piece * 4, 4), Source::Peer(Peer(peer)));
        give(&mut self.swarm, Input::Verified { run, source }, self.now);
        give(&mut self.swarm, Input::RequestDone { request }, self.now);
    }

    /// The only peer is asked so often, and takes so long each time.
    fn is_served(&mut self, times: u32, after: Duration) {
        for _ in 0..times {
            let asked = self.lacks(5);
            let late = self.now + after;
            while self.now < late {
                self.now += TICK;
                give(&mut self.swarm, Input::Timeout, self.now);
            }
            self.gets(5, asked);
        }
    }

    /// Whether a second peer, whose round trip is a little longer, is asked instead of the first one.
    fn prefers_the_other(&mut self) -> bool {
        self.meet(2, Duration::from_millis(60));
        let asked = self.lacks(10);
        self.gets(10, asked);
        let peer = Peer(2);
        give(&mut self.swarm, Input::PeerDisconnected { peer }, self.now);
        asked.0 == 2
    }
}

#[test]
fn who_missed_deadlines_is_asked_after_others_until_it_has_met_as_many() {
    let mut player = Player::new();
    player.is_served(3, Duration::from_millis(100));
    assert!(!player.prefers_the_other(), "the first one is nearer");
    player.is_served(3, Duration::from_millis(1_200));
    assert!(player.prefers_the_other());
    player.is_served(12, Duration::from_millis(100));
    assert!(!player.prefers_the_other(), "it is forgiven");
}
