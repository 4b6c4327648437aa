//! Creatives that their ad server published through the swarm: fetched from other viewers and the origin at once, as content is, and given
//! to others for as long as the command runs.
//!
//! Invariants: what comes is taken only when its SHA-256 is what the decision said; what went wrong is no error of the ad, the plain
//! download is still there; nothing of it stays in the store when the command ends, since the cache has it; what was in the store before
//! is the viewer's own, which no ad server has announced or removed. Not for choosing creatives.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use ad_splicer::creatives::{Cache, ContentHash, FetchLimits, Original};
use anyhow::{Context as _, ensure};
use engine::metainfo::{InfoHash, Metainfo};
use engine::node::{AddOptions, Node, OriginPolicy, Torrent};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::context::Context;
use crate::source;

/// Longest metainfo of a creative, in bytes.
const MOST_METAINFO: u64 = 1 << 20;
/// Creatives that are given to others at a time.
const MOST_SHARED: usize = 64;

/// The creatives of one command.
pub(crate) struct Swarm {
    node: Arc<Node>,
    shared: Mutex<HashMap<InfoHash, Torrent>>,
}

impl Swarm {
    /// None yet.
    pub(crate) fn new(node: Arc<Node>) -> Arc<Self> {
        Arc::new(Swarm {
            node,
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
            let bytes = source::fetch(&context.gate, torrent, MOST_METAINFO).await?;
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
        let all: Vec<Torrent> = self.shared.lock().await.drain().map(|(_, t)| t).collect();
        for torrent in all {
            torrent.stop().await;
            let Some(folder) = torrent.content_path().parent().map(PathBuf::from) else {
                continue;
            };
            drop(torrent);
            if let Err(error) = tokio::fs::remove_dir_all(&folder).await {
                tracing::debug!(folder = %folder.display(), %error, "a creative's folder stays");
            }
        }
    }
}
