//! A true-peak limiter for audio that is there as a whole: it can look ahead as far as it likes.
//!
//! For every frame it is known how loud the waveform gets around it, between the samples too ([`peaks`]). The gain that
//! each frame would need is held over [`LOOK`] on both sides, let go of slowly, and then smoothed by three running
//! means that together reach no further than it was held; so the smooth gain is nowhere above what is needed, and has
//! no edge that could be heard. All channels get the same gain: the stereo image does not move.

use std::collections::VecDeque;

use crate::creatives::Profile;

/// How far the gain begins to fall before a peak, in seconds.
const LOOK: f32 = 0.006;
/// The time constant with which the gain comes back after a peak, in seconds.
const RELEASE: f32 = 0.080;
/// Points per sample at which the waveform is estimated, as in BS.1770 annex 2.
const OVERSAMPLING: usize = 4;
/// Samples on each side that an estimate between two samples is made from.
pub(super) const REACH: usize = 12;

/// For each frame, the highest magnitude in any channel of the waveform from half-way after the frame before to
/// half-way to the next, estimated at four points a sample.
pub(super) fn peaks(samples: &[f32], channels: usize) -> Vec<f32> {
    let filters = filters();
    let frames = samples.len() / channels;
    let mut peaks = vec![0.0_f32; frames];
    let mut padded = vec![0.0_f32; frames + 2 * REACH];
    for channel in 0..channels {
        let line = samples.iter().skip(channel).step_by(channels);
        for (slot, sample) in padded[REACH..].iter_mut().zip(line) {
            *slot = *sample;
        }
        for (i, peak) in peaks.iter_mut().enumerate() {
            *peak = peak.max(padded[REACH + i].abs());
        }
        for i in 0..frames.saturating_sub(1) {
            // Points between frame i and frame i + 1.
            let window = &padded[i + 1..i + 1 + 2 * REACH];
            let mut highest = 0.0_f32;
            for filter in &filters {
                let value: f32 = filter.iter().zip(window).map(|(f, s)| f * s).sum();
                highest = highest.max(value.abs());
            }
            peaks[i] = peaks[i].max(highest);
            peaks[i + 1] = peaks[i + 1].max(highest);
        }
    }
    peaks
}

/// Windowed sinc interpolators for the points between two samples.
fn filters() -> [[f32; 2 * REACH]; OVERSAMPLING - 1] {
    std::array::from_fn(|k| between((k + 1) as f64 / OVERSAMPLING as f64))
}

/// The interpolator for the point at this fraction of the way from a sample to the next.
pub(super) fn between(fraction: f64) -> [f32; 2 * REACH] {
    let taps: [f64; 2 * REACH] = std::array::from_fn(|t| {
        // Tap REACH - 1 is the sample before the point.
        let x = t as f64 - (REACH as f64 - 1.0) - fraction;
        let angle = std::f64::consts::PI * x;
        let window = (angle / (2.0 * REACH as f64)).cos().powi(2);
        angle.sin() / angle * window
    });
    let sum: f64 = taps.iter().sum();
    taps.map(|tap| (tap / sum) as f32)
}

/// Multiplies by `gain` and turns down what would exceed `ceiling` (both linear). `peaks` are those of `samples`
/// before. Returns the most that was taken off, in dB.
pub(super) fn limit(samples: &mut [f32], peaks: &[f32], profile: Profile, gain: f32, ceiling: f32) -> f64 {
    let rate = profile.sample_rate as f32;
    let radius = ((LOOK * rate) as usize / 3).max(1);
    let hold = 3 * radius;
    let recovery = 1.0 - (-1.0 / (RELEASE * rate)).exp();

    let needed: Vec<f32> = peaks.iter().map(|p| (ceiling / (p * gain)).min(1.0)).collect();
    let mut curve = lowest_within(&needed, hold);
    let mut last = 1.0_f32;
    for value in &mut curve {
        last = value.min(last + (1.0 - last) * recovery);
        *value = last;
    }
    for _ in 0..3 {
        curve = mean_within(&curve, radius);
    }
    let lowest = curve.iter().copied().fold(1.0, f32::min);
    let frames = samples.chunks_exact_mut(usize::from(profile.channels));
    for (frame, turn_down) in frames.zip(&curve) {
        for sample in frame {
            *sample *= gain * turn_down;
        }
    }
    -20.0 * f64::from(lowest).log10()
}

/// For each position the lowest value at most `radius` away.
fn lowest_within(values: &[f32], radius: usize) -> Vec<f32> {
    // Positions of candidates, their values rising: the front is the lowest of the window.
    let mut queue: VecDeque<usize> = VecDeque::new();
    let mut out = Vec::with_capacity(values.len());
    let mut next = 0;
    for at in 0..values.len() {
        while next < values.len() && next <= at + radius {
            while queue.back().is_some_and(|&i| values[i] >= values[next]) {
                queue.pop_back();
            }
            queue.push_back(next);
            next += 1;
        }
        while queue.front().is_some_and(|&i| i + radius < at) {
            queue.pop_front();
        }
        out.push(queue.front().map_or(1.0, |&i| values[i]));
    }
    out
}

/// For each position the mean of the values at most `radius` away; beyond the ends the nearest value counts.
fn mean_within(values: &[f32], radius: usize) -> Vec<f32> {
    let (Some(&first), Some(&last)) = (values.first(), values.last()) else {
        return Vec::new();
    };
    let count = values.len();
    let value = |i: isize| -> f64 {
        if i < 0 {
            first.into()
        } else {
            values.get(i as usize).copied().unwrap_or(last).into()
        }
    };
    let reach = radius as isize;
    let width = (2 * radius + 1) as f64;
    let mut sum: f64 = (-reach..=reach).map(value).sum();
    let mut out = Vec::with_capacity(count);
    for at in 0..count as isize {
        out.push((sum / width) as f32);
        sum += value(at + reach + 1) - value(at - reach);
    }
    out
}
