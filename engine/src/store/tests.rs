//! Faults on purpose: full disks, failed syncs, changed files, a second holder.

use super::backing::{Backing, FileSystem};
use super::writer::Home;
use super::*;
use crate::merkle;
use crate::metainfo::{Builder, InfoHash, Metainfo};
use crate::verify::Verifier;
use faults::{FaultDisk, Plan};
use std::fs::OpenOptions;
use tokio::sync::mpsc;

pub(super) const PIECE: u64 = 65_536;
const FOLDER: &str = "/data/store/x";

pub(super) fn content(len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| ((i as u64 * 2_654_435_761) >> 7) as u8)
        .collect()
}

pub(super) fn metainfo(data: &[u8]) -> Metainfo {
    Builder::new("a.bin")
        .piece_length(PIECE)
        .hash(data, data.len() as u64, |_| {})
        .unwrap()
}

pub(super) fn verifier(data: &[u8]) -> Arc<Verifier> {
    Arc::new(Verifier::new(&metainfo(data)).unwrap())
}

/// The verified blocks of a piece.
pub(super) fn piece(verifier: &Verifier, data: &[u8], piece: u32) -> Vec<VerifiedBlock> {
    let start = piece as usize * PIECE as usize;
    let end = data.len().min(start + PIECE as usize);
    let parts: Vec<_> = data[start..end]
        .chunks(merkle::BLOCK)
        .map(|b| Some(Bytes::copy_from_slice(b)))
        .collect();
    verifier.check_piece(piece, &parts).unwrap()
}

pub(super) fn hash_of(data: &[u8]) -> InfoHash {
    metainfo(data).info_hash_v2()
}

/// A store on a disk of the tests.
pub(super) fn on_disk(
    disk: &FaultDisk,
    metainfo: &Metainfo,
    verifier: &Arc<Verifier>,
    recheck: bool,
) -> Result<(Store, mpsc::Receiver<StoreEvent>), StoreError> {
    let home = Home {
        disk: Arc::new(disk.clone()),
        folder: PathBuf::from(FOLDER),
        gather: std::time::Duration::ZERO,
        rests: std::time::Duration::ZERO,
        // What a process holds that dies with it needs no lock here.
        _lock: tempfile::tempfile().unwrap(),
    };
    Store::at_home(home, metainfo, verifier.clone(), recheck)
}

#[tokio::test]
async fn what_was_written_leaves_the_memory_when_nothing_more_comes() {
    let data = content(PIECE as usize);
    let verifier = verifier(&data);
    let (store, _events) = on_disk(&FaultDisk::default(), &metainfo(&data), &verifier, false).unwrap();
    for block in piece(&verifier, &data, 0) {
        assert!(store.put(block).await.unwrap());
    }
    store.flush().await.unwrap();
    while !store.shared.held().recent.is_empty() {
        tokio::task::yield_now().await;
    }
    let whole = store.read_bytes(FileIndex(0), 0, PIECE).await.unwrap();
    assert_eq!(whole, data);
}

#[tokio::test]
async fn neighbours_that_wait_are_written_together_in_whatever_order_they_came() {
    let data = content(4 * PIECE as usize);
    let verifier = verifier(&data);
    let disk = FaultDisk::default();
    let (store, mut events) = on_disk(&disk, &metainfo(&data), &verifier, false).unwrap();
    disk.plan(Plan {
        space: 0,
        ..Plan::default()
    });
    let mut blocks: Vec<_> = (0..4)
        .flat_map(|number| piece(&verifier, &data, number))
        .collect();
    blocks.reverse();
    let count = blocks.len();
    store.put_all(blocks).await.unwrap();
    assert!(matches!(events.recv().await, Some(StoreEvent::Full(_))));
    disk.plan(Plan::default());
    store.flush().await.unwrap();
    // One write, and what makes it safe and records it.
    assert!(disk.operations() < count, "{} operations", disk.operations());
    assert_eq!(store.read_bytes(FileIndex(0), 0, 4 * PIECE).await.unwrap(), data);
}

