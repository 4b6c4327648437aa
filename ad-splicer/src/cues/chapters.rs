//! Chapters: the podcast namespace's JSON, ID3v2 CHAP frames, and those of MP4, of Matroska and in Vorbis comments.
//!
//! A chapter whose title says so is a cue point that inserts at the chapter's start; every other is only a chapter.

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::marks::{Mark, Marks, MarksError, MarksFormat, Options, Order, cue, in_turn, once};
use super::{CueSource, Position};
use crate::content::Content;
use crate::frames::webm::{Webm, texts};
use crate::frames::{id3v2, mp4, vorbis_comment};
use crate::splice::{self, SpliceError};
use crate::time::{ContentTime, PresentationTime};
use crate::timecode;

/// The JSON chapters format, version 1.x (podcast namespace); what has no meaning here is skipped.
#[derive(Deserialize)]
struct Document {
    chapters: Vec<Chapter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chapter {
    start_time: f64,
    end_time: Option<f64>,
    title: Option<String>,
}

/// Reads JSON chapters.
pub(super) fn of_json(text: &str, options: &Options) -> Result<Marks, MarksError> {
    let document: Document = serde_json::from_str(text)?;
    let mut marks = Vec::new();
    let mut order = Order::default();
    for (index, chapter) in document.chapters.into_iter().enumerate() {
        let number = index + 1;
        let fail = |reason: String| MarksError::Line {
            line: line(text, index),
            reason: format!("chapter {number}: {reason}"),
        };
        let time = |name: &str, seconds: f64| {
            if seconds.is_finite() && (0.0..=timecode::LONGEST.as_secs_f64()).contains(&seconds) {
                Ok(ContentTime::from_secs_f64(seconds))
            } else {
                Err(fail(format!(
                    "{name} is {seconds}, which is no time in a recording"
                )))
            }
        };
        let start = time("startTime", chapter.start_time)?;
        let end = chapter.end_time.map(|end| time("endTime", end)).transpose()?;
        if end.is_some_and(|end| end < start) {
            return Err(fail("it ends before it starts".into()));
        }
        let title = chapter.title.unwrap_or_default();
        let mark = mark(format!("chapter-{number}"), start, end, title, options);
        if mark.cue.is_some() {
            order.goes_on(start).map_err(fail)?;
        }
        marks.push(mark);
    }
    Ok(Marks {
        format: MarksFormat::ChaptersJson,
        marks,
        notes: Vec::new(),
    })
}

/// The line where a chapter of a document begins that could be read, from 1.
fn line(text: &str, index: usize) -> usize {
    #[derive(Deserialize)]
    struct Document<'a> {
        #[serde(borrow)]
        chapters: Vec<&'a RawValue>,
    }
    let document: Option<Document<'_>> = serde_json::from_str(text).ok();
    let chapter = document.and_then(|document| Some(document.chapters.get(index)?.get()));
    // It is borrowed from the text.
    let begins = chapter.map_or(0, |chapter| chapter.as_ptr().addr() - text.as_ptr().addr());
    1 + text.bytes().take(begins).filter(|byte| *byte == b'\n').count()
}

/// Takes the chapters of an ID3v2 tag.
pub(super) fn of_tag(tag: &[u8], options: &Options) -> Result<Marks, MarksError> {
    if let Some(id3v2::Damage {
        chapter,
        byte,
        reason,
    }) = id3v2::damage(tag)
    {
        return Err(match chapter {
            Some(number) => MarksError::Chapter {
                number,
                reason: format!("of the ID3 tag cannot be read: its frame, at byte {byte}, {reason}"),
            },
            None => MarksError::Byte {
                byte: byte as u64,
                reason,
            },
        });
    }
    let marks: Vec<Mark> = id3v2::chapters(tag)
        .into_iter()
        .enumerate()
        .map(|(index, chapter)| {
            let time = |millis: u32| ContentTime::from_millis(u64::from(millis));
            let end = (chapter.end > chapter.start).then(|| time(chapter.end));
            mark(
                format!("chapter-{}", index + 1),
                time(chapter.start),
                end,
                chapter.title,
                options,
            )
        })
        .collect();
    once(&marks)?;
    let notes = if marks.is_empty() {
        vec!["its ID3 tag has no chapters".to_owned()]
    } else {
        Vec::new()
    };
    Ok(Marks {
        format: MarksFormat::Id3Chapters,
        marks,
        notes,
    })
}

/// Takes the chapters in the tags of sound: Vorbis comments, or an ID3v2 tag in WAV. Those of comments last until the next.
pub(super) fn of_sound(content: &dyn Content, options: &Options) -> Result<Marks, MarksError> {
    let reading = splice::Options::default();
    let unreadable = |error: SpliceError| MarksError::Media(error.to_string());
    // As they are written: a result would have none beyond its end.
    let stated = {
        let head = splice::format::recognise(content, &reading).map_err(unreadable)?;
        let blocks = head.comments();
        let stated = blocks.into_iter().map(vorbis_comment::stated);
        stated
            .collect::<Result<Vec<_>, String>>()
            .map_err(MarksError::Media)?
    };
    if !stated.is_empty() {
        let chapters = stated
            .into_iter()
            .flatten()
            .map(|(start, title)| (start, None, title));
        return of_media(MarksFormat::Tags, chapters, in_turn, options);
    }
    let found = splice::prepare(content, &[], &reading).map_err(unreadable)?;
    let time = |time: PresentationTime| ContentTime::from_nanos(time.as_nanos());
    let chapters = found.report().chapters.iter().map(|chapter| {
        let (start, end) = (time(chapter.start), time(chapter.end));
        (start, (end > start).then_some(end), chapter.title.clone())
    });
    of_media(MarksFormat::Tags, chapters, once, options)
}

