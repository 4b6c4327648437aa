//! Files that were touched, and perhaps edited: when they are hashed again, what goes on meanwhile, and what comes of it.

use super::backing::FileSystem;
use super::crash_tests::{CONTENT, Case, LENGTH};
use super::faults::{FaultDisk, Halting};
use super::tests::{PIECE, content, on_disk};
use super::writer::Home;
use super::*;
use crate::metainfo::{Builder, Listing, Metainfo};
use crate::verify::Verifier;
use std::collections::BTreeSet;
use tokio::sync::mpsc;

const BLOCK: usize = BLOCK_SIZE as usize;

/// A store that holds all of the case, of which nothing is in memory.
async fn whole(case: &Case, disk: &FaultDisk) -> (Store, mpsc::Receiver<StoreEvent>) {
    let verifier = case.verifier();
    let (store, events) = case.open(disk, &verifier).unwrap();
    for block in 0..22 {
        case.put(&store, &verifier, block).await.unwrap();
    }
    store.flush().await.unwrap();
    store.shared.held().recent.clear();
    (store, events)
}

fn run(store: &Store, block: u32) -> BlockRun {
    store.shared.verifier.layout().run(block..block + 1)
}

async fn read(store: &Store, block: u32) -> Result<Bytes, StoreError> {
    let read = store.read_run(run(store, block)).await;
    read.map(|blocks| blocks[0].clone())
}

#[tokio::test]
async fn what_grove_touches_is_not_hashed_again_neither_alone_nor_in_a_folder() {
    for case in [Case::file(), Case::folder()] {
        let disk = FaultDisk::default();
        let (store, events) = whole(&case, &disk).await;
        for (file, (path, _)) in case.files.iter().enumerate() {
            store.touch(FileIndex(file as u32), || disk.touch(path));
        }
        let (before, all) = (disk.read_bytes(), case.files.iter().map(|(_, data)| data.len()));
        let all: usize = all.sum();
        for block in 0..22 {
            assert_eq!(read(&store, block).await.unwrap(), case.bytes(block), "{block}");
        }
        assert_eq!(disk.read_bytes() - before, all, "each block was read once");
        drop(events);
        store.close().await;
        // Nor when it is opened: what is recorded is how it is.
        let (store, _events) = case.open(&disk, &case.verifier()).unwrap();
        assert!(store.is_complete());
        assert_eq!(disk.read_bytes() - before, all);
        store.close().await;
    }
}

#[tokio::test]
async fn a_block_that_is_found_missing_twice_counts_once() {
    let (case, disk) = (Case::file(), FaultDisk::default());
    let (store, _events) = whole(&case, &disk).await;
    store.shared.lose(vec![3, 4, 3]);
    assert!(!store.is_complete());
    for block in [3, 4] {
        case.put(&store, &case.verifier(), block).await.unwrap();
    }
    assert!(store.is_complete());
    store.close().await;
}

#[tokio::test]
async fn of_a_folder_only_what_somebody_touched_is_hashed_again_and_what_they_edited_is_found() {
    let case = Case::folder();
    let disk = FaultDisk::default();
    let (store, mut events) = whole(&case, &disk).await;
    let [first, second, third] = [0, 1, 2].map(|file| case.files[file].0.as_path());
    disk.touch(first);
    // Not hidden by what Grove does with it afterwards.
    disk.edit(second, 70_000);
    store.touch(FileIndex(1), || disk.touch(second));
    store.touch(FileIndex(2), || disk.touch(third));
    let of = |file| (0..22).find(|&block| case.place(block).0 == file).unwrap();
    let before = disk.read_bytes();
    for file in [0, 2] {
        assert_eq!(read(&store, of(file)).await.unwrap(), case.bytes(of(file)));
    }
    let once = case.files[0].1.len() + 2 * case.bytes(of(0)).len() + case.bytes(of(2)).len();
    assert_eq!(disk.read_bytes() - before, once);
    let error = read(&store, of(1)).await.unwrap_err();
    assert!(matches!(error, StoreError::Broken(_)), "{error}");
    assert!(matches!(events.recv().await, Some(StoreEvent::Failed(_))));
    drop(events);
    store.close().await;
}

