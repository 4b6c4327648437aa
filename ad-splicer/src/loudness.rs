//! Loudness: how loud ads should be, and how they are brought there.
//!
//! Loudness is gated loudness of ITU-R BS.1770-4 in LUFS, differences of it are in LU, true peaks are in dBTP (BS.1770
//! annex 2). An ad gets one static gain, so that its own dynamics stay as they were mixed, and only what would exceed
//! the [`CEILING`] afterwards is turned down by a limiter that looks ahead. Invariants of [`fit`]:
//!
//! - The true peak of the result is at most the ceiling, before it is coded; what coding adds is measured, and taken off, in `splice/peaks.rs`.
//! - The limiter never takes off more than [`MAX_LIMITING`]; what cannot be reached with that is reported, not forced.
//! - The result's loudness, measured after limiting, is the target unless a shortfall is reported.
//!
//! Not for: fades at the seams (the bridge makes them), or the content's own samples (they are never changed).

use std::path::Path;

use ebur128::{EbuR128, Mode};

use crate::creatives::{Creative, Profile};
use crate::cues::BreakLoudness;
use crate::pcm::Pcm;
use crate::splice::Codec;

mod leveled;
mod limiter;
mod peak;

pub use leveled::Leveled;
pub(crate) use leveled::Limited;
pub(crate) use peak::PeakMeter;

/// The quietest reference: content below it gets ads at this loudness. LUFS.
pub const QUIETEST: f64 = -24.0;
/// The loudest reference: content above it gets ads at this loudness. LUFS.
pub const LOUDEST: f64 = -14.0;
/// The reference when the content around the cue is silent or not known: the common target of podcasts. LUFS.
pub const UNKNOWN: f64 = -16.0;
/// The true peak that what the viewer gets keeps to, in dBTP.
pub const MAX_TRUE_PEAK: f64 = -1.0;
/// The true peak that [`fit`] keeps to, in dBTP. It is lower than [`MAX_TRUE_PEAK`] by what lossy encoding of the
/// result may add to a peak.
pub const CEILING: f64 = -1.5;
/// The same of what libav codes as AAC, which adds up to 1.0 dB to the peaks of plucked strings.
pub const CEILING_AAC: f64 = -2.3;
/// More than coding was seen to add to true peaks, in dB: 7 to brown noise that was clipped.
pub(crate) const MOST_ADDED: f64 = 10.0;
/// The most that the limiter takes off, in dB.
pub const MAX_LIMITING: f64 = 6.0;
/// How close [`fit`] comes to its target unless it reports a shortfall, in LU.
pub const TOLERANCE: f64 = 0.2;

/// What was measured of some audio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Gated loudness in LUFS, of what is shorter than a gating block (400 ms) that of all of it; `None` when nothing is above the absolute gate (silence).
    pub loudness: Option<f64>,
    /// True peak in dBTP; `f64::NEG_INFINITY` for digital silence.
    pub true_peak: f64,
}

/// The true peak that an ad keeps to before it is coded like this, in dBTP.
pub fn ceiling(codec: Codec) -> f64 {
    match codec {
        Codec::Adts | Codec::M4a | Codec::Mp4 => CEILING_AAC,
        _ => CEILING,
    }
}

/// Measures audio that comes in parts.
pub struct Meter {
    inner: EbuR128,
    profile: Profile,
    channels: usize,
    /// What was taken in, as long as that is less than a gating block.
    short: Option<Vec<f32>>,
}

impl Meter {
    /// A meter for loudness and true peak of interleaved samples in `profile`.
    pub fn new(profile: Profile) -> Result<Self, LoudnessError> {
        Self::with_mode(profile, Mode::I | Mode::TRUE_PEAK)
    }

    fn with_mode(profile: Profile, mode: Mode) -> Result<Self, LoudnessError> {
        let inner = EbuR128::new(profile.channels.into(), profile.sample_rate, mode)
            .map_err(|_| LoudnessError { profile })?;
        Ok(Self {
            inner,
            profile,
            channels: profile.channels.into(),
            short: Some(Vec::new()),
        })
    }

    /// A meter for loudness alone.
    pub(crate) fn of_loudness(profile: Profile) -> Result<Self, LoudnessError> {
        Self::with_mode(profile, Mode::I)
    }

    /// Takes in the next samples; an incomplete last frame is left out.
    pub fn add(&mut self, samples: &[f32]) {
        let whole = samples.len() - samples.len() % self.channels;
        // It fails only when the number of samples is no multiple of the channels.
        let _ = self.inner.add_frames_f32(&samples[..whole]);
        self.short = self.short.take().and_then(|mut short| {
            let is_short = short.len() + whole < gating_block(self.profile);
            is_short.then(|| {
                short.extend_from_slice(&samples[..whole]);
                short
            })
        });
    }

