//! How far the blocks of a request have come, also within one: the next request goes on there.
//!
//! Not here: when a seed is asked again (the parent module), or what its answers mean ([`super::exchange`]).

use bytes::BytesMut;
use std::ops::Range;

/// Blocks of a file that are fetched.
#[derive(Debug)]
pub(super) struct Progress {
    /// The first that has not come.
    pub(super) next: u32,
    /// Behind the last.
    pub(super) end: u32,
    /// What has come of the next.
    pub(super) begun: Begun,
}

impl Progress {
    pub(super) fn of(blocks: Range<u32>) -> Self {
        Self {
            next: blocks.start,
            end: blocks.end,
            begun: Begun::default(),
        }
    }

    /// A seed gave all before this block; what follows is the beginning of it.
    pub(super) fn gave(&mut self, seed: usize, block: u32) {
        self.next = self.next.max(block).min(self.end);
        self.begun.from = Some((seed, block));
    }
}

/// The beginning of a block from a seed whose answer ended within it. The next request to that seed goes on behind it, so that a server which
/// sends little at a time still gives whole blocks.
#[derive(Debug, Default)]
pub(super) struct Begun {
    from: Option<(usize, u32)>,
    pub(super) bytes: BytesMut,
}

impl Begun {
    /// Forgets it, unless a seed is asked for the rest of this block. Gives how many bytes are of no use.
    pub(super) fn keep_for(&mut self, seed: usize, block: u32) -> u64 {
        if self.from == Some((seed, block)) {
            return 0;
        }
        let bytes = self.forget();
        self.from = Some((seed, block));
        bytes
    }

    pub(super) fn forget(&mut self) -> u64 {
        let bytes = self.len();
        self.from = None;
        self.bytes.clear();
        bytes
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// Whether so few of the bytes that were asked for are no progress: otherwise any number of requests might be sent for a block.
pub(super) fn is_little(bytes: u64, asked: u64) -> bool {
    bytes < asked.div_ceil(4).min(1 << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_come_of_a_block_is_kept_for_its_rest_alone() {
        let mut progress = Progress::of(3..6);
        progress.gave(1, 4);
        progress.begun.bytes.extend_from_slice(b"four");
        assert_eq!((progress.next, progress.begun.keep_for(1, 4)), (4, 0));
        assert_eq!(progress.begun.len(), 4);
        assert_eq!(progress.begun.keep_for(2, 4), 4, "another seed begins anew");
        // A seed of whole files gives from the first block on, and beyond the last.
        progress.gave(2, 1);
        assert_eq!(progress.next, 4);
        progress.gave(2, 9);
        assert_eq!(progress.next, 6);
    }
}
