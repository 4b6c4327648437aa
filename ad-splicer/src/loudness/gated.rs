//! Gated loudness alone (ITU-R BS.1770-4), of much content in little time: no peaks, one or two channels.
//!
//! Energies are kept by tenths of a second, of which four at a time make a gating block, so that each sample is squared once; both channels go through the filter side by side.
//! What is the same for every rate is where the two stages of the filter have their frequencies; the coefficients at a rate follow from those, as in the `ebur128` crate, which this agrees with to the last digits that matter.

use std::f64::consts::PI;

use super::LoudnessError;
use crate::creatives::Profile;

/// Tenths of a second in a gating block.
const BLOCK: usize = 4;
/// What is quieter counts for nothing, in LUFS.
const ABSOLUTE: f64 = -70.0;
/// What is quieter than the rest by more than this counts for nothing either, in LU.
const RELATIVE: f64 = -10.0;
/// What is added to the level of what was filtered, so that a full sine of 997 Hz is as loud as it should be (BS.1770-4 §2).
const OFFSET: f64 = -0.691;
/// A state of the filter below this is silence: it would take seconds to become zero, with numbers that processors are slow at.
const NOTHING: f64 = 1e-30;

/// The two stages of the filter as one.
#[derive(Clone, Copy, Debug)]
struct Weighting {
    ahead: [f64; 5],
    back: [f64; 4],
}

impl Weighting {
    fn new(rate: f64) -> Self {
        // The head's shelf, then what takes away low frequencies.
        let (shelf, shelf_q, gain) = (
            1_681.974_450_955_533,
            0.707_175_236_955_419_6,
            3.999_843_853_973_347,
        );
        let (low, low_q) = (38.135_470_876_024_44, 0.500_327_037_323_877_3);
        let k = (PI * shelf / rate).tan();
        let high = 10_f64.powf(gain / 20.0);
        let band = high.powf(0.499_666_774_154_541_6);
        let a0 = 1.0 + k / shelf_q + k * k;
        let b = [
            (high + band * k / shelf_q + k * k) / a0,
            2.0 * (k * k - high) / a0,
            (high - band * k / shelf_q + k * k) / a0,
        ];
        let a = [2.0 * (k * k - 1.0) / a0, (1.0 - k / shelf_q + k * k) / a0];
        let k = (PI * low / rate).tan();
        let a0 = 1.0 + k / low_q + k * k;
        let c = [2.0 * (k * k - 1.0) / a0, (1.0 - k / low_q + k * k) / a0];
        Self {
            // The second stage goes ahead by 1, -2, 1.
            ahead: [
                b[0],
                b[1] - 2.0 * b[0],
                b[2] - 2.0 * b[1] + b[0],
                b[1] - 2.0 * b[2],
                b[2],
            ],
            back: [
                a[0] + c[0],
                a[1] + a[0] * c[0] + c[1],
                a[0] * c[1] + a[1] * c[0],
                a[1] * c[1],
            ],
        }
    }
}

/// Measures loudness of samples that come in parts.
#[derive(Clone, Debug)]
pub(crate) struct Gated {
    channels: usize,
    weighting: Weighting,
    /// What the filter remembers, newest first, of both channels.
    states: [[f64; 2]; 4],
    /// Samples of a channel in a tenth of a second.
    tenth: usize,
    /// Energies of whole tenths, and of the one that is being filled with `filled` samples.
    tenths: Vec<f64>,
    filling: f64,
    filled: usize,
}

impl Gated {
    /// A meter for interleaved samples in `profile`.
    pub(crate) fn new(profile: Profile) -> Result<Self, LoudnessError> {
        if !matches!(profile.channels, 1 | 2) || profile.sample_rate < 1_000 {
            return Err(LoudnessError { profile });
        }
        Ok(Self {
            channels: profile.channels.into(),
            weighting: Weighting::new(profile.sample_rate.into()),
            states: [[0.0; 2]; 4],
            tenth: (profile.sample_rate as usize + 5) / 10,
            tenths: Vec::new(),
            filling: 0.0,
            filled: 0,
        })
    }

    /// Takes in the next samples; an incomplete last frame is left out.
    pub(crate) fn add(&mut self, samples: &[f32]) {
        let mut rest = &samples[..samples.len() - samples.len() % self.channels];
        while !rest.is_empty() {
            let count = (self.tenth - self.filled).min(rest.len() / self.channels);
            let (now, later) = rest.split_at(count * self.channels);
            self.filling += if self.channels == 2 {
                self.filter(now.chunks_exact(2).map(|pair| [pair[0].into(), pair[1].into()]))
            } else {
                self.filter(now.iter().map(|sample| [f64::from(*sample), 0.0]))
            };
            self.filled += count;
            rest = later;
            if self.filled == self.tenth {
                self.tenths.push(std::mem::take(&mut self.filling));
                self.filled = 0;
            }
        }
    }

