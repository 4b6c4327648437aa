//! What the node has joined, for when it is started again: the `.torrent` of each, in `node/` of the data folder, under its info hash.
//!
//! They are as many as run at a time at most. Not for the content, which is in the store.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use engine::metainfo::{InfoHash, Metainfo};

use crate::files::write_whole;

/// The folder of one data folder.
#[derive(Clone, Debug)]
pub(super) struct Kept(PathBuf);

impl Kept {
    pub(super) fn new(data: &Path) -> Self {
        Self(data.join("node"))
    }

    fn path(&self, info_hash: InfoHash) -> PathBuf {
        self.0.join(format!("{info_hash}.torrent"))
    }

    /// Keeps it, as what was joined last.
    pub(super) fn keep(&self, metainfo: &Metainfo) -> anyhow::Result<()> {
        write_whole(&self.path(metainfo.info_hash_v2()), metainfo.to_bytes())
    }

    /// Keeps it no more.
    pub(super) fn forget(&self, info_hash: InfoHash) {
        // What is not there need not be removed; what cannot be is joined once more.
        let _ = std::fs::remove_file(self.path(info_hash));
    }

    /// All that is kept, what was joined last first; what cannot be read is nothing that was kept.
    pub(super) fn all(&self) -> Vec<Metainfo> {
        let Ok(entries) = std::fs::read_dir(&self.0) else {
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
}
