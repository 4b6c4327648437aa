//! An HTTP tracker for any standard client: `/announce` and `/scrape` (BEP 3, 7, 23, 24, 48), and `/metrics`.
//!
//! A peer's address is that of its connection. `ip=` is heeded only when the connection itself comes from a
//! loopback or private address, where it can be a peer behind the same router that knows its public address:
//! otherwise anyone could have a third party's address handed out. A tracker behind a reverse proxy would see
//! the proxy alone, so it is to be reached directly.
//!
//! Answers are bencoded with status 200, refusals too (`failure reason`), as clients expect.
//!
//! Lock order: there is one lock, on the table; it is held for the time of one look-up.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{ConnectInfo, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use percent_encoding::percent_decode_str;
use tokio::net::TcpListener;

use super::pairs::Role;
use super::relay::{Relay, RelayError};
use super::table::{Announce, Counts, Limits, Peer, Table};
use super::{Event, Key};
use crate::bencode::Encode;
use crate::listen::{self, Doors};

/// Peers in an answer when the client does not say how many it wants.
pub(super) const DEFAULT_NUMWANT: usize = 50;

/// Swarms in one scrape: a query of this many fits the usual limits of 8 KiB.
const MAX_SCRAPE: usize = 74;

/// The UDP ports of the QUIC endpoints ([`quic`](super::quic)) for peers of each family.
#[derive(Clone, Copy, Debug, Default)]
pub struct MeetingPorts {
    /// For those who come over IPv4.
    pub v4: Option<u16>,
    /// For those who come over IPv6.
    pub v6: Option<u16>,
}

/// How a tracker is set up.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// When clients shall announce again.
    pub interval: Duration,
    /// How soon they may at the earliest.
    pub min_interval: Duration,
    /// Bounds of memory and answers. [`Limits::lifetime`] should be over twice the interval.
    pub limits: Limits,
    /// Where the QUIC endpoints are at which peers meet (`grove quic` in answers).
    pub meeting: MeetingPorts,
    /// Decides the choice of peers.
    pub seed: u64,
}

impl Default for Config {
    /// 15 minutes, 30 seconds, and a choice that differs from start to start.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15 * 60),
            min_interval: Duration::from_secs(30),
            limits: Limits::default(),
            meeting: MeetingPorts::default(),
            seed: rand::random(),
        }
    }
}

/// The tracker: a handle to share.
#[derive(Clone, Debug)]
pub struct Tracker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    started: Instant,
    table: Mutex<Table>,
    relay: Option<Relay>,
    announces: AtomicU64,
    scrapes: AtomicU64,
    refusals: AtomicU64,
}

impl Tracker {
    /// A tracker that knows nobody yet.
    pub fn new(config: Config) -> Self {
        Self::with_relay(config, None)
    }

    /// The same with a relay for those who cannot reach each other.
    pub fn with_relay(config: Config, relay: Option<Relay>) -> Self {
        Self(Arc::new(Inner {
            relay,
            config,
            started: Instant::now(),
            table: Mutex::new(Table::new(config.limits, config.seed)),
            announces: AtomicU64::new(0),
            scrapes: AtomicU64::new(0),
            refusals: AtomicU64::new(0),
        }))
    }

    /// Seeds, others and completed downloads of a swarm.
    pub fn counts(&self, key: &Key) -> Counts {
        self.0.with_table(|table, _| table.scrape(key))
    }

    /// Takes an announce in, and gives the peers to name and the numbers of the swarm.
    pub(super) fn announce(&self, announce: &Announce) -> (Vec<Peer>, Counts) {
        self.0.announces.fetch_add(1, Ordering::Relaxed);
        self.0.with_table(|table, now| table.announce(announce, now))
    }

    /// When clients shall announce again.
    pub(super) fn interval(&self) -> Duration {
        self.0.config.interval
    }

