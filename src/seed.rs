//! `grove seed`: checks the files that are here and serves them until stopped.
//!
//! A file that is not here, or is not what its `.torrent` says, is an error, now or later; other sources are served all the same. Not for:
//! downloading.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::metainfo::Metainfo;
use engine::node::{AddOptions, Location, Node, State, Stats, Torrent};
use futures_util::future::{join_all, select_all};
use serde_json::json;

use crate::beacons;
use crate::cli::SeedArgs;
use crate::context::Context;
use crate::files::check_regular;
use crate::get;
use crate::joining;
use crate::output::{
    ExitStatus, Explain, Outcome, bad_input, interrupted, long_interrupted, print_json, report_error,
    status_of,
};
use crate::pausing::Pausing;
use crate::source::{Resolved, resolve};
use crate::unanswered::Unanswered;
use crate::units::human_bytes;

/// Serves every source until it is told to stop.
pub(crate) async fn run(args: &SeedArgs, json: bool) -> Outcome {
    let context = Context::new(&args.net)?;
    let mut pausing = Pausing::listen(json);
    // Before anything is said, on which a script may send a signal.
    let stop = interrupted();
    joining::trust_peers(&context, &args.peer).await?;
    let node = crate::starting::start(&context, json).await?;
    if !json {
        let addresses: Vec<String> = node.local_addrs().iter().map(ToString::to_string).collect();
        eprintln!("listening for peers on {}", addresses.join(", "));
    }
    let mut torrents = Vec::new();
    let mut worst = ExitStatus::Done;
    for text in &args.sources {
        let added = tokio::select! {
            added = add(args, (&context, &node), text, json) => added,
            () = long_interrupted() => {
                node.stop().await;
                return Ok(ExitStatus::Interrupted);
            }
        };
        match added {
            Ok(added) => torrents.push(added),
            // The others are served all the same.
            Err(error) if args.sources.len() > 1 && status_of(&error) != ExitStatus::Interrupted => {
                worst = worst.max(report_error(&error, json));
            }
            Err(error) => {
                node.stop().await;
                return Err(error);
            }
        }
    }
    if torrents.is_empty() {
        node.stop().await;
        return Ok(worst);
    }
    // What earlier commands could not report goes now, beside the serving.
    let draining = beacons::Draining::begin(&context);
    let ended = {
        let ratios = torrents
            .iter()
            .map(|(_, torrent)| get::enough(torrent, torrent.metainfo().length(), args.seed_ratio));
        tokio::select! {
            () = stop => Ok(()),
            () = get::long_enough(args.seed_for) => Ok(()),
            _ = join_all(ratios) => Ok(()),
            error = failures(&torrents, json) => Err(error),
            never = tell_unanswered(&torrents, json) => match never {},
            never = pausing.obey(torrents.iter().map(|(_, torrent)| torrent)) => match never {},
        }
    };
    let has_failed = |torrent: &Torrent| matches!(torrent.stats().state, State::Failed(_));
    if torrents.iter().any(|(_, torrent)| has_failed(torrent)) {
        worst = worst.max(ExitStatus::Failed);
    }
    // At once: each may wait for trackers that do not answer.
    let stopped = join_all(torrents.iter().map(|(_, torrent)| torrent.stop())).await;
    for ((path, torrent), stats) in torrents.iter().zip(stopped) {
        if json {
            print_json(
                &json!({ "event": "done", "path": path.to_string_lossy(), "info_hash": torrent.info_hash().to_string(), "uploaded": stats.uploaded, "peers": stats.peers_seen, "ways": stats.ways }),
            );
        } else {
            eprintln!(
                "{}: {} to {} peers",
                path.display(),
                human_bytes(stats.uploaded),
                stats.peers_seen
            );
        }
    }
    node.stop().await;
    draining.end().await;
    beacons::drain(&context).await;
    ended.map(|()| worst)
}

