//! Asks a UDP tracker for peers (BEP 15, BEP 41).
//!
//! A tracker that has IPv4 and IPv6 addresses is asked over both at once, since it names peers of the family over
//! which it is asked; one answer is enough, and the other is waited for a moment longer. Each exchange has a socket of its own, connected to the address that the
//! gate judged, and a random transaction id: what does not fit both is not read. The waits double, as BEP 15 has it,
//! but from 3 s, because somebody waits for the first byte; after [`Waits::tries`] it is a failure, and when to ask
//! again is for the caller.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use gate::{Family, Gate, Url};
use tokio::net::UdpSocket;

use super::client::{AnnounceError, AnnounceRequest, AnnounceResponse, INTERVALS, MAX_PEERS, over_both};
use super::udp::{self, Answer, MAX_PACKET, Request};

/// How long to wait for packets.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// The first wait; each next one is twice as long.
    pub first: Duration,
    /// How often a request is sent.
    pub tries: u32,
}

impl Default for Waits {
    /// 3, 6, 12 and 24 s.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(3),
            tries: 4,
        }
    }
}

/// Announces once, over each family that the tracker and we have.
pub async fn announce(
    gate: &Gate,
    url: &Url,
    request: &AnnounceRequest,
    waits: Waits,
) -> Result<AnnounceResponse, AnnounceError> {
    let (Some(host), Some(port)) = (url.host_str(), url.port()) else {
        return Err(AnnounceError::Scheme(gate::shown(url)));
    };
    let addresses = gate.resolve(host, port).await?;
    let of_family = |family| {
        let mut addresses = addresses.iter().copied();
        // Where we were told to speak from, it may be another family.
        addresses.find(|address| Family::of(address) == family && gate.speaks(family))
    };
    let name = format!("udp://{host}:{port}");
    let to = |tracker| exchange_with(gate, tracker, url, &name, request, waits);
    match (of_family(Family::V4), of_family(Family::V6)) {
        (Some(v4), Some(v6)) if !request.ports.contains(&0) => over_both(to(v4), to(v6)).await,
        (Some(one), _) | (None, Some(one)) => to(one).await,
        (None, None) => Err(AnnounceError::Family { url: name }),
    }
}

async fn exchange_with(
    gate: &Gate,
    tracker: SocketAddr,
    url: &Url,
    name: &str,
    request: &AnnounceRequest,
    waits: Waits,
) -> Result<AnnounceResponse, AnnounceError> {
    let local = &gate.policy().local_addresses;
    let unspecified: IpAddr = if tracker.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let bind = local.iter().find(|l| l.is_ipv4() == tracker.is_ipv4());
    let bind = bind.copied().unwrap_or(unspecified);
    let connected = async {
        let socket = UdpSocket::bind((bind, 0)).await?;
        socket.connect(tracker).await?;
        Ok(socket)
    };
    let socket = match connected.await {
        Ok(socket) => socket,
        Err(source) => {
            return Err(AnnounceError::Udp {
                url: name.to_owned(),
                source,
            });
        }
    };
    exchange(&socket, tracker.is_ipv4(), url, name, request, waits).await
}

async fn exchange(
    socket: &UdpSocket,
    v4: bool,
    url: &Url,
    name: &str,
    request: &AnnounceRequest,
    waits: Waits,
) -> Result<AnnounceResponse, AnnounceError> {
    let mut path = url.path().to_owned();
    if let Some(query) = url.query() {
        path = format!("{path}?{query}");
    }
    let announce = udp::Announce {
        key: request.key,
        peer_id: request.peer_id,
        downloaded: request.downloaded,
        left: request.left,
        uploaded: request.uploaded,
        event: request.event,
        ip: 0,
        key_of_client: u32::from_be_bytes([
            request.peer_id[16],
            request.peer_id[17],
            request.peer_id[18],
            request.peer_id[19],
        ]),
        numwant: i32::try_from(request.numwant).unwrap_or(-1),
        port: request.port(if v4 { Family::V4 } else { Family::V6 }),
        path,
    };
    let mut connection = None;
    for round in 0..waits.tries {
        let wait = waits.first * 2_u32.saturating_pow(round);
        // A connection id lasts a minute: after a round without an answer it is asked for anew when it may be too old.
        if wait > Duration::from_secs(30) {
            connection = None;
        }
        let answer = tokio::time::timeout(wait, async {
            if connection.is_none() {
                let transaction = rand::random();
                let connect = Request::Connect { transaction };
                match ask(socket, v4, &connect, transaction).await? {
                    Answer::Connect { connection: id, .. } => connection = Some(id),
                    other => return Ok(other),
                }
            }
            let transaction = rand::random();
            let request = Request::Announce {
                connection: connection.unwrap_or_default(),
                transaction,
                announce: announce.clone(),
            };
            ask(socket, v4, &request, transaction).await
        });
        match answer.await {
            Ok(Ok(answer)) => return understand(answer, name),
            // Nobody listens there (yet), as the system says: it is a loss like any other.
            Ok(Err(e)) if e.kind() == std::io::ErrorKind::ConnectionRefused && round + 1 < waits.tries => {
                tokio::time::sleep(wait).await;
            }
            Ok(Err(source)) => {
                let url = name.to_owned();
                return Err(AnnounceError::Udp { url, source });
            }
            Err(_elapsed) => {}
        }
    }
    Err(AnnounceError::Silent { url: name.to_owned() })
}

/// Sends a request and waits for what fits it.
async fn ask(socket: &UdpSocket, v4: bool, request: &Request, transaction: u32) -> std::io::Result<Answer> {
    socket.send(&request.encode()).await?;
    let mut packet = [0; MAX_PACKET * 2];
    loop {
        let len = socket.recv(&mut packet).await?;
        if let Ok(answer) = Answer::decode(&packet[..len], v4)
            && answer.transaction() == transaction
        {
            return Ok(answer);
        }
    }
}

fn understand(answer: Answer, name: &str) -> Result<AnnounceResponse, AnnounceError> {
    let url = name.to_owned();
    match answer {
        Answer::Announce {
            interval,
            leechers,
            seeders,
            mut peers,
            ..
        } => {
            peers.retain(|peer| peer.port() != 0 && !peer.ip().is_unspecified() && !peer.ip().is_multicast());
            peers.truncate(MAX_PEERS);
            Ok(AnnounceResponse {
                interval: Duration::from_secs(interval.into()).clamp(INTERVALS.0, INTERVALS.1),
                min_interval: INTERVALS.0,
                peers,
                complete: Some(seeders.into()),
                incomplete: Some(leechers.into()),
                ..AnnounceResponse::default()
            })
        }
        Answer::Error { reason, .. } => Err(AnnounceError::Refused { url, reason }),
        Answer::Connect { .. } | Answer::Scrape { .. } => Err(AnnounceError::Silent { url }),
    }
}
