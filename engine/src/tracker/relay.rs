//! A relay for two ends that cannot reach each other: it carries the datagrams of their QUIC connection, which it
//! cannot read.
//!
//! Each session has a UDP socket of its own, so that its address stands for the other end: who sends there speaks with
//! the other end, and QUIC needs to know nothing of it. An end asks for its place by HTTP
//! (`/relay?key=…&role=sender|receiver[&token=…]`), and shows the token in a datagram, again and again; see
//! [`pairs`](super::pairs) for who is heard. The rate is one for all sessions: who is over it waits in the socket's
//! buffer, and what does not fit there is lost, as on any narrow line.

use super::answering::{Heard, ROOM, Socket};
use super::pairs::{Key, Limits, Pairs, Refusal, Role, Token, Verdict};
use crate::rate::Bucket;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::task::{AbortHandle, JoinSet};

/// How often idle sessions are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// Addresses of a session's ends that are remembered: they may change.
const ENDS: usize = 4;

/// How a relay is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// What it gives of itself.
    pub limits: Limits,
    /// The address that its sockets are bound to.
    pub ip: IpAddr,
    /// The ports that they may take; any when it is 0 to 0.
    pub ports: RangeInclusive<u16>,
}

/// What an end gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The UDP port of the session.
    pub port: u16,
    /// To be shown there after [`MAGIC`](super::pairs::MAGIC).
    pub token: Token,
    /// A session of which nothing is heard for so long ends.
    pub idle: Duration,
}

/// Why an end gets no place.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// By the rules.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No socket can be had.
    #[error("the relay has no free port: {0}")]
    Socket(#[from] std::io::Error),
}

struct Session {
    port: u16,
    task: AbortHandle,
}

#[derive(Default)]
struct State {
    sessions: HashMap<Key, Session>,
    tasks: JoinSet<()>,
}

struct Inner {
    config: Config,
    pairs: Mutex<Pairs>,
    state: Mutex<State>,
    bucket: Bucket,
    carried: AtomicU64,
}

/// The relay: a handle to share. Its sessions end with the last handle. Lock order: `state`, then `pairs`.
#[derive(Clone)]
pub struct Relay(Arc<Inner>);

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Single operations on the tables cannot be torn by a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Relay {
    /// A relay without sessions. Must be used inside a tokio runtime.
    pub fn new(config: Config) -> Self {
        Self(Arc::new(Inner {
            pairs: Mutex::new(Pairs::new(config.limits)),
            state: Mutex::default(),
            bucket: Bucket::new(config.limits.rate),
            carried: AtomicU64::new(0),
            config,
        }))
    }

    /// Open sessions, and bytes that were carried.
    pub fn figures(&self) -> (usize, u64) {
        (lock(&self.0.pairs).len(), self.0.carried.load(Ordering::Relaxed))
    }

    /// An end asks for its place in the session with this key.
    pub fn ask(&self, key: Key, role: Role, ip: IpAddr, token: Option<Token>) -> Result<Place, RelayError> {
        let mut state = lock(&self.0.state);
        self.sweep(&mut state);
        let token = lock(&self.0.pairs).ask(key, role, ip, token, rand::random(), Instant::now())?;
        let port = if let Some(session) = state.sessions.get(&key) {
            session.port
        } else {
            let socket = self.bind(&state)?;
            let port = socket.port()?;
            let task = state.tasks.spawn(carry(Arc::downgrade(&self.0), key, socket));
            state.sessions.insert(key, Session { port, task });
            port
        };
        Ok(Place {
            port,
            token,
            idle: self.0.config.limits.idle,
        })
    }

    fn bind(&self, state: &State) -> std::io::Result<Socket> {
        let config = &self.0.config;
        let mut last = std::io::Error::from(std::io::ErrorKind::AddrInUse);
        for port in config.ports.clone() {
            if port != 0 && state.sessions.values().any(|session| session.port == port) {
                continue;
            }
            let bound = std::net::UdpSocket::bind(SocketAddr::new(config.ip, port)).and_then(|socket| {
                socket.set_nonblocking(true)?;
                Socket::new(UdpSocket::from_std(socket)?)
            });
            match bound {
                Ok(socket) => return Ok(socket),
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// Ends what is idle.
    fn sweep(&self, state: &mut State) {
        for key in lock(&self.0.pairs).expire(Instant::now()) {
            if let Some(session) = state.sessions.remove(&key) {
                session.task.abort();
            }
        }
        while let Some(ended) = state.tasks.try_join_next() {
            if let Err(e) = ended
                && e.is_panic()
            {
                tracing::error!("a part of the relay failed: {e}");
            }
        }
    }

    /// Looks for idle sessions, for ever.
    pub async fn keep_swept(&self) {
        loop {
            tokio::time::sleep(SWEEP).await;
            self.sweep(&mut lock(&self.0.state));
        }
    }
}

/// Carries one session's datagrams until it is aborted.
async fn carry(relay: std::sync::Weak<Inner>, key: Key, socket: Socket) {
    let mut buffer = vec![0; ROOM];
    // To which of our addresses the ends speak, the latest last.
    let mut ends = VecDeque::<Heard>::new();
    loop {
        let Ok(heard) = socket.hear(&mut buffer).await else {
            // An ICMP error of an earlier datagram; the next may come through.
            continue;
        };
        let Some(inner) = relay.upgrade() else { return };
        for data in heard.datagrams(&buffer) {
            let verdict = lock(&inner.pairs).datagram(&key, heard.from, data, Instant::now());
            if verdict != Verdict::Drop {
                ends.retain(|end| end.from != heard.from);
                ends.push_back(heard);
                ends.drain(..ends.len().saturating_sub(ENDS));
            }
            if let Verdict::Forward(to) = verdict {
                inner.bucket.take(data.len() as u64).await;
                let at = ends.iter().find(|end| end.from == to).and_then(|end| end.at);
                // What is lost here QUIC sends again.
                if socket.say(data, to, at).await.is_ok() {
                    inner.carried.fetch_add(data.len() as u64, Ordering::Relaxed);
                }
            }
        }
    }
}
