//! A disk in memory for tests: it counts its operations, and fails, dies or loses its power at any of them.
//!
//! Two views of everything: what processes see (the page cache), and what would be left without power. Between syncs
//! the second is an unknown mixture: [`FaultDisk::after_power_cut`] draws one, sector by sector and name by name.
//! [`FaultDisk::after_kill`] is the first: a killed process takes nothing with it but what it had not written.

use super::backing::{Backing, Disk, FileSystem, Stamp};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// When what goes wrong. `usize::MAX` and `u64::MAX` for never.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    /// The process dies in the middle of the operation with this number: half of a write is done, everything after
    /// it is not.
    pub(super) killed_at: usize,
    /// The operation with this number fails with an error of the disk (half of a write is done), and only that one.
    pub(super) fails_at: usize,
    /// Bytes of content that can be written before the disk is full.
    pub(super) space: u64,
    /// Syncs of files that work.
    pub(super) good_syncs: u64,
    /// Whether the process dies with the first that does not.
    pub(super) killed_by_sync: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            killed_at: usize::MAX,
            fails_at: usize::MAX,
            space: u64::MAX,
            good_syncs: u64::MAX,
            killed_by_sync: false,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Node {
    data: Vec<u8>,
    modified: i64,
    /// When its names or permissions were changed last.
    touched: i64,
    /// As of the last sync.
    safe: Vec<u8>,
    safe_modified: i64,
    /// Written or cut since then.
    dirty: Vec<Range<usize>>,
    /// Bytes that cannot be read until something else is written there.
    bad: Vec<usize>,
    /// What was lost when it was copied.
    unread: Vec<Range<u64>>,
}

impl Node {
    fn stamp(&self) -> Stamp {
        Stamp {
            length: self.data.len() as u64,
            modified: (self.modified, 0),
            changed: (self.modified, self.touched),
        }
    }
}

#[derive(Clone, Debug)]
enum Change {
    Made(PathBuf, usize),
    Renamed(PathBuf, PathBuf),
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Made(path, node) => {
                names.insert(path.clone(), *node);
            }
            Self::Renamed(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }

    fn folder(&self) -> Option<&Path> {
        let (Self::Made(path, _) | Self::Renamed(path, _)) = self;
        path.parent()
    }
}

#[derive(Clone, Debug, Default)]
struct State {
    nodes: Vec<Node>,
    names: BTreeMap<PathBuf, usize>,
    safe_names: BTreeMap<PathBuf, usize>,
    /// What is not safe yet of the names.
    changes: Vec<Change>,
    clock: i64,
    operations: usize,
    /// Bytes of files that were read.
    read: usize,
    /// Reads until one waits for the test; `None` for never.
    reads_left: Option<usize>,
    plan: Plan,
}

/// Cheap to clone: all clones are one disk.
#[derive(Clone, Debug, Default)]
pub(super) struct FaultDisk(Arc<Mutex<State>>, Arc<Condvar>);

/// What an operation is to do.
#[derive(Clone, Copy)]
enum Fate {
    Work,
    Half(io::ErrorKind),
    Fail(io::ErrorKind),
}

impl State {
    fn begin(&mut self) -> Fate {
        let number = self.operations;
        self.operations += 1;
        if number == self.plan.killed_at || number == self.plan.fails_at {
            Fate::Half(io::ErrorKind::Other)
        } else if number > self.plan.killed_at {
            Fate::Fail(io::ErrorKind::Other)
        } else {
            Fate::Work
        }
    }

    fn write(&mut self, node: usize, data: &[u8], offset: u64) {
        let start = offset as usize;
        let end = start + data.len();
        self.clock += 1;
        let node = &mut self.nodes[node];
        if node.data.len() < end {
            node.data.resize(end, 0);
        }
        node.data[start..end].copy_from_slice(data);
        node.modified = self.clock;
        node.dirty.push(start..end);
        node.bad.retain(|at| !(start..end).contains(at));
        let written = start as u64..end as u64;
        node.unread
            .retain(|part| part.start < written.start || written.end < part.end);
    }
}

