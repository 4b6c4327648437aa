//! Writing MP4: the movie box with its tables, and the order in which packets of sound and pictures stand.
//!
//! Where content is copied, its packets stay beside each other as they are in the content, so that it is copied in long runs; around breaks sound and pictures alternate.

mod fragments;

use std::ops::Range;

use bytes::Bytes;

use super::clock::{self, Clock};
use super::format::{Played, Runs};
use super::layout::Layout;
use super::m4a::M4a;
use super::pictures::{Avc, From, Shots, first_not, rescaled};
use super::regions::Piece;
use super::{SpliceError, ad_chapters};
use crate::frames::aac::SAMPLES;
use crate::frames::mp4::{
    Atom, Chunks, Edit, Samples, Tables, blank, edit_chapters, edit_list, full_duration, move_chunks,
    replace_edit, sample_of, set_avc_config, set_durations, set_edit, set_tables, titles, track_id,
};
use crate::plan::{Segment, SplicePlan};
use crate::time::ContentTime;

/// Packets of sound in a chunk of the result: about a second. Of pictures there are at most as many.
const CHUNK: u32 = 43;
/// Most bytes of tracks other than sound and pictures: they are held in memory.
const MOST_OTHER: u64 = 64 << 20;
/// Room that is left for the movie box when it is decided whether offsets need 64 bits.
const MOVIE_ROOM: u64 = 128 << 20;
/// How long sound and pictures stand apart around breaks, in nanoseconds.
const WINDOW: i64 = 500_000_000;

fn unsupported(what: &str) -> SpliceError {
    SpliceError::Unsupported(what.to_owned())
}

/// A track that is neither the sound nor the pictures, with its samples moved.
struct Other {
    child: usize,
    bytes: Vec<u8>,
    sizes: Vec<u32>,
    durations: Vec<(u32, u32)>,
}

/// Moves the samples of a track: each begins where its time is now, and lasts until the next.
fn other(
    file: &M4a<'_>,
    plan: &SplicePlan,
    (child, track): (usize, &Atom),
    holds_titles: bool,
    room: &mut u64,
) -> Result<Other, SpliceError> {
    let samples = file.tables[child].clone().unwrap_or_default();
    if samples.several {
        return Err(unsupported(
            "a track of the MP4 file other than sound and pictures has several descriptions, which would be mixed up",
        ));
    }
    let bytes: u64 = samples.sizes.iter().map(|size| u64::from(*size)).sum();
    *room = room
        .checked_sub(bytes)
        .ok_or_else(|| unsupported("the MP4 file's other tracks are longer than 64 MiB"))?;
    let scale = track
        .bytes(&[b"mdia", b"mdhd"])
        .and_then(full_duration)
        .ok_or_else(|| unsupported("a track of the MP4 file does not say how long it is"))?
        .timescale;
    let edit = edit_list(track, file.movie_scale)?;
    let lead = edit.map_or(0, |edit| rescaled(edit.lead as i64, scale, file.movie_scale)) as u64;
    let offset = edit.map_or(0, |edit| edit.media_time);
    let unit = u64::from(plan.sample_rate() / scale.max(1)) + 1;
    let content = |time: u64| ContentTime::from_samples((time + lead).saturating_sub(offset), scale);
    let place = |time: u64| {
        let at = file.moved(plan, content(time), unit);
        (at.to_samples(scale) + offset).saturating_sub(lead)
    };
    let (mut time, mut starts) = (0_u64, Vec::with_capacity(samples.sizes.len() + 1));
    let mut left_out = Vec::new();
    for (count, duration) in &samples.durations {
        for _ in 0..*count {
            starts.push(if time == 0 { 0 } else { place(time) });
            let lasts = content(time)..content(time + u64::from(*duration));
            left_out.push(holds_titles && file.leaves_out(plan, &lasts, unit));
            time += u64::from(*duration);
        }
    }
    let mut end = place(time).max(starts.last().copied().unwrap_or(0));
    let mut list = Vec::with_capacity(starts.len());
    for ((offset, size), start) in samples.offsets.iter().zip(&samples.sizes).zip(starts) {
        list.push((start, file.read_at(offset, (*size).into())?));
    }
    // Titles of which nothing is left; a list is never without any.
    if left_out.contains(&false) {
        let mut left_out = left_out.into_iter();
        list.retain(|_| !left_out.next().unwrap_or(false));
        if let Some(first) = list.first_mut() {
            first.0 = 0;
        }
    }
    let placed = |(from, until): (u64, u64)| {
        let at = |time: u64| (time + offset).saturating_sub(lead);
        (if from == 0 { 0 } else { at(from) }, at(until))
    };
    if holds_titles && !list.is_empty() {
        let breaks: Vec<_> = file
            .listed_breaks(plan, scale.into())
            .into_iter()
            .map(placed)
            .collect();
        if let Some((_, over)) = breaks.last() {
            // The last one, an ad perhaps, lasts as long as the sound, although chapters may have ended before.
            let whole = ContentTime::from_samples(plan.samples(), plan.sample_rate());
            end = end.max(*over).max(placed((0, whole.to_samples(scale))).1);
        }
        ad_chapters::insert(&mut list, &breaks, &sample_of(ad_chapters::TITLE), end);
    } else if let Some(blank) = blank(track) {
        // Text is not shown over ads; what is left of its time comes after them.
        let breaks = file.breaks(plan, scale.into()).into_iter().map(placed);
        let breaks: Vec<_> = breaks.filter(|(from, _)| *from < end).collect();
        ad_chapters::insert(&mut list, &breaks, &blank.to_vec(), end);
        // What lies in replaced content has no time left.
        let next: Vec<u64> = list.iter().skip(1).map(|one| one.0).collect();
        let mut next = next.into_iter();
        list.retain(|one| next.next() != Some(one.0));
    }
    let ends = list.iter().skip(1).map(|one| one.0).chain([end]);
    Ok(Other {
        child,
        durations: list
            .iter()
            .zip(ends)
            .map(|(one, end)| (1, end.saturating_sub(one.0) as u32))
            .collect(),
        sizes: list.iter().map(|one| one.1.len() as u32).collect(),
        bytes: list.into_iter().flat_map(|one| one.1).collect(),
    })
}

