//! Claims: which viewer draws a piece from the origin, or from a seed that is spared.
//!
//! Neighbours pass them on once; they expire after five seconds without a sign of progress, and hold nobody back for
//! longer than ten. All of it is bounded, as strangers write it. Not here: who draws (`origin_duty`, `seed_duty`).

use std::ops::Range;
use std::time::{Duration, Instant};

use super::Swarm;
use super::bits::first_run;
use super::types::{Claim, Output, Peer, PeerId, PieceIndex};

/// A claim without progress is believed this long.
const CLAIM_LIFE: Duration = Duration::from_secs(5);
/// Claims hold us back from a piece no longer than this while no block of it appears, however often they are renewed.
const CLAIMS_BELIEVED: Duration = Duration::from_secs(10);
/// How often it is told what only we hold, and how much of it at a time. A claim that is heard again is passed on again
/// only when less than half of its life is left: renewed sooner, those two hops away would never hear it again.
const RENEWAL: Duration = Duration::from_secs(3);
const MAX_RENEWED: usize = 256;
/// Claims kept for one piece, and pieces with claims.
const MAX_CLAIMERS: usize = 4;
const MAX_CLAIMED: usize = 16_384;
/// Claims passed on with one batch.
const MAX_FORWARD: usize = 1_024;

/// The first 8 bytes of an id.
pub(super) fn claimer(id: PeerId) -> u64 {
    id.0.iter()
        .take(8)
        .fold(0, |sum, &byte| sum << 8 | u64::from(byte))
}

/// A sign that a claimed piece is coming.
pub(super) fn refresh(claims: &mut [(u64, Instant)], now: Instant) {
    for (_, until) in claims.iter_mut() {
        *until = (*until).max(now + CLAIM_LIFE);
    }
}

impl Swarm {
    /// Whether another viewer says that it draws the piece, and has not said so for too long in vain.
    /// Those of `except` do not count.
    pub(super) fn is_claimed(&mut self, piece: u32, except: &[u64], now: Instant) -> bool {
        let claimed = self.claims.get(&piece).is_some_and(|c| {
            c.iter()
                .any(|&(who, until)| until > now && !except.contains(&who))
        });
        claimed && {
            let since = *self.pieces[piece as usize].claimed_since.get_or_insert(now);
            now.saturating_duration_since(since) < CLAIMS_BELIEVED
        }
    }

    /// Tells the neighbours that what is missing of these blocks will not come from us.
    pub(super) fn give_up(&mut self, span: &Range<u32>) {
        let claims: Vec<Claim> = self
            .pieces_of(span)
            .filter(|&piece| self.pieces[piece as usize].held < self.pieces[piece as usize].blocks)
            .map(|piece| self.own_claim(piece, true))
            .collect();
        self.send_claims(&claims);
    }

    pub(super) fn own_claim(&self, piece: u32, retracted: bool) -> Claim {
        let claimer = claimer(self.config.id);
        Claim {
            piece: PieceIndex(piece),
            claimer,
            forwarded: false,
            retracted,
        }
    }

    /// What we draw at present and, where not all see each other, what we heard that others draw: for a peer that is
    /// new and did not hear it.
    pub(super) fn claims_for_newcomer(&self, now: Instant) -> Vec<Claim> {
        let own: std::collections::BTreeSet<u32> = self
            .origin
            .fetches
            .values()
            .flat_map(|f| self.pieces_of(&f.span))
            .chain(self.requests_to_seeds())
            .collect();
        let heard = self
            .claims
            .iter()
            .filter(|_| !self.sees_all())
            .filter_map(|(&piece, list)| {
                let &(claimer, _) = list.iter().find(|&&(_, until)| until > now)?;
                Some(Claim {
                    claimer,
                    forwarded: true,
                    ..self.own_claim(piece, false)
                })
            });
        own.into_iter()
            .map(|piece| self.own_claim(piece, false))
            .chain(heard.take(MAX_RENEWED))
            .collect()
    }

    /// What we hold and no neighbour does is on its way to all who ask us: those who are not our neighbours hear that
    /// from ours, or they would draw it again.
    pub(super) fn renew_claims(&mut self, now: Instant) {
        if self.renewal_at().is_none_or(|at| at > now) {
            return;
        }
        self.claims_renewed = now;
        let sole = self.sole();
        let claims: Vec<Claim> = (0..self.layout.pieces())
            .filter(|&piece| first_run(self.layout.piece_span(piece), 1, |w| sole[w]).is_some())
            .take(MAX_RENEWED)
            .map(|piece| self.own_claim(piece, false))
            .collect();
        self.sole_told = !claims.is_empty();
        self.send_claims(&claims);
    }

