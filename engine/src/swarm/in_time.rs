//! Whether what is urgent can be sent in time, and who is owed a turn when it cannot.
//!
//! Who asks should hear at once that others wait for all that a slow uplink can send, and turn elsewhere. Whoever asks
//! for ever, and again in the instant in which there is room, would leave none for those who come back after a while: so
//! much of the time is kept for a while for whoever was refused, from those who were served after it. Invariant: who
//! has a place and asks again and again is refused no longer than until those who were served before it had one turn
//! each. Not here: who has a place, and who is next among those who are not refused (`choke`).

use std::time::{Duration, Instant};

use super::choke::{Customer, Queued, TURN, Uploads};
use super::types::{BLOCK_SIZE, BlockRun, Peer, Urgency};

/// What is urgent is sent within this time, in seconds, or refused; before the uplink is measured, so much is taken.
const IN_TIME: f64 = 1.2;
const UNMEASURED: f64 = 4.0 * TURN;
/// What many others hold too is sent within this time, in seconds: whoever asks finds a faster one. So often only, or
/// nobody would be asked where all are slow.
const QUICK: f64 = 0.3;
const QUICK_AGAIN: Duration = Duration::from_secs(5);
/// No more than a usual request is kept for anybody, however much it asked for at a time.
const USUAL: u32 = 4;
/// Who was refused, and needs it still, asks again within this time.
const OWED: Duration = Duration::from_millis(1_200);

/// The blocks of a run, if it is urgent.
pub(super) fn urgent_blocks(urgency: Urgency, run: BlockRun) -> u32 {
    if urgency == Urgency::Urgent { run.count } else { 0 }
}

/// What somebody was refused, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused {
    blocks: u32,
    at: Instant,
}

impl Customer {
    fn urgent_queued(&self) -> u32 {
        let queued = self.queue.iter().map(|q| urgent_blocks(q.urgency, q.run));
        queued.sum()
    }

    fn urgent_active(&self) -> u32 {
        self.active.iter().map(|&(_, urgent)| urgent).sum()
    }

    /// What it may still come back for.
    fn owed(&self, now: Instant) -> u32 {
        let refused = self
            .refused
            .filter(|refused| now.saturating_duration_since(refused.at) < OWED);
        match refused {
            Some(refused) if !self.choked && self.urgent_queued() == 0 => refused.blocks,
            _ => 0,
        }
    }
}

impl Uploads {
    /// Whether somebody else should be asked for what many hold.
    fn leaves_to_others(&mut self, peer: Peer, asked: &Queued, now: Instant) -> bool {
        let own = urgent_blocks(asked.urgency, asked.run);
        let ahead = self.peers.values().map(|c| c.urgent_active() + c.urgent_queued());
        let bytes = f64::from(ahead.sum::<u32>() + own) * f64::from(BLOCK_SIZE);
        if !asked.spread || self.rate().is_none_or(|rate| bytes <= rate * QUICK) {
            return false;
        }
        let Some(asker) = self.peers.get_mut(&peer) else {
            return false;
        };
        let again = |at: Instant| now.saturating_duration_since(at) >= QUICK_AGAIN;
        let leaves = asker.sent_on.is_none_or(again);
        if leaves {
            asker.sent_on = Some(now);
        }
        leaves
    }

    /// Whether what is asked for can be sent soon, if it is urgent. With nobody before it, it is taken however slow we
    /// are, unless many hold it. Remembers who is refused.
    pub(super) fn takes_in_time(&mut self, peer: Peer, asked: &Queued, now: Instant) -> bool {
        let own = urgent_blocks(asked.urgency, asked.run);
        if own > 0 && self.leaves_to_others(peer, asked, now) {
            return false;
        }
        let Some(asker) = self.peers.get(&peer).filter(|_| own > 0) else {
            return true;
        };
        let others = self.peers.iter().filter(|&(&other, _)| other != peer);
        let owed = others
            .filter(|(_, c)| c.served < asker.served)
            .map(|(_, c)| c.owed(now));
        let queued = self.peers.values().map(|c| c.urgent_active() + c.urgent_queued());
        let ahead = queued.sum::<u32>() + owed.sum::<u32>();
        let bytes = f64::from(ahead + own) * f64::from(BLOCK_SIZE);
        let most = self.rate().map_or(UNMEASURED, |rate| rate * IN_TIME);
        let taken = ahead == 0 || bytes <= most;
        if let Some(asker) = self.peers.get_mut(&peer) {
            let blocks = own.min(USUAL);
            asker.refused = (!taken).then_some(Refused { blocks, at: now });
        }
        taken
    }
}
