//! A published episode whose origin keeps the content back until it is told to give it.

use std::path::Path;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use tempfile::TempDir;
use tokio::sync::watch;
use tower_http::services::ServeDir;

use super::{PATIENCE, Server, episode, publish_in};

/// The folder, with `web/episode.mp3` and its `.torrent`, and the door of its origin.
pub struct Held {
    folder: TempDir,
    _origin: Server,
    open: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
}

impl Held {
    /// Publishes, then shuts the door.
    pub fn publish() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let web = folder.path().join("web");
        std::fs::create_dir(&web).expect("a folder");
        std::fs::copy(episode(), web.join("episode.mp3")).expect("the episode can be copied");
        let (open, waiting) = (watch::Sender::new(true), watch::Sender::new(0));
        let door = (open.subscribe(), waiting.clone());
        let files = Router::new()
            .fallback_service(ServeDir::new(&web))
            .layer(middleware::from_fn_with_state(door, pass));
        let origin = Server::start(files);
        publish_in::<&str>(folder.path(), &origin.url("episode.mp3"), []);
        open.send_replace(false);
        Self {
            folder,
            _origin: origin,
            open,
            waiting,
        }
    }

    pub fn at(&self) -> &Path {
        self.folder.path()
    }

    /// Gives the content from now on, also to those who wait.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until somebody waits at the door, or nobody does.
    pub fn until(&self, somebody: bool) {
        let mut waiting = self.waiting.subscribe();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let change = waiting.wait_for(|count| (*count > 0) == somebody);
        let change = runtime.block_on(async { tokio::time::timeout(PATIENCE, change).await.map(drop) });
        assert!(change.is_ok(), "nobody asked the origin, or it was not left");
    }
}

/// Somebody at the door, counted for as long as it stays.
struct Waiting(watch::Sender<usize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

async fn pass(
    State((mut door, waiting)): State<(watch::Receiver<bool>, watch::Sender<usize>)>,
    request: Request,
    next: Next,
) -> Response {
    waiting.send_modify(|count| *count += 1);
    let here = Waiting(waiting);
    // The test that holds the other end is over when this fails.
    let _ = door.wait_for(|open| *open).await;
    drop(here);
    next.run(request).await
}
