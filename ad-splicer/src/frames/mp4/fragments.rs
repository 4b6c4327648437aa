//! Fragmented MP4: the samples that stand in movie fragments (`moof`), as if one table had them.

use std::time::Duration;

use super::boxes::{Atom, TopBox, read_tree};
use super::edits::{Edit, edit_list};
use super::tables::{MOST_SAMPLES, Samples, damaged, full_duration, long, word};
use crate::content::Content;
use crate::splice::SpliceError;

/// What `trex` and `tfhd` say about samples that do not say it themselves.
#[derive(Clone, Copy, Debug, Default)]
struct Defaults {
    duration: u32,
    size: u32,
    flags: u32,
}

/// Bit of a sample's flags that says it is no sync sample.
const NON_SYNC: u32 = 0x1_0000;
/// The bits of a track run that announce a field for each sample: duration, size, flags, composition offset.
const EACH: [u32; 4] = [0x100, 0x200, 0x400, 0x800];

/// A track's number.
pub(crate) fn track_id(track: &Atom) -> Option<u32> {
    let tkhd = track.bytes(&[b"tkhd"])?;
    word(tkhd, if tkhd.first() == Some(&1) { 20 } else { 12 })
}

/// Adds the samples of all fragments to those of the movie's own tables: one table for each child of `moov` that is a track, `None` for the others.
pub(crate) fn gather(
    content: &dyn Content,
    boxes: &[TopBox],
    moov: &Atom,
    deadline: Duration,
) -> Result<Vec<Option<Samples>>, SpliceError> {
    let mut tables = Vec::new();
    let mut ids = Vec::new();
    let mut most = MOST_SAMPLES;
    for child in moov.children() {
        let is_track = &child.kind == b"trak";
        ids.push(is_track.then(|| track_id(child)).flatten());
        let samples = is_track.then(|| Samples::parse(child, most, content.len()));
        let samples = samples.transpose()?;
        most -= samples.as_ref().map_or(0, |samples| samples.sizes.len());
        tables.push(samples);
    }
    let defaults_of = |id: u32| {
        let children = moov.find(&[b"mvex"]).map_or(&[][..], Atom::children);
        let trex = children
            .iter()
            .filter(|child| &child.kind == b"trex")
            .find_map(|child| child.raw_bytes().filter(|trex| word(trex, 4) == Some(id)));
        trex.and_then(|trex| {
            Some(Defaults {
                duration: word(trex, 12)?,
                size: word(trex, 16)?,
                flags: word(trex, 20)?,
            })
        })
        .unwrap_or_default()
    };
    for top in boxes.iter().filter(|one| &one.kind == b"moof") {
        let bad = || damaged(&format!("the fragment at byte {} makes no sense", top.start));
        let moof = read_tree(content, top, deadline)?;
        // Where data begins when a run does not say: after that of the run before it.
        let mut follows = top.start;
        for traf in moof.children().iter().filter(|child| &child.kind == b"traf") {
            let tfhd = traf.bytes(&[b"tfhd"]).ok_or_else(bad)?;
            let id = word(tfhd, 4).ok_or_else(bad)?;
            let at = ids.iter().position(|one| *one == Some(id)).ok_or_else(bad)?;
            let Some(samples) = tables[at].as_mut() else {
                return Err(bad());
            };
            let (base, defaults) = header(tfhd, defaults_of(id), top.start, follows).ok_or_else(bad)?;
            if let Some(time) = traf.bytes(&[b"tfdt"]).and_then(|tfdt| {
                if tfdt.first() == Some(&1) {
                    long(tfdt, 4)
                } else {
                    word(tfdt, 4).map(u64::from)
                }
            }) {
                samples.last_until(time).ok_or_else(bad)?;
            }
            follows = base;
            for run in traf.children().iter().filter(|child| &child.kind == b"trun") {
                let run = run.raw_bytes().ok_or_else(bad)?;
                follows = add(samples, run, defaults, (base, follows), &mut most).ok_or_else(bad)?;
            }
        }
    }
    align(moov, &mut tables)?;
    for samples in tables.iter_mut().flatten() {
        samples.settle();
    }
    Ok(tables)
}

