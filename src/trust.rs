//! Whether the cue sheet of a source counts here: the engine's rules, with what this machine remembers.
//!
//! For each content one file holds the sheet that was trusted last; its key is the pin. Looking (`judge`) never writes; only `keep` pins.
//!
//! Not for: the rules themselves (`engine::cue_sheet::trust`).

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use engine::cue_sheet::SignedCueSheet;
use engine::cue_sheet::trust::{Decision, Known, Source, check_time, decide};
use engine::metainfo::InfoHash;

use crate::context::{Context, write_whole};
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
pub(crate) fn judge(context: &Context, torrent: &Torrent, now: u64) -> anyhow::Result<Option<Judged>> {
    let info_hash = torrent.metainfo.info_hash_v2();
    let kept = held(context, &info_hash)?;
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
        pin: kept.as_ref().map(|sheet| sheet.sheet().publisher),
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

/// Pins the key of a trusted sheet and holds the sheet.
pub(crate) fn keep(context: &Context, info_hash: &InfoHash, judged: &Judged) -> anyhow::Result<()> {
    if let (Ok(_), Some(sheet)) = (&judged.verdict, &judged.offered) {
        if judged.held.as_ref() != Some(sheet) {
            let path = path(context, info_hash);
            std::fs::create_dir_all(context.sheets())
                .with_context(|| format!("cannot make {}", context.sheets().display()))?;
            write_whole(&path, sheet.raw())?;
        }
    }
    Ok(())
}

fn path(context: &Context, info_hash: &InfoHash) -> PathBuf {
    context.sheets().join(format!("{info_hash}.sheet"))
}

fn held(context: &Context, info_hash: &InfoHash) -> anyhow::Result<Option<SignedCueSheet>> {
    let path = path(context, info_hash);
    match std::fs::read(&path) {
        // What does not verify any more is as good as nothing: it never was a pin.
        Ok(raw) => Ok(SignedCueSheet::open(&raw, info_hash).ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}
