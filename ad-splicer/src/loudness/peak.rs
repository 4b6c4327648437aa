//! True peaks of what was coded, measured as finely as whoever checks them does.
//!
//! BS.1770 annex 2 asks for four points a sample at 48 kHz. At lower rates four are too few: between them the waveform of a sample rate of 8 kHz goes half a dB higher. So there are as many as make 192,000 a second, at every rate.
//! Between the first samples and the last, of which too little is around, nothing is estimated: audio that was cut out of other audio has no edges there.

use super::limiter::{REACH, between};
use super::{from_db, to_db};
use crate::creatives::Profile;

/// Points a second.
const POINTS: u32 = 192_000;
/// Points a sample, at least and at most.
const LEAST: u32 = 4;
const MOST: u32 = 24;
/// Points that are estimated together, between as many samples.
const BLOCK: usize = 64;

type Filter = [f32; 2 * REACH];

/// Measures the true peak of audio that comes in parts.
pub(crate) struct PeakMeter {
    filters: Vec<Filter>,
    /// By how much an estimate can exceed the highest of the samples that it is made from, at most.
    most: f32,
    /// For each channel the last samples, as far as estimates to come reach.
    lines: Vec<Vec<f32>>,
    /// Of the samples, and of the estimates above `least`.
    highest: f32,
    least: f32,
}

impl PeakMeter {
    /// A meter of interleaved samples in `profile`: of what is below this true peak in dBTP it knows the samples alone, which costs less.
    pub(crate) fn above(profile: Profile, least: f64) -> Self {
        let points = POINTS.div_ceil(profile.sample_rate.max(1)).clamp(LEAST, MOST);
        let filters: Vec<Filter> = (1..points)
            .map(|point| between(f64::from(point) / f64::from(points)))
            .collect();
        let sum = |filter: &Filter| filter.iter().map(|tap| tap.abs()).sum::<f32>();
        Self {
            most: filters.iter().map(sum).fold(1.0, f32::max),
            filters,
            lines: vec![Vec::new(); profile.channels.into()],
            highest: 0.0,
            least: from_db(least),
        }
    }

    /// Takes in the next samples; an incomplete last frame is left out.
    pub(crate) fn add(&mut self, samples: &[f32]) {
        let highest = |samples: &[f32]| {
            samples
                .iter()
                .fold(0.0, |most: f32, sample| most.max(sample.abs()))
        };
        // Known first, so that less has to be estimated.
        self.highest = self.highest.max(highest(samples));
        let channels = self.lines.len();
        let frames = samples.len() / channels.max(1) * channels;
        for (channel, line) in self.lines.iter_mut().enumerate() {
            line.extend(samples[..frames].iter().skip(channel).step_by(channels));
            let count = line.len().saturating_sub(2 * REACH - 1);
            for first in (0..count).step_by(BLOCK) {
                let part = &line[first..(first + BLOCK).min(count) + 2 * REACH - 1];
                if highest(part) * self.most <= self.highest.max(self.least) {
                    continue;
                }
                for filter in &self.filters {
                    let mut points = [0.0; BLOCK];
                    for (i, tap) in filter.iter().enumerate() {
                        for (point, sample) in points.iter_mut().zip(&part[i..]) {
                            *point += tap * sample;
                        }
                    }
                    let whole = part.len() + 1 - 2 * REACH;
                    self.highest = self.highest.max(highest(&points[..whole]));
                }
            }
            line.drain(..count);
        }
    }

    /// The true peak so far, in dBTP; `f64::NEG_INFINITY` for digital silence.
    pub(crate) fn true_peak(&self) -> f64 {
        to_db(self.highest.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_between_samples_is_seen_at_every_rate_however_it_comes() {
        for (sample_rate, channels) in [(8_000, 1), (22_050, 2), (48_000, 2), (96_000, 1)] {
            // A sixth of the rate, at a phase at which crests are half-way between samples, 1.2 dB above them.
            let tone = |i: usize| 0.5 * (std::f32::consts::TAU * (i as f32 / 6.0 + 0.25 + 1.0 / 12.0)).sin();
            let samples: Vec<f32> = (0..3_000)
                .flat_map(|i| (0..channels).map(move |channel| tone(i) / (1 + channel) as f32))
                .collect();
            let profile = Profile {
                sample_rate,
                channels,
            };
            let highest = samples
                .iter()
                .fold(0.0_f32, |most, sample| most.max(sample.abs()));
            assert!(highest < 0.44, "{highest}");
            for part in [samples.len(), 7 * usize::from(channels)] {
                let mut meter = PeakMeter::above(profile, -7.0);
                samples.chunks(part).for_each(|part| meter.add(part));
                let error = meter.true_peak() - 20.0 * 0.5_f64.log10();
                assert!(error.abs() < 0.05, "{sample_rate} Hz: {error} dB");
            }
        }
    }
}
