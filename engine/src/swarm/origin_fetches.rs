//! Fetches from the origin that run: how much is asked for at a time, what they bring, how they end.
//!
//! Never is more than about one second of data asked for at a time. Not here: when the origin is asked (`origin_duty`,
//! `origin_urgent`); HTTP, retries of redirects, ranges' headers (the driver's).

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::Swarm;
use super::bits::runs;
use super::budget::Share;
use super::layout::Layout;
use super::score::Score;
use super::types::{
    BLOCK_SIZE, BlockRun, Config, FetchId, OriginFailure, OriginPolicy, Output, Source, Urgency,
};

/// Most that is asked of the origin at a time, and before its rate is known.
const MAX_QUEUE: u64 = 4 << 20;
const FIRST_QUEUE: u64 = 256 << 10;
/// So many times more fetches run at a time when the origin is to be used beside the peers: towards the end what is missing
/// lies scattered, and a small range waits for a round trip or two behind our own uploads.
const FAST: usize = 2;
/// A fetch that brings nothing for this long after it was asked is given up.
const FETCH_STALL: Duration = Duration::from_secs(10);
/// So few bytes are no sign of life: an origin that trickles would hold its blocks for ever.
const TRICKLE: u64 = 4 << 10;

/// A running range request.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) span: Range<u32>,
    left: u32,
    pub(super) sent: Instant,
    active_at: Instant,
    /// Bytes that came since `active_at`.
    since_active: u64,
    /// Nothing is asked for it now: it waits for a place at a web seed.
    waits: bool,
}

/// The origin as we know it.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) fetches: BTreeMap<FetchId, Fetch>,
    /// Blocks asked for and not held yet.
    pub(super) outstanding: u32,
    /// Bytes that arrived for running fetches and are not verified yet: they wait in the driver, not at the origin.
    arrived: u64,
    pub(super) score: Score,
    /// When it was asked for the first time.
    pub(super) asked_first: Option<Instant>,
    gone: bool,
    retry_at: Option<Instant>,
    failures: u32,
    /// Until when it is left alone with what has time.
    pub(super) busy_until: Instant,
    /// What is left of our share of the publisher's budget.
    pub(super) share: Share,
    /// When the pieces are looked at again.
    pub(super) scan_at: Instant,
    /// Whether pieces were due when they were looked at.
    pub(super) has_duties: bool,
    /// Pieces that share one place in the order of duty, so that ranges are worth a request.
    pub(super) group: u32,
}

impl Origin {
    pub(super) fn new(layout: &Layout, now: Instant) -> Self {
        let widest = (FIRST_QUEUE / u64::from(layout.piece_length())).max(1) as u32;
        let group = (layout.pieces() / 64).clamp(1, widest);
        Self {
            fetches: BTreeMap::new(),
            outstanding: 0,
            arrived: 0,
            score: Score::new(now),
            asked_first: None,
            gone: false,
            retry_at: None,
            failures: 0,
            busy_until: now,
            share: Share::new(now),
            scan_at: now,
            has_duties: false,
            group: 1 << group.ilog2(),
        }
    }

    /// Whether it may be asked now or later.
    pub(super) fn hope(&self, config: &Config) -> bool {
        config.use_origin && !self.gone
    }

    /// Whether it may be asked now.
    pub(super) fn usable(&self, config: &Config, now: Instant) -> bool {
        self.hope(config) && !self.pauses(now)
    }

    /// Whether it is left alone for a while, after failures.
    pub(super) fn pauses(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|at| at > now)
    }

    /// It may be asked at once.
    pub(super) fn end_pause(&mut self, now: Instant) {
        self.retry_at = None;
        self.scan_at = now;
    }

    /// Most bytes to have asked for: this much time at its measured rate, or at our own limit where that is lower.
    fn queue(&self, seconds: f64, piece: u64, down_limit: Option<u64>) -> u64 {
        let limit = down_limit.map_or(f64::INFINITY, |limit| limit as f64);
        let bytes = self
            .score
            .rate()
            .map_or(FIRST_QUEUE, |rate| (rate.min(limit) * seconds) as u64);
        bytes.clamp(piece, MAX_QUEUE.max(piece))
    }
}

impl Swarm {
    pub(super) fn queue_limit(&self, seconds: f64) -> u32 {
        let piece = self.layout.piece_length().into();
        let bytes = self.origin.queue(seconds, piece, self.config.down_limit);
        (bytes / u64::from(BLOCK_SIZE)).max(1) as u32
    }

