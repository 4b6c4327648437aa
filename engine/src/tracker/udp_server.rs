//! A UDP tracker for any standard client (BEP 15), around the same table as the HTTP one.
//!
//! A connection id is a keyed hash of the client's address and the minute: nothing is stored for a client that may
//! be somebody else, and an answer to an announce goes only to who has shown that it gets our packets. Answers are
//! not larger than a packet, and never more than about 12 times the request.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::net::UdpSocket;

use super::answering::{ROOM, Socket};
use super::server::{Tracker, usable_address};
use super::table;
use super::udp::{Answer, Request};

/// How long a connection id is good for: between one and two of these (BEP 15 asks for two minutes at the server).
const SLOT: Duration = Duration::from_secs(60);

/// Pause after an error of the socket, which passes.
const BREATH: Duration = Duration::from_millis(50);

/// Serves until `stop` is ready.
pub async fn serve(
    socket: UdpSocket,
    tracker: Tracker,
    stop: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let secret: [u8; 32] = rand::random();
    let socket = Socket::new(socket)?;
    let mut buffer = vec![0; ROOM];
    tokio::pin!(stop);
    loop {
        let heard = tokio::select! {
            () = &mut stop => return Ok(()),
            heard = socket.hear(&mut buffer) => heard,
        };
        let heard = match heard {
            Ok(heard) => heard,
            // Some systems tell here that an earlier answer did not reach its client, or want of memory.
            Err(e) => {
                tracing::warn!("cannot take a datagram: {e}");
                tokio::select! {
                    () = &mut stop => return Ok(()),
                    () = tokio::time::sleep(BREATH) => continue,
                }
            }
        };
        let from = heard.from;
        for packet in heard.datagrams(&buffer) {
            let request = Request::decode(packet);
            let Some(answer) = request.and_then(|request| answer(&tracker, &secret, request, from)) else {
                continue;
            };
            // A full buffer drops it, as a network may: the client asks again.
            let _ = socket.try_say(&answer.encode(from.ip().to_canonical().is_ipv4()), from, heard.at);
        }
    }
}

fn answer(tracker: &Tracker, secret: &[u8; 32], request: Request, from: SocketAddr) -> Option<Answer> {
    let slot = tracker.uptime().as_secs() / SLOT.as_secs();
    let good = |connection: u64| {
        [slot, slot.wrapping_sub(1)]
            .iter()
            .any(|slot| connection_id(secret, from, *slot) == connection)
    };
    match request {
        Request::Connect { transaction } => Some(Answer::Connect {
            transaction,
            connection: connection_id(secret, from, slot),
        }),
        Request::Announce { connection, .. } | Request::Scrape { connection, .. } if !good(connection) => {
            None
        }
        Request::Announce {
            transaction,
            announce,
            ..
        } => {
            let claimed = (announce.ip != 0).then(|| IpAddr::from(announce.ip.to_be_bytes()));
            let ip = usable_address(claimed, from.ip().to_canonical());
            if announce.port == 0 {
                let reason = "port must be from 1 to 65535".to_owned();
                return Some(Answer::Error { transaction, reason });
            }
            let (peers, counts) = tracker.announce(&table::Announce {
                key: announce.key,
                address: SocketAddr::new(ip, announce.port),
                peer_id: announce.peer_id,
                seed: announce.left == 0,
                event: announce.event,
                numwant: usize::try_from(announce.numwant).unwrap_or(super::server::DEFAULT_NUMWANT),
            });
            let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            Some(Answer::Announce {
                transaction,
                interval: u32::try_from(tracker.interval().as_secs()).unwrap_or(u32::MAX),
                leechers: small(counts.incomplete),
                seeders: small(counts.complete),
                peers: peers.iter().map(|peer| peer.address).collect(),
            })
        }
        Request::Scrape {
            transaction, keys, ..
        } => Some(Answer::Scrape {
            transaction,
            counts: keys.iter().map(|key| tracker.counts(key)).collect(),
        }),
    }
}

