//! What is done to samples at a seam: fades, and how far two codings of the same sound are apart.

use std::io;

use super::Ad;

/// Samples in the blocks that errors are measured in.
pub(crate) const BLOCK: usize = 576;
/// What an error of nothing is called, in dB.
pub(crate) const FLOOR_DB: f64 = -200.0;

/// The gain of a raised cosine of `fade` samples at sample `i`, rising.
fn rising(i: usize, fade: usize) -> f32 {
    0.5 - 0.5 * (std::f32::consts::PI * (i as f32 + 0.5) / fade as f32).cos()
}

/// A raised cosine over the first (or last) `fade` samples.
fn fade(samples: &mut [f32], channels: usize, fade: usize, inwards: bool) {
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

/// Adds what stands between two runs of content: the ads, each faded in and out, then `pad` samples of silence. The content around fades too, but within this: `before` is how the content would have gone on
/// (its first `fade` samples are faded out under the ad), `after` is what came just before the content that follows (faded in at the end). So the content itself stays as it is, and nothing jumps.
pub(crate) fn insert(
    out: &mut Vec<f32>,
    (ads, pad): (&[Ad], u64),
    (before, after): (&[f32], &[f32]),
    channels: usize,
    fade_len: usize,
) -> io::Result<()> {
    let begin = out.len();
    for ad in ads {
        let at = out.len();
        ad.pcm.append_to(out)?;
        fade(&mut out[at..], channels, fade_len, true);
        fade(&mut out[at..], channels, fade_len, false);
    }
    out.resize(out.len() + pad as usize * channels, 0.0);
    let pcm = &mut out[begin..];
    let count = pcm.len() / channels;
    let frames = |samples: &[f32]| (samples.len() / channels).min(fade_len).min(count);
    let falling_len = frames(before);
    for (i, (sample, content)) in pcm.iter_mut().zip(&before[..falling_len * channels]).enumerate() {
        *sample += content * (1.0 - rising(i / channels, falling_len));
    }
    let rising_len = frames(after);
    let start = (count - rising_len) * channels;
    let after = &after[after.len() - rising_len * channels..];
    for (i, (sample, content)) in pcm[start..].iter_mut().zip(after).enumerate() {
        *sample += content * rising(i / channels, rising_len);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_that_goes_on_does_not_jump() {
        // A sine cut in the middle, with silence between: every step is as small as the sine's own.
        let sine: Vec<f32> = (0..4_000).map(|i| (i as f32 * 0.05).sin()).collect();
        let ad = Ad {
            id: String::new(),
            pcm: vec![0.0; 1_000].into(),
            picture: None,
        };
        let mut whole = sine[..2_000].to_vec();
        insert(&mut whole, (&[ad], 24), (&sine[2_000..], &sine[..2_000]), 1, 220).unwrap();
        assert_eq!(whole.len(), 3_024);
        whole.extend(&sine[2_000..]);
        let most = whole
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).abs())
            .fold(0.0, f32::max);
        assert!(most < 0.06, "{most}");
    }
}
