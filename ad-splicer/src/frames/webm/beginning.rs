//! The beginning of a cluster: what stands before its blocks, and what of that changes when the cluster comes to stand elsewhere, at another time.

use std::ops::Range;

use super::ebml::{self, Head, MOST_HEAD};

/// How much of a cluster is looked at: one whose blocks begin later stays as it is, or is made anew.
pub(crate) const LOOKED_AT: usize = 64;
/// The id of an element that stands for nothing, in one byte, as have those that are overwritten by it.
const VOID: u8 = ebml::VOID as u8;

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Beginning {
    /// Bytes of the cluster.
    pub(crate) len: u64,
    pub(crate) time: i64,
    /// Bytes before the first block.
    pub(crate) blocks: usize,
    /// Where the time is.
    stamp: Range<usize>,
    /// Where elements begin that tell where the cluster stands, or what its bytes add up to.
    placed: Vec<usize>,
}

impl Beginning {
    /// `None` when it is no cluster, nobody knows how long it is, or its blocks do not begin in these bytes.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..LOOKED_AT).unwrap_or(bytes);
        let head = Head::parse(bytes).filter(|head| head.id == ebml::CLUSTER)?;
        let len = head.size?.checked_add(head.len as u64)?;
        let (mut at, mut stamp, mut placed) = (head.len, None, Vec::new());
        loop {
            let inner = Head::parse(bytes.get(at..)?)?;
            let start = at + inner.len;
            let end = start.checked_add(usize::try_from(inner.size?).ok()?)?;
            match inner.id {
                ebml::SIMPLE_BLOCK | ebml::BLOCK_GROUP => break,
                ebml::TIMESTAMP if stamp.is_none() => stamp = Some(start..end),
                ebml::TIMESTAMP => return None,
                ebml::POSITION | ebml::PREVIOUS_SIZE | ebml::CRC => placed.push(at),
                _ => {}
            }
            at = end;
        }
        let stamp = stamp?;
        let time = i64::try_from(ebml::unsigned(bytes.get(stamp.clone())?)?).ok()?;
        (at as u64 <= len).then_some(Self {
            len,
            time,
            blocks: at,
            stamp,
            placed,
        })
    }

    /// How many bytes its time has.
    pub(crate) fn stamp(&self) -> usize {
        self.stamp.len()
    }

    /// The bytes that are others when it is so many units later, with where they stand. A time that has no place there stays.
    pub(crate) fn shifted(&self, units: i64) -> Vec<(usize, u8)> {
        let mut changed: Vec<(usize, u8)> = self.placed.iter().map(|at| (*at, VOID)).collect();
        let time = self.time.saturating_add(units).max(0);
        if fits(self.stamp(), time) {
            let bytes = time.to_be_bytes();
            changed.extend(
                self.stamp
                    .clone()
                    .zip(bytes[bytes.len() - self.stamp()..].iter().copied()),
            );
        }
        changed
    }
}

/// Whether a time can be written in so many bytes.
pub(crate) fn fits(stamp: usize, time: i64) -> bool {
    (1..=8).contains(&stamp) && (stamp == 8 || time < 1 << (8 * stamp))
}

/// The least number of bytes for a time.
pub(crate) fn stamp_of(time: i64) -> usize {
    (1..8).find(|stamp| fits(*stamp, time)).unwrap_or(8)
}

/// What stands before `blocks` bytes of blocks in a cluster that is made.
pub(crate) fn made(time: i64, blocks: u64) -> Vec<u8> {
    let time = ebml::unsigned_element(ebml::TIMESTAMP, time.max(0) as u64);
    let mut out = Vec::with_capacity(MOST_HEAD + time.len());
    ebml::write_head(&mut out, ebml::CLUSTER, time.len() as u64 + blocks);
    out.extend(time);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebml::{element, unsigned_element};
    use proptest::prelude::*;

    fn cluster(time: &[u8]) -> Vec<u8> {
        let body = [
            element(ebml::CRC, &[1, 2, 3, 4]),
            element(ebml::TIMESTAMP, time),
            unsigned_element(ebml::POSITION, 700),
            element(ebml::SIMPLE_BLOCK, &[9; 300]),
            unsigned_element(ebml::PREVIOUS_SIZE, 7),
        ];
        element(ebml::CLUSTER, &body.concat())
    }

    #[test]
    fn a_cluster_has_another_time_in_as_many_bytes() {
        let bytes = cluster(&[1, 0]);
        let beginning = Beginning::parse(&bytes).unwrap();
        assert_eq!((beginning.len, beginning.time), (bytes.len() as u64, 256));
        assert_eq!(bytes[beginning.blocks], 0xA3);
        let moved = |units| {
            let mut moved = bytes.clone();
            for (at, byte) in beginning.shifted(units) {
                moved[at] = byte;
            }
            Beginning::parse(&moved).unwrap()
        };
        for (units, time) in [
            (1_000, 1_256),
            (-255, 1),
            (-300, 0),
            (65_279, 65_535),
            (65_280, 256),
        ] {
            let moved = moved(units);
            assert_eq!(
                (moved.time, moved.len, moved.placed.len()),
                (time, beginning.len, 0)
            );
        }
    }

    #[test]
    fn what_is_no_whole_beginning_is_none() {
        let bytes = cluster(&[0, 5]);
        assert!(Beginning::parse(&bytes).is_some());
        for wrong in [
            &bytes[..20],
            &bytes[1..],
            &element(
                ebml::CLUSTER,
                &[element(ebml::VOID, &[0; 90]), bytes.clone()].concat(),
            ),
            &element(ebml::CLUSTER, &element(ebml::SIMPLE_BLOCK, &[0; 9])),
            // Nobody knows how long it is.
            &[&bytes[..4], &[0xFF], &bytes[6..]].concat(),
        ] {
            assert_eq!(Beginning::parse(wrong), None, "{wrong:x?}");
        }
    }

    #[test]
    fn what_is_made_is_read() {
        for time in [0, 255, 256, 65_535, 65_536, 1 << 40] {
            let blocks = element(ebml::SIMPLE_BLOCK, &[9; 300]);
            let bytes = [made(time, blocks.len() as u64), blocks].concat();
            let beginning = Beginning::parse(&bytes).unwrap();
            assert_eq!((beginning.time, beginning.len), (time, bytes.len() as u64));
            assert_eq!(beginning.stamp(), stamp_of(time));
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..100), units in any::<i64>()) {
            for bytes in [&bytes, &[&ebml::CLUSTER.to_be_bytes()[..], &bytes].concat()] {
                if let Some(beginning) = Beginning::parse(bytes) {
                    prop_assert!(beginning.shifted(units).iter().all(|(at, _)| *at < bytes.len()));
                }
            }
        }
    }
}
