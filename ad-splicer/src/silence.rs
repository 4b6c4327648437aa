//! Pauses in decoded sound: where a break disturbs least.
//!
//! Pure. A pause is where blocks of 10 ms stay 30 dB under the mean power of the sound around (or under −60 dBFS) for at least 150 ms. What is done with pauses of whole content is in [`crate::pauses`].

use std::ops::Range;

/// Blocks in the shortest pause.
const SHORTEST: usize = 15;

/// A run of quiet samples, by sample index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    pub(crate) start: usize,
    pub(crate) samples: usize,
}

impl Pause {
    fn distance(self, at: usize) -> usize {
        self.start
            .saturating_sub(at)
            .max(at.saturating_sub(self.start + self.samples))
    }
}

/// Samples in a block.
pub(crate) fn block(rate: u32) -> usize {
    (rate as usize / 100).max(1)
}

/// The mean power of each block of interleaved `pcm`.
pub(crate) fn powers(pcm: &[f32], channels: usize, rate: u32) -> impl Iterator<Item = f64> + '_ {
    pcm.chunks(block(rate) * channels.max(1))
        .map(|chunk| chunk.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / chunk.len() as f64)
}

/// The power that is quiet beside sound of this mean power.
fn limit(mean: f64) -> f64 {
    (mean * 1e-3).max(1e-6)
}

/// Runs of blocks, long enough for a pause, that are quiet beside the `reach` blocks on both sides of each.
pub(crate) fn quiet_runs(powers: &[f64], reach: usize) -> Vec<Range<usize>> {
    let sums: Vec<f64> = std::iter::once(0.0)
        .chain(powers.iter().scan(0.0, |sum, power| {
            *sum += power;
            Some(*sum)
        }))
        .collect();
    let mut runs = Vec::new();
    let mut start = 0;
    for i in 0..=powers.len() {
        let (from, to) = (
            i.saturating_sub(reach),
            i.saturating_add(reach + 1).min(powers.len()),
        );
        let mean = (sums[to] - sums[from.min(to)]) / (to - from.min(to)).max(1) as f64;
        if powers.get(i).is_none_or(|power| *power > limit(mean)) {
            if i - start >= SHORTEST {
                runs.push(start..i);
            }
            start = i + 1;
        }
    }
    runs
}

/// The pause nearest to sample `at` of interleaved `pcm`, at most `reach` samples away.
pub(crate) fn nearest(pcm: &[f32], channels: usize, rate: u32, at: usize, reach: usize) -> Option<Pause> {
    let block = block(rate);
    let powers: Vec<f64> = powers(pcm, channels, rate).collect();
    quiet_runs(&powers, powers.len())
        .into_iter()
        .map(|run| Pause {
            start: run.start * block,
            samples: run.len() * block,
        })
        .filter(|pause| pause.distance(at) <= reach)
        .min_by_key(|pause| pause.distance(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_pause_is_found() {
        let mut pcm = vec![0.1_f32; 100_000];
        pcm[20_000..30_000].fill(0.0);
        pcm[70_000..72_000].fill(0.001);
        pcm[50_000..51_000].fill(0.0);
        let find = |at, reach| nearest(&pcm, 1, 10_000, at, reach);
        let (first, second) = (
            Some(Pause {
                start: 20_000,
                samples: 10_000,
            }),
            Some(Pause {
                start: 70_000,
                samples: 2_000,
            }),
        );
        assert_eq!(find(25_000, 0), first);
        assert_eq!(find(49_000, 30_000), first);
        assert_eq!(find(52_000, 30_000), second);
        assert_eq!(find(49_000, 10_000), None);
        assert_eq!(nearest(&[], 2, 44_100, 0, 0), None);
    }

    #[test]
    fn a_quiet_part_is_judged_by_what_is_around_it() {
        // Loud, then soft speech with a pause in it: beside the loud part all of the speech would be a pause.
        let mut powers = vec![1.0; 1_000];
        powers.extend([1e-4; 2_000]);
        powers[2_500..2_520].fill(1e-8);
        assert_eq!(quiet_runs(&powers, 300).last(), Some(&(2_500..2_520)));
        let all = quiet_runs(&powers, powers.len());
        assert_eq!((all.len(), all.first()), (1, Some(&(1_000..3_000))));
    }
}
