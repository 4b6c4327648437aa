//! Where content resumes after an ad: out of a pause, within a few milliseconds. An encoder that is exact where sound goes on can be coarse there, and with nothing loud beside it that is heard as a click; one that
//! is careful about silence is less so, with more bits or with fewer. All are asked, and the packets around that place are those whose high frequencies are nearest to the sound. Where nothing is soft, nobody else is asked.

use super::SpliceError;
use super::bridged::Coding;
use super::sound::{softest_block, worst_block};

/// Packets that are encoded before the first that may be used.
const SETTLED: usize = 8;
/// Packets that are taken: those that the fades are in, and what the encoder does until it has settled.
const TAKEN: usize = 4;
/// Packets on both sides that are decoded with them.
const AROUND: usize = 3;
/// By how many dB the other packets must be better.
const BETTER_DB: f64 = 2.0;
/// What is off by so many dB less than the softest sound near it is heard by nobody.
const HIDDEN_DB: f64 = 15.0;

/// Second differences of interleaved samples: what is far below a quarter of the rate is gone.
fn high(samples: &[f32], channels: usize) -> Vec<f32> {
    let (later, last) = (samples.iter().skip(channels), samples.iter().skip(2 * channels));
    samples
        .iter()
        .zip(later)
        .zip(last)
        .map(|((a, b), c)| (a - 2.0 * b + c) / 4.0)
        .collect()
}

/// Takes the encoder's careful packets around sample `at` of `pcm`, where content resumes after `fade` samples of fading, if they are better there. `packets` are those of `pcm`.
pub(super) fn resume(
    coding: &dyn Coding,
    packets: &mut [Vec<u8>],
    pcm: &[f32],
    at: usize,
    fade: usize,
) -> Result<(), SpliceError> {
    let (size, channels) = (coding.grid().size as usize, coding.channels());
    let delay = coding.delay() as usize;
    // Packet `m` is about the samples from `m * size - delay` on.
    let first = (at.saturating_sub(fade) + delay) / size;
    let first = first.saturating_sub(1);
    let Some(begin) = first.checked_sub(SETTLED) else {
        return Ok(());
    };
    let end = first + TAKEN;
    if end + AROUND > packets.len() {
        return Ok(());
    }
    let until = ((end + AROUND) * size * channels).min(pcm.len());
    let Some(part) = pcm.get(begin * size * channels..until) else {
        return Ok(());
    };
    let from = first - AROUND;
    let own = packets[from..end + AROUND].to_vec();
    // The first packets lack what comes before them.
    let skipped = coding.unsettled() as usize + 1;
    let Some(wanted) = ((from + skipped) * size)
        .checked_sub(delay)
        .and_then(|start| pcm.get(start * channels..until))
    else {
        return Ok(());
    };
    let wanted = high(wanted, channels);
    let errors = |clips: &[Vec<Vec<u8>>]| {
        let decoded = coding.decode(clips).map_err(|error| error.at(0))?;
        let errors = decoded.iter().map(|samples| {
            let heard = samples.get(skipped * size * channels..).unwrap_or_default();
            worst_block(&high(heard, channels), &wanted, channels)
        });
        Ok::<Vec<f64>, SpliceError>(errors.collect())
    };
    let own_error = errors(std::slice::from_ref(&own))?[0];
    if own_error + HIDDEN_DB < softest_block(&wanted, channels) {
        return Ok(());
    }
    let ways = coding.encode_carefully(part).map_err(|error| error.at(0))?;
    let mut clips = Vec::new();
    for way in &ways {
        if let Some(careful) = way.get(SETTLED..SETTLED + TAKEN) {
            let mut clip = own.clone();
            clip[AROUND..AROUND + TAKEN].clone_from_slice(careful);
            clips.push(clip);
        }
    }
    if clips.is_empty() {
        return Ok(());
    }
    let errors = errors(&clips)?;
    let best = (0..clips.len()).min_by(|a, b| errors[*a].total_cmp(&errors[*b]));
    if let Some(best) = best.filter(|best| errors[*best] + BETTER_DB < own_error) {
        packets[first..end].clone_from_slice(&clips[best][AROUND..AROUND + TAKEN]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::ops::Range;

    use super::*;
    use crate::bridge::BridgeError;
    use crate::splice::joins::Grid;

    const SIZE: usize = 1024;

    /// A coding whose careful way, or else whose decoder, fails for a reason of its own.
    struct Failing {
        encodes: bool,
    }

    impl Coding for Failing {
        fn grid(&self) -> Grid {
            Grid {
                size: SIZE as u64,
                frames: 40,
                end: 40 * SIZE as u64,
                fade: 0,
                overlap: 0,
                checked: 3,
                reach: 0,
            }
        }

        fn skip(&self) -> u64 {
            0
        }

        fn channels(&self) -> usize {
            1
        }

        fn delay(&self) -> u64 {
            0
        }

        fn unsettled(&self) -> u64 {
            1
        }

        fn preroll(&self) -> u64 {
            1
        }

        fn read(&self, _: Range<u64>) -> Result<Vec<Vec<u8>>, SpliceError> {
            Ok(Vec::new())
        }

        fn decode(&self, _: &[Vec<Vec<u8>>]) -> Result<Vec<Vec<f32>>, BridgeError> {
            Err(BridgeError::Late)
        }

        fn encode(
            &self,
            _: &[f32],
            _: &Range<usize>,
            _: &[Range<usize>],
            _: &[Vec<u8>],
        ) -> Result<Vec<Vec<u8>>, BridgeError> {
            Ok(Vec::new())
        }

        fn encode_carefully(&self, pcm: &[f32]) -> Result<Vec<Vec<Vec<u8>>>, BridgeError> {
            if self.encodes {
                return Ok(vec![vec![vec![0]; pcm.len() / SIZE]]);
            }
            Err(BridgeError::Crashed("signal: 9".into()))
        }
    }

    #[test]
    fn a_child_that_is_killed_is_not_the_contents_fault() {
        for encodes in [false, true] {
            let mut packets = vec![vec![1]; 40];
            let pcm = vec![0.5; 40 * SIZE];
            let resumed = resume(&Failing { encodes }, &mut packets, &pcm, 20 * SIZE, 240);
            assert!(
                matches!(resumed, Err(SpliceError::Process { .. })),
                "{encodes}: {resumed:?}"
            );
        }
    }
}
