//! What a person named when the node was started: fetched whole, and given to others. What cannot be had now is tried again, and keeps nothing else
//! from its work.

use std::time::Duration;

use engine::node::Node;
use serde_json::json;

use crate::context::Context;
use crate::gateway::{Joined, Torrents, shown};
use crate::joining;
use crate::output::{print_json, sentence};
use crate::source::{Resolved, resolve};

/// First and longest pause before a source is tried again; each is twice the one before.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(600));

/// See the module documentation.
pub(super) struct Named<'a> {
    pub(super) context: &'a Context,
    pub(super) node: &'a Node,
    pub(super) torrents: &'a Torrents,
    /// Which item is meant, when the sources are feeds.
    pub(super) episode: Option<&'a str>,
    pub(super) json: bool,
}

impl Named<'_> {
    /// Joins it, however often that has to be tried.
    pub(super) async fn join(&self, source: &str) -> Joined {
        let mut pause = PAUSES.0;
        loop {
            let why = match self.once(source).await {
                Ok(joined) => return joined,
                Err(error) => sentence(&error),
            };
            self.tell_trouble(source, &why, pause);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn once(&self, source: &str) -> anyhow::Result<Joined> {
        let found = match resolve(self.context, Some(self.node), &[], source, self.episode).await? {
            Resolved::Torrent(found) => found,
            Resolved::Plain(bare) => anyhow::bail!("{bare}"),
        };
        joining::pin(self.context, &found).await?;
        let joined = self.torrents.join(&found, true).await?;
        if self.json {
            let info_hash = joined.torrent.info_hash().to_string();
            print_json(&json!({ "event": "joined", "source": shown(source), "info_hash": info_hash }));
        } else {
            eprintln!("{} is fetched, and given to others", found.metainfo.name());
        }
        Ok(joined)
    }

    fn tell_trouble(&self, source: &str, why: &str, pause: Duration) {
        let (source, seconds) = (shown(source), pause.as_secs());
        if self.json {
            print_json(&json!({ "event": "retrying", "source": source, "reason": why, "seconds": seconds }));
        } else {
            eprintln!("warning: {source} cannot be fetched now: {why}; it is tried again in {seconds} s");
        }
    }
}
