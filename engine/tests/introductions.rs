//! Introductions, each side of them by itself: who is asked, who introduces, who is introduced. Where only one side can
//! learn the other's address, nothing else brings them together.

mod common;

use common::raw::*;
use common::*;
use engine::net::{ControlReader, Endpoint, Identity, Incoming, accept_stream};
use engine::node::AddOptions;
use engine::wire::Message;
use std::net::SocketAddr;
use tokio::net::UdpSocket;

/// The next `dial` on a control stream.
async fn next_dial(reader: &mut ControlReader) -> ([u8; 32], SocketAddr) {
    loop {
        match within("a dial", reader.next()).await.unwrap() {
            Some(Message::Dial { peer, address }) => return (peer, address),
            Some(_) => {}
            None => panic!("the stream ended"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_knows_both_sides_introduces_them_to_each_other() {
    let (folder, data) = (tempfile::tempdir().unwrap(), content(300_000, 61));
    let metainfo = metainfo(&data, &[], &[]);
    let (node, torrent) = seed(folder.path(), &metainfo, &data).await;
    let (here, _one, mut asking, mut answers) = greet(&node, &metainfo, 0).await;
    // The other one is known by where it says that it takes connections.
    let (there, _two, _writer, mut told) = greet(&node, &metainfo, 7_777).await;
    until(&torrent, |s| s.peers == 2).await;
    let (at_one, at_two) = (here.local_addr().unwrap(), there.local_addr().unwrap());
    let named = SocketAddr::new(at_two.ip(), 7_777);
    for address in [SocketAddr::from(([127, 0, 0, 1], 9)), named] {
        let peer = [0; 32];
        asking.send(&Message::Dial { peer, address }).await.unwrap();
    }
    let (who, address) = next_dial(&mut answers).await;
    assert_eq!(address, at_two, "where it is seen, not where it says that it is");
    let (asker, from) = next_dial(&mut told).await;
    assert_eq!(from, at_one);
    assert!(
        who != [0; 32] && asker != [0; 32] && who != asker,
        "each is told the other's id"
    );
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gets_no_answer_asks_who_named_the_address_and_follows_the_introduction() {
    let (folder, data) = (tempfile::tempdir().unwrap(), content(300_000, 62));
    let metainfo = metainfo(&data, &[], &[]);
    let node = node(folder.path()).await;
    let options = AddOptions {
        give_up: None,
        ..only_peers(&[])
    };
    let torrent = node.add(metainfo.clone(), options).await.unwrap();
    let (_common, _connection, mut writer, mut reader) = greet(&node, &metainfo, 0).await;
    // Nobody answers there, as behind a router; who does is elsewhere, and knows nothing of the node.
    let silent = UdpSocket::bind(LOCAL).await.unwrap();
    let named = silent.local_addr().unwrap();
    writer.send(&Message::PeerExchange(vec![named])).await.unwrap();
    let asked = next_dial(&mut reader).await;
    assert_eq!(asked, ([0; 32], named));
    let identity = Identity::generate().unwrap();
    let far = Endpoint::bind(LOCAL, &identity).unwrap();
    let introduced = Message::Dial {
        peer: identity.id().0,
        address: far.local_addr().unwrap(),
    };
    writer.send(&introduced).await.unwrap();
    let handshake = within("to be dialled", far.accept()).await.unwrap();
    let connection = within("to be dialled", handshake.finish(false)).await;
    let connection = connection.unwrap().unwrap();
    // It is greeted over it like anybody else.
    let stream = within("a stream", accept_stream(&connection)).await.unwrap();
    let Ok(Some(Incoming::Control(mut writer, mut reader))) = within("a hello", stream).await else {
        panic!("it opens a control stream");
    };
    within("a hello", reader.hello()).await.unwrap();
    writer.send(&hello(&metainfo)).await.unwrap();
    let stats = until(&torrent, |s| s.peers == 2).await;
    assert_eq!((stats.ways.punched, stats.ways.direct), (1, 1));
    node.stop().await;
}