/// Adds one source that is to be served; where its content is, and the torrent.
async fn add(
    args: &SeedArgs,
    (context, node): (&Context, &Node),
    text: &str,
    json: bool,
) -> anyhow::Result<(PathBuf, Torrent)> {
    check_regular(Path::new(text), "seed")?;
    let resolved = resolve(
        context,
        Some(node),
        &args.peer,
        text,
        args.episode.episode.as_deref(),
    );
    let found = match resolved.await? {
        Resolved::Torrent(found) => found,
        Resolved::Plain(bare) => {
            return Err(bad_input(bare.to_string()))
                .hint(|| format!("`grove publish FILE --origin {}` makes one", bare.url));
        }
    };
    let path = content_path(text, args.from.as_deref(), &found.metainfo);
    check_regular(&path, "seed")?;
    let (cue_sheet, publisher) = joining::known_sheet(context, &found).await?;
    let options = AddOptions {
        cue_sheet,
        publisher,
        use_origin: false,
        location: Location::Existing(path.clone()),
        ..found.options(&args.peer)
    };
    let torrent = node
        .add(found.metainfo.clone(), options)
        .await
        .hint(|| "name the folder of the content with --from DIR".into())?;
    let stats = torrent.stats();
    if !stats.is_complete() {
        torrent.stop().await;
        let error = bad_input(format!(
            "{} is not the content of {text}: {} of {} bytes are right",
            path.display(),
            stats.have_bytes,
            stats.total_bytes
        ));
        return Err(error).hint(|| "publish the file again if it was changed on purpose".into());
    }
    if json {
        print_json(
            &json!({ "event": "seeding", "path": path.to_string_lossy(), "info_hash": torrent.info_hash().to_string(), "bytes": stats.total_bytes }),
        );
    } else {
        eprintln!("seeding {} ({})", path.display(), human_bytes(stats.total_bytes));
    }
    Ok((path, torrent))
}

/// Tells of each torrent that cannot go on, and gives the error of the last: then nothing is served any more.
async fn failures(torrents: &[(PathBuf, Torrent)], json: bool) -> anyhow::Error {
    let mut open: Vec<_> = torrents
        .iter()
        .map(|(_, torrent)| Box::pin(failure(torrent)))
        .collect();
    loop {
        let (error, _, rest) = select_all(open).await;
        if rest.is_empty() {
            return error;
        }
        report_error(&error, json);
        open = rest;
    }
}

/// Says which trackers do not answer.
async fn tell_unanswered(torrents: &[(PathBuf, Torrent)], json: bool) -> Infallible {
    let mut trackers = Unanswered::default();
    let mut look = tokio::time::interval(Duration::from_secs(1));
    loop {
        look.tick().await;
        let all: Vec<Stats> = torrents.iter().map(|(_, torrent)| torrent.stats()).collect();
        trackers.tell(all.iter(), json);
    }
}

/// Resolves when the torrent cannot go on.
async fn failure(torrent: &Torrent) -> anyhow::Error {
    let mut stats = torrent.subscribe();
    let failed = stats
        .wait_for(|stats| matches!(stats.state, State::Failed(_)))
        .await;
    match failed.as_deref().map(|stats| &stats.state) {
        Ok(State::Failed(why)) => anyhow::anyhow!("cannot go on seeding: {why}"),
        _ => anyhow::anyhow!("cannot go on seeding: the torrent was stopped"),
    }
}

/// Where the content lies: in the folder that was named, else beside a local `.torrent`, else here. The folder of a
/// torrent of several files may be named itself.
fn content_path(source: &str, from: Option<&Path>, metainfo: &Metainfo) -> PathBuf {
    let name = metainfo.name();
    match from {
        Some(path) if path.is_file() => path.to_owned(),
        Some(folder) => {
            let below = folder.join(name);
            if !metainfo.is_single_file() && !below.is_dir() && folder.file_name() == below.file_name() {
                folder.to_owned()
            } else {
                below
            }
        }
        None if Path::new(source).is_file() => Path::new(source).with_file_name(name),
        None => PathBuf::from(name),
    }
}
