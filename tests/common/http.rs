//! An HTTP client that says just what a test wants: one request on a connection of its own, and all of the answer.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// By their names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?}\n{}", self.headers, self.text());
        self
    }

    /// A header, empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(2000)]).into_owned()
    }
}

/// Asks for `path`, with these headers besides `Host` (which may be among them). The answer has to be whole.
#[track_caller]
pub fn ask(addr: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let answer = ask_part(addr, method, path, headers);
    if method != "HEAD" && answer.status != 304 {
        let length = answer.body.len().to_string();
        assert_eq!(answer.header("content-length"), length, "{method} {path}");
    }
    answer
}

/// The same; the answer may break off once its head is there.
#[track_caller]
pub fn ask_part(addr: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut stream = open(addr, method, path, headers);
    let mut bytes = Vec::new();
    // What broke off is seen by its length.
    let ended = stream.read_to_end(&mut bytes);
    let patient = ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    assert!(
        !patient,
        "{method} {path}: nothing came after {} bytes",
        bytes.len()
    );
    let head = bytes
        .windows(4)
        .position(|part| part == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("{method} {path}: no whole head in {} bytes", bytes.len()));
    let text = String::from_utf8_lossy(&bytes[..head]).into_owned();
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    let answer = Answer {
        status: status.unwrap_or_else(|| panic!("{method} {path}: no status in {text}")),
        headers: headers.collect(),
        body: bytes.split_off(head + 4),
    };
    assert_eq!(answer.header("transfer-encoding"), "", "{method} {path}");
    answer
}

/// Asks, and leaves the answer to be read.
#[track_caller]
pub fn open(addr: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> TcpStream {
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    let has_host = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = addr.to_string();
    let host = Some(("Host", host.as_str())).filter(|_| !has_host);
    for (name, value) in headers.iter().copied().chain(host) {
        request.push_str(name);
        request.push_str(": ");
        request.push_str(value);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let mut stream = TcpStream::connect(addr).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(request.as_bytes()).expect("it takes a request");
    stream
}
