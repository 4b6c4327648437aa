//! Where pictures can be cut. Pure but for looking whether a sample is an IDR picture.

use std::ops::Range;
use std::time::Duration;

use super::{Heard, Video, first_not, rescaled};
use crate::content::Content;
use crate::frames::h264;
use crate::picture::PictureCoding;
use crate::splice::{self, SpliceError};

/// A group that lasts longer than this is coded again only after it was said.
const LONG: Duration = Duration::from_secs(10);
/// More bytes of a group than this are not coded again for a cut: they are held in memory.
pub(in crate::splice) const MOST_RECODED: u64 = 64 << 20;
/// How much of a sample is read to see what it is.
pub(super) const LOOKED_INTO: u64 = 4096;
/// How often a unit may end behind that.
const LOOKED_FOR: usize = 64;

/// Why there is no cut.
enum Uncut {
    /// More pictures than may be would have to be coded again.
    TooFarApart(String),
    Unread(String),
}

/// A place between two pictures, in order of showing, or in the middle of one that is shown for long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// The samples from the IDR picture before it to the next one; empty when it is at one, or at the end.
    pub(super) group: Range<usize>,
    /// How many of the group are shown before it.
    pub(super) rank: usize,
    /// In the middle of a picture, the last of those, or behind the last of all: when that is, in media time. It is shown again from there on.
    pub(super) within: Option<i64>,
    /// The sample of the sound at which this is.
    pub(super) sample: u64,
}

impl Cut {
    /// The ranks of the group's pictures that are coded again behind it.
    pub(super) fn behind(&self) -> Range<usize> {
        let again = usize::from(self.within.is_some());
        self.rank - again..self.group.len()
    }

    /// The ranks of those that are coded again before it: none when all of the group is before it, and stays as it is.
    pub(super) fn before(&self) -> Range<usize> {
        if self.rank == self.group.len() {
            self.rank..self.rank
        } else {
            0..self.rank
        }
    }
}

impl Video {
    /// Whether a sample is an IDR picture.
    fn is_idr(&self, content: &dyn Content, deadline: Duration, index: usize) -> Result<bool, SpliceError> {
        if self.format.coding == PictureCoding::Vp9 {
            // Each key frame is one.
            return Ok(true);
        }
        let (start, size) = (
            self.samples.offsets.at(index),
            u64::from(self.samples.sizes[index]),
        );
        let mut passed = 0;
        for _ in 0..LOOKED_FOR {
            let len = size.saturating_sub(passed).min(LOOKED_INTO) as usize;
            match h264::is_idr(&splice::read(content, start + passed, len, deadline)?, 4) {
                Ok(found) => return Ok(found),
                // Nothing whole is left.
                Err(0) => break,
                Err(further) => passed += further,
            }
        }
        Ok(false)
    }

    /// When the IDR picture is shown that is shown nearest to a time and at most `within` from it, all in samples of `sound` a second.
    pub(super) fn key_near(
        &self,
        content: &dyn Content,
        deadline: Duration,
        (sample, within): (u64, u64),
        sound: u32,
    ) -> Result<Option<u64>, SpliceError> {
        let ticks = |samples: u64| rescaled(samples as i64, self.scale, sound);
        let (time, within) = (self.zero + ticks(sample), ticks(within));
        let mut near: Vec<(i64, usize)> = (self.first_key_from(time - within)..self.keys())
            .map(|key| self.key(key))
            .map(|index| (self.shown(index), index))
            .take_while(|(shown, _)| *shown <= time + within)
            .collect();
        near.sort_by_key(|(shown, _)| shown.abs_diff(time));
        for (shown, index) in near {
            if shown >= self.zero && self.is_idr(content, deadline, index)? {
                return Ok(Some(rescaled(shown - self.zero, sound, self.scale) as u64));
            }
        }
        Ok(None)
    }

    /// Where pictures are cut for a cue at a sample of the sound, which moves to the nearest picture; one that lasts for longer than usual
    /// is cut where the cue is.
    pub(super) fn cut(
        &self,
        content: &dyn Content,
        deadline: Duration,
        sample: u64,
        sound: &Heard<'_>,
    ) -> Result<Cut, String> {
        let cut = self.cut_within(content, deadline, (sample, MOST_RECODED), sound);
        cut.map_err(|(Uncut::TooFarApart(reason) | Uncut::Unread(reason))| reason)
    }

