//! A track's sample tables, its durations and edit list, and the chapters that stand in the movie.

use super::boxes::{Atom, Body};
use crate::compact::Compact;
use crate::frames::aac::Config;
use crate::frames::h264::Told;
use crate::picture::Turn;
use crate::splice::SpliceError;

const STBL: [&[u8; 4]; 3] = [b"mdia", b"minf", b"stbl"];
/// More samples than a file of any length that is meant has, all tracks together.
pub(super) const MOST_SAMPLES: usize = 5_000_000;

pub(super) fn damaged(what: &str) -> SpliceError {
    SpliceError::Unsupported(format!("the MP4 file is damaged: {what}"))
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

pub(super) fn long(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(
        bytes.get(at..at.checked_add(8)?)?.try_into().ok()?,
    ))
}

/// So many rows of a table, from a place on.
fn rows<const N: usize>(table: &[u8], at: usize, count: usize) -> Option<&[[u8; N]]> {
    let end = count.checked_mul(N)?.checked_add(at)?;
    Some(table.get(at..end)?.as_chunks().0)
}

/// The rows of a table that says how many it has.
fn counted<const N: usize>(table: &[u8]) -> Option<&[[u8; N]]> {
    rows(table, 8, word(table, 4)? as usize)
}

/// The two numbers that a row begins with.
fn pair(row: &[u8]) -> Option<(u32, u32)> {
    Some((word(row, 0)?, word(row, 4)?))
}

/// Where samples are, and how long they last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Samples {
    pub(crate) offsets: Compact,
    pub(crate) sizes: Vec<u32>,
    /// Runs of samples of one duration, in the track's time scale.
    pub(crate) durations: Vec<(u32, u32)>,
    /// For each sample, how much later than it is decoded it is shown; empty when none is.
    pub(crate) compositions: Vec<i32>,
    /// Which samples can be begun at, in order; `None` when all can.
    pub(crate) sync: Option<Vec<u32>>,
    /// How long all samples are together.
    total: u64,
    /// When the first sample begins that is in a fragment.
    pub(super) begins: u64,
    /// Whether any is of another description than the track's first.
    pub(crate) several: bool,
}

impl Samples {
    /// Reads a track's tables: at most so many samples, in a file of `len` bytes.
    pub(super) fn parse(track: &Atom, most: usize, len: u64) -> Result<Self, SpliceError> {
        let stbl = track
            .find(&STBL)
            .ok_or_else(|| damaged("a track has no sample table"))?;
        Self::read(stbl, most, len).ok_or_else(|| damaged("a track's sample table makes no sense"))
    }

