//! aria2 and libtorrent, as they are, find each other through our tracker, and each downloads from the other.
//! Everything stays on 127.0.0.1: no DHT, no local discovery, no web seed.
//!
//! aria2 1.36 announces a hybrid under a hash of its own making (it reads `info` and writes it again without
//! the empty key of `file tree`, mended in 1.37), so the two share a version 1 torrent with the SHA-1 pieces of ours; two
//! libtorrents share the hybrid as it is.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use engine::bencode::{Encode, Value};
use engine::metainfo::Builder;
use engine::tracker::server::{Config, Tracker, serve};
use sha1::{Digest, Sha1};
use tokio::process::Command;

/// Far longer than it takes (about three seconds), so that a slow machine does not fail it.
const PATIENCE: Duration = Duration::from_secs(60);

const NAME: &str = "episode.bin";

/// `TORRENT FOLDER get|seed`: ends when it has the file; a seed goes on until it is killed.
const LIBTORRENT: &str = r"
import sys
import libtorrent as lt
session = lt.session({
    'listen_interfaces': '127.0.0.1:0',
    'enable_dht': False, 'enable_lsd': False, 'enable_upnp': False, 'enable_natpmp': False,
    'enable_incoming_utp': False, 'enable_outgoing_utp': False,
    'allow_multiple_connections_per_ip': True,
    'alert_mask': lt.alert.category_t.status_notification | lt.alert.category_t.tracker_notification
        | lt.alert.category_t.error_notification,
})
torrent = session.add_torrent({'ti': lt.torrent_info(sys.argv[1]), 'save_path': sys.argv[2]})
while True:
    session.wait_for_alert(1000)
    for alert in session.pop_alerts():
        print(alert.what(), alert.message(), flush=True)
        if isinstance(alert, lt.torrent_finished_alert) and sys.argv[3] == 'get':
            sys.exit(0)
";

