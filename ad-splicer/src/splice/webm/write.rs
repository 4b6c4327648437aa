//! Writing WebM: sound and pictures in one order, and the elements about the whole.

use std::iter::Peekable;

use crate::chapters::next_later;
use crate::frames::webm::ebml;
use crate::frames::webm::texts::{self, leave_out, move_chapters, set_lengths};
use crate::frames::webm::{Index, Webm};
use crate::plan::SplicePlan;
use crate::splice::Chapter;
use crate::splice::clusters::{Bytes, Frame, Writer};
use crate::splice::layout::{is_replaced, moved};
use crate::splice::pictures::{From, Shots};
use crate::time::{ContentTime, PresentationTime};

/// Whether nothing is left of a chapter from one nanosecond of the content to another, or to its end.
fn is_left_out(plan: &SplicePlan, start: u64, end: Option<u64>, unit: u64) -> bool {
    let whole = || ContentTime::from_samples(plan.content_samples(), plan.sample_rate());
    let end = end.map_or_else(whole, ContentTime::from_nanos);
    is_replaced(plan, &(ContentTime::from_nanos(start)..end), unit)
}

/// The file's chapters in presentation time, each up to where it says or to the next that begins later. Times less than `unit` samples before a cue are meant to be at it.
pub(super) fn chapters(plan: &SplicePlan, webm: &Webm, unit: u64) -> Vec<Chapter> {
    let at = |nanos: u64| moved(plan, ContentTime::from_nanos(nanos), unit);
    let listed = texts::chapters(webm);
    let starts: Vec<u64> = listed.iter().map(|chapter| chapter.start).collect();
    listed
        .iter()
        .zip(next_later(&starts))
        .map(|(chapter, next)| (chapter, chapter.end.or(next)))
        .filter(|(chapter, end)| !is_left_out(plan, chapter.start, *end, unit))
        .map(|(chapter, end)| Chapter {
            id: chapter.id.to_string(),
            title: chapter.title.clone(),
            start: at(chapter.start),
            end: end.map_or(PresentationTime::from(plan.duration()), at),
        })
        .collect()
}

/// The elements about the whole, for a file that lasts so long; `unit` as for [`chapters`]. `lengths` gives the nanoseconds of the track with a number of its own, or of all.
pub(super) fn about(
    plan: &SplicePlan,
    (webm, unit): (&Webm, u64),
    lengths: &dyn Fn(Option<u64>) -> u64,
) -> Vec<(u32, Vec<u8>)> {
    let moved = |nanos| moved(plan, ContentTime::from_nanos(nanos), unit).as_nanos();
    webm.nodes
        .iter()
        .filter_map(|(_, node)| {
            let mut node = node.clone();
            match node.id {
                ebml::INFO => {
                    let units = lengths(None) as f64 / webm.scale as f64;
                    node.set(ebml::DURATION, &units.ceil().to_be_bytes());
                }
                ebml::CHAPTERS => {
                    if !leave_out(&mut node, &|start, end| is_left_out(plan, start, end, unit)) {
                        return None;
                    }
                    move_chapters(&mut node, &moved);
                }
                ebml::TAGS => set_lengths(&mut node, lengths),
                _ => {}
            }
            Some((node.id, node.write()))
        })
        .collect()
}

/// The pictures of a result as frames of this track, when the first picture of the content is at `begins`.
pub(super) fn frames_of<'a>(
    shots: &'a Shots<'a>,
    index: &'a Index,
    track: usize,
    begins: i64,
) -> impl Iterator<Item = Frame<'a>> {
    shots.iter().map(move |shot| {
        let bytes = match shot.from {
            From::Content(offset) => {
                // Blocks are in the order in which they stand.
                Bytes::Content(index.blocks.partition_point(|block| block.offset < offset))
            }
            From::Ad(ad, i) => Bytes::Made(&shots.ads[ad as usize].frames[i as usize].bytes),
        };
        Frame {
            track,
            time: begins + shot.start as i64 + i64::from(shot.composition),
            key: shot.sync,
            bytes,
            discard: 0,
        }
    })
}

/// Whether a picture stands before a packet of sound: where both are content that moved together, as they stood there, and otherwise what comes first.
fn picture_first(index: &Index, picture: &Frame<'_>, sound: &Frame<'_>) -> bool {
    if let (Bytes::Content(seen), Bytes::Content(heard)) = (picture.bytes, sound.bytes) {
        let moved = |frame: &Frame<'_>, block: usize| frame.time - index.blocks[block].time;
        // Times are rounded.
        if moved(picture, seen).abs_diff(moved(sound, heard)) <= 2 {
            return seen < heard;
        }
    }
    picture.time <= sound.time
}

/// Writes both tracks.
pub(super) fn write_both<'a>(
    writer: &mut Writer<'_>,
    index: &Index,
    sound: impl Iterator<Item = Frame<'a>>,
    pictures: impl Iterator<Item = Frame<'a>>,
) {
    let (mut sound, mut pictures) = (sound.peekable(), pictures.peekable());
    let next = |sound: &mut Peekable<_>, pictures: &mut Peekable<_>| {
        let is_picture = match (pictures.peek(), sound.peek()) {
            (Some(picture), Some(sound)) => picture_first(index, picture, sound),
            (picture, _) => picture.is_some(),
        };
        if is_picture { pictures.next() } else { sound.next() }
    };
    while let Some(frame) = next(&mut sound, &mut pictures) {
        writer.push(&frame);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::frames::webm::ebml::{element, unsigned_element};
    use crate::plan::{PlannedBreak, Steps};

    #[test]
    fn chapters_without_ends_last_until_one_that_begins_later() {
        let seconds = |seconds: u64| seconds * 1_000_000_000;
        let atoms = [4, 0, 0, 7].map(|start| {
            let start = unsigned_element(ebml::CHAPTER_START, seconds(start));
            element(ebml::CHAPTER_ATOM, &start)
        });
        let chapters_of = element(ebml::CHAPTERS, &element(ebml::EDITION_ENTRY, &atoms.concat()));
        // Number, kind and codec.
        let track = [
            unsigned_element(0xD7, 1),
            unsigned_element(0x83, 2),
            element(0x86, b"A_OPUS"),
        ];
        let tracks = element(ebml::TRACKS, &element(0xAE, &track.concat()));
        let body = [element(ebml::INFO, &[]), tracks, chapters_of].concat();
        let cluster = element(ebml::CLUSTER, &unsigned_element(ebml::TIMESTAMP, 0));
        let head = element(ebml::EBML, &element(0x4282, b"webm"));
        let bytes = [head, element(ebml::SEGMENT, &[body, cluster].concat())].concat();
        let webm = Webm::read(&bytes, Duration::ZERO).unwrap().unwrap();
        // Nothing is left of those from 0 s to 4 s, whatever stands between them.
        let planned = PlannedBreak {
            index: 0,
            span: 0..48_000 * 4,
            lead: 0,
            ads: vec![48_000],
        };
        let plan = SplicePlan::new(48_000, 480_000, Steps::ANY, &[planned]).unwrap();
        let listed: Vec<(u64, u64)> = chapters(&plan, &webm, 48)
            .iter()
            .map(|chapter| (chapter.start.as_millis(), chapter.end.as_millis()))
            .collect();
        assert_eq!(listed, [(1_000, 4_000), (4_000, 7_000)]);
    }
}
