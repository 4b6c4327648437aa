//! The metadata before the frames (RFC 9639 §8).

use super::FrameError;

const BLOCK_STREAM_INFO: u8 = 0;
/// A list of places to seek to.
pub(crate) const BLOCK_SEEK_TABLE: u8 = 3;
/// Tags.
pub(crate) const BLOCK_VORBIS_COMMENT: u8 = 4;
/// Tracks of what was one recording.
pub(crate) const BLOCK_CUE_SHEET: u8 = 5;
/// Longest metadata that is held in memory, in bytes.
const MOST_BYTES: usize = 64 << 20;

/// What holds for the whole stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StreamInfo {
    pub(crate) min_block: u16,
    pub(crate) max_block: u16,
    /// In bytes; 0 when not known.
    pub(crate) min_frame: u32,
    pub(crate) max_frame: u32,
    pub(crate) sample_rate: u32,
    pub(crate) channels: u8,
    pub(crate) bits: u32,
    /// 0 when not known.
    pub(crate) samples: u64,
    /// Of the samples, little-endian and interleaved; zeros when not known.
    pub(crate) md5: [u8; 16],
}

impl StreamInfo {
    const LEN: usize = 34;

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LEN] = bytes.try_into().ok()?;
        let number = |range: std::ops::Range<usize>| {
            bytes[range]
                .iter()
                .fold(0_u64, |value, byte| value << 8 | u64::from(*byte))
        };
        let packed = number(10..18);
        let mut md5 = [0; 16];
        md5.copy_from_slice(&bytes[18..]);
        Some(Self {
            min_block: number(0..2) as u16,
            max_block: number(2..4) as u16,
            min_frame: number(4..7) as u32,
            max_frame: number(7..10) as u32,
            sample_rate: (packed >> 44) as u32,
            channels: (packed >> 41 & 7) as u8 + 1,
            bits: (packed >> 36 & 31) as u32 + 1,
            samples: packed & ((1 << 36) - 1),
            md5,
        })
    }

    fn write(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        out.extend(self.min_block.to_be_bytes());
        out.extend(self.max_block.to_be_bytes());
        out.extend(&self.min_frame.to_be_bytes()[1..]);
        out.extend(&self.max_frame.to_be_bytes()[1..]);
        let packed = u64::from(self.sample_rate) << 44
            | u64::from(self.channels - 1) << 41
            | u64::from(self.bits - 1) << 36
            | self.samples & ((1 << 36) - 1);
        out.extend(packed.to_be_bytes());
        out.extend(self.md5);
        out
    }
}

/// Another metadata block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) kind: u8,
    pub(crate) data: Vec<u8>,
}

/// A place to seek to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeekPoint {
    /// The frame's first sample; all ones for a placeholder.
    pub(crate) sample: u64,
    /// From the first frame on, in bytes.
    pub(crate) offset: u64,
    /// The frame's samples.
    pub(crate) samples: u16,
}

impl SeekPoint {
    pub(crate) const PLACEHOLDER: u64 = u64::MAX;

    /// The points of a seek table.
    pub(crate) fn parse(data: &[u8]) -> Vec<Self> {
        let points = data.chunks_exact(18).map(|point| {
            let number = |range: std::ops::Range<usize>| {
                point[range]
                    .iter()
                    .fold(0_u64, |value, byte| value << 8 | u64::from(*byte))
            };
            Self {
                sample: number(0..8),
                offset: number(8..16),
                samples: number(16..18) as u16,
            }
        });
        points.collect()
    }

    pub(crate) fn write(points: &[Self]) -> Vec<u8> {
        let mut out = Vec::with_capacity(points.len() * 18);
        for point in points {
            out.extend(point.sample.to_be_bytes());
            out.extend(point.offset.to_be_bytes());
            out.extend(point.samples.to_be_bytes());
        }
        out
    }
}

/// `fLaC`, STREAMINFO, and the other blocks in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) info: StreamInfo,
    pub(crate) blocks: Vec<Block>,
}

impl Metadata {
    /// Reads the blocks with `get`, which gives bytes at an offset from `fLaC` on. Also gives the length of all.
    pub(crate) fn read<E: From<FrameError>>(
        mut get: impl FnMut(u64, usize) -> Result<Vec<u8>, E>,
    ) -> Result<(Self, u64), E> {
        let (mut info, mut blocks) = (None, Vec::new());
        let (mut at, mut total) = (4_u64, 0);
        loop {
            let head = get(at, 4)?;
            let Some([kind, a, b, c]) = head.first_chunk().copied() else {
                return Err(FrameError("its metadata ends early").into());
            };
            let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            total += len;
            if total > MOST_BYTES {
                return Err(FrameError("its metadata is longer than 64 MiB").into());
            }
            let data = get(at + 4, len)?;
            if data.len() < len {
                return Err(FrameError("its metadata ends early").into());
            }
            at += 4 + len as u64;
            match (kind & 0x7F, &info) {
                (BLOCK_STREAM_INFO, None) => info = StreamInfo::parse(&data),
                (BLOCK_STREAM_INFO | 127, _) | (_, None) => {
                    return Err(FrameError("its metadata is damaged").into());
                }
                (kind, Some(_)) => blocks.push(Block { kind, data }),
            }
            if kind & 0x80 != 0 {
                break;
            }
        }
        let info = info.ok_or(FrameError("its metadata is damaged"))?;
        Ok((Self { info, blocks }, at))
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut out = b"fLaC".to_vec();
        let info = Block {
            kind: BLOCK_STREAM_INFO,
            data: self.info.write(),
        };
        for (i, block) in std::iter::once(&info).chain(&self.blocks).enumerate() {
            let last = if i == self.blocks.len() { 0x80 } else { 0 };
            out.push(block.kind | last);
            // A block's length was read from three bytes, or is that of a seek table as it was.
            out.extend(&(block.data.len() as u32).to_be_bytes()[1..]);
            out.extend(&block.data);
        }
        out
    }
}
