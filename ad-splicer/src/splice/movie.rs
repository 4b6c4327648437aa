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
    Atom, Tables, blank, edit_chapters, edit_list, full_duration, move_chunks, sample_of, set_avc_config,
    set_durations, set_edit, set_tables, titles, track_id,
};
use crate::plan::{Segment, SplicePlan};
use crate::time::ContentTime;

/// Packets of sound in a chunk of the result: about a second. Of pictures there are at most as many.
const CHUNK: usize = 43;
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
        list.push((start, file.read_at(*offset, (*size).into())?));
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

/// Bytes that are not the content's.
#[derive(Clone, Copy)]
enum Made<'a> {
    /// Of the sound: of which bridge, and from which of its bytes on.
    Sound(usize, u64),
    /// Of the pictures.
    Picture(&'a Bytes),
}

/// Set in [`Packets::places`] of what was made.
const MADE: u64 = 1 << 63;

/// Packets of one track of the result, in order. There are as many as the content has, so little is held of each.
struct Packets<'a> {
    sizes: Vec<u32>,
    /// Where each stands among the data, once it does; before, its offset in the content, or with [`MADE`] which of `made` it is.
    places: Vec<u64>,
    made: Vec<Made<'a>>,
}

impl<'a> Packets<'a> {
    fn with_capacity(count: usize) -> Self {
        Self {
            sizes: Vec::with_capacity(count),
            places: Vec::with_capacity(count),
            made: Vec::new(),
        }
    }

    fn push(&mut self, size: u32, offset: u64) {
        self.sizes.push(size);
        self.places.push(offset);
    }

    fn push_made(&mut self, size: u32, made: Made<'a>) {
        self.push(size, MADE | self.made.len() as u64);
        self.made.push(made);
    }

    /// Where a packet that is not laid down yet stands in the content.
    fn offset(&self, i: usize) -> Option<u64> {
        self.places.get(i).copied().filter(|place| place & MADE == 0)
    }

    /// Chunks of packets that stand beside each other, `start` bytes further on.
    fn chunks(&self, start: u64) -> Vec<(u64, u32)> {
        let each = || {
            let mut packets = self.places.iter().zip(&self.sizes).peekable();
            std::iter::from_fn(move || {
                let (place, size) = packets.next()?;
                let (mut end, mut count) = (place + u64::from(*size), 1);
                while (count as usize) < CHUNK
                    && let Some((_, size)) = packets.next_if(|(place, _)| **place == end)
                {
                    end += u64::from(*size);
                    count += 1;
                }
                Some((start + place, count))
            })
        };
        // There may be as many as packets: no more room is taken than they need.
        let mut chunks = Vec::with_capacity(each().count());
        chunks.extend(each());
        chunks
    }
}

/// The data as it is laid down.
#[derive(Default)]
struct Data {
    runs: Runs,
}

impl Data {
    fn put(&mut self, packets: &mut Packets<'_>, i: usize) {
        let place = self.runs.len();
        let from = std::mem::replace(&mut packets.places[i], place);
        let made = (from & MADE != 0).then(|| packets.made[(from & !MADE) as usize]);
        match made {
            Some(Made::Sound(number, at)) => self.runs.bridge(number, at, packets.sizes[i].into()),
            Some(Made::Picture(bytes)) => self.runs.shared(bytes.clone()),
            None => self.runs.content(from, from + u64::from(packets.sizes[i])),
        }
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
        let mut packets = Packets::with_capacity(self.shots.len());
        for shot in self.shots.iter() {
            match shot.from {
                From::Content(offset) => packets.push(shot.size, offset),
                From::Ad(ad, i) => {
                    let frame = &self.shots.ads[ad as usize].frames[i as usize];
                    packets.push_made(shot.size, Made::Picture(&frame.bytes));
                }
            }
        }
        packets
    }

    /// When a picture is shown, in nanoseconds, as if all were as much after their decoding as the first.
    fn time(&self, i: usize) -> i64 {
        let ticks = self.shots.shot(i).start as i64 + i64::from(self.first) - self.avc.video.zero;
        rescaled(ticks, 1_000_000_000_u32, self.avc.video.scale)
    }
}

