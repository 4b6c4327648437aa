//! A scripted download that is killed at each operation of its disk in turn, whose power is cut, and whose disk fails.
//!
//! What must hold afterwards: every block that is claimed is there, whatever was flushed is claimed, and the rest of
//! the download gives the right file.

use super::faults::{FaultDisk, Plan};
use super::tests::{PIECE, content, on_disk, piece, verifier};
use super::*;
use std::collections::BTreeSet;
use std::path::Path;

/// Pieces of four blocks; the last one has two, and the last block is short.
const LENGTH: usize = 5 * PIECE as usize + 20_000;
const CONTENT: &str = "/data/store/x/content";
/// Different mixtures of what is left without power, for each operation.
const CUTS: u64 = 6;

/// What is put, and between what it is flushed: whole pieces as an origin brings them, blocks as peers do.
const SCRIPT: &[&[u32]] = &[
    &[4, 5, 6, 7],
    &[0, 1, 18],
    &[8, 9, 10, 11, 19],
    &[2],
    &[3, 12, 20, 21],
];

struct Case {
    data: Vec<u8>,
    /// Knows all hashes.
    wise: Arc<Verifier>,
}

impl Case {
    fn new() -> Self {
        let data = content(LENGTH);
        let wise = verifier(&data);
        for p in 0..wise.layout().pieces() {
            piece(&wise, &data, p);
        }
        Self { data, wise }
    }

    fn block(&self, block: u32) -> VerifiedBlock {
        let bytes = Bytes::copy_from_slice(self.bytes(block));
        self.wise.check_block(block, bytes).unwrap()
    }

    fn bytes(&self, block: u32) -> &[u8] {
        let start = block as usize * BLOCK_SIZE as usize;
        &self.data[start..start + self.wise.block_len(block)]
    }

    /// Runs the script as far as the disk lets it, and tells which blocks were flushed.
    async fn run(&self, disk: &FaultDisk) -> BTreeSet<u32> {
        let verifier = verifier(&self.data);
        let mut flushed = BTreeSet::new();
        let Ok((store, mut events)) = on_disk(disk, &self.data, &verifier) else {
            return flushed;
        };
        for step in SCRIPT {
            for &block in *step {
                let run = BlockRun::new(0, block, 1);
                let proof = self.wise.proof(run).unwrap();
                verifier.insert_proof(run, &proof.leaves, &proof.uncles).unwrap();
                let _ = store.put(self.block(block)).await;
            }
            if store.flush().await.is_ok() {
                flushed.extend(step.iter().copied());
            }
            while let Ok(event) = events.try_recv() {
                if let StoreEvent::Lost(runs) = event {
                    for run in runs {
                        (run.first.0..run.first.0 + run.count).for_each(|b| assert!(!flushed.contains(&b)));
                    }
                }
            }
        }
        events.close();
        store.close().await;
        flushed
    }

    /// Opens what is left, and finishes the download.
    async fn check(&self, disk: &FaultDisk, flushed: &BTreeSet<u32>, what: &str) {
        let verifier = verifier(&self.data);
        let (store, events) = on_disk(disk, &self.data, &verifier).unwrap();
        let content = disk.contents(Path::new(CONTENT)).unwrap();
        let mut held = BTreeSet::new();
        for run in store.held_runs() {
            held.extend(run.first.0..run.first.0 + run.count);
        }
        for &block in &held {
            let start = block as usize * BLOCK_SIZE as usize;
            let there = &content[start..start + self.wise.block_len(block)];
            assert!(
                there == self.bytes(block),
                "{what}: block {block} is claimed, and not there"
            );
            assert!(
                store.ensure_leaves(BlockRun::new(0, block, 1)).await,
                "{what}: block {block} can be served"
            );
        }
        assert!(
            held.is_superset(flushed),
            "{what}: {flushed:?} were flushed, {held:?} are held"
        );
        for block in (0..verifier.numbers()).filter(|&block| verifier.block_len(block) > 0) {
            store.put(self.block(block)).await.unwrap();
        }
        store.flush().await.unwrap();
        drop(events);
        store.close().await;
        let disk = disk.after_power_cut(1);
        assert!(
            disk.contents(Path::new(CONTENT)).unwrap() == self.data,
            "{what}: the right file"
        );
        let (store, _events) = on_disk(&disk, &self.data, &super::tests::verifier(&self.data)).unwrap();
        assert!(store.is_complete(), "{what}");
        store.close().await;
    }

    /// Every end that a process or a machine may come to now.
    async fn check_ends(&self, disk: &FaultDisk, flushed: &BTreeSet<u32>, what: &str) {
        self.check(&disk.after_kill(), flushed, &format!("{what}, killed"))
            .await;
        for seed in 0..CUTS {
            let what = format!("{what}, power cut with seed {seed}");
            self.check(&disk.after_power_cut(seed), flushed, &what).await;
        }
        // The next process claims what it found; then the power goes.
        let next = disk.after_kill();
        if let Ok((store, events)) = on_disk(&next, &self.data, &verifier(&self.data)) {
            let _ = store.flush().await;
            drop(events);
            for seed in 0..CUTS {
                let what = format!("{what}, killed, opened, power cut with seed {seed}");
                self.check(&next.after_power_cut(seed), flushed, &what).await;
            }
            store.close().await;
        }
    }
}