/// The file begins when the first of its tracks does, which a recording that was begun in the middle says is late; what begins after that stays so much later.
fn align(moov: &Atom, tables: &mut [Option<Samples>]) -> Result<(), SpliceError> {
    const NANOS: u128 = 1_000_000_000;
    let bad = || damaged("its tracks begin at times that make no sense");
    let movie = moov.bytes(&[b"mvhd"]).and_then(full_duration);
    let movie_scale = movie.map_or(1, |movie| movie.timescale);
    let scales = moov.children().iter().map(|child| {
        let media = child.bytes(&[b"mdia", b"mdhd"]).and_then(full_duration);
        (child, u128::from(media.map_or(1, |media| media.timescale.max(1))))
    });
    let mut tracks: Vec<_> = tables
        .iter_mut()
        .zip(scales)
        .filter_map(|(samples, (track, scale))| Some((samples.as_mut()?, track, scale)))
        .filter(|(samples, ..)| !samples.sizes.is_empty())
        .collect();
    let begins = tracks
        .iter()
        .map(|(samples, _, scale)| u128::from(samples.begins) * NANOS / scale);
    let first = begins.min().unwrap_or(0);
    for (samples, track, scale) in &mut tracks {
        let base = u64::try_from((first * *scale).div_ceil(NANOS)).map_err(|_| bad())?;
        // An edit list may count in the time that is taken away.
        let counts = |edit: Edit| edit.media_time >= base;
        if base > 0 && edit_list(track, movie_scale)?.is_some_and(counts) {
            return Err(SpliceError::Unsupported(
                "the MP4 file's edit list begins where its first fragment does, late: ads can be put into it when it was copied by ffmpeg"
                    .into(),
            ));
        }
        let later = samples.begins.saturating_sub(base);
        samples.begin_later(later).ok_or_else(bad)?;
    }
    Ok(())
}

/// Where a fragment's data is counted from, and its defaults.
fn header(tfhd: &[u8], mut defaults: Defaults, moof: u64, follows: u64) -> Option<(u64, Defaults)> {
    let flags = word(tfhd, 0)? & 0xFF_FFFF;
    let mut at = 8;
    let mut base = if flags & 0x2_0000 == 0 { follows } else { moof };
    if flags & 1 != 0 {
        base = long(tfhd, at)?;
        at += 8;
    }
    if flags & 2 != 0 {
        at += 4;
    }
    for (bit, field) in [
        (8, &mut defaults.duration),
        (16, &mut defaults.size),
        (32, &mut defaults.flags),
    ] {
        if flags & bit != 0 {
            *field = word(tfhd, at)?;
            at += 4;
        }
    }
    Some((base, defaults))
}

/// Adds the samples of one run, of the `most` that may still come; gives where its data ends.
fn add(
    samples: &mut Samples,
    run: &[u8],
    defaults: Defaults,
    (base, follows): (u64, u64),
    most: &mut usize,
) -> Option<u64> {
    let flags = word(run, 0)? & 0xFF_FFFF;
    let signed = run.first() == Some(&1);
    let count = word(run, 4)?;
    let mut at = 8;
    let mut take = |wanted: bool| {
        if !wanted {
            return Some(None);
        }
        at += 4;
        word(run, at - 4).map(Some)
    };
    let mut offset = match take(flags & 1 != 0)? {
        Some(offset) => base.checked_add_signed(i64::from(offset as i32))?,
        None => follows,
    };
    let first = take(flags & 4 != 0)?;
    for i in 0..count {
        let [duration, size, own, composition] = {
            let mut fields = [None; 4];
            for (field, bit) in fields.iter_mut().zip(EACH) {
                *field = take(flags & bit != 0)?;
            }
            fields
        };
        let own = if i == 0 { first.or(own) } else { own };
        let composition = composition.map(|value| {
            if signed {
                i64::from(value as i32)
            } else {
                i64::from(value)
            }
        });
        let size = size.unwrap_or(defaults.size);
        *most = most.checked_sub(1)?;
        samples.push(
            offset,
            size,
            duration.unwrap_or(defaults.duration),
            composition.unwrap_or(0) as i32,
            own.unwrap_or(defaults.flags) & NON_SYNC == 0,
        );
        offset = offset.checked_add(u64::from(size))?;
    }
    Some(offset)
}