#[tokio::test]
async fn others_go_on_while_a_file_is_hashed_and_what_is_touched_meanwhile_is_hashed_once_more() {
    let case = Case::folder();
    let disk = FaultDisk::default();
    let (store, _events) = whole(&case, &disk).await;
    let [first, other] = [0, 20];
    assert_eq!((case.place(first).0, case.place(other).0), (0, 2));
    disk.touch(&case.files[0].0);
    let before = disk.read_bytes();
    // The block itself, and a first piece that is hashed.
    disk.let_read(Some(2));
    let reading = tokio::spawn({
        let store = store.clone();
        async move { read(&store, first).await }
    });
    while !disk.is_halted() {
        tokio::task::yield_now().await;
    }
    // Nobody waits for it but who reads it: others write, and do things with names.
    let blocks = store.shared.verifier.span(run(&store, other));
    store.shared.lose(blocks.clone().collect());
    store.put(case.block(other)).await.unwrap();
    store.flush().await.unwrap();
    store.touch(FileIndex(2), || disk.touch(&case.files[2].0));
    // Somebody touches it again.
    disk.touch(&case.files[0].0);
    disk.let_read(None);
    assert_eq!(reading.await.unwrap().unwrap(), case.bytes(first));
    let length = case.files[0].1.len();
    assert_eq!(disk.read_bytes() - before, 2 * length + 3 * BLOCK);
    assert_eq!(read(&store, first).await.unwrap(), case.bytes(first));
    assert_eq!(disk.read_bytes() - before, 2 * length + 4 * BLOCK);
    store.close().await;
}

#[tokio::test]
async fn a_block_that_arrives_while_its_file_is_hashed_is_not_judged_by_what_was_there_before() {
    let case = Case::file();
    // Before and after its piece, the third, was read.
    for pieces in 0..6 {
        let disk = FaultDisk::default();
        let (store, mut events) = whole(&case, &disk).await;
        let late = 9;
        store.shared.lose(vec![late]);
        disk.edit(Path::new(CONTENT), late as usize * BLOCK + 5);
        // The block itself is read first.
        disk.let_read(Some(1 + pieces));
        let reading = tokio::spawn({
            let store = store.clone();
            async move { read(&store, 0).await }
        });
        while !disk.is_halted() {
            tokio::task::yield_now().await;
        }
        case.put(&store, &store.shared.verifier, late).await.unwrap();
        disk.let_read(None);
        assert_eq!(reading.await.unwrap().unwrap(), case.bytes(0), "{pieces} pieces");
        store.shared.held().recent.clear();
        for block in 0..22 {
            assert_eq!(
                read(&store, block).await.unwrap(),
                case.bytes(block),
                "{pieces} pieces"
            );
        }
        assert!(
            store.is_complete() && events.try_recv().is_err(),
            "{pieces} pieces"
        );
        drop(events);
        store.close().await;
    }
}

/// A store on a real disk, where reads wait.
fn halting(case: &Case, place: &Path, gate: &FaultDisk) -> (Store, mpsc::Receiver<StoreEvent>) {
    let home = place.join("home");
    std::fs::create_dir_all(&home).unwrap();
    let home = Home {
        disk: Arc::new(Halting(FileSystem { home: home.clone() }, gate.clone())),
        folder: home,
        gather: std::time::Duration::ZERO,
        rests: std::time::Duration::ZERO,
        _lock: tempfile::tempfile().unwrap(),
    };
    Store::at_home(home, &case.metainfo, case.verifier(), false).unwrap()
}

/// The same with all of the case's file, of which a person has another name.
async fn linked(case: &Case, place: &Path) -> (Store, mpsc::Receiver<StoreEvent>, FaultDisk, PathBuf) {
    let (gate, theirs) = (FaultDisk::default(), place.join("theirs"));
    let (store, events) = halting(case, place, &gate);
    let verifier = store.shared.verifier.clone();
    for block in 0..22 {
        case.put(&store, &verifier, block).await.unwrap();
    }
    store.flush().await.unwrap();
    store.link(FileIndex(0), Path::new(""), &theirs).unwrap();
    store.flush().await.unwrap();
    (store, events, gate, theirs)
}

