//! Long WebM whose cues lead to what is wanted: its beginning, its end, and the clusters around the breaks are looked at, and those between stay as they are.
//!
//! Cues may say what is not so. From one cue to the next there have to be whole clusters and nothing else, and the sound in them has to be where it is due; whatever does not agree is corrupt, and all of the file is read instead
//! ([`format::Head::read_through`]). Not for: how a result is laid out ([`Track`]), which is the same for both.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::blocks::{Part, late};
use super::gaps::{MOST_CLUSTERS, are_gone_through};
use super::{Gathered, Track, WebmOpus, end_of, units};
use crate::frames::opus::RATE;
use crate::frames::tail;
use crate::frames::webm::{Block, Cue, Index, Webm};
use crate::frames::window::Window;
use crate::plan::Steps;
use crate::splice::SpliceError;
use crate::splice::format::{self, Frames, Place, Spliced, Stream};
use crate::splice::layout::Layout;
use crate::splice::opus_sound::Length;
use crate::splice::pictures::Found;

/// Shorter files are read as a whole: there is little to be saved.
const SHORT: u64 = if cfg!(fuzzing) { 0 } else { 2 << 20 };
/// With fewer cues there is nothing between them that need not be read.
const FEW_CUES: usize = 8;
/// So much on both sides of a break is looked at: more than a bridge needs, and by which sound and pictures may stand apart.
const AROUND: Duration = Duration::from_secs(2);

/// Sees a block and the beginning of its frame.
type Look<'a> = dyn FnMut(&Block, &[u8]) -> Result<(), SpliceError> + 'a;

/// The clusters from one cue to the next.
struct Stretch {
    index: Index,
    found: Found,
    /// Its packets of sound.
    part: Part,
}

/// See the module documentation.
pub(super) struct Parted<'a> {
    file: &'a WebmOpus<'a>,
    /// The head, with what stands behind the sound.
    webm: Webm,
    /// Where stretches begin, the first cluster first, and after which time.
    starts: Vec<Cue>,
    /// All that the file says.
    cues: Vec<Cue>,
    /// What the pictures are like, before any of them was looked at here.
    found: Found,
    /// Samples of a packet.
    size: u32,
    /// When the first packet of sound is.
    first: i64,
    count: u64,
    /// Samples of the content.
    samples: u64,
    known: Mutex<BTreeMap<usize, Arc<Stretch>>>,
    /// Where it turned out, while nobody could be told, that what the cues say is not so.
    failed: Mutex<Option<SpliceError>>,
}

/// What is wrong with a part is found by reading all, which says it better.
fn corrupt(offset: u64) -> impl Fn(SpliceError) -> SpliceError {
    move |error| match error {
        SpliceError::Read { .. } => error,
        _ => SpliceError::Corrupt { offset },
    }
}

