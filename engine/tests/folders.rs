//! Torrents of several files, with real nodes over loopback: peers, web seeds, selection, restarts, readers.

mod common;

use axum::Router;
use common::*;
use engine::metainfo::{Builder, Listing, Metainfo};
use engine::node::{AddOptions, Location, NodeConfig};
use engine::swarm::Demand;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use tokio::task::JoinSet;

const FILES: &[(&str, usize)] = &[
    ("a first.bin", 100_000),
    ("empty", 0),
    ("inner/deep/second", 900_001),
    ("inner/third", 16_384),
    ("z", 3),
];

/// A folder of files, and its torrent.
fn folder(at: &Path, web_seeds: &[String]) -> (PathBuf, Arc<Metainfo>) {
    let root = at.join("show ü");
    for (index, &(name, length)) in FILES.iter().enumerate() {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content(length, 100 + index as u64)).unwrap();
    }
    let mut builder = Builder::new("show ü").piece_length(65_536);
    for seed in web_seeds {
        builder = builder.web_seed(seed.clone());
    }
    let listing = Listing::of(&root).unwrap();
    let metainfo = builder.hash_folder(&root, &listing, |_| {}).unwrap();
    (root, Arc::new(metainfo))
}

/// What of the files is below this folder, and right.
fn right(root: &Path) -> Vec<&'static str> {
    FILES
        .iter()
        .enumerate()
        .filter(|(index, (name, length))| {
            std::fs::read(root.join(name)).is_ok_and(|data| data == content(*length, 100 + *index as u64))
        })
        .map(|(_, (name, _))| *name)
        .collect()
}

