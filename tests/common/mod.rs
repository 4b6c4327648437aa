//! What the end-to-end tests share: the fixtures, `grove` as a process, and servers on loopback that behave as a test wants.
//!
//! Everything listens on port 0 of 127.0.0.1. A process that fails or talks nonsense fails the test with its command, folder, status,
//! stdout and stderr. Not for: what a command does.

#![allow(dead_code, unreachable_pub, missing_docs)] // each test binary uses its own part

pub mod ads;
pub mod broadcast;
pub mod facts;
pub mod gateway;
pub mod held;
pub mod http;
pub mod spaces;
pub mod terminal;
pub mod tools;
pub mod web;

use std::ffi::{OsStr, OsString};
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use serde_json::Value;
use tempfile::TempDir;

/// Longest wait for anything that a process should do; a test that needs it has failed.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// The folder that `make fixtures` fills.
pub fn fixtures() -> PathBuf {
    let folder = std::env::var_os("GROVE_FIXTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join(".fixtures"),
        PathBuf::from,
    );
    assert!(
        folder.join("fixtures.json").exists(),
        "there are no fixtures in {}; `make fixtures` makes them",
        folder.display()
    );
    folder
}

/// The episode of the fixtures.
pub fn episode() -> PathBuf {
    fixtures().join("episode.mp3")
}

/// fixtures.json: cue times, creatives, chapters.
pub fn facts() -> Value {
    let text = std::fs::read(fixtures().join("fixtures.json")).expect("fixtures.json is readable");
    serde_json::from_slice(&text).expect("fixtures.json is JSON")
}

/// The first cue of a kind (`pause` or `music`), in seconds.
pub fn cue(kind: &str) -> f64 {
    facts()["episode"]["cues"]
        .as_array()
        .expect("a list of cues")
        .iter()
        .find(|cue| cue["kind"] == kind)
        .and_then(|cue| cue["time"].as_f64())
        .unwrap_or_else(|| panic!("the fixtures have no cue in a {kind}"))
}

/// A `grove` command line to be run in a folder of its own.
pub struct Grove {
    args: Vec<OsString>,
    folder: PathBuf,
    envs: Vec<(OsString, OsString)>,
    wrapper: Option<Vec<OsString>>,
}

/// `grove ARGS…`, run in `folder`.
pub fn grove<S: AsRef<OsStr>>(folder: &Path, args: impl IntoIterator<Item = S>) -> Grove {
    Grove {
        args: args.into_iter().map(|arg| arg.as_ref().to_owned()).collect(),
        folder: folder.to_owned(),
        envs: Vec::new(),
        wrapper: None,
    }
}

/// How a command ended.
pub struct Finished {
    what: String,
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Grove {
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.envs.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// Runs it through another program, such as `unshare`, whose last words are the grove program and its arguments.
    pub fn through<S: AsRef<OsStr>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        self.wrapper = Some(words.into_iter().map(|word| word.as_ref().to_owned()).collect());
        self
    }

    fn command(&self) -> (Command, String) {
        let program = env!("CARGO_BIN_EXE_grove");
        let mut command = match &self.wrapper {
            Some(words) => {
                let mut command = Command::new(&words[0]);
                command.args(&words[1..]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command
            .args(&self.args)
            .current_dir(&self.folder)
            // Nothing of the person who runs the tests is read or written.
            .env("XDG_DATA_HOME", self.folder.join("share"))
            // Nor is anybody outside asked for peers, unless a test says so.
            .env("GROVE_NO_DISCOVERY", "1")
            .envs(self.envs.iter().cloned())
            .stdin(Stdio::null());
        let what = format!("command: {command:?}\nfolder:  {}", self.folder.display());
        (command, what)
    }

    /// Starts it at a terminal.
    pub fn at_terminal(self) -> terminal::Terminal {
        terminal::Terminal::start(&self.command().0)
    }

    /// Runs it to its end.
    pub fn run(self) -> Finished {
        let (mut command, what) = self.command();
        let output = command
            .output()
            .unwrap_or_else(|error| panic!("{what}\ncannot be started: {error}"));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Finished {
            what,
            status: output.status,
            stdout: output.stdout,
            stderr,
        }
    }

    /// Starts it, to be watched line by line.
    pub fn start(self) -> Running {
        let (mut command, what) = self.command();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{what}\ncannot be started: {error}"));
        let (sender, lines) = channel();
        let stdout = child.stdout.take().expect("stdout is piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let said = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let mut stderr = child.stderr.take().expect("stderr is piped");
        let keep = Arc::clone(&said);
        let listening = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut buffer) {
                let words = String::from_utf8_lossy(&buffer[..count]);
                keep.0.lock().expect("not poisoned").push_str(&words);
                keep.1.notify_all();
            }
        });
        Running {
            what,
            child,
            lines,
            said,
            listening: Some(listening),
            seen: Vec::new(),
        }
    }
}

impl Finished {
    fn story(&self) -> String {
        format!(
            "{}\nstatus:  {}\nstdout:\n{}\nstderr:\n{}",
            self.what,
            self.status,
            String::from_utf8_lossy(&self.stdout[..self.stdout.len().min(8000)]),
            self.stderr
        )
    }