/// A hash that only we can make, of whom it is for and when.
fn connection_id(secret: &[u8; 32], from: SocketAddr, slot: u64) -> u64 {
    let ip = match from.ip().to_canonical() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    // The secret comes first and has a fixed length, as all that follows: no two inputs run into each other, and the
    // hash is cut, so that it cannot be extended.
    let digest = Sha256::new()
        .chain_update(secret)
        .chain_update(ip)
        .chain_update(from.port().to_be_bytes())
        .chain_update(slot.to_be_bytes())
        .finalize();
    let mut id = [0; 8];
    id.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::client::{AnnounceError, AnnounceRequest};
    use crate::tracker::server::Config;
    use crate::tracker::udp::{Announce, MAX_PACKET};
    use crate::tracker::udp_client::{Waits, announce};
    use crate::tracker::{Event, server};
    use gate::{Gate, Policy, Url};

    fn gate() -> Gate {
        Gate::new(Policy {
            allow_private: true,
            ..Policy::default()
        })
    }

    fn request(port: u16, left: u64) -> AnnounceRequest {
        AnnounceRequest {
            key: [0xfe; 20],
            peer_id: [port as u8; 20],
            ports: [port, port],
            uploaded: 0,
            downloaded: 0,
            left,
            event: Some(Event::Started),
            numwant: 50,
            tracker_id: None,
        }
    }

    async fn start(address: &str) -> (Tracker, Url, tokio::task::JoinSet<std::io::Result<()>>) {
        let tracker = Tracker::new(Config {
            seed: 1,
            ..Config::default()
        });
        let socket = UdpSocket::bind(address).await.expect("a port");
        let url = format!("udp://{}/announce", socket.local_addr().expect("bound"));
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(serve(socket, tracker.clone(), std::future::pending()));
        (tracker, Url::parse(&url).expect("a URL"), tasks)
    }

    #[tokio::test]
    async fn peers_find_each_other_over_both_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (tracker, url, _tasks) = start(address).await;
            let seed = announce(&gate(), &url, &request(1, 0), Waits::default())
                .await
                .expect("answered");
            assert_eq!((seed.peers, seed.complete), (vec![], Some(1)));
            let peer = announce(&gate(), &url, &request(2, 9), Waits::default())
                .await
                .expect("answered");
            let expected = SocketAddr::new(url.socket_addrs(|| None).unwrap()[0].ip(), 1);
            assert_eq!(
                (peer.peers, peer.complete, peer.incomplete),
                (vec![expected], Some(1), Some(1))
            );
            assert_eq!(peer.interval, server::Config::default().interval);
            assert_eq!(tracker.announces(), 2);
        }
    }

    #[tokio::test]
    async fn an_error_of_the_socket_does_not_end_it() {
        // A socket with one client, which was away: it is told so when it looks for datagrams.
        let client = UdpSocket::bind("127.83.7.9:0").await.expect("a port");
        let at = client.local_addr().expect("bound");
        drop(client);
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        socket.connect(at).await.expect("connected");
        socket.send(b"is anybody there?").await.expect("sent");
        let server = socket.local_addr().expect("bound");
        let client = UdpSocket::bind(at).await.expect("the same port");
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(serve(
            socket,
            Tracker::new(Config::default()),
            std::future::pending(),
        ));
        client
            .send_to(&Request::Connect { transaction: 7 }.encode(), server)
            .await
            .expect("sent");
        let mut packet = [0; 100];
        let answer = tokio::time::timeout(Duration::from_secs(60), client.recv(&mut packet)).await;
        answer.expect("it goes on").expect("an answer");
        assert!(tasks.try_join_next().is_none());
    }

    #[tokio::test]
    async fn whichever_address_is_asked_answers() {
        for (all, clients, asked) in [
            ("0.0.0.0:0", "0.0.0.0:0", "127.0.0.2"),
            ("[::]:0", "0.0.0.0:0", "127.0.0.2"),
            ("[::]:0", "[::]:0", "::1"),
        ] {
            let (_tracker, url, _tasks) = start(all).await;
            let asked: IpAddr = asked.parse().expect("an address");
            let client = UdpSocket::bind(clients).await.expect("a port");
            let port = url.port().expect("a port");
            client.connect((asked, port)).await.expect("loopback");
            // What is connected hears nothing from elsewhere.
            let request = Request::Connect { transaction: 7 };
            client.send(&request.encode()).await.expect("sent");
            let mut packet = [0; MAX_PACKET];
            let answer = tokio::time::timeout(Duration::from_secs(10), client.recv(&mut packet)).await;
            let len = answer.unwrap_or_else(|_| panic!("{all} is silent at {asked}"));
            let answer = Answer::decode(&packet[..len.expect("an answer")], true).expect("it is one");
            assert_eq!(answer.transaction(), 7);
        }
    }

    #[tokio::test]
    async fn a_lost_packet_is_sent_again_and_silence_is_a_failure() {
        // A tracker that does not hear the first packet of each kind.
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let url = Url::parse(&format!("udp://{}/", socket.local_addr().expect("bound"))).expect("a URL");
        let serving = async {
            let mut packet = [0; 2000];
            let (mut connects, mut announces) = (0, 0);
            loop {
                let (len, from) = socket.recv_from(&mut packet).await.expect("a packet");
                let answer = match Request::decode(&packet[..len]).expect("a request") {
                    Request::Connect { transaction } => {
                        connects += 1;
                        (connects > 1).then_some(Answer::Connect {
                            transaction,
                            connection: 5,
                        })
                    }
                    Request::Announce {
                        connection,
                        transaction,
                        ..
                    } => {
                        assert_eq!(connection, 5);
                        announces += 1;
                        (announces > 1).then(|| Answer::Error {
                            transaction,
                            reason: "no".into(),
                        })
                    }
                    Request::Scrape { .. } => None,
                };
                if let Some(answer) = answer {
                    // What belongs to another request comes first, and is not heard.
                    socket
                        .send_to(
                            &Answer::Connect {
                                transaction: 1,
                                connection: 1,
                            }
                            .encode(true),
                            from,
                        )
                        .await
                        .expect("sent");
                    socket.send_to(&answer.encode(true), from).await.expect("sent");
                }
            }
        };
        let waits = Waits {
            first: Duration::from_millis(50),
            tries: 4,
        };
        let (gate, request) = (gate(), request(1, 0));
        let asking = announce(&gate, &url, &request, waits);
        let result = tokio::select! {
            result = asking => result,
            () = serving => unreachable!("it goes on for ever"),
        };
        assert!(
            matches!(result, Err(AnnounceError::Refused { ref reason, .. }) if reason == "no"),
            "{result:?}"
        );
        let silent = Waits {
            first: Duration::from_millis(1),
            tries: 2,
        };
        let result = announce(&gate, &url, &request, silent).await;
        assert!(matches!(result, Err(AnnounceError::Silent { .. })), "{result:?}");
    }

    #[test]
    fn an_announce_counts_only_from_where_its_connection_id_was_sent() {
        let tracker = Tracker::new(Config::default());
        let secret = [7; 32];
        let (ours, other) = (
            SocketAddr::from(([127, 0, 0, 1], 5)),
            SocketAddr::from(([127, 0, 0, 1], 6)),
        );
        let connection = connection_id(&secret, ours, 0);
        let request = |connection| Request::Announce {
            connection,
            transaction: 1,
            announce: Announce {
                key: [1; 20],
                peer_id: [2; 20],
                downloaded: 0,
                left: 0,
                uploaded: 0,
                event: None,
                ip: 0,
                key_of_client: 0,
                numwant: -1,
                port: 9,
                path: String::new(),
            },
        };
        assert_eq!(answer(&tracker, &secret, request(connection), other), None);
        assert_eq!(answer(&tracker, &secret, request(connection + 1), ours), None);
        let of_another_minute = connection_id(&secret, ours, 5);
        assert_eq!(
            answer(&tracker, &secret, request(of_another_minute), ours),
            None,
            "a recorded announce is of no use later"
        );
        // However often it is replayed until then.
        for _ in 0..100 {
            assert!(answer(&tracker, &secret, request(connection), ours).is_some());
        }
        assert_eq!(tracker.counts(&[1; 20]).complete, 1);
        let scrape = Request::Scrape {
            connection,
            transaction: 2,
            keys: vec![[1; 20], [3; 20]],
        };
        let Some(Answer::Scrape { counts, .. }) = answer(&tracker, &secret, scrape, ours) else {
            panic!("no answer to a scrape");
        };
        assert_eq!(counts.iter().map(|c| c.complete).collect::<Vec<_>>(), [1, 0]);
    }
}
