//! `grove send`: gives a file or a folder to somebody by a secret link, and stays until it has arrived.
//!
//! What a transfer needs to be found again (secret, metainfo, sockets) is kept in `sends/` of the data folder, so that
//! the same PATH gives the same link until it was delivered. The content is checked against the metainfo at each start;
//! what was changed since is another content, and gets another link.
//!
//! Not for: publishing. Nothing here is announced under a name that can be guessed (`engine::personal`).

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use engine::magnet::{Magnet, PeerAddress};
use engine::metainfo::{BuildError, Builder, Listing, Metainfo};
use engine::node::{AddOptions, Error, Location, Node, State, Stats, Torrent};
use engine::personal::Secret;
use engine::store::StoreError;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::cli::{SendArgs, Until};
use crate::context::Context;
use crate::files::{check_regular, write_whole};
use crate::output::{ExitStatus, Explain, Outcome, Progress, bad_input, interrupted, print_json, print_line};
use crate::pausing::Pausing;
use crate::quiet::RelayTold;
use crate::unanswered::Unanswered;
use crate::units::human_bytes;

/// How long the other side has to hang up by itself once it has everything.
const FAREWELL: Duration = Duration::from_secs(3);

/// What is kept of a transfer.
#[derive(Serialize, Deserialize)]
struct Transfer {
    path: PathBuf,
    /// 32 hex digits.
    secret: String,
    /// Where it listened.
    listen: Vec<SocketAddr>,
}

/// A transfer that is running.
struct Sending {
    node: Node,
    torrent: Torrent,
    secret: Secret,
    state: PathBuf,
}

/// Sends until it is delivered, or for as long as was asked.
pub(crate) async fn run(args: &SendArgs, json: bool) -> Outcome {
    let context = Context::new(&args.net)?;
    let mut pausing = Pausing::listen(json);
    for tracker in &args.tracker {
        if !matches!(tracker.scheme(), "http" | "https" | "udp") {
            return Err(bad_input(format!("{tracker} is no tracker that can be asked")))
                .hint(|| "a tracker's URL begins with http, https or udp".into());
        }
        context.gate.trust_url(tracker);
    }
    check_regular(&args.path, "send")?;
    let path =
        std::fs::canonicalize(&args.path).or_bad_input(|| format!("cannot send {}", args.path.display()))?;
    let sending = begin(&context, args, &path, json).await?;
    // From the link on no signal is missed.
    let stop = interrupted();
    let link = link(args, &sending);
    let metainfo = sending.torrent.metainfo().clone();
    let before = stamps(&path, &metainfo);
    if json {
        print_json(&json!({
            "event": "link", "link": link, "name": metainfo.name(), "bytes": metainfo.length(),
            "files": metainfo.files().len(), "info_hash": metainfo.info_hash_v2().to_string(),
        }));
    } else {
        eprintln!(
            "{} ({}) waits here for whoever has this link; `grove get LINK` fetches it",
            metainfo.name(),
            human_bytes(metainfo.length())
        );
        print_line(&link);
    }
    let outcome = tokio::select! {
        outcome = wait(&sending.torrent, args.until, json) => outcome,
        never = show(&sending.torrent, json) => match never {},
        never = pausing.obey(std::iter::once(&sending.torrent)) => match never {},
        () = stop => Ok(ExitStatus::Interrupted),
    };
    let stats = sending.torrent.stop().await;
    sending.node.stop().await;
    let over = match (&outcome, args.until) {
        (Ok(ExitStatus::Done), _) => true,
        (_, Until::Delivered) => stats.delivered > 0,
        _ => false,
    };
    if over {
        // What is done needs no link any more. A file that is gone already is as good.
        let _ = std::fs::remove_file(&sending.state);
        let _ = std::fs::remove_file(sending.state.with_extension("torrent"));
    }
    let changed = !over && stamps(&path, &metainfo) != before;
    if json {
        print_json(&json!({
            "event": "done", "changed": changed, "delivered": stats.delivered, "uploaded": stats.uploaded, "peers": stats.peers_seen,
            "ways": stats.ways,
        }));
    } else if stats.delivered > 0 {
        eprintln!(
            "delivered to {} ({} sent{})",
            receivers(stats.delivered),
            human_bytes(stats.uploaded),
            crate::get::of_ways(stats.ways)
        );
    } else if over {
        eprintln!("not delivered in that time, and this link is spent");
    } else if changed {
        eprintln!(
            "not delivered; {} was changed meanwhile and must be sent anew: the same command gives a new link for it as it is now",
            metainfo.name()
        );
    } else if args.net.listen.iter().any(|address| address.port() == 0) {
        // The port that is asked for goes before the one it had.
        eprintln!(
            "not delivered; the same command goes on from there, with another port in its link: without --listen the link stays the same"
        );
    } else {
        eprintln!("not delivered; the same command gives the same link and goes on from there");
    }
    match outcome? {
        // Its time is over, and nobody has it.
        ExitStatus::Done if stats.delivered == 0 => Ok(ExitStatus::Failed),
        status => Ok(status),
    }
}

