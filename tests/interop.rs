//! Programs of others around a published file: a real nginx as the origin, and libtorrent, which downloads from the web seed alone.
//!
//! Everything stays on 127.0.0.1: no DHT, no local discovery, no port mapping, no tracker.

mod common;

use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::{HeaderMap, header};
use axum::routing::get;
use common::tools::tool;
use common::{Server, episode, grove, sha256};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;
use tempfile::TempDir;

/// An nginx of our own that serves one folder, and notes what was asked of it.
struct Nginx {
    child: Child,
    addr: SocketAddr,
    folder: TempDir,
}

/// One line of nginx's access log.
#[derive(Debug)]
struct Asked {
    method: String,
    uri: String,
    status: u16,
    range: String,
    agent: String,
}

impl Nginx {
    fn start(root: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("a bound address");
        // Root's workers would become another user, who may not look into a temporary folder; everybody else stays who they are.
        let user = if rustix::process::geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let config = format!(
            r"
            daemon off;
            worker_processes 1;
            {user}
            pid nginx.pid;
            events {{}}
            http {{
                client_body_temp_path body;
                proxy_temp_path proxy;
                fastcgi_temp_path fastcgi;
                uwsgi_temp_path uwsgi;
                scgi_temp_path scgi;
                default_type application/octet-stream;
                log_format asked '$request_method|$request_uri|$status|$http_range|$http_user_agent';
                access_log access.log asked;
                server {{
                    listen {addr};
                    root {};
                }}
            }}
            ",
            root.display()
        );
        std::fs::write(folder.path().join("nginx.conf"), config).expect("space on the disk");
        // As when nginx replaces itself: it takes a socket that listens already over. So the port is surely ours, and whoever connects
        // before nginx is up waits for it.
        rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).expect("a socket can be inherited");
        let child = Command::new(tool("nginx", "nginx-light"))
            .arg("-p")
            .arg(folder.path())
            .args(["-c", "nginx.conf", "-e", "error.log"])
            .env("NGINX", format!("{};", listener.as_raw_fd()))
            .stdin(Stdio::null())
            .spawn()
            .expect("nginx can be started");
        Nginx { child, addr, folder }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.addr)
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let id = i32::try_from(self.child.id()).expect("process ids are i32");
        let id = rustix::process::Pid::from_raw(id).expect("process ids are above zero");
        rustix::process::kill_process(id, signal).expect("a running child can be signalled");
    }

    /// Lets it finish what it is doing, and returns everything that was asked of it.
    fn stop(mut self) -> Vec<Asked> {
        self.signal(rustix::process::Signal::QUIT);
        self.child.wait().expect("a child can be waited for");
        let errors = std::fs::read_to_string(self.folder.path().join("error.log")).unwrap_or_default();
        let log = std::fs::read_to_string(self.folder.path().join("access.log"))
            .unwrap_or_else(|error| panic!("nginx left no access log: {error}\n{errors}"));
        log.lines()
            .map(|line| {
                let mut parts = line.splitn(5, '|').map(str::to_owned);
                let mut part = || {
                    parts
                        .next()
                        .unwrap_or_else(|| panic!("not a line of the log: {line}"))
                };
                Asked {
                    method: part(),
                    uri: part(),
                    status: part().parse().expect("a status"),
                    range: part(),
                    agent: part(),
                }
            })
            .collect()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Not SIGKILL: the worker would outlive its master. It may have been stopped already.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(rustix::process::Signal::TERM);
            let _ = self.child.wait();
        }
    }
}

/// A folder with `web/episode.mp3` in it.
fn web(content: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().join("web");
    std::fs::create_dir(&root).expect("a folder");
    std::fs::write(root.join("episode.mp3"), content).expect("space on the disk");
    (folder, root)
}

/// `grove publish web/episode.mp3`, as people would.
fn publishing(folder: &Path, origin: &str) -> common::Grove {
    grove(
        folder,
        ["publish", "web/episode.mp3", "--json", "--data", "publisher"],
    )
    .arg("--origin")
    .arg(origin)
}

