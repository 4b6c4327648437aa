//! `grove remove`: forgets what the data folder keeps of a source: its content and its record, its `.torrent`, and that the node joined it; and what came so
//! far of media without a `.torrent`.
//!
//! Not for: files that were written with `-o`, or that `seed` serves where they lie. They are left alone.

use engine::magnet::Magnet;
use engine::metainfo::InfoHash;
use engine::node::Node;
use gate::Url;
use serde_json::json;

use crate::cli::RemoveArgs;
use crate::context::Context;
use crate::documents;
use crate::gateway::KeptTorrents;
use crate::output::{ExitStatus, Explain, Outcome, print_json};
use crate::partial::Partial;
use crate::source::{Resolved, resolve};
use crate::units::human_bytes;

/// Removes every source in turn.
pub(crate) async fn run(args: &RemoveArgs, json: bool) -> Outcome {
    let context = Context::new(&args.net)?;
    for text in &args.sources {
        let mut part = removed_part(&context, text).await?;
        let info_hash = match meant(&context, text, args.episode.episode.as_deref()).await {
            Ok(Meant::Content(info_hash)) => Some(info_hash),
            Ok(Meant::Bare(url)) => {
                // The media of a feed's episode is elsewhere.
                part = part.or(removed_part(&context, url.as_str()).await?);
                None
            }
            // What it leads to besides need not be known any more.
            Err(error) if part.is_some() => {
                tracing::info!("nothing else is removed: {error:#}");
                None
            }
            Err(error) => return Err(error),
        };
        let whole = match info_hash {
            Some(info_hash) => content(&context, info_hash).await?,
            None => None,
        };
        let removed = (part.is_some() || whole.is_some()).then(|| part.unwrap_or(0) + whole.unwrap_or(0));
        if json {
            let info_hash = info_hash.map(|info_hash| info_hash.to_string());
            print_json(&json!({ "event": "removed", "info_hash": info_hash, "bytes": removed }));
        } else if let Some(bytes) = removed {
            eprintln!("removed what was kept of {text} ({})", human_bytes(bytes));
        } else {
            eprintln!("nothing is kept of {text}");
        }
    }
    Ok(ExitStatus::Done)
}

/// Removes what came so far of media without a `.torrent`.
async fn removed_part(context: &Context, text: &str) -> anyhow::Result<Option<u64>> {
    let Some(url) = Url::parse(text.trim()).ok().filter(Url::has_host) else {
        return Ok(None);
    };
    let data = context.data.clone();
    let removing = tokio::task::spawn_blocking(move || Partial::remove(&data, &url));
    removing
        .await?
        .hint(|| "stop the command that uses it first".into())
}

/// Removes content that can be verified.
async fn content(context: &Context, info_hash: InfoHash) -> anyhow::Result<Option<u64>> {
    let data = context.data.clone();
    let removing = tokio::task::spawn_blocking(move || Node::remove(&data, info_hash));
    let removed = removing
        .await?
        .hint(|| "stop the command that uses it first".into())?;
    // What is remembered of where it came from goes too.
    KeptTorrents::new(&context.data).forget(info_hash).await;
    documents::forget(context, info_hash).await;
    Ok(removed)
}

/// What a source is.
enum Meant {
    /// What has this v2 info hash.
    Content(InfoHash),
    /// Media without a `.torrent`.
    Bare(Url),
}

/// Finds out what a source is, from the source itself where it says it.
async fn meant(context: &Context, text: &str, episode: Option<&str>) -> anyhow::Result<Meant> {
    if let Ok(info_hash) = text.parse() {
        return Ok(Meant::Content(info_hash));
    }
    if let Ok(magnet) = text.parse::<Magnet>()
        && let Some(info_hash) = magnet.info_hash
    {
        return Ok(Meant::Content(info_hash));
    }
    match resolve(context, None, &[], text, episode).await? {
        Resolved::Torrent(found) => Ok(Meant::Content(found.metainfo.info_hash_v2())),
        Resolved::Plain(bare) => Ok(Meant::Bare(bare.url)),
    }
}