/// Length and time of the last change of each file; a file that is gone has none.
fn stamps(path: &Path, metainfo: &Metainfo) -> Vec<Option<(u64, SystemTime)>> {
    let stamp = |path: PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.len(), metadata.modified().ok()?))
    };
    if metainfo.is_single_file() {
        return vec![stamp(path.to_owned())];
    }
    let inside = metainfo
        .files()
        .iter()
        .map(|file| file.path().iter().collect::<PathBuf>());
    inside.map(|inside| stamp(path.join(inside))).collect()
}

fn receivers(count: usize) -> String {
    if count == 1 {
        "one receiver".to_owned()
    } else {
        format!("{count} receivers")
    }
}

/// Starts a node with the content: as it was kept, or anew.
async fn begin(context: &Context, args: &SendArgs, path: &Path, json: bool) -> anyhow::Result<Sending> {
    let folder = context.data.join("sends");
    let id = hex::encode(&Sha256::digest(path.as_os_str().as_encoded_bytes())[..16]);
    let state = folder.join(id).with_extension("json");
    let kept = load(&state, path);
    if let Some((kept, secret, metainfo)) = kept {
        let node = node(context, &kept.listen, json).await?;
        match node.add(metainfo, options(args, secret, path)).await {
            Ok(torrent) => {
                let sending = Sending {
                    node,
                    torrent,
                    secret,
                    state,
                };
                keep(&sending, path)?;
                return Ok(sending);
            }
            Err(Error::Store(error)) if matches!(*error, StoreError::Different { .. }) => {
                eprintln!("note: {error}; so the link is a new one");
            }
            Err(error) => return Err(error.into()),
        }
        node.stop().await;
    }
    let metainfo = Arc::new(hash(path, json).await?);
    let secret = Secret::generate();
    let node = node(context, &[], json).await?;
    let torrent = node.add(metainfo, options(args, secret, path)).await?;
    let sending = Sending {
        node,
        torrent,
        secret,
        state,
    };
    keep(&sending, path)?;
    Ok(sending)
}

fn options(args: &SendArgs, secret: Secret, path: &Path) -> AddOptions {
    AddOptions {
        trackers: args.tracker.iter().map(ToString::to_string).collect(),
        use_origin: false,
        secret: Some(secret),
        location: Location::Existing(path.to_owned()),
        give_up: None,
        ..AddOptions::default()
    }
}

/// What was kept of this path, if all of it can be read.
fn load(state: &Path, path: &Path) -> Option<(Transfer, Secret, Arc<Metainfo>)> {
    let kept: Transfer = serde_json::from_slice(&std::fs::read(state).ok()?).ok()?;
    let secret = kept.secret.parse().ok().filter(|_| kept.path == path)?;
    let metainfo = Metainfo::parse(&std::fs::read(state.with_extension("torrent")).ok()?).ok()?;
    Some((kept, secret, Arc::new(metainfo)))
}

