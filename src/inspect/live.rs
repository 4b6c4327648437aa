//! `grove inspect --live`: joins the swarm without fetching anything, and shows who is there until it is stopped.
//!
//! Not for: keeping anything. Its folder goes with it.

use std::time::Duration;

use anyhow::Context as _;
use engine::node::{AddOptions, Node, Stats};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::MissedTickBehavior;

use crate::cli::InspectArgs;
use crate::context::Context;
use crate::output::{ExitStatus, Outcome, interrupted, print_json, print_line};
use crate::source::Torrent;

/// A node of its own, which keeps nothing.
pub(super) struct Live {
    node: Node,
    _folder: TempDir,
}

impl Live {
    /// Starts it, and says where it listens.
    pub(super) async fn start(context: &Context, json: bool) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder for the time being")?;
        let mut context = context.clone();
        folder.path().clone_into(&mut context.data);
        Ok(Self {
            node: crate::starting::start(&context, json).await?,
            _folder: folder,
        })
    }

    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// Shows the swarm for as long as was asked.
    pub(super) async fn show(&self, args: &InspectArgs, found: &Torrent, json: bool) -> Outcome {
        let options = AddOptions {
            use_origin: false,
            // Nothing is fetched.
            files: Some(Vec::new()),
            give_up: None,
            ..found.options(&args.peer)
        };
        let torrent = self.node.add(found.metainfo.clone(), options).await?;
        let end = async {
            match args.watch {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        let showing = async {
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut before = String::new();
            loop {
                tick.tick().await;
                show(&torrent.stats(), json, &mut before);
            }
        };
        Ok(tokio::select! {
            () = end => ExitStatus::Done,
            () = interrupted() => ExitStatus::Interrupted,
            () = showing => ExitStatus::Done,
        })
    }

    /// Leaves the swarm, and takes leave of those in it.
    pub(super) async fn stop(self) {
        self.node.stop().await;
    }
}

fn show(stats: &Stats, json: bool, before: &mut String) {
    // Ourselves apart.
    let viewers = stats.viewers.map(|n| n.saturating_sub(1));
    let seeds = stats.neighbours.iter().filter(|n| n.complete).count();
    if json {
        let peers: Vec<_> = stats
            .neighbours
            .iter()
            .map(|n| {
                json!({
                    "address": n.address, "way": n.way, "complete": n.complete, "rtt_ms": n.rtt.as_secs_f64() * 1000.0,
                })
            })
            .collect();
        print_json(&json!({
            "event": "live", "viewers": viewers, "peers": peers, "seeds": seeds, "seen": stats.peers_seen,
            "ways": stats.ways, "problems": stats.problems,
        }));
        return;
    }
    let mut lines = vec![format!(
        "  swarm      {} connected ({seeds} with everything), {} seen, {} by the trackers' count",
        stats.neighbours.len(),
        stats.peers_seen,
        viewers.map_or_else(|| "unknown".to_owned(), |n| n.to_string()),
    )];
    let mut neighbours = stats.neighbours.clone();
    neighbours.sort_by_key(|n| n.address);
    for n in neighbours {
        let has = if n.complete { "everything" } else { "a part" };
        let way = format!("{:?}", n.way).to_lowercase();
        lines.push(format!("  peer       {} has {has} ({way})", n.address));
    }
    lines.extend(
        stats
            .problems
            .iter()
            .rev()
            .take(3)
            .map(|why| format!("  trouble    {why}")),
    );
    let text = lines.join("\n");
    if text != *before {
        print_line(&text);
        *before = text;
    }
}
