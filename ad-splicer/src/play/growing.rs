//! A rendition that grows while it is read: ads that were decided meanwhile are spliced in ahead of the reader.
//!
//! Each [`Growing::replace`] gives a new frozen rendition of the same content, whose breaks differ only ahead of the reader.
//! Invariants: a byte that may have been read never changes; the reader goes over to the new rendition at a place up to which
//! both are alike (their heads apart), before the first break that differs; when there is no such place left, nothing changes.
//! A head that was read is of the first rendition; those of WAV and FLAC are given with an open end, since decoders stop where they say. Of MP4 and WebM, whose beginning would say where everything is, renditions that
//! grow are made otherwise ([`Rendition::zero`]).

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use crate::content::Content;
use crate::splice::flac::seek as flac;
use crate::splice::opus::page_before;
use crate::splice::vorbis::seek as vorbis;
use crate::splice::{self, Codec, Moved, Options, Rendition, Renumbered, Run, SeekPoint, Source};
use crate::time::{ContentTime, PresentationTime, duration_of};

use super::Located;

/// So much before a place is decoded too: what is missing of frames before it is heard no more then.
const LEAD: Duration = Duration::from_millis(400);

/// It is too late: the reader may be past the place of a break that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("playback was already too near")]
pub struct TooLate;

/// See the module documentation.
pub struct Growing {
    content: Arc<dyn Content>,
    state: Mutex<State>,
    /// Seek points of the content itself, once they were wanted.
    plain: OnceLock<Vec<SeekPoint>>,
}

impl std::fmt::Debug for Growing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Growing").finish_non_exhaustive()
    }
}

struct State {
    stages: Vec<Stage>,
    /// Nothing at or after this was read.
    furthest: u64,
}

impl State {
    fn last(&self) -> Arc<Rendition> {
        // There is one from the beginning, and none is ever taken away.
        Arc::clone(&self.stages[self.stages.len() - 1].rendition)
    }
}

/// From `start` on, bytes come from `rendition`, beginning at its `offset`.
#[derive(Clone)]
struct Stage {
    start: u64,
    rendition: Arc<Rendition>,
    offset: u64,
    /// Where the mark of FLAC is in it.
    mark: Option<u64>,
}

impl Stage {
    fn end(&self) -> u64 {
        self.start + end_of(&self.rendition).saturating_sub(self.offset)
    }
}

impl Growing {
    /// Begins with a rendition of `content`, of whose head it may read.
    pub fn new(content: Arc<dyn Content>, rendition: Rendition) -> Self {
        let stage = Stage {
            start: 0,
            mark: mark(content.as_ref(), &rendition),
            rendition: Arc::new(rendition),
            offset: 0,
        };
        Self {
            content,
            plain: OnceLock::new(),
            state: Mutex::new(State {
                stages: vec![stage],
                furthest: 0,
            }),
        }
    }

    /// The rendition that is read from now on.
    pub fn rendition(&self) -> Arc<Rendition> {
        self.lock().last()
    }

