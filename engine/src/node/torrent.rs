//! The handle of a running torrent. All work is done by its driver; this only looks and asks.

use super::control::Membership;
use super::reader::{Reader, Readers};
use super::{Error, State, Stats};
use crate::cue_sheet::SignedCueSheet;
use crate::metainfo::{InfoHash, Metainfo};
use crate::store::Store;
use crate::swarm::{Demand, FileIndex};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Notify, watch};

/// What the handles, the readers and the driver of one torrent share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) metainfo: Arc<Metainfo>,
    pub(crate) store: Store,
    pub(crate) membership: Membership,
    pub(crate) readers: Readers,
    /// Becomes true once, when the torrent is to stop.
    pub(crate) stop: watch::Sender<bool>,
    /// The newest cue sheet of its publisher.
    pub(crate) sheet: watch::Sender<Option<Arc<SignedCueSheet>>>,
    /// Whether the torrent shall pause.
    pub(crate) paused: watch::Sender<bool>,
    /// Whether everything is wanted, rather than what is read.
    pub(crate) whole: watch::Sender<bool>,
    /// Woken when somebody waits for what a web seed in trouble has.
    pub(crate) ask_again: Notify,
}

impl Shared {
    /// Whether only its own trackers may be asked, and peers are not told of each other.
    pub(crate) fn private(&self) -> bool {
        self.metainfo.private() || self.membership.secret.is_some()
    }

    /// Whether all of it is held, also the files that are not wanted.
    pub(super) fn holds_all(&self) -> bool {
        self.store.held_bytes() == self.metainfo.length()
    }
}

/// A torrent that is being delivered. Cheap to clone. It runs until [`Torrent::stop`] or until its node goes.
#[derive(Clone, Debug)]
pub struct Torrent {
    shared: Arc<Shared>,
    stats: watch::Receiver<Stats>,
}

impl Torrent {
    pub(crate) fn new(shared: Arc<Shared>, stats: watch::Receiver<Stats>) -> Self {
        Self { shared, stats }
    }

    /// Its metainfo.
    pub fn metainfo(&self) -> &Arc<Metainfo> {
        &self.shared.metainfo
    }

    /// Its v2 info hash.
    pub fn info_hash(&self) -> InfoHash {
        self.shared.metainfo.info_hash_v2()
    }

    /// The file with the content, or the folder of several. A single file has its full length from the beginning and holes where nothing is yet; whole
    /// once [`Torrent::completed`] said so. Not to be written to.
    pub fn content_path(&self) -> &Path {
        self.shared.store.path()
    }

    /// Whether all of it is here, also the files that were not selected.
    pub fn holds_all(&self) -> bool {
        self.shared.holds_all()
    }

    /// Gives a file of the content, by its place in the metainfo, another name ([`crate::store::Store::link`]). Blocks.
    pub fn link(&self, file: usize, to: &Path) -> std::io::Result<()> {
        let metainfo = &self.shared.metainfo;
        let inside = match metainfo.files().get(file) {
            Some(file) if !metainfo.is_single_file() => file.path().iter().collect(),
            _ => PathBuf::new(),
        };
        let file = FileIndex(file as u32);
        self.shared.store.link(file, &inside, to)
    }

    /// Does something with a name that was given so, or with its permissions ([`crate::store::Store::touch`]). Blocks.
    pub fn touch<T>(&self, file: usize, doing: impl FnOnce() -> T) -> T {
        self.shared.store.touch(FileIndex(file as u32), doing)
    }

    /// The figures as they are now (published at least four times a second while something happens).
    pub fn stats(&self) -> Stats {
        self.stats.borrow().clone()
    }

    /// The figures whenever they change.
    pub fn subscribe(&self) -> watch::Receiver<Stats> {
        self.stats.clone()
    }

    /// Waits until everything is here, verified and safe on the disk. An error when that cannot happen any more (see
    /// [`AddOptions::give_up`](super::AddOptions::give_up)), or when the torrent was stopped.
    pub async fn completed(&self) -> Result<Stats, Error> {
        let name = || self.shared.metainfo.name().to_owned();
        let mut stats = self.stats.clone();
        loop {
            {
                let now = stats.borrow_and_update();
                match &now.state {
                    State::Complete => return Ok(now.clone()),
                    State::Failed(why) => {
                        return Err(Error::Failed {
                            name: name(),
                            why: why.clone(),
                        });
                    }
                    State::Stopped => return Err(Error::Stopped { name: name() }),
                    State::Downloading | State::Paused(_) => {}
                }
            }
            if stats.changed().await.is_err() {
                return Err(Error::Stopped { name: name() });
            }
        }
    }

    /// Opens a reader at the beginning of the only file, or the first. `demand` says how soon its bytes are needed.
    pub fn reader(&self, demand: Demand) -> Reader {
        self.reader_of(0, demand)
    }

    /// The same for the file with this place in [`Metainfo::files`]. Of a file that is not wanted nothing is fetched.
    pub fn reader_of(&self, file: usize, demand: Demand) -> Reader {
        let file = FileIndex(u32::try_from(file).unwrap_or(u32::MAX));
        Reader::new(self.shared.clone(), self.stats.clone(), file, demand)
    }

    /// The newest cue sheet of the publisher that the torrent was added with, ours or a peer's, whenever it changes.
    pub fn cue_sheet(&self) -> watch::Receiver<Option<Arc<SignedCueSheet>>> {
        self.shared.sheet.subscribe()
    }

    /// Pauses it: leaves its peers and trackers, asks and serves nothing, until [`Torrent::go_on`].
    pub fn pause(&self) {
        self.shared.paused.send_replace(true);
    }

    /// Ends a pause.
    pub fn go_on(&self) {
        self.shared.paused.send_replace(false);
    }

    /// Wants everything from now on, as if it had been added with [`AddOptions::whole_file`](super::AddOptions::whole_file).
    pub fn want_whole(&self) {
        self.shared.whole.send_replace(true);
    }

    /// Somebody waits for what is missing: web seeds that are left alone after a failure are asked once before their pause is over, at most every
    /// five seconds. Not those that named a time themselves.
    pub fn ask_again(&self) {
        self.shared.ask_again.notify_one();
    }

    /// Stops it: tells trackers, closes its streams, makes what is here safe, releases the store. Gives the final
    /// figures. Stopping again only gives them.
    pub async fn stop(&self) -> Stats {
        self.shared.stop.send_replace(true);
        let mut stats = self.stats.clone();
        // An error means that the driver is gone with its node: the last figures stand.
        let _ = stats.wait_for(|s| matches!(s.state, State::Stopped)).await;
        self.stats()
    }
}
