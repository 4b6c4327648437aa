//! What was written as it should be and is not there any more: it is found, told, and not claimed again.

use super::crash_tests::{CONTENT, Case};
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
