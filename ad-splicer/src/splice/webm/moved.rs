//! Clusters of content at other times: changed when they are read, since those between the cues were not looked at when they were laid out.
//!
//! Only what stands before the blocks of a cluster changes, byte for byte. A read begins at the last place before it where a cluster is said to begin and does, and goes from one to the next from there; what is no cluster stays as it is. A cluster whose time cannot be changed so is not read at all: it would come at a wrong one.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::content::Content;
use crate::frames::webm::beginning::{Beginning, LOOKED_AT, fits};
use crate::frames::webm::ebml::{CLUSTER, Head};

/// So many marks before a place at which no cluster begins are passed over,
const TRIED: usize = 16;
/// and so many clusters are gone through from one that does: what comes behind them, up to the next mark, cannot be read.
pub(super) const PASSED: usize = 256;

/// What a cluster is whose time cannot be changed.
fn damaged() -> io::Error {
    let what = "a cluster of the WebM file is not like those that were looked at";
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Clusters of the content that follow each other, whole, and how much later they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shifted {
    /// Where the first one begins in the content.
    pub from: u64,
    /// In units of the file.
    pub later: i64,
    /// Where clusters of the content are known, or said, to begin, in order.
    pub marks: Arc<[u64]>,
}

impl Shifted {
    /// Reads some bytes of `len` bytes of clusters, from one of them on.
    pub(crate) fn read_at(
        &self,
        content: &dyn Content,
        (within, len): (u64, u64),
        buffer: &mut [u8],
        deadline: Duration,
    ) -> io::Result<usize> {
        let (wanted, end) = (self.from + within, self.from + len);
        let head_at = |start: u64| -> io::Result<Vec<u8>> {
            let mut head = vec![0; (end - start).min(LOOKED_AT as u64) as usize];
            content.read_exact_at(start, &mut head, deadline)?;
            Ok(head)
        };
        let next = self.marks.partition_point(|mark| *mark <= wanted);
        // Whatever is read, it is not beyond where a read from the next mark would begin.
        let until = self.marks.get(next).map_or(end, |mark| end.min(*mark));
        let before = self.marks[..next].iter().rev().take(TRIED);
        let mut begin = None;
        for mark in before.copied().take_while(|mark| *mark > self.from) {
            let head = head_at(mark)?;
            if Head::parse(&head).is_some_and(|head| head.id == CLUSTER) {
                begin = Some((mark, head));
                break;
            }
        }
        let (mut start, mut head) = match begin {
            Some(begin) => begin,
            None => (self.from, head_at(self.from)?),
        };
        let mut passed = 0;
        let stop = loop {
            let len = Head::parse(&head).and_then(|own| own.size?.checked_add(own.len as u64));
            let over = len
                .and_then(|len| start.checked_add(len))
                .filter(|over| *over <= end);
            match over {
                Some(over) if over <= wanted && passed == PASSED => return Err(damaged()),
                Some(over) if over <= wanted => (start, head) = (over, head_at(over)?),
                over => break over.unwrap_or(until).min(until),
            }
            passed += 1;
        };
        let beginning = Beginning::parse(&head);
        let changed = match &beginning {
            Some(own) if fits(own.stamp(), own.time.saturating_add(self.later)) => own.shifted(self.later),
            // Where nothing is later, it is right as it is.
            None if self.later == 0 || Head::parse(&head).is_none_or(|head| head.id != CLUSTER) => Vec::new(),
            _ => return Err(damaged()),
        };
        let most = usize::try_from(stop - wanted).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let count = content.read_at(wanted, &mut buffer[..most], deadline)?;
        if count == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (at, byte) in changed {
            let at = (start + at as u64).checked_sub(wanted);
            if let Some(there) = at.and_then(|at| buffer[..count].get_mut(usize::try_from(at).ok()?)) {
                *there = byte;
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::webm::ebml::{SIMPLE_BLOCK, TIMESTAMP, VOID, element, unsigned_element};
    use proptest::prelude::*;

    use crate::frames::webm::beginning::made;

    fn cluster(time: i64, len: usize) -> Vec<u8> {
        let blocks = element(SIMPLE_BLOCK, &vec![7; len]);
        [made(time, blocks.len() as u64), blocks].concat()
    }

    /// What is read up to where it cannot be, and whether that is all.
    fn read(run: &Shifted, content: &Vec<u8>, len: u64, step: usize) -> (Vec<u8>, bool) {
        let mut out = Vec::new();
        let mut buffer = vec![0; step];
        while (out.len() as u64) < len {
            let most = step.min((len - out.len() as u64) as usize);
            let place = (out.len() as u64, len);
            let Ok(count) = run.read_at(content, place, &mut buffer[..most], Duration::ZERO) else {
                return (out, false);
            };
            out.extend(&buffer[..count]);
        }
        (out, true)
    }

    #[test]
    fn every_cluster_is_later_wherever_a_read_begins() {
        let times = [300, 700, 900, 65_000];
        let lens = [500, 0, 30, 9_000];
        let all = |later: i64| -> Vec<u8> {
            let clusters = times.iter().zip(lens);
            clusters
                .flat_map(|(time, len)| cluster(time + later, len))
                .collect()
        };
        let content = [vec![1; 77], all(0), vec![2; 9]].concat();
        let len = all(0).len() as u64;
        let third = 77 + (cluster(300, 500).len() + cluster(700, 0).len()) as u64;
        for marks in [
            vec![],
            vec![77],
            vec![77, third],
            vec![third - 1, third + 9],
            vec![5, 99_999],
        ] {
            let run = Shifted {
                from: 77,
                later: 400,
                marks: marks.into(),
            };
            for step in [1, 7, 64, 100_000] {
                assert!(
                    read(&run, &content, len, step) == (all(400), true),
                    "{step} at a time"
                );
            }
        }
    }

    #[test]
    fn what_is_no_cluster_stays() {
        let content = [
            cluster(300, 50),
            element(VOID, &[3; 40]),
            cluster(600, 10),
            vec![0; 100],
        ]
        .concat();
        let run = Shifted {
            from: 0,
            later: 5,
            marks: [].into(),
        };
        let expected = [
            cluster(305, 50),
            element(VOID, &[3; 40]),
            cluster(605, 10),
            vec![0; 100],
        ]
        .concat();
        assert_eq!(read(&run, &content, content.len() as u64, 13), (expected, true));
    }

    #[test]
    fn a_cluster_whose_time_cannot_be_changed_is_not_read() {
        let blocks = element(SIMPLE_BLOCK, &[7; 40]);
        let time = unsigned_element(TIMESTAMP, 600);
        let late = element(
            CLUSTER,
            &[element(VOID, &[0; 90]), time.clone(), blocks.clone()].concat(),
        );
        let endless = [&CLUSTER.to_be_bytes()[..], &[0xFF], &time, &blocks].concat();
        for (wrong, later) in [(late, 5), (endless, 5), (cluster(200, 30), 100)] {
            let content = [cluster(300, 50), wrong, cluster(700, 10)].concat();
            let len = content.len() as u64;
            let run = |later| Shifted {
                from: 0,
                later,
                marks: [].into(),
            };
            for step in [13, 1_000] {
                let before = cluster(300 + later, 50);
                assert_eq!(read(&run(later), &content, len, step), (before, false));
                assert!(read(&run(0), &content, len, step) == (content.clone(), true));
            }
        }
    }

    #[test]
    fn what_is_far_behind_the_last_mark_is_not_read() {
        let content =
            |later: i64| -> Vec<u8> { (300..900).flat_map(|time| cluster(time + later, 3)).collect() };
        let (content, due) = (content(0), content(9));
        let (one, len) = (cluster(300, 3).len(), content.len() as u64);
        let run = |marks: &[usize]| Shifted {
            from: 0,
            later: 9,
            marks: marks.iter().map(|mark| (mark * one) as u64).collect(),
        };
        let far = due[..(PASSED + 1) * one].to_vec();
        assert!(read(&run(&[]), &content, len, 100) == (far, false));
        assert!(read(&run(&[PASSED, 2 * PASSED]), &content, len, 100) == (due, true));
    }

    proptest! {
        #[test]
        fn whatever_is_there_every_read_gives_the_same(bytes in prop::collection::vec(any::<u8>(), 1..200), marks in prop::collection::btree_set(0_u64..300, 0..4), step in 1_usize..50) {
            let content = [&CLUSTER.to_be_bytes()[..], &bytes].concat();
            let run = Shifted { from: 0, later: 9, marks: marks.into_iter().collect() };
            let len = content.len() as u64;
            prop_assert_eq!(read(&run, &content, len, step), read(&run, &content, len, 1_000));
        }
    }
}
