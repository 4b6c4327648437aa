//! WAV: RIFF, RF64 and BW64 files of PCM samples (Microsoft RIFF, EBU Tech 3306, ITU-R BS.2088). Pure.
//!
//! Chunks other than those that say how long the sound is, or where in it something is, are copied as they are.

use std::time::Duration;

use crate::content::Content;
use crate::frames::tail;
use crate::frames::window::Window;
use crate::splice::SpliceError;

/// Longest chunks before the sound that are held in memory, in bytes.
const MOST_BYTES: u64 = 64 << 20;
/// How many chunks there may be.
const MOST_CHUNKS: usize = 1_000;

/// How a sample is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    U8,
    I16,
    I24,
    I32,
    F32,
    F64,
}

impl Coding {
    /// Bytes of a sample.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::I16 => 2,
            Self::I24 => 3,
            Self::I32 | Self::F32 => 4,
            Self::F64 => 8,
        }
    }

    /// Appends samples of ±1.0 as bytes.
    pub(crate) fn write(self, pcm: &[f32], out: &mut Vec<u8>) {
        let scaled = |sample: f32, bits: u32| {
            let limit = f64::from(1_u32 << (bits - 1));
            (f64::from(sample) * limit).round().clamp(-limit, limit - 1.0) as i32
        };
        for sample in pcm {
            match self {
                Self::U8 => out.push((scaled(*sample, 8) + 128) as u8),
                Self::I16 => out.extend((scaled(*sample, 16) as i16).to_le_bytes()),
                Self::I24 => out.extend(&scaled(*sample, 24).to_le_bytes()[..3]),
                Self::I32 => out.extend(scaled(*sample, 32).to_le_bytes()),
                Self::F32 => out.extend(sample.to_le_bytes()),
                Self::F64 => out.extend(f64::from(*sample).to_le_bytes()),
            }
        }
    }

    /// Samples of ±1.0 from bytes.
    pub(crate) fn read(self, bytes: &[u8]) -> Vec<f32> {
        let size = self.bytes();
        let one = |b: &[u8]| match self {
            Self::U8 => (f32::from(b[0]) - 128.0) / 128.0,
            Self::I16 => f32::from(i16::from_le_bytes([b[0], b[1]])) / 32_768.0,
            Self::I24 => (i32::from_le_bytes([0, b[0], b[1], b[2]]) >> 8) as f32 / 8_388_608.0,
            Self::I32 => (f64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]])) / 2_147_483_648.0) as f32,
            Self::F32 => f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
            Self::F64 => f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32,
        };
        bytes.chunks_exact(size).map(one).collect()
    }
}

/// A chunk other than the sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) id: [u8; 4],
    pub(crate) data: Vec<u8>,
}

/// A WAV file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wav {
    pub(crate) sample_rate: u32,
    pub(crate) channels: u16,
    pub(crate) coding: Coding,
    /// Whether it begins with `RF64` or `BW64`, and with which.
    wide: Option<[u8; 4]>,
    /// In order, without `ds64`.
    before: Vec<Chunk>,
    /// Offset of the first sample.
    pub(crate) start: u64,
    /// Samples of each channel.
    pub(crate) samples: u64,
    /// Where the chunks after the sound begin.
    after: u64,
}

fn damaged(what: &str) -> SpliceError {
    SpliceError::Unsupported(format!("the WAV file is damaged: {what}"))
}

impl Wav {
    /// Whether it is RF64 or BW64.
    pub(crate) fn is_wide(&self) -> bool {
        self.wide.is_some()
    }