fn keep(sending: &Sending, path: &Path) -> anyhow::Result<()> {
    let kept = Transfer {
        path: path.to_owned(),
        secret: sending.secret.to_hex(),
        listen: sending.node.local_addrs(),
    };
    let folder = sending.state.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // The secret is for nobody else on this machine.
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
            .with_context(|| format!("cannot close {} to others", folder.display()))?;
    }
    write_whole(
        &sending.state.with_extension("torrent"),
        sending.torrent.metainfo().to_bytes(),
    )?;
    write_whole(&sending.state, &serde_json::to_vec_pretty(&kept)?)
}

/// A node on the addresses that were asked for, else where the transfer was before, else on any port.
async fn node(context: &Context, before: &[SocketAddr], json: bool) -> anyhow::Result<Node> {
    if context.net.listen.is_empty() && !before.is_empty() {
        let mut context = context.clone();
        context.net.listen = before.to_vec();
        // Somebody else may have taken the port meanwhile: another will do.
        if let Ok(node) = crate::starting::start(&context, json).await {
            return Ok(node);
        }
    }
    crate::starting::start(context, json).await
}

/// Hashes the file or folder.
async fn hash(path: &Path, json: bool) -> anyhow::Result<Metainfo> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| bad_input(format!("{} has no name that can be sent", path.display())))?
        .to_owned();
    let path = path.to_owned();
    let work = tokio::task::spawn_blocking(move || {
        let builder = Builder::new(&name);
        let built = if path.is_dir() {
            Listing::of(&path).and_then(|listing| {
                for left_out in &listing.left_out {
                    eprintln!("note: {} is no regular file, and is left out", left_out.display());
                }
                tell_empty(&listing.empty);
                let progress = Progress::bytes(&name, listing.length(), json);
                let built = builder.hash_folder(&path, &listing, |done| {
                    progress.set(done, listing.length(), "hashing");
                });
                progress.finish();
                built
            })
        } else {
            let length = std::fs::metadata(&path).map_or(0, |metadata| metadata.len());
            let progress = Progress::bytes(&name, length, json);
            let built = builder.hash_file(&path, |done| progress.set(done, length, "hashing"));
            progress.finish();
            built
        };
        match built {
            Err(error @ BuildError::Name(_)) => Err(error)
                .or_bad_input(|| format!("cannot send {}", path.display()))
                .hint(|| "give it another name, or leave it out".into()),
            Err(BuildError::Empty(_)) => {
                let what = if path.is_dir() {
                    "there is no file in it that is not empty"
                } else {
                    "it is empty"
                };
                Err(bad_input(format!("cannot send {}: {what}", path.display()))).hint(|| {
                    "what is sent is bytes: put it into an archive, or into a folder beside a file that is not empty".into()
                })
            }
            Err(error @ BuildError::TooMany { .. }) => {
                Err(error).or_bad_input(|| format!("cannot send {}", path.display()))
            }
            other => other.with_context(|| format!("cannot send {}", path.display())),
        }
    });
    work.await.context("hashing")?
}

/// Says which folders do not arrive.
fn tell_empty(folders: &[PathBuf]) {
    let Some(first) = folders.first() else { return };
    let more = match folders.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more like it)"),
    };
    eprintln!(
        "note: the folder {}{more} is left out: there is no file in it, and only files are sent",
        first.display()
    );
}

/// The link, with every address at which this node may be reached.
fn link(args: &SendArgs, sending: &Sending) -> String {
    let metainfo = sending.torrent.metainfo();
    let mut peers: Vec<PeerAddress> = args.address.clone();
    let here = local_addresses();
    for address in sending.node.local_addrs() {
        let ips: Vec<IpAddr> = if address.ip().is_unspecified() {
            let same = |ip: &&IpAddr| ip.is_ipv4() == address.is_ipv4();
            here.iter().filter(same).copied().collect()
        } else {
            vec![address.ip()]
        };
        peers.extend(ips.into_iter().map(|ip| PeerAddress {
            host: ip.to_string(),
            port: address.port(),
        }));
    }
    if peers.is_empty() && args.tracker.is_empty() {
        eprintln!(
            "note: this machine has no address in a network, and no tracker is given: with this link nobody finds it (--tracker URL, or --address HOST:PORT where it can be reached)"
        );
    }
    Magnet {
        info_hash: Some(metainfo.info_hash_v2()),
        name: Some(metainfo.name().to_owned()),
        trackers: args.tracker.iter().map(ToString::to_string).collect(),
        peers,
        secret: Some(sending.secret),
        ..Magnet::default()
    }
    .to_string()
}

