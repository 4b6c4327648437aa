//! The blocks that were written last, in memory: what has just come is what others ask for.
//!
//! A block that is here is read without a system call or another thread. Not for what is still to be written, which is
//! kept apart until it is.

use bytes::Bytes;
use std::collections::{HashMap, VecDeque};

/// Blocks that are kept: 8 MiB, what a line of 10 MB/s brings in most of a second.
const KEPT: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Recent {
    blocks: HashMap<u32, Bytes>,
    /// The oldest first.
    order: VecDeque<u32>,
}

impl Recent {
    /// Keeps a block that was written, in the place of the oldest.
    pub(super) fn add(&mut self, block: u32, data: Bytes) {
        if self.blocks.insert(block, data).is_none() {
            self.order.push_back(block);
        }
        while self.order.len() > KEPT {
            if let Some(oldest) = self.order.pop_front() {
                self.blocks.remove(&oldest);
            }
        }
    }

    pub(super) fn get(&self, block: u32) -> Option<&Bytes> {
        self.blocks.get(&block)
    }

    /// Forgets a block, which the disk may not have.
    pub(super) fn remove(&mut self, block: u32) {
        if self.blocks.remove(&block).is_some() {
            self.order.retain(|&other| other != block);
        }
    }

    /// Forgets all, and what it takes: from now on what the disk has is what counts.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room() {
        let mut recent = Recent::default();
        let data = |n: u32| Bytes::copy_from_slice(&n.to_le_bytes());
        let most = KEPT as u32;
        (0..most).for_each(|n| recent.add(n, data(n)));
        recent.add(0, data(most));
        assert_eq!(recent.get(0), Some(&data(most)));
        recent.remove(1);
        assert_eq!(recent.get(1), None);
        recent.add(1, data(1));
        assert_eq!(recent.get(0), Some(&data(most)), "there was room");
        recent.add(most, data(most));
        assert_eq!((recent.get(0), recent.get(2)), (None, Some(&data(2))));
        recent.clear();
        assert_eq!((recent.get(2), recent.order.len()), (None, 0));
    }
}
