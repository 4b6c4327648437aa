//! Takes HTTP connections for a server: so many at a time, each with a limit on how long its headers may take.
//!
//! Every connection is owned by the one future here: it ends with it. Told to stop, no more are taken, and those that
//! are being answered may finish. Not for what is answered.
//! The tracker and the ad server stand behind it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

/// What a client may take of us before it has said anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doors {
    /// Connections at a time; more wait in the system's queue.
    pub connections: usize,
    /// How long a client may take for the headers of a request, the wait for the next request included.
    pub headers_within: Duration,
    /// The longest headers, in bytes.
    pub longest_headers: usize,
}

impl Default for Doors {
    /// 4,096 connections, 15 s and 16 KiB for headers.
    fn default() -> Self {
        Self {
            connections: 4096,
            headers_within: Duration::from_secs(15),
            longest_headers: 16 << 10,
        }
    }
}

/// How long to wait after the system could not give a connection (it is out of file descriptors).
const BREATH: Duration = Duration::from_millis(50);

/// Serves until `stop` is ready, and then until the answers being written are out.
pub async fn serve(listener: TcpListener, router: Router, doors: Doors, stop: impl Future<Output = ()>) {
    let room = Arc::new(Semaphore::new(doors.connections));
    let (stopping, told) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let turn = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            (permit, accepted) = turn => match accepted {
                Ok((stream, peer)) => {
                    let (router, told) = (router.clone(), told.clone());
                    connections.spawn(async move {
                        connection(stream, peer, router, doors, told).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot take a connection");
                    tokio::time::sleep(BREATH).await;
                }
            },
        }
    }
    drop(listener);
    // Nobody may be left to hear it.
    let _ = stopping.send(true);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    doors: Doors,
    mut told: watch::Receiver<bool>,
) {
    // Answers are small and written at once; without it the last part of one may wait for the client's acknowledgement.
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(doors.headers_within)
        .max_buf_size(doors.longest_headers)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = told.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// A server with two places that waits a moment for headers.
    async fn start() -> (SocketAddr, JoinSet<()>) {
        let doors = Doors {
            connections: 2,
            headers_within: Duration::from_millis(200),
            ..Doors::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let router = Router::new().route("/", get(async || "here"));
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, router, doors, std::future::pending()));
        (address, serving)
    }

    /// Says this, and gives all that comes until the server ends the connection.
    async fn say(stream: &mut TcpStream, words: &[u8]) -> String {
        let mut answer = Vec::new();
        // The server may be gone before it has read all; then there is no answer either.
        let _ = stream.write_all(words).await;
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn who_never_ends_its_headers_makes_room() {
        let (address, _serving) = start().await;
        let mut slow = Vec::new();
        for _ in 0..2 {
            let mut stream = TcpStream::connect(address).await.expect("it listens");
            stream
                .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx: ")
                .await
                .expect("sent");
            slow.push(stream);
        }
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let answer = say(
            &mut stream,
            b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        )
        .await;
        assert!(answer.ends_with("here"), "{answer}");
        for stream in &mut slow {
            let answer = say(stream, b"").await;
            assert!(!answer.contains("here"), "{answer}");
        }
    }

    #[tokio::test]
    async fn headers_without_end_are_not_kept() {
        let (address, _serving) = start().await;
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let endless = [b"GET / HTTP/1.1\r\nhost: a\r\nx: ".to_vec(), vec![b'a'; 1 << 20]].concat();
        let answer = say(&mut stream, &endless).await;
        assert!(!answer.contains("200 OK"), "{answer}");
        assert!(!answer.contains("here"), "{answer}");
    }
}
