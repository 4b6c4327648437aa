//! Reading content that may not be here yet.
//!
//! A reader says where it is, so that the swarm core fetches that first, and waits for the store to hold the bytes. It
//! never talks to peers or web seeds itself. Positions are left in a table that the driver looks at when it is
//! woken, so a reader that is dropped never has to wait for room in a queue.

use super::torrent::Shared;
use super::{Error, State, Stats};
use crate::metainfo::File;
use crate::swarm::{Demand, FileIndex, ReaderId};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Where a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: FileIndex,
    /// In the file.
    pub(crate) position: u64,
    pub(crate) demand: Demand,
}

/// Where each open reader is.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    table: Mutex<Table>,
    /// Woken at each change.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: HashMap<ReaderId, Place>,
}

impl Readers {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every open reader with its place.
    pub(crate) fn snapshot(&self) -> HashMap<ReaderId, Place> {
        self.table().open.clone()
    }
}

/// Reads one file of the content in any order. Dropping it ends its wishes.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    stats: watch::Receiver<Stats>,
    id: ReaderId,
    file: FileIndex,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.readers.table().open.remove(&self.id);
        self.shared.readers.changed.notify_one();
    }
}

impl Reader {
    pub(crate) fn new(
        shared: Arc<Shared>,
        stats: watch::Receiver<Stats>,
        file: FileIndex,
        demand: Demand,
    ) -> Self {
        let id = {
            let mut table = shared.readers.table();
            let id = ReaderId(table.next);
            table.next += 1;
            let place = Place {
                file,
                position: 0,
                demand,
            };
            table.open.insert(id, place);
            id
        };
        shared.readers.changed.notify_one();
        Self {
            shared,
            stats,
            id,
            file,
        }
    }

    /// Bytes of the file; 0 when there is no such file.
    pub fn len(&self) -> u64 {
        let file = self.shared.metainfo.files().get(self.file.0 as usize);
        file.map_or(0, File::length)
    }

    /// Whether the file is empty. A single file never is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says from which byte it will read on, and how soon. Reading says the position by itself; this is for a seek
    /// without a read, and for play and pause.
    pub fn set_position(&self, position: u64, demand: Demand) {
        let place = Place {
            file: self.file,
            position,
            demand,
        };
        let before = self.shared.readers.table().open.insert(self.id, place);
        if before != Some(place) {
            self.shared.readers.changed.notify_one();
        }
    }

    fn move_to(&self, position: u64) {
        let mut changed = false;
        if let Some(entry) = self.shared.readers.table().open.get_mut(&self.id) {
            changed = entry.position != position;
            entry.position = position;
        }
        if changed {
            self.shared.readers.changed.notify_one();
        }
    }

    /// The `len` bytes at `offset`, as soon as they are here; fewer at the end of the file, none beyond it.
    /// [`Error::Late`] when they are not here after `deadline`, an error when the torrent ended meanwhile.
    pub async fn read_at(&self, offset: u64, len: u64, deadline: Duration) -> Result<Bytes, Error> {
        let store = &self.shared.store;
        let end = offset.saturating_add(len).min(self.len());
        if offset >= end {
            return Ok(Bytes::new());
        }
        self.move_to(offset);
        let late = tokio::time::sleep(deadline);
        tokio::pin!(late);
        let mut changes = store.changes();
        let mut stats = self.stats.clone();
        loop {
            if store.has_bytes(self.file, offset, len) {
                let bytes = store.read_bytes(self.file, offset, len).await?;
                // A disk that failed meanwhile may have taken back what it held: then these are not the bytes.
                if store.has_bytes(self.file, offset, len) {
                    self.move_to(end);
                    return Ok(bytes);
                }
            }
            self.check(&stats.borrow_and_update().state)?;
            tokio::select! {
                _ = changes.changed() => {}
                changed = stats.changed() => if changed.is_err() {
                    return Err(self.stopped());
                },
                () = &mut late => return Err(Error::Late {
                    name: self.shared.metainfo.name().to_owned(),
                    offset,
                    len,
                }),
            }
        }
    }

    /// Takes one of the offsets out of `left`, of which the `len` bytes are here, and gives it with them (fewer at the
    /// end of the file); waits while there is none. `None` when nothing is left. For copies, which need no order.
    pub async fn read_any(&self, left: &mut VecDeque<u64>, len: u64) -> Result<Option<(u64, Bytes)>, Error> {
        let mut stats = self.stats.clone();
        loop {
            for _ in 0..left.len() {
                let Some(offset) = left.pop_front() else { break };
                if self.shared.store.has_bytes(self.file, offset, len) {
                    let bytes = self.read_at(offset, len, Duration::MAX).await?;
                    return Ok(Some((offset, bytes)));
                }
                left.push_back(offset);
            }
            if left.is_empty() {
                return Ok(None);
            }
            self.check(&stats.borrow_and_update().state)?;
            // Some times a second: to look again at each block that comes would cost more than the copy.
            if stats.changed().await.is_err() {
                return Err(self.stopped());
            }
        }
    }

    fn stopped(&self) -> Error {
        Error::Stopped {
            name: self.shared.metainfo.name().to_owned(),
        }
    }

    /// An error when nothing comes any more.
    fn check(&self, state: &State) -> Result<(), Error> {
        match state {
            State::Failed(why) => Err(Error::Failed {
                name: self.shared.metainfo.name().to_owned(),
                why: why.clone(),
            }),
            State::Stopped => Err(self.stopped()),
            State::Downloading | State::Paused(_) | State::Complete => Ok(()),
        }
    }

    /// The same for threads that may block: demuxers, pipes.
    pub fn blocking(self, runtime: tokio::runtime::Handle) -> BlockingReader {
        BlockingReader {
            reader: self,
            runtime,
        }
    }
}

/// A [`Reader`] for threads outside the runtime.
#[derive(Debug)]
pub struct BlockingReader {
    reader: Reader,
    runtime: tokio::runtime::Handle,
}

impl BlockingReader {
    /// Bytes of the file.
    pub fn len(&self) -> u64 {
        self.reader.len()
    }

    /// As [`Reader::is_empty`].
    pub fn is_empty(&self) -> bool {
        self.reader.is_empty()
    }

    /// Fills `buffer` from `offset`, or as much of it as the file has; gives the number of bytes. Must not be
    /// called on a thread of the runtime, which would panic.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8], deadline: Duration) -> std::io::Result<usize> {
        let bytes = self
            .runtime
            .block_on(self.reader.read_at(offset, buffer.len() as u64, deadline))?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    /// See [`Reader::read_any`].
    pub fn read_any(&self, left: &mut VecDeque<u64>, len: u64) -> std::io::Result<Option<(u64, Bytes)>> {
        Ok(self.runtime.block_on(self.reader.read_any(left, len))?)
    }

    /// See [`Reader::set_position`].
    pub fn set_position(&self, position: u64, demand: Demand) {
        self.reader.set_position(position, demand);
    }
}
