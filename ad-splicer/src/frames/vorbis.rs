//! Vorbis I: what the headers and the first byte of a packet say of its length. Nothing is decoded.
//!
//! A packet of `b` samples' block after one of `a` gives `(a + b) / 4` samples; the first of a stream gives none.

use crate::splice::SpliceError;

/// Bits of a mode: its block's flag, window, transform and mapping.
const MODE_BITS: usize = 41;

/// The identification and setup headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) channels: u8,
    pub(crate) rate: u32,
    /// Samples of a short and of a long block.
    blocks: [u32; 2],
    /// Whether the blocks of each mode are long.
    modes: Vec<bool>,
}

/// The bits of a header from its end on, last bit first.
struct Backwards<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Backwards<'_> {
    fn left(&self) -> usize {
        self.bytes.len() * 8 - self.at
    }

    fn bits(&mut self, count: usize) -> Option<u32> {
        if self.left() < count {
            return None;
        }
        let mut value = 0;
        for _ in 0..count {
            let byte = self.bytes[self.bytes.len() - 1 - self.at / 8];
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }
}

impl Head {
    /// `None` when the first packet is no Vorbis header.
    pub(crate) fn parse(identification: &[u8], setup: &[u8]) -> Result<Option<Self>, SpliceError> {
        let Some(bytes) = identification
            .strip_prefix(b"\x01vorbis")
            .and_then(<[u8]>::first_chunk::<23>)
        else {
            return Ok(None);
        };
        let refused = |what: &str| SpliceError::Unsupported(format!("the Vorbis headers {what}"));
        let rate = u32::from_le_bytes([bytes[5], bytes[6], bytes[7], bytes[8]]);
        let (short, long) = (bytes[21] & 15, bytes[21] >> 4);
        if bytes[..4] != [0; 4] || rate == 0 || !(6..=13).contains(&short) || !(short..=13).contains(&long) {
            return Err(refused("make no sense"));
        }
        if !setup.starts_with(b"\x05vorbis") {
            return Err(refused("are not complete"));
        }
        let modes = modes(setup).ok_or_else(|| refused("do not say how long packets are"))?;
        Ok(Some(Self {
            channels: bytes[4],
            rate,
            blocks: [1 << short, 1 << long],
            modes,
        }))
    }

    /// Samples of the block in a packet; `None` when it is no packet of sound. Its first byte is enough.
    pub(crate) fn block(&self, packet: &[u8]) -> Option<u32> {
        let first = *packet.first()?;
        let count = self.modes.len() - 1;
        let bits = usize::BITS - count.leading_zeros();
        let mode = usize::from(first >> 1) & ((1 << bits) - 1);
        let long = *self.modes.get(mode).filter(|_| first & 1 == 0)?;
        Some(self.blocks[usize::from(long)])
    }
}

/// The modes, which stand at the end of the setup header: before them the header can only be read by reading all of its codebooks. A list of modes is taken for one where as many modes stand as the number before
/// them says; of several such places, the longest list.
fn modes(setup: &[u8]) -> Option<Vec<bool>> {
    let mut bits = Backwards { bytes: setup, at: 0 };
    // The last bit that is set is the mark of the end.
    while bits.bits(1)? == 0 {}
    let (mut found, mut modes) = (None, Vec::new());
    while bits.left() >= MODE_BITS + 56 && modes.len() < 64 {
        let (mapping, transform, window) = (bits.bits(8)?, bits.bits(16)?, bits.bits(16)?);
        if mapping > 63 || transform != 0 || window != 0 {
            break;
        }
        modes.push(bits.bits(1)? == 1);
        let at = bits.at;
        if bits.bits(6)? as usize + 1 == modes.len() {
            found = Some(modes.clone());
        }
        bits.at = at;
    }
    let mut found = found?;
    found.reverse();
    Some(found)
}

/// Headers for tests.
#[cfg(test)]
pub(crate) mod made {
    /// Two channels, 44.1 kHz; short blocks of 256 samples, long ones of 2,048.
    pub(crate) fn identification() -> Vec<u8> {
        let mut out = b"\x01vorbis\0\0\0\0\x02".to_vec();
        out.extend(44_100_u32.to_le_bytes());
        out.extend([0; 12]);
        out.extend([0xB8, 1]);
        out
    }

    /// A setup header whose end says that there are a mode of short blocks and one of long ones.
    pub(crate) fn setup() -> Vec<u8> {
        let mut bits: Vec<bool> = vec![true; 8 * 5];
        let mut put = |value: u32, count: usize| bits.extend((0..count).map(|i| value >> i & 1 == 1));
        put(1, 6);
        for (flag, mapping) in [(0, 0), (1, 1)] {
            put(flag, 1);
            put(0, 32);
            put(mapping, 8);
        }
        put(1, 1);
        let mut out = b"\x05vorbis".to_vec();
        out.extend(bits.chunks(8).map(|byte| {
            byte.iter()
                .enumerate()
                .fold(0, |value, (i, bit)| value | u8::from(*bit) << i)
        }));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::made::{identification, setup};
    use super::*;

    #[test]
    fn packets_say_how_long_their_blocks_are() {
        let mut identification = identification();
        let head = Head::parse(&identification, &setup()).unwrap().unwrap();
        assert_eq!((head.channels, head.rate), (2, 44_100));
        assert_eq!(head.modes, [false, true]);
        for (packet, block) in [
            (&[0x00][..], Some(256)),
            (&[0x02], Some(2_048)),
            (&[0xFE], Some(2_048)),
            (&[0x01], None),
            (&[], None),
        ] {
            assert_eq!(head.block(packet), block, "{packet:x?}");
        }
        assert_eq!(Head::parse(b"OpusHead", &setup()).unwrap(), None);
        assert!(Head::parse(&identification, b"\x05vorbis\x01").is_err());
        identification[28] = 0x8B;
        assert!(Head::parse(&identification, &setup()).is_err());
    }
}
