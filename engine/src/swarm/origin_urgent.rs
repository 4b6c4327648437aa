//! What readers need at once: when the origin is asked for it, whoever's duty it would be.
//!
//! It is drawn when no peer can bring it in time and nobody else draws it. A start first waits a little for what
//! neighbours hold. What the origin turns out to bring too late goes back to the peers, and what peers would bring too
//! late goes to the origin. Not here: what a start is let down with (`late_start`), what has no deadline (`origin_duty`),
//! which peer is asked (`pick`).

use std::ops::Range;
use std::time::{Duration, Instant};

use super::Swarm;
use super::peers::PeerState;
use super::pick::{HURRY, SETTLED, TURN};
use super::readers::{Reader, START};
use super::types::{Demand, FetchId, Output, Urgency};

/// Needed within so many seconds, and no peer was found for it: the origin is asked.
const URGENT_SLACK: f64 = 6.0;
/// What nobody has is asked for earlier, the faster our uplink can hand it on: whoever needs it first may be slow, and
/// all who come behind would wait for that uplink, or ask the origin again. These are for uplinks faster than `FAST`
/// times the media, for those slower than `SLOW` times, and for all others.
const NEW_SLACK_FAST: f64 = 12.0;
const NEW_SLACK_SLOW: f64 = 4.0;
const NEW_SLACK: f64 = 8.0;
const FAST: f64 = 1.5;
const SLOW: f64 = 0.5;
/// With less time than this, what another viewer draws is not waited for.
const CLAIM_SLACK: f64 = 2.0;
/// A start is worth asking the origin for what nobody has, when that is here within this time.
const START_BOUND: f64 = 3.0;
/// So long a start waits for neighbours who hold it and do not let us ask yet.
const START_PATIENCE: Duration = Duration::from_secs(1);
/// So long it waits for peers that are being found, or that have not said yet what they hold: a crowd whose every
/// viewer asked the origin for its first piece in that instant filled a narrow one for good.
const START_MEETING: Duration = Duration::from_millis(300);
/// A fetch that takes longer, of what peers hold, goes to them: at a start, and later.
const START_FETCH: Duration = Duration::from_millis(700);
const URGENT_FETCH: Duration = Duration::from_secs(1);
/// Of a start, what few neighbours hold is left to the origin when none of them would bring it within this time, in
/// seconds, and the origin would be sooner. (A crowd in which many hold it would ask for it in vain.)
const START_QUICK: f64 = 0.5;
const FEW: usize = 10;
/// Who has no time at present is taken to need so long.
const NO_TIME: f64 = 1.0;
/// What an origin is taken to deliver before it is measured, in bytes a second: it may be a narrow one.
pub(super) const UNMEASURED: f64 = 250_000.0;