    /// Where to read to hear what is at `to`; `None` when only a decoder can find that. Content without ads may be read for it.
    pub fn locate(&self, to: PresentationTime) -> Option<Located> {
        match self.rendition().codec() {
            Codec::OggVorbis => return self.locate_vorbis(to),
            Codec::Flac => return self.locate_flac(to),
            _ => {}
        }
        let (first, rendition) = {
            let state = self.lock();
            (state.stages[0].rendition.audio()?.start, state.last())
        };
        let rate = rendition.plan().sample_rate();
        let wanted = to.to_samples(rate) as i64;
        let lead = ContentTime::from(LEAD).to_samples(rate) as i64;
        if let Some(zero) = rendition.zero() {
            let start = rendition.audio()?.start;
            // The beginning is known.
            let point = (wanted > lead)
                .then(|| self.part_before(&rendition, wanted - lead))
                .flatten();
            return Some(Located {
                head: self.part(&rendition, 0..start)?,
                offset: point.map_or(start, |point| point.offset) - start + first,
                // The parts say themselves when they are.
                lead: zero + to.since(PresentationTime::ZERO),
            });
        }
        if rendition.codec() == Codec::OggOpus {
            let deadline = Options::default().read_deadline;
            let read = |offset: u64, buffer: &mut [u8]| {
                rendition.read_at(self.content.as_ref(), offset, buffer, deadline)
            };
            let point = page_before(&read, rendition.audio()?, wanted - lead)?;
            return Some(Located {
                head: Vec::new(),
                offset: point.offset - rendition.audio()?.start + first,
                lead: duration_of((wanted - point.sample).max(0) as u64, rate),
            });
        }
        let found;
        let points = if rendition.points().is_empty() && rendition.report().ads.is_empty() {
            found = self.plain.get_or_init(|| {
                splice::seek_points(self.content.as_ref(), &Options::default()).unwrap_or_default()
            });
            found
        } else {
            rendition.points()
        };
        let at = points.partition_point(|point| point.sample <= wanted - lead);
        let point = points
            .get(at.saturating_sub(1))
            .filter(|point| point.sample <= wanted)?;
        Some(Located {
            head: Vec::new(),
            // Heads apart, what is read is the same for every rendition.
            offset: point.offset - rendition.audio()?.start + first,
            lead: duration_of((wanted - point.sample) as u64, rate),
        })
    }

    /// The last place not after a sample where decoding can begin, in what is made of parts that each have their time.
    fn part_before(&self, rendition: &Rendition, wanted: i64) -> Option<SeekPoint> {
        let options = Options {
            growing: true,
            ..Options::default()
        };
        let content = self.content.as_ref();
        let points = match rendition.points() {
            [] if rendition.report().ads.is_empty() => {
                if let Ok(Some(point)) = splice::seek_point(content, &options, wanted) {
                    return Some(point);
                }
                self.plain
                    .get_or_init(|| splice::seek_points(content, &options).unwrap_or_default())
            }
            points => points,
        };
        let at = points.partition_point(|point| point.sample <= wanted);
        at.checked_sub(1).map(|at| points[at])
    }

