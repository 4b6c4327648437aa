//! What happens to datagrams between two peers: a router that gives a connection another address, somebody who replays
//! what he recorded.

mod common;

use common::raw::*;
use common::*;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// Whether a datagram begins a connection (RFC 9000 §17.2.2).
fn is_initial(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & 0xF0 == 0xC0)
}

/// What a router does with the datagrams that it carries.
#[derive(Clone, Copy)]
enum Router {
    /// From each so many of the seed's on the viewer speaks from another port.
    MovesThePortEvery(usize),
    /// With each of the seed's comes one of the viewer's Initials again, from an address that answers nothing.
    ReplaysInitials,
}

#[derive(Default)]
struct Seen {
    initials: AtomicUsize,
    /// Of the seed.
    carried: AtomicUsize,
    /// Ports moved, or Initials replayed.
    done: AtomicUsize,
}

/// Carries datagrams between whoever speaks to the address that comes back and a seed.
async fn router(tasks: &mut JoinSet<()>, seed: SocketAddr, what: Router) -> (SocketAddr, Arc<Seen>) {
    let front = UdpSocket::bind(LOCAL).await.unwrap();
    let address = front.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let counted = seen.clone();
    tasks.spawn(async move {
        let (seen, mut back) = (counted, UdpSocket::bind(LOCAL).await.unwrap());
        let (mut viewer, mut initial) = (None, Vec::new());
        // Each is kept, so that no port comes twice.
        let mut old = Vec::new();
        let (mut out, mut home) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                Ok((length, from)) = front.recv_from(&mut out) => {
                    viewer = Some(from);
                    if is_initial(&out[..length]) {
                        seen.initials.fetch_add(1, Ordering::SeqCst);
                        initial = out[..length].to_vec();
                    }
                    back.send_to(&out[..length], seed).await.unwrap();
                }
                Ok((length, _)) = back.recv_from(&mut home) => {
                    let Some(viewer) = viewer else { continue };
                    // As a full queue does, it loses what does not fit.
                    let _ = front.send_to(&home[..length], viewer).await;
                    let carried = seen.carried.fetch_add(1, Ordering::SeqCst) + 1;
                    match what {
                        Router::MovesThePortEvery(many) if carried % many == 0 => {
                            let new = UdpSocket::bind(LOCAL).await.unwrap();
                            old.push(std::mem::replace(&mut back, new));
                            seen.done.fetch_add(1, Ordering::SeqCst);
                        }
                        Router::ReplaysInitials => {
                            let n = seen.done.fetch_add(1, Ordering::SeqCst);
                            let from = [127, 1, (n / 250 % 250) as u8, (n % 250) as u8 + 1];
                            let nobody = UdpSocket::bind(SocketAddr::from((from, 0))).await.unwrap();
                            nobody.send_to(&initial, seed).await.unwrap();
                            // The connection itself hears it again too.
                            back.send_to(&initial, seed).await.unwrap();
                        }
                        Router::MovesThePortEvery(_) => {}
                    }
                }
            }
        }
    });
    (address, seen)
}

/// A viewer completes through such a router from one connection.
async fn completes_through(what: Router) -> Arc<Seen> {
    let mut tasks = JoinSet::new();
    let (mine, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let data = content(6_000_000, 41);
    let metainfo = metainfo(&data, &[], &[]);
    let (node, seeding) = seed(mine.path(), &metainfo, &data).await;
    let (address, seen) = router(&mut tasks, node.local_addrs()[0], what).await;
    let viewer = common::node(theirs.path()).await;
    let options = only_peers(&[address.to_string()]);
    let torrent = viewer.add(metainfo, options).await.unwrap();
    completed(&torrent).await;
    assert_eq!(stored(&torrent), data);
    let stats = seeding.stats();
    assert_eq!((stats.peers_seen, stats.banned), (1, 0), "{stats:?}");
    viewer.stop().await;
    node.stop().await;
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_goes_on_when_a_router_gives_it_another_port() {
    let seen = completes_through(Router::MovesThePortEvery(400)).await;
    let (initials, carried) = (
        seen.initials.load(Ordering::SeqCst),
        seen.carried.load(Ordering::SeqCst),
    );
    let moved = seen.done.load(Ordering::SeqCst);
    assert!(moved >= 2, "{moved} moves among {carried} datagrams");
    println!("{initials} Initials, {moved} moves among {carried} datagrams");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn initials_that_are_replayed_during_a_download_disturb_it_not() {
    let seen = completes_through(Router::ReplaysInitials).await;
    let replayed = seen.done.load(Ordering::SeqCst);
    println!("{replayed} replayed");
    assert!(replayed >= 900, "{replayed} were replayed");
}