    /// Whether more than so many bytes of pictures would have to be coded again for a cue.
    pub(super) fn lacks_keys(
        &self,
        content: &dyn Content,
        deadline: Duration,
        (sample, most): (u64, u64),
        sound: &Heard<'_>,
    ) -> bool {
        let cut = self.cut_within(content, deadline, (sample, most), sound);
        matches!(cut, Err(Uncut::TooFarApart(_)))
    }

    fn cut_within(
        &self,
        content: &dyn Content,
        deadline: Duration,
        (sample, most): (u64, u64),
        sound: &Heard<'_>,
    ) -> Result<Cut, Uncut> {
        let samples = sound.samples;
        let at = |index: usize, sample| Cut {
            group: index..index,
            rank: 0,
            within: None,
            sample,
        };
        let half = self.lasting() / 2 + 1;
        // What the edit list leaves out at both ends stays left out.
        let time = match self.hidden_end {
            Some(shown_until) if sample >= samples => shown_until,
            _ if sample == 0 && self.hidden_start => self.zero,
            _ => self.zero + rescaled(sound.clock.heard(sample), self.scale, sound.rate),
        };
        if sample >= samples && self.hidden_end.is_none() {
            return Ok(at(self.count(), samples));
        }
        if sample == 0 && !self.hidden_start {
            return Ok(at(0, 0));
        }
        if time > self.over && self.hidden_end.is_some() {
            return Ok(at(self.count(), sample));
        }
        let idr = |index: usize| {
            self.is_idr(content, deadline, index)
                .map_err(|error| Uncut::Unread(error.to_string()))
        };
        let sample_of = |shown: i64| {
            if sample == 0 || sample >= samples {
                return sample.min(samples);
            }
            let heard = rescaled(shown - self.zero, sound.rate, self.scale);
            sound.clock.content(heard).min(samples)
        };
        let keys = self.keys();
        // The first key picture that is shown after the cue or near enough to it.
        let after = self.first_key_from(time - half);
        let too_long = |group: Range<usize>| {
            let bytes: u64 = self.samples.sizes[group]
                .iter()
                .map(|size| u64::from(*size))
                .sum();
            bytes > most
        };
        let lacking = || {
            Uncut::TooFarApart(format!(
                "the key frames (IDR) around the cue at {:.3} s are too far apart: all pictures between them would have to be coded again, and those are more than {} MiB",
                self.seconds(time),
                most >> 20
            ))
        };
        let before = after.checked_sub(1).map_or(0, |key| self.key(key));
        let mut end = self.count();
        for key in after..keys {
            let index = self.key(key);
            // At a key picture nothing is coded again, however much is before it.
            let is_near = self.shown(index) <= time + half;
            if !is_near && too_long(before..index) {
                return Err(lacking());
            }
            if idr(index)? {
                if is_near {
                    return Ok(at(index, sample_of(self.shown(index))));
                }
                end = index;
                break;
            }
        }
        for key in (0..after).rev() {
            let index = self.key(key);
            let group = index..end;
            if too_long(group.clone()) {
                break;
            }
            if idr(index)? {
                let shown = self.shown_in(&group);
                let rank = shown.partition_point(|shown| *shown < time - half);
                let over = shown.get(rank).copied();
                let next = over.unwrap_or_else(|| {
                    if end == self.count() {
                        self.over
                    } else {
                        self.shown(end)
                    }
                });
                let is_within = rank > 0 && next > time + half && sample > 0 && sample < samples;
                return Ok(match over {
                    _ if is_within => Cut {
                        group,
                        rank,
                        within: Some(time),
                        sample,
                    },
                    Some(picture) => Cut {
                        group,
                        rank,
                        within: None,
                        sample: sample_of(picture),
                    },
                    // Behind the last picture, while sound goes on.
                    None if end == self.count() && self.hidden_end.is_none() && rank > 0 => Cut {
                        group,
                        rank,
                        within: Some(time),
                        sample,
                    },
                    None => at(end, sample),
                });
            }
        }
        if time >= self.over {
            // Too much would have to be coded again to have the last picture once more.
            return Ok(at(self.count(), sample));
        }
        Err(lacking())
    }

