//! Who reads here, and by when which block is needed.
//!
//! A player's deadlines follow its media clock; before it starts, it needs its first 2.5 s at once. Not here: of whom
//! that is asked (`pick`, `origin_urgent`).

use std::ops::Range;
use std::time::{Duration, Instant};

use super::Swarm;
use super::bits::runs;
use super::types::{BLOCK_SIZE, BlockRun, Demand, FileIndex};

/// A playing reader's urgent window.
pub(super) const URGENT: Duration = Duration::from_secs(15);
/// What a reader needs before it starts.
pub(super) const START: Duration = Duration::from_millis(2_500);
/// Its near window.
pub(super) const NEAR: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Reader {
    pub(super) file: FileIndex,
    pub(super) position: u64,
    pub(super) demand: Demand,
    pub(super) at: Instant,
}

/// A deadline of a block that a reader needs soon.
pub(super) struct Need {
    pub(super) block: u32,
    pub(super) deadline: Instant,
    /// Since when its reader waits for its start, if it does.
    pub(super) starting: Option<Instant>,
}

impl Reader {
    /// The content bytes of a stream within this much media from the position.
    pub(super) fn window(&self, media: Duration) -> Range<u64> {
        let bytes = match self.demand {
            Demand::Stream { bitrate, .. } | Demand::Part { bitrate, .. } => {
                (bitrate as f64 * media.as_secs_f64()) as u64
            }
            Demand::Whenever => 8 << 20,
        };
        let end = self.position.saturating_add(bytes.max(1));
        match self.demand {
            Demand::Part { end: last, .. } => self.position..end.min(last),
            Demand::Stream { .. } | Demand::Whenever => self.position..end,
        }
    }

    /// When the byte at `offset` is needed.
    pub(super) fn deadline(&self, offset: u64) -> Instant {
        match self.demand {
            Demand::Stream { bitrate, .. } | Demand::Part { bitrate, .. } => {
                let ahead = offset.saturating_sub(self.position) as f64 / bitrate.max(1) as f64;
                self.at + Duration::from_secs_f64(ahead.min(86_400.0))
            }
            Demand::Whenever => self.at + Duration::from_secs(86_400),
        }
    }

    /// Whether it waits for its first media.
    pub(super) fn starting(&self) -> bool {
        matches!(
            self.demand,
            Demand::Stream { playing: false, .. } | Demand::Part { playing: false, .. }
        )
    }

    pub(super) fn streams(&self) -> bool {
        !matches!(self.demand, Demand::Whenever)
    }
}

impl Swarm {
    /// The block numbers of a byte range of a file, clipped to the file.
    pub(super) fn byte_span(&self, file: FileIndex, bytes: &Range<u64>) -> Range<u32> {
        let length = self.layout.file_length(file).unwrap_or(0);
        let (start, end) = (bytes.start.min(length), bytes.end.min(length));
        if start >= end {
            return 0..0;
        }
        let block = u64::from(BLOCK_SIZE);
        let (first, last) = ((start / block) as u32, ((end - 1) / block) as u32);
        self.layout.span(BlockRun::new(file.0, first, last - first + 1))
    }

    /// The urgent window of a reader, as block numbers; empty for a download.
    pub(super) fn urgent_span(&self, reader: &Reader) -> Range<u32> {
        if !reader.streams() {
            return 0..0;
        }
        let media = if reader.starting() { START } else { URGENT };
        self.byte_span(reader.file, &reader.window(media))
    }

    /// Blocks in urgent windows that are neither held nor requested, by deadline; at most `max`.
    pub(super) fn urgent_needs(&self, max: usize) -> Vec<Need> {
        let mut needs = Vec::new();
        for reader in self.readers.values() {
            let span = self.urgent_span(reader);
            let missing = runs(span, |w| !self.have.word(w) & !self.requested.word(w));
            for block in missing.into_iter().flatten().take(max) {
                let deadline = self.block_deadline(reader, block);
                needs.push(Need {
                    block,
                    deadline,
                    starting: reader.starting().then_some(reader.at),
                });
            }
        }
        needs.sort_by_key(|need| (need.deadline, need.block));
        needs.dedup_by_key(|need| need.block);
        needs.truncate(max);
        needs
    }

    pub(super) fn block_deadline(&self, reader: &Reader, block: u32) -> Instant {
        let first = self.layout.run(block..block + 1).first.0;
        reader.deadline((u64::from(first) * u64::from(BLOCK_SIZE)).max(reader.position))
    }

    /// Bytes a second of the media that is read, the fastest of several; `None` when nothing is played.
    pub(super) fn bitrate(&self) -> Option<u64> {
        let bitrate = |reader: &Reader| match reader.demand {
            Demand::Stream { bitrate, .. } | Demand::Part { bitrate, .. } => Some(bitrate),
            Demand::Whenever => None,
        };
        self.readers.values().filter_map(bitrate).max()
    }

    /// Whether a reader waits for its start: nothing else is fetched meanwhile.
    pub(super) fn start_is_missing(&self) -> bool {
        self.readers.values().any(|reader| {
            reader.starting() && {
                let span = self.urgent_span(reader);
                !span.is_empty() && !self.have.all(span)
            }
        })
    }
}
