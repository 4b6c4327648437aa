//! Creatives that their ad server published through the swarm: fetched from other viewers and the origin at once, as content is, and given
//! to others for as long as the command runs.
//!
//! Invariants: what comes is taken only when its SHA-256 is what the decision said; what went wrong is no error of the ad, the plain
//! download is still there; nothing of it stays in the store when the command ends, since the cache has it; what was in the store before
//! is the viewer's own, which no ad server has announced or removed. Not for choosing creatives.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ad_splicer::creatives::{Cache, ContentHash, FetchLimits, Original};
use anyhow::{Context as _, ensure};
use engine::metainfo::{InfoHash, Metainfo};
use engine::node::{AddOptions, Node, OriginPolicy, Torrent};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::asking;
use crate::context::Context;

/// Longest metainfo of a creative, in bytes.
const MOST_METAINFO: u64 = 1 << 20;
/// Creatives that are given to others at a time.
const MOST_SHARED: usize = 64;

/// The folder that holds an empty file for each creative in the store, by its info hash: what a killed command left is known by it.
const MARKS: &str = "shared-creatives";

/// The creatives of one command.
pub(crate) struct Swarm {
    node: Arc<Node>,
    marks: PathBuf,
    shared: Mutex<HashMap<InfoHash, Torrent>>,
}

impl Swarm {
    /// None yet. What a command that was killed left behind is removed.
    pub(crate) fn new(context: &Context, node: Arc<Node>) -> Arc<Self> {
        let marks = context.data.join(MARKS);
        sweep(&context.data, &marks);
        Arc::new(Swarm {
            node,
            marks,
            shared: Mutex::default(),
        })
    }

    /// Fetches the creative that a `.torrent` is of, by `deadline` at the latest.
    pub(super) async fn fetch(
        &self,
        context: &Context,
        cache: &Cache,
        torrent: &Url,
        expected: ContentHash,
        deadline: Instant,
    ) -> anyhow::Result<Original> {
        let work = async {
            let bytes = asking::fetch(&context.gate, torrent, MOST_METAINFO, Duration::ZERO).await?;
            let metainfo = Metainfo::parse(&bytes).with_context(|| format!("reading {torrent}"))?;
            let limits = FetchLimits::default();
            ensure!(
                metainfo.is_single_file() && metainfo.length() <= limits.max_bytes,
                "{torrent} is no creative: it is a folder, or larger than {} bytes",
                limits.max_bytes
            );
            let download = self.download(context, metainfo).await?;
            let stats = download.completed().await?;
            tracing::info!(
                sha256 = %expected,
                from_peers = stats.from_peers,
                from_origin = stats.from_origin,
                "creative came through the swarm"
            );
            let (path, cache) = (download.content_path().to_owned(), cache.clone());
            let taken = tokio::task::spawn_blocking(move || cache.import_verified(&path, expected, limits));
            Ok(taken.await??)
        };
        timeout_at(deadline, work)
            .await
            .with_context(|| format!("waiting for what {torrent} is of"))?
    }

    /// The download of this creative: one, however many breaks want it.
    async fn download(&self, context: &Context, metainfo: Metainfo) -> anyhow::Result<Torrent> {
        let info_hash = metainfo.info_hash_v2();
        let mut shared = self.shared.lock().await;
        if let Some(known) = shared.get(&info_hash) {
            return Ok(known.clone());
        }
        ensure!(
            shared.len() < MOST_SHARED,
            "{MOST_SHARED} creatives are shared already"
        );
        let folder = context.data.join("store").join(info_hash.to_string());
        ensure!(
            !folder.exists(),
            "{info_hash} is in the store already, as something else than a creative"
        );
        tokio::fs::create_dir_all(&self.marks).await?;
        tokio::fs::write(self.marks.join(info_hash.to_string()), []).await?;
        let options = AddOptions {
            // It is wanted within seconds.
            policy: OriginPolicy::Fast,
            ..AddOptions::default()
        };
        let torrent = self.node.add(Arc::new(metainfo), options).await?;
        shared.insert(info_hash, torrent.clone());
        Ok(torrent)
    }

    /// Ends sharing. What is whole is in the cache, and what is not will not be wanted again in this form.
    pub(crate) async fn end(&self) {
        let all: Vec<(InfoHash, Torrent)> = self.shared.lock().await.drain().collect();
        for (info_hash, torrent) in all {
            torrent.stop().await;
            let Some(folder) = torrent.content_path().parent().map(PathBuf::from) else {
                continue;
            };
            drop(torrent);
            if let Err(error) = tokio::fs::remove_dir_all(&folder).await {
                tracing::debug!(folder = %folder.display(), %error, "a creative's folder stays");
                continue;
            }
            // A mark without a folder does no harm.
            let _ = tokio::fs::remove_file(self.marks.join(info_hash.to_string())).await;
        }
    }
}

/// Removes marked creatives from the store, but for those that another command shares now.
fn sweep(data: &Path, marks: &Path) {
    let Ok(entries) = std::fs::read_dir(marks) else {
        return;
    };
    for entry in entries.flatten() {
        let Some(info_hash) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        match Node::remove(data, info_hash) {
            Ok(_) => drop(std::fs::remove_file(entry.path())),
            Err(error) => tracing::debug!(%info_hash, %error, "a creative stays"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_command_left_is_swept_and_nothing_else() {
        let data = tempfile::tempdir().expect("a folder");
        let marks = data.path().join(MARKS);
        std::fs::create_dir(&marks).expect("a folder");
        let [left, own] = [1, 2].map(|byte| InfoHash([byte; 32]));
        let folder = |info_hash: InfoHash| data.path().join("store").join(info_hash.to_string());
        for info_hash in [left, own] {
            std::fs::create_dir_all(folder(info_hash)).expect("a folder");
            std::fs::write(folder(info_hash).join("content"), b"x").expect("space on the disk");
        }
        std::fs::write(marks.join(left.to_string()), []).expect("space on the disk");
        sweep(data.path(), &marks);
        assert!(!folder(left).exists() && folder(own).exists());
        assert_eq!(std::fs::read_dir(&marks).expect("the marks").count(), 0);
    }
}
