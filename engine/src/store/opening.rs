//! How a store is opened: locked, compared with its record, hashed again where they differ; and how one is removed.

use super::backing::{Backing, Disk, FileSystem, ReadOnly};
use super::checked::Checked;
use super::folder::Folder;
use super::held::{Bits, Held, Shared, is_damage};
use super::state;
use super::writer::{Command, GATHER, Home, RESTS, Writer};
use super::{Location, MAX_PENDING_BLOCKS, Store, StoreError, StoreEvent};
use crate::metainfo::{InfoHash, Metainfo};
use crate::swarm::{BLOCK_SIZE, FileIndex, PieceIndex};
use crate::verify::Verifier;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

impl Store {
    /// Opens or creates the content of a torrent below `data`, or checks a file that is there. Blocks: run it where
    /// blocking is allowed. It reads and hashes the whole file when the record does not fit it, or to `recheck` it.
    pub fn open(
        data: &Path,
        metainfo: &Metainfo,
        verifier: Arc<Verifier>,
        location: &Location,
        recheck: bool,
    ) -> Result<(Self, mpsc::Receiver<StoreEvent>), StoreError> {
        let info_hash = metainfo.info_hash_v2();
        match location {
            Location::Store => {
                let folder = data.join("store").join(info_hash.to_string());
                let disk = FileSystem { home: folder.clone() };
                disk.create_folders(&folder)
                    .map_err(|e| StoreError::io("creating", &folder, e))?;
                let home = Home {
                    _lock: lock(&folder)?,
                    disk: Arc::new(disk),
                    folder,
                    gather: GATHER,
                    rests: RESTS,
                };
                Self::at_home(home, metainfo, verifier, recheck)
            }
            Location::Existing(path) => Self::existing(path, metainfo, verifier),
        }
    }

    /// Removes what is kept of a torrent below `data`, and gives its bytes on the disk; nothing when nothing is kept.
    /// An error while it is open anywhere. Blocks.
    pub fn remove(data: &Path, info_hash: InfoHash) -> Result<Option<u64>, StoreError> {
        let folder = data.join("store").join(info_hash.to_string());
        if !folder.is_dir() {
            return Ok(None);
        }
        // It is released with its file, which goes with the folder.
        let _lock = lock(&folder)?;
        let bytes = size(&folder).map_err(|e| StoreError::io("looking at", &folder, e))?;
        std::fs::remove_dir_all(&folder).map_err(|e| StoreError::io("removing", &folder, e))?;
        Ok(Some(bytes))
    }

    fn existing(
        path: &Path,
        metainfo: &Metainfo,
        verifier: Arc<Verifier>,
    ) -> Result<(Self, mpsc::Receiver<StoreEvent>), StoreError> {
        let different = |path: &Path, why: String| StoreError::Different {
            path: path.to_owned(),
            why,
        };
        let length_of = |path: &Path| {
            std::fs::metadata(path)
                .map(|metadata| metadata.len())
                .map_err(|e| StoreError::io("opening", path, e))
        };
        let wrong_length = |found: u64, length: u64| format!("it has {found} bytes, not {length}");
        let backing: Box<dyn Backing> = if metainfo.is_single_file() {
            let found = length_of(path)?;
            if found != verifier.length() {
                return Err(different(path, wrong_length(found, verifier.length())));
            }
            Box::new(File::open(path).map_err(|e| StoreError::io("opening", path, e))?)
        } else {
            for (index, file) in metainfo.files().iter().enumerate() {
                if file.length() == 0 || !verifier.layout().wants_file(FileIndex(index as u32)) {
                    continue;
                }
                let part = path.join(file.path().iter().collect::<PathBuf>());
                let found = length_of(&part)?;
                if found != file.length() {
                    return Err(different(&part, wrong_length(found, file.length())));
                }
            }
            Box::new(Folder::new(Arc::new(ReadOnly), path, metainfo))
        };
        // Before the check, so that a change during it shows too.
        let checked = Checked::now(backing.as_ref()).map_err(|e| StoreError::io("looking at", path, e))?;
        let all = 0..verifier.layout().pieces();
        let hashed = hash(backing.as_ref(), path, &verifier, all, |_, _| Ok(()))?;
        if let Some(e) = hashed.error {
            return Err(StoreError::io("reading", path, e));
        }
        let bits = hashed.right;
        let mut wanted = (0..verifier.numbers()).filter(|&block| verifier.wants(block));
        if let Some(block) = wanted.find(|&block| !bits.get(block)) {
            let file = verifier.layout().run(block..block + 1).file.0 as usize;
            let mut part = path.to_owned();
            if !metainfo.is_single_file() {
                part.extend(metainfo.files()[file].path());
            }
            return Err(different(
                &part,
                format!("piece {} has another hash", verifier.piece_of(block)),
            ));
        }
        Ok(Self::start(
            backing,
            path.to_owned(),
            None,
            metainfo.info_hash_v2(),
            verifier,
            bits,
            checked,
        ))
    }