#[tokio::test]
async fn what_was_flushed_is_there_after_reopening_and_unfinished_pieces_keep_their_hashes() {
    let folder = tempfile::tempdir().unwrap();
    let data = content(3 * PIECE as usize + 5);
    let first = verifier(&data);
    let (store, _events) = Store::open(
        folder.path(),
        &metainfo(&data),
        first.clone(),
        &Location::Store,
        false,
    )
    .unwrap();
    let mut blocks = piece(&first, &data, 1);
    blocks.extend(piece(&first, &data, 0).into_iter().take(2));
    blocks.extend(piece(&first, &data, 3));
    for block in blocks {
        assert!(store.put(block.clone()).await.unwrap());
        assert!(!store.put(block).await.unwrap(), "twice");
    }
    assert_eq!(
        store.read_bytes(FileIndex(0), PIECE + 5, 20_000).await.unwrap(),
        data[PIECE as usize + 5..][..20_000]
    );
    store.flush().await.unwrap();
    assert_eq!(
        store.read_bytes(FileIndex(0), 3 * PIECE, 100).await.unwrap(),
        data[3 * PIECE as usize..]
    );
    store.close().await;

    let second = verifier(&data);
    let (store, _events) = Store::open(
        folder.path(),
        &metainfo(&data),
        second.clone(),
        &Location::Store,
        false,
    )
    .unwrap();
    assert_eq!(
        store.held_runs(),
        [
            BlockRun::new(0, 0, 2),
            BlockRun::new(0, 4, 4),
            BlockRun::new(0, 12, 1)
        ],
    );
    assert_eq!(store.held_bytes(), 2 * 16_384 + PIECE + 5);
    assert!(
        second.proof(BlockRun::new(0, 0, 2)).is_some(),
        "the hashes of an unfinished piece are recorded"
    );
    assert!(second.proof(BlockRun::new(0, 4, 1)).is_none());
    assert!(
        store.ensure_leaves(BlockRun::new(0, 4, 1)).await,
        "those of a whole piece are computed"
    );
    assert!(second.proof(BlockRun::new(0, 4, 4)).is_some());
    store.close().await;
}

#[tokio::test]
async fn a_second_holder_is_told_who_the_first_is() {
    let folder = tempfile::tempdir().unwrap();
    let data = content(100);
    let (store, _events) = Store::open(
        folder.path(),
        &metainfo(&data),
        verifier(&data),
        &Location::Store,
        false,
    )
    .unwrap();
    let error = Store::open(
        folder.path(),
        &metainfo(&data),
        verifier(&data),
        &Location::Store,
        false,
    )
    .unwrap_err();
    let StoreError::Locked { pid, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(pid, Some(std::process::id()));
    store.close().await;
    let (again, _events) = Store::open(
        folder.path(),
        &metainfo(&data),
        verifier(&data),
        &Location::Store,
        false,
    )
    .unwrap();
    again.close().await;
}

#[tokio::test]
async fn what_has_another_name_is_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let data = content(2 * PIECE as usize);
    let open = || {
        let at = Location::Store;
        Store::open(folder.path(), &metainfo(&data), verifier(&data), &at, false).unwrap()
    };
    let fill = async |store: &Store| {
        for p in 0..2 {
            store.put_all(piece(&verifier(&data), &data, p)).await.unwrap();
        }
        store.flush().await.unwrap();
    };
    let (store, _events) = open();
    fill(&store).await;
    let theirs = folder.path().join("theirs.bin");
    store.link(FileIndex(0), Path::new(""), &theirs).unwrap();
    let all = BlockRun::new(0, 0, 8);
    assert_eq!(store.read_run(all).await.unwrap().concat(), data);

    // Whoever has it writes into it, and longer: it is served no more, and stays as it is now.
    let mut changed = data.clone();
    changed[100..107].copy_from_slice(b"changed");
    changed.extend(b"and longer");
    std::fs::write(&theirs, &changed).unwrap();
    let error = store.read_run(all).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("it was changed while"), "{error}");
    store.close().await;
    let (store, _events) = open();
    assert_eq!(store.held_runs(), [BlockRun::new(0, 4, 4)]);
    fill(&store).await;
    assert_eq!(store.read_run(all).await.unwrap().concat(), data);
    assert_eq!(std::fs::read(&theirs).unwrap(), changed);
    assert_eq!(std::fs::read(store.path()).unwrap(), data);
    store.close().await;

    // Nor does it matter that it was made read-only: the store goes on with a copy.
    std::fs::remove_file(&theirs).unwrap();
    let (store, _events) = open();
    store.link(FileIndex(0), Path::new(""), &theirs).unwrap();
    let only_read = std::os::unix::fs::PermissionsExt::from_mode(0o444);
    std::fs::set_permissions(&theirs, only_read).unwrap();
    store.close().await;
    let (store, _events) = open();
    assert_eq!(store.read_run(all).await.unwrap().concat(), data);
    store.close().await;
}