/// Where the bytes of a packet come from.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// From here in the content.
    Content(u64),
    /// Of which bridge, and from which of its bytes on.
    Sound(usize, u64),
    Picture(&'a Bytes),
}

/// Packets of the sound that follow each other.
enum Sounds {
    /// The content's own from this one on.
    Kept(usize),
    /// Of a bridge, from one of its bytes on, each with so many.
    Made { number: usize, from: u64, len: u64 },
}

/// What tells of each packet, which is as much as the content's own tables do.
enum Told<'a> {
    Nothing,
    /// Runs, each with the number of its first packet, of the content's packets and others.
    Sound(&'a Samples, Vec<(usize, Sounds)>),
    Pictures(&'a Shots<'a>),
}

/// Packets of one track of the result, in order. There are as many as the content has, so nothing is held of each but of where it stands in chunks.
struct Packets<'a> {
    told: Told<'a>,
    count: usize,
    /// Those that were laid down, and where the last one ends.
    chunks: Chunks,
    end: u64,
}

impl<'a> Packets<'a> {
    fn new(told: Told<'a>, count: usize) -> Self {
        Self {
            told,
            count,
            chunks: Chunks::default(),
            end: 0,
        }
    }

    fn len(&self) -> usize {
        self.count
    }

    /// How many bytes a packet has, and where they come from.
    fn get(&self, i: usize) -> (u32, Source<'a>) {
        match &self.told {
            Told::Nothing => (0, Source::Content(0)),
            Told::Sound(table, runs) => {
                let (first, run) = &runs[runs.partition_point(|(first, _)| *first <= i) - 1];
                match run {
                    Sounds::Kept(packet) => {
                        let packet = packet + (i - first);
                        (table.sizes[packet], Source::Content(table.offsets.at(packet)))
                    }
                    Sounds::Made { number, from, len } => {
                        let at = from + (i - first) as u64 * len;
                        (*len as u32, Source::Sound(*number, at))
                    }
                }
            }
            Told::Pictures(shots) => match shots.stored(i) {
                (size, From::Content(offset)) => (size, Source::Content(offset)),
                (size, From::Ad(ad, i)) => {
                    let frame = &shots.ads[ad as usize].frames[i as usize];
                    (size, Source::Picture(&frame.bytes))
                }
            },
        }
    }

    fn size(&self, i: usize) -> u32 {
        self.get(i).0
    }

    /// Where a packet stands in the content.
    fn offset(&self, i: usize) -> Option<u64> {
        match self.get(i).1 {
            Source::Content(offset) => Some(offset),
            _ => None,
        }
    }

