//! Bridges beside Opus content that is coded as speech (SILK, with or without CELT above it).
//!
//! A bridge is coded as music (CELT), and a decoder that goes from one to the other begins anew: behind content, music is heard after 5 ms of concealment and with energies that lean on packets that were never there;
//! speech that comes behind music lacks the pitch of what it goes on from, and is another sound for a tenth of a second. So other packets are offered for where they meet, which are tried by decoding:
//! - behind content, a packet of speech in which libopus goes over to music, where music that leans on nothing is worse;
//! - ahead of content, up to 80 ms of speech, into which libopus goes over from music, so that a decoder is about where the content's own packets left it.
//!
//! Where libopus codes speech, it comes out some samples early and softer towards its upper end, which is undone beforehand: what is left is noise, 30 dB below.

use std::ops::Range;

use super::bridged::{Coding, Instead};
use super::opus_sound::{Packets, Sound};
use crate::bridge::{BridgeError, opus::Speech};
use crate::frames::opus::{Bandwidth, speech};

/// Packets that are coded before those that are offered.
const WARMING: usize = 4;
/// Packets of speech before the one in which it becomes music.
const SPOKEN: usize = 3;
/// Packets of music behind that one: by then it does not matter how the others were coded.
const FOLLOWING: usize = 5;
/// Most samples of speech ahead of content: 80 ms.
const LEAD: u32 = 3_840;
/// How many samples on both sides of one are looked at to undo what coding does.
const REACH: usize = 64;

/// What an encoder is given for a bridge.
pub(super) struct Given<'a> {
    /// Interleaved samples.
    pub(super) pcm: &'a [f32],
    /// Where in them ads are; elsewhere is content.
    pub(super) ads: &'a Range<usize>,
}

impl<P: Packets> Sound<P> {
    /// Packets of `given` that may follow content: packet `from + i` comes behind `last[i]`.
    pub(super) fn leaving(
        &self,
        given: &Given<'_>,
        from: usize,
        last: &[Vec<u8>],
    ) -> Result<Vec<Instead>, BridgeError> {
        let spoken: Vec<_> = last.iter().map(|packet| speech(packet)).collect();
        let content = self.samples(given.pcm, 0..given.ads.start);
        let mut even = Evened::new(self, given, content);
        let mut offered = Vec::new();
        for (i, bandwidth) in spoken.into_iter().enumerate() {
            let (at, Some(bandwidth)) = (from + i, bandwidth) else {
                continue;
            };
            let Some(first) = at.checked_sub(SPOKEN) else {
                continue;
            };
            let begin = first.saturating_sub(WARMING);
            let packets = even.coded(begin..at + 1 + FOLLOWING, bandwidth, first..at, at + 1);
            let Some(packets) = optional(packets)? else {
                continue;
            };
            offered.push(Instead {
                meets: at,
                at,
                packets: packets.into_iter().skip(at - begin).collect(),
            });
        }
        Ok(offered)
    }

    /// Packets of `given` that may come before content: `next[i]` stands where packet `from + i` would.
    pub(super) fn returning(
        &self,
        given: &Given<'_>,
        from: usize,
        next: &[Vec<u8>],
    ) -> Result<Vec<Instead>, BridgeError> {
        let spoken: Vec<_> = next.iter().map(|packet| speech(packet)).collect();
        let content = self.samples(given.pcm, given.ads.end..usize::MAX);
        let mut even = Evened::new(self, given, content);
        let lead = (LEAD / self.size).max(1) as usize;
        let mut offered = Vec::new();
        for first in from.saturating_sub(lead).max(1)..from + next.len() - 1 {
            // Packets of content that it may be followed by.
            let meets = (first + 1).max(from)..(first + lead + 1).min(from + next.len());
            let Some(bandwidth) = spoken[meets.start - from] else {
                continue;
            };
            let begin = first.saturating_sub(WARMING);
            let packets = even.coded(begin..meets.end, bandwidth, first..meets.end, meets.end);
            let Some(packets) = optional(packets)? else {
                continue;
            };
            // What is above what SILK codes is CELT's, which needs no time.
            let alike = |other: Bandwidth| other.min(Bandwidth::Wide) == bandwidth.min(Bandwidth::Wide);
            for meets in meets.filter(|meets| spoken[meets - from].is_some_and(alike)) {
                offered.push(Instead {
                    meets,
                    at: first,
                    packets: packets[first - begin..meets - begin].to_vec(),
                });
            }
        }
        Ok(offered)
    }