    /// Time since it was made.
    pub(super) fn uptime(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// Announces that were answered, refused ones not counted.
    pub fn announces(&self) -> u64 {
        self.0.announces.load(Ordering::Relaxed)
    }
}

impl Inner {
    fn with_table<T>(&self, look: impl FnOnce(&mut Table, Duration) -> T) -> T {
        // A panic while the lock was held would leave numbers off by one, not memory in danger.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        look(&mut table, self.started.elapsed())
    }
}

/// The routes of a tracker. They need the peer's address: serve them with
/// `into_make_service_with_connect_info::<SocketAddr>()`, as [`serve`] does.
pub fn router(tracker: Tracker) -> Router {
    Router::new()
        .route("/announce", get(announce))
        .route("/scrape", get(scrape))
        .route("/relay", get(relay))
        .route("/metrics", get(metrics))
        .with_state(tracker)
}

/// Serves until `stop` is ready, and then until the requests at hand are answered.
pub async fn serve(
    listener: TcpListener,
    tracker: Tracker,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    listen::serve(listener, router(tracker), Doors::default(), stop).await;
    Ok(())
}

async fn announce(
    State(tracker): State<Tracker>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
) -> Response {
    let tracker = tracker.0;
    let request =
        match Query::parse(&query.unwrap_or_default()).and_then(|query| AnnounceQuery::new(&query, from)) {
            Ok(request) => request,
            Err(reason) => return refuse(&tracker, reason),
        };
    tracker.announces.fetch_add(1, Ordering::Relaxed);
    let (peers, counts) = tracker.with_table(|table, now| table.announce(&request.announce, now));
    bencoded(&answer(&tracker.config, &request, &peers, counts, from))
}

async fn scrape(State(tracker): State<Tracker>, RawQuery(query): RawQuery) -> Response {
    let tracker = tracker.0;
    let keys = Query::parse(&query.unwrap_or_default()).and_then(|query| {
        let keys = query.all("info_hash").map(key).collect::<Result<Vec<_>, _>>()?;
        match keys.len() {
            0 => Err("a scrape must name its info_hash"),
            1..=MAX_SCRAPE => Ok(keys),
            _ => Err("too many info_hash in one scrape"),
        }
    });
    let keys = match keys {
        Ok(keys) => keys,
        Err(reason) => return refuse(&tracker, reason),
    };
    tracker.scrapes.fetch_add(1, Ordering::Relaxed);
    let files = tracker.with_table(|table, _| {
        let numbers = |counts: Counts| {
            Encode::dictionary([
                ("complete", integer(counts.complete as u64)),
                ("downloaded", integer(counts.downloaded)),
                ("incomplete", integer(counts.incomplete as u64)),
            ])
        };
        keys.iter()
            .map(|key| (key.to_vec(), numbers(table.scrape(key))))
            .collect()
    });
    bencoded(&Encode::dictionary([("files", Encode::Dictionary(files))]))
}

/// A place at the relay, as JSON: `port`, `token` in hex, `idle` in seconds; or why there is none, as text.
async fn relay(
    State(tracker): State<Tracker>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    RawQuery(query): RawQuery,
) -> Response {
    let Some(relay) = &tracker.0.relay else {
        return (StatusCode::NOT_FOUND, "this tracker is no relay").into_response();
    };
    let close = [(header::CONNECTION, "close")];
    match relay_ask(relay, &query.unwrap_or_default(), from) {
        Ok(place) => (close, axum::Json(place)).into_response(),
        Err((status, why)) => (status, close, why).into_response(),
    }
}

fn relay_ask(
    relay: &Relay,
    query: &str,
    from: SocketAddr,
) -> Result<serde_json::Value, (StatusCode, String)> {
    let bad = |why: &str| (StatusCode::BAD_REQUEST, why.to_owned());
    let query = Query::parse(query).map_err(bad)?;
    let mut key = [0; 20];
    hex::decode_to_slice(query.first("key").unwrap_or_default(), &mut key)
        .map_err(|_| bad("key must be 40 hex digits"))?;
    let role = match query.first("role") {
        Some(b"sender") => Role::Sender,
        Some(b"receiver") => Role::Receiver,
        _ => return Err(bad("role must be sender or receiver")),
    };
    let token = match query.first("token") {
        None => None,
        Some(text) => {
            let mut token = [0; 16];
            hex::decode_to_slice(text, &mut token).map_err(|_| bad("token must be 32 hex digits"))?;
            Some(token)
        }
    };
    let place = relay.ask(key, role, from.ip().to_canonical(), token);
    let place = place.map_err(|error| match error {
        RelayError::Refused(_) => (StatusCode::TOO_MANY_REQUESTS, error.to_string()),
        RelayError::Socket(_) => (StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    })?;
    Ok(serde_json::json!({
        "port": place.port,
        "token": hex::encode(place.token),
        "idle": place.idle.as_secs(),
    }))
}

async fn metrics(State(tracker): State<Tracker>) -> Response {
    let inner = &tracker.0;
    let (swarms, peers) = inner.with_table(|table, now| {
        table.expire(now);
        table.sizes()
    });
    let (sessions, carried) = inner.relay.as_ref().map_or((0, 0), Relay::figures);
    let counters = [
        ("grove_tracker_relay_sessions", "gauge", sessions as u64),
        ("grove_tracker_relay_bytes_total", "counter", carried),
        ("grove_tracker_swarms", "gauge", swarms as u64),
        ("grove_tracker_peers", "gauge", peers as u64),
        (
            "grove_tracker_announces_total",
            "counter",
            inner.announces.load(Ordering::Relaxed),
        ),
        (
            "grove_tracker_scrapes_total",
            "counter",
            inner.scrapes.load(Ordering::Relaxed),
        ),
        (
            "grove_tracker_refusals_total",
            "counter",
            inner.refusals.load(Ordering::Relaxed),
        ),
    ];
    let lines = counters.map(|(name, kind, value)| format!("# TYPE {name} {kind}\n{name} {value}\n"));
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        lines.concat(),
    )
        .into_response()
}

fn refuse(tracker: &Inner, reason: &str) -> Response {
    tracker.refusals.fetch_add(1, Ordering::Relaxed);
    bencoded(&Encode::dictionary([("failure reason", Encode::text(reason))]))
}

/// Closes the connection: a peer is back in minutes, and an idle connection each would cost far more.
fn bencoded(answer: &Encode) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain"),
        (header::CONNECTION, "close"),
    ];
    (headers, answer.to_bytes()).into_response()
}

