//! AAC packets made longer: fill elements (ISO/IEC 14496-3 §4.4.2.7) before the end of a packet say nothing, and change nothing of what it decodes to.

use super::aac::{Config, SAMPLES};

/// Of a syntactic element's name: where a packet ends.
pub(super) const END: u32 = 7;
/// What fills.
pub(super) const FILL: u32 = 6;

/// Writes bits.
#[derive(Default)]
pub(super) struct Bits {
    pub(super) bytes: Vec<u8>,
    len: usize,
}

impl Bits {
    /// The first `len` bits of `bytes`.
    fn of(bytes: &[u8], len: usize) -> Self {
        let mut bytes = bytes[..len.div_ceil(8)].to_vec();
        if let Some(last) = bytes.last_mut()
            && !len.is_multiple_of(8)
        {
            *last &= 0xFF << (8 - len % 8);
        }
        Self { bytes, len }
    }

    pub(super) fn put(&mut self, value: u32, count: usize) {
        for bit in (0..count).rev() {
            if self.len.is_multiple_of(8) {
                self.bytes.push(0);
            }
            self.bytes[self.len / 8] |= (value >> bit & 1) as u8 * (0x80 >> (self.len % 8));
            self.len += 1;
        }
    }

    fn zeros(&mut self, bytes: usize) {
        for _ in 0..bytes {
            self.put(0, 8);
        }
    }
}

/// The most bytes that a packet of this stream has (§4.5.3.3: 6,144 bits for each channel).
pub(crate) fn most_bytes(config: Config) -> usize {
    768 * usize::from(config.channels)
}

/// The bytes of a packet that holds nothing but ads: for 128 kbit/s a channel.
pub(crate) fn ad_bytes(config: Config) -> usize {
    let channel = u64::from(SAMPLES) * 128_000 / 8 / u64::from(config.sample_rate.max(1));
    (channel as usize * usize::from(config.channels)).min(most_bytes(config))
}

/// `count` bits from one on.
pub(super) fn read(packet: &[u8], at: usize, count: usize) -> Option<u32> {
    (at..at + count).try_fold(0, |value, bit| {
        let byte = packet.get(bit / 8)?;
        Some(value << 1 | u32::from(byte >> (7 - bit % 8) & 1))
    })
}

/// The bit at which the element is that ends a packet.
pub(super) fn end(packet: &[u8]) -> Option<usize> {
    // After it come zeros up to a whole byte.
    let (last, byte) = packet.iter().enumerate().rfind(|(_, byte)| **byte != 0)?;
    let at = (last * 8 + 8 - byte.trailing_zeros() as usize).checked_sub(3)?;
    (read(packet, at, 3)? == END).then_some(at)
}

/// `packet`, `len` bytes long; `None` when it is longer already, or has no end.
pub(crate) fn padded(packet: &[u8], len: usize) -> Option<Vec<u8>> {
    let at = end(packet)?;
    if (at + 3).div_ceil(8) > len {
        return None;
    }
    let mut out = Bits::of(packet, at);
    while (out.len + 3).div_ceil(8) < len {
        // At least eight bits are left; an element takes seven, or fifteen with a longer count, and whole bytes.
        let left = len * 8 - 3 - out.len;
        out.put(FILL, 3);
        let short = (left - 7) / 8;
        if short < 15 {
            out.put(short as u32, 4);
            out.zeros(short);
        } else {
            let long = ((left - 15) / 8).min(269);
            out.put(15, 4);
            out.put(long as u32 - 14, 8);
            out.zeros(long);
        }
    }
    out.put(END, 3);
    Some(out.bytes)
}

/// A packet of silence.
pub(crate) fn silent(config: Config) -> Vec<u8> {
    let mut out = Bits::default();
    let pair = config.channels == 2;
    // A single channel (0), or a pair (1) without anything in common.
    out.put(u32::from(pair), 3);
    out.put(0, if pair { 4 + 1 } else { 4 });
    for _ in 0..config.channels {
        // Gain, a long window of no bands, and neither pulses, noise shaping nor gain control.
        out.put(0, 8 + 11 + 3);
    }
    out.put(END, 3);
    out.bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::aac::{Coder, decode, encode};

    #[test]
    fn a_longer_packet_is_the_same_sound() {
        let config = Config::lc(44_100, 2).unwrap();
        let pcm: Vec<f32> = (0..44_100)
            .map(|i| 0.3 * (i as f32 * 0.01 * (1.0 + i as f32 / 1e5)).sin())
            .collect();
        let packets = encode(config, Coder::Exact, &pcm).unwrap();
        for more in [0, 1, 2, 3, 14, 15, 16, 17, 100, 269, 270, 271, 272, 285, 286, 500] {
            let longer: Vec<Vec<u8>> = packets
                .iter()
                .map(|packet| padded(packet, packet.len() + more).unwrap())
                .collect();
            assert!(
                longer
                    .iter()
                    .zip(&packets)
                    .all(|(a, b)| a.len() == b.len() + more),
                "{more}"
            );
            assert_eq!(
                decode(config, std::slice::from_ref(&longer)).unwrap(),
                decode(config, std::slice::from_ref(&packets)).unwrap(),
                "{more}"
            );
        }
        assert!(packets.iter().all(|packet| packet.len() <= most_bytes(config)));
        assert_eq!(padded(&packets[3], packets[3].len() - 1), None);
        assert_eq!(padded(&[0, 0], 9), None);
        assert_eq!(padded(&[], 9), None);
        assert_eq!(padded(&[0b0101_0000], 9), None);
    }

    #[test]
    fn silence_is_silent() {
        for channels in [1, 2] {
            let config = Config::lc(48_000, channels).unwrap();
            let packets = vec![padded(&silent(config), most_bytes(config)).unwrap(); 5];
            let decoded = decode(config, &[packets]).unwrap().remove(0);
            assert_eq!(decoded, vec![0.0; 5 * 1024 * usize::from(channels)]);
        }
    }
}
