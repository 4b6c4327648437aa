//! When to draw from the origin, and what.
//!
//! One copy should leave the origin whatever the crowd, with no coordinator. A piece is *eligible* when some block of
//! it is neither held nor requested here, nobody who would serve us in his turn holds that block, and no live claim
//! covers the piece. Who draws it is decided by a hash of the piece's group and the viewer's id: with (nearly) the
//! whole swarm among the neighbours, the first in that order at once and each next three seconds later; otherwise by a
//! timer whose length follows an exponential distribution, so that about one of all viewers draws first. A viewer
//! without neighbours draws at once.
//!
//! Not here: what readers need at once (`origin_urgent`), how drawing is told (`claims`), what becomes of a fetch and
//! how much is asked for at a time (`origin_fetches`).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::bits::first_run;
use super::claims::claimer;
use super::peers::PeerState;
use super::readers::NEAR;
use super::types::{OriginPolicy, Urgency};
use super::{GREETING, Swarm, TICK};

/// Between one viewer's turn and the next one's, when all of them are neighbours.
const TURN_OF_RANK: f64 = 3.0;
/// The timer's scale for what no reader needs soon, in seconds: newcomers have enough to do until they have heard of
/// what their neighbours lack.
const DELTA_FAR: f64 = 8.0;
/// The timer's scale for a reader's next minute: the longer, the more often what is held two neighbours away is here before
/// the origin is asked again. (With 1 s a thousand viewers at 5 Mbit/s drew 10.1 copies instead of 8.9.)
const DELTA_NEAR: f64 = 1.6;
/// Fewer requests outstanding than this, and the timer runs faster.
const STARVED: usize = 4;
/// So many times slower runs the timer of a viewer that is burdened.
const LAST: f64 = 8.0;
/// Who does not let us ask for so long, or brings nothing of what it is asked, counts for nobody's holder.
const PATIENCE: Duration = Duration::from_secs(60);
/// Most that a request of `fast` asks for, in bytes, where a piece is not longer.
const FAST_REQUEST: u32 = 256 << 10;
/// More pieces than the queue at an origin ever has room for.
const AT_ONCE: usize = 1024;
/// With nothing at all arriving for this long, pieces that peers hold are drawn too.
const NEGLECT: Duration = Duration::from_secs(6);
/// Below this rate, after [`SLOW_AFTER`], likewise: peers that hardly serve are no reason not to finish.
const SLOW_RATE: f64 = 16_384.0;
const SLOW_AFTER: Duration = Duration::from_secs(15);

/// SplitMix64's finalizer: every implementation must order viewers alike (PROTOCOL.md).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A viewer's place in a group's order, as a number: the largest draws first.
fn place(group: u32, claimer: u64) -> u64 {
    mix(claimer ^ mix(u64::from(group).wrapping_add(0x9e37_79b9_7f4a_7c15)))
}

/// Uniform in (0, 1].
fn unit(place: u64) -> f64 {
    ((place >> 11) + 1) as f64 / (1u64 << 53) as f64
}

/// −ln H for H uniform in (0, 1]: small for those who come first.
fn exponent(place: u64) -> f64 {
    -unit(place).ln()
}

/// Whether the timer of a viewer has run out `elapsed` seconds after the piece became eligible.
fn due(elapsed: f64, swarm_size: f64, exponent: f64, delta: f64, starved: bool) -> bool {
    // Where nobody holds anything yet, all are starved: a scale that is patient with newcomers must not slow them.
    let haste = if starved { (2.0 * delta).max(4.0) } else { 1.0 };
    elapsed * (1.0 + elapsed / delta) * haste >= delta * swarm_size * exponent
}

impl PeerState {
    /// Whether it serves us, or may be expected to in our turn.
    fn serves(&self, now: Instant) -> bool {
        let (last, fails) = (self.score.last_delivery(), self.score.fails());
        let idle_since = last.map_or(self.choked_at, |last| last.max(self.choked_at));
        let long = now.saturating_duration_since(idle_since) > PATIENCE;
        let free_rider = fails && last.is_none() && !self.counted;
        !(free_rider || self.score.is_silent() || long && (fails || self.choking))
    }
}