    fn read(stbl: &Atom, most: usize, len: u64) -> Option<Self> {
        let sizes = {
            let stsz = stbl.bytes(&[b"stsz"])?;
            let (one, count) = (word(stsz, 4)?, word(stsz, 8)? as usize);
            // A few bytes can claim any number of samples: those of one size must be in the file.
            if count > most || u64::from(one).saturating_mul(count as u64) > len {
                return None;
            }
            match one {
                0 => rows(stsz, 12, count)?
                    .iter()
                    .map(|size| u32::from_be_bytes(*size))
                    .collect(),
                size => vec![size; count],
            }
        };
        let chunks: Box<dyn Iterator<Item = u64>> = if let Some(stco) = stbl.bytes(&[b"stco"]) {
            Box::new(
                counted(stco)?
                    .iter()
                    .map(|place| u32::from_be_bytes(*place).into()),
            )
        } else {
            let places = counted(stbl.bytes(&[b"co64"])?)?;
            Box::new(places.iter().map(|place| u64::from_be_bytes(*place)))
        };
        let runs: &[[u8; 12]] = counted(stbl.bytes(&[b"stsc"])?)?;
        let mut offsets = Compact::with_capacity(sizes.len());
        let mut run = 0;
        for (i, mut at) in chunks.enumerate() {
            let begins = |run: &[u8; 12]| word(run, 0).is_some_and(|first| first as usize <= i + 1);
            while runs.get(run + 1).is_some_and(begins) {
                run += 1;
            }
            for _ in 0..pair(runs.get(run)?)?.1 {
                let Some(size) = sizes.get(offsets.len()) else {
                    break;
                };
                offsets.push(at);
                at = at.checked_add(u64::from(*size))?;
            }
        }
        let stts = stbl.bytes(&[b"stts"])?;
        let durations: Vec<(u32, u32)> = counted::<8>(stts)?.iter().filter_map(|run| pair(run)).collect();
        let timed: u64 = durations.iter().map(|run| u64::from(run.0)).sum();
        let mut compositions = Vec::new();
        if let Some(ctts) = stbl.bytes(&[b"ctts"]) {
            compositions.reserve_exact(sizes.len());
            for (count, offset) in counted::<8>(ctts)?.iter().filter_map(|run| pair(run)) {
                let count = count as usize;
                if count > sizes.len() - compositions.len() {
                    return None;
                }
                // Files of version 0 hold negative offsets too.
                compositions.resize(compositions.len() + count, offset as i32);
            }
            compositions.resize(sizes.len(), 0);
        }
        let sync = match stbl.bytes(&[b"stss"]) {
            Some(stss) => {
                let numbers = counted(stss)?.iter().map(|number| u32::from_be_bytes(*number));
                let found = numbers
                    .map(|number| number.checked_sub(1))
                    .collect::<Option<Vec<_>>>()?;
                if !found.is_sorted() || found.last().is_some_and(|last| *last as usize >= sizes.len()) {
                    return None;
                }
                Some(found)
            }
            None => None,
        };
        let several = runs
            .iter()
            .any(|run| word(run, 8).is_some_and(|description| description > 1));
        if offsets.len() != sizes.len() || timed != sizes.len() as u64 {
            return None;
        }
        let total = durations
            .iter()
            .map(|run| u64::from(run.0) * u64::from(run.1))
            .sum();
        Some(Self {
            offsets,
            sizes,
            durations,
            compositions,
            sync,
            total,
            begins: 0,
            several,
        })
    }

    /// Leaves all but the first `count` samples out.
    pub(crate) fn truncate(&mut self, count: usize) {
        self.offsets.truncate(count);
        self.sizes.truncate(count);
        self.compositions.truncate(count);
        if let Some(sync) = &mut self.sync {
            sync.retain(|index| (*index as usize) < count);
        }
        let mut left = count.min(u32::MAX as usize) as u32;
        for run in &mut self.durations {
            run.0 = run.0.min(left);
            left -= run.0;
        }
        self.durations.retain(|run| run.0 > 0);
        let lasts = self
            .durations
            .iter()
            .map(|run| u64::from(run.0) * u64::from(run.1));
        self.total = lasts.sum();
    }

    /// Adds a sample of a fragment.
    pub(super) fn push(&mut self, offset: u64, size: u32, duration: u32, composition: i32, sync: bool) {
        let index = self.sizes.len();
        let all = self.sync.get_or_insert_with(|| (0..index as u32).collect());
        if sync {
            all.push(index as u32);
        }
        self.offsets.push(offset);
        self.sizes.push(size);
        self.compositions.push(composition);
        self.total += u64::from(duration);
        match self.durations.last_mut() {
            Some((count, same)) if *same == duration => *count += 1,
            _ => self.durations.push((1, duration)),
        }
    }

    /// The next sample begins at this time: the last one ends there, when that leaves it a length. The first one begins the track's time.
    pub(super) fn last_until(&mut self, time: u64) -> Option<()> {
        if self.sizes.is_empty() {
            self.begins = time;
            return Some(());
        }
        let time = time.checked_sub(self.begins)?;
        let Some((count, duration)) = self.durations.last().copied().filter(|_| self.total != time) else {
            return Some(());
        };
        let starts = self.total - u64::from(duration);
        let lasts = u32::try_from(time.checked_sub(starts)?).ok()?;
        self.durations.pop();
        if count > 1 {
            self.durations.push((count - 1, duration));
        }
        self.durations.push((1, lasts));
        self.total = time;
        Some(())
    }

    /// All but the first sample begin so much later: that one lasts until then.
    pub(super) fn begin_later(&mut self, by: u64) -> Option<()> {
        if by == 0 {
            return Some(());
        }
        let first = self.durations.first_mut()?;
        let lasts = u32::try_from(u64::from(first.1).checked_add(by)?).ok()?;
        first.0 -= 1;
        if first.0 == 0 {
            self.durations.remove(0);
        }
        self.durations.insert(0, (1, lasts));
        self.total += by;
        Some(())
    }