/// Lays down all packets.
fn lay_down(
    pieces: &[Piece],
    sound: &mut Packets<'_>,
    heard: &dyn Fn(usize) -> i64,
    pictures: &mut Packets<'_>,
    seen: &dyn Fn(usize) -> i64,
) -> Runs {
    let mut data = Data::default();
    let (mut a, mut b) = (0, 0);
    let last = pieces.len().saturating_sub(1);
    for (i, piece) in pieces.iter().enumerate() {
        let (count, copied) = match piece {
            Piece::Content(range) => ((range.end - range.start) as usize, true),
            Piece::Bridge { packets, .. } => (*packets as usize, false),
        };
        let a_end = a + count;
        let mut b_end = pictures.sizes.len();
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
fn sound_packets<'a>(file: &M4a<'_>, pieces: &'a [Piece]) -> Packets<'a> {
    let mut sound = Packets::with_capacity(file.packets.sizes.len() + 4096);
    for piece in pieces {
        match piece {
            Piece::Content(range) => {
                for i in range.start as usize..range.end as usize {
                    sound.push(file.packets.sizes[i], file.packets.offsets[i]);
                }
            }
            Piece::Bridge { number, lens, .. } => {
                let mut at = 0;
                for (count, len) in lens {
                    for _ in 0..*count {
                        sound.push_made(*len as u32, Made::Sound(*number, at));
                        at += *len as u64;
                    }
                }
            }
        }
    }
    sound
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
        .map_or_else(|| Packets::with_capacity(0), Shown::packets);
    let clock = sound_clock(file, plan, pieces, sound.sizes.len());
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
    let data = lay_down(pieces, &mut sound, &heard, &mut pictures, &seen);

    let count = sound.sizes.len() as u64;
    let durations = clock.durations();
    let total: u64 = durations
        .iter()
        .map(|run| u64::from(run.0) * u64::from(run.1))
        .sum();

    let kept: Vec<_> = file.boxes.iter().filter(|one| is_kept(one.kind)).collect();
    let kept_len: u64 = kept.iter().map(|one| one.end - one.start).sum();
    let ftyp = file.boxes.iter().find(|one| &one.kind == b"ftyp");
    let ftyp_len = ftyp.map_or(0, |one| one.end - one.start);
    let other_len: u64 = others.iter().map(|other| other.bytes.len() as u64).sum();
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
        let track = &file.moov.children()[shown.avc.child];
        let lead = edit_list(track, file.movie_scale)?.map_or(0, |edit| edit.lead);
        let ends = rescaled(
            shown.shots.over - shown.avc.video.zero,
            file.movie_scale,
            shown.avc.video.scale,
        );
        Ok::<_, SpliceError>((ends.max(0) as u64, (ends.max(0) as u64).saturating_sub(lead)))
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
            let tables = Tables {
                sizes: &other.sizes,
                durations: &other.durations,
                compositions: &[],
                sync: None,
                chunks: &[(at, other.sizes.len() as u32)],
            };
            set_tables(track, &tables, wide);
            let media: u64 = other.durations.iter().map(|run| u64::from(run.1)).sum();
            set_edit(track, file.movie_scale, movie_duration);
            set_durations(track, movie_duration, Some(media));
            at += other.bytes.len() as u64;
        }
        let tables = Tables {
            sizes: &sound.sizes,
            durations: &durations,
            compositions: &[],
            sync: None,
            chunks: &sound.chunks(at),
        };
        let track = &mut children[file.track];
        set_tables(track, &tables, wide);
        set_edit(track, file.movie_scale, sound_duration);
        set_durations(track, sound_ends, Some(total));
        if let (Some(shown), Some((ends, lasts))) = (&shown, picture_edit) {
            let tables = Tables {
                sizes: &pictures.sizes,
                durations: &shown.durations,
                compositions: &shown.compositions,
                sync: shown.sync.as_deref(),
                chunks: &pictures.chunks(at),
            };
            let track = &mut children[shown.avc.child];
            set_tables(track, &tables, wide);
            set_avc_config(track, &shown.config);
            set_edit(track, file.movie_scale, lasts);
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
