//! `grove inspect --live`: joins the swarm without fetching anything, and shows who is there until it is stopped.
//!
//! Not for: keeping anything. Its folder goes with it.

use std::time::Duration;

use anyhow::Context as _;
use engine::node::{AddOptions, Stats};
use serde_json::json;
use tokio::time::MissedTickBehavior;

use crate::cli::InspectArgs;
use crate::context::Context;
use crate::output::{ExitStatus, Outcome, interrupted, print_json, print_line};
use crate::source::Torrent;

/// Looks at the swarm for as long as was asked.
pub(super) async fn run(context: &Context, args: &InspectArgs, found: &Torrent, json: bool) -> Outcome {
    let folder = tempfile::tempdir().context("cannot make a folder for the time being")?;
    let mut context = context.clone();
    folder.path().clone_into(&mut context.data);
    let node = crate::starting::start(&context, json).await?;
    let options = AddOptions {
        use_origin: false,
        // Nothing is fetched.
        files: Some(Vec::new()),
        give_up: None,
        ..found.options(&args.peer)
    };
    let torrent = node.add(found.metainfo.clone(), options).await?;
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
    let status = tokio::select! {
        () = end => ExitStatus::Done,
        () = interrupted() => ExitStatus::Interrupted,
        () = showing => ExitStatus::Done,
    };
    torrent.stop().await;
    node.stop().await;
    Ok(status)
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
