//! Whether the cue sheet of a source counts here: the engine's rules, with what this machine remembers.
//!
//! What is remembered (pinned keys, the sheets that were trusted last) is in the engine's `library.db`. Looking (`judge`) never pins; only
//! `keep` does, and only for what a person named: what a program asks for over HTTP counts for itself, and for nothing later.
//!
//! Not for: the rules themselves (`engine::cue_sheet::trust`).

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use engine::cue_sheet::trust::{Decision, Known, Source, check_time, decide};
use engine::cue_sheet::{PublicKey, SignedCueSheet};
use engine::library::{HeldSheet, Library, Pin};

use crate::context::Context;
use crate::source::{Torrent, Via};

/// What is known about the cue sheet of a source.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    /// The sheet, when its signature is good for this content.
    pub(crate) offered: Option<SignedCueSheet>,
    /// Why it is trusted, or why not.
    pub(crate) verdict: Result<String, String>,
    /// A refusal that a person must hear about.
    pub(crate) loud: bool,
    /// The sheet that was trusted before and still counts.
    pub(crate) held: Option<SignedCueSheet>,
}

impl Judged {
    /// The sheet to go by: the offered one when it is trusted, else the one that was trusted before.
    pub(crate) fn effective(&self) -> Option<&SignedCueSheet> {
        if self.verdict.is_ok() {
            self.offered.as_ref()
        } else {
            self.held.as_ref()
        }
    }
}

/// Unix seconds.
pub(crate) fn now() -> anyhow::Result<u64> {
    Ok(SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is set before 1970")?
        .as_secs())
}

/// Judges the sheet of a source; `None` when it has none.
pub(crate) async fn judge(context: &Context, torrent: &Torrent, now: u64) -> anyhow::Result<Option<Judged>> {
    let info_hash = torrent.metainfo.info_hash_v2();
    let library = Library::open(&context.data).await?;
    let pin = library.pin(info_hash).await?;
    let kept = library.sheet(info_hash).await?;
    library.close().await;
    // A sheet that does not verify any more is as good as none.
    let kept = kept.and_then(|held| SignedCueSheet::open(&held.raw, &info_hash).ok());
    let usable = kept.clone().filter(|sheet| check_time(sheet, now).is_ok());
    let Some(raw) = torrent.metainfo.cue_sheet() else {
        return Ok(usable.map(|sheet| Judged {
            offered: Some(sheet.clone()),
            verdict: Ok("it was trusted for this content before".into()),
            loud: false,
            held: Some(sheet),
        }));
    };
    let offered = match SignedCueSheet::open(raw, &info_hash) {
        Ok(offered) => offered,
        Err(error) => {
            return Ok(Some(Judged {
                offered: None,
                verdict: Err(error.to_string()),
                loud: true,
                held: usable,
            }));
        }
    };
    let source = match torrent.via {
        Via::Named | Via::Feed => Source::Named,
        Via::ContentHost => Source::Host,
        // Whoever wrote the link chose where its .torrent comes from; only the key in the link vouches for a publisher.
        Via::Magnet => Source::Peer,
    };
    let known = Known {
        link: torrent.link_key,
        pin: pin.map(|pin| PublicKey::from_bytes(pin.publisher)),
        held: kept.as_ref(),
        now,
    };
    Ok(Some(match decide(&offered, source, &known) {
        Decision::Trusted { why, .. } => Judged {
            offered: Some(offered),
            verdict: Ok(why.to_string()),
            loud: false,
            held: usable,
        },
        Decision::Refused { why } => Judged {
            offered: Some(offered),
            verdict: Err(why.to_string()),
            loud: why.is_loud(),
            held: usable,
        },
    }))
}

/// Pins the key of a trusted sheet and holds the sheet. Of what no person named only a sheet of the key that is pinned already is held.
pub(crate) async fn keep(
    context: &Context,
    torrent: &Torrent,
    judged: &Judged,
    now: u64,
) -> anyhow::Result<()> {
    let info_hash = torrent.metainfo.info_hash_v2();
    let (Ok(why), Some(signed)) = (&judged.verdict, &judged.offered) else {
        return Ok(());
    };
    if judged.held.as_ref() == Some(signed) {
        return Ok(());
    }
    let sheet = signed.sheet();
    let pin = Pin {
        publisher: *sheet.publisher.as_bytes(),
        source: why.clone(),
        pinned_at: now,
    };
    let held = HeldSheet {
        raw: signed.raw().to_vec(),
        issued: sheet.issued,
    };
    let library = Library::open(&context.data).await?;
    let pinned = if torrent.asked {
        library.pin(info_hash).await?
    } else {
        Some(library.pin_first(info_hash, &pin).await?)
    };
    if pinned.is_some_and(|pinned| pinned.publisher == pin.publisher) {
        // False says that another process holds a newer one by now, which is as good.
        library.keep_sheet(info_hash, &held).await?;
    }
    library.close().await;
    Ok(())
}
