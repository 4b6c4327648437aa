//! What is done to samples at a seam: fades, and how far two codings of the same sound are apart.

/// Samples in the blocks that errors are measured in.
pub(crate) const BLOCK: usize = 576;
/// What an error of nothing is called, in dB.
pub(crate) const FLOOR_DB: f64 = -200.0;

/// The gain of a raised cosine of `fade` samples at sample `i`, rising.
fn rising(i: usize, fade: usize) -> f32 {
    0.5 - 0.5 * (std::f32::consts::PI * (i as f32 + 0.5) / fade as f32).cos()
}

/// A raised cosine over the first (or last) `fade` samples.
pub(crate) fn fade(samples: &mut [f32], channels: usize, fade: usize, inwards: bool) {
    let count = samples.len() / channels;
    let fade = fade.min(count);
    for i in 0..fade {
        let at = if inwards { i } else { count - 1 - i };
        samples[at * channels..][..channels]
            .iter_mut()
            .for_each(|sample| *sample *= rising(i, fade));
    }
}

/// RMS of the difference in the worst block, in dB of full scale.
pub(crate) fn worst_block(a: &[f32], b: &[f32], channels: usize) -> f64 {
    a.chunks(BLOCK * channels)
        .zip(b.chunks(BLOCK * channels))
        .map(|(a, b)| {
            let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            (sum / a.len().min(b.len()).max(1) as f64).sqrt()
        })
        .fold(FLOOR_DB, |worst, rms| worst.max(20.0 * rms.log10()))
}
