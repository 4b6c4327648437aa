//! The invariants of the core, asserted: for its tests and for the fuzzers, not compiled into the product.

use super::Swarm;
use std::ops::Range;

impl Swarm {
    /// Asserts that the books are right, counted from the beginning, and that everything is bounded.
    pub fn audit(&self) {
        let mut held = 0;
        for piece in 0..self.layout.pieces() {
            let span = self.layout.piece_span(piece);
            let state = &self.pieces[piece as usize];
            assert_eq!(state.held, self.have.count(span.clone()));
            assert_eq!(state.requested, self.requested.count(span.clone()));
            held += u64::from(state.held);
            let open = state.held + state.requested < state.blocks;
            assert_eq!(self.open.as_slice().contains(&piece), open);
            let available: u32 = self
                .peers
                .values()
                .filter(|p| p.counted)
                .map(|p| p.have.count(span.clone()))
                .sum();
            assert_eq!(state.available, available);
            for block in span {
                assert!(
                    !(self.have.get(block) && self.requested.get(block)),
                    "both held and requested"
                );
                let brought = self.requests.values().any(|r| r.span.contains(&block))
                    || self.origin.fetches.values().any(|f| f.span.contains(&block));
                if self.requested.get(block) {
                    assert!(brought, "block {block} is requested of nobody");
                } else if brought {
                    assert!(self.have.get(block), "block {block} is on its way and not marked");
                }
            }
        }
        assert_eq!(self.have_blocks, held);
        assert_eq!(self.complete, held == self.layout.total_blocks());
        let missing = |span: &Range<u32>| span.clone().filter(|&b| !self.have.get(b)).count() as u32;
        for (peer, state) in &self.peers {
            let left: u32 = state.requests.iter().map(|id| self.requests[id].left).sum();
            assert_eq!(state.outstanding, left);
            let urgent = state
                .requests
                .iter()
                .map(|id| &self.requests[id])
                .filter(|r| r.urgent);
            assert_eq!(state.urgent, urgent.map(|r| r.left).sum::<u32>());
            assert!(state.requests.iter().all(|id| self.requests[id].peer == *peer));
            let all = 0..self.layout.numbers();
            let interest = all.filter(|&b| state.have.get(b) && !self.have.get(b)).count() as u64;
            assert_eq!(state.interest, interest);
        }
        assert!(
            self.requests
                .values()
                .all(|r| r.left == missing(&r.span) && r.left > 0)
        );
        assert!(self.origin.fetches.values().all(|f| missing(&f.span) > 0));
        let outstanding: u32 = self.origin.fetches.values().map(|f| missing(&f.span)).sum();
        assert_eq!(self.origin.outstanding, outstanding);
        assert!(self.claims.len() <= self.layout.pieces() as usize);
        assert!(self.uploads.queued() <= self.peers.len() * 128);
        assert!(self.news.len() <= self.layout.total_blocks() as usize);
    }
}
