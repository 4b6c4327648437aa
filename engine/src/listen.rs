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