/// This machine's addresses that others may reach, those of the widest reach first.
fn local_addresses() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!("cannot list this machine's addresses: {error}");
        Vec::new()
    });
    let all: BTreeSet<IpAddr> = interfaces
        .into_iter()
        .filter(|interface| !interface.is_loopback())
        .map(|interface| interface.ip())
        .filter(|ip| match ip {
            // Without its zone a link-local address leads nowhere.
            IpAddr::V6(ip) => !ip.is_unicast_link_local(),
            IpAddr::V4(ip) => !ip.is_link_local(),
        })
        .collect();
    all.into_iter().collect()
}

/// Waits for the end that was asked for.
async fn wait(torrent: &Torrent, until: Until, json: bool) -> Outcome {
    let mut stats = torrent.subscribe();
    let failed = |stats: &Stats| match &stats.state {
        State::Failed(why) => Some(anyhow::anyhow!("cannot go on sending: {why}")),
        State::Stopped => Some(anyhow::anyhow!("the transfer was stopped")),
        _ => None,
    };
    let mut told = 0;
    let end = match until {
        Until::Delivered => None,
        Until::Time(time) => Some(tokio::time::Instant::now() + time),
    };
    loop {
        let now = stats.borrow_and_update().clone();
        if let Some(error) = failed(&now) {
            return Err(error);
        }
        if now.delivered > told {
            told = now.delivered;
            if json {
                print_json(&json!({ "event": "delivered", "delivered": told }));
            }
            if until == Until::Delivered {
                break;
            }
        }
        let changed = async {
            // An error means that the torrent is gone, which the next look tells.
            let _ = stats.changed().await;
        };
        match end {
            Some(end) => tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(end) => break,
            },
            None => changed.await,
        }
    }
    // The answer to the receiver must still reach it; it hangs up when it has.
    let gone = stats.wait_for(|stats| stats.peers == 0);
    let _ = tokio::time::timeout(FAREWELL, gone).await;
    Ok(ExitStatus::Done)
}

async fn show(torrent: &Torrent, json: bool) -> std::convert::Infallible {
    let total = torrent.metainfo().length();
    let progress = Progress::bytes(torrent.metainfo().name(), total, json);
    let mut tick = tokio::time::interval(Duration::from_millis(if json { 1000 } else { 250 }));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let (mut last, mut rate) = ((Instant::now(), 0), 0);
    let (mut relay, mut trackers) = (RelayTold::default(), Unanswered::default());
    loop {
        tick.tick().await;
        let stats = torrent.stats();
        let elapsed = last.0.elapsed().as_secs_f64();
        if elapsed >= 0.9 {
            rate = ((stats.uploaded - last.1) as f64 / elapsed) as u64;
            last = (Instant::now(), stats.uploaded);
        }
        if let Some(why) = relay.now(stats.relay_refuses.as_deref(), stats.peers) {
            eprintln!("note: {why}");
        }
        trackers.tell(std::iter::once(&stats), json);
        if json {
            print_json(&json!({
                "event": "progress", "uploaded": stats.uploaded, "content_bytes": total, "up_rate": rate,
                "peers": stats.peers, "delivered": stats.delivered, "relay_refuses": stats.relay_refuses,
            }));
        } else if stats.peers > 0 || stats.uploaded > 0 {
            let message = format!(
                "{} sent · {}/s · {} connected",
                human_bytes(stats.uploaded),
                human_bytes(rate),
                stats.peers
            );
            progress.set(stats.uploaded.min(total), total, &message);
        }
    }
}
