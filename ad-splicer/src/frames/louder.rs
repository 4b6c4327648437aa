//! AAC packets made louder: all steps of a channel's quantizers are counted from `global_gain` (ISO/IEC 14496-3 §4.6.2.3.2), so that with one more there whatever the packet decodes to is 2^¼ as large (1.5 dB), and nothing else changes.
//!
//! Only the first channel's gain is at a place that is known without reading all of the packet. So two channels are coded apart, and become a pair here.

use super::padding::{Bits, END, FILL, end, read};

/// A single channel.
const SINGLE: u32 = 0;
/// A pair of channels.
const PAIR: u32 = 1;

/// One packet of the channels of one or two packets, each of which has a single channel: `steps` quarters of 6.02 dB louder. `None` when they have something else, or are too loud for that.
pub(crate) fn louder(channels: &[&[u8]], steps: u8) -> Option<Vec<u8>> {
    let mut out = Bits::default();
    out.put(if channels.len() == 2 { PAIR } else { SINGLE }, 3);
    // The tag, and of a pair that it has nothing in common.
    out.put(0, if channels.len() == 2 { 4 + 1 } else { 4 });
    for packet in channels {
        let (begins, ends) = (channel(packet)?, end(packet)?);
        let gain = u8::try_from(read(packet, begins, 8)?).ok()?.checked_add(steps)?;
        out.put(gain.into(), 8);
        for bit in begins + 8..ends {
            out.put(read(packet, bit, 1)?, 1);
        }
    }
    out.put(END, 3);
    Some(out.bytes)
}

/// The bit at which the channel of a packet begins, with its gain.
fn channel(packet: &[u8]) -> Option<usize> {
    let mut at = 0;
    // libav says what it is in the first packet, and in some later ones.
    while read(packet, at, 3)? == FILL {
        let mut count = read(packet, at + 3, 4)?;
        at += 3 + 4;
        if count == 15 {
            count += read(packet, at, 8)?.checked_sub(1)?;
            at += 8;
        }
        at += count as usize * 8;
    }
    (read(packet, at, 3)? == SINGLE).then_some(at + 3 + 4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::aac::{Coder, decode, encode};
    use crate::frames::aac::Config;

    /// Two seconds of a tone that changes.
    fn packets(frequency: f32) -> Vec<Vec<u8>> {
        let config = Config::lc(24_000, 1).unwrap();
        let pcm: Vec<f32> = (0..48_000)
            .map(|i| 0.2 * (i as f32 * frequency * (1.0 + i as f32 / 1e5)).sin())
            .collect();
        encode(config, Coder::Exact, &pcm).unwrap()
    }

    fn decoded(channels: u8, packets: Vec<Vec<u8>>) -> Vec<f32> {
        let config = Config::lc(24_000, channels).unwrap();
        decode(config, &[packets]).unwrap().remove(0)
    }

    #[test]
    fn a_channel_and_a_pair_are_as_much_louder_as_was_asked_for() {
        let (left, right) = (packets(0.02), packets(0.05));
        let is_filled = |packet: &Vec<u8>| read(packet, 0, 3) == Some(FILL);
        assert!(left.iter().any(is_filled), "libav says what it is");
        let heard = [&left, &right].map(|packets| decoded(1, packets.clone()));
        for steps in [0, 1, 4, 7] {
            let gain = (f32::from(steps) / 4.0).exp2();
            let alone = left.iter().map(|packet| louder(&[packet], steps).unwrap());
            let alone = decoded(1, alone.collect());
            let both = left.iter().zip(&right);
            let pair = both.map(|(left, right)| louder(&[left, right], steps).unwrap());
            let pair = decoded(2, pair.collect());
            assert_eq!(pair.len(), 2 * alone.len());
            assert!(heard[1].iter().any(|sample| *sample > 0.1));
            for (i, sample) in alone.iter().enumerate() {
                assert!(
                    (sample - heard[0][i] * gain).abs() < 1e-6,
                    "{steps} steps, sample {i}"
                );
                let sides = [
                    pair[2 * i] - heard[0][i] * gain,
                    pair[2 * i + 1] - heard[1][i] * gain,
                ];
                assert!(
                    sides.iter().all(|side| side.abs() < 1e-6),
                    "{steps} steps, sample {i}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_single_channel_or_too_loud_is_left() {
        let one = packets(0.02).swap_remove(5);
        let pair = louder(&[&one, &one], 0).unwrap();
        assert_eq!(louder(&[&pair], 1), None);
        assert_eq!(louder(&[&one, &pair], 1), None);
        assert_eq!(louder(&[&one], 255), None);
        assert_eq!(louder(&[&[]], 1), None);
        assert_eq!(louder(&[&[0xDF, 0xFF]], 1), None);
    }
}