    /// Some of interleaved samples, as far as there are any.
    fn samples<'p>(&self, pcm: &'p [f32], range: Range<usize>) -> &'p [f32] {
        let channels = self.channels();
        let end = range.end.saturating_mul(channels).min(pcm.len());
        &pcm[(range.start * channels).min(end)..end]
    }

    /// Packets `range` of `pcm`, which is `given`'s or nearly that, those of `spoken` as speech.
    fn coded(
        &self,
        pcm: &[f32],
        given: &Given<'_>,
        range: Range<usize>,
        bandwidth: Bandwidth,
        spoken: Range<usize>,
    ) -> Result<Vec<Vec<u8>>, BridgeError> {
        let size = self.size as usize;
        let part = self.samples(pcm, range.start * size..range.end * size);
        let resumes = given.ads.end.saturating_sub(range.start * size);
        let beside = Speech {
            bandwidth,
            packets: spoken.start.saturating_sub(range.start)..spoken.end.saturating_sub(range.start),
        };
        let mut packets = self.encoded(part, resumes, Some(beside))?;
        let count = range.len();
        if packets.len() < count {
            let reason = format!("{} packets of {count}", packets.len());
            return Err(BridgeError::WrongStream(reason));
        }
        packets.truncate(count);
        Ok(packets)
    }
}

/// What is only offered is no reason to fail, unless it would come out next time.
fn optional<T>(made: Result<T, BridgeError>) -> Result<Option<T>, BridgeError> {
    match made {
        Ok(made) => Ok(Some(made)),
        Err(error) if error.is_process() => Err(error),
        Err(_) => Ok(None),
    }
}

/// Codes as speech what was made ready for it.
struct Evened<'a, P> {
    sound: &'a Sound<P>,
    given: &'a Given<'a>,
    /// By which is told what coding does.
    content: &'a [f32],
    /// The filters that undo it, by what is coded.
    filters: Vec<(Bandwidth, Vec<f64>)>,
}

impl<'a, P: Packets> Evened<'a, P> {
    fn new(sound: &'a Sound<P>, given: &'a Given<'a>, content: &'a [f32]) -> Self {
        Self {
            sound,
            given,
            content,
            filters: Vec::new(),
        }
    }

    /// Packets `range`, those of `spoken` as speech, made ready up to packet `end`.
    fn coded(
        &mut self,
        range: Range<usize>,
        bandwidth: Bandwidth,
        spoken: Range<usize>,
        end: usize,
    ) -> Result<Vec<Vec<u8>>, BridgeError> {
        let channels = self.sound.channels();
        let step = self.sound.size as usize * channels;
        let mut pcm = self.given.pcm[..(range.end * step).min(self.given.pcm.len())].to_vec();
        let till = (end * step).min(pcm.len());
        let part = (spoken.start * step).min(till)..till;
        let given = self.given.pcm;
        let filter = self.filter(bandwidth)?;
        // Content that is silent tells nothing of what coding does.
        if filter.iter().any(|tap| *tap != 0.0) {
            let evened = filtered(given, part.clone(), filter, channels);
            pcm[part].copy_from_slice(&evened);
        }
        self.sound.coded(&pcm, self.given, range, bandwidth, spoken)
    }

    /// The filter for a bandwidth.
    fn filter(&mut self, bandwidth: Bandwidth) -> Result<&[f64], BridgeError> {
        let known = self.filters.iter().position(|(other, _)| *other == bandwidth);
        let known = if let Some(known) = known {
            known
        } else {
            let filter = self.measured(bandwidth)?;
            self.filters.push((bandwidth, filter));
            self.filters.len() - 1
        };
        Ok(&self.filters[known].1)
    }

    /// The same, told by coding content.
    fn measured(&self, bandwidth: Bandwidth) -> Result<Vec<f64>, BridgeError> {
        let (sound, channels) = (self.sound, self.sound.channels());
        let beside = Speech {
            bandwidth,
            packets: 0..usize::MAX,
        };
        let packets = sound.encoded(self.content, 0, Some(beside))?;
        let heard = sound.decode(&[packets])?.remove(0);
        // The first packet owes something to the silence before it.
        let skip = sound.size as usize * channels;
        let heard = heard.get(sound.delay() as usize * channels + skip..);
        let wanted = self.content.get(skip..);
        Ok(undoing(
            wanted.unwrap_or_default(),
            heard.unwrap_or_default(),
            channels,
        ))
    }
}

