//! What web seeds answer to Range requests, over real sockets on loopback: each connection is answered with the
//! next of the input's answers, whatever was asked. Only whole blocks come out, each once, and all that
//! were asked for when it says so.
#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use engine::origin::{Origin, Sink};
use engine::rate::Bucket;
use libfuzzer_sys::fuzz_target;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const LENGTH: u64 = 5 * 16_384 + 100;

#[derive(Arbitrary, Debug)]
enum Answer {
    /// Bytes as they are.
    Raw(Vec<u8>),
    /// A well-formed head and a body of so many bytes.
    Formed {
        status: Status,
        range: Option<(u32, u32, Option<u32>)>,
        /// What `Content-Length` says beside the body's.
        longer: i16,
        body: u32,
        header: Header,
    },
    /// What an honest server says, cut after so many bytes.
    Honest { cut: u32 },
}

#[derive(Arbitrary, Debug)]
enum Status {
    Whole,
    Partial,
    Missing,
    Unsatisfiable,
    Busy,
    Moved,
    Other(u8),
}

#[derive(Arbitrary, Debug)]
enum Header {
    None,
    RetryAfter(u64),
    Chunked,
    Location(String),
    Encoding,
    Text(String),
}

/// Wants each block once; a server that ignores ranges may bring those that were not asked for too.
#[derive(Default)]
struct Judge(BTreeSet<u32>);

impl Sink for Judge {
    fn wants(&self, block: u32) -> bool {
        !self.0.contains(&block)
    }

    async fn block(&mut self, _seed: usize, block: u32, data: Bytes) -> bool {
        assert!(u64::from(block) * 16_384 < LENGTH, "block {block}");
        let length = (LENGTH - u64::from(block) * 16_384).min(16_384);
        assert_eq!(data.len() as u64, length, "block {block}");
        assert!(self.0.insert(block), "block {block} was not wanted");
        true
    }

    async fn waits(&mut self, _waits: bool) {}

    fn received(&mut self, _bytes: u64) {}

    fn wasted(&mut self, _bytes: u64) {}
}

fn head(status: u16, fields: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} x\r\n{fields}connection: close\r\n\r\n").into_bytes()
}

impl Answer {
    fn bytes(&self, request: &[u8]) -> Vec<u8> {
        match self {
            Self::Raw(bytes) => bytes.clone(),
            Self::Formed {
                status,
                range,
                longer,
                body,
                header,
            } => {
                let body = (*body % 200_000) as usize;
                let status = match status {
                    Status::Whole => 200,
                    Status::Partial => 206,
                    Status::Missing => 404,
                    Status::Unsatisfiable => 416,
                    Status::Busy => 503,
                    Status::Moved => 302,
                    Status::Other(n) => 100 + u16::from(*n) * 2,
                };
                let mut fields = String::new();
                if let Some((first, last, total)) = range {
                    let total = total.map_or("*".to_owned(), |t| t.to_string());
                    fields += &format!("content-range: bytes {first}-{last}/{total}\r\n");
                }
                match header {
                    Header::None => {}
                    Header::RetryAfter(n) => fields += &format!("retry-after: {n}\r\n"),
                    Header::Chunked => fields += "transfer-encoding: chunked\r\n",
                    Header::Location(to) => fields += &format!("location: {to}\r\n"),
                    Header::Encoding => fields += "content-encoding: gzip\r\n",
                    Header::Text(text) => fields += &format!("{text}\r\n"),
                }
                fields += &format!("content-length: {}\r\n", body as i64 + i64::from(*longer));
                let mut all = head(status, &fields);
                all.resize(all.len() + body, 0);
                all
            }
            Self::Honest { cut } => {
                let text = String::from_utf8_lossy(request).to_lowercase();
                let asked = text.split("range: bytes=").nth(1).and_then(|rest| {
                    let (first, rest) = rest.split_once('-')?;
                    let last = rest.split('\r').next()?.parse::<u64>().ok()?;
                    Some((first.parse::<u64>().ok()?, last.min(LENGTH - 1)))
                });
                let (status, first, last) = asked.map_or((200, 0, LENGTH - 1), |(a, b)| (206, a, b));
                let length = (last + 1).saturating_sub(first);
                let mut all = head(
                    status,
                    &format!("content-range: bytes {first}-{last}/{LENGTH}\r\ncontent-length: {length}\r\n"),
                );
                all.resize(all.len() + length as usize, 0);
                all.truncate((*cut as usize % 200_000).max(1));
                all
            }
        }
    }
}

struct Bench {
    runtime: Runtime,
    gate: gate::Gate,
    url: String,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

fn bench() -> &'static Bench {
    static BENCH: OnceLock<Bench> = OnceLock::new();
    BENCH.get_or_init(|| {
        gate::install_crypto_provider();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let url = format!("http://{}/a", listener.local_addr().expect("bound"));
        let answers: Arc<Mutex<VecDeque<Answer>>> = Arc::default();
        let queue = answers.clone();
        runtime.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = vec![0; 4096];
                let mut got = 0;
                while !request[..got].windows(4).any(|w| w == b"\r\n\r\n") && got < request.len() {
                    match stream.read(&mut request[got..]).await {
                        Ok(n) if n > 0 => got += n,
                        _ => break,
                    }
                }
                let answer = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                if let Some(answer) = answer {
                    let _ = stream.write_all(&answer.bytes(&request[..got])).await;
                }
            }
        });
        let gate = gate::Gate::new(gate::Policy {
            allow_private: true,
            ..gate::Policy::default()
        });
        Bench {
            runtime,
            gate,
            url,
            answers,
        }
    })
}

fuzz_target!(|answers: Vec<Answer>| {
    let bench = bench();
    *bench.answers.lock().unwrap_or_else(PoisonError::into_inner) = answers.into_iter().take(8).collect();
    let origin = Origin::new(bench.gate.clone(), &[bench.url.clone()], LENGTH, Arc::new(Bucket::new(None)));
    bench.runtime.block_on(async {
        for range in [1..4, 0..6, 5..6] {
            let mut judge = Judge::default();
            // Whatever it says: everything that answers at once ends at once.
            let fetch = origin.fetch(0, range.clone(), &mut judge);
            let result = tokio::time::timeout(Duration::from_secs(5), fetch).await.expect("it ends");
            if result.is_ok() {
                assert!(range.clone().all(|block| judge.0.contains(&block)));
            }
            origin.take_problems();
            let _ = (origin.reasons(), origin.named_pause());
        }
    });
});