async fn operations(case: &Case) -> usize {
    let disk = FaultDisk::default();
    let flushed = case.run(&disk).await;
    assert_eq!(flushed.len(), SCRIPT.iter().map(|step| step.len()).sum::<usize>());
    disk.operations()
}

#[tokio::test]
async fn killed_at_any_operation_nothing_is_claimed_that_is_not_there() {
    let case = Case::new();
    let all = operations(&case).await;
    println!("{all} operations");
    for killed_at in 0..all {
        let disk = FaultDisk::default();
        disk.plan(Plan {
            killed_at,
            ..Plan::default()
        });
        let flushed = case.run(&disk).await;
        case.check_ends(&disk, &flushed, &format!("killed at operation {killed_at}"))
            .await;
    }
}

#[tokio::test]
async fn whatever_operation_fails_nothing_is_claimed_that_is_not_there() {
    let case = Case::new();
    for fails_at in 0..operations(&case).await {
        let disk = FaultDisk::default();
        disk.plan(Plan {
            fails_at,
            ..Plan::default()
        });
        let flushed = case.run(&disk).await;
        case.check_ends(&disk, &flushed, &format!("operation {fails_at} failed"))
            .await;
    }
}

#[tokio::test]
async fn however_full_the_disk_is_nothing_is_claimed_that_is_not_there() {
    let case = Case::new();
    for space in (0..LENGTH as u64 + 20_000).step_by(9_001) {
        let disk = FaultDisk::default();
        disk.plan(Plan {
            space,
            ..Plan::default()
        });
        let flushed = case.run(&disk).await;
        case.check_ends(&disk, &flushed, &format!("{space} bytes of space"))
            .await;
    }
}

#[tokio::test]
async fn whatever_sync_is_the_first_to_fail_nothing_is_claimed_that_is_not_there() {
    let case = Case::new();
    for (good_syncs, killed_by_sync) in (0..12).flat_map(|n| [(n, false), (n, true)]) {
        let disk = FaultDisk::default();
        disk.plan(Plan {
            good_syncs,
            killed_by_sync,
            ..Plan::default()
        });
        let flushed = case.run(&disk).await;
        let what = format!("{good_syncs} good syncs, killed by the next: {killed_by_sync}");
        case.check_ends(&disk, &flushed, &what).await;
    }
}

#[tokio::test]
async fn what_is_recorded_for_a_block_does_not_grow_with_what_is_held() {
    // Sixteen pieces of 256 blocks, one block of each: the hashes of all of them would be 256 KiB each time.
    let length = 16 * 256 * BLOCK_SIZE as usize;
    let data = content(length);
    let metainfo = crate::metainfo::Builder::new("a.bin")
        .piece_length(256 * u64::from(BLOCK_SIZE))
        .hash(data.as_slice(), data.len() as u64, |_| {})
        .unwrap();
    let wise = Verifier::new(&metainfo).unwrap();
    for (p, part) in data.chunks(256 * BLOCK_SIZE as usize).enumerate() {
        wise.check_stored(p as u32, part);
    }
    let folder = tempfile::tempdir().unwrap();
    let verifier = Arc::new(Verifier::new(&metainfo).unwrap());
    let hash = metainfo.info_hash_v2();
    let (store, _events) = Store::open(
        folder.path(),
        &metainfo,
        verifier.clone(),
        &Location::Store,
        false,
    )
    .unwrap();
    let state = folder.path().join("store").join(hash.to_string()).join("state");
    let mut before = 0;
    for round in 0..8 {
        let block = round * 2 * 256 + 7;
        let run = BlockRun::new(0, block, 1);
        let proof = wise.proof(run).unwrap();
        verifier.insert_proof(run, &proof.leaves, &proof.uncles).unwrap();
        let start = block as usize * BLOCK_SIZE as usize;
        let bytes = Bytes::copy_from_slice(&data[start..start + BLOCK_SIZE as usize]);
        store
            .put(verifier.check_block(block, bytes).unwrap())
            .await
            .unwrap();
        store.flush().await.unwrap();
        let now = std::fs::metadata(&state).unwrap().len();
        assert!(
            round == 0 || (before < now && now - before < 2_000),
            "round {round}: {before}, then {now}"
        );
        before = now;
    }
    store.close().await;
    let (store, _events) = Store::open(
        folder.path(),
        &metainfo,
        Arc::new(Verifier::new(&metainfo).unwrap()),
        &Location::Store,
        false,
    )
    .unwrap();
    assert_eq!(store.held_runs().len(), 8);
    store.close().await;
}
