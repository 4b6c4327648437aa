//! The four bytes that begin each frame (ISO/IEC 11172-3 §2.4.1.3).

/// The MPEG version, which sets sample rates, bit rates and the size of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MPEG-1: 32–48 kHz, 1152 samples.
    V1,
    /// MPEG-2: 16–24 kHz, 576 samples.
    V2,
    /// MPEG-2.5: 8–12 kHz, 576 samples.
    V25,
}

/// Why four bytes are not a header that this code takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The eleven bits of sync are missing.
    #[error("no frame sync")]
    NoSync,
    /// Layer I or II.
    #[error("MPEG audio of another layer than III")]
    Layer,
    /// A reserved value.
    #[error("a reserved value in the frame header")]
    Reserved,
    /// Bit rate index 0: the size of a frame is not in its header. See [`Header::of_free`].
    #[error("MP3 of free format")]
    FreeFormat,
}

const BIT_RATES_V1: [u32; 15] = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
const BIT_RATES_V2: [u32; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
const SAMPLE_RATES_V1: [u32; 3] = [44_100, 48_000, 32_000];

/// A checked frame header: every combination of fields that it can hold has a known frame size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; 4],
    version: Version,
    /// Length of a frame of free format without its padding; 0 where the header tells the bit rate.
    free: u16,
}

impl Header {
    /// Checks four bytes.
    pub fn parse(bytes: [u8; 4]) -> Result<Self, HeaderError> {
        if bytes[0] != 0xFF || bytes[1] & 0xE0 != 0xE0 {
            return Err(HeaderError::NoSync);
        }
        let version = match bytes[1] >> 3 & 3 {
            0 => Version::V25,
            2 => Version::V2,
            3 => Version::V1,
            _ => return Err(HeaderError::Reserved),
        };
        match bytes[1] >> 1 & 3 {
            1 => {}
            0 => return Err(HeaderError::Reserved),
            _ => return Err(HeaderError::Layer),
        }
        if bytes[2] >> 4 == 15 || bytes[2] >> 2 & 3 == 3 || bytes[3] & 3 == 2 {
            return Err(HeaderError::Reserved);
        }
        if bytes[2] >> 4 == 0 {
            return Err(HeaderError::FreeFormat);
        }
        Ok(Self {
            bytes,
            version,
            free: 0,
        })
    }

    /// Checks four bytes of free format, whose frame is `len` bytes long with its padding. `None` when they are no such header, or the frame is longer than one of the highest bit rate would be.
    pub fn of_free(bytes: [u8; 4], len: usize) -> Option<Self> {
        if Self::parse(bytes) != Err(HeaderError::FreeFormat) {
            return None;
        }
        let mut stated = bytes;
        stated[2] |= 0x10;
        let highest = Self::parse(stated).ok()?.with_most_room();
        let free = len.checked_sub(usize::from(bytes[2] >> 1 & 1))?;
        let header = Self {
            bytes,
            free: u16::try_from(free).ok()?,
            ..highest
        };
        (header.main_data_start() < free && len <= highest.frame_len()).then_some(header)
    }

    /// The header of a frame that is whole: one of free format is as long as `frame`.
    pub fn of_whole(frame: &[u8]) -> Result<Self, HeaderError> {
        match (Self::of(frame), frame.first_chunk::<4>()) {
            (Err(HeaderError::FreeFormat), Some(bytes)) => {
                Self::of_free(*bytes, frame.len()).ok_or(HeaderError::FreeFormat)
            }
            (found, _) => found,
        }
    }

    /// [`Self::of`] a frame in the stream that `self` is of: one of free format is as long as others there.
    pub fn of_next(self, frame: &[u8]) -> Result<Self, HeaderError> {
        match (Self::of(frame), frame.first_chunk::<4>()) {
            (Err(HeaderError::FreeFormat), Some(bytes)) if self.is_free() => {
                let len = usize::from(self.free) + usize::from(bytes[2] >> 1 & 1);
                Self::of_free(*bytes, len).ok_or(HeaderError::FreeFormat)
            }
            (found, _) => found,
        }
    }

    /// Whether it does not say how long its frame is.
    pub fn is_free(self) -> bool {
        self.free > 0
    }

