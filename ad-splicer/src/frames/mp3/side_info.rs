//! The parts of a frame's side information that say where its main data is (ISO/IEC 11172-3 §2.4.1.7, 13818-3 §2.4.1.7).

use super::header::{Header, Version};

/// Where a frame's main data is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SideInfo {
    /// How many bytes of main data before this frame's own area it begins.
    pub main_data_begin: usize,
    /// Its length in bytes (the frame may have more room: stuffing or the next frame's data).
    pub main_data_len: usize,
}

/// `count` (at most 16) bits at bit `at`; bits after the end are 0.
fn bits(bytes: &[u8], at: usize, count: usize) -> usize {
    (at..at + count).fold(0, |value, bit| {
        let byte = bytes.get(bit / 8).copied().unwrap_or(0);
        value << 1 | usize::from(byte >> (7 - bit % 8) & 1)
    })
}

impl SideInfo {
    /// Reads the side information of a frame, which must be whole.
    pub fn of(header: Header, frame: &[u8]) -> Self {
        let side = frame
            .get(header.side_info_start()..header.main_data_start())
            .unwrap_or_default();
        let channels = usize::from(header.channels());
        // Each granule of each channel has a fixed number of bits, of which the first twelve are `part2_3_length`.
        let (first, size, granules) = granules(header);
        let begin = if header.version() == Version::V1 { 9 } else { 8 };
        let total: usize = (0..granules * channels)
            .map(|i| bits(side, first + i * size, 12))
            .sum();
        Self {
            main_data_begin: bits(side, 0, begin),
            main_data_len: total.div_ceil(8),
        }
    }
}

/// Makes what a whole frame decodes to louder by a factor of 2^(`steps`/4), exactly: so many steps of `global_gain` in each granule of each channel that holds anything.
pub fn change_gain(header: Header, frame: &mut [u8], steps: i32) {
    let channels = usize::from(header.channels());
    let (first, size, granules) = granules(header);
    let start = header.side_info_start();
    for i in 0..granules * channels {
        let at = first + i * size;
        let side = frame.get(start..header.main_data_start()).unwrap_or_default();
        // After `part2_3_length` (12 bits) and `big_values` (9).
        let gain = bits(side, at + 21, 8);
        if bits(side, at, 12) == 0 {
            continue;
        }
        let gain = gain.saturating_add_signed(steps as isize).min(255);
        for (n, bit) in (at + 21..at + 29).enumerate() {
            let mask = 0x80 >> (bit % 8);
            let byte = &mut frame[start + bit / 8];
            *byte = if gain >> (7 - n) & 1 == 1 {
                *byte | mask
            } else {
                *byte & !mask
            };
        }
    }
    set_crc(header, frame);
}

/// Whether a granule of a whole frame has a block of another type than the long one.
#[cfg(test)]
pub(crate) fn has_short_blocks(header: Header, frame: &[u8]) -> bool {
    let side = frame
        .get(header.side_info_start()..header.main_data_start())
        .unwrap_or_default();
    let (first, size, granules) = granules(header);
    // `window_switching_flag` comes after `part2_3_length`, `big_values`, `global_gain` and `scalefac_compress` (4 bits, or 9).
    let flag = if header.version() == Version::V1 { 33 } else { 38 };
    (0..granules * usize::from(header.channels())).any(|i| bits(side, first + i * size + flag, 1) == 1)
}

/// Where the first granule begins in the side information, how many bits each has for each channel, and how many granules there are.
fn granules(header: Header) -> (usize, usize, usize) {
    let mono = header.channels() == 1;
    match header.version() {
        Version::V1 => (if mono { 18 } else { 20 }, 59, 2),
        _ => (if mono { 9 } else { 10 }, 63, 1),
    }
}

/// Sets `main_data_begin`, which must be one that can be said.
pub(super) fn set_main_data_begin(header: Header, frame: &mut [u8], begin: usize) {
    let start = header.side_info_start();
    if header.version() == Version::V1 {
        frame[start] = (begin >> 1) as u8;
        frame[start + 1] = frame[start + 1] & 0x7F | ((begin & 1) as u8) << 7;
    } else {
        frame[start] = begin as u8;
    }
}

/// Sets `main_data_begin` to 0 in a whole frame, and its CRC right when it has one.
pub(super) fn stand_alone(header: Header, frame: &mut [u8]) {
    set_main_data_begin(header, frame, 0);
    set_crc(header, frame);
}

/// Sets the CRC of a whole frame right, when it has one: it covers half of the header and the side information.
pub(super) fn set_crc(header: Header, frame: &mut [u8]) {
    if header.has_crc() {
        let start = header.side_info_start();
        let crc = frame[2..4]
            .iter()
            .chain(&frame[start..header.main_data_start()])
            .fold(0xFFFF_u16, |crc, byte| {
                (0..8).rev().fold(crc, |crc, bit| {
                    let carry = crc >> 15 ^ u16::from(byte >> bit & 1);
                    crc << 1 ^ if carry == 1 { 0x8005 } else { 0 }
                })
            });
        frame[4..6].copy_from_slice(&crc.to_be_bytes());
    }
}