/// Takes the chapters of an MP4 file.
pub(super) fn of_mp4(content: &dyn Content, options: &Options) -> Result<Marks, MarksError> {
    let found =
        mp4::chapters(content, Duration::ZERO).map_err(|error| MarksError::Media(error.to_string()))?;
    let chapters = found.into_iter().map(|(start, title)| (start, None, title));
    of_media(MarksFormat::Mp4Chapters, chapters, in_turn, options)
}

/// Takes the chapters of a Matroska or WebM file.
pub(super) fn of_matroska(content: &dyn Content, options: &Options) -> Result<Marks, MarksError> {
    let file = Webm::read(content, Duration::ZERO).map_err(|error| {
        MarksError::Media(match error {
            SpliceError::Corrupt { offset } => {
                format!("the Matroska file is damaged: at byte {offset} there is no whole element")
            }
            other => other.to_string(),
        })
    })?;
    let found = file.as_ref().map(texts::chapters).unwrap_or_default();
    let chapters = found.into_iter().map(|chapter| {
        let start = ContentTime::from_nanos(chapter.start);
        let end = chapter.end.map(ContentTime::from_nanos);
        (start, end.filter(|end| *end > start), chapter.title)
    });
    of_media(MarksFormat::MatroskaChapters, chapters, in_turn, options)
}

fn of_media(
    format: MarksFormat,
    chapters: impl Iterator<Item = (ContentTime, Option<ContentTime>, String)>,
    check: fn(&[Mark]) -> Result<(), MarksError>,
    options: &Options,
) -> Result<Marks, MarksError> {
    let marks: Vec<Mark> = chapters
        .enumerate()
        .map(|(index, (start, end, title))| {
            mark(format!("chapter-{}", index + 1), start, end, title, options)
        })
        .collect();
    check(&marks)?;
    let notes = if marks.is_empty() {
        vec!["it has no chapters".to_owned()]
    } else {
        Vec::new()
    };
    Ok(Marks { format, marks, notes })
}