    /// [`Self::parse`] of the first four bytes of `frame`; no sync when there are fewer.
    pub fn of(frame: &[u8]) -> Result<Self, HeaderError> {
        let bytes = frame
            .get(..4)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or(HeaderError::NoSync)?;
        Self::parse(bytes)
    }

    /// The bytes.
    pub fn bytes(self) -> [u8; 4] {
        self.bytes
    }

    /// The MPEG version.
    pub fn version(self) -> Version {
        self.version
    }

    /// Whether two bytes of CRC follow the header.
    pub fn has_crc(self) -> bool {
        self.bytes[1] & 1 == 0
    }

    fn bit_rates(self) -> &'static [u32; 15] {
        if self.version == Version::V1 {
            &BIT_RATES_V1
        } else {
            &BIT_RATES_V2
        }
    }

    /// Bits a second; of free format, as its frames' length without padding has it.
    pub fn bit_rate(self) -> u32 {
        if self.is_free() {
            return u32::from(self.free) * self.sample_rate() / (self.samples() / 8);
        }
        // Index 15 was refused.
        self.bit_rates()[usize::from(self.bytes[2] >> 4)] * 1000
    }

    /// Samples a second.
    pub fn sample_rate(self) -> u32 {
        // Index 3 was refused.
        let rate = SAMPLE_RATES_V1[usize::from(self.bytes[2] >> 2 & 3)];
        match self.version {
            Version::V1 => rate,
            Version::V2 => rate / 2,
            Version::V25 => rate / 4,
        }
    }

    /// 1 or 2.
    pub fn channels(self) -> u16 {
        if self.bytes[3] >> 6 == 3 { 1 } else { 2 }
    }

    /// Samples (of each channel) in a frame: 1152 or 576.
    pub fn samples(self) -> u32 {
        if self.version == Version::V1 { 1152 } else { 576 }
    }

    /// Length of the frame in bytes.
    pub fn frame_len(self) -> usize {
        let padding = usize::from(self.bytes[2] >> 1 & 1);
        if self.is_free() {
            return usize::from(self.free) + padding;
        }
        (self.samples() / 8 * self.bit_rate() / self.sample_rate()) as usize + padding
    }

    /// Where the side information begins in the frame.
    pub fn side_info_start(self) -> usize {
        if self.has_crc() { 6 } else { 4 }
    }

    /// Length of the side information.
    pub fn side_info_len(self) -> usize {
        match (self.version, self.channels()) {
            (Version::V1, 1) => 17,
            (Version::V1, _) => 32,
            (_, 1) => 9,
            _ => 17,
        }
    }

    /// Where the frame's area for main data begins.
    pub fn main_data_start(self) -> usize {
        self.side_info_start() + self.side_info_len()
    }

    /// How many bytes of main data the frame has room for.
    pub fn main_data_len(self) -> usize {
        self.frame_len().saturating_sub(self.main_data_start())
    }

    /// The furthest back that main data may begin, in bytes.
    pub fn max_reservoir(self) -> usize {
        if self.version == Version::V1 { 511 } else { 255 }
    }

    /// Whether frames of both headers can follow each other in one stream: version, sample rate and number of channels are the same.
    pub fn same_stream(self, other: Self) -> bool {
        self.version == other.version
            && self.bytes[2] & 0x0C == other.bytes[2] & 0x0C
            && self.channels() == other.channels()
    }

    /// The same header for the largest frame that there is: at the highest bit rate, with a byte of padding.
    #[must_use]
    pub fn with_most_room(self) -> Self {
        let mut bytes = self.bytes;
        bytes[2] = bytes[2] & 0x0D | 14 << 4 | 2;
        Self {
            bytes,
            free: 0,
            ..self
        }
    }

    /// The same header for the smallest frame that tells its bit rate and has room for `main_data` bytes; `None` when even the largest has not.
    pub fn with_room_for(self, main_data: usize) -> Option<Self> {
        (1..15u8)
            .flat_map(|index| [(index, 0), (index, 2)])
            .find_map(|(index, padding)| {
                let mut bytes = self.bytes;
                bytes[2] = bytes[2] & 0x0D | index << 4 | padding;
                let header = Self {
                    bytes,
                    version: self.version,
                    free: 0,
                };
                (header.main_data_len() >= main_data).then_some(header)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn table_of_headers() {
        for (bytes, rate, bit_rate, channels, len, side) in [
            ([0xFF, 0xFB, 0x90, 0x64], 44_100, 128_000, 2, 417, 32),
            ([0xFF, 0xFB, 0x92, 0x64], 44_100, 128_000, 2, 418, 32),
            ([0xFF, 0xFB, 0xE4, 0x44], 48_000, 320_000, 2, 960, 32),
            ([0xFF, 0xFB, 0x18, 0xC4], 32_000, 32_000, 1, 144, 17),
            ([0xFF, 0xF3, 0x80, 0xC4], 22_050, 64_000, 1, 208, 9),
            ([0xFF, 0xF3, 0xE4, 0x04], 24_000, 160_000, 2, 480, 17),
            ([0xFF, 0xE3, 0x18, 0xC4], 8_000, 8_000, 1, 72, 9),
            ([0xFF, 0xFA, 0x90, 0x64], 44_100, 128_000, 2, 417, 32),
        ] {
            let header = Header::parse(bytes).unwrap();
            assert_eq!(
                (header.sample_rate(), header.bit_rate(), header.channels()),
                (rate, bit_rate, channels)
            );
            assert_eq!(
                (header.frame_len(), header.side_info_len()),
                (len, side),
                "{bytes:x?}"
            );
        }
        assert!(Header::parse([0xFF, 0xFA, 0x90, 0x64]).unwrap().has_crc());
        for (bytes, error) in [
            ([0xFE, 0xFB, 0x90, 0x64], HeaderError::NoSync),
            ([0xFF, 0xEB, 0x90, 0x64], HeaderError::Reserved),
            ([0xFF, 0xFD, 0x90, 0x64], HeaderError::Layer),
            ([0xFF, 0xF9, 0x90, 0x64], HeaderError::Reserved),
            ([0xFF, 0xFB, 0xF0, 0x64], HeaderError::Reserved),
            ([0xFF, 0xFB, 0x9C, 0x64], HeaderError::Reserved),
            ([0xFF, 0xFB, 0x00, 0x64], HeaderError::FreeFormat),
        ] {
            assert_eq!(Header::parse(bytes), Err(error), "{bytes:x?}");
        }
        assert_eq!(Header::of(&[0xFF, 0xFB]), Err(HeaderError::NoSync));
    }

    #[test]
    fn free_format_is_as_long_as_it_is_told() {
        let bytes = [0xFF, 0xFB, 0x02, 0x64];
        let header = Header::of_free(bytes, 817).unwrap();
        assert_eq!((header.frame_len(), header.bit_rate()), (817, 249_900));
        let mut frame = vec![0; 816];
        frame[..4].copy_from_slice(&[0xFF, 0xFB, 0x00, 0x64]);
        assert_eq!(Header::of(&frame), Err(HeaderError::FreeFormat));
        for found in [header.of_next(&frame), Header::of_whole(&frame)] {
            assert_eq!(found.map(Header::frame_len), Ok(816));
        }
        let wider = header.with_room_for(900).unwrap();
        assert!(!wider.is_free() && wider.bit_rate() == 320_000);
        // Longer than one of 320 kb/s, shorter than its side information, or not free at all.
        for (bytes, len) in [(bytes, 1047), (bytes, 36), ([0xFF, 0xFB, 0x92, 0x64], 418)] {
            assert_eq!(Header::of_free(bytes, len), None, "{len}");
        }
        assert_eq!(wider.of_next(&frame), Err(HeaderError::FreeFormat));
    }

    proptest! {
        #[test]
        fn a_header_always_has_a_frame(bytes: [u8; 4], room in 0usize..2_000) {
            if let Ok(header) = Header::parse(bytes) {
                // The smallest frame there is has 24 bytes (MPEG-2, 8 kb/s, 24 kHz).
                prop_assert!((24..=1441).contains(&header.frame_len()));
                if let Some(wider) = header.with_room_for(room) {
                    prop_assert!(wider.main_data_len() >= room && wider.same_stream(header));
                    prop_assert_eq!(Header::parse(wider.bytes()), Ok(wider));
                }
            }
        }
    }
}
