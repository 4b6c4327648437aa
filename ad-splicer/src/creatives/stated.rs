//! How long a creative is by what its file says in its head, however much of it is there: of one that was cut off, longer than what can be decoded.
//!
//! MP4, MP3 with an information frame, FLAC, WAV and WebM say it. Ogg says it at its end only: where that is within a page, something is missing.

use std::time::Duration;

use crate::content::Content;
use crate::frames::flac::StreamInfo;
use crate::frames::mp3::find_head;
use crate::frames::mp4;
use crate::frames::ogg::{MARK, MOST_PAGE, find_page};
use crate::frames::webm::ebml::{self, Node};
use crate::splice::SpliceError;

/// As far as the head of FLAC and WAV is looked into.
const LOOKED_INTO: usize = 4096;
/// As far as the beginning of WebM is looked into.
const LOOKED_INTO_WEBM: u64 = 1 << 16;

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
    if head.starts_with(&ebml::EBML.to_be_bytes()) {
        let len = content.len().min(LOOKED_INTO_WEBM) as usize;
        return Ok(of_webm(&crate::splice::read(content, 0, len, deadline)?));
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

/// The whole's own length, which stands before everything that is played.
fn of_webm(bytes: &[u8]) -> Option<Duration> {
    let mut at = 0;
    loop {
        let head = ebml::Head::parse(bytes.get(at..)?)?;
        at += head.len;
        if head.id == ebml::SEGMENT {
            // What is looked for is in it.
            continue;
        }
        let end = at.checked_add(usize::try_from(head.size?).ok()?)?;
        if head.id == ebml::INFO {
            let info = Node::parse(ebml::INFO, bytes.get(at..end)?).ok()?;
            let scale = info.unsigned(ebml::TIMESTAMP_SCALE).unwrap_or(1_000_000);
            let units = match info.bytes(ebml::DURATION)? {
                bytes @ [_, _, _, _] => f32::from_be_bytes(bytes.try_into().ok()?).into(),
                bytes => f64::from_be_bytes(bytes.try_into().ok()?),
            };
            let nanos = units * scale as f64;
            return (nanos >= 1.0 && nanos < u64::MAX as f64).then(|| Duration::from_nanos(nanos as u64));
        }
        at = end;
    }
}

/// Whether it is Ogg that ends within a page: something is missing.
pub(super) fn ends_within_page(content: &dyn Content, deadline: Duration) -> Result<bool, SpliceError> {
    let len = content.len();
    let beginning = crate::splice::read(content, 0, len.min(MARK.len() as u64) as usize, deadline)?;
    if beginning != MARK {
        return Ok(false);
    }
    let from = len.saturating_sub(2 * MOST_PAGE as u64);
    let tail = crate::splice::read(content, from, (len - from) as usize, deadline)?;
    let mut at = 0;
    while let Some(page) = find_page(&tail[at..]) {
        at += page.end;
    }
    let rest = &tail[at..];
    // What is no page may be another's tag.
    Ok(
        at > 0
            && !rest.is_empty()
            && rest[..rest.len().min(MARK.len())] == MARK[..rest.len().min(MARK.len())],
    )
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