    /// Lays a packet down.
    fn put(&self, i: usize, runs: &mut Runs) {
        match self.get(i) {
            (size, Source::Content(from)) => runs.content(from, from + u64::from(size)),
            (size, Source::Sound(number, at)) => runs.bridge(number, at, size.into()),
            (_, Source::Picture(bytes)) => runs.shared(bytes.clone()),
        }
    }

    /// The next packet stands there: in the chunk of the one before it, when it follows that.
    fn stands(&mut self, place: u64, size: u64) {
        if self.end != place || !self.chunks.add(CHUNK) {
            self.chunks.push(place, 1);
        }
        self.end = place + size;
    }
}

/// The data as it is laid down.
struct Data {
    runs: Runs,
    /// How much stands before it.
    start: u64,
}

impl Data {
    /// Lays down the next packet of a track.
    fn put(&mut self, packets: &mut Packets<'_>, i: usize) {
        let place = self.runs.len();
        packets.put(i, &mut self.runs);
        packets.stands(self.start + place, self.runs.len() - place);
    }

    /// Lays down packets of content in the order that they have there.
    fn as_they_stood(
        &mut self,
        sound: &mut Packets<'_>,
        mut a: Range<usize>,
        pictures: &mut Packets<'_>,
        mut b: Range<usize>,
    ) {
        while !a.is_empty() || !b.is_empty() {
            let sound_first = match (a.is_empty(), b.is_empty()) {
                (false, false) => sound.offset(a.start) <= pictures.offset(b.start),
                (_, other) => other,
            };
            if sound_first {
                self.put(sound, a.start);
                a.start += 1;
            } else {
                self.put(pictures, b.start);
                b.start += 1;
            }
        }
    }

    /// Lays down packets in windows of time: pictures, then sound.
    fn in_turn(
        &mut self,
        (sound, heard): (&mut Packets<'_>, &dyn Fn(usize) -> i64),
        mut a: Range<usize>,
        (pictures, seen): (&mut Packets<'_>, &dyn Fn(usize) -> i64),
        mut b: Range<usize>,
    ) {
        while !a.is_empty() || !b.is_empty() {
            let first = [a.clone().next().map(heard), b.clone().next().map(seen)];
            let until = first.into_iter().flatten().min().unwrap_or(0) + WINDOW;
            while !b.is_empty() && seen(b.start) < until {
                self.put(pictures, b.start);
                b.start += 1;
            }
            while !a.is_empty() && heard(a.start) < until {
                self.put(sound, a.start);
                a.start += 1;
            }
        }
    }
}

/// Runs of equal values.
fn runs_of<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<(u32, T)> {
    let mut runs: Vec<(u32, T)> = Vec::new();
    for value in values {
        match runs.last_mut() {
            Some((count, same)) if *same == value => *count += 1,
            _ => runs.push((1, value)),
        }
    }
    // There may be as many as samples: no more room is held than they need.
    runs.shrink_to_fit();
    runs
}

/// The tables of the pictures, but for where they stand.
struct Shown<'a> {
    avc: &'a Avc,
    durations: Vec<(u32, u32)>,
    compositions: Vec<(u32, i32)>,
    sync: Option<Vec<u32>>,
    config: Vec<u8>,
    /// How much later than it is decoded the first one is shown.
    first: i32,
    shots: &'a Shots<'a>,
}

impl<'a> Shown<'a> {
    fn new(avc: &'a Avc, shots: &'a Shots<'a>) -> Result<Self, SpliceError> {
        let compositions = runs_of(shots.iter().map(|shot| shot.composition));
        let sync = shots
            .iter()
            .enumerate()
            .filter(|(_, shot)| shot.sync)
            .map(|(i, _)| i as u32)
            .collect::<Vec<_>>();
        Ok(Self {
            avc,
            durations: runs_of(shots.lasts()),
            compositions: if compositions.iter().all(|run| run.1 == 0) {
                Vec::new()
            } else {
                compositions
            },
            sync: (sync.len() < shots.len()).then_some(sync),
            config: avc.config(&shots.ads)?,
            first: shots.iter().next().map_or(0, |first| first.composition),
            shots,
        })
    }

    fn packets(&self) -> Packets<'a> {
        Packets::new(Told::Pictures(self.shots), self.shots.len())
    }

    /// When a picture is shown, in nanoseconds, as if all were as much after their decoding as the first.
    fn time(&self, i: usize) -> i64 {
        let ticks = self.shots.shot(i).start as i64 + i64::from(self.first) - self.shots.zero;
        rescaled(ticks, 1_000_000_000_u32, self.avc.video.scale)
    }
}

