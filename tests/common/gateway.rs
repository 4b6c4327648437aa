//! A publisher's web server and a gateway (`grove node`) of somebody who trusts it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header;
use axum::middleware::{self, Next};
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::Value;
use tempfile::TempDir;
use tower_http::services::ServeDir;

use super::http::{Answer, ask};
use super::tools::generate;
use super::{Running, Server, grove};

/// A publisher's web server, and a gateway of somebody who trusts it.
pub struct Scene {
    pub folder: TempDir,
    pub server: Server,
    /// Bytes of media that left the server.
    pub sent: Arc<AtomicU64>,
    /// The same, of each path.
    sent_of: Arc<Mutex<HashMap<String, u64>>>,
    pub door: Arc<Door>,
}

/// What the web server lets out: all of it, unless a test wants otherwise.
#[derive(Debug, Default)]
pub struct Door {
    shut: AtomicBool,
    /// So many bytes of media, and then each answer breaks off.
    left: Mutex<Option<u64>>,
}

impl Door {
    /// Nothing but 503 is answered, and nobody is to ask for documents again soon.
    pub fn shut(&self) {
        self.shut.store(true, Ordering::SeqCst);
    }

    /// Answers break off once so many bytes of media were sent.
    pub fn cut_after(&self, bytes: u64) {
        *self.left() = Some(bytes);
    }

    pub fn open(&self) {
        self.shut.store(false, Ordering::SeqCst);
        *self.left() = None;
    }

    fn left(&self) -> MutexGuard<'_, Option<u64>> {
        self.left.lock().expect("not poisoned")
    }

    fn pass(&self, mut part: Bytes) -> Result<Bytes, axum::Error> {
        if let Some(left) = self.left().as_mut() {
            if *left == 0 {
                return Err(axum::Error::new("it breaks off"));
            }
            part.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= part.len() as u64;
        }
        Ok(part)
    }
}

/// A running `grove node`.
pub struct Node {
    pub running: Running,
    pub addr: SocketAddr,
    /// Where it listens for peers.
    pub quic: String,
}

impl Scene {
    pub fn new() -> Self {
        Self::with(Router::new())
    }

    /// A web server that has more than files.
    pub fn with(router: Router) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let web = folder.path().join("web");
        std::fs::create_dir(&web).expect("a folder");
        let sent = Arc::new(AtomicU64::new(0));
        let door = Arc::new(Door::default());
        let sent_of: Arc<Mutex<HashMap<String, u64>>> = Arc::default();
        let (counter, each, guard) = (Arc::clone(&sent), Arc::clone(&sent_of), Arc::clone(&door));
        let count = move |request: Request, next: Next| {
            count(counter.clone(), each.clone(), guard.clone(), request, next)
        };
        let router = router
            .fallback_service(ServeDir::new(&web))
            .layer(middleware::from_fn(count));
        let scene = Self {
            server: Server::start(router),
            folder,
            sent,
            sent_of,
            door,
        };
        scene.sound("ad.wav", 1, "");
        scene
    }

    /// Bytes of one file that left the server.
    pub fn sent_of(&self, name: &str) -> u64 {
        let sent = self.sent_of.lock().expect("not poisoned");
        sent.get(&format!("/{name}")).copied().unwrap_or(0)
    }

    pub fn web(&self) -> PathBuf {
        self.folder.path().join("web")
    }

    /// Makes a file of noise.
    pub fn sound(&self, name: &str, seconds: u32, coding: &str) {
        let seed = u64::from(seconds) + 4;
        let noise = format!("anoisesrc=c=pink:a=0.2:seed={seed}:r=48000:d={seconds}");
        let mut inputs = vec![noise];
        if coding.contains("-c:v") {
            inputs.push(format!("testsrc2=s=160x90:r=25:d={seconds}"));
        }
        generate(&self.web().join(name), &inputs, coding);
    }

    /// Publishes a file of the web folder.
    pub fn publish(&self, name: &str, args: &[&str]) {
        grove(self.folder.path(), ["publish", &format!("web/{name}")])
            .args([
                "--allow-private",
                "--data",
                "publisher",
                "--origin",
                &self.server.url(name),
            ])
            .args(args)
            .run()
            .expect(0);
    }

    /// Publishes noise with ads in it.
    pub fn episode(&self, name: &str, seconds: u32, coding: &str, cues: &[&str]) {
        self.sound(name, seconds, coding);
        let ads: Vec<String> = cues
            .iter()
            .flat_map(|cue| ["--ad".into(), format!("{cue}=web/ad.wav")])
            .collect();
        self.publish(name, &ads.iter().map(String::as_str).collect::<Vec<_>>());
    }

    /// What `grove get` makes of it, in a file or through a pipe.
    pub fn get(&self, name: &str, to: &str, args: &[&str]) -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a folder");
        let finished = grove(folder.path(), ["get", &self.server.url(name), "--allow-private"])
            .args(["--data", "state", "--freeze", "60", "-o", to])
            .args(args)
            .run()
            .expect(0);
        if to == "-" {
            return finished.stdout;
        }
        std::fs::read(folder.path().join(to)).expect("the result")
    }

    pub fn node(&self, data: &str, args: &[&str]) -> Node {
        Node::start(
            self.folder.path(),
            data,
            &[&["--allow-private", "--freeze", "60"][..], args].concat(),
        )
    }

    pub fn path(&self, name: &str) -> String {
        format!("/{}", self.server.url(name))
    }
}