impl Swarm {
    /// What readers need soon and no peer was found for.
    pub(super) fn draw_urgent(&mut self, limit: u32, now: Instant) {
        if self.readers.is_empty() {
            return;
        }
        self.take_back(now);
        self.take_back_starts(now);
        self.give_back(now);
        if !self.has_room(limit) {
            return;
        }
        let needs = self.urgent_needs(64);
        // At a start all is needed at once: what neighbours hold is theirs to bring, even before they let us ask.
        let owned = needs
            .iter()
            .any(|need| need.starting.is_some())
            .then(|| self.owned(false, false, now));
        let meeting = self.still_discovering(now);
        let assumed = self.assumed_rate();
        let new_slack = self.new_slack();
        for need in needs {
            let piece = need.block / self.layout.piece_blocks();
            if self.requested.get(need.block)
                || self.requested_of_peers(piece)
                || self.pieces[piece as usize].no_origin
            {
                continue;
            }
            let started = need.starting.map(|since| now.saturating_duration_since(since));
            if meeting && started.is_some_and(|waited| waited < START_MEETING) {
                continue;
            }
            let slack = need.deadline.saturating_duration_since(now).as_secs_f64();
            let alone = self.peers.is_empty();
            if !self.has_room(limit) {
                break;
            }
            if need.starting.is_none() && !alone && self.has_time(need.block, slack, new_slack) {
                continue;
            }
            if let (Some(waited), Some(owned)) = (started, &owned)
                && waited < START_PATIENCE
                && owned[(need.block / 64) as usize] & (1 << (need.block % 64)) != 0
            {
                let soonest = self.soonest(need.block, &[], assumed, now);
                let settled = soonest.is_some() || waited > SETTLED;
                let eta = soonest.map_or(NO_TIME, |(eta, _)| eta);
                if !settled || !self.origin_starts(need.block, eta, 0, now) {
                    continue;
                }
            }
            // It stands in our own line, whoever sends it.
            if need.starting.is_none()
                && self.pieces[piece as usize].available > 0
                && self.line_is_taken(slack)
            {
                continue;
            }
            // What another viewer draws is here sooner than a second copy, unless time runs out.
            let claimed = match need.starting {
                Some(_) => self.is_drawn_for_start(need.block, now),
                None => slack > CLAIM_SLACK && self.is_claimed(piece, &[], now),
            };
            if claimed {
                continue;
            }
            let bound = need.starting.map_or(slack.max(1.0), |_| START_BOUND);
            let idle = self.origin.outstanding == 0;
            if self.origin_eta() > bound && !(idle && alone) {
                continue;
            }
            let mut end = piece + 1;
            // Alone, one request for the whole window is better than one for each piece.
            while (end - piece) * self.layout.piece_blocks() < limit / 2
                && end - piece < self.affordable()
                && end < self.layout.pieces()
                && self.is_drawable(end)
                && self.urgent_covers(end)
            {
                end += 1;
            }
            self.fetch(piece..end, Urgency::Urgent, now);
        }
    }

    /// Whether a start leaves a block that few hold to the origin, when the soonest of them would need so long, and so
    /// many pieces more are left to it.
    pub(super) fn origin_starts(&mut self, block: u32, peers_eta: f64, more: u32, now: Instant) -> bool {
        let piece = block / self.layout.piece_blocks();
        if peers_eta <= START_QUICK || !self.origin.usable(&self.config, now) || !self.origin_is_at_ease(now)
        {
            return false;
        }
        let holds = |p: &&PeerState| p.have.get(block);
        let few = self.peers.values().filter(holds).count() <= FEW;
        let blocks = self.layout.piece_blocks();
        let (coming, limit) = (self.origin.outstanding + more * blocks, self.queue_limit(1.0));
        let eta = self.origin.score.eta(coming, blocks, UNMEASURED);
        few && eta < 0.7 * peers_eta
            && coming < limit
            && self.has_room(limit)
            && !self.requested_of_peers(piece)
            && !self.pieces[piece as usize].no_origin
            && !self.is_drawn_for_start(block, now)
    }

    /// Whether it is too early to ask the origin for what is needed in so many seconds.
    fn has_time(&self, block: u32, slack: f64, new_slack: f64) -> bool {
        if slack <= URGENT_SLACK.min(new_slack) || slack > URGENT_SLACK.max(new_slack) {
            return slack > URGENT_SLACK;
        }
        let new = !self.peers.values().any(|p| p.have.get(block));
        slack > if new { new_slack } else { URGENT_SLACK }
    }

    /// With how much time left, in seconds, the origin is asked for what nobody has.
    fn new_slack(&self) -> f64 {
        let media = self.bitrate().map_or(f64::INFINITY, |bitrate| bitrate as f64);
        match self.uploads.rate() {
            Some(rate) if rate > FAST * media => NEW_SLACK_FAST,
            Some(rate) if rate < SLOW * media => NEW_SLACK_SLOW,
            _ => NEW_SLACK,
        }
    }

    /// Seconds until the origin would have brought one more piece.
    fn origin_eta(&self) -> f64 {
        let (outstanding, piece) = (self.origin.outstanding, self.layout.piece_blocks());
        self.origin.score.eta(outstanding, piece, UNMEASURED)
    }

