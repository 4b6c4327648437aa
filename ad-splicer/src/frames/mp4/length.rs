//! A movie that says it is much longer than its sound and pictures: chapters that were taken over from a longer file, say. Demuxers take tracks of less than a fifth of the movie for a preview,
//! and play nothing then.

use std::ops::Range;
use std::time::Duration;

use super::boxes::{Atom, TopBox, read_tree, top_level};
use super::tables::{Durations, full_duration};
use crate::content::Content;
use crate::splice::{SpliceError, read};

/// How much less than the whole a track is that is taken for a preview.
const PREVIEW: u128 = 5;

/// The bytes that say how long the movie is, and what they should be; `None` when they may stay, or it is no MP4.
pub(crate) fn true_length(
    content: &dyn Content,
    deadline: Duration,
) -> Result<Option<(u64, Vec<u8>)>, SpliceError> {
    let Some(boxes) = top_level(content, deadline)? else {
        return Ok(None);
    };
    let Some(moov) = boxes.iter().find(|found| &found.kind == b"moov") else {
        return Ok(None);
    };
    let tree = read_tree(content, moov, deadline)?;
    let Some(movie) = tree.bytes(&[b"mvhd"]).and_then(full_duration) else {
        return Ok(None);
    };
    let heard_or_seen = |track: &Durations| -> u128 {
        u128::from(track.duration) * u128::from(movie.timescale) / u128::from(track.timescale)
    };
    let tracks = tree.children().iter().filter(|child| &child.kind == b"trak");
    let lasts: Vec<u128> = tracks
        .filter(|track| is_heard_or_seen(track))
        .filter_map(|track| track.bytes(&[b"mdia", b"mdhd"]).and_then(full_duration))
        .filter(|track| track.duration > 0)
        .map(|track| heard_or_seen(&track))
        .collect();
    let is_preview = |lasts: &u128| lasts * PREVIEW <= u128::from(movie.duration);
    let Some(longest) = lasts.iter().max().filter(|_| lasts.iter().any(is_preview)) else {
        return Ok(None);
    };
    if *longest >= u128::from(movie.duration) {
        return Ok(None);
    }
    let Some(header) = movie_header(content, moov, deadline)? else {
        return Ok(None);
    };
    let version = read(content, header.start, 1, deadline)?;
    Ok(Some(if version == [1] {
        (header.start + 24, (*longest as u64).to_be_bytes().to_vec())
    } else {
        (header.start + 16, (*longest as u32).to_be_bytes().to_vec())
    }))
}

fn is_heard_or_seen(track: &Atom) -> bool {
    let handler = track.bytes(&[b"mdia", b"hdlr"]).and_then(|hdlr| hdlr.get(8..12));
    matches!(handler, Some(b"soun" | b"vide"))
}

/// What is in `mvhd`, as offsets of the file.
fn movie_header(
    content: &dyn Content,
    moov: &TopBox,
    deadline: Duration,
) -> Result<Option<Range<u64>>, SpliceError> {
    let mut at = moov.body;
    while at + 8 <= moov.end {
        let head = read(content, at, 8, deadline)?;
        let len = u64::from(u32::from_be_bytes([head[0], head[1], head[2], head[3]]));
        let end = at.saturating_add(len);
        if len < 8 || end > moov.end {
            break;
        }
        if &head[4..] == b"mvhd" {
            return Ok(Some(at + 8..end));
        }
        at = end;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(1);

    fn atom(kind: &[u8], body: &[u8]) -> Vec<u8> {
        let len = (body.len() + 8) as u32;
        [&len.to_be_bytes()[..], kind, body].concat()
    }

    /// `mvhd` or `mdhd` of version 0 or 1.
    fn header(version: u8, timescale: u32, duration: u32) -> Vec<u8> {
        let wide = usize::from(version) * 4;
        let mut out = vec![version, 0, 0, 0];
        out.extend(vec![0; 8 + 2 * wide]);
        out.extend(timescale.to_be_bytes());
        out.extend(vec![0; wide]);
        out.extend(duration.to_be_bytes());
        out.extend([0; 20]);
        out
    }

    fn track(handler: &[u8], timescale: u32, duration: u32) -> Vec<u8> {
        let hdlr = [&[0; 8][..], handler, &[0; 13]].concat();
        let mdhd = atom(b"mdhd", &header(0, timescale, duration));
        atom(b"trak", &atom(b"mdia", &[mdhd, atom(b"hdlr", &hdlr)].concat()))
    }

    fn movie(version: u8, length: u32, tracks: &[Vec<u8>]) -> Vec<u8> {
        let mvhd = atom(b"mvhd", &header(version, 1000, length));
        [
            atom(b"ftyp", b"isom\0\0\0\0"),
            atom(b"moov", &[mvhd, tracks.concat()].concat()),
        ]
        .concat()
    }

    #[test]
    fn a_movie_is_as_long_as_what_is_heard_and_seen() {
        let (sound, pictures) = (track(b"soun", 48_000, 288_000), track(b"vide", 15_360, 92_160));
        let chapters = track(b"text", 1000, 196_125);
        for version in [0, 1] {
            let mut file = movie(
                version,
                196_125,
                &[pictures.clone(), sound.clone(), chapters.clone()],
            );
            let (at, bytes) = true_length(&file, DEADLINE).unwrap().expect("a mend");
            file[at as usize..][..bytes.len()].copy_from_slice(&bytes);
            assert_eq!(
                file,
                movie(
                    version,
                    6_000,
                    &[pictures.clone(), sound.clone(), chapters.clone()]
                )
            );
        }
        for fine in [
            movie(0, 6_000, &[pictures.clone(), sound.clone(), chapters]),
            // A preview beside what is as long as the movie.
            movie(0, 196_125, &[track(b"vide", 1000, 196_125), sound]),
            movie(0, 0, &[]),
            b"ID3\x04nothing of the kind".to_vec(),
        ] {
            assert_eq!(true_length(&fine, DEADLINE).unwrap(), None);
        }
    }
}