    /// After the last sample: what is the same for all is not said of each.
    pub(super) fn settle(&mut self) {
        if self.compositions.iter().all(|offset| *offset == 0) {
            self.compositions = Vec::new();
        }
        if self
            .sync
            .as_ref()
            .is_some_and(|sync| sync.len() == self.sizes.len())
        {
            self.sync = None;
        }
    }
}

/// What is written about a track's samples.
#[derive(Clone, Copy)]
pub(crate) struct Tables<'a> {
    pub(crate) count: usize,
    /// How many bytes a sample has.
    pub(crate) size: &'a dyn Fn(usize) -> u32,
    /// Runs of samples of one duration.
    pub(crate) durations: &'a [(u32, u32)],
    /// Runs of samples that are shown as much later than they are decoded; empty when none is.
    pub(crate) compositions: &'a [(u32, i32)],
    /// Which samples can be begun at; `None` when all can.
    pub(crate) sync: Option<&'a [u32]>,
    pub(crate) chunks: &'a Chunks,
}

/// Where samples stand: chunks of some that follow each other.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    places: Compact,
    /// How many samples each has.
    counts: Vec<u32>,
}

impl Chunks {
    /// Adds a chunk of so many samples at an offset.
    pub(crate) fn push(&mut self, place: u64, count: u32) {
        self.places.push(place);
        self.counts.push(count);
    }

    /// Adds a sample behind those of the last chunk, when that has fewer than `most`.
    pub(crate) fn add(&mut self, most: u32) -> bool {
        let last = self.counts.last_mut().filter(|count| **count < most);
        last.map(|count| *count += 1).is_some()
    }

    /// How many bytes are held.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.places.bytes() + 4 * self.counts.capacity()
    }
}

/// Takes the tables of each sample out of a track: they are as long as the file is.
pub(crate) fn remove_tables(track: &mut Atom) {
    if let Some(children) = track.find_mut(&STBL).and_then(Atom::children_mut) {
        remove_from(children);
    }
}

fn remove_from(children: &mut Vec<Atom>) {
    children.retain(|child| {
        !matches!(
            &child.kind,
            b"stts"
                | b"stsz"
                | b"stz2"
                | b"stsc"
                | b"stco"
                | b"co64"
                | b"stss"
                | b"sdtp"
                | b"ctts"
                | b"cslg"
                | b"stps"
        )
    });
}

/// Writes a track's tables. Those that say more about each sample are left out.
pub(crate) fn set_tables(track: &mut Atom, tables: &Tables<'_>, wide: bool) {
    let Tables {
        durations, chunks, ..
    } = *tables;
    let Some(children) = track.find_mut(&STBL).and_then(Atom::children_mut) else {
        return;
    };
    let count = tables.count as u32;
    remove_from(children);
    // One group for all samples stays one; anything finer would name the wrong ones.
    children.retain_mut(|child| match (&child.kind, &mut child.body) {
        (b"sbgp", Body::Raw(bytes)) => {
            let at = if bytes.first() == Some(&1) { 12 } else { 8 };
            let single = word(bytes, at) == Some(1) && bytes.len() >= at + 12;
            if single {
                bytes[at + 4..at + 8].copy_from_slice(&count.to_be_bytes());
            }
            single
        }
        (b"subs" | b"saiz" | b"saio", _) => false,
        _ => true,
    });
    let table = |head: &[u32], rows: &mut dyn Iterator<Item = u32>| {
        let mut out = Vec::with_capacity(4 * (1 + head.len() + rows.size_hint().0));
        out.extend([0; 4]);
        head.iter()
            .copied()
            .chain(rows)
            .for_each(|value| out.extend(value.to_be_bytes()));
        out
    };
    let stts = table(
        &[durations.len() as u32],
        &mut durations.iter().flat_map(|run| [run.0, run.1]),
    );
    let groups = || chunks.counts.chunk_by(|one, next| one == next);
    let mut first = 1;
    let mut group = groups().flat_map(|group| {
        let row = [first, group[0], 1];
        first += group.len() as u32;
        row
    });
    let stsc = table(&[groups().count() as u32], &mut group);
    let stsz = table(&[0, count], &mut (0..tables.count).map(tables.size));
    let places = if wide {
        let halves = chunks
            .places
            .iter()
            .flat_map(|offset| [(offset >> 32) as u32, offset as u32]);
        Atom::raw(*b"co64", table(&[chunks.places.len() as u32], &mut { halves }))
    } else {
        let places = chunks.places.iter().map(|offset| offset as u32);
        Atom::raw(*b"stco", table(&[chunks.places.len() as u32], &mut { places }))
    };
    let mut more = Vec::new();
    if !tables.compositions.is_empty() {
        let runs = tables.compositions.iter().flat_map(|run| [run.0, run.1 as u32]);
        let mut ctts = table(&[tables.compositions.len() as u32], &mut { runs });
        ctts[0] = u8::from(tables.compositions.iter().any(|run| run.1 < 0));
        more.push(Atom::raw(*b"ctts", ctts));
    }
    if let Some(sync) = tables.sync {
        let numbers = sync.iter().map(|index| index + 1);
        more.push(Atom::raw(*b"stss", table(&[sync.len() as u32], &mut { numbers })));
    }
    // After the description; the order of the others does not matter.
    let at = children
        .iter()
        .position(|child| &child.kind == b"stsd")
        .map_or(0, |at| at + 1);
    children.splice(
        at..at,
        [
            Atom::raw(*b"stts", stts),
            Atom::raw(*b"stsc", stsc),
            Atom::raw(*b"stsz", stsz),
            places,
        ]
        .into_iter()
        .chain(more),
    );
}

