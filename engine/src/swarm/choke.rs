//! Whom to serve: who may request, and whose request is next.
//!
//! Fair and simple: an uplink turn goes to the most urgent request, then to what no neighbour holds, and among equals
//! to the peer that was served longest ago. Only peers that lack something and ask for it take one of the unchoked
//! places (a stream with a full buffer does not); every five seconds those who wait longest change places with those
//! who had theirs longest, so nobody starves, and a newcomer that finds a free place has it at once. A slow uplink has
//! fewer places and runs fewer uploads: what is asked of it must not wait so long that it is taken for silent, and a
//! deadline never waits behind half a minute of others' blocks.
//!
//! Invariants: a request is answered exactly once, by serving or refusing it, unless the peer withdraws it; what is
//! queued is bounded for each peer. Not here: the uplink's rate (the driver's), what is held.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::in_time::{Refused, urgent_blocks};
use super::score::Score;
use super::types::{BLOCK_SIZE, BlockRun, Output, Peer, RefuseReason, UploadId, Urgency};

/// Requests that one peer may have queued.
const MAX_QUEUED: usize = 128;
/// How often places change.
const ROTATION: Duration = Duration::from_secs(5);
/// So many changes in a row spare a peer that asks for something urgent. A player's trouble is over by then; whoever
/// calls everything urgent would keep its place for ever.
const SPARED: u32 = 3;
/// Who may ask and did not for so long takes no place.
const IDLE: Duration = Duration::from_secs(2);
/// A usual upload: the turn of 64 KiB.
pub(super) const TURN: f64 = 4.0 * BLOCK_SIZE as f64;
/// So much time's worth of usual uploads runs at a time, and is asked by those who have a place with one request each.
const RUNNING: f64 = 0.5;
const ASKED: f64 = 3.0;
/// The fewest uploads at a time, and the fewest places, however slow the uplink.
const LEAST_SLOTS: usize = 3;
const LEAST_PLACES: usize = 4;

/// What a peer asks for.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) request: UploadId,
    pub(super) run: BlockRun,
    pub(super) urgency: Urgency,
    /// Whether no neighbour held it when it was asked for, and it was sent to none since.
    pub(super) sole: bool,
    /// Whether many neighbours held it then.
    pub(super) spread: bool,
}

#[derive(Debug)]
pub(super) struct Customer {
    pub(super) choked: bool,
    /// Since when it is choked, or unchoked.
    since: Instant,
    interested: bool,
    pub(super) queue: Vec<Queued>,
    /// What is being sent to it, with its urgent blocks.
    pub(super) active: Vec<(UploadId, u32)>,
    /// Its last turn.
    pub(super) served: u64,
    /// What it was refused since, as others were before it.
    pub(super) refused: Option<Refused>,
    /// When it was last sent on to others who hold what it asked for.
    pub(super) sent_on: Option<Instant>,
    /// How many changes of places in a row have spared it.
    spared: u32,
    /// When an upload to it last ended.
    last_served: Option<Instant>,
}

impl Customer {
    /// Whether it takes one of the places: it may ask, and does, or has not had the time to.
    fn takes_place(&self, now: Instant) -> bool {
        let recent = |at: Instant| now.saturating_duration_since(at) < IDLE;
        !self.choked
            && self.interested
            && (!self.queue.is_empty()
                || !self.active.is_empty()
                || recent(self.since)
                || self.last_served.is_some_and(recent))
    }
}

/// All that is asked of us.
#[derive(Debug)]
pub(super) struct Uploads {
    pub(super) peers: BTreeMap<Peer, Customer>,
    slots: usize,
    places: usize,
    active: usize,
    /// What our uplink was seen to send.
    line: Score,
    turn: u64,
    rotate_at: Option<Instant>,
}