    /// Some bytes of a rendition.
    fn part(&self, rendition: &Rendition, range: Range<u64>) -> Option<Vec<u8>> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        let mut filled = 0;
        let deadline = Options::default().read_deadline;
        while filled < bytes.len() {
            let (offset, rest) = (range.start + filled as u64, &mut bytes[filled..]);
            match rendition.read_at(self.content.as_ref(), offset, rest, deadline) {
                Ok(0) | Err(_) => return None,
                Ok(count) => filled += count,
            }
        }
        Some(bytes)
    }

    /// The same of Vorbis.
    fn locate_vorbis(&self, to: PresentationTime) -> Option<Located> {
        let rendition = self.rendition();
        let rate = rendition.plan().sample_rate();
        let deadline = Options::default().read_deadline;
        let read = |offset: u64, buffer: &mut [u8]| {
            rendition.read_at(self.content.as_ref(), offset, buffer, deadline)
        };
        let wanted = to.to_samples(rate) as i64;
        let found = vorbis::entrance(&read, rendition.runs(), wanted)?;
        Some(Located {
            head: self.part(&rendition, found.head)?,
            offset: found.offset,
            lead: duration_of((wanted - found.sample).max(0) as u64, rate),
        })
    }

    /// The same of FLAC: whatever number its first frame has, to the decoder it is the beginning.
    fn locate_flac(&self, to: PresentationTime) -> Option<Located> {
        let (first, rendition, mark) = {
            let state = self.lock();
            let last = &state.stages[state.stages.len() - 1];
            (state.stages[0].rendition.audio()?.start, state.last(), last.mark)
        };
        let audio = rendition.audio()?;
        let deadline = Options::default().read_deadline;
        let read = |offset: u64, buffer: &mut [u8]| {
            rendition.read_at(self.content.as_ref(), offset, buffer, deadline)
        };
        let rate = rendition.plan().sample_rate();
        let wanted = to.to_samples(rate);
        let mark = mark?;
        let (point, mut head) = flac::frame_before(&read, mark, audio.clone(), wanted)?;
        open_end(&rendition, Some(mark), mark, &mut head);
        Some(Located {
            head: head.to_vec(),
            offset: point.offset - audio.start + first,
            lead: duration_of(wanted.saturating_sub(point.sample as u64), rate),
        })
    }

    /// Goes over to `next`, of whose head it may read, as soon as the reader is where both are alike.
    ///
    /// # Errors
    /// [`TooLate`] when it may be past a break that is in only one of `next` and the rendition that is read now.
    pub fn replace(&self, next: Rendition) -> Result<(), TooLate> {
        let mark = mark(self.content.as_ref(), &next);
        let mut state = self.lock();
        let last = state.stages[state.stages.len() - 1].clone();
        let read = state.furthest.max(last.start);
        let (start, offset) = crossing(&last, &next, read).ok_or(TooLate)?;
        state.stages.push(Stage {
            start,
            rendition: Arc::new(next),
            offset,
            mark,
        });
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // It is whole whatever panicked beside it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content for Growing {
    fn len(&self) -> u64 {
        let state = self.lock();
        state.stages[state.stages.len() - 1].end()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], deadline: Duration) -> io::Result<usize> {
        let (stage, count) = {
            let mut state = self.lock();
            let index = state.stages.partition_point(|stage| stage.start <= offset) - 1;
            let stage = state.stages[index].clone();
            let end = state.stages.get(index + 1).map_or(stage.end(), |next| next.start);
            let count = usize::try_from(end.saturating_sub(offset))
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            // Claimed before it is read, which may take long: nothing may change under a read.
            state.furthest = state.furthest.max(offset + count as u64);
            (stage, count)
        };
        let within = stage.offset + (offset - stage.start);
        let count = stage
            .rendition
            .read_at(self.content.as_ref(), within, &mut buffer[..count], deadline)?;
        open_end(&stage.rendition, stage.mark, within, &mut buffer[..count]);
        Ok(count)
    }
}

/// What a WAV file says of the length of its samples while they may become more.
const OPEN_ENDED: [u8; 4] = 0xFFFF_FFF0_u32.to_le_bytes();
/// Where, behind its mark, a FLAC file's STREAMINFO has the smallest and the largest frame's size,
const FLAC_SIZES: Range<u64> = 8 + 4..8 + 10;
/// and where it has the number of samples (the first byte shares half of itself with another field) and, right after it, their MD5.
const FLAC_SAMPLES: u64 = 8 + 13;
const FLAC_MD5_END: u64 = 8 + 34;

/// Where the mark of FLAC is in a rendition, if it is found. (Other formats have none.)
fn mark(content: &dyn Content, rendition: &Rendition) -> Option<u64> {
    if rendition.codec() != Codec::Flac {
        return None;
    }
    let deadline = Options::default().read_deadline;
    let read = |offset: u64, buffer: &mut [u8]| rendition.read_at(content, offset, buffer, deadline);
    flac::mark(&read)
}

/// Takes what a head says about the end out of `bytes`, which stand at `offset` of a rendition.
fn open_end(rendition: &Rendition, mark: Option<u64>, offset: u64, bytes: &mut [u8]) {
    let mut put = |place: u64, keep: u8, byte: u8| {
        let at = place.checked_sub(offset).and_then(|at| usize::try_from(at).ok());
        if let Some(there) = at.and_then(|at| bytes.get_mut(at)) {
            *there = *there & keep | byte;
        }
    };
    match (rendition.codec(), rendition.audio(), mark) {
        (Codec::Wav, Some(audio), _) => {
            // The last field before the samples says how many bytes of them there are.
            for (place, byte) in (audio.start.saturating_sub(4)..).zip(OPEN_ENDED) {
                put(place, 0, byte);
            }
        }
        // Zeros mean that nothing is known.
        (Codec::Flac, Some(_), Some(mark)) => {
            put(mark + FLAC_SAMPLES, 0xF0, 0);
            for place in FLAC_SIZES.chain(FLAC_SAMPLES + 1..FLAC_MD5_END) {
                put(mark + place, 0, 0);
            }
        }
        _ => {}
    }
}

