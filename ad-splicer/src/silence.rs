//! Pauses in decoded sound: where a break disturbs least.
//!
//! Pure. A pause is where blocks of 10 ms stay 30 dB under the mean power of the sound around (or under −60 dBFS) for at least 150 ms.

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

/// The pause nearest to sample `at` of interleaved `pcm`, at most `reach` samples away.
pub(crate) fn nearest(pcm: &[f32], channels: usize, rate: u32, at: usize, reach: usize) -> Option<Pause> {
    let block = (rate as usize / 100).max(1);
    let powers: Vec<f64> = pcm
        .chunks(block * channels.max(1))
        .map(|chunk| chunk.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / chunk.len() as f64)
        .collect();
    let mean = powers.iter().sum::<f64>() / powers.len().max(1) as f64;
    let limit = (mean * 1e-3).max(1e-6);
    let mut pauses = Vec::new();
    let mut start = 0;
    for (i, power) in powers.iter().chain(&[f64::INFINITY]).enumerate() {
        if *power > limit {
            if i - start >= 15 {
                pauses.push(Pause {
                    start: start * block,
                    samples: (i - start) * block,
                });
            }
            start = i + 1;
        }
    }
    pauses
        .into_iter()
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
}
