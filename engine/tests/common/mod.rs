//! What the tests of real nodes share: content, an origin on loopback with its vices, nodes that stop.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::match_wild_err_arm, reason = "the only error is that time ran out")]

pub mod line;
pub mod raw;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Response, StatusCode, header};
use engine::metainfo::{Builder, Metainfo};
use engine::node::{AddOptions, Node, NodeConfig, Stats, Torrent};
use gate::{Gate, Policy};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinSet;

/// Longest wait for anything in these tests.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes that look random and are the same each time.
pub fn content(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

pub fn metainfo(data: &[u8], web_seeds: &[String], trackers: &[String]) -> Arc<Metainfo> {
    let mut builder = Builder::new("episode.bin").piece_length(65_536);
    for seed in web_seeds {
        builder = builder.web_seed(seed.clone());
    }
    for tracker in trackers {
        builder = builder.tracker(tracker.clone());
    }
    Arc::new(builder.hash(data, data.len() as u64, |_| {}).unwrap())
}

/// An address where nobody listens, which no other process takes as long as this one lives.
pub fn closed_port() -> SocketAddr {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let address = socket.local_addr().unwrap();
    std::mem::forget(socket);
    address
}

/// How an origin behaves.
#[derive(Clone, Debug, Default)]
pub enum Vice {
    #[default]
    None,
    /// Answers 200 with the whole file, whatever is asked.
    IgnoresRange,
    /// Flips a byte in each block.
    WrongBytes,
    /// Answers with this status.
    Status(u16),
    /// Answers 503 with this `Retry-After`, so many times; then well.
    BusyFor(usize, u64),
    /// Answers 200 with a web page, whose length it states or not, so many times; then well.
    PageFor(usize, bool),
    /// Redirects to itself, so many times; then answers well.
    CirclesFor(usize),
    /// The file grew by this many bytes.
    Longer(u64),
    /// The file is shorter.
    Shorter(u64),
    /// Says that the body is in gzip, as servers do that compress on the fly.
    Gzip,
    /// Ends each body after so many bytes.
    CutsAfter(usize),
    /// Every second body stops after so many bytes, and stays open.
    StopsEverySecond(usize),
    /// Ends each body after two thirds.
    CutsAThird,
    /// Answers each request but every n-th, which gets 404.
    LacksEvery(usize),
    /// Sends no more than so many bytes of what was asked for, and says so.
    AtMost(usize),
    /// Says that it sends what begins a byte later.
    Misplaced,
    /// Says that it sends a byte less than it does.
    Miscounted,
    /// Answers 503 while another body is being sent.
    OneAtATime,
}

#[derive(Debug)]
pub struct Origin {
    pub data: Vec<u8>,
    pub vice: Mutex<Vice>,
    /// Bytes of bodies that were begun to be sent.
    pub bytes: AtomicU64,
    pub requests: AtomicUsize,
    /// Bodies that are being sent, and requests that were refused because of them.
    pub sending: Arc<()>,
    pub refused: AtomicUsize,
    /// Each piece of a body is held back until this many permits were added.
    pub gate: Option<tokio::sync::Semaphore>,
}

/// An origin server that stops with the set.
pub async fn origin(tasks: &mut JoinSet<()>, data: &[u8], vice: Vice) -> (Arc<Origin>, String) {
    start_origin(tasks, data, vice, None).await
}

/// One that sends 64 KiB for each permit that a test gives.
pub async fn gated_origin(tasks: &mut JoinSet<()>, data: &[u8]) -> (Arc<Origin>, String) {
    vicious_gated_origin(tasks, data, Vice::None).await
}

/// The same with a vice.
pub async fn vicious_gated_origin(tasks: &mut JoinSet<()>, data: &[u8], vice: Vice) -> (Arc<Origin>, String) {
    start_origin(tasks, data, vice, Some(tokio::sync::Semaphore::new(0))).await
}

async fn start_origin(
    tasks: &mut JoinSet<()>,
    data: &[u8],
    vice: Vice,
    gate: Option<tokio::sync::Semaphore>,
) -> (Arc<Origin>, String) {
    let origin = Arc::new(Origin {
        data: data.to_vec(),
        vice: Mutex::new(vice),
        bytes: AtomicU64::new(0),
        requests: AtomicUsize::new(0),
        sending: Arc::new(()),
        refused: AtomicUsize::new(0),
        gate,
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/episode.bin", listener.local_addr().unwrap());
    let app = Router::new()
        .route("/episode.bin", axum::routing::get(answer))
        .with_state(origin.clone());
    tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
    (origin, url)
}

async fn answer(State(origin): State<Arc<Origin>>, headers: HeaderMap) -> Response<Body> {
    let count = origin.requests.fetch_add(1, Ordering::SeqCst);
    assert_eq!(headers.get(header::ACCEPT_ENCODING).unwrap(), "identity");
    let (vice, sending) = {
        let vice = origin.vice.lock().unwrap();
        if matches!(*vice, Vice::OneAtATime) && Arc::strong_count(&origin.sending) > 1 {
            origin.refused.fetch_add(1, Ordering::SeqCst);
            return empty(StatusCode::SERVICE_UNAVAILABLE);
        }
        (vice.clone(), origin.sending.clone())
    };
    let mut data = origin.data.clone();
    let mut cut = None;
    match vice {
        Vice::Status(code) => return empty(StatusCode::from_u16(code).unwrap()),
        Vice::LacksEvery(n) if count % n == n - 1 => return empty(StatusCode::NOT_FOUND),
        Vice::BusyFor(times, seconds) if count < times => {
            return Response::builder()
                .status(503)
                .header(header::RETRY_AFTER, seconds.to_string())
                .body(Body::empty())
                .unwrap();
        }
        Vice::PageFor(times, states_length) if count < times => {
            let page = bytes::Bytes::from(format!("<!doctype html>{}", " ".repeat(100_000)));
            let body = if states_length {
                Body::from(page)
            } else {
                Body::from_stream(futures_util::stream::iter([Ok::<_, std::io::Error>(page)]))
            };
            return Response::builder()
                .header(header::CONTENT_TYPE, "text/html; charset=utf-8")
                .body(body)
                .unwrap();
        }
        Vice::CirclesFor(times) if count < times => {
            return Response::builder()
                .status(302)
                .header(header::LOCATION, "/episode.bin")
                .body(Body::empty())
                .unwrap();
        }
        Vice::WrongBytes => data.iter_mut().step_by(16_384).for_each(|b| *b ^= 1),
        Vice::Longer(n) => data.extend(std::iter::repeat_n(7, n as usize)),
        Vice::Shorter(n) => data.truncate(data.len() - n as usize),
        Vice::CutsAfter(n) => cut = Some(n),
        Vice::StopsEverySecond(n) => cut = (count % 2 == 1).then_some(n),
        _ => {}
    }
    let range = headers.get(header::RANGE).map(|r| {
        let (a, b) = r
            .to_str()
            .unwrap()
            .strip_prefix("bytes=")
            .unwrap()
            .split_once('-')
            .unwrap();
        (a.parse::<usize>().unwrap(), b.parse::<usize>().unwrap() + 1)
    });
    let total = data.len();
    let (status, first, last) = match range.filter(|_| !matches!(vice, Vice::IgnoresRange)) {
        Some((first, _)) if first >= total => return empty(StatusCode::RANGE_NOT_SATISFIABLE),
        Some((first, last)) => {
            let most = if let Vice::AtMost(n) = vice { n } else { total };
            (
                StatusCode::PARTIAL_CONTENT,
                first,
                last.min(total).min(first + most),
            )
        }
        None => (StatusCode::OK, 0, total),
    };
    let promised = last - first;
    let cut = cut.or(matches!(vice, Vice::CutsAThird).then_some(promised * 2 / 3));
    let sent = cut.map_or(promised, |n| n.min(promised));
    let body = data[first..first + sent].to_vec();
    let cut_short = sent < promised;
    let stops = matches!(vice, Vice::StopsEverySecond(_));
    let parts = futures_util::stream::unfold(
        (body, 0, origin.clone(), sending),
        move |(body, at, origin, sending)| async move {
            if at >= body.len() {
                // Gives the server the moment that it needs to send what it has.
                tokio::task::yield_now().await;
                if cut_short && stops {
                    std::future::pending::<()>().await;
                }
                return cut_short.then(|| {
                    (
                        Err(std::io::Error::other("cut")),
                        (body, usize::MAX / 2, origin, sending),
                    )
                });
            }
            if let Some(gate) = &origin.gate {
                gate.acquire().await.unwrap().forget();
            }
            let end = body.len().min(at + 65_536);
            let part = bytes::Bytes::copy_from_slice(&body[at..end]);
            origin.bytes.fetch_add(part.len() as u64, Ordering::SeqCst);
            Some((Ok(part), (body, end, origin, sending)))
        },
    );
    let mut response = Response::builder()
        .status(status)
        .header(header::CONTENT_LENGTH, promised);
    if matches!(vice, Vice::Gzip) {
        response = response.header(header::CONTENT_ENCODING, "gzip");
    }
    if status == StatusCode::PARTIAL_CONTENT {
        let (first, last) = match vice {
            Vice::Misplaced => (first + 1, last),
            Vice::Miscounted => (first, last - 1),
            _ => (first, last),
        };
        response = response.header(
            header::CONTENT_RANGE,
            format!("bytes {first}-{}/{total}", last - 1),
        );
    }
    response.body(Body::from_stream(parts)).unwrap()
}

fn empty(status: StatusCode) -> Response<Body> {
    Response::builder().status(status).body(Body::empty()).unwrap()
}

pub fn open_gate() -> Gate {
    Gate::new(Policy {
        allow_private: true,
        ..Policy::default()
    })
}

pub fn config(data: &Path) -> NodeConfig {
    NodeConfig {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        ..NodeConfig::new(data, open_gate())
    }
}

pub async fn node(data: &Path) -> Node {
    Node::start(config(data)).await.unwrap()
}

pub fn address(node: &Node) -> String {
    node.local_addrs()[0].to_string()
}

pub fn alone() -> AddOptions {
    AddOptions {
        use_peers: false,
        ..AddOptions::default()
    }
}

pub fn only_peers(peers: &[String]) -> AddOptions {
    AddOptions {
        use_origin: false,
        peers: peers.to_vec(),
        ..AddOptions::default()
    }
}

pub async fn completed(torrent: &Torrent) -> Stats {
    match tokio::time::timeout(PATIENCE, torrent.completed()).await {
        Ok(Ok(stats)) => stats,
        Ok(Err(e)) => panic!("{e}\n{:?}", torrent.stats()),
        Err(_elapsed) => panic!("not complete in time: {:?}", torrent.stats()),
    }
}

pub async fn fails(torrent: &Torrent) -> String {
    match tokio::time::timeout(PATIENCE, torrent.completed()).await {
        Ok(Ok(stats)) => panic!("complete: {stats:?}"),
        Ok(Err(e)) => e.to_string(),
        Err(_elapsed) => panic!("hangs: {:?}", torrent.stats()),
    }
}

/// Waits until the figures satisfy `wanted`.
pub async fn until(torrent: &Torrent, wanted: impl FnMut(&Stats) -> bool) -> Stats {
    let mut stats = torrent.subscribe();
    match tokio::time::timeout(PATIENCE, stats.wait_for(wanted)).await {
        Ok(found) => found.unwrap().clone(),
        Err(_elapsed) => panic!("waited in vain: {:?}", torrent.stats()),
    }
}

pub fn stored(torrent: &Torrent) -> Vec<u8> {
    std::fs::read(torrent.content_path()).unwrap()
}