#[test]
fn nginx_as_the_origin() {
    let (folder, root) = web(&std::fs::read(episode()).expect("the episode"));
    let nginx = Nginx::start(&root);
    let published = publishing(folder.path(), &nginx.url("episode.mp3"))
        .run()
        .expect(0);
    assert_eq!(published.event("published")["origin"], "same");
    let got = grove(
        folder.path(),
        ["get", "--json", "--data", "viewer", "--listen", "127.0.0.1:0"],
    )
    .args(["--allow-private", "-o", "got.mp3"])
    .arg(nginx.url("episode.mp3"))
    .run()
    .expect(0);
    assert_eq!(sha256(&folder.path().join("got.mp3")), sha256(&episode()));
    let complete = got.event("complete");
    assert_eq!(complete["from_origin"], complete["content_bytes"], "{complete}");
    assert_eq!(complete["wasted"], 0, "{complete}");

    let asked = nginx.stop();
    let (checks, rest): (Vec<_>, Vec<_>) = asked
        .iter()
        .partition(|asked| asked.uri == "/episode.mp3" && asked.range == "-");
    let mut agents: Vec<&str> = checks.iter().map(|asked| asked.agent.as_str()).collect();
    agents.dedup();
    assert_eq!(
        (checks.len(), agents.len()),
        (2, 2),
        "publish asks twice, under different names: {asked:?}"
    );
    for asked in rest {
        let expected = if asked.uri == "/episode.mp3" { 206 } else { 200 };
        assert_eq!(
            (asked.method.as_str(), asked.status),
            ("GET", expected),
            "{asked:?}"
        );
    }
}

/// `TORRENT FOLDER`: downloads, then checks the file against its hashes once more, and tells what it saw.
const LIBTORRENT: &str = r"
import json, signal, sys
signal.alarm(60)
import libtorrent as lt
session = lt.session({
    'listen_interfaces': '127.0.0.1:0', 'outgoing_interfaces': '127.0.0.1',
    'enable_dht': False, 'enable_lsd': False, 'enable_upnp': False, 'enable_natpmp': False,
    'alert_mask': lt.alert.category_t.status_notification | lt.alert.category_t.error_notification
        | lt.alert.category_t.peer_notification,
})
info = lt.torrent_info(sys.argv[1])
torrent = session.add_torrent({'ti': info, 'save_path': sys.argv[2]})
said = []
def wait(kind):
    while True:
        session.wait_for_alert(1000)
        for alert in session.pop_alerts():
            said.append(alert.what() + ': ' + alert.message())
            if isinstance(alert, kind):
                return
            if isinstance(alert, (lt.url_seed_alert, lt.hash_failed_alert, lt.file_error_alert, lt.torrent_error_alert)):
                print(json.dumps({'error': said}))
                sys.exit(1)
wait(lt.torrent_finished_alert)
downloaded = torrent.status()
torrent.force_recheck()
wait(lt.torrent_checked_alert)
checked = torrent.status()
print(json.dumps({
    'info_hash': str(info.info_hashes().v2), 'info_hash_v1': str(info.info_hashes().v1),
    'piece_length': info.piece_length(), 'web_seeds': [seed['url'] for seed in info.web_seeds()],
    'payload': downloaded.total_payload_download, 'failed_bytes': downloaded.total_failed_bytes,
    'redundant_bytes': downloaded.total_redundant_bytes, 'seeding': checked.is_seeding,
    'have': checked.total_wanted_done, 'said': said,
}))
";

