//! What was written as it should be and is not there any more: it is found, told, and not claimed again.

use super::crash_tests::{CONTENT, Case, LENGTH};
use super::faults::FaultDisk;
use super::tests::on_disk;
use super::*;
use std::collections::BTreeSet;

#[tokio::test]
async fn what_was_found_to_be_rotten_is_not_claimed_any_more_after_a_kill() {
    let case = Case::file();
    let disk = FaultDisk::default();
    case.run(&disk).await;
    disk.rot(Path::new(CONTENT), 5 * BLOCK_SIZE as usize);
    let verifier = case.verifier();
    let (store, mut events) = case.open(&disk, &verifier).unwrap();
    assert!(store.has_block(5), "nobody has looked yet");
    assert!(!store.ensure_leaves(BlockRun::new(0, 5, 1)).await);
    assert!(matches!(events.recv().await, Some(StoreEvent::Lost(_))));
    case.check_ends(&disk, &BTreeSet::new(), "found while serving")
        .await;
    drop(events);
    store.close().await;
}

#[tokio::test]
async fn what_a_check_found_to_be_rotten_is_not_claimed_any_more_after_a_kill() {
    let case = Case::file();
    let disk = FaultDisk::default();
    case.run(&disk).await;
    disk.rot(Path::new(CONTENT), 5 * BLOCK_SIZE as usize);
    let record = || disk.contents(&Path::new(CONTENT).with_file_name("state"));
    let before = record();
    let verifier = case.verifier();
    let (store, _events) = on_disk(&disk, &case.metainfo, &verifier, true).unwrap();
    assert!(!store.has_block(5));
    while record() == before {
        tokio::task::yield_now().await;
    }
    case.check(&disk.after_kill(), &BTreeSet::new(), "found by a check")
        .await;
    store.close().await;
}

#[tokio::test]
async fn a_place_that_cannot_be_read_is_fetched_again_and_the_rest_is_kept() {
    let case = Case::file();
    for checked in [false, true] {
        let disk = FaultDisk::default();
        let flushed = case.run(&disk).await;
        disk.go_bad(Path::new(CONTENT), 9 * BLOCK_SIZE as usize + 5);
        let verifier = case.verifier();
        let (store, mut events) = on_disk(&disk, &case.metainfo, &verifier, checked).unwrap();
        if !checked {
            assert!(store.read_run(BlockRun::new(0, 9, 1)).await.is_err());
            assert!(matches!(events.recv().await, Some(StoreEvent::Lost(_))));
        }
        assert!(!store.has_block(9), "{checked}");
        for &block in flushed.iter().filter(|&&block| !(8..12).contains(&block)) {
            assert!(store.has_block(block), "{checked}: {block}");
        }
        for block in 8..12 {
            store.put(case.block(block)).await.unwrap();
        }
        store.flush().await.unwrap();
        assert_eq!(
            store.read_run(BlockRun::new(0, 9, 1)).await.unwrap().concat(),
            case.bytes(9)
        );
        drop(events);
        store.close().await;
    }
}

#[tokio::test]
async fn a_disk_that_gives_nothing_is_no_reason_to_forget_what_it_holds() {
    let case = Case::file();
    let disk = FaultDisk::default();
    case.run(&disk).await;
    (0..LENGTH)
        .step_by(1_000)
        .for_each(|at| disk.go_bad(Path::new(CONTENT), at));
    let opened = on_disk(&disk, &case.metainfo, &case.verifier(), true);
    assert!(matches!(opened, Err(StoreError::Io { doing: "reading", .. })));
    let (store, _events) = case.open(&disk, &case.verifier()).unwrap();
    assert!(store.has_block(9));
    store.close().await;
}

#[tokio::test]
async fn what_a_copy_lacks_is_fetched_again_and_the_rest_is_kept() {
    for case in [Case::file(), Case::folder()] {
        let disk = FaultDisk::default();
        let flushed = case.run(&disk).await;
        let (store, mut events) = case.open(&disk, &case.verifier()).unwrap();
        let missing = (0..22).find(|block| !store.has_block(*block)).unwrap();
        let (file, _) = case.place(missing);
        let lost = flushed.iter().copied().find(|&block| case.place(block).0 == file);
        let lost = lost.unwrap();
        let verifier = store.shared.verifier.clone();
        let (path, at) = (&case.files[file].0, case.place(lost).1);
        disk.copy_without(path, at..at + case.bytes(lost).len());
        case.put(&store, &verifier, missing).await.unwrap();
        store.flush().await.unwrap();
        let Some(StoreEvent::Lost(runs)) = events.recv().await else {
            panic!("it is told that something is lost")
        };
        let gone: Vec<u32> = runs.into_iter().flat_map(|run| verifier.span(run)).collect();
        // Its piece goes with it where the hashes of single blocks are not known any more.
        let piece = verifier.piece_blocks(verifier.piece_of(lost));
        assert!(
            gone.contains(&lost) && gone.iter().all(|block| piece.contains(block)),
            "{gone:?}"
        );
        for &block in &flushed {
            assert_eq!(store.has_block(block), !gone.contains(&block), "{block}");
        }
        case.check(
            &disk.after_kill(),
            &BTreeSet::from([missing]),
            "without what the copy lacks",
        )
        .await;
        for block in gone.into_iter().rev() {
            case.put(&store, &verifier, block).await.unwrap();
            store.flush().await.unwrap();
        }
        assert!(store.has_block(lost) && events.try_recv().is_err(), "it goes on");
        drop(events);
        store.close().await;
    }
}
