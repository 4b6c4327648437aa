//! `grove remove`: forgets what the data folder keeps of a source: its content and its record, its `.torrent`, and that the node joined it.
//!
//! Not for: files that were written with `-o`, or that `seed` serves where they lie. They are left alone.

use engine::magnet::Magnet;
use engine::metainfo::InfoHash;
use engine::node::Node;
use serde_json::json;

use crate::cli::RemoveArgs;
use crate::context::Context;
use crate::documents;
use crate::gateway::KeptTorrents;
use crate::output::{ExitStatus, Explain, Outcome, bad_input, print_json};
use crate::source::{Resolved, resolve};
use crate::units::human_bytes;

/// Removes every source in turn.
pub(crate) async fn run(args: &RemoveArgs, json: bool) -> Outcome {
    let context = Context::new(&args.net)?;
    for text in &args.sources {
        let info_hash = info_hash(&context, text).await?;
        let data = context.data.clone();
        let removing = tokio::task::spawn_blocking(move || Node::remove(&data, info_hash));
        let removed = removing
            .await?
            .hint(|| "stop the command that uses it first".into())?;
        // What is remembered of where it came from goes too.
        KeptTorrents::new(&context.data).forget(info_hash).await;
        documents::forget(&context, info_hash).await;
        if json {
            print_json(&json!({ "event": "removed", "info_hash": info_hash.to_string(), "bytes": removed }));
        } else if let Some(bytes) = removed {
            eprintln!("removed what was kept of {text} ({})", human_bytes(bytes));
        } else {
            eprintln!("nothing is kept of {text}");
        }
    }
    Ok(ExitStatus::Done)
}

/// The v2 info hash of a source, from the source itself where it says it.
async fn info_hash(context: &Context, text: &str) -> anyhow::Result<InfoHash> {
    if let Ok(info_hash) = text.parse() {
        return Ok(info_hash);
    }
    if let Ok(magnet) = text.parse::<Magnet>()
        && let Some(info_hash) = magnet.info_hash
    {
        return Ok(info_hash);
    }
    match resolve(context, None, &[], text, None).await? {
        Resolved::Torrent(found) => Ok(found.metainfo.info_hash_v2()),
        Resolved::Plain(url) => Err(bad_input(format!(
            "there is no .torrent beside {}",
            gate::shown(&url)
        )))
        .hint(|| "nothing is kept of what has none".into()),
    }
}