impl Swarm {
    /// Whether it is too early to draw what has no deadline: peers may turn up with all of it.
    pub(super) fn still_discovering(&self, now: Instant) -> bool {
        let waited = now.saturating_duration_since(self.started);
        if waited >= self.config.discovery_grace + GREETING {
            return false;
        }
        let greeting = self.peers.values().any(|p| {
            let known = p.greeted && (!p.choking || p.have_blocks == 0);
            !known && now.saturating_duration_since(p.connected_at) < GREETING
        });
        (self.discovering && waited < self.config.discovery_grace) || greeting
    }

    /// Starts every fetch that is due.
    pub(super) fn draw(&mut self, now: Instant) {
        self.stop_stalled_fetches(now);
        self.doubt_size(now);
        let spared = self.spares_seeds();
        if spared && !self.start_is_missing() {
            self.draw_from_seeds(now);
        }
        if !self.origin.usable(&self.config, now) {
            return;
        }
        if let Some(budget) = self.config.origin_budget {
            let viewers = self.viewers();
            let piece = self.layout.piece_length().into();
            let part = unit(mix(claimer(self.config.id)));
            self.origin.share.advance(budget, viewers, piece, part, now);
        }
        let limit = self.queue_limit(1.0);
        self.draw_urgent(limit, now);
        if self.start_is_missing()
            || !self.has_room(limit)
            || !self.origin_is_at_ease(now)
            || self.still_discovering(now)
        {
            return;
        }
        // What seeds hold comes from seeds, unless nothing comes at all.
        if spared && now.saturating_duration_since(self.last_progress) <= NEGLECT {
            return;
        }
        let fast = self.config.policy == OriginPolicy::Fast;
        if now < self.origin.scan_at {
            // Without a duty that could fall to us, the end of a fetch is the next occasion, not the next tick.
            if fast && !self.origin.has_duties {
                self.draw_fast(now);
            }
            return;
        }
        self.origin.scan_at = now + TICK;
        let mut due = self.due_pieces(false, now);
        self.origin.has_duties = !due.is_empty();
        due.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut left: std::collections::BTreeSet<u32> = due.iter().map(|&(_, piece)| piece).collect();
        let limit = limit.min(self.alone_limit(now));
        let longest = (limit / 2).max(self.layout.piece_blocks());
        // What is due at once may be more than our uplink can hand on.
        let bears = self.config.whole_file && !self.peers.is_empty() && !self.is_burdened();
        // Half of the queue is kept for what a reader needs at once.
        let room = if self.config.whole_file { limit } else { longest };
        for (_, piece) in due {
            if !self.has_room(room) {
                // More is waiting: the end of a fetch is the next occasion, not the next tick.
                self.origin.scan_at = now;
                return;
            }
            if bears && self.is_burdened() {
                self.origin.scan_at = now;
                return;
            }
            if left.remove(&piece) {
                let mut end = piece + 1;
                while (end - piece + 1) * self.layout.piece_blocks() <= longest
                    && end - piece < self.affordable()
                    && left.contains(&end)
                    && self.is_one_request(piece, end)
                    && left.remove(&end)
                {
                    end += 1;
                }
                self.fetch(piece..end, Urgency::Far, now);
            }
        }
        if fast {
            self.draw_fast(now);
        }
    }

