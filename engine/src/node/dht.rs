//! Finding peers through the mainline DHT (BEP 5), for public torrents only.
//!
//! One DHT node (crate `mainline`, with a thread and a socket of its own) serves all torrents of the process; it is
//! started when the first public torrent wants it, and tried again while it cannot be, as without a network. It speaks
//! from the IP that was asked for with `listen`, IPv4 only, and its first contacts are judged by the gate. What it names
//! are addresses to try, like a tracker's.

use super::candidates::Heard;
use super::inbox::Msg;
use super::registry::Registry;
use futures_util::StreamExt;
use gate::Gate;
use mainline::Dht;
use mainline::async_dht::AsyncDht;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Where the mainline DHT is joined, when nothing else is said: `host:port`.
pub const DHT_BOOTSTRAP: [&str; 4] = mainline::DEFAULT_BOOTSTRAP_NODES;

/// First contacts that are used.
const MAX_CONTACTS: usize = 16;
/// Time between look-ups while nobody is found (or the DHT cannot be joined), and otherwise.
const PAUSES: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(15 * 60));
/// Longest time that one look-up or announcement may take.
const LOOK_UP: Duration = Duration::from_secs(60);
/// Addresses that are taken of one look-up.
const MAX_FOUND: usize = 200;

/// Starts a DHT node. An error says why there is none now.
pub(super) async fn start(
    gate: &Gate,
    bootstrap: &[String],
    local: &[SocketAddr],
) -> Result<AsyncDht, String> {
    let local = ipv4(local).ok_or("there is no IPv4 socket")?;
    let mut contacts = Vec::new();
    for name in bootstrap.iter().take(MAX_CONTACTS) {
        let Some((host, port)) = name
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)))
        else {
            // Whoever takes it from a person says so.
            tracing::debug!("the DHT's first contact {name:?} is not host:port");
            continue;
        };
        match gate.resolve(host, port).await {
            Ok(addresses) => contacts.extend(addresses.into_iter().filter(SocketAddr::is_ipv4)),
            Err(e) => tracing::debug!("the DHT's first contact {name}: {e}"),
        }
    }
    if contacts.is_empty() {
        return Err("no first contact can be reached".to_owned());
    }
    let building = tokio::task::spawn_blocking(move || {
        Dht::builder()
            .bind_address(local)
            .port(0)
            .bootstrap(&contacts)
            .build()
    });
    match building.await {
        Ok(Ok(dht)) => Ok(dht.as_async()),
        Ok(Err(e)) => Err(e.to_string()),
        Err(e) => Err(e.to_string()),
    }
}

fn ipv4(local: &[SocketAddr]) -> Option<Ipv4Addr> {
    local.iter().find_map(|address| match address.ip() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    })
}

/// Looks for peers under this key and announces us, again and again, until it is aborted.
pub(super) async fn run(registry: Arc<Registry>, key: [u8; 20], driver: mpsc::Sender<Msg>) {
    let found = |addresses, first_look_over| Msg::Found {
        heard: Heard::Dht,
        addresses,
        first_look_over,
    };
    let local = ipv4(&registry.config().listen);
    let (Some(_), Ok(id)) = (local, mainline::Id::from_bytes(key)) else {
        let _ = driver.send(found(Vec::new(), true)).await;
        return;
    };
    let mut first = true;
    let dht = loop {
        // Others may be trying before: a queue of them is not waited for.
        if let Ok(Some(dht)) = tokio::time::timeout(LOOK_UP, registry.dht()).await {
            break dht;
        }
        // Nobody is to wait for what may come when there is a network again.
        if std::mem::take(&mut first) && driver.send(found(Vec::new(), true)).await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(PAUSES.0) => {}
            () = driver.closed() => return,
        }
    };
    loop {
        let mut others = 0;
        let mut answers = dht.get_peers(id);
        let look = async {
            while let Some(peers) = answers.next().await {
                let room = MAX_FOUND.saturating_sub(others);
                let peers: Vec<SocketAddr> = peers.into_iter().take(room).map(SocketAddr::V4).collect();
                others += peers.len();
                if !peers.is_empty() && driver.send(found(peers, false)).await.is_err() {
                    break;
                }
            }
        };
        if tokio::time::timeout(LOOK_UP, look).await.is_err() {
            tracing::debug!("a look-up in the DHT takes too long");
        }
        if std::mem::take(&mut first) && driver.send(found(Vec::new(), true)).await.is_err() {
            return;
        }
        let announcing = dht.announce_peer(id, Some(registry.port_for(true)));
        match tokio::time::timeout(LOOK_UP, announcing).await {
            Ok(Ok(_)) => tracing::debug!("announced in the DHT"),
            Ok(Err(e)) => tracing::debug!("announcing in the DHT: {e}"),
            Err(_) => tracing::debug!("announcing in the DHT takes too long"),
        }
        // From the second time on one of them is ourselves.
        let pause = if others <= 1 { PAUSES.0 } else { PAUSES.1 };
        tokio::time::sleep(pause).await;
    }
}