    /// When [`Self::renew_claims`] has something to do, as far as is known.
    pub(super) fn renewal_at(&self) -> Option<Instant> {
        let something = !self.complete || self.sole_told;
        (something && !self.sees_all()).then_some(self.claims_renewed + RENEWAL)
    }

    /// Pieces that we ask of seeds because it is our duty.
    fn requests_to_seeds(&self) -> impl Iterator<Item = u32> {
        let spared = self.spares_seeds();
        let to_seed = |peer: &Peer| self.peers.get(peer).is_some_and(|p| self.is_seed(p));
        self.requests
            .values()
            .filter(move |request| spared && to_seed(&request.peer))
            .map(|request| request.span.start / self.layout.piece_blocks())
    }

    pub(super) fn send_claims(&mut self, claims: &[Claim]) {
        if claims.is_empty() {
            return;
        }
        for &to in self.peers.keys() {
            self.outputs.push_back(Output::SendClaims {
                to,
                claims: claims.to_vec(),
            });
        }
    }

    pub(super) fn peer_claims(&mut self, from: Peer, claims: &[Claim], now: Instant) {
        if !self.peers.contains_key(&from) {
            return;
        }
        let me = claimer(self.config.id);
        // Where everybody is everybody's neighbour, all have heard it already.
        let pass_on = !self.sees_all();
        for claim in claims {
            let piece = claim.piece.0;
            if claim.claimer == me || piece >= self.layout.pieces() {
                continue;
            }
            if self.claims.len() >= MAX_CLAIMED && !self.claims.contains_key(&piece) {
                continue;
            }
            let list = self.claims.entry(piece).or_default();
            // One that is about to end is news again: whoever renews it wants it to be heard as far as before.
            list.retain(|&(who, until)| {
                who != claim.claimer || claim.retracted || until > now + CLAIM_LIFE / 2
            });
            let known = list.iter().position(|&(who, _)| who == claim.claimer);
            let news = match (known, claim.retracted) {
                (Some(at), true) => {
                    list.swap_remove(at);
                    true
                }
                (None, true) => false,
                (Some(at), false) => {
                    self.size.claim_heard(now);
                    list[at].1 = list[at].1.max(now + CLAIM_LIFE);
                    false
                }
                (None, false) => {
                    self.size.claim_heard(now);
                    if list.len() < MAX_CLAIMERS {
                        list.push((claim.claimer, now + CLAIM_LIFE));
                    }
                    true
                }
            };
            if list.is_empty() {
                self.claims.remove(&piece);
            }
            if news && !claim.forwarded && pass_on && self.forward.len() < MAX_FORWARD {
                self.forward.push((
                    from,
                    Claim {
                        forwarded: true,
                        ..*claim
                    },
                ));
                self.flush_at.get_or_insert(now + super::news::BATCH);
            }
        }
    }

    pub(super) fn refresh_claims(&mut self, piece: u32, now: Instant) {
        self.pieces[piece as usize].claimed_since = None;
        if let Some(list) = self.claims.get_mut(&piece) {
            refresh(list, now);
        }
    }

    /// Forgets those that hold nobody back any more; once a second is enough: [`Self::is_claimed`] looks at the time.
    pub(super) fn expire_claims(&mut self, now: Instant) {
        if now < self.claims_swept + Duration::from_secs(1) {
            return;
        }
        self.claims_swept = now;
        self.claims.retain(|_, list| {
            list.retain(|&(_, until)| until > now);
            !list.is_empty()
        });
    }

    pub(super) fn flush_claims(&mut self) {
        let forward = std::mem::take(&mut self.forward);
        if forward.is_empty() {
            return;
        }
        for (&to, state) in &self.peers {
            let them = claimer(state.id);
            let claims: Vec<Claim> = forward
                .iter()
                .filter(|(from, claim)| *from != to && claim.claimer != them)
                .map(|&(_, claim)| claim)
                .collect();
            if !claims.is_empty() {
                self.outputs.push_back(Output::SendClaims { to, claims });
            }
        }
    }
}
