//! A bad line between two nodes: a relay of datagrams on loopback that loses some of them at random, and holds up the rest.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What a line does to datagrams.
#[derive(Clone, Copy, Debug)]
pub struct Vices {
    /// Of so many datagrams one is lost, each way; 0 for none.
    pub one_of: u64,
    /// How long each is on its way.
    pub delay: Duration,
    /// Longest datagram that goes through.
    pub mtu: usize,
    /// Of the random choices. Tests print it.
    pub seed: u64,
}

/// What passed a line so far.
#[derive(Debug, Default)]
pub struct Passed {
    pub carried: AtomicU64,
    pub lost: AtomicU64,
}

/// The line's near end, for one peer that dials what is at its far end. It stops with the set.
pub async fn line(tasks: &mut JoinSet<()>, far: SocketAddr, vices: Vices) -> (SocketAddr, Arc<Passed>) {
    let near = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = near.local_addr().unwrap();
    let back = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    back.connect(far).await.unwrap();
    // A full buffer would be a queue that loses packets. The system caps this, which makes it smaller and not wrong.
    for socket in [&near, &back] {
        let _ = socket2::SockRef::from(socket).set_recv_buffer_size(4 << 20);
    }
    let passed = Arc::new(Passed::default());
    tasks.spawn(carry(near, back, vices, passed.clone()));
    (address, passed)
}

/// A datagram on its way: when it arrives, whether at the far end.
type OnTheWay = (Instant, bool, Vec<u8>);

async fn carry(near: UdpSocket, back: UdpSocket, vices: Vices, passed: Arc<Passed>) {
    let mut state = vices.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut peer = None;
    let mut queue: VecDeque<OnTheWay> = VecDeque::new();
    let (mut a, mut b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let due = queue
            .front()
            .map_or_else(|| Instant::now() + vices.delay, |q| q.0);
        let (outwards, data) = tokio::select! {
            Ok((n, from)) = near.recv_from(&mut a) => {
                peer = Some(from);
                (true, &a[..n])
            }
            Ok(n) = back.recv(&mut b) => (false, &b[..n]),
            () = tokio::time::sleep_until(due), if !queue.is_empty() => {
                let now = Instant::now();
                while queue.front().is_some_and(|q| q.0 <= now) {
                    let Some((_, outwards, data)) = queue.pop_front() else { break };
                    // A full buffer is one more loss.
                    let _ = match (outwards, peer) {
                        (true, _) => back.try_send(&data),
                        (false, Some(peer)) => near.try_send_to(&data, peer),
                        (false, None) => Ok(0),
                    };
                }
                continue;
            }
        };
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let lost = data.len() > vices.mtu || (vices.one_of > 0 && (state >> 20).is_multiple_of(vices.one_of));
        let count = if lost { &passed.lost } else { &passed.carried };
        count.fetch_add(1, Ordering::Relaxed);
        if !lost {
            queue.push_back((Instant::now() + vices.delay, outwards, data.to_vec()));
        }
    }
}
