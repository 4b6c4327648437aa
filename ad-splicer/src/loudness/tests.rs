use proptest::prelude::*;

use super::*;

const STEREO: Profile = Profile {
    sample_rate: 44_100,
    channels: 2,
};

/// A second and a half of noise with peaks, from a seed.
fn noise(seed: u64, level: f32, spike: f32) -> Vec<f32> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / 8_388_608.0 - 1.0
    };
    let mut samples: Vec<f32> = (0..132_300).map(|_| next() * level).collect();
    for i in (5_000..samples.len()).step_by(26_001) {
        samples[i] = spike;
    }
    samples
}

#[test]
fn references_are_kept_within_their_range() {
    let cases = [
        (None, UNKNOWN),
        (Some(f64::NEG_INFINITY), UNKNOWN),
        (Some(-40.0), QUIETEST),
        (Some(-19.5), -19.5),
        (Some(-9.0), LOUDEST),
    ];
    for (content, expected) in cases {
        assert!((reference(content) - expected).abs() < 1e-9, "{content:?}");
    }
}

#[test]
fn silence_stays_silent() {
    let mut samples = vec![0.0; 88_200];
    let applied = fit(&mut samples, STEREO, -16.0).expect("a profile that can be measured");
    assert_eq!(applied.loudness, None);
    assert!(samples.iter().all(|s| *s == 0.0));
}

#[test]
fn what_is_shorter_than_a_gating_block_is_as_loud_as_what_is_longer() {
    let tone = |millis: usize| -> Vec<f32> {
        (0..millis * 441 / 10)
            .flat_map(|i| [0.5 * (i as f32 * 0.1).sin(); 2])
            .collect()
    };
    let measured = |samples: &[f32]| measure(samples, STEREO).expect("a profile that can be measured");
    let long = measured(&tone(3_000)).loudness.expect("a tone");
    for millis in [30, 350, 399, 400, 450] {
        let short = measured(&tone(millis)).loudness.expect("a tone");
        assert!((short - long).abs() < 0.15, "{millis} ms: {short} LUFS of {long}");
        let mut samples = tone(millis);
        let applied = fit(&mut samples, STEREO, long - 12.0).expect("a profile that can be measured");
        assert!((applied.gain_db + 12.0).abs() < 0.15, "{millis} ms: {applied:?}");
    }
    assert_eq!(measured(&vec![0.0; 20_000]).loudness, None);
    assert_eq!(measured(&[]).loudness, None);
}

#[test]
fn what_cannot_be_reached_is_reported() {
    let mut samples = noise(7, 0.01, 1.0);
    let applied = fit(&mut samples, STEREO, -14.0).expect("a profile that can be measured");
    assert!(applied.shortfall_lu > 10.0, "{applied:?}");
    assert!(applied.limited_db <= MAX_LIMITING + 0.01, "{applied:?}");
    assert!(applied.true_peak <= CEILING + 0.01, "{applied:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    /// Whatever the audio: the ceiling holds, and the loudness is the target's or the shortfall says how much is missing.
    #[test]
    fn the_ceiling_holds(seed: u64, level in 0.01_f32..0.9, spike in 0.0_f32..1.0, target in -24.0_f64..-14.0) {
        let mut samples = noise(seed, level, spike);
        let applied = fit(&mut samples, STEREO, target).expect("a profile that can be measured");
        let after = measure(&samples, STEREO).expect("a profile that can be measured");
        prop_assert!(after.true_peak <= CEILING + 0.01, "{after:?} {applied:?}");
        prop_assert!(applied.limited_db <= MAX_LIMITING + 0.01, "{applied:?}");
        let loudness = after.loudness.expect("noise is no silence");
        prop_assert!((loudness + applied.shortfall_lu - target).abs() <= 0.5, "{loudness} {applied:?}");
    }
}
