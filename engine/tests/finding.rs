//! How real nodes find each other without being told: UDP trackers in tiers, the DHT; and what trackers are told.

mod common;

use axum::http::StatusCode;
use common::*;
use engine::cue_sheet::{Budget, CueSheet, SecretKey, SignedCueSheet};
use engine::metainfo::{Builder, InfoHash, Metainfo};
use engine::node::{AddOptions, Location, Node, NodeConfig, State, Torrent, Wanted};
use engine::personal::Secret;
use engine::tracker::Event;
use engine::tracker::client::{AnnounceRequest, announce};
use engine::tracker::server::{Config, Tracker, serve};
use engine::tracker::udp_server;
use futures_util::StreamExt;
use mainline::Testnet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A node that holds the content, and its torrent.
async fn seed(node: &Node, at: &Path, data: &[u8], metainfo: &Arc<Metainfo>, more: AddOptions) -> Torrent {
    let path = at.join("here.bin");
    std::fs::write(&path, data).unwrap();
    let options = AddOptions {
        location: Location::Existing(path),
        ..more
    };
    let torrent = node.add(metainfo.clone(), options).await.unwrap();
    completed(&torrent).await;
    torrent
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_udp_tracker_brings_peers_together_when_the_tiers_before_it_are_dead() {
    let mut tasks = JoinSet::new();
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let alive = format!("udp://{}/announce", socket.local_addr().unwrap());
    let tracker = Tracker::new(Config::default());
    tasks.spawn({
        let tracker = tracker.clone();
        async move {
            udp_server::serve(socket, tracker, std::future::pending())
                .await
                .unwrap();
        }
    });
    // One refuses connections; one takes datagrams and never says a word.
    let refusing = format!("http://{}/announce", closed_port());
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mute = format!("udp://{}/announce", silent.local_addr().unwrap());
    let data = content(1_000_000, 21);
    let metainfo = metainfo(&data, &[], &[refusing, mute, alive]);
    let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (node(mine.path()).await, node(theirs.path()).await);
    let seeding = seed(&one, mine.path(), &data, &metainfo, only_peers(&[])).await;
    let viewing = other.add(metainfo, only_peers(&[])).await.unwrap();
    let stats = completed(&viewing).await;
    assert_eq!(stored(&viewing), data);
    assert_eq!(stats.from_peers, data.len() as u64);
    assert!(tracker.announces() >= 2, "{}", tracker.announces());
    until(&seeding, |stats| stats.ways.direct == 1).await;
    other.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tracker_that_is_down_is_asked_again_and_named_in_the_end() {
    let mut tasks = JoinSet::new();
    let data = content(300_000, 23);
    let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (node(mine.path()).await, node(theirs.path()).await);
    let seed_at = one.local_addrs()[0].port().to_be_bytes();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let answer = move || async move {
        match count.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => (StatusCode::BAD_GATEWAY, Vec::new()),
            // The seed has not told it yet.
            2 => (StatusCode::OK, b"d5:peers0:e".to_vec()),
            _ => (
                StatusCode::OK,
                [&b"d5:peers6:\x7f\0\0\x01"[..], &seed_at, b"e"].concat(),
            ),
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tracker = format!("http://{}", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(answer);
    tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
    let metainfo = metainfo(&data, &[], &[format!("{tracker}/announce")]);
    let gives_up_after = |seconds| AddOptions {
        give_up: Some(Duration::from_secs(seconds)),
        ..only_peers(&[])
    };
    let viewing = other.add(metainfo.clone(), gives_up_after(2)).await.unwrap();
    let why = fails(&viewing).await;
    let told = format!("the tracker {tracker} answers 502 Bad Gateway");
    assert!(why.contains("no peer was found") && why.contains(&told), "{why}");
    viewing.stop().await;
    // It is asked again after five seconds and after ten more, and five seconds after it has answered.
    asked.store(0, Ordering::SeqCst);
    let untracked = common::metainfo(&data, &[], &[]);
    let _seeding = seed(&one, mine.path(), &data, &untracked, only_peers(&[])).await;
    let viewing = other.add(metainfo, gives_up_after(12)).await.unwrap();
    completed(&viewing).await;
    assert_eq!(stored(&viewing), data);
    other.stop().await;
    one.stop().await;
}

async fn in_dht(data: &Path, bootstrap: &[String]) -> Node {
    let config = NodeConfig {
        dht: bootstrap.to_vec(),
        ..config(data)
    };
    Node::start(config).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_find_each_other_in_the_dht_under_the_derived_key_alone() {
    let building = tokio::task::spawn_blocking(|| Testnet::builder(8).build().unwrap());
    let net = building.await.unwrap();
    let data = content(1_000_000, 22);
    let metainfo = metainfo(&data, &[], &[]);
    let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let one = in_dht(mine.path(), &net.bootstrap).await;
    let _seeding = seed(&one, mine.path(), &data, &metainfo, only_peers(&[])).await;
    let info_hash = metainfo.info_hash_v2();
    let id = |key: [u8; 20]| mainline::Id::from_bytes(key).unwrap();
    let asker = net.nodes[0].clone().as_async();
    let look = async |key: [u8; 20]| asker.get_peers(id(key)).concat().await;
    // Until the announcement has arrived; each look-up takes its time.
    let announced = async {
        loop {
            let found = look(info_hash.swarm_key()).await;
            if !found.is_empty() {
                break found;
            }
        }
    };
    let announced = tokio::time::timeout(PATIENCE, announced).await;
    let announced = announced.expect("nothing was announced");
    let mut guessable = [0; 20];
    guessable.copy_from_slice(&info_hash.0[..20]);
    assert!(look(guessable).await.is_empty());
    assert_eq!(announced[0].to_string(), address(&one));
    let other = in_dht(theirs.path(), &net.bootstrap).await;
    // A magnet link that names nobody: also the metainfo comes from who is found.
    let wanted = Wanted {
        info_hash,
        secret: None,
        peers: Vec::new(),
        trackers: Vec::new(),
        web_seeds: Vec::new(),
        give_up: PATIENCE,
    };
    let fetched = Arc::new(other.metainfo(wanted).await.unwrap());
    assert_eq!(fetched.info_hash_v2(), info_hash);
    let viewing = other.add(fetched, only_peers(&[])).await.unwrap();
    let stats = completed(&viewing).await;
    assert_eq!(stored(&viewing), data);
    assert_eq!(stats.from_peers, data.len() as u64);
    other.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn private_torrents_and_personal_swarms_leave_the_dht_alone() {
    // A first contact that only listens.
    let contact = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let bootstrap = [contact.local_addr().unwrap().to_string()];
    let folder = tempfile::tempdir().unwrap();
    let node = in_dht(folder.path(), &bootstrap).await;
    let data = content(200_000, 23);
    let private = Builder::new("private.bin").private(true);
    let private = Arc::new(private.hash(&data[..], data.len() as u64, |_| {}).unwrap());
    let torrent = node.add(private, only_peers(&[])).await.unwrap();
    // It ends at once: there is nobody to ask.
    fails(&torrent).await;
    let personal = AddOptions {
        secret: Some(Secret::generate()),
        ..only_peers(&[])
    };
    let public = metainfo(&data, &[], &[]);
    let torrent = node.add(public.clone(), personal).await.unwrap();
    fails(&torrent).await;
    torrent.stop().await;
    let mut packet = [0; 2_048];
    let early = contact.try_recv(&mut packet);
    assert!(early.is_err(), "the DHT was asked: {early:?}");
    // The same torrent in public is looked for.
    let _torrent = node.add(public, only_peers(&[])).await.unwrap();
    let asked = tokio::time::timeout(PATIENCE, contact.recv(&mut packet)).await;
    assert!(asked.expect("the DHT is asked").unwrap() > 0);
    node.stop().await;
}

fn sheet(key: &SecretKey, metainfo: &Metainfo, issued: u64, budget: Option<Budget>) -> SignedCueSheet {
    let sheet = CueSheet {
        vmap: "<vmap/>".into(),
        facts: bt_bencode::Value::Dict(std::collections::BTreeMap::new()),
        budget,
        issued,
        expires: issued + 1_000_000,
        publisher: key.public(),
    };
    sheet.sign(key, &metainfo.info_hash_v2()).unwrap()
}

fn unix_seconds() -> u64 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_cue_sheet_of_the_same_publisher_spreads_from_peer_to_peer_and_no_other() {
    let data = content(300_000, 24);
    let metainfo = metainfo(&data, &[], &[]);
    let (publisher, stranger) = (SecretKey::generate().unwrap(), SecretKey::generate().unwrap());
    let now = unix_seconds();
    let (old, new) = (
        sheet(&publisher, &metainfo, now - 1_000, None),
        sheet(&publisher, &metainfo, now - 10, None),
    );
    let newest_of_all = sheet(&stranger, &metainfo, now, None);
    let folders: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let knows = |cue_sheet: Option<&SignedCueSheet>, peers: &[String]| AddOptions {
        cue_sheet: cue_sheet.cloned(),
        publisher: Some(publisher.public()),
        ..only_peers(peers)
    };
    let first = node(folders[0].path()).await;
    let _holder = seed(
        &first,
        folders[0].path(),
        &data,
        &metainfo,
        knows(Some(&new), &[]),
    )
    .await;
    let liar = node(folders[1].path()).await;
    let lies = AddOptions {
        cue_sheet: Some(newest_of_all),
        ..only_peers(&[])
    };
    let _liar = seed(&liar, folders[1].path(), &data, &metainfo, lies).await;
    // One holds the old one, the other none; the second is told by the first alone.
    let middle = node(folders[2].path()).await;
    let both = [address(&first), address(&liar)];
    let one = middle
        .add(metainfo.clone(), knows(Some(&old), &both))
        .await
        .unwrap();
    let edge = node(folders[3].path()).await;
    let other = edge
        .add(metainfo.clone(), knows(None, &[address(&middle)]))
        .await
        .unwrap();
    for torrent in [&one, &other] {
        let mut sheet = torrent.cue_sheet();
        let newest = sheet.wait_for(|sheet| sheet.as_deref() == Some(&new));
        let newest = tokio::time::timeout(PATIENCE, newest).await;
        newest.expect("the newer sheet came").unwrap();
        completed(torrent).await;
        assert_eq!(torrent.cue_sheet().borrow().as_deref(), Some(&new));
    }
    for node in [first, liar, middle, edge] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_newer_cue_sheet_allows_of_the_origin_counts_at_once() {
    let mut tasks = JoinSet::new();
    let data = content(1_000_000, 26);
    let (_origin, url) = origin(&mut tasks, &data, Vice::None).await;
    let metainfo = metainfo(&data, &[url], &[]);
    let publisher = SecretKey::generate().unwrap();
    let budget = |bytes_per_second| {
        Some(Budget {
            bytes_per_second,
            requests_per_second: 100,
        })
    };
    let now = unix_seconds();
    // The first piece would take more than a day, or an eighth of a second.
    let old = sheet(&publisher, &metainfo, now - 1_000, budget(1));
    let new = sheet(&publisher, &metainfo, now - 10, budget(1_000_000));
    let folders: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let knows = |cue_sheet: SignedCueSheet| AddOptions {
        cue_sheet: Some(cue_sheet),
        publisher: Some(publisher.public()),
        ..AddOptions::default()
    };
    let viewer = node(folders[0].path()).await;
    let viewing = viewer.add(metainfo.clone(), knows(old)).await.unwrap();
    let other = node(folders[1].path()).await;
    let teller = AddOptions {
        use_origin: false,
        peers: vec![address(&viewer)],
        ..knows(new.clone())
    };
    let telling = other.add(metainfo, teller).await.unwrap();
    let stats = completed(&viewing).await;
    assert_eq!(stats.from_origin, data.len() as u64);
    assert_eq!(viewing.cue_sheet().borrow().as_deref(), Some(&new));
    assert_eq!(telling.stats().from_origin, 0);
    viewer.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tracker_that_names_only_the_dead_does_not_hide_the_living_of_the_next_tier() {
    let mut tasks = JoinSet::new();
    let [(knows_the_dead, first), (knows_the_living, last)] = [(); 2].map(|()| {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let url = format!("http://{}/announce", socket.local_addr().unwrap());
        let listener = tokio::net::TcpListener::from_std(socket).unwrap();
        let tracker = Tracker::new(Config::default());
        let serving = tracker.clone();
        tasks.spawn(async move { serve(listener, serving, std::future::pending()).await.unwrap() });
        (tracker, url)
    });
    // A tier between them never says a word.
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mute = format!("udp://{}/announce", silent.local_addr().unwrap());
    let data = content(300_000, 24);
    let viewers = metainfo(&data, &[], &[first.clone(), mute, last.clone()]);
    let seeds = metainfo(&data, &[], &[last]);
    // Somebody went without a word.
    let dead = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let request = AnnounceRequest {
        key: viewers.info_hash_v2().swarm_key(),
        peer_id: [7; 20],
        ports: [dead.local_addr().unwrap().port(), 0],
        uploaded: 0,
        downloaded: 0,
        left: 0,
        event: Some(Event::Started),
        numwant: 0,
        tracker_id: None,
    };
    announce(&open_gate(), &gate::Url::parse(&first).unwrap(), &request)
        .await
        .unwrap();
    let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, other) = (node(mine.path()).await, node(theirs.path()).await);
    let _seeding = seed(&one, mine.path(), &data, &seeds, only_peers(&[])).await;
    let viewing = other.add(viewers, only_peers(&[])).await.unwrap();
    completed(&viewing).await;
    assert_eq!(stored(&viewing), data);
    // The dead one's, the viewer's first, and perhaps that it has everything: none before its time.
    let announces = knows_the_dead.announces();
    assert!((2..=3).contains(&announces), "{announces}");
    assert!(knows_the_living.announces() >= 2);
    other.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_pause_trackers_hear_of_its_end_last() {
    let mut tasks = JoinSet::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/announce", listener.local_addr().unwrap());
    let (heard, mut answered) = watch::channel(Vec::new());
    let answer = move |uri: axum::http::Uri| async move {
        let stops = uri.query().is_some_and(|query| query.contains("event=stopped"));
        if stops {
            // It takes its time to forget somebody.
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        heard.send_modify(|all: &mut Vec<bool>| all.push(stops));
        &b"d8:intervali60e5:peers0:e"[..]
    };
    let app = axum::Router::new().route("/announce", axum::routing::get(answer));
    tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
    let data = content(100_000, 33);
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    let torrent = node
        .add(metainfo(&data, &[], &[url]), only_peers(&[]))
        .await
        .unwrap();
    answered.wait_for(|all| !all.is_empty()).await.unwrap();
    torrent.pause();
    until(&torrent, |stats| matches!(stats.state, State::Paused(_))).await;
    torrent.go_on();
    answered
        .wait_for(|all| all.len() > 2 && all.contains(&true))
        .await
        .unwrap();
    assert_eq!(answered.borrow().last(), Some(&false), "{:?}", answered.borrow());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tracker_that_takes_no_goodbye_holds_up_the_end_of_a_node_once() {
    let mut tasks = JoinSet::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/announce", listener.local_addr().unwrap());
    let (heard, mut asked) = watch::channel(0);
    let answer = move |uri: axum::http::Uri| async move {
        if uri.query().is_some_and(|query| query.contains("event=stopped")) {
            std::future::pending::<()>().await;
        }
        heard.send_modify(|times: &mut usize| *times += 1);
        &b"d8:intervali60e5:peers0:e"[..]
    };
    let app = axum::Router::new().route("/announce", axum::routing::get(answer));
    tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
    let folder = tempfile::tempdir().unwrap();
    let node = node(folder.path()).await;
    for seed in 40..44 {
        let metainfo = metainfo(&content(100_000, seed), &[], std::slice::from_ref(&url));
        node.add(metainfo, only_peers(&[])).await.unwrap();
    }
    let all = tokio::time::timeout(PATIENCE, asked.wait_for(|times| *times >= 4));
    all.await.expect("the tracker is told of each").unwrap();
    let began = Instant::now();
    node.stop().await;
    // Each is waited for for two seconds.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
}

/// What a tracker is asked: the info hash, and whether somebody stops.
type Asked = (Vec<u8>, bool);

/// A tracker that knows nobody, and what it was asked.
async fn listening_tracker(tasks: &mut JoinSet<()>) -> (String, watch::Receiver<Vec<Asked>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/announce", listener.local_addr().unwrap());
    let (heard, asked) = watch::channel(Vec::new());
    let answer = move |uri: axum::http::Uri| async move {
        let mut query = uri.query().unwrap_or_default().split('&');
        let hash = query.find_map(|part| part.strip_prefix("info_hash="));
        let hash = percent_encoding::percent_decode_str(hash.expect("an info hash")).collect();
        let stops = uri.query().is_some_and(|query| query.contains("event=stopped"));
        heard.send_modify(|all| all.push((hash, stops)));
        &b"d8:intervali60e5:peers0:e"[..]
    };
    let app = axum::Router::new().fallback(answer);
    tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
    (url, asked)
}

async fn is_asked(asked: &mut watch::Receiver<Vec<Asked>>) {
    let first = tokio::time::timeout(PATIENCE, asked.wait_for(|all| !all.is_empty()));
    first.await.expect("the tracker is asked").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tracker_hears_one_goodbye_of_a_search_that_is_dropped() {
    let mut tasks = JoinSet::new();
    let folder = tempfile::tempdir().unwrap();
    let (tracker, mut asked) = listening_tracker(&mut tasks).await;
    let node = node(folder.path()).await;
    let wanted = Wanted {
        info_hash: InfoHash([7; 32]),
        secret: None,
        peers: Vec::new(),
        trackers: vec![tracker],
        web_seeds: Vec::new(),
        give_up: 10 * PATIENCE,
    };
    tokio::select! {
        found = node.metainfo(wanted) => panic!("nobody has it: {found:?}"),
        () = is_asked(&mut asked) => {}
    }
    // It goes by itself, and who waits for that does not send another one.
    node.end_searches().await;
    node.stop().await;
    let goodbyes = asked.borrow().iter().filter(|(_, stops)| *stops).count();
    assert_eq!(goodbyes, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_personal_swarm_is_told_to_the_links_tracker_alone_and_under_the_secrets_name() {
    let mut tasks = JoinSet::new();
    let folder = tempfile::tempdir().unwrap();
    let (public, mut of_public) = listening_tracker(&mut tasks).await;
    let (named, mut of_link) = listening_tracker(&mut tasks).await;
    let data = content(200_000, 25);
    let metainfo = metainfo(&data, &[], &[public]);
    let secret = Secret::generate();
    let options = |secret: Option<Secret>, trackers: &[String]| AddOptions {
        secret,
        trackers: trackers.to_vec(),
        ..only_peers(&[])
    };
    let node = node(folder.path()).await;
    let torrent = node
        .add(
            metainfo.clone(),
            options(Some(secret), std::slice::from_ref(&named)),
        )
        .await
        .unwrap();
    is_asked(&mut of_link).await;
    torrent.stop().await;
    // The same in public: what could be guessed, and that the other tracker would have heard.
    let torrent = node.add(metainfo.clone(), options(None, &[])).await.unwrap();
    is_asked(&mut of_public).await;
    torrent.stop().await;
    node.stop().await;

    let hash = metainfo.info_hash_v2();
    let (in_public, by_link) = (of_public.borrow(), of_link.borrow());
    assert!(
        in_public.iter().all(|(key, _)| *key == hash.swarm_key()),
        "{in_public:?}"
    );
    assert!(
        by_link.iter().all(|(key, _)| *key == secret.rendezvous()),
        "{by_link:?}"
    );
    assert_ne!(secret.rendezvous(), hash.swarm_key());
}