impl FaultDisk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides what goes wrong from now on; operations are counted from 0 again.
    pub(super) fn plan(&self, plan: Plan) {
        let mut state = self.state();
        state.plan = plan;
        state.operations = 0;
    }

    /// Operations since the last [`Self::plan`].
    pub(super) fn operations(&self) -> usize {
        self.state().operations
    }

    /// Bytes of files that were read so far.
    pub(super) fn read_bytes(&self) -> usize {
        self.state().read
    }

    /// What processes see of a file.
    pub(super) fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        state.names.get(path).map(|&node| state.nodes[node].data.clone())
    }

    /// A byte of a file turns into another, by itself.
    pub(super) fn rot(&self, path: &Path, at: usize) {
        let mut state = self.state();
        if let Some(&node) = state.names.get(path) {
            let node = &mut state.nodes[node];
            node.data[at] ^= 0xff;
            node.safe[at] ^= 0xff;
        }
    }

    /// A file gets another name or other permissions.
    pub(super) fn touch(&self, path: &Path) {
        let mut state = self.state();
        state.clock += 1;
        let clock = state.clock;
        if let Some(&node) = state.names.get(path) {
            state.nodes[node].touched = clock;
        }
    }

    /// A byte of a file is changed by somebody who sets its modification time back.
    pub(super) fn edit(&self, path: &Path, at: usize) {
        self.touch(path);
        self.rot(path, at);
    }

    /// After so many more reads the next one waits until it may go on; `None` for all.
    pub(super) fn let_read(&self, reads: Option<usize>) {
        self.state().reads_left = reads;
        self.1.notify_all();
    }

    fn may_read(&self) -> MutexGuard<'_, State> {
        let halted = |state: &mut State| state.reads_left == Some(0);
        let waited = self.1.wait_while(self.state(), halted);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.reads_left = state.reads_left.map(|left| left - 1);
        state
    }

    /// Whether a read waits, or the next one would.
    pub(super) fn is_halted(&self) -> bool {
        self.state().reads_left == Some(0)
    }

    /// A byte of a file cannot be read any more.
    pub(super) fn go_bad(&self, path: &Path, at: usize) {
        let mut state = self.state();
        if let Some(&node) = state.names.get(path) {
            state.nodes[node].bad.push(at);
        }
    }

    /// A file is replaced by a copy of which a part is missing: this process knows that.
    pub(super) fn copy_without(&self, path: &Path, part: Range<usize>) {
        let mut state = self.state();
        if let Some(&node) = state.names.get(path) {
            let node = &mut state.nodes[node];
            node.data[part.clone()].fill(0);
            node.unread.push(part.start as u64..part.end as u64);
        }
    }

    /// The same disk for the next process.
    pub(super) fn after_kill(&self) -> Self {
        let mut state = self.state().clone();
        state.plan = Plan::default();
        state.operations = 0;
        state.nodes.iter_mut().for_each(|node| node.unread.clear());
        Self(Arc::new(Mutex::new(state)), Arc::default())
    }

    /// What may be left when the power goes now.
    pub(super) fn after_power_cut(&self, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut state = self.state().clone();
        // Each chance of its own, and the extremes often enough.
        let luck: [f64; 4] = std::array::from_fn(|_| [0.0, 0.5, 1.0][random.random_range(0..3)]);
        for node in &mut state.nodes {
            let mut left = std::mem::take(&mut node.safe);
            let inode = random.random_bool(luck[0]);
            if inode {
                left.resize(node.data.len(), 0);
            }
            for range in std::mem::take(&mut node.dirty) {
                let mut at = range.start;
                while at < range.end {
                    let end = ((at / SECTOR + 1) * SECTOR).min(range.end);
                    if end <= left.len() && end <= node.data.len() && random.random_bool(luck[1]) {
                        left[at..end].copy_from_slice(&node.data[at..end]);
                    }
                    at = end;
                }
            }
            // Syncing data alone need not make the time safe.
            node.modified = match inode {
                true => node.modified,
                false if random.random_bool(luck[3]) => -1,
                false => node.safe_modified,
            };
            node.data.clone_from(&left);
            node.safe = left;
            node.safe_modified = node.modified;
        }
        let mut names = state.safe_names.clone();
        for change in std::mem::take(&mut state.changes) {
            if random.random_bool(luck[2]) {
                change.apply(&mut names);
            }
        }
        state.names.clone_from(&names);
        state.safe_names = names;
        state.plan = Plan::default();
        state.operations = 0;
        Self(Arc::new(Mutex::new(state)), Arc::default())
    }
}

fn done(fate: Fate) -> io::Result<()> {
    match fate {
        Fate::Work => Ok(()),
        Fate::Half(kind) | Fate::Fail(kind) => Err(io::Error::new(kind, "the disk went away")),
    }
}

