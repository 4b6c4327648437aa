//! Edit lists (ISO/IEC 14496-12 §8.6.6): where in a track's own time its presentation begins, and how much later than the movie's.
//!
//! What a file shows in one piece is read, however many entries say so: empty time first, then parts of the track that follow each other.

use super::boxes::{Atom, Body};
use super::tables::{damaged, full_duration, long, word};
use crate::splice::SpliceError;

/// What a track begins with, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    /// Time before it, in the movie's time scale.
    pub(crate) lead: u64,
    /// In the movie's time scale.
    pub(crate) duration: u64,
    /// In the track's time scale.
    pub(crate) media_time: u64,
}

/// Empty time within a presentation, in the movie's time scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pause {
    /// How much of the track is shown before it.
    pub(crate) at: u64,
    pub(crate) lasts: u64,
}

/// Longer than any time that is meant: a hundred days in nanoseconds.
const LONGEST: u64 = 1 << 53;
/// More entries than any file has that shows a track in one piece.
const MOST: u32 = 4096;
/// Shown as fast as it is.
const USUAL_RATE: u32 = 0x0001_0000;

/// The edit list of a track in a movie of this time scale; `None` when there is none.
pub(crate) fn edit_list(track: &Atom, movie_scale: u32) -> Result<Option<Edit>, SpliceError> {
    let (edit, pauses) = edit_with_pauses(track, movie_scale)?;
    if pauses.is_empty() {
        Ok(edit)
    } else {
        Err(several())
    }
}

fn several() -> SpliceError {
    SpliceError::Unsupported(
        "the MP4 file's edit list leaves out a part in the middle, or shows one twice or at another speed: ads can be put into files that show their tracks in one piece"
            .into(),
    )
}

/// The same of a track that may pause, and its pauses. The duration is that of what is shown.
pub(crate) fn edit_with_pauses(
    track: &Atom,
    movie_scale: u32,
) -> Result<(Option<Edit>, Vec<Pause>), SpliceError> {
    let Some(elst) = track.bytes(&[b"edts", b"elst"]) else {
        return Ok((None, Vec::new()));
    };
    let bad = || damaged("a track's edit list makes no sense");
    let media = track
        .bytes(&[b"mdia", b"mdhd"])
        .and_then(full_duration)
        .ok_or_else(bad)?;
    let (wide, count) = (elst.first() == Some(&1), word(elst, 4).ok_or_else(bad)?);
    let (mut lead, mut found): (u64, Option<Edit>) = (0, None);
    let (mut pauses, mut total): (Vec<Pause>, u64) = (Vec::new(), 0);
    for i in 0..count.min(MOST) as usize {
        let at = 8 + if wide { 20 } else { 12 } * i;
        let entry = if wide {
            let (duration, time) = (long(elst, at), long(elst, at + 8));
            duration
                .zip(time.map(|time| time as i64))
                .zip(word(elst, at + 16))
        } else {
            let (duration, time) = (word(elst, at).map(u64::from), word(elst, at + 4));
            duration
                .zip(time.map(|time| i64::from(time as i32)))
                .zip(word(elst, at + 8))
        };
        let ((duration, media_time), rate) = entry.ok_or_else(bad)?;
        // All ones stand for a length that is not known: until the end.
        let duration = if wide && duration == u64::MAX { 0 } else { duration };
        total = total.saturating_add(duration);
        if total > LONGEST || media_time > LONGEST as i64 {
            return Err(bad());
        }
        match (u64::try_from(media_time), &mut found) {
            (Err(_), None) => lead = lead.checked_add(duration).ok_or_else(bad)?,
            (Err(_), Some(edit)) => match pauses.last_mut().filter(|last| last.at == edit.duration) {
                Some(last) => last.lasts = last.lasts.checked_add(duration).ok_or_else(bad)?,
                None => pauses.push(Pause {
                    at: edit.duration,
                    lasts: duration,
                }),
            },
            (Ok(_), _) if rate != USUAL_RATE || count > MOST => return Err(several()),
            (Ok(media_time), None) => {
                found = Some(Edit {
                    lead,
                    duration,
                    media_time,
                });
            }
            (Ok(media_time), Some(edit)) => {
                let shown =
                    u128::from(edit.duration) * u128::from(media.timescale) / u128::from(movie_scale.max(1));
                let unit = u64::from(media.timescale / movie_scale.max(1)) + 1;
                let end = u64::try_from(shown)
                    .ok()
                    .and_then(|shown| shown.checked_add(edit.media_time));
                if edit.duration == 0 || end.ok_or_else(bad)?.abs_diff(media_time) > unit {
                    return Err(several());
                }
                edit.duration = edit.duration.checked_add(duration).ok_or_else(bad)?;
            }
        }
    }
    // Nothing is shown at the end.
    let shown = found.map_or(0, |edit| edit.duration);
    pauses.retain(|pause| pause.lasts > 0 && pause.at < shown);
    Ok((found, pauses))
}

