//! MP4 of which one track is coded again: that track alone, for whoever codes it, and the movie with what came out in its place.
//!
//! All other tracks keep each sample and its time; their bytes stay where they are. Sound that is coded again is as long as it was, sample by sample: packet `f` of it, in samples of what it decodes to, begins
//! where it did, an encoder's priming later, so that the edit list leaves out that much more. Pure but for reading.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::pictures::{Taken, failed};
use super::{DEADLINE, PRIMING};
use crate::content::Content;
use crate::frames::aac::SAMPLES;
use crate::frames::mp4::{
    self, Atom, Chunks, Edit, Samples, Tables, TopBox, avc_config, edit_list, edit_with_pauses,
    full_duration, move_chunks, priming, put_edit, remove_tables, set_avc_config, set_description,
    set_durations, set_tables,
};
use crate::splice::SpliceError;
use crate::splice::format::Runs;

/// How long the packets of one track stand beside each other, in nanoseconds.
const WINDOW: u64 = 500_000_000;
/// Packets in a chunk, at most.
const CHUNK: u32 = 43;
/// Room for the movie box when it is decided whether offsets need 64 bits.
const MOVIE_ROOM: u64 = 128 << 20;

fn unsupported(what: impl Into<String>) -> SpliceError {
    SpliceError::Unsupported(what.into())
}

/// What was coded again is not all of what there was.
fn incomplete() -> SpliceError {
    unsupported("the sound of the MP4 file cannot be coded again: not all of its packets can be decoded")
}

/// The tables of a file.
struct Movie {
    boxes: Vec<TopBox>,
    moov: Atom,
    scale: u32,
    /// Of each child of `moov` that is a track.
    tables: Vec<Option<Samples>>,
}

/// The samples of a track, from this offset of their content on.
struct Placed<'a> {
    child: usize,
    samples: &'a Samples,
    /// Runs of samples of one duration.
    durations: &'a [(u32, u32)],
    base: u64,
}

impl Movie {
    fn read(content: &dyn Content) -> Result<Self, SpliceError> {
        let damaged = || unsupported("the MP4 file has no movie box that makes sense");
        let boxes = mp4::top_level(content, DEADLINE)?.ok_or_else(damaged)?;
        let moov = boxes.iter().find(|one| &one.kind == b"moov");
        let mut moov = mp4::read_tree(content, moov.ok_or_else(damaged)?, DEADLINE)?;
        let mut tables = mp4::gather(content, &boxes, &moov, DEADLINE)?;
        // What is written has no fragments.
        while let Some(children) = moov.children_mut()
            && let Some(at) = children.iter().position(|child| &child.kind == b"mvex")
        {
            children.remove(at);
            tables.remove(at);
        }
        moov.children_mut().into_iter().flatten().for_each(remove_tables);
        let header = moov.bytes(&[b"mvhd"]).and_then(full_duration);
        let scale = header.ok_or_else(damaged)?.timescale;
        Ok(Self {
            boxes,
            moov,
            scale,
            tables,
        })
    }

    /// The only track of sound.
    fn sound(&self) -> Option<(usize, &Atom, &Samples)> {
        let tracks = self.moov.children().iter().enumerate();
        let mut found = tracks.filter(|(_, track)| handler(track) == Some(b"soun"));
        let (child, track) = found.next()?;
        let samples = self.tables.get(child)?.as_ref()?;
        found.next().is_none().then_some((child, track, samples))
    }

    /// All tracks, this one with other samples, which stand from this offset on.
    fn placed<'a>(
        &'a self,
        child: usize,
        samples: &'a Samples,
        durations: &'a [(u32, u32)],
        base: u64,
    ) -> Vec<Placed<'a>> {
        let tables = self.tables.iter().enumerate();
        let placed = tables.filter_map(|(at, own)| {
            let own = own.as_ref()?;
            let (samples, durations, base) = if at == child {
                (samples, durations, base)
            } else {
                (own, &own.durations[..], 0)
            };
            Some(Placed {
                child: at,
                samples,
                durations,
                base,
            })
        });
        placed.collect()
    }

    fn ftyp(&self) -> Option<Range<u64>> {
        let ftyp = self.boxes.iter().find(|one| &one.kind == b"ftyp")?;
        Some(ftyp.start..ftyp.end)
    }
}

