//! `grove get`: downloads through the swarm, splices freshly decided ads in, and may go on serving.
//!
//! A torrent's life here: resolve the source, judge its cue sheet, join the swarm, and at once decide ads while content arrives; write the
//! rendition; report; seed as long as was asked.
//!
//! Not for: how ads are made ready (`breaks`), or how content and ads are joined (`rendition`).

mod folder;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ad_splicer::beacons::Basis;
use ad_splicer::content::Content;
use anyhow::Context as _;
use engine::cue_sheet::{CueSheet, PublicKey, SignedCueSheet};
use engine::node::{AddOptions, Node, PieceSource, State, Stats, Torrent, Ways};
use serde::Serialize;
use tokio::time::MissedTickBehavior;
use url::Url;

use crate::beacons::{self, Playback};
use crate::breaks::{self, Asking, Preparer, Ready, Skipped, Swarm};
use crate::cli::{GetArgs, OriginPolicy, SwarmArgs};
use crate::context::Context;
use crate::files::{is_on_one_disk, place_file, write_file};
use crate::identity;
use crate::output::{ExitStatus, Explain, Outcome, Progress, bad_input, interrupted, print_json};
use crate::pausing::{self, Pausing};
use crate::rendition::{self, Arriving, Destination, Made, PlacedAd};
use crate::selection::select;
use crate::source::{self, Resolved};
use crate::trust;
use crate::units::{human_bytes, human_time};

/// How long a cue sheet is waited for that only peers can have.
const SHEET_WAIT: Duration = Duration::from_secs(3);

/// The `complete` and `done` objects.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) event: &'static str,
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
struct ProgressLine<'a> {
    event: &'static str,
    info_hash: &'a str,
    have_bytes: u64,
    content_bytes: u64,
    from_origin: u64,
    from_peers: u64,
    wasted: u64,
    uploaded: u64,
    peers: usize,
    ways: Ways,
    down_rate: u64,
    state: &'a str,
}

/// Gets every source in turn.
pub(crate) async fn run(args: &GetArgs, json: bool) -> Outcome {
    let context = Context::new(&args.net)?;
    let pausing = tokio::sync::Mutex::new(Pausing::listen(json));
    let to_stdout = args.output.as_deref() == Some(Path::new("-"));
    if to_stdout && (json || args.sources.len() > 1) {
        return Err(bad_input(
            "with -o - the file itself goes to stdout, so there is room for one source and no --json",
        ));
    }
    if args.sources.len() > 1 && args.output.as_deref().is_some_and(|path| !is_folder(path)) {
        return Err(bad_input("several sources cannot all be written to one file"))
            .hint(|| "give a folder with -o".into());
    }
    if args.swarm.no_origin && args.swarm.no_peers {
        return Err(bad_input(
            "with --no-origin and --no-peers there is nobody left to ask",
        ));
    }
    trust_typed(&context, &args.swarm);
    let node = Arc::new(crate::node::start(&context, json && !to_stdout).await?);
    let creatives = (!args.swarm.no_peers).then(|| Swarm::new(Arc::clone(&node)));
    // What earlier commands could not report goes now, beside the download.
    let drain = tokio::spawn({
        let context = context.clone();
        async move { beacons::drain(&context).await }
    });
    let _drain = AbortOnDrop(drain);
    let mut status = ExitStatus::Done;
    for text in &args.sources {
        status = match source::resolve(&context, Some(&node), text, args.episode.episode.as_deref()).await? {
            Resolved::Torrent(found) => {
                Job {
                    context: &context,
                    node: &node,
                    creatives: creatives.clone(),
                    args,
                    json,
                    unused: tokio::sync::Mutex::default(),
                    pausing: &pausing,
                }
                .torrent(&found)
                .await?
            }
            Resolved::Plain(url) => plain(&context, args, &url, json).await?,
        };
        if status != ExitStatus::Done {
            break;
        }
    }
    if let Some(creatives) = &creatives {
        creatives.end().await;
    }
    node.stop().await;
    Ok(status)
}