/// Does something to a file until the time of its last change shows it: that of some file systems goes in steps.
fn until_it_shows(path: &Path, touch: impl Fn(&Path)) {
    use std::os::unix::fs::MetadataExt as _;
    let changed = || {
        let about = std::fs::metadata(path).unwrap();
        (about.ctime(), about.ctime_nsec())
    };
    let before = changed();
    while changed() == before {
        touch(path);
    }
}

/// Writes into a file, and gives it the time of its last modification again, as a tag editor can.
fn edit_in_secret(path: &Path) {
    let modified = std::fs::metadata(path).unwrap().modified().unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    Backing::write_all_at(&file, b"changed", 100).unwrap();
    file.set_modified(modified).unwrap();
}

fn chmod(path: &Path) {
    let only_mine = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, only_mine).unwrap();
}

/// A store with all of `data`, which has the name `theirs` too.
async fn linked(folder: &Path, data: &[u8], theirs: &Path) -> Store {
    let at = Location::Store;
    let (store, _events) = Store::open(folder, &metainfo(data), verifier(data), &at, false).unwrap();
    for number in 0..(data.len() as u64).div_ceil(PIECE) as u32 {
        let blocks = piece(&verifier(data), data, number);
        store.put_all(blocks).await.unwrap();
    }
    store.flush().await.unwrap();
    let draft = theirs.with_extension("draft");
    store.link(FileIndex(0), Path::new(""), &draft).unwrap();
    // What whoever places a result does with it.
    let touch = |doing: &dyn Fn()| store.touch(FileIndex(0), doing);
    touch(&|| std::fs::rename(&draft, theirs).unwrap());
    touch(&|| until_it_shows(theirs, chmod));
    store.flush().await.unwrap();
    store
}

#[tokio::test]
async fn an_edit_between_what_is_done_with_a_new_name_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let data = content(2 * PIECE as usize);
    let all = BlockRun::new(0, 0, 8);
    let theirs = folder.path().join("theirs.bin");
    let store = linked(folder.path(), &data, &theirs).await;
    store.touch(FileIndex(0), || until_it_shows(&theirs, chmod));
    assert_eq!(store.read_run(all).await.unwrap().concat(), data);
    until_it_shows(&theirs, edit_in_secret);
    store.touch(FileIndex(0), || until_it_shows(&theirs, chmod));
    let error = store.read_run(all).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("it was changed while"), "{error}");
    store.close().await;
    let at = Location::Store;
    let (store, _events) = Store::open(folder.path(), &metainfo(&data), verifier(&data), &at, false).unwrap();
    assert_eq!(store.held_runs(), [BlockRun::new(0, 4, 4)]);
    store.close().await;
}

#[tokio::test]
async fn an_edit_that_keeps_size_and_time_is_seen_when_it_is_read_and_when_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let data = content(2 * PIECE as usize);
    let theirs = folder.path().join("theirs.bin");
    let store = linked(folder.path(), &data, &theirs).await;
    let all = BlockRun::new(0, 0, 8);
    assert_eq!(store.read_run(all).await.unwrap().concat(), data);
    until_it_shows(&theirs, edit_in_secret);
    let error = store.read_run(all).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("it was changed while"), "{error}");
    store.close().await;
    let open = || {
        let at = Location::Store;
        Store::open(folder.path(), &metainfo(&data), verifier(&data), &at, false).unwrap()
    };
    let (store, _events) = open();
    assert_eq!(store.held_runs(), [BlockRun::new(0, 4, 4)]);
    // While it is open, and nobody reads: what is recorded when it closes is not how it is then.
    store.put_all(piece(&verifier(&data), &data, 0)).await.unwrap();
    store.flush().await.unwrap();
    until_it_shows(store.path(), edit_in_secret);
    store.close().await;
    let (store, _events) = open();
    assert_eq!(store.held_runs(), [BlockRun::new(0, 4, 4)]);
    store.close().await;
}

