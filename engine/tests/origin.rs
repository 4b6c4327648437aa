//! One node and a web seed, well-behaved and not: the right file, or a clear error; never a wrong file, never a hang.

mod common;

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use common::*;
use engine::metainfo::Builder;
use engine::node::{AddOptions, PieceSource, State};
use engine::origin::{Origin, OriginError, Sink};
use engine::rate::Bucket;
use engine::swarm::{BLOCK_SIZE, Demand};
use gate::{Gate, Policy};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_from_the_web_seed_alone_is_whole_and_costs_one_copy() {
    for (len, why) in [
        (1, "one byte"),
        (16_383, "one byte short of a block"),
        (16_384, "a block"),
        (16_385, "a block and a byte"),
        (65_536, "a piece"),
        (65_537, "a piece and a byte"),
        (3 * 65_536 + 20_000, "an odd number of pieces"),
        (3_000_000, "an episode"),
    ] {
        let mut tasks = JoinSet::new();
        let folder = tempfile::tempdir().unwrap();
        let data = content(len, 1);
        let (origin, url) = origin(&mut tasks, &data, Vice::None).await;
        let node = node(folder.path()).await;
        let torrent = node.add(metainfo(&data, &[url], &[]), alone()).await.unwrap();
        let stats = completed(&torrent).await;
        assert_eq!(stored(&torrent), data, "{why}");
        assert_eq!(
            (stats.from_origin, stats.from_peers, stats.wasted),
            (len as u64, 0, 0),
            "{why}"
        );
        assert_eq!(origin.bytes.load(Ordering::SeqCst), len as u64, "{why}");
        assert!(
            stats.pieces.iter().all(|p| *p == Some(PieceSource::Origin)),
            "{why}"
        );
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_ignores_range_serves_as_well() {
    let mut tasks = JoinSet::new();
    let folder = tempfile::tempdir().unwrap();
    let data = content(2_000_000, 2);
    let (_origin, url) = origin(&mut tasks, &data, Vice::IgnoresRange).await;
    let node = node(folder.path()).await;
    let torrent = node.add(metainfo(&data, &[url], &[]), alone()).await.unwrap();
    let stats = completed(&torrent).await;
    assert_eq!(stored(&torrent), data);
    assert_eq!(stats.from_origin, data.len() as u64);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hopeless_web_seeds_end_with_a_sentence_that_names_them() {
    let data = content(500_000, 3);
    for (vice, says) in [
        (Vice::Status(404), "answered 404"),
        (Vice::Status(410), "answered 410"),
        (Vice::Status(403), "answered 403"),
        (Vice::Status(416), "answered 416"),
        (Vice::Longer(1), "was changed: it has 500001 bytes, not 500000"),
        (
            Vice::Shorter(100_000),
            "was changed: it has 400000 bytes, not 500000",
        ),
        (Vice::Gzip, "sends the file in gzip (Content-Encoding)"),
        (Vice::WrongBytes, "sent wrong data for piece"),
        (Vice::Misplaced, "with Content-Range \"bytes "),
        (Vice::Miscounted, "which contradicts its Content-Range \"bytes "),
    ] {
        let mut tasks = JoinSet::new();
        let folder = tempfile::tempdir().unwrap();
        let (_origin, url) = origin(&mut tasks, &data, vice.clone()).await;
        let node = node(folder.path()).await;
        let torrent = node
            .add(metainfo(&data, std::slice::from_ref(&url), &[]), alone())
            .await
            .unwrap();
        let error = fails(&torrent).await;
        assert!(error.contains(says) && error.contains(&url), "{vice:?}: {error}");
        assert_eq!(torrent.stats().have_bytes, 0, "{vice:?}");
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_that_passes_is_waited_for() {
    let data = content(700_000, 4);
    for vice in [Vice::BusyFor(1, 1), Vice::CutsAfter(300_000)] {
        let mut tasks = JoinSet::new();
        let folder = tempfile::tempdir().unwrap();
        let (_origin, url) = origin(&mut tasks, &data, vice.clone()).await;
        let node = node(folder.path()).await;
        let torrent = node.add(metainfo(&data, &[url], &[]), alone()).await.unwrap();
        completed(&torrent).await;
        assert_eq!(stored(&torrent), data, "{vice:?}");
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_in_place_of_the_file_is_trouble_that_passes_and_is_named() {
    let data = content(700_000, 27);
    for states_length in [true, false] {
        let mut tasks = JoinSet::new();
        let folder = tempfile::tempdir().unwrap();
        let (origin, url) = origin(&mut tasks, &data, Vice::PageFor(1, states_length)).await;
        let node = node(folder.path()).await;
        let metainfo = metainfo(&data, std::slice::from_ref(&url), &[]);
        let torrent = node.add(metainfo.clone(), alone()).await.unwrap();
        let stats = completed(&torrent).await;
        assert_eq!(stored(&torrent), data);
        let named = |text: &str| text.contains(&url) && text.contains("a web page instead of the file");
        assert!(
            stats.problems.iter().any(|problem| named(problem)),
            "{:?}",
            stats.problems
        );
        assert_eq!(stats.wasted, 0, "it is asked for ranges still");
        torrent.stop().await;
        // One that stays is not waited for without end.
        *origin.vice.lock().unwrap() = Vice::PageFor(usize::MAX, states_length);
        let options = AddOptions {
            give_up: Some(Duration::from_secs(1)),
            ..alone()
        };
        let elsewhere = tempfile::tempdir().unwrap();
        let other = common::node(elsewhere.path()).await;
        let error = fails(&other.add(metainfo, options).await.unwrap()).await;
        assert!(named(&error), "{error}");
        other.stop().await;
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_in_circles_are_trouble_that_passes_and_are_named() {
    let data = content(700_000, 28);
    let mut tasks = JoinSet::new();
    let folder = tempfile::tempdir().unwrap();
    // All that the first request is led through.
    let (origin, url) = origin(&mut tasks, &data, Vice::CirclesFor(11)).await;
    let node = node(folder.path()).await;
    let metainfo = metainfo(&data, &[url], &[]);
    let torrent = node.add(metainfo.clone(), alone()).await.unwrap();
    completed(&torrent).await;
    assert_eq!(stored(&torrent), data);
    *origin.vice.lock().unwrap() = Vice::CirclesFor(usize::MAX);
    let options = AddOptions {
        give_up: Some(Duration::from_secs(1)),
        ..alone()
    };
    let elsewhere = tempfile::tempdir().unwrap();
    let other = common::node(elsewhere.path()).await;
    let error = fails(&other.add(metainfo, options).await.unwrap()).await;
    assert!(error.contains("redirects"), "{error}");
    other.stop().await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_stored_any_more_is_not_fetched_again_and_again() {
    let mut tasks = JoinSet::new();
    let folder = tempfile::tempdir().unwrap();
    let data = content(4 << 20, 29);
    let (origin, url) = gated_origin(&mut tasks, &data).await;
    let node = node(folder.path()).await;
    let options = AddOptions {
        give_up: None,
        ..alone()
    };
    let metainfo = metainfo(&data, &[url], &[]);
    let torrent = node.add(metainfo.clone(), options.clone()).await.unwrap();
    let permits = origin.gate.as_ref().unwrap();
    permits.add_permits(16);
    until(&torrent, |stats| stats.have_bytes >= 512 << 10).await;
    // Now all of it is on the disk.
    torrent.stop().await;
    let torrent = node.add(metainfo, options).await.unwrap();
    // Somebody empties the file.
    let file = std::fs::File::options()
        .write(true)
        .open(torrent.content_path())
        .unwrap();
    file.set_len(5).unwrap();
    permits.add_permits(100_000);
    fails(&torrent).await;
    let asked = || origin.requests.load(Ordering::SeqCst);
    let before = asked();
    // Those that were under way may still come.
    let more = until(&torrent, |_| asked() > before + 8);
    assert!(tokio::time::timeout(Duration::from_secs(3), more).await.is_err());
    assert!(matches!(torrent.stats().state, State::Failed(_)));
    node.stop().await;
}

/// Wants all, and keeps nothing.
struct Wanting;

impl Sink for Wanting {
    fn wants(&self, _block: u32) -> bool {
        true
    }

    async fn block(&mut self, _seed: usize, _block: u32, _data: Bytes) -> bool {
        true
    }

    async fn waits(&mut self, _waits: bool) {}

    fn received(&mut self, _bytes: u64) {}

    fn wasted(&mut self, _bytes: u64) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_ranges_that_is_in_trouble_is_not_asked_by_each_fetch() {
    const FETCHES: u32 = 4;
    let length = u64::from(FETCHES) * u64::from(BLOCK_SIZE);
    let (ranges, wholes) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (asked, count) = (Arc::clone(&ranges), Arc::clone(&wholes));
    let answer = move |headers: HeaderMap| {
        let (asked, count) = (Arc::clone(&asked), Arc::clone(&count));
        async move {
            if headers.contains_key(header::RANGE) {
                asked.add_permits(1);
                // Each of them is told that it has no ranges.
                let _all = asked.acquire_many(FETCHES).await;
                return vec![0; length as usize].into_response();
            }
            count.fetch_add(1, Ordering::SeqCst);
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "60")]).into_response()
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let app = axum::Router::new().route("/", axum::routing::get(answer));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
    let origin = Arc::new(Origin::new(
        open_gate(),
        &[url],
        length,
        Arc::new(Bucket::new(None)),
    ));
    let mut fetches = JoinSet::new();
    for block in 0..FETCHES {
        let origin = Arc::clone(&origin);
        fetches.spawn(async move { origin.fetch(0, block..block + 1, &mut Wanting).await });
    }
    while let Some(ended) = fetches.join_next().await {
        assert!(matches!(ended.unwrap(), Err(OriginError::Temporary { .. })));
    }
    assert_eq!(wholes.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_falls_silent_goes_on_where_it_was() {
    let mut tasks = JoinSet::new();
    let folder = tempfile::tempdir().unwrap();
    let data = content(16 << 20, 10);
    let (origin, url) = gated_origin(&mut tasks, &data).await;
    *origin.vice.lock().unwrap() = Vice::IgnoresRange;
    let permits = origin.gate.as_ref().unwrap();
    let node = node(folder.path()).await;
    let metainfo = Builder::new("episode.bin").piece_length(256 << 10).web_seed(url);
    let metainfo = metainfo.hash(&data[..], data.len() as u64, |_| {}).unwrap();
    let torrent = node.add(Arc::new(metainfo), alone()).await.unwrap();
    // A piece and a half; what was sent to who asked for parts is lost.
    let reader = torrent.reader(Demand::Whenever);
    permits.add_permits(1);
    while reader.read_at(0, 1, Duration::from_millis(50)).await.is_err() {
        permits.add_permits(1);
    }
    permits.add_permits(2);
    // For longer than a request is waited for that brings nothing.
    let silent = reader.read_at(15 << 20, 1, Duration::from_secs(13)).await;
    assert!(silent.is_err(), "it sends nothing");
    let asked = origin.requests.load(Ordering::SeqCst);
    permits.add_permits(10_000);
    completed(&torrent).await;
    assert_eq!(stored(&torrent), data);
    assert_eq!(
        origin.requests.load(Ordering::SeqCst),
        asked,
        "it was not asked again"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_that_does_not_pass_ends_after_the_time_given() {
    let data = content(100_000, 5);
    let mut tasks = JoinSet::new();
    let folder = tempfile::tempdir().unwrap();
    let (_origin, url) = origin(&mut tasks, &data, Vice::Status(500)).await;
    let node = node(folder.path()).await;
    let options = AddOptions {
        give_up: Some(Duration::from_secs(1)),
        ..alone()
    };
    let torrent = node.add(metainfo(&data, &[url], &[]), options).await.unwrap();
    let error = fails(&torrent).await;
    assert!(error.contains("answered 500"), "{error}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_begun_outlasts_trouble_that_passes() {
    let data = content(900_000, 21);
    let mut tasks = JoinSet::new();
    let folder = tempfile::tempdir().unwrap();
    let (origin, url) = gated_origin(&mut tasks, &data).await;
    let node = node(folder.path()).await;
    let metainfo = metainfo(&data, &[url], &[]);
    let torrent = node.add(metainfo.clone(), alone()).await.unwrap();
    let permits = origin.gate.as_ref().unwrap();
    permits.add_permits(5);
    until(&torrent, |stats| stats.have_bytes > 0).await;
    *origin.vice.lock().unwrap() = Vice::Status(500);
    torrent.stop().await;
    let before = origin.requests.load(Ordering::SeqCst);
    let options = |hold_on| AddOptions {
        give_up: Some(Duration::ZERO),
        hold_on,
        ..alone()
    };
    let torrent = node.add(metainfo.clone(), options(Duration::ZERO)).await.unwrap();
    fails(&torrent).await;
    torrent.stop().await;
    let torrent = node.add(metainfo, options(PATIENCE * 10)).await.unwrap();
    until(&torrent, |_| origin.requests.load(Ordering::SeqCst) > before + 2).await;
    *origin.vice.lock().unwrap() = Vice::None;
    permits.add_permits(10_000);
    completed(&torrent).await;
    assert_eq!(stored(&torrent), data);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_web_seed_makes_up_for_a_bad_one() {
    let data = content(900_000, 6);
    for vice in [
        Vice::WrongBytes,
        Vice::Status(404),
        Vice::Longer(5),
        Vice::IgnoresRange,
    ] {
        let mut tasks = JoinSet::new();
        let folder = tempfile::tempdir().unwrap();
        let (_bad, bad) = origin(&mut tasks, &data, vice.clone()).await;
        let (_good, good) = origin(&mut tasks, &data, Vice::None).await;
        let node = node(folder.path()).await;
        let torrent = node
            .add(metainfo(&data, &[bad, good], &[]), alone())
            .await
            .unwrap();
        completed(&torrent).await;
        assert_eq!(stored(&torrent), data, "{vice:?}");
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_seed_that_falls_silent_does_not_keep_the_next_from_being_asked() {
    let mut tasks = JoinSet::new();
    let data = content(3_000_000, 11);
    // None that answers, and what is no whole block or some of them.
    for parts in [0, 1] {
        let folder = tempfile::tempdir().unwrap();
        let (silent, first) = gated_origin(&mut tasks, &data).await;
        silent.gate.as_ref().unwrap().add_permits(parts);
        let (_good, second) = origin(&mut tasks, &data, Vice::None).await;
        let node = node(folder.path()).await;
        let metainfo = metainfo(&data, &[first, second], &[]);
        let torrent = node.add(metainfo, alone()).await.unwrap();
        completed(&torrent).await;
        assert_eq!(stored(&torrent), data);
        node.stop().await;
    }
}

/// A first web seed brings a quarter of what one request asks for, and then `goes_on`; a second one is well. Gives what both
/// were asked and sent.
async fn given_up_in_the_middle(goes_on: impl AsyncFnOnce(&Semaphore) + Send + 'static) -> [(usize, u64); 2] {
    const BLOCKS: u32 = 1_024;
    let mut tasks = JoinSet::new();
    let data = content(BLOCKS as usize * BLOCK_SIZE as usize, 13);
    let (first, one) = gated_origin(&mut tasks, &data).await;
    let (second, other) = origin(&mut tasks, &data, Vice::None).await;
    let permits = first.gate.as_ref().unwrap();
    permits.add_permits(BLOCKS as usize / 16);
    // That the gate loses patience is no way out.
    let gate = Gate::new(Policy {
        read_timeout: 60 * PATIENCE,
        ..open_gate().policy().clone()
    });
    let origin = Origin::new(
        gate,
        &[one, other],
        data.len() as u64,
        Arc::new(Bucket::new(None)),
    );
    let mut wanting = Wanting;
    let fetching = tokio::time::timeout(PATIENCE, origin.fetch(0, 0..BLOCKS, &mut wanting));
    tokio::select! {
        fetched = fetching => fetched.expect("the second one is asked").unwrap(),
        () = goes_on(permits) => unreachable!("it never ends"),
    }
    [first, second].map(|seed| {
        let (asked, sent) = (&seed.requests, &seed.bytes);
        (asked.load(Ordering::SeqCst), sent.load(Ordering::SeqCst))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_seed_that_falls_silent_in_the_middle_of_an_answer_gives_way() {
    let [first, second] = given_up_in_the_middle(async |_| std::future::pending().await).await;
    assert_eq!(first, (1, 4 << 20));
    assert_eq!(second, (1, 12 << 20), "the rest and no more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_seed_that_becomes_slow_in_the_middle_of_an_answer_gives_way() {
    // It would take three minutes.
    let trickle = async |permits: &Semaphore| {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tick.tick().await;
            permits.add_permits(1);
        }
    };
    let [first, second] = given_up_in_the_middle(trickle).await;
    assert_eq!(first.0, 1);
    assert!(second.1 > 8 << 20, "{second:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_end_early_are_asked_for_the_rest_at_once() {
    const BLOCKS: u32 = 40;
    let mut tasks = JoinSet::new();
    let data = content(BLOCKS as usize * BLOCK_SIZE as usize, 12);
    let (server, url) = origin(&mut tasks, &data, Vice::CutsAfter(2 * BLOCK_SIZE as usize + 5)).await;
    let down = Arc::new(Bucket::new(None));
    let origin = Origin::new(open_gate(), &[url], data.len() as u64, down);
    // A pause would end it: it waits for none.
    origin.fetch(0, 0..BLOCKS, &mut Wanting).await.unwrap();
    assert!(server.requests.load(Ordering::SeqCst) <= BLOCKS as usize);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_end_within_each_block_are_gone_on_with_from_where_they_end() {
    let mut tasks = JoinSet::new();
    let data = content(700_000, 27);
    for vice in [Vice::CutsAfter(10_000), Vice::AtMost(10_000)] {
        let folder = tempfile::tempdir().unwrap();
        let (server, url) = origin(&mut tasks, &data, vice.clone()).await;
        let node = node(folder.path()).await;
        let torrent = node.add(metainfo(&data, &[url], &[]), alone()).await.unwrap();
        let stats = completed(&torrent).await;
        assert_eq!(stored(&torrent), data, "{vice:?}");
        assert_eq!(stats.wasted, 0, "{vice:?}");
        assert_eq!(
            server.bytes.load(Ordering::SeqCst),
            data.len() as u64,
            "{vice:?}: what came is not asked for again"
        );
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_web_seed_began_is_not_taken_for_the_beginning_of_anothers() {
    const BLOCKS: u32 = 8;
    /// Takes the blocks.
    struct Taking(Vec<u8>, u64);
    impl Sink for Taking {
        fn wants(&self, _: u32) -> bool {
            true
        }
        async fn block(&mut self, _: usize, block: u32, data: Bytes) -> bool {
            assert_eq!(self.0.len(), (block * BLOCK_SIZE) as usize);
            self.0.extend(data);
            true
        }
        async fn waits(&mut self, _: bool) {}
        fn received(&mut self, _: u64) {}
        fn wasted(&mut self, bytes: u64) {
            self.1 += bytes;
        }
    }
    let mut tasks = JoinSet::new();
    let data = content(BLOCKS as usize * BLOCK_SIZE as usize, 28);
    // Too little for the first to be asked on.
    let (_first, first) = origin(&mut tasks, &data, Vice::CutsAfter(1_000)).await;
    let (second, rest) = origin(&mut tasks, &data, Vice::None).await;
    let down = Arc::new(Bucket::new(None));
    let origin = Origin::new(open_gate(), &[first, rest], data.len() as u64, down);
    let mut taken = Taking(Vec::new(), 0);
    origin.fetch(0, 0..BLOCKS, &mut taken).await.unwrap();
    assert_eq!((taken.0 == data, taken.1), (true, 1_000));
    assert_eq!(second.bytes.load(Ordering::SeqCst), data.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_shorter_than_was_asked_for_is_asked_on_and_costs_nothing() {
    let mut tasks = JoinSet::new();
    let data = content(3_000_000, 22);
    let folder = tempfile::tempdir().unwrap();
    let (_origin, url) = origin(&mut tasks, &data, Vice::AtMost(3 * BLOCK_SIZE as usize)).await;
    let node = node(folder.path()).await;
    let torrent = node.add(metainfo(&data, &[url], &[]), alone()).await.unwrap();
    let stats = completed(&torrent).await;
    assert_eq!(stored(&torrent), data);
    assert_eq!((stats.wasted, stats.problems), (0, Vec::new()));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_seed_that_lacks_its_file_now_and_then_is_asked_on_and_named() {
    let mut tasks = JoinSet::new();
    let data = content(3_100_000, 23);
    let folder = tempfile::tempdir().unwrap();
    let (_origin, url) = origin(&mut tasks, &data, Vice::LacksEvery(3)).await;
    let node = node(folder.path()).await;
    let metainfo = metainfo(&data, std::slice::from_ref(&url), &[]);
    let torrent = node.add(metainfo, alone()).await.unwrap();
    let problems = completed(&torrent).await.problems;
    assert_eq!(stored(&torrent), data);
    let told = format!("the web seed {url} answered 404 Not Found");
    assert!(problems.contains(&told), "{problems:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_seed_that_brings_nothing_whole_is_asked_later_each_time_and_named() {
    const BLOCKS: u32 = 16;
    let mut tasks = JoinSet::new();
    let data = content(BLOCKS as usize * BLOCK_SIZE as usize, 24);
    // Who brings some of it before it fails is asked later from the first time on.
    for (vice, first) in [(Vice::CutsAThird, 2), (Vice::AtMost(1_000), 1)] {
        let (_server, url) = origin(&mut tasks, &data, vice.clone()).await;
        let down = Arc::new(Bucket::new(None));
        let origin = Origin::new(open_gate(), std::slice::from_ref(&url), data.len() as u64, down);
        for pause in [first, 2 * first, 4 * first, 8 * first] {
            // Each time as far as it comes; nothing is kept.
            let Err(OriginError::Temporary { after, asked, .. }) =
                origin.fetch(0, 0..BLOCKS, &mut Wanting).await
            else {
                panic!("{vice:?}: it brings all");
            };
            let (after, pause) = (after.as_secs_f64(), f64::from(pause));
            // Short ones may be all but over on a busy machine.
            let is_long_enough = pause < 4.0 || after > pause / 2.0;
            assert!(
                after <= pause && is_long_enough && !asked,
                "{vice:?}: {after} of {pause}"
            );
            let problems = origin.take_problems();
            assert!(
                problems.iter().all(|why| why.contains(&url)) && !problems.is_empty(),
                "{problems:?}"
            );
            origin.end_pauses();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_a_server_names_is_waited_for_and_one_beyond_the_limit_is_not() {
    let mut tasks = JoinSet::new();
    let data = content(700_000, 25);
    let options = |seconds| AddOptions {
        give_up: Some(Duration::from_secs(seconds)),
        hold_on: Duration::ZERO,
        ..alone()
    };
    let folder = tempfile::tempdir().unwrap();
    let (_origin, url) = origin(&mut tasks, &data, Vice::BusyFor(1, 8)).await;
    let node = node(folder.path()).await;
    let torrent = node.add(metainfo(&data, &[url], &[]), options(6)).await.unwrap();
    let stats = until(&torrent, |stats| stats.gives_up.is_some()).await;
    assert!(
        stats.gives_up.unwrap() > Duration::from_secs(6),
        "{:?}",
        stats.gives_up
    );
    let problems = completed(&torrent).await.problems;
    assert!(
        problems[0].ends_with(", and asks to come again in 8 s"),
        "{problems:?}"
    );
    assert_eq!(stored(&torrent), data);

    let (_origin, url) = origin(&mut tasks, &content(9_000, 26), Vice::BusyFor(9, 3_600)).await;
    let metainfo = metainfo(&content(9_000, 26), &[url], &[]);
    // Long enough for the server to have answered.
    let torrent = node.add(metainfo, options(6)).await.unwrap();
    let error = fails(&torrent).await;
    let says =
        "asks to come again in 3600 s; a web seed that asks to come again later is waited for 600 s at most";
    assert!(error.contains(says), "{error}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ails_a_web_seed_is_told_whatever_a_tracker_says_after_it() {
    let (mut tasks, folder) = (JoinSet::new(), tempfile::tempdir().unwrap());
    let node = node(folder.path()).await;
    let (_origin, url) = origin(&mut tasks, &content(9_000, 26), Vice::BusyFor(9, 3_600)).await;
    let tracker = format!("http://{}/announce", closed_port());
    let metainfo = metainfo(&content(9_000, 26), &[url], &[tracker]);
    let torrent = node.add(metainfo, AddOptions::default()).await.unwrap();
    let (seed, tracker) = ("asks to come again in 3600 s", "announcing to a tracker");
    until(&torrent, |stats| {
        let has = |what: &str| stats.problems.iter().any(|problem| problem.contains(what));
        has(seed) && has(tracker)
    })
    .await;
    let trouble = torrent.stats().trouble().unwrap();
    assert!(trouble.contains(seed), "{trouble}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_seed_of_which_every_second_answer_stops_is_asked_on_and_named() {
    let mut tasks = JoinSet::new();
    let data = content(3_100_000, 16);
    let folder = tempfile::tempdir().unwrap();
    let (origin, url) = origin(&mut tasks, &data, Vice::StopsEverySecond(20_000)).await;
    let node = node(folder.path()).await;
    let torrent = node
        .add(metainfo(&data, std::slice::from_ref(&url), &[]), alone())
        .await
        .unwrap();
    completed(&torrent).await;
    assert_eq!(stored(&torrent), data);
    let asked = origin.requests.load(Ordering::SeqCst);
    assert!(asked < 30, "{asked} requests");
    let problems = torrent.stats().problems;
    let told = format!("the web seed {url} stopped in the middle of an answer");
    assert!(problems.contains(&told), "{problems:?}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stored_when_a_process_dies_is_not_fetched_again() {
    let mut tasks = JoinSet::new();
    let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = content(12 << 20, 7);
    let (origin, url) = gated_origin(&mut tasks, &data).await;
    let metainfo = metainfo(&data, &[url], &[]);
    let first = node(before.path()).await;
    let torrent = first.add(metainfo.clone(), alone()).await.unwrap();
    origin.gate.as_ref().unwrap().add_permits(160);
    until(&torrent, |s| s.have_bytes >= 9 << 20).await;
    // What a killed process leaves is what its files hold at that instant.
    let (from, to) = (
        torrent.content_path().parent().unwrap(),
        after.path().join("store"),
    );
    let to = to.join(from.file_name().unwrap());
    std::fs::create_dir_all(&to).unwrap();
    for name in ["state", "content"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
    drop(first);
    origin.gate.as_ref().unwrap().add_permits(10_000);

    let second = node(after.path()).await;
    let torrent = second.add(metainfo, alone()).await.unwrap();
    let held = torrent.stats().have_bytes;
    assert!(held >= 1 << 20, "only {held} bytes were kept of 9 MiB");
    let stats = completed(&torrent).await;
    assert_eq!(stored(&torrent), data);
    assert_eq!(
        stats.from_origin,
        data.len() as u64 - held,
        "nothing that was here was fetched"
    );
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_gets_bytes_before_the_rest_is_here() {
    let mut tasks = JoinSet::new();
    let folder = tempfile::tempdir().unwrap();
    let data = content(4 << 20, 8);
    let (origin, url) = origin(&mut tasks, &data, Vice::None).await;
    let node = node(folder.path()).await;
    let options = AddOptions {
        whole_file: false,
        ..alone()
    };
    let torrent = node.add(metainfo(&data, &[url], &[]), options).await.unwrap();
    let listening = Demand::Stream {
        bitrate: 16_000,
        playing: true,
    };
    let reader = torrent.reader(listening);
    for offset in [0, 3_000_000, 1_234_567, data.len() as u64 - 10] {
        let bytes = reader.read_at(offset, 20_000, PATIENCE).await.unwrap();
        let end = data.len().min(offset as usize + 20_000);
        assert_eq!(bytes, data[offset as usize..end], "at {offset}");
    }
    assert!(
        reader
            .read_at(data.len() as u64, 10, PATIENCE)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        origin.bytes.load(Ordering::SeqCst) < data.len() as u64,
        "not the whole file for a listener"
    );
    let runtime = tokio::runtime::Handle::current();
    let blocking = torrent.reader(listening).blocking(runtime);
    let read = tokio::task::spawn_blocking(move || {
        let mut buffer = [0; 100];
        blocking
            .read_at(5, &mut buffer, PATIENCE)
            .map(|n| buffer[..n].to_vec())
    });
    assert_eq!(read.await.unwrap().unwrap(), data[5..105]);
    torrent.stop().await;
    assert_eq!(torrent.stats().state, State::Stopped);
    // What nobody came near in a minute of content.
    assert!(
        reader.read_at(2_600_000, 10, PATIENCE).await.is_err(),
        "not after the end"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_one_place_is_asked_for_one_thing_at_a_time() {
    let mut tasks = JoinSet::new();
    let data = content(8 << 20, 14);
    let (origin, url) = vicious_gated_origin(&mut tasks, &data, Vice::OneAtATime).await;
    let folder = tempfile::tempdir().unwrap();
    let viewer = node(folder.path()).await;
    let torrent = viewer.add(metainfo(&data, &[url], &[]), alone()).await.unwrap();
    // The first answer goes on only when another was refused beside it.
    let refused = async {
        while origin.refused.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, refused)
        .await
        .expect("several are asked for at first");
    origin.gate.as_ref().unwrap().add_permits(10_000);
    let stats = completed(&torrent).await;
    assert_eq!(stored(&torrent), data);
    assert_eq!((stats.from_origin, stats.wasted), (data.len() as u64, 0));
    assert!(stats.problems.is_empty(), "{:?}", stats.problems);
    let counts = [&origin.refused, &origin.requests].map(|count| count.load(Ordering::SeqCst));
    assert!(counts[0] * 3 < counts[1], "{counts:?} were refused, and asked");
    viewer.stop().await;
}

/// Wants all, and tells when it waits for a place.
struct Noting(mpsc::UnboundedSender<bool>);

impl Sink for Noting {
    fn wants(&self, _block: u32) -> bool {
        true
    }

    async fn block(&mut self, _seed: usize, _block: u32, _data: Bytes) -> bool {
        true
    }

    async fn waits(&mut self, waits: bool) {
        self.0.send(waits).unwrap();
    }

    fn received(&mut self, _bytes: u64) {}

    fn wasted(&mut self, _bytes: u64) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_place_says_so_and_a_mirror_that_is_away_hides_no_place() {
    let mut tasks = JoinSet::new();
    let data = content(4 * BLOCK_SIZE as usize, 15);
    let (server, good) = vicious_gated_origin(&mut tasks, &data, Vice::OneAtATime).await;
    let away = format!("http://{}/episode.bin", closed_port());
    let down = Arc::new(Bucket::new(None));
    let origin = Arc::new(Origin::new(open_gate(), &[good, away], data.len() as u64, down));
    let (noting, mut noted) = mpsc::unbounded_channel();
    let mut fetches = JoinSet::new();
    for block in [0, 2] {
        let (origin, mut sink) = (Arc::clone(&origin), Noting(noting.clone()));
        fetches.spawn(async move { origin.fetch(0, block..block + 2, &mut sink).await });
    }
    let waits = tokio::time::timeout(PATIENCE, noted.recv());
    assert_eq!(waits.await.expect("one of them is refused"), Some(true));
    assert_eq!(origin.most_requests(), Some(1));
    server.gate.as_ref().unwrap().add_permits(100);
    while let Some(fetched) = fetches.join_next().await {
        fetched.unwrap().unwrap();
    }
    assert_eq!(noted.recv().await, Some(false));
}