/// The track of H.264.
fn pictures(movie: &Movie) -> Result<(usize, &Atom, &Samples), SpliceError> {
    let tracks = movie.moov.children().iter().enumerate();
    let mut found = tracks.filter(|(_, track)| avc_config(track).is_some());
    let one = found.next().filter(|_| found.next().is_none());
    let found = one.and_then(|(child, track)| Some((child, track, movie.tables.get(child)?.as_ref()?)));
    found.ok_or_else(|| unsupported("the MP4 file has not one track of H.264"))
}

fn sound(movie: &Movie) -> Result<(usize, &Atom, &Samples), SpliceError> {
    let found = movie.sound().filter(|(_, _, samples)| !samples.sizes.is_empty());
    found.ok_or_else(|| unsupported("the MP4 file has not one track of sound"))
}

fn timescale(track: &Atom) -> Result<u32, SpliceError> {
    let header = track.bytes(&[b"mdia", b"mdhd"]).and_then(full_duration);
    let header = header.ok_or_else(|| unsupported("a track of the MP4 file does not say how long it is"))?;
    Ok(header.timescale)
}

fn total(durations: &[(u32, u32)]) -> u64 {
    durations
        .iter()
        .map(|run| u64::from(run.0) * u64::from(run.1))
        .sum()
}

/// How long most packets last.
fn usual(durations: &[(u32, u32)]) -> u32 {
    let longest = durations.iter().max_by_key(|(count, _)| *count);
    longest.map_or(0, |(_, duration)| *duration)
}

/// The sound alone, packet after packet without gaps, all of it heard: as bytes of the content and others.
pub(super) fn sound_alone(content: &dyn Content) -> Result<Runs, SpliceError> {
    let movie = Movie::read(content)?;
    let (_, track, samples) = sound(&movie)?;
    sound_of(&movie, track, samples)
}

fn sound_of(movie: &Movie, track: &Atom, samples: &Samples) -> Result<Runs, SpliceError> {
    let each = usual(&samples.durations);
    alone(movie, track, samples, &[(samples.sizes.len() as u32, each)])
}

/// Which samples of a track are heard: the others are its encoder's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Samples a second, as they are counted here.
    pub(crate) rate: u32,
    /// To leave out at the beginning.
    pub(crate) skip: u64,
    /// To keep after that.
    pub(crate) keep: u64,
    /// Where nothing is heard for a while within that.
    pub(crate) pauses: Vec<Pause>,
    /// How much later than pictures, if there are any, what is kept begins.
    pub(crate) later: Duration,
}

/// Samples of silence within what is kept of a track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pause {
    /// How many samples are kept before it.
    pub(crate) at: u64,
    pub(crate) lasts: u64,
}

/// Longest pause that is believed, in seconds, and how many there may be.
const LONGEST_PAUSE: u64 = 30;
const MOST_PAUSES: usize = 100;

