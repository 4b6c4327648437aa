//! Samples of an ad: in memory, or in a file until they are needed, so that a rendition with many ads holds few of them at a time.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::loudness::Leveled;

/// Interleaved samples, ±1.0. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pcm(Samples);

#[derive(Clone, Debug)]
enum Samples {
    Held(Arc<[f32]>),
    /// 32-bit float, little-endian, each to be multiplied with `factor`.
    Filed {
        file: Arc<File>,
        count: usize,
        factor: f32,
    },
    /// A creative whose gain is found first.
    Leveled(Leveled),
}

impl Pcm {
    /// The first `count` samples of a file, each multiplied with `factor`. The file's position does not matter, and stays.
    pub(crate) fn filed(file: Arc<File>, count: usize, factor: f32) -> Self {
        Self(Samples::Filed { file, count, factor })
    }

    /// Writes samples into a file without a name in this folder.
    pub(crate) fn write_in(folder: &Path, samples: &[f32]) -> io::Result<Self> {
        let mut out = BufWriter::new(tempfile::tempfile_in(folder)?);
        for sample in samples {
            out.write_all(&sample.to_le_bytes())?;
        }
        let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Self::filed(Arc::new(file), samples.len(), 1.0))
    }

    /// The same, each multiplied with `factor`.
    pub(crate) fn scaled(&self, factor: f32) -> io::Result<Self> {
        if let Samples::Filed {
            file,
            count,
            factor: before,
        } = &self.0
        {
            return Ok(Self::filed(Arc::clone(file), *count, before * factor));
        }
        let samples = self.samples()?;
        let scaled: Vec<f32> = samples.iter().map(|sample| sample * factor).collect();
        Ok(scaled.into())
    }

    /// How many there are, of all channels.
    pub fn len(&self) -> usize {
        match &self.0 {
            Samples::Held(samples) => samples.len(),
            Samples::Filed { count, .. } => *count,
            Samples::Leveled(leveled) => leveled.len(),
        }
    }

    /// The creative that it is, when its gain is found first.
    pub(crate) fn leveled(&self) -> Option<&Leveled> {
        match &self.0 {
            Samples::Leveled(leveled) => Some(leveled),
            _ => None,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them. Every value is finite.
    ///
    /// # Errors
    /// When they are in a file that cannot be read, or how loud they have to be is not known yet.
    pub fn samples(&self) -> io::Result<Cow<'_, [f32]>> {
        match &self.0 {
            Samples::Held(samples) => Ok(Cow::Borrowed(samples)),
            Samples::Filed { .. } | Samples::Leveled(_) => {
                let mut samples = Vec::with_capacity(self.len());
                self.append_to(&mut samples)?;
                Ok(Cow::Owned(samples))
            }
        }
    }

    /// Adds all of them to others.
    pub(crate) fn append_to(&self, out: &mut Vec<f32>) -> io::Result<()> {
        let (file, count, factor) = match &self.0 {
            Samples::Held(samples) => {
                out.extend_from_slice(samples);
                return Ok(());
            }
            Samples::Filed { file, count, factor } => (file, *count, *factor),
            Samples::Leveled(leveled) => {
                let pcm = leveled.pcm();
                let pcm =
                    pcm.ok_or_else(|| io::Error::other("how loud the ad has to be is not known yet"))?;
                return pcm.append_to(out);
            }
        };
        out.reserve(count);
        let mut bytes = vec![0; 1 << 16];
        let end = count as u64 * 4;
        let mut at = 0;
        while at < end {
            let n = (end - at).min(bytes.len() as u64) as usize;
            file.read_exact_at(&mut bytes[..n], at)?;
            out.extend(bytes[..n].chunks_exact(4).map(|four| read_sample(four) * factor));
            at += n as u64;
        }
        Ok(())
    }
}

impl From<Vec<f32>> for Pcm {
    fn from(samples: Vec<f32>) -> Self {
        Self(Samples::Held(samples.into()))
    }
}

impl From<Leveled> for Pcm {
    fn from(leveled: Leveled) -> Self {
        Self(Samples::Leveled(leveled))
    }
}

impl From<Arc<[f32]>> for Pcm {
    fn from(samples: Arc<[f32]>) -> Self {
        Self(Samples::Held(samples))
    }
}

/// One sample of PCM; what a decoder should never have written (not a number, infinite) becomes silence.
pub(crate) fn read_sample(bytes: &[u8]) -> f32 {
    let value = bytes.try_into().map_or(0.0, f32::from_le_bytes);
    // Eight times full scale leaves room for any honest overshoot and keeps sums of squares finite.
    if value.is_finite() {
        value.clamp(-8.0, 8.0)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_what_was_written_and_the_factor_is_applied_when_it_is_read() {
        let written: Vec<f32> = (0..40_000).map(|i| (i as f32 * 0.01).sin()).collect();
        let folder = tempfile::tempdir().unwrap();
        let filed = Pcm::write_in(folder.path(), &written).unwrap();
        assert_eq!(
            std::fs::read_dir(folder.path()).unwrap().count(),
            0,
            "it has no name"
        );
        assert_eq!((filed.len(), filed.is_empty()), (40_000, false));
        assert_eq!(*filed.samples().unwrap(), written);
        let Pcm(Samples::Filed { file, .. }) = filed else {
            panic!("it is in a file");
        };
        let mut out = vec![9.0];
        Pcm::filed(Arc::clone(&file), 2, 0.5).append_to(&mut out).unwrap();
        assert_eq!(out, [9.0, written[0] * 0.5, written[1] * 0.5]);
        assert!(
            Pcm::filed(file, 40_001, 1.0).samples().is_err(),
            "one more than there are"
        );
    }

    #[test]
    fn what_no_decoder_should_write_is_silence() {
        let read = |value: f32| read_sample(&value.to_le_bytes());
        let values = [f32::NAN, f32::INFINITY, 0.25, 99.0];
        assert_eq!(values.map(read).to_vec(), [0.0, 0.0, 0.25, 8.0]);
        assert_eq!(Pcm::from(vec![1.0]).samples().unwrap().len(), 1);
    }
}
