//! A rendition that grows while it is read: ads that were decided meanwhile are spliced in ahead of the reader.
//!
//! Each [`Growing::replace`] gives a new frozen rendition of the same content, whose breaks differ only ahead of the reader.
//! Invariants: a byte that may have been read never changes; the reader goes over to the new rendition at a place where both
//! hold the same content, before the first break that differs; when there is no such place left, nothing changes.
//!
//! Not for: formats whose beginning describes the whole file (MP4), since a beginning that was read cannot be changed.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::content::Content;
use crate::splice::{Rendition, SeamKind, Source};

/// It is too late: the reader may be past the place of a break that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("playback was already too near")]
pub struct TooLate;

/// See the module documentation.
pub struct Growing {
    content: Arc<dyn Content>,
    state: Mutex<State>,
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

/// From `start` on, bytes come from `rendition`, beginning at its `offset`.
#[derive(Clone)]
struct Stage {
    start: u64,
    rendition: Arc<Rendition>,
    offset: u64,
}

impl Stage {
    fn end(&self) -> u64 {
        self.start + (self.rendition.len() - self.offset)
    }
}

impl Growing {
    /// Begins with a rendition of `content`.
    pub fn new(content: Arc<dyn Content>, rendition: Rendition) -> Self {
        let stage = Stage {
            start: 0,
            rendition: Arc::new(rendition),
            offset: 0,
        };
        Self {
            content,
            state: Mutex::new(State {
                stages: vec![stage],
                furthest: 0,
            }),
        }
    }

    /// The rendition that is read from now on.
    pub fn rendition(&self) -> Arc<Rendition> {
        let state = self.lock();
        // There is one from the beginning, and none is ever taken away.
        Arc::clone(&state.stages[state.stages.len() - 1].rendition)
    }

    /// Goes over to `next`, as soon as the reader is where both are alike.
    ///
    /// # Errors
    /// [`TooLate`] when it may be past a break that is in only one of `next` and the rendition that is read now.
    pub fn replace(&self, next: Rendition) -> Result<(), TooLate> {
        let mut state = self.lock();
        let last = state.stages[state.stages.len() - 1].clone();
        let read = state.furthest.max(last.start);
        let (start, offset) = crossing(&last, &next, read).ok_or(TooLate)?;
        state.stages.push(Stage {
            start,
            rendition: Arc::new(next),
            offset,
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
        stage
            .rendition
            .read_at(self.content.as_ref(), within, &mut buffer[..count], deadline)
    }
}

/// Where to go over from `last` to `next`, not before `read`: the place in the view, and the offset in `next`.
fn crossing(last: &Stage, next: &Rendition, read: u64) -> Option<(u64, u64)> {
    let old = &last.rendition;
    let (old_breaks, new_breaks) = (breaks(old), breaks(next));
    let only_in = |these: &[Gap], others: &[Gap]| {
        let differing = these.iter().filter(|gap| !others.contains(gap));
        differing.map(|gap| gap.before).min()
    };
    // The first place of the content where something differs.
    let limit = only_in(&new_breaks, &old_breaks)
        .into_iter()
        .chain(only_in(&old_breaks, &new_breaks))
        .min();
    let wanted = last.offset + (read - last.start);
    old.runs().iter().find_map(|run| {
        let Source::Content(from) = run.source else {
            return None;
        };
        let begin = run.start.max(wanted);
        if begin >= run.start + run.len {
            return None;
        }
        // Content from here to the end of the run is in both where a run of `next` has it too.
        let (first, end) = (from + (begin - run.start), from + run.len);
        next.runs().iter().find_map(|other| {
            let Source::Content(other_from) = other.source else {
                return None;
            };
            let place = first.max(other_from);
            let shared = place < end && place < other_from + other.len;
            let in_time = limit.is_none_or(|limit| place < limit);
            (shared && in_time).then(|| {
                let view = last.start + (begin + (place - first) - last.offset);
                (view, other.start + (place - other_from))
            })
        })
    })
}

/// Where ads interrupt the content of a rendition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Gap {
    /// The content's bytes end here,
    before: u64,
    /// and go on here.
    after: u64,
    /// How many bytes stand between: other ads are another interruption.
    made: u64,
}

/// The interruptions of a rendition's content. What stands at the beginning (tags, and ads before the first sample) is none.
fn breaks(rendition: &Rendition) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let (mut before, mut made) = (0, 0);
    for run in rendition.runs() {
        match run.source {
            Source::Content(after) => {
                if after != before || made > 0 {
                    gaps.push(Gap { before, after, made });
                }
                (before, made) = (after + run.len, 0);
            }
            Source::Made(_) => made += run.len,
        }
    }
    if made > 0 {
        gaps.push(Gap {
            before,
            after: u64::MAX,
            made,
        });
    }
    let seams = &rendition.report().seams;
    let entries = seams.iter().filter(|seam| seam.kind == SeamKind::Entry).count();
    gaps.split_off(gaps.len().saturating_sub(entries))
}
