//! Text in an MP4 file: its chapters (Nero's list in the movie's tags, or a track of titles that another track refers to, QuickTime's), and how subtitles show nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use super::boxes::{Atom, read_tree, top_level};
use super::edits::edit_list;
use super::fragments::track_id;
use super::tables::{MOST_SAMPLES, Samples, damaged, full_duration, nero_chapters, nero_damage, word};
use crate::content::Content;
use crate::splice::{self, SpliceError};
use crate::time::ContentTime;

/// More chapters than anybody makes.
const MOST: usize = 10_000;
/// Bytes of a title that are read.
const LONGEST_TITLE: u32 = 4096;
/// Tracks that one refers to that are looked at.
const MOST_REFERRED: usize = 16;

/// Where each chapter begins, and its title, in the order of the file.
pub(crate) fn chapters(
    content: &dyn Content,
    deadline: Duration,
) -> Result<Vec<(ContentTime, String)>, SpliceError> {
    let boxes = top_level(content, deadline)?.unwrap_or_default();
    let movie = boxes.iter().find(|one| &one.kind == b"moov");
    let movie = movie.ok_or_else(|| damaged("it has no movie box"))?;
    let moov = read_tree(content, movie, deadline)?;
    if let Some((list, cut)) = nero_damage(&moov) {
        let all = splice::read(content, movie.body, (movie.end - movie.body) as usize, deadline)?;
        let wanted = [b"chpl", list].concat();
        let begins = all.windows(wanted.len()).position(|bytes| bytes == wanted);
        // It was read from there.
        let byte = movie.body + (begins.unwrap_or(0) + 4 + cut.at) as u64;
        return Err(damaged(&format!(
            "its list names {} chapters and has {}: at byte {byte} there is no whole one",
            cut.said, cut.has
        )));
    }
    let listed = nero_chapters(&moov);
    if !listed.is_empty() {
        let nanos = |time: u64| ContentTime::from_nanos(time.saturating_mul(100));
        return Ok(listed
            .into_iter()
            .map(|(time, title)| (nanos(time), title))
            .collect());
    }
    let tracks = || moov.children().iter().filter(|child| &child.kind == b"trak");
    let Some(titles) = tracks()
        .find_map(|track| referred(track).first().copied())
        .and_then(|id| tracks().find(|track| track_id(track) == Some(id)))
    else {
        return Ok(Vec::new());
    };
    let scale = titles
        .bytes(&[b"mdia", b"mdhd"])
        .and_then(full_duration)
        .ok_or_else(|| damaged("its track of titles does not say how long it is"))?
        .timescale;
    let movie = moov
        .bytes(&[b"mvhd"])
        .and_then(full_duration)
        .ok_or_else(|| damaged("it does not say how long it is"))?;
    let edit = edit_list(titles, movie.timescale)?;
    let skipped = edit.map_or(0, |edit| edit.media_time);
    let lead = edit.map_or(0, |edit| {
        let lead = u128::from(edit.lead) * u128::from(scale) / u128::from(movie.timescale.max(1));
        u64::try_from(lead).unwrap_or(u64::MAX)
    });
    let samples = Samples::parse(titles, MOST_SAMPLES, content.len())?;
    let (mut time, mut found) = (0_u64, Vec::new());
    let mut durations = samples
        .durations
        .iter()
        .flat_map(|run| std::iter::repeat_n(run.1, run.0 as usize));
    for (offset, size) in samples.offsets.iter().zip(&samples.sizes).take(MOST) {
        let bytes = splice::read(content, offset, (*size).min(LONGEST_TITLE) as usize, deadline)?;
        found.push((
            ContentTime::from_samples(time.saturating_sub(skipped).saturating_add(lead), scale),
            title(&bytes),
        ));
        time += u64::from(durations.next().unwrap_or(0));
    }
    Ok(found)
}

/// The tracks of chapters that this track refers to: titles first, as a rule, then pictures.
fn referred(track: &Atom) -> Vec<u32> {
    let references = track.bytes(&[b"tref"]).unwrap_or_default();
    let Some(at) = references.windows(4).position(|kind| kind == b"chap") else {
        return Vec::new();
    };
    let len = at.checked_sub(4).and_then(|at| word(references, at)).unwrap_or(0) as usize;
    let count = (len / 4).saturating_sub(2).min(MOST_REFERRED);
    (1..=count).filter_map(|i| word(references, at + 4 * i)).collect()
}

/// The tracks whose samples are titles of chapters.
pub(crate) fn titles(moov: &Atom) -> BTreeSet<u32> {
    let tracks = || moov.children().iter().filter(|child| &child.kind == b"trak");
    let referred: BTreeSet<u32> = tracks().flat_map(referred).collect();
    let text = tracks().filter(|track| {
        let hdlr = track.bytes(&[b"mdia", b"hdlr"]);
        hdlr.and_then(|hdlr| hdlr.get(8..12)) == Some(b"text")
    });
    text.filter_map(track_id)
        .filter(|id| referred.contains(id))
        .collect()
}