/// Has the chunks of a track stand so many bytes further on.
pub(crate) fn move_chunks(track: &mut Atom, by: u64) {
    let Some(stbl) = track.find_mut(&STBL) else {
        return;
    };
    if let Some(stco) = stbl.bytes_mut(&[b"stco"]) {
        for place in stco.get_mut(8..).unwrap_or_default().as_chunks_mut().0 {
            *place = u32::from_be_bytes(*place).wrapping_add(by as u32).to_be_bytes();
        }
    }
    if let Some(co64) = stbl.bytes_mut(&[b"co64"]) {
        for place in co64.get_mut(8..).unwrap_or_default().as_chunks_mut().0 {
            *place = (u64::from_be_bytes(*place) + by).to_be_bytes();
        }
    }
}

/// How players turn a track's pictures.
pub(crate) fn turn_of(track: &Atom) -> Turn {
    let header = track.bytes(&[b"tkhd"]).unwrap_or_default();
    // After version, times, number, length, layer and volume.
    let at = if header.first() == Some(&1) { 52 } else { 40 };
    Turn::of_matrix(header.get(at..).unwrap_or_default())
}

/// Where the boxes are of the one description of a track's pictures within `stsd`; none when there are several, or it is no H.264.
fn of_description(stsd: &[u8]) -> impl Iterator<Item = std::ops::Range<usize>> {
    // Version, number of descriptions; the description's length and kind, and 78 bytes of a visual sample entry.
    let is_one = word(stsd, 4) == Some(1) && stsd.get(12..16) == Some(b"avc1");
    let len = word(stsd, 8).filter(|_| is_one).unwrap_or(0) as usize;
    let end = (8 + len).min(stsd.len());
    let mut at = 8 + 8 + 78;
    std::iter::from_fn(move || {
        let len = word(stsd, at).filter(|_| at + 8 <= end)? as usize;
        let found = at..at + len;
        at = found.end;
        (len >= 8 && found.end <= end).then_some(found)
    })
}

/// Where the description has its `avcC` box.
fn avcc_at(stsd: &[u8]) -> Option<std::ops::Range<usize>> {
    of_description(stsd).find(|at| stsd.get(at.start + 4..at.start + 8) == Some(b"avcC"))
}

/// What the description of a track of H.264 tells beside the decoder configuration.
pub(crate) fn told_of(track: &Atom) -> Told {
    let stsd = track
        .bytes(&[b"mdia", b"minf", b"stbl", b"stsd"])
        .unwrap_or_default();
    let mut told = Told::default();
    for at in of_description(stsd) {
        let Some((kind, body)) = stsd[at.start + 4..at.end].split_first_chunk::<4>() else {
            continue;
        };
        match (kind, body) {
            (b"pasp", _) if told.pixel.is_none() => told.pixel = word(body, 0).zip(word(body, 4)),
            // What was first written for QuickTime tells no range; colour profiles tell nothing of this.
            (
                b"colr",
                [
                    b'n',
                    b'c',
                    b'l',
                    kind @ (b'x' | b'c'),
                    0,
                    primaries,
                    0,
                    transfer,
                    0,
                    matrix,
                    rest @ ..,
                ],
            ) if told.colour.is_none() => {
                told.colour = Some((*primaries, *transfer, *matrix));
                told.full_range = rest
                    .first()
                    .filter(|_| *kind == b'x')
                    .map(|range| range & 0x80 != 0);
            }
            _ => {}
        }
    }
    told
}

