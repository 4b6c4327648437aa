//! Pausing what runs, and having it go on: by the key `p` of a terminal, and for scripts by signals, SIGUSR1 to pause and SIGUSR2 to go on.
//!
//! Not for: what a pause is (the engine's), or the pauses of `grove play`, whose content goes on arriving.

use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::metainfo::InfoHash;
use engine::node::Torrent;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::output::print_json;
use crate::play::keys::{Key, Keys, next_key};

/// What a person or a script asked for so far.
pub(crate) struct Pausing {
    keys: Option<Keys>,
    pause: Option<Signal>,
    go_on: Option<Signal>,
    json: bool,
    paused: bool,
}

impl Pausing {
    /// Listens from now on, so it is to be made early. With `json` the terminal's keys are left alone.
    pub(crate) fn listen(json: bool) -> Self {
        Self {
            // A terminal that cannot be read from gives no keys, and a system without these signals none.
            keys: if json { None } else { Keys::open().ok().flatten() },
            pause: signal(SignalKind::user_defined1()).ok(),
            go_on: signal(SignalKind::user_defined2()).ok(),
            json,
            paused: false,
        }
    }

    /// The next time that something is to change: whether to pause.
    async fn next(&mut self) -> bool {
        loop {
            let paused = tokio::select! {
                () = received(&mut self.pause) => true,
                () = received(&mut self.go_on) => false,
                key = next_key(&mut self.keys) => (key == Key::Pause) != self.paused,
            };
            if paused != self.paused {
                self.paused = paused;
                return paused;
            }
        }
    }

    /// Says what was done; to people where all is only served (what is fetched tells of its pause itself).
    fn tell(&self, serves: bool) {
        if self.json {
            print_json(&json!({ "event": if self.paused { "paused" } else { "resumed" } }));
        } else if serves {
            eprintln!(
                "{}",
                if self.paused {
                    "paused: nothing is served"
                } else {
                    "serving again"
                }
            );
        }
    }

    /// Pauses torrents that serve, and has them go on, whenever that is asked for.
    pub(crate) async fn obey(&mut self, torrents: impl Iterator<Item = &Torrent> + Clone) -> Infallible {
        loop {
            let paused = self.next().await;
            torrents.clone().for_each(|torrent| apply(torrent, paused));
            self.tell(true);
        }
    }

    /// The same with torrents that come and go.
    pub(crate) async fn obey_all(&mut self, running: &Running) -> Infallible {
        loop {
            let paused = self.next().await;
            self.tell(running.apply(paused));
        }
    }
}

/// The torrents that run, and whether they pause.
#[derive(Debug, Default)]
pub(crate) struct Running {
    all: Mutex<Vec<Torrent>>,
    paused: watch::Sender<bool>,
}

impl Running {
    fn all(&self) -> MutexGuard<'_, Vec<Torrent>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether they pause, for what is fetched beside them.
    pub(crate) fn paused(&self) -> watch::Receiver<bool> {
        self.paused.subscribe()
    }

    /// Begins with a torrent, in the state that was asked for before.
    pub(crate) fn begin(&self, torrent: &Torrent) {
        let mut all = self.all();
        apply(torrent, *self.paused.borrow());
        all.push(torrent.clone());
    }

    /// Whether it runs.
    pub(crate) fn has(&self, info_hash: InfoHash) -> bool {
        self.all().iter().any(|torrent| torrent.info_hash() == info_hash)
    }

    /// This one has ended.
    pub(crate) fn end(&self, torrent: &Torrent) {
        self.all()
            .retain(|other| other.info_hash() != torrent.info_hash());
    }

    /// Whether all of them are only served.
    fn apply(&self, paused: bool) -> bool {
        let all = self.all();
        self.paused.send_replace(paused);
        all.iter().for_each(|torrent| apply(torrent, paused));
        !all.is_empty() && all.iter().all(|torrent| torrent.stats().is_complete())
    }
}

/// From now on these signals end no process: they say nothing to a command that does not listen. To be called in a runtime.
pub(crate) fn survive_signals() {
    for kind in [SignalKind::user_defined1(), SignalKind::user_defined2()] {
        // Whoever took one stays its handler to the end. A system without these signals sends none.
        let _ = signal(kind);
    }
}

/// Pauses a torrent or has it go on.
fn apply(torrent: &Torrent, paused: bool) {
    if paused {
        torrent.pause();
    } else {
        torrent.go_on();
    }
}

/// The next such signal; never, when there are none.
async fn received(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending::<()>().await;
}