#[cfg(test)]
mod tests {
    use super::super::boxes::Body;
    use super::*;

    /// A track of this many samples of one byte, which takes a hundred bytes to say.
    fn track(count: u32) -> Atom {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let nested = |kind: &[u8; 4], children| Atom {
            kind: *kind,
            body: Body::Nested(children),
        };
        let tables = vec![
            Atom::raw(*b"stsz", words(&[0, 1, count])),
            Atom::raw(*b"stco", words(&[0, 1, 0])),
            Atom::raw(*b"stsc", words(&[0, 1, 1, count, 1])),
            Atom::raw(*b"stts", words(&[0, 1, count, 1])),
        ];
        let stbl = nested(b"stbl", tables);
        nested(b"trak", vec![nested(b"mdia", vec![nested(b"minf", vec![stbl])])])
    }

    #[test]
    fn a_recording_that_was_begun_in_the_middle_begins_with_its_first_track() {
        let scaled = |timescale: u32| {
            let mut mdhd = vec![0; 24];
            mdhd[12..16].copy_from_slice(&timescale.to_be_bytes());
            let nested = |kind: &[u8; 4], child| Atom {
                kind: *kind,
                body: Body::Nested(vec![child]),
            };
            nested(b"trak", nested(b"mdia", Atom::raw(*b"mdhd", mdhd)))
        };
        let moov = Atom {
            kind: *b"moov",
            body: Body::Nested(vec![scaled(90_000), scaled(48_000)]),
        };
        // Two fragments of two samples each, the second track's half a second after the first's.
        let samples = |first: u64, lasts: u32| {
            let mut samples = Samples::default();
            for fragment in 0..2 {
                samples
                    .last_until(first + fragment * 2 * u64::from(lasts))
                    .unwrap();
                for _ in 0..2 {
                    samples.push(0, 1, lasts, 0, true);
                }
            }
            samples
        };
        let mut tables = [
            Some(samples(18 * 90_000, 3_000)),
            Some(samples(18 * 48_000 + 24_000, 1_024)),
        ];
        align(&moov, &mut tables).unwrap();
        let durations = tables.map(|samples| samples.unwrap().durations);
        assert_eq!(durations[0], [(4, 3_000)]);
        assert_eq!(durations[1], [(1, 25_024), (3, 1_024)]);
    }

    #[test]
    fn tables_hold_no_more_samples_than_there_is_room_for() {
        let gathered = |len: usize, tracks: &[u32]| {
            let moov = Atom {
                kind: *b"moov",
                body: Body::Nested(tracks.iter().map(|count| track(*count)).collect()),
            };
            gather(&vec![0_u8; len], &[], &moov, Duration::ZERO).map(|tables| {
                tables
                    .iter()
                    .flatten()
                    .map(|table| table.sizes.len())
                    .sum::<usize>()
            })
        };
        assert_eq!(gathered(100, &[100, 7]).unwrap(), 107);
        // More than the file has bytes.
        assert!(gathered(100, &[101]).is_err());
        // All tracks together.
        let half = MOST_SAMPLES as u32 / 2;
        assert!(gathered(MOST_SAMPLES, &[half, half, 1]).is_err());
    }
}