    /// It ended with this exit status.
    #[track_caller]
    pub fn expect(self, status: i32) -> Self {
        assert_eq!(
            self.status.code(),
            Some(status),
            "the exit status is not {status}\n{}",
            self.story()
        );
        self
    }

    /// It said this on stderr.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(
            self.stderr.contains(words),
            "stderr does not say {words:?}\n{}",
            self.story()
        );
        self
    }

    /// The JSON objects on stdout.
    #[track_caller]
    pub fn json(&self) -> Vec<Value> {
        String::from_utf8_lossy(&self.stdout)
            .lines()
            .map(|line| {
                serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("not JSON ({error}): {line}\n{}", self.story()))
            })
            .collect()
    }

    /// The last JSON object with this `event`.
    #[track_caller]
    pub fn event(&self, name: &str) -> Value {
        self.json()
            .into_iter()
            .rfind(|value| value["event"] == name)
            .unwrap_or_else(|| panic!("there is no {name:?} event\n{}", self.story()))
    }
}

/// A command that runs; killed when dropped.
pub struct Running {
    what: String,
    pub child: Child,
    lines: Receiver<String>,
    /// What it says on stderr, and that it says more.
    said: Arc<(Mutex<String>, Condvar)>,
    listening: Option<std::thread::JoinHandle<()>>,
    seen: Vec<String>,
}

impl Running {
    fn story(&self) -> String {
        format!(
            "{}\nstdout:\n{}\nstderr:\n{}",
            self.what,
            self.seen.join("\n"),
            self.said.0.lock().expect("not poisoned")
        )
    }

    /// Waits until it has said this on stderr.
    #[track_caller]
    pub fn hear(&self, words: &str) {
        let said = self.said.0.lock().expect("not poisoned");
        let waited = self
            .said
            .1
            .wait_timeout_while(said, PATIENCE, |said| !said.contains(words));
        let (said, waited) = waited.expect("not poisoned");
        drop(said);
        assert!(
            !waited.timed_out(),
            "stderr does not say {words:?}\n{}",
            self.story()
        );
    }

