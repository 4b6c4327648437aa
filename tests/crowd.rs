//! Thousands who connect to a `grove seed` and say little or nothing: its memory stays bounded, and viewers are served.

mod common;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use common::{PATIENCE, grove, sha256};
use engine::metainfo::Builder;
use engine::net::{Connection, ControlReader, ControlWriter, Endpoint, Identity, open_control};
use futures_util::{StreamExt as _, stream};

/// Who comes; each with a key and, in groups of twenty, an address of its own.
const CROWD: u16 = 2_000;
/// Dials at a time.
const AT_ONCE: usize = 64;
/// Control streams that each begins and does not go on with.
const STREAMS: usize = 32;
/// Memory that they may cost together, in bytes.
const MEMORY: u64 = 100_000_000;
const LENGTH: usize = 1_500_000;

/// The largest resident memory of a process so far, in bytes.
fn most_memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
    kib.expect("a number of kB")
        .trim()
        .parse::<u64>()
        .expect("a number")
        * 1024
}

fn publish(at: &Path) {
    let data: Vec<u8> = (0..LENGTH)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect();
    std::fs::write(at.join("thing.bin"), &data).expect("space on the disk");
    let builder = Builder::new("thing.bin").piece_length(65_536);
    let metainfo = builder
        .hash(&data[..], LENGTH as u64, |_| {})
        .expect("it can be hashed");
    std::fs::write(at.join("thing.bin.torrent"), metainfo.to_bytes()).expect("space on the disk");
}

/// One of the crowd: what must live for its connection and its streams to stay.
struct Idle {
    connection: Connection,
    _endpoint: Endpoint,
    _streams: Vec<(ControlWriter, ControlReader)>,
}

/// Connects, begins a hello on each of its streams, and leaves it at that.
async fn come(number: u16, seed: SocketAddr) -> Option<Idle> {
    let group = number / 20;
    let address = Ipv4Addr::new(127, 2, (group / 250) as u8, (group % 250) as u8 + 1);
    let identity = Identity::generate().expect("a key");
    let endpoint = Endpoint::bind((address, 0).into(), &identity).expect("a socket");
    // Most find no place.
    let connection = endpoint.connect(seed, None).await.ok()?;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        let (mut writer, reader) = open_control(&connection).await.ok()?;
        // 16,000 bytes would follow.
        writer.send_raw(&[0, 0, 0x3E, 0x80, 0]).await.ok()?;
        writer.send_raw(&[0; 8_000]).await.ok()?;
        streams.push((writer, reader));
    }
    Some(Idle {
        connection,
        _endpoint: endpoint,
        _streams: streams,
    })
}

#[test]
fn thousands_of_idle_connections_cost_little_and_keep_nobody_out() {
    gate::install_crypto_provider();
    let place = tempfile::tempdir().expect("a folder");
    let at = place.path();
    publish(at);
    let mut seed = grove(at, ["seed", "thing.bin.torrent", "--json", "--data", "seed"])
        .args(["--listen", "127.0.0.1:0"])
        .start();
    let listening = seed.wait_for("listening");
    let address = listening["quic"][0].as_str().expect("an address").to_owned();
    seed.wait_for("seeding");
    let before = most_memory(seed.child.id());

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let to = address.parse().expect("an address");
    let crowd = stream::iter(0..CROWD)
        .map(|number| tokio::time::timeout(PATIENCE, come(number, to)))
        .buffer_unordered(AT_ONCE)
        .filter_map(async |came| came.expect("a dial ends"));
    let crowd: Vec<_> = runtime.block_on(crowd.collect());
    let here = crowd.iter().filter(|idle| !idle.connection.is_closed()).count();
    println!("{} of {CROWD} had a place, {here} still have it", crowd.len());
    // None of them is kept.
    runtime.block_on(async {
        for idle in &crowd {
            let closed = tokio::time::timeout(PATIENCE, idle.connection.closed());
            closed.await.expect("an idle connection is closed");
        }
    });

    let got = grove(
        at,
        [
            "get",
            "thing.bin.torrent",
            "--json",
            "--no-ads",
            "--no-origin",
            "--data",
            "viewer",
        ],
    )
    .args(["--listen", "127.0.0.1:0", "-o", "got.bin", "--peer", &address])
    .run()
    .expect(0);
    assert_eq!(got.event("complete")["from_peers"], LENGTH);
    assert_eq!(sha256(&at.join("got.bin")), sha256(&at.join("thing.bin")));
    let cost = most_memory(seed.child.id()) - before;
    println!("{cost} bytes more than before");
    assert!(
        cost <= MEMORY,
        "{CROWD} connections made the seed {cost} bytes larger"
    );
    drop(crowd);
    assert_eq!(seed.interrupt().0, Some(0));
}
