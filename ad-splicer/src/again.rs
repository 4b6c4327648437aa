//! Content that cannot be cut where it is wanted, and is coded again as a whole before ads are put in: what it is, what it becomes, and what its new file keeps of the old one.
//!
//! Coding is done in a child that is shut in ([`crate::conditioning`]), piece by piece. Tags, cover art and chapters stay in M4A. Not for: content that listeners get from each other, which has to stay what
//! was published.

use std::fmt;
use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::content::{Content, FileContent};
use crate::frames::aac::SAMPLES;
use crate::frames::mp4;
use crate::splice::SpliceError;

/// Content that has to be coded again as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// AAC with SBR, with which the samples of a packet depend on more than those beside it.
    HeAac,
    /// Vorbis in WebM, whose codebooks cannot change within the file.
    WebmVorbis,
}

impl Again {
    /// What it becomes.
    pub fn becomes(self) -> &'static str {
        match self {
            Self::HeAac => "AAC-LC",
            Self::WebmVorbis => "Opus",
        }
    }

    /// The kind of file that it is written as: that which it is in.
    ///
    /// # Errors
    /// When the content cannot be read.
    pub fn target(self, content: &dyn Content) -> Result<Target, SpliceError> {
        let mut head = [0; 8];
        let len = content.len().min(8) as usize;
        content
            .read_exact_at(0, &mut head[..len], Duration::from_secs(60))
            .map_err(|source| SpliceError::Read { offset: 0, source })?;
        Ok(match self {
            Self::WebmVorbis => Target::WebmOpus,
            Self::HeAac if &head[4..] == b"ftyp" => Target::M4a,
            Self::HeAac => Target::Adts,
        })
    }
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeAac => "HE-AAC (AAC with SBR) cannot be cut without coding it again",
            Self::WebmVorbis => "Vorbis in WebM cannot be cut without coding it again",
        })
    }
}

/// The kinds of files that content is coded into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// AAC-LC in ADTS.
    Adts,
    /// AAC-LC in MP4.
    M4a,
    /// Opus in WebM.
    WebmOpus,
}

/// Samples that an encoder of AAC puts before the first.
const PRIMING: u32 = SAMPLES;
/// How long the file that was written may be waited for.
const DEADLINE: Duration = Duration::from_secs(60);

/// Makes the file that was coded whole: how its sound begins, and what the content's file has beside its sound.
///
/// # Errors
/// When one of them cannot be read, or the new one not be written.
pub fn finish(coded: &mut File, target: Target, content: &dyn Content) -> Result<(), SpliceError> {
    let written = coded.try_clone().and_then(FileContent::new);
    let written = written.map_err(|source| SpliceError::Read { offset: 0, source })?;
    let patches = match target {
        Target::Adts | Target::WebmOpus => None,
        Target::M4a => movie(&written, content)?,
    };
    let mut end = written.len();
    for (at, bytes) in patches.into_iter().flatten() {
        coded
            .seek(SeekFrom::Start(at))
            .and_then(|_| coded.write_all(&bytes))
            .map_err(SpliceError::Write)?;
        end = at + bytes.len() as u64;
    }
    coded.set_len(end).map_err(SpliceError::Write)
}

/// Bytes that are written anew, each from an offset on; the last of them end the file.
type Patches = Vec<(u64, Vec<u8>)>;

/// The movie box at the end with an edit list that leaves the priming out, and the content's tags.
fn movie(written: &dyn Content, content: &dyn Content) -> Result<Option<Patches>, SpliceError> {
    let tree = |content: &dyn Content| {
        let boxes = mp4::top_level(content, DEADLINE)?.unwrap_or_default();
        let found = boxes.into_iter().find(|one| &one.kind == b"moov");
        let tree = found.as_ref().map(|one| mp4::read_tree(content, one, DEADLINE));
        Ok::<_, SpliceError>(found.zip(tree.transpose()?))
    };
    let (Some((place, mut movie)), Some((_, old))) = (tree(written)?, tree(content)?) else {
        return Ok(None);
    };
    // What stands behind it is about the muxer; sound would have moved.
    let behind = mp4::top_level(written, DEADLINE)?.unwrap_or_default();
    if behind
        .iter()
        .any(|one| &one.kind == b"mdat" && one.start > place.start)
    {
        return Ok(None);
    }
    mp4::leave_out_priming(&mut movie, PRIMING);
    mp4::take_tags(&mut movie, &old, PRIMING);
    let mut bytes = Vec::new();
    movie.write(&mut bytes);
    Ok(Some(vec![(place.start, bytes)]))
}
