//! A server of one file without a `.torrent`, byte for byte: it breaks off, refuses, waits or lies as a test wants; and the command that fetches it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use tempfile::TempDir;

use super::{Finished, Grove, PATIENCE, Running, grove};

pub const LENGTH: usize = 3_000_000;

/// The version of the file that can be played: noise in WAV, so many bytes a second.
pub const SOUND: u64 = 7;
pub const RATE: u32 = 96_000 * 4;

/// The file, in one of its versions.
pub fn content(version: u64) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..LENGTH as u64)
        .map(|i| (i.wrapping_add(version).wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    if version == SOUND {
        let length = LENGTH as u32;
        let head = [
            *b"RIFF",
            (length - 8).to_le_bytes(),
            *b"WAVE",
            *b"fmt ",
            16_u32.to_le_bytes(),
            // PCM, two channels.
            [1, 0, 2, 0],
            (RATE / 4).to_le_bytes(),
            RATE.to_le_bytes(),
            // Four bytes of 16 bits each.
            [4, 0, 16, 0],
            *b"data",
            (length - 44).to_le_bytes(),
        ];
        bytes[..44].copy_from_slice(head.as_flattened());
    }
    bytes
}

/// A request for the file.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The first byte that is asked for, when it is a range.
    pub from: Option<usize>,
    pub if_range: Option<String>,
}

/// What the server does with one request.
#[derive(Clone, Debug)]
pub struct Act {
    pub status: &'static str,
    /// Headers besides those about length and range, each with its line end.
    pub headers: String,
    pub version: u64,
    /// Whether it gives the range that is asked for.
    pub ranges: bool,
    /// Where it begins, when it gives none that is asked for.
    pub start: usize,
    /// Up to where it says that it gives the file, if it says so.
    pub states: Option<usize>,
    /// Bytes of the body that it gives.
    pub gives: usize,
    /// It waits until it is told to go on, before the rest of the body, or before it closes the connection.
    pub holds: bool,
}

impl Act {
    /// All that is asked for, of a file with this ETag.
    pub fn well(etag: &str) -> Self {
        Self {
            status: "200 OK",
            headers: format!("ETag: {etag}\r\n"),
            version: 0,
            ranges: true,
            start: 0,
            states: Some(LENGTH),
            gives: LENGTH,
            holds: false,
        }
    }

    /// So many bytes, and then the connection is closed.
    pub fn cut(self, gives: usize) -> Self {
        Self { gives, ..self }
    }

    /// An answer without a body.
    pub fn says(status: &'static str, headers: &str) -> Self {
        Self {
            status,
            headers: headers.to_owned(),
            version: 0,
            ranges: false,
            start: 0,
            states: None,
            gives: 0,
            holds: false,
        }
    }
}

#[derive(Default)]
struct Scene {
    asked: Vec<Asked>,
    /// How it answers the next requests; the last one stays.
    acts: Vec<Act>,
    open: bool,
}

/// A server of one file without a `.torrent`, byte for byte.
pub struct Web {
    pub folder: TempDir,
    addr: SocketAddr,
    scene: Arc<(Mutex<Scene>, Condvar)>,
}

impl Web {
    pub fn new(acts: impl IntoIterator<Item = Act>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("a bound address");
        let scene = Scene {
            acts: acts.into_iter().collect(),
            ..Scene::default()
        };
        let scene = Arc::new((Mutex::new(scene), Condvar::new()));
        let of_server = Arc::clone(&scene);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let scene = Arc::clone(&of_server);
                // Who went away is not answered.
                std::thread::spawn(move || drop(serve(&stream, &scene)));
            }
        });
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            addr,
            scene,
        }
    }

    pub fn acts(&self, acts: impl IntoIterator<Item = Act>) {
        self.scene.0.lock().expect("not poisoned").acts = acts.into_iter().collect();
    }

    pub fn open(&self) {
        self.scene.0.lock().expect("not poisoned").open = true;
        self.scene.1.notify_all();
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.scene.0.lock().expect("not poisoned").asked.clone()
    }

    pub fn froms(&self) -> Vec<Option<usize>> {
        self.asked().iter().map(|asked| asked.from).collect()
    }

    pub fn url(&self) -> String {
        format!("http://{}/thing.bin", self.addr)
    }

    pub fn command(&self, command: &str) -> Grove {
        grove(self.folder.path(), [command, &self.url(), "--allow-private"]).args([
            "--listen",
            "127.0.0.1:0",
            "--data",
            "data",
        ])
    }

    pub fn get(&self) -> Finished {
        self.command("get").args(["--json", "-o", "out.bin"]).run()
    }

    pub fn start(&self) -> Running {
        self.command("get").args(["--json", "-o", "out.bin"]).start()
    }

    /// The result, which is the file in this version; then it is taken away.
    #[track_caller]
    pub fn is_out(&self, version: u64) {
        let out = self.folder.path().join("out.bin");
        let bytes = std::fs::read(&out).expect("the result");
        assert!(
            bytes == content(version),
            "{} bytes, of another version",
            bytes.len()
        );
        std::fs::remove_file(out).expect("it is there");
    }

    #[track_caller]
    pub fn nothing_is_out(&self) {
        let entries = std::fs::read_dir(self.folder.path()).expect("the folder");
        let names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert!(
            names.iter().all(|name| name == "data" || name == "share"),
            "{names:?}"
        );
    }

    /// What is kept of what is not whole.
    pub fn kept(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("data/plain")).map_or(0, Iterator::count)
    }
}

fn serve(stream: &TcpStream, scene: &(Mutex<Scene>, Condvar)) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let Some(first) = lines.next().transpose()? else {
        return Ok(());
    };
    let mut asked = Asked::default();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "range" => {
                let from = value
                    .strip_prefix("bytes=")
                    .and_then(|range| range.split_once('-'));
                asked.from = from.and_then(|(from, _)| from.parse().ok());
            }
            "if-range" => asked.if_range = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut out = stream;
    if !first.starts_with("GET /thing.bin ") {
        return out.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let act = {
        let mut scene = scene.0.lock().expect("not poisoned");
        scene.asked.push(asked.clone());
        match scene.acts.len() {
            1 => scene.acts[0].clone(),
            _ => scene.acts.remove(0),
        }
    };
    let same = asked
        .if_range
        .as_ref()
        .is_none_or(|is| act.headers.contains(&format!(": {is}\r\n")));
    let from = asked.from.filter(|_| act.ranges && same);
    let status = if from.is_some() {
        "206 Partial Content"
    } else {
        act.status
    };
    write!(out, "HTTP/1.1 {status}\r\nConnection: close\r\n{}", act.headers)?;
    if let Some(from) = from {
        write!(out, "Content-Range: bytes {from}-{}/{LENGTH}\r\n", LENGTH - 1)?;
    }
    let from = from.unwrap_or(act.start);
    if let Some(states) = act.states {
        write!(out, "Content-Length: {}\r\n", states - from)?;
    }
    out.write_all(b"\r\n")?;
    let body = content(act.version).split_off(from);
    let gives = act.gives.min(body.len());
    out.write_all(&body[..gives])?;
    if act.holds {
        let scene_now = scene.0.lock().expect("not poisoned");
        let (_open, waited) = scene
            .1
            .wait_timeout_while(scene_now, PATIENCE, |scene| !scene.open)
            .expect("not poisoned");
        assert!(!waited.timed_out(), "nobody let it go on");
        out.write_all(&body[gives..])?;
    }
    Ok(())
}
