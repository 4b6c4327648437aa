//! The ad server as a process, and a forwarder in front of it that misbehaves with beacons as a test wants.
//!
//! Not for: what an ad server decides or counts (`ad-server-mock` has its own tests).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{PATIENCE, Running, fixtures, grove};

/// `grove adserver serve` with the fixtures' campaigns.
pub struct AdServer {
    running: Running,
    pub addr: SocketAddr,
    folder: PathBuf,
}

impl AdServer {
    /// Starts it on a free port, with its database in `folder`.
    pub fn start(folder: &Path, args: &[&str]) -> Self {
        Self::start_at(folder, "127.0.0.1:0".parse().expect("an address"), args)
    }

    /// Starts it on this port.
    pub fn start_at(folder: &Path, http: SocketAddr, args: &[&str]) -> Self {
        let mut running = grove(folder, ["adserver", "serve", "--json", "--db", "adserver.db"])
            .arg("--http")
            .arg(http.to_string())
            .arg("--load")
            .arg(fixtures().join("ads.toml"))
            .args(args)
            .start();
        let listening = running.wait_for("listening");
        let addr = listening["http"]
            .as_str()
            .and_then(|addr| addr.parse().ok())
            .expect("the address that it listens on");
        AdServer {
            running,
            addr,
            folder: folder.to_owned(),
        }
    }

    /// SIGKILL.
    pub fn kill(self) {
        self.running.kill();
    }

    /// The totals of its report, read from its database: also while it is down.
    pub fn totals(folder: &Path) -> Value {
        let finished = grove(folder, ["adserver", "report", "--json", "--db", "adserver.db"])
            .run()
            .expect(0);
        finished.json().remove(0)["totals"].clone()
    }

    /// The totals of its report.
    pub fn report(&self) -> Value {
        Self::totals(&self.folder)
    }
}

/// What the forwarder does with a beacon. Everything else is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beacons {
    /// Passed on, and so is the answer.
    Pass,
    /// The connection is cut at once: the ad server never hears of it.
    Refuse,
    /// Passed on; when the ad server has answered, the connection is cut instead of passing its answer on.
    CutAnswer,
    /// Kept without an answer for as long as the client waits: the ad server never hears of it.
    Hold,
}

/// A TCP forwarder in front of an ad server.
pub struct Forwarder {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    // Dropping the runtime ends the forwarder.
    _runtime: tokio::runtime::Runtime,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    upstream: Option<SocketAddr>,
    beacons: Beacons,
    /// How often each path was asked for.
    asked: HashMap<String, usize>,
}

impl Forwarder {
    /// Listens on a free port; where it forwards to is said later.
    pub fn start(beacons: Beacons) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(TcpListener::bind("127.0.0.1:0"))
            .expect("a free port");
        let addr = listener.local_addr().expect("a bound address");
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                upstream: None,
                beacons,
                asked: HashMap::new(),
            }),
            changed: Condvar::new(),
        });
        let serving = Arc::clone(&shared);
        runtime.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&serving);
                connections.spawn(async move {
                    // A connection that breaks off is what these tests are about.
                    let _ = forward(client, &shared).await;
                });
            }
        });
        Forwarder {
            addr,
            shared,
            _runtime: runtime,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.addr)
    }

    /// Where requests go from now on.
    pub fn forward_to(&self, upstream: SocketAddr) {
        self.shared.state.lock().expect("not poisoned").upstream = Some(upstream);
    }

    /// What happens to beacons from now on.
    pub fn beacons(&self, beacons: Beacons) {
        self.shared.state.lock().expect("not poisoned").beacons = beacons;
    }

    /// How often each beacon was sent so far, by its path.
    pub fn sent(&self) -> HashMap<String, usize> {
        self.shared.state.lock().expect("not poisoned").beacons_asked()
    }

    /// Waits until a path with this beginning was asked for.
    pub fn wait_for(&self, beginning: &str) {
        let state = self.shared.state.lock().expect("not poisoned");
        let missing = |state: &mut State| !state.asked.keys().any(|path| path.starts_with(beginning));
        let (state, timeout) = self
            .shared
            .changed
            .wait_timeout_while(state, PATIENCE, missing)
            .expect("not poisoned");
        drop(state);
        assert!(!timeout.timed_out(), "nobody asked for {beginning}");
    }
}

impl State {
    fn beacons_asked(&self) -> HashMap<String, usize> {
        let beacons = self.asked.iter().filter(|(path, _)| path.starts_with("/b/"));
        beacons.map(|(path, times)| (path.clone(), *times)).collect()
    }
}

/// One request and its answer: the connection is closed afterwards, so that there is nothing to parse but the head.
async fn forward(mut client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < 16 << 10 {
        head.push(client.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
    let (upstream, mode) = {
        let mut state = shared.state.lock().expect("not poisoned");
        *state.asked.entry(path.clone()).or_default() += 1;
        shared.changed.notify_all();
        let mode = if path.starts_with("/b/") {
            state.beacons
        } else {
            Beacons::Pass
        };
        (state.upstream, mode)
    };
    match mode {
        Beacons::Refuse => return Ok(()),
        Beacons::Hold => {
            // Ends when the client goes away.
            client.read_u8().await?;
            return Ok(());
        }
        Beacons::Pass | Beacons::CutAnswer => {}
    }
    let upstream = upstream.ok_or_else(|| std::io::Error::other("there is no ad server yet"))?;
    let mut server = TcpStream::connect(upstream).await?;
    let head = text.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    server.write_all(head.as_bytes()).await?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    let mut body = vec![0; length.unwrap_or(0)];
    client.read_exact(&mut body).await?;
    server.write_all(&body).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    if mode == Beacons::Pass {
        client.write_all(&answer).await?;
        client.shutdown().await?;
    }
    Ok(())
}
