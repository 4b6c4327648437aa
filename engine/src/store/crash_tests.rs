//! A scripted download that is killed at each operation of its disk in turn, whose power is cut, and whose disk fails:
//! of a file, and of a folder of several.
//!
//! What must hold afterwards: every block that is claimed is there, whatever was flushed is claimed, and the rest of
//! the download gives the right file.

use super::faults::{FaultDisk, Plan};
use super::tests::{PIECE, content, metainfo, on_disk};
use super::*;
use crate::metainfo::{Builder, Listing, Metainfo};
use crate::verify::Verifier;
use std::collections::BTreeSet;
use std::path::Path;
use tokio::sync::mpsc;

/// Pieces of four blocks; the last one has two, and the last block is short.
pub(super) const LENGTH: usize = 5 * PIECE as usize + 20_000;
/// The same numbers of blocks in three files: the first and the second end within a piece, each has a block that is short.
const FILES: &[(&[&str], usize)] = &[
    (&["a.bin"], PIECE as usize + 50_000),
    (&["b", "c.bin"], 2 * PIECE as usize + 65_000),
    (&["b", "d.bin"], 20_000),
];
pub(super) const CONTENT: &str = "/data/store/x/content";
const STATE: &str = "/data/store/x/state";
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

pub(super) struct Case {
    pub(super) metainfo: Metainfo,
    /// Each file with what is in it.
    pub(super) files: Vec<(PathBuf, Vec<u8>)>,
    /// Knows all hashes.
    wise: Arc<Verifier>,
}

impl Case {
    pub(super) fn file() -> Self {
        let data = content(LENGTH);
        Self::new(metainfo(&data), vec![(PathBuf::from(CONTENT), data)])
    }

    pub(super) fn folder() -> Self {
        let place = tempfile::tempdir().unwrap();
        let mut data = content(LENGTH + PIECE as usize);
        let mut files = Vec::new();
        for (path, length) in FILES {
            let path: PathBuf = path.iter().collect();
            let rest = data.split_off(*length);
            let there = place.path().join(&path);
            std::fs::create_dir_all(there.parent().unwrap()).unwrap();
            std::fs::write(there, &data).unwrap();
            files.push((Path::new(CONTENT).join(path), std::mem::replace(&mut data, rest)));
        }
        let listing = Listing::of(place.path()).unwrap();
        let builder = Builder::new("folder").piece_length(PIECE);
        Self::new(
            builder.hash_folder(place.path(), &listing, |_| {}).unwrap(),
            files,
        )
    }

    fn new(metainfo: Metainfo, files: Vec<(PathBuf, Vec<u8>)>) -> Self {
        let wise = Arc::new(Verifier::new(&metainfo).unwrap());
        let pieces = files.iter().flat_map(|(_, data)| data.chunks(PIECE as usize));
        for (p, data) in pieces.enumerate() {
            wise.check_stored(p as u32, data);
        }
        Self {
            metainfo,
            files,
            wise,
        }
    }

    pub(super) fn verifier(&self) -> Arc<Verifier> {
        Arc::new(Verifier::new(&self.metainfo).unwrap())
    }

    pub(super) fn open(
        &self,
        disk: &FaultDisk,
        verifier: &Arc<Verifier>,
    ) -> Result<(Store, mpsc::Receiver<StoreEvent>), StoreError> {
        on_disk(disk, &self.metainfo, verifier, false)
    }

    pub(super) fn block(&self, block: u32) -> VerifiedBlock {
        let bytes = Bytes::copy_from_slice(self.bytes(block));
        self.wise.check_block(block, bytes).unwrap()
    }

    fn run_of(&self, block: u32) -> BlockRun {
        self.wise.layout().run(block..block + 1)
    }

    /// What is to be where a block lies: in which file, and from where on.
    pub(super) fn place(&self, block: u32) -> (usize, usize) {
        let run = self.run_of(block);
        (run.file.0 as usize, run.first.0 as usize * BLOCK_SIZE as usize)
    }

    pub(super) fn bytes(&self, block: u32) -> &[u8] {
        let (file, start) = self.place(block);
        &self.files[file].1[start..start + self.wise.block_len(block)]
    }

    /// Puts a block, as a peer brings it: its hashes first.
    pub(super) async fn put(
        &self,
        store: &Store,
        verifier: &Verifier,
        block: u32,
    ) -> Result<bool, StoreError> {
        let run = self.run_of(block);
        let proof = self.wise.proof(run).unwrap();
        verifier.insert_proof(run, &proof.leaves, &proof.uncles).unwrap();
        store.put(self.block(block)).await
    }

    /// Runs the script as far as the disk lets it, and tells which blocks were flushed.
    pub(super) async fn run(&self, disk: &FaultDisk) -> BTreeSet<u32> {
        let verifier = self.verifier();
        let mut flushed = BTreeSet::new();
        let Ok((store, mut events)) = self.open(disk, &verifier) else {
            return flushed;
        };
        for step in SCRIPT {
            for &block in *step {
                let _ = self.put(&store, &verifier, block).await;
            }
            if store.flush().await.is_ok() {
                flushed.extend(step.iter().copied());
            }
            while let Ok(event) = events.try_recv() {
                if let StoreEvent::Lost(runs) = event {
                    let mut lost = runs.into_iter().flat_map(|run| self.wise.layout().span(run));
                    assert!(!lost.any(|block| flushed.contains(&block)));
                }
            }
        }
        events.close();
        store.close().await;
        flushed
    }