    /// The energy of samples behind the filter.
    fn filter(&mut self, samples: impl Iterator<Item = [f64; 2]>) -> f64 {
        let Weighting {
            ahead: [b0, b1, b2, b3, b4],
            back: [a1, a2, a3, a4],
        } = self.weighting;
        let [mut one, mut two, mut three, mut four] = self.states;
        let mut energy = [0.0; 2];
        for sample in samples {
            for side in 0..2 {
                // What came last is taken off last: the next sample waits for it.
                let before = sample[side] - a4 * four[side] - a3 * three[side] - a2 * two[side];
                let new = before - a1 * one[side];
                let out = b4 * four[side] + b3 * three[side] + b2 * two[side] + b1 * one[side] + b0 * new;
                energy[side] += out * out;
                four[side] = three[side];
                three[side] = two[side];
                two[side] = one[side];
                one[side] = new;
            }
        }
        self.states = [one, two, three, four];
        for state in self.states.iter_mut().flatten() {
            if state.abs() < NOTHING {
                *state = 0.0;
            }
        }
        energy[0] + energy[1]
    }

    /// Mean energies of the gating blocks that are not below the absolute gate.
    fn blocks(&self) -> impl Iterator<Item = f64> {
        let samples = (BLOCK * self.tenth) as f64;
        let least = to_energy(ABSOLUTE);
        let blocks = self.tenths.windows(BLOCK);
        blocks
            .map(move |block| block.iter().sum::<f64>() / samples)
            .filter(move |energy| *energy >= least)
    }

    /// Gated loudness of what several meters took in, in LUFS; `None` when all of it is below the gate.
    pub(crate) fn together(meters: &[Self]) -> Option<f64> {
        let mean = |least: f64| {
            let blocks = meters.iter().flat_map(Self::blocks);
            let (count, sum) = blocks
                .filter(|energy| *energy >= least)
                .fold((0_u32, 0.0), |(count, sum), energy| (count + 1, sum + energy));
            (count > 0).then(|| sum / f64::from(count))
        };
        let loud = mean(0.0)?;
        let gated = mean(loud * 10_f64.powf(RELATIVE / 10.0))?;
        Some(10.0 * gated.log10() + OFFSET).filter(|loudness| loudness.is_finite())
    }
}

fn to_energy(loudness: f64) -> f64 {
    10_f64.powf((loudness - OFFSET) / 10.0)
}

#[cfg(test)]
mod tests {
    use super::super::Meter;
    use super::*;

    /// Sound of changing loudness with a pause in it, from a seed.
    fn sound(profile: Profile, mut state: u32) -> Vec<f32> {
        let rate = profile.sample_rate as usize;
        (0..12 * rate * usize::from(profile.channels))
            .map(|i| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let second = i / usize::from(profile.channels) / rate;
                let level = [0.5, 0.02, 0.0, 0.2, 1e-4, 0.9][second % 6];
                level * ((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
            })
            .collect()
    }

    #[test]
    fn it_agrees_with_the_meter_that_also_measures_peaks() {
        for (sample_rate, channels) in [(8_000, 1), (44_100, 2), (48_000, 2), (48_000, 1), (22_050, 2)] {
            let profile = Profile {
                sample_rate,
                channels,
            };
            let samples = sound(profile, sample_rate);
            let mut meter = Meter::new(profile).expect("a profile that can be measured");
            let mut gated = Gated::new(profile).expect("a profile that can be measured");
            meter.add(&samples);
            // However it is cut.
            for part in samples.chunks(7_777 * usize::from(channels)) {
                gated.add(part);
            }
            let (theirs, ours) = (meter.measured().loudness, Gated::together(&[gated]));
            let apart = theirs.expect("it is loud") - ours.expect("it is loud");
            assert!(apart.abs() < 1e-9, "{apart} LU at {profile}");
        }
    }

    #[test]
    fn several_together_are_measured_by_all_of_their_blocks() {
        let profile = Profile {
            sample_rate: 48_000,
            channels: 2,
        };
        let measured = |level: f32| {
            let mut gated = Gated::new(profile).expect("a profile that can be measured");
            let tone = (0..5 * 96_000).map(|i| level * ((i / 2) as f32 * 0.1).sin());
            gated.add(&tone.collect::<Vec<f32>>());
            gated
        };
        let loudness = |meters: &[Gated]| Gated::together(meters).expect("it is loud");
        let (loud, quiet) = (measured(0.5), measured(0.005));
        let one = loudness(std::slice::from_ref(&loud));
        // What is 40 dB quieter is below the relative gate.
        assert!((loudness(&[loud.clone(), quiet.clone()]) - one).abs() < 1e-9);
        assert!((loudness(&[loud.clone(), loud]) - one).abs() < 1e-9);
        assert!((loudness(&[quiet]) - one + 40.0).abs() < 0.01);
    }

    #[test]
    fn silence_and_what_is_shorter_than_a_block_have_no_loudness() {
        let profile = Profile {
            sample_rate: 44_100,
            channels: 1,
        };
        let mut gated = Gated::new(profile).expect("a profile that can be measured");
        gated.add(&vec![0.0; 200_000]);
        assert_eq!(Gated::together(&[gated]), None);
        let mut gated = Gated::new(profile).expect("a profile that can be measured");
        gated.add(&vec![0.5; 17_000]);
        assert_eq!(Gated::together(&[gated]), None);
        assert!(
            Gated::new(Profile {
                channels: 6,
                ..profile
            })
            .is_err()
        );
    }
}