impl Disk for FaultDisk {
    fn create_folders(&self, _folder: &Path) -> io::Result<()> {
        done(self.state().begin())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Backing>> {
        let mut state = self.state();
        done(state.begin())?;
        let known = state.names.get(path).copied();
        let node = known.unwrap_or_else(|| {
            let clock = state.clock;
            state.nodes.push(Node {
                modified: clock,
                safe_modified: clock,
                ..Node::default()
            });
            let change = Change::Made(path.to_owned(), state.nodes.len() - 1);
            change.apply(&mut state.names);
            state.changes.push(change);
            state.nodes.len() - 1
        });
        Ok(Box::new(FaultFile {
            disk: self.clone(),
            node,
        }))
    }

    fn stamp(&self, path: &Path) -> io::Result<Option<Stamp>> {
        // Not counted: looking changes nothing.
        let state = self.state();
        Ok(state.names.get(path).map(|&node| state.nodes[node].stamp()))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        done(self.state().begin())?;
        self.contents(path).ok_or(io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        done(state.begin())?;
        let change = Change::Renamed(from.to_owned(), to.to_owned());
        change.apply(&mut state.names);
        state.changes.push(change);
        Ok(())
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state();
        done(state.begin())?;
        let changes = std::mem::take(&mut state.changes);
        for change in changes {
            if change.folder() == Some(folder) {
                change.apply(&mut state.safe_names);
            } else {
                state.changes.push(change);
            }
        }
        Ok(())
    }
}

struct FaultFile {
    disk: FaultDisk,
    node: usize,
}

impl Backing for FaultFile {
    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        match state.begin() {
            Fate::Work if state.plan.space >= data.len() as u64 => {
                state.plan.space -= data.len() as u64;
                state.write(self.node, data, offset);
                Ok(())
            }
            Fate::Work => {
                let fits = state.plan.space as usize;
                state.plan.space = 0;
                state.write(self.node, &data[..fits], offset);
                Err(io::ErrorKind::StorageFull.into())
            }
            Fate::Half(kind) => {
                state.write(self.node, &data[..data.len() / 2], offset);
                done(Fate::Half(kind))
            }
            Fate::Fail(kind) => done(Fate::Fail(kind)),
        }
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        // No operation: reading changes nothing.
        let mut state = self.disk.may_read();
        state.read += buffer.len();
        let start = offset as usize;
        let node = &state.nodes[self.node];
        let end = start + buffer.len();
        let is_unread = |part: &Range<u64>| part.start < end as u64 && offset < part.end;
        if node.bad.iter().any(|at| (start..end).contains(at)) || node.unread.iter().any(is_unread) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let data = node.data.get(start..end);
        buffer.copy_from_slice(data.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        done(state.begin())?;
        if state.plan.good_syncs == 0 {
            // As Linux does it: the pages are clean afterwards, and not on the disk.
            state.nodes[self.node].dirty.clear();
            if state.plan.killed_by_sync {
                state.plan.killed_at = 0;
            }
            return done(Fate::Fail(io::ErrorKind::Other));
        }
        state.plan.good_syncs -= 1;
        let node = &mut state.nodes[self.node];
        // What a sync that failed has dropped stays dropped.
        node.safe.resize(node.data.len(), 0);
        for range in std::mem::take(&mut node.dirty) {
            let end = range.end.min(node.data.len());
            if range.start < end {
                node.safe[range.start..end].copy_from_slice(&node.data[range.start..end]);
            }
        }
        node.safe_modified = node.modified;
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        done(state.begin())?;
        state.clock += 1;
        let clock = state.clock;
        let node = &mut state.nodes[self.node];
        node.data.resize(length as usize, 0);
        node.modified = clock;
        Ok(())
    }

    fn stamp(&self, _file: usize) -> io::Result<Option<Stamp>> {
        Ok(Some(self.disk.state().nodes[self.node].stamp()))
    }

    fn unread(&self) -> Vec<Range<u64>> {
        self.disk.state().nodes[self.node].unread.clone()
    }
}

/// The real disk, on which reads wait for the test as they do on this one.
pub(super) struct Halting(pub(super) FileSystem, pub(super) FaultDisk);

impl Disk for Halting {
    fn create_folders(&self, folder: &Path) -> io::Result<()> {
        self.0.create_folders(folder)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Backing>> {
        Ok(Box::new(HaltingFile(self.0.open(path)?, self.1.clone())))
    }

    fn stamp(&self, path: &Path) -> io::Result<Option<Stamp>> {
        self.0.stamp(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.read(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.0.sync_folder(folder)
    }
}

struct HaltingFile(Box<dyn Backing>, FaultDisk);

impl Backing for HaltingFile {
    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        drop(self.1.may_read());
        self.0.read_exact_at(buffer, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn stamp(&self, file: usize) -> io::Result<Option<Stamp>> {
        self.0.stamp(file)
    }
}
