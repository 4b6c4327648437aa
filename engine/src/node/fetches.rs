//! What the origin is asked for: fetches under way, and when the core is told of their end.
//!
//! Blocks that an origin sends cannot be judged before their piece is whole, so a fetch that has ended may still matter.
//! Not for asking (`transfer`), nor for what to ask for ([`crate::swarm`]).

use super::driver::Driver;
use crate::origin::OriginError;
use crate::swarm::{BlockRun, FetchId, Input, OriginFailure};
use std::time::{Duration, Instant};
use tokio::task::AbortHandle;

/// An origin in trouble is asked before its time at most so often.
pub(super) const ASKED_AGAIN: Duration = Duration::from_secs(5);

/// One of them.
pub(super) struct Fetch {
    pub(super) run: BlockRun,
    pub(super) task: AbortHandle,
    pub(super) ended: Option<Result<(), OriginError>>,
}

impl Driver {
    /// Fetches that ended are told to the core once nothing of them can change any more: a block that waits for the
    /// rest of its piece may still be completed by another fetch.
    pub(super) fn settle_fetches(&mut self) {
        let ended: Vec<FetchId> = self
            .fetches
            .iter()
            .filter(|(_, f)| f.ended.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in ended {
            let Some(fetch) = self.fetches.get(&id) else {
                continue;
            };
            let run = fetch.run;
            let all_held = self.shared.store.has_blocks(self.ground.verifier.span(run));
            if !all_held && matches!(fetch.ended, Some(Ok(()))) && self.covered(run) {
                continue;
            }
            let Some(fetch) = self.fetches.remove(&id) else {
                continue;
            };
            if !all_held {
                self.discard_uncovered(run);
            }
            self.input(match fetch.ended {
                Some(Err(OriginError::Permanent { .. } | OriginError::Refused { .. }))
                    if self.ground.origin.is_usable() =>
                {
                    Input::OriginFailed {
                        fetch: id,
                        reason: OriginFailure::File,
                    }
                }
                Some(Err(OriginError::Temporary { after, .. } | OriginError::Refused { after, .. })) => {
                    Input::OriginFailed {
                        fetch: id,
                        reason: OriginFailure::Temporary { after: Some(after) },
                    }
                }
                Some(Err(OriginError::Permanent { .. })) => Input::OriginFailed {
                    fetch: id,
                    reason: OriginFailure::Permanent,
                },
                Some(Ok(())) | None => Input::OriginDone { fetch: id },
            });
        }
        let places = self.ground.origin.most_requests();
        if self.core.origin_places != places {
            self.core.origin_places = places;
            self.input(Input::Configure(self.core.clone()));
        }
        for problem in self.ground.origin.take_problems() {
            self.origin_problem = Some(problem.clone());
            self.problem(problem);
        }
    }

    /// Somebody waits: the end of a pause that follows the origin's failures need not be waited for.
    pub(super) fn ask_origin_again(&mut self) {
        let now = Instant::now();
        if now.saturating_duration_since(self.asked_again) < ASKED_AGAIN {
            return;
        }
        let origin = &self.ground.origin;
        // Who was silent is spared by the core alone.
        let is_spared = || self.swarm.spares_origin(now) && origin.named_pause().is_none();
        if origin.end_pauses() || is_spared() {
            self.asked_again = now;
            self.input(Input::OriginAgain);
        }
    }

    fn pieces_of(&self, run: BlockRun) -> std::ops::RangeInclusive<u32> {
        let verifier = &self.ground.verifier;
        let span = verifier.span(run);
        verifier.piece_of(span.start)..=verifier.piece_of(span.end.saturating_sub(1))
    }

    /// Whether a running fetch touches a piece of this run.
    fn covered(&self, run: BlockRun) -> bool {
        self.pieces_of(run).any(|piece| self.piece_is_fetched(piece))
    }

    fn piece_is_fetched(&self, piece: u32) -> bool {
        let is_asked = |f: &Fetch| f.ended.is_none() && self.pieces_of(f.run).contains(&piece);
        self.fetches.values().any(is_asked) || self.piece_is_streamed(piece)
    }

    /// Whether a stream of the whole file, which another fetch may have asked for, is still to bring the rest of this piece.
    fn piece_is_streamed(&self, piece: u32) -> bool {
        let verifier = &self.ground.verifier;
        let run = verifier.layout().run(verifier.piece_blocks(piece));
        let end = run.first.0 + run.count;
        self.ground.origin.streams(run.file.0 as usize, run.first.0..end)
    }

    /// Ends all fetches, with what could not be judged yet.
    pub(super) fn drop_fetches(&mut self) {
        for (_, fetch) in std::mem::take(&mut self.fetches) {
            fetch.task.abort();
            self.discard_uncovered(fetch.run);
        }
    }

    pub(super) fn discard_uncovered(&self, run: BlockRun) {
        for piece in self.pieces_of(run) {
            if !self.piece_is_fetched(piece) {
                let bytes = self.ground.assembler.discard(piece);
                self.ground.lose(bytes);
            }
        }
    }
}
