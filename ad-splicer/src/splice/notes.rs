//! What has to be said before content is spliced, since nobody expects it.

use std::time::Duration;

use super::format::{recognise, with_track};
use super::layout::sample_of;
use super::{At, Codec, Options, SpliceError};
use crate::again::Again;
use crate::content::Content;
use crate::time::ContentTime;

/// What content has to be coded again as a whole before anything is put in; what else is wrong with it is said when it is spliced.
pub fn again(content: &dyn Content, options: &Options) -> Option<Again> {
    let found = recognise(content, options).and_then(|head| match head.stream().codec {
        // Whether there is SBR shows when it is decoded.
        Codec::Adts | Codec::M4a | Codec::Mp4 => head.open().map(drop),
        _ => Ok(()),
    });
    match found {
        Err(SpliceError::Again(again)) => Some(again),
        _ => None,
    }
}

/// The most bytes of pictures between two key frames that are coded again for a cue by themselves.
pub const MOST_RECODED: u64 = super::pictures::MOST_RECODED;

/// Whether all pictures have to be coded again, since more than `most` bytes of them lie between the key frames around one of the cues; what else is wrong with the content is said when it is spliced.
pub fn pictures_again(content: &dyn Content, cues: &[At], most: u64, options: &Options) -> Option<Again> {
    let head = recognise(content, options).ok()?;
    head.picture()?;
    let lacks = with_track(head.as_ref(), |track| {
        let stream = track.stream();
        let sample = |cue: &At| sample_of(*cue, stream.sample_rate, stream.samples);
        Ok(cues.iter().any(|cue| track.lacks_keys(sample(cue), most)))
    });
    lacks.unwrap_or(false).then_some(Again::Pictures)
}

/// For each cue how long the pictures are that are coded again around it, when that is more than ten seconds: where the key frames (IDR) of video are that far apart.
///
/// # Errors
/// Those of [`super::prepare`] that are no break's fault.
pub fn recoded(
    content: &dyn Content,
    cues: &[At],
    options: &Options,
) -> Result<Vec<Option<Duration>>, SpliceError> {
    let head = recognise(content, options)?;
    if head.picture().is_none() {
        return Ok(vec![None; cues.len()]);
    }
    with_track(head.as_ref(), |track| {
        let stream = track.stream();
        let one = |cue: &At| track.recodes_long(sample_of(*cue, stream.sample_rate, stream.samples));
        Ok(cues.iter().map(one).collect())
    })
}

/// For each cue, with how much of the content it replaces, why no ads can be put there, if they cannot: into some video.
///
/// # Errors
/// Those of [`super::prepare`] that are no break's fault.
pub fn uncut(
    content: &dyn Content,
    cues: &[(At, Duration)],
    options: &Options,
) -> Result<Vec<Option<String>>, SpliceError> {
    let head = recognise(content, options)?;
    if head.picture().is_none() {
        return Ok(vec![None; cues.len()]);
    }
    with_track(head.as_ref(), |track| {
        let stream = track.stream();
        let one = |(cue, replaced): &(At, Duration)| {
            let start = sample_of(*cue, stream.sample_rate, stream.samples).min(stream.samples);
            let replaced = ContentTime::from(*replaced).to_samples(stream.sample_rate);
            let end = start.saturating_add(replaced).min(stream.samples);
            track.cut(&(start..end)).err()
        };
        Ok(cues.iter().map(one).collect())
    })
}