    fn urgent_covers(&self, piece: u32) -> bool {
        let span = self.layout.piece_span(piece);
        self.readers.values().any(|reader| {
            let media = if reader.starting() {
                START
            } else {
                Duration::from_secs(6)
            };
            let window = self.byte_span(reader.file, &reader.window(media));
            window.start < span.end && span.start < window.end
        })
    }

    /// What the origin does not bring in time goes to a peer that holds it and is sooner.
    fn give_back(&mut self, now: Instant) {
        if !self.readers.values().any(Reader::streams) {
            return;
        }
        let assumed = self.assumed_rate();
        let waiting = self.start_is_missing();
        let slow: Vec<(FetchId, Instant)> = self
            .origin
            .fetches
            .iter()
            .filter(|(_, fetch)| {
                let patient = if waiting { START_FETCH } else { URGENT_FETCH };
                let waited = now.saturating_duration_since(fetch.sent);
                // An origin that is silent will hardly take less than it has taken.
                let eta = self.origin_eta().max(waited.as_secs_f64());
                waited > patient
                    && fetch.span.clone().all(|block| {
                        self.have.get(block)
                            || self
                                .soonest(block, &[], assumed, now)
                                .is_some_and(|(peer, _)| peer < 0.7 * eta)
                    })
            })
            .map(|(&id, fetch)| (id, fetch.sent))
            .collect();
        for (id, sent) in slow {
            if let Some(span) = self.forget_fetch(id, now) {
                self.origin_took(self.layout.span_bytes(span.clone()), sent, now);
                self.outputs.push_back(Output::OriginCancel { fetch: id });
                self.give_up(&span);
                self.ask_peers(span, assumed, now);
            }
        }
    }

    /// Asks peers at once for what the origin was to bring, or it would be drawn again.
    fn ask_peers(&mut self, span: Range<u32>, assumed: f64, now: Instant) {
        let mut at = span.start;
        while at < span.end {
            let piece = self.layout.piece_span(at / self.layout.piece_blocks());
            let found = self
                .soonest(at, &[], assumed, now)
                .filter(|_| !self.have.get(at) && !self.requested.get(at))
                .and_then(|(_, peer)| Some((peer, self.run_in(peer, at..piece.end.min(span.end), TURN)?)));
            let Some((peer, run)) = found else {
                at += 1;
                continue;
            };
            let readers = self.readers.values().filter(|r| r.streams());
            let deadline = readers.map(|r| self.block_deadline(r, at)).min();
            let hurry = deadline.is_some_and(|at| at.saturating_duration_since(now).as_secs_f64() < HURRY);
            at = run.end;
            let urgency = if hurry { Urgency::Urgent } else { Urgency::Near };
            self.send_request(peer, run, urgency, deadline, now);
        }
    }

    /// A peer that would miss a deadline loses the piece to the origin, when the origin can make it.
    fn take_back(&mut self, now: Instant) {
        let mut lost = Vec::new();
        for reader in self.readers.values().filter(|r| !r.starting()) {
            let media = Duration::from_millis(1_500) + now.saturating_duration_since(reader.at);
            if matches!(reader.demand, Demand::Whenever) {
                continue;
            }
            let span = self.byte_span(reader.file, &reader.window(media.min(Duration::from_secs(15))));
            for block in span.filter(|&b| self.requested.get(b)) {
                let slack = self
                    .block_deadline(reader, block)
                    .saturating_duration_since(now)
                    .as_secs_f64()
                    .max(0.5);
                if self.origin_eta() > slack {
                    continue;
                }
                for id in self
                    .by_piece
                    .get(&(block / self.layout.piece_blocks()))
                    .into_iter()
                    .flatten()
                {
                    let old = self.requests.get(id).is_some_and(|r| {
                        r.span.contains(&block)
                            && now.saturating_duration_since(r.sent) > Duration::from_secs(1)
                    });
                    if old && !lost.contains(id) {
                        lost.push(*id);
                    }
                }
            }
        }
        for id in lost {
            self.cancel(id, now);
        }
    }
}
