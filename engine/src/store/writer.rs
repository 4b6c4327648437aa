//! The thread that owns a store's disk: writes, syncs, records.
//!
//! It answers commands in order. While the disk is full it keeps the block at hand and tries again, so that nothing
//! that was accepted is dropped; askers wait for room meanwhile.

use super::state::{self, Record};
use super::{Bits, SYNC_AFTER, SYNC_BYTES, Shared, StoreError, StoreEvent};
use crate::metainfo::InfoHash;
use crate::swarm::BLOCK_SIZE;
use crate::verify::VerifiedBlock;
use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// How long to wait before a full disk is tried again.
const RETRY_FULL: Duration = Duration::from_millis(500);

pub(super) enum Command {
    Write(VerifiedBlock, OwnedSemaphorePermit),
    Flush(oneshot::Sender<Result<(), Arc<StoreError>>>),
    /// These blocks are not on the disk as they should be.
    Lose(Vec<u32>),
    /// The content cannot be used any more.
    Broke(Arc<StoreError>),
    Close,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    /// The folder of the record, and the lock that is held as long as this lives. None for files that are only read.
    folder: Option<(PathBuf, File)>,
    info_hash: InfoHash,
    /// What is synced: what the record may claim.
    safe: Bits,
    /// Written since the last sync.
    unsynced: Vec<u32>,
    unsynced_bytes: u64,
    unsynced_since: Option<Instant>,
    /// The record on the disk is not the newest.
    stale: bool,
    /// Why nothing can be written for now.
    full: Option<Arc<StoreError>>,
    /// Blocks wait because the disk refused the first of them.
    stuck: bool,
    broken: Option<Arc<StoreError>>,
    events: mpsc::Sender<StoreEvent>,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        folder: Option<(PathBuf, File)>,
        info_hash: InfoHash,
        safe: Bits,
        events: mpsc::Sender<StoreEvent>,
    ) -> Self {
        Self {
            shared,
            folder,
            info_hash,
            safe,
            unsynced: Vec::new(),
            unsynced_bytes: 0,
            unsynced_since: None,
            stale: true,
            full: None,
            stuck: false,
            broken: None,
            events,
        }
    }

    pub(super) fn run(mut self, inbox: &Receiver<Command>) {
        let mut waiting: VecDeque<(VerifiedBlock, OwnedSemaphorePermit)> = VecDeque::new();
        loop {
            let pause = if self.full.is_some() {
                RETRY_FULL
            } else {
                match self.unsynced_since {
                    Some(since) => SYNC_AFTER.saturating_sub(since.elapsed()),
                    None => Duration::from_secs(3600),
                }
            };
            match inbox.recv_timeout(pause) {
                Ok(Command::Write(block, room)) => {
                    waiting.push_back((block, room));
                    if self.full.is_some() {
                        continue;
                    }
                }
                Ok(Command::Flush(done)) => {
                    self.write_all(&mut waiting);
                    let result = self.sync();
                    let _ = done.send(match (result, &self.broken) {
                        (Ok(()), None) => Ok(()),
                        (Ok(()), Some(e)) => Err(e.clone()),
                        (Err(e), _) => Err(e),
                    });
                    continue;
                }
                Ok(Command::Lose(blocks)) => {
                    self.lose(blocks);
                    continue;
                }
                Ok(Command::Broke(error)) => {
                    self.broke(error);
                    continue;
                }
                Ok(Command::Close) | Err(RecvTimeoutError::Disconnected) => {
                    self.write_all(&mut waiting);
                    // What could not be made safe is not claimed; its event has been sent.
                    let _ = self.sync();
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.write_all(&mut waiting);
            let due = self
                .unsynced_since
                .is_some_and(|since| since.elapsed() >= SYNC_AFTER);
            if due || self.unsynced_bytes >= SYNC_BYTES || self.full.is_some() {
                let _ = self.sync();
            }
        }
    }

    fn tell(&self, event: StoreEvent) {
        // Nobody listens any more when the torrent has stopped.
        let _ = self.events.blocking_send(event);
    }

    /// Writes what waits, until the disk refuses.
    fn write_all(&mut self, waiting: &mut VecDeque<(VerifiedBlock, OwnedSemaphorePermit)>) {
        while let Some((block, _)) = waiting.front() {
            let index = block.index().0;
            let offset = u64::from(index) * u64::from(BLOCK_SIZE);
            let outcome = match &self.broken {
                Some(error) => Err(error.clone()),
                None => self
                    .shared
                    .backing
                    .write_all_at(block.data(), offset)
                    .map_err(|e| Arc::new(StoreError::io("writing", &self.shared.path, e))),
            };
            match outcome {
                Ok(()) => {
                    self.unsynced_bytes += block.data().len() as u64;
                    self.unsynced.push(index);
                    self.unsynced_since.get_or_insert_with(Instant::now);
                    self.shared.held().pending.remove(&index);
                }
                Err(error) if matches!(*error, StoreError::Full { .. }) => {
                    self.became_full(&error);
                    self.stuck = true;
                    return;
                }
                Err(error) => {
                    self.lose(vec![index]);
                    self.broke(error);
                }
            }
            waiting.pop_front();
        }
        self.stuck = false;
    }

    fn became_full(&mut self, error: &Arc<StoreError>) {
        if self.full.is_none() {
            self.full = Some(error.clone());
            self.tell(StoreEvent::Full(error.clone()));
        }
    }

    fn broke(&mut self, error: Arc<StoreError>) {
        if self.broken.is_none() {
            self.broken = Some(error.clone());
            self.tell(StoreEvent::Failed(error));
        }
    }

    fn lose(&mut self, blocks: Vec<u32>) {
        for &block in &blocks {
            self.safe.set(block, false);
        }
        self.stale = true;
        let runs = self.shared.lose(blocks);
        if !runs.is_empty() {
            self.tell(StoreEvent::Lost(runs));
        }
    }

    /// Syncs the data, then writes the record that claims it. Fails while blocks wait for a full disk.
    fn sync(&mut self) -> Result<(), Arc<StoreError>> {
        self.sync_written()?;
        if !self.stuck && self.full.take().is_some() {
            self.tell(StoreEvent::Writable);
        }
        self.full.clone().map_or(Ok(()), Err)
    }

    fn sync_written(&mut self) -> Result<(), Arc<StoreError>> {
        let Some((folder, _)) = &self.folder else {
            return Ok(());
        };
        let folder = folder.clone();
        if !self.unsynced.is_empty() {
            let blocks = std::mem::take(&mut self.unsynced);
            self.unsynced_bytes = 0;
            self.unsynced_since = None;
            if let Err(e) = self.shared.backing.sync() {
                // The kernel may have dropped the dirty pages: whatever was written since the last good sync is gone.
                let error = Arc::new(StoreError::io("syncing", &self.shared.path, e));
                self.lose(blocks);
                if matches!(*error, StoreError::Full { .. }) {
                    self.became_full(&error);
                } else {
                    self.broke(error.clone());
                }
                return Err(error);
            }
            for block in blocks {
                self.safe.set(block, true);
            }
            self.stale = true;
        }
        if !self.stale {
            return Ok(());
        }
        let saved = self
            .record()
            .and_then(|record| state::save(&folder, self.info_hash, &record));
        match saved {
            Ok(()) => {
                self.stale = false;
                Ok(())
            }
            Err(e) => {
                let error = Arc::new(StoreError::io("recording", &folder.join("state"), e));
                // The old record stays, which claims less. Both kinds of trouble are tried again.
                self.became_full(&error);
                Err(error)
            }
        }
    }

    fn record(&self) -> std::io::Result<Record> {
        let verifier = &self.shared.verifier;
        let nodes = (0..verifier.layout().pieces())
            .filter_map(|piece| {
                let blocks = verifier.piece_blocks(piece);
                let held = blocks.clone().filter(|&b| self.safe.get(b)).count();
                (held > 0 && held < blocks.len()).then(|| (piece, verifier.nodes(piece)))
            })
            .collect();
        Ok(Record {
            stamp: self.shared.backing.stamp()?,
            bits: self.safe.clone(),
            nodes,
        })
    }
}