    /// Opens what is left, and finishes the download.
    pub(super) async fn check(&self, disk: &FaultDisk, flushed: &BTreeSet<u32>, what: &str) {
        let verifier = self.verifier();
        let (store, events) = self.open(disk, &verifier).unwrap();
        let mut held = BTreeSet::new();
        for run in store.held_runs() {
            held.extend(self.wise.layout().span(run));
        }
        for &block in &held {
            let (file, start) = self.place(block);
            let content = disk.contents(&self.files[file].0).unwrap();
            let there = &content[start..start + self.wise.block_len(block)];
            assert!(
                there == self.bytes(block),
                "{what}: block {block} is claimed, and not there"
            );
            assert!(
                store.ensure_leaves(self.run_of(block)).await,
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
        for (path, data) in &self.files {
            assert!(
                disk.contents(path).as_ref() == Some(data),
                "{what}: {}",
                path.display()
            );
        }
        let (store, _events) = self.open(&disk, &self.verifier()).unwrap();
        assert!(store.is_complete(), "{what}");
        store.close().await;
    }

    /// Every end that a process or a machine may come to now.
    pub(super) async fn check_ends(&self, disk: &FaultDisk, flushed: &BTreeSet<u32>, what: &str) {
        self.check(&disk.after_kill(), flushed, &format!("{what}, killed"))
            .await;
        for seed in 0..CUTS {
            let what = format!("{what}, power cut with seed {seed}");
            self.check(&disk.after_power_cut(seed), flushed, &what).await;
        }
        // The next process claims what it found; then the power goes.
        let next = disk.after_kill();
        if let Ok((store, events)) = self.open(&next, &self.verifier()) {
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

/// Runs a case for each plan.
async fn check_plans(case: &Case, plans: impl IntoIterator<Item = Plan>) {
    for plan in plans {
        let disk = FaultDisk::default();
        disk.plan(plan);
        let flushed = case.run(&disk).await;
        case.check_ends(&disk, &flushed, &format!("{plan:?}")).await;
    }
}

async fn kill_at_each_operation(case: &Case) {
    let all = operations(case).await;
    println!("{all} operations");
    let killed = |killed_at| Plan {
        killed_at,
        ..Plan::default()
    };
    check_plans(case, (0..all).map(killed)).await;
}

#[tokio::test]
async fn killed_at_any_operation_nothing_is_claimed_that_is_not_there() {
    kill_at_each_operation(&Case::file()).await;
}

#[tokio::test]
async fn killed_at_any_operation_on_a_folder_nothing_is_claimed_that_is_not_there() {
    kill_at_each_operation(&Case::folder()).await;
}

async fn fail_at_each_operation(case: &Case) {
    let fails = |fails_at| Plan {
        fails_at,
        ..Plan::default()
    };
    check_plans(case, (0..operations(case).await).map(fails)).await;
}

#[tokio::test]
async fn whatever_operation_fails_nothing_is_claimed_that_is_not_there() {
    fail_at_each_operation(&Case::file()).await;
}

#[tokio::test]
async fn whatever_operation_on_a_folder_fails_nothing_is_claimed_that_is_not_there() {
    fail_at_each_operation(&Case::folder()).await;
}

#[tokio::test]
async fn however_full_the_disk_is_nothing_is_claimed_that_is_not_there() {
    let full = |space| Plan {
        space,
        ..Plan::default()
    };
    check_plans(
        &Case::file(),
        (0..LENGTH as u64 + 20_000).step_by(9_001).map(full),
    )
    .await;
    check_plans(
        &Case::folder(),
        (0..LENGTH as u64 + 20_000).step_by(30_011).map(full),
    )
    .await;
}

#[tokio::test]
async fn whatever_sync_is_the_first_to_fail_nothing_is_claimed_that_is_not_there() {
    for case in [Case::file(), Case::folder()] {
        let failing = (0..12).flat_map(|n| [(n, false), (n, true)]);
        let plan = |(good_syncs, killed_by_sync)| Plan {
            good_syncs,
            killed_by_sync,
            ..Plan::default()
        };
        check_plans(&case, failing.map(plan)).await;
    }
}

#[tokio::test]
async fn what_was_put_is_safe_soon_though_nobody_flushes() {
    let (case, disk) = (Case::file(), FaultDisk::default());
    let verifier = case.verifier();
    let (store, _events) = case.open(&disk, &verifier).unwrap();
    // Of a piece that is not whole: without the record nobody could tell that it is right.
    let put = BTreeSet::from([8]);
    assert!(case.put(&store, &verifier, 8).await.unwrap());
    let is_recorded = |disk: &FaultDisk| disk.contents(Path::new(STATE)).is_some();
    let safe = async {
        while !(is_recorded(&disk) && (0..CUTS).all(|seed| is_recorded(&disk.after_power_cut(seed)))) {
            tokio::task::yield_now().await;
        }
    };
    let soon = tokio::time::timeout(30 * SYNC_AFTER, safe).await;
    soon.expect("it is recorded");
    case.check_ends(&disk, &put, "not flushed").await;
    store.close().await;
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
