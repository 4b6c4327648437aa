//! Where a break's stream meets one of content. The two do not overlap there, so what coding did to the last sample is a step beside the content's own, which is heard as a click in anything without treble.
//!
//! How a coder rounds cannot be foretold, so it is tried: samples around the place are coded, decoded, and coded again with what was wrong taken off the input, until little is left above 4 kHz. Of the tries the
//! best is put in the place of the packets there; the coding goes on with its own packets where both have blocks of the same lengths.

use std::ops::Range;

use super::coding::Coded;
use super::{Ends, Track, Vorbis};
use crate::bridge::{ENCODE_CHUNK, vorbis as bridge};
use crate::splice::SpliceError;
use crate::splice::sound::FLOOR_DB;

/// Most tries at each place, and how loud what is above 4 kHz may be that no more are needed: in dBFS, or so many dB below the content's own.
const TRIES: usize = 16;
const ENOUGH_DB: f64 = -101.0;
const COVERED_DB: f64 = 30.0;
/// What of the error is taken off the input: within so many samples on the stream's own side of the place and on the other, then less over some more.
const OWN: usize = 1_024;
const OTHER: usize = 512;
const EASED: usize = 256;
const TAKEN: f32 = 0.7;
/// Samples that are coded on the stream's own side, and beyond the other.
const REACH: u64 = 8_192;
const BEYOND: u64 = 4_096;
/// Samples from either end of what is tried in which no packets are changed over.
const SETTLED: u64 = 3_072;

/// Which end of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Entry,
    Exit,
}

/// All samples that are coded, interleaved: as they should come out, and as they go in; and the place in them where streams meet.
pub(super) struct Meeting<'a> {
    pub(super) wanted: &'a [f32],
    pub(super) input: &'a [f32],
    pub(super) at: u64,
    pub(super) side: Side,
}

/// Packets of one coding that take the place of those of another: `packets` (without headers) and their ends instead of those in `replaced`.
struct Patch {
    packets: Vec<Vec<u8>>,
    ends: Ends,
    replaced: Range<usize>,
}

impl Track<'_> {
    /// Puts better packets where the stream meets one of content, if there are any. `locked` is a sample up to which packets stay as they are; gives that from which they do.
    pub(super) fn meet(
        &self,
        coded: &mut Coded,
        meeting: &Meeting<'_>,
        locked: u64,
        break_index: usize,
    ) -> Result<u64, SpliceError> {
        let (rate, channels) = (self.file.head.rate, usize::from(self.file.head.channels));
        let all = (meeting.wanted.len() / channels) as u64;
        let Some(part) = part(coded, meeting, all) else {
            return Ok(locked);
        };
        let samples = part.start as usize * channels..part.end as usize * channels;
        let wanted = &meeting.wanted[samples.clone()];
        let at = (meeting.at - part.start) as usize;
        let meter = Meter::new(rate, channels);
        // Where samples begin in the middle of a sound the filter hears a click.
        let content = meter.level(wanted, at.max(5 * meter.span));
        let enough = ENOUGH_DB.max(content - COVERED_DB);
        let mut input = meeting.input[samples].to_vec();
        let mut best: Option<(f64, Patch)> = None;
        let mut tries = 0;
        for _ in 0..TRIES {
            tries += 1;
            let (packets, mut ends) = self.coded(&input, break_index)?;
            let held = ends.ends.last().map_or(0, |end| *end as usize);
            let became = bridge::decode(&packets[..3], &packets[3..], (rate, channels), held)
                .map_err(Vorbis::failed(break_index))?;
            let mut wrong: Vec<f32> = became.iter().zip(wanted).map(|(a, b)| a - b).collect();
            wrong.resize(wanted.len(), 0.0);
            for (i, (sample, wrong)) in input.iter_mut().zip(&wrong).enumerate() {
                *sample -= TAKEN * taken(i / channels, at, meeting.side) * wrong;
            }
            ends.ends.iter_mut().for_each(|end| *end += part.start);
            let Some(patch) = patch(coded, packets, &ends, meeting, &part, locked) else {
                continue;
            };
            match meeting.side {
                Side::Entry => wrong[..at * channels].fill(0.0),
                Side::Exit => wrong[at * channels..].fill(0.0),
            }
            let click = meter.level(&wrong, at);
            if best.as_ref().is_none_or(|(least, _)| click < *least) {
                best = Some((click, patch));
            }
            if click <= enough {
                break;
            }
        }
        let left = best.as_ref().map(|(left, _)| left);
        tracing::debug!(side = ?meeting.side, enough, ?left, tries, "where streams meet");
        Ok(best.map_or(locked, |(_, patch)| patch.put(coded)))
    }
}