/// A person changes a byte, or gives the file other permissions, so that nothing but the change time shows it.
fn change(theirs: &Path, at: Option<usize>) {
    use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
    let look = || std::fs::metadata(theirs).unwrap();
    let before = look();
    while (look().ctime(), look().ctime_nsec()) == (before.ctime(), before.ctime_nsec()) {
        std::fs::set_permissions(theirs, std::fs::Permissions::from_mode(0o600)).unwrap();
        if let Some(at) = at {
            let file = std::fs::OpenOptions::new().write(true).open(theirs).unwrap();
            file.write_all_at(b"!", at as u64).unwrap();
            file.set_modified(before.modified().unwrap()).unwrap();
        }
    }
}

/// What cannot be written then is told to be lost.
async fn until_failed(events: &mut mpsc::Receiver<StoreEvent>) {
    while !matches!(events.recv().await.expect("it fails"), StoreEvent::Failed(_)) {}
}

#[tokio::test]
async fn what_a_person_has_another_name_of_is_judged_although_a_block_arrives_meanwhile() {
    let case = Case::file();
    for edited in [None, Some(13)] {
        let place = tempfile::tempdir().unwrap();
        let (store, mut events, gate, theirs) = linked(&case, place.path()).await;
        store.shared.lose(vec![9]);
        change(&theirs, edited.map(|block| block * BLOCK + 5));
        let kept = std::fs::read(&theirs).unwrap();
        // The block, and the first piece.
        gate.let_read(Some(2));
        let reading = tokio::spawn({
            let store = store.clone();
            async move { read(&store, 0).await }
        });
        while !gate.is_halted() {
            tokio::task::yield_now().await;
        }
        // It is written when that is over, into a copy of the store's own.
        case.put(&store, &store.shared.verifier, 9).await.unwrap();
        gate.let_read(None);
        let came = reading.await.unwrap();
        if edited.is_some() {
            let error = came.unwrap_err();
            assert!(matches!(error, StoreError::Broken(_)), "{error}");
            until_failed(&mut events).await;
        } else {
            assert_eq!(came.unwrap(), case.bytes(0));
            store.flush().await.unwrap();
            store.shared.held().recent.clear();
            for block in 0..22 {
                assert_eq!(read(&store, block).await.unwrap(), case.bytes(block), "{block}");
            }
            assert!(events.try_recv().is_err(), "nothing was wrong");
        }
        assert!(
            std::fs::read(&theirs).unwrap() == kept,
            "theirs is as they left it"
        );
        drop(events);
        store.close().await;
        // Nor is the edit believed later.
        let (store, _events) = halting(&case, place.path(), &gate);
        // The blocks of a piece stand or fall together now.
        for block in (0..22).filter(|block| *block != 9 && !(12..16).contains(block)) {
            assert!(store.has_block(block), "{block}");
        }
        assert_eq!(store.has_block(13), edited.is_none());
        store.close().await;
    }
}

#[tokio::test]
async fn an_edit_that_nobody_read_is_seen_before_the_store_writes_beside_it() {
    let (case, place) = (Case::file(), tempfile::tempdir().unwrap());
    let (store, mut events, gate, theirs) = linked(&case, place.path()).await;
    store.shared.lose(vec![9]);
    change(&theirs, Some(13 * BLOCK + 5));
    case.put(&store, &store.shared.verifier, 9).await.unwrap();
    store.flush().await.unwrap_err();
    until_failed(&mut events).await;
    drop(events);
    store.close().await;
    let (store, _events) = halting(&case, place.path(), &gate);
    assert!(!store.has_block(13), "what a person wrote is no content");
    assert_eq!(read(&store, 16).await.unwrap(), case.bytes(16));
    store.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_of_what_was_touched_have_it_hashed_once() {
    let case = Case::file();
    let disk = FaultDisk::default();
    let (store, _events) = whole(&case, &disk).await;
    disk.touch(Path::new(CONTENT));
    let before = disk.read_bytes();
    // All read, and one of them hashes a piece.
    disk.let_read(Some(9));
    let readers = [0; 8].map(|block| {
        let store = store.clone();
        tokio::spawn(async move { read(&store, block).await })
    });
    while !disk.is_halted() {
        std::thread::yield_now();
    }
    // Time for the others to find it touched.
    (0..1_000).for_each(|_| std::thread::yield_now());
    disk.let_read(None);
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap(), case.bytes(0));
    }
    let read = disk.read_bytes() - before;
    assert!(read <= LENGTH + 2 * 8 * BLOCK, "{read} bytes");
    store.close().await;
}

