//! Content that cannot be cut where it is wanted, and is coded again as a whole before ads are put in: what it is, what it becomes, and what its new file keeps of the old one.
//!
//! Coding is done in a child that is shut in ([`crate::conditioning`]), piece by piece. Tags, cover art and chapters stay in M4A. Of video only what cannot be cut is coded again: the other track keeps each
//! packet and its time. Not for: content that listeners get from each other, which has to stay what was published.

mod laid;
mod movie;
mod pictures;
mod webm;

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::laid::Laid;
pub(crate) use self::movie::{Heard, Pause};
use crate::content::{Content, FileContent};
use crate::frames::aac::SAMPLES;
use crate::frames::mp4;
use crate::picture::PictureFormat;
use crate::splice::format::Runs;
use crate::splice::{self, Options, SpliceError};

/// Content that has to be coded again as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// AAC with SBR, with which the samples of a packet depend on more than those beside it.
    HeAac,
    /// The same beside pictures, which stay.
    HeAacBeside,
    /// Vorbis in WebM, whose codebooks cannot change within the file.
    WebmVorbis,
    /// The same beside pictures, which stay.
    WebmVorbisBeside,
    /// Pictures without key frames near a cue.
    Pictures,
}

impl Again {
    /// What is done, in words.
    pub fn what(self) -> &'static str {
        match self {
            Self::HeAac => "the whole content is encoded as AAC-LC",
            Self::HeAacBeside => "all of its sound is encoded as AAC-LC, and its pictures stay",
            Self::WebmVorbis => "the whole content is encoded as Opus",
            Self::WebmVorbisBeside => "all of its sound is encoded as Opus, and its pictures stay",
            Self::Pictures => "all of its pictures are encoded again, and its sound stays",
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
            Self::WebmVorbis | Self::WebmVorbisBeside => Target::WebmOpus,
            Self::HeAacBeside => Target::M4a,
            Self::Pictures => Target::Pictures(format_of(content)?),
            Self::HeAac if &head[4..] == b"ftyp" => Target::M4a,
            Self::HeAac => Target::Adts,
        })
    }
}

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HeAac | Self::HeAacBeside => "HE-AAC (AAC with SBR) cannot be cut without coding it again",
            Self::WebmVorbis | Self::WebmVorbisBeside => {
                "Vorbis in WebM cannot be cut without coding it again"
            }
            Self::Pictures => "the key frames (IDR) around a cue are too far apart for a cut between them",
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
    /// Pictures alone, each after its length: see [`crate::picture`].
    Pictures(PictureFormat),
}

/// What the content's pictures are like.
fn format_of(content: &dyn Content) -> Result<PictureFormat, SpliceError> {
    let format = splice::probe(content, &Options::default())?.picture;
    format.ok_or_else(|| SpliceError::Unsupported("the content has no pictures".into()))
}

fn is_movie(content: &dyn Content) -> Result<bool, SpliceError> {
    Ok(mp4::top_level(content, DEADLINE)?.is_some())
}

/// Samples that an encoder of AAC puts before the first.
const PRIMING: u32 = SAMPLES;
/// A file of one track may be so much longer than that of all tracks, in bytes: its own tables are in another form.
const MOST_MORE: u64 = 64 << 10;
/// How long the file that was written may be waited for.
const DEADLINE: Duration = Duration::from_secs(60);

/// Writes what is to be coded of content, where that is not all of it, into an empty file; says whether it did.
///
/// # Errors
/// When the content cannot be read or makes no sense, or the file not be written.
pub fn part(again: Again, content: &dyn Content, out: &File) -> Result<bool, SpliceError> {
    let runs = match again {
        // What decodes leaves the pictures of WebM out itself.
        Again::HeAac | Again::WebmVorbis | Again::WebmVorbisBeside => return Ok(false),
        Again::Pictures if !is_movie(content)? => return Ok(false),
        Again::HeAacBeside => movie::sound_alone(content)?,
        Again::Pictures => movie::pictures_alone(content)?,
    };
    write(runs, content, out)?;
    Ok(true)
}

/// Writes the sound of MP4 alone into an empty file, for who decodes all of it: demuxers heed edit lists in their own ways, and may leave out the last packet. Gives what of it is heard; `None`
/// when it is no AAC, and nothing was written.
pub(crate) fn aac_alone(content: &dyn Content, out: &File) -> Result<Option<Heard>, SpliceError> {
    if !is_movie(content)? {
        return Ok(None);
    }
    let Some((runs, heard)) = movie::aac_alone(content)? else {
        return Ok(None);
    };
    // Tables may name the same bytes again and again.
    if runs.len() > content.len() + MOST_MORE {
        return Ok(None);
    }
    write(runs, content, out)?;
    Ok(Some(heard))
}

fn write(runs: Runs, content: &dyn Content, out: &File) -> Result<(), SpliceError> {
    let mut out = BufWriter::new(out);
    let mut buffer = vec![0; 1 << 16];
    for run in runs.into_runs() {
        let mut at = 0;
        while at < run.len {
            let read = run.read_at(content, at, &mut buffer, DEADLINE);
            let count = read.map_err(|source| SpliceError::Read { offset: at, source })?;
            let count = count.unwrap_or(0);
            out.write_all(&buffer[..count]).map_err(SpliceError::Write)?;
            at += count as u64;
        }
    }
    out.flush().map_err(SpliceError::Write)
}

/// The content with what was coded in the place of what it was. Its own bytes are read where they are.
///
/// # Errors
/// When one of them cannot be read, or what was coded is not all that there was, or not be written.
pub fn finish(
    mut coded: File,
    again: Again,
    target: Target,
    content: Arc<dyn Content>,
) -> Result<Arc<dyn Content>, SpliceError> {
    let unreadable = |source: io::Error| SpliceError::Read { offset: 0, source };
    let runs: fn(&dyn Content, &dyn Content) -> Result<Runs, SpliceError> = match again {
        Again::HeAac | Again::WebmVorbis => {
            complete(&mut coded, target, content.as_ref())?;
            return Ok(Arc::new(FileContent::new(coded).map_err(unreadable)?));
        }
        Again::HeAacBeside => movie::with_sound,
        Again::WebmVorbisBeside => webm::with_sound,
        Again::Pictures => {
            let format = format_of(content.as_ref())?;
            let (pictures, taken) = pictures::take(&coded, format)?;
            let runs = if is_movie(content.as_ref())? {
                movie::with_pictures(content.as_ref(), taken)?
            } else {
                webm::with_pictures(content.as_ref(), &taken)?
            };
            return Ok(Arc::new(Laid::new(content, pictures, runs)));
        }
    };
    let coded = FileContent::new(coded).map_err(unreadable)?;
    let runs = runs(content.as_ref(), &coded)?;
    Ok(Arc::new(Laid::new(content, coded, runs)))
}

/// Makes the file that was coded whole: how its sound begins, and what the content's file has beside its sound.
fn complete(coded: &mut File, target: Target, content: &dyn Content) -> Result<(), SpliceError> {
    let written = coded.try_clone().and_then(FileContent::new);
    let written = written.map_err(|source| SpliceError::Read { offset: 0, source })?;
    let patches = match target {
        Target::Adts | Target::WebmOpus | Target::Pictures(_) => None,
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