#[tokio::test]
async fn what_was_opened_whole_and_edited_meanwhile_is_not_believed_the_next_time() {
    let folder = tempfile::tempdir().unwrap();
    let data = content(2 * PIECE as usize);
    let theirs = folder.path().join("theirs.bin");
    linked(folder.path(), &data, &theirs).await.close().await;
    let open = || {
        let at = Location::Store;
        Store::open(folder.path(), &metainfo(&data), verifier(&data), &at, false).unwrap()
    };
    let (store, _events) = open();
    std::fs::write(&theirs, b"mine").unwrap();
    store.close().await;
    let (store, _events) = open();
    assert_eq!(store.held_runs(), []);
    store.close().await;
}

#[tokio::test]
async fn another_name_or_permission_has_a_file_hashed_once_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let data = content(2 * PIECE as usize);
    let [theirs, other] = ["theirs.bin", "other.bin"].map(|name| folder.path().join(name));
    let store = linked(folder.path(), &data, &theirs).await;
    let record = || {
        let path = store.path().with_file_name("state");
        let disk = FileSystem {
            home: folder.path().to_owned(),
        };
        state::load(&disk, &path, hash_of(&data)).unwrap().unwrap().stamp
    };
    let now = || {
        Backing::stamp(&std::fs::File::open(&theirs).unwrap(), 0)
            .unwrap()
            .unwrap()
    };
    // Names and permissions that Grove gave are recorded.
    assert_eq!(record(), now());
    let all = BlockRun::new(0, 0, 8);
    for (number, touch) in [chmod, |path: &Path| {
        let other = path.with_file_name("other.bin");
        let _ = std::fs::remove_file(&other);
        std::fs::hard_link(path, other).unwrap();
    }]
    .into_iter()
    .enumerate()
    {
        until_it_shows(&theirs, touch);
        assert_ne!(record(), now());
        assert_eq!(store.read_run(all).await.unwrap().concat(), data, "{number}");
        store.flush().await.unwrap();
        // And what is recorded is how it is now, so that nobody hashes it again.
        assert_eq!(record(), now(), "{number}");
    }
    until_it_shows(&other, chmod);
    store.clone().close().await;
    let at = Location::Store;
    let (again, _events) = Store::open(folder.path(), &metainfo(&data), verifier(&data), &at, false).unwrap();
    assert!(again.is_complete());
    again.flush().await.unwrap();
    assert_eq!(record(), now());
    // It still has its names: nothing was copied.
    let node = |path: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap());
    assert_eq!(node(again.path()), node(&theirs));
    again.close().await;
}

#[tokio::test]
async fn a_file_that_was_changed_is_checked_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = content(2 * PIECE as usize);
    let first = verifier(&data);
    let (store, _events) = Store::open(
        folder.path(),
        &metainfo(&data),
        first.clone(),
        &Location::Store,
        false,
    )
    .unwrap();
    for p in 0..2 {
        for block in piece(&first, &data, p) {
            store.put(block).await.unwrap();
        }
    }
    let path = store.path().to_owned();
    store.flush().await.unwrap();
    store.close().await;

    let file = OpenOptions::new().write(true).open(&path).unwrap();
    Backing::write_all_at(&file, b"changed", 100).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    drop(file);
    let (store, _events) = Store::open(
        folder.path(),
        &metainfo(&data),
        verifier(&data),
        &Location::Store,
        false,
    )
    .unwrap();
    assert_eq!(
        store.held_runs(),
        [BlockRun::new(0, 4, 4)],
        "only the untouched piece is held"
    );
    store.close().await;
    // Cut short: what is missing is not held either.
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(PIECE + 20_000)
        .unwrap();
    let (store, _events) = Store::open(
        folder.path(),
        &metainfo(&data),
        verifier(&data),
        &Location::Store,
        false,
    )
    .unwrap();
    assert_eq!(store.held_bytes(), 0);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 2 * PIECE);
    store.close().await;
}