#[tokio::test]
async fn a_place_that_cannot_be_read_while_hashing_again_is_fetched_again() {
    // When it was opened again, the hashes of single blocks are not known: those of one piece stand or fall together.
    for (case, reopened) in [
        (Case::file(), false),
        (Case::folder(), false),
        (Case::folder(), true),
    ] {
        let disk = FaultDisk::default();
        let (mut store, mut events) = whole(&case, &disk).await;
        let mut gone = 9..10;
        if reopened {
            drop(events);
            store.close().await;
            (store, events) = case.open(&disk, &case.verifier()).unwrap();
            gone = 8..12;
        }
        let (file, at) = case.place(9);
        let path = &case.files[file].0;
        disk.go_bad(path, at + 5);
        disk.touch(path);
        if reopened {
            let error = read(&store, 10).await.unwrap_err();
            assert!(error.to_string().contains("near it cannot be read"), "{error}");
        }
        // Another piece of the same file.
        assert_eq!(read(&store, 12).await.unwrap(), case.bytes(12));
        let Some(StoreEvent::Lost(lost)) = events.recv().await else {
            panic!("it is told that something is lost")
        };
        let lost = lost.into_iter().flat_map(|run| store.shared.verifier.span(run));
        assert_eq!(lost.collect::<Vec<_>>(), gone.clone().collect::<Vec<_>>());
        assert!((0..22).all(|block| store.has_block(block) != gone.contains(&block)));
        for block in gone {
            store.put(case.block(block)).await.unwrap();
        }
        store.flush().await.unwrap();
        store.shared.held().recent.clear();
        for block in 0..22 {
            assert_eq!(read(&store, block).await.unwrap(), case.bytes(block), "{block}");
        }
        assert!(events.try_recv().is_err(), "nothing else was wrong");
        drop(events);
        store.close().await;
        let all: BTreeSet<u32> = (0..22).collect();
        case.check(&disk.after_kill(), &all, "afterwards").await;
    }
}

/// A torrent of so many files, of a block each.
fn many(files: usize) -> (Metainfo, Vec<(PathBuf, Vec<u8>)>) {
    let place = tempfile::tempdir().unwrap();
    let data = content(BLOCK + files);
    let files: Vec<_> = (0..files)
        .map(|file| (format!("{file:03}"), data[file..file + BLOCK].to_vec()))
        .collect();
    for (name, data) in &files {
        std::fs::write(place.path().join(name), data).unwrap();
    }
    let listing = Listing::of(place.path()).unwrap();
    let builder = Builder::new("many").piece_length(PIECE);
    let metainfo = builder.hash_folder(place.path(), &listing, |_| {}).unwrap();
    let files = files.into_iter();
    let there = files.map(|(name, data)| (Path::new(CONTENT).join(name), data));
    (metainfo, there.collect())
}

#[tokio::test]
async fn the_record_is_written_once_for_many_files_that_were_touched() {
    const FILES: usize = 200;
    let (metainfo, files) = many(FILES);
    let verifier = Arc::new(Verifier::new(&metainfo).unwrap());
    let disk = FaultDisk::default();
    let (store, _events) = on_disk(&disk, &metainfo, &verifier, false).unwrap();
    for (piece, (_, data)) in files.iter().enumerate() {
        let parts = [Some(Bytes::copy_from_slice(data))];
        let blocks = verifier.check_piece(piece as u32, &parts).unwrap();
        store.put_all(blocks).await.unwrap();
    }
    store.flush().await.unwrap();
    store.shared.held().recent.clear();
    disk.plan(faults::Plan::default());
    for (file, (path, data)) in files.iter().enumerate() {
        disk.touch(path);
        let read = store.read_bytes(FileIndex(file as u32), 0, BLOCK as u64).await;
        assert_eq!(read.unwrap(), data[..]);
    }
    store.flush().await.unwrap();
    // It takes six; more than once a second it is not written.
    assert!(disk.operations() < 2 * FILES, "{} operations", disk.operations());
    let before = disk.read_bytes();
    store.close().await;
    let (store, _events) = on_disk(
        &disk,
        &metainfo,
        &Arc::new(Verifier::new(&metainfo).unwrap()),
        false,
    )
    .unwrap();
    assert!(store.is_complete());
    assert_eq!(disk.read_bytes(), before, "it says how they are now");
    store.close().await;
}