/// The decoder configuration of a track of H.264.
pub(crate) fn avc_config(track: &Atom) -> Option<&[u8]> {
    let stsd = track.bytes(&[b"mdia", b"minf", b"stbl", b"stsd"])?;
    let at = avcc_at(stsd)?;
    stsd.get(at.start + 8..at.end)
}

/// Replaces the decoder configuration of a track of H.264.
pub(crate) fn set_avc_config(track: &mut Atom, config: &[u8]) {
    let Some(stsd) = track.bytes_mut(&[b"mdia", b"minf", b"stbl", b"stsd"]) else {
        return;
    };
    let (Some(at), Some(len)) = (avcc_at(stsd), word(stsd, 8)) else {
        return;
    };
    let mut avcc = (config.len() as u32 + 8).to_be_bytes().to_vec();
    avcc.extend(b"avcC");
    avcc.extend(config);
    let len = len as usize + avcc.len() - at.len();
    stsd[8..12].copy_from_slice(&(len as u32).to_be_bytes());
    stsd.splice(at, avcc);
}

/// Time scale and duration of a header box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Durations {
    pub(crate) timescale: u32,
    pub(crate) duration: u64,
}

/// What `mvhd` or `mdhd` says.
pub(crate) fn full_duration(header: &[u8]) -> Option<Durations> {
    let (timescale, duration) = if header.first() == Some(&1) {
        (word(header, 20)?, long(header, 24)?)
    } else {
        (word(header, 12)?, u64::from(word(header, 16)?))
    };
    (timescale > 0).then_some(Durations { timescale, duration })
}

/// Has a track that holds another coding now described as one of another file is, and count its time in these units a second.
pub(crate) fn set_description(track: &mut Atom, of: &Atom, timescale: u32) {
    const STSD: [&[u8; 4]; 4] = [b"mdia", b"minf", b"stbl", b"stsd"];
    if let (Some(own), Some(other)) = (track.bytes_mut(&STSD), of.bytes(&STSD)) {
        *own = other.to_vec();
    }
    if let Some(header) = track.bytes_mut(&[b"mdia", b"mdhd"]) {
        let at = if header.first() == Some(&1) { 20 } else { 12 };
        if let Some(field) = header.get_mut(at..at + 4) {
            field.copy_from_slice(&timescale.to_be_bytes());
        }
    }
}

fn set(header: Option<&mut Vec<u8>>, (narrow, wide): (usize, usize), duration: u64) {
    let Some(header) = header else { return };
    if header.first() == Some(&1) {
        if let Some(field) = header.get_mut(wide..wide + 8) {
            field.copy_from_slice(&duration.to_be_bytes());
        }
    } else if let Some(field) = header.get_mut(narrow..narrow + 4) {
        field.copy_from_slice(&u32::try_from(duration).unwrap_or(u32::MAX).to_be_bytes());
    }
}

/// Sets the durations of the movie (no `media`) or of a track: in the movie's time scale and in the track's.
pub(crate) fn set_durations(atom: &mut Atom, movie: u64, media: Option<u64>) {
    match media {
        None => set(atom.bytes_mut(&[b"mvhd"]), (16, 24), movie),
        Some(media) => {
            set(atom.bytes_mut(&[b"tkhd"]), (20, 28), movie);
            set(atom.bytes_mut(&[b"mdia", b"mdhd"]), (16, 24), media);
        }
    }
}

