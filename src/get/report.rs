//! What `grove get` says: lines while it runs, and at its end where everything came from.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engine::node::{PieceSource, State, Stats, Ways};
use serde::{Serialize, Serializer};

use super::folder;
use crate::breaks::Skipped;
use crate::quiet::goes_on;
use crate::rendition::{Made, PlacedAd};
use crate::units::{human_bytes, human_time};

/// JSON is Unicode: what of a path is not is shown as U+FFFD, as in text.
#[allow(clippy::ref_option, reason = "as serde calls it")]
fn lossy<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_deref().map(Path::to_string_lossy).serialize(serializer)
}

/// The `complete` and `done` objects.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) event: &'static str,
    #[serde(serialize_with = "lossy")]
    pub(crate) path: Option<PathBuf>,
    pub(crate) info_hash: Option<String>,
    pub(crate) bytes: u64,
    pub(crate) content_bytes: u64,
    pub(crate) from_origin: u64,
    pub(crate) from_peers: u64,
    pub(crate) wasted: u64,
    pub(crate) uploaded: u64,
    pub(crate) seconds: f64,
    pub(crate) peers: usize,
    /// How they came to be connected.
    pub(crate) ways: Ways,
    pub(crate) ads: Vec<PlacedAd>,
    pub(crate) skipped: Vec<Skipped>,
    /// Runs of pieces by where they came from: how many, and `origin`, `peer` or `disk`.
    pub(crate) sources: Vec<(u32, &'static str)>,
    /// What was written, when it is a folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) files: Option<Vec<folder::Written>>,
    /// Of a personal transfer, in `done`: whether the sender has heard that all arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) noted: Option<bool>,
}

#[derive(Serialize)]
pub(super) struct ProgressLine<'a> {
    pub(super) event: &'static str,
    pub(super) info_hash: Option<&'a str>,
    pub(super) have_bytes: u64,
    /// Of those, what a killed command leaves to the next, where that is not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kept_bytes: Option<u64>,
    pub(super) content_bytes: u64,
    pub(super) from_origin: u64,
    pub(super) from_peers: u64,
    pub(super) wasted: u64,
    pub(super) uploaded: u64,
    pub(super) peers: usize,
    pub(super) ways: Ways,
    pub(super) down_rate: u64,
    /// Why a relay does not carry it, or no further.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) relay_refuses: Option<&'a str>,
    pub(super) state: &'a str,
}

impl Report {
    /// What is known when the result is written.
    pub(crate) fn complete(
        stats: &Stats,
        made: Made,
        path: Option<PathBuf>,
        info_hash: String,
        started: Instant,
    ) -> Self {
        Self {
            event: "complete",
            path,
            info_hash: Some(info_hash),
            bytes: made.bytes,
            content_bytes: stats.total_bytes,
            from_origin: stats.from_origin,
            from_peers: stats.from_peers,
            wasted: stats.wasted,
            uploaded: stats.uploaded,
            seconds: started.elapsed().as_secs_f64(),
            peers: stats.peers_seen,
            ways: stats.ways,
            ads: made.ads,
            skipped: made.skipped,
            sources: sources(&stats.pieces),
            files: None,
            noted: None,
        }
    }
}

fn sources(pieces: &[Option<PieceSource>]) -> Vec<(u32, &'static str)> {
    pieces
        .chunk_by(|a, b| a == b)
        .map(|run| {
            let source = match run.first().copied().flatten() {
                Some(PieceSource::Origin) => "origin",
                Some(PieceSource::Peer) => "peer",
                Some(PieceSource::Disk) => "disk",
                None => "missing",
            };
            (run.len() as u32, source)
        })
        .collect()
}

pub(super) fn state_name(state: &State) -> &'static str {
    match state {
        State::Downloading => "downloading",
        State::Paused(_) => "paused",
        State::Complete => "complete",
        State::Failed(_) => "failed",
        State::Stopped => "stopped",
    }
}

/// Says that nothing comes, and what is known of why.
pub(super) fn tell_quiet(name: &str, stats: &Stats) {
    let served = stats.web_seeds > 0;
    let peers = match stats.peers {
        0 if served => "its web server sends nothing now, and no peer who has it can be reached".to_owned(),
        0 => "no peer who has it can be reached".to_owned(),
        peers if served => format!("neither its web server nor any of {peers} peers sends it now"),
        peers => format!("none of {peers} peers sends it"),
    };
    let trouble = stats.trouble();
    let trouble = trouble.map_or_else(String::new, |trouble| format!(" (the latest trouble: {trouble})"));
    let goes_on = goes_on(stats.gives_up);
    eprintln!("nothing of {name} comes: {peers}{trouble}; {goes_on}, Ctrl-C ends it and keeps what is here");
}

pub(super) fn tell(report: &Report) {
    let place = report
        .path
        .as_ref()
        .map_or_else(|| "stdout".to_owned(), |path| path.display().to_string());
    let fetched = report.from_origin + report.from_peers;
    let here = report.content_bytes.saturating_sub(fetched);
    let mut sources = vec![
        format!("{} from the origin", human_bytes(report.from_origin)),
        format!(
            "{} from peers{}",
            human_bytes(report.from_peers),
            of_ways(report.ways)
        ),
    ];
    if here > 0 {
        sources.push(format!("{} that was here already", human_bytes(here)));
    }
    eprintln!(
        "{place}: {} in {:.1} s, {}",
        human_bytes(report.bytes),
        report.seconds,
        sources.join(", ")
    );
    for ad in &report.ads {
        eprintln!(
            "  ad at {}: {} ({:.1} s, {})",
            human_time(Duration::from_secs_f64(ad.start.max(0.0))),
            ad.title.as_deref().unwrap_or(&ad.ad_id),
            ad.duration,
            ad.loudness()
        );
    }
    for skipped in &report.skipped {
        eprintln!(
            "  {}",
            skipped.sentence(report.ads.iter().any(|ad| ad.break_id == skipped.break_id))
        );
    }
}

/// How peers were connected, where it is worth saying.
pub(crate) fn of_ways(ways: Ways) -> String {
    let parts: Vec<String> = [
        (ways.direct, "direct"),
        (ways.punched, "through opened routers"),
        (ways.relayed, "through a relay"),
    ]
    .iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, way)| format!("{count} {way}"))
    .collect();
    if ways.punched + ways.relayed == 0 {
        return String::new();
    }
    format!(" ({})", parts.join(", "))
}
