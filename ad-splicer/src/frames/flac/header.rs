//! Frame headers (RFC 9639 §9.1).

use super::FrameError;
use super::crc::{crc8, crc16, step16};

/// Longest header in bytes: 4, a number of at most 7, a block size of 2, a rate of 2, the CRC.
pub(crate) const MAX_LEN: usize = 16;

/// What a frame is numbered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Numbering {
    /// Its index: every block but the last has the same size.
    Frame,
    /// Its first sample.
    Sample,
}

/// How the channels are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channels {
    Independent(u8),
    LeftSide,
    SideRight,
    MidSide,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) numbering: Numbering,
    /// Of the frame or of its first sample.
    pub(crate) number: u64,
    /// Samples of each channel.
    pub(crate) block_size: u32,
    /// The code as it stands there, and the 0–2 bytes that belong to it.
    pub(crate) rate: (u8, u16),
    pub(crate) channels: Channels,
    /// Bits a sample; `None` where STREAMINFO says it.
    pub(crate) bits: Option<u32>,
    /// The code as it stands there.
    pub(crate) bits_code: u8,
    /// Its length in bytes.
    pub(crate) len: usize,
}

fn coded_number(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let len = match first.leading_ones() {
        0 => return Some((u64::from(first), 1)),
        ones @ 2..=7 => ones as usize,
        _ => return None,
    };
    let mut value = u64::from(first) & (0x7F >> len);
    for byte in bytes.get(1..len)? {
        if byte & 0xC0 != 0x80 {
            return None;
        }
        value = value << 6 | u64::from(byte & 0x3F);
    }
    Some((value, len))
}

fn write_number(value: u64, out: &mut Vec<u8>) {
    if value < 0x80 {
        out.push(value as u8);
        return;
    }
    // 2 bytes hold 11 bits, and each further one 5 more, up to 36.
    let len = number_len(value);
    let mark = !(0xFF_u8 >> len);
    out.push(mark | (value >> (6 * (len - 1))) as u8);
    for rest in (0..len - 1).rev() {
        out.push(0x80 | (value >> (6 * rest)) as u8 & 0x3F);
    }
}

/// How many bytes a number takes.
pub(crate) fn number_len(value: u64) -> usize {
    match value {
        0..0x80 => 1,
        _ => (2..=7).find(|len| value >> (5 * len + 1) == 0).unwrap_or(7),
    }
}

impl Header {
    /// The header at the beginning of `bytes`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        const SHORT: FrameError = FrameError("its header ends early");
        let [first, second, third, fourth] = *bytes.first_chunk().ok_or(SHORT)?;
        if first != 0xFF || second & 0xFE != 0xF8 || fourth & 1 != 0 {
            return Err(FrameError("no frame header is there"));
        }
        let (number, number_len) = coded_number(&bytes[4..]).ok_or(FrameError("its number is damaged"))?;
        let mut len = 4 + number_len;
        let mut extra = |count: usize| {
            let value = bytes.get(len..len + count).map(|bytes| {
                bytes
                    .iter()
                    .fold(0_u16, |value, byte| value << 8 | u16::from(*byte))
            });
            len += count;
            value.ok_or(SHORT)
        };
        let block_size = match third >> 4 {
            1 => 192,
            code @ 2..=5 => 144 << code,
            6 => u32::from(extra(1)?) + 1,
            7 => u32::from(extra(2)?) + 1,
            code @ 8..=15 => 1 << code,
            _ => return Err(FrameError("its block size is reserved")),
        };
        let rate_code = third & 0xF;
        let rate = match rate_code {
            0xC => extra(1)?,
            0xD | 0xE => extra(2)?,
            0xF => return Err(FrameError("its sample rate is forbidden")),
            _ => 0,
        };
        let channels = match fourth >> 4 {
            code @ 0..=7 => Channels::Independent(code + 1),
            8 => Channels::LeftSide,
            9 => Channels::SideRight,
            10 => Channels::MidSide,
            _ => return Err(FrameError("its channels are reserved")),
        };
        let bits_code = fourth >> 1 & 7;
        let bits = match bits_code {
            0 => None,
            1 => Some(8),
            2 => Some(12),
            4 => Some(16),
            5 => Some(20),
            6 => Some(24),
            7 => Some(32),
            _ => return Err(FrameError("its sample size is reserved")),
        };
        let crc = *bytes.get(len).ok_or(SHORT)?;
        if crc8(&bytes[..len]) != crc {
            return Err(FrameError("its header's checksum is wrong"));
        }
        Ok(Self {
            numbering: if second & 1 == 0 {
                Numbering::Frame
            } else {
                Numbering::Sample
            },
            number,
            block_size,
            rate: (rate_code, rate),
            channels,
            bits,
            bits_code,
            len: len + 1,
        })
    }

    /// The header's bytes.
    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = vec![0xFF, 0xF8 | u8::from(self.numbering == Numbering::Sample)];
        let size = self.block_size;
        let size_code = match size {
            192 => 1,
            576 => 2,
            1152 => 3,
            2304 => 4,
            4608 => 5,
            _ if size.is_power_of_two() && (256..=32768).contains(&size) => size.trailing_zeros() as u8,
            1..=256 => 6,
            _ => 7,
        };
        out.push(size_code << 4 | self.rate.0);
        let channels = match self.channels {
            Channels::Independent(count) => count - 1,
            Channels::LeftSide => 8,
            Channels::SideRight => 9,
            Channels::MidSide => 10,
        };
        out.push(channels << 4 | self.bits_code << 1);
        write_number(self.number, &mut out);
        match size_code {
            6 => out.push((size - 1) as u8),
            7 => out.extend(((size - 1) as u16).to_be_bytes()),
            _ => {}
        }
        match self.rate.0 {
            0xC => out.push(self.rate.1 as u8),
            0xD | 0xE => out.extend(self.rate.1.to_be_bytes()),
            _ => {}
        }
        out.push(crc8(&out));
        out
    }

    pub(crate) fn channel_count(&self) -> usize {
        match self.channels {
            Channels::Independent(count) => usize::from(count),
            _ => 2,
        }
    }
}

/// The header and the footer that `frame`, whose header this is, has under another number.
pub(crate) fn renumber(frame: &[u8], header: &Header, number: u64) -> (Vec<u8>, [u8; 2]) {
    let head = Header { number, ..*header }.write();
    let body = &frame[header.len..frame.len() - 2];
    let crc = body.iter().fold(crc16(&head), |crc, byte| step16(crc, *byte));
    (head, crc.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(number in 0u64..1 << 36, size in 1u32..=65_536, sample in any::<bool>()) {
            let header = Header {
                numbering: if sample { Numbering::Sample } else { Numbering::Frame },
                number: if sample { number } else { number >> 5 },
                block_size: size,
                rate: (9, 0),
                channels: Channels::MidSide,
                bits: Some(16),
                bits_code: 4,
                len: 0,
            };
            let bytes = header.write();
            prop_assert!(bytes.len() <= MAX_LEN);
            prop_assert_eq!(Header::parse(&bytes), Ok(Header { len: bytes.len(), ..header }));
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..20)) {
            let mut bytes = bytes;
            let _ = Header::parse(&bytes);
            bytes.splice(0..0, [0xFF, 0xF8]);
            let _ = Header::parse(&bytes);
        }
    }
}