    /// Pieces that our share of the publisher's budget allows to ask for in one request.
    pub(super) fn affordable(&self) -> u32 {
        self.config.origin_budget.map_or(u32::MAX, |_| {
            (self.origin.share.bytes() / u64::from(self.layout.piece_length())) as u32
        })
    }

    pub(super) fn has_room(&self, limit: u32) -> bool {
        let waiting = u64::from(self.origin.outstanding) * u64::from(BLOCK_SIZE);
        let queued = waiting.saturating_sub(self.origin.arrived);
        let fetches = self.config.origin_fetches.max(1);
        let most = match self.config.policy {
            OriginPolicy::Thrifty => fetches,
            OriginPolicy::Fast => fetches * FAST,
        };
        let most = most.min(self.config.origin_places.unwrap_or(most).max(1));
        self.affordable() > 0
            && self.origin.fetches.len() < most
            && queued < u64::from(limit) * u64::from(BLOCK_SIZE)
            // What arrived and could not be verified yet is in memory.
            && waiting < 2 * MAX_QUEUE.max(self.layout.piece_length().into())
    }

    /// Draws these pieces: all that is neither held nor requested in them, and tells the neighbours.
    pub(super) fn fetch(&mut self, pieces: Range<u32>, urgency: Urgency, now: Instant) {
        let mut claims = Vec::new();
        let mut spans: Vec<Range<u32>> = Vec::new();
        for piece in pieces {
            let span = self.layout.piece_span(piece);
            for span in runs(span, |w| !self.have.word(w) & !self.requested.word(w)) {
                match spans.last_mut() {
                    Some(last) if last.end == span.start && self.layout.is_one_run(last.start..span.end) => {
                        last.end = span.end;
                    }
                    _ => spans.push(span),
                }
            }
            claims.push(self.own_claim(piece, false));
        }
        for span in spans {
            let id = FetchId(self.next_id);
            self.next_id += 1;
            let left = span.end - span.start;
            self.origin.fetches.insert(
                id,
                Fetch {
                    span: span.clone(),
                    left,
                    sent: now,
                    active_at: now,
                    since_active: 0,
                    waits: false,
                },
            );
            self.origin.outstanding += left;
            self.origin.asked_first.get_or_insert(now);
            self.origin.share.spend(self.layout.span_bytes(span.clone()));
            self.origin.score.set_busy(true, now);
            self.mark_requested(span.clone());
            let run = self.layout.run(span);
            self.outputs.push_back(Output::OriginFetch {
                fetch: id,
                run,
                urgency,
            });
        }
        self.send_claims(&claims);
    }

    // What fetches bring.

    /// A block is held now: running fetches want one less.
    pub(super) fn fetch_got(&mut self, block: u32, source: Source, now: Instant) {
        let mut over = Vec::new();
        for (&id, fetch) in &mut self.origin.fetches {
            if fetch.span.contains(&block) {
                fetch.left -= 1;
                fetch.active_at = now;
                self.origin.outstanding -= 1;
                if source == Source::Origin {
                    let length = self.layout.span_bytes(block..block + 1);
                    // A rate counts blocks, as the queue does: what this one lacks of a whole one.
                    if let Some(rest) = u64::from(BLOCK_SIZE).checked_sub(length).filter(|&rest| rest > 0) {
                        self.origin.score.delivered(rest, now);
                    }
                    self.origin.arrived = self.origin.arrived.saturating_sub(BLOCK_SIZE.into());
                }
                if fetch.left == 0 {
                    over.push((id, fetch.sent));
                }
            }
        }
        for (id, sent) in over {
            if source != Source::Origin {
                self.outputs.push_back(Output::OriginCancel { fetch: id });
            }
            if let Some(span) = self.forget_fetch(id, now)
                && source == Source::Origin
            {
                self.origin_took(self.layout.span_bytes(span), sent, now);
            }
        }
    }

    pub(super) fn origin_bytes(&mut self, id: FetchId, bytes: u64, now: Instant) {
        let enough = self
            .config
            .down_limit
            .map_or(TRICKLE, |limit| TRICKLE.min(limit / 8));
        if let Some(fetch) = self.origin.fetches.get_mut(&id) {
            fetch.since_active += bytes;
            if fetch.since_active >= enough {
                fetch.since_active = 0;
                fetch.active_at = now;
                self.last_progress = now;
                self.origin.failures = 0;
            }
            self.origin.arrived += bytes;
        }
        self.origin.score.delivered(bytes, now);
        self.downlink.arrived(bytes, now);
    }