fn integer(value: u64) -> Encode {
    Encode::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

/// An announce as it came, and how its answer shall look.
#[derive(Debug)]
struct AnnounceQuery {
    announce: Announce,
    compact: bool,
    with_ids: bool,
}

impl AnnounceQuery {
    fn new(query: &Query, from: SocketAddr) -> Result<Self, &'static str> {
        let key = key(query.first("info_hash").ok_or("info_hash is missing")?)?;
        let peer_id = query.first("peer_id").ok_or("peer_id is missing")?;
        let peer_id = peer_id.try_into().map_err(|_| "peer_id is not 20 bytes")?;
        let port = query.number("port")?.ok_or("port is missing")?;
        let port = u16::try_from(port)
            .ok()
            .filter(|&port| port != 0)
            .ok_or("port must be from 1 to 65535")?;
        let event = match query.first("event").unwrap_or_default() {
            b"started" => Some(Event::Started),
            b"completed" => Some(Event::Completed),
            b"stopped" => Some(Event::Stopped),
            _ => None, // empty in regular announces; others are for later
        };
        // Some clients send -1 for the tracker's own choice.
        let numwant = match query.first("numwant") {
            None | Some(b"" | b"-1") => DEFAULT_NUMWANT,
            Some(_) => query
                .number("numwant")?
                .map_or(DEFAULT_NUMWANT, |n| usize::try_from(n).unwrap_or(usize::MAX)),
        };
        let address = SocketAddr::new(address(query, from.ip().to_canonical()), port);
        let seed = query.number("left")? == Some(0);
        Ok(Self {
            announce: Announce {
                key,
                address,
                peer_id,
                seed,
                event,
                numwant,
            },
            compact: query.first("compact") != Some(b"0"),
            with_ids: query.first("no_peer_id") != Some(b"1"),
        })
    }
}