#[tokio::test]
async fn without_its_record_the_file_itself_is_believed_after_hashing() {
    let folder = tempfile::tempdir().unwrap();
    let data = content(2 * PIECE as usize);
    let content_folder = folder.path().join("store").join(hash_of(&data).to_string());
    std::fs::create_dir_all(&content_folder).unwrap();
    std::fs::write(content_folder.join("content"), &data[..PIECE as usize + 7]).unwrap();
    std::fs::write(content_folder.join("state"), b"").unwrap();
    let (store, _events) = Store::open(
        folder.path(),
        &metainfo(&data),
        verifier(&data),
        &Location::Store,
        false,
    )
    .unwrap();
    assert_eq!(store.held_runs(), [BlockRun::new(0, 0, 4)]);
    store.close().await;
}

#[tokio::test]
async fn an_existing_file_is_checked_and_never_written() {
    let folder = tempfile::tempdir().unwrap();
    let data = content(PIECE as usize + 1);
    let path = folder.path().join("mine.bin");
    let open = |location| Store::open(folder.path(), &metainfo(&data), verifier(&data), &location, false);
    std::fs::write(&path, &data).unwrap();
    let (store, _events) = open(Location::Existing(path.clone())).unwrap();
    assert!(store.is_complete());
    store.close().await;
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "nothing is put beside it"
    );
    let mut wrong = data.clone();
    wrong[70] ^= 1;
    std::fs::write(&path, &wrong).unwrap();
    let error = open(Location::Existing(path.clone())).unwrap_err().to_string();
    assert!(error.contains("piece 0 has another hash"), "{error}");
    std::fs::write(&path, b"short").unwrap();
    let error = open(Location::Existing(path)).unwrap_err().to_string();
    assert!(error.contains("it has 5 bytes, not 65537"), "{error}");
}

#[tokio::test]
async fn an_existing_file_that_changes_is_not_given_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut data = content(PIECE as usize);
    let path = folder.path().join("mine.bin");
    std::fs::write(&path, &data).unwrap();
    let location = Location::Existing(path.clone());
    let (store, mut events) =
        Store::open(folder.path(), &metainfo(&data), verifier(&data), &location, false).unwrap();
    let run = BlockRun::new(0, 0, 1);
    assert_eq!(store.read_run(run).await.unwrap()[0], data[..16384]);
    data[70] ^= 1;
    data.push(0);
    std::fs::write(&path, &data).unwrap();
    let error = store.read_run(run).await.unwrap_err().to_string();
    assert!(error.contains("changed while it was being served"), "{error}");
    let StoreEvent::Failed(error) = events.recv().await.unwrap() else {
        panic!("the torrent hears of it")
    };
    assert!(error.to_string().contains("mine.bin"), "{error}");
    store.close().await;
}

#[tokio::test]
async fn an_existing_file_that_is_cut_short_is_known_to_have_changed() {
    let folder = tempfile::tempdir().unwrap();
    let data = content(PIECE as usize);
    let path = folder.path().join("mine.bin");
    std::fs::write(&path, &data).unwrap();
    let location = Location::Existing(path.clone());
    let (store, mut events) =
        Store::open(folder.path(), &metainfo(&data), verifier(&data), &location, false).unwrap();
    // As whoever writes it anew begins.
    std::fs::write(&path, b"").unwrap();
    let error = store.read_run(BlockRun::new(0, 0, 1)).await.unwrap_err();
    assert!(
        error.to_string().contains("changed while it was being served"),
        "{error}"
    );
    let event = events.recv().await.unwrap();
    assert!(
        matches!(event, StoreEvent::Failed(_)),
        "the torrent hears of it: {event:?}"
    );
    store.close().await;
}

#[tokio::test]
async fn a_full_disk_pauses_and_goes_on_with_nothing_lost() {
    let data = content(2 * PIECE as usize);
    let verifier = verifier(&data);
    let disk = FaultDisk::default();
    let (store, mut events) = on_disk(&disk, &metainfo(&data), &verifier, false).unwrap();
    disk.plan(Plan {
        space: PIECE + 1000,
        ..Plan::default()
    });
    for p in 0..2 {
        for block in piece(&verifier, &data, p) {
            store.put(block).await.unwrap();
        }
    }
    let event = events.recv().await.unwrap();
    let StoreEvent::Full(error) = event else {
        panic!("{event:?}")
    };
    assert!(error.to_string().contains("the disk is full"), "{error}");
    assert!(matches!(
        *store.flush().await.unwrap_err(),
        StoreError::Full { .. }
    ));
    assert_eq!(
        store.read_bytes(FileIndex(0), 0, 2 * PIECE).await.unwrap(),
        data,
        "all of it can be read meanwhile"
    );
    let written = store.wanted_bytes() - store.unwritten_bytes();
    assert!(written <= PIECE + 1000, "{written} bytes");
    disk.plan(Plan::default());
    let event = events.recv().await.unwrap();
    assert!(matches!(event, StoreEvent::Writable), "{event:?}");
    store.flush().await.unwrap();
    assert_eq!(store.unwritten_bytes(), 0);
    store.close().await;
    assert_eq!(disk.contents(&Path::new(FOLDER).join("content")).unwrap(), data);
}

