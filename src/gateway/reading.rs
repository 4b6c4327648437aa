//! How one request reads content: it says what it needs and nothing beyond that, and stops when the viewer is gone.
//!
//! What a body reads ahead is bounded by its range and by how fast such media is played ([`Reading::want`]); whatever else is read (the head,
//! the surroundings of cues, what bridges are made of) is wanted at once and exactly, and further ahead only while it is read in order.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ad_splicer::content::Content;
use ad_splicer::frame_index::FrameIndex;
use engine::node::{Reader, Torrent};
use engine::swarm::Demand;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Most that is read ahead of what is wanted at once, in bytes.
const MOST_AHEAD: u64 = 4 << 20;
/// What is wanted at once is due within this time (what a player needs before it starts).
const AT_ONCE: f64 = 2.5;

/// A reader that wants nothing yet.
const NOTHING: Demand = Demand::Part {
    end: 0,
    bitrate: 1,
    playing: true,
};

/// The index of a torrent's frames, for all who read it.
pub(super) type Index = Arc<Option<FrameIndex>>;

/// The index that came with a torrent.
pub(super) fn index(torrent: &Torrent) -> Index {
    Arc::new(torrent.metainfo().frame_index().and_then(FrameIndex::parse))
}

/// Content of a torrent for one request. Several threads may read at once: each read wants its own bytes until it has them.
pub(super) struct Reading {
    torrent: Torrent,
    /// What is wanted beyond the reads that are waited for.
    ahead: Reader,
    runtime: Handle,
    index: Index,
    /// Its other end is dropped when nobody reads any more.
    gone: watch::Receiver<()>,
    /// After this nothing is waited for.
    until: Option<Instant>,
    wanted: Mutex<Wanted>,
}

#[derive(Default)]
struct Wanted {
    /// What a body reads, how many bytes a second of it are played, and whether it has had any yet.
    body: Range<u64>,
    rate: u64,
    begun: bool,
    /// Where the last read of anything else ended, and how far ahead it went.
    end: u64,
    ahead: u64,
    /// Reads that wait: from where, and since when, by their number.
    waits: BTreeMap<u64, (u64, Instant)>,
    number: u64,
    /// From where the last one read that got nothing in time.
    late: Option<u64>,
}

impl Reading {
    /// A reader, until `until`, and until the other end of `gone` is dropped.
    pub(super) fn new(
        torrent: &Torrent,
        index: Index,
        gone: watch::Receiver<()>,
        until: Option<Instant>,
    ) -> Self {
        Self {
            torrent: torrent.clone(),
            ahead: torrent.reader(NOTHING),
            runtime: Handle::current(),
            index,
            gone,
            until,
            wanted: Mutex::default(),
        }
    }

    /// A body reads this part of the content next, of media that is played at so many bytes a second.
    pub(super) fn want(&self, body: Range<u64>, rate: u64) {
        let mut wanted = self.wanted();
        (wanted.body, wanted.rate) = (body.clone(), rate);
        let demand = Demand::Part {
            end: body.end,
            bitrate: rate,
            playing: wanted.begun,
        };
        drop(wanted);
        self.ahead.set_position(body.start, demand);
    }

    /// The byte of the content that is waited for, and since when.
    pub(super) fn waits(&self) -> Option<(u64, Instant)> {
        self.wanted().waits.values().next().copied()
    }

    /// The byte of the content that did not come in time, when one did not.
    pub(super) fn late(&self) -> Option<u64> {
        self.wanted().late
    }

    fn wanted(&self) -> std::sync::MutexGuard<'_, Wanted> {
        super::lock(&self.wanted)
    }

    fn begins_to_wait(&self, offset: u64) -> u64 {
        let mut wanted = self.wanted();
        wanted.number += 1;
        let number = wanted.number;
        wanted.waits.insert(number, (offset, Instant::now()));
        number
    }

    /// With what demand the bytes from `offset` to `end` are read.
    fn demand(&self, offset: u64, end: u64) -> Demand {
        let at_once = |len: u64| (len as f64 / AT_ONCE) as u64 + 1;
        let mut wanted = self.wanted();
        if wanted.body.contains(&offset) {
            return Demand::Part {
                end,
                bitrate: wanted.rate.max(at_once(end - offset)),
                playing: wanted.begun,
            };
        }
        let further = if offset == wanted.end {
            (wanted.ahead * 2).clamp(end - offset, MOST_AHEAD)
        } else {
            0
        };
        (wanted.end, wanted.ahead) = (end, further);
        let has_body = !wanted.body.is_empty();
        drop(wanted);
        if !has_body {
            let demand = Demand::Part {
                end: end + further,
                bitrate: at_once(further),
                playing: true,
            };
            self.ahead.set_position(end, demand);
        }
        Demand::Part {
            end,
            bitrate: at_once(end - offset),
            playing: false,
        }
    }
}

impl Content for Reading {
    fn len(&self) -> u64 {
        self.ahead.len()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8], deadline: Duration) -> io::Result<usize> {
        let len = buffer.len() as u64;
        let reader = self.torrent.reader(NOTHING);
        reader.set_position(offset, self.demand(offset, offset.saturating_add(len)));
        let left = self
            .until
            .map(|until| until.saturating_duration_since(Instant::now()));
        let deadline = left.map_or(deadline, |left| left.min(deadline));
        let mut gone = self.gone.clone();
        let number = self.begins_to_wait(offset);
        let bytes = self.runtime.block_on(async {
            tokio::select! {
                bytes = reader.read_at(offset, len, deadline) => Ok(bytes?),
                // Nothing is ever said: it ends with its other end.
                _ = gone.changed() => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
            }
        });
        let mut wanted = self.wanted();
        wanted.waits.remove(&number);
        let is_late = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
        wanted.late = bytes.as_ref().is_err_and(is_late).then_some(offset);
        let bytes = bytes?;
        wanted.begun = true;
        drop(wanted);
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    fn frame_index(&self) -> Option<&FrameIndex> {
        self.index.as_ref().as_ref()
    }
}