/// The sample by which a track of text shows nothing: of 3GPP's and QuickTime's text, and of WebVTT.
pub(crate) fn blank(track: &Atom) -> Option<&'static [u8]> {
    let described = track.bytes(&[b"mdia", b"minf", b"stbl", b"stsd"])?;
    match described.get(12..16)? {
        b"tx3g" | b"text" => Some(b"\0\0"),
        b"wvtt" => Some(b"\0\0\0\x08vtte"),
        _ => None,
    }
}

/// A sample of this text, and that it is UTF-8.
pub(crate) fn sample_of(title: &str) -> Vec<u8> {
    let len = title.len().min(usize::from(u16::MAX)) as u16;
    let mut sample = len.to_be_bytes().to_vec();
    sample.extend(&title.as_bytes()[..usize::from(len)]);
    sample.extend(*b"\0\0\0\x0cencd\0\0\x01\0");
    sample
}

/// The text of a sample: its length in two bytes, then UTF-8, or UTF-16 with a byte order mark.
fn title(sample: &[u8]) -> String {
    let Some((len, text)) = sample.split_first_chunk::<2>() else {
        return String::new();
    };
    let text = text.get(..usize::from(u16::from_be_bytes(*len))).unwrap_or(text);
    match text.strip_prefix(&[0xFE, 0xFF]) {
        Some(wide) => {
            let units: Vec<u16> = wide
                .chunks_exact(2)
                .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
                .collect();
            String::from_utf16_lossy(&units)
        }
        None => String::from_utf8_lossy(text).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_cut_short_is_named_with_its_byte() {
        fn boxed(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
            [&(body.len() as u32 + 8).to_be_bytes()[..], &kind, body].concat()
        }
        let file = |said: u8, rest: &[u8]| {
            let entry = [&0_u64.to_be_bytes()[..], b"\x05Intro"].concat();
            let chpl = [&[1, 0, 0, 0, 0, 0, 0, 0, said][..], &entry, rest].concat();
            let moov = boxed(*b"moov", &boxed(*b"udta", &boxed(*b"chpl", &chpl)));
            [boxed(*b"ftyp", b"M4A \0\0\0\0"), moov].concat()
        };
        let read = |said, rest: &[u8]| chapters(&file(said, rest), Duration::ZERO);
        assert_eq!(read(1, b"").expect("a chapter").len(), 1);
        assert_eq!(read(1, b"rest").expect("a chapter").len(), 1);
        // Where the file ends.
        let byte = file(1, b"").len();
        for rest in [&b""[..], b"\0\0\0\0\0\0\0\x01\x05In"] {
            let error = read(2, rest).expect_err("one is missing").to_string();
            let wanted = format!("names 2 chapters and has 1: at byte {byte} there is no whole one");
            assert!(error.contains(&wanted), "{error}");
        }
    }

    #[test]
    fn titles_that_begin_late_are_where_they_are_shown() {
        let words = |words: &[u32]| {
            words
                .iter()
                .flat_map(|word| word.to_be_bytes())
                .collect::<Vec<u8>>()
        };
        let boxed =
            |kind: &[u8; 4], body: &[u8]| [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat();
        // Version and flags, two dates, the scale, the length.
        let header = |kind: &[u8; 4]| boxed(kind, &words(&[0, 0, 0, 1000, 60_000, 0]));
        let known = |id: u32| boxed(b"tkhd", &words(&[0, 0, 0, id, 0, 0]));
        let sound = [known(1), boxed(b"tref", &boxed(b"chap", &words(&[2])))].concat();
        let tables = [
            boxed(b"stsz", &words(&[0, 0, 2, 4, 4])),
            boxed(b"stco", &words(&[0, 1, 8])),
            boxed(b"stsc", &words(&[0, 1, 1, 2, 1])),
            boxed(b"stts", &words(&[0, 2, 1, 30_000, 1, 20_000])),
        ]
        .concat();
        let minf = boxed(b"minf", &boxed(b"stbl", &tables));
        let mdia = boxed(b"mdia", &[header(b"mdhd"), minf].concat());
        let elst = words(&[0, 2, 10_000, u32::MAX, 0x1_0000, 50_000, 0, 0x1_0000]);
        let titles = [known(2), boxed(b"edts", &boxed(b"elst", &elst)), mdia].concat();
        let moov = [header(b"mvhd"), boxed(b"trak", &sound), boxed(b"trak", &titles)].concat();
        let file = [boxed(b"mdat", b"\0\x02In\0\x02Ad"), boxed(b"moov", &moov)].concat();
        let found = chapters(&file, Duration::ZERO).expect("chapters");
        let found: Vec<_> = found
            .iter()
            .map(|(at, title)| (at.as_secs_f64(), title.as_str()))
            .collect();
        assert_eq!(found, [(10.0, "In"), (40.0, "Ad")]);
    }

    #[test]
    fn titles_are_text_of_either_kind() {
        assert_eq!(title(b"\0\x05Intro\0\0\0\x0cencd"), "Intro");
        assert_eq!(title(b"\0\x06\xfe\xff\0A\0d"), "Ad");
        assert_eq!(title(b"\0\x50cut"), "cut");
        assert_eq!(title(b"\0"), "");
        assert_eq!(title(&sample_of("Ad")), "Ad");
    }
}