impl Uploads {
    pub(super) fn new(slots: usize, places: usize, now: Instant) -> Self {
        let peers = BTreeMap::new();
        Self {
            peers,
            slots: slots.max(1),
            places: places.max(2),
            active: 0,
            line: Score::new(now),
            turn: 0,
            rotate_at: None,
        }
    }

    pub(super) fn configure(&mut self, slots: usize, places: usize) {
        (self.slots, self.places) = (slots.max(1), places.max(2));
    }

    /// So many usual uploads fit into this time, at least `least` and at most `most`.
    fn fitting(&self, seconds: f64, least: usize, most: usize) -> usize {
        self.line
            .rate()
            .map_or(most, |rate| (rate * seconds / TURN) as usize)
            .clamp(least.min(most), most)
    }

    fn slots(&self) -> usize {
        self.fitting(RUNNING, LEAST_SLOTS, self.slots)
    }

    fn places(&self) -> usize {
        self.fitting(ASKED, LEAST_PLACES, self.places)
    }

    pub(super) fn connected(&mut self, peer: Peer, now: Instant, out: &mut impl Extend<Output>) {
        let (queue, active) = (Vec::new(), Vec::new());
        let customer = Customer {
            choked: true,
            since: now,
            interested: true,
            queue,
            active,
            served: self.turn,
            refused: None,
            sent_on: None,
            spared: 0,
            last_served: None,
        };
        self.peers.insert(peer, customer);
        self.assign(now, out);
    }

    pub(super) fn disconnected(&mut self, peer: Peer, now: Instant, out: &mut impl Extend<Output>) {
        if let Some(customer) = self.peers.remove(&peer) {
            self.active -= customer.active.len();
            self.line.set_busy(self.active > 0, now);
            self.assign(now, out);
            self.pump(now, out);
        }
    }

    /// Whether the peer lacks something that we hold.
    pub(super) fn set_interested(
        &mut self,
        peer: Peer,
        interested: bool,
        now: Instant,
        out: &mut impl Extend<Output>,
    ) {
        let Some(customer) = self.peers.get_mut(&peer) else {
            return;
        };
        if customer.interested != interested {
            customer.interested = interested;
            self.assign(now, out);
        }
    }

    /// Takes a request; `allowed` is what else speaks against it.
    pub(super) fn request(
        &mut self,
        peer: Peer,
        asked: Queued,
        allowed: Result<(), RefuseReason>,
        now: Instant,
        out: &mut impl Extend<Output>,
    ) {
        let Some(customer) = self.peers.get(&peer) else {
            return;
        };
        let refused = if customer.choked {
            Err(RefuseReason::Choked)
        } else if customer.queue.len() >= MAX_QUEUED
            || (allowed.is_ok() && !self.takes_in_time(peer, &asked, now))
        {
            Err(RefuseReason::Busy)
        } else {
            allowed
        };
        if let Err(reason) = refused {
            let request = asked.request;
            out.extend([Output::Refuse {
                peer,
                request,
                reason,
            }]);
        } else if let Some(customer) = self.peers.get_mut(&peer) {
            customer.queue.push(asked);
            self.pump(now, out);
        }
    }

    /// Requests that wait or run.
    #[cfg(any(test, fuzzing))]
    pub(super) fn queued(&self) -> usize {
        self.peers.values().map(|c| c.queue.len()).sum()
    }

    /// An upload of so many bytes ended, or a queued one was withdrawn.
    pub(super) fn ended(
        &mut self,
        peer: Peer,
        request: UploadId,
        bytes: u64,
        now: Instant,
        out: &mut impl Extend<Output>,
    ) {
        let Some(customer) = self.peers.get_mut(&peer) else {
            return;
        };
        customer.queue.retain(|queued| queued.request != request);
        if let Some(at) = customer.active.iter().position(|&(id, _)| id == request) {
            customer.active.swap_remove(at);
            customer.last_served = Some(now);
            self.active -= 1;
            if bytes > 0 {
                self.line
                    .delivered(bytes.next_multiple_of(BLOCK_SIZE.into()), now);
            }
            self.line.set_busy(self.active > 0, now);
        }
        self.pump(now, out);
    }