    /// Opens with any kind of disk below.
    pub(super) fn at_home(
        home: Home,
        metainfo: &Metainfo,
        verifier: Arc<Verifier>,
        recheck: bool,
    ) -> Result<(Self, mpsc::Receiver<StoreEvent>), StoreError> {
        let info_hash = metainfo.info_hash_v2();
        let path = home.folder.join("content");
        let single = metainfo.is_single_file();
        let backing = if single {
            home.disk
                .open(&path)
                .map_err(|e| StoreError::io("opening", &path, e))?
        } else {
            home.disk
                .create_folders(&path)
                .map_err(|e| StoreError::io("creating", &path, e))?;
            Box::new(Folder::new(home.disk.clone(), &path, metainfo))
        };
        // Before the check, so that a change during it shows too.
        let looking = |e| StoreError::io("looking at", &path, e);
        let mut checked = Checked::now(backing.as_ref()).map_err(looking)?;
        let found = checked.stamp(backing.as_ref()).map_err(looking)?;
        let state = home.folder.join("state");
        let record = state::load(home.disk.as_ref(), &state, info_hash)
            .map_err(|e| StoreError::io("reading", &state, e))?;
        let mut bits = Bits::new(verifier.numbers());
        let mut check = found.length > 0;
        if let Some(record) = record {
            for (piece, nodes) in record.nodes {
                if piece < verifier.layout().pieces() {
                    verifier.restore(piece, nodes);
                }
            }
            if record.bits.0.len() == bits.0.len() {
                bits = record.bits;
                check = recheck || record.stamp != found;
            }
        }
        if check {
            tracing::info!(path = %path.display(), recheck, "checking the file against its hashes");
            let claimed = std::mem::take(&mut bits);
            bits = check_all(backing.as_ref(), &path, &verifier, &claimed, &mut checked)?;
        }
        if single && found.length != verifier.length() {
            checked.writing(backing.as_ref(), 0..u64::MAX);
            backing
                .set_len(verifier.length())
                .map_err(|e| StoreError::io("extending", &path, e))?;
        }
        let opened = Self::start(backing, path, Some(home), info_hash, verifier, bits, checked);
        if check {
            // Whoever opens it next must not believe what was wrong of the record that is there, nor check all of it once more; nobody
            // waits for the new one.
            let _ = opened.0.commands.send(Command::Flush(oneshot::channel().0));
        }
        Ok(opened)
    }

    fn start(
        backing: Box<dyn Backing>,
        path: PathBuf,
        home: Option<Home>,
        info_hash: InfoHash,
        verifier: Arc<Verifier>,
        bits: Bits,
        checked: Checked,
    ) -> (Self, mpsc::Receiver<StoreEvent>) {
        let mut held = Held {
            bits: bits.clone(),
            ..Held::default()
        };
        for block in (0..verifier.numbers()).filter(|&block| bits.get(block)) {
            held.count(&verifier, block, true);
        }
        let shared = Arc::new(Shared {
            backing,
            path,
            is_own: home.is_some(),
            verifier,
            held: Mutex::new(held),
            hashing: Arc::default(),
            changed: watch::Sender::new(0),
            checked: Mutex::new(checked),
            rehashing: Mutex::default(),
        });
        let (commands, inbox) = std::sync::mpsc::channel();
        let (events, outbox) = mpsc::channel(64);
        let writer = Writer::new(shared.clone(), home, info_hash, bits, events);
        let thread = std::thread::spawn(move || writer.run(&inbox));
        let room = Arc::new(Semaphore::new(MAX_PENDING_BLOCKS));
        (
            Self {
                shared,
                commands,
                room,
                thread: Arc::new(Mutex::new(Some(thread))),
            },
            outbox,
        )
    }
}

/// Bytes on the disk that a folder and all below take alone: neither holes count nor files with another name.
fn size(folder: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let about = entry.metadata()?;
            if about.is_dir() {
                folders.push(entry.path());
            } else if about.nlink() == 1 {
                bytes += about.blocks() * 512;
            }
        }
    }
    Ok(bytes)
}

