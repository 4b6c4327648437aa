//! The two checksums of a frame (RFC 9639 §9.1.8 and §9.3).

const fn table8() -> [u8; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = i as u8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x80 != 0 {
                crc << 1 ^ 0x07
            } else {
                crc << 1
            };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

const fn table16() -> [u16; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut crc = (i as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000 != 0 {
                crc << 1 ^ 0x8005
            } else {
                crc << 1
            };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
}

static TABLE8: [u8; 256] = table8();
static TABLE16: [u16; 256] = table16();

/// CRC-8 of a header.
pub(crate) fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |crc, byte| TABLE8[usize::from(crc ^ byte)])
}

/// CRC-16 after one more byte.
#[inline]
pub(crate) fn step16(crc: u16, byte: u8) -> u16 {
    crc << 8 ^ TABLE16[usize::from((crc >> 8) as u8 ^ byte)]
}

/// CRC-16 of a frame.
pub(crate) fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| step16(crc, *byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_what_the_catalogue_of_crcs_says() {
        // CRC-8/SMBUS and CRC-16/UMTS of "123456789".
        assert_eq!((crc8(b"123456789"), crc16(b"123456789")), (0xF4, 0xFEE8));
    }
}