    /// Reads the chunks before the sound; `None` when it is no WAV file.
    pub(crate) fn parse(content: &dyn Content, deadline: Duration) -> Result<Option<Self>, SpliceError> {
        let mut window = Window::new(content, deadline);
        let Some(riff) = window.get(0, 12)?.first_chunk::<12>().copied() else {
            return Ok(None);
        };
        let wide = match &riff[..4] {
            b"RIFF" => None,
            id @ (b"RF64" | b"BW64") => id.first_chunk().copied(),
            _ => return Ok(None),
        };
        if &riff[8..] != b"WAVE" {
            return Ok(None);
        }
        let (mut at, mut before, mut long) = (12, Vec::new(), None);
        let mut format = None;
        loop {
            let head: [u8; 8] = window
                .get(at, 8)?
                .try_into()
                .map_err(|_| damaged("it has no samples"))?;
            let id = [head[0], head[1], head[2], head[3]];
            let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
            at += 8;
            if &id == b"data" {
                let (sample_rate, channels, coding) =
                    format.ok_or_else(|| damaged("it does not say its format"))?;
                let left = content.len() - at;
                let size = match (size, long) {
                    (u32::MAX, Some(long)) => long,
                    // What was written to a pipe does not know its length.
                    (u32::MAX, None) => left,
                    (size, _) => u64::from(size),
                };
                if size > left {
                    return Err(SpliceError::truncated(content, at, Some(at.saturating_add(size))));
                }
                let block = u64::from(channels) * coding_bytes(coding);
                let samples = size / block;
                if samples == 0 {
                    return Err(SpliceError::NotAudio("the content holds no audio samples".into()));
                }
                return Ok(Some(Self {
                    sample_rate,
                    channels,
                    coding,
                    wide,
                    before,
                    start: at,
                    samples,
                    after: (at + size + size % 2).min(content.len()),
                }));
            }
            if u64::from(size) > MOST_BYTES || before.len() > MOST_CHUNKS {
                return Err(damaged("its chunks before the samples are too long"));
            }
            let data = window.get(at, size as usize)?.to_vec();
            if data.len() < size as usize {
                return Err(SpliceError::truncated(content, at, Some(at + u64::from(size))));
            }
            at += u64::from(size) + u64::from(size % 2);
            if at > MOST_BYTES {
                return Err(damaged("its chunks before the samples are too long"));
            }
            match &id {
                b"ds64" => {
                    long = data
                        .get(8..16)
                        .and_then(|b| b.try_into().ok())
                        .map(u64::from_le_bytes);
                    continue;
                }
                b"fmt " => format = Some(parse_format(&data)?),
                _ => {}
            }
            before.push(Chunk { id, data });
        }
    }

    /// Bytes of a sample of all channels.
    pub(crate) fn block(&self) -> u64 {
        u64::from(self.channels) * coding_bytes(self.coding)
    }

    /// Offset of a sample.
    pub(crate) fn offset(&self, sample: u64) -> u64 {
        self.start + sample.min(self.samples) * self.block()
    }

    /// The chunks before and after the sound that `edit` changes where it knows them; of those after, what is longer than memory should hold stays as it is, and its range is given.
    pub(crate) fn after(&self, content: &dyn Content, deadline: Duration) -> Result<Vec<Chunk>, SpliceError> {
        let len = content.len() - self.after;
        if len > MOST_BYTES {
            return Err(damaged("its chunks after the samples are too long"));
        }
        let mut window = Window::new(content, deadline);
        if len > 0 && tail::tags_at(&mut window)? < self.offset(self.samples) {
            // A tag took the place of its end.
            return Err(SpliceError::truncated(content, self.start, None));
        }
        let bytes = window.get(self.after, len as usize)?;
        let (mut rest, mut chunks) = (bytes, Vec::new());
        while let Some((head, tail)) = rest.split_first_chunk::<8>() {
            let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
            // What is cut short, or is no chunk at all, is left out.
            let is_named = head[..4].iter().all(|byte| (b' '..=b'~').contains(byte));
            let Some(data) = tail.get(..size).filter(|_| is_named) else {
                break;
            };
            chunks.push(Chunk {
                id: [head[0], head[1], head[2], head[3]],
                data: data.to_vec(),
            });
            rest = tail.get(size + size % 2..).unwrap_or_default();
        }
        Ok(chunks)
    }