/// The filter of `2 * REACH + 1` taps that makes `heard` most like `wanted`, by least squares.
fn undoing(wanted: &[f32], heard: &[f32], channels: usize) -> Vec<f64> {
    let count = wanted.len().min(heard.len()) / channels;
    let (mut own, mut both) = (vec![0.0; 2 * REACH + 1], vec![0.0; 2 * REACH + 1]);
    for channel in 0..channels {
        let of = |samples: &[f32]| -> Vec<f64> {
            let samples = samples.iter().skip(channel).step_by(channels).take(count);
            samples.map(|sample| f64::from(*sample)).collect()
        };
        let (wanted, heard) = (of(wanted), of(heard));
        let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        for lag in 0..=(2 * REACH).min(count) {
            own[lag] += product(&heard[lag..], &heard);
            both[lag] += if lag < REACH {
                product(&wanted, &heard[(REACH - lag).min(count)..])
            } else {
                product(&wanted[(lag - REACH).min(count)..], &heard)
            };
        }
    }
    // Where there is next to nothing, nothing is made of it.
    own[0] = own[0] * (1.0 + 1e-6) + 1e-9;
    toeplitz(&own, &both)
}

/// Solves a system of equations whose matrix has `row[|i - j|]` at `i`, `j`, by Levinson's recursion.
fn toeplitz(row: &[f64], right: &[f64]) -> Vec<f64> {
    let mut backward = vec![1.0 / row[0]];
    let mut solved = vec![right[0] / row[0]];
    for n in 1..row.len() {
        let off = |of: &[f64]| -> f64 { of.iter().zip(row[1..=n].iter().rev()).map(|(a, b)| a * b).sum() };
        // The forward vector is the backward one reversed, as the matrix is symmetric.
        let forward: Vec<f64> = backward.iter().rev().copied().collect();
        let error = off(&forward);
        let scale = 1.0 / (1.0 - error * error);
        let next = (0..=n).map(|i| {
            let behind = i.checked_sub(1).map_or(0.0, |i| backward[i]);
            let ahead = forward.get(i).copied().unwrap_or(0.0);
            scale * (behind - error * ahead)
        });
        backward = next.collect();
        let missing = right[n] - off(&solved);
        solved.push(0.0);
        for (value, step) in solved.iter_mut().zip(&backward) {
            *value += missing * step;
        }
    }
    solved
}

/// What becomes of samples `range` by a filter of `2 * REACH + 1` taps.
fn filtered(pcm: &[f32], range: Range<usize>, filter: &[f64], channels: usize) -> Vec<f32> {
    let tap = |at: usize, i: usize| {
        let from = (at + REACH * channels).checked_sub(i * channels)?;
        pcm.get(from).map(|sample| f64::from(*sample))
    };
    range
        .map(|at| {
            let taps = filter.iter().enumerate();
            taps.map(|(i, gain)| gain * tap(at, i).unwrap_or(0.0))
                .sum::<f64>() as f32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64, count: usize) -> Vec<f32> {
        println!("seed {seed}");
        let mut state = seed;
        (0..count)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * 0.3
            })
            .collect()
    }

    #[test]
    fn what_a_filter_did_is_undone() {
        for channels in [1, 2] {
            let wanted = noise(7, 20_000 * channels);
            // Earlier by two samples, with some of a third, and softer.
            let heard: Vec<f32> = (0..wanted.len())
                .map(|i| {
                    let at = |later: usize| wanted.get(i + later * channels).copied().unwrap_or(0.0);
                    0.8 * at(2) + 0.15 * at(3)
                })
                .collect();
            let filter = undoing(&wanted, &heard, channels);
            let inner = 400 * channels..wanted.len() - 400 * channels;
            let made = filtered(&heard, inner.clone(), &filter, channels);
            let error = crate::splice::sound::worst_block(&made, &wanted[inner], channels);
            println!("{channels} channels: {error:.1} dB");
            assert!(error < -70.0);
        }
    }

    #[test]
    fn silence_stays_silence() {
        for count in [0, 10, 5_000] {
            let silence = vec![0.0; count];
            let filter = undoing(&silence, &silence, 1);
            assert!(filter.iter().all(|tap| *tap == 0.0));
            assert!(filtered(&silence, 0..count, &filter, 1).iter().all(|s| *s == 0.0));
        }
    }
}
