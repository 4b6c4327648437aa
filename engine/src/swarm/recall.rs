//! What was asked ahead of time and still waits at a peer when it is needed soon: it is asked for anew.
//!
//! What a reader needs later stands behind all that is urgent at its peer, which does not know when its time has come.
//! Shortly before, it is taken back unless it has begun to come, and whoever would bring it soonest is asked (`pick`),
//! urgently this time. Not here: what is late although it was urgent (`endgame`, `origin_urgent`).

use std::time::{Duration, Instant};

use super::Swarm;
use super::readers::URGENT;
use super::requests::Request;
use super::types::RequestId;

/// What is needed within this time is taken back: early enough to be asked of a second peer if the first one fails.
const SOON: Duration = Duration::from_secs(4);
/// Who was asked just now is left to answer.
const YOUNG: Duration = Duration::from_millis(500);

impl Request {
    /// Whether it was asked ahead, some time ago, and nothing of it came.
    fn waits(&self, now: Instant) -> bool {
        let untouched = self.left == self.span.end - self.span.start;
        !self.urgent && untouched && now.saturating_duration_since(self.sent) > YOUNG
    }
}

impl Swarm {
    /// Takes back what waits and is needed soon by a reader that plays.
    pub(super) fn recall(&mut self, now: Instant) {
        let mut waiting: Vec<RequestId> = Vec::new();
        for reader in self.readers.values().filter(|r| r.streams() && !r.starting()) {
            let media = SOON + now.saturating_duration_since(reader.at);
            let span = self.byte_span(reader.file, &reader.window(media.min(URGENT)));
            if span.is_empty() {
                continue;
            }
            for piece in self.pieces_of(&span) {
                let running = self.by_piece.get(&piece).into_iter().flatten();
                waiting.extend(running.filter(|id| {
                    self.requests
                        .get(id)
                        .is_some_and(|r| r.span.start < span.end && r.waits(now))
                }));
            }
        }
        for id in waiting {
            self.cancel(id, now);
        }
    }
}
