//! What the node has joined, for when it is started again: the `.torrent` of each, in `node/` of the data folder, under its info hash.
//!
//! They are as many as run at a time at most. Files are read and written on threads that may wait. Not for the content, which is in the store.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use engine::metainfo::{InfoHash, Metainfo};
use tokio::task::spawn_blocking;

use crate::files::write_whole;

/// The folder of one data folder.
#[derive(Clone, Debug)]
pub(crate) struct KeptTorrents(PathBuf);

impl KeptTorrents {
    pub(crate) fn new(data: &Path) -> Self {
        Self(data.join("node"))
    }

    fn path(&self, info_hash: InfoHash) -> PathBuf {
        self.0.join(format!("{info_hash}.torrent"))
    }

    /// Keeps it, as what was joined last.
    pub(super) async fn keep(&self, metainfo: &Metainfo) -> anyhow::Result<()> {
        let (path, bytes) = (self.path(metainfo.info_hash_v2()), metainfo.to_bytes().to_vec());
        let writing = spawn_blocking(move || write_whole(&path, &bytes));
        writing.await.context("writing")?
    }

    /// Keeps it no more.
    pub(crate) async fn forget(&self, info_hash: InfoHash) {
        let path = self.path(info_hash);
        // What is not there need not be removed; what cannot be is joined once more.
        let _ = spawn_blocking(move || std::fs::remove_file(path)).await;
    }

    /// What is kept under this info hash.
    pub(super) async fn find(&self, info_hash: InfoHash) -> Option<Metainfo> {
        let path = self.path(info_hash);
        let reading = spawn_blocking(move || Metainfo::parse(&std::fs::read(path).ok()?).ok());
        let found = reading.await.ok()??;
        (found.info_hash_v2() == info_hash).then_some(found)
    }

    /// All that is kept, what was joined last first; what cannot be read is nothing that was kept.
    pub(super) async fn all(&self) -> Vec<Metainfo> {
        let folder = self.0.clone();
        spawn_blocking(move || all(&folder)).await.unwrap_or_default()
    }
}

fn all(folder: &Path) -> Vec<Metainfo> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut all: Vec<(SystemTime, Metainfo)> = entries
        .flatten()
        .filter_map(|entry| {
            let written = entry.metadata().and_then(|about| about.modified()).ok()?;
            let bytes = std::fs::read(entry.path()).ok()?;
            Some((written, Metainfo::parse(&bytes).ok()?))
        })
        .collect();
    all.sort_by_key(|(written, _)| std::cmp::Reverse(*written));
    all.into_iter().map(|(_, metainfo)| metainfo).collect()
}
