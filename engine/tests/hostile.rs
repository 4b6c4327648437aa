//! Peers and networks that mean harm, over real sockets on loopback: nothing wrong is stored, who did it is banned,
//! memory stays bounded, and the download completes from the rest.

mod common;

use bytes::{BufMut, BytesMut};
use common::raw::*;
use common::*;
use engine::metainfo::Metainfo;
use engine::net::{
    Connection, ControlReader, ControlWriter, Endpoint, Identity, Incoming, StreamError, accept_stream,
    open_control, open_request,
};
use engine::node::{AddOptions, Location, Node, NodeConfig, Wanted};
use engine::swarm::{BlockRun, Claim, FileIndex, PieceIndex, RefuseReason, Urgency};
use engine::wire::{Message, MetadataKind, ReplyStatus, Request};
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

fn everything(metainfo: &Metainfo) -> BlockRun {
    BlockRun::new(0, 0, metainfo.length().div_ceil(16_384) as u32)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_promises_everything_and_sends_nothing_holds_up_nobody() {
    let mut tasks = JoinSet::new();
    let folder = tempfile::tempdir().unwrap();
    let data = content(1_000_000, 31);
    let (_origin, url) = origin(&mut tasks, &data, Vice::None).await;
    let metainfo = metainfo(&data, &[url], &[]);
    let endpoint = endpoint();
    let address = endpoint.local_addr().unwrap().to_string();
    let about = metainfo.clone();
    tasks.spawn(async move {
        let connection = endpoint
            .accept()
            .await
            .unwrap()
            .finish(false)
            .await
            .unwrap()
            .unwrap();
        let mut open = Vec::new();
        while let Ok(stream) = accept_stream(&connection).await {
            if let Ok(Some(stream)) = stream.await {
                match stream {
                    Incoming::Control(mut writer, reader) => {
                        // It also claims to draw every piece from the origin itself.
                        let claims = (0..16).map(|piece| Claim {
                            piece: PieceIndex(piece),
                            claimer: 7,
                            forwarded: false,
                            retracted: false,
                        });
                        let all = Message::Have(vec![everything(&about)]);
                        for message in [
                            hello(&about),
                            all,
                            Message::Unchoke,
                            Message::Claims(claims.collect()),
                        ] {
                            writer.send(&message).await.unwrap();
                        }
                        open.push((Some((writer, reader)), None));
                    }
                    Incoming::Request(_, send) => open.push((None, Some(send))),
                }
            }
        }
    });
    let node = node(folder.path()).await;
    let options = AddOptions {
        peers: vec![address],
        ..AddOptions::default()
    };
    let torrent = node.add(metainfo, options).await.unwrap();
    let stats = completed(&torrent).await;
    assert_eq!(stored(&torrent), data);
    assert_eq!((stats.from_peers, stats.from_origin), (0, data.len() as u64));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_changes_again_and_again_whether_it_may_be_asked_is_banned() {
    let folder = tempfile::tempdir().unwrap();
    let data = content(1_000_000, 33);
    let metainfo = metainfo(&data, &[], &[]);
    let node = node(folder.path()).await;
    let _torrent = node.add(metainfo.clone(), only_peers(&[])).await.unwrap();
    let (_endpoint, connection, mut writer, _reader) = greet(&node, &metainfo, 0).await;
    writer
        .send(&Message::Have(vec![everything(&metainfo)]))
        .await
        .unwrap();
    for _ in 0..1_000 {
        // It may be closed already.
        let _ = writer.send(&Message::Unchoke).await;
        let _ = writer.send(&Message::Choke).await;
    }
    let why = within("the ban", connection.closed()).await.to_string();
    assert!(why.contains("whether we may ask it"), "{why}");
    node.stop().await;
}

/// A peer that takes a few bytes of a stream at a time, and its connection to the node.
async fn deaf(node: &Node) -> (Endpoint, Connection) {
    gate::install_crypto_provider();
    let deaf = Endpoint::bind_deaf(LOCAL, &Identity::generate().unwrap()).unwrap();
    let connection = within("a dial", deaf.connect(node.local_addrs()[0], None)).await;
    (deaf, connection.unwrap())
}

/// Opens a control stream, and waits until the node may be asked.
async fn place(connection: &Connection, metainfo: &Metainfo) -> (ControlWriter, ControlReader) {
    let (mut writer, mut reader) = open_control(connection).await.unwrap();
    writer.send(&hello(metainfo)).await.unwrap();
    within("a hello", reader.hello()).await.unwrap();
    while !matches!(
        within("a place", reader.next()).await.unwrap(),
        Some(Message::Unchoke)
    ) {}
    (writer, reader)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_takes_not_even_the_beginning_of_replies_keeps_no_place() {
    let folder = tempfile::tempdir().unwrap();
    let data = content(1_000_000, 32);
    let metainfo = metainfo(&data, &[], &[]);
    let (node, _torrent) = seed(folder.path(), &metainfo, &data).await;
    let (_deaf, connection) = deaf(&node).await;
    let control = place(&connection, &metainfo).await;
    // More than are served at a time. Nothing is read of the replies.
    let mut replies = Vec::new();
    for piece in 0..14 {
        let run = BlockRun::new(0, 4 * piece, 4);
        let asked = Request {
            run,
            urgency: Urgency::Far,
            ..request(&metainfo, 0)
        };
        replies.push(open_request(&connection, &asked).await.unwrap());
    }
    viewer_completes(&metainfo, &data, address(&node)).await;
    drop((replies, control));
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_being_sent_ends_when_another_control_stream_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let data = content(1_000_000, 42);
    let metainfo = metainfo(&data, &[], &[]);
    let (node, _torrent) = seed(folder.path(), &metainfo, &data).await;
    let (_deaf, connection) = deaf(&node).await;
    let first = place(&connection, &metainfo).await;
    let mut replies = Vec::new();
    for piece in 0..8 {
        let run = BlockRun::new(0, 4 * piece, 4);
        let asked = Request {
            run,
            urgency: Urgency::Far,
            ..request(&metainfo, 0)
        };
        let mut reply = open_request(&connection, &asked).await.unwrap();
        // What has begun has a place, and waits to be read.
        let header = within("a reply", reply.header(4)).await.unwrap();
        assert_eq!(header.status, ReplyStatus::Ok);
        replies.push(reply);
    }
    let second = place(&connection, &metainfo).await;
    for mut reply in replies {
        let block = tokio::time::timeout(Duration::from_secs(5), reply.block(16_384)).await;
        let end = block.map(|block| block.map(|block| block.len()));
        let reset = matches!(end, Ok(Err(StreamError::Read(quinn::ReadError::Reset(_)))));
        assert!(reset, "{end:?}");
    }
    drop((first, second));
    node.stop().await;
}

/// Bytes of a control stream that break the protocol.
fn broken() -> Vec<(&'static str, Vec<u8>)> {
    let message = |kind: u8, body: &[u8]| {
        let mut bytes = BytesMut::new();
        bytes.put_u32(body.len() as u32 + 1);
        bytes.put_u8(kind);
        bytes.put_slice(body);
        bytes.to_vec()
    };
    let run = |file: u32, first: u32, count: u32| {
        [file.to_be_bytes(), first.to_be_bytes(), count.to_be_bytes()].concat()
    };
    vec![
        ("a message of 4 GiB", vec![0xFF; 8]),
        ("an empty message", vec![0; 4]),
        ("a have that is cut", message(1, &[0; 11])),
        ("a have outside the torrent", message(1, &run(0, 5_000, 1))),
        ("a have of another file", message(1, &run(9, 0, 1))),
        ("a have of no blocks", message(1, &run(0, 0, 0))),
        ("overlapping haves", message(1, &run(0, 0, 40).repeat(100))),
        ("claims that are cut", message(5, &[0; 5])),
        ("more addresses than allowed", message(4, &[255; 300])),
        ("an address of no family", message(4, &[1, 9, 0, 0])),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_breaks_the_protocol_is_banned_and_an_address_of_several_such_keys_is_left_alone() {
    let (folder, data) = (tempfile::tempdir().unwrap(), content(1_000_000, 32));
    let metainfo = metainfo(&data, &[], &[]);
    for (what, bytes) in broken() {
        let folder = tempfile::tempdir().unwrap();
        let (node, torrent) = seed(folder.path(), &metainfo, &data).await;
        let bad = endpoint();
        let connection = within(what, bad.connect(node.local_addrs()[0], None))
            .await
            .unwrap();
        let (mut writer, mut reader) = open_control(&connection).await.unwrap();
        writer.send(&hello(&metainfo)).await.unwrap();
        within(what, reader.next()).await.unwrap();
        writer.send_raw(&bytes).await.unwrap();
        within(what, connection.closed()).await;
        until(&torrent, |s| s.banned == 1).await;
        viewer_completes(&metainfo, &data, address(&node)).await;
        node.stop().await;
    }

    let (node, torrent) = seed(folder.path(), &metainfo, &data).await;
    for n in 1..=3 {
        let bad = endpoint();
        let connection = within("a new key", bad.connect(node.local_addrs()[0], None))
            .await
            .unwrap();
        let (mut writer, mut reader) = open_control(&connection).await.unwrap();
        writer.send(&hello(&metainfo)).await.unwrap();
        within("hello", reader.next()).await.unwrap();
        writer.send(&hello(&metainfo)).await.unwrap();
        within("the end", connection.closed()).await;
        until(&torrent, |s| s.banned == n).await;
        // The same key is refused, whatever it says.
        if n == 1 {
            let again = within("a banned key", bad.connect(node.local_addrs()[0], None))
                .await
                .unwrap();
            let end = within("the end", again.closed()).await.to_string();
            assert!(end.contains("not now"), "{end}");
        }
    }
    // A fourth key from there is not answered at all; from other addresses of this machine keys are, one after the other.
    let answered = endpoint();
    let dial = answered.connect(node.local_addrs()[0], None);
    tokio::pin!(dial);
    for host in 9..=10 {
        let local = ([127, 0, 0, host], 0).into();
        let elsewhere = Endpoint::bind(local, &Identity::generate().unwrap()).unwrap();
        tokio::select! {
            refused = &mut dial => assert!(refused.is_err(), "an address of three banned keys is left alone"),
            other = within("elsewhere", elsewhere.connect(node.local_addrs()[0], None)) => drop(other.unwrap()),
        }
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_begin_with_a_short_hello_is_banned() {
    let (folder, data) = (tempfile::tempdir().unwrap(), content(500_000, 38));
    let metainfo = metainfo(&data, &[], &[]);
    let (node, _torrent) = seed(folder.path(), &metainfo, &data).await;
    // Only the beginnings are sent: nothing is kept for what would follow.
    let beginnings = [
        ("a have first", [0, 2, 0, 1, 1]),
        ("a hello of 200 KiB", [0, 3, 0x20, 0, 0]),
    ];
    for (what, bytes) in beginnings {
        let bad = endpoint();
        let connection = within(what, bad.connect(node.local_addrs()[0], None))
            .await
            .unwrap();
        let (mut writer, _reader) = open_control(&connection).await.unwrap();
        writer.send_raw(&bytes).await.unwrap();
        within(what, connection.closed()).await;
        let again = within(what, bad.connect(node.local_addrs()[0], None)).await;
        // A connection that is closed at once may look like a failed dial.
        if let Ok(again) = again {
            let end = within(what, again.closed()).await.to_string();
            assert!(end.contains("not now"), "{what}: {end}");
        }
    }
    viewer_completes(&metainfo, &data, address(&node)).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_requests_is_answered_with_a_ban() {
    let (folder, data) = (tempfile::tempdir().unwrap(), content(1_000_000, 33));
    let metainfo = metainfo(&data, &[], &[]);
    let (node, torrent) = seed(folder.path(), &metainfo, &data).await;
    // Beyond the end, and across a piece's border, which is no request either: banned after a few. Refused ones: after many.
    let across = Request {
        run: BlockRun::new(0, 3, 2),
        ..request(&metainfo, 3)
    };
    for (n, asked) in [request(&metainfo, 50_000), across].into_iter().enumerate() {
        let (_endpoint, connection, _writer, _reader) = greet(&node, &metainfo, 0).await;
        let flood = async {
            while let Ok(mut reply) = open_request(&connection, &asked).await {
                let Ok(header) = reply.header(asked.run.count).await else {
                    return;
                };
                assert_eq!(header.status, ReplyStatus::Refused(RefuseReason::Invalid));
            }
        };
        within("the ban", flood).await;
        let stats = until(&torrent, |s| s.banned == n + 1).await;
        let why = stats.problems.iter().filter(|p| p.contains("broke the protocol"));
        assert_eq!(why.count(), n + 1, "{:?}", stats.problems);
    }
    viewer_completes(&metainfo, &data, address(&node)).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_refused_again_and_again_end_our_patience() {
    let folder = tempfile::tempdir().unwrap();
    let data = content(1_000_000, 34);
    let metainfo = metainfo(&data, &[], &[]);
    // It holds nothing, so that each honest-looking request is refused.
    let node = node(folder.path()).await;
    let options = AddOptions {
        give_up: None,
        ..only_peers(&[])
    };
    let torrent = node.add(metainfo.clone(), options).await.unwrap();
    let bad = endpoint();
    let connection = bad.connect(node.local_addrs()[0], None).await.unwrap();
    let (mut writer, mut reader) = open_control(&connection).await.unwrap();
    writer.send(&hello(&metainfo)).await.unwrap();
    within("hello", reader.next()).await.unwrap();
    // Several at a time, or a slow machine would ask for too little in a second.
    let refused = AtomicU32::new(0);
    let flood = || async {
        while let Ok(mut reply) = open_request(&connection, &request(&metainfo, 3)).await {
            if reply.header(1).await.is_err() {
                break;
            }
            refused.fetch_add(1, Ordering::Relaxed);
        }
    };
    within("the ban", join_all((0..16).map(|_| flood()))).await;
    let refused = refused.into_inner();
    assert!(refused >= 1_000, "banned after {refused} refusals only");
    let stats = until(&torrent, |s| s.banned == 1).await;
    assert!(
        stats.problems.iter().any(|p| p.contains("floods")),
        "{:?}",
        stats.problems
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replayed_handshakes_keep_nobody_out() {
    const FLIGHTS: usize = 200;
    let (folder, data) = (tempfile::tempdir().unwrap(), content(500_000, 35));
    let metainfo = metainfo(&data, &[], &[]);
    let (node, _torrent) = seed(folder.path(), &metainfo, &data).await;
    // The first flights of honest dials, as somebody on the way would record them.
    let tap = UdpSocket::bind(LOCAL).await.unwrap();
    let dialler = Arc::new(endpoint());
    let tapped = tap.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..FLIGHTS {
        let dialler = dialler.clone();
        tasks.spawn(async move {
            let _ = dialler.connect(tapped, None).await;
        });
    }
    let mut flights = BTreeMap::new();
    let mut packet = [0; 2_048];
    while flights.len() < FLIGHTS {
        let (length, _) = within("an Initial", tap.recv_from(&mut packet)).await.unwrap();
        let initial = packet[..length].to_vec();
        flights.insert(ids_of_initial(&initial).0.to_vec(), initial);
    }
    tasks.shutdown().await;
    // From thousands of addresses, none of which ever answers.
    let to = node.local_addrs()[0];
    let mut kept = Vec::new();
    for (n, initial) in (0..2_000_u16).zip(flights.values().cycle()) {
        let from = SocketAddr::from(([127, 1, (n / 250) as u8, (n % 250) as u8 + 1], 0));
        let socket = UdpSocket::bind(from).await.unwrap();
        socket.send_to(initial, to).await.unwrap();
        kept.push(socket);
        kept.truncate(FLIGHTS);
    }
    // With some handshakes begun, all others must first show that they are where they say (a Retry, RFC 9000 §17.2.5).
    let mut retries = 0;
    for socket in &kept {
        within("an answer", socket.recv_from(&mut packet)).await.unwrap();
        retries += usize::from(packet[0] & 0xF0 == 0xF0);
    }
    assert!(retries >= FLIGHTS / 2, "{retries} of {FLIGHTS}");
    viewer_completes(&metainfo, &data, address(&node)).await;
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_bounded_and_those_that_serve_nothing_make_room() {
    let (folder, data) = (tempfile::tempdir().unwrap(), content(500_000, 36));
    let metainfo = metainfo(&data, &[], &[]);
    let path = folder.path().join("here.bin");
    std::fs::write(&path, &data).unwrap();
    let config = NodeConfig {
        max_connections: 20,
        ..config(folder.path())
    };
    let node = Node::start(config).await.unwrap();
    let options = AddOptions {
        location: Location::Existing(path),
        ..only_peers(&[])
    };
    completed(&node.add(metainfo.clone(), options).await.unwrap()).await;
    // One address gets half of the places, however many keys it shows.
    let mut idle: Vec<(Endpoint, Connection)> = Vec::new();
    for _ in 0..40 {
        let endpoint = endpoint();
        let connection = within("a dial", endpoint.connect(node.local_addrs()[0], None)).await;
        // A connection that is closed at once may look like a failed dial.
        if let Ok(connection) = connection {
            idle.push((endpoint, connection));
        }
    }
    // One more from there is told that there is no room, and waits for it.
    let waiting = tempfile::tempdir().unwrap();
    let waiter = common::node(waiting.path()).await;
    let patient = waiter
        .add(metainfo.clone(), only_peers(&[address(&node)]))
        .await
        .unwrap();
    // A viewer elsewhere finds a place meanwhile.
    let elsewhere = tempfile::tempdir().unwrap();
    let config = NodeConfig {
        listen: vec![SocketAddr::from(([127, 0, 0, 2], 0))],
        ..common::config(elsewhere.path())
    };
    let viewer = Node::start(config).await.unwrap();
    let torrent = viewer
        .add(metainfo.clone(), only_peers(&[address(&node)]))
        .await
        .unwrap();
    completed(&torrent).await;
    viewer.stop().await;
    // Those without a torrent are closed, all of them.
    let mut unused = 0;
    for (_, connection) in &idle {
        let end = within("the end of an idle connection", connection.closed()).await;
        unused += usize::from(end.to_string().contains("no torrent"));
    }
    assert!((1..=10).contains(&unused), "{unused} of one address had a place");
    completed(&patient).await;
    assert_eq!(stored(&patient), data);
    waiter.stop().await;
    viewer_completes(&metainfo, &data, address(&node)).await;
    node.stop().await;
}

/// A tracker that answers everybody with these addresses, in the compact form of BEP 23.
async fn tracker_that_names(tasks: &mut JoinSet<()>, peers: &[u8]) -> String {
    let mut answer = format!("d8:intervali60e5:peers{}:", peers.len()).into_bytes();
    answer.extend(peers);
    answer.push(b'e');
    let listener = tokio::net::TcpListener::bind(LOCAL).await.unwrap();
    let tracker = format!("http://{}/announce", listener.local_addr().unwrap());
    let app = axum::Router::new().route("/announce", axum::routing::get(move || async move { answer }));
    tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
    tracker
}

/// The connection ids of an Initial (RFC 9000 §17.2.2): those of who is dialled and of who dials, which each dial makes anew.
fn ids_of_initial(packet: &[u8]) -> (&[u8], &[u8]) {
    assert_eq!(packet[0] & 0xF0, 0xC0, "an Initial");
    let (to, rest) = packet[6..].split_at(packet[5].into());
    (to, &rest[1..][..rest[0].into()])
}

/// Says that no version of QUIC is spoken here (RFC 9000 §17.2.1), so that a dial is over at once.
fn no_such_version(initial: &[u8]) -> Vec<u8> {
    let (to, from) = ids_of_initial(initial);
    let mut packet = vec![0x80, 0, 0, 0, 0];
    for id in [from, to] {
        packet.push(id.len() as u8);
        packet.extend(id);
    }
    packet.extend([0x0A; 4]);
    packet
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tracker_that_names_thousands_of_addresses_is_believed_within_bounds() {
    // More than are kept of one host.
    const SOCKETS: usize = 150;
    let mut tasks = JoinSet::new();
    let folder = tempfile::tempdir().unwrap();
    // 10,000 names of sockets of ours, each of which sees who dials.
    let (seeing, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let mut sockets = Vec::new();
    for _ in 0..SOCKETS {
        let socket = UdpSocket::bind(LOCAL).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        sockets.push([&[127, 0, 0, 1], &port.to_be_bytes()[..]].concat());
        let seeing = seeing.clone();
        tasks.spawn(async move {
            let mut packet = [0; 2_048];
            while let Ok((length, dialler)) = socket.recv_from(&mut packet).await {
                let initial = &packet[..length];
                let _ = seeing.send((port, ids_of_initial(initial).1.to_vec()));
                socket.send_to(&no_such_version(initial), dialler).await.unwrap();
            }
        });
    }
    let peers: Vec<u8> = sockets.into_iter().cycle().take(10_000).flatten().collect();
    let tracker = tracker_that_names(&mut tasks, &peers).await;
    let node = node(folder.path()).await;
    let options = AddOptions {
        give_up: None,
        ..only_peers(&[])
    };
    let metainfo = metainfo(&content(500_000, 40), &[], &[tracker]);
    let _torrent = node.add(metainfo, options).await.unwrap();
    // Each of those that are known has been dialled about three times by then.
    let mut dials = BTreeSet::new();
    while dials.len() < 300 {
        dials.insert(within("a dial", seen.recv()).await.unwrap());
    }
    let dialled: BTreeSet<u16> = dials.iter().map(|(port, _)| *port).collect();
    println!("of {SOCKETS} sockets {} were dialled", dialled.len());
    assert!(dialled.len() <= 100, "{} of one host were dialled", dialled.len());
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_dialled_once_at_a_time_however_many_torrents_name_it() {
    let folder = tempfile::tempdir().unwrap();
    let victim = UdpSocket::bind(LOCAL).await.unwrap();
    let address = victim.local_addr().unwrap().to_string();
    let node = node(folder.path()).await;
    let mut torrents = Vec::new();
    for seed in 0..2 {
        let metainfo = metainfo(&content(100_000, 50 + seed), &[], &[]);
        let options = AddOptions {
            give_up: None,
            ..only_peers(std::slice::from_ref(&address))
        };
        torrents.push(node.add(metainfo, options).await.unwrap());
    }
    // What is not answered is sent again, by the same dial.
    let (mut dials, mut packet) = (Vec::<Vec<u8>>::new(), [0; 2_048]);
    for _ in 0..6 {
        let (length, _) = within("a dial", victim.recv_from(&mut packet)).await.unwrap();
        dials.push(ids_of_initial(&packet[..length]).1.to_vec());
    }
    let distinct: BTreeSet<_> = dials.iter().collect();
    let one_after_the_other = dials.chunk_by(PartialEq::eq).count() == distinct.len();
    assert!(one_after_the_other, "two dials at a time: {dials:?}");
    // How it ended is told to both.
    for torrent in &torrents {
        until(torrent, |s| s.problems.iter().any(|p| p.contains("no answer"))).await;
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn private_addresses_that_a_tracker_names_by_the_thousand_are_not_dialled() {
    let mut tasks = JoinSet::new();
    let folder = tempfile::tempdir().unwrap();
    let data = content(500_000, 37);
    let (_origin, url) = origin(&mut tasks, &data, Vice::None).await;
    // 10,000 names, of private networks and of a socket of ours, so that a dial is seen.
    let victim = UdpSocket::bind(LOCAL).await.unwrap();
    let port = victim.local_addr().unwrap().port();
    let mut peers = Vec::new();
    for n in 0..10_000_u32 {
        let [_, _, b, c] = n.to_be_bytes();
        let address = if n % 2 == 0 { [10, 9, b, c] } else { [127, 0, 0, 1] };
        peers.extend(address);
        peers.extend(if n % 2 == 0 {
            (n as u16 + 1).to_be_bytes()
        } else {
            port.to_be_bytes()
        });
    }
    let tracker = tracker_that_names(&mut tasks, &peers).await;
    let metainfo = metainfo(&data, &[url], &[tracker]);
    // Private addresses are refused, but for the two that this test needs.
    let gate = gate::Gate::new(gate::Policy::default());
    let trusted = metainfo
        .web_seeds()
        .iter()
        .chain(metainfo.trackers().iter().flatten());
    for text in trusted {
        let url: gate::Url = text.parse().unwrap();
        gate.trust(url.host_str().unwrap(), url.port().unwrap());
    }
    let config = NodeConfig {
        gate,
        ..config(folder.path())
    };
    let node = Node::start(config).await.unwrap();
    let torrent = node.add(metainfo, AddOptions::default()).await.unwrap();
    let stats = completed(&torrent).await;
    assert_eq!(stored(&torrent), data);
    assert_eq!(stats.peers_seen, 0);
    let mut buffer = [0; 64];
    let dialled = victim.try_recv_from(&mut buffer);
    assert!(
        dialled.is_err(),
        "a private address was dialled because a tracker named it"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_of_a_private_torrent_are_named_to_nobody_and_name_nobody() {
    let (folder, data) = (tempfile::tempdir().unwrap(), content(500_000, 39));
    let node = node(folder.path()).await;
    let path = folder.path().join("here.bin");
    std::fs::write(&path, &data).unwrap();
    let mut named = Vec::new();
    // The public one comes last: when its peer was dialled, that of the private one would have been.
    for private in [true, false] {
        let builder = engine::metainfo::Builder::new("here.bin").private(private);
        let metainfo = Arc::new(builder.hash(&data[..], data.len() as u64, |_| {}).unwrap());
        let options = AddOptions {
            location: Location::Existing(path.clone()),
            ..only_peers(&[])
        };
        let torrent = node.add(metainfo.clone(), options).await.unwrap();
        completed(&torrent).await;
        let one = greet(&node, &metainfo, 7_777).await;
        until(&torrent, |s| s.peers == 1).await;
        let (_endpoint, connection, mut writer, mut reader) = greet(&node, &metainfo, 0).await;
        // It is answered after everything that a new neighbour is told.
        let ask = Message::MetadataRequest {
            kind: engine::wire::MetadataKind::Info,
            offset: 0,
            length: 1,
        };
        writer.send(&ask).await.unwrap();
        let mut told = Vec::new();
        loop {
            match within("an answer", reader.next()).await.unwrap() {
                Some(Message::Metadata { .. }) => break,
                Some(Message::PeerExchange(addresses)) => told.extend(addresses),
                _ => {}
            }
        }
        let expected = SocketAddr::new(one.1.remote_address().ip(), 7_777);
        assert_eq!(told, if private { vec![] } else { vec![expected] });

        let victim = UdpSocket::bind(LOCAL).await.unwrap();
        let exchange = Message::PeerExchange(vec![victim.local_addr().unwrap()]);
        writer.send(&exchange).await.unwrap();
        // Nor is an introduction heeded: of two ids one has us dial, the other open our router.
        let introduced = UdpSocket::bind(LOCAL).await.unwrap();
        for peer in [[0xFF; 32], [1; 32]] {
            let address = introduced.local_addr().unwrap();
            writer.send(&Message::Dial { peer, address }).await.unwrap();
        }
        writer.send(&ask).await.unwrap();
        while !matches!(
            within("an answer", reader.next()).await.unwrap(),
            Some(Message::Metadata { .. })
        ) {}
        named.push((victim, introduced, torrent, one, connection, writer, reader));
    }
    let mut packet = [0; 2_048];
    for socket in [&named[1].0, &named[1].1] {
        let heard = socket.recv_from(&mut packet);
        within("a dial of the peer that was named", heard).await.unwrap();
    }
    for socket in [&named[0].0, &named[0].1] {
        assert!(
            socket.try_recv_from(&mut packet).is_err(),
            "a peer of a private torrent named somebody, and was heeded"
        );
    }
    node.stop().await;
}

/// A peer answers a question for metadata, with a bit of `wrong` flipped.
async fn answer_metadata(
    writer: &mut ControlWriter,
    metainfo: &Metainfo,
    message: Message,
    wrong: Option<MetadataKind>,
) {
    let Message::MetadataRequest { kind, offset, length } = message else {
        return;
    };
    let (mut data, total) = metainfo.metadata(kind, offset, length).unwrap();
    if wrong == Some(kind) {
        data[0] ^= 1;
    }
    let answer = Message::Metadata {
        kind,
        offset,
        total,
        data: data.into(),
    };
    writer.send(&answer).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lies_about_the_metadata_is_asked_no_more_and_it_comes_from_another() {
    let metainfo = metainfo(&content(500_000, 41), &[], &[]);
    for wrong in [MetadataKind::Info, MetadataKind::PieceLayer(FileIndex(0))] {
        let folder = tempfile::tempdir().unwrap();
        let node = node(folder.path()).await;
        let liar = endpoint();
        let wanted = Wanted {
            info_hash: metainfo.info_hash_v2(),
            secret: None,
            peers: vec![liar.local_addr().unwrap().to_string()],
            trackers: Vec::new(),
            web_seeds: Vec::new(),
            give_up: PATIENCE,
        };
        let looking = node.metainfo(wanted);
        let answering = async {
            let dial = within("a dial", liar.accept()).await.unwrap();
            let connection = dial.finish(false).await.unwrap().unwrap();
            let stream = accept_stream(&connection).await.unwrap().await.unwrap();
            let Some(Incoming::Control(mut writer, mut reader)) = stream else {
                panic!("it begins with a control stream");
            };
            writer.send(&hello(&metainfo)).await.unwrap();
            while let Ok(Some(message)) = within("the end of its patience", reader.next()).await {
                answer_metadata(&mut writer, &metainfo, message, Some(wrong)).await;
            }
            // Nor is it greeted again when it comes back.
            let (mut writer, mut reader) = open_control(&connection).await.unwrap();
            writer.send(&hello(&metainfo)).await.unwrap();
            let greeted = within("an end", reader.next()).await;
            assert!(!matches!(greeted, Ok(Some(_))), "{wrong:?}: {greeted:?}");
            let (_endpoint, _connection, mut writer, mut reader) = greet(&node, &metainfo, 0).await;
            while let Ok(Some(message)) = within("a question", reader.next()).await {
                answer_metadata(&mut writer, &metainfo, message, None).await;
            }
            std::future::pending().await
        };
        let found = tokio::select! {
            found = looking => found.unwrap(),
            never = answering => match never {},
        };
        assert_eq!(found.info_hash_v2(), metainfo.info_hash_v2());
        assert!(found.files()[0].piece_layer().is_some(), "{wrong:?}");
        node.stop().await;
    }
}
