//! Which introductions are heeded: for each a router is opened and somebody dialled, so that whoever introduces could
//! point us at a victim. Pure.
//!
//! Invariants: the address is bounded by its source and host as any other ([`Candidates::add`]); so are the
//! introductions of one source under way, and all together; one address is tried once at a time, with longer and
//! longer pauses. They take no place of dials.

use super::candidates::{Candidates, Heard, MAX_DIALS, REDIAL};
use std::net::SocketAddr;
use std::time::Instant;

/// Introductions under way.
const MOST: usize = 2 * MAX_DIALS;

/// Introductions to one address.
#[derive(Debug, Default)]
pub(super) struct Punch {
    /// Who made the one that is under way.
    pub(super) by: Option<Heard>,
    /// How many were heeded since it was last a neighbour.
    pub(super) times: u32,
    not_before: Option<Instant>,
}

impl Candidates {
    /// Somebody introduces us to who is at this address. True when we are to try, until [`Self::punched`].
    pub(super) fn introduce(&mut self, address: SocketAddr, heard: Heard, now: Instant) -> bool {
        if heard == Heard::Meeting {
            // The tracker sees somebody there who wants to reach us.
            self.given_up.remove(&address);
        }
        if !self.add(address, heard, None, now) {
            return false;
        }
        let under_way = || self.known.values().filter_map(|c| c.punch.by);
        let of_source = under_way().filter(|by| *by == heard).count();
        if under_way().count() >= MOST || of_source >= heard.limits().1 {
            return false;
        }
        let Some(candidate) = self.known.get_mut(&address) else {
            return false;
        };
        let punch = &mut candidate.punch;
        if punch.by.is_some() || punch.not_before.is_some_and(|at| at > now) {
            return false;
        }
        punch.by = Some(heard);
        let pause = (REDIAL.0 * 2_u32.saturating_pow(punch.times.min(10))).min(REDIAL.1);
        punch.not_before = Some(now + pause);
        punch.times += 1;
        true
    }

    /// An introduction is over. Whether a dial of the same address goes on.
    pub(super) fn punched(&mut self, address: SocketAddr, now: Instant) -> bool {
        let Some(candidate) = self.known.get_mut(&address) else {
            return false;
        };
        candidate.punch.by = None;
        candidate.next = candidate.next.max(now + REDIAL.0);
        candidate.dialing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::PeerId;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;
    use std::time::Duration;

    fn at(n: u32) -> SocketAddr {
        let [_, b, c, d] = n.to_be_bytes();
        SocketAddr::from(([93, b, c, d], 1_000))
    }

    fn teller(n: u8) -> Heard {
        Heard::Peer(PeerId([n; 32]))
    }

    #[test]
    fn one_source_gets_its_share_and_blocks_no_dial() {
        let now = Instant::now();
        let mut candidates = Candidates::default();
        let heeded = (0..1_000).filter(|&n| candidates.introduce(at(n), teller(1), now));
        assert_eq!(heeded.count(), MAX_DIALS / 2);
        assert!(candidates.known.len() <= 50, "as many as of a peer exchange");
        let one_host = (0..100).filter(|&port| {
            let address = SocketAddr::from(([93, 184, 216, 34], 1 + port));
            candidates.introduce(address, teller(2), now)
        });
        assert_eq!(one_host.count(), MAX_DIALS / 2);
        let of_host = candidates
            .known
            .keys()
            .filter(|a| a.ip().to_string() == "93.184.216.34");
        assert_eq!(of_host.count(), 8, "one host has its share");
        // However many introduce: there is an end, and who was named is dialled.
        let heeded = (3..100).filter(|&n| candidates.introduce(at(10_000 + u32::from(n)), teller(n), now));
        assert_eq!(heeded.count(), MOST - MAX_DIALS);
        let honest = SocketAddr::from(([8, 8, 8, 8], 1));
        assert!(candidates.add(honest, Heard::Named, None, now));
        let mut rng = SmallRng::seed_from_u64(1);
        let dials = candidates.next_dials(30, now, |_, _| false, &mut rng);
        assert_eq!(dials.first().map(|(address, _)| *address), Some(honest));
        // Nobody is dialled for whom our router is being opened.
        assert!(
            dials
                .iter()
                .all(|(address, _)| candidates.known[address].punch.by.is_none())
        );
    }

    #[test]
    fn one_address_is_tried_with_longer_and_longer_pauses() {
        let start = Instant::now();
        let mut candidates = Candidates::default();
        let mut heeded = Vec::new();
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            if candidates.introduce(at(1), Heard::Meeting, now) {
                assert!(!candidates.introduce(at(1), teller(9), now), "once at a time");
                assert!(!candidates.punched(at(1), now), "nobody dials it");
                heeded.push(second);
            }
        }
        assert_eq!(heeded, [0, 1, 3, 7, 15, 31, 63]);
        // A neighbour that was lost is a new beginning.
        candidates.is_neighbour(PeerId([5; 32]), Some(at(1)));
        let now = start + Duration::from_secs(300);
        assert!(candidates.introduce(at(1), Heard::Meeting, now));
        candidates.punched(at(1), now);
        assert!(candidates.introduce(at(1), Heard::Meeting, now + REDIAL.0));
    }

    #[test]
    fn an_introduction_does_not_end_a_dial_that_goes_on() {
        let now = Instant::now();
        let mut candidates = Candidates::default();
        assert!(candidates.add(at(1), Heard::Tracker, None, now));
        let mut rng = SmallRng::seed_from_u64(1);
        assert_eq!(candidates.next_dials(1, now, |_, _| false, &mut rng).len(), 1);
        assert!(
            candidates.introduce(at(1), Heard::Meeting, now),
            "that is why we asked"
        );
        assert!(candidates.punched(at(1), now));
        assert_eq!(candidates.dialing(), 1);
    }
}