#[tokio::test]
async fn after_a_failed_sync_the_blocks_are_not_held_any_more() {
    let data = content(2 * PIECE as usize);
    let first = verifier(&data);
    let disk = FaultDisk::default();
    let (store, mut events) = on_disk(&disk, &metainfo(&data), &first, false).unwrap();
    for block in piece(&first, &data, 0) {
        store.put(block).await.unwrap();
    }
    store.flush().await.unwrap();
    disk.plan(Plan {
        good_syncs: 0,
        ..Plan::default()
    });
    for block in piece(&first, &data, 1) {
        store.put(block).await.unwrap();
    }
    let error = store.flush().await.unwrap_err();
    assert!(
        error.to_string().contains("syncing") && error.to_string().contains("went away"),
        "{error}"
    );
    let StoreEvent::Lost(lost) = events.recv().await.unwrap() else {
        panic!()
    };
    assert_eq!(lost, [BlockRun::new(0, 4, 4)]);
    assert!(matches!(events.recv().await.unwrap(), StoreEvent::Failed(_)));
    assert_eq!(store.held_runs(), [BlockRun::new(0, 0, 4)]);
    disk.plan(Plan::default());
    store.close().await;
    let state = Path::new(FOLDER).join("state");
    let record = state::load(&disk, &state, hash_of(&data)).unwrap().unwrap();
    assert!(
        (4..8).all(|b| !record.bits.get(b)) && (0..4).all(|b| record.bits.get(b)),
        "nor claimed"
    );
}

#[tokio::test]
async fn a_piece_that_many_ask_for_at_once_is_read_once() {
    let disk = FaultDisk::default();
    let data = content(2 * PIECE as usize);
    let first = verifier(&data);
    let (store, events) = on_disk(&disk, &metainfo(&data), &first, false).unwrap();
    for p in 0..2 {
        store.put_all(piece(&first, &data, p)).await.unwrap();
    }
    store.flush().await.unwrap();
    drop(events);
    store.close().await;
    let (store, _events) = on_disk(&disk, &metainfo(&data), &verifier(&data), false).unwrap();
    let before = disk.read_bytes();
    let asking = (0..8).map(|block| store.ensure_leaves(BlockRun::new(0, block, 1)));
    assert_eq!(futures_util::future::join_all(asking).await, [true; 8]);
    assert_eq!(disk.read_bytes() - before, data.len());
    store.close().await;
}

#[tokio::test]
async fn of_an_existing_folder_only_what_changes_is_not_given_out() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("mine");
    std::fs::create_dir(&root).unwrap();
    let data = content(2 * PIECE as usize + 1);
    for name in ["a", "b", "c"] {
        std::fs::write(root.join(name), &data).unwrap();
    }
    let listing = crate::metainfo::Listing::of(&root).unwrap();
    let builder = Builder::new("mine").piece_length(PIECE);
    let metainfo = builder.hash_folder(&root, &listing, |_| {}).unwrap();
    let verifier = Arc::new(Verifier::new(&metainfo).unwrap());
    let location = Location::Existing(root.clone());
    let (store, _events) = Store::open(folder.path(), &metainfo, verifier, &location, false).unwrap();
    std::fs::write(root.join("b"), b"other").unwrap();
    for whole in [0, 2] {
        let given = store.read_bytes(FileIndex(whole), 0, data.len() as u64).await;
        assert_eq!(given.unwrap(), data);
    }
    std::fs::write(root.join("b"), [&data[1..], b"!"].concat()).unwrap();
    for offset in [0, 2 * PIECE] {
        let error = store
            .read_bytes(FileIndex(1), offset, 1)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("changed while it was being served"), "{error}");
    }
    store.close().await;
}
