//! How long a creative is by what its file says in its head, however much of it is there: of one that was cut off, longer than what can be decoded.
//!
//! MP4, MP3 with an information frame, FLAC and WAV say it. Ogg says it at its end only; WebM that was cut off is not read.

use std::time::Duration;

use crate::content::Content;
use crate::frames::flac::StreamInfo;
use crate::frames::mp3::find_head;
use crate::frames::mp4;
use crate::splice::SpliceError;

/// As far as the head of FLAC and WAV is looked into.
const LOOKED_INTO: usize = 4096;

/// How long the sound is, or with `seen` the longest of sound and pictures; `None` where nothing says so.
pub(super) fn stated_length(
    content: &dyn Content,
    seen: bool,
    deadline: Duration,
) -> Result<Option<Duration>, SpliceError> {
    let len = content.len().min(LOOKED_INTO as u64) as usize;
    let head = crate::splice::read(content, 0, len, deadline)?;
    let movie = mp4::stated_length(content, seen, deadline)?;
    if movie.is_some() || head.get(4..8) == Some(b"ftyp") {
        return Ok(movie);
    }
    let (units, rate) = if let Some(info) = head.strip_prefix(b"fLaC") {
        let info = info.get(4..38).and_then(StreamInfo::parse);
        info.map_or((0, 0), |info| (info.samples, info.sample_rate.into()))
    } else if head.starts_with(b"RIFF") {
        of_wav(&head).unwrap_or_default()
    } else if let Some(head) = find_head(content, deadline)? {
        let frames = head.info.and_then(|info| info.xing.frames).unwrap_or(0);
        let samples = u64::from(frames) * u64::from(head.header.samples());
        (samples, head.header.sample_rate().into())
    } else {
        return Ok(None);
    };
    if units == 0 || rate == 0 {
        return Ok(None);
    }
    let nanos = u128::from(units) * 1_000_000_000 / u128::from(rate);
    Ok(u64::try_from(nanos).ok().map(Duration::from_nanos))
}

/// Bytes of the samples, and how many are played in a second. What was written to a pipe says nothing of the first.
fn of_wav(head: &[u8]) -> Option<(u64, u64)> {
    let word = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let (mut at, mut rate) = (12, None);
    loop {
        let size = word(at + 4)?;
        match head.get(at..at + 4)? {
            b"fmt " => rate = word(at + 16),
            b"data" if size == u32::MAX => return None,
            b"data" => return Some((size.into(), rate?.into())),
            _ => {}
        }
        at = at
            .checked_add(8)?
            .checked_add(size.checked_next_multiple_of(2)? as usize)?;
    }
}