/// The peer's address: that of the connection, or `ip=` when the connection is local (see the top of the file).
fn address(query: &Query, from: IpAddr) -> IpAddr {
    let claimed = query
        .first("ip")
        .and_then(|ip| std::str::from_utf8(ip).ok()?.parse().ok());
    usable_address(claimed, from)
}

/// What a peer says its address is, when it can be believed; else where it comes from.
pub(super) fn usable_address(claimed: Option<IpAddr>, from: IpAddr) -> IpAddr {
    let local = match from {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    claimed
        .filter(|ip| local && !ip.is_unspecified() && !ip.is_multicast())
        .unwrap_or(from)
}

fn answer(
    config: &Config,
    request: &AnnounceQuery,
    peers: &[Peer],
    counts: Counts,
    from: SocketAddr,
) -> Encode {
    let external = match from.ip().to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mut entries = vec![
        ("complete", integer(counts.complete as u64)),
        ("downloaded", integer(counts.downloaded)),
        ("external ip", Encode::Bytes(external)),
        ("incomplete", integer(counts.incomplete as u64)),
        ("interval", integer(config.interval.as_secs())),
        ("min interval", integer(config.min_interval.as_secs())),
    ];
    let meeting = if from.ip().to_canonical().is_ipv4() {
        config.meeting.v4
    } else {
        config.meeting.v6
    };
    if let Some(port) = meeting {
        entries.push(("grove quic", integer(port.into())));
    }
    if request.compact {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for peer in peers {
            let list = match peer.address.ip() {
                IpAddr::V4(ip) => {
                    v4.extend(ip.octets());
                    &mut v4
                }
                IpAddr::V6(ip) => {
                    v6.extend(ip.octets());
                    &mut v6
                }
            };
            list.extend(peer.address.port().to_be_bytes());
        }
        entries.push(("peers", Encode::Bytes(v4)));
        if !v6.is_empty() {
            entries.push(("peers6", Encode::Bytes(v6)));
        }
    } else {
        let listed = peers.iter().map(|peer| {
            let mut entry = vec![
                ("ip", Encode::text(&peer.address.ip().to_string())),
                ("port", integer(u64::from(peer.address.port()))),
            ];
            if request.with_ids {
                entry.push(("peer id", Encode::Bytes(peer.peer_id.to_vec())));
            }
            Encode::dictionary(entry)
        });
        entries.push(("peers", Encode::List(listed.collect())));
    }
    Encode::dictionary(entries)
}

fn key(bytes: &[u8]) -> Result<Key, &'static str> {
    bytes.try_into().map_err(|_| "info_hash is not 20 bytes")
}

/// A query string with its values as bytes: hashes are not text, which is why no framework reads it for us.
#[derive(Debug)]
struct Query(Vec<(String, Vec<u8>)>);