fn seeding(root: &Path) -> AddOptions {
    AddOptions {
        location: Location::Existing(root.to_owned()),
        ..only_peers(&[])
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_goes_from_peer_to_peer_and_is_here_after_a_restart() {
    let place = tempfile::tempdir().unwrap();
    let (root, metainfo) = folder(place.path(), &[]);
    let seed = node(&place.path().join("seed")).await;
    completed(&seed.add(metainfo.clone(), seeding(&root)).await.unwrap()).await;
    let data = place.path().join("viewer");
    let viewer = node(&data).await;
    let torrent = viewer
        .add(metainfo.clone(), only_peers(&[address(&seed)]))
        .await
        .unwrap();
    let stats = completed(&torrent).await;
    assert_eq!((stats.from_peers, stats.total_bytes), (1_016_388, 1_016_388));
    let held = torrent.content_path().to_owned();
    assert_eq!(
        right(&held),
        ["a first.bin", "inner/deep/second", "inner/third", "z"]
    );
    // A reader of one file sees that file.
    let reader = torrent.reader_of(2, Demand::Whenever);
    assert_eq!(reader.len(), 900_001);
    let tail = reader.read_at(900_000, 10, PATIENCE).await.unwrap();
    assert_eq!(tail, content(900_001, 102)[900_000..]);
    let middle = reader.read_at(65_500, 100, PATIENCE).await.unwrap();
    assert_eq!(middle, content(900_001, 102)[65_500..65_600]);
    drop(reader);
    viewer.stop().await;
    seed.stop().await;

    let again = node(&data).await;
    let torrent = again.add(metainfo.clone(), only_peers(&[])).await.unwrap();
    let stats = completed(&torrent).await;
    assert_eq!((stats.from_peers, stats.have_bytes), (0, 1_016_388));
    torrent.stop().await;
    // A file that somebody changed is hashed again, and only what is wrong in it is missing.
    let second = held.join("inner/deep/second");
    let mut bytes = std::fs::read(&second).unwrap();
    bytes[70_000] ^= 1;
    std::fs::write(&second, bytes).unwrap();
    let torrent = again.add(metainfo, only_peers(&[])).await.unwrap();
    let stats = torrent.stats();
    assert!(!stats.is_complete());
    assert!(stats.have_bytes >= 1_016_388 - 65_536, "{stats:?}");
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_is_not_selected_nothing_is_fetched_and_it_can_be_had_later() {
    let place = tempfile::tempdir().unwrap();
    let (root, metainfo) = folder(place.path(), &[]);
    let seed = node(&place.path().join("seed")).await;
    completed(&seed.add(metainfo.clone(), seeding(&root)).await.unwrap()).await;
    let viewer = node(&place.path().join("viewer")).await;
    let some = AddOptions {
        files: Some(vec![0, 4]),
        ..only_peers(&[address(&seed)])
    };
    let torrent = viewer.add(metainfo.clone(), some).await.unwrap();
    let stats = completed(&torrent).await;
    assert_eq!((stats.from_peers, stats.wasted), (100_003, 0));
    assert_eq!((stats.have_bytes, stats.total_bytes), (100_003, 100_003));
    let held = torrent.content_path().to_owned();
    assert_eq!(right(&held), ["a first.bin", "z"]);
    assert!(
        !held.join("inner").exists(),
        "a file that is not wanted was begun"
    );
    torrent.stop().await;
    let torrent = viewer.add(metainfo, only_peers(&[address(&seed)])).await.unwrap();
    let stats = completed(&torrent).await;
    assert_eq!(stats.from_peers, 1_016_388 - 100_003);
    viewer.stop().await;
    seed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_lacks_a_file_or_holds_another_is_not_served() {
    let place = tempfile::tempdir().unwrap();
    let (root, metainfo) = folder(place.path(), &[]);
    let node = node(&place.path().join("seed")).await;
    std::fs::write(root.join("inner/third"), content(16_384, 5)).unwrap();
    let error = node.add(metainfo.clone(), seeding(&root)).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("inner/third is not this content: piece"),
        "{error}"
    );
    std::fs::remove_file(root.join("inner/third")).unwrap();
    let error = node.add(metainfo, seeding(&root)).await.unwrap_err();
    assert!(error.to_string().contains("inner/third"), "{error}");
    node.stop().await;
}

/// A web server of a folder; gives its URL, and counts what was asked for.
async fn web(tasks: &mut JoinSet<()>, root: &Path) -> (String, Arc<Mutex<Vec<String>>>, Arc<AtomicU64>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let count = Arc::new(AtomicU64::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/files", listener.local_addr().unwrap());
    let root = root.to_owned();
    let (log, requests) = (asked.clone(), count.clone());
    let serve = move |request: axum::extract::Request| {
        let (root, log, requests) = (root.clone(), log.clone(), requests.clone());
        async move {
            let path = request.uri().path().to_owned();
            log.lock().unwrap().push(path.clone());
            requests.fetch_add(1, Ordering::SeqCst);
            let name = percent_encoding::percent_decode_str(&path)
                .decode_utf8()
                .unwrap()
                .into_owned();
            let name = name.strip_prefix("/files/").unwrap_or_default();
            let Ok(data) = std::fs::read(root.join(name)) else {
                return axum::http::Response::builder()
                    .status(404)
                    .body(axum::body::Body::empty())
                    .unwrap();
            };
            let range = request.headers()[axum::http::header::RANGE]
                .to_str()
                .unwrap()
                .to_owned();
            let (first, last) = range
                .strip_prefix("bytes=")
                .and_then(|r| r.split_once('-'))
                .unwrap();
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            axum::http::Response::builder()
                .status(206)
                .header("content-range", format!("bytes {first}-{last}/{}", data.len()))
                .body(axum::body::Body::from(data[first..=last].to_vec()))
                .unwrap()
        }
    };
    tasks.spawn(async move {
        axum::serve(listener, Router::new().fallback(serve))
            .await
            .unwrap();
    });
    (url, asked, count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_seed_serves_a_folder_by_bep_19() {
    let place = tempfile::tempdir().unwrap();
    let mut tasks = JoinSet::new();
    let (url, asked, _) = web(&mut tasks, place.path()).await;
    // The name of the folder follows the seed's URL, with or without a slash at its end.
    let (_, metainfo) = folder(place.path(), &[url]);
    let viewer = node(&place.path().join("viewer")).await;
    let torrent = viewer.add(metainfo, alone()).await.unwrap();
    let stats = completed(&torrent).await;
    assert_eq!((stats.from_origin, stats.wasted), (1_016_388, 0));
    assert_eq!(
        right(torrent.content_path()),
        ["a first.bin", "inner/deep/second", "inner/third", "z"]
    );
    let asked = asked.lock().unwrap().clone();
    assert!(
        asked
            .iter()
            .any(|path| path == "/files/show%20%C3%BC/inner/deep/second"),
        "{asked:?}"
    );
    assert!(!asked.iter().any(|path| path.ends_with("/empty")), "{asked:?}");
    viewer.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_seed_that_lacks_a_file_still_gives_the_others() {
    let place = tempfile::tempdir().unwrap();
    let mut tasks = JoinSet::new();
    let (url, _, count) = web(&mut tasks, place.path()).await;
    let (root, metainfo) = folder(place.path(), &[url]);
    std::fs::remove_file(root.join("a first.bin")).unwrap();
    let config = NodeConfig {
        ..config(&place.path().join("viewer"))
    };
    let viewer = engine::node::Node::start(config).await.unwrap();
    let options = AddOptions {
        give_up: Some(std::time::Duration::from_secs(2)),
        ..alone()
    };
    let torrent = viewer.add(metainfo, options).await.unwrap();
    let why = fails(&torrent).await;
    assert!(why.contains("first.bin") && why.contains("404"), "{why}");
    assert_eq!(
        right(torrent.content_path()),
        ["inner/deep/second", "inner/third", "z"]
    );
    let requests = count.load(Ordering::SeqCst);
    assert!(
        requests < 30,
        "{requests} requests: a file that is not there was asked for again and again"
    );
    viewer.stop().await;
}