/// Where what is played of a rendition ends. A decoder of WAV that does not know how long the sound is would take what comes after it for sound.
fn end_of(rendition: &Rendition) -> u64 {
    match rendition.audio() {
        Some(audio) if rendition.codec() == Codec::Wav => audio.end,
        _ => rendition.len(),
    }
}

/// Where to go over from `last` to `next`, not before `read`: the place in the view, and the offset in `next`.
///
/// After their heads, which describe the whole, both hold the same bytes up to the first break that differs: at any place before that, what
/// was read is what `next` has there.
fn crossing(last: &Stage, next: &Rendition, read: u64) -> Option<(u64, u64)> {
    let old = &last.rendition;
    let (old_head, new_head) = (old.audio()?.start, next.audio()?.start);
    let wanted = (last.offset + (read - last.start)).max(old_head);
    let shared = shared((old.runs(), old_head), (next.runs(), new_head));
    (wanted - old_head <= shared).then(|| {
        let view = last.start + (wanted - last.offset);
        (view, new_head + (wanted - old_head))
    })
}

/// How many bytes two renditions of one content have in common, each from an offset on.
fn shared(a: (&[Run], u64), b: (&[Run], u64)) -> u64 {
    let mut count = 0;
    while let (Some(one), Some(other)) = (rest(a.0, a.1 + count), rest(b.0, b.1 + count)) {
        let most = one.1.min(other.1);
        let same = match (one.0, other.0) {
            (Rest::Content(one), Rest::Content(other)) if one == other => most,
            (Rest::Pages(one, from), Rest::Pages(other, to)) if one == other && from == to => most,
            (Rest::Frames(one, from), Rest::Frames(other, to)) if from == to && one.begins_like(&other) => {
                most
            }
            (Rest::Clusters(one, later), Rest::Clusters(other, same)) if one == other && later == same => {
                most
            }
            (Rest::Made(one), Rest::Made(other)) => {
                one.iter().zip(other).take_while(|(a, b)| a == b).count() as u64
            }
            _ => 0,
        };
        count += same;
        if same < most {
            break;
        }
    }
    count
}

/// The rest of a run.
enum Rest<'a> {
    Content(u64),
    /// From so many bytes on.
    Pages(Moved, u64),
    /// From so many bytes on.
    Frames(Renumbered, u64),
    /// From there in the content on, so much later.
    Clusters(u64, i64),
    Made(&'a [u8]),
}

/// What is at an offset, and how many bytes of it; `None` at the end.
fn rest(runs: &[Run], offset: u64) -> Option<(Rest<'_>, u64)> {
    let run = runs.get(runs.partition_point(|run| run.start <= offset).checked_sub(1)?)?;
    let within = offset - run.start;
    let left = run.len.checked_sub(within).filter(|left| *left > 0)?;
    let rest = match &run.source {
        Source::Content(from) => Rest::Content(from + within),
        Source::Made(bytes) => Rest::Made(&bytes[within as usize..]),
        // What does not begin with the same page is taken for another.
        Source::Pages(pages) => Rest::Pages(*pages, within),
        Source::Frames(frames) => Rest::Frames(*frames, within),
        Source::Clusters(clusters) => Rest::Clusters(clusters.from + within, clusters.later),
        // Nobody knows yet what it is.
        Source::Bridge { .. } => return None,
    };
    Some((rest, left))
}
