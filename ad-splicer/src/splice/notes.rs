//! What has to be said before content is spliced, since nobody expects it.

use std::time::Duration;

use super::format::{recognise, with_track};
use super::layout::sample_of;
use super::{At, Codec, Options, SpliceError};
use crate::again::Again;
use crate::content::Content;

/// What content has to be coded again as a whole before anything is put in; what else is wrong with it is said when it is spliced.
pub fn again(content: &dyn Content, options: &Options) -> Option<Again> {
    let found = recognise(content, options).and_then(|head| match head.stream().codec {
        // Whether there is SBR shows when it is decoded.
        Codec::Adts | Codec::M4a => head.open().map(drop),
        _ => Ok(()),
    });
    match found {
        Err(SpliceError::Again(again)) => Some(again),
        _ => None,
    }
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
