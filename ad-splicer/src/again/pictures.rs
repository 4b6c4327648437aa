//! Pictures that were coded again as a whole, as the child writes them: each after its length, of H.264 the parameter sets before them.
//!
//! The child is believed in nothing: only whole pictures are taken out of what it wrote, into a file of their own.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use crate::content::FileContent;
use crate::frames::h264::Sets;
use crate::frames::mp4::Samples;
use crate::picture::{self, PictureCoding, PictureFormat};
use crate::splice::SpliceError;

/// More bytes than a picture has.
const MOST_OF_ONE: u32 = 64 << 20;

/// What was taken: pictures that are shown in the order in which they stand.
pub(super) struct Taken {
    /// The decoder configuration of H.264.
    pub(super) config: Option<Vec<u8>>,
    /// Where they are, and which can be begun with. When they are shown is not said.
    pub(super) samples: Samples,
}

/// What does not come out as it has to.
pub(super) fn failed(reason: &str) -> SpliceError {
    SpliceError::Unsupported(format!(
        "the pictures of the content cannot be coded again: {reason}"
    ))
}

/// Takes all pictures out of what was written.
///
/// # Errors
/// When it is anything else, or a file cannot be read or written.
pub(super) fn take(written: &File, format: PictureFormat) -> Result<(FileContent, Taken), SpliceError> {
    let other = || failed("what came out is something else");
    let unreadable = |source: io::Error| SpliceError::Read { offset: 0, source };
    let mut written = BufReader::new(written);
    written.seek(SeekFrom::Start(0)).map_err(unreadable)?;
    let mut next = || -> io::Result<Option<Vec<u8>>> {
        let mut len = [0; 4];
        match written.read_exact(&mut len) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        let len = u32::from_be_bytes(len);
        if len > MOST_OF_ONE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut unit = vec![0; len as usize];
        written.read_exact(&mut unit)?;
        Ok(Some(unit))
    };
    let config = match format.coding {
        PictureCoding::H264 { set, .. } => {
            let config = next().map_err(unreadable)?.ok_or_else(other)?;
            picture::parse_sets(&config, &format, set).ok_or_else(other)?;
            Some(Sets::parse(&config).map_err(|_| other())?.write())
        }
        PictureCoding::Vp9 => None,
    };
    let file = tempfile::tempfile().map_err(SpliceError::Write)?;
    let mut out = BufWriter::new(&file);
    let (mut samples, mut sync, mut at) = (Samples::default(), Vec::new(), 0);
    let mut kept = Vec::new();
    while let Some(unit) = next().map_err(unreadable)? {
        kept.clear();
        let begins = picture::take_one(&unit, &format, &mut kept).ok_or_else(other)?;
        if begins {
            sync.push(samples.sizes.len() as u32);
        }
        out.write_all(&kept).map_err(SpliceError::Write)?;
        samples.offsets.push(at);
        samples.sizes.push(kept.len() as u32);
        at += kept.len() as u64;
    }
    if sync.first() != Some(&0) {
        return Err(other());
    }
    out.flush().map_err(SpliceError::Write)?;
    drop(out);
    samples.sync = (sync.len() < samples.sizes.len()).then_some(sync);
    let file = FileContent::new(file).map_err(unreadable)?;
    Ok((file, Taken { config, samples }))
}