    /// Pieces whose duty falls to us now, each with its place in the order: the least comes first.
    /// `of_seeds`: what only seeds hold, instead of what nobody holds.
    pub(super) fn due_pieces(&mut self, of_seeds: bool, now: Instant) -> Vec<(f64, u32)> {
        let windows: Vec<Range<u32>> = self
            .readers
            .values()
            .map(|reader| self.byte_span(reader.file, &reader.window(NEAR)))
            .filter(|span| !span.is_empty())
            .collect();
        let first = windows.iter().map(|span| span.start).min().unwrap_or(0) / self.layout.piece_blocks();
        if self.peers.is_empty() {
            return self.due_alone(first, &windows, now);
        }
        let all = self.layout.total_blocks();
        let view = self.peers.len() + 1;
        let size = self.viewers();
        let whole_view = self.sees_all();
        let me = claimer(self.config.id);
        let rivals: Vec<u64> = self
            .peers
            .values()
            .filter(|p| p.have_blocks < all)
            .map(|p| claimer(p.id))
            .collect();
        // A seed says of what only it holds that it is on its way; those who see the seed must ask for it.
        let seeds: Vec<u64> = self
            .peers
            .values()
            .filter(|p| of_seeds && self.is_seed(p))
            .map(|p| claimer(p.id))
            .collect();
        let running: usize = self.peers.values().map(|p| p.requests.len()).sum();
        let starved = running < STARVED;
        let silent = now.saturating_duration_since(self.last_progress) > NEGLECT;
        let slow = now.saturating_duration_since(self.started) > SLOW_AFTER
            && self.total.rate().is_none_or(|rate| rate < SLOW_RATE);
        let owned = self.owned(starved, of_seeds, now);
        let mut due_now = Vec::new();
        let mut ranks: BTreeMap<u32, usize> = BTreeMap::new();
        let mut burdened = None;
        for index in 0..self.open.as_slice().len() {
            let piece = self.open.as_slice()[index];
            let span = self.layout.piece_span(piece);
            let near = windows.iter().any(|w| w.start < span.end && span.start < w.end);
            if !near && !self.config.whole_file {
                continue;
            }
            if self.requested_of_peers(piece) || self.pieces[piece as usize].no_origin {
                continue;
            }
            let unowned = silent || slow || self.has_unowned(piece, &owned);
            if !unowned || self.is_claimed(piece, &seeds, now) {
                self.pieces[piece as usize].eligible_since = None;
                continue;
            }
            // A reader's next minute comes in its order: what is random now may be missing in a few seconds.
            let ahead = near && !self.config.whole_file;
            let order = |usual: f64| {
                if ahead {
                    f64::from(piece.saturating_sub(first))
                } else {
                    usual
                }
            };
            let since = *self.pieces[piece as usize].eligible_since.get_or_insert(now);
            let elapsed = now.saturating_duration_since(since).as_secs_f64();
            let burdened = !ahead && *burdened.get_or_insert_with(|| self.is_burdened());
            let group = piece / self.origin.group;
            let mine = place(group, me);
            if whole_view {
                let rank = *ranks.entry(group).or_insert_with(|| {
                    rivals
                        .iter()
                        .filter(|&&id| (place(group, id), id) > (mine, me))
                        .count()
                });
                let turn = if burdened { rank + view } else { rank };
                if now >= since && elapsed >= turn as f64 * TURN_OF_RANK {
                    due_now.push((order(rank as f64 + exponent(mine) / 1e3), piece));
                }
            } else {
                let delta = if ahead { DELTA_NEAR } else { DELTA_FAR };
                let last = if burdened { LAST } else { 1.0 };
                if now >= since && due(elapsed, f64::from(size) * last, exponent(mine), delta, starved) {
                    due_now.push((order(exponent(mine)), piece));
                }
            }
        }
        due_now
    }

    /// Without neighbours there is nobody to wait for: the next in order from where it is read, as many as can be asked for at a time.
    fn due_alone(&mut self, first: u32, windows: &[Range<u32>], now: Instant) -> Vec<(f64, u32)> {
        let all = self.layout.pieces();
        let order = (first..all).chain(0..first.min(all));
        let mut due = Vec::new();
        for (ahead, piece) in order.enumerate() {
            if !self.is_open(piece) || self.pieces[piece as usize].no_origin {
                continue;
            }
            let span = self.layout.piece_span(piece);
            let near = windows.iter().any(|w| w.start < span.end && span.start < w.end);
            if !near && !self.config.whole_file {
                continue;
            }
            if self.is_claimed(piece, &[], now) {
                self.pieces[piece as usize].eligible_since = None;
                continue;
            }
            due.push((ahead as f64, piece));
            if due.len() == AT_ONCE {
                break;
            }
        }
        due
    }

    pub(super) fn requested_of_peers(&self, piece: u32) -> bool {
        self.by_piece.contains_key(&piece)
    }

    /// Blocks that somebody holds who serves us or will serve us in his turn. A download waits for that turn however
    /// little there is to do meanwhile, a reader only while there is enough else. The haves of those who do not serve
    /// do not count, nor those of seeds when seeds are spared.
    pub(super) fn owned(&self, starved: bool, without_seeds: bool, now: Instant) -> Vec<u64> {
        let mut owned = vec![0; self.layout.numbers().div_ceil(64) as usize];
        for peer in self
            .peers
            .values()
            .filter(|p| !(without_seeds && self.is_seed(p)))
        {
            let too_late = starved && (!self.config.whole_file || peer.score.paused_until(now).is_some());
            if peer.serves(now) && (peer.counted || !too_late) {
                for (index, word) in owned.iter_mut().enumerate() {
                    *word |= peer.have.word(index);
                }
            }
        }
        owned
    }

