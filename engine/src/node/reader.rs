//! Reading content that may not be here yet.
//!
//! A reader says where it is, so that the swarm core fetches that first, and waits for the store to hold the bytes. It
//! never talks to peers or web seeds itself. Positions are left in a table that the driver looks at when it is
//! woken, so a reader that is dropped never has to wait for room in a queue.

use super::torrent::Shared;
use super::{Error, State, Stats};
use crate::swarm::{Demand, ReaderId};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

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
    open: HashMap<ReaderId, (u64, Demand)>,
}

impl Readers {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every open reader with its position and demand.
    pub(crate) fn snapshot(&self) -> HashMap<ReaderId, (u64, Demand)> {
        self.table().open.clone()
    }
}

/// Reads the content in any order. Dropping it ends its wishes.
#[derive(Debug)]
pub struct Reader {
    shared: Arc<Shared>,
    stats: watch::Receiver<Stats>,
    id: ReaderId,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.shared.readers.table().open.remove(&self.id);
        self.shared.readers.changed.notify_one();
    }
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, stats: watch::Receiver<Stats>, demand: Demand) -> Self {
        let id = {
            let mut table = shared.readers.table();
            let id = ReaderId(table.next);
            table.next += 1;
            table.open.insert(id, (0, demand));
            id
        };
        shared.readers.changed.notify_one();
        Self { shared, stats, id }
    }

    /// Bytes of the whole content.
    pub fn len(&self) -> u64 {
        self.shared.metainfo.length()
    }

    /// Never: metainfo without content is refused.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says from which byte it will read on, and how soon. Reading says the position by itself; this is for a seek
    /// without a read, and for play and pause.
    pub fn set_position(&self, position: u64, demand: Demand) {
        let before = self
            .shared
            .readers
            .table()
            .open
            .insert(self.id, (position, demand));
        if before != Some((position, demand)) {
            self.shared.readers.changed.notify_one();
        }
    }

    fn move_to(&self, position: u64) {
        let mut changed = false;
        if let Some(entry) = self.shared.readers.table().open.get_mut(&self.id) {
            changed = entry.0 != position;
            entry.0 = position;
        }
        if changed {
            self.shared.readers.changed.notify_one();
        }
    }

    /// The `len` bytes at `offset`, as soon as they are here; fewer at the end of the content, none beyond it.
    /// [`Error::Late`] when they are not here after `deadline`, an error when the torrent ended meanwhile.
    pub async fn read_at(&self, offset: u64, len: u64, deadline: Duration) -> Result<Bytes, Error> {
        let store = &self.shared.store;
        let name = || self.shared.metainfo.name().to_owned();
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
            if store.has_bytes(offset, len) {
                let bytes = store.read_bytes(offset, len).await?;
                // A disk that failed meanwhile may have taken back what it held: then these are not the bytes.
                if store.has_bytes(offset, len) {
                    self.move_to(end);
                    return Ok(bytes);
                }
            }
            match &stats.borrow_and_update().state {
                State::Failed(why) => {
                    return Err(Error::Failed {
                        name: name(),
                        why: why.clone(),
                    });
                }
                State::Stopped => return Err(Error::Stopped { name: name() }),
                State::Downloading | State::Paused(_) | State::Complete => {}
            }
            tokio::select! {
                _ = changes.changed() => {}
                changed = stats.changed() => if changed.is_err() {
                    return Err(Error::Stopped { name: name() });
                },
                () = &mut late => return Err(Error::Late { name: name(), offset, len }),
            }
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
    /// Bytes of the whole content.
    pub fn len(&self) -> u64 {
        self.reader.len()
    }

    /// Never, as with [`Reader::is_empty`].
    pub fn is_empty(&self) -> bool {
        self.reader.is_empty()
    }

    /// Fills `buffer` from `offset`, or as much of it as there is content; gives the number of bytes. Must not be
    /// called on a thread of the runtime, which would panic.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8], deadline: Duration) -> std::io::Result<usize> {
        let bytes = self
            .runtime
            .block_on(self.reader.read_at(offset, buffer.len() as u64, deadline))?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    /// See [`Reader::set_position`].
    pub fn set_position(&self, position: u64, demand: Demand) {
        self.reader.set_position(position, demand);
    }
}