/// The only track of sound alone, with all packets and no edit list, and what its edit list (or iTunes' tag) has heard of it; `None` when it is not AAC, or stops for a while.
pub(super) fn aac_alone(content: &dyn Content) -> Result<Option<(Runs, Heard)>, SpliceError> {
    let movie = Movie::read(content)?;
    let (_, track, samples) = sound(&movie)?;
    if !matches!(mp4::audio_config(track), Ok(_) | Err(SpliceError::Again(_))) {
        return Ok(None);
    }
    let rate = timescale(track)?;
    if stops(&samples.durations, rate) {
        return Ok(None);
    }
    let (edit, pauses) = edit_with_pauses(track, movie.scale)?;
    let is_long = |pause: &mp4::Pause| pause.lasts > LONGEST_PAUSE * u64::from(movie.scale);
    if pauses.len() > MOST_PAUSES || pauses.iter().any(is_long) {
        return Ok(None);
    }
    let samples_in = |time: u64| u128::from(time) * u128::from(rate) / u128::from(movie.scale);
    let pauses = pauses.iter().map(|pause| Pause {
        at: u64::try_from(samples_in(pause.at)).unwrap_or(u64::MAX),
        lasts: samples_in(pause.lasts) as u64,
    });
    let pauses = pauses.collect();
    let declared = priming(&movie.moov).filter(|_| edit.is_none());
    let zero = edit
        .map(|edit| edit.media_time)
        .or(declared.map(|(delay, _)| delay));
    let skip = zero.unwrap_or(0);
    let rest = total(&samples.durations).saturating_sub(skip);
    let keep = match (edit, declared) {
        (Some(edit), _) if edit.duration > 0 => {
            let wanted = samples_in(edit.duration);
            // Movie time is often milliseconds: what is that near to the end is meant to be it.
            let unit = u128::from(rate / movie.scale) + 1;
            u64::try_from(wanted + unit)
                .map_or(rest, |near| if near >= rest { rest } else { near - unit as u64 })
        }
        (None, Some((_, samples))) => samples.min(rest),
        _ => rest,
    };
    if keep == 0 {
        return Ok(None);
    }
    Ok(Some((
        sound_of(&movie, track, samples)?,
        Heard {
            rate,
            skip,
            keep,
            pauses,
            later: later_than_pictures(&movie, edit),
        },
    )))
}

/// Whether there is a gap between packets that would have what follows it heard too early: longer than anybody takes for rounding.
fn stops(durations: &[(u32, u32)], rate: u32) -> bool {
    let most = usual(durations).saturating_add(rate / 25);
    // The last one may last as long as the movie.
    let last = durations.iter().rposition(|run| run.0 > 0);
    let runs = durations.iter().enumerate();
    let mut long = runs.filter(|(_, (count, lasts))| *count > 0 && *lasts > most);
    long.any(|(i, (count, _))| Some(i) != last || *count > 1)
}