    pub(super) fn origin_waits(&mut self, id: FetchId, waits: bool, now: Instant) {
        if let Some(fetch) = self.origin.fetches.get_mut(&id) {
            fetch.waits = waits;
            fetch.active_at = now;
        }
    }

    pub(super) fn forget_fetch(&mut self, id: FetchId, now: Instant) -> Option<Range<u32>> {
        let fetch = self.origin.fetches.remove(&id)?;
        self.origin.outstanding -= fetch.left;
        if self.origin.fetches.is_empty() {
            self.origin.arrived = 0;
        }
        let busy = self.origin.outstanding > 0;
        self.origin.score.set_busy(busy, now);
        if fetch.left > 0 {
            self.release(fetch.span.clone());
        }
        Some(fetch.span)
    }

    pub(super) fn fetch_ended(&mut self, id: FetchId, failure: Option<OriginFailure>, now: Instant) {
        let short = self.origin.fetches.get(&id).is_some_and(|f| f.left > 0);
        let Some(span) = self.forget_fetch(id, now) else {
            return;
        };
        match failure {
            None if !short => {}
            Some(OriginFailure::Permanent) => {
                self.origin.gone = true;
                self.give_up(&span);
                self.cancel_fetches(now);
            }
            Some(OriginFailure::File) => {
                let file = self.layout.run(span.clone()).file;
                let whole = self
                    .layout
                    .span(BlockRun::new(file.0, 0, self.layout.file_blocks(file)));
                for piece in self.pieces_of(&whole) {
                    self.pieces[piece as usize].no_origin = true;
                }
                self.give_up(&span);
            }
            failure => {
                let after = match failure {
                    Some(OriginFailure::Temporary { after }) => after,
                    _ => None,
                };
                self.back_off(after, now);
                self.give_up(&span);
            }
        }
    }

    fn back_off(&mut self, after: Option<Duration>, now: Instant) {
        // Fetches that end while it is left alone tell of the same trouble, which is counted once.
        let is_known = self.origin.pauses(now);
        let usual = Duration::from_secs(1 << self.origin.failures.min(6)).min(Duration::from_secs(60));
        let Some(pause) = after.or((!is_known).then_some(usual)) else {
            return;
        };
        self.origin.failures += u32::from(!is_known);
        let jitter = Duration::from_millis(self.rng.random_range(0..250));
        let until = now + pause.min(Duration::from_secs(3_600)) + jitter;
        self.origin.retry_at = Some(self.origin.retry_at.map_or(until, |at| at.max(until)));
        // Timers begin anew, and not for everybody at the same instant.
        for piece in &mut self.pieces {
            piece.eligible_since = None;
        }
    }

    pub(super) fn cancel_fetches(&mut self, now: Instant) {
        for id in self.origin.fetches.keys().copied().collect::<Vec<_>>() {
            if let Some(span) = self.forget_fetch(id, now) {
                self.outputs.push_back(Output::OriginCancel { fetch: id });
                self.give_up(&span);
            }
        }
    }

    pub(super) fn stop_stalled_fetches(&mut self, now: Instant) {
        let stalled: Vec<FetchId> = self
            .origin
            .fetches
            .iter()
            .filter(|(_, fetch)| !fetch.waits && now.saturating_duration_since(fetch.active_at) > FETCH_STALL)
            .map(|(&id, _)| id)
            .collect();
        if !stalled.is_empty() {
            // Or it would be asked for little at a time from then on.
            self.origin.score.forget_silence(now);
        }
        for id in stalled {
            self.outputs.push_back(Output::OriginCancel { fetch: id });
            self.fetch_ended(id, Some(OriginFailure::Temporary { after: None }), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bounded_by_time() {
        let now = Instant::now();
        let mut origin = Origin::new(&Layout::new(&[100 << 20], 65_536).unwrap(), now);
        assert_eq!(origin.queue(1.0, 65_536, None), FIRST_QUEUE);
        origin.score.set_busy(true, now);
        origin.score.delivered(10_000, now + Duration::from_secs(1));
        assert_eq!(origin.queue(1.0, 65_536, None), 65_536);
        origin.score.delivered(100 << 20, now + Duration::from_secs(2));
        assert_eq!(origin.queue(1.0, 65_536, None), MAX_QUEUE);
        assert_eq!(
            origin.queue(1.0, 65_536, Some(1_000_000)),
            1_000_000,
            "the viewer's own limit bounds it too"
        );
    }
}