/// What an AAC track's description says.
pub(crate) fn audio_config(track: &Atom) -> Result<Config, SpliceError> {
    let stsd = track
        .bytes(&[b"mdia", b"minf", b"stbl", b"stsd"])
        .ok_or_else(|| damaged("a track does not say what it is"))?;
    if word(stsd, 4) != Some(1) {
        return Err(SpliceError::Unsupported(
            "the MP4 file's sound changes its coding".into(),
        ));
    }
    let kind = stsd.get(12..16).unwrap_or_default();
    match kind {
        b"mp4a" => {}
        b"enca" => return Err(SpliceError::Unsupported("the MP4 file is encrypted".into())),
        other => {
            return Err(SpliceError::Unsupported(format!(
                "the MP4 file's sound is `{}`, and ads can be put into AAC-LC",
                String::from_utf8_lossy(other)
            )));
        }
    }
    let described = stsd
        .windows(4)
        .position(|bytes| bytes == b"esds")
        .and_then(|at| stsd.get(at + 8..));
    if let Some(name) = described.and_then(object_type).and_then(other_coding) {
        return Err(SpliceError::Unsupported(format!(
            "the MP4 file's sound is {name}, and ads can be put into AAC-LC"
        )));
    }
    let config = described.and_then(specific_config);
    Config::parse(config.unwrap_or_default())
}

/// What `objectTypeIndication`s of `mp4a` name that is no AAC (ISO/IEC 14496-1 §7.2.6.6, and registered ones).
fn other_coding(object_type: u8) -> Option<&'static str> {
    match object_type {
        0x69 | 0x6B => Some("MPEG audio (MP3 or layer I or II)"),
        0xA5 => Some("AC-3"),
        0xA6 => Some("E-AC-3"),
        0xA9 => Some("DTS"),
        0xAD => Some("Opus"),
        0xDD => Some("Vorbis"),
        _ => None,
    }
}

/// What an ES_Descriptor says that the stream is (`objectTypeIndication`).
fn object_type(bytes: &[u8]) -> Option<u8> {
    descend(bytes, &[(3, 3), (4, 0)])?.first().copied()
}

/// The DecoderSpecificInfo within an ES_Descriptor (ISO/IEC 14496-1 §7.2.6).
fn specific_config(bytes: &[u8]) -> Option<&[u8]> {
    descend(bytes, &[(3, 3), (4, 13), (5, 0)])
}

/// Goes down into descriptors of these tags, each within the one before after so many bytes.
fn descend<'a>(mut bytes: &'a [u8], path: &[(u8, usize)]) -> Option<&'a [u8]> {
    for (tag, skip) in path.iter().copied() {
        if *bytes.first()? != tag {
            return None;
        }
        let mut len = 0;
        let mut at = 1;
        loop {
            let byte = *bytes.get(at)?;
            at += 1;
            len = len << 7 | usize::from(byte & 0x7F);
            if byte & 0x80 == 0 || at > 4 {
                break;
            }
        }
        let body = bytes.get(at..)?;
        bytes = body.get(..len).unwrap_or(body).get(skip..)?;
    }
    Some(bytes)
}

/// Where the numbers of an iTunSMPB tag stand in the movie's tags: delay, padding, samples.
fn smpb(bytes: &[u8]) -> Option<(usize, [u64; 3])> {
    let name = bytes.windows(8).position(|window| window == b"iTunSMPB")?;
    let at = name
        + bytes
            .get(name..name + 100)?
            .windows(10)
            .position(|window| window == b" 00000000 ")?;
    let text = std::str::from_utf8(bytes.get(at + 10..at + 44)?).ok()?;
    let mut fields = text.split(' ').map(|field| u64::from_str_radix(field, 16).ok());
    Some((at + 10, [fields.next()??, fields.next()??, fields.next()??]))
}

/// Delay and samples that iTunes declares, for files without an edit list.
pub(crate) fn priming(moov: &Atom) -> Option<(u64, u64)> {
    let (_, [delay, _, samples]) = smpb(moov.bytes(&[b"udta", b"meta"])?)?;
    (samples > 0).then_some((delay, samples))
}

/// Changes the delay that iTunes declares.
pub(super) fn set_priming(moov: &mut Atom, delay: u32) {
    if let Some(meta) = moov.bytes_mut(&[b"udta", b"meta"])
        && let Some((at, _)) = smpb(meta)
    {
        meta[at..at + 8].copy_from_slice(format!("{delay:08X}").as_bytes());
    }
}