/// How much later than the first of all pictures sound with this edit list begins.
fn later_than_pictures(movie: &Movie, sound: Option<Edit>) -> Duration {
    let seconds = |units: u64, scale: u32| {
        let nanos = u128::from(units) * 1_000_000_000 / u128::from(scale.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    };
    let seen = |track: &Atom, samples: &Samples| {
        let edit = edit_list(track, movie.scale).ok()?;
        // The first that is decoded is the first that is shown.
        let shown = u64::try_from(*samples.compositions.first().unwrap_or(&0)).unwrap_or(0);
        let skipped = edit.map_or(0, |edit| edit.media_time);
        let own = seconds(shown.saturating_sub(skipped), timescale(track).ok()?);
        Some(seconds(edit.map_or(0, |edit| edit.lead), movie.scale) + own)
    };
    let tracks = movie.moov.children().iter().zip(&movie.tables);
    let first = tracks
        .filter(|(track, _)| handler(track) == Some(b"vide"))
        .filter_map(|(track, samples)| seen(track, samples.as_ref()?))
        .min();
    let heard = seconds(sound.map_or(0, |edit| edit.lead), movie.scale);
    first.map_or(Duration::ZERO, |first| heard.saturating_sub(first))
}

/// What kind of track it is.
fn handler(track: &Atom) -> Option<&[u8]> {
    track.bytes(&[b"mdia", b"hdlr"])?.get(8..12)
}

/// The pictures alone, all of them shown.
pub(super) fn pictures_alone(content: &dyn Content) -> Result<Runs, SpliceError> {
    let movie = Movie::read(content)?;
    let (_, track, samples) = pictures(&movie)?;
    alone(&movie, track, samples, &samples.durations)
}

/// One track alone, with no edit list.
fn alone(
    movie: &Movie,
    track: &Atom,
    samples: &Samples,
    durations: &[(u32, u32)],
) -> Result<Runs, SpliceError> {
    let mut track = track.clone();
    if let Some(children) = track.children_mut() {
        children.retain(|child| !matches!(&child.kind, b"edts" | b"tref"));
    }
    let media = total(durations);
    // Demuxers leave out what is beyond the length of the movie or of the track: they are not to be less than the last packet needs.
    let latest = samples.compositions.iter().copied().max().unwrap_or(0).max(0);
    let over = media + latest as u64;
    let scaled = u128::from(over) * u128::from(movie.scale) / u128::from(timescale(&track)?) + 1;
    set_durations(&mut track, scaled as u64, Some(over));
    let header = movie
        .moov
        .children()
        .iter()
        .filter(|child| &child.kind == b"mvhd");
    let mut moov = movie.moov.clone();
    if let Some(children) = moov.children_mut() {
        *children = header.cloned().chain([track]).collect();
    }
    set_durations(&mut moov, scaled as u64, None);
    let placed = Placed {
        child: moov.children().len() - 1,
        samples,
        durations,
        base: 0,
    };
    lay_out(movie.ftyp(), moov, &[placed])
}

/// The movie with sound that was coded again as a whole: of the content's bytes, and of those of what was coded, which follow them.
pub(super) fn with_sound(content: &dyn Content, coded: &dyn Content) -> Result<Runs, SpliceError> {
    let (old, new) = (Movie::read(content)?, Movie::read(coded)?);
    let (child, before, packets) = sound(&old)?;
    let (_, after, made) = sound(&new)?;
    let (was, rate) = (timescale(before)?, timescale(after)?);
    // Samples that a packet decodes to, in packets of what was made.
    let each = usual(&packets.durations);
    let decoded = u64::from(each) * u64::from(rate) / u64::from(was);
    let times = decoded / u64::from(SAMPLES);
    if times == 0
        || decoded != times * u64::from(SAMPLES)
        || u64::from(each) * u64::from(rate) % u64::from(was) > 0
    {
        return Err(unsupported(
            "the sound of the MP4 file cannot be coded again: its packets are not of 1,024 or 2,048 samples",
        ));
    }
    let rescaled = |time: u64| (u128::from(time) * u128::from(rate) / u128::from(was)) as u64;
    if made.sizes.len() as u64 != times * packets.sizes.len() as u64 + 1 {
        return Err(incomplete());
    }
    let durations = durations(&packets.durations, (each, times as usize), rate, was)?;
    let total = total(&durations);
    let edit = edit_list(before, old.scale)?;
    let declared = priming(&old.moov).filter(|_| edit.is_none());
    let zero = edit
        .map(|edit| edit.media_time)
        .or(declared.map(|(delay, _)| delay));
    let media_time = rescaled(zero.unwrap_or(0)) + u64::from(PRIMING);
    let in_movie = |samples: u64| (u128::from(samples) * u128::from(old.scale) / u128::from(rate)) as u64;
    let edit = match edit {
        Some(edit) => Edit { media_time, ..edit },
        None => Edit {
            lead: 0,
            duration: in_movie(
                declared.map_or(total.saturating_sub(media_time), |(_, samples)| rescaled(samples)),
            ),
            media_time,
        },
    };
    let mut moov = old.moov.clone();
    if let Some(track) = moov.children_mut().and_then(|children| children.get_mut(child)) {
        set_description(track, after, rate);
        put_edit(track, edit);
        set_durations(track, edit.lead + edit.duration, Some(total));
    }
    let placed = old.placed(child, made, &durations, content.len());
    lay_out(old.ftyp(), moov, &placed)
}

/// The movie with pictures that were coded again as a whole, each shown when it was: of the content's bytes, and of those of what was taken, which follow them.
pub(super) fn with_pictures(content: &dyn Content, taken: Taken) -> Result<Runs, SpliceError> {
    let movie = Movie::read(content)?;
    let (child, _, old) = pictures(&movie)?;
    let mut samples = taken.samples;
    let count = samples.sizes.len();
    if count != old.sizes.len() {
        return Err(failed("not all of them can be decoded"));
    }
    // They are decoded in the order of showing, all as long before it.
    let mut time = 0_i64;
    let each = old
        .durations
        .iter()
        .flat_map(|run| (0..run.0).map(move |_| i64::from(run.1)));
    let mut shown: Vec<i64> = each
        .enumerate()
        .map(|(i, lasts)| {
            let shown = time + i64::from(old.compositions.get(i).copied().unwrap_or(0));
            time += lasts;
            shown
        })
        .collect();
    shown.sort_unstable();
    let first = shown.first().copied().unwrap_or(0);
    let last = old.durations.last().map_or(1, |run| run.1);
    let mut durations: Vec<(u32, u32)> = Vec::new();
    let steps = shown
        .windows(2)
        .map(|two| u32::try_from(two[1] - two[0]).unwrap_or(0));
    for step in steps.chain([last]) {
        if step == 0 {
            return Err(failed("two of them are shown at the same time"));
        }
        match durations.last_mut() {
            Some((count, same)) if *same == step => *count += 1,
            _ => durations.push((1, step)),
        }
    }
    samples.compositions = match i32::try_from(first) {
        Ok(0) => Vec::new(),
        Ok(later) => vec![later; count],
        Err(_) => return Err(failed("the first of them is shown too late")),
    };
    let mut moov = movie.moov.clone();
    if let Some(track) = moov.children_mut().and_then(|children| children.get_mut(child)) {
        set_avc_config(track, &taken.config.unwrap_or_default());
    }
    let placed = movie.placed(child, &samples, &durations, content.len());
    lay_out(movie.ftyp(), moov, &placed)
}

/// How long the packets last that were made, so that what is heard from each old one on is heard when it was. Old ones usually last `each`, and became so many.
fn durations(
    old: &[(u32, u32)],
    (each, times): (u32, usize),
    rate: u32,
    was: u32,
) -> Result<Vec<(u32, u32)>, SpliceError> {
    let usual = |count: usize| (count as u32, SAMPLES);
    // The first holds nothing but what is before the sound.
    let mut durations = vec![usual(1)];
    let mut plain = 0;
    let last = old.len().saturating_sub(1);
    for (i, (count, duration)) in old.iter().enumerate() {
        if *duration == each {
            plain += *count as usize * times;
            continue;
        }
        let more = (i64::from(*duration) - i64::from(each)) * i64::from(rate) / i64::from(was);
        for _ in 0..*count {
            let is_last = i == last;
            let lasts = i64::from(SAMPLES) + more;
            let lasts = if is_last { lasts.max(1) } else { lasts };
            let lasts = u32::try_from(lasts)
                .ok()
                .filter(|lasts| *lasts > 0)
                .ok_or_else(|| {
                    unsupported(
                        "the sound of the MP4 file cannot be coded again: its packets overlap in time",
                    )
                })?;
            durations.push(usual(plain + times - 1));
            durations.push((1, lasts));
            plain = 0;
        }
    }
    durations.push(usual(plain));
    durations.retain(|run| run.0 > 0);
    Ok(durations)
}

/// A file of these tracks, packets that are heard or seen at about the same time beside each other.
fn lay_out(ftyp: Option<Range<u64>>, mut moov: Atom, tracks: &[Placed<'_>]) -> Result<Runs, SpliceError> {
    let scales: Vec<u32> = tracks
        .iter()
        .map(|placed| timescale(&moov.children()[placed.child]))
        .collect::<Result<_, _>>()?;
    let mut data = Runs::default();
    let mut chunks: Vec<Chunks> = tracks.iter().map(|_| Chunks::default()).collect();
    let mut next: Vec<_> = tracks
        .iter()
        .zip(&scales)
        .map(|(placed, scale)| starts(placed.durations, *scale).enumerate().peekable())
        .collect();
    loop {
        let first = next
            .iter_mut()
            .filter_map(|track| track.peek().map(|(_, time)| *time))
            .min();
        let Some(first) = first else { break };
        for ((placed, track), chunks) in tracks.iter().zip(&mut next).zip(&mut chunks) {
            let mut is_new = true;
            while let Some((i, _)) = track.next_if(|(_, time)| *time < first + WINDOW) {
                let (Some(offset), Some(size)) = (placed.samples.offsets.get(i), placed.samples.sizes.get(i))
                else {
                    continue;
                };
                if is_new || !chunks.add(CHUNK) {
                    chunks.push(data.len(), 1);
                }
                is_new = false;
                let start = placed.base + offset;
                if *size > 0 {
                    data.content(start, start + u64::from(*size));
                }
            }
        }
    }
    let head = ftyp.as_ref().map_or(0, |ftyp| ftyp.end - ftyp.start);
    let wide = head + data.len() + MOVIE_ROOM > u64::from(u32::MAX);
    for (placed, chunks) in tracks.iter().zip(&chunks) {
        let mut compositions: Vec<(u32, i32)> = Vec::new();
        for composition in &placed.samples.compositions {
            match compositions.last_mut() {
                Some((count, same)) if same == composition => *count += 1,
                _ => compositions.push((1, *composition)),
            }
        }
        let tables = Tables {
            count: placed.samples.sizes.len(),
            size: &|i| placed.samples.sizes[i],
            durations: placed.durations,
            compositions: &compositions,
            sync: placed.samples.sync.as_deref(),
            chunks,
        };
        if let Some(track) = moov
            .children_mut()
            .and_then(|children| children.get_mut(placed.child))
        {
            set_tables(track, &tables, wide);
        }
    }
    let own = if wide { 16 } else { 8 };
    let start = head + moov.len() + own;
    let children = moov.children_mut().into_iter().flatten();
    children.for_each(|track| move_chunks(track, start));

    let mut runs = Runs::default();
    if let Some(ftyp) = ftyp {
        runs.content(ftyp.start, ftyp.end);
    }
    moov.into_parts().into_iter().for_each(|part| runs.shared(part));
    let len = data.len() + own;
    let (short, long) = if wide { (1, Some(len)) } else { (len as u32, None) };
    let mut head = short.to_be_bytes().to_vec();
    head.extend(b"mdat");
    head.extend(long.into_iter().flat_map(u64::to_be_bytes));
    runs.shared(head.into());
    runs.append(data);
    Ok(runs)
}

/// When each packet begins, in nanoseconds.
fn starts(durations: &[(u32, u32)], scale: u32) -> impl Iterator<Item = u64> + '_ {
    let each = durations
        .iter()
        .flat_map(|(count, duration)| (0..*count).map(move |_| u64::from(*duration)));
    each.scan(0_u64, move |time, duration| {
        let start = u128::from(*time) * 1_000_000_000 / u128::from(scale.max(1));
        *time += duration;
        Some(start as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_between_packets_stay_where_they_were() {
        let of = |old: &[(u32, u32)], times| durations(old, (1024, times), 48_000, 24_000);
        // A priming packet, and two for each.
        assert_eq!(of(&[(3, 1024)], 2).unwrap(), [(1, 1024), (6, 1024)]);
        // The second lasts 100 longer: so does that before the packet which begins where it is over, the fifth.
        let gap = of(&[(1, 1024), (1, 1124), (1, 1024)], 2).unwrap();
        assert_eq!(gap, [(1, 1024), (3, 1024), (1, 1224), (2, 1024)]);
        // The end is no packet's beginning.
        assert_eq!(
            of(&[(2, 1024), (1, 7)], 2).unwrap(),
            [(1, 1024), (5, 1024), (1, 1)]
        );
        assert!(of(&[(1, 1024), (1, 7), (1, 1024)], 2).is_err());
    }
}