    /// The bytes up to the sound, and those after it, of a file with `samples` samples. `moved` gives a sample's new place; the chunks that hold one are changed by it.
    pub(crate) fn write(
        &self,
        samples: u64,
        mut after: Vec<Chunk>,
        edit: &mut dyn FnMut(&mut Chunk),
    ) -> (Vec<u8>, Vec<u8>) {
        let mut before = self.before.clone();
        for chunk in before.iter_mut().chain(&mut after) {
            if &chunk.id == b"fact"
                && let Some(count) = chunk.data.first_chunk_mut::<4>()
            {
                *count = u32::try_from(samples).unwrap_or(u32::MAX).to_le_bytes();
            }
            edit(chunk);
        }
        let data = samples * self.block();
        let chunks = |chunks: &[Chunk]| {
            let mut out = Vec::new();
            for chunk in chunks {
                out.extend(chunk.id);
                out.extend((chunk.data.len() as u32).to_le_bytes());
                out.extend(&chunk.data);
                out.resize(out.len() + chunk.data.len() % 2, 0);
            }
            out
        };
        let before = chunks(&before);
        let mut tail = vec![0; (data % 2) as usize];
        tail.extend(chunks(&after));
        let riff = 4 + before.len() as u64 + 8 + data + tail.len() as u64;
        let wide = self
            .wide
            .or((riff > u64::from(u32::MAX) - 64).then_some(*b"RF64"));
        let mut head = Vec::new();
        if let Some(id) = wide {
            head.extend(id);
            head.extend(u32::MAX.to_le_bytes());
            head.extend(b"WAVEds64");
            head.extend(28_u32.to_le_bytes());
            head.extend((riff + 36).to_le_bytes());
            head.extend(data.to_le_bytes());
            head.extend(samples.to_le_bytes());
            head.extend(0_u32.to_le_bytes());
        } else {
            head.extend(b"RIFF");
            head.extend((riff as u32).to_le_bytes());
            head.extend(b"WAVE");
        }
        head.extend(before);
        head.extend(b"data");
        let size = if wide.is_some() { u32::MAX } else { data as u32 };
        head.extend(size.to_le_bytes());
        (head, tail)
    }

    /// The chunks before the sound.
    pub(crate) fn before(&self) -> &[Chunk] {
        &self.before
    }
}

fn coding_bytes(coding: Coding) -> u64 {
    coding.bytes() as u64
}

fn parse_format(data: &[u8]) -> Result<(u32, u16, Coding), SpliceError> {
    let half = |at: usize| {
        data.get(at..at + 2)
            .map(|b| u16::from_le_bytes([b[0], b[1]]))
            .ok_or_else(|| damaged("its format is cut short"))
    };
    let mut tag = half(0)?;
    let (channels, align, bits) = (half(2)?, half(12)?, half(14)?);
    let sample_rate = u32::from(half(4)?) | u32::from(half(6)?) << 16;
    if tag == 0xFFFE {
        tag = half(24)?;
    }
    let coding = match (tag, bits) {
        (1, 1..=8) => Coding::U8,
        (1, 9..=16) => Coding::I16,
        (1, 17..=24) => Coding::I24,
        (1, 25..=32) => Coding::I32,
        (3, 32) => Coding::F32,
        (3, 64) => Coding::F64,
        _ => {
            return Err(SpliceError::Unsupported(format!(
                "the WAV file's coding ({tag:#x}, {bits} bits) is none that ads can be put into"
            )));
        }
    };
    if channels == 0 || sample_rate == 0 || usize::from(align) != usize::from(channels) * coding.bytes() {
        return Err(damaged("its format makes no sense"));
    }
    Ok((sample_rate, channels, coding))
}