/// Changes the movie's own boxes: Nero's chapters become these (beginning in 100 ns, title), where there are any, and iTunes is told another length.
pub(crate) fn edit_chapters(moov: &mut Atom, chapters: &[(u64, String)], padding: u64, samples: u64) {
    if let Some(meta) = moov.bytes_mut(&[b"udta", b"meta"])
        && let Some((at, [delay, _, _])) = smpb(meta)
    {
        let text = format!("{delay:08X} {padding:08X} {samples:016X}");
        if text.len() == 34 {
            meta[at..at + 34].copy_from_slice(text.as_bytes());
        }
    }
    let Some(chpl) = moov.bytes_mut(&[b"udta", b"chpl"]) else {
        return;
    };
    let start = if chpl.first() == Some(&1) { 8 } else { 4 };
    if chpl.len() <= start {
        return;
    }
    chpl.truncate(start);
    let chapters = &chapters[..chapters.len().min(255)];
    chpl.push(chapters.len() as u8);
    for (time, title) in chapters {
        let cut = (0..=title.len().min(255))
            .rev()
            .find(|end| title.is_char_boundary(*end));
        let title = &title[..cut.unwrap_or(0)];
        chpl.extend(time.to_be_bytes());
        chpl.push(title.len() as u8);
        chpl.extend(title.as_bytes());
    }
}

/// How a list of chapters ends before it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CutShort {
    /// Chapters that it says that it has, and that it has.
    pub(super) said: u8,
    pub(super) has: u8,
    /// Where in the list the next one should be.
    pub(super) at: usize,
}

fn each_chapter(chpl: &[u8], mut found: impl FnMut(usize, u64, &[u8])) -> Result<(), CutShort> {
    let mut at = if chpl.first() == Some(&1) { 8 } else { 4 };
    let Some(said) = chpl.get(at).copied() else {
        return Ok(());
    };
    at += 1;
    for has in 0..said {
        let entry = long(chpl, at)
            .zip(chpl.get(at + 8))
            .and_then(|(time, len)| Some((time, chpl.get(at + 9..at + 9 + usize::from(*len))?)));
        let (time, title) = entry.ok_or(CutShort { said, has, at })?;
        found(at, time, title);
        at += 9 + title.len();
    }
    Ok(())
}

/// Nero's list of chapters, and how it is cut short, if it is.
pub(super) fn nero_damage(moov: &Atom) -> Option<(&[u8], CutShort)> {
    let chpl = moov.bytes(&[b"udta", b"chpl"])?;
    Some((chpl, each_chapter(chpl, |_, _, _| {}).err()?))
}

/// Nero's chapters: beginning in 100 ns, title.
pub(crate) fn nero_chapters(moov: &Atom) -> Vec<(u64, String)> {
    let mut chapters = Vec::new();
    if let Some(chpl) = moov.bytes(&[b"udta", b"chpl"]) {
        // Whoever splices keeps those that are there.
        let _ = each_chapter(chpl, |_, time, title| {
            chapters.push((time, String::from_utf8_lossy(title).into_owned()));
        });
    }
    chapters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_held_of_each_sample_and_chunk() {
        // As ffmpeg writes them: each beside one of another track, in a file of more than 4 GiB.
        let (mut samples, mut chunks) = (Samples::default(), Chunks::default());
        let count = 1 << 16;
        for i in 0..count {
            samples.push(i * 70_000, 900, 1024, 0, true);
            chunks.push(i * 70_000, 1);
        }
        samples.settle();
        assert_eq!(samples.offsets.at(65_535), 65_535 * 70_000);
        let held = samples.offsets.bytes() as u64 + 4 * samples.sizes.capacity() as u64;
        assert!(held * 4 < count * 33, "{held} bytes of {count} samples");
        let held = chunks.bytes() as u64;
        assert!(held * 4 < count * 33, "{held} bytes of {count} chunks");
        assert!(samples.compositions.capacity() == 0 && samples.sync.is_none());
    }

    #[test]
    fn what_is_left_of_samples_is_as_it_was() {
        let all = |count: u32| {
            let mut samples = Samples::default();
            for i in 0..count {
                samples.push(u64::from(i) * 9, 9, 10 + i / 3, i as i32 % 2, i % 4 == 0);
            }
            samples
        };
        for count in 1..=10 {
            let mut cut = all(10);
            cut.truncate(count as usize);
            assert_eq!(cut, all(count));
        }
    }
}