    /// When an upload to the peer last ended.
    pub(super) fn last_served(&self, peer: Peer) -> Option<Instant> {
        self.peers.get(&peer).and_then(|c| c.last_served)
    }

    /// Bytes a second that our uplink was seen to send; `None` before anything was sent.
    pub(super) fn rate(&self) -> Option<f64> {
        self.line.rate()
    }

    /// When [`Self::rotate`] has something to do.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.rotate_at
    }

    /// Changes places, if it is time.
    pub(super) fn rotate(&mut self, now: Instant, out: &mut Vec<Output>) {
        if self.rotate_at.is_none_or(|at| at > now) {
            return;
        }
        let waiting = self.peers.values().filter(|c| c.choked && c.interested).count();
        let taken = self.peers.values().filter(|c| c.takes_place(now)).count();
        let places = self.places();
        for customer in self.peers.values_mut() {
            let urgent = customer.queue.iter().any(|q| q.urgency == Urgency::Urgent);
            customer.spared = if urgent { customer.spared + 1 } else { 0 };
        }
        let mut holders: Vec<(Instant, Peer)> = self
            .peers
            .iter()
            .filter(|(_, c)| c.takes_place(now) && now.saturating_duration_since(c.since) >= ROTATION)
            // A deadline is not cut off by a change of places.
            .filter(|(_, c)| c.spared == 0 || c.spared > SPARED)
            .map(|(&peer, c)| (c.since, peer))
            .collect();
        holders.sort();
        let changes = waiting.min(places.div_ceil(2)).max(taken.saturating_sub(places));
        for &(_, peer) in holders.iter().take(changes) {
            self.choke(peer, now, out);
        }
        self.rotate_at = None;
        self.assign(now, out);
        self.pump(now, out);
    }

    fn choke(&mut self, peer: Peer, now: Instant, out: &mut Vec<Output>) {
        let Some(customer) = self.peers.get_mut(&peer) else {
            return;
        };
        customer.choked = true;
        customer.since = now;
        customer.spared = 0;
        customer.refused = None;
        out.push(Output::Choke { peer });
        out.extend(customer.queue.drain(..).map(|queued| Output::Refuse {
            peer,
            request: queued.request,
            reason: RefuseReason::Choked,
        }));
    }

    /// Gives free places to those who wait longest.
    fn assign(&mut self, now: Instant, out: &mut impl Extend<Output>) {
        let mut taken = self.peers.values().filter(|c| c.takes_place(now)).count();
        let mut waiting: Vec<(Instant, Peer)> = self
            .peers
            .iter()
            .filter(|(_, c)| c.choked && c.interested)
            .map(|(&p, c)| (c.since, p))
            .collect();
        waiting.sort();
        let places = self.places();
        for &(_, peer) in &waiting {
            if taken >= places {
                self.rotate_at.get_or_insert(now + ROTATION);
                return;
            }
            if let Some(customer) = self.peers.get_mut(&peer) {
                (customer.choked, customer.since) = (false, now);
                out.extend([Output::Unchoke { peer }]);
                taken += 1;
            }
        }
        self.rotate_at = None;
    }

    /// Allows uploads while there are slots, and half as many again for what is urgent.
    fn pump(&mut self, now: Instant, out: &mut impl Extend<Output>) {
        let slots = self.slots();
        while self.active < slots + slots / 2 {
            let next = self
                .peers
                .iter()
                .filter_map(|(&peer, c)| {
                    let first = |(_, q): &(usize, &Queued)| (q.urgency, !q.sole);
                    let (place, queued) = c.queue.iter().enumerate().min_by_key(first)?;
                    Some((queued.urgency, !queued.sole, c.served, peer, place))
                })
                .min();
            let Some((urgency, _, _, peer, place)) = next else {
                return;
            };
            if self.active >= slots && urgency != Urgency::Urgent {
                return;
            }
            let Some(customer) = self.peers.get_mut(&peer) else {
                return;
            };
            let Queued {
                request,
                run,
                urgency,
                sole,
                ..
            } = customer.queue.remove(place);
            self.turn += 1;
            customer.served = self.turn;
            customer.active.push((request, urgent_blocks(urgency, run)));
            self.active += 1;
            self.line.set_busy(true, now);
            if sole {
                let same = |q: &&mut Queued| q.run.file == run.file && q.run.first == run.first;
                let queued = self.peers.values_mut().flat_map(|c| &mut c.queue);
                queued.filter(same).for_each(|q| q.sole = false);
            }
            out.extend([Output::Serve {
                peer,
                request,
                run,
                urgency,
            }]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(uploads: &mut Uploads, peer: u64, request: u64, urgency: Urgency) -> Vec<Output> {
        let mut out = Vec::new();
        uploads.request(
            Peer(peer),
            Queued {
                request: UploadId(request),
                run: BlockRun::new(0, 0, 1),
                urgency,
                sole: false,
                spread: false,
            },
            Ok(()),
            Instant::now(),
            &mut out,
        );
        out
    }

    fn served(out: &[Output]) -> Vec<u64> {
        out.iter()
            .filter_map(|o| {
                if let Output::Serve { request, .. } = o {
                    Some(request.0)
                } else {
                    None
                }
            })
            .collect()
    }

    #[test]
    fn turns_go_round_and_urgent_goes_first() {
        let now = Instant::now();
        let mut uploads = Uploads::new(1, 10, now);
        for peer in 1..=3 {
            uploads.connected(Peer(peer), now, &mut Vec::new());
        }
        assert_eq!(served(&ask(&mut uploads, 1, 10, Urgency::Far)), [10]);
        for (peer, request) in [(1, 11), (1, 12), (2, 20), (2, 21), (3, 30)] {
            assert!(ask(&mut uploads, peer, request, Urgency::Far).is_empty());
        }
        assert!(ask(&mut uploads, 1, 13, Urgency::Urgent).is_empty());
        let mut order = vec![(1, 10)];
        while let Some(&(peer, request)) = order.last() {
            let mut out = Vec::new();
            uploads.ended(Peer(peer), UploadId(request), 16_384, now, &mut out);
            let Some(&next) = served(&out).first() else { break };
            order.push((next / 10, next));
        }
        let order: Vec<u64> = order.into_iter().map(|(_, request)| request).collect();
        assert_eq!(order, [10, 13, 20, 30, 11, 21, 12]);
    }

    #[test]
    fn what_nobody_else_holds_goes_first_and_once() {
        let now = Instant::now();
        let mut uploads = Uploads::new(1, 10, now);
        let ask = |uploads: &mut Uploads, peer: u64, request: u64, block, urgency, sole| {
            let (request, run) = (UploadId(request), BlockRun::new(0, block, 1));
            let asked = Queued {
                request,
                run,
                urgency,
                sole,
                spread: false,
            };
            uploads.request(Peer(peer), asked, Ok(()), now, &mut Vec::new());
        };
        for peer in 1..=3 {
            uploads.connected(Peer(peer), now, &mut Vec::new());
        }
        ask(&mut uploads, 1, 10, 0, Urgency::Far, false);
        ask(&mut uploads, 1, 11, 1, Urgency::Far, false);
        ask(&mut uploads, 2, 20, 7, Urgency::Far, true);
        ask(&mut uploads, 3, 30, 7, Urgency::Far, true);
        ask(&mut uploads, 2, 21, 8, Urgency::Far, true);
        ask(&mut uploads, 1, 12, 2, Urgency::Near, false);
        let mut order = vec![10];
        while let Some(&last) = order.last() {
            let mut out = Vec::new();
            uploads.ended(Peer(last / 10), UploadId(last), 16_384, now, &mut out);
            let Some(&next) = served(&out).first() else { break };
            order.push(next);
        }
        assert_eq!(order, [10, 12, 20, 21, 30, 11]);
    }

    #[test]
    fn everyone_gets_a_place_in_time_and_the_choked_are_refused() {
        let mut now = Instant::now();
        let mut uploads = Uploads::new(4, 4, now);
        let mut out = Vec::new();
        for peer in 0..20 {
            uploads.connected(Peer(peer), now, &mut out);
        }
        assert_eq!(out.len(), 4);
        assert!(matches!(
            ask(&mut uploads, 19, 1, Urgency::Far)[..],
            [Output::Refuse {
                reason: RefuseReason::Choked,
                ..
            }]
        ));
        let mut seen = std::collections::BTreeSet::new();
        let mut open = std::collections::BTreeSet::new();
        for round in 0..40 {
            for output in std::mem::take(&mut out) {
                match output {
                    Output::Unchoke { peer } => {
                        open.insert(peer);
                        seen.insert(peer);
                        ask(&mut uploads, peer.0, 100 * round + peer.0, Urgency::Far);
                    }
                    Output::Choke { peer } => {
                        open.remove(&peer);
                    }
                    // What was asked in an earlier turn.
                    Output::Refuse { peer, .. } => assert!(!open.contains(&peer)),
                    other => panic!("{other:?}"),
                }
            }
            assert!(open.len() <= 4);
            now = uploads.next_timeout().expect("somebody waits");
            uploads.rotate(now, &mut out);
        }
        assert_eq!(seen.len(), 20);
    }

    #[test]
    fn who_does_not_ask_frees_its_place_for_newcomers() {
        let now = Instant::now();
        let mut uploads = Uploads::new(1, 2, now);
        for peer in 0..2 {
            uploads.connected(Peer(peer), now, &mut Vec::new());
        }
        ask(&mut uploads, 0, 1, Urgency::Far);
        let mut out = Vec::new();
        uploads.connected(Peer(2), now + IDLE / 2, &mut out);
        assert_eq!(out, [], "nobody had the time to ask yet");
        uploads.connected(Peer(3), now + IDLE, &mut out);
        assert_eq!(
            out,
            [Output::Unchoke { peer: Peer(2) }],
            "who waits longest is first"
        );
    }

    #[test]
    fn no_change_of_places_cuts_off_a_deadline() {
        let start = Instant::now();
        let mut uploads = Uploads::new(1, 2, start);
        let mut out = Vec::new();
        for peer in 0..6 {
            uploads.connected(Peer(peer), start, &mut out);
        }
        // One upload runs; of two that wait, one is urgent.
        for (peer, request, urgency) in [
            (0, 1, Urgency::Far),
            (0, 2, Urgency::Urgent),
            (1, 3, Urgency::Far),
        ] {
            ask(&mut uploads, peer, request, urgency);
        }
        ask(&mut uploads, 0, 4, Urgency::Urgent);
        out.clear();
        let now = uploads.next_timeout().expect("four wait");
        uploads.rotate(now, &mut out);
        assert!(out.contains(&Output::Choke { peer: Peer(1) }), "{out:?}");
        assert!(!out.contains(&Output::Choke { peer: Peer(0) }), "{out:?}");
        assert!(
            out.contains(&Output::Unchoke { peer: Peer(2) }),
            "a newcomer has the free place: {out:?}"
        );
    }

    #[test]
    fn a_peer_that_needs_nothing_frees_its_place() {
        let now = Instant::now();
        let mut uploads = Uploads::new(1, 2, now);
        let mut out = Vec::new();
        for peer in 0..3 {
            uploads.connected(Peer(peer), now, &mut out);
        }
        out.clear();
        uploads.set_interested(Peer(0), false, now, &mut out);
        assert_eq!(out, [Output::Unchoke { peer: Peer(2) }]);
    }
}