/// Which samples are tried. At the exit they begin where the coder's first blocks end as some of the coding do.
fn part(coded: &Coded, meeting: &Meeting<'_>, all: u64) -> Option<Range<u64>> {
    match meeting.side {
        // What the coder is given first decides about its first blocks: it is as much as when all was coded.
        Side::Entry => Some(0..all.min((meeting.at + REACH).max(ENCODE_CHUNK as u64))),
        Side::Exit => {
            let ends = &coded.ends;
            let last = ends
                .ends
                .partition_point(|end| *end <= meeting.at.saturating_sub(REACH));
            // A coder begins with a short block, and goes on with long ones when it hears nothing that begins.
            let short = u64::from(*ends.blocks.first()?);
            let long = u64::from(*ends.blocks.iter().max()?);
            let first = (short + long) / 4;
            let from = ends.ends[..last].iter().rev().find(|end| **end >= first)?;
            Some(from - first..all.min(meeting.at + BEYOND))
        }
    }
}

/// What of the error at a sample is taken off the input: all near the place, nothing far from it.
fn taken(i: usize, at: usize, side: Side) -> f32 {
    let (before, after) = match side {
        Side::Entry => (OTHER, OWN),
        Side::Exit => (OWN, OTHER),
    };
    let beyond = (at.saturating_sub(before)).saturating_sub(i) + i.saturating_sub(at + after);
    (1.0 - beyond as f32 / EASED as f32).max(0.0)
}

/// How packets that were tried can take the place of others, where streams still meet at the end of a packet and blocks fit.
fn patch(
    coded: &Coded,
    packets: Vec<Vec<u8>>,
    ends: &Ends,
    meeting: &Meeting<'_>,
    part: &Range<u64>,
    locked: u64,
) -> Option<Patch> {
    let at = meeting.at;
    let range = match meeting.side {
        Side::Entry => at + (OWN + 2 * EASED) as u64..part.end.saturating_sub(SETTLED),
        Side::Exit => locked.max(part.start + SETTLED)..at.saturating_sub((OWN + 2 * EASED) as u64),
    };
    let mut sound = packets;
    sound.drain(..3);
    match meeting.side {
        Side::Entry => {
            ends.ends.binary_search(&at).ok()?;
            let (own, tried) = crossing(&coded.ends, ends, range)?;
            Some(Patch {
                packets: sound[..=tried].to_vec(),
                ends: ends.part(0..tried + 1),
                replaced: 0..own + 1,
            })
        }
        Side::Exit => {
            let (own, tried) = crossing(&coded.ends, ends, range)?;
            Some(Patch {
                packets: sound[tried + 1..].to_vec(),
                ends: ends.part(tried + 1..ends.ends.len()),
                replaced: own + 1..coded.ends.ends.len(),
            })
        }
    }
}

/// A packet of each of two codings with the same block and the same end within a range, and a next one with the same block: what is after the one can as well come after the other.
fn crossing(one: &Ends, other: &Ends, range: Range<u64>) -> Option<(usize, usize)> {
    let begin = one.ends.partition_point(|end| *end < range.start);
    let end = one.ends.partition_point(|end| *end < range.end);
    (begin..end).find_map(|i| {
        let k = other.ends.binary_search(&one.ends[i]).ok()?;
        let same = one.blocks.get(i..i + 2)? == other.blocks.get(k..k + 2)?;
        same.then_some((i, k))
    })
}

impl Patch {
    /// Puts it there, and gives the sample up to which (at the entry) or from which (at the exit) packets are its own.
    fn put(self, coded: &mut Coded) -> u64 {
        let Range { start, end } = self.replaced;
        let edge = match start {
            0 => coded.ends.ends[end - 1],
            start => coded.ends.ends[start - 1],
        };
        let at = coded.ends.ends[coded.first];
        coded.packets.splice(3 + start..3 + end, self.packets);
        coded.ends.ends.splice(start..end, self.ends.ends);
        coded.ends.blocks.splice(start..end, self.ends.blocks);
        // The entry's own packets end there as well, perhaps with another number.
        coded.first = coded.ends.ends.binary_search(&at).unwrap_or(coded.first);
        edge
    }
}

/// A second-order section of a high-pass filter.
#[derive(Clone, Copy)]
struct Section {
    b: f64,
    a: [f64; 2],
}

/// Measures what is above 4 kHz.
struct Meter {
    sections: [Section; 4],
    channels: usize,
    /// Samples that are measured: 10 ms.
    span: usize,
}

impl Meter {
    fn new(rate: u32, channels: usize) -> Self {
        // Four times a Butterworth filter of the second order; a quarter of the rate, where that is lower.
        let angle = std::f64::consts::TAU * (4_000.0 / f64::from(rate)).min(0.25);
        let alpha = angle.sin() / std::f64::consts::SQRT_2;
        let (cosine, whole) = (angle.cos(), 1.0 + alpha);
        let section = Section {
            b: f64::midpoint(1.0, cosine) / whole,
            a: [-2.0 * cosine / whole, (1.0 - alpha) / whole],
        };
        Self {
            sections: [section; 4],
            channels,
            span: (rate / 100) as usize,
        }
    }