    /// How long the pictures are that are coded again for a cut, when that is long.
    pub(super) fn recodes_long(&self, cut: &Cut) -> Option<Duration> {
        let shown = self.shown_in(&cut.group);
        let first = if cut.before().is_empty() {
            cut.behind().start
        } else {
            0
        };
        let ticks = shown.last()? - shown.get(first)? + self.lasting();
        let lasts = Duration::from_secs_f64(ticks.max(0) as f64 / f64::from(self.scale));
        (lasts > LONG).then_some(lasts)
    }

    /// How many samples can be begun at.
    fn keys(&self) -> usize {
        self.samples.sync.as_ref().map_or(self.count(), Vec::len)
    }

    fn key(&self, i: usize) -> usize {
        self.samples.sync.as_ref().map_or(i, |sync| sync[i] as usize)
    }

    /// The first of them that is not shown before a time.
    fn first_key_from(&self, time: i64) -> usize {
        first_not(0..self.keys(), |key| self.shown(self.key(key)) < time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::mp4::Samples;
    use crate::picture::{Colour, PictureFormat, Turn};
    use crate::splice::clock::Clock;

    /// Pictures of a second each, with a key frame at each fourth.
    fn pictures(each: u32) -> Video {
        let mut samples = Samples::default();
        samples.sizes = vec![each; 12];
        samples.offsets = std::iter::repeat_n(0, 12).collect();
        samples.durations = vec![(12, 1000)];
        samples.sync = Some(vec![0, 4, 8]);
        let format = PictureFormat {
            width: 320,
            height: 180,
            pixel: (1, 1),
            rate: (1, 1),
            coding: PictureCoding::Vp9,
            colour: Colour::Bt709,
            full_range: false,
            turn: Turn::None,
        };
        Video::new(samples, 1000, 0, format)
    }

    #[test]
    fn a_picture_that_lasts_long_is_cut_where_the_cue_is() {
        let clock = Clock::new(1000, &[(18, 1000)], 0, 0);
        let heard = Heard {
            clock: &clock,
            rate: 1000,
            samples: 18_000,
        };
        let mut video = pictures(100);
        video.samples.durations = vec![(6, 1000), (1, 4000), (1, 1000), (3, 1000), (1, 4000)];
        let video = Video::new(video.samples, 1000, 0, video.format);
        let cut = |sample| video.cut(&Vec::new(), Duration::ZERO, sample, &heard).unwrap();
        let within = |group: Range<usize>, rank, sample| Cut {
            group,
            rank,
            within: Some(sample as i64),
            sample,
        };
        // The third of its group, from 6 s to 10 s; before and behind it the nearest picture is meant.
        assert_eq!(cut(8_000), within(4..8, 3, 8_000));
        assert_eq!((cut(8_000).before(), cut(8_000).behind()), (0..3, 2..4));
        assert_eq!((cut(6_300).sample, cut(9_700).sample), (6_000, 10_000));
        assert_eq!((cut(9_700).before(), cut(9_700).behind()), (0..3, 3..4));
        // The last one of all, from 14 s to 18 s: nothing before it is coded again.
        assert_eq!(cut(16_000), within(8..12, 4, 16_000));
        assert_eq!((cut(16_000).before(), cut(16_000).behind()), (4..4, 3..4));
    }

    #[test]
    fn a_group_that_is_too_large_is_no_place_for_a_cut_but_its_ends_are() {
        let clock = Clock::new(1000, &[(12, 1000)], 0, 0);
        let heard = Heard {
            clock: &clock,
            rate: 1000,
            samples: 12_000,
        };
        let large = pictures(20 << 20);
        let cut = |video: &Video, sample| video.cut(&Vec::new(), Duration::ZERO, sample, &heard);
        let reason = cut(&large, 6_000).unwrap_err();
        assert!(
            reason.starts_with("the key frames (IDR) around the cue at 6.000 s are too far apart")
                && reason.ends_with("more than 64 MiB"),
            "{reason}"
        );
        assert!(cut(&large, 4_000).unwrap().group.is_empty());
        let small = pictures(16 << 20);
        assert_eq!(cut(&small, 6_000).unwrap().group, 4..8);
        let lacks = |sample, most| small.lacks_keys(&Vec::new(), Duration::ZERO, (sample, most), &heard);
        assert_eq!(
            [lacks(6_000, 63 << 20), lacks(6_000, 64 << 20), lacks(8_000, 0)],
            [true, false, false]
        );
    }
}