/// Takes the exclusive lock of a folder and writes our process id into it.
fn lock(folder: &Path) -> Result<File, StoreError> {
    let path = folder.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options
        .open(&path)
        .map_err(|e| StoreError::io("opening", &path, e))?;
    let taken = file.try_lock();
    if taken.is_ok() && !is_at(&file, &path) {
        // Whoever held it has removed the folder meanwhile, and others may hold the lock of a new one.
        return Err(StoreError::Locked {
            path: folder.to_owned(),
            pid: None,
        });
    }
    match taken {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file
                .read_to_string(&mut text)
                .ok()
                .and_then(|_| text.trim().parse().ok());
            return Err(StoreError::Locked {
                path: folder.to_owned(),
                pid,
            });
        }
        Err(TryLockError::Error(e)) => return Err(StoreError::io("locking", &path, e)),
    }
    // Who holds it is a courtesy: a full disk must not keep us from what is there.
    let _ = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

/// Whether an open file is the one that stands at `path` now.
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let same = |one: &std::fs::Metadata, other: &std::fs::Metadata| {
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    };
    matches!((file.metadata(), std::fs::metadata(path)), (Ok(one), Ok(other)) if same(&one, &other))
}

/// Hashes the whole file. Blocks that are right and were not `synced` are written again and synced: they may still be
/// on their way to the disk, from a process that was killed, or never go there, after a sync that failed.
fn check_all(
    file: &dyn Backing,
    path: &Path,
    verifier: &Verifier,
    synced: &Bits,
    checked: &mut Checked,
) -> Result<Bits, StoreError> {
    let all = 0..verifier.layout().pieces();
    let hashed = hash(file, path, verifier, all, |block, data| {
        if synced.get(block) {
            return Ok(());
        }
        let offset = u64::from(block) * u64::from(BLOCK_SIZE);
        checked.writing(file, offset..offset + data.len() as u64);
        file.write_all_at(data, offset)
            .map_err(|e| StoreError::io("writing", path, e))
    })?;
    if let Some(e) = hashed.error {
        let error = StoreError::io("reading", path, e);
        if hashed.right.is_empty() {
            // Not some bad places: nothing of it can be read now, and it may be whole.
            return Err(error);
        }
        tracing::warn!("{error}: what cannot be read is fetched again");
    }
    file.sync().map_err(|e| StoreError::io("syncing", path, e))?;
    Ok(hashed.right)
}

/// What hashing showed.
pub(super) struct Hashed {
    /// The blocks that are right.
    pub(super) right: Bits,
    /// Those that the disk cannot give.
    pub(super) unreadable: BTreeSet<u32>,
    /// Its first error.
    pub(super) error: Option<io::Error>,
}

/// Hashes pieces, and shows each block that is right. What the disk cannot give is not right.
pub(super) fn hash(
    file: &dyn Backing,
    path: &Path,
    verifier: &Verifier,
    pieces: Range<u32>,
    mut right: impl FnMut(u32, &[u8]) -> Result<(), StoreError>,
) -> Result<Hashed, StoreError> {
    let mut hashed = Hashed {
        right: Bits::new(verifier.numbers()),
        unreadable: BTreeSet::new(),
        error: None,
    };
    let piece_length = u64::from(verifier.layout().piece_length());
    let mut buffer = Vec::new();
    for piece in pieces {
        let start = u64::from(piece) * piece_length;
        let run = verifier.layout().piece_run(PieceIndex(piece));
        let there = file
            .available(start)
            .map_err(|e| StoreError::io("looking at", path, e))?
            .min(verifier.layout().run_bytes(run));
        if there == 0 {
            continue;
        }
        buffer.resize(there as usize, 0);
        if let Err(e) = file.read_exact_at(&mut buffer, start) {
            if !is_damage(&e) {
                return Err(StoreError::io("reading", path, e));
            }
            hashed.error.get_or_insert(e);
            // Block by block, to lose no more than has to be.
            for (block, part) in verifier
                .piece_blocks(piece)
                .zip(buffer.chunks_mut(BLOCK_SIZE as usize))
            {
                if file
                    .read_exact_at(part, u64::from(block) * u64::from(BLOCK_SIZE))
                    .is_err()
                {
                    part.fill(0);
                    hashed.unreadable.insert(block);
                }
            }
        }
        for block in verifier.check_stored(piece, &buffer) {
            if hashed.unreadable.contains(&block) {
                continue;
            }
            hashed.right.set(block, true);
            let at = (u64::from(block) * u64::from(BLOCK_SIZE) - start) as usize;
            right(block, &buffer[at..at + verifier.block_len(block)])?;
        }
    }
    Ok(hashed)
}