    /// What was measured so far.
    pub fn measured(&self) -> Measured {
        let peak = (0..self.channels as u32)
            .filter_map(|channel| self.inner.true_peak(channel).ok())
            .fold(0.0, f64::max);
        Measured {
            loudness: self.loudness(),
            true_peak: to_db(peak),
        }
    }

    /// Gated loudness of what several meters took in, in LUFS; `None` when all of it is below the gate.
    pub(crate) fn together(meters: &[Self]) -> Option<f64> {
        let inner = meters.iter().map(|meter| &meter.inner);
        EbuR128::loudness_global_multiple(inner)
            .ok()
            .filter(|loudness| loudness.is_finite())
    }

    /// Loudness so far, in LUFS: gated, or where there is no block to be gated, of all of it. `None` when that is below the gate.
    pub(crate) fn loudness(&self) -> Option<f64> {
        match &self.short {
            Some(short) => self.ungated(short),
            None => self.inner.loudness_global().ok().filter(|l| l.is_finite()),
        }
    }

    /// The loudness of less than a block: that of the block which it is with silence behind it, in which it is as much quieter as it is shorter.
    fn ungated(&self, short: &[f32]) -> Option<f64> {
        let mut block = short.to_vec();
        block.resize(gating_block(self.profile), 0.0);
        let mut meter = Self::of_loudness(self.profile).ok()?;
        meter.add(&block);
        let longer = block.len() as f64 / short.len() as f64;
        meter.loudness().map(|loudness| loudness + 10.0 * longer.log10())
    }
}

/// Samples of all channels in the shortest audio of which there is a block to be gated.
fn gating_block(profile: Profile) -> usize {
    // In tenths of a second, each rounded to samples.
    (profile.sample_rate as usize + 5) / 10 * 4 * usize::from(profile.channels)
}

/// Whether audio is so short that nothing of it can be gated.
pub(crate) fn is_short(profile: Profile, samples: u64) -> bool {
    samples * u64::from(profile.channels) < gating_block(profile) as u64
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter")
            .field("channels", &self.channels)
            .finish_non_exhaustive()
    }
}

/// Audio of this profile cannot be measured.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("cannot measure loudness of audio with {profile}")]
pub struct LoudnessError {
    /// What was asked for.
    pub profile: Profile,
}

/// Measures interleaved samples.
pub fn measure(samples: &[f32], profile: Profile) -> Result<Measured, LoudnessError> {
    let mut meter = Meter::new(profile)?;
    meter.add(samples);
    Ok(meter.measured())
}

/// Loudness of interleaved samples in LUFS, as in [`Measured`].
pub fn loudness_of(samples: &[f32], profile: Profile) -> Result<Option<f64>, LoudnessError> {
    let mut meter = Meter::with_mode(profile, Mode::I)?;
    meter.add(samples);
    Ok(meter.loudness())
}

/// The loudness that ads at a cue are brought to, in LUFS: that of the content around the cue (measured over 60 to
/// 120 s in the content's own rate and channels), kept between [`QUIETEST`] and [`LOUDEST`].
pub fn reference(content: Option<f64>) -> f64 {
    content
        .filter(|l| l.is_finite())
        .unwrap_or(UNKNOWN)
        .clamp(QUIETEST, LOUDEST)
}

/// What ads are brought to amid content that is louder or quieter by at least a LU than any of them may be, both in LUFS; `None` where they are as loud as the content, or nothing is heard of that.
pub fn held(content: f64) -> Option<f64> {
    let reference = reference(Some(content));
    (content.is_finite() && (content - reference).abs() >= 1.0).then_some(reference)
}

/// The loudness that this creative is brought to in a break of which the publisher says `wanted`, amid content of this loudness.
pub fn wanted(wanted: BreakLoudness, creative: &Creative, content: Option<f64>) -> f64 {
    match wanted {
        BreakLoudness::Content => reference(content),
        BreakLoudness::Target(hundredths) => f64::from(hundredths) / 100.0,
        // Silence is as loud as anything.
        BreakLoudness::AsIs => creative.loudness.unwrap_or(UNKNOWN),
    }
}

/// What was done to an ad.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Applied {
    /// The static gain, in dB.
    pub gain_db: f64,
    /// The most that the limiter took off anywhere, in dB: 0 (unused) to [`MAX_LIMITING`].
    pub limited_db: f64,
    /// By how much the result is quieter than the target, in LU; 0 when it was reached.
    pub shortfall_lu: f64,
    /// Loudness of the result in LUFS; `None` for silence.
    pub loudness: Option<f64>,
    /// True peak of the result in dBTP.
    pub true_peak: f64,
}

impl Applied {
    /// The same of a result that has this loudness in LUFS.
    fn heard(self, loudness: Option<f64>, target: f64) -> Self {
        let missing = loudness.map_or(0.0, |loudness| target - loudness);
        Self {
            loudness,
            shortfall_lu: if missing > TOLERANCE { missing } else { 0.0 },
            ..self
        }
    }
}

