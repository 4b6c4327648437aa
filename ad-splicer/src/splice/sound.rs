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

/// RMS of the softest block, in dB of full scale.
pub(crate) fn softest_block(samples: &[f32], channels: usize) -> f64 {
    samples
        .chunks_exact(BLOCK * channels)
        .map(|block| {
            let sum: f64 = block.iter().map(|sample| f64::from(*sample).powi(2)).sum();
            20.0 * (sum / block.len() as f64).sqrt().max(1e-10).log10()
        })
        .fold(0.0, f64::min)
}

/// Adds what stands between two runs of content: the ads, each faded in and out, then `ending` samples of silence, or so many less of the last ad when it is below zero. The content around fades too, but within this: `before` is how the content would have gone on
/// (its first `fade` samples are faded out under the ad), `after` is what came just before the content that follows (faded in at the end). So the content itself stays as it is, and nothing jumps.
pub(crate) fn insert(
    out: &mut Vec<f32>,
    (ads, ending): (&[Ad], i64),
    (before, after): (&[f32], &[f32]),
    channels: usize,
    fade_len: usize,
) -> io::Result<()> {
    let begin = out.len();
    let last = ads.iter().rposition(|ad| !ad.pcm.is_empty());
    for (i, ad) in ads.iter().enumerate() {
        let at = out.len();
        ad.pcm.append_to(out)?;
        if Some(i) == last {
            let less = ending.min(0).unsigned_abs() as usize * channels;
            out.truncate((out.len() - less.min(out.len() - at)).max(at));
        }
        fade(&mut out[at..], channels, fade_len, true);
        fade(&mut out[at..], channels, fade_len, false);
    }
    out.resize(out.len() + ending.max(0) as usize * channels, 0.0);
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
    fn only_the_last_ad_is_shorter_and_fades_out_where_it_ends_now() {
        let loud = |count: usize| Ad {
            id: String::new(),
            pcm: vec![0.5; count * 2].into(),
            picture: None,
        };
        let silent = Ad {
            id: String::new(),
            pcm: Vec::new().into(),
            picture: None,
        };
        let mut out = Vec::new();
        insert(
            &mut out,
            (&[loud(1_000), loud(1_000), silent], -100),
            (&[], &[]),
            2,
            50,
        )
        .unwrap();
        assert_eq!(out.len(), 2 * 1_900);
        let soft: Vec<usize> = (0..1_900).filter(|i| out[i * 2] < 0.49).collect();
        let first = |i: &&usize| **i < 1_000;
        assert!(
            soft.iter().filter(first).all(|i| *i < 50 || *i >= 950),
            "{soft:?}"
        );
        assert!(
            soft.iter().rev().take_while(|i| **i > 1_500).all(|i| *i >= 1_850),
            "{soft:?}"
        );
        assert!(soft.contains(&1_899) && !soft.contains(&1_800), "{soft:?}");
    }

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
