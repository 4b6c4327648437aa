//! How long a file is that does not say so: recorders that write as they go cannot know. Its last cluster tells.

use std::time::Duration;

use crate::content::Content;
use crate::frames::opus::{RATE, samples};
use crate::frames::webm::{Index, Webm, ebml};
use crate::splice::{self, SpliceError};
use crate::time::ContentTime;

/// How much of the end is read: more when there is no cluster in it.
const READ: [u64; 2] = [1 << 20, 16 << 20];

/// How many places are tried that look like the beginning of one.
const TRIED: usize = 64;

/// The nanosecond at which the sound of this track ends; 0 when the end says nothing.
pub(super) fn of_the_end(
    webm: &Webm,
    sound: usize,
    content: &dyn Content,
    deadline: Duration,
) -> Result<u64, SpliceError> {
    let end = webm.segment.end;
    for most in READ {
        let from = end.saturating_sub(most).max(webm.first);
        let bytes = splice::read(content, from, (end - from) as usize, deadline)?;
        let id = ebml::CLUSTER.to_be_bytes();
        let begin = bytes
            .windows(id.len())
            .enumerate()
            .filter(|(_, window)| *window == id);
        // What looks like the beginning of a cluster may be within a picture.
        for (at, _) in begin.collect::<Vec<_>>().into_iter().rev().take(TRIED) {
            let mut tail = webm.clone();
            tail.first = from + at as u64;
            let mut ends = 0;
            let scanned = Index::scan(&mut tail, content, deadline, &mut |block, packet| {
                if block.track() == sound {
                    let begins = block.time.max(0) as u64 * webm.scale;
                    let lasts = ContentTime::from_samples(samples(packet).unwrap_or(0).into(), RATE);
                    ends = begins + lasts.as_nanos();
                }
                Ok(())
            });
            match scanned {
                Ok(_) if ends > 0 => return Ok(ends),
                Err(error @ SpliceError::Read { .. }) => return Err(error),
                _ => {}
            }
        }
        if from == webm.first {
            break;
        }
    }
    Ok(0)
}
