//! The publisher's web server of the demo: a plain static server on loopback, and a count of the content bytes that left it.
//!
//! It stands for the server or CDN that a publisher already has, so it knows nothing of Grove. Not for: anything but the demo and tests.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Context as _;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use futures_util::TryStreamExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tower_http::services::ServeDir;

/// A running static server; it stops when dropped.
pub(crate) struct WebServer {
    addr: SocketAddr,
    sent: Arc<Counter>,
    task: JoinHandle<()>,
}

struct Counter {
    /// Only requests for this path count: the `.torrent` and the feed are not content.
    path: String,
    bytes: AtomicU64,
}

impl WebServer {
    /// Serves `root` on a free loopback port and counts the body bytes sent for `counted` (a URL path).
    pub(crate) async fn start(root: PathBuf, counted: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("opening the demo's web server on loopback")?;
        let addr = listener.local_addr()?;
        let sent = Arc::new(Counter {
            path: counted.to_owned(),
            bytes: AtomicU64::new(0),
        });
        let app = axum::Router::new()
            .fallback_service(ServeDir::new(root))
            .layer(middleware::from_fn_with_state(Arc::clone(&sent), count));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!(%error, "the demo's web server stopped");
            }
        });
        Ok(Self { addr, sent, task })
    }

    /// The URL of a file below the root.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.addr)
    }

    /// Body bytes of the counted file that were handed to the network so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.bytes.load(Ordering::Relaxed)
    }

    /// Starts the count again, once the publisher's own check of the origin is over.
    pub(crate) fn reset(&self) {
        self.sent.bytes.store(0, Ordering::Relaxed);
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn count(State(counter): State<Arc<Counter>>, request: Request, next: Next) -> Response {
    let counts = request.uri().path() == counter.path;
    let response = next.run(request).await;
    if !counts {
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = body.into_data_stream().inspect_ok(move |chunk| {
        counter.bytes.fetch_add(chunk.len() as u64, Ordering::Relaxed);
    });
    Response::from_parts(parts, Body::from_stream(body))
}
