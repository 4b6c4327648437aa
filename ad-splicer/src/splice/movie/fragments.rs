//! MP4 for a player that reads it once, in order: fragments of about a second instead of tables about the whole, so that what comes later can still change while what comes before it plays.
//!
//! Invariants: a fragment depends on nothing that comes after it; one that holds a picture where decoding can begin begins with it. Times are those of the movie, [`Played::zero`] later so that none is below zero;
//! there are no edit lists. The parameter sets of ads stand before their pictures: the description at the beginning may be read before there is an ad.

use std::ops::Range;
use std::time::Duration;

use super::{Clock, M4a, Packets, Shown};
use crate::frames::mp4::{Part, Sample, beginning, fragment, set_avc_config, track_id};
use crate::splice::SeekPoint;
use crate::splice::format::{Played, Runs};
use crate::splice::pictures::{From, rescaled};

const SECOND: u32 = 1_000_000_000;
/// Longest time from the first sample of a fragment to one that is not in it any more.
const LONGEST: i64 = SECOND as i64;

/// What is played.
pub(super) struct Streams<'a, 'b> {
    pub(super) file: &'a M4a<'b>,
    pub(super) sound: Packets<'a>,
    pub(super) clock: Clock,
    pub(super) pictures: Packets<'a>,
    pub(super) shown: Option<Shown<'a>>,
}

impl Streams<'_, '_> {
    /// Lays down all packets.
    pub(super) fn lay_out(self) -> (Runs, Option<Played>) {
        let rate = self.file.config.sample_rate;
        let (sounds, pictures) = (self.sound.len(), self.pictures.len());
        let lasts: Vec<u32> = self
            .clock
            .durations()
            .iter()
            .flat_map(|(count, lasts)| std::iter::repeat_n(*lasts, *count as usize))
            .collect();
        let zero = self.zero();
        let mut runs = Runs::default();
        runs.made(&self.beginning());
        let start = runs.len();
        let (mut a, mut b, mut number, mut points) = (0, 0, 0, Vec::new());
        while a < sounds || b < pictures {
            let (first_a, first_b) = (a, b);
            let first = [
                (a < sounds).then(|| self.heard(a)),
                (b < pictures).then(|| self.decoded(b)),
            ];
            let limit = first.into_iter().flatten().min().unwrap_or(0) + LONGEST;
            while b < pictures && self.decoded(b) < limit && (b == first_b || !self.is_sync(b)) {
                b += 1;
            }
            let until = if b < pictures {
                limit.min(self.decoded(b))
            } else {
                limit
            };
            while a < sounds && self.heard(a) < until {
                a += 1;
            }
            let mut parts = Vec::new();
            let mut data = Runs::default();
            if let Some((part, shown)) = self.part_of_pictures(first_b..b, zero) {
                if self.is_sync(first_b) {
                    points.push(SeekPoint {
                        offset: runs.len(),
                        sample: rescaled(shown, rate, SECOND),
                    });
                }
                parts.push(part);
                for i in first_b..b {
                    data.made(&self.sets(i));
                    self.pictures.put(i, &mut data);
                }
            }
            if first_a < a {
                if pictures == 0 {
                    points.push(SeekPoint {
                        offset: runs.len(),
                        sample: rescaled(self.heard(first_a), rate, SECOND),
                    });
                }
                parts.push(self.part_of_sound(first_a..a, &lasts, zero));
                (first_a..a).for_each(|i| self.sound.put(i, &mut data));
            }
            number += 1;
            runs.made(&fragment(number, &parts));
            runs.append(data);
        }
        let played = Played {
            audio: start..runs.len(),
            points,
            zero: Duration::from_secs(zero),
        };
        (runs, Some(played))
    }

    /// What stands before everything.
    fn beginning(&self) -> Vec<u8> {
        let mut moov = self.file.moov.clone();
        let mut tracks = vec![self.file.track];
        if let Some(shown) = &self.shown
            && let Some(children) = moov.children_mut()
        {
            tracks.push(shown.avc.child);
            set_avc_config(&mut children[shown.avc.child], &shown.config);
        }
        beginning(&moov, &tracks)
    }