impl Query {
    fn parse(query: &str) -> Result<Self, &'static str> {
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs: Vec<_> = pairs
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                (name.to_owned(), percent_decode_str(value).collect())
            })
            .take(MAX_SCRAPE + 2)
            .collect();
        if pairs.is_empty() {
            Err("the query is empty")
        } else {
            Ok(Self(pairs))
        }
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_slice())
    }

    fn first<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    fn number(&self, name: &str) -> Result<Option<u64>, &'static str> {
        let Some(value) = self.first(name).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        let number = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        number.map(Some).ok_or("a number in the query is not one")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracker::client::{self, AnnounceError, AnnounceRequest};
    use gate::{Gate, Policy, Url};
    use std::net::{Ipv4Addr, Ipv6Addr};

    async fn start() -> (
        Tracker,
        SocketAddr,
        tokio::sync::oneshot::Sender<()>,
        tokio::task::JoinHandle<std::io::Result<()>>,
    ) {
        let tracker = Tracker::new(Config {
            seed: 1,
            ..Config::default()
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::spawn(serve(listener, tracker.clone(), async move {
            let _ = stopped.await; // a dropped sender stops too
        }));
        (tracker, address, stop, serving)
    }

    fn open_gate() -> Gate {
        Gate::new(Policy {
            allow_private: true,
            ..Policy::default()
        })
    }

    fn request(port: u16, left: u64, event: Option<Event>) -> AnnounceRequest {
        AnnounceRequest {
            key: [0xfe; 20],
            peer_id: [port as u8; 20],
            ports: [port, port],
            uploaded: 0,
            downloaded: 0,
            left,
            event,
            numwant: 50,
            tracker_id: None,
        }
    }

    #[tokio::test]
    async fn our_client_and_our_server_understand_each_other() {
        let (tracker, address, stop, serving) = start().await;
        let gate = open_gate();
        let url = Url::parse(&format!("http://{address}/announce")).expect("a URL");
        let say = async |request: AnnounceRequest| client::announce(&gate, &url, &request).await;

        let first = say(request(1001, 5, Some(Event::Started)))
            .await
            .expect("an answer");
        assert_eq!((first.peers.len(), first.incomplete), (0, Some(1)));
        assert_eq!(first.external_ip, Some(address.ip()));
        assert_eq!(
            (first.interval, first.min_interval),
            (Duration::from_secs(900), Duration::from_secs(30))
        );
        let second = say(request(1002, 0, Some(Event::Started)))
            .await
            .expect("an answer");
        assert_eq!(second.peers, [SocketAddr::new(address.ip(), 1001)]);
        say(request(1001, 0, Some(Event::Completed)))
            .await
            .expect("an answer");
        assert_eq!(
            tracker.counts(&[0xfe; 20]),
            Counts {
                complete: 2,
                incomplete: 0,
                downloaded: 1
            }
        );

        let error = say(request(0, 0, None)).await.expect_err("port 0 is no port");
        assert!(
            matches!(&error, AnnounceError::Refused { reason, .. } if reason.contains("port")),
            "{error}"
        );
        let other = Url::parse("wss://127.0.0.1:1").expect("a URL");
        let other = client::announce(&gate, &other, &request(1, 1, None)).await;
        assert!(matches!(other, Err(AnnounceError::Scheme(_))));
        let missing = Url::parse(&format!("http://{address}/nothing")).expect("a URL");
        let missing = client::announce(&gate, &missing, &request(1, 1, None)).await;
        assert!(matches!(missing, Err(AnnounceError::Status { .. })));
        let closed = Gate::new(Policy::default());
        let closed = client::announce(&closed, &url, &request(1, 1, None)).await;
        assert!(matches!(
            closed,
            Err(AnnounceError::Request(gate::Error::Forbidden(_)))
        ));

        let scrape = Url::parse(&format!(
            "http://{address}/scrape?info_hash={}&info_hash=aaaaaaaaaaaaaaaaaaaa",
            "%fe".repeat(20)
        ));
        let scrape = gate.get(scrape.expect("a URL")).send().await.expect("an answer");
        let scrape = scrape.bytes_limited(1000).await.expect("a small body");
        let zero = "d8:completei0e10:downloadedi0e10:incompletei0ee";
        let two = "d8:completei2e10:downloadedi1e10:incompletei0ee";
        let expected = [
            b"d5:filesd20:aaaaaaaaaaaaaaaaaaaa",
            zero.as_bytes(),
            b"20:",
            &[0xfe; 20],
            two.as_bytes(),
            b"ee",
        ];
        assert_eq!(scrape, expected.concat());

        let metrics = Url::parse(&format!("http://{address}/metrics")).expect("a URL");
        let metrics = gate
            .get(metrics)
            .send()
            .await
            .expect("an answer")
            .bytes_limited(10_000)
            .await
            .expect("text");
        let metrics = String::from_utf8_lossy(&metrics).into_owned();
        for line in [
            "grove_tracker_swarms 1",
            "grove_tracker_peers 2",
            "grove_tracker_announces_total 3",
        ] {
            assert!(
                metrics.lines().any(|found| found == line),
                "{line} is not in:\n{metrics}"
            );
        }
        stop.send(()).expect("it still runs");
        serving.await.expect("no panic").expect("no error");
    }

    /// A tracker that has one name and a port of both families.
    async fn on_both() -> (Tracker, Gate, Url, [tokio::task::JoinSet<()>; 2]) {
        let policy = Policy {
            allow_private: true,
            hosts: [(
                "tracker.test".to_owned(),
                vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            )]
            .into(),
            ..Policy::default()
        };
        let tracker = Tracker::new(Config::default());
        let (v4, v6) = loop {
            let v4 = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
            let port = v4.local_addr().expect("bound").port();
            // Somebody else may have this one.
            if let Ok(v6) = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
                break (v4, v6);
            }
        };
        let port = v4.local_addr().expect("bound").port();
        let serving = [v4, v6].map(|listener| {
            let (tracker, mut serving) = (tracker.clone(), tokio::task::JoinSet::new());
            serving.spawn(async move {
                serve(listener, tracker, std::future::pending())
                    .await
                    .expect("it serves");
            });
            serving
        });
        let url = Url::parse(&format!("http://tracker.test:{port}/announce")).expect("a URL");
        (tracker, Gate::new(policy), url, serving)
    }

    #[tokio::test]
    async fn a_tracker_of_both_families_hears_of_both_addresses() {
        let (tracker, gate, url, _serving) = on_both().await;
        let seed = AnnounceRequest {
            ports: [1001, 2001],
            ..request(1, 0, Some(Event::Started))
        };
        client::announce(&gate, &url, &seed).await.expect("an answer");
        assert_eq!(tracker.announces(), 2);
        let viewer = AnnounceRequest {
            ports: [1002, 2002],
            ..request(2, 9, Some(Event::Started))
        };
        let mut answer = client::announce(&gate, &url, &viewer).await.expect("an answer");
        answer.peers.sort();
        let mut all: Vec<SocketAddr> = ["127.0.0.1:1001", "[::1]:2001"]
            .iter()
            .map(|address| address.parse().expect("an address"))
            .collect();
        // Of the two announces of one viewer, the later one is told of the earlier.
        answer.peers.retain(|peer| ![1002, 2002].contains(&peer.port()));
        all.sort();
        assert_eq!(answer.peers, all);
        // Who has no socket of a family is not announced over it.
        let before = tracker.announces();
        let one = AnnounceRequest {
            ports: [1003, 0],
            ..request(3, 9, None)
        };
        client::announce(&gate, &url, &one).await.expect("an answer");
        assert_eq!(tracker.announces(), before + 1);
    }

    #[tokio::test]
    async fn a_family_that_is_down_keeps_nobody_from_the_other() {
        let (_tracker, gate, url, [mut v4, mut v6]) = on_both().await;
        v4.shutdown().await;
        let request = AnnounceRequest {
            ports: [1001, 2001],
            ..request(1, 0, Some(Event::Started))
        };
        let answer = client::announce(&gate, &url, &request).await.expect("an answer");
        assert_eq!(answer.complete, Some(1));
        v6.shutdown().await;
        let error = client::announce(&gate, &url, &request).await;
        assert!(matches!(error, Err(AnnounceError::Request(_))), "{error:?}");
    }

    #[test]
    fn queries_are_judged() {
        let base = format!(
            "info_hash={}&peer_id={}&port=80",
            "%00".repeat(20),
            "a".repeat(20)
        );
        let public: SocketAddr = "192.0.2.7:5000".parse().expect("an address");
        let mapped: SocketAddr = "[::ffff:192.0.2.7]:5000".parse().expect("an address");
        let private: SocketAddr = "10.1.2.3:5000".parse().expect("an address");
        let read = |query: &str, from| Query::parse(query).and_then(|query| AnnounceQuery::new(&query, from));

        let found = read(&base, public).expect("a full query");
        assert_eq!(found.announce.address.to_string(), "192.0.2.7:80");
        assert_eq!(
            (found.announce.numwant, found.announce.seed),
            (DEFAULT_NUMWANT, false),
            "no `left`: no seed"
        );
        assert!(found.compact && found.with_ids);
        // What is added to the query, from where, and the address that counts.
        let addresses = [
            ("", mapped, "192.0.2.7:80"),
            ("&ip=198.51.100.1", public, "192.0.2.7:80"),
            ("&ip=198.51.100.1", private, "198.51.100.1:80"),
            ("&ip=nonsense", private, "10.1.2.3:80"),
            ("&ip=0.0.0.0", private, "10.1.2.3:80"),
        ];
        for (extra, from, expected) in addresses {
            let found = read(&format!("{base}{extra}"), from).expect("a full query");
            assert_eq!(
                found.announce.address.to_string(),
                expected,
                "{extra} from {from}"
            );
        }
        let found = read(
            &format!("{base}&left=0&compact=0&no_peer_id=1&numwant=-1&event=stopped"),
            public,
        );
        let found = found.expect("a full query");
        assert!(found.announce.seed && !found.compact && !found.with_ids);
        assert_eq!(
            (found.announce.numwant, found.announce.event),
            (DEFAULT_NUMWANT, Some(Event::Stopped))
        );

        let refused = [
            (String::new(), "query is empty"),
            ("a=b".to_owned(), "info_hash is missing"),
            ("info_hash=abc".to_owned(), "not 20 bytes"),
            (base.replace("peer_id", "x"), "peer_id is missing"),
            (base.replace("aaaa", "a"), "peer_id is not 20 bytes"),
            (base.replace("=80", "=0"), "port must be"),
            (base.replace("=80", "=65536"), "port must be"),
            (base.replace("=80", "=x"), "number"),
            (base.replace("&port", "&x"), "port is missing"),
            (format!("{base}&left=-5"), "number"),
        ];
        for (query, expected) in refused {
            let error = read(&query, public).expect_err(&query);
            assert!(error.contains(expected), "{query}: {error}");
        }
    }

    #[test]
    fn the_older_list_has_ids_unless_they_are_not_wanted() {
        let from: SocketAddr = "192.0.2.7:5000".parse().expect("an address");
        let base = format!("info_hash={0}&peer_id={0}&port=80&compact=0", "a".repeat(20));
        let peers = [
            Peer {
                address: "192.0.2.1:1".parse().expect("an address"),
                peer_id: [b'p'; 20],
            },
            Peer {
                address: "[2001:db8::1]:2".parse().expect("an address"),
                peer_id: [b'q'; 20],
            },
        ];
        for (extra, ids) in [("", true), ("&no_peer_id=1", false)] {
            let query = Query::parse(&format!("{base}{extra}")).expect("a query");
            let request = AnnounceQuery::new(&query, from).expect("a full query");
            let bytes = answer(&Config::default(), &request, &peers, Counts::default(), from).to_bytes();
            let read = client::parse_response(&bytes).expect("a valid answer");
            assert_eq!(read.peers, peers.map(|peer| peer.address));
            assert_eq!(String::from_utf8_lossy(&bytes).contains("pppp"), ids);
        }
        let query = Query::parse(&base.replace("&compact=0", "")).expect("a query");
        let request = AnnounceQuery::new(&query, from).expect("a full query");
        let bytes = answer(&Config::default(), &request, &peers, Counts::default(), from).to_bytes();
        let read = client::parse_response(&bytes).expect("a valid answer");
        assert_eq!(
            read.peers,
            peers.map(|peer| peer.address),
            "compact, both families"
        );
    }
}