    /// Whether a block of the piece is neither held nor requested here, nor owned.
    fn has_unowned(&self, piece: u32, owned: &[u64]) -> bool {
        first_run(self.layout.piece_span(piece), 1, |w| {
            !(owned[w] | self.have.word(w) | self.requested.word(w))
        })
        .is_some()
    }

    /// Half a second of data is always on its way: the rarest of a sample, whoever's duty it is, and of those as rare
    /// what makes the longest request.
    fn draw_fast(&mut self, now: Instant) {
        let limit = self.queue_limit(0.5);
        while self.has_room(limit) {
            let open = self.open.as_slice();
            if open.is_empty() {
                return;
            }
            let start = self.rng.random_range(0..open.len());
            let pieces = open[start..]
                .iter()
                .chain(&open[..start])
                .take(64)
                .copied()
                .filter(|&piece| !self.requested_of_peers(piece) && !self.pieces[piece as usize].no_origin)
                .map(|piece| piece..self.request_end(piece))
                .min_by_key(|pieces| {
                    (
                        self.pieces[pieces.start as usize].available,
                        Reverse(pieces.len()),
                    )
                });
            let Some(pieces) = pieces else { return };
            self.fetch(pieces, Urgency::Far, now);
        }
    }

    /// Where a request that begins with this piece ends: at what is held or asked for already, or is enough.
    fn request_end(&self, piece: u32) -> u32 {
        let longest = (FAST_REQUEST / self.layout.piece_length())
            .max(1)
            .min(self.affordable());
        let mut end = piece + 1;
        while end - piece < longest
            && end < self.layout.pieces()
            && self.is_one_request(piece, end)
            && self.is_drawable(end)
        {
            end += 1;
        }
        end
    }

    /// Whether one request can bring these pieces and all between them: they are of one file.
    fn is_one_request(&self, first: u32, last: u32) -> bool {
        let span = self.layout.piece_span(first).start..self.layout.piece_span(last).end;
        self.layout.is_one_run(span)
    }

    /// Wholly missing, asked of nobody.
    pub(super) fn is_drawable(&self, piece: u32) -> bool {
        let state = &self.pieces[piece as usize];
        state.wanted && !state.no_origin && state.held == 0 && state.requested == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn about_one_of_all_viewers_draws_first_whatever_their_number() {
        // The timer of the notes: of N viewers, few have theirs run out within a claim's spreading time of the first.
        for n in [10u64, 100, 1_000] {
            let mut together = 0;
            for group in 0..200 {
                let mut fires: Vec<u32> = (0..n)
                    .map(|viewer| {
                        let e = exponent(place(group, mix(viewer + 1)));
                        (0..1_000_000)
                            .find(|&ms| due(f64::from(ms * 10) / 1e3, n as f64, e, DELTA_FAR, false))
                            .unwrap()
                    })
                    .collect();
                fires.sort_unstable();
                together += fires.iter().filter(|&&ms| ms - fires[0] <= 10).count();
            }
            let copies = f64::from(u32::try_from(together).unwrap()) / 200.0;
            assert!(
                (1.0..1.25).contains(&copies),
                "{copies} of {n} draw within 100 ms"
            );
        }
    }

    #[test]
    fn the_order_is_even() {
        let mut firsts = [0u32; 8];
        for group in 0..8_000 {
            let first = (0..8).max_by_key(|&viewer| place(group, mix(viewer))).unwrap();
            firsts[first as usize] += 1;
        }
        assert!(
            firsts.iter().all(|count| (850..1_150).contains(count)),
            "{firsts:?}"
        );
    }

    #[test]
    fn the_order_is_the_one_of_the_protocol() {
        // Other implementations must compute the same.
        assert_eq!(claimer(super::super::PeerId([1; 32])), 0x0101_0101_0101_0101);
        assert_eq!(
            mix(0x9e37_79b9_7f4a_7c15),
            0xe220_a839_7b1d_cdaf,
            "SplitMix64's first output from state 0"
        );
    }
}
