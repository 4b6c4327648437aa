//! The torrents that the gateway reads, and goes on giving to others: joined when they are first asked for, as many at a time as there is room
//! for, and again when the node is started again.
//!
//! Of what a request led to only what is read is fetched; of what a person named when the node was started, all. Lock order: one lock, held
//! while a torrent is joined, so that nobody joins it twice; files of `kept` are read and written without it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use engine::metainfo::InfoHash;
use engine::node::{AddOptions, Node, State, Torrent};
use tokio::sync::Mutex;

use super::kept::KeptTorrents;
use crate::cli::SwarmArgs;
use crate::context::Context;
use crate::joining::swarm_options;
use crate::source;

/// Torrents at a time: more than there are renditions, each of which holds one, and sources that a person names.
const MOST: usize = 256;

/// See the module documentation.
pub(crate) struct Torrents {
    context: Context,
    swarm: SwarmArgs,
    node: Arc<Node>,
    kept: KeptTorrents,
    running: Mutex<HashMap<InfoHash, Running>>,
}

struct Running {
    torrent: Torrent,
    used: Instant,
    /// Shared with whoever reads it, or needs it otherwise.
    hold: Arc<()>,
}

/// A torrent that goes on for as long as this is held.
#[derive(Clone, Debug)]
pub(crate) struct Joined {
    pub(crate) torrent: Torrent,
    _hold: Arc<()>,
}

impl Torrents {
    pub(crate) fn new(context: &Context, swarm: &SwarmArgs, node: Arc<Node>) -> Self {
        Self {
            kept: KeptTorrents::new(&context.data),
            context: context.clone(),
            swarm: swarm.clone(),
            node,
            running: Mutex::default(),
        }
    }

    /// Joins its swarm, unless that was done before; `whole` fetches all of it.
    pub(crate) async fn join(&self, found: &source::Torrent, whole: bool) -> anyhow::Result<Joined> {
        let (joined, is_new, gone) = self.run(found, whole).await?;
        if let Some(gone) = gone {
            self.kept.forget(gone).await;
        }
        // What a person names is named again.
        if is_new
            && !whole
            && let Err(error) = self.kept.keep(&found.metainfo).await
        {
            tracing::warn!("{} will not be joined again: {error:#}", found.metainfo.name());
        }
        Ok(joined)
    }

    /// Has it run; says whether it did not before, and what made room for it.
    async fn run(
        &self,
        found: &source::Torrent,
        whole: bool,
    ) -> anyhow::Result<(Joined, bool, Option<InfoHash>)> {
        let info_hash = found.metainfo.info_hash_v2();
        let mut running = self.running.lock().await;
        if let Some(known) = running.get_mut(&info_hash) {
            if !has_ended(&known.torrent) {
                known.used = Instant::now();
                if whole {
                    known.torrent.want_whole();
                }
                return Ok((known.joined(), false, None));
            }
            known.torrent.stop().await;
            running.remove(&info_hash);
        }
        let mut gone = None;
        if running.len() >= MOST {
            let idle = running
                .iter()
                .filter(|(_, known)| Arc::strong_count(&known.hold) == 1);
            let oldest = idle.min_by_key(|(_, known)| known.used).map(|(hash, _)| *hash);
            match oldest.and_then(|oldest| running.remove(&oldest)) {
                Some(known) => {
                    gone = Some(known.torrent.info_hash());
                    known.torrent.stop().await;
                }
                None => anyhow::bail!(Full),
            }
        }
        let options = AddOptions {
            whole_file: whole,
            give_up: None,
            ..swarm_options(&self.context, &self.swarm, found).await?
        };
        let torrent = self.node.add(found.metainfo.clone(), options).await;
        let known = Running {
            torrent: torrent.map_err(crate::starting::explain)?,
            used: Instant::now(),
            hold: Arc::default(),
        };
        let joined = known.joined();
        running.insert(info_hash, known);
        Ok((joined, true, gone))
    }

    /// What was joined before under this info hash.
    pub(super) async fn remembered(&self, info_hash: InfoHash) -> Option<source::Torrent> {
        self.kept.find(info_hash).await.map(source::Torrent::remembered)
    }

    /// Joins what was joined before, to give others what is here of it. Gives the names.
    pub(crate) async fn join_again(&self) -> Vec<String> {
        let mut names = Vec::new();
        for metainfo in self.kept.all().await.into_iter().take(MOST) {
            let name = metainfo.name().to_owned();
            match self.join(&source::Torrent::remembered(metainfo), false).await {
                Ok(_) => names.push(name),
                Err(error) => tracing::warn!("{name} cannot be joined again: {error:#}"),
            }
        }
        names
    }
}

impl Running {
    fn joined(&self) -> Joined {
        Joined {
            torrent: self.torrent.clone(),
            _hold: Arc::clone(&self.hold),
        }
    }
}

/// Whether nothing of its content comes any more.
pub(super) fn has_ended(torrent: &Torrent) -> bool {
    matches!(torrent.stats().state, State::Failed(_) | State::Stopped)
}

/// There is no room for another torrent.
#[derive(Debug, thiserror::Error)]
#[error("{MOST} episodes are being read at once, which is as many as there is room for")]
pub(super) struct Full;