impl<'a> Parted<'a> {
    /// `None` when only reading all can tell: the file is short, or lists no places.
    pub(super) fn open(file: &'a WebmOpus<'a>) -> Result<Option<Self>, SpliceError> {
        let (webm, content, deadline) = (&file.webm, file.content, file.options.read_deadline);
        let short = content.len() - webm.first < SHORT;
        if short || !tail::is_tail(&mut Window::new(content, deadline), webm.segment.end)? {
            return Ok(None);
        }
        let track = file.pictures.map_or(file.sound, |(track, _)| track);
        let cues = webm.cues(track, content, deadline)?;
        let mut starts = vec![Cue {
            time: 0,
            cluster: webm.first,
        }];
        for cue in &cues {
            let last = starts[starts.len() - 1];
            if cue.cluster > last.cluster {
                starts.push(*cue);
            }
        }
        if starts.len() < FEW_CUES {
            return Ok(None);
        }
        let (mut length, mut found) = (Length::default(), Found::default());
        let part = webm.first..starts[1].cluster;
        let beginning = Index::scan_part(&part, webm, content, deadline, &mut |block, packet| {
            if block.track() == file.sound {
                length.look(packet, block.offset)
            } else {
                found.look(packet, block.offset)
            }
        });
        let beginning = match beginning {
            Ok(index) => index,
            Err(error @ SpliceError::Read { .. }) => return Err(error),
            Err(_) => return Ok(None),
        };
        let first = beginning.blocks.iter().find(|block| block.track() == file.sound);
        let (Ok(size), Some(first)) = (length.samples(), first) else {
            return Ok(None);
        };
        starts[0].time = beginning.clusters.first().map_or(0, |cluster| cluster.time);
        if starts[0].time > starts[1].time {
            return Ok(None);
        }
        let parted = Self {
            file,
            webm: webm.clone(),
            starts,
            cues,
            found: found.begun(),
            size,
            first: first.time,
            count: 0,
            samples: 0,
            known: Mutex::default(),
            failed: Mutex::default(),
        };
        match parted.look_at_end() {
            Err(SpliceError::Corrupt { .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    /// The last stretch, which says how many packets there are, and what stands behind it.
    fn look_at_end(mut self) -> Result<Self, SpliceError> {
        let last = self.starts.len() - 1;
        let begin = self.starts[last].cluster;
        let (content, deadline) = (self.file.content, self.file.options.read_deadline);
        let (stretch, tail) = self.look(last, |look| {
            let mut tail = self.webm.clone();
            tail.first = begin;
            let index = Index::scan(&mut tail, content, deadline, look)?;
            Ok((index, tail))
        })?;
        let Some(block) = stretch.part.own.last() else {
            return Err(SpliceError::Corrupt { offset: begin });
        };
        self.count = stretch.part.end();
        let end = end_of(self.count, self.size, *block as usize, stretch.index.discard);
        let end = end.map_err(corrupt(begin))?;
        let samples = end.checked_sub(self.file.skip()).filter(|samples| *samples > 0);
        self.samples = samples.ok_or(SpliceError::Corrupt { offset: begin })?;
        let first = self.webm.first;
        self.webm = tail;
        self.webm.first = first;
        self.known
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(last, Arc::new(stretch));
        Ok(self)
    }

    /// Looks at a stretch as `scan` finds its blocks.
    fn look<T>(
        &self,
        number: usize,
        scan: impl FnOnce(&mut Look<'_>) -> Result<(Index, T), SpliceError>,
    ) -> Result<(Stretch, T), SpliceError> {
        let begin = self.starts[number].cluster;
        let wrong = || SpliceError::Corrupt { offset: begin };
        let mut length = Length::default();
        length.is(self.size);
        let mut found = if number == 0 {
            Found::default()
        } else {
            self.found.clone()
        };
        let (index, more) = scan(&mut |block, packet| {
            if block.track() == self.file.sound {
                length.look(packet, block.offset)
            } else {
                found.look(packet, block.offset)
            }
        })
        .map_err(corrupt(begin))?;
        // What is between the cues will be read without having been looked at: it has to be of a kind that can.
        if index.clusters.len() > MOST_CLUSTERS
            || index.clusters.iter().any(|cluster| cluster.stamp.is_none())
        {
            return Err(wrong());
        }
        let is_sound = |block: &u32| index.blocks[*block as usize].track() == self.file.sound;
        let own: Vec<u32> = (0..index.blocks.len() as u32).filter(is_sound).collect();
        let scale = self.webm.scale;
        let mut first = 0;
        if let Some(block) = own.first().filter(|_| number > 0) {
            let time = index.blocks[*block as usize].time.saturating_sub(self.first);
            let second = i128::from(scale) * i128::from(RATE);
            let samples = (i128::from(time) * second / 1_000_000_000).max(0) as i64;
            let size = i64::from(self.size);
            let packet = samples.saturating_add(size / 2) / size;
            // Rounding alone may move it, or which packet it is could be mistaken.
            if units(packet.saturating_mul(size), scale).abs_diff(time) > 1 {
                return Err(wrong());
            }
            first = packet as u64;
        }
        if late(&index, &own, (first, self.first), (self.size, scale)).is_some() {
            return Err(wrong());
        }
        let part = Part { first, own };
        Ok((Stretch { index, found, part }, more))
    }

    fn stretch(&self, number: usize) -> Result<Arc<Stretch>, SpliceError> {
        let known = |known: &Mutex<BTreeMap<usize, Arc<Stretch>>>| {
            let known = known.lock().unwrap_or_else(PoisonError::into_inner);
            known.get(&number).cloned()
        };
        if let Some(stretch) = known(&self.known) {
            return Ok(stretch);
        }
        let bytes = self.starts[number].cluster..self.starts[number + 1].cluster;
        let (content, deadline) = (self.file.content, self.file.options.read_deadline);
        let (stretch, ()) = self.look(number, |look| {
            Index::scan_part(&bytes, &self.webm, content, deadline, look).map(|index| (index, ()))
        })?;
        if stretch.index.discard.is_some() {
            return Err(SpliceError::Corrupt { offset: bytes.start });
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(known.entry(number).or_insert_with(|| Arc::new(stretch)).clone())
    }

    /// The stretches in which there is what is heard in a range of samples of the content, and seen: from a key picture before it to the one after the next.
    fn around(&self, samples: &Range<u64>) -> Range<usize> {
        let skip = self.file.skip();
        let time = |sample: u64| self.first + units((sample + skip) as i64, self.webm.scale);
        let around = (AROUND.as_nanos() as u64 / self.webm.scale.max(1)) as i64;
        let (from, to) = (time(samples.start) - around, time(samples.end) + around);
        let begin = self.starts.partition_point(|start| start.time <= from);
        let end = self.starts.partition_point(|start| start.time <= to);
        let more = usize::from(self.file.pictures.is_some());
        begin.saturating_sub(1)..(end + more).min(self.starts.len())
    }

    /// What is in these stretches, which are in order, at the beginning and at the end.
    fn track(&self, wanted: &[Range<usize>]) -> Result<Track<'a>, SpliceError> {
        let all = self.starts.len();
        let mut wanted: Vec<Range<usize>> = wanted.iter().cloned().chain([0..1, all - 1..all]).collect();
        wanted.sort_by_key(|range| range.start);
        let (mut index, mut found) = (Index::default(), Found::default());
        let mut parts: Vec<Part> = Vec::new();
        let mut next = 0;
        for number in wanted.into_iter().flatten() {
            if number < next {
                continue;
            }
            let stretch = self.stretch(number)?;
            let bytes = self.starts[next.min(all - 1)].cluster..self.starts[number].cluster;
            let between = (number > next).then(|| {
                let cues = self.cues.iter().filter(|cue| bytes.contains(&cue.cluster));
                (bytes.clone(), self.gap_cues(cues.copied()))
            });
            let is_gap = between.is_some();
            let before = index.blocks.len() as u32;
            index.append(&stretch.index, between);
            found.append(&stretch.found);
            let own = stretch.part.own.iter().map(|block| block + before);
            match parts.last_mut() {
                Some(part) if !is_gap => {
                    if !stretch.part.own.is_empty() && part.end() != stretch.part.first {
                        return Err(SpliceError::Corrupt { offset: bytes.end });
                    }
                    part.own.extend(own);
                }
                Some(part) if stretch.part.own.is_empty() || stretch.part.first < part.end() => {
                    return Err(SpliceError::Corrupt { offset: bytes.end });
                }
                _ => parts.push(Part {
                    first: stretch.part.first,
                    own: own.collect(),
                }),
            }
            next = number + 1;
        }
        if !are_gone_through(&index) {
            return Err(self.file.elsewhere());
        }
        let gathered = Gathered {
            webm: self.webm.clone(),
            index,
            parts,
            found,
            size: self.size,
            count: self.count,
        };
        Track::of(self.file, gathered)
    }

    /// Those of a gap's cues that a result lists: with pictures all, otherwise one for each cluster.
    fn gap_cues(&self, cues: impl Iterator<Item = Cue>) -> Vec<Cue> {
        let mut out: Vec<Cue> = cues.collect();
        if self.file.pictures.is_none() {
            out.dedup_by_key(|cue| cue.cluster);
        }
        out
    }

    /// What is in and around a range of samples.
    fn near(&self, samples: &Range<u64>) -> Result<Track<'a>, SpliceError> {
        self.track(&[self.around(samples)])
    }

    fn whole(&self, layout: &Layout<'_>) -> Result<Track<'a>, SpliceError> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(error) = failed {
            return Err(error);
        }
        let spots = layout.spots.iter();
        let wanted: Vec<Range<usize>> = spots
            .flat_map(|spot| [spot.span.start, spot.span.end])
            .map(|sample| self.around(&(sample..sample)))
            .collect();
        self.track(&wanted)
    }

    /// Keeps what cannot be told now until it can.
    fn remember<T>(&self, error: SpliceError) -> Option<T> {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        None
    }
}

impl format::Track for Parted<'_> {
    fn stream(&self) -> Stream {
        Stream {
            samples: self.samples,
            ..format::Head::stream(self.file)
        }
    }

    fn frames(&self) -> Frames {
        let first = self.stretch(0).ok().and_then(|stretch| {
            let block = *stretch.part.own.first()?;
            Some(stretch.index.blocks[block as usize].offset)
        });
        Frames {
            count: self.count,
            steps: Steps::of_frames(self.size),
            start: first.unwrap_or(self.webm.first),
            bit_rate: None,
        }
    }

    fn place(&self, sample: u64) -> Result<Place, SpliceError> {
        self.near(&(sample..sample))?.place(sample)
    }

    fn decode(&self, range: Range<u64>) -> Result<Vec<f32>, SpliceError> {
        self.near(&range)?.decode(range)
    }

    fn cut(&self, span: &Range<u64>) -> Result<Range<u64>, String> {
        if self.file.pictures.is_none() {
            return Ok(span.clone());
        }
        let near = self.track(&[
            self.around(&(span.start..span.start)),
            self.around(&(span.end..span.end)),
        ]);
        match near {
            Ok(track) => track.cut(span),
            // Before anything is done with it, all is read: see `check`.
            Err(error) => Ok(self.remember(error).unwrap_or_else(|| span.clone())),
        }
    }

    /// Its end was looked at.
    fn outlasted(&self) -> u64 {
        if self.file.pictures.is_none() {
            return 0;
        }
        match self.track(&[]) {
            Ok(track) => track.outlasted(),
            Err(error) => self.remember(error).unwrap_or_default(),
        }
    }

    fn key_near(&self, sample: u64, within: u64) -> Option<Result<Option<u64>, SpliceError>> {
        self.file.pictures?;
        let near = self.near(&(sample.saturating_sub(within)..sample + within));
        match near {
            Ok(track) => track.key_near(sample, within),
            Err(error) => Some(Err(error)),
        }
    }

    fn recodes_long(&self, sample: u64) -> Option<Duration> {
        self.file.pictures?;
        match self.near(&(sample..sample)) {
            Ok(track) => track.recodes_long(sample),
            Err(error) => self.remember(error),
        }
    }

    fn lacks_keys(&self, sample: u64, most: u64) -> bool {
        match self.near(&(sample..sample)) {
            Ok(track) => track.lacks_keys(sample, most),
            Err(error) => self.remember(error).unwrap_or_default(),
        }
    }

    fn check(&self, layout: &Layout<'_>) -> Result<(), SpliceError> {
        self.whole(layout).map(drop)
    }

    fn splice(&self, layout: &Layout<'_>) -> Result<Spliced, SpliceError> {
        self.whole(layout)?.splice(layout)
    }
}