/// Moves the places that a `cue ` chunk marks.
pub(crate) fn move_cues(chunk: &mut Chunk, moved: impl Fn(u64) -> u64) {
    let Some((_, points)) = chunk.data.split_first_chunk_mut::<4>() else {
        return;
    };
    for point in points.chunks_exact_mut(24) {
        // `dwPosition` and `dwSampleOffset`.
        for at in [4, 20] {
            let field = &mut point[at..at + 4];
            let sample = u64::from(u32::from_le_bytes([field[0], field[1], field[2], field[3]]));
            field.copy_from_slice(&u32::try_from(moved(sample)).unwrap_or(u32::MAX).to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(tag: u16, bits: u16, channels: u16, data: &[u8]) -> Vec<u8> {
        let mut out = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec();
        out.extend(tag.to_le_bytes());
        out.extend(channels.to_le_bytes());
        out.extend(44_100_u32.to_le_bytes());
        out.extend(0_u32.to_le_bytes());
        out.extend((channels * bits / 8).to_le_bytes());
        out.extend(bits.to_le_bytes());
        out.extend(b"LIST\x03\0\0\0abc\0data");
        out.extend((data.len() as u32).to_le_bytes());
        out.extend(data);
        out.resize(out.len() + data.len() % 2, 0);
        out.extend(b"note\x02\0\0\0hi");
        out
    }

    #[test]
    fn a_file_is_read_and_written() {
        let bytes = file(1, 24, 1, &[1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let deadline = Duration::ZERO;
        let wav = Wav::parse(&bytes, deadline).unwrap().unwrap();
        assert_eq!(
            (wav.coding, wav.samples, wav.sample_rate),
            (Coding::I24, 3, 44_100)
        );
        let after = wav.after(&bytes, deadline).unwrap();
        let (head, tail) = wav.write(3, after, &mut |_| {});
        let mut again = [&head[..], &[1, 2, 3, 4, 5, 6, 7, 8, 9], &tail].concat();
        // Its own length was not right.
        again[4..8].fill(0);
        assert_eq!(again, bytes);
    }

    #[test]
    fn what_is_too_long_for_riff_becomes_rf64() {
        let bytes = file(1, 16, 2, &[0; 8]);
        let wav = Wav::parse(&bytes, Duration::ZERO).unwrap().unwrap();
        let (head, _) = wav.write(2_000_000_000, Vec::new(), &mut |_| {});
        assert!(head.starts_with(b"RF64\xFF\xFF\xFF\xFFWAVEds64"));
        assert_eq!(head[28..36], 8_000_000_000_u64.to_le_bytes());
    }

    #[test]
    fn samples_survive() {
        for coding in [
            Coding::U8,
            Coding::I16,
            Coding::I24,
            Coding::I32,
            Coding::F32,
            Coding::F64,
        ] {
            let bytes: Vec<u8> = if matches!(coding, Coding::F32 | Coding::F64) {
                let mut out = Vec::new();
                coding.write(&[0.25, -1.0, 1.5], &mut out);
                out
            } else {
                (0..24).map(|i| i * 10).collect()
            };
            let mut again = Vec::new();
            coding.write(&coding.read(&bytes), &mut again);
            // An f32 holds 24 bits.
            if coding != Coding::I32 {
                assert_eq!(again, bytes, "{coding:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics(changes in proptest::collection::vec((0usize..80, any::<u8>()), 0..9), keep in 0usize..80) {
            let mut bytes = file(1, 16, 2, &[7; 20]);
            for (at, byte) in changes {
                let len = bytes.len();
                bytes[at % len] = byte;
            }
            bytes.truncate(keep);
            if let Ok(Some(wav)) = Wav::parse(&bytes, Duration::ZERO) {
                let after = wav.after(&bytes, Duration::ZERO).unwrap();
                let _ = wav.write(wav.samples, after, &mut |chunk| move_cues(chunk, |sample| sample + 5));
            }
        }
    }
}