    /// The level around sample `at` of interleaved samples, in dB of full scale.
    fn level(&self, samples: &[f32], at: usize) -> f64 {
        // The filter has settled by then.
        let from = at.saturating_sub(4 * self.span);
        let measured = at.saturating_sub(self.span / 2)..at + self.span.div_ceil(2);
        let mut power = 0.0;
        for channel in 0..self.channels {
            let mut held = [[0.0_f64; 2]; 4];
            for i in from..measured.end {
                let mut value = samples
                    .get(i * self.channels + channel)
                    .map_or(0.0, |sample| f64::from(*sample));
                for (section, held) in self.sections.iter().zip(&mut held) {
                    let out = section.b * value + held[0];
                    held[0] = -2.0 * section.b * value - section.a[0] * out + held[1];
                    held[1] = section.b * value - section.a[1] * out;
                    value = out;
                }
                if measured.contains(&i) {
                    power += value * value;
                }
            }
        }
        let power = power / (measured.len() * self.channels).max(1) as f64;
        (10.0 * power.log10()).max(FLOOR_DB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(blocks: &[u32]) -> Ends {
        let mut ends = Ends::default();
        for block in blocks {
            ends.push(*block);
        }
        ends
    }

    #[test]
    fn a_tone_above_4_khz_is_measured_and_one_below_is_not() {
        let tone = |frequency: f64| -> Vec<f32> {
            let step = std::f64::consts::TAU * frequency / 44_100.0;
            let sample = |i: usize| (0.1 * (step * i as f64).sin()) as f32;
            (0..8_820).flat_map(|i| [sample(i); 2]).collect()
        };
        let meter = Meter::new(44_100, 2);
        for (frequency, level) in [(12_000.0, -23.0), (8_000.0, -23.8)] {
            let found = meter.level(&tone(frequency), 4_000);
            assert!((found - level).abs() < 0.3, "{frequency} Hz: {found:.2} dBFS");
        }
        let low = meter.level(&tone(220.0), 4_000);
        assert!(low < -140.0, "{low:.1} dBFS");
        assert!(meter.level(&[0.0; 1_000], 400) <= FLOOR_DB);
        assert!(meter.level(&[], 0) <= FLOOR_DB);
    }

    #[test]
    fn codings_are_crossed_over_where_a_packet_and_the_next_are_the_same() {
        let one = ends(&[256, 2_048, 2_048, 256, 256, 2_048, 2_048, 2_048]);
        // The same but for two short blocks, which are two more elsewhere.
        assert_eq!(one.ends, [0, 576, 1_600, 2_176, 2_304, 2_880, 3_904, 4_928]);
        assert_eq!(crossing(&one, &one, 0..1_000), Some((0, 0)));
        assert_eq!(crossing(&one, &one, 2_200..9_000), Some((4, 4)));
        let mut later = ends(&[256, 2_048, 2_048]);
        later.ends.iter_mut().for_each(|end| *end += 2_304);
        assert_eq!(crossing(&one, &later, 577..9_000), Some((4, 0)));
        assert_eq!(
            crossing(&one, &later, 3_904..9_000),
            None,
            "nothing comes after the last"
        );
        later.ends.iter_mut().for_each(|end| *end += 1);
        assert_eq!(crossing(&one, &later, 0..9_000), None);
    }

    #[test]
    fn packets_are_put_where_others_were() {
        let coded = |blocks: &[u32], kind: u8| Coded {
            packets: (0..3 + blocks.len()).map(|i| vec![kind, i as u8]).collect(),
            ends: ends(blocks),
            first: 2,
        };
        let mut own = coded(&[256, 2_048, 2_048, 2_048, 2_048], 1);
        let tried = coded(&[256, 256, 256, 256, 2_048, 2_048, 2_048], 2);
        // Moved so that 2,624 is an end of both.
        let mut there = tried.ends.clone();
        there.ends.iter_mut().for_each(|end| *end += 2_624 - 1_984);
        let (i, k) = crossing(&own.ends, &there, 2_000..3_000).unwrap();
        assert_eq!((own.ends.ends[i], there.ends[k]), (2_624, 2_624));
        let patch = Patch {
            packets: tried.packets[3..][..=k].to_vec(),
            ends: there.part(0..k + 1),
            replaced: 0..i + 1,
        };
        assert_eq!(patch.put(&mut own), 2_624);
        assert_eq!(own.ends.ends.len(), own.packets.len() - 3);
        assert_eq!(own.ends.ends.last(), Some(&3_648));
        assert_eq!(own.packets[2][0], 1, "headers stay");
        assert_eq!(
            own.packets[3..].iter().filter(|packet| packet[0] == 2).count(),
            k + 1
        );
    }

    #[test]
    fn errors_are_taken_off_near_the_place() {
        for (side, own) in [(Side::Entry, 1), (Side::Exit, -1)] {
            let at = |offset: i64| taken((5_000 + own * offset) as usize, 5_000, side);
            for offset in [0, OWN as i64, -(OTHER as i64)] {
                assert!(at(offset) > 0.999, "{side:?} {offset}");
            }
            for offset in [(OWN + EASED) as i64, -((OTHER + EASED) as i64)] {
                assert!(at(offset) < 0.001, "{side:?} {offset}");
            }
        }
    }
}
