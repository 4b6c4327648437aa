//! A start that is let down by its peers turns to the origin.
//!
//! Whoever comes first in a crowd asks those who came just before, and each of them is asked by all who come. What has
//! waited in their queues for a while is taken back, when the origin would bring it soon: it is drawn at once
//! (`origin_urgent`). What has begun to come is left to come. Not here: what a start leaves to the origin from its
//! beginning (`origin_urgent`), what is asked of a second peer (`endgame`).

use std::time::{Duration, Instant};

use super::Swarm;
use super::claims::claimer;
use super::origin_urgent::UNMEASURED;
use super::types::RequestId;

/// A start waits so long for a peer of which nothing comes.
const PATIENCE: Duration = Duration::from_secs(1);
/// The origin has to bring it within this time, in seconds. A narrow one has enough to do with what nobody holds.
const SOON: f64 = 0.7;

impl Swarm {
    /// Takes back what a start waits for at its peers, as far as the origin has time for it.
    pub(super) fn take_back_starts(&mut self, now: Instant) {
        if !self.start_is_missing() || !self.origin.usable(&self.config, now) || !self.origin_is_at_ease(now)
        {
            return;
        }
        let starts = self.readers.values().filter(|reader| reader.starting());
        let spans: Vec<_> = starts.map(|reader| self.urgent_span(reader)).collect();
        let (blocks, limit) = (self.layout.piece_blocks(), self.queue_limit(1.0));
        let mut coming = self.origin.outstanding;
        let mut late: Vec<RequestId> = Vec::new();
        for span in spans.into_iter().filter(|span| !span.is_empty()) {
            for piece in self.pieces_of(&span) {
                if coming >= limit
                    || !self.has_room(limit)
                    || self.origin.score.eta(coming, blocks, UNMEASURED) > SOON
                {
                    break;
                }
                let first = self.layout.piece_span(piece).start;
                if self.waits_in_vain(piece, now) && !self.is_drawn_for_start(first, now) {
                    coming += blocks;
                    late.extend(self.by_piece.get(&piece).into_iter().flatten());
                }
            }
        }
        for id in late {
            self.cancel(id, now);
        }
    }

    /// Whether nothing came of all that peers were asked for of a piece, and it was asked for some time ago.
    fn waits_in_vain(&self, piece: u32, now: Instant) -> bool {
        let ids = self.by_piece.get(&piece).into_iter().flatten();
        let mut running = ids.filter_map(|id| self.requests.get(id)).peekable();
        let is_old = |sent: Instant| now.saturating_duration_since(sent) > PATIENCE;
        let mut old = false;
        running.peek().is_some()
            && running.all(|r| {
                old |= is_old(r.sent);
                r.left == r.span.end - r.span.start
            })
            && old
            && !self.pieces[piece as usize].no_origin
    }

    /// Whether another viewer draws a block that a start needs. Who holds it already has drawn it: what it says is that
    /// it hands it on, which may take long.
    pub(super) fn is_drawn_for_start(&mut self, block: u32, now: Instant) -> bool {
        let holders = self.peers.values().filter(|p| p.have.get(block));
        let holders: Vec<u64> = holders.map(|p| claimer(p.id)).collect();
        self.is_claimed(block / self.layout.piece_blocks(), &holders, now)
    }
}