/// A task that ends with its owner.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a person typed is accepted, whatever its address.
pub(crate) fn trust_typed(context: &Context, swarm: &SwarmArgs) {
    for peer in &swarm.peer {
        context.gate.trust(&peer.ip().to_string(), peer.port());
    }
    for seed in &swarm.web_seed {
        context.gate.trust_url(seed);
    }
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
        // A sender who is restarted is waited for.
        give_up: match found.secret {
            Some(_) => Some(Duration::from_secs(300)),
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
    trust::keep(context, found.metainfo.info_hash_v2(), &judged, now).await?;
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

/// The cue sheet that peers have, when it is another one than the one that is held. It is waited for only when nothing
/// is held and the link says whose it must be.
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
    newest.filter(|newest| Some(newest) != held)
}

/// The ads for a source, made ready while its content arrives.
async fn prepare(
    context: &Context,
    args: &GetArgs,
    found: &source::Torrent,
    torrent: &Torrent,
    playback: &Playback,
    swarm: Option<Arc<Swarm>>,
) -> anyhow::Result<(breaks::Prepared, Option<Preparer>)> {
    let sheet = match cue_sheet(context, found, torrent).await? {
        Ok(sheet) => sheet,
        Err(without) => return Ok((without, None)),
    };
    let asking = Asking {
        playback,
        ad_id: identity::ad_id(context, args.swarm.allow_ad_id)?,
        viewer_key: None,
        swarm,
    };
    let content: Arc<dyn Content> = Arc::new(Arriving::new(torrent));
    let deadline = tokio::time::Instant::now() + args.freeze;
    let preparer = Preparer::new(context, &found.metainfo, &sheet, content, &asking, deadline).await;
    Ok(match preparer {
        Ok(preparer) => {
            let all: Vec<usize> = (0..preparer.breaks().len()).collect();
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            (preparer.prepare(&all, left).await, Some(preparer))
        }
        Err(without) => (without, None),
    })
}

struct Job<'a> {
    context: &'a Context,
    node: &'a Node,
    /// Where published creatives are fetched from.
    creatives: Option<Arc<Swarm>>,
    args: &'a GetArgs,
    json: bool,
    /// What was made ready and is not delivered.
    unused: tokio::sync::Mutex<Option<Unused>>,
    pausing: &'a tokio::sync::Mutex<Pausing>,
}

/// Ads that were made ready for a rendition which may never be whole.
struct Unused {
    playback: Playback,
    preparer: Option<Preparer>,
    ready: Vec<Ready>,
}