/// The samples of `creative` brought to `target` LUFS under a ceiling in dBTP, and what was done for it.
pub fn conditioned(
    creative: &Creative,
    target: f64,
    ceiling: f64,
) -> Result<(Pcm, Applied), ConditionedError> {
    // It was measured when it was conditioned.
    let before = Measured {
        loudness: creative.loudness,
        true_peak: creative.true_peak,
    };
    if let Some(applied) = by_gain_alone(before, target, ceiling) {
        return Ok((creative.pcm(from_db(applied.gain_db)), applied));
    }
    let mut samples = creative.pcm(1.0).samples()?.into_owned();
    let applied = limit_to(&mut samples, creative.profile, (target, ceiling), before)?;
    let folder = creative.path.parent().unwrap_or(Path::new("."));
    Ok((Pcm::write_in(folder, &samples)?, applied))
}

/// Why [`conditioned`] failed.
#[derive(Debug, thiserror::Error)]
pub enum ConditionedError {
    /// The samples could not be read, or what was made of them not be kept.
    #[error("cannot read or keep the samples of the creative: {0}")]
    Io(#[from] std::io::Error),
    /// They could not be measured.
    #[error(transparent)]
    Loudness(#[from] LoudnessError),
}

/// Brings interleaved samples to `target` LUFS under the [`CEILING`]. Silence stays as it is.
pub fn fit(samples: &mut [f32], profile: Profile, target: f64) -> Result<Applied, LoudnessError> {
    let before = measure(samples, profile)?;
    if let Some(applied) = by_gain_alone(before, target, CEILING) {
        scale(samples, applied.gain_db);
        return Ok(applied);
    }
    limit_to(samples, profile, (target, CEILING), before)
}

/// What is done to audio for which a gain is enough; `None` when it needs the limiter.
fn by_gain_alone(before: Measured, target: f64, ceiling: f64) -> Option<Applied> {
    let Some(loudness) = before.loudness else {
        // Nothing to measure, perhaps a click amid silence: no gain, but the ceiling holds.
        let gain = (ceiling - before.true_peak).min(0.0);
        return Some(Applied {
            gain_db: gain,
            true_peak: before.true_peak + gain,
            ..Applied::default()
        });
    };
    let wanted = target - loudness;
    (before.true_peak + wanted <= ceiling).then(|| Applied {
        gain_db: wanted,
        loudness: Some(target),
        true_peak: before.true_peak + wanted,
        ..Applied::default()
    })
}

/// The part of [`fit`] that needs the limiter: looks for the gain whose result, limited, has the target's loudness.
fn limit_to(
    samples: &mut [f32],
    profile: Profile,
    (target, ceiling): (f64, f64),
    before: Measured,
) -> Result<Applied, LoudnessError> {
    let wanted = before.loudness.map_or(0.0, |loudness| target - loudness);
    let channels = usize::from(profile.channels);
    let peaks = limiter::peaks(samples, channels);
    let highest = peaks.iter().copied().fold(0.0, f32::max);
    // With more gain than this the limiter would have to take off more than it may.
    let most = ceiling + MAX_LIMITING - to_db(highest.into());
    let original = samples.to_vec();
    let mut gain = wanted.min(most);
    let mut result = None;
    // Limiting costs loudness, so more gain is needed, which needs more limiting: each round halves the rest at least.
    for _ in 0..6 {
        samples.copy_from_slice(&original);
        let limited_db = limiter::limit(samples, &peaks, profile, from_db(gain), from_db(ceiling));
        let loudness = loudness_of(samples, profile)?;
        let missing = loudness.map_or(0.0, |l| target - l);
        result = Some((gain, limited_db, loudness, missing));
        if missing.abs() <= TOLERANCE / 4.0 || (missing > 0.0 && gain >= most) {
            break;
        }
        gain = (gain + missing).min(most);
    }
    let (gain_db, limited_db, _, _) = result.unwrap_or_default();
    // The limiter's estimate of peaks and the meter's differ by hundredths of a dB; the meter has the last word.
    let peak = measure(samples, profile)?.true_peak;
    let trim = (ceiling - peak).min(0.0);
    scale(samples, trim);
    let after = measure(samples, profile)?;
    let applied = Applied {
        gain_db: gain_db + trim,
        limited_db,
        true_peak: after.true_peak,
        ..Applied::default()
    };
    Ok(applied.heard(after.loudness, target))
}

fn scale(samples: &mut [f32], gain_db: f64) {
    if gain_db != 0.0 {
        let factor = from_db(gain_db);
        for sample in samples {
            *sample *= factor;
        }
    }
}

fn to_db(amplitude: f64) -> f64 {
    20.0 * amplitude.log10()
}

fn from_db(db: f64) -> f32 {
    10_f64.powf(db / 20.0) as f32
}

#[cfg(test)]
mod tests;