/// Gives a track's edit list its new length, and its entries in their plainest form; a track without one keeps none.
pub(crate) fn set_edit(track: &mut Atom, movie_scale: u32, duration: u64) {
    if let Ok(Some(edit)) = edit_list(track, movie_scale) {
        replace_edit(track, Edit { duration, ..edit });
    }
}

/// Gives a track this edit list in the place of its own; a track without one keeps none.
pub(crate) fn replace_edit(track: &mut Atom, edit: Edit) {
    if let Some(elst) = track.bytes_mut(&[b"edts", b"elst"]) {
        let wide = elst.first() == Some(&1);
        *elst = list(edit, wide);
    }
}

/// Gives a track this edit list, whether it has one or not.
pub(crate) fn put_edit(track: &mut Atom, edit: Edit) {
    let Some(children) = track.children_mut() else {
        return;
    };
    children.retain(|child| &child.kind != b"edts");
    let elst = Atom::raw(*b"elst", list(edit, false));
    let edts = Atom {
        kind: *b"edts",
        body: Body::Nested(vec![elst]),
    };
    // After the header.
    children.insert(children.len().min(1), edts);
}

/// What `elst` holds, in its wide form at least where numbers need it.
fn list(edit: Edit, wide: bool) -> Vec<u8> {
    let empty = (edit.lead > 0).then_some((edit.lead, -1_i64));
    let entries: Vec<_> = empty
        .into_iter()
        .chain([(edit.duration, edit.media_time as i64)])
        .collect();
    let narrow: Option<Vec<(u32, i32)>> = entries
        .iter()
        .map(|(duration, time)| Some((u32::try_from(*duration).ok()?, i32::try_from(*time).ok()?)))
        .collect();
    let wide = wide || narrow.is_none();
    let mut out = vec![u8::from(wide), 0, 0, 0];
    out.extend((entries.len() as u32).to_be_bytes());
    for (i, (duration, time)) in entries.iter().enumerate() {
        if let Some(narrow) = narrow.as_ref().filter(|_| !wide) {
            out.extend(narrow[i].0.to_be_bytes());
            out.extend(narrow[i].1.to_be_bytes());
        } else {
            out.extend(duration.to_be_bytes());
            out.extend(time.to_be_bytes());
        }
        out.extend(USUAL_RATE.to_be_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A track of 48,000 ticks a second with these entries: duration, media time, rate.
    fn track(entries: &[(u32, i32, u32)]) -> Atom {
        let mut mdhd = vec![0; 24];
        mdhd[12..16].copy_from_slice(&48_000_u32.to_be_bytes());
        let mut elst = vec![0; 4];
        elst.extend((entries.len() as u32).to_be_bytes());
        for (duration, time, rate) in entries {
            elst.extend(duration.to_be_bytes());
            elst.extend(time.to_be_bytes());
            elst.extend(rate.to_be_bytes());
        }
        let parent = |kind: &[u8; 4], child| Atom {
            kind: *kind,
            body: Body::Nested(vec![child]),
        };
        Atom {
            kind: *b"trak",
            body: Body::Nested(vec![
                parent(b"edts", Atom::raw(*b"elst", elst)),
                parent(b"mdia", Atom::raw(*b"mdhd", mdhd)),
            ]),
        }
    }

    #[test]
    fn no_time_is_longer_than_any_that_is_meant() {
        // Of version 1, with 64 bits.
        let wide = |entries: &[(u64, i64)]| {
            let mut track = track(&[]);
            let mut elst = vec![1, 0, 0, 0];
            elst.extend((entries.len() as u32).to_be_bytes());
            for (duration, time) in entries {
                elst.extend(duration.to_be_bytes());
                elst.extend(time.to_be_bytes());
                elst.extend(ONE.to_be_bytes());
            }
            if let Body::Nested(children) = &mut track.body {
                children[0].body = Body::Nested(vec![Atom::raw(*b"elst", elst)]);
            }
            edit_list(&track, 48_000)
        };
        let most = i64::MAX as u64;
        for entries in [
            &[(most, -1), (1000, 0)][..],
            &[(most, 1024)],
            &[(1000, i64::MAX)],
            &[(LONGEST, -1), (1, -1), (1000, 0)],
        ] {
            wide(entries).expect_err("so long a time");
        }
        // Which is how a length that is not known is written.
        assert_eq!(wide(&[(u64::MAX, 1024)]).unwrap().unwrap().duration, 0);
    }

    const ONE: u32 = USUAL_RATE;

    #[test]
    fn what_is_shown_in_one_piece_is_one_edit() {
        let edit = |lead, duration, media_time| {
            Some(Edit {
                lead,
                duration,
                media_time,
            })
        };
        for (entries, wanted) in [
            (&[(5000, 1024, ONE)][..], edit(0, 5000, 1024)),
            (
                &[(300, -1, ONE), (200, -1, ONE), (5000, 0, ONE)],
                edit(500, 5000, 0),
            ),
            (&[(1000, 1024, ONE), (4000, 49_024, ONE)], edit(0, 5000, 1024)),
            // Movie time is milliseconds: a tick of it off.
            (&[(1000, 1024, ONE), (4000, 49_070, ONE)], edit(0, 5000, 1024)),
            (&[(5000, 0, ONE), (300, -1, ONE)], edit(0, 5000, 0)),
            (
                &[(1000, 0, ONE), (0, -1, ONE), (4000, 48_000, ONE)],
                edit(0, 5000, 0),
            ),
            (&[], None),
        ] {
            let mut track = track(entries);
            assert_eq!(edit_list(&track, 1000).unwrap(), wanted, "{entries:?}");
            set_edit(&mut track, 1000, 7777);
            let now = wanted.map(|wanted| Edit {
                duration: 7777,
                ..wanted
            });
            assert_eq!(edit_list(&track, 1000).unwrap(), now, "{entries:?}");
            set_edit(&mut track, 1000, 1 << 40);
            let now = now.map(|now| now.lead);
            assert_eq!(edit_list(&track, 1000).unwrap().map(|edit| edit.lead), now);
        }
    }

    #[test]
    fn what_is_shown_in_pieces_is_refused() {
        for entries in [
            &[(1000, 0, ONE), (4000, 96_000, ONE)][..],
            &[(1000, 0, ONE), (1000, 0, ONE)],
            &[(1000, 0, ONE), (1000, -1, ONE), (1000, 48_000, ONE)],
            &[(1000, 0, 0)],
            &[(0, 0, ONE), (1000, 0, ONE)],
        ] {
            let error = edit_list(&track(entries), 1000).unwrap_err();
            assert!(error.to_string().contains("one piece"), "{error}");
        }
        // Where pauses are heard as such they are told.
        let entries = [
            (70, -1, ONE),
            (1000, 0, ONE),
            (400, -1, ONE),
            (100, -1, ONE),
            (2000, 48_000, ONE),
            (9, -1, ONE),
        ];
        let (edit, pauses) = edit_with_pauses(&track(&entries), 1000).unwrap();
        let edit = edit.unwrap();
        assert_eq!((edit.lead, edit.duration, edit.media_time), (70, 3000, 0));
        assert_eq!(pauses, [Pause { at: 1000, lasts: 500 }]);
        let mut cut = track(&[(1000, 0, ONE)]);
        cut.bytes_mut(&[b"edts", b"elst"]).unwrap().truncate(12);
        assert!(edit_list(&cut, 1000).unwrap_err().to_string().contains("damaged"));
    }
}
