//! Peers under the control of a test, which say what they like.

use super::{PATIENCE, completed, node, only_peers, stored};
use engine::metainfo::Metainfo;
use engine::net::{Connection, ControlReader, ControlWriter, Endpoint, Identity, open_control};
use engine::node::{AddOptions, Location, Node, Torrent};
use engine::swarm::{BlockRun, Urgency};
use engine::wire::{Hello, Message, Request, VERSION};
use std::net::SocketAddr;
use std::sync::Arc;

pub const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// A peer under the control of a test, with a key of its own.
pub fn endpoint() -> Endpoint {
    gate::install_crypto_provider();
    Endpoint::bind(LOCAL, &Identity::generate().unwrap()).unwrap()
}

pub fn hello(metainfo: &Metainfo) -> Message {
    Message::Hello(Hello {
        version: VERSION,
        swarm: *metainfo.info_hash_v2().as_bytes(),
        listen_port: 0,
        observed: None,
        extensions: Vec::new(),
    })
}

pub fn request(metainfo: &Metainfo, first: u32) -> Request {
    Request {
        swarm: *metainfo.info_hash_v2().as_bytes(),
        run: BlockRun::new(0, first, 1),
        urgency: Urgency::Urgent,
        slack: None,
    }
}

pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(done) => done,
        Err(elapsed) => panic!("{what}: not in time: {elapsed}"),
    }
}

/// A node that has everything.
pub async fn seed(folder: &std::path::Path, metainfo: &Arc<Metainfo>, data: &[u8]) -> (Node, Torrent) {
    let path = folder.join("here.bin");
    std::fs::write(&path, data).unwrap();
    let node = node(folder).await;
    let options = AddOptions {
        location: Location::Existing(path),
        ..only_peers(&[])
    };
    let torrent = node.add(metainfo.clone(), options).await.unwrap();
    completed(&torrent).await;
    (node, torrent)
}

/// A viewer completes from the node at this address.
pub async fn viewer_completes(metainfo: &Arc<Metainfo>, data: &[u8], from: String) {
    let folder = tempfile::tempdir().unwrap();
    let viewer = node(folder.path()).await;
    let torrent = viewer.add(metainfo.clone(), only_peers(&[from])).await.unwrap();
    completed(&torrent).await;
    assert_eq!(stored(&torrent), data);
    viewer.stop().await;
}

/// Greets a node as a peer that takes connections at this port, and gives the streams.
pub async fn greet(
    node: &Node,
    metainfo: &Metainfo,
    listen_port: u16,
) -> (Endpoint, Connection, ControlWriter, ControlReader) {
    let endpoint = endpoint();
    let connection = within("a dial", endpoint.connect(node.local_addrs()[0], None))
        .await
        .unwrap();
    let (mut writer, mut reader) = open_control(&connection).await.unwrap();
    let Message::Hello(hello) = hello(metainfo) else {
        unreachable!("it is a hello")
    };
    let hello = Hello { listen_port, ..hello };
    writer.send(&Message::Hello(hello)).await.unwrap();
    within("a hello", reader.hello()).await.unwrap();
    (endpoint, connection, writer, reader)
}
