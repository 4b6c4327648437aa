//! Real nodes over a line that loses packets. How fast is judged in virtual time (`net/ledbat_tests.rs`).

mod common;

use common::line::{Vices, line};
use common::*;
use engine::node::{AddOptions, Location};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_comes_over_a_line_that_loses_one_packet_of_fifty() {
    let mut tasks = JoinSet::new();
    let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = content(1_000_000, 11);
    let metainfo = metainfo(&data, &[], &[]);
    let path = mine.path().join("here.bin");
    std::fs::write(&path, &data).unwrap();
    let seed = node(mine.path()).await;
    let location = Location::Existing(path);
    let options = AddOptions {
        location,
        ..only_peers(&[])
    };
    let seeding = seed.add(metainfo.clone(), options).await.unwrap();
    completed(&seeding).await;

    let vices = Vices {
        one_of: 50,
        delay: Duration::from_millis(3),
        // Packets as on most lines, so that there are many.
        mtu: 1_472,
        seed: 1,
    };
    eprintln!("{vices:?}");
    let (near, passed) = line(&mut tasks, seed.local_addrs()[0], vices).await;
    let viewer = node(theirs.path()).await;
    let peers = only_peers(&[near.to_string()]);
    let torrent = viewer.add(metainfo, peers).await.unwrap();
    let stats = completed(&torrent).await;
    assert_eq!(stored(&torrent), data);
    assert_eq!((stats.from_peers, stats.wasted), (data.len() as u64, 0));
    let count = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    let (carried, lost) = (count(&passed.carried), count(&passed.lost));
    assert!(
        carried >= (data.len() / vices.mtu) as u64 && lost >= 5,
        "{carried} came through, {lost} were lost"
    );
    viewer.stop().await;
    seed.stop().await;
}