impl Job<'_> {
    /// The download ends before it is whole: its ads are not used. Going on with it later decides again.
    async fn leave(&self) {
        if let Some(unused) = self.unused.lock().await.take() {
            let Unused {
                playback,
                preparer,
                ready,
            } = unused;
            beacons::store_not_used(self.context, &playback, preparer.as_ref(), &ready).await;
        }
    }

    async fn torrent(&self, found: &source::Torrent) -> Outcome {
        let started = Instant::now();
        let metainfo = &found.metainfo;
        let files = select(metainfo, &self.args.file)?;
        let info_hash = metainfo.info_hash_v2().to_string();
        let destination = destination(self.args.output.as_deref(), metainfo.name());
        let options = AddOptions {
            files: files.clone(),
            recheck: self.args.recheck,
            ..swarm_options(self.context, &self.args.swarm, found).await?
        };
        let folder = if metainfo.is_single_file() {
            None
        } else {
            Some(folder::Folder::new(metainfo, files, &destination)?)
        };
        let added = self.node.add(metainfo.clone(), options).await;
        let torrent = added.map_err(crate::node::explain)?;
        let progress = Progress::bytes(
            metainfo.name(),
            torrent.stats().total_bytes,
            self.json || matches!(destination, Destination::Stdout),
        );

        let work = async {
            match &folder {
                Some(folder) => folder.deliver(&torrent).await,
                None => self.deliver(found, &torrent, &destination).await,
            }
        };
        let ended = tokio::select! {
            made = work => made.map(Some),
            never = self.show(&torrent, &progress, &info_hash) => match never {},
            () = interrupted() => Ok(None),
        };
        progress.finish();
        let made = match ended {
            Ok(Some(made)) => made,
            Ok(None) => {
                self.leave().await;
                let stats = torrent.stop().await;
                eprintln!(
                    "stopped with {} of {} here; the same command goes on from there",
                    human_bytes(stats.have_bytes),
                    human_bytes(stats.total_bytes)
                );
                return Ok(ExitStatus::Interrupted);
            }
            Err(error) => {
                self.leave().await;
                let problems = torrent.stop().await.problems;
                for problem in problems.iter().rev().take(3) {
                    tracing::warn!("{problem}");
                }
                return Err(error)
                    .hint(|| "what was fetched is kept: the same command goes on from there".into());
            }
        };
        let path = match &destination {
            Destination::File(path) => Some(path.clone()),
            Destination::Stdout => None,
        };
        let mut report = Self::report(&torrent.stats(), made, path, info_hash, started);
        report.files = folder.map(folder::Folder::written);
        self.tell(&report);
        if found.secret.is_some() {
            report.noted = Some(noted(&torrent).await);
        }
        let (status, ()) = tokio::join!(
            self.seed(&torrent, report.content_bytes),
            beacons::drain(self.context)
        );
        let stats = torrent.stop().await;
        if self.seeds() {
            // The ad server may have come back meanwhile.
            beacons::drain(self.context).await;
        }
        report.event = "done";
        report.uploaded = stats.uploaded;
        report.peers = stats.peers_seen;
        report.ways = stats.ways;
        report.seconds = started.elapsed().as_secs_f64();
        if self.json {
            print_json(&report);
        }
        Ok(status)
    }

    /// Decides ads while content arrives, then writes the rendition once everything in it is verified.
    async fn deliver(
        &self,
        found: &source::Torrent,
        torrent: &Torrent,
        destination: &Destination,
    ) -> anyhow::Result<Made> {
        let playback = Playback::new(&found.metainfo.info_hash_v2().to_string());
        let (mut prepared, preparer) = if self.args.swarm.no_ads {
            (breaks::Prepared::default(), None)
        } else {
            let swarm = self.creatives.clone();
            prepare(self.context, self.args, found, torrent, &playback, swarm).await?
        };
        let memory = preparer.as_ref().and_then(Preparer::memory).cloned();
        *self.unused.lock().await = Some(Unused {
            playback: playback.clone(),
            preparer,
            ready: prepared.ready.clone(),
        });
        let failures = std::mem::take(&mut prepared.failures);
        beacons::store_failures(self.context, &playback, &failures, Basis::Delivered).await;
        let made = match destination {
            Destination::File(path) if prepared.ready.is_empty() => {
                without_ads(torrent, prepared, path).await?
            }
            _ => {
                let (content, to) = (Arriving::new(torrent), destination.clone());
                let content: Arc<dyn Content> = Arc::new(content);
                let writing = tokio::task::spawn_blocking(move || rendition::write(&content, prepared, &to));
                // A download that cannot be completed ends both: its readers fail too.
                torrent.completed().await?;
                writing.await.context("writing the result")??
            }
        };
        beacons::store_failures(self.context, &playback, &made.failures, Basis::Delivered).await;
        beacons::store_delivered(self.context, &playback, &made.delivered).await;
        if let Some(memory) = &memory {
            beacons::remember(memory, &made.delivered).await;
        }
        // What is not in the rendition was told to be an error.
        *self.unused.lock().await = None;
        Ok(made)
    }

    async fn show(
        &self,
        torrent: &Torrent,
        progress: &Progress,
        info_hash: &str,
    ) -> std::convert::Infallible {
        let mut tick = tokio::time::interval(Duration::from_millis(if self.json { 1000 } else { 250 }));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut paused = false;
        let mut pausing = self.pausing.lock().await;
        pausing.begin(torrent);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                pause = pausing.next() => pausing::apply(torrent, pause),
            }
            let stats = torrent.stats();
            if self.json {
                print_json(&ProgressLine {
                    event: "progress",
                    info_hash,
                    have_bytes: stats.have_bytes,
                    content_bytes: stats.total_bytes,
                    from_origin: stats.from_origin,
                    from_peers: stats.from_peers,
                    wasted: stats.wasted,
                    uploaded: stats.uploaded,
                    peers: stats.peers,
                    ways: stats.ways,
                    down_rate: stats.down_rate,
                    state: state_name(&stats.state),
                });
            }
            if let (State::Paused(why), false) = (&stats.state, paused) {
                eprintln!("paused: {why}");
            }
            paused = matches!(stats.state, State::Paused(_));
            let message = format!(
                "{}/s · origin {} · peers {} ({})",
                human_bytes(stats.down_rate),
                human_bytes(stats.from_origin),
                human_bytes(stats.from_peers),
                stats.peers
            );
            progress.set(stats.have_bytes, stats.total_bytes, &message);
        }
    }

    fn report(
        stats: &Stats,
        made: Made,
        path: Option<PathBuf>,
        info_hash: String,
        started: Instant,
    ) -> Report {
        Report {
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

    fn tell(&self, report: &Report) {
        if self.json {
            print_json(report);
        } else {
            tell(report);
        }
    }

    /// Whether it goes on serving when the file is complete.
    fn seeds(&self) -> bool {
        self.args.seed_for.is_some() || self.args.seed_ratio.is_some()
    }

    /// Serves for as long as was asked.
    async fn seed(&self, torrent: &Torrent, length: u64) -> ExitStatus {
        if !self.seeds() {
            return ExitStatus::Done;
        }
        let mut pausing = self.pausing.lock().await;
        tokio::select! {
            () = long_enough(self.args.seed_for) => ExitStatus::Done,
            () = enough(torrent, length, self.args.seed_ratio) => ExitStatus::Done,
            () = interrupted() => ExitStatus::Interrupted,
            never = pausing.obey(std::iter::once(torrent)) => match never {},
        }
    }
}

/// Ready after so long; never without a limit.
pub(crate) async fn long_enough(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Ready once so many times this length has arrived at peers; never without a limit.
pub(crate) async fn enough(torrent: &Torrent, length: u64, ratio: Option<f64>) {
    let Some(ratio) = ratio else {
        return std::future::pending().await;
    };
    let mut stats = torrent.subscribe();
    // An error means that the torrent is gone, and then there is nothing left to wait for.
    let _ = stats
        .wait_for(|stats| stats.arrived as f64 >= ratio * length as f64)
        .await;
}

/// The content as it is, at this place: another name for what is kept, or else a copy that is written as it comes.
async fn without_ads(torrent: &Torrent, prepared: breaks::Prepared, to: &Path) -> anyhow::Result<Made> {
    let (kept, place) = (torrent.content_path().to_owned(), to.to_owned());
    if is_on_one_disk(&kept, to) {
        let bytes = torrent.completed().await?.total_bytes;
        let torrent = torrent.clone();
        let placing = tokio::task::spawn_blocking(move || {
            place_file(&kept, &place, |name| torrent.link(Path::new(""), name))
        });
        placing.await.context("writing the result")??;
        return Ok(Made::plain(bytes, prepared));
    }
    let content = Arriving::new(torrent);
    let writing = tokio::task::spawn_blocking(move || rendition::copy(&content, prepared, &place));
    // A download that cannot be completed ends both: its readers fail too.
    torrent.completed().await?;
    writing.await.context("writing the result")?
}

/// Waits a moment for the sender to note that all has arrived.
async fn noted(torrent: &Torrent) -> bool {
    let mut stats = torrent.subscribe();
    let noted = stats.wait_for(|stats| stats.noted > 0);
    let noted = tokio::time::timeout(Duration::from_secs(10), noted)
        .await
        .is_ok_and(|noted| noted.is_ok());
    if !noted {
        eprintln!("note: the sender is not there to hear that all has arrived");
    }
    noted
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

fn state_name(state: &State) -> &'static str {
    match state {
        State::Downloading => "downloading",
        State::Paused(_) => "paused",
        State::Complete => "complete",
        State::Failed(_) => "failed",
        State::Stopped => "stopped",
    }
}

fn tell(report: &Report) {
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
            "  ad at {}: {} ({:.1} s, {:+.1} dB)",
            human_time(Duration::from_secs_f64(ad.start.max(0.0))),
            ad.title.as_deref().unwrap_or(&ad.ad_id),
            ad.duration,
            ad.gain_db
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

fn is_folder(path: &Path) -> bool {
    path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

fn destination(output: Option<&Path>, name: &str) -> Destination {
    match output {
        None => Destination::File(PathBuf::from(name)),
        Some(path) if path == Path::new("-") => Destination::Stdout,
        Some(path) if is_folder(path) => Destination::File(path.join(name)),
        Some(path) => Destination::File(path.to_owned()),
    }
}

/// A media URL without a `.torrent`: fetched as any program would, with nothing to verify it by.
async fn plain(context: &Context, args: &GetArgs, url: &Url, json: bool) -> Outcome {
    let started = Instant::now();
    eprintln!(
        "note: there is no .torrent beside {url}; it is fetched as it is, and cannot be verified or shared"
    );
    let name = url
        .path_segments()
        .and_then(|mut parts| parts.next_back())
        .filter(|name| !name.is_empty())
        .unwrap_or("download");
    let destination = destination(args.output.as_deref(), name);
    let mut response = context.gate.get(url.clone()).send().await?;
    let status = response.status();
    anyhow::ensure!(
        status.is_success(),
        "cannot fetch {url}: the server answered {status}"
    );
    let total = response.content_length().unwrap_or(0);
    let progress = Progress::bytes(name, total, json);
    let (sender, receiver) = std::sync::mpsc::sync_channel::<Option<bytes::Bytes>>(16);
    let to = destination.clone();
    let writing = tokio::task::spawn_blocking(move || {
        let pour = |out: &mut dyn std::io::Write| {
            let mut bytes = 0;
            // The end is said; a channel that merely closes is a download that broke off.
            loop {
                let Some(chunk) = receiver.recv().context("the download broke off")? else {
                    break;
                };
                out.write_all(&chunk).context("cannot write the result")?;
                bytes += chunk.len() as u64;
            }
            out.flush().context("cannot write the result")?;
            anyhow::ensure!(total == 0 || bytes == total, "only {bytes} of {total} bytes came");
            Ok(bytes)
        };
        match &to {
            Destination::File(path) => write_file(path, |file| pour(file)),
            Destination::Stdout => pour(&mut std::io::stdout().lock()),
        }
    });
    let mut done = 0;
    let fetching = async {
        while let Some(chunk) = response.chunk().await? {
            done += chunk.len() as u64;
            progress.set(done, total.max(done), "");
            // The writer is gone only when it failed; its error is the one that matters.
            let sender = sender.clone();
            let sent = tokio::task::spawn_blocking(move || sender.send(Some(chunk)))
                .await
                .context("handing bytes over")?;
            if sent.is_err() {
                return Ok(());
            }
        }
        let end = sender.clone();
        // As above: a writer that is gone has an error of its own.
        let _ = tokio::task::spawn_blocking(move || end.send(None))
            .await
            .context("handing bytes over")?;
        anyhow::Ok(())
    };
    let fetched = tokio::select! {
        fetched = fetching => Some(fetched),
        () = interrupted() => None,
    };
    progress.finish();
    drop(sender);
    match fetched {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            // The writer sees the channel close without an end, and gives nothing the final name.
            let _ = writing.await;
            return Err(error);
        }
        None => {
            let _ = writing.await;
            return Ok(ExitStatus::Interrupted);
        }
    }
    let bytes = writing.await.context("writing the result")??;
    let report = Report {
        event: "complete",
        path: match destination {
            Destination::File(path) => Some(path),
            Destination::Stdout => None,
        },
        info_hash: None,
        bytes,
        content_bytes: bytes,
        from_origin: bytes,
        from_peers: 0,
        wasted: 0,
        uploaded: 0,
        seconds: started.elapsed().as_secs_f64(),
        peers: 0,
        ways: Ways::default(),
        ads: Vec::new(),
        skipped: Vec::new(),
        sources: Vec::new(),
        files: None,
        noted: None,
    };
    if json {
        print_json(&report);
        print_json(&Report {
            event: "done",
            ..report
        });
    } else {
        tell(&report);
    }
    Ok(ExitStatus::Done)
}