/// Lays down all packets, behind so many bytes.
fn lay_down(
    pieces: &[Piece],
    sound: &mut Packets<'_>,
    heard: &dyn Fn(usize) -> i64,
    pictures: &mut Packets<'_>,
    seen: &dyn Fn(usize) -> i64,
    start: u64,
) -> Runs {
    let mut data = Data {
        runs: Runs::default(),
        start,
    };
    let (mut a, mut b) = (0, 0);
    let last = pieces.len().saturating_sub(1);
    for (i, piece) in pieces.iter().enumerate() {
        let (count, copied) = match piece {
            Piece::Content(range) => ((range.end - range.start) as usize, true),
            Piece::Bridge { packets, .. } => (*packets as usize, false),
        };
        let a_end = a + count;
        let mut b_end = pictures.len();
        if i < last {
            let until = heard(a_end);
            // Times of decoding only grow.
            b_end = first_not(b..b_end, |i| seen(i) < until);
        }
        let is_content = |i: &usize| pictures.offset(*i).is_some();
        let first = (b..b_end).find(is_content).unwrap_or(b_end);
        let end = (first..b_end)
            .rev()
            .find(is_content)
            .map_or(first, |last| last + 1);
        if copied && (first..end).all(|i| is_content(&i)) {
            for made in b..first {
                data.put(pictures, made);
            }
            data.as_they_stood(sound, a..a_end, pictures, first..end);
            for made in end..b_end {
                data.put(pictures, made);
            }
        } else {
            data.in_turn((sound, heard), a..a_end, (pictures, seen), b..b_end);
        }
        (a, b) = (a_end, b_end);
    }
    data.runs
}

/// The packets of the sound.
fn sound_packets<'a>(file: &'a M4a<'_>, pieces: &[Piece]) -> Packets<'a> {
    let (mut runs, mut all) = (Vec::new(), 0);
    for piece in pieces {
        match piece {
            Piece::Content(range) => {
                runs.push((all, Sounds::Kept(range.start as usize)));
                all += (range.end - range.start) as usize;
            }
            Piece::Bridge { number, lens, .. } => {
                let (number, mut from) = (*number, 0);
                for (count, len) in lens {
                    let len = *len as u64;
                    runs.push((all, Sounds::Made { number, from, len }));
                    all += *count as usize;
                    from += count * len;
                }
            }
        }
    }
    Packets::new(Told::Sound(&file.packets, runs), all)
}

/// When each of the `count` packets of the result's sound is heard.
fn sound_clock(file: &M4a<'_>, plan: &SplicePlan, pieces: &[Piece], count: usize) -> Clock {
    let ends_in_ad = matches!(plan.segments().last(), Some((_, Segment::Ad { .. })));
    let last = ends_in_ad.then(|| {
        let before = count.saturating_sub(1) as u64 * u64::from(SAMPLES);
        let total = plan.samples() + file.clock.skip();
        total.saturating_sub(before).clamp(1, SAMPLES.into()) as u32
    });
    let pieces = pieces.iter().flat_map(|piece| match piece {
        Piece::Content(range) => vec![clock::Packets::Content(range.clone())],
        Piece::Bridge {
            packets,
            content: [lead, tail],
            ..
        } => {
            let count = |range: &Range<u64>| range.end - range.start;
            vec![
                clock::Packets::Content(lead.clone()),
                clock::Packets::Made(packets.saturating_sub(count(lead) + count(tail))),
                clock::Packets::Content(tail.clone()),
            ]
        }
    });
    let pieces = pieces.filter(|piece| *piece != clock::Packets::Made(0));
    file.clock.spliced(pieces, last)
}

/// Whether a box at the top of the content's file stays as it is: neither made anew nor about where data was.
fn is_kept(kind: [u8; 4]) -> bool {
    !matches!(
        &kind,
        b"ftyp"
            | b"moov"
            | b"mdat"
            | b"free"
            | b"skip"
            | b"wide"
            | b"moof"
            | b"mfra"
            | b"sidx"
            | b"ssix"
            | b"styp"
    )
}

/// The head of the box of data, whose length with its head is `len`.
fn data_head(len: u64, wide: bool) -> Vec<u8> {
    let (short, long) = if wide { (1, Some(len)) } else { (len as u32, None) };
    let mut head = short.to_be_bytes().to_vec();
    head.extend(b"mdat");
    head.extend(long.into_iter().flat_map(u64::to_be_bytes));
    head
}

