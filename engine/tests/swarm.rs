//! Real nodes over loopback: they share, they check, they survive a peer that lies.

mod common;

use bytes::BytesMut;
use common::raw::{endpoint, greet, hello, request, within};
use common::*;
use engine::metainfo::{Builder, Metainfo};
use engine::net::{
    Connection, ControlReader, ControlWriter, Endpoint, Identity, Incoming, accept_stream, open_request,
    send_reply_header,
};
use engine::node::{AddOptions, PieceSource, State, Torrent};
use engine::swarm::BlockRun;
use engine::tracker::server::{Config, Tracker, serve};
use engine::verify::Verifier;
use engine::wire::{Hello, Message, ReplyHeader, ReplyStatus, VERSION};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::task::JoinSet;

async fn tracker(tasks: &mut JoinSet<()>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/announce", listener.local_addr().unwrap());
    tasks.spawn(async move {
        serve(listener, Tracker::new(Config::default()), std::future::pending())
            .await
            .unwrap();
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seed_gives_everything_to_a_peer_that_dials_it() {
    let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = content(3_000_000, 11);
    let metainfo = metainfo(&data, &[], &[]);
    let path = mine.path().join("here.bin");
    std::fs::write(&path, &data).unwrap();
    let seed = node(mine.path()).await;
    let location = engine::node::Location::Existing(path);
    let seeding = seed
        .add(
            metainfo.clone(),
            AddOptions {
                location,
                ..only_peers(&[])
            },
        )
        .await
        .unwrap();
    completed(&seeding).await;
    let viewer = node(theirs.path()).await;
    let torrent = viewer.add(metainfo, only_peers(&[address(&seed)])).await.unwrap();
    let stats = completed(&torrent).await;
    assert_eq!(stored(&torrent), data);
    assert_eq!((stats.from_peers, stats.from_origin), (data.len() as u64, 0));
    assert!(stats.pieces.iter().all(|p| *p == Some(PieceSource::Peer)));
    assert!(seeding.stop().await.uploaded >= data.len() as u64);
    viewer.stop().await;
    seed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_viewers_that_a_tracker_brings_together_share_one_origin() {
    let mut tasks = JoinSet::new();
    let data = content(4_000_000, 12);
    let (origin, url) = origin(&mut tasks, &data, Vice::None).await;
    let tracker = tracker(&mut tasks).await;
    let metainfo = metainfo(&data, &[url], &[tracker]);
    let folders: Vec<_> = (0..5).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut nodes = Vec::new();
    let mut torrents: Vec<Torrent> = Vec::new();
    for folder in &folders {
        // Slow enough that they meet before one of them has everything.
        let config = engine::node::NodeConfig {
            down: Some(2_000_000),
            ..config(folder.path())
        };
        let node = engine::node::Node::start(config).await.unwrap();
        torrents.push(node.add(metainfo.clone(), AddOptions::default()).await.unwrap());
        nodes.push(node);
    }
    let (mut from_origin, mut from_peers) = (0, 0);
    for torrent in &torrents {
        let stats = completed(torrent).await;
        assert_eq!(stored(torrent), data);
        from_origin += stats.from_origin;
        from_peers += stats.from_peers;
    }
    assert_eq!(from_origin + from_peers, 5 * data.len() as u64);
    let copies = origin.bytes.load(Ordering::SeqCst) as f64 / data.len() as f64;
    println!("{copies:.2} copies left the origin for five viewers; {from_peers} bytes came from peers");
    assert!(copies < 3.0, "{copies} copies left the origin");
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_complete_each_other_when_the_origin_is_gone() {
    let mut tasks = JoinSet::new();
    let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let data = content(1_000_000, 13);
    let (origin, url) = origin(&mut tasks, &data, Vice::None).await;
    let metainfo = metainfo(&data, &[url], &[]);
    let first = node(folders[0].path()).await;
    let a = first.add(metainfo.clone(), AddOptions::default()).await.unwrap();
    completed(&a).await;
    *origin.vice.lock().unwrap() = Vice::Status(404);
    let second = node(folders[1].path()).await;
    let options = AddOptions {
        peers: vec![address(&first)],
        ..AddOptions::default()
    };
    let b = second.add(metainfo.clone(), options).await.unwrap();
    assert_eq!(completed(&b).await.from_peers, data.len() as u64);
    // The third knows only the second.
    drop(first);
    let third = node(folders[2].path()).await;
    let options = AddOptions {
        peers: vec![address(&second)],
        ..AddOptions::default()
    };
    let c = third.add(metainfo, options).await.unwrap();
    assert_eq!(completed(&c).await.from_peers, data.len() as u64);
    assert_eq!(stored(&c), data);
    second.stop().await;
    third.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_web_seed_and_without_peers_there_is_a_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let data = content(100_000, 14);
    let node = node(folder.path()).await;
    let torrent = node
        .add(metainfo(&data, &[], &[]), AddOptions::default())
        .await
        .unwrap();
    let error = fails(&torrent).await;
    assert!(
        error.contains("there is no web seed") && error.contains("no peer was found"),
        "{error}"
    );
    let again = node
        .add(metainfo(&data, &[], &[]), AddOptions::default())
        .await
        .unwrap_err();
    assert!(again.to_string().contains("was added already"), "{again}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_selected_a_file_does_not_confirm_delivery() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let root = folders[0].path().join("two");
    std::fs::create_dir(&root).unwrap();
    std::fs::write(root.join("a"), content(50_000, 31)).unwrap();
    std::fs::write(root.join("b"), content(60_000, 32)).unwrap();
    let listing = engine::metainfo::Listing::of(&root).unwrap();
    let builder = Builder::new("two");
    let metainfo = Arc::new(builder.hash_folder(&root, &listing, |_| {}).unwrap());
    let secret = Some(engine::personal::Secret::generate());
    let sender = node(folders[0].path()).await;
    let options = AddOptions {
        secret,
        location: engine::node::Location::Existing(root),
        ..only_peers(&[])
    };
    let sending = sender.add(metainfo.clone(), options).await.unwrap();
    for (folder, files) in [(&folders[1], Some(vec![1])), (&folders[2], None)] {
        let options = AddOptions {
            secret,
            files: files.clone(),
            ..only_peers(&[address(&sender)])
        };
        let viewer = node(folder.path()).await;
        let torrent = viewer.add(metainfo.clone(), options).await.unwrap();
        completed(&torrent).await;
        assert_eq!(torrent.holds_all(), files.is_none());
        if files.is_none() {
            until(&torrent, |stats| stats.noted == 1).await;
        }
        viewer.stop().await;
    }
    let told = until(&sending, |stats| stats.delivered > 0).await;
    assert_eq!(told.delivered, 1);
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_told_its_own_address_does_not_talk_to_itself() {
    let mut tasks = JoinSet::new();
    let folder = tempfile::tempdir().unwrap();
    let data = content(100_000, 15);
    let (_origin, url) = origin(&mut tasks, &data, Vice::None).await;
    let node = node(folder.path()).await;
    let options = AddOptions {
        peers: vec![address(&node)],
        ..AddOptions::default()
    };
    let torrent = node.add(metainfo(&data, &[url], &[]), options).await.unwrap();
    let stats = completed(&torrent).await;
    assert_eq!((stats.peers, stats.peers_seen), (0, 0));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_a_person_named_is_dialled_under_that_name() {
    let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = content(100_000, 18);
    let metainfo = metainfo(&data, &[], &[]);
    let path = mine.path().join("here.bin");
    std::fs::write(&path, &data).unwrap();
    let seed = node(mine.path()).await;
    let location = engine::node::Location::Existing(path);
    let options = AddOptions {
        location,
        ..only_peers(&[])
    };
    completed(&seed.add(metainfo.clone(), options).await.unwrap()).await;
    let port = seed.local_addrs()[0].port();
    // Private addresses are refused, but for the name that was typed.
    let gate = gate::Gate::new(gate::Policy {
        hosts: std::collections::HashMap::from([("seed.test".to_owned(), vec![[127, 0, 0, 1].into()])]),
        ..gate::Policy::default()
    });
    gate.trust("seed.test", port);
    let config = engine::node::NodeConfig {
        gate,
        ..config(theirs.path())
    };
    let viewer = engine::node::Node::start(config).await.unwrap();
    let named = only_peers(&[format!("seed.test:{port}")]);
    let torrent = viewer.add(metainfo, named).await.unwrap();
    assert_eq!(completed(&torrent).await.from_peers, data.len() as u64);
    viewer.stop().await;
    seed.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_does_not_know_the_torrent_is_not_asked_again_and_again() {
    let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let other = node(theirs.path()).await;
    let viewer = node(mine.path()).await;
    let options = AddOptions {
        // It ends as soon as there is nothing left to hope for, which is long before.
        give_up: Some(PATIENCE * 10),
        ..only_peers(&[address(&other)])
    };
    let torrent = viewer
        .add(metainfo(&content(100_000, 19), &[], &[]), options)
        .await
        .unwrap();
    let error = fails(&torrent).await;
    assert!(error.contains("no peer was found"), "{error}");
    viewer.stop().await;
    other.stop().await;
}

/// What a lying peer does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    Block,
    Leaf,
    Uncle,
    /// No lie, but of all that it is asked for it sends the first block alone.
    Stall,
}

/// A peer that says it holds everything and answers each request with something wrong.
fn liar(metainfo: Arc<Metainfo>, data: Vec<u8>, lie: Lie, tasks: &mut JoinSet<()>) -> SocketAddr {
    gate::install_crypto_provider();
    let identity = Identity::generate().unwrap();
    let endpoint = Endpoint::bind(SocketAddr::from(([127, 0, 0, 1], 0)), &identity).unwrap();
    let address = endpoint.local_addr().unwrap();
    tasks.spawn(async move {
        let verifier = Arc::new(Verifier::new(&metainfo).unwrap());
        for (piece, data) in data.chunks(metainfo.piece_length() as usize).enumerate() {
            verifier.check_stored(piece as u32, data);
        }
        let swarm = *metainfo.info_hash_v2().as_bytes();
        let data = Arc::new(data);
        let mut serving = JoinSet::new();
        while let Some(handshake) = endpoint.accept().await {
            let Ok(Some(connection)) = handshake.finish(false).await else {
                continue;
            };
            serving.spawn(lie_to(connection, swarm, verifier.clone(), data.clone(), lie));
        }
    });
    address
}

async fn lie_to(
    connection: Connection,
    swarm: [u8; 32],
    verifier: Arc<Verifier>,
    data: Arc<Vec<u8>>,
    lie: Lie,
) {
    let (mut controls, mut stalled) = (Vec::new(), Vec::new());
    while let Ok(stream) = accept_stream(&connection).await {
        match stream.await {
            Ok(Some(Incoming::Control(mut writer, mut reader))) => {
                let Ok(Some(Message::Hello(_))) = reader.next().await else {
                    return;
                };
                let hello = Hello {
                    version: VERSION,
                    swarm,
                    listen_port: 0,
                    observed: None,
                    extensions: Vec::new(),
                };
                let all = BlockRun::new(0, 0, data.len().div_ceil(16_384) as u32);
                for message in [Message::Hello(hello), Message::Have(vec![all]), Message::Unchoke] {
                    if writer.send(&message).await.is_err() {
                        return;
                    }
                }
                controls.push((writer, reader));
            }
            Ok(Some(Incoming::Request(request, mut send))) => {
                let run = request.run;
                let proof = verifier.proof(run).unwrap();
                let mut header = ReplyHeader {
                    status: ReplyStatus::Ok,
                    leaves: proof.leaves.iter().map(|h| h.0).collect(),
                    uncles: proof.uncles.iter().map(|h| h.0).collect(),
                };
                let start = run.first.0 as usize * 16_384;
                let end = data.len().min(start + run.count as usize * 16_384);
                let mut bytes = BytesMut::from(&data[start..end]);
                match lie {
                    Lie::Block => bytes[0] ^= 1,
                    Lie::Leaf => header.leaves[0][0] ^= 1,
                    Lie::Uncle => match header.uncles.first_mut() {
                        Some(uncle) => uncle[0] ^= 1,
                        None => header.uncles.push([0; 32]),
                    },
                    Lie::Stall => bytes.truncate(if stalled.is_empty() { 16_384 } else { 0 }),
                }
                if send_reply_header(&mut send, &header).await.is_ok() && send.write_all(&bytes).await.is_ok()
                {
                    match lie {
                        Lie::Stall => stalled.push(send),
                        _ => drop(send.finish()),
                    }
                }
            }
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_lies_is_dropped_and_what_it_owed_comes_from_elsewhere() {
    for lie in [Lie::Block, Lie::Leaf, Lie::Uncle] {
        let mut tasks = JoinSet::new();
        let folder = tempfile::tempdir().unwrap();
        let data = content(1_500_000, 16);
        let (origin, url) = gated_origin(&mut tasks, &data).await;
        let metainfo = metainfo(&data, &[url], &[]);
        let bad = liar(metainfo.clone(), data.clone(), lie, &mut tasks);
        let node = node(folder.path()).await;
        let options = AddOptions {
            peers: vec![bad.to_string()],
            ..AddOptions::default()
        };
        let torrent = node.add(metainfo, options).await.unwrap();
        let stats = until(&torrent, |s| s.banned == 1).await;
        assert_eq!(
            (stats.peers, stats.from_peers, stats.have_bytes),
            (0, 0, 0),
            "{lie:?}"
        );
        origin.gate.as_ref().unwrap().add_permits(10_000);
        let stats = completed(&torrent).await;
        assert_eq!(stored(&torrent), data, "{lie:?}");
        assert_eq!(
            (stats.from_peers, stats.from_origin),
            (0, data.len() as u64),
            "{lie:?}"
        );
        assert!(
            lie != Lie::Block || stats.wasted > 0,
            "what the liar sent counts as wasted"
        );
        assert!(
            stats.problems.iter().any(|p| p.contains(&bad.to_string())),
            "{lie:?}: {:?}",
            stats.problems
        );
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_is_relayed_while_the_rest_of_its_run_has_yet_to_come() {
    let (mut tasks, folder) = (JoinSet::new(), tempfile::tempdir().unwrap());
    let data = content(2_000_000, 20);
    // Of such pieces a request is a part.
    let builder = Builder::new("episode.bin").piece_length(524_288);
    let metainfo = Arc::new(builder.hash(&data[..], data.len() as u64, |_| {}).unwrap());
    let slow = liar(metainfo.clone(), data.clone(), Lie::Stall, &mut tasks);
    let node = node(folder.path()).await;
    let torrent = node
        .add(metainfo.clone(), only_peers(&[slow.to_string()]))
        .await
        .unwrap();
    let (_endpoint, connection, mut writer, mut reader) = greet(&node, &metainfo, 0).await;
    writer.send(&Message::Have(Vec::new())).await.unwrap();
    let (mut told, mut welcome) = (None, false);
    while told.is_none() || !welcome {
        match within("what it holds", reader.next()).await.unwrap() {
            Some(Message::Have(runs)) => told = runs.first().copied().or(told),
            Some(Message::Unchoke) => welcome = true,
            Some(_) => {}
            None => panic!("it hung up: {:?}", torrent.stats()),
        }
    }
    let run = told.unwrap();
    assert_eq!(run.count, 1, "nobody has sent more");
    let mut reply = open_request(&connection, &request(&metainfo, run.first.0))
        .await
        .unwrap();
    let header = within("an answer", reply.header(1)).await.unwrap();
    assert_eq!(header.status, ReplyStatus::Ok);
    let block = within("the block", reply.block(16_384)).await.unwrap();
    let start = run.first.0 as usize * 16_384;
    assert_eq!(block, data[start..start + 16_384]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_slow_viewers_at_once_share_and_the_next_one_costs_the_origin_nothing() {
    let mut tasks = JoinSet::new();
    let data = content(3_000_000, 17);
    let (origin, url) = origin(&mut tasks, &data, Vice::None).await;
    let tracker = tracker(&mut tasks).await;
    let metainfo = metainfo(&data, &[url], &[tracker]);
    let folders: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut nodes = Vec::new();
    let mut torrents: Vec<Torrent> = Vec::new();
    for (i, folder) in folders.iter().enumerate() {
        if i == 3 {
            for torrent in &torrents {
                let stats = completed(torrent).await;
                println!(
                    "origin {} peers {} wasted {} uploaded {}",
                    stats.from_origin, stats.from_peers, stats.wasted, stats.uploaded
                );
            }
        }
        // 8 Mbit/s down, 4 up.
        let config = engine::node::NodeConfig {
            down: Some(1_000_000),
            up: Some(500_000),
            ..config(folder.path())
        };
        let node = engine::node::Node::start(config).await.unwrap();
        torrents.push(node.add(metainfo.clone(), AddOptions::default()).await.unwrap());
        nodes.push(node);
    }
    let before = origin.bytes.load(Ordering::SeqCst);
    let last = completed(&torrents[3]).await;
    assert_eq!(stored(&torrents[3]), data);
    assert_eq!((last.from_origin, last.from_peers), (0, data.len() as u64));
    assert_eq!(origin.bytes.load(Ordering::SeqCst), before);
    let copies = before as f64 / data.len() as f64;
    println!(
        "{copies:.2} copies for three, wasted by the last: {}",
        last.wasted
    );
    assert!(copies < 2.3, "{copies} copies left the origin for three viewers");
    for node in nodes {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torrent_that_pauses_leaves_its_peers_and_goes_on_from_there() {
    let mut tasks = JoinSet::new();
    let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = content(3_000_000, 12);
    // The origin gives what it is allowed to, so that the pause comes in the middle.
    let (origin, url) = gated_origin(&mut tasks, &data).await;
    let metainfo = metainfo(&data, &[url], &[]);
    let (one, other) = (node(mine.path()).await, node(theirs.path()).await);
    let path = mine.path().join("here.bin");
    std::fs::write(&path, &data).unwrap();
    let torrent = one.add(metainfo.clone(), AddOptions::default()).await.unwrap();
    let gate = origin.gate.as_ref().unwrap();
    gate.add_permits(16);
    let part = until(&torrent, |stats| stats.have_bytes >= 512 << 10).await;
    assert!(!part.is_complete());
    torrent.pause();
    let paused = until(&torrent, |stats| matches!(stats.state, State::Paused(_))).await;
    // Whoever comes now is not let in, and nothing that the origin would give is taken.
    gate.add_permits(1_000);
    let seeding = AddOptions {
        location: engine::node::Location::Existing(path),
        ..only_peers(&[address(&one)])
    };
    let seed = other.add(metainfo.clone(), seeding).await.unwrap();
    completed(&seed).await;
    let asked = origin.requests.load(Ordering::SeqCst);
    let now = torrent.stats();
    assert_eq!(now.peers, 0);
    assert!(now.have_bytes <= paused.have_bytes + (1 << 20), "{now:?}");
    torrent.go_on();
    let stats = completed(&torrent).await;
    assert_eq!(stored(&torrent), data);
    assert!(
        stats.from_peers > 0 || origin.requests.load(Ordering::SeqCst) > asked,
        "{stats:?}"
    );
    one.stop().await;
    other.stop().await;
}

/// The next control stream that a node opens to a peer of the test, on whatever connection.
async fn control_stream(
    peer: &Endpoint,
    connection: &mut Option<Connection>,
) -> (ControlWriter, ControlReader) {
    loop {
        let Some(open) = connection else {
            let handshake = within("a dial", peer.accept()).await.unwrap();
            *connection = handshake.finish(false).await.unwrap();
            continue;
        };
        match within("a stream", accept_stream(open)).await {
            Ok(stream) => match within("its kind", stream).await.unwrap() {
                Some(Incoming::Control(writer, reader)) => return (writer, reader),
                other => panic!("{other:?}"),
            },
            Err(_) => *connection = None,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_answers_during_a_pause_is_greeted_anew_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let metainfo = metainfo(&content(100_000, 13), &[], &[]);
    let peer = endpoint();
    let at = peer.local_addr().unwrap().to_string();
    let viewer = node(folder.path()).await;
    let torrent = viewer.add(metainfo.clone(), only_peers(&[at])).await.unwrap();
    let mut connection = None;
    let (mut writer, mut reader) = control_stream(&peer, &mut connection).await;
    within("a hello", reader.hello()).await.unwrap();
    torrent.pause();
    until(&torrent, |stats| matches!(stats.state, State::Paused(_))).await;
    writer.send(&hello(&metainfo)).await.unwrap();
    let end = async { while let Ok(Some(_)) = reader.next().await {} };
    within("the end of the stream", end).await;
    torrent.go_on();
    let (mut writer, mut reader) = control_stream(&peer, &mut connection).await;
    within("a hello", reader.hello()).await.unwrap();
    writer.send(&hello(&metainfo)).await.unwrap();
    until(&torrent, |stats| stats.peers == 1).await;
    viewer.stop().await;
}