async fn count(
    counter: Arc<AtomicU64>,
    each: Arc<Mutex<HashMap<String, u64>>>,
    door: Arc<Door>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.uri().path().to_owned();
    if door.shut.load(Ordering::SeqCst) {
        let mut shut = Response::builder().status(503);
        if path.ends_with(".torrent") {
            shut = shut.header(header::RETRY_AFTER, 300);
        }
        return shut.body(Body::empty()).expect("a response");
    }
    let response = next.run(request).await;
    if path.ends_with(".torrent") {
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = body.into_data_stream().map(move |part| {
        let part = door.pass(part?)?;
        counter.fetch_add(part.len() as u64, Ordering::SeqCst);
        *each
            .lock()
            .expect("not poisoned")
            .entry(path.clone())
            .or_default() += part.len() as u64;
        Ok::<_, axum::Error>(part)
    });
    Response::from_parts(parts, Body::from_stream(body))
}

impl Node {
    pub fn start(folder: &Path, data: &str, args: &[&str]) -> Self {
        let mut running = grove(
            folder,
            ["node", "--json", "--http", "127.0.0.1:0", "--data", data],
        )
        .args(["--listen", "127.0.0.1:0"])
        .args(args)
        .start();
        let listening = running.wait_for("listening");
        let addr = listening["http"].as_str().and_then(|addr| addr.parse().ok());
        Self {
            running,
            addr: addr.expect("the address that it listens on"),
            quic: listening["quic"][0].as_str().expect("an address").to_owned(),
        }
    }

    /// What stands at a path, as a player names it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    #[track_caller]
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        ask(self.addr, "GET", path, headers)
    }

    #[track_caller]
    pub fn head(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        ask(self.addr, "HEAD", path, headers)
    }

    #[track_caller]
    pub fn range(&self, path: &str, range: std::ops::Range<usize>) -> Answer {
        let text = format!("bytes={}-{}", range.start, range.end - 1);
        let answer = self.get(path, &[("range", &text)]).expect(206);
        assert!(
            answer
                .header("content-range")
                .starts_with(&format!("bytes {}-{}/", range.start, range.end - 1)),
            "{answer:?}"
        );
        answer
    }

    /// SIGINT; it ends well.
    #[track_caller]
    pub fn stop(self) -> Vec<Value> {
        let (status, rest) = self.running.interrupt();
        assert_eq!(status, Some(0), "{rest:?}");
        rest
    }
}
