//! Fragments of a movie (ISO/IEC 14496-12 §8.8), written for who is given one after the other. The movie box before them says what the tracks are like, and nothing of how much comes.

use super::boxes::{Atom, Body};
use super::fragments::track_id;
use super::tables::{Chunks, Tables, set_durations, set_tables};

/// A sample that others do not depend on, and one that depends on others (§8.8.3.1).
const FLAGS: [u32; 2] = [0x0101_0000, 0x0200_0000];
/// Offsets count from the fragment's own beginning.
const BASE_IS_MOOF: u32 = 0x2_0000;
/// A run says where its data is, and of each sample how long it lasts, its size, its flags, and how much later it is shown.
const RUN: u32 = 0x1 | 0x100 | 0x200 | 0x400 | 0x800;
/// Bytes of a track's boxes in a fragment, but for its samples.
const TRACK_LEN: usize = 8 + 16 + 20 + 20;

/// A sample of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) duration: u32,
    pub(crate) size: u32,
    pub(crate) sync: bool,
    pub(crate) composition: i32,
}

/// What a fragment holds of one track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// The track's number.
    pub(crate) track: u32,
    /// When its first sample is decoded, in the track's scale.
    pub(crate) start: u64,
    pub(crate) samples: Vec<Sample>,
}

fn full(kind: [u8; 4], version_and_flags: u32, words: &[u32]) -> Atom {
    let all = [version_and_flags].into_iter().chain(words.iter().copied());
    Atom::raw(kind, all.flat_map(u32::to_be_bytes).collect())
}

fn nested(kind: [u8; 4], children: Vec<Atom>) -> Atom {
    Atom {
        kind,
        body: Body::Nested(children),
    }
}

/// The file type and the movie box of a movie in fragments with these children of `moov` as its tracks.
pub(crate) fn beginning(moov: &Atom, tracks: &[usize]) -> Vec<u8> {
    let mut extends = Vec::new();
    let mut children = Vec::new();
    for (i, child) in moov.children().iter().enumerate() {
        if &child.kind == b"mvhd" {
            children.push(child.clone());
        } else if tracks.contains(&i) {
            let mut track = child.clone();
            if let Some(boxes) = track.children_mut() {
                boxes.retain(|one| matches!(&one.kind, b"tkhd" | b"mdia"));
            }
            let tables = Tables {
                count: 0,
                size: &|_| 0,
                durations: &[],
                compositions: &[],
                sync: None,
                chunks: &Chunks::default(),
            };
            set_tables(&mut track, &tables, false);
            set_durations(&mut track, 0, Some(0));
            extends.push(full(*b"trex", 0, &[track_id(&track).unwrap_or(0), 1, 0, 0, 0]));
            children.push(track);
        }
    }
    children.push(nested(*b"mvex", extends));
    let mut movie = nested(*b"moov", children);
    set_durations(&mut movie, 0, None);
    let mut out = Vec::new();
    Atom::raw(*b"ftyp", b"iso5\0\0\0\0iso5isom".to_vec()).write(&mut out);
    movie.write(&mut out);
    out
}

/// The movie fragment with these parts, and the head of the box of their data, which follows in the same order.
pub(crate) fn fragment(number: u32, parts: &[Part]) -> Vec<u8> {
    let moof = 8
        + 16
        + parts
            .iter()
            .map(|part| TRACK_LEN + 16 * part.samples.len())
            .sum::<usize>();
    let mut at = moof as u32 + 8;
    let mut children = vec![full(*b"mfhd", 0, &[number])];
    for part in parts {
        let mut run = vec![part.samples.len() as u32, at];
        for sample in &part.samples {
            let flags = FLAGS[usize::from(sample.sync)];
            run.extend([sample.duration, sample.size, flags, sample.composition as u32]);
            at += sample.size;
        }
        let (high, low) = ((part.start >> 32) as u32, part.start as u32);
        children.push(nested(
            *b"traf",
            vec![
                full(*b"tfhd", BASE_IS_MOOF, &[part.track]),
                full(*b"tfdt", 1 << 24, &[high, low]),
                full(*b"trun", 1 << 24 | RUN, &run),
            ],
        ));
    }
    let mut out = Vec::with_capacity(moof + 8);
    nested(*b"moof", children).write(&mut out);
    debug_assert_eq!(out.len(), moof);
    out.extend((at - moof as u32).to_be_bytes());
    out.extend(b"mdat");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_says_where_the_data_of_each_track_begins() {
        let sample = |size| Sample {
            duration: 1024,
            size,
            sync: true,
            composition: -1,
        };
        let part = |track, samples: Vec<Sample>| Part {
            track,
            start: 1 << 33,
            samples,
        };
        let bytes = fragment(
            7,
            &[part(1, vec![sample(10), sample(20)]), part(2, vec![sample(5)])],
        );
        let len = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
        assert_eq!(&bytes[len + 4..], b"mdat");
        assert_eq!(bytes[len..len + 4], 43_u32.to_be_bytes());
        let offsets: Vec<u32> = bytes
            .windows(4)
            .enumerate()
            .filter(|(_, name)| name == b"trun")
            .map(|(at, _)| u32::from_be_bytes(bytes[at + 12..at + 16].try_into().unwrap()))
            .collect();
        assert_eq!(offsets, [len as u32 + 8, len as u32 + 8 + 30]);
    }
}
