//! What one connection may have of a node, however it asks: over control streams that it opens again and again, over
//! none at all, and where only the metadata is looked for.

mod common;

use common::raw::*;
use common::*;
use engine::metainfo::Builder;
use engine::net::{Incoming, accept_stream, open_control, open_request};
use engine::node::{AddOptions, Location, Node, Wanted};
use engine::personal::Secret;
use engine::swarm::RefuseReason;
use engine::wire::{Message, MetadataKind, ReplyStatus, Request};

fn ask(length: u32) -> Message {
    Message::MetadataRequest {
        kind: MetadataKind::Info,
        offset: 0,
        length,
    }
}

fn wanted(metainfo: &engine::metainfo::Metainfo, peers: &[String]) -> Wanted {
    Wanted {
        info_hash: metainfo.info_hash_v2(),
        secret: None,
        peers: peers.to_vec(),
        trackers: Vec::new(),
        web_seeds: Vec::new(),
        give_up: PATIENCE,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_opens_its_control_stream_again_and_again_gets_no_more_and_is_banned() {
    let (folder, data) = (tempfile::tempdir().unwrap(), content(1_000_000, 51));
    let metainfo = metainfo(&data, &[], &[]);
    let (node, _torrent) = seed(folder.path(), &metainfo, &data).await;
    let bad = endpoint();
    let connection = within("a dial", bad.connect(node.local_addrs()[0], None))
        .await
        .unwrap();
    // Many at a time, as somebody would who means harm. What one stream brings: lists of what is held, and metadata.
    let open = async || {
        let mut got = (0, 0);
        let Ok((mut writer, mut reader)) = open_control(&connection).await else {
            return got;
        };
        if writer.send(&hello(&metainfo)).await.is_err() || writer.send(&ask(65_536)).await.is_err() {
            return got;
        }
        while let Ok(Some(message)) = reader.next().await {
            match message {
                Message::Have(_) => got.0 += 1,
                Message::Metadata { data, .. } => {
                    got.1 += data.len() as u64;
                    break;
                }
                _ => {}
            }
        }
        got
    };
    let (mut openings, mut haves, mut metadata) = (0, 0, 0);
    while !connection.is_closed() {
        let round = futures_util::future::join_all((0..64).map(|_| open()));
        for (lists, bytes) in within("an answer", round).await {
            openings += 1;
            haves += lists;
            metadata += bytes;
        }
    }
    assert!(openings > 1_000, "banned after {openings} only");
    // So many at once, and a few more in the time that it took.
    assert!(
        haves <= 8 + PATIENCE.as_secs() / 5,
        "{haves} lists of what we hold"
    );
    assert!(
        metadata <= 3 * metainfo.metadata_bytes(),
        "{metadata} bytes of metadata of {}",
        metainfo.metadata_bytes()
    );
    viewer_completes(&metainfo, &data, address(&node)).await;
    node.stop().await;
}

/// Asks for the same until that is a flood. Gives how often it was answered, and how the last time.
async fn floods(node: &Node, request: &Request) -> (usize, Option<ReplyStatus>) {
    let bad = endpoint();
    let (mut answers, mut last) = (0, None);
    loop {
        let connection = within("a dial", bad.connect(node.local_addrs()[0], None)).await;
        let connection = connection.expect("a key that is not banned yet");
        let one = async || {
            let mut reply = open_request(&connection, request).await.ok()?;
            Some(reply.header(1).await.ok()?.status)
        };
        while !connection.is_closed() {
            let round = futures_util::future::join_all((0..64).map(|_| one()));
            let round = within("an answer", round).await;
            answers += round.iter().flatten().count();
            last = round.into_iter().flatten().last().or(last);
        }
        // On a slow machine it may be closed before, as one that serves no torrent.
        let why = connection.closed().await.to_string();
        if !why.contains("no torrent") {
            assert!(why.contains("floods"), "{why}");
            return (answers, last);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_without_a_control_stream_are_counted_and_told_nothing_of_a_personal_swarm() {
    let (folder, data) = (tempfile::tempdir().unwrap(), content(500_000, 52));
    let metainfo = metainfo(&data, &[], &[]);
    let path = folder.path().join("here.bin");
    std::fs::write(&path, &data).unwrap();
    let node = node(folder.path()).await;
    let secret = Secret::generate();
    let personal = Builder::new("here.bin").hash(&data[..], data.len() as u64, |_| {});
    let personal = std::sync::Arc::new(personal.unwrap());
    let here = |secret| AddOptions {
        location: Location::Existing(path.clone()),
        secret,
        ..only_peers(&[])
    };
    for (metainfo, secret) in [(&metainfo, None), (&personal, Some(secret))] {
        let torrent = node.add(metainfo.clone(), here(secret)).await.unwrap();
        completed(&torrent).await;
    }
    let served = request(&metainfo, 0);
    let none = ReplyStatus::UnknownSwarm;
    let expected = [
        (served.swarm, ReplyStatus::Refused(RefuseReason::Choked)),
        (secret.swarm(), none),
        ([9; 32], none),
    ];
    for (swarm, status) in expected {
        let request = Request { swarm, ..served };
        let (answers, last) = within("the ban", floods(&node, &request)).await;
        assert_eq!(last, Some(status));
        // The connection ends before the last ones are answered.
        assert!(answers >= 500, "{answers} answers of {status:?}");
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_looks_for_metadata_is_flooded_by_nobody() {
    let (folder, data) = (tempfile::tempdir().unwrap(), content(300_000, 53));
    let metainfo = metainfo(&data, &[], &[]);
    let node = node(folder.path()).await;
    let looking = node.metainfo(wanted(&metainfo, &[]));
    let flood = async {
        let (_, last) = floods(&node, &request(&metainfo, 0)).await;
        assert_eq!(last, Some(ReplyStatus::Refused(RefuseReason::Choked)));
        // Over a control stream as well.
        let (_endpoint, connection, mut writer, mut reader) = greet(&node, &metainfo, 0).await;
        writer.send(&ask(65_536)).await.unwrap();
        let answer = within("an answer", async {
            loop {
                let message = reader.next().await.unwrap().expect("not closed yet");
                if let Message::Metadata { data, .. } = message {
                    return data;
                }
            }
        });
        assert!(answer.await.is_empty());
        // What is answered to a flood may be lost when the connection ends.
        let asking = async { while writer.send(&ask(65_536)).await.is_ok() {} };
        let answered = async { while let Ok(Some(_)) = reader.next().await {} };
        tokio::join!(asking, answered);
        within("the ban", connection.closed()).await;
    };
    tokio::select! {
        found = looking => panic!("nobody has it: {found:?}"),
        () = within("both bans", flood) => {}
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_both_look_for_the_metadata_wait_for_each_other() {
    let (folder, data) = (tempfile::tempdir().unwrap(), content(300_000, 54));
    let metainfo = metainfo(&data, &[], &[]);
    let node = node(folder.path()).await;
    let looking = node.metainfo(wanted(&metainfo, &[]));
    // The other one has none either, says so twice, and has it then.
    let other = async {
        let (_endpoint, connection, mut writer, mut reader) = greet(&node, &metainfo, 0).await;
        writer.send(&ask(65_536)).await.unwrap();
        let (mut asked, mut answered) = (0, 0);
        while let Ok(Some(message)) = reader.next().await {
            match message {
                Message::Metadata { total, data, .. } => {
                    assert_eq!((total, data.len()), (0, 0), "who has none says so");
                    answered += 1;
                }
                Message::MetadataRequest { kind, offset, length } => {
                    asked += 1;
                    let part = metainfo.metadata(kind, offset, length);
                    let (data, total) = part.filter(|_| asked > 2).unwrap_or_default();
                    let data = data.into();
                    let message = Message::Metadata {
                        kind,
                        offset,
                        total,
                        data,
                    };
                    writer.send(&message).await.unwrap();
                }
                _ => {}
            }
        }
        drop(connection);
        (asked, answered)
    };
    let both = Box::pin(async { tokio::join!(looking, other) });
    let (found, (asked, answered)) = within("the metadata", both).await;
    assert_eq!(found.unwrap().info_hash_v2(), metainfo.info_hash_v2());
    assert!(asked > 2 && answered == 1, "asked {asked}, answered {answered}");
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_look_for_the_metadata_both_get_it_of_a_late_seed_that_one_of_them_meets() {
    let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let data = content(300_000, 55);
    let metainfo = metainfo(&data, &[], &[]);
    let (one, two) = (node(folders[0].path()).await, node(folders[1].path()).await);
    let first = async {
        let found = one.metainfo(wanted(&metainfo, &[address(&two)])).await.unwrap();
        one.add(found.into(), only_peers(&[address(&two)])).await.unwrap()
    };
    let second = two.metainfo(wanted(&metainfo, &[address(&one)]));
    let seed = async {
        // Both look, and have told somebody so, before anybody has anything.
        for node in [&one, &two] {
            let (_endpoint, _connection, mut writer, mut reader) = greet(node, &metainfo, 0).await;
            writer.send(&ask(1)).await.unwrap();
            while !matches!(reader.next().await, Ok(Some(Message::Metadata { .. }))) {}
        }
        let path = folders[2].path().join("here.bin");
        std::fs::write(&path, &data).unwrap();
        let node = node(folders[2].path()).await;
        let options = AddOptions {
            location: Location::Existing(path),
            ..only_peers(&[address(&one)])
        };
        (node.add(metainfo.clone(), options).await.unwrap(), node)
    };
    let (torrent, found, (_seeding, node)) = Box::pin(within("the metadata", async {
        tokio::join!(first, second, seed)
    }))
    .await;
    assert_eq!(found.unwrap().info_hash_v2(), metainfo.info_hash_v2());
    completed(&torrent).await;
    assert_eq!(stored(&torrent), data);
    for node in [one, two, node] {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_we_dialled_and_who_answers_nonsense_is_banned() {
    let (folder, data) = (tempfile::tempdir().unwrap(), content(300_000, 56));
    let metainfo = metainfo(&data, &[], &[]);
    let bad = endpoint();
    let at = bad.local_addr().unwrap().to_string();
    let node = node(folder.path()).await;
    let options = AddOptions {
        give_up: None,
        ..only_peers(&[at])
    };
    let _torrent = node.add(metainfo.clone(), options).await.unwrap();
    let handshake = within("a dial", bad.accept()).await.unwrap();
    let connection = within("a dial", handshake.finish(false)).await.unwrap().unwrap();
    let stream = within("a stream", accept_stream(&connection)).await.unwrap();
    let Ok(Some(Incoming::Control(mut writer, _reader))) = within("a hello", stream).await else {
        panic!("it opens a control stream");
    };
    // A have in the place of the hello.
    writer.send(&Message::Have(Vec::new())).await.unwrap();
    within("the ban", connection.closed()).await;
    // A connection that is closed at once may look like a failed dial.
    if let Ok(again) = within("a dial", bad.connect(node.local_addrs()[0], None)).await {
        within("a banned key", again.closed()).await;
    }
    node.stop().await;
}
