//! Peers that serve no more, or never did: what only they hold is drawn from the origin.

use super::*;

/// What the first peer does once it has served a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// As before: it never served.
    NeverServes,
    Chokes,
    /// Half a minute later, and brings nothing meanwhile.
    ChokesLater,
    /// And lets us ask half a minute later, for an instant in which it brings nothing.
    Teases,
    /// And serves another block half a minute later.
    ServesAgain,
    Refuses,
    IsSilent,
}

/// A download from some peers: the first one holds the first piece and nothing else, the others hold the rest, of which each
/// brings a block now and then. The origin answers at once.
struct World {
    swarm: Swarm,
    now: Instant,
    then: Then,
    asked: VecDeque<(Peer, RequestId, u32)>,
}

const FIRST: Peer = Peer(1);
const OTHERS: std::ops::RangeInclusive<u64> = 2..=6;
const PIECES: u64 = 60;

impl World {
    fn new(then: Then) -> Self {
        let now = Instant::now();
        let mut world = Self {
            swarm: core(PIECES, Config::default(), now),
            now,
            then,
            asked: VecDeque::new(),
        };
        let blocks = PIECES as u32 * 4;
        let others = OTHERS.map(|peer| (peer, BlockRun::new(0, 4, blocks - 4)));
        for (peer, run) in [(FIRST.0, BlockRun::new(0, 0, 4))].into_iter().chain(others) {
            let outputs = connect(&mut world.swarm, peer, vec![run], now);
            world.answer(outputs);
        }
        world.give(Input::Discovery { pending: false });
        world.now += TICK;
        world.serve_one();
        world
    }

    fn give(&mut self, input: Input) {
        let outputs = give(&mut self.swarm, input, self.now);
        self.answer(outputs);
    }

    fn answer(&mut self, outputs: Vec<Output>) {
        for (peer, request, run) in requests(&outputs) {
            let blocks = run.first.0..run.first.0 + run.count;
            self.asked
                .extend(blocks.map(|block| (Peer(peer), request, block)));
        }
        for output in outputs {
            match output {
                Output::Cancel { request, .. } => self.asked.retain(|asked| asked.1 != request),
                Output::OriginFetch { fetch, run, .. } => {
                    let source = Source::Origin;
                    self.give(Input::Verified { run, source });
                    self.give(Input::OriginDone { fetch });
                }
                _ => {}
            }
        }
    }

    /// A peer brings the next block that it was asked for, if any.
    fn bring(&mut self, peer: Peer) -> bool {
        let Some(at) = self.asked.iter().position(|asked| asked.0 == peer) else {
            return false;
        };
        let (_, request, block) = self.asked.remove(at).expect("it was found there");
        let (run, source) = (BlockRun::new(0, block, 1), Source::Peer(peer));
        self.give(Input::Verified { run, source });
        if self.asked.iter().all(|asked| asked.1 != request) {
            self.give(Input::RequestDone { request });
        }
        true
    }

    /// The first peer serves a block, and does then what it does.
    fn serve_one(&mut self) {
        if self.then != Then::NeverServes {
            assert!(self.bring(FIRST), "it is asked");
        }
        if matches!(self.then, Then::Chokes | Then::Teases | Then::ServesAgain) {
            self.give(Input::PeerChoked { peer: FIRST });
        }
        self.refuse();
    }

    fn refuse(&mut self) {
        while let Some(&(_, request, _)) = self.asked.iter().find(|asked| asked.0 == FIRST)
            && !matches!(self.then, Then::IsSilent | Then::ChokesLater)
        {
            self.asked.retain(|asked| asked.1 != request);
            let reason = RequestFailure::Refused;
            self.give(Input::RequestFailed { request, reason });
        }
    }

    /// Passes time until all of the first piece is there. Gives how many seconds that took.
    fn until_drawn(mut self) -> u32 {
        let start = self.now;
        for tick in 1..=1_200 {
            self.now = start + TICK * tick;
            self.give(Input::Timeout);
            self.refuse();
            if tick % 30 == 0 {
                OTHERS.for_each(|peer| {
                    self.bring(Peer(peer));
                });
            }
            if tick == 300 && self.then == Then::ChokesLater {
                self.give(Input::PeerChoked { peer: FIRST });
            }
            if tick == 300 && matches!(self.then, Then::Teases | Then::ServesAgain) {
                self.give(Input::PeerUnchoked { peer: FIRST });
                if self.then == Then::ServesAgain {
                    self.serve_one();
                } else {
                    self.give(Input::PeerChoked { peer: FIRST });
                    self.refuse();
                }
            }
            if self.swarm.has(BlockRun::new(0, 0, 4)) {
                let lacks = self.swarm.progress().have_bytes < PIECES * 65_536;
                assert!(lacks, "the others bring little all the time");
                return tick / 10;
            }
        }
        panic!("{:?}: never", self.then)
    }
}

#[test]
fn what_only_those_hold_who_serve_no_more_is_drawn_after_a_minute_and_of_free_riders_sooner() {
    for (then, seconds) in [
        // Until it has failed often enough.
        (Then::NeverServes, 1..55),
        // And the turns of six others.
        (Then::Chokes, 60..80),
        (Then::ChokesLater, 4..25),
        (Then::Teases, 60..80),
        (Then::ServesAgain, 90..110),
        (Then::Refuses, 60..90),
        (Then::IsSilent, 4..25),
    ] {
        let drawn = World::new(then).until_drawn();
        println!("{then:?}: after {drawn} s");
        assert!(seconds.contains(&drawn), "{then:?}: {drawn} s");
    }
}