/// The bytes of the file that is laid out; those for a player alone while it grows.
pub(super) fn assemble(
    file: &M4a<'_>,
    layout: &Layout<'_>,
    pieces: &[Piece],
    shots: Option<&Shots<'_>>,
) -> Result<(Runs, Option<Played>), SpliceError> {
    let plan = &layout.plan;
    let mut sound = sound_packets(file, pieces);
    let shown = match (&file.pictures, shots) {
        (Some(avc), Some(shots)) => Some(Shown::new(avc, shots)?),
        _ => None,
    };
    let mut pictures = shown
        .as_ref()
        .map_or_else(|| Packets::new(Told::Nothing, 0), Shown::packets);
    let clock = sound_clock(file, plan, pieces, sound.len());
    if file.options.growing {
        let streams = fragments::Streams {
            file,
            sound,
            clock,
            pictures,
            shown,
        };
        return Ok(streams.lay_out());
    }
    let mut room = MOST_OTHER;
    let titles = titles(&file.moov);
    let others = file
        .moov
        .children()
        .iter()
        .enumerate()
        .filter(|(child, atom)| {
            let is_video = file.pictures.as_ref().is_some_and(|avc| avc.child == *child);
            &atom.kind == b"trak" && *child != file.track && !is_video
        })
        .map(|(child, atom)| {
            let holds_titles = track_id(atom).is_some_and(|id| titles.contains(&id));
            other(file, plan, (child, atom), holds_titles, &mut room)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let begins = file.clock.start_of_content();
    let heard = |i: usize| {
        let time = clock.start(i as u64) as i64 - begins;
        rescaled(time, 1_000_000_000_u32, file.config.sample_rate)
    };
    let seen = |i: usize| shown.as_ref().map_or(0, |shown| shown.time(i));
    let other_len: u64 = others.iter().map(|other| other.bytes.len() as u64).sum();
    let data = lay_down(pieces, &mut sound, &heard, &mut pictures, &seen, other_len);

    let count = sound.len() as u64;
    let durations = clock.durations();
    let total: u64 = durations
        .iter()
        .map(|run| u64::from(run.0) * u64::from(run.1))
        .sum();

    let kept: Vec<_> = file.boxes.iter().filter(|one| is_kept(one.kind)).collect();
    let kept_len: u64 = kept.iter().map(|one| one.end - one.start).sum();
    let ftyp = file.boxes.iter().find(|one| &one.kind == b"ftyp");
    let ftyp_len = ftyp.map_or(0, |one| one.end - one.start);
    let body = other_len + data.len();
    let wide = ftyp_len + kept_len + body + MOVIE_ROOM > u64::from(u32::MAX);

    let scaled = |samples: u64| {
        let rate = u128::from(file.config.sample_rate);
        ((u128::from(samples) * u128::from(file.movie_scale) + rate / 2) / rate) as u64
    };
    let gaps = file.clock.heard(file.samples) - (file.lead + file.samples) as i64;
    let sound_duration = scaled(plan.samples().saturating_add_signed(gaps));
    let sound_ends = sound_duration + scaled(file.lead);
    let picture_edit = |shown: &Shown<'_>| {
        // An edit list counts from the first picture that is shown.
        let (shots, scale) = (shown.shots, shown.avc.video.scale);
        let after = |time: i64| rescaled(time - shots.zero, file.movie_scale, scale).max(0) as u64;
        let ends = after(shots.over);
        let track = &file.moov.children()[shown.avc.child];
        let lead = match edit_list(track, file.movie_scale)? {
            Some(edit) if shots.zero == shown.avc.video.zero => edit.lead,
            _ => after(shots.visible),
        };
        let edit = Edit {
            lead,
            duration: ends.saturating_sub(lead),
            media_time: shots.visible.max(0) as u64,
        };
        Ok::<_, SpliceError>((ends, edit))
    };
    let picture_edit = shown.as_ref().map(picture_edit).transpose()?;
    let movie_duration = sound_ends.max(picture_edit.map_or(0, |(ends, _)| ends));
    let mut moov = file.moov.clone();
    set_durations(&mut moov, movie_duration, None);
    let padding = (count * u64::from(SAMPLES)).saturating_sub(file.clock.skip() + plan.samples());
    edit_chapters(&mut moov, &file.nero(plan), padding, plan.samples());
    if let Some(children) = moov.children_mut() {
        // Where everything begins follows from how long the tables are.
        let mut at = 0;
        for other in &others {
            let track = &mut children[other.child];
            let mut chunks = Chunks::default();
            chunks.push(at, other.sizes.len() as u32);
            let tables = Tables {
                count: other.sizes.len(),
                size: &|i| other.sizes[i],
                durations: &other.durations,
                compositions: &[],
                sync: None,
                chunks: &chunks,
            };
            set_tables(track, &tables, wide);
            let media: u64 = other.durations.iter().map(|run| u64::from(run.1)).sum();
            set_edit(track, file.movie_scale, movie_duration);
            set_durations(track, movie_duration, Some(media));
            at += other.bytes.len() as u64;
        }
        let tables = Tables {
            count: sound.len(),
            size: &|i| sound.size(i),
            durations: &durations,
            compositions: &[],
            sync: None,
            chunks: &sound.chunks,
        };
        let track = &mut children[file.track];
        set_tables(track, &tables, wide);
        set_edit(track, file.movie_scale, sound_duration);
        set_durations(track, sound_ends, Some(total));
        if let (Some(shown), Some((ends, edit))) = (&shown, picture_edit) {
            let tables = Tables {
                count: pictures.len(),
                size: &|i| pictures.size(i),
                durations: &shown.durations,
                compositions: &shown.compositions,
                sync: shown.sync.as_deref(),
                chunks: &pictures.chunks,
            };
            let track = &mut children[shown.avc.child];
            set_tables(track, &tables, wide);
            set_avc_config(track, &shown.config);
            replace_edit(track, edit);
            set_durations(track, ends, Some(shown.shots.end));
        }
    }
    drop((sound, pictures, shown));
    let head_len = if wide { 16 } else { 8 };
    let start = ftyp_len + moov.len() + kept_len + head_len;
    let tracks = moov.children_mut().into_iter().flatten();
    tracks.for_each(|track| move_chunks(track, start));

    let mut runs = Runs::default();
    if let Some(ftyp) = ftyp {
        runs.content(ftyp.start, ftyp.end);
    }
    moov.into_parts().into_iter().for_each(|part| runs.shared(part));
    for one in kept {
        runs.content(one.start, one.end);
    }
    let mut head = data_head(body + head_len, wide);
    for other in &others {
        head.extend(&other.bytes);
    }
    runs.shared(head.into());
    debug_assert_eq!(runs.len(), start + other_len);
    runs.append(data);
    Ok((runs, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_the_sound_are_told_by_the_tables_of_the_content_and_stand_in_chunks() {
        let mut table = Samples::default();
        table.sizes = (0..100).map(|i| 10 + i).collect();
        table.offsets = (0..100).map(|i| 1_000 * i).collect();
        let made = |from, len| Sounds::Made { number: 3, from, len };
        // Nothing of the content at the beginning, then some, two runs of a bridge, and content again.
        let runs = vec![
            (0, Sounds::Kept(0)),
            (0, Sounds::Kept(20)),
            (5, made(0, 7)),
            (55, made(350, 9)),
            (60, Sounds::Kept(90)),
        ];
        let mut packets = Packets::new(Told::Sound(&table, runs), 70);
        assert_eq!(packets.offset(4), Some(24_000));
        assert_eq!((packets.size(4), packets.size(5), packets.size(55)), (34, 7, 9));
        assert_eq!(packets.offset(5), None);
        assert!(matches!(packets.get(56), (9, Source::Sound(3, 359))));
        assert_eq!((packets.offset(69), packets.size(69)), (Some(99_000), 109));

        let mut data = Data {
            runs: Runs::default(),
            start: 500,
        };
        (0..70).for_each(|i| {
            if i == 60 {
                // Something else stands between.
                data.runs.made(&[0; 11]);
            }
            data.put(&mut packets, i);
        });
        let (mut expected, of_bridge) = (Chunks::default(), 50 * 7 + 5 * 9);
        let first: u64 = (20..25).map(|i| 10 + i).sum();
        expected.push(500, 43);
        expected.push(500 + first + 38 * 7, 17);
        expected.push(500 + first + of_bridge + 11, 10);
        assert_eq!(format!("{:?}", packets.chunks), format!("{expected:?}"));
        // Of content one run each, of the bridge one in all.
        assert_eq!(data.runs.into_runs().len(), 5 + 1 + 1 + 10);
    }
}