    /// The next JSON object, `None` at the end of the output.
    #[track_caller]
    pub fn next(&mut self) -> Option<Value> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                self.seen.push(line.clone());
                Some(
                    serde_json::from_str(&line)
                        .unwrap_or_else(|error| panic!("not JSON ({error}): {line}\n{}", self.story())),
                )
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("it said nothing for {} s\n{}", PATIENCE.as_secs(), self.story())
            }
        }
    }

    /// Reads until the object with this `event`.
    #[track_caller]
    pub fn wait_for(&mut self, event: &str) -> Value {
        self.wait_until(event, |value| value["event"] == event)
    }

    /// Where a tracker that has just been started is announced to.
    #[track_caller]
    pub fn announce_url(&mut self) -> String {
        let listening = self.wait_for("listening");
        let url = listening["announce"].as_str();
        url.unwrap_or_else(|| panic!("no tracker\n{}", self.story()))
            .to_owned()
    }

    /// Reads until an object that fits.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        while let Some(value) = self.next() {
            if fits(&value) {
                return value;
            }
        }
        panic!("it ended before {what}\n{}", self.story());
    }

    /// SIGINT, as Ctrl-C sends it; then reads to the end of its output. Returns the exit status and what it still said.
    #[track_caller]
    pub fn interrupt(mut self) -> (Option<i32>, Vec<Value>) {
        self.signal(rustix::process::Signal::INT);
        self.finish()
    }

    /// SIGHUP, as a terminal sends it that is closed.
    #[track_caller]
    pub fn hang_up(&self) {
        self.signal(rustix::process::Signal::HUP);
    }

    /// The same; returns the exit status and all that it ever said, on stdout and on stderr.
    #[track_caller]
    pub fn end(mut self) -> (Option<i32>, String) {
        self.signal(rustix::process::Signal::INT);
        let (status, _) = self.finish();
        if let Some(listening) = self.listening.take() {
            listening.join().expect("stderr can be read");
        }
        (
            status,
            [
                self.seen.join("\n"),
                self.said.0.lock().expect("not poisoned").clone(),
            ]
            .join("\n"),
        )
    }

    #[track_caller]
    fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id()).expect("process ids are i32");
        let id = rustix::process::Pid::from_raw(id).expect("process ids are above zero");
        rustix::process::kill_process(id, signal).expect("a running child can be signalled");
    }

    /// Reads to the end of its output. Returns the exit status and what it still said.
    #[track_caller]
    pub fn finish(&mut self) -> (Option<i32>, Vec<Value>) {
        let mut rest = Vec::new();
        while let Some(value) = self.next() {
            rest.push(value);
        }
        let status = self.child.wait().expect("a child can be waited for");
        (status.code(), rest)
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("a running child can be killed");
        self.child.wait().expect("a child can be waited for");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP server on loopback, and what was asked of it.
pub struct Server {
    pub addr: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    // Dropping the runtime ends the server.
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    pub fn start(router: Router) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .expect("a free port");
        let addr = listener.local_addr().expect("a bound address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let router = router.layer(middleware::from_fn_with_state(Arc::clone(&asked), remember));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            addr,
            asked,
            _runtime: runtime,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.addr)
    }

    /// Method and path with query of each request so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

async fn remember(State(asked): State<Arc<Mutex<Vec<String>>>>, request: Request, next: Next) -> Response {
    asked
        .lock()
        .expect("not poisoned")
        .push(format!("{} {}", request.method(), request.uri()));
    next.run(request).await
}

/// A port of loopback where nobody listens, which no other process takes as long as this one lives.
pub fn closed_port() -> SocketAddr {
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket
        .bind(SocketAddr::from(([127, 0, 0, 1], 0)))
        .expect("a free port");
    let address = socket.local_addr().expect("a bound address");
    std::mem::forget(socket);
    address
}

/// A published episode: a folder with the file and its `.torrent`.
pub struct Published {
    pub folder: TempDir,
    pub torrent: PathBuf,
    /// The server of the folder, when this module started one.
    pub origin: Option<Server>,
}

impl Published {
    /// The `.torrent` as a viewer would name it.
    pub fn torrent_url(&self) -> String {
        self.origin
            .as_ref()
            .expect("this episode has a server")
            .url("episode.mp3.torrent")
    }
}

/// Copies the episode into a folder, serves it, and publishes it with `args`.
pub fn publish<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Published {
    let folder = web_folder();
    let files = tower_http::services::ServeDir::new(folder.path().join("web"));
    let origin = Server::start(Router::new().fallback_service(files));
    let torrent = publish_in(folder.path(), &origin.url("episode.mp3"), args);
    Published {
        folder,
        torrent,
        origin: Some(origin),
    }
}

/// Publishes the episode for an origin that is served by somebody else.
pub fn publish_at<S: AsRef<OsStr>>(origin: &str, args: impl IntoIterator<Item = S>) -> Published {
    let folder = web_folder();
    let torrent = publish_in(folder.path(), origin, args);
    Published {
        folder,
        torrent,
        origin: None,
    }
}

fn web_folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("web");
    std::fs::create_dir(&root).expect("a folder");
    std::fs::copy(episode(), root.join("episode.mp3")).expect("the episode can be copied");
    folder
}

/// Publishes `web/episode.mp3` of a folder; gives the `.torrent`.
pub fn publish_in<S: AsRef<OsStr>>(
    folder: &Path,
    origin: &str,
    args: impl IntoIterator<Item = S>,
) -> PathBuf {
    let mut command = grove(
        folder,
        [
            "publish",
            "web/episode.mp3",
            "--json",
            "--allow-private",
            "--origin",
            origin,
        ],
    )
    .arg("--data")
    .arg(folder.join("publisher"));
    for arg in args {
        command = command.arg(arg);
    }
    command.run().expect(0);
    folder.join("web/episode.mp3.torrent")
}

/// The SHA-256 of a file, in hex.
pub fn sha256(path: &Path) -> String {
    use sha2::Digest as _;
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("reading {}: {error}", path.display()));
    hex::encode(sha2::Sha256::digest(bytes))
}