/// Publishes `length` random bytes on an nginx, and has libtorrent fetch them from the web seed.
fn libtorrent_fetches(length: usize) {
    const SEED: u64 = 0x6C69_6274;
    println!("seed {SEED:#x}, {length} bytes");
    let mut content = vec![0; length];
    StdRng::seed_from_u64(SEED).fill_bytes(&mut content);
    let (folder, root) = web(&content);
    let nginx = Nginx::start(&root);
    let url = nginx.url("episode.mp3");
    let published = publishing(folder.path(), &url).run().expect(0).event("published");
    assert_eq!(published["origin"], "same", "{published}");
    let into = folder.path().join("libtorrent");
    std::fs::create_dir(&into).expect("a folder");
    // Debian's own Python has Debian's libtorrent; one from elsewhere on the path need not.
    let python = tool("python3", "python3 python3-libtorrent");
    let debian = Path::new("/usr/bin/python3");
    let python = if debian.exists() { debian } else { &python };
    let output = Command::new(python)
        .args(["-c", LIBTORRENT])
        .arg(root.join("episode.mp3.torrent"))
        .arg(&into)
        .output()
        .expect("python3 can be started");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "libtorrent did not get {length} bytes (if it is not installed: apt-get install python3-libtorrent)\n{stdout}\n{stderr}"
    );
    let told: Value = serde_json::from_str(&stdout).expect("JSON");
    assert!(
        std::fs::read(into.join("episode.mp3")).expect("the file") == content,
        "libtorrent's file is not the published one: {told}"
    );
    for name in ["info_hash", "info_hash_v1", "piece_length"] {
        assert_eq!(told[name], published[name], "{name}: {told}");
    }
    assert_eq!(told["web_seeds"], serde_json::json!([url]), "{told}");
    assert_eq!(told["seeding"], true, "its own check of the hashes: {told}");
    assert_eq!(told["have"], length, "{told}");
    assert_eq!(
        (&told["failed_bytes"], &told["redundant_bytes"]),
        (&Value::from(0), &Value::from(0)),
        "{told}"
    );

    let asked: Vec<Asked> = nginx
        .stop()
        .into_iter()
        .filter(|asked| asked.agent.contains("libtorrent"))
        .collect();
    assert!(!asked.is_empty(), "libtorrent asked nginx for nothing");
    for asked in &asked {
        assert_eq!(
            (asked.method.as_str(), asked.uri.as_str(), asked.status),
            ("GET", "/episode.mp3", 206),
            "{asked:?}"
        );
        assert!(asked.range.starts_with("bytes="), "{asked:?}");
    }
}

/// What `publish` takes as the piece length of files as small as these.
const PIECE: usize = 64 * 1024;

#[test]
fn libtorrent_fetches_whole_pieces() {
    libtorrent_fetches(PIECE * 12);
}

#[test]
fn libtorrent_fetches_one_byte_more() {
    libtorrent_fetches(PIECE * 12 + 1);
}

#[test]
fn libtorrent_fetches_an_odd_length() {
    libtorrent_fetches(PIECE * 7 - 12_345);
}

#[test]
fn libtorrent_fetches_less_than_a_piece() {
    libtorrent_fetches(20_000);
}

/// The reason why `publish` refuses what `origin` serves.
#[track_caller]
fn refused(content: &[u8], origin: &Server) {
    let (folder, root) = web(content);
    let finished = publishing(folder.path(), &origin.url("episode.mp3"))
        .run()
        .expect(1)
        .says("episode.mp3");
    assert!(finished.stderr.contains("hint:"), "{}", finished.stderr);
    assert!(
        !root.join("episode.mp3.torrent").exists(),
        "a refused publish left a .torrent"
    );
}

/// Content, and the same with one byte changed.
fn two_kinds() -> (Vec<u8>, Vec<u8>) {
    let content: Vec<u8> = (0..300_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let mut other = content.clone();
    other[200_000] ^= 1;
    (content, other)
}

#[test]
fn an_origin_that_gives_other_bytes_is_refused() {
    let (content, other) = two_kinds();
    let origin = Server::start(Router::new().route("/episode.mp3", get(move || async { other })));
    refused(&content, &origin);
    let (content, mut longer) = two_kinds();
    longer.clone_from(&content);
    longer.push(0);
    let origin = Server::start(Router::new().route("/episode.mp3", get(move || async { longer })));
    refused(&content, &origin);
    let mut shorter = content.clone();
    shorter.pop();
    let origin = Server::start(Router::new().route("/episode.mp3", get(move || async { shorter })));
    refused(&content, &origin);
}

#[test]
fn an_origin_that_gives_other_bytes_to_other_programs_is_refused() {
    let (content, other) = two_kinds();
    let same = content.clone();
    let by_agent = get(move |headers: HeaderMap| async move {
        let agent = headers
            .get(header::USER_AGENT)
            .and_then(|agent| agent.to_str().ok())
            .unwrap_or_default();
        if agent.contains("Grove") { same } else { other }
    });
    let origin = Server::start(Router::new().route("/episode.mp3", by_agent));
    refused(&content, &origin);
}

#[test]
fn an_origin_that_gives_other_bytes_each_time_is_refused() {
    let (content, other) = two_kinds();
    let same = content.clone();
    let asked = Arc::new(AtomicUsize::new(0));
    let by_request = get(move || async move {
        if asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            same
        } else {
            other
        }
    });
    let origin = Server::start(Router::new().route("/episode.mp3", by_request));
    refused(&content, &origin);
}
