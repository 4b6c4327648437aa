//! Where a file says that decoding can begin (RFC 9559 §5.1.5). It may say what is not so: whoever goes by a cue looks at what is there ([`Webm::bears_out`]).

use std::time::Duration;

use super::ebml::{self, Head};
use super::scan::Index;
use super::{Kind, MOST_ELEMENT, Webm, body_of, head_at};
use crate::content::Content;
use crate::frames::window::Window;
use crate::splice::{self, SpliceError};

/// A place where decoding can begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cue {
    /// When its block is, in units of the file.
    pub(crate) time: i64,
    /// Where its cluster begins in the content.
    pub(crate) cluster: u64,
}

/// The elements that follow each other in these bytes, up to where they are damaged.
fn elements(mut bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let head = Head::parse(bytes)?;
        let size = usize::try_from(head.size?).ok()?;
        let (body, rest) = bytes[head.len..].split_at_checked(size)?;
        bytes = rest;
        Some((head.id, body))
    })
}

fn all(bytes: &[u8], id: u32) -> impl Iterator<Item = &[u8]> {
    let found = elements(bytes).filter(move |(own, _)| *own == id);
    found.map(|(_, body)| body)
}

fn number(bytes: &[u8], id: u32) -> Option<u64> {
    all(bytes, id).next().and_then(ebml::unsigned)
}

/// The cues of a track in what is in their element, in the order in which they stand; positions are within the segment.
fn cues(bytes: &[u8], track: u64) -> impl Iterator<Item = (u64, u64)> {
    all(bytes, ebml::CUE_POINT).filter_map(move |point| {
        let time = number(point, ebml::CUE_TIME)?;
        let mut places = all(point, ebml::CUE_TRACK_POSITIONS);
        let own = places.find(|place| number(place, ebml::CUE_TRACK) == Some(track))?;
        Some((time, number(own, ebml::CUE_CLUSTER_POSITION)?))
    })
}

impl Webm {
    /// The cues of a track, in their order; none when there are none or they make no sense.
    pub(crate) fn cues(
        &self,
        track: usize,
        content: &dyn Content,
        deadline: Duration,
    ) -> Result<Vec<Cue>, SpliceError> {
        let Some(at) = self.cues_at else {
            return Ok(Vec::new());
        };
        let mut window = Window::new(content, deadline);
        let body = head_at(&mut window, at)
            .and_then(|head| Ok((head.id, body_of(&window, at, head, self.segment.end)?)));
        let body = match body {
            Ok((ebml::CUES, body)) if body.end - body.start <= MOST_ELEMENT => body,
            Err(error @ SpliceError::Read { .. }) => return Err(error),
            _ => return Ok(Vec::new()),
        };
        let len = (body.end - body.start) as usize;
        let bytes = splice::read(content, body.start, len, deadline)?;
        let number = self.tracks[track].number;
        let found: Option<Vec<Cue>> = cues(&bytes, number)
            .map(|(time, position)| {
                let cluster = self.segment.start.checked_add(position)?;
                let inside = (self.first..self.segment.end).contains(&cluster);
                let time = i64::try_from(time).ok().filter(|_| inside)?;
                time.checked_mul(self.scale as i64)?;
                Some(Cue { time, cluster })
            })
            .collect();
        let in_order = |cues: &Vec<Cue>| {
            let mut pairs = cues.windows(2);
            pairs.all(|pair| pair[0].time < pair[1].time && pair[0].cluster <= pair[1].cluster)
        };
        Ok(found.filter(in_order).unwrap_or_default())
    }

    /// Whether what a cue says is so: in its cluster there is a block of its track at its time, and decoding can begin with it.
    pub(crate) fn bears_out(
        &self,
        cue: Cue,
        track: usize,
        content: &dyn Content,
        deadline: Duration,
    ) -> Result<bool, SpliceError> {
        match Index::scan_until((track, cue.time), cue.cluster, self, content, deadline) {
            Ok(index) => Ok(index.blocks.last().is_some_and(|block| {
                let begins = self.tracks[track].kind == Kind::Audio || block.key();
                block.track() == track && block.time == cue.time && begins
            })),
            Err(error @ SpliceError::Read { .. }) => Err(error),
            Err(_) => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebml::{element, unsigned_element};
    use proptest::prelude::*;

    fn point(time: u64, places: &[(u64, u64)]) -> Vec<u8> {
        let places = places.iter().flat_map(|(track, position)| {
            let track = unsigned_element(ebml::CUE_TRACK, *track);
            let position = unsigned_element(ebml::CUE_CLUSTER_POSITION, *position);
            element(ebml::CUE_TRACK_POSITIONS, &[track, position].concat())
        });
        let time = unsigned_element(ebml::CUE_TIME, time);
        element(ebml::CUE_POINT, &[time, places.collect()].concat())
    }

    #[test]
    fn each_track_has_its_own_cues() {
        let both = [
            point(0, &[(1, 50), (2, 60)]),
            element(ebml::VOID, &[0; 9]),
            point(40, &[(2, 70)]),
            point(90, &[(1, 80)]),
        ]
        .concat();
        assert_eq!(cues(&both, 1).collect::<Vec<_>>(), [(0, 50), (90, 80)]);
        assert_eq!(cues(&both, 2).collect::<Vec<_>>(), [(0, 60), (40, 70)]);
        assert_eq!(cues(&both, 3).count(), 0);
        // What is damaged ends the list.
        assert_eq!(cues(&both[..both.len() - 1], 1).count(), 1);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = cues(&bytes, 1).count();
            let _ = cues(&element(ebml::CUE_POINT, &bytes), 1).count();
        }
    }
}
