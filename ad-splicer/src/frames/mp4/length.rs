//! A movie that says it is much longer than its sound and pictures: chapters that were taken over from a longer file, say. Demuxers take tracks of less than a fifth of the movie for a preview,
//! and play nothing then.

use std::ops::Range;
use std::time::Duration;

use super::boxes::{Atom, TopBox, read_tree, top_level, whole_boxes};
use super::tables::{Durations, full_duration, word};
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

fn handler(track: &Atom) -> Option<&[u8]> {
    track.bytes(&[b"mdia", b"hdlr"]).and_then(|hdlr| hdlr.get(8..12))
}

fn is_heard_or_seen(track: &Atom) -> bool {
    matches!(handler(track), Some(b"soun" | b"vide"))
}

/// How long the sound of a movie is by its tables, or with `seen` the longest of its sound and pictures, however much of it there is; `None` when they do not say so, or it is no MP4.
pub(crate) fn stated_length(
    content: &dyn Content,
    seen: bool,
    deadline: Duration,
) -> Result<Option<Duration>, SpliceError> {
    let (boxes, _) = whole_boxes(content, deadline)?;
    let Some(moov) = boxes.iter().find(|found| &found.kind == b"moov") else {
        return Ok(None);
    };
    let tree = read_tree(content, moov, deadline)?;
    let Some(movie) = tree.bytes(&[b"mvhd"]).and_then(full_duration) else {
        return Ok(None);
    };
    let tracks = tree.children().iter().filter(|child| &child.kind == b"trak");
    let lasts = tracks
        .filter(|track| handler(track) == Some(b"soun") || seen && is_heard_or_seen(track))
        .filter_map(|track| {
            let media = track.bytes(&[b"mdia", b"mdhd"]).and_then(full_duration)?;
            let shown = of_track(track.bytes(&[b"tkhd"])?)?;
            // An edit list may leave some of it out, or delay it.
            let media = seconds(media.duration, media.timescale);
            Some(media.min(seconds(shown, movie.timescale)))
        });
    Ok(lasts.max().filter(|longest| !longest.is_zero()))
}

/// What `tkhd` says, in the units of the movie.
fn of_track(header: &[u8]) -> Option<u64> {
    if header.first() == Some(&1) {
        Some(u64::from_be_bytes(header.get(28..36)?.try_into().ok()?))
    } else {
        word(header, 20).map(u64::from)
    }
}

fn seconds(units: u64, timescale: u32) -> Duration {
    let nanos = u128::from(units) * 1_000_000_000 / u128::from(timescale);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
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
        let mdia = atom(b"mdia", &[mdhd, atom(b"hdlr", &hdlr)].concat());
        // In milliseconds, as the movie is.
        let millis = (u64::from(duration) * 1000 / u64::from(timescale)) as u32;
        let tkhd = [&[0; 20][..], &millis.to_be_bytes(), &[0; 60]].concat();
        atom(b"trak", &[atom(b"tkhd", &tkhd), mdia].concat())
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

    #[test]
    fn tables_say_how_long_what_is_used_is() {
        let (sound, pictures) = (track(b"soun", 48_000, 288_000), track(b"vide", 15_360, 153_600));
        let stated = |file: &Vec<u8>, seen| stated_length(file, seen, DEADLINE).unwrap();
        // What they tell of is not all there.
        let file = [
            movie(0, 10_000, &[pictures, sound.clone()]),
            b"\0\0\x01\0mdatcut".to_vec(),
        ]
        .concat();
        assert_eq!(stated(&file, false), Some(Duration::from_secs(6)));
        assert_eq!(stated(&file, true), Some(Duration::from_secs(10)));
        // Only a part of it is heard.
        let mut edited = sound;
        edited[16 + 20..16 + 24].copy_from_slice(&2_500_u32.to_be_bytes());
        let edited = movie(0, 2_500, &[edited]);
        assert_eq!(stated(&edited, true), Some(Duration::from_millis(2_500)));
        for unsaid in [movie(0, 0, &[]), b"ID3\x04nothing of the kind".to_vec()] {
            assert_eq!(stated(&unsaid, true), None);
        }
    }
}
