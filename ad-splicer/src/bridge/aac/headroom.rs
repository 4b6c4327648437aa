//! Sound that is louder than full scale, coded as it is. libav makes every packet softer in which a sample is above 0.95, by as much as takes it there, lest a decoder clip it; but what was coded with few bits, at low
//! sample rates above all, decodes to samples of up to 2, and next to a seam those are to stay what they were.
//!
//! So it is coded softer, and the packets are made louder. Two channels are coded apart for that, and what is alike in them is found no more; as libav often forgets to make a packet of two channels softer, both ways are tried by decoding.

use super::{Coder, DELAY, decode_here, encode_fitting};
use crate::bridge::BridgeError;
use crate::frames::aac::Config;
use crate::frames::louder::louder;
use crate::splice::sound::worst_block;

/// What no sample may be above.
const LOUDEST: f32 = 0.95;

/// By how many quarters of 6.02 dB samples have to be softer; `None` when none of them is too loud.
fn steps(pcm: &[f32]) -> Option<u8> {
    let peak = pcm.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
    // Rounded up, and a little more, for what is rounded elsewhere.
    (peak > LOUDEST).then(|| (4.0 * (peak / LOUDEST).log2() + 0.01).ceil() as u8)
}

/// Encodes interleaved samples, however loud they are.
pub(super) fn encode(config: Config, coder: Coder, pcm: &[f32]) -> Result<Vec<Vec<u8>>, BridgeError> {
    let Some(steps) = steps(pcm) else {
        return encode_fitting(config, coder, pcm);
    };
    let apart = encode_softer(config, coder, pcm, steps)?;
    match apart {
        Some(apart) if config.channels == 1 => Ok(apart),
        Some(apart) => {
            let together = encode_fitting(config, coder, pcm)?;
            let (off_apart, off_together) = (error(config, &apart, pcm)?, error(config, &together, pcm)?);
            Ok(if off_apart < off_together { apart } else { together })
        }
        None => encode_fitting(config, coder, pcm),
    }
}

/// Encodes each channel so much softer, and makes the packets louder again; `None` where that cannot be done.
fn encode_softer(
    config: Config,
    coder: Coder,
    pcm: &[f32],
    steps: u8,
) -> Result<Option<Vec<Vec<u8>>>, BridgeError> {
    let single = Config {
        channels: 1,
        ..config
    };
    let gain = (-f32::from(steps) / 4.0).exp2();
    let channels = usize::from(config.channels);
    let made = (0..channels).map(|channel| {
        let samples = pcm.iter().skip(channel).step_by(channels);
        let softer: Vec<f32> = samples.map(|sample| sample * gain).collect();
        encode_fitting(single, coder, &softer)
    });
    let made = made.collect::<Result<Vec<_>, BridgeError>>()?;
    let count = made.iter().map(Vec::len).min().unwrap_or_default();
    let packets = (0..count).map(|i| {
        let channels: Vec<&[u8]> = made.iter().map(|packets| packets[i].as_slice()).collect();
        louder(&channels, steps)
    });
    Ok(packets.collect())
}

/// How far packets are from the samples that they were made of, in dB, where they are furthest.
fn error(config: Config, packets: &[Vec<u8>], pcm: &[f32]) -> Result<f64, BridgeError> {
    let channels = usize::from(config.channels);
    let heard = decode_here(config, &[packets.len()], packets.to_vec())?.remove(0);
    let heard = heard.get(DELAY as usize * channels..).unwrap_or_default();
    Ok(worst_block(heard, pcm, channels))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two seconds of tones that now and then are louder than full scale, on each side at another time. `alike` is how much of one side the other has.
    fn sound(config: Config, alike: f32) -> Vec<f32> {
        let rate = config.sample_rate as f32;
        let tones = |t: f32| {
            let tones: f32 = [220.0, 523.0, 1_370.0]
                .iter()
                .map(|f| (t * f * std::f32::consts::TAU).sin())
                .sum();
            (0.25 + 0.2 * (t * 9.0).sin()) * tones
        };
        let frames = (0..config.sample_rate * 2).flat_map(|i| {
            let t = i as f32 / rate;
            let (left, other) = (tones(t), tones(t * 0.93 + 5.0));
            [left, alike * left + (1.0 - alike) * other]
        });
        frames.step_by(2 / usize::from(config.channels)).collect()
    }

    #[test]
    fn what_is_louder_than_full_scale_is_coded_as_well_as_the_rest() {
        for (rate, channels, alike) in [
            (16_000, 1, 1.0),
            (22_050, 1, 1.0),
            (22_050, 2, 1.0),
            (24_000, 2, 0.0),
            (44_100, 1, 1.0),
            (44_100, 2, 0.0),
        ] {
            let config = Config::lc(rate, channels).unwrap();
            let pcm = sound(config, alike);
            let softer: Vec<f32> = pcm.iter().map(|sample| sample * 0.5).collect();
            assert!(steps(&pcm).is_some() && steps(&softer).is_none());
            let worst = |pcm: &[f32], packets: Vec<Vec<u8>>| error(config, &packets, pcm).unwrap();
            let plain = worst(&pcm, encode_fitting(config, Coder::Exact, &pcm).unwrap());
            let made = worst(&pcm, encode(config, Coder::Exact, &pcm).unwrap());
            // Twice as loud: so is what it is off by.
            let half = 6.1 + worst(&softer, encode(config, Coder::Exact, &softer).unwrap());
            println!(
                "{rate} Hz, {channels} channels: {plain:.1} dBFS by libav, {made:.1}, {half:.1} of half"
            );
            // Apart two channels that are alike take more bits.
            assert!(made < half + 6.0);
            assert!(made + 15.0 < plain);
        }
    }

    #[test]
    fn nothing_changes_where_nothing_is_too_loud() {
        let config = Config::lc(22_050, 1).unwrap();
        let pcm: Vec<f32> = sound(config, 1.0).iter().map(|sample| sample * 0.7).collect();
        assert_eq!(steps(&pcm), None);
        assert_eq!(
            encode(config, Coder::Exact, &pcm).unwrap(),
            encode_fitting(config, Coder::Exact, &pcm).unwrap()
        );
    }

    #[test]
    fn steps_are_as_many_as_it_takes() {
        let counted = [0.9, 0.95, 0.951, 1.13, 1.2, -1.9, 2.0].map(|sample| steps(&[0.1, sample]));
        assert_eq!(counted, [None, None, Some(1), Some(2), Some(2), Some(5), Some(5)]);
        for peak in [0.9501, 1.0, 1.1297, 1.34, 1.8999, 7.0] {
            let steps = steps(&[peak]).unwrap();
            assert!(peak * (-f32::from(steps) / 4.0).exp2() <= LOUDEST, "{peak}");
        }
    }
}