struct Swarm {
    folder: tempfile::TempDir,
    tracker: Tracker,
    /// The v1 info hash.
    key: [u8; 20],
    content: Vec<u8>,
    serving: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Swarm {
    /// A tracker, a torrent that names it, and the content in the folder `seed`; `get` is empty.
    async fn new(hybrid: bool) -> Self {
        let tracker = Tracker::new(Config {
            seed: 1,
            ..Config::default()
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let url = format!("http://{}/announce", listener.local_addr().expect("bound"));
        let serving = tokio::spawn(serve(listener, tracker.clone(), std::future::pending()));

        let folder = tempfile::tempdir().expect("a temporary folder");
        let content: Vec<u8> = (0..2_000_001_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8)
            .collect();
        for place in ["seed", "get"] {
            std::fs::create_dir(folder.path().join(place)).expect("a folder");
        }
        std::fs::write(folder.path().join("seed").join(NAME), &content).expect("space on the disk");
        let builder = Builder::new(NAME).tracker(url.as_str());
        let metainfo = builder
            .hash(&content[..], content.len() as u64, |_| ())
            .expect("metainfo");
        let (torrent, key) = if hybrid {
            (
                metainfo.to_bytes().to_vec(),
                metainfo.info_hash_v1().expect("a hybrid"),
            )
        } else {
            let info = v1_half(metainfo.info_bytes());
            let key = Sha1::digest(&info).into();
            let torrent = Encode::dictionary([("announce", Encode::text(&url)), ("info", Encode::Raw(info))]);
            (torrent.to_bytes(), key)
        };
        std::fs::write(folder.path().join("a.torrent"), torrent).expect("space on the disk");
        Self {
            folder,
            tracker,
            key,
            content,
            serving,
        }
    }

    fn libtorrent(&self, what: &str) -> Command {
        let mut command = Command::new("/usr/bin/python3");
        command
            .arg("-c")
            .arg(LIBTORRENT)
            .arg("../a.torrent")
            .arg(".")
            .arg(what);
        self.run_in(what, command)
    }

    fn aria2(&self, what: &str) -> Command {
        let free = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).and_then(|l| l.local_addr());
        let mut command = Command::new("aria2c");
        command
            .args([
                "--no-conf",
                "--interface=127.0.0.1",
                "--disable-ipv6",
                "--async-dns=false",
            ])
            .args([
                "--enable-dht=false",
                "--enable-dht6=false",
                "--bt-enable-lpd=false",
            ])
            .args([
                "--enable-peer-exchange=false",
                "--check-integrity=true",
                "--dir=.",
            ])
            .arg(format!("--listen-port={}", free.expect("a free port").port()))
            .arg(if what == "seed" {
                "--seed-ratio=0.0"
            } else {
                "--seed-time=0"
            })
            .arg("../a.torrent");
        self.run_in(what, command)
    }

    fn run_in(&self, place: &str, mut command: Command) -> Command {
        for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        let log = std::fs::File::create(self.folder.path().join(format!("{place}.log"))).expect("a log");
        command
            .current_dir(self.folder.path().join(place))
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a handle"))
            .stdout(log)
            .kill_on_drop(true);
        command
    }

    /// Runs both at once until `get` ends, and checks what it got.
    async fn run(&self, mut seed: Command, mut get: Command) {
        let hint = "this test needs aria2 and libtorrent: apt-get install aria2 python3-libtorrent";
        // Who announces second is told of the first, whichever that is.
        let mut seed = seed.spawn().expect(hint);
        let mut get = get.spawn().expect(hint);
        let ended = tokio::time::timeout(PATIENCE, get.wait()).await;
        let seed_ended = seed.try_wait().expect("our child");

        let log = |place: &str| std::fs::read_to_string(self.folder.path().join(format!("{place}.log")));
        let state = format!(
            "announces: {}, {:?}\nseed: {seed_ended:?}, it said:\n{}\nthe other said:\n{}",
            self.tracker.announces(),
            self.tracker.counts(&self.key),
            log("seed").expect("our log"),
            log("get").expect("our log"),
        );
        assert!(seed_ended.is_none(), "the seed ended by itself; {hint}\n{state}");
        let Ok(status) = ended else {
            panic!("nothing came in {PATIENCE:?}; {state}")
        };
        assert!(status.expect("our child").success(), "{hint}\n{state}");
        let got = std::fs::read(self.folder.path().join("get").join(NAME));
        let got = got.unwrap_or_else(|error| panic!("no file: {error}; {state}"));
        assert!(got == self.content, "the file is wrong; {state}");
        assert!(self.tracker.announces() >= 2, "both announced; {state}");
        assert!(
            self.tracker.counts(&self.key).complete >= 1,
            "the seed is known; {state}"
        );
    }
}

/// The `info` of a hybrid without what version 2 added.
fn v1_half(info: &[u8]) -> Vec<u8> {
    let info = Value::parse(info).expect("metainfo");
    let entries = info.dictionary().expect("a dictionary").iter();
    let kept = entries.filter(|(key, _)| !matches!(*key, b"file tree" | b"meta version"));
    Encode::Dictionary(
        kept.map(|(key, value)| (key.to_vec(), Encode::Raw(value.raw.to_vec())))
            .collect(),
    )
    .to_bytes()
}

#[tokio::test]
async fn aria2_downloads_from_libtorrent() {
    let swarm = Swarm::new(false).await;
    swarm.run(swarm.libtorrent("seed"), swarm.aria2("get")).await;
}

#[tokio::test]
async fn libtorrent_downloads_from_aria2() {
    let swarm = Swarm::new(false).await;
    swarm.run(swarm.aria2("seed"), swarm.libtorrent("get")).await;
}

#[tokio::test]
async fn libtorrents_share_a_hybrid() {
    let swarm = Swarm::new(true).await;
    swarm.run(swarm.libtorrent("seed"), swarm.libtorrent("get")).await;
}
