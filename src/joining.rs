//! How a source joins its swarm: what the engine is told about it, and which cue sheet counts for it. Common to `get`, `play` and `seed`.

use std::time::Duration;

use anyhow::Context as _;
use engine::cue_sheet::{CueSheet, PublicKey, SignedCueSheet};
use engine::magnet::PeerAddress;
use engine::node::{AddOptions, Torrent};

use crate::breaks::{self, Skipped};
use crate::cli::{OriginPolicy, SwarmArgs};
use crate::context::Context;
use crate::output::Explain as _;
use crate::source;
use crate::trust;

/// How long a cue sheet is waited for that only peers can have.
const SHEET_WAIT: Duration = Duration::from_secs(3);

/// What a person typed is accepted, whatever its address.
pub(crate) async fn trust_typed(context: &Context, swarm: &SwarmArgs) -> anyhow::Result<()> {
    for seed in &swarm.web_seed {
        context.gate.trust_url(seed);
    }
    trust_peers(context, &swarm.peer).await
}

/// The same for peers. A name that leads nowhere is an error before anything begins.
pub(crate) async fn trust_peers(context: &Context, peers: &[PeerAddress]) -> anyhow::Result<()> {
    for peer in peers {
        context.gate.trust(&peer.host, peer.port);
        let found = context.gate.resolve(&peer.host, peer.port).await;
        found
            .with_context(|| format!("cannot dial the peer {peer}"))
            .hint(|| "--peer takes HOST:PORT, where HOST is a name or an IP address".into())?;
    }
    Ok(())
}

/// The engine's options for a source.
pub(crate) fn add_options(swarm: &SwarmArgs, found: &source::Torrent) -> AddOptions {
    AddOptions {
        web_seeds: swarm
            .web_seed
            .iter()
            .map(ToString::to_string)
            .chain(found.web_seeds.iter().cloned())
            .collect(),
        give_up: match found.secret {
            Some(_) => Some(source::SENDER_TIMEOUT),
            None => AddOptions::default().give_up,
        },
        use_origin: !swarm.no_origin,
        use_peers: !swarm.no_peers,
        policy: match swarm.origin_policy {
            OriginPolicy::Thrifty => engine::node::OriginPolicy::Thrifty,
            OriginPolicy::Fast => engine::node::OriginPolicy::Fast,
        },
        ..found.options(&swarm.peer)
    }
}

/// The engine's options for a source, with the cue sheet that counts here so far.
pub(crate) async fn swarm_options(
    context: &Context,
    swarm: &SwarmArgs,
    found: &source::Torrent,
) -> anyhow::Result<AddOptions> {
    let (cue_sheet, publisher) = known_sheet(context, found).await?;
    Ok(AddOptions {
        cue_sheet,
        publisher,
        ..add_options(swarm, found)
    })
}

/// The cue sheet that counts here so far, and whose newer ones are taken from peers.
pub(crate) async fn known_sheet(
    context: &Context,
    found: &source::Torrent,
) -> anyhow::Result<(Option<SignedCueSheet>, Option<PublicKey>)> {
    let judged = trust::judge(context, found, trust::now()?).await?;
    let sheet = judged.as_ref().and_then(trust::Judged::effective).cloned();
    let publisher = sheet.as_ref().map(|sheet| sheet.sheet().publisher);
    Ok((sheet, publisher.or(found.link_key)))
}

/// Pins the publisher of what a person named, before anybody asks for it.
pub(crate) async fn pin(context: &Context, found: &source::Torrent) -> anyhow::Result<()> {
    let now = trust::now()?;
    match trust::judge(context, found, now).await? {
        Some(judged) => trust::keep(context, found, &judged, now).await,
        None => Ok(()),
    }
}

/// The cue sheet that counts for a source, peers' newer ones included. Otherwise what there is to say about that: nothing, when it has none.
pub(crate) async fn cue_sheet(
    context: &Context,
    found: &source::Torrent,
    torrent: &Torrent,
) -> anyhow::Result<Result<CueSheet, breaks::Prepared>> {
    let now = trust::now()?;
    let judged = trust::judge(context, found, now).await?;
    let held = judged.as_ref().and_then(trust::Judged::effective).cloned();
    let newest = from_peers(found, torrent, held.as_ref()).await;
    let judged = match newest {
        Some(newest) => Some(trust::Judged {
            offered: Some(newest),
            verdict: Ok("a peer has a newer one of the same publisher".into()),
            loud: false,
            held,
        }),
        None => judged,
    };
    let Some(judged) = judged else {
        return Ok(Err(breaks::Prepared::default()));
    };
    if let Err(reason) = &judged.verdict {
        if judged.loud {
            eprintln!(
                "warning: the cue sheet of {} is refused: {reason}",
                found.metainfo.name()
            );
        } else {
            tracing::warn!(name = found.metainfo.name(), reason, "the cue sheet is refused");
        }
    }
    trust::keep(context, found, &judged, now).await?;
    if let Some(sheet) = judged.effective() {
        return Ok(Ok(sheet.sheet().clone()));
    }
    let reason = judged.verdict.err().unwrap_or_default();
    let reason = format!("the cue sheet is refused: {reason}");
    Ok(Err(breaks::Prepared {
        skipped: vec![Skipped::new("*", reason, None)],
        ..Default::default()
    }))
}

/// The cue sheet that peers have, when it is newer than the one that is held, and of the same publisher: others may have come to this torrent by
/// a source that names another one. It is waited for only when nothing is held and the link says whose it must be.
async fn from_peers(
    found: &source::Torrent,
    torrent: &Torrent,
    held: Option<&SignedCueSheet>,
) -> Option<SignedCueSheet> {
    let mut sheet = torrent.cue_sheet();
    if held.is_none() && found.link_key.is_some() {
        let some = sheet.wait_for(Option::is_some);
        // Without one the content plays without ads.
        let _ = tokio::time::timeout(SHEET_WAIT, some).await;
    }
    let newest = sheet.borrow().as_deref().cloned();
    newest.filter(|newest| is_newer(newest.sheet(), held.map(SignedCueSheet::sheet), found.link_key))
}

fn is_newer(newest: &CueSheet, held: Option<&CueSheet>, link_key: Option<PublicKey>) -> bool {
    match held {
        Some(held) => newest.publisher == held.publisher && newest.issued > held.issued,
        None => Some(newest.publisher) == link_key,
    }
}