    /// How many seconds later than the presentation times are. It depends on the content alone.
    fn zero(&self) -> u64 {
        let before = |media: i64, scale: u32| media.max(0) as u64 / u64::from(scale.max(1)) + 1;
        let sound = before(self.file.clock.start_of_content(), self.file.config.sample_rate);
        let pictures = self
            .shown
            .as_ref()
            .map_or(0, |shown| before(shown.avc.video.visible, shown.avc.video.scale));
        sound.max(pictures)
    }

    /// When a packet of the sound is heard, in nanoseconds of the presentation.
    fn heard(&self, i: usize) -> i64 {
        let media = self.clock.start(i as u64) as i64 - self.file.clock.start_of_content();
        rescaled(media, SECOND, self.file.config.sample_rate)
    }

    /// When a picture is decoded.
    fn decoded(&self, i: usize) -> i64 {
        self.shown.as_ref().map_or(0, |shown| {
            let media = shown.shots.shot(i).start as i64 - shown.shots.zero;
            rescaled(media, SECOND, shown.avc.video.scale)
        })
    }

    fn is_sync(&self, i: usize) -> bool {
        self.shown.as_ref().is_some_and(|shown| shown.shots.shot(i).sync)
    }

    /// The parameter sets that stand before a picture: of each that was made and where decoding can begin.
    fn sets(&self, i: usize) -> Vec<u8> {
        let Some(shots) = self.shown.as_ref().map(|shown| shown.shots) else {
            return Vec::new();
        };
        let shot = shots.shot(i);
        let sets = match shot.from {
            From::Ad(ad, _) if shot.sync => shots.ads[ad as usize].sets.as_ref(),
            _ => None,
        };
        let units = sets.into_iter().flat_map(|sets| [&sets.sequence, &sets.picture]);
        units
            .flat_map(|unit| [&(unit.len() as u32).to_be_bytes()[..], unit].concat())
            .collect()
    }

    fn number_of(&self, child: usize) -> u32 {
        let track = self.file.moov.children().get(child);
        track.and_then(track_id).unwrap_or(0)
    }

    fn part_of_sound(&self, packets: Range<usize>, lasts: &[u32], zero: u64) -> Part {
        let begins = self.clock.start(packets.start as u64) as i64 - self.file.clock.start_of_content();
        let start = zero as i64 * i64::from(self.file.config.sample_rate) + begins;
        Part {
            track: self.number_of(self.file.track),
            start: start.max(0) as u64,
            samples: packets
                .map(|i| Sample {
                    duration: lasts.get(i).copied().unwrap_or(0),
                    size: self.sound.size(i),
                    sync: true,
                    composition: 0,
                })
                .collect(),
        }
    }

    /// The pictures, and when the first of them is shown; `None` when there are none.
    fn part_of_pictures(&self, pictures: Range<usize>, zero: u64) -> Option<(Part, i64)> {
        let shown = self.shown.as_ref().filter(|_| !pictures.is_empty())?;
        let (shots, video) = (shown.shots, &shown.avc.video);
        let first = shots.shot(pictures.start);
        let begins = first.start as i64 - shots.zero;
        let start = zero as i64 * i64::from(video.scale) + begins;
        let end_of = |i: usize| match i + 1 {
            next if next < shots.len() => shots.shot(next).start,
            _ => shots.end,
        };
        let part = Part {
            track: self.number_of(shown.avc.child),
            start: start.max(0) as u64,
            samples: pictures
                .map(|i| (i, shots.shot(i)))
                .map(|(i, shot)| Sample {
                    duration: (end_of(i) - shot.start) as u32,
                    size: shot.size + self.sets(i).len() as u32,
                    sync: shot.sync,
                    composition: shot.composition,
                })
                .collect(),
        };
        let shown = rescaled(begins + i64::from(first.composition), SECOND, video.scale);
        Some((part, shown))
    }
}
