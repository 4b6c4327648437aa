//! What has to be said before content is spliced, since nobody expects it.

use std::time::Duration;

use super::format::{recognise, with_track};
use super::layout::sample_of;
use super::{At, Options, SpliceError};
use crate::content::Content;

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