fn mark(id: String, start: ContentTime, end: Option<ContentTime>, title: String, options: &Options) -> Mark {
    let position = Position::Time(start);
    Mark {
        position,
        end,
        cue: options
            .pattern
            .matches(&title)
            .then(|| cue(id, position, Duration::ZERO, CueSource::Chapters)),
        title,
        source: CueSource::Chapters,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Action;
    use super::*;

    #[test]
    fn a_chapter_is_a_break_only_when_its_title_says_so() {
        let text = r#"{"version":"1.2.0","chapters":[{"startTime":0,"title":"Intro"},
            {"startTime":168.5,"endTime":200,"title":"Ad break","toc":false},{"startTime":3990,"title":"Just Break Up"},{"startTime":5000}]}"#;
        let read = of_json(text, &Options::default()).expect("chapters");
        assert_eq!(read.marks.len(), 4);
        let cues: Vec<_> = read.cues().collect();
        assert_eq!(cues.len(), 1);
        assert_eq!(
            (cues[0].id.as_str(), cues[0].position.to_string(), cues[0].action),
            ("chapter-2", "00:02:48.500".into(), Action::Insert)
        );
    }

    #[test]
    fn a_chapter_of_a_tag_that_cannot_be_read_is_named() {
        let frame = |data: &[u8]| [&b"CHAP"[..], &(data.len() as u32).to_be_bytes(), &[0, 0], data].concat();
        let whole = frame(&[&b"a\0"[..], &[0; 16]].concat());
        let tag = |frames: &[u8]| [&b"ID3\x03\0\0\0\0\0"[..], &[frames.len() as u8], frames].concat();
        assert_eq!(
            of_tag(&tag(&whole), &Options::default())
                .expect("a chapter")
                .marks
                .len(),
            1
        );
        let times = |start: u8, end: u8| [&[0, 0, 0, start, 0, 0, 0, end][..], &[0xFF; 8]].concat();
        let title = b"TIT2\0\0\0\x03\0\0\0Ad";
        let named = |name: &[u8], start, end| frame(&[name, &times(start, end), title].concat());
        assert!(of_tag(&tag(&named(b"b\0", 7, 7)), &Options::default()).is_ok());
        let mut beyond = named(b"b\0", 1, 2);
        beyond[7] += 1;
        let mut other = beyond.clone();
        other[..4].copy_from_slice(b"TXXX");
        for (frame, reason) in [
            (
                frame(b"b\0\0\0"),
                "chapter 2 of the ID3 tag cannot be read: its frame, at byte 38, is not whole",
            ),
            (
                beyond,
                "chapter 2 of the ID3 tag cannot be read: its frame, at byte 38, goes beyond the end",
            ),
            (
                named(b"b\0", 2, 1),
                "chapter 2 of the ID3 tag cannot be read: its frame, at byte 38, has it end before",
            ),
            (
                named(b"bb", 1, 2),
                "chapter 2 of the ID3 tag cannot be read: its frame, at byte 38, holds what are no",
            ),
            (
                other,
                "byte 38: the frame TXXX goes beyond the end of the ID3 tag",
            ),
            (
                b"rubbish".to_vec(),
                "byte 38: the ID3 tag has neither a frame nor its padding",
            ),
        ] {
            let error = of_tag(&tag(&[whole.clone(), frame].concat()), &Options::default())
                .expect_err(reason)
                .to_string();
            assert!(error.contains(reason), "{error}");
        }
        let sound = tag(&whole);
        let error = of_tag(&sound[..sound.len() - 1], &Options::default())
            .expect_err("it is cut")
            .to_string();
        assert!(
            error.contains("byte 37: the ID3 tag is cut short") && error.contains("38 bytes"),
            "{error}"
        );
        // A zero after 0xFF, and an extended header, are bytes of the file.
        let sizes = [&[0_u8, 0, 0, 6][..], &[0; 6]].concat();
        let sick = frame(b"b\0\0\0");
        let text = b"TXXX\0\0\0\x02\0\0\xFF\0\x01";
        let mut unsynchronised = tag(&[&sizes, &text[..], &sick].concat());
        unsynchronised[5] = 0xC0;
        let error = of_tag(&unsynchronised, &Options::default())
            .expect_err("it is cut")
            .to_string();
        assert!(error.contains("at byte 33, is not whole"), "{error}");
    }

    #[test]
    fn chapters_of_matroska_that_are_damaged_are_named_with_their_byte() {
        use crate::frames::webm::ebml::{self, element};
        let atom = element(ebml::CHAPTER_ATOM, &element(ebml::CHAPTER_START, &[0]));
        let chapters = element(ebml::CHAPTERS, &element(ebml::EDITION_ENTRY, &atom));
        let head = element(ebml::EBML, &[]);
        let mut file = [
            &head[..],
            &element(ebml::SEGMENT, &[&chapters[..], &[0; 40]].concat()),
        ]
        .concat();
        // The length of the atom, which then goes beyond the edition.
        let begins = file.len() - 40 - atom.len();
        file[begins + 1] += 1;
        let error = of_matroska(&file, &Options::default())
            .expect_err("damaged")
            .to_string();
        let wanted = format!(
            "its chapters cannot be read: the Matroska file is damaged: at byte {begins} there is no whole"
        );
        assert!(error.starts_with(&wanted), "{error}");
    }

    #[test]
    fn chapters_of_media_whose_cue_points_come_twice_or_out_of_order_are_named() {
        let read = |titles: [&str; 3], check| {
            let times = [9, 4, 9].map(ContentTime::from_millis);
            let chapters = times
                .into_iter()
                .zip(titles)
                .map(|(at, title)| (at, None, title.to_owned()));
            of_media(MarksFormat::Tags, chapters, check, &Options::default())
        };
        for check in [once, in_turn] {
            assert!(read(["Ad", "News", "News"], check).is_ok());
            let error = read(["Ad", "News", "Ad"], check).expect_err("two").to_string();
            assert_eq!(
                error,
                "chapter 3 makes a second cue point: there are two cue points at 00:00:00.009"
            );
        }
        // Frames of ID3 have no order.
        let unsorted = ["Ad", "Ad", "News"];
        assert!(read(unsorted, once).is_ok());
        let error = read(unsorted, in_turn).expect_err("it goes back").to_string();
        assert_eq!(
            error,
            "chapter 2 is out of order: the cue point at 00:00:00.004 comes after the one at 00:00:00.009"
        );
    }

    #[test]
    fn each_mistake_is_named() {
        for (text, reason) in [
            ("{\"chapters\":[\n{\"startTime\":\"x\"}]}", "line 2"),
            ("{\"title\":\"x\"}", "missing field `chapters`"),
            (
                "{\"chapters\":[{\"startTime\":-1}]}",
                "line 1: chapter 1: startTime is -1, ",
            ),
            (
                "{\"chapters\": [\n  {\"startTime\":1},\n  {\n\"startTime\":9,\n\"endTime\":3}]}",
                "line 3: chapter 2: it ends before it starts",
            ),
            (
                "{\"chapters\":[{\"startTime\":0,\"title\":\"ad\"},\n{\"startTime\":0,\"title\":\"ad\"}]}",
                "line 2: chapter 2: there are two cue points at 00:00:00",
            ),
            (
                "{\"chapters\":[{\"startTime\":9,\"title\":\"ad\"},\n{\"startTime\":3},\n{\"startTime\":8,\"title\":\"ad\"}]}",
                "line 3: chapter 3: the cue point at 00:00:08 comes after the one at 00:00:09",
            ),
        ] {
            let error = of_json(text, &Options::default()).expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
